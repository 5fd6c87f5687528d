"""One report for everybody: its BLEU in closed form, and a search for the sentences that make it high.

What such a report scores is what a metric pays for knowing the reports and not the image. On the standard test split a
real report chosen on the validation studies equals published systems; a tuned list of sentences passes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, combinations

import numpy as np

from rrg_lib.evaluation.bleu import bleu_of

#: A sentence is a tuple of words that ends with "."; a list of sentences is one report.
Sentence = tuple[str, ...]
MAX_SENTENCES = 12
#: Words that sentences of one report may share (see `shares_a_content_word`).
_STOP = (
    "the a an is are of no or and there in seen within without with to at this not any evidence appear appears has "
    "have been be ."
)
STOP_WORDS = frozenset(_STOP.split())
#: Candidates scored at once: their n-grams fit the processor's cache.
_CHUNK = 2048


class ConstantBleu:
    """BLEU of one hypothesis for all references; equal to scoring it against each in turn, and thousands of hypotheses
    a second.

    A hypothesis that says an n-gram c times matches min(c, r) of a reference's r: one for each t up to c with r >= t.
    So count once, for each n-gram and t, the references that say it at least t times; a hypothesis's matches with *all*
    references are then a sum over its own n-grams.
    """

    def __init__(self, references: Sequence[str]):
        split = [reference.split() for reference in references]
        self._studies, self._reference_length = len(split), sum(map(len, split))
        self._ids = {
            word: i for i, word in enumerate(sorted(set(chain.from_iterable(split))), start=1)
        }  # 0: no reference has it
        rows = _padded([self._encode(words) for words in split])
        # An n-gram is named by the (n-1)-gram it begins with and its last word, so that names stay small however many
        # words there are.
        self._names: list[np.ndarray] = []
        self._rows_saying: list[np.ndarray] = []  # per n: (n-grams, t) references that say it at least t times
        begins = np.where(rows >= 0, 0, -1)
        for n in range(1, 5):
            keys = self._keys(begins, rows, n)
            self._names.append(np.unique(keys[keys >= 0]))
            begins = self._named(keys, n)
            self._rows_saying.append(_rows_saying_at_least(begins, len(self._names[-1])))

    def __call__(self, candidates: Sequence[str]) -> np.ndarray:
        """(candidates, 4) corpus BLEU-1 to BLEU-4."""
        return self.of_words([candidate.split() for candidate in candidates])

    def of_words(self, candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """The same of candidates given as lists of words."""
        chunks = [candidates[i : i + _CHUNK] for i in range(0, len(candidates), _CHUNK)]
        return (
            np.concatenate([self._of_chunk([self._encode(words) for words in chunk]) for chunk in chunks])
            if chunks
            else np.empty((0, 4))
        )

    def _of_chunk(self, candidates: list[list[int]]) -> np.ndarray:
        rows = _padded(candidates)
        length = np.array([len(candidate) for candidate in candidates])
        terms = np.zeros((len(rows), 10))  # as in bleu.bleu_terms
        terms[:, 0], terms[:, 1] = self._studies * length, self._reference_length
        begins = np.where(rows >= 0, 0, -1)
        for n in range(1, 5):
            begins = self._named(self._keys(begins, rows, n), n)
            names, times = _occurrences(begins)
            rows_saying = self._rows_saying[n - 1]
            known = (names >= 0) & (times <= rows_saying.shape[1])
            terms[:, 1 + n] = np.where(known, rows_saying[names * known, (times - 1) * known], 0).sum(1)
            terms[:, 5 + n] = self._studies * np.maximum(0, length - n + 1)
        return bleu_of(terms)

    def _encode(self, words: Iterable[str]) -> list[int]:
        return [self._ids.get(word, 0) for word in words]

    def _keys(self, begins: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
        """(rows, positions) of each n-gram: where it begins and how it ends as one number; -1 where there is none that
        a reference could have."""
        begins, last = begins[:, : rows.shape[1] - n + 1], rows[:, n - 1 :]
        return np.where((begins >= 0) & (last > 0), begins.astype(np.int64) * (len(self._ids) + 1) + last, -1)

    def _named(self, keys: np.ndarray, n: int) -> np.ndarray:
        """The name of each n-gram, its place among the references' n-grams; -1 for one that no reference says."""
        names = self._names[n - 1]
        if not len(names):
            return np.full(keys.shape, -1)
        at = np.minimum(np.searchsorted(names, keys), len(names) - 1)
        return np.where(names[at] == keys, at, -1)


