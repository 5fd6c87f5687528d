"""A study: its plan is data, its runs go on wherever they were killed, its results answer one question alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from places import ROOT

from rrg_lib.errors import ConfigurationError, RRGError, UnknownNameError
from rrg_lib.evaluation.clinical import macro_f1_of_counts
from rrg_lib.evaluation.metrics import FINDING_F1_MACRO
from rrg_lib.evaluation.resampling import Additive, bootstrap_weights
from rrg_lib.replication import study_runs
from rrg_lib.replication.study_cost import study_cost
from rrg_lib.replication.study_plan import known_plans, parsed_plan, study_plan
from rrg_lib.replication.study_report import StudyScore, _gap, study_report, study_terms, write_study_report
from rrg_lib.replication.study_runs import missing_runs, result_name, run_study, study_results

TINY = """
title = "A tiny study"
question = "Does anything happen?"
declared = 2026-11-29
profile = "ci"
protocol = "tuned"
metrics = ["finding-F1", "BLEU-4", "recall of rare findings"]
seeds = [1, 2]

[grid]
beam_sizes = [1]
end_biases = [0.0, -1.0]
alphas = [0.0]
block_ngrams = [0]

[groups]
rare = ["Edema", "Fracture"]

[data.small]
dataset = "phantom"
count = 40

[conditions.random]
title = "Random features"
data = "small"
settings = [
  "extractor.weights=null", "generator.d_model=16", "generator.d_ff=16", "generator.heads=2", "generator.layers=1",
  "training.epochs=2",
]

[systems.base]
title = "BASE"
preset = "base"

[systems.cmn]
title = "CMN"
preset = "cmn"
settings = ["memory.slots=8", "memory.top_k=2"]

[systems.lesion]
title = "CMN, its answers replaced"
preset = "cmn"
settings = ["memory.slots=8", "memory.top_k=2"]
lesion = "both"

[[comparisons]]
a = "cmn"
b = "base"

[[comparisons]]
a = "cmn"
b = "lesion"

[pilot]
words = "none"
cut = "nothing"
yardstick = 0.005

