"""Replication as one command: planned before it is begun, gone on with wherever it was killed, reported a paper."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import trees
from places import ROOT
from small_runs import tiny
from typer.testing import CliRunner

from rrg_lib.cli import app
from rrg_lib.data.prepare import prepare
from rrg_lib.errors import ConfigurationError, DataRootError, RRGError, StorageError, UnknownNameError
from rrg_lib.evaluation import evaluate
from rrg_lib.evaluation.nlg import MeteorError, nlg_scores
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.presets import PRESETS
from rrg_lib.experiments.results import results_in
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.tuning import Grid
from rrg_lib.replication.replication_plan import (
    missing_replications,
    open_failures,
    replicable_systems,
    replication_plan,
    train_and_store,
)
from rrg_lib.replication.replication_report import NOT_A_REPLICATION, TIMES_HEADING, drawn_reports, run_reports
from rrg_lib.replication.study_runs import training_folder
from rrg_lib.replication.verdicts import Verdict

#: The command with a profile of its own: the published setting's parts at a size that trains in seconds.
TINY = """
from rrg_lib.experiments.presets import PROFILES, ExtractorConfig, Profile
PROFILES["gpu-tiny"] = Profile(
    "gpu-tiny",
    ExtractorConfig("small", None, frozen=True),
    {"d_model": 16, "d_ff": 16, "heads": 2, "layers": 1},
    {"slots": 8, "top_k": 2},
    {"epochs": 6, "batch_size": 4},
    {"max_length": 8},
)
from rrg_lib.cli import main
main()
"""
SYSTEMS, SEEDS = ("base", "cmn"), (1, 2)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return trees.r2gen(tmp_path_factory.mktemp("r2gen"), trees.picked())


def begun(home: Path, tree: Path) -> subprocess.Popen:
    """The whole command in a workspace of its own."""
    arguments = ["replicate", "iu_xray", "--data-root", str(tree), "--profile", "gpu-tiny", "--no-meteor", "--quiet"]
    arguments += [part for name in SYSTEMS for part in ("--system", name)]
    arguments += [part for seed in SEEDS for part in ("--seed", str(seed))]
    environment = {**os.environ, "RRG_HOME": str(home), "PYTHONPATH": str(ROOT), "RRG_DEVICE": "cpu"}
    return subprocess.Popen([sys.executable, "-c", TINY, *arguments], env=environment)


def timeless(home: Path) -> dict[str, object]:
    """Every file of the replication as it is on every day: reports without their last part, figures, the ledger."""
    folder, found = home / "replications" / "iu_xray-gpu-tiny", {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".md", ".html") and path.parent == folder:
            before, last, _ = path.read_text(encoding="utf-8").partition(TIMES_HEADING)
            assert last, f"{name} has no part on machine and hours"
            found[name] = before
        elif path.suffix == ".json" and path.parent == folder:
            found[name] = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k != "times"}
        elif path.suffix in (".png", ".csv") or path.name == "ledger.md":
            found[name] = path.read_bytes()
    return found


@pytest.mark.slow(minutes=4)
def test_a_replication_killed_in_its_third_run_goes_on_to_the_same_reports(tree, tmp_path):
    """Two systems, two seeds: SIGKILL in the middle of the third training, then the same command once more."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert begun(whole, tree).wait() == 0
    process = begun(killed, tree)
    while process.poll() is None and len(list((killed / "studies" / "runs").glob("*/last.safetensors"))) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was to be killed in the middle, and it ended"
    marks = killed / "replications" / "iu_xray-gpu-tiny" / "runs"
    before = {path: path.read_bytes() for path in marks.glob("*.json")}
    assert len(before) == 2
    assert begun(killed, tree).wait() == 0
    assert {path: path.read_bytes() for path in before} == before, "what was done is not done again"
    assert len(list(marks.glob("*.json"))) == len(SYSTEMS) * len(SEEDS)
    one, other = timeless(whole), timeless(killed)
    assert one.keys() == other.keys() and {name for name in one if name.endswith(".html")}
    for name, text in one.items():
        assert other[name] == text, f"{name} is another after the interruption"
    report = next(text for name, text in one.items() if name.startswith("r2gencmn") and name.endswith(".md"))
    assert "Not a replication. The profile gpu-tiny" in report
    for heading in ("Scope of claims", "What was run", "Results", "Verdict of each claim", "What was easy", "hard"):
        assert heading in report
    values = next(data for name, data in one.items() if name.startswith("r2gencmn") and name.endswith(".json"))[
        "values"
    ]
    ours = {(value["system"], value["metric"]): value["ours"] for value in values}
    assert ours["CMN", "BLEU-1"] and ours["BASE", "ROUGE-L"] and not ours["BASE+MEM", "BLEU-1"]
    claims = next(data for name, data in one.items() if name.startswith("r2gencmn") and name.endswith(".json"))[
        "claims"
    ]
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    assert verdicts["cmn-cmn-base-iu"] == verdicts["cmn-mem-base-iu"] == "not run"  # no METEOR, and no mem
    assert set(verdicts.values()) <= {"reproduced", "not reproduced", "undecided", "not run"}


