"""IU X-Ray as people give it out on a hub of data sets: rows in JSON lines with the images beside them, or in Parquet
files that carry the images as bytes. Each copy calls its columns as it likes.

Source: the hub's own rules for folders of images (`metadata.jsonl`, `file_name`, splits told by the names of files and
folders) and for images in Parquet (`{"bytes": …, "path": …}`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rrg_lib.data import iu_xray
from rrg_lib.data.layouts.collection import Collection, ImageFolder, Position, ViewRule, ordered, position, split_part
from rrg_lib.data.layouts.csv_tables import given
from rrg_lib.data.layouts.parquet_images import Cell, ParquetImages, blocks, image_bytes, open_parquet
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import SPLITS, Split, Study
from rrg_lib.errors import AnnotationError, DataRootError

JSONL = ("*.jsonl", "*/*.jsonl")
PARQUET = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
#: Columns as the copies call them (small letters, words joined by "_"), the surest first.
_REPORTS = (
    *("findings", "section_findings", "findings_section", "finding"),
    *("report", "reports", "text", "caption", "reference"),
)
_IDS = ("study_id", "uid", "id", "study", "report_id", "image_id")
_VIEWS = ("view", "views", "view_position", "projection", "projections", "frontal_lateral")
_IMAGE = re.compile(
    r"(?:(?:main|key|frontal|lateral|first|second)_)?(?:images?|imgs?|pictures?)(?:_paths?)?(?:_\d+)?"
    r"|(?:.*_)?file_?names?|paths?"
)
_LINE_LIMIT = 2**24  # bytes of a line; a row has a few thousand
_ROW = '{"file_name": "…" (or images: ["…", …]), "findings": "…" (or report), "id": "…"}'


@dataclass
class _Rows:
    """What the rows of one study say together."""

    where: str
    report: str
    split: Split | None
    images: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    """One row: its place in words, its cells but the images, its images as `Study.views` names them, and what they were
    called where the copy was made."""

    where: str
    file: Path
    cells: Mapping[str, Any]
    images: tuple[str, ...]
    called: tuple[str, ...]
    name: str  # of a study that is this row alone


def hub_files(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of a copy, by name; none for what is no folder."""
    found = (path for pattern in patterns for path in root.glob(pattern)) if root.is_dir() else ()
    return sorted({path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)})


def read_hub_jsonl(root: Path, rule: ViewRule) -> Collection:
    """The studies of all JSON-lines files of the folder, train then val then test; see `_collection`. Images are paths
    from the folder of the file, from `root`, or from an `images/` in either.

    Raises:
        DataRootError: no such file, or no report in them.
        AnnotationError: a line that is no object, no column of images or reports, a path that leads out, a study with
            two reports or in two splits; names file and line.
    """
    root = root.resolve()
    files = hub_files(root, JSONL)
    if not files:
        raise DataRootError(f"{root}: looked for {' or '.join(JSONL)} (a hub's copy of IU X-Ray); {listing(root)}")
    return _collection(root, root, (row for path in files for row in _lines(root, path)), files, rule)


def read_hub_parquet(root: Path, rule: ViewRule) -> Collection:
    """The studies of all Parquet files of the folder, train then val then test; see `_collection`. Images are bytes in
    the rows (PNG or JPEG; checked when they are read, before they are decoded). The files are read a block of rows at a
    time; of the images only their sizes are kept.

    Raises:
        DataRootError: no such file, or no report in them.
        AnnotationError: no Parquet file or a damaged one, no column of image bytes or of reports, a study with two
            reports or in two splits; names file and row.
    """
    root = root.resolve()
    files = hub_files(root, PARQUET)
    if not files:
        raise DataRootError(f"{root}: looked for {' or '.join(PARQUET)} (a hub's copy of IU X-Ray); {listing(root)}")
    names = [path.relative_to(root).as_posix() for path in files]
    for name in names:
        check_inside(f"{root}:", name, root)
    cells: dict[str, Cell] = {}
    rows = [row for i, name in enumerate(names) for row in _parquet_rows(root, name, i, cells)]
    return _collection(root, ParquetImages(root, names, cells), rows, files, rule)


