"""How long whole runs take, before any is begun: the budget of the training (`rrg_lib.performance.budget`) and the
searches that follow it, on the GPUs of the data sheets and on this processor."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median

import torch

from rrg_lib.errors import UnknownNameError
from rrg_lib.experiments.presets import Experiment
from rrg_lib.performance.budget import EFFICIENCY, GPU, GPUS, Budget, Cost, budget, workloads
from rrg_lib.runtime.worker_pool import cpus

#: The matrices whose product tells what this processor does, and how often they are multiplied.
_SIDE, _TIMES = 1024, 5


def processor_sheet() -> GPU:
    """This processor as a data sheet: its peak is what a product of matrices reaches on one core, by the processor time
    that it takes, times its cores; what else the machine does meanwhile does not count."""
    a, threads, seconds = torch.ones(_SIDE, _SIDE), torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(_TIMES):
            started = time.process_time()
            a @ a
            seconds.append(time.process_time() - started)
    finally:
        torch.set_num_threads(threads)
    reached = cpus() * 2 * _SIDE**3 / median(seconds) / 1e12
    return GPU("this processor", reached, reached, reached, 0.0)


def run_hours(
    experiment: Experiment, *, ways: int, searches: int, machines: Iterable[GPU] = GPUS.values()
) -> dict[str, float]:
    """Hours of one run by machine: its training with all epochs, `ways` searches of the validation studies (tuning) and
    `searches` of the test studies, each bounded by its arithmetic or its launches, at the efficiency that `budget`
    states. Raises `UnknownNameError` for a dataset whose sizes are not known."""
    known = workloads()
    if experiment.dataset not in known:
        raise UnknownNameError("workload", experiment.dataset, known)
    on = known[experiment.dataset]
    epochs = f"training.epochs={experiment.training.epochs}"
    counted = budget(experiment.preset, on, profile=experiment.profile, overrides=[epochs])
    return {gpu.name: _hours(counted, ways * on.val / on.test + searches, gpu) for gpu in machines}


def _hours(counted: Budget, written: float, gpu: GPU) -> float:
    """Training, validation and the test reports as often as they are written; a processor launches nothing."""
    launch = {"launch": 0.0} if gpu.memory == 0.0 else {}
    parts: tuple[Cost, ...] = (counted.training, counted.validation, counted.test * written)
    return sum(part.hours(gpu, **launch) for part in parts)


def hours_basis() -> str:
    """What the hours rest on, in words."""
    return f"float32, at {EFFICIENCY:.0%} of the peak, which is stated and not measured; reading images is not counted"
