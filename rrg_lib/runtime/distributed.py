"""Training and writing shared among processes, on PyTorch's and accelerate's own engines: which part of a batch is
whose, and what they must tell each other.

A batch is the same whoever works on it: its size is that of all processes together, and each takes a run of consecutive
studies. So steps, learning rates and checkpoints mean the same for any number of processes, and a run that was stopped
on two goes on with one. Alone, everything here gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from rrg_lib.errors import ConfigurationError
from rrg_lib.runtime.device import this_device

if TYPE_CHECKING:
    from accelerate import PartialState

#: How long a process waits for the others before it gives up. While the first one prepares a collection or trains the
#: extractor the others stand in a collective operation, for hours with nothing wrong; the engines' own limits, 10
#: minutes with NCCL and 30 with gloo, would end the job. One that dies is noticed without them: the launcher ends the
#: others.
_PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class Share:
    """One of `count` processes, number `rank`, counted from 0."""

    rank: int = 0
    count: int = 1

    def of(self, size: int) -> slice:
        """Its places among `size` consecutive ones; the first processes have one more where they don't divide, the last
        perhaps none."""
        least, more = divmod(size, self.count)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def check(self, batch_size: int) -> None:
        """Raises `ConfigurationError` where processes would stand idle."""
        if self.count > batch_size:
            raise ConfigurationError(
                f"{self.count} processes share a batch of {batch_size} studies: some would have none. Start at most "
                f"{batch_size}, or raise batch_size"
            )


def this_process() -> Share:
    """Which of the processes that were launched together this one is; starts the connection between them if
    `accelerate` has not yet."""
    state = _state()
    return Share(state.process_index, state.num_processes)


@contextmanager
def one_after_another() -> Iterator[None]:
    """What is made once and found again afterwards (data, weights, features): the first process makes it while the
    others wait."""
    first = this_process().rank == 0
    if not first:
        wait_for_all()
    yield
    if first:
        wait_for_all()


def wait_for_all() -> None:
    """Returns when every process has come here.

    accelerate's own names a device by the process' number: on processors beside fewer GPUs than processes there is no
    such one.
    """
    if _many():
        device = this_device()
        dist.barrier(device_ids=None if device.type == "cpu" else [device.index])


def _state() -> PartialState:
    from accelerate import PartialState  # takes a second

    # Told, because without an accelerator `torchrun` alone would leave every process on its own.
    return PartialState(cpu=this_device().type == "cpu", timeout=_PATIENCE)


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, (b, …) -> (B, …) in the order of the batch.

    For a loss over the pairs of a batch: every process computes the whole loss from the gathered rows, and gradients
    flow to its own.
    """
    return _Gathered.apply(rows) if _many() else rows


def summed(value: Tensor) -> Tensor:
    """The sum over all processes, without gradients."""
    if not _many():
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def collected(entries: dict) -> dict:
    """The entries of all processes' dictionaries."""
    if not _many():
        return entries
    parts: list[dict] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, entries)
    return {key: value for part in parts for key, value in part.items()}


def _many() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        world = dist.get_world_size()
        sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
        dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
        sizes = [int(size) for size in sizes]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        ctx.start = sum(sizes[: dist.get_rank()])
        ctx.length = len(rows)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        # Every process has the same loss, and so the same gradient here. Parameters' gradients are averaged over the
        # processes afterwards, while this process' rows are in no other's part: hence times their number.
        return grad[ctx.start : ctx.start + ctx.length] * dist.get_world_size()
