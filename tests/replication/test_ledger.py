"""Every printed value and every claim has a row, and a verdict that says no more than was done."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from made_results import result, seeds

from rrg_lib.errors import AnnotationError, ConfigurationError
from rrg_lib.evaluation.baselines import BASELINES
from rrg_lib.evaluation.metrics import FINDING_F1, FINDING_F1_KEYWORDS, REGISTRY
from rrg_lib.evaluation.resampling import Interval, bootstrap_weights
from rrg_lib.experiments.presets import PRESETS, experiment
from rrg_lib.experiments.results import EDITION_0_1, stored_results, twins
from rrg_lib.replication import claims as module
from rrg_lib.replication.claim_measurements import MEASUREMENTS
from rrg_lib.replication.claims import MeasuredPairs, claims, parsed, slope_of
from rrg_lib.replication.exact_checks import CHECKS, memory_cost
from rrg_lib.replication.ledger import STAND_IN, claim_rows, counts, ledger
from rrg_lib.replication.ledger_tables import released_beside_printed
from rrg_lib.replication.printed_values import published
from rrg_lib.replication.seed_scores import (
    UNPAIRED,
    effective,
    families,
    family,
    measured,
    measured_as,
    measured_together,
    order,
    released_and_printed,
    rerun_pool,
    same_systems,
    seed_pool,
    swept,
    trainings,
)
from rrg_lib.replication.verdicts import OWN_DATA, Verdict
from rrg_lib.runtime import package_data


def claim(rows, name: str):
    (row,) = (row for row in rows if row.id == name)
    return row


def test_every_value_and_every_claim_has_a_row_and_the_counts_are_theirs():
    rows = ledger(stored_results())
    assert (
        Counter(row.kind for row in rows)
        == {"value": len(published()), "claim": len(claims())}
        == {"value": 371, "claim": 58}
    )
    assert len({row.id for row in rows}) == len(rows)
    assert all(isinstance(row.verdict, Verdict) and row.why for row in rows)
    found = counts(rows)
    assert all(sum(found[kind].values()) == n for kind, n in (("value", 371), ("claim", 58))) and set(
        found["claim"]
    ) == set(Verdict)
    assert [row.printed for row in rows[:371]] == list(published())
    assert [row.claim for row in rows[371:]] == list(claims())


def test_the_evidence_of_a_row_is_numbers():
    """A mean over seeds with its interval, six comparisons, a count: none of them has to be read out of a text."""
    runs = [*seeds("cmn", 0.15, 0.151, 0.149), *seeds("base", 0.12, 0.121, 0.119)]
    rows = ledger(runs)
    value = rows[_row_of("Table 2", "CMN")]
    assert (value.preset, value.printed.value, value.verdict) == ("cmn", 0.170, Verdict.NOT_RUN)
    assert value.evidence.spread == pytest.approx((0.15, 0.001, 3))
    assert (value.evidence.low, value.evidence.high) == pytest.approx((0.14, 0.16))
    pairs = claim(rows, "cmn-cmn-base-iu").evidence
    assert len(pairs.pairs) == len(pairs.orders) == 6
    for link, (one, other) in pairs.pairs.items():
        assert (link.better, link.worse) == ("cmn", "base")
        assert (
            pairs.orders[link].difference == pytest.approx(one.spread.mean - other.spread.mean) == pytest.approx(0.03)
        )
    assert claim(rows, "cmn-parameters").evidence.ours["added"] == pytest.approx(memory_cost()[_EVERYTHING])
    assert claim(rows, "cmn-gains-mimic").own_table.verdict is Verdict.CONTRADICTED
    assert claim(rows, "mcsam-external").evidence is None


_EVERYTHING = "everything CMN adds, over BASE"


def _row_of(where, system, dataset="iu_xray", metric="BLEU-4") -> int:
    return next(
        i
        for i, v in enumerate(published())
        if (v.where, v.dataset, v.system, v.metric) == (where, dataset, system, metric)
    )


def test_where_lower_is_better_a_lower_score_holds(monkeypatch):
    """ "In every NLG metric" of errors: the same numbers that refute a claim of scores bear it out."""
    runs = [*seeds("cmn", 0.12, 0.121, 0.119), *seeds("base", 0.15, 0.151, 0.149)]
    assert claim(ledger(runs), "cmn-cmn-base-iu").verdict is Verdict.FAILS
    for name in claim(ledger([]), "cmn-cmn-base-iu").claim.metrics:
        monkeypatch.setattr(type(REGISTRY[name]), "higher_is_better", False)
    assert claim(ledger(runs), "cmn-cmn-base-iu").verdict is Verdict.HOLDS


def test_claims_that_need_no_training_have_their_verdicts_whatever_is_stored():
    for results in ([], stored_results()):
        rows = ledger(results)
        contradicted = {row.id for row in rows if row.verdict == Verdict.CONTRADICTED and row.kind == "claim"}
        assert contradicted == {
            "cmn-gains-mimic",
            "cmn-table1-mimic",
            "cmn-images-mimic",
            "xpronet-cmpnet-most",
            "student-cmn",
            "student-ekagen",
        }
        assert {row.id for row in rows if row.verdict == Verdict.NOT_REPRODUCED and row.kind == "claim"} == {
            "cmn-parameters",
            "cmn-table1-iu",
            "cmn-sparse",
        }
        assert not [
            row for row in rows if row.verdict == Verdict.REPRODUCED
        ]  # nothing of the papers' own data was trained on
        assert counts(rows)["value"][Verdict.NOT_REPRODUCED] == 13 and counts(rows)["value"][Verdict.CONSISTENT] == 4


def test_the_conclusion_of_the_student_paper_is_held_against_its_tables():
    """4 of 6 metrics below CMN, all 6 below EKAGen. Precision rises with focal loss, as it says; that F1 falls
    contradicts nothing that it says."""
    rows = ledger([])
    assert "below on BLEU-2, BLEU-3, BLEU-4, ROUGE-L" in claim(rows, "student-cmn").why
    assert (
        claim(rows, "student-ekagen").why.count(
            "above on 0 of 6; below on BLEU-1, BLEU-2, BLEU-3, BLEU-4, METEOR, ROUGE-L"
        )
        == 2
    )
    precision = claim(rows, "student-focal-precision")
    assert (
        precision.verdict == Verdict.CONSISTENT
        and "weighted precision +2.94 points" in precision.why
        and "weighted F1 -0.71 points" in precision.why
    )


def test_an_order_on_drawn_studies_holds_fails_or_is_undecided():
    def verdict(cmn, base, **options):
        row = claim(ledger([*seeds("cmn", *cmn, **options), *seeds("base", *base, **options)]), "cmn-cmn-base-iu")
        return row.verdict, row

    assert verdict((0.15, 0.151, 0.149), (0.12, 0.121, 0.119))[0] == Verdict.HOLDS
    assert verdict((0.12, 0.121, 0.119), (0.15, 0.151, 0.149))[0] == Verdict.FAILS
    assert (
        verdict((0.125, 0.126, 0.124), (0.12, 0.121, 0.119))[0] == Verdict.UNDECIDED
    )  # the studies alone vary by more
    assert verdict((0.20, 0.15, 0.10), (0.12, 0.121, 0.119))[0] == Verdict.UNDECIDED  # and here the seeds do
    assert verdict((0.12, 0.121, 0.119), (0.12, 0.1211, 0.119), half=0.0004)[0] == Verdict.NO_DIFFERENCE
    found, row = verdict((0.15, 0.151), (0.12, 0.121))
    assert found == Verdict.UNDECIDED and row.why == "2 of the 3 seeds that an order needs"
    row = verdict((0.15, 0.151, 0.149), (0.12, 0.121, 0.119))[1]
    (one, other), *others = row.evidence.pairs.values()
    assert len(others) == 5 and (one.where, other.where) == ("iu_phantom, laptop, edition 0.1",) * 2
    assert one.spread == pytest.approx((0.15, 0.001, 3)) and other.spread == pytest.approx((0.12, 0.001, 3))
    assert (one.low, one.high, other.low, other.high) == pytest.approx((0.14, 0.16, 0.11, 0.13))
    assert one.measured_by.startswith("r2gen ") and row.own_table.verdict is Verdict.CONSISTENT
    assert f"({UNPAIRED})" in row.why and "corrected for 6" in row.why and row.claim.wording == "our reading"


def test_every_score_that_a_claim_speaks_of_must_agree():
    """ "In every NLG metric": one that is below refutes it, one that is not told apart leaves it open. BLEU-4 alone
    decides neither."""
    base = seeds("base", 0.12, 0.121, 0.119)

    def with_rouge(score):
        better = seeds("cmn", 0.15, 0.151, 0.149)
        return [_changed(run, "ROUGE-L", score) for run in better]

    for score, verdict in ((0.15, Verdict.HOLDS), (0.12, Verdict.UNDECIDED), (0.09, Verdict.FAILS)):
        row = claim(ledger([*with_rouge(score), *base]), "cmn-cmn-base-iu")
        assert row.verdict == verdict, score
    assert "cmn > base, ROUGE-L: below: -0.030, margin 0.014" in row.why and "BLEU-4: above" in row.why


def _changed(run, metric, score, half=0.01):
    row = run.evaluation.rows[0]
    part = replace(row.parts["all"], scores={**row.parts["all"].scores, metric: score})
    row = replace(
        row, parts={**row.parts, "all": part}, intervals={**row.intervals, metric: Interval(score - half, score + half)}
    )
    return replace(run, evaluation=replace(run.evaluation, rows=(row, *run.evaluation.rows[1:])))


def test_a_chain_holds_link_by_link():
    """CMN > BASE+MEM > BASE by BLEU-4."""

    def verdict(cmn, mem, base):
        runs = [
            run
            for name, mean in (("cmn", cmn), ("mem", mem), ("base", base))
            for run in seeds(name, mean, mean + 0.001, mean - 0.001)
        ]
        return claim(ledger(runs), "cmn-order-iu").verdict

    assert [verdict(*means) for means in ((0.18, 0.15, 0.12), (0.18, 0.12, 0.15), (0.18, 0.15, 0.149))] == [
        Verdict.HOLDS,
        Verdict.FAILS,
        Verdict.UNDECIDED,
    ]
    two = claim(ledger([*seeds("cmn", 0.18, 0.18, 0.18), *seeds("base", 0.12, 0.12, 0.12)]), "cmn-order-iu")
    assert two.verdict == Verdict.NOT_RUN and two.why.startswith("nothing is stored of mem; decided by")


def test_studies_are_paired_where_their_terms_are_kept():
    """Two systems whose scores go up and down with the studies: unpaired nothing can be said, paired the difference is
    sure. Resamples are common."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0.12, 0.2, 590)  # what a study is worth to anybody

    def runs(paired):
        found = []
        for preset, shift in (("cmn", 0.01), ("base", 0.0)):
            for seed in range(3):
                each = hard + shift + rng.normal(0, 0.02, 590)
                found.append(
                    result(preset, each.mean(), seed, half=1.96 * 0.2 / 590**0.5, terms=each if paired else None)
                )
        return found

    one, two = (
        order(*(measured(made, name, "iu_phantom", "BLEU-4") for name in ("cmn", "base")))
        for made in (runs(True), runs(False))
    )
    assert (one.answer, one.note) == ("above", "") and (two.answer, two.note) == ("undecided", UNPAIRED)
    made = runs(True)
    a, b = (measured(made, name, "iu_phantom", "BLEU-4") for name in ("cmn", "base"))
    weights = bootstrap_weights(590)
    gap = np.mean([r.terms["BLEU-4"].terms[:, 0] for r in made[:3]], axis=0) - np.mean(
        [r.terms["BLEU-4"].terms[:, 0] for r in made[3:]], axis=0
    )
    variance = (weights @ gap / 590).var(ddof=1) + a.pool.sd**2 * 2 / 3
    assert (
        order(a, b).margin / variance**0.5 == pytest.approx(1.96, abs=0.3) and a.pool == b.pool and a.pool.freedom == 4
    )
    assert (a.low, a.high) == pytest.approx(
        np.quantile(weights @ np.mean([r.terms["BLEU-4"].terms[:, 0] for r in made[:3]], axis=0) / 590, [0.025, 0.975])
    )


