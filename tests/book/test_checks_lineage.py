"""Chapter 11's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import lineage as checks

# --- 11.1 -------------------------------------------------------------------------------------------------------------


def even(patches):
    return patches.mean(1, keepdim=True).expand_as(patches)


def read(moved, evened, tiny=1e-3):
    return "the places" if moved > tiny else "the set" if evened > tiny else "the mean"


def seen(
    write, patches, order=lambda p: p.roll(1, 1), mean=even, size=lambda change: change.abs().max().item(), reason=read
):
    """A right answer, or with a part exchanged a wrong one."""
    as_is = write(patches)
    numbers = tuple(size(write(change(patches)) - as_is) for change in (order, mean))
    return numbers, reason(*numbers)


def in_numpy(write, patches):
    changes = [
        (write(other).numpy() - write(patches).numpy())
        for other in (torch.cat([patches[:, -1:], patches[:, :-1]], 1), 0 * patches + patches.mean(1)[:, None])
    ]
    moved, evened = (max(change.max(), -change.min()) for change in changes)
    return [moved, evened], "the mean" if max(moved, evened) < 1e-3 else "the set" if moved < 1e-3 else "the places"


@pytest.mark.exercise("11.1", "right")
@pytest.mark.parametrize("answer", [seen, in_numpy])
def test_every_right_reading_of_what_is_seen_passes(answer):
    checks.what_it_sees(answer)


@pytest.mark.exercise("11.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(seen, order=lambda p: p.roll(1, 0)), "the views changed places"),
        (partial(seen, order=lambda p: p.flatten(0, 1).roll(1, 0).view_as(p)), "from one view to the other"),
        (partial(seen, order=lambda p: p.roll(-1, 1)), "so that the last becomes the first"),
        (partial(seen, order=lambda p: p.roll(1)), "name the second axis"),
        (partial(seen, order=lambda p: p.roll(1, 2)), "whole patches change places"),
        (partial(seen, mean=lambda p: p.mean((0, 1), keepdim=True).expand_as(p)), "each view has a mean of its own"),
        (partial(seen, mean=lambda p: p.mean(2, keepdim=True).expand_as(p)), "mean of its own numbers"),
        (partial(seen, mean=torch.zeros_like), "were set to 0"),
        (partial(seen, size=lambda change: change.abs().mean().item()), "the largest is asked for"),
        (partial(seen, size=lambda change: change.max().item()), "a number that falls"),
        (partial(seen, order=even, mean=lambda p: p.roll(1, 1)), "the two changes are exchanged"),
        (partial(seen, reason=partial(read, tiny=0)), "a change below 1e-3 is none"),
        (
            partial(
                seen,
                reason=lambda a, b: "the mean" if max(a, b) < 1e-3 else "the places" if a > b else "the set",
            ),
            "the larger change does not decide",
        ),
        (partial(seen, reason=lambda a, b: "the set" if b > 1e-3 else "the mean"), "did not use the first change"),
        (partial(seen, reason=lambda a, b: "the places" if a > 1e-3 else "the mean"), "did not use the second change"),
        (
            partial(seen, reason=lambda a, b: "the set" if a > 1e-3 else "the places" if b > 1e-3 else "the mean"),
            "set and places are exchanged",
        ),
        (partial(seen, reason=lambda *_: "the set"), "do not support 'the set'"),
        (partial(seen, reason=lambda *_: "the pixels"), "is none of the reasons"),
        (lambda write, patches: seen(write, patches)[0], "the reason is missing"),
        (lambda write, patches: (write(patches[0]), "the set"), "all patches of all views"),
        (lambda write, patches: ((1.0, 2.0), "the set"), "is not right"),
    ],
)
def test_a_wrong_reading_of_what_is_seen_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.what_it_sees(answer)


@pytest.mark.parametrize("other", range(12))
def test_every_kind_is_asked_for_twice(other):
    said = [seen(write, patches)[1] for write, patches in checks._generators(other)]
    assert [said.count(reason) for reason in checks.REASONS] == [2, 2, 2]


# --- 11.2 -------------------------------------------------------------------------------------------------------------


def stepped(gates, seen, c, candidate=lambda a, b: torch.maximum(a, b), swap=(0, 1, 2), gate=torch.sigmoid):
    *three, one, two = gates.chunk(5, -1)
    i, f, o = (gate(three[place]) for place in swap)
    s, t = seen.chunk(2, -1)
    c = f * c + i * candidate(one + s, two + t)
    return o * c.tanh(), c


def unit_by_unit(gates, seen, c):
    d = c.shape[1]
    i, f, o = gates[:, : 3 * d].sigmoid().split(d, 1)
    c = f * c + i * (gates[:, 3 * d :] + seen).view(-1, 2, d).max(1).values
    return [o * (2 * (2 * c).sigmoid() - 1), c]


def larger_first(gates, seen, c):
    """The larger of both candidates, and of what was seen, before they are added."""
    i, f, o, one, two = gates.chunk(5, -1)
    c = f.sigmoid() * c + i.sigmoid() * (torch.maximum(one, two) + torch.maximum(*seen.chunk(2, -1)))
    return o.sigmoid() * c.tanh(), c


def output_last(gates, seen, c):
    """As if the five stood in the order of 11.2's four."""
    i, f, one, two, o = gates.chunk(5, -1)
    return stepped(torch.cat([i, f, o, one, two], -1), seen, c)


