"""What reading costs: decoding films each epoch, looking through a network each epoch, or reading features that were
kept; beside a plain copy of memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from PIL import Image

from rrg_lib.data.images import read_radiograph
from rrg_lib.models.batches import StudyBatches

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset
    from rrg_lib.models.visual.extractor import VisualExtractor
    from rrg_lib.models.visual.feature_cache import FeatureCache

DECODED, PREPARED, KEPT, COPIED = (
    "PNG decoded, then the network",
    "prepared film, then the network",
    "features kept",
    "a copy of their bytes",
)


def reading_speed(
    extractor: VisualExtractor,
    dataset: PreparedDataset,
    cache: FeatureCache,
    studies: Sequence[int],
    *,
    few: int = 8,
    film: int = 2048,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Seconds a study to get a batch's patch features in four ways, a row a way, and how many times as fast as the
    first (`ratio`).

    The first two are timed on the first `few` of the studies, all of them in one batch; the PNGs are `film` pixels a
    side, like scanned films. The third is the loader of the training loop (`StudyBatches`), tokens included, and the
    fourth copies as many bytes in memory. `cache` holds all of them.
    """
    studies = [int(i) for i in studies]
    some = studies[:few]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [_films(dataset.views(i), Path(scratch) / str(i), film) for i in some]
        decoded = _seconds(
            lambda: _look(extractor, np.stack([[read_radiograph(path) for path in views] for views in paths]))
        )
    prepared = _seconds(lambda: _look(extractor, dataset.views_array(some)))
    loader = StudyBatches(dataset, studies, cache.patches).loader(batch_size)
    kept = _seconds(lambda: [None for _ in loader])
    held = np.stack([cache.patches(i) for i in studies])
    target = np.empty_like(held)
    copied = _seconds(lambda: np.copyto(target, held))
    each = {
        DECODED: decoded / len(some),
        PREPARED: prepared / len(some),
        KEPT: kept / len(studies),
        COPIED: copied / len(studies),
    }
    return pd.DataFrame(
        {"seconds a study": each, "ratio": {name: each[DECODED] / seconds for name, seconds in each.items()}}
    )


def _films(views: np.ndarray, folder: Path, side: int) -> list[Path]:
    """The views as PNGs of `side` pixels."""
    folder.mkdir()
    paths = [folder / f"{v}.png" for v in range(len(views))]
    for path, view in zip(paths, views, strict=True):
        Image.fromarray(view).resize((side, side), Image.Resampling.BICUBIC).save(path, compress_level=1)
    return paths


@torch.inference_mode()
def _look(extractor: VisualExtractor, views: np.ndarray) -> np.ndarray:
    return extractor(torch.from_numpy(views)).patches.numpy()


def _seconds(work: Callable[[], object], repeats: int = 2) -> float:
    """The best of a few runs: the others were disturbed by something else."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
