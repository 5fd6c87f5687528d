"""How to add an exercise: three cells in a chapter, one check in the chapter's module of checks, one test of the check,
and no edit anywhere else.

This file is such a chapter and such a module, whole, and what they get for it: the exercise is counted, handed out
blank, graded with other inputs, and shown on the site with the hints of its check.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import chapters
import exercises as tool
import hints
import nbformat
import pytest
import release
import site_chapters

from rrg_lib.book.checks import CheckError

# --- the new function: rrg_lib/book/checks/toy.py ---------------------------------------------------------------------

CHECKS = '''
"""The check of the toy chapter's exercise."""

from __future__ import annotations

import random
from collections.abc import Callable

from rrg_lib.book.checks.comparing import compare_number, number


def mean_length(answer: Callable[[list[str]], float], *, other: int = 0) -> None:
    """Words of a report, on average. `other` draws other reports than the lesson's."""
    draw = random.Random(other)
    reports = ["the heart is large .", "no effusion ."]
    if other:
        reports = [" ".join(draw.choices("abc", k=draw.randint(2, 9))) + " x" for _ in range(draw.randint(3, 6))]
    words = [len(report.split()) for report in reports]
    slips = {
        "that is the number of all words: divide by the number of reports": float(sum(words)),
        "that counts characters: split a report at its blanks first": sum(map(len, reports)) / len(reports),
    }
    compare_number("mean_length", number("mean_length", answer, reports), sum(words) / len(words), slips, "the mean")
'''

# --- the new cells: notebooks/97_toy.py -------------------------------------------------------------------------------

CHAPTER = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 1, peak_gib: 1}
# ---

# %% [markdown]
# # 97 · Toy

# %% tags=["parameters"]
PROFILE = "ci"
DATASET = "iu_phantom"
DATA_ROOT = None
SEED = None

# %%
from rrg_lib.book.checks import toy as checks

# %% [markdown]
# **Exercise 97.1** (4 min). Write `mean_length`: how many words has a report, on average?


# %% exercise="97.1" level="compute"
def mean_length(reports):
    ### BEGIN SOLUTION
    return sum(len(report.split()) for report in reports) / len(reports)
    ### END SOLUTION


# %% exercise="97.1" points=5
checks.mean_length(mean_length)
"""


@pytest.fixture
def chapter(tmp_path, monkeypatch) -> Path:
    """The chapter's source; its module of checks stands where the library's do."""
    source = tmp_path / "rrg_lib" / "book" / "checks" / "toy.py"
    source.parent.mkdir(parents=True)
    source.write_text(CHECKS.lstrip(), encoding="utf-8")
    module = types.ModuleType("rrg_lib.book.checks.toy")
    exec(compile(CHECKS, str(source), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(hints, "ROOT", tmp_path)
    hints.module_tree.cache_clear()
    path = tmp_path / "97_toy.py"
    path.write_text(CHAPTER, encoding="utf-8")
    return path


# --- the new test: tests/book/test_checks_toy.py ----------------------------------------------------------------------


def check_module():
    return sys.modules["rrg_lib.book.checks.toy"]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda reports: sum(len(report.split()) for report in reports), "divide by the number of reports"),
        (lambda reports: sum(map(len, reports)) / len(reports), "split a report at its blanks"),
        (lambda reports: 4.0, "go through the steps once more"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(chapter, answer, hint):
    with pytest.raises(CheckError, match=hint):
        check_module().mean_length(answer)
        check_module().mean_length(answer, other=1)  # a constant knows the lesson's inputs alone


# --- what it gets -----------------------------------------------------------------------------------------------------


def test_it_is_counted_and_its_solution_passes_with_the_lessons_inputs_and_with_others(chapter):
    (exercise,) = tool.exercises_of(chapter)
    assert (exercise.id, exercise.level, exercise.minutes, exercise.points) == ("97.1", "compute", 4, 5)
    assert exercise.calls == (("mean_length", "mean_length"),)
    ((check, function),) = tool.checks_of(exercise)
    scope: dict = {}
    exec(exercise.solution, scope)
    for other in (0, 1, release.OTHERS_UP_TO):
        check(scope[function], other=other)


def test_it_is_handed_out_blank_and_graded_with_hidden_inputs(chapter):
    blank = next(cell for cell in release.self_study(chapter).cells if "def mean_length" in cell.source)
    assert "raise NotImplementedError" in blank.source and "split" not in blank.source
    graded = {cell.id: cell.source for cell in release.assignment(chapter, [3, 4]).cells}
    assert graded["setup"] == "from rrg_lib.book.checks import toy as checks"
    hidden, _, shown = graded["check-97-1"].partition("### END HIDDEN TESTS")
    assert shown.strip() == "checks.mean_length(mean_length)"
    assert '("rrg_lib.book.checks.toy.mean_length", mean_length)' in hidden and "(0, 3, 4)" in hidden


def test_the_site_shows_the_hints_of_its_check_and_folds_the_solution_away(chapter):
    executed = chapter.with_suffix(".ipynb")
    nbformat.write(chapters.read_source(chapter), executed)
    notebook, (exercise,) = site_chapters.page(executed)
    assert any("divide by the number of reports" in hint for hint in exercise.hints)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "(exercise-97-1)=" in text and "split a report at its blanks first" in text
    assert "hide-input" in next(c for c in notebook.cells if "len(report.split())" in c.source).metadata.tags
