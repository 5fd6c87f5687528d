"""Exercises of chapter 00: the solved form passes, typical wrong answers fail with their own hint."""

from __future__ import annotations

from collections import Counter

import pytest

from rrg_lib.checks import CheckError
from rrg_lib.checks import start_here as checks
from rrg_lib.data import iu_xray


def unique(reports):
    counts = Counter(reports.values())
    return sum(counts[report] == 1 for report in reports.values()) / len(reports)


def test_the_solutions_pass():
    checks.distinct(unique)
    checks.abnormal(lambda studies: sum(s.is_abnormal for s in studies) / len(studies), iu_xray.studies("test"))
    checks.view_of_box(lambda side: {"left": "right", "right": "left"}[side])


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda r: len(set(r.values())) / len(r), "different texts"),
        (lambda r: sum(n == 1 for n in Counter(r.values()).values()), "a share is wanted"),
        (lambda r: 0.5, "none is unique"),
        (lambda r: 1.0, "half are unique"),
    ],
)
def test_unique_reports_wrong(wrong, hint):
    with pytest.raises(CheckError, match=hint):
        checks.distinct(wrong)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda s: sum(not x.is_abnormal for x in s) / len(s), "share of normal"),
        (lambda s: sum(bool(x.findings) for x in s) / len(s), "every study has a code"),
        (lambda s: 0.25, "is not the share"),
        (lambda s: 222 / 590, "look at the studies"),
    ],
)
def test_abnormal_share_wrong(wrong, hint):
    with pytest.raises(CheckError, match=hint):
        checks.abnormal(wrong, iu_xray.studies("test"))


@pytest.mark.parametrize(("wrong", "hint"), [(lambda s: s, "faced you"), (lambda s: "right", "each of"), (lambda s: None, "each of")])
def test_side_of_the_picture_wrong(wrong, hint):
    with pytest.raises(CheckError, match=hint):
        checks.view_of_box(wrong)
