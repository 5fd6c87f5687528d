"""A study as data: what is asked, of which systems, under which conditions, with which seeds and what analysis, written
before anything is trained.

A plan is `data/studies/NAME.toml`. Its runs are all conditions × systems × seeds: a condition says what is learnt from
(a dataset, its features, how many studies), a system is a preset with settings of its own. A system may share another's
training and differ only in what its memory is told at test, or in a lesion of its answers.

Two hashes are of a plan's meaning, never of its comments or its prose about cost. `question_hash` covers what may not
change once a result is there: the question, profile, decoding, metrics with their smallest differences, the groups of
findings and the way of correcting. `hash` covers the lists as well, seeds, systems, conditions and comparisons, which
may grow: results carry both, and a report says which of them were made before the plan grew.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from rrg_lib.data.study import DRAWN_FINDINGS
from rrg_lib.errors import ConfigurationError, RRGError, UnknownNameError
from rrg_lib.evaluation.metrics import SCORES
from rrg_lib.experiments.presets import DATASETS, Experiment, experiment
from rrg_lib.experiments.tuning import Grid
from rrg_lib.models.decoding import PROTOCOLS, LabelsAtTest, Protocol
from rrg_lib.models.memory.lesion import LesionSide
from rrg_lib.models.visual.extractor import EXTRACTORS
from rrg_lib.replication.decision_rule import smallest_difference
from rrg_lib.runtime.choices import check_choice
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.settings import check_settings

#: What a name in a plan may be: it becomes part of a file's name.
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
#: What a recall by a group of findings is called, with the group's name.
RECALL = "recall of {} findings"


@dataclass(frozen=True)
class StudyData:
    """A dataset of a study: its name and, for drawn ones, how many studies are made and from which seed."""

    dataset: str
    count: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.dataset not in DATASETS:
            raise UnknownNameError("dataset", self.dataset, DATASETS)

    @property
    def options(self) -> dict[str, Any]:
        """As `prepare` takes them."""
        return {"count": self.count, "seed": self.seed}


@dataclass(frozen=True)
class StudyCondition:
    """What all systems of one column learn from: the data by its name in the plan, settings in the form of `--set`,
    and for how many training studies. `cost` is what a run takes here beside the pilot's, for the estimate alone."""

    name: str
    data: StudyData
    title: str
    settings: tuple[str, ...] = ()
    studies: int | None = None
    cost: float = 1.0

    @property
    def meaning(self) -> dict[str, Any]:
        return {"data": asdict(self.data), "settings": list(self.settings), "studies": self.studies}


@dataclass(frozen=True)
class StudySystem:
    """A system of a study: a preset with settings, what a memory gated by labels is told at test, and which side's
    answers a lesion replaces (on the weights of the same system without one)."""

    name: str
    preset: str
    title: str
    settings: tuple[str, ...] = ()
    labels: LabelsAtTest | None = None
    lesion: LesionSide | None = None

    def __post_init__(self):
        for kind, value, choices in (
            ("labels at test", self.labels, LabelsAtTest),
            ("side of a lesion", self.lesion, LesionSide),
        ):
            if value is not None:
                check_choice(kind, value, choices)

    @property
    def meaning(self) -> dict[str, Any]:
        return {
            "preset": self.preset,
            "settings": list(self.settings),
            "labels": self.labels,
            "lesion": self.lesion,
        }


@dataclass(frozen=True)
class StudyComparison:
    """Two systems that are held against each other in each of `conditions`; empty for all."""

    a: str
    b: str
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyPilot:
    """What a run was seen to take before the plan was made, for the estimate alone: seconds of processor time by
    system, and of `yardstick`, a small step of training, on the same machine; what the pilot was and what was cut
    because of it, in words."""

    words: str
    cut: str
    yardstick: float
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class StudyRun:
    """One training of a study and one way to score it: a condition, a system, a seed."""

    condition: StudyCondition
    system: StudySystem
    seed: int
    experiment: Experiment

    @property
    def name(self) -> str:
        return f"{self.condition.name}-{self.system.name}-seed{self.seed}"

    @property
    def training(self) -> str:
        """Names the weights: equal for runs that differ in how the same weights are asked."""
        return content_hash([self.experiment.hash, self.condition.meaning])

    @property
    def hash(self) -> str:
        """Of everything that decides this run's scores but the plan's decoding and metrics."""
        return content_hash([self.condition.meaning, self.system.meaning, self.experiment.hash])


