"""A chapter as two files: the py:percent source that people edit, and the executed notebook that people read.

The source is the truth. The committed notebook is the source's cells with the outputs of one run from top to bottom,
and nothing else: no timings, no paths of the machine, no random cell ids. So the same run gives the same file, and what
differs between the two can be said cell by cell.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import re
from collections import Counter
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from budgets import STATED, Budget
from nbformat import NotebookNode

#: What every chapter's `parameters` cell assigns, as plain values.
PARAMETERS = ("DATASET", "DATA_ROOT", "PROFILE", "SEED")
#: What the committed notebooks show: the values their `parameters` cell must hold.
COMMITTED = {"PROFILE": "ci", "DATASET": "iu_phantom"}
FORMATS = "ipynb,py:percent"
KERNELSPEC = ("display_name", "language", "name")
#: The metadata of cells that source and notebook must share: exercise, level and points are those of an exercise.
COMPARED = ("tags", "exercise", "level", "points")
MAX_BYTES = 2**20

WIDGET = "application/vnd.jupyter.widget-view+json"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PROGRESS = re.compile(r"\d+%\||\[\d+:\d\d(:\d\d)?(<|,)")  # tqdm with and without a total
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
MACHINE_PATH = re.compile(
    r"(?<![\w.~/:-])/(?:home|Users|root|work|tmp|private|mnt|opt|var|usr)/[^\s'\"<>)]+|\b[A-Za-z]:\\+Users\\+\S+"
)


class ChapterError(Exception):
    """A chapter that cannot be built as it stands. The message names the file, what was expected, and what to do."""


def sources(folder: Path, only: list[str] | None = None) -> list[Path]:
    """`folder/NN_*.py` in order; `only` keeps those whose name begins with one of its entries ("04", "04_memory")."""
    found = sorted(folder.glob("[0-9][0-9]_*.py"))
    if not found:
        raise ChapterError(f"{folder}: no chapter here; a chapter is a file named NN_name.py")
    if not only:
        return found
    if unknown := [wanted for wanted in only if not any(path.stem.startswith(wanted) for path in found)]:
        raise ChapterError(
            f"no chapter begins with {', '.join(unknown)}; there are {', '.join(path.stem for path in found)}"
        )
    return [path for path in found if any(path.stem.startswith(wanted) for wanted in only)]


def read_source(path: Path) -> NotebookNode:
    """The notebook that a source describes: no outputs, stable ids, only metadata that does not depend on who converts
    it.

    Raises `ChapterError` when the header, or the `parameters` cell that papermill needs, is missing or incomplete.
    """
    header = (
        f"the header must hold jupytext.formats: {FORMATS} and a kernelspec with {', '.join(KERNELSPEC)}; copy it from "
        "CONTRIBUTING.md"
    )
    try:
        notebook = jupytext.read(path)
    except nbformat.ValidationError as error:
        raise ChapterError(f"{path}: {error.message}; {header}") from error
    kernelspec = {key: notebook.metadata.get("kernelspec", {}).get(key) for key in KERNELSPEC}
    if None in kernelspec.values() or notebook.metadata.get("jupytext", {}).get("formats") != FORMATS:
        raise ChapterError(f"{path}: {header}")
    try:
        stated = Budget.of(notebook.metadata)
    except ValueError as error:
        raise ChapterError(f"{path}: {error}, in the header") from error
    own = {"rrg": asdict(stated)} if stated else {}
    notebook.metadata = nbformat.from_dict(
        {"jupytext": {"formats": FORMATS}, "kernelspec": kernelspec, "language_info": {"name": "python"}, **own}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell, cell_id in zip(notebook.cells, stable_ids(notebook), strict=True):
        cell.id = cell_id
        if "raises-exception" in cell.metadata.get("tags", []):
            raise ChapterError(
                f"{path}: a cell is tagged raises-exception, which stops the build; catch the error in the cell and "
                f"print its message"
            )
    parameters(notebook, path)
    return notebook


def stable_ids(notebook: NotebookNode) -> list[str]:
    """One id a cell, made of the cell's kind and text (and of how many equal cells stand above it): the same text
    always gives the same ids.

    The two cells of an exercise are called after it, whatever they say: gradebooks and answers already handed in know
    them by that.
    """
    seen: Counter[str] = Counter()
    ids = []
    for cell in notebook.cells:
        if number := cell.metadata.get("exercise"):
            ids.append(f"{'check' if 'points' in cell.metadata else 'exercise'}-{number.replace('.', '-')}")
            continue
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:10]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids


def parameters(notebook: NotebookNode, path: Path) -> dict[str, Any]:
    """The values of the `parameters` cell, read without running it."""
    expected = (
        f'one code cell tagged "parameters" (# %% tags=["parameters"]) that assigns plain values '
        f"to "
        f"{', '.join(PARAMETERS)}"
    )
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise ChapterError(
            f"{path}: {len(cells)} cells are tagged parameters; expected {expected}: without it `make book` has "
            f"nowhere to put yours"
        )
    values = {}
    try:
        for node in ast.parse(cells[0].source).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            values.update(
                {target.id: ast.literal_eval(node.value) for target in targets if isinstance(target, ast.Name)}
            )
    except (SyntaxError, ValueError) as error:
        raise ChapterError(f"{path}: the parameters cell could not be read ({error}); expected {expected}") from error
    if missing := [name for name in PARAMETERS if name not in values]:
        raise ChapterError(f"{path}: the parameters cell does not assign {', '.join(missing)}; expected {expected}")
    return values


def finished(source: NotebookNode, executed: NotebookNode, root: Path) -> NotebookNode:
    """The committed form: the source's cells with the outputs of `executed`, a run of the same cells, cleaned of what
    belongs to this machine."""
    notebook = copy.deepcopy(source)
    if [cell.source for cell in notebook.cells] != [cell.source for cell in executed.cells]:
        raise ValueError("the executed notebook has other cells than the source")
    for cell, run in zip(notebook.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.execution_count = run.execution_count
            cell.outputs = cleaned(run.outputs, root)
    return notebook


def cleaned(outputs: list[NotebookNode], root: Path) -> list[NotebookNode]:
    """Outputs without progress bars, paths of the checkout and memory addresses; neighbouring texts of one stream
    joined."""
    kept: list[NotebookNode] = []
    for output in copy.deepcopy(outputs):
        if output.output_type == "stream":
            output.text = portable(without_progress(output.text) if output.name == "stderr" else output.text, root)
            if not output.text.strip() and output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
                kept[-1].text += output.text
                continue
        elif "data" in output:
            if WIDGET in output.data:
                continue
            output.data = nbformat.from_dict(
                {kind: portable(value, root) if is_text(kind, value) else value for kind, value in output.data.items()}
            )
        kept.append(output)
    return kept


def without_progress(text: str) -> str:
    """Standard error without the lines that a progress bar drew."""
    lines = [line for line in re.split(r"[\r\n]+", ANSI.sub("", text)) if line.strip() and not PROGRESS.search(line)]
    return "".join(f"{line}\n" for line in lines)


def is_text(kind: str, value: Any) -> bool:
    return isinstance(value, str) and kind.startswith("text/")


def portable(text: str, root: Path) -> str:
    """Text with the checkout's path made relative, the home folder written `~`, and memory addresses taken out."""
    for folder in {str(root), str(root.resolve())}:
        text = re.sub(re.escape(folder) + r"(/|(?![\w-]))", lambda match: "" if match[1] else ".", text)
    if len(home := str(Path.home())) > 3:
        text = re.sub(re.escape(home) + r"(?![\w-])", "~", text)
    return ADDRESS.sub("at 0x…", text)