def test_finding_f1_of_edition_0_1_is_compared_by_what_has_intervals():
    """Its finding-F1 has a value and no interval, the one by keywords-0 has both."""
    a, b = (measured(stored_results(), name, "iu_phantom", FINDING_F1) for name in ("xpronet_wo_pi", "mcsam_wo_tokens"))
    found = order(a, b)
    keywords = order(
        *(
            measured(stored_results(), name, "iu_phantom", FINDING_F1_KEYWORDS)
            for name in ("xpronet_wo_pi", "mcsam_wo_tokens")
        )
    )
    assert np.isnan(a.s_studies) and found.note == f"{UNPAIRED}, by keywords-0" and found == keywords


def test_one_system_may_have_two_names_and_one_training_three_kinds_of_labels():
    """In laptop w/o CMPNet is BASE, w/o IMLCS is XProNet with theta 1; in gpu, where the extractor learns, w/o CMPNet
    is another system."""
    results = stored_results()
    pairs = same_systems(results)
    assert ("iu_phantom/base, laptop", "iu_phantom/xpronet_wo_cmpnet, laptop") in pairs
    assert ("iu_phantom/xpronet, laptop, memory.theta=1.0", "iu_phantom/xpronet_wo_imlcs, laptop") in pairs
    of = {
        name: {p: effective(experiment(f"iu_phantom/{p}", name)) for p in ("base", "xpronet_wo_cmpnet", "cmn", "mem")}
        for name in ("laptop", "gpu")
    }
    assert (
        of["laptop"]["base"] == of["laptop"]["xpronet_wo_cmpnet"]
        and of["gpu"]["base"] != of["gpu"]["xpronet_wo_cmpnet"]
    )
    assert len(set(of["laptop"].values())) == 3 and of["laptop"]["base"] == effective(
        experiment("iu_phantom/base", "laptop", seed=1)
    )
    names = ("base", "xpronet_wo_cmpnet")
    old = [r for r in results if r.protocol == EDITION_0_1]
    both = [measured(old, name, "iu_phantom", "BLEU-4") for name in names]
    assert both[0] == both[1] and both[0].spread.n == 3 and both[0].names == names
    one = [r.evaluation.scores["BLEU-4"] for r in old if r.experiment.preset in names]
    assert len(one) == 6 and both[0].spread.mean == pytest.approx(np.mean(one))
    assert len(old) == 150 and len(trainings(old)) == 132
    assert measured(old, "xpronet_wo_imlcs", "iu_phantom", "BLEU-4").names == ("xpronet", "xpronet_wo_imlcs")


