"""The report of a replication, one a paper: the scope of its claims, what was run and how it differs, results with
intervals, a verdict a claim, what was easy, what was hard, hashes, machine and hours. Nothing in it is typed: it is
made of stored results, of the tables of `data/` and of what each run left behind.

On a paper's own data a claim is *reproduced*, *not reproduced*, *undecided* (with what is lacking) or *not run*; of
drawn studies the ledger's own words are taken, and the page says at its head that it is no replication.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rrg_lib.experiments.presets import PRESETS, experiment, released_settings
from rrg_lib.experiments.results import StoredResult, results_table
from rrg_lib.experiments.tuned_decoding import BAND
from rrg_lib.replication.claims import PUBLISHED_SETTING, by_results
from rrg_lib.replication.ledger import ClaimRow, LedgerRow, ValueRow, ledger
from rrg_lib.replication.ledger_tables import NOTHING, shown
from rrg_lib.replication.printed_values import Quantity
from rrg_lib.replication.replication_plan import ReplicationPlan, open_failures
from rrg_lib.replication.study_runs import study_results
from rrg_lib.replication.verdicts import DRAWN, MEASURED_ON_DRAWN, Decision, Verdict
from rrg_lib.runtime.document import (
    PageHeading,
    PageList,
    PagePart,
    PagePicture,
    PageTable,
    PageText,
    page_html,
    page_markdown,
)
from rrg_lib.runtime.workspace import write_json, written_whole

#: What stands at the head of a report on drawn studies.
NOT_A_REPLICATION = (
    "Not a replication. The radiographs are drawn by this library from the experts' codes, and the systems are scaled "
    "down: what follows shows the form of such a report, and what holds on IU-Phantom, not on the paper's data."
)
#: The heading below which stands what another day or another machine would say otherwise.
TIMES_HEADING = "Machine and hours"
#: Verdicts of a replication, in the order in which they are counted.
DECIDED = (Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.OPEN, Verdict.NOT_RUN)


@dataclass(frozen=True)
class ReplicationReport:
    """What one paper says and what came out: its rows of the ledger, the stored results they rest on, and of a run
    replication the plan, what each finished run left (`marks`, by name) and what went wrong in those that are
    missing."""

    paper: str
    dataset: str
    values: tuple[ValueRow, ...]
    claims: tuple[tuple[ClaimRow, Decision], ...]
    results: tuple[StoredResult, ...]
    plan: ReplicationPlan | None = None
    marks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """What its files are called: the paper's name in small letters, and the dataset."""
        return f"{re.sub(r'[^a-z0-9]+', '_', self.paper.partition('(')[0].strip().lower())}-{self.dataset}"

    @property
    def places(self) -> tuple[str, ...]:
        """The tables that print scores."""
        return tuple(dict.fromkeys(row.where for row in self.values))

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many claims got which verdict."""
        of = Counter(decision.verdict for _, decision in self.claims)
        return {verdict: of[verdict] for verdict in (DECIDED if self.plan else Verdict)}

    @property
    def planned(self) -> list[str]:
        """The planned runs of the systems that this paper prints or claims something of; none of drawn studies."""
        named = _presets(self.values, self.claims)
        return [run.name for run in self.plan.runs() if run.system.name in named] if self.plan else []

    @property
    def missing(self) -> list[str]:
        """The planned runs without a result."""
        return [name for name in self.planned if name not in self.marks]

    def parts(self, pictures: Mapping[str, str] | None = None) -> list[PagePart]:
        """The page; `pictures` are files beside it, by the table that they show."""
        return [
            PageHeading(1, f"Replication report: {self.paper}, {self.dataset}"),
            *self._banner(),
            *self._scope(),
            *self._run(),
            *self._results(pictures or {}),
            *self._verdicts(),
            *self._easy(),
            *self._hard(),
            *self._hashes(),
            *self._hours(),
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values: verdicts with their reasons, scores beside the printed ones; under `times` what another day
        would say otherwise."""
        return {
            "paper": self.paper,
            "dataset": self.dataset,
            "replication": self.plan is not None and self.plan.profile == PUBLISHED_SETTING,
            "plan": self._plan_hashes(),
            "claims": [
                {"id": row.id, "claim": row.claim.claim, "verdict": decision.verdict.value, "why": decision.why}
                for row, decision in self.claims
            ],
            "values": [
                {"id": row.id, "system": row.printed.system, "metric": row.printed.metric, "printed": row.printed.text}
                | {"ours": shown(row).ours, "interval": shown(row).interval, "verdict": row.verdict.value}
                for row in self.values
            ],
            "missing": self.missing,
            "failures": {name: list(found) for name, found in self.failures.items()},
            "times": {name: {**mark["run"]["study"]["seconds"]} for name, mark in self.marks.items()},
        }

    def _banner(self) -> list[PagePart]:
        if self.plan is None:
            return [PageText(NOT_A_REPLICATION, bold=True)]
        if self.plan.profile != PUBLISHED_SETTING:
            words = (
                f"Not a replication. The profile {self.plan.profile} scales the systems down: verdicts are of these."
            )
            return [PageText(words, bold=True)]
        return []

    def _scope(self) -> list[PagePart]:
        own = len({row.printed.system for row in self.values if row.preset})
        every = len({row.printed.system for row in self.values})
        rows = [(r.claim.claim, r.where, r.claim.wording, r.claim.dataset, r.claim.kind) for r, _ in self.claims]
        header = ("claim", "where", "in whose words", "data set", "how it is decided")
        return [
            PageHeading(2, "Scope of claims"),
            PageText(
                f"{len(self.claims)} claims of this paper are in the project's list and can be asked here; "
                f"{len(self.values)} scores are printed of {every} systems, {own} of which this book builds."
            ),
            *([PageTable("The claims that are asked", header, tuple(rows))] if rows else []),
        ]

    def _run(self) -> list[PagePart]:
        by: dict[tuple[str, str], list[StoredResult]] = {}
        for result in self.results:
            by.setdefault((result.experiment.preset, result.protocol), []).append(result)
        rows = []
        for (preset, protocol), of in by.items():
            seeds = sorted({r.experiment.training.seed for r in of})
            labels = sorted({r.labels_at_test for r in of if r.labels_at_test})
            epochs = sorted({r.best_epoch for r in of})
            rows.append(
                (
                    *(preset, PRESETS[preset].row, protocol, ", ".join(map(str, seeds)), ", ".join(labels) or NOTHING),
                    *(of[0].experiment.profile, ", ".join(map(str, epochs))),
                )
            )
        header = ("preset", "what it is", "decoding", "seeds", "labels at test", "profile", "best epochs")
        said = f"{len(by)} systems and protocols are stored."
        if self.plan:
            said += f" {len(self.marks)} of the {len(self.planned)} planned runs of this paper's systems are done."
        return [
            PageHeading(2, "What was run, and how it differs"),
            PageText(said),
            *([PageTable("What was run", header, tuple(rows))] if rows else []),
            PageList(tuple(self.differences())),
        ]

    def differences(self) -> list[str]:
        """How what was run differs from the paper, in sentences: the profile's scale, what the release is and sets,
        what was left out, the machine where no GPU was."""
        said = []
        for preset in dict.fromkeys(r.experiment.preset for r in self.results):
            run = next(r.experiment for r in self.results if r.experiment.preset == preset)
            if run.profile != PUBLISHED_SETTING:
                name = run.name
                usual = experiment(name, PUBLISHED_SETTING, released_settings(name)).to_json()
                changed = [
                    f"{part}.{key} {value!r} for {(usual[part] or {}).get(key)!r}"
                    for part, values in run.to_json().items()
                    if isinstance(values, dict)
                    for key, value in values.items()
                    if (part, key) != ("training", "seed") and value != (usual[part] or {}).get(key)
                ]
                said.append(f"{preset}, profile {run.profile}, not the published setting: {', '.join(changed)}")
        said += dict.fromkeys(f"{row.printed.system}: {row.released_code}" for row in self.values if row.released_code)
        beside = {row.printed.system for row in self.values if row.evidence is not None}
        without = {row.printed.system: row.why for row in self.values if row.printed.system not in beside}
        said += [f"{system} has nothing of ours beside it: {why}" for system, why in without.items()]
        if self.plan and not self.plan.meteor:
            said.append("METEOR was left out")
        if self.plan and any(mark["machine"]["device"] == "cpu" for mark in self.marks.values()):
            said.append("trained on a processor: sums run in another order than on a GPU")
        return said or ["no difference is known to the project's tables"]

    def _results(self, pictures: Mapping[str, str]) -> list[PagePart]:
        parts: list[PagePart] = [
            PageHeading(2, "Results"),
            PageText(
                "Brackets are 95 % intervals over studies of the mean over seeds; sd is over seeds. A printed value "
                "is one training's: it is held against where one training more of ours would score."
            ),
        ]
        header = ("system", "metric", "printed", "ours", "interval", "seeds", "sd", "measured on", "verdict", "why")
        for where in self.places:
            rows = []
            for row in (row for row in self.values if row.where == where):
                text = shown(row)
                ours = (c or NOTHING for c in (text.ours, text.interval, text.seeds, text.sd, text.ours_on))
                rows.append((text.system, text.metric, text.statement, *ours, text.verdict, text.why))
            parts.append(PageTable(f"{self.paper}, {where}", header, tuple(rows)))
            if where in pictures:
                parts.append(
                    PagePicture(pictures[where], f"{where}: printed values as diamonds, ours as dots with intervals")
                )
        alike: dict[tuple[str, ...], list[StoredResult]] = {}
        for result in self.results:  # what was not measured alike stands in no one table
            alike.setdefault((result.protocol, *_measured_by(result)), []).append(result)
        for protocol in dict.fromkeys(key[0] for key in alike):
            groups = [of for key, of in alike.items() if key[0] == protocol]
            for number, of in enumerate(groups, 1):
                frame = results_table(of).drop(columns="minutes")
                body = tuple((name, *cells) for name, cells in zip(frame.index, frame.to_numpy().tolist(), strict=True))
                caption = f"Ours, decoding {protocol}, beside reports that see no image" + (
                    f" (of {len(groups)} ways in which they were measured, hashes below, the {number}.)"
                    if len(groups) > 1
                    else ""
                )
                parts.append(PageTable(caption, ("system", *frame.columns), body))
        return parts

    def _verdicts(self) -> list[PagePart]:
        rows = tuple(
            (r.claim.claim, d.verdict.value, d.why, f"{o.verdict}: {o.why}" if (o := r.own_table) else NOTHING)
            for r, d in self.claims
        )
        counted = ", ".join(f"{n} {verdict.value}" for verdict, n in self.counts.items() if n)
        return [
            PageHeading(2, "Verdict of each claim"),
            PageText(f"Of {len(self.claims)} claims: {counted or 'none'}."),
            *([PageTable("Verdicts", ("claim", "verdict", "why", "its own table"), rows)] if rows else []),
        ]

    def _easy(self) -> list[PagePart]:
        smooth = [name for name, mark in self.marks.items() if not (mark["failures"] or mark["remarks"])]
        within = sum(row.verdict is Verdict.REPRODUCED for row in self.values)
        if self.plan:
            points = [
                f"{len(smooth)} of {len(self.marks)} runs that are done had no failure and no remark",
                f"{within} of {len(self.values)} printed scores lie where one training more of ours would score",
            ]
        else:
            holds = self.counts[Verdict.HOLDS]
            points = [f"{holds} of {len(self.claims)} claims hold on IU-Phantom, which is not the paper's data"]
        return [PageHeading(2, "What was easy"), PageList(tuple(points))]

    def _hard(self) -> list[PagePart]:
        remarks: dict[str, list[str]] = {}
        for result in self.results:
            for remark in result.provenance.get("remarks", ()):
                remarks.setdefault(remark, []).append(result.experiment.preset)
        points = [f"{', '.join(dict.fromkeys(names))}: {remark}" for remark, names in remarks.items()]
        points += [
            f"{name} failed and was tried again: {error}" for name, m in self.marks.items() for error in m["failures"]
        ]
        points += [
            f"{name} is not done, it failed: {error}" for name, found in self.failures.items() for error in found
        ]
        if waiting := [name for name in self.missing if name not in self.failures]:
            points.append(f"not done yet: {', '.join(waiting)}")
        unfit = sorted(
            {r.name for r in self.results if r.protocol == "tuned" and not BAND[0] <= r.length_ratio <= BAND[1]}
        )
        if unfit:
            points.append(
                f"test reports outside {BAND[0]} to {BAND[1]} of the references' words, though tuned: "
                f"{', '.join(unfit)}"
            )
        lacking = [r.claim.id for r, d in self.claims if d.verdict in (Verdict.OPEN, Verdict.UNDECIDED)]
        if lacking:
            points.append(f"undecided, their reasons say what is lacking: {', '.join(lacking)}")
        return [PageHeading(2, "What was hard"), PageList(tuple(points or ["nothing was noted"]))]

    def _plan_hashes(self) -> dict[str, str]:
        return {"question": self.plan.question_hash, "plan": self.plan.hash} if self.plan else {}

    def _hashes(self) -> list[PagePart]:
        first = [f"{name} {value}" for name, value in self._plan_hashes().items()]
        for what in ("protocol", "vocabulary", "studies", "labeler"):
            kept = dict.fromkeys(_short(r.evaluation.provenance[what]) for r in self.results)
            first += [f"{what} {one}" for one in kept]
        first += [f"dataset {one}" for one in dict.fromkeys(r.provenance["identity"]["dataset"] for r in self.results)]
        rows = tuple(
            (r.name, r.experiment.hash, _short(r.evaluation.provenance["hypotheses"]), r.weights) for r in self.results
        )
        return [
            PageHeading(2, "Hashes"),
            PageList(tuple(first)),
            *([PageTable("Every result", ("result", "experiment", "reports", "weights"), rows)] if rows else []),
        ]

    def _hours(self) -> list[PagePart]:
        points = []
        machines = Counter(json.dumps(r.provenance["machine"], sort_keys=True) for r in self.results)
        for text, n in machines.items():
            points.append(f"{n} results on {', '.join(f'{key} {value}' for key, value in json.loads(text).items())}")
        if self.plan:
            spent = [sum(mark["run"]["study"]["seconds"].values()) for mark in self.marks.values()]
            points.append(f"{sum(spent) / 3600:.2f} hours for {len(spent)} runs")
            again = {name: mark["begun"] - 1 for name, mark in self.marks.items() if mark["begun"] > 1}
            points += [f"{name} was begun {n} times more" for name, n in again.items()]
            made = sorted(mark["run"]["study"]["made"] for mark in self.marks.values())
            points += [f"made {made[0]} to {made[-1]}"] if made else []
        else:
            minutes = {r.weights: r.minutes for r in self.results}
            if minutes:
                points.append(
                    f"{sum(minutes.values()) / 60:.1f} hours of training for {len(minutes)} trainings, "
                    f"{fmean(minutes.values()):.0f} minutes each on average"
                )
        return [PageHeading(2, TIMES_HEADING), PageList(tuple(points or ["nothing was run"]))]


