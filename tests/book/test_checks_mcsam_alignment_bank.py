"""Exercise 6.5's check: right answers pass, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import math
import re
from functools import partial

import pytest
import torch

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import mcsam_alignment_bank as checks


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
def test_a_right_answer_passes(answer):
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
def test_a_wrong_answer_is_told_what_is_wrong(answer, hint):
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
