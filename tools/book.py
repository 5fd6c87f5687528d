"""Builds the book. `run` executes the chapters for a reader, `write` makes the notebooks that are committed, `check`
compares source and notebook.

python tools/book.py run --out build/book --profile laptop --dataset iu_phantom
python tools/book.py write --out notebooks --only 04
python tools/book.py check
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "JUPYTER_PLATFORM_DIRS", "1"
)  # both are read by the kernel: without them it greets the reader with warnings
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
# On two threads a step of the small LSTMs takes more than twice as long as on one, and a Transformer's no less.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import budgets
import chapters
import nbformat
import papermill
from budgets import Budget, PeakMemory, Row
from chapters import ChapterError
from jupyter_client import KernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from rrg_lib.runtime.workspace import write_json

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ("ci", "laptop", "gpu")
#: Newer kernels warn on the terminal, once a chapter, unless their manager gives them keys; older managers know nothing
#: of keys.
ENCRYPTED = Config(
    {"KernelManager": {"transport_encryption": "auto"}} if hasattr(KernelManager, "transport_encryption") else {}
)


#: The option that sets each parameter of a chapter.
_OPTIONS = {"PROFILE": "--profile", "DATASET": "--dataset", "DATA_ROOT": "--data-root", "SEED": "--seed"}


class BookStopped(Exception):
    """A chapter failed; what there is to say has been printed."""


def run(
    folder: Path,
    out: Path,
    values: dict[str, Any],
    only: list[str] | None = None,
    *,
    jobs: int = 1,
    kept: Path | None = None,
) -> list[Row]:
    """Executes the chapters of `folder` into `out` with `values` injected by papermill, and writes `out/timings.json`.

    Every chapter is read before the first is run, so a chapter that cannot be built is known in the first second. Stops
    at the first failing cell with its traceback: `BookStopped`. With `kept`, one chapter's row goes there, and nowhere
    else.
    """
    paths = chapters.sources(folder, only)
    notebooks = [chapters.read_source(path) for path in paths]
    if not only:
        clear(out)
    rows = [Row(path.stem, Budget.of(notebook.metadata)) for path, notebook in zip(paths, notebooks, strict=True)]
    asked = [part for name, value in values.items() for part in (_OPTIONS[name], str(value))]
    began = time.perf_counter()
    try:
        if jobs > 1:
            side_by_side(rows, jobs, ["run", *_places(folder, out), *asked], values)
        else:
            build(
                rows,
                lambda index: execute(notebooks[index], out / f"{paths[index].stem}.ipynb", folder, values),
                values,
                kept,
            )
    finally:
        if kept is None:
            took = time.perf_counter() - began if jobs > 1 else None
            write_json(out / "timings.json", budgets.record(rows, values, jobs, took))
    return rows


def _places(folder: Path, out: Path) -> list[str]:
    return ["--notebooks", str(folder), "--out", str(out)]


def write(
    folder: Path,
    out: Path,
    only: list[str] | None = None,
    timings: Path | None = None,
    *,
    jobs: int = 1,
    kept: Path | None = None,
) -> list[Row]:
    """Executes the chapters with the values their own parameters cell shows and writes them to `out` as they are
    committed.

    `make notebooks` writes beside the sources, and what it measured to `timings` once every chapter has run; `make
    test` writes elsewhere, and nbval compares the marked outputs of the two. `kept` as for `run`.
    """
    paths = chapters.sources(folder, only)
    notebooks = [chapters.read_source(path) for path in paths]
    if wrong := [
        problem
        for path, notebook in zip(paths, notebooks, strict=True)
        for problem in chapters.wrong_committed_values(notebook, path)
    ]:
        raise ChapterError("\n".join(wrong))

    def one(index: int) -> None:
        target = out / f"{paths[index].stem}.ipynb"
        with tempfile.TemporaryDirectory() as scratch:
            executed = execute(notebooks[index], Path(scratch) / target.name, folder, {})
        finished = chapters.finished(notebooks[index], executed, ROOT)
        if unfit := chapters.unfit(finished, ROOT):
            raise ChapterError("\n".join(f"{paths[index]}: {problem}" for problem in unfit))
        text = chapters.written(finished)
        out.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            partial = target.with_suffix(".part")
            partial.write_text(text, encoding="utf-8")
            partial.replace(target)

    if not only and out.resolve() != folder.resolve():
        clear(out)
    rows = [Row(path.stem, Budget.of(notebook.metadata)) for path, notebook in zip(paths, notebooks, strict=True)]
    began = time.perf_counter()
    if jobs > 1:
        side_by_side(rows, jobs, ["write", *_places(folder, out)], chapters.COMMITTED)
    else:
        build(rows, one, chapters.COMMITTED, kept)
    if timings is not None:
        took = time.perf_counter() - began if jobs > 1 else None
        budgets.keep(timings, budgets.record(rows, chapters.COMMITTED, jobs, took))
    return rows


def check(folder: Path) -> list[str]:
    """What is wrong with the committed pairs; empty when source and notebook agree cell by cell and every notebook is
    fit to commit."""
    found = chapters.unpaired(folder)
    for path in chapters.sources(folder):
        if (notebook := path.with_suffix(".ipynb")).exists():
            found += chapters.problems(path, notebook, ROOT)
    return found


def build(rows: list[Row], one: Callable[[int], object], values: dict[str, Any], kept: Path | None) -> list[Row]:
    """Runs `one(index)` for the chapter of every row, telling where it is, and measures it; the table is written
    whatever happens, and the last row to `kept`."""
    profile = values["PROFILE"]
    try:
        for index, row in enumerate(rows):
            print(f"[{index + 1}/{len(rows)}] {row.chapter} …", flush=True)
            start, before, row.status = time.perf_counter(), budgets.trainings(), "interrupted"
            memory = PeakMemory()
            try:
                with memory:
                    one(index)
                row.status = "ok"
            except ChapterError as error:
                row.status = "failed"
                raise BookStopped(str(error)) from error
            except PapermillExecutionError as error:
                row.status = f"failed at In [{error.exec_count}]"
                raise BookStopped(f"{row.chapter}: this cell failed\n\n{indented(error.source)}\n{error}") from error
            except (
                Exception
            ) as error:  # the kernel died, or timed out: nothing of ours, and still the reader must see the table
                row.status = "failed"
                raise BookStopped(
                    f"{row.chapter}: {type(error).__name__}: {error}\n(a kernel that dies silently usually ran out of "
                    f"memory)"
                ) from error
            finally:
                row.seconds, row.peak_gib = round(time.perf_counter() - start, 1), memory.gib
                row.trained = budgets.trainings() - before
            print(f"      {row.status} in {row.seconds:.0f} s", flush=True)
    finally:
        print("", budgets.table(rows, profile), *budgets.warnings(rows, profile), "", sep="\n", flush=True)
        if kept is not None:
            write_json(kept, rows[-1].to_json())
    return rows


def side_by_side(rows: list[Row], jobs: int, command: Sequence[str], values: dict[str, Any]) -> list[Row]:
    """The chapters of `rows`, `jobs` at once, each by this program in a process of its own, `command` with `--only`:
    papermill changes the working folder of its process. After a failure those that run already are waited for, and no
    other is begun: `BookStopped`."""
    profile, began, stop = values["PROFILE"], time.perf_counter(), threading.Event()

    def chapter(row: Row) -> str:
        """Runs it, fills its row in, and returns what went wrong."""
        if stop.is_set():
            return ""
        print(f"{row.chapter} …", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            kept = Path(scratch) / "row.json"
            ran = subprocess.run(
                [sys.executable, str(Path(__file__)), *command, "--only", row.chapter, "--row", str(kept)],
                capture_output=True,
                text=True,
            )
            measured = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"status": "failed"}
        for name in ("seconds", "peak_gib", "status"):  # not `trained`: what others added meanwhile would count too
            setattr(row, name, measured.get(name, getattr(row, name)))
        print(f"      {row.chapter} {row.status} in {row.seconds:.0f} s", flush=True)
        if ran.returncode:
            stop.set()
        return ran.stderr.strip() if ran.returncode else ""

    try:
        with ThreadPoolExecutor(jobs) as pool:
            wrong = [text for text in pool.map(chapter, rows) if text]
    finally:
        took = time.perf_counter() - began
        print("", budgets.table(rows, profile, took), "", sep="\n", flush=True)
    if wrong:
        raise BookStopped("\n\n".join(wrong))
    return rows


def execute(notebook: nbformat.NotebookNode, out: Path, folder: Path, values: dict[str, Any]) -> nbformat.NotebookNode:
    """One chapter by papermill, in a fresh kernel whose working folder is the chapters' own. `out` holds what ran, an
    error included."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # papermill writes its input's name into its output: a file, so that it is a name
        source = Path(scratch) / out.name
        nbformat.write(notebook, source)
        return papermill.execute_notebook(
            *(
                str(path).replace("{", "{{").replace("}", "}}") for path in (source, out.resolve())
            ),  # papermill formats paths with the parameters
            parameters=values,
            kernel_name="python3",
            language="python",
            cwd=folder,
            progress_bar=sys.stderr.isatty(),
            config=ENCRYPTED,
        )


