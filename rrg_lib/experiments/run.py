"""A run: one experiment trained, its reports, its scores, and everything needed to repeat it, in one folder.

experiment.json   the configuration and the hashes of what it was trained on
vocabulary.json   the words it can say
extractor.safetensors   the visual extractor it looks through
last.safetensors, best.safetensors, history.json   training (`rrg train` draws curves.png beside them)
decoding.json     how its reports are searched, chosen on the validation studies (`rrg tune`)
reports-SPLIT.csv, scores-SPLIT.json   what it said, and what that is worth; searched otherwise than its experiment
says: -published, -greedy, -tuned
"""

from __future__ import annotations

import json
import math
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from rrg_lib.data.finding_labels import findings_of_dataset
from rrg_lib.data.images import read_radiograph
from rrg_lib.data.sources import VIEWS
from rrg_lib.data.study import SPLITS, Split
from rrg_lib.errors import CheckpointError, ConfigurationError, DataRootError, UnknownNameError
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.meteor import require_java
from rrg_lib.evaluation.nlg import METRICS, Reports
from rrg_lib.evaluation.score_table import Evaluation
from rrg_lib.evaluation.terms import pack_terms
from rrg_lib.experiments.presets import Experiment, ExtractorConfig, experiment
from rrg_lib.experiments.pseudo_labels import StudyLabels
from rrg_lib.experiments.reports import DECODE_BATCH, ValidationScores, missing_scores, save_reports, write_reports
from rrg_lib.experiments.tuning import tuned
from rrg_lib.models.batches import StudyBatches, TrainingStudies
from rrg_lib.models.decoding import PROTOCOLS, DecodingConfig, LabelsAtTest, Protocol, generate
from rrg_lib.models.interface import Captioner
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.feature_cache import cached_features
from rrg_lib.models.visual.finding_extractor import (
    PRETRAINING,
    FindingExtractor,
    finding_scores,
    profile_metadata,
    train_finding_extractor,
)
from rrg_lib.runtime import package_data
from rrg_lib.runtime.checkpoint import check_same, load_into, load_tensors
from rrg_lib.runtime.device import device_name, memory_advice, on_device
from rrg_lib.runtime.distributed import one_after_another, this_process
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import workspace, write_json, written_whole
from rrg_lib.training import Trainer, TrainingResult, usable_monitor

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset


def prepared(name: str, *, data_root: Path | None = None, progress: bool = True, **options: Any) -> PreparedDataset:
    """The prepared dataset of that name, made first when it is not there."""
    from rrg_lib.data.prepare import prepare

    return prepare(name, data_root=data_root, progress=progress, **options)


def finding_weights(name: str, dataset: PreparedDataset, profile: str, *, progress: bool = True) -> Path:
    """The weights of an extractor trained on the findings of this dataset's training studies; trained first when they
    are not there. The very ones that the stored results of IU-Phantom in `laptop` see through come with the package:
    another processor's sums would make others.

    The file's name holds the recipe's hash and the data's, so that another profile, network or dataset never finds
    them; and the labeler's, where findings are read in the reports of studies that nobody coded. The file itself says
    who labelled them (`labels`).

    Raises `ConfigurationError` for a dataset without training or validation studies.
    """
    settings, parts = PRETRAINING[profile], {split: dataset.split_indices(split) for split in ("train", "val")}
    _check_splits(dataset, parts)
    labels = findings_of_dataset(dataset, [*parts["train"], *parts["val"]])
    recipe = "-".join(filter(None, (settings.recipe(name), labels.name)))
    path = workspace() / "extractors" / f"{name}-{profile}-{recipe}-{dataset.hash}.safetensors"
    if not path.exists() and (kept := package_data.extractor(path.name)) is not None:
        with written_whole(path) as temporary:
            temporary.write_bytes(kept)
    if not path.exists():
        drawn = dict(zip(parts, np.split(labels.drawn, [len(parts["train"])]), strict=True))
        views = {split: dataset.views_array(parts[split]) for split in parts}
        model = train_finding_extractor(
            views["train"], drawn["train"], validation=(views["val"], drawn["val"]), profile=settings, progress=progress
        )
        model.save(path, {**profile_metadata(settings, seed=0), "dataset": dataset.hash, "labels": labels.source})
    return path


def _check_splits(dataset: PreparedDataset, parts: dict[str, list[int]]) -> None:
    if empty := [split for split, at in parts.items() if not at]:
        counts = ", ".join(f"{len(dataset.split_indices(split))} {split}" for split in SPLITS)
        what, why = {
            "train": ("training", "nothing can be learnt"),
            "val": ("validation", "thresholds and the best epoch are chosen on them"),
        }[empty[0]]
        raise ConfigurationError(
            f"{dataset.folder} has no {what} study ({counts}), and {why}. Give some studies the split {empty[0]!r} (in "
            f"a folder of one's own: the column "
            "split of studies.csv), then prepare again"
        )


