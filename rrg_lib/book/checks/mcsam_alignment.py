"""What the exercises of chapter 06 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.comparing import compare_explanations, explanation
from rrg_lib.book.checks.comparing_arrays import Draw, compare_draws, tensor
from rrg_lib.models.memory import mcsam, topics

_MASK = (
    "is there a division by 0, or a row of the mask without a True? True is where a word *may* look: fill where it is "
    "False (~mask)"
)


def sinkhorn(
    function: Callable[[np.ndarray, np.ndarray, np.ndarray, float, int], np.ndarray], *, other: int = 0
) -> None:
    """Exercise 6.1: cost (n, m), source (n,), target (m,), ε, rounds -> the plan (n, m)."""
    draws: list[Draw] = []
    for seed, n, m, epsilon, rounds in ((0, 6, 4, 0.1, 500), (1, 3, 5, 0.5, 500), (2, 4, 4, 0.1, 3)):
        rng = np.random.default_rng(seed + 1000 * other)
        cost, source, target = rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))

        def scaled(
            kernel: np.ndarray, source: np.ndarray = source, target: np.ndarray = target, rounds: int = rounds
        ) -> np.ndarray:
            columns = np.ones(kernel.shape[1])
            for _ in range(rounds):
                rows = source / (kernel @ columns)
                columns = target / (rows @ kernel)
            return rows[:, None] * kernel * columns

        kernel = np.exp(-cost / epsilon)
        right = (
            scaled(kernel)
            if rounds < 10
            else topics.sinkhorn(cost, source, target, epsilon, tolerance=0, iterations=5000)
        )
        together, columns_first, without_v = _slips_of_scaling(kernel, source, target, rounds)
        rowwise = kernel / kernel.sum(1, keepdims=True)
        columnwise = kernel / kernel.sum(0)
        uniform = scaled(kernel, np.full(n, 1 / n), np.full(m, 1 / m))
        mistakes = [
            (scaled(np.exp(cost / epsilon)), "the plan prefers what is dear: the kernel is exp of *minus* cost / ε"),
            (scaled(np.exp(-cost)), "the plan does not know ε: divide the cost by it before the exponential"),
            (scaled(np.exp(-cost * epsilon)), "the cost is multiplied by ε: divide by it"),
            (scaled(kernel, rounds=500), "three rounds were asked for: `rounds` says how many, neither more nor fewer"),
            (scaled(kernel, rounds=rounds - 1), "one round is missing: `rounds` says how many"),
            (scaled(kernel, rounds=2), "`rounds` says how many rounds: not always two"),
            (together, "u and v are renewed at the same time: use the new u for v, so that the two take turns"),
            (columns_first, "the columns are scaled first: start with v = 1 and choose u, the rows, then v"),
            (scaled(kernel, np.ones(n), np.ones(m)), "masses of 1: use `source` and `target`"),
            (without_v, "v is not in the plan that is returned: diag(u) K diag(v)"),
            (kernel, "this is the kernel before it is scaled: its rows do not sum to `source`"),
            (
                scaled(kernel, rounds=1),
                "one round only, or a u that knows nothing of v: scaling the columns upsets the rows, so the two take "
                "turns, `rounds` times",
            ),
            (
                rowwise * source[:, None],
                "the rows sum to `source`, but the columns not to `target`: that is a softmax, not yet a transport",
            ),
            (columnwise * target, "the columns sum to `target`, but the rows not to `source`: scale both, in turns"),
            (rowwise, "every row sums to 1: it should sum to the row's mass in `source`"),
            (uniform, "rows and columns got equal masses: use `source` and `target`"),
            (np.outer(source, target), "everything is sent everywhere in proportion: the cost plays no role yet"),
        ]
        draws.append((tensor(function, (n, m), cost, source, target, epsilon, rounds), right, mistakes))
    compare_draws(draws, "the plan differs from the library's")


def _slips_of_scaling(
    kernel: np.ndarray, source: np.ndarray, target: np.ndarray, rounds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The plans (n, m) that come of renewing both scalings at once, of the columns before the rows, and of leaving the
    columns' out at the end."""
    rows, columns = np.ones(len(source)), np.ones(len(target))
    for _ in range(rounds):
        rows, columns = source / (kernel @ columns), target / (rows @ kernel)
    together = rows[:, None] * kernel * columns
    rows = np.ones(len(source))
    for _ in range(rounds):
        columns = target / (rows @ kernel)
        rows = source / (kernel @ columns)
    columns_first, columns = rows[:, None] * kernel * columns, np.ones(len(target))
    for _ in range(rounds):
        rows = source / (kernel @ columns)
        columns = target / (rows @ kernel)
    return together, columns_first, rows[:, None] * kernel


