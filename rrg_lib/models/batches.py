"""From a prepared dataset to the batches a generator learns from: cached patch features, or the views themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.interface import Batch
from rrg_lib.runtime.device import on_device
from rrg_lib.runtime.distributed import Share

if TYPE_CHECKING:  # any object with ids, tokens and observations will do
    from rrg_lib.data.prepared_dataset import PreparedDataset
    from rrg_lib.data.text.vocabulary import Vocabulary
    from rrg_lib.models.visual.extractor import VisualExtractor


class EpochOrder(Sampler[list[int]]):
    """Batches of positions in an order that depends on seed and epoch alone, so that a run can go on in the middle of
    an epoch.

    With `lengths`, one of each position, a shuffled batch is of studies whose reports are about as long, and less of it
    is padding: of every `POOL` batches in the shuffled order the studies are sorted, cut anew, and the batches
    shuffled. The batches are others than without, and so are the numbers.
    """

    POOL = 32

    def __init__(
        self, size: int, batch_size: int, seed: int, *, shuffle: bool = True, lengths: Sequence[int] | None = None
    ):
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.epoch, self.skip = 0, 0

    def begin(self, epoch: int, skip: int = 0) -> None:
        """Give the batches of this epoch from number `skip` on. (Not `set_epoch`, which `accelerate` would call with a
        count of its own.)"""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return -(-self.size // self.batch_size) - self.skip

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(self.size) if self.shuffle else np.arange(self.size)
        parts = [order]
        if self.shuffle and self.lengths is not None:
            pool = self.POOL * self.batch_size
            parts = [
                part[np.argsort(self.lengths[part], kind="stable")]
                for part in (order[at : at + pool] for at in range(0, self.size, pool))
            ]
        batches = [
            part[at : at + self.batch_size].tolist() for part in parts for at in range(0, len(part), self.batch_size)
        ]
        if len(parts) > 1 or parts[0] is not order:
            random.shuffle(batches)
        yield from batches[self.skip :]


class StudyBatches(Dataset):
    """Studies of one split as model input. `inputs(i)` gives the patch features (S, d_vf) or the uint8 views (V, H, W)
    of study i of the dataset. `observations` (n, 14), a row for each study of the dataset, are the labels; the expert
    codes when None. `share` is the part of each batch that is this process'."""

    def __init__(
        self,
        dataset: PreparedDataset,
        indices: Sequence[int],
        inputs: Callable[[int], np.ndarray],
        observations: np.ndarray | None = None,
        share: Share | None = None,
    ):
        self.share = share or Share()
        self.dataset, self.indices, self.inputs = dataset, list(indices), inputs
        self.observations = np.asarray(dataset.observations if observations is None else observations)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> int:
        return self.indices[position]

    def collate(self, indices: list[int]) -> Batch:
        """Indices into the dataset -> Batch: inputs (B, S, d_vf) float32 or (B, V, H, W) uint8, tokens and mask (B, T)
        padded with 0, labels (B, 14). Of a batch that is shared, this process' part, padded to the length of the
        whole; (0, …) where there is none."""
        longest = max(len(self.dataset.tokens(i)) for i in indices)
        first, indices = indices[0], indices[self.share.of(len(indices))]
        inputs = torch.from_numpy(np.stack([self.inputs(i) for i in indices or [first]]))[: len(indices)]
        ids = [self.dataset.tokens(i) for i in indices]
        tokens = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros(len(ids), longest)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = torch.as_tensor(sequence)
            mask[row, : len(sequence)] = 1
        labels = torch.from_numpy(self.observations[indices]).float()
        inputs = inputs if inputs.dtype == torch.uint8 else inputs.float()
        return Batch(inputs, tokens, mask, labels, [self.dataset.ids[i] for i in indices])

    def loader(
        self, batch_size: int, *, seed: int = 0, shuffle: bool = False, workers: int = 0, bucketed: bool = False
    ) -> DataLoader:
        """Its `batch_sampler` is an `EpochOrder`, by length when `bucketed`; `workers` processes make the next batches
        meanwhile. A generator of its own keeps the loader from drawing on the global random state."""
        lengths = [len(self.dataset.tokens(i)) for i in self.indices] if bucketed else None
        order = EpochOrder(len(self), batch_size, seed, shuffle=shuffle, lengths=lengths)
        random = torch.Generator().manual_seed(seed)
        return DataLoader(
            self,
            batch_sampler=order,
            collate_fn=self.collate,
            num_workers=workers,
            generator=random,
            persistent_workers=workers > 0,
        )


