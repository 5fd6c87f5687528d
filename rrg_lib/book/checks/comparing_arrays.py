"""How an answer that is an array is compared with the right one and with what usual mistakes give: it is asked for
several times, with inputs drawn anew, and a hint is given only where it explains every answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rrg_lib.book.checks import CheckError, answered, name_of

#: How far apart two numbers of arrays may be and still be the same.
TOLERANCE = 1e-5


def called(function: Callable, *args: Any) -> Any:
    """The answer of the function, given copies, so that it cannot change what it is compared with."""
    return answered(
        name_of(function),
        function,
        *(
            arg.clone() if isinstance(arg, Tensor) else arg.copy() if isinstance(arg, np.ndarray) else arg
            for arg in args
        ),
    )


def tensor(
    function: Callable,
    shape: tuple[int, ...],
    *args: Any,
    not_finite: str = "is there a division by 0, or the logarithm of 0?",
) -> Tensor:
    """The answer as float64 numbers of this shape. Raises `CheckError` for anything else, or for numbers that are not
    finite (`not_finite` says why)."""
    answer = called(function, *args)
    try:
        answer = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise CheckError(
            f"{name_of(function)} returned a {type(answer).__name__}, expected numbers of shape {shape}"
        ) from None
    if tuple(answer.shape) != shape:
        expected = f"shape {shape}" if shape else "one number"
        raise CheckError(f"{name_of(function)} returned shape {tuple(answer.shape)}, expected {expected}")
    if not torch.isfinite(answer.double()).all():
        raise CheckError(f"{name_of(function)} returned numbers that are not finite: {not_finite}")
    return answer.detach().double()


def _same_tensor(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=TOLERANCE, rtol=1e-4)


Draw = tuple[
    Tensor, Any, Sequence[tuple[Any, str]]
]  # an answer, what is right, and mistakes, in the same order in every draw


def compare_draws(draws: Sequence[Draw], otherwise: str) -> None:
    """Silent when the answers to all draws are right; else the hint of the first mistake that gives the same numbers in
    all of them: in a single draw two mistakes may happen to be one number."""
    wrong = [(answer, right) for answer, right, _ in draws if not _same_tensor(answer, _double(right))]
    if not wrong:
        return
    for i, (_, hint) in enumerate(draws[0][2]):
        if all(_same_tensor(answer, _double(mistakes[i][0])) for answer, _, mistakes in draws):
            raise CheckError(hint)
    answer, right = wrong[0]
    raise CheckError(f"{otherwise} (largest difference {(answer - _double(right)).abs().max():.3g})")


def _double(numbers: Any) -> Tensor:
    return torch.as_tensor(numbers).detach().double()
