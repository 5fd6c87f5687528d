"""A replication as a study: every system of the papers' tables on their own data, in the published setting, planned
from the tables of `data/` and run by the machinery of `study_runs`.

What is written is another thing than a study's: each training's test reports in the protocols "published" (the papers')
and "tuned" (chosen on the validation studies), with whatever labels its memory may be told, kept as the project keeps
its own results, so that the ledger can judge them. And a run that fails does not stop the others: it is kept as a fact
of the replication, and tried again by the same command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rrg_lib.errors import CheckpointError, ConfigurationError, UnknownNameError
from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
from rrg_lib.experiments.attention_results import label_kinds
from rrg_lib.experiments.presets import PRESETS, released_settings
from rrg_lib.experiments.results import store_result
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.tuning import Grid, tune
from rrg_lib.models.decoding import Protocol
from rrg_lib.replication.claims import PUBLISHED_SETTING, claims
from rrg_lib.replication.ledger import other_protocol
from rrg_lib.replication.printed_values import Quantity, published
from rrg_lib.replication.study_plan import StudyCondition, StudyData, StudyPilot, StudyPlan, StudyRun, StudySystem
from rrg_lib.replication.study_runs import missing_runs, opened_run, run_study, study_mark, training_folder
from rrg_lib.replication.verdicts import OWN_DATA
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.package_data import table
from rrg_lib.runtime.workspace import workspace, write_json

#: The seeds unless others are asked for: the released one of CMN and the two after it; an order needs three.
REPLICATION_SEEDS = (7580, 7581, 7582)
#: How the test reports are searched: as the papers did, then as was chosen on the validation studies.
REPLICATED_PROTOCOLS: tuple[Protocol, ...] = ("published", "tuned")
#: Beside a training's checkpoints: how often it was begun, and what went wrong.
_ATTEMPTS = "attempts.json"


@dataclass(frozen=True)
class ReplicationPlan(StudyPlan):
    """A study of one condition, a paper's own data. `metrics` are those of the papers' tables, METEOR among them unless
    it was left out."""

    meteor: bool = True

    @property
    def dataset(self) -> str:
        return self.conditions[0].data.dataset

    @property
    def question_hash(self) -> str:
        return content_hash([super().question_hash, self.meteor])

    @property
    def folder(self) -> Path:
        """Where everything that a replication makes is kept, its trainings apart."""
        return workspace() / "replications" / f"{self.dataset}-{self.profile}"

    @property
    def marks(self) -> Path:
        """The folder of what is told of each finished run."""
        return self.folder / "runs"

    @property
    def results(self) -> Path:
        """The folder of the scores, as `store_result` writes them."""
        return self.folder / "results"


def replicable_systems(dataset: str) -> dict[str, tuple[str, ...]]:
    """Preset -> where the papers print scores of it on `dataset`, or claim something of it; without those that were
    scored in another protocol than this book's, of which a run here would say nothing."""
    systems = {(row["paper"], row["system"]): row["preset"] for row in table("published_systems")}
    places: dict[str, dict[str, None]] = {}
    for value in published():
        preset = systems.get((value.paper, value.system))
        if preset and (value.dataset, value.quantity) == (dataset, Quantity.SCORE) and not other_protocol(value):
            places.setdefault(preset, {})[f"{value.paper}, {value.where}"] = None
    for claim in claims():
        if claim.dataset == dataset:
            for preset in (*claim.better, *claim.worse):
                places.setdefault(preset, {})[f"{claim.paper}, {claim.where}"] = None
    return {preset: tuple(places[preset]) for preset in PRESETS if preset in places}


def replication_plan(
    dataset: str,
    systems: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    profile: str = PUBLISHED_SETTING,
    meteor: bool = True,
) -> ReplicationPlan:
    """The plan for a paper's own dataset: `systems` are presets, by default all of `replicable_systems`.

    Raises:
        UnknownNameError: another dataset, preset or profile; names the nearest.
        ConfigurationError: a system or seed given twice, a seed below 0.
    """
    check_own_data(dataset)
    known = replicable_systems(dataset)
    for name in systems:
        if name not in PRESETS:
            raise UnknownNameError("system", name, known, "Systems are called as their presets are")
    for what, values in (("system", systems), ("seed", seeds)):
        if twice := [value for value in values if values.count(value) > 1]:
            raise ConfigurationError(f"the {what} {twice[0]} is given twice; once is enough")
    if negative := next((seed for seed in seeds if seed < 0), None):
        raise ConfigurationError(f"the seed {negative} is below 0; seeds are whole numbers from 0")
    names = tuple(systems) or tuple(known)
    seconds = dict.fromkeys(names, 1.0)
    plan = ReplicationPlan(
        name=f"replication_{dataset}",
        title=f"Replication on {dataset}",
        question=f"Do the values and claims that the papers print of {dataset} hold?",
        declared=datetime.now(UTC).date().isoformat(),
        profile=profile,
        protocol="tuned",
        grid=Grid(),
        metrics=tuple(m for m in METRICS if meteor or m in WITHOUT_JAVA),
        seeds=tuple(seeds) or REPLICATION_SEEDS,
        conditions=(StudyCondition(dataset, StudyData(dataset), dataset),),
        systems=tuple(
            StudySystem(name, name, PRESETS[name].row, released_settings(f"{dataset}/{name}", profile))
            for name in names
        ),
        comparisons=(),
        pilot=StudyPilot("none", "nothing", 1.0, seconds),
        meteor=meteor,
    )
    plan.runs()  # profile and settings exist
    return plan


