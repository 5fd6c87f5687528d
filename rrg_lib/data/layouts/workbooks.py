"""A table in an Excel workbook (.xlsx), read row by row like a CSV table."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rrg_lib.data.layouts.csv_tables import check_header
from rrg_lib.errors import AnnotationError, ConfigurationError

#: A workbook that unpacks to more is refused before it is opened: a hundred thousand reports have a fifth of it.
MOST_UNPACKED = 2**28
_OLD = b"\xd0\xcf\x11\xe0"  # .xls, and .xlsx behind a password


def read_workbook(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, row) of every row of the first sheet, whose first row is the header; a row that stands empty is left
    out. Numbers are written without a needless ".0", days as 2026-01-31; of a formula the value is taken that the
    program stored.

    Raises `ConfigurationError` where the package that reads workbooks is not installed; `AnnotationError` naming file,
    sheet and row: no workbook, an old or locked one, one that unpacks to too much, a required column that is missing or
    stands twice, a cell beside the table.
    """
    with open(path, "rb") as file:
        begins = file.read(4)
    if begins == _OLD:
        raise AnnotationError(
            f"{path}: is an old workbook (.xls) or one behind a password; expected .xlsx. Save it as .xlsx without a "
            f"password, or as CSV"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise AnnotationError(
            f"{path}: is no workbook, or damaged ({error}); expected .xlsx. Save it again, or save it as CSV"
        ) from error
    if unpacked > MOST_UNPACKED:
        raise AnnotationError(
            f"{path}: unpacks to {unpacked:,} bytes; expected at most {MOST_UNPACKED:,}. Save the table as CSV"
        )
    if find_spec("openpyxl") is None or find_spec("defusedxml") is None:
        raise ConfigurationError(
            f"{path}: workbooks are read by the package openpyxl, which is not installed; run: pip install "
            f"'rrg-book[xlsx]', or save the table as CSV"
        )
    yield from _rows(path, required)


def _rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # what a program says of the size of its sheet is not always so
        rows = sheet.iter_rows(values_only=True)
        header = [_text(value) for value in next(rows, ())]
        while header and not header[-1]:
            header.pop()
        check_header(Path(f"{path}, sheet {sheet.title!r}"), header, required)
        for number, values in enumerate(rows, start=2):
            texts = [_text(value) for value in values]
            if any(texts[len(header) :]):
                raise AnnotationError(
                    f"{path}, sheet {sheet.title!r}, row {number}: has the cell "
                    f"{next(filter(None, texts[len(header) :]))!r} beside the table; the header has {len(header)} "
                    f"columns. Take it out, or give its column a name"
                )
            if any(texts):
                texts += [""] * (len(header) - len(texts))
                yield number, dict(zip(header, texts[: len(header)], strict=True))
        book.close()
    except AnnotationError:
        raise
    except Exception as error:  # a damaged workbook can fail in any way
        raise AnnotationError(
            f"{path}: is no workbook that can be read ({type(error).__name__}: {str(error)[:120]}). Save it again, or "
            f"save the table as CSV"
        ) from error


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == datetime.min.time():
        value = value.date()
    return value.isoformat() if isinstance(value, date) else str(value).strip()
