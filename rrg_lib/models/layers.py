"""The small layers under every model: normalisation as released and as PyTorch has it, and dropout whose random numbers
do not cost more than the layer they fall on."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["released", "torch"]


class ReleasedLayerNorm(nn.Module):
    """Layer normalisation of the released code: the *unbiased* standard deviation, with eps added to it and not to the
    variance."""

    def __init__(self, d_model: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.standardised(x), self.weight)

    def standardised(self, x: Tensor) -> Tensor:
        """(x - mean) / (std + eps) over the last axis."""
        return _Standardised.apply(x, self.eps)


class _Standardised(torch.autograd.Function):
    """(x - mean) / (std + eps) over the last axis. By hand: `torch.std_mean` and its gradient cost a tenth of a small
    model's training step."""

    @staticmethod
    def forward(ctx, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        std = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / math.sqrt(x.shape[-1] - 1)
        y = centred.div_(std + eps)
        ctx.save_for_backward(y, std)
        ctx.eps = eps
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        y, std = ctx.saved_tensors
        # d std / dx is (x - mean) / (std (n - 1)); where std is 0 so is y, and nothing is pulled along it.
        along = (grad * y).sum(dim=-1, keepdim=True) * (
            (std + ctx.eps) / (std.clamp_min(torch.finfo(std.dtype).tiny) * (y.shape[-1] - 1))
        )
        return (grad - grad.mean(dim=-1, keepdim=True)).addcmul_(y, along, value=-1).div_(std + ctx.eps), None


def layer_norm(name: NormName, d_model: int) -> nn.Module:
    return {"released": ReleasedLayerNorm, "torch": nn.LayerNorm}[name](d_model)


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """x with each element zero with probability `p` and the others divided by 1 - p (Srivastava et al. 2014); x itself
    when not training.

    On a CPU `torch.nn.functional.dropout` draws one number after another, which takes a fifth of a training step of
    these small models. Here one 64-bit draw decides for four elements, with 16 bits each; so a probability is met
    within 1 / 131,072. On other devices PyTorch's own is used.
    """
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
