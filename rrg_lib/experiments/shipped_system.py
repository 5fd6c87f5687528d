"""The trained system that comes with the package: the small CMN of the `laptop` profile and the extractor that it looks
through, in half precision, so that a report can be written right after the install.

`data/system` is a run folder like any other (`trained_system.TrainedSystem` opens it), with `provenance.json` beside:
the run that it was made from, the command, and its scores on the drawn test studies of IU X-Ray.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from rrg_lib.data.phantom import draw
from rrg_lib.data.study import Study
from rrg_lib.errors import CheckpointError
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.experiments.extractors import EXTRACTOR
from rrg_lib.experiments.run_folders import BEST, EXPERIMENT, VOCABULARY
from rrg_lib.experiments.trained_system import TrainedSystem
from rrg_lib.experiments.tuned_decoding import DECODING
from rrg_lib.models.decoding import generate
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.pretrained import read_tensors
from rrg_lib.runtime.checkpoint import load_tensors, save_tensors
from rrg_lib.runtime.workspace import write_json, written_whole

#: Says where the shipped weights come from and what they score.
PROVENANCE = "provenance.json"
#: Studies that are looked at together while the system is scored.
_BATCH = 32


def shipped_folder() -> Path:
    """`data/system` of the installed package. Raises `CheckpointError` where the package was installed without it."""
    folder = Path(str(resources.files("rrg_data").joinpath("system")))
    if not (folder / BEST).is_file():
        raise CheckpointError(
            f"{folder / BEST} is not there; expected the small trained system that comes with the package. Install "
            f"the package again, unpacked: pip install --force-reinstall rrg-book"
        )
    return folder


def shipped_system() -> TrainedSystem:
    """The system that comes with the package."""
    return TrainedSystem.open(shipped_folder())


def shipped_provenance() -> dict[str, Any]:
    """What `provenance.json` says: `source`, `command`, `edition`, `bytes`, and scores by name: `scores`
    of these weights, `scores_of_the_run` as it was trained, `constant_report` of the baseline a1."""
    return json.loads((shipped_folder() / PROVENANCE).read_text(encoding="utf-8"))


def halve(source: Path, folder: Path) -> TrainedSystem:
    """A run folder that writes reports and nothing else, its weights as float16: half the bytes.

    The halved extractor has another hash, so the folder says itself what belongs together; the decoding that was chosen
    for the weights stays chosen for them.
    """
    system = TrainedSystem.open(source)
    folder.mkdir(parents=True, exist_ok=True)
    tensors, metadata = read_tensors(source / EXTRACTOR)
    halved = {name: _half(tensor) for name, tensor in tensors.items()}
    with written_whole(folder / EXTRACTOR) as temporary:
        save_file(halved, temporary, metadata)
    extractor = VisualExtractor(system.experiment.extractor.name, weights=folder / EXTRACTOR)
    with written_whole(folder / EXTRACTOR) as temporary:
        save_file(halved, temporary, {**metadata, "hash": extractor.hash})
    identity = {**system.identity, "extractor": extractor.hash}
    weights, meta = load_tensors(source / BEST)
    save_tensors(folder / BEST, {name: _half(tensor) for name, tensor in weights.items()}, {**meta, **identity})
    write_json(folder / EXPERIMENT, {"experiment": system.experiment.to_json(), "identity": identity})
    for name in (VOCABULARY, DECODING):
        with written_whole(folder / name) as temporary:
            temporary.write_bytes((source / name).read_bytes())
    return TrainedSystem.open(folder)


def scores_on_drawn(system: TrainedSystem, studies: Sequence[Study]) -> dict[str, float]:
    """What the reports score that the system writes of these studies, drawn now, searched as was chosen for it."""
    decoding, generator, reports = system.best_decoding(), system.generator(), {}
    for start in range(0, len(studies), _BATCH):
        part = studies[start : start + _BATCH]
        views = torch.from_numpy(np.stack([draw(study).views for study in part]))
        with torch.inference_mode():
            patches = system.extractor(views).patches
        tokens = generate(generator, patches, config=decoding).tokens.tolist()
        reports |= {study.id: system.vocabulary.decode([0, *row]) for study, row in zip(part, tokens, strict=True)}
    evaluation = evaluate_reports(reports, studies, system.vocabulary, metrics=WITHOUT_JAVA, baselines=False)
    return {name: float(value) for name, value in evaluation.scores.items()}


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
