"""The builder of the book, on tiny chapters made here: what it runs, where it stops, what it writes, and what it
refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import book
import chapters
import nbformat
import pytest
from places import ROOT

HEADER = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 1, peak_gib: 1}
# ---

# %% [markdown]
# # A tiny chapter

"""
PARAMETERS = """# %% tags=["parameters"]
PROFILE = "ci"
DATASET = "iu_phantom"
DATA_ROOT = None
SEED = 7

"""
CHECKED = """# %% tags=["nbval-check-output"]
print(PROFILE, DATASET, DATA_ROOT, SEED)
"""
TINY = HEADER + PARAMETERS + CHECKED


def chapter(folder: Path, name: str, text: str = TINY) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def recorded(path: Path, text: str | None = None) -> nbformat.NotebookNode:
    """The chapter as if it had been run: every code cell counted, the marked cells with an output. Needs no kernel."""
    notebook = chapters.read_source(path)
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        if chapters.is_checked(cell):
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text or "ci iu_phantom None 7\n")]
    return notebook


def pair(folder: Path, name: str = "00_tiny", text: str = TINY) -> tuple[Path, Path]:
    source = chapter(folder, name, text)
    notebook = source.with_suffix(".ipynb")
    notebook.write_text(chapters.written(recorded(source)), encoding="utf-8")
    return source, notebook


def edited(notebook: Path, change) -> None:
    content = nbformat.read(notebook, as_version=4)
    change(content)
    notebook.write_text(chapters.written(content), encoding="utf-8")


def printed(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells if cell.cell_type == "code" for output in cell.outputs)


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_parameters_are_injected_and_the_table_names_every_chapter(tmp_path, capsys):
    chapter(tmp_path / "notebooks", "00_first")
    chapter(tmp_path / "notebooks", "01_second")
    data_root = tmp_path / "images"
    data_root.mkdir()
    out = tmp_path / "book"
    out.mkdir()
    (out / "09_of_an_earlier_build.ipynb").write_text("{}")
    arguments = [
        "run",
        "--notebooks",
        str(tmp_path / "notebooks"),
        "--out",
        str(out),
        "--profile",
        "laptop",
        "--dataset",
        "phantom",
        "--seed",
        "3",
    ]

    assert book.main([*arguments, "--data-root", str(data_root)]) == 0

    assert printed(out / "00_first.ipynb") == f"laptop phantom {data_root} 3\n"
    assert not (out / "09_of_an_earlier_build.ipynb").exists()
    text = capsys.readouterr().out
    assert "[2/2] 01_second" in text
    assert text.index("chapter ") < text.rindex("00_first") < text.rindex("01_second") < text.index("total")
    timings = json.loads((out / "timings.json").read_text())
    assert [(row["chapter"], row["status"]) for row in timings["chapters"]] == [("00_first", "ok"), ("01_second", "ok")]
    assert all(
        row["seconds"] > 0 and 0.02 < row["peak_gib"] < 1 for row in timings["chapters"]
    )  # a kernel of 30 to 100 MiB
    assert timings["machine"]["cores"] >= 1 and "budget" not in text[text.index("\nchapter") :], (
        "budgets are of the ci profile"
    )
    assert timings["parameters"] == {"PROFILE": "laptop", "DATASET": "phantom", "DATA_ROOT": str(data_root), "SEED": 3}


MEETING = """
# %%
import time
from pathlib import Path

here, there = Path({here!r}), Path({there!r})
here.write_text("")
for _ in range(600):
    if there.exists():
        break
    time.sleep(0.1)
assert there.exists(), "nobody else is running"
"""


def meeting(folder: Path, places: Path, name: str, here: str, there: str, more: str = "") -> None:
    chapter(folder, name, TINY + MEETING.format(here=str(places / here), there=str(places / there)) + more)


@pytest.mark.slow
def test_chapters_side_by_side_run_at_once(tmp_path, capsys):
    """Each waits for the other one: one after the other neither would end."""
    meeting(tmp_path / "notebooks", tmp_path, "00_one", "a", "b")
    meeting(tmp_path / "notebooks", tmp_path, "01_other", "b", "a")
    out = tmp_path / "book"
    assert book.main(["run", "--notebooks", str(tmp_path / "notebooks"), "--out", str(out), "--jobs", "2"]) == 0
    timings = json.loads((out / "timings.json").read_text())
    assert [row["status"] for row in timings["chapters"]] == ["ok", "ok"] and timings["jobs"] == 2
    assert all(0.02 < row["peak_gib"] < 1 for row in timings["chapters"]), "of each kernel alone"
    assert not any("trained" in row for row in timings["chapters"]), "whose runs are new nobody can tell"


