"""What a small extractor can learn to see from the reports alone: which words and pairs of words a study's report has.

No expert and no labeler says anything here: what an image can tell of a report's words is what the report tells of the
image. "no effusion" and "effusion" differ by the pair, so pairs are targets beside single words. Words that most
reports have, or almost none, teach little and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rrg_lib.errors import ConfigurationError

#: Shares of the training reports between which a word, or a pair, is a target; and how many targets at most.
COMMON, MOST = (0.02, 0.5), 200


def report_words(report: str) -> set[str]:
    """The words of a cleaned report and its pairs of neighbouring words."""
    words = report.split()
    return {*words, *(f"{first} {second}" for first, second in pairwise(words))}


def target_words(reports: Sequence[str]) -> tuple[str, ...]:
    """The words and pairs to learn from these training reports, the commonest first, of equals in the order of the
    alphabet. Raises `ConfigurationError` where none is common enough."""
    counts = Counter(word for report in reports for word in report_words(report) if any(c.isalpha() for c in word))
    low, high = (share * len(reports) for share in COMMON)
    chosen = sorted((word for word, n in counts.items() if low <= n <= high), key=lambda word: (-counts[word], word))
    if not chosen:
        raise ConfigurationError(
            f"no word stands in {COMMON[0]:.0%} to {COMMON[1]:.0%} of the {len(reports)} training reports: an "
            f"extractor cannot learn from them; use extractor.weights=findings, imagenet or null"
        )
    return tuple(chosen[:MOST])


def word_indicators(reports: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """(n, F) ones where a report has a word, zeros elsewhere."""
    return np.array([[word in said for word in words] for said in map(report_words, reports)], dtype=np.float32)
