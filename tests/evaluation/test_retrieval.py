"""Retrieval between images and reports: against counting by hand, on ties, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation import retrieval as module
from rrg_lib.evaluation.retrieval import retrieval


def unit(n: int, d: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("rows", [7, 1024])
def test_recalls_and_cosines_equal_counting_by_hand(rows, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", rows)  # in several blocks, and in one
    image, noise = unit(50, 4, 0), unit(50, 4, 1)
    report = image + 0.8 * noise
    report /= np.linalg.norm(report, axis=1, keepdims=True)
    found = retrieval(image, report)
    cosines = image @ report.T
    for k in (1, 5, 10):
        assert found.image_to_report[k] == pytest.approx(np.mean([i in np.argsort(-cosines[i])[:k] for i in range(50)]))
        assert found.report_to_image[k] == pytest.approx(
            np.mean([i in np.argsort(-cosines[:, i])[:k] for i in range(50)])
        )
    assert found.image_to_report != found.report_to_image
    assert found.matching == pytest.approx(np.diag(cosines).mean())
    assert found.other == pytest.approx(cosines[~np.eye(50, dtype=bool)].mean())


def test_embeddings_that_are_all_alike_get_chance():
    alike = np.repeat(unit(1, 8, 0), 40, axis=0).astype(np.float32)
    found = retrieval(alike, alike)
    assert found.image_to_report == pytest.approx({k: found.chance(k) for k in (1, 5, 10)})
    assert found.other == pytest.approx(1, abs=1e-6)


def test_perfect_pairs_are_found_and_copies_share_the_find():
    image = np.eye(6)
    assert retrieval(image, image).image_to_report[1] == 1
    report = image[
        [0, 0, 2, 3, 4, 5]
    ]  # study 1 has study 0's report: image 0 finds one of two, image 1 is equally far from all six
    found = retrieval(image, report, ks=(1,))
    assert found.image_to_report[1] == pytest.approx((1 / 2 + 1 / 6 + 4) / 6)
    assert found.chance(10) == 1


def test_a_single_study_has_no_other():
    found = retrieval(unit(1, 3, 0), unit(1, 3, 0))
    assert found.image_to_report == {1: 1.0, 5: 1.0, 10: 1.0} and np.isnan(found.other)


@pytest.mark.parametrize(
    ("image", "report", "says"),
    [
        (unit(3, 4, 0), unit(4, 4, 0), r"\(3, 4\) and \(4, 4\)"),
        (np.zeros((0, 4)), np.zeros((0, 4)), "not"),
        (unit(3, 4, 0), 2 * unit(3, 4, 0), "report embedding 0 is not of unit length"),
        (unit(3, 4, 0) * [[1], [np.nan], [1]], unit(3, 4, 0), "image embedding 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(image, report, says):
    with pytest.raises(ConfigurationError, match=says):
        retrieval(image, report)
