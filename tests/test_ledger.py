"""Every printed value and every claim has a row, and a verdict that says no more than was done."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from rrg_lib import shipped
from rrg_lib.errors import AnnotationError, ConfigurationError
from rrg_lib.evaluation import ledger as module
from rrg_lib.evaluation.exact import CHECKS, CONSISTENT, CONTRADICTED, NOT_REPRODUCED, REPRODUCED
from rrg_lib.evaluation.ledger import VERDICTS, claims, counts, ledger
from rrg_lib.evaluation.ledger_claims import FAILS, HOLDS, NOT_RUN, UNDECIDED
from rrg_lib.evaluation.measured import Measured, measured, measured_as, order, swept
from rrg_lib.evaluation.published import published
from rrg_lib.evaluation.report import SCORES
from rrg_lib.evaluation.statistics import Interval, Spread, over_seeds
from rrg_lib.presets import PRESETS, experiment
from rrg_lib.results import StoredResult, stored

NLG = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L")


def result(preset: str, score: float, seed: int = 0, *, dataset="iu_phantom", profile="laptop", labels=None, half=0.01, metrics=NLG, **settings):
    """A stored result like the shipped one of CMN, of another preset, seed and score: the same in each of `metrics`."""
    (like,) = (r for r in stored("laptop", "iu_phantom") if r.name == "iu_phantom-cmn-laptop-seed7580")
    row = like.evaluation.rows[0]
    part = replace(row.parts["all"], scores={**row.parts["all"].scores, **dict.fromkeys(metrics, score)})
    ends = dict.fromkeys(metrics, Interval(score - half, score + half))
    row = replace(row, parts={**row.parts, "all": part}, intervals={**row.intervals, **ends})
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
    assert Counter(row.kind for row in rows) == {"value": len(published()), "claim": len(claims())} == {"value": 371, "claim": 46}
    assert len({row.id for row in rows}) == len(rows)
    assert {row.verdict for row in rows} <= set(VERDICTS) and all(row.why for row in rows)
    found = counts(rows)
    assert all(sum(found[kind].values()) == n for kind, n in (("value", 371), ("claim", 46))) and set(found["claim"]) == set(VERDICTS)
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
    assert row.ours.startswith("cmn > base, BLEU-1: 0.150 - 0.120 = +0.030; ") and row.ours.count(": 0.150 - 0.120") == 6
    assert (row.ours_on, row.seeds, row.sd.split("; ")[0]) == ("iu_phantom, laptop", "3, 3", "0.001, 0.001")
    assert row.interval.startswith("[0.139, 0.161], [0.109, 0.131]") and row.protocol.startswith("r2gen ") and row.own_table.startswith(CONSISTENT)


def test_every_score_that_a_claim_speaks_of_must_agree():
    """ "In every NLG metric": one that is below refutes it, one that is not told apart leaves it open. BLEU-4 alone decides neither."""
    base = seeds("base", 0.12, 0.121, 0.119)

    def with_rouge(score):
        better = seeds("cmn", 0.15, 0.151, 0.149)
        return [_changed(run, "ROUGE-L", score) for run in better]

    for score, verdict in ((0.15, HOLDS), (0.12, UNDECIDED), (0.09, FAILS)):
        row = claim(ledger([*with_rouge(score), *base]), "cmn-cmn-base-iu")
        assert row.verdict == verdict, score
    assert "cmn > base, ROUGE-L: below, the difference -0.030, the margin of studies and seeds 0.014" in row.why and "BLEU-4: above" in row.why


def _changed(run, metric, score, half=0.01):
    row = run.evaluation.rows[0]
    part = replace(row.parts["all"], scores={**row.parts["all"].scores, metric: score})
    row = replace(row, parts={**row.parts, "all": part}, intervals={**row.intervals, metric: Interval(score - half, score + half)})
    return replace(run, evaluation=replace(run.evaluation, rows=(row, *run.evaluation.rows[1:])))


def test_a_chain_holds_link_by_link():
    """CMN > BASE+MEM > BASE by BLEU-4."""

    def verdict(cmn, mem, base):
        runs = [run for name, mean in (("cmn", cmn), ("mem", mem), ("base", base)) for run in seeds(name, mean, mean + 0.001, mean - 0.001)]
        return claim(ledger(runs), "cmn-order-iu").verdict

    assert [verdict(*means) for means in ((0.18, 0.15, 0.12), (0.18, 0.12, 0.15), (0.18, 0.15, 0.149))] == [HOLDS, FAILS, UNDECIDED]
    two = claim(ledger([*seeds("cmn", 0.18, 0.18, 0.18), *seeds("base", 0.12, 0.12, 0.12)]), "cmn-order-iu")
    assert two.verdict == NOT_RUN and two.why.startswith("nothing is stored of mem; decided by")


def test_the_margin_is_that_of_studies_and_seeds_together():
    """Studies: half an interval over 1.96, once however many seeds. Seeds: their variance over n. The quantile is Student's, by Welch and Satterthwaite."""
    runs = [*seeds("cmn", 0.15, 0.16, 0.14, half=0.02), *seeds("base", 0.12, 0.12, 0.12, half=0.01)]
    a, b = (measured(runs, name, "iu_phantom", "BLEU-4") for name in ("cmn", "base"))
    reach = stats.norm.ppf(0.975)
    assert a.variance == pytest.approx((0.02 / reach) ** 2 + 0.01**2 / 3) and b.variance == pytest.approx((0.01 / reach) ** 2)
    assert (a.low, a.high) == pytest.approx((0.12, 0.18))  # what is shown reaches over all seeds; the variance does not count their spread twice
    freedom = (a.variance + b.variance) ** 2 / ((0.01**2 / 3) ** 2 / 2)
    margin = stats.t.ppf(0.975, freedom) * (a.variance + b.variance) ** 0.5
    assert order(a, b).margin == pytest.approx(margin)
    assert f"the margin of studies and seeds {margin:.3f}" in claim(ledger(runs), "cmn-cmn-base-iu").why
    sure = [*seeds("cmn", 0.15, 0.16, 0.14, half=1e-9), *seeds("base", 0.12, 0.12, 0.12, half=1e-9)]
    of_seeds = order(*(measured(sure, name, "iu_phantom", "BLEU-4") for name in ("cmn", "base")))
    assert of_seeds.margin == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 / 3**0.5, rel=1e-3)  # two degrees of freedom: 4.3 and not 1.96


