"""Measures trained systems and keeps what came out: trains presets in a profile, chooses their decoding on the
validation studies, scores their test reports in every protocol, writes data/results and the tables of README and
docs/results.md.

python tools/results.py run --profile laptop base mem cmn
python tools/results.py run --profile laptop xpronet --seed 7580 --set memory.gamma=13
python tools/results.py attention --profile laptop base mem cmn
python tools/results.py again --profile laptop base
python tools/results.py twin --profile laptop base
python tools/results.py baselines
python tools/results.py table
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill

import pandas as pd

from rrg_lib.book.study_verdicts import verdicts_in_words
from rrg_lib.evaluation.evaluate import evaluate_baselines
from rrg_lib.evaluation.meteor import require_java
from rrg_lib.evaluation.metrics import FINDING_F1
from rrg_lib.experiments.attention_results import label_kinds, measure_attention, store_attention
from rrg_lib.experiments.presets import PROFILES, Experiment, experiment
from rrg_lib.experiments.results import (
    StoredResult,
    differences,
    results_table,
    short_device,
    store_baselines,
    store_result,
    stored_results,
)
from rrg_lib.experiments.run import Run, baseline_task, prepared
from rrg_lib.experiments.run_folders import run_folder
from rrg_lib.experiments.tuning import tune
from rrg_lib.models.decoding import PROTOCOLS
from rrg_lib.replication.claims import claims
from rrg_lib.replication.claims_in_studies import in_studies, study_reports
from rrg_lib.replication.decision_rule import corrected
from rrg_lib.replication.ledger import ledger
from rrg_lib.replication.ledger_tables import studies_in_words
from rrg_lib.replication.seed_scores import measured, order
from rrg_lib.replication.study_plan import known_plans, study_plan
from rrg_lib.replication.study_report import study_report
from rrg_lib.replication.study_runs import shipped_results
from rrg_lib.runtime.device import device_name
from rrg_lib.runtime.workspace import workspace, written_whole

ROOT = Path(__file__).resolve().parent.parent
README, PAGE, RESULTS, ATTENTION, TWINS = (
    ROOT / "README.md",
    ROOT / "docs" / "results.md",
    ROOT / "data" / "results",
    ROOT / "data" / "attention",
    ROOT / "data" / "twins",
)
#: What a memory gated by labels was told; the readings of other parts of the report are chapter 05's.
KINDS_SHOWN = ("classifier", "none", "reference")
#: The README's rows: systems (told a classifier's labels, if any) and reports that never look.
FIRST, FIRST_BASELINES = ("base", "mem", "cmn", "xpronet"), ("a1", "c")
FIRST_COLUMNS = ("BLEU-4", "CIDEr", FINDING_F1, "distinct", "length ratio", "seeds")
#: Words of the reports / words of the references, below which a training writes next to nothing.
WRITES = 0.1
#: Columns of a line of prose.
WIDTH = 155
BEGIN, END = "<!-- results: written by tools/results.py -->", "<!-- end of results -->"


def run(presets: list[str], profile: str, dataset: str, seeds: list[int | None], settings: Sequence[str] = ()) -> None:
    """Train (a finished run returns at once), choose the decoding on the validation studies, write reports for the test
    studies in every protocol, score them beside the baselines, keep the scores: all seeds of one preset after all
    presets of the seed before. A memory gated by labels is measured with each kind of labels at test time; on drawn
    studies where each system looks is measured too. Java, which METEOR needs at the end of each, is asked for first."""
    require_java()
    for seed in seeds:
        for preset in presets:
            made = Run.of(experiment(f"{dataset}/{preset}", profile, settings, seed))
            made.train()
            tune(made)
            for protocol in PROTOCOLS:
                for labels in label_kinds(made):
                    made.evaluate("test", baselines="all", decoding=made.decoding(protocol, labels))
                    print(store_result(made, RESULTS, protocol, labels=labels).relative_to(ROOT))
            drawn = any(made.dataset.boxes(i) for i in made.dataset.split_indices("test"))
            if drawn and made.experiment.generator.attends:
                look(made)


def look(made: Run) -> None:
    """Measure where a trained run looks while it writes as was chosen on the validation studies, and keep it."""
    for labels in label_kinds(made):
        print(store_attention(measure_attention(made, "tuned", labels=labels), ATTENTION).relative_to(ROOT))


def trained(presets: list[str], profile: str, dataset: str, seeds: list[int | None]) -> Iterator[Run]:
    """The finished runs of these presets. Raises `CheckpointError` for one that is not there."""
    for seed in seeds:
        for preset in presets:
            yield Run.of(experiment(f"{dataset}/{preset}", profile, seed=seed), trained=True)


def again(made: Run) -> bool:
    """Delete the scores and reports of a trained run, write and score them anew, and compare with what is stored:
    whether every number is the same."""
    before = {result.name: result for result in stored_results()}
    same = True
    for protocol in PROTOCOLS:
        for labels in label_kinds(made):
            decoding = made.decoding(protocol, labels)
            for path in (made.reports_file("test", decoding), made.scores_file("test", decoding)):
                path.unlink(missing_ok=True)
            found = made.evaluate("test", decoding=decoding)
            name = store_result(made, Path(tempfile.mkdtemp()), protocol, labels=labels).stem
            if name not in before:
                raise SystemExit(
                    f"data/results has no {name}.json to compare with; run: tools/results.py run --profile "
                    f"{made.experiment.profile}"
                )
            different = differences(before[name].evaluation, found)
            print(
                f"{name}: "
                + (
                    "every score is the same"
                    if not different
                    else f"{len(different)} scores differ, {', '.join(different[:5])}"
                )
            )
            same &= not different
    return same


def twin(what: Experiment) -> list[Path]:
    """Train what a stored result is of once more, with its very settings and seed, in a run folder of its own, and keep
    the scores in data/twins: what differs between the two is what a seed does not decide. Named after the result, the
    device, and, from the second on, `again`."""
    name, device = run_folder(what).name, short_device(device_name()).lower()
    if not (RESULTS / f"{name}-greedy.json").is_file():
        raise SystemExit(
            f"data/results has no {name}-greedy.json to be a twin of; run: tools/results.py run --profile "
            f"{what.profile} {what.preset}"
        )
    before = len(list(TWINS.glob(f"{name}-greedy-{device}*.json")))
    suffix = f"-{device}" + ("" if not before else "-again" if before == 1 else f"-again{before}")
    made = Run.of(
        what, folder=workspace() / "twins" / f"{name}{suffix}"
    )  # interrupted, the same command goes on: nothing is kept yet, so the name is the same
    made.train()
    kept = []
    for labels in label_kinds(made):
        made.evaluate("test", baselines=False, decoding=made.decoding("greedy", labels))
        with tempfile.TemporaryDirectory() as scratch:
            scores = store_result(made, Path(scratch), "greedy", labels=labels)
            kept.append(TWINS / f"{scores.stem}{suffix}.json")
            with written_whole(kept[-1]) as temporary:
                shutil.copyfile(scores, temporary)
    return kept


def baselines(name: str) -> Path:
    """Write and score every baseline on the test studies of a data set, and keep the rows. `run` keeps them too, beside
    its systems; this needs none."""
    require_java()
    dataset = prepared(name)
    found = evaluate_baselines(baseline_task(dataset, "test")).evaluation.to_json()
    return store_baselines(RESULTS, dataset, name, found["provenance"], found["rows"])


def tuned_results() -> list[StoredResult]:
    """The presets' own results as tuned, which the tables show."""
    every = stored_results(protocol="tuned")
    return [r for r in every if r.is_preset and r.labels_at_test in (None, *KINDS_SHOWN)]


