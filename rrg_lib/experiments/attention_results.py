"""Where a trained system looks while it reads the words of a finding, measured against the boxes of the finding,
printed and stored.

Two kinds of words, because each answers another question. The *reference's*: every system reads the same words about
the same studies, so systems compare. Its *own*: only what it wrote, and only findings that are there, so each system is
measured on its own successes. Drawn studies have boxes, and those of PadChest-GR, whose radiologists marked what their
sentences say; others have none. Stored measurements are in `data/attention`, one file a
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
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.run_folders import BEST, RunFolder
from rrg_lib.experiments.stored_runs import StoredRun, check_alike, file_stem, selected
from rrg_lib.models.decoding import LabelsAtTest, Protocol
from rrg_lib.models.memory import CMNConfig
from rrg_lib.runtime import package_data
from rrg_lib.runtime.checkpoint import load_tensors
from rrg_lib.runtime.device import on_device
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.workspace import write_json

REFERENCE, OWN = "reference", "own"
#: The datasets whose images the library draws.
_DRAWN_DATASETS = ("iu_phantom", "phantom")
#: Seed of the intervals, which are over studies.
SEED = 0
#: How a table marks the way of looking that cannot mean anything: BASE+MEM's patches and words ask two different
#: memories.
CONTROL = ", two memories: a control"
#: What a row is of; its other columns are numbers.
_KEYS = ["words", "look", "finding"]


@dataclass(frozen=True, eq=False)
class AttentionQuality(StoredRun):
    """One system: `rows` with the columns of `box_summary` beside words, look and finding ("all" or a drawn finding),
    and what it was measured with."""

    rows: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN becomes null."""
        rows = json.loads(self.rows.to_json(orient="records", double_precision=15))
        return {"rows": rows, "run": self.provenance}


def measure_attention(
    run: Run, protocol: Protocol = "greedy", split: Split = "test", *, labels: LabelsAtTest | None = None
) -> AttentionQuality:
    """Scores the looks of the run's best generator on a split, over the words of the references and over its own
    reports in a protocol of decoding, which are written if there are none of these weights yet. A memory gated by
    labels is told those of the experiment unless `labels` says otherwise.

    Raises `ConfigurationError` for studies without boxes or whose reports name none of the findings in them, and for a
    generator that does not attend to patches, `CheckpointError` for a run that is not trained.
    """
    run.experiment.generator.check_attends()
    decoding, batches = run.decoding(protocol, labels), run.batches(split)
    ids = [run.dataset.ids[i] for i in batches.indices]
    if not any(run.dataset.boxes(i) for i in batches.indices):
        raise ConfigurationError(
            f"the {split} studies of {run.experiment.dataset} have no boxes: drawn studies and those of padchest_gr "
            f"say where a finding is"
        )
    generator = run.generator()
    kept = run.kept_reports(split, decoding)
    reports = {
        REFERENCE: {name: run.dataset.reference(i) for name, i in zip(ids, batches.indices, strict=True)},
        OWN: dict(load_reports(kept)) if kept else run.write(split, decoding=decoding),
    }
    labels_told = run.labels_told(batches.indices, decoding)
    rows = []
    for words, texts in reports.items():
        with on_device(generator):
            table = box_table(generator, batches, texts, labels_told)
        each = [*table.groupby("finding", sort=True)]
        for finding, group in [("all", table), *each] if len(table) else ():
            summary = box_summary(group, by=["look"], seed=SEED).rename_axis("look").reset_index()
            rows.append(summary.assign(words=words, finding=finding))
    labeler = KeywordLabeler()
    if not rows:
        raise ConfigurationError(
            f"no word of the {split} reports names a finding that has a box (English words, by {labeler.version}), so "
            f"there is nothing to score; expected at least one. Try another split, or the reports in English"
        )
    epoch, score = load_tensors(run.folder / BEST)[1]["progress"]["best"]
    provenance = {
        **run.provenance(),
        "checkpoint": {"epoch": epoch, "score": score, "chosen_on": "val"},
        "decoding": {"labels_at_test": decoding.labels_at_test},
        "protocol": protocol,
        "studies": {"split": split, "n": len(ids), "hash": content_hash(ids)},
        "reports": {words: content_hash(sorted(texts.items())) for words, texts in reports.items()},
        "labeler": {"version": labeler.version, "hash": labeler.hash},
        "intervals": {"level": 0.95, "seed": SEED, "over": "studies"},
    }
    frame = pd.concat(rows, ignore_index=True)
    frame = frame[_KEYS + [column for column in frame if column not in _KEYS]]
    return AttentionQuality(file_stem(run, protocol, decoding, split), run.experiment, provenance, frame)


