"""The exercises of the chapters: what each asks, how it is solved, what it looks like blank, and which check judges it.

    .venv/bin/python tools/exercises.py table     # counts by chapter
    .venv/bin/python tools/exercises.py hours     # into COURSE.md

The chapters' sources hold it all: the text `**Exercise 4.1** (10 min).`, a cell `# %% exercise="4.1" level="implement"`
whose answer stands between nbgrader's marks, and a cell `# %% exercise="4.1" points=10` that calls the check. What the
tests try is marked `exercise("4.1", "wrong")` there.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from chapters import ChapterError, read_source, sources
from hints import hints_of
from nbformat import NotebookNode
from standalone import names, needed, plain

from rrg_lib.runtime.workspace import written_whole

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
COURSE = ROOT / "COURSE.md"
ASKED = re.compile(
    r"\*\*Exercise (?P<id>\d+\.\d+)\*\*\s*\((?P<minutes>\d+) min\)\.\s*(?P<asks>.+?[.?!])(?=\s|\Z)", re.DOTALL
)
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
REGION = re.compile(rf"^(?P<indent>[ \t]*){BEGIN}\n(?P<lines>.*?)^[ \t]*{END}$", re.DOTALL | re.MULTILINE)
#: What stands in a blank form where the answer will.
HOLE = ("# your code here", "raise NotImplementedError")
LEVELS = ("compute", "implement", "explain")
#: What a hint says when the check knows no more than that the answer is wrong.
GENERIC = re.compile(
    r"stops with|returns nothing|shape|differ|(is|are) not right|another number|expected|not finite|is not that of|not "
    r"those of|not in their places|"
    r"return (one|two|True|.consistent)|each of$|not the share"
)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter. `asks` is its first sentence, `text` the cell that asks, `solution` and `check` are
    the sources of the two cells behind it; `module` is that of the chapter's checks."""

    id: str
    chapter: Path
    asks: str
    minutes: int
    level: str
    points: float
    text: str
    solution: str
    check: str
    module: str

    @property
    def name(self) -> str:
        """The id as a cell id and as nbgrader's grade_id."""
        return self.id.replace(".", "-")

    @property
    def anchor(self) -> str:
        """Its place in a page of the site."""
        return f"exercise-{self.name}"

    @property
    def blank(self) -> str:
        return blank(self.solution)

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """What a solver writes."""
        return tuple(node.name for node in ast.parse(self.solution).body if isinstance(node, ast.FunctionDef))

    @cached_property
    def calls(self) -> tuple[tuple[str, str], ...]:
        """(check, function it is given), as the check cell calls them."""
        calls = []
        for node in ast.parse(self.check).body:
            call = node.value if isinstance(node, ast.Expr) else None
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and ast.unparse(call.func.value) == "checks"
            ):
                (answer,) = call.args
                calls.append((call.func.attr, ast.unparse(answer)))
        return tuple(calls)

    @cached_property
    def hints(self) -> tuple[str, ...]:
        """What its checks may tell."""
        return tuple(dict.fromkeys(hint for check, _ in self.calls for hint in hints_of(self.module, check)))

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of the answer that nobody who has not solved it should read: those long enough to say something,
        without comments."""
        regions = (line for region in REGION.finditer(self.solution) for line in region["lines"].splitlines())
        return tuple(
            code for line in regions if len(code := bare(line)) >= 12 and not re.fullmatch(r"return [\w, ]+", code)
        )


def bare(line: str) -> str:
    """A line of code without its comment and its blanks."""
    return re.sub(r"\s+", " ", re.sub(r"\s+#\s.*$", "", line)).strip()


def blank(source: str) -> str:
    """A solution cell with a hole for each answer."""
    return REGION.sub(lambda match: "\n".join(match["indent"] + line for line in HOLE), source)


def exercises_of(path: Path, notebook: NotebookNode | None = None) -> list[Exercise]:
    """The exercises of the chapter at `path`, in order. Raises `ChapterError` when a cell of one is missing, doubled or
    not marked."""
    notebook = notebook or read_source(path)
    texts = {
        match["id"]: (match, cell)
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for match in ASKED.finditer(cell.source)
    }
    marked: dict[str, list[NotebookNode]] = {}
    for cell in notebook.cells:
        if BEGIN in cell.source and "exercise" not in cell.metadata:
            raise ChapterError(
                f"{path}: the cell {cell.source.splitlines()[0]!r} has a solution but no exercise; begin it with # %% "
                f'exercise="4.1"'
            )
        if "exercise" in cell.metadata:
            marked.setdefault(cell.metadata["exercise"], []).append(cell)
    if texts.keys() != marked.keys():
        wrong = ", ".join(sorted(texts.keys() ^ marked.keys()))
        raise ChapterError(
            f"{path}: {wrong}: expected a text **Exercise N.M** (5 min). and two cells marked exercise for each, with "
            f"the same number"
        )
    exercises, module = [], checks_module(path, notebook) if texts else ""
    for name, (match, text) in texts.items():
        cells = marked[name]
        if (
            len(cells) != 2
            or BEGIN not in cells[0].source
            or "points" not in cells[1].metadata
            or cells[0].metadata.get("level") not in LEVELS
        ):
            raise ChapterError(
                f"{path}: exercise {name}: expected one cell with a solution and a level ({', '.join(LEVELS)}), then "
                f"one with the check and its points"
            )
        solved, check = cells
        exercise = Exercise(
            name,
            path,
            " ".join(match["asks"].split()),
            int(match["minutes"]),
            solved.metadata["level"],
            check.metadata["points"],
            text.source,
            solved.source,
            check.source,
            module,
        )
        if not exercise.calls or {function for _, function in exercise.calls} != set(exercise.functions):
            raise ChapterError(
                f"{path}: exercise {name}: the check cell must call a check for each of {', '.join(exercise.functions)}"
            )
        exercises.append(exercise)
    return exercises


def checks_module(path: Path, notebook: NotebookNode) -> str:
    """The one module of checks that a chapter has. Raises `ChapterError` when it has none, or several."""
    modules = {
        alias.asname: f"{node.module}.{alias.name}"
        for cell in notebook.cells
        if cell.cell_type == "code"
        for node in ast.parse(plain(cell.source)).body
        if isinstance(node, ast.ImportFrom) and node.module == "rrg_lib.book.checks"
        for alias in node.names
    }
    if modules.keys() != {"checks"}:
        raise ChapterError(
            f"{path}: expected one line `from rrg_lib.book.checks import NAME as checks`, and no other checks"
        )
    return modules["checks"]


def every() -> list[Exercise]:
    return [exercise for path in sources(NOTEBOOKS) for exercise in exercises_of(path)]


def graded_check(exercise: Exercise) -> str:
    """The calls of the check cell alone: its other lines look at what the chapter has trained."""
    return "\n".join(f"checks.{check}({function})" for check, function in exercise.calls)


def setup_of(notebook: NotebookNode, exercises: list[Exercise]) -> str:
    """What the exercises of a chapter need before the first of them, to stand without the chapter."""
    return needed(
        notebook, set().union(*(names(f"{e.solution}\n{graded_check(e)}") for e in exercises)), exercises[0].chapter
    )


# --- what the tests try -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """An answer that a test gives to a check; `hint` is what a wrong one is told."""

    exercise: str
    kind: str
    check: Callable[..., None]
    answer: Callable[..., Any]
    hint: str = ""


def functions_of(exercises: list[Exercise]) -> dict[Callable[..., None], str]:
    """Check function -> exercise."""
    return {check: exercise.id for exercise in exercises for check, _ in checks_of(exercise)}


def checks_of(exercise: Exercise) -> list[tuple[Callable[..., None], str]]:
    """(check, name of the function of the answer) of each call. Raises `ChapterError` for a check that is not there."""
    module = importlib.import_module(exercise.module)
    for check, _ in exercise.calls:
        if not hasattr(module, check):
            raise ChapterError(
                f"{exercise.chapter}: exercise {exercise.id}: its check cell calls checks.{check}, which "
                f"{exercise.module} does not have; write it there"
            )
    return [(getattr(module, check), function) for check, function in exercise.calls]


def tried(exercises: list[Exercise], folder: Path = ROOT / "tests" / "book") -> Iterator[Tried]:
    """What the marked tests of `folder` give to the checks, read from their parametrisation."""
    of = functions_of(exercises)
    sys.path[:0] = [str(folder), str(folder.parent)]
    for path in sorted(folder.glob("test_checks_*.py")):
        for test in vars(importlib.import_module(path.stem)).values():
            marks = {mark.name: mark for mark in getattr(test, "pytestmark", ())}
            if "exercise" not in marks:
                continue
            where, kind = marks["exercise"].args
            fields, rows = marks["parametrize"].args
            fields = [fields] if isinstance(fields, str) else fields
            for row in rows:
                given = dict(zip(fields, [row] if len(fields) == 1 else row, strict=True))
                check = given.get("check") or next(
                    check for check, id in of.items() if id == where and check.__name__ in test.__code__.co_names
                )
                yield Tried(of[check], kind, check, given["answer"], given.get("hint", ""))


def table(exercises: list[Exercise], answers: list[Tried]) -> str:
    """Counts by chapter, as markdown."""
    lines = [
        "| chapter | exercises | compute · implement · explain | minutes | points | checks | wrong answers tried | "
        "hints matched | right alternatives |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in [*sources(NOTEBOOKS), None]:
        chapter = [e for e in exercises if path in (e.chapter, None)]
        ids = {e.id for e in chapter}
        wrong = [t for t in answers if t.kind == "wrong" and t.exercise in ids]
        hints = {(t.exercise, t.hint) for t in wrong if not GENERIC.search(t.hint)}
        levels = " · ".join(str(sum(e.level == level for e in chapter)) for level in LEVELS)
        right = sum(t.kind == "right" for t in answers if t.exercise in ids)
        cells = [
            path.stem[:2] if path else "all",
            len(chapter),
            levels,
            sum(e.minutes for e in chapter),
            f"{sum(e.points for e in chapter):g}",
        ]
        lines.append(
            f"| {' | '.join(map(str, [*cells, sum(len(e.calls) for e in chapter), len(wrong), len(hints), right]))} |"
        )
    return "\n".join(lines)


def hours(exercises: list[Exercise]) -> str:
    """Minutes and hours of answering by chapter, as markdown."""
    lines = ["| chapter | exercises | minutes | hours |", "|---|---|---|---|"]
    for path in [*sorted({e.chapter for e in exercises}), None]:
        chapter = [e for e in exercises if path in (e.chapter, None)]
        minutes = sum(e.minutes for e in chapter)
        lines.append(
            f"| {path.stem.replace('_', ' ') if path else 'all'} | {len(chapter)} | {minutes} | {minutes / 60:.1f} |"
        )
    return "\n".join(lines)


def with_hours(text: str, exercises: list[Exercise]) -> str:
    """COURSE.md with its table of hours as it should be."""
    before, mark, rest = text.partition("<!-- hours: written by tools/exercises.py hours -->\n")
    _, end, after = rest.partition("<!-- end of hours -->")
    if not mark or not end:
        raise ChapterError("COURSE.md: the two comments around the table of hours are missing")
    return f"{before}{mark}{hours(exercises)}\n{end}{after}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["table", "hours"])
    command = parser.parse_args(argv).command
    try:
        exercises = every()
        if command == "table":
            print(table(exercises, list(tried(exercises))))
        else:
            with written_whole(COURSE) as temporary:
                temporary.write_text(with_hours(COURSE.read_text(encoding="utf-8"), exercises), encoding="utf-8")
    except ChapterError as error:
        print(f"exercises: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
