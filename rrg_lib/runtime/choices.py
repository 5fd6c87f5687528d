"""A `Literal` is its own list of choices: a value that is none of them is named with the nearest."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

from rrg_lib.errors import UnknownNameError


def check_choice(kind: str, value: Any, choices: Any) -> None:
    """Raises `UnknownNameError` unless `value` is one of the `choices` of a `Literal`; `kind` says of what."""
    if value not in get_args(choices):
        raise UnknownNameError(kind, value, get_args(choices))


def check_choices(config: Any, of: str = "") -> None:
    """Raises `UnknownNameError` for the first field of a dataclass that is declared as a `Literal` and has another
    value; `of` is put before the field's name."""
    for name, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is Literal:
            check_choice(f"{of}{name}", getattr(config, name), hint)
