"""Files of reports as others write them: CSV, JSON, JSON lines, Parquet, and the shapes of JSON that the field uses.

A file becomes rows of named cells, each with the place it stands at; then columns are told from their names, and texts
joined by id. Nothing is guessed in silence: what was taken is a note, what is odd a counted warning, and what cannot be
used an error that names file, row, what was expected and what to do. Pickles are never opened.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Number
from pathlib import Path
from typing import Any, Literal

from rrg_lib.errors import ReportError, UnknownNameError
from rrg_lib.evaluation.nlg import named

#: Names of columns as others write them (lower case, words joined by "_"), the surest first.
ID_NAMES = ("id", "study_id", "studyid", "image_id", "imageid", "uid", "case_id", "report_id", "key", "study", "image")
PREDICTION_NAMES = (
    *("prediction", "predictions", "model_prediction", "predicted_report", "generated_report", "generated_text"),
    *("hypothesis", "hypotheses", "predicted", "pred", "preds", "hyp", "hyps", "generated", "generation"),
    *("candidate", "caption", "output", "model_output", "response", "res"),
)
REFERENCE_NAMES = (
    *("reference", "references", "reference_report", "ground_truth", "groundtruth", "ground_truth_report"),
    *("gt_report", "target", "ref", "refs", "gt", "gts", "truth", "section_findings"),
)
#: Columns that hold a report, whose is said by what stands beside them.
PLAIN_NAMES = ("report", "findings", "text", "reports")
#: How a spreadsheet or a table library writes that a cell has nothing.
NOTHING = frozenset(("", "nan", "none", "null", "n/a", "na", "<na>", "#n/a", "nil"))
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
#: What a file starts with that is not what its suffix says.
_MAGIC = (
    (b"PAR1", "a Parquet file", "rename it to .parquet"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "save the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x80", "a Python pickle", "pickles run code when they are opened: save the reports as CSV or JSON"),
    (b"%PDF", "a PDF", "export the reports as CSV or JSON"),
)
Kind = Literal["id", "prediction", "reference"]


@dataclass(frozen=True, eq=False)
class Rows:
    """A file as rows: `cells` one dictionary a row, `places` where each stands ("line 3", "entry 7"), `notes` how the
    file was read."""

    path: Path
    columns: tuple[str, ...]
    cells: list[dict[str, Any]]
    places: list[str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ReportFile:
    """The texts of one file by study id; a side that the file has no column of is None.

    An empty text means that there was none ("", NaN, "N/A", …). `columns` says which column each came from, `rexrank`
    whether the file is of that form.
    """

    path: Path
    predictions: dict[str, str] | None
    references: dict[str, str] | None
    columns: dict[str, str]
    notes: list[str] = field(default_factory=list)
    rexrank: bool = False


def read_reports(
    path: Path,
    *,
    id_column: str | None = None,
    prediction: str | None = None,
    reference: str | None = None,
    holds: Literal["predictions", "references"] = "predictions",
) -> ReportFile:
    """The reports of a file. Columns are told from their names unless they are named; `holds` says whose the texts of a
    file are whose only column of text could be either's ("report").

    Raises `ReportError` for a file that can't be read or used, `UnknownNameError` for a column that it does not have.
    """
    rows = read_rows(path)
    if not rows.cells:
        raise ReportError(f"{path}: has no row of reports. Expected one a study; write the file again")
    columns = _columns(rows, id_column, prediction, reference, holds)
    notes = list(rows.notes)
    if "id" in columns:
        ids = _ids(rows, columns["id"])
    else:
        ids = [f"row {i}" for i in range(1, len(rows.cells) + 1)]
        notes.append(f"{path.name}: no column of ids, so each row counts as a study; name it with --id if there is one")
    texts = {
        side: dict(zip(ids, _texts(rows, columns[kind], kind, notes), strict=True)) if kind in columns else None
        for side, kind in (("predictions", "prediction"), ("references", "reference"))
    }
    taken = ", ".join(f"{kind} from {column!r}" for kind, column in columns.items())
    notes.insert(0, f"{path.name}: {len(ids)} rows, {taken}")
    rexrank = "model_prediction" in rows.columns and not {"section_findings", "findings"}.isdisjoint(rows.columns)
    return ReportFile(path, **texts, columns=columns, notes=notes, rexrank=rexrank)


def read_rows(path: Path) -> Rows:
    """The rows of a CSV, TSV, JSON, JSON-lines or Parquet file, by its suffix in any case. Raises `ReportError`."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy", ".npz"):
        raise ReportError(
            f"{path}: files that can run code when they are opened are not read. Save the reports as CSV or JSON"
        )
    if suffix not in SUFFIXES:
        raise ReportError(
            f"{path}: its suffix says no format that is read. Expected one of {', '.join(SUFFIXES)}; save it as one"
        )
    try:
        if path.is_dir():
            raise ReportError(f"{path}: is a folder. Expected a file of reports; name the file")
        data = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror or error}). Check the name") from error
    if not data.strip():
        raise ReportError(f"{path}: is empty. Expected a file of reports; write it again")
    for start, kind, do in _MAGIC:
        if data.startswith(start) and not (suffix == ".parquet" and start == b"PAR1"):
            raise ReportError(f"{path}: its suffix is {suffix}, but it is {kind}; {do}")
    if suffix == ".parquet":
        return _parquet(path, data)
    text = _decoded(path, data)
    begins = text.lstrip()[:200].lower()
    if begins.startswith(("<!doctype", "<html", "<?xml")):
        raise ReportError(f"{path}: is a web page or XML, not {suffix}. A download may have failed: get the file again")
    if suffix in (".csv", ".tsv"):
        if begins.startswith(("{", "[{", '["')):
            raise ReportError(f"{path}: its suffix is {suffix}, but it holds JSON; rename it to .json or .jsonl")
        return _csv(path, text, "\t" if suffix == ".tsv" else None)
    return _json(path, text, lines=suffix != ".json")