def whole_block() -> str:
    """The tables of docs/results.md, between their marks, from what is stored: the systems as tuned, then two scores of
    the same weights in every protocol."""
    tuned_runs = tuned_results()
    ceiling = tuned_runs[0].evaluation.references_finding_f1
    lines = [
        *_rows(results_table(tuned_runs)),
        "",
        f"The references themselves have a finding-F1 of {ceiling:.3f}: what the labeler can see of them.",
        "",
        "The same weights, searched in three ways (BLEU-4 · finding-F1 · words of the reports / words of the "
        "references):",
        "",
        *_rows(by_protocol()),
        "",
        a1s_lead(),
        "",
        *studies(),
    ]
    return "\n".join([BEGIN, *lines, END])


def studies() -> list[str]:
    """What the shipped results of the planned studies say, a point a study, in the first of its scores."""
    points = [
        f"- {r.plan.title} {verdicts_in_words(r, r.plan.metrics[0])}"
        for r in (study_report(study_plan(name), shipped_results()) for name in known_plans())
    ]
    return [
        fill(
            "Studies that were planned before they were run, on features that know less or on more test studies "
            "(`data/studies`; small models, drawn studies; every score in chapter 10 and by `rrg study report NAME`):",
            WIDTH,
        ),
        "",
        *(fill(point, WIDTH, subsequent_indent="  ", break_long_words=False) for point in points),
    ]


