"""Which convention a printed F1 can be: what is said of it, and what its own precision and recall leave possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from rrg_lib.replication.ledger_tables import ledger_markdown
from rrg_lib.replication.printed_conventions import (
    CONVENTION,
    MEANS,
    PrintedF1,
    convention_columns,
    printed_f1,
    statement_lines,
)
from rrg_lib.replication.printed_values import published


def test_every_printed_f1_has_its_convention_or_the_words_not_said():
    rows = printed_f1()
    # one of a sweep, a sum or a picture is none: an F1 stands in a table beside its precision and recall
    assert [each.f1.row for each in rows] == [v.row for v in published() if v.metric.endswith("F1")]
    for each in rows:
        assert {each.precision.system, each.recall.system} == {each.f1.system}
        assert tuple(each.convention) == CONVENTION and all(each.convention.values())


def test_no_printed_f1_of_the_four_papers_can_be_micro():
    """By hand, CMN's: 2 x .334 x .275 / (.334 + .275) = .3016, and .278 is printed."""
    (cmn, *_) = [e for e in printed_f1() if (e.f1.where, e.f1.system) == ("Table 2", "CMN")]
    low, high = cmn.if_micro
    assert low < 2 * 0.334 * 0.275 / 0.609 < high and high - low < 0.002
    assert not any(each.possible["micro"] for each in printed_f1())
    assert all(each.possible[mean] for each in printed_f1() for mean in MEANS)


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "samples"])
def test_what_was_counted_by_an_average_is_found_possible_by_it(average):
    """Scores of labels drawn at random, by scikit-learn, rounded as a table is."""
    draw = np.random.default_rng(3)
    cmn = printed_f1()[0]
    for _ in range(20):
        truth = draw.random((40, 14)) < draw.uniform(0.02, 0.6, 14)
        labels = np.where(draw.random(truth.shape) < 0.7, truth, draw.random(truth.shape) < 0.3)
        scores = precision_recall_fscore_support(truth, labels, average=average, zero_division=0)[:3]
        of = PrintedF1(
            *(replace(v, value=round(x, 3)) for v, x in zip((cmn.precision, cmn.recall, cmn.f1), scores, strict=True)),
            {},
        )
        assert of.possible["example" if average == "samples" else average]


def test_an_f1_above_the_harmonic_mean_is_none_of_them():
    cmn = printed_f1()[0]
    assert not any(replace(cmn, f1=replace(cmn.f1, value=0.5)).possible.values())


def test_the_ledger_shows_what_each_can_be_and_what_is_said():
    header, rows = convention_columns()
    assert len(rows) == len(printed_f1()) and {len(row) for row in rows} == {len(header)}
    page = ledger_markdown([])
    assert "## Which convention a printed F1 can be" in page
    assert all(line in page for line in statement_lines())
    assert any("**average** not said; the released code prints micro and macro" in line for line in statement_lines())
