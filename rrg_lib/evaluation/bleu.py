"""BLEU-1 to BLEU-4 as functions of sums over studies: what pycocoevalcap's scorer counts, and its formula."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer


def bleu_terms(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[Sequence[float], Sequence[Sequence[float]], np.ndarray]:
    """Corpus values (4), per-study values (4, n), and terms (n, 10): lengths of hypothesis and reference, n-grams in
    common, n-grams."""
    scorer = BleuScorer(n=4)
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        scorer += (hypothesis, [reference])
    corpus, each = scorer.compute_score(option="closest", verbose=0)
    terms = [[counts["testlen"], counts["reflen"][0], *counts["correct"], *counts["guess"]] for counts in scorer.ctest]
    return corpus, each, np.array(terms, dtype=float)


def bleu_of(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 (..., 4) of summed terms (..., 10) (see `bleu_terms`), with the scorer's own small constants."""
    small, tiny = 1e-9, 1e-15
    precision = (sums[..., 2:6] + tiny) / (sums[..., 6:10] + small)
    brevity = (sums[..., :1] + tiny) / (sums[..., 1:2] + small)
    return np.cumprod(precision, -1) ** (1 / np.arange(1, 5)) * np.exp(np.minimum(1 - 1 / brevity, 0))
