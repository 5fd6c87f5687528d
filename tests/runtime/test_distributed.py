"""Two processes train, judge and write as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from distributed_toy import BATCH, STUDIES
from places import ROOT

from rrg_lib.errors import ConfigurationError
from rrg_lib.runtime.checkpoint import load_tensors
from rrg_lib.runtime.distributed import (
    Share,
    collected,
    gathered,
    one_after_another,
    summed,
    this_process,
    wait_for_all,
)

PROGRAM = ROOT / "tests" / "distributed_toy.py"
STEPS = -(-STUDIES // BATCH)  # an epoch


def launch(processes: int, folder: Path, system: str, epochs: int, *flags: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        str(processes),
        str(PROGRAM),
    ]
    environment = {
        **os.environ,
        "RRG_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(PROGRAM.parent), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(
        [*command, str(folder), system, str(epochs), *flags],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


def trained(processes: int, folder: Path, system: str, epochs: int) -> dict:
    done = launch(processes, folder, system, epochs)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "found.json").read_text())
    assert found["processes"] == processes
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 5, 8])
def test_shares_are_everything_once_in_order_and_even(count, size):
    parts = [list(range(size))[Share(rank, count).of(size)] for rank in range(count)]
    assert [i for part in parts for i in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_processes_than_studies_in_a_batch_are_refused():
    Share(0, 4).check(4)
    with pytest.raises(
        ConfigurationError, match=r"5 processes share a batch of 4 studies: some would have none\. Start at most 4"
    ):
        Share(0, 5).check(4)


def test_alone_everything_is_what_it_was():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gathered(rows) is rows
    assert torch.equal(summed(rows), rows) and not summed(rows).requires_grad
    assert collected({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(("device", "named"), [("cpu", None), ("cuda:1", [1])])
def test_processes_on_processors_wait_for_each_other_without_naming_a_gpu(monkeypatch, device, named):
    """A machine with one GPU and two processes on its processors: the second has no GPU to name."""
    waited = []
    monkeypatch.setattr("rrg_lib.runtime.distributed._many", lambda: True)
    monkeypatch.setattr("rrg_lib.runtime.distributed.this_device", lambda: torch.device(device))
    monkeypatch.setattr("torch.distributed.barrier", lambda device_ids: waited.append(device_ids))
    wait_for_all()
    assert waited == [named]


def test_the_first_process_makes_while_the_others_wait(monkeypatch):
    for rank, order in ((0, ["made", "waited"]), (1, ["waited", "made"])):
        happened = []
        monkeypatch.setattr("rrg_lib.runtime.distributed.this_process", lambda rank=rank: Share(rank, 2))
        monkeypatch.setattr(
            "rrg_lib.runtime.distributed.wait_for_all", lambda happened=happened: happened.append("waited")
        )
        with one_after_another():
            happened.append("made")
        assert happened == order


def test_the_others_wait_as_long_as_a_collection_takes_to_prepare(monkeypatch):
    """Hours, where NCCL gives up after 10 minutes and gloo after 30."""

    class Engine:
        process_index, num_processes = 1, 2

        def __init__(self, cpu: bool, **options):
            given.update(options)

    given = {}
    monkeypatch.setattr("accelerate.PartialState", Engine)
    assert this_process() == Share(1, 2)
    assert given["timeout"] >= timedelta(hours=12)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["cmn", "xpronet", "mcsam", "pair"])
def test_two_processes_have_the_curve_of_one(tmp_path, system):
    """Without dropout: the same loss at each of 50 steps to 1e-5, whole-batch losses and a last batch of one study
    included, and the same reports."""
    one, two = (trained(n, tmp_path / str(n), system, 10) for n in (1, 2))
    assert len(one["losses"]) == len(two["losses"]) == 10 * STEPS == 50
    assert max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True)) < 1e-5
    assert max(abs(a - b) for a, b in zip(one["history"], two["history"], strict=True)) < 1e-5
    assert one["losses"][-1] < 0.9 * one["losses"][0]
    assert list(two["reports"].items()) == list(one["reports"].items())
    assert len(one["reports"]) == STUDIES


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, first, then):
    whole = trained(1, tmp_path / "whole", "cmn", 6)
    trained(first, tmp_path / "moved", "cmn", 3)
    moved = trained(then, tmp_path / "moved", "cmn", 6)
    assert len(moved["losses"]) == 3 * STEPS
    assert max(abs(a - b) for a, b in zip(moved["losses"], whole["losses"][3 * STEPS :], strict=True)) < 1e-5
    weights, _ = load_tensors(tmp_path / "moved" / "last.safetensors")
    for name, tensor in load_tensors(tmp_path / "whole" / "last.safetensors")[0].items():
        if name.startswith("model."):
            torch.testing.assert_close(weights[name], tensor, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_job_says_so(tmp_path):
    done = launch(2, tmp_path / "dead", "cmn", 3, "--die")
    assert done.returncode != 0
    assert "exitcode  : 7" in done.stderr