def _collection(
    root: Path, images: ImageFolder, rows: Iterator[_Row] | Sequence[_Row], files: Sequence[Path], rule: ViewRule
) -> Collection:
    """Rows as studies.

    A row is of the study of the collection that its id or the names of its images tell (`CXR2384_IM-0942`, uid 2384,
    `CXR2384_IM-0942-1001.png`); else it is of the study that its id names, else a study of its own. Rows of one study
    are its views. The report is the column `findings` where there is one, else `report`, `text` or `caption`. The split
    is the copy's own: a column `split`, else the names of files and folders, as the hub tells it; of a copy that says
    nothing, studies of the collection go where the standard split has them. Findings are the collection's expert codes.
    A study without a report is left out and counted.
    """
    by_study: dict[str, _Rows] = {}
    positions: dict[str, Position] = {}
    for row in rows:
        study_id = _study_id(row)
        report, split = _report(row), _split(row, root)
        positions |= _positions(row)
        held = by_study.setdefault(study_id, _Rows(row.where, report, split))
        if report and held.report and report != held.report:
            raise AnnotationError(
                f"{row.where}: says another report of the study {study_id!r} than {held.where}. Remove one of the two"
            )
        if split != held.split:
            raise AnnotationError(
                f"{row.where}: the study {study_id!r} is in {split or 'no split'}, by {held.where} in "
                f"{held.split or 'no split'}. Remove one of the two"
            )
        held.report = held.report or report
        held.images += [image for image in row.images if image not in held.images]
    studies, left_out = {part: [] for part in SPLITS}, Counter()
    unsplit = all(held.split is None for held in by_study.values())
    for study_id, held in by_study.items():
        known = iu_xray.known(study_id)
        split = known.split if unsplit and known else held.split
        views = ordered(held.images, positions, rule)
        if split is None and unsplit and any(map(iu_xray.known, by_study)):
            left_out["not in the standard split"] += 1
        elif split is None:
            raise AnnotationError(
                f"{held.where}: says no split, neither by a column nor by the names of files or folders. Expected "
                f"train, val or test; call the files train.jsonl, test-00000.parquet, …"
            )
        elif held.report and views:
            findings, source = (known.findings, known.source) if known else ((), files[0].name)
            studies[split].append(Study(study_id, split, held.report, findings, views, source))
        else:
            left_out["no report" if not held.report else "no frontal view" if held.images else "no image"] += 1
    taken = tuple(study for part in SPLITS for study in studies[part])
    if not taken:
        raise DataRootError(
            f"{root}: none of the {len(by_study)} studies of {', '.join(path.name for path in files[:4])} can be used "
            f"({dict(left_out)}). Get the copy again"
        )
    return Collection(taken, images, positions, left_out)


# --- rows -------------------------------------------------------------------------------------------------------------


