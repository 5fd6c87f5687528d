"""Reports borrowed from a training study that is like the one at hand: by its labels, or by the very report that is
asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rrg_lib.evaluation.constant_reports import ConstantBleu

#: How many training reports the text oracle compares word by word.
NEAREST = 60


def nearest_by_labels(labels: np.ndarray, others: np.ndarray) -> list[np.ndarray]:
    """For each row of `labels` (n, c): the indices of the rows of `others` (m, c) at the smallest Hamming distance, all
    of them, in order."""
    labels, others = np.asarray(labels, dtype=bool), np.asarray(others, dtype=bool)
    known: dict[bytes, np.ndarray] = {}
    found = []
    for row in labels:
        key = row.tobytes()
        if key not in known:
            distance = (others != row).sum(1)
            known[key] = np.flatnonzero(distance == distance.min())
        found.append(known[key])
    return found


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
    found = np.zeros((len(texts), len(place)), dtype=np.float32)
    for row, text in zip(found, texts, strict=True):
        row[[place[word] for word in set(text.split())]] = 1
    return found
