"""What the planned studies (`data/studies`) say of the papers' claims of order: the same comparisons, with more seeds
or more studies than the stored runs that the ledger judges. Drawn studies: no replication, and no verdict of the ledger
is changed by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rrg_lib.evaluation.metrics import REGISTRY
from rrg_lib.replication.claims import Claim, Link, answer_to_all
from rrg_lib.replication.decision_rule import Answer, Order, corrected
from rrg_lib.replication.study_plan import known_plans, study_plan
from rrg_lib.replication.study_report import StudyReport, study_report

#: What the answer to all comparisons of a claim says of the claim.
_SAYS: dict[Answer, str] = {"above": "holds there", "below": "fails there", "no difference": "no difference there"}
OPEN = "undecided there"


@dataclass(frozen=True)
class InStudy:
    """A claim's comparisons under one condition of a study, corrected for as many as the claim makes. `lacking` are
    metrics of the claim that the study does not score: nothing is said of them. `unlike` are systems of it that have
    settings which the claim's have not, by their titles: the comparison is not quite the paper's."""

    claim: Claim
    study: str
    condition: str
    orders: Mapping[Link, Order]
    studies: int
    lacking: tuple[str, ...]
    unlike: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        return _SAYS.get(answer_to_all(self.orders), OPEN)

    @property
    def decided(self) -> bool:
        """Whether it is told apart, or shown to be no difference that matters."""
        return self.says != OPEN

    @property
    def bounded(self) -> bool:
        """Undecided, but a gain that matters is excluded in each of its comparisons (each tested at 5 %: all must be
        rejected, so nothing is corrected)."""
        signs = {m: 1 if REGISTRY[m].higher_is_better else -1 for m in self.claim.metrics}
        return not self.decided and all(one.excludes_gain(signs[link.metric]) for link, one in self.orders.items())

    @property
    def why(self) -> str:
        """Every comparison with its numbers, and what is not scored."""
        numbers = "; ".join(f"{link}: {one}" for link, one in self.orders.items())
        unlike = f"asked of {', '.join(self.unlike)}. " if self.unlike else ""
        return unlike + numbers + (f"; not scored: {', '.join(self.lacking)}" if self.lacking else "")


def study_reports(folder: Path | None = None) -> list[StudyReport]:
    """The reports of the project's studies that have results: in `folder` (default: the workspace), or with the
    project."""
    reports = (study_report(study_plan(name), folder) for name in known_plans())
    return [report for report in reports if report.results]


def in_studies(claims: Iterable[Claim], reports: Sequence[StudyReport]) -> list[InStudy]:
    """A row for each claim of order and each condition that has all its pairs of systems, named as the presets that
    they are, in one of its metrics at least."""
    rows = []
    for claim in claims:
        if claim.kind != "order":
            continue
        for report in reports:
            for condition in report.plan.conditions:
                orders = _orders(claim, report, condition.name)
                scored = [m for m in claim.metrics if all(Link(a, b, m) in orders for a, b in claim.pairs)]
                if scored:
                    kept = {link: one for link, one in orders.items() if link.metric in scored}
                    lacking = tuple(m for m in claim.metrics if m not in scored)
                    tested = next(s.studies for (c, *_), s in report.scores.items() if c == condition.name)
                    unlike = tuple(
                        s.title
                        for s in report.plan.systems
                        if s.settings and {s.name} & {n for p in claim.pairs for n in p}
                    )
                    rows.append(
                        InStudy(claim, report.plan.name, condition.name, corrected(kept), tested, lacking, unlike)
                    )
    return rows


def _orders(claim: Claim, report: StudyReport, condition: str) -> dict[Link, Order]:
    plain = {s.name for s in report.plan.systems if s.name == s.preset}
    return {
        Link(v.a, v.b, v.metric): v.alone
        for v in report.verdicts
        if v.condition == condition and {v.a, v.b} <= plain and (v.a, v.b) in claim.pairs and v.metric in claim.metrics
    }


def study_claims_table(rows: Sequence[InStudy]) -> pd.DataFrame:
    """A row a claim and condition: what the claim says, the study, what it says, its numbers."""
    cells = {
        (row.claim.id, f"{row.study}, {row.condition}"): {
            "claim": row.claim.claim,
            "test studies": f"{row.studies:,}",
            "it": row.says
            + (", but excludes a gain that matters" if row.bounded else "")
            + (f", in {', '.join(dict.fromkeys(link.metric for link in row.orders))} alone" if row.lacking else "")
            + (f" ({', '.join(row.unlike)})" if row.unlike else ""),
            "comparisons": row.why,
        }
        for row in rows
    }
    columns = ["claim", "test studies", "it", "comparisons"]
    index = pd.MultiIndex.from_tuples(cells, names=["id", "study"])
    return pd.DataFrame(list(cells.values()), index=index, columns=columns)