def first_block() -> str:
    """The README's six rows, between their marks, and what they say."""
    tuned_runs = [r for r in tuned_results() if r.labels_at_test in (None, "classifier")]
    table = results_table(tuned_runs)
    systems = {r.system: r.experiment.preset for r in tuned_runs}
    named = {preset: system for system, preset in systems.items()}
    baselines = {row.name: f"{row.name}: {row.description}" for row in tuned_runs[0].evaluation.rows[1:]}
    rows = table.loc[[*(named[p] for p in FIRST), *(baselines[b] for b in FIRST_BASELINES)], list(FIRST_COLUMNS)]
    return "\n".join([BEGIN, *_rows(rows.rename(index=systems)), "", what_they_say(tuned_runs), END])


def what_they_say(tuned_runs: Sequence[StoredResult]) -> str:
    """The sentence under the README's rows: where the constant report stands, and which memories the rule tells apart
    from BASE."""
    a1 = next(row for row in tuned_runs[0].evaluation.rows if row.name == "a1").parts["all"].scores
    behind, seeing = (
        sum((r.evaluation.scores[score] < a1[score]) == below for r in tuned_runs)
        for score, below in (("BLEU-4", True), (FINDING_F1, False))
    )
    others = ("mem", "cmn", "xpronet", "mcsam", "cmn_pair")
    orders = {}
    for score in ("BLEU-4", FINDING_F1):
        ours = {
            name: measured(tuned_runs, name, "iu_phantom", score, profile="laptop", protocol="tuned")
            for name in ("base", *others)
        }
        orders |= {(name, score): order(ours[name], ours["base"]) for name in others if ours[name] and ours["base"]}
    told = {pair: one.how for pair, one in corrected(orders).items()}
    apart = [f"{name} {how} in {score}" for (name, score), how in told.items() if how in ("above", "below")]
    rest = [how for how in told.values() if how not in ("above", "below")]
    answers = ", ".join([*apart, *(f"{rest.count(how)} {how}" for how in dict.fromkeys(rest))])
    return fill(
        f"The constant report a1, which sees no image, is ahead of {behind} of {len(tuned_runs)} trainings in BLEU-4; "
        f"{seeing} of them are ahead of it in finding-F1. Is a memory better than BASE? By the rule of chapter 10, of "
        f"{len(told)} comparisons: {answers}. {asked_again()}",
        WIDTH,
    )


def asked_again() -> str:
    """What the shipped results of planned studies say of the claims that the stored runs leave undecided."""
    asked = in_studies(claims(), study_reports(shipped_results()))
    return studies_in_words(ledger(stored_results()), asked, briefly=True)


def by_protocol() -> pd.DataFrame:
    """A row a system, told a classifier's labels if any, a column a protocol: means over the seeds that are stored in
    it."""
    cells: dict[str, dict[str, str]] = {}
    for protocol in PROTOCOLS:
        runs = [
            r
            for r in stored_results("laptop", "iu_phantom", protocol)
            if r.is_preset and r.labels_at_test in (None, "classifier")
        ]
        for preset in dict.fromkeys(r.experiment.preset for r in runs):
            of = [r for r in runs if r.experiment.preset == preset]
            scores = [fmean(r.evaluation.scores[name] for r in of) for name in ("BLEU-4", FINDING_F1)]
            ratio = fmean(r.length_ratio for r in of)
            cells.setdefault(preset, {})[protocol] = " · ".join([*(f"{score:.3f}" for score in scores), f"{ratio:.2f}"])
    return pd.DataFrame.from_dict(cells, orient="index", columns=list(PROTOCOLS)).fillna("–")  # not searched so yet


