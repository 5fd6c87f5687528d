"""What a chapter shows of a study of `data/studies`: the verdicts of its report as a figure, a table and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from rrg_lib.book.figures.replication_ledger import order_differences
from rrg_lib.book.prose import agreeing
from rrg_lib.replication.decision_rule import Order
from rrg_lib.replication.study_report import StudyReport, StudyVerdict

if TYPE_CHECKING:
    from IPython.display import Markdown


def show_study(report: StudyReport, metric: str, *, among: Sequence[str] | None = None, name: str) -> Markdown:
    """Displays the verdicts of a metric and how they change with the condition, each as a figure (called `name`, and
    `name`_change) and a table; returns them in words. `among` as in `verdicts_of`. Without results: "Not run"."""
    from IPython.display import Markdown, display

    found, changed = verdicts_of(report, metric, among=among), changes_of(report, metric, among=among)
    for orders, what, figure in ((found, metric, name), (changed, f"the gain in {metric}", f"{name}_change")):
        if orders:
            display(order_differences(orders, what, name=figure))
            display(verdict_table(orders, what))
    return Markdown(verdicts_in_words(report, metric, among=among))


def verdicts_of(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> dict[str, Order]:
    """The verdicts of a metric, of comparisons whose first or second system is in `among` (default: all): a label, with
    the condition where there are several, -> the order."""
    several = len(report.plan.conditions) > 1
    return {
        (f"{v.condition}: " if several else "") + f"{v.a} − {v.b}": v.order for v in _of(report.verdicts, metric, among)
    }


def changes_of(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> dict[str, Order]:
    """How the differences of `verdicts_of` change from the first condition to each other one: a label -> the order of
    the two differences."""
    first = report.plan.conditions[0].name
    return {f"{v.condition} beside {first}: {v.a} − {v.b}": v.order for v in _of(report.changes, metric, among)}


def _of(verdicts: Sequence[StudyVerdict], metric: str, among: Sequence[str] | None) -> list[StudyVerdict]:
    return [v for v in verdicts if v.metric == metric and (among is None or {v.a, v.b} & set(among))]


def verdict_table(found: dict[str, Order], metric: str) -> pd.DataFrame:
    """A row a comparison: the verdict with its numbers, in words."""
    return pd.DataFrame([[label, str(one)] for label, one in found.items()], columns=["comparison", metric])


def verdicts_in_words(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> str:
    """How many comparisons are told apart, which and by how much (with the 95 % interval), how many are bounded, how
    many open; and the same of their changes with the condition. "Not run" where no result is there."""
    found, changed = verdicts_of(report, metric, among=among), changes_of(report, metric, among=among)
    if not found:
        return f"**Not run:** no result of the study `{report.plan.name}` is here. `rrg study run {report.plan.name}`"
    delta = report.plan.deltas[metric]
    words = (
        f"`{report.plan.name}`, {metric}: "
        + _counted(found, "comparison", ("is told apart", "are told apart"))
        + f", {_alike(found)} that nothing larger than {delta:g} is there, {_open(found)} open."
    )
    if changed:
        words += (
            " With the condition "
            + _counted(changed, "difference", ("changes", "change"))
            + f", {_alike(changed)} no change larger than {delta:g}, {_open(changed)} open."
        )
    return words


def _counted(orders: dict[str, Order], what: str, verb: tuple[str, str]) -> str:
    """ "of 6 comparisons 2 are told apart (cmn − base above by 0.041 [0.029, 0.053]; …)"."""
    apart = [
        f"{label} {one.answer} by {abs(one.difference):.3f} [{abs(one.difference) - one.margin:.3f}, "
        f"{abs(one.difference) + one.margin:.3f}]"
        for label, one in orders.items()
        if one.told_apart
    ]
    named = f" ({'; '.join(apart)})" if apart else ""
    return f"of {agreeing(len(orders), what, f'{what}s')} {agreeing(len(apart), *verb)}{named}"


def _alike(orders: dict[str, Order]) -> str:
    return agreeing(sum(one.answer == "no difference" for one in orders.values()), "shows", "show")


def _open(orders: dict[str, Order]) -> int:
    return sum(not one.told_apart and one.answer != "no difference" for one in orders.values())


def gain_in_words(report: StudyReport, metric: str, a: str, b: str) -> str:
    """One sentence: by how much a is above b under each condition, with the 95 % interval and the verdict, and by how
    much more than under the first. "Not run" where no result is there."""
    gains = [v for v in report.verdicts if (v.a, v.b, v.metric) == (a, b, metric)]
    if not gains:
        return verdicts_in_words(report, metric, among=[])
    more = [v for v in report.changes if (v.a, v.b, v.metric) == (a, b, metric)]
    titles = {c.name: c.title for c in report.plan.conditions}
    said = "; ".join(f"{titles[v.condition]} {_interval(v.order)}" for v in gains)
    beside = "; ".join(f"{titles[v.condition]} {_interval(v.order)}" for v in more)
    return f"{metric}, {a} − {b}: {said}." + (
        f" Less what it is with {titles[report.plan.conditions[0].name]}: {beside}." if beside else ""
    )


def _interval(one: Order) -> str:
    low, high = one.difference - one.margin, one.difference + one.margin
    return f"**{one.difference:+.3f}** [{low:+.3f}, {high:+.3f}], {one.how}"
