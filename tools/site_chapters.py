"""A committed chapter as a page of the site: figures with words, exercises with collapsed hints and solutions. The
notebook on disk is not touched.

A figure's caption is the sentence that the chapter says of it: "*What to see: …*" in the text before it, or the italics
that begin the text right after it. Its description for those who don't see it (`alt`) is what the drawing function says
it draws. A figure without such a sentence stops the build.
"""

from __future__ import annotations

import ast
import copy
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from site_text import SiteError, folded, plain

ROOT = Path(__file__).resolve().parent.parent

ITALICS = r"\*(?!\*)(?:[^*]|\*\*[^*]+\*\*)+\*(?!\*)"  # one emphasis; bold words may stand in it
SEE = re.compile(
    r"(?s)(?P<words>\*What to see\b(?:[^*]|\*\*[^*]+\*\*)+\*(?!\*))|(?P<lead>\*What to "
    r"see:?\*:?[^\n]*(?:\n(?!\n)[^\n]*)*)"
)
AFTER = re.compile(rf"(?s)\A{ITALICS}")
EXERCISE = re.compile(r"\*\*Exercise (?P<number>\d+\.\d+)\*\*\s*\((?P<minutes>\d+) min\)")
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


@dataclass(frozen=True)
class Exercise:
    """One exercise: where it is, what it takes, and what its check may tell a learner."""

    page: str
    number: str
    minutes: int
    asks: str
    hints: tuple[str, ...]

    @property
    def anchor(self) -> str:
        return f"exercise-{self.number.replace('.', '-')}"


def page(path: Path) -> tuple[NotebookNode, list[Exercise]]:
    """The chapter at `path` as the site shows it, and its exercises. Raises `SiteError` naming every figure that lacks
    its picture or its words."""
    notebook = nbformat.read(path, as_version=4)
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
        made += with_words(cell, captions[index], described(cell.source, aliases)) if index in captions else [cell]
    for cell in made:
        if cell.cell_type == "markdown":  # what the equation map links to
            cell.source = re.sub(
                r"(?m)^(?=## (\d+)\.(\d+) )", lambda match: f"(section-{match[1]}-{match[2]})=\n", cell.source
            )
    notebook.cells, exercises = with_hints(made, aliases, path.stem)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook, exercises


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
    """The cell with caption and description; one with several pictures becomes several cells, so that each has its
    own."""
    text = spoken_text(words)
    plain = re.sub(r"[*`$\\]|\s+(?=\s)", "", " ".join((drawn or text).split()))
    total, cut, parts = pictures(cell), [], []
    for output in cell.outputs:
        cut.append(output)
        if is_picture(output):
            parts.append(cut)
            cut = []
    parts[-1] += cut
    made = []
    for number, outputs in enumerate(parts, 1):
        part = copy.deepcopy(cell)
        part.outputs = copy.deepcopy(outputs)
        of = f" ({number} of {total})" if total > 1 else ""
        part.metadata["mystnb"] = {"image": {"alt": plain + of}, "figure": {"caption": text + of}}
        if number > 1:
            part.id = f"{cell.id}-{number}"
            part.metadata["tags"] = ["remove-input"]
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


@cache
def module_tree(name: str) -> ast.Module | None:
    path = ROOT / (name.replace(".", "/") + ".py")
    return ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else None


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
    cells: list[NotebookNode], aliases: dict[str, str], stem: str
) -> tuple[list[NotebookNode], list[Exercise]]:
    """The cells with each solution folded away under its blank form, and what the check may tell folded under the
    exercise."""
    made: list[NotebookNode] = []
    exercises: list[Exercise] = []
    for index, cell in enumerate(cells):
        if cell.cell_type == "markdown" and (asked := list(EXERCISE.finditer(cell.source))):
            hints = hints_after(cells, index, aliases)
            for match in asked:
                asks = " ".join(re.split(r"\n\s*\n", cell.source[match.end() :])[0].strip(" .\n").split())
                exercises.append(Exercise(stem, match["number"], int(match["minutes"]), asks, tuple(hints)))
            cell = copy.deepcopy(cell)
            cell.source = EXERCISE.sub(
                lambda match: f"\n(exercise-{match['number'].replace('.', '-')})=\n{match[0]}", cell.source
            )
            made += [
                cell,
                *(
                    [
                        markdown(
                            folded(
                                "Hints: what the check may tell you", "\n".join(f"- {plain(hint)}" for hint in hints)
                            ),
                            f"{cell.id}-hints",
                        )
                    ]
                    if hints
                    else []
                ),
            ]
        elif BEGIN in cell.source:
            made += solution(cell)
        else:
            made.append(cell)
    return made, exercises


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


def hints_after(cells: list[NotebookNode], index: int, aliases: dict[str, str]) -> list[str]:
    """The hints of every check that is called between this exercise and the next."""
    found: list[str] = []
    for cell in cells[index + 1 :]:
        if cell.cell_type == "markdown" and EXERCISE.search(cell.source):
            break
        if cell.cell_type == "code" and BEGIN not in cell.source:
            for match in re.finditer(r"^(\w+)\.(\w+)\(", cell.source, re.MULTILINE):
                if (module := aliases.get(match[1], "")).startswith("rrg_lib.book.checks."):
                    found += [hint for hint in hints_of(module, match[2]) if hint not in found]
    return found


def hints_of(module: str, name: str) -> list[str]:
    """The messages that a check holds ready: every text of five words or more in it, and when those are few, in what it
    mentions of its own file."""
    tree = module_tree(module)
    known = {
        getattr(node, "name", None) or getattr(getattr(node, "targets", [None])[0], "id", None): node
        for node in (tree.body if tree else ())
    }
    if not isinstance(check := known.get(name), ast.FunctionDef):
        return []
    found = messages(check)
    if len(found) < 3:
        mentioned = dict.fromkeys(
            node.id for node in ast.walk(check) if isinstance(node, ast.Name) and node.id in known and node.id != name
        )
        for other in map(known.get, mentioned):  # an assignment holds sample reports too, which are all lower case
            found += [text for text in messages(other) if isinstance(other, ast.FunctionDef) or text[0].isupper()]
    return list(dict.fromkeys(found))


def messages(node: ast.stmt) -> list[str]:
    """The texts of five words or more in a function, its docstring left out, or in an assignment. One that is mostly
    values says nothing here."""
    texts = {
        part.targets[0].id: str(part.value.value)  # half a sentence that several hints end with
        for part in ast.walk(node)
        if isinstance(part, ast.Assign)
        and isinstance(part.value, ast.Constant)
        and isinstance(part.targets[0], ast.Name)
    }
    body = node.body[1 if ast.get_docstring(node) else 0 :] if isinstance(node, ast.FunctionDef) else [node]
    said = [read(text, texts) for statement in body for text in whole_texts(statement)]
    return [text for text in said if len(text.split()) >= 5 and text.count("…") < 3 and text not in texts.values()]


def whole_texts(node: ast.AST) -> list[ast.expr]:
    """The texts under a node, an f-string as one."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return [node]
    return [text for child in ast.iter_child_nodes(node) for text in whole_texts(child)]


def read(node: ast.expr, known: dict[str, str]) -> str:
    """A text as far as it stands in the source: "…" for what is only known when the check runs."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else known.get(getattr(part.value, "id", ""), "…")
        for part in node.values
    )


def markdown(text: str, identity: str) -> NotebookNode:
    cell = nbformat.v4.new_markdown_cell(text)
    cell.id = re.sub(r"[^\w-]", "-", identity)[:64]
    return cell
