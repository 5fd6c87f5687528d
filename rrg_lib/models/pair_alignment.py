"""Pair alignment: a report and its own image are pulled together in one space, beside any memory (the student paper;
its row is CMN + this).

    T' = logits W_p + b          (B, L, V + 1) -> (B, L, d_image)  what it is about to say, in an image feature's size
    a  = softmax_i(w · T'_i)     (B, L)                            attention pooling over the report's positions
    t  = (Σ_i a_i T'_i) / ‖·‖    (B, d_image)
    v  = mean_s x_s / ‖·‖        (B, d_image)                      the study's image features, pooled

    printed     L = mean_i (1 − t_i · v_i)                                   matching pairs alone
    described   L + mean_{i≠j} max(0, t_i · v_j − margin)                    and pairs that don't match are pushed apart

Paper and ours (nothing was released): the paper says that non-matching pairs are pushed apart, and prints a formula
that has only the matching ones. That formula is least, 0, when *every* report and *every* image is one and the same
vector, and a model that learns both sides finds this: it collapses. So `form="positives"` is what is printed and
`form="margin"`, ours by default, adds the term that the text describes. Which image features the paper pools, and the
weight of the loss, could not be found out: both are settings.

The logits come from a decoder that has seen the image, so a report may be near its image because it was *told* it.
Whether alignment made reports and images comparable is to be measured with a neutral image in the decoder
(`rrg_lib.experiments.image_report_retrieval`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Interval
from torch import Tensor, nn

from rrg_lib.models.interface import Batch, Output
from rrg_lib.runtime.distributed import gathered
from rrg_lib.runtime.settings import NonNegative, check_settings


@dataclass(frozen=True)
class PairConfig:
    """`form`: "positives" as printed, "margin" as described (the default), "infonce" the symmetric contrastive loss of
    CLIP, for comparison.

    `image`: which features stand for the image, their mean over positions. "encoded": the encoder's output, which
    learns with the loss; "patches": the visual extractor's, which do not learn when it is frozen. `margin` is the
    cosine above which a non-matching pair costs anything; `temperature` divides the cosines of "infonce"; `weight`
    multiplies the loss beside the report's cross-entropy.
    """

    form: Literal["positives", "margin", "infonce"] = "margin"
    image: Literal["encoded", "patches"] = "encoded"
    weight: NonNegative = 1.0
    margin: Annotated[float, Interval(ge=-1, lt=1)] = 0.0
    temperature: Annotated[float, Gt(0)] = 0.07

    def __post_init__(self):
        check_settings(self, "pair")

    def build(self, logits: int, d_model: int, d_vf: int) -> PairAlignment:
        """The module for a generator with `logits` = V + 1, encoded patches of size `d_model` and visual features of
        size `d_vf`."""
        return PairAlignment(self, logits, d_model if self.image == "encoded" else d_vf)


class PairAlignment(nn.Module):
    """The trained part: W_p, b and w. It only listens: training asks for `losses`, and writing a report never runs
    it."""

    def __init__(self, config: PairConfig, logits: int, d_image: int):
        super().__init__()
        self.config = config
        self.projection = nn.Linear(logits, d_image)
        self.pooling = nn.Linear(d_image, 1, bias=False)  # w; a bias would move all scores alike

    def report(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, L, V + 1), mask (B, L) True at the report's positions -> unit vectors (B, d_image): Student paper,
        projection, Student paper, attention pooling, and Student paper, normalisation. A row without a position gives
        its mean."""
        projected = self.projection(logits)  # T' (B, L, d_image)
        scores = self.pooling(projected).squeeze(-1).float()  # (B, L)
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=1)  # (B, L)
        return F.normalize((weights[..., None] * projected).sum(dim=1).float(), dim=-1)

    def image(self, output: Output) -> Tensor:
        """What the generator saw -> unit vectors (B, d_image): the mean of the patches, Student paper,
        normalisation."""
        features = output.encoded if self.config.image == "encoded" else output.patches  # (B, S, d_image)
        return F.normalize(features.mean(dim=1).float(), dim=-1)

    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """{"pair": the weighted loss}. A batch of one study has no pair that doesn't match: only its matching term is
        left (0 for "infonce")."""
        mask = batch.mask[:, 1:] > 0  # the positions that report_loss counts: every word and the final 0
        # not a matrix product, which mixed precision would round to some two digits
        reports, images = gathered(self.report(output.logits, mask)), gathered(self.image(output))
        cosines = (reports[:, None] * images).sum(dim=-1)  # (B, B): reports × images
        return {"pair": self.config.weight * pair_loss(cosines, same_report(gathered(batch.tokens)), self.config)}


def same_report(tokens: Tensor) -> Tensor:
    """(B, T) -> (B, B), True where two studies have the same report, word for word: a study's own is among them. One
    normal report in two of IU X-Ray stands more than once, and a report doesn't fail to match an image because another
    study has it too."""
    return (tokens[:, None] == tokens[None]).all(dim=-1)


def pair_loss(cosines: Tensor, same: Tensor, config: PairConfig) -> Tensor:
    """The loss of reports against images, cosines (B, B) with the matching pairs on the diagonal; pairs of the `same`
    report (B, B) are not negatives. Student paper, pair loss: `form` "positives" is as printed."""
    matching = cosines.diagonal()
    if config.form == "infonce":
        pairs = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
        scores = (cosines / config.temperature).masked_fill(same & ~pairs, -torch.inf)
        target = torch.arange(len(cosines), device=cosines.device)
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
    loss = (1 - matching).mean()
    if config.form == "margin":
        negative = (~same).to(cosines.dtype)
        loss = loss + ((cosines - config.margin).relu() * negative).sum() / negative.sum().clamp(min=1)
    return loss
