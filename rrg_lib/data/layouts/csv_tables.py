"""CSV tables as other people write them: with or without a byte order mark, CRLF or LF, gzipped or not; and what is
said of those that are broken."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rrg_lib.errors import AnnotationError

#: Separators that a table is often saved with by mistake; only used to say so.
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}

#: What programs write where there is nothing.
_NOTHING = frozenset(("nan", "none", "null", "n/a", "na", "<na>", "#n/a"))


def given(text: str | None) -> str:
    """A cell's text; "" for an empty one, and for what programs write into one ("nan", "None", "N/A")."""
    text = (text or "").strip()
    return "" if text.lower() in _NOTHING else text


def find_table(root: Path, pattern: str) -> Path | None:
    """The first file in `root` that matches a pattern such as `mimic-cxr-*-split.csv`, plain before gzipped; None if
    there is none."""
    return next((path for tail in ("", ".gz") for path in sorted(root.glob(pattern + tail)) if path.is_file()), None)


def read_table(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of every row of a comma-separated UTF-8 table with a header; a row that stands empty is left
    out.

    Raises `AnnotationError` naming file and line: not UTF-8, no header, a required column that is missing or stands
    twice, another separator, a row of another length, damaged compression.
    """
    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        stream = gzip.GzipFile(fileobj=plain) if packed else plain
        try:
            reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
            header = [name.strip() for name in next(reader, [])]
            check_header(path, header, required)
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(header):
                    raise AnnotationError(
                        f"{path}, line {reader.line_num}: has {len(values)} values, the header {len(header)}; a text "
                        f"with a comma needs quotes around it"
                    )
                yield reader.line_num, dict(zip(header, values, strict=True))
        except UnicodeDecodeError as error:
            raise AnnotationError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise AnnotationError(
                f"{path}: its compression is cut short or damaged ({error}). Get the file again"
            ) from error
        except csv.Error as error:
            raise AnnotationError(
                f"{path}, line {reader.line_num}: is no row of a CSV table ({error}). Mend the line, or get the file "
                f"again"
            ) from error


def check_header(path: Path, header: list[str], required: Sequence[str]) -> None:
    """Raises `AnnotationError` for a header without a required column, with one twice, or of another separator."""
    if not any(header):
        raise AnnotationError(f"{path}: is empty; expected a header with the columns {', '.join(required)}")
    missing = [name for name in required if name not in header]
    if missing and len(header) == 1:
        for separator, words in _OTHER_SEPARATORS.items():
            if separator in header[0]:
                raise AnnotationError(
                    f"{path}: its columns are separated by {words}; expected commas. Save it as comma-separated"
                )
    if missing:
        shown = ", ".join(map(repr, header[:8]))
        raise AnnotationError(
            f"{path}: has no column {' and no '.join(map(repr, missing))}; there is {shown}. Name the columns so"
        )
    if twice := [name for name in required if header.count(name) > 1]:
        raise AnnotationError(f"{path}: the column {twice[0]!r} stands there {header.count(twice[0])} times. Keep one")
