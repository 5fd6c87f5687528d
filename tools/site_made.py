"""How a figure, a table or a row of the site was made, so that a reader can follow a number: the function that computes
it, the files of the repository that it is made of with their hash, the runs behind it with theirs, the command.

`site_text.table` and `site_text.figure` demand it, and `site_links` finds a figure or a table of the built pages that
has none.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hints import home_of, module_tree
from nbformat import NotebookNode
from site_text import SiteError, folded
from standalone import binds, names
from standalone import plain as without_magics

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

ROOT = Path(__file__).resolve().parent.parent
#: The class of the folds, by which a check of the built pages knows them.
CLASS = "rrg-made"


@dataclass(frozen=True)
class Made:
    """How something was made: `by` which functions or tools ("rrg_lib.package.module.function", or a sentence of
    Markdown), from which `files` (patterns below `below`), `again` by which command."""

    by: Sequence[str]
    files: Sequence[str]
    again: str = ""
    below: str = "data"

    def fold(self, what: str, root: Path = ROOT) -> str:
        """As a block that is folded away; `what` is "figure" or "table". Raises `SiteError` for a pattern that no file
        matches."""
        listed = ", ".join(f"`{self.below}/{pattern}`" for pattern in self.files)
        lines = ["- by " + ", ".join(map(linked, self.by))]
        if self.files:
            lines.append(f"- from {listed}: SHA-256 `{digest(tuple(self.files), root / self.below)}`")
        if self.again:
            lines.append(f"- made again by `{self.again}`")
        return folded(f"How this {what} was made", "\n".join(lines), CLASS)


@cache
def digest(patterns: tuple[str, ...], folder: Path) -> str:
    """SHA-256 (first 12 digits) of the names and contents of these files, as `figures/README.md` gives it. Raises
    `SiteError` for a pattern that matches none."""
    total, found = hashlib.sha256(), {pattern: sorted(folder.glob(pattern)) for pattern in patterns}
    if missing := [pattern for pattern, paths in found.items() if not paths]:
        raise SiteError(f"{folder}: nothing is called {', '.join(missing)}, so what is made of it can't be followed")
    for path in sorted({path for paths in found.values() for path in paths}):
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def linked(function: str) -> str:
    """A function of the library as a link to its page; anything else stays as it is."""
    module, _, name = function.rpartition(".")
    if not function.startswith("rrg_lib.") or not is_documented(module, name):
        return f"`{function}`" if function.startswith("rrg_lib.") else function
    return f"{{py:obj}}`{name} <{function}>`"


@cache
def is_documented(module: str, name: str) -> bool:
    """Whether the library's pages have a place for this: a public function or class with a docstring."""
    tree = module_tree(module) or module_tree(f"{module}.__init__")
    return not any(part.startswith("_") for part in f"{module}.{name}".split(".")) and any(
        isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name and bool(ast.get_docstring(node))
        for node in (tree.body if tree else ())
    )


def runs(results: Iterable[StoredResult]) -> str:
    """The stored runs behind a row, folded away in its last cell: each file with the hash of its experiment."""
    listed = [f"{result.name}.json`, experiment `{result.experiment.hash}" for result in results]
    return in_cell(f"{len(listed)} run{'s' * (len(listed) > 1)}", listed)


def in_cell(title: str, files: Sequence[str]) -> str:
    """Files of `data/results`, folded away in a cell of a table."""
    body = " ".join(f"`data/results/{file}`" for file in files)
    return f'<details class="{CLASS}"><summary>{title}</summary>{body}</details>'


# --- a chapter's figure -----------------------------------------------------------------------------------------------


def of_cell(
    cells: Sequence[NotebookNode],
    index: int,
    aliases: dict[str, str],
    chapter: Path,
    outputs: Sequence[NotebookNode],
) -> str:
    """How the figure among `outputs` of cell `index` was made: the cell and its source, the parameters of the run, and,
    of the cells before it, whatever of the library its values come from; the hash of the picture itself."""
    wanted, used = set(names(cells[index].source)), set()
    for cell in [cells[index], *reversed(cells[:index])]:
        if cell.cell_type != "code":
            continue
        for node in reversed(ast.parse(without_magics(cell.source)).body):
            if cell is cells[index] or (binds(node) & wanted and not isinstance(node, ast.Import | ast.ImportFrom)):
                wanted |= names(ast.unparse(node))
                used |= called(node, aliases)
    run = next((c.source for c in cells if "parameters" in c.metadata.get("tags", [])), "")
    given = ", ".join(f"`{line.partition('#')[0].strip()}`" for line in run.splitlines() if "=" in line)
    pictures = "".join(
        output.data[kind] for output in outputs for kind in output.get("data", {}) if kind.startswith("image/")
    )
    lines = [
        f"- in cell `In [{cells[index].execution_count}]` above, of `notebooks/{chapter.stem}.py`",
        *([f"- run with {given}"] if given else []),
        *([f"- with {', '.join(linked(name) for name in sorted(used))}"] if used else []),
        f"- SHA-256 of the picture `{hashlib.sha256(pictures.encode()).hexdigest()[:12]}`",
        f"- made again by `make notebooks CHAPTERS={chapter.stem[:2]}`",
    ]
    return folded("How this figure was made", "\n".join(lines), CLASS)


def called(node: ast.AST, aliases: dict[str, str]) -> set[str]:
    """The documented functions and classes of the library that a statement names, each by the module that defines
    it."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in aliases:
            module, name = aliases[part.value.id], part.attr
        elif isinstance(part, ast.Name) and part.id in aliases:
            module, _, name = aliases[part.id].rpartition(".")
        else:
            continue
        home = home_of(module if module_tree(module) else f"{module}.__init__", name).removesuffix(".__init__")
        if is_documented(home, name):
            found.add(f"{home}.{name}")
    return found
