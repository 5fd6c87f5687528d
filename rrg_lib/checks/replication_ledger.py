"""The checks of chapter 10's exercises. An answer is run on numbers of ours, compared with the rule, then with the usual mistakes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean
from typing import Any

from rrg_lib.checks import CheckError, answered
from rrg_lib.checks.numbers import compare, number

# --- Exercise 10.1 ----------------------------------------------------------------------------------------------------------------------------------

#: (better, worse) as printed: clear both ways, neighbours in the last digit, two apart, zeros at the end, another number of digits.
PAIRS = (
    ("0.199", "0.168"),
    ("0.168", "0.199"),
    ("0.137", "0.138"),
    ("0.525", "0.526"),
    ("0.170", "0.172"),
    ("0.1607", "0.161"),
    ("0.1607", "0.170"),
    ("0.170", "0.174"),
    ("8.2", "8.3"),
    ("0.25", "0.255"),
)


def rounding_verdict(answer: Callable[[str, str], str], *, other: int = 0) -> None:
    """`answer(better, worse)`: "contradicted" when no numbers that round to the two texts let the first be at least the second, else "consistent"."""
    name = "rounding_verdict"
    for better, worse in (*PAIRS, *_printed(other)):
        found = answered(name, answer, better, worse)
        if found not in ("consistent", "contradicted"):
            raise CheckError(f"{name}: it returns {found!r}; return 'consistent' or 'contradicted'")
        right = _rounding(better, worse)
        if found != right:
            raise CheckError(f"{name}: that {better} is above {worse} is {right}, not {found}. {_rounding_hint(answer, better, worse)}")


def _printed(other: int) -> list[tuple[str, str]]:
    """More pairs of printed numbers that lie close together, when the lesson's are known; none for 0."""
    draw = random.Random(other)
    bases = [draw.uniform(0.1, 0.6) for _ in range(20 if other else 0)]
    return [tuple(f"{base + draw.uniform(-0.003, 0.003):.{draw.choice((2, 3, 4))}f}" for _ in "ab") for base in bases]


def _rounding(better: str, worse: str, *, unit: float = 0.5, digits: Callable[[str], str] = str) -> str:
    (a, half_a), (b, half_b) = ((Decimal(x), Decimal(unit) * Decimal(1).scaleb(-len(digits(x).partition(".")[2]))) for x in (better, worse))
    return "contradicted" if a + half_a < b - half_b else "consistent"


def _rounding_hint(answer: Callable[[str, str], str], better: str, worse: str) -> str:
    found = [answer(*pair) for pair in PAIRS]
    slips = {
        "You compare the numbers as they stand: a printed 0.137 may be anything from 0.1365 to 0.1375.": lambda a, b: _rounding(a, b, unit=0),
        "You compare the wrong way round: the claim is that the *first* is above.": lambda a, b: _rounding(b, a),
        "The interval reaches half a unit of the last digit to each side, not a whole one.": lambda a, b: _rounding(a, b, unit=1),
        "Count the digits of the text: float('0.170') has forgotten the zero that says how it was rounded.": lambda a, b: _rounding(
            a, b, digits=lambda x: str(float(x))
        ),
        "Each text has its own number of digits, and so its own half unit: two papers may round differently.": lambda a, b: _rounding(
            a, b, digits=lambda x: "0.000"
        ),
    }
    for hint, slip in slips.items():
        if found == [slip(*pair) for pair in PAIRS]:
            return hint
    if _rounding(better, worse, unit=0) != _rounding(better, worse):
        return "What the rounding allows is no contradiction; two intervals that only touch allow it. (Binary fractions make touching ends differ: round them.)"
    return "It is contradicted when even the highest that the first may be is less than the lowest that the second may be."


# --- Exercise 10.2 ----------------------------------------------------------------------------------------------------------------------------------

#: (system, base): scores by metric, made.
GAINS = (
    ({"BLEU-1": 0.5, "BLEU-4": 0.2, "METEOR": 0.2}, {"BLEU-1": 0.4, "BLEU-4": 0.1, "METEOR": 0.18}),
    ({"BLEU-1": 0.36, "BLEU-4": 0.12}, {"BLEU-1": 0.4, "BLEU-4": 0.1}),
)


