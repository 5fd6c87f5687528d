"""The checks of chapter 10's exercises. An answer is run on numbers of ours, compared with the rule, then with the
usual mistakes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean
from typing import Any

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.numbers import compare, number

# --- Exercise 10.1 ----------------------------------------------------------------------------------------------------

#: (better, worse) as printed: clear both ways, neighbours in the last digit, two apart, zeros at the end, another
#: number of digits.
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
    """`answer(better, worse)`: "contradicted" when no numbers that round to the two texts let the first be at least the
    second, else "consistent"."""
    name = "rounding_verdict"
    for better, worse in (*PAIRS, *_printed(other)):
        found = answered(name, answer, better, worse)
        if found not in ("consistent", "contradicted"):
            raise CheckError(f"{name}: it returns {found!r}; return 'consistent' or 'contradicted'")
        right = _rounding(better, worse)
        if found != right:
            raise CheckError(
                f"{name}: that {better} is above {worse} is {right}, not {found}. "
                f"{_rounding_hint(answer, better, worse)}"
            )


def _printed(other: int) -> list[tuple[str, str]]:
    """More pairs of printed numbers that lie close together, when the lesson's are known; none for 0."""
    draw = random.Random(other)
    bases = [draw.uniform(0.1, 0.6) for _ in range(20 if other else 0)]
    return [tuple(f"{base + draw.uniform(-0.003, 0.003):.{draw.choice((2, 3, 4))}f}" for _ in "ab") for base in bases]


def _rounding(better: str, worse: str, *, unit: float = 0.5, digits: Callable[[str], str] = str) -> str:
    (a, half_a), (b, half_b) = (
        (Decimal(x), Decimal(unit) * Decimal(1).scaleb(-len(digits(x).partition(".")[2]))) for x in (better, worse)
    )
    return "contradicted" if a + half_a < b - half_b else "consistent"


def _touching(better: str, worse: str) -> str:
    (a, half_a), (b, half_b) = (
        (Decimal(x), Decimal(5).scaleb(Decimal(x).as_tuple().exponent - 1)) for x in (better, worse)
    )
    return "contradicted" if a + half_a <= b - half_b else "consistent"


def _binary(better: str, worse: str) -> str:
    half = [0.5 * 10.0 ** -len(text.partition(".")[2]) for text in (better, worse)]
    return "contradicted" if float(better) + half[0] < float(worse) - half[1] else "consistent"


def _rounding_hint(answer: Callable[[str, str], str], better: str, worse: str) -> str:
    found = [answer(*pair) for pair in PAIRS]
    slips = {
        "You compare the numbers as they stand: a printed 0.137 may be anything from 0.1365 to 0.1375.": lambda a, b: (
            _rounding(a, b, unit=0)
        ),
        "You compare the wrong way round: the claim is that the *first* is above.": lambda a, b: _rounding(b, a),
        "The interval reaches half a unit of the last digit to each side, not a whole one.": lambda a, b: _rounding(
            a, b, unit=1
        ),
        "Count the digits of the text: float('0.170') has forgotten the zero that says how it was "
        "rounded.": lambda a, b: _rounding(a, b, digits=lambda x: str(float(x))),
        "Each text has its own number of digits, and so its own half unit: two papers may round "
        "differently.": lambda a, b: _rounding(a, b, digits=lambda x: "0.000"),
    }
    for hint, slip in slips.items():
        if found == [slip(*pair) for pair in PAIRS]:
            return hint
    if found == [_touching(*pair) for pair in PAIRS]:
        return (
            "Two intervals that only touch allow it: the first may be at least the second, for both may be "
            "the "
            "number between them."
        )
    if found == [_binary(*pair) for pair in PAIRS]:
        return (
            "Your rule is right; your computer's binary fractions make ends that touch differ in the last "
            "place: "
            "round both before you compare."
        )
    if _rounding(better, worse, unit=0) != _rounding(better, worse):
        return "What the rounding allows is no contradiction."
    return (
        "It is contradicted when even the highest that the first may be is less than the lowest that the second may be."
    )


# --- Exercise 10.2 ----------------------------------------------------------------------------------------------------

#: (system, base): scores by metric, made.
GAINS = (
    ({"BLEU-1": 0.5, "BLEU-4": 0.2, "METEOR": 0.2}, {"BLEU-1": 0.4, "BLEU-4": 0.1, "METEOR": 0.18}),
    ({"BLEU-1": 0.36, "BLEU-4": 0.12}, {"BLEU-1": 0.4, "BLEU-4": 0.1}),
)


