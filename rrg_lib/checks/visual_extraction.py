"""What the exercises of chapter 02 call. Silent when the answer is right; otherwise a `CheckError` that names the likely mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rrg_lib.checks import CheckError, answered
from rrg_lib.models.receptive_field import field_of


def _tensor(function: Callable, shape: tuple[int, ...], *args: Any) -> Tensor:
    answer = answered(function.__name__, function, *(arg.clone() if isinstance(arg, Tensor) else arg for arg in args))
    if not isinstance(answer, Tensor):
        raise CheckError(f"{function.__name__} returned a {type(answer).__name__}, expected a tensor of shape {shape}")
    if tuple(answer.shape) != shape:
        raise CheckError(f"{function.__name__} returned shape {tuple(answer.shape)}, expected {shape}")
    return answer.detach()


def _compare(answer: Tensor, right: Tensor, mistakes: list[tuple[Tensor, str]], otherwise: str) -> None:
    """Silent when the answer is right; else the hint of the first mistake that gives the same numbers."""
    same = lambda other: other.shape == answer.shape and torch.allclose(answer.double(), other.double(), atol=1e-5)  # noqa: E731
    if same(right):
        return
    for wrong, hint in mistakes:
        if same(wrong):
            raise CheckError(hint)
    raise CheckError(otherwise)


def to_patches(function: Callable[[Tensor, int], Tensor], *, other: int = 0) -> None:
    """Exercise 2.1: maps (B·V, D, g, g) of B studies with V views each, study after study, and V -> patches (B, V·g·g, D)."""
    generator = torch.Generator().manual_seed(1 + 1000 * other)
    for studies, views, width, side in ((2, 2, 3, 4), (3, 1, 5, 2), (2, 3, 4, 3)):
        maps = torch.randn(studies * views, width, side, side, generator=generator)
        tokens = maps.flatten(2).transpose(1, 2)  # (B·V, P, D)
        shape = (studies, views * side * side, width)
        right = tokens.reshape(shape)
        mistakes = [
            (maps.reshape(shape), "the numbers of a patch come from different places: reshape alone does not move D to the end, transpose first"),
            (
                maps.transpose(2, 3).flatten(2).transpose(1, 2).reshape(shape),
                "the patches run down the columns: they go along the rows, as one reads",
            ),
            (
                tokens.unflatten(0, (studies, views)).transpose(1, 2).reshape(shape),
                "the views' patches alternate: all patches of the first view come first, then those of the second",
            ),
            (
                tokens.unflatten(0, (views, studies)).transpose(0, 1).reshape(shape),
                "the views of different studies are mixed: the maps come study after study, each with its views",
            ),
            (tokens.unflatten(0, (studies, views)).flip(1).reshape(shape), "the last view comes first: keep the order of the views"),
        ]
        _compare(
            _tensor(function, shape, maps, views), right, mistakes, f"the patches of {studies} studies with {views} views are not in their places"
        )


#: Layers as (kernel, stride), first to last.
_STACKS = (
    [(3, 1)],
    [(3, 2), (3, 1), (1, 1), (5, 2), (3, 1)],
    [(7, 2), (3, 2), *[(3, 1)] * 4, (3, 2), *[(3, 1)] * 3],
    [(2, 2), (5, 1), (3, 3), (4, 2), (3, 1)],
)


def receptive_field(function: Callable[[list[tuple[int, int]]], int], *, other: int = 0) -> None:
    """Exercise 2.2: layers of (kernel, stride), first to last -> how many pixels wide the square is that one output sees."""
    for layers in _STACKS:
        layers = [(kernel + other % 5, stride) for kernel, stride in layers] + [(1 + other // 5 % 7, 1)] * bool(other)
        right = field_of(layers)[0]
        answer = answered(function.__name__, function, list(layers))
        if isinstance(answer, bool) or not isinstance(answer, int):
            raise CheckError(f"{function.__name__} returned a {type(answer).__name__}, expected a whole number of pixels")
        if answer == right:
            continue
        after, plain, whole, step = 1, 1, 1, 1
        for kernel, stride in layers:
            step *= stride
            after, plain = after + (kernel - 1) * step, plain + kernel - 1
        step = 1
        for kernel, stride in layers:
            whole, step = whole + kernel * step, step * stride
        hints = {
            after: "a layer's own stride counts for the layers behind it, not for itself: add (k - 1) · j first, then multiply j by s",
            plain: "the strides are left out: behind a stride of 2, neighbouring outputs are 2 pixels apart, so a kernel reaches twice as far",
            whole: "a kernel of k adds k - 1 steps, not k: the first of its inputs was there already",
            field_of(list(reversed(layers)))[0]: "the layers were taken last to first: the field grows from the picture on",
            right - 1: "one too few: start with a field of 1, a pixel sees itself",
            step: "this is how far apart two neighbouring outputs are (j): the exercise asks for the field (r)",
        }
        raise CheckError(hints.get(answer, f"the field of the layers {layers} is not {answer}"))


def class_activation(function: Callable[[Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 2.3: maps (V, P, D) of one study and slopes (V, P, D), the gradient of the score by them -> Grad-CAM (V, P)."""
    generator = torch.Generator().manual_seed(3 + 1000 * other)
    for views, patches, width in ((2, 9, 4), (1, 16, 6)):
        maps, slopes = (torch.randn(views, patches, width, generator=generator) for _ in range(2))
        alphas = slopes.mean(1, keepdim=True)
        plain = (alphas * maps).sum(-1)
        mistakes = [
            (plain, "the ReLU is missing: a patch that speaks against the finding counts 0, not less than 0"),
            ((slopes * maps).sum(-1).relu(), "each patch is weighed by its own gradient: Eq. 1 takes the mean over the view's patches first"),
            ((slopes.mean((0, 1), keepdim=True) * maps).sum(-1).relu(), "one alpha for all views: each view has a map, and alphas, of its own"),
            ((slopes.sum(1, keepdim=True) * maps).sum(-1).relu(), "the gradients are added up: Eq. 1 is their mean over the patches"),
            ((alphas.relu() * maps).sum(-1), "the ReLU is at the wrong place: it is taken of the sum over D (Eq. 2), not of the alphas"),
            ((alphas * maps).relu().sum(-1), "the ReLU is at the wrong place: it is taken of the sum over D (Eq. 2), not of each of its terms"),
            (plain.abs(), "this is the absolute value: what speaks against the finding is left out, not turned round"),
            (
                (slopes.mean(2, keepdim=True) * maps).sum(-1).relu(),
                "the mean of Eq. 1 runs over the patches of a view, not over the D numbers of a patch",
            ),
        ]
        _compare(_tensor(function, (views, patches), maps, slopes), plain.relu(), mistakes, "the map is not that of Eq. 1 and 2")
