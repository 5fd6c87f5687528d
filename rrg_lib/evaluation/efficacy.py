"""Clinical efficacy: the findings of generated reports against the truth, over every label set, with side and severity.

Two truths, and a result says which: `codes`, the experts' MeSH codes, which no labeler has touched; and `report`, the
same labeler on the reference report, which is how the papers measure it. The first has a ceiling below 1 (not every
code is in the FINDINGS), the second forgives what the labeler overlooks in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from rrg_lib.data.study import Study
from rrg_lib.data.text.rule_labeler import Mention, ReportLabeler
from rrg_lib.errors import UnknownNameError
from rrg_lib.evaluation.clinical import LABEL_SETS, UNCERTAIN, FindingScores, Uncertain, clinical_scores
from rrg_lib.evaluation.nlg import Reports, one_report_each, same_studies
from rrg_lib.evaluation.resampling import Interval, interval
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.markdown import markdown_table

Against = Literal["codes", "report"]
AGAINST: tuple[Against, ...] = ("codes", "report")
Attribute = Literal["side", "severity"]
ATTRIBUTES: tuple[Attribute, ...] = ("side", "severity")
#: What a finding is said to be, by drawn finding: the values of an attribute that a report or the codes give it.
Attributes = dict[str, dict[Attribute, frozenset[str]]]


@dataclass(frozen=True)
class Agreement:
    """Agreement on an attribute of findings that both have. `both` counts findings where both say something, `agree`
    those where they say the same; `only_predicted` and `only_truth` count those where one says something and the other
    nothing."""

    both: int
    agree: int
    only_predicted: int
    only_truth: int

    @property
    def rate(self) -> float:
        """Agreement where both say something; NaN where they never do."""
        return self.agree / self.both if self.both else math.nan


@dataclass(frozen=True, eq=False)
class Efficacy:
    """Scores by (label set, treatment of uncertain), agreement on side and severity, and what it was computed with."""

    scores: dict[tuple[str, str], FindingScores]
    agreement: dict[Attribute, Agreement]
    provenance: dict[str, Any]

    def table(self) -> pd.DataFrame:
        """A row a label set and treatment of uncertain: micro and macro precision, recall, F1, and support."""
        rows = {
            key: {
                f"{name} {field}": getattr(getattr(scores, name), field)
                for name in ("micro", "macro")
                for field in ("precision", "recall", "f1")
            }
            | {"support": scores.micro.support}
            for key, scores in self.scores.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["label set", "uncertain"])

    def by_class(self, label_set: str = "CheXpert-14", uncertain: str = "negative") -> pd.DataFrame:
        """A row a label: precision, recall, F1, support."""
        return pd.DataFrame.from_dict(
            {name: asdict(prf) for name, prf in self.scores[label_set, uncertain].per_finding.items()}, orient="index"
        )

    def interval(
        self,
        label_set: str,
        uncertain: str = "negative",
        average: Literal["micro", "macro"] = "micro",
        *,
        seed: int = 0,
    ) -> Interval:
        """The 95 % bootstrap interval over studies of a micro- or macro-F1."""
        return interval(self.scores[label_set, uncertain].additive[average], seed=seed)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN becomes null."""
        return {
            "scores": [
                {"label_set": key[0], "uncertain": key[1], "micro": _plain(s.micro), "macro": _plain(s.macro)}
                | {"classes": {name: _plain(prf) for name, prf in s.per_finding.items()}}
                for key, s in self.scores.items()
            ],
            "agreement": {name: asdict(a) for name, a in self.agreement.items()},
            "provenance": self.provenance,
        }

    def markdown(self) -> str:
        """The table, the classes of CheXpert-14, the agreement and what all was computed with, for a terminal or a
        notebook."""
        provenance = self.provenance
        rows = [(*key, *_cells(row)) for key, row in zip(self.scores, self.table().to_numpy().tolist(), strict=True)]
        lines = markdown_table(["label set", "uncertain is", *self.table().columns], rows)
        lines += ["", "CheXpert-14, uncertain is negative:", ""]
        classes = [(name, *_cells(row)) for name, *row in self.by_class().itertuples(name=None)]
        lines += markdown_table(["class", "precision", "recall", "F1", "support"], classes)
        lines.append("")
        for name, a in self.agreement.items():
            rate = "–" if math.isnan(a.rate) else f"{a.rate:.3f}"
            lines.append(
                f"- {name}: {rate} where both say it ({a.agree} of {a.both}); {a.only_predicted} say it alone, "
                f"{a.only_truth} do not say it"
            )
        truth = "the experts' codes" if provenance["against"] == "codes" else "the labels of the reference reports"
        lines.append(
            f"- truth: {truth}; {provenance['studies']['n']} studies {provenance['studies']['hash']}; labeler "
            f"{provenance['labeler']['version']} {provenance['labeler']['hash']}"
        )
        return "\n".join(lines) + "\n"


