"""The check of exercise 1.4: why the reports of one split are shorter than those of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rrg_lib.book.checks import answered
from rrg_lib.book.checks.explanations import compare, explanation

MEASURED = ("the gap", "the gap that remains")
REASONS = ("mixture", "writing", "not shorter")
#: Of each split, the lengths of its reports and which of its studies are abnormal, (n,) each: A's two, then B's.
Splits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def why_shorter(
    answer: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[Sequence[float], str]], *, other: int = 0
) -> None:
    """`answer(lengths_a, abnormal_a, lengths_b, abnormal_b)`: by how many tokens A's reports are longer than B's on
    average, by how many if B had A's share of abnormal studies; and "mixture" if less than half of the gap remains,
    else "writing"; "not shorter" if there is no gap."""
    name, cases = "why_shorter", _splits(other)
    found = [
        explanation(name, answered(name, answer, *(part.copy() for part in case)), MEASURED, REASONS) for case in cases
    ]
    right = [_gaps(*case) for case in cases]

    def instead(second: Callable[[np.ndarray, np.ndarray, float, float], float]) -> list[list[float]]:
        """Of every case, the gap, and what `second` makes of the means of A's and B's groups (normal, abnormal) and
        their shares of abnormal studies."""
        return [[row[0], second(*_groups(*case))] for row, case in zip(right, cases, strict=True)]

    slips = {
        "these are the tokens by which *B* is longer: A's are asked for": [[-gap for gap in row] for row in right],
        "the two are exchanged: first the gap as it is, then what remains of it": [row[::-1] for row in right],
        "the second is the part of the gap that goes: asked is the part that *remains*": [
            [gap, gap - rest] for gap, rest in right
        ],
        "the second is the mean length that B would have: by how much is A above it?": instead(
            lambda a, b, p, q: _mixed(b, p)
        ),
        "you gave A the mixture of B; it is B that is to have the mixture of A": instead(
            lambda a, b, p, q: _mixed(a, q) - _mixed(b, q)
        ),
        "both groups count half here; B is to have A's mixture, and A is not half abnormal": instead(
            lambda a, b, p, q: (a - b).mean()
        ),
        "A's share of *abnormal* studies went to the normal ones of B": instead(
            lambda a, b, p, q: _mixed(a, p) - _mixed(b, 1 - p)
        ),
        "what remains is that of normal studies alone; both groups of B count, each with its share in A": instead(
            lambda a, b, p, q: a[0] - b[0]
        ),
        "what remains is that of abnormal studies alone; both groups of B count, each with its share in A": instead(
            lambda a, b, p, q: a[1] - b[1]
        ),
        "the two splits were thrown together to find the mixture; it is that of A alone": [
            [row[0], _mixed(a, p) - _mixed(b, np.concatenate(case[1::2]).mean())]
            for row, case, (a, b, p, _) in zip(right, cases, (_groups(*case) for case in cases), strict=True)
        ],
    }
    reasons = [_reason(*row) for row in right]
    shares = [_groups(*case)[2:] for case in cases]
    readings = {
        "B has fewer abnormal studies, that is so; but does it explain the *larger* part of the gap?": [
            reason if reason == "not shorter" else "mixture" if q < p else "writing"
            for reason, (p, q) in zip(reasons, shares, strict=True)
        ],
        "something remains nearly always; it explains the gap only where it is at least half of it": [
            reason if reason == "not shorter" else "writing" if rest > 0 else "mixture"
            for reason, (_, rest) in zip(reasons, right, strict=True)
        ],
        "where what remains is below 0, the mixture explains the whole gap and more: the sign counts": [
            reason if reason == "not shorter" else "mixture" if abs(rest) < gap / 2 else "writing"
            for reason, (gap, rest) in zip(reasons, right, strict=True)
        ],
        "where A's reports are not longer, there is no gap to explain, whatever the mixture": [
            "mixture" if rest < gap / 2 else "writing" for gap, rest in right
        ],
        "whether B is shorter is asked of the gap as it is, not of what remains": [
            "not shorter" if rest <= 0 else "mixture" if rest < gap / 2 else "writing" for gap, rest in right
        ],
        "it is the wrong way round: what the same mixture takes away came from the mixture": [
            {"mixture": "writing", "writing": "mixture"}.get(reason, reason) for reason in reasons
        ],
    }
    compare(name, found, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _reason(gap: float, rest: float) -> str:
    return "not shorter" if gap <= 0 else "mixture" if rest < gap / 2 else "writing"


def _groups(
    lengths_a: np.ndarray, abnormal_a: np.ndarray, lengths_b: np.ndarray, abnormal_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(mean of normal, of abnormal reports) of A and of B, and the shares of abnormal studies."""
    a, b = (np.array([n[~ill].mean(), n[ill].mean()]) for n, ill in ((lengths_a, abnormal_a), (lengths_b, abnormal_b)))
    return a, b, float(abnormal_a.mean()), float(abnormal_b.mean())


def _mixed(means: np.ndarray, abnormal: float) -> float:
    return float((1 - abnormal) * means[0] + abnormal * means[1])


def _gaps(*case: np.ndarray) -> list[float]:
    a, b, p, q = _groups(*case)
    return [_mixed(a, p) - _mixed(b, q), _mixed(a, p) - _mixed(b, p)]


#: The reason, A's and B's shares of abnormal studies, how many tokens B writes more about a normal and about an
#: abnormal study, and what the two numbers must be besides. B may write more about everybody and still be shorter (the
#: second), or less and still be longer (the last): Simpson's paradox.
_KINDS: tuple[tuple[str, tuple[float, float], tuple[int, int], Callable[[float, float], bool]], ...] = (
    ("mixture", (0.65, 0.3), (-3, -3), lambda gap, rest: 0.35 * gap < rest < 0.45 * gap),
    ("mixture", (0.75, 0.25), (3, 4), lambda gap, rest: rest < -0.6 * gap),
    ("writing", (0.5, 0.3), (-4, -5), lambda gap, rest: 0.55 * gap < rest < 0.65 * gap),
    ("writing", (0.35, 0.5), (-6, -8), lambda gap, rest: rest > 1.2 * gap),
    ("not shorter", (0.6, 0.4), (7, 8), lambda gap, rest: rest < 1.5 * gap),
    ("not shorter", (0.3, 0.7), (-2, -3), lambda gap, rest: rest > 1),
)


def _splits(other: int) -> list[Splits]:
    """Two cases for each reason, none of them close to another reason."""
    draw, cases = np.random.default_rng(other), []
    for reason, shares, more, fits in _KINDS:
        while True:
            case: list[np.ndarray] = []
            for share, (normal, abnormal) in zip(shares, ((0, 0), more), strict=True):
                ill = draw.random(draw.integers(30, 60)) < share
                means = np.where(ill, 42 + abnormal, 28 + normal)
                case += [np.maximum(4, np.rint(draw.normal(means, 5))).astype(int), ill]
            gap, rest = _gaps(*case)
            if abs(gap) > 1 and _reason(gap, rest) == reason and fits(gap, rest):
                break
        cases.append((case[0], case[1], case[2], case[3]))
    return [cases[k] for k in draw.permutation(len(cases))]