def _measured_by(result: StoredResult) -> tuple[str, ...]:
    """What two results must have in common to stand in one table: cleaning, words, studies, labeler, images."""
    kept = (result.evaluation.provenance[what] for what in ("protocol", "vocabulary", "studies", "labeler"))
    return *map(_short, kept), str(result.provenance["identity"]["dataset"])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def replication_decision(row: ClaimRow, results: Sequence[StoredResult], profile: str) -> Decision:
    """What a replication on a paper's own data says of a claim. What the ledger reads out of the paper's own table, or
    knows of drawn studies alone, is no replication: then it is not run, and the reason says what is known."""
    if row.claim.kind in ("order", "best setting"):
        decision = by_results(row.claim, results, profile)
    else:
        decision = Decision(row.verdict, row.why)
    if decision.verdict in DECIDED:
        return decision
    return Decision(Verdict.NOT_RUN, f"{decision.verdict.value}: {decision.why}")


def run_reports(plan: ReplicationPlan, results: Sequence[StoredResult]) -> list[ReplicationReport]:
    """A report for every paper that prints or claims something of the plan's dataset. Raises as `study_results`."""
    marks = {name: one.data for name, one in study_results(plan, plan.marks).items()}
    failures, found = open_failures(plan), []
    planned = {(s.name, seed) for s in plan.systems for seed in plan.seeds}
    own = [r for r in results if (r.experiment.preset, r.experiment.training.seed) in planned]
    rows = ledger(own, plan.profile)
    for paper, of in _by_paper(rows).items():
        values = tuple(r for r in of if isinstance(r, ValueRow) and r.dataset == plan.dataset and _is_score(r))
        claims = tuple(
            (r, replication_decision(r, own, plan.profile))
            for r in of
            if isinstance(r, ClaimRow) and r.dataset in (plan.dataset, "-")
        )
        if values or any(r.dataset == plan.dataset for r, _ in claims):
            of_paper = _results_of(own, values, claims)
            theirs = {name: m for name, m in marks.items() if m["run"]["study"]["system"] in _presets(values, claims)}
            report = ReplicationReport(paper, plan.dataset, values, claims, of_paper, plan, theirs)
            failed = {name: failures[name] for name in report.planned if name in failures}
            found.append(replace(report, failures=failed))
    return found


