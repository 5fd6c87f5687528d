"""What may be said of a printed value or a claim, and on what it rests. The words are few, so that none says more than
was done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The papers' own data, where measuring is replicating, and the drawn studies.
OWN_DATA, DRAWN = ("iu_xray", "mimic_cxr"), "iu_phantom"
_ON_DRAWN = "on IU-Phantom (not a replication)"


class Verdict(StrEnum):
    """Every verdict, in the order of the counts: on the paper's own data, or by counting; on drawn studies; of the
    paper's figures among themselves; and of what nothing was measured of."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    OPEN = "undecided"
    HOLDS = f"holds {_ON_DRAWN}"
    FAILS = f"fails {_ON_DRAWN}"
    NO_DIFFERENCE = f"no difference that matters {_ON_DRAWN}"
    UNDECIDED = f"undecided {_ON_DRAWN}"
    CONSISTENT = "consistent with its own table"
    CONTRADICTED = "contradicted by its own table"
    NOT_RUN = "not run"

    @property
    def short(self) -> str:
        """Without the words on where it was measured."""
        return self.removesuffix(f" {_ON_DRAWN}")

    @property
    def on_drawn_studies(self) -> bool:
        return self in MEASURED_ON_DRAWN


#: What is said of claims that were measured on drawn studies.
MEASURED_ON_DRAWN = (Verdict.HOLDS, Verdict.FAILS, Verdict.NO_DIFFERENCE, Verdict.UNDECIDED)


class Decision(NamedTuple):
    """A verdict with its reason, and the evidence: what was measured, as numbers; None where nothing was."""

    verdict: Verdict
    why: str
    evidence: Any = None


@dataclass(frozen=True)
class Numbers:
    """Some numbers by name, and the words they are shown in: `Numbers("{loss:.3f}", {"loss": 0.039})`."""

    words: str
    values: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def __str__(self) -> str:
        return self.words.format_map(self.values)
