"""By which convention a printed clinical F1 can have been counted: what its paper and its code say
(`data/printed_conventions.csv`; "not said" is an answer), and what the precision and recall printed beside it leave
possible.

F1 is the harmonic mean of precision and recall where hits and mistakes are counted in one (micro). A mean of the F1 of
labels or of studies is not: the harmonic mean is concave, so the mean of F1 lies at or below the harmonic mean of the
mean precision and the mean recall. Both hold whatever the labeler is, and both are checked within the rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from rrg_lib.replication.printed_values import Published, values_of
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.package_data import table

#: The columns of the file that make a convention.
CONVENTION = ("labeler", "uncertain", "average", "label_set", "empty_rows")
#: Averages that are means of F1: of labels, of labels weighted by how often they are true, of studies.
MEANS = ("macro", "weighted", "example")


@dataclass(frozen=True)
class PrintedF1:
    """A printed F1 with the precision and the recall beside it, and what is known of its `convention`, by
    `CONVENTION`."""

    precision: Published
    recall: Published
    f1: Published
    convention: dict[str, str]

    @property
    def if_micro(self) -> tuple[float, float]:
        """The lowest and the highest harmonic mean of precision and recall that their rounding allows."""
        p, r = self.precision, self.recall
        return _harmonic(p.low, r.low), _harmonic(p.high, r.high)

    @property
    def possible(self) -> dict[str, bool]:
        """By average, whether the three printed numbers can be of it: F1 equal to the harmonic mean (micro), or not
        above it (means)."""
        low, high = self.if_micro
        return {"micro": low <= self.f1.high and self.f1.low <= high} | dict.fromkeys(MEANS, self.f1.low <= high)


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall)


@cache
def printed_f1() -> tuple[PrintedF1, ...]:
    """Every printed F1 of findings, in the order of the papers' tables. Raises `UnknownNameError` for a row of the file
    that names no printed table."""
    printed = []
    for row in table("printed_conventions"):
        place = row["paper"], row["where"], row["dataset"]
        for system in _systems(*place, row["f1"]):
            values = values_of(*place, system)
            sides = (values[row[kind]] for kind in ("precision", "recall", "f1"))
            printed.append(PrintedF1(*sides, {name: row[name] for name in CONVENTION}))
    return tuple(printed)


def _systems(paper: str, where: str, dataset: str, f1: str) -> list[str]:
    wanted = paper, where, dataset, f1
    keys = ("paper", "where", "dataset", "metric")
    return [row["system"] for row in table("published") if tuple(row[key] for key in keys) == wanted]


def convention_columns() -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table: each printed F1, what it would be if counted in one, which averages it can be of and
    which not."""
    rows = []
    for each in printed_f1():
        low, high = each.if_micro
        can, cannot = ([name for name, holds in each.possible.items() if holds is wanted] for wanted in (True, False))
        printed = each.f1
        rows.append(
            [
                *(printed.place, printed.system),
                *(value.text for value in (each.precision, each.recall, printed)),
                f"{low:.4f} to {high:.4f}",
                ", ".join(can) or "none",
                ", ".join(cannot) or "–",
            ]
        )
    return ["where", "system", "precision", "recall", "F1", "F1 if micro", "can be", "cannot be"], rows


def statement_lines() -> list[str]:
    """A line for each table with a printed F1: what its paper and its code say of the convention."""
    by_place = {each.f1.place: each.convention for each in printed_f1()}
    return [
        f"- {place}: " + "; ".join(f"**{name.replace('_', ' ')}** {text}" for name, text in convention.items())
        for place, convention in by_place.items()
    ]


#: How the table is read.
READING = (
    "Counted in one (micro), F1 is the harmonic mean of precision and recall; a mean of F1 over labels (macro, "
    "weighted) or studies (example) lies at or below it, where the same labels or studies are in all three means. “Can "
    "be” says no more: with another labeler, another treatment of doubt or another label set the same reports have "
    "another F1."
)


def conventions_markdown() -> list[str]:
    """The lines of the ledger's section: the table, how to read it, and what is said."""
    return [*markdown_table(*convention_columns()), "", READING, "", *statement_lines()]
