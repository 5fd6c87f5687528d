"""Shared by all tests: quiet threads and the golden files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent / "golden"


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
        patch.setattr("rrg_lib.evaluation.remembered.workspace", lambda: home)
        yield


class GoldenFolder:
    """Numbers of one released model: `tensors(name)` of NAME.safetensors, `meta` of meta.json."""

    def __init__(self, name: str):
        self.folder = GOLDEN / name
        self.meta = json.loads((self.folder / "meta.json").read_text())

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{name}.safetensors")


@pytest.fixture(scope="session")
def r2gencmn() -> GoldenFolder:
    return GoldenFolder("r2gencmn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, by its own word (`@pytest.mark.slow(minutes=4)`): else one worker would end long after the other."""
    items.sort(key=lambda item: -max((mark.kwargs.get("minutes", 0) for mark in item.iter_markers("slow")), default=0))
