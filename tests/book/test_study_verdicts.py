"""A chapter says of a study what its report says, no more: how many, which, by how much, and what is open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rrg_lib.book.study_verdicts import (
    changes_of,
    gain_in_words,
    show_study,
    verdict_table,
    verdicts_in_words,
    verdicts_of,
)
from rrg_lib.replication.decision_rule import Order
from rrg_lib.replication.study_plan import study_plan
from rrg_lib.replication.study_report import StudyChange, StudyReport, StudyVerdict

PLAN = study_plan("features")  # three conditions


def report(*verdicts, changes=(), own=None, runs=1):
    """Of (condition, a, order); `own` is what the own seeds of the first say, if not the same."""
    made = [StudyVerdict(c, a, "base", "finding-F1", order, order, order) for c, a, order in verdicts]
    if own:
        made[0] = replace(made[0], own=own)
    changed = [StudyChange(c, a, "base", "finding-F1", order, order, order, "findings") for c, a, order in changes]
    return StudyReport(PLAN, {str(i): None for i in range(runs)}, {}, tuple(made), tuple(changed))


FOUND = report(
    ("findings", "cmn", Order("no difference", 0.002, 0.01, 5, 0.02)),
    ("reports", "cmn", Order("above", 0.041, 0.012, 5, 0.02)),
    ("reports", "mem", Order("below", -0.030, 0.011, 5, 0.02)),
    ("reports", "xpronet", Order("undecided", 0.010, 0.030, 5, 0.02)),
)
CHANGED = report(
    ("findings", "cmn", Order("no difference", 0.002, 0.01, 5, 0.02)),
    ("reports", "cmn", Order("above", 0.041, 0.012, 5, 0.02)),
    changes=[
        ("reports", "cmn", Order("above", 0.039, 0.015, 5, 0.02)),
        ("reports", "mem", Order("undecided", 0.010, 0.040, 5, 0.02)),
    ],
)


def test_what_is_told_apart_is_named_with_its_interval_and_the_rest_is_counted():
    assert verdicts_in_words(FOUND, "finding-F1") == (
        "`features`, finding-F1: of 4 comparisons 2 are told apart (reports: cmn − base above by 0.041 [0.029, 0.053]; "
        "reports: mem − base below by 0.030 [0.019, 0.041]), 1 shows that nothing larger than 0.02 is there, 1 open."
    )


def test_only_comparisons_of_the_named_systems_are_told():
    assert list(verdicts_of(FOUND, "finding-F1", among=["cmn"])) == ["findings: cmn − base", "reports: cmn − base"]
    assert len(verdicts_of(FOUND, "finding-F1", among=["base"])) == 4  # the second counts too
    table = verdict_table(verdicts_of(FOUND, "finding-F1", among=["xpronet"]), "finding-F1")
    assert table.loc[0, "finding-F1"].startswith("undecided: +0.010, margin 0.030")


@pytest.mark.parametrize("metric", PLAN.metrics)
def test_a_study_without_results_is_not_run_and_says_how_to_run_it(metric):
    assert verdicts_of(report(runs=0), metric) == {}
    for words in (verdicts_in_words(report(runs=0), metric), gain_in_words(report(runs=0), metric, "cmn", "base")):
        assert words == "**Not run:** no result of the study `features` is here. `rrg study run features`"


def test_a_study_that_has_not_come_to_a_comparison_says_how_far_it_is():
    assert verdicts_in_words(report(runs=12), "finding-F1") == (
        f"**Not run to its end:** 12 of the {len(PLAN.runs())} runs of the study `features` are here, and both systems "
        "of no comparison that is asked for. `rrg study run features`"
    )


def test_where_the_two_systems_own_seeds_say_something_else_it_is_said():
    found = report(
        ("reports", "cmn", Order("above", 0.041, 0.012, 5, 0.02)), own=Order("undecided", 0.041, 0.05, 5, 0.02, p=0.08)
    )
    assert verdicts_in_words(found, "finding-F1").endswith(
        " By the seeds of its own two systems, not pooled: reports: cmn − base undecided."
    )
    table = verdict_table(verdicts_of(found, "finding-F1"), "finding-F1")
    assert table.loc[0, "finding-F1"].endswith("; by the seeds of its own two systems undecided, p 0.08")
    assert "own two" not in verdicts_in_words(FOUND, "finding-F1")


def test_a_change_with_the_condition_is_told_apart_from_a_difference():
    assert list(changes_of(CHANGED, "finding-F1", among=["cmn"])) == ["reports beside findings: cmn − base"]
    assert verdicts_in_words(CHANGED, "finding-F1").endswith(
        " With the condition of 2 differences 1 changes (reports beside findings: cmn − base above by 0.039 "
        "[0.024, 0.054]), 0 show no change larger than 0.02, 1 open."
    )


def test_a_gain_is_said_with_its_interval_under_each_condition_and_beside_the_first():
    titles = {c.name: c.title for c in PLAN.conditions}
    assert gain_in_words(CHANGED, "finding-F1", "cmn", "base") == (
        f"finding-F1, cmn − base: {titles['findings']} **+0.002** [-0.008, +0.012], no difference larger than 0.02; "
        f"{titles['reports']} **+0.041** [+0.029, +0.053], above. Less what it is with {titles['findings']}: "
        f"{titles['reports']} **+0.039** [+0.024, +0.054], above."
    )
    few = report(("reports", "cmn", Order("too few seeds", 0.04)))
    assert gain_in_words(few, "finding-F1", "cmn", "base").endswith("**+0.040**, too few seeds.")
    one_of_six = report(("reports", "cmn", Order("undecided", 0.04, 0.03, 5, 0.02, of=6)))
    assert gain_in_words(one_of_six, "finding-F1", "cmn", "base").endswith("[+0.010, +0.070], undecided among 6.")


def test_a_study_is_shown_as_a_figure_a_table_and_words(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    words = show_study(CHANGED, "finding-F1", name="x")
    assert [type(one).__name__ for one in shown] == ["Markdown", *["BookFigure", "DataFrame"] * 2]
    assert shown[0].data.startswith("`") and all(f"*{c.name}*: {c.title}" in shown[0].data for c in PLAN.conditions)
    assert words.data == f"- {verdicts_in_words(CHANGED, 'finding-F1')}\n" + "\n".join(
        f"- {verdicts_in_words(CHANGED, metric)}" for metric in PLAN.metrics[1:]
    )
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"x.png", "x_change.png"}
    shown.clear()
    assert show_study(report(runs=0), "finding-F1", name="x").data.startswith("**Not run:**")
    assert [type(one).__name__ for one in shown] == ["BookFigure"]
