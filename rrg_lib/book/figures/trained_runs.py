"""What trained runs have to show in the papers' figures: where a word looks, who asks which slot, which prototypes a
word and a patch share.

Each function takes a `Run` that is trained and returns numbers; the figures are drawn elsewhere. Studies to look at are
chosen by a rule, not by how well they come out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rrg_lib.book.figures.memory_querying_responding import WordMaps
from rrg_lib.errors import CheckpointError
from rrg_lib.evaluation.attention import CROSS_ATTENTION, SHARED_SLOTS, box_table, find_mentions, look
from rrg_lib.experiments.presets import PROFILES, Experiment, experiment
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.run_folders import run_folder

#: Which trained profile is shown, the first that is there.
SHOWN_PROFILES = ("gpu", "laptop", "ci")


def finished(experiment: Experiment) -> bool:
    """Whether its training has come to its end in this workspace, with these settings; nothing is made or trained to
    find out."""
    folder = run_folder(experiment)
    files = [folder / name for name in ("best.safetensors", "history.json", "experiment.json")]
    if not all(path.exists() for path in files):
        return False
    history, described = (json.loads(path.read_text(encoding="utf-8")) for path in files[1:])
    return len(history) >= experiment.training.epochs and described["identity"]["experiment"] == experiment.hash


def trained_run(preset: str, dataset: str = "iu_phantom", *, seed: int | None = None) -> Run:
    """The run of a preset, of the largest profile that was trained to its end here. Raises `CheckpointError` naming the
    command when there is none."""
    for profile in SHOWN_PROFILES:
        if finished(settings := experiment(f"{dataset}/{preset}", profile, seed=seed)):
            return Run.of(settings, progress=False, trained=True)
    raise CheckpointError(
        f"{dataset}/{preset} was trained in none of {', '.join(PROFILES)} here; run: rrg train {dataset}/{preset} "
        f"--profile laptop"
    )


@dataclass(frozen=True)
class AttendedStudy:
    """One study to look at: its views (V, H, W), and a row of maps for each finding that its reference report
    asserts."""

    study: str
    views: np.ndarray
    rows: list[WordMaps]


def attended_study(run: Run, *, most: int = 2, study: str | None = None) -> AttendedStudy | None:
    """A test study, its reference read into the generator: by default the one with the most asserted findings in boxes
    between a patch and a fifth of the pictures (first of equals); None where no study has boxes, as real ones have
    none."""
    generator, split, dataset = run.generator().requires_grad_(False), run.batches("test"), run.dataset
    references = {dataset.ids[i]: dataset.reference(i) for i in split.indices}
    given_labels = run.labels_told(split.indices, run.experiment.decoding)
    if study is None:
        table = box_table(generator, split, references, given_labels)
        patches = 2 * run.extractor.patches_per_view
        small = table[table["chance"].between(1 / patches, 0.2)]
        if small.empty:
            return None
        study = small.groupby("study")["finding"].nunique().idxmax()
    at = dataset.index(study)
    report = references[study]
    labels = (
        None
        if given_labels is None
        else torch.as_tensor(given_labels[split.indices.index(at) : split.indices.index(at) + 1]).float()
    )
    seen = look(
        generator, split.collate([at]).inputs, [[dataset.vocabulary.ids[word] for word in report.split()]], labels
    )
    rows = []
    for mention in {m.finding: m for m in reversed(find_mentions(report))}.values():  # a finding's first mention
        boxes = [box for box in dataset.boxes(at) if box.finding == mention.finding]
        maps = {CROSS_ATTENTION: seen.cross_map(0, mention.words).numpy()}
        if seen.text is not None:
            maps = {SHARED_SLOTS: seen.overlap(0, mention.words).weight.numpy(), **maps}
        rows.append(WordMaps(" ".join(report.split()[word] for word in mention.words), boxes, maps))
    return AttendedStudy(study, dataset.views(at), [row for row in rows if row.boxes][:most])


def side_by_side(runs: Mapping[str, Run], study: str) -> AttendedStudy:
    """The same words of one study, the first finding of its report that has boxes, as several systems' decoders look
    while they read them: a row a system, under its name. Cross-attention is the look that all of them have."""
    rows = []
    for whose, run in runs.items():
        shown = attended_study(run, most=1, study=study)
        (row,) = shown.rows
        rows.append(replace(row, maps={CROSS_ATTENTION: row.maps[CROSS_ATTENTION]}, whose=whose))
    return AttendedStudy(study, shown.views, rows)


@dataclass(frozen=True)
class SlotUse:
    """A memory laid open: its matrix (N, d), each modality's share of its asking that goes to a slot (N,), and the slot
    each finding's word weighs most."""

    matrix: np.ndarray
    image: np.ndarray
    text: np.ndarray
    words: Mapping[str, int]