def test_the_pool_of_seeds_and_what_running_again_does():
    """Edition 0.1: 42 systems of three seeds have 84 degrees of freedom. Reruns of one seed are no seeds; they vary
    about as much."""
    old = [r for r in stored_results() if r.protocol == EDITION_0_1]
    pool = seed_pool(old, FINDING_F1_KEYWORDS, "iu_phantom", "laptop", EDITION_0_1)
    assert (pool.systems, pool.freedom) == (42, 84) and pool.sd == pytest.approx(0.036, abs=0.001)
    assert seed_pool(old, "BLEU-4", "iu_phantom", "laptop", EDITION_0_1).sd == pytest.approx(0.009, abs=0.001)
    again = rerun_pool(old, twins(), FINDING_F1_KEYWORDS)
    assert again.sd == pytest.approx(0.035, abs=0.005) and again.freedom == 13
    runs = [*seeds("base", 0.1, 0.2, 0.3), *seeds("xpronet_wo_cmpnet", 0.2, 0.3, 0.4)]
    assert measured(runs, "base", "iu_phantom", "BLEU-4").spread == pytest.approx((0.25, 0.1, 3))
    assert seed_pool(runs, "BLEU-4", "iu_phantom", "laptop", EDITION_0_1)[:3] == pytest.approx((0.1, 2, 1))


