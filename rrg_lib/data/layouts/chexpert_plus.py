"""CheXpert Plus: one table of reports and images, `df_chexpert_plus_240401.csv`, and the images in `train/` and
`valid/`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered, position, split_part
from rrg_lib.data.layouts.csv_tables import find_table, given, read_table
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import SPLITS, Split, Study
from rrg_lib.errors import AnnotationError, DataRootError

SOURCE = "CheXpert Plus (Chambon et al. 2024)"
TABLE = "df_chexpert_plus_*.csv"
COLUMNS = ("path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "split", "section_findings")
SPLIT_SOURCE = (
    "CheXpert Plus's own train and valid (here val); it has no test studies, and published systems are tested on "
    "others each: another split than theirs"
)
#: Where the archives of the images unpack to; `train/` and `valid/` are in one of these.
_IMAGES = ("PNG/PNG", "PNG", "PNGs", "images", "CheXpert-v1.0-small", "CheXpert-v1.0", ".")
_PATH = re.compile(r"[^/]+/(patient\d+)/(study\d+)/[^/]+\.(?:jpe?g|png)")


@dataclass
class _Rows:
    """What the rows of one study say together."""

    line: int
    split: Split
    patient: str
    texts: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def read_chexpert_plus(root: Path, rule: ViewRule) -> Collection:
    """The studies of the table that have FINDINGS, train then val, each in the order of the table; ids are those of
    ReXrank, `patient64545_study1`, made of the path.

    The report is `section_findings`, about a quarter of the studies has one; `section_impression` is not read, and no
    labels are (they come in files of their own): what a study has is read in its report. The table names JPEG files,
    the archive of the PNGs has the same names with `.png`: whichever is there is taken. The position of a view is
    `frontal_lateral`, where it is empty `ap_pa`. Every row repeats the report of its study; it could not be looked up
    whether the rows of a study always agree, so a study whose rows have different FINDINGS is left out and counted.

    Raises:
        DataRootError: no table, no folder of images, or no study with FINDINGS.
        AnnotationError: a broken table, a path of another form, an image twice, a word that is no part of a split, a
            patient in two parts; names file and line.
    """
    path = find_table(root, TABLE)
    if path is None:
        raise DataRootError(f"{root}: looked for {TABLE} (the table of CheXpert Plus); {listing(root)}")
    images = next(
        (root / place for place in _IMAGES if any((root / place / part).is_dir() for part in ("train", "valid"))), None
    )
    if images is None:
        raise DataRootError(
            f"{root}: looked for the images of CheXpert Plus, train/ and valid/, in {', '.join(_IMAGES[:-1])} and the "
            f"folder itself; {listing(root)}. Unpack PNG.zip there"
        )
    images = images.resolve()
    by_study: dict[str, _Rows] = {}
    part_of: dict[str, tuple[Split, int]] = {}
    lines: dict[str, int] = {}
    positions = {}
    for line, row in read_table(path, COLUMNS):
        where, written = f"{path}, line {line}", row["path_to_image"].strip()
        match = _PATH.fullmatch(written)
        if match is None:
            raise AnnotationError(
                f"{where}: path_to_image is {written!r}; expected train/patient12345/study1/view1_frontal.jpg. Get the "
                f"table again"
            )
        if written in lines:
            raise AnnotationError(
                f"{where}: {written!r} stands in line {lines[written]} already. Remove one of the two"
            )
        lines[written] = line
        split = split_part(row["split"])
        if split is None:
            raise AnnotationError(f"{where}: the split is {row['split']!r}; expected train or valid. Mend the line")
        patient = given(row["deid_patient_id"]) or match[1]
        other, before = part_of.setdefault(patient, (split, line))
        if other != split:
            raise AnnotationError(
                f"{where}: patient {patient} is in {split!r} and in line {before} in {other!r}; expected each patient "
                f"in one part. Get the table again"
            )
        rows = by_study.setdefault(f"{match[1]}_{match[2]}", _Rows(line, split, patient))
        if rows.patient != patient:
            raise AnnotationError(
                f"{where}: the study is of patient {patient}, in line {rows.line} of {rows.patient}. Get the table "
                f"again"
            )
        image = _file(where, images, written)
        if known := position(given(row["frontal_lateral"]) or given(row["ap_pa"])):
            positions[image] = known
        rows.images.append(image)
        rows.texts.append(" ".join(given(row["section_findings"]).split()))
    studies, left_out = {part: [] for part in SPLITS}, Counter()
    for name, rows in by_study.items():
        views, texts = ordered(rows.images, positions, rule), {text for text in rows.texts if text}
        if len(texts) == 1 and views:
            studies[rows.split].append(Study(name, rows.split, texts.pop(), (), views, SOURCE))
        else:
            several = "different FINDINGS in its rows" if texts else "no FINDINGS section"
            left_out["no frontal view" if len(texts) == 1 else several] += 1
    if not any(studies.values()):
        raise DataRootError(
            f"{path}: none of its {len(by_study)} studies can be used ({dict(left_out)}); expected some with "
            f"section_findings. Get the table again"
        )
    taken = tuple(study for part in SPLITS for study in studies[part])
    places = {view: positions[view] for study in taken for view in study.views if view in positions}
    return Collection(taken, images, places, left_out, split_source=SPLIT_SOURCE)


def _file(where: str, images: Path, written: str) -> str:
    """The name under which an image is there: as the table writes it, or with `.png`; the latter when neither is."""
    png = str(PurePosixPath(written).with_suffix(".png"))
    found = written if (images / written).is_file() else png
    check_inside(f"{where}: path_to_image", found, images)
    return found
