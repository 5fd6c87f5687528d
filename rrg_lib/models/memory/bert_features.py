"""Report features from a BERT, such as the one in CheXbert: an encoder that somebody trained, from a folder or from the
hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from rrg_lib.errors import ConfigurationError


@torch.no_grad()
def bert_features(
    reports: Sequence[str], source: str, dim: int, *, batch_size: int = 32, progress: bool = False
) -> np.ndarray:
    """(n, `dim`) float32: the vector of the first token ([CLS]) of each report in the last layer, as CheXbert reads it;
    long reports are cut.

    `source` is a folder with config.json, model.safetensors and a tokenizer, or a name on the hub. Only safetensors are
    read, and no code that comes with a model is run. Raises `ConfigurationError` without the `bert` extra, for a source
    that holds no such encoder or cannot be reached, and for an encoder whose vectors have another width than `dim`.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise ConfigurationError(
            "a BERT as text encoder needs the package transformers. Install it with: pip install -e '.[bert]'"
        ) from error
    folder = Path(source).expanduser()
    if folder.exists() and not (folder / "config.json").is_file():
        raise ConfigurationError(
            f"text_encoder {source}: this folder has no config.json; expected a BERT as transformers saves it"
        )
    try:
        name = str(folder) if folder.exists() else source
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModel.from_pretrained(name, use_safetensors=True).eval()
    except (
        OSError,
        ValueError,
        KeyError,
    ) as error:  # what transformers raises for a missing, unreachable, damaged or unknown model
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigurationError(
            f"text_encoder {source!r} is neither a folder with a BERT (config.json, model.safetensors, tokenizer) nor "
            f"a model that could be fetched from the hub ({first}). Give a folder, or leave text_encoder=tfidf, which "
            "needs no download"
        ) from error
    if model.config.hidden_size != dim:
        raise ConfigurationError(
            f"text_encoder {source}: its vectors have {model.config.hidden_size} numbers, the memory expects "
            f"text_dim={dim}; "
            f"set memory.text_dim={model.config.hidden_size}"
        )
    longest = min(getattr(model.config, "max_position_embeddings", 512), 512)
    parts = []
    for start in tqdm(range(0, len(reports), batch_size), desc="reading reports", unit="batch", disable=not progress):
        tokens = tokenizer(
            list(reports[start : start + batch_size]),
            padding=True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        parts.append(model(**tokens).last_hidden_state[:, 0].float().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, dim), np.float32)
