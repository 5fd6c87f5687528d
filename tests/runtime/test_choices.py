"""A field that is declared as a Literal takes its choices and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from rrg_lib.errors import UnknownNameError
from rrg_lib.runtime.choices import check_choice, check_choices


@dataclass(frozen=True)
class Config:
    schedule: Literal["step", "cosine", "constant"] = "step"
    steps: int = 3
    side: Literal["left", "right"] = "left"

    def __post_init__(self):
        check_choices(self, of="toy.")


def test_choices_are_taken_and_other_fields_are_not_asked():
    assert Config("cosine", -1, "right").schedule == "cosine"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"schedule": "cosin"}, "unknown toy.schedule 'cosin'; nearest: cosine"),
        ({"side": "below"}, "unknown toy.side 'below'; known: left, right"),
        ({"side": None}, "unknown toy.side None; known: left, right"),
    ],
)
def test_a_value_that_is_no_choice_is_named_with_the_nearest(settings, says):
    with pytest.raises(UnknownNameError, match=says):
        Config(**settings)


def test_one_value_is_checked_alike():
    check_choice("split", "val", Literal["train", "val"])
    with pytest.raises(UnknownNameError, match="unknown split 'test'; known: train, val"):
        check_choice("split", "test", Literal["train", "val"])