def test_trainings_of_two_editions_are_never_compared():
    """Edition 0.1 trained on another device and chose epochs by another score; its weights bear the same names. What
    was looked for together is all of one protocol: of the one that has most of it."""
    new, old = (seeds("cmn", 0.15, 0.151, 0.149, protocol=how) for how in ("greedy", EDITION_0_1))
    ablated = seeds("base", 0.1, 0.11, 0.12)
    a, b = (measured(runs, name, "iu_phantom", "BLEU-4") for runs, name in ((new, "cmn"), (ablated, "base")))
    assert order(a, b).answer == "not measured alike" and len(trainings([*new, *old])) == 6
    asked = {name: experiment(f"iu_phantom/{name}", "laptop") for name in ("cmn", "base")}
    found = measured_together([*new, *old, *ablated], asked, "BLEU-4")
    assert {m.protocol for m in found.values()} == {EDITION_0_1} and list(found) == ["cmn", "base"]
    assert list(measured_together([*new, *ablated[:1]], asked, "BLEU-4")) == ["cmn"]
    assert order(found["cmn"], found["base"]).answer == "above"
    stored = [r for r in claim_rows(stored_results(), "laptop") if isinstance(r.evidence, MeasuredPairs)]
    for row in stored:
        assert len({m.protocol for pair in row.evidence.pairs.values() for m in pair}) == 1, row.claim.id


def test_families_put_all_trainings_of_a_kind_together():
    """33 trainings of CMN against 6 of BASE: a gain in finding-F1 above about .02 is excluded on these studies; 45 of
    XProNet are lower by .08."""
    old = [r for r in stored_results() if r.protocol == EDITION_0_1]
    assert Counter(family(r.experiment) for r in trainings(old)) == {
        "XProNet": 45,
        "CMN": 33,
        "MCSAM": 30,
        "CMN + pair alignment": 15,
        "BASE": 6,
        "BASE+MEM": 3,
    }
    cmn = families(old, "CMN", "BASE", FINDING_F1, protocol=EDITION_0_1)
    assert (cmn.a.n, cmn.b.n) == (33, 6) and cmn.high == pytest.approx(0.013, abs=0.002) and cmn.p > 0.05
    xpronet = families(old, "XProNet", "BASE", FINDING_F1, protocol=EDITION_0_1)
    assert (
        xpronet.difference == pytest.approx(-0.084, abs=0.002)
        and xpronet.p < 0.001
        and xpronet.low < xpronet.difference < xpronet.high
    )
    assert families(old, "CMN", "nothing", FINDING_F1, protocol=EDITION_0_1) is None


def test_a_system_with_a_generator_of_its_own_is_no_base_and_no_cmn():
    """An LSTM has no memory either; BASE is the book's Transformer without one."""
    of = {r.experiment.preset: family(r.experiment) for r in stored_results() if r.is_preset}
    assert {name for name, kind in of.items() if kind == "BASE"} == {"base", "xpronet_wo_cmpnet"}
    assert {name: of[name] for name in ("st", "r2gen", "coatt", "ekagen")} == {
        name: name for name in ("st", "r2gen", "coatt", "ekagen")
    }


def test_a_trend_is_the_slope_over_all_trainings():
    """Six sizes, 18 trainings: BLEU-4 does not rise with the number of slots."""
    rng = np.random.default_rng(0)
    x, y = np.repeat(np.arange(6.0), 3), rng.normal(0, 1, 18) + 0.3 * np.repeat(np.arange(6.0), 3)
    table = y.reshape(6, 3)
    found = slope_of(np.arange(6.0), table.mean(1), np.full(6, 3.0), table.std(1, ddof=1))
    design = np.stack([np.ones(18), x], axis=1)
    (_, slope), (rest,), *_ = np.linalg.lstsq(design, y, rcond=None)
    assert found.slope == pytest.approx(slope) and found.freedom == 16
    assert found.se == pytest.approx((rest / 16 / ((x - x.mean()) ** 2).sum()) ** 0.5)
    row = claim(ledger([r for r in stored_results() if r.protocol == EDITION_0_1]), "cmn-memory-grows")
    assert (
        row.verdict in (Verdict.NO_DIFFERENCE, Verdict.UNDECIDED)
        and "changes by -0.0004 ± 0.0024 with each doubling" in row.why
        and "18 trainings" in row.why
    )
    rising = [
        run
        for slots, mean in ((64, 0.1), (256, 0.12), (512, 0.13), (1024, 0.14))
        for run in seeds("cmn", mean, mean + 0.001, mean - 0.001, **({} if slots == 512 else {"memory.slots": slots}))
    ]
    assert claim(ledger(rising), "cmn-memory-grows").verdict == Verdict.HOLDS


