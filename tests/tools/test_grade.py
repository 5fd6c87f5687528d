"""Submissions graded side by side get the grades that they get one after the other, and one that hangs, or means to
read or to write what is not its own, costs no other."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fence
import grade
import nbformat
import pytest
import release
from exercises import ROOT

STEM = "97_small"
#: A check of two claims and one of one, in a module of its own: without PyTorch a submission takes seconds. The library
#: is imported when they are called: the hidden cell reads it again, and its errors are another class then.
CHECKS = '''
def spread(answer, *, other=0):
    """The least and the greatest of some numbers."""
    from rrg_lib.book.checks import CheckError, answered

    numbers = [3 + other, 1, 4, 1, 5]
    got = answered("spread", answer, list(numbers))
    right = [a == b for a, b in zip(got, (min(numbers), max(numbers)), strict=True)]
    if not all(right):
        missing = " and ".join(name for name, fine in zip(("the least", "the greatest"), right) if not fine)
        raise CheckError(f"spread: {missing} is not right", right=sum(right), parts=2)


def double(answer, *, other=0):
    from rrg_lib.book.checks import CheckError, answered

    got = answered("double", answer, 7 + other)
    if got == 7 + other:
        raise CheckError(f"double: {got} is the number itself")
    if got != 14 + 2 * other:
        raise CheckError(f"double: {got} is not right")


def half(answer, *, other=0):
    from rrg_lib.book.checks import CheckError, answered

    if answered("half", answer, 8 + 2 * other) != 4 + other:
        raise CheckError("half: divide by two")
'''
SPREAD = "def spread(numbers):\n    ### BEGIN SOLUTION\n    return min(numbers), max(numbers)\n    ### END SOLUTION\n"
BOTH = (
    "def double(number):\n    ### BEGIN SOLUTION\n    return 2 * number\n    ### END SOLUTION\n\n\n"
    "def half(number):\n    ### BEGIN SOLUTION\n    return number / 2\n    ### END SOLUTION\n"
)
RIGHT = {"97-1": SPREAD, "97-2": BOTH}
HALF = "def double(number):\n    return 2 * number\n\n\ndef half(number):\n    raise NotImplementedError\n"
ITSELF = HALF.replace("2 * number", "number")
HANGS = """
def spread(numbers):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""
READS = """
import glob, re


def spread(numbers):
    text = open("{course}/source/97_small/97_small.ipynb").read()
    return eval(re.search(r"return (min[^\\\\]*)", text)[1])
"""
WRITES = """
import sqlite3


def spread(numbers):
    with sqlite3.connect("{course}/gradebook.db") as gradebook:
        gradebook.execute("update grade set auto_score = 100")
    return min(numbers), max(numbers)
"""
#: Says that it is right: by an error of the name that counts, in words that count, by a number shown, by its own name.
CLAIMS = """
from rrg_lib.book.checks import CheckError


def spread(numbers):
    get_ipython().displayhook(5)
    raise CheckError("1 of 2 parts are right. ", right=1, parts=2)


class checks:
    @staticmethod
    def spread(answer):
        raise CheckError("1 of 2 parts are right. ")
"""
ESCAPES = """
class CheckError(BaseException):
    pass


def spread(numbers):
    raise CheckError("1 of 2 parts are right. ")


spread.__name__ = "1 of 2 parts are right. "
"""
#: What each of twelve hands in, and what it earns of 4 and 6 points; None: not graded.
TWELVE: dict[str, tuple[dict[str, str], tuple[float, float] | None]] = {
    "ada": (RIGHT, (4, 6)),
    "ben": ({}, (0, 0)),
    "cai": ({**RIGHT, "97-1": "def spread(numbers):\n    return min(numbers), numbers[-2]\n"}, (2, 6)),
    "dot": ({**RIGHT, "97-1": "def spread(numbers):\n    return 1, 5\n"}, (2, 6)),
    "eve": ({**RIGHT, "97-2": HALF}, (4, 3)),
    "fay": ({**RIGHT, "97-2": ITSELF}, (4, 0)),
    "gus": ({**RIGHT, "97-1": "def spread(numbers:\n"}, (0, 6)),
    "hal": ({**RIGHT, "97-1": HANGS}, None),
    "ida": ({**RIGHT, "97-1": READS}, (0, 6)),
    "jon": ({**RIGHT, "97-1": WRITES}, (0, 6)),
    "kit": ({**RIGHT, "97-1": CLAIMS}, (0, 0)),  # who replaces `checks` has no checks
    "lou": ({**RIGHT, "97-1": ESCAPES}, (0, 6)),
}
if not fence.available():  # who reads and writes what is not theirs succeeds there, and the call says so
    del TWELVE["ida"], TWELVE["jon"]


