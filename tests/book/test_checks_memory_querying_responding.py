"""Chapter 04's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import math

import pytest
import torch

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import memory_querying_responding as checks


def gathered(weights, indices, values):
    heads = torch.arange(values.shape[0])[None, :, None, None]
    return (weights[..., None] * values[heads, indices]).sum(-2)


def scaled(query, keys):
    return query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])


def solved_read(query, keys, values, k):
    best = scaled(query, keys).topk(k)
    return gathered(best.values.softmax(-1), best.indices, values)


def top_k_before_scaling(query, keys, values, k):
    best = (query @ keys.transpose(-2, -1)).topk(k)
    return gathered((best.values / math.sqrt(query.shape[-1])).softmax(-1), best.indices, values)


def masked_read(query, keys, values, k):
    scores = scaled(query, keys)
    return scores.masked_fill(scores < scores.topk(k).values[..., -1:], -torch.inf).softmax(-1) @ values


def no_scale(query, keys, values, k):
    best = (query @ keys.transpose(-2, -1)).topk(k)
    return gathered(best.values.softmax(-1), best.indices, values)


def scale_of_the_model(query, keys, values, k):
    best = (query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1] * query.shape[1])).topk(k)
    return gathered(best.values.softmax(-1), best.indices, values)


def softmax_over_all_then_top_k(query, keys, values, k):
    best = scaled(query, keys).softmax(-1).topk(k)
    return gathered(best.values, best.indices, values)


def softmax_over_queries(query, keys, values, k):
    best = scaled(query, keys).topk(k)
    return gathered(best.values.softmax(2), best.indices, values)


def one_heads_indices(query, keys, values, k):
    best = scaled(query, keys).topk(k)
    return gathered(best.values.softmax(-1), best.indices[:, :1].expand_as(best.indices), values)


def all_slots(query, keys, values, k):
    return scaled(query, keys).softmax(-1) @ values


def keys_for_values(query, keys, values, k):
    return solved_read(query, keys, keys, k)


def no_softmax(query, keys, values, k):
    best = scaled(query, keys).topk(k)
    return gathered(best.values, best.indices, values)


@pytest.mark.exercise("4.1", "right")
@pytest.mark.parametrize("answer", [solved_read, top_k_before_scaling, masked_read])
def test_every_right_read_passes(answer):
    checks.top_k_read(answer)


@pytest.mark.exercise("4.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (no_scale, "too sharp"),
        (scale_of_the_model, "too flat"),
        (softmax_over_all_then_top_k, "do not sum to 1: take the top-K"),
        (softmax_over_queries, "over the queries"),
        (one_heads_indices, "head 0 chose"),
        (lambda query, keys, values, k: solved_read(query, keys, values[:1].expand_as(values), k), "head 0's values"),
        (all_slots, "every slot speaks"),
        (keys_for_values, "averaged the keys"),
        (no_softmax, "scores are used as weights"),
        (lambda query, keys, values, k: torch.zeros_like(query), "differ from the library"),
        (lambda query, keys, values, k: query[0], "shape"),
        (lambda query, keys, values, k: None, "it returns nothing"),
        (lambda query, keys, values, k: query @ keys, "it stops with RuntimeError"),
    ],
)
def test_a_wrong_read_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.top_k_read(answer)


@pytest.mark.exercise("4.2", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda query, keys, values: scaled(query, keys).softmax(-1) @ values,
        lambda query, keys, values: solved_read(query, keys, values, keys.shape[1]),
    ],
)
def test_every_right_ask_all_passes(answer):
    checks.ask_all(answer)


@pytest.mark.exercise("4.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda query, keys, values: (query @ keys.transpose(-2, -1)).softmax(-1) @ values, "too sharp"),
        (lambda query, keys, values: (scaled(query, keys) / math.sqrt(len(keys))).softmax(-1) @ values, "too flat"),
        (lambda query, keys, values: scaled(query, keys).softmax(-2) @ values, "over the queries"),
        (lambda query, keys, values: scaled(query, keys).softmax(1) @ values, "over the heads"),
        (lambda query, keys, values: scaled(query, keys) @ values, "put them through a softmax"),
        (lambda query, keys, values: values.mean(1, keepdim=True).expand_as(query), "counts alike"),
    ],
)
def test_a_wrong_ask_all_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.ask_all(answer)


def heaviest_first(weights):
    return weights.sort(dim=-1, descending=True).values.cumsum(-1)


@pytest.mark.exercise("4.2", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda weights, share: (heaviest_first(weights) < share).sum(-1) + 1,
        lambda weights, share: (heaviest_first(weights) >= share).long().argmax(-1) + 1,
    ],
)
def test_every_right_count_of_slots_passes(answer):
    checks.slots_for(answer)


@pytest.mark.exercise("4.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda weights, share: (heaviest_first(weights) < share).sum(-1), "one too few"),
        (lambda weights, share: (heaviest_first(weights) <= share).sum(-1) + 1, "exactly"),
        (lambda weights, share: (weights.cumsum(-1) < share).sum(-1) + 1, "order of the memory"),
        (lambda weights, share: (weights.sort(-1).values.cumsum(-1) < share).sum(-1) + 1, "lightest"),
        (lambda weights, share: (weights > share).sum(-1), "single slots"),
        (lambda weights, share: torch.full(weights.shape[:-1], 2), "is not right"),
    ],
)
def test_a_wrong_count_of_slots_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.slots_for(answer)


def head_with_head(word, patches):
    return (word[:, None, :, None] == patches[:, :, None, :]).sum((0, 2, 3))


def in_sets(word, patches):
    heads, count, _ = patches.shape
    return torch.tensor(
        [sum(len(set(word[h].tolist()) & set(patches[h, s].tolist())) for h in range(heads)) for s in range(count)]
    )


@pytest.mark.exercise("4.3", "right")
@pytest.mark.parametrize("answer", [head_with_head, in_sets])
def test_every_right_count_of_shared_slots_passes(answer):
    checks.shared_with(answer)


@pytest.mark.exercise("4.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (
            lambda word, patches: (word.reshape(1, -1, 1) == patches.transpose(0, 1).flatten(1)[:, None]).sum((1, 2)),
            "slot 7 of one head",
        ),
        (
            lambda word, patches: torch.tensor(
                [len({*word.flatten().tolist()} & {*p.flatten().tolist()}) for p in patches.unbind(1)]
            ),
            "one set",
        ),
        (lambda word, patches: (word[:, None] == patches).sum((0, 2)), "rank by rank"),
        (lambda word, patches: head_with_head(word, patches) / len(word), "mean over the heads"),
        (lambda word, patches: head_with_head(word[:1], patches[:1]), "only head 0"),
        (lambda word, patches: torch.zeros(patches.shape[1]), "is not right"),
    ],
)
def test_a_wrong_count_of_shared_slots_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.shared_with(answer)


def part_of(low, high):
    return torch.tensor([max(0.0, min((i + 1) / 7, high) - max(i / 7, low)) * 7 for i in range(7)])


def cover_of(box):
    x0, y0, x1, y1 = box
    return torch.outer(part_of(y0, y1), part_of(x0, x1))


@pytest.mark.exercise("4.4", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda attention, box: (attention * cover_of(box)).sum() / attention.sum(),
        lambda attention, box: float((attention / attention.sum() * cover_of(box)).sum()),
    ],
)
def test_every_right_share_passes_as_number_or_tensor(answer):
    checks.share_in_box(answer)


@pytest.mark.exercise("4.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda attention, box: (attention * cover_of(box)).sum(), "divide by its sum"),
        (lambda attention, box: (attention * cover_of(box).T).sum() / attention.sum(), "swapped"),
        (lambda attention, box: (attention * cover_of(box).flip(0)).sum() / attention.sum(), "upside down"),
        (lambda attention, box: (attention * (cover_of(box) > 0)).sum() / attention.sum(), "touches counts whole"),
        (lambda attention, box: cover_of(box).mean(), "which is chance"),
        (lambda attention, box: (attention * cover_of(box)).sum() / cover_of(box).sum(), "mean attention in the box"),
        (lambda attention, box: attention * cover_of(box), "one number"),
        (lambda attention, box: 0.25, "is not right"),
    ],
)
def test_a_wrong_share_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.share_in_box(answer)