def test_every_undecided_claim_says_what_would_decide_it():
    """A sweep too: its trainings fall short of showing that the size of CMN's memory does not matter."""
    undecided = [row for row in claim_rows(stored_results()) if row.verdict is Verdict.UNDECIDED]
    assert len(undecided) > 10
    assert [row.id for row in undecided if not re.search(r"(seeds|studies).* would show", row.why)] == []
    grows = claim(undecided, "cmn-memory-grows")
    assert re.search(r"; \d+ seeds each on these studies would show that none is larger than 0.01$", grows.why)


def test_no_claim_that_stored_numbers_speak_to_is_not_run():
    """What is left needs MIMIC-CXR, other groups' systems, or people."""
    rows = [row for row in ledger(stored_results()) if row.kind == "claim" and row.verdict == Verdict.NOT_RUN]
    assert {row.id for row in rows} == {
        "cmn-mem-base-mimic",
        "cmn-cmn-mem-mimic",
        "cmn-ce-cmn",
        "cmn-previous-iu",
        "cmn-previous-mimic",
        "xpronet-best-iu",
        "xpronet-pi-mimic",
        "xpronet-imlcs-mimic",
        "xpronet-cmpnet-mimic",
        "mcsam-external",
    }


def test_what_was_measured_of_attention_prototypes_and_rare_classes():
    rows = ledger([])
    space, regions = claim(rows, "cmn-shared-space"), claim(rows, "cmn-word-regions")
    assert (
        space.verdict == Verdict.NO_DIFFERENCE
        and "; mem " in space.why
        and "no difference larger than 0.05" in space.why
    )
    assert regions.verdict == Verdict.HOLDS and "base" in regions.why and "without any memory" in regions.why
    shared = claim(rows, "xpronet-shared")
    assert (
        shared.verdict == Verdict.NO_DIFFERENCE
        and "over another study's patches: -0.000 [" in shared.why
        and shared.dataset == "-"
    )
    assert (
        claim(rows, "student-focal-rare").verdict == Verdict.NO_DIFFERENCE
        and "Pneumothorax" in claim(rows, "student-focal-rare").why
    )
    assert all(row["made_by"].startswith("tools/measurements.py ") for row in package_data.table("measurements"))


def test_a_best_setting_is_decided_by_what_was_swept():
    """K = 32 against every other K that is stored, three seeds each; other settings must be the preset's."""

    def runs(k, mean):
        settings = {} if k == 32 else {"memory.top_k": k}
        return [run for run in seeds("cmn", mean, mean + 0.001, mean - 0.001, **settings)]

    best = [*runs(32, 0.15), *runs(8, 0.12), *runs(64, 0.11)]
    found = swept(best, "cmn", "memory.top_k", "iu_phantom", "BLEU-4")
    assert {k: m.spread.mean for k, m in found.items()} == pytest.approx({8: 0.12, 32: 0.15, 64: 0.11}) and list(
        found
    ) == [8, 32, 64]
    assert [claim(ledger(best), name).verdict for name in ("cmn-k32", "cmn-k-too-many")] == [
        Verdict.HOLDS,
        Verdict.HOLDS,
    ]
    worse = ledger([*runs(32, 0.15), *runs(8, 0.18), *runs(64, 0.149)])
    assert (
        claim(worse, "cmn-k32").verdict == Verdict.FAILS
        and "memory.top_k 32 > 8, BLEU-4: below" in claim(worse, "cmn-k32").why
    )
    assert claim(worse, "cmn-k-too-many").verdict == Verdict.UNDECIDED
    alone = claim(ledger(runs(32, 0.15)), "cmn-k32")
    assert (alone.verdict, alone.evidence) == (Verdict.NOT_RUN, None) and alone.why.startswith(
        "no other value of memory.top_k is stored than the preset's"
    )
    two_settings = [*runs(32, 0.15), *seeds("cmn", 0.1, 0.1, 0.1, **{"memory.top_k": 8, "memory.slots": 64})]
    assert swept(two_settings, "cmn", "memory.top_k", "iu_phantom", "BLEU-4") == {}


def test_an_experiments_seeds_are_those_with_its_very_settings():
    """Two settings changed at once, which `swept` leaves out, are found; a seed changes nothing, one more setting
    does."""
    settings = {"memory.top_k": 8, "memory.slots": 64}
    runs = [
        *seeds("cmn", 0.12, 0.13, 0.14),
        *seeds("cmn", 0.2, 0.21, 0.22, **settings),
        *seeds("cmn", 0.3, 0.31, 0.32, **{"memory.top_k": 8}),
    ]
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
    at = _row_of("Table 2", "CMN")
    assert [rows[at].verdict for rows in (drawn, own, small, other)] == [
        Verdict.NOT_RUN,
        Verdict.REPRODUCED,
        Verdict.NOT_RUN,
        Verdict.NOT_REPRODUCED,
    ]
    assert drawn[at].evidence.spread.mean == pytest.approx(0.170)
    assert drawn[at].evidence.where == "iu_phantom, laptop, edition 0.1"
    assert "rrg replicate iu_xray --system cmn" in drawn[at].why
    assert own[at].evidence.where == "iu_xray, gpu, published" and small[at].evidence is None
    runs = [
        *seeds("cmn", 0.15, 0.151, 0.149, dataset="iu_xray", profile="gpu"),
        *seeds("base", 0.12, 0.121, 0.119, dataset="iu_xray", profile="gpu"),
    ]
    assert claim(ledger(runs), "cmn-cmn-base-iu").verdict == Verdict.REPRODUCED
    assert claim(ledger([r for r in runs if r.experiment.training.seed < 2]), "cmn-cmn-base-iu").verdict == Verdict.OPEN


