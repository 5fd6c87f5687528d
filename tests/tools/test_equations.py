"""The equation map: the book's own holds, and each thing that can be wrong with one is found, in a tiny project made
here."""

from __future__ import annotations

import csv
from pathlib import Path

import equations
import pytest
from places import ROOT

FILES = {
    "rrg_lib/memory.py": '''
"""The table of the module: CMN Eq. 1-3."""

def ask(x):
    """CMN Eq. 1-2, and
    Lin et al. 2017, Eq. 9."""
    return x  # Eq. 10 is theirs


class Pair:
    def weigh(self):
        """CMN Eq. 1, unlike Eq. 2."""
        return 0  # Eq. 3

    def loss(self):
        """Student paper, pair
        loss."""
''',
    "rrg_lib/book/checks/memory.py": '"""CMN."""\n\n\ndef ask(f):\n    """CMN Eq. 3, Eq. 1."""\n',
    "notebooks/04_asking.py": """
# %% [markdown]
# # Asking (CMN Eq. 1–3)
#
# ## 4.1 Scores
#
# > CMN Eq. 1–2 &nbsp; $a$

# %%
x = 1  # Eq. 1

# %% [markdown]
# ## 4.2 Loss

# %%
y = 2  # Eq. 3

# %% [markdown]
# > Student paper, pair loss, as printed &nbsp; $b$
""",
    "tests/models/test_memory.py": '''
def helper():
    """CMN Eq. 3"""

class TestPair:
    def test_loss():
        """Student paper, pair loss."""

def test_it():
    """CMN Eq. 1, 2 and 3."""
''',
}
ROWS = [
    ["cmn-1", "A paper", "1", "one", "a", "b", "c", ""],
    ["cmn-2", "A paper", "2", "two", "a", "b", "c", ""],
    ["cmn-3", "A paper", "3", "three", "a", "b", "c", ""],
    ["student-pair-loss", "Another", "", "loss", "a", "b", "c", ""],
    ["student-others", "Another", "", "the rest", "", "", "", "text not at hand"],
]