def written(notebook: NotebookNode) -> str:
    """The file's text."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def is_checked(cell: NotebookNode) -> bool:
    """Whether nbval compares this cell's output: the tag `nbval-check-output`, or its comment."""
    return "nbval-check-output" in cell.metadata.get("tags", []) or bool(
        re.search(r"^\s*#\s*NBVAL_CHECK_OUTPUT\s*$", cell.source, re.MULTILINE)
    )


def unpaired(folder: Path) -> list[str]:
    """Sources without a notebook and notebooks without a source, in words."""
    texts, notebooks = ({path.stem: path for path in folder.glob(f"*.{suffix}")} for suffix in ("py", "ipynb"))
    lonely_texts, lonely_notebooks = sorted(texts.keys() - notebooks.keys()), sorted(notebooks.keys() - texts.keys())
    return [
        *(
            f"{texts[stem]}: has no {stem}.ipynb beside it; run `make notebooks CHAPTERS={stem}`"
            for stem in lonely_texts
        ),
        *(
            f"{notebooks[stem]}: has no {stem}.py beside it; a chapter's source is its py:percent file"
            for stem in lonely_notebooks
        ),
    ]


def problems(text: Path, notebook: Path, root: Path) -> list[str]:
    """Everything that keeps a pair from agreeing, or its notebook from being fit to commit; empty when there is
    nothing."""
    try:
        source = read_source(text)
        found = wrong_committed_values(source, text)
        if Budget.of(source.metadata) is None:
            found.append(f"{text}: states no budget; its header must hold {STATED}")
    except ChapterError as error:
        return [str(error)]
    committed = nbformat.read(notebook, as_version=4)
    found += disagreements(source, committed, notebook) or [
        f"{notebook}: {problem}" for problem in unfit(committed, root)
    ]
    if not found and written(finished(source, committed, root)) != notebook.read_text(encoding="utf-8"):
        found = [f"{notebook}: ids, metadata or outputs are not as the builder writes them"]
    remedy = (
        f"run `make notebooks CHAPTERS={text.stem}` (or first `jupytext --sync {text}`, if it is the notebook that was "
        "edited)"
    )
    return [*found, f"{notebook}: {remedy}"] if found else []


