"""Cells of a CSV table that a spreadsheet shows and never runs."""

from __future__ import annotations

import re

#: What a spreadsheet takes for a formula when a cell begins so; a number with its sign is a number.
_FORMULA = re.compile(r"(?![-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$)[=+\-@\t\r]")
_QUOTED = re.compile(r"'(?=[=+\-@\t\r])")


def as_cell(text: str) -> str:
    """A text, with an apostrophe before what would be a formula: spreadsheets leave it out and show the rest."""
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(cell: str) -> str:
    """The text that `as_cell` made a cell of."""
    return cell[1:] if _QUOTED.match(cell) else cell
