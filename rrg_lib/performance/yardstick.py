"""How fast this machine is, in one number: what an estimate made on another machine is scaled by."""

from __future__ import annotations

import time
from statistics import median

import torch

from rrg_lib.performance.sizes import find_size
from rrg_lib.performance.training_step import new_training_step

#: Steps to warm up, and steps that are timed.
_WARM, _STEPS = 5, 30


def yardstick() -> float:
    """Seconds of processor time of the small training step of BASE of `rrg bench`, one thread: the median of 30. A
    machine twice as fast has half of it; what else the machine does meanwhile does not count."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step, seconds = new_training_step(find_size("small"), None), []
        for _ in range(_WARM + _STEPS):
            started = time.process_time()
            step()
            seconds.append(time.process_time() - started)
        return median(seconds[_WARM:])
    finally:
        torch.set_num_threads(threads)
