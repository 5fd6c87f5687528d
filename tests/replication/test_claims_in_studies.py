"""What a study says of a paper's claim: its own comparison of the same two presets, and of no other."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from scipy import stats

from rrg_lib.experiments.results import stored_results
from rrg_lib.replication.claims import claims
from rrg_lib.replication.claims_in_studies import in_studies, study_claims_table
from rrg_lib.replication.decision_rule import Order
from rrg_lib.replication.ledger import ledger
from rrg_lib.replication.ledger_tables import ledger_markdown, studies_in_words
from rrg_lib.replication.study_plan import study_plan
from rrg_lib.replication.study_report import StudyReport, StudyVerdict
from rrg_lib.replication.verdicts import Verdict

ABLATIONS = study_plan("ablations")
ABOVE = Order("above", 0.03, 0.01, 5, 0.01, p=1e-4, p_delta=1.0)
BELOW = Order("below", -0.03, 0.01, 5, 0.01, p=1e-4, p_delta=1.0)
ALIKE = Order("no difference", 0.001, 0.004, 5, 0.01, p=0.6, p_delta=1e-4)
OPEN = Order("undecided", 0.005, 0.01, 5, 0.01, p=0.3, p_delta=0.2)


def report(*verdicts, plan=ABLATIONS):
    """A report of (a, b, metric, order), as measured on 5,000 studies."""
    condition = plan.conditions[0].name
    made = tuple(StudyVerdict(condition, a, b, metric, order, order, order) for a, b, metric, order in verdicts)
    return StudyReport(plan, {"x": None}, {(condition, "cmn", "BLEU-4"): SimpleNamespace(studies=5000)}, made, ())


def said(*verdicts, plan=ABLATIONS):
    return {row.claim.id: row for row in in_studies(claims(), [report(*verdicts, plan=plan)])}


@pytest.mark.parametrize(
    ("order", "says"),
    [(ABOVE, "holds there"), (BELOW, "fails there"), (ALIKE, "no difference there"), (OPEN, "undecided there")],
)
def test_a_claim_of_one_score_says_what_its_comparison_says(order, says):
    found = said(("mcsam", "mcsam_wo_tokens", "BLEU-4", order))
    assert list(found) == ["mcsam-tokens"] and found["mcsam-tokens"].says == says
    assert found["mcsam-tokens"].decided == (order is not OPEN)


def test_a_claim_of_several_scores_needs_all_that_are_scored_and_names_the_others():
    both = [("mcsam", "mcsam_hard", m, ABOVE) for m in ("BLEU-4", "finding-F1")]
    assert said(*both)["mcsam-soft"].says == "holds there"
    mixed = [both[0], ("mcsam", "mcsam_hard", "finding-F1", ALIKE)]
    assert said(*mixed)["mcsam-soft"].says == "undecided there"
    printed = said(*[("mem", "base", f"BLEU-{n}", ABOVE) for n in (1, 2, 3, 4)], ("mem", "base", "ROUGE-L", BELOW))
    row = printed["cmn-mem-base-iu"]
    assert row.says == "fails there" and row.lacking == ("METEOR",) and row.why.endswith("not scored: METEOR")


def test_a_claim_of_several_scores_is_corrected_for_its_own_and_for_no_others():
    """Alone .03 is an order; of five scores of one claim it is none, whatever else the study compares."""
    printed = [f"BLEU-{n}" for n in (1, 2, 3, 4)] + ["ROUGE-L"]
    made = [replace(ALIKE, answer="undecided", p=0.9, p_delta=0.9) for _ in printed]
    made[0] = replace(BELOW, p=0.03, p_delta=1.0)
    row = said(*(("mem", "base", m, order) for m, order in zip(printed, made, strict=True)))["cmn-mem-base-iu"]
    assert row.says == "undecided there" and {o.of for o in row.orders.values()} == {5}
    made[0] = replace(made[0], p=0.009)
    row = said(*(("mem", "base", m, order) for m, order in zip(printed, made, strict=True)))["cmn-mem-base-iu"]
    assert row.says == "fails there"


def test_a_system_with_settings_of_its_own_is_named():
    """In the ablations XProNet is told no labels: another comparison than the paper's."""
    row = said(("xpronet", "xpronet_wo_imlcs", "BLEU-4", ABOVE))["xpronet-imlcs-iu"]
    assert "XProNet, told no labels" in row.unlike and row.why.startswith("asked of XProNet, told no labels")
    assert "told no labels" in study_claims_table([row])["it"].iloc[0]
    assert said(("mcsam", "mcsam_wo_tokens", "BLEU-4", ABOVE))["mcsam-tokens"].unlike == ()


