"""What the exercises of chapter 02 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from rrg_lib.book.checks import CheckError, answered, name_of
from rrg_lib.book.checks.comparing import compare_explanations, explanation
from rrg_lib.book.checks.comparing_arrays import Draw, compare_draws, tensor
from rrg_lib.models.visual.receptive_field import field_of


def to_patches(function: Callable[[Tensor, int], Tensor], *, other: int = 0) -> None:
    """Exercise 2.1: maps (B·V, D, g, g) of B studies with V views each, study after study, and V -> patches (B, V·g·g,
    D)."""
    generator = torch.Generator().manual_seed(1 + 1000 * other)
    asked: list[Draw] = []
    for studies, views, width, side in ((2, 2, 3, 4), (3, 1, 5, 2), (2, 3, 4, 3)):
        maps = torch.randn(studies * views, width, side, side, generator=generator)
        tokens = maps.flatten(2).transpose(1, 2)  # (B·V, P, D)
        shape = (studies, views * side * side, width)
        right = tokens.reshape(shape)
        mistakes = [
            (
                maps.reshape(shape),
                "the numbers of a patch come from different places: reshape alone does not move D to the end, "
                "transpose first",
            ),
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
            (
                tokens.unflatten(0, (studies, views)).flip(1).reshape(shape),
                "the last view comes first: keep the order of the views",
            ),
            (
                maps.flip(2).flatten(2).transpose(1, 2).reshape(shape),
                "the patches begin with the lowest row: they go from the top, as one reads",
            ),
        ]
        asked.append((tensor(function, shape, maps, views), right, mistakes))
    compare_draws(asked, "the patches are not in their places")


#: Layers as (kernel, stride), first to last.
_STACKS = (
    [(3, 1)],
    [(3, 2), (3, 1), (1, 1), (5, 2), (3, 1)],
    [(7, 2), (3, 2), *[(3, 1)] * 4, (3, 2), *[(3, 1)] * 3],
    [(2, 2), (5, 1), (3, 3), (4, 2), (3, 1)],
)


def receptive_field(function: Callable[[list[tuple[int, int]]], int], *, other: int = 0) -> None:
    """Exercise 2.2: layers of (kernel, stride), first to last -> how many pixels wide the square is that one output
    sees."""
    stacks = [
        [(kernel + other % 5, stride) for kernel, stride in layers] + [(1 + other // 5 % 7, 1)] * bool(other)
        for layers in _STACKS
    ]
    answers = []
    for layers in stacks:
        answer = answered(name_of(function), function, list(layers))
        if isinstance(answer, bool) or not isinstance(answer, Integral):
            raise CheckError(
                f"{name_of(function)} returned a {type(answer).__name__}, expected a whole number of pixels"
            )
        answers.append(int(answer))
    right = [field_of(layers)[0] for layers in stacks]
    if answers == right:
        return
    mistakes = [_wrong_fields(layers) for layers in stacks]
    for hint in mistakes[0]:
        if answers == [of_stack[hint] for of_stack in mistakes]:
            raise CheckError(hint)
    place = next(i for i, answer in enumerate(answers) if answer != right[i])
    raise CheckError(
        f"the field of the layers {stacks[place]} is not {answers[place]}: take them one by one, with r "
        "and j beside each"
    )


def _wrong_fields(layers: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Hint of a mistake -> the field that it gives for these layers."""
    after, plain, whole, halves, own, product, grown, added = 1, 1, 1, 1, 1, 1, 1, 1
    distance, sum_of_strides = 1, 1
    for kernel, stride in layers:
        after += (kernel - 1) * distance * stride
        plain += kernel - 1
        whole += kernel * distance
        halves += kernel // 2 * distance
        own += (kernel - 1) * stride
        product *= kernel
        grown = grown * stride + kernel - 1
        added += (kernel - 1) * sum_of_strides
        distance, sum_of_strides = distance * stride, sum_of_strides + stride
    right = field_of(list(layers))[0]
    return {
        "a layer's own stride counts for the layers behind it, not for itself: add (k - 1) · j first, then multiply j "
        "by s": after,
        "the strides are left out: behind a stride of 2, neighbouring outputs are 2 pixels apart, so a kernel reaches "
        "twice as far": plain,
        "a kernel of k adds k - 1 steps, not k: the first of its inputs was there already": whole,
        "the layers were taken last to first: the field grows from the picture on": field_of(list(reversed(layers)))[0],
        "one too few: start with a field of 1, a pixel sees itself": right - 1,
        "this is how far apart two neighbouring outputs are (j): the exercise asks for the field (r)": distance,
        "that is half of it: the field grows on both sides, by k - 1 steps together": halves,
        "each layer's step is its own stride alone: j is the product of all strides before it": own,
        "kernels are not multiplied: each adds k - 1 steps to what the one before sees": product,
        "the stride widens the steps of the layers behind (j), not the field that is there already (r)": grown,
        "strides multiply: j becomes j · s, not j + s": added,
        "this is how many pixels the whole square has: its width is asked for": right**2,
    }