def store_attention(quality: AttentionQuality, folder: Path) -> Path:
    """Write a measurement into `folder`, named like the run's result; whole or not at all."""
    path = Path(folder) / f"{quality.name}.json"
    write_json(path, quality.to_json())
    return path


def stored_attention(
    profile: str | None = None, dataset: str | None = None, protocol: str | None = None
) -> list[AttentionQuality]:
    """The shipped measurements, of one profile, one dataset or one protocol if named, in the order of their names."""
    measurements = []
    for name, data in sorted(package_data.records("attention").items()):
        frame = pd.DataFrame(data["rows"])
        frame = frame.assign(**frame[frame.columns.difference(_KEYS)].astype(float))
        experiment = Experiment.from_json(data["run"]["experiment"])
        measurements.append(AttentionQuality(name, experiment, data["run"], frame))
    return selected(measurements, profile, dataset, protocol)


def attention_table(measurements: Sequence[AttentionQuality], finding: str = "all") -> pd.DataFrame:
    """A row a system, kind of words and way of looking: the mean over the system's seeds; `low`, `high`, `own_low` and
    `own_high` are the lowest and the highest bounds of the seeds. Columns as `box_summary`'s, and `seeds`.

    Raises `ConfigurationError` for measurements of other studies, drawings or words: their rows do not belong in one
    table.
    """
    check_alike(measurements, _conditions)
    rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for quality in measurements:
        control = isinstance(quality.experiment.memory, CMNConfig) and not quality.experiment.memory.shared
        for row in quality.rows[quality.rows["finding"] == finding].to_dict("records"):
            look = row["look"] + (CONTROL if control and row["look"] == SHARED_SLOTS else "")
            rows.setdefault((quality.system, row["words"], look), []).append(row)
    ends = {"low": min, "own_low": min, "high": max, "own_high": max}
    joined = {
        key: {c: ends.get(c, fmean)([row[c] for row in seeds]) for c in seeds[0] if c not in _KEYS}
        | {"seeds": len(seeds)}
        for key, seeds in rows.items()
    }
    frame = pd.DataFrame.from_dict(joined, orient="index")
    frame.index = pd.MultiIndex.from_tuples(joined, names=["system", "words", "look"]) if joined else frame.index
    return frame


def _conditions(quality: AttentionQuality) -> list[Any]:
    """What two measurements must have in common to stand in one table."""
    of = quality.provenance
    return [of["studies"], of["reports"][REFERENCE], of["labeler"], of["identity"]["dataset"]]


def attention_markdown(measurements: Sequence[AttentionQuality]) -> str:
    """The table for a terminal or a notebook, and how to read it."""
    drawn, rows = {quality.experiment.dataset for quality in measurements} <= set(_DRAWN_DATASETS), []
    for key, row in attention_table(measurements).iterrows():
        chance = f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        times_others = (
            "–" if np.isnan(row["own"]) else f"{row['own']:.2f} [{row['own_low']:.2f}, {row['own_high']:.2f}]"
        )
        rows.append(
            [
                *key,
                chance,
                times_others,
                f"{row['auc']:.2f}",
                f"{row['n']:.0f}",
                f"{row['studies']:.0f}",
                f"{row['seeds']:.0f}",
            ]
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
        "- in brackets: 95% bootstrap intervals over studies; of several seeds the lowest and the highest bound. "
        + ("The images are drawn." if drawn else "The boxes are those that the collection's readers marked."),
    ]
    return "\n".join(lines) + "\n"


def label_kinds(run: RunFolder) -> tuple[LabelsAtTest, ...]:
    """What to tell a memory when its looks and reports are measured: for one that is gated by labels those that a
    classifier sees, none, and the study's own, one after another; the experiment's own for any other, which is told
    none."""
    return ("classifier", "none", "reference") if run.gated else (run.experiment.decoding.labels_at_test,)