def test_scores_that_were_stored_without_intervals_decide_nothing():
    def bare(run):
        row = replace(run.evaluation.rows[0], intervals={})
        return replace(run, evaluation=replace(run.evaluation, rows=(row, *run.evaluation.rows[1:])))

    runs = [*seeds("cmn", 0.17, 0.17, 0.17), *seeds("base", 0.1, 0.1, 0.1)]
    own = [
        *seeds("cmn", 0.17, 0.17, 0.17, dataset="iu_xray", profile="gpu"),
        *seeds("base", 0.1, 0.1, 0.1, dataset="iu_xray", profile="gpu"),
    ]
    assert claim(ledger([bare(run) for run in runs]), "cmn-cmn-base-iu").verdict == Verdict.UNDECIDED
    rows = ledger([bare(run) for run in own])
    assert claim(rows, "cmn-cmn-base-iu").why == "stored without intervals: evaluate again"
    assert (
        not [row for row in rows if row.kind == "value" and row.verdict == Verdict.REPRODUCED]
        and counts(rows)["value"][Verdict.NOT_REPRODUCED] == 13
    )


def test_a_gated_memory_is_compared_by_what_it_was_told():
    """On drawn studies the classifier's labels count; the printed rows of XProNet were told the references', so on its
    own data those do."""
    both = [*seeds("xpronet", 0.1, labels="classifier"), *seeds("xpronet", 0.2, labels="reference")]
    assert measured(both, "xpronet", "iu_phantom", "BLEU-4").spread.mean == 0.1
    assert (
        measured(both, "xpronet", "iu_phantom", "BLEU-4", labels="reference").where
        == "iu_phantom, laptop, edition 0.1, labels: reference"
    )
    at = _row_of("Table 1", "XProNet")
    assert ledger(both)[at].evidence.spread.mean == pytest.approx(0.1)
    own = [
        *seeds("xpronet", 0.1, 0.1, dataset="iu_xray", profile="gpu"),
        *seeds("xpronet", 0.199, 0.201, dataset="iu_xray", profile="gpu", labels="reference"),
    ]
    row = ledger(own)[at]
    assert row.evidence.spread.mean == pytest.approx(0.2) and row.verdict is Verdict.REPRODUCED


def test_one_seed_and_no_other_system_with_two_decides_no_printed_value():
    """How much a training varies is not known then: its interval would be narrower than that of three seeds."""
    at = _row_of("Table 2", "CMN")
    one = seeds("cmn", 0.170, dataset="iu_xray", profile="gpu")
    assert ledger(one)[at].verdict == Verdict.OPEN and "one seed" in ledger(one)[at].why
    two = seeds("base", 0.15, 0.16, dataset="iu_xray", profile="gpu")
    assert ledger([*one, *two])[at].verdict == Verdict.REPRODUCED


def test_runs_of_other_settings_or_measured_otherwise_are_not_mixed_in():
    runs = [*seeds("cmn", 0.15, 0.151, 0.149), *seeds("cmn", 0.9, 0.9, 0.9, **{"memory.slots": 64})]
    assert measured(runs, "cmn", "iu_phantom", "BLEU-4").spread == pytest.approx((0.15, 0.001, 3))
    assert (
        measured(runs, "mem", "iu_phantom", "BLEU-4") is None
        and measured(runs, "cmn", "iu_phantom", "accuracy") is None
    )
    assert (
        measured([*runs, *seeds("cmn", 0.3, profile="gpu", protocol="greedy")], "cmn", "iu_phantom", "BLEU-4").profile
        == "gpu"
    )
    other = [
        replace(r, evaluation=replace(r.evaluation, provenance={**r.evaluation.provenance, "vocabulary": "another"}))
        for r in seeds("base", 0.1, 0.1, 0.1)
    ]
    row = claim(ledger([*runs, *other]), "cmn-cmn-base-iu")
    assert row.verdict == Verdict.NOT_RUN and row.why.startswith("not measured alike: cmn > base, BLEU-1")
    mixed = [*seeds("cmn", 0.15), replace(other[0], name="x", experiment=result("cmn", 0.1, 1).experiment)]
    assert len(measured(mixed, "cmn", "iu_phantom", "BLEU-4").protocols) == 2
    apart = claim(ledger([*seeds("cmn", 0.15), *seeds("base", 0.12, profile="ci")]), "cmn-cmn-base-iu")
    assert apart.verdict == Verdict.NOT_RUN and apart.why.startswith("cmn and base were not run in one profile")