def test_the_rule_keeps_its_word_on_made_systems():
    """Of two equal systems, three seeds each, about 5 % or fewer are called different; a difference of three margins is nearly always seen."""
    rng = np.random.default_rng(0)
    made = {name: Measured("iu_phantom", "laptop", None, Spread(0, 0, 3), 0, 0, 0.006, ("p",)) for name in "ab"}

    def judged(gap):
        found = []
        for _ in range(2000):
            scores = {name: mean + rng.normal(0, 0.006) + rng.normal(0, 0.005, 3) for name, mean in (("a", 0.12 + gap), ("b", 0.12))}
            found.append(order(*(replace(made[name], spread=over_seeds(scores[name])) for name in "ab")).how)
        return Counter(found)

    assert judged(0.0)["not told apart"] > 1860 and judged(0.06)["above"] > 1950


def test_a_best_setting_is_decided_by_what_was_swept():
    """K = 32 against every other K that is stored, three seeds each; other settings must be the preset's."""

    def runs(k, mean):
        settings = {} if k == 32 else {"memory.top_k": k}
        return [run for run in seeds("cmn", mean, mean + 0.001, mean - 0.001, **settings)]

    best = [*runs(32, 0.15), *runs(8, 0.12), *runs(64, 0.11)]
    found = swept(best, "cmn", "memory.top_k", "iu_phantom", "BLEU-4")
    assert {k: m.spread.mean for k, m in found.items()} == pytest.approx({8: 0.12, 32: 0.15, 64: 0.11}) and list(found) == [8, 32, 64]
    assert [claim(ledger(best), name).verdict for name in ("cmn-k32", "cmn-k-too-many")] == [HOLDS, HOLDS]
    worse = ledger([*runs(32, 0.15), *runs(8, 0.18), *runs(64, 0.149)])
    assert claim(worse, "cmn-k32").verdict == FAILS and "memory.top_k 32 > 8, BLEU-4: below" in claim(worse, "cmn-k32").why
    assert claim(worse, "cmn-k-too-many").verdict == UNDECIDED
    alone = claim(ledger(runs(32, 0.15)), "cmn-k32")
    assert (alone.verdict, alone.ours) == (NOT_RUN, "") and alone.why.startswith("no other value of memory.top_k is stored than the preset's")
    two_settings = [*runs(32, 0.15), *seeds("cmn", 0.1, 0.1, 0.1, **{"memory.top_k": 8, "memory.slots": 64})]
    assert swept(two_settings, "cmn", "memory.top_k", "iu_phantom", "BLEU-4") == {}