def average_gain(answer: Callable[[Mapping[str, float], Mapping[str, float]], float], *, other: int = 0) -> None:
    """`answer(system, base)` is the mean over the metrics of (system - base) / base, in per cent."""
    for pair in GAINS:
        draw = random.Random(other)
        system, base = ({metric: score * (draw.uniform(0.8, 1.2) if other else 1) for metric, score in scores.items()} for scores in pair)
        pairs = [(system[metric], base[metric]) for metric in base]
        right = 100 * fmean(s / b - 1 for s, b in pairs)
        slips = {
            "you divide the mean score by the mean score; large metrics then drown small ones: first the gain of each metric, then the mean": 100
            * (fmean(s for s, _ in pairs) / fmean(b for _, b in pairs) - 1),
            "these are points, not a share: divide each difference by the base": 100 * fmean(s - b for s, b in pairs),
            "the 1 is missing: a system that is as good as the base gains 0 %, not 100 %": 100 * fmean(s / b for s, b in pairs),
            "you divide by the system; what is gained is gained *over the base*": 100 * fmean(1 - b / s for s, b in pairs),
            "the two are swapped: base over system": 100 * fmean(b / s - 1 for s, b in pairs),
            "this is a share; in per cent it is a hundred times that": right / 100,
            "one metric alone is no average: take all of them": 100 * (pairs[1][0] / pairs[1][1] - 1),
            "this is the sum over the metrics; divide by their number": right * len(pairs),
        }
        compare("average_gain", number("average_gain", answer, system, base), right, slips, "the average gain, in per cent,", abs_tol=0.0)


# --- Exercise 10.3 ----------------------------------------------------------------------------------------------------------------------------------


def share_of_slots(answer: Callable[..., float], *, other: int = 0) -> None:
    """`answer(slots, d, base, maps)`: parameters of a matrix of slots x d and of `maps` linear maps of d to d with bias, in per cent of `base`."""
    for slots, d, base, maps in ((4096, 512, 60_000_000, 0), (4096, 512, 60_000_000, 4), (128, 64, 500_000, 4)):
        slots, d, base = slots + 7 * other, d + 3 * other, base + 1001 * other
        matrix, linear = slots * d, maps * (d * d + d)
        right = 100 * (matrix + linear) / base
        slips = {
            "a linear map has a bias too: d more numbers each": 100 * (matrix + maps * d * d) / base,
            "the linear maps are missing: count `maps` of them": 100 * matrix / base,
            "the matrix is missing: slots times d numbers": 100 * linear / base,
            "you count the maps once, whatever their number": 100 * (matrix + d * d + d) / base,
            "you divide by everything together; extra parameters are a share of what was there *before*": 100
            * (matrix + linear)
            / (base + matrix + linear),
            "this is a share; in per cent it is a hundred times that": right / 100,
            "these are bytes; a parameter is one number": 4 * right,
            "a slot is a vector of d numbers, not one": 100 * (slots + linear) / base,
        }
        what = f"the share of {slots} slots and {maps} maps"
        compare("share_of_slots", number("share_of_slots", answer, slots, d, base, maps), right, slips, what, abs_tol=0.0)


# --- Exercise 10.4 ----------------------------------------------------------------------------------------------------------------------------------

#: (scores of A's seeds, s_studies of A, the same of B, t).
ORDERS = (
    ([0.15, 0.151, 0.149], 0.003, [0.12, 0.121, 0.119], 0.003, 1.96),
    ([0.12, 0.121, 0.119], 0.003, [0.15, 0.151, 0.149], 0.003, 1.96),
    ([0.125, 0.126, 0.124], 0.003, [0.12, 0.121, 0.119], 0.003, 1.96),
    ([0.12, 0.121, 0.119], 0.003, [0.125, 0.126, 0.124], 0.003, 1.96),
    ([0.123, 0.124, 0.122], 0.003, [0.12, 0.121, 0.119], 0.003, 1.96),
    ([0.15, 0.151], 0.003, [0.12, 0.121], 0.003, 1.96),
    ([0.15, 0.151, 0.149], 0.0, [0.12], 0.0, 1.96),
    ([0.130, 0.131, 0.129], 0.0, [0.12, 0.121, 0.119], 0.006, 1.96),
    ([0.130, 0.131, 0.129], 0.006, [0.12, 0.121, 0.119], 0.0, 1.96),
    ([0.150, 0.138, 0.126], 0.0, [0.12, 0.12, 0.12], 0.0, 1.96),
    ([0.12, 0.12, 0.12], 0.0, [0.150, 0.138, 0.126], 0.0, 1.96),
    ([0.148, 0.128, 0.144], 0.0, [0.12, 0.12, 0.12, 0.12], 0.0, 3.5),
    ([0.1305, 0.1295, 0.13], 0.004, [0.12, 0.12, 0.12], 0.004, 1.5),
    ([0.1285, 0.1275, 0.128], 0.003, [0.12, 0.12, 0.12], 0.003, 1.96),
    ([0.1385, 0.12, 0.1385], 0.0, [0.12] * 3, 0.0, 1.96),
    ([0.15, 0.12, 0.123], 0.0, [0.12] * 3, 0.0, 1.96),
)
Order = Callable[[Sequence[float], float, Sequence[float], float, float], str]


