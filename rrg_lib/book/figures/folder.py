"""Every figure of the folder `figures/`: those of the papers, and those of the book that need no training, each with
its caption and the data it is made of.

What a figure shows of our systems is what `data/results` holds of them: in the protocol "tuned" where every seed is
stored in it, else as edition 0.1 stored it. A caption says in one sentence what to see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rrg_lib.book.demonstration import demonstration, glanceable
from rrg_lib.book.figures import data_preparation as chapter_01
from rrg_lib.book.figures import overview
from rrg_lib.book.figures import replication_ledger as of_papers
from rrg_lib.book.figures.paper_figures import FIGURES as PAPERS
from rrg_lib.book.figures.paper_figures import Drawn
from rrg_lib.book.study_verdicts import changes_of, orders, verdicts_of
from rrg_lib.data import iu_xray
from rrg_lib.data.phantom import draw as draw_study
from rrg_lib.data.study import SPLITS, Study
from rrg_lib.data.text.vocabulary import PROTOCOLS as CLEANINGS
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.evaluation.metrics import FINDING_F1
from rrg_lib.evaluation.resampling import Additive, interval
from rrg_lib.evaluation.score_table import Row
from rrg_lib.experiments.results import StoredResult
from rrg_lib.experiments.tuned_decoding import BAND
from rrg_lib.models.decoding import EDITION_0_1, STORED_PROTOCOLS
from rrg_lib.models.decoding import PROTOCOLS as SEARCHES
from rrg_lib.replication.ledger import counts, ledger
from rrg_lib.replication.printed_values import published, same_elsewhere
from rrg_lib.replication.study_plan import known_plans, study_plan
from rrg_lib.replication.study_report import study_report
from rrg_lib.replication.study_runs import shipped_results
from rrg_lib.replication.verdicts import DRAWN

Results = Sequence[StoredResult]
#: The systems of the overview, a preset each, in the order of the book.
SYSTEMS = ("base", "mem", "cmn", "xpronet", "mcsam", "cmn_pair")
RESULTS, PRINTED = "results/*.json", ("published.csv", "published_systems.csv")
#: So many tuned seeds make a system's mark; with fewer it is edition 0.1's.
SEEDS_TO_SHOW = 3


@dataclass(frozen=True)
class Entry:
    """How a figure is drawn, what to see in it, the files below `data/` (patterns) it is made of, and whether a run
    trained in this workspace is shown."""

    draw: Callable[[Results, Path | None], Drawn]
    caption: str
    sources: tuple[str, ...]
    needs_run: bool = False

    @property
    def function(self) -> str:
        draw = self.draw.func if isinstance(self.draw, partial) else self.draw
        return f"{draw.__module__}.{draw.__name__}"


def digest(sources: Sequence[str], data: Path) -> str:
    """SHA-256 (first 12 digits) of the names and contents of the files that `sources` match below `data`. A stored
    figure is stale when it has changed."""
    total = hashlib.sha256()
    for path in sorted({path for source in sources for path in data.glob(source)}):
        total.update(f"{path.relative_to(data).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def one_protocol(results: Results) -> list[StoredResult]:
    """Each system in one protocol: a preset's own seeds tuned if at least `SEEDS_TO_SHOW` are stored so, edition 0.1's
    if not; other settings likewise."""
    by_system: dict[tuple, list[StoredResult]] = {}
    for result in results:
        e = result.experiment
        by_system.setdefault(
            (e.dataset, e.preset, e.profile, result.labels_at_test, "" if result.is_preset else result.system), []
        ).append(result)
    shown = []
    for runs in by_system.values():
        tuned = [run for run in runs if run.protocol == "tuned"]
        shown += tuned if len(tuned) >= SEEDS_TO_SHOW else [run for run in runs if run.of_edition_0_1] or tuned
    return shown


def as_swept(results: Results) -> list[StoredResult]:
    """Each preset's results of the one protocol in which most of its other settings are stored, tuned where two have as
    many: a sweep has all its points from it."""
    settings: dict[str, dict[str, set[str]]] = {}
    for run in results:
        if not run.is_preset:
            e = run.experiment
            one_seed = replace(e, training=replace(e.training, seed=0)).hash
            settings.setdefault(e.preset, {}).setdefault(run.protocol, set()).add(one_seed)
    chosen = {
        preset: max(sorted(of, key=STORED_PROTOCOLS.index), key=lambda each, of=of: len(of[each]))
        for preset, of in settings.items()
    }
    return [run for run in results if run.protocol == chosen.get(run.experiment.preset, EDITION_0_1)]


# --- the book's own ---------------------------------------------------------------------------------------------------


def study_and_reports(results: Results, where: Path | None) -> Drawn:
    """The first test study whose report, written by the tuned system with the highest finding-F1 of one run, names a
    finding that is there and misses another, so that there are both kinds of boxes; of studies that can be taken in at
    a glance."""
    tuned = [
        run
        for run in results
        if run.tokens is not None and run.protocol == "tuned" and run.labels_at_test != "reference"
    ]
    if not tuned:
        return _missing(
            "A drawn study and its reports",
            "No tuned result is stored; run: tools/results.py run --profile laptop base",
            where,
        )
    best = max(tuned, key=lambda run: run.evaluation.scores[FINDING_F1])
    written = best.reports(Vocabulary.build(study.report for study in iu_xray.studies("train")))
    shown = (
        demonstration(study, written[study.id])
        for study in sorted(iu_xray.studies("test"), key=lambda study: study.id)
        if glanceable(study)
    )
    one = next(each for each in shown if each.right and each.missed)
    return Drawn(one.picture(f"{best.experiment.name}, seed {best.experiment.training.seed}", where), "")


def bleu_against_findings(results: Results, where: Path | None) -> Drawn:
    """BLEU-4 against finding-F1: our systems (mean of seeds), reports that never look, and oracles that were told the
    labels or the reference."""
    lines = []
    shown = [
        run
        for run in one_protocol(results)
        if run.experiment.dataset == DRAWN and run.is_preset and run.labels_at_test in (None, "classifier")
    ]
    for preset in SYSTEMS:
        if runs := [run for run in shown if (run.experiment.preset, run.experiment.profile) == (preset, "laptop")]:
            kind = f"looks ({runs[0].protocol}, mean of {len(runs)} seeds)"
            lines.append(_point(preset, kind, [run.evaluation.rows[0] for run in runs], [run.terms for run in runs]))
    for row in shown[0].evaluation.rows[1:] if shown else ():
        if row.name != "e":  # the text oracle's BLEU-4 would leave no room for the others
            kind = _TOLD.get(row.name[0], "never looks")
            lines.append(_point(f"{row.name}: {_BLIND.get(row.name, row.description)}", kind, [row]))
    if not lines:
        return _missing(
            "BLEU-4 against finding-F1", "No result is stored; run: tools/results.py run --profile laptop base", where
        )
    return Drawn(overview.bleu_against_findings(pd.DataFrame(lines), where), "")


#: What a baseline is told, by the first letter of its name.
_TOLD = {"d": "told the labels, never looks", "f": "told what a classifier sees"}
#: The baselines in few words.
_BLIND = {
    "a1": "one training report",
    "a2": "constant, searched",
    "a4": "constant, no repeats",
    "b": "most frequent report",
    "c": "random report",
    "d1": "random of nearest labels",
    "d3": "most typical of nearest labels",
    "f": "retrieval and template",
}


def _point(
    label: str, kind: str, rows: Sequence[Row], terms: Sequence[Mapping[str, Additive]] = ()
) -> dict[str, object]:
    """A mark: the mean of one system's rows with the interval of that mean over studies, from each seed's `terms` or
    from a single row's own."""
    ends: dict[str, float] = {}
    for short, score in (("bleu", "BLEU-4"), ("f1", FINDING_F1)):
        ends[short] = fmean(row.parts["all"].scores[score] for row in rows)
        if terms and all(score in each for each in terms):
            bounds = interval([each[score] for each in terms])
        else:
            bounds = rows[0].intervals.get(score, (np.nan, np.nan)) if len(rows) == 1 else (np.nan, np.nan)
        ends[f"{short}_low"], ends[f"{short}_high"] = bounds
    return {"label": label, "kind": kind, **ends}


