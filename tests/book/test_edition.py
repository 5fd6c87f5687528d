"""The edition: which notebook goes with which library, and what a lock says."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import pytest
from places import ROOT

from rrg_lib.book import edition
from rrg_lib.errors import EditionError

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("asked", ["0.1", "0.1.4", "0"])
def test_a_notebook_of_this_edition_goes_on_in_silence(monkeypatch, capsys, asked):
    monkeypatch.setattr(edition, "version", lambda name: "0.1.4")
    assert edition.require(asked) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ("0.2", "`git pull` and `make install`"),
        ("1.0", "restart the kernel"),
        ("0.1.5", "newer"),
        ("0.0.9", "`make release`"),
        ("0.1.3", "older"),
    ],
)
def test_another_edition_is_an_error_that_names_both_and_the_command(monkeypatch, asked, remedy):
    monkeypatch.setattr(edition, "version", lambda name: "0.1.4")
    with pytest.raises(EditionError, match=re.escape(remedy)) as raised:
        edition.require(asked)
    assert f"notebook is of edition {asked} of the book" in str(raised.value) and "rrg_lib of edition 0.1.4;" in str(
        raised.value
    )


def test_ten_is_more_than_nine(monkeypatch):
    monkeypatch.setattr(edition, "version", lambda name: "0.10.0")
    edition.require("0.10")
    with pytest.raises(EditionError, match="older"):
        edition.require("0.9")
    with pytest.raises(EditionError, match="older"):
        edition.require("0.1")


def test_what_is_no_edition_and_a_library_that_is_not_installed_are_named(monkeypatch):
    with pytest.raises(EditionError, match="'next' is no edition"):
        edition.require("next")

    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(edition, "version", nothing)
    with pytest.raises(EditionError, match=r"rrg-book is not installed.*make install"):
        edition.require("0.1")


def test_the_installed_edition_is_the_projects():
    assert edition.installed() == PROJECT["version"], "run: make install"


def test_every_chapter_requires_this_edition_before_it_imports_anything_else():
    asked = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py")):
        imports = re.findall(
            r"^(?:from \S+|import \w+|require\([^)]*\))", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert imports[0] == "from rrg_lib.book.edition", path.name
        asked[path.name] = imports[1]
    assert len(asked) >= 11
    assert set(asked.values()) == {f'require("{".".join(PROJECT["version"].split(".")[:2])}")'}, asked


# --- reading a lock ---------------------------------------------------------------------------------------------------

A, B = "a" * 64, "b" * 64
LOCK = f"""# Edition 9
Jinja2==3.1.6 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
    # via somebody
old-thing==1.0 ; python_full_version < '3.0' and sys_platform == 'linux' \\
    --hash=sha256:{A}
bare==2
"""


def test_a_lock_is_read_entry_by_entry(tmp_path):
    path = tmp_path / "lock.txt"
    path.write_text(LOCK)
    jinja, old, bare = edition.read_lock(path)
    assert (jinja.name, jinja.version, jinja.hashes, jinja.applies) == ("jinja2", "3.1.6", (A, B), True)
    assert (old.name, old.hashes, old.applies) == ("old-thing", (A,), False)
    assert (bare.version, bare.hashes) == ("2", ())


@pytest.mark.parametrize("line", ["numpy>=2", "numpy==2.*,<3 x", "--extra-index-url https://example.org", "-e ."])
def test_a_line_that_pins_no_version_is_named(tmp_path, line):
    path = tmp_path / "lock.txt"
    path.write_text(LOCK + line + "\n")
    with pytest.raises(EditionError, match=rf"lock\.txt: '{re.escape(line)}' does not pin .* make lock"):
        edition.read_lock(path)
