"""A folder of one's own: images, and `studies.csv`, which says which of them belong together and what was reported."""

from __future__ import annotations

import hashlib
import html
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered, position
from rrg_lib.data.layouts.csv_tables import find_table, given, read_table
from rrg_lib.data.layouts.paths import check_inside, listing, with_slashes
from rrg_lib.data.layouts.workbooks import read_workbook
from rrg_lib.data.mesh_codes import parse_code
from rrg_lib.data.remarks import Remark
from rrg_lib.data.study import SPLITS, Study
from rrg_lib.errors import AnnotationError, DataRootError

TABLE, WORKBOOK = "studies.csv", "studies.xlsx"
#: Views that are known to be neither frontal nor lateral, or not to be known.
_OTHER_VIEWS = re.compile(r"(?:[LR](?:AO|PO)|.*oblique.*|swimmers?|decubitus|unknown|other)", re.IGNORECASE)
#: What stands between the images of one cell.
_BETWEEN = re.compile(r"\s*[;|,\r\n]\s*")
COLUMNS = "image (required), and, if you have them, study, report, split, patient, view, codes"


@dataclass
class _Rows:
    """What the rows of one study say together."""

    line: int
    values: dict[str, str] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)


def own_table(root: Path) -> Path | None:
    """The table in the folder, `studies.csv` or `studies.xlsx`; None if there is none. Raises `AnnotationError` for
    both: they may say different things."""
    tables = [path for path in (find_table(root, TABLE), find_table(root, WORKBOOK)) if path]
    if len(tables) > 1:
        raise AnnotationError(f"{root}: holds {TABLE} and {WORKBOOK}; expected one table. Take the other one out")
    return tables[0] if tables else None


