"""The numbers that the four papers print (`data/published.csv`), each with the rounding it was printed with, and what
they say of each other.

A printed number stands for an interval: 0.170 for everything from 0.1695 to 0.1705. Two numbers contradict a claim only
when no values within their intervals would satisfy it; what the rounding hides counts as consistent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from rrg_lib.errors import AnnotationError, UnknownNameError
from rrg_lib.runtime.package_data import table


@dataclass(frozen=True)
class Published:
    """One printed value. `half` is half a unit of its last printed digit, `row` its place in the file, counted from
    1."""

    row: int
    paper: str
    where: str
    dataset: str
    system: str
    metric: str
    value: float
    half: float
    note: str = ""

    @property
    def low(self) -> float:
        return round(
            self.value - self.half, 9
        )  # else 0.525 + 0.0005 is less than 0.526 - 0.0005, and neighbours would contradict each other

    @property
    def high(self) -> float:
        return round(self.value + self.half, 9)

    @property
    def text(self) -> str:
        """With the digits it was printed with: 0.170, 2800."""
        return f"{self.value:.{max(0, round(-math.log10(2 * self.half)))}f}"

    @property
    def place(self) -> str:
        return f"{self.paper}, {self.where}"


@cache
def published() -> tuple[Published, ...]:
    """Every value of `data/published.csv`, in its order. Raises `AnnotationError` naming a row without a number."""
    rows = table("published")
    decimals: dict[tuple[str, str, str], int] = {}
    # trailing zeros are lost in a file of numbers: a column is printed with the most digits that any of its values
    # shows
    for row in rows:
        column = _column(row)
        decimals[column] = max(decimals.get(column, 0), len(row["value"].partition(".")[2].rstrip("0")))
    found = []
    for n, row in enumerate(rows, start=1):
        try:
            value = float(row["value"])
        except ValueError:
            raise AnnotationError(
                f"data/published.csv, value {n}: expected a number, found {row['value']!r}; write the value as printed"
            ) from None
        half = _half(row, decimals[_column(row)])
        found.append(
            Published(
                n, *(row[key] for key in ("paper", "where", "dataset", "system", "metric")), value, half, row["note"]
            )
        )
    return tuple(found)


#: How the names of scores begin; a table prints all its scores with as many digits.
_SCORES = ("BLEU", "METEOR", "ROUGE", "CIDEr", "CE-", "weighted")


def _column(row: dict[str, str]) -> tuple[str, str, str]:
    """What is printed with the same number of digits as this value."""
    return row["paper"], row["where"], "score" if row["metric"].startswith(_SCORES) else row["metric"]


def _half(row: dict[str, str], decimals: int) -> float:
    # CMN's Table 1 prints thousands with one decimal, "2.8K"
    in_thousands = "rounded" in row["note"] and "length" not in row["metric"]
    return 50.0 if in_thousands else 0.5 * 10.0**-decimals


def values_of(paper: str, where: str, dataset: str, system: str) -> dict[str, Published]:
    """One row of one table: metric -> value. Raises `UnknownNameError` naming the nearest row."""
    rows = [value for value in published() if (value.paper, value.where, value.dataset) == (paper, where, dataset)]
    found = {value.metric: value for value in rows if value.system == system}
    if not found:
        raise UnknownNameError(
            f"row of {paper}, {where}, {dataset}", system, dict.fromkeys(value.system for value in rows)
        )
    return found


@dataclass(frozen=True)
class Compared:
    """How one printed row compares with another, metric by metric: `above`, `equal` (as far as the rounding shows) and
    `below` name the metrics."""

    above: tuple[str, ...]
    equal: tuple[str, ...]
    below: tuple[str, ...]

    def __str__(self) -> str:
        n = len(self.above) + len(self.equal) + len(self.below)
        parts = [f"above on {len(self.above)} of {n}"]
        parts += [f"equal within rounding on {', '.join(self.equal)}"] if self.equal else []
        parts += [f"below on {', '.join(self.below)}"] if self.below else []
        return "; ".join(parts)


def compare(a: dict[str, Published], b: dict[str, Published], metrics: Sequence[str] = ()) -> Compared:
    """Row a against row b on the metrics that both print, or on those of `metrics`. Raises `AnnotationError` when they
    have none in common."""
    common = [metric for metric in a if metric in b and (not metrics or metric in metrics)]
    if not common:
        raise AnnotationError(f"these rows have no metric in common: {_name(a.values())} and {_name(b.values())}")
    above = tuple(metric for metric in common if a[metric].low > b[metric].high)
    below = tuple(metric for metric in common if a[metric].high < b[metric].low)
    return Compared(above, tuple(metric for metric in common if metric not in above + below), below)


def _name(row: Iterable[Published]) -> str:
    first = next(iter(row))
    return f"{first.place}, {first.system}"


def relative_gain(
    system: dict[str, Published], base: dict[str, Published], metrics: Sequence[str]
) -> tuple[float, float, float]:
    """Mean over `metrics` of system / base - 1, in per cent: from the printed values, the lowest and the highest that
    their rounding allows."""

    def mean(up: str, down: str) -> float:
        return (
            100
            * sum(getattr(system[metric], up) / getattr(base[metric], down) - 1 for metric in metrics)
            / len(metrics)
        )

    return mean("value", "value"), mean("low", "high"), mean("high", "low")


def same_elsewhere(value: Published) -> Published | None:
    """The first place before this one that prints the same thing: the same data set, system (spelt alike but for case)
    and metric."""
    known = _first_printed()
    first = known.get(_subject(value))
    return first if first is not None and first.row < value.row else None


#: Names that two papers give to one system.
_SPELLINGS = {"coatt": "coat"}


def _subject(value: Published) -> tuple[str, str, str]:
    system = value.system.lower()
    return value.dataset, _SPELLINGS.get(system, system), value.metric


@cache
def _first_printed() -> dict[tuple[str, str, str], Published]:
    found: dict[tuple[str, str, str], Published] = {}
    for value in published():
        found.setdefault(_subject(value), value)
    return found
