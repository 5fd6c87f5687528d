"""The folder `figures/` is what its README says: every picture has its caption and provenance, none is too large, none
is older than the data it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from places import ROOT

import figures as tool
from rrg_lib.book.figures import overview
from rrg_lib.book.figures.folder import ENTRIES, SEEDS_TO_SHOW, as_swept, digest, one_protocol
from rrg_lib.book.figures.paper_figures import FIGURES
from rrg_lib.experiments.results import stored_results

FOLDER = ROOT / "figures"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
RECORDED = tool.recorded(README)


def test_pictures_and_entries_are_the_same_ones_and_all_that_need_no_trained_run_are_there():
    assert {path.stem for path in FOLDER.glob("*.png")} == set(RECORDED) == set(tool.sections(README)), (
        "run: make figures"
    )
    assert {name for name, entry in ENTRIES.items() if not entry.needs_run} <= set(RECORDED) <= set(ENTRIES), (
        "run: make figures"
    )
    assert set(FIGURES) <= set(ENTRIES)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_figure_is_of_the_current_data_and_its_words_are_the_tools(name):
    sources, drawn_from = RECORDED[name]
    assert tuple(sources) == ENTRIES[name].sources
    assert digest(sources, ROOT / "data") == drawn_from, f"{name}.png is older than its data; run: make figures"
    assert tool.sections(README)[name].splitlines()[4] == ENTRIES[name].caption, "run: make figures"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.png")), ids=lambda path: path.stem)
def test_a_picture_opens_and_is_small(path):
    assert path.stat().st_size <= 200_000
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 150


def test_a_change_of_one_byte_or_name_in_the_data_is_another_hash(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    before = digest(["*.csv"], tmp_path)
    (tmp_path / "a.csv").write_text("2")
    changed = digest(["*.csv"], tmp_path)
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    assert len({before, changed, digest(["*.csv"], tmp_path)}) == 3


def test_one_figure_can_be_drawn_anew_and_the_others_keep_their_entries(tmp_path, capsys):
    (tmp_path / "README.md").write_text(README)
    assert tool.main(["--only", "student_table_4", "--out", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.glob("*.png")] == ["student_table_4.png"]
    assert tool.recorded((tmp_path / "README.md").read_text()).keys() == RECORDED.keys()
    assert (
        tool.main(["--only", "student_table_9", "--out", str(tmp_path)]) == 2
        and "nearest: student_table_" in capsys.readouterr().err
    )


def test_no_figure_is_drawn_before_all_names_are_known(tmp_path, capsys):
    (tmp_path / "README.md").write_text(README)
    assert tool.main(["--only", "student_table_4", "student_table_9", "--out", str(tmp_path)]) == 2
    assert "nearest: student_table_" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_no_figure_is_written_before_all_are_drawn(tmp_path, capsys, monkeypatch):
    sizes = iter((1, tool.MOST + 1))
    monkeypatch.setattr(tool, "picture", lambda drawn: b"." * next(sizes))
    assert tool.main(["--only", "student_table_3", "student_table_4", "--out", str(tmp_path)]) == 2
    assert "student_table_4.png has" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_system_is_shown_tuned_only_when_several_seeds_are():
    old = [
        r
        for r in stored_results(dataset="iu_phantom")
        if r.experiment.preset == "cmn" and r.is_preset and r.of_edition_0_1
    ]
    tuned = [replace(r, provenance={**r.provenance, "protocol": "tuned"}) for r in old]
    assert len(old) == 3
    assert {r.protocol for r in one_protocol([*old, *tuned])} == {"tuned"} and len(one_protocol([*old, *tuned])) == 3
    assert {r.protocol for r in one_protocol([*old, *tuned[:SEEDS_TO_SHOW]])} == {"tuned"}
    assert {r.protocol for r in one_protocol([*old, *tuned[: SEEDS_TO_SHOW - 1]])} == {"edition 0.1"}
    assert as_swept([*old, *tuned]) == old  # no run of other settings is stored tuned


def test_a_sweep_has_all_its_points_from_the_protocol_that_has_most_of_them():
    """XProNet's γ was swept by edition 0.1 and, with fewer values, tuned; MCSAM's bank tuned alone."""
    results = stored_results("laptop", "iu_phantom")
    drawn = {
        name: {r.protocol for r in as_swept(results) if r.experiment.preset == name} for name in ("xpronet", "mcsam")
    }
    assert drawn == {"xpronet": {"edition 0.1"}, "mcsam": {"tuned"}}
    own = [r for r in results if r.experiment.preset == "xpronet" and (r.is_preset or r.protocol == "tuned")]
    assert {r.protocol for r in as_swept(own)} == {"tuned"}


def test_marks_stand_where_their_scores_are():
    rows = [("base", "looks", 0.13, 0.7), ("a1", "never looks", 0.17, 0.1)]
    table = pd.DataFrame([{"label": n, "kind": k, "bleu": b, "f1": f} for n, k, b, f in rows])
    table[["bleu_low", "bleu_high", "f1_low", "f1_high"]] = np.nan
    (panel,) = overview.bleu_against_findings(table).axes
    assert [line.get_xydata().tolist() for line in panel.lines] == [[[0.13, 0.7]], [[0.17, 0.1]]]
    assert [text.get_text() for text in panel.texts] == ["base", "a1"]


def test_a_heat_map_has_the_most_frequent_finding_first():
    figure = overview.findings_by_system(
        pd.DataFrame({"cmn": {"Edema": 0.25, "Opacity": 0.75}}), {"Edema": 2, "Opacity": 9}
    )
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == ["0.75", "0.25"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["Opacity (9)", "Edema (2)"]
