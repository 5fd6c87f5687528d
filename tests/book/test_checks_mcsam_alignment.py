"""Chapter 06's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import mcsam_alignment as checks

# --- 6.1 --------------------------------------------------------------------------------------------------------------


def scaled(kernel, source, target, rounds):
    v = np.ones(len(target))
    for _ in range(rounds):
        u = source / (kernel @ v)
        v = target / (u @ kernel)
    return u[:, None] * kernel * v


def solved_sinkhorn(cost, source, target, epsilon, rounds):
    return scaled(np.exp(-cost / epsilon), source, target, rounds)


def columns_first(cost, source, target, epsilon, rounds):
    return scaled(np.exp(-cost.T / epsilon), target, source, rounds).T


def at_once(cost, source, target, epsilon, rounds):
    kernel, u, v = np.exp(-cost / epsilon), np.ones(len(source)), np.ones(len(target))
    for _ in range(rounds):
        u, v = source / (kernel @ v), target / (u @ kernel)
    return u[:, None] * kernel * v


def in_logarithms(cost, source, target, epsilon, rounds):
    cost, source, target = (torch.from_numpy(part) for part in (cost, source, target))
    g = torch.zeros(len(target), dtype=torch.float64)
    for _ in range(rounds):
        f = source.log() - (g - cost / epsilon).logsumexp(1)
        g = target.log() - (f[:, None] - cost / epsilon).logsumexp(0)
    return (f[:, None] + g - cost / epsilon).exp()


@pytest.mark.exercise("6.1", "right")
@pytest.mark.parametrize("answer", [solved_sinkhorn, in_logarithms])
def test_every_right_transport_passes(answer):
    checks.sinkhorn(answer)


@pytest.mark.exercise("6.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda c, a, b, e, n: scaled(np.exp(c / e), a, b, n), "prefers what is dear"),
        (lambda c, a, b, e, n: scaled(np.exp(-c), a, b, n), "does not know ε"),
        (lambda c, a, b, e, n: scaled(np.exp(-c * e), a, b, n), "multiplied by ε"),
        (lambda c, a, b, e, n: np.exp(-c / e), "before it is scaled"),
        (lambda c, a, b, e, n: solved_sinkhorn(c, a, b, e, 1), "one round only"),
        (
            lambda c, a, b, e, n: np.exp(-c / e) / np.exp(-c / e).sum(1, keepdims=True) * a[:, None],
            "not yet a transport",
        ),
        (lambda c, a, b, e, n: np.exp(-c / e) / np.exp(-c / e).sum(0) * b, "rows not to `source`"),
        (
            lambda c, a, b, e, n: solved_sinkhorn(c, np.full(len(a), 1 / len(a)), np.full(len(b), 1 / len(b)), e, n),
            "equal masses",
        ),
        (columns_first, "columns are scaled first"),
        (at_once, "at the same time"),
        (lambda c, a, b, e, n: solved_sinkhorn(c, a, b, e, 500), "three rounds were asked for"),
        (lambda c, a, b, e, n: solved_sinkhorn(c, a, b, e, n - 1), "one round is missing"),
        (lambda c, a, b, e, n: solved_sinkhorn(c, a, b, e, 2), "not always two"),
        (lambda c, a, b, e, n: solved_sinkhorn(c, np.ones(len(a)), np.ones(len(b)), e, n), "masses of 1"),
        (lambda c, a, b, e, n: np.outer(a, b), "cost plays no role"),
        (lambda c, a, b, e, n: solved_sinkhorn(c, a, b, e, n).T, "shape"),
        (lambda c, a, b, e, n: np.zeros_like(c), "differs from the library"),
        (lambda c, a, b, e, n: np.full_like(c, np.nan), "not finite"),
        (lambda c, a, b, e, n: None, "it returns nothing"),
    ],
)
def test_a_wrong_transport_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.sinkhorn(answer)


# --- 6.2 --------------------------------------------------------------------------------------------------------------


def solved_recall(states, patterns, beta):
    return (beta * states @ patterns.T).softmax(-1) @ patterns


def state_by_state(states, patterns, beta):
    return torch.stack([patterns.T @ torch.softmax(beta * patterns @ state, 0) for state in states])


def cosine_recall(states, patterns, beta):
    return (beta * F.normalize(states, dim=-1) @ F.normalize(patterns, dim=-1).T).softmax(-1) @ patterns


@pytest.mark.exercise("6.2", "right")
@pytest.mark.parametrize("answer", [solved_recall, state_by_state])
def test_every_right_recall_passes(answer):
    checks.recall(answer)


@pytest.mark.exercise("6.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s, p, b: solved_recall(s, p, 1.0), "β is missing"),
        (lambda s, p, b: solved_recall(s, p, 1 / b), "divided by β"),
        (lambda s, p, b: (b * s @ p.T).softmax(0) @ p, "over the patterns"),
        (lambda s, p, b: b * s @ p.T @ p, "no softmax"),
        (lambda s, p, b: solved_recall(s, p, b / math.sqrt(s.shape[-1])), "too many"),
        (lambda s, p, b: p[(s @ p.T).argmax(-1)], "only the best pattern"),
        (lambda s, p, b: s + solved_recall(s, p, b), "the state is added"),
        (lambda s, p, b: solved_recall(solved_recall(s, p, b), p, b), "two steps"),
        (lambda s, p, b: F.normalize(solved_recall(s, p, b), dim=-1), "normalised"),
        (lambda s, p, b: b * (s @ p.T).softmax(-1) @ p, "after the softmax"),
        (lambda s, p, b: solved_recall(s, p, 1 / math.sqrt(s.shape[-1])), "in place of β"),
        (cosine_recall, "these are cosines"),
        (lambda s, p, b: (-b * torch.cdist(s, p)).softmax(-1) @ p, "these are distances"),
        (lambda s, p, b: torch.zeros_like(s), "differs from softmax"),
        (lambda s, p, b: (b * s @ p.T).softmax(-1), "shape"),
    ],
)
def test_a_wrong_recall_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.recall(answer)


# --- 6.3 --------------------------------------------------------------------------------------------------------------


def one_way(visual, report, temperature):
    return F.cross_entropy(visual @ report.T / temperature, torch.arange(len(visual)))


def solved_contrastive(visual, report, temperature):
    return (one_way(visual, report, temperature) + one_way(report, visual, temperature)) / 2


def written_out(visual, report, temperature):
    odds = (visual.double() @ report.double().T / temperature).exp()
    return float(-(odds.diag() / odds.sum(1)).log().mean() / 2 - (odds.diag() / odds.sum(0)).log().mean() / 2)


def without_the_own(visual, report, temperature):
    odds = (visual @ report.T / temperature).exp()
    others = odds - odds.diag().diag()
    return -((odds.diag() / others.sum(1)).log() + (odds.diag() / others.sum(0)).log()).mean() / 2


def softmax_twice(visual, report, temperature):
    scores, own = visual @ report.T / temperature, torch.arange(len(visual))
    return (F.cross_entropy(scores.softmax(1), own) + F.cross_entropy(scores.T.softmax(1), own)) / 2


def first_is_partner(scores):
    nobody = torch.zeros(len(scores), dtype=torch.long)
    return (F.cross_entropy(scores, nobody) + F.cross_entropy(scores.T, nobody)) / 2


@pytest.mark.exercise("6.3", "right")
@pytest.mark.parametrize("answer", [solved_contrastive, written_out])
def test_every_right_contrastive_loss_passes(answer):
    checks.contrastive(answer)


@pytest.mark.exercise("6.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (one_way, "only the images look"),
        (lambda v, r, t: one_way(r, v, t), "only the reports look"),
        (lambda v, r, t: 2 * solved_contrastive(v, r, t), "ways are added"),
        (lambda v, r, t: len(v) * solved_contrastive(v, r, t), "studies are added"),
        (lambda v, r, t: -solved_contrastive(v, r, t), "the sign"),
        (lambda v, r, t: solved_contrastive(v, r, 1.0), "temperature is missing"),
        (lambda v, r, t: solved_contrastive(v, r, 1 / t), "multiplied by the temperature"),
        (lambda v, r, t: (1 - (v * r).sum(-1)).mean(), "direct alignment"),
        (without_the_own, "own partner is missing"),
        (softmax_twice, "softmax twice"),
        (lambda v, r, t: first_is_partner(v @ r.T / t), "the first study"),
        (
            lambda v, r, t: -((v @ r.T / t).softmax(0).diag() + (v @ r.T / t).softmax(1).diag()).mean() / 2,
            "logarithm is missing",
        ),
        (
            lambda v, r, t: -((v @ r.T / t).log_softmax(0) + (v @ r.T / t).log_softmax(1)).mean() / 2,
            "only the diagonal",
        ),
        (lambda v, r, t: 1.0, "differs from the library"),
        (lambda v, r, t: v @ r.T, "shape"),
    ],
)
def test_a_wrong_contrastive_loss_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.contrastive(answer)


# --- 6.4 --------------------------------------------------------------------------------------------------------------


def attend(query, keys, values, mask):
    return F.scaled_dot_product_attention(query, keys, values, mask)


def joined(first, own):
    return torch.cat([first.expand(len(own), -1, -1, -1), own], dim=2)


def solved_prefix(query, keys, values, mask, first_keys, first_values):
    return attend(
        query, joined(first_keys, keys), joined(first_values, values), F.pad(mask, (first_keys.shape[1], 0), value=True)
    )


def prefix_last(query, keys, values, mask, first_keys, first_values):
    batch = len(keys)
    k, v = (
        torch.cat([own, first.expand(batch, -1, -1, -1)], 2)
        for first, own in ((first_keys, keys), (first_values, values))
    )
    return attend(query, k, v, F.pad(mask, (0, first_keys.shape[1]), value=True))


@pytest.mark.exercise("6.4", "right")
@pytest.mark.parametrize("answer", [solved_prefix, prefix_last])
def test_every_right_prefix_passes(answer):
    checks.prefix_attention(answer)


def with_mask(change):
    return lambda q, k, v, m, fk, fv: attend(q, joined(fk, k), joined(fv, v), change(m, fk.shape[1]))


def open_to(mask, first):
    return F.pad(mask, (first.shape[1], 0), value=True)


def scores_of(query, keys, first):
    return query @ joined(first, keys).transpose(-2, -1) / math.sqrt(query.shape[-1])


def filled(change, value):
    return lambda q, k, v, m, fk, fv: (
        scores_of(q, k, fk).masked_fill(~change(m, fk.shape[1]), value).softmax(-1) @ joined(fv, v)
    )


def causal_over_all(mask, prefix):
    length = mask.shape[-1]
    return torch.ones(length, length + prefix, dtype=torch.bool).tril()


@pytest.mark.exercise("6.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda q, k, v, m, fk, fv: attend(q, k, v, m), "no influence"),
        (with_mask(lambda m, p: F.pad(m, (p, 0), value=False)), "no influence"),
        (with_mask(lambda m, p: F.pad(m, (0, p), value=True)), "pad the mask on the left"),
        (with_mask(causal_over_all), "step by step"),
        (with_mask(lambda m, p: torch.ones_like(F.pad(m, (p, 0)))), "see what comes after"),
        (lambda q, k, v, m, fk, fv: solved_prefix(q * math.sqrt(q.shape[-1]), k, v, m, fk, fv), "too sharp"),
        (
            lambda q, k, v, m, fk, fv: (
                attend(q, k, v, m) + attend(q, *(f.expand(len(q), -1, -1, -1) for f in (fk, fv)), None)
            ),
            "one softmax",
        ),
        (lambda q, k, v, m, fk, fv: solved_prefix(q, k, v, m, fk, fk), "values of its own"),
        (filled(lambda m, p: F.pad(~m, (p, 0), value=False), -torch.inf), "fill where it is False"),
        (filled(lambda m, p: F.pad(~m, (p, 0), value=False), -1e9), "the mask is the wrong way round"),
        (filled(lambda m, p: F.pad(~m, (p, 0), value=True), -1e9), "words' mask is the wrong way round"),
        (filled(lambda m, p: F.pad(m, (p, 0), value=True), 0.0), "not silence"),
        (
            lambda q, k, v, m, fk, fv: (scores_of(q, k, fk) + open_to(m, fk)).softmax(-1) @ joined(fv, v),
            "added as numbers",
        ),
        (
            lambda q, k, v, m, fk, fv: (scores_of(q, k, fk).softmax(-1) * open_to(m, fk)) @ joined(fv, v),
            "after the softmax",
        ),
        (lambda q, k, v, m, fk, fv: solved_prefix(q / math.sqrt(q.shape[-1]), k, v, m, fk, fv), "too flat"),
        (
            lambda q, k, v, m, fk, fv: attend(
                q, joined(fk, k), torch.cat([v, joined(fv, v)[:, :, : fv.shape[1]]], 2), open_to(m, fk)
            ),
            "different orders",
        ),
        (lambda q, k, v, m, fk, fv: solved_prefix(q, v, k, m, fv, fk), "exchanged"),
        (lambda q, k, v, m, fk, fv: torch.zeros_like(q), "differ from attention"),
        (lambda q, k, v, m, fk, fv: attend(q, joined(fk, k), joined(fv, v), m), "it stops with RuntimeError"),
    ],
)
def test_a_wrong_prefix_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.prefix_attention(answer)


# --- 6.5: what the bank gives -----------------------------------------------------------------------------------------


def counts(rise, before, after):
    return rise.mean() > 2 * rise.std() / math.sqrt(len(rise))


def changed(
    loss,
    values,
    *,
    exchange=lambda v: v.roll(1, 0),
    empty=torch.zeros_like,
    mean=torch.mean,
    sign=1,
    subtract=True,
    counts=counts,
    read=None,
):
    """The right answer unless told otherwise."""
    before, after = loss(values), [loss(exchange(values)), loss(empty(values))]
    rises = [part - before for part in after]
    matter = [bool(counts(rise, before, part)) for rise, part in zip(rises, after, strict=True)]
    means = [sign * mean(rise if subtract else part).item() for rise, part in zip(rises, after, strict=True)]
    return means, (read or read_rightly)(matter, means)


def read_rightly(matter, means):
    return "which slot" if matter[0] else "one answer" if matter[1] else "nothing"


def by_lists(loss, values):
    """Slot by slot and study by study."""
    exchanged = torch.stack([values[k - 1] for k in range(len(values))])
    before, *after = (loss(part).tolist() for part in (values, exchanged, 0 * values))
    means, matter = [], []
    for losses in after:
        rise = [b - a for a, b in zip(before, losses, strict=True)]
        mean = sum(rise) / len(rise)
        variance = sum((one - mean) ** 2 for one in rise) / (len(rise) - 1)
        means.append(mean)
        matter.append(mean > 2 * (variance / len(rise)) ** 0.5)
    return tuple(means), "nothing" if not any(matter) else "which slot" if matter[0] else "one answer"


def by_indices(loss, values):
    rises = torch.stack([loss(values[[-1, *range(len(values) - 1)]]), loss(torch.zeros(values.shape))]) - loss(
        values
    )  # (2, n)
    matter = rises.mean(1) / (rises.var(1) / rises.shape[1]).sqrt() > 2
    return rises.mean(1), "which slot" if matter[0] else ("nothing", "one answer")[int(matter[1])]


def alike(values):
    return values.mean(0, keepdim=True).expand_as(values)


def unpaired(rise, before, after):
    return rise.mean() > 2 * ((before.var() + after.var()) / len(rise)).sqrt()


def larger(matter, means):
    return "nothing" if not any(matter) else "which slot" if means[0] > means[1] else "one answer"


def both_or_one(matter, means):
    return "which slot" if all(matter) else "one answer" if matter[1] else "nothing"


def larger_without_error(matter, means):
    return "which slot" if means[0] > means[1] else "one answer" if matter[1] else "nothing"


@pytest.mark.exercise("6.5", "right")
@pytest.mark.parametrize("answer", [by_lists, by_indices, changed])
def test_a_right_reading_of_a_bank_passes(answer):
    checks.what_the_bank_gives(answer)


@pytest.mark.exercise("6.5", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(changed, exchange=lambda v: v.roll(-1, 0)), "the slot *before* it"),
        (partial(changed, exchange=lambda v: v.roll(1, 1)), "exchange whole slots"),
        (partial(changed, exchange=alike), "every slot keeps an answer"),
        (partial(changed, empty=alike), "still is an answer"),
        (partial(changed, empty=torch.ones_like), "not of 1"),
        (partial(changed, exchange=torch.zeros_like, empty=lambda v: v.roll(1, 0)), "the rises are exchanged"),
        (partial(changed, subtract=False), "these are losses"),
        (partial(changed, sign=-1), "the sign"),
        (partial(changed, mean=torch.sum), "are added up: take their mean"),
        (partial(changed, counts=lambda rise, *_: rise.mean() > 0), "any rise counts for you"),
        (
            partial(changed, counts=lambda rise, *_: rise.mean() > rise.std() / len(rise) ** 0.5),
            "you took one standard error",
        ),
        (partial(changed, counts=lambda rise, *_: rise.mean() > 2 * rise.std()), "divide by √n"),
        (partial(changed, counts=unpaired), "that of their *differences*"),
        (partial(changed, read=lambda matter, _: "which slot" if matter[1] else "nothing"), "when it is taken away"),
        (partial(changed, read=larger), "whether or not the other is larger"),
        (partial(changed, read=lambda matter, _: "which slot" if matter[0] else "nothing"), "one answer for all"),
        (
            partial(
                changed, read=lambda matter, _: "one answer" if matter[1] else "which slot" if matter[0] else "nothing"
            ),
            "the first rise decides",
        ),
        (partial(changed, read=both_or_one), "decides alone"),
        (partial(changed, read=larger_without_error), "need not count"),
        (
            partial(changed, counts=lambda rise, *_: abs(rise.mean()) > 2 * rise.std() / len(rise) ** 0.5),
            "a fall is no rise",
        ),
        (lambda *given: (*changed(*given)[0], changed(*given)[1]), "3 things in a row"),
        (partial(changed, read=lambda *_: "one answer"), "do not support 'one answer'"),
        (lambda *_: ((0.4, 0.2), "which slot"), "is not right"),
        (lambda *_: ((0.4, float("nan")), "which slot"), "is not right"),
        (lambda loss, values: (loss(values.mean(0)), "nothing"), "one row of values for each slot"),
        (lambda loss, values: (loss(values.tolist()), "nothing"), "loss was given a list"),
        (lambda loss, values: (loss(values), "nothing"), "2 are asked for"),
        (lambda loss, values: changed(loss, values)[1], "it returns a str; return two things"),
        (lambda loss, values: changed(loss, values)[::-1], "in this order"),
        (lambda loss, values: (0.4, "nothing"), "can't be read as numbers"),
        (lambda loss, values: (changed(loss, values)[0], "topics"), "'topics' is none of the reasons"),
        (lambda loss, values: (changed(loss, values)[0], ["nothing"]), "is none of the reasons"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_reading_of_a_bank_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.what_the_bank_gives(answer)


@pytest.mark.parametrize("other", range(12))
def test_every_reading_is_asked_for_twice_and_a_biased_spread_reads_the_same(other):
    said = []
    for loss, values in checks._banks(other):
        said.append(changed(loss, values)[1])
        biased = changed(
            loss, values, counts=lambda rise, *_: rise.mean() > 2 * rise.std(correction=0) / len(rise) ** 0.5
        )
        assert biased[1] == said[-1]
    assert min(said.count(reason) for reason in checks.REASONS) >= 2
    with pytest.raises(CheckError):
        checks.what_the_bank_gives(partial(changed, counts=lambda rise, *_: rise.mean() > 0), other=other)


def test_exchanging_whole_slots_would_show_nothing():
    """Keys and values moved together are the same bank: the control has to move the values alone."""
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (
        torch.randn(3, 4, generator=generator),
        torch.randn(6, 4, generator=generator),
        torch.randn(6, 4, generator=generator),
    )
    read = lambda k, v: (query @ k.T).softmax(-1) @ v  # noqa: E731
    torch.testing.assert_close(read(keys.roll(1, 0), values.roll(1, 0)), read(keys, values))
    assert (read(keys, values.roll(1, 0)) - read(keys, values)).abs().max() > 0.1
