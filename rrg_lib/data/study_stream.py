"""A prepared dataset read from front to back by many: several nodes, and on each the workers of a loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from rrg_lib.data.prepared_dataset import PreparedDataset
from rrg_lib.errors import ConfigurationError
from rrg_lib.runtime.distributed import Share


class StudyStream(IterableDataset):
    """The rows (as `shards.SCHEMA`, or some `columns` of it) of a split, or of all studies: the share of node `rank` of
    `world_size`.

    The shares of all nodes are every study exactly once, and their sizes differ by one at most. A share is a run of
    neighbours, so that a node reads few shards, each from front to back; the workers of a `DataLoader` divide the share
    of their node in the same way. With a `seed` the shards and, within a `buffer` of rows, the studies come in an order
    of their own every `epoch`, which is the same on all nodes.

    Raises `UnknownNameError` for a split, `ConfigurationError` for a node that is none.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        split: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        rank: int = 0,
        world_size: int = 1,
        seed: int | None = None,
        epoch: int = 0,
        buffer: int = 1024,
    ):
        if not 0 <= rank < world_size:
            raise ConfigurationError(f"rank is {rank} of {world_size} nodes; expected 0 to {world_size - 1}")
        numbers = np.arange(len(dataset)) if split is None else np.array(dataset.split_indices(split), int)
        if seed is not None:
            numbers = _shuffled(numbers, dataset, np.random.default_rng([seed, epoch]), buffer)
        self.dataset, self.columns = dataset, columns
        self.numbers = numbers[Share(rank, world_size).of(len(numbers))]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        share = Share(worker.id, worker.num_workers) if worker else Share()
        table = self.dataset.table if self.columns is None else self.dataset.table.select(self.columns)
        for i in self.numbers[share.of(len(self.numbers))]:
            yield table.slice(i, 1).to_pylist()[0]


def _shuffled(numbers: np.ndarray, dataset: PreparedDataset, random: np.random.Generator, buffer: int) -> np.ndarray:
    """The studies' numbers with their shards in another order, and among `buffer` neighbours in another one."""
    ends = np.cumsum([shard["studies"] for shard in dataset.manifest["shards"]])
    place = random.permutation(len(ends))  # of each shard
    numbers = numbers[np.argsort(place[np.searchsorted(ends, numbers, side="right")], kind="stable")]
    return np.concatenate([random.permutation(numbers[i : i + buffer]) for i in range(0, len(numbers), buffer)])
