"""Which disease? A small network on the features of a trained report generator (the student paper, its Table 4).

    features    image (B, d) and report (B, d), concatenated → MLP → logits (B, C)
    L           cross-entropy + focal loss
    focal       −α (1 − p_t)^γ log p_t                 (Lin et al. 2017, Eq. 5), p_t the probability given to the truth

The paper classifies a study into one class (`labels="single"`: softmax). Radiographs show several findings at once, so
`labels="multi"` (a sigmoid a class) is here too. A report that a radiologist wrote *contains the answer*: what
`inputs="report"` or "both" reach with it says how well the words are read, not how well a disease is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.layers import Dropout
from rrg_lib.runtime.settings import DropShare, NonNegative, Size, check_settings

Inputs = Literal["image", "report", "both"]
Labels = Literal["single", "multi"]


@dataclass(frozen=True)
class ClassifierConfig:
    """`loss`: "ce+focal" as printed, "ce" the paper's row without focal loss, "focal" alone. `gamma` 0 and `alpha` None
    make the focal loss the cross-entropy.

    `alpha` of "single" labels: a factor on the whole term, or a tuple of one for each class. Of "multi" labels, as in
    Lin et al.: a positive counts `alpha`, a negative 1 − `alpha`. The paper names neither γ nor α; γ = 2 is Lin et
    al.'s.
    """

    inputs: Inputs = "both"
    labels: Labels = "single"
    loss: Literal["ce", "focal", "ce+focal"] = "ce+focal"
    gamma: NonNegative = 2.0
    alpha: NonNegative | tuple[NonNegative, ...] | None = None
    hidden: Size = 128
    dropout: DropShare = 0.3

    def __post_init__(self):
        check_settings(self)
        alphas = self.alpha if isinstance(self.alpha, tuple) else () if self.alpha is None else (self.alpha,)
        if self.labels == "multi" and any(a > 1 for a in alphas):
            raise ConfigurationError(
                f"alpha is {self.alpha}: of multi labels it is a share, at most 1, for example alpha=0.25"
            )


class DiseaseClassifier(nn.Module):
    """Image and report features, standardised by the training studies' mean and deviation, concatenated, through an MLP
    with one hidden layer: Student paper, classification."""

    def __init__(self, config: ClassifierConfig, d_image: int, d_report: int, classes: int):
        super().__init__()
        self.config = config
        width = d_image * (config.inputs != "report") + d_report * (config.inputs != "image")
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.mlp = nn.Sequential(
            nn.Linear(width, config.hidden), nn.ReLU(), Dropout(config.dropout), nn.Linear(config.hidden, classes)
        )

    def fused(self, image: Tensor, report: Tensor) -> Tensor:
        """(B, d_image), (B, d_report) -> what `inputs` asks for, side by side."""
        parts = {"image": (image,), "report": (report,), "both": (image, report)}[self.config.inputs]
        return torch.cat(parts, dim=-1)

    @torch.no_grad()
    def standardise(self, image: Tensor, report: Tensor) -> None:
        """Take mean and deviation from these studies: the training studies. A number that never changes is left
        alone."""
        fused = self.fused(image, report)
        std = fused.std(dim=0, unbiased=False)
        self.mean.copy_(fused.mean(dim=0))
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, image: Tensor, report: Tensor) -> Tensor:
        """(B, C) logits."""
        return self.mlp((self.fused(image, report) - self.mean) / self.std)


def focal_loss(
    logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float | tuple[float, ...] | None = None
) -> Tensor:
    """The mean focal loss (Lin et al. 2017, Eq. 5) of logits (B, C).

    `targets` (B,) int64 are single labels: p_t is the softmax of the true class and the mean is over studies. `targets`
    (B, C), zeros and ones, are multi labels: p_t is the sigmoid of each decision and the mean is over studies and
    classes. `alpha` as in `ClassifierConfig`.
    """
    if targets.dim() == 1:
        log_p = logits.log_softmax(dim=-1).gather(-1, targets[:, None]).squeeze(-1)  # (B,)
        factor = 1.0 if alpha is None else logits.new_tensor(alpha)[targets] if isinstance(alpha, tuple) else alpha
    else:
        log_p = F.logsigmoid(torch.where(targets > 0, logits, -logits))  # (B, C)
        a = 1.0 if alpha is None else logits.new_tensor(alpha)
        factor = 1.0 if alpha is None else torch.where(targets > 0, a, 1 - a)
    missed = (-torch.expm1(log_p)).clamp(min=1e-12)  # 1 − p_t; at 0 its power below 1 would have no gradient
    return -(factor * missed**gamma * log_p).mean()


def classification_loss(logits: Tensor, targets: Tensor, config: ClassifierConfig) -> Tensor:
    """Cross-entropy, focal loss, or, as printed, their sum (Student paper, classification). Targets (B,) or (B, C) as
    for `focal_loss`.

    Raises `ConfigurationError` when the targets are not those of `labels`, or `alpha` has another number of classes.
    """
    wanted = 1 if config.labels == "single" else 2
    if targets.dim() != wanted:
        raise ConfigurationError(
            f"labels is {config.labels!r}: targets have shape {'(B,)' if wanted == 1 else '(B, C)'}, not "
            f"{tuple(targets.shape)}"
        )
    if isinstance(config.alpha, tuple) and len(config.alpha) != logits.shape[-1]:
        raise ConfigurationError(f"alpha has {len(config.alpha)} numbers, there are {logits.shape[-1]} classes")
    loss = logits.new_zeros(())
    if config.loss in ("ce", "ce+focal"):
        loss = loss + focal_loss(logits, targets, gamma=0.0)  # at γ = 0, without α, it is Student paper, cross entropy
    if config.loss in ("focal", "ce+focal"):
        loss = loss + focal_loss(logits, targets, config.gamma, config.alpha)
    return loss
