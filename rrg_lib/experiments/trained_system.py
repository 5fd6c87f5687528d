"""A trained system without its dataset: a run folder, opened by what it holds, writes reports for images anywhere.

Nothing is prepared, drawn or cached for it, so a system that learnt from MIMIC-CXR runs where MIMIC-CXR is not. What is
checked of the files is that they belong together: each against the identity in `experiment.json`, which the checkpoint
says too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rrg_lib.data.images import read_radiograph
from rrg_lib.data.sources import VIEWS
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import CheckpointError, ConfigurationError, ReportError
from rrg_lib.experiments.extractors import EXTRACTOR, kept_classifier, kept_extractor
from rrg_lib.experiments.presets import Experiment
from rrg_lib.experiments.pseudo_labels import image_labels
from rrg_lib.experiments.run_folders import BEST, EXPERIMENT, VOCABULARY, RunFolder, read_description
from rrg_lib.models.decoding import DecodingConfig, LabelsAtTest, generate
from rrg_lib.models.interface import Captioner
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.finding_extractor import FindingExtractor
from rrg_lib.runtime.checkpoint import check_same, load_into, load_tensors


def build_generator(experiment: Experiment, vocabulary: Vocabulary, extractor: VisualExtractor) -> Captioner:
    """The generator of an experiment, its weights drawn by the experiment's seed."""
    torch.manual_seed(experiment.training.seed)
    config = experiment.generator.of_data(vocabulary, extractor.dim)
    own_extractor = None if extractor.frozen else extractor
    return config.build(own_extractor, memory=experiment.memory, pair=experiment.pair)


def own_identity(experiment: Experiment, vocabulary: Vocabulary, extractor: VisualExtractor) -> dict[str, str]:
    """What a checkpoint belongs to, as far as it can be told without the dataset."""
    return {
        "preset": experiment.name,
        "vocabulary": vocabulary.hash,
        "extractor": extractor.hash if extractor.frozen else extractor.name,
        "experiment": experiment.hash,
    }


@dataclass
class TrainedSystem(RunFolder):
    """A run folder with its words and its visual extractor. `identity` is what `best.safetensors` has to say of itself:
    the hashes of vocabulary, extractor, experiment, dataset and labels."""

    vocabulary: Vocabulary
    extractor: VisualExtractor
    identity: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> TrainedSystem:
        """The system of a run folder, wherever it was copied to.

        Raises:
            DataRootError: a folder that is no run folder.
            CheckpointError: a file that is missing, damaged or of another run; the message names it.
        """
        folder = Path(folder)
        experiment, identity = read_description(folder)
        for name, content in ((VOCABULARY, "the words of its reports"), (BEST, "its weights")):
            if not (folder / name).is_file():
                raise CheckpointError(
                    f"{folder / name} is not there; expected {content}. Copy the whole run folder from where it was "
                    f"trained, or train: rrg train {experiment.name} --profile {experiment.profile}"
                )
        vocabulary = _read_vocabulary(folder / VOCABULARY)
        extractor = kept_extractor(experiment.extractor, folder)
        files = {"preset": EXPERIMENT, "experiment": EXPERIMENT, "vocabulary": VOCABULARY, "extractor": EXTRACTOR}
        for name, value in own_identity(experiment, vocabulary, extractor).items():
            if identity.get(name) != value:
                raise CheckpointError(
                    f"{folder / files[name]} is of another run: its {name} is {value!r}, and {EXPERIMENT} expects "
                    f"{identity.get(name)!r}. Copy the whole run folder from where it was trained"
                )
        return cls(folder, experiment, vocabulary, extractor, identity)

    def generator(self) -> Captioner:
        """The best generator of the run, in evaluation mode. Raises `CheckpointError` if it is not trained or belongs
        to another experiment."""
        path = self.folder / BEST
        tensors, meta = load_tensors(path)
        check_same(path, meta, self.identity)
        generator = build_generator(self.experiment, self.vocabulary, self.extractor)
        load_into(generator, {name.removeprefix("model."): tensor for name, tensor in tensors.items()}, path)
        return generator.eval()

    @cached_property
    def _writer(self) -> Captioner:
        return self.generator()

    @cached_property
    def _classifier(self) -> FindingExtractor:
        return kept_classifier(self.folder)

    def labels_of_views(self, views: np.ndarray, source: LabelsAtTest) -> np.ndarray | None:
        """(1, 14) labels that the memory is told of the views (V, H, W) of one study; None, nothing, for a memory that
        is not gated by labels. Raises `ConfigurationError` for "reference": an image has none."""
        if not self.gated or source == "none":
            return None
        if source.startswith("reference"):
            raise ConfigurationError(
                "an image has no reference to take labels from: use decoding.labels_at_test=classifier, or none"
            )
        return image_labels(self._classifier, [views[None]])

    def report_of_views(self, views: np.ndarray, *, decoding: DecodingConfig | None = None) -> str:
        """A report for uint8 views (V, H, W) of one study, searched as the experiment says unless told otherwise.
        Raises `ConfigurationError` when the memory should be told the labels of its reference."""
        inputs, decoding = torch.from_numpy(np.array(views))[None], decoding or self.experiment.decoding
        labels = self.labels_of_views(views, decoding.labels_at_test)
        labels = None if labels is None else torch.from_numpy(labels).float()
        if self.extractor.frozen:
            with torch.inference_mode():
                inputs = self.extractor(inputs).patches
        tokens = generate(self._writer, inputs, labels, decoding).tokens[0].tolist()
        return self.vocabulary.decode([0, *tokens])

    def report_of_images(self, paths: Sequence[Path], *, decoding: DecodingConfig | None = None) -> str:
        """A report for the image files of one study, frontal first. One image stands for both views, as it does in a
        prepared dataset."""
        if not 1 <= len(paths) <= VIEWS:
            raise ConfigurationError(f"{len(paths)} images were given: a study has 1 to {VIEWS} views, frontal first")
        views = [read_radiograph(path) for path in paths]
        return self.report_of_views(np.stack(views + views[-1:] * (VIEWS - len(views))), decoding=decoding)


def _read_vocabulary(path: Path) -> Vocabulary:
    try:
        return Vocabulary.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, ReportError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected the words of the run's reports. Copy "
            f"it again from where the run was trained"
        ) from error
