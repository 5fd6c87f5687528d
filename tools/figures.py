"""Draws every figure of the papers that ours can stand beside, from stored results and the runs that are trained here; trains nothing.

python tools/figures.py
python tools/figures.py --only cmn_figure_3 student_table_3 --out figures
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    from rrg_lib.errors import RRGError
    from rrg_lib.published_figures import FIGURES, draw
    from rrg_lib.results import stored

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "figures", help="the folder of the figures")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {', '.join(FIGURES)}")
    given = parser.parse_args(argv)
    os.environ.setdefault("RRG_HOME", str(ROOT / "build"))
    results = stored()
    try:
        for name in given.only or FIGURES:
            path = given.out / f"{name}.png"
            missing = draw(name, results, path).missing
            print(f"{path.name}: {f'not run in part or whole. {missing}' if missing else 'ours beside what is printed'}", flush=True)
    except RRGError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
