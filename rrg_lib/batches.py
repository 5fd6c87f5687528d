"""From a prepared dataset to the batches a generator learns from: cached patch features, or the views themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from rrg_lib.models.generator import Batch

if TYPE_CHECKING:  # any object with ids, tokens and observations will do
    from rrg_lib.data.loading import PreparedDataset


class EpochOrder(Sampler[list[int]]):
    """Batches of positions in an order that depends on seed and epoch alone, so that a run can go on in the middle of an epoch."""

    def __init__(self, size: int, batch_size: int, seed: int, *, shuffle: bool = True):
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle
        self.epoch, self.skip = 0, 0

    def begin(self, epoch: int, skip: int = 0) -> None:
        """Give the batches of this epoch from number `skip` on. (Not `set_epoch`, which `accelerate` would call with a count of its own.)"""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return -(-self.size // self.batch_size) - self.skip

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size) if self.shuffle else np.arange(self.size)
        for start in range(self.skip * self.batch_size, self.size, self.batch_size):
            yield order[start : start + self.batch_size].tolist()


class StudyBatches(Dataset):
    """Studies of one split as model input. `inputs(i)` gives the patch features (S, d_vf) or the uint8 views (V, H, W) of study i of the dataset."""

    def __init__(self, dataset: PreparedDataset, indices: Sequence[int], inputs: Callable[[int], np.ndarray]):
        self.dataset, self.indices, self.inputs = dataset, list(indices), inputs

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> int:
        return self.indices[position]

    def collate(self, indices: list[int]) -> Batch:
        """Indices into the dataset -> Batch: inputs (B, S, d_vf) float32 or (B, V, H, W) uint8, tokens and mask (B, T) padded with 0, labels (B, 14)."""
        inputs = torch.from_numpy(np.stack([self.inputs(i) for i in indices]))
        ids = [self.dataset.tokens(i) for i in indices]
        longest = max(map(len, ids))
        tokens = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros(len(ids), longest)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = torch.as_tensor(sequence)
            mask[row, : len(sequence)] = 1
        labels = torch.from_numpy(np.asarray(self.dataset.observations)[indices]).float()
        inputs = inputs if inputs.dtype == torch.uint8 else inputs.float()
        return Batch(inputs, tokens, mask, labels, [self.dataset.ids[i] for i in indices])

    def loader(self, batch_size: int, *, seed: int = 0, shuffle: bool = False, workers: int = 0) -> DataLoader:
        """Its `batch_sampler` is an `EpochOrder`. A generator of its own keeps the loader from drawing on the global random state."""
        order = EpochOrder(len(self), batch_size, seed, shuffle=shuffle)
        own = torch.Generator().manual_seed(seed)
        return DataLoader(self, batch_sampler=order, collate_fn=self.collate, num_workers=workers, generator=own, persistent_workers=workers > 0)