def class_activation(function: Callable[[Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """Exercise 2.3: maps (V, P, D) of one study and slopes (V, P, D), the gradient of the score by them -> Grad-CAM (V,
    P)."""
    generator = torch.Generator().manual_seed(3 + 1000 * other)
    asked: list[Draw] = []
    for views, patches, width in ((2, 9, 4), (1, 16, 6)):
        maps, slopes = (torch.randn(views, patches, width, generator=generator) for _ in range(2))
        alphas = slopes.mean(1, keepdim=True)
        plain = (alphas * maps).sum(-1)
        mistakes = [
            (plain, "the ReLU is missing: a patch that speaks against the finding counts 0, not less than 0"),
            (
                (slopes * maps).sum(-1).relu(),
                "each patch is weighed by its own gradient: Eq. 1 takes the mean over the view's patches first",
            ),
            (
                (slopes.mean((0, 1), keepdim=True) * maps).sum(-1).relu(),
                "one alpha for all views: each view has a map, and alphas, of its own",
            ),
            (
                (slopes.sum(1, keepdim=True) * maps).sum(-1).relu(),
                "the gradients are added up: Eq. 1 is their mean over the patches",
            ),
            (
                (alphas.relu() * maps).sum(-1),
                "the ReLU is at the wrong place: it is taken of the sum over D (Eq. 2), not of the alphas",
            ),
            (
                (alphas * maps).relu().sum(-1),
                "the ReLU is at the wrong place: it is taken of the sum over D (Eq. 2), not of each of its terms",
            ),
            (plain.abs(), "this is the absolute value: what speaks against the finding is left out, not turned round"),
            (
                (alphas * maps).mean(-1).relu(),
                "Eq. 2 adds up over the D numbers of a patch, and you took their mean: the mean belongs to Eq. 1, over "
                "the patches",
            ),
            (
                (slopes.mean(2, keepdim=True) * maps).mean(-1).relu(),
                "both means run over the D numbers: Eq. 1 is the mean over the patches of a view, Eq. 2 a sum over D",
            ),
            (
                (slopes.mean(2, keepdim=True) * maps).sum(-1).relu(),
                "the mean of Eq. 1 runs over the patches of a view, not over the D numbers of a patch",
            ),
            (
                plain.relu() / plain.relu().sum(),
                "the map was divided by its sum: Eq. 2 ends with the ReLU",
            ),
            (
                plain.relu() / plain.relu().max(),
                "the map was divided by its largest value: Eq. 2 ends with the ReLU",
            ),
            (
                (maps.mean(1, keepdim=True) * slopes).sum(-1).relu(),
                "maps and slopes are exchanged: the alphas are the mean of the slopes, and they weigh the maps",
            ),
            (
                (alphas * maps.relu()).sum(-1),
                "the ReLU is at the wrong place: it is taken of the sum over D (Eq. 2), not of the maps",
            ),
            (
                (slopes * maps).sum(-1),
                "each patch is weighed by its own gradient (Eq. 1 takes the mean over the view's patches first), and "
                "the ReLU is missing",
            ),
            (maps.sum(-1).relu(), "the slopes are left out: Eq. 2 weighs the maps with the alphas"),
            (slopes.sum(-1).relu(), "the maps are left out: Eq. 2 weighs them with the alphas"),
        ]
        asked.append((tensor(function, (views, patches), maps, slopes), plain.relu(), mistakes))
    compare_draws(asked, "the map is not that of Eq. 1 and 2")


MEASURED = ("the own maps, times chance", "the others' mean map, times chance")
REASONS = ("looking", "habit", "chance")


def why_inside(answer: Callable[[np.ndarray, np.ndarray], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """Exercise 2.4: `answer(maps, cover)`, (n, S) each: how many times chance of the studies' maps lies in their boxes,
    and how many times of the mean map of the other studies; and "chance" if the first is not clearly above chance, else
    "looking" if it is clearly above the second, else "habit"."""
    name, cases = "why_inside", _maps(other)
    answers = [
        explanation(name, answered(name, answer, maps.copy(), cover.copy()), MEASURED, REASONS) for maps, cover in cases
    ]
    parts = [_inside(maps, cover) for maps, cover in cases]
    right = [[inside.mean() / chance.mean(), others.mean() / chance.mean()] for inside, others, chance in parts]

    def instead(second: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[list[float]]:
        """Of every case, the first number, and `second`'s shares in the boxes as the second."""
        return [[row[0], second(*case).mean() / case[1].mean()] for row, case in zip(right, cases, strict=True)]

    slips = {
        "these are shares of the maps; divide them by the share of the area that the boxes take": [
            [inside.mean(), others.mean()] for inside, others, _ in parts
        ],
        "the two are exchanged: first the maps of the studies themselves": [row[::-1] for row in right],
        "the study's own map is in the mean that it is compared with: leave it out": instead(
            lambda maps, cover: cover @ maps.mean(0)
        ),
        "that is the map of one other study; the mean map of *all* others is asked for": instead(
            lambda maps, cover: (np.roll(maps, 1, 0) * cover).sum(1)
        ),
        "that is the map of the next study alone; the mean map of *all* others is asked for": instead(
            lambda maps, cover: (np.roll(maps, -1, 0) * cover).sum(1)
        ),
        "you took the quotient of each study and the mean of these: a study with a tiny box would count most. Divide "
        "mean by mean": [[(part / chance).mean() for part in (inside, others)] for inside, others, chance in parts],
        "a patch that the box touches counts as much as one that lies in it: weigh each patch with its cover": [
            [part.mean() / chance.mean() for part in (inside, others)]
            for (inside, others, _), chance in zip(
                (_inside(maps, np.ceil(cover)) for maps, cover in cases),
                (chance for _, _, chance in parts),
                strict=True,
            )
        ],
        "these are leads, differences from chance; asked are quotients, so many times chance": [
            [(part - chance).mean() for part in (inside, others)] for inside, others, chance in parts
        ],
        "chance is a *share* of the area: the mean of the cover over the patches, not its sum": [
            [part.mean() / cover.sum(1).mean() for part in (inside, others)]
            for (inside, others, _), (_, cover) in zip(parts, cases, strict=True)
        ],
        "you multiplied by chance; divide by it": [
            [part.mean() * chance.mean() for part in (inside, others)] for inside, others, chance in parts
        ],
        "the second is how the two compare; it is to be divided by chance, as the first": [
            [inside.mean() / chance.mean(), inside.mean() / others.mean()] for inside, others, chance in parts
        ],
    }

    def read(*, paired: bool = True, standard: bool = True, errors: float = 2.0, first: str = "chance") -> list[str]:
        reasons = []
        for inside, others, chance in parts:
            n = len(inside) if standard else 1
            spread = (inside - others).std(ddof=1) if paired else math.hypot(inside.std(ddof=1), others.std(ddof=1))
            above = (inside - chance).mean() > errors * (inside - chance).std(ddof=1) / math.sqrt(n)
            looks = (inside - others).mean() > errors * spread / math.sqrt(n)
            reasons.append(
                "chance" if not above and first == "chance" else "looking" if looks else "habit" if above else "chance"
            )
        return reasons

    reasons = read()
    readings = {
        "a lead within two standard errors may be luck: the mean of n studies has an error, their spread by the "
        "*root* of n": read(errors=0.0),
        "one standard error is not two: of every six leads that are none, one would pass": read(errors=1.0),
        "three standard errors are not two: leads between the two are clear": read(errors=3.0),
        "that is the spread of the *studies*; the mean of n of them is surer, by the root of n": read(standard=False),
        "own and others' map lie in the *same* boxes: take the standard error of their differences, not of each": read(
            paired=False
        ),
        "what is not above chance points at nothing, even above the others: ask that first, and with its sign": read(
            first="looking"
        ),
        "whether the maps are above chance at all was not asked": [
            "looking" if _errors(inside - others) > 2 else "habit" for inside, others, _ in parts
        ],
        "above chance is not yet looking: a habit is above chance as well": [
            "looking" if reason == "habit" else reason for reason in reasons
        ],
        "a habit does not rule out looking: where the own maps are clearly above it, they know something of their "
        "study": [
            "habit" if reason == "looking" and _errors(others - chance) > 2 else reason
            for reason, (_, others, chance) in zip(reasons, parts, strict=True)
        ],
        "it is the wrong way round: a habit is what the maps of *other* studies show too": [
            {"looking": "habit", "habit": "looking"}.get(reason, reason) for reason in reasons
        ],
    }
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _inside(maps: np.ndarray, cover: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) each: the share of a study's own map in its boxes, that of the mean map of the others, and the share of the
    area."""
    others = (maps.sum(0) - maps) / (len(maps) - 1)
    return (maps * cover).sum(1), (others * cover).sum(1), cover.mean(1)


def _errors(apart: np.ndarray) -> float:
    """How many standard errors the mean lies above 0."""
    return float(apart.mean() / apart.std(ddof=1) * math.sqrt(len(apart)))


#: The reason; how much of a map lies where boxes usually are, how much in the study's own box, and whether boxes move
#: about; the range in which the lead over chance and that over the others must lie, in standard errors; and what own,
#: others and chance must be besides.
_KINDS: tuple[
    tuple[str, tuple[float, float, bool], tuple[float, float], tuple[float, float], Callable[..., bool]], ...
] = (
    (
        "looking",
        (0.05, 0.10, True),
        (2.8, 99),
        (2.8, 99),
        lambda inside, others, _: (
            _unpaired(inside, others) > 2.2 and _errors(inside - others) < 1.8 * math.sqrt(len(inside))
        ),
    ),
    ("looking", (0.30, 0.10, False), (2.8, 99), (2.8, 99), lambda inside, others, _: _unpaired(inside, others) < 1.4),
    ("looking", (0.30, 0.03, False), (3.2, 99), (2.15, 2.85), lambda inside, others, _: True),
    (
        "habit",
        (0.90, 0.00, False),
        (2.8, 99),
        (1.15, 1.75),
        lambda inside, others, chance: inside.mean() > 2.5 * chance.mean(),
    ),
    ("habit", (0.30, 0.00, False), (2.8, 99), (-9, -0.2), lambda inside, others, _: True),
    ("chance", (0.00, 0.01, True), (0.2, 0.9), (-9, 0.9), lambda inside, others, _: True),
    ("chance", (-0.4, 0.08, False), (-99, -2), (2.8, 99), lambda inside, others, _: True),
)


def _unpaired(inside: np.ndarray, others: np.ndarray) -> float:
    return float(
        (inside.mean() - others.mean()) / math.hypot(inside.std(ddof=1), others.std(ddof=1)) * math.sqrt(len(inside))
    )


def _maps(other: int, side: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps and covers of one finding in n studies, two views; each reason twice or more. `why_inside` says
    what they must be."""
    draw, cases = np.random.default_rng(other), []
    for _, (habit, looks, moves), over_chance, over_others, fits in _KINDS:
        while True:
            n = int(draw.integers(12, 20))
            cover = np.zeros((n, 2, side, side))
            for study in cover:
                height, width = draw.integers(1, 4, 2)
                y, x = draw.integers(0, side - 2, 2) if moves else (1, 2)
                study[draw.integers(2) if moves else 0, y : y + height, x : x + width] = draw.uniform(0.4, 1.0)
            cover = cover.reshape(n, -1)
            usual = cover.mean(0) / cover.mean(0).max()  # 1 where most boxes are
            maps = (
                draw.gamma(4.0, 0.25, cover.shape)
                * np.clip(1 + 4 * habit * usual, 0.05, None)
                * (1 + 10 * looks * (cover > 0))
            )
            maps /= maps.sum(1, keepdims=True)
            inside, others, chance = _inside(maps, cover)
            leads = _errors(inside - chance), _errors(inside - others)
            if all(
                low < lead < high for lead, (low, high) in zip(leads, (over_chance, over_others), strict=True)
            ) and fits(inside, others, chance):
                break
        cases.append((maps, cover))
    return [cases[k] for k in draw.permutation(len(cases))]
