"""The ledger: every printed value and every claim of the four papers, beside what the released code does and what we
measured, with a verdict.

A verdict says no more than was done. *Reproduced* and *not reproduced* are for the paper's own data alone, or for what
was counted; what is measured on drawn studies *holds* or *fails on IU-Phantom*, or makes there *no difference that
matters*, which is no replication, and is *undecided* when seeds and studies vary by more than the difference.
*Contradicted by its own table* needs a contradiction that the printed rounding cannot explain. Whatever needs data or a
GPU that we have not had is *not run*, and says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scipy import stats

from rrg_lib.replication.claim_measurements import Looked, Measurement
from rrg_lib.replication.claims import (
    PUBLISHED_SETTING,
    Claim,
    MeasuredPairs,
    MeasuredTrend,
    OwnTable,
    by_results,
    claims,
    own_table,
    printed_labels,
)
from rrg_lib.replication.exact_checks import CMN, STUDENT, Exact, check_value, run_check
from rrg_lib.replication.printed_values import Place, Published, published, same_elsewhere
from rrg_lib.replication.seed_scores import Measured, measured
from rrg_lib.replication.verdicts import DRAWN, OWN_DATA, Decision, Verdict
from rrg_lib.runtime.package_data import table

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

#: Our baseline that stands where systems stood that cannot be rebuilt.
STAND_IN = "f"

#: What a verdict rests on: our seeds of a system, a count or sum that needs no training, comparisons of two systems, a
#: sweep, attention in the boxes of findings, a number of `data/measurements.csv`. Numbers all; `ledger_tables` shows
#: them.
Evidence = Measured | Exact | MeasuredPairs | MeasuredTrend | Looked | Measurement


@dataclass(frozen=True)
class ValueRow:
    """One printed value: `preset` is the system of this book that it is a score of, None for another group's; what the
    `released_code` does; our `evidence`, None where nothing was measured."""

    kind: ClassVar[str] = "value"
    printed: Published
    preset: str | None
    released_code: str
    evidence: Measured | Exact | None
    verdict: Verdict
    why: str

    @property
    def id(self) -> str:
        return f"value-{self.printed.row}"

    @property
    def paper(self) -> str:
        return self.printed.paper

    @property
    def where(self) -> str:
        return self.printed.where

    @property
    def dataset(self) -> str:
        return self.printed.dataset


@dataclass(frozen=True)
class ClaimRow:
    """One claim: what the numbers printed beside it say (`own_table`, None where there are none), and our `evidence`,
    None where nothing was measured."""

    kind: ClassVar[str] = "claim"
    claim: Claim
    own_table: OwnTable | None
    evidence: Evidence | None
    verdict: Verdict
    why: str

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def paper(self) -> str:
        return self.claim.paper

    @property
    def where(self) -> str:
        return self.claim.where

    @property
    def dataset(self) -> str:
        return self.claim.dataset

    @property
    def released_code(self) -> str:
        return self.claim.released_code


LedgerRow = ValueRow | ClaimRow


def ledger(results: Sequence[StoredResult], profile: str = PUBLISHED_SETTING) -> list[LedgerRow]:
    """A row for every value of `data/published.csv`, then one for every claim of `data/claims.csv`; `results` are our
    stored ones, those of `profile` on a paper's own data stand for its setting."""
    return [*value_rows(results, profile), *claim_rows(results, profile)]


def value_rows(results: Sequence[StoredResult], profile: str = PUBLISHED_SETTING) -> list[ValueRow]:
    """A row for every value of `data/published.csv`."""
    return [_value_row(value, results, profile) for value in published()]


def claim_rows(
    results: Sequence[StoredResult], profile: str = PUBLISHED_SETTING, *, chosen: Sequence[Claim] | None = None
) -> list[ClaimRow]:
    """A row for every claim of `data/claims.csv`, or for the chosen ones."""
    return [_claim_row(claim, results, profile) for claim in (claims() if chosen is None else chosen)]


def counts(rows: Sequence[LedgerRow]) -> dict[str, dict[Verdict, int]]:
    """Rows per verdict, for values and for claims: {"value": {verdict: n}, "claim": {verdict: n}}, every verdict
    named."""
    of = Counter((row.kind, row.verdict) for row in rows)
    return {kind: {verdict: of[kind, verdict] for verdict in Verdict} for kind in ("value", "claim")}


# --- printed values ---------------------------------------------------------------------------------------------------


def _value_row(value: Published, results: Sequence[StoredResult], profile: str) -> ValueRow:
    preset = _systems().get((value.paper, value.system), _NOBODY)["preset"] or None
    ours, check = _ours_of(value, preset, results, profile), check_value(value)
    verdict, why, _ = Decision(check.verdict, check.why) if check else _verdict_of(value, preset, ours)
    facts = {(row["paper"], row["system"]): row["fact"] for row in table("released_code")}
    return ValueRow(value, preset, facts.get((value.paper, value.system), ""), ours or check, verdict, why)


def _ours_of(value: Published, preset: str | None, results: Sequence[StoredResult], profile: str) -> Measured | None:
    if preset is None:
        return None
    replicated = measured(
        results,
        preset,
        value.dataset,
        value.metric,
        profile=profile,
        labels=printed_labels(preset),
        protocol="published",
    )
    return replicated or measured(results, preset, DRAWN, value.metric)


