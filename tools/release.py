"""What is handed out: blank notebooks to learn from alone, and a course for nbgrader. Both are made of the chapters;
neither shows a student a solution.

    .venv/bin/python tools/release.py            # into build/release (make release)

`self-study/` has every chapter with its solutions blank and no outputs; each check follows its exercise and is run at
once. Its AGENTS.md asks assistants for hints instead of solutions. `course/` is an nbgrader course with an assignment a chapter. A chapter trains models for minutes and a grader
runs every notebook of every student, so an assignment holds what the exercises need and no more: imports, texts,
answers, checks. Its checks ask again, hidden, with other inputs: COURSE.md says what that stops and what not.
"""

from __future__ import annotations

import argparse
import copy
import re
import secrets
import shutil
import sys
from pathlib import Path

import nbformat
from chapters import ChapterError, read_source, sources, written
from exercises import HOLE, NOTEBOOKS, Exercise, blank, checks_of, exercises_of, graded_check, setup_of
from nbformat import NotebookNode

from rrg_lib.errors import RRGError
from rrg_lib.runtime.workspace import folder_written_whole, workspace

#: What a release is, and nothing else.
WRITTEN = {"self-study", "course"}
#: Found in a course that is in use: a new release must not be laid over it.
IN_USE = ("gradebook.db", "submitted", "release", "autograded", "graded", "feedback")
#: How many times, with other inputs, the graded form asks.
ASKED_AGAIN = 2
#: The numbers that draw its inputs are between 1 and this; every check takes them all.
OTHERS_UP_TO = 10**6
TIMEOUT = 120
#: How an assistant is to help whoever learns from these notebooks, under the name that assistants look for.
ASSISTANTS, GUIDE = Path(__file__).with_name("assistants.md"), "AGENTS.md"

CONFIG = f'''"""The course as `make release` wrote it; COURSE.md of the book says how it behaves. Run nbgrader in this folder."""

import os
import re
import sys

import nbformat
from nbformat.v4 import new_code_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    Execute,
    LimitOutput,
    NbGraderPreprocessor,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)


class LastOfEach(DeduplicateIds):
    """Of a cell that a student doubled the last counts; the others become plain cells (with empty metadata nbgrader stops)."""

    def preprocess(self, nb, resources):
        nb, resources = super().preprocess(nb, resources)
        for cell in nb.cells:
            if not cell.metadata.get("nbgrader", True):
                del cell.metadata["nbgrader"]
        return nb, resources


class PutBack(NbGraderPreprocessor):
    """Deleted set-ups and answers get their cells back, the answers empty; nbgrader itself knows only checks, and stops without what stood before them."""

    def preprocess(self, nb, resources):
        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            source = gradebook.find_notebook(about["notebook"], about["assignment"])
            wanted = [cell.name for cell in source.source_cells]
            checks = {{cell.name for cell in source.grade_cells}}
            answers = {{cell.name for cell in source.solution_cells}}
        present = [cell.metadata.get("nbgrader", {{}}).get("grade_id") for cell in nb.cells]
        at = 0 if set(wanted) & set(present) else len(nb.cells)  # where all ids are lost, the student's cells are run first
        for name in wanted:
            if name in present:
                at = present.index(name) + 1
            elif name not in checks:
                told = {{"schema_version": 3, "grade_id": name, "grade": False, "solution": name in answers, "locked": name not in answers, "task": False}}
                nb.cells.insert(at, new_code_cell("# This cell was missing.", metadata={{"nbgrader": told}}))
                present.insert(at, name)
                at += 1
        return nb, resources


class OnlyErrors(NbGraderPreprocessor):
    """Errors alone decide: nbgrader would take a warning for one, and a printed number for points. Where each of them says how many
    parts are right, the least of these shares is earned; nbgrader reads the points from a number that stands before the error."""

    def preprocess_cell(self, cell, resources, index):
        told = cell.metadata.get("nbgrader", {{}})
        if told.get("grade"):
            cell.outputs = [output for output in cell.outputs if output.output_type == "error"]
            parts = [re.match(r"(\\d+) of ([1-9]\\d*) parts are right\\. ", str(output.evalue)) for output in cell.outputs if output.ename == "CheckError"]
            if cell.outputs and len(parts) == len(cell.outputs) and all(parts):
                share = min(int(of[1]) / int(of[2]) for of in parts)
                points = {{"text/plain": f"{{share * told['points']:.2f}}"}}
                if share < 1:
                    cell.outputs.insert(0, new_output("execute_result", points, execution_count=cell.execution_count))
        return cell, resources


c = get_config()  # noqa: F821

# Some editors put a byte order mark before a notebook; JSON has none.
_reads = nbformat.reads
nbformat.reads = lambda text, *options, **more: _reads(text.removeprefix("\\ufeff"), *options, **more)

# nbgrader starts programs that are installed beside this Python, also when its environment is not activated.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]

c.CourseDirectory.course_id = "rrg"
# What a student sees where the answer will be.
c.ClearSolutions.code_stub = {{"python": {chr(10).join(HOLE)!r}}}
# Seconds a cell may take; then it is stopped, counts as wrong, and the next one runs.
c.Execute.timeout = {TIMEOUT}
# And until Python has started, which takes long where several are graded at a time.
c.Execute.startup_timeout = {TIMEOUT}
# Whatever kernel a notebook names, it is graded with this one.
c.Execute.kernel_name = "python3"
c.Autograde.sanitize_preprocessors = [ClearOutput, LastOfEach, OverwriteKernelspec, PutBack, OverwriteCells, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [Execute, OnlyErrors, LimitOutput, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata]
# A check that a student deleted is put back and judged.
c.OverwriteCells.add_missing_cells = True
'''

