"""What chapters may take and what they took: budgets, the memory of a process tree, and the record that is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import book
import budgets
import chapters
import pytest
from budgets import Budget, PeakMemory, Row
from places import ROOT
from test_book import TINY, chapter

MIB = 2**20
#: A process that holds so many MiB until its input ends, and tells when it does.
HOLDING = "import sys; held = b'x' * (int(sys.argv[1]) << 20); print('holding', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def _a_machine_that_needs_no_pytorch(monkeypatch):
    monkeypatch.setattr(budgets, "machine", lambda: {"device": "cpu", "cores": 2})


# --- the memory of a process tree -------------------------------------------------------------------------------------


def holding(mib: int) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(mib)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"holding\n"
    return process


def ended(process: subprocess.Popen) -> None:
    process.communicate()


NEVER = 3600.0  # so that these tests look when they mean to, however busy the machine is


def test_processes_that_are_there_at_once_are_added_and_those_after_each_other_are_not():
    with PeakMemory(NEVER) as once:
        both = [holding(60), holding(60)]
        once.sample()
        for process in both:
            ended(process)
    with PeakMemory(NEVER) as in_turn:
        for _ in range(2):
            process = holding(60)
            in_turn.sample()
            ended(process)
    assert 120 < once.gib * 1024 < 180
    assert 60 < in_turn.gib * 1024 < 100


def test_grandchildren_count_and_what_ran_before_does_not():
    before = holding(150)
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDING!r}, '80'], stdin=sys.stdin)"
    with PeakMemory(NEVER) as memory:
        process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"holding\n"
        memory.sample()
        ended(process)
    ended(before)
    assert 80 < memory.gib * 1024 < 130


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux keeps a high-water mark")
def test_memory_that_was_freed_before_the_sample_is_not_missed():
    freed = "held = b'x' * (100 << 20); del held; print('freed', flush=True); input()"
    with PeakMemory(NEVER) as memory:
        process = subprocess.Popen(
            [sys.executable, "-c", freed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "freed\n"
        memory.sample()
        process.communicate("\n")
    assert memory.gib * 1024 > 100


def test_it_looks_by_itself_and_where_nothing_was_started_nothing_is_claimed():
    with PeakMemory(0.01) as nothing:
        nothing._stop.wait(0.05)
    assert nothing.gib is None
    with PeakMemory(0.01) as memory:
        process = holding(60)
        for _ in range(3000):  # at most half a minute, on a busy machine
            if memory._stop.wait(0.01) or memory.gib:
                break
        ended(process)
    assert memory.gib


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "gib", "said"),
    [
        (89, 2.9, []),
        (90, 2.9, ["04: 1.5 minutes, 1.5 times the 1 of its budget"]),
        (30, 3.0, ["04: 3.0 GiB at its peak, 1.5 times the 2 of its budget"]),
        (600, None, ["04: 10.0 minutes, 10.0 times the 1 of its budget"]),
    ],
)
def test_a_budget_is_exceeded_by_half(seconds, gib, said):
    row = Row("04", Budget(1, 2), seconds=seconds, peak_gib=gib, status="ok")
    assert row.exceeded() == said
    assert budgets.warnings([row], "ci") == [f"over budget: {text}" for text in said]
    assert budgets.warnings([row], "laptop") == [], "budgets are of the ci profile"
    assert Row("04", None, seconds=seconds).exceeded() == []


def test_the_table_shows_what_was_stated_beside_what_was_measured():
    rows = [Row("04_memory", Budget(3, 2), 126, 1.63, 3, "ok"), Row("05_next", Budget(2.5, 4))]
    header, first, second, total = budgets.table(rows, "ci").splitlines()
    assert first.split() == ["04_memory", "2.1", "3", "1.6", "2", "ok"] and second.split() == [
        "05_next",
        "0.0",
        "2.5",
        "–",
        "4",
        "not",
        "run",
    ]
    assert header.split() == ["chapter", "minutes", "budget", "GiB", "budget", "status"] and total.split() == [
        "total",
        "2.1",
    ]
    assert budgets.table(rows, "laptop").splitlines()[1].split() == ["04_memory", "2.1", "1.6", "ok"]


# --- the record -------------------------------------------------------------------------------------------------------


def measured(*rows: Row, **changes) -> dict:
    return budgets.record(list(rows), {"PROFILE": "ci"}) | changes


def test_a_record_says_with_what_and_leaves_out_what_is_not_known():
    record = measured(Row("00_a", Budget(1, 2), 12.5, 0.75, 1, "ok"), Row("01_b"))
    assert record["chapters"] == [
        {
            "chapter": "00_a",
            "seconds": 12.5,
            "budget_minutes": 1,
            "peak_gib": 0.75,
            "budget_gib": 2,
            "trained": 1,
            "status": "ok",
        },
        {"chapter": "01_b", "seconds": 0.0, "status": "not run"},
    ]
    assert record["seconds"] == 12.5 and record["machine"] == {"device": "cpu", "cores": 2} and record["edition"]


def test_rows_of_other_chapters_stay_only_if_they_were_measured_alike(tmp_path):
    path = tmp_path / "timings.json"
    budgets.keep(path, measured(Row("00_a", seconds=1.0), Row("01_b", seconds=2.0)))
    budgets.keep(path, measured(Row("01_b", seconds=5.0)))
    kept = json.loads(path.read_text())
    assert [(row["chapter"], row["seconds"]) for row in kept["chapters"]] == [("00_a", 1.0), ("01_b", 5.0)] and kept[
        "seconds"
    ] == 6.0
    budgets.keep(path, measured(Row("01_b", seconds=7.0), machine={"device": "another"}))
    kept = json.loads(path.read_text())
    assert [row["chapter"] for row in kept["chapters"]] == ["01_b"] and kept["machine"] == {"device": "another"}


def test_new_runs_in_the_workspace_are_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    assert budgets.trainings() == 0
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "a" / "best.safetensors").touch()  # b was interrupted
    assert budgets.trainings() == 1


@pytest.mark.slow
def test_a_build_measures_memory_warns_and_keeps_the_record_only_when_all_ran(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    folder, kept = tmp_path / "notebooks", tmp_path / "data" / "timings.json"
    heavy = "\n# %%\nimport time\nheld = b'x' * (200 << 20)\ntime.sleep(1.2)\n"
    trains = (
        "\n# %%\nfrom pathlib import Path\nrun = Path(__import__('os').environ['RRG_HOME'], "
        "'runs', "
        "'a')\nrun.mkdir(parents=True)\n"
    )
    chapter(folder, "00_light", TINY + trains + "(run / 'best.safetensors').touch()\n")
    chapter(folder, "01_heavy", TINY.replace("peak_gib: 1", "peak_gib: 0.1") + heavy)
    arguments = ["write", "--notebooks", str(folder), "--out", str(folder), "--timings", str(kept)]

    assert book.main(arguments) == 0

    light, heavy_row = json.loads(kept.read_text())["chapters"]
    assert 0.02 < light["peak_gib"] < 0.15 and 0.2 < heavy_row["peak_gib"] < 0.4
    assert (light["trained"], heavy_row["trained"]) == (1, 0)
    said = capsys.readouterr().out
    assert "over budget: 01_heavy: 0.2 GiB at its peak" in said or "over budget: 01_heavy: 0.3 GiB at its peak" in said
    assert "over budget: 00_light" not in said

    before = kept.read_text()
    chapter(folder, "01_heavy", TINY + "\n# %%\n1 / 0\n")
    (tmp_path / "home" / "runs" / "a" / "best.safetensors").unlink()
    (tmp_path / "home" / "runs" / "a").rmdir()
    assert book.main(arguments) == 1
    assert kept.read_text() == before


# --- the book's own ---------------------------------------------------------------------------------------------------


def test_every_chapter_states_its_budget_and_the_doctor_asks_for_as_much():
    from rrg_lib.book.environment import MEMORY_GIB

    stated = [Budget.of(chapters.read_source(path).metadata) for path in chapters.sources(ROOT / "notebooks")]
    assert len(stated) >= 11 and None not in stated
    assert max(budget.peak_gib for budget in stated) <= MEMORY_GIB[1]


def test_the_committed_timings_are_of_these_chapters_and_of_one_edition():
    record = json.loads((ROOT / "data" / "timings.json").read_text(encoding="utf-8"))
    known = [path.stem for path in chapters.sources(ROOT / "notebooks")]
    names = [row["chapter"] for row in record["chapters"]]
    assert names and set(names) <= set(known) and names == sorted(set(names))
    assert all(row["status"] == "ok" and row["seconds"] > 0 and row["peak_gib"] > 0 for row in record["chapters"])
    assert {"edition", "parameters", "machine", "seconds"} <= record.keys() and record[
        "parameters"
    ] == chapters.COMMITTED
    assert {"processor", "cores", "memory_gib", "python", "torch"} <= record["machine"].keys()
    assert {"trained" in row for row in record["chapters"]} == {record["jobs"] == 1}, (
        "whose runs are new is known only where chapters ran one after the other"
    )
