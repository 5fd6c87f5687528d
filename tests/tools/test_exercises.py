"""Every exercise in four forms: blank, solved, wrong in typical ways, right in another way. What is tried stands in the
`exercise` marks of test_checks_*."""

from __future__ import annotations

import ast
from functools import cache, partial
from pathlib import Path
from types import CodeType

import exercises as tool
import pytest
from chapters import ChapterError, read_source, stable_ids
from places import ROOT
from release import OTHERS_UP_TO

from rrg_lib.book.checks import CheckError

EXERCISES = tool.every()
CHAPTERS = sorted({exercise.chapter for exercise in EXERCISES})
TRIED = list(tool.tried(EXERCISES))
#: No lesson asks these. The last is the largest that a release draws.
OTHERS = (1, 71, OTHERS_UP_TO)

each = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


@cache
def scope(chapter: Path, form: str) -> dict:
    """What the cells of a chapter's exercises define in one form, run as they stand below the imports and definitions
    they need."""
    notebook, of = read_source(chapter), [exercise for exercise in EXERCISES if exercise.chapter == chapter]
    found: dict = {}
    for source in (tool.setup_of(notebook, of), *(getattr(exercise, form) for exercise in of)):
        exec(compile(source, chapter.stem, "exec"), found)
    return found


def given(exercise: tool.Exercise, form: str) -> list:
    """(check, function) as the check cell calls them."""
    own = scope(exercise.chapter, form)
    return [(getattr(own["checks"], check), own[function]) for check, function in exercise.calls]


def answers(exercise: tool.Exercise, kind: str) -> list[tool.Tried]:
    return [tried for tried in TRIED if (tried.exercise, tried.kind) == (exercise.id, kind)]


def written(answer) -> str:
    """What a function is made of, whatever its variables are called."""
    code = getattr(answer, "func", answer).__code__
    inner = [
        written_code
        for const in code.co_consts
        if isinstance(const, CodeType)
        for written_code in (const.co_code, const.co_names)
    ]
    return repr([code.co_code, code.co_names, *inner])


def told(check, answer, **options) -> str:
    """What the check says of the answer; nothing when it is right."""
    try:
        check(answer, **options)
    except CheckError as error:
        return str(error)
    return ""


def test_there_are_three_in_every_chapter_thirty_in_all_and_every_level():
    counts = {
        path.stem: sum(exercise.chapter == path for exercise in EXERCISES) for path in tool.sources(tool.NOTEBOOKS)
    }
    assert min(counts.values()) >= 3 and len(EXERCISES) >= 30, counts
    assert {exercise.level for exercise in EXERCISES} == set(tool.LEVELS)
    assert len({exercise.id for exercise in EXERCISES}) == len(EXERCISES)


@each
def test_it_says_its_minutes_and_points(exercise):
    assert 1 <= exercise.minutes <= 30 and exercise.points > 0
    assert exercise.id.split(".")[0] == str(int(exercise.chapter.stem[:2]))


@each
def test_blank_is_told_that_it_is_blank(exercise):
    for check, function in given(exercise, "blank"):
        with pytest.raises(CheckError, match="still blank"):
            check(function)


@each
def test_solved_passes(exercise):
    for check, function in given(exercise, "solution"):
        check(function)


@pytest.mark.slow
@each
def test_solved_passes_on_other_inputs_and_so_does_every_other_right_answer(exercise):
    right = [(tried.check, tried.answer) for tried in answers(exercise, "right")]
    for check, answer in (*given(exercise, "solution"), *right):
        for other in OTHERS:
            check(answer, other=other)


@pytest.mark.slow
@each
def test_a_callable_without_a_name_of_its_own_is_an_answer_too(exercise):
    for check, function in given(exercise, "solution"):
        check(partial(function))
    for check, function in given(exercise, "blank"):
        with pytest.raises(CheckError, match="still blank"):
            check(partial(function))


