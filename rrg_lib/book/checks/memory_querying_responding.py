"""What the exercises of chapter 04 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rrg_lib.book.checks.comparing_arrays import Draw, compare_draws, tensor
from rrg_lib.models.interface import Slots
from rrg_lib.models.memory.base import read_slots


def _questions(
    seed: int, batch: int = 2, heads: int = 3, length: int = 5, slots: int = 11, d_k: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = 2 * torch.randn(batch, heads, length, d_k, generator=generator)
    keys, values = (torch.randn(heads, slots, d_k, generator=generator) for _ in range(2))
    return query, keys, values


def _gathered(weights: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """(B, h, L, K) weights and indices, values (h, N, d_k) -> (B, h, L, d_k)"""
    rows = values[torch.arange(values.shape[0]).view(1, -1, 1, 1), indices]  # (B, h, L, K, d_k)
    return (weights[..., None] * rows).sum(-2)


def top_k_read(function: Callable[[Tensor, Tensor, Tensor, int], Tensor], *, other: int = 0) -> None:
    """Exercise 4.1: (B, h, L, d_k), (h, N, d_k), (h, N, d_k), K -> (B, h, L, d_k)."""
    draws: list[Draw] = []
    for seed, k in ((1, 4), (2, 1), (3, 11)):
        query, keys, values = _questions(seed + 1000 * other)
        scale = 1 / math.sqrt(query.shape[-1])
        right, weights, indices = read_slots(query, Slots(keys[None], values[None]), k, scale=scale)
        products = query @ keys.transpose(-2, -1)  # (B, h, L, N)
        best = (products * scale).topk(k).values
        worst = (products * scale).topk(k, largest=False)
        dense = (products * scale).softmax(-1)
        chosen = dense.gather(-1, indices)
        mistakes = [
            (
                _gathered(products.topk(k).values.softmax(-1), indices, values),
                "the weights are too sharp: divide the scores by the square root of d_k, the size of one head's query",
            ),
            (
                _gathered((best / math.sqrt(keys.shape[0])).softmax(-1), indices, values),
                "the weights are too flat: you divided by the square root of d (all heads together); each head has d_k "
                "numbers",
            ),
            (
                _gathered(chosen, indices, values),
                "the weights of the K chosen slots do not sum to 1: take the top-K of the scores first, then the "
                "softmax over those K alone",
            ),
            (dense @ values, "every slot speaks: only the K best may (the softmax runs over the K chosen scores)"),
            (
                _gathered(weights, indices[:, :1].expand_as(indices), values),
                "all heads read the slots that head 0 chose: each head has its own top-K",
            ),
            (
                _gathered(weights, indices, values[:1].expand_as(values)),
                "all heads answer with head 0's values: each head reads its own table of values",
            ),
            (
                _gathered(torch.full_like(weights, 1 / k), indices, values),
                "the K slots count alike: weigh them by the softmax of their scores",
            ),
            (
                _gathered(best, indices, values),
                "the scores are used as weights: they are not positive and do not sum to 1; put them through a softmax",
            ),
            (
                _gathered(weights, indices, keys),
                "you averaged the keys: a slot is found by its key and answers with its value",
            ),
            (
                _gathered(worst.values.softmax(-1), worst.indices, values),
                "these are the K slots that fit worst: leave topk's largest=True",
            ),
        ]
        for axis, name in ((2, "the queries"), (1, "the heads"), (0, "the studies")):
            hint = (
                f"the weights over the K slots do not sum to 1: the softmax runs over {name}, not over the K slots "
                "(dim=-1)"
            )
            mistakes.append((_gathered(best.softmax(axis), indices, values), hint))
        draws.append((tensor(function, tuple(right.shape), query, keys, values, k), right, mistakes))
    compare_draws(draws, "the responses differ from the library's read")


def ask_all(function: Callable[[Tensor, Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 4.2, first half: (B, h, L, d_k), (h, N, d_k), (h, N, d_k) -> (B, h, L, d_k), every slot speaking."""
    query, keys, values = _questions(4 + 1000 * other)
    products = query @ keys.transpose(-2, -1)
    scores = products / math.sqrt(query.shape[-1])
    right = scores.softmax(-1) @ values
    mistakes = [
        (
            products.softmax(-1) @ values,
            "the weights are too sharp: divide the scores by the square root of d_k before the softmax",
        ),
        (
            (scores / math.sqrt(keys.shape[0])).softmax(-1) @ values,
            "the weights are too flat: you divided by the square root of d (all heads together); each head has d_k "
            "numbers",
        ),
        (scores @ values, "the scores are used as weights as they are: put them through a softmax over the slots"),
        (
            scores.softmax(-2) @ values,
            "weights over the slots do not sum to 1: you normalised over the queries; it is the last axis, the slots",
        ),
        (
            scores.softmax(1) @ values,
            "weights over the slots do not sum to 1: you normalised over the heads; it is the last axis, the slots",
        ),
        (scores.softmax(-1) @ keys, "you averaged the keys: a slot is found by its key and answers with its value"),
        (
            values.mean(1, keepdim=True).expand_as(query),
            "every slot counts alike: the weights must depend on the query",
        ),
    ]
    compare_draws(
        [(tensor(function, tuple(right.shape), query, keys, values), right, mistakes)],
        "the responses differ from a softmax over all slots",
    )


