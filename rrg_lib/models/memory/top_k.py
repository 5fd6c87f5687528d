"""The two halves of a memory read, each near the cost of the one matrix product it needs: the scores of the K best
slots, and the sum of K values.

Written out, a read holds the scores of every query against every slot, (B, h, L, N), several times over, and a backward
pass through `topk` and an embedding bag sorts millions of indices. Here the scores exist for a part of the queries at a
time, small enough for a processor's cache, the K best are found by partitioning instead of sorting, and gradients are
sums over the K slots (what a query gets) or over the queries that chose it (what a slot gets). The results and
gradients are those of the plain form; `tests/models/test_top_k.py` holds them against it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor

#: Scores at a time: 4 MiB in float32 on a processor; on other devices as much as keeps them busy.
_PART = {"cpu": 2**20}
_PART_ELSEWHERE = 2**28
_LEAST_ROWS = 32


def best_scores(query: Tensor, keys: Tensor, top_k: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The K largest dot products of each query, largest first, and whose they are.

    Args:
        query: (G, R, d).
        keys: (G, N, d).
        top_k: K, at most N.
        mask: broadcastable to (G, R, N), False where a slot may not be asked; its score is then the least number there
            is.

    Returns scores and slot indices, both (G, R, K).
    """
    return _BestScores.apply(query, keys, top_k, mask)