@pytest.mark.exercise("11.2", "right")
@pytest.mark.parametrize("answer", [stepped, unit_by_unit])
def test_every_right_step_passes(answer):
    checks.maxout_step(answer)


@pytest.mark.exercise("11.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda gates, seen, c: stepped(gates, 0 * seen, c), "what was seen is missing"),
        (partial(stepped, candidate=lambda a, b: torch.maximum(a, b).tanh()), "has no tanh"),
        (lambda g, s, c: stepped(g, s[:, : c.shape[1]].repeat(1, 2), c), "its own half"),
        (lambda g, s, c: stepped(g, s.roll(c.shape[1], 1), c), "the halves of what was seen are exchanged"),
        (partial(stepped, candidate=torch.minimum), "the smaller of the two"),
        (partial(stepped, candidate=lambda a, b: a), "only the first candidate"),
        (partial(stepped, candidate=lambda a, b: b), "only the second candidate"),
        (partial(stepped, candidate=lambda a, b: (a + b) / 2), "the mean of the candidates"),
        (partial(stepped, candidate=torch.add), "the sum of the candidates"),
        (larger_first, "the larger of the two sums is taken after that"),
        (output_last, "the output gate is the third of the five"),
        (partial(stepped, swap=(1, 0, 2)), "input and forget gate are exchanged"),
        (partial(stepped, swap=(0, 2, 1)), "forget and output gate are exchanged"),
        (partial(stepped, gate=lambda x: x), "the gates are sums still"),
        (lambda g, s, c: (g.chunk(5, -1)[2].sigmoid() * stepped(g, s, c)[1], stepped(g, s, c)[1]), "times tanh"),
        (lambda g, s, c: (g.chunk(5, -1)[2].sigmoid() * c.tanh(), stepped(g, s, c)[1]), "made of the old cell"),
        (lambda g, s, c: stepped(g, s, c)[::-1], "state and cell are exchanged"),
        (lambda g, s, c: stepped(g, s, c)[0], "return two"),
        (lambda g, s, c: (c, c), "differ from the library"),
        (lambda g, s, c: (g, c), "shape"),
    ],
)
def test_a_wrong_step_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.maxout_step(answer)


# --- 11.3 -------------------------------------------------------------------------------------------------------------


@pytest.mark.exercise("11.3", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda gate, cell: torch.sigmoid(gate) * torch.tanh(cell),
        lambda gate, cell: torch.tanh(cell) / (1 + torch.exp(-gate)),
    ],
)
def test_every_right_sentinel_passes(answer):
    checks.sentinel(answer)


@pytest.mark.exercise("11.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda gate, cell: gate * cell.tanh(), "a sum still"),
        (lambda gate, cell: gate.sigmoid() * cell, "goes through tanh before the gate"),
        (lambda gate, cell: gate.tanh() * cell.tanh(), "between 0 and 1"),
        (lambda gate, cell: gate.sigmoid() * cell.sigmoid(), "the cell goes through tanh, the gate"),
        (lambda gate, cell: gate.tanh() * cell.sigmoid(), "logistic and tanh are exchanged"),
        (lambda gate, cell: gate.softmax(-1) * cell.tanh(), "not a softmax over units"),
        (lambda gate, cell: (1 - gate.sigmoid()) * cell.tanh(), "the wrong way round"),
        (lambda gate, cell: cell.tanh(), "the gate is missing"),
        (lambda gate, cell: cell, "differs"),
    ],
)
def test_a_wrong_sentinel_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.sentinel(answer)


