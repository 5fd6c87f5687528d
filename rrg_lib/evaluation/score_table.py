"""What an evaluation found: a row for the system, one for each baseline, and what they were computed with; as tables,
Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd

from rrg_lib.evaluation.clinical import LABEL_SETS
from rrg_lib.evaluation.efficacy import AGAINST, efficacy_key
from rrg_lib.evaluation.metrics import FINDING_F1, SCORES, Metric, metrics_shown
from rrg_lib.evaluation.resampling import Additive, Interval
from rrg_lib.runtime.markdown import markdown_table

PartName = Literal["all", "normal", "abnormal"]
PARTS: tuple[PartName, ...] = ("all", "normal", "abnormal")
#: What `Row.not_computed` says of a metric that was not asked for; any other word is of one that failed.
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Part:
    """One system on all, the normal or the abnormal studies. A score that is absent was not computed; NaN is not
    defined there.

    `length` is the mean number of tokens, `findings_said` the mean number of findings that a report asserts (on normal
    studies: false ones). CIDEr weighs n-grams by all studies in every part.
    """

    n: int
    scores: dict[str, float]
    distinct: float
    length: float
    findings_said: float


@dataclass(frozen=True)
class Row:
    """One system: its three parts, intervals of its scores on all studies, precision, recall, F1 and support of each
    finding.

    With several `seeds` every number is their mean. `not_computed` says of each metric that is missing why. `efficacy`
    has the label sets, truths and treatments of "uncertain" of `efficacy_numbers`, by the labeler that the evaluation's
    provenance names under "efficacy"; empty in older results.
    """

    name: str
    description: str
    parts: dict[PartName, Part]
    intervals: dict[str, Interval] = field(default_factory=dict)
    findings: dict[str, dict[str, float]] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    efficacy: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Rows in the order of the table, the system first. `references_finding_f1` is that of the references themselves,
    uncut: the labeler's ceiling. `terms` are the system's scores as sums over studies, for a paired comparison;
    `to_json` leaves them out (`evaluation.terms` packs them)."""

    rows: tuple[Row, ...]
    references_finding_f1: float
    provenance: dict[str, Any]
    terms: dict[str, Additive] = field(default_factory=dict, repr=False, compare=False)

    @property
    def scores(self) -> dict[str, float]:
        """The system's own scores on all studies."""
        return self.rows[0].parts["all"].scores

    def table(self, part: PartName = "all") -> pd.DataFrame:
        """A row a system, a column a score; NaN where a score was not computed or is not defined."""
        columns = [*SCORES, "distinct", "length", "findings said"]
        values = {}
        for row in self.rows:
            p = row.parts[part]
            values[row.name] = [
                *(p.scores.get(score, math.nan) for score in SCORES),
                p.distinct,
                p.length,
                p.findings_said,
            ]
        return pd.DataFrame.from_dict(values, orient="index", columns=columns).rename_axis("system")

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN becomes null."""
        rows = [asdict(row) for row in self.rows]
        return without_nan(
            {"rows": rows, "references_finding_f1": self.references_finding_f1, "provenance": self.provenance}
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Evaluation:
        """What `to_json` gave."""
        return cls(
            tuple(row_from_json(row) for row in data["rows"]),
            _number(data["references_finding_f1"]),
            data["provenance"],
        )

    def markdown(self) -> str:
        """The tables and their footnotes, for a terminal or a notebook."""
        whole = self.rows[0].parts["all"]
        by = f" by {self.provenance['abnormal']}" if "abnormal" in self.provenance else ""
        lines = [f"{whole.n} studies, {self.rows[0].parts['abnormal'].n} of them abnormal{by}", ""]
        columns = metrics_shown("evaluation")
        lines += markdown_table(
            ["system", *(metric.name for metric in columns), "distinct", "length"],
            [[row.name, *(_cell(row, metric) for metric in columns), *_counts(row.parts["all"])] for row in self.rows],
        )
        lines += ["", "Normal and abnormal studies apart:", ""]
        shown = [(metric, part) for metric in metrics_shown("normal and abnormal") for part in PARTS[1:]]
        apart = [
            [row.name, *(_cell(row, *cell) for cell in shown), f"{row.parts['normal'].findings_said:.2f}"]
            for row in self.rows
        ]
        lines += markdown_table(
            ["system", *(f"{metric.name}, {part}" for metric, part in shown), "false findings on a normal study"],
            apart,
        )
        lines += _efficacy_lines(self.rows, self.provenance)
        averaged = {row.name: f" (mean of {len(row.seeds)} seeds)" if len(row.seeds) > 1 else "" for row in self.rows}
        lines += ["", *(f"- **{row.name}**: {row.description}{averaged[row.name]}" for row in self.rows)]
        lines += [
            f"- {metric} of {row.name} not computed: {why}"
            for row in self.rows
            for metric, why in row.not_computed.items()
        ]
        provenance = self.provenance
        lines += [
            self._ceiling(),
            f"- protocol {provenance['protocol']['name']} {provenance['protocol']['hash']}, vocabulary "
            f"{provenance['vocabulary']}, studies {provenance['studies']['hash']}",
        ]
        if any(row.intervals for row in self.rows):
            boot = provenance["bootstrap"]
            lines.append(
                f"- in brackets: {boot['level']:.0%} bootstrap intervals over studies, {boot['resamples']} resamples, "
                f"seed {boot['seed']}"
            )
        return "\n".join(lines) + "\n"

    def _ceiling(self) -> str:
        """What the references themselves score, by whose labels and over which studies; or why findings can't be
        scored."""
        provenance, n = self.provenance, self.rows[0].parts["all"].n
        coded = provenance.get("coded", n)
        if math.isnan(self.references_finding_f1):
            return (
                f"- {FINDING_F1} is not defined: {coded} of {n} studies have expert codes, none of them one of "
                f"the findings"
            )
        over = f", over the {coded} studies that have some" if coded < n else ""
        return (
            f"- the references themselves: {FINDING_F1} {self.references_finding_f1:.3f} ({provenance['label_set']}, "
            f"labeler {provenance['labeler']['version']}, a doubted finding counts as said, against the experts' codes"
            f"{over})"
        )


def _efficacy_lines(rows: Sequence[Row], provenance: dict[str, Any]) -> list[str]:
    """The table of the label sets, micro- and macro-F1; nothing for results that were stored before there was one."""
    read = [row for row in rows if row.efficacy]
    if not read:
        return []
    columns = [
        (name, against)
        for against in AGAINST
        for name in LABEL_SETS
        if efficacy_key(name, "negative", against) in read[0].efficacy
    ]
    cells = [
        [
            row.name,
            *(
                "/".join(
                    _score(row.efficacy[efficacy_key(name, "negative", truth)][f"{m} f1"]) for m in ("micro", "macro")
                )
                for name, truth in columns
            ),
        ]
        for row in read
    ]
    labeler = provenance["efficacy"]["labeler"]
    truths = {"codes": "experts' codes", "report": "same labeler on the reference"}
    return [
        "",
        f"Clinical efficacy, micro/macro F1 (labeler {labeler['version']} {labeler['hash']}, uncertain is negative):",
        "",
        *markdown_table(["system", *(f"{name}, {truths[against]}" for name, against in columns)], cells),
    ]


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _cell(row: Row, metric: Metric, part: PartName = "all") -> str:
    value = row.parts[part].scores.get(metric.name, math.nan)
    if math.isnan(value):
        return metric.shown(value)
    ends = row.intervals.get(metric.name) if part == "all" and metric.interval_shown else None
    return metric.shown(value) + (f" [{metric.shown(ends.low)}, {metric.shown(ends.high)}]" if ends else "")


def _counts(part: Part) -> list[str]:
    return [f"{part.distinct:.0f}", f"{part.length:.1f}"]


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(values: dict[str, float | None]) -> dict[str, float]:
    return {key: _number(value) for key, value in values.items()}


def row_from_json(row: dict[str, Any]) -> Row:
    parts = {
        name: Part(
            n=part["n"],
            scores=_numbers(part["scores"]),
            **_numbers({k: part[k] for k in ("distinct", "length", "findings_said")}),
        )
        for name, part in row["parts"].items()
    }
    return Row(
        **row
        | {
            "parts": parts,
            "intervals": {score: Interval(*map(_number, ends)) for score, ends in row["intervals"].items()},
            "findings": {label: _numbers(scores) for label, scores in row["findings"].items()},
            "seeds": tuple(row["seeds"]),
            "efficacy": {key: _numbers(scores) for key, scores in row.get("efficacy", {}).items()},
        }
    )
