"""The disease classifier: its losses against other people's, and what it looks at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models.disease_classifier import ClassifierConfig, DiseaseClassifier, classification_loss, focal_loss

RNG = np.random.default_rng(0)
LOGITS = torch.from_numpy(RNG.normal(0, 2, (7, 4)))
CLASSES = torch.tensor([0, 3, 1, 1, 2, 0, 3])
DECISIONS = torch.from_numpy((RNG.random((7, 4)) < 0.3).astype(float))


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [None, 0.25, (0.5, 1.0, 2.0, 4.0)])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_single_labels_is_the_equation_written_out(gamma, alpha):
    """Lin et al. Eq. 5: −α_t (1 − p_t)^γ log p_t, p_t the softmax of the true class."""
    p = np.exp(LOGITS.numpy()) / np.exp(LOGITS.numpy()).sum(1, keepdims=True)
    losses = []
    for row, c in enumerate(CLASSES.tolist()):
        a = 1.0 if alpha is None else alpha[c] if isinstance(alpha, tuple) else alpha
        losses.append(-a * (1 - p[row, c]) ** gamma * np.log(p[row, c]))
    assert focal_loss(LOGITS, CLASSES, gamma, alpha).item() == pytest.approx(np.mean(losses), abs=1e-12)


@pytest.mark.parametrize("alpha", [None, 0.25, 0.9])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_multi_labels_is_torchvisions(gamma, alpha):
    theirs = sigmoid_focal_loss(LOGITS, DECISIONS, alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean")
    torch.testing.assert_close(focal_loss(LOGITS, DECISIONS, gamma, alpha), theirs, atol=1e-12, rtol=0)


def test_without_gamma_and_alpha_focal_loss_is_cross_entropy():
    torch.testing.assert_close(focal_loss(LOGITS, CLASSES, gamma=0), F.cross_entropy(LOGITS, CLASSES))
    torch.testing.assert_close(
        focal_loss(LOGITS, DECISIONS, gamma=0), F.binary_cross_entropy_with_logits(LOGITS, DECISIONS)
    )


def test_as_printed_the_loss_is_cross_entropy_plus_focal_loss():
    """Student paper, classification, and Student paper, cross entropy."""
    for targets, labels, plain in (
        (CLASSES, "single", F.cross_entropy),
        (DECISIONS, "multi", F.binary_cross_entropy_with_logits),
    ):
        ce, focal, both = (
            classification_loss(LOGITS, targets, ClassifierConfig(labels=labels, loss=loss, gamma=2, alpha=0.25))
            for loss in ("ce", "focal", "ce+focal")
        )
        torch.testing.assert_close(ce, plain(LOGITS, targets))
        torch.testing.assert_close(focal, focal_loss(LOGITS, targets, 2, 0.25))
        torch.testing.assert_close(both, ce + focal)
    assert ClassifierConfig().loss == "ce+focal"


def test_an_easy_study_counts_less_than_a_hard_one():
    """At γ = 2 a study that got p = 0.9 costs 1 % of its cross-entropy, one with p = 0.5 a quarter."""
    for p, share in ((0.9, 0.01), (0.5, 0.25)):
        logits = torch.tensor([[np.log(p), np.log(1 - p)]])
        target = torch.tensor([0])
        assert (focal_loss(logits, target, 2) / focal_loss(logits, target, 0)).item() == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("targets", [torch.tensor([0, 1]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])])
def test_certainty_has_a_finite_gradient(targets):
    logits = torch.tensor([[200.0, -200.0], [200.0, -200.0]], requires_grad=True)
    focal_loss(logits, targets, gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"inputs": "text"}, "unknown inputs 'text'; .*known: both, image, report"),
        ({"labels": "many"}, "unknown labels 'many'"),
        ({"loss": "bce"}, "unknown loss 'bce'; nearest: ce"),
        ({"gamma": -1.0}, "gamma is -1.0"),
        ({"alpha": 1.5, "labels": "multi"}, "alpha is 1.5"),
        ({"alpha": (1.0, -1.0)}, "alpha is .1.0, -1.0.: expected a finite number of at least 0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, says):
    with pytest.raises((ConfigurationError, UnknownNameError), match=says):
        ClassifierConfig(**settings)


def test_targets_of_the_other_kind_are_refused():
    with pytest.raises(ConfigurationError, match=r"labels is 'single': targets have shape \(B,\), not \(7, 4\)"):
        classification_loss(LOGITS, DECISIONS, ClassifierConfig())
    with pytest.raises(ConfigurationError, match="alpha has 2 numbers, there are 4 classes"):
        classification_loss(LOGITS, CLASSES, ClassifierConfig(alpha=(1.0, 2.0)))


# --- what it looks at -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "looks_at"), [("image", (True, False)), ("report", (False, True)), ("both", (True, True))]
)
def test_it_looks_at_what_inputs_says_and_at_nothing_else(inputs, looks_at):
    torch.manual_seed(0)
    model = DiseaseClassifier(ClassifierConfig(inputs=inputs), 5, 3, 4).eval()
    image, report = torch.randn(6, 5), torch.randn(6, 3)
    logits = model(image, report)
    assert logits.shape == (6, 4)
    changed = tuple(not torch.equal(logits, model(*pair)) for pair in ((image + 1, report), (image, report + 1)))
    assert changed == looks_at


def test_features_are_standardised_by_the_training_studies():
    model = DiseaseClassifier(ClassifierConfig(), 5, 3, 4).eval()
    image, report = 7 + 3 * torch.randn(50, 5), torch.randn(50, 3)
    report[:, 1] = 2.0  # never changes: left alone, not divided by 0
    model.standardise(image, report)
    seen = (model.fused(image, report) - model.mean) / model.std
    torch.testing.assert_close(seen.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(0, unbiased=False)[[0, 1, 2, 3, 4, 5, 7]], torch.ones(7))
    assert torch.isfinite(model(image, report)).all()
