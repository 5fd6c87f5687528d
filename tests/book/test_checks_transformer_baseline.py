"""Chapter 03's checks: the solved form passes, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import transformer_baseline as checks


def attention(scale: Callable[[int, int], float] = lambda d_k, h: d_k**-0.5, axis: int = -1, mask_how: str = "before"):
    def answer(query, keys, values, mask=None):
        scores = query @ keys.transpose(-2, -1) * scale(query.shape[-1], query.shape[1])
        if mask is not None and mask_how in ("before", "inverted"):
            scores = scores.masked_fill(~mask if mask_how == "before" else mask, -torch.inf)
        if mask is not None and mask_how == "zero":
            scores = scores.masked_fill(~mask, 0.0)
        weights = scores.softmax(axis)
        return (weights * mask if mask is not None and mask_how == "after" else weights) @ values

    return answer


def norm(correction: int = 1, where: str = "std", axis: int = -1, affine: bool = True):
    def answer(x, weight, bias, eps=1e-6):
        mean, std = x.mean(axis, keepdim=True), x.std(axis, keepdim=True, correction=correction)
        y = (x - mean) / {"std": std + eps, "root": (std**2 + eps).sqrt(), "none": std, "square": std**2 + eps}[where]
        return y * weight + bias if affine else y

    return answer


def mask(diagonal: int = 0, padding: bool = True, begin: bool = True, upper: bool = False):
    def answer(tokens):
        visible = tokens > 0 if padding else torch.ones_like(tokens, dtype=torch.bool)
        if begin:
            visible[:, 0] = True
        square = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
        return (visible[:, None] & (square.triu(diagonal) if upper else square.tril(diagonal)))[:, None]

    return answer


def loss(weight: str = "mask", shift: bool = True, mean: str = "words"):
    def answer(logits, tokens, mask):
        targets = tokens[:, 1:] if shift else tokens[:, :-1]
        each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        w = {"mask": mask[:, 1:], "none": torch.ones_like(each), "words": (tokens[:, 1:] > 0).float()}[weight]
        if mean == "reports":
            return ((each * w).sum(1) / w.sum(1)).mean()
        return (each * w).sum() / {"all": w.numel(), "begin": mask.sum()}.get(mean, w.sum())

    return answer


def end_mark_seen(tokens):
    visible = tokens > 0
    ends = visible.sum(1) + 1  # position 0 and the words stand before it
    visible[:, 0] = True
    for row, end in zip(visible, ends.tolist(), strict=True):
        row[end : end + 1] = True
    return (visible[:, None] & torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril())[:, None]


def greedy(end: str = "stop", feed: bool = True, first: float = 0, limit: int = 0, keep: bool = True):
    def answer(generator, patches, max_length):
        state, last, words = generator.start(patches, max_length=max_length), torch.full((1, 1), first), []
        while len(words) < max_length + limit:
            logits, following = generator.step(last, state)
            state = following if keep else state
            word = logits.argmax(-1)
            if end == "stop" and word.item() == 0:
                break
            words.append(word.item())
            if end == "keep" and word.item() == 0:
                break
            last = word if feed else last
        return words

    return answer


def wu(shift: int = 5, end_mark: bool = True, power: bool = True, multiply: bool = False):
    def answer(words, total, alpha):
        penalty = ((shift + len(words) - (not end_mark)) / (shift + 1)) ** (alpha if power else 1)
        return total * penalty if multiply else total / penalty

    return answer


@pytest.mark.exercise("3", "right")
@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (checks.scaled_attention, attention()),
        (checks.scaled_attention, lambda q, k, v, mask=None: F.scaled_dot_product_attention(q, k, v, mask)),
        (checks.released_norm, norm()),
        (checks.causal_mask, mask()),
        (checks.report_loss, loss()),
        (checks.greedy_search, greedy()),
        (checks.wu_score, wu()),
    ],
)
def test_a_right_answer_passes(check, answer):
    check(answer)


@pytest.mark.exercise("3", "wrong")
@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (checks.scaled_attention, attention(scale=lambda d_k, h: 1.0), "not scaled"),
        (checks.scaled_attention, attention(scale=lambda d_k, h: 1 / d_k), "divided by d_k"),
        (checks.scaled_attention, attention(scale=lambda d_k, h: (h * d_k) ** -0.5), "all heads together"),
        (checks.scaled_attention, attention(axis=-2), "runs over the queries"),
        (checks.scaled_attention, attention(scale=lambda d_k, h: 1 / 8), "the root is that of 64"),
        (checks.scaled_attention, attention(mask_how="zero"), "exp(0) is 1"),
        (checks.released_norm, lambda x, w, b, eps: norm()(x, torch.ones_like(w), b, eps), "the weight is left out"),
        (checks.released_norm, lambda x, w, b, eps: norm()(x, w, torch.zeros_like(b), eps), "the bias is left out"),
        (checks.released_norm, norm(where="square"), "the root is missing"),
        (
            checks.causal_mask,
            lambda t: mask()(t) & mask()(t)[:, :, -1:].transpose(-1, -2),
            "rows of padding are hidden too",
        ),
        (checks.causal_mask, lambda t: mask()(t) | torch.eye(t.shape[1], dtype=torch.bool), "not even by itself"),
        (checks.causal_mask, end_mark_seen, "the end mark can be looked at"),
        (checks.report_loss, loss(mean="begin"), "the begin mark is counted"),
        (checks.greedy_search, lambda *given: [torch.tensor(word) for word in greedy()(*given)], "are tensors"),
        (checks.greedy_search, greedy(first=0.0), "takes a tensor of ids"),
        (checks.greedy_search, greedy(keep=False), "the first state was used again"),
        (checks.wu_score, lambda words, total, alpha: total / (5 + len(words) / 6) ** alpha, "the brackets"),
        (checks.wu_score, lambda words, total, alpha: total / ((5 + len(words)) ** alpha / 6), "under the power too"),
        (checks.wu_score, lambda words, total, alpha: ((5 + len(words)) / 6) ** alpha, "the penalty itself"),
        (checks.wu_score, lambda words, total, alpha: math.exp(total) / ((5 + len(words)) / 6) ** alpha, "no exp"),
        (checks.scaled_attention, attention(mask_how="ignored"), "the mask is not used"),
        (checks.scaled_attention, attention(mask_how="inverted"), "upside down"),
        (checks.scaled_attention, attention(mask_how="after"), "after the softmax"),
        (checks.released_norm, norm(correction=0), "divides by d - 1"),
        (checks.released_norm, norm(where="root"), "under the root"),
        (checks.released_norm, norm(where="none"), "eps is missing"),
        (checks.released_norm, norm(axis=1), "over the sequence"),
        (checks.released_norm, norm(affine=False), "weight and bias are left out"),
        (
            checks.released_norm,
            lambda x, w, b, eps=1e-6: F.layer_norm(x, x.shape[-1:], w, b, eps),
            "this is nn.LayerNorm",
        ),
        (checks.causal_mask, mask(diagonal=-1), "may look at itself"),
        (checks.causal_mask, mask(diagonal=1), "the word after it"),
        (checks.causal_mask, mask(upper=True), "looks into the future"),
        (checks.causal_mask, mask(padding=False), "padding can be looked at"),
        (checks.causal_mask, mask(begin=False), "the begin mark is hidden"),
        (checks.causal_mask, lambda tokens: mask()(tokens)[:, 0], "add an axis"),
        (checks.causal_mask, lambda tokens: mask()(tokens).float(), "Return True and False"),
        (checks.causal_mask, lambda tokens: ~mask()(tokens), "upside down"),
        (checks.report_loss, loss(weight="none"), "runs over the padding"),
        (checks.report_loss, loss(mean="all"), "counted in the number you divide by"),
        (checks.report_loss, loss(weight="words"), "the end mark is forgotten"),
        (checks.report_loss, loss(shift=False), "its own input"),
        (checks.report_loss, loss(mean="reports"), "mean of the reports' means"),
        (checks.report_loss, lambda *inputs: -loss()(*inputs), "the sign is wrong"),
        (checks.greedy_search, greedy(end="ignore"), "goes on after the end mark"),
        (checks.greedy_search, greedy(end="keep"), "the end mark is part"),
        (checks.greedy_search, greedy(feed=False), "feed the word that was said last"),
        (checks.greedy_search, greedy(first=1), "begins with 0"),
        (checks.greedy_search, greedy(limit=3), "after max_length words"),
        (checks.greedy_search, greedy(limit=-1), "it stops after"),
        (checks.wu_score, wu(end_mark=False), "the end mark is not counted"),
        (checks.wu_score, wu(multiply=True), "multiplied"),
        (checks.wu_score, lambda words, total, alpha: total / len(words), "plain mean"),
        (checks.wu_score, wu(shift=0), "it is length"),
        (checks.wu_score, wu(power=False), "alpha is not used"),
    ],
)
def test_a_usual_mistake_gets_its_own_hint(check, answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        check(answer)


# --- 3.7: why a report is likelier ------------------------------------------------------------------------------------


def larger(words, length):
    return "none" if words + length <= 0 else "words" if words > length else "length"


def study_by_study(totals_a, lengths_a, totals_b, lengths_b):
    """Both orders of changing one thing after the other, halved."""
    words, length = [], []
    for a, n, b, m in zip(*(part.tolist() for part in (totals_a, lengths_a, totals_b, lengths_b)), strict=True):
        p, q = a / n, b / m
        words.append(((q - p) * n + (q - p) * m) / 2)
        length.append(((m - n) * q + (m - n) * p) / 2)
    return [np.mean(words), np.mean(length)], larger(np.mean(words), np.mean(length))


def as_the_rest(totals_a, lengths_a, totals_b, lengths_b):
    """One part measured, the other one what is left of the gain."""
    words = (0.5 * (totals_b / lengths_b - totals_a / lengths_a) * (lengths_a + lengths_b)).mean()
    parts = torch.stack([words, (totals_b - totals_a).mean() - words])
    return parts, "none" if parts.sum() < 0 else ("words", "length")[parts.argmax()]


def changed(
    totals_a,
    lengths_a,
    totals_b,
    lengths_b,
    *,
    words_at=(0.5, 0.5),
    length_at=(0.5, 0.5),
    factor=1.0,
    total=False,
    first=False,
    reason=larger,
):
    """The right answer unless told otherwise: where between A and B the other quantity stands, in each part."""
    if first:
        totals_a, lengths_a, totals_b, lengths_b = (
            part.double().mean()[None] for part in (totals_a, lengths_a, totals_b, lengths_b)
        )
    p, q = totals_a / lengths_a, totals_b / lengths_b
    words = (q - p) * (words_at[0] * lengths_a + words_at[1] * lengths_b)
    length = (lengths_b - lengths_a) * (length_at[0] * p + length_at[1] * q)
    words, length = (factor * (part.sum() if total else part.mean()).item() for part in (words, length))
    return (words, length), reason(words, length)


def a_word_and_words(totals_a, lengths_a, totals_b, lengths_b):
    words, length = (totals_b / lengths_b - totals_a / lengths_a).mean(), (lengths_b - lengths_a).double().mean()
    return (words, length), larger(words, length)


def by_majority(*inputs):
    (words, length), reason = changed(*inputs)
    studies = [changed(*(part[i][None] for part in inputs))[0] for i in range(len(inputs[0]))]
    often = sum(w > n for w, n in studies) > len(studies) / 2
    return (words, length), reason if reason == "none" else "words" if often else "length"


def likelier_in_most(totals_a, lengths_a, totals_b, lengths_b):
    (words, length), _ = changed(totals_a, lengths_a, totals_b, lengths_b)
    rarely = (totals_b > totals_a).double().mean() < 0.5
    return (words, length), "none" if rarely else "words" if words > length else "length"


def unless_none(choose):
    return lambda words, length: "none" if words + length <= 0 else choose(words, length)


@pytest.mark.exercise("3.7", "right")
@pytest.mark.parametrize("answer", [study_by_study, as_the_rest, changed])
def test_a_right_explanation_passes(answer):
    checks.why_likelier(answer)


@pytest.mark.exercise("3.7", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda *inputs: (changed(*inputs)[0][::-1], changed(*inputs)[1]), "the two parts are exchanged"),
        (lambda a, n, b, m: changed(b, m, a, n), "you took what A has more"),
        (partial(changed, total=True), "are added up: take their mean"),
        (partial(changed, factor=2.0), "it is twice the gain"),
        (partial(changed, words_at=(1, 0), length_at=(1, 0)), "both parts start at A"),
        (partial(changed, words_at=(0, 1), length_at=(0, 1)), "both parts start at B"),
        (partial(changed, words_at=(0, 1), length_at=(1, 0)), "the length changed first"),
        (partial(changed, words_at=(1, 0), length_at=(0, 1)), "the words changed first"),
        (a_word_and_words, "is no gain of a report"),
        (partial(changed, first=True), "the studies were averaged before"),
        (partial(changed, reason=lambda w, n: "words" if w > n else "length"), "there is no gain to explain"),
        (partial(changed, reason=lambda w, n: "words" if abs(w) > abs(n) else "length"), "however large a part is"),
        (
            partial(changed, reason=unless_none(lambda w, n: "length" if n > 0 else "words")),
            "fewer words, or a part above 0",
        ),
        (
            partial(changed, reason=unless_none(lambda w, n: "words" if w > 0 else "length")),
            "better words are not enough",
        ),
        (partial(changed, reason=unless_none(lambda w, n: "words" if w < n else "length")), "the wrong way round"),
        (by_majority, "not the number of studies in which a part is larger"),
        (likelier_in_most, "not the number of studies in which it is"),
        (partial(changed, reason=lambda w, n: "length"), "do not support 'length'"),
        (lambda *_: ((0.5, 1.0), "length"), "is not right"),
        (lambda *_: ((float("nan"), 1.0), "length"), "is not right"),
        (lambda *inputs: changed(*inputs)[0], "the reason is missing"),
        (lambda *inputs: changed(*inputs)[1], "it returns a str; return two things"),
        (lambda *inputs: changed(*inputs)[::-1], "in this order"),
        (lambda *inputs: (1.5, "length"), "can't be read as numbers"),
        (lambda a, n, b, m: (torch.stack([b - a, b - a]), "length"), "can't be read as numbers"),
        (lambda a, n, b, m: ((b - a), "length"), "are asked for"),
        (lambda *inputs: (changed(*inputs)[0], "brevity"), "'brevity' is none of the reasons"),
        (lambda *inputs: (changed(*inputs)[0], None), "None is none of the reasons"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_explanation_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_likelier(answer)


@pytest.mark.parametrize("other", range(20))
def test_every_explanation_is_asked_for_twice_and_the_parts_add_up_to_the_gain(other):
    said = []
    for case in checks._searches(other):
        (words, length), reason = study_by_study(*case)
        assert words + length == pytest.approx((case[2] - case[0]).mean().item())
        assert abs(words - length) > 0.1 and abs(words + length) > 0.1 and (case[2] < 0).all()
        said.append(reason)
    assert min(said.count(reason) for reason in checks.REASONS) >= 2
    with pytest.raises(CheckError):
        checks.why_likelier(partial(changed, words_at=(0, 1), length_at=(1, 0)), other=other)
