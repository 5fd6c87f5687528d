"""Writes locks/book.txt: the one version of every package that this edition of the book was made with, and the hashes
of its files.

python tools/lock.py book test pretrained bert        # the extras; `make lock` names those that it installs

The versions are those of the environment this runs in: the one whose `make test` has just passed. uv finds what other
systems and Pythons need beside them, and the hashes of every file. Newer versions: a new environment (`make install
VENV=…`), `make test`, then `make lock` there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from rrg_lib.book.edition import LOCK, PACKAGE, Locked, normalised, read_lock
from rrg_lib.runtime.workspace import written_whole

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Edition {edition}: the versions its notebooks were made with. Written by `make lock`;
# installed by `make install EDITION=locked`.
# Extras: {extras}; and what builds the package itself.
"""


class LockError(Exception):
    """No lock could be written. The message says why and what to do."""


def installed_versions() -> dict[str, str]:
    """Every package of this environment but our own, by normalised name; a build's local part (2.14.1+cpu) left out, as
    no lock can name it."""
    found = {normalised(one.metadata["Name"]): one.version.partition("+")[0] for one in distributions()}
    return {name: number for name, number in sorted(found.items()) if name != PACKAGE}


def compiled(project: Path, extras: list[str], preferred: dict[str, str]) -> str:
    """What uv finds: requirements with hashes, for every system and every Python that the project allows, of the
    preferred versions where they fit."""
    about = tomllib.loads(project.read_text(encoding="utf-8"))
    if unknown := sorted(set(extras) - about["project"]["optional-dependencies"].keys()):
        raise LockError(
            f"{project}: has no extra {', '.join(unknown)}; there are "
            f"{', '.join(about['project']['optional-dependencies'])}"
        )
    try:
        from uv import find_uv_bin
    except ImportError:
        raise LockError("uv, which finds the versions, is not installed; `make lock` installs it") from None
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "lock.txt"  # uv keeps the versions of a lock that is there already
        out.write_text("".join(f"{name}=={number}\n" for name, number in preferred.items()), encoding="utf-8")
        command = [
            find_uv_bin(),
            "pip",
            "compile",
            str(project),
            "-",
            *(part for extra in extras for part in ("--extra", extra)),
        ]
        oldest = about["project"]["requires-python"].removeprefix(">=")
        command += [
            "--universal",
            "--python-version",
            oldest,
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            "--output-file",
            str(out),
            "--quiet",
        ]
        done = subprocess.run(
            command,
            input="\n".join(about["build-system"]["requires"]),
            text=True,
            capture_output=True,
            cwd=project.parent,
        )
        if done.returncode:
            raise LockError(
                f"uv found no versions that go together:\n{done.stderr.strip()}\nChange the ranges in {project}, or "
                f"the environment"
            )
        return HEADER.format(edition=about["project"]["version"], extras=", ".join(extras)) + out.read_text(
            encoding="utf-8"
        )


def differences(entries: list[Locked], preferred: dict[str, str]) -> list[str]:
    """Where a lock and the environment it was made in do not agree, in words: another version, or a package that is not
    installed."""
    return [
        f"{entry.name}: locked {entry.version}, here {preferred.get(entry.name, 'not installed')}"
        for entry in entries
        if entry.applies and preferred.get(entry.name) != entry.version
    ]


def write(project: Path, path: Path, extras: list[str]) -> list[str]:
    """Writes the lock, whole or not at all. Returns `differences`, of which a lock made in a tested environment has
    none."""
    preferred = installed_versions()
    text = compiled(project, extras, preferred)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        entries = read_lock(temporary)
        if bare := [entry.name for entry in entries if not entry.hashes]:
            raise LockError(f"no hash is known of {', '.join(bare)}; {path} stays as it was")
    return differences(entries, preferred)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="+", help="extras of pyproject.toml")
    given = parser.parse_args(argv)
    try:
        differ = write(ROOT / "pyproject.toml", LOCK, given.extras)
    except LockError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(read_lock())} packages in {LOCK.relative_to(ROOT)}")
    if differ:
        print("These are not the versions that are installed here, so they were not tested:", *differ, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
