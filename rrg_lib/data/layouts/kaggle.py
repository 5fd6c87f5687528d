"""IU X-Ray as Kaggle has it: `indiana_reports.csv`, `indiana_projections.csv` and `images_normalized/*.dcm.png`."""

from __future__ import annotations

from pathlib import Path

from rrg_lib.data import iu_xray
from rrg_lib.data.iu_xray import Record
from rrg_lib.data.layouts.collection import Collection, ViewRule, position
from rrg_lib.data.layouts.csv_tables import find_table, given, read_table
from rrg_lib.data.layouts.openi import image_files, standard_collection
from rrg_lib.data.layouts.paths import listing
from rrg_lib.errors import AnnotationError, DataRootError

REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
#: The archive unpacks to a folder in a folder.
_IMAGES = ("images/images_normalized", "images_normalized")


def read_kaggle(root: Path, rule: ViewRule) -> Collection:
    """The studies of the standard split; reports and codes from the one table, images and their positions from the
    other.

    The views of a study are in the order of the image names, as in the other layouts, not in that of the table.

    Raises:
        DataRootError: a table or the images are not there.
        AnnotationError: a broken table, a study twice, an image of no name of the collection; names file and line.
    """
    reports, projections = find_table(root, REPORTS), find_table(root, PROJECTIONS)
    images = next((root / place for place in _IMAGES if (root / place).is_dir()), None)
    if reports is None or projections is None or images is None:
        raise DataRootError(
            f"{root}: looked for {REPORTS}, {PROJECTIONS} and images_normalized/ (the layout of Kaggle); "
            f"{listing(root)}"
        )
    views: dict[str, list[str]] = {}
    positions = {}
    for line, row in read_table(projections, ["uid", "filename", "projection"]):
        key = iu_xray.image_key(row["filename"])
        if key is None or key.partition("_")[0] != row["uid"].strip():
            raise AnnotationError(
                f"{projections}, line {line}: {row['filename']!r} is no image of study {row['uid']!r}; expected "
                f"UID_IM-….dcm.png"
            )
        views.setdefault(row["uid"].strip(), []).append(row["filename"])
        if known := position(row["projection"]):
            positions[key] = known
    records: dict[str, Record] = {}
    for line, row in read_table(reports, ["uid", "MeSH", "findings"]):
        uid = row["uid"].strip()
        if uid in records:
            raise AnnotationError(f"{reports}, line {line}: is a second report of study {uid}. Remove one of the two")
        codes = tuple(code.strip() for code in row["MeSH"].split(";") if code.strip())
        record = iu_xray.records().get(
            uid
        )  # the table repeats the codes of the reports; theirs are in the order they were given
        codes = record.codes if record and sorted(record.codes) == sorted(codes) else codes
        sections = {name: given(row.get(name)) for name in ("findings", "impression", "indication", "comparison")}
        records[uid] = Record(uid, codes=codes, images=tuple(sorted(views.get(uid, ()))), **sections)
    images = images.resolve()
    files = image_files(images, (name for names in views.values() for name in names))
    return standard_collection(records, images, files, positions, rule)
