"""ReXrank's files for IU X-Ray: the leaderboard's form of a test set and of what a system wrote for it.

One JSON object, an entry a study: `image_path`, `key_image_path` (the frontal image), `frontal_lateral`, `context`,
`section_findings`, `section_impression`, `report` ("Findings: … Impression: …"), `split`; a system adds
`model_prediction`. Its IU X-Ray is the standard split, by the same ids: 590 test and 296 validation studies.

Source: the leaderboard's own description of its data and of its evaluation script (ReXrank, Zhang et al. 2024).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rrg_lib.data.iu_xray import image_key, impressions, positions, requests, studies
from rrg_lib.data.study import Split
from rrg_lib.data.text.vocabulary import PROTOCOLS, Vocabulary
from rrg_lib.errors import ReportError
from rrg_lib.evaluation.baselines import BASELINES, DEFAULT_BASELINES, Task, kept_hypotheses
from rrg_lib.evaluation.nlg import Reports, one_report_each, same_studies
from rrg_lib.runtime.workspace import write_json

_UID = re.compile(r"(?:CXR)?(\d+)(?:_IM-[\d-]+)?(?:/\d+\.png)?", re.IGNORECASE)
_HEADED = re.compile(r"\s*findings?\s*:(.*?)(?:\bimpressions?\s*:(.*))?", re.IGNORECASE | re.DOTALL)


def write_rexrank(path: Path, reports: Reports, split: Split = "test") -> None:
    """A ReXrank file of the split with `reports` (study id -> text) as `model_prediction`, whole or not at all.

    Raises `ReportError` for reports missing, too many or given twice; `StorageError`.
    """
    given = one_report_each(reports, "report")
    same_studies([study.id for study in studies(split)], given, "reports")
    write_json(path, {study: {**entry, "model_prediction": given[study]} for study, entry in entries(split).items()})


def entries(split: Split) -> dict[str, dict[str, Any]]:
    """ReXrank's entry of each study of the split, without a prediction; images are named as the R2Gen release names
    them.

    Which image is frontal the DICOM headers say, and of some scanners they say it of every film: where they do not tell
    the two apart, `frontal_lateral` is "Unknown" and the key image the first.
    """
    where, concluded, asked, by_study = positions(), impressions(), requests(), {}
    for study in studies(split):
        views = [where.get(image_key(view)) for view in study.views]
        images = [f"{study.id}/{i}.png" for i in range(len(study.views))]
        if views.count("frontal") != 1:
            views = [None] * len(views)
        frontal = views.index("frontal") if "frontal" in views else 0
        findings, impression = study.report, concluded[study.id]
        by_study[study.id] = {
            "key_image_path": images[frontal],
            "image_path": images,
            "report": f"Findings: {findings} Impression: {impression}",
            "section_findings": findings,
            "section_impression": impression,
            "split": split,
            "frontal_lateral": [(view or "unknown").capitalize() for view in views],
            "context": context(*asked[study.id]),
        }
    return by_study


def context(indication: str, comparison: str) -> str:
    """What a system is told beside the images, worded as in ReXrank's files: an indication that is missing is left
    out, a comparison that is missing is "None"."""
    return f"{f'Indication: {indication}' if indication else ''} Comparison: {comparison or 'None'}"


def findings_part(report: str) -> str | None:
    """What a report headed "Findings: … Impression: …" says under FINDINGS; None for one without the heading."""
    match = _HEADED.fullmatch(report)
    return match[1].strip() if match else None


@cache
def _by_uid() -> dict[str, str]:
    return {study.id.split("_")[0].removeprefix("CXR"): study.id for study in studies()}


def collection_ids(ids: list[str]) -> dict[str, str] | None:
    """id as given -> id of the study of the collection, for ids such as `CXR2384_IM-0942`, `CXR2384` or `2384`, joined
    by that number; None unless all of them are such. Bare numbers may be anybody's: they must be a
    whole split of it."""
    study_ids = {}
    for each in ids:
        match = _UID.fullmatch(each)
        if not match or match[1] not in _by_uid():
            return None
        study_ids[each] = _by_uid()[match[1]]
    bare = any(each.isdecimal() for each in ids)
    if len(set(study_ids.values())) < len(study_ids) or (bare and split_of(list(study_ids.values())) is None):
        return None
    return study_ids


def split_of(ids: list[str]) -> Split | None:
    """The split of the collection that is exactly these study ids, or None."""
    return next((split for split in ("test", "val", "train") if {s.id for s in studies(split)} == {*ids}), None)


@cache
def collection_vocabulary() -> Vocabulary:
    """The words of the collection's training reports, in the released protocol."""
    return Vocabulary.build((study.report for study in studies("train")), PROTOCOLS["r2gen"])


def baseline_sets(split: Split, names: tuple[str, ...] = DEFAULT_BASELINES) -> dict[str, list[dict[str, str]]]:
    """What the trivial baselines write for a split of the collection, by name: a set of reports a seed.

    Raises `UnknownNameError` for a name that is none; `ReportError` for the training studies, which they are made of.
    """
    if split == "train":
        raise ReportError("the baselines are made of the training reports, so they write for val and test alone")
    task = Task(studies("train"), studies("val"), studies(split), collection_vocabulary())
    return {
        name: [
            kept_hypotheses(name, task, seed=s).value for s in (BASELINES[name].seeds if name in BASELINES else (0,))
        ]
        for name in names
    }


def write_baselines(folder: Path, split: Split = "test", names: tuple[str, ...] = DEFAULT_BASELINES) -> list[Path]:
    """The baselines' reports as ReXrank files `BASELINE-SPLIT.json`; of one with several seeds, the first. Raises as
    `baseline_sets` does."""
    paths = []
    for name, sets in baseline_sets(split, names).items():
        paths.append(Path(folder) / f"{name}-{split}.json")
        write_rexrank(paths[-1], sets[0], split)
    return paths


def as_mapping(reports: Mapping[str, str]) -> dict[str, str]:
    """Reports by the collection's ids, whichever form of them they were given by. Raises `ReportError` naming one that
    is none of the collection's."""
    ids = collection_ids(list(reports))
    if ids is None:
        odd = next((i for i in reports if not (m := _UID.fullmatch(i)) or m[1] not in _by_uid()), next(iter(reports)))
        raise ReportError(
            f"study {odd!r} is not of IU X-Ray, stands there twice, or is a bare number of no whole split. Expected "
            f"ids such as CXR2384_IM-0942; take the others out"
        )
    return {ids[study]: report for study, report in reports.items()}
