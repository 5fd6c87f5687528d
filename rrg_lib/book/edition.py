"""The edition of the book: the package's version. A notebook says which edition it was written for, and finds out here
whether the library is of the same.

A notebook beside a library of another edition may run and show other numbers than its text speaks of; that is worse
than an error. The versions of all packages that an edition was made with are its lock, `locks/book.txt`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rrg_lib.errors import EditionError

PACKAGE = "rrg-book"
#: Where the book's own files lie; for a library installed without them, a folder that has none.
CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = CHECKOUT / "locks" / "book.txt"


@dataclass(frozen=True)
class Locked:
    """One entry of a lock: the package by its normalised name, its one version, the marker that says where it is needed
    ("" for everywhere), and the SHA-256 of each file it may be installed from."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def applies(self) -> bool:
        """Whether the package is needed on this platform and this Python."""
        from packaging.markers import Marker

        return not self.marker or Marker(self.marker).evaluate()


def installed() -> str:
    """The version of the installed package. Raises `EditionError` where the library is imported without being
    installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        raise EditionError(
            f"rrg_lib is imported, but the package {PACKAGE} is not installed, so its edition is not known; in the "
            f"book's folder run: make install"
        ) from None


def require(edition: str) -> None:
    """Silent when the installed library is of this edition: "0.1" is every 0.1.x, "0.1.2" that one alone.

    Raises `EditionError` naming both editions and the command that brings them together.
    """
    asked, there = _numbers(edition), _numbers(installed())
    if asked == there[: len(asked)]:
        return
    if asked > there:
        remedy = (
            "the notebook is the newer one: in the book's folder run `git pull` and `make install`, then restart the "
            "kernel"
        )
    else:
        remedy = (
            "the notebook is the older one: take the notebook of the library's edition; in the book's folder `make "
            "release` writes them all"
        )
    raise EditionError(
        f"this notebook is of edition {edition} of the book, and the installed rrg_lib of edition {installed()}; "
        f"{remedy}"
    )


def read_lock(path: Path = LOCK) -> list[Locked]:
    """The entries of a lock file, as `make lock` writes it. Raises `EditionError` naming the first line that pins no
    version."""
    entries = []
    text = re.sub(r"\s*\\\n\s*", " ", Path(path).read_text(encoding="utf-8"))
    for line in text.splitlines():
        entry = line.partition(" #")[0].strip()
        if not entry or entry.startswith("#"):
            continue
        pinned = re.fullmatch(
            r"([A-Za-z0-9._-]+)==([^\s;]+)(?:\s*;\s*(.+?))?((?:\s+--hash=sha256:[0-9a-f]{64})*)", entry
        )
        if pinned is None:
            raise EditionError(
                f"{path}: {entry[:80]!r} does not pin one version of a package; write the lock anew: make lock"
            )
        name, number, marker, hashes = pinned.groups()
        entries.append(Locked(normalised(name), number, marker or "", tuple(re.findall(r"[0-9a-f]{64}", hashes))))
    return entries


def normalised(name: str) -> str:
    """A package's name as indexes compare it: Jinja2 and jinja2, typing_extensions and typing-extensions are one."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(edition: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in edition.split("."))
    except ValueError:
        raise EditionError(
            f"{edition!r} is no edition; expected numbers with points between them, such as 0.1"
        ) from None
