"""Receptive fields: the formula, the network, and what its weights make of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.receptive_field import effective_field, field_of, receptive_field, side_holding

#: The small network's main path: pixel unshuffling is a 2 x 2 kernel of stride 2.
SMALL = [(2, 2), (3, 1), (3, 2), (3, 1), (3, 1), (3, 2), (3, 1), (3, 2), (3, 1), (3, 1), (3, 1), (1, 1)]
RESNET18 = [(7, 2), (3, 2), *[(3, 1)] * 4, (3, 2), *[(3, 1)] * 3, (3, 2), *[(3, 1)] * 3, (3, 2), *[(3, 1)] * 3]
RESNET50 = [(7, 2), (3, 2), *(layer for i in range(16) for layer in ((1, 1), (3, 2 if i in (3, 7, 13) else 1), (1, 1)))]


@pytest.mark.parametrize(
    ("name", "layers", "field"), [("small", SMALL, 162), ("resnet18", RESNET18, 435), ("resnet50", RESNET50, 427)]
)
def test_the_networks_field_is_the_formulas(name, layers, field):
    assert field_of(layers)[0] == receptive_field(VisualExtractor(name)) == field
    assert field_of(layers)[1] == (16 if name == "small" else 32)


def test_attention_sees_everything():
    assert receptive_field(VisualExtractor("vit_b_16")) is None


def test_measuring_leaves_the_extractor_as_it_was():
    extractor = VisualExtractor("small")
    before = extractor.hash
    receptive_field(extractor)
    effective_field(extractor, torch.zeros(1, 1, 112, 112, dtype=torch.uint8))
    assert extractor.hash == before and not extractor.training
    learning = VisualExtractor("small", frozen=False).train()
    effective_field(learning, torch.zeros(1, 1, 112, 112, dtype=torch.uint8))
    assert learning.training and learning.net.training


def test_nothing_outside_the_field_has_a_gradient_and_the_middle_counts_most():
    """Of the upper left patch of a larger film, at film pixels: the field is 162 of 112, so the corner patch cannot see
    the opposite corner."""
    torch.manual_seed(0)
    films = torch.randint(0, 256, (2, 2, 112, 112), dtype=torch.uint8)
    field = effective_field(VisualExtractor("small"), films, patch=(0, 0))
    assert field.shape == (112, 112) and field.sum() == pytest.approx(1)
    assert (
        field[:90, :90].sum() == pytest.approx(1) and field[95:].max() == 0
    )  # 81 pixels to each side of the patch's centre, 8
    assert field[:32, :32].sum() > 0.5
    middle = effective_field(VisualExtractor("small"), films)
    assert middle[24:88, 24:88].sum() > 0.8 > middle[:24].sum()


def test_the_square_that_holds_a_share():
    field = np.zeros((21, 21))
    field[10, 10] = 0.6
    field[8, 10] = field[12, 10] = 0.2
    assert (side_holding(field, 0.5), side_holding(field, 0.9)) == (1, 5)
    assert side_holding(np.ones((9, 9)), 1.0) == 9