BLANK = "raise NotImplementedError"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "shown"),
    [(BLANK, "still blank"), ("return scores.nothing", "return scores.nothing"), ("return 1", "expected")],
)
def test_a_notebook_shows_a_checks_message_and_none_of_its_lines(line, shown):
    """In a kernel, where a traceback would quote the check's source, and with it the mistakes and the right answer; the
    student's own line stays."""
    import nbformat
    from nbclient import NotebookClient

    source = (
        f"from rrg_lib.book.checks import memory_querying_responding as checks\n\ndef "
        f"shared_with(word, "
        f"scores):\n    {line}"
    )
    cells = [nbformat.v4.new_code_cell(text) for text in (source, "checks.shared_with(shared_with)")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
    (error,) = notebook.cells[1].outputs
    text = "\n".join(error.traceback)
    assert error.ename == "CheckError" and shown in text and error.evalue in text
    assert "rrg_lib" not in text and "_render" not in text and len(text.splitlines()) < 6, text


@each
def test_three_wrong_answers_have_a_hint_of_their_own(exercise):
    """That each is told its hint is tested beside the answers."""
    hints = {tried.hint for tried in answers(exercise, "wrong") if not tool.GENERIC.search(tried.hint)}
    assert len(hints) >= 3, (
        f'expected three hints under @pytest.mark.exercise("{exercise.id}", "wrong") in tests/book/test_checks_*.py, '
        f"found {hints or 'none'}"
    )


@pytest.mark.slow
@each
def test_what_is_wrong_in_the_lesson_is_wrong_when_it_is_graded(exercise):
    for tried in answers(exercise, "wrong"):
        assert any(told(tried.check, tried.answer, other=other) for other in OTHERS), tried.hint


@each
def test_a_right_answer_written_differently_is_tried(exercise):
    """That it passes is tested beside it."""
    solutions = {written(function) for _, function in given(exercise, "solution")}
    right = answers(exercise, "right")
    untried = {check.__name__ for check, _ in given(exercise, "solution")} - {tried.check.__name__ for tried in right}
    assert not untried, (
        f'no answer under @pytest.mark.exercise("{exercise.id}", "right") in tests/book/test_checks_*.py for '
        f"{', '.join(untried)}"
    )
    assert any(written(tried.answer) not in solutions for tried in right)


@pytest.mark.slow
@each
def test_a_constant_fails_even_the_right_one(exercise):
    """The right answer to the first question, given to every question: those the lesson asks, or those asked when it is
    graded."""
    for check, function in given(exercise, "solution"):
        kept = []

        def memorised(*inputs, kept=kept, function=function):
            kept.append(kept[0] if kept else function(*inputs))
            return kept[0]

        constants = [
            memorised,
            *(
                lambda *inputs, value=value: value
                for value in (None, 0, 0.5, 1, True, False, "left", (1, 2), [0.0, 1.0, 2.0])
            ),
        ]
        for constant in constants:
            assert told(check, constant) or told(check, constant, other=OTHERS[0]), exercise.id


@each
def test_every_line_of_the_blank_form_is_a_line_of_the_solved_one_or_a_hole(exercise):
    solved = [line.strip() for line in exercise.solution.splitlines()]
    for line in exercise.blank.splitlines():
        assert line.strip() in solved or line.strip() in tool.HOLE, line
    assert tool.HOLE[1] in exercise.blank and "SOLUTION" not in exercise.blank
    assert not [line for line in exercise.lines if line in map(tool.bare, exercise.blank.splitlines())]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_hint_holds_a_line_of_a_solution(path):
    """None of the texts in the sources of the chapter's checks, what is filled into them left out."""
    lines = {
        line.removeprefix("return ") for exercise in EXERCISES if exercise.chapter == path for line in exercise.lines
    }
    (module,) = {exercise.module for exercise in EXERCISES if exercise.chapter == path}
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    texts = [
        " ".join(node.value.split())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(texts) > 15
    assert not [(line, text) for line in lines for text in texts if len(line) >= 12 and line in text]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_ids_of_an_exercises_cells_outlive_a_change_of_their_text(path):
    notebook = read_source(path)
    before = stable_ids(notebook)
    for cell in notebook.cells:
        cell.source += "\n# more"
    kept = [a for a, b in zip(before, stable_ids(notebook), strict=True) if a == b]
    wanted = {
        f"{kind}-{exercise.name}"
        for exercise in EXERCISES
        if exercise.chapter == path
        for kind in ("exercise", "check")
    }
    assert set(kept) == wanted and len(kept) == len(wanted)


SOURCE = (ROOT / "notebooks" / "04_memory_querying_responding.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cut", "put", "said"),
    [
        (' exercise="4.1" level="explain"', "", "no exercise"),
        (' exercise="4.1" level="explain"', ' exercise="4.7" level="explain"', "4.7: expected"),
        (' exercise="4.1" points=10', "", "then one with the check"),
        (' exercise="4.1" level="explain"', ' exercise="4.1" level="hard"', "a level"),
        ("checks.slots_for(slots_for)\n", "", "a check for each of ask_all, slots_for"),
    ],
)
def test_a_chapter_that_lacks_a_part_of_an_exercise_is_named(tmp_path, cut, put, said):
    assert cut in SOURCE
    path = tmp_path / "04_memory.py"
    path.write_text(SOURCE.replace(cut, put), encoding="utf-8")
    with pytest.raises(ChapterError, match=said):
        tool.exercises_of(path)


def test_a_check_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "04_memory.py"
    path.write_text(SOURCE.replace("checks.slots_for(slots_for)", "checks.no_such(slots_for)"), encoding="utf-8")
    with pytest.raises(ChapterError, match=r"4\.2.*checks\.no_such"):
        tool.functions_of(tool.exercises_of(path))


def test_a_graded_form_that_would_need_work_of_the_chapter_is_refused():
    path = tool.NOTEBOOKS / "04_memory_querying_responding.py"
    with pytest.raises(ChapterError, match="can't have"):
        tool.needed(read_source(path), {"run"}, path)


def test_the_table_counts_every_exercise():
    *_, last = tool.table(EXERCISES, TRIED).splitlines()
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[:2] == ["all", str(len(EXERCISES))] and int(cells[6]) == sum(tried.kind == "wrong" for tried in TRIED)


def test_the_hours_of_the_course_are_those_of_the_exercises():
    text = tool.COURSE.read_text(encoding="utf-8")
    assert text == tool.with_hours(text, EXERCISES), "run: .venv/bin/python tools/exercises.py hours"
    assert text != tool.with_hours(text, EXERCISES[1:])
