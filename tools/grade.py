"""Grades what students handed in, several side by side, each in a process of its own with a limit of time and memory.

    .venv/bin/python tools/grade.py ~/course 04_memory_querying_responding --jobs 2

nbgrader does the grading, of each submission in a folder of its own, with a copy of the gradebook and no solved
notebook; its kernel sees Python, the library and that folder (`fence.py`). Here the marks are entered one after the
other, so that the order in which they end changes nothing, and one that hangs or is killed costs no other. A second
call grades what is new or changed. Into `graded/ASSIGNMENT/` of the course: `points.csv`, and `hints.csv` and
`hints.md`, what students were told, the commonest first.
"""

from __future__ import annotations

import argparse
import copy
import csv
import hashlib
import importlib.util
import io
import json
import logging
import os
import re
import shutil
import signal
import site
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fence
import nbformat
import psutil
from nbformat import NotebookNode

from rrg_lib.errors import StorageError
from rrg_lib.runtime.spreadsheet import as_cell
from rrg_lib.runtime.workspace import write_json, written_whole

#: Seconds between two looks at what is running.
LOOK = 0.2
#: How the message of a graded answer begins; the rest is the hint.
COUNT = re.compile(r"^(\d+ of \d+ parts are right|No part is right|Not right yet)\. ")
#: A place on the machine that graded, in a message: it tells the reader nothing.
PLACE = re.compile(r"(?<![\w.:])(?:/[^\s/'\"]+){2,}/?")
#: The same hint with another number is the same hint.
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")
KERNEL = "fenced"
#: Said of one whose answer goes on when its cell is stopped: nbgrader gives up then.
ENDLESS = "an answer goes on though its cell was stopped"

PRIVATE = """

# --- one submission by itself: written by tools/grade.py ---
c.CourseDirectory.root = {root!r}
c.CourseDirectory.db_url = {gradebook!r}
c.Execute.kernel_name = {kernel!r}
"""


class GradeError(Exception):
    """A course that can't be graded. The message says what to do."""


@dataclass(frozen=True)
class Limits:
    """What one submission may take: minutes from its start to its end, GiB of its processes together; and the folders
    that its answers may read besides Python and the library."""

    minutes: float = 15
    memory: float = 6
    readable: tuple[str, ...] = ()


@dataclass
class Graded:
    """What became of one submission. `points` and `told` by the name of the check: (earned, possible), and the message
    of one that is not all right. `stopped` says why it could not be graded. One that was stopped from outside, and not
    by its limits or its own doing, is no `final` word: it is tried again."""

    student: str
    fingerprint: str
    limits: dict[str, Any]
    seconds: float = 0
    points: dict[str, tuple[float, float]] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    final: bool = True

    def holds(self, fingerprint: str, limits: Limits) -> bool:
        """Whether it need not be graded again: a hung one is, with other limits."""
        same = self.fingerprint == fingerprint and self.final
        return same and (not self.stopped or self.limits == json.loads(json.dumps(asdict(limits))))


# --- what there is ----------------------------------------------------------------------------------------------------


