"""The check of exercise 3.7: why the report that a search found is likelier than another."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rrg_lib.book.checks import answered
from rrg_lib.book.checks.explanations import compare, explanation

MEASURED = ("the gain by words", "the gain by length")
REASONS = ("words", "length", "none")
#: Reports of two searches for the same studies: summed log-probabilities and lengths of the one, then of the other,
#: (n,) each.
Searches = tuple[Tensor, Tensor, Tensor, Tensor]


def why_likelier(
    answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Sequence[float], str]], *, other: int = 0
) -> None:
    """`answer(totals_a, lengths_a, totals_b, lengths_b)`: the gain of B over A by words and by length, means over
    studies; and the larger part's name."""
    name, cases = "why_likelier", _searches(other)
    found = [
        explanation(name, answered(name, answer, *(part.clone() for part in case)), MEASURED, REASONS) for case in cases
    ]
    right = [_parts(*case) for case in cases]

    def instead(measure: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> list[list[float]]:
        """Of every case, what `measure` makes of lengths and means of A and B."""
        return [[part.mean().item() for part in measure(n, a / n, m, b / m)] for a, n, b, m in cases]

    slips = {
        "the two parts are exchanged: words first, then length": [parts[::-1] for parts in right],
        "the gain is that of B over A: you took what A has more": [[-part for part in parts] for parts in right],
        "the gains of the studies are added up: take their mean": [
            [len(case[0]) * part for part in parts] for parts, case in zip(right, cases, strict=True)
        ],
        "it is twice the gain: between the two reports stands the *mean* of the two lengths, and of the two means": [
            [2 * part for part in parts] for parts in right
        ],
        "both parts start at A, so they do not add up to the gain: use what lies midway between A and B": instead(
            lambda n, p, m, q: ((q - p) * n, (m - n) * p)
        ),
        "both parts start at B, so they do not add up to the gain: use what lies midway between A and B": instead(
            lambda n, p, m, q: ((q - p) * m, (m - n) * q)
        ),
        "this is one order, the length changed first and the words after it; the other order gives other parts. Midway "
        "is fair to both": instead(lambda n, p, m, q: ((q - p) * m, (m - n) * p)),
        "this is one order, the words changed first and the length after them; the other order gives other parts. "
        "Midway is fair to both": instead(lambda n, p, m, q: ((q - p) * n, (m - n) * q)),
        "a difference a word, or of words, is no gain of a report: each is to be multiplied by the other "
        "quantity": instead(lambda n, p, m, q: (q - p, (m - n).double())),
        "the studies were averaged before the parts were taken: split the gain of every study, then take the mean": [
            _parts(*(part.double().mean()[None] for part in case)) for case in cases
        ],
    }
    larger = ["words" if words > length else "length" for words, length in right]
    reasons = [reason if sum(parts) > 0 else "none" for reason, parts in zip(larger, right, strict=True)]
    each = [[_parts(*(part[i][None] for part in case)) for i in range(len(case[0]))] for case in cases]
    readings = {
        "where B is not likelier on average, there is no gain to explain": larger,
        "where B is not likelier on average, there is no gain to explain, however large a part is": [
            "words" if abs(words) > abs(length) else "length" for words, length in right
        ],
        "fewer words, or a part above 0, are not enough: the *larger* part explains the gain": [
            "none" if reason == "none" else "length" if length > 0 else "words"
            for reason, (_, length) in zip(reasons, right, strict=True)
        ],
        "better words are not enough: the *larger* part explains the gain": [
            "none" if reason == "none" else "words" if words > 0 else "length"
            for reason, (words, _) in zip(reasons, right, strict=True)
        ],
        "the means over the studies decide, not the number of studies in which a part is larger": [
            "none" if reason == "none" else ("length", "words")[int(sum(w > n for w, n in studies) > len(studies) / 2)]
            for reason, studies in zip(reasons, each, strict=True)
        ],
        "the mean gain decides whether B is likelier, not the number of studies in which it is": [
            "none" if sum(w + n > 0 for w, n in studies) < len(studies) / 2 else longer
            for longer, studies in zip(larger, each, strict=True)
        ],
        "the smaller part is no explanation: it is the wrong way round": [
            {"words": "length", "length": "words", "none": "none"}[r] for r in reasons
        ],
    }
    compare(name, found, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _parts(totals_a: Tensor, lengths_a: Tensor, totals_b: Tensor, lengths_b: Tensor) -> list[float]:
    p, q = totals_a / lengths_a, totals_b / lengths_b
    return [
        ((q - p) * (lengths_a + lengths_b) / 2).mean().item(),
        ((lengths_b - lengths_a) * (p + q) / 2).mean().item(),
    ]


def _searches(other: int) -> list[Searches]:
    """Two cases for each gain, in one of which both parts are above 0; two without a gain, in each of which another
    part is; and two in which one study gains so much by words that the means do too, though most studies gain by
    length, or nothing."""
    draw, cases = random.Random(other), []
    wanted: tuple[Callable[[float, float], bool], ...] = (
        lambda words, length: words > length + 0.3 and length > 0.2,
        lambda words, length: words > 0.4 - length and length < -0.2,
        lambda words, length: length > words + 0.3 and words > 0.2,
        lambda words, length: length > 0.4 - words and words < -0.2,
        lambda words, length: words + length < -0.4 and words > 0.2,
        lambda words, length: words + length < -0.4 and length > 0.2,
    )
    for fits in wanted:
        while True:
            n, shift, gain = draw.randint(4, 7), draw.randint(-9, 9), draw.uniform(-0.25, 0.25)
            lengths_a = torch.tensor([draw.randint(12, 30) for _ in range(n)])
            lengths_b = torch.tensor([max(3, length + shift + draw.randint(-2, 2)) for length in lengths_a.tolist()])
            means = torch.tensor([draw.uniform(-0.6, -0.3) for _ in range(n)], dtype=torch.float64)
            better = torch.tensor([draw.gauss(gain, 0.03) for _ in range(n)], dtype=torch.float64)
            case = means * lengths_a, lengths_a, (means + better).clamp(max=-0.02) * lengths_b, lengths_b
            if fits(*_parts(*case)):
                break
        cases.append(case)
    for longer, worse in (
        (-2, 0.01),
        (1, 0.02),
    ):  # of four studies; the fifth is as long in B, and each word far likelier
        lengths_a = torch.tensor([draw.randint(18, 24) for _ in range(5)])
        lengths_b = lengths_a + torch.tensor([longer] * 4 + [0])
        means = torch.tensor([draw.uniform(-0.7, -0.6) for _ in range(5)], dtype=torch.float64)
        cases.append(
            (means * lengths_a, lengths_a, (means + torch.tensor([-worse] * 4 + [0.5])) * lengths_b, lengths_b)
        )
    return draw.sample(cases, len(cases))
