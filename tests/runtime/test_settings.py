"""A type says what a setting may be: what fits is taken, anything else is refused by name, with its range and an
example."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import pytest
from annotated_types import Gt, Interval, MinLen

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.runtime.choices import check_choice
from rrg_lib.runtime.settings import Count, SeedNumber, check_settings

NAN, INFINITE = float("nan"), float("inf")


@dataclass(frozen=True)
class Toy:
    schedule: Literal["step", "cosine", "constant"] = "step"
    steps: Count = 3
    seed: SeedNumber = 7
    rate: Annotated[float, Interval(gt=0, le=1)] = 0.5
    clip: Annotated[float, Gt(0)] | None = None
    betas: tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]] = (0.9, 0.98)
    monitor: Annotated[dict[str, float], MinLen(1)] = field(default_factory=lambda: {"BLEU-4": 1.0})
    frozen: bool = False
    weights: str | None = "imagenet"
    alphas: float | tuple[float, ...] | None = None
    shift: float = 0.0

    def __post_init__(self):
        check_settings(self, "toy")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule": "cosine", "steps": 1, "rate": 1, "clip": 5, "betas": (0, 0.5), "monitor": {"a": -1}},
        {"frozen": True, "weights": None, "alphas": (0.1, 2, 3.0), "shift": -7, "seed": 2**32 - 1},
        {"steps": np.int64(4), "rate": np.float32(0.25)},
    ],
)
def test_what_fits_is_taken_as_it_is(settings):
    toy = Toy(**settings)
    assert {name: getattr(toy, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": 0}, "toy.steps is 0: expected a whole number of at least 1, for example toy.steps=3"),
        ({"steps": True}, "toy.steps is true: expected a whole number"),
        ({"steps": 1.5}, "toy.steps is 1.5: expected a whole number"),
        ({"steps": "3"}, "toy.steps is '3': expected a whole number"),
        ({"steps": None}, "toy.steps is null: expected a whole number"),
        ({"seed": -1}, "toy.seed is -1: expected a whole number of at least 0 and at most 4294967295"),
        ({"seed": 10**20}, "toy.seed is 100000000000000000000: expected"),
        ({"seed": 10**5000}, "toy.seed is a number of thousands of digits: expected"),
        (
            {"rate": NAN},
            "toy.rate is NaN: expected a finite number above 0 and at most 1, for example toy.rate=0.5",
        ),
        ({"rate": INFINITE}, "toy.rate is Infinity: expected"),
        ({"shift": -INFINITE}, "toy.shift is -Infinity: expected a finite number, for example toy.shift=0.0"),
        ({"shift": 10**400}, "toy.shift is 1000.*: expected a finite number"),
        ({"rate": 0}, "toy.rate is 0: expected"),
        ({"rate": False}, "toy.rate is false: expected"),
        ({"clip": -1}, "toy.clip is -1: expected a finite number above 0 or null, for example toy.clip=1"),
        ({"clip": "abc"}, "toy.clip is 'abc': expected a finite number above 0 or null"),
        (
            {"betas": (0.9,)},
            r"toy.betas is \[0.9\]: expected a list of 2, each a finite number of at least 0 and below 1, for example "
            r"toy.betas=\[0.9, 0.98\]",
        ),
        ({"betas": (2, 3)}, r"toy.betas is \[2, 3\]: expected"),
        ({"betas": ("a", "b")}, r'toy.betas is \["a", "b"\]: expected'),
        ({"betas": 5}, "toy.betas is 5: expected a list"),
        (
            {"monitor": {}},
            r'toy.monitor is {}: expected names, each with a finite number \(not empty\), .*"BLEU-4": 1.0',
        ),
        ({"monitor": {"BLEU-4": "x"}}, "toy.monitor is .*: expected names"),
        ({"monitor": {"BLEU-4": NAN}}, "toy.monitor is .*NaN.*: expected names"),
        ({"frozen": 1}, "toy.frozen is 1: expected true or false, for example toy.frozen=false"),
        ({"weights": 3}, "toy.weights is 3: expected a text or null, for example toy.weights=imagenet"),
        ({"weights": "x" * 9 + "y", "frozen": "y" * 1000}, "toy.frozen is 'y{59}….: expected|toy.frozen is 'y{59}…"),
        ({"alphas": ("a",)}, "expected a finite number or a list, each a finite number or null"),
    ],
)
def test_what_does_not_fit_is_named_with_its_range_and_an_example(settings, says):
    with pytest.raises(ConfigurationError, match=says):
        Toy(**settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"schedule": "cosin"},
            "unknown toy.schedule 'cosin'; nearest: cosine, constant; known: constant, cosine, step. For example "
            "toy.schedule=step",
        ),
        ({"schedule": "below"}, "unknown toy.schedule 'below'.*known: constant, cosine, step"),
        ({"schedule": None}, "unknown toy.schedule None.*known: constant, cosine, step"),
        ({"schedule": ("step",)}, r"unknown toy.schedule \('step',\)"),
    ],
)
def test_a_value_that_is_no_choice_is_named_with_the_nearest(settings, says):
    with pytest.raises(UnknownNameError, match=says):
        Toy(**settings)


def test_one_value_is_checked_alike():
    check_choice("split", "val", Literal["train", "val"])
    with pytest.raises(UnknownNameError, match="unknown split 'test'; known: train, val"):
        check_choice("split", "test", Literal["train", "val"])


def test_help_loads_no_library_for_it():
    """pydantic takes longer to import than the help has; what reads the ranges here takes a few milliseconds."""
    import subprocess

    code = "import sys, rrg_lib.runtime.settings; print('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