def constant_bleu(candidates: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(candidates, 4) corpus BLEU-1 to BLEU-4 of each candidate as the one hypothesis for all references."""
    return ConstantBleu(references)(candidates)


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """(rows, longest, at least 4) ids, -1 behind the end."""
    length = np.array([len(row) for row in rows], dtype=int)
    padded = np.full((len(rows), max(4, length.max(initial=0))), -1)
    padded[np.arange(padded.shape[1]) < length[:, None]] = np.fromiter(
        chain.from_iterable(rows), dtype=int, count=length.sum()
    )
    return padded


def _occurrences(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every n-gram of a row with the number of times it has been said so far: two arrays (rows, positions), each row
    sorted by name."""
    names = np.sort(names, axis=1)
    at = np.broadcast_to(np.arange(names.shape[1]), names.shape)
    new = np.ones(names.shape, dtype=bool)
    new[:, 1:] = names[:, 1:] != names[:, :-1]
    return names, at - np.maximum.accumulate(np.where(new, at, 0), axis=1) + 1


def _rows_saying_at_least(names: np.ndarray, count: int) -> np.ndarray:
    """(count, most) how many rows say n-gram i at least t + 1 times."""
    names, times = _occurrences(names)
    known = names >= 0
    rows = np.zeros((max(count, 1), int(times[known].max(initial=1))))
    np.add.at(rows, (names[known], times[known] - 1), 1)
    return rows


# --- the search -------------------------------------------------------------------------------------------------------


def sentences_of(report: str) -> list[Sentence]:
    """A cleaned report's sentences, each with its full stop; one without (the report was cut) and empty ones are left
    out."""
    sentences, words = [], []
    for word in report.split():
        words.append(word)
        if word == ".":
            sentences.append(tuple(words))
            words = []
    return [sentence for sentence in sentences if len(sentence) > 1]


def frequent_sentences(reports: Iterable[str], most: int) -> list[Sentence]:
    """The most frequent sentences of cleaned reports, the most frequent first; of equals, the one met first."""
    return [sentence for sentence, _ in Counter(chain.from_iterable(map(sentences_of, reports))).most_common(most)]


def shares_a_content_word(sentences: Sequence[Sentence]) -> bool:
    """Whether two sentences have a word in common that is not of `STOP_WORDS`."""
    seen: set[str] = set()
    for sentence in sentences:
        content = set(sentence) - STOP_WORDS
        if content & seen:
            return True
        seen |= content
    return False


def improved(
    start: Sequence[Sentence],
    pool: Sequence[Sentence],
    bleu: ConstantBleu,
    *,
    allowed: Callable[[Sequence[Sentence]], bool] = lambda sentences: True,
    max_words: int | None = None,
) -> tuple[float, tuple[Sentence, ...]]:
    """BLEU-4 and sentences of the list that hill-climbing from `start` ends at.

    Each step takes the best of all insertions, deletions, replacements and swaps that leave at most `MAX_SENTENCES`
    sentences and `max_words` words and are `allowed`; it ends when none is better.
    """
    current = tuple(start)
    best = _bleu_4(bleu, [current])[0] if current else 0.0
    while True:
        neighbours = [
            edited
            for edited in _edits(current, pool)
            if 0 < len(edited) <= MAX_SENTENCES
            and (max_words is None or sum(map(len, edited)) <= max_words)
            and allowed(edited)
        ]
        scores = _bleu_4(bleu, neighbours)
        if not len(scores) or scores.max() <= best:
            return float(best), current
        best, current = scores.max(), neighbours[int(scores.argmax())]


def _bleu_4(bleu: ConstantBleu, lists: Sequence[Sequence[Sentence]]) -> np.ndarray:
    return bleu.of_words([list(chain.from_iterable(sentences)) for sentences in lists])[:, 3]


def _edits(current: tuple[Sentence, ...], pool: Sequence[Sentence]) -> Iterator[tuple[Sentence, ...]]:
    n = len(current)
    for i in range(n + 1):
        yield from ((*current[:i], sentence, *current[i:]) for sentence in pool)
    for i in range(n):
        yield (*current[:i], *current[i + 1 :])
        yield from ((*current[:i], sentence, *current[i + 1 :]) for sentence in pool if sentence != current[i])
    for i, j in combinations(range(n), 2):
        swapped = list(current)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        yield tuple(swapped)