def weighted_sum(weights: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """Σ_k weights_k values[indices_k]: (G, R, K), (G, R, K), (G, N, d) -> (G, R, d), in the precision of the values."""
    return _WeightedSum.apply(weights.to(values.dtype), indices, values)


class _BestScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, top_k: int, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        groups, length, _ = query.shape
        best = query.new_empty(groups, length, top_k)
        indices = torch.empty(groups, length, top_k, dtype=torch.int64, device=query.device)
        for rows in _parts(query, keys):
            scores = query[:, rows] @ keys.transpose(-2, -1)  # (G, r, N)
            if mask is not None:
                scores.masked_fill_(~(mask[:, rows] if mask.shape[1] > 1 else mask), torch.finfo(scores.dtype).min)
            best[:, rows], indices[:, rows] = _top(scores, top_k, masked=mask is not None)
        ctx.save_for_backward(query, keys, indices, best if mask is not None else None)
        ctx.mark_non_differentiable(indices)
        return best, indices

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor, _) -> tuple[Tensor | None, ...]:
        query, keys, indices, best = ctx.saved_tensors
        if best is not None:  # the score of a slot that may not be asked depends on nothing
            grad = grad.masked_fill(best == torch.finfo(best.dtype).min, 0.0)
        to_query = _bag(grad, indices, keys) if ctx.needs_input_grad[0] else None
        to_keys = _scattered_product(grad, indices, query, keys) if ctx.needs_input_grad[1] else None
        return to_query, to_keys, None, None


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights: Tensor, indices: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(weights, indices, values)
        return _bag(weights, indices, values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, indices, values = ctx.saved_tensors
        to_weights = to_values = None
        grad = grad.contiguous()
        if ctx.needs_input_grad[0]:
            with torch.enable_grad():  # in single precision: a GPU has no other for this gradient
                exact = torch.promote_types(weights.dtype, torch.float32)
                free = weights.detach().to(exact).requires_grad_()
                (to_weights,) = torch.autograd.grad(
                    _bag(free, indices, values.detach().to(exact)), free, grad.to(exact)
                )
                to_weights = to_weights.to(weights.dtype)
        if ctx.needs_input_grad[2]:
            to_values = _scattered_product(weights, indices, grad, values)
        return to_weights, None, to_values


def _bag(weights: Tensor, indices: Tensor, table: Tensor) -> Tensor:
    """Σ_k weights_k table[indices_k], (G, R, d), and nothing of size (G, R, K, d) on the way."""
    groups, n, d = table.shape
    first = torch.arange(groups, device=indices.device)[:, None, None] * n  # where each group's rows begin
    bags, top_k = indices + first, indices.shape[-1]
    sums = F.embedding_bag(
        bags.view(-1, top_k), table.reshape(-1, d), per_sample_weights=weights.reshape(-1, top_k), mode="sum"
    )
    return sums.view(*indices.shape[:2], d)


def _scattered_product(weights: Tensor, indices: Tensor, rows_of: Tensor, like: Tensor) -> Tensor:
    """Wᵀ x, (G, N, d), where W (G, R, N) has `weights` at `indices` and x (G, R, d) is `rows_of`."""
    sparse = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    return (_sparse_product if sparse else _dense_product)(weights, indices, rows_of, like)


def _dense_product(weights: Tensor, indices: Tensor, rows_of: Tensor, like: Tensor) -> Tensor:
    """W exists a part at a time."""
    total = torch.zeros_like(like)
    spread = None
    for rows in _parts(rows_of, like):
        part, at = weights[:, rows], indices[:, rows]
        if spread is None or spread.shape[1] != part.shape[1]:
            spread = part.new_zeros(*part.shape[:2], like.shape[1])
        total.baddbmm_(spread.scatter_(-1, at, part).transpose(-2, -1), rows_of[:, rows])
        spread.scatter_(-1, at, 0.0)
    return total


def _sparse_product(weights: Tensor, indices: Tensor, rows_of: Tensor, like: Tensor) -> Tensor:
    """On a processor, where the dense product took 4 times as long with 64 slots for each that answers, and 30 times
    with 2,048."""
    groups, length, top_k = weights.shape
    starts = np.arange(0, length * top_k + 1, top_k)
    total = torch.empty_like(like)
    for group in range(groups):
        filled = weights[group].reshape(-1).numpy(), indices[group].reshape(-1).numpy(), starts
        total[group] = torch.from_numpy(csr_matrix(filled, shape=(length, like.shape[1])).T @ rows_of[group].numpy())
    return total


def _top(scores: Tensor, top_k: int, *, masked: bool) -> tuple[Tensor, Tensor]:
    # On a processor numpy's partition took a third to nine tenths of torch.topk's time at the sizes tried; longer where
    # many scores are equal, as masked ones are.
    if masked or top_k == scores.shape[-1] or scores.dtype != torch.float32 or scores.device.type != "cpu":
        return scores.topk(top_k, dim=-1)
    slots = _strided(scores, top_k)
    if slots is None:
        indices = _partitioned(scores, top_k)
    else:
        indices = slots.gather(-1, _partitioned(scores.gather(-1, slots), top_k))
    best, order = scores.gather(-1, indices).sort(dim=-1, descending=True)
    return best, indices.gather(-1, order)


def _strided(scores: Tensor, top_k: int) -> Tensor | None:
    """Candidates for the K largest, slot indices (G, R, c), where that leaves much fewer than N to partition; None
    where it does not.

    Slots g apart make a set. The K largest scores lie in the K sets with the largest maxima: each of those scores is at
    most its own set's maximum, so K sets with greater maxima would hold K greater scores. A maximum takes much less
    time than a partition.
    """
    n = scores.shape[-1]
    if (each := int((n / top_k) ** 0.5 / 2)) < 2:
        return None
    sets = n // each
    tops = scores[..., : each * sets].unflatten(-1, (each, sets)).amax(-2)  # (G, R, sets)
    slots = _partitioned(tops, top_k)[..., None] + torch.arange(0, each * sets, sets)  # (G, R, K, each)
    rest = torch.arange(each * sets, n).expand(*scores.shape[:2], -1)  # in no set
    return torch.cat([slots.flatten(-2), rest], dim=-1)


def _partitioned(scores: Tensor, top_k: int) -> Tensor:
    """Indices of the K largest, in no order."""
    n = scores.shape[-1]
    return torch.from_numpy(np.argpartition(scores.numpy(), n - top_k, axis=-1)[..., n - top_k :])


def _parts(query: Tensor, slots: Tensor) -> Iterator[slice]:
    """Runs of queries whose scores against all slots are few enough to hold, but not fewer than make a matrix product
    worth its reading of the keys."""
    groups, length, _ = query.shape
    step = max(_LEAST_ROWS, _PART.get(query.device.type, _PART_ELSEWHERE) // max(1, groups * slots.shape[1]))
    return (slice(start, start + step) for start in range(0, length, step))