[pilot.seconds]
base = 1
cmn = 1
lesion = 1
"""
RUN = "import sys; from pathlib import Path; from rrg_lib.replication.study_plan import study_plan; "
RUN += "from rrg_lib.replication.study_runs import run_study; "
RUN += "run_study(study_plan(sys.argv[1]), Path(sys.argv[2]), jobs=2, progress=False)"


def tiny(*changes: tuple[str, str]):
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parsed_plan(text, "tiny", "tiny.toml")


def timeless(report) -> dict:
    """A report without what depends on the day and the processor."""
    return {key: value for key, value in report.to_json().items() if key != "seconds"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tiny study, run without interruption."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRG_HOME", str(home))
        assert run_study(tiny(), home / "results", jobs=1, progress=False) == 6
        yield home


# --- a plan -----------------------------------------------------------------------------------------------------------


def test_every_plan_of_the_project_can_be_read_and_names_runs_that_exist():
    assert {"features", "where", "growth", "rare_findings"} <= set(known_plans())
    for name in known_plans():
        plan = study_plan(name)
        assert plan.runs() and plan.comparisons and plan.deltas
        assert len({run.name for run in plan.runs()}) == len(plan.runs())


def test_studies_of_the_same_weights_train_them_once():
    features, where, rare = (set(study_plan(name).by_training()) for name in ("features", "where", "rare_findings"))
    assert rare <= features
    assert len(where & features) == 2 * len(study_plan("where").seeds)  # BASE and CMN on features of reports


def test_the_hash_is_of_the_meaning_and_not_of_comments_or_costs():
    plan = tiny()
    same = tiny(('title = "A tiny', '# a remark\ntitle = "A tiny'), ("base = 1", "base = 2"), ("[1, 2]", "[2, 1]"))
    assert (same.question_hash, same.hash) == (plan.question_hash, plan.hash)
    other = tiny(("Does anything happen?", "Does nothing happen?"))
    assert other.question_hash != plan.question_hash
    assert tiny(("-1.0]", "-2.0]")).question_hash != plan.question_hash


def test_a_list_that_grows_changes_the_plan_and_leaves_its_question():
    plan, more = tiny(), tiny(("[1, 2]", "[1, 2, 3]"))
    assert more.question_hash == plan.question_hash and more.hash != plan.hash
    assert {r.name: r.hash for r in plan.runs()}.items() <= {r.name: r.hash for r in more.runs()}.items()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = [1, 2]", "seeds = [1, 1]", "seeds has 1 twice"),
        ("seeds = [1, 2]", "seeds = 2", "seeds is 2; expected a list"),
        ('metrics = ["finding-F1",', 'metrics = ["finding-F2",', "unknown metric 'finding-F2'; nearest: finding-F1"),
        ('preset = "base"', 'preset = "bose"', "unknown preset 'bose'"),
        ('lesion = "both"', 'lesion = "left"', "systems.lesion: unknown side of a lesion 'left'"),
        ('b = "base"', 'b = "bass"', "comparisons: unknown system 'bass'; nearest: base"),
        ('data = "small"', 'data = "smell"', "conditions.random: unknown data 'smell'"),
        ("memory.slots=8", "memory.slot=8", "unknown setting of memory 'slot'; nearest: slots"),
        ("count = 40", 'count = "40"', "data.small.count is '40'; expected a whole number"),
        ("base = 1\n", "", "pilot.seconds lacks base"),
        ("declared = 2026-11-29", "declared = 'today'", "the plan.declared is 'today'; expected a date"),
        ("[pilot]", "[pilots]", "unknown entry of the plan 'pilots'; nearest: pilot"),
        ("title = ", "title ", "is no TOML"),
        ('"Fracture"]', '"Fractures"]', "groups.rare: unknown finding 'Fractures'; nearest: Fracture"),
        ('profile = "ci"', 'profile = "cj"', "unknown profile 'cj'"),
    ],
)
def test_a_bad_plan_is_refused_by_its_file_and_entry(old, new, message):
    with pytest.raises(ConfigurationError) as caught:
        tiny((old, new))
    assert str(caught.value).startswith("tiny.toml: ") or "tiny.toml is no TOML" in str(caught.value)
    assert message in str(caught.value)


def test_an_unknown_study_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="nearest: features"):
        study_plan("feature")
    with pytest.raises(RRGError, match=r"nothing\.toml is not there"):
        study_plan(str(tmp_path / "nothing.toml"))


# --- its runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_report(whole, tmp_path, monkeypatch):
    plan, results = tmp_path / "tiny.toml", tmp_path / "results"
    plan.write_text(TINY, encoding="utf-8")
    environment = {**os.environ, "RRG_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", RUN, str(plan), str(results)], env=environment)
    while process.poll() is None and not list(results.glob("*.json")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = set(results.glob("*.json"))
    assert there, "the study was to be killed in the middle, and it made nothing"
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    for path in results.glob(".*.part"):  # of a file that was being written: never taken for a result
        assert path.name not in {result_name(tiny(), run) for run in tiny().runs()}
    before = {path: path.read_bytes() for path in there}
    made = run_study(tiny(), results, jobs=1, progress=False)
    assert made <= 6 - len(there)
    assert {path: path.read_bytes() for path in there} == before
    assert timeless(study_report(tiny(), results)) == timeless(study_report(tiny(), whole / "results"))


def dies(*_) -> list[str]:
    os._exit(1)


def test_a_training_that_was_killed_is_told_as_one(whole):
    more = tiny(("[1, 2]", "[1, 2, 3]"))
    with pytest.raises(RRGError, match=r"a worker process died .* a training goes on .* with fewer jobs") as told:
        run_study(more, whole / "results", jobs=2, progress=False, work=dies)
    assert "shard" not in str(told.value) and "prepar" not in str(told.value)


def test_a_finished_study_makes_nothing_and_a_later_seed_runs_alone(whole):
    assert run_study(tiny(), whole / "results", progress=False) == 0
    more = tiny(("[1, 2]", "[1, 2, 3]"))
    missing = [run.name for group in missing_runs(more, whole / "results") for run in group]
    assert missing == ["random-base-seed3", "random-cmn-seed3", "random-lesion-seed3"]
    report = study_report(more, whole / "results")
    assert report.missing == 3 and report.earlier == {tiny().hash: 6}
    assert "its lists were changed since" in report.markdown()


def test_a_cost_is_the_pilots_scaled_and_then_what_runs_took(whole, tmp_path, monkeypatch):
    """The yardstick here is half of the pilot's, so its second becomes half of one; a lesion is only scored."""
    monkeypatch.setenv("RRG_HOME", str(tmp_path))  # where nothing is trained
    empty = study_cost(tiny(), lambda: 0.0025, tmp_path / "nothing")
    assert empty.seconds == pytest.approx(
        {("random", "base"): 1.0, ("random", "cmn"): 1.0, ("random", "lesion"): 0.1}, rel=1e-9
    )
    more = study_cost(tiny(("[1, 2]", "[1, 2, 3]")), lambda: 0.0025, whole / "results")
    took = [
        sum(r.study["seconds"].values()) for n, r in study_results(tiny(), whole / "results").items() if "base" in n
    ]
    assert (more.missing, more.runs) == (3, 9)
    assert more.seconds["random", "base"] == pytest.approx(sum(took) / 2)
    done = study_cost(tiny(), pytest.fail, whole / "results")  # nothing is missing: nothing is measured
    assert done.missing == 0 and done.hours == 0


