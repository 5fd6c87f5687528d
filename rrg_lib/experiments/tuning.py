"""The decoding of a trained run, chosen on the validation studies from a grid that is declared before: how long a
report gets, how wide the search is.

How a report is searched moves the scores more than the memory does (chapter 03 shows it on one set of weights), so a
comparison of systems whose decoding nobody chose compares, for the most part, how each one's habits suit one search.
`tune` writes the validation reports in the ways of `GRID` and keeps the way with the highest `TARGET` among those
whose reports are about as long as the references. The test studies are not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np
from tqdm.auto import tqdm

from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.nlg import BLEU, nlg_scores
from rrg_lib.experiments.reports import coded_finding_f1, write_reports
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.tuned_decoding import BAND, DECODING, TARGET, Trial, TunedDecoding
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.runtime.device import memory_advice, on_device
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import write_json


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


def tune(run: Run, grid: Grid = GRID, *, progress: bool = True) -> TunedDecoding:
    """Writes the validation reports of a trained run in the ways of the grid, keeps all scores and the choice in the
    run's `decoding.json`. Of ways that differ in the bias alone, none follows the first whose reports are longer than
    the band: the next would be longer still.

    A run that was tuned with this grid and these weights comes back at once. Finding-F1 is over the validation studies
    that have expert codes, as while training; where none has, it is not defined and the other scores decide.

    Raises `CheckpointError` for a run that is not trained.
    """
    weights, before = run.weights, run.tuned_decoding
    if before is not None and before.grid == grid.hash:
        return before
    started = time.perf_counter()
    batches, generator = run.batches("val"), run.generator()
    dataset, labeler = run.dataset, ReportLabeler()
    references = {dataset.ids[i]: dataset.reference(i) for i in batches.indices}
    reference_words = sum(len(text.split()) for text in references.values())
    labels = run.labels_told(batches.indices, run.experiment.decoding)
    settings = list(grid.settings(run.experiment.decoding))
    trials, too_long = [], set()
    with on_device(generator), memory_advice("fewer beams need less: tuning.Grid(beam_sizes=(1,))"):
        table = generator.word_table()
        for config in tqdm(settings, desc="choosing the decoding", unit="way", disable=not progress):
            if (unbiased := replace(config, end_bias=0.0)) in too_long:
                continue
            reports = write_reports(generator, batches, dataset.vocabulary, config, labels=labels, table=table)
            nlg = nlg_scores(references, reports, metrics=BLEU).corpus
            f1 = coded_finding_f1(dataset, batches.indices, reports, labeler)
            scores = {"BLEU-4": nlg["BLEU-4"], **({} if np.isnan(f1) else {"finding-F1": f1})}
            ratio = sum(len(text.split()) for text in reports.values()) / reference_words
            distinct = float(len(set(reports.values())))
            trials.append(Trial(config, {**scores, "length ratio": ratio, "distinct": distinct}))
            if ratio > BAND[1]:
                too_long.add(unbiased)
    choice = TunedDecoding(tuple(trials), grid.hash, weights, time.perf_counter() - started)
    write_json(run.folder / DECODING, choice.to_json())
    return choice
