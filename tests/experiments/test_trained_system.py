"""A run folder writes on a machine that has nothing else: the same reports, no dataset, nothing written; and a folder
that is not whole says which file is wrong, what was expected and what to do."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from command_line import rrg
from PIL import Image
from small_runs import TINY, tiny

from rrg_lib.data.prepared_dataset import PreparedDataset
from rrg_lib.errors import CheckpointError, ConfigurationError, DataRootError
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.extractors import keep_extractor, kept_classifier
from rrg_lib.experiments.presets import settings_given
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.trained_system import TrainedSystem
from rrg_lib.experiments.tuned_decoding import DECODING
from rrg_lib.experiments.tuning import Grid, tune
from rrg_lib.models.visual.extractor import VisualExtractor

NEEDED = ("experiment.json", "vocabulary.json", "extractor.safetensors", "best.safetensors")


@pytest.fixture
def studies_files(studies, tmp_path):
    """The views of three test studies as image files, by study id."""
    files = {}
    for i in studies.split_indices("test")[:3]:
        files[studies.ids[i]] = [tmp_path / f"{i}-{v}.png" for v in range(2)]
        for path, view in zip(files[studies.ids[i]], studies.views(i), strict=True):
            Image.fromarray(np.array(view)).save(path)
    return files


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another machine: an empty RRG_HOME, on which every way to a dataset fails the test."""
    home = tmp_path / "another machine"
    home.mkdir()
    monkeypatch.setenv("RRG_HOME", str(home))

    def refuse(*arguments, **options):
        pytest.fail("a dataset was asked for")

    monkeypatch.setattr(run_module, "prepared", refuse)
    monkeypatch.setattr("rrg_lib.data.prepare.prepare", refuse)
    monkeypatch.setattr(PreparedDataset, "__init__", refuse)
    return home


def copied(run: Run, folder, names=NEEDED):
    folder.mkdir()
    for name in names:
        shutil.copy(run.folder / name, folder / name)
    return folder


def test_a_copied_folder_writes_the_reports_of_the_run_and_nothing_else(
    trained, studies_files, tmp_path, elsewhere, monkeypatch, capsys
):
    folder = copied(trained, tmp_path / "copy")
    before = sorted(path.name for path in folder.iterdir())
    with monkeypatch.context() as patch:
        patch.undo()
        expected = trained.write("test")
    for study, (frontal, lateral) in studies_files.items():
        arguments = ("generate", str(folder), "--image", str(frontal), "--image", str(lateral))
        code, out, err = rrg(monkeypatch, capsys, *arguments)
        assert (code, out, err) == (0, f"{expected[study]}\n", "")
    assert list(elsewhere.iterdir()) == [] and sorted(path.name for path in folder.iterdir()) == before


def test_it_searches_as_was_chosen_for_its_weights(
    trained, in_this_home, studies_files, tmp_path, monkeypatch, capsys, request
):
    choice = tune(trained, Grid(beam_sizes=(1,), end_biases=(0.0,), alphas=(0.0,), block_ngrams=(2,)), progress=False)
    expected = {name: trained.write("test", decoding=trained.decoding(name)) for name in ("tuned", "greedy")}
    folder = copied(trained, tmp_path / "copy", (*NEEDED, DECODING))
    (trained.folder / DECODING).unlink()
    request.getfixturevalue("elsewhere")
    assert TrainedSystem.open(folder).tuned_decoding == choice
    for study, (frontal, lateral) in studies_files.items():
        assert expected["tuned"][study] != expected["greedy"][study]
        for protocol, more in (("tuned", ()), ("greedy", ("--decoding", "greedy"))):
            arguments = ("generate", str(folder), "--image", str(frontal), "--image", str(lateral), *more)
            assert rrg(monkeypatch, capsys, *arguments)[1] == f"{expected[protocol][study]}\n"


def test_a_preset_trained_here_needs_no_dataset_for_images_either(
    trained, studies_files, elsewhere, monkeypatch, capsys
):
    (image, _), *_ = studies_files.values()
    given = ("--run", str(trained.folder), "--image", str(image))
    code, _, err = rrg(monkeypatch, capsys, "generate", "phantom/cmn", *given)
    assert code == 2 and "is a run of phantom/cmn --profile ci" in err and "with other settings" in err
    settings = [word for setting in (*TINY, "memory.slots=8", "memory.top_k=2") for word in ("--set", setting)]
    code, out, _ = rrg(monkeypatch, capsys, "generate", "phantom/cmn", *settings, *given)
    assert code == 0 and out == f"{trained.system.report_of_images([image])}\n"


