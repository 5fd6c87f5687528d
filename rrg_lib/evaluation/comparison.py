"""Do two systems differ? Their reports of the same studies, score by score: both spreads over seeds, the difference,
and the paired test's p."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rrg_lib.data.study import Study
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.metrics import Pairs, metrics_shown
from rrg_lib.evaluation.nlg import WITHOUT_JAVA, Reports, nlg_scores, one_report_each
from rrg_lib.evaluation.resampling import Additive, PairedTest, Spread, over_seeds, paired_randomisation
from rrg_lib.runtime.markdown import markdown_table


@dataclass(frozen=True)
class Comparison:
    """One score of two systems: the spread of each over its seeds, and the test of their difference on these
    studies."""

    score: str
    a: Spread
    b: Spread
    test: PairedTest


def compare_reports(
    a: Sequence[Reports],
    b: Sequence[Reports],
    studies: Sequence[Study],
    vocabulary: Vocabulary,
    *,
    metrics: Sequence[str] = WITHOUT_JAVA,
) -> list[Comparison]:
    """Two systems' reports of exactly these studies, one set a seed, as many of the one as of the other and paired in
    order.

    Raises `ReportError` for other studies, `ConfigurationError` for other numbers of seeds, `UnknownNameError` for a
    metric, `JavaError` as METEOR does.
    """
    if len(a) != len(b) or not a:
        raise ConfigurationError(
            f"a comparison needs as many seeds of one system as of the other, at least one, not {len(a)} and {len(b)}"
        )
    references = {study.id: vocabulary.protocol.reference(study.report, vocabulary) for study in studies}
    one, other = (
        [_scores(one_report_each(reports, "hypothesis"), references, studies, metrics) for reports in several]
        for several in (a, b)
    )
    comparisons = []
    for name in one[0]:
        x, y = ([scores[name] for scores in several] for several in (one, other))
        comparisons.append(
            Comparison(
                name, over_seeds([s.value() for s in x]), over_seeds([s.value() for s in y]), paired_randomisation(x, y)
            )
        )
    return comparisons


def same_protocol(folders: Sequence[Path], *, vocabulary: str, dataset: str) -> None:
    """That the runs in these folders were trained with the vocabulary (words and protocol) and on the dataset of these
    hashes, which are to score them.

    Raises `ConfigurationError` naming the first that was not: its reports would be held against references that are cut
    or cleaned otherwise.
    """
    for folder in folders:
        try:
            identity = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))["identity"]
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f"{folder} is no run folder: its experiment.json cannot be read ({error})"
            ) from error
        for part, wanted in (("vocabulary", vocabulary), ("dataset", dataset)):
            if identity.get(part) != wanted:
                named = "vocabulary or protocol" if part == "vocabulary" else part
                raise ConfigurationError(
                    f"{folder} was trained with another {named}: it says {identity.get(part)!r}, the dataset here has "
                    f"{wanted!r}. "
                    "Compare runs with the dataset that they were trained on"
                )


def _scores(
    reports: dict[str, str], references: dict[str, str], studies: Sequence[Study], metrics: Sequence[str]
) -> dict[str, Additive]:
    scores = nlg_scores(references, reports, metrics=metrics).additive
    ids = [study.id for study in studies]
    pairs = Pairs([references[study] for study in ids], [reports[study] for study in ids], studies)
    shown = metrics_shown("comparison")
    of_codes = {metric.name: metric.score(pairs).additive for metric in shown if metric.needs_codes}
    scores = {**scores, **of_codes}
    return {metric.name: terms for metric in shown if (terms := scores.get(metric.name)) is not None}


def comparison_markdown(names: tuple[str, str], comparisons: Sequence[Comparison], *, trained: bool = True) -> str:
    """A table, a row a score. `trained`: the scores are of trainings, and say of how many; else of one file each."""
    score = lambda of: str(of) if trained else f"{of.mean:.3f}"  # noqa: E731
    other = "seeds than these" if trained else "trainings of these systems"
    rows = [[c.score, score(c.a), score(c.b), f"{c.test.difference:+.3f}", f"{c.test.p:.4f}"] for c in comparisons]
    lines = markdown_table(["score", *names, "difference", "p"], rows)
    return "\n".join(
        [
            *lines,
            "",
            f"p: paired randomisation over studies, {comparisons[0].test.trials:,} trials; it says nothing of other "
            f"{other}.",
        ]
    )