def one_softmax(scores, own, patches, sentinel):
    weights = torch.cat([own[:, None], scores], 1).softmax(1)  # the sentinel first
    return (weights[..., None] * torch.cat([sentinel[:, None], patches], 1)).sum(1)


def by_exponentials(scores, own, patches, sentinel):
    a, b = scores.exp(), own.exp()
    return (torch.einsum("bs,bsd->bd", a, patches) + b[:, None] * sentinel) / (a.sum(1) + b)[:, None]


def mixed(scores, own, patches, sentinel, weigh):
    look, remember = weigh(scores, own)
    return (look[..., None] * patches).sum(1) + remember[:, None] * sentinel


def together(scores, own):
    weights = torch.cat([scores, own[:, None]], 1).softmax(1)
    return weights[:, :-1], weights[:, -1]


def sentinel_first(scores, own):
    weights = torch.cat([own[:, None], scores], 1).softmax(1)
    return weights[:, :-1], weights[:, -1]


@pytest.mark.exercise("11.3", "right")
@pytest.mark.parametrize("answer", [one_softmax, by_exponentials])
def test_every_right_way_to_look_or_remember_passes(answer):
    checks.look_or_remember(answer)


@pytest.mark.exercise("11.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(mixed, weigh=lambda s, o: (s.softmax(1), torch.ones_like(o))), "in the same softmax"),
        (partial(mixed, weigh=lambda s, o: (s.softmax(1), together(s, o)[1])), "sum to more than 1"),
        (partial(mixed, weigh=lambda s, o: (s.softmax(1), 0 * o)), "the sentinel is missing"),
        (partial(mixed, weigh=lambda s, o: (together(s, o)[0], 0 * o)), "took its share and says nothing"),
        (
            partial(mixed, weigh=lambda s, o: (s.softmax(1) * (1 - o.sigmoid())[:, None], o.sigmoid())),
            "a gate of its own",
        ),
        (partial(mixed, weigh=lambda s, o: (s.sigmoid(), o.sigmoid())), "not the logistic"),
        (partial(mixed, weigh=lambda s, o: (s, o)), "scores are used as weights"),
        (
            lambda s, o, p, m: mixed(
                s,
                o,
                p,
                m,
                lambda s, o: (
                    torch.cat([together(s, o)[0][:, 1:], together(s, o)[1][:, None]], 1),
                    together(s, o)[0][:, 0],
                ),
            ),
            "keep the order",
        ),
        (
            partial(mixed, weigh=lambda s, o: (torch.cat([s, o[:, None]], 1).softmax(0)[:, :-1], together(s, o)[1])),
            "over the studies",
        ),
        (partial(mixed, weigh=lambda s, o: (together(s, o)[0], torch.ones_like(o))), "the sentinel came in whole"),
        (partial(mixed, weigh=sentinel_first), "read as the last of it"),
        (lambda scores, own, patches, sentinel: sentinel, "differs from one softmax"),
        (lambda scores, own, patches, sentinel: patches, "shape"),
    ],
)
def test_a_wrong_way_to_look_or_remember_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.look_or_remember(answer)


# --- 11.4 -------------------------------------------------------------------------------------------------------------


def halves(gates, new, memory, rule):
    comes, stays = gates.sigmoid().chunk(2, -1)
    return rule(comes, stays, new, memory)


@pytest.mark.exercise("11.4", "right")
@pytest.mark.parametrize(
    "answer",
    [
        partial(halves, rule=lambda i, f, new, old: i * new.tanh() + f * old),
        lambda gates, new, memory: torch.addcmul(
            memory / (1 + (-gates[..., memory.shape[-1] :]).exp()),
            gates[..., : memory.shape[-1]].sigmoid(),
            torch.tanh(new),
        ),
    ],
)
def test_every_right_gate_passes(answer):
    checks.rewrite(answer)


