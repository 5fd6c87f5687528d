"""The site's explorer: what `data/explorer.json.gz` holds, as a script that the page loads, the films drawn again
beside it, and a still picture for who reads without JavaScript. Nothing is trained and no report is written here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from site_made import Made
from site_text import SiteError, figure, plain, table

from rrg_lib.book.explorer import CROSS, EXPLORER, shares_of, stored_explorer
from rrg_lib.book.explorer_view import asset, film_pictures, script, start, studies_of
from rrg_lib.book.figures.memory_querying_responding import WordMaps, word_regions
from rrg_lib.data.phantom import draw
from rrg_lib.data.study import Box, Study
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.attention import CROSS_ATTENTION

#: How the page's picture and its table are made.
SHOWN = Made(("rrg_lib.book.explorer.explored",), (EXPLORER,), "python tools/explorer.py")


def write(out: Path, static: Path) -> str:
    """The page's made part; its picture into `out`, its script and films into `static`, the folder that pages call
    `_static`. Raises `SiteError` for a file of other studies than the grammar samples now."""
    data = stored_explorer()
    try:
        studies = studies_of(data)
    except ConfigurationError as error:
        raise SiteError(str(error)) from error
    (folder := static / "explorer").mkdir(parents=True)
    for study in studies:
        for view, picture in film_pictures(study).items():
            (folder / f"{study.id}-{view}.webp").write_bytes(picture)
    (static / "explorer-data.js").write_text(script(data, "_static/explorer"), encoding="utf-8")
    for name in ("explorer.js", "explorer.css"):
        (static / name).write_text(asset(name), encoding="utf-8")
    return "\n\n".join(
        (
            '<link rel="stylesheet" href="_static/explorer.css"><div id="explorer">\n\n<p><strong>The explorer needs '
            "JavaScript, which is off here.</strong> Below is a still picture of where it begins.</p>",
            still(data, studies, out),
            "</div>",
            '<script src="_static/explorer-data.js"></script>\n<script src="_static/explorer.js"></script>',
            provenance(data),
        )
    )


def still(data: dict[str, Any], studies: Sequence[Study], out: Path) -> str:
    """The cross-attention of the word that the page begins with, of both systems."""
    begin, rows = start(data), []
    boxes = [Box(*box) for box in data["studies"][begin["study"]]["boxes"] if box[0] == begin["finding"]]
    for at, word in zip(begin["systems"], begin["words"], strict=True):
        system = data["systems"][at]
        report = system["reports"][begin["study"]]
        maps = {CROSS_ATTENTION: np.asarray(shares_of(report["looks"][CROSS])[word])}
        rows.append(WordMaps(data["words"][report["words"][word]], boxes, maps, whose=system["preset"]))
    drawn = word_regions(draw(studies[begin["study"]]).views, rows)
    drawn.savefig(out / "explorer.png", dpi=110)
    words = " and ".join(f"“{row.words}” by {row.whose}" for row in rows)
    alt = f"Two drawn films of {data['studies'][begin['study']]['id']}, and over them the cross-attention of {words}."
    caption = (
        "What to see: where each system looked while it wrote the word; the blue frame is the finding that was drawn."
    )
    return figure("/generated/explorer.png", alt, plain(caption), SHOWN.fold("figure"))


def provenance(data: dict[str, Any]) -> str:
    """Which runs are shown, what each learnt from, and which systems are not there."""
    rows = []
    for system in data["systems"]:
        rows.append(
            [
                plain(cell)
                for cell in (
                    system["preset"],
                    system["row"],
                    f"{system['dataset']}, data {system['data']}",
                    f"{system['run']}, experiment {system['experiment']}, weights {system['weights']}",
                    search_words(system),
                )
            ]
        )
    absent = (
        f"Not among them, because they were not trained where the file was made: {', '.join(data['absent'])}. "
        if data["absent"]
        else ""
    )
    different = sorted({system["dataset"] for system in data["systems"]})
    return "\n\n".join(
        (
            "## What is shown",
            f"{len(data['studies'])} test studies of `phantom`: findings, sentences and films are this book's own, "
            f"sampled and drawn. The systems learnt from other studies of {plain(' and '.join(different))}, a small "
            f"world in which every word that can be said of a film is known: here it can be seen whether a word looks "
            f"where its finding is, and nothing about real reports, which the systems of the results learnt from. "
            f"{absent}Stored in `data/explorer.json.gz` by `{data['command']}`, edition {data['edition']}; no report "
            f"is written while this page is built.",
            table(
                ["system", "row", "learnt from", "run", "search"], rows, "The systems of this page", SHOWN.fold("table")
            ),
        )
    )


def search_words(system: dict[str, Any]) -> str:
    """How the reports were searched, and what a memory that is gated by labels was told."""
    search = system["decoding"]
    parts = [
        "greedy" if search["beam_size"] == 1 else f"beam {search['beam_size']}",
        f"end bias {search['end_bias']:g}",
    ]
    if search["length_penalty"] != "none":
        parts.append(f"length penalty {search['length_penalty']} {search['alpha']:g}")
    if system["labels"]:
        parts.append(f"labels: {system['labels']}")
    return ", ".join(parts)
