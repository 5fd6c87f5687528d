"""Training and scoring the disease classifier: small, a function of its seed, over several seeds, with intervals.

A score here is of one test set and some seeds. The mean over seeds is shown with a bootstrap interval over studies, and
the spread between seeds apart from it: the two say different things. Every table has the row of the constant answer,
because in a collection where most studies are normal the weighted scores of saying "normal" always are not low.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor
from tqdm.auto import tqdm

from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.clinical import PRF
from rrg_lib.evaluation.resampling import Additive, Interval, bootstrap_weights, interval, ratio, resampled_each
from rrg_lib.models.disease_classifier import ClassifierConfig, DiseaseClassifier, classification_loss
from rrg_lib.models.visual.finding_extractor import choose_thresholds

NORMAL = "Normal"
#: The columns of the paper's Table 4, and the mean over classes, which rare ones count in as much as "Normal" does.
METRICS = ("weighted precision", "weighted recall", "weighted F1", "macro F1")


# --- labels -----------------------------------------------------------------------------------------------------------


def rarest_first(training_labels: np.ndarray) -> np.ndarray:
    """(C,) the columns of training labels (n, C) from the rarest to the most frequent; equals in their order."""
    return np.argsort(np.asarray(training_labels).sum(axis=0), kind="stable")


def single_labels(labels: np.ndarray, priority: Sequence[int]) -> np.ndarray:
    """(n, C) zeros and ones -> (n,) one class a study: 0 is `NORMAL`, no label at all; c + 1 is the label c that comes
    first in `priority`.

    The paper does not say what becomes of a study with several findings. Ours: it counts as its rarest (`rarest_first`
    of the training studies), so that a frequent finding does not hide a rare one.

    Raises `ConfigurationError` for a priority that is no order of the C labels.
    """
    labels, priority = np.asarray(labels), np.asarray(priority)
    if sorted(priority.tolist()) != list(range(labels.shape[1])):
        raise ConfigurationError(
            f"priority must name each of the {labels.shape[1]} labels once, not {priority.tolist()}"
        )
    first = priority[labels[:, priority].argmax(axis=1)]
    return np.where(labels.any(axis=1), first + 1, 0)


@dataclass(frozen=True, eq=False)
class LabelledStudies:
    """n studies to learn from or to be scored on: features `image` (n, d) and `report` (n, d'), and `targets`, (n,)
    classes or (n, C) zeros and ones."""

    image: np.ndarray
    report: np.ndarray
    targets: np.ndarray

    def __post_init__(self):
        if not len(self.image) == len(self.report) == len(self.targets) or not len(self.targets):
            raise ConfigurationError(
                f"image, report and targets must be of the same studies, not of {len(self.image)}, {len(self.report)} "
                f"and {len(self.targets)}"
            )

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        targets = torch.as_tensor(np.asarray(self.targets))
        image, report = (torch.as_tensor(np.asarray(part), dtype=torch.float32) for part in (self.image, self.report))
        return image, report, targets.long() if targets.dim() == 1 else targets.float()


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassifierTraining:
    """AdamW; the epoch with the least validation loss is kept (ties: the later)."""

    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.01


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A classifier in evaluation mode; `thresholds` (C,) of its logits for multi labels, chosen on the validation
    studies; losses an epoch."""

    model: DiseaseClassifier
    thresholds: Tensor | None
    history: list[dict[str, float]]
    best_epoch: int

    @torch.no_grad()
    def predict(self, studies: LabelledStudies) -> np.ndarray:
        """(n,) classes, or (n, C) zeros and ones. The targets of the studies are not looked at."""
        logits = self.model(*studies.tensors()[:2])
        return (logits.argmax(dim=-1) if self.thresholds is None else (logits >= self.thresholds).long()).numpy()


def train_classifier(
    train: LabelledStudies,
    validation: LabelledStudies,
    classes: int,
    config: ClassifierConfig | None = None,
    *,
    seed: int = 0,
    training: ClassifierTraining | None = None,
) -> TrainedClassifier:
    """Learn on the training studies, choose epoch and thresholds on the validation studies; on the same machine a
    function of `seed`.

    Raises `ConfigurationError` when the targets are not those that `config.labels` asks for.
    """
    config, training = config or ClassifierConfig(), training or ClassifierTraining()
    image, report, targets = train.tensors()
    seen = validation.tensors()
    history, best, kept = [], float("inf"), {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DiseaseClassifier(config, image.shape[1], report.shape[1], classes)
        model.standardise(image, report)
        optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr, weight_decay=training.weight_decay)
        for epoch in range(training.epochs):
            model.train()
            for rows in torch.randperm(len(targets)).split(training.batch_size):
                optimizer.zero_grad()
                classification_loss(model(image[rows], report[rows]), targets[rows], config).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                losses = [
                    classification_loss(model(i, r), t, config).item() for i, r, t in ((image, report, targets), seen)
                ]
            history.append({"epoch": epoch, "train_loss": losses[0], "validation_loss": losses[1]})
            if losses[1] <= best:
                best, best_epoch, kept = (
                    losses[1],
                    epoch,
                    {name: value.clone() for name, value in model.state_dict().items()},
                )
    model.load_state_dict(kept)
    with torch.no_grad():
        thresholds = choose_thresholds(model(*seen[:2]), validation.targets) if config.labels == "multi" else None
    return TrainedClassifier(model, thresholds, history, best_epoch)


# --- scoring ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Agreement of predicted and true classes: `scores` by the names of `METRICS`, `per_class` by class with support,
    `additive` for intervals."""

    scores: dict[str, float]
    per_class: dict[str, PRF]
    additive: dict[str, Additive]


def class_scores(predicted: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> ClassScores:
    """Scores (fractions) of predicted against true labels, both (n,) classes or both (n, C) zeros and ones; C =
    `len(names)`.

    Weighted: each class counts by its support, as scikit-learn has it. Macro: the mean over classes that at least one
    study has. A class that is never predicted has precision 0. For single labels weighted recall *is* accuracy.

    Raises `ConfigurationError` for other shapes or classes.
    """
    a, b = (_indicators(labels, len(names)) for labels in (predicted, truth))  # (n, C)
    if a.shape != b.shape or not len(a):
        raise ConfigurationError(
            f"predicted and true classes must be of the same studies, not of {len(a)} and {len(b)}"
        )
    support = b.sum(axis=0)
    each = precision_recall_fscore_support(b, a, average=None, zero_division=0)
    weighted = precision_recall_fscore_support(b, a, average="weighted", zero_division=0)
    macro = precision_recall_fscore_support(b, a, labels=np.flatnonzero(support), average="macro", zero_division=0)
    return ClassScores(
        scores=dict(zip(METRICS, map(float, (*weighted[:3], macro[2])), strict=True)),
        per_class={name: PRF(*(float(part[i]) for part in each[:3]), int(support[i])) for i, name in enumerate(names)},
        additive=_additive(a, b),
    )


def _indicators(labels: np.ndarray, classes: int) -> np.ndarray:
    """(n,) classes or (n, C) zeros and ones -> (n, C) zeros and ones."""
    labels = np.asarray(labels)
    if labels.ndim == 1 and len(labels) and labels.min() >= 0 and labels.max() < classes:
        return np.eye(classes, dtype=int)[labels]
    if labels.ndim == 2 and labels.shape[1] == classes and np.isin(labels, (0, 1)).all():
        return labels.astype(int)
    raise ConfigurationError(
        f"classes must be numbers 0 to {classes - 1} of shape (n,) or zeros and ones (n, {classes}), not "
        f"{labels.shape} ones"
    )


def _additive(predicted: np.ndarray, truth: np.ndarray) -> dict[str, Additive]:
    """The scores as functions of hits, predictions and support summed over studies."""
    terms = np.concatenate([predicted * truth, predicted, truth], axis=1).astype(float)  # (n, 3C)

    def weighted(of: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        def score(sums: np.ndarray) -> np.ndarray:
            hits, predictions, support = np.split(sums, 3, axis=-1)  # each (..., C)
            return ratio((of(hits, predictions, support) * support).sum(axis=-1), support.sum(axis=-1), nothing=np.nan)

        return score

    def f1(hits: np.ndarray, predictions: np.ndarray, support: np.ndarray) -> np.ndarray:
        return ratio(2 * hits, predictions + support)

    def macro(sums: np.ndarray) -> np.ndarray:
        hits, predictions, support = np.split(sums, 3, axis=-1)
        return ratio(
            (f1(hits, predictions, support) * (support > 0)).sum(axis=-1), (support > 0).sum(axis=-1), nothing=np.nan
        )

    parts = (
        weighted(lambda h, predictions, _: ratio(h, predictions)),
        weighted(lambda h, _, support: ratio(h, support)),
        weighted(f1),
        macro,
    )
    return {name: Additive(terms, part) for name, part in zip(METRICS, parts, strict=True)}


@dataclass(frozen=True, eq=False)
class SeedScores:
    """The test scores of one configuration over several seeds, on the same studies."""

    seeds: list[ClassScores]

    def mean(self, metric: str) -> float:
        return float(np.mean([seed.scores[metric] for seed in self.seeds]))

    def spread(self, metric: str) -> float:
        """Standard deviation between seeds (n − 1); NaN of one seed."""
        values = [seed.scores[metric] for seed in self.seeds]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def interval(self, metric: str) -> Interval:
        """Of the mean over seeds: what other test studies would have given."""
        return interval([seed.additive[metric] for seed in self.seeds])

    def per_class(self) -> pd.DataFrame:
        """Precision, recall and F1 of each class, mean over seeds, and its support."""
        columns = ("precision", "recall", "f1", "support")
        rows = {
            name: [np.mean([getattr(s.per_class[name], c) for s in self.seeds]) for c in columns]
            for name in self.seeds[0].per_class
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype({"support": int})


def difference(one: SeedScores, other: SeedScores, metric: str) -> tuple[float, Interval]:
    """Mean over seeds of `one` less that of `other`, with a bootstrap interval in which both are scored on the same
    resampled studies.

    Raises `ConfigurationError` when the two were scored on different numbers of studies.
    """
    sizes = {len(seed.additive[metric]) for result in (one, other) for seed in result.seeds}
    if len(sizes) != 1:
        raise ConfigurationError(f"scores to compare must be of the same studies, not of {sorted(sizes)}")
    weights = bootstrap_weights(sizes.pop())
    drawn = np.subtract(
        *(
            resampled_each([seed.additive[metric] for seed in result.seeds], weights).mean(axis=0)
            for result in (one, other)
        )
    )
    return one.mean(metric) - other.mean(metric), Interval(*map(float, np.quantile(drawn, [0.025, 0.975])))


def classify(
    train: LabelledStudies,
    validation: LabelledStudies,
    test: LabelledStudies,
    names: Sequence[str],
    config: ClassifierConfig | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    training: ClassifierTraining | None = None,
    progress: bool = False,
) -> SeedScores:
    """Train with each seed, score on the test studies. `names` are the C classes, `NORMAL` first for single labels."""
    scored = []
    for seed in tqdm(seeds, desc="classifying", unit="seed", disable=not progress):
        trained = train_classifier(train, validation, len(names), config, seed=seed, training=training)
        scored.append(class_scores(trained.predict(test), test.targets, names))
    return SeedScores(scored)


def constant_answer(train: LabelledStudies, test: LabelledStudies, names: Sequence[str]) -> SeedScores:
    """The trivial baseline: for every study the class, or the one label, that most training studies have."""
    most = int(_indicators(train.targets, len(names)).sum(axis=0).argmax())
    predicted = np.full(len(test.targets), most)
    return SeedScores(
        [class_scores(predicted if test.targets.ndim == 1 else _indicators(predicted, len(names)), test.targets, names)]
    )


def score_table(results: dict[str, SeedScores]) -> pd.DataFrame:
    """A row a result: each metric's mean over seeds, its interval, and the spread between seeds, in per cent as the
    paper prints them."""

    def shown(result: SeedScores, metric: str) -> str:
        low, high = result.interval(metric)
        between = f" ± {100 * result.spread(metric):.1f}" if len(result.seeds) > 1 else ""
        return f"{100 * result.mean(metric):.1f}{between} [{100 * low:.1f}, {100 * high:.1f}]"

    return pd.DataFrame(
        {metric: {name: shown(result, metric) for name, result in results.items()} for metric in METRICS}
    )
