"""Shared by all tests: quiet threads and the golden files."""

from __future__ import annotations

import os

import pytest
import torch
from places import GoldenFolder


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two test workers on two cores: a thread each, and sums in one order; also in the processes that a test starts."""
    threads = os.environ.get("OMP_NUM_THREADS") or "1"
    torch.set_num_threads(int(threads))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", threads)
        yield


@pytest.fixture(autouse=True, scope="session")
def _nothing_remembered(tmp_path_factory):
    """What an earlier state of the code computed must not answer for this one."""
    home = tmp_path_factory.mktemp("remembered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rrg_lib.runtime.cache.workspace", lambda: home)
        yield


@pytest.fixture(scope="session")
def r2gencmn() -> GoldenFolder:
    return GoldenFolder("r2gencmn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, by its own word (`@pytest.mark.slow(minutes=4)`): else one worker would end long
    after the other."""
    items.sort(key=lambda item: -max((mark.kwargs.get("minutes", 0) for mark in item.iter_markers("slow")), default=0))
