"""ReXrank's files as data: `ReXRank_….json`, an entry a study, and the images that they name.

Source: the leaderboard's description of its data and its published files (ReXrank, Zhang et al. 2024). Files that
`rrg rexrank` writes are of the same form.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from rrg_lib.data import iu_xray
from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered, position, split_part
from rrg_lib.data.layouts.csv_tables import given
from rrg_lib.data.layouts.json_files import read_json
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import SPLITS, Split, Study
from rrg_lib.errors import AnnotationError, DataRootError

_NAME = re.compile(r"rexrank.*\.json", re.IGNORECASE)
#: Where the leaderboard says that the images of its collections lie.
IMAGES = ("images", "files", "PNG")
_SHAPE = '{"CXR1_IM-0001": {"image_path": ["…", …], "section_findings": "…", "split": "test", …}, …}'
_SOURCE = "a file of ReXrank"


def rexrank_files(root: Path) -> list[Path]:
    """The files of the folder whose names say ReXrank, by name."""
    return sorted(path for path in root.glob("*.json") if _NAME.search(path.name)) if root.is_dir() else []


def read_rexrank_json(root: Path, rule: ViewRule) -> Collection:
    """The studies of all ReXrank files of the folder, train then val then test; no image is opened.

    The report is `section_findings`; a study without (NaN, as the published files have it) is left out and counted.
    `split` says the part, else the name of the file (`…_valid.json`), else it is a test set, as the leaderboard's are.
    `frontal_lateral` tells the positions where it has one for each image: for some studies of the published IU X-Ray it
    has more or fewer. Impression, context and predictions are not read.

    The leaderboard gives no studies to train on. Of IU X-Ray the vocabulary is that of the training reports of the
    standard split, as of every other layout of it; of another collection there is none, and it can't be prepared unless
    a file of training studies lies beside.

    Raises:
        DataRootError: no ReXrank file, or no study with FINDINGS.
        AnnotationError: not JSON or not of that shape, a study in two files, a path that leads out of the images; names
            file, study and value.
    """
    files = rexrank_files(root) or sorted(root.glob("*.json"))
    if not files:
        raise DataRootError(f"{root}: looked for ReXRank_….json (a file of ReXrank); {listing(root)}")
    images = next((root / name for name in IMAGES if (root / name).is_dir()), root / IMAGES[0]).resolve()
    studies: dict[Split, list[Study]] = {split: [] for split in SPLITS}
    places: dict[str, Path] = {}
    positions, left_out = {}, Counter()
    for path in files:
        entries = read_json(path, _SHAPE)
        if not isinstance(entries, dict):
            raise AnnotationError(f"{path}: holds a {type(entries).__name__}; expected {_SHAPE}. Get the file again")
        for study_id, entry in entries.items():
            where = f"{path}: {study_id!r}"
            paths, report, split = _fields(where, entry, path)
            if study_id in places:
                raise AnnotationError(
                    f"{where} stands in {places[study_id].name} already. Leave one of the two files in the folder"
                )
            places[study_id] = path
            for image in paths:
                check_inside(f"{where}: image_path", image, images)
            told = entry.get("frontal_lateral")
            if isinstance(told, list) and len(told) == len(paths):
                known = {image: position(str(word)) for image, word in zip(paths, told, strict=True)}
                positions |= {image: place for image, place in known.items() if place}
            views = ordered(paths, positions, rule)
            if report and views:
                study = iu_xray.known(study_id)
                findings, source = (study.findings, study.source) if study else ((), _SOURCE)
                studies[split].append(Study(study_id, split, report, findings, views, source))
            else:
                left_out["no frontal view" if report else "no FINDINGS section"] += 1
    taken = tuple(study for split in SPLITS for study in studies[split])
    if not taken:
        raise DataRootError(
            f"{root}: none of the {len(places)} studies of {', '.join(path.name for path in files)} can be used "
            f"({dict(left_out)}); expected some with section_findings. Get the files again"
        )
    of_collection = all(iu_xray.known(study.id) for study in taken)
    reports = tuple(study.report for study in iu_xray.studies("train")) if of_collection else ()
    return Collection(taken, images, positions, left_out, vocabulary_reports=reports)


def _fields(where: str, entry: Any, path: Path) -> tuple[list[str], str, Split]:
    """The image paths, FINDINGS ("" for none) and split of an entry."""
    if not isinstance(entry, dict):
        raise AnnotationError(
            f"{where}: is a {type(entry).__name__}; expected an entry of {_SHAPE}. Get the file again"
        )
    if absent := [key for key in ("image_path", "section_findings") if key not in entry]:
        raise AnnotationError(
            f"{where}: has no {' and no '.join(map(repr, absent))}; there is {', '.join(map(repr, list(entry)[:8]))}. "
            f"Expected {_SHAPE}; get the file again"
        )
    paths, report = entry["image_path"], entry["section_findings"]
    if not isinstance(paths, list) or not paths or not all(isinstance(one, str) and one for one in paths):
        raise AnnotationError(f"{where}: image_path is {paths!r}; expected a list of at least one path. Mend the entry")
    if report is None or (isinstance(report, float) and math.isnan(report)):
        report = ""
    if not isinstance(report, str):
        raise AnnotationError(f"{where}: section_findings is {report!r}; expected a text. Mend the entry")
    words = [entry["split"]] if "split" in entry else re.split(r"[^a-z]+", path.stem.lower())
    split = next(filter(None, (split_part(str(word)) for word in words)), None)
    if split is None and "split" in entry:
        raise AnnotationError(
            f"{where}: the split is {entry['split']!r}; expected train, val or test. Mend the entry, or leave it out"
        )
    return paths, given(report), split or "test"
