"""What a linear model of the pixels can tell: the lower mark beside every extractor. Findings that it could read would teach nothing about seeing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from rrg_lib.pretraining import choose_thresholds
from rrg_lib.study import Split

#: Inverse strengths of the L2 penalty that are tried.
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)


def linear_probe(
    views: Mapping[Split, np.ndarray], labels: Mapping[Split, np.ndarray], *, side: int = 64, progress: bool = True
) -> dict[Split, float]:
    """Micro-F1 of a logistic regression a finding on the pixels, averaged to `side` x `side` a view and standardised.

    `views` are uint8 (n, V, H, W) and `labels` (n, findings) of train, val and test. Fitted on train; penalty and thresholds are those that are best on
    val, as the extractors' thresholds are.
    """
    pixels = {split: _means(array, side) for split, array in views.items()}
    scaler = StandardScaler().fit(pixels["train"])
    pixels = {split: scaler.transform(array) for split, array in pixels.items()}
    best: dict[Split, float] = {}
    for penalty in tqdm(PENALTIES, desc="linear probe", disable=not progress):
        logits = {split: np.zeros(np.shape(truth)) for split, truth in labels.items()}
        for column in range(np.shape(labels["train"])[1]):
            model = LogisticRegression(C=penalty, max_iter=200).fit(pixels["train"], np.asarray(labels["train"])[:, column])
            for split, into in logits.items():
                into[:, column] = model.decision_function(pixels[split])
        thresholds = choose_thresholds(torch.from_numpy(logits["val"]), labels["val"]).numpy()
        scores = {split: float(f1_score(np.asarray(labels[split]), logits[split] >= thresholds, average="micro")) for split in logits}
        if not best or scores["val"] > best["val"]:
            best = scores
    return best


def _means(views: np.ndarray, side: int) -> np.ndarray:
    n, v, height, width = views.shape
    block = views[:, :, : height // side * side, : width // side * side].reshape(n, v, side, height // side, side, width // side)
    return block.mean((3, 5), dtype=np.float32).reshape(n, -1)
