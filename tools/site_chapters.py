"""A committed chapter as a page of the site: figures with words, exercises with collapsed hints and solutions. The
notebook on disk is not touched.

A figure's caption is the sentence that the chapter says of it: "*What to see: …*" in the text before it, or the italics
that begin the text right after it. Its description for those who don't see it (`alt`) is what the drawing function says
it draws. A figure without such a sentence stops the build.
"""

from __future__ import annotations

import ast
import copy
import itertools
import re
from pathlib import Path

import nbformat
import site_glossary
import site_python
from chapters import ChapterError
from exercises import ASKED, BEGIN, END, Exercise, exercises_of
from hints import module_tree
from nbformat import NotebookNode
from site_made import of_cell
from site_text import SiteError, folded, plain

GLOSSARY = Path(__file__).resolve().parent.parent / "site" / "glossary.md"
ITALICS = r"\*(?!\*)(?:[^*]|\*\*[^*]+\*\*)+\*(?!\*)"  # one emphasis; bold words may stand in it
SEE = re.compile(
    r"(?s)(?P<words>\*What to see\b(?:[^*]|\*\*[^*]+\*\*)+\*(?!\*))|(?P<lead>\*What to "
    r"see:?\*:?[^\n]*(?:\n(?!\n)[^\n]*)*)"
)
AFTER = re.compile(rf"(?s)\A{ITALICS}")


def page(path: Path, *, in_pages: bool = False) -> tuple[NotebookNode, list[Exercise]]:
    """The chapter at `path` as the site shows it, and its exercises; with `in_pages`, those that need nothing but
    Python can be tried in the page. Raises `SiteError` naming every figure that lacks
    its picture or its words, or the exercise that lacks a part."""
    notebook = nbformat.read(path, as_version=4)
    try:
        exercises = exercises_of(path, notebook)
    except ChapterError as error:
        raise SiteError(str(error)) from error
    cells, aliases = notebook.cells, imported(notebook)
    problems = without_picture(cells, path)
    captions: dict[int, str] = {}
    for index, cell in enumerate(cells):
        if pictures(cell):
            if found := caption(cells, index):
                captions[index] = found[1]
            else:
                problems.append(
                    f"{path.name}: the figure of In [{cell.execution_count}] "
                    f"({cell.source.strip().splitlines()[-1][:70]!r}) has no words; "
                    'write "*What to see: …*" into the text before it, or begin the text after it with such a sentence '
                    "in italics"
                )
    if problems:
        raise SiteError("\n".join(problems))
    spoken = [caption(cells, index) for index in captions]
    for cell_index, words in spoken:  # the sentence moves to the figure: said once
        source = cells[cell_index].source
        cells[cell_index].source = (
            re.sub(r"\n{3,}", "\n\n", source.replace(words, "", 1)).strip() if words in source else source
        )
    made: list[NotebookNode] = []
    for index, cell in enumerate(cells):
        if index not in captions:
            made.append(cell)
            continue
        for part in with_words(cell, captions[index], described(cell.source, aliases)):
            made.append(part)
            if pictures(part):
                told = of_cell(cells, index, aliases, path, part.outputs)
                made.append(markdown(told, f"{part.id[:59]}-made"))
    site_glossary.link_first_uses(
        [cell for cell in made if not cell.id.endswith("-made")], site_glossary.terms(GLOSSARY)
    )
    for cell in made:
        if cell.cell_type == "markdown":  # what the equation map links to
            cell.source = re.sub(
                r"(?m)^(?=## (\d+)\.(\d+) )", lambda match: f"(section-{match[1]}-{match[2]})=\n", cell.source
            )
        elif is_scaffolding(cell):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
    notebook.cells = with_hints(made, {exercise.id: exercise for exercise in exercises}, in_pages=in_pages)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook, exercises


def is_scaffolding(cell: NotebookNode) -> bool:
    """Whether a code cell is what a reader of the page can skip: the parameters, the edition, a wall of imports."""
    if cell.cell_type != "code" or "exercise" in cell.metadata:
        return False
    if "parameters" in cell.metadata.get("tags", []):
        return True
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError:  # a magic
        return False
    imports = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    edition = "rrg_lib.book.edition" in cell.source
    return bool(imports) and (edition or len(imports) == len(statements))


# --- figures ----------------------------------------------------------------------------------------------------------