def test_a_run_whose_meteor_failed_stays_open_and_is_scored_by_the_next_call(tmp_path, monkeypatch):
    """Else one Java that did not answer in time would cost a finished run its METEOR for good."""
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    studies = prepare("phantom", count=40, out=tmp_path / "phantom", workers=1, progress=False)
    monkeypatch.setattr(run_module, "prepared", lambda *a, **k: studies)
    monkeypatch.setattr(
        "rrg_lib.replication.replication_plan.opened_run",
        lambda run, data_root: Run.of(tiny("base"), folder=training_folder(run), progress=False),
    )

    def scored(wanted, got, *, metrics):
        """METEOR stood in for by ROUGE-L, so that no Java is needed."""
        scores = nlg_scores(wanted, got, metrics=[metric for metric in metrics if metric != "METEOR"])
        if "METEOR" not in metrics:
            return scores
        if times_out:
            raise MeteorError("METEOR's Java process did not answer in 60 s", scores)
        return replace(scores, additive={**scores.additive, "METEOR": scores.additive["ROUGE-L"]})

    for module, name, value in (
        (run_module, "require_java", lambda: None),
        (evaluate, "require_java", lambda: None),
        (evaluate, "warm_up", lambda: None),
        (evaluate, "nlg_scores", scored),
    ):
        monkeypatch.setattr(module, name, value)
    plan = replace(
        replication_plan("iu_xray", ["base"], [1]),
        grid=Grid(beam_sizes=(1,), end_biases=(0.0,), alphas=(0.0,), block_ngrams=(0,)),
    )

    times_out = True
    assert train_and_store(plan, list(plan.runs()), plan.marks, None) == []
    ((run,),) = missing_replications(plan)
    (said,) = open_failures(plan)[run.name]
    assert said.startswith("JavaError: ") and "METEOR of phantom/base was asked for and failed" in said
    assert "did not answer in 60 s" in said and "evaluate again" in said
    assert results_in(plan.results) == [], "nothing that looks finished is left"

    times_out = False
    assert train_and_store(plan, [run], plan.marks, None) == [run.name]
    assert missing_replications(plan) == [] and open_failures(plan) == {}
    kept = results_in(plan.results)
    assert {result.protocol for result in kept} == {"published", "tuned"}
    assert all("METEOR" in result.evaluation.scores for result in kept)
    without = replace(plan, meteor=False)
    times_out = True
    assert train_and_store(without, [run], without.marks, None) == [run.name], "left out on purpose is no failure"


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_names_every_system_that_the_tables_print_in_their_own_protocol():
    systems = replicable_systems("iu_xray")
    assert {"base", "mem", "cmn", "xpronet", "xpronet_wo_pi", "cmn_pair", "r2gen"} <= set(systems)
    assert not {"st", "att2in", "adaatt", "coatt"} & set(systems)  # printed on a split and text that are not told
    assert {"st", "topdown", "mcsam"} <= set(replicable_systems("mimic_cxr"))
    assert all(name in PRESETS for name in systems)


def test_a_replication_of_mimic_cxr_is_set_as_the_releases_set_it():
    plan = replication_plan("mimic_cxr", ["cmn", "xpronet"], [1])
    for run in plan.runs():
        e = run.experiment
        assert (e.training.epochs, e.generator.max_length, e.decoding.max_length) == (30, 100, 100)
    assert replication_plan("iu_xray", ["cmn"], [1]).runs()[0].experiment.training.epochs == 100


def test_systems_and_seeds_may_be_added_and_leaving_meteor_out_is_another_question():
    few, more = replication_plan("iu_xray", ["cmn"], [1]), replication_plan("iu_xray", ["cmn", "base"], [1, 2])
    assert few.question_hash == more.question_hash and few.folder == more.folder
    assert {r.name: r.hash for r in few.runs()}.items() <= {r.name: r.hash for r in more.runs()}.items()
    assert replication_plan("iu_xray", ["cmn"], [1], meteor=False).question_hash != few.question_hash


