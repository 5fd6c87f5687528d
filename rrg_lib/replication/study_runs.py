"""The runs of a study: which are there, which are missing, and training and scoring the missing ones, one process a
core.

A result is one file, `STUDY-CONDITION-SYSTEM-seedN.json`, written whole or not at all and only after its training is
done; a training goes on from its last checkpoint. So a study may be killed anywhere and started again, and a seed or a
system that is added later runs alone. Trainings lie in `studies/runs` of the workspace under a hash of what is
trained: studies share them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.metrics import FINDING_F1_MACRO
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.evaluation.resampling import Additive
from rrg_lib.evaluation.score_table import Evaluation
from rrg_lib.evaluation.terms import pack_terms, unpack_terms
from rrg_lib.experiments.reports import DECODE_BATCH, write_reports
from rrg_lib.experiments.run import Run, prepared
from rrg_lib.experiments.run_folders import run_folder
from rrg_lib.experiments.tuning import tune
from rrg_lib.models.interface import Captioner
from rrg_lib.models.memory.lesion import lesioned, mean_answers
from rrg_lib.replication.study_plan import StudyData, StudyPlan, StudyRun
from rrg_lib.runtime.device import on_device
from rrg_lib.runtime.worker_pool import cpus, in_order
from rrg_lib.runtime.workspace import workspace, write_json

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset
    from rrg_lib.models.decoding import DecodingConfig

#: One thread a process, and none that spins while it waits for the others.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
_SECONDS = "seconds.json"
#: What is said when a process died that was training.
_AFTER_A_DEATH = (
    "Results are kept, and a training goes on from its last checkpoint. Run again, with fewer jobs (--jobs) if it was "
    "memory; a script must call run_study under `if __name__ == '__main__':`, or with jobs=1"
)
#: What is done of one training: a plan, the runs that share its weights, the folder of the results, the data root; the
#: names of the results that it made.
StudyWork = Callable[[StudyPlan, list[StudyRun], Path, Path | None], list[str]]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """One run as it was kept: its scores with their terms, and what it was made with."""

    file: str
    data: dict[str, Any]

    @property
    def study(self) -> dict[str, Any]:
        """The plan's name and hashes, condition, system, seed, training, date and seconds."""
        return self.data["run"]["study"]

    @cached_property
    def evaluation(self) -> Evaluation:
        return replace(Evaluation.from_json(self.data), terms=unpack_terms(self.data["terms"]))

    @property
    def terms(self) -> dict[str, Additive]:
        """Score name -> its terms (n, k), a row a study."""
        return self.evaluation.terms

    @property
    def tested(self) -> str:
        """Which studies were tested, as a hash: scores of the same ones are paired."""
        return self.data["provenance"]["studies"]["hash"]

    @property
    def measured_alike(self) -> str:
        """What must be equal for two results to be compared: studies, their images, the extractor that they were seen
        through, references, labeler."""
        p, identity = self.data["provenance"], self.data["run"]["identity"]
        parts = [p["protocol"], p["vocabulary"], p["studies"], p["labeler"], identity["dataset"], identity["extractor"]]
        return json.dumps(parts, sort_keys=True)


def results_folder() -> Path:
    """Where a study's results are kept unless another folder is named."""
    return workspace() / "studies" / "results"


def shipped_results() -> Path:
    """Where the results that come with the project are."""
    return Path(str(resources.files("rrg_data").joinpath("studies", "results")))


def result_name(plan: StudyPlan, run: StudyRun) -> str:
    """The file of a run's result."""
    return f"{plan.name}-{run.name}.json"


def study_results(plan: StudyPlan, folder: Path | None = None) -> dict[str, StudyResult]:
    """The results of a plan that are there, by the run's name, in the order of its runs: in `folder`, by default in the
    workspace; else as the project ships them in `data/studies/results`.

    Raises `ConfigurationError` for a result that was made for another question, or under another meaning of its
    condition or system; `CheckpointError` for a damaged file.
    """
    found = {}
    places = [folder or results_folder(), shipped_results()]
    for run in plan.runs():
        name = result_name(plan, run)
        entry = next((place / name for place in places if (place / name).is_file()), None)
        if entry is not None:
            try:
                result = StudyResult(name, json.loads(entry.read_text(encoding="utf-8")))
                kept = result.study
                marks = kept["question"], kept["run"]
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"{entry} cannot be read ({type(error).__name__}: {error}); expected a result of the study "
                    f"{plan.name}. Delete it, then run: rrg study run {plan.name}"
                ) from error
            for what, was, is_now in zip(
                ("the question", "this condition, system and profile"),
                marks,
                (plan.question_hash, run.hash),
                strict=True,
            ):
                if was != is_now:
                    raise ConfigurationError(
                        f"{entry} was made for another plan: of {what} it says {was}, the plan {plan.name} says "
                        f"{is_now}. What was declared before the runs may not change after them: undo the change, "
                        f"give the new plan a name of its own, or delete the result"
                    )
            found[run.name] = result
    return found


