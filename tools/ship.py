"""Makes `data/system`, the small trained system that comes with the package, from a trained run.

python tools/ship.py [RUN_FOLDER]     # by default the CMN of the laptop profile, trained in this workspace

Its weights are stored as float16, then it is scored on the drawn test studies as it will be read: the scores in
`provenance.json` are of what is shipped, beside those of the run as it was stored. The folder is replaced whole, or
stays as it was.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rrg_lib.data import iu_xray  # noqa: E402
from rrg_lib.errors import CheckpointError, RRGError  # noqa: E402
from rrg_lib.experiments.presets import experiment, settings_given  # noqa: E402
from rrg_lib.experiments.results import StoredResult, stored_results  # noqa: E402
from rrg_lib.experiments.run_folders import read_description, run_folder  # noqa: E402
from rrg_lib.experiments.shipped_system import PROVENANCE, halve, scores_on_drawn  # noqa: E402
from rrg_lib.runtime.workspace import folder_written_whole, write_json  # noqa: E402

FOLDER = ROOT / "data" / "system"
#: The baseline whose scores stand beside the system's: always the same report.
CONSTANT = "a1"


def stored(source: Path) -> tuple[StoredResult, dict[str, float]]:
    """The stored result of a run, tuned, and the constant report's scores on the same studies. Raises
    `CheckpointError` where either is not stored."""
    trained, _ = read_description(source)
    found = [
        r
        for r in stored_results(trained.profile, trained.dataset, "tuned")
        if r.experiment == trained and r.labels_at_test in (None, trained.decoding.labels_at_test)
    ]
    if not found:
        settings = "".join(f" --set {shlex.quote(text)}" for text in settings_given(trained))
        raise CheckpointError(
            f"data/results holds no tuned result of the run in {source}; its scores belong beside the shipped "
            f"system's. Run: python tools/results.py run {trained.preset} --profile {trained.profile} --dataset "
            f"{trained.dataset} --seed {trained.training.seed}{settings}"
        )
    constant = [row.parts["all"].scores for row in found[0].evaluation.rows if row.name == CONSTANT]
    if not constant:
        raise CheckpointError(
            f"the baseline {CONSTANT} is not stored beside {found[0].name}; its scores belong beside the shipped "
            f"system's. Run: python tools/results.py baselines --dataset {trained.dataset}"
        )
    return found[0], constant[0]


def ship(source: Path, folder: Path) -> None:
    """The system of a run folder in `folder`, halved, with its provenance."""
    result, constant = stored(source)
    with folder_written_whole(folder) as made:
        system = halve(source, made)
        scores = scores_on_drawn(system, iu_xray.studies("test"))
        write_json(
            made / PROVENANCE,
            {
                "source": source.name,
                "command": f"rrg train {system.command}; rrg tune {system.command}; python tools/ship.py",
                "edition": version("rrg-book"),
                "experiment": system.experiment.hash,
                "bytes": sum(file.stat().st_size for file in made.glob("*.safetensors")),
                "scored_on": "the 590 drawn test studies of IU-Phantom",
                "scores": scores,
                "scores_of_the_run": {name: result.evaluation.scores[name] for name in scores},
                "constant_report": {name: constant[name] for name in scores},
            },
        )
        for module in folder.glob("*.py"):  # what makes the folder a part of the package
            shutil.copy(module, made)
    for name, value in scores.items():
        print(f"{name}: {value:.4f}, as trained {result.evaluation.scores[name]:.4f}, {CONSTANT} {constant[name]:.4f}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, default=run_folder(experiment("iu_phantom/cmn", "laptop")))
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder that is replaced")
    given = parser.parse_args(argv)
    try:
        ship(given.run, given.out)
    except RRGError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
