"""The decoding of a trained run, chosen on the validation studies from a grid that is declared before: how long a
report gets, how wide the search is.

How a report is searched moves the scores more than the memory does (chapter 03 shows it on one set of weights), so a
comparison of systems whose decoding nobody chose compares, for the most part, how each one's habits suit one search.
`tune` writes the validation reports in every way of `GRID` and keeps the way with the highest `TARGET` among those
whose reports are about as long as the references. The test studies are not looked at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.evaluation.clinical import finding_f1
from rrg_lib.evaluation.nlg import BLEU, nlg_scores
from rrg_lib.experiments.reports import write_reports
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.runtime.checkpoint import load_tensors
from rrg_lib.runtime.device import memory_advice, on_device
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import write_json

if TYPE_CHECKING:
    from rrg_lib.experiments.run import Run

#: What is highest: the sum of these scores of the validation reports, each times its weight.
TARGET = {"BLEU-4": 1.0, "finding-F1": 1.0}
#: Words of the reports / words of the references: what lies outside is chosen only when nothing lies inside.
BAND = (0.8, 1.1)
#: Where a run keeps what was chosen for it.
DECODING = "decoding.json"


@dataclass(frozen=True)
class Grid:
    """Every way of decoding that may be tried: all combinations. `alphas` are those of Wu's length penalty, for beams
    wider than 1, which alone it can change. Biases are tried in their order, from 0 down, and no further once the
    reports are longer than `BAND` allows: a lower one makes them longer."""

    beam_sizes: tuple[int, ...] = (1, 3)
    end_biases: tuple[float, ...] = (0.0, -2.0, -3.0, -3.5, -4.0, -4.5, -5.0, -6.0)
    alphas: tuple[float, ...] = (0.0, 1.0)
    block_ngrams: tuple[int, ...] = (0, 3)

    def __post_init__(self):
        for name, values in vars(self).items():
            if not values:
                raise ConfigurationError(f"{name} is empty: a grid needs at least one value of everything")
        if list(self.end_biases) != sorted(self.end_biases, reverse=True):
            raise ConfigurationError(
                f"end_biases are {self.end_biases}: they must fall, because a lower one makes reports longer"
            )

    def settings(self, like: DecodingConfig) -> Iterator[DecodingConfig]:
        """The ways, plain ones first: of two that score alike the first is kept. Length and labels at test are
        `like`'s."""
        for beam, alpha, block, bias in product(self.beam_sizes, self.alphas, self.block_ngrams, self.end_biases):
            if beam > 1 or alpha == self.alphas[0]:
                yield DecodingConfig(
                    beam_size=beam,
                    max_length=like.max_length,
                    end_bias=bias,
                    length_penalty="wu" if beam > 1 and alpha else "none",
                    alpha=alpha if beam > 1 else 0.0,
                    block_ngrams=block,
                    labels_at_test=like.labels_at_test,
                )

    @property
    def hash(self) -> str:
        """Of the grid and of the rule by which it is read."""
        return content_hash(
            {**asdict(self), "until": BAND[1], "target": TARGET, "band": BAND, "labeler": ReportLabeler().hash}
        )


GRID = Grid()


@dataclass(frozen=True)
class Tried:
    """One way of decoding and what its validation reports are worth. `score` is `TARGET`'s sum, `length_ratio` their
    words over the references'."""

    decoding: DecodingConfig
    scores: dict[str, float]

    @property
    def score(self) -> float:
        return sum(weight * self.scores[name] for name, weight in TARGET.items() if name in self.scores)

    @property
    def length_ratio(self) -> float:
        return self.scores["length ratio"]

    @property
    def outside(self) -> float:
        """How far the length ratio lies outside the band; 0 inside."""
        return max(BAND[0] - self.length_ratio, self.length_ratio - BAND[1], 0.0)


