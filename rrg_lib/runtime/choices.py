"""A `Literal` is its own list of choices: a value that is none of them is named with the nearest."""

from __future__ import annotations

from typing import Any, get_args

from rrg_lib.errors import UnknownNameError


def check_choice(kind: str, value: Any, choices: Any) -> None:
    """Raises `UnknownNameError` unless `value` is one of the `choices` of a `Literal`; `kind` says of what."""
    if value not in get_args(choices):
        raise UnknownNameError(kind, value, get_args(choices))