def average_gain(answer: Callable[[Mapping[str, float], Mapping[str, float]], float], *, other: int = 0) -> None:
    """`answer(system, base)` is the mean over the metrics of (system - base) / base, in per cent."""
    for pair in GAINS:
        draw = random.Random(other)
        system, base = (
            {metric: score * (draw.uniform(0.8, 1.2) if other else 1) for metric, score in scores.items()}
            for scores in pair
        )
        pairs = [(system[metric], base[metric]) for metric in base]
        right = 100 * fmean(s / b - 1 for s, b in pairs)
        slips = {
            "you divide the mean score by the mean score; large metrics then drown small ones: first the gain of each "
            "metric, then the mean": 100 * (fmean(s for s, _ in pairs) / fmean(b for _, b in pairs) - 1),
            "these are points, not a share: divide each difference by the base": 100 * fmean(s - b for s, b in pairs),
            "the 1 is missing: a system that is as good as the base gains 0 %, not 100 %": 100
            * fmean(s / b for s, b in pairs),
            "you divide by the system; what is gained is gained *over the base*": 100
            * fmean(1 - b / s for s, b in pairs),
            "the two are swapped: base over system": 100 * fmean(b / s - 1 for s, b in pairs),
            "this is a share; in per cent it is a hundred times that": right / 100,
            "one metric alone is no average: take all of them": 100 * (pairs[1][0] / pairs[1][1] - 1),
            "this is the sum over the metrics; divide by their number": right * len(pairs),
        }
        compare(
            "average_gain",
            number("average_gain", answer, system, base),
            right,
            slips,
            "the average gain, in per cent,",
            abs_tol=0.0,
        )


# --- Exercise 10.3 ----------------------------------------------------------------------------------------------------


def share_of_slots(answer: Callable[..., float], *, other: int = 0) -> None:
    """`answer(slots, d, base, maps)`: parameters of a matrix of slots x d and of `maps` linear maps of d to d with
    bias, in per cent of `base`."""
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
        compare(
            "share_of_slots", number("share_of_slots", answer, slots, d, base, maps), right, slips, what, abs_tol=0.0
        )


# --- Exercise 10.4 ----------------------------------------------------------------------------------------------------

#: (scores of A's seeds, of B's, s_studies of the difference, s_seeds of one training, t, t_1, delta).
ORDERS = (
    ([0.15, 0.151, 0.149], [0.12, 0.121, 0.119], 0.003, 0.002, 1.96, 1.64, 0.01),
    ([0.12, 0.121, 0.119], [0.15, 0.151, 0.149], 0.003, 0.002, 1.96, 1.64, 0.01),
    ([0.125, 0.126, 0.124], [0.12, 0.121, 0.119], 0.004, 0.002, 1.96, 1.64, 0.01),
    ([0.121, 0.122, 0.120], [0.12, 0.121, 0.119], 0.002, 0.002, 1.96, 1.64, 0.01),
    ([0.119, 0.12, 0.118], [0.12, 0.121, 0.119], 0.002, 0.002, 1.96, 1.64, 0.01),
    ([0.123, 0.124, 0.122], [0.12, 0.121, 0.119], 0.001, 0.0005, 1.96, 1.64, 0.01),
    ([0.15, 0.151], [0.12, 0.121], 0.001, 0.001, 1.96, 1.64, 0.01),
    ([0.15, 0.151, 0.149], [0.12], 0.001, 0.001, 1.96, 1.64, 0.01),
    ([0.12, 0.12], [0.12, 0.12], 0.001, 0.001, 1.96, 1.64, 0.01),
    ([0.130, 0.131, 0.129], [0.12, 0.121, 0.119], 0.006, 0.0, 1.96, 1.64, 0.01),
    ([0.130, 0.131, 0.129], [0.12, 0.121, 0.119], 0.0, 0.009, 1.96, 1.64, 0.01),
    ([0.130, 0.131, 0.129], [0.12, 0.121, 0.119], 0.0, 0.006, 1.96, 1.64, 0.01),
    ([0.150, 0.128, 0.112], [0.12, 0.12, 0.12], 0.002, 0.001, 1.96, 1.64, 0.01),
    ([0.128] * 3, [0.12] * 9, 0.0, 0.0058, 1.96, 1.64, 0.01),
    ([0.128] * 9, [0.12] * 3, 0.0, 0.0064, 1.96, 1.64, 0.01),
    ([0.1255] * 3, [0.12] * 3, 0.0029, 0.0, 1.96, 1.5, 0.01),
    ([0.1255] * 3, [0.12] * 3, 0.0029, 0.0, 1.96, 1.7, 0.01),
    ([0.1145] * 3, [0.12] * 3, 0.0029, 0.0, 1.96, 1.5, 0.01),
    ([0.1145] * 3, [0.12] * 3, 0.0029, 0.0, 1.96, 1.7, 0.01),
    ([0.129] * 3, [0.12] * 3, 0.0035, 0.0035, 1.96, 1.64, 0.02),
    ([0.1285] * 3, [0.12] * 3, 0.0033, 0.0033, 1.96, 1.64, 0.02),
)
Order = Callable[[Sequence[float], Sequence[float], float, float, float, float, float], str]
VERDICTS = ("above", "below", "no difference", "undecided")


