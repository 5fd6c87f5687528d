"""What the project ships in `data/`: published numbers, the IU X-Ray split, the finding maps. Read-only, packaged as
`rrg_data`."""

from __future__ import annotations

import csv
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `data/NAME.csv`, each a dictionary of strings."""
    with resources.files("rrg_data").joinpath(f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def extractor(name: str) -> bytes | None:
    """The weights of `data/extractors/NAME`, through which the stored results of a profile see; None where there is no
    such file."""
    entry = resources.files("rrg_data").joinpath("extractors", name)
    return entry.read_bytes() if entry.is_file() else None


def records(folder: str) -> dict[str, Any]:
    """What stands in each `data/FOLDER/*.json`, by file name without its ending."""
    return {
        entry.name.removesuffix(".json"): json.loads(entry.read_text(encoding="utf-8"))
        for entry in resources.files("rrg_data").joinpath(folder).iterdir()
        if entry.name.endswith(".json")
    }


def state(folder: str) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of each file of `data/FOLDER`: where they are the same nothing has changed. Zeros
    where the package is no folder."""
    found = []
    for entry in resources.files("rrg_data").joinpath(folder).iterdir():
        there = entry.stat() if isinstance(entry, Path) else None
        found.append((entry.name, there.st_size if there else 0, there.st_mtime_ns if there else 0))
    return tuple(sorted(found))
