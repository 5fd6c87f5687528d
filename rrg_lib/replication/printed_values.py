"""The numbers that the four papers print (`data/published.csv`), each with the rounding it was printed with, and what
they say of each other.

A printed number stands for an interval: 0.170 for everything from 0.1695 to 0.1705. Two numbers contradict a claim only
when no values within their intervals would satisfy it; what the rounding hides counts as consistent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

from rrg_lib.errors import AnnotationError, UnknownNameError
from rrg_lib.runtime.package_data import table


class Quantity(Enum):
    """What a printed number is a number of."""

    SCORE = "a score"
    COUNT = "a count"
    LENGTH = "a mean length"
    GAIN = "a mean gain in per cent"
    PARAMETERS = "a share of parameters in per cent"
    SETTING = "a value of a setting"


#: Every printed metric that is no score.
_QUANTITIES = {
    "images": Quantity.COUNT,
    "reports": Quantity.COUNT,
    "patients": Quantity.COUNT,
    "average report length, words": Quantity.LENGTH,
    "average gain over BASE, %": Quantity.GAIN,
    "extra parameters over BASE, %": Quantity.PARAMETERS,
    "best number of queried vectors K": Quantity.SETTING,
    "memory size after which BLEU-4 stops growing": Quantity.SETTING,
    "best theta": Quantity.SETTING,
    'shared prototypes of "lungs" and its patch, of top 10': Quantity.COUNT,
}


class Origin(Enum):
    """Where a paper has a number from, as the notes of the file say it."""

    OWN = ""
    CITED = "cited from the original paper"
    RERUN = "replicated by the R2GenCMN authors"
    ROUNDED = "counts rounded in the paper"
    QUOTED = "quoted from R2GenCMN"
    TEXT = "read from the text"


_ORIGINS = {origin.value: origin for origin in Origin}


class Place(Enum):
    """The kinds of places that print numbers, by the first word of their names; all others are text."""

    TABLE = "Table"
    FIGURE = "Figure"
    TEXT = "text"


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
    def quantity(self) -> Quantity:
        return _QUANTITIES.get(self.metric, Quantity.SCORE)

    @property
    def origin(self) -> Origin:
        """A note that says something else is a remark on a number of the paper's own."""
        return _ORIGINS.get(self.note, Origin.OWN)

    @property
    def setting(self) -> float | None:
        """The value that a row of a sweep is printed for: 15 of "gamma=15"; None of a system."""
        value = self.system.partition("=")[2]
        return float(value) if value else None

    @property
    def kind_of_place(self) -> Place:
        return next((place for place in Place if place.value == self.where.partition(" ")[0]), Place.TEXT)

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
    values = []
    for n, row in enumerate(rows, start=1):
        try:
            value = float(row["value"])
        except ValueError:
            raise AnnotationError(
                f"data/published.csv, value {n}: expected a number, found {row['value']!r}; write the value as printed"
            ) from None
        half = _half(row, decimals[_column(row)])
        values.append(
            Published(
                n, *(row[key] for key in ("paper", "where", "dataset", "system", "metric")), value, half, row["note"]
            )
        )
    return tuple(values)


def _column(row: dict[str, str]) -> tuple[str, str, str]:
    """What is printed with the same number of digits as this value: a table prints all its scores with as many."""
    return row["paper"], row["where"], row["metric"] if row["metric"] in _QUANTITIES else ""


def _half(row: dict[str, str], decimals: int) -> float:
    # CMN's Table 1 prints thousands with one decimal, "2.8K"
    in_thousands = row["note"] == Origin.ROUNDED.value and _QUANTITIES.get(row["metric"]) is Quantity.COUNT
    return 50.0 if in_thousands else 0.5 * 10.0**-decimals


def values_of(paper: str, where: str, dataset: str, system: str) -> dict[str, Published]:
    """One row of one table: metric -> value. Raises `UnknownNameError` naming the nearest row."""
    rows = [value for value in published() if (value.paper, value.where, value.dataset) == (paper, where, dataset)]
    by_metric = {value.metric: value for value in rows if value.system == system}
    if not by_metric:
        raise UnknownNameError(
            f"row of {paper}, {where}, {dataset}", system, dict.fromkeys(value.system for value in rows)
        )
    return by_metric


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


def compare_rows(a: dict[str, Published], b: dict[str, Published], metrics: Sequence[str] = ()) -> Compared:
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
    first: dict[tuple[str, str, str], Published] = {}
    for value in published():
        first.setdefault(_subject(value), value)
    return first
