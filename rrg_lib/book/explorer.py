"""What trained systems say of sampled studies, word by word: where they look and what else they might have said. It is
`data/explorer.json.gz`, which the site's explorer shows; made by `tools/explorer.py` from runs that are trained. The
file holds words, so what learnt from the reports of a collection has no place in it: such a system now and then writes
a report that it has read.

A map over the S = V·g·g patches of a study (frontal first, row by row) is kept as bytes, `LEVELS` at its highest patch,
beside the share `peak` of that patch: byte · peak / `LEVELS` is the share of a patch, and the shares of a map sum to 1
within that rounding. The films are not kept: `rrg_lib.data.phantom.draw` draws them again, and `films` is their hash.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rrg_lib.data.phantom import draw, sample_studies
from rrg_lib.data.study import Study
from rrg_lib.errors import CheckpointError
from rrg_lib.evaluation.attention import BoxScore, Looks, box_cover, box_score, find_mentions, look
from rrg_lib.experiments.presets import PRESETS
from rrg_lib.experiments.run_folders import BEST
from rrg_lib.experiments.trained_system import TrainedSystem
from rrg_lib.models.decoding import generate
from rrg_lib.runtime.hashing import file_sha256
from rrg_lib.runtime.workspace import written_whole

#: The file, its form, and how many studies it has, so many of them without a finding.
EXPLORER, FORM, STUDIES, NORMAL = "explorer.json.gz", 2, 24, 6
#: Steps of a map from 0 to its highest patch: finer than an eye tells, and the file stays below a mebibyte.
LEVELS = 100
#: Words kept at each place, the likeliest first; their probabilities are counted in steps of 1 / `STEPS`.
ALTERNATIVES, STEPS = 5, 10_000
#: The two ways of looking as the file calls them.
CROSS, SLOTS = "cross", "slots"


def explored_studies() -> tuple[Study, ...]:
    """The first test studies that the grammar of `phantom` samples, `NORMAL` without a finding among `STUDIES`: a rule
    that no report has a say in."""
    tests = [study for study in sample_studies(20 * STUDIES) if study.split == "test"]
    with_findings = [study for study in tests if study.is_abnormal][: STUDIES - NORMAL]
    without = [study for study in tests if not study.is_abnormal][:NORMAL]
    return tuple(sorted([*with_findings, *without], key=lambda study: study.id))


def quantised(shares: np.ndarray) -> tuple[bytes, float]:
    """A map (S,), nowhere negative, of any sum, as bytes and the share of its highest patch; a map of zeros has share
    0."""
    if not (total := float(shares.sum())) > 0:
        return bytes(len(shares)), 0.0
    peak = float(shares.max()) / total
    return np.rint(shares / total / peak * LEVELS).astype(np.uint8).tobytes(), float(f"{peak:.4g}")


def shares_of(look: dict[str, Any]) -> np.ndarray:
    """(W, S) the shares of a `look` of the file: each row sums to 1 within rounding, or is 0 everywhere."""
    kept = np.frombuffer(base64.b64decode(look["maps"]), np.uint8).reshape(len(look["peaks"]), -1)
    return kept * np.array(look["peaks"])[:, None] / LEVELS


def explored(systems: Sequence[TrainedSystem], studies: Sequence[Study]) -> dict[str, Any]:
    """What the file holds but for its provenance: `studies`, `words` (reports and alternatives count from it) and
    `systems`. Each report is searched as was chosen for its system (`best_decoding`).

    Raises `ConfigurationError` for a system that does not attend to the patches.
    """
    drawings = [draw(study) for study in studies]
    words: dict[str, int] = {}
    shown = [
        {
            "id": study.id,
            "report": study.report,
            "findings": sorted({box.finding for box in drawing.boxes}),
            "films": hashlib.sha256(drawing.views.tobytes()).hexdigest()[:16],
            "boxes": [[box.finding, box.view, box.x0, box.y0, box.x1, box.y1] for box in drawing.boxes],
        }
        for study, drawing in zip(studies, drawings, strict=True)
    ]
    rows = [_system(system, drawings, words) for system in systems]
    return {"form": FORM, "levels": LEVELS, "studies": shown, "words": list(words), "systems": rows}


def save_explorer(path: Path, data: dict[str, Any]) -> None:
    """The file, written whole or not at all; the same data are the same bytes."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    with written_whole(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def stored_explorer(path: Path | None = None) -> dict[str, Any]:
    """What `data/explorer.json.gz`, or the file at `path`, holds. Raises `CheckpointError` for one that is missing or
    of another form."""
    source = path or resources.files("rrg_data").joinpath(EXPLORER)
    try:
        data = json.loads(gzip.decompress(source.read_bytes()))
        if data["form"] != FORM:
            raise ValueError(f"its form is {data['form']}")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{source} cannot be read ({type(error).__name__}: {error}); expected what trained systems looked at, in "
            f"the form {FORM}. Take it from the repository, or make it again: python tools/explorer.py"
        ) from error
    return data


