"""Chapter 05's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import xpronet_prototypes as checks

# --- 5.1 --------------------------------------------------------------------------------------------------------------


def with_none(present, nothing):
    return np.concatenate([nothing, present], axis=1).astype(np.uint8)


def solved_labels(values):
    present = np.nan_to_num(values) != 0
    return with_none(present, ~present.any(axis=1, keepdims=True))


def uncertain_absent(values):
    present = values == 1
    return with_none(present, ~present.any(axis=1, keepdims=True))


def nan_present(values):
    present = values != 0
    return with_none(present, ~present.any(axis=1, keepdims=True))


def never_none(values):
    return with_none(np.nan_to_num(values) != 0, np.zeros((len(values), 1), bool))


def none_where_blank(values):
    return with_none(np.nan_to_num(values) != 0, np.isnan(values).all(axis=1, keepdims=True))


def none_last(values):
    return np.roll(solved_labels(values), -1, axis=1)


@pytest.mark.exercise("5.1", "right")
@pytest.mark.parametrize(
    "answer", [solved_labels, lambda v: with_none(np.isin(v, (1, -1)), ~np.isin(v, (1, -1)).any(axis=1, keepdims=True))]
)
def test_every_right_labelling_passes(answer):
    checks.labels_of(answer)


@pytest.mark.exercise("5.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (uncertain_absent, "uncertain, counts as absent"),
        (nan_present, "nan counts as present"),
        (never_none, "never set"),
        (none_where_blank, "not.*mentioned at all|mentioned at all"),
        (none_last, "stands last"),
        (
            lambda v: with_none(np.nan_to_num(v) != 0, (v == 0).all(axis=1, keepdims=True)),
            "0 and nan stand side by side",
        ),
        (lambda v: with_none(np.nan_to_num(v) != 0, np.nansum(v, axis=1, keepdims=True) == 0), "add up to 0"),
        (lambda v: with_none(np.nan_to_num(v) != 0, ~(v == 1).any(axis=1, keepdims=True)), "beside an uncertain"),
        (lambda v: with_none(np.nan_to_num(v) != 0, np.ones((len(v), 1), bool)), "always set"),
        (
            lambda v: np.concatenate([~(np.nan_to_num(v) != 0).any(1, keepdims=True), np.nan_to_num(v)], axis=1),
            "a -1 among",
        ),
        (lambda v: np.concatenate([np.zeros((len(v), 1)), v], axis=1), "not finite"),
        (lambda v: np.nan_to_num(v) != 0, r"shape \(7, 13\)"),
        (lambda v: np.ones((len(v), 14)), "not those of the release"),
        (lambda v: None, "it returns nothing"),
    ],
)
def test_wrong_labels_are_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.labels_of(answer)


# --- 5.2 --------------------------------------------------------------------------------------------------------------


def gathered(weights, indices, values):
    return (weights[..., None] * values[torch.arange(len(values))[None, :, None, None], indices]).sum(-2)


def scaled(query, keys):
    return query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])


def gate(keys, labels):
    return labels.bool().repeat_interleave(keys.shape[1] // labels.shape[1], dim=1)[:, None, None]


def read(scores, values, gamma):
    best = scores.topk(gamma)
    return gathered(best.values.softmax(-1), best.indices, values)


def solved_read(query, keys, values, labels, gamma):
    return read(scaled(query, keys).masked_fill(~gate(keys, labels), -torch.inf), values, gamma)


def a_study_at_a_time(query, keys, values, labels, gamma):
    number = keys.shape[1] // labels.shape[1]
    rows = [[number * c + i for c in own.nonzero().flatten().tolist() for i in range(number)] for own in labels]
    return torch.cat([read(scaled(query[i : i + 1], keys[:, r]), values[:, r], gamma) for i, r in enumerate(rows)])


def repeated(query, keys, values, labels, gamma):
    own = labels.bool().repeat(1, keys.shape[1] // labels.shape[1])[:, None, None]
    return read(scaled(query, keys).masked_fill(~own, -torch.inf), values, gamma)


def closed_after_softmax(query, keys, values, labels, gamma):
    best = scaled(query, keys).topk(gamma)
    kept = gate(keys, labels).expand(*best.values.shape[:-1], -1).gather(-1, best.indices)
    return gathered(best.values.softmax(-1) * kept, best.indices, values)


def closed_after_choice(query, keys, values, labels, gamma):
    best = scaled(query, keys).topk(gamma)
    kept = gate(keys, labels).expand(*best.values.shape[:-1], -1).gather(-1, best.indices)
    return gathered(best.values.masked_fill(~kept, -torch.inf).softmax(-1), best.indices, values)


def shares(query, keys, values, labels, gamma):
    best = scaled(query, keys).masked_fill(~gate(keys, labels), -torch.inf).topk(gamma)
    return gathered(best.values / best.values.sum(-1, keepdim=True), best.indices, values)


def softmax_before_choice(query, keys, values, labels, gamma):
    best = scaled(query, keys).masked_fill(~gate(keys, labels), -torch.inf).softmax(-1).topk(gamma)
    return gathered(best.values, best.indices, values)


def softmax_along(axis, query, keys, values, labels, gamma):
    best = scaled(query, keys).masked_fill(~gate(keys, labels), -torch.inf).topk(gamma)
    return gathered(best.values.softmax(axis), best.indices, values)


@pytest.mark.exercise("5.2", "right")
@pytest.mark.parametrize("answer", [solved_read, a_study_at_a_time])
def test_every_right_read_passes(answer):
    checks.ask_own(answer)


@pytest.mark.exercise("5.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda q, k, v, y, g: read(scaled(q, k), v, g), "every class is asked"),
        (repeated, "repeat_interleave"),
        (closed_after_softmax, "after the softmax"),
        (closed_after_choice, "after the choice"),
        (lambda q, k, v, y, g: read(scaled(q, k) * gate(k, y), v, g), "score 0"),
        (lambda q, k, v, y, g: solved_read(q, k, v, y[:1].expand_as(y), g), "labels of the first"),
        (
            lambda q, k, v, y, g: scaled(q, k).masked_fill(~gate(k, y), -torch.inf).softmax(-1) @ v,
            "every open prototype speaks",
        ),
        (lambda q, k, v, y, g: read((q @ k.transpose(-2, -1)).masked_fill(~gate(k, y), -torch.inf), v, g), "too sharp"),
        (lambda q, k, v, y, g: solved_read(q, k, k, y, g), "averaged the keys"),
        (lambda q, k, v, y, g: solved_read(q, k, v, 1 - y, g), "wrong way round"),
        (shares, "shares of the sum"),
        (softmax_before_choice, "before the choice"),
        *((partial(softmax_along, axis), "wrong axis") for axis in (0, 1, 2)),
        (lambda q, k, v, y, g: solved_read(q / q.shape[-1] ** 0.5, k, v, y, g), "not by d_k"),
        (
            lambda q, k, v, y, g: solved_read(q / q.shape[-1] ** 0.5 / len(k), k, v, y, g),
            "dividing by d is the paper's",
        ),
        (lambda q, k, v, y, g: solved_read(q / len(k) ** 0.5, k, v, y, g), "not of d"),
        (lambda q, k, v, y, g: torch.zeros_like(q), "differ from the library"),
    ],
)
def test_a_wrong_read_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.ask_own(answer)


# --- 5.3 --------------------------------------------------------------------------------------------------------------


def loss(features, labels, margin, theta, *, clamp=False, unit=True, exponent=None, mean=torch.mean):
    if unit:
        features = F.normalize(features, dim=-1)
    cosine, common, each = features @ features.T, labels @ labels.T, labels.sum(1)
    total = each[:, None] + each
    share = (total - 2 * common) / total if exponent is None else exponent(total - 2 * common, labels)
    pull = theta**-share - cosine
    return mean(torch.where(common > 0, pull.clamp(min=0) if clamp else pull, (cosine - margin).clamp(min=0)))


def pair_by_pair(features, labels, margin, theta):
    total = 0.0
    for a, x in zip(features, labels, strict=True):
        for b, y in zip(features, labels, strict=True):
            cosine = float(a @ b / (a.norm() * b.norm()))
            differing, all_of_both = float((x != y).sum()), float(x.sum() + y.sum())
            total += theta ** (-differing / all_of_both) - cosine if x @ y > 0 else max(cosine - margin, 0)
    return total / len(features) ** 2


def inverted_hinge(features, labels, margin, theta):
    unit = F.normalize(features, dim=-1)
    cosine, total = unit @ unit.T, labels.sum(1)[:, None] + labels.sum(1)
    pull = theta ** -((total - 2 * labels @ labels.T) / total) - cosine
    return torch.where(labels @ labels.T > 0, pull, (margin - cosine).clamp(min=0)).mean()


@pytest.mark.exercise("5.3", "right")
@pytest.mark.parametrize("answer", [loss, pair_by_pair])
def test_every_right_loss_passes(answer):
    checks.contrastive(answer)


@pytest.mark.exercise("5.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda f, y, m, t: loss(f, y, m, t, clamp=True), "that is the release"),
        (lambda f, y, m, t: loss(f, y, m, 1.0), "theta is not there"),
        (lambda f, y, m, t: loss(f, y, m, 1 / t), "exponent is negative"),
        (lambda f, y, m, t: loss(f, y, m, t, exponent=lambda d, y: d / y.shape[1]), "number of classes"),
        (lambda f, y, m, t: loss(f, y, m, t, exponent=lambda d, y: d), "not divided by h_t"),
        (
            lambda f, y, m, t: loss(f, y, m, t, exponent=lambda d, y: d / (y[:, None] + y).clamp(max=1).sum(-1)),
            "shared label once",
        ),
        (lambda f, y, m, t: loss(f, y, 0.0, t), "margin is not there"),
        (inverted_hinge, "the wrong way round"),
        (lambda f, y, m, t: loss(f, y, m, t, unit=False), "cosines, not dot products"),
        (lambda f, y, m, t: loss(f, y, m, t, mean=torch.sum), "divide by B²"),
        (lambda f, y, m, t: torch.tensor(0.3), "the loss differs"),
        (lambda f, y, m, t: f @ f.T, "expected one number"),
    ],
)
def test_a_wrong_loss_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.contrastive(answer)


# --- 5.4 --------------------------------------------------------------------------------------------------------------


def solved_losses(log_p, mask):
    words = mask.sum(1)
    return -((log_p * mask).sum(1) / words).mean(), -(log_p * mask).sum() / words.sum()


@pytest.mark.exercise("5.4", "right")
@pytest.mark.parametrize(
    "answer",
    [
        solved_losses,
        lambda lp, m: [-sum(row[own].mean() for row, own in zip(lp, m, strict=True)) / len(lp), -lp[m].mean()],
        lambda lp, m: tuple(float(x) for x in solved_losses(lp, m)),
    ],
)
def test_both_report_losses_pass(answer):
    checks.report_losses(answer)


@pytest.mark.exercise("5.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda lp, m: solved_losses(lp, m)[::-1], "^the two stand the wrong way"),
        (lambda lp, m: [-x for x in solved_losses(lp, m)], "sign is missing: "),
        (lambda lp, m: [-x for x in solved_losses(lp, m)[::-1]], "sign is missing, and"),
        (lambda lp, m: [solved_losses(lp, m)[0]] * 2, "the first again"),
        (lambda lp, m: [-lp[m].mean()] * 2, "the second again"),
        (lambda lp, m: [-lp.mean(), -lp.mean()], "^padding counts"),
        (lambda lp, m: [-lp.mean(1).mean(), -lp[m].mean()], "in the first, padding counts"),
        (lambda lp, m: [solved_losses(lp, m)[0], -lp.mean()], "in the second, padding counts"),
        (lambda lp, m: [-(lp * m).mean(1).mean(), -lp[m].mean()], "in the first, padding is counted in the divisor"),
        (lambda lp, m: [solved_losses(lp, m)[0], -(lp * m).mean()], "in the second, padding is counted in the divisor"),
        (lambda lp, m: [-(lp * m).mean(1).mean(), -(lp * m).mean()], "^padding is counted in the divisor"),
        (lambda lp, m: [len(lp) * solved_losses(lp, m)[0], -lp[m].mean()], "a sum over the reports"),
        (lambda lp, m: [-(lp * m).sum(1).mean(), -lp[m].mean()], "does not divide a report"),
        (lambda lp, m: [solved_losses(lp, m)[0], -(lp * m).sum(1).mean()], "divides by the number of reports"),
        (lambda lp, m: [solved_losses(lp, m)[0], -(lp * m).sum()], "the second is a sum"),
        (lambda lp, m: [solved_losses(lp, m)[0], -(lp * m).sum() / lp.shape[1]], "divides by the longest report"),
        (lambda lp, m: -lp[m].mean(), r"expected shape \(2,\)"),
        (lambda lp, m: [1.0, 2.0], "are not right"),
    ],
)
def test_wrong_report_losses_are_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.report_losses(answer)


# --- 5.5 --------------------------------------------------------------------------------------------------------------


def f1(told, truth):
    hit = (told.astype(int) * truth).sum()
    return 2 * hit / (told.astype(int).sum() + truth.sum())


@pytest.mark.exercise("5.5", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda told, truth: f1(told[:, 1:], truth[:, 1:]),
        lambda told, truth: 2 / (told[:, 1:].sum() + truth[:, 1:].sum()) * (told & truth)[:, 1:].sum(),
    ],
)
def test_every_right_f1_passes(answer):
    checks.label_f1(answer)


@pytest.mark.exercise("5.5", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (f1, "leave the first column out"),
        (lambda a, b: (a[:, 1:] == b[:, 1:]).mean(), "accuracy"),
        (lambda a, b: (a[:, 1:] & b[:, 1:]).sum() / a[:, 1:].sum(), "precision"),
        (lambda a, b: (a[:, 1:] & b[:, 1:]).sum() / b[:, 1:].sum(), "recall"),
        (lambda a, b: (a[:, 1:] & b[:, 1:]).sum() / (a[:, 1:] | b[:, 1:]).sum(), "Jaccard"),
        (
            lambda a, b: np.mean([f1(a[:, c], b[:, c]) if a[:, c].any() or b[:, c].any() else 0 for c in range(1, 14)]),
            "macro",
        ),
        (lambda a, b: f1(a[:, :-1], b[:, :-1]), "last column is left out"),
        (lambda a, b: f1(a[b[:, 0] == 0, 1:], b[b[:, 0] == 0, 1:]), "studies are left out"),
        (lambda a, b: f1(a[a[:, 0] == 0, 1:], b[a[:, 0] == 0, 1:]), "studies are left out"),
        (lambda a, b: 2 * (a[:, 1:] & b[:, 1:]).sum() / (a[:, 1:].sum() + b.sum()), "one of the two"),
        (lambda a, b: 2 * (a[:, 1:] & b[:, 1:]).sum() / (a.sum() + b[:, 1:].sum()), "one of the two"),
        (lambda a, b: 0.5, "another number"),
    ],
)
def test_a_wrong_f1_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.label_f1(answer)


# --- 5.6 --------------------------------------------------------------------------------------------------------------


@pytest.mark.exercise("5.6", "right")
@pytest.mark.parametrize("answer", [lambda k, n: k * k / n, lambda k, n: n * (k / n) ** 2])
def test_every_right_chance_passes(answer):
    checks.met_by_chance(answer)


@pytest.mark.exercise("5.6", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda k, n: k / n, "there are k of them"),
        (lambda k, n: (k / n) ** 2, "there are n of them"),
        (lambda k, n: k, "choose alike"),
        (lambda k, n: max(0, 2 * k - n), "least they can share"),
        (lambda k, n: k * k, "divide by n"),
        (lambda k, n: 10 * k / n, "one example"),
        (lambda k, n: k / 2, "half of them is a guess"),
        (lambda k, n: round(k * k / n), "do not round"),
        (lambda k, n: int(k * k / n), "do not round"),
        (lambda k, n: 3.0, "another number"),
    ],
)
def test_a_wrong_chance_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.met_by_chance(answer)
