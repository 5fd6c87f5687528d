"""Tables as Markdown text, readable in a terminal too."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, its columns aligned. A bar in a cell is escaped and a line break becomes a blank, so that a
    cell stays a cell."""
    cells = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *body = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    return ["| " + " | ".join(row) + " |" for row in (head, ["-" * width for width in widths], *body)]