def test_a_result_of_another_question_or_system_is_refused(whole):
    for change, what in (
        (("Does anything happen?", "Did anything happen?"), "the question"),
        (("memory.slots=8", "memory.slots=9"), "this condition, system and profile"),
    ):
        with pytest.raises(ConfigurationError, match=f"was made for another plan: of {what}"):
            study_results(tiny(change), whole / "results")


@pytest.mark.parametrize(("part", "name"), [("studies", "hash"), ("identity", "extractor")])
def test_systems_that_were_not_measured_alike_are_not_compared(whole, tmp_path, part, name):
    """A reader's own system beside shipped ones: on other studies, or seen through an extractor of his own."""
    shutil.copytree(whole / "results", tmp_path / "results")
    odd = tmp_path / "results" / result_name(tiny(), tiny().runs()[0])
    data = json.loads(odd.read_text(encoding="utf-8"))
    (data["provenance"] if part == "studies" else data["run"])[part][name] = "other"
    odd.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"^{odd.name} was not measured like the other 5 results"):
        study_report(tiny(), tmp_path / "results")


def test_results_carry_the_plan_and_lesions_share_their_training(whole):
    results = study_results(tiny(), whole / "results")
    for result in results.values():
        assert result.study["question"] == tiny().question_hash and result.study["plan"] == tiny().hash
        assert result.data["run"]["protocol"] == "tuned"
    one, other = (results[f"random-{name}-seed1"].study for name in ("cmn", "lesion"))
    assert one["training"] == other["training"]


def test_a_report_has_a_verdict_for_every_comparison_and_is_written(whole, tmp_path):
    report = study_report(tiny(), whole / "results")
    assert [(v.a, v.b) for v in report.verdicts if v.metric == "BLEU-4"] == [("cmn", "base"), ("cmn", "lesion")]
    assert {v.order.answer for v in report.verdicts} == {"too few seeds"}
    text, data = write_study_report(report, tmp_path)
    assert json.loads(data.read_text(encoding="utf-8"))["question_hash"] == tiny().question_hash
    assert "## Verdicts" in text.read_text(encoding="utf-8")


STUDIES = np.random.default_rng(0).random(200)  # a score of each of 200 studies


