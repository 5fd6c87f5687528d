"""Dropout whose random numbers do not cost more than the layer they fall on.

On a CPU `torch.nn.functional.dropout` draws one number after another, which takes a fifth of a training step of these
small models. Here one 64-bit draw decides for four elements, with 16 bits each; so a probability is met within 1 /
131,072. On other devices PyTorch's own is used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """x with each element zero with probability `p` and the others divided by 1 - p (Srivastava et al. 2014); x itself
    when not training."""
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or p == 1.0:
        return F.dropout(x, p)
    n = x.numel()
    bits = torch.empty((n + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:n].view(x.shape)
    kept = bits >= min(round(p * 2**16), 2**16 - 1) - 2**15  # an int16 lies between -2^15 and 2^15 - 1
    return x * kept.to(x.dtype).mul_(1 / (1 - p))


class Dropout(nn.Dropout):
    """`nn.Dropout` by `dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)