# --- what is refused before anything starts ---------------------------------------------------------------------------


def refused(*arguments: str) -> RRGError:
    found = CliRunner().invoke(app, ["replicate", *arguments])
    assert isinstance(found.exception, RRGError), found.output
    return found.exception


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A workspace of its own, and no hours counted: that takes a while, and is not what is asked here."""
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    monkeypatch.delenv("RRG_DEVICE", raising=False)
    monkeypatch.setattr("rrg_lib.cli.replicate._hours", lambda plan: {"A100, 40 GB": 12.0})
    yield tmp_path
    assert not (tmp_path / "replications").exists() and not (tmp_path / "prepared").exists()


def test_bad_input_is_refused_before_anything_starts(counted):
    assert isinstance(error := refused("iu_xray"), DataRootError)
    assert "--data-root FOLDER" in str(error) and "--dry-run" in str(error)
    assert isinstance(error := refused("iu_xray", "--data-root", str(counted / "no")), DataRootError)
    assert "is no folder" in str(error)
    assert isinstance(error := refused("iu_xray", "--system", "cmm"), UnknownNameError)
    assert str(error).startswith("unknown system 'cmm'; nearest: ") and "cmn" in str(error)
    assert isinstance(error := refused("iu_phantom"), UnknownNameError)
    assert "--stored" in str(error)
    assert "given twice" in str(refused("iu_xray", "--seed", "0", "--seed", "0"))
    assert "below 0" in str(refused("iu_xray", "--seed", "-1"))
    assert "unknown profile" in str(refused("iu_xray", "--profile", "gpo"))
    assert "reads no images" in str(refused("iu_phantom", "--stored", "--dry-run"))
    assert "--system, --seed: --stored" in str(refused("iu_phantom", "--stored", "--system", "cmn", "--seed", "1"))
    assert "not of iu_xray" in str(refused("iu_xray", "--stored"))


def test_without_a_gpu_it_says_what_it_would_take_and_how_to_go_on(counted, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = CliRunner().invoke(app, ["replicate", "iu_xray", "--data-root", str(counted), "--system", "cmn"])
    assert isinstance(found.exception, ConfigurationError)
    assert "RRG_DEVICE=cpu" in str(found.exception) and "Nothing was started" in str(found.exception)
    assert "12.0" in found.output and "3 of 3 runs are missing" in found.output


def test_a_disk_that_is_too_small_is_refused_with_what_it_would_need(counted, monkeypatch):
    usage = namedtuple("usage", ("total", "used", "free"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2e9, 1e9, 1e9))
    assert isinstance(error := refused("iu_xray", "--data-root", str(counted), "--system", "cmn"), StorageError)
    assert "1.0 GB free" in str(error) and "RRG_HOME" in str(error)


def test_a_dry_run_needs_no_images_and_makes_nothing(counted):
    found = CliRunner().invoke(app, ["replicate", "iu_xray", "--dry-run", "--system", "cmn", "--seed", "3"])
    assert found.exit_code == 0, found.output
    assert "1 of 1 runs are missing" in found.output and "disk: about" in found.output


# --- the reports ------------------------------------------------------------------------------------------------------


def test_before_anything_ran_every_claim_on_the_papers_data_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    reports = run_reports(replication_plan("iu_xray", ["cmn"], [1]), [])
    assert {r.paper.partition(" ")[0] for r in reports} >= {"R2GenCMN", "XProNet", "Student"}
    for report in reports:
        orders = [d.verdict for row, d in report.claims if row.claim.kind == "order"]
        assert set(orders) == {Verdict.NOT_RUN}
        assert report.missing == ["iu_xray-cmn-seed1"]
        assert "IU-Phantom" not in "".join(d.why for row, d in report.claims if row.claim.kind == "order")


def test_a_report_on_drawn_studies_says_at_its_head_that_it_is_no_replication(monkeypatch):
    from rrg_lib.experiments.results import stored_results

    reports = drawn_reports(
        [r for r in stored_results("laptop", "iu_phantom", "tuned") if r.experiment.preset in SYSTEMS]
    )
    assert reports
    for report in reports:
        heading, banner, *_ = report.parts()
        assert "iu_phantom" in heading.text and banner.text == NOT_A_REPLICATION and banner.bold
        assert Verdict.NOT_REPRODUCED not in {d.verdict for r, d in report.claims if r.claim.kind == "order"}
        assert [part.text for part in report.parts() if getattr(part, "level", 0) == 2][-1] == TIMES_HEADING