@pytest.mark.slow
def test_of_chapters_side_by_side_a_failing_one_lets_the_others_end_and_none_begin(tmp_path, capsys):
    meeting(tmp_path / "notebooks", tmp_path, "00_fails", "a", "b", "\n# %%\n1 / 0\n")
    meeting(tmp_path / "notebooks", tmp_path, "01_other", "b", "a", "\n# %%\ntime.sleep(5)\n")
    for name in ("02_third", "03_fourth", "04_fifth"):
        chapter(tmp_path / "notebooks", name, TINY + "\n# %%\nimport time; time.sleep(5)\n")
    out = tmp_path / "book"
    assert book.main(["run", "--notebooks", str(tmp_path / "notebooks"), "--out", str(out), "--jobs", "2"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    status = [row["status"] for row in json.loads((out / "timings.json").read_text())["chapters"]]
    assert status[0].startswith("failed at") and status[1] == "ok" and status[3:] == ["not run", "not run"]


@pytest.mark.parametrize("jobs", ["0", "-1", "two", ""])
def test_a_number_of_chapters_at_once_is_from_1(jobs, capsys):
    with pytest.raises(SystemExit):
        book.main(["run", "--out", "x", "--jobs", jobs])
    assert "expected a whole number from 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failing_cell_stops_the_book_with_its_traceback(tmp_path, capsys):
    failing = TINY + '\n# %%\ndenominator = SEED - 7\nprint("asking")\n1 / denominator\n\n# %%\nprint("never")\n'
    chapter(tmp_path / "notebooks", "00_first", failing)
    chapter(tmp_path / "notebooks", "01_second")

    status = book.main(["run", "--notebooks", str(tmp_path / "notebooks"), "--out", str(tmp_path / "book")])

    said = capsys.readouterr()
    assert status == 1
    assert "ZeroDivisionError: division by zero" in said.err and "1 / denominator" in said.err
    assert "failed at In [4]" in said.out and "not run" in said.out  # the injected parameters are cell 2
    assert not (tmp_path / "book" / "01_second.ipynb").exists()
    left = (tmp_path / "book" / "00_first.ipynb").read_text()
    assert "ZeroDivisionError" in left and '"never\\n"' not in left
    assert [row["status"] for row in json.loads((tmp_path / "book" / "timings.json").read_text())["chapters"]] == [
        "failed at In [4]",
        "not run",
    ]


@pytest.mark.slow
def test_written_notebooks_pass_the_check_and_a_rebuild_is_no_diff(tmp_path, monkeypatch, capsys):
    # a bar, a widget bar, a path of the checkout and an address: all things that would make two runs differ
    noisy = """
# %%
import sys
from pathlib import Path
from tqdm import tqdm
for _ in tqdm(range(3), desc="train"):
    pass
print(Path.cwd() / "figure.png")
object()
"""
    folder = tmp_path / "notebooks"
    chapter(folder, "00_first", TINY + noisy)
    monkeypatch.setattr(book, "ROOT", tmp_path)

    assert book.main(["write", "--notebooks", str(folder), "--out", str(folder)]) == 0
    first = (folder / "00_first.ipynb").read_text(encoding="utf-8")
    assert book.main(["write", "--notebooks", str(folder), "--out", str(tmp_path / "check")]) == 0

    assert (tmp_path / "check" / "00_first.ipynb").read_text(encoding="utf-8") == first
    outputs = [
        output
        for cell in nbformat.reads(first, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    texts = "".join(text for output in outputs for text in chapters.texts(output))
    assert texts == "ci iu_phantom None 7\nnotebooks/figure.png\n<object at 0x…>"
    assert not any(
        word in first for word in (str(tmp_path), "papermill", "injected-parameters", "start_time", '"version"')
    )
    assert not list(tmp_path.rglob("timings.json")), "the committed record is kept where it is asked for"
    assert book.main(["check", "--notebooks", str(folder)]) == 0
    assert "agree: 1 chapters" in capsys.readouterr().out


@pytest.mark.slow
def test_a_warning_is_not_written_into_a_committed_notebook(tmp_path, capsys):
    folder = tmp_path / "notebooks"
    chapter(folder, "00_first", TINY + '\n# %%\nimport warnings\nwarnings.warn("this is old")\n')

    assert book.main(["write", "--notebooks", str(folder), "--out", str(folder)]) == 1

    assert "wrote to standard error" in (said := capsys.readouterr().err) and "this is old" in said
    assert not (folder / "00_first.ipynb").exists()


# --- refusing before running ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + CHECKED, "0 cells are tagged parameters"),
        (HEADER + PARAMETERS + PARAMETERS + CHECKED, "2 cells are tagged parameters"),
        (HEADER + PARAMETERS.replace("SEED = 7\n", "") + CHECKED, "does not assign SEED"),
        (HEADER + PARAMETERS.replace('"ci"', 'os.environ["PROFILE"]') + CHECKED, "could not be read"),
        (TINY.replace(", name: python3", ""), "kernelspec"),
        (
            TINY.replace("minutes: 1", "minutes: 0"),
            "the budget is {'minutes': 0, 'peak_gib': 1}; expected rrg: {minutes: 3",
        ),
        (TINY.replace("{minutes: 1, peak_gib: 1}", "3"), "the budget is 3; expected"),
        (TINY.replace(", peak_gib: 1", ", gib: 1"), "in the header"),
        (TINY.replace("ipynb,py:percent", "py:percent"), "jupytext.formats"),
        (TINY + '\n# %% tags=["raises-exception"]\n1 / 0\n', "raises-exception"),
    ],
)
def test_a_chapter_that_cannot_be_built_is_refused_before_any_runs(tmp_path, capsys, text, said):
    chapter(tmp_path / "notebooks", "00_good")
    chapter(tmp_path / "notebooks", "01_bad", text)

    assert book.main(["run", "--notebooks", str(tmp_path / "notebooks"), "--out", str(tmp_path / "book")]) == 1

    error = capsys.readouterr().err
    assert said in error and "01_bad.py" in error
    assert not list((tmp_path / "book").glob("*.ipynb"))


def test_committed_notebooks_are_those_of_the_ci_profile(tmp_path, capsys):
    chapter(tmp_path / "notebooks", "00_first", TINY.replace('"ci"', '"gpu"'))
    assert book.main(["write", "--notebooks", str(tmp_path / "notebooks"), "--out", str(tmp_path / "notebooks")]) == 1
    assert "PROFILE is 'gpu'" in capsys.readouterr().err


def test_unknown_chapters_and_missing_data_roots_are_named(tmp_path, capsys):
    chapter(tmp_path / "notebooks", "00_first")
    arguments = ["run", "--notebooks", str(tmp_path / "notebooks"), "--out", str(tmp_path / "book")]
    assert book.main([*arguments, "--only", "05"]) == 1
    assert "no chapter begins with 05; there are 00_first" in capsys.readouterr().err
    assert book.main([*arguments, "--data-root", str(tmp_path / "nowhere")]) == 1
    assert f"{tmp_path / 'nowhere'} is not a folder" in capsys.readouterr().err


# --- ids and cleaning -------------------------------------------------------------------------------------------------


def test_ids_depend_on_the_text_alone(tmp_path):
    first = chapters.read_source(chapter(tmp_path, "00_first"))
    again = chapters.read_source(chapter(tmp_path, "00_first"))
    longer = chapters.read_source(
        chapter(tmp_path, "01_longer", TINY.replace("# %% tags", "# %% [markdown]\n# Another.\n\n# %% tags", 1))
    )
    ids = [cell.id for cell in first.cells]
    assert ids == [cell.id for cell in again.cells]
    assert set(ids) < {cell.id for cell in longer.cells}, "a cell put in between leaves the other ids as they were"


def test_equal_cells_get_different_ids(tmp_path):
    ids = [
        cell.id
        for cell in chapters.read_source(chapter(tmp_path, "00_first", TINY + "\n# %%\nSEED\n\n# %%\nSEED\n")).cells
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "drawn",
    [
        "\rtrain:   0%|          | 0/5 [00:00<?, ?it/s]\rtrain: 100%|██████████| 5/5 [00:00<00:00, 912.20it/s]\n",
        "\r12it [00:00, 100.00it/s]",
        "\x1b[A\r 50%|█████     | 1/2 [01:02:03<00:00,  9.4s/it]\x1b[A",
    ],
)
def test_progress_bars_vanish_and_warnings_stay(drawn):
    assert chapters.without_progress(drawn) == ""
    assert chapters.without_progress(f"{drawn}\nUserWarning: 100 things\n") == "UserWarning: 100 things\n"


def test_outputs_lose_the_machine_and_keep_the_pictures(tmp_path):
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text=f"saved {tmp_path}/figures/a.png\n"),
        nbformat.v4.new_output("stream", name="stderr", text="\r100%|██████████| 5/5 [00:00<00:00, 912.20it/s]\n"),
        nbformat.v4.new_output("stream", name="stdout", text=f"{tmp_path}\n"),
        nbformat.v4.new_output(
            "display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "0%"}
        ),
        nbformat.v4.new_output(
            "display_data", data={"image/png": f"{tmp_path}/", "text/plain": "<Axes at 0x7f00deadbeef>"}
        ),
    ]
    text, picture = chapters.cleaned(outputs, tmp_path)
    assert text.text == "saved figures/a.png\n.\n"
    assert picture.data == {"image/png": f"{tmp_path}/", "text/plain": "<Axes at 0x…>"}
    assert outputs[0].text == f"saved {tmp_path}/figures/a.png\n", "the outputs that were given stay as they were"


