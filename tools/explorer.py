"""Makes `data/explorer.json.gz`, what the site's explorer shows, from the runs that are trained in this workspace. It
trains nothing. The systems learn from the studies of `phantom` alone, so that every word they write is this book's own:

rrg prepare phantom --count 4000 --out FOLDER
rrg train phantom/cmn --profile ci --data-root FOLDER     # and the others
python tools/explorer.py                          # the systems below, as far as they are trained
python tools/explorer.py --only base cmn --out FILE
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rrg_lib.book.explorer import EXPLORER, explored, explored_studies, save_explorer  # noqa: E402
from rrg_lib.book.figures.trained_runs import finished  # noqa: E402
from rrg_lib.errors import RRGError  # noqa: E402
from rrg_lib.experiments.presets import experiment  # noqa: E402
from rrg_lib.experiments.run_folders import run_folder  # noqa: E402
from rrg_lib.experiments.trained_system import TrainedSystem  # noqa: E402

#: Every system of the book that attends to the patches (ST has no attention to show).
SYSTEMS = ("base", "mem", "cmn", "xpronet", "mcsam", "cmn_pair", "att2in", "adaatt", "topdown", "r2gen")
TRAINED_ON, PROFILE = "phantom", "ci"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=SYSTEMS, metavar="PRESET", help="the systems to show")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / EXPLORER)
    args = parser.parse_args(argv)
    try:
        wanted = {preset: experiment(f"{TRAINED_ON}/{preset}", PROFILE) for preset in args.only}
        trained = {preset: TrainedSystem.open(run_folder(e)) for preset, e in wanted.items() if finished(e)}
        absent = [preset for preset in wanted if preset not in trained]
        if not trained:
            raise SystemExit(
                f"none of {', '.join(wanted)} is trained here; run: rrg train {TRAINED_ON}/{args.only[0]} --profile "
                f"{PROFILE} --data-root FOLDER, after: rrg prepare {TRAINED_ON} --count 4000 --out FOLDER"
            )
        data = explored(list(trained.values()), explored_studies())
        provenance = {"command": "python tools/explorer.py", "edition": version("rrg-book"), "absent": absent}
        save_explorer(args.out, {**provenance, **data})
    except RRGError as error:
        print(error, file=sys.stderr)
        return 1
    size, studies = args.out.stat().st_size, len(data["studies"])
    print(f"{os.path.relpath(args.out)}: {studies} studies, {', '.join(trained)}; {size:,} bytes")
    for preset in absent:
        print(f"not trained here: rrg train {TRAINED_ON}/{preset} --profile {PROFILE} --data-root FOLDER")
    return 0


if __name__ == "__main__":
    sys.exit(main())
