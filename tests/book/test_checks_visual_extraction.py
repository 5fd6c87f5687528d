"""Chapter 02's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pytest
import torch

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import visual_extraction as checks
from rrg_lib.data.study import Box
from rrg_lib.evaluation.attention import box_cover
from rrg_lib.evaluation.grad_cam import map_table


def tokens(maps):
    return maps.flatten(2).transpose(1, 2)


def solved_patches(maps, views):
    return tokens(maps).reshape(-1, views * maps.shape[2] * maps.shape[3], maps.shape[1])


def by_permuting(maps, views):
    return maps.permute(0, 2, 3, 1).unflatten(0, (-1, views)).flatten(1, 3)


@pytest.mark.exercise("2.1", "right")
@pytest.mark.parametrize("answer", [solved_patches, by_permuting])
def test_every_right_sequence_passes(answer):
    checks.to_patches(answer)


@pytest.mark.exercise("2.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda maps, views: maps.reshape(len(maps) // views, -1, maps.shape[1]), "transpose first"),
        (lambda maps, views: solved_patches(maps.transpose(2, 3), views), "down the columns"),
        (lambda maps, views: tokens(maps).unflatten(0, (-1, views)).transpose(1, 2).flatten(1, 2), "alternate"),
        (lambda maps, views: tokens(maps).unflatten(0, (views, -1)).transpose(0, 1).flatten(1, 2), "different studies"),
        (lambda maps, views: tokens(maps).unflatten(0, (-1, views)).flip(1).flatten(1, 2), "order of the views"),
        (lambda maps, views: solved_patches(maps.flip(2), views), "begin with the lowest row"),
        (lambda maps, views: tokens(maps), "shape"),
        (lambda maps, views: torch.zeros_like(solved_patches(maps, views)), "not in their places"),
        (lambda maps, views: None, "returns nothing"),
    ],
)
def test_a_wrong_sequence_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.to_patches(answer)


def solved_field(layers):
    r, j = 1, 1
    for kernel, stride in layers:
        r, j = r + (kernel - 1) * j, j * stride
    return r


def from_the_end(layers):
    """The other way to count: one output needs k inputs of the last layer, those need (n - 1) s + k of the one
    before."""
    needed = 1
    for kernel, stride in reversed(layers):
        needed = (needed - 1) * stride + kernel
    return needed


@pytest.mark.exercise("2.2", "right")
@pytest.mark.parametrize("answer", [solved_field, from_the_end, lambda layers: np.int64(solved_field(layers))])
def test_every_right_field_passes(answer):
    checks.receptive_field(answer)


def stride_first(layers):
    r, j = 1, 1
    for kernel, stride in layers:
        j *= stride
        r += (kernel - 1) * j
    return r


def whole_kernels(layers):
    r, j = 1, 1
    for kernel, stride in layers:
        r, j = r + kernel * j, j * stride
    return r


def field_by(layers, field=lambda r, j, k, s: r + (k - 1) * j, step=lambda j, s: j * s):
    """The right answer unless told otherwise."""
    r, j = 1, 1
    for kernel, stride in layers:
        r, j = field(r, j, kernel, stride), step(j, stride)
    return r


def distance(layers):
    j = 1
    for _, stride in layers:
        j *= stride
    return j


@pytest.mark.exercise("2.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (stride_first, "own stride"),
        (lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers), "strides are left out"),
        (whole_kernels, "k - 1 steps"),
        (lambda layers: solved_field(layers[::-1]), "last to first"),
        (lambda layers: solved_field(layers) - 1, "start with a field of 1"),
        (distance, "how far apart"),
        (lambda layers: 3, "is not 3"),
        (partial(field_by, field=lambda r, j, k, s: r + k // 2 * j), "that is half of it"),
        (partial(field_by, field=lambda r, j, k, s: r + (k - 1) * s), "its own stride alone"),
        (partial(field_by, field=lambda r, j, k, s: r * k), "kernels are not multiplied"),
        (partial(field_by, field=lambda r, j, k, s: r * s + k - 1), "not the field that is there already"),
        (partial(field_by, step=lambda j, s: j + s), "strides multiply"),
        (lambda layers: solved_field(layers) ** 2, "its width is asked for"),
        (lambda layers: float(solved_field(layers)), "whole number"),
    ],
)
def test_a_wrong_field_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.receptive_field(answer)


def solved_cam(maps, slopes):
    return (slopes.mean(1, keepdim=True) * maps).sum(-1).relu()


@pytest.mark.exercise("2.3", "right")
@pytest.mark.parametrize(
    "answer", [solved_cam, lambda maps, slopes: torch.einsum("vd,vpd->vp", slopes.mean(1), maps).clamp(min=0)]
)
def test_every_right_grad_cam_passes(answer):
    checks.class_activation(answer)


@pytest.mark.exercise("2.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda maps, slopes: (slopes.mean(1, keepdim=True) * maps).sum(-1), "ReLU is missing"),
        (lambda maps, slopes: (slopes * maps).sum(-1).relu(), "its own gradient"),
        (lambda maps, slopes: (slopes.mean((0, 1)) * maps).sum(-1).relu(), "one alpha for all views"),
        (lambda maps, slopes: (slopes.sum(1, keepdim=True) * maps).sum(-1).relu(), "added up"),
        (lambda maps, slopes: (slopes.mean(1, keepdim=True).relu() * maps).sum(-1), "not of the alphas"),
        (lambda maps, slopes: (slopes.mean(1, keepdim=True) * maps).relu().sum(-1), "each of its terms"),
        (lambda maps, slopes: (slopes.mean(1, keepdim=True) * maps).sum(-1).abs(), "absolute value"),
        (
            lambda maps, slopes: (slopes.mean(2, keepdim=True) * maps).sum(-1).relu(),
            "not over the D numbers of a patch",
        ),
        (lambda maps, slopes: (slopes.mean(1, keepdim=True) * maps).mean(-1).relu(), "you took their mean"),
        (
            lambda maps, slopes: (slopes.mean(2, keepdim=True) * maps).mean(-1).relu(),
            "both means run over the D numbers",
        ),
        (lambda maps, slopes: solved_cam(maps, slopes) / solved_cam(maps, slopes).sum(), "divided by its sum"),
        (lambda maps, slopes: solved_cam(maps, slopes) / solved_cam(maps, slopes).max(), "divided by its largest"),
        (lambda maps, slopes: solved_cam(slopes, maps), "maps and slopes are exchanged"),
        (lambda maps, slopes: (slopes.mean(1, keepdim=True) * maps.relu()).sum(-1), "not of the maps"),
        (lambda maps, slopes: (slopes * maps).sum(-1), "its own gradient.*and the ReLU is missing"),
        (lambda maps, slopes: maps.sum(-1).relu(), "the slopes are left out"),
        (lambda maps, slopes: slopes.sum(-1).relu(), "the maps are left out"),
        (lambda maps, slopes: torch.ones(maps.shape[:2]), "not that of Eq. 1 and 2"),
        (lambda maps, slopes: solved_cam(maps, slopes)[0], "shape"),
    ],
)
def test_a_wrong_map_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.class_activation(answer)


def clearly(apart, *, errors=2.0):
    return apart.mean() > errors * apart.std(ddof=1) / math.sqrt(len(apart))


def reason_of(own, others, chance, *, clearly=clearly):
    return "chance" if not clearly(own - chance) else "looking" if clearly(own - others) else "habit"


def looked(
    maps,
    cover,
    *,
    mean_of=lambda maps: (maps.sum(0) - maps) / (len(maps) - 1),
    change=lambda own, others: (own, others),
    reason=reason_of,
):
    """The right answer unless told otherwise."""
    own, others, chance = (maps * cover).sum(1), (mean_of(maps) * cover).sum(1), cover.mean(1)
    return change(own.mean() / chance.mean(), others.mean() / chance.mean()), reason(own, others, chance)


def study_by_study(maps, cover):
    """With tensors, and the standard error of the released torch (n - 1)."""
    maps, cover = torch.as_tensor(maps), torch.as_tensor(cover)
    own = torch.einsum("ns,ns->n", maps, cover)
    others = torch.stack([torch.cat([maps[:i], maps[i + 1 :]]).mean(0) @ cover[i] for i in range(len(maps))])
    chance = cover.mean(1)
    above, ahead = ((own - than) for than in (chance, others))
    sure = [lead.mean() / (lead.std() / len(lead) ** 0.5) > 2 for lead in (above, ahead)]
    return torch.stack([own.mean(), others.mean()]) / chance.mean(), {
        (True, True): "looking",
        (True, False): "habit",
    }.get((*map(bool, sure),), "chance")


def with_whole_patches(maps, cover):
    (own, others), reason = looked(maps, np.ceil(cover))
    scale = np.ceil(cover).mean() / cover.mean()
    return (own * scale, others * scale), reason


def of_quotients(maps, cover):
    own, others, chance = (maps * cover).sum(1), ((maps.sum(0) - maps) / (len(maps) - 1) * cover).sum(1), cover.mean(1)
    return ((own / chance).mean(), (others / chance).mean()), reason_of(own, others, chance)


def shares_alone(maps, cover):
    (own, others), reason = looked(maps, cover)
    return (own * cover.mean(), others * cover.mean()), reason


def unpaired(own, others, chance):
    error = math.hypot(own.std(ddof=1), others.std(ddof=1)) / math.sqrt(len(own))
    return "chance" if not clearly(own - chance) else "looking" if own.mean() - others.mean() > 2 * error else "habit"


def habit_first(own, others, chance):
    return "chance" if not clearly(own - chance) else "habit" if clearly(others - chance) else "looking"


REASONS = checks.REASONS


@pytest.mark.exercise("2.4", "right")
@pytest.mark.parametrize("answer", [looked, study_by_study])
def test_every_right_reason_of_a_map_passes(answer):
    checks.why_inside(answer)


@pytest.mark.exercise("2.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (shares_alone, "divide them by the share of the area"),
        (partial(looked, change=lambda own, others: (others, own)), "the two are exchanged"),
        (partial(looked, mean_of=lambda maps: maps.mean(0)), "leave it out"),
        (partial(looked, mean_of=lambda maps: np.roll(maps, 1, 0)), "the map of one other study"),
        (partial(looked, mean_of=lambda maps: np.roll(maps, -1, 0)), "the map of the next study alone"),
        (of_quotients, "a study with a tiny box would count most"),
        (with_whole_patches, "weigh each patch with its cover"),
        (
            partial(looked, change=lambda own, others: (own, own / others)),
            "it is to be divided by chance, as the first",
        ),
        (partial(looked, reason=partial(reason_of, clearly=partial(clearly, errors=0))), "may be luck"),
        (
            partial(looked, reason=partial(reason_of, clearly=partial(clearly, errors=1))),
            "one standard error is not two",
        ),
        (
            partial(looked, reason=partial(reason_of, clearly=partial(clearly, errors=3))),
            "three standard errors are not two",
        ),
        (
            partial(looked, reason=lambda own, others, chance: "looking" if clearly(own - others) else "habit"),
            "above chance at all was not asked",
        ),
        (
            lambda maps, cover: (
                [n * cover.mean() - cover.mean() for n in looked(maps, cover)[0]],
                looked(maps, cover)[1],
            ),
            "these are leads",
        ),
        (partial(looked, change=lambda own, others: (own / 72, others / 72)), "not its sum"),
        (
            lambda maps, cover: ([n * cover.mean() ** 2 for n in looked(maps, cover)[0]], looked(maps, cover)[1]),
            "you multiplied by chance",
        ),
        (
            partial(looked, reason=partial(reason_of, clearly=lambda apart: apart.mean() > 2 * apart.std())),
            "the spread of the *studies*",
        ),
        (partial(looked, reason=unpaired), "in the *same* boxes"),
        (
            partial(
                looked,
                reason=lambda own, others, chance: (
                    "looking" if clearly(own - others) else reason_of(own, others, chance)
                ),
            ),
            "ask that first",
        ),
        (
            partial(looked, reason=lambda own, _, chance: "looking" if clearly(own - chance) else "chance"),
            "above chance is not yet looking",
        ),
        (partial(looked, reason=habit_first), "a habit does not rule out looking"),
        (
            partial(looked, reason=lambda *of: {"habit": "looking", "looking": "habit"}.get(reason_of(*of), "chance")),
            "the wrong way round",
        ),
        (partial(looked, reason=lambda *_: "habit"), "do not support"),
        (lambda *_: ((2.7, 2.5), "habit"), "is not right"),
        (lambda *_: ((2.7, math.nan), "habit"), "is not right"),
        (lambda *inputs: (looked(*inputs)[0][:1], "habit"), "2 are asked for"),
        (lambda *inputs: (looked(*inputs)[0][0], "habit"), "can't be read as numbers"),
        (lambda *inputs: inputs, "can't be read as numbers"),
        (lambda *inputs: looked(*inputs)[1], "it returns a str; return two things"),
        (lambda *inputs: looked(*inputs)[::-1], "in this order"),
        (lambda *inputs: (looked(*inputs)[0], "heart"), "'heart' is none of the reasons"),
        (lambda *inputs: looked(*map(np.ndarray.tolist, inputs)), "it stops with"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_reason_of_a_map_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_inside(answer)


@pytest.mark.parametrize("other", range(6))
def test_every_reason_of_a_map_is_asked_for_twice_or_more(other):
    said = [looked(*case) for case in checks._maps(other)]
    assert sorted(reason for _, reason in said) == sorted([*REASONS * 2, "looking"])
    assert max(own for (own, _), reason in said if reason == "habit") > 2.5  # a high share alone tells nothing
    unsure = [
        checks._unpaired(*checks._inside(*case)[:2]) for case in checks._maps(other) if looked(*case)[1] == "looking"
    ]
    assert min(unsure) < 1.5 and max(unsure) > 2.1  # one of the three is seen only by who takes differences
    checks.why_inside(study_by_study, other=other)


def test_the_mean_map_of_the_others_is_the_librarys():
    """`map_table`, for the boxes of a phantom study each."""
    draw = np.random.default_rng(5)
    boxes = {f"s{k}": [Box("Nodule", k % 2, 20 * k, 30, 20 * k + 60, 120)] for k in range(5)}
    maps = {(study, "Nodule"): draw.random(2 * 49) for study in boxes}
    scored = map_table(maps, boxes)
    cover = np.stack([box_cover(own).ravel() for own in boxes.values()])
    own, others, chance = checks._inside(np.stack([values / values.sum() for values in maps.values()]), cover)
    np.testing.assert_allclose(np.stack([own, others, chance], 1), scored[["inside", "others", "chance"]], rtol=1e-5)
