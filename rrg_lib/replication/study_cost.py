"""What a study will take here: processor time, from its own results where some are there and from its plan's pilot
otherwise, and disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from rrg_lib.experiments.run_folders import RunFolder
from rrg_lib.models.visual.extractor import EXTRACTORS, VisualExtractor
from rrg_lib.replication.study_plan import StudyPlan, StudyRun
from rrg_lib.replication.study_runs import missing_runs, study_results, training_folder
from rrg_lib.runtime.markdown import markdown_table

#: Bytes of a prepared view (256 × 256), and of a number of a cached feature.
_VIEW, _NUMBER = 256 * 256, 2
#: Views of a study, and how often a trained parameter is kept: the best ones, the last, and Adam's three moments.
_VIEWS, _KEPT = 2, 5
#: What scoring takes of a run, where another run has trained.
_SCORING_SHARE = 0.1
#: Studies of a dataset whose plan says no count: IU X-Ray's.
_STUDIES = 2_955


@dataclass(frozen=True)
class StudyCost:
    """Runs that are missing of all, seconds of one core for them, by condition and system, and gigabytes that they
    will write; `measured` says how many of the seconds are known from results."""

    runs: int
    missing: int
    seconds: dict[tuple[str, str], float]
    measured: float
    disk: float

    @property
    def hours(self) -> float:
        return sum(self.seconds.values()) / 3600

    def markdown(self, jobs: int) -> str:
        rows = [[c, s, f"{seconds / 60:.1f}"] for (c, s), seconds in self.seconds.items()]
        lines = [f"{self.missing} of {self.runs} runs are missing."]
        if rows:
            lines += ["", *markdown_table(["condition", "system", "minutes of one core"], rows), ""]
            lines += [
                f"About {self.hours:.2f} hours of one core, {self.hours / jobs:.2f} with {jobs} jobs; "
                f"{self.measured / max(sum(self.seconds.values()), 1e-9):.0%} of it as earlier runs took, the rest "
                "as the pilot's, by the speed of this machine. Pictures and features come on top, once.",
                f"Disk: about {self.disk:.1f} GB.",
            ]
        return "\n".join(lines)


def study_cost(plan: StudyPlan, yardstick: Callable[[], float], folder: Path | None = None) -> StudyCost:
    """What is missing and will take. `yardstick` measures how fast this machine is, where that is asked for
    (`rrg_lib.performance.yardstick`). Raises as `study_results`."""
    seconds: dict[tuple[str, str], float] = {}
    known: dict[tuple[str, str], list[dict[str, float]]] = {}
    for result in study_results(plan, folder).values():
        kept = result.study
        known.setdefault((kept["condition"], kept["system"]), []).append(kept["seconds"])
    todo = missing_runs(plan, folder)
    factor = yardstick() / plan.pilot.yardstick if todo else 1.0
    measured = 0.0
    for group in todo:
        for i, run in enumerate(group):
            key = run.condition.name, run.system.name
            # Of one training all but the first run are only scored; so is what another study has trained.
            only_scored = i > 0 or RunFolder(training_folder(run), run.experiment).trained
            if key in known:
                each = median(took["scoring"] if only_scored else sum(took.values()) for took in known[key])
                measured += each
            else:
                each = plan.pilot.seconds[run.system.name] * run.condition.cost * factor
                each *= _SCORING_SHARE if only_scored else 1.0
            seconds[key] = seconds.get(key, 0.0) + each
    return StudyCost(len(plan.runs()), sum(map(len, todo)), seconds, measured, study_disk(todo) / 1e9)


def study_disk(todo: list[list[StudyRun]], studies: int = _STUDIES, views: int = _VIEWS) -> float:
    """Bytes of prepared studies, features of frozen extractors and trained weights, of a dataset of that many `studies`
    where the plan says no count, of that many `views` each; what is there already counts too where it cannot be told
    cheaply."""
    firsts = [group[0] for group in todo]
    data = {run.condition.data for run in firsts}
    looks = {(run.condition.data, e) for run in firsts if (e := run.experiment.extractor).frozen}
    total = float(sum((d.count or studies) * views * _VIEW for d in data))
    for d, extractor in looks:
        architecture = EXTRACTORS[extractor.name]
        total += (d.count or studies) * views * architecture.grid**2 * architecture.dim * _NUMBER
    for run in firsts:
        if not training_folder(run).is_dir():
            total += _parameters(run) * 4 * _KEPT
    return total


def _parameters(run: StudyRun) -> int:
    e = run.experiment
    with torch.device("meta"):  # shapes alone
        learning = None if e.extractor.frozen else VisualExtractor(e.extractor.name)
        config = e.generator if learning is None else replace(e.generator, d_vf=learning.dim)
        made = config.build(learning, memory=e.memory, pair=e.pair)
    return sum(p.numel() for p in made.parameters())
