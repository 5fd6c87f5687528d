"""Features of a frozen extractor, computed once and kept on disk: what makes an epoch of every later chapter a matter
of seconds.

In EXTRACTOR-WEIGHTS-DATA/, the hashes of weights and transform, and of the data (`-float32` and `-STUDIES` when they
are not the default):

    patches.npy, pooled.npy     memory-mapped
    features.json               written last: a folder that has it is whole
    building/                   what an interrupted call has done so far; the next one goes on behind it
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from tqdm.auto import tqdm

from rrg_lib.errors import ConfigurationError, StorageError
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.runtime.choices import check_choice
from rrg_lib.runtime.device import on_device
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import locked, write_json

if TYPE_CHECKING:  # any object with ids, hash and views_array will do
    from rrg_lib.data.prepared_dataset import PreparedDataset

Precision = Literal["float16", "float32"]
PARTS = ("patches", "pooled")
#: The notes in `building/progress.json` are written after so many batches, and the pages before them.
BATCHES_BETWEEN_NOTES = 32
#: Studies that are looked at at once. What few pictures leave on the way stays in a core's cache: with 8 in place of 32
#: EfficientNet-Lite0 and DenseNet-121 look 1.8 times as fast on one core, ResNet-101 1.3 times; the features are equal.
CPU_BATCH, GPU_BATCH = 8, 32


@dataclass
class FeatureCache:
    """Memory-mapped features of the studies of a dataset, or of those with the numbers `studies`; `description` says of
    which extractor and data."""

    folder: Path
    description: dict[str, Any]
    studies: Sequence[int] | None = None

    @cached_property
    def _rows(self) -> dict[int, int] | None:
        return None if self.studies is None else {i: row for row, i in enumerate(self.studies)}

    @cached_property
    def _patches(self) -> np.ndarray:
        return np.load(self.folder / "patches.npy", mmap_mode="r")

    @cached_property
    def _pooled(self) -> np.ndarray:
        return np.load(self.folder / "pooled.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self._patches)

    @property
    def bytes(self) -> int:
        """Size of both files on disk."""
        return sum((self.folder / f"{part}.npy").stat().st_size for part in PARTS)

    def _row(self, i: int) -> int:
        if self._rows is None:
            return i
        if i not in self._rows:
            raise ConfigurationError(
                f"the features of study {i} were not asked for; these are of {len(self._rows)} other studies of the "
                f"dataset"
            )
        return self._rows[i]

    def patches(self, i: int) -> np.ndarray:
        """(V·P, D) of study i of the dataset. Raises `ConfigurationError` when its features were not asked for."""
        return self._patches[self._row(i)]

    def pooled(self, i: int) -> np.ndarray:
        """(V·D,) of study i."""
        return self._pooled[self._row(i)]


def cached_features(
    extractor: VisualExtractor,
    dataset: PreparedDataset,
    *,
    folder: Path,
    studies: Sequence[int] | None = None,
    precision: Precision = "float16",
    batch_size: int | None = None,
    progress: bool = True,
) -> FeatureCache:
    """The features of all studies, or of those numbered in `studies`, computed if they are not in `folder` yet under
    the hash of weights, transform and data. An interrupted call is gone on with by the next one; two at once do the
    work once.

    float16 keeps three digits in half the space; float32 is there to compare with. `batch_size` studies are looked at
    at once: as many as suit the device unless said.

    Raises:
        ConfigurationError: an extractor that learns (its features change with every step), or no study.
        UnknownNameError: another precision.
        StorageError: the disk is full or not writable. What is done so far is kept.
    """
    if not extractor.frozen:
        raise ConfigurationError(
            f"the extractor {extractor.name!r} is not frozen, so its features cannot be kept; use VisualExtractor(…, "
            f"frozen=True)"
        )
    check_choice("precision of features", precision, Precision)
    wanted: Sequence[int] = range(len(dataset)) if studies is None else [int(i) for i in studies]
    if not len(wanted):
        raise ConfigurationError("there is no study to compute features of; give at least one")
    description = {
        "extractor": extractor.name,
        "weights": extractor.hash,
        "dataset": dataset.hash,
        "studies": len(wanted),
    }
    suffix = ""
    if precision != "float16":  # the default has no word of its own: caches made before there was a choice are found
        description["precision"], suffix = precision, f"-{precision}"
    if studies is not None:
        description["chosen"] = content_hash(wanted)
        suffix += f"-{description['chosen']}"
    place = Path(folder) / f"{extractor.name}-{extractor.hash}-{dataset.hash}{suffix}"
    if not _is_whole(place, description):
        with locked(place):
            if not _is_whole(place, description):  # another process may have made it while this one waited
                try:
                    _build(extractor, dataset, place, description, wanted, np.dtype(precision), batch_size, progress)
                except OSError as error:
                    raise StorageError(
                        f"could not write the features in {place}: {error.strerror or error}. What is done is kept; "
                        f"free some space, then run again."
                    ) from error
    return FeatureCache(place, description, None if studies is None else wanted)


def _is_whole(place: Path, description: dict[str, Any]) -> bool:
    """Whether the folder holds these features, finished; files that were cut short are made again."""
    try:
        if json.loads((place / "features.json").read_text(encoding="utf-8")) != description:
            return False
        return all(len(np.load(place / f"{part}.npy", mmap_mode="r")) == description["studies"] for part in PARTS)
    except (OSError, ValueError):
        return False


@torch.inference_mode()
def _build(
    extractor: VisualExtractor,
    dataset: PreparedDataset,
    place: Path,
    description: dict[str, Any],
    wanted: Sequence[int],
    dtype: np.dtype,
    batch_size: int | None,
    progress: bool,
) -> None:
    """Streams through the studies a batch at a time; memory does not grow with their number."""
    building, n = place / "building", len(wanted)
    done, files = _resumed(building, description)
    bar = tqdm(total=n, initial=done, desc=f"features of {extractor.name}", unit="study", disable=not progress)
    with bar, on_device(extractor) as device:
        batch_size = batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
        for number, start in enumerate(range(done, n, batch_size)):
            views = dataset.views_array(wanted[start : start + batch_size])
            features = [
                part.to(torch.float16 if dtype == np.float16 else torch.float32).cpu().numpy()
                for part in extractor(torch.from_numpy(views).to(device))
            ]
            if not files:
                building.mkdir(parents=True, exist_ok=True)
                files = [
                    _new_file(building / f"{part}.npy", dtype, (n, *array.shape[1:]))
                    for part, array in zip(PARTS, features, strict=True)
                ]
            for file, array in zip(files, features, strict=True):
                file[start : start + len(array)] = array
            bar.update(len(views))
            if number % BATCHES_BETWEEN_NOTES == BATCHES_BETWEEN_NOTES - 1:
                _note(building, description, start + len(views), files)
    _note(building, description, n, files)
    files.clear()  # unmapped before they are moved
    for part in PARTS:
        os.replace(building / f"{part}.npy", place / f"{part}.npy")
    write_json(place / "features.json", description)
    shutil.rmtree(building)


def _new_file(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A mapped file whose room is taken now: on a full disk this raises, where writing to a mapped file without room
    would end the process."""
    file = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as handle:
            os.posix_fallocate(handle.fileno(), 0, file.offset + file.nbytes)
    return file


def _resumed(building: Path, description: dict[str, Any]) -> tuple[int, list[np.memmap]]:
    """How many studies an interrupted call has done, and the files it wrote them to; none when they are of another
    request, or damaged."""
    try:
        noted = json.loads((building / "progress.json").read_text(encoding="utf-8"))
        files = [np.lib.format.open_memmap(building / f"{part}.npy", mode="r+") for part in PARTS]
        if noted["description"] == description and all(len(file) == description["studies"] for file in files):
            return int(noted["done"]), files
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, []


def _note(building: Path, description: dict[str, Any], done: int, files: Iterable[np.memmap]) -> None:
    """Writes down how far the features have come, after they themselves are on the disk."""
    for file in files:
        file.flush()
    write_json(building / "progress.json", {"description": description, "done": done})
