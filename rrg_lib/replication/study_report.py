"""What a study found: every comparison of its plan decided by the rule of `rrg_lib.replication.decision_rule`, with the
scores beside it, as Markdown and JSON.

The studies of a comparison are paired; the variance of seeds is pooled over the systems of one condition. Where systems
vary by much or little, the pool is too wide for some and too narrow for others: so each comparison is judged a second
time by the seeds of its own two systems (Welch), and the report says where that answers differently. Two systems of one
training, one of them with a lesion, have their seeds paired as well: what varies is the difference from training to
training, and nothing is pooled.

Where a comparison is made under several conditions, its difference under each of them is also compared with that under
the plan's first one, by the same rule: does a memory gain *more* there? That one is told apart from zero and the other
is not says nothing about that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from rrg_lib.data.study import DRAWN_FINDINGS
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.metrics import FINDING_F1_MACRO
from rrg_lib.evaluation.resampling import LEVEL, Additive, bootstrap_weights, ratio, resampled_each, seeds_with_studies
from rrg_lib.replication.decision_rule import Arm, Order, Pool, corrected, judge, pooled, welch_freedom
from rrg_lib.replication.seed_scores import effective
from rrg_lib.replication.study_plan import RECALL, StudyPlan
from rrg_lib.replication.study_runs import StudyResult, study_results
from rrg_lib.runtime.document import PageHeading, PagePart, PageTable, PageText, page_markdown
from rrg_lib.runtime.workspace import workspace, write_json, written_whole


@dataclass(frozen=True)
class StudyScore:
    """A metric of one system under one condition: `scores` by seed; each seed's on resampled studies, `drawn` (S, R);
    of their mean the 95 % interval over studies, `low` to `high`. `training` has a hash a seed, `system` is one of what
    decides its numbers, `tested` one of the studies, which are so many (`studies`)."""

    scores: dict[int, float]
    low: float
    high: float
    drawn: np.ndarray
    training: tuple[str, ...]
    system: str
    studies: int
    tested: str

    @property
    def mean(self) -> float:
        return fmean(self.scores.values())


@dataclass(frozen=True)
class StudyVerdict:
    """A comparison of the plan under one condition by one metric: `order` decides it together with those that belong to
    it, `alone` as if it were the only one, `own` as `order` by the seeds of its two systems and no others'."""

    condition: str
    a: str
    b: str
    metric: str
    order: Order
    alone: Order
    own: Order

    def __str__(self) -> str:
        if self.own.answer == self.order.answer:
            return str(self.order)
        return f"{self.order}; by the seeds of its own two systems {self.own.how}, p {self.own.p:.2g}"


@dataclass(frozen=True)
class StudyChange(StudyVerdict):
    """A comparison's difference under `condition` less the one under `first`."""

    first: str


