"""A run folder: which experiment it is of, what its files are called, and the ways in which its reports are searched.

experiment.json   the configuration, and the hashes of what it was trained on
vocabulary.json   the words it can say
extractor.safetensors   the visual extractor it looks through, where that is frozen or has learnt the findings
classifier.safetensors   what judges images for a memory that is told labels, where the extractor does not
last.safetensors, best.safetensors, history.json   training (`rrg train` draws curves.png beside them)
decoding.json     how its reports are searched, chosen on the validation studies (`rrg tune`)
reports-SPLIT.csv, scores-SPLIT.json   its reports, and what they are worth; searched otherwise than its experiment
says: -published, -greedy, -tuned
reports-SPLIT.json   which weights wrote the reports beside it, and how they were searched

The first six write a report for images on any machine (`trained_system.TrainedSystem`).
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rrg_lib.data.study import Split
from rrg_lib.errors import CheckpointError, DataRootError, RRGError, UnknownNameError
from rrg_lib.experiments import presets
from rrg_lib.experiments.presets import Experiment
from rrg_lib.experiments.tuned_decoding import DECODING, TunedDecoding, read_tuned_decoding
from rrg_lib.models.decoding import PROTOCOLS, DecodingConfig, LabelsAtTest, Protocol
from rrg_lib.runtime.checkpoint import load_tensors
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import workspace

EXPERIMENT, VOCABULARY, BEST, LAST = "experiment.json", "vocabulary.json", "best.safetensors", "last.safetensors"


def run_folder(experiment: Experiment) -> Path:
    """`runs/DATASET-PRESET-PROFILE-seedN` in the workspace, with a part of the hash when settings were overridden."""
    plain = presets.experiment(experiment.name, experiment.profile, seed=experiment.training.seed)
    name = f"{experiment.dataset}-{experiment.preset}-{experiment.profile}-seed{experiment.training.seed}"
    return workspace() / "runs" / (name if experiment == plain else f"{name}-{experiment.hash[:6]}")


def read_description(folder: Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment of a run folder, and the identity that its checkpoints are to have. Raises `DataRootError` for a
    folder that is none, `CheckpointError` for an `experiment.json` that is damaged."""
    path = Path(folder) / EXPERIMENT
    if not path.is_file():
        raise DataRootError(
            f"{folder} is no run folder: it has no {EXPERIMENT}. Train one with: rrg train DATASET/PRESET"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Experiment.from_json(data["experiment"]), dict(data["identity"])
    except (ValueError, KeyError, TypeError, AttributeError, RRGError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected a run's experiment and identity. Copy "
            f"the run folder again from where it was trained"
        ) from error


@dataclass
class RunFolder:
    """The folder of one run and its experiment. `Run` adds the dataset, to train and to evaluate; `TrainedSystem` the
    weights, to write."""

    folder: Path
    experiment: Experiment

    @property
    def command(self) -> str:
        """What names this run's experiment on the command line: the preset, its seed, and the settings that are not the
        preset's."""
        e = self.experiment
        settings = "".join(f" --set {shlex.quote(text)}" for text in presets.settings_given(e))
        return f"{e.name} --profile {e.profile} --seed {e.training.seed}{settings}"

    @property
    def command_here(self) -> str:
        """`command`, with the folder where the run lies in another than its experiment's own."""
        known = self.experiment.preset in presets.PRESETS and self.experiment.profile in presets.PROFILES
        own = known and self.folder == run_folder(self.experiment)
        return self.command if own else f"{self.command} --run {shlex.quote(str(self.folder))}"

    @property
    def trained(self) -> bool:
        """Whether it has a best checkpoint."""
        return (self.folder / BEST).is_file()

    def check_trained(self) -> None:
        """Raises `CheckpointError` for a run without a best checkpoint, with the command that makes one."""
        if not self.trained:
            raise CheckpointError(
                f"{self.experiment.name} has not been trained in {self.folder}. Run: rrg train {self.command_here}"
            )

    @property
    def gated(self) -> bool:
        """Whether the memory is gated by labels, and so told some when a report is to be written."""
        return self.experiment.memory is not None and self.experiment.memory.gated

    @property
    def weights(self) -> dict[str, Any]:
        """Which weights `best.safetensors` holds: of which experiment and dataset, and the epoch kept with its score.
        Raises `CheckpointError` for a run that is not trained."""
        meta = load_tensors(self.folder / BEST)[1]
        epoch, score = meta["progress"]["best"]
        return {"experiment": meta.get("experiment"), "dataset": meta.get("dataset"), "epoch": epoch, "score": score}

    @property
    def tuned_decoding(self) -> TunedDecoding | None:
        """What was chosen for the run's weights as they are now; None when nothing was, or the run was trained again
        since."""
        choice = read_tuned_decoding(self.folder / DECODING, f"rrg tune {self.command_here}")
        return choice if choice is not None and choice.weights == self.weights else None

    def decoding(self, protocol: Protocol, labels: LabelsAtTest | None = None) -> DecodingConfig:
        """The decoding of a protocol for this run: "published" (beam 3 and nothing else), "greedy", or "tuned", as
        chosen on the validation studies; the labels at test are the experiment's unless said. Raises `CheckpointError`
        when nothing was chosen for these weights, `UnknownNameError` for another protocol."""
        usual = self.experiment.decoding
        if protocol not in PROTOCOLS:
            raise UnknownNameError("decoding", protocol, PROTOCOLS)
        if protocol == "tuned":
            choice = self.tuned_decoding
            if choice is None:
                raise CheckpointError(
                    f"{self.folder} has no decoding chosen for its weights. Run: rrg tune {self.command_here}"
                )
            decoding = choice.chosen.decoding
        else:
            width = 1 if protocol == "greedy" else DecodingConfig().beam_size
            decoding = DecodingConfig(beam_size=width, max_length=usual.max_length)
        return replace(decoding, labels_at_test=labels or usual.labels_at_test)

    def best_decoding(self, labels: LabelsAtTest | None = None) -> DecodingConfig:
        """As was chosen on the validation studies; as the experiment says where nothing was."""
        if self.tuned_decoding is not None:
            return self.decoding("tuned", labels)
        usual = self.experiment.decoding
        return replace(usual, labels_at_test=labels or usual.labels_at_test)

    def split_name(self, split: Split, decoding: DecodingConfig) -> str:
        """The split as the files of its reports and scores name it: with the protocol of a search that is not the
        experiment's own (the hash of one that is none), with the labels that a gated memory is told if they are not."""
        usual, name = self.experiment.decoding, str(split)
        if not decoding.searches_like(usual):
            choice = self.tuned_decoding
            if choice is not None and decoding.searches_like(choice.chosen.decoding):
                name += "-tuned"
            else:
                name += next(
                    (f"-{each}" for each in ("greedy", "published") if decoding.searches_like(self.decoding(each))),
                    f"-decoding-{content_hash(asdict(decoding), 6)}",
                )
        labels = decoding.labels_at_test
        return f"{name}-labels-{labels}" if self.gated and labels != usual.labels_at_test else name

    def reports_file(self, split: Split, decoding: DecodingConfig) -> Path:
        """Where the reports of a split are kept that were searched so."""
        return self.folder / f"reports-{self.split_name(split, decoding)}.csv"

    def reports_mark(self, decoding: DecodingConfig) -> dict[str, Any]:
        """What tells reports that the weights of now write, searched so, from those of other weights. Raises
        `CheckpointError` for a run that is not trained."""
        return {"weights": self.weights, "decoding": asdict(decoding)}

    def reports_mark_file(self, split: Split, decoding: DecodingConfig) -> Path:
        """Where the mark of the reports is kept."""
        return self.reports_file(split, decoding).with_suffix(".json")

    def kept_reports(self, split: Split, decoding: DecodingConfig) -> Path | None:
        """The reports of a split that were searched so, if the weights of now wrote them: trained further, a run has
        other weights under the same names. None for any others, and for those without a readable mark."""
        path, mark = self.reports_file(split, decoding), self.reports_mark_file(split, decoding)
        if not (self.trained and path.is_file() and mark.is_file()):
            return None
        try:
            kept = json.loads(mark.read_text(encoding="utf-8"))
        except ValueError:
            return None
        return path if kept == self.reports_mark(decoding) else None

    def written_reports(self, split: Split, protocol: Protocol | None) -> Path | None:
        """`kept_reports` of a protocol, or as the experiment says (None); None too where nothing was tuned."""
        if protocol == "tuned" and (not self.trained or self.tuned_decoding is None):
            return None
        return self.kept_reports(split, self.decoding(protocol) if protocol else self.experiment.decoding)

    def scores_file(self, split: Split, decoding: DecodingConfig) -> Path:
        """Where their scores are kept."""
        return self.folder / f"scores-{self.split_name(split, decoding)}.json"