def decoding(results: Results, where: Path | None) -> Drawn:
    """The same weights searched in three ways: finding-F1, BLEU-4 and the length of the reports in lengths of the
    references."""
    runs = [
        r
        for r in results
        if r.protocol in SEARCHES
        and r.is_preset
        and r.labels_at_test in (None, "classifier")
        and r.experiment.dataset == DRAWN
    ]
    if not runs:
        return _missing(
            "Decoding", "No result of this edition is stored; run: tools/results.py run --profile laptop base", where
        )
    runs.sort(
        key=lambda r: (SYSTEMS.index(r.experiment.preset) if r.experiment.preset in SYSTEMS else len(SYSTEMS), r.name)
    )
    order = ("tuned", "greedy", "published")
    table = pd.DataFrame(
        [
            {
                "system": r.experiment.preset,
                "protocol": r.protocol,
                "length ratio": r.length_ratio,
                **r.evaluation.scores,
            }
            for r in runs
        ]
    ).sort_values("protocol", key=lambda names: names.map(order.index), kind="stable")
    table["system"] = pd.Categorical(table["system"], dict.fromkeys(r.experiment.preset for r in runs))
    return Drawn(overview.protocols(table, [FINDING_F1, "BLEU-4", "length ratio"], {"length ratio": BAND}, where), "")


