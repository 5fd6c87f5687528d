"""The visual extractor of an experiment: which weights it begins with, trained on the findings, or on the words of the
reports, first where none are there; what it sees of them; and the file that a run folder keeps it in."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from rrg_lib.data.finding_labels import findings_of_dataset
from rrg_lib.data.study import SPLITS, Split
from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.experiments.presets import ExtractorConfig
from rrg_lib.models.visual import report_words
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.feature_cache import cached_features
from rrg_lib.models.visual.finding_extractor import (
    PRETRAINING,
    FindingExtractor,
    finding_scores,
    is_finding_extractor,
    profile_metadata,
    train_finding_extractor,
)
from rrg_lib.runtime import package_data
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import locked, workspace, written_whole

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset

#: What a run folder calls the extractor it looks through, and what judges images where that has learnt no findings.
EXTRACTOR, CLASSIFIER = "extractor.safetensors", "classifier.safetensors"
#: Profiles that look through the extractor of another one: a study's features are those of the stored results.
_TRAINED_AS = {"study": "laptop"}


def finding_weights(name: str, dataset: PreparedDataset, profile: str, *, progress: bool = True) -> Path:
    """The weights of an extractor trained on the findings of this dataset's training studies; trained first when they
    are not there. The very ones that the stored results of IU-Phantom in `laptop` see through come with the package:
    another processor's sums would make others.

    The file's name holds the recipe's hash and the data's, so that another profile, network or dataset never finds
    them; and the labeler's, where findings are read in the reports of studies that nobody coded. The file itself says
    who labelled them (`labels`).

    Raises `ConfigurationError` for a dataset without training or validation studies.
    """
    profile = _TRAINED_AS.get(profile, profile)
    settings, parts = PRETRAINING[profile], {split: dataset.split_indices(split) for split in ("train", "val")}
    check_splits(dataset)
    labels = findings_of_dataset(dataset, [*parts["train"], *parts["val"]])
    recipe = "-".join(filter(None, (settings.recipe(name), labels.name)))
    path = workspace() / "extractors" / f"{name}-{profile}-{recipe}-{dataset.hash}.safetensors"
    if not path.exists() and (packaged := package_data.extractor(path.name)) is not None:
        with written_whole(path) as temporary:
            temporary.write_bytes(packaged)
    if not path.exists():
        drawn = dict(zip(parts, np.split(labels.drawn, [len(parts["train"])]), strict=True))
        views = {split: dataset.views_array(parts[split]) for split in parts}
        model = train_finding_extractor(
            views["train"], drawn["train"], validation=(views["val"], drawn["val"]), profile=settings, progress=progress
        )
        model.save(path, {**profile_metadata(settings, seed=0), "dataset": dataset.hash, "labels": labels.source})
    return path


def report_weights(name: str, dataset: PreparedDataset, profile: str, *, progress: bool = True) -> Path:
    """The weights of an extractor that learnt from the reports of this dataset's training studies alone, which words
    each has (`report_words`); trained first when they are not there. The file holds no head, so that nobody takes it
    for a classifier of findings.

    Raises `ConfigurationError` for a dataset without training or validation studies, or whose reports share no words.
    """
    profile = _TRAINED_AS.get(profile, profile)
    settings = PRETRAINING[profile]
    check_splits(dataset)
    reports = {split: [dataset.reference(i) for i in dataset.split_indices(split)] for split in ("train", "val")}
    words = report_words.target_words(reports["train"])
    recipe = content_hash([settings.recipe(name), words])[:6]
    path = workspace() / "extractors" / f"{name}-reports-{profile}-{recipe}-{dataset.hash}.safetensors"
    with locked(path.parent / f"{path.stem}-building"):
        if not path.exists():
            views = {split: dataset.views_array(dataset.split_indices(split)) for split in reports}
            told = {split: report_words.word_indicators(texts, words) for split, texts in reports.items()}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                start = FindingExtractor(name, words)
            model = train_finding_extractor(
                views["train"],
                told["train"],
                validation=(views["val"], told["val"]),
                profile=settings,
                start=start,
                progress=progress,
            )
            keep_extractor(model.extractor, path)
    return path


def check_splits(dataset: PreparedDataset) -> None:
    """Raises `ConfigurationError` for a dataset without training or validation studies."""
    needs = {
        "train": ("training", "nothing can be learnt"),
        "val": ("validation", "thresholds and the best epoch are chosen on them"),
    }
    for split, (kind, why) in needs.items():
        if not dataset.split_indices(split):
            counts = ", ".join(f"{len(dataset.split_indices(each))} {each}" for each in SPLITS)
            raise ConfigurationError(
                f"{dataset.folder} has no {kind} study ({counts}), and {why}. Give some studies the split {split!r} "
                f"(in a folder of one's own: the column split of studies.csv), then prepare again"
            )


def extractor_scores(path: Path, dataset: PreparedDataset, split: Split) -> dict[str, float]:
    """Micro-F1 over the 13 drawn findings of the studies of a split, and F1 of each; thresholds are those chosen on the
    validation studies. What a study has the experts say, or where they did not code it its report."""
    indices = dataset.split_indices(split)
    if not indices:
        return {"micro": math.nan}
    scores = finding_scores(
        FindingExtractor.load(path), dataset.views_array(indices), findings_of_dataset(dataset, indices).drawn
    )
    return {"micro": scores.micro_f1, **scores.f1}


def build_extractor(
    config: ExtractorConfig, dataset: PreparedDataset, profile: str, *, progress: bool = True
) -> VisualExtractor:
    """The extractor of an experiment, one trained on findings or on reports included."""
    trained = {"findings": finding_weights, "reports": report_weights}
    if config.weights not in trained:
        return new_extractor(config.name, config.weights, frozen=config.frozen)
    weights = trained[config.weights](config.name, dataset, profile, progress=progress)
    return new_extractor(config.name, weights, frozen=config.frozen)


def new_extractor(name: str, weights: str | Path | None, *, frozen: bool) -> VisualExtractor:
    """An extractor with these weights; random ones are the same each time, so that their features can be kept and found
    again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisualExtractor(name, weights=weights, frozen=frozen)


