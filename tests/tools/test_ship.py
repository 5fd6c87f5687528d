"""`tools/ship.py` replaces the shipped system whole, with the scores of what it ships, or leaves it as it was."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import ship

from rrg_lib.data import iu_xray
from rrg_lib.errors import ImageError
from rrg_lib.experiments.shipped_system import PROVENANCE
from rrg_lib.experiments.trained_system import TrainedSystem

#: A run folder as any other; halved already, and so the same again.
SOURCE = ship.FOLDER


@pytest.fixture
def before(tmp_path):
    """A folder as an earlier edition shipped it."""
    folder = tmp_path / "system"
    folder.mkdir()
    for name in ("best.safetensors", PROVENANCE, "__init__.py", "of_an_earlier_edition.json"):
        (folder / name).write_text(f"# {name}, as it was")
    return folder


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_is_replaced_by_a_system_with_its_provenance(before, monkeypatch, capsys):
    few = iu_xray.studies("test")[:3]
    monkeypatch.setattr(ship.iu_xray, "studies", lambda split: few)
    assert ship.main([str(SOURCE), "--out", str(before)]) == 0
    system, provenance = TrainedSystem.open(before), json.loads((before / PROVENANCE).read_text())
    assert provenance["experiment"] == system.experiment.hash
    assert provenance["bytes"] == sum(path.stat().st_size for path in before.glob("*.safetensors"))
    assert provenance["scores"].keys() == provenance["constant_report"].keys()
    assert contents(before).keys() == contents(SOURCE).keys(), "the package's module stays, older files go"
    assert (before / "__init__.py").read_text() == "# __init__.py, as it was"
    assert [path.name for path in before.parent.iterdir()] == [before.name]
    assert "BLEU-4: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (False, "no tuned result of the run in {source}.*tools/results.py run cmn --profile laptop .* --seed 7580$"),
        (True, "the baseline a1 is not stored beside .*tools/results.py baselines --dataset iu_phantom"),
    ],
)
def test_without_stored_scores_nothing_is_touched_and_the_message_says_what_to_run(
    kept, says, before, monkeypatch, capsys
):
    found = [
        replace(result, evaluation=replace(result.evaluation, rows=result.evaluation.rows[:1]))
        for result in ship.stored_results("laptop", "iu_phantom", "tuned")
        if kept
    ]
    monkeypatch.setattr(ship, "stored_results", lambda *_: found)
    was = contents(before)
    assert ship.main([str(SOURCE), "--out", str(before)]) == 2
    assert re.search(says.format(source=re.escape(str(SOURCE))), capsys.readouterr().err.strip())
    assert contents(before) == was


def test_a_failure_after_the_weights_were_halved_leaves_the_folder_as_it_was(before, monkeypatch):
    def fails(*_):
        raise ImageError("no film")

    monkeypatch.setattr(ship, "scores_on_drawn", fails)
    was = contents(before)
    assert ship.main([str(SOURCE), "--out", str(before)]) == 2
    assert contents(before) == was and [path.name for path in before.parent.iterdir()] == [before.name]


def test_a_folder_that_is_no_run_is_refused(before, tmp_path, capsys):
    assert ship.main([str(tmp_path), "--out", str(before)]) == 2
    assert "is no run folder" in capsys.readouterr().err
