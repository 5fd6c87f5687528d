"""The ledger's rows as the tables they came from: each printed table with ours beside it, and the main table of all
four papers.

Scores of systems that look were measured on drawn radiographs and stand *beside* printed ones. Rows of baselines never
look at an image: their reports are scored on the reports of IU X-Ray's standard test split, drawn images or not, so
they may be *compared* with what was printed for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from rrg_lib.replication.claims import DRAWN
from rrg_lib.replication.ledger import LedgerRow
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.package_data import table

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

#: What the main table shows, in order.
SHOWN = ("BLEU-4", "METEOR", "ROUGE-L")
NOTHING = "–"


def printed_table(rows: Sequence[LedgerRow], paper: str, where: str, dataset: str | None = None) -> pd.DataFrame:
    """One table of one paper, a row for each (data set, system) and a column for each metric: "printed | ours", ours a
    dash where nothing was measured."""
    of = [
        r for r in rows if r.kind == "value" and (r.paper, r.where) == (paper, where) and dataset in (None, r.dataset)
    ]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in of:
        cells.setdefault((row.dataset, row.system), {})[row.metric] = f"{row.statement} | {row.ours or NOTHING}"
    metrics = list(dict.fromkeys(row.metric for row in of))
    frame = pd.DataFrame.from_dict(cells, orient="index", columns=metrics).fillna("")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["data set", "system"])
    return frame


def printed_tables(rows: Sequence[LedgerRow]) -> list[tuple[str, str]]:
    """(paper, where) of every place that prints values, in the order of the ledger."""
    return list(dict.fromkeys((row.paper, row.where) for row in rows if row.kind == "value"))


def main_table(rows: Sequence[LedgerRow], results: Sequence[StoredResult] = ()) -> pd.DataFrame:
    """Every printed row of a system that this book builds, with ours: a row for each (paper, data set, system), for
    each score of `SHOWN` a column with what is printed and one with our mean over seeds and its interval, what that was
    measured on, and seeds. Last, the baselines of the stored results."""
    built = {(row["paper"], row["system"]) for row in table("published_systems") if row["preset"]}
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        if row.kind == "value" and row.metric in SHOWN and (row.paper, row.system) in built:
            line = found.setdefault((row.paper, row.dataset, row.system), {})
            line.setdefault(f"{row.metric}, printed", row.statement)
            line.setdefault(f"{row.metric}, ours", f"{row.ours} {row.interval}" if row.ours else NOTHING)
            line.setdefault("ours is of", row.ours_on or NOTHING)
            line.setdefault("seeds", row.seeds or NOTHING)
    like = next((r for r in results if r.experiment.dataset in (DRAWN, "iu_xray") and len(r.evaluation.rows) > 1), None)
    for baseline in like.evaluation.rows[1:] if like else ():
        line = found.setdefault(("no paper", "iu_xray", f"{baseline.name}: {baseline.description}"), {})
        for score in SHOWN:
            value, ends = baseline.parts["all"].scores.get(score), baseline.intervals.get(score)
            line[f"{score}, ours"] = (
                (f"{value:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""))
                if value is not None
                else NOTHING
            )
        line["ours is of"] = "the reports alone"
    columns = [f"{score}, {whose}" for score in SHOWN for whose in ("printed", "ours")]
    frame = pd.DataFrame.from_dict(found, orient="index", columns=[*columns, "ours is of", "seeds"]).fillna(NOTHING)
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["paper", "data set", "system"])
    return frame


def frame_markdown(frame: pd.DataFrame) -> list[str]:
    """The lines of a Markdown table of text."""
    return markdown_table(
        [*frame.index.names, *frame.columns],
        [[*key, *cells] for key, cells in zip(frame.index, frame.to_numpy().tolist(), strict=True)],
    )
