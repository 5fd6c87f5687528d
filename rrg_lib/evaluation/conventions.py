"""One set of reports, every convention: how much of a clinical F1 is the reports, and how much the way of counting.

A printed F1 of findings seldom says by which labeler, what "uncertain" counted as, over which labels it was averaged
and how, and what became of a row in which there is nothing to find. Each choice is defensible; here the same reports go
through all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from typing import Any, get_args

import numpy as np
import pandas as pd

from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS
from rrg_lib.data.text.keyword_labeler import KeywordLabeler
from rrg_lib.data.text.rule_labeler import ReportLabeler, RulesVersion
from rrg_lib.errors import ReportError
from rrg_lib.evaluation.clinical import LABEL_SETS
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.package_data import table

#: The five observations that CheXpert's competition and many papers report alone.
CHEXPERT_5 = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
#: The label sets of the table: 14, 13 and 5 of CheXpert's, and the 13 drawn findings.
SETS: dict[str, tuple[str, ...]] = {
    "CheXpert-14": LABEL_SETS["CheXpert-14"],
    "CheXpert-13": LABEL_SETS["CheXpert-13"],
    "CheXpert-5": CHEXPERT_5,
    "drawn-13": LABEL_SETS["drawn-13"],
}
UNCERTAIN_AS = ("negative", "positive", "ignored")
AVERAGES = ("micro", "macro", "example")
#: What becomes of a row (a label in macro, a study in the example average) without anything to average.
EMPTY_ROWS = ("left out", "counts 0", "counts 1")
#: Where a choice changes nothing.
NO_MATTER = "–"
CHOICES = ("labeler", "uncertain", "average", "label_set", "empty_rows")


@dataclass(frozen=True)
class Convention:
    """One way to count. `uncertain` says what a doubted finding is, on either side (ignored: that label of that study
    is not counted).

    `empty_rows`: "left out" are rows of which the references have no finding (a label nobody has, a normal study), as
    in `finding_f1`'s macro; "counts 0" and "counts 1" are values of rows in which neither side has one.
    """

    labeler: str
    uncertain: str
    average: str
    label_set: str
    empty_rows: str

    def __str__(self) -> str:
        doubt = "" if self.uncertain == NO_MATTER else f", uncertain {self.uncertain}"
        empty = "" if self.empty_rows == NO_MATTER else f", empty rows {self.empty_rows}"
        return f"{self.label_set}, {self.average}, {self.labeler}{doubt}{empty}"


@dataclass(frozen=True)
class ConventionTable:
    """F1 of the same reports by convention; NaN where a convention finds nothing to count."""

    f1: dict[Convention, float]
    n: int
    labelers: dict[str, str]

    @property
    def smallest(self) -> tuple[Convention, float]:
        return min(self._defined(), key=lambda item: item[1])

    @property
    def largest(self) -> tuple[Convention, float]:
        return max(self._defined(), key=lambda item: item[1])

    def _defined(self) -> list[tuple[Convention, float]]:
        defined = [(convention, value) for convention, value in self.f1.items() if not np.isnan(value)]
        if not defined:
            raise ReportError("no convention finds a finding in these references, so no F1 is defined")
        return defined

    def _as_well(self, value: float) -> str:
        others = sum(abs(other - value) < 1e-12 for _, other in self._defined()) - 1
        return f" (and {others} others)" if others else ""

    def moved_by(self) -> dict[str, float]:
        """By choice, the largest difference between two conventions that differ in it alone."""
        whole, moved = self.table(whole=True), {}
        for choice in CHOICES:
            alike = whole.groupby([other for other in CHOICES if other != choice])["f1"]
            moved[choice] = float((alike.max() - alike.min()).max())
        return moved

    def table(self, *, whole: bool = False) -> pd.DataFrame:
        """A row a convention, its choices and F1.

        `whole`: a row for each combination of choices, so that a convention to which a choice does not matter (no doubt
        in keywords-0, no empty row in micro) stands once beside each value of that choice.
        """
        rows = []
        for convention, value in self.f1.items():
            of = asdict(convention)
            values = {"uncertain": UNCERTAIN_AS, "empty_rows": EMPTY_ROWS} if whole else {}
            for full in product(*(values[c] if c in values and of[c] == NO_MATTER else (of[c],) for c in CHOICES)):
                rows.append(dict(zip(CHOICES, full, strict=True)) | {"f1": value})
        return pd.DataFrame(rows)

    def markdown(self, name: str = "the reports") -> str:
        (low, least), (high, most) = self.smallest, self.largest
        rows = {}
        for c, value in self.f1.items():
            row = rows.setdefault((c.labeler, c.uncertain, c.average, c.empty_rows), dict.fromkeys(SETS, NO_MATTER))
            row[c.label_set] = NO_MATTER if np.isnan(value) else f"{value:.3f}"
        lines = [
            f"F1 of {name}, {self.n} studies, under {len(self.f1)} conventions: {least:.3f} to {most:.3f}.",
            "",
            f"- smallest {least:.3f}: {low}{self._as_well(least)}",
            f"- largest {most:.3f}: {high}{self._as_well(most)}",
            "- largest change by one choice alone: "
            + ", ".join(f"{choice.replace('_', ' ')} {moved:.3f}" for choice, moved in self.moved_by().items()),
            "",
            *markdown_table(
                ["labeler", "uncertain is", "average", "empty rows", *SETS],
                [[*key, *row.values()] for key, row in rows.items()],
            ),
            "",
            "- truth: the same labeler's labels of the references; "
            + ", ".join(f"{version} {digest}" for version, digest in self.labelers.items()),
            "- empty rows: a label in macro, a study in the example average. left out: the references have nothing "
            "there. counts 0, counts 1: neither side has anything there",
            "- keywords-0 knows no doubt, and has no rule for "
            f"{', '.join(o for o in OBSERVATIONS[1:] if o not in _observed().values())}: it never says them",
        ]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict:
        """Plain values for a JSON file; NaN becomes null."""
        (low, least), (high, most) = self.smallest, self.largest
        return {
            "n": self.n,
            "smallest": {**asdict(low), "f1": least},
            "largest": {**asdict(high), "f1": most},
            "moved_by": self.moved_by(),
            "labelers": self.labelers,
            "conventions": [
                {**asdict(convention), "f1": None if np.isnan(value) else value}
                for convention, value in self.f1.items()
            ],
        }


def convention_table(predictions: Sequence[str], references: Sequence[str]) -> ConventionTable:
    """F1 of reports against the references of the same studies, in the same order, under every convention.

    Raises `ReportError` for none, or other numbers of them.
    """
    if len(predictions) != len(references) or not references:
        raise ReportError(
            f"conventions need a prediction for each reference, at least one, not {len(predictions)} and "
            f"{len(references)}"
        )
    rules, keywords = [ReportLabeler(version) for version in get_args(RulesVersion)], KeywordLabeler()
    readings = {
        labeler.version: (UNCERTAIN_AS, [_read(texts, partial(_rules, labeler)) for texts in (predictions, references)])
        for labeler in rules
    }
    readings[keywords.version] = (
        (NO_MATTER,),
        [_read(texts, partial(_keywords, keywords)) for texts in (predictions, references)],
    )
    f1: dict[Convention, float] = {}
    for name, (labeler, (treatments, sides)) in product(SETS, readings.items()):
        for uncertain in treatments:
            f1 |= _averaged(*(side[name] for side in sides), labeler, uncertain, name)
    return ConventionTable(f1, len(references), {each.version: each.hash for each in (*rules, keywords)})


def _read(texts: Sequence[str], label: Callable[[str], dict[str, list[float]]]) -> dict[str, np.ndarray]:
    """(n, k) labels of the texts by label set; a text that stands there often is read once."""
    read = {text: label(text) for text in dict.fromkeys(texts)}
    return {name: np.array([read[text][name] for text in texts]) for name in SETS}


def _averaged(
    predicted: np.ndarray, true: np.ndarray, labeler: str, uncertain: str, name: str
) -> dict[Convention, float]:
    """Every average of labels (n, k) that are 1, 0, -1 or NaN."""
    counted = ~((predicted == -1) | (true == -1)) if uncertain == "ignored" else np.ones(predicted.shape, bool)
    positive = (1, -1) if uncertain == "positive" else (1,)
    a, b = (np.isin(labels, positive) & counted for labels in (predicted, true))
    counts = np.stack([a & b, a & ~b, ~a & b]).astype(int)  # (3, n, k): hits, false ones, misses
    scores = {Convention(labeler, uncertain, "micro", name, NO_MATTER): _f1(counts.sum((1, 2)), "left out").item()}
    for (average, axis), rule in product((("macro", 1), ("example", 2)), EMPTY_ROWS):
        each = _f1(counts.sum(axis), rule)
        defined = each[~np.isnan(each)]
        scores[Convention(labeler, uncertain, average, name, rule)] = (
            float(defined.mean()) if len(defined) else float("nan")
        )
    return scores


def _f1(counts: np.ndarray, rule: str) -> np.ndarray:
    """(...) F1 of (3, ...) hits, false ones and misses; NaN where the rule leaves the row out."""
    hit, false, missed = counts
    total = 2 * hit + false + missed
    f1 = np.divide(2 * hit, total, out=np.full(np.shape(hit), 1.0 if rule == "counts 1" else 0.0), where=total > 0)
    return np.where(hit + missed > 0, f1, np.nan) if rule == "left out" else f1


def _rules(labeler: ReportLabeler, text: str) -> dict[str, list[float]]:
    labels = dict(zip(OBSERVATIONS, labeler.observations(text), strict=True))
    labels |= dict(zip((("drawn", finding) for finding in DRAWN_FINDINGS), labeler.drawn(text), strict=True))
    return _by_set(labels)


@cache
def _observed() -> dict[str, str]:
    """drawn finding -> its observation, of those that have one: the most frequent one of the collection's codes (an
    opacity is "Lung Opacity")."""
    observations: dict[str, str] = {}
    for row in table("mesh_findings"):  # the most frequent first
        if row["drawn_finding"] and row["chexpert_observation"]:
            observations.setdefault(row["drawn_finding"], row["chexpert_observation"])
    return observations


def _keywords(labeler: KeywordLabeler, text: str) -> dict[str, list[float]]:
    drawn = dict(zip(DRAWN_FINDINGS, map(float, labeler.label(text)), strict=True))
    observations = {observation for finding, observation in _observed().items() if drawn[finding]}
    observations |= set() if observations or not any(c.isalnum() for c in text) else {"No Finding"}
    labels = {label: float(label in observations) for label in OBSERVATIONS}
    return _by_set(labels | {("drawn", finding): value for finding, value in drawn.items()})


def _by_set(labels: dict[Any, float]) -> dict[str, list[float]]:
    """Labels by label set; those of drawn findings stand under ("drawn", finding): some are called as an observation
    is."""
    return {
        name: [labels[("drawn", label) if name == "drawn-13" else label] for label in wanted]
        for name, wanted in SETS.items()
    }
