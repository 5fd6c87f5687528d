"""Dropout by packed random bits is dropout: right share, right scale, its own gradient, repeatable, gone in
evaluation."""

from __future__ import annotations

import pytest
import torch

from rrg_lib.models.layers import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_and_the_mean_are_kept(p):
    torch.manual_seed(0)
    x = torch.ones(1_000_001)  # no multiple of four
    dropped = dropout(x, p)
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    zero = (dropout(torch.ones(400_000), 0.5) == 0).float()
    for distance in range(1, 9):
        together = (zero[:-distance] * zero[distance:]).mean().item()
        assert together == pytest.approx(0.25, abs=0.005)


def test_the_gradient_flows_where_the_value_does():
    torch.manual_seed(0)
    x = torch.rand(1000, requires_grad=True)
    y = dropout(x, 0.3)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)


def test_the_seed_decides():
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(dropout(torch.ones(100), 0.5))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_evaluation_drops_nothing():
    x = torch.rand(10)
    assert Dropout(0.5).eval()(x) is x
    assert dropout(x, 0.0) is x
    assert (dropout(x, 1.0) == 0).all()


def test_a_probability_next_to_one_is_no_overflow():
    assert (dropout(torch.ones(100_000), 1 - 1e-7) == 0).float().mean() > 0.999
