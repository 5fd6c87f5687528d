"""What a linear model can tell: of an extractor's features, what is in them; of the pixels themselves, the lower mark
beside every extractor (findings that it could read would teach nothing about seeing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from rrg_lib.data.study import DRAWN_FINDINGS, Split
from rrg_lib.evaluation.resampling import Additive, interval, ratio
from rrg_lib.models.visual.finding_extractor import choose_thresholds

#: Inverse strengths of the L2 penalty that are tried.
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
#: The logit of a finding that no training study, or every one, has: nothing can be fitted, and it is never predicted.
NEVER = -30.0


@dataclass(frozen=True, eq=False)
class Probe:
    """A logistic regression a finding: `logits = features @ weights.T + bias` in the features' own units, weights (F,
    D), bias and thresholds (F,). `penalty` and thresholds were chosen on val; `logits` (n, F) and `micro_f1` of each
    split."""

    weights: np.ndarray
    bias: np.ndarray
    thresholds: np.ndarray
    penalty: float
    logits: dict[Split, np.ndarray]
    micro_f1: dict[Split, float]


def fit_probe(
    features: Mapping[Split, np.ndarray], findings: Mapping[Split, np.ndarray], *, progress: bool = True
) -> Probe:
    """The probe of `features` (n, D) for `findings` (n, F) zeros and ones of train, val and test. Features are
    standardised and the model fitted on train; penalty and thresholds are those with the best micro-F1 on val, as the
    extractors' thresholds are."""
    scaler = StandardScaler().fit(features["train"])
    scaled = {split: scaler.transform(array) for split, array in features.items()}
    truth = {split: np.asarray(array) for split, array in findings.items()}
    best: Probe | None = None
    for penalty in tqdm(PENALTIES, desc="linear probe", disable=not progress):
        weights, bias = (
            np.zeros((truth["train"].shape[1], scaled["train"].shape[1])),
            np.full(truth["train"].shape[1], NEVER),
        )
        for column, present in enumerate(truth["train"].T):
            if 0 < present.sum() < len(present):
                model = LogisticRegression(C=penalty, max_iter=200).fit(scaled["train"], present)
                weights[column], bias[column] = model.coef_[0], model.intercept_[0]
        logits = {split: array @ weights.T + bias for split, array in scaled.items()}
        thresholds = choose_thresholds(torch.from_numpy(logits["val"]), truth["val"]).numpy()
        thresholds[bias == NEVER] = 0  # even where val has it
        scores = {
            split: float(f1_score(truth[split], logits[split] >= thresholds, average="micro")) for split in logits
        }
        if best is None or scores["val"] > best.micro_f1["val"]:
            unscaled = weights / scaler.scale_  # undoes the standardising, so that the probe reads features as they are
            best = Probe(unscaled, bias - unscaled @ scaler.mean_, thresholds, penalty, logits, scores)
    return best


def linear_probe(
    views: Mapping[Split, np.ndarray], findings: Mapping[Split, np.ndarray], *, side: int = 64, progress: bool = True
) -> dict[Split, float]:
    """Micro-F1 of a probe of the pixels themselves, averaged to `side` x `side` a view: `views` are uint8 (n, V, H,
    W)."""
    return fit_probe(
        {split: pixel_means(array, side) for split, array in views.items()}, findings, progress=progress
    ).micro_f1


def pixel_means(views: np.ndarray, side: int = 64) -> np.ndarray:
    """(n, V·side·side) float32: uint8 views (n, V, H, W) averaged to `side` x `side`."""
    n, v, height, width = views.shape
    block = views[:, :, : height // side * side, : width // side * side].reshape(
        n, v, side, height // side, side, width // side
    )
    return block.mean((3, 5), dtype=np.float32).reshape(n, -1)


def probe_scores(probes: Mapping[str, Probe], findings: np.ndarray, *, split: Split = "test") -> pd.DataFrame:
    """A row a probe: micro-F1 on the split with its 95 % bootstrap interval over studies (`low`, `high`), and the mean
    AUROC over the findings that some of the studies have and some have not."""
    truth, rows = np.asarray(findings).astype(bool), {}
    for name, probe in probes.items():
        predicted = probe.logits[split] >= probe.thresholds
        terms = np.stack([(predicted & truth).sum(1), predicted.sum(1) + truth.sum(1)], axis=1)
        score = Additive(terms.astype(float), lambda sums: ratio(2 * sums[..., 0], sums[..., 1]))
        rows[name] = {
            "micro-F1": score.value(),
            **interval(score)._asdict(),
            "mean AUROC": finding_auroc(probe.logits[split], truth, range(truth.shape[1])).mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def probe_difference(
    better: Probe, than: Probe, findings: np.ndarray, *, split: Split = "test"
) -> tuple[float, float, float]:
    """How much higher the micro-F1 of one probe is than another's on the same studies: the difference and its paired 95
    % bootstrap interval."""
    truth = np.asarray(findings).astype(bool)
    predicted = [probe.logits[split] >= probe.thresholds for probe in (better, than)]
    terms = np.stack(
        [sums for each in predicted for sums in ((each & truth).sum(1), each.sum(1) + truth.sum(1))], axis=1
    ).astype(float)
    score = Additive(terms, lambda sums: ratio(2 * sums[..., 0], sums[..., 1]) - ratio(2 * sums[..., 2], sums[..., 3]))
    return score.value(), *interval(score)


def finding_auroc(
    logits: np.ndarray, findings: np.ndarray, names: Sequence = DRAWN_FINDINGS, *, fewest: int = 1
) -> pd.Series:
    """AUROC of each finding that at least `fewest` of the studies have and at least as many have not."""
    truth = np.asarray(findings)
    enough = {name: k for k, name in enumerate(names) if fewest <= truth[:, k].sum() <= len(truth) - fewest}
    return pd.Series({name: roc_auc_score(truth[:, k], logits[:, k]) for name, k in enough.items()}, dtype=float)
