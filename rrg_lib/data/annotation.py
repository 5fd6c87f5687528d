"""The layout of the R2Gen release: `annotation.json`, and the images it names below `images/`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rrg_lib.data import iu_xray
from rrg_lib.errors import AnnotationError, DataRootError, UnknownNameError
from rrg_lib.study import SPLITS, Study

ANNOTATION = "annotation.json"
IMAGES = "images"
_SHAPE = '{"train": [{"id": "…", "report": "…", "image_path": ["CXR1/0.png", …]}, …], "val": […], "test": […]}'


def read_annotation(root: Path | str, command: str) -> tuple[Study, ...]:
    """The studies of `root/annotation.json` in its order (train, val, test); every image is looked for, none is opened.

    `Study.views` are paths relative to `root/images`. Findings are the expert codes of the IU collection where the id is one of its own, else none.

    Raises:
        DataRootError: no such folder, no annotation in it, or images missing; `command` is what the message tells the user to run.
        AnnotationError: not JSON or not of the shape above, an id twice, a path that is absolute or leads out of `images/`; names entry and value.
    """
    root = Path(root).expanduser()
    if not (root / ANNOTATION).is_file():
        raise DataRootError(f"{root}: looked for {ANNOTATION} and {IMAGES}/ (the layout of the R2Gen release); {listing(root)}. Then run: {command}")
    found: dict[str, str] = {}
    studies = []
    images = (root / IMAGES).resolve()  # the folder itself may be a link to a larger disk; what is in it may not lead out
    for where, split, entry in _entries(root / ANNOTATION):
        study_id, report, paths = _fields(where, entry)
        if study_id in found:
            raise AnnotationError(f"{where}: the id {study_id!r} was already used by {found[study_id]}. Remove one of the two")
        found[study_id] = where
        for path in paths:
            _check_inside(f"{where} ({study_id})", path, images)
        studies.append(_study(study_id, split, report, paths))
    if not studies:
        raise AnnotationError(f"{root / ANNOTATION}: holds no study; expected {_SHAPE}")
    missing = [path for study in studies for path in study.views if not (images / path).is_file()]
    if missing:
        raise DataRootError(
            f"{images}: {len(missing)} of {sum(len(s.views) for s in studies)} images that {ANNOTATION} names are missing, the first {missing[0]!r}; "
            f"{listing(images)}. Put the images there, then run: {command}"
        )
    return tuple(studies)


def listing(folder: Path, most: int = 8) -> str:
    """In words, what is at `folder` instead of what was looked for."""
    if not folder.exists():
        near = folder.parent
        return f"the folder does not exist; {near} holds: {_names(near, most)}" if near.is_dir() else "the folder does not exist"
    if not folder.is_dir():
        return "it is a file, not a folder"
    return f"there is: {_names(folder, most)}"


def _names(folder: Path, most: int) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "") if names else "nothing"


def _entries(path: Path) -> Iterator[tuple[str, str, Any]]:
    """(where in words, split, entry) of every entry."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 text (byte {error.start}); expected JSON. Get the file again") from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}: is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. Get the file again") from error
    except RecursionError as error:
        raise AnnotationError(f"{path}: is nested too deep; expected {_SHAPE}") from error
    if not isinstance(data, dict) or not any(split in data for split in SPLITS):
        keys = f"the keys {', '.join(map(repr, list(data)[:5])) or 'none'}" if isinstance(data, dict) else f"a {type(data).__name__}"
        raise AnnotationError(f"{path}: holds {keys}; expected {_SHAPE}")
    for split in SPLITS:
        entries = data.get(split, [])
        if not isinstance(entries, list):
            raise AnnotationError(f"{path}: {split!r} is a {type(entries).__name__}; expected a list of studies: {_SHAPE}")
        for i, entry in enumerate(entries):
            yield f"{path}: {split}[{i}]", split, entry


def _fields(where: str, entry: Any) -> tuple[str, str, list[str]]:
    """The id, report and image paths of one entry."""
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: is a {type(entry).__name__}; expected an object with id, report and image_path")
    name = f"{where} ({entry['id']})" if "id" in entry else where
    if absent := [key for key in ("id", "report", "image_path") if key not in entry]:
        raise AnnotationError(f"{name}: has no {' and no '.join(map(repr, absent))}; expected id, report and image_path. Add it, or remove the entry")
    study_id, report, paths = entry["id"], entry["report"], entry["image_path"]
    if not isinstance(study_id, str) or not study_id:
        raise AnnotationError(f"{where}: the id is {study_id!r}; expected a text that is not empty")
    if not isinstance(report, str):
        raise AnnotationError(f"{name}: the report is {report!r}; expected a text")
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise AnnotationError(f"{name}: image_path is {paths!r}; expected a list of at least one path relative to {IMAGES}/")
    return study_id, report, paths


def _check_inside(name: str, path: str, images: Path) -> None:
    """Refuses a path that is absolute, climbs, or leads out of `images` by a link."""
    plain, windows = PurePosixPath(path), PureWindowsPath(path)
    if plain.is_absolute() or windows.is_absolute() or windows.drive or "\0" in path:
        raise AnnotationError(f"{name}: image_path {path!r} is absolute; expected a path relative to {images}. Change the entry")
    if ".." in plain.parts or ".." in windows.parts:
        raise AnnotationError(f"{name}: image_path {path!r} climbs out with '..'; expected a path below {images}. Change the entry")
    target = (images / path).resolve()
    if not target.is_relative_to(images):
        raise AnnotationError(f"{name}: image_path {path!r} is a link to {target}, outside {images}. Copy the image there instead")


def _study(study_id: str, split: str, report: str, paths: list[str]) -> Study:
    try:
        known = iu_xray.study(study_id)
    except UnknownNameError:
        return Study(study_id, split, report, views=tuple(paths), source=ANNOTATION)
    return Study(study_id, split, report, known.findings, tuple(paths), known.source)