def made_score(gain: float, *, name: str = "base", seed: int = 0, tested: str = "these", noise=0.0, sd=0.005):
    """Five seeds made of one result, `gain` better in every study; `noise` is added to every resample."""
    rng = np.random.default_rng(seed)
    drawn = bootstrap_weights(len(STUDIES)) @ (STUDIES + gain) / len(STUDIES) + noise
    seeds = {n: float(STUDIES.mean() + gain + rng.normal(0, sd)) for n in range(1, 6)}
    training = tuple(f"{name}{seed}{n}" for n in seeds)
    return StudyScore(seeds, 0.0, 1.0, np.stack([drawn] * 5), training, f"{name}{seed}", len(STUDIES), tested)


def made_gap(gain: float, *, condition: str = "random", noise=0.0, own: bool = False, tested: str = "these", sd=0.005):
    """Of CMN, `gain` better than BASE in every study, whose resamples differ by `noise` besides."""
    scores = {
        (condition, "base", "BLEU-4"): made_score(0.0, seed=len(condition), tested=tested),
        (condition, "cmn", "BLEU-4"): made_score(
            gain, name="cmn", seed=1 + len(condition), tested=tested, noise=noise, sd=sd
        ),
    }
    return _gap(tiny(), scores, condition, "cmn", "base", "BLEU-4", own=own)


def test_a_made_difference_is_told_by_paired_studies():
    """One system better by a tenth in every study: above, and not without it."""
    order = made_gap(0.1).order(0.01)
    assert order.answer == "above" and order.margin < 0.02
    assert made_gap(0.0).order(0.01).answer == "no difference"


def test_seeds_are_pooled_over_the_systems_or_are_the_two_systems_own():
    """CMN's seeds vary much more than BASE's. Of two systems the pool's variance is the mean of theirs, so the error is
    the same, and Welch's test knows it by fewer degrees of freedom."""
    pooled, own = (made_gap(0.05, sd=0.05, own=own).order(0.01) for own in (False, True))
    two = [arm.pool.sd**2 for arm in (made_gap(0.05, sd=0.05, own=True).a, made_gap(0.05, own=True).b)]
    assert pooled.freedom == pytest.approx(8)
    assert own.freedom == pytest.approx(sum(two) ** 2 / sum(v**2 / 4 for v in two)) and own.freedom < 6
    assert own.margin / pooled.margin == pytest.approx(
        scipy.stats.t(own.freedom).isf(0.025) / scipy.stats.t(pooled.freedom).isf(0.025), rel=1e-6
    )


def test_a_gain_is_compared_between_conditions_by_the_seeds_of_both():
    """CMN gains .1 under one condition and nothing under the other: four means of five seeds, whose studies are as hard
    for all."""
    first, here = made_gap(0.0, condition="first"), made_gap(0.1)
    change = here.beside(first, 0.01)
    gains = [gap.a.mean - gap.b.mean for gap in (here, first)]
    assert change.answer == "above" and change.difference == pytest.approx(gains[0] - gains[1])
    se = np.sqrt(2 * here.a.pool.sd**2 / 5 + 2 * first.a.pool.sd**2 / 5)
    assert change.margin == pytest.approx(scipy.stats.t(change.freedom).isf(0.025) * se, rel=1e-6)


def test_gains_on_the_same_studies_are_paired_and_on_others_are_not():
    """What the same studies do to both gains is no reason to doubt their difference; what other studies do is."""
    noise = np.random.default_rng(5).normal(0, 0.02, 1000)
    first, others = (made_gap(0.0, condition="first", noise=noise, tested=tested) for tested in ("these", "those"))
    here = made_gap(0.1, noise=noise)
    paired, unpaired = (here.beside(gap, 0.01) for gap in (first, others))
    assert unpaired.margin > 3 * paired.margin
    assert unpaired.scatter.of_studies == pytest.approx(2 * np.var(noise, ddof=1))


