"""How a trained run's reports are searched where that was chosen on the validation studies (`tuning.tune` chooses): the
ways that were tried, the rule of the choice, and the file that keeps both beside the weights they are for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rrg_lib.errors import CheckpointError
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.runtime.hashing import content_hash

#: What is highest: the sum of these scores of the validation reports, each times its weight.
TARGET = {"BLEU-4": 1.0, "finding-F1": 1.0}
#: Words of the reports / words of the references: what lies outside is chosen only when nothing lies inside.
BAND = (0.8, 1.1)
#: Where a run keeps what was chosen for it.
DECODING = "decoding.json"


@dataclass(frozen=True)
class Trial:
    """One way of decoding and what its validation reports are worth. `score` is `TARGET`'s sum, `length_ratio` their
    words over the references'."""

    decoding: DecodingConfig
    scores: dict[str, float]

    @property
    def score(self) -> float:
        return sum(weight * self.scores[name] for name, weight in TARGET.items() if name in self.scores)

    @property
    def length_ratio(self) -> float:
        return self.scores["length ratio"]

    @property
    def outside(self) -> float:
        """How far the length ratio lies outside the band; 0 inside."""
        return max(BAND[0] - self.length_ratio, self.length_ratio - BAND[1], 0.0)


@dataclass(frozen=True)
class TunedDecoding:
    """What was tried on the validation studies, in the grid's order, what it took, and which weights it is for."""

    trials: tuple[Trial, ...]
    grid: str
    weights: dict[str, Any]
    seconds: float

    @property
    def chosen(self) -> Trial:
        """The highest score inside the band of lengths; where nothing is inside, the nearest to it. Of equals the
        first."""
        return max(self.trials, key=lambda trial: (-round(trial.outside, 12), trial.score))

    @property
    def hash(self) -> str:
        """Of the choice, the grid and the weights: what a stored result names."""
        return content_hash({"chosen": asdict(self.chosen.decoding), "grid": self.grid, "weights": self.weights})

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "hash": self.hash,
            "chosen": asdict(self.chosen.decoding),
            "chosen_on": "val",
            "target": TARGET,
            "band": BAND,
            "grid": self.grid,
            "weights": self.weights,
            "seconds": self.seconds,
            "tried": [{"decoding": asdict(trial.decoding), "scores": trial.scores} for trial in self.trials],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TunedDecoding:
        trials = tuple(Trial(DecodingConfig(**row["decoding"]), row["scores"]) for row in data["tried"])
        return cls(trials, data["grid"], data["weights"], data["seconds"])


def read_tuned_decoding(path: Path, command: str) -> TunedDecoding | None:
    """What the file holds; None where there is none. Raises `CheckpointError` for one that is no such file; `command`
    is what makes it anew."""
    if not path.is_file():
        return None
    try:
        return TunedDecoding.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); expected the decoding that was chosen for this run. Copy it again, or "
            f"delete it and run: {command}"
        ) from error