def order_verdict(answer: Order, *, other: int = 0) -> None:
    """`answer(a, s_a, b, s_b, t)`: "holds", "fails" or "undecided" for "A is above B" (`rrg_lib.evaluation.measured`)."""
    name = "order_verdict"
    found, draw = [], random.Random(other)
    stretch, shift = (draw.uniform(0.5, 2), draw.uniform(0, 0.3)) if other else (1.0, 0.0)  # which leave every order as it is
    cases = [([x * stretch + shift for x in a], s_a * stretch, [x * stretch + shift for x in b], s_b * stretch, t) for a, s_a, b, s_b, t in ORDERS]
    cases = draw.sample(cases, len(cases)) if other else cases
    for case in cases:
        found.append(answered(name, answer, *case))
        if found[-1] not in ("holds", "fails", "undecided"):
            raise CheckError(f"{name}: it returns {found[-1]!r}; return 'holds', 'fails' or 'undecided'")
    right = [_order(*case) for case in cases]
    if found == right:
        return
    slips: dict[str, dict[str, Any]] = {
        "fewer than three seeds of either decide nothing": {"fewest": 1},
        "within the margin nothing is decided: that is 'undecided', not 'fails'": {"within": "fails"},
        "a difference below minus the margin means that the order *fails*": {"below": "undecided"},
        "the variance of a *mean* of n seeds is that of the seeds over n": {"over_n": False},
        "of a sample the variance divides by n - 1": {"ddof": 0},
        "the studies are missing: another test set would have given another score": {"studies": False},
        "the seeds are missing: another training would have given another score": {"seeds": False},
        "B's mean varies as well: add its variance": {"of_b": False},
        "variances are added and then rooted; you add the roots": {"roots": True},
        "the factor is missing: the margin is t times the standard deviation": {"use_t": False},
        "the margin is missing: any difference decides": {"margin": False},
        "averaging seeds does not shrink what the studies do: they were the same for all": {"studies_over_n": True},
        "the order is turned round: A is claimed to be above B": {"swap": True},
    }
    for hint, options in slips.items():
        if found == [_order(*case, **options) for case in cases]:
            raise CheckError(f"{name}: {hint}")
    case, wrong, expected = next((case, f, r) for case, f, r in zip(cases, found, right, strict=True) if f != r)
    raise CheckError(f"{name}: seeds {case[0]} (s_studies {case[1]}) against {case[2]} ({case[3]}), t = {case[4]}: {expected}, not {wrong}")


def _order(a, s_a, b, s_b, t, *, fewest=3, within="undecided", below="fails", over_n=True, ddof=1, studies=True, seeds=True, of_b=True, roots=False,
           use_t=True, margin=True, studies_over_n=False, swap=False) -> str:  # fmt: skip
    if min(len(a), len(b)) < fewest:
        return "undecided"

    def variance(scores: Sequence[float], s: float) -> float:
        spread = sum((x - fmean(scores)) ** 2 for x in scores) / max(1, len(scores) - ddof) / (len(scores) if over_n else 1)
        return (s**2 / (len(scores) if studies_over_n else 1) if studies else 0.0) + (spread if seeds else 0.0)

    parts = [variance(a, s_a), *([variance(b, s_b)] if of_b else [])]
    needed = (sum(map(math.sqrt, parts)) if roots else math.sqrt(sum(parts))) * (t if use_t else 1) * margin
    difference = (fmean(a) - fmean(b)) * (-1 if swap else 1)
    return "holds" if difference > needed else below if difference < -needed else within
