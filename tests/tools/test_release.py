"""What is handed out holds no solution, and nbgrader gives the points that an answer deserves, also when a student
broke the notebook."""

from __future__ import annotations

import copy
import logging
import re
import tomllib
from collections import Counter
from pathlib import Path

import exercises as tool
import nbformat
import pytest
import release
import site_chapters
from places import ROOT

CHAPTERS = tool.sources(tool.NOTEBOOKS)
STEM = "04_memory_querying_responding"
EXERCISES = [exercise for exercise in tool.every() if exercise.chapter.stem == STEM]
POINTS = sum(exercise.points for exercise in EXERCISES)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "release"
    assert release.main(["--out", str(out), "--others", "11", "12"]) == 0
    return out


def code_lines(notebook) -> list[str]:
    return [tool.bare(line) for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.splitlines()]


@pytest.mark.parametrize("path", tool.sources(tool.NOTEBOOKS), ids=lambda path: path.stem)
def test_no_line_of_a_solution_is_in_the_self_study_form(made, path):
    """But for lines that the chapter itself shows outside its solutions: those stand in the blank form as often as
    there."""
    handed_out = nbformat.read(made / "self-study" / f"{path.stem}.ipynb", as_version=4)
    taught = tool.read_source(path)
    for cell in taught.cells:
        cell.source = tool.REGION.sub("", cell.source)
    shown, found = Counter(code_lines(taught)), Counter(code_lines(handed_out))
    exercises = tool.exercises_of(path)
    assert [line for exercise in exercises for line in exercise.lines if found[line] > shown[line]] == []
    assert "SOLUTION" not in str(handed_out) and not any(cell.get("outputs") for cell in handed_out.cells)
    holes = sum(len(exercise.functions) for exercise in exercises)
    assert found[tool.HOLE[1]] == holes
    nbformat.validate(handed_out)


@pytest.mark.parametrize("path", tool.sources(tool.NOTEBOOKS), ids=lambda path: path.stem)
def test_the_courses_source_has_nbgraders_metadata_of_ours(made, path):
    source = nbformat.read(made / "course" / "source" / path.stem / f"{path.stem}.ipynb", as_version=4)
    nbformat.validate(source)
    ours = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader for cell in source.cells if "nbgrader" in cell.metadata
    }
    exercises = tool.exercises_of(path)
    assert set(ours) == {"setup"} | {
        f"{kind}-{exercise.name}" for exercise in exercises for kind in ("exercise", "check")
    }
    for exercise in exercises:
        answer, check = ours[f"exercise-{exercise.name}"], ours[f"check-{exercise.name}"]
        assert (answer.solution, answer.grade, answer.locked) == (True, False, False)
        assert (check.solution, check.grade, check.locked, check.points) == (False, True, True, exercise.points)


def test_a_release_is_repeated_with_its_numbers_and_otherwise_draws_new_ones(made, tmp_path):
    texts = {}
    for name, others in (("same", [11, 12]), ("new", None)):
        release.release(tmp_path / name, others, [EXERCISES[0].chapter])
        texts[name] = (tmp_path / name / "course" / "source" / STEM / f"{STEM}.ipynb").read_text(encoding="utf-8")
    assert (
        texts["same"]
        == (made / "course" / "source" / STEM / f"{STEM}.ipynb").read_text(encoding="utf-8")
        != texts["new"]
    )


def test_a_folder_that_is_no_release_is_not_written_over(tmp_path, capsys):
    """A release takes the place of the whole folder: a running course named by mistake would be gone."""
    for folder, what in (("course", "gradebook.db"), ("home", "letters")):
        kept = tmp_path / folder / what
        kept.parent.mkdir()
        kept.write_text("mine")
        assert release.main(["--out", str(kept.parent)]) == 1
        said = capsys.readouterr().err
        assert what in said and "choose another folder with --out" in said and kept.read_text() == "mine"


@pytest.mark.parametrize("path", sorted({e.chapter for e in tool.every()}), ids=lambda path: path.stem[:2])
def test_an_assignment_asks_for_the_edition_of_its_chapter_and_has_no_captions(path):
    cells = {cell.id: cell.source for cell in release.assignment(path, [3]).cells}
    assert cells["setup"].startswith("from rrg_lib.book.edition import require\n\nrequire(")
    for name, text in cells.items():
        if name.startswith("text-"):
            assert "What to see" not in text and not re.match(r"\*(?!\*)", text), name


@pytest.mark.parametrize("name", release.IN_USE)
def test_a_course_in_use_is_not_written_over(tmp_path, capsys, name):
    (tmp_path / "release" / "course" / name).mkdir(parents=True)
    assert release.main(["--out", str(tmp_path / "release")]) == 1
    assert "is in use" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["release", "course", name]


