"""The ledger as files: a CSV for machines, a Markdown page for readers, each written whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pandas as pd

from rrg_lib.replication.ledger import COLUMNS, VERDICTS, LedgerRow, counts
from rrg_lib.replication.ledger_tables import frame_markdown
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.workspace import written_whole


def write_ledger(rows: Sequence[LedgerRow], folder: Path, main: pd.DataFrame | None = None) -> tuple[Path, Path]:
    """Writes `ledger.csv` and `ledger.md`, with the main table if it is given, into `folder` and returns their paths.
    Raises `StorageError`."""
    as_csv, as_markdown = Path(folder) / "ledger.csv", Path(folder) / "ledger.md"
    with written_whole(as_csv) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)
    with written_whole(as_markdown) as temporary:
        temporary.write_text(ledger_markdown(rows, main), encoding="utf-8")
    return as_csv, as_markdown


def counts_markdown(rows: Sequence[LedgerRow]) -> list[str]:
    """The lines of a table: how many values and claims got which verdict."""
    found = counts(rows)
    body = [[verdict, *(str(found[kind][verdict]) for kind in ("value", "claim"))] for verdict in VERDICTS]
    total = ["all", *(str(sum(found[kind].values())) for kind in ("value", "claim"))]
    return markdown_table(["verdict", "printed values", "claims"], [*body, total])


def ledger_markdown(rows: Sequence[LedgerRow], main: pd.DataFrame | None = None) -> str:
    """The page: counts, the main table if it is given, every claim, then every printed value by paper and table."""
    lines = ["# The ledger", "", *counts_markdown(rows), ""]
    lines += [
        "Where *ours* is of IU-Phantom, its radiographs are drawn: it stands beside a printed number and is not "
        "comparable with it. An interval reaches",
        "from the lowest to the highest bound of the seeds' 95 % bootstrap intervals over studies; *sd* is over seeds. "
        "Beside a number of MIMIC-CXR not",
        "even the reports are the same.",
        "",
    ]
    if main is not None:
        lines += ["## The main table", "", *frame_markdown(main), ""]
    lines += [
        "## Claims",
        "",
    ]
    columns = [
        "claim",
        "paper",
        "verdict",
        "why",
        "its own table",
        "ours",
        "measured on",
        "seeds",
        "sd",
        "interval",
        "released code",
        "protocol",
    ]
    cells = [
        [
            r.statement,
            f"{r.paper}, {r.where}",
            r.verdict,
            r.why,
            *_or_dash(r.own_table, r.ours, r.ours_on, r.seeds, r.sd, r.interval),
            r.released_code,
            r.protocol,
        ]
        for r in rows
        if r.kind == "claim"
    ]
    lines += [*markdown_table(columns, cells), "", "## Printed values", ""]
    values = [row for row in rows if row.kind == "value"]
    for paper, where in dict.fromkeys((row.paper, row.where) for row in values):
        of = [row for row in values if (row.paper, row.where) == (paper, where)]
        lines += [f"### {paper}, {where}", ""]
        columns = [
            "data set",
            "system",
            "metric",
            "printed",
            "ours",
            "measured on",
            "seeds",
            "sd",
            "interval",
            "verdict",
            "why",
            "released code",
            "protocol",
        ]
        cells = [
            [
                *(r.dataset, r.system, r.metric, r.statement),
                *_or_dash(r.ours, r.ours_on, r.seeds, r.sd, r.interval),
                *(r.verdict, r.why, r.released_code, r.protocol),
            ]
            for r in of
        ]
        lines += [*markdown_table(columns, cells), ""]
    return "\n".join(lines).rstrip() + "\n"


def _or_dash(*cells: str) -> list[str]:
    return [cell or "–" for cell in cells]
