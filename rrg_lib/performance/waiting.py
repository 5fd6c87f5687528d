"""What it costs when threads spin while they wait, on a quiet machine and on a busy one: `rrg bench waiting`.

How threads wait is decided when PyTorch is loaded, so each case has a process of its own (`serve`). It trains a small
BASE for some steps whenever it is told to; for the busy rounds as many processes that do nothing but count run beside
it as there are cores, and end with the round. All four cases take turns, so that what else the machine does meanwhile
is the same for all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from rrg_lib.errors import ConfigurationError, RRGError
from rrg_lib.performance.harness import Case, Group
from rrg_lib.performance.sizes import SIZES, Size, Work
from rrg_lib.performance.training_step import new_training_step
from rrg_lib.runtime.threads import POLICY, SPINNING
from rrg_lib.runtime.worker_pool import cpus

#: PyTorch is loaded first: what the library says about waiting then comes too late, and the environment alone decides.
_SERVING = "import sys, torch; from rrg_lib.performance.waiting import serve; serve(*map(int, sys.argv[1:]))"
_COUNTING = "while True: pass"
#: Steps of training that are timed together: a step takes milliseconds.
STEPS = 5
#: BASE as the profile `ci` has it.
CI = Size(d_model=128, d_ff=256, layers=1, heads=4, d_vf=256)


def waiting(size: Size) -> Group:
    """Training steps of a small BASE with threads that sleep (`passive`) and threads that wait as they do by default,
    alone and beside `cpus()` busy processes. Building a case raises `ConfigurationError` for a single thread, which has
    nobody to wait for."""
    threads = torch.get_num_threads()
    tiny = int(size == SIZES["small"])
    cases = [
        Case(f"{how}, {'busy' if busy else 'quiet'}", lambda how=how, busy=busy: _steps(how, busy, threads, tiny))
        for busy in (False, True)
        for how in ("passive", "default")
    ]
    return Group(
        "waiting",
        f"{1 if tiny else STEPS} training steps of a small BASE, {threads} threads, {cpus()} busy processes beside "
        f"them",
        tuple(cases),
        cases[0].name,
    )


def _steps(how: str, busy: bool, threads: int, tiny: int) -> Work:
    if threads < 2:
        raise ConfigurationError(
            "one thread has no other to wait for: measure with --threads 2 or more, and without OMP_NUM_THREADS=1"
        )
    trainer = _Trainer(how, threads, tiny)

    def work() -> None:
        with _load(cpus()) if busy else nullcontext():
            trainer.steps()

    return work


class _Trainer:
    """A process that trains when told to, its threads waiting as `how` says; it ends with this object."""

    def __init__(self, how: str, threads: int, tiny: int):
        environment = {name: value for name, value in os.environ.items() if name not in SPINNING}
        environment |= {
            "OMP_NUM_THREADS": str(threads),
            "RRG_DEVICE": "cpu",
            **({POLICY: how} if how == "passive" else {}),
        }
        command = [sys.executable, "-c", _SERVING, str(threads), str(tiny)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        weakref.finalize(self, _end, self.process)
        self._wait()  # until it is ready

    def steps(self) -> None:
        print("go", file=self.process.stdin, flush=True)
        self._wait()

    def _wait(self) -> None:
        if self.process.stdout.readline().strip() != "done":
            self.process.stdin.close()
            raise RRGError(f"the process that trains ended with {self.process.wait()}; what it said stands above")


def _end(process: subprocess.Popen) -> None:
    process.stdin.close()  # a process that hears no more ends by itself
    process.wait()
    process.stdout.close()


@contextmanager
def _load(count: int) -> Iterator[None]:
    """So many processes that take all the time they get; none of them outlives the block."""
    counting = [
        subprocess.Popen([sys.executable, "-S", "-c", _COUNTING], stdin=subprocess.DEVNULL) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in counting:
            process.kill()
        for process in counting:
            process.wait()


def serve(threads: int, tiny: int) -> None:
    """Train `STEPS` steps (of a `tiny` model one) for every line that is read, and say when they are done; ends with
    its input."""
    torch.set_num_threads(threads)
    step = new_training_step(SIZES["small"] if tiny else CI, None)
    step()
    print("done", flush=True)
    for _ in sys.stdin:
        for _ in range(1 if tiny else STEPS):
            step()
        print("done", flush=True)
