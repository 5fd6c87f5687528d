"""Chapter 02's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import pytest
import torch

from rrg_lib.checks import CheckError
from rrg_lib.checks import visual_extraction as checks


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
    """The other way to count: one output needs k inputs of the last layer, those need (n - 1) s + k of the one before."""
    needed = 1
    for kernel, stride in reversed(layers):
        needed = (needed - 1) * stride + kernel
    return needed


@pytest.mark.exercise("2.2", "right")
@pytest.mark.parametrize("answer", [solved_field, from_the_end])
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
        (lambda layers: float(solved_field(layers)), "whole number"),
    ],
)
def test_a_wrong_field_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.receptive_field(answer)


def solved_cam(maps, slopes):
    return (slopes.mean(1, keepdim=True) * maps).sum(-1).relu()


@pytest.mark.exercise("2.3", "right")
@pytest.mark.parametrize("answer", [solved_cam, lambda maps, slopes: torch.einsum("vd,vpd->vp", slopes.mean(1), maps).clamp(min=0)])
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
        (lambda maps, slopes: (slopes.mean(2, keepdim=True) * maps).sum(-1).relu(), "D numbers of a patch"),
        (lambda maps, slopes: torch.ones(maps.shape[:2]), "not that of Eq. 1 and 2"),
        (lambda maps, slopes: solved_cam(maps, slopes)[0], "shape"),
    ],
)
def test_a_wrong_map_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.class_activation(answer)