def clear(out: Path) -> None:
    """Removes the chapters of an earlier build, so that a stopped build leaves none behind that looks new."""
    for old in out.glob("[0-9][0-9]_*.ipynb"):
        old.unlink()


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "execute the chapters for a reader"),
        ("write", "make the notebooks that are committed"),
        ("check", "compare sources and notebooks"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="the folder of the chapters")
        if name != "check":
            command.add_argument("--out", type=Path, required=True, help="where the executed notebooks go")
            command.add_argument("--only", nargs="*", metavar="NN", help="chapters by the beginning of their name")
            command.add_argument("--row", type=Path, help=argparse.SUPPRESS)  # of a chapter beside others
            command.add_argument("--jobs", type=_jobs, default=1, help="chapters side by side; by default one")
        if name == "write":
            command.add_argument(
                "--timings", type=Path, help="a file to keep what was measured in, once every chapter has run"
            )
        if name == "run":
            command.add_argument("--profile", choices=PROFILES, default="ci")
            command.add_argument("--dataset", default="iu_phantom")
            command.add_argument("--data-root", type=Path, help="the folder of real images")
            command.add_argument("--seed", type=int, help="instead of the chapters' own")
    return parser.parse_args(argv)


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} chapters at once; expected a whole number from 1")
    return int(text)


def parameter_values(args: argparse.Namespace) -> dict[str, Any]:
    """What to inject: the profile and dataset always, the rest only when it was asked for, so that a chapter's own
    default stands."""
    values: dict[str, Any] = {"PROFILE": args.profile, "DATASET": args.dataset}
    if args.data_root is not None:
        root = (
            args.data_root.expanduser().resolve()
        )  # chapters run in their own folder, where a relative path would mean something else
        if not root.is_dir():
            raise ChapterError(
                f"DATA_ROOT: {root} is not a folder; expected the folder of the real images of {args.dataset}"
            )
        values["DATA_ROOT"] = str(root)
    if args.seed is not None:
        values["SEED"] = args.seed
    return values


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    try:
        if args.command == "check":
            if found := check(args.notebooks):
                print("\n".join(found), file=sys.stderr)
                return 1
            print(f"source and notebook agree: {len(chapters.sources(args.notebooks))} chapters")
        elif args.command == "write":
            write(args.notebooks, args.out, args.only, args.timings, jobs=args.jobs, kept=args.row)
        else:
            run(args.notebooks, args.out, parameter_values(args), args.only, jobs=args.jobs, kept=args.row)
            print(f"the book is in {args.out}")
    except (ChapterError, BookStopped) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