# --- formats ----------------------------------------------------------------------------------------------------------


def _decoded(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ReportError(f"{path}: is encoded in UTF-16. Expected UTF-8; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ReportError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. Expected UTF-8 (the file may be in "
            f"Windows-1252 or Latin-1); save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ReportError(f"{path}, line {line}: holds a zero byte, which no text has. Write the file again as UTF-8")
    return text


def _csv(path: Path, text: str, delimiter: str | None) -> Rows:
    notes = []
    if delimiter is None:
        head = text.lstrip().split("\n", 1)[0]
        delimiter = "," if "," in head else next((d for d in ("\t", ";") if d in head), ",")
        if delimiter != ",":
            notes.append(f"{path.name}: cells are separated by {'tabs' if delimiter == chr(9) else delimiter!r}")
    limit = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        cells, places, start = [], [], 1
        for row in reader:
            begun, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
                if twice := [name for name, n in Counter(header).items() if n > 1]:
                    raise ReportError(f"{path}: the column {twice[0]!r} stands there twice. Give each its own name")
                continue
            if len(row) != len(header):
                do = (
                    "a comma inside a report needs the report in double quotes"
                    if len(row) > len(header)
                    else "a cell is missing, or a report was cut by a line break outside quotes"
                )
                raise ReportError(
                    f"{path}, line {begun}: has {len(row)} cells. Expected {len(header)} ({', '.join(header)}): {do}"
                )
            cells.append(dict(zip(header, row, strict=True)))
            places.append(f"line {begun}")
    except csv.Error as error:
        raise ReportError(
            f"{path}, line {start}: a quote is opened and not closed as CSV wants it ({error}). Expected reports in "
            f'double quotes, a quote inside them doubled (""); write the file again with a CSV library'
        ) from error
    finally:
        csv.field_size_limit(limit)
    return Rows(path, tuple(header or ()), cells, places, tuple(notes))


def _parquet(path: Path, data: bytes) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        # pictures and nested tables are no reports, and a hub's copy of a collection has gigabytes of them
        plain = [
            f.name
            for f in file.schema_arrow
            if not (pyarrow.types.is_binary(f.type) or pyarrow.types.is_large_binary(f.type))
            and not pyarrow.types.is_struct(f.type)
        ]
        cells = file.read(columns=plain).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ReportError(f"{path}: is no Parquet file that can be read ({reason}). Write it again") from error
    return Rows(path, tuple(plain), cells, [f"row {i}" for i in range(1, len(cells) + 1)])


class _Pairs(list):
    """The pairs of a JSON object as they stand in the file, so that a key that stands twice is seen."""


def _json(path: Path, text: str, *, lines: bool) -> Rows:
    notes: list[str] = []
    if lines and text.lstrip().startswith("["):
        notes.append(f"{path.name}: is one JSON list, not JSON lines, and was read as such")
        lines = False
    if not lines:
        try:
            value = _parsed(path, text, "")
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data") or text.lstrip()[0] != "{":
                raise ReportError(
                    f"{path}, line {error.lineno}: is not JSON ({error.msg}). Write the file again with a JSON library"
                ) from error
            notes.append(f"{path.name}: is JSON lines, not one JSON value, and was read as such")
            lines = True
    if lines:
        entries, places = [], []
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                value = _parsed(path, line, f", line {number}")
            except json.JSONDecodeError as error:
                raise ReportError(
                    f"{path}, line {number}: is not JSON ({error.msg}). Expected an object a line; write it again"
                ) from error
            entries.append(value)
            places.append(f"line {number}")
        return _entries(path, entries, places, notes)
    if isinstance(value, _Pairs):
        return _object(path, value, notes)
    if isinstance(value, list):
        return _entries(path, value, [f"entry {i}" for i in range(1, len(value) + 1)], notes)
    raise ReportError(f"{path}: holds one {type(value).__name__}. {_JSON_SHAPES}")


_JSON_SHAPES = (
    "Expected a list of objects ({id, prediction, reference}), or an object with an entry a study: its report, or an "
    "object with model_prediction; write it so"
)


def _parsed(path: Path, text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except RecursionError as error:
        raise ReportError(f"{path}{place}: JSON nested too deep to be reports. {_JSON_SHAPES}") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise ReportError(f"{path}{place}: is not usable JSON ({str(error)[:80]}). Write the file again") from error


def _entries(path: Path, entries: Sequence[Any], places: list[str], notes: Sequence[str]) -> Rows:
    cells = []
    for entry, place in zip(entries, places, strict=True):
        if not isinstance(entry, _Pairs):
            raise ReportError(f"{path}, {place}: is {_said(entry)}. {_JSON_SHAPES}")
        cells.append(dict(entry))
    return Rows(path, tuple(dict.fromkeys(key for row in cells for key in row)), cells, places, tuple(notes))


def _object(path: Path, pairs: _Pairs, notes: list[str]) -> Rows:
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    if twice := [key for key, n in Counter(keys).items() if n > 1]:
        raise ReportError(f"{path}: {named(twice)} stand there more than once. Expected one entry a study; keep one")
    texts = {*PREDICTION_NAMES, *REFERENCE_NAMES, *PLAIN_NAMES}
    tables = {key: value for key, value in pairs if isinstance(value, list) and value and _all(value, _Pairs)}
    if len(tables) > 1:  # a list of images beside one of their captions
        tables = {key: t for key, t in tables.items() if {_plain(name) for name, _ in t[0]} & texts} or tables
    if tables:
        name = next(iter(tables)) if len(tables) == 1 else "test" if "test" in tables else None
        if name is None:
            raise ReportError(f"{path}: has the tables {', '.join(tables)}. Expected one; write the one to score alone")
        where = [f"entry {i} of {name!r}" for i in range(1, len(tables[name]) + 1)]
        return _entries(path, tables[name], where, [*notes, f"{path.name}: the entries of {name!r} were taken"])
    known = {_plain(key) for key in keys} & texts
    if known and _all(values, _Pairs):  # as pandas writes a table: column -> row -> cell
        index = list(dict.fromkeys(key for value in values for key, _ in value))
        table = {key: dict(value) for key, value in pairs}
        cells = [{key: table[key].get(i) for key in keys} for i in index]
        return Rows(path, tuple(keys), cells, [f"row {i!r}" for i in index], tuple(notes))
    if known and _all(values, list) and len({len(value) for value in values}) == 1:
        cells = [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]
        return Rows(path, tuple(keys), cells, [f"entry {i}" for i in range(1, len(cells) + 1)], tuple(notes))
    cells = []
    for key, value in pairs:
        if isinstance(value, _Pairs):
            cells.append({"id": key, **{name: cell for name, cell in value if name != "id"}})
        elif isinstance(value, list | str) or value is None or isinstance(value, Number):
            cells.append({"id": key, "report": value})
    columns = tuple(dict.fromkeys(name for row in cells for name in row))
    return Rows(path, columns, cells, [f"entry {key!r}" for key in keys], tuple(notes))


def _all(values: Iterable[Any], kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)


# --- columns and cells ------------------------------------------------------------------------------------------------


def _plain(name: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(name).strip().lower()).strip("_")


def _columns(rows: Rows, id_column: str | None, prediction: str | None, reference: str | None, holds: str) -> dict:
    """Which column is which; sides that the file does not have are absent."""
    column_of: dict[str, str] = {}
    asked: dict[Kind, str | None] = {"id": id_column, "prediction": prediction, "reference": reference}
    for kind, name in asked.items():
        if name is not None:
            if name not in rows.columns:
                raise UnknownNameError(f"column of {rows.path.name}", name, rows.columns, f"it was named by --{kind}")
            column_of[kind] = name
    by_name: dict[str, str] = {}
    for column in rows.columns:
        by_name.setdefault(_plain(column), column)
    free = lambda names: [by_name[n] for n in names if n in by_name and by_name[n] not in column_of.values()]  # noqa: E731
    if "id" not in column_of and (ids := free(ID_NAMES)):
        column_of["id"] = ids[0]
    for kind, names in (("prediction", PREDICTION_NAMES), ("reference", REFERENCE_NAMES)):
        if kind not in column_of and (columns := free(names)):
            if len(columns) > 1:
                raise ReportError(
                    f"{rows.path}: {' and '.join(map(repr, columns[:3]))} could each be the {kind}s. Expected one such "
                    f"column; say which with --{kind}"
                )
            column_of[kind] = columns[0]
    for plain in free(PLAIN_NAMES):
        if holds == "references" and "reference" not in column_of:
            column_of["reference"] = plain
        elif "prediction" not in column_of and "reference" not in column_of:
            column_of["prediction"] = plain
        elif "prediction" in column_of and "reference" not in column_of:
            column_of["reference"] = plain
        elif "prediction" not in column_of and holds == "predictions":
            column_of["prediction"] = plain
    wanted = "reference" if holds == "references" else "prediction"
    if wanted not in column_of:
        has = ", ".join(map(repr, rows.columns[:12])) or "no column"
        only = " It has one column only." if len(rows.columns) == 1 else ""
        if any(len(str(column).split()) > 5 for column in rows.columns):
            only += " Its first line seems to be a report: a file needs a line of column names, such as id,report."
        elif "reference" in column_of and wanted == "prediction":
            only += " If it is a file of references, give it with --references."
        raise ReportError(
            f"{rows.path}: has {has}.{only} Expected a column of {wanted}s, by a name such as "
            f"{', '.join((PREDICTION_NAMES if wanted == 'prediction' else REFERENCE_NAMES)[:3])}; say which with --"
            f"{wanted}"
        )
    return {kind: column_of[kind] for kind in asked if kind in column_of}


def _said(value: Any) -> str:
    """A value for a message."""
    kind = "an object" if isinstance(value, _Pairs | dict) else "a list" if isinstance(value, list) else None
    return kind or f"the {type(value).__name__} {str(value)[:40]!r}"


def _whole(rows: Rows, place: str, kind: str, text: str) -> str:
    """The text, which can be written again: JSON's escapes can hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ReportError(
            f"{rows.path}, {place}: the {kind} holds half a character ({text[error.start]!a}). Expected text in "
            f"UTF-8; write the file again"
        ) from error
    return text


def is_nothing(text: str) -> bool:
    """Whether a cell says that there is no report: blank, or what tables write for a missing value."""
    return text.strip().lower() in NOTHING


def _ids(rows: Rows, column: str) -> list[str]:
    ids, where = [], {}
    for cells, place in zip(rows.cells, rows.places, strict=True):
        value = cells.get(column)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of numbers with one missing becomes one of floats
        if isinstance(value, bool) or not isinstance(value, str | int) or is_nothing(str(value)):
            raise ReportError(
                f"{rows.path}, {place}: the id ({column!r}) is {_said(value) if value is not None else 'missing'}. "
                f"Expected the study's id; give the row one, or leave it out"
            )
        ids.append(_whole(rows, place, "id", str(value).strip()))
        where.setdefault(ids[-1], []).append(place)
    if twice := {study: places for study, places in where.items() if len(places) > 1}:
        study, places = next(iter(twice.items()))
        raise ReportError(
            f"{rows.path}: {len(twice)} {'id stands' if len(twice) == 1 else 'ids stand'} there more than once, first "
            f"{study!r} ({', '.join(places[:3])}). Expected one row a study; keep one of each"
        )
    return ids


def _texts(rows: Rows, column: str, kind: str, notes: list[str]) -> list[str]:
    texts, no_words = [], []
    for cells, place in zip(rows.cells, rows.places, strict=True):
        value = cells.get(column)
        if isinstance(value, list) and not isinstance(value, _Pairs):
            if len(value) > 1 and _all(value, str):
                raise ReportError(
                    f"{rows.path}, {place}: has {len(value)} {kind}s ({column!r}). Expected one text; keep one"
                )
            value = value[0] if len(value) == 1 else value or None
        if value is None or (isinstance(value, float) and math.isnan(value)):
            value = ""
        if not isinstance(value, str):
            raise ReportError(
                f"{rows.path}, {place}: the {kind} ({column!r}) is {_said(value)}. Expected the report's text; name "
                f"the column of texts with --{kind}, or decode numbers of words to words first"
            )
        text = "" if is_nothing(value) else _whole(rows, place, kind, value)
        if text and not any(c.isalpha() for c in text):
            no_words.append((place, text))
        texts.append(text)
    if no_words:
        place, text = no_words[0]
        filled = sum(bool(text) for text in texts)
        if len(no_words) == filled:
            raise ReportError(
                f"{rows.path}: none of the {kind}s ({column!r}) has a letter, the first is {text[:40]!r} ({place}). "
                f"Expected texts; name the column of texts with --{kind}, or decode numbers of words to words first"
            )
        notes.append(
            f"{rows.path.name}: {len(no_words)} {kind}s hold no letter, first {text[:40]!r} ({place}); look whether "
            f"they are reports"
        )
    return texts


# --- joining ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ReportPairs:
    """Predictions and references of the same studies in the order of `ids`, with what was noted and warned of on the
    way. No reference is empty; an empty prediction says nothing, and scores so."""

    ids: tuple[str, ...]
    predictions: tuple[str, ...]
    references: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def joined(
    predictions: dict[str, str],
    references: dict[str, str],
    *,
    names: tuple[str, str] = ("the predictions", "the references"),
    common: bool = False,
    empty: Callable[[str], bool] = lambda text: not text.strip(),
) -> ReportPairs:
    """Predictions and references by id. `common` scores the studies that both have, and says how many were not.

    `empty` says whether a text has nothing to score. Raises `ReportError` when the ids differ (unless `common`), or
    nothing is left.
    """
    missing = [i for i in references if i not in predictions]
    extra = [i for i in predictions if i not in references]
    warnings = []
    ids = [i for i in references if i in predictions]
    if not ids:
        raise ReportError(
            f"no id of {names[0]} is one of {names[1]}: {named(list(predictions))} there, {named(list(references))} "
            f"here. Expected the same ids; say with --id which column holds them"
        )
    if missing or extra:
        difference = " and ".join(
            f"{names[a]} {'lacks' if names[a][:3] != 'the' else 'lack'} {len(unmatched)} of {names[b]} "
            f"({named(unmatched)})"
            for a, b, unmatched in ((0, 1, missing), (1, 0, extra))
            if unmatched
        )
        if not common:
            raise ReportError(
                f"{difference}. Expected the same {len(references)} studies; complete the files, or score the "
                f"{len(ids)} that both have with --common"
            )
        warnings.append(f"{difference}; only the {len(ids)} studies that both have are scored")
    if silent := [i for i in ids if empty(references[i])]:
        warnings.append(
            f"{len(silent)} references are empty or say that there is none ({named(silent)}): these studies are left "
            f"out"
        )
        ids = [i for i in ids if not empty(references[i])]
        if not ids:
            raise ReportError(f"every reference of {names[1]} is empty. Expected reports; name the column of texts")
    if none := [i for i in ids if empty(predictions[i])]:
        warnings.append(f"{len(none)} predictions are empty ({named(none)}): they count as reports that say nothing")
    return ReportPairs(
        tuple(ids),
        tuple("" if empty(predictions[i]) else predictions[i] for i in ids),
        tuple(references[i] for i in ids),
        (),
        tuple(warnings),
    )
