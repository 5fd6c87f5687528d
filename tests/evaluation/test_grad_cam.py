"""Grad-CAM against its closed form, and its score against boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rrg_lib.data.study import Box
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.attention import box_cover, box_summary
from rrg_lib.evaluation.grad_cam import grad_cam, map_table


def test_of_a_linear_score_of_the_mean_patch_it_is_the_class_activation_map():
    torch.manual_seed(0)
    maps = torch.randn(3, 2, 49, 8, requires_grad=True)
    weights = torch.randn(2, 8)
    scores = (maps.mean(2) * weights).sum((1, 2)) + 1
    torch.testing.assert_close(grad_cam(maps, scores), ((maps * weights[:, None]).sum(-1) / 49).relu().detach())


def test_alphas_are_means_over_a_views_patches():
    """A score that only looks at one patch: its gradient is spread over the whole view by Selvaraju et al. 2017, Eq. 1,
    and the other view gets none."""
    maps = torch.ones(1, 2, 4, 3, requires_grad=True)
    found = grad_cam(maps, maps[:, 0, 2].sum(-1) * 4)
    torch.testing.assert_close(found, torch.tensor([[[3.0] * 4, [0.0] * 4]]))


def test_what_speaks_against_is_left_out():
    maps = torch.tensor([[[[1.0], [-2.0]]]], requires_grad=True)
    torch.testing.assert_close(grad_cam(maps, -2 * maps.sum((1, 2, 3))), torch.tensor([[[0.0, 4.0]]]))


def test_a_score_without_a_way_back_to_the_maps_is_told():
    with pytest.raises(ConfigurationError, match="requires_grad_"):
        grad_cam(torch.ones(1, 1, 4, 2), torch.ones(1))


def test_maps_are_scored_in_the_boxes_of_their_finding_and_beside_the_others_mean():
    boxes = {
        "a": [Box("Nodule", 0, 0, 0, 128, 128), Box("Device", 1, 0, 0, 64, 64)],
        "b": [Box("Nodule", 0, 128, 128, 256, 256)],
        "c": [],
    }
    inside = np.zeros((2, 4, 4))
    inside[0, :2, :2] = 1
    table = map_table(
        {("a", "Nodule"): inside, ("b", "Nodule"): inside, ("c", "Nodule"): inside, ("a", "Device"): np.zeros(32)},
        boxes,
    )
    rows = table.set_index(["study", "finding"])
    assert rows.index.tolist() == [("a", "Nodule"), ("b", "Nodule"), ("a", "Device")]
    assert rows.at[("a", "Nodule"), "inside"] == pytest.approx(1) and rows.at[
        ("b", "Nodule"), "inside"
    ] == pytest.approx(0, abs=1e-6)
    assert rows.at[("a", "Nodule"), "others"] == pytest.approx(1) and rows.at[
        ("b", "Nodule"), "others"
    ] == pytest.approx(0, abs=1e-6)
    chance = box_cover(boxes["a"][1:], grid=4).mean()
    assert rows.at[("a", "Device"), "inside"] == pytest.approx(chance)  # a map that is 0 everywhere is chance
    assert np.isnan(rows.at[("a", "Device"), "others"])
    assert box_summary(table, by=["finding"]).at["Nodule", "ratio"] == pytest.approx(0.5 / 0.125)


def test_the_others_mean_is_without_the_study_itself():
    boxes = {study: [Box("Nodule", 0, 0, 0, 128, 128)] for study in "ab"}
    inside, outside = np.zeros((2, 4, 4)), np.zeros((2, 4, 4))
    inside[0, :2, :2] = outside[1] = 1
    table = map_table({("a", "Nodule"): inside, ("b", "Nodule"): outside}, boxes).set_index("study")
    np.testing.assert_allclose(table.loc["a", ["inside", "others"]].astype(float), [1, 0], atol=1e-6)
    np.testing.assert_allclose(table.loc["b", ["inside", "others"]].astype(float), [0, 1], atol=1e-6)
