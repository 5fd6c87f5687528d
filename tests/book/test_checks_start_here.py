"""Exercises of chapter 00: right answers pass, typical wrong ones fail with their own hint."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial

import numpy as np
import pytest

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import start_here as checks


def unique(reports):
    counts = Counter(reports.values())
    return sum(counts[report] == 1 for report in reports.values()) / len(reports)


def unique_by_lists(reports):
    texts = list(reports.values())
    return len([text for text in texts if texts.count(text) == 1]) / len(texts)


@pytest.mark.exercise("0.1", "right")
@pytest.mark.parametrize(
    "answer",
    [
        unique,
        unique_by_lists,
        lambda r: 1 - sum(n for n in Counter(r.values()).values() if n > 1) / len(r),  # another last digit
        lambda r: sum(1 / len(r) for n in Counter(r.values()).values() if n == 1),
        lambda r: np.float32(unique(r)),
    ],
)
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
        (lambda r: 2 / 7, "none is unique"),
        (lambda r: 1.0, "2 are unique"),
        (lambda r: 100 * unique(r), "not in percent"),
        (lambda r: round(unique(r), 2), "it is rounded"),
        (lambda r: unique(r) * len(r) / len(set(r.values())), "the number of different texts"),
        (lambda r: list(r), "return one number"),
    ],
)
def test_unique_reports_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.distinct(answer)


@pytest.mark.exercise("0.2", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda studies: sum(s.is_abnormal for s in studies) / len(studies),
        lambda studies: sum(any(s.drawn) for s in studies) / len(studies),
        lambda studies: sum(any(f.drawn is not None for f in s.findings) for s in studies) / len(studies),
        lambda studies: 1 - sum(not s.is_abnormal for s in studies) / len(studies),  # another last digit
        lambda studies: sum(s.is_abnormal / len(studies) for s in studies),
    ],
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
        (lambda s: sum(any(f.observation for f in x.findings) for x in s) / len(s), "CheXpert's observations"),
        (lambda s: sum(not x.observations[0] for x in s) / len(s), "CheXpert's observations"),
        (lambda s: sum(x.findings[0].drawn is not None for x in s) / len(s), "not at the first"),
        (lambda s: sum(x.findings[-1].drawn is not None for x in s) / len(s), "not at the last"),
        (lambda s: sum(any(f.severity or f.side for f in x.findings) for x in s) / len(s), "go through the steps"),
        (lambda s: sum(x.findings != () and x.report != "" for x in s) / len(s), "every study has a code"),
        (lambda s: round(sum(x.is_abnormal for x in s) / len(s), 3), "it is rounded"),
        (lambda s: 100 * sum(x.is_abnormal for x in s) / len(s), "not in percent"),
    ],
)
def test_abnormal_share_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.abnormal(answer)


@pytest.mark.parametrize("other", range(20))
def test_however_the_studies_are_drawn_a_look_at_one_code_or_at_observations_is_found(other):
    for answer in (
        lambda s: sum(any(f.observation for f in x.findings) for x in s) / len(s),
        lambda s: sum(x.findings[0].drawn is not None for x in s) / len(s),
        lambda s: sum(x.findings[-1].drawn is not None for x in s) / len(s),
        lambda s: sum(any(f.severity or f.side for f in x.findings) for x in s) / len(s),
    ):
        with pytest.raises(CheckError):
            checks.abnormal(answer, other=other)
    checks.abnormal(lambda s: 1 - sum(not x.is_abnormal for x in s) / len(s), other=other)


@pytest.mark.exercise("0.3", "right")
@pytest.mark.parametrize(
    "answer",
    [lambda side: {"left": "right", "right": "left"}[side], lambda side: "right" if side == "left" else "left"],
)
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


REASONS = checks.REASONS


def shares_of(references, reports):
    pairs = [
        (Counter(report.split()), Counter(reference.split()))
        for reference, report in zip(references, reports, strict=True)
    ]
    right = sum((said & wanted).total() for said, wanted in pairs)
    return np.array(
        [right / sum(said.total() for said, _ in pairs), right / sum(wanted.total() for _, wanted in pairs)]
    )


def reason_of(said, wanted):
    return "more often right" if said > 0 else "says more" if wanted > 0 else "neither"


def leading(references, a, b, *, shares=shares_of, change=lambda leads: leads, reason=reason_of):
    """The right answer unless told otherwise."""
    leads = shares(references, a) - shares(references, b)
    return tuple(change(leads)), reason(*leads)


def by_crossing_out(references, a, b):
    """Without `Counter`: every word that is right is crossed out in the reference."""
    shares = []
    for reports in (a, b):
        right = said = wanted = 0
        for report, reference in zip(reports, references, strict=True):
            left = reference.split()
            wanted += len(left)
            for word in report.split():
                said += 1
                if word in left:
                    left.remove(word)
                    right += 1
        shares.append((right / said, right / wanted))
    (said_a, wanted_a), (said_b, wanted_b) = shares
    leads = [said_a - said_b, wanted_a - wanted_b]
    if leads[0] > 0:
        return leads, "more often right"
    return leads, "says more" if leads[1] > 0 else "neither"


def in_all(references, reports):
    return shares_of([" ".join(references)], [" ".join(reports)])


def in_sets(references, reports):
    return shares_of(*([" ".join(set(text.split())) for text in texts] for texts in (references, reports)))


def as_mean(references, reports):
    return np.mean(
        [shares_of([reference], [report]) for reference, report in zip(references, reports, strict=True)], axis=0
    )


def not_clipped(references, reports):
    pairs = [(report.split(), reference.split()) for reference, report in zip(references, reports, strict=True)]
    right = sum(word in wanted for said, wanted in pairs for word in said)
    return np.array([right / sum(len(said) for said, _ in pairs), right / sum(len(wanted) for _, wanted in pairs)])


def in_letters(references, reports):
    pairs = [(Counter(report), Counter(reference)) for reference, report in zip(references, reports, strict=True)]
    right = sum((said & wanted).total() for said, wanted in pairs)
    return np.array(
        [right / sum(said.total() for said, _ in pairs), right / sum(wanted.total() for _, wanted in pairs)]
    )


def right_without_repetitions(references, reports):
    pairs = [(report.split(), reference.split()) for reference, report in zip(references, reports, strict=True)]
    right = sum(len({*said} & {*wanted}) for said, wanted in pairs)
    return np.array([right / sum(len(said) for said, _ in pairs), right / sum(len(wanted) for _, wanted in pairs)])


@pytest.mark.exercise("0.4", "right")
@pytest.mark.parametrize(
    "answer",
    [
        leading,
        by_crossing_out,
        partial(leading, reason=lambda said, wanted: f"{reason_of(said, wanted)} ".capitalize()),
    ],
)
def test_every_right_reason_of_a_lead_passes(answer):
    checks.why_it_leads(answer)


@pytest.mark.exercise("0.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(leading, change=lambda leads: -leads), "the leads of B over A"),
        (partial(leading, change=lambda leads: leads[::-1]), "the two leads are exchanged"),
        (lambda references, a, b: (shares_of(references, a), "says more"), "these are A's own shares"),
        (partial(leading, change=lambda leads: 100 * leads), "that is in percent"),
        (partial(leading, change=lambda leads: leads.round(2)), "they are rounded"),
        (partial(leading, shares=in_letters), "you counted letters"),
        (partial(leading, shares=right_without_repetitions), "count both alike"),
        (
            lambda references, a, b: (shares_of(references, a) / shares_of(references, b), "neither"),
            "a lead is a difference",
        ),
        (partial(leading, shares=in_sets), "you counted different words"),
        (partial(leading, shares=not_clipped), "is right once where it stands once"),
        (partial(leading, shares=in_all), "of the *same* patient"),
        (partial(leading, shares=as_mean), "add up the words of all patients first"),
        (
            partial(leading, shares=lambda references, reports: shares_of(references, reports[1:] + reports[:1])),
            "in the same order",
        ),
        (
            partial(leading, reason=lambda said, wanted: "says more" if wanted > 0 else reason_of(said, wanted)),
            "to say more of what is wanted",
        ),
        (
            partial(
                leading,
                reason=lambda said, wanted: "neither" if max(said, wanted) <= 0 else REASONS[int(wanted > said)],
            ),
            "the larger of the two leads",
        ),
        (
            partial(leading, reason=lambda said, wanted: REASONS[int(abs(wanted) > abs(said))]),
            "a lead below 0 is no lead",
        ),
        (partial(leading, reason=lambda said, wanted: REASONS[int(said <= 0)]), "behind in both"),
        (
            partial(
                leading,
                reason=lambda said, wanted: {"says more": REASONS[0], REASONS[0]: "says more"}.get(
                    found := reason_of(said, wanted), found
                ),
            ),
            "more often right is who leads in the words *said*",
        ),
        (partial(leading, reason=lambda said, wanted: "says more"), "do not support 'says more'"),
        (lambda *_: ((0.1, -0.2), "says more"), "is not right"),
        (lambda references, a, b: leading(references, a, b)[0], "the reason is missing"),
        (lambda references, a, b: leading(references, a, b)[1], "it returns a str; return two things"),
        (lambda references, a, b: leading(references, a, b)[::-1], "in this order"),
        (lambda references, a, b: (leading(references, a, b)[0][0], "says more"), "can't be read as numbers"),
        (lambda references, a, b: (leading(references, a, b)[0], "length"), "'length' is none of the reasons"),
        (lambda references, a, b: leading(references[0], a, b), "it stops with"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_reason_of_a_lead_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_it_leads(answer)


@pytest.mark.parametrize("other", range(6))
def test_every_reason_of_a_lead_is_asked_for_twice_or_more(other):
    asked = {reference for references, _, _ in checks._systems(other + 1) for reference in references}
    reasons = [leading(*case)[1] for case in checks._systems(other)]
    assert sorted(reasons) == sorted([*REASONS * 2, REASONS[0]])
    assert len({reference for references, _, _ in checks._systems(other) for reference in references} - asked) > 5
    checks.why_it_leads(by_crossing_out, other=other)
