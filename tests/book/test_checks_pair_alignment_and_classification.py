"""Chapter 07's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import precision_recall_fscore_support

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import pair_alignment_and_classification as checks


def pooled(weights, projected):
    return F.normalize((weights[..., None] * projected).sum(1), dim=-1)


def solved_pool(logits, mask, W_p, b, w):
    projected = logits @ W_p + b
    return pooled((projected @ w).masked_fill(~mask, -torch.inf).softmax(1), projected)


def no_length(logits, mask, W_p, b, w):
    projected = logits @ W_p + b
    return ((projected @ w).masked_fill(~mask, -torch.inf).softmax(1)[..., None] * projected).sum(1)


def padding_speaks(logits, mask, W_p, b, w):
    projected = logits @ W_p + b
    return pooled((projected @ w).softmax(1), projected)


def padding_at_zero(logits, mask, W_p, b, w):
    projected = logits @ W_p + b
    return pooled((projected @ w * mask).softmax(1), projected)


def even_mean(logits, mask, W_p, b, w):
    return pooled(mask.float(), logits @ W_p + b)


def without_bias(logits, mask, W_p, b, w):
    return solved_pool(logits, mask, W_p, torch.zeros_like(b), w)


def raw_scores(logits, mask, W_p, b, w):
    projected = logits @ W_p + b
    return pooled(projected @ w * mask, projected)


def by_einsum(logits, mask, W_p, b, w):
    projected = torch.einsum("blv,vd->bld", logits, W_p) + b
    weights = torch.exp(projected @ w) * mask
    vectors = torch.einsum("bl,bld->bd", weights, projected)
    return vectors / vectors.norm(dim=1, keepdim=True)


def length_first(logits, mask, W_p, b, w):
    projected = logits @ W_p + b
    return pooled((projected @ w).masked_fill(~mask, -torch.inf).softmax(1), F.normalize(projected, dim=-1))


def loudest(logits, mask, W_p, b, w):
    projected = logits @ W_p + b
    place = (projected @ w).masked_fill(~mask, -torch.inf).argmax(1)
    return F.normalize(projected[torch.arange(len(place)), place], dim=-1)


@pytest.mark.exercise("7.1", "right")
@pytest.mark.parametrize("answer", [solved_pool, by_einsum])
def test_every_right_pooling_passes(answer):
    checks.attention_pool(answer)


@pytest.mark.exercise("7.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (no_length, "not of length 1"),
        (padding_speaks, "padding speaks too"),
        (padding_at_zero, "a score of 0 is not silence"),
        (even_mean, "every place counts alike"),
        (without_bias, "bias b is missing"),
        (raw_scores, "scores are used as weights"),
        (lambda logits, mask, W_p, b, w: solved_pool(logits, ~mask, W_p, b, w), "where it is False"),
        (lambda logits, mask, W_p, b, w: pooled(torch.ones(mask.shape), logits @ W_p + b), "the padding too"),
        (
            lambda logits, mask, W_p, b, w: pooled(((logits @ W_p + b) @ w).softmax(0), logits @ W_p + b),
            "over the reports",
        ),
        (length_first, "not each T'"),
        (loudest, "only the place with the highest"),
        (lambda *given: no_length(*given) / no_length(*given).sum(1, keepdim=True), "divided by the sum"),
        (lambda logits, mask, W_p, b, w: torch.ones(3, 5) / 5**0.5, "differ from the library"),
        (lambda logits, mask, W_p, b, w: logits @ W_p, "returned shape"),
        (lambda logits, mask, W_p, b, w: None, "it returns nothing"),
        (lambda logits, mask, W_p, b, w: logits @ w, "it stops with RuntimeError"),
    ],
)
def test_a_wrong_pooling_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.attention_pool(answer)


def solved_loss(cosines, same, margin):
    return (1 - cosines.diagonal()).mean() + (cosines[~same] - margin).clamp(min=0).mean()


@pytest.mark.exercise("7.2", "right")
@pytest.mark.parametrize(
    "answer", [solved_loss, lambda c, same, m: 1 - c.diagonal().mean() + ((c - m).relu() * ~same).sum() / (~same).sum()]
)
def test_every_right_loss_passes(answer):
    checks.loss_with_negatives(answer)


def near(cosines):
    return (1 - cosines.diagonal()).mean()


def off_diagonal(cosines):
    return cosines[~torch.eye(len(cosines), dtype=torch.bool)]


@pytest.mark.exercise("7.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda c, same, m: (1 - c.diagonal()).mean(), "this is the printed form"),
        (
            lambda c, same, m: (1 - c.diagonal()).mean() + (off_diagonal(c) - m).relu().mean(),
            "same report are pushed apart",
        ),
        (lambda c, same, m: (1 - c.diagonal()).mean() + (c - m).relu().mean(), "diagonal is pushed apart too"),
        (lambda c, same, m: (1 - c.diagonal()).mean() + (c[~same] - m).mean(), "only what \\*exceeds\\* the margin"),
        (lambda c, same, m: (1 - c.diagonal()).mean() + (c[~same] - m).relu().sum(), "the second term is a sum"),
        (lambda c, same, m: (c[~same] - m).relu().mean(), "matching pairs are missing"),
        (lambda c, same, m: near(c) + (c[~same].mean() - m).clamp(min=0), "taken off the mean"),
        (lambda c, same, m: near(c) + (c[(~same).triu()] - m).relu().mean(), "only half of the pairs"),
        (lambda c, same, m: near(c) + (c[~same] - m).relu().sum() / (len(c) * (len(c) - 1)), r"not all B\(B"),
        (lambda c, same, m: near(c) + (c[~same] - m).relu().sum() / len(c), "not by B"),
        (lambda c, same, m: (1 - c[same]).mean() + (c[~same] - m).relu().mean(), "holds twins too"),
        (lambda c, same, m: near(c) + (m - c[~same]).relu().mean(), "the wrong way round"),
        (lambda c, same, m: near(c) + (c[~same] + m).relu().mean(), "margin is added"),
        (lambda c, same, m: near(c) + c[~same].relu().mean(), "margin is not used"),
        (lambda c, same, m: near(c) + (c[~same] - m)[c[~same] > m].mean(), "that cost something"),
        (lambda c, same, m: near(c) + (c[same] - m).relu().mean(), "not the others"),
        (lambda c, same, m: near(c) + (c[~same] - m).relu().square().mean(), "squared"),
        (lambda c, same, m: 0.5, "is not right"),
        (lambda c, same, m: 1 - c.diagonal(), "expected one number"),
    ],
)
def test_a_wrong_loss_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.loss_with_negatives(answer)


def solved_recall(cosines, k):
    return ((cosines > cosines.diagonal()[:, None]).sum(1) < k).float().mean().item()


def by_topk(cosines, k):
    own = torch.arange(len(cosines))[:, None]
    return (cosines.topk(k, dim=1).indices == own).any(1).double().mean()


@pytest.mark.exercise("7.3", "right")
@pytest.mark.parametrize("answer", [solved_recall, by_topk])
def test_every_right_recall_passes(answer):
    checks.recall_at(answer)


@pytest.mark.exercise("7.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda c, k: solved_recall(c.T, k), "columns are the queries"),
        (lambda c, k: solved_recall(c, k + 1), "one too many"),
        (lambda c, k: solved_recall(c, k - 1), "one too few"),
        (lambda c, k: solved_recall(c, k) * len(c), "divide by their number"),
        (lambda c, k: solved_recall(-c, k), "furthest away"),
        (lambda c, k: k / len(c), "this is chance"),
        (lambda c, k: 100 * solved_recall(c, k), "per cent"),
        (lambda c, k: ((c > c.diagonal()[:, None]).sum(1) == k - 1).float().mean(), "up to k counts"),
        (lambda c, k: solved_recall(c, 1), "k is not used"),
        (lambda c, k: (c.argsort(dim=1, descending=True).diagonal() < k).float().mean(), "argsort gives who"),
        (lambda c, k: 0.3, "is not right"),
    ],
)
def test_a_wrong_recall_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.recall_at(answer)


def by_scikit_learn(support):
    truth = np.repeat(np.arange(len(support)), support)
    always = np.full(len(truth), np.argmax(support))
    return precision_recall_fscore_support(truth, always, average="weighted", zero_division=0)[:3]


def share(support):
    return max(support) / sum(support)


@pytest.mark.exercise("7.4", "right")
@pytest.mark.parametrize(
    "answer", [lambda s: (share(s) ** 2, share(s), 2 * share(s) ** 2 / (1 + share(s))), by_scikit_learn]
)
def test_every_right_constant_score_passes(answer):
    checks.constant_scores(answer)


@pytest.mark.exercise("7.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s: (share(s), 1.0, 2 * share(s) / (1 + share(s))), "scores of the class itself"),
        (lambda s: (share(s), share(s), share(s)), "accuracy three times"),
        (
            lambda s: (share(s) ** 2 + 1 - share(s), share(s), 2 * share(s) ** 2 / (1 + share(s))),
            "precision 0 here, not 1",
        ),
        (lambda s: tuple(x / len(s) for x in (share(s), 1.0, 2 * share(s) / (1 + share(s)))), "macro mean"),
        (lambda s: tuple(100 * x for x in by_scikit_learn(s)), "per cent"),
        (lambda s: (share(s), share(s) ** 2, 2 * share(s) ** 2 / (1 + share(s))), "recall stands first"),
        (lambda s: (2 * share(s) ** 2 / (1 + share(s)), share(s) ** 2, share(s)), "F1 stands first"),
        (lambda s: (share(s) ** 2, 1.0, 2 * share(s) ** 2 / (1 + share(s))), "recall is not weighted"),
        (lambda s: (share(s) ** 2, share(s), 2 * share(s) / (1 + share(s))), "F1 is not weighted"),
        (
            lambda s: (s[0] ** 2 / sum(s) ** 2, s[0] / sum(s), 2 * s[0] ** 2 / (sum(s) * (sum(s) + s[0]))),
            "need not be the first",
        ),
        (
            lambda s: (min(s) ** 2 / sum(s) ** 2, min(s) / sum(s), 2 * min(s) ** 2 / (sum(s) * (sum(s) + min(s)))),
            "least frequent",
        ),
        (lambda s: (0.4, 0.6, 0.5), "are not right"),
        (lambda s: share(s), "expected three numbers"),
        (lambda s: (share(s), share(s)), "2 numbers, expected three"),
    ],
)
def test_wrong_constant_scores_are_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.constant_scores(answer)


def p_true(logits, targets):
    return logits.softmax(-1).gather(-1, targets[:, None]).squeeze(-1)


def solved_focal(logits, targets, gamma):
    p = p_true(logits, targets)
    return -((1 - p) ** gamma * p.log()).mean()


@pytest.mark.exercise("7.5", "right")
@pytest.mark.parametrize(
    "answer", [solved_focal, lambda x, y, g: ((1 - p_true(x, y)) ** g * F.cross_entropy(x, y, reduction="none")).mean()]
)
def test_every_right_focal_loss_passes(answer):
    checks.focal(answer)


@pytest.mark.exercise("7.5", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x, y, g: -(p_true(x, y) ** g * p_true(x, y).log()).mean(), "easy studies count most"),
        (lambda x, y, g: solved_focal(x, y, g) * len(y), "this is the sum"),
        (lambda x, y, g: -solved_focal(x, y, g), "sign is turned round"),
        (lambda x, y, g: F.cross_entropy(x, y), "this is the cross-entropy"),
        (lambda x, y, g: -(g * (1 - p_true(x, y)) * p_true(x, y).log()).mean(), "an exponent, not a factor"),
        (lambda x, y, g: -((1 - x.softmax(-1)) ** g * x.log_softmax(-1)).mean(), "all classes are counted"),
        (lambda x, y, g: (1 - (-F.cross_entropy(x, y)).exp()) ** g * F.cross_entropy(x, y), "the mean was taken first"),
        (lambda x, y, g: F.cross_entropy(x, y) + solved_focal(x, y, g), "cross-entropy is added"),
        (lambda x, y, g: solved_focal(x.softmax(-1), y, g), "softmax twice"),
        (
            lambda x, y, g: ((1 - p_true(x, y)) ** g * F.cross_entropy(x.softmax(-1), y, reduction="none")).mean(),
            "softmax twice",
        ),
        (lambda x, y, g: -((1 - x.softmax(-1)[:, y]) ** g * x.softmax(-1)[:, y].log()).mean(), "table of all pairs"),
        (lambda x, y, g: -((1 - p_true(x, y) ** g) * p_true(x, y).log()).mean(), "this is 1 − p"),
        (lambda x, y, g: solved_focal(x, y, 2.0), "2 is one example"),
        (lambda x, y, g: torch.tensor(0.3), "is not right"),
        (lambda x, y, g: F.cross_entropy(x, y, reduction="none"), "expected one number"),
    ],
)
def test_a_wrong_focal_loss_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.focal(answer)
