"""A claim as a project: every claim gives a folder, every plan can be read, and no verdict stands where a student
looks."""

from __future__ import annotations

import re
from datetime import date

import pytest

from rrg_lib.book.claim_project import (
    EXAMPLES,
    FORM,
    RUBRIC,
    filled_form,
    known_claim,
    plan_text,
    verdicts_page,
    write_project,
)
from rrg_lib.errors import StorageError, UnknownNameError
from rrg_lib.experiments.results import stored_results
from rrg_lib.replication.claims import claims
from rrg_lib.replication.ledger import claim_rows
from rrg_lib.replication.study_plan import parsed_plan

TODAY = date(2026, 11, 29)
COMPARED = [claim for claim in claims() if claim.kind in ("order", "best setting", "trend")]


@pytest.mark.parametrize("claim", COMPARED, ids=lambda claim: claim.id)
def test_the_plan_of_a_claim_that_compares_is_ready_for_rrg_study_plan(claim):
    plan = parsed_plan(plan_text(claim, TODAY), claim.id.replace("-", "_"), "plan")
    assert plan.declared == "2026-11-29" and len(plan.seeds) >= 3 and plan.comparisons
    for run in plan.runs():  # a system of these settings can be built
        if run.experiment.memory is not None:
            run.experiment.memory.build(run.experiment.generator.d_model, run.experiment.generator.heads)
    if claim.kind == "order":
        assert [(c.a, c.b) for c in plan.comparisons] == claim.pairs


def test_the_plan_of_a_sweep_compares_neighbours():
    plan = parsed_plan(plan_text(known_claim("cmn-memory-grows"), TODAY), "plan", "plan")
    assert [system.settings for system in plan.systems] == [(f"memory.slots={n}",) for n in (64, 128, 256, 512)]
    assert (plan.comparisons[0].a, plan.comparisons[0].b) == ("cmn_slots_128", "cmn_slots_64")


@pytest.mark.parametrize("name", ["cmn-memory-grows", "cmn-average-gains", "cmn-shared-space", "xpronet-best-iu"])
def test_a_folder_has_the_claim_a_plan_the_form_and_the_rubric_and_no_verdict(name, tmp_path):
    folder = write_project(name, tmp_path, TODAY)
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    claim = known_claim(name)
    plan = f"{name.replace('-', '_')}.toml" if claim in COMPARED else "PLAN.md"
    assert set(texts) == {"README.md", "FORM.md", "RUBRIC.md", plan}
    assert claim.claim in texts["README.md"] and claim.claim in texts["FORM.md"]
    assert re.findall(r"(?m)^## (\d) ", texts["FORM.md"]) == list("123456")
    assert "fill in:" in texts[plan] and texts["FORM.md"].count("fill in:") == 6
    (row,) = claim_rows(stored_results(), chosen=[claim])
    assert not [name for name, text in texts.items() if row.why in text or f"**{row.verdict.value}**" in text]


def test_the_rubric_is_of_the_forms_parts_and_sums_to_a_hundred():
    assert list(RUBRIC) == list(FORM) and sum(points for points, _ in RUBRIC.values()) == 100


def test_a_folder_with_a_students_work_is_left_alone(tmp_path):
    folder = write_project("cmn-memory-grows", tmp_path, TODAY)
    (folder / "FORM.md").write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="is there already, perhaps with work in it"):
        write_project("cmn-memory-grows", tmp_path, TODAY)
    assert (folder / "FORM.md").read_text(encoding="utf-8") == "mine"


def test_an_unknown_claim_lists_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown claim 'cmn-memory-grow'; nearest: cmn-memory-grows"):
        write_project("cmn-memory-grow", tmp_path, TODAY)
    assert list(tmp_path.iterdir()) == []


def test_the_worked_examples_are_filled_from_stored_results_and_their_verdicts_stand_apart():
    rows = claim_rows(stored_results(), chosen=[known_claim(name) for name in EXAMPLES])
    verdicts = verdicts_page(rows)
    assert len(rows) == 3
    for row in rows:
        form = filled_form(row)
        assert re.findall(r"(?m)^## (\d) ", form) == list("123456") and "fill in:" not in form
        assert f"## {row.id}\n\n**{row.verdict.value}**: {row.why}" in verdicts
        assert "## 6 Verdict\n\nIn `verdicts.md`.\n" in form and row.verdict.value not in form