@dataclass(frozen=True)
class Tuned:
    """What was tried on the validation studies, in the grid's order, what it took, and which weights it is for."""

    tried: tuple[Tried, ...]
    grid: str
    weights: dict[str, Any]
    seconds: float

    @property
    def chosen(self) -> Tried:
        """The highest score inside the band of lengths; where nothing is inside, the nearest to it. Of equals the
        first."""
        return max(self.tried, key=lambda one: (-round(one.outside, 12), one.score))

    @property
    def hash(self) -> str:
        """Of the choice, the grid and the weights: what a stored result names."""
        return content_hash({"chosen": asdict(self.chosen.decoding), "grid": self.grid, "weights": self.weights})

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "hash": self.hash,
            "chosen": asdict(self.chosen.decoding),
            "chosen_on": "val",
            "target": TARGET,
            "band": BAND,
            "grid": self.grid,
            "weights": self.weights,
            "seconds": self.seconds,
            "tried": [{"decoding": asdict(one.decoding), "scores": one.scores} for one in self.tried],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tuned:
        tried = tuple(Tried(DecodingConfig(**row["decoding"]), row["scores"]) for row in data["tried"])
        return cls(tried, data["grid"], data["weights"], data["seconds"])


def tune(run: Run, grid: Grid = GRID, *, progress: bool = True) -> Tuned:
    """Writes the validation reports of a trained run in every way of the grid, keeps all scores and the choice in the
    run's `decoding.json`.

    A run that was tuned with this grid and these weights comes back at once. Where no validation study has an expert
    code, finding-F1 is not defined and the other scores decide.

    Raises `CheckpointError` for a run that is not trained.
    """
    weights = weights_of(run)
    before = tuned(run)
    if before is not None and before.grid == grid.hash:
        return before
    started = time.perf_counter()
    batches, generator = run.batches("val"), run.generator()
    dataset, labeler = run.dataset, ReportLabeler()
    references = {dataset.ids[i]: dataset.reference(i) for i in batches.indices}
    truth = dataset.drawn_findings[batches.indices]
    words = sum(len(text.split()) for text in references.values())
    told = run.told("val", run.experiment.decoding)
    settings = list(grid.settings(run.experiment.decoding))
    tried, too_long = [], set()
    with on_device(generator), memory_advice("fewer beams need less: tuning.Grid(beam_sizes=(1,))"):
        table = generator.word_table()
        for config in tqdm(settings, desc="choosing the decoding", unit="way", disable=not progress):
            if (others := replace(config, end_bias=0.0)) in too_long:
                continue
            reports = write_reports(generator, batches, dataset.vocabulary, config, labels=told, table=table)
            nlg = nlg_scores(references, reports, metrics=BLEU).corpus
            f1 = finding_f1([labeler.label(reports[name]) for name in references], truth).micro.f1
            scores = {"BLEU-4": nlg["BLEU-4"], **({} if np.isnan(f1) else {"finding-F1": f1})}
            said = sum(len(text.split()) for text in reports.values())
            tried.append(
                Tried(config, {**scores, "length ratio": said / words, "distinct": float(len(set(reports.values())))})
            )
            if said / words > BAND[1]:
                too_long.add(others)
    found = Tuned(tuple(tried), grid.hash, weights, time.perf_counter() - started)
    write_json(run.folder / DECODING, found.to_json())
    return found


def tuned(run: Run) -> Tuned | None:
    """What was chosen for the run's weights as they are now; None when nothing was, or the run was trained again
    since."""
    path = Path(run.folder) / DECODING
    if not path.is_file():
        return None
    try:
        found = Tuned.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); delete it and run: rrg tune {run.experiment.name}"
        ) from error
    return found if found.weights == weights_of(run) else None


def weights_of(run: Run) -> dict[str, Any]:
    """Which weights a choice is for: the experiment, and the epoch kept with its score. Raises `CheckpointError` for a
    run that is not trained."""
    epoch, score = load_tensors(run.folder / "best.safetensors")[1]["progress"]["best"]
    return {"experiment": run.experiment.hash, "dataset": run.dataset.hash, "epoch": epoch, "score": score}
