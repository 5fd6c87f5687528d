"""Real radiographs, when there are some: RRG_REAL_IMAGES names a folder of iu_xray in any layout, with at least one
study for training."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from rrg_lib.data.doctor import examine
from rrg_lib.data.prepare import prepare
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.models.visual.feature_cache import cached_features

ROOT = os.environ.get("RRG_REAL_IMAGES")
pytestmark = pytest.mark.skipif(not ROOT, reason="RRG_REAL_IMAGES names no folder of real radiographs")


def test_real_radiographs_are_examined_prepared_extracted_and_written_about(tmp_path):
    found = examine(ROOT, progress=False, sample=200)
    assert found.status < 2 and found.looks and not any(look.fault or look.oddness for look in found.looks.values())
    data = prepare("iu_xray", data_root=ROOT, out=tmp_path / "prepared", count=64, progress=False, workers=1)
    views = data.views_array(range(len(data)))
    assert data.rejected == () and views.std(axis=(2, 3)).min() > 20  # no film is blank
    torch.manual_seed(0)
    extractor = VisualExtractor("small", weights=None, frozen=True)
    features = cached_features(extractor, data, folder=tmp_path, progress=False)
    assert len(features) == len(data) and np.isfinite(features.patches(0)).all()
    generator = ReportGenerator(
        TransformerConfig(vocab_size=data.vocabulary.size, d_vf=extractor.dim, d_model=32, d_ff=32, heads=2, layers=1),
        None,
    ).eval()
    tokens = generate(
        generator, torch.from_numpy(features.patches(0)[None]).float(), None, DecodingConfig(beam_size=1)
    ).tokens
    assert tokens.min() >= 0 and tokens.max() <= data.vocabulary.size