@dataclass(frozen=True)
class StudyReport:
    """All scores, by (condition, system, metric), all verdicts of the runs that are there, and how the differences
    change with the condition."""

    plan: StudyPlan
    results: Mapping[str, StudyResult]
    scores: Mapping[tuple[str, str, str], StudyScore]
    verdicts: tuple[StudyVerdict, ...]
    changes: tuple[StudyChange, ...]

    @property
    def missing(self) -> int:
        """Runs of the plan without a result."""
        return len(self.plan.runs()) - len(self.results)

    @property
    def hours(self) -> float:
        """Hours of one core that the results took, each training counted once."""
        return sum(_seconds(self.results.values()).values()) / 3600

    @property
    def earlier(self) -> dict[str, int]:
        """Hash of an earlier form of the plan -> how many results were made under it."""
        made = [r.study["plan"] for r in self.results.values()]
        return {one: made.count(one) for one in dict.fromkeys(made) if one != self.plan.hash}

    def to_json(self) -> dict[str, Any]:
        """Plain values: the plan, the scores by seed, the verdicts with their numbers."""
        plan = self.plan
        return {
            "study": plan.name,
            "question": plan.question,
            "declared": plan.declared,
            "question_hash": plan.question_hash,
            "plan_hash": plan.hash,
            "deltas": plan.deltas,
            "runs": len(plan.runs()),
            "missing": self.missing,
            "earlier_plans": self.earlier,
            "seconds": _seconds(self.results.values()),
            "scores": [
                {
                    "condition": condition,
                    "system": system,
                    "metric": metric,
                    "mean": _number(s.mean),
                    "low": _number(s.low),
                    "high": _number(s.high),
                    "seeds": {str(seed): _number(value) for seed, value in s.scores.items()},
                }
                for (condition, system, metric), s in self.scores.items()
            ],
            "verdicts": [_verdict_json(v) for v in self.verdicts],
            "changes": [{"first": v.first} | _verdict_json(v) for v in self.changes],
        }

    def markdown(self) -> str:
        """`parts` as Markdown."""
        return page_markdown(self.parts())

    def parts(self) -> list[PagePart]:
        """The report as a page: the question, what was run, a table of scores a condition, a table of verdicts a
        metric."""
        plan, titles = self.plan, {s.name: s.title for s in self.plan.systems}
        parts: list[PagePart] = [PageHeading(1, plan.title)]
        parts += [PageText(text) for text in (*_paragraphs(plan.question), *self._what_was_run())]
        for c in plan.conditions:
            rows = [
                (titles[s.name], *(self._cell(c.name, s.name, m) for m in plan.metrics), *self._seeds(c.name, s.name))
                for s in plan.systems
                if (c.name, s.name, plan.metrics[0]) in self.scores
            ]
            if rows:
                words = f"{c.title}; in brackets the {LEVEL:.0%} interval over studies of the mean over seeds"
                header = ("system", *plan.metrics, "words", "seeds")
                parts += [PageHeading(2, c.title), PageTable(words, header, tuple(rows))]
        parts += [PageHeading(2, "Verdicts")]
        for metric in plan.metrics:
            delta = f"the smallest difference that matters is {plan.deltas[metric]:g}"
            of = [v for v in self.verdicts if v.metric == metric]
            if of:
                rows = [(v.condition, f"{titles[v.a]} − {titles[v.b]}", str(v)) for v in of]
                table = PageTable(f"{metric}: {delta}", ("condition", "difference", "verdict"), tuple(rows))
                parts += [PageHeading(3, metric), table]
            changed = [v for v in self.changes if v.metric == metric]
            if changed:
                rows = [(f"{v.condition} − {v.first}", f"{titles[v.a]} − {titles[v.b]}", str(v)) for v in changed]
                words = f"{metric}: how a difference changes with the condition; {delta}"
                parts += [PageTable(words, ("conditions", "of the difference", "verdict"), tuple(rows))]
        return [*parts, PageText(self.closing)]

    @property
    def closing(self) -> str:
        """What the verdicts are made by, as the last words of the page."""
        return (
            f"Comparisons of one metric are corrected together within the {self.plan.together} (Holm), changes with "
            f"the condition over all of them; the first metric is what the question is about, and nothing is corrected "
            f"for there being several. Margins are of a comparison alone. A condition's features are of one extractor: "
            f"what another training of it would change is in no margin. Drawn studies: no replication."
        )

    def verdict(self, condition: str, a: str, b: str, metric: str) -> StudyVerdict | None:
        """That of one comparison; None where it is not there."""
        asked = (condition, a, b, metric)
        return next((v for v in self.verdicts if (v.condition, v.a, v.b, v.metric) == asked), None)

    def _what_was_run(self) -> list[str]:
        plan, made = self.plan, sorted(r.study["made"] for r in self.results.values())
        run = [
            f"Declared {plan.declared}, question {plan.question_hash}, plan {plan.hash}; profile {plan.profile}, "
            f"decoding {plan.protocol}; seeds {', '.join(map(str, plan.seeds))}."
        ]
        if made:
            run[0] += (
                f" {len(self.results)} of {len(plan.runs())} runs, {made[0]} to {made[-1]}, {self.hours:.2f} hours of "
                f"one core."
            )
        if self.missing:
            run += [f"{self.missing} runs are missing: `rrg study run {plan.name}`"]
        run += [
            f"{count} results were made under an earlier form of the plan ({one}): its lists were changed since, its "
            f"question was not. Who adds seeds after a look has looked twice; a p-value is of one look."
            for one, count in self.earlier.items()
        ]
        return [*run, f"Cut: {' '.join(plan.pilot.cut.split())}"]

    def _cell(self, condition: str, system: str, metric: str) -> str:
        s = self.scores[condition, system, metric]
        return f"{s.mean:.3f} [{s.low:.3f}, {s.high:.3f}]"

    def _seeds(self, condition: str, system: str) -> list[str]:
        rows = [
            r.evaluation.rows[0].parts["all"].length
            for r in self.results.values()
            if (r.study["condition"], r.study["system"]) == (condition, system)
        ]
        return [f"{fmean(rows):.1f}", f"{len(rows)}"]


