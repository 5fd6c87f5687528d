"""What a chapter shows of a study of `data/studies`: the verdicts of its report as a figure, a table and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from rrg_lib.book.figures.replication_ledger import not_run, order_differences
from rrg_lib.book.prose import agreeing
from rrg_lib.replication.decision_rule import Order
from rrg_lib.replication.study_report import StudyReport, StudyVerdict

if TYPE_CHECKING:
    from IPython.display import Markdown

#: A label -> what was decided under it.
Labelled = Mapping[str, StudyVerdict]


def show_study(report: StudyReport, metric: str, *, among: Sequence[str] | None = None, name: str) -> Markdown:
    """Displays what the compared systems are, the verdicts of a metric and how they change with the condition, each as
    a figure (called `name`, and `name`_change) and a table; returns them in words, and those of the plan's other
    metrics. `among` as in `verdicts_of`. Without any to show the figure is a page that says why."""
    from IPython.display import Markdown, display

    found, changed = verdicts_of(report, metric, among=among), changes_of(report, metric, among=among)
    if not found:
        display(not_run(report.plan.title, _without_marks(_nothing_yet(report)), name=name))
        return Markdown(_nothing_yet(report))
    display(Markdown(systems_in_words(report, found)))
    for verdicts, what, figure in ((found, metric, name), (changed, f"the gain in {metric}", f"{name}_change")):
        if verdicts:
            display(order_differences(orders(verdicts), what, name=figure))
            with pd.option_context("display.max_colwidth", None):  # what would decide it stands at the end of a cell
                display(verdict_table(verdicts, what))
    metrics = (metric, *(other for other in report.plan.metrics if other != metric))
    return Markdown("\n".join(f"- {verdicts_in_words(report, one, among=among)}" for one in metrics))


def systems_in_words(report: StudyReport, verdicts: Labelled) -> str:
    """What the systems of some comparisons are, and what the conditions are where there are several."""
    named = {name for v in verdicts.values() for name in (v.a, v.b)}
    parts = [f"`{s.name}`: {s.title}" for s in report.plan.systems if s.name in named]
    if len(report.plan.conditions) > 1:
        parts += [f"*{c.name}*: {c.title}" for c in report.plan.conditions]
    return "; ".join(parts) + "."


def verdicts_of(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> dict[str, StudyVerdict]:
    """The verdicts of a metric, of comparisons whose first or second system is in `among` (default: all), by a label:
    the two systems, and the condition where there are several."""
    several = len(report.plan.conditions) > 1
    return {(f"{v.condition}: " if several else "") + f"{v.a} − {v.b}": v for v in _of(report.verdicts, metric, among)}


def changes_of(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> dict[str, StudyVerdict]:
    """How the differences of `verdicts_of` change from the first condition to each other one, by a label."""
    return {f"{v.condition} beside {v.first}: {v.a} − {v.b}": v for v in _of(report.changes, metric, among)}


def _of(verdicts: Sequence[StudyVerdict], metric: str, among: Sequence[str] | None) -> list[StudyVerdict]:
    return [v for v in verdicts if v.metric == metric and (among is None or {v.a, v.b} & set(among))]


def orders(verdicts: Labelled) -> dict[str, Order]:
    """The decisions alone, as a figure draws them."""
    return {label: verdict.order for label, verdict in verdicts.items()}


def verdict_table(verdicts: Labelled, metric: str) -> pd.DataFrame:
    """A row a comparison: the verdict with its numbers, in words."""
    return pd.DataFrame([[label, str(one)] for label, one in verdicts.items()], columns=["comparison", metric])


def verdicts_in_words(report: StudyReport, metric: str, *, among: Sequence[str] | None = None) -> str:
    """How many comparisons are told apart, which and by how much (with the 95 % interval of each alone), how many are
    bounded, how many open; the same of their changes with the condition; and where the seeds of the two systems alone
    say something else. Without any it says why."""
    found, changed = verdicts_of(report, metric, among=among), changes_of(report, metric, among=among)
    if not found:
        return _nothing_yet(report)
    delta = report.plan.deltas[metric]
    words = (
        f"`{report.plan.name}`, {metric}: of {_counted(found, 'comparison', ('is told apart', 'are told apart'))}, "
        f"{_alike(found)} that nothing larger than {delta:g} is there, {_open(found)} open."
    )
    if changed:
        words += (
            f" With the condition of {_counted(changed, 'difference', ('changes', 'change'))}, {_alike(changed)} no "
            f"change larger than {delta:g}, {_open(changed)} open."
        )
    return words + _by_their_own({**found, **changed})


def _nothing_yet(report: StudyReport) -> str:
    run = f"`rrg study run {report.plan.name}`"
    if not report.results:
        return f"**Not run:** no result of the study `{report.plan.name}` is here. {run}"
    runs = f"{len(report.results)} of the {len(report.plan.runs())} runs of the study `{report.plan.name}`"
    return f"**Not run to its end:** {runs} are here, and both systems of no comparison that is asked for. {run}"


def _without_marks(text: str) -> str:
    """Markdown for a figure, after its own "not run"."""
    return text.replace("*", "").replace("`", "").partition(": ")[2]


def _counted(verdicts: Labelled, what: str, verb: tuple[str, str]) -> str:
    """ "6 comparisons 2 are told apart (cmn − base above by 0.041 [0.029, 0.053]; …)"."""
    apart = [
        f"{label} {one.answer} by {abs(one.difference):.3f} [{abs(one.difference) - one.margin:.3f}, "
        f"{abs(one.difference) + one.margin:.3f}]"
        for label, one in orders(verdicts).items()
        if one.told_apart
    ]
    named = f" ({'; '.join(apart)})" if apart else ""
    return f"{agreeing(len(verdicts), what, f'{what}s')} {agreeing(len(apart), *verb)}{named}"


def _alike(verdicts: Labelled) -> str:
    return agreeing(sum(v.order.answer == "no difference" for v in verdicts.values()), "shows", "show")


def _open(verdicts: Labelled) -> int:
    return sum(not v.order.told_apart and v.order.answer != "no difference" for v in verdicts.values())


def _by_their_own(verdicts: Labelled) -> str:
    differ = [f"{label} {v.own.how}" for label, v in verdicts.items() if v.own.answer != v.order.answer]
    return f" By the seeds of its own two systems, not pooled: {'; '.join(differ)}." if differ else ""


def gain_in_words(report: StudyReport, metric: str, a: str, b: str) -> str:
    """One sentence: by how much a is above b under each condition, with the 95 % interval of each alone and the
    verdict, and by how much more than under the first. Without any it says why."""
    gains = [v for v in report.verdicts if (v.a, v.b, v.metric) == (a, b, metric)]
    if not gains:
        return _nothing_yet(report)
    more = [v for v in report.changes if (v.a, v.b, v.metric) == (a, b, metric)]
    titles = {c.name: c.title for c in report.plan.conditions}
    said = "; ".join(f"{titles[v.condition]} {_interval(v.order)}" for v in gains)
    beside = "; ".join(f"{titles[v.condition]} {_interval(v.order)}" for v in more)
    return f"{metric}, {a} − {b}: {said}." + (
        f" Less what it is with {titles[report.plan.conditions[0].name]}: {beside}." if beside else ""
    )


def _interval(one: Order) -> str:
    between = f" [{one.difference - one.margin:+.3f}, {one.difference + one.margin:+.3f}]"
    among = f" among {one.of}" if one.of > 1 else ""
    return f"**{one.difference:+.3f}**{'' if math.isnan(one.margin) else between}, {one.how}{among}"
