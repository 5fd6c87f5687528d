"""The command line as a user calls it, from a test."""

from __future__ import annotations

import sys

import pytest

from rrg_lib import cli


def rrg(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `rrg ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["rrg", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err