def test_what_was_not_run_says_why():
    rows = ledger([])
    why = {row.why.partition(";")[0] for row in rows if row.verdict == Verdict.NOT_RUN and row.kind == "value"}
    assert {
        "needs MIMIC-CXR (credentialed access) and a GPU: rrg replicate mimic_cxr --system mcsam --data-root FOLDER",
        "a count of MIMIC-CXR, which needs credentialed access",
    } <= why
    built = {row["system"] for row in package_data.table("published_systems") if row["preset"]}
    assert {"ST", "RATCHET", "SentSAT+KG", "TopDown", "R2GEN", "CMN", "R2GenCMN, replicated"} <= built
    assert "needs the real images and a GPU: rrg replicate iu_xray --system xpronet_wo_pi --data-root FOLDER" in why
    assert claim(rows, "mcsam-bank").why.startswith("nothing is stored of mcsam and mcsam_random_bank; decided by")
    quoted = [row for row in rows if row.kind == "value" and row.paper.startswith("Student") and row.where == "Table 2"]
    assert len(quoted) == 18 and all("equals R2GenCMN (ACL 2021), Table 2" in row.why for row in quoted)


def test_the_data_files_name_what_exists():
    for row in package_data.table("published_systems"):
        assert row["preset"] in {*PRESETS, ""}
        assert any((value.paper, value.system) == (row["paper"], row["system"]) for value in published()), row
    assert all(
        any((v.paper, v.system) == (row["paper"], row["system"]) for v in published())
        for row in package_data.table("released_code")
    )
    papers = {value.paper for value in published()}
    for row in claims():
        assert row.paper in papers and row.claim and row.decided_by, row.id
        assert row.check in {"measurement": MEASUREMENTS}.get(row.kind, {"": None, **CHECKS}), row.id
        assert {*row.better, *row.worse} <= {*PRESETS}, row.id
        assert not row.setting or hasattr(PRESETS[row.better[0]].memory, row.setting.removeprefix("memory.")), row.id
    for row in package_data.table("published_systems"):
        dataset, colon, how = row["other_protocol"].partition(": ")
        assert not row["other_protocol"] or (dataset in OWN_DATA and colon and how), row
        assert not (row["preset"] and row["not_rebuilt"]), row
    assert {*CHECKS, *MEASUREMENTS} == {row.check for row in claims()} - {""}  # no check that no claim asks for
    quoted = {row["system"] for row in package_data.table("published_systems") if row["iu_xray"] == "quoted"}
    assert {"ST", "ATT2IN", "ADAATT", "COATT", "HRGR", "CMAS-RL", "SentSAT+KG", "KERP"} <= quoted and not quoted & {
        "XProNet",
        "R2GEN",
    }


def _row(rows, paper, where, dataset, system, metric="BLEU-1"):
    asked = (paper, where, dataset, system, metric)
    (found,) = (
        row
        for row in rows
        if row.kind == "value"
        and asked == (row.paper.split()[0], row.where, row.dataset, row.printed.system, row.printed.metric)
    )
    return found


LINEAGE = {
    ("R2GenCMN", "Table 3", "ST"): "st",
    ("R2GenCMN", "Table 3", "ATT2IN"): "att2in",
    ("R2GenCMN", "Table 3", "ADAATT"): "adaatt",
    ("R2GenCMN", "Table 3", "TOPDOWN"): "topdown",
    ("R2GenCMN", "Table 3", "R2GEN"): "r2gen",
    ("XProNet", "Table 1", "ST"): "st",
    ("XProNet", "Table 1", "ATT2IN"): "att2in",
    ("XProNet", "Table 1", "ADAATT"): "adaatt",
    ("XProNet", "Table 1", "TopDown"): "topdown",
    ("XProNet", "Table 1", "RATCHET"): "ratchet",
    ("XProNet", "Table 1", "SentSAT+KG"): "sentsat_kg",
}


@pytest.mark.parametrize(("place", "preset"), LINEAGE.items(), ids=lambda x: "-".join(x) if isinstance(x, tuple) else x)
def test_the_lineages_printed_values_have_ours_beside_them_once_there_are_any(place, preset):
    """Not run before; what was measured on drawn studies stands beside, and decides nothing."""
    paper, where, system = place
    dataset = "iu_xray" if system == "SentSAT+KG" else "mimic_cxr"
    before = _row(ledger([]), paper, where, dataset, system)
    assert (before.preset, before.evidence, before.verdict) == (preset, None, Verdict.NOT_RUN)
    beside = _row(ledger(seeds(preset, 0.25, 0.26, 0.24, protocol="tuned")), paper, where, dataset, system)
    assert beside.verdict is Verdict.NOT_RUN and beside.evidence.where == "iu_phantom, laptop, tuned"
    assert beside.evidence.spread.n == 3


@pytest.mark.parametrize(
    ("paper", "where", "dataset", "system", "metric"),
    [
        ("R2GenCMN", "Table 3", "iu_xray", "ST", "BLEU-4"),
        ("XProNet", "Table 1", "iu_xray", "ADAATT", "CIDEr"),
        ("XProNet", "Table 1", "iu_xray", "SentSAT+KG", "BLEU-4"),
        ("XProNet", "Table 1", "mimic_cxr", "RATCHET", "METEOR"),
    ],
)
def test_a_value_of_another_protocol_is_never_called_not_reproduced(paper, where, dataset, system, metric):
    """Whatever ours is: on the paper's data it stands beside, and is not held against."""
    preset = LINEAGE.get((paper, where, system), "st")
    for score in (0.066, 0.4):
        own = ledger(seeds(preset, score, score + 0.001, score - 0.001, dataset=dataset, profile="gpu"))
        found = _row(own, paper, where, dataset, system, metric)
        assert found.verdict is Verdict.NOT_RUN and found.evidence.where == f"{dataset}, gpu, published"
        assert found.why.startswith("in its own protocol: ") and "not held against it" in found.why
    assert _row(ledger([]), paper, where, dataset, system, metric).why.startswith("another protocol: ")


