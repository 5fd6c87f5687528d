"""Attention scored against boxes that a collection's readers marked: PadChest-GR from a made tree, one film a study, a
tiny generator."""

from __future__ import annotations

import numpy as np
import pytest
import trees
from small_runs import TINY
from trees import padchest_sentence as sentence
from typer.testing import CliRunner

from rrg_lib.cli import measuring
from rrg_lib.cli.options import app
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation import attention
from rrg_lib.evaluation.attention import CROSS_ATTENTION, box_cover, box_score
from rrg_lib.experiments.attention_results import REFERENCE, attention_markdown, measure_attention
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.run import Run, prepared

SPLITS = ["train"] * 8 + ["validation"] * 2 + ["test"] * 4
#: Of the sick: a large heart on a sixteenth of the film, and fluid in the two halves of a strip of an eighth of it.
SICK = [
    sentence("The heart is enlarged.", "Corazón grande.", "cardiomegaly", boxes=[(0.25, 0.5, 0.5, 0.75)]),
    sentence(
        "Pleural effusion.", "Derrame.", "pleural effusion", boxes=[(0.0, 0.875, 0.5, 1.0), (0.5, 0.875, 1.0, 1.0)]
    ),
    sentence("No pneumothorax.", "No hay."),
]
WELL = [sentence("The lungs are clear.", "Normal."), sentence("No pleural effusion.", "No hay.")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """BASE, trained for an epoch on fourteen studies, every second of them sick, four of them for testing."""
    home = tmp_path_factory.mktemp("home")
    studies = {f"{100 + i}": (split, [SICK, WELL][i % 2]) for i, split in enumerate(SPLITS)}
    root = trees.padchest_gr(home / "padchest", studies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRG_HOME", str(home))
        folder = prepared("padchest_gr", data_root=root, workers=1, progress=False).folder
        what = experiment("padchest_gr/base", "ci", [*TINY, "training.epochs=1"])
        made = Run.of(what, data_root=folder, progress=False)
        made.train()
        yield made


def test_the_scores_of_a_toy_run_are_those_of_its_maps_in_the_marked_boxes(run):
    quality = measure_attention(run)
    rows = quality.rows[(quality.rows["words"] == REFERENCE) & (quality.rows["look"] == CROSS_ATTENTION)]
    rows = rows.set_index("finding")
    assert set(rows.index) == {"all", "Cardiomegaly", "Effusion"}
    assert rows.loc["Cardiomegaly", "n"] == rows.loc["Effusion", "n"] == 2  # two of the four test studies are sick
    # The film is both views of the study, so its boxes are on both, and chance is their share of one film.
    assert rows.loc["Cardiomegaly", "chance"] == pytest.approx(1 / 16)
    assert rows.loc["Effusion", "chance"] == pytest.approx(1 / 8)
    assert rows["inside"].between(0, 1).all() and rows["auc"].between(0, 1).all()
    assert np.isfinite(rows["others"]).all()  # two studies have each of them
    said = attention_markdown([quality])
    assert "The boxes are those that the collection's readers marked." in said and "drawn" not in said


def test_a_map_that_knows_nothing_gets_chance_and_one_on_either_copy_of_the_film_all(run):
    at = run.dataset.index("110")
    cover = box_cover([box for box in run.dataset.boxes(at) if box.finding == "Cardiomegaly"], grid=8)
    assert box_score(np.ones((2, 8, 8)), cover).ratio == pytest.approx(1)
    for view in (0, 1):
        marked = np.zeros((2, 8, 8))
        marked[view, 4:6, 2:4] = 1
        assert box_score(marked, cover).inside == pytest.approx(1)


def test_the_command_measures_a_run_on_the_folder_it_is_given(run, tmp_path, monkeypatch):
    asked = []

    def named(name, profile, seed, settings, data_root, folder, quiet):
        asked.append((name, data_root))
        return run

    monkeypatch.setattr(measuring, "named_run", named)
    command = ["attention", "padchest_gr/base", "--data-root", str(run.dataset.folder), "--quiet"]
    measured = CliRunner().invoke(app, [*command, "--out", str(tmp_path)])
    assert measured.exit_code == 0, measured.output
    assert asked == [("padchest_gr/base", run.dataset.folder)]
    assert "cross-attention" in measured.output and "times chance" in measured.output
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_reports_in_which_no_word_names_a_finding_are_said_and_not_scored(run, monkeypatch):
    """As those in Spanish are, of which the labeler knows no word."""
    monkeypatch.setattr(attention, "find_mentions", lambda report, labeler: [])
    with pytest.raises(ConfigurationError, match=r"no word of the test reports names a finding that has a box .*Try"):
        measure_attention(run)