def extractor_scores(path: Path, dataset: PreparedDataset, split: Split) -> dict[str, float]:
    """Micro-F1 over the 13 drawn findings of the studies of a split, and F1 of each; thresholds are those chosen on the
    validation studies. What a study has the experts say, or where they did not code it its report."""
    indices = dataset.split_indices(split)
    if not indices:
        return {"micro": math.nan}
    scores = finding_scores(
        FindingExtractor.load(path), dataset.views_array(indices), findings_of_dataset(dataset, indices).drawn
    )
    return {"micro": scores.micro_f1, **scores.f1}


def build_extractor(
    config: ExtractorConfig, dataset: PreparedDataset, profile: str, *, progress: bool = True
) -> VisualExtractor:
    """The extractor of an experiment, one trained on findings included."""
    weights = (
        finding_weights(config.name, dataset, profile, progress=progress)
        if config.weights == "findings"
        else config.weights
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(
            0
        )  # random weights are the same ones each time, so that their features can be kept and found again
        return VisualExtractor(config.name, weights=weights, frozen=config.frozen)


def input_reader(
    extractor: VisualExtractor, dataset: PreparedDataset, *, progress: bool = True
) -> Callable[[int], np.ndarray]:
    """What a generator reads of study i: cached patch features of a frozen extractor, or the views for one that
    learns."""
    if not extractor.frozen:
        return dataset.views
    return cached_features(extractor, dataset, folder=workspace() / "features", progress=progress).patches


@dataclass
class Run:
    """A run folder and what it stands for. `Run.of` finds or makes it from an experiment, `Run.open` from the folder
    alone."""

    folder: Path
    experiment: Experiment
    dataset: PreparedDataset
    extractor: VisualExtractor
    progress: bool = True

    @classmethod
    def of(
        cls,
        what: Experiment,
        *,
        data_root: Path | None = None,
        folder: Path | None = None,
        progress: bool = True,
        trained: bool = False,
    ) -> Run:
        """The run of an experiment. Its data and its extractor are made if they do not exist; with `trained` its best
        checkpoint must exist already."""
        if trained and not ((folder or run_folder(what)) / "best.safetensors").exists():
            raise CheckpointError(
                f"{what.name} has not been trained in {folder or run_folder(what)}. Run: rrg train {what.name} "
                f"--profile {what.profile}"
            )
        with one_after_another():
            dataset = prepared(what.dataset, data_root=data_root, progress=progress)
            folder = folder or run_folder(what)
            kept = folder / "extractor.safetensors"
            config = replace(what.extractor, weights=str(kept)) if kept.exists() else what.extractor
            extractor = build_extractor(config, dataset, what.profile, progress=progress)
            return cls(folder, what, dataset, extractor, progress)

    @classmethod
    def open(cls, folder: Path, *, data_root: Path | None = None, progress: bool = True) -> Run:
        """A run that was trained before. Raises `DataRootError` when the folder is none."""
        path = Path(folder) / "experiment.json"
        if not path.is_file():
            raise DataRootError(
                f"{folder} is no run folder: it has no experiment.json. Train one with: rrg train DATASET/PRESET"
            )
        return cls.of(
            Experiment.from_json(json.loads(path.read_text())["experiment"]),
            data_root=data_root,
            folder=Path(folder),
            progress=progress,
        )

    @cached_property
    def inputs(self) -> Callable[[int], np.ndarray]:
        return input_reader(self.extractor, self.dataset, progress=self.progress)

    @property
    def identity(self) -> dict[str, Any]:
        """What the checkpoints of this run belong to."""
        return {
            "preset": self.experiment.name,
            "vocabulary": self.dataset.vocabulary.hash,
            "dataset": self.dataset.hash,
            "extractor": self.extractor.hash if self.extractor.frozen else self.extractor.name,
            "experiment": self.experiment.hash,
            **({"labels": self.labels.hash} if self.labels else {}),
        }

    @cached_property
    def labels(self) -> StudyLabels | None:
        """Where a memory that is gated by labels gets them; None for any other memory. Images are judged by the run's
        own extractor where it has learnt the findings, else by one that does."""
        memory, own = self.experiment.memory, self.folder / "extractor.safetensors"
        if memory is None or not memory.gated:
            return None

        def judge() -> FindingExtractor:
            if own.exists():
                return FindingExtractor.load(own)
            profile = self.experiment.profile
            return FindingExtractor.load(finding_weights("small", self.dataset, profile, progress=self.progress))

        return StudyLabels(self.dataset, memory.label_source, judge)

    def batches(self, split: Split, limit: int | None = None) -> StudyBatches:
        labels = self.labels.observations if self.labels else None
        return StudyBatches(
            self.dataset, self.dataset.split_indices(split)[:limit], self.inputs, labels, this_process()
        )

    def new_generator(self, *, prepared: bool = True) -> Captioner:
        """The generator before training, its weights drawn by the experiment's seed, its memory initialised from the
        training studies; not so with `prepared=False`, for one whose weights come from a checkpoint."""
        what = self.experiment
        torch.manual_seed(what.training.seed)
        config = replace(what.generator, vocab_size=self.dataset.vocabulary.size, d_vf=self.extractor.dim)
        extractor = None if self.extractor.frozen else self.extractor
        generator = config.build(extractor, memory=what.memory, pair=what.pair)
        if prepared and generator.memory is not None:
            generator.memory.prepare(
                TrainingStudies(
                    self.batches("train", what.studies),
                    self.extractor,
                    seed=what.training.seed,
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
        said, train = [], self.dataset.split_indices("train")
        labels = findings_of_dataset(self.dataset, train) if not self.dataset.coded[train].all() else None
        if labels is not None and self.experiment.extractor.weights == "findings":
            said.append(f"the extractor learns the findings of the training studies from {labels.source}")
            if not labels.drawn.any():
                said.append(
                    "by it none of them has a finding: the extractor learns nothing; --set extractor.weights=FILE "
                    "takes one that has learnt"
                )
        if labels is not None and self.labels and self.labels.source == "expert":
            said.append(f"the memory's labels of the training studies are from {labels.source}")
        missing = missing_scores(self.dataset, self.dataset.split_indices("val"))
        return (*said, *filter(None, [usable_monitor(self.experiment.training.monitor, missing=missing).reason]))

    def train(self) -> TrainingResult:
        """Train, or go on where an interrupted call stopped; a finished run returns at once. Java is asked for first,
        as evaluation needs it.

        Raises `ConfigurationError`, before anything is trained, where there is no training or no validation study, or a
        monitor that does not exist.
        """
        require_java()
        training = self.experiment.training
        _check_splits(self.dataset, {split: self.dataset.split_indices(split) for split in ("train", "val")})
        self._describe()
        trainer = Trainer(
            self.new_generator(prepared=not (self.folder / "last.safetensors").exists()),
            self.batches("train", self.experiment.studies).loader(
                training.batch_size, shuffle=True, **training.reading
            ),
            self.batches("val").loader(DECODE_BATCH),
            training,
            self.folder,
            score=ValidationScores(self.batches("val"), self.told("val", self.experiment.decoding)),
            identity=self.identity,
            progress=self.progress,
        )
        return trainer.fit()

    def generator(self) -> Captioner:
        """The best generator of the run, in evaluation mode. Raises `CheckpointError` if it is not trained or belongs
        to another experiment."""
        path = self.folder / "best.safetensors"
        tensors, meta = load_tensors(path)
        check_same(path, meta, self.identity)
        generator = self.new_generator(prepared=False)
        load_into(generator, {name.removeprefix("model."): tensor for name, tensor in tensors.items()}, path)
        return generator.eval()

    def write(self, split: Split = "test", *, decoding: DecodingConfig | None = None) -> dict[str, str]:
        """Reports for a split, kept in `reports-SPLIT.csv`; searched or told otherwise than the experiment says, in a
        file that `named` names."""
        generator, config = self.generator(), decoding or self.experiment.decoding
        told = self.told(split, config)
        with on_device(generator), memory_advice("fewer beams need less (decoding.beam_size)"):
            reports = write_reports(
                generator, self.batches(split), self.dataset.vocabulary, config, labels=told, progress=self.progress
            )
        save_reports(self.folder / f"reports-{self.named(split, config)}.csv", reports)
        return reports

    def told(self, split: Split, config: DecodingConfig) -> np.ndarray | None:
        """(n, 14) labels that the memory is told of a split's studies when their reports are to be written, None for
        nothing."""
        return self.labels.at_test(self.dataset.split_indices(split), config.labels_at_test) if self.labels else None

    def decoding(self, protocol: Protocol, labels: LabelsAtTest | None = None) -> DecodingConfig:
        """The decoding of a protocol for this run: "published" (beam 3 and nothing else), "greedy", or "tuned", as
        chosen on the validation studies; the labels at test are the experiment's unless said. Raises `CheckpointError`
        when nothing was chosen for these weights, `UnknownNameError` for another protocol."""
        own = self.experiment.decoding
        if protocol == "tuned":
            found = tuned(self)
            if found is None:
                raise CheckpointError(
                    f"{self.folder} has no decoding chosen for its weights. Run: rrg tune {self.experiment.name} "
                    f"--profile {self.experiment.profile}"
                )
            chosen = found.chosen.decoding
        elif protocol in PROTOCOLS:
            chosen = DecodingConfig(
                beam_size=1 if protocol == "greedy" else DecodingConfig().beam_size, max_length=own.max_length
            )
        else:
            raise UnknownNameError("decoding", protocol, PROTOCOLS)
        return replace(chosen, labels_at_test=labels or own.labels_at_test)

    def named(self, split: Split, config: DecodingConfig) -> str:
        """The split as the files of its reports and scores name it: with the protocol of a search that is not the
        experiment's own (the hash of one that is none), with the labels that a gated memory is told if they are not."""
        own, how = self.experiment.decoding, config.labels_at_test
        name = split
        if not config.searches_like(own):
            chosen = tuned(self)
            if chosen is not None and config.searches_like(chosen.chosen.decoding):
                name += "-tuned"
            else:
                name += next(
                    (f"-{each}" for each in ("greedy", "published") if config.searches_like(self.decoding(each))),
                    f"-decoding-{content_hash(asdict(config), 6)}",
                )
        return f"{name}-labels-{how}" if self.labels and how != own.labels_at_test else name

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
        in `scores-SPLIT.json` (named like the reports); reports of another origin can be given instead."""
        if "METEOR" in metrics:
            require_java()
        own, config = reports is None, decoding or self.experiment.decoding
        reports = self.write(split, decoding=config) if own else reports
        told = f" (labels: {config.labels_at_test})" if own and self.labels else ""
        studies = {name: [self.dataset.study(i) for i in self.dataset.split_indices(name)] for name in SPLITS}
        evaluation = evaluate_reports(
            reports,
            studies[split],
            self.dataset.vocabulary,
            train=studies["train"],
            val=studies["val"],
            metrics=metrics,
            baselines=baselines,
            name=f"{self.experiment.name}{told}",
        )
        if own:
            progress = load_tensors(self.folder / "best.safetensors")[1]["progress"]
            epoch, score = progress["best"]
            chosen = {
                "epoch": epoch,
                "score": score,
                "chosen_on": "val",
                "monitor": progress.get("monitor", self.experiment.training.monitor),
            }
            run = {**self.provenance(), "checkpoint": chosen, "decoding": asdict(config)}
            kept = {**evaluation.to_json(), "run": run, "terms": pack_terms(evaluation.terms)}
            write_json(self.folder / f"scores-{self.named(split, config)}.json", kept)
        return evaluation

    def report_of_views(self, views: np.ndarray, *, decoding: DecodingConfig | None = None) -> str:
        """A report for uint8 views (V, H, W) of one study. Raises `ConfigurationError` when the memory should be told
        the labels of its reference."""
        inputs, decoding = torch.from_numpy(np.array(views))[None], decoding or self.experiment.decoding
        told = self.labels.of_views(views, decoding.labels_at_test) if self.labels else None
        labels = None if told is None else torch.from_numpy(told).float()
        if self.extractor.frozen:
            with torch.inference_mode():
                inputs = self.extractor(inputs).patches
        return self.dataset.vocabulary.decode(
            [0, *generate(self.generator(), inputs, labels, decoding).tokens[0].tolist()]
        )

    def report_of_images(self, paths: Sequence[Path], *, decoding: DecodingConfig | None = None) -> str:
        """A report for the image files of one study, frontal first. One image stands for both views, as it does in a
        prepared dataset."""
        if not 1 <= len(paths) <= VIEWS:
            raise ConfigurationError(f"{len(paths)} images were given: a study has 1 to {VIEWS} views, frontal first")
        views = [read_radiograph(path) for path in paths]
        return self.report_of_views(np.stack(views + views[-1:] * (VIEWS - len(views))), decoding=decoding)

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
        """Write down what the run is before it starts."""
        write_json(self.folder / "vocabulary.json", self.dataset.vocabulary.to_json())
        kept, config = self.folder / "extractor.safetensors", self.experiment.extractor
        if config.weights == "findings" and not kept.exists():
            with written_whole(kept) as temporary:
                shutil.copyfile(finding_weights(config.name, self.dataset, self.experiment.profile), temporary)
        write_json(self.folder / "experiment.json", self.provenance())


def run_folder(what: Experiment) -> Path:
    """`runs/DATASET-PRESET-PROFILE-seedN` in the workspace, with a part of the hash when settings were overridden."""
    plain = experiment(what.name, what.profile, seed=what.training.seed)
    name = f"{what.dataset}-{what.preset}-{what.profile}-seed{what.training.seed}"
    return workspace() / "runs" / (name if what == plain else f"{name}-{what.hash[:6]}")
