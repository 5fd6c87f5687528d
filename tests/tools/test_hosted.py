"""The files for places where others run the book: hosted checks, Binder, a dev container, Colab. They were not run
there; what they call exists here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib

import pytest
import yaml
from places import ROOT

from rrg_lib import cli

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = [ROOT / ".binder" / "postBuild", ROOT / "colab" / "setup.sh", ROOT / ".ci" / "run"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE))
SETTINGS = set(re.findall(r"^([A-Z_]+) +\?=", MAKEFILE, re.MULTILINE))
COMMANDS = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def workflow() -> dict:
    (only,) = WORKFLOWS
    return yaml.safe_load(only.read_text(encoding="utf-8"))


def container() -> dict:
    return json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def steps() -> list[dict]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def lines() -> list[tuple[str, str]]:
    """Every command that these files run: (file, line), comments left out."""
    found = [
        (path.name, line)
        for path in SCRIPTS
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.lstrip().startswith("#")
    ]
    found += [("workflow", step["run"]) for step in steps() if "run" in step]
    return [*found, ("devcontainer", container()["postCreateCommand"])]


def test_what_make_is_asked_for_are_targets_and_settings_it_has():
    calls = [(where, line) for where, line in lines() if re.search(r"\bmake [a-z]", line) and "echo" not in line]
    assert {where for where, _ in calls} >= {"postBuild", "setup.sh", "run", "devcontainer"}
    for where, line in calls:
        words = re.search(r"\bmake (.+)", line)[1].split()
        assert {word for word in words if re.fullmatch(r"[a-z-]+", word)} <= TARGETS, (where, line)
        assert {word.partition("=")[0] for word in words if re.match(r"[A-Z_]+=", word)} <= SETTINGS, (where, line)
        assert not re.search(r"EDITION=(?!locked|newest)", line), (where, line)


def test_the_commands_of_rrg_and_the_scripts_that_are_called_exist():
    for where, line in lines():
        assert all(name in COMMANDS for name in re.findall(r"\brrg ([a-z]+)", line)), (where, line)
    assert next(step["run"] for step in steps() if "run" in step) == ".ci/run"
    (extras,) = re.findall(
        r'pip install --quiet "\.\[(.+)\]"', (ROOT / "colab" / "setup.sh").read_text(encoding="utf-8")
    )
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_stop_at_the_first_error_and_can_be_parsed(path):
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")
    checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_every_change_gets_the_locked_edition_and_every_week_the_newest_versions():
    about = workflow()
    events = about[True]  # YAML reads the key `on` so
    assert {"push", "pull_request", "schedule"} <= events.keys()
    (schedule,) = events["schedule"]
    minute, hour, day, month, weekday = schedule["cron"].split()
    assert (day, month) == ("*", "*") and minute.isdigit() and hour.isdigit() and weekday in set("0123456"), (
        "once a week"
    )
    (step,) = (step for step in steps() if step.get("run") == ".ci/run")
    chosen = re.fullmatch(r"\$\{\{ \((.+)\) && 'newest' \|\| 'locked' \}\}", step["env"]["EDITION"])[1]
    assert set(re.findall(r"github\.event_name == '(\w+)'", chosen)) == {"schedule", "workflow_dispatch"}
    (setup,) = (step for step in steps() if "setup-python" in step.get("uses", ""))
    assert all((ROOT / name).is_file() for name in setup["with"]["cache-dependency-path"].split())


def test_hosted_checks_can_write_nothing_and_need_no_secret():
    assert workflow()["permissions"] == {"contents": "read"}
    assert "secrets." not in WORKFLOWS[0].read_text(encoding="utf-8")


def test_each_place_has_a_python_that_the_project_and_the_lock_are_for():
    (setup,) = (step for step in steps() if "setup-python" in step.get("uses", ""))
    binder = (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")
    image, _, tag = container()["image"].partition(":")
    assert image == "python" and {setup["with"]["python-version"], binder, tag} == {
        PROJECT["requires-python"].removeprefix(">=")
    }


def test_binder_uses_the_environment_its_server_runs_in_and_gets_make():
    assert "make" in (ROOT / ".binder" / "apt.txt").read_text(encoding="utf-8").split()
    post = (ROOT / ".binder" / "postBuild").read_text(encoding="utf-8")
    assert 'VENV="$NB_PYTHON_PREFIX"' in post and "EDITION=locked" in post
    refused = subprocess.run(
        ["bash", str(ROOT / ".binder" / "postBuild")], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert refused.returncode != 0 and "NB_PYTHON_PREFIX" in refused.stderr, (
        "elsewhere it must not install into whatever is there"
    )
