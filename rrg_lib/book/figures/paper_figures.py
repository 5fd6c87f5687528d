"""Every figure of the four papers that ours can stand beside, by name: what is printed, and ours from stored results
and trained runs.

Nothing is trained to draw one. Where a run or a stored result is missing, the figure says "not run" and which command
would change that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rrg_lib.book.figures import memory_querying_responding as chapter_04
from rrg_lib.book.figures import replication_ledger as figures
from rrg_lib.book.figures import trained_runs as looks
from rrg_lib.book.figures import xpronet_prototypes as chapter_05
from rrg_lib.book.figures.style import finish
from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import CheckpointError, UnknownNameError
from rrg_lib.experiments.results import StoredResult
from rrg_lib.experiments.run import Run
from rrg_lib.models.decoding import EDITION_0_1
from rrg_lib.replication.exact_checks import CMN, STUDENT, XPRONET, memory_cost
from rrg_lib.replication.ledger import ValueRow, value_rows
from rrg_lib.replication.printed_values import Published, Quantity, published
from rrg_lib.replication.seed_scores import Measured, swept
from rrg_lib.replication.verdicts import DRAWN
from rrg_lib.runtime.workspace import workspace

Results = Sequence[StoredResult]
MCSAM = "MCSAM (JBHI 2024)"
#: The memory sizes whose parameters are counted.
SIZES = (64, 256, 512, 1024, 2048, 4096)


class Drawn(NamedTuple):
    """A figure and what is missing in it: "" where ours stands beside what is printed."""

    figure: Figure
    missing: str


FIGURES: dict[str, Callable[[Results, Path | None], Drawn]] = {}


def registered(draw: Callable[[Results, Path | None], Drawn]) -> Callable[[Results, Path | None], Drawn]:
    """Registers a figure under its function's name."""
    FIGURES[draw.__name__] = draw
    return draw


def draw(name: str, results: Results, where: Path | None = None) -> Drawn:
    """One figure of `FIGURES`, kept at `where` if given. Raises `UnknownNameError` listing the nearest names."""
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    return FIGURES[name](results, where)


def _printed(paper: str, where: str) -> list[Published]:
    return [value for value in published() if (value.paper, value.where) == (paper, where)]


def _settings(preset: str, setting: str) -> str:
    name = f"memory.{setting}"
    return (
        f"No result with another {name} is stored. rrg train iu_phantom/{preset} --profile laptop --set "
        f"{name}=…; "
        f"then evaluate and keep it."
    )


# --- CMN --------------------------------------------------------------------------------------------------------------


@registered
def cmn_table_2(results: Results, where: Path | None) -> Drawn:
    return _table(CMN, "Table 2", "iu_xray", results, where)


@registered
def cmn_figure_3(results: Results, where: Path | None) -> Drawn:
    (printed,) = _printed(CMN, "Figure 3")
    (cost,) = (value for value in published() if value.quantity is Quantity.PARAMETERS)
    counted = {n: list(memory_cost(n).values())[:2] for n in SIZES}
    table = pd.DataFrame(counted, index=["all that CMN adds to BASE", "the matrix alone"]).T
    ours, why = swept(results, "cmn", "memory.slots", DRAWN, "BLEU-4"), _settings("cmn", "slots")
    marks = {printed.value: "BLEU-4 stops growing"}
    return Drawn(
        figures.memory_size(table, (4096, cost.value), ours=ours, why=why, marks=marks, name=where), "" if ours else why
    )


@registered
def cmn_figure_4(results: Results, where: Path | None) -> Drawn:
    title = "CMN, Figure 4: how many slots are asked (MIMIC-CXR)"
    return _sweep(CMN, "Figure 4", title, "cmn", "top_k", "K", results, where)


@registered
def cmn_figure_5(results: Results, where: Path | None) -> Drawn:
    title = "CMN, Figure 5: the same words, and where three systems look while they read them"
    try:
        runs = {row: looks.trained_run(name) for row, name in (("BASE", "base"), ("BASE+MEM", "mem"), ("CMN", "cmn"))}
        chosen = looks.attended_study(runs["CMN"], most=1)
        if chosen is None or not chosen.rows:
            return _missing(title, _NO_BOXES, where)
        shown = looks.side_by_side(runs, chosen.study)
    except CheckpointError as error:
        return _missing(title, error, where)
    return _titled(chapter_04.word_regions(shown.views, shown.rows), title, runs["CMN"], where)