def _verdict_of(value: Published, preset: str | None, ours: Measured | None) -> Decision:
    if ours and ours.dataset in OWN_DATA and (how := other_protocol(value)):
        return Decision(
            Verdict.NOT_RUN, f"in its own protocol: {how}; ours stands beside it and is not held against it"
        )
    if ours and ours.dataset in OWN_DATA and len(ours.protocols) > 1:
        return Decision(Verdict.NOT_RUN, f"the seeds were not measured alike: {ours.measured_by}")
    if ours and ours.dataset in OWN_DATA and ours.spread.n < 2 and not ours.pool.freedom:
        return Decision(Verdict.OPEN, "one seed, and no other system has two: how much a training varies is not known")
    if ours and ours.dataset in OWN_DATA and not math.isnan(ours.low + ours.high):
        low, high = another_training(ours)
        agrees = low <= value.high and high >= value.low
        return Decision(
            Verdict.REPRODUCED if agrees else Verdict.NOT_REPRODUCED,
            f"{value.text} against {low:.3f} to {high:.3f} for one training more, {ours.spread.n} seeds",
        )
    earlier = same_elsewhere(value)
    quoted = ""
    if earlier:
        same = abs(earlier.value - value.value) <= earlier.half + value.half
        quoted = f"; {'equals' if same else f'not the {earlier.text} of'} {earlier.place}"
    return Decision(Verdict.NOT_RUN, _why_not(value, preset) + quoted)


def another_training(ours: Measured) -> tuple[float, float]:
    """Where one training more would score with 95 %, on other studies of the same kind: what a printed value, one
    training's, is held against."""
    sd = ours.pool.sd if ours.pool.freedom else ours.spread.sd
    freedom = ours.pool.freedom or ours.spread.n - 1
    of_seeds = float(stats.t.ppf(0.975, freedom)) * sd * math.sqrt(1 + 1 / ours.spread.n)
    reach = math.hypot(of_seeds, float(stats.norm.ppf(0.975)) * ours.s_studies)
    return ours.spread.mean - reach, ours.spread.mean + reach


def _why_not(value: Published, preset: str | None) -> str:
    if value.paper == STUDENT and value.where == "Table 4":
        return "the classifier's labels and split of that paper are not known"
    if value.kind_of_place is Place.FIGURE:
        return "a sweep or a figure on the paper's own data"
    if (value.paper, value.where) == (CMN, "Table 1"):
        return "a count of MIMIC-CXR, which needs credentialed access"
    if why := _systems().get((value.paper, value.system), _NOBODY)["not_rebuilt"]:
        return f"cannot be rebuilt: {why}; where it stood, our baseline {STAND_IN} stands, retrieval and template"
    if preset is None:
        return "another group's system, which this book does not build"
    if how := other_protocol(value):
        return f"another protocol: {how}; rrg train {value.dataset}/{preset} would not decide it"
    if value.dataset == "mimic_cxr":
        return (
            f"needs MIMIC-CXR (credentialed access) and a GPU: rrg replicate mimic_cxr --system {preset} "
            "--data-root FOLDER"
        )
    return f"needs the real images and a GPU: rrg replicate iu_xray --system {preset} --data-root FOLDER"


# --- claims -----------------------------------------------------------------------------------------------------------


def _claim_row(claim: Claim, results: Sequence[StoredResult], profile: str) -> ClaimRow:
    beside = own_table(claim)
    trained = claim.kind not in ("check", "none")
    verdict, why, evidence = (
        by_results(claim, results, profile) if trained else Decision(Verdict.NOT_RUN, f"decided by {claim.decided_by}")
    )
    measured_here = evidence is not None
    if claim.check and claim.kind != "measurement":
        check = run_check(claim.check)
        if check.verdict in (Verdict.CONSISTENT, Verdict.CONTRADICTED):
            beside = OwnTable(check.verdict, check.why)
        if not trained:  # the check is all that decides it
            verdict, why, evidence = check.verdict, check.why, check
    if beside and beside.verdict is Verdict.CONTRADICTED:
        verdict, why = beside.verdict, beside.why + (f" (ours: {why})" if measured_here else "")
    elif beside and claim.wording == "stated" and verdict is Verdict.NOT_RUN and not measured_here:
        verdict, why = Verdict.CONSISTENT, f"{beside.why}; not measured: {why}"
    return ClaimRow(claim, beside, evidence, verdict, why)


#: A system that `data/published_systems.csv` does not list.
_NOBODY = {"preset": "", "other_protocol": "", "not_rebuilt": ""}


def _systems() -> dict[tuple[str, str], dict[str, str]]:
    return {(row["paper"], row["system"]): row for row in table("published_systems")}


def other_protocol(value: Published) -> str:
    """How a printed value was made otherwise than the scores of this book, whatever system it is of: on another split,
    text or cleaning, so that ours says nothing of it; "" where it was not."""
    dataset, _, how = _systems().get((value.paper, value.system), _NOBODY)["other_protocol"].partition(": ")
    return how if dataset == value.dataset else ""
