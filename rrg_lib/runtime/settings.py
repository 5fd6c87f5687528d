"""What a setting may be is written in its type, and read in one place: `epochs: Annotated[int, Ge(1)] = 100` is a whole
number of at least 1, and whatever else somebody gives is refused with its name, its range and an example.

The ranges are those of `annotated_types`, as pydantic reads them. pydantic itself does not read them here: presets are
made whenever `rrg --help` is, for which its import takes too long, and it words neither part nor example.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen

from rrg_lib.errors import ConfigurationError, UnknownNameError

Count = Annotated[int, Ge(1)]
#: Of a layer, a word, a patch; what is larger is a slip of the finger, and overflows before memory runs out.
Size = Annotated[int, Interval(ge=1, le=65_536)]
#: What falls out of a layer.
DropShare = Annotated[float, Interval(ge=0, lt=1)]
NonNegative = Annotated[float, Ge(0)]
#: Taken by PyTorch, numpy and Python alike.
SeedNumber = Annotated[int, Interval(ge=0, le=2**32 - 1)]

_PLAIN = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "null"}
_BOUNDS = {Ge: "of at least", Gt: "above", Le: "at most", Lt: "below"}
_SHOWN = 60


def check_settings(config: Any, part: str = "") -> None:
    """Holds each field of a dataclass against its type; `part` is what the settings are called together.

    Raises:
        UnknownNameError: none of the choices of a `Literal`; lists them.
        ConfigurationError: of another type, out of its range, or not finite.
    """
    for name, hint in _hints(type(config)).items():
        check_setting(f"{part}.{name}" if part else name, getattr(config, name), hint, _default(type(config), name))


def check_setting(name: str, value: Any, hint: Any, example: Any = None) -> None:
    """Holds one value against a type; raises as `check_settings` does. Where there is no `example`, one is made."""
    if fits(value, hint):
        return
    example = _example(hint) if example is None else example
    such = f"for example {name}={json.dumps(example) if not isinstance(example, str) else example}"
    if get_origin(hint) is Literal:
        raise UnknownNameError(name, value, get_args(hint), such[0].upper() + such[1:])
    raise ConfigurationError(f"{name} is {_as_written(value)}: expected {in_words(hint)}, {such}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type and in its range. A whole number is a number, true is none, and neither is NaN; of a
    class, any object: it has checked itself."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(value, parts[0]) and all(_keeps(value, bound) for bound in _bounds(parts[1:]))
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is tuple:
        each = parts[:1] * len(value) if parts[-1] is Ellipsis and isinstance(value, tuple) else parts
        return isinstance(value, tuple) and len(value) == len(each) and all(map(fits, value, each))
    if origin is dict:
        return isinstance(value, Mapping) and all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool) and _is_finite(value)
    return isinstance(value, hint) if hint in _PLAIN else True


def in_words(hint: Any) -> str:
    """A type and its range in words: "a whole number of at least 1"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = list(_bounds(parts[1:]))
        words = " and ".join(f"{_BOUNDS[type(b)]} {_limit(b)}" for b in bounds if type(b) in _BOUNDS)
        empty = "not empty" if any(isinstance(bound, MinLen) for bound in bounds) else ""
        return " ".join(filter(None, [in_words(parts[0]), words, empty and f"({empty})"]))
    if origin in (Union, UnionType):
        return " or ".join(map(in_words, parts))
    if origin is Literal:
        return " or ".join(parts)
    if origin is tuple:
        many = "a list" if parts[-1] is Ellipsis else f"a list of {len(parts)}"
        return f"{many}, each {in_words(parts[0])}"
    if origin is dict:
        return f"names, each with {in_words(parts[1])}"
    return _PLAIN.get(hint, str(hint))


@cache
def _hints(kind: type) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name in names}


def _default(kind: type, name: str) -> Any:
    """None where there is no default."""
    field = next(field for field in fields(kind) if field.name == name)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _bounds(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for each in metadata:
        if isinstance(each, GroupedMetadata):
            yield from each
        elif isinstance(each, (*_BOUNDS, MinLen)):
            yield each


def _limit(bound: Any) -> float:
    return getattr(bound, bound.__match_args__[0])


def _is_finite(number: Real) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that is too large for a float
        return False


def _keeps(value: Any, bound: Any) -> bool:
    match bound:
        case Ge(limit):
            return value >= limit
        case Gt(limit):
            return value > limit
        case Le(limit):
            return value <= limit
        case Lt(limit):
            return value < limit
    return len(value) >= bound.min_length


def _example(hint: Any) -> Any:
    """The first plain value that fits, None (null) where none does."""
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return next((value for value in (*choices, 1, 0.5, "FILE", True) if fits(value, hint)), None)


def _as_written(value: Any) -> str:
    """A value as `--set` takes it, cut where it is long."""
    if isinstance(value, str):
        shown = repr(value)
    else:
        try:
            shown = json.dumps(value)
        except (TypeError, ValueError):  # nothing of JSON's; a whole number of thousands of digits
            shown = repr(value) if not isinstance(value, Integral) else "a number of thousands of digits"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
