"""Draws every figure of the folder `figures/`, from stored results and the runs that are trained here, and writes its
README: caption and provenance of each. Trains nothing. A figure of a trained run is left as it is where that run is not
in this workspace.

python tools/figures.py
python tools/figures.py --only cmn_figure_3 bleu_against_findings --out figures
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from rrg_lib.book.edition import installed
from rrg_lib.book.figures.style import STYLE
from rrg_lib.runtime.workspace import written_whole

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
#: No picture is larger, in bytes.
MOST = 200_000
#: Pixels an inch that are tried.
GRAINS = (150, 120, 100)
HEADER = """\
# The figures

Written by `make figures`, with the pictures beside it; nothing in this file is typed. Radiographs are
drawn unless a caption says otherwise. Below each picture: what to see, the function that draws it, the edition, the
files of `data/` it is made of with their common hash, the command.
"""
_ENTRY = re.compile(
    r"^## (?P<name>\w+)\n.*?data: (?P<sources>[^\n]*), sha256 (?P<hash>[0-9a-f]{12})", re.MULTILINE | re.DOTALL
)


def picture(drawn: Figure) -> bytes:
    """A figure as PNG of 256 colours, which hold its lines, text and grays in a third of the bytes; films, of the
    finest grain that `MOST` bytes hold."""
    for dpi in GRAINS:
        whole, small = BytesIO(), BytesIO()
        with rc_context(STYLE):
            drawn.savefig(whole, format="png", dpi=dpi)
        Image.open(whole).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            small, format="png", optimize=True
        )
        if small.tell() <= MOST:
            break
    return small.getvalue()


def section(name: str) -> str:
    """The README's part about one figure."""
    from rrg_lib.book.figures.folder import ENTRIES, digest

    entry = ENTRIES[name]
    files = ", ".join(f"`data/{source}`" for source in entry.sources)
    run = "\n- and a run that was trained in the workspace, named above the picture" if entry.needs_run else ""
    return (
        f"## {name}\n\n![{entry.caption}]({name}.png)\n\n{entry.caption}\n\n- drawn by: `{entry.function}`, edition "
        f"{installed()}\n"
        f"- data: {files}, sha256 {digest(entry.sources, DATA)}{run}\n- command: `python tools/figures.py --only "
        f"{name}`\n"
    )


def sections(readme: str) -> dict[str, str]:
    """Name -> its part of a README that this tool wrote."""
    return {part.split("\n", 1)[0]: f"## {part.rstrip()}\n" for part in readme.split("\n## ")[1:]}


def recorded(readme: str) -> dict[str, tuple[list[str], str]]:
    """Name -> the patterns of the files below `data/` that a figure was made of, and their hash when it was drawn."""
    return {m["name"]: (re.findall(r"`data/([^`]+)`", m["sources"]), m["hash"]) for m in _ENTRY.finditer(readme)}


def main(argv: list[str] | None = None) -> int:
    from rrg_lib.book.figures.folder import ENTRIES, figure
    from rrg_lib.errors import RRGError, UnknownNameError
    from rrg_lib.experiments.results import stored_results

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "figures", help="the folder of the figures")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {', '.join(ENTRIES)}")
    given = parser.parse_args(argv)
    os.environ.setdefault("RRG_HOME", str(ROOT / "build"))
    readme = given.out / "README.md"
    kept = sections(readme.read_text(encoding="utf-8")) if readme.is_file() else {}
    try:
        for name in given.only or ():  # all before the first is drawn: else it would lie there without its entry
            if name not in ENTRIES:
                raise UnknownNameError("figure", name, ENTRIES)
        results = stored_results()
        pictures: dict[str, bytes] = {}  # all are drawn before the first is written
        for name in given.only or ENTRIES:
            drawn, missing = figure(name, results)
            if missing and ENTRIES[name].needs_run:
                print(f"{name}: left as it is. {missing}", flush=True)
                continue
            small = picture(drawn)
            if len(small) > MOST:
                raise RRGError(f"{name}.png has {len(small):,} bytes, more than {MOST:,}; draw it smaller")
            pictures[name], kept[name] = small, section(name)
            print(
                f"{name}.png, {len(small) / 1000:.0f} kB"
                + (f". Not run in part or whole: {missing}" if missing else ""),
                flush=True,
            )
    except RRGError as error:
        print(error, file=sys.stderr)
        return 2
    for name, small in pictures.items():
        with written_whole(given.out / f"{name}.png") as temporary:
            temporary.write_bytes(small)
    if not given.only:
        for stray in set(kept) - set(ENTRIES):
            kept.pop(stray)
            (given.out / f"{stray}.png").unlink(missing_ok=True)
    parts = [kept[name] for name in ENTRIES if name in kept]
    with written_whole(readme) as temporary:
        temporary.write_text("\n".join([HEADER, *parts]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
