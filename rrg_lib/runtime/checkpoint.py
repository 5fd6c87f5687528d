"""Checkpoints: one safetensors file each, written whole or not at all, that says what it belongs to. No pickle
anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rrg_lib.errors import CheckpointError
from rrg_lib.runtime.workspace import written_whole

_META = "rrg"


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Tensors and a JSON-serialisable description in one file."""
    with written_whole(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={_META: json.dumps(meta)},
        )


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote. Raises `CheckpointError` when there is no such file or it is damaged."""
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint at {path}; train one with: rrg train PRESET")
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get(_META, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors checkpoint ({error}); half a download? Fetch or train it again."
        ) from error
    if meta is None:
        raise CheckpointError(
            f"{path} is a safetensors file, but not one this library wrote: it says nothing about preset and vocabulary"
        )
    return tensors, meta


def check_same(path: Path, meta: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raises `CheckpointError` naming the first entry (vocabulary, preset, …) in which a checkpoint differs from what
    is asked of it."""
    for name, value in expected.items():
        if meta.get(name) != value:
            raise CheckpointError(
                f"{path} was made with another {name.replace('_', ' ')}: it says {meta.get(name)!r}, {value!r} is "
                f"wanted. "
                "Use the checkpoint with the data and preset it was trained on, or train again in another run folder "
                "(--run NAME)."
            )


def load_into(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load parameters into a module. Raises `CheckpointError` naming the first parameter that is missing, unknown or of
    another shape."""
    ours = module.state_dict()
    for name in sorted(ours.keys() | tensors.keys()):
        if name not in tensors or name not in ours:
            raise CheckpointError(
                f"{path}: parameter {name!r} is {'missing' if name in ours else 'unknown to this model'}; it is a "
                f"checkpoint of another preset"
            )
        if tensors[name].shape != ours[name].shape:
            raise CheckpointError(
                f"{path}: parameter {name!r} has shape {tuple(tensors[name].shape)}, this model's has "
                f"{tuple(ours[name].shape)}"
            )
    module.load_state_dict(tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of an optimizer by `INDEX.NAME`; its settings are not state and are made anew from the
    configuration."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, entry in state.items() for name, value in entry.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    full = optimizer.state_dict()
    full["state"] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        full["state"].setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(full)
