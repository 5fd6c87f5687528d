"""Grad-CAM: which patches a score comes from (Selvaraju et al., ICCV 2017), and whether they lie where the finding was
drawn.

    alpha_d = mean_p  d score / d A[p, d]            Selvaraju et al. 2017, Eq. 1
    L[p]    = ReLU( sum_d alpha_d A[p, d] )          Eq. 2

A is the map of patch features of one view. Of a score that is linear in the mean patch this is the class activation map
(Zhou et al., CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rrg_lib.data.study import Box
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.attention import EPSILON, box_cover, box_score


def grad_cam(maps: Tensor, scores: Tensor) -> Tensor:
    """(B, V, P): how much each patch speaks for the scores, from maps (B, V, P, D) that `scores` (B,) was computed
    from; each view has its own alphas.

    Raises `ConfigurationError` when the scores do not depend on the maps.
    """
    if not maps.requires_grad or not scores.requires_grad:
        raise ConfigurationError(
            "Grad-CAM needs a score that was computed from the maps: call maps.requires_grad_() first, outside of "
            "no_grad"
        )
    (slopes,) = torch.autograd.grad(scores.sum(), maps)  # (B, V, P, D)
    alphas = slopes.mean(dim=2, keepdim=True)  # (B, V, 1, D)        Eq. 1
    return (alphas * maps.detach()).sum(dim=-1).relu()  # (B, V, P)  Eq. 2


def map_table(
    maps: Mapping[tuple[str, str], np.ndarray], boxes: Mapping[str, Sequence[Box]], *, views: int = 2, size: int = 256
) -> pd.DataFrame:
    """Maps (V·P,) by study and finding, scored against the boxes of that finding in that study: a row a map, for
    `box_summary`.

    Columns: study, finding, `inside`, `chance`, `auc` (`BoxScore`), and `others`, what the mean map of the other
    studies for the finding gets in this study's boxes. Maps without a box of their finding are left out.
    """
    flat: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for (study, finding), values in maps.items():
        if of_finding := [box for box in boxes[study] if box.finding == finding]:
            values = (
                np.asarray(values, dtype=float).ravel() + EPSILON
            )  # a map that is 0 everywhere says nothing, which is everywhere alike
            cover = box_cover(of_finding, views=views, grid=round((len(values) / views) ** 0.5), size=size)
            flat.setdefault(finding, []).append((study, values / values.sum(), cover))
    rows = []
    for finding, maps_of_finding in flat.items():
        total = np.sum([values for _, values, _ in maps_of_finding], axis=0)
        for study, values, cover in maps_of_finding:
            score = box_score(values, cover)
            others = box_score((total - values).clip(min=0), cover).inside if len(maps_of_finding) > 1 else np.nan
            rows.append([study, finding, score.inside, score.chance, score.auc, others])
    return pd.DataFrame(rows, columns=["study", "finding", "inside", "chance", "auc", "others"])