@registered
def cmn_figure_6(results: Results, where: Path | None) -> Drawn:
    def picture(run: Run) -> Figure:
        asked = looks.slot_use(run)
        return chapter_04.slot_map(asked.matrix, asked.image, asked.text, asked.words)

    return _of_run("cmn", "CMN, Figure 6: the memory laid out, and who asks it", picture, where)


# --- XProNet ----------------------------------------------------------------------------------------------------------


@registered
def xpronet_table_2(results: Results, where: Path | None) -> Drawn:
    return _table(XPRONET, "Table 2", "iu_xray", results, where)


@registered
def xpronet_figure_1(results: Results, where: Path | None) -> Drawn:
    (shared,) = _printed(XPRONET, "Figure 1")
    printed = f"one word and its patch share {shared.value:g} of their 10 best;\nof how many open ones is not said"
    title = "XProNet, Figure 1: prototypes that a word and a patch share"
    return _of_run("xpronet", title, lambda run: chapter_05.shared_by_chance(looks.meetings(run)), where, printed)


@registered
def xpronet_figure_2(results: Results, where: Path | None) -> Drawn:
    title = "XProNet, Figure 2: the prototypes laid out by class"
    return _of_run("xpronet", title, lambda run: chapter_05.prototype_map(looks.prototypes(run), OBSERVATIONS), where)


@registered
def xpronet_figure_4(results: Results, where: Path | None) -> Drawn:
    return _case("xpronet", "XProNet, Figure 4: a case, its words and their regions", where)


@registered
def xpronet_figure_5(results: Results, where: Path | None) -> Drawn:
    printed = {value.setting: value.value for value in _printed(XPRONET, "Figure 5")}
    ours, why = swept(results, "xpronet", "memory.gamma", DRAWN, "BLEU-4"), _settings("xpronet", "gamma")
    figure = figures.sweep(
        "XProNet, Figure 5: how many prototypes are asked (IU X-Ray)",
        "γ",
        "BLEU-4",
        printed=printed,
        ours=ours,
        why=why,
        name=where,
    )
    return Drawn(figure, "" if ours else why)


@registered
def xpronet_figure_6(results: Results, where: Path | None) -> Drawn:
    title = "XProNet, Figure 6: the exponent's base of the contrastive loss (MIMIC-CXR)"
    return _sweep(XPRONET, "Figure 6", title, "xpronet", "theta", "θ", results, where)


# --- MCSAM and the student paper --------------------------------------------------------------------------------------


@registered
def mcsam_summary(results: Results, where: Path | None) -> Drawn:
    return _table(MCSAM, "summary", "mimic_cxr", results, where)


@registered
def student_table_1(results: Results, where: Path | None) -> Drawn:
    return _table(STUDENT, "Table 1", "iu_xray", results, where)


@registered
def student_table_2(results: Results, where: Path | None) -> Drawn:
    return _table(STUDENT, "Table 2", "iu_xray", results, where)


@registered
def student_table_3(results: Results, where: Path | None) -> Drawn:
    return _table(STUDENT, "Table 3", "iu_xray", results, where)


@registered
def student_table_4(results: Results, where: Path | None) -> Drawn:
    return _table(STUDENT, "Table 4", "iu_xray", results, where)


# --- the common forms -------------------------------------------------------------------------------------------------


PICTURE = "a picture without numbers"


def _titled(figure: Figure, title: str, run: Run, where: Path | None, printed: str = PICTURE) -> Drawn:
    """A chapter's figure under the title of the paper's: what is printed of it, and of which run ours is."""
    experiment = run.experiment
    of = f"ours: {experiment.name}, {experiment.profile}, seed {experiment.training.seed}" + (
        "; radiographs are drawn" if experiment.dataset == DRAWN else ""
    )
    across = int(15 * figure.get_figwidth())  # characters
    lines = "\n".join(fill(line, across) for text in (title, f"printed: {printed}", of) for line in text.splitlines())
    figure.suptitle(lines, fontsize=9, x=0.01, ha="left")
    return Drawn(finish(figure, where), "")


def _missing(title: str, error: CheckpointError | str, where: Path | None, printed: str = PICTURE) -> Drawn:
    why = str(error).replace(str(workspace()), "build")  # a figure is no place for a path of somebody's machine
    return Drawn(figures.not_run(title, why, printed=printed, name=where), why)