@pytest.fixture
def project(tmp_path):
    """Makes the tiny project with `changed` files (old text -> new text) and rows; gives the map and its faults."""

    def make(changed=None, rows=ROWS):
        for name, text in FILES.items():
            old, new = (changed or {}).get(name, ("", ""))
            assert old in text
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(old, new) if old else text, encoding="utf-8")
        table = tmp_path / "data/equations.csv"
        table.parent.mkdir(exist_ok=True)
        with open(table, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([equations.COLUMNS, *rows])
        found, faults = equations.collect(tmp_path)
        return {row["id"]: row for row in found}, faults

    return make


# --- the book's own ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book():
    return equations.collect()


def test_the_books_map_has_no_fault(book):
    assert book[1] == []


@pytest.mark.parametrize(("paper", "numbers", "unknown"), [("cmn", 15, set()), ("xpronet", 20, set())])
def test_every_numbered_equation_has_code_a_test_and_a_cell_or_its_reason(book, paper, numbers, unknown):
    found = {int(row["number"]): row for row in book[0] if row["id"].startswith(f"{paper}-")}
    assert found.keys() == set(range(1, numbers + 1))
    assert {number for number, row in found.items() if row["reason"]} == unknown
    for number, row in found.items():
        assert all(row[column] for column in ("printed", "code", "tests", "cells")) != (number in unknown), row["id"]


def test_what_the_map_names_is_there(book):
    """Code can be imported, tests and chapters are files that hold the name."""
    for row in book[0]:
        for name in row["code"]:
            module, _, qualified = name.partition(":")
            thing = __import__(module, fromlist=["_"])
            for part in qualified.split("."):
                thing = getattr(thing, part)
        for name in row["tests"]:
            file, *_, function = name.split("::")
            assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")
        for name in row["cells"]:
            stem, section = name.split("#")
            assert f"\n# ## {section} " in (ROOT / "notebooks" / f"{stem}.py").read_text(encoding="utf-8"), name


def test_the_printed_forms_are_balanced_latex(book):
    for row in book[0]:
        depth = 0
        for sign in row["printed"].replace(r"\{", "").replace(r"\}", ""):
            depth += {"{": 1, "}": -1}.get(sign, 0)
            assert depth >= 0, row["id"]
        assert depth == 0 and not set("$|") & set(row["printed"]), row[
            "id"
        ]  # a dollar would end the formula, a bar its cell in a table
        assert row["printed"].count(r"\Big[") + row["printed"].count(r"\big(") == row["printed"].count(r"\Big]") + row[
            "printed"
        ].count(r"\big)"), row


# --- who declares what ------------------------------------------------------------------------------------------------


def test_a_name_declares_and_a_bare_number_refers_but_in_a_comment(project):
    rows, faults = project()
    assert faults == []
    assert {name: row["code"] for name, row in rows.items()} == {
        "cmn-1": ["rrg_lib.memory:ask", "rrg_lib.memory:Pair.weigh"],
        "cmn-2": ["rrg_lib.memory:ask"],  # not Pair.weigh, which only refers to it
        "cmn-3": ["rrg_lib.memory:Pair.weigh"],  # neither the module's table nor an exercise's check is code
        "student-pair-loss": ["rrg_lib.memory:Pair.loss"],
        "student-others": [],
    }
    assert [rows[name]["cells"] for name in rows] == [
        ["04_asking#4.1"],
        ["04_asking#4.1"],
        ["04_asking#4.2"],
        ["04_asking#4.2"],
        [],
    ]
    assert rows["cmn-3"]["tests"] == ["tests/models/test_memory.py::test_it"]  # a helper is no test
    assert rows["student-pair-loss"]["tests"] == ["tests/models/test_memory.py::TestPair::test_loss"]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ("7", "7"),
        ("4-6", "4 5 6"),
        ("9–10", "9 10"),
        ("11, 13", "11 13"),
        ("4 and 11", "4 11"),
        ("5-6 and 12 - 13", "5 6 12 13"),
    ],
)
def test_numbers_are_spread(numbers, expected):
    assert " ".join(equations.spread(numbers)) == expected
    reader = equations.Reader("f", [])
    (mention,) = reader.read(f"see R2GenCMN's Eq. {numbers}: it", 1, "owner")
    assert mention.ids == tuple(f"cmn-{number}" for number in expected.split()) and mention.declares


# --- what can be wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("rrg_lib/memory.py", "# Eq. 3", "# done", "cmn-3 (three): no code, and no reason"),
        ("rrg_lib/memory.py", "CMN Eq. 1-2, and", "CMN Eq. 1, and", "cmn-2 (two): no code, and no reason"),
        (
            "tests/models/test_memory.py",
            "CMN Eq. 1, 2 and 3.",
            "CMN Eq. 1 and 3.",
            "cmn-2 (two): no test, and no reason",
        ),
        (
            "rrg_lib/memory.py",
            "CMN Eq. 1-2, and",
            "CMN Eq. 1-2, 4 and",
            'rrg_lib/memory.py:5: "CMN Eq. 1-2, 4" names cmn-4',
        ),
        (
            "rrg_lib/memory.py",
            "Lin et",
            "XProNet Eq. 9; Lin et",
            'rrg_lib/memory.py:6: "XProNet Eq. 9" names xpronet-9',
        ),
        (
            "rrg_lib/book/checks/memory.py",
            "Eq. 3, Eq. 1",
            "Eq. 3, Eq. 8",
            'rrg_lib/book/checks/memory.py:5: "Eq. 8" names cmn-8',
        ),
        (
            "rrg_lib/book/checks/memory.py",
            "CMN Eq. 3, ",
            "",
            'rrg_lib/book/checks/memory.py:5: "Eq. 1" of which paper?',
        ),
        (
            "notebooks/04_asking.py",
            "x = 1  # Eq. 1",
            "x = 1  # Eq. 7",
            'notebooks/04_asking.py:10: "Eq. 7" names cmn-7',
        ),
        (
            "notebooks/04_asking.py",
            "(CMN Eq. 1–3)",
            "(CMN Eq. 1–4)",
            'notebooks/04_asking.py:3: "CMN Eq. 1–4" names cmn-4',
        ),
        (
            "notebooks/04_asking.py",
            "pair loss, as",
            "triple loss, as",
            'notebooks/04_asking.py:19: quotes "Student paper, triple loss, as printed"',
        ),
        (
            "tests/models/test_memory.py",
            "CMN Eq. 1, 2 and 3.",
            "CMN Eq. 1, 2, 3 and 12.",
            "names cmn-12, which data/equations.csv does not have",
        ),
    ],
)
def test_what_nobody_declares_and_what_nobody_knows_is_found(project, file, old, new, fault):
    _, faults = project({file: (old, new)})
    assert len(faults) == 1 and fault in faults[0], faults


