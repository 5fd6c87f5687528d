"""Contrastive losses against their equations written out, and what each part of them is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rrg_lib.models.contrastive import masked_mean, multi_label_contrastive, similarity_targets

CLASSES = 14


def loss_written_out(features, labels, margin, theta, clamp):
    """XProNet Eq. 17-18, a pair at a time."""
    total = 0.0
    for x, own in zip(features, labels, strict=True):
        for y, other in zip(features, labels, strict=True):
            cosine = (x @ y / (x.norm() * y.norm())).item()
            if (own * other).sum() > 0:
                pull = theta ** -((own - other).abs().sum() / (own.sum() + other.sum())).item() - cosine
                total += max(pull, 0) if clamp else pull
            else:
                total += max(cosine - margin, 0)
    return total / len(features) ** 2


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize(("margin", "theta"), [(0.4, 1.5), (0.0, 1.75), (0.2, 1.0)])
def test_the_contrastive_loss_equals_its_equations_written_out(margin, theta, clamp):
    """XProNet Eq. 17-18, as released and as printed."""
    rng = torch.Generator().manual_seed(0)
    labels = (torch.rand(9, CLASSES, generator=rng) < 0.15).float()
    labels[4] = 0
    features = torch.randn(9, 5, generator=rng) + 0.7  # so that pairs lie on both sides of target and margin
    ours = multi_label_contrastive(features, labels, margin=margin, theta=theta, clamp=clamp).item()
    assert ours == pytest.approx(loss_written_out(features, labels, margin, theta, clamp), abs=1e-6)


def test_targets_fall_with_the_labels_that_differ():
    """XProNet Eq. 18: the same labels 1; {a, b} and {a}, h_d 1 of h_t 3; nothing in common is apart."""
    labels = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    together, targets = similarity_targets(labels, 1.5)
    assert together.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert targets[0, 0] == 1 and targets[0, 1].item() == pytest.approx(1.5 ** (-1 / 3))
    assert (similarity_targets(labels, 1.0)[1] == 1).all()


def test_a_batch_of_one_has_no_gradient():
    for label in (1.0, 0.0):
        features = torch.randn(1, 5, requires_grad=True)
        multi_label_contrastive(features, torch.tensor([[label, 0.0]])).backward()
        assert features.grad.abs().max() < 1e-6


def test_only_without_the_clamp_are_too_similar_studies_pushed_apart():
    labels = torch.tensor([[1.0, 1], [1, 0]])
    for clamp, moves in ((True, False), (False, True)):
        features = torch.tensor([[1.0, 0.0], [1.0, 0.05]], requires_grad=True)
        multi_label_contrastive(features, labels, clamp=clamp).backward()
        assert (features.grad.abs().max() > 1e-3) == moves


def test_the_margin_leaves_strangers_alone():
    features, labels = F.normalize(torch.tensor([[1.0, 0.0], [0.35, 1.0]]), dim=1), torch.eye(2)
    cosine = (features[0] @ features[1]).item()
    assert multi_label_contrastive(features, labels, margin=0.4).item() == 0
    assert multi_label_contrastive(features, labels, margin=0.1).item() == pytest.approx(
        2 * (cosine - 0.1) / 4, abs=1e-6
    )


def test_a_mean_over_no_position_is_zero():
    vectors = torch.ones(2, 3, 4)
    mask = torch.tensor([[True, False, True], [False] * 3])
    assert masked_mean(vectors, mask).tolist() == [[1.0] * 4, [0.0] * 4]