@dataclass(frozen=True, eq=False)
class TrainingStudies:
    """What a memory may look at before training begins (`CrossModalMemory.prepare`): the training studies and nothing
    else.

    Everything is in the order of `indices`, the studies' numbers in the dataset; `features`, `tokens` and `views` take
    such a number, and raise `ConfigurationError` for that of a study of another split. `seed` is the experiment's;
    `folder` is the run's, for what is worth keeping. `token_vectors` (V + 1, d) are the words as this generator's
    memory will be asked about them (`ReportGenerator.token_vectors`).
    """

    batches: StudyBatches
    extractor: VisualExtractor | None = None
    seed: int = 0
    folder: Path | None = None
    token_vectors: torch.Tensor | None = None

    @property
    def indices(self) -> list[int]:
        return self.batches.indices

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.batches.dataset.vocabulary

    @cached_property
    def labels(self) -> np.ndarray:
        """(n, 14) float32 zeros and ones, the pseudo labels that the memory will be gated by."""
        return self.batches.observations[self.indices].astype(np.float32)

    @cached_property
    def reports(self) -> list[str]:
        """The n cleaned reports, uncut."""
        return [self.batches.dataset.cleaned(i) for i in self.indices]

    def tokens(self, i: int) -> list[int]:
        """The token ids of study i's report, begin and end included."""
        return self.batches.dataset.tokens(self._training_study(i))

    def views(self, i: int) -> np.ndarray:
        """(V, H, W) uint8 of study i."""
        return self.batches.dataset.views(self._training_study(i))

    def features(self, i: int) -> np.ndarray:
        """Patch features (S, d_vf) float32 of study i; computed now when the extractor is one that will learn."""
        inputs = self.batches.inputs(self._training_study(i))
        return inputs.astype(np.float32) if inputs.dtype != np.uint8 else self._extract(inputs[None])[0]

    def pooled(self, *, flipped: bool = False, batch_size: int = 32) -> np.ndarray:
        """(n, d_vf) float32: each study's mean patch; with `flipped` that of its views mirrored left to right.

        Raises `ConfigurationError` when mirrored views are wanted and there is no extractor to look at them.
        """
        if not flipped and self.batches.inputs(self.indices[0]).dtype != np.uint8:
            return np.stack([self.features(i).mean(axis=0) for i in self.indices])
        means = []
        for start in range(0, len(self), batch_size):
            views = np.stack([self.views(i) for i in self.indices[start : start + batch_size]])  # (b, V, H, W)
            means.append(self._extract(np.flip(views, axis=-1) if flipped else views).mean(axis=1))
        return np.concatenate(means)

    def _training_study(self, i: int) -> int:
        if i not in self._numbers:
            raise ConfigurationError(
                f"study {i} of the dataset is not one of the {len(self)} training studies, and only those may shape a "
                f"memory"
            )
        return i

    @cached_property
    def _numbers(self) -> frozenset[int]:
        return frozenset(self.indices)

    @torch.no_grad()
    def _extract(self, views: np.ndarray) -> np.ndarray:
        """(b, V, H, W) uint8 -> (b, S, d_vf) float32, in evaluation mode."""
        if self.extractor is None:
            raise ConfigurationError(
                "the patch features of these views need an extractor, and TrainingStudies was given none"
            )
        learning = self.extractor.training
        self.extractor.eval()
        try:
            with on_device(self.extractor) as device:
                return self.extractor(torch.from_numpy(views.copy()).to(device)).patches.float().cpu().numpy()
        finally:
            self.extractor.train(learning)
