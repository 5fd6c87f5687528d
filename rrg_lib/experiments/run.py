"""A run: one experiment trained on its dataset, its reports written and scored, and everything needed to repeat it in
one folder (`run_folders` lists the files)."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from rrg_lib.data.finding_labels import findings_of_dataset
from rrg_lib.data.study import SPLITS, Split
from rrg_lib.evaluation.baselines import Task
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.meteor import require_java
from rrg_lib.evaluation.nlg import METRICS, Reports
from rrg_lib.evaluation.score_table import Evaluation
from rrg_lib.evaluation.terms import pack_terms
from rrg_lib.experiments.extractors import (
    CLASSIFIER,
    EXTRACTOR,
    build_extractor,
    check_splits,
    classifier_file,
    copy_whole,
    finding_weights,
    input_reader,
    keep_extractor,
)
from rrg_lib.experiments.presets import Experiment
from rrg_lib.experiments.pseudo_labels import StudyLabels, findings_seen
from rrg_lib.experiments.reports import DECODE_BATCH, ValidationScores, missing_scores, save_reports, write_reports
from rrg_lib.experiments.run_folders import (
    BEST,
    EXPERIMENT,
    LAST,
    VOCABULARY,
    RunFolder,
    read_description,
    run_folder,
)
from rrg_lib.experiments.trained_system import TrainedSystem, build_generator, own_identity
from rrg_lib.models.batches import StudyBatches, TrainingStudies
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.models.interface import Captioner
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.finding_extractor import FindingExtractor
from rrg_lib.runtime.checkpoint import check_same, load_tensors
from rrg_lib.runtime.device import device_name, memory_advice, on_device
from rrg_lib.runtime.distributed import one_after_another, this_process
from rrg_lib.runtime.workspace import locked, write_json
from rrg_lib.training import Trainer, TrainingResult, usable_monitor

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset


def prepared(name: str, *, data_root: Path | None = None, progress: bool = True, **options: Any) -> PreparedDataset:
    """The prepared dataset of that name, made first when it is not there."""
    from rrg_lib.data.prepare import prepare

    return prepare(name, data_root=data_root, progress=progress, **options)


def baseline_task(dataset: PreparedDataset, split: Split, *, looks: bool = True, progress: bool = True) -> Task:
    """What the baselines write from for a split of a prepared data set; with `looks` what a classifier sees in its
    images too, where experts coded any study."""
    studies = {name: [dataset.study(i) for i in dataset.split_indices(name)] for name in SPLITS}
    seen = findings_seen(dataset, split, progress=progress) if looks and dataset.coded.any() else None
    return Task(studies["train"], studies["val"], studies[split], dataset.vocabulary, seen)


@dataclass
class Run(RunFolder):
    """A run folder with the dataset that it learns from. `Run.of` finds or makes it from an experiment, `Run.open` from
    the folder; `system` is what it has trained."""

    dataset: PreparedDataset
    extractor: VisualExtractor
    progress: bool = True

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        *,
        data_root: Path | None = None,
        folder: Path | None = None,
        progress: bool = True,
        trained: bool = False,
    ) -> Run:
        """The run of an experiment. Its data and its extractor are made if they do not exist; with `trained` its best
        checkpoint must exist already."""
        folder = folder or run_folder(experiment)
        if trained:
            RunFolder(folder, experiment).check_trained()
        with one_after_another():
            dataset = prepared(experiment.dataset, data_root=data_root, progress=progress)
            path, config = folder / EXTRACTOR, experiment.extractor
            if path.exists():
                config = replace(config, weights=str(path))
            extractor = build_extractor(config, dataset, experiment.profile, progress=progress)
            return cls(folder, experiment, dataset, extractor, progress)

    @classmethod
    def open(cls, folder: Path, *, data_root: Path | None = None, progress: bool = True) -> Run:
        """A run that was trained before, with its dataset, which is made if it does not exist. Raises `DataRootError`
        when the folder is none."""
        experiment, _ = read_description(folder)
        return cls.of(experiment, data_root=data_root, folder=Path(folder), progress=progress)

    @cached_property
    def inputs(self) -> Callable[[int], np.ndarray]:
        return input_reader(self.extractor, self.dataset, progress=self.progress)

    @property
    def identity(self) -> dict[str, Any]:
        """What the checkpoints of this run belong to."""
        return {
            **own_identity(self.experiment, self.dataset.vocabulary, self.extractor),
            "dataset": self.dataset.hash,
            **({"labels": self.labels.hash} if self.labels else {}),
        }

    @property
    def system(self) -> TrainedSystem:
        """What this run has trained, which needs no dataset to write; held to be of this dataset."""
        return TrainedSystem(self.folder, self.experiment, self.dataset.vocabulary, self.extractor, self.identity)

    def generator(self) -> Captioner:
        """The best generator of the run, in evaluation mode: `TrainedSystem.generator`."""
        return self.system.generator()

    @cached_property
    def labels(self) -> StudyLabels | None:
        """Where a memory that is gated by labels gets them; None for any other memory."""
        return StudyLabels(self.dataset, self.experiment.memory.label_source, self.classifier) if self.gated else None

    def classifier(self) -> FindingExtractor:
        """What judges images: the run's own extractor where that has learnt the findings, else one that does, of which
        the run folder then keeps a copy."""
        if classifier_file(self.folder) is None:
            weights = finding_weights("small", self.dataset, self.experiment.profile, progress=self.progress)
            copy_whole(weights, self.folder / CLASSIFIER)
        return FindingExtractor.load(classifier_file(self.folder))

    def labels_told(self, indices: Sequence[int], decoding: DecodingConfig) -> np.ndarray | None:
        """(n, 14) labels that the memory is told of these studies when their reports are to be written, None for
        nothing."""
        return self.labels.at_test(indices, decoding.labels_at_test) if self.labels else None

    def batches(self, split: Split, limit: int | None = None) -> StudyBatches:
        """The studies of a split; of the validation studies those that the experiment looks at."""
        limit = self.experiment.validation if split == "val" and limit is None else limit
        labels = self.labels.observations if self.labels else None
        return StudyBatches(
            self.dataset, self.dataset.split_indices(split)[:limit], self.inputs, labels, this_process()
        )

    def new_generator(self, *, prepared: bool = True) -> Captioner:
        """The generator before training, its weights drawn by the experiment's seed, its memory initialised from the
        training studies; not so with `prepared=False`, for one whose weights come from a checkpoint."""
        with memory_advice("fewer or smaller of memory.slots, generator.layers and generator.d_model need less"):
            generator = build_generator(self.experiment, self.dataset.vocabulary, self.extractor)
        if prepared and generator.memory is not None:
            generator.memory.prepare(
                TrainingStudies(
                    self.batches("train", self.experiment.studies),
                    self.extractor,
                    seed=self.experiment.training.seed,
                    folder=self.folder,
                    token_vectors=generator.token_vectors(),
                )
            )
        return generator

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """Where these studies make the run another one than its settings say, in sentences: who labelled what the
        experts did not, by what the best epoch is chosen. Kept in `experiment.json`; none for a collection that is
        coded throughout."""
        sentences, train = [], self.dataset.split_indices("train")
        labels = findings_of_dataset(self.dataset, train) if not self.dataset.coded[train].all() else None
        if labels is not None and self.experiment.extractor.weights == "findings":
            sentences.append(f"the extractor learns the findings of the training studies from {labels.source}")
            if not labels.drawn.any():
                sentences.append(
                    "by it none of them has a finding: the extractor learns nothing; --set extractor.weights=FILE "
                    "takes one that has learnt"
                )
        if labels is not None and self.labels and self.labels.source == "expert":
            sentences.append(f"the memory's labels of the training studies are from {labels.source}")
        missing = missing_scores(self.dataset, self.dataset.split_indices("val")[: self.experiment.validation])
        return (*sentences, *filter(None, [usable_monitor(self.experiment.training.monitor, missing=missing).reason]))

    def train(self, *, wait: bool = True) -> TrainingResult:
        """Train, or go on where an interrupted call stopped; a finished run returns at once. No score of the validation
        studies needs Java. Where another process trains the same, `wait` until it has ended and take what it made.

        Raises `ConfigurationError`, before anything is trained, where there is no training or no validation study, or a
        monitor that does not exist; `CheckpointError` for a folder of another run, which is left as it is;
        `StorageError` for one in which another training is under way, if it is not waited for.
        """
        check_splits(self.dataset)
        with locked(self.folder, wait=wait) if this_process().rank == 0 else nullcontext():
            return self._train()

    def _train(self) -> TrainingResult:
        training, decoding = self.experiment.training, self.experiment.decoding
        last = self.folder / LAST
        if last.exists():
            check_same(last, load_tensors(last)[1], self.identity)
        self._describe()
        generator = self.new_generator(prepared=not last.exists())  # first: it draws the weights, all else follows
        studies, validation = self.batches("train", self.experiment.studies), self.batches("val")
        trainer = Trainer(
            generator,
            studies.loader(training.batch_size, shuffle=True, **training.reading),
            validation.loader(DECODE_BATCH),
            training,
            self.folder,
            score=ValidationScores(validation, self.labels_told(validation.indices, decoding)),
            identity=self.identity,
            progress=self.progress,
        )
        return trainer.fit()

    def write(self, split: Split = "test", *, decoding: DecodingConfig | None = None) -> dict[str, str]:
        """Reports for a split, kept in `reports-SPLIT.csv` with the mark of the weights beside them; searched or told
        otherwise than the experiment says, in a file that `reports_file` names."""
        decoding = decoding or self.experiment.decoding
        mark = self.reports_mark(decoding)  # first: of weights that a training then replaces, it fits no longer
        generator = self.generator()
        labels = self.labels_told(self.dataset.split_indices(split), decoding)
        with on_device(generator), memory_advice("fewer beams need less (decoding.beam_size)"):
            reports = write_reports(
                generator, self.batches(split), self.dataset.vocabulary, decoding, labels=labels, progress=self.progress
            )
        # the mark last: killed in between, these reports have none or that of weights before, and count as not written
        save_reports(self.reports_file(split, decoding), reports)
        write_json(self.reports_mark_file(split, decoding), mark)
        return reports

    def evaluate(
        self,
        split: Split = "test",
        *,
        metrics: Sequence[str] = METRICS,
        baselines: bool | Literal["all"] | Sequence[str] = True,
        reports: Reports | None = None,
        decoding: DecodingConfig | None = None,
    ) -> Evaluation:
        """Scores of a split beside the trivial baselines. The run's own reports are written first and their scores kept
        in `scores-SPLIT.json` (named like the reports); reports of another origin can be given instead. Where METEOR is
        asked for, Java is asked for first."""
        if "METEOR" in metrics:
            require_java()
        foreign, decoding = reports is not None, decoding or self.experiment.decoding
        reports = reports if foreign else self.write(split, decoding=decoding)
        remark = f" (labels: {decoding.labels_at_test})" if self.gated and not foreign else ""
        task = baseline_task(self.dataset, split, looks=baselines == "all", progress=self.progress)
        evaluation = evaluate_reports(
            reports,
            task.studies,
            task.vocabulary,
            train=task.train,
            val=task.val,
            metrics=metrics,
            baselines=baselines,
            name=f"{self.experiment.name}{remark}",
            seen=task.seen,
        )
        if not foreign:
            progress = load_tensors(self.folder / BEST)[1]["progress"]
            epoch, score = progress["best"]
            checkpoint = {
                "epoch": epoch,
                "score": score,
                "chosen_on": "val",
                "monitor": progress.get("monitor", self.experiment.training.monitor),
            }
            run = {**self.provenance(), "checkpoint": checkpoint, "decoding": asdict(decoding)}
            scores = {**evaluation.to_json(), "run": run, "terms": pack_terms(evaluation.terms)}
            write_json(self.scores_file(split, decoding), scores)
        return evaluation

    def provenance(self) -> dict[str, Any]:
        """What it takes to repeat the run."""
        packages = ("rrg-book", "torch", "torchvision", "accelerate", "numpy", "torchxrayvision")
        machine = {
            "python": platform.python_version(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": device_name(),
        }
        versions = {name: version(name) for name in packages}
        remarks = {"remarks": list(self.remarks)} if self.remarks else {}
        return {
            "experiment": self.experiment.to_json(),
            "identity": self.identity,
            "versions": versions,
            "machine": machine,
            **remarks,
        }

    def _describe(self) -> None:
        """Write down what the run is before it starts: what it takes to repeat it, and to write without its dataset."""
        write_json(self.folder / VOCABULARY, self.dataset.vocabulary.to_json())
        path, config = self.folder / EXTRACTOR, self.experiment.extractor
        if config.weights == "findings" and not path.exists():
            copy_whole(finding_weights(config.name, self.dataset, self.experiment.profile), path)
        elif config.frozen and not path.exists():
            keep_extractor(self.extractor, path)
        if self.gated and self.experiment.decoding.labels_at_test == "classifier":
            self.classifier()
        write_json(self.folder / EXPERIMENT, self.provenance())
