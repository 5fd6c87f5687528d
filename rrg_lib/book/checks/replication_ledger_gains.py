"""The check of exercise 10.5: why a second paper's gain is another."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from rrg_lib.book.checks import answered
from rrg_lib.book.checks.explanations import compare, explanation

#: What may set two gains apart, in the order in which it is asked; and when none is enough.
REASONS = ("rounding", "seeds", "studies")
NONE = "something else"
ANSWERS = (*REASONS, NONE)
MEASURED = ("the reach of rounding", "the reach of the seeds", "the reach of seeds and studies")
Gap = tuple[tuple[float, float], float, list[float], list[float], tuple[tuple[float, float], tuple[float, float]]]


def what_explains(answer: Callable[..., tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """`answer(gains, half, a, b, intervals)`: the reaches of rounding, seeds, seeds and studies; and the first that is
    enough, or "something else"."""
    name = "what_explains"
    cases = _gaps(other)
    found = [
        explanation(name, answered(name, answer, gains, half, list(a), list(b), both), MEASURED, ANSWERS)
        for gains, half, a, b, both in cases
    ]
    right, apart = [_reaches(*case) for case in cases], [gains[0] - gains[1] for gains, *_ in cases]
    reasons = [_first(abs(gap), row) for gap, row in zip(apart, right, strict=True)]
    slips: dict[str, dict[str, Any]] = {
        "each gain is the difference of two printed scores, and two gains are compared: more than that may be off": {
            "printed": 1
        },
        "you rounded the two gains; rounded were the scores behind them": {"printed": 2},
        "this is the spread of *one* gain: the other paper trained anew as well, and both gains move": {"varied": 1},
        "each paper trained A and B once: what is asked is no mean of n seeds": {"over_n": True},
        "of a sample the variance divides by n - 1": {"ddof": 0},
        "B was trained again too: its seeds move the gain as A's do": {"of_b": False},
        "standard deviations do not add up: add the variances, then take the root": {"roots": True},
        "this is one standard deviation; chance reaches two": {"sds": 1},
        "a variance is no distance: take its root": {"square": True},
        "you took the whole interval for one standard deviation": {"width": 1},
        "half an interval is two standard deviations, not one": {"width": 2},
        "on another test set the seeds differ as well: the last reach holds both": {"both": False},
    }
    readings = {
        "a distance has no sign: the second gain may be the larger one": [
            _first(gap, row) for gap, row in zip(apart, right, strict=True)
        ],
        "it is the *distance* of the two gains that is to be explained, not a gain": [
            _first(abs(c[0][1]), row) for c, row in zip(cases, right, strict=True)
        ],
        "not the gain of the first paper is to be explained: how far is the second from it?": [
            _first(abs(c[0][0]), row) for c, row in zip(cases, right, strict=True)
        ],
        "the longest reach is not the explanation: the first that is enough needs nothing more to be assumed": [
            REASONS[max(range(3), key=row.__getitem__)] for row in right
        ],
        "you never say 'something else': some gains lie further apart than seeds and studies can bring them": [
            "studies" if reason == NONE else reason for reason in reasons
        ],
        "a reason explains a distance that is *within* its reach": [
            next((r for r, reach in zip(REASONS, row, strict=True) if abs(gap) > reach), NONE)
            for gap, row in zip(apart, right, strict=True)
        ],
        "rounding comes first: where it is enough, nobody need have trained again": [
            next((r for r, reach in zip(REASONS[1:], row[1:], strict=True) if abs(gap) <= reach), NONE)
            for gap, row in zip(apart, right, strict=True)
        ],
    }
    measured_instead = {hint: [_reaches(*case, **options) for case in cases] for hint, options in slips.items()}
    compare(name, found, list(zip(right, reasons, strict=True)), MEASURED, measured_instead, readings)


def _gaps(other: int) -> list[Gap]:
    """Two cases for each explanation; the second paper's gain is the smaller one in one, the larger one in the
    other."""
    draw, cases = random.Random(other), []
    for reason, half in zip(ANSWERS * 2, (5e-3, 5e-4, 5e-4, 5e-4, 5e-4, 5e-5, 5e-5, 5e-3), strict=True):
        middle, n = draw.uniform(0.1, 0.5), draw.choice((3, 4, 5))
        a, b = (
            [x + draw.uniform(0.003, 0.006) * z for z in (-1.2, 0.1, 1.0, 0.5, -0.7)[:n]]
            for x in (middle + draw.uniform(0, 0.03), middle)
        )
        if (
            close := reason == "rounding" and half < 1e-3
        ):  # here the seeds would not be enough, in the other case of rounding they would
            a, b = ([middle + 5e-5 * x for x in range(n)] for _ in "ab")
        widths = [draw.uniform(0.03, 0.06) for _ in "ab"]
        both = tuple(
            (sum(x) / n - width * 0.45, sum(x) / n + width * 0.55) for x, width in zip((a, b), widths, strict=True)
        )
        rounding, seeds, studies = _reaches((0.0, 0.0), half, a, b, both)
        low, high = {
            "rounding": (0.0, rounding if close else min(rounding, seeds)),
            "seeds": (rounding, seeds),
            "studies": (max(rounding, seeds), studies),
        }.get(reason, (studies, 3 * studies))
        gap, first = low + draw.uniform(0.3, 0.8) * (high - low), draw.uniform(0.005, 0.03)
        cases.append(((first, first + (gap if len(cases) < 4 else -gap)), half, a, b, both))
    return draw.sample(cases, len(cases))


def _reaches(
    _,
    half,
    a,
    b,
    intervals,
    *,
    printed=4,
    varied=2,
    over_n=False,
    ddof=1,
    of_b=True,
    roots=False,
    sds=2,
    square=False,
    width=4,
    both=True,
) -> list[float]:
    """Of rounding, seeds, seeds and studies; the options are slips."""
    scores = (a, b) if of_b else (a,)
    of_seeds = [sum((x - fmean(s)) ** 2 for x in s) / (len(s) - ddof) / (len(s) if over_n else 1) for s in scores]
    of_studies = [((high - low) / width) ** 2 for low, high in intervals[: len(scores)]]

    def reach(variances: Sequence[float]) -> float:
        if square:
            return sds * varied * sum(variances)
        return sds * (varied**0.5 * sum(map(math.sqrt, variances)) if roots else math.sqrt(varied * sum(variances)))

    return [printed * half, reach(of_seeds), reach([*(of_seeds if both else ()), *of_studies])]


def _first(gap: float, reaches: Sequence[float]) -> str:
    return next((reason for reason, reach in zip(REASONS, reaches, strict=True) if gap <= reach), NONE)