def solved_notebook() -> nbformat.NotebookNode:
    calls = {"97-1": ["spread"], "97-2": ["double", "half"]}
    cells = [release.code("setup", "import small_checks as checks", locked=True)]
    for (name, functions), points in zip(calls.items(), (4, 6), strict=True):
        asked = ", ".join(f'("small_checks.{function}", {function})' for function in functions)
        hidden = release.HIDDEN.format(calls=f"[{asked}]", others=(0, 3, 20))
        shown = "\n".join(f"checks.{function}({function})" for function in functions)
        cells.append(release.code(f"exercise-{name}", RIGHT[name], solution=True))
        cells.append(release.code(f"check-{name}", f"{hidden}\n{shown}", grade=True, locked=True, points=points))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def blank_course(tmp_path_factory) -> Path:
    """The course, its assignment generated, with nothing handed in."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import PyFileConfigLoader

    folder = tmp_path_factory.mktemp("course")
    (folder / "checks").mkdir()
    (folder / "checks" / "small_checks.py").write_text(CHECKS, encoding="utf-8")
    course = folder / "course"
    (course / "source" / STEM).mkdir(parents=True)
    nbformat.write(solved_notebook(), course / "source" / STEM / f"{STEM}.ipynb")
    (course / "nbgrader_config.py").write_text(release.CONFIG + "\nc.Execute.timeout = 30\n", encoding="utf-8")
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.CourseDirectory.root = str(course)
    api = NbGraderAPI(config=config)
    api.log_level = logging.ERROR
    assert api.generate_assignment(STEM)["success"]
    return course


def hand_in(course: Path, student: str, answers: dict[str, str]) -> Path:
    notebook = nbformat.read(course / "release" / STEM / f"{STEM}.ipynb", as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "").removeprefix("exercise-")
        if name in answers:
            cell.source = answers[name].replace("{course}", str(course))
    path = course / "submitted" / student / STEM / f"{STEM}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def grading(course: Path, *options: str) -> subprocess.Popen:
    """The command at work, what it prints to be read from `stdout`."""
    checks = course.parent / "checks"
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "grade.py"), str(course), STEM, "--readable", str(checks), *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(checks)))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def graded(course: Path, *options: str) -> tuple[int, str]:
    """The exit code, and what was printed."""
    process = grading(course, *options)
    said, _ = process.communicate()
    return process.returncode, said


def tables(course: Path) -> dict[str, bytes]:
    return {name: (course / "graded" / STEM / name).read_bytes() for name in ("points.csv", "hints.csv", "hints.md")}


def earned(course: Path) -> dict[str, tuple[float, float] | None]:
    with (course / "graded" / STEM / "points.csv").open(encoding="utf-8", newline="") as rows:
        return {
            row["student"]: None if row["not graded"] else (float(row["97.1"]), float(row["97.2"]))
            for row in csv.DictReader(rows)
        }


def in_the_gradebook(course: Path) -> dict[str, float]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {found.student.id: found.score for found in gradebook.assignment_submissions(STEM)}


# --- whole courses ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_twelve_get_the_same_grades_two_at_a_time_and_one_after_the_other(blank_course, tmp_path):
    made = {}
    for jobs in ("1", "2"):
        course = tmp_path / jobs / "course"
        shutil.copytree(blank_course, course)
        shutil.copytree(blank_course.parent / "checks", course.parent / "checks")
        for student, (answers, _) in TWELVE.items():
            hand_in(course, student, answers)
        code, said = graded(course, "--jobs", jobs)
        assert code == 1 and f"hal: NOT GRADED, {grade.ENDLESS}" in said and "Warning" not in said, said
        assert "not graded: hal" in said and re.search(r"minutes with \d at a time, [\d.]+ minutes per student", said)
        assert earned(course) == {student: points for student, (_, points) in TWELVE.items()}, said
        assert {k: v for k, v in in_the_gradebook(course).items() if v} == {
            student: sum(points) for student, (_, points) in TWELVE.items() if points and sum(points)
        }
        made[jobs] = tables(course)
    assert made["1"] == made["2"]


@pytest.mark.slow
def test_a_second_call_grades_what_is_new_or_changed_alone_and_a_killed_one_loses_nothing(blank_course, tmp_path):
    course = tmp_path / "a" / "course"
    shutil.copytree(blank_course, course)
    shutil.copytree(blank_course.parent / "checks", course.parent / "checks")
    for student in ("ada", "cai"):
        hand_in(course, student, TWELVE[student][0])
    with grading(course) as killed:
        assert killed.stdout.readline().startswith("ada: 10 of 10 points")
        killed.kill()
    code, said = graded(course)
    assert code == 0 and "ada:" not in said and "cai: 8 of 10" in said and "1 as before" in said, said
    before = tables(course)
    code, said = graded(course)
    assert code == 0 and "ada:" not in said and "2 as before" in said
    assert tables(course) == before
    hand_in(course, "cai", TWELVE["ada"][0])
    hand_in(course, "eve", TWELVE["eve"][0])
    (course / "graded" / STEM / "ada.json").write_text('{"student": "ada", "fing', encoding="utf-8")  # cut short
    code, said = graded(course, "--jobs", "2")
    assert [student for student in ("ada", "cai", "eve") if f"{student}:" in said] == ["ada", "cai", "eve"], said
    assert earned(course) == {"ada": (4, 6), "cai": (4, 6), "eve": (4, 3)}
    with grading(course, "--again", "ada", "cai") as ended:
        assert ended.stdout.readline().startswith("ada: 10 of 10 points")
        ended.terminate()
        assert ended.wait() == 143
        assert ended.stdout.read() == ""


@pytest.mark.slow
def test_one_message_says_which_part_fails_and_why_and_stands_below_its_points(blank_course, tmp_path):
    course = tmp_path / "a" / "course"
    shutil.copytree(blank_course, course)
    shutil.copytree(blank_course.parent / "checks", course.parent / "checks")
    hand_in(course, "cai", {**TWELVE["cai"][0], "97-2": HALF})
    assert graded(course)[0] == 0
    notebook = nbformat.read(course / "autograded" / "cai" / STEM / f"{STEM}.ipynb", as_version=4)
    outputs = {cell.metadata.nbgrader.grade_id: cell.outputs for cell in notebook.cells if "nbgrader" in cell.metadata}
    points, message = outputs["check-97-1"]
    assert points.data["text/plain"] == "2.00"
    assert message.evalue == "1 of 2 parts are right. spread: the greatest is not right"
    points, message = outputs["check-97-2"]
    assert points.data["text/plain"] == "3.00" and message.evalue.startswith(
        "1 of 2 parts are right. half: still blank"
    )


# --- the parts --------------------------------------------------------------------------------------------------------


def result(student: str, *told: tuple[str, str], stopped: str = "") -> grade.Graded:
    points = {} if stopped else {"check-4-1": (0, 5.0), "check-4-2": (2.5, 5.0)}
    return grade.Graded(student, "print", {}, points=points, told=dict(told), stopped=stopped)


FOUND = [
    result("ada", ("check-4-1", "4.2 is the sum | not the mean"), ("check-4-2", "still blank")),
    result("ben", ("check-4-1", "17 is the sum | not the mean"), ("check-4-2", "no '/tmp/a1/course/x' and 1/2")),
    result("bob", ("check-4-2", "no '/tmp/b22/course/x' and 1/2")),
    result("cai", stopped="no end after 15 minutes"),
]


def test_the_commonest_mistake_comes_first_with_everyone_who_made_it_and_the_first_ones_numbers():
    assert grade.hints(FOUND) == [
        ("4.1", "4.2 is the sum | not the mean", ["ada", "ben"]),
        ("4.2", "no '…' and 1/2", ["ben", "bob"]),
        ("4.2", "still blank", ["ada"]),
    ]
    assert grade.as_csv(grade.hints(FOUND)).splitlines()[1] == "4.1,4.2 is the sum | not the mean,2,ada ben"
    shown = grade.as_markdown("04", FOUND).splitlines()
    assert "| 4.1 | 4.2 is the sum \\| not the mean | 2 | ada, ben |" in shown
    assert shown[-1] == "- cai: no end after 15 minutes"


def test_no_cell_that_a_teacher_opens_in_a_spreadsheet_is_a_formula_of_a_student(tmp_path):
    formula = "=HYPERLINK('http://elsewhere', 'see')"
    found = [
        result("@ada", ("check-4-1", f"{formula} is a function, not a number")),
        result("ben", stopped="+cmd|' /C calc'!A1"),
        replace(result("cai"), points={"check-4-1": (-2.0, 5.0)}),
    ]
    [[_, hint, *_, who]] = list(csv.reader(grade.as_csv(grade.hints(found)).splitlines()[1:]))
    assert hint == f"'{formula} is a function, not a number" and who == "'@ada"
    ada, ben, cai = csv.reader(grade.points_table(found).splitlines()[1:])
    assert ada[0] == "'@ada" and ben[-1] == "'+cmd|' /C calc'!A1"
    assert cai[1] == "-2.0", "a number stays one"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"{STEM} (1).ipynb"], f"found {STEM} (1).ipynb, expected {STEM}.ipynb; rename it and grade again"),
        ([f"{STEM}.ipynb", "draft.ipynb"], ""),
        (["answers.html"], ""),
    ],
)
def test_a_notebook_of_another_name_is_named_with_the_name_that_it_should_have(names, said, tmp_path):
    handed_in = tmp_path / "submitted" / "ada" / STEM
    handed_in.mkdir(parents=True)
    for name in names:
        (handed_in / name).write_text("{}")
    submission = grade.Submission.__new__(grade.Submission)
    submission.root, submission.student, submission.course = tmp_path, "ada", SimpleNamespace(assignment=STEM)
    assert submission.misnamed() == said


def test_the_table_of_points_says_who_was_not_graded_and_why():
    assert grade.points_table(FOUND).splitlines() == [
        "student,4.1,4.2,points,of,not graded",
        "ada,0,2.5,2.5,10.0,",
        "ben,0,2.5,2.5,10.0,",
        "bob,0,2.5,2.5,10.0,",
        "cai,,,,,no end after 15 minutes",
    ]


def test_a_hung_one_is_tried_again_with_other_limits_and_one_stopped_from_outside_always():
    limits, more = grade.Limits(1, 2), grade.Limits(5, 2)
    kept = json.loads(json.dumps(grade.asdict(limits)))
    hung = grade.Graded("ada", "print", kept, stopped="no end")
    assert hung.holds("print", limits) and not hung.holds("print", more) and not hung.holds("another", limits)
    assert not grade.Graded("ada", "print", kept, stopped="signal 9", final=False).holds("print", limits)
    assert grade.Graded("ada", "print", kept).holds("print", more)


def test_a_folder_that_is_no_course_is_named_with_what_to_do(tmp_path, capsys):
    assert grade.main([str(tmp_path), STEM]) == 1
    assert "nbgrader_config.py is missing; name the folder of the course" in capsys.readouterr().err
    (tmp_path / "nbgrader_config.py").write_text("", encoding="utf-8")
    assert grade.main([str(tmp_path), STEM]) == 1
    assert f"nbgrader generate_assignment {STEM}" in capsys.readouterr().err


def test_behind_the_fence_a_file_outside_can_be_neither_read_nor_written_and_memory_is_limited(tmp_path):
    inside, secret = tmp_path / "inside", tmp_path / "secret.txt"
    inside.mkdir()
    secret.write_text("the answer", encoding="utf-8")
    plan = {
        "folder": str(inside),
        "start": str(inside),
        "readable": [sys.prefix, sys.base_prefix],
        "listable": [],
        "memory": 2**30,
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    tried = f"""
import os
for attempt in (
    lambda: open({str(secret)!r}).read(),
    lambda: open({str(secret)!r}, "a"),
    lambda: open({str(tmp_path / "new.txt")!r}, "w"),
    lambda: os.symlink({str(secret)!r}, "link") or open("link").read(),
    lambda: os.kill(os.getppid(), 0) if {fence.available() >= 6} else open({str(secret)!r}),
    lambda: bytearray(2**31),
    lambda: open("mine.txt", "w").write("x"),
):
    try:
        attempt()
        print("done")
    except (OSError, MemoryError) as error:
        print(type(error).__name__)
"""
    command = [sys.executable, fence.__file__, str(tmp_path / "plan.json"), sys.executable, "-S", "-c", tried]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    files = ["PermissionError" if fence.available() else "done"] * 5
    memory = "MemoryError" if sys.platform == "linux" else "done"
    assert done.stdout.split() == [*files, memory, "done"], done.stderr


def test_a_link_that_was_handed_in_is_not_followed(tmp_path):
    (tmp_path / "solved.ipynb").write_text("{}", encoding="utf-8")
    handed_in = tmp_path / "submitted"
    handed_in.mkdir()
    (handed_in / "notes.txt").write_text("mine", encoding="utf-8")
    os.symlink(tmp_path / "solved.ipynb", handed_in / "seen.ipynb")
    shutil.copytree(handed_in, tmp_path / "copied", ignore=grade.links)
    assert [path.name for path in (tmp_path / "copied").iterdir()] == ["notes.txt"]
