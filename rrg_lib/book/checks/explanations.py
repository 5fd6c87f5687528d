"""What the exercises share that ask for an explanation: numbers that were measured, and the reason that they
support."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rrg_lib.book.checks import CheckError

Explanation = tuple[list[float], str]


def explanation(name: str, found: Any, measured: Sequence[str], reasons: Sequence[str]) -> Explanation:
    """The two things that an answer returned: one number for each name in `measured`, and one of `reasons`. Raises
    `CheckError` for anything else."""
    both = f"return two things, the {len(measured)} numbers and the reason"
    if isinstance(found, tuple | list) and len(found) > 2:
        raise CheckError(f"{name}: it returns {len(found)} things in a row; {both}: ((number, …), reason)")
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise CheckError(f"{name}: it returns a {type(found).__name__}; {both}")
    numbers, reason = found
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
    if not isinstance(reason, str) or reason not in reasons:
        raise CheckError(f"{name}: {reason!r} is none of the reasons: {', '.join(map(repr, reasons))}")
    return numbers, reason


def compare(
    name: str,
    found: Sequence[Explanation],
    right: Sequence[Explanation],
    measured: Sequence[str],
    slips: Mapping[str, Sequence[Sequence[float]]],
    readings: Mapping[str, Sequence[str]],
) -> None:
    """Silent when all cases are explained rightly. Otherwise the hint of what was measured instead (`slips`, the
    numbers of every case), or, when the numbers are right, of how they were read instead (`readings`, the reason of
    every case)."""
    numbers, wanted = ([case for case, _ in cases] for cases in (found, right))
    if not _same(numbers, wanted):
        for hint, wrong in slips.items():
            if _same(numbers, wrong):
                raise CheckError(f"{name}: {hint}")
        case, place = next(
            (i, j) for i, row in enumerate(wanted) for j in range(len(row)) if not _close(numbers[i][j], row[j])
        )
        raise CheckError(
            f"{name}: {measured[place]} is not right: {numbers[case][place]:.4f} in case {case + 1} of {len(right)}; "
            f"measure once more"
        )
    said, reasons = ([reason for _, reason in cases] for cases in (found, right))
    if said == reasons:
        return
    for hint, wrong_reasons in readings.items():
        if said == list(wrong_reasons):
            raise CheckError(f"{name}: {hint}")
    case = next(i for i, (a, b) in enumerate(zip(said, reasons, strict=True)) if a != b)
    shown = ", ".join(f"{what} {number:.3f}" for what, number in zip(measured, wanted[case], strict=True))
    raise CheckError(f"{name}: the numbers are right, the reason is not: {shown} do not support {said[case]!r}")


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7)


def _same(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> bool:
    return all(_close(x, y) for row, other in zip(some, others, strict=True) for x, y in zip(row, other, strict=True))