def order_verdict(answer: Order, *, other: int = 0) -> None:
    """`answer(a, b, s_studies, s_seeds, t, t_1, delta)`: "above", "below", "no difference" or "undecided"
    (`rrg_lib.replication.decision_rule`)."""
    name = "order_verdict"
    found, draw = [], random.Random(other)
    stretch, shift = (
        (draw.uniform(0.5, 2), draw.uniform(0, 0.3)) if other else (1.0, 0.0)
    )  # which leave every answer as it is
    cases = [
        (
            [x * stretch + shift for x in a],
            [x * stretch + shift for x in b],
            studies * stretch,
            seeds * stretch,
            t,
            t_1,
            delta * stretch,
        )
        for a, b, studies, seeds, t, t_1, delta in ORDERS
    ]
    cases = draw.sample(cases, len(cases)) if other else cases
    for case in cases:
        found.append(answered(name, answer, *case))
        if found[-1] not in VERDICTS:
            raise CheckError(f"{name}: it returns {found[-1]!r}; return {', '.join(map(repr, VERDICTS))}")
    right = [_order(*case) for case in cases]
    if found == right:
        return
    slips: dict[str, dict[str, Any]] = {
        "fewer than three seeds of either decide nothing": {"fewest": 1},
        "not told apart is not the same as alike: 'no difference' must be shown, else it is 'undecided'": {
            "otherwise": "no difference"
        },
        "some differences are shown to be smaller than delta: that is an answer, 'no difference'": {"equal": False},
        "a difference beyond the margin on the other side is 'below'": {"below": "undecided"},
        "the variance of a *mean* of n seeds is that of a seed over n, for A and for B": {"over_n": False},
        "B's mean varies as well, and it has its own number of seeds": {"of_b": False},
        "each mean has its own number of seeds: 1/n_a + 1/n_b": {"same_n": True},
        "the studies are missing: another test set would have given another difference": {"studies": False},
        "the seeds are missing: another training would have given another score": {"seeds": False},
        "variances are added and then rooted; you add the roots": {"roots": True},
        "the factor is missing: the margin is t times the standard deviation": {"use_t": False},
        "averaging seeds does not shrink what the studies do: they were the same for all": {"studies_over_n": True},
        "s_studies is already that of the difference: it counts once, not for A and for B": {"studies_twice": True},
        "s_seeds is pooled over many systems and given; that of these few seeds is hardly known": {"own_seeds": True},
        "the order is turned round: A's mean less B's": {"swap": True},
        "whether it is 'no difference' is a one-sided question: its quantile is t_1": {"one_sided": False},
        "to be smaller than delta the difference needs room: add t_1 times the standard deviation to it": {
            "room": False
        },
        "the difference itself must have room below delta, not its margin alone": {"gap": False},
        "a difference has no sign here: one that is negative may be too small to matter as well": {"sign": True},
        "ask for an order first: a difference can be sure and too small to matter, then it is 'above' or 'below'": {
            "equal_first": True
        },
        "delta does not decide an order: a sure difference may be small": {"delta_order": True},
    }
    for hint, options in slips.items():
        if found == [_order(*case, **options) for case in cases]:
            raise CheckError(f"{name}: {hint}")
    case, wrong, expected = next((case, f, r) for case, f, r in zip(cases, found, right, strict=True) if f != r)
    a, b, studies, seeds, t, t_1, delta = case
    given = f"s_studies {studies}, s_seeds {seeds}, t {t}, t_1 {t_1}, delta {delta}"
    raise CheckError(f"{name}: seeds {a} against {b} ({given}): {expected!r}, not {wrong!r}")


def _order(
    a,
    b,
    s_studies,
    s_seeds,
    t,
    t_1,
    delta,
    *,
    fewest=3,
    otherwise="undecided",
    equal=True,
    below="below",
    over_n=True,
    of_b=True,
    same_n=False,
    studies=True,
    seeds=True,
    roots=False,
    use_t=True,
    studies_over_n=False,
    studies_twice=False,
    own_seeds=False,
    swap=False,
    one_sided=True,
    room=True,
    gap=True,
    sign=False,
    equal_first=False,
    delta_order=False,
) -> str:
    if min(len(a), len(b)) < fewest:
        return "undecided"
    each = [1 / len(x) if over_n else 1.0 for x in (a, a if same_n else b)][: 2 if of_b else 1]
    of_studies = s_studies**2 * (2 if studies_twice else 1) / (len(a) if studies_over_n else 1) * studies
    of_seeds = s_seeds**2 * sum(each) * seeds
    if own_seeds:
        of_seeds = sum(sum((x - fmean(z)) ** 2 for x in z) / max(1, len(z) - 1) / len(z) for z in (a, b))
    s = math.sqrt(of_studies) + math.sqrt(of_seeds) if roots else math.sqrt(of_studies + of_seeds)
    difference = (fmean(a) - fmean(b)) * (-1 if swap else 1)
    least = max(t * s if use_t else s, delta if delta_order else 0.0)
    alike = equal and (difference if sign else abs(difference)) * gap + (t_1 if one_sided else t) * s * room < delta
    if equal_first and alike:
        return "no difference"
    if abs(difference) > least:
        return "above" if difference > 0 else below
    return "no difference" if alike else otherwise
