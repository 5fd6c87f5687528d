"""A run from prepared studies to scores, as the commands do it, on forty sampled studies and a tiny generator."""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from places import ROOT
from safetensors.torch import save_file
from small_runs import tiny

from rrg_lib.data.study import DRAWN_FINDINGS
from rrg_lib.errors import (
    CheckpointError,
    ConfigurationError,
    DataRootError,
    ImageError,
    JavaError,
    OutOfMemoryError,
    ReportError,
    StorageError,
)
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.evaluation.resampling import interval
from rrg_lib.experiments import results
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.reports import load_reports
from rrg_lib.experiments.results import results_table, store_result, stored_results
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.run_folders import RunFolder, run_folder
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.finding_extractor import FindingExtractor
from rrg_lib.runtime import package_data
from rrg_lib.runtime.checkpoint import load_tensors
from rrg_lib.runtime.workspace import locked

pytestmark = pytest.mark.usefixtures("in_this_home")


def test_a_run_folder_holds_what_it_takes_to_repeat_it(trained):
    names = {path.name for path in trained.folder.iterdir()}
    assert {"experiment.json", "vocabulary.json", "last.safetensors", "best.safetensors", "history.json"} <= names
    described = json.loads((trained.folder / "experiment.json").read_text())
    assert described["experiment"] == trained.experiment.to_json()
    assert described["identity"]["vocabulary"] == trained.dataset.vocabulary.hash
    assert described["identity"]["dataset"] == trained.dataset.hash


def test_a_finished_run_returns_at_once_and_unchanged(trained):
    before = (trained.folder / "last.safetensors").read_bytes()
    assert len(trained.train().history) == 2
    assert (trained.folder / "last.safetensors").read_bytes() == before


def test_evaluation_keeps_scores_with_their_provenance(trained):
    evaluation = trained.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)
    kept = json.loads((trained.folder / "scores-test.json").read_text())
    assert kept["rows"][0]["parts"]["all"]["scores"]["BLEU-4"] == evaluation.scores["BLEU-4"]
    assert kept["run"]["checkpoint"]["chosen_on"] == "val"
    assert kept["provenance"]["vocabulary"] == trained.dataset.vocabulary.hash
    with open(trained.folder / "reports-test.csv", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [
            trained.dataset.ids[i] for i in trained.dataset.split_indices("test")
        ]


def test_given_reports_are_scored_and_leave_the_runs_own_scores_alone(trained):
    trained.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)
    before = (trained.folder / "scores-test.json").read_bytes()
    references = {trained.dataset.ids[i]: trained.dataset.reference(i) for i in trained.dataset.split_indices("test")}
    assert trained.evaluate("test", metrics=WITHOUT_JAVA, baselines=False, reports=references).scores[
        "BLEU-4"
    ] == pytest.approx(1.0)
    assert (trained.folder / "scores-test.json").read_bytes() == before
    with pytest.raises(ReportError, match="missing"):
        trained.evaluate("test", metrics=WITHOUT_JAVA, baselines=False, reports=dict(list(references.items())[1:]))


