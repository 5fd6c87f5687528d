"""Does it look where the finding is? The share of attention that falls into a finding's box, against chance.

Two ways in which a word of a report points at patches of an image:

    shared slots      the word asks some memory slots, each patch asks some; the overlap of the two is a number a patch
                      (CMN Fig. 5 and 6)
    cross-attention   the decoder's attention over the encoded patches at the step that writes the word, mean over
                      layers and heads

A map over the patches is scored against the boxes of the finding that the word names: how much of it lies inside,
beside the share of the area that the boxes take, which is what a map that knows nothing gets. A map that is the same
for every study can beat that when the finding is always in the same place, so the mean map of the *other* studies is
scored in the same boxes too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rrg_lib.data.study import Box
from rrg_lib.data.text.keyword_labeler import KeywordLabeler
from rrg_lib.errors import ConfigurationError, ReportError
from rrg_lib.evaluation.resampling import Additive, Interval, interval, ratio
from rrg_lib.models.interface import Batch, Captioner, Response

if TYPE_CHECKING:
    from rrg_lib.models.batches import StudyBatches

SHARED_SLOTS, CROSS_ATTENTION = "shared slots", "cross-attention"
#: Reports looked at together.
BATCH = 32
#: Added to an overlap map, so that one without any shared slot says nothing (everywhere alike) instead of being no map
#: at all.
EPSILON = 1e-9


@dataclass(frozen=True)
class BoxScore:
    """One map and one finding's boxes. `inside`: the share of the attention in the boxes. `chance`: their share of the
    area of all views. `auc`: how probable it is that a point in the boxes gets more attention than a point outside
    (ties count half; chance is 0.5)."""

    inside: float
    chance: float
    auc: float

    @property
    def ratio(self) -> float:
        """How many times chance."""
        return self.inside / self.chance


def box_cover(boxes: Sequence[Box], *, views: int = 2, grid: int = 7, size: int = 256) -> np.ndarray:
    """(views, grid, grid): which part of each patch, 0 to 1, lies in at least one of the boxes, whose pixels are those
    of views of side `size`."""
    inside = np.zeros((views, size, size))
    for box in boxes:
        if not 0 <= box.view < views:
            raise ConfigurationError(f"a box lies in view {box.view}, there are {views}")
        inside[box.view, box.y0 : box.y1, box.x0 : box.x1] = 1
    edges = np.linspace(0, size, grid + 1)
    pixels = np.arange(size)
    overlap = np.clip(
        np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None]), 0, None
    )  # (grid, size), pixels
    return overlap @ inside @ overlap.T / (size / grid) ** 2


def box_score(attention: Tensor | np.ndarray, cover: np.ndarray) -> BoxScore:
    """Score a map over the patches, (V·P,) or (V, g, g), nonnegative, of any sum, against `box_cover`. Attention is
    spread evenly within a patch.

    Raises `ConfigurationError` for another number of patches, a map that is negative or sums to 0, or boxes of no area.
    """
    a, c = np.asarray(attention, dtype=float).ravel(), np.asarray(cover, dtype=float).ravel()
    if len(a) != len(c):
        raise ConfigurationError(f"the map has {len(a)} patches, the boxes were laid over {len(c)}")
    if a.min() < 0 or not a.sum() > 0 or not c.sum() > 0:
        raise ConfigurationError(
            "a box score needs a map that is nowhere negative and not 0 everywhere, and boxes with an area"
        )
    return BoxScore(inside=float((a * c).sum() / a.sum()), chance=float(c.mean()), auc=_auc(a, c))


def _auc(attention: np.ndarray, cover: np.ndarray) -> float:
    """P(a_in > a_out) + P(a_in = a_out) / 2, every patch weighted by its area inside and outside."""
    values, group = np.unique(attention, return_inverse=True)
    inside, outside = np.bincount(group, cover, len(values)), np.bincount(group, 1 - cover, len(values))
    below = np.cumsum(outside) - outside
    return (
        float((inside * (below + outside / 2)).sum() / (inside.sum() * outside.sum()))
        if outside.sum() > 0
        else float("nan")
    )


@dataclass(frozen=True)
class FindingMention:
    """A finding that a report asserts, and the places of the words that assert it, counted from 0."""

    finding: str
    words: tuple[int, ...]


def find_mentions(report: str, labeler: KeywordLabeler | None = None) -> list[FindingMention]:
    """The findings that a cleaned report asserts, sentence by sentence, as the labeler reads them: the words of each
    first match."""
    labeler = labeler or KeywordLabeler()
    mentions, first = [], 0
    for sentence in " ".join(report.split()).split(" . "):
        for finding, present in zip(labeler.labels, labeler.label(sentence), strict=True):
            if present:
                match = re.search(labeler.rules[finding], sentence)
                begin, end = (
                    sentence.count(" ", 0, match.start()),
                    sentence.count(" ", 0, len(sentence[: match.end()].rstrip())),
                )
                mentions.append(FindingMention(finding, tuple(range(first + begin, first + end + 1))))
        first += sentence.count(" ") + 2  # its words and the " . " after it
    return mentions


@dataclass(frozen=True)
class Overlap:
    """What a word and each of S patches have in common, mean over heads: `weight`, Σ_i min(w_word,i, w_patch,i), 0 to
    1, and `count`, of K slots."""

    weight: Tensor
    count: Tensor


def shared_slots(word: tuple[Tensor, Tensor], patches: tuple[Tensor, Tensor], slots: int) -> Overlap:
    """The slots that a word and a patch both ask, head by head (slot 7 of one head is not slot 7 of another: each head
    has its own keys).

    Args:
        word: weights and indices (..., h, K) of a text response at the word.
        patches: weights and indices (..., h, S, K) of an image response.
        slots: N.

    Returns (..., S) each.
    """
    (weights, indices), (patch_weights, patch_indices) = word, patches
    asked = weights.new_full((*weights.shape[:-1], slots), -1.0).scatter(
        -1, indices, weights
    )  # (..., h, N), -1 where not asked
    met = (
        asked.unsqueeze(-2).expand(*patch_indices.shape[:-1], slots).gather(-1, patch_indices)
    )  # (..., h, S, K): the word's weight there
    common = torch.minimum(met, patch_weights).clamp(min=0)
    return Overlap(common.sum(-1).mean(-2), (met >= 0).float().sum(-1).mean(-2))


@dataclass
class Looks:
    """What a generator looked at while it wrote B given reports: `cross` (B, T, S), row t for the step that writes word
    t; the memory's responses to the input (text position t + 1 is word t: position 0 is the begin mark) and its number
    of slots, None and 0 without a memory; `logits` (B, T, V + 1) of the same steps."""

    cross: Tensor
    text: Response | None
    image: Response | None
    slots: int
    logits: Tensor

    def cross_map(self, study: int, words: Sequence[int]) -> Tensor:
        """(S,), sums to 1 less what fell on a memory's extra slots."""
        return self.cross[study, list(words)].mean(0)

    def overlap(self, study: int, words: Sequence[int]) -> Overlap:
        """What the words, on average, have in common with each patch, (S,) each. Raises `ConfigurationError` without a
        memory that both ask."""
        if self.text is None:
            why = "'s memory is looked up and not asked" if self.slots else " has no memory"
            raise ConfigurationError(
                f"this generator{why}: no slots to share. Where it looked, its cross-attention says: cross_map"
            )
        at = [word + 1 for word in words]
        word = (
            self.text.weights[study][:, at].transpose(0, 1),
            self.text.indices[study][:, at].transpose(0, 1),
        )  # (W, h, K)
        patches = tuple(x[study].expand(len(at), -1, -1, -1) for x in (self.image.weights, self.image.indices))
        shared = shared_slots(word, patches, self.slots)
        return Overlap(shared.weight.mean(0), shared.count.mean(0))