def findings_by_system(results: Results, where: Path | None) -> Drawn:
    """F1 of each of the 13 findings by system, the mean of its seeds."""
    runs = [
        r
        for r in one_protocol(results)
        if r.is_preset and r.experiment.dataset == DRAWN and r.labels_at_test in (None, "classifier")
    ]
    f1, support = {}, {}
    for preset in SYSTEMS:
        findings = [
            r.evaluation.rows[0].findings
            for r in runs
            if (r.experiment.preset, r.experiment.profile) == (preset, "laptop")
        ]
        if findings:
            f1[preset] = {name: fmean(each[name]["f1"] for each in findings) for name in findings[0]}
            support = {name: values["support"] for name, values in findings[0].items()}
    if not f1:
        return _missing(
            "F1 of each finding", "No result is stored; run: tools/results.py run --profile laptop base", where
        )
    return Drawn(overview.findings_by_system(pd.DataFrame(f1), support, where), "")


def drawn_studies(results: Results, where: Path | None) -> Drawn:
    """Two abnormal test studies with four kinds of findings each, and a normal one."""
    studies = sorted(iu_xray.studies("test"), key=lambda study: study.id)
    ill = [study for study in studies if sum(study.drawn) == 4][:2]
    well = next(study for study in studies if not study.is_abnormal)
    return Drawn(
        chapter_01.drawn_studies(
            {**{study.id: draw_study(study) for study in ill}, "a normal one": draw_study(well)}, where
        ),
        "",
    )


def report_lengths(results: Results, where: Path | None) -> Drawn:
    """Tokens of the cleaned reports by split, and where the published protocol cuts them."""
    protocol = CLEANINGS["r2gen"]
    lengths = {split: [_length(study) for study in iu_xray.studies(split)] for split in SPLITS}
    return Drawn(chapter_01.report_lengths(lengths, protocol.max_length - 2, where), "")


def _length(study: Study) -> int:
    return len(CLEANINGS["r2gen"].clean(study.report).split())


def verdicts(results: Results, where: Path | None) -> Drawn:
    """How many printed values and claims got which verdict."""
    return Drawn(of_papers.verdict_counts(counts(ledger(results)), name=where), "")


def constant_beside_print(results: Results, where: Path | None) -> Drawn:
    """Reports that never look at an image beside everything printed for IU X-Ray."""
    on_iu = [
        v
        for v in published()
        if v.dataset == "iu_xray" and v.metric == "BLEU-4" and v.where.startswith("Table") and not same_elsewhere(v)
    ]
    printed = sorted(((f"{v.system} ({v.paper.split()[0]})", v.value) for v in on_iu), key=lambda pair: pair[1])
    rows = next(
        (r.evaluation.rows[1:] for r in results if r.experiment.dataset == DRAWN and len(r.evaluation.rows) > 1), ()
    )
    blind = [
        (f"{row.name}: {_BLIND[row.name]}", row.parts["all"].scores["BLEU-4"], *row.intervals["BLEU-4"])
        for row in rows
        if row.name in ("a1", "a2", "a4", "b", "c")
    ]
    return Drawn(
        of_papers.constant_beside_print(blind, printed, metric="BLEU-4, IU X-Ray, standard test split", name=where), ""
    )


def planned_study(name: str, results: Results, where: Path | None) -> Drawn:
    """What a study of `data/studies` found, as shipped, in the first of its scores: a row a comparison under a
    condition, then how much that is more than under the first."""
    report = study_report(study_plan(name), shipped_results())
    metric = report.plan.metrics[0]
    found = verdicts_of(report, metric) | changes_of(report, metric)
    if not found:
        return _missing(report.plan.title, f"No result of the study is here; run: rrg study run {name}", where)
    return Drawn(of_papers.order_differences(orders(found), metric, name=where), "")


def _missing(title: str, why: str, where: Path | None) -> Drawn:
    return Drawn(of_papers.not_run(title, why, name=where), why)


# --- all of them ------------------------------------------------------------------------------------------------------