class Course:
    """A course folder of nbgrader, and one of its assignments."""

    def __init__(self, folder: Path, assignment: str):
        self.folder, self.assignment = folder.resolve(), assignment
        self.gradebook, self.config = self.folder / "gradebook.db", self.folder / "nbgrader_config.py"
        self.records = self.folder / "graded" / assignment
        for path, help in (
            (self.config, "name the folder of the course, a copy of build/release/course"),
            (self.gradebook, f"there, first: nbgrader generate_assignment {assignment}"),
        ):
            if not path.is_file():
                raise GradeError(f"{path} is missing; {help}")
        self.asked = self._asked()

    def _asked(self) -> str:
        """A digest of what grades depend on besides the submission: the assignment, its configuration, the checks."""
        from nbgrader.api import Gradebook, MissingEntry

        digest = hashlib.sha256(self.config.read_bytes())
        with Gradebook(f"sqlite:///{self.gradebook}") as gradebook:
            try:
                notebooks = gradebook.find_assignment(self.assignment).notebooks
            except MissingEntry:
                raise GradeError(
                    f"{self.gradebook} has no assignment {self.assignment!r}; there, first: nbgrader "
                    f"generate_assignment {self.assignment}"
                ) from None
            cells = [(n.name, cell.name, cell.source) for n in notebooks for cell in n.source_cells]
            cells += [(n.name, cell.name, str(cell.max_score)) for n in notebooks for cell in n.grade_cells]
        digest.update(json.dumps(sorted(cells)).encode())
        for path in sorted((package("rrg_lib") / "book" / "checks").glob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def submissions(self) -> dict[str, Path]:
        """Student -> folder handed in, by name."""
        found = sorted(self.folder.glob(f"submitted/*/{self.assignment}"))
        if not found:
            raise GradeError(f"{self.folder / 'submitted'} has no folder STUDENT/{self.assignment}; collect first")
        return {path.parent.name: path for path in found}

    def fingerprint(self, submission: Path) -> str:
        digest = hashlib.sha256(self.asked.encode())
        for path in sorted(path for path in submission.rglob("*") if path.is_file() and not path.is_symlink()):
            digest.update(json.dumps([str(path.relative_to(submission)), path.stat().st_size]).encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def record(self, student: str) -> Graded | None:
        """What an earlier call wrote of a student; nothing where that can't be read."""
        with suppress(OSError, ValueError, TypeError):
            return Graded(**json.loads((self.records / f"{student}.json").read_text(encoding="utf-8")))
        return None


def links(folder: str, names: list[str]) -> list[str]:
    """The links in a folder, which a submission can't use to bring in what lies elsewhere."""
    return [name for name in names if os.path.islink(os.path.join(folder, name))]


def package(name: str) -> Path:
    """The folder of an installed package."""
    (folder,) = importlib.util.find_spec(name).submodule_search_locations
    return Path(folder).resolve()


# --- one submission ---------------------------------------------------------------------------------------------------


class Submission:
    """nbgrader at work on one submission in a folder of its own."""

    def __init__(self, course: Course, student: str, handed_in: Path, seed: Path, work: Path, limits: Limits):
        self.course, self.student, self.limits, self.work = course, student, limits, work
        self.root, kernel = work / "course", work / "kernel"
        for copied in (self.root / "submitted" / student / course.assignment, kernel / "answers"):
            shutil.copytree(handed_in, copied, ignore=links)
        for name in ("home", "tmp", "runtime"):
            (kernel / name).mkdir()
        solved = course.folder / "source" / course.assignment
        if solved.is_dir():  # what else the course gives out beside its notebook
            shutil.copytree(
                solved, self.root / "source" / course.assignment, ignore=shutil.ignore_patterns("*.ipynb", ".*")
            )
            shutil.copytree(self.root / "source" / course.assignment, kernel / "answers", dirs_exist_ok=True)
        shutil.copy(seed, self.root / "gradebook.db")
        private = PRIVATE.format(
            root=str(self.root), gradebook=f"sqlite:///{self.root / 'gradebook.db'}", kernel=KERNEL
        )
        (self.root / "nbgrader_config.py").write_text(
            course.config.read_text(encoding="utf-8") + private, encoding="utf-8"
        )
        self._write_kernel(kernel)
        self.seen: dict[int, psutil.Process] = {}
        self.stopped, self.log = "", work / "log"
        self.began = time.monotonic()
        environment = {
            **os.environ,
            "JUPYTER_PATH": str(work / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(kernel / "runtime"),
            "TMPDIR": str(kernel / "runtime"),  # where the kernel finds how to connect, behind its fence
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nbgrader", "autograde", course.assignment, f"--student={student}"],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _write_kernel(self, kernel: Path) -> None:
        """A kernel that starts behind the fence."""
        folders = [Path(folder).resolve() for folder in sys.path if folder and os.path.isdir(folder)]
        plan = {
            "folder": str(kernel),
            "start": str(kernel / "answers"),
            "readable": [
                *map(str, (sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages())),
                *map(str, (package("rrg_lib"), package("rrg_data"))),
                *self.limits.readable,
            ],
            "listable": [str(folder) for folder in folders],
            "memory": int(self.limits.memory * 2**30),
        }
        write_json(self.work / "plan.json", plan)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        specification = {
            "argv": [sys.executable, str(Path(fence.__file__).resolve()), str(self.work / "plan.json"), *command],
            "display_name": "Python 3",
            "language": "python",
            "env": {
                "HOME": str(kernel / "home"),
                "IPYTHONDIR": str(kernel / "home"),
                "MPLCONFIGDIR": str(kernel / "home"),
                "TMPDIR": str(kernel / "tmp"),
                "OMP_NUM_THREADS": "1",  # as many threads whatever runs beside it
            },
        }
        write_json(self.work / "jupyter" / "kernels" / KERNEL / "kernel.json", specification)

    def look(self) -> bool:
        """Whether it has ended; beyond a limit it is ended."""
        if self.process.poll() is not None:
            return True
        used = 0
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            for process in (parent, *parent.children(recursive=True)):
                self.seen[process.pid] = process
                with suppress(psutil.NoSuchProcess):
                    used += process.memory_info().rss
        if time.monotonic() - self.began > self.limits.minutes * 60:
            self.stopped = f"no end after {self.limits.minutes:g} minutes"
        elif used > self.limits.memory * 2**30:
            self.stopped = f"more than {self.limits.memory:g} GiB of memory"
        if self.stopped:
            self.end()
        return bool(self.stopped)

    def end(self) -> None:
        """Ends what it started and is still there."""
        if self.process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for process in psutil.Process(self.process.pid).children(recursive=True):
                    self.seen[process.pid] = process
            self.process.kill()
        for process in self.seen.values():
            with suppress(psutil.NoSuchProcess):
                if process.is_running():  # the same one, not another that got its number
                    process.kill()
        self.process.wait()

    def misnamed(self) -> str:
        """What is said of notebooks under other names than the assignment's; empty where there are none."""
        folder = self.root / "submitted" / self.student / self.course.assignment
        handed_in = sorted(path.name for path in folder.glob("*.ipynb"))
        expected = f"{self.course.assignment}.ipynb"
        if not handed_in or expected in handed_in:
            return ""
        return f"found {', '.join(handed_in)[:100]}, expected {expected}; rename it and grade again"

    def graded(self, fingerprint: str) -> Graded:
        """What became of it, entered in the course's gradebook. Call it when it has ended."""
        self.end()
        result = Graded(self.student, fingerprint, asdict(self.limits), round(time.monotonic() - self.began, 1))
        code = self.process.returncode
        if self.stopped or code:
            result.stopped = self.stopped or (
                f"stopped from outside (signal {-code})"
                if code < 0
                else self.misnamed() or last_error(self.log.read_text("utf-8", "replace"))
            )
            result.final = bool(self.stopped) or code > 0
            return result
        if problem := enter(self.course, self.student, self.root / "autograded"):
            result.stopped, result.final = problem, False
            return result
        for path in sorted((self.course.folder / "autograded" / self.student / self.course.assignment).glob("*.ipynb")):
            marks(nbformat.read(path, as_version=4), result)
        return result


def last_error(log: str) -> str:
    """What nbgrader's log says of a submission that it could not grade, in one line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Entry)\b", line)]
    no_notebook = [line for line in lines if "No notebooks found" in line or "Skipping unknown notebook" in line]
    line = (errors or no_notebook or lines or ["nbgrader could not grade it"])[-1]
    if "CellTimeoutError" in line:
        return ENDLESS
    return re.sub(r"^\[.*?\]\s*", "", re.sub(r"(/[^/\s'\"]+)+/", "", line))[:200]


def enter(course: Course, student: str, graded: Path) -> str:
    """Enters the marks of one graded submission in the course's gradebook, and puts its notebook into `autograded/`:
    nbgrader's own last steps. Returns what went wrong."""
    from nbgrader.converters import Autograde
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log
    from traitlets.config import PyFileConfigLoader

    config = copy.deepcopy(PyFileConfigLoader(course.config.name, path=str(course.folder)).load_config())
    config.CourseDirectory.update(
        {
            "root": str(course.folder),
            "db_url": f"sqlite:///{course.gradebook}",
            "submitted_directory": str(graded),
            "assignment_id": course.assignment,
            "student_id": student,
        }
    )
    config.Autograde.sanitize_preprocessors = []
    config.Autograde.autograde_preprocessors = [
        step for step in config.Autograde.autograde_preprocessors if step.__name__ != "Execute"
    ]
    converter = Autograde(coursedir=CourseDirectory(config=config), config=config)
    converter.log.setLevel(logging.ERROR)
    converter.force = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, of how nbgrader asks it
        result = capture_log(converter)
    return "" if result["success"] else last_error(str(result.get("error") or result["log"]))


def marks(notebook: NotebookNode, into: Graded) -> None:
    """Points and messages of a graded notebook. A message is the check's, or says how the answer's own cell stopped."""
    from nbgrader.utils import determine_grade, is_grade, is_solution

    stops = ""
    for cell in notebook.cells:
        errors = [output for output in cell.get("outputs", ()) if output.output_type == "error"]
        if is_solution(cell):
            stops = f"the answer's cell stops with {errors[0].ename}" if errors else ""
        if not is_grade(cell):
            continue
        name = cell.metadata.nbgrader.grade_id
        earned, possible = determine_grade(cell)
        into.points[name] = (round(earned or 0.0, 2), possible)
        if errors:
            (first, *_) = errors
            said = first.evalue if first.ename == "CheckError" else f"{first.ename}: {first.evalue}"
            into.told[name] = stops or " ".join(COUNT.sub("", str(said)).split())


# --- all of them ------------------------------------------------------------------------------------------------------


def grade(
    course: Course,
    limits: Limits,
    jobs: int,
    say: Callable[[str], None] = print,
    again: frozenset[str] = frozenset(),
    told_to_end: Callable[[], int] = lambda: 0,
) -> tuple[list[Graded], int]:
    """Grades what is new or changed, `jobs` at a time, and writes the tables. Returns all in the order of the students'
    names, and how many were graded now. Ends, with what is running, when `told_to_end` gives an exit status."""
    handed_in = course.submissions()
    if unknown := again - set(handed_in):
        raise GradeError(f"--again: {', '.join(sorted(unknown))} handed nothing in for {course.assignment}")
    fingerprints = {student: course.fingerprint(path) for student, path in handed_in.items()}
    results = {}
    for student in handed_in:
        known = course.record(student)
        if known and student not in again and known.holds(fingerprints[student], limits):
            results[student] = known
    waiting = [student for student in handed_in if student not in results]
    count = len(waiting)
    running: list[Submission] = []
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as folder:
        seed = Path(folder).resolve() / "gradebook.db"
        copy_gradebook(course.gradebook, seed)
        try:
            while waiting or running:
                if status := told_to_end():
                    sys.exit(status)
                while waiting and len(running) < jobs:
                    student = waiting.pop(0)
                    work = Path(folder).resolve() / f"{count - len(waiting)}"
                    running.append(Submission(course, student, handed_in[student], seed, work, limits))
                for submission in [submission for submission in running if submission.look()]:
                    running.remove(submission)
                    result = submission.graded(fingerprints[submission.student])
                    results[submission.student] = result
                    write_json(course.records / f"{submission.student}.json", asdict(result))
                    shutil.rmtree(submission.work, ignore_errors=True)
                    say(line(result))
                time.sleep(LOOK)
        finally:
            for submission in running:
                submission.end()
    found = [results[student] for student in handed_in]
    for name, text in (
        ("points.csv", points_table(found)),
        ("hints.csv", as_csv(hints(found))),
        ("hints.md", as_markdown(course.assignment, found)),
    ):
        with written_whole(course.records / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return found, count


def copy_gradebook(source: Path, target: Path) -> None:
    """The whole database as it stands, also when somebody has it open."""
    with sqlite3.connect(source) as read, sqlite3.connect(target) as write:
        read.backup(write)
    read.close()
    write.close()


def line(result: Graded) -> str:
    took = f"{result.seconds / 60:.1f} minutes"
    if result.stopped:
        return f"{result.student}: NOT GRADED, {result.stopped}; {took}"
    earned, possible = (sum(of) for of in zip(*result.points.values(), strict=True))
    return f"{result.student}: {earned:g} of {possible:g} points, {took}"


# --- tables -----------------------------------------------------------------------------------------------------------


def exercise(check: str) -> str:
    """check-4-1 -> 4.1; another name as it is."""
    found = re.fullmatch(r"check-(\d+)-(\d+)", check)
    return f"{found[1]}.{found[2]}" if found else check


def points_table(found: list[Graded]) -> str:
    """A row a student: points of each exercise, their sum, and why there are none."""
    checks = list(dict.fromkeys(check for result in found for check in result.points))
    rows = [["student", *map(exercise, checks), "points", "of", "not graded"]]
    for result in found:
        earned = [result.points[check][0] if check in result.points else "" for check in checks]
        total = [round(sum(of), 2) for of in zip(*result.points.values(), strict=True)] or ["", ""]
        rows.append([result.student, *earned, *total, result.stopped])
    return written_csv(rows)


Hint = tuple[str, str, list[str]]


def hints(found: list[Graded]) -> list[Hint]:
    """(exercise, what was told, to whom), the commonest first. The same mistake is told with each student's own
    numbers; the first one's stand here."""
    told: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for result in found:
        for check, message in result.told.items():
            shown = PLACE.sub("…", message)
            told[exercise(check), NUMBER.sub("…", shown)].append((shown, result.student))
    ordered = sorted(told.items(), key=lambda hint: (-len(hint[1]), *hint[0]))
    return [(name, each[0][0], [student for _, student in each]) for (name, _), each in ordered]


def as_csv(rows: list[Hint]) -> str:
    return written_csv([["exercise", "hint", "students", "who"], *([e, h, len(w), " ".join(w)] for e, h, w in rows)])


def as_markdown(assignment: str, found: list[Graded]) -> str:
    graded = [result for result in found if not result.stopped]
    lines = [
        f"# {assignment}: what students were told",
        "",
        f"{len(graded)} graded of {len(found)} handed in. The commonest first.",
        "",
        "| exercise | hint | students | who |",
        "|---|---|---|---|",
    ]
    for name, hint, who in hints(found):
        shown = hint.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {name} | {shown} | {len(who)} | {', '.join(who)} |")
    if missing := [result for result in found if result.stopped]:
        lines += ["", "Not graded:", "", *(f"- {result.student}: {result.stopped}" for result in missing)]
    return "\n".join(lines) + "\n"


def written_csv(rows: list[list[Any]]) -> str:
    """The rows as CSV. Hints and names are students' text, which a spreadsheet must show and never run: `as_cell`."""
    text = io.StringIO()
    cells = ([as_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def summary(found: list[Graded], count: int, jobs: int, seconds: float) -> Iterator[str]:
    stopped = [result for result in found if result.stopped]
    graded = len(found) - len(stopped)
    yield f"{len(found)} handed in: {graded} graded, {len(stopped)} not; {len(found) - count} as before"
    if count:
        yield (f"{seconds / 60:.1f} minutes with {jobs} at a time, {seconds / 60 / count:.2f} minutes per student")
    if stopped:
        yield f"not graded: {', '.join(result.student for result in stopped)}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("course", type=Path, help="the folder where nbgrader works")
    parser.add_argument("assignment")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--minutes", type=float, default=Limits.minutes, help="what one may take")
    parser.add_argument("--memory", type=float, default=Limits.memory, help="GiB that one may take")
    parser.add_argument("--readable", action="append", default=[], help="a folder that answers may read besides")
    parser.add_argument("--again", nargs="+", default=[], metavar="STUDENT", help="grade these though nothing changed")
    given = parser.parse_args(argv)
    if given.jobs < 1 or given.minutes <= 0 or given.memory <= 0:
        parser.error("--jobs, --minutes and --memory are greater than 0")
    told: list[int] = []  # not an exception where it arrives: nbgrader takes one for a submission that can't be graded
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(128 + number))
    limits = Limits(given.minutes, given.memory, tuple(str(Path(path).resolve()) for path in given.readable))
    if not fence.available():
        print("no fence: this system has no Landlock, so answers can read and write what you can; use a container")
    began = time.monotonic()
    try:
        found, count = grade(
            Course(given.course, given.assignment),
            limits,
            given.jobs,
            lambda text: print(text, flush=True),
            frozenset(given.again),
            lambda: told[0] if told else 0,
        )
    except (GradeError, StorageError) as error:
        print(f"grade: {error}", file=sys.stderr)
        return 1
    for text in summary(found, count, given.jobs, time.monotonic() - began):
        print(text)
    return int(any(result.stopped for result in found))


if __name__ == "__main__":
    sys.exit(main())