HIDDEN = """\
### BEGIN HIDDEN TESTS
import builtins, importlib, os, sys  # noqa: E401

for name in [name for name in sys.modules if name.partition(".")[0] == "rrg_lib"]:
    del sys.modules[name]  # whatever was done to the checks: they are read again, and not from the folder of the answer
sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder) != os.getcwd()]
builtins.getattr(importlib.import_module("rrg_lib.book.checks"), "judge_answers")({calls}, {others})
### END HIDDEN TESTS"""

WELCOME = """\
# Exercises of chapter {number}

{count} exercises, about {minutes} minutes, {points:g} points. The equations, tables and pictures they speak of are in chapter {number} of the book: keep it open beside this.

Write each answer where `raise NotImplementedError` stands. The cell behind it checks it: silence is right, otherwise it names the likely mistake. Your
answers are graded with other inputs than those the check shows you. Run all cells from the top before you hand it in, and hand it in under its own name."""


#: Italics that begin a text: the caption of a figure, and an assignment has none.
CAPTION = re.compile(r"\A(?:\*(?!\*)[^*]+\*(?!\*)\s*)+")


class ReleaseError(Exception):
    """A release that can't be written. The message says what to do."""


def self_study(path: Path) -> NotebookNode:
    """The chapter with holes for answers. It never had outputs: the source has none."""
    notebook = read_source(path)
    exercises_of(path, notebook)  # every solution belongs to one
    for cell in notebook.cells:
        cell.source = blank(cell.source)
    return notebook


def assignment(path: Path, others: list[int]) -> NotebookNode:
    """The exercises of a chapter as an nbgrader source, solved, with hidden tests that ask with the inputs `others`."""
    chapter = read_source(path)
    exercises = exercises_of(path, chapter)
    notebook = nbformat.v4.new_notebook(metadata=copy.deepcopy(chapter.metadata))
    notebook.nbformat_minor = 5
    notebook.metadata.pop("jupytext", None)  # a student's copy is paired with nothing
    minutes, points = sum(e.minutes for e in exercises), sum(e.points for e in exercises)
    welcome = WELCOME.format(number=path.stem[:2], count=len(exercises), minutes=minutes, points=points)
    setup = "\n\n".join(filter(None, (edition_of(chapter), setup_of(chapter, exercises))))
    notebook.cells = [text("welcome", welcome), code("setup", setup, locked=True)]
    asked: set[str] = set()
    for exercise in exercises:
        if exercise.text not in asked:
            notebook.cells.append(text(f"text-{exercise.name}", CAPTION.sub("", exercise.text).strip()))
        asked.add(exercise.text)
        notebook.cells.append(code(f"exercise-{exercise.name}", exercise.solution, solution=True))
        # Hidden first: only what it raises may earn a part, and the shown line calls whatever the answer made of `checks`.
        check = f"{hidden(exercise, others)}\n{graded_check(exercise)}"
        notebook.cells.append(code(f"check-{exercise.name}", check, grade=True, locked=True, points=exercise.points))
    return notebook


