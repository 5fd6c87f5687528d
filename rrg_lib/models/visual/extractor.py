"""Visual extractors: from radiographs to patch features, the sequence that every system of the book reads.

    views (B, V, H, W) uint8 ──transform──▶ (B·V, C, S, S) ──network──▶ (B·V, D, g, g) ──▶ patches (B, V·g², D), pooled
    (B, V·D)

The map's side g is 7 for most networks. The patches of a study's views follow each other, view after view, as in the
released R2Gen (98 patches for the two views of IU X-Ray).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.errors import CheckpointError, UnknownNameError
from rrg_lib.models.visual.networks import build_network
from rrg_lib.models.visual.pretrained import is_published, published_state, read_state
from rrg_lib.runtime.hashing import content_hash


class VisualFeatures(NamedTuple):
    """`patches` (B, V·P, D), view after view; `pooled` (B, V·D), each view's mean patch."""

    patches: Tensor
    pooled: Tensor


@dataclass(frozen=True, slots=True)
class Transform:
    """How pixels in 0..255 become a network's input: resized to `size`, scaled to 0..1, `(x - mean) / std` for each of
    the channels."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, views: Tensor) -> Tensor:
        pixels = views.flatten(0, 1).unsqueeze(1).float() / 255  # (B·V, 1, H, W)
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, size=(self.size, self.size), mode="bilinear", antialias=True)
        mean, std = (pixels.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std  # (B·V, C, S, S): a gray picture meets every channel


IMAGENET = Transform(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALL = Transform(112, (0.4,), (0.25,))
#: torchxrayvision's networks look at gray pictures of -1024 to 1024.
CHEST = Transform(224, (0.5,), (1 / 2048,))
CHEST_LARGE = Transform(512, (0.5,), (1 / 2048,))


class Architecture(NamedTuple):
    """The width of a patch's feature, what the network is given, and the side of its map of patches."""

    dim: int
    transform: Transform
    grid: int = 7


EXTRACTORS: dict[str, Architecture] = {
    "small": Architecture(256, SMALL),
    "resnet18": Architecture(512, IMAGENET),
    "resnet50": Architecture(2048, IMAGENET),
    "resnet101": Architecture(2048, IMAGENET),
    "densenet121": Architecture(1024, IMAGENET),
    "vit_b_16": Architecture(768, IMAGENET, grid=14),
    "efficientnet_lite0": Architecture(1280, IMAGENET),
    "chest_densenet121": Architecture(1024, CHEST),
    "chest_resnet50": Architecture(2048, CHEST_LARGE, grid=16),
}


class VisualExtractor(nn.Module):
    """A network from `EXTRACTORS` with its transform, so that features can be named by what made them (`hash`).

    Args:
        name: `small`; torchvision's `resnet18`, `resnet50`, `resnet101`, `densenet121`, `vit_b_16`;
            `efficientnet_lite0` (whose ImageNet weights come as a package); torchxrayvision's `chest_densenet121` and
            `chest_resnet50`.
        weights: None for random ones; `"imagenet"`, or `"chest"` for the chest networks
            (`rrg_lib.models.visual.pretrained` lists them all); or a file: safetensors, such as a saved
            `FindingExtractor`, or a checkpoint of torch (`.pt`, `.pth`), of which only tensors are read.
        frozen: features without gradients, batch statistics as learnt, whatever `train()` says.

    Raises:
        UnknownNameError: no extractor of that name.
        ConfigurationError: published weights that the network does not have, or a package that is not installed.
        CheckpointError: weights that are missing (the message says which file to put where), damaged or another
            network's.
    """

    def __init__(self, name: str = "small", weights: str | Path | None = None, frozen: bool = True):
        super().__init__()
        if name not in EXTRACTORS:
            raise UnknownNameError("visual extractor", name, EXTRACTORS)
        self.name, self.frozen = name, frozen
        self.dim, self.transform, self.grid = EXTRACTORS[name]
        self.net = build_network(name)
        if is_published(weights):
            _load(self.net, published_state(name, str(weights)), f"the weights {weights!r} of {name}")
        elif weights is not None:
            _load(self.net, read_state(Path(weights)), str(weights))
        self.net.to(memory_format=torch.channels_last)
        if frozen:
            self.requires_grad_(False)
            self.eval()

    @property
    def patches_per_view(self) -> int:
        return self.grid**2

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of the weights and the transform; computed anew at each call, because weights can be
        trained."""
        digest = hashlib.sha256(content_hash([self.name, asdict(self.transform)]).encode())
        for key, value in self.net.state_dict().items():
            digest.update(f"{key}|{value.dtype}|{tuple(value.shape)}|".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def train(self, mode: bool = True) -> VisualExtractor:
        return super().train(mode and not self.frozen)

    def forward(self, views: Tensor) -> VisualFeatures:
        """Features of (B, V, H, W) uint8 views of any number and size: CMN Eq. 3, XProNet Eq. 1."""
        return self.features(self.transform(views), views.shape[1])

    def features(self, pixels: Tensor, views: int) -> VisualFeatures:
        """Features of already transformed pixels (B·V, C, S, S); for training loops that augment in between."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.net(pixels.contiguous(memory_format=torch.channels_last))  # (B·V, D, g, g)
        patches = maps.flatten(2).transpose(1, 2)  # (B·V, P, D)
        pooled = patches.mean(dim=1)  # (B·V, D)
        return VisualFeatures(
            patches.reshape(-1, views * patches.shape[1], self.dim), pooled.reshape(-1, views * self.dim)
        )


def augmented_as_released(views: Tensor, generator: torch.Generator, *, size: int = 224, flip: bool = False) -> Tensor:
    """(B, V, size, size): the release's augmentation for fine-tuning, resize to 256 pixels and crop at random; uint8 in
    and out.

    `flip` mirrors half of the pictures, as released for IU X-Ray. It is off by default: a mirrored film has its heart
    on the right, and the report still says left.
    """
    count, number = views.shape[:2]
    wide = F.interpolate(
        views.flatten(0, 1).unsqueeze(1).float(), size=(256, 256), mode="bilinear", antialias=True
    ).squeeze(1)
    corners = torch.randint(0, 256 - size + 1, (len(wide), 2), generator=generator).tolist()
    mirror = (torch.rand(len(wide), generator=generator) < 0.5).tolist()
    crops = [picture[top : top + size, left : left + size] for picture, (top, left) in zip(wide, corners, strict=True)]
    crops = [crop.flip(-1) if flip and turned else crop for crop, turned in zip(crops, mirror, strict=True)]
    return torch.stack(crops).round().clamp(0, 255).to(torch.uint8).reshape(count, number, size, size)


def _load(net: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads what belongs to the network; heads of classifiers are left out. Raises `CheckpointError` naming the first
    key that does not fit."""
    wanted = net.state_dict()
    state = {_key(key): value for key, value in state.items()}
    for key, value in wanted.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise CheckpointError(f"{source} is of another network: it has no {key}")
        if key in state and state[key].shape != value.shape:
            raise CheckpointError(
                f"{source} is of another network: {key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
            )
    net.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})


def _key(key: str) -> str:
    """The name of a tensor as the network has it: without the prefix of our saved files, and DenseNet's `norm.1` of old
    files as `norm1`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key.removeprefix("extractor.net."))
