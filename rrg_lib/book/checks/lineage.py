"""What the exercises of chapter 11 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from rrg_lib.book.checks import CheckError, answered, name_of
from rrg_lib.book.checks.comparing import compare_explanations, explanation
from rrg_lib.book.checks.comparing_arrays import Draw, called, compare_draws, tensor
from rrg_lib.models.lstm_captioner import next_state

# --- Exercise 11.1 ----------------------------------------------------------------------------------------------------

MEASURED = ("the change with the patches reordered", "the change with every patch its view's mean")
REASONS = ("the mean", "the set", "the places")
#: What a sum in another order changes is smaller than this, and no reading of an image.
TINY = 1e-3
Write = Callable[[Tensor], Tensor]


def what_it_sees(function: Callable[[Write, Tensor], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """Exercise 11.1: a generator (V, P, d) -> (n,), patches (V, P, d) -> the largest changes of its numbers when the
    patches of each view move on by one, and when each is its view's mean; and what they say it sees."""
    name, cases = "what_it_sees", _generators(other)
    found = [
        explanation(name, answered(name, function, write, patches.clone()), MEASURED, REASONS)
        for write, patches in cases
    ]

    def largest(change: Callable[[Tensor], Tensor]) -> list[float]:
        return [(write(change(patches)) - write(patches)).abs().max().item() for write, patches in cases]

    def of_views(patches: Tensor) -> Tensor:
        return patches.mean(1, keepdim=True).expand_as(patches)

    def reordered(patches: Tensor) -> Tensor:
        return patches.roll(1, 1)

    moved, evened = largest(reordered), largest(of_views)
    right = [list(pair) for pair in zip(moved, evened, strict=True)]

    def instead(numbers: Sequence[float], place: int) -> list[list[float]]:
        return [[n, row[1]] if place == 0 else [row[0], n] for n, row in zip(numbers, right, strict=True)]

    means = [
        [(write(change(p)) - write(p)).abs().mean().item() for change in (reordered, of_views)] for write, p in cases
    ]
    signed = [[(write(change(p)) - write(p)).max().item() for change in (reordered, of_views)] for write, p in cases]
    slips = {
        "the views changed places: reorder the patches within each view, the second axis": instead(
            largest(lambda p: p.roll(1, 0)), 0
        ),
        "a patch went from one view to the other: reorder within each view": instead(
            largest(lambda p: p.flatten(0, 1).roll(1, 0).view_as(p)), 0
        ),
        "the patches moved the other way: on by one, so that the last becomes the first": instead(
            largest(lambda p: p.roll(-1, 1)), 0
        ),
        "without an axis `roll` moves single numbers from patch to patch: name the second axis": instead(
            largest(lambda p: p.roll(1)), 0
        ),
        "the numbers within a patch were moved: whole patches change places": instead(
            largest(lambda p: p.roll(1, 2)), 0
        ),
        "the mean is over both views: each view has a mean of its own": instead(
            largest(lambda p: p.mean((0, 1), keepdim=True).expand_as(p)), 1
        ),
        "each patch became the mean of its own numbers: the mean is over the patches of a view": instead(
            largest(lambda p: p.mean(2, keepdim=True).expand_as(p)), 1
        ),
        "the patches were set to 0: their view's mean takes their place": instead(largest(torch.zeros_like), 1),
        "these are mean changes: the largest is asked for": means,
        "a number that falls has changed too: take absolute values before the largest": signed,
        "the two changes are exchanged: first that of another order": [row[::-1] for row in right],
    }
    readings = {
        "sums in another order differ in their last digits: a change below 1e-3 is none": [
            _reading([number > 0 for number in row]) for row in right
        ],
        "the larger change does not decide: where another order changes anything, it knows the places": [
            "the mean" if max(row) <= TINY else "the places" if row[0] > row[1] else "the set" for row in right
        ],
        "you did not use the first change: who minds the order knows more than the set": [
            "the set" if row[1] > TINY else "the mean" for row in right
        ],
        "you did not use the second change: who does not mind the order may still tell single patches": [
            "the places" if row[0] > TINY else "the mean" for row in right
        ],
        "set and places are exchanged: a set has no order, so another order cannot change what it says": [
            {"the set": "the places", "the places": "the set"}.get(said, said)
            for said in (_reading([number > TINY for number in row]) for row in right)
        ],
    }
    reasons = [_reading([number > TINY for number in row]) for row in right]
    compare_explanations(name, found, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _reading(changed: Sequence[bool]) -> str:
    return "the places" if changed[0] else "the set" if changed[1] else "the mean"


@cache
def _generators(other: int) -> list[tuple[Write, Tensor]]:
    """Two of each kind, the second of those that know the mean or the set with a sum's last digits in it; of those that
    know the places, one minds the order more than the differences and one less."""
    generator, cases = torch.Generator().manual_seed(11 + 1000 * other), []
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    views, patches, d, n = 2, 6, 5, 7
    for kind, noise, weight in (
        ("the mean", 0.0, 0.0),
        ("the set", 0.0, 0.0),
        ("the places", 0.0, 0.3),
        ("the mean", 1e-5, 0.0),
        ("the places", 0.0, 3.0),
        ("the set", 1e-5, 0.0),
    ):
        mixed, ask, digits, code = draw(views * d, n), draw(d), draw(patches, n), draw(patches, n)

        def write(
            x: Tensor,
            mixed: Tensor = mixed,
            ask: Tensor = ask,
            digits: Tensor = digits,
            code: Tensor = code,
            kind: str = kind,
            noise: float = noise,
            weight: float = weight,
        ) -> Tensor:
            if not isinstance(x, Tensor) or x.shape != (views, patches, d):
                got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
                raise CheckError(
                    f"what_it_sees: write was given {got}; it takes all patches of all views, {(views, patches, d)}"
                )
            share = (x @ ask).softmax(1) if kind != "the mean" else x.new_full((views, patches), 1 / patches)
            seen = (share[..., None] * x).sum(1).flatten() @ mixed  # (n,)
            tone = x.mean((0, 2)) + x[0, :, 0]  # (P,), what stands at each place
            return seen + noise * (tone[:, None] * digits).sum(0) + weight * (tone[:, None] * code).sum(0)

        cases.append((write, draw(views, patches, d)))
    return cases


# --- Exercise 11.2 ----------------------------------------------------------------------------------------------------


def maxout_step(
    function: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    *,
    other: int = 0,
) -> None:
    """Exercise 11.2: the sums before input, forget and output gate and both candidates, (B, 5d), what was seen (B, 2d),
    the cell (B, d) -> the new state and cell, (B, d) each."""
    generator = torch.Generator().manual_seed(12 + 1000 * other)
    draws: list[Draw] = []
    for batch, d in ((3, 4), (2, 6)):
        gates, seen, cell = (2 * torch.randn(batch, k * d, generator=generator) for k in (5, 2, 1))
        i, f, o, one, two = gates.chunk(5, -1)
        s, t = seen.chunk(2, -1)
        best = torch.maximum(one + s, two + t)

        def step(candidate: Tensor = best, i: Tensor = i, f: Tensor = f, o: Tensor = o, cell: Tensor = cell) -> Tensor:
            return torch.stack(next_state(i, f, o, candidate, cell))

        right = step()
        inner = gates.sigmoid().chunk(5, -1)
        bare = inner[1] * cell + inner[0] * best
        mistakes = [
            (step(torch.maximum(one, two)), "what was seen is missing: it is added to the two candidates"),
            (step(best.tanh()), "a max-out candidate has no tanh: it enters as it is"),
            (step(torch.maximum(one, two) + s), "each candidate sees its own half of what was seen"),
            (step(torch.maximum(one + t, two + s)), "the halves of what was seen are exchanged"),
            (step(torch.minimum(one + s, two + t)), "that is the smaller of the two candidates, unit by unit"),
            (step(one + s), "only the first candidate was used: take the larger of both, unit by unit"),
            (step(two + t), "only the second candidate was used: take the larger of both, unit by unit"),
            (step((one + s + two + t) / 2), "that is the mean of the candidates: the larger of both is asked for"),
            (
                step(torch.maximum(one, two) + torch.maximum(s, t)),
                "what was seen is added to its candidate first; the larger of the two sums is taken after that",
            ),
            (step(one + s + two + t), "that is the sum of the candidates: the larger of both is asked for"),
            (
                step(torch.maximum(o + s, one + t), o=two),
                "the output gate is the third of the five: input, forget, output, then both candidates",
            ),
            (step(i=f, f=i), "input and forget gate are exchanged: the order is input, forget, output"),
            (step(f=o, o=f), "forget and output gate are exchanged: the order is input, forget, output"),
            (
                torch.stack((o * (f * cell + i * best).tanh(), f * cell + i * best)),
                "the gates are sums still: put each through the logistic",
            ),
            (torch.stack((inner[2] * bare, bare)), "the state is the output gate times tanh of the new cell"),
            (
                torch.stack((inner[2] * cell.tanh(), bare)),
                "the state is made of the old cell: the new one comes first",
            ),
            (right.flip(0), "state and cell are exchanged: return the state first"),
        ]
        draws.append((_pair(function, (batch, d), gates, seen, cell), right, mistakes))
    compare_draws(draws, "state and cell differ from the library's step")


def _pair(function: Callable[..., tuple[Tensor, Tensor]], shape: tuple[int, ...], *args: Tensor) -> Tensor:
    """The two arrays that an answer returns, one above the other, (2, …). Raises `CheckError` for anything else."""
    found = called(function, *args)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise CheckError(f"{name_of(function)} returned a {type(found).__name__}; return two, the state and the cell")
    return torch.stack([tensor(lambda part=part: part, shape) for part in found])


# --- Exercise 11.3 ----------------------------------------------------------------------------------------------------


def sentinel(function: Callable[[Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 11.3, first half: the sums before the sentinel's gate, the new cell, (B, d) each -> the sentinel."""
    generator = torch.Generator().manual_seed(13 + 1000 * other)
    gate, cell = (2 * torch.randn(3, 5, generator=generator) for _ in range(2))
    mistakes = [
        (gate * cell.tanh(), "the gate is a sum still: put it through the logistic"),
        (gate.sigmoid() * cell, "the cell is not bounded: it goes through tanh before the gate"),
        (gate.tanh() * cell.tanh(), "a gate lies between 0 and 1: the logistic, not tanh"),
        (gate.sigmoid() * cell.sigmoid(), "the cell goes through tanh, the gate through the logistic"),
        (gate.tanh() * cell.sigmoid(), "logistic and tanh are exchanged: gate and cell have the other one each"),
        (gate.softmax(-1) * cell.tanh(), "each unit has its own gate: the logistic, not a softmax over units"),
        ((1 - gate.sigmoid()) * cell.tanh(), "the gate is the wrong way round: 1 lets the cell through"),
        (cell.tanh(), "the gate is missing: it says unit by unit what is shown of the cell"),
    ]
    right = gate.sigmoid() * cell.tanh()
    compare_draws(
        [(tensor(function, tuple(right.shape), gate, cell), right, mistakes)],
        "the sentinel differs from the gated cell",
    )


def look_or_remember(function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 11.3, second half: scores of the patches (B, S) and of the sentinel (B,), patches (B, S, d), the
    sentinel (B, d) -> what is read, (B, d)."""
    generator = torch.Generator().manual_seed(14 + 1000 * other)
    draws: list[Draw] = []
    for batch, count, d in ((2, 4, 3), (3, 6, 5)):
        scores, own = torch.randn(batch, count, generator=generator), torch.randn(batch, generator=generator)
        patches, memory = (
            torch.randn(batch, count, d, generator=generator),
            torch.randn(batch, d, generator=generator),
        )
        weights = torch.cat([scores, own[:, None]], -1).softmax(-1)  # (B, S + 1)

        def mix(look: Tensor, remember: Tensor, patches: Tensor = patches, memory: Tensor = memory) -> Tensor:
            return (look[..., None] * patches).sum(1) + remember[:, None] * memory

        right = mix(weights[:, :-1], weights[:, -1])
        alone, gate = scores.softmax(-1), own.sigmoid()
        first = torch.cat([own[:, None], scores], -1).softmax(-1)
        mistakes = [
            (mix(alone, torch.ones(batch)), "the sentinel has no share of the weight: it stands in the same softmax"),
            (mix(alone, weights[:, -1]), "the weights sum to more than 1: one softmax over patches and sentinel"),
            (mix(alone, torch.zeros(batch)), "the sentinel is missing: it is one more thing to look at"),
            (
                mix(weights[:, :-1], torch.zeros(batch)),
                "the sentinel took its share and says nothing: add it, weighted",
            ),
            (
                mix(alone * (1 - gate)[:, None], gate),
                "the sentinel's score became a gate of its own: let it compete with the patches in one softmax",
            ),
            (
                mix(torch.cat([scores, own[:, None]], -1).sigmoid()[:, :-1], gate),
                "the weights do not sum to 1: a softmax, not the logistic",
            ),
            (mix(scores, own), "scores are used as weights: put them through a softmax"),
            (
                mix(weights[:, 1:], weights[:, 0]),
                "the weight of one was given to another: keep the order in which they stand in the softmax",
            ),
            (
                mix(weights[:, :-1], torch.ones(batch)),
                "the sentinel came in whole: it counts by its weight, as each patch does",
            ),
            (
                mix(first[:, :-1], first[:, -1]),
                "the sentinel stands first in your softmax and is read as the last of it",
            ),
            (
                mix(torch.cat([scores, own[:, None]], -1).softmax(0)[:, :-1], weights[:, -1]),
                "the softmax runs over the studies: it is the last axis",
            ),
        ]
        draws.append((tensor(function, (batch, d), scores, own, patches, memory), right, mistakes))
    compare_draws(draws, "what is read differs from one softmax over patches and sentinel")


# --- Exercise 11.4 ----------------------------------------------------------------------------------------------------


def rewrite(function: Callable[[Tensor, Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 11.4: the sums before both gates (B, R, 2d), input first, the candidate and the memory before it
    (B, R, d) -> the memory after it."""
    generator = torch.Generator().manual_seed(15 + 1000 * other)
    draws: list[Draw] = []
    for rows, d in ((3, 4), (2, 6)):
        gates, new, old = (2 * torch.randn(2, rows, k * d, generator=generator) for k in (2, 1, 1))
        comes, stays = gates.sigmoid().chunk(2, -1)
        raw = gates.chunk(2, -1)
        mistakes = [
            (stays * new.tanh() + comes * old, "the gates are exchanged: the first half is the input gate"),
            (comes * new + stays * old, "the candidate goes through tanh: without, the memory grows word by word"),
            (comes * new.tanh() + stays * old.tanh(), "what stays, stays as it is: no tanh on the old memory"),
            ((comes * new + stays * old).tanh(), "tanh is on the candidate alone, not on the sum"),
            (raw[0] * new.tanh() + raw[1] * old, "the gates are sums still: put them through the logistic"),
            (
                comes * new.tanh() + (1 - comes) * old,
                "that is one gate for both: the forget gate is a number of its own, and they need not sum to 1",
            ),
            (stays * old + (1 - stays) * new.tanh(), "that is one gate for both: the input gate has its own half"),
            (comes * new.tanh(), "nothing stays: the forget gate lets the old memory through"),
            (comes * new.tanh() + (1 - stays) * old, "a forget gate of 1 keeps: it multiplies the old memory"),
            (comes * new.tanh() + old, "nothing is forgotten: the old memory has a gate too"),
            (
                gates.softmax(-1).chunk(2, -1)[0] * new.tanh() + gates.softmax(-1).chunk(2, -1)[1] * old,
                "each number has its own gate: the logistic, not a softmax",
            ),
        ]
        right = comes * new.tanh() + stays * old
        draws.append((tensor(function, tuple(right.shape), gates, new, old), right, mistakes))
    compare_draws(draws, "the memory differs from the library's after a word")


# --- Exercise 11.5 ----------------------------------------------------------------------------------------------------


def share_that_moves(function: Callable[[Tensor], float], *, other: int = 0) -> None:
    """Exercise 11.5: what was added to a norm's gain at n words, (n, d) -> the share of its mean square that changes
    from word to word."""
    generator = torch.Generator().manual_seed(16 + 1000 * other)
    draws: list[Draw] = []
    for n, d, offset in ((5, 4, 1.0), (8, 3, 0.2)):
        added = offset * torch.randn(d, generator=generator) + torch.randn(n, d, generator=generator)
        fixed, total = added.mean(0), added.square().mean()
        moving = (added - fixed).square().mean()
        mistakes = [
            (fixed.square().mean() / total, "this is the share that does not change: the rest is asked for"),
            (moving, "this is the mean square of what changes: divide by that of the whole"),
            (moving / fixed.square().mean(), "this is changing over fixed: divide by the mean square of the whole"),
            ((moving / total).sqrt(), "this is a ratio of lengths: shares of the mean *square* sum to 1"),
            (
                (added - added.mean(1, keepdim=True)).square().mean() / total,
                "the mean was taken over the units: each unit's fixed part is its mean over the words",
            ),
            (
                (added - added.mean()).square().mean() / total,
                "one mean for all units was taken off: each unit has its own fixed part",
            ),
            (added.var(0).mean() / total, "divide by n, not n - 1: only then do the two shares sum to 1"),
            (
                ((added - fixed).square().mean(0) / added.square().mean(0)).mean(),
                "this is the mean of the units' shares: large units count more, so take both means over all numbers",
            ),
            (
                added.diff(dim=0).square().mean() / total,
                "these are differences of neighbours: compare each word with the mean of all",
            ),
        ]
        draws.append((tensor(function, (), added), moving / total, mistakes))
    compare_draws(draws, "the share of the mean square that changes is not right")


# --- Exercise 11.6 ----------------------------------------------------------------------------------------------------

Weigh = Callable[[Tensor], Tensor]


def neighbours_change(function: Callable[[Weigh, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 11.6: scores -> weights of the same shape, and scores (B, K, d) -> (B,), the largest change of each
    study's weights when it is weighed alone, as a batch of one."""
    generator = torch.Generator().manual_seed(17 + 1000 * other)
    draws: list[Draw] = []
    for weigh, (batch, count, d) in (
        (lambda x: x.softmax(0), (4, 3, 5)),
        (lambda x: x.softmax(1) if x.ndim == 3 else x.softmax(-1), (3, 5, 2)),
        (lambda x: x - x.mean(0), (5, 2, 4)),
    ):
        scores = 2 * torch.randn(batch, count, d, generator=generator)
        together = weigh(scores)
        alone = torch.cat([weigh(scores[i : i + 1]) for i in range(batch)])
        right = (together - alone).abs().amax((1, 2))

        def from_all(weights: Tensor, together: Tensor = together) -> Tensor:
            return (together - weights).abs().amax((1, 2))

        mistakes = [
            ((together - alone).amax((1, 2)), "a weight that falls has changed too: take absolute values first"),
            ((together - alone).abs().mean((1, 2)), "this is the mean change of a study's weights: return the largest"),
            ((together - alone).abs().sum((1, 2)), "this is the sum of the changes: return the largest"),
            (right.max().expand(batch), "this is the largest of all studies: return one for each"),
            (
                from_all(torch.stack([weigh(row) for row in scores])),
                "a study alone is a batch of one, (1, K, d): without its first axis the others mean something else",
            ),
            (
                from_all(torch.cat([weigh(scores[i : i + 1].expand(batch, -1, -1))[:1] for i in range(batch)])),
                "a batch of copies is not alone: weigh a batch of one",
            ),
            (
                from_all(weigh(scores[:1]).expand_as(scores)),
                "the first study alone was compared with all: each study is compared with itself",
            ),
            (
                torch.stack([from_all(alone[i : i + 1].expand_as(scores)).amax() for i in range(batch)]),
                "a study was compared with all studies of the batch: compare it with itself",
            ),
        ]
        draws.append((tensor(function, (batch,), weigh, scores), right, mistakes))
    compare_draws(draws, "the changes are not right: each study's weights in the batch, less those it has alone")
