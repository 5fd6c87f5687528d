"""The trivial baselines that every table prints beside a model: reports written without looking at the image.

They are in the model's own form: cleaned, encoded, cut, decoded. What a baseline chooses, it chooses on the validation studies. A new one is a
function of a `Task` with the decorator `@baseline(…)`, and nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.nlg import bleu_of
from rrg_lib.study import Study
from rrg_lib.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Task:
    """What a baseline is given: training studies to take sentences from, validation studies to choose on, and the studies to write for."""

    train: Sequence[Study]
    val: Sequence[Study]
    studies: Sequence[Study]
    vocabulary: Vocabulary

    @cached_property
    def cleaned(self) -> list[str]:
        """The cleaned training reports, uncut."""
        return [self.vocabulary.protocol.clean(study.report) for study in self.train]

    def said(self, study: Study) -> str:
        """The study's report as a model could say it: at most `max_length` - 1 tokens, rare words as `<unk>`."""
        return self.vocabulary.decode(self.vocabulary.encode(study.report))

    @cached_property
    def pool(self) -> list[str]:
        """(train,) `said` of each training study."""
        return [self.said(study) for study in self.train]

    @cached_property
    def val_references(self) -> list[str]:
        return [self.vocabulary.protocol.reference(study.report, self.vocabulary) for study in self.val]

    def constant(self, report: str) -> dict[str, str]:
        """The same report for every study."""
        return {study.id: report for study in self.studies}


Make = Callable[[Task, int], dict[str, str]]


@dataclass(frozen=True)
class Baseline:
    """A named way to write reports from a task and a seed; scores are averaged over `seeds`."""

    name: str
    description: str
    make: Make
    seeds: tuple[int, ...] = (0,)


BASELINES: dict[str, Baseline] = {}
#: Those that every evaluation prints.
DEFAULT_BASELINES = ("a1", "b", "c")


def baseline(name: str, description: str, *, seeds: Sequence[int] = (0,)) -> Callable[[Make], Make]:
    """Registers a function (task, seed) -> reports by study id."""

    def register(make: Make) -> Make:
        BASELINES[name] = Baseline(name, description, make, tuple(seeds))
        return make

    return register


def baseline_hypotheses(name: str, task: Task, *, seed: int = 0) -> dict[str, str]:
    """The baseline's report for each of `task.studies`, by study id.

    Raises `UnknownNameError`; `ConfigurationError` when there is no training study, or no validation study to choose on.
    """
    if name not in BASELINES:
        raise UnknownNameError("baseline", name, BASELINES)
    if not task.train or not task.val:
        raise ConfigurationError("baselines are taken from training studies and chosen on validation studies: give both, or leave the baselines out")
    return BASELINES[name].make(task, seed)


@baseline("a1", "one real training report, chosen by validation BLEU-4")
def _best_constant(task: Task, seed: int) -> dict[str, str]:
    candidates = list(dict.fromkeys(task.pool))
    return task.constant(candidates[int(np.argmax(constant_bleu(candidates, task.val_references)[:, 3]))])


@baseline("b", "the most frequent training report")
def _most_frequent(task: Task, seed: int) -> dict[str, str]:
    (report, _), *_ = Counter(task.cleaned).most_common(1)
    return task.constant(task.pool[task.cleaned.index(report)])


@baseline("c", "a random training report for each study", seeds=range(5))
def _random(task: Task, seed: int) -> dict[str, str]:
    draw = random.Random(seed)
    return {study.id: task.pool[draw.randrange(len(task.pool))] for study in task.studies}


def constant_bleu(candidates: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(candidates, 4) corpus BLEU-1 to BLEU-4 of each candidate as the one hypothesis for all references; equal to scoring each in turn.

    A candidate that says an n-gram c times matches min(c, r) of a reference's r: one for each t up to c with r >= t. So count once, for each n-gram
    and t, the references that say it at least t times; a candidate's matches with *all* references are then a sum over its own n-grams.
    """
    said_by = Counter(occurrence for reference in references for occurrence in _occurrences(reference))
    n, reference_length = len(references), sum(len(reference.split()) for reference in references)
    terms = np.zeros((len(candidates), 10))  # as in nlg._bleu
    for row, candidate in zip(terms, candidates, strict=True):
        length = len(candidate.split())
        row[:2] = n * length, reference_length
        for gram, t in _occurrences(candidate):
            row[1 + len(gram)] += said_by[gram, t]
        row[6:] = [n * max(0, length - k) for k in range(4)]
    return bleu_of(terms)


def _occurrences(report: str) -> list[tuple[tuple[str, ...], int]]:
    """Every n-gram (n 1 to 4) of a report with the number of times it has been said so far: (("no",), 1), (("no",), 2), …"""
    words = report.split()
    counts: Counter[tuple[str, ...]] = Counter()
    found = []
    for n in range(1, 5):
        for i in range(len(words) - n + 1):
            gram = tuple(words[i : i + n])
            counts[gram] += 1
            found.append((gram, counts[gram]))
    return found
