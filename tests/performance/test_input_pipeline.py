"""Reading speed: the ways that are compared give the same features. Times are reported, never asserted."""

from __future__ import annotations

import numpy as np
import torch

from rrg_lib.data.prepare import prepare
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.feature_cache import cached_features
from rrg_lib.performance.input_pipeline import DECODED, KEPT, PREPARED, _films, _look, reading_speed


def test_every_way_of_reading_gives_the_same_features_and_a_row(tmp_path, monkeypatch):
    dataset = prepare("phantom", out=tmp_path / "data", count=6, workers=1, progress=False)
    extractor = VisualExtractor("small")
    cache = cached_features(extractor, dataset, folder=tmp_path, progress=False)
    seen = []
    monkeypatch.setattr(
        "rrg_lib.performance.input_pipeline._look", lambda extractor, views: seen.append(_look(extractor, views))
    )
    table = reading_speed(extractor, dataset, cache, range(6), few=2, film=256, batch_size=4)
    decoded, prepared = seen[0], seen[-1]
    np.testing.assert_allclose(decoded, prepared, atol=1e-4)  # a film of 256 pixels is decoded to the prepared one
    np.testing.assert_allclose(prepared, np.stack([cache.patches(i) for i in range(2)]), atol=5e-3)
    assert (
        table.index[:3].tolist() == [DECODED, PREPARED, KEPT]
        and table.at[DECODED, "ratio"] == 1
        and (table > 0).all(axis=None)
    )


def test_a_film_is_as_large_as_was_asked_for(tmp_path):
    from PIL import Image

    (path,) = _films(torch.zeros(1, 16, 16, dtype=torch.uint8).numpy(), tmp_path / "a", 40)
    assert Image.open(path).size == (40, 40)