@torch.no_grad()
def look(generator: Captioner, inputs: Tensor, reports: Sequence[Sequence[int]], labels: Tensor | None = None) -> Looks:
    """Read B reports (word ids without end marks) into a generator beside their inputs, and keep where it looks; its
    mode is put back. `labels` (B, 14) are for a memory gated by them.

    Raises `ConfigurationError` for a generator of a kind that does not attend to the patches.
    """
    generator.config.check_attends()
    tokens = torch.zeros(len(reports), max(map(len, reports)) + 2, dtype=torch.long, device=inputs.device)
    for row, words in enumerate(reports):
        tokens[row, 1 : len(words) + 1] = torch.as_tensor(words)
    training, trace = generator.training, []
    generator.eval()
    try:
        output = generator(Batch(inputs, tokens, (tokens > 0).float(), labels), trace)
    finally:
        generator.train(training)
    cross = torch.stack([weights.mean(1) for weights in trace]).mean(0)  # (B, T, S + E)
    cross = cross[..., : output.patches.shape[1]]  # they come first; what follows has no place in the image
    slots = generator.memory.slots(labels, "text").keys.shape[-2] if generator.memory else 0
    return Looks(cross, output.text, output.image, slots, output.logits)


def box_table(
    generator: Captioner, batches: StudyBatches, reports: Mapping[str, str], labels: np.ndarray | None = None
) -> pd.DataFrame:
    """Every finding that a report asserts and whose boxes are known, scored: a row a mention and a way of looking.

    Columns: study, finding, words, look, `inside`, `chance`, `auc` (`BoxScore`), and `others`, what the mean map of the
    other studies for this finding gets in this study's boxes: where a map is always the same, it equals `inside`. Empty
    for studies without boxes, as most real ones are. A memory gated by labels is told those of `labels` (n, 14), a row
    for each of `batches.indices`, or nothing.

    Raises `ReportError` for a study without a report, or words that are not of the vocabulary.
    """
    dataset, labeler = batches.dataset, KeywordLabeler()
    wanted: list[tuple[int, FindingMention]] = []
    for i in batches.indices:
        if dataset.ids[i] not in reports:
            raise ReportError(f"study {dataset.ids[i]!r} has no report")
        drawn = {box.finding for box in dataset.boxes(i)}
        wanted += [
            (i, mention) for mention in find_mentions(reports[dataset.ids[i]], labeler) if mention.finding in drawn
        ]
    device, rows, maps = generator.device, [], []
    studies = list(dict.fromkeys(i for i, _ in wanted))
    labels_by_study = (
        None
        if labels is None
        else dict(zip(batches.indices, torch.as_tensor(np.asarray(labels, np.float32)), strict=True))
    )
    for start in range(0, len(studies), BATCH):
        chosen = studies[start : start + BATCH]
        word_ids = [_word_ids(reports[dataset.ids[i]], dataset.vocabulary.ids) for i in chosen]
        batch_labels = None if labels_by_study is None else torch.stack([labels_by_study[i] for i in chosen]).to(device)
        looks = look(generator, batches.collate(chosen).inputs.to(device), word_ids, batch_labels)
        for i, mention in wanted:
            if i not in chosen:
                continue
            cover = box_cover([box for box in dataset.boxes(i) if box.finding == mention.finding])
            words = " ".join(reports[dataset.ids[i]].split()[word] for word in mention.words)
            for name in (SHARED_SLOTS, CROSS_ATTENTION) if looks.text is not None else (CROSS_ATTENTION,):
                row = chosen.index(i)
                pointed = (
                    looks.cross_map(row, mention.words)
                    if name == CROSS_ATTENTION
                    else looks.overlap(row, mention.words).weight + EPSILON
                )
                maps.append((pointed / pointed.sum()).cpu().numpy())
                score = box_score(maps[-1], cover)
                rows.append(
                    [dataset.ids[i], mention.finding, words, name, score.inside, score.chance, score.auc, cover]
                )
    table = pd.DataFrame(rows, columns=["study", "finding", "words", "look", "inside", "chance", "auc", "cover"])
    others = np.full(len(table), np.nan)
    for _, group in table.groupby(["finding", "look"]):
        stack = np.stack([maps[k] for k in group.index])
        for k, study in zip(group.index, group["study"], strict=True):
            if (elsewhere := (group["study"] != study).to_numpy()).any():
                others[k] = box_score(stack[elsewhere].mean(0), table.at[k, "cover"]).inside
    return table.drop(columns="cover").assign(others=others)