# --- the pairing check ------------------------------------------------------------------------------------------------


def output(cell, **fields):
    cell.outputs.append(nbformat.v4.new_output(**fields))


def test_a_good_pair_has_no_problem(tmp_path):
    source, notebook = pair(tmp_path)
    assert chapters.problems(source, notebook, tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda nb: nb.cells[2].update(source="print('edited')"), "cell 3"),
        (lambda nb: nb.cells[0].update(source="# A tiny chaptre"), "notebook: # A tiny chaptre"),
        (lambda nb: nb.cells[0].update(cell_type="raw"), "is markdown in the source, raw in the notebook"),
        (
            lambda nb: nb.cells[2].metadata.update(tags=["other"]),
            "has tags ['nbval-check-output'] in the source, ['other'] in the notebook",
        ),
        (lambda nb: nb.cells.pop(), "2 cells, the source has 3"),
        (lambda nb: nb.cells[2].update(execution_count=None, outputs=[]), "1 of 2 code cells were never executed"),
        (lambda nb: nb.cells[2].update(execution_count=9), "not run once from top to bottom"),
        (lambda nb: nb.cells[2].update(outputs=[]), "marked for comparison and has no output"),
        (
            lambda nb: output(nb.cells[1], output_type="error", ename="ValueError", evalue="no", traceback=[]),
            "ended in an error, ValueError: no",
        ),
        (
            lambda nb: output(nb.cells[1], output_type="stream", name="stderr", text="UserWarning"),
            "wrote to standard error",
        ),
        (
            lambda nb: output(nb.cells[1], output_type="stream", name="stdout", text="in /" + "home/ada/book"),
            "/" + "home/ada/book",
        ),
        (
            lambda nb: output(nb.cells[1], output_type="display_data", data={"text/html": "<i>/" + "Users/ada/x</i>"}),
            "/" + "Users/ada/x",
        ),
        (
            lambda nb: output(nb.cells[1], output_type="display_data", data={"image/png": "A" * 2**20}),
            "largest outputs: In [1] 1024 KiB",
        ),
        (lambda nb: nb.cells[2].update(id="random1"), "not as the builder writes them"),
        (lambda nb: nb.metadata.update(papermill={"duration": 3}), "not as the builder writes them"),
    ],
)
def test_the_pairing_check_catches(tmp_path, change, said):
    source, notebook = pair(tmp_path)
    edited(notebook, change)
    found = "\n".join(chapters.problems(source, notebook, tmp_path))
    assert said in found
    assert "make notebooks CHAPTERS=00_tiny" in found