def _verdict_json(v: StudyVerdict) -> dict[str, Any]:
    return {
        "condition": v.condition,
        "a": v.a,
        "b": v.b,
        "metric": v.metric,
        "answer": v.order.answer,
        "difference": _number(v.order.difference),
        "margin": _number(v.order.margin),
        "p": _number(v.order.p),
        "p_delta": _number(v.order.p_delta),
        "delta": v.order.delta,
        "corrected_for": v.order.of,
        "own_answer": v.own.answer,
        "own_p": _number(v.own.p),
        "seeds": v.order.seeds,
        "need": str(v.order.need) if v.order.need else None,
    }


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _number(value: float) -> float | None:
    return None if math.isnan(value) or math.isinf(value) else value


def _seconds(results: Any) -> dict[str, float]:
    """Processor seconds: those of a training counted once."""
    trainings, scoring = {}, 0.0
    for r in results:
        kept = r.study["seconds"]
        trainings[r.study["training"]] = kept.get("training", 0.0) + kept.get("tuning", 0.0)
        scoring += kept["scoring"]
    return {"training": sum(trainings.values()), "scoring": scoring}


def study_terms(result: StudyResult, metric: str, groups: Mapping[str, Sequence[str]]) -> Additive:
    """The terms of a metric, or of the recall of a group of findings: of all the group's findings in all studies, how
    many a report names."""
    for group, findings in groups.items():
        if metric == RECALL.format(group):
            counts = result.terms[FINDING_F1_MACRO].terms  # (n, 3 · 13): right, too many, missed
            columns = [DRAWN_FINDINGS.index(finding) for finding in findings]
            right, _, missed = np.split(counts, 3, axis=1)
            both = np.stack([right[:, columns].sum(1), missed[:, columns].sum(1)], axis=1)  # (n, 2)
            return Additive(both, lambda s: ratio(s[..., 0], s[..., 0] + s[..., 1], nothing=np.nan))
    return result.terms[metric]


