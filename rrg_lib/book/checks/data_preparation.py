"""What the exercises of chapter 01 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake. Here are those that are asked with arrays; `data_preparation_texts` has the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rrg_lib.book.checks import CheckError, answered, name_of
from rrg_lib.book.checks.comparing import compare_explanations, explanation
from rrg_lib.book.checks.data_preparation_texts import copied_share as copied_share
from rrg_lib.book.checks.data_preparation_texts import keeps_decimals as keeps_decimals
from rrg_lib.book.checks.data_preparation_texts import side_and_severity as side_and_severity
from rrg_lib.book.checks.data_preparation_texts import unknown_rate as unknown_rate

# --- Exercise 1.6 -----------------------------------------------------------------------------------------------------

#: Stored values as films have them (unsigned, 12 bits), and windows on them.
STORED = np.array([[0, 1, 800, 1023, 1024], [1025, 1300, 2047, 2048, 4095]], np.uint16)
WINDOWS = ((1024.0, 512.0), (2048.0, 4096.0), (1023.0, 7.0))


def windowed(function: Callable[[np.ndarray, float, float], np.ndarray], *, other: int = 0) -> None:
    """Exercise 1.6: (stored values, centre, width) -> gray from 0 to 255, as DICOM's linear window says."""
    stored = ((STORED.astype(int) + 37 * other) % 4096).astype(np.uint16)
    windows = [(centre + 30 * (other % 30), width + 11 * (other % 30)) for centre, width in WINDOWS]  # among the values
    answers = []
    for centre, width in windows:
        answer = answered(name_of(function), function, stored.copy(), centre, width)
        if not isinstance(answer, np.ndarray) or answer.shape != stored.shape:
            raise CheckError(f"expected an array of shape {stored.shape}, got {getattr(answer, 'shape', answer)!r}")
        answers.append(answer.astype(float))
    for answer, (centre, width) in zip(answers, windows, strict=True):
        right = _windowed(stored, centre, width)
        apart = np.abs(answer - right)
        if not apart.max() < 0.51:  # rounded or not
            y, x = np.unravel_index(np.nanargmax(np.nan_to_num(apart, nan=np.inf)), apart.shape)
            raise CheckError(
                f"centre {centre:g}, width {width:g}: the value {stored[y, x]} becomes {right[y, x]:.2f}, not "
                f"{answer[y, x]:.2f}. {_window_hint(answers, stored, windows)}"
            )


def _windowed(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    return 255 * np.clip((values.astype(float) - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _window_hint(answers: Sequence[np.ndarray], stored: np.ndarray, windows: Sequence[tuple[float, float]]) -> str:
    """The hint of the mistake that explains the answers to all windows: a wide one hides half a step."""
    with np.errstate(all="ignore"):
        slips = [_window_slips(stored, *window) for window in windows]
        for k, (_, hint) in enumerate(slips[0]):
            wrong = [of_window[k][0] for of_window in slips]
            if all(
                np.abs(answer - value).max() < 0.51 * (1 if value.max() > 1 else 0.01)
                for answer, value in zip(answers, wrong, strict=True)
            ):
                return hint
    return (
        "Follow the equation from the inside out: subtract c - 0.5, divide by w - 1, add one half, clip to 0 and 1, "
        "scale to 255."
    )


def _window_slips(stored: np.ndarray, centre: float, width: float) -> list[tuple[np.ndarray, str]]:
    """Wrong grays of these values, each with its hint."""
    plain, right = stored.astype(float), _windowed(stored, centre, width)
    wrapped = (plain - np.floor(centre)) % 2**16  # what unsigned 16-bit integers make of a difference below 0
    return [
        (
            255 * ((plain - (centre - 0.5)) / (width - 1) + 0.5),
            "What is outside the window is black or white: clip to 0 and 1 before you scale.",
        ),
        (np.floor(right), "The grays are cut off to whole numbers: return floats."),
        (right / 255, "That is 0 to 1; scale to 255."),
        (255 - right, "That is turned over: high values are bright here."),
        (
            255 * np.clip((plain - centre) / width + 0.5, 0, 1),
            "The standard's linear window has c - 0.5 and w - 1 where you have c and w.",
        ),
        (
            255 * np.clip((plain - (centre - 0.5)) / (width - 1), 0, 1),
            "The centre becomes the middle gray: add one half before clipping.",
        ),
        (255 * np.clip((plain - (centre - 0.5)) / width + 0.5, 0, 1), "The standard divides by w - 1, not by w."),
        (
            255 * np.clip((plain - centre) / (width - 1) + 0.5, 0, 1),
            "The middle of the window is at c - 0.5, not at c.",
        ),
        (_windowed(stored, width, centre), "Centre and width are the wrong way round."),
        (
            255 * np.clip((plain - (centre + 0.5)) / (width - 1) + 0.5, 0, 1),
            "Taking away c - 0.5 is taking away c and *adding* 0.5: mind the brackets.",
        ),
        (
            255 * np.clip((plain - (centre - 0.5)) / width - 1 + 0.5, 0, 1),
            "The division is by all of w - 1: mind the brackets.",
        ),
        (
            255 * np.clip(plain - (centre - 0.5) / (width - 1) + 0.5, 0, 1),
            "The difference x - (c - 0.5) is divided as a whole: mind the brackets.",
        ),
        (
            np.where((plain - (centre - 0.5)) / (width - 1) + 0.5 > 1, 0, right),
            "Above the window it is white, not black.",
        ),
        (
            255 * (np.clip((plain - (centre - 0.5)) / (width - 1), 0, 1) + 0.5),
            "The one half is added before clipping, not after.",
        ),
        (right * 256 / 255, "White is 255, not 256."),
        *[
            (
                255 * np.clip(wrapped / below + 0.5, 0, 1),
                "You subtracted unsigned integers, and 3 minus 5 is 65,534 there: turn the values into floats first.",
            )
            for below in (width - 1, width)
        ],
    ]


# --- Exercise 1.4 -----------------------------------------------------------------------------------------------------

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
    answers = [
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
        "the second is a part of the gap; asked is what remains of it in tokens": [
            [gap, rest / gap] for gap, rest in right
        ],
        "the second has lost its sign: where less than nothing remains, say so": [
            [gap, abs(rest)] for gap, rest in right
        ],
        "the first are sums over reports; means are asked for": [
            [case[0].sum() - case[2].sum(), row[1]] for row, case in zip(right, cases, strict=True)
        ],
        "the first are medians; means are asked for": [
            [float(np.median(case[0]) - np.median(case[2])), row[1]] for row, case in zip(right, cases, strict=True)
        ],
        "nothing has changed: B was mixed with its own share of abnormal studies, and that is B as it is; take A's": [
            [gap, gap] for gap, _ in right
        ],
        "both were given one mixture, that of all studies; A stays as it is, and B gets A's": [
            [row[0], _mixed(a, both) - _mixed(b, both)]
            for row, case, (a, b, _, _) in zip(right, cases, (_groups(*case) for case in cases), strict=True)
            for both in [np.concatenate(case[1::2]).mean()]
        ],
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
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


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
