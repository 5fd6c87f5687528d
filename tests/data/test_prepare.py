"""Preparing: the same bytes whoever makes them and however often, and nothing half-written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rrg_lib.data import iu_xray, phantom
from rrg_lib.data.prepare import prepare, prepared_folder
from rrg_lib.data.prepared_dataset import PreparedDataset
from rrg_lib.data.sources import find_source
from rrg_lib.data.study import Box
from rrg_lib.errors import ConfigurationError, DataRootError, StorageError, UnknownNameError
from rrg_lib.runtime.workspace import LOCK, locked

COUNT, SHARD = 24, 4


def make(out: Path, **changes) -> PreparedDataset:
    options = {"count": COUNT, "shard_size": SHARD, "workers": 1, "progress": False, "out": out}
    return prepare("phantom", **options | changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> PreparedDataset:
    """24 phantom studies in 6 shards, prepared by one process."""
    return make(tmp_path_factory.mktemp("prepared") / "whole")


@pytest.fixture
def quick(monkeypatch) -> list[str]:
    """Replaces the drawing by a cheap one for this process, and notes who was drawn."""
    drawn: list[str] = []

    def draw(study, *, seed=0, size=256):
        drawn.append(study.id)
        views = np.random.default_rng([seed, len(study.report)]).integers(0, 256, (2, size, size), np.uint8)
        return phantom.Drawing(views, (Box("Nodule", 1, 2, 3, 4, 5, "Nodule"),))

    monkeypatch.setattr(phantom, "draw", draw)
    return drawn


# ---- the same bytes, whoever makes them and however often


def test_preparing_twice_draws_nothing_and_changes_nothing(whole, quick):
    before, stamps = contents(whole.folder), times(whole.folder)
    assert make(whole.folder).hash == whole.hash
    assert quick == [] and contents(whole.folder) == before and times(whole.folder) == stamps


def test_what_is_whole_is_opened_without_waiting_for_anybody(whole):
    """It may lie on a disk that cannot be written to."""
    with locked(whole.folder):
        assert make(whole.folder).hash == whole.hash


def test_the_bytes_do_not_depend_on_the_number_of_processes(whole, tmp_path):
    assert contents(make(tmp_path / "two", workers=2).folder) == contents(whole.folder)


SCRIPT = """
import sys
from rrg_lib.data.prepare import prepare
if __name__ == "__main__":
    prepare("phantom", count={count}, shard_size={shard}, workers=2, out=sys.argv[1], progress=False)