def study_report(plan: StudyPlan, folder: Path | None = None) -> StudyReport:
    """What the results that are there say. Raises as `study_results`, and `ConfigurationError` for results of one
    condition that were not measured on the same studies through the same extractor."""
    results = study_results(plan, folder)
    scores: dict[tuple[str, str, str], StudyScore] = {}
    for c in plan.conditions:
        _check_alike(plan, [results[run.name] for run in plan.runs() if run.condition == c and run.name in results])
        for s in plan.systems:
            here = [run for run in plan.runs() if (run.condition, run.system) == (c, s) and run.name in results]
            if here:
                system = effective(here[0].experiment)
                for metric in plan.metrics:
                    scores[c.name, s.name, metric] = _score(plan, [results[r.name] for r in here], system, metric)
    verdicts: list[StudyVerdict] = []
    changes: list[StudyChange] = []
    first = plan.conditions[0].name
    for metric in plan.metrics:
        gaps, own = (_gaps(plan, scores, metric, own=own) for own in (False, True))
        delta = plan.deltas[metric]
        alone = {key: gap.order(delta) for key, gap in gaps.items()}
        ours = _corrected(plan, {key: gap.order(delta) for key, gap in own.items()})
        verdicts += [
            StudyVerdict(*key, metric, one, alone[key], ours[key]) for key, one in _corrected(plan, alone).items()
        ]
        alone, ours = (
            {
                (c, a, b): gap.beside(of[first, a, b], delta)
                for (c, a, b), gap in of.items()
                if c != first and (first, a, b) in of
            }
            for of in (gaps, own)
        )
        ours = corrected(ours)  # all of them answer one question
        changes += [
            StudyChange(*key, metric, one, alone[key], ours[key], first) for key, one in corrected(alone).items()
        ]
    return StudyReport(plan, results, scores, tuple(verdicts), tuple(changes))


def _check_alike(plan: StudyPlan, runs: Sequence[StudyResult]) -> None:
    """Raises `ConfigurationError` for results of one condition that cannot be compared, naming the fewer."""
    by_measure: dict[str, list[str]] = {}
    for r in runs:
        by_measure.setdefault(r.measured_alike, []).append(r.file)
    if len(by_measure) > 1:
        odd = min(by_measure.values(), key=len)
        raise ConfigurationError(
            f"{', '.join(odd)} {'was' if len(odd) == 1 else 'were'} not measured like the other "
            f"{len(runs) - len(odd)} results of the condition: on the same studies, through the same extractor, by the "
            f"same labeler. Delete those that are not wanted and run: rrg study run {plan.name}"
        )


def _score(plan: StudyPlan, runs: Sequence[StudyResult], system: str, metric: str) -> StudyScore:
    terms = [study_terms(r, metric, plan.groups) for r in runs]
    drawn = resampled_each(terms, bootstrap_weights(len(terms[0])))
    of_mean = drawn.mean(axis=0)
    defined = of_mean[~np.isnan(of_mean)]  # recall of a finding that no resample holds is not
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(defined) else (math.nan, math.nan)
    return StudyScore(
        scores={r.study["seed"]: each.value() for r, each in zip(runs, terms, strict=True)},
        low=float(low),
        high=float(high),
        drawn=drawn,
        training=tuple(r.study["training"] for r in runs),
        system=system,
        studies=len(terms[0]),
        tested=runs[0].tested,
    )


@dataclass(frozen=True)
class _Gap:
    """A difference of two means over seeds, before it is judged: both arms, and the difference on resampled studies,
    `drawn` (R,), NaN where it is not defined; of so many `studies`, those that `tested` names."""

    a: Arm
    b: Arm
    drawn: np.ndarray
    studies: int
    tested: str
    note: str = ""

    def order(self, delta: float) -> Order:
        return judge(self.a, self.b, _variance(self.drawn), delta=delta, studies=self.studies, note=self.note)

    def beside(self, other: _Gap, delta: float) -> Order:
        """This difference less another, of other trainings: of the same studies, or of others, whose variances add
        up."""
        paired = self.tested == other.tested
        apart = _variance(self.drawn - other.drawn) if paired else _variance(self.drawn) + _variance(other.drawn)
        studies = min(self.studies, other.studies)
        return judge(self.arm, other.arm, apart, delta=delta, studies=studies, note=self.note)

    @property
    def arm(self) -> Arm:
        """The difference as one arm: what one training of each of its two arms adds to its variance."""
        p, q = self.a.pool, self.b.pool
        freedom = p.freedom if p == q else welch_freedom([(pool.sd**2, pool.freedom) for pool in (p, q)])
        pool = Pool(math.hypot(p.sd, q.sd), freedom, p.systems, p.of)
        both = self.a.with_studies + self.b.with_studies
        return Arm(self.a.mean - self.b.mean, min(self.a.seeds, self.b.seeds), pool, both)


