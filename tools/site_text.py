"""Markdown for the site's made pages, and the one error of its tools."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from rrg_lib.runtime.document import PageHeading, PageList, PagePart, PageTable, PageText


class SiteError(Exception):
    """The site cannot be built, or must not be published, as it stands. The message names the page and what to do."""


def plain(text: object) -> str:
    """A text that says what it says: nothing in it is taken for markup. `Code` between backticks stays code; line
    breaks become blanks."""
    parts = re.split(r"(`[^`]+`)", " ".join(str(text).split()))
    return "".join(
        part if part.startswith("`") and len(part) > 2 else re.sub(r"([\\`*_\[\]{}<>$~^#])", r"\\\1", part)
        for part in parts
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, made: str) -> str:
    """A table with a caption that the reader can sort and filter, and how it was `made` (`site_made`). The cells are
    Markdown already: `plain` makes them so."""
    if not made.strip():
        raise SiteError(f"the table {caption!r} does not say how it was made; a number that can't be followed is none")
    lines = [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') or ' ' for cell in row)} |"
        for row in (header, ["---"] * len(header), *rows)
    ]
    return "\n".join([f":::{{table}} {caption}", ":class: sortable", "", *lines, ":::", "", made, ""])


def figure(path: str, alt: str, caption: str, made: str) -> str:
    """A picture with its description, its caption and how it was `made` (`site_made`). All are demanded: a figure
    without words is not published."""
    if not alt.strip() or not caption.strip():
        raise SiteError(f"{path}: a figure needs a description (alt) and a caption that says what to see")
    if not made.strip():
        raise SiteError(f"{path}: the figure does not say how it was made")
    return f":::{{figure}} {path}\n:alt: {' '.join(alt.split())}\n\n{caption}\n:::\n\n{made}\n"


def folded(title: str, body: str, kind: str = "rrg-fold") -> str:
    """A block that opens when its title is clicked, without any script."""
    return f'<details class="{kind}">\n<summary>{html.escape(title)}</summary>\n\n{body}\n\n</details>\n'


def page_part(part: PagePart, made: str) -> str:
    """A part of a report of the library as the site's Markdown, a level below the page's own; `made` says of a table
    how it was made. A picture, whose file lies elsewhere, is ""."""
    match part:
        case PageHeading():
            return f"{'#' * (part.level + 1)} {plain(part.text)}"
        case PageText():
            return f"**{plain(part.text)}**" if part.bold else plain(part.text)
        case PageList():
            return "\n".join(f"- {plain(point)}" for point in part.points)
        case PageTable():
            header, rows = [plain(c) for c in part.header], [[plain(c) for c in row] for row in part.rows]
            return table(header, rows, part.caption, made)
    return ""