_NO_BOXES = "No test study has boxes of findings that its report asserts."


def _of_run(
    preset: str, title: str, picture: Callable[[Run], Figure], where: Path | None, printed: str = PICTURE
) -> Drawn:
    """What `picture` makes of the trained run of a preset; "not run" where there is none."""
    try:
        run = looks.trained_run(preset)
        figure = picture(run)
    except CheckpointError as error:
        return _missing(title, error, where, printed)
    return _titled(figure, title, run, where, printed)


def _sweep(
    paper: str, place: str, title: str, preset: str, setting: str, sign: str, results: Results, where: Path | None
) -> Drawn:
    """BLEU-4 over a setting of the memory, where the paper names its best value alone."""
    (best,) = _printed(paper, place)
    ours, why = swept(results, preset, f"memory.{setting}", DRAWN, "BLEU-4"), _settings(preset, setting)
    marks = {best.value: f"{sign} = {best.value:g}:\nbest (text)"}
    return Drawn(figures.sweep(title, sign, "BLEU-4", marks=marks, ours=ours, why=why, name=where), "" if ours else why)


def _case(preset: str, title: str, where: Path | None) -> Drawn:
    try:
        run = looks.trained_run(preset)
        shown = looks.attended_study(run)
    except CheckpointError as error:
        return _missing(title, error, where)
    if shown is None or not shown.rows:
        return _missing(title, _NO_BOXES, where)
    return _titled(chapter_04.word_regions(shown.views, shown.rows), title, run, where)


def _table(paper: str, place: str, dataset: str, results: Results, where: Path | None) -> Drawn:
    return table_figure(
        [r for r in value_rows(results) if (r.paper, r.where, r.dataset) == (paper, place, dataset)], where
    )


def table_figure(values: Sequence[ValueRow], where: Path | None = None) -> Drawn:
    """The scores of one printed table with ours beside them; `values` are its rows of the ledger, of one data set.
    Where some of ours are of edition 0.1 and some are not, those are marked."""
    rows = [row for row in values if row.printed.quantity is Quantity.SCORE]
    paper, place, dataset = rows[0].paper, rows[0].where, rows[0].dataset
    ours = [row.evidence for row in rows if isinstance(row.evidence, Measured)]
    mark = " †" if len({m.protocol == EDITION_0_1 for m in ours}) > 1 else ""
    table = pd.DataFrame([_line(row, mark) for row in rows])
    of = "; ".join(dict.fromkeys((m.where + mark) if m.protocol == EDITION_0_1 else m.where for m in ours))
    of += "\n(† other trainings, not to be compared with the rest)" if mark else ""
    note = f"ours, {of}: drawn radiographs, not comparable" if DRAWN in of else f"ours, {of}" if of else "ours: not run"
    lacking = [system for system, part in table.groupby("system", sort=False) if part["ours"].isna().all()]
    why = "; ".join(dict.fromkeys(f"{row.printed.system}: {row.why}" for row in rows if row.printed.system in lacking))
    return Drawn(figures.scores(f"{paper}, {place}, {dataset}", table, note, name=where), why)


def table_pictures(values: Sequence[ValueRow], folder: Path, stem: str) -> dict[str, str]:
    """Draws every table and data set of these rows in which something of ours stands, into `folder`; the files' names,
    which begin with `stem`, by table. Of a table of several data sets the first is drawn."""
    files: dict[str, str] = {}
    for place in dict.fromkeys(row.where for row in values):
        rows = [row for row in values if row.where == place and isinstance(row.evidence, Measured)]
        if rows:
            of = [row for row in values if (row.where, row.dataset) == (place, rows[0].dataset)]
            name = f"{stem}-{place.lower().replace(' ', '_')}.png"
            table_figure(of, folder / name)
            files[place] = name
    return files


def _line(row: ValueRow, mark: str = "") -> dict[str, object]:
    ours = row.evidence if isinstance(row.evidence, Measured) else None
    return {
        "system": row.printed.system + (mark if ours and ours.protocol == EDITION_0_1 else ""),
        "metric": row.printed.metric,
        "printed": row.printed.value,
        "ours": ours.spread.mean if ours else np.nan,
        "low": ours.low if ours else np.nan,
        "high": ours.high if ours else np.nan,
    }