def wrong_committed_values(source: NotebookNode, path: Path) -> list[str]:
    values = parameters(source, path)
    return [
        f"{path}: {name} is {values[name]!r} in the parameters cell; the book's notebooks are those of {name} = "
        f"{value!r}"
        for name, value in COMMITTED.items()
        if values[name] != value
    ]


def disagreements(source: NotebookNode, committed: NotebookNode, path: Path) -> list[str]:
    """Where the cells of source and notebook differ, the first in each cell."""
    found = []
    for number, (ours, theirs) in enumerate(zip(source.cells, committed.cells, strict=False), 1):
        where = f"{path}: cell {number} ({(ours.source.strip().splitlines() or ['empty'])[0][:60]!r})"
        if ours.cell_type != theirs.cell_type:
            found.append(f"{where} is {ours.cell_type} in the source, {theirs.cell_type} in the notebook")
        elif ours.source != theirs.source:
            lines = zip_longest(ours.source.splitlines(), theirs.source.splitlines(), fillvalue="(nothing)")
            a, b = next(((a, b) for a, b in lines if a != b), ("", "(blank lines)"))
            found.append(f"{where} differs\n    source:   {a}\n    notebook: {b}")
        for key in COMPARED:
            if (a := ours.metadata.get(key)) != (b := theirs.metadata.get(key)):
                found.append(f"{where} has {key} {a or 'none'} in the source, {b or 'none'} in the notebook")
    if len(source.cells) != len(committed.cells):
        found.append(f"{path}: {len(committed.cells)} cells, the source has {len(source.cells)}")
    return found


def unfit(notebook: NotebookNode, root: Path) -> list[str]:
    """What a committed notebook must not hold, or lacks: it was run once from top to bottom, without an error, a
    warning or a path of the machine."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in code]
    if None in counts:
        found.append(
            f"{counts.count(None)} of {len(counts)} code cells were never executed: there is nothing to compare with"
        )
    elif counts != list(range(1, len(counts) + 1)):
        found.append("the cells were not run once from top to bottom (their execution counts are not 1, 2, 3, …)")
    elif not any(cell.outputs for cell in code):
        found.append("no cell has an output")
    if not (checked := [cell for cell in code if is_checked(cell)]):
        found.append('no cell is tagged "nbval-check-output": nothing of this chapter would be compared')
    found += [
        f"cell In [{cell.execution_count}] is marked for comparison and has no output"
        for cell in checked
        if not cell.outputs
    ]
    for cell in code:
        where = f"cell In [{cell.execution_count}]"
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"{where} ended in an error, {output.ename}: {output.evalue}")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(
                    f"{where} wrote to standard error: {output.text.strip()[:200]!r}; a reader takes that for a fault: "
                    f"mend the cause"
                )
            found += [
                f"{where} shows a path of this machine: {path}"
                for text in texts(output)
                for path in machine_paths(text, root)
            ]
    if (size := len(written(notebook).encode())) > MAX_BYTES:
        found.append(
            f"{size:,} bytes, more than {MAX_BYTES:,}; largest outputs: {largest_outputs(notebook)}. Save smaller "
            f"figures"
        )
    return found


def machine_paths(text: str, root: Path) -> list[str]:
    """Paths that only this machine has; the checkout's own too, wherever it lies."""
    return [match[0] for match in MACHINE_PATH.finditer(text)] or [
        str(folder) for folder in {root, root.resolve()} if f"{folder}/" in text
    ]


def texts(output: NotebookNode) -> list[str]:
    """The texts a reader sees of one output, pictures left out."""
    if output.output_type == "stream":
        return [output.text]
    return [value for kind, value in output.get("data", {}).items() if is_text(kind, value)]


def largest_outputs(notebook: NotebookNode, number: int = 3) -> str:
    sizes = [
        (len(str(output)), cell.execution_count)
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    return ", ".join(
        f"In [{count}] {size // 1024} KiB" for size, count in sorted(sizes, key=lambda pair: -pair[0])[:number]
    )