@dataclass(frozen=True)
class StudyPlan:
    """A whole plan. `together` says which comparisons of a metric are corrected together: those of each condition (each
    answers a question of its own), or all of the study."""

    name: str
    title: str
    question: str
    declared: str
    profile: str
    protocol: Protocol
    grid: Grid
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    conditions: tuple[StudyCondition, ...]
    systems: tuple[StudySystem, ...]
    comparisons: tuple[StudyComparison, ...]
    pilot: StudyPilot
    together: Literal["condition", "study"] = "condition"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def deltas(self) -> dict[str, float]:
        """The smallest difference that matters, by metric: declared for all of the project in one table."""
        return {metric: smallest_difference(metric) for metric in self.metrics}

    @property
    def question_hash(self) -> str:
        """Of what may not change once a result is there."""
        return content_hash(
            {
                "question": " ".join(self.question.split()),
                "profile": self.profile,
                "protocol": self.protocol,
                "grid": self.grid.hash,
                "deltas": self.deltas,
                "together": self.together,
                "groups": {name: sorted(findings) for name, findings in self.groups.items()},
            }
        )

    @property
    def hash(self) -> str:
        """Of the whole meaning, lists that may grow included."""
        return content_hash(
            {
                "question": self.question_hash,
                "seeds": sorted(self.seeds),
                "conditions": {c.name: c.meaning for c in self.conditions},
                "systems": {s.name: s.meaning for s in self.systems},
                "comparisons": sorted([c.a, c.b, *sorted(c.conditions)] for c in self.comparisons),
            }
        )

    def experiment(self, condition: StudyCondition, system: StudySystem, seed: int) -> Experiment:
        """What is trained. A memory of prototypes is as wide as the features that it is made of."""
        settings = [*condition.settings, *system.settings]
        if condition.studies is not None:
            settings.append(f"studies={condition.studies}")
        name = f"{condition.data.dataset}/{system.preset}"
        made = experiment(name, self.profile, settings, seed)
        if hasattr(made.memory, "image_dim"):
            width = EXTRACTORS[made.extractor.name].dim
            made = experiment(name, self.profile, [*settings, f"memory.image_dim={width}"], seed)
        return made

    def runs(self) -> list[StudyRun]:
        """All runs, seed after seed, so that a study that is stopped has whole seeds; runs of one training follow each
        other."""
        return list(self._runs)

    @cached_property
    def _runs(self) -> tuple[StudyRun, ...]:
        every = [
            StudyRun(c, s, seed, self.experiment(c, s, seed))
            for seed in self.seeds
            for c in self.conditions
            for s in self.systems
        ]
        return tuple(sorted(every, key=lambda run: (self.seeds.index(run.seed), self.conditions.index(run.condition))))

    def by_training(self) -> dict[str, list[StudyRun]]:
        """The runs that share their weights, by training."""
        trainings: dict[str, list[StudyRun]] = {}
        for run in self.runs():
            trainings.setdefault(run.training, []).append(run)
        return trainings


# --- from a file ------------------------------------------------------------------------------------------------------


def known_plans() -> tuple[str, ...]:
    """The plans that the project ships."""
    entries = resources.files("rrg_data").joinpath("studies").iterdir()
    return tuple(sorted(e.name.removesuffix(".toml") for e in entries if e.name.endswith(".toml")))


def study_plan(name: str) -> StudyPlan:
    """The plan of that name in `data/studies`, or of a file (`.toml`). Raises `UnknownNameError` for another name,
    `ConfigurationError` for a plan that cannot be, naming the file and the entry."""
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigurationError(f"{path} is not there; give a plan's file, or one of: {', '.join(known_plans())}")
        return parsed_plan(path.read_text(encoding="utf-8"), path.stem, str(path))
    if name not in known_plans():
        raise UnknownNameError(
            "study", name, known_plans(), "A file of one's own is given by its path, ending in .toml"
        )
    entry = resources.files("rrg_data").joinpath("studies", f"{name}.toml")
    return parsed_plan(entry.read_text(encoding="utf-8"), name, f"data/studies/{name}.toml")


