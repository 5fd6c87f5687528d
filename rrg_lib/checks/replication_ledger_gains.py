"""The check of exercise 10.5: why a second paper's gain is another."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from rrg_lib.checks import CheckError, answered

#: What may set two gains apart, in the order in which it is asked; and when none is enough.
REASONS = ("rounding", "seeds", "studies")
NONE = "something else"
Gap = tuple[tuple[float, float], float, list[float], list[float], tuple[tuple[float, float], tuple[float, float]]]


def what_explains(answer: Callable[..., tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """`answer(gains, half, a, b, intervals)`: the reaches of rounding, seeds, seeds and studies; and the first that is enough, or "something else"."""
    name = "what_explains"
    cases = _gaps(other)
    found = [_reaches_and_reason(name, answered(name, answer, gains, half, list(a), list(b), both)) for gains, half, a, b, both in cases]
    right, reaches = [_reaches(*case) for case in cases], [reaches for reaches, _ in found]
    slips: dict[str, dict[str, Any]] = {
        "each gain is the difference of two printed scores, and two gains are compared: more than that may be off": {"printed": 1},
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
    if not _same(reaches, right):
        for hint, options in slips.items():
            if _same(reaches, [_reaches(*case, **options) for case in cases]):
                raise CheckError(f"{name}: {hint}")
        case, place = next((i, j) for i, row in enumerate(right) for j in range(3) if not math.isclose(reaches[i][j], row[j], rel_tol=1e-6))
        raise CheckError(f"{name}: the reach of {REASONS[place]} is not right: {reaches[case][place]:.5f} in the case {cases[case]}")
    said, apart = [reason for _, reason in found], [gains[0] - gains[1] for gains, *_ in cases]
    if said == (reasons := [_first(abs(gap), row) for gap, row in zip(apart, right, strict=True)]):
        return
    readings = {
        "a distance has no sign: the second gain may be the larger one": [_first(gap, row) for gap, row in zip(apart, right, strict=True)],
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
            next((r for r, reach in zip(REASONS, row, strict=True) if abs(gap) > reach), NONE) for gap, row in zip(apart, right, strict=True)
        ],
        "rounding comes first: where it is enough, nobody need have trained again": [
            next((r for r, reach in zip(REASONS[1:], row[1:], strict=True) if abs(gap) <= reach), NONE) for gap, row in zip(apart, right, strict=True)
        ],
    }
    for hint, wrong in readings.items():
        if said == wrong:
            raise CheckError(f"{name}: {hint}")
    case = next(i for i, (a, b) in enumerate(zip(said, reasons, strict=True)) if a != b)
    raise CheckError(
        f"{name}: gains {cases[case][0]} with reaches {[round(x, 4) for x in right[case]]}: not {said[case]!r}; ask one reason after the other"
    )


def _gaps(other: int) -> list[Gap]:
    """Two cases for each explanation; the second paper's gain is the smaller one in one, the larger one in the other."""
    draw, cases = random.Random(other), []
    for reason, half in zip((*REASONS, NONE) * 2, (5e-3, 5e-4, 5e-4, 5e-4, 5e-4, 5e-5, 5e-5, 5e-3), strict=True):
        middle, n = draw.uniform(0.1, 0.5), draw.choice((3, 4, 5))
        a, b = ([x + draw.uniform(0.003, 0.006) * z for z in (-1.2, 0.1, 1.0, 0.5, -0.7)[:n]] for x in (middle + draw.uniform(0, 0.03), middle))
        if close := reason == "rounding" and half < 1e-3:  # here the seeds would not be enough, in the other case of rounding they would
            a, b = ([middle + 5e-5 * x for x in range(n)] for _ in "ab")
        widths = [draw.uniform(0.03, 0.06) for _ in "ab"]
        both = tuple((sum(x) / n - width * 0.45, sum(x) / n + width * 0.55) for x, width in zip((a, b), widths, strict=True))
        rounding, seeds, studies = _reaches((0.0, 0.0), half, a, b, both)
        low, high = {
            "rounding": (0.0, rounding if close else min(rounding, seeds)),
            "seeds": (rounding, seeds),
            "studies": (max(rounding, seeds), studies),
        }.get(reason, (studies, 3 * studies))
        gap, first = low + draw.uniform(0.3, 0.8) * (high - low), draw.uniform(0.005, 0.03)
        cases.append(((first, first + (gap if len(cases) < 4 else -gap)), half, a, b, both))
    return draw.sample(cases, len(cases))


def _reaches(_, half, a, b, intervals, *, printed=4, varied=2, over_n=False, ddof=1, of_b=True, roots=False, sds=2, square=False, width=4, both=True
             ) -> list[float]:  # fmt: skip
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


def _same(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> bool:
    return all(math.isclose(x, y, rel_tol=1e-6) for row, other in zip(some, others, strict=True) for x, y in zip(row, other, strict=True))


def _reaches_and_reason(name: str, found: Any) -> tuple[list[float], str]:
    """The two things that were returned. Raises `CheckError` when they are something else."""
    both = "return two things, the three reaches and the reason: ((0.002, 0.01, 0.02), 'seeds')"
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise CheckError(f"{name}: it returns {found!r}; {both}")
    reaches, reason = found
    if isinstance(reaches, str):
        raise CheckError(f"{name}: {both}" + (", in this order" if not isinstance(reason, str) else ""))
    try:
        reaches = [float(reach) for reach in reaches]
    except (TypeError, ValueError):
        raise CheckError(f"{name}: the reaches are {reaches!r}; three numbers are asked for: of rounding, seeds, seeds and studies") from None
    if len(reaches) != 3:
        raise CheckError(f"{name}: it returns {len(reaches)} reaches; three are asked for: of rounding, of the seeds, of seeds and studies")
    if not isinstance(reason, str) or reason not in (*REASONS, NONE):
        raise CheckError(f"{name}: {reason!r} is none of the four reasons: {', '.join(map(repr, (*REASONS, NONE)))}")
    return reaches, reason
