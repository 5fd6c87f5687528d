"""What checks of exercises share whose answer is one number: it is read, and compared with the right one and with what
usual mistakes give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rrg_lib.book.checks import CheckError, answered

TOLERANCE = 1e-6


def number(name: str, answer: Callable[..., Any], *inputs: Any) -> float:
    """The one number that an answer returns. Raises `CheckError` for anything else."""
    found = answered(name, answer, *inputs)
    try:
        return float(found)
    except (TypeError, ValueError) as error:
        raise CheckError(f"{name}: it returns {found!r}; return one number") from error


def compare(
    name: str,
    found: float,
    right: float,
    slips: Mapping[str, float | Sequence[float]],
    what: str,
    *,
    abs_tol: float = TOLERANCE,
) -> None:
    """Silent when `found` is right; otherwise the hint of the slip that it equals, or one of whose forms."""
    if math.isclose(found, right, abs_tol=abs_tol):
        return
    for hint, forms in slips.items():
        for wrong in np.atleast_1d(forms):
            if math.isclose(found, wrong, abs_tol=abs_tol) and not math.isclose(wrong, right, abs_tol=abs_tol):
                raise CheckError(f"{name}: {hint}")
    raise CheckError(f"{name}: {what} is {right:.4f}, not {found:.4f}; go through the steps once more, one at a time")
