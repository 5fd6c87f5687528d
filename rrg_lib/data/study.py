"""`Study`, the record that flows through the whole book: who, which split, what was reported, what is really there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: The 14 observations of the CheXpert labels.
OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

#: The 13 findings that the phantom draws: the label set `drawn-13`. A study is *abnormal* when it has at least one of
#: them.
DRAWN_FINDINGS = (
    "Cardiomegaly",
    "Opacity",
    "Atelectasis",
    "Effusion",
    "Pneumothorax",
    "Nodule",
    "Granuloma",
    "Edema",
    "Device",
    "Fracture",
    "Scoliosis",
    "Hyperinflation",
    "Spine",
)

Side = Literal["left", "right", "bilateral"]
SIDES: tuple[Side, ...] = get_args(Side)

#: Words of the MeSH codes that grade a finding, from least to most.
SEVERITIES = ("borderline", "mild", "moderate", "severe")


@dataclass(frozen=True, slots=True)
class Finding:
    """One expert MeSH code, parsed: `Opacity/lung/base/left/mild` is an opacity at the left lung base, mild.

    `head` is the first word of the code; `drawn` its name in `DRAWN_FINDINGS` (None when the phantom does not draw it),
    `observation` its name in `OBSERVATIONS` (None when the CheXpert labels have none). `place` keeps every qualifier
    that is neither a side nor a severity.
    """

    code: str
    head: str
    drawn: str | None = None
    observation: str | None = None
    place: tuple[str, ...] = ()
    side: Side | None = None
    severity: str | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """Where a finding is, drawn by the library or marked by a collection's readers: pixels of one view, half open,
    `x0 <= x < x1`. The image's left is the patient's right."""

    finding: str
    view: int
    x0: int
    y0: int
    x1: int
    y1: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """One examination: its images' names, its report (FINDINGS, as written), its expert codes."""

    id: str
    split: Split
    report: str
    findings: tuple[Finding, ...] = ()
    views: tuple[str, ...] = ()
    source: str = ""

    @property
    def drawn(self) -> tuple[int, ...]:
        """(13,) zeros and ones in the order of `DRAWN_FINDINGS`."""
        present = {finding.drawn for finding in self.findings}
        return tuple(int(name in present) for name in DRAWN_FINDINGS)

    @property
    def observations(self) -> tuple[int, ...]:
        """(14,) zeros and ones in the order of `OBSERVATIONS`; "No Finding" is set when no other is, as in the released
        labels."""
        present = {finding.observation for finding in self.findings}
        observations = [int(name in present) for name in OBSERVATIONS]
        observations[0] = int(not any(observations[1:]))
        return tuple(observations)

    @property
    def is_coded(self) -> bool:
        """Whether experts (of MIMIC-CXR a labeler's table) coded the study at all; "normal" is a code."""
        return bool(self.findings)

    @property
    def is_abnormal(self) -> bool:
        """Whether its codes have one of the 13 drawn findings. Of a study without codes this says nothing:
        `rrg_lib.data.finding_labels` reads its report."""
        return any(self.drawn)