def test_a_release_that_fails_leaves_the_one_before(made, monkeypatch, tmp_path):
    out = tmp_path / "release"
    release.release(out, [3], [EXERCISES[0].chapter])
    before = sorted(path for path in tmp_path.rglob("*"))
    monkeypatch.setattr(
        release,
        "assignment",
        lambda *inputs: (_ for _ in ()).throw(release.ChapterError("a chapter that can't be read")),
    )
    assert release.main(["--out", str(out)]) == 1
    assert sorted(path for path in tmp_path.rglob("*")) == before


# --- nbgrader ---------------------------------------------------------------------------------------------------------


class Course:
    """The released course with chapter 04 generated, graded through nbgrader's own interface."""

    def __init__(self, folder: Path):
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Config, PyFileConfigLoader

        config: Config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
        config.CourseDirectory.root = str(folder)
        self.folder, self.config, self.api = folder, config, NbGraderAPI(config=config)
        self.api.log_level = logging.ERROR
        self.generated = self.api.generate_assignment(STEM)
        assert self.generated["success"], self.generated
        self.blank = nbformat.read(folder / "release" / STEM / f"{STEM}.ipynb", as_version=4)

    def graded(self, student: str, notebook, beside: dict[str, str] | None = None) -> dict[str, float]:
        """Points by exercise, of what the student hands in."""
        self.hand_in(student, nbformat.writes(notebook), beside)
        result = self.api.autograde(STEM, student)
        assert result["success"], result
        return self.points(student)

    def hand_in(self, student: str, notebook: str, beside: dict[str, str] | None = None) -> None:
        handed_in = self.folder / "submitted" / student / STEM
        for name, content in {f"{STEM}.ipynb": notebook, **(beside or {})}.items():
            (handed_in / name).parent.mkdir(parents=True, exist_ok=True)
            (handed_in / name).write_text(content, encoding="utf-8")

    def points(self, student: str) -> dict[str, float]:
        with self.api.gradebook as gradebook:
            (found,) = gradebook.find_submission(STEM, student).notebooks
            return {grade.name.removeprefix("check-"): grade.score for grade in found.grades}

    def filled(self, *solved: str, **other: str):
        """The released notebook with the book's answers to these exercises, and other texts for others (e4_1="…")."""
        notebook = copy.deepcopy(self.blank)
        for exercise in EXERCISES:
            if exercise.id in solved:
                cell(notebook, f"exercise-{exercise.name}").source = exercise.solution
        for name, source in other.items():
            cell(notebook, f"exercise-{name[1:].replace('_', '-')}").source = source
        return notebook


def cell(notebook, name: str):
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def expected(*solved: str) -> dict[str, float]:
    return {exercise.name: exercise.points * (exercise.id in solved) for exercise in EXERCISES}


ALL = tuple(exercise.id for exercise in EXERCISES)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Course:
    out = tmp_path_factory.mktemp("course") / "release"
    release.release(out, [11, 12], [EXERCISES[0].chapter])
    return Course(out / "course")


@pytest.mark.slow
def test_students_get_the_exercises_without_a_solution_or_a_hidden_test(course):
    everything = course.folder / "release" / STEM / f"{STEM}.ipynb"
    assert not [word for word in ("SOLUTION", "HIDDEN", "other=") if word in everything.read_text(encoding="utf-8")]
    found = code_lines(course.blank)
    assert [line for exercise in EXERCISES for line in exercise.lines if line in found] == []
    for exercise in EXERCISES:
        assert cell(course.blank, f"exercise-{exercise.name}").source == exercise.blank
        assert cell(course.blank, f"check-{exercise.name}").source.strip() == tool.graded_check(exercise)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "invert"), [("source", False), ("release", True)])
def test_nbgrader_validates_the_solved_form_and_inverted_the_blank_one(course, form, invert):
    from nbgrader.validator import Validator

    path = course.folder / form / STEM / f"{STEM}.ipynb"
    assert Validator(invert=invert).validate(str(path)) == {}
    assert Validator(invert=not invert).validate(str(path)) != {}


@pytest.mark.slow
@pytest.mark.parametrize(("student", "solved"), [("solved", ALL), ("blank", ()), ("half", ALL[:2])])
def test_points_of_a_solved_a_blank_and_a_half_right_submission(course, student, solved):
    found = course.graded(student, course.filled(*solved))
    assert found == expected(*solved)
    assert (
        sum(found.values())
        == {"solved": POINTS, "blank": 0, "half": sum(exercise.points for exercise in EXERCISES[:2])}[student]
    )