def missing_runs(plan: StudyPlan, folder: Path | None = None) -> list[list[StudyRun]]:
    """The runs without a result, those of one training together. Raises as `study_results`."""
    there = study_results(plan, folder)
    groups = [[run for run in runs if run.name not in there] for runs in plan.by_training().values()]
    return [group for group in groups if group]


def run_study(
    plan: StudyPlan,
    folder: Path | None = None,
    *,
    jobs: int | None = None,
    data_root: Path | None = None,
    most: int | None = None,
    progress: bool = True,
    work: StudyWork | None = None,
    one_thread: bool = True,
) -> int:
    """Train and score what is missing, `jobs` processes (a process a core unless said), each of one thread unless said
    otherwise, `most` trainings at most; how many results were made. `work` is what is done of one training, by default
    `train_and_score`.

    Raises as `study_results`; `ConfigurationError` for a number of jobs below 1; whatever a run raises.
    """
    if jobs is not None and jobs < 1:
        raise ConfigurationError(f"jobs is {jobs}; expected at least 1")
    folder, todo = folder or results_folder(), missing_runs(plan, folder)[:most]
    if not todo:
        return 0
    jobs = min(jobs or cpus(), len(todo))
    total, done = len(plan.runs()), len(plan.runs()) - sum(map(len, missing_runs(plan, folder)))
    threads = _one_thread() if one_thread else nullcontext()
    made = 0
    with threads, tqdm(total=total, initial=done, desc=plan.name, unit="run", disable=not progress) as bar:
        # Drawn pictures and features of frozen extractors first, once, so that no process waits for another's.
        for run in {_looks_at(group[0]): group[0] for group in todo}.values():
            bar.set_postfix_str(f"features of {run.condition.name}")
            _features(opened_run(run, data_root, jobs, progress=progress), jobs)
        bar.set_postfix_str("")
        tasks = [(plan, group, folder, data_root) for group in todo]
        for names in in_order(work or train_and_score, tasks, jobs, advice=_AFTER_A_DEATH):
            made += len(names)
            bar.update(len(names))
    return made


@contextmanager
def _one_thread() -> Iterator[None]:
    """This process and those that it starts compute with one thread each, and wait without spinning."""
    before, threads = {name: os.environ.get(name) for name in _ONE_THREAD}, torch.get_num_threads()
    os.environ.update(_ONE_THREAD)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _features(made: Run, jobs: int) -> None:
    """Sees to it that the features are there. Nothing else runs meanwhile: as many threads as there will be jobs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads, jobs))
    try:
        _ = made.inputs
    finally:
        torch.set_num_threads(threads)


def _looks_at(run: StudyRun) -> tuple[StudyData, Any]:
    return run.condition.data, run.experiment.extractor


def _dataset(
    data: StudyData, data_root: Path | None, workers: int | None = 1, *, progress: bool = False
) -> PreparedDataset:
    drawn = data.dataset in ("iu_phantom", "phantom")
    options = {name: value for name, value in data.options.items() if drawn or name != "seed"}
    return prepared(data.dataset, data_root=None if drawn else data_root, progress=progress, workers=workers, **options)


def training_folder(run: StudyRun) -> Path:
    """The run folder of a study's training, shared by all studies that train the same."""
    return workspace() / "studies" / "runs" / f"{run_folder(run.experiment).name}-{run.training[:6]}"


def opened_run(run: StudyRun, data_root: Path | None, workers: int | None = 1, *, progress: bool = False) -> Run:
    """The run of a study's training, with its dataset and extractor, which are made if they do not exist, with bars of
    their own where `progress` is asked for: of a large collection that takes minutes."""
    dataset = _dataset(run.condition.data, data_root, workers, progress=progress)
    return Run.of(run.experiment, data_root=dataset.folder, folder=training_folder(run), progress=progress)


