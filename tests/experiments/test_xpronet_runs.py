"""XProNet in a run: its prototypes made before training and never again, and which labels reach it when a report is to
be written."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import CONFIG, D_VF, ToyDataset

from rrg_lib.cli.options import named_decoding
from rrg_lib.data.prepare import prepare
from rrg_lib.errors import CheckpointError, ConfigurationError, UnknownNameError
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.experiments import reports
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.results import store_result, stored_results
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.run_folders import run_folder
from rrg_lib.experiments.trained_system import TrainedSystem
from rrg_lib.models.batches import TrainingStudies
from rrg_lib.models.decoding import generate
from rrg_lib.models.memory import XProNetConfig
from rrg_lib.models.memory.prototypes import Prototypes
from rrg_lib.models.visual.finding_extractor import FindingExtractor
from rrg_lib.runtime import package_data


def memory(**settings):
    torch.manual_seed(0)
    return XProNetConfig(
        prototypes=6, gamma=5, image_dim=settings.pop("image_dim", D_VF), text_dim=7, **settings
    ).build(CONFIG.d_model, CONFIG.heads)


# --- before training --------------------------------------------------------------------------------------------------


class WithReports(ToyDataset):
    def __init__(self):
        super().__init__()
        self.observations[np.arange(40), np.arange(40) % 13 + 1] = 1

    def cleaned(self, i: int) -> str:
        return " ".join(f"w{token}" for token in self.tokens(i))


class Mirror(torch.nn.Module):
    """Stands for a frozen extractor: patches (b, S, d_vf) from the left half of each view."""

    frozen, name, hash = False, "mirror", "0"

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, views):
        found = views[..., : views.shape[-1] // 2].float().flatten(2).mean(-1)  # (b, V)
        return type("Features", (), {"patches": found[..., None].expand(-1, -1, D_VF)})


@pytest.fixture
def training(tmp_path):
    data = WithReports()
    data.views = lambda i: np.full((2, 4, 4), i, np.uint8)
    return TrainingStudies(data.batches(), Mirror(), folder=tmp_path)


def test_prepare_fills_the_bank_and_keeps_what_it_was(training, tmp_path):
    before = memory().prototypes.detach().clone()
    for recipe in ("released", "kmeans"):
        module = memory(initialise=recipe)
        module.prepare(training)
        assert not torch.equal(module.prototypes, before)
        kept = Prototypes.load(tmp_path / "prototypes.safetensors")
        assert torch.equal(torch.from_numpy(kept.vectors).flatten(0, 1), module.prototypes)
        assert kept.description["recipe"] == recipe
    module = memory(initialise="random")
    module.prepare(training)
    assert torch.equal(module.prototypes, before)


def test_prototypes_of_another_width_say_which_setting(training):
    with pytest.raises(ConfigurationError, match=f"{D_VF} image and 7 text numbers.*image_dim=99"):
        memory(image_dim=99).prepare(training)


# --- in a run ---------------------------------------------------------------------------------------------------------

TINY = [
    "generator.d_model=16",
    "generator.d_ff=16",
    "generator.heads=2",
    "generator.layers=1",
    "training.epochs=1",
    "extractor.weights=null",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    studies = prepare("phantom", count=40, out=home / "phantom", workers=1, progress=False)
    torch.manual_seed(5)
    FindingExtractor().save(home / "findings.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRG_HOME", str(home))
        patch.setattr(run_module, "prepared", lambda *a, **k: studies)
        patch.setattr(run_module, "finding_weights", lambda *a, **k: home / "findings.safetensors")
        made = Run.of(experiment("phantom/xpronet", "ci", [*TINY, "memory.text_dim=8"]), progress=False)
        made.train()
        yield made


@pytest.fixture
def told(monkeypatch):
    """What labels each call of `generate` is given, batch by batch."""
    calls = []
    monkeypatch.setattr(
        reports, "generate", lambda g, x, labels=None, *rest: calls.append(labels) or generate(g, x, labels, *rest)
    )
    return calls


def test_prototypes_are_made_before_training_and_never_again(run, monkeypatch):
    calls = []
    kind = type(run.new_generator(prepared=False).memory)
    monkeypatch.setattr(kind, "prepare", lambda self, training: calls.append(training.indices))
    run.train()  # finished: comes back from its checkpoint
    run.generator()
    assert calls == []
    run.new_generator()
    assert calls == [run.dataset.split_indices("train")]


def test_the_bank_of_a_checkpoint_is_the_trained_one(run):
    initial = torch.from_numpy(Prototypes.load(run.folder / "prototypes.safetensors").vectors).flatten(0, 1)
    torch.testing.assert_close(run.new_generator().memory.prototypes, initial)
    assert (run.generator().memory.prototypes - initial).abs().max() > 1e-5


@pytest.mark.parametrize("how", ["classifier", "none", "reference"])
def test_a_report_is_written_with_the_labels_asked_for(run, told, how):
    indices = run.dataset.split_indices("test")
    run.write("test", decoding=replace(run.experiment.decoding, labels_at_test=how))
    if how == "none":
        assert set(told) == {None}
        return
    given = torch.cat(told).numpy()
    assert given.shape == (len(indices), 14)
    reference = run.dataset.observations[indices]
    assert (given == reference).all() == (how == "reference")


def test_the_default_never_passes_what_the_reference_says(run, told):
    run.write("test")
    assert run.experiment.decoding.labels_at_test == "classifier"
    expected = run.labels.at_test(run.dataset.split_indices("test"), "classifier")
    np.testing.assert_array_equal(torch.cat(told).numpy(), expected)


def test_other_labels_are_other_files_of_the_same_weights(run, monkeypatch):
    decoding = replace(run.experiment.decoding, labels_at_test="reference")
    before = run.write("test")
    evaluation = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False, decoding=decoding)
    assert evaluation.rows[0].name == "phantom/xpronet (labels: reference)"
    kept = json.loads((run.folder / "scores-test-labels-reference.json").read_text())
    assert kept["run"]["decoding"]["labels_at_test"] == "reference"
    assert (run.folder / "reports-test-labels-reference.csv").exists()
    with open(run.folder / "reports-test.csv", newline="") as file:
        assert {row["id"]: row["report"] for row in csv.DictReader(file)} == before
    path = store_result(run, run.folder / "kept", "greedy", labels="reference")
    assert path.stem == f"{run_folder(run.experiment).name}-greedy-labels-reference"
    monkeypatch.setattr(package_data, "records", lambda folder: {path.stem: json.loads(path.read_text())})
    [result] = stored_results()
    assert result.labels_at_test == "reference" and result.system.endswith(", labels: reference")


def test_one_study_gets_the_report_of_its_split(run):
    i = run.dataset.split_indices("test")[0]
    for how in ("classifier", "none"):
        decoding = replace(run.experiment.decoding, labels_at_test=how)
        assert (
            run.system.report_of_views(run.dataset.views(i), decoding=decoding)
            == run.write("test", decoding=decoding)[run.dataset.ids[i]]
        )
    with pytest.raises(ConfigurationError, match="an image has no reference"):
        run.system.report_of_views(run.dataset.views(i), decoding=replace(decoding, labels_at_test="reference"))


def test_a_copied_folder_is_told_what_its_classifier_sees(run, tmp_path):
    """The extractor of this run has learnt nothing, so the folder keeps a classifier; and the prototypes, trained, are
    in the checkpoint."""
    files = (
        "experiment.json",
        "vocabulary.json",
        "extractor.safetensors",
        "classifier.safetensors",
        "best.safetensors",
    )
    for name in files:
        shutil.copy(run.folder / name, tmp_path / name)
    system = TrainedSystem.open(tmp_path)
    indices = run.dataset.split_indices("test")
    labels = run.labels.at_test(indices, "classifier")
    for i, row in zip(indices[:3], labels, strict=False):
        views = run.dataset.views(i)
        np.testing.assert_array_equal(system.labels_of_views(views, "classifier")[0], row)
        assert system.labels_of_views(views, "none") is None
        for source in ("classifier", "none"):
            decoding = replace(run.experiment.decoding, labels_at_test=source)
            assert system.report_of_views(views, decoding=decoding) == run.system.report_of_views(
                views, decoding=decoding
            )
        for source in ("reference", "reference_impression"):
            with pytest.raises(ConfigurationError, match="no reference to take labels from"):
                system.labels_of_views(views, source)
    (tmp_path / "classifier.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"classifier\.safetensors is not there; expected what judges images"):
        TrainedSystem.open(tmp_path).report_of_views(views)


def test_the_command_line_chooses_labels_only_where_they_are_heard(run):
    assert named_decoding(run, None) == run.experiment.decoding
    assert named_decoding(run, "none").labels_at_test == "none"
    with pytest.raises(
        UnknownNameError, match=r"unknown decoding\.labels_at_test 'truth'; known: classifier, none, reference"
    ):
        named_decoding(run, "truth")
    other = Run(run.folder, experiment("phantom/cmn"), run.dataset, run.extractor)
    with pytest.raises(ConfigurationError, match="--labels none: the memory of phantom/cmn is not gated"):
        named_decoding(other, "none")


def test_a_label_file_gates_training_and_belongs_to_the_checkpoint(run, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({study: [0, 0, 1] + [0] * 11 for study in run.dataset.ids}))
    what = replace(run.experiment, memory=replace(run.experiment.memory, label_source=str(path)))
    other = Run(tmp_path, what, run.dataset, run.extractor, progress=False)
    batch = other.batches("train").collate(run.dataset.split_indices("train")[:3])
    assert batch.labels.tolist() == [[0, 0, 1] + [0] * 11] * 3
    assert other.identity["labels"] != run.identity["labels"]
