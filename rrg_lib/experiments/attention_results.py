"""Where a trained system looks while it reads the words of a finding, measured against the boxes of the finding,
printed and stored.

Two kinds of words, because each answers another question. The *reference's*: every system reads the same words about
the same studies, so systems compare. Its *own*: only what it wrote, and only findings that are there, so each system is
measured on its own successes. Only drawn studies have boxes. Stored measurements are in `data/attention`, one file a
run, named like those of `data/results`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from rrg_lib.data.study import Split
from rrg_lib.data.text.keyword_labeler import KeywordLabeler
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.attention import SHARED_SLOTS, box_summary, box_table
from rrg_lib.experiments.presets import Experiment
from rrg_lib.experiments.reports import load_reports
from rrg_lib.experiments.results import stored_suffix
from rrg_lib.experiments.run import Run, run_folder
from rrg_lib.models.decoding import LabelsAtTest, Protocol
from rrg_lib.models.memory import CMNConfig
from rrg_lib.runtime import package_data
from rrg_lib.runtime.checkpoint import load_tensors
from rrg_lib.runtime.device import on_device
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.workspace import write_json

REFERENCE, OWN = "reference", "own"
#: Seed of the intervals, which are over studies.
SEED = 0
#: How a table marks the way of looking that cannot mean anything: BASE+MEM's patches and words ask two different
#: memories.
CONTROL = ", two memories: a control"


@dataclass(frozen=True, eq=False)
class AttentionQuality:
    """One system: `rows` with the columns of `box_summary` beside words, look and finding ("all" or a drawn finding),
    and what it was measured with."""

    name: str
    experiment: Experiment
    rows: pd.DataFrame
    provenance: dict[str, Any]

    @property
    def system(self) -> str:
        """Dataset and preset, profile, and what labels a gated memory was told."""
        told = (
            self.provenance["decoding"]["labels_at_test"]
            if self.experiment.memory is not None and self.experiment.memory.gated
            else None
        )
        return f"{self.experiment.name}, {self.experiment.profile}" + (f", labels: {told}" if told else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN becomes null."""
        rows = json.loads(self.rows.to_json(orient="records", double_precision=15))
        return {"rows": rows, "run": self.provenance}


def measure(
    run: Run, protocol: Protocol = "greedy", split: Split = "test", *, labels: LabelsAtTest | None = None
) -> AttentionQuality:
    """Scores the looks of the run's best generator on a split, over the words of the references and over its own
    reports in a protocol of decoding, which are written if there are none yet. A memory gated by labels is told those
    of the experiment unless `labels` says otherwise.

    Raises `ConfigurationError` for studies without boxes and for a generator that does not attend to patches,
    `CheckpointError` for a run that is not trained.
    """
    run.experiment.generator.check_attends()
    config, batches = run.decoding(protocol, labels), run.batches(split)
    ids = [run.dataset.ids[i] for i in batches.indices]
    if not any(run.dataset.boxes(i) for i in batches.indices):
        raise ConfigurationError(
            f"the {split} studies of {run.experiment.dataset} have no boxes: only drawn studies say where a finding is"
        )
    generator = run.generator()
    own = run.folder / f"reports-{run.named(split, config)}.csv"
    written = dict(load_reports(own)) if own.is_file() else run.write(split, decoding=config)
    told = run.labels.at_test(batches.indices, config.labels_at_test) if run.labels else None
    reports = {
        REFERENCE: {name: run.dataset.reference(i) for name, i in zip(ids, batches.indices, strict=True)},
        OWN: written,
    }
    rows = []
    for words, texts in reports.items():
        with on_device(generator):
            table = box_table(generator, batches, texts, told)
        each = [*table.groupby("finding", sort=True)]
        for finding, group in [("all", table), *each] if len(table) else ():
            summary = box_summary(group, by=["look"], seed=SEED).rename_axis("look").reset_index()
            rows.append(summary.assign(words=words, finding=finding))
    labeler = KeywordLabeler()
    epoch, score = load_tensors(run.folder / "best.safetensors")[1]["progress"]["best"]
    provenance = {
        **run.provenance(),
        "checkpoint": {"epoch": epoch, "score": score, "chosen_on": "val"},
        "decoding": {"labels_at_test": config.labels_at_test},
        "protocol": protocol,
        "studies": {"split": split, "n": len(ids), "hash": content_hash(ids)},
        "reports": {words: content_hash(sorted(texts.items())) for words, texts in reports.items()},
        "labeler": {"version": labeler.version, "hash": labeler.hash},
        "intervals": {"level": 0.95, "seed": SEED, "over": "studies"},
    }
    columns = ["words", "look", "finding"]
    frame = pd.concat(rows, ignore_index=True)
    name = (
        run_folder(run.experiment).name
        + stored_suffix(run, protocol, config)
        + ("" if split == "test" else f"-{split}")
    )
    return AttentionQuality(name, run.experiment, frame[columns + [c for c in frame if c not in columns]], provenance)


