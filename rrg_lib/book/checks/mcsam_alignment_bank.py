"""What exercise 6.5 calls. Silent when the answer is right; otherwise a `CheckError` that names the likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.explanations import compare, explanation

MEASURED = ("the rise with exchanged answers", "the rise without an answer")
REASONS = ("which slot", "one answer", "nothing")
Loss = Callable[[Tensor], Tensor]


def what_the_bank_gives(function: Callable[[Loss, Tensor], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """Exercise 6.5: a loss (N, d) -> (n,), values (N, d) -> the mean rises of the loss with each slot's answer taken
    from the slot before it and with no answer at all; and what they say of the bank."""
    name, cases = "what_the_bank_gives", _banks(other)
    found = [
        explanation(name, answered(name, function, loss, values.clone()), MEASURED, REASONS) for loss, values in cases
    ]
    losses = [
        [loss(changed) for changed in (values, values.roll(1, 0), torch.zeros_like(values))] for loss, values in cases
    ]
    rises = [(exchanged - trained, without - trained) for trained, exchanged, without in losses]
    right = [[rise.mean().item() for rise in pair] for pair in rises]

    def instead(change: Callable[[Tensor], Tensor], place: int) -> list[list[float]]:
        """The right rises, the one at `place` replaced by that of another change of the values."""
        changed = [(loss(change(values)) - loss(values)).mean().item() for loss, values in cases]
        return [[one, row[1]] if place == 0 else [row[0], one] for one, row in zip(changed, right, strict=True)]

    slips = {
        "each slot is to answer with the values of the slot *before* it; here it got those of the slot after "
        "it": instead(lambda v: v.roll(-1, 0), 0),
        "the numbers within a slot were moved: exchange whole slots, the first axis": instead(
            lambda v: v.roll(1, 1), 0
        ),
        "exchanged means that every slot keeps an answer, another one's; you gave all of them the mean": instead(
            lambda v: v.mean(0, keepdim=True).expand_as(v), 0
        ),
        "without an answer means values of 0; the mean of all slots still is an answer, the same for "
        "everybody": instead(lambda v: v.mean(0, keepdim=True).expand_as(v), 1),
        "without an answer means values of 0, not of 1": instead(torch.ones_like, 1),
        "the rises are exchanged: first that with the other slot's answer, then that with none": [
            row[::-1] for row in right
        ],
        "these are losses: subtract the loss with the values as they are": [
            [part.mean().item() for part in row[1:]] for row in losses
        ],
        "the sign: a rise is the loss after the change minus the loss before it": [
            [-rise for rise in row] for row in right
        ],
        "the rises of the studies are added up: take their mean": [
            [rise.sum().item() for rise in pair] for pair in rises
        ],
    }
    readings = {
        "any rise counts for you, however small: ask whether it is more than two standard errors above 0": _readings(
            rises, lambda rise: 0 * rise.std()
        ),
        "you took one standard error: two are asked for": _readings(rises, lambda rise: rise.std() / len(rise) ** 0.5),
        "that is the spread of the studies, not the error of their mean: divide by √n": _readings(
            rises, lambda rise: 2 * rise.std()
        ),
        "the same studies were measured twice: the error is that of their *differences*; studies that are hard both "
        "times do not blur it": [
            _reading(
                [
                    rise.mean() > 2 * math.hypot(a.std(), b.std()) / len(a) ** 0.5
                    for rise, a, b in zip(pair, (row[0],) * 2, row[1:], strict=True)
                ]
            )
            for pair, row in zip(rises, losses, strict=True)
        ],
        "a bank that gives everybody the same also raises the loss when it is taken away: ask first whether another "
        "slot's answer does as well": ["which slot" if _counts(pair[1]) else "nothing" for pair in rises],
        "the first rise decides, whether or not the other is larger or counts too: where exchanged answers hurt, it "
        "matters which slot answers": [
            "nothing" if not any(map(_counts, pair)) else "which slot" if row[0] > row[1] else "one answer"
            for pair, row in zip(rises, right, strict=True)
        ],
        "the first rise decides alone: exchanged answers that hurt show that it matters which slot answers": [
            "which slot" if all(map(_counts, pair)) else "one answer" if _counts(pair[1]) else "nothing"
            for pair in rises
        ],
        "the larger rise need not count: ask whether it is more than two standard errors above 0": [
            "which slot" if row[0] > row[1] else "one answer" if _counts(pair[1]) else "nothing"
            for pair, row in zip(rises, right, strict=True)
        ],
        "a fall is no rise, however clear: two standard errors *above* 0 are asked for": [
            _reading([abs(rise.mean()) > 2 * rise.std() / len(rise) ** 0.5 for rise in pair]) for pair in rises
        ],
        "you took three standard errors: two are asked for": _readings(
            rises, lambda rise: 3 * rise.std() / len(rise) ** 0.5
        ),
        "the error is that of the mean of the *differences*, not of the losses after the change": [
            _reading(
                [rise.mean() > 2 * after.std() / len(after) ** 0.5 for rise, after in zip(pair, row[1:], strict=True)]
            )
            for pair, row in zip(rises, losses, strict=True)
        ],
        "where exchanged answers don't hurt but none at all does, the bank gives something: one answer for all": [
            "which slot" if _counts(pair[0]) else "nothing" for pair in rises
        ],
    }
    reasons = [_reading([_counts(rise) for rise in pair]) for pair in rises]
    compare(name, found, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _counts(rise: Tensor) -> bool:
    return bool(rise.mean() > 2 * rise.std() / len(rise) ** 0.5)


def _reading(counts: Sequence[Any]) -> str:
    return "which slot" if counts[0] else "one answer" if counts[1] else "nothing"


def _readings(rises: list[tuple[Tensor, Tensor]], limit: Callable[[Tensor], Tensor]) -> list[str]:
    return [_reading([rise.mean() > limit(rise) for rise in pair]) for pair in rises]


@cache
def _banks(other: int) -> list[tuple[Loss, Tensor]]:
    """Two banks for each reading: what is wanted of a study lies near what its slots answer, near what all of them
    answer, or anywhere; and two that harm, what is wanted lies on the other side."""
    generator, cases = torch.Generator().manual_seed(other), []
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    # (how sharply studies choose slots, what all slots have in common, what is their own, what nobody can know), and
    # the standard errors of each rise
    kinds = {
        "which slot": ((3.0, 0.4, 0.8, 0.7), ((2.5, 6.0), (0.1, 6.0))),
        "one answer": ((0.5, 1.0, 0.3, 1.0), ((0.1, 1.8), (2.5, 6.0))),
        "nothing": ((0.5, 0.0, 0.3, 1.0), ((0.1, 1.8), (0.1, 1.8))),
        "harm": ((0.5, -1.0, 0.3, 1.0), ((0.1, 1.8), (-6.0, -2.5))),
    }
    for (sharp, common, own, unknown), limits in kinds.values():
        # The rises that do not count: below one standard error and above it. Those of "which slot": the first alone,
        # and both, the second larger.
        for small in (False, True):
            while True:
                weights, middle, apart = (sharp * draw(16, 6)).softmax(-1), draw(4), own * draw(6, 4)
                values = abs(common) * middle + apart
                target, hard = weights @ (common * middle + apart) + unknown * draw(16, 4), 3 + draw(16).abs()

                def loss(
                    changed: Tensor, weights: Tensor = weights, target: Tensor = target, hard: Tensor = hard
                ) -> Tensor:
                    if not isinstance(changed, Tensor) or changed.shape != (6, 4):
                        got = (
                            f"shape {tuple(changed.shape)}"
                            if isinstance(changed, Tensor)
                            else f"a {type(changed).__name__}"
                        )
                        raise CheckError(
                            f"what_the_bank_gives: loss was given {got}; it takes one row of values for each slot, (6, "
                            f"4)"
                        )
                    return hard + 0.1 * (weights @ changed.double() - target).square().sum(-1)

                rises = [loss(changed) - loss(values) for changed in (values.roll(1, 0), torch.zeros_like(values))]
                errors = [(rise.mean() / rise.std() * len(rise) ** 0.5).item() for rise in rises]
                if not all(low < error < high for error, (low, high) in zip(errors, limits, strict=True)):
                    continue
                if limits[0][1] < 2:
                    if (errors[0] < 0.9) == small:
                        break
                elif (errors[1] > 2.5 and rises[0].mean() < rises[1].mean()) if small else errors[1] < 1.8:
                    break
            cases.append((loss, values))
    return [cases[i] for i in torch.randperm(len(cases), generator=generator).tolist()]
