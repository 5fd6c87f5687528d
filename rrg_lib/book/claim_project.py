"""A claim of a paper as a student's project: a folder with the claim in the paper's words, the data it needs, a plan to
fill in before anything is trained, the form of a replication in six parts, and what it is graded by.

The lecturer's folder has three claims whose forms are filled from the results that the project stores, and their
verdicts in a file of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path

from rrg_lib.errors import StorageError, UnknownNameError
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.results import stored_results
from rrg_lib.replication.claims import Claim, claims
from rrg_lib.replication.decision_rule import ALPHA, MIN_SEEDS, smallest_difference
from rrg_lib.replication.ledger import ClaimRow, claim_rows
from rrg_lib.replication.ledger_tables import shown
from rrg_lib.replication.study_plan import study_plan
from rrg_lib.replication.verdicts import DRAWN
from rrg_lib.runtime.workspace import folder_written_whole

#: The claims of the lecturer's worked examples: one that is counted, one that is compared, one that is swept.
EXAMPLES = ("cmn-average-gains", "cmn-findings", "mcsam-bank-size")
#: The study whose decoding and pilot a new plan begins with.
_MODEL = "where"
_NEEDS = {
    "iu_xray": "The real images of IU X-Ray: `rrg prepare iu_xray --data-root FOLDER`, or `--download` from "
    "Open-i; a GPU.",
    "mimic_cxr": "MIMIC-CXR-JPG, for which a person needs credentials: `rrg prepare mimic_cxr --data-root "
    "FOLDER`; a GPU.",
    "-": "The claim names no collection of its own: see how it is decided.",
}
#: What a project is graded by, and how much of 100.
RUBRIC: Mapping[str, tuple[int, str]] = {
    "Claim": (10, "Quoted, with its place; what it compares, by which score, on what data; what would contradict it."),
    "Data and protocol": (
        15,
        "What was available and what stands in for the rest; split, labels, decoding, scorer named.",
    ),
    "Plan": (
        25,
        "Written before the first result: systems, seeds, smallest difference that matters, comparisons, cost.",
    ),
    "Runs": (
        15,
        "Every run is there or its absence explained; deviations named where they were made; can be repeated.",
    ),
    "Results": (15, "All seeds, intervals, trivial baselines, normal and abnormal apart; nothing chosen on test."),
    "Verdict": (20, "Follows from the rule alone, says no more than was measured, names what would change it."),
}
#: The parts of the form, and what each asks.
FORM: Mapping[str, str] = {
    "Claim": "The words of the paper, and their place. What is compared with what, by which score? What would "
    "contradict it?",
    "Data and protocol": "Which data does it need, which have you? Split, labels, decoding, scorer. If drawn "
    "studies stand "
    "in: say so here and in the verdict.",
    "Plan": "Before the first result: systems, seeds, comparisons, the smallest difference that would matter, "
    "what a pilot "
    "took, what was cut.",
    "Runs": "What was trained, where, how long; what failed; every deviation from paper, released code or plan.",
    "Results": "Each comparison with its interval and seeds, beside the trivial baselines.",
    "Verdict": "By the rule of chapter 10: above, below, no difference that matters, or undecided, on which data. What "
    "would change it?",
}


def known_claim(name: str) -> Claim:
    """The claim of that id. Raises `UnknownNameError` with the nearest."""
    by_id = {claim.id: claim for claim in claims()}
    if name not in by_id:
        raise UnknownNameError("claim", name, by_id, "`rrg ledger` lists all claims")
    return by_id[name]


def write_project(name: str, out: Path, declared: date) -> Path:
    """The folder of a project on the claim of that id, written into `out`. What a student must fill in is marked "fill
    in:".

    Raises:
        UnknownNameError: no claim is called so.
        StorageError: the folder is there already, perhaps with a student's work in it, or can't be written.
    """
    claim = known_claim(name)
    files = {"README.md": project_page(claim), "FORM.md": blank_form(claim), "RUBRIC.md": rubric()}
    stem = claim.id.replace("-", "_")
    plan = plan_text(claim, declared)
    files |= {f"{stem}.toml": plan} if plan else {"PLAN.md": counted_plan(claim)}
    return _written(out / claim.id, files)


def write_examples(out: Path) -> Path:
    """The lecturer's folder: a filled form of each of `EXAMPLES`, and `verdicts.md`. From the stored results. Raises
    `StorageError` for a folder that is there already."""
    rows = claim_rows(stored_results(), chosen=[known_claim(name) for name in EXAMPLES])
    files = {f"{row.id}.md": filled_form(row) for row in rows}
    return _written(out, files | {"verdicts.md": verdicts_page(rows), "RUBRIC.md": rubric()})


def _written(folder: Path, files: Mapping[str, str]) -> Path:
    """A new folder with these files, whole or not at all."""
    if folder.exists():
        raise StorageError(f"{folder} is there already, perhaps with work in it; move it away or choose another --out")
    with folder_written_whole(folder) as new:
        for name, text in files.items():
            (new / name).write_text(text, encoding="utf-8")
    return folder


# --- the pages --------------------------------------------------------------------------------------------------------


def _quoted(claim: Claim) -> str:
    whose = "stated by the paper, shortened here" if claim.wording == "stated" else "our reading of its table or figure"
    return f"> {claim.claim}\n>\n> {claim.paper}, {claim.where} ({whose})\n"


def project_page(claim: Claim) -> str:
    """What the project is about, the data it needs and how to go on."""
    stem = claim.id.replace("-", "_")
    planned = plan_text(claim, date.min) is not None
    steps = (
        f"1. Read the plan, `{stem}.toml`; fill in what is marked. `rrg study plan {stem}.toml` says whether it "
        "can be, "
        f"what is missing and what it takes.\n"
        f"2. Fill in parts 1 to 3 of `FORM.md` and hand them in with the plan. Only then train.\n"
        f"3. `rrg study run {stem}.toml`; killed anywhere, the same command goes on.\n"
        f"4. `rrg study report {stem}.toml` decides the comparisons. Fill in parts 4 to 6.\n"
        if planned
        else "1. Fill in `PLAN.md`, and parts 1 to 3 of `FORM.md`; hand them in. Only then count or measure.\n"
        "2. Measure. Fill in parts 4 to 6.\n"
    )
    released = f"\nOf the released code: {claim.released_code}.\n" if claim.released_code else ""
    return (
        f"# {claim.id}\n\n{_quoted(claim)}\n## What decides it\n\n{claim.decided_by or 'See the ledger.'}\n{released}\n"
        f"## Data\n\n{_NEEDS.get(claim.dataset, claim.dataset)}\n\nWithout them the drawn studies stand in "
        f"(`rrg prepare {DRAWN}`). What holds there holds on drawn studies, and is no replication.\n\n"
        f"## How to go on\n\n{steps}\n`RUBRIC.md` says what it is graded by.\n"
    )


def blank_form(claim: Claim) -> str:
    """The form in six parts; the first begins with the claim."""
    parts = [
        f"## {number} {name}\n\n*{asks}*\n\n{_quoted(claim) + chr(10) if number == 1 else ''}fill in:\n"
        for number, (name, asks) in enumerate(FORM.items(), start=1)
    ]
    return "\n".join([f"# Replication of {claim.id}\n", *parts])


def rubric() -> str:
    """What is graded, a row a part of the form."""
    rows = [
        f"| {number} {name} | {points} | {what} |" for number, (name, (points, what)) in enumerate(RUBRIC.items(), 1)
    ]
    total = sum(points for points, _ in RUBRIC.values())
    return "\n".join(
        [
            "# What it is graded by\n",
            "A verdict that the claim does not hold, or is undecided, is worth as much as one that it does.\n",
            "| part | points | what earns them |",
            "|---|---|---|",
            *rows,
            f"| all | {total} | |\n",
        ]
    )


def counted_plan(claim: Claim) -> str:
    """The plan of a claim for which no systems of ours are trained against each other."""
    what = {
        "check": "Nothing is trained: the claim is decided by counting, or by the printed numbers themselves.",
        "measurement": "No two systems are compared: something is measured of trained ones, or of stored reports.",
    }.get(claim.kind, "The book can't run this comparison as it stands: it lacks the data or a system.")
    return (
        f"# Plan\n\n{what} Decided by: {claim.decided_by or 'see the ledger'}.\n\n"
        "- fill in: what is counted or measured, of what, by whom (a function, a page, a file)\n"
        "- fill in: which number would contradict the claim, with the rounding of the printed ones\n"
        "- fill in: what stands in for what you don't have, and what that leaves open\n"
    )


# --- the plan ---------------------------------------------------------------------------------------------------------


def _systems(claim: Claim) -> tuple[dict[str, tuple[str, str]], list[tuple[str, str]]]:
    """name -> (preset, setting or ""), and the comparisons, of an order or a sweep."""
    if claim.kind == "order":
        return {name: (name, "") for name in dict.fromkeys((*claim.better, *claim.worse))}, claim.pairs
    (preset,), key = claim.better, claim.setting
    part, _, setting = key.partition(".")
    usual = getattr(getattr(experiment(f"{DRAWN}/{preset}", "study"), part), setting)
    if claim.kind == "trend":
        values = [usual // 4, usual // 2, usual, usual * 2]
    else:
        best = claim.value
        others = [best * 2, best * 4] if claim.against == "larger" else [best / 2, best * 2]
        if not isinstance(usual, int):  # a base or a weight: near it on both sides
            others = [best - 0.5, best + 0.5]
        values = [type(usual)(value) for value in (best, *others)]

    def name(value: float) -> str:
        return f"{preset}_{setting}_{value:g}".replace(".", "_").replace("-", "m")

    pairs = [(b, a) for a, b in pairwise(values)] if claim.kind == "trend" else [(values[0], v) for v in values[1:]]
    return {name(v): (preset, f"{key}={v:g}") for v in values}, [(name(a), name(b)) for a, b in pairs]


def plan_text(claim: Claim, declared: date) -> str | None:
    """A study's plan (TOML) for a claim that compares systems or settings, ready for `rrg study plan`; None for one
    that does not. Scores that need Java are left out. The pilot's seconds are those of another plan, until the student
    has timed a run."""
    if claim.kind not in ("order", "best setting", "trend"):
        return None
    systems, pairs = _systems(claim)
    model = study_plan(_MODEL)
    seconds = {s.preset: model.pilot.seconds[s.name] for s in model.systems if not s.settings and not s.lesion}
    unknown = max(seconds.values())
    metrics = [m for m in claim.metrics if m != "METEOR"]
    grid = "\n".join(f"{name} = {list(values)}" for name, values in vars(model.grid).items())
    tables = "\n\n".join(
        f'[systems.{name}]\ntitle = "{name}"\npreset = "{preset}"' + (f'\nsettings = ["{setting}"]' if setting else "")
        for name, (preset, setting) in systems.items()
    )
    compared = "\n\n".join(f'[[comparisons]]\na = "{a}"\nb = "{b}"' for a, b in pairs)
    cost = "\n".join(f"{name} = {seconds.get(preset, unknown)}" for name, (preset, _) in systems.items())
    deltas = ", ".join(f"{metric} {smallest_difference(metric):g}" for metric in metrics)
    left_out = " METEOR, of which the claim speaks too, needs Java in every run." if "METEOR" in claim.metrics else ""
    text = claim.claim.replace('"', "'")
    return f'''# A plan for the claim {claim.id}. It can be run as it stands; what is marked "fill in:" is yours to
# decide, before the first result is there. The smallest differences that matter are the project's: {deltas}.{left_out}

title = "{claim.id}"
# fill in: the question in your own words
question = """
{text}
"""
declared = {declared.isoformat() if declared > date.min else "2000-01-01"}
profile = "study"
protocol = "tuned"
# fill in: other scores that would tell you something
metrics = [{", ".join(f'"{metric}"' for metric in metrics)}]
# fill in: how many; an order needs at least {MIN_SEEDS}
seeds = [1, 2, 3, 4, 5]
together = "study"

# fill in: how reports may be searched; every way is tried on the validation studies
[grid]
{grid}

# fill in: drawn studies of the real reports, or the real images where you have them
[data.studies]
dataset = "{DRAWN}"

[conditions.all]
title = "All training studies"
data = "studies"

# fill in: is this what the claim compares? are the values far enough apart?
{tables}

{compared}

[pilot]
# fill in: train one run of each system, and write down what it took
words = "Not timed yet: the seconds are those of the plan '{_MODEL}', its slowest system's for one that it has not."
# fill in: what you would have liked to run and can't afford
cut = "Nothing yet."
yardstick = {model.pilot.yardstick}

[pilot.seconds]
{cost}
'''


# --- the lecturer's examples ------------------------------------------------------------------------------------------


def filled_form(row: ClaimRow) -> str:
    """The form of a claim as the stored results fill it, but for the verdict, which stands in `verdicts.md`."""
    claim, text = row.claim, shown(row)
    where = text.ours_on or "nothing was trained"
    beside = row.own_table.why if row.own_table else "no printed numbers"
    told = {
        "Claim": f"{_quoted(claim)}\nBeside it in the paper: {beside}.",
        "Data and protocol": f"It needs: {_NEEDS.get(claim.dataset, claim.dataset)} Measured on: {where}. "
        f"{text.protocol}".strip(),
        "Plan": f"{text.system or claim.check or 'no systems of ours'}; decided by {claim.decided_by or 'counting'}. "
        + (
            "Smallest differences that matter: "
            + ", ".join(f"{m} {smallest_difference(m):g}" for m in claim.metrics)
            + f"; level {ALPHA:g}, all comparisons of the claim corrected together."
            if claim.metrics
            else "No smallest difference: printed numbers are held against each other with their rounding."
        ),
        "Runs": f"Seeds: {text.seeds or 'none'}. Released code: {claim.released_code or 'nothing to say'}.",
        "Results": f"{text.ours or 'nothing was measured'}"
        + (f"; between seeds ± {text.sd}" if text.sd else "")
        + (f"; interval {text.interval}" if text.interval else "")
        + ".",
        "Verdict": "In `verdicts.md`.",
    }
    parts = [f"## {number} {name}\n\n{told[name]}\n" for number, name in enumerate(FORM, start=1)]
    return "\n".join([f"# Replication of {claim.id}\n", *parts])


def verdicts_page(rows: Sequence[ClaimRow]) -> str:
    """The verdicts of the worked examples, each with its reason."""
    parts = [f"## {row.id}\n\n**{row.verdict.value}**: {row.why}.\n" for row in rows]
    return "\n".join(["# Verdicts of the worked examples (for lecturers)\n", *parts])