def _word_ids(report: str, ids: Mapping[str, int]) -> list[int]:
    if unknown := [word for word in report.split() if word not in ids]:
        raise ReportError(
            f"{unknown[0]!r} is not a word of this vocabulary; was the report generated by another model?"
        )
    return [ids[word] for word in report.split()]


def box_summary(table: pd.DataFrame, by: Sequence[str] = ("look", "finding"), *, seed: int = 0) -> pd.DataFrame:
    """`box_table` averaged: mentions n and studies, mean `inside`, `chance`, `others` and `auc`, their `ratio` (mean
    inside / mean chance) with its 95 % bootstrap interval over studies, `low` and `high`. A row for each value of `by`.

    `own` is mean inside / mean others over the mentions that have `others`, with its interval `own_low` and `own_high`:
    above 1, the maps know something of their own study that the mean map of the other studies does not. NaN where no
    finding is mentioned in two studies.
    """
    rows = {}
    for key, group in table.groupby(by[0] if len(by) == 1 else list(by), sort=False):
        means = group[["inside", "chance", "others", "auc"]].mean()
        known = group[group["others"].notna()]
        over_others = known["inside"].mean() / known["others"].mean() if len(known) else np.nan
        ends, own_ends = _ratio_interval(group, "chance", seed), _ratio_interval(known, "others", seed)
        rows[key] = {
            "n": len(group),
            "studies": group["study"].nunique(),
            **means,
            "ratio": means["inside"] / means["chance"],
            **ends._asdict(),
        }
        rows[key] |= {"own": over_others, "own_low": own_ends.low, "own_high": own_ends.high}
    summary = pd.DataFrame.from_dict(rows, orient="index")
    summary.index = pd.MultiIndex.from_tuples(rows, names=list(by)) if rows and len(by) > 1 else summary.index
    return summary


def _ratio_interval(group: pd.DataFrame, against: str, seed: int) -> Interval:
    """The bootstrap interval over studies of mean `inside` / mean `against`; mentions of one study are drawn
    together."""
    if group.empty:
        return Interval(np.nan, np.nan)
    sums = group.groupby("study")[["inside", against]].sum().to_numpy()
    return interval(Additive(sums, lambda s: ratio(s[..., 0], s[..., 1], nothing=np.nan)), seed=seed)