def a1s_lead() -> str:
    """How far the constant report a1 is ahead of the main systems in BLEU-4 in each protocol, and what part of that is
    length alone: log BLEU-4 is the log of the brevity penalty and the rest (exercise 9.8), and a1 is long enough to pay
    none. A training that writes next to nothing is left out of the mean, and named: its logarithm would be most of
    it."""
    said, silent = [], []
    for protocol in PROTOCOLS:
        runs = [
            r
            for r in stored_results("laptop", "iu_phantom", protocol)
            if r.is_preset and r.labels_at_test in (None, "classifier")
        ]
        a1 = next(row for row in runs[0].evaluation.rows if row.name == "a1").parts["all"]
        words = runs[0].evaluation.provenance["references"]["words"]
        behind = sum(r.evaluation.scores["BLEU-4"] < a1.scores["BLEU-4"] for r in runs)
        writing = [r for r in runs if r.length_ratio >= WRITES]
        silent += [
            f"{r.experiment.preset}, seed {r.experiment.training.seed}, {protocol}: {r.length_ratio:.2f} of the words"
            for r in runs
            if r not in writing
        ]
        lead = fmean(math.log(a1.scores["BLEU-4"] / r.evaluation.scores["BLEU-4"]) for r in writing)
        length = fmean(_log_brevity(a1.length / words) - _log_brevity(r.length_ratio) for r in writing)
        said.append(
            f"{protocol}: {behind} of {len(runs)}, by a factor of {math.exp(lead):.2f} on average"
            + (f" over {len(writing)}" if len(writing) < len(runs) else "")
            + f", {length / lead:.0%} of its logarithm length"
        )
    left_out = f" Left out of the averages, for it writes next to nothing: {'; '.join(silent)}." if silent else ""
    return (
        f"Trainings behind the constant report a1 in BLEU-4 ({'; '.join(said)}). Length is what the brevity penalty "
        "takes from reports shorter than the references (exercise 9.8); over 100 %, the rest of the score speaks for "
        f"the system.{left_out}"
    )


def _log_brevity(ratio: float) -> float:
    """The logarithm of BLEU's brevity penalty for reports of `ratio` times the references' words."""
    return min(0.0, 1 - 1 / ratio)


def _rows(frame: pd.DataFrame) -> list[str]:
    lines = [f"| {' | '.join(['system', *frame.columns])} |", "|" + "---|" * (len(frame.columns) + 1)]
    return lines + [
        f"| {' | '.join([name, *row])} |" for name, row in zip(frame.index, frame.to_numpy().tolist(), strict=True)
    ]


def with_block(text: str, block: str, name: str) -> str:
    """A page with its tables written anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{name}: expected a block from {BEGIN} to {END}")
    return before + block + after


def pages() -> dict[Path, str]:
    """The pages that show results, as they should be."""
    return {
        path: with_block(path.read_text(encoding="utf-8"), block(), path.name)
        for path, block in ((README, first_block), (PAGE, whole_block))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "train, score and keep"),
        ("attention", "measure where trained runs look, and keep it"),
        ("again", "write and score trained runs again, and compare with what is stored"),
        ("twin", "train stored results once more with the same seed, and keep the scores beside them"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("presets", nargs="+")
        command.add_argument("--profile", choices=PROFILES, default="laptop")
        command.add_argument("--dataset", default="iu_phantom")
        command.add_argument(
            "--seed", type=int, nargs="+", default=[None], help="one or several; by default the preset's own"
        )
        if name == "run":
            command.add_argument(
                "--set", dest="settings", action="append", default=[], metavar="PART.FIELD=VALUE", help="of a sweep"
            )
    alone = commands.add_parser("baselines", help="write, score and keep the baselines of a data set alone")
    alone.add_argument("--dataset", default="iu_phantom")
    commands.add_parser("table", help="write the tables of README and docs/results.md")
    given = parser.parse_args()
    if given.command == "run":
        run(given.presets, given.profile, given.dataset, given.seed, given.settings)
    elif given.command == "attention":
        for made in trained(given.presets, given.profile, given.dataset, given.seed):
            look(made)
        return
    elif given.command == "baselines":
        print(baselines(given.dataset).relative_to(ROOT))
        return
    elif given.command == "again":
        sys.exit(not all([again(made) for made in trained(given.presets, given.profile, given.dataset, given.seed)]))
    elif given.command == "twin":
        for seed in given.seed:
            for preset in given.presets:
                print(*twin(experiment(f"{given.dataset}/{preset}", given.profile, seed=seed)), sep="\n")
        return
    for path, text in pages().items():
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
