"""Python in the pages of the site, for the exercises that need nothing but texts and numbers: Pyodide, served by the
site itself, and those files of the library that the checks of such exercises import.

python tools/site_python.py fetch     # the npm package, pinned, into build/npm; where npm is missing nothing is fetched

`make site` does that first. Without the package the pages are as they are: every exercise is solved in its notebook.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from chapters import ChapterError, read_source  # noqa: E402
from exercises import Exercise, graded_check  # noqa: E402
from hints import home_of, module_tree  # noqa: E402
from nbformat import NotebookNode  # noqa: E402
from site_text import SiteError  # noqa: E402
from standalone import names, needed  # noqa: E402

from rrg_lib.errors import RRGError  # noqa: E402
from rrg_lib.runtime.workspace import workspace, written_whole  # noqa: E402

#: The package, the hash of its file, and what of it a page loads.
VERSION, LICENCE = "314.0.7", "MPL-2.0"
SHA256 = "66b7949e5a0cba2250b586d7e368bf12fb482800748d182c4618254b685ffaa0"
LOADED = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "pyodide-lock.json", "python_stdlib.zip")
#: What a page of the site may take of the site's folder for it: bytes.
LIMIT = 15_000_000
#: The chapters whose exercises are tried.
CHAPTERS = ("00", "01", "09", "10")
OURS = ("rrg_lib",)
RUNNER = "page_runner.py"


def package() -> Path:
    """Where the fetched package is, or would be."""
    return workspace() / "npm" / f"pyodide-{VERSION}.tgz"


def fetch() -> str:
    """Gets the package by npm unless it is there, and says what came of it. A machine without npm, or without its
    registry, builds the site all the same."""
    target, npm = package(), shutil.which("npm")
    if target.is_file():
        return f"pyodide {VERSION} is there: {target}"
    if npm is None:
        return "npm is not installed: the site is built without Python in its pages"
    with written_whole(target) as temporary:
        folder = temporary.parent / f".{target.stem}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(
                [npm, "pack", "--silent", f"pyodide@{VERSION}", "--pack-destination", str(folder)],
                check=True,
                capture_output=True,
                text=True,
                timeout=300,
            )
            shutil.move(folder / target.name, temporary)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return f"pyodide {VERSION} fetched: {target}"


# --- which exercises --------------------------------------------------------------------------------------------------


@cache
def imports_of(module: str) -> frozenset[str] | None:
    """The modules of the library, with their packages, that must be there for `module` to be imported, itself among
    them; None when something is needed that does not come with Python."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        if here.partition(".")[0] not in OURS:
            if here.partition(".")[0] not in sys.stdlib_module_names:
                return None
            continue
        found.add(here)
        parts = here.split(".")
        waiting += [".".join(parts[:n]) for n in range(1, len(parts))]
        tree = tree_of(here)
        waiting += imported_names(tree.body if tree else ())
    return frozenset(found)


def tree_of(module: str) -> ast.Module | None:
    """The source of a module or of a package of the library, parsed."""
    return module_tree(module) or module_tree(f"{module}.__init__")


def imported_names(statements: Iterable[ast.stmt]) -> list[str]:
    """Every module that these statements import; a name that is itself a module counts as one."""
    modules = []
    for node in statements:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module or "")
            modules += [full for alias in node.names if tree_of(full := f"{node.module}.{alias.name}")]
    return modules


@cache
def chapter_source(path: Path) -> NotebookNode:
    """The source of a chapter, whichever of its two files `path` is."""
    return read_source(path.with_suffix(".py"))


def given(exercise: Exercise) -> str:
    """What stands before an answer in a page: the chapter's imports, constants and functions that it needs, and its
    check's own module as `checks`."""
    homes = {home_of(exercise.module, check) for check, _ in exercise.calls}
    if len(homes) != 1:
        raise SiteError(f"{exercise.chapter}: exercise {exercise.id}: its checks are in {', '.join(sorted(homes))}")
    package_name, _, module = homes.pop().rpartition(".")
    used = names(f"{exercise.solution}\n{graded_check(exercise)}") - {"checks"}
    setup = needed(chapter_source(exercise.chapter), used, exercise.chapter) if used else ""
    return f"{setup}\nfrom {package_name} import {module} as checks".strip()


def modules_for(exercise: Exercise) -> frozenset[str] | None:
    """The library's modules that an exercise needs in a page; None for one that needs what a page does not have."""
    if exercise.chapter.stem[:2] not in CHAPTERS:
        return None
    try:
        source = given(exercise)
    except (ChapterError, SiteError):
        return None
    needs = [imports_of(module) for module in imported_names(ast.parse(f"{source}\n{exercise.solution}").body)]
    return None if None in needs else frozenset().union(*needs)


def runnable(exercises: Iterable[Exercise]) -> list[Exercise]:
    """Those of the exercises that a page can run."""
    return [exercise for exercise in exercises if modules_for(exercise) is not None]


# --- what the site ships of it ----------------------------------------------------------------------------------------


def library(exercises: Sequence[Exercise], target: Path) -> None:
    """A zip of the library's modules that these exercises need, the tables that those read, and what runs an answer."""
    modules = frozenset().union(*(modules_for(exercise) or () for exercise in exercises))
    files, tables = {ROOT / "tools" / RUNNER: RUNNER}, set()
    for module in modules:
        path = ROOT / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        files[path] = path.relative_to(ROOT).as_posix()
        tables |= {
            node.args[0].value
            for node in ast.walk(tree_of(module) or ast.Module([], []))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "table"
            and isinstance(node.args[0], ast.Constant)
        }
    for name in ("__init__.py", *(f"{table}.csv" for table in tables)):
        files[ROOT / "data" / name] = f"rrg_data/{name}"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in sorted(files.items(), key=lambda item: item[1]):
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)


def write(out: Path, exercises: Sequence[Exercise]) -> bool:
    """Pyodide and the library's part for these exercises into `out`; False, and nothing written, where the package was
    not fetched. Raises `SiteError` for a package that is not the pinned one, or takes too much room."""
    source = package()
    if not source.is_file():
        return False
    if (found := hashlib.sha256(source.read_bytes()).hexdigest()) != SHA256:
        raise SiteError(f"{source}: its SHA-256 is {found}, expected {SHA256}; delete it and run: make site")
    out.mkdir(parents=True)
    with tarfile.open(source) as archive:
        for name in LOADED:
            (out / name).write_bytes(archive.extractfile(f"package/{name}").read())
    library(exercises, out / "library.zip")
    if (size := sum(path.stat().st_size for path in out.iterdir())) > LIMIT:
        raise SiteError(f"{out}: Python in the pages takes {size:,} bytes; at most {LIMIT:,} are meant for it")
    return True


def marker(exercise: Exercise) -> str:
    """What the page's script turns into an editor: nothing is seen of it without the script."""
    held = {"id": exercise.id, "given": given(exercise), "blank": exercise.blank, "check": graded_check(exercise)}
    text = json.dumps(held, ensure_ascii=False).replace("<", "\\u003c").replace("\n", " ")
    return f'<script type="application/json" class="rrg-exercise">{text}</script>\n'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["fetch"])
    parser.parse_args(argv)
    try:
        print(fetch())
    except (subprocess.SubprocessError, OSError, RRGError) as error:
        print(f"pyodide {VERSION} can't be fetched ({error}): the site is built without Python in its pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
