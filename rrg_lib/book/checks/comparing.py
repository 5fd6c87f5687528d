"""How an answer is compared with the right one and with what usual mistakes give: one number, or an explanation;
`comparing_arrays` has what is asked for as an array. A hint is given only where it explains every answer. Nothing here
needs numpy or torch, so that what is checked with it runs wherever Python does, in a page of the site too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rrg_lib.book.checks import CheckError, answered

#: How far apart two numbers may be and still be the same, where an answer returns them one by one.
NUMBER_TOLERANCE = 1e-6


# --- one number -------------------------------------------------------------------------------------------------------


def number(name: str, answer: Callable[..., Any], *inputs: Any) -> float:
    """The one number that an answer returns. Raises `CheckError` for anything else."""
    result = answered(name, answer, *inputs)
    try:
        return float(result)
    except (TypeError, ValueError) as error:
        raise CheckError(f"{name}: it returns {result!r}; return one number") from error


def compare_number(
    name: str,
    result: float,
    right: float,
    slips: Mapping[str, float | Sequence[float]],
    quantity: str,
    *,
    abs_tol: float = NUMBER_TOLERANCE,
) -> None:
    """Silent when `result` is right; otherwise the hint of the slip that it equals, or one of whose forms."""
    if math.isclose(result, right, abs_tol=abs_tol):
        return
    for hint, forms in slips.items():
        for wrong in forms if isinstance(forms, Iterable) else [forms]:
            if math.isclose(result, wrong, abs_tol=abs_tol) and not math.isclose(wrong, right, abs_tol=abs_tol):
                raise CheckError(f"{name}: {hint}")
    if math.isclose(result, 100 * right, abs_tol=abs_tol):
        raise CheckError(f"{name}: that is a hundred times as much: return it as it is, not in percent")
    if _rounded(result, right):
        raise CheckError(f"{name}: it is rounded: return the number with all its digits")
    raise CheckError(
        f"{name}: {quantity} is {right:.4f}, not {result:.4f}; go through the steps once more, one at a time"
    )


def _rounded(result: float, right: float) -> bool:
    """Whether a number is the right one, rounded to some digits."""
    if not math.isfinite(result) or result.is_integer():
        return False
    return any(math.isclose(result, round(right, digits), abs_tol=1e-12) for digits in range(1, 7))


# --- explanations: what was measured, and the reason that it supports -------------------------------------------------


Explanation = tuple[list[float], str]


class NoReason(str):
    """What stands for a reason where an answer names none: what is told of it. Its numbers may be right all the
    same."""


def explanation(name: str, result: Any, measured: Sequence[str], reasons: Sequence[str]) -> Explanation:
    """The two things that an answer returned: one number for each name in `measured`, and one of `reasons` (in capitals
    too), or a `NoReason`. Raises `CheckError` for anything else."""
    both = f"return two things, the {len(measured)} numbers and the reason"
    if isinstance(result, tuple | list) and len(result) == len(measured) and all(map(_is_number, result)):
        return [float(number) for number in result], NoReason(f"the reason is missing: {both}")
    if isinstance(result, tuple | list) and len(result) > 2:
        raise CheckError(f"{name}: it returns {len(result)} things in a row; {both}: ((number, …), reason)")
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise CheckError(f"{name}: it returns a {type(result).__name__}; {both}")
    numbers, reason = result
    if isinstance(numbers, str):
        raise CheckError(f"{name}: it begins with {numbers!r}; {both}, in this order")
    try:
        numbers = [float(number) for number in numbers]
    except (TypeError, ValueError, RuntimeError):
        raise CheckError(
            f"{name}: what comes first is a {type(numbers).__name__} that can't be read as numbers, one each for "
            f"{', '.join(measured)}"
        ) from None
    if len(numbers) != len(measured):
        raise CheckError(
            f"{name}: {len(numbers)} numbers came first; {len(measured)} are asked for: {', '.join(measured)}"
        )
    known = {each.lower(): each for each in reasons}
    named = known.get(reason.strip().lower()) if isinstance(reason, str) else None
    return numbers, named or NoReason(f"{reason!r} is none of the reasons: {', '.join(map(repr, reasons))}")


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, str | bool) and math.isfinite(float(value))
    except (TypeError, ValueError, RuntimeError):
        return False


def compare_explanations(
    name: str,
    explanations: Sequence[Explanation],
    right: Sequence[Explanation],
    measured: Sequence[str],
    slips: Mapping[str, Sequence[Sequence[float]]],
    readings: Mapping[str, Sequence[str]],
) -> None:
    """Silent when all cases are explained rightly. Otherwise the hint of what was measured instead (`slips`, the
    numbers of every case), or, when the numbers are right, of how they were read instead (`readings`, the reason of
    every case).

    Each quantity is a part of the answer, right where it is in every case, and the reason is one more. It counts only
    with all the numbers: one that nothing measured supports is a guess.
    """
    numbers, wanted = ([case for case, _ in cases] for cases in (explanations, right))
    columns = [
        quantity
        for j, quantity in enumerate(measured)
        if all(_close_number(row[j], of[j]) for row, of in zip(numbers, wanted, strict=True))
    ]

    def wrong(hint: str) -> CheckError:
        shown = f" (right so far: {', '.join(columns)})" if columns else ""
        return CheckError(f"{name}: {hint}{shown}", right=len(columns), parts=len(measured) + 1)

    if len(columns) < len(measured):
        for hint, instead in slips.items():
            if _same_cases(numbers, instead):
                raise wrong(hint)
        if all(_rounded(a, b) for row, of in zip(numbers, wanted, strict=True) for a, b in zip(row, of, strict=True)):
            raise wrong("they are rounded: return the numbers with all their digits")
        case, place = next(
            (i, j) for i, row in enumerate(wanted) for j in range(len(row)) if not _close_number(numbers[i][j], row[j])
        )
        raise wrong(
            f"{measured[place]} is not right: {numbers[case][place]:.4f} in case {case + 1} of {len(right)}; measure "
            f"once more"
        )
    given_reasons, reasons = ([reason for _, reason in cases] for cases in (explanations, right))
    if given_reasons == reasons:
        return
    if none := next((reason for reason in given_reasons if isinstance(reason, NoReason)), None):
        raise wrong(none)
    for hint, wrong_reasons in readings.items():
        if given_reasons == list(wrong_reasons):
            raise wrong(hint)
    case = next(i for i, (a, b) in enumerate(zip(given_reasons, reasons, strict=True)) if a != b)
    shown = ", ".join(f"{quantity} {number:.3f}" for quantity, number in zip(measured, wanted[case], strict=True))
    raise wrong(f"the numbers are right, the reason is not: {shown} do not support {given_reasons[case]!r}")


def _close_number(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7)


def _same_cases(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> bool:
    return all(
        _close_number(x, y) for row, other in zip(some, others, strict=True) for x, y in zip(row, other, strict=True)
    )