def check_own_data(dataset: str) -> None:
    """Raises `UnknownNameError` for what is no paper's own dataset."""
    if dataset not in OWN_DATA:
        raise UnknownNameError(
            "dataset of a replication",
            dataset,
            OWN_DATA,
            "On drawn studies there is none: rrg replicate iu_phantom --stored reports what is stored of them",
        )


# --- its runs ---------------------------------------------------------------------------------------------------------


def run_replication(plan: ReplicationPlan, *, data_root: Path | None, jobs: int = 1, progress: bool = True) -> int:
    """Train, tune and score what is missing, and how many results were made. Killed anywhere, the same call goes on; a
    run that fails is noted and left for the next call. Raises as `run_study`."""
    return run_study(
        plan,
        plan.marks,
        jobs=jobs,
        data_root=data_root,
        progress=progress,
        work=train_and_store,
        one_thread=jobs > 1,
    )


def train_and_store(plan: ReplicationPlan, runs: list[StudyRun], folder: Path, data_root: Path | None) -> list[str]:
    """One training, gone on with where it was interrupted, its test reports in every protocol and with every kind of
    labels, scored beside the trivial baselines and kept; nothing where it failed, which is noted."""
    (run,) = runs
    home = training_folder(run)
    attempts = _attempts(home)
    attempts["begun"] += 1
    write_json(home / _ATTEMPTS, attempts)
    try:
        made = opened_run(run, data_root)
        made.train()  # a study may be training the same: it is waited for
        tune(made, plan.grid, progress=False)
        started = time.perf_counter()
        files = [
            _stored(plan, made, protocol, labels) for protocol in REPLICATED_PROTOCOLS for labels in label_kinds(made)
        ]
        scoring = time.perf_counter() - started
    except Exception as error:  # whatever it is: hours of other runs do not depend on it
        attempts["failures"].append(f"{type(error).__name__}: {error}")
        write_json(home / _ATTEMPTS, attempts)
        return []
    mark = {
        "run": {"study": _mark(plan, run, made, scoring)},
        "files": [path.name for path in files],
        "failures": attempts["failures"],
        "begun": attempts["begun"],
        "remarks": list(made.remarks),
        "machine": made.provenance()["machine"],
        "versions": made.provenance()["versions"],
        "dataset": made.dataset.hash,
        "experiment": run.experiment.hash,
    }
    write_json(Path(folder) / f"{plan.name}-{run.name}.json", mark)
    return [run.name]


def _stored(plan: ReplicationPlan, made: Run, protocol: Protocol, labels: Any) -> Path:
    metrics = METRICS if plan.meteor else WITHOUT_JAVA
    made.evaluate("test", metrics=metrics, decoding=made.decoding(protocol, labels))
    return store_result(made, plan.results, protocol, labels=labels)


def _mark(plan: ReplicationPlan, run: StudyRun, made: Run, scoring: float) -> dict[str, Any]:
    """The mark of a study's run with its hours; those of the training survive an interruption, because they stand in
    its curve."""
    history = json.loads((made.folder / "history.json").read_text(encoding="utf-8"))
    seconds = {
        "training": sum(epoch["seconds"] for epoch in history),
        "tuning": made.tuned_decoding.seconds,
        "scoring": scoring,
    }
    return study_mark(plan, run) | {"seconds": {name: round(value, 2) for name, value in seconds.items()}}


def _attempts(home: Path) -> dict[str, Any]:
    path = home / _ATTEMPTS
    if not path.is_file():
        return {"begun": 0, "failures": []}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {"begun": int(kept["begun"]), "failures": list(kept["failures"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); delete it and run again") from error


def open_failures(plan: ReplicationPlan) -> dict[str, list[str]]:
    """What went wrong in runs that are still missing, by the run's name."""
    failed = {run.name: _attempts(training_folder(run))["failures"] for (run,) in missing_runs(plan, plan.marks)}
    return {name: list(found) for name, found in failed.items() if found}


def missing_replications(plan: ReplicationPlan) -> list[list[StudyRun]]:
    """The runs without a result, each alone. Raises as `study_results`."""
    return missing_runs(plan, plan.marks)