@pytest.mark.parametrize(
    ("number", "row", "fault"),
    [
        (
            0,
            ["cmn-1", "A paper", "1", "one", "a", "b", "c", "nobody wrote it"],
            "its reason in data/equations.csv is out of date",
        ),
        (
            4,
            ["student-others", "Another", "", "the rest", "", "", "", ""],
            "no text and no code and no test, and no reason",
        ),
        (0, ["cmn-1", "A paper", "1", "one", "a", "", "c", ""], "data/equations.csv:2: cmn-1: release is empty"),
        (1, ["cmn-2", "A paper", "3", "two", "a", "b", "c", ""], "data/equations.csv:3: cmn-2: an id is one of"),
        (
            3,
            ["pupil-pair-loss", "Another", "", "loss", "a", "b", "c", ""],
            "an id is one of adaatt, att2in, cmn, coatt, ekagen, mcsam, r2gen, ratchet, sentsat, st, student, topdown, "
            "xpronet",
        ),
    ],
)
def test_a_row_that_does_not_hold_together_is_named(project, number, row, fault):
    _, faults = project(rows=[*ROWS[:number], row, *ROWS[number + 1 :]])
    assert any(fault in found for found in faults), faults


def test_a_gap_in_the_numbers_and_a_row_too_many_are_named(project):
    _, faults = project(rows=[*ROWS, ["cmn-6", "A paper", "6", "six", "", "", "", "text not at hand"], ROWS[4]])
    assert "data/equations.csv: cmn has no row for 4, 5; where a text is not at hand, a row says so" in faults
    assert [fault for fault in faults if "is there twice" in fault] == [
        f"data/equations.csv:{n}: student-others: is there twice" for n in (6, 8)
    ]


def test_a_table_that_is_missing_or_of_other_columns_is_refused(project, tmp_path):
    with pytest.raises(equations.EquationError, match=r"equations\.csv: is missing"):
        equations.equations(tmp_path)
    for row in (["cmn-1", "A paper", "1", "one", "a", "b", "c", "", "and one more"], ["cmn-1", "A paper"]):
        with pytest.raises(equations.EquationError, match="expected rows of 8 columns"):
            project(rows=[row])


# --- the command ------------------------------------------------------------------------------------------------------


def test_check_succeeds_on_the_book_and_lists_what_is_not_mapped(book, monkeypatch, capsys):
    monkeypatch.setattr(equations, "collect", lambda: book)
    assert equations.main(["check"]) == 0
    said = capsys.readouterr().out
    assert (
        said.count("\nnot mapped: ") == sum(bool(row["reason"]) for row in book[0])
        and "not mapped: mcsam-others: text not at hand" in said
    )
    assert equations.main(["table"]) == 0
    assert all(f"\n| {row['id']} " in capsys_out for capsys_out in [capsys.readouterr().out] for row in book[0])


def test_check_fails_on_a_fault_and_says_it(project, monkeypatch, capsys):
    rows, faults = project({"rrg_lib/memory.py": ("CMN Eq. 1-2, and", "CMN Eq. 1, and")})
    monkeypatch.setattr(equations, "collect", lambda: (list(rows.values()), faults))
    assert equations.main(["check"]) == 1
    assert "cmn-2 (two): no code" in capsys.readouterr().err
    monkeypatch.setattr(equations, "collect", lambda: equations.equations(Path("nowhere")))
    assert equations.main(["check"]) == 2 and "is missing" in capsys.readouterr().err


def test_the_counts_are_of_papers(project):
    rows, _ = project()
    assert equations.counts(list(rows.values())) == [
        ["A paper", "3", "3", "3", "3", "3", "0"],
        ["Another", "2", "1", "1", "1", "1", "1"],
    ]
