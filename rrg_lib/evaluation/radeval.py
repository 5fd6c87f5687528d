"""The model-based metrics of the field, by the package RadEval: an extra, because they bring large weights from a hub.

`pip install "rrg-book[radeval]"` installs it. Nothing of it is imported before a metric is asked for. Its metrics for
chest radiographs are the rows of `data/external_metrics.csv` (`EXTERNAL_METRICS`), each with what it needs and costs;
the rows that say `why_not` are metrics that were looked at and not taken.

Source: RadEval (Xu et al. 2025, EMNLP demos), version 2.2.1, whose interface is `RadEval(metrics=[…],
per_sample=True)(refs=…, hyps=…)`. Costs are those that its documentation gives for version 2.2.0: 20 short reports on
an A100, weights already there.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from rrg_lib.errors import ReportError, RRGError, UnknownNameError
from rrg_lib.evaluation.nlg import Reports, named, one_report_each, same_studies
from rrg_lib.evaluation.resampling import Additive, mean_of
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.package_data import table

_MODULE = "radeval"


class ExternalMetricError(RRGError):
    """A metric that needs a package or weights that can't be had here. The message says which, and how to get them."""


@dataclass(frozen=True)
class External:
    """`key` is RadEval's name of the metric, `corpus` and `per_study` those of its scores that we keep (None where it
    has none for each study, or the corpus's score is not their mean: then there is no interval); `needs` what it
    fetches; `milliseconds` a report and `gpu_mib` as RadEval's documentation has them, None where it has not."""

    key: str
    corpus: str
    per_study: str | None
    lower_is_better: bool
    needs: str
    milliseconds: float | None
    gpu_mib: int | None
    note: str


def _external(row: dict[str, str]) -> External:
    ms, mib = row["milliseconds"], row["gpu_mib"]
    return External(
        row["key"],
        row["corpus"],
        row["per_study"] or None,
        row["lower_is_better"] == "yes",
        row["needs"],
        float(ms) if ms else None,
        int(mib) if mib else None,
        row["note"],
    )


#: By our name.
EXTERNAL_METRICS: dict[str, External] = {
    row["metric"]: _external(row) for row in table("external_metrics") if not row["why_not"]
}


def external_metrics_markdown() -> str:
    """The metrics that can be had, what each needs and costs, and those that were not taken and why."""
    rows = [
        [
            name,
            "lower" if metric.lower_is_better else "higher",
            metric.needs,
            "–" if metric.milliseconds is None else f"{metric.milliseconds:g}",
            "–" if metric.gpu_mib is None else str(metric.gpu_mib),
            "yes" if metric.per_study else "no",
            metric.note,
        ]
        for name, metric in EXTERNAL_METRICS.items()
    ]
    lines = markdown_table(["metric", "better", "fetches once", "ms a report", "GPU, MiB", "interval", "remarks"], rows)
    lines += ["", "Costs by RadEval's documentation: short reports on an A100, weights already there. Not taken:", ""]
    lines += [
        f"- {row['metric']} ({row['package']}): {row['why_not']}" for row in table("external_metrics") if row["why_not"]
    ]
    return "\n".join(lines) + "\n"


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
    metrics = _known([metrics] if isinstance(metrics, str) else metrics)
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


def require_external(metrics: Sequence[str]) -> None:
    """That these metrics are known and their package is there, before anything is scored; weights are looked for when
    a metric runs. Raises as `external_scores` does."""
    if _known(metrics):
        _package()


def _known(metrics: Sequence[str]) -> list[str]:
    for metric in metrics:
        if metric not in EXTERNAL_METRICS:
            raise UnknownNameError("external metric", metric, EXTERNAL_METRICS)
    return list(dict.fromkeys(metrics))


_VERSIONS = "this adapter was written for version 2: pip install 'radeval>=2.2,<3'"


def _package() -> Any:
    try:
        return importlib.import_module(_MODULE).RadEval
    except ImportError as error:
        if getattr(error, "name", None) == _MODULE:
            raise ExternalMetricError(
                "metrics of RadEval need the package radeval, which is not installed; run: "
                'pip install "rrg-book[radeval]"'
            ) from error
        raise ExternalMetricError(
            f"the package radeval is installed but cannot be imported ({error}). Install it with what it needs: pip "
            f'install "rrg-book[radeval]"; {_VERSIONS}'
        ) from error
    except AttributeError as error:
        raise ExternalMetricError(f"the package radeval has no RadEval in it; {_VERSIONS}") from error


def _answer(radeval: Any, external: External, refs: list[str], hyps: list[str], *, per_sample: bool) -> dict[str, Any]:
    # Whatever goes wrong in a foreign package (no network, no weights, no memory, an interface that changed) is one
    # thing to the user: no score.
    try:
        # it turns every warning off, and what it loads prints as it likes: neither is to be ours
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            answer = radeval(metrics=[external.key], per_sample=per_sample, show_progress=False)(refs=refs, hyps=hyps)
    except Exception as error:
        raise ExternalMetricError(
            f"RadEval could not compute {external.key!r} ({type(error).__name__}: {str(error)[:200]}). It needs "
            f"{external.needs}; weights are fetched once: run it with a network, or copy the cache of a machine that "
            f"has them (of the Hugging Face hub: set HF_HOME to the copy)"
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