@pytest.mark.exercise("11.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(halves, rule=lambda i, f, new, old: f * new.tanh() + i * old), "the gates are exchanged"),
        (partial(halves, rule=lambda i, f, new, old: i * new + f * old), "the candidate goes through tanh"),
        (partial(halves, rule=lambda i, f, new, old: i * new.tanh() + f * old.tanh()), "stays as it is"),
        (partial(halves, rule=lambda i, f, new, old: (i * new + f * old).tanh()), "not on the sum"),
        (lambda g, new, old: g.chunk(2, -1)[0] * new.tanh() + g.chunk(2, -1)[1] * old, "sums still"),
        (partial(halves, rule=lambda i, f, new, old: i * new.tanh() + (1 - i) * old), "need not sum to 1"),
        (partial(halves, rule=lambda i, f, new, old: (1 - f) * new.tanh() + f * old), "has its own half"),
        (partial(halves, rule=lambda i, f, new, old: i * new.tanh()), "nothing stays"),
        (partial(halves, rule=lambda i, f, new, old: i * new.tanh() + (1 - f) * old), "a forget gate of 1 keeps"),
        (partial(halves, rule=lambda i, f, new, old: i * new.tanh() + old), "nothing is forgotten"),
        (
            lambda g, new, old: g.softmax(-1).chunk(2, -1)[0] * new.tanh() + g.softmax(-1).chunk(2, -1)[1] * old,
            "not a softmax",
        ),
        (lambda g, new, old: old, "differs from the library"),
        (lambda g, new, old: g, "shape"),
    ],
)
def test_a_wrong_gate_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.rewrite(answer)


# --- 11.5 -------------------------------------------------------------------------------------------------------------


def moving(added):
    return (added - added.mean(0)).square().mean()


@pytest.mark.exercise("11.5", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda added: moving(added) / added.square().mean(),
        lambda added: 1 - added.mean(0).square().sum().item() * len(added) / added.square().sum().item(),
    ],
)
def test_every_right_share_passes(answer):
    checks.share_that_moves(answer)


@pytest.mark.exercise("11.5", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda added: added.mean(0).square().mean() / added.square().mean(), "the share that does not change"),
        (moving, "divide by that of the whole"),
        (lambda added: moving(added) / added.mean(0).square().mean(), "changing over fixed"),
        (lambda added: (moving(added) / added.square().mean()).sqrt(), "a ratio of lengths"),
        (lambda added: moving(added.T) / added.square().mean(), "over the units"),
        (lambda added: added.var(correction=0) / added.square().mean(), "one mean for all units"),
        (lambda added: added.var(0).mean() / added.square().mean(), "divide by n, not n - 1"),
        (lambda added: (added.var(0, correction=0) / added.square().mean(0)).mean(), "the mean of the units' shares"),
        (lambda added: added.diff(dim=0).square().mean() / added.square().mean(), "differences of neighbours"),
        (lambda added: 0.5, "is not right"),
        (lambda added: added, "one number"),
    ],
)
def test_a_wrong_share_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.share_that_moves(answer)


# --- 11.6 -------------------------------------------------------------------------------------------------------------


def apart(weigh, scores, size=lambda change: change.abs().amax((1, 2)), alone=lambda row: row[None]):
    """A right answer, or with a part exchanged a wrong one."""
    single = torch.cat([weigh(alone(row)).reshape(-1, *row.shape)[:1] for row in scores])
    return size(weigh(scores) - single)


def one_by_one(weigh, scores):
    together = weigh(scores)
    return [(together[i] - weigh(scores[i : i + 1])[0]).abs().max().item() for i in range(len(scores))]


@pytest.mark.exercise("11.6", "right")
@pytest.mark.parametrize("answer", [apart, one_by_one])
def test_every_right_reading_of_the_neighbours_passes(answer):
    checks.neighbours_change(answer)


@pytest.mark.exercise("11.6", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(apart, size=lambda change: change.amax((1, 2))), "a weight that falls has changed too"),
        (partial(apart, size=lambda change: change.abs().mean((1, 2))), "the mean change"),
        (partial(apart, size=lambda change: change.abs().sum((1, 2))), "the sum of the changes"),
        (partial(apart, size=lambda change: change.abs().max().expand(len(change))), "return one for each"),
        (partial(apart, alone=lambda row: row), "a study alone is a batch of one"),
        (lambda weigh, scores: (weigh(scores) - weigh(scores[:1])).abs().amax((1, 2)), "the first study alone"),
        (
            lambda weigh, scores: [(weigh(scores) - weigh(row[None])).abs().max().item() for row in scores],
            "compared with all studies",
        ),
        (
            lambda weigh, scores: apart(weigh, scores, alone=lambda row: row.expand(len(scores), *row.shape)),
            "a batch of copies",
        ),
        (lambda weigh, scores: torch.zeros(len(scores)), "are not right"),
        (lambda weigh, scores: apart(weigh, scores).max(), "returned shape"),
    ],
)
def test_a_wrong_reading_of_the_neighbours_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.neighbours_change(answer)