def test_what_an_undecided_comparison_needs_falls_with_the_seeds_where_seeds_and_studies_vary_together():
    """A difference that varies over studies only by each training's own luck: more trainings do, not more studies."""
    rng, plan = np.random.default_rng(0), tiny()
    luck = rng.normal(0, 0.02, (2, 5, 1000))
    scores = {
        ("random", name, "BLEU-4"): replace(made_score(gain, name=name, seed=i), drawn=0.5 + luck[i])
        for i, (name, gain) in enumerate((("base", 0.0), ("cmn", 0.012)))
    }
    order = _gap(plan, scores, "random", "cmn", "base", "BLEU-4").order(0.01)
    assert order.answer == "undecided" and order.need.studies is None and 5 < order.need.seeds < 200
    assert order.scatter.of_studies < 0.1 * 2 * 0.02**2 / 5


def test_a_report_says_how_a_difference_changes_with_the_condition(whole, tmp_path):
    """The same results under two conditions, BASE's and CMN's exchanged in the second: CMN gains there what it lost
    here."""
    here = TINY[TINY.index("[conditions.random]") : TINY.index("[systems.base]")]
    twice = tiny(("[systems.base]", here.replace("random]", "again]") + "[systems.base]"))
    results, exchanged = tmp_path / "results", {"base": "cmn", "cmn": "base", "lesion": "lesion"}
    results.mkdir()
    for run in twice.runs():
        again = run.condition.name == "again"
        system = exchanged[run.system.name] if again else run.system.name
        kept = json.loads((whole / "results" / f"tiny-random-{system}-seed{run.seed}.json").read_text())
        training = f"{run.system.name} again {run.seed}" if again else kept["run"]["study"]["training"]
        kept["run"]["study"] |= {"condition": run.condition.name, "run": run.hash, "training": training}
        (results / result_name(twice, run)).write_text(json.dumps(kept))
    report = study_report(twice, results)
    gained = report.verdict("random", "cmn", "base", "BLEU-4").order.difference
    change = next(c for c in report.changes if (c.a, c.b, c.metric) == ("cmn", "base", "BLEU-4"))
    assert (change.condition, change.first) == ("again", "random") and gained != 0
    assert change.order.difference == pytest.approx(-2 * gained)
    assert "again − random" in report.markdown() and report.to_json()["changes"][0]["first"] == "random"
    assert report.verdict("random", "base", "cmn", "BLEU-4") is None


def test_recall_of_a_group_counts_what_a_report_names_of_what_is_there():
    """13 findings in a row of counts, right, too many, missed: of the two rare ones 1 of 3 is named."""
    counts = np.zeros((2, 39))
    edema, fracture = (study_plan("rare_findings").groups["rare"].index(n) for n in ("Edema", "Fracture"))
    assert edema != fracture
    from rrg_lib.data.study import DRAWN_FINDINGS

    at = [DRAWN_FINDINGS.index(name) for name in ("Edema", "Fracture")]
    counts[0, at[0]] = 1  # named
    counts[0, 26 + at[1]] = counts[1, 26 + at[0]] = 1  # missed
    counts[1, 13 + at[1]] = 1  # too many: no matter for recall
    counts[1, 26 + DRAWN_FINDINGS.index("Opacity")] = 1  # of another group

    class Kept:
        terms = {FINDING_F1_MACRO: Additive(counts, macro_f1_of_counts)}  # noqa: RUF012

    found = study_terms(Kept(), "recall of rare findings", {"rare": ("Edema", "Fracture")})
    assert found.value() == pytest.approx(1 / 3)


def test_features_are_computed_on_as_many_threads_as_there_will_be_jobs(monkeypatch, tmp_path):
    """Before the runs, when nothing else computes; each run then has one thread."""
    seen = []

    class Made:
        @property
        def inputs(self):
            seen.append(torch.get_num_threads())
            raise KeyboardInterrupt

    monkeypatch.setattr(study_runs, "opened_run", lambda *_, **__: Made())
    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        run_study(replace(study_plan("orders"), name="not_run"), tmp_path, jobs=2, progress=False)
    assert seen == [2] and torch.get_num_threads() == before
