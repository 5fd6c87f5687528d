"""The ledger as it is shown: its rows as text, each printed table with ours beside it, the main table of all four
papers, and the files, a CSV for machines and a Markdown page for readers, each written whole or not at all.

Scores of systems that look were measured on drawn radiographs and stand *beside* printed ones. Rows of baselines, but
for the one that is told what a classifier sees, never look at an image: their reports are scored on the reports of IU
X-Ray's standard test split, drawn images or not, so they may be *compared* with what was printed for it.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rrg_lib.evaluation.baselines import BASELINES
from rrg_lib.replication.claim_measurements import PROFILE, Looked, Measurement
from rrg_lib.replication.claims import MeasuredPairs, MeasuredTrend
from rrg_lib.replication.claims_in_studies import InStudy, study_claims_table
from rrg_lib.replication.exact_checks import Exact
from rrg_lib.replication.ledger import ClaimRow, LedgerRow, ValueRow, counts
from rrg_lib.replication.printed_conventions import conventions_markdown
from rrg_lib.replication.seed_scores import Measured, released_and_printed
from rrg_lib.replication.verdicts import DRAWN, Verdict
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.package_data import table
from rrg_lib.runtime.spreadsheet import as_cell
from rrg_lib.runtime.workspace import written_whole

if TYPE_CHECKING:
    from rrg_lib.evaluation.resampling import Interval
    from rrg_lib.experiments.results import StoredResult

#: What the main table shows, in order.
SHOWN = ("BLEU-4", "METEOR", "ROUGE-L")
NOTHING = "–"

# --- a row as text ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownEvidence:
    """What was measured, as text: the numbers, what on, how many seeds, their standard deviation, the interval over
    studies, and what two scores must have in common to be compared. Empty for what does not apply."""

    ours: str = ""
    ours_on: str = ""
    seeds: str = ""
    sd: str = ""
    interval: str = ""
    protocol: str = ""


@dataclass(frozen=True)
class ShownRow:
    """A row of the ledger as text. Empty for what does not apply; `wording` says whether the paper states a claim or we
    read it out of its tables."""

    kind: str
    id: str
    paper: str
    where: str
    dataset: str
    system: str
    metric: str
    statement: str
    released_code: str
    own_table: str
    ours: str
    ours_on: str
    seeds: str
    sd: str
    interval: str
    protocol: str
    verdict: str
    why: str
    wording: str = ""


#: The numbers that stand in the file behind the text, unrounded; empty where there is not exactly one of them.
NUMBERS = ("printed", "our_value", "our_low", "our_high", "our_sd", "our_seeds")
COLUMNS = (*(f.name for f in fields(ShownRow)), *NUMBERS)


def shown(row: LedgerRow) -> ShownRow:
    """A row as text."""
    common = {name: getattr(row, name) for name in ("kind", "id", "paper", "where", "dataset", "released_code", "why")}
    common |= {"verdict": row.verdict.value, **asdict(shown_evidence(row.evidence))}
    if isinstance(row, ValueRow):
        printed = row.printed
        return ShownRow(**common, system=printed.system, metric=printed.metric, statement=printed.text, own_table="")
    claim, beside = row.claim, row.own_table
    return ShownRow(
        **common,
        system=claim.system,
        metric=";".join(claim.metrics),
        statement=claim.claim,
        own_table=f"{beside.verdict}: {beside.why}" if beside else "",
        wording=claim.wording,
    )


def numbers(row: LedgerRow) -> dict[str, float | None]:
    """The numbers of a row by the names of `NUMBERS`."""
    printed = row.printed.value if isinstance(row, ValueRow) else None
    if isinstance(ours := row.evidence, Measured):
        values = (ours.spread.mean, ours.low, ours.high, ours.spread.sd, ours.spread.n)
    elif isinstance(ours, Measurement):
        values = (ours.value, ours.low, ours.high, None, ours.seeds)
    elif isinstance(ours, Looked):
        values = (ours.mean, None, None, ours.sd, len(ours.values))
    elif isinstance(ours, Exact) and len(ours.ours.values) == 1:
        values = (*ours.ours.values.values(), None, None, None, None)
    else:
        values = (None,) * 5
    return {
        name: None if value is None or math.isnan(value) else value
        for name, value in zip(NUMBERS, (printed, *values), strict=True)
    }


@singledispatch
def shown_evidence(evidence: None) -> ShownEvidence:
    """What was measured as text; all empty where nothing was."""
    return ShownEvidence()


@shown_evidence.register
def _(ours: Measured) -> ShownEvidence:
    return ShownEvidence(
        decimals(ours.spread.mean),
        ours.where,
        str(ours.spread.n),
        decimals(ours.spread.sd),
        ends(ours),
        ours.measured_by,
    )


@shown_evidence.register
def _(ours: Exact) -> ShownEvidence:
    return ShownEvidence(str(ours.ours))


@shown_evidence.register
def _(ours: MeasuredPairs) -> ShownEvidence:
    both, every = ours.pairs.values(), [one for pair in ours.pairs.values() for one in pair]
    return ShownEvidence(
        "; ".join(
            f"{link}: {a.spread.mean:.3f} - {b.spread.mean:.3f} = {a.spread.mean - b.spread.mean:+.3f}"
            for link, (a, b) in ours.pairs.items()
        ),
        _each(one.where for one in every),
        _each(f"{a.spread.n}, {b.spread.n}" for a, b in both),
        "; ".join(f"{decimals(a.spread.sd)}, {decimals(b.spread.sd)}" for a, b in both),
        "; ".join(f"{ends(a)}, {ends(b)}" for a, b in both),
        _each(one.measured_by for one in every),
    )


@shown_evidence.register
def _(ours: MeasuredTrend) -> ShownEvidence:
    every = [*ours.swept.values()]
    return ShownEvidence(
        f"{ours.change:+.4f}",
        _each(one.where for one in every),
        str(min(one.spread.n for one in every)),
        protocol=every[0].measured_by,
    )


@shown_evidence.register
def _(ours: Looked) -> ShownEvidence:
    return ShownEvidence(
        decimals(ours.mean),
        f"{DRAWN}, {PROFILE}, reference reports",
        str(len(ours.values)),
        decimals(ours.sd),
        protocol="attention in the boxes of findings",
    )


@shown_evidence.register
def _(ours: Measurement) -> ShownEvidence:
    return ShownEvidence(decimals(ours.value), ours.of, str(ours.seeds), "", ends(ours), ours.made_by)


def decimals(value: float) -> str:
    """Three decimals, a dash for NaN."""
    return NOTHING if math.isnan(value) else f"{value:.3f}"


def ends(of: Measured | Measurement | Interval) -> str:
    """An interval as text."""
    return f"[{of.low:.3f}, {of.high:.3f}]"


def _each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _or_dash(*cells: str) -> list[str]:
    return [cell or NOTHING for cell in cells]


# --- tables -----------------------------------------------------------------------------------------------------------


def printed_table(rows: Sequence[LedgerRow], paper: str, where: str, dataset: str | None = None) -> pd.DataFrame:
    """One table of one paper, a row for each (data set, system) and a column for each metric: "printed | ours", ours a
    dash where there is nothing, and in brackets where it was recomputed from print or counted."""
    of = [r for r in _values(rows) if (r.paper, r.where) == (paper, where) and dataset in (None, r.dataset)]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in of:
        (ours,) = _or_dash(shown_evidence(row.evidence).ours)
        if ours != NOTHING and not isinstance(row.evidence, Measured):
            ours = f"({ours})"
        cells.setdefault((row.dataset, row.printed.system), {})[row.printed.metric] = f"{row.printed.text} | {ours}"
    metrics = list(dict.fromkeys(row.printed.metric for row in of))
    frame = pd.DataFrame.from_dict(cells, orient="index", columns=metrics).fillna("")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["data set", "system"])
    return frame


def printed_tables(rows: Sequence[LedgerRow]) -> list[tuple[str, str]]:
    """(paper, where) of every place that prints values, in the order of the ledger."""
    return list(dict.fromkeys((row.paper, row.where) for row in _values(rows)))


def _values(rows: Sequence[LedgerRow]) -> list[ValueRow]:
    return [row for row in rows if isinstance(row, ValueRow)]


def _claims(rows: Sequence[LedgerRow]) -> list[ClaimRow]:
    return [row for row in rows if isinstance(row, ClaimRow)]


def main_table(rows: Sequence[LedgerRow], results: Sequence[StoredResult] = ()) -> pd.DataFrame:
    """Every printed row of a system that this book builds, with ours: a row for each (paper, data set, system), for
    each score of `SHOWN` a column with what is printed and one with our mean over seeds and its interval, what that was
    measured on, and seeds. Last, the baselines of the stored results."""
    built = {(row["paper"], row["system"]) for row in table("published_systems") if row["preset"]}
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in _values(rows):
        printed = row.printed
        if printed.metric in SHOWN and (row.paper, printed.system) in built:
            ours = shown_evidence(row.evidence)
            line = lines.setdefault((row.paper, row.dataset, printed.system), {})
            line.setdefault(f"{printed.metric}, printed", printed.text)
            line.setdefault(f"{printed.metric}, ours", f"{ours.ours} {ours.interval}" if ours.ours else NOTHING)
            line.setdefault("ours is of", ours.ours_on or NOTHING)
            line.setdefault("seeds", ours.seeds or NOTHING)
    like = next((r for r in results if r.experiment.dataset in (DRAWN, "iu_xray") and len(r.evaluation.rows) > 1), None)
    for baseline in like.evaluation.rows[1:] if like else ():
        looks = baseline.name in BASELINES and BASELINES[baseline.name].sees == "images"
        dataset = like.experiment.dataset if looks else "iu_xray"
        line = lines.setdefault(("no paper", dataset, f"{baseline.name}: {baseline.description}"), {})
        for score in SHOWN:
            value, interval = baseline.parts["all"].scores.get(score, math.nan), baseline.intervals.get(score)
            line[f"{score}, ours"] = decimals(value) + (f" {ends(interval)}" if interval else "")
        line["ours is of"] = dataset if looks else "the reports alone"
    columns = [f"{score}, {whose}" for score in SHOWN for whose in ("printed", "ours")]
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=[*columns, "ours is of", "seeds"]).fillna(NOTHING)
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["paper", "data set", "system"])
    return frame


def released_beside_printed(
    results: Sequence[StoredResult], preset: str, dataset: str, *, protocol: str = "tuned"
) -> str:
    """A preset's scores as its code was released and as its paper's text describes it (`released_and_printed`), as a
    Markdown table, and what the rule says of each; or that it was not run."""
    compared = released_and_printed(results, preset, dataset, protocol=protocol)
    if not compared:
        return f"**Not run**: {preset} and {preset}_as_printed are not both stored."
    rows = [[score, str(ours.spread), str(printed.spread)] for score, (ours, printed, _) in compared.items()]
    answers = [
        f"in {score} the release is **{order.how}** ({order.difference:+.3f}, margin {order.margin:.3f})"
        for score, (_, _, order) in compared.items()
    ]
    sentence = f"By the rule of chapter 10, both scores corrected together: {'; '.join(answers)}."
    return "\n".join([*markdown_table(["score", "as released", "as printed"], rows), "", sentence])


def frame_markdown(frame: pd.DataFrame) -> list[str]:
    """The lines of a Markdown table of text."""
    return markdown_table(
        [*frame.index.names, *frame.columns],
        [[*key, *cells] for key, cells in zip(frame.index, frame.to_numpy().tolist(), strict=True)],
    )


def counts_markdown(rows: Sequence[LedgerRow]) -> list[str]:
    """The lines of a table: how many values and claims got which verdict."""
    of = counts(rows)
    body = [[verdict.value, *(str(of[kind][verdict]) for kind in ("value", "claim"))] for verdict in Verdict]
    total = ["all", *(str(sum(of[kind].values())) for kind in ("value", "claim"))]
    return markdown_table(["verdict", "printed values", "claims"], [*body, total])


# --- files ------------------------------------------------------------------------------------------------------------

#: The columns of evidence, as the page names them.
_EVIDENCE = ("ours", "measured on", "seeds", "sd", "interval")


def write_ledger(
    rows: Sequence[LedgerRow], folder: Path, main: pd.DataFrame | None = None, studies: Sequence[InStudy] = ()
) -> tuple[Path, Path]:
    """Writes `ledger.csv` and `ledger.md`, with the main table and what studies say of claims if they are given, into
    `folder` and returns their paths. Raises `StorageError`."""
    as_csv, as_markdown = Path(folder) / "ledger.csv", Path(folder) / "ledger.md"
    with written_whole(as_csv) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        cells = ({name: as_cell(v) if isinstance(v, str) else v for name, v in record(row).items()} for row in rows)
        writer.writerows(cells)
    with written_whole(as_markdown) as temporary:
        temporary.write_text(ledger_markdown(rows, main, studies), encoding="utf-8")
    return as_csv, as_markdown


def record(row: LedgerRow) -> dict[str, Any]:
    """A row by the columns of the file: its text, then its numbers."""
    return asdict(shown(row)) | numbers(row)


def studies_in_words(rows: Sequence[LedgerRow], studies: Sequence[InStudy], *, briefly: bool = False) -> str:
    """How many of the claims that the stored runs leave undecided a study decides, of how many more it excludes a gain
    that matters, and, unless `briefly`, where."""
    undecided = [row.id for row in _claims(rows) if row.verdict is Verdict.UNDECIDED]
    asked = {name: [row for row in studies if row.claim.id == name] for name in undecided}
    said = {name: {row.says for row in of if row.decided} for name, of in asked.items()}
    answers = Counter(min(says) if len(says) == 1 else "told differently by two" for says in said.values() if says)
    verbs = {"holds there": "hold there", "fails there": "fail there"}
    counted = [f"{n} {says if n == 1 else verbs.get(says, says)}" for says, n in answers.items()]
    bounded = {
        name: [f"{row.study}, {row.condition}" for row in of if row.bounded]
        for name, of in asked.items()
        if not said[name] and any(row.bounded for row in of)
    }
    return (
        f"Of the {len(undecided)} claims that are undecided on IU-Phantom, planned studies ask "
        f"{sum(map(bool, asked.values()))} and decide {sum(answers.values())}"
        + (f" ({', '.join(counted)})" if counted else "")
        + (
            f"; of {len(bounded)} more a gain as large as the smallest that matters is excluded somewhere"
            + ("" if briefly else f" ({'; '.join(f'{name}: ' + ', '.join(where) for name, where in bounded.items())})")
            if bounded
            else ""
        )
        + (". Some in fewer scores than the claim names" if any(r.lacking for of in asked.values() for r in of) else "")
        + ". They are drawn studies: no replication."
    )


def ledger_markdown(
    rows: Sequence[LedgerRow], main: pd.DataFrame | None = None, studies: Sequence[InStudy] = ()
) -> str:
    """The page: counts, the main table if it is given, every claim, what studies say of them, every printed value by
    paper and table, and which convention each printed F1 can be."""
    lines = ["# The ledger", "", *counts_markdown(rows), ""]
    lines += [
        "Where *ours* is of IU-Phantom, its radiographs are drawn: it stands beside a printed number and is not "
        "comparable with it. An interval",
        "is the 95 % bootstrap interval over studies of the mean over seeds, of edition 0.1 the mean of its seeds' "
        "intervals; *sd* is over seeds. Beside a number",
        "of MIMIC-CXR not even the reports are the same.",
        "",
    ]
    if main is not None:
        lines += ["## The main table", "", *frame_markdown(main), ""]
    columns = ["claim", "paper", "verdict", "why", "its own table", *_EVIDENCE, "released code", "protocol"]
    cells = [
        [
            *(r.statement, f"{r.paper}, {r.where}", r.verdict, r.why),
            *_or_dash(r.own_table, r.ours, r.ours_on, r.seeds, r.sd, r.interval),
            *(r.released_code, r.protocol),
        ]
        for r in map(shown, _claims(rows))
    ]
    lines += ["## Claims", "", *markdown_table(columns, cells), ""]
    if studies:
        lines += ["## The same claims in planned studies", "", studies_in_words(rows, studies), ""]
        lines += [*frame_markdown(study_claims_table(studies)), ""]
    lines += ["## Printed values", ""]
    columns = ["data set", "system", "metric", "printed", *_EVIDENCE, "verdict", "why", "released code", "protocol"]
    for paper, where in printed_tables(rows):
        cells = [
            [
                *(r.dataset, r.system, r.metric, r.statement),
                *_or_dash(r.ours, r.ours_on, r.seeds, r.sd, r.interval),
                *(r.verdict, r.why, r.released_code, r.protocol),
            ]
            for r in (shown(row) for row in _values(rows) if (row.paper, row.where) == (paper, where))
        ]
        lines += [f"### {paper}, {where}", "", *markdown_table(columns, cells), ""]
    lines += ["## Which convention a printed F1 can be", "", *conventions_markdown()]
    return "\n".join(lines).rstrip() + "\n"
