"""The files of `cluster/`: the job script's launch line, its way back into the queue, what accelerate makes of the
settings, and sharding at the named layers.

SLURM's commands are stand-ins on PATH that write down how they were called. Also a program for `torchrun`, which
compares a sharded step with a whole one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.commands import launch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from places import ROOT
from toy import CONFIG, MEMORY, ToyDataset

from rrg_lib.models import transformer
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.report_loss import report_loss

SCRIPT, CONFIGS = ROOT / "cluster" / "slurm.sh", sorted((ROOT / "cluster").glob("*.yaml"))
#: What SLURM tells a job of two nodes with four GPUs each.
JOB = {
    "SLURM_JOB_ID": "70042",
    "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_CPUS_PER_TASK": "16",
}
SRUN = 'printf "%s\\n" "$@" >"$CALLS/srun"; echo "$OMP_NUM_THREADS" >"$CALLS/threads"; exit "${SRUN_EXIT:-0}"'
#: More nodes than a pipe holds: a script that reads the first and hangs up would end with the writer's broken pipe.
SCONTROL = 'echo "$@" >>"$CALLS/scontrol"; if [ "$1" = show ]; then seq -f node%g 7 20000; fi'


@pytest.fixture
def job(tmp_path):
    """Starts the script with stand-ins of these texts; `.calls` has what they wrote down."""

    def start(*arguments: str, srun: str = SRUN, without: tuple[str, ...] = (), **environment: str) -> subprocess.Popen:
        commands = {"srun": srun, "scontrol": SCONTROL, "rrg": "exit 0"}
        for name, text in commands.items():
            if name not in without:
                path = tmp_path / "bin" / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
                path.chmod(0o755)
        given = {**JOB, "CALLS": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", **environment}
        given = {name: value for name, value in given.items() if name not in without}
        start.calls = tmp_path
        return subprocess.Popen(
            [str(SCRIPT), *arguments], env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def test_the_script_is_bash_and_may_be_executed():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True).returncode == 0
    assert SCRIPT.stat().st_mode & 0o111
    assert "was never run on a SLURM cluster" in SCRIPT.read_text(encoding="utf-8").replace("\n# ", " ")


def test_the_launch_line_starts_a_process_for_each_gpu_of_each_node(job, tmp_path):
    process = job("iu_xray/cmn", "--profile", "gpu", "--data-root", "a folder")
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 0, complaint
    launched = (tmp_path / "srun").read_text(encoding="utf-8").splitlines()
    assert launched == [
        *("--kill-on-bad-exit=1", "torchrun", "--nnodes", "2", "--nproc_per_node", "4"),
        *("--rdzv_id", "70042", "--rdzv_backend", "c10d", "--rdzv_endpoint", "node7:30042"),
        *("--", str(tmp_path / "bin" / "rrg"), "train", "iu_xray/cmn", "--profile", "gpu", "--data-root", "a folder"),
    ]
    assert (tmp_path / "scontrol").read_text(encoding="utf-8") == "show hostnames node[7-8]\n"
    assert (tmp_path / "threads").read_text(encoding="utf-8") == "4\n"


def test_a_training_that_fails_is_a_job_that_fails(job):
    process = job("iu_xray/cmn", SRUN_EXIT="7")
    process.communicate(timeout=30)
    assert process.returncode == 7


def test_before_its_time_is_up_the_job_goes_back_into_the_queue_and_waits_for_its_end(job, tmp_path):
    """The signal ends bash's waiting, not the training: the script must not leave before SLURM has stopped that."""
    process = job("iu_xray/cmn", srun='echo $$ >"$CALLS/running"; trap "exit 3" TERM; while :; do sleep 0.05; done')
    waited = time.monotonic() + 20
    while not (tmp_path / "running").exists() or not (tmp_path / "running").read_text(encoding="utf-8").strip():
        assert time.monotonic() < waited, "srun was not started"
        time.sleep(0.02)
    training = int((tmp_path / "running").read_text(encoding="utf-8"))
    process.send_signal(signal.SIGUSR1)
    while "requeue" not in (tmp_path / "scontrol").read_text(encoding="utf-8"):
        assert time.monotonic() < waited, "it did not ask for the queue"
        time.sleep(0.02)
    time.sleep(0.2)
    still = process.poll() is None
    os.kill(training, signal.SIGTERM)  # as SLURM does after a requeue
    said, complaint = process.communicate(timeout=30)
    assert still, "the script left its training alone"
    assert (tmp_path / "scontrol").read_text(encoding="utf-8").splitlines()[1:] == ["requeue 70042"]
    assert process.returncode == 3 and "goes on later from its last checkpoint" in said, complaint


