"""`tools/results.py twin`: a stored result is made once more and kept beside it, under a name of its own."""

from __future__ import annotations

import json

import pytest
import results
from small_runs import tiny

from rrg_lib.data.prepare import prepare
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.results import short_device
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.run_folders import run_folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    for name in ("RESULTS", "TWINS"):
        monkeypatch.setattr(results, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    return tmp_path


def test_only_what_is_stored_has_a_twin(home, monkeypatch):
    monkeypatch.setattr(results.Run, "of", lambda *a, **k: pytest.fail("nothing is trained before the name is known"))
    with pytest.raises(
        SystemExit,
        match=r"phantom-cmn-ci-seed\w+-\w+-greedy\.json to be a twin of; run: tools/results\.py run --profile ci cmn",
    ):
        results.twin(tiny())


@pytest.mark.slow  # trains, though little
def test_twins_are_trained_anew_and_numbered(home, monkeypatch):
    studies = prepare("phantom", count=40, out=home / "phantom", workers=1, progress=False)
    monkeypatch.setattr(run_module, "prepared", lambda *a, **k: studies)
    evaluate = Run.evaluate
    monkeypatch.setattr(
        Run, "evaluate", lambda run, *a, **k: evaluate(run, *a, metrics=("BLEU-4",), **k)
    )  # METEOR takes its time to start
    what = tiny("cmn", "training.epochs=1")
    name = run_folder(what).name
    (results.RESULTS / f"{name}-greedy.json").write_text("{}")

    kept = [results.twin(what) for _ in range(3)]

    assert [[path.name for path in paths] for paths in kept] == [
        [f"{name}-greedy-cpu.json"],
        [f"{name}-greedy-cpu-again.json"],
        [f"{name}-greedy-cpu-again2.json"],
    ]
    assert sorted(path.name for path in (home / "home" / "twins").iterdir()) == [
        f"{name}-cpu",
        f"{name}-cpu-again",
        f"{name}-cpu-again2",
    ]
    first, second, _ = (json.loads(paths[0].read_text()) for paths in kept)
    assert first["run"]["experiment"] == second["run"]["experiment"] == json.loads(json.dumps(what.to_json()))
    assert first["rows"] == second["rows"] and len(first["rows"]) == 1, (
        "on one thread of a processor a seed decides everything"
    )
    assert not run_folder(what).exists(), "the stored result's own run is not touched"


@pytest.mark.parametrize(
    ("name", "short"), [("cpu", "CPU"), ("NVIDIA H100 80GB HBM3", "H100"), ("Some GPU", "Some GPU")]
)
def test_devices_are_named_in_short(name, short):
    assert short_device(name) == short
