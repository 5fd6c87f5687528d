"""What a few cells of a chapter need to run without the rest of it."""

from __future__ import annotations

import ast
import re
import symtable
from pathlib import Path

from chapters import ChapterError
from nbformat import NotebookNode


def needed(notebook: NotebookNode, used: set[str], path: Path) -> str:
    """The statements of a chapter, outside its exercises, that bring these names: imports, functions and constants, and
    what those need in turn.

    Raises `ChapterError` when a name comes from work of the chapter (a training, say): a graded form has to stand
    alone.
    """
    statements = [
        node
        for cell in notebook.cells
        if cell.cell_type == "code" and "exercise" not in cell.metadata
        for node in ast.parse(plain(cell.source)).body
    ]
    wanted, kept = set(used), set()
    while True:
        more = {i for i, node in enumerate(statements) if wanted & binds(node)} - kept
        if not more:
            break
        for i in more:
            node = statements[i]
            if isinstance(node, ast.Assign | ast.AnnAssign):
                try:
                    ast.literal_eval(node.value)
                except (ValueError, TypeError) as error:
                    raise ChapterError(
                        f"{path}: an exercise needs {ast.unparse(node)!r}, which the graded form can't have"
                    ) from error
            elif not isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef):
                raise ChapterError(
                    f"{path}: an exercise needs {ast.unparse(node)[:60]!r}, which the graded form can't have"
                )
            wanted |= set() if isinstance(node, ast.Import | ast.ImportFrom) else names(ast.unparse(node))
        kept |= more
    lines = []
    for i in sorted(kept):
        node = statements[i]
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name.split(".")[0]) in wanted]
        lines.append(("\n\n" if isinstance(node, ast.FunctionDef) else "") + ast.unparse(node))
    return "\n".join(dict.fromkeys(lines)).strip()


def plain(source: str) -> str:
    """Without IPython's own lines."""
    return re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE)


def binds(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}


def names(source: str) -> set[str]:
    """The names that a source takes from outside its functions."""

    def read(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        own = {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and (top or symbol.is_global())
        }
        return own.union(*map(read, table.get_children()))

    return read(symtable.symtable(plain(source), "cell", "exec"))
