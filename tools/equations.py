"""The equation map: `data/equations.csv`, joined with what the library, the chapters and the tests say they are about.

python tools/equations.py check     # every equation has code and a test, or its reason; nobody names one that does not
                                    exist
python tools/equations.py table     # paper · release · ours · code · chapters · tests, with counts by paper

Nothing is registered. A docstring, a comment or a quoted line of a chapter says "CMN Eq. 7", "XProNet Eq. 17-18" or,
where a paper's numbers are not known, "Student paper, attention pooling". Such words *declare*. "Eq. 8" alone only
*refers*, to the paper named last above it; but in a comment it declares as well, because it stands at the code that is
the equation. "Lin et al. 2017, Eq. 5" is somebody else's.

| who declares | where |
|---|---|
| library | the docstring of a class or function, or a comment in it; not in `book`, which talks about equations |
| chapter | a quoted line that begins with it (`> CMN Eq. 7-8`), a docstring or comment of a code cell |
| test | the docstring of a test function |
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = "data/equations.csv"
COLUMNS = ("id", "paper", "number", "what", "printed", "release", "ours", "reason")
#: How each paper is called in the text, by the first part of its equations' ids; the longer names first.
SPOKEN = {
    "Student paper": "student",
    "SentSAT+KG": "sentsat",
    "R2GenCMN": "cmn",
    "XProNet": "xpronet",
    "RATCHET": "ratchet",
    "TOPDOWN": "topdown",
    "ADAATT": "adaatt",
    "EKAGEN": "ekagen",
    "ATT2IN": "att2in",
    "COATT": "coatt",
    "MCSAM": "mcsam",
    "R2Gen": "r2gen",
    "CMN": "cmn",
    "ST": "st",
}
#: What talks about equations and is none.
ABOUT = ("book",)

_NAME = "|".join(map(re.escape, SPOKEN))
_NUMBERS = r"\d+(?:\s*[-–]\s*\d+)?(?:\s*(?:,|and)\s*\d+(?:\s*[-–]\s*\d+)?)*"
_NUMBERED = re.compile(
    rf"(?:(?:\b(?P<paper>{_NAME})(?:'s)?|(?P<other>\bet "
    rf"al\.|\b(?:19|20)\d\d))[\s,;(]*)?\bEqs?\.\s*(?P<numbers>{_NUMBERS})"
)
_QUOTED = re.compile(rf"^>\s*(?P<paper>{_NAME}),\s*(?P<label>[^$&]+?)\s*(?:&nbsp;|\$)")
_HEADING = re.compile(r"^#{2,3} (\d+\.\d+)\b", re.MULTILINE)


class EquationError(Exception):
    """The table cannot be read. The message names the file, what was expected, and what to do."""


@dataclass(frozen=True)
class Mention:
    """One place that names equations: their ids, whether it `declares` them, and who says so (a qualified name, a
    chapter's section)."""

    ids: tuple[str, ...]
    declares: bool
    owner: str
    where: str
    words: str


def equations(root: Path = ROOT) -> list[dict[str, str]]:
    """The rows of the table as they stand in it. Raises `EquationError` for a missing file or other columns."""
    path = root / TABLE
    if not path.is_file():
        raise EquationError(
            f"{path}: is missing; expected the table of the papers' equations, with the columns {', '.join(COLUMNS)}"
        )
    with open(path, encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    if not found or any(tuple(row) != COLUMNS or None in row.values() for row in found):
        raise EquationError(
            f"{path}: expected rows of {len(COLUMNS)} columns, {', '.join(COLUMNS)}; put a text with a comma between "
            f"double quotes"
        )
    return found


# --- what is said -----------------------------------------------------------------------------------------------------


def python_texts(source: str, worth: Callable[[str], bool]) -> list[tuple[int, str, str, str]]:
    """Docstrings and comments that are `worth` it, in their order: line, text, class or function around it ("" for the
    module), "docstring" or "comment"."""
    if not worth(source):
        return []  # hardly any file names an equation, and parsing them all takes seconds
    found, spans = [], []

    def walk(node: ast.AST, owner: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = owner
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{owner}.{child.name}".lstrip(".")
                spans.append((child.lineno, child.end_lineno, inner))
                docstring(child, inner)
            walk(child, inner)

    def docstring(node: Any, owner: str) -> None:
        if (text := ast.get_docstring(node, clean=False)) is not None:
            found.append((node.body[0].lineno, text, owner, "docstring"))

    tree = ast.parse(source)
    docstring(tree, "")
    walk(tree, "")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and worth(token.string):
            around = [span for span in spans if span[0] <= token.start[0] <= span[1]]
            found.append((token.start[0], token.string, max(around)[2] if around else "", "comment"))
    return sorted(found)


class Reader:
    """Reads one file's texts in order, and remembers which paper was named last. `faults` are numbers that belong to no
    paper."""

    def __init__(self, file: str, rows: list[dict[str, str]]):
        self.file, self.last, self.faults = file, None, []
        names = {row["id"].partition("-")[2].replace("-", " "): row["id"] for row in rows if not row["number"]}
        labels = "|".join(re.escape(name).replace(r"\ ", r"[\s-]+") for name in sorted(names, key=len, reverse=True))
        self._named = re.compile(rf"\b(?P<paper>{_NAME}),\s+(?P<label>{labels or '(?!)'})\b")

    def looks_like_one(self, text: str) -> bool:
        return "Eq" in text or self._named.search(text) is not None

    def read(
        self, text: str, line: int, owner: str, *, bare_declares: bool = False, declares: bool = True
    ) -> Iterator[Mention]:
        """The mentions in a text that begins at `line`. `declares`: whether it is a place that can; `bare_declares`: a
        number without a paper too."""
        for match in sorted([*_NUMBERED.finditer(text), *self._named.finditer(text)], key=re.Match.start):
            parts, where = match.groupdict(), f"{self.file}:{line + text[: match.start()].count(chr(10))}"
            named = parts["paper"] is not None
            if named or parts.get("other"):
                self.last = SPOKEN.get(parts["paper"], "")
            if self.last is None:
                self.faults.append(f'{where}: "{match[0]}" of which paper? Name it, as in "CMN {match[0]}"')
            elif self.last:
                numbers = parts.get("numbers")
                ends = spread(numbers) if numbers else ["-".join(re.split(r"[\s-]+", parts["label"]))]
                said = " ".join(match[0].split())
                yield Mention(
                    tuple(f"{self.last}-{end}" for end in ends),
                    declares and (named or bare_declares),
                    owner,
                    where,
                    said,
                )


def spread(numbers: str) -> list[str]:
    """ "4-6, 11" -> 4, 5, 6, 11."""
    found = []
    for part in re.split(r"\s*(?:,|and)\s*", numbers):
        first, _, last = (piece.strip() for piece in part.replace("–", "-").partition("-"))
        found += range(int(first), int(last or first) + 1)
    return [str(number) for number in found]


def library(root: Path, rows: list[dict[str, str]], faults: list[str]) -> Iterator[Mention]:
    for path in sorted((root / "rrg_lib").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        reader = Reader(str(path.relative_to(root)), rows)
        module = ".".join(part for part in parts if part != "__init__")
        for line, text, owner, kind in python_texts(path.read_text(encoding="utf-8"), reader.looks_like_one):
            may = bool(owner) and parts[1] not in ABOUT
            yield from reader.read(text, line, f"{module}:{owner}", bare_declares=kind == "comment", declares=may)
        faults += reader.faults


def tests(root: Path, rows: list[dict[str, str]], faults: list[str]) -> Iterator[Mention]:
    for path in sorted((root / "tests").rglob("test_*.py")):
        reader = Reader(str(path.relative_to(root)), rows)
        for line, text, owner, kind in python_texts(path.read_text(encoding="utf-8"), reader.looks_like_one):
            may = kind == "docstring" and owner.rpartition(".")[2].startswith("test_")
            yield from reader.read(text, line, f"{reader.file}::{owner.replace('.', '::')}", declares=may)
        faults += reader.faults


def cells(root: Path, rows: list[dict[str, str]], faults: list[str]) -> Iterator[Mention]:
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.py")):
        reader, section, known = Reader(str(path.relative_to(root)), rows), "", {row["id"] for row in rows}
        for start, is_code, lines in percent_cells(path.read_text(encoding="utf-8")):
            if is_code:
                for line, text, _, kind in python_texts("\n".join(lines), reader.looks_like_one):
                    yield from reader.read(
                        text, start + line - 1, f"{path.stem}#{section}", bare_declares=kind == "comment"
                    )
                continue
            for number, line in enumerate(lines, start):
                if heading := _HEADING.match(line):
                    section = heading[1]
                found = list(reader.read(line, number, f"{path.stem}#{section}", declares=line.startswith(">")))
                yield from found
                if (quoted := _QUOTED.match(line)) and not found:
                    name = f"{SPOKEN[quoted['paper']]}-{'-'.join(quoted['label'].split())}"
                    if name not in known:
                        faults.append(
                            f'{reader.file}:{number}: quotes "{quoted["paper"]}, {quoted["label"]}", which {TABLE} '
                            f"does not have"
                        )
        faults += reader.faults


def percent_cells(source: str) -> Iterator[tuple[int, bool, list[str]]]:
    """The cells of a py:percent source: the line that each begins at, whether it is code, and its lines, those of a
    text without their "# "."""
    start, is_code, lines = 1, False, []
    for number, line in enumerate(source.splitlines(), 1):
        if line.startswith("# %%"):
            yield start, is_code, lines
            start, is_code, lines = number + 1, "[markdown]" not in line, []
        else:
            lines.append(line if is_code else line.removeprefix("#").removeprefix(" "))
    yield start, is_code, lines


# --- the map ----------------------------------------------------------------------------------------------------------


def collect(root: Path = ROOT) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the map, and what is wrong with it: empty when nothing is."""
    table, faults = equations(root), []
    rows = [{**row, "code": [], "cells": [], "tests": []} for row in table]
    by_id = {row["id"]: row for row in rows}
    for column, said in (("code", library), ("cells", cells), ("tests", tests)):
        for mention in said(root, table, faults):
            for name in mention.ids:
                if name not in by_id:
                    faults.append(f'{mention.where}: "{mention.words}" names {name}, which {TABLE} does not have')
                elif mention.declares and mention.owner not in by_id[name][column]:
                    by_id[name][column].append(mention.owner)
    return rows, wrong_rows(table) + faults + [problem for row in rows for problem in unmapped(row)]


def rows(root: Path = ROOT) -> list[dict[str, Any]]:
    """The map for a page: each row of the table with `code` ("rrg_lib.models.memory.base:read_slots"), `cells`
    ("04_name#4.3", a chapter and its section) and `tests` ("tests/models/test_memory.py::test_name"), lists in the
    order of files. `printed` is LaTeX without dollars, "" where it is not known."""
    return collect(root)[0]


def wrong_rows(table: list[dict[str, str]]) -> list[str]:
    """Ids that are double, or not those of paper and number, gaps in a paper's numbers, and texts that are missing."""
    faults, numbers = [], {}
    for line, row in enumerate(table, 2):
        where = f"{TABLE}:{line}: {row['id']}"
        key, _, end = row["id"].partition("-")
        if (
            key not in SPOKEN.values()
            or not end
            or (row["number"] and end != row["number"])
            or (not row["number"] and end.isdigit())
        ):
            faults.append(
                f"{where}: an id is one of {', '.join(sorted(set(SPOKEN.values())))}, a hyphen, and the number or, "
                f"without one, a name"
            )
        if sum(row["id"] == other["id"] for other in table) > 1:
            faults.append(f"{where}: is there twice")
        if row["number"].isdigit():
            numbers.setdefault(key, set()).add(int(row["number"]))
        if empty := [
            name for name in ("paper", "what", *(("release", "ours") if row["printed"] else ())) if not row[name]
        ]:
            faults.append(f"{where}: {', '.join(empty)} is empty")
    for key, found in numbers.items():
        if missing := sorted(set(range(1, max(found) + 1)) - found):
            faults.append(
                f"{TABLE}: {key} has no row for {', '.join(map(str, missing))}; where a text is not at hand, a row "
                f"says so"
            )
    return faults


def unmapped(row: dict[str, Any]) -> list[str]:
    """Why a row is not mapped, unless it gives its reason; and a reason that has nothing to explain any more."""
    lacks = [
        said for said, there in (("text", row["printed"]), ("code", row["code"]), ("test", row["tests"])) if not there
    ]
    if lacks and not row["reason"]:
        return [f"{row['id']} ({row['what']}): no {' and no '.join(lacks)}, and no reason in {TABLE}"]
    if row["reason"] and not lacks:
        return [f"{row['id']} ({row['what']}): has text, code and a test; its reason in {TABLE} is out of date"]
    return []


def counts(found: list[dict[str, Any]]) -> list[list[str]]:
    """Paper · equations · text at hand · code · test · chapter · listed with a reason."""
    lines = []
    for paper in dict.fromkeys(row["paper"] for row in found):
        own = [row for row in found if row["paper"] == paper]
        filled = [sum(bool(row[column]) for row in own) for column in ("printed", "code", "tests", "cells", "reason")]
        lines.append([paper, str(len(own)), *map(str, filled)])
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("check", "table"))
    command = parser.parse_args(argv).command
    sys.path.insert(0, str(ROOT))
    from rrg_lib.runtime.markdown import markdown_table

    try:
        found, faults = collect()
    except EquationError as error:
        print(error, file=sys.stderr)
        return 2
    if command == "table":
        columns = ("id", "what", "printed", "release", "ours", "code", "cells", "tests")
        cells_of = [
            ["; ".join(row[c]) if isinstance(row[c], list) else row[c] or "–" for c in columns] for row in found
        ]
        print(*markdown_table(columns, cells_of), sep="\n", end="\n\n")
    print(
        *markdown_table(
            ["paper", "rows", "text at hand", "code", "test", "chapter", "not mapped, with a reason"], counts(found)
        ),
        sep="\n",
    )
    print("", *(f"not mapped: {row['id']}: {row['reason']}" for row in found if row["reason"]), sep="\n")
    print(*faults, sep="\n", file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