def keep(quality: AttentionQuality, folder: Path) -> Path:
    """Write a measurement into `folder`, named like the run's result; whole or not at all."""
    path = Path(folder) / f"{quality.name}.json"
    write_json(path, quality.to_json())
    return path


def stored(profile: str | None = None, dataset: str | None = None) -> list[AttentionQuality]:
    """The shipped measurements, of one profile or one dataset if named, in the order of their names."""
    found = []
    for name, data in sorted(package_data.attention().items()):
        frame = pd.DataFrame(data["rows"])
        numbers = frame.columns.difference(["words", "look", "finding"])
        found.append(
            AttentionQuality(
                name,
                Experiment.from_json(data["run"]["experiment"]),
                frame.assign(**frame[numbers].astype(float)),
                data["run"],
            )
        )
    return [q for q in found if profile in (None, q.experiment.profile) and dataset in (None, q.experiment.dataset)]


def values(measured: Sequence[AttentionQuality], finding: str = "all") -> pd.DataFrame:
    """A row a system, kind of words and way of looking: the mean over the system's seeds; `low`, `high`, `own_low` and
    `own_high` are the lowest and the highest bounds of the seeds. Columns as `box_summary`'s, and `seeds`.

    Raises `ConfigurationError` for measurements of other studies, drawings or words: their rows do not belong in one
    table.
    """
    alike = {
        json.dumps(
            [
                q.provenance["studies"],
                q.provenance["reports"][REFERENCE],
                q.provenance["labeler"],
                q.provenance["identity"]["dataset"],
            ]
        )
        for q in measured
    }
    if len(alike) > 1:
        raise ConfigurationError(
            f"{', '.join(q.name for q in measured)} were not measured alike; make one table for each kind"
        )
    rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for quality in measured:
        control = isinstance(quality.experiment.memory, CMNConfig) and not quality.experiment.memory.shared
        for row in quality.rows[quality.rows["finding"] == finding].to_dict("records"):
            look = row["look"] + (CONTROL if control and row["look"] == SHARED_SLOTS else "")
            rows.setdefault((quality.system, row["words"], look), []).append(row)
    ends = {"low": min, "own_low": min, "high": max, "own_high": max}
    found = {
        key: {
            c: ends.get(c, fmean)([row[c] for row in seeds]) for c in seeds[0] if c not in ("words", "look", "finding")
        }
        | {"seeds": len(seeds)}
        for key, seeds in rows.items()
    }
    frame = pd.DataFrame.from_dict(found, orient="index")
    frame.index = pd.MultiIndex.from_tuples(found, names=["system", "words", "look"]) if found else frame.index
    return frame


def markdown(measured: Sequence[AttentionQuality]) -> str:
    """The table for a terminal or a notebook, and how to read it."""
    rows = []
    for key, row in values(measured).iterrows():
        chance = f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        own = "–" if np.isnan(row["own"]) else f"{row['own']:.2f} [{row['own_low']:.2f}, {row['own_high']:.2f}]"
        rows.append(
            [*key, chance, own, f"{row['auc']:.2f}", f"{row['n']:.0f}", f"{row['studies']:.0f}", f"{row['seeds']:.0f}"]
        )
    header = [
        "system",
        "words",
        "look",
        "times chance",
        "times the other studies' map",
        "AUC",
        "mentions",
        "studies",
        "seeds",
    ]
    lines = markdown_table(header, rows)
    lines += [
        "",
        "- times chance: the share of a finding word's attention in the finding's boxes / the boxes' share of the "
        "views; 1 is a map that knows nothing",
        "- times the other studies' map: the same / what the mean map of the other studies with this finding has "
        "there; 1 is a habit",
        f"- words: of the {REFERENCE}s (the same for all systems) or of the system's {OWN} reports, where they name a "
        f"finding that is there",
        "- in brackets: 95% bootstrap intervals over studies; of several seeds the lowest and the highest bound. The "
        "images are drawn.",
    ]
    return "\n".join(lines) + "\n"


def label_kinds(run: Run) -> tuple[LabelsAtTest, ...]:
    """What to tell a memory when its looks and reports are measured: for one that is gated by labels those that a
    classifier sees, none, and the study's own, one after another; the experiment's own for any other, which is told
    none."""
    return ("classifier", "none", "reference") if run.labels else (run.experiment.decoding.labels_at_test,)