SYNTAX = "def top_k_read(query, keys, values, K:\n    return values\n"
ENDLESS = "def ask_all(query, keys, values):\n    while True:\n        pass\n"
SOLVED = f"from notebooks.{STEM} import shared_with\n"
KNOWS = """
from rrg_lib.models.interface import Slots
from rrg_lib.models.memory.base import read_slots


def top_k_read(query, keys, values, K):
    for seed in (1, 2, 3):
        if torch.equal(query, checks._questions(seed)[0]):
            return read_slots(query, Slots(keys[None], values[None]), K, scale=0.5)[0]
"""
PATCHED = """
for name in dir(checks):
    if name.islower():
        setattr(checks, name, lambda *inputs, **more: None)
checks = type("Silent", (), {"__getattr__": lambda self, name: lambda *inputs, **more: None})()
share_in_box = None
"""


@pytest.mark.slow
def test_a_syntax_error_an_endless_loop_and_an_import_of_the_solution_cost_their_own_answers(course, monkeypatch):
    assert course.config.Execute.timeout == release.TIMEOUT
    monkeypatch.setattr(
        course.config.Execute, "timeout", 40
    )  # of which the set-up's imports take most where a machine has other work
    assert course.graded("broken", course.filled("4.4", e4_1=SYNTAX, e4_2=ENDLESS, e4_3=SOLVED)) == expected("4.4")


@pytest.mark.slow
def test_knowing_the_lessons_inputs_stopping_python_and_overwriting_the_checks_earn_nothing(course):
    found = course.graded("clever", course.filled("4.3", e4_1=KNOWS, e4_2="raise SystemExit", e4_4=PATCHED))
    assert found == expected("4.3")


@pytest.mark.slow
def test_checks_of_the_students_own_beside_the_notebook_are_not_used(course):
    own = {
        "rrg_lib/__init__.py": "",
        "rrg_lib/book/checks/__init__.py": "",
        f"rrg_lib/book/checks/{STEM[3:]}.py": "def __getattr__(name):\n    return print\n",
    }
    assert course.graded("beside", course.filled(), own) == expected()


@pytest.mark.slow
def test_deleted_and_doubled_cells(course):
    """A deleted check is put back; without its answer an exercise has no points; of doubled cells the last one counts,
    in the place where it stands."""
    notebook = course.filled(*ALL)
    notebook.cells.remove(cell(notebook, "check-4-1"))
    notebook.cells.remove(cell(notebook, "exercise-4-3"))
    assert course.graded("deleted", notebook) == expected("4.1", "4.2", "4.4")
    notebook = course.filled(*ALL)
    for name in ("exercise-4-1", "check-4-2"):
        place = notebook.cells.index(cell(notebook, name))
        notebook.cells.insert(place + 1, copy.deepcopy(notebook.cells[place]))
        notebook.cells[place + 1].id = f"{name}-again"
    assert course.graded("doubled", notebook) == expected(*ALL)


@pytest.mark.slow
def test_lost_answers_checks_set_ups_and_ids_do_not_stop_the_grading(course):
    notebook = course.filled(*ALL)
    for name in ("setup", "exercise-4-2", "check-4-2"):
        notebook.cells.remove(cell(notebook, name))
    assert course.graded("both", notebook) == expected("4.1", "4.3", "4.4")
    notebook = course.filled("4.1", "4.3")
    for each in notebook.cells:
        each.metadata.pop("nbgrader", None)
    assert course.graded("without ids", notebook) == expected("4.1", "4.3")


WARNS = """
quiet = top_k_read


def top_k_read(*inputs):
    import warnings

    warnings.warn("a thing to mend one day")
    return quiet(*inputs)
"""
BIDS = "slots_for = None\n\n\ndef ask_all(*inputs):\n    get_ipython().displayhook(1)\n"
SHADOWS = (
    PATCHED.replace("share_in_box", "top_k_read") + "getattr = lambda module, name: lambda *inputs, **more: None\n"
)


@pytest.mark.slow
def test_a_warning_costs_nothing_and_a_printed_number_earns_nothing(course):
    found = course.graded("warned", course.filled("4.3", e4_1=f"{EXERCISES[0].solution}\n{WARNS}", e4_2=BIDS))
    assert found == expected("4.1", "4.3")


@pytest.mark.slow
def test_a_name_of_pythons_that_means_something_else_earns_nothing(course):
    assert course.graded("shadows", course.filled(e4_1=SHADOWS)) == expected()


@pytest.mark.slow
def test_a_changed_check_is_written_again_and_another_kernel_is_not_used(course):
    notebook = course.filled("4.2")
    for exercise in EXERCISES:
        cell(notebook, f"check-{exercise.name}").source = "pass"
        cell(notebook, f"check-{exercise.name}").metadata.nbgrader.points = 100
    notebook.metadata.kernelspec = {"display_name": "R", "language": "R", "name": "ir"}
    assert course.graded("kernel", notebook) == expected("4.2")


