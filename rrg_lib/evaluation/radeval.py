"""The model-based metrics of the field, by the package RadEval: an extra, because they bring large weights from a hub.

`pip install "rrg-book[radeval]"` installs it. Nothing of it is imported before a metric is asked for. The metrics and
what each needs are in `EXTERNAL_METRICS`.

Source: RadEval (Xu et al. 2025, EMNLP demos), version 2, whose interface is `RadEval(metrics=[…],
per_sample=True)(refs=…, hyps=…)`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np

from rrg_lib.errors import ReportError, RRGError, UnknownNameError
from rrg_lib.evaluation.nlg import Reports, named, one_report_each, same_studies
from rrg_lib.evaluation.resampling import Additive, mean_of

_MODULE = "radeval"


class ExternalMetricError(RRGError):
    """A metric that needs a package or weights that can't be had here. The message says which, and how to get them."""


class External(NamedTuple):
    """`key` is RadEval's name of the metric, `corpus` and `per_study` those of its scores that we keep (None where it
    has none for each study); `needs` what it fetches."""

    key: str
    corpus: str
    per_study: str | None
    needs: str


#: By our name. A corpus F1 (CheXbert) is no mean of per-study scores, so it has no interval.
EXTERNAL_METRICS: dict[str, External] = {
    "CheXbert F1 (14, micro)": External(
        "f1chexbert", "f1chexbert_all_micro_f1", None, "CheXbert's weights and bert-base-uncased"
    ),
    "CheXbert F1 (5, micro)": External(
        "f1chexbert", "f1chexbert_5_micro_f1", None, "CheXbert's weights and bert-base-uncased"
    ),
    "RadGraph F1": External("radgraph", "radgraph_partial", "radgraph_partial", "RadGraph's weights"),
    "RadCliQ": External(
        "radcliq", "radcliq_v1", "radcliq_v1", "CheXbert, RadGraph and BERTScore weights; lower is better"
    ),
    "RaTEScore": External("ratescore", "ratescore", "ratescore", "two RaTEScore models"),
    "GREEN": External("green", "green", "green", "a language model of 7 billion parameters and a GPU"),
}


@dataclass(frozen=True, eq=False)
class ExternalScores:
    """`corpus` by metric; `per_study` (n,) by metric, in the order of `ids`, for those that have it; `additive` for
    subsets and intervals."""

    ids: tuple[str, ...]
    corpus: dict[str, float]
    per_study: dict[str, np.ndarray]
    additive: dict[str, Additive]
    provenance: dict[str, str]


def external_scores(references: Reports, hypotheses: Reports, *, metrics: Sequence[str]) -> ExternalScores:
    """Scores reports (study id -> text) with metrics of RadEval.

    Each metric of RadEval runs once, however many of its scores are asked for. Hypotheses may be in any order; empty
    ones are scored as they are.

    Raises:
        UnknownNameError: a metric that is not of `EXTERNAL_METRICS`.
        ReportError: ids twice, missing or too many; an empty reference; no study.
        ExternalMetricError: the package is missing, its weights can't be had, or it answers something else than it
            promises.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(dict.fromkeys(metrics))
    for metric in metrics:
        if metric not in EXTERNAL_METRICS:
            raise UnknownNameError("external metric", metric, EXTERNAL_METRICS)
    references, hypotheses = one_report_each(references, "reference"), one_report_each(hypotheses, "hypothesis")
    same_studies(references, hypotheses, "hypotheses")
    if empty := [study for study, report in references.items() if not report]:
        raise ReportError(f"{named(empty)}: the reference is empty, so no score is defined. Leave the study out.")
    ids = tuple(references)
    refs, hyps = [references[study] for study in ids], [hypotheses[study] for study in ids]
    radeval = _package()
    corpus: dict[str, float] = {}
    per_study: dict[str, np.ndarray] = {}
    answers: dict[tuple[str, bool], dict[str, Any]] = {}
    for metric in metrics:
        external = EXTERNAL_METRICS[metric]
        asked = external.key, external.per_study is not None
        if asked not in answers:
            answers[asked] = _answer(radeval, external, refs, hyps, per_sample=asked[1])
        if external.per_study is None:
            corpus[metric] = _number(metric, answers[asked].get(external.corpus))
        else:
            each = answers[asked].get(external.per_study)
            if not isinstance(each, Sequence | np.ndarray) or len(each) != len(ids):
                raise ExternalMetricError(
                    f"{metric}: RadEval gave no score for each of the {len(ids)} studies under {external.per_study!r}; "
                    f"{_VERSIONS}"
                )
            per_study[metric] = np.array([_number(metric, value) for value in each])
            corpus[metric] = float(per_study[metric].mean())
    return ExternalScores(
        ids, corpus, per_study, {metric: mean_of(each) for metric, each in per_study.items()}, {"radeval": _version()}
    )


_VERSIONS = "this adapter was written for version 2: pip install 'radeval>=2.2,<3'"


def _package() -> Any:
    try:
        return importlib.import_module(_MODULE).RadEval
    except ImportError as error:
        if getattr(error, "name", None) == _MODULE:
            raise ExternalMetricError(
                f"the metrics {', '.join(EXTERNAL_METRICS)} need the package radeval, which is not installed; run: "
                f'pip install "rrg-book[radeval]"'
            ) from error
        raise ExternalMetricError(
            f"the package radeval is installed but cannot be imported ({error}); {_VERSIONS}"
        ) from error
    except AttributeError as error:
        raise ExternalMetricError(f"the package radeval has no RadEval in it; {_VERSIONS}") from error


def _answer(radeval: Any, external: External, refs: list[str], hyps: list[str], *, per_sample: bool) -> dict[str, Any]:
    # Whatever goes wrong in a foreign package (no network, no weights, no memory, an interface that changed) is one
    # thing to the user: no score.
    try:
        answer = radeval(metrics=[external.key], per_sample=per_sample, show_progress=False)(refs=refs, hyps=hyps)
    except Exception as error:
        raise ExternalMetricError(
            f"RadEval could not compute {external.key!r} ({type(error).__name__}: {str(error)[:200]}). It needs "
            f"{external.needs}, fetched from the Hugging Face hub once: run it with a network, or copy the hub's cache "
            "here and set HF_HOME to it"
        ) from error
    if not isinstance(answer, dict):
        raise ExternalMetricError(
            f"RadEval answered {type(answer).__name__} for {external.key!r}, not a dictionary; {_VERSIONS}"
        )
    return answer


def _number(metric: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ExternalMetricError(f"{metric}: RadEval gave {value!r} where a score was expected; {_VERSIONS}")
    return number


def _version() -> str:
    try:
        return version(_MODULE)
    except PackageNotFoundError:
        return "unknown"
