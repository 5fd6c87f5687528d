"""Makes `data/system`, the small trained system that comes with the package, from a trained run.

python tools/ship.py [RUN_FOLDER]     # by default the CMN of the laptop profile, trained in this workspace

Its weights are stored as float16, then it is scored on the drawn test studies as it will be read: the scores in
`provenance.json` are of what is shipped, beside those of the run as it was stored.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rrg_lib.data import iu_xray  # noqa: E402
from rrg_lib.experiments.presets import experiment  # noqa: E402
from rrg_lib.experiments.results import stored_results  # noqa: E402
from rrg_lib.experiments.run_folders import run_folder  # noqa: E402
from rrg_lib.experiments.shipped_system import PROVENANCE, halve, scores_on_drawn  # noqa: E402
from rrg_lib.runtime.workspace import write_json  # noqa: E402

FOLDER = ROOT / "data" / "system"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, default=run_folder(experiment("iu_phantom/cmn", "laptop")))
    source = parser.parse_args().run
    system = halve(source, FOLDER)
    trained = system.experiment
    (stored,) = (
        result for result in stored_results(trained.profile, trained.dataset, "tuned") if result.experiment == trained
    )
    (constant,) = (row.parts["all"].scores for row in stored.evaluation.rows if row.name == "a1")
    scores = scores_on_drawn(system, iu_xray.studies("test"))
    write_json(
        FOLDER / PROVENANCE,
        {
            "source": source.name,
            "command": f"rrg train {system.command}; rrg tune {system.command}; python tools/ship.py",
            "edition": version("rrg-book"),
            "experiment": trained.hash,
            "bytes": sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")),
            "scored_on": "the 590 drawn test studies of IU-Phantom",
            "scores": scores,
            "scores_of_the_run": {name: stored.evaluation.scores[name] for name in scores},
            "constant_report": {name: constant[name] for name in scores},
        },
    )
    for name, value in scores.items():
        print(f"{name}: {value:.4f}, as trained {stored.evaluation.scores[name]:.4f}, a1 {constant[name]:.4f}")


if __name__ == "__main__":
    main()