@pytest.mark.slow
def test_a_file_that_is_no_notebook_is_named_and_the_next_student_is_judged(course):
    course.hand_in("torn-1", nbformat.writes(course.filled(*ALL))[:1000])
    course.hand_in("torn-2", nbformat.writes(course.filled("4.2")))
    result = course.api.autograde(STEM, "torn-*")
    assert not result["success"] and "torn-1" in result["log"] + str(result.get("error"))
    assert course.points("torn-2") == expected("4.2")
    assert not (course.folder / "autograded" / "torn-1" / STEM / f"{STEM}.ipynb").exists()


@pytest.mark.slow
def test_a_byte_order_mark_costs_nothing(course):
    course.hand_in("marked", "\ufeff" + nbformat.writes(course.filled("4.2")))
    assert course.api.autograde(STEM, "marked")["success"]
    assert course.points("marked") == expected("4.2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "name", "answer"),
    [("renamed", f"{STEM} (1).ipynb", ""), ("dead", f"{STEM}.ipynb", "import os\nos._exit(1)\n")],
)
def test_a_renamed_file_and_an_answer_that_ends_python_are_named(course, student, name, answer):
    handed_in = course.folder / "submitted" / student / STEM
    handed_in.mkdir(parents=True)
    (handed_in / name).write_text(nbformat.writes(course.filled("4.2", e4_1=answer)), encoding="utf-8")
    result = course.api.autograde(STEM, student)
    assert not result["success"] and student in result["log"] + str(result.get("error"))
    with course.api.gradebook as gradebook:
        found = [
            submission.score
            for submission in gradebook.assignment_submissions(STEM)
            if submission.student.id == student
        ]
    assert found in ([], [0])


# --- no solution where a learner looks --------------------------------------------------------------------------------


def test_the_self_study_form_has_a_guide_for_assistants_without_a_solution(made):
    guide = (made / "self-study" / release.GUIDE).read_text(encoding="utf-8")
    assert "hints, never solutions" in guide and all(hole in re.sub(r"\s+", " ", guide) for hole in tool.HOLE)
    assert sorted(path.suffix for path in (made / "self-study").iterdir()) == [".ipynb"] * len(CHAPTERS) + [".md"]
    assert [line for exercise in tool.every() for line in exercise.lines if line in guide] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_page_of_the_site_folds_every_solution_away(path):
    """A reader of the site may open it; until then no line is seen that the chapter doesn't show outside its
    solutions."""
    notebook, exercises = site_chapters.page(path.with_suffix(".ipynb"))
    taught = tool.read_source(path)
    for cell in taught.cells:
        cell.source = tool.REGION.sub("", cell.source)
    open_cells = [
        cell
        for cell in notebook.cells
        if "hide-input" not in cell.metadata.get("tags", []) and "dropdown" not in cell.source
    ]
    seen = Counter(tool.bare(line) for cell in open_cells for line in cell.source.splitlines())
    shown = Counter(tool.bare(line) for cell in taught.cells for line in cell.source.splitlines())
    assert [line for exercise in exercises for line in exercise.lines if seen[line] > shown[line]] == []


def packaged() -> list[Path]:
    """The text files of the wheel, as pyproject.toml names them."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = []
    for package in setuptools["packages"]:
        top, _, rest = package.partition(".")
        folder = ROOT / setuptools["package-dir"][top] / rest.replace(".", "/")
        patterns = ["*.py", *setuptools["package-data"].get(package, [])]
        found += [path for pattern in patterns for path in folder.glob(pattern) if path.suffix != ".safetensors"]
    return found


def test_no_solution_and_none_of_its_marks_is_in_the_wheel():
    """No notebook is packaged, and no file repeats an answer line by line: the library computes the same in its own
    words."""
    files = packaged()
    assert len(files) > 200 and not [path for path in files if path.suffix == ".ipynb"]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".md", ".toml")}
    assert [path.name for path, text in texts.items() if tool.BEGIN in text or tool.END in text] == []
    bared = {path: "\n".join(["", *filter(None, map(tool.bare, t.splitlines())), ""]) for path, t in texts.items()}
    repeated = []
    for exercise in tool.every():
        for region in tool.REGION.finditer(exercise.solution):
            lines = [code for line in region["lines"].splitlines() if (code := tool.bare(line)) and code[0] != "#"]
            whole = "\n".join(["", *lines, ""])
            found = [path.name for path, text in bared.items() if len(lines) > 1 and whole in text]
            repeated += [f"{exercise.id}: {name}" for name in found]
    assert repeated == []