def slots_for(function: Callable[[Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 4.2, second half: weights (..., N) that sum to 1, a share -> how many of the heaviest slots it takes to
    carry it, (...)."""
    weights = torch.tensor([[0.0, 0.7, 0.05, 0.25], [0.25, 0.25, 0.25, 0.25], [0.05, 0.0, 0.95, 0.0]])
    more = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(5 + 1000 * other)).mul(2).softmax(-1)
    exactly = torch.tensor([[0.25, 0.5, 0.25, 0.0]])  # the running sum meets the share
    draws: list[Draw] = []
    for given, share in ((weights, 0.9), (exactly, 0.5), (more, 0.5), (more, 0.9)):
        right = (given.sort(dim=-1, descending=True).values.cumsum(-1) < share).sum(-1) + 1
        mistakes = [
            (right - 1, "one too few: the slot that crosses the line belongs to them"),
            (
                (given.sort(dim=-1, descending=True).values.cumsum(-1) <= share).sum(-1) + 1,
                "where the sum reaches the share exactly, that is enough: `<`, not `<=`",
            ),
            (right + 1, "one too many: stop at the slot that reaches the share"),
            (
                (given.cumsum(-1) < share).sum(-1) + 1,
                "the slots are counted in the order of the memory: sort the weights first, the heaviest first",
            ),
            (
                (given.sort(-1).values.cumsum(-1) < share).sum(-1) + 1,
                "the lightest slots are counted first: sort with descending=True",
            ),
            ((given > share).sum(-1), "you counted single slots above the share: it is their sum that must reach it"),
        ]
        draws.append((tensor(function, tuple(right.shape), given, share), right, mistakes))
    compare_draws(draws, "the number of slots that carry that share of the weight is not right")


def shared_with(function: Callable[[Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 4.3: slot indices of a word (h, K) and of S patches (h, S, K) -> (S,) how many slots each patch shares
    with the word, over all heads."""
    generator = torch.Generator().manual_seed(6 + 1000 * other)
    draws: list[Draw] = []
    for heads, patches, k, slots in ((2, 7, 4, 9), (4, 5, 3, 8)):
        word = torch.stack([torch.randperm(slots, generator=generator)[:k] for _ in range(heads)])
        patch = torch.stack(
            [
                torch.stack([torch.randperm(slots, generator=generator)[:k] for _ in range(patches)])
                for _ in range(heads)
            ]
        )
        same = word[:, None, :, None] == patch[:, :, None, :]  # (h, S, K, K)
        right = same.sum((0, 2, 3))
        across = (word.reshape(1, -1, 1) == patch.transpose(0, 1).reshape(patches, 1, -1)).sum((1, 2))
        sets = [set(word.flatten().tolist()) & set(patch[:, s].flatten().tolist()) for s in range(patches)]
        each_head = "each head has its own keys, so compare head with head, then add up"
        mistakes = [
            (across, f"slot 7 of one head was taken for slot 7 of another: {each_head}"),
            (torch.tensor([len(shared) for shared in sets]), f"the heads' slots were thrown into one set: {each_head}"),
            (
                (word[:, None] == patch).sum((0, 2)),
                "slots were compared rank by rank: a slot is shared whatever its rank in the two lists, so compare "
                "every one with every one",
            ),
            (right / heads, "this is the mean over the heads: add them up"),
            (right / (heads * k), "this is the share of the slots, not their number: do not divide"),
            (same.sum((2, 3))[0], "only head 0 was counted: add up all heads"),
            (same.sum().expand(patches), "the patches were added up too: keep one number a patch"),
        ]
        draws.append((tensor(function, (patches,), word, patch), right, mistakes))
    compare_draws(draws, "the number of shared slots is not right")


def share_in_box(function: Callable[[Tensor, tuple[float, float, float, float]], float], *, other: int = 0) -> None:
    """Exercise 4.4: a map (7, 7) of any sum and a box (x0, y0, x1, y1), fractions of the view -> the share of the map
    inside the box."""
    generator = torch.Generator().manual_seed(7 + 1000 * other)
    centres = (torch.arange(7) + 0.5) / 7
    draws: list[Draw] = []
    for box in ((0.05, 0.52, 0.35, 0.8), (2 / 7, 0.0, 1.0, 3 / 7), (0.4, 0.42, 0.44, 0.45)):
        attention = 3 * torch.rand(7, 7, generator=generator)
        x0, y0, x1, y1 = box
        cover = _cover(y0, y1)[:, None] * _cover(x0, x1)[None]  # (7, 7)
        within = ((centres > y0) & (centres < y1)).float()[:, None] * ((centres > x0) & (centres < x1)).float()[None]
        mass, total = (attention * cover).sum(), attention.sum()
        by_part = "count each by the part of it that lies in the box"
        mistakes = [
            (mass, "the map does not sum to 1: divide by its sum"),
            ((attention * cover.flip(0)).sum() / total, "the map is upside down: row 0 is the top of the view"),
            ((attention * cover.T).sum() / total, "x and y are swapped: rows of the map are y, columns are x"),
            ((attention * (cover > 0)).sum() / total, f"every patch that the box touches counts whole: {by_part}"),
            ((attention * within).sum() / total, f"a patch counts when its centre lies in the box: {by_part}"),
            (cover.mean(), "this is the box's share of the area, which is chance: weigh the patches by the attention"),
            (mass / total / cover.mean(), "this is how many times chance: the exercise asks for the share itself"),
            (mass / cover.sum(), "this is the mean attention in the box: divide by the map's sum, not by the area"),
        ]
        draws.append((tensor(function, (), attention, box), mass / total, mistakes))
    compare_draws(draws, "the share of the map in the box is not right")


def _cover(low: float, high: float, grid: int = 7) -> Tensor:
    """(grid,): which part of each of `grid` equal intervals of 0..1 lies in low..high."""
    edges = torch.arange(grid + 1) / grid
    return (torch.minimum(edges[1:], torch.tensor(high)) - torch.maximum(edges[:-1], torch.tensor(low))).clamp(
        min=0
    ) * grid
