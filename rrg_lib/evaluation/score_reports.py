"""Scores of anybody's reports: predictions beside references, without a trained run, images or prepared data.

Every metric of language, what the set of reports is like (distinct ones, the share of the commonest, words, length),
the findings that our labeler reads in both, all with bootstrap intervals; beside them the trivial baselines, where the
studies are a split of IU X-Ray; and the paired test between two systems. Which cleaning both sides went through is part
of the result.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rrg_lib.data.iu_xray import impressions, known
from rrg_lib.data.study import Split
from rrg_lib.data.text.rule_labeler import NEWEST, ReportLabeler
from rrg_lib.data.text.vocabulary import PROTOCOLS
from rrg_lib.errors import ConfigurationError, JavaError, ReportError, UnknownNameError
from rrg_lib.evaluation.baselines import BASELINES, DEFAULT_BASELINES
from rrg_lib.evaluation.clinical import LABEL_SETS, UNCERTAIN, clinical_scores
from rrg_lib.evaluation.comparison import Comparison, comparison_markdown
from rrg_lib.evaluation.meteor import require_java, warm_up
from rrg_lib.evaluation.nlg import METRICS, MeteorError, nlg_scores
from rrg_lib.evaluation.radeval import EXTERNAL_METRICS, ExternalScores, external_scores, require_external
from rrg_lib.evaluation.report_files import ReportPairs
from rrg_lib.evaluation.report_signs import signs, uncleaned
from rrg_lib.evaluation.resampling import (
    LEVEL,
    RESAMPLES,
    Additive,
    Interval,
    interval,
    over_seeds,
    paired_randomisation,
)
from rrg_lib.evaluation.rexrank import baseline_sets, split_of
from rrg_lib.evaluation.score_table import without_nan
from rrg_lib.runtime.cache import remembered
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.markdown import markdown_table
from rrg_lib.runtime.spreadsheet import as_cell
from rrg_lib.runtime.workspace import write_json, written_whole

#: What both sides may be cleaned with before they are scored, and how the result says so.
CLEANINGS = {
    "r2gen": "the released cleaning for IU X-Ray (lower case, no punctuation but full stops, no decimal points)",
    "r2gen_mimic": "the released cleaning for MIMIC-CXR (as r2gen, white space and blanks of anonymisation collapsed)",
    "none": "none: words as given, split at white space",
}
#: What a set of reports is like; no score, and without an interval.
SHAPE = (
    "distinct reports",
    "share of the commonest report",
    "vocabulary",
    "words a report",
    "length ratio",
    "empty reports",
)
#: Raised when a baseline's row means something else than before, so that no kept one is taken for it.
ROW_VERSION = 1
OUT_SUFFIXES = (".md", ".json", ".csv")


@dataclass(frozen=True)
class SystemScores:
    """One system's reports: `scores` and their `intervals` by name, `shape` by the names of `SHAPE`, `findings` the
    precision, recall, F1 and support of each label set and treatment of uncertain. With several sets of reports (a
    baseline's seeds) all are means."""

    name: str
    scores: dict[str, float]
    intervals: dict[str, Interval]
    shape: dict[str, float]
    findings: dict[str, dict[str, float]]
    sets: int = 1
    description: str = ""
    terms: tuple[dict[str, Additive], ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, intervals as pairs; the terms are left out."""
        values = {"name": self.name, "description": self.description, "sets": self.sets, "scores": self.scores}
        ends = {score: list(each) for score, each in self.intervals.items()}
        return {**values, "intervals": ends, "shape": self.shape, "findings": self.findings}


@dataclass(frozen=True, eq=False)
class ReportScores:
    """Systems in the order of the table: the files given, then the baselines. `not_computed` says why a metric is
    missing."""

    systems: tuple[SystemScores, ...]
    comparison: tuple[Comparison, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    not_computed: dict[str, str]
    provenance: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """The scores that were computed, in order."""
        return list(self.systems[0].scores)

    def markdown(self) -> str:
        """Warnings, tables and how they came about, for a terminal or a page."""
        provenance, systems = self.provenance, self.systems
        lines = [f"{provenance['studies']['n']} studies{self._split()}", ""]
        lines += [f"**Warning**: {warning}" for warning in self.warnings] + [""] * bool(self.warnings)
        rows = [[n, *(_cell(s.scores.get(n, math.nan), s.intervals.get(n)) for s in systems)] for n in self.names]
        rows += [[name, *(_count(name, s.shape[name]) for s in systems)] for name in SHAPE]
        lines += markdown_table(["", *(s.name for s in systems)], rows)
        lines += ["", f"Findings of {systems[0].name} by label set, against the references' own labels:", ""]
        columns = ("micro precision", "micro recall", "micro f1", "macro f1", "support")
        lines += markdown_table(
            ["label set, uncertain is", *columns],
            [
                [key, *(_cell(row[c]) if c != "support" else f"{row[c]:.0f}" for c in columns)]
                for key, row in systems[0].findings.items()
            ],
        )
        if self.comparison:
            pair = systems[0].name, systems[1].name
            lines += ["", comparison_markdown(pair, self.comparison, trained=False)]
        lines += ["", *(f"- **{s.name}**: {s.description}" for s in systems if s.description)]
        lines += [f"- {metric} not computed: {why}" for metric, why in self.not_computed.items()]
        lines += [f"- {note}" for note in self.notes]
        labeler, boot = provenance["labeler"], provenance["bootstrap"]
        lines += [
            f"- cleaning of both sides: {provenance['cleaning']['name']}, {provenance['cleaning']['does']}; it changed "
            f"{provenance['cleaning']['predictions']} predictions and {provenance['cleaning']['references']} "
            f"references",
            "- references are scored whole: not cut to a system's longest report, no rare word replaced",
            f"- findings: labeler {labeler['version']} {labeler['hash']} on the texts as given; F1 in the first table "
            f"counts a doubted finding as negative; macro over labels that a reference has",
            f"- in brackets: {boot['level']:.0%} bootstrap intervals over studies, {boot['resamples']} resamples, seed "
            f"{boot['seed']}",
        ]
        return "\n".join(lines) + "\n"

    def _split(self) -> str:
        split = self.provenance["studies"]["split"]
        return f": the {split} split of IU X-Ray" if split else ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN becomes null."""
        systems = [system.to_json() for system in self.systems]
        comparison = [
            {"score": c.score, "a": c.a.mean, "b": c.b.mean, "difference": c.test.difference, "p": c.test.p}
            for c in self.comparison
        ]
        return without_nan(
            {
                "systems": systems,
                "comparison": comparison,
                "warnings": list(self.warnings),
                "notes": list(self.notes),
                "not_computed": self.not_computed,
                "provenance": self.provenance,
            }
        )

    def csv(self) -> str:
        """A row a system and score: system, score, value, low, high; the ends empty where there is no interval."""
        rows: list[Sequence[Any]] = [("system", "score", "value", "low", "high")]
        for system in self.systems:
            name = f"'{system.name}" if system.name[:1] in "=+-@" else system.name  # a spreadsheet would run it
            for score, value in system.scores.items():
                rows.append((name, score, value, *system.intervals.get(score, ("", ""))))
            rows += [(name, score, value, "", "") for score, value in system.shape.items()]
            for key, scores in system.findings.items():
                rows += [(name, f"{key}, {score}", value, "", "") for score, value in scores.items()]
        for c in self.comparison:
            rows.append((f"{self.systems[0].name} - {self.systems[1].name}", c.score, c.test.difference, "", ""))
            rows.append((f"{self.systems[0].name} - {self.systems[1].name}", f"{c.score}, p", c.test.p, "", ""))
        return csv_text(rows)


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """CSV of rows, NaN as an empty cell, and no cell a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([["" if v != v else as_cell(v) if isinstance(v, str) else v for v in row] for row in rows])
    return file.getvalue()


def out_format(path: Path) -> str:
    """The suffix of a file to write a result to. Raises `ConfigurationError` for one that says no format: before
    anything is scored."""
    suffix = Path(path).suffix.lower()
    if suffix not in OUT_SUFFIXES:
        raise ConfigurationError(
            f"--out {path}: its suffix says no format. Expected one of {', '.join(OUT_SUFFIXES)} (Markdown, JSON, CSV)"
        )
    return suffix


def write_result(path: Path, *, markdown: str, json: Any, csv: str) -> None:
    """A result in the format that the file's suffix says, whole or not at all. Raises as `out_format` does."""
    suffix = out_format(path)
    if suffix == ".json":
        write_json(path, json)
        return
    with written_whole(path) as temporary:
        temporary.write_text(markdown if suffix == ".md" else csv, encoding="utf-8")


def cleaner(name: str) -> Callable[[str], str]:
    """The cleaning of that name; of a text without a word it leaves nothing. Raises `UnknownNameError`."""
    if name not in CLEANINGS:
        raise UnknownNameError("cleaning", name, CLEANINGS)
    clean = str if name == "none" else PROTOCOLS[name].clean

    def cleaned(text: str) -> str:
        words = " ".join(clean(text).split())
        return words if any(c.isalnum() for c in words) else ""

    return cleaned


def score_reports(
    pairs: ReportPairs,
    *,
    other: ReportPairs | None = None,
    names: tuple[str, ...] = ("predictions",),
    cleaning: str = "r2gen",
    metrics: Sequence[str] = METRICS,
    external: Sequence[str] = (),
    baselines: bool = True,
    seed: int = 0,
) -> ReportScores:
    """Scores of the predictions of `pairs`, and of `other` beside them (of the same studies), with a paired test.

    Where the studies are a split of IU X-Ray and the references its FINDINGS, the blind baselines stand beside them.
    METEOR is left out where no Java works, and the result says why; CIDEr where all references are alike, for which it
    is not defined. `external` names metrics of RadEval (`EXTERNAL_METRICS`), which read the texts as given and are not
    computed of baselines.

    Raises `UnknownNameError` for a metric or cleaning, `ReportError` for two systems of other studies or references,
    `ExternalMetricError` as `external_scores` does.
    """
    require_external(external)
    judge = _Judge(pairs, cleaning, tuple(metrics), seed)
    warnings, notes = list(pairs.warnings), list(pairs.notes)
    given = [(names[0], pairs)]
    if other is not None:
        if other.ids != pairs.ids or other.references != pairs.references:
            raise ReportError(
                "the two systems must be of the same studies and references, in one order: what is scored on others "
                "cannot be compared"
            )
        given.append((names[1], other))
        warnings += [w for w in other.warnings if w not in warnings]
        notes += [note for note in other.notes if note not in notes]
    for name, each in given:
        prefix = f"{name}: " if other is not None else ""
        warnings += [f"{prefix}{sign}" for sign in signs(each.predictions, each.references, judge.clean)]
    beside = [_external_scores(each, external) for _, each in given] if external else []
    systems = [judge.scored(name, [each.predictions]) for name, each in given]
    if beside:
        systems = [_with_external(system, scores, seed) for system, scores in zip(systems, beside, strict=True)]
        notes.append(_external_note(beside[0]))
    split = split_of(list(pairs.ids))
    if split is not None:
        warnings += _other_references(judge)
    if split in ("test", "val") and baselines:
        systems += _baseline_rows(judge, split, cleaning, notes)
    comparison = ()
    if other is not None:
        a, b = (system.terms[0] for system in systems[:2])
        comparison = tuple(
            Comparison(score, over_seeds([a[score].value()]), over_seeds([b[score].value()]), _paired(a, b, score))
            for score in a
            if score in b
        )
    changed = [
        sum(judge.clean(text) != " ".join(text.split()) for text in texts)
        for texts in (pairs.predictions, pairs.references)
    ]
    return ReportScores(
        tuple(systems),
        comparison,
        tuple(notes),
        tuple(warnings),
        judge.not_computed,
        {
            "studies": {"n": len(pairs.ids), "hash": content_hash(list(pairs.ids)), "split": split},
            "references": content_hash(list(pairs.references)),
            "predictions": [content_hash(list(each.predictions)) for _, each in given],
            "cleaning": {
                "name": cleaning,
                "does": CLEANINGS[cleaning],
                "predictions": changed[0],
                "references": changed[1],
            },
            "labeler": {"version": judge.labeler.version, "hash": judge.labeler.hash},
            "label_sets": {name: list(labels) for name, labels in LABEL_SETS.items()},
            "scorers": {"pycocoevalcap": version("pycocoevalcap"), "METEOR": "1.5"},
            "bootstrap": {"level": LEVEL, "resamples": RESAMPLES, "seed": seed},
        },
    )


def _external_scores(pairs: ReportPairs, metrics: Sequence[str]) -> ExternalScores:
    sides = (dict(zip(pairs.ids, texts, strict=True)) for texts in (pairs.references, pairs.predictions))
    return external_scores(*sides, metrics=metrics)


def _with_external(system: SystemScores, external: ExternalScores, seed: int) -> SystemScores:
    """The system with the scores of a foreign package beside ours; those that are sums over studies get an interval and
    a paired test."""
    intervals = {name: interval([terms], seed=seed) for name, terms in external.additive.items()}
    return replace(
        system,
        scores={**system.scores, **external.corpus},
        intervals={**system.intervals, **intervals},
        terms=({**system.terms[0], **external.additive},),
    )


def _external_note(external: ExternalScores) -> str:
    lower = [name for name in external.corpus if EXTERNAL_METRICS[name].lower_is_better]
    return (
        f"{', '.join(external.corpus)}: by RadEval {external.provenance['radeval']}, of the texts as given"
        + (f"; lower is better: {', '.join(lower)}" if lower else "")
        + "; not computed of baselines"
    )


def _paired(a: dict[str, Additive], b: dict[str, Additive], score: str):
    return paired_randomisation(a[score], b[score])


def _other_references(judge: _Judge) -> list[str]:
    """Warnings where the studies are the collection's and the references are not its FINDINGS."""
    concluded, clean, n = impressions(), judge.clean, len(judge.references)
    other = [study for study in map(known, judge.references) if judge.references[study.id] != clean(study.report)]
    both = sum(judge.references[s.id] == clean(f"{s.report} {concluded[s.id]}") for s in other if concluded[s.id])
    if both > 0.5 * n:
        return [
            f"{both} of {n} references are the FINDINGS of IU X-Ray and its IMPRESSION in one: the published "
            f"scores, and most systems, are of FINDINGS alone"
        ]
    if len(other) > 0.1 * n:
        return [
            f"{len(other)} of {n} references are not the FINDINGS of IU X-Ray as the released cleaning writes them "
            f"(cut, rare words replaced, or another text): these scores compare only with others on the same references"
        ]
    return []


def _baseline_rows(judge: _Judge, split: Split, cleaning: str, notes: list[str]) -> list[SystemScores]:
    """The blind baselines of the split; none, and a note, where the references are written otherwise than they are."""
    if cleaning == "none" and sum(map(uncleaned, judge.references.values())) > 0.5 * len(judge.references):
        notes.append(
            "no baselines: they are written in cleaned words and the references are not cleaned; score with --cleaning "
            "r2gen to see them"
        )
        return []
    ids = judge.pairs.ids
    rows = []
    for name, sets in baseline_sets(split, DEFAULT_BASELINES).items():
        texts = [[reports[study] for study in ids] for reports in sets]
        rows.append(judge.kept(name, texts, f"trivial baseline, {BASELINES[name].description}"))
    return rows


class _Judge:
    """Scores one set of reports after another against the same references; METEOR is asked no more once Java has
    failed."""

    def __init__(self, pairs: ReportPairs, cleaning: str, metrics: tuple[str, ...], seed: int):
        self.pairs, self.clean, self.seed = pairs, cleaner(cleaning), seed
        self.references = {study: self.clean(text) for study, text in zip(pairs.ids, pairs.references, strict=True)}
        self.labeler, self.not_computed = ReportLabeler(NEWEST), {}
        self.metrics = list(metrics)
        if "METEOR" in self.metrics:
            try:
                require_java()
                warm_up()
            except JavaError as error:
                self.leave_out("METEOR", str(error))
        if "CIDEr" in self.metrics and len(set(self.references.values())) < 2:
            self.leave_out(
                "CIDEr",
                "every reference is the same text, so each word is in all of them and weighs nothing: it is not "
                "defined. It needs two different references at least",
            )

    def leave_out(self, metric: str, why: str) -> None:
        self.metrics.remove(metric)
        self.not_computed[metric] = why

    @cached_property
    def truth(self) -> dict[str, np.ndarray]:
        """The references' own labels, (n, 14) and (n, 13)."""
        return self.labels(self.pairs.references)

    def labels(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        return {
            "observations": np.array([self.labeler.observations(text) for text in texts]),
            "drawn": np.array([self.labeler.drawn(text) for text in texts]),
        }

    def scored(self, name: str, sets: Sequence[Sequence[str]], description: str = "") -> SystemScores:
        per_set = [self.one(texts) for texts in sets]
        common = [score for score in per_set[0][0] if all(score in terms for terms, _, _ in per_set)]
        mean = lambda dicts: {key: float(np.mean([d[key] for d in dicts])) for key in dicts[0]}  # noqa: E731
        return SystemScores(
            name,
            {score: float(np.mean([terms[score].value() for terms, _, _ in per_set])) for score in common},
            {score: interval([terms[score] for terms, _, _ in per_set], seed=self.seed) for score in common},
            mean([shape for _, shape, _ in per_set]),
            {key: mean([f[key] for _, _, f in per_set]) for key in per_set[0][2]},
            len(sets),
            description + (f" (mean of {len(sets)} seeds)" if len(sets) > 1 else ""),
            tuple({score: terms[score] for score in common} for terms, _, _ in per_set),
        )

    def kept(self, name: str, sets: Sequence[Sequence[str]], description: str) -> SystemScores:
        """`scored` without its terms, from the workspace if the same reports were judged alike before. One that lacks a
        metric because Java failed is not kept."""
        asked = tuple(self.metrics)
        judged = [asked, self.seed, LEVEL, RESAMPLES, self.labeler.hash, version("pycocoevalcap"), ROW_VERSION]
        key = ["scored reports", name, description, judged, list(self.pairs.references), self.references, sets]
        make = lambda: without_nan(self.scored(name, sets, description).to_json())  # noqa: E731
        row = remembered("baselines", key, make, keep=lambda row: set(asked) <= set(row["scores"])).value
        number = lambda value: math.nan if value is None else value  # noqa: E731
        return SystemScores(
            name,
            {score: number(value) for score, value in row["scores"].items()},
            {score: Interval(*map(number, ends)) for score, ends in row["intervals"].items()},
            row["shape"],
            {key: {k: number(v) for k, v in scores.items()} for key, scores in row["findings"].items()},
            row["sets"],
            row["description"],
        )

    def one(self, texts: Sequence[str]) -> tuple[dict[str, Additive], dict[str, float], dict[str, dict[str, float]]]:
        """One set of reports: every score as sums over studies, the shape of the set, its findings."""
        cleaned = [self.clean(text) for text in texts]
        try:
            nlg = nlg_scores(
                self.references, dict(zip(self.pairs.ids, cleaned, strict=True)), metrics=tuple(self.metrics)
            ).additive
        except MeteorError as error:
            self.leave_out("METEOR", str(error))
            nlg = error.scores.additive
        predicted, terms, findings = self.labels(texts), dict(nlg), {}
        for label_set in LABEL_SETS:
            columns = "drawn" if label_set == "drawn-13" else "observations"
            for uncertain in UNCERTAIN:
                scores = clinical_scores(predicted[columns], self.truth[columns], label_set, uncertain=uncertain)
                findings[f"{label_set}, {uncertain}"] = {
                    **{f"micro {k}": float(v) for k, v in asdict(scores.micro).items() if k != "support"},
                    **{f"macro {k}": float(v) for k, v in asdict(scores.macro).items() if k != "support"},
                    "support": float(scores.micro.support),
                }
                if uncertain == "negative":
                    terms |= {f"{label_set} {kind} F1": scores.additive[kind] for kind in ("micro", "macro")}
        return terms, self.shape(cleaned), findings

    def shape(self, cleaned: Sequence[str]) -> dict[str, float]:
        (_, commonest), *_ = Counter(cleaned).most_common(1)
        words = [text.split() for text in cleaned]
        total = sum(map(len, words))
        return dict(
            zip(
                SHAPE,
                (
                    float(len(set(cleaned))),
                    commonest / len(cleaned),
                    float(len({word for report in words for word in report})),
                    total / len(words),
                    total / sum(len(text.split()) for text in self.references.values()),
                    float(sum(not text for text in cleaned)),
                ),
                strict=True,
            )
        )


def _cell(value: float, bounds: Interval | None = None) -> str:
    if math.isnan(value):
        return "–"
    shown = bounds is not None and not math.isnan(bounds.low)
    return f"{value:.3f}" + (f" [{bounds.low:.3f}, {bounds.high:.3f}]" if shown else "")


def _count(name: str, value: float) -> str:
    if name == "share of the commonest report":
        return f"{value:.1%}"
    return f"{value:.2f}" if name == "length ratio" else f"{value:.1f}" if name == "words a report" else f"{value:.0f}"