def test_an_experiments_seeds_are_those_with_its_very_settings():
    """Two settings changed at once, which `swept` leaves out, are found; a seed changes nothing, one more setting does."""
    settings = {"memory.top_k": 8, "memory.slots": 64}
    runs = [*seeds("cmn", 0.12, 0.13, 0.14), *seeds("cmn", 0.2, 0.21, 0.22, **settings), *seeds("cmn", 0.3, 0.31, 0.32, **{"memory.top_k": 8})]
    for what, mean in ((runs[3].experiment, 0.21), (runs[0].experiment, 0.13), (runs[6].experiment, 0.31)):
        found = measured_as(runs, what, "BLEU-4")
        assert (found.spread.mean, found.spread.n) == (pytest.approx(mean), 3)
    assert measured_as(runs[:3], runs[3].experiment, "BLEU-4") is None


def test_a_seed_that_is_stored_twice_is_named():
    with pytest.raises(ConfigurationError, match=r"seed 0 of iu_phantom/cmn, laptop is stored twice \(cmn-0, cmn-0\)"):
        ledger([*seeds("cmn", 0.1), *seeds("cmn", 0.2)])


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
    assert row.verdict == NOT_RUN and row.why.startswith("not measured alike: cmn > base, BLEU-1")
    mixed = [*seeds("cmn", 0.15), replace(other[0], name="x", experiment=result("cmn", 0.1, 1).experiment)]
    assert len(measured(mixed, "cmn", "iu_phantom", "BLEU-4").protocols) == 2
    apart = claim(ledger([*seeds("cmn", 0.15), *seeds("base", 0.12, profile="ci")]), "cmn-cmn-base-iu")
    assert apart.verdict == NOT_RUN and apart.why.startswith("cmn and base were not run in one profile")


def test_what_was_not_run_says_why():
    rows = ledger([])
    why = {row.why.partition(";")[0] for row in rows if row.verdict == NOT_RUN and row.kind == "value"}
    assert {
        "needs MIMIC-CXR (credentialed access) and a GPU: rrg train mimic_cxr/mcsam --profile gpu --data-root FOLDER",
        "another group's system, which this book does not build",
        "a count of MIMIC-CXR, which needs credentialed access",
    } <= why
    others = {row.system for row in rows if row.kind == "value" and row.why.startswith("another group's system")}
    assert {"RATCHET", "KERP", "EKAGen (RN-101)", "R2GEN"} <= others and not others & {"BASE", "CMN", "R2GenCMN, replicated", "XProNet"}
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
        names = row["ours"].split(" > ")
        if names[-1] in ("all", "larger"):
            preset, setting, best = names[0].split()
            assert hasattr(PRESETS[preset].memory, setting.removeprefix("memory.")) and float(best) > 0, row["id"]
        else:
            assert (set(names) <= {*PRESETS, ""} and len(names) != 1) or not row["ours"], row["id"]
        assert set(row["ours_metric"].split(";")) <= {*SCORES, ""}, row["id"]
    assert set(CHECKS) == {row["check"] for row in claims()} - {""}  # no check that no claim asks for


def test_an_id_given_twice_is_named(monkeypatch):
    blank = {"ours": "", "ours_metric": ""}
    monkeypatch.setattr(module, "table", lambda name: ({"id": "a", **blank}, {"id": "b", **blank}, {"id": "a", **blank}))
    with pytest.raises(AnnotationError, match="the id 'a' stands twice"):
        claims()


@pytest.mark.parametrize(
    ("ours", "metric"),
    [("cmn", "BLEU-4"), ("cmn > base", ""), ("", "BLEU-4"), ("cmn memory.top_k > all", "BLEU-4"), ("cmn memory.top_k 8 > 9", "BLEU-4")],
)
def test_a_claim_that_names_no_order_is_refused(monkeypatch, ours, metric):
    monkeypatch.setattr(module, "table", lambda name: ({"id": "a", "ours": ours, "ours_metric": metric},))
    with pytest.raises(AnnotationError, match=r"data/claims.csv, a: ours is .*; write PRESET > PRESET"):
        claims()