def recall(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 6.2: states (n, d), patterns (N, d), β -> the states after one Hopfield step, (n, d)."""
    draws: list[Draw] = []
    for seed, beta in ((0, 0.7), (1, 0.2)):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        patterns, states = torch.randn(7, 5, generator=generator), torch.randn(3, 5, generator=generator)
        scores = states @ patterns.T  # (n, N)
        right = (beta * scores).softmax(-1) @ patterns
        best = patterns[scores.argmax(-1)]
        again = (beta * right @ patterns.T).softmax(-1) @ patterns
        mistakes = [
            (scores.softmax(-1) @ patterns, "β is missing: it multiplies the scores before the softmax"),
            ((scores / beta).softmax(-1) @ patterns, "the scores are divided by β: multiply"),
            (
                (beta * scores).softmax(0) @ patterns,
                "the weights of a state do not sum to 1: the softmax runs over the patterns (dim=-1), not the states",
            ),
            (
                beta * scores @ patterns,
                "there is no softmax: every pattern answers with its score, also with a negative one",
            ),
            (
                (beta * scores / math.sqrt(5)).softmax(-1) @ patterns,
                "there is a 1/√d too many: here β alone is the scale",
            ),
            (beta * scores.softmax(-1) @ patterns, "β comes after the softmax: it multiplies the scores before it"),
            ((scores / math.sqrt(5)).softmax(-1) @ patterns, "1/√d stands in place of β: here β alone is the scale"),
            (
                (beta * F.normalize(states, dim=-1) @ F.normalize(patterns, dim=-1).T).softmax(-1) @ patterns,
                "these are cosines: the scores are plain dot products",
            ),
            (
                (-beta * torch.cdist(states, patterns)).softmax(-1) @ patterns,
                "these are distances: the scores are dot products",
            ),
            (best, "only the best pattern answers: that is the limit of a large β; weigh all of them by the softmax"),
            (
                states + right,
                "the state is added: a Hopfield step *replaces* it; adding is the consolidation of section 6.5",
            ),
            (again, "these are two steps: one is asked for"),
            (F.normalize(right, dim=-1), "the answer was normalised: leave its length"),
        ]
        draws.append((tensor(function, (3, 5), states, patterns, beta), right, mistakes))
    compare_draws(draws, "the step differs from softmax(β ξ Xᵀ) X")


def contrastive(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 6.3: visual (B, p), report (B, p) of unit length, temperature -> the loss, one number."""
    draws: list[Draw] = []
    for seed, batch, temperature in ((0, 5, 0.2), (1, 3, 0.07)):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        visual, report = (F.normalize(torch.randn(batch, 4, generator=generator), dim=-1) for _ in range(2))
        partners, cosines = torch.arange(batch), visual @ report.T
        right = mcsam.contrastive_alignment(visual, report, 1 / temperature)
        one_way = F.cross_entropy(cosines / temperature, partners)
        other_way = F.cross_entropy(cosines.T / temperature, partners)
        without_own = (cosines / temperature).masked_fill(torch.eye(batch, dtype=torch.bool), -torch.inf)
        only_others = (without_own.logsumexp(-1) + without_own.logsumexp(0)) / 2 - cosines.diag() / temperature
        both_ways = (
            "the other way too, report to image, is a question (the scores transposed); take the mean of the two"
        )
        mistakes = [
            (one_way, f"only the images look for their reports: {both_ways}"),
            (other_way, "only the reports look for their images: the images look too; take the mean of the two"),
            (
                _softmax_twice(cosines / temperature, partners),
                "softmax twice: cross_entropy takes the scores as they are",
            ),
            (
                (
                    F.cross_entropy(cosines / temperature, 0 * partners)
                    + F.cross_entropy(cosines.T / temperature, 0 * partners)
                )
                / 2,
                "everybody's partner is the first study: it is their own, torch.arange(B)",
            ),
            (
                -((cosines / temperature).softmax(0).diag() + (cosines / temperature).softmax(1).diag()).mean() / 2,
                "the logarithm is missing: the loss is minus the *log*-probability of the own partner",
            ),
            (
                -((cosines / temperature).log_softmax(0) + (cosines / temperature).log_softmax(1)).mean() / 2,
                "all pairs are counted: only the diagonal, a study and its own partner, is",
            ),
            (2 * right, "the two ways are added: take their mean"),
            (batch * right, "the losses of the studies are added: take their mean"),
            (-right, "the sign: a loss is *minus* the log-probability of the own partner"),
            (mcsam.contrastive_alignment(visual, report, 1.0), "the temperature is missing: divide the cosines by it"),
            (
                mcsam.contrastive_alignment(visual, report, temperature),
                "the cosines are multiplied by the temperature: divide",
            ),
            (
                mcsam.direct_alignment(visual, report),
                "this is the direct alignment: it never looks at the pairs that do not match",
            ),
            (only_others.mean(), "the own partner is missing below the fraction line: it is one of the B candidates"),
        ]
        draws.append((tensor(function, (), visual, report, temperature), right, mistakes))
    compare_draws(draws, "the loss differs from the library's")


def _softmax_twice(scores: Tensor, partners: Tensor) -> Tensor:
    return (F.cross_entropy(scores.softmax(1), partners) + F.cross_entropy(scores.T.softmax(1), partners)) / 2


def prefix_attention(function: Callable[..., Tensor], *, other: int = 0) -> None:
    """Exercise 6.4: query, keys, values (B, h, L, d_k), mask (B, 1, L, L), prefix keys and values (h, P, d_k) -> (B, h,
    L, d_k)."""
    draws: list[Draw] = []
    for seed, (b, h, length, p, d_k) in (
        (0, (2, 3, 5, 2, 4)),
        (1, (3, 1, 4, 4, 6)),
    ):  # the second has as many tokens as words
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        query, keys, values = (torch.randn(b, h, length, d_k, generator=generator) for _ in range(3))
        first_k, first_v = (torch.randn(h, p, d_k, generator=generator) for _ in range(2))
        mask = torch.ones(length, length, dtype=torch.bool).tril().expand(b, 1, -1, -1).clone()
        mask[0, :, :, -1] = False  # a pad that nobody may see
        all_k, all_v = (
            torch.cat([first.expand(b, -1, -1, -1), rest], dim=2)
            for first, rest in ((first_k, keys), (first_v, values))
        )

        def attend(
            allowed: Tensor,
            k: Tensor = all_k,
            v: Tensor = all_v,
            query: Tensor = query,
            d_k: int = d_k,
            scale: float | None = None,
        ) -> Tensor:
            scores = query @ k.transpose(-2, -1) * (1 / math.sqrt(d_k) if scale is None else scale)
            return scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v

        open_mask, attend_scores = F.pad(mask, (p, 0), value=True), query @ all_k.transpose(-2, -1) / math.sqrt(d_k)
        causal = torch.ones(length, length + p, dtype=torch.bool).tril()
        sums = attend(mask, keys, values) + attend(torch.ones(length, p, dtype=torch.bool), first_k, first_v)
        mistakes = [
            (
                attend(mask, keys, values),
                "the prefix has no influence: either it is missing or the mask hides it; it is open (True) to every "
                "position",
            ),
            (
                attend(F.pad(mask, (0, p), value=True)),
                "the open columns of the mask stand last, the prefix stands first: pad the mask on the left",
            ),
            (
                attend(causal.expand(b, 1, -1, -1)),
                "the prefix is seen step by step: the causal mask is for words; every position may see the whole "
                "prefix",
            ),
            (
                attend(torch.ones_like(open_mask)),
                "words see what comes after them: the mask is for the words' columns as before",
            ),
            *(
                (_filled(attend_scores, ~open_mask if keep else open_mask, fill, all_v), hint)
                for keep, fill, hint in (
                    (
                        False,
                        -1e9,
                        "the mask is the wrong way round: True is where a word *may* look, so fill where it is False "
                        "(~mask)",
                    ),
                    (True, 0.0, "a score of 0 is not silence, exp(0) is 1: fill with -inf"),
                )
            ),
            (
                _filled(attend_scores, F.pad(mask, (p, 0), value=False), -1e9, all_v),
                "the words' mask is the wrong way round: True is where a word *may* look, so fill where it is False "
                "(~mask)",
            ),
            (
                (attend_scores + open_mask.float()).softmax(-1) @ all_v,
                "the mask was added as numbers: fill with -inf where it is False",
            ),
            (
                attend_scores.softmax(-1).masked_fill(~open_mask, 0.0) @ all_v,
                "the mask comes after the softmax: the weights do not sum to 1 any more",
            ),
            (
                attend(open_mask, v=torch.cat([values, first_v.expand(b, -1, -1, -1)], 2)),
                "keys and values stand in different orders: the prefix is first in both",
            ),
            (attend(open_mask, scale=1 / d_k), "the weights are too flat: divide by √d_k, once"),
            (attend(open_mask, k=all_v, v=all_k), "keys and values are exchanged"),
            (attend(open_mask, scale=1.0), "the weights are too sharp: divide the scores by √d_k"),
            (
                sums,
                "words and prefix each have a softmax of their own: it is one softmax over the prefix and the words "
                "together",
            ),
            (
                sums / 2,
                "words and prefix each have a softmax of their own: it is one softmax over the prefix and the words "
                "together",
            ),
            (
                attend(open_mask, v=torch.cat([first_k.expand(b, -1, -1, -1), values], 2)),
                "the prefix answers with its keys: it has values of its own",
            ),
        ]
        answer = tensor(function, (b, h, length, d_k), query, keys, values, mask, first_k, first_v, not_finite=_MASK)
        draws.append((answer, attend(open_mask), mistakes))
    compare_draws(draws, "the answers differ from attention over the prefix and the words together")


def _filled(scores: Tensor, where: Tensor, fill: float, values: Tensor) -> Tensor:
    return scores.masked_fill(where, fill).softmax(-1) @ values


# --- Exercise 6.5 -----------------------------------------------------------------------------------------------------

MEASURED = ("the rise with exchanged answers", "the rise without an answer")
REASONS = ("which slot", "one answer", "nothing")
Loss = Callable[[Tensor], Tensor]


def what_the_bank_gives(function: Callable[[Loss, Tensor], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """Exercise 6.5: a loss (N, d) -> (n,), values (N, d) -> the mean rises of the loss with each slot's answer taken
    from the slot before it and with no answer at all; and what they say of the bank."""
    name, cases = "what_the_bank_gives", _banks(other)
    answers = [
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
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


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
    for (sharp, common, spread, unknown), limits in kinds.values():
        # The rises that do not count: below one standard error and above it. Those of "which slot": the first alone,
        # and both, the second larger.
        for small in (False, True):
            while True:
                weights, middle, apart = (sharp * draw(16, 6)).softmax(-1), draw(4), spread * draw(6, 4)
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
