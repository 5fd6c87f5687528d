"""Measures trained systems and keeps what came out: trains presets in a profile, scores them on test, writes data/results and the README's table.

python tools/results.py run --profile laptop base mem cmn
python tools/results.py table
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

from rrg_lib.decoding import LabelsAtTest
from rrg_lib.presets import PROFILES, experiment
from rrg_lib.results import keep, stored, table
from rrg_lib.runs import Run
from rrg_lib.workspace import written_whole

ROOT = Path(__file__).resolve().parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "data" / "results"
BEGIN, END = "<!-- results: written by tools/results.py -->", "<!-- end of results -->"


def run(presets: list[str], profile: str, dataset: str, seeds: list[int | None]) -> None:
    """Train (a finished run returns at once), write reports for the test studies, score them beside the baselines, keep the scores: all seeds of one
    preset after all presets of the seed before. A memory gated by labels is measured with each kind of labels at test time."""
    for seed in seeds:
        for preset in presets:
            made = Run.of(experiment(f"{dataset}/{preset}", profile, seed=seed))
            made.train()
            told = get_args(LabelsAtTest) if made.labels else (made.experiment.decoding.labels_at_test,)
            for how in told:
                decoding = replace(made.experiment.decoding, labels_at_test=how)
                made.evaluate("test", baselines="all", decoding=decoding)
                print(keep(made, RESULTS, decoding=decoding).relative_to(ROOT))


def block() -> str:
    """The README's table, between its marks, from what is stored."""
    results = stored()
    frame = table(results)
    lines = [f"| {' | '.join(['system', *frame.columns])} |", "|" + "---|" * (len(frame.columns) + 1)]
    lines += [f"| {' | '.join([name, *row])} |" for name, row in zip(frame.index, frame.to_numpy().tolist(), strict=True)]
    if results:
        lines += [
            "",
            f"The references themselves have a finding-F1 of {results[0].evaluation.references_finding_f1:.3f}: what the labeler can see of them.",
        ]
    return "\n".join([BEGIN, *lines, END])


def with_table(readme: str) -> str:
    """The README with its table written anew."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"README.md: expected a block from {BEGIN} to {END}")
    return before + block() + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("run", help="train, score and keep")
    training.add_argument("presets", nargs="+")
    training.add_argument("--profile", choices=PROFILES, default="laptop")
    training.add_argument("--dataset", default="iu_phantom")
    training.add_argument("--seed", type=int, nargs="+", default=[None], help="one or several; by default the preset's own")
    commands.add_parser("table", help="write the README's table")
    given = parser.parse_args()
    if given.command == "run":
        run(given.presets, given.profile, given.dataset, given.seed)
    text = with_table(README.read_text(encoding="utf-8"))
    with written_whole(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
