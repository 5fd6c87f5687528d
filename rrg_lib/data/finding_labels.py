"""Who says what a study has: the experts' codes where there are any, else our labeler's reading of its report. Never
"normal" because nobody looked.

Collections of one's own seldom have codes, and MIMIC-CXR has labels only with its tables. A study that nobody coded has
no known findings, which is not the same as none: what needs labels to learn from takes those that `rules-2` reads in
the report, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rrg_lib.data.study import DRAWN_FINDINGS, Study
from rrg_lib.data.text.rule_labeler import NEWEST, ReportLabeler

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset

CODES = "the expert codes"


@dataclass(frozen=True, eq=False)
class FindingLabels:
    """`drawn` (n, 13) uint8 in the order of `DRAWN_FINDINGS`; `coded` (n,) bool, whose codes they are; of the others
    they are read in the reports."""

    drawn: np.ndarray
    coded: np.ndarray
    labeler: ReportLabeler

    @property
    def source(self) -> str:
        """Who says so, in words."""
        return who_says(self.coded, self.labeler)

    @property
    def name(self) -> str:
        """For a file's name: "" where all is coded, else the labeler and the first 6 digits of its hash."""
        return "" if self.coded.all() else f"{self.labeler.version}-{self.labeler.hash[:6]}"

    @property
    def abnormal(self) -> np.ndarray:
        """(n,) bool: at least one of the 13 findings."""
        return self.drawn.any(axis=1)


def who_says(coded: np.ndarray, labeler: ReportLabeler) -> str:
    """Who says what studies have of which `coded` (n,) have codes."""
    read = int((~np.asarray(coded)).sum())
    if not read:
        return CODES
    if read == len(coded):
        return f"the report labeler {labeler.version}"
    return f"{CODES}, and of {read:,} of {len(coded):,} studies that have none the report labeler {labeler.version}"


def findings_of(studies: Sequence[Study]) -> FindingLabels:
    """The 13 drawn findings of studies; a finding that a report doubts counts as present, as released labels count it
    (XProNet Eq. 3)."""
    labeler = ReportLabeler(NEWEST)
    drawn = [study.drawn if study.is_coded else labeler.label(study.report) for study in studies]
    coded = np.array([study.is_coded for study in studies], bool)
    return FindingLabels(np.array(drawn, np.uint8).reshape(len(studies), len(DRAWN_FINDINGS)), coded, labeler)


def findings_of_dataset(dataset: PreparedDataset, indices: Sequence[int]) -> FindingLabels:
    """`findings_of` some studies of a prepared dataset, reading only the reports that nobody coded."""
    labeler, indices = ReportLabeler(NEWEST), np.asarray(indices, int)
    coded, drawn = dataset.coded[indices], np.array(dataset.drawn_findings[indices])
    for row in np.flatnonzero(~coded):
        drawn[row] = labeler.label(dataset.reports[indices[row]])
    return FindingLabels(drawn, coded, labeler)
