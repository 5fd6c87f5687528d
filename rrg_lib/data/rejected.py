"""Images that could not be used: set aside with their reason, listed in `rejected.csv`, and too many of them are a
reason to stop."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rrg_lib.runtime.workspace import written_whole

REJECTED = "rejected.csv"
#: The share of images that may be set aside before the run stops: a few of a large collection are damaged, more are a
#: mistake in the whole of it.
MAX_REJECTED = 0.05


class Rejected(NamedTuple):
    """A file that could not be used; `dropped` when no other view of its study could either, so that the study is not
    in the data."""

    study: str
    file: str
    reason: str
    dropped: bool


def save_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    """A table with the columns study, file, reason, dropped (the study: 0 or 1), written whole or not at all."""
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(Rejected._fields)
        table.writerows((*entry[:3], int(entry.dropped)) for entry in rejected)


def load_rejected(path: Path) -> tuple[Rejected, ...]:
    """The table again; nothing when there is no such file, because nothing was set aside."""
    if not path.is_file():
        return ()
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(
            Rejected(row["study"], row["file"], row["reason"], row["dropped"] == "1") for row in csv.DictReader(file)
        )