def _variance(drawn: np.ndarray) -> float:
    """Over studies, of what its resamples are; NaN among them are left out."""
    defined = drawn[~np.isnan(drawn)]
    return float(np.var(defined, ddof=1)) if len(defined) > 1 else math.nan


def _gaps(
    plan: StudyPlan, scores: Mapping[tuple[str, str, str], StudyScore], metric: str, *, own: bool
) -> dict[tuple[str, str, str], _Gap]:
    """(condition, a, b) -> the difference, of every comparison whose two systems have a score."""
    return {
        (c.name, one.a, one.b): _gap(plan, scores, c.name, one.a, one.b, metric, own=own)
        for c in plan.conditions
        for one in plan.comparisons
        if c.name in (one.conditions or [c.name]) and all((c.name, name, metric) in scores for name in (one.a, one.b))
    }


def _gap(
    plan: StudyPlan,
    scores: Mapping[tuple[str, str, str], StudyScore],
    condition: str,
    a: str,
    b: str,
    metric: str,
    *,
    own: bool = False,
) -> _Gap:
    """The difference of two systems; by their `own` seeds, or by those of all systems of the condition."""
    one, other = scores[condition, a, metric], scores[condition, b, metric]
    if set(one.training) & set(other.training):
        both = sorted(one.scores.keys() & other.scores.keys())
        apart = _rows(one, both) - _rows(other, both)  # (S, R), a row a training
        each = pooled([[one.scores[seed] - other.scores[seed] for seed in both]], "differences of the same weights")
        arms = (
            Arm(fmean(one.scores[seed] for seed in both), len(both), each, seeds_with_studies(apart)),
            Arm(fmean(other.scores[seed] for seed in both), len(both), Pool(0.0, 0, 0, "the same weights")),
        )
        return _Gap(*arms, apart.mean(axis=0), one.studies, one.tested, "the same weights")
    of_all = None if own else _pool(plan, scores, condition, metric)
    arms = tuple(
        Arm(s.mean, len(s.scores), of_all or pooled([[*s.scores.values()]], name), seeds_with_studies(s.drawn))
        for name, s in ((a, one), (b, other))
    )
    return _Gap(*arms, one.drawn.mean(axis=0) - other.drawn.mean(axis=0), one.studies, one.tested)


def _rows(score: StudyScore, seeds: Sequence[int]) -> np.ndarray:
    at = list(score.scores)
    return score.drawn[[at.index(seed) for seed in seeds]]


def _pool(plan: StudyPlan, scores: Mapping[tuple[str, str, str], StudyScore], condition: str, metric: str) -> Pool:
    """Of all systems of a condition that have no lesion; one under two names counts once."""
    systems = {
        s.system: list(s.scores.values())
        for (c, name, m), s in scores.items()
        if (c, m) == (condition, metric) and not _lesion(plan, name)
    }
    return pooled(list(systems.values()), condition)


def _lesion(plan: StudyPlan, name: str) -> bool:
    return next(s for s in plan.systems if s.name == name).lesion is not None


def _corrected(plan: StudyPlan, orders: dict[tuple[str, str, str], Order]) -> dict[tuple[str, str, str], Order]:
    """Comparisons that belong together, corrected together."""
    if plan.together == "study":
        return corrected(orders)
    found = {}
    for condition in dict.fromkeys(key[0] for key in orders):
        found |= corrected({key: one for key, one in orders.items() if key[0] == condition})
    return found


def write_study_report(report: StudyReport, folder: Path | None = None) -> tuple[Path, Path]:
    """NAME.md and NAME.json, each whole or not at all; by default in `studies` of the workspace."""
    folder = folder or workspace() / "studies"
    text, data = (folder / f"{report.plan.name}.{ending}" for ending in ("md", "json"))
    with written_whole(text) as temporary:
        temporary.write_text(report.markdown(), encoding="utf-8")
    write_json(data, report.to_json())
    return text, data