def input_reader(
    extractor: VisualExtractor, dataset: PreparedDataset, *, progress: bool = True
) -> Callable[[int], np.ndarray]:
    """What a generator reads of study i: cached patch features of a frozen extractor, or the views for one that
    learns."""
    if not extractor.frozen:
        return dataset.views
    return cached_features(extractor, dataset, folder=workspace() / "features", progress=progress).patches


# --- in a run folder --------------------------------------------------------------------------------------------------


def keep_extractor(extractor: VisualExtractor, path: Path) -> None:
    """The extractor's weights in a file that `VisualExtractor(weights=path)` reads, written whole or not at all."""
    with written_whole(path) as temporary:
        tensors = {key: value.detach().cpu().contiguous() for key, value in extractor.net.state_dict().items()}
        save_file(tensors, temporary, {"format": "visual extractor 1", "name": extractor.name, "hash": extractor.hash})


def copy_whole(source: Path, path: Path) -> None:
    """A copy, written whole or not at all."""
    with written_whole(path) as temporary:
        shutil.copyfile(source, temporary)


def kept_extractor(config: ExtractorConfig, folder: Path) -> VisualExtractor:
    """The extractor of a run from its folder alone.

    One that learns has its weights in the checkpoint, and begins with random ones. A frozen one is in
    `extractor.safetensors`; folders of edition 0.1 hold it only where it has learnt the findings: the others begin with
    their random or published weights again.

    Raises `CheckpointError` when the file is missing or damaged.
    """
    path = folder / EXTRACTOR
    if not config.frozen:
        return new_extractor(config.name, None, frozen=False)
    if path.is_file():
        try:
            return new_extractor(config.name, path, frozen=True)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}. Expected the frozen extractor {config.name!r}; copy {EXTRACTOR} again from where the run "
                f"was trained"
            ) from error
    if config.weights in ("findings", "reports"):
        raise CheckpointError(
            f"{path} is not there; expected the extractor {config.name!r} that the run looks through. Copy the whole "
            f"run folder from where it was trained"
        )
    return new_extractor(config.name, config.weights, frozen=True)


def classifier_file(folder: Path) -> Path | None:
    """What judges images for a run: its extractor where that has learnt the findings, else a classifier beside it; None
    where there is neither. Raises `CheckpointError` for a damaged file."""
    paths = (folder / EXTRACTOR, folder / CLASSIFIER)
    return next((path for path in paths if path.is_file() and is_finding_extractor(path)), None)


def kept_classifier(folder: Path) -> FindingExtractor:
    """The classifier of a run from its folder alone. Raises `CheckpointError` when there is none."""
    path = classifier_file(folder)
    if path is None:
        raise CheckpointError(
            f"{folder / CLASSIFIER} is not there; expected what judges images for a memory that is told labels. Where "
            f"the dataset is, rrg evaluate makes it in the run folder; or tell the memory nothing: --labels none"
        )
    return FindingExtractor.load(path)