def test_an_edited_source_is_caught(tmp_path):
    source, notebook = pair(tmp_path)
    source.write_text(TINY.replace("print(PROFILE", "print(SEED, PROFILE"), encoding="utf-8")
    assert "source:   print(SEED, PROFILE" in "\n".join(chapters.problems(source, notebook, tmp_path))


def test_a_chapter_without_a_budget_runs_and_is_not_committed(tmp_path):
    text = TINY.replace("#   rrg: {minutes: 1, peak_gib: 1}\n", "")
    assert "rrg" not in chapters.read_source(chapter(tmp_path, "01_other", text)).metadata
    source, notebook = pair(tmp_path, text=text)
    assert "00_tiny.py: states no budget; its header must hold rrg: {" in "\n".join(
        chapters.problems(source, notebook, tmp_path)
    )


def test_the_budget_is_carried_into_the_notebook(tmp_path):
    source, notebook = pair(tmp_path)
    assert nbformat.read(notebook, as_version=4).metadata["rrg"] == {"minutes": 1, "peak_gib": 1}
    source.write_text(TINY.replace("minutes: 1", "minutes: 9"), encoding="utf-8")
    assert "not as the builder writes them" in "\n".join(chapters.problems(source, notebook, tmp_path))


def test_a_chapter_that_marks_nothing_is_caught(tmp_path):
    source, notebook = pair(tmp_path, text=TINY.replace("nbval-check-output", "other"))
    assert "nothing of this chapter would be compared" in "\n".join(chapters.problems(source, notebook, tmp_path))


