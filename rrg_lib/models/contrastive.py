"""Contrastive losses over the studies of a batch, without a loop over them. Shared among processes, a batch is that of
all of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib.runtime.distributed import gathered


def masked_mean(vectors: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, L, d) -> (B, d), the mean over the positions where `mask` (B, L) is True, over all when it is None; 0 where
    there is none."""
    if mask is None:
        return vectors.mean(dim=1)
    weight = mask.to(vectors.dtype)[..., None]  # (B, L, 1)
    return (vectors * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def similarity_targets(labels: Tensor, theta: float) -> tuple[Tensor, Tensor]:
    """XProNet Eq. 18: which pairs of studies belong together, and how similar they should be.

    Args:
        labels: (B, C) zeros and ones.
        theta: at least 1; at 1 every target is 1 (the ablation "w/o IMLCS").

    Returns `together` (B, B), True where two studies share a label, and `targets` (B, B) = theta^(-h_d / h_t), with h_d
    the number of labels in which they differ and h_t the number of labels that they have, counted for each: 1 for the
    same labels, less the more they differ.
    """
    labels = labels.float()
    shared = labels @ labels.T  # (B, B)
    each = labels.sum(dim=1)  # (B,)
    total = each[:, None] + each  # h_t
    differing = total - 2 * shared  # h_d
    return shared > 0, theta ** -(differing / total.clamp(min=1))


def multi_label_contrastive(
    features: Tensor, labels: Tensor, *, margin: float = 0.4, theta: float = 1.5, clamp: bool = True
) -> Tensor:
    """The improved multi-label contrastive loss (XProNet Eq. 17):

        1 / B² · sum_ij [ together_ij (theta^(-h_d / h_t) - cos_ij) + apart_ij max(cos_ij - margin, 0) ]

    Args:
        features: (B, d), a vector a study; their length does not matter.
        labels: (B, C) zeros and ones; 0 means absent.
        margin: the cosine up to which studies without a common label are left alone.
        theta: see `similarity_targets`. Paper: 1.75 is best on MIMIC-CXR · release and ours: 1.5.
        clamp: whether a pair that is already more similar than its target counts 0. Paper: no · release and ours: yes.

    Returns a scalar. A study pairs with itself too, as released: that adds 0, or 1 - margin for one without any label,
    and no gradient either way. So a batch of one has no gradient.
    """
    unit, labels = gathered(F.normalize(features.float(), dim=-1)), gathered(labels)
    cosine = unit @ unit.T  # (B, B)
    together, targets = similarity_targets(labels, theta)
    pull = targets - cosine
    push = (cosine - margin).clamp(min=0)
    return torch.where(together, pull.clamp(min=0) if clamp else pull, push).mean()
