"""JSON as other people write it: with or without a byte order mark; and what is said of a file that is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rrg_lib.errors import AnnotationError


def read_json(path: Path, expected: str) -> Any:
    """What the file says. `expected` is the shape of such a file, in words or as an example.

    Raises `AnnotationError` naming the file, and where in it: not UTF-8, not JSON, nested too deep, a key that stands
    twice in one object (most readers would take the last and drop the others silently).
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in values if keys.count(key) > 1)
            raise AnnotationError(
                f"{path}: the key {twice!r} stands {keys.count(twice)} times in one object; expected each once. Keep "
                f"the right one"
            )
        return values

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path}: is not UTF-8 text (byte {error.start}); expected JSON. Get the file again"
        ) from error
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{path}: is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. Get the file again"
        ) from error
    except RecursionError as error:
        raise AnnotationError(f"{path}: is nested too deep; expected {expected}") from error
