"""Reports of studies: written by a generator, scored while it learns, kept as CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from rrg_lib.data.layouts.csv_tables import given, read_table
from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import AnnotationError, ReportError
from rrg_lib.evaluation.clinical import finding_f1
from rrg_lib.evaluation.nlg import WITHOUT_JAVA, nlg_scores
from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.interface import Captioner, WordTable
from rrg_lib.runtime.distributed import collected
from rrg_lib.runtime.spreadsheet import as_cell, of_cell
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
    alike = {}
    if len(indices) and len({dataset.reference(i) for i in indices}) == 1:
        alike = {"CIDEr": f"{_studies_in_words(indices)}, whose reports are all alike, so that no word is rarer"}
    if dataset.drawn_findings[coded].any():
        return alike
    reason = (
        f"none of the {len(coded)} with expert codes has one of the 13 findings"
        if coded
        else "none of them has an expert code"
    )
    return {**alike, "finding-F1": f"{_studies_in_words(indices)}, {reason}"}


def coded_finding_f1(
    dataset: PreparedDataset, indices: Sequence[int], reports: Mapping[str, str], labeler: ReportLabeler
) -> float:
    """Finding-F1 of reports, by study id, against the expert codes, over those of the studies that have codes: of the
    others nobody knows what they have. NaN where none has codes, or none of them one of the 13 findings."""
    coded = [i for i in indices if dataset.coded[i]]
    if not coded:
        return math.nan
    said = [labeler.label(reports[dataset.ids[i]]) for i in coded]
    return finding_f1(said, dataset.drawn_findings[coded]).micro.f1


def _studies_in_words(indices: Sequence[int]) -> str:
    return f"{len(indices)} validation {'study' if len(indices) == 1 else 'studies'}"


class ValidationScores:
    """A score function for training: greedy reports of the validation studies, all metrics but METEOR, and finding-F1
    against the expert codes, over the studies that have codes. `labels` as in `write_reports`.

    `missing` names what cannot be computed on these studies, with the reason, and `names` what will be: both are known
    before the first step.
    """

    def __init__(self, batches: StudyBatches, labels: np.ndarray | None = None):
        self.batches, self.labels, self.labeler, dataset = batches, labels, ReportLabeler(), batches.dataset
        self.references = {dataset.ids[i]: dataset.reference(i) for i in batches.indices}
        self.missing = missing_scores(dataset, batches.indices)
        self.names = tuple(name for name in VALIDATION_SCORES if name not in self.missing)

    def __call__(self, generator: Captioner) -> dict[str, float]:
        dataset = self.batches.dataset
        config = replace(DecodingConfig(), beam_size=1, max_length=generator.config.max_length)
        reports = write_reports(generator, self.batches, dataset.vocabulary, config, labels=self.labels)
        metrics = [name for name in WITHOUT_JAVA if name not in self.missing]
        scores = {**nlg_scores(self.references, reports, metrics=metrics).corpus}
        if "finding-F1" not in self.missing:
            scores["finding-F1"] = coded_finding_f1(dataset, self.batches.indices, reports, self.labeler)
        return {**scores, "distinct": float(len(set(reports.values())))}


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
    label_of = {} if labels is None else dict(zip(order, torch.as_tensor(np.asarray(labels, np.float32)), strict=True))
    table = table or generator.word_table()
    for batch in tqdm(batches.loader(DECODE_BATCH), desc="writing reports", unit="batch", disable=not progress):
        if not batch.ids:  # this process has no part in the last, small batch
            continue
        rows = None if labels is None else torch.stack([label_of[study] for study in batch.ids]).to(device)
        tokens = generate(generator, batch.inputs.to(device), rows, config, table).tokens
        reports |= {study: vocabulary.decode([0, *ids]) for study, ids in zip(batch.ids, tokens.tolist(), strict=True)}
    reports = collected(reports)
    return {study: reports[study] for study in order}


def save_reports(path: Path, reports: dict[str, str], *, spreadsheet: bool = True) -> None:
    """A CSV of id and report, written whole or not at all. With `spreadsheet` none of them is run as a formula by a
    program that opens it: `as_cell`, which `load_reports` undoes."""
    cell = as_cell if spreadsheet else str
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "report"))
        writer.writerows((cell(study), cell(report)) for study, report in reports.items())


def load_reports(path: Path) -> list[tuple[str, str]]:
    """Pairs of id and report from a CSV with those columns; "nan", "None" or "N/A" is no report.

    Raises `ReportError` naming the file and what is wrong with it, by its line: a row of another length (a comma
    without quotes), a quote that never ends, no id; or no row at all.
    """
    found = []
    try:
        for line, row in read_table(Path(path), ["id", "report"]):
            if not (study := of_cell(row["id"].strip())):
                raise ReportError(f"{path}, line {line}: has no id; expected one study a row. Give it its id")
            found.append((study, of_cell(row["report"]) if given(row["report"]) else ""))
    except AnnotationError as error:
        raise ReportError(f"{error}. Expected a CSV with the columns id and report") from error
    except OSError as error:
        raise ReportError(
            f"{path}: not a readable CSV of reports ({error.strerror or error}); expected the columns id and report. "
            f"Check the path"
        ) from error
    if not found:
        raise ReportError(f"{path}: holds no report; expected a row a study, with the columns id and report")
    return found