_BESIDE = (
    "hollow diamonds are printed, dots are ours with their interval, on drawn radiographs, so they stand side by side "
    "and are not comparable."
)
_RADIOGRAPHS = ("iu_xray_split.csv", "finding_keywords.csv", "mesh_findings.csv")
_OWN = {
    study_and_reports: (
        "A drawn study of the test split, its reference and what a system wrote of it: blue boxes hold findings that "
        "the report names, orange dashed ones those it does not. (Report: Indiana University collection, Open-i, CC "
        "BY-NC-ND 4.0.)",
        (*_RADIOGRAPHS, "results/iu_phantom-*-tuned.json", "labeler_*.csv"),
    ),
    bleu_against_findings: (
        "The further right, the more n-grams of the reference; the higher, the more of its findings: look where the "
        "reports lie that never see an image, "
        "and where the systems that do. (Bars are 95 % intervals over studies, of the mean over seeds, where stored; "
        "drawn radiographs, real reports.)",
        (RESULTS,),
    ),
    decoding: (
        "The same weights, searched in three ways: see how far the search alone moves a score, and which reports are "
        "too short; the grey band is the length that tuning accepts.",
        (RESULTS,),
    ),
    findings_by_system: (
        "Go along a row, then down a column: does it matter more which finding it is, or which system writes?",
        (RESULTS,),
    ),
    drawn_studies: (
        "Each numbered box is where a coded finding was drawn, in the frontal and in the lateral view of the same "
        "patient.",
        _RADIOGRAPHS,
    ),
    report_lengths: ("Reports right of the line lose their end under the published protocol.", ("iu_xray_split.csv",)),
    verdicts: (
        "Of all printed values and claims, how many got which verdict; grey is what this book could not run.",
        (*PRINTED, "claims.csv", RESULTS),
    ),
    constant_beside_print: (
        "The orange band is the interval of one real training report given for every study: see which published "
        "systems lie left of it, which inside.",
        (*PRINTED, "results/baselines-iu_phantom.json"),
    ),
}
_OF_PAPERS = {
    "cmn_table_2": f"CMN's main table: {_BESIDE}",
    "cmn_figure_3": "What memory slots cost in parameters (left, counted) and what they bring in BLEU-4 (right, on "
    "drawn radiographs, with intervals).",
    "cmn_figure_4": "BLEU-4 over how many slots are asked: the line on grey is the best that the text names; do our "
    "intervals tell any two settings apart?",
    "cmn_figure_5": "A row a system, one word of one study; is it CMN's map that lies in the drawn finding's box?",
    "cmn_figure_6": "The memory's slots laid out on a plane, by who asks for them.",
    "xpronet_table_2": f"XProNet's main table: {_BESIDE}",
    "xpronet_figure_1": "Prototypes that a word and a patch share, beside what two who choose blindly would share.",
    "xpronet_figure_2": "Prototypes laid out on a plane: colour and shape are the class they were made for.",
    "xpronet_figure_4": "A case of XProNet: words of the report and where the model looked for them, with the drawn "
    "boxes.",
    "xpronet_figure_5": "BLEU-4 over how many prototypes are asked: the two printed values on grey, ours with "
    "intervals, on drawn radiographs.",
    "xpronet_figure_6": "BLEU-4 over the contrastive loss's θ: the line on grey is the best that the text names; do "
    "our intervals tell any two settings apart?",
    "mcsam_summary": f"What MCSAM prints of itself on MIMIC-CXR: {_BESIDE}",
    "student_table_1": f"The student paper's Table 1: {_BESIDE}",
    "student_table_2": f"The student paper's Table 2: {_BESIDE}",
    "student_table_3": f"The student paper's Table 3, with pair alignment: {_BESIDE}",
    "student_table_4": f"The student paper's Table 4: {_BESIDE}",
}
_OF_RUNS = ("cmn_figure_5", "cmn_figure_6", "xpronet_figure_1", "xpronet_figure_2", "xpronet_figure_4")

ENTRIES: dict[str, Entry] = {draw.__name__: Entry(draw, *about) for draw, about in _OWN.items()} | {
    name: Entry(draw, _OF_PAPERS[name], PRINTED if name in _OF_RUNS else (*PRINTED, RESULTS), name in _OF_RUNS)
    for name, draw in PAPERS.items()
}
ENTRIES |= {
    f"study_{name}": Entry(
        partial(planned_study, name),
        "A dot is the difference of two systems, its line the margin of this comparison alone, the grey band what "
        "would not matter; blue is above, red below, corrected for all rows."
        + (
            " A row “x beside y” is how much more a difference is under x than under y."
            if len(study_plan(name).conditions) > 1
            else ""
        )
        + " Planned before it was run, on drawn studies: no replication.",
        (f"studies/{name}.toml", f"studies/results/{name}-*.json", "smallest_differences.csv"),
    )
    for name in known_plans()
}


def figure(name: str, results: Results) -> tuple[Figure, str]:
    """A figure of `ENTRIES` from stored results, and what is missing in it. A paper's sweep is drawn in the protocol of
    its points."""
    which = (
        as_swept(results)
        if name in PAPERS and "figure" in name
        else one_protocol(results)
        if name in PAPERS
        else results
    )
    return ENTRIES[name].draw(which, None)
