"""PromptMRG's annotation: R2Gen's entries with the labels that CheXbert gave each report, of MIMIC-CXR in R2Gen's three
lists, of IU X-Ray in one list without a split.

Source: PromptMRG (Jin et al., AAAI 2024), its description of its data and how its released code reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rrg_lib.data import iu_xray
from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered
from rrg_lib.data.layouts.json_files import read_json
from rrg_lib.data.layouts.mimic_cxr import labeler_findings
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.layouts.r2gen import ANNOTATION_SHAPE, annotation_entries, annotation_fields, annotation_images
from rrg_lib.data.study import OBSERVATIONS, SPLITS, Finding, Split, Study
from rrg_lib.errors import AnnotationError, DataRootError

ANNOTATIONS = "*_annotation_promptmrg.json"
_SOURCE = "an annotation of PromptMRG"
#: CheXbert's order of the observations, and its classes: blank, positive, negative, uncertain.
_OBSERVATIONS = (*OBSERVATIONS[1:], OBSERVATIONS[0])
_CLASSES, _POSITIVE = range(4), 1
_SHAPE = f"{ANNOTATION_SHAPE[:-3]}], …}}, or for IU X-Ray one list of such entries, each with labels"


def annotation_of(root: Path) -> Path | None:
    """The annotation in the folder, None if there is none. Raises `AnnotationError` for several: one folder holds one
    collection."""
    found = sorted(root.glob(ANNOTATIONS))
    if len(found) > 1:
        raise AnnotationError(
            f"{root}: holds {' and '.join(path.name for path in found)}; expected one. Give each a folder of its own"
        )
    return found[0] if found else None


def read_promptmrg(root: Path, rule: ViewRule) -> Collection:
    """The studies of `root/…_annotation_promptmrg.json`, train then val then test; no image is opened.

    `labels` are CheXbert's classes in its order of the 14 observations (those of MIMIC-CXR have four more, which are
    not read); what is positive stands as a finding, what was uncertain counts as absent, and a study without a positive
    is coded "normal", as in the tables of MIMIC-CXR-JPG. Where the IU collection has codes of its own experts, those
    stand instead. The list of IU X-Ray has no split: its studies go where the standard split has them, entries of one
    id are views of one study, and a study that is not in the standard split is left out and counted.

    Raises:
        DataRootError: no annotation in the folder.
        AnnotationError: several annotations, not JSON or not of that shape, labels that are none, an id twice (in the
            list: with another report), a path that leads out of the images; names entry and value.
    """
    path = annotation_of(root)
    if path is None:
        raise DataRootError(f"{root}: looked for {ANNOTATIONS} (the layout of PromptMRG); {listing(root)}")
    data, images = read_json(path, _SHAPE), annotation_images(root)
    left_out: Counter[str] = Counter()
    flat = isinstance(data, list)
    entries = _of_list(path, data, left_out) if flat else annotation_entries(path, data)
    studies: dict[Split, list[Study]] = {split: [] for split in SPLITS}
    known: dict[str, tuple[str, Study]] = {}
    for where, split, entry in entries:
        study_id, report, paths = annotation_fields(where, entry)
        for image in paths:
            check_inside(f"{where} ({study_id}): image_path", image, images)
        findings = _findings(f"{where} ({study_id})", entry)
        if study_id in known:
            before, study = known[study_id]
            if not flat or (study.report, study.findings) != (report, _experts(study_id) or findings):
                raise AnnotationError(
                    f"{where}: the id {study_id!r} was already used by {before}"
                    + (", with another report or other labels" if flat else "")
                    + ". Remove one of the two"
                )
            paths = [*study.views, *(image for image in paths if image not in study.views)]
        source = iu_xray.SOURCE if _experts(study_id) else _SOURCE
        known[study_id] = (
            known[study_id][0] if study_id in known else where,
            Study(study_id, split, report, _experts(study_id) or findings, ordered(paths, {}, rule), source),
        )
    for _, study in known.values():
        studies[study.split].append(study)
    if not known:
        raise AnnotationError(f"{path}: holds no study that can be used ({dict(left_out)}); expected {_SHAPE}")
    return Collection(tuple(study for split in SPLITS for study in studies[split]), images, left_out=left_out)


def _of_list(path: Path, entries: list[Any], left_out: Counter[str]) -> Iterator[tuple[str, Split, Any]]:
    """The entries of IU X-Ray's list with the part of the standard split that each is in; without an id an entry is
    called by the folder of its first image."""
    gone: set[str] = set()
    for i, entry in enumerate(entries):
        where = f"{path}: [{i}]"
        if isinstance(entry, dict) and "id" not in entry and isinstance(entry.get("image_path"), list):
            first = entry["image_path"][0] if entry["image_path"] else ""
            entry = entry | {"id": PurePosixPath(first).parent.name if isinstance(first, str) else ""}
        study_id, *_ = annotation_fields(where, entry)
        if (study := iu_xray.known(study_id)) is not None:
            yield where, study.split, entry
        elif iu_xray.image_key(f"{study_id}-1") is None:
            raise AnnotationError(
                f"{where}: {study_id!r} is no study of IU X-Ray, and a list says no split. Expected ids such as "
                f"CXR2384_IM-0942, or three lists: {ANNOTATION_SHAPE}"
            )
        elif study_id not in gone:
            gone.add(study_id)
            left_out["not in the standard split"] += 1


def _experts(study_id: str) -> tuple[Finding, ...]:
    known = iu_xray.known(study_id)
    return known.findings if known else ()


def _findings(where: str, entry: dict[str, Any]) -> tuple[Finding, ...]:
    labels = entry.get("labels")
    if (
        not isinstance(labels, list)
        or len(labels) < len(_OBSERVATIONS)
        or any(type(label) is not int or label not in _CLASSES for label in labels)
    ):
        shown = repr(labels)
        raise AnnotationError(
            f"{where}: the labels are {shown[:80]}{'…' * (len(shown) > 80)}; expected a list of at least "
            f"{len(_OBSERVATIONS)} classes, 0 blank, 1 positive, 2 negative, 3 uncertain. Get the file again"
        )
    # a zip that is not strict: MIMIC-CXR's lists have four classes more
    return labeler_findings(name for name, label in zip(_OBSERVATIONS, labels, strict=False) if label == _POSITIVE)
