"""The explorer as a page of its own and in a chapter: two systems, one study, word by word, with the films beside. What
is shown is `rrg_lib.book.explorer`'s data; how, `explorer.js` and `explorer.css` beside this file.

In a chapter it is a frame within the page: there its keys and styles meet neither those of a notebook nor those of a
site, and a reader finds it working in JupyterLab, on a hosted notebook and on the site, from a file too.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from PIL import Image

from rrg_lib.book.explorer import explored_studies, stored_explorer
from rrg_lib.data.phantom import draw
from rrg_lib.data.study import Study
from rrg_lib.errors import ConfigurationError

if TYPE_CHECKING:
    from IPython.display import HTML

#: The systems that a view begins with where none are named and the data have them.
FIRST = ("cmn", "base")
VIEWS = ("frontal", "lateral")
#: How well the films are kept: they are looked at, nothing is computed of them.
QUALITY = 80
#: So high is a frame until its script has measured it, in pixels of the page.
_HEIGHT = 900
_DRAWN_ANEW = "the explorer's data are of other studies than the grammar samples now; run: python tools/explorer.py"

# The colours of the page around the frame where it has them (the site's names, then JupyterLab's), else black on white.
_COLOURS = {
    "border": ("#c9c9c9", "--jp-border-color1"),
    "text-muted": ("#5a5a5a", "--jp-ui-font-color2"),
    "text-base": ("#1a1a1a", "--jp-content-font-color1"),
    "background": ("#ffffff", "--jp-layout-color0"),
    "surface": ("#f1f1f1", "--jp-layout-color2"),
    "primary": ("#176de8", "--jp-brand-color1"),
}
_FRAME_STYLE = """
body { margin: 0; font: 15px/1.5 sans-serif; }
body { color: var(--pst-color-text-base); background: var(--pst-color-background); }
figure.explorer-look { margin: 0.5rem 0; max-width: 34rem; }
"""
_FRAME_SCRIPT = """
(() => {
  let frame = null;
  try { frame = window.frameElement; } catch { return; } // another origin around us: the first height stays
  if (!frame) return;
  const page = frame.ownerDocument.documentElement, own = document.documentElement;
  const dress = () => {
    const outer = getComputedStyle(page);
    for (const [name, [plain, notebook]] of Object.entries(COLOURS)) {
      const colour = outer.getPropertyValue(`--pst-color-${name}`) || outer.getPropertyValue(notebook) || plain;
      own.style.setProperty(`--pst-color-${name}`, colour.trim());
    }
  };
  dress();
  new MutationObserver(dress).observe(page, { attributes: true });
  new ResizeObserver(() => { frame.style.height = `${document.body.scrollHeight + 8}px`; }).observe(document.body);
})();
"""


def asset(name: str) -> str:
    """The text of `explorer.js` or `explorer.css`."""
    return resources.files("rrg_lib.book").joinpath(name).read_text(encoding="utf-8")


def film_pictures(study: Study) -> dict[str, bytes]:
    """View -> its film as WebP, drawn again."""
    made = {}
    for name, view in zip(VIEWS, draw(study).views, strict=True):
        picture = io.BytesIO()
        Image.fromarray(view).save(picture, "WEBP", quality=QUALITY)
        made[name] = picture.getvalue()
    return made


def studies_of(data: dict[str, Any]) -> tuple[Study, ...]:
    """The studies that `data` is of. Raises `ConfigurationError` for others than the grammar samples now."""
    known = {study.id: study for study in explored_studies()}
    wanted = [row["id"] for row in data["studies"]]
    if not wanted or not known.keys() >= set(wanted):
        raise ConfigurationError(_DRAWN_ANEW)
    return tuple(known[study] for study in wanted)


def start(data: dict[str, Any], first: Sequence[str] = FIRST) -> dict[str, Any]:
    """Where a view begins: two systems, those of `first` before others, and the first study in which both name one
    finding that is drawn; at its first word in each report. The first study and word where there is none: a rule that
    no map has a say in."""
    names = [system["preset"] for system in data["systems"]]
    wanted = [names.index(preset) for preset in first if preset in names]
    pair = [*wanted, *(at for at in range(len(names)) if at not in wanted), 0][:2]
    for study in range(len(data["studies"])):
        said = [
            {
                m["finding"]: m["words"][0]
                for m in reversed(data["systems"][at]["reports"][study]["mentions"])
                if m["drawn"]
            }
            for at in pair
        ]
        if both := [finding for finding in said[0] if finding in said[1]]:
            return {"study": study, "systems": pair, "words": [words[both[0]] for words in said], "finding": both[0]}
    return {"study": 0, "systems": pair, "words": [0, 0], "finding": None}


def part(data: dict[str, Any], presets: Sequence[str], studies: int) -> dict[str, Any]:
    """The named systems and the first `studies` studies with a finding of `data`. Raises `ConfigurationError` for a
    system that is not there."""
    systems = {system["preset"]: system for system in data["systems"]}
    if absent := [preset for preset in presets if preset not in systems]:
        raise ConfigurationError(f"{', '.join(absent)} is not in the explorer, which has {', '.join(systems)}")
    kept = [at for at, study in enumerate(data["studies"]) if study["findings"]][:studies]
    return {
        **data,
        "studies": [data["studies"][at] for at in kept],
        "systems": [
            {**systems[preset], "reports": [systems[preset]["reports"][at] for at in kept]}
            for preset in presets or systems
        ],
    }


def script(data: dict[str, Any], films: str | dict[str, list[str]], first: Sequence[str] = FIRST) -> str:
    """`data` as `explorer.js` reads them, beginning with the systems of `first`. `films`: the folder of
    `ID-VIEW.webp`, or study -> its pictures' addresses, frontal first."""
    told = {**data, "films": films, "start": start(data, first)}
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return f"window.EXPLORER={text};\n"


def explorer_view(*presets: str, studies: int = 3, data: dict[str, Any] | None = None) -> HTML:
    """Two systems side by side in a chapter: point at a word, and the films show where it looked.

    `presets` are systems of `data/explorer.json.gz` (default: all of them), shown on its first `studies` studies with a
    finding. Systems of one's own: `data=explored([mine, other], explored_studies())`. Raises `ConfigurationError` for a
    system that is not there.
    """
    from IPython.display import HTML  # pages are made without it

    shown = part(stored_explorer() if data is None else data, presets, studies)
    films = {
        study.id: [
            f"data:image/webp;base64,{base64.b64encode(film).decode()}" for film in film_pictures(study).values()
        ]
        for study in studies_of(shown)
    }
    colours = "".join(f"--pst-color-{name}:{plain};" for name, (plain, _) in _COLOURS.items())
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Explorer</title>'
        f'<style>:root{{{colours}}}{_FRAME_STYLE}{asset("explorer.css")}</style><body><div id="explorer"></div>'
        f"<script>{script(shown, films, presets or FIRST)}</script><script>{asset('explorer.js')}</script>"
        f"<script>const COLOURS={json.dumps(_COLOURS)};{_FRAME_SCRIPT}</script></body></html>"
    )
    inside = page.replace("&", "&amp;").replace("'", "&#39;")
    names = " and ".join(presets or [system["preset"] for system in shown["systems"]][:2])
    return HTML(
        f"<div><iframe class='rrg-explorer' title='Explorer: {names}, word by word' "
        f"style='width:100%;height:{_HEIGHT}px;border:0' srcdoc='{inside}'></iframe></div>"
    )
