"""Checkpoints of torch before 1.6 (2020), which are pickles with the numbers behind them, without what pickle would let
them do.

torchxrayvision's weights are such files: whole networks, every class named. Here each name that a network's weights
need stands for a small class of ours that does nothing, and any other name is an error. The layout: four pickles (a
magic number, the protocol, the machine, the object), a fifth with the keys of the storages, then each storage: its
length in 8 bytes, and its numbers.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from rrg_lib.errors import CheckpointError

MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "LongStorage": torch.int64,
}


class Part:
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
    """What the file holds: dictionaries, tensors and `Part`s. Raises `CheckpointError` for a name that no network's
    weights need, or a damaged file."""
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
            return type(name, (Part,), {})  # a new one each time: what a pickle does to it is gone with it
        if module == "torch" and name in _STORAGES:
            return type(name, (Part,), {"dtype": _STORAGES[name]})
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
    held = vars(part) if isinstance(part, Part) else {}
    for kind in ("_parameters", "_buffers"):
        for key, value in (held.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + key, value
    for key, value in (held.get("_modules") or {}).items():
        yield from tensors_of(value, f"{prefix}{key}.")
