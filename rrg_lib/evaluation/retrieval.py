"""Do image and report of a study find each other? Retrieval over embeddings of unit length, and the cosines behind
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rrg_lib.errors import ConfigurationError

#: Queries compared with all candidates at once: the (n, n) cosines never exist together.
_ROWS = 1024
#: Cosines closer than this are the same: embeddings are computed in single precision.
_SAME = 1e-6


@dataclass(frozen=True)
class Retrieval:
    """Recall@k, the share of queries whose own partner is among the k nearest, each way, and mean cosines of pairs. `n`
    studies; chance is k / n."""

    n: int
    image_to_report: dict[int, float]
    report_to_image: dict[int, float]
    matching: float
    other: float

    def chance(self, k: int) -> float:
        return min(1.0, k / self.n)


def retrieval(image: np.ndarray, report: np.ndarray, ks: Sequence[int] = (1, 5, 10)) -> Retrieval:
    """Row i of `image` and row i of `report`, (n, d) each and L2-normalised, are one study. `other` is NaN for a single
    study.

    Candidates exactly as near as the partner (reports that other studies have word for word, or embeddings that are all
    alike) are ordered at random in expectation: with t of them and a candidates nearer, the query finds its partner
    with probability (k - a) / (t + 1), kept within 0 and 1. So a system that says the same of every study gets chance.

    Raises `ConfigurationError` for other shapes, no study, or rows that are not of unit length.
    """
    image, report = np.asarray(image, dtype=np.float64), np.asarray(report, dtype=np.float64)
    if image.ndim != 2 or image.shape != report.shape or not len(image):
        raise ConfigurationError(
            f"retrieval compares two arrays (n, d) of the same studies, not {image.shape} and {report.shape}"
        )
    for name, rows in (("image", image), ("report", report)):
        if not np.allclose(lengths := np.linalg.norm(rows, axis=1), 1, atol=1e-3):
            raise ConfigurationError(
                f"{name} embedding {np.abs(lengths - 1).argmax()} is not of unit length: L2-normalise them first"
            )
    n = len(image)
    matching = (image * report).sum(1)
    other = (image.sum(0) @ report.sum(0) - matching.sum()) / (n * (n - 1)) if n > 1 else float("nan")
    return Retrieval(
        n,
        _recall(image, report, matching, ks),
        _recall(report, image, matching, ks),
        float(matching.mean()),
        float(other),
    )


def _recall(queries: np.ndarray, candidates: np.ndarray, matching: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    nearer, alike = np.empty(len(queries)), np.empty(len(queries))
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        ahead = queries[rows] @ candidates.T - matching[rows, None]  # (r, n)
        nearer[rows] = (ahead > _SAME).sum(1)
        alike[rows] = (np.abs(ahead) <= _SAME).sum(1)  # the partner included
    return {k: float(np.clip((k - nearer) / alike, 0, 1).mean()) for k in ks}
