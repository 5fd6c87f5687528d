"""The layout of the R2Gen release: `annotation.json`, and the images it names below `images/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rrg_lib.data import iu_xray
from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered
from rrg_lib.data.layouts.json_files import read_json
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import SPLITS, Study
from rrg_lib.errors import AnnotationError, DataRootError

ANNOTATION = "annotation.json"
IMAGES, IMAGES_MIMIC = "images", "files"
_SHAPE = '{"train": [{"id": "…", "report": "…", "image_path": ["CXR1/0.png", …]}, …], "val": […], "test": […]}'


def read_annotation(root: Path | str, rule: ViewRule = "as_released") -> Collection:
    """The studies of `root/annotation.json` in its order (train, val, test). No image is opened, nor looked for.

    `Study.views` are paths relative to `root/images` (or `root/files`, as MIMIC-CXR-JPG names it). The release does not
    tell frontal from lateral, so a rule can only keep its order. Findings are the expert codes of the IU collection
    where the id is one of its own, else none.

    Raises:
        DataRootError: no such folder, or no annotation in it.
        AnnotationError: not JSON or not of the shape above, an id twice, a path that is absolute or leads out of
            `images/`; names entry and value.
    """
    root = Path(root).expanduser()
    if not (root / ANNOTATION).is_file():
        raise DataRootError(
            f"{root}: looked for {ANNOTATION} and {IMAGES}/ (the layout of the R2Gen release); {listing(root)}"
        )
    places: dict[str, str] = {}
    studies = []
    # The folder itself may be a link to a larger disk; what is in it may not lead out.
    images = (
        root / (IMAGES_MIMIC if (root / IMAGES_MIMIC).is_dir() and not (root / IMAGES).is_dir() else IMAGES)
    ).resolve()
    for where, split, entry in _entries(root / ANNOTATION):
        study_id, report, paths = _fields(where, entry)
        if study_id in places:
            raise AnnotationError(
                f"{where}: the id {study_id!r} was already used by {places[study_id]}. Remove one of the two"
            )
        places[study_id] = where
        for path in paths:
            check_inside(f"{where} ({study_id}): image_path", path, images)
        studies.append(_study(study_id, split, report, ordered(paths, {}, rule)))
    if not studies:
        raise AnnotationError(f"{root / ANNOTATION}: holds no study; expected {_SHAPE}")
    return Collection(tuple(studies), images)


def _entries(path: Path) -> Iterator[tuple[str, str, Any]]:
    """(where in words, split, entry) of every entry."""
    data = read_json(path, _SHAPE)
    if not isinstance(data, dict) or not any(split in data for split in SPLITS):
        keys = (
            f"the keys {', '.join(map(repr, list(data)[:5])) or 'none'}"
            if isinstance(data, dict)
            else f"a {type(data).__name__}"
        )
        raise AnnotationError(f"{path}: holds {keys}; expected {_SHAPE}")
    for split in SPLITS:
        entries = data.get(split, [])
        if not isinstance(entries, list):
            raise AnnotationError(
                f"{path}: {split!r} is a {type(entries).__name__}; expected a list of studies: {_SHAPE}"
            )
        for i, entry in enumerate(entries):
            yield f"{path}: {split}[{i}]", split, entry


def _fields(where: str, entry: Any) -> tuple[str, str, list[str]]:
    """The id, report and image paths of one entry."""
    if not isinstance(entry, dict):
        raise AnnotationError(
            f"{where}: is a {type(entry).__name__}; expected an object with id, report and image_path"
        )
    name = f"{where} ({entry['id']})" if "id" in entry else where
    if absent := [key for key in ("id", "report", "image_path") if key not in entry]:
        raise AnnotationError(
            f"{name}: has no {' and no '.join(map(repr, absent))}; expected id, report and image_path. Add it, or "
            f"remove the entry"
        )
    study_id, report, paths = entry["id"], entry["report"], entry["image_path"]
    if not isinstance(study_id, str) or not study_id:
        raise AnnotationError(f"{where}: the id is {study_id!r}; expected a text that is not empty")
    if not isinstance(report, str):
        raise AnnotationError(f"{name}: the report is {report!r}; expected a text")
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise AnnotationError(
            f"{name}: image_path is {paths!r}; expected a list of at least one path relative to {IMAGES}/"
        )
    return study_id, report, paths


def _study(study_id: str, split: str, report: str, paths: tuple[str, ...]) -> Study:
    known = iu_xray.known(study_id)
    return Study(study_id, split, report, known.findings if known else (), paths, known.source if known else ANNOTATION)
