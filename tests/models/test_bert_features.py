"""A BERT as text encoder of the prototypes: made here, small and random, saved as transformers saves it, and read back
offline."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.memory.bert_features import bert_features

REPORTS = ["the heart is normal .", "there is a small effusion", "the heart is normal .", "no acute disease"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import BertConfig, BertModel, BertTokenizer

    path = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *sorted({word for report in REPORTS for word in report.split()}),
    ]
    (path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.4,
    )
    BertModel(config).save_pretrained(path)
    BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return path


def test_a_reports_vector_is_its_first_tokens_whatever_stands_beside_it(folder):
    features = bert_features(REPORTS, str(folder), 24)
    assert features.shape == (4, 24) and features.dtype == np.float32
    np.testing.assert_array_equal(features[0], features[2])
    np.testing.assert_allclose(
        bert_features(REPORTS[3:], str(folder), 24)[0], features[3], atol=1e-5
    )  # padding does not matter
    assert np.abs(features[0] - features[3]).max() > 0.1
    np.testing.assert_allclose(bert_features(REPORTS, str(folder), 24, batch_size=1), features, atol=1e-5)


def test_another_width_says_which_setting(folder):
    with pytest.raises(ConfigurationError, match=r"have 24 numbers.*text_dim=768; set memory\.text_dim=24"):
        bert_features(REPORTS, str(folder), 768)


def test_a_folder_without_a_model_is_named(tmp_path, folder):
    with pytest.raises(ConfigurationError, match=r"has no config\.json"):
        bert_features(REPORTS, str(tmp_path), 24)
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(ConfigurationError, match="neither a folder with a BERT"):
        bert_features(REPORTS, str(tmp_path), 24)


def test_pickled_weights_are_not_read(tmp_path, folder):
    for name in os.listdir(folder):
        if name != "model.safetensors":
            shutil.copy(folder / name, tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match="neither a folder with a BERT"):
        bert_features(REPORTS, str(tmp_path), 24)


def test_without_a_network_the_error_says_what_else_there_is(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"could be fetched from the hub.*text_encoder=tfidf"):
        bert_features(REPORTS, "nobody/has-this-bert", 24)
