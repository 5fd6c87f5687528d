"""What a report costs: the likelihood of its words."""

from __future__ import annotations

import torch
from torch import Tensor


def report_loss(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean negative log-likelihood over the words and the final 0 (CMN Eq. 2, as released): logits (B, T - 1, V + 1),
    tokens and mask (B, T). XProNet Eq. 19 prints the mean over the words of one report; both releases take the mean
    over all words of the batch, so does this."""
    total, words = summed_report_loss(logits, tokens, mask)
    return total / words


def summed_report_loss(logits: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The sum that `report_loss` is the mean of, and the number of words: a batch shared among processes has one
    mean."""
    least = torch.promote_types(
        logits.dtype, torch.float32
    )  # autocast does that on a GPU; on a processor the sum would lose digits
    log_probs = logits.log_softmax(-1, dtype=least).gather(-1, tokens[:, 1:, None]).squeeze(-1)  # (B, T - 1)
    weight = mask[:, 1:].to(log_probs.dtype)
    return -(log_probs * weight).sum(), weight.sum()