def test_a_kept_result_is_a_row_above_the_baselines_of_the_same_studies(trained, tmp_path, monkeypatch):
    command = re.escape(trained.command_here)
    advice = rf"no scores of val yet; run: rrg evaluate {command} --split val --decoding greedy$"
    with pytest.raises(ConfigurationError, match=advice):
        store_result(trained, tmp_path, "greedy", "val")
    evaluation = trained.evaluate("test", metrics=WITHOUT_JAVA)
    path = store_result(trained, tmp_path, "greedy")
    assert {kept.name for kept in tmp_path.iterdir()} == {path.name, "baselines-phantom.json"}
    monkeypatch.setattr(
        package_data,
        "records",
        lambda folder: {kept.stem: json.loads(kept.read_text()) for kept in tmp_path.glob("*.json")},
    )
    assert stored_results("gpu") == [] == stored_results(dataset="iu_phantom")
    [result] = stored_results("ci", "phantom")
    assert (
        result.name.removesuffix("-greedy") == run_folder(trained.experiment).name != "phantom-cmn-ci-seed7580"
    )  # its settings are not the preset's
    assert (result.protocol, result.weights) == ("greedy", run_folder(trained.experiment).name)
    written = dict(load_reports(trained.folder / "reports-test.csv"))
    assert result.reports(trained.dataset.vocabulary) == written, "the stored numbers of words are the reports"
    for score, value in evaluation.scores.items():
        assert result.terms[score].value() == pytest.approx(value, rel=1e-6, nan_ok=True), (
            f"{score} is the score of the stored terms"
        )
    assert result.length_ratio == pytest.approx(
        evaluation.terms["BLEU-4"].terms[:, 0].sum() / evaluation.terms["BLEU-4"].terms[:, 1].sum()
    )
    assert (result.experiment, result.evaluation.scores) == (trained.experiment, evaluation.scores)
    assert len(result.history) == 2 and result.best_epoch in (1, 2) and result.minutes > 0
    shown = results_table([result])
    assert list(shown.index.str.partition(":").get_level_values(0)) == [result.system, "a1", "b", "c"]
    assert result.system.startswith(
        "phantom/cmn, ci, settings "
    )  # and so `summary`, which is of the presets as they are, leaves it out
    assert results.summary(["cmn"], "ci", "phantom").empty and results.summary([], "gpu").empty
    assert shown["BLEU-1"].iloc[0] == f"{evaluation.scores['BLEU-1']:.3f}" and shown["METEOR"].iloc[0] == "–"
    other = replace(
        result, evaluation=replace(evaluation, provenance={**evaluation.provenance, "vocabulary": "another"})
    )
    with pytest.raises(ConfigurationError, match="not measured alike"):
        results_table([result, other])


def test_seeds_of_one_system_share_a_row(trained, tmp_path, monkeypatch):
    trained.evaluate("test", metrics=WITHOUT_JAVA)
    store_result(trained, tmp_path, "greedy")
    monkeypatch.setattr(
        package_data,
        "records",
        lambda folder: {kept.stem: json.loads(kept.read_text()) for kept in tmp_path.glob("*.json")},
    )
    [one] = stored_results()
    row = one.evaluation.rows[0]
    part = row.parts["all"]
    better = replace(
        row, parts={**row.parts, "all": replace(part, scores={**part.scores, "BLEU-4": part.scores["BLEU-4"] + 0.2})}
    )
    seeded = replace(one.experiment, training=replace(one.experiment.training, seed=1))
    other = replace(one, experiment=seeded, evaluation=replace(one.evaluation, rows=(better, *one.evaluation.rows[1:])))
    shown = results_table([one, other]).iloc[0]
    low, high = interval([one.terms["BLEU-4"], other.terms["BLEU-4"]])
    assert shown["seeds"] == "2" and shown["BLEU-4"] == f"{part.scores['BLEU-4'] + 0.1:.3f} [{low:.3f}, {high:.3f}]"
    without = [replace(each, evaluation=replace(each.evaluation, terms={})) for each in (one, other)]
    assert results_table(without).iloc[0]["BLEU-4"] == f"{part.scores['BLEU-4'] + 0.1:.3f}", (
        "the mean's interval needs the terms of each seed"
    )
    redrawn = replace(
        one, provenance={**one.provenance, "identity": {**one.provenance["identity"], "dataset": "another drawing"}}
    )
    with pytest.raises(ConfigurationError, match="not measured alike"):
        results_table([one, redrawn])


def test_a_report_for_a_study_equals_the_one_written_with_its_split(trained):
    i = trained.dataset.split_indices("test")[0]
    assert trained.system.report_of_views(trained.dataset.views(i)) == trained.write("test")[trained.dataset.ids[i]]


