"""The device that models run on: a GPU where there is one, the processor otherwise, or what the environment variable
RRG_DEVICE names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rrg_lib.errors import ConfigurationError, OutOfMemoryError

DEVICES = ("cpu", "cuda")


def this_device() -> torch.device:
    """`cuda` (each of several processes on a machine its own) or `cpu`.

    Raises `ConfigurationError` when RRG_DEVICE asks for what is not there, or this process finds fewer GPUs than
    processes.
    """
    asked = os.environ.get("RRG_DEVICE", "")
    if asked not in ("", *DEVICES):
        raise ConfigurationError(
            f"RRG_DEVICE is {asked!r}: it can be {' or '.join(DEVICES)}; unset it to use a GPU where there is one"
        )
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        built = (
            "sees none: look at nvidia-smi and the driver"
            if torch.version.cuda
            else "was built without CUDA: install one that has it"
        )
        raise ConfigurationError(
            f"RRG_DEVICE asks for cuda, and PyTorch {torch.__version__} {built}; or set RRG_DEVICE=cpu"
        )
    if asked == "cpu" or not there:
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= count:
        raise ConfigurationError(
            f"process {number + 1} of this machine has no GPU of its own: {count} {'is' if count == 1 else 'are'} "
            f"there. "
            f"Start at most {count} here (--nproc_per_node {count}), or set RRG_DEVICE=cpu"
        )
    return torch.device("cuda", number)


def device_name() -> str:
    """`cpu`, or the GPU's own name."""
    device = this_device()
    return device.type if device.type == "cpu" else torch.cuda.get_device_name(device)


def synchronize(device: torch.device | None = None) -> None:
    """Wait until what was started on the device is done: a GPU answers before it has computed."""
    if (device or this_device()).type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def on_device(module: nn.Module) -> Iterator[torch.device]:
    """The module on `this_device()` inside the block, for long work; afterwards back where it was, so that it meets
    tensors that a reader makes."""
    before, device = next(module.parameters()).device, this_device()
    with torch.inference_mode(False):  # weights that are moved in inference mode could never learn again
        module.to(device)
    try:
        yield device
    finally:
        with torch.inference_mode(False):
            module.to(before)


@contextmanager
def memory_advice(knobs: str) -> Iterator[None]:
    """Where memory runs out inside the block, raises `OutOfMemoryError` that says what to turn down."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"out of memory: {knobs}. ({str(error).splitlines()[0] if str(error) else 'no memory left'})"
        ) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # how PyTorch's allocator for processors says it
            raise
        raise OutOfMemoryError(f"out of memory: {knobs}. ({str(error).splitlines()[0]})") from error