@torch.no_grad()
def slot_use(run: Run, *, most: int = 6) -> SlotUse:
    """Who asks which slot of a CMN over the test studies, patches and (reference) words, and where the words of its
    most frequent findings go."""
    generator, split, dataset = run.generator(), run.batches("test"), run.dataset
    memory = generator.memory
    heads, n = generator.config.heads, memory.config.slots
    counts = {"image": torch.zeros(heads, n), "text": torch.zeros(heads, n)}
    for batch in split.loader(64):
        output, is_word = generator(batch), batch.mask[:, :-1] > 0
        asked = {
            "image": output.image.indices.transpose(0, 1).flatten(1),
            "text": output.text.indices.transpose(0, 1)[:, is_word].flatten(1),
        }
        for who, rows in asked.items():
            counts[who] += torch.stack([torch.bincount(row, minlength=n) for row in rows])
    share = {who: (count / count.sum(-1, keepdim=True)).mean(0).numpy() for who, count in counts.items()}
    mentions = [
        (m.finding, dataset.reference(i).split()[m.words[-1]])
        for i in split.indices
        for m in find_mentions(dataset.reference(i))
    ]
    table = pd.DataFrame(mentions, columns=["finding", "word"])
    words = {}
    for finding in table["finding"].value_counts().index[:most]:
        word = dataset.vocabulary.ids[table.loc[table["finding"] == finding, "word"].mode()[0]]
        query = (
            generator.token_embedding(torch.tensor([[word]])) * math.sqrt(generator.config.d_model)
            + generator.token_positions.code[20]
        )  # at place 20
        response = memory.respond(query, memory.slots(None, "text"))
        words[finding] = int(
            torch.zeros(n).index_add(0, response.indices.flatten(), response.weights.flatten()).argmax()
        )
    return SlotUse(memory.matrices["shared"].numpy(), share["image"], share["text"], words)


@torch.no_grad()
def prototypes(run: Run) -> dict[str, np.ndarray]:
    """XProNet's prototypes (C·N_p, d) as the queries see them (after the linear map), before and after training."""
    memories = {"before training": run.new_generator().memory, "trained": run.generator().memory}
    return {name: memory.reduction(memory.prototypes).numpy() for name, memory in memories.items()}


def meetings(run: Run, *, best: int = 10, every: int = 4) -> pd.DataFrame:
    """Of the `best` prototypes that a word asks first and those that a patch does, how many are the same: a row for
    each number of labels of a study.

    Columns: mean and middle half (`low`, `high`) over words, patches and heads of a study; `other`, with the patches of
    the next study that has the same labels; `open` prototypes and what two would share who choose blindly among them
    (`chance`); `studies`. Every `every`-th test study is read.
    """
    table = meetings_of_studies(run, best=best, every=every)
    counts = table["labels"].value_counts()
    return (
        table.groupby("labels")
        .mean()
        .assign(studies=counts)[["mean", "low", "high", "other", "studies", "open", "chance"]]
    )


@torch.no_grad()
def meetings_of_studies(run: Run, *, best: int = 10, every: int = 4) -> pd.DataFrame:
    """The same, a row a study, with its number of `labels`."""
    generator, split = run.generator(), run.batches("test")
    rows = np.arange(0, len(split.indices), every)
    gates = np.asarray(run.labels_told(split.indices, run.experiment.decoding))[rows]
    batch = split.collate([split.indices[i] for i in rows])
    output = generator(replace(batch, labels=torch.as_tensor(gates).float()))
    config = generator.memory.config
    patches, words = (
        _chosen(part.indices, best, config.classes * config.prototypes + 1) for part in (output.image, output.text)
    )
    is_word, records = batch.mask[:, :-1] > 0, []
    for i, gate in enumerate(gates):
        alike = np.flatnonzero((gates == gate).all(axis=1))
        j = alike[(np.flatnonzero(alike == i)[0] + 1) % len(alike)]  # the next study behind the same gate
        met = words[i][:, is_word[i]] @ patches[[i, j]].transpose(-2, -1)  # (2, h, words, S)
        low, high = np.quantile(met[0].numpy(), [0.25, 0.75])
        records.append(
            {
                "labels": gate.sum(),
                "mean": met[0].mean().item(),
                "low": low,
                "high": high,
                "other": met[1].mean().item() if j != i else np.nan,
            }
        )
    table = pd.DataFrame(records)
    open_ = table["labels"] * config.prototypes
    return table.assign(open=open_, chance=best * best / np.maximum(open_, best))


def _chosen(indices: Tensor, best: int, n: int) -> Tensor:
    """(…, gamma) slots, best first -> (…, n) ones at the `best` first."""
    return torch.zeros(*indices.shape[:-1], n).scatter(-1, indices[..., :best], 1.0)