def read_own_folder(root: Path, rule: ViewRule) -> Collection:
    """The studies of `root/studies.csv` (or the first sheet of `root/studies.xlsx`), a row an image, in the order of
    the table within each split.

    `image` is a path relative to `root`, or several of one study ("a.png; b.png", their views likewise). Rows of one
    `study` are its views; without that column every row is a study, called by its first image. `report`, `split`,
    `patient` and `codes` need to be said once a study; "nan", "None" or "N/A" is nothing said. `codes` are experts'
    MeSH codes as those of IU X-Ray, with semicolons between them (`Opacity/lung/base/left; Cardiomegaly/mild`), or
    `normal`. Without `split` a patient (else a study) goes to train, val or test (70, 10, 20 %) by a hash of its name:
    a patient is never in two. `view` is frontal or lateral (or PA, AP, LL, "PA erect", …); where a rule asks for it, a
    word that is neither nor an oblique view is refused. A study without a report is left out and counted.

    Raises:
        DataRootError: no table, or no report in it.
        ConfigurationError: a workbook, and the package that reads workbooks is not installed.
        AnnotationError: a broken table, a path that leads out, an image twice, rows of a study that disagree; names the
            line.
    """
    path = own_table(root)
    if path is None:
        raise DataRootError(
            f"{root}: looked for {TABLE} or {WORKBOOK}, a table with the columns {COLUMNS}; {listing(root)}"
        )
    root = root.resolve()
    by_study: dict[str, _Rows] = {}
    positions, lines = {}, {}
    for line, row in (read_workbook if path.suffix == ".xlsx" else read_table)(path, ["image"]):
        images = _images(given(row["image"]), root)
        if not images:
            raise AnnotationError(f"{path}, line {line}: names no image; expected a path relative to {root}")
        name = given(row.get("study")) or Path(with_slashes(images[0], root)).with_suffix("").as_posix()
        rows = by_study.setdefault(name, _Rows(line))
        for image, view in zip(
            images, _views(given(row.get("view")), len(images), f"{path}, line {line}"), strict=True
        ):
            check_inside(f"{path}, line {line}: image", image, root)
            image = with_slashes(image, root)
            if image in lines:
                raise AnnotationError(
                    f"{path}, line {line}: {image!r} stands in line {lines[image]} already. Remove one of the two"
                )
            lines[image] = line
            rows.images.append(image)
            if known := position(view):
                positions[image] = known
            elif view and rule != "as_released" and not _OTHER_VIEWS.fullmatch(view):
                raise AnnotationError(
                    f"{path}, line {line}: the view is {view!r}, and the rule {rule} asks which are frontal; expected "
                    f"frontal or lateral (PA, AP, LL, …), oblique, or nothing. Mend the line"
                )
        for name in ("report", "split", "patient", "codes"):
            value = given(row.get(name))
            value = plain_text(value) if name == "report" else value
            if value and rows.values.setdefault(name, value) != value:
                raise AnnotationError(
                    f"{path}, line {line}: says another {name} of the study than before (line {rows.line}). Keep one"
                )
    studies, left_out = {split: [] for split in SPLITS}, Counter()
    split_of: dict[str, set[str]] = {}
    for study_id, rows in by_study.items():
        split = rows.values.get("split") or _split(rows.values.get("patient") or study_id)
        if split not in SPLITS:
            raise AnnotationError(
                f"{path}, line {rows.line}: the split is {split!r}; expected one of {', '.join(SPLITS)}"
            )
        if patient := rows.values.get("patient"):
            split_of.setdefault(patient, set()).add(split)
        views = ordered(rows.images, positions, rule)
        if rows.values.get("report") and views:
            codes = tuple(parse_code(code.strip()) for code in rows.values.get("codes", "").split(";") if code.strip())
            studies[split].append(Study(study_id, split, rows.values["report"], codes, views, TABLE))
        else:
            left_out["no frontal view" if rows.values.get("report") else "no report"] += 1
    if not any(studies.values()):
        raise DataRootError(
            f"{path}: none of its {len(by_study)} studies has a report to learn from or to be measured by. "
            "To write reports for images: rrg generate DATASET/PRESET --image FILE"
        )
    remarks = []
    if several := [patient for patient, splits in split_of.items() if len(splits) > 1]:
        splits = " and ".join(split for split in SPLITS if split in split_of[several[0]])
        remarks.append(
            Remark(
                len(several),
                f"patient is in several splits: {several[0]!r} in {splits}|patients are in several splits, the first, "
                f"{several[0]!r}, in {splits}",
                "A system is measured on whom it has seen. Give all studies of a patient one split, or none a split.",
            )
        )
    taken = tuple(study for split in SPLITS for study in studies[split])
    return Collection(taken, root, positions, left_out, remarks=tuple(remarks))


def _images(cell: str, root: Path) -> list[str]:
    """The images that a cell names: one, or several of one study with `;`, `|`, a comma or a line's end between them. A
    file that is called just so is one image, whatever its name holds."""
    if not _BETWEEN.search(cell) or "\0" in cell or (root / cell).is_file():
        return [cell] if cell else []
    return [part for part in _BETWEEN.split(cell) if part]


def _views(cell: str, count: int, line: str) -> list[str]:
    """The view of each of `count` images of a cell."""
    words = [cell] if count == 1 else [word.strip() for word in _BETWEEN.split(cell)] if cell else [""] * count
    if len(words) != count:
        raise AnnotationError(
            f"{line}: names {count} images and {len(words)} views ({cell!r}); expected a view each, in the same order "
            f"and with the same sign between them, or a row an image"
        )
    return words


_TAG = re.compile(r"</?[a-z][^<>]{0,80}>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,31});", re.IGNORECASE)


def plain_text(report: str) -> str:
    """A report without the marks of a web page: a tag becomes a line's end, an entity its character."""
    return _ENTITY.sub(lambda found: html.unescape(found[0]).replace("\xa0", " "), _TAG.sub("\n", report)).strip()


def _split(name: str) -> str:
    """70 % train, 10 % val, 20 % test, by name alone: more studies later do not move those of before."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"
