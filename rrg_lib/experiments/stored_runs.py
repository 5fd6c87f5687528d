"""What the project ships of trained runs, whatever was measured of them: one file a run and protocol of decoding, named
like the run's folder; how such files are named and chosen, which of them stand in one table, and which are seeds of one
row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rrg_lib.data.study import Split
from rrg_lib.errors import ConfigurationError
from rrg_lib.experiments.presets import Experiment, experiment
from rrg_lib.experiments.run_folders import RunFolder, run_folder
from rrg_lib.models.decoding import EDITION_0_1, DecodingConfig, Protocol


@dataclass(frozen=True, eq=False)
class StoredRun:
    """Something that was measured of one trained run in one protocol of decoding: the name of its file, the experiment,
    and what it was computed with."""

    name: str
    experiment: Experiment
    provenance: dict[str, Any]

    @property
    def protocol(self) -> str:
        """How its reports were searched; `EDITION_0_1` for what edition 0.1 stored."""
        return self.provenance.get("protocol", EDITION_0_1)

    @property
    def labels_at_test(self) -> str | None:
        """What a memory that is gated by labels was told of the studies; None for any other."""
        gated = self.experiment.memory is not None and self.experiment.memory.gated
        return self.provenance["decoding"]["labels_at_test"] if gated else None

    @property
    def is_preset(self) -> bool:
        """Whether its settings are the preset's own, the seed apart."""
        e = self.experiment
        return _unseeded(e) == experiment(e.name, e.profile, seed=0)

    @property
    def system(self) -> str:
        """The name of its row: dataset and preset, profile, protocol, labels if it was told any; the hash of settings
        that are not the preset's."""
        e = self.experiment
        others = "" if self.is_preset else f", settings {_unseeded(e).hash[:6]}"
        return f"{e.name}, {e.profile}{others}, {self.protocol}" + (
            f", labels: {self.labels_at_test}" if self.labels_at_test else ""
        )


def _unseeded(e: Experiment) -> Experiment:
    return replace(e, training=replace(e.training, seed=0))


Stored = TypeVar("Stored", bound=StoredRun)


def file_stem(run: RunFolder, protocol: Protocol, decoding: DecodingConfig, split: Split = "test") -> str:
    """What the file of a run is called: like a folder of its experiment (one with other settings has another name),
    then the protocol, the labels where they are not the experiment's, and the split where it is not test."""
    other_labels = run.gated and decoding.labels_at_test != run.experiment.decoding.labels_at_test
    return (
        f"{run_folder(run.experiment).name}-{protocol}"
        + (f"-labels-{decoding.labels_at_test}" if other_labels else "")
        + ("" if split == "test" else f"-{split}")
    )


def selected(
    runs: Iterable[Stored], profile: str | None = None, dataset: str | None = None, protocol: str | None = None
) -> list[Stored]:
    """Those of one profile, one dataset or one protocol, if named, in their order."""
    return [
        run
        for run in runs
        if profile in (None, run.experiment.profile)
        and dataset in (None, run.experiment.dataset)
        and protocol in (None, run.protocol)
    ]


def check_alike(runs: Sequence[StoredRun], conditions: Callable[[StoredRun], Any]) -> None:
    """Raises `ConfigurationError` for runs that were measured under different conditions (plain values): their rows do
    not belong in one table."""
    if len({json.dumps(conditions(run)) for run in runs}) > 1:
        raise ConfigurationError(
            f"{', '.join(run.name for run in runs)} were not measured alike; make one table for each kind"
        )


def by_system(runs: Iterable[Stored]) -> dict[str, list[Stored]]:
    """The runs of each row, one a seed, in the order of the first of each."""
    systems: dict[str, list[Stored]] = {}
    for run in runs:
        systems.setdefault(run.system, []).append(run)
    return systems
