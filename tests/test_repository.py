"""The house rules that a machine can check: what is packaged, what is shipped, who imports whom, and what a tracked
file must not hold."""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from pathlib import Path

import pytest
import yaml
from places import ROOT

LIBRARY = sorted((ROOT / "rrg_lib").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: One idea a file, as long as the idea needs: one that is longer says why, in a line of its docstring.
LONG, REASON = 600, re.compile(r"^Long because \S+ \S+", re.MULTILINE)

#: Arrows point one way: a part imports from its own row or from one above it. Every part is named, and imports for type
#: checkers count.
LAYERS = (
    ("errors",),
    ("runtime",),
    ("data",),
    ("models",),
    ("training", "evaluation"),
    ("experiments",),
    ("replication", "performance"),
    ("book",),
    ("cli",),
)
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}


def tracked() -> list[Path]:
    """What git tracks, and what it would track if it were added now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def imported(path: Path) -> set[str]:
    """Every module a file imports, dotted, relative imports resolved, those for type checkers alone included."""
    package = path.relative_to(ROOT).with_suffix("").parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level], *filter(None, [node.module])])
                if node.level
                else node.module or ""
            )
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def part(dotted: str) -> str | None:
    """`rrg_lib.models.memory` belongs to `models`; what is not of the library belongs to no part."""
    pieces = dotted.split(".")
    return pieces[1] if pieces[0] == "rrg_lib" and len(pieces) > 1 else None


def arrows() -> dict[tuple[str, str], Path]:
    """(importing part, imported part) -> one file that does it."""
    names = {
        path.stem if path.parent.name == "rrg_lib" else path.relative_to(ROOT / "rrg_lib").parts[0] for path in LIBRARY
    }
    found = {}
    for path in LIBRARY:
        here = path.relative_to(ROOT / "rrg_lib").parts[0].removesuffix(".py")
        found.update(
            {(here, there): path for name in imported(path) if (there := part(name)) in names and there != here}
        )
    return found


# --- packaging --------------------------------------------------------------------------------------------------------


def test_every_folder_with_python_in_it_is_a_listed_package():
    on_disk = {".".join(path.parent.relative_to(ROOT).parts) for path in LIBRARY}
    on_disk |= {
        ".".join(("rrg_data", *path.parent.relative_to(ROOT / "data").parts)) for path in (ROOT / "data").rglob("*.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == on_disk
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    for package in on_disk:
        top, *rest = package.split(".")
        assert (ROOT / folders[top]).joinpath(*rest, "__init__.py").is_file(), f"{package} has no __init__.py"


def test_everything_in_data_is_packaged_and_readable_as_a_resource():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    files = [
        path.relative_to(ROOT / "data")
        for path in tracked()
        if path.is_relative_to(ROOT / "data") and path.suffix != ".py"
    ]
    assert files
    for file in files:
        package = ".".join(("rrg_data", *file.parent.parts))
        assert any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns.get(package, [])), (
            f"data/{file} would not be installed"
        )
        assert resources.files(package).joinpath(file.name).read_bytes() == (ROOT / "data" / file).read_bytes()


def test_environment_yml_leaves_the_list_of_dependencies_to_pyproject():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    (editable,) = pip
    extras = set(re.fullmatch(r"-e \.\[(.+)\]", editable)[1].split(","))
    assert extras <= PROJECT["project"]["optional-dependencies"].keys()
    assert {re.split("[<>=]", entry)[0] for entry in dependencies if isinstance(entry, str)} == {
        "python",
        "pip",
        "make",
        "openjdk",
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert extras == set(re.search(r"^EXTRAS := (.+)$", makefile, re.MULTILINE)[1].split(","))


def test_citation_states_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["project"]["version"], PROJECT["project"]["license"])


# --- the commands -----------------------------------------------------------------------------------------------------


def test_the_makefile_has_its_targets_and_explains_each():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    explained = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert {"book", "test", "test-fast", "lab", "notebooks", "assets", "clean", "help"} <= explained
    assert explained == set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())


def test_test_does_the_whole_of_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^test: (.+?) ##", makefile, re.MULTILINE)[1].split() == [
        "lint",
        "unit",
        "slow",
        "pairs",
        "chapters",
        "nbval",
        "site-test",
    ]


def test_continuous_integration_runs_the_readmes_test_command():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, ".ci/run must be executable"
    assert "make test" in script.read_text(encoding="utf-8") and "set -euo pipefail" in script.read_text(
        encoding="utf-8"
    )
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(workflow)["jobs"]["test"]["steps"]
    assert any(step.get("run") == ".ci/run" for step in steps)
    assert "secrets." not in workflow


def test_the_results_of_the_pages_are_the_stored_ones(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import results

    for path, text in results.pages().items():
        page = path.read_text(encoding="utf-8")
        assert text == page, "run: .venv/bin/python tools/results.py table"
        assert (
            results.with_block(page.replace("| a1:", "| better:"), page.partition(results.BEGIN)[2], path.name) != page
        )
        with pytest.raises(SystemExit, match=f"{path.name}: expected a block"):
            results.with_block(page.replace(results.END, ""), "", path.name)


def test_the_readme_is_one_screen_whose_links_lead_somewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 75
    assert [line for line in readme.splitlines() if len(line) > 160 and not line.startswith("|")] == []
    links = re.findall(r"\]\(([^)#]+)\)", readme)
    assert len(links) > 10 and [link for link in links if not (ROOT / link).exists()] == []


# --- the guides -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "COURSE.md",
        *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    ],
)
def test_what_a_guide_names_is_there(name):
    """Files and folders of the repository in backticks, and headings of the same file that it links to."""
    guide = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"`((?:rrg_lib|tests|tools|data|site|cluster|colab|locks)/[\w./*-]+)`", guide)
    missing = {
        path for path in named if "NN" not in path and "NAME" not in path and not any(ROOT.glob(path.rstrip("/")))
    }
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"(?m)^#+ (.+)$", guide)
    }
    missing |= set(re.findall(r"\]\(#([\w-]+)\)", guide)) - headings
    assert missing == set()


# --- the library ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_library_file_is_about_one_idea_and_a_long_one_says_why(path):
    text = path.read_text(encoding="utf-8")
    if len(text.splitlines()) > LONG:
        assert REASON.search(ast.get_docstring(ast.parse(text)) or ""), (
            f"over {LONG} lines: fold out what is another idea, or say in the docstring why it is one: Long because …"
        )
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}, "name the file after what it is about"


def test_every_part_of_the_library_has_its_place():
    parts = {path.relative_to(ROOT / "rrg_lib").parts[0].removesuffix(".py") for path in LIBRARY} - {"__init__"}
    assert parts == set(ROW)


def test_arrows_point_one_way():
    """No part imports from a later row, and none from its neighbour: training knows no metrics."""
    wrong = [
        f"{path.relative_to(ROOT)}: {here} imports {there}"
        for (here, there), path in arrows().items()
        if here != "__init__" and (ROW[there] > ROW[here] or (ROW[there] == ROW[here] and here != there))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_in_a_circle():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in LIBRARY}
    graph = {}
    for path in LIBRARY:
        here = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[here] = {
            name for name in imported(path) if name in modules and name != here and not here.startswith(f"{name}.")
        }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these import each other in a circle: {' -> '.join(error.args[1])}")


def test_the_library_knows_neither_chapters_nor_tests_nor_tools():
    outside = {"notebooks", "tests", "tools", "book", "chapters"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in LIBRARY
        for name in imported(path)
        if name.split(".")[0] in outside
    ]
    assert not wrong, "\n".join(wrong)


def test_chapters_import_nothing_of_ours_but_the_library():
    ours = {"tests", "tools", "book", "chapters", "rrg_data"}
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        assert not {name.split(".")[0] for name in imported(path)} & ours, path.name


# --- tracked files ----------------------------------------------------------------------------------------------------


def test_no_tracked_text_holds_a_path_of_somebodys_machine():
    home = re.compile(rb"(?<![\w.-])/(?:home|Users)/[A-Za-z][\w.-]*/|(?<![\w.-])/root/[\w.]|[A-Z]:\\Users\\")
    here = f"{ROOT}/".encode()
    wrong = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{n}"
            for n, line in enumerate(content.splitlines(), 1)
            if here in line or home.search(line)
        ]
    assert not wrong, "\n".join(wrong)


def test_no_tracked_file_is_larger_than_a_mebibyte_but_the_weights_that_the_package_ships():
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 2**20]
    assert [name for name in large if not name.startswith(("data/extractors/", "data/system/"))] == []
    assert all((ROOT / name).stat().st_size < 2**21 for name in large if name.startswith("data/extractors/"))
    assert sum(path.stat().st_size for path in (ROOT / "data" / "system").glob("*.safetensors")) <= 5_000_000