@pytest.mark.parametrize(
    ("arguments", "without", "says"),
    [
        (("iu_xray/cmn",), ("SLURM_JOB_ID",), "start it with: sbatch cluster/slurm.sh"),
        ((), (), "say what to train"),
        (("iu_xray/cmn",), ("SLURM_GPUS_ON_NODE",), "no GPU was asked for"),
        (("iu_xray/cmn",), ("rrg",), "rrg is not on PATH"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(job, tmp_path, arguments, without, says):
    process = job(*arguments, without=without)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode != 0 and says in complaint
    assert not (tmp_path / "srun").exists()


@pytest.mark.slow
def test_the_launch_line_is_one_that_torchrun_understands(job, tmp_path):
    """The stand-in for srun runs what it was given, on this machine: torchrun starts rrg, and rrg gets its options
    (`--run` is one of both)."""
    environment = {"PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin", "RRG_DEVICE": "cpu"}
    here = {"SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "1"}
    srun = 'shift; arguments=("$@"); exec "${arguments[@]/#node7:/localhost:}"'
    process = job("iu_xray/cmm", "--run", "a_run", srun=srun, without=("rrg",), **environment, **here)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 1 and "rrg: unknown preset 'cmm'; nearest: mem, cmn" in complaint, complaint


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_the_settings(path):
    found = load_config_from_file(str(path))
    on_nodes = {"one_node": (1, 4), "two_nodes": (2, 8), "fsdp": (1, 4)}
    assert (found.num_machines, found.num_processes) == on_nodes[path.stem]
    assert not found.use_cpu
    assert str(found.distributed_type).split(".")[-1] == ("FSDP" if path.stem == "fsdp" else "MULTI_GPU")


def launched(monkeypatch, path: Path, *options: str) -> Namespace:
    """What `accelerate launch` with these settings hands to its launcher for several GPUs."""
    told = []
    monkeypatch.setattr(launch, "multi_gpu_launcher", told.append)
    words = ["--config_file", str(path), *options, "rrg", "train", "iu_xray/cmn", "--profile", "gpu"]
    launch.launch_command(launch.launch_command_parser().parse_args(words))
    assert told[0].training_script_args == words[-4:]
    return told[0]


def test_two_nodes_are_launched_as_their_comment_says(monkeypatch):
    args = launched(
        monkeypatch, ROOT / "cluster" / "two_nodes.yaml", "--main_process_ip", "node7", "--machine_rank", "1"
    )
    environment = prepare_multi_gpu_env(args)
    assert (args.num_machines, args.num_processes, args.machine_rank, args.main_process_ip) == (2, 8, 1, "node7")
    assert (args.nnodes, args.nproc_per_node, args.node_rank, args.rdzv_backend, args.rdzv_endpoint) == (
        "2",
        "4",
        1,
        "static",
        "node7:29500",
    )
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"


@pytest.mark.slow
def test_two_launchers_with_the_two_node_settings_train_as_one(tmp_path):
    """Two launchers on this machine in place of two nodes, on processors: one training of two processes comes of it."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    settings = [
        "--config_file",
        str(ROOT / "cluster" / "two_nodes.yaml"),
        "--num_processes",
        "2",
        "--main_process_port",
        port,
    ]
    program = [str(ROOT / "tests" / "distributed_toy.py"), str(tmp_path), "cmn", "1"]
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        *settings,
        "--main_process_ip",
        "localhost",
        "--machine_rank",
    ]
    environment = {**os.environ, "RRG_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen([*command, rank, *program], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    complaints = [node.communicate(timeout=200)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(complaints)
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["processes"] == 2


def test_the_sharded_settings_reach_accelerates_plugin(monkeypatch):
    """Through the environment of the launched processes: a key with a slip would leave the plugin its default."""
    for name, value in prepare_multi_gpu_env(launched(monkeypatch, ROOT / "cluster" / "fsdp.yaml")).items():
        monkeypatch.setenv(name, value)
    assert os.environ["ACCELERATE_USE_FSDP"] == "true" and os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward, plugin.transformer_cls_names_to_wrap) == (
        2,
        True,
        sharded_classes(),
    )
    assert plugin.state_dict_type.name == "SHARDED_STATE_DICT" and not plugin.activation_checkpointing


def sharded_classes() -> list[str]:
    return (
        load_config_from_file(str(ROOT / "cluster" / "fsdp.yaml"))
        .fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
        .split(",")
    )


def test_the_sharded_classes_are_all_layers_of_a_generator():
    generator = ReportGenerator(replace(CONFIG, layers=2), MEMORY)
    for name in sharded_classes():
        assert sum(type(module) is getattr(transformer, name) for module in generator.modules()) == 2, name


@pytest.mark.slow
def test_a_step_sharded_at_these_classes_has_the_gradients_of_a_whole_one(tmp_path):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
    }
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        __file__,
        str(tmp_path / "found.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["difference"] < 1e-6 and found["largest"] > 1e-3
    assert 0.45 < found["own"] / found["all"] < 0.55  # each process keeps half of the weights
    assert found["sharded"] == 3  # the encoder's layer, the decoder's layer, and the rest


def main(out: str) -> None:
    """One step of a whole and of a sharded generator; writes how far their gradients are apart."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    dist.init_process_group("gloo")
    data = ToyDataset().batches()
    batch = data.collate(data.indices[:8])

    def made() -> ReportGenerator:
        torch.manual_seed(0)
        return ReportGenerator(replace(CONFIG, dropout=0.0, feature_dropout=0.0), replace(MEMORY, dropout=0.0))

    whole, parted, mesh = made(), made(), init_device_mesh("cpu", (2,))
    for module in [module for module in parted.modules() if type(module).__name__ in sharded_classes()]:
        fully_shard(module, mesh=mesh)
    fully_shard(parted, mesh=mesh)
    for generator in (whole, parted):
        report_loss(generator(batch).logits, batch.tokens, batch.mask).backward()
    right = dict(whole.named_parameters())
    ours = {name: parameter.grad.full_tensor() for name, parameter in parted.named_parameters()}
    found = {
        "difference": max((gradient - right[name].grad).abs().max().item() for name, gradient in ours.items()),
        "largest": max(parameter.grad.abs().max().item() for parameter in right.values()),
        "own": sum(parameter.to_local().numel() for parameter in parted.parameters()),
        "all": sum(parameter.numel() for parameter in right.values()),
        "sharded": sum(isinstance(module, FSDPModule) for module in parted.modules()),
    }
    if dist.get_rank() == 0:
        Path(out).write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
