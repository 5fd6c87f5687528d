"""Forty sampled studies and a tiny system trained on them, once a module that asks."""

from __future__ import annotations

import pytest
from small_runs import tiny

from rrg_lib.data.prepare import prepare
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.run import Run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def studies(home):
    return prepare("phantom", count=40, out=home / "phantom", workers=1, progress=False)


@pytest.fixture
def in_this_home(home, studies, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(home))
    monkeypatch.setattr(run_module, "prepared", lambda *a, **k: studies)


@pytest.fixture(scope="module")
def trained(home, studies):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRG_HOME", str(home))
        patch.setattr(run_module, "prepared", lambda *a, **k: studies)
        run = Run.of(tiny(), progress=False)
        run.train()
        yield run