def parsed_plan(text: str, name: str, source: str) -> StudyPlan:
    """The plan that a TOML text says. Raises `ConfigurationError` naming `source` and the entry."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source} is no TOML: {error}") from error
    try:
        return _Reader(source).plan(data, name)
    except ConfigurationError as error:
        if str(error).startswith(source):
            raise
        raise ConfigurationError(f"{source}: {error}") from error
    except (RRGError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{source}: {error}") from error


class _Reader:
    """Reads a plan's tables, and says of what is wrong where it stands."""

    def __init__(self, source: str):
        self.source = source

    def wrong(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.source}: {what}")

    def table(self, where: str, data: Any, needed: Mapping[str, type], other: Mapping[str, type]) -> dict[str, Any]:
        """A table with all of `needed`, any of `other` and nothing else, each of its type."""
        if not isinstance(data, dict):
            raise self.wrong(f"{where} is {data!r}; expected a table")
        known = {**needed, **other}
        for key, value in data.items():
            if key not in known:
                raise self.wrong(str(UnknownNameError(f"entry of {where}", key, known)))
            expected = known[key]
            number = expected is float and isinstance(value, int) and not isinstance(value, bool)
            if not (number or isinstance(value, expected)) or (expected is int and isinstance(value, bool)):
                raise self.wrong(f"{where}.{key} is {value!r}; expected {_KINDS[expected]}")
        if missing := [key for key in needed if key not in data]:
            raise self.wrong(f"{where} lacks {', '.join(missing)}")
        return data

    def named(self, where: str, data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The entries of a table of tables. At least one, with names that files may have."""
        if not data:
            raise self.wrong(f"{where} is empty; expected at least one")
        for name, entry in data.items():
            if not _NAME.fullmatch(name):
                raise self.wrong(f"{where}.{name}: a name is made of small letters, digits and _")
            yield name, entry

    def texts(self, where: str, values: list[Any]) -> tuple[str, ...]:
        for value in values:
            if not isinstance(value, str):
                raise self.wrong(f"{where} has {value!r}; expected texts")
        if len(set(values)) < len(values):
            raise self.wrong(f"{where} has {max(values, key=values.count)!r} twice")
        return tuple(values)

    def plan(self, data: dict[str, Any], name: str) -> StudyPlan:
        needed = {
            "title": str,
            "question": str,
            "declared": date,
            "profile": str,
            "protocol": str,
            "metrics": list,
            "seeds": list,
            "data": dict,
            "conditions": dict,
            "systems": dict,
            "comparisons": list,
            "pilot": dict,
        }
        self.table("the plan", data, needed, {"grid": dict, "together": str, "groups": dict})
        if not _NAME.fullmatch(name):
            raise self.wrong("a plan's file is called with small letters, digits and _")
        datasets = {
            each: StudyData(**self.table(f"data.{each}", entry, {"dataset": str}, {"count": int, "seed": int}))
            for each, entry in self.named("data", data["data"])
        }
        groups = {each: self.texts(f"groups.{each}", findings) for each, findings in data.get("groups", {}).items()}
        plan = StudyPlan(
            name=name,
            title=data["title"],
            question=data["question"].strip(),
            declared=data["declared"].isoformat(),
            profile=data["profile"],
            protocol=data["protocol"],
            grid=self.grid(data.get("grid", {})),
            metrics=self.texts("metrics", data["metrics"]),
            seeds=self.seeds(data["seeds"]),
            conditions=tuple(self.condition(n, e, datasets) for n, e in self.named("conditions", data["conditions"])),
            systems=tuple(self.system(n, e) for n, e in self.named("systems", data["systems"])),
            comparisons=tuple(self.comparison(entry) for entry in data["comparisons"]),
            pilot=self.pilot(data["pilot"]),
            together=data.get("together", "condition"),
            groups=groups,
        )
        self.check(plan)
        return plan

    def grid(self, data: dict[str, Any]) -> Grid:
        known = {f.name: list for f in fields(Grid)}
        return Grid(**{key: tuple(value) for key, value in self.table("grid", data, {}, known).items()})

    def seeds(self, values: list[Any]) -> tuple[int, ...]:
        if not values or any(not isinstance(v, int) or isinstance(v, bool) or v < 0 for v in values):
            raise self.wrong(f"seeds is {values!r}; expected whole numbers, at least one")
        if len(set(values)) < len(values):
            raise self.wrong(f"seeds has {max(values, key=values.count)} twice")
        return tuple(values)

    def condition(self, name: str, data: Any, datasets: Mapping[str, StudyData]) -> StudyCondition:
        where = f"conditions.{name}"
        entry = self.table(where, data, {"title": str, "data": str}, {"settings": list, "studies": int, "cost": float})
        if entry["data"] not in datasets:
            raise self.wrong(f"{where}: {UnknownNameError('data', entry['data'], datasets)}")
        return StudyCondition(
            name,
            datasets[entry["data"]],
            entry["title"],
            self.texts(f"{where}.settings", entry.get("settings", [])),
            entry.get("studies"),
            float(entry.get("cost", 1.0)),
        )

    def system(self, name: str, data: Any) -> StudySystem:
        where = f"systems.{name}"
        known = {"settings": list, "labels": str, "lesion": str}
        entry = self.table(where, data, {"preset": str, "title": str}, known)
        settings = self.texts(f"{where}.settings", entry.get("settings", []))
        try:
            return StudySystem(name, **{**entry, "settings": settings})
        except UnknownNameError as error:
            raise self.wrong(f"{where}: {error}") from error

    def comparison(self, data: Any) -> StudyComparison:
        entry = self.table("comparisons", data, {"a": str, "b": str}, {"conditions": list})
        return StudyComparison(
            entry["a"], entry["b"], self.texts("comparisons.conditions", entry.get("conditions", []))
        )

    def pilot(self, data: dict[str, Any]) -> StudyPilot:
        entry = self.table("pilot", data, {"words": str, "cut": str, "yardstick": float, "seconds": dict}, {})
        for name, value in entry["seconds"].items():
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise self.wrong(f"pilot.seconds.{name} is {value!r}; expected seconds above 0")
        return StudyPilot(entry["words"], entry["cut"], float(entry["yardstick"]), entry["seconds"])

    def check(self, plan: StudyPlan) -> None:
        """What one table says of another."""
        check_settings(plan)
        if plan.protocol not in PROTOCOLS:
            raise self.wrong(str(UnknownNameError("protocol", plan.protocol, PROTOCOLS)))
        known = [*(s for s in SCORES if s != "METEOR"), *(RECALL.format(group) for group in plan.groups)]
        for metric in plan.metrics:
            if metric == "METEOR":
                raise self.wrong("metrics: METEOR needs Java in every run; a study does without")
            if metric not in known:
                raise self.wrong(str(UnknownNameError("metric", metric, known)))
        for group, findings in plan.groups.items():
            for finding in findings:
                if finding not in DRAWN_FINDINGS:
                    raise self.wrong(f"groups.{group}: {UnknownNameError('finding', finding, DRAWN_FINDINGS)}")
        systems = {s.name: s for s in plan.systems}
        conditions = [c.name for c in plan.conditions]
        for c in plan.comparisons:
            for name in (c.a, c.b):
                if name not in systems:
                    raise self.wrong(f"comparisons: {UnknownNameError('system', name, systems)}")
            for name in c.conditions:
                if name not in conditions:
                    raise self.wrong(f"comparisons: {UnknownNameError('condition', name, conditions)}")
        for name in systems:
            if name not in plan.pilot.seconds:
                raise self.wrong(f"pilot.seconds lacks {name}: what did a run of it take in the pilot?")
        for run in plan.runs():  # presets, settings and profile exist
            gated = run.experiment.memory is not None and run.experiment.memory.gated
            if run.system.labels and not gated:
                raise self.wrong(f"systems.{run.system.name}: labels, but {run.system.preset} is told none")
            if run.system.lesion and run.experiment.memory is None:
                raise self.wrong(f"systems.{run.system.name}: a lesion, but {run.system.preset} has no memory")
        _ = plan.deltas


_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
    date: "a date (2026-11-29)",
}
