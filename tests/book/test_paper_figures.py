"""Every figure of the papers can be drawn from made data, says "not run" where nothing is ours, and never needs
training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_results import seeds

from rrg_lib.book.figures import paper_figures as module
from rrg_lib.book.figures import replication_ledger as figures
from rrg_lib.book.figures import trained_runs as looks
from rrg_lib.book.figures.memory_querying_responding import WordMaps
from rrg_lib.book.figures.paper_figures import FIGURES, draw
from rrg_lib.data.study import Box
from rrg_lib.errors import CheckpointError, UnknownNameError
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.results import stored_results
from rrg_lib.runtime.workspace import write_json

OF_RUNS = {
    "cmn_figure_5": "base",
    "cmn_figure_6": "cmn",
    "xpronet_figure_1": "xpronet",
    "xpronet_figure_2": "xpronet",
    "xpronet_figure_4": "xpronet",
}


def words(figure) -> str:
    """Everything that is written on a figure."""
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))).replace(
        "\n", " "
    )


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """A workspace where nothing was ever trained; whoever tries to make a run fails."""
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(looks.Run, "of", lambda *a, **k: pytest.fail("a run was made"))
    return tmp_path


@pytest.mark.parametrize("name", FIGURES)
def test_with_nothing_stored_and_nothing_trained_a_figure_says_not_run(name, empty):
    figure, missing = draw(name, [], empty / f"{name}.png")
    assert (empty / f"{name}.png").stat().st_size > 2000
    assert "not run" in words(figure) and missing
    assert str(empty) not in words(figure) + missing
    if name in OF_RUNS:
        assert f"rrg train iu_phantom/{OF_RUNS[name]} --profile laptop" in missing


def test_the_same_results_draw_the_same_bytes(empty):
    for name in ("cmn_figure_3", "student_table_4"):
        assert draw(name, [], empty / "a.png") and draw(name, [], empty / "b.png")
        assert (empty / "a.png").read_bytes() == (empty / "b.png").read_bytes()


def test_a_stored_sweep_stands_beside_what_is_printed(empty):
    runs = [
        run for n, mean in ((64, 0.10), (1024, 0.14)) for run in seeds("cmn", mean, mean + 0.01, **{"memory.slots": n})
    ]
    figure, missing = draw("cmn_figure_3", [*runs, *seeds("cmn", 0.12, 0.13)])
    (right,) = (axes for axes in figure.axes if axes.get_ylabel() == "BLEU-4, ours")
    line = right.lines[0]
    assert (
        missing == ""
        and list(line.get_xdata()) == [64, 512, 1024]
        and list(line.get_ydata()) == pytest.approx([0.105, 0.125, 0.145])
    )
    assert "2 seeds; drawn radiographs" in words(figure) and "not run" not in words(figure)


def test_figure_3_counts_parameters_and_marks_what_is_printed(empty):
    left = draw("cmn_figure_3", []).figure.axes[0]
    every, matrix, printed = left.lines
    assert (every.get_xdata()[-1], every.get_ydata()[-1]) == (4096, pytest.approx(5.200, abs=0.001))
    assert matrix.get_ydata()[-1] == pytest.approx(3.464, abs=0.001) and printed.get_xydata().tolist() == [[4096, 3.34]]


def test_figure_5_of_xpronet_shows_its_two_printed_values(empty):
    figure = draw("xpronet_figure_5", []).figure
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[15, 0.199], [17, 0.171]]
    assert "a curve without numbers" not in words(figure) and "a curve without numbers" in words(
        draw("xpronet_figure_6", []).figure
    )


def test_a_table_shows_ours_where_it_was_measured_and_says_what_that_is_worth(empty):
    figure, missing = draw("cmn_table_2", [*seeds("cmn", 0.15, 0.16, 0.14), *seeds("base", 0.12)])
    assert "drawn radiographs, not comparable" in words(figure) and missing.startswith(
        "BASE+MEM: needs the real images"
    )
    first = figure.axes[0]
    dots = [
        tuple(line.get_xydata()[0]) for line in first.lines if line.get_marker() == "o" and len(line.get_xydata()) == 1
    ]
    assert [x for x, _ in dots] == pytest.approx([0.12, 0.15])
    assert [text.get_text() for text in first.texts] == ["not run"]  # BASE+MEM alone


def test_an_unknown_figure_is_named():
    with pytest.raises(UnknownNameError, match="nearest: cmn_figure_4"):
        draw("cmn_figure4", [])


# --- trained runs -----------------------------------------------------------------------------------------------------


def test_only_a_training_that_came_to_its_end_with_these_settings_counts(monkeypatch, tmp_path):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    what = experiment("iu_phantom/cmn", "ci")
    folder = looks.run_folder(what)
    assert not looks.finished(what)
    folder.mkdir(parents=True)
    (folder / "best.safetensors").write_bytes(b"")
    write_json(folder / "history.json", [{}] * what.training.epochs)
    write_json(folder / "experiment.json", {"identity": {"experiment": what.hash}})
    assert looks.finished(what)
    write_json(folder / "experiment.json", {"identity": {"experiment": "another"}})
    assert not looks.finished(what)
    write_json(folder / "experiment.json", {"identity": {"experiment": what.hash}})
    write_json(folder / "history.json", [{}] * (what.training.epochs - 1))
    assert not looks.finished(what)
    with pytest.raises(CheckpointError, match="run: rrg train iu_phantom/cmn --profile laptop"):
        looks.trained_run("cmn")


class FakeRun:
    experiment = experiment("iu_phantom/cmn", "ci", seed=7)


def test_figures_of_a_trained_run_say_whose_they_are(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(looks, "trained_run", lambda preset: FakeRun)
    case = looks.AttendedStudy(
        "s",
        rng.integers(0, 255, (2, 64, 64), dtype=np.uint8),
        [WordMaps("heart", [Box("Cardiomegaly", 0, 8, 8, 30, 30)], {"a": rng.random(98)})],
    )
    monkeypatch.setattr(looks, "attended_study", lambda run, **how: case)
    monkeypatch.setattr(looks, "side_by_side", lambda runs, study: case)
    monkeypatch.setattr(
        looks,
        "slot_use",
        lambda run: looks.SlotUse(rng.random((40, 8)), np.full(40, 1 / 40), np.full(40, 1 / 40), {"Device": 3}),
    )
    monkeypatch.setattr(looks, "prototypes", lambda run: {"trained": rng.random((14 * 4, 8))})
    table = pd.DataFrame(
        {"mean": [5.0], "low": [4.0], "high": [6.0], "other": [4.8], "open": [20], "chance": [5.0], "studies": [9]},
        index=[1],
    )
    monkeypatch.setattr(looks, "meetings", lambda run: table)
    for name in OF_RUNS:
        figure, missing = draw(name, [])
        assert missing == "" and "ours: iu_phantom/cmn, ci, seed 7; radiographs are drawn" in words(figure), name
    assert "share 9 of their 10 best; of how many" in words(draw("xpronet_figure_1", []).figure)
    monkeypatch.setattr(looks, "attended_study", lambda run, **how: None)
    assert "No test study has boxes" in draw("cmn_figure_5", []).missing


def test_a_damaged_or_foreign_run_is_not_run_and_shows_no_path(monkeypatch, tmp_path):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))

    def foreign(run, **how):
        raise CheckpointError(f"{tmp_path}/runs/x/best.safetensors was made with another vocabulary")

    monkeypatch.setattr(looks, "trained_run", lambda preset: FakeRun)
    monkeypatch.setattr(looks, "attended_study", foreign)
    assert draw("cmn_figure_5", []).missing == "build/runs/x/best.safetensors was made with another vocabulary"


# --- other drawings ---------------------------------------------------------------------------------------------------


def test_verdicts_are_counted_bar_by_bar():
    counts = {"value": {"reproduced": 0, "not run": 7}, "claim": {"reproduced": 2, "not run": 1}}
    figure = figures.verdict_counts(counts)
    assert [[bar.get_width() for bar in axes.patches] for axes in figure.axes] == [[0, 7], [2, 1]]


def test_constant_reports_stand_below_what_is_printed():
    figure = figures.constant_beside_print(
        [("a1", 0.172, 0.165, 0.18)], [("CMN", 0.17), ("XProNet", 0.199)], metric="BLEU-4"
    )
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "CMN",
        "XProNet",
        "a1",
    ] and "0.172" in words(figure)


def test_every_figure_and_table_that_the_papers_print_is_covered():
    """Each place of data/published.csv that shows a score of a system we build, or a figure, has a figure here."""
    places = {
        f"{row.paper.split()[0]} {row.where}"
        for row in module.published()
        if row.where.startswith("Figure") or row.paper.startswith("Student")
    }
    names = {"R2GenCMN": "cmn", "XProNet": "xpronet", "Student": "student"}
    for place in places:
        paper, _, where = place.partition(" ")
        assert f"{names[paper]}_{where.lower().replace(' ', '_')}" in FIGURES, place
    assert (
        stored_results() and {"cmn_figure_5", "cmn_figure_6", "xpronet_figure_2", "xpronet_figure_4"} <= FIGURES.keys()
    )