@torch.inference_mode()
def _system(system: TrainedSystem, drawings: Sequence[Any], words: dict[str, int]) -> dict[str, Any]:
    experiment, decoding, generator = system.experiment, system.best_decoding(), system.generator()
    generator.config.check_attends()
    views = np.stack([drawing.views for drawing in drawings])
    told = [system.labels_of_views(each, decoding.labels_at_test) for each in views]
    labels = None if told[0] is None else torch.from_numpy(np.concatenate(told)).float()
    inputs = torch.from_numpy(views)
    if system.extractor.frozen:
        inputs = system.extractor(inputs).patches
    tokens = generate(generator, inputs, labels, decoding).tokens.tolist()
    reports = [system.vocabulary.decode([0, *row]).split() for row in tokens]
    looks = look(generator, inputs, [[system.vocabulary.ids[word] for word in report] for report in reports], labels)
    shares = bool(generator.memory is not None and generator.memory.shares_slots and looks.text is not None)
    names = ("(end)", *system.vocabulary.tokens)

    def number(word: str) -> int:
        return words.setdefault(word, len(words))

    return {
        "preset": experiment.preset,
        "row": PRESETS[experiment.preset].row,
        "run": system.folder.name,
        "dataset": experiment.dataset,
        "profile": experiment.profile,
        "seed": experiment.training.seed,
        "experiment": experiment.hash,
        "data": system.identity.get("dataset"),
        "weights": file_sha256(system.folder / BEST)[:16],
        "decoding": asdict(decoding),
        "labels": decoding.labels_at_test if system.gated else None,
        "shares_slots": shares,
        "reports": [_report(looks, i, report, drawings[i], shares, names, number) for i, report in enumerate(reports)],
    }


def _report(looks: Looks, study: int, report: list[str], drawing: Any, shares: bool, names: Any, number: Any) -> dict:
    """One report: its words, the likeliest words at each place, a map a word and look, and the findings it names."""
    places = range(len(report))
    cross = [looks.cross_map(study, [t]).numpy() for t in places]
    maps = {CROSS: cross}
    if shares:
        maps[SLOTS] = [looks.overlap(study, [t]).weight.numpy() for t in places]
    best = looks.logits[study, : len(report)].float().softmax(-1).topk(ALTERNATIVES)
    return {
        "words": [number(word) for word in report],
        "chances": [
            [[number(names[w]), round(p * STEPS)] for p, w in zip(*row, strict=True)]
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ],
        "written": [
            round(p * STEPS)
            for p in looks.logits[study].float().softmax(-1)[list(places), [names.index(w) for w in report]].tolist()
        ],
        "on_patches": [round(float(m.sum()), 3) for m in cross],
        "looks": {name: _kept(of) for name, of in maps.items()},
        "mentions": _mentions(report, drawing, maps),
    }


def _kept(maps: Sequence[np.ndarray]) -> dict[str, Any]:
    rows = [quantised(m) for m in maps]
    return {"maps": base64.b64encode(b"".join(row for row, _ in rows)).decode(), "peaks": [peak for _, peak in rows]}


def _mentions(report: list[str], drawing: Any, maps: dict[str, list[np.ndarray]]) -> list[dict[str, Any]]:
    """The findings that a report asserts: their words, and, where the finding is drawn, the share of its boxes in the
    area (`chance`) and in each word's maps (`inside`, None for a map of zeros)."""
    found = []
    for mention in find_mentions(" ".join(report)):
        boxes = [box for box in drawing.boxes if box.finding == mention.finding]
        row: dict[str, Any] = {"finding": mention.finding, "words": list(mention.words), "drawn": bool(boxes)}
        if boxes:
            cover = box_cover(boxes)
            row["chance"] = round(float(cover.mean()), 4)
            row["inside"] = {
                name: [_inside(box_score(of[t], cover)) if of[t].sum() > 0 else None for t in mention.words]
                for name, of in maps.items()
            }
        found.append(row)
    return found


def _inside(score: BoxScore) -> float:
    return round(score.inside, 4)
