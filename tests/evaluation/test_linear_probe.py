"""The linear probe: it reads features in their own units, chooses on validation, and says how sure it is."""

from __future__ import annotations

import numpy as np
import pytest

from rrg_lib.evaluation.linear_probe import (
    NEVER,
    finding_auroc,
    fit_probe,
    linear_probe,
    pixel_means,
    probe_difference,
    probe_scores,
)


@pytest.fixture(scope="module")
def toy():
    """Two of three findings stand in a feature each, in units and offsets far from 0 and 1; the third is in no training
    study."""
    rng = np.random.default_rng(0)
    labels = {
        split: (rng.random((n, 3)) < 0.4).astype(np.uint8) for split, n in (("train", 200), ("val", 100), ("test", 100))
    }
    labels["train"][:, 2] = 0
    features = {
        split: 50 + 1e-3 * np.c_[truth[:, :2] + rng.normal(0, 0.2, (len(truth), 2)), rng.normal(size=len(truth))]
        for split, truth in labels.items()
    }
    return features, labels, fit_probe(features, labels, progress=False)


def test_weights_are_in_the_features_own_units(toy):
    features, _, probe = toy
    for split, array in features.items():
        np.testing.assert_allclose(array @ probe.weights.T + probe.bias, probe.logits[split], atol=1e-6)


def test_what_can_be_read_is_read_and_what_was_never_shown_is_never_said(toy):
    _, labels, probe = toy
    assert (probe.logits["test"][:, 2] == NEVER).all() and not probe.weights[2].any()
    said = probe.logits["test"] >= probe.thresholds
    assert (said[:, :2] == labels["test"][:, :2]).mean() > 0.97 and said[:, 2].sum() == 0


def test_shuffled_features_tell_nothing(toy):
    features, labels, probe = toy
    shuffled = {split: np.random.default_rng(1).permutation(array) for split, array in features.items()}
    blind = fit_probe(shuffled, labels, progress=False)
    table = probe_scores({"seeing": probe, "blind": blind}, labels["test"])
    assert table.at["seeing", "mean AUROC"] > 0.8 and abs(table.at["blind", "mean AUROC"] - 0.5) < 0.1
    assert (table["low"] < table["micro-F1"]).all() and (table["micro-F1"] < table["high"]).all()
    assert (
        table.at["seeing", "micro-F1"] == pytest.approx(probe.micro_f1["test"])
        and table.at["seeing", "low"] > table.at["blind", "high"]
    )
    gain, low, high = probe_difference(probe, blind, labels["test"])
    assert (
        gain == pytest.approx(table.at["seeing", "micro-F1"] - table.at["blind", "micro-F1"]) and 0 < low < gain < high
    )
    assert probe_difference(probe, probe, labels["test"]) == (0, 0, 0)


def test_a_finding_without_both_kinds_of_studies_has_no_auroc():
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]])
    found = finding_auroc(np.array([[2.0, 0, 0], [1, 0, 5], [3, 0, 1]]), labels, ("a", "b", "c"))
    assert found.to_dict() == {"a": 1.0, "c": 0.5}
    assert finding_auroc(np.zeros((3, 3)), labels, ("a", "b", "c"), fewest=2).empty


def test_a_probe_of_the_pixels_is_one_of_their_means():
    rng = np.random.default_rng(2)
    labels = {split: (rng.random((60, 2)) < 0.5).astype(np.uint8) for split in ("train", "val", "test")}
    views = {
        split: np.repeat(rng.integers(0, 60, (60, 2, 8, 8), np.uint8) + 120 * truth[:, :, None, None], 1, 0)
        for split, truth in labels.items()
    }
    np.testing.assert_allclose(
        pixel_means(views["test"], 4)[7].reshape(2, 4, 4)[1, 2, 3], views["test"][7, 1, 4:6, 6:8].mean()
    )
    assert linear_probe(views, labels, side=4, progress=False)["test"] == 1.0
