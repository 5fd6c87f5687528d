"""What a patch can see, and what it does see: the receptive field of a network from its layers, and that of its weights
from gradients.

A convolution or pooling of kernel k and stride s makes the field r of one output, and the distance j of two neighbours,
both in input pixels, into

    r' = r + (k - 1) j        j' = j s

That is how far a patch *could* see. Most of that field hardly counts: the gradient of a patch by the pixels is largest
in the middle of it (Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
NeurIPS 2016).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.visual.extractor import VisualExtractor

#: Larger fields than this, in pixels of the network's input, are not measured.
LONGEST = 4096


def field_of(layers: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """(r, j) in input pixels after layers of (kernel, stride), first to last."""
    field, step = 1, 1
    for kernel, stride in layers:
        field, step = field + (kernel - 1) * step, step * stride
    return field, step


def receptive_field(extractor: VisualExtractor) -> int | None:
    """The side of the square of input pixels that can change a patch, were the picture large enough; None when every
    pixel can (attention).

    Measured, not read off the layers: in a copy of the network with equal positive weights, nothing cancels, so the
    pixels with a gradient are the field. A field larger than `LONGEST` raises `ConfigurationError`.
    """
    if any(isinstance(module, nn.MultiheadAttention) for module in extractor.modules()):
        return None
    net = _all_positive(copy.deepcopy(extractor.net)).double()
    channels, width = len(extractor.transform.mean), 64  # a strip: the field is as wide as it is high
    length = 512
    while length <= LONGEST:
        pixels = torch.full((1, channels, length, width), 1e-3, dtype=torch.double, requires_grad=True)
        maps = net(pixels)  # (1, D, length / 32, 2)
        (slope,) = torch.autograd.grad(maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum(), pixels)
        rows = slope.abs().sum((0, 1, 3)).nonzero().flatten()
        if rows[0] > 0 and rows[-1] < length - 1:
            return int(rows[-1] - rows[0] + 1)
        length *= 2
    raise ConfigurationError(
        f"the receptive field of {extractor.name!r} is larger than {LONGEST // 2} pixels: too large to be measured here"
    )


def _all_positive(net: nn.Module) -> nn.Module:
    """Equal positive weights, normalisation that does nothing, and pooling that lets every pixel through."""
    for name, child in net.named_children():
        if isinstance(child, nn.MaxPool2d):
            setattr(net, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        else:
            _all_positive(child)
    with torch.no_grad():
        if isinstance(net, nn.Conv2d):
            net.weight.fill_(1 / net.weight[0].numel())
            if net.bias is not None:
                net.bias.zero_()
        elif isinstance(net, nn.BatchNorm2d):
            net.reset_running_stats()
            net.reset_parameters()
    return net.eval().requires_grad_(False)


def effective_field(extractor: VisualExtractor, views: Tensor, *, patch: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W), sums to 1: where the patch's feature comes from, in pixels of the films. `views` are (B, V, H, W) uint8,
    `patch` its row and column, the middle one by default. It is the squared gradient of a random projection of the
    feature by the pixels, mean over films."""
    row, column = patch or (extractor.grid // 2, extractor.grid // 2)
    pixels = extractor.transform(views).requires_grad_(True)  # (B·V, C, S, S)
    direction = torch.randn(extractor.dim, generator=torch.Generator().manual_seed(0))
    learning = extractor.training
    maps = extractor.eval().net(pixels)  # (B·V, D, g, g)
    extractor.train(learning)
    (slope,) = torch.autograd.grad((maps[:, :, row, column] * direction).sum(), pixels)
    energy = slope.square().sum(1, keepdim=True).mean(0, keepdim=True)  # (1, 1, S, S)
    film = F.interpolate(energy, size=tuple(views.shape[-2:]), mode="bilinear")[0, 0].numpy()
    return film / film.sum()


def side_holding(field: np.ndarray, share: float = 0.9) -> int:
    """The side in pixels of the smallest square around the field's centre of mass, cut at the borders, that holds this
    share of it."""
    field = field / field.sum()
    height, width = field.shape
    y, x = round(float(field.sum(1) @ np.arange(height))), round(float(field.sum(0) @ np.arange(width)))
    for reach in range(max(height, width)):
        if field[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].sum() >= share - 1e-9:
            return 2 * reach + 1
    return 2 * max(height, width) + 1