"""


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def test_a_killed_run_is_resumed_to_the_bytes_of_an_uninterrupted_one(whole, tmp_path):
    out, script = tmp_path / "killed", tmp_path / "script.py"
    script.write_text(SCRIPT.format(count=COUNT, shard=SHARD))
    process = subprocess.Popen([sys.executable, str(script), str(out)])
    wait_until(lambda: len(list(out.glob("shard-*.arrow"))) >= 2 or process.poll() is not None)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    wait_until(lambda: not any(map(is_running, workers)), 20)  # no process outlives its parent

    finished = sorted(out.glob("shard-*.arrow"))
    assert len(finished) >= 2 and not (out / "manifest.json").exists()
    with pytest.raises(
        DataRootError, match=f"Run: rrg prepare phantom --protocol r2gen --seed 0 --count {COUNT} --out {out}"
    ):
        PreparedDataset.open(out)
    kept, damaged = finished[0], finished[1]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1  # one bit of one picture
    damaged.write_bytes(data)
    (out / ".shard-00003.arrow.abc.part").write_bytes(b"half")
    stamp = kept.stat().st_mtime_ns

    assert make(out).hash == whole.hash
    assert contents(out) == contents(whole.folder)
    assert kept.stat().st_mtime_ns == stamp


def test_a_script_without_a_main_guard_is_told_so_and_does_not_hang(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(count=COUNT, shard=SHARD).replace('if __name__ == "__main__"', "if True"))
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")], capture_output=True, text=True, timeout=120
    )
    assert (
        run.returncode != 0
        and "ConfigurationError: this script calls prepare while its processes load it" in run.stderr
    )
    said = run.stderr.splitlines()[-1]
    assert "a worker process died" in said and "Finished shards are kept. Run again, with fewer workers" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["cut short", "deleted", "vocabulary", "manifest"])
def test_a_damaged_dataset_is_refused_and_mended(damage, quick, tmp_path):
    out = tmp_path / "data"
    before = contents(make(out).folder)
    if damage == "cut short":
        (out / "shard-00001.arrow").write_bytes(before["shard-00001.arrow"][:-100])
    elif damage == "deleted":
        (out / "shard-00001.arrow").unlink()
    elif damage == "vocabulary":
        (out / "vocabulary.json").write_text("{}")
    else:
        (out / "manifest.json").write_text('{"format": 1')
    with pytest.raises(DataRootError, match="Run: rrg prepare phantom --protocol r2gen --seed 0"):
        PreparedDataset.open(out)
    quick.clear()
    make(out)
    assert contents(out) == before
    assert len(quick) == (SHARD if damage in ("cut short", "deleted") else 0)


def test_two_runs_at_once_share_the_work(quick, tmp_path):
    other = threading.Thread(target=make, args=(tmp_path / "data",))
    other.start()
    make(tmp_path / "data")
    other.join()
    assert sorted(quick) == sorted(study.id for study in phantom.sample_studies(COUNT, seed=0))


@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "tempfile.mkstemp"])
def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(call, quick, tmp_path, monkeypatch):
    module, name = call.split(".")
    real, calls = getattr(sys.modules[module], name), []

    def full(*args, **options):
        calls.append(args)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    out = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(StorageError, match=r"could not write .*shard-00002\.arrow: No space left on device"):
            make(out)
    assert sorted(path.name for path in out.iterdir()) == [LOCK, "shard-00000.arrow", "shard-00001.arrow"]
    assert make(out).hash == make(tmp_path / "again").hash
    assert contents(out) == contents(tmp_path / "again")


def test_a_disk_that_gives_back_something_else_is_found_out(quick, tmp_path, monkeypatch):
    real = os.replace

    def replace(source, target):
        data = bytearray(Path(source).read_bytes())
        data[len(data) // 2] ^= 1
        Path(source).write_bytes(data)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StorageError, match=r"shard-00000\.arrow: reads back differently from what was written"):
        make(tmp_path / "data")


# ---- one request, one folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"protocol": "clinical"}, "protocol is 'r2gen' there and 'clinical' here"),
        ({"count": 20}, "count is 24 there and 20 here"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_request_in_the_same_folder_is_refused(changes, message, finished, quick, tmp_path):
    out = make(tmp_path / "data").folder
    if not finished:
        (out / "manifest.json").unlink()
    before = contents(out)
    with pytest.raises(ConfigurationError, match=message):
        make(out, **changes)
    assert contents(out) == before


def test_the_default_folder_tells_what_is_in_it(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    requests = [{}, {"seed": 1}, {"protocol": "clinical"}, {"count": COUNT}]
    folders = [prepared_folder("phantom", **request) for request in requests]
    assert len(set(folders)) == len(folders) and all(folder.parent == tmp_path / "prepared" for folder in folders)
    assert folders[1].name.startswith("phantom-r2gen-seed1-")
    assert make(None).folder == folders[3]


def test_which_drawings_they_are_is_part_of_the_request(quick, tmp_path, monkeypatch):
    """Who changes the phantom gets new pictures, not the old ones."""
    before = prepared_folder("phantom")
    make(tmp_path / "data")
    monkeypatch.setattr("rrg_lib.data.sources.DRAWING", "changed")
    assert prepared_folder("phantom") != before
    with pytest.raises(ConfigurationError, match=r"drawing is .* there and 'changed' here"):
        make(tmp_path / "data")


def test_the_hash_is_of_the_content(quick, tmp_path):
    hashes = [
        make(tmp_path / str(i), **changes).hash
        for i, changes in enumerate([{}, {"seed": 1}, {"protocol": "clinical"}, {"count": COUNT - 1}])
    ]
    assert len(set(hashes)) == 4


# ---- IU-Phantom


def test_a_small_iu_phantom_is_spread_over_the_splits(quick, tmp_path):
    data = prepare("iu_phantom", count=30, out=tmp_path / "iu", workers=1, progress=False)
    assert data.manifest["splits"] == {"train": 21, "val": 3, "test": 6}
    assert all(data.study(i) == iu_xray.study(study_id) for i, study_id in enumerate(data.ids))
    assert data.provenance(0)["pictures"] == "drawn" and data.num_views(0) == 2


def test_iu_phantom_is_the_2955_studies_of_the_split():
    studies = find_source("iu_phantom").studies()
    assert studies == iu_xray.studies() and len(studies) == 2955


# ---- what cannot be asked


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("iu_phantm", {}, UnknownNameError, "unknown source 'iu_phantm'; nearest: iu_phantom"),
        ("phantom", {"protocol": "r2"}, UnknownNameError, "unknown protocol 'r2'; nearest: r2gen"),
        ("phantom", {"count": 0}, ConfigurationError, "count is 0; expected at least 1"),
        ("phantom", {"shard_size": 0}, ConfigurationError, "shard_size is 0"),
        ("phantom", {"data_root": "/films"}, ConfigurationError, "data_root is '/films', but phantom draws"),
        ("iu_xray", {}, DataRootError, "run: rrg prepare iu_xray --data-root FOLDER"),
        ("iu_xray", {"data_root": "/no/films"}, DataRootError, r"/no/films: looked for annotation\.json"),
    ],
)
def test_a_wrong_request_is_answered_with_what_to_do(source, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        prepare(source, out=tmp_path / "out", progress=False, **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not make the folder"):
        make(tmp_path / "file" / "data")
