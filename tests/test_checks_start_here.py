"""Exercises of chapter 00: right answers pass, typical wrong ones fail with their own hint."""

from __future__ import annotations

from collections import Counter

import pytest

from rrg_lib.checks import CheckError
from rrg_lib.checks import start_here as checks


def unique(reports):
    counts = Counter(reports.values())
    return sum(counts[report] == 1 for report in reports.values()) / len(reports)


def unique_by_lists(reports):
    texts = list(reports.values())
    return len([text for text in texts if texts.count(text) == 1]) / len(texts)


@pytest.mark.exercise("0.1", "right")
@pytest.mark.parametrize("answer", [unique, unique_by_lists])
def test_every_right_share_of_unique_reports_passes(answer):
    checks.distinct(answer)


@pytest.mark.exercise("0.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r: len(set(r.values())) / len(r), "different texts"),
        (lambda r: sum(n == 1 for n in Counter(r.values()).values()), "a share is wanted"),
        (lambda r: 1 - unique(r), "another study got too"),
        (lambda r: len(set(r.values())) / len(r) if len(r) == 2 else unique(r), "was counted once"),
        (lambda r: 1 / 3, "none is unique"),
        (lambda r: 1.0, "2 are unique"),
    ],
)
def test_unique_reports_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.distinct(answer)


@pytest.mark.exercise("0.2", "right")
@pytest.mark.parametrize(
    "answer", [lambda studies: sum(s.is_abnormal for s in studies) / len(studies), lambda studies: sum(any(s.drawn) for s in studies) / len(studies)]
)
def test_every_right_share_of_abnormal_studies_passes(answer):
    checks.abnormal(answer)


@pytest.mark.exercise("0.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s: sum(not x.is_abnormal for x in s) / len(s), "share of normal"),
        (lambda s: sum(bool(x.findings) for x in s) / len(s), "every study has a code"),
        (lambda s: sum(x.findings[0].head != "normal" for x in s) / len(s), "something that is not drawn"),
        (lambda s: sum(x.is_abnormal for x in s), "divide by the number"),
        (lambda s: sum(sum(x.drawn) for x in s) / len(s), "counts findings"),
        (lambda s: 222 / 590, "look at those"),
    ],
)
def test_abnormal_share_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.abnormal(answer)


@pytest.mark.exercise("0.3", "right")
@pytest.mark.parametrize("answer", [lambda side: {"left": "right", "right": "left"}[side], lambda side: "right" if side == "left" else "left"])
def test_every_right_side_passes(answer):
    checks.view_of_box(answer)


@pytest.mark.exercise("0.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s: s, "faced you"),
        (lambda s: "right", "can't both be right"),
        (lambda s: {"left": "Right", "right": "Left"}[s], "the bare word"),
        (lambda s: 1, "each of"),
        (lambda s: None, "it returns nothing"),
    ],
)
def test_side_of_the_picture_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.view_of_box(answer)
