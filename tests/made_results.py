"""Stored results that no training made, for tests of what is concluded from them."""

from __future__ import annotations

from dataclasses import replace

from rrg_lib.evaluation.resampling import Interval, mean_of
from rrg_lib.experiments.presets import experiment, released_settings
from rrg_lib.experiments.results import EDITION_0_1, StoredResult, stored_results

NLG = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L")


def result(
    preset,
    score,
    seed=0,
    *,
    dataset="iu_phantom",
    profile="laptop",
    labels=None,
    half=0.01,
    metrics=NLG,
    terms=None,
    protocol=None,
    **settings,
):
    """A stored result like the shipped one of CMN, of another preset, seed and score: the same in each of `metrics`.
    `terms`: scores study by study."""
    (like,) = (r for r in stored_results("laptop", "iu_phantom") if r.name == "iu_phantom-cmn-laptop-seed7580")
    row = like.evaluation.rows[0]
    part = replace(row.parts["all"], scores={**row.parts["all"].scores, **dict.fromkeys(metrics, score)})
    ends = dict.fromkeys(metrics, Interval(score - half, score + half))
    row = replace(row, parts={**row.parts, "all": part}, intervals={**row.intervals, **ends})
    name, own = f"{dataset}/{preset}", [f"{key}={value}" for key, value in settings.items()]
    what = experiment(name, profile, [*released_settings(name, profile), *own], seed)
    protocol = protocol or ("published" if profile == "gpu" else EDITION_0_1 if terms is None else "greedy")
    provenance = {
        **like.provenance,
        "protocol": protocol,
        "decoding": {**like.provenance["decoding"], "labels_at_test": labels or "classifier"},
    }
    evaluation = replace(
        like.evaluation,
        rows=(row, *like.evaluation.rows[1:]),
        terms={} if terms is None else {m: mean_of(terms) for m in metrics},
    )
    return StoredResult(
        f"{preset}-{seed}", what, provenance, evaluation, like.history, f"{what.name}-{profile}-{what.hash}-{seed}"
    )


def seeds(preset: str, *scores: float, **options) -> list[StoredResult]:
    return [result(preset, score, seed, **options) for seed, score in enumerate(scores)]
