"""What is slow to compute and depends on its input alone is computed once and kept in the workspace, named by the hash
of that input."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rrg_lib.errors import StorageError
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import workspace, write_json


@dataclass(frozen=True)
class Remembered:
    """A JSON value, the seconds it took to make it, and whether it was cached rather than made now."""

    value: Any
    seconds: float
    cached: bool


def remembered(
    kind: str, key: Any, make: Callable[[], Any], *, keep: Callable[[Any], bool] = lambda value: True
) -> Remembered:
    """The JSON value that `make` gives, from `workspace()/KIND/HASH.json` if it was made before with an equal `key` (a
    JSON value too).

    A file that cannot be read, or is of another key, is made again. Where nothing can be written the value is given all
    the same: a cache that is lost costs time, not results. `keep` may refuse a value that another time would come out
    better.
    """
    # the whole digest is compared, so that a name that two keys share by chance is never taken for an answer
    digest = content_hash(key, 64)
    path = workspace() / kind / f"{digest[:16]}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == digest:
            return Remembered(kept["value"], float(kept["seconds"]), True)
    start = time.perf_counter()
    value = make()
    seconds = time.perf_counter() - start
    if keep(value):
        with suppress(StorageError):
            write_json(path, {"key": digest, "seconds": seconds, "value": value})
    return Remembered(value, seconds, False)
