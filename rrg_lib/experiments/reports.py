"""Reports of studies: written by a generator, scored while it learns, kept as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ReportError
from rrg_lib.evaluation.clinical import finding_f1
from rrg_lib.evaluation.nlg import WITHOUT_JAVA, nlg_scores
from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.interface import Captioner, WordTable
from rrg_lib.runtime.distributed import collected
from rrg_lib.runtime.workspace import written_whole

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset

#: Studies decoded at once.
DECODE_BATCH = 64


#: What `ValidationScores` computes, where it can.
VALIDATION_SCORES = (*WITHOUT_JAVA, "finding-F1", "distinct")


def missing_scores(dataset: PreparedDataset, indices: Sequence[int]) -> dict[str, str]:
    """Which of `VALIDATION_SCORES` cannot be computed on these studies, each with the reason."""
    coded = [i for i in indices if dataset.coded[i]]
    if dataset.drawn_findings[coded].any():
        return {}
    has = (
        f"none of the {len(coded)} with expert codes has one of the 13 findings"
        if coded
        else "none of them has an expert code"
    )
    return {"finding-F1": f"{len(indices)} validation {'study' if len(indices) == 1 else 'studies'}, {has}"}


class ValidationScores:
    """A score function for training: greedy reports of the validation studies, all metrics but METEOR, and finding-F1
    against the expert codes, over the studies that have codes. `labels` as in `write_reports`.

    `missing` names what cannot be computed on these studies, with the reason, and `names` what will be: both are known
    before the first step.
    """

    def __init__(self, batches: StudyBatches, labels: np.ndarray | None = None):
        self.batches, self.labels, self.labeler, dataset = batches, labels, ReportLabeler(), batches.dataset
        self.references = {dataset.ids[i]: dataset.reference(i) for i in batches.indices}
        self.coded = [i for i in batches.indices if dataset.coded[i]]
        self.truth = dataset.drawn_findings[self.coded]
        self.missing = missing_scores(dataset, batches.indices)
        self.names = tuple(name for name in VALIDATION_SCORES if name not in self.missing)

    def __call__(self, generator: Captioner) -> dict[str, float]:
        dataset = self.batches.dataset
        config = replace(DecodingConfig(), beam_size=1, max_length=generator.config.max_length)
        reports = write_reports(generator, self.batches, dataset.vocabulary, config, labels=self.labels)
        scores = {**nlg_scores(self.references, reports, metrics=WITHOUT_JAVA).corpus}
        if "finding-F1" not in self.missing:
            said = [self.labeler.label(reports[dataset.ids[i]]) for i in self.coded]
            scores["finding-F1"] = finding_f1(said, self.truth).micro.f1
        return {**scores, "distinct": float(len(set(reports.values())))}


#: The name that chapters call it by.
validation_scores = ValidationScores


def write_reports(
    generator: Captioner,
    batches: StudyBatches,
    vocabulary: Vocabulary,
    config: DecodingConfig,
    *,
    labels: np.ndarray | None = None,
    table: WordTable | None = None,
    progress: bool = False,
) -> dict[str, str]:
    """Reports by study id, in the order of the studies. A memory gated by labels is told those of `labels` (n, 14), a
    row for each of `batches.indices`, or nothing. The labels of the batches are never passed: they are not known when a
    report is to be written. Processes that were launched together write each its `share` of the batches and all get all
    reports. `table`: the generator's `word_table`, for who writes many times with the same weights."""
    device, reports = generator.device, {}
    order = [batches.dataset.ids[i] for i in batches.indices]
    told = None if labels is None else dict(zip(order, torch.as_tensor(np.asarray(labels, np.float32)), strict=True))
    table = table or generator.word_table()
    for batch in tqdm(batches.loader(DECODE_BATCH), desc="writing reports", unit="batch", disable=not progress):
        if not batch.ids:  # this process has no part in the last, small batch
            continue
        rows = None if told is None else torch.stack([told[study] for study in batch.ids]).to(device)
        found = generate(generator, batch.inputs.to(device), rows, config, table)
        reports |= {
            study: vocabulary.decode([0, *ids]) for study, ids in zip(batch.ids, found.tokens.tolist(), strict=True)
        }
    reports = collected(reports)
    return {study: reports[study] for study in order}


def save_reports(path: Path, reports: dict[str, str]) -> None:
    """A CSV of id and report, written whole or not at all."""
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "report"))
        writer.writerows(reports.items())


def load_reports(path: Path) -> list[tuple[str, str]]:
    """Pairs of id and report from a CSV with those columns. Raises `ReportError` naming the file and what is wrong with
    it."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"id", "report"} <= set(rows.fieldnames or ()):
                raise ReportError(
                    f"{path}: expected a CSV with the columns id and report, found "
                    f"{', '.join(rows.fieldnames or ['nothing'])}"
                )
            return [(row["id"], row["report"] or "") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReportError(f"{path}: not a readable CSV of reports ({error})") from error
