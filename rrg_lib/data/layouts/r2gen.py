"""The layout of the R2Gen release: `annotation.json`, and the images it names below `images/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rrg_lib.data import iu_xray
from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered, split_part
from rrg_lib.data.layouts.json_files import read_json
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import SPLITS, Split, Study
from rrg_lib.errors import AnnotationError, DataRootError

ANNOTATION = "annotation.json"
IMAGES, IMAGES_MIMIC = "images", "files"
ANNOTATION_SHAPE = (
    '{"train": [{"id": "…", "report": "…", "image_path": ["CXR1/0.png", …]}, …], "val": […], "test": […]}'
)


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
    images = annotation_images(root)
    for where, split, entry in annotation_entries(root / ANNOTATION, read_json(root / ANNOTATION, ANNOTATION_SHAPE)):
        study_id, report, paths = annotation_fields(where, entry)
        if study_id in places:
            raise AnnotationError(
                f"{where}: the id {study_id!r} was already used by {places[study_id]}. Remove one of the two"
            )
        places[study_id] = where
        for path in paths:
            check_inside(f"{where} ({study_id}): image_path", path, images)
        studies.append(_study(study_id, split, report, ordered(paths, {}, rule)))
    if not studies:
        raise AnnotationError(f"{root / ANNOTATION}: holds no study; expected {ANNOTATION_SHAPE}")
    return Collection(tuple(studies), images)


def annotation_images(root: Path) -> Path:
    """Where the images of an annotation are: `images/`, or `files/` where only that is. The folder itself may be a link
    to a larger disk; what is in it may not lead out."""
    mimic = (root / IMAGES_MIMIC).is_dir() and not (root / IMAGES).is_dir()
    return (root / (IMAGES_MIMIC if mimic else IMAGES)).resolve()


def annotation_entries(path: Path, data: Any) -> Iterator[tuple[str, Split, Any]]:
    """(where in words, split, entry) of every entry of what the file says, train then val then test. Raises
    `AnnotationError` for another shape."""
    if not isinstance(data, dict) or not any(map(split_part, data)):
        keys = (
            f"the keys {', '.join(map(repr, list(data)[:5])) or 'none'}"
            if isinstance(data, dict)
            else f"a {type(data).__name__}"
        )
        raise AnnotationError(f"{path}: holds {keys}; expected {ANNOTATION_SHAPE}")
    keys: dict[Split, str] = {}
    for key, entries in data.items():
        split = split_part(key)
        if split is None and isinstance(entries, list):
            raise AnnotationError(
                f"{path}: {key!r} is a list of {len(entries)}, and no part of a split is called so; expected "
                f"{ANNOTATION_SHAPE}. Call it train, val or test, or take it out"
            )
        if split and not isinstance(entries, list):
            raise AnnotationError(
                f"{path}: {key!r} is a {type(entries).__name__}; expected a list of studies: {ANNOTATION_SHAPE}"
            )
        if split and split in keys:
            raise AnnotationError(f"{path}: {keys[split]!r} and {key!r} are one part of the split. Make them one list")
        if split:
            keys[split] = key
    for split in SPLITS:
        for i, entry in enumerate(data[keys[split]] if split in keys else ()):
            yield f"{path}: {keys[split]}[{i}]", split, entry


def annotation_fields(where: str, entry: Any) -> tuple[str, str, list[str]]:
    """The id, report and image paths of one entry. Raises `AnnotationError` naming what is wrong with it."""
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