def drawn_reports(results: Sequence[StoredResult]) -> list[ReplicationReport]:
    """A report a paper of what is stored of IU-Phantom, in the same form: not a replication. Nothing is trained."""
    found = []
    own = [r for r in results if r.experiment.dataset == DRAWN and r.is_preset and not r.of_edition_0_1]
    for paper, of in _by_paper(ledger(results)).items():
        values = tuple(r for r in of if isinstance(r, ValueRow) and _is_score(r))
        claims = tuple((r, Decision(r.verdict, r.why)) for r in of if isinstance(r, ClaimRow))
        of_paper = _results_of(own, values, claims)
        if any(d.verdict in MEASURED_ON_DRAWN for _, d in claims) or of_paper:
            found.append(ReplicationReport(paper, DRAWN, values, claims, of_paper))
    return found


def _is_score(row: ValueRow) -> bool:
    return row.printed.quantity is Quantity.SCORE


def _by_paper(rows: Sequence[LedgerRow]) -> dict[str, list[LedgerRow]]:
    papers: dict[str, list[LedgerRow]] = {}
    for row in rows:
        papers.setdefault(row.paper, []).append(row)
    return papers


def _presets(values: Sequence[ValueRow], claims: Sequence[tuple[ClaimRow, Decision]]) -> set[str]:
    named = {row.preset for row in values if row.preset}
    return named | {name for row, _ in claims for name in (*row.claim.better, *row.claim.worse)}


def _results_of(
    results: Sequence[StoredResult], values: Sequence[ValueRow], claims: Sequence[tuple[ClaimRow, Decision]]
) -> tuple[StoredResult, ...]:
    presets = _presets(values, claims)
    return tuple(r for r in results if r.experiment.preset in presets)


def write_replication_report(
    report: ReplicationReport, folder: Path, pictures: Mapping[str, str] | None = None
) -> tuple[Path, Path, Path]:
    """STEM.md, STEM.html and STEM.json in `folder`, each whole or not at all; `pictures` as `ReplicationReport.parts`
    takes them. Raises `StorageError`."""
    parts = report.parts(pictures)
    paths = tuple(Path(folder) / f"{report.stem}.{ending}" for ending in ("md", "html", "json"))
    for path, text in zip(paths[:2], (page_markdown(parts), page_html(parts)), strict=True):
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(paths[2], report.to_json())
    return paths