def test_an_extractor_that_learns_is_in_the_checkpoint(in_this_home, studies_files, tmp_path, request):
    run = Run.of(tiny("base", "training.epochs=1", "extractor.frozen=false"), progress=False)
    run.train()
    expected = run.write("test")
    folder = copied(run, tmp_path / "copy", ("experiment.json", "vocabulary.json", "best.safetensors"))
    request.getfixturevalue("elsewhere")
    system = TrainedSystem.open(folder)
    weight = next(iter(run.extractor.net.parameters()))
    assert not torch.equal(next(iter(system.extractor.net.parameters())), weight), "random before the checkpoint"
    for study, paths in studies_files.items():
        assert system.report_of_images(paths) == expected[study]
    torch.testing.assert_close(next(iter(system.extractor.net.parameters())), weight)


@pytest.mark.parametrize("option", [("--study", "a"), ("--split", "test")])
def test_what_needs_the_dataset_says_so(trained, tmp_path, elsewhere, monkeypatch, capsys, option):
    folder = copied(trained, tmp_path / "copy")
    code, _, err = rrg(monkeypatch, capsys, "generate", str(folder), *option)
    assert code == 2 and "need the dataset phantom, which a run folder does not hold; --image FILE needs none" in err
    settings = " ".join(f"--set {text}" for text in settings_given(trained.experiment))
    assert f"rrg generate phantom/cmn --profile ci --seed 7580 {settings} --run {folder}" in err


def test_a_run_folder_is_not_told_what_it_is(trained, tmp_path, elsewhere, monkeypatch, capsys):
    folder = copied(trained, tmp_path / "copy")
    code, _, err = rrg(monkeypatch, capsys, "generate", str(folder), "--image", "a.png", "--seed", "3")
    assert code == 2 and f"--seed: {folder} is a run folder and says itself what it is, phantom/cmn" in err
    code, _, err = rrg(monkeypatch, capsys, "generate", str(folder), "--image", "a.png", "--labels", "none")
    assert code == 2 and "not gated by labels" in err
    code, _, err = rrg(monkeypatch, capsys, "generate", str(tmp_path), "--image", "a.png")
    assert code == 2 and f"{tmp_path} is no run folder: it has no experiment.json" in err


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("experiment.json", DataRootError, "is no run folder: it has no experiment.json. Train one with: rrg train"),
        ("vocabulary.json", CheckpointError, "is not there; expected the words of its reports. Copy the whole run"),
        ("best.safetensors", CheckpointError, "is not there; expected its weights. Copy the whole run folder .*rrg tr"),
    ],
)
def test_a_missing_file_is_named(trained, tmp_path, elsewhere, name, error, says):
    folder = copied(trained, tmp_path / "copy")
    (folder / name).unlink()
    with pytest.raises(error, match=f"copy.*{says}"):
        TrainedSystem.open(folder)


@pytest.mark.parametrize("name", [*NEEDED, DECODING])
def test_half_a_file_is_named_with_the_remedy(trained, tmp_path, elsewhere, name):
    folder = copied(trained, tmp_path / "copy")
    path = folder / name
    if name == DECODING:
        path.write_text(
            json.dumps({"tried": [{"decoding": {"beam_size": 3}, "scores": {}}], "grid": "", "weights": {}})
        )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=rf"{name}.*([Cc]opy|Fetch).*again"):
        system = TrainedSystem.open(folder)
        system.best_decoding()
        system.generator()


def test_what_belongs_to_another_run_is_refused(trained, tmp_path, elsewhere):
    def changed(name, change):
        folder = copied(trained, tmp_path / f"copy {name} {change.__name__}")
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))
        return folder

    def seed(data):
        data["experiment"]["training"]["seed"] = 1

    def dataset(data):
        data["identity"]["dataset"] = "another"

    def words(data):
        data["tokens"][0] = "another"

    with pytest.raises(CheckpointError, match=r"experiment\.json is of another run: its experiment is '\w+', and"):
        TrainedSystem.open(changed("experiment.json", seed))
    with pytest.raises(CheckpointError, match=r"vocabulary\.json cannot be read .*changed after it was written"):
        TrainedSystem.open(changed("vocabulary.json", words))
    system = TrainedSystem.open(changed("experiment.json", dataset))  # which dataset it was, only the checkpoint knows
    with pytest.raises(CheckpointError, match=r"best\.safetensors was made with another dataset: .*'another' is want"):
        system.generator()
    folder = copied(trained, tmp_path / "another extractor")
    torch.manual_seed(3)
    keep_extractor(VisualExtractor("small"), folder / "extractor.safetensors")
    with pytest.raises(CheckpointError, match=r"extractor\.safetensors is of another run: its extractor is"):
        TrainedSystem.open(folder)


def test_a_folder_without_what_judges_images_says_how_to_get_it(trained, tmp_path):
    folder = copied(trained, tmp_path / "copy")
    with pytest.raises(CheckpointError, match=r"classifier\.safetensors is not there.*rrg evaluate.*--labels none"):
        kept_classifier(folder)


def test_more_images_than_a_study_has_are_refused(trained):
    with pytest.raises(ConfigurationError, match=r"3 images.*1 to 2 views"):
        trained.system.report_of_images(["a.png"] * 3)
