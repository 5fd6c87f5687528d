"""The lock of this edition: it is whole, it fits the project, and the command that writes it refuses what would not."""

from __future__ import annotations

import re
import sys
import tomllib
from collections import deque
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import lock
import pytest
from packaging.requirements import Requirement
from places import ROOT

from rrg_lib.book.edition import LOCK, Locked, normalised, read_lock

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXTRAS = re.search(r"^EXTRAS := (.+)$", MAKEFILE, re.MULTILINE)[1].split(",")
TEXT = LOCK.read_text(encoding="utf-8")
ENTRIES = read_lock()
HERE = {entry.name: entry for entry in ENTRIES if entry.applies}


def test_the_lock_is_of_this_edition_and_of_the_extras_that_make_installs():
    first, _, third, *_ = TEXT.splitlines()
    assert first.startswith(f"# Edition {PROJECT['project']['version']}: "), "run: make lock"
    assert third.startswith(f"# Extras: {', '.join(EXTRAS)};"), "run: make lock"


def test_every_entry_has_a_hash_and_no_index_is_named():
    assert len(ENTRIES) > 100
    assert [entry.name for entry in ENTRIES if not entry.hashes] == []
    assert not re.search(r"://|index|find-links|trusted-host", TEXT)
    assert "rrg-book" not in HERE, "the project is installed from its own folder"


def test_every_range_of_the_project_holds_and_nothing_it_needs_is_absent():
    """From the project's own list down to the last dependency of a dependency, as the installed packages tell them."""
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra])]
    queue = deque(Requirement(text) for text in [*wanted, *PROJECT["build-system"]["requires"]])
    seen = set()
    while queue:
        requirement = queue.popleft()
        name = normalised(requirement.name)
        assert name in HERE, f"{requirement} is not locked; run: make lock"
        assert requirement.specifier.contains(HERE[name].version, prereleases=True), (
            f"{requirement}: locked {HERE[name].version}; run: make lock"
        )
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen or not same_version_installed(name):
                continue  # pip itself compares the needs of a version that is not here
            seen.add((name, extra))
            needs = (Requirement(text) for text in metadata.requires(name) or ())
            queue += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]


def same_version_installed(name: str) -> bool:
    try:
        return metadata.version(name).partition("+")[0] == HERE[name].version
    except metadata.PackageNotFoundError:
        return False


# --- writing it -------------------------------------------------------------------------------------------------------

HASH = f" \\\n    --hash=sha256:{'a' * 64}\n"


@pytest.fixture
def project(tmp_path):
    """A project of one dependency, and a uv that answers what the test wants and notes how it was called."""
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=77"]\n[project]\nname = "x"\nversion = "2.0"\nrequires-python = '
        '">=3.11"\n'
        'dependencies = ["numpy"]\n[project.optional-dependencies]\nbook = []\ntest = []\n'
    )
    return tmp_path


@pytest.fixture
def uv(monkeypatch):
    found = SimpleNamespace(answer=f"numpy==1.0{HASH}", status=0, says="", command=None, preferred=None, given=None)

    def run(command, input, cwd, **options):
        out = Path(command[command.index("--output-file") + 1])
        found.command, found.given, found.preferred = command, input, out.read_text()
        out.write_text(found.answer)
        return SimpleNamespace(returncode=found.status, stderr=found.says)

    monkeypatch.setitem(sys.modules, "uv", SimpleNamespace(find_uv_bin=lambda: "uv"))
    monkeypatch.setattr(lock.subprocess, "run", run)
    return found


def test_the_installed_versions_are_preferred_for_every_system_and_the_builder_is_locked_too(project, uv, monkeypatch):
    monkeypatch.setattr(lock, "installed_versions", lambda: {"numpy": "1.0", "rich": "3.0"})
    assert lock.write(project / "pyproject.toml", project / "lock.txt", ["book", "test"]) == []
    assert uv.preferred == "numpy==1.0\nrich==3.0\n" and uv.given == "setuptools>=77"
    assert {"--universal", "--generate-hashes"} <= set(uv.command) and uv.command[
        uv.command.index("--python-version") + 1
    ] == "3.11"
    assert [uv.command[i + 1] for i, part in enumerate(uv.command) if part == "--extra"] == ["book", "test"]
    text = (project / "lock.txt").read_text()
    assert text.startswith("# Edition 2.0: ") and "# Extras: book, test;" in text and text.endswith(uv.answer)


def test_versions_that_were_not_tested_are_told(project, uv, monkeypatch):
    monkeypatch.setattr(lock, "installed_versions", lambda: {"numpy": "0.9"})
    uv.answer += f"torch==2.0{HASH}other==1 ; sys_platform == 'nowhere'{HASH}"
    assert lock.write(project / "pyproject.toml", project / "lock.txt", []) == [
        "numpy: locked 1.0, here 0.9",
        "torch: locked 2.0, here not installed",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "numpy==1.0\n"}, "no hash is known of numpy"),
        ({"status": 1, "says": "no solution"}, "no solution"),
        ({"extras": ["bok"]}, "has no extra bok; there are book, test"),
    ],
)
def test_a_lock_that_can_not_be_written_leaves_the_old_one(project, uv, change, said):
    path = project / "lock.txt"
    path.write_text("as it was")
    extras = change.pop("extras", ["book"])
    vars(uv).update(change)
    with pytest.raises(lock.LockError, match=said):
        lock.write(project / "pyproject.toml", path, extras)
    assert path.read_text() == "as it was" and sorted(entry.name for entry in project.iterdir()) == [
        "lock.txt",
        "pyproject.toml",
    ]


def test_a_build_of_another_device_is_the_same_version(monkeypatch):
    packages = [
        SimpleNamespace(metadata={"Name": name}, version=number)
        for name, number in (("Torch", "2.1+cpu"), ("rrg_book", "1"))
    ]
    monkeypatch.setattr(lock, "distributions", lambda: packages)
    assert lock.installed_versions() == {"torch": "2.1"}
    assert lock.differences([Locked("torch", "2.1", "", ())], lock.installed_versions()) == []