def test_half_a_pair_is_caught(tmp_path, capsys):
    pair(tmp_path)
    chapter(tmp_path, "01_new")
    (tmp_path / "02_old.ipynb").write_text("{}")
    assert book.main(["check", "--notebooks", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "01_new.py: has no 01_new.ipynb" in error and "02_old.ipynb: has no 02_old.py" in error


# --- nbval on the run on record ---------------------------------------------------------------------------------------


def nbval(folder: Path, record: Path) -> subprocess.CompletedProcess:
    """As `make nbval` calls it; without the other plugins of this environment, for speed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "nbval_recorded",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "-rA",
        "--rootdir",
        str(folder),
    ]
    return subprocess.run(
        [
            *command,
            "--nbval-sanitize-with",
            str(ROOT / "tests/nbval_sanitize.cfg"),
            "--recorded",
            str(record),
            str(folder),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_nbval_compares_the_marked_outputs_of_the_recorded_run(tmp_path):
    cases = {  # committed, recorded
        "00_equal": ("BLEU-4 0.1234\n", "BLEU-4 0.1234\n"),
        "01_third_decimal": ("BLEU-4 0.1234\n", "BLEU-4 0.1284\n"),
        "02_time_memory_and_seventh_decimal": ("0.1234561 in 3.2 s, 12 MiB\n", "0.1234569 in 41 s, 13 MiB\n"),
        "03_count": ("3 studies\n", "4 studies\n"),
    }
    (tmp_path / "check").mkdir()
    for name, outputs in cases.items():
        source = chapter(tmp_path / "notebooks", name, TINY + "\n# %%\nSEED\n")
        for folder, text in zip(("notebooks", "check"), outputs, strict=True):
            (tmp_path / folder / f"{name}.ipynb").write_text(chapters.written(recorded(source, text)), encoding="utf-8")

    result = nbval(tmp_path / "notebooks", tmp_path / "check")

    assert result.returncode == 1
    assert "2 failed, 2 passed" in result.stdout, result.stdout + result.stderr  # and only the marked cells are tests
    for name, outputs in cases.items():
        assert f"{'PASSED' if name[:2] in ('00', '02') else 'FAILED'} {name}.ipynb::Cell 1" in result.stdout, outputs
    assert "Cell outputs differ" in result.stdout


@pytest.mark.slow
def test_nbval_fails_on_marked_cells_that_were_never_executed_and_without_a_run(tmp_path):
    source, notebook = pair(tmp_path / "notebooks")
    assert (
        "make chapters" in (result := nbval(tmp_path / "notebooks", tmp_path / "check")).stdout
        and result.returncode == 1
    )
    notebook.write_text(chapters.written(chapters.read_source(source)), encoding="utf-8")
    result = nbval(tmp_path / "notebooks", tmp_path / "check")
    assert "never executed" in result.stdout and result.returncode != 0
