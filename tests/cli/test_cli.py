"""The command line as a newcomer meets it: help, and errors that name the mistake, print no traceback and exit with
2."""

from __future__ import annotations

import re

import pytest
from command_line import rrg
from places import ROOT

from rrg_lib import cli


@pytest.mark.parametrize(
    "command", sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)
)
def test_every_command_explains_itself(monkeypatch, capsys, command):
    code, out, _ = rrg(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert "Usage" in out


@pytest.mark.parametrize("command", ["list", "plan", "run", "report"])
def test_every_command_of_a_study_explains_itself(monkeypatch, capsys, command):
    code, out, _ = rrg(monkeypatch, capsys, "study", command, "--help")
    assert code == 0
    assert "Usage" in out


def test_a_plan_is_listed_without_a_clock(monkeypatch, capsys, tmp_path):
    """`--dry-run` names every run, those of one training in one line, and times nothing."""
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    mine = tmp_path / "mine.toml"  # the project's own under another name, of which there are no results
    mine.write_text((ROOT / "data" / "studies" / "where.toml").read_text(encoding="utf-8"), encoding="utf-8")
    code, out, _ = rrg(monkeypatch, capsys, "study", "plan", str(mine), "--dry-run")
    assert code == 0
    assert "reports-cmn-seed1, reports-cmn_lesion_image-seed1" in out
    assert "hours" not in out and not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "iu_phantom/cmm"), "unknown preset 'cmm'; nearest:"),
        (("train", "iu_phantom/cmn", "--profile", "laptob"), "unknown profile 'laptob'; nearest: laptop"),
        (("prepare", "iu_fantom"), "iu_fantom"),
        (("prepare", "iu_xray", "--data-root", "/nowhere/at/all"), "/nowhere/at/all"),
        (("prepare", "iu_phantom", "--layout", "kaggle"), "layout is 'kaggle'.*draws its pictures"),
        (("prepare", "phantom", "--max-rejected", "2"), "max_rejected is 2.0; expected a share"),
        (("doctor", "/nowhere/at/all"), "/nowhere/at/all: looked for annotation.json"),
        (("pretrain", "--profile", "big"), "unknown profile 'big'"),
        (("study", "plan", "feature"), "unknown study 'feature'; nearest: features"),
        (("study", "run", "nothing.toml"), "nothing.toml is not there"),
        (("generate", "iu_phantom/cmn"), "--study ID, or --image FILE"),
        (("evaluate", "iu_phantom/cmn"), "has not been trained.*rrg train iu_phantom/cmn"),
        (
            ("evaluate", "iu_phantom/cmn", "--seed", "3", "--set", "training.epochs=1", "--run", "/nowhere/run"),
            "rrg train iu_phantom/cmn --profile ci --seed 3 --set training.epochs=1 --run /nowhere/run",
        ),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_2(monkeypatch, capsys, tmp_path, arguments, says):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    code, _, err = rrg(monkeypatch, capsys, *arguments)
    assert code == 2
    assert err.startswith("rrg: ")
    assert "Traceback" not in err
    assert re.search(says, err, re.DOTALL), err
