"""Patch features of a frozen extractor, computed once and kept on disk: what makes an epoch of every later chapter a matter of seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.visual import VisualExtractor
from rrg_lib.workspace import write_json, written_whole

if TYPE_CHECKING:  # any object with ids, hash and views_array will do
    from rrg_lib.data.loading import PreparedDataset


@dataclass
class FeatureCache:
    """Memory-mapped float16 features of every study of a dataset; `description` says of which extractor and data."""

    folder: Path
    description: dict[str, Any]

    @cached_property
    def _patches(self) -> np.ndarray:
        return np.load(self.folder / "patches.npy", mmap_mode="r")

    @cached_property
    def _pooled(self) -> np.ndarray:
        return np.load(self.folder / "pooled.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self._patches)

    def patches(self, i: int) -> np.ndarray:
        """(V·P, D) float16 of study i."""
        return self._patches[i]

    def pooled(self, i: int) -> np.ndarray:
        """(V·D,) float16 of study i."""
        return self._pooled[i]


def cached_features(
    extractor: VisualExtractor, dataset: PreparedDataset, *, folder: Path, batch_size: int = 32, progress: bool = True
) -> FeatureCache:
    """The features of all studies, computed if they are not in `folder` yet under the hash of weights, transform and data.

    Each file is written whole or not at all, `features.json` last: an interrupted call leaves nothing that a later one would take for finished.

    Raises `ConfigurationError` for an extractor that learns: its features change with every step.
    """
    if not extractor.frozen:
        raise ConfigurationError(
            f"the extractor {extractor.name!r} is not frozen, so its features cannot be kept; use VisualExtractor(…, frozen=True)"
        )
    description = {"extractor": extractor.name, "weights": extractor.hash, "dataset": dataset.hash, "studies": len(dataset)}
    place = Path(folder) / f"{extractor.name}-{extractor.hash}-{dataset.hash}"
    finished = place / "features.json"
    if not (finished.exists() and json.loads(finished.read_text(encoding="utf-8")) == description):
        _build(extractor, dataset, place, batch_size, progress)
        write_json(finished, description)
    return FeatureCache(place, description)


@torch.inference_mode()
def _build(extractor: VisualExtractor, dataset: PreparedDataset, place: Path, batch_size: int, progress: bool) -> None:
    """Streams through the studies a batch at a time; memory does not grow with their number."""
    n = len(dataset)
    with (
        written_whole(place / "patches.npy") as patches_path,
        written_whole(place / "pooled.npy") as pooled_path,
        tqdm(total=n, desc=f"features of {extractor.name}", unit="study", disable=not progress) as bar,
    ):
        files: list[np.memmap] = []
        for start in range(0, n, batch_size):
            views = dataset.views_array(range(start, min(start + batch_size, n)))
            features = [part.half().cpu().numpy() for part in extractor(torch.from_numpy(views))]
            if not files:
                shapes = [(n, *part.shape[1:]) for part in features]
                files = [
                    np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
                    for path, shape in zip((patches_path, pooled_path), shapes, strict=True)
                ]
            for file, part in zip(files, features, strict=True):
                file[start : start + len(part)] = part
            bar.update(len(views))
        for file in files:
            file.flush()
