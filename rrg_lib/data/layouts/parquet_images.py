"""The images that Parquet files carry as bytes in their rows, named and read like the files of a folder, a few rows at
a time."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from rrg_lib.errors import AnnotationError, ImageError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

#: So much of a file is unpacked at once; the largest image that is taken from a row (the largest that is decoded has
#: about half of it, uncompressed).
BATCH_BYTES, MOST_IMAGE_BYTES = 2**25, 2**27
_MOST_BLOCK = 2**29
_MOST_ROWS, _KEPT = 64, 4  # rows and blocks of rows that are in memory at a time
#: Images hardly get smaller in a table: one that unpacks to more than this many times its size holds something else.
_MOST_UNPACKED = 100


@dataclass(frozen=True, slots=True)
class Cell:
    """Where an image is: the file (by number), the row in it, the column, the place in the list of the column, and its
    bytes."""

    file: int
    row: int
    column: str
    place: int
    size: int


class ParquetImages:
    """Images by name. `images / name` is one of them: it can be looked for, measured and read, as a file can.

    Reading goes forward through a file and keeps the last rows: who reads in the order of the rows reads each once, and
    at most `BATCH_BYTES` a block are unpacked. Safe to share among threads; sent to another process it opens the files
    anew.
    """

    def __init__(self, root: Path, files: Sequence[str], cells: Mapping[str, Cell]):
        self.root, self.files, self.cells = root, tuple(files), cells
        self._columns = tuple(dict.fromkeys(cell.column for cell in cells.values()))
        self._forget()

    def _forget(self) -> None:
        self._lock = Lock()
        self._blocks: deque[tuple[int, int, list[dict[str, Any]]]] = deque(maxlen=_KEPT)
        self._at, self._next, self._starts, self._batches = -1, 0, [0], iter(())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name in ("root", "files", "cells", "_columns")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __truediv__(self, name: str) -> ParquetImage:
        return ParquetImage(self, name)

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        """The bytes of an image. Raises `ImageError` for one that is not there, too large, or in a file that is
        damaged."""
        cell = self.cells.get(name)
        if cell is None:
            raise ImageError(f"{self.root}/{name}: no such image. Check the name")
        if cell.size > MOST_IMAGE_BYTES:
            raise ImageError(
                f"{self.root}/{name}: has {cell.size:,} bytes, refused before decoding; the limit is "
                f"{MOST_IMAGE_BYTES:,}. Scale the image down, or replace it"
            )
        from pyarrow import ArrowException

        try:
            with self._lock:
                held = self._row(cell.file, cell.row)[cell.column]
        except (ArrowException, OSError, ValueError, AnnotationError) as error:
            self._forget()
            raise ImageError(
                f"{self.root / self.files[cell.file]}: is damaged in row {cell.row} ({error}). Get the file again"
            ) from error
        return image_bytes(held)[cell.place] or b""

    def _row(self, file: int, row: int) -> dict[str, Any]:
        for at, first, rows in self._blocks:
            if at == file and first <= row < first + len(rows):
                return rows[row - first]
        group = bisect_right(self._starts, row) - 1
        if file != self._at or row < self._next or self._starts[group] > self._next:
            self._go_to(file, row)
        for batch in self._batches:
            first, rows = self._next, batch.to_pylist()
            self._next += len(rows)
            self._blocks.append((file, first, rows))
            if row < self._next:
                return rows[row - first]
        raise ValueError(f"it has {self._next} rows")

    def _go_to(self, file: int, row: int) -> None:
        table = open_parquet(self.root / self.files[file])
        self._at, self._starts = file, group_starts(table)
        group = bisect_right(self._starts, row) - 1
        self._next = self._starts[group]
        self._batches = blocks(table, self._columns, range(group, table.metadata.num_row_groups))


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """One image of `ParquetImages`, in the words of a `Path`."""

    images: ParquetImages
    name: str

    def __str__(self) -> str:
        return f"{self.images}/{self.name}"

    def is_file(self) -> bool:
        return self.name in self.images.cells

    @property
    def size(self) -> int:
        """Its bytes. Raises `OSError` for an image that is not there, as a file's does."""
        if not self.is_file():
            raise FileNotFoundError(str(self))
        return self.images.cells[self.name].size

    def read_bytes(self) -> bytes:
        return self.images.read(self.name)


def open_parquet(path: Path) -> ParquetFile:
    """The file, mapped; nothing of it is unpacked. Raises `AnnotationError` for one that is no Parquet file, damaged,
    or that says it unpacks to far more than its size."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(path, memory_map=True, pre_buffer=False)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise AnnotationError(f"{path}: is no Parquet file, or damaged ({reason}). Get the file again") from error
    groups, size = map(table.metadata.row_group, range(table.metadata.num_row_groups)), path.stat().st_size
    unpacked = sum(group.total_byte_size for group in groups)
    if unpacked > _MOST_UNPACKED * size + BATCH_BYTES:
        raise AnnotationError(
            f"{path}: has {size:,} bytes and unpacks to {unpacked:,}, which no table of images does. Get the file again"
        )
    return table


def group_starts(table: ParquetFile) -> list[int]:
    """The number of the first row of every row group; [0] for a file without any."""
    starts = [0]
    for group in range(table.metadata.num_row_groups - 1):
        starts.append(starts[-1] + table.metadata.row_group(group).num_rows)
    return starts


def blocks(table: ParquetFile, columns: Sequence[str], groups: range | None = None) -> Iterator[Any]:
    """The rows (pyarrow batches) of some columns, so few at a time that about `BATCH_BYTES` are unpacked, and at most
    `_MOST_BLOCK` should all rows hold one image that is stored once. Raises pyarrow's errors."""
    for group in range(table.metadata.num_row_groups) if groups is None else groups:
        held = table.metadata.row_group(group)
        unpacked = max(1, held.total_byte_size)
        rows = min(BATCH_BYTES * held.num_rows // unpacked, _MOST_BLOCK // unpacked, _MOST_ROWS)
        yield from table.iter_batches(max(1, rows), row_groups=[group], columns=list(columns), use_threads=False)


def image_bytes(held: Any) -> list[bytes | None]:
    """The images of a cell: bytes, `{"bytes": …, "path": …}` as the hub writes them, or a list of these; None for one
    without bytes."""
    if isinstance(held, list):
        return [one for each in held for one in image_bytes(each)]
    if isinstance(held, dict):
        held = held.get("bytes")
    return [held if held else None]
