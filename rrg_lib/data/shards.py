"""The files of a prepared dataset: their names and format, the shards (Arrow streams of some studies, written whole,
each with the means of its own verification), and the list of the images that were set aside."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rrg_lib.data.sources import VIEWS, Picture, Source
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, Box, Finding, Study
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ImageError, StorageError
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.spreadsheet import as_cell, of_cell
from rrg_lib.runtime.workspace import written_whole

#: Raised whenever a prepared folder of an older version could be read wrongly.
FORMAT = 1
MANIFEST, VOCABULARY, REJECTED = "manifest.json", "vocabulary.json", "rejected.csv"
#: The share of images that may be set aside before the run stops: a few of a large collection are damaged, more are a
#: mistake in the whole of it.
MAX_REJECTED = 0.05

_TEXTS = pa.list_(pa.string())
_FINDING = pa.struct([(field.name, _TEXTS if field.name == "place" else pa.string()) for field in fields(Finding)])
_BOX = pa.struct(
    [(field.name, pa.string() if field.name in ("finding", "code") else pa.int32()) for field in fields(Box)]
)

#: A row is a study. `views` are the bytes of a (V, H, W) uint8 array; `num_views` of them are the study's own, the rest
#: repeat its last.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("report", pa.string()),
        ("cleaned", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("drawn", pa.list_(pa.uint8(), len(DRAWN_FINDINGS))),
        ("observations", pa.list_(pa.uint8(), len(OBSERVATIONS))),
        ("findings", pa.list_(_FINDING)),
        ("boxes", pa.list_(_BOX)),
        ("views", pa.binary()),
        ("num_views", pa.int32()),
        ("source", pa.string()),
        ("files", _TEXTS),
        ("provenance", pa.string()),
    ]
)
#: Where the same pictures and words came from does not make them others: these columns are no part of the content hash.
_PROVENANCE = ("source", "files", "provenance")
_REQUEST, _DIGEST, _REJECTED = b"rrg:request", b"rrg:digest", b"rrg:rejected"


class Rejected(NamedTuple):
    """A file that could not be used; `dropped` when no other view of its study could either, so that the study is not
    in the data."""

    study: str
    file: str
    reason: str
    dropped: bool


@dataclass(frozen=True, slots=True)
class Shard:
    """A written shard: file name, number of studies, size and SHA-256 of the file, digest of its studies, and what it
    had to leave out."""

    name: str
    studies: int
    bytes: int
    sha256: str
    digest: str
    rejected: tuple[Rejected, ...] = ()


def row(study: Study, picture: Picture, source: Source, vocabulary: Vocabulary) -> dict[str, Any]:
    """One study and its picture as a row of `SCHEMA`. Raises `ReportError` for a report that is empty after
    cleaning."""
    cleaned = vocabulary.protocol.clean_checked(study.report, study.id)
    views = np.ascontiguousarray(picture.views[:VIEWS])  # (V, H, W)
    if views.dtype != np.uint8 or views.ndim != 3 or not len(views):
        raise ImageError(
            f"study {study.id!r}: {source.name} gave views {views.shape} {views.dtype}; expected (V, H, W) uint8 with "
            f"V at least 1"
        )
    num_views = len(views)
    boxes = [box for box in picture.boxes if box.view < VIEWS]
    if num_views < VIEWS:
        views = np.concatenate([views, np.repeat(views[-1:], VIEWS - num_views, axis=0)])
        last = [box for box in boxes if box.view == num_views - 1]  # what is on a view is on its repetition too
        boxes += [replace(box, view=view) for view in range(num_views, VIEWS) for box in last]
    provenance = {"source": source.name, **picture.provenance, "repeated_views": VIEWS - num_views}
    return {
        "id": study.id,
        "split": study.split,
        "report": study.report,
        "cleaned": cleaned,
        "tokens": vocabulary.encode(study.report),
        "drawn": list(study.drawn),
        "observations": list(study.observations),
        "findings": [asdict(finding) | {"place": list(finding.place)} for finding in study.findings],
        "boxes": [asdict(box) for box in boxes],
        "views": views.tobytes(),
        "num_views": num_views,
        "source": study.source,
        "files": list(study.views),
        "provenance": json.dumps(provenance, sort_keys=True, ensure_ascii=False),
    }


def study_of(row: dict[str, Any]) -> Study:
    """The study that a row was made from."""
    findings = tuple(Finding(**(finding | {"place": tuple(finding["place"])})) for finding in row["findings"])
    return Study(row["id"], row["split"], row["report"], findings, tuple(row["files"]), row["source"])


def boxes_of(row: dict[str, Any]) -> tuple[Box, ...]:
    return tuple(Box(**box) for box in row["boxes"])


def rows_digest(rows: Iterable[dict[str, Any]]) -> str:
    """SHA-256 of the content of rows, whatever Arrow version or file they are in."""
    total = hashlib.sha256()
    for one in rows:
        words = {name: value for name, value in one.items() if name != "views" and name not in _PROVENANCE}
        total.update(content_hash(words, 64).encode() + hashlib.sha256(one["views"]).digest())
    return total.hexdigest()


def write_shard(path: Path, source: Source, studies: Sequence[Study], vocabulary: Vocabulary, request: str) -> Shard:
    """Draws or reads the studies and writes them to `path`, whole or not at all; a shard that is already there and
    sound is kept.

    Files that can't be read are set aside, and with them a study that has no other. `request` is stored in the file: a
    shard of another request is not sound. Raises `StorageError` when the disk is full, or does not give back what was
    written.
    """
    ids = [study.id for study in studies]
    if kept := sound_shard(path, ids, request):
        return kept
    rows, rejected = [], []
    for study in studies:
        picture = source.picture(study)
        rejected += [Rejected(study.id, file, reason, not len(picture.views)) for file, reason in picture.rejected]
        if len(picture.views) or not picture.rejected:
            rows.append(row(study, picture, source, vocabulary))
    metadata = {_REQUEST: request.encode(), _DIGEST: rows_digest(rows).encode()}
    if rejected:
        metadata[_REJECTED] = json.dumps(rejected, ensure_ascii=False).encode()
    table = pa.Table.from_pylist(rows, SCHEMA.with_metadata(metadata))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        file.write(sink.getvalue())
    written = sound_shard(path, ids, request)  # read back: what later runs will find
    if written is None:
        raise StorageError(
            f"{path}: reads back differently from what was written. Check the disk, or choose another folder, then run "
            f"again"
        )
    return written


def sound_shard(path: Path, ids: Sequence[str], request: str) -> Shard | None:
    """The shard at `path` if it holds exactly these studies (less those it says it dropped) for this request,
    undamaged; else None."""
    try:
        data = path.read_bytes()
        table = pa.ipc.open_stream(data).read_all()
        metadata = table.schema.metadata
        rejected = tuple(Rejected(*entry) for entry in json.loads(metadata.get(_REJECTED, b"[]")))
        dropped = {entry.study for entry in rejected if entry.dropped}
        stored_ids = table["id"].to_pylist()
        sound = (
            metadata[_REQUEST].decode() == request
            and table.schema.equals(SCHEMA)
            and stored_ids == [name for name in ids if name not in dropped]
        )
        content = rows_digest(table.to_pylist()) if sound else ""
        if not sound or content != metadata[_DIGEST].decode():
            return None
    except (
        OSError,
        pa.ArrowException,
        KeyError,
        TypeError,
        ValueError,
    ):  # absent, cut short, or not ours: it is made again
        return None
    return Shard(path.name, len(stored_ids), len(data), hashlib.sha256(data).hexdigest(), content, rejected)


def mapped_shard(path: Path) -> pa.Table:
    """The shard's rows as views of the mapped file: nothing is copied. Raises `OSError` and `pa.ArrowException`."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        return reader.read_all()


def shard_request(path: Path) -> str | None:
    """The request that the shard at `path` was made for; None when it can't be read."""
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            return reader.schema.metadata[_REQUEST].decode()
    except (OSError, pa.ArrowException, KeyError, TypeError, UnicodeDecodeError):
        return None


def save_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    """A table with the columns study, file, reason, dropped (the study: 0 or 1), written whole or not at all."""
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(Rejected._fields)
        table.writerows((*map(as_cell, entry[:3]), int(entry.dropped)) for entry in rejected)


def load_rejected(path: Path) -> tuple[Rejected, ...]:
    """The table again; nothing when there is no such file, because nothing was set aside."""
    if not path.is_file():
        return ()
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(
            Rejected(*(of_cell(row[name]) for name in ("study", "file", "reason")), row["dropped"] == "1")
            for row in csv.DictReader(file)
        )
