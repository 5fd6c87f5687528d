"""Exercises in the page: which of them need nothing but Python, told by importing and solving them where nothing else
is, from the very files that the site ships; and what is written where the package is not there."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import site_python
from exercises import every, graded_check
from site_text import SiteError

#: An interpreter without site-packages that has the shipped zip alone, and imports nothing else than Python's own.
ALONE = """
import json, sys
sys.path.insert(0, {shipped!r})
from page_runner import judged
print(json.dumps([json.loads(judged(*asked)) for asked in json.load(sys.stdin)]))
"""


def alone(shipped: Path, asked: list[tuple[str, str, str]]) -> list[dict]:
    """What the runner says of each (given, answer, check)."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE.format(shipped=str(shipped))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exercises():
    return [exercise for exercise in every() if exercise.chapter.stem[:2] in site_python.CHAPTERS]


@pytest.fixture(scope="module")
def shipped(exercises, tmp_path_factory):
    target = tmp_path_factory.mktemp("python") / "library.zip"
    site_python.library(site_python.runnable(exercises), target)
    return target


def test_every_exercise_in_the_page_is_solved_and_refused_with_what_the_site_ships_and_nothing_else(exercises, shipped):
    chosen = site_python.runnable(exercises)
    assert {exercise.chapter.stem[:2] for exercise in chosen} == set(site_python.CHAPTERS)
    solved = alone(shipped, [(site_python.given(e), e.solution, graded_check(e)) for e in chosen])
    assert {e.id: told["said"] for e, told in zip(chosen, solved, strict=True) if not told["right"]} == {}
    blank = alone(shipped, [(site_python.given(e), e.blank, graded_check(e)) for e in chosen])
    assert all(not told["right"] and "still blank" in told["said"] for told in blank)


@pytest.mark.slow
def test_an_exercise_that_is_left_out_does_need_more(exercises):
    """Each of them, imported where numpy, torch and all else are not there, fails for one of these."""
    left_out = [exercise for exercise in exercises if exercise not in site_python.runnable(exercises)]
    root = str(site_python.ROOT)
    imports = "\n".join(
        [
            "import sys, json",
            f"sys.path[:0] = [{root!r}]",
            "said = []",
            "for source in json.load(sys.stdin):",
            "    try:",
            "        exec(source, {})",
            "        said.append('')",
            "    except ModuleNotFoundError as error:",
            "        said.append(error.name)",
            "print(json.dumps(said))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", imports],
        input=json.dumps([site_python.given(e) for e in left_out]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    missing = dict(zip((e.id for e in left_out), json.loads(done.stdout), strict=True))
    assert missing and set(missing.values()) <= {"numpy", "pandas", "torch"}, missing


WRONG = "def unique(reports):\n    return len(reports)"


def test_a_wrong_answer_hears_the_hint_of_the_notebook_and_an_error_its_own_line(exercises, shipped):
    (first,) = [e for e in exercises if e.id == "0.1"]
    given, check = site_python.given(first), graded_check(first)
    wrong, broken, prints = alone(
        shipped,
        [
            (given, WRONG, check),
            (given, "def unique(reports):\n    return reports.nothing", check),
            (given, "print('here')\n1 / 0", check),
        ],
    )
    own: dict = {}
    with pytest.raises(AssertionError) as told:  # as the notebook's cells do
        exec(f"{given}\n{WRONG}\n{check}", own)
    assert wrong["said"] == f"CheckError: {told.value}"
    assert "AttributeError" in broken["said"] and "return reports.nothing" in broken["said"]
    assert prints["printed"] == "here\n" and "ZeroDivisionError" in prints["said"] and "line 2" in prints["said"]


def test_without_the_package_nothing_is_written_and_a_wrong_one_is_refused(exercises, tmp_path, monkeypatch):
    monkeypatch.setattr(site_python, "package", lambda: tmp_path / "gone.tgz")
    assert not site_python.write(tmp_path / "python", exercises) and not (tmp_path / "python").exists()
    (tmp_path / "gone.tgz").write_bytes(b"another file")
    with pytest.raises(SiteError, match=r"gone\.tgz: its SHA-256 is .*run: make site"):
        site_python.write(tmp_path / "python", exercises)


def tgz(path: Path, size: int) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name in site_python.LOADED:
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = size
            archive.addfile(entry, io.BytesIO(bytes(size)))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_a_page_loads_is_taken_and_no_more_than_there_is_room_for(exercises, tmp_path, monkeypatch):
    source, chosen = tmp_path / "p.tgz", site_python.runnable(exercises)
    monkeypatch.setattr(site_python, "package", lambda: source)
    monkeypatch.setattr(site_python, "SHA256", tgz(source, 10))
    assert site_python.write(tmp_path / "python", chosen)
    assert {path.name for path in (tmp_path / "python").iterdir()} == {*site_python.LOADED, "library.zip"}
    monkeypatch.setattr(site_python, "SHA256", tgz(source, site_python.LIMIT))
    with pytest.raises(SiteError, match="at most 15,000,000 are meant for it"):
        site_python.write(tmp_path / "other", chosen)


def test_what_stands_in_the_page_cannot_end_its_own_element(exercises):
    for exercise in site_python.runnable(exercises):
        text = site_python.marker(exercise)
        assert text.count("<") == 2 and text.count("\n") == 1
        held = json.loads(text.partition(">")[2].rpartition("</script>")[0])
        assert held["blank"] == exercise.blank and held["check"].startswith("checks.")
