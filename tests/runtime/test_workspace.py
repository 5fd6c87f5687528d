"""What is written stands there whole or not at all, and nothing but a regular file is ever replaced."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from rrg_lib.errors import StorageError
from rrg_lib.runtime.workspace import folder_written_whole, locked, write_json, written_whole

TEXT = "written\n" * 50_000  # more than a pipe holds


def write(path, text=TEXT):
    with written_whole(path) as temporary:
        temporary.write_text(text)


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join(30)
    assert heard == [TEXT]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_that_is_full_is_an_error_and_stays_a_device(tmp_path):
    """In edition 0.1 the new file was renamed over it. The node is the test's own."""
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        with open(full, "wb", buffering=0) as device, pytest.raises(OSError, match="No space"):
            device.write(b"x")
    except PermissionError:  # not root, or a disk without devices
        pytest.xfail("a device cannot be made here")
    before = full.stat()
    with pytest.raises(StorageError, match=r"full: No space left on device"):
        write(full)
    assert (full.stat().st_mode, full.stat().st_rdev) == (before.st_mode, before.st_rdev)
    assert list(tmp_path.iterdir()) == [full]


def test_standard_output_takes_what_is_written(tmp_path):
    code = (
        "from pathlib import Path; from rrg_lib.runtime.workspace import write_json; "
        "print('before', flush=True); write_json(Path('/dev/stdout'), 'x' * 9); print('after')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == 'before\n"xxxxxxxxx"\nafter\n'
    with open(tmp_path / "out", "a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == said


def test_a_link_is_followed_and_stays_one(tmp_path):
    (tmp_path / "far").mkdir()
    for name in ("there", "not there yet"):
        target, link = tmp_path / "far" / f"{name}.json", tmp_path / name
        link.symlink_to(target)
        for value in (1, 2):
            write_json(link, value)
            assert link.is_symlink()
            assert json.loads(target.read_text()) == value
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(StorageError, match="could not write"):
        write_json(loop, 1)


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from rrg_lib.runtime.workspace import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as t: t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "a[1].json"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = tmp_path.iterdir()  # the second took away the first's
    assert left.name.startswith(".a[1].json.")
    with written_whole(path) as mine:  # this writer lives: another one leaves it alone
        assert not left.exists()
        write_json(path, 1)
        assert mine.exists()
        mine.write_text("2")
    assert [p.name for p in tmp_path.iterdir()] == ["a[1].json"]
    assert path.read_text() == "2"


@pytest.mark.parametrize("where", ["folder", "file/below.json"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"could not write .*{where}"):
        write_json(tmp_path / where, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_in_use_is_refused_to_who_does_not_wait(tmp_path):
    with locked(tmp_path / "run"):
        code = (
            "import sys; from pathlib import Path; from rrg_lib.runtime.workspace import locked\n"
            "with locked(Path(sys.argv[1]), wait=False): pass"
        )
        ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
    assert "StorageError" in ended.stderr
    assert "run is in use: another process works in it" in ended.stderr
    with locked(tmp_path / "run", wait=False):
        pass


def test_a_folder_is_replaced_whole_or_stays_as_it_was(tmp_path):
    out = tmp_path / "parent" / "out"
    for text in ("first", "second"):
        with folder_written_whole(out) as made:
            (made / text).write_text(text)
        assert [path.name for path in out.iterdir()] == [text]
    with pytest.raises(ValueError, match="no more"), folder_written_whole(out) as made:
        (made / "third").write_text("")
        raise ValueError("no more")
    assert [path.name for path in (tmp_path / "parent").rglob("*")] == ["out", "second"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "out"
    with (
        pytest.raises(StorageError, match=r"could not write .*file.*choose another folder with --out"),
        folder_written_whole(folder),
    ):
        pass


@pytest.mark.parametrize("terminal", [True, False])
def test_who_waits_for_another_says_so_in_a_terminal_and_then_goes_on(tmp_path, terminal):
    """Also where the other made nothing, and took the folder away."""
    code = (
        "import sys; from pathlib import Path; from rrg_lib.runtime.workspace import locked\n"
        f"sys.stderr.isatty = lambda: {terminal}\n"
        "print('comes', flush=True)\n"
        "with locked(Path(sys.argv[1])): print('works', flush=True)"
    )
    with locked(tmp_path / "run"):
        second = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "run")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stdout.readline() == "comes\n"
        if terminal:
            assert "run is in use by another process: waiting" in second.stderr.readline()
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(1)
    said, errors = second.communicate(timeout=30)
    assert (said, errors, second.returncode) == ("works\n", "", 0)
