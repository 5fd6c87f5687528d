"""IU X-Ray as Open-i gives it out: `NLMCXR_png/` or `NLMCXR_dcm/`, and the reports in `ecgen-radiology/`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rrg_lib.data import iu_xray
from rrg_lib.data.iu_xray import Record, parse_record
from rrg_lib.data.layouts.collection import Collection, Position, ViewRule, ordered
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import Study
from rrg_lib.errors import AnnotationError, DataRootError
from rrg_lib.runtime.package_data import table

PNG, DICOM, REPORTS = "NLMCXR_png", "NLMCXR_dcm", "ecgen-radiology"
_REPORT_PLACES = (REPORTS, f"NLMCXR_reports/{REPORTS}")
_REPORT_LIMIT = 2**20  # bytes of one XML file; the largest has about 15 thousand


def images_folder(root: Path, name: str) -> Path | None:
    """`root/NLMCXR_png` (or `NLMCXR_dcm`), or `root` itself when the images lie in it; None for neither."""
    if (root / name).is_dir():
        return root / name
    ending = "CXR*_IM-*.png" if name == PNG else "*/*_IM-*.dcm"
    return root if next(root.glob(ending), None) is not None else None


def read_openi(root: Path, rule: ViewRule, name: str) -> Collection:
    """The studies of the standard split, reports and codes from the XML files (from the package that ships them when
    the folder has none), images from the folder `name`. The views of a study are in the order of its report, which is
    that of the image names.

    Raises `DataRootError` and `AnnotationError` naming the file.
    """
    images = images_folder(root, name)
    if images is None:
        raise DataRootError(f"{root}: looked for {name}/ (the layout of Open-i); {listing(root)}")
    reports = next((root / place for place in _REPORT_PLACES if (root / place).is_dir()), None)
    records = read_records(reports) if reports else iu_xray.records()
    images = images.resolve()
    files = image_files(images, _walk(images))
    for record in records.values():  # a view without a file keeps the name it should have, so that it is missed
        for image in record.images:
            files.setdefault(
                iu_xray.image_key(image) or image,
                f"{image}.png" if name == PNG else f"{record.uid}/{image.removeprefix('CXR')}.dcm",
            )
    return standard_collection(records, images, files, iu_xray.positions(), rule)


def read_records(folder: Path) -> dict[str, Record]:
    """The reports of a folder by `uid`. Raises `AnnotationError` for a file that is no report of the collection, and
    for two of one number."""
    by_uid: dict[str, Record] = {}
    folder = folder.resolve()
    for path in sorted(folder.glob("*.xml")):
        check_inside(f"{folder}:", path.name, folder)
        if path.stat().st_size > _REPORT_LIMIT:
            raise AnnotationError(
                f"{path}: has {path.stat().st_size:,} bytes, a report at most {_REPORT_LIMIT:,}. Get the file again"
            )
        record = parse_record(path.read_bytes(), path)
        if record.uid in by_uid:
            raise AnnotationError(f"{path}: is a second report of the study CXR{record.uid}. Remove one of the two")
        by_uid[record.uid] = record
    if not by_uid:
        raise DataRootError(
            f"{folder}: looked for the reports, *.xml; {listing(folder)}. Unpack NLMCXR_reports.tgz there"
        )
    return by_uid


def standard_collection(
    records: Mapping[str, Record],
    images: Path,
    files: Mapping[str, str],
    positions: Mapping[str, Position],
    rule: ViewRule,
) -> Collection:
    """The 2,955 studies of the standard split as far as `records` has them, in its order.

    `files` is image key -> path relative to `images`, `positions` image key -> position.
    """
    studies, left_out, places = [], Counter(), {}
    split = table("iu_xray_split")
    for row in split:
        record = records.get(row["uid"])
        if record is None or not record.findings or not record.images:
            missing = "report" if record is None else "FINDINGS" if not record.findings else "image in the table"
            left_out[f"in the standard split, but no {missing}"] += 1
            continue
        keys = [iu_xray.image_key(image) or image for image in record.images]
        known = {files[key]: positions[key] for key in keys if key in positions}
        places |= known
        codes = tuple(iu_xray.parse_code(code) for code in record.codes)
        views = ordered([files[key] for key in keys], known, rule)
        studies.append(Study(row["study_id"], row["split"], record.findings, codes, views, iu_xray.SOURCE))
    if extra := len(records.keys() - {row["uid"] for row in split}):
        left_out["not in the standard split"] = extra
    return Collection(tuple(studies), images, places, left_out)


def image_files(images: Path, names: Iterable[str]) -> dict[str, str]:
    """image key -> name. Raises `AnnotationError` for two files of one image, and for a link that leads out."""
    by_key: dict[str, str] = {}
    for name in names:
        if key := iu_xray.image_key(name.rpartition("/")[2]):
            if key in by_key:
                raise AnnotationError(
                    f"{images / name}: is the same image as {by_key[key]}, by its name. Remove one of the two"
                )
            check_inside(f"{images}:", name, images)
            by_key[key] = name
    return by_key


def _walk(images: Path) -> Iterator[str]:
    with os.scandir(images) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.endswith((".png", ".dcm", ".jpg")):
                yield entry.name
            elif entry.is_dir(follow_symlinks=False):
                yield from sorted(
                    f"{entry.name}/{inner}" for inner in os.listdir(entry.path) if inner.endswith((".png", ".dcm"))
                )