def is_picture(output: NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def pictures(cell: NotebookNode) -> int:
    return sum(map(is_picture, cell.get("outputs", []))) if cell.cell_type == "code" else 0


def caption(cells: list[NotebookNode], index: int) -> tuple[int, str] | None:
    """(cell, words) of what is said of the figure of cell `index`: the last "What to see" of the text before it, else
    the italics right after it."""
    before = next((i for i in range(index - 1, -1, -1) if cells[i].cell_type == "markdown"), None)
    if before is not None and (said := list(SEE.finditer(cells[before].source))):
        return before, said[-1][0]
    if (
        index + 1 < len(cells)
        and cells[index + 1].cell_type == "markdown"
        and (said := AFTER.match(cells[index + 1].source))
    ):
        return index + 1, said[0]
    return None


def spoken_text(words: str) -> str:
    """A caption without the stars around it."""
    return re.sub(r"\A\*(?=What to see[^*]*\*:?\s)|\A\*(?=[^*])|(?<=[^*])\*\Z", "", words.strip()).replace(
        "What to see:*", "What to see:", 1
    )


def with_words(cell: NotebookNode, words: str, drawn: str | None) -> list[NotebookNode]:
    """The cell with caption and description; one with several pictures, or with tables beside its picture, becomes
    several cells: a caption is set under every output of its cell that is no text."""
    text = spoken_text(words)
    plain = re.sub(r"[*`$\\]|\s+(?=\s)", "", " ".join((drawn or text).split()))
    total, shown, made = pictures(cell), 0, []
    parts = [list(run) for _, run in itertools.groupby(cell.outputs, lambda o: id(o) if is_picture(o) else None)]
    for number, outputs in enumerate(parts, 1):
        part = copy.deepcopy(cell)
        part.outputs = copy.deepcopy(outputs)
        if pictures(part):
            shown += 1
            of = f" ({shown} of {total})" if total > 1 else ""
            part.metadata["mystnb"] = {"image": {"alt": plain + of}, "figure": {"caption": text + of}}
        if number > 1:
            part.id = f"{cell.id}-{number}"
            part.source, part.metadata["tags"] = "", ["remove-input"]
        made.append(part)
    return made


def without_picture(cells: list[NotebookNode], path: Path) -> list[str]:
    """Cells that name a figure they draw and show none."""
    found = []
    for cell in cells:
        if cell.cell_type != "code" or pictures(cell):
            continue
        for statement in ast.parse(cell.source).body:
            for call in ast.walk(statement) if isinstance(statement, ast.Expr) else ():
                named = isinstance(call, ast.Call) and {
                    word.arg: getattr(word.value, "value", None) for word in call.keywords
                }.get("name")
                if isinstance(named, str) and re.fullmatch(r"\d\d_\w+", named):
                    found.append(
                        f"{path.name}: the figure {named!r} of In [{cell.execution_count}] is missing: the cell shows "
                        f"no picture; "
                        f"run `make notebooks CHAPTERS={path.stem[:2]}`"
                    )
    return found


def imported(notebook: NotebookNode) -> dict[str, str]:
    """What the chapter imports from the library: {name in the chapter: "package.module" or
    "package.module.function"}."""
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rrg_lib"):
                    names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def functions(module: str) -> dict[str, ast.FunctionDef]:
    tree = module_tree(module)
    return {node.name: node for node in (tree.body if tree else ()) if isinstance(node, ast.FunctionDef)}


def described(source: str, aliases: dict[str, str]) -> str | None:
    """What the drawing function that this cell calls says it draws; None when the cell calls none of
    `rrg_lib.book.figures` by name."""
    for match in re.finditer(r"\b(\w+)(?:\.(\w+))?\(", source):
        full = ".".join(filter(None, (aliases.get(match[1], ""), match[2])))
        module, _, name = full.rpartition(".")
        if (
            module.startswith("rrg_lib.book.figures.")
            and (function := functions(module).get(name))
            and (text := ast.get_docstring(function))
        ):
            return text.split("\n\n")[0]
    return None


# --- exercises --------------------------------------------------------------------------------------------------------


def with_hints(
    cells: list[NotebookNode], exercises: dict[str, Exercise], *, in_pages: bool = False
) -> list[NotebookNode]:
    """The cells with each solution folded away under its blank form, and what the check may tell folded under the
    exercise."""
    made: list[NotebookNode] = []
    for cell in cells:
        if cell.cell_type == "markdown" and (asked := [match["id"] for match in ASKED.finditer(cell.source)]):
            hints = dict.fromkeys(hint for number in asked for hint in exercises[number].hints)
            cell = copy.deepcopy(cell)
            cell.source = ASKED.sub(lambda match: f"\n({exercises[match['id']].anchor})=\n{match[0]}", cell.source)
            made.append(cell)
            if hints:
                listed = "\n".join(f"- {plain(hint)}" for hint in hints)
                made.append(markdown(folded("Hints: what the check may tell you", listed), f"{cell.id}-hints"))
        elif BEGIN in cell.source:
            blank, *solved = solution(cell)
            exercise = exercises.get(cell.metadata.get("exercise", ""))
            tried = [exercise] if in_pages and exercise and site_python.runnable([exercise]) else []
            made += [blank, *(markdown(site_python.marker(e), f"{cell.id}-try") for e in tried), *solved]
        else:
            made.append(cell)
    return made


def solution(cell: NotebookNode) -> list[NotebookNode]:
    """The blank form, then the solved one folded away."""
    text = re.sub(rf"(?m)^[ \t]*({BEGIN}|{END})[ \t]*\n?", "", cell.source)
    if cell.cell_type == "markdown":
        return [markdown(folded("An answer", text), cell.id)]
    blank = re.sub(rf"(?ms)^([ \t]*){BEGIN}.*?{END}[^\n]*", r"\1...  # yours", cell.source)
    solved = copy.deepcopy(cell)
    solved.source = text
    solved.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
    solved.metadata["mystnb"] = {
        **cell.metadata.get("mystnb", {}),
        "code_prompt_show": "A solution",
        "code_prompt_hide": "Hide the solution",
    }
    return [markdown(f"```python\n{blank.strip()}\n```", f"{cell.id}-blank"), solved]


def markdown(text: str, identity: str) -> NotebookNode:
    cell = nbformat.v4.new_markdown_cell(text)
    cell.id = re.sub(r"[^\w-]", "-", identity)[:64]
    return cell
