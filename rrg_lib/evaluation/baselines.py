"""The baselines that every table prints beside a model: reports written without a model that writes.

They are in the model's own form: cleaned, encoded, cut, decoded. What a baseline chooses, it chooses on the validation
studies. The a, b and c rows know the training reports and nothing of the study; the d rows are told its expert labels,
e is told the very report: they say what a perfect classifier, or a perfect choice among the training reports, would be
worth. f alone looks: it is told what a classifier sees in the images, and puts training sentences together. It is ours,
and stands where HRGR, KERP and CMAS-RL stood, which cannot be rebuilt. A new one is a function of a `Task`
with the decorator `@baseline(…)`, and nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np

from rrg_lib.data.study import DRAWN_FINDINGS, Study
from rrg_lib.data.text.rule_labeler import ReportLabeler
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
    studies to write for. `seen`: by id, the 13 drawn findings that a classifier sees in the images of each of `studies`
    (`rrg_lib.experiments.pseudo_labels.findings_seen`); None where nothing has looked."""

    train: Sequence[Study]
    val: Sequence[Study]
    studies: Sequence[Study]
    vocabulary: Vocabulary
    seen: Mapping[str, Sequence[int]] | None = None

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
    def told(self) -> list[list[tuple[Sentence, frozenset[str]]]]:
        """(train,) the sentences of each training report with the drawn findings that it says are there, or may be, as
        our labeler reads it: the one that finding-F1 is scored by."""
        reads = cache(ReportLabeler().mentions)
        return [
            [
                (
                    sentence,
                    frozenset(
                        m.drawn for m in reads(" ".join(sentence)) if m.drawn and m.status in ("positive", "uncertain")
                    ),
                )
                for sentence in sentences_of(report)
            ]
            for report in self.pool
        ]

    @cached_property
    def val_references(self) -> list[str]:
        return [self.vocabulary.protocol.reference(study.report, self.vocabulary) for study in self.val]

    @cached_property
    def best_real(self) -> str:
        """The training report with the best BLEU-4 as the one report for all validation studies."""
        candidates = list(dict.fromkeys(self.pool))
        return candidates[int(np.argmax(constant_bleu(candidates, self.val_references)[:, 3]))]

    def constant(self, report: str) -> dict[str, str]:
        """The same report for every study."""
        return {study.id: report for study in self.studies}


Make = Callable[[Task, int], dict[str, str]]
#: What a baseline is told of the study it writes for.
Sees = Literal["nothing", "labels", "report", "images"]


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
    """Every baseline by name, in order; without those that need labels where no training study has any finding, and
    those that look where nothing was seen."""
    labelled = any(finding.observation for study in task.train for finding in study.findings)
    there = {"labels": labelled, "images": labelled and task.seen is not None}
    return tuple(sorted(name for name, baseline in BASELINES.items() if there.get(baseline.sees, True)))


def baseline_hypotheses(name: str, task: Task, *, seed: int = 0) -> dict[str, str]:
    """The baseline's report for each of `task.studies`, by study id.

    Raises `UnknownNameError`; `ConfigurationError` when there is no training study, or no validation study to choose
    on, and for one that looks where nothing was seen.
    """
    if name not in BASELINES:
        raise UnknownNameError("baseline", name, BASELINES)
    if not task.train or not task.val:
        raise ConfigurationError(
            "baselines are taken from training studies and chosen on validation studies: give both, or leave the "
            "baselines out"
        )
    if BASELINES[name].sees == "images" and task.seen is None:
        raise ConfigurationError(
            f"the baseline {name!r} is told what a classifier sees in the images, and the task has no such findings: "
            f"give Task(seen=…), or leave it out"
        )
    return BASELINES[name].make(task, seed)


def kept_hypotheses(name: str, task: Task, *, seed: int = 0) -> Remembered:
    """`baseline_hypotheses` as the value, from the workspace if they were made before. Raises as it does."""
    known = BASELINES.get(name)
    key = ["hypotheses", name, known.version if known else 0, seed, task.hash]
    if known and known.sees == "images" and task.seen is not None:
        key.append([[study.id, list(map(int, task.seen[study.id]))] for study in task.studies])
    return remembered("baselines", key, lambda: baseline_hypotheses(name, task, seed=seed))


@baseline("a1", "one real training report, chosen by validation BLEU-4")
def _best_constant(task: Task, seed: int) -> dict[str, str]:
    return task.constant(task.best_real)


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


@baseline(
    "f",
    "retrieval and template, ours: a1's sentences, and for each finding that a classifier sees in the images what the "
    "training reports nearest to all of them say of it",
    sees="images",
)
def _retrieved(task: Task, seed: int) -> dict[str, str]:
    written = cache(lambda seen: retrieved_report(task, seen))
    return {study.id: written(tuple(map(int, task.seen[study.id]))) for study in task.studies}


def _a1(task: Task) -> tuple[Sentence, ...]:
    return tuple(sentences_of(task.best_real))


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


def retrieved_sentence(task: Task, finding: str, seen: Sequence[int]) -> Sentence | None:
    """What training reports say of one of the findings seen (13,): of the training studies that have it, those whose
    drawn findings, by expert codes, differ from `seen` in the fewest; of their sentences that say it is there, the most
    frequent, of equals the first. Where none of them says it, those that differ in one more; None where no report
    does."""
    place = DRAWN_FINDINGS.index(finding)
    drawn = [study.drawn for study in task.train]
    by_distance: dict[int, Counter[Sentence]] = {}
    for has, sentences in zip(drawn, task.told, strict=True):
        if has[place]:
            said = by_distance.setdefault(sum(a != b for a, b in zip(has, seen, strict=True)), Counter())
            said.update(sentence for sentence, findings in sentences if finding in findings)
    nearest = next((by_distance[distance] for distance in sorted(by_distance) if by_distance[distance]), None)
    return max(nearest, key=nearest.__getitem__) if nearest else None


def retrieved_report(task: Task, seen: Sequence[int]) -> str:
    """A report of the findings seen (13,): a sentence for each, then those of a1 that have no content word in common
    with any of them, cut where a model's report is cut."""
    found = (retrieved_sentence(task, name, seen) for name, on in zip(DRAWN_FINDINGS, seen, strict=True) if on)
    retrieved = list(dict.fromkeys(filter(None, found)))
    rest = [s for s in _a1(task) if not any(shares_a_content_word((s, other)) for other in retrieved)]
    words = [word for sentence in (*retrieved, *rest) for word in sentence]
    return " ".join(words[: task.vocabulary.protocol.max_length - 1])


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
