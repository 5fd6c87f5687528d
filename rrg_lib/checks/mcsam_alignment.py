"""What the exercises of chapter 06 call. Silent when the answer is right; otherwise a `CheckError` that names the likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib import topics
from rrg_lib.checks import CheckError, answered, name_of
from rrg_lib.checks.explanations import compare, explanation
from rrg_lib.models.memory import mcsam

Mistakes = list[tuple[Tensor, str]]


def _answer(function: Callable, shape: tuple[int, ...], *args: Any) -> Tensor:
    """The function's answer to copies of `args`, as doubles of that shape."""
    copies = (arg.clone() if isinstance(arg, Tensor) else arg.copy() if isinstance(arg, np.ndarray) else arg for arg in args)
    given = answered(name_of(function), function, *copies)
    try:
        found = torch.as_tensor(given).detach().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckError(f"{name_of(function)} returned a {type(given).__name__}, expected numbers of shape {shape}") from error
    if tuple(found.shape) != shape:
        raise CheckError(f"{name_of(function)} returned shape {tuple(found.shape)}, expected {shape}")
    if not torch.isfinite(found).all():
        raise CheckError(f"{name_of(function)} returned numbers that are not finite: is there a division by 0, or a row of the mask without a True?")
    return found


def _compare(answer: Tensor, right: Any, mistakes: list[tuple[Any, str]], otherwise: str, tolerance: float = 1e-5) -> None:
    """Silent when the answer is right; else the hint of the first mistake that gives the same numbers."""
    right = torch.as_tensor(right).double()
    if torch.allclose(answer, right, atol=tolerance, rtol=1e-4):
        return
    for wrong, hint in mistakes:
        wrong = torch.as_tensor(wrong).double()
        if wrong.shape == answer.shape and torch.allclose(answer, wrong, atol=tolerance, rtol=1e-4):
            raise CheckError(hint)
    raise CheckError(f"{otherwise} (largest difference {(answer - right).abs().max():.3g})")


def sinkhorn(function: Callable[[np.ndarray, np.ndarray, np.ndarray, float, int], np.ndarray], *, other: int = 0) -> None:
    """Exercise 6.1: cost (n, m), source (n,), target (m,), ε, rounds -> the plan (n, m)."""
    for seed, n, m, epsilon in ((0, 6, 4, 0.1), (1, 3, 5, 0.5)):
        rng = np.random.default_rng(seed + 1000 * other)
        cost, source, target = rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
        rounds = 500
        right = topics.sinkhorn(cost, source, target, epsilon, tolerance=0, iterations=5000)

        def scaled(kernel: np.ndarray, source: np.ndarray = source, target: np.ndarray = target, rounds: int = rounds) -> np.ndarray:
            columns = np.ones(kernel.shape[1])
            for _ in range(rounds):
                rows = source / (kernel @ columns)
                columns = target / (rows @ kernel)
            return rows[:, None] * kernel * columns

        kernel = np.exp(-cost / epsilon)
        rowwise = kernel / kernel.sum(1, keepdims=True)
        columnwise = kernel / kernel.sum(0)
        uniform = scaled(kernel, np.full(n, 1 / n), np.full(m, 1 / m))
        mistakes = [
            (scaled(np.exp(cost / epsilon)), "the plan prefers what is dear: the kernel is exp of *minus* cost / ε"),
            (scaled(np.exp(-cost)), "the plan does not know ε: divide the cost by it before the exponential"),
            (scaled(np.exp(-cost * epsilon)), "the cost is multiplied by ε: divide by it"),
            (kernel, "this is the kernel before it is scaled: its rows do not sum to `source`"),
            (scaled(kernel, rounds=1), "one round only: scaling the columns upsets the rows, so the two have to take turns, `rounds` times"),
            (rowwise * source[:, None], "the rows sum to `source`, but the columns not to `target`: that is a softmax, not yet a transport"),
            (columnwise * target, "the columns sum to `target`, but the rows not to `source`: scale both, in turns"),
            (rowwise, "every row sums to 1: it should sum to the row's mass in `source`"),
            (uniform, "rows and columns got equal masses: use `source` and `target`"),
            (np.outer(source, target), "everything is sent everywhere in proportion: the cost plays no role yet"),
        ]
        answer = _answer(function, (n, m), cost, source, target, epsilon, rounds)
        _compare(answer, right, mistakes, f"with ε = {epsilon} the plan differs from the library's")