def _lines(root: Path, path: Path) -> Iterator[_Row]:
    check_inside(f"{root}:", path.relative_to(root).as_posix(), root)
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(_LINE_LIMIT + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > _LINE_LIMIT:
                raise AnnotationError(
                    f"{where}: has more than {_LINE_LIMIT:,} bytes; expected a row a line: {_ROW}. Write the file again"
                )
            if not line.strip():
                continue
            row = _parsed(where, line)
            columns = [name for name in row if _IMAGE.fullmatch(_plain(name))]
            named = [path for name in columns for path in _named(where, name, row[name])]
            if not columns:
                raise AnnotationError(
                    f"{where}: has no column of images; there is {', '.join(map(repr, list(row)[:8]))}. Expected {_ROW}"
                )
            images = tuple(dict.fromkeys(_placed(where, root, path.parent, name) for name in named))
            cells = {name: row[name] for name in row if name not in columns}
            name = images[0].rpartition(".")[0] or images[0] if images else f"{path.relative_to(root)}/{number}"
            yield _Row(where, path, cells, images, tuple(named), name)


def _parsed(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested too deep
        raise AnnotationError(f"{where}: is no JSON ({error}); expected {_ROW}. Write the line again") from error
    if not isinstance(row, dict):
        raise AnnotationError(f"{where}: is a {type(row).__name__}; expected {_ROW}. Write the line again")
    return row


def _named(where: str, column: str, held: Any) -> list[str]:
    """The paths of a cell: a text, `{"path": …}`, or a list of these."""
    if isinstance(held, list):
        return [path for one in held for path in _named(where, column, one)]
    if isinstance(held, dict) and isinstance(held.get("path"), str):
        held = held["path"]
    if held is None:
        return []
    if not isinstance(held, str) or not held:
        shown = repr(held)[:60]
        raise AnnotationError(f"{where}: {column!r} is {shown}; expected a path, or a list of paths. Mend the line")
    return [held]


def _placed(where: str, root: Path, folder: Path, name: str) -> str:
    """The path from `root` of an image that a line of a file in `folder` names."""
    places = dict.fromkeys((folder, root, folder / "images", root / "images"))
    place = next((place for place in places if _lies(place, name)), folder)
    path = (place.relative_to(root) / name).as_posix()
    check_inside(f"{where}: image", name, place)
    check_inside(f"{where}: image", path, root)
    return path


def _lies(place: Path, name: str) -> bool:
    try:
        return (place / name).is_file()
    except (OSError, ValueError):  # too long, a NUL
        return False


def _parquet_rows(root: Path, name: str, number: int, cells: dict[str, Cell]) -> Iterator[_Row]:
    """The rows of a file; where its images are goes into `cells`."""
    import pyarrow

    table = open_parquet(root / name)
    schema = table.schema_arrow
    pictures = [column.name for column in schema if _holds_bytes(column.type)]
    if not pictures:
        kinds = ", ".join(f"{column.name!r} ({column.type})" for column in list(schema)[:6])
        raise AnnotationError(
            f"{root / name}: has no column of image bytes; there is {kinds}. Expected one as the hub writes images "
            f"(bytes and path); get the copy with its images, or unpack it to JSON lines and files"
        )
    texts = [c.name for c in schema if c.name not in pictures and not pyarrow.types.is_nested(c.type)]
    texts += [column.name for column in schema if column.name not in pictures and _plain(column.name) in _VIEWS]
    first = 0
    try:
        for block in blocks(table, dict.fromkeys([*pictures, *texts])):
            for i, held in enumerate(block.to_pylist()):
                row, images, called = first + i, [], []
                for column in pictures:
                    for place, data in enumerate(image_bytes(held[column])):
                        if data is not None:
                            images.append(f"{name}/{row}/{column}/{place}")
                            cells[images[-1]] = Cell(number, row, column, place, len(data))
                    called += _called(held[column])
                if called and not images:
                    raise AnnotationError(
                        f"{root / name}, row {row}: {pictures[0]!r} holds the path {called[0]!r} and no bytes. Get the "
                        f"copy with its images"
                    )
                text = {column: held[column] for column in texts}
                called += [v for c, v in text.items() if isinstance(v, str) and _IMAGE.fullmatch(_plain(c))]
                where = f"{root / name}, row {row}"
                yield _Row(where, root / name, text, tuple(images), tuple(called), f"{name}/{row}")
            first += len(block)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        raise AnnotationError(f"{root / name}: is damaged after row {first} ({reason}). Get the file again") from error


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" and _holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return types.is_binary(kind) or types.is_large_binary(kind)


def _called(held: Any) -> list[str]:
    if isinstance(held, list):
        return [name for one in held for name in _called(one)]
    return [held["path"]] if isinstance(held, dict) and isinstance(held.get("path"), str) else []


# --- what a row says --------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _first(row: _Row, names: Sequence[str]) -> tuple[str, Any]:
    """The surest column of `names` that the row has, and what it says; "" and None for none."""
    columns = {_plain(name): name for name in row.cells}
    name = next((columns[name] for name in names if name in columns), "")
    return name, row.cells.get(name)


def _report(row: _Row) -> str:
    column, report = _first(row, _REPORTS)
    if not column:
        raise AnnotationError(
            f"{row.where}: has no column of reports; there is {', '.join(map(repr, list(row.cells)[:8])) or 'none'}. "
            f"Expected one of {', '.join(_REPORTS)}; call it so"
        )
    if report is not None and not isinstance(report, str):
        raise AnnotationError(f"{row.where}: {column!r} is {report!r}; expected a text. Mend the row")
    return given(report)


def _split(row: _Row, root: Path) -> Split | None:
    """The copy's own split: the row's column, else the names of its file and folders."""
    column, said = _first(row, ("split",))
    if column:
        if (split := split_part(str(said))) is None:
            raise AnnotationError(f"{row.where}: the split is {said!r}; expected train, val or test. Mend the row")
        return split
    words = re.split(r"[^a-z]+", row.file.relative_to(root).as_posix().lower())
    return next(filter(None, map(split_part, reversed(words))), None)


def _study_id(row: _Row) -> str:
    column, said = _first(row, _IDS)
    said = "" if said is None else str(said).strip()
    uid = said if _plain(column) == "uid" else said.removeprefix("CXR") if said.startswith("CXR") else ""
    if iu_xray.known(said):
        return said
    if uid in _by_uid():
        return _by_uid()[uid]
    for path in (*row.called, said):
        parts = [*reversed(path.replace("\\", "/").split("/"))]
        if found := next((part for part in parts if iu_xray.known(part)), None):
            return found
        if (key := iu_xray.image_key(parts[0])) and key.partition("_")[0] in _by_uid():
            return _by_uid()[key.partition("_")[0]]
    return given(said) or row.name


@cache
def _by_uid() -> dict[str, str]:
    return {study.id.removeprefix("CXR").partition("_")[0]: study.id for study in iu_xray.studies()}


def _positions(row: _Row) -> dict[str, Position]:
    """What the row says of its images' positions, else what the headers of the collection's own films say."""
    _, said = _first(row, _VIEWS)
    words = said if isinstance(said, list) else [said] * (len(row.images) == 1)
    if len(words) == len(row.images) and any(isinstance(word, str) for word in words):
        told = {image: position(str(word)) for image, word in zip(row.images, words, strict=True)}
    elif len(row.called) == len(row.images):
        keys = [iu_xray.image_key(path.replace("\\", "/").rpartition("/")[2]) for path in row.called]
        told = {image: iu_xray.positions().get(key) for image, key in zip(row.images, keys, strict=True)}
    else:
        told = {}
    return {image: place for image, place in told.items() if place}
