"""Errors of the user's making. Every message names the file or value, what was expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RRGError(Exception):
    """Base of all errors that a user can mend. The command line prints the message alone, without a traceback, and
    exits with 2."""


class UnknownNameError(RRGError, KeyError):
    """A preset, study, metric, … that does not exist. The message lists the nearest names, and all where there are
    few."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = ""):
        known = list(known)
        near = difflib.get_close_matches(str(name), known, n=4, cutoff=0.4)
        parts = [f"nearest: {', '.join(near)}"] if near else []
        if not near or len(known) <= 6:
            parts.append(f"known: {', '.join(sorted(known)[:12])}{', …' if len(known) > 12 else ''}")
        super().__init__(f"unknown {kind} {name!r}; {'; '.join(parts)}{'. ' + hint if hint else ''}")

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return self.args[0]


class DataRootError(RRGError):
    """No dataset at the given folder. The message lists what was looked for, what is there instead, and the command
    that prepares it."""


class ImageError(RRGError):
    """A file that is not a readable radiograph."""


class ReportError(RRGError):
    """A report that cannot be used: empty after cleaning, or of another protocol."""


class AnnotationError(RRGError):
    """An annotation file that does not say what it must, or points outside its root."""


class CheckpointError(RRGError):
    """A checkpoint of another preset, vocabulary or format, or a damaged one."""


class ConfigurationError(RRGError):
    """A setting that cannot be: the message names the field, the value and what it may be."""


class EditionError(RRGError):
    """A notebook of one edition of the book and a library of another."""


class OutOfMemoryError(RRGError):
    """Memory ran out. The message says which settings need less."""


class JavaError(RRGError):
    """METEOR needs Java and none works here."""


class DownloadError(RRGError):
    """A file could not be fetched, is not the one that was asked for, or is an archive that must not be unpacked."""


class StorageError(RRGError):
    """Writing failed (a full disk, no permission). Nothing half-written is left."""
