"""The trivial baselines that every table prints beside a model: reports written without looking at the image.

They are in the model's own form: cleaned, encoded, cut, decoded. What a baseline chooses, it chooses on the validation
studies. The a, b and c rows know the training reports and nothing of the study; the d rows are told its expert labels,
e is told the very report: they say what a perfect classifier, or a perfect choice among the training reports, would be
worth. A new one is a function of a `Task` with the decorator `@baseline(…)`, and nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from rrg_lib.data.study import Study
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.constant_reports import (
    ConstantBleu,
    Sentence,
    constant_bleu,
    frequent_sentences,
    improved,
    sentences_of,
    shares_a_content_word,
)
from rrg_lib.runtime.cache import Remembered, remembered
from rrg_lib.runtime.hashing import content_hash


@dataclass(frozen=True)
class Task:
    """What a baseline is given: training studies to take sentences from, validation studies to choose on, and the
    studies to write for."""

    train: Sequence[Study]
    val: Sequence[Study]
    studies: Sequence[Study]
    vocabulary: Vocabulary

    @cached_property
    def cleaned(self) -> list[str]:
        """The cleaned training reports, uncut."""
        return [self.vocabulary.protocol.clean(study.report) for study in self.train]

    def writable(self, study: Study) -> str:
        """The study's report as a model could write it: at most `max_length` - 1 tokens, rare words as `<unk>`."""
        return self.vocabulary.decode(self.vocabulary.encode(study.report))

    @cached_property
    def pool(self) -> list[str]:
        """(train,) `writable` of each training study."""
        return [self.writable(study) for study in self.train]

    @cached_property
    def frequent(self) -> list[Sentence]:
        """The `POOL` most frequent sentences of the training reports, uncut, rare words as `<unk>`."""
        vocabulary = self.vocabulary
        return frequent_sentences(
            (vocabulary.decode(vocabulary.encode(study.report, cut=False)) for study in self.train), POOL
        )

    @cached_property
    def ties(self) -> list[np.ndarray]:
        """For each study the training studies (their indices) whose 14 observations, by expert codes, differ least from
        its own."""
        return nearest_by_observations(
            *(np.array([study.observations for study in of]) for of in (self.studies, self.train))
        )

    @cached_property
    def hash(self) -> str:
        """Names everything a baseline is made from: texts, labels, order, protocol."""
        parts = [
            [[study.id, study.report, study.observations] for study in of]
            for of in (self.train, self.val, self.studies)
        ]
        return content_hash([self.vocabulary.hash, *parts])

    @cached_property
    def val_references(self) -> list[str]:
        return [self.vocabulary.protocol.reference(study.report, self.vocabulary) for study in self.val]

    def constant(self, report: str) -> dict[str, str]:
        """The same report for every study."""
        return {study.id: report for study in self.studies}


Make = Callable[[Task, int], dict[str, str]]
#: What a baseline is told of the study it writes for.
Sees = Literal["nothing", "labels", "report"]


@dataclass(frozen=True)
class Baseline:
    """A named way to write reports from a task and a seed; scores are averaged over `seeds`. Raise `version` when
    `make` gives other reports."""

    name: str
    description: str
    make: Make
    seeds: tuple[int, ...] = (0,)
    sees: Sees = "nothing"
    version: int = 1


BASELINES: dict[str, Baseline] = {}
#: Three that show the point in seconds, and are blind.
DEFAULT_BASELINES = ("a1", "b", "c")
#: How many training sentences the searched constants are made of.
POOL = 400
#: How many real reports the search for a4 starts from.
STARTS = 30
#: How many training reports the text oracle compares word by word.
NEAREST = 60


def baseline(
    name: str, description: str, *, seeds: Sequence[int] = (0,), sees: Sees = "nothing", version: int = 1
) -> Callable[[Make], Make]:
    """Registers a function (task, seed) -> reports by study id."""

    def register(make: Make) -> Make:
        BASELINES[name] = Baseline(name, description, make, tuple(seeds), sees, version)
        return make

    return register


def all_baselines(task: Task) -> tuple[str, ...]:
    """Every baseline by name, in order; without those that need labels where no training study has any finding."""
    labelled = any(finding.observation for study in task.train for finding in study.findings)
    return tuple(sorted(name for name, baseline in BASELINES.items() if labelled or baseline.sees != "labels"))


def baseline_hypotheses(name: str, task: Task, *, seed: int = 0) -> dict[str, str]:
    """The baseline's report for each of `task.studies`, by study id.

    Raises `UnknownNameError`; `ConfigurationError` when there is no training study, or no validation study to choose
    on.
    """
    if name not in BASELINES:
        raise UnknownNameError("baseline", name, BASELINES)
    if not task.train or not task.val:
        raise ConfigurationError(
            "baselines are taken from training studies and chosen on validation studies: give both, or leave the "
            "baselines out"
        )
    return BASELINES[name].make(task, seed)


def kept_hypotheses(name: str, task: Task, *, seed: int = 0) -> Remembered:
    """`baseline_hypotheses` as the value, from the workspace if they were made before. Raises as it does."""
    version = BASELINES[name].version if name in BASELINES else 0
    return remembered(
        "baselines", ["hypotheses", name, version, seed, task.hash], lambda: baseline_hypotheses(name, task, seed=seed)
    )


@baseline("a1", "one real training report, chosen by validation BLEU-4")
def _best_constant(task: Task, seed: int) -> dict[str, str]:
    return task.constant(_best_real(task))


@baseline("a2", "a constant of training sentences, searched for validation BLEU-4")
def _searched(task: Task, seed: int) -> dict[str, str]:
    return task.constant(_best_list(task, [(), _a1(task)]))


