"""The checks of chapter 10's exercises. An answer is run on numbers of ours, compared with the rule, then with the
usual mistakes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean, geometric_mean
from typing import Any

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.comparing import compare_explanations, compare_number, explanation, number

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
    ("0.170", "0.1708"),
)


def rounding_verdict(answer: Callable[[str, str], str], *, other: int = 0) -> None:
    """`answer(better, worse)`: "contradicted" when no numbers that round to the two texts let the first be at least the
    second, else "consistent"."""
    name = "rounding_verdict"
    for better, worse in (*PAIRS, *_printed(other)):
        verdict = answered(name, answer, better, worse)
        if verdict not in ("consistent", "contradicted"):
            raise CheckError(f"{name}: it returns {verdict!r}; return 'consistent' or 'contradicted'")
        right = _rounding(better, worse)
        if verdict != right:
            raise CheckError(
                f"{name}: that {better} is above {worse} is {right}, not {verdict}. "
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
    verdicts = [answer(*pair) for pair in PAIRS]
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
        if verdicts == [slip(*pair) for pair in PAIRS]:
            return hint
    if verdicts == [_touching(*pair) for pair in PAIRS]:
        return (
            "Two intervals that only touch allow it: the first may be at least the second, for both may be the number "
            "between them."
        )
    if verdicts == [_binary(*pair) for pair in PAIRS]:
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
            "you divide by six, whatever is given: divide by the number of metrics that there are": right
            * len(pairs)
            / 6,
            "this is the geometric mean of the quotients; the formula has their arithmetic mean": 100
            * (geometric_mean(s / b for s, b in pairs) - 1),
        }
        compare_number(
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
            "you count four maps, whatever their number": 100 * (matrix + 4 * (d * d + d)) / base,
            "each linear map has a bias of its own, d numbers": 100 * (matrix + maps * d * d + d) / base,
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
        quantity = f"the share of {slots} slots and {maps} maps"
        compare_number(
            "share_of_slots",
            number("share_of_slots", answer, slots, d, base, maps),
            right,
            slips,
            quantity,
            abs_tol=0.0,
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
    ([0.15, 0.151, 0.149, 0.15], [0.12, 0.121], 0.001, 0.001, 1.96, 1.64, 0.01),
    ([0.12, 0.121], [0.15, 0.151, 0.149, 0.15], 0.001, 0.001, 1.96, 1.64, 0.01),
    ([0.12, 0.12], [0.12, 0.12], 0.001, 0.001, 1.96, 1.64, 0.01),
    ([0.130, 0.131, 0.129], [0.12, 0.121, 0.119], 0.006, 0.0, 1.96, 1.64, 0.01),
    ([0.130, 0.131, 0.129], [0.12, 0.121, 0.119], 0.0, 0.009, 1.96, 1.64, 0.01),
    ([0.130, 0.131, 0.129], [0.12, 0.121, 0.119], 0.0, 0.006, 1.96, 1.64, 0.01),
    ([0.130, 0.131, 0.129], [0.12, 0.121, 0.119], 0.0, 0.02, 1.96, 1.64, 0.01),
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
    verdicts, draw = [], random.Random(other)
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
        verdicts.append(answered(name, answer, *case))
        if verdicts[-1] not in VERDICTS:
            raise CheckError(f"{name}: it returns {verdicts[-1]!r}; return {', '.join(map(repr, VERDICTS))}")
    right = [_order(*case) for case in cases]
    if verdicts == right:
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
        "1/n_a + 1/n_b is not 1/(n_a + n_b): these are two means, and no mean of all seeds": {"one_mean": True},
        "the two quantiles are exchanged: t is for an order, t_1 for 'no difference'": {"exchanged": True},
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
        if verdicts == [_order(*case, **options) for case in cases]:
            raise CheckError(f"{name}: {hint}")
    case, wrong, expected = next((case, f, r) for case, f, r in zip(cases, verdicts, right, strict=True) if f != r)
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
    one_mean=False,
    exchanged=False,
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
    of_seeds = s_seeds**2 * (1 / (len(a) + len(b)) if one_mean else sum(each)) * seeds
    t, t_1 = (t_1, t) if exchanged else (t, t_1)
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


# --- Exercise 10.5: why a second paper's gain is another --------------------------------------------------------------

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
    answers = [
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
        "take four standard deviations for the whole interval, as the text has it": {"width": 3.92},
        "the widths of the intervals are lengths: square them before they are added to variances": {"lengths": True},
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
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, measured_instead, readings)


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
    lengths=False,
    both=True,
) -> list[float]:
    """Of rounding, seeds, seeds and studies; the options are slips."""
    scores = (a, b) if of_b else (a,)
    of_seeds = [sum((x - fmean(s)) ** 2 for x in s) / (len(s) - ddof) / (len(s) if over_n else 1) for s in scores]
    of_studies = [((high - low) / width) ** (1 if lengths else 2) for low, high in intervals[: len(scores)]]

    def reach(variances: Sequence[float]) -> float:
        if square:
            return sds * varied * sum(variances)
        return sds * (varied**0.5 * sum(map(math.sqrt, variances)) if roots else math.sqrt(varied * sum(variances)))

    return [printed * half, reach(of_seeds), reach([*(of_seeds if both else ()), *of_studies])]


def _first(gap: float, reaches: Sequence[float]) -> str:
    return next((reason for reason, reach in zip(REASONS, reaches, strict=True) if gap <= reach), NONE)