def test_the_comparable_rows_of_the_same_systems_are_held_against_ours():
    """CMN's authors ran ST on MIMIC-CXR themselves, on the split and by the scorer of the rest."""
    own = {"dataset": "mimic_cxr", "profile": "gpu"}
    near, far = (ledger(seeds("st", *scores, **own)) for scores in ((0.298, 0.299, 0.3), (0.4, 0.401, 0.402)))
    assert _row(near, "R2GenCMN", "Table 3", "mimic_cxr", "ST").verdict is Verdict.REPRODUCED
    assert _row(far, "R2GenCMN", "Table 3", "mimic_cxr", "ST").verdict is Verdict.NOT_REPRODUCED
    assert "rrg replicate mimic_cxr --system st" in _row(ledger([]), "R2GenCMN", "Table 3", "mimic_cxr", "ST").why


def test_what_cannot_be_rebuilt_says_so_and_which_baseline_stands_there():
    rows = ledger([])
    for paper, where, system in (
        ("R2GenCMN", "Table 3", "HRGR"),
        ("R2GenCMN", "Table 3", "CMAS-RL"),
        ("XProNet", "Table 1", "HRGR"),
        ("XProNet", "Table 1", "KERP"),
        ("XProNet", "Table 1", "CMAS-RL"),
    ):
        found = _row(rows, paper, where, "iu_xray", system)
        assert (found.preset, found.verdict) == (None, Verdict.NOT_RUN)
        assert found.why.startswith(f"cannot be rebuilt: no code, no sizes; where it stood, our baseline {STAND_IN}")
    assert BASELINES[STAND_IN].sees == "images"


_ROW = {**dict.fromkeys(package_data.table("claims")[0], ""), "id": "a", "wording": "stated", "kind": "none"}


def test_an_id_given_twice_is_named(monkeypatch):
    monkeypatch.setattr(module, "table", lambda name: (_ROW, {**_ROW, "id": "b"}, _ROW))
    with pytest.raises(AnnotationError, match="the id 'a' stands twice"):
        module.claims.__wrapped__()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "rank"}, "kind is 'rank'; write one of order"),
        ({"wording": ""}, "wording is ''; write one of stated"),
        ({"kind": "order", "better": "cmn", "metrics": "BLEU-4"}, "a claim of kind 'order' needs worse"),
        (
            {"kind": "order", "better": "cmn;mem", "worse": "base", "metrics": "BLEU-4"},
            "2 better systems for 1 worse ones",
        ),
        ({"better": "cmn"}, "a claim of kind 'none' has no use for better"),
        (
            {"kind": "order", "better": "cmn", "worse": "base", "metrics": "BLEU-4;BLUE-1"},
            "metrics names 'BLUE-1', which is no metric; write some of BLEU-1",
        ),
        (
            {
                "kind": "best setting",
                "better": "cmn",
                "setting": "memory.top_k",
                "value": "x",
                "against": "all",
                "metrics": "BLEU-4",
            },
            "value is 'x'",
        ),
        (
            {
                "kind": "best setting",
                "better": "cmn",
                "setting": "memory.top_k",
                "value": "8",
                "against": "9",
                "metrics": "BLEU-4",
            },
            "against is '9'",
        ),
        ({"printed_better": "CMN", "printed_worse": "BASE"}, "a printed order needs table"),
        (
            {"table": "T", "printed_better": "A;B", "printed_worse": "C"},
            "printed_better names one row, or one for each",
        ),
    ],
)
def test_a_claim_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(AnnotationError, match=f"data/claims.csv, a: {said}"):
        parsed({**_ROW, **wrong})
    with pytest.raises(AnnotationError, match="expected the columns id, paper"):
        parsed({"id": "a"})


def test_a_preset_as_released_stands_beside_the_one_as_printed():
    """Both scores are corrected together; a score that one of the two lacks is left out, and so is a system alone."""
    released, printed = (seeds("cmn", 0.15, 0.151, 0.149), seeds("cmn_as_printed", 0.12, 0.121, 0.119))
    assert released_and_printed(released, "cmn", "iu_phantom", protocol=EDITION_0_1) == {}
    compared = released_and_printed(
        [*released, *printed], "cmn", "iu_phantom", ("BLEU-4", "BLEU-1"), protocol=EDITION_0_1
    )
    assert list(compared) == ["BLEU-4", "BLEU-1"]
    one, other, found = compared["BLEU-4"]
    assert (one.spread.mean, other.spread.mean) == (pytest.approx(0.15), pytest.approx(0.12))
    assert found.difference == pytest.approx(0.03) and found.of == 2
    text = released_beside_printed([*released, *printed], "cmn", "iu_phantom", protocol=EDITION_0_1)
    assert "| BLEU-4" in text and "0.150 ± 0.001" in text and f"the release is **{found.how}** (+0.030" in text
    assert "Not run" in released_beside_printed(released, "cmn", "iu_phantom", protocol="greedy")