@baseline("a4", "as a2, and no two of its sentences share a content word")
def _searched_without_repetition(task: Task, seed: int) -> dict[str, str]:
    allowed = lambda sentences: not shares_a_content_word(sentences)  # noqa: E731
    pool, reports = set(task.frequent), list(dict.fromkeys(task.pool))
    order = np.argsort(-constant_bleu(reports, task.val_references)[:, 3], kind="stable")
    real = [tuple(sentences_of(reports[i])) for i in order]
    starts = [sentences for sentences in real if sentences and set(sentences) <= pool and allowed(sentences)][:STARTS]
    return task.constant(_best_list(task, [start for start in ((), _a1(task), *starts) if allowed(start)], allowed))


@baseline("b", "the most frequent training report")
def _most_frequent(task: Task, seed: int) -> dict[str, str]:
    (report, _), *_ = Counter(task.cleaned).most_common(1)
    return task.constant(task.pool[task.cleaned.index(report)])


@baseline("c", "a random training report for each study", seeds=range(5))
def _random(task: Task, seed: int) -> dict[str, str]:
    draw = random.Random(seed)
    return {study.id: task.pool[draw.randrange(len(task.pool))] for study in task.studies}


@baseline(
    "d1",
    "a random training report of those with the nearest labels (14 observations, expert codes)",
    seeds=range(5),
    sees="labels",
)
def _nearest_labels(task: Task, seed: int) -> dict[str, str]:
    draw = random.Random(seed)
    return {
        study.id: task.pool[tied[draw.randrange(len(tied))]]
        for study, tied in zip(task.studies, task.ties, strict=True)
    }


@baseline(
    "d3",
    "the most typical training report of those with the nearest labels: the best BLEU-4 for all of them",
    sees="labels",
)
def _medoid_of_nearest_labels(task: Task, seed: int) -> dict[str, str]:
    groups = {tied.tobytes(): tied for tied in task.ties}
    chosen = {key: tied[medoid([task.pool[i] for i in tied])] for key, tied in groups.items()}
    return {study.id: task.pool[chosen[tied.tobytes()]] for study, tied in zip(task.studies, task.ties, strict=True)}


@baseline("e", "text oracle: the training report that is closest to the reference", sees="report")
def _text_oracle(task: Task, seed: int) -> dict[str, str]:
    closest = closest_texts([task.writable(study) for study in task.studies], task.pool)
    return {study.id: task.pool[i] for study, i in zip(task.studies, closest, strict=True)}


def _best_real(task: Task) -> str:
    candidates = list(dict.fromkeys(task.pool))
    return candidates[int(np.argmax(constant_bleu(candidates, task.val_references)[:, 3]))]


def _a1(task: Task) -> tuple[Sentence, ...]:
    return tuple(sentences_of(_best_real(task)))


def _best_list(
    task: Task,
    starts: Sequence[Sequence[Sentence]],
    allowed: Callable[[Sequence[Sentence]], bool] = lambda sentences: True,
) -> str:
    """The best end of a search from each start, no longer than a model may write."""
    bleu, longest = ConstantBleu(task.val_references), task.vocabulary.protocol.max_length - 1
    _, best = max(
        (improved(start, task.frequent, bleu, allowed=allowed, max_words=longest) for start in starts),
        key=lambda scored: scored[0],
    )
    return " ".join(word for sentence in best for word in sentence)


# --- the training study that is like the one at hand ------------------------------------------------------------------


def nearest_by_observations(observations: np.ndarray, others: np.ndarray) -> list[np.ndarray]:
    """For each row of `observations` (n, c): the indices of the rows of `others` (m, c) at the smallest Hamming
    distance, all of them, in order."""
    observations, others = np.asarray(observations, dtype=bool), np.asarray(others, dtype=bool)
    known: dict[bytes, np.ndarray] = {}
    nearest = []
    for row in observations:
        key = row.tobytes()
        if key not in known:
            distance = (others != row).sum(1)
            known[key] = np.flatnonzero(distance == distance.min())
        nearest.append(known[key])
    return nearest


def medoid(reports: Sequence[str]) -> int:
    """Which report has the best BLEU-4 as the one hypothesis for all of them; of equals, the first."""
    return int(ConstantBleu(reports)(reports)[:, 3].argmax())


def closest_texts(reports: Sequence[str], pool: Sequence[str], *, nearest: int = NEAREST) -> list[int]:
    """For each report the index in `pool` of the one with the highest BLEU-4 for it, of the `nearest` with the highest
    word Jaccard.

    The BLEU of one sentence is smoothed as the scorer does it: by constants so small that they only keep it from being
    0.
    """
    place = {
        word: i for i, word in enumerate(sorted({word for report in (*reports, *pool) for word in report.split()}))
    }
    asked, held = (_members(texts, place) for texts in (reports, pool))
    common = asked @ held.T
    either = asked.sum(1)[:, None] + held.sum(1) - common
    order = np.argsort(-common / np.maximum(either, 1), axis=1, kind="stable")[:, :nearest]
    return [
        int(near[ConstantBleu([report])([pool[i] for i in near])[:, 3].argmax()])
        for report, near in zip(reports, order, strict=True)
    ]


def _members(texts: Sequence[str], place: dict[str, int]) -> np.ndarray:
    """(texts, words) ones where a text has the word."""
    members = np.zeros((len(texts), len(place)), dtype=np.float32)
    for row, text in zip(members, texts, strict=True):
        row[[place[word] for word in set(text.split())]] = 1
    return members
