"""What the check of an exercise may tell a learner: the texts that stand in its source."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def module_tree(name: str) -> ast.Module | None:
    path = ROOT / (name.replace(".", "/") + ".py")
    return ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else None


def home_of(module: str, name: str) -> str:
    """The module that defines what `module` calls `name`: itself, or one that it imports the name from."""
    tree = module_tree(module)
    for node in tree.body if tree else ():
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return home_of(node.module or "", name)
    return module


def hints_of(module: str, name: str) -> list[str]:
    """The messages that a check holds ready: every text of five words or more in it, and when those are few, in what it
    mentions of its own file."""
    tree = module_tree(home_of(module, name))
    known = {
        getattr(node, "name", None) or getattr(getattr(node, "targets", [None])[0], "id", None): node
        for node in (tree.body if tree else ())
    }
    if not isinstance(check := known.get(name), ast.FunctionDef):
        return []
    hints = messages(check)
    if len(hints) < 3:
        mentioned = dict.fromkeys(
            node.id for node in ast.walk(check) if isinstance(node, ast.Name) and node.id in known and node.id != name
        )
        for other in map(known.get, mentioned):  # an assignment holds sample reports too, which are all lower case
            hints += [text for text in messages(other) if isinstance(other, ast.FunctionDef) or text[0].isupper()]
    return list(dict.fromkeys(hints))


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
    sentences = [read(text, texts) for statement in body for text in whole_texts(statement)]
    return [text for text in sentences if len(text.split()) >= 5 and text.count("…") < 3 and text not in texts.values()]


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