def edition_of(chapter: NotebookNode) -> str:
    """The cell that asks for the library's edition: an assignment needs the same as its chapter."""
    return next((cell.source for cell in chapter.cells if "rrg_lib.book.edition" in cell.source), "").strip()


def hidden(exercise: Exercise, others: list[int]) -> str:
    calls = ", ".join(f'("{check.__module__}.{check.__name__}", {function})' for check, function in checks_of(exercise))
    return HIDDEN.format(calls=f"[{calls}]", others=(0, *others))


def text(name: str, source: str) -> NotebookNode:
    cell = nbformat.v4.new_markdown_cell(source)
    cell.id = name
    return cell


def code(
    name: str,
    source: str,
    *,
    solution: bool = False,
    grade: bool = False,
    locked: bool = False,
    points: float | None = None,
) -> NotebookNode:
    """A code cell with nbgrader's metadata: its grade_id is the name that the chapter's cell has too."""
    told = {
        "schema_version": 3,
        "grade_id": name,
        "solution": solution,
        "grade": grade,
        "locked": locked,
        "task": False,
    }
    cell = nbformat.v4.new_code_cell(source, metadata={"nbgrader": told | ({"points": points} if grade else {})})
    cell.id = name
    return cell


def release(out: Path, others: list[int] | None = None, chapters: list[Path] | None = None) -> int:
    """Write both forms into `out`, all or nothing. Raises `ReleaseError` when a course there is in use. Returns the
    number of chapters."""
    for course in (out / "course", out):
        if found := [name for name in IN_USE if (course / name).exists()]:
            raise ReleaseError(
                f"{course} is in use: it has {', '.join(found)}. Copy it to where you teach and remove it here, or "
                f"choose another folder with --out"
            )
    if out.exists() and (other := sorted({path.name for path in out.iterdir()} - WRITTEN)):
        raise ReleaseError(
            f"{out} holds {', '.join(other)[:100]}, which no release has, and a release takes the place of the whole "
            f"folder; choose another folder with --out"
        )
    chapters = chapters or sources(NOTEBOOKS)
    with folder_written_whole(out) as made:
        for path in chapters:
            drawn = others or [
                secrets.randbelow(OTHERS_UP_TO) + 1 for _ in range(ASKED_AGAIN)
            ]  # feedback on one chapter shows nothing of the next
            for where, notebook in (
                ("self-study", self_study(path)),
                (f"course/source/{path.stem}", assignment(path, drawn)),
            ):
                (made / where).mkdir(parents=True, exist_ok=True)
                (made / where / f"{path.stem}.ipynb").write_text(written(notebook), encoding="utf-8")
        (made / "course" / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
        shutil.copyfile(ASSISTANTS, made / "self-study" / GUIDE)
    return len(chapters)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=workspace() / "release")
    parser.add_argument(
        "--others",
        type=int,
        nargs="+",
        help="the numbers that draw the hidden inputs; without them, nobody knows them before",
    )
    given = parser.parse_args(argv)
    if given.others and not all(1 <= other <= OTHERS_UP_TO for other in given.others):
        parser.error(f"--others are numbers from 1 to {OTHERS_UP_TO}: 0 draws the inputs that the lesson shows")
    try:
        count = release(given.out, given.others)
    except (ReleaseError, ChapterError, RRGError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(
        f"{given.out}: {count} blank notebooks in self-study/, {count} assignments in course/. COURSE.md says how to "
        f"go on"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
