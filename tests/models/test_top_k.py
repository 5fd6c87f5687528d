"""The two halves of a memory read against their plain form, in one part and in many, and the norm written out by
hand."""

from __future__ import annotations

import pytest
import torch

from rrg_lib.models.layers import ReleasedLayerNorm
from rrg_lib.models.memory import top_k
from rrg_lib.models.memory.top_k import best_scores, weighted_sum

G, R, N, K, D = 2, 7, 11, 3, 4


def plain(query, keys, values, mask=None):
    scores = query @ keys.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    best, indices = scores.topk(K, dim=-1)
    spread = torch.zeros_like(scores).scatter(-1, indices, best.softmax(-1))
    return spread @ values, best, indices


def ours(query, keys, values, mask=None):
    best, indices = best_scores(query, keys, K, mask)
    return weighted_sum(best.softmax(-1), indices, values), best, indices


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # float32 is partitioned by numpy, float64 is not
@pytest.mark.parametrize("product", ["sparse", "dense"])  # what slots get: a processor's form, and the other devices'
@pytest.mark.parametrize("part", [2**20, 3 * G * N, 1])  # all queries at once, three at a time, one at a time
@pytest.mark.parametrize("masked", [None, "row", "group"])
def test_values_and_gradients_equal_the_plain_form(monkeypatch, dtype, part, masked, product):
    monkeypatch.setattr(top_k, "_sparse_product", getattr(top_k, f"_{product}_product"))
    monkeypatch.setitem(top_k._PART, "cpu", part)
    monkeypatch.setattr(top_k, "_LEAST_ROWS", 1)
    torch.manual_seed(0)
    mask = {None: None, "row": torch.rand(1, R, N) < 0.6, "group": torch.rand(G, 1, N) < 0.6}[masked]
    if mask is not None:
        mask[..., :K] = True  # each can ask K of them
    leaves = [torch.randn(G, n, D, dtype=dtype, requires_grad=True) for n in (R, N, N)]
    weight, tolerance = (
        torch.randn(G, R, D, dtype=dtype),
        {"atol": 1e-5 if dtype == torch.float32 else 1e-12, "rtol": 0},
    )
    results = []
    for read in (plain, ours):
        answers, best, indices = read(*leaves, mask)
        results.append(
            (answers, best, indices, *torch.autograd.grad((answers * weight).sum() + best.square().sum(), leaves))
        )
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, **tolerance)


@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize(
    "slots", [2, 16, 64, 81, 131, 2048]
)  # up to 16: partitioned as they are, above by the maxima of sets, 81 and 131 with a rest
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_the_best_are_the_best_whatever_the_number_of_slots(slots, top_k, order):
    top_k = min(top_k, slots)
    keys = torch.randn(G, slots, D, generator=torch.Generator().manual_seed(slots))
    if order != "random":
        keys = keys.sort(dim=1, descending=order == "falling").values
    query = torch.rand(G, R, D, generator=torch.Generator().manual_seed(1))
    best, indices = best_scores(query, keys, top_k)
    expected = (query @ keys.transpose(-2, -1)).topk(top_k, dim=-1)
    torch.testing.assert_close(best, expected.values, atol=1e-5, rtol=0)
    assert (indices == expected.indices).all()


def test_a_slot_that_may_not_be_asked_gets_no_gradient_even_where_too_few_may():
    mask = torch.zeros(1, R, N, dtype=torch.bool)
    mask[..., 0] = True  # one open slot, K = 3: two of the three are closed
    query, keys = torch.randn(G, R, D, requires_grad=True), torch.randn(G, N, D, requires_grad=True)
    best, _ = best_scores(query, keys, K, mask)
    best.clamp_min(-1e3).sum().backward()
    best_scores(query, keys, K, mask)[0].div(1e30).sum().backward()
    assert keys.grad[:, 0].abs().min() > 0
    assert not keys.grad[:, 1:].any()


def test_the_sum_works_where_weights_are_drawn_at_lower_precision():
    """Under mixed precision a softmax is float32 and the values are not."""
    memory_dtype = torch.bfloat16
    values, weights = (
        torch.randn(G, N, D, dtype=memory_dtype, requires_grad=True),
        torch.rand(G, R, K, requires_grad=True),
    )
    answers = weighted_sum(weights, torch.randint(N, (G, R, K)), values)
    answers.sum().backward()
    assert answers.dtype == values.grad.dtype == memory_dtype
    assert weights.grad.dtype == torch.float32


def test_the_released_norm_and_its_gradient_equal_its_formula():
    """Unbiased standard deviation, eps added to it: one element of ten thousandths shows which."""
    torch.manual_seed(0)
    norm = ReleasedLayerNorm(6, eps=1e-2).double()
    torch.nn.init.normal_(norm.weight)
    x = (torch.randn(3, 5, 6, dtype=torch.float64) * torch.tensor([1.0, 1e-2, 1e2])[:, None, None]).requires_grad_()
    expected = norm.weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-2) + norm.bias
    weight = torch.randn_like(expected)
    found = norm(x)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    for a, b in zip(
        *(torch.autograd.grad((y * weight).sum(), (x, norm.weight, norm.bias)) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_a_constant_row_is_normalised_to_nothing_and_pulls_on_nothing():
    x = torch.full((2, 6), 3.0, requires_grad=True)
    y = ReleasedLayerNorm(6)(x)
    y.square().sum().backward()
    assert not y.any()
    assert not x.grad.any()