def clinical_efficacy(
    reports: Reports, studies: Sequence[Study], *, against: Against = "codes", labeler: ReportLabeler | None = None
) -> Efficacy:
    """Measures the findings of reports (study id -> text, raw or cleaned) for exactly these studies.

    An empty report says nothing, and scores so. Raises `ReportError` for reports missing, too many or given twice,
    `UnknownNameError` for another truth.
    """
    if against not in AGAINST:
        raise UnknownNameError("truth", against, AGAINST)
    labeler = labeler or ReportLabeler()
    given = one_report_each(reports, "report")
    same_studies([study.id for study in studies], given, "reports")
    texts = [given[study.id] for study in studies]
    predicted = {
        "drawn": [labeler.drawn(text) for text in texts],
        "observations": [labeler.observations(text) for text in texts],
    }
    if against == "codes":
        truth = {"drawn": [study.drawn for study in studies], "observations": [study.observations for study in studies]}
        true_attributes = [attributes_by_codes(study) for study in studies]
    else:
        truth = {
            "drawn": [labeler.drawn(s.report) for s in studies],
            "observations": [labeler.observations(s.report) for s in studies],
        }
        true_attributes = [attributes_by_report(labeler.mentions(study.report)) for study in studies]
    scores = {
        (name, uncertain): clinical_scores(
            *(labels["drawn" if name == "drawn-13" else "observations"] for labels in (predicted, truth)),
            name,
            uncertain=uncertain,
        )
        for name in LABEL_SETS
        for uncertain in UNCERTAIN
    }
    predicted_attributes = [attributes_by_report(labeler.mentions(text)) for text in texts]
    provenance = {
        "against": against,
        "label_sets": {name: list(labels) for name, labels in LABEL_SETS.items()},
        "labeler": {"version": labeler.version, "hash": labeler.hash},
        "studies": {
            "splits": sorted({study.split for study in studies}),
            "n": len(studies),
            "hash": content_hash([study.id for study in studies]),
        },
        "reports": content_hash(sorted(given.items())),
    }
    return Efficacy(
        scores,
        {attribute: agreement(predicted_attributes, true_attributes, attribute) for attribute in ATTRIBUTES},
        provenance,
    )


def efficacy_numbers(
    reports: Reports, studies: Sequence[Study], labeler: ReportLabeler | None = None
) -> dict[str, dict[str, float]]:
    """What an evaluation keeps of clinical efficacy, by "LABEL SET, uncertain is X, against Y" and "side, against Y":
    micro and macro scores, agreement.

    Against the codes over the studies that have some, and not at all where none has: there is no such truth. Raises as
    `clinical_efficacy` does.
    """
    labeler = labeler or ReportLabeler()
    coded, given = [study for study in studies if study.is_coded], one_report_each(reports, "report")
    same_studies([study.id for study in studies], given, "reports")
    of = {"codes": (coded, {study.id: given[study.id] for study in coded}), "report": (studies, given)}
    numbers: dict[str, dict[str, float]] = {}
    for against in AGAINST if coded else AGAINST[1:]:
        those, texts = of[against]
        measured = clinical_efficacy(texts, those, against=against, labeler=labeler)
        for (name, uncertain), row in zip(measured.scores, measured.table().to_dict("records"), strict=True):
            numbers[efficacy_key(name, uncertain, against)] = {key: float(value) for key, value in row.items()}
        for attribute, a in measured.agreement.items():
            numbers[f"{attribute}, against {against}"] = {
                "rate": a.rate,
                **{key: float(value) for key, value in asdict(a).items()},
            }
    return numbers


def efficacy_key(label_set: str, uncertain: Uncertain = "negative", against: Against = "codes") -> str:
    """How `efficacy_numbers` names one of its rows."""
    return f"{label_set}, uncertain is {uncertain}, against {against}"


def agreement(predicted: Sequence[Attributes], truth: Sequence[Attributes], attribute: Attribute) -> Agreement:
    """Agreement on an attribute over the findings that both name, study by study. Where a finding is named with several
    values (two effusions, one mild and one severe), one in common is enough."""
    both = agree = only_predicted = only_truth = 0
    for a, b in zip(predicted, truth, strict=True):
        for finding in a.keys() & b.keys():
            one, other = a[finding][attribute], b[finding][attribute]
            both += bool(one and other)
            agree += bool(one & other)
            only_predicted += bool(one and not other)
            only_truth += bool(other and not one)
    return Agreement(both, agree, only_predicted, only_truth)


def attributes_by_codes(study: Study) -> Attributes:
    """What the expert codes say of each drawn finding of a study."""
    return _gathered([(finding.drawn, finding.side, finding.severity) for finding in study.findings])


def attributes_by_report(mentions: Sequence[Mention]) -> Attributes:
    """What a report says of each drawn finding that it asserts or thinks possible."""
    return _gathered([(m.drawn, m.side, m.severity) for m in mentions if m.status in ("positive", "uncertain")])


def _gathered(mentions: Sequence[tuple[str | None, str | None, str | None]]) -> Attributes:
    gathered: Attributes = {}
    for name in {name for name, _, _ in mentions if name}:
        sides = {side for other, side, _ in mentions if other == name and side}
        # One on the left and one on the right are what "bilateral" says in one word.
        sides = {"bilateral"} if {"left", "right"} <= sides else sides
        gathered[name] = {
            "side": frozenset(sides),
            "severity": frozenset(grade for other, _, grade in mentions if other == name and grade),
        }
    return gathered


def _cells(row: Sequence[float]) -> list[str]:
    """Scores to three decimals, a dash for what is not defined; the support, which stands last, as a count."""
    return [*("–" if math.isnan(value) else f"{value:.3f}" for value in row[:-1]), f"{row[-1]:.0f}"]


def _plain(prf: Any) -> dict[str, float | int | None]:
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in asdict(prf).items()}