def test_image_files_get_a_report_and_bad_ones_a_name(trained, tmp_path):
    picture, wrong = tmp_path / "frontal.png", tmp_path / "page.png"
    Image.fromarray(np.array(trained.dataset.views(0)[0])).save(picture)
    wrong.write_text("<html>not found</html>")
    assert isinstance(trained.system.report_of_images([picture]), str)
    assert isinstance(trained.system.report_of_images([picture, picture]), str)
    with pytest.raises(ImageError, match=r"page\.png"):
        trained.system.report_of_images([picture, wrong])
    with pytest.raises(ConfigurationError, match=r"3 images.*1 to 2 views"):
        trained.system.report_of_images([picture] * 3)


def test_a_run_opens_from_its_folder_alone(trained):
    again = Run.open(trained.folder, progress=False)
    assert again.experiment == trained.experiment
    assert again.write("val") == trained.write("val")


def test_a_folder_that_is_no_run_says_what_to_do(tmp_path):
    with pytest.raises(DataRootError, match=r"no experiment\.json.*rrg train"):
        Run.open(tmp_path)


def test_a_run_that_was_not_trained_says_the_command():
    with pytest.raises(CheckpointError, match="rrg train phantom/base"):
        Run.of(tiny("base"), trained=True, progress=False)


@pytest.mark.parametrize("apart", [False, True])
def test_the_command_that_it_says_trains_this_run(tmp_path, apart):
    """Its seed, its settings, and its folder where that is another than its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    for option, how in (("--profile", {}), ("--seed", {"type": int}), ("--run", {}), ("--set", {"action": "append"})):
        parser.add_argument(option, **how)
    wanted = tiny("cmn", "training.seed=3", "extractor.weights=my extractor.safetensors")
    folder = tmp_path / "my run" if apart else run_folder(wanted)
    with pytest.raises(CheckpointError) as told:
        RunFolder(folder, wanted).check_trained()
    program, command, *arguments = shlex.split(str(told.value).partition("Run: ")[2])
    given = parser.parse_args(arguments)
    assert (program, command, given.run) == ("rrg", "train", str(folder) if apart else None)
    assert experiment(given.name, given.profile, given.set, given.seed) == wanted


@pytest.mark.parametrize("entry", ["vocabulary", "preset", "extractor"])
def test_a_checkpoint_of_something_else_is_refused(trained, monkeypatch, entry):
    other = {**trained.identity, entry: "another"}
    monkeypatch.setattr(Run, "identity", property(lambda self: other))
    with pytest.raises(CheckpointError, match=f"made with another {entry}.*'another' is wanted"):
        trained.generator()


def test_training_leaves_the_folder_of_another_run_as_it_is(trained, monkeypatch):
    before = {path.name: path.read_bytes() for path in trained.folder.iterdir()}
    other = {**trained.identity, "dataset": "another"}
    monkeypatch.setattr(Run, "identity", property(lambda self: other))
    with pytest.raises(CheckpointError, match=r"last\.safetensors was made with another dataset"):
        trained.train()
    assert {path.name: path.read_bytes() for path in trained.folder.iterdir()} == before


def test_overrides_get_a_folder_of_their_own():
    assert run_folder(experiment("phantom/cmn")).name == "phantom-cmn-ci-seed7580"
    assert run_folder(tiny()).name != run_folder(tiny("cmn", "training.lr=1e-4")).name


def test_training_needs_no_java_and_an_evaluation_asks_for_it_before_it_writes(monkeypatch, tmp_path):
    def none():
        raise JavaError("no Java works here")

    monkeypatch.setattr("rrg_lib.evaluation.meteor.require_java", none)
    monkeypatch.setattr(run_module, "require_java", none)
    run = Run.of(tiny("base", "training.epochs=1"), folder=tmp_path / "run", progress=False)
    assert len(run.train().history) == 1
    with pytest.raises(JavaError, match="no Java works here"):
        run.evaluate("test")
    assert not (run.folder / "reports-test.csv").exists()


@pytest.mark.parametrize(
    ("text", "found"),
    [("study,text\na,b\n", "has no column 'id' and no 'report'"), ("", "is empty")],
)
def test_a_reports_file_with_other_columns_is_named(tmp_path, text, found):
    path = tmp_path / "reports.csv"
    path.write_text(text)
    with pytest.raises(
        ReportError, match=rf"reports\.csv: {found}.*[Ee]xpected a (CSV|header) with the columns id(,| and) report"
    ):
        load_reports(path)


def test_every_twin_has_the_settings_and_the_seed_of_a_stored_result():
    by_name = {result.name: result for result in results.stored_results()}
    twins = results.twins()
    assert len(twins) >= 7
    for twin in twins:
        own = by_name[re.sub(r"-(h100|cpu)(-again\d*)?$", "", twin.name)]
        assert own.experiment == twin.experiment
        assert own.evaluation.provenance["studies"] == twin.evaluation.provenance["studies"]


def test_stored_results_of_one_protocol_were_trained_on_one_kind_of_device():
    for protocol in {result.protocol for result in results.stored_results()}:
        assert len({result.device for result in results.stored_results(protocol=protocol)}) == 1, protocol


def test_another_vocabulary_or_a_result_without_reports_is_refused(trained):
    new = [result for result in results.stored_results() if not result.of_edition_0_1]
    with pytest.raises(ConfigurationError, match=r"are numbers of the vocabulary \w+, not of"):
        new[0].reports(trained.dataset.vocabulary)
    old = next(result for result in results.stored_results() if result.of_edition_0_1)
    with pytest.raises(ConfigurationError, match="which kept no reports"):
        old.reports(trained.dataset.vocabulary)


def test_the_extractor_that_stored_results_see_through_comes_with_the_package(tmp_path, monkeypatch):
    """IU-Phantom's laptop extractor is found by its recipe and its data; nothing is trained, and no other dataset gets
    it."""
    [path] = (ROOT / "data" / "extractors").glob("*.safetensors")
    kept = FindingExtractor.load(path)
    stored_with = {
        r.provenance["identity"]["extractor"]
        for r in results.stored_results("laptop", "iu_phantom")
        if not r.of_edition_0_1
    }
    assert stored_with == {VisualExtractor("small", weights=str(path), frozen=True).hash}
    assert kept.findings == DRAWN_FINDINGS
    assert package_data.extractor("small-laptop-of-another-dataset.safetensors") is None
    assert package_data.extractor(path.name) == path.read_bytes()


def test_a_folder_in_which_a_training_is_under_way_is_refused_to_a_second_one(tmp_path):
    run = Run.of(tiny("base"), folder=tmp_path / "run", progress=False)
    with locked(run.folder), pytest.raises(StorageError, match=r"run is in use.*or choose another folder \(--run"):
        run.train(wait=False)
    assert not (run.folder / "last.safetensors").exists()


def test_a_disk_that_fills_while_training_keeps_the_state_of_before_and_goes_on_to_the_same_weights(
    tmp_path, monkeypatch
):
    """A whole training, and one that had no room for its third checkpoint."""
    whole = Run.of(tiny("base", "training.epochs=3"), folder=tmp_path / "whole", progress=False)
    whole.train()
    cut, saved = Run.of(tiny("base", "training.epochs=3"), folder=tmp_path / "cut", progress=False), []

    def filling(*arguments, **options):
        saved.append(arguments)
        if len(saved) > 2:
            raise OSError(28, "No space left on device")
        return save_file(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"safetensors: No space left.*run again"):
        patch.setattr("rrg_lib.runtime.checkpoint.save_file", filling)
        cut.train()
    assert not list(cut.folder.glob("*.part"))
    assert load_tensors(cut.folder / "last.safetensors")[1]["progress"]["epoch"] == 1
    cut.train()
    for name in ("best", "last"):
        found, expected = (load_tensors(run.folder / f"{name}.safetensors")[0] for run in (cut, whole))
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_more_slots_than_any_machine_holds_are_told_with_the_bytes_they_would_need(tmp_path):
    run = Run.of(tiny("cmn", "memory.slots=10000000000"), folder=tmp_path / "run", progress=False)
    with pytest.raises(OutOfMemoryError, match=r"memory\.slots.*need less.*640000000000 bytes"):
        run.train()
