"""How far to trust the labeler: its answers on the experts' own reports against the experts' codes.

The codes were made from the whole report and sometimes from its conclusion alone, so a perfect reader of FINDINGS
cannot find them all. `Ceiling` counts the codes that have no trace there. What is left is read:
`data/labeler_disagreements.csv` explains every disagreement on the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, Study
from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.evaluation.clinical import confusion
from rrg_lib.evaluation.efficacy import Efficacy, clinical_efficacy
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.package_data import table


@dataclass(frozen=True)
class Ceiling:
    """The most that any reader of FINDINGS can reach on drawn-13.

    `codes` counts findings by study, `unmentioned` those of which the labeler finds no mention whatever its status,
    `traceless` those of which not even a word stem of the lexicon stands anywhere in the text, and `denied` those of
    which every mention denies it. The true number of codes without a trace lies between `traceless` and `unmentioned`.
    """

    codes: int
    unmentioned: int
    traceless: int
    denied: int

    @property
    def f1(self) -> tuple[float, float]:
        """F1 of a reader who makes no mistake: with `unmentioned` and with `traceless` lost."""
        return tuple(2 * r / (1 + r) for r in (1 - lost / self.codes for lost in (self.unmentioned, self.traceless)))


class Disagreement(NamedTuple):
    """A finding that the labeler reads in a report and the codes lack (`says` is "present"), or the other way round
    ("absent")."""

    study_id: str
    finding: str
    says: str


@dataclass(frozen=True, eq=False)
class Audit:
    """Scores of the references themselves, the confusion of both label sets, the ceiling, and every disagreement on
    drawn-13."""

    efficacy: Efficacy
    confusion: dict[str, pd.DataFrame]
    ceiling: Ceiling
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        tables = {
            name: {
                label: {f"{there}, {answer}": int(n) for (there, answer), n in row.items()}
                for label, row in frame.to_dict("index").items()
            }
            for name, frame in self.confusion.items()
        }
        return self.efficacy.to_json() | {
            "confusion": tables,
            "ceiling": asdict(self.ceiling) | {"f1": list(self.ceiling.f1)},
            "disagreements": [disagreement._asdict() for disagreement in self.disagreements],
        }

    def markdown(self) -> str:
        """What `rrg audit` prints."""
        c, (low, high) = self.ceiling, self.ceiling.f1
        lines = [
            self.efficacy.markdown(),
            "Answers where the experts' codes have the finding, and where they have not:",
            "",
        ]
        frame = self.confusion["drawn-13"]
        lines += markdown_table(
            ["drawn-13", *(f"{there}: {answer}" for there, answer in frame.columns)], list(frame.itertuples(name=None))
        )
        lines += [
            "",
            f"- of {c.codes} coded findings {c.unmentioned} are nowhere mentioned ({c.unmentioned / c.codes:.1%}), "
            f"{c.traceless} have not even a word stem in FINDINGS ({c.traceless / c.codes:.1%}), and {c.denied} are "
            "only denied there",
            f"- a reader without a mistake would reach a micro-F1 between {low:.3f} and {high:.3f} on drawn-13",
            f"- {len(self.disagreements)} disagreements; those of the test split are explained in "
            f"data/labeler_disagreements.csv",
        ]
        return "\n".join(lines) + "\n"


def audit_labeler(studies: Sequence[Study], labeler: ReportLabeler | None = None) -> Audit:
    """Reads the reports of the studies and compares with their codes; uncertain findings count as positive among the
    disagreements."""
    labeler = labeler or ReportLabeler()
    answers = np.array([labeler.drawn(study.report) for study in studies])  # (n, 13)
    asserted = np.array([labeler.label(study.report) for study in studies])
    present = np.array([study.drawn for study in studies])
    observed = np.array([labeler.observations(study.report) for study in studies])
    return Audit(
        clinical_efficacy({study.id: study.report for study in studies}, studies, labeler=labeler),
        {
            "drawn-13": confusion(answers, present, DRAWN_FINDINGS),
            "CheXpert-14": confusion(observed, np.array([study.observations for study in studies]), OBSERVATIONS),
        },
        ceiling(studies, answers, labeler),
        tuple(
            Disagreement(studies[i].id, DRAWN_FINDINGS[j], "present" if asserted[i, j] else "absent")
            for i, j in zip(*np.nonzero(asserted != present), strict=True)
        ),
    )


def ceiling(studies: Sequence[Study], answers: np.ndarray, labeler: ReportLabeler) -> Ceiling:
    """The ceiling of these studies; `answers` are the labeler's, (n, 13)."""
    stems = labeler.stems
    codes = unmentioned = traceless = denied = 0
    for study, row in zip(studies, answers, strict=True):
        text = " ".join(labeler.sentences(study.report))
        for name, there, answer in zip(DRAWN_FINDINGS, study.drawn, row, strict=True):
            if there:
                codes += 1
                unmentioned += bool(np.isnan(answer))
                traceless += not any(stem in text for stem in stems[name])
                denied += answer == 0
    return Ceiling(codes, unmentioned, traceless, int(denied))


def explained() -> dict[Disagreement, tuple[str, str]]:
    """(cause, reason) of every disagreement on the test split that was read, from `data/labeler_disagreements.csv`."""
    rows = table("labeler_disagreements")
    return {
        Disagreement(row["study_id"], row["finding"], row["labeler_says"]): (row["cause"], row["reason"])
        for row in rows
    }
