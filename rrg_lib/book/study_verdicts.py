"""What a chapter says of a study of `data/studies`: the verdicts of its report, a label each, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from rrg_lib.book.prose import agreeing
from rrg_lib.replication.decision_rule import Order
from rrg_lib.replication.study_report import StudyReport


def verdicts_of(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> dict[str, Order]:
    """The verdicts of a metric, of comparisons whose first or second system is in `among` (default: all): a label, with
    the condition where there are several, -> the order."""
    several = len(report.plan.conditions) > 1
    return {
        (f"{v.condition}: " if several else "") + f"{v.a} − {v.b}": v.order
        for v in report.verdicts
        if v.metric == metric and (among is None or {v.a, v.b} & set(among))
    }


def verdict_table(found: dict[str, Order], metric: str) -> pd.DataFrame:
    """A row a comparison: the verdict with its numbers, in words."""
    return pd.DataFrame([[label, str(one)] for label, one in found.items()], columns=["comparison", metric])


def verdicts_in_words(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> str:
    """One sentence: how many comparisons are told apart, which and by how much (with the 95 % interval), how many are
    bounded, how many open. "Not run" where no result is there."""
    found = verdicts_of(report, metric, among=among)
    if not found:
        return f"**Not run:** no result of the study `{report.plan.name}` is here. `rrg study run {report.plan.name}`"
    apart = [
        f"{label} {one.answer} by {abs(one.difference):.3f} [{abs(one.difference) - one.margin:.3f}, "
        f"{abs(one.difference) + one.margin:.3f}]"
        for label, one in found.items()
        if one.told_apart
    ]
    named = f" ({'; '.join(apart)})" if apart else ""
    alike = sum(one.answer == "no difference" for one in found.values())
    return (
        f"`{report.plan.name}`, {metric}: of {agreeing(len(found), 'comparison', 'comparisons')} "
        f"{agreeing(len(apart), 'is', 'are')} told apart{named}, {agreeing(alike, 'shows', 'show')} that nothing "
        f"larger than {report.plan.deltas[metric]:g} is there, {len(found) - len(apart) - alike} open."
    )