def train_and_score(plan: StudyPlan, runs: Sequence[StudyRun], folder: Path, data_root: Path | None) -> list[str]:
    """One training, gone on with where it was interrupted, its decoding chosen on the validation studies, and the
    results of `runs`, which share its weights; their names."""
    torch.set_num_threads(1)
    made = opened_run(runs[0], data_root)
    _timed(made.folder, "training", made.train)  # another study may be training the same: it is waited for
    if plan.protocol == "tuned":
        _timed(made.folder, "tuning", lambda: tune(made, plan.grid, progress=False))
    generator = made.generator()
    for run in runs:
        started = time.process_time()
        record = scored(plan, run, made, generator)
        seconds = {**_seconds(made.folder), "scoring": time.process_time() - started}
        record["run"]["study"]["seconds"] = {name: round(value, 2) for name, value in seconds.items()}
        write_json(Path(folder) / result_name(plan, run), record)
    return [run.name for run in runs]


def _seconds(folder: Path) -> dict[str, float]:
    path = folder / _SECONDS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _timed(folder: Path, what: str, work: Any) -> None:
    """Does it, and keeps the seconds of processor time that it took in the run's folder; those of an interrupted call
    are not known."""
    started = time.process_time()
    work()
    seconds = time.process_time() - started
    kept = _seconds(folder)
    write_json(folder / _SECONDS, {**kept, what: max(kept.get(what, 0.0), seconds)})


def scored(plan: StudyPlan, run: StudyRun, made: Run, generator: Captioner) -> dict[str, Any]:
    """What is kept of a run: the evaluation of its test reports, written as the plan says, and what they were made
    with. Terms are kept of the plan's metrics alone, no reports."""
    decoding = made.decoding(plan.protocol, run.system.labels)
    batches = made.batches("test")
    labels = made.labels_told(batches.indices, decoding)
    if run.system.lesion:
        generator = lesioned(generator, _means(made, generator, decoding), run.system.lesion)
    with on_device(generator):
        reports = write_reports(generator, batches, made.dataset.vocabulary, decoding, labels=labels)
    wanted = [metric for metric in plan.metrics if metric in WITHOUT_JAVA]
    studies = [made.dataset.study(i) for i in batches.indices]
    evaluation = evaluate_reports(
        reports, studies, made.dataset.vocabulary, metrics=wanted, baselines=False, name=run.name
    )
    row = replace(evaluation.rows[0], efficacy={})
    kept = {name: terms for name, terms in evaluation.terms.items() if name in (*plan.metrics, FINDING_F1_MACRO)}
    weights = made.weights
    return {
        **replace(evaluation, rows=(row,)).to_json(),
        "run": {
            **made.provenance(),
            "checkpoint": {"epoch": weights["epoch"], "score": weights["score"], "chosen_on": "val"},
            "decoding": asdict(decoding),
            "protocol": plan.protocol,
            "study": study_mark(plan, run),
        },
        "terms": pack_terms(kept),
        "history": json.loads((made.folder / "history.json").read_text(encoding="utf-8")),
    }


def study_mark(plan: StudyPlan, run: StudyRun) -> dict[str, Any]:
    """What tells a finished run of this plan from another's, and from one under another meaning of it."""
    return {
        "name": plan.name,
        "question": plan.question_hash,
        "plan": plan.hash,
        "declared": plan.declared,
        "run": run.hash,
        "condition": run.condition.name,
        "system": run.system.name,
        "seed": run.seed,
        "training": run.training,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _means(made: Run, generator: Captioner, decoding: DecodingConfig) -> Mapping[str, torch.Tensor]:
    """The mean answers on the validation studies, told what the test studies are told."""
    batches = made.batches("val")
    labels = made.labels_told(batches.indices, decoding)
    order = {made.dataset.ids[i]: row for row, i in enumerate(batches.indices)}

    def told() -> Iterator[Any]:
        for batch in batches.loader(DECODE_BATCH):
            rows = None if labels is None else torch.as_tensor(labels[[order[i] for i in batch.ids]]).float()
            yield replace(batch, labels=rows)

    return mean_answers(generator, told())