def recall(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 6.2: states (n, d), patterns (N, d), β -> the states after one Hopfield step, (n, d)."""
    for seed, beta in ((0, 0.7), (1, 0.2)):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        patterns, states = torch.randn(7, 5, generator=generator), torch.randn(3, 5, generator=generator)
        scores = states @ patterns.T  # (n, N)
        right = (beta * scores).softmax(-1) @ patterns
        best = patterns[scores.argmax(-1)]
        again = (beta * right @ patterns.T).softmax(-1) @ patterns
        mistakes: Mistakes = [
            (scores.softmax(-1) @ patterns, "β is missing: it multiplies the scores before the softmax"),
            ((scores / beta).softmax(-1) @ patterns, "the scores are divided by β: multiply"),
            (
                (beta * scores).softmax(0) @ patterns,
                "the weights of a state do not sum to 1: the softmax runs over the patterns (dim=-1), not the states",
            ),
            (beta * scores @ patterns, "there is no softmax: every pattern answers with its score, also with a negative one"),
            ((beta * scores / math.sqrt(5)).softmax(-1) @ patterns, "there is a 1/√d too many: here β alone is the scale"),
            (best, "only the best pattern answers: that is the limit of a large β; weigh all of them by the softmax"),
            (states + right, "the state is added: a Hopfield step *replaces* it; adding is the consolidation of section 6.5"),
            (again, "these are two steps: one is asked for"),
            (F.normalize(right, dim=-1), "the answer was normalised: leave its length"),
        ]
        _compare(_answer(function, (3, 5), states, patterns, beta), right, mistakes, f"with β = {beta} the step differs from softmax(β ξ Xᵀ) X")


def contrastive(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 6.3: visual (B, p), report (B, p) of unit length, temperature -> the loss, one number."""
    for seed, batch, temperature in ((0, 5, 0.2), (1, 3, 0.07)):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        visual, report = (F.normalize(torch.randn(batch, 4, generator=generator), dim=-1) for _ in range(2))
        own, cosines = torch.arange(batch), visual @ report.T
        right = mcsam.contrastive_alignment(visual, report, 1 / temperature)
        one_way = F.cross_entropy(cosines / temperature, own)
        other_way = F.cross_entropy(cosines.T / temperature, own)
        without_own = (cosines / temperature).masked_fill(torch.eye(batch, dtype=torch.bool), -torch.inf)
        only_others = (without_own.logsumexp(-1) + without_own.logsumexp(0)) / 2 - cosines.diag() / temperature
        both_ways = "the other way too, report to image, is a question (the scores transposed); take the mean of the two"
        mistakes: Mistakes = [
            (one_way, f"only the images look for their reports: {both_ways}"),
            (other_way, "only the reports look for their images: the images look too; take the mean of the two"),
            (2 * right, "the two ways are added: take their mean"),
            (batch * right, "the losses of the studies are added: take their mean"),
            (-right, "the sign: a loss is *minus* the log-probability of the own partner"),
            (mcsam.contrastive_alignment(visual, report, 1.0), "the temperature is missing: divide the cosines by it"),
            (mcsam.contrastive_alignment(visual, report, temperature), "the cosines are multiplied by the temperature: divide"),
            (mcsam.direct_alignment(visual, report), "this is the direct alignment: it never looks at the pairs that do not match"),
            (only_others.mean(), "the own partner is missing below the fraction line: it is one of the B candidates"),
        ]
        answer = _answer(function, (), visual, report, temperature)
        _compare(answer, right, mistakes, f"with {batch} studies and a temperature of {temperature} the loss differs from the library's")


def prefix_attention(function: Callable[..., Tensor], *, other: int = 0) -> None:
    """Exercise 6.4: query, keys, values (B, h, L, d_k), mask (B, 1, L, L), prefix keys and values (h, P, d_k) -> (B, h, L, d_k)."""
    for seed, (b, h, length, p, d_k) in ((0, (2, 3, 5, 2, 4)), (1, (3, 1, 4, 4, 6))):  # the second has as many tokens as words
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        query, keys, values = (torch.randn(b, h, length, d_k, generator=generator) for _ in range(3))
        first_k, first_v = (torch.randn(h, p, d_k, generator=generator) for _ in range(2))
        mask = torch.ones(length, length, dtype=torch.bool).tril().expand(b, 1, -1, -1).clone()
        mask[0, :, :, -1] = False  # a pad that nobody may see
        all_k, all_v = (torch.cat([first.expand(b, -1, -1, -1), own], dim=2) for first, own in ((first_k, keys), (first_v, values)))

        def attend(
            allowed: Tensor, k: Tensor = all_k, v: Tensor = all_v, query: Tensor = query, d_k: int = d_k, scale: float | None = None
        ) -> Tensor:
            scores = query @ k.transpose(-2, -1) * (1 / math.sqrt(d_k) if scale is None else scale)
            return scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v

        open_mask = F.pad(mask, (p, 0), value=True)
        causal = torch.ones(length, length + p, dtype=torch.bool).tril()
        sums = attend(mask, keys, values) + attend(torch.ones(length, p, dtype=torch.bool), first_k, first_v)
        mistakes: Mistakes = [
            (
                attend(mask, keys, values),
                "the prefix has no influence: either it is missing or the mask hides it; it is open (True) to every position",
            ),
            (attend(F.pad(mask, (0, p), value=True)), "the open columns of the mask stand last, the prefix stands first: pad the mask on the left"),
            (
                attend(causal.expand(b, 1, -1, -1)),
                "the prefix is seen step by step: the causal mask is for words; every position may see the whole prefix",
            ),
            (attend(torch.ones_like(open_mask)), "words see what comes after them: the mask is for the words' columns as before"),
            (attend(open_mask, scale=1.0), "the weights are too sharp: divide the scores by √d_k"),
            (sums, "words and prefix each have a softmax of their own: it is one softmax over the prefix and the words together"),
            (sums / 2, "words and prefix each have a softmax of their own: it is one softmax over the prefix and the words together"),
            (
                attend(open_mask, v=torch.cat([first_k.expand(b, -1, -1, -1), values], 2)),
                "the prefix answers with its keys: it has values of its own",
            ),
        ]
        answer = _answer(function, (b, h, length, d_k), query, keys, values, mask, first_k, first_v)
        _compare(answer, attend(open_mask), mistakes, "the answers differ from attention over the prefix and the words together")


# --- Exercise 6.5 -----------------------------------------------------------------------------------------------------------------------------------

MEASURED = ("the rise with exchanged answers", "the rise without an answer")
REASONS = ("which slot", "one answer", "nothing")
Loss = Callable[[Tensor], Tensor]


def what_the_bank_gives(function: Callable[[Loss, Tensor], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """Exercise 6.5: a loss (N, d) -> (n,), values (N, d) -> the mean rises of the loss with each slot's answer taken from the slot before it and with
    no answer at all; and what they say of the bank."""
    name, cases = "what_the_bank_gives", _banks(other)
    found = [explanation(name, answered(name, function, loss, values.clone()), MEASURED, REASONS) for loss, values in cases]
    losses = [[loss(changed) for changed in (values, values.roll(1, 0), torch.zeros_like(values))] for loss, values in cases]
    rises = [(exchanged - trained, without - trained) for trained, exchanged, without in losses]
    right = [[rise.mean().item() for rise in pair] for pair in rises]

    def instead(change: Callable[[Tensor], Tensor], place: int) -> list[list[float]]:
        """The right rises, the one at `place` replaced by that of another change of the values."""
        changed = [(loss(change(values)) - loss(values)).mean().item() for loss, values in cases]
        return [[one, row[1]] if place == 0 else [row[0], one] for one, row in zip(changed, right, strict=True)]

    slips = {
        "each slot is to answer with the values of the slot *before* it; here it got those of the slot after it": instead(lambda v: v.roll(-1, 0), 0),
        "the numbers within a slot were moved: exchange whole slots, the first axis": instead(lambda v: v.roll(1, 1), 0),
        "exchanged means that every slot keeps an answer, another one's; you gave all of them the mean": instead(
            lambda v: v.mean(0, keepdim=True).expand_as(v), 0
        ),
        "without an answer means values of 0; the mean of all slots still is an answer, the same for everybody": instead(
            lambda v: v.mean(0, keepdim=True).expand_as(v), 1
        ),
        "without an answer means values of 0, not of 1": instead(torch.ones_like, 1),
        "the rises are exchanged: first that with the other slot's answer, then that with none": [row[::-1] for row in right],
        "these are losses: subtract the loss with the values as they are": [[part.mean().item() for part in row[1:]] for row in losses],
        "the sign: a rise is the loss after the change minus the loss before it": [[-rise for rise in row] for row in right],
        "the rises of the studies are added up: take their mean": [[rise.sum().item() for rise in pair] for pair in rises],
    }
    readings = {
        "any rise counts for you, however small: ask whether it is more than two standard errors above 0": _readings(
            rises, lambda rise: 0 * rise.std()
        ),
        "you took one standard error: two are asked for": _readings(rises, lambda rise: rise.std() / len(rise) ** 0.5),
        "that is the spread of the studies, not the error of their mean: divide by √n": _readings(rises, lambda rise: 2 * rise.std()),
        "the same studies were measured twice: the error is that of their *differences*; studies that are hard both times do not blur it": [
            _reading(
                [rise.mean() > 2 * math.hypot(a.std(), b.std()) / len(a) ** 0.5 for rise, a, b in zip(pair, (row[0],) * 2, row[1:], strict=True)]
            )
            for pair, row in zip(rises, losses, strict=True)
        ],
        "a bank that gives everybody the same also raises the loss when it is taken away: ask first whether another slot's answer does as well": [
            "which slot" if _counts(pair[1]) else "nothing" for pair in rises
        ],
        "not the larger rise decides: ask whether exchanged answers hurt at all": [
            "nothing" if not any(map(_counts, pair)) else "which slot" if row[0] > row[1] else "one answer"
            for pair, row in zip(rises, right, strict=True)
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
    """Two banks for each reading: what is wanted of a study lies near what its slots answer, near what all of them answer, or anywhere."""
    generator, cases = torch.Generator().manual_seed(other), []
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    # (how sharply studies choose slots, what all slots have in common, what is their own, what nobody can know), and the standard errors of each rise
    kinds = {
        "which slot": ((3.0, 0.4, 0.8, 0.7), ((2.5, 6.0), (0.1, 6.0))),
        "one answer": ((0.5, 1.0, 0.3, 1.0), ((0.1, 1.8), (2.5, 6.0))),
        "nothing": ((0.5, 0.0, 0.3, 1.0), ((0.1, 1.8), (0.1, 1.8))),
    }
    for (sharp, common, own, unknown), limits in kinds.values():
        for small in (
            False,
            True,
        ):  # the rises that do not count, below one standard error and above it; those of "which slot", the one or the other first
            while True:
                weights, values = (sharp * draw(16, 6)).softmax(-1), common * draw(4) + own * draw(6, 4)
                target, hard = weights @ values + unknown * draw(16, 4), 3 + draw(16).abs()

                def loss(changed: Tensor, weights: Tensor = weights, target: Tensor = target, hard: Tensor = hard) -> Tensor:
                    if not isinstance(changed, Tensor) or changed.shape != (6, 4):
                        got = f"shape {tuple(changed.shape)}" if isinstance(changed, Tensor) else f"a {type(changed).__name__}"
                        raise CheckError(f"what_the_bank_gives: loss was given {got}; it takes one row of values for each slot, (6, 4)")
                    return hard + 0.1 * (weights @ changed.double() - target).square().sum(-1)

                rises = [loss(changed) - loss(values) for changed in (values.roll(1, 0), torch.zeros_like(values))]
                errors = [(rise.mean() / rise.std() * len(rise) ** 0.5).item() for rise in rises]
                if not all(low < error < high for error, (low, high) in zip(errors, limits, strict=True)):
                    continue
                if (errors[0] < 0.9 if limits[0][1] < 2 else rises[0].mean() < rises[1].mean()) == small:
                    break
            cases.append((loss, values))
    return [cases[i] for i in torch.randperm(len(cases), generator=generator).tolist()]