def test_an_order_of_three_systems_needs_both_comparisons():
    assert "cmn-order-iu" not in said(("cmn", "mem", "BLEU-4", ABOVE))
    assert said(("cmn", "mem", "BLEU-4", ABOVE), ("mem", "base", "BLEU-4", ABOVE))["cmn-order-iu"].says == "holds there"


def test_a_system_that_is_not_its_preset_and_an_order_turned_round_say_nothing():
    where = study_plan("where")
    assert said(("cmn", "cmn_lesion_both", "finding-F1", ABOVE), plan=where) == {}
    assert list(said(("cmn", "base", "finding-F1", ABOVE), plan=where)) == ["cmn-findings"]
    assert said(("base", "cmn", "finding-F1", ABOVE), plan=where) == {}


def test_the_ledger_counts_what_studies_decide_of_its_undecided_claims_and_changes_no_verdict():
    rows = ledger([])
    studies = in_studies(claims(), [report(("mcsam", "mcsam_wo_tokens", "BLEU-4", ALIKE))])
    assert "planned studies" not in ledger_markdown(rows)
    page = ledger_markdown(rows, None, studies)
    assert "## The same claims in planned studies" in page and "no replication" in page
    assert study_claims_table(studies).loc[("mcsam-tokens", "ablations, n2000"), "it"] == "no difference there"
    assert page.split("## The same claims")[0] == ledger_markdown(rows).split("## Printed values")[0]


def test_of_the_claims_that_stored_runs_leave_undecided_the_decided_are_counted():
    rows = ledger(stored_results())
    undecided = sum(row.kind == "claim" and row.verdict is Verdict.UNDECIDED for row in rows)
    studies = in_studies(
        claims(),
        [report(("mcsam", "mcsam_wo_tokens", "BLEU-4", ALIKE), ("mcsam", "mcsam_wo_alignment", "BLEU-4", OPEN))],
    )
    assert studies_in_words(rows, studies) == (
        f"Of the {undecided} claims that are undecided on IU-Phantom, planned studies ask 2 and decide 1 "
        f"(1 no difference there). They are drawn studies: no replication."
    )


def test_an_undecided_claim_may_exclude_a_gain_that_matters():
    """MCSAM less CMN in BLEU-4: -.03 with a margin of .03. Not told apart; but 95 % one-sided lie below .01."""
    below = replace(OPEN, difference=-0.03, margin=0.03, delta=0.01, freedom=30.0)
    near = replace(below, difference=-0.01)
    assert below.excludes_gain() and not near.excludes_gain() and not below.excludes_gain(-1)
    assert below.difference + stats.t(30).isf(0.05) * 0.03 / stats.t(30).isf(0.025) < 0.01
    one, other = (said(("mcsam", "cmn", "BLEU-4", order))["mcsam-cmn"] for order in (below, near))
    assert (one.says, one.bounded, other.bounded) == ("undecided there", True, False)
    assert "excludes a gain" in study_claims_table([one])["it"].iloc[0]
    words = studies_in_words(ledger(stored_results()), [one])
    assert "of 1 more a gain as large as the smallest that matters is excluded somewhere (mcsam-cmn: ablations" in words
    brief = studies_in_words(ledger(stored_results()), [one], briefly=True)
    assert "is excluded somewhere. " in brief and "mcsam-cmn" not in brief
    both = said(("cmn", "mem", "BLEU-4", below), ("mem", "base", "BLEU-4", near))["cmn-order-iu"]
    assert not both.bounded


def test_a_claim_that_one_study_decides_and_another_bounds_counts_once():
    below = replace(OPEN, difference=-0.03, margin=0.03, delta=0.01, freedom=30.0)
    reports = [report(("mcsam", "mcsam_wo_tokens", "BLEU-4", order)) for order in (ALIKE, below)]
    asked = in_studies(claims(), reports)
    assert [(row.decided, row.bounded) for row in asked] == [(True, False), (False, True)]
    words = studies_in_words(ledger(stored_results()), asked)
    assert "ask 1 and decide 1 (1 no difference there). They" in words


def test_two_studies_that_differ_are_told_apart_from_one_answer():
    reports = [report(("mcsam", "mcsam_wo_tokens", "BLEU-4", order)) for order in (ABOVE, ALIKE)]
    words = studies_in_words(ledger(stored_results()), in_studies(claims(), reports))
    assert "ask 1 and decide 1 (1 told differently by two)" in words


def test_the_plan_asks_every_claim_of_order_that_can_be_asked_on_drawn_studies():
    asked = {(one.a, one.b) for one in ABLATIONS.comparisons}
    assert {c.id for c in claims() if c.kind == "order" and set(c.pairs) - asked} == {"student-cmn"}
