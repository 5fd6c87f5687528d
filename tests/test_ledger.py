"""Every printed value and every claim has a row, and a verdict that says no more than was done."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from rrg_lib import shipped
from rrg_lib.cli import app
from rrg_lib.errors import AnnotationError, StorageError
from rrg_lib.evaluation import ledger as module
from rrg_lib.evaluation.exact import CHECKS, CONSISTENT, CONTRADICTED, NOT_REPRODUCED, REPRODUCED
from rrg_lib.evaluation.ledger import COLUMNS, FAILS, HOLDS, NOT_RUN, UNDECIDED, VERDICTS, claims, counts, ledger, measured
from rrg_lib.evaluation.ledger_files import ledger_markdown, write_ledger
from rrg_lib.evaluation.published import published
from rrg_lib.presets import PRESETS, experiment
from rrg_lib.results import StoredResult, stored


def result(preset: str, score: float, seed: int = 0, *, dataset="iu_phantom", profile="laptop", labels=None, half=0.01, metric="BLEU-4", **settings):
    """A stored result like the shipped one of CMN, of another preset, seed and score."""
    (like,) = (r for r in stored("laptop", "iu_phantom") if r.name == "iu_phantom-cmn-laptop-seed7580")
    row = like.evaluation.rows[0]
    part = replace(row.parts["all"], scores={**row.parts["all"].scores, metric: score})
    row = replace(row, parts={**row.parts, "all": part}, intervals={**row.intervals, metric: (score - half, score + half)})
    what = experiment(f"{dataset}/{preset}", profile, [f"{key}={value}" for key, value in settings.items()], seed)
    provenance = {**like.provenance, "decoding": {**like.provenance["decoding"], "labels_at_test": labels or "classifier"}}
    return StoredResult(f"{preset}-{seed}", what, replace(like.evaluation, rows=(row, *like.evaluation.rows[1:])), like.history, provenance)


def seeds(preset: str, *scores: float, **options) -> list[StoredResult]:
    return [result(preset, score, seed, **options) for seed, score in enumerate(scores)]


def claim(rows, name: str):
    (row,) = (row for row in rows if row.id == name)
    return row


def test_every_value_and_every_claim_has_a_row_and_the_counts_are_theirs():
    rows = ledger(stored())
    assert Counter(row.kind for row in rows) == {"value": len(published()), "claim": len(claims())} == {"value": 371, "claim": 45}
    assert len({row.id for row in rows}) == len(rows)
    assert {row.verdict for row in rows} <= set(VERDICTS) and all(row.why for row in rows)
    found = counts(rows)
    assert all(sum(found[kind].values()) == n for kind, n in (("value", 371), ("claim", 45))) and set(found["claim"]) == set(VERDICTS)
    for value, row in zip(published(), rows, strict=False):
        assert (row.paper, row.where, row.dataset, row.system, row.metric) == (value.paper, value.where, value.dataset, value.system, value.metric)
        assert float(row.statement) == pytest.approx(value.value, rel=1e-5)


def test_claims_that_need_no_training_have_their_verdicts_whatever_is_stored():
    for results in ([], stored()):
        rows = ledger(results)
        contradicted = {row.id for row in rows if row.verdict == CONTRADICTED and row.kind == "claim"}
        assert contradicted == {"cmn-gains-mimic", "cmn-table1-mimic", "student-cmn", "student-ekagen", "student-focal-f1"}
        assert {row.id for row in rows if row.verdict == NOT_REPRODUCED and row.kind == "claim"} == {"cmn-parameters", "cmn-table1-iu"}
        assert not [row for row in rows if row.verdict == REPRODUCED]  # nothing of the papers' own data was trained on
        assert counts(rows)["value"][NOT_REPRODUCED] == 13 and counts(rows)["value"][CONSISTENT] == 4


def test_the_conclusion_of_the_student_paper_is_held_against_its_tables():
    """4 of 6 metrics below CMN, all 6 below EKAGen, and weighted F1 lower with focal loss than without."""
    rows = ledger([])
    assert "below on BLEU-2, BLEU-3, BLEU-4, ROUGE-L" in claim(rows, "student-cmn").why
    assert claim(rows, "student-ekagen").why.count("above on 0 of 6; below on BLEU-1, BLEU-2, BLEU-3, BLEU-4, METEOR, ROUGE-L") == 2
    assert "below on weighted F1" in claim(rows, "student-focal-f1").why


def test_an_order_on_drawn_studies_holds_fails_or_is_undecided():
    def verdict(cmn, base, **options):
        row = claim(ledger([*seeds("cmn", *cmn, **options), *seeds("base", *base, **options)]), "cmn-cmn-base-iu")
        return row.verdict, row

    assert verdict((0.15, 0.151, 0.149), (0.12, 0.121, 0.119))[0] == HOLDS
    assert verdict((0.12, 0.121, 0.119), (0.15, 0.151, 0.149))[0] == FAILS
    assert verdict((0.125, 0.126, 0.124), (0.12, 0.121, 0.119))[0] == UNDECIDED  # the studies alone vary by more
    assert verdict((0.20, 0.15, 0.10), (0.12, 0.121, 0.119))[0] == UNDECIDED  # and here the seeds do
    found, row = verdict((0.15, 0.151), (0.12, 0.121))
    assert found == UNDECIDED and row.why == "2 of the 3 seeds that an order needs"
    row = verdict((0.15, 0.151, 0.149), (0.12, 0.121, 0.119))[1]
    assert (row.ours, row.ours_on, row.seeds, row.sd) == ("0.150 - 0.120 = +0.030", "iu_phantom, laptop", "3, 3", "0.001, 0.001")
    assert row.interval == "[0.139, 0.161], [0.109, 0.131]" and row.protocol.startswith("r2gen ") and row.own_table.startswith(CONSISTENT)


def test_the_margin_is_that_of_studies_and_seeds_together():
    runs = [*seeds("cmn", 0.15, 0.16, 0.14, half=0.02), *seeds("base", 0.12, 0.12, 0.12, half=0.01)]
    a, b = (measured(runs, name, "iu_phantom", "BLEU-4") for name in ("cmn", "base"))
    assert a.variance == pytest.approx((0.03 / 1.96) ** 2 + 0.01**2 / 3) and b.variance == pytest.approx((0.01 / 1.96) ** 2)
    margin = 1.96 * (a.variance + b.variance) ** 0.5
    assert f"the margin of studies and seeds {margin:.3f}" in claim(ledger(runs), "cmn-cmn-base-iu").why


def test_only_the_papers_own_data_reproduces():
    drawn = ledger(seeds("cmn", 0.170, 0.171, 0.169))
    own = ledger(seeds("cmn", 0.170, 0.171, 0.169, dataset="iu_xray", profile="gpu"))
    small = ledger(seeds("cmn", 0.170, 0.171, 0.169, dataset="iu_xray", profile="laptop"))
    other = ledger(seeds("cmn", 0.150, 0.151, 0.149, dataset="iu_xray", profile="gpu"))
    at = next(i for i, v in enumerate(published()) if (v.where, v.dataset, v.system, v.metric) == ("Table 2", "iu_xray", "CMN", "BLEU-4"))
    assert [rows[at].verdict for rows in (drawn, own, small, other)] == [NOT_RUN, REPRODUCED, NOT_RUN, NOT_REPRODUCED]
    assert drawn[at].ours == "0.170" and drawn[at].ours_on == "iu_phantom, laptop" and "rrg train iu_xray/cmn --profile gpu" in drawn[at].why
    assert own[at].ours_on == "iu_xray, gpu" and small[at].ours == ""
    runs = [*seeds("cmn", 0.15, 0.151, 0.149, dataset="iu_xray", profile="gpu"), *seeds("base", 0.12, 0.121, 0.119, dataset="iu_xray", profile="gpu")]
    assert claim(ledger(runs), "cmn-cmn-base-iu").verdict == REPRODUCED
    assert claim(ledger([r for r in runs if r.experiment.training.seed < 2]), "cmn-cmn-base-iu").verdict == NOT_RUN


def test_scores_that_were_stored_without_intervals_decide_nothing():
    def bare(run):
        row = replace(run.evaluation.rows[0], intervals={})
        return replace(run, evaluation=replace(run.evaluation, rows=(row, *run.evaluation.rows[1:])))

    runs = [*seeds("cmn", 0.17, 0.17, 0.17), *seeds("base", 0.1, 0.1, 0.1)]
    own = [*seeds("cmn", 0.17, 0.17, 0.17, dataset="iu_xray", profile="gpu"), *seeds("base", 0.1, 0.1, 0.1, dataset="iu_xray", profile="gpu")]
    assert claim(ledger([bare(run) for run in runs]), "cmn-cmn-base-iu").verdict == UNDECIDED
    rows = ledger([bare(run) for run in own])
    assert claim(rows, "cmn-cmn-base-iu").why == "stored without intervals: evaluate again"
    assert not [row for row in rows if row.kind == "value" and row.verdict == REPRODUCED] and counts(rows)["value"][NOT_REPRODUCED] == 13


def test_a_gated_memory_is_compared_by_what_it_was_told():
    """On drawn studies the classifier's labels count; the printed rows of XProNet were told the references', so on its own data those do."""
    both = [*seeds("xpronet", 0.1, labels="classifier"), *seeds("xpronet", 0.2, labels="reference")]
    assert measured(both, "xpronet", "iu_phantom", "BLEU-4").spread.mean == 0.1
    assert measured(both, "xpronet", "iu_phantom", "BLEU-4", labels="reference").where == "iu_phantom, laptop, labels: reference"
    at = next(i for i, v in enumerate(published()) if (v.where, v.dataset, v.system, v.metric) == ("Table 1", "iu_xray", "XProNet", "BLEU-4"))
    assert ledger(both)[at].ours == "0.100"
    own = [*seeds("xpronet", 0.1, dataset="iu_xray", profile="gpu"), *seeds("xpronet", 0.2, dataset="iu_xray", profile="gpu", labels="reference")]
    assert (ledger(own)[at].ours, ledger(own)[at].verdict) == ("0.200", REPRODUCED)


def test_runs_of_other_settings_or_measured_otherwise_are_not_mixed_in():
    runs = [*seeds("cmn", 0.15, 0.151, 0.149), *seeds("cmn", 0.9, 0.9, 0.9, **{"memory.slots": 64})]
    assert measured(runs, "cmn", "iu_phantom", "BLEU-4").spread == pytest.approx((0.15, 0.001, 3))
    assert measured(runs, "mem", "iu_phantom", "BLEU-4") is None and measured(runs, "cmn", "iu_phantom", "accuracy") is None
    assert measured([*runs, *seeds("cmn", 0.3, profile="gpu")], "cmn", "iu_phantom", "BLEU-4").profile == "gpu"
    other = [
        replace(r, evaluation=replace(r.evaluation, provenance={**r.evaluation.provenance, "vocabulary": "another"}))
        for r in seeds("base", 0.1, 0.1, 0.1)
    ]
    row = claim(ledger([*runs, *other]), "cmn-cmn-base-iu")
    assert (row.verdict, row.why) == (NOT_RUN, "cmn and base were not measured alike")
    apart = claim(ledger([*seeds("cmn", 0.15), *seeds("base", 0.12, profile="ci")]), "cmn-cmn-base-iu")
    assert apart.verdict == NOT_RUN and apart.why.startswith("cmn and base were not run in one profile")


def test_what_was_not_run_says_why():
    rows = ledger([])
    why = {row.why.partition(";")[0] for row in rows if row.verdict == NOT_RUN and row.kind == "value"}
    assert {"needs MIMIC-CXR (credentialed access) and a GPU", "another group's system, which this book does not build"} <= why
    assert "needs the real images and a GPU: rrg train iu_xray/xpronet_wo_pi --profile gpu --data-root FOLDER" in why
    assert claim(rows, "mcsam-bank").why.startswith("nothing is stored of mcsam and mcsam_random_bank; decided by")
    quoted = [row for row in rows if row.kind == "value" and row.paper.startswith("Student") and row.where == "Table 2"]
    assert len(quoted) == 18 and all("equals R2GenCMN (ACL 2021), Table 2" in row.why for row in quoted)


def test_the_data_files_name_what_exists():
    for row in shipped.table("published_systems"):
        assert row["preset"] in PRESETS
        assert any((value.paper, value.system) == (row["paper"], row["system"]) for value in published()), row
    assert all(any((v.paper, v.system) == (row["paper"], row["system"]) for v in published()) for row in shipped.table("released_code"))
    papers = {value.paper for value in published()}
    for row in claims():
        assert row["paper"] in papers and row["claim"] and row["decided_by"] and (not row["check"] or row["check"] in CHECKS), row["id"]
        assert set(row["ours"].split(" > ")) <= {*PRESETS, ""} and bool(row["ours"]) == bool(row["ours_metric"]), row["id"]
        assert len(row["ours"].split(" > ")) in (1 if not row["ours"] else 2, 2), row["id"]
    assert set(CHECKS) == {row["check"] for row in claims()} - {""}  # no check that no claim asks for


def test_an_id_given_twice_is_named(monkeypatch):
    monkeypatch.setattr(module, "table", lambda name: ({"id": "a"}, {"id": "b"}, {"id": "a"}))
    with pytest.raises(AnnotationError, match="the id 'a' stands twice"):
        claims()


def test_the_files_are_whole_and_the_same_each_time(tmp_path):
    rows = ledger(stored())
    as_csv, as_markdown = write_ledger(rows, tmp_path)
    before = as_csv.read_bytes(), as_markdown.read_bytes()
    with open(as_csv, encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == COLUMNS and [row["id"] for row in read] == [row.id for row in rows]
    text = as_markdown.read_text(encoding="utf-8")
    assert all(row.statement.replace("|", "\\|") in text and row.verdict in text for row in rows)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = len({(value.paper, value.where) for value in published()})
    assert all(line.endswith(" |") for line in lines) and len(lines) == 416 + 2 + 2 * tables + len(VERDICTS) + 3
    assert write_ledger(ledger(stored()), tmp_path) and (as_csv.read_bytes(), as_markdown.read_bytes()) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not write"):
        write_ledger(rows, tmp_path / "file")
    assert "\n\n\n" not in ledger_markdown(rows)


def test_the_command_writes_the_files_and_prints_the_counts(tmp_path):
    found = CliRunner().invoke(app, ["ledger", "--counts", "--out", str(tmp_path)])
    assert found.exit_code == 0, found.output
    assert "| contradicted by its own table" in found.output and "| all " in found.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.csv", "ledger.md"]
