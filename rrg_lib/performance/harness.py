"""Timing cases beside each other: rounds in turn, medians of ratios, peak memory in a process of its own.

Seconds of one machine on one day carry nowhere, and a busy machine changes them by half. So every case of a group runs
once a round, its time is divided by that of the group's reference *in the same round*, and the median over the rounds
is what counts.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rrg_lib.errors import ConfigurationError, RRGError
from rrg_lib.runtime.device import device_name, synchronize, this_device
from rrg_lib.runtime.markdown import markdown_table

#: Rounds that are thrown away on a GPU, which chooses kernels and sets memory aside in its first ones: on an H100 the
#: first took four times the second.
WARMING = 2
#: Seconds from which one round of a case that runs once must do.
LONG = 5.0
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Case:
    """`build` makes everything that is not to be timed and gives the work that is. `once`: it may take minutes; it is
    not warmed up, and where it does, one round must do. `flops` of one run, where they are known: then the share of the
    machine's peak is told."""

    name: str
    build: Callable[[], Callable[[], object]]
    once: bool = False
    flops: Callable[[], float] | None = None


@dataclass(frozen=True)
class Group:
    """Cases that belong beside each other; `reference` names the one that is 1."""

    name: str
    title: str
    cases: tuple[Case, ...]
    reference: str

    def case(self, name: str) -> Case:
        by_name = {case.name: case for case in self.cases}
        if name not in by_name:
            raise ConfigurationError(f"the group {self.name} has no case {name!r}; it has {', '.join(by_name)}")
        return by_name[name]


@dataclass(frozen=True)
class Timing:
    """One case: median `seconds`, median `ratio` to the group's reference, the rounds' times, `peak_mib` that the work
    added to the process, and `of_peak`, achieved FLOP/s over the machine's matrix-multiply peak measured in the same
    run (None where not counted)."""

    case: str
    seconds: float
    ratio: float
    rounds: list[float]
    peak_mib: float | None = None
    of_peak: float | None = None


@dataclass(frozen=True)
class BenchmarkResult:
    """A group's measurements with what they were made on."""

    group: str
    title: str
    reference: str
    rows: list[Timing]
    machine: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def markdown(self) -> str:
        header = ["case", "median", f"× {self.reference}", "peak memory", "of the matmul peak"]
        cells = [
            [
                r.case,
                _time(r.seconds),
                f"{r.ratio:.2f}",
                _size(r.peak_mib),
                "–" if r.of_peak is None else f"{r.of_peak:.0%}",
            ]
            for r in self.rows
        ]
        return f"**{self.title}**\n\n" + "\n".join(markdown_table(header, cells))


def measure(
    group: Group,
    *,
    repeats: int = 5,
    peak: Callable[[str, str], float | None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[str], None] = lambda text: None,
) -> BenchmarkResult:
    """Run the cases of a group in turn, `repeats` rounds after one to warm up; on a GPU after `WARMING` more.

    A case that runs `once` is timed in the first round alone where that takes more than `LONG` seconds. `peak` gives
    the memory of a case by group and case name. Raises `ConfigurationError` for fewer than one round or a reference
    that is no case or runs once.
    """
    if repeats < 1:
        raise ConfigurationError(f"repeats is {repeats}: at least one round is needed")
    if group.case(group.reference).once:
        raise ConfigurationError(
            f"{group.reference} is the reference of {group.name} and runs once: every round needs it"
        )
    work: dict[str, Callable[[], object]] = {}
    for case in group.cases:
        progress(f"{group.name}: {case.name}")
        work[case.name] = case.build()
        if not case.once:
            work[case.name]()
            synchronize()
    times: dict[str, list[float]] = {case.name: [] for case in group.cases}
    for turn in range(-WARMING if this_device().type == "cuda" else 0, repeats):
        progress(f"{group.name}: round {turn + 1} of {repeats}" if turn >= 0 else f"{group.name}: warming up")
        for case in group.cases:
            if case.once and (turn < 0 or (turn > 0 and times[case.name][0] > LONG)):
                continue
            start = clock()
            work[case.name]()
            synchronize()
            took = clock() - start
            if turn >= 0:
                times[case.name].append(took)
    work.clear()
    best = matmul_peak() if any(case.flops for case in group.cases) else None
    rows = []
    for case in group.cases:
        seconds, reference = median(times[case.name]), times[group.reference]
        share = case.flops() / seconds / best if case.flops else None
        ratio = median(case_seconds / other for case_seconds, other in zip(times[case.name], reference, strict=False))
        rows.append(
            Timing(case.name, seconds, ratio, times[case.name], peak(group.name, case.name) if peak else None, share)
        )
    return BenchmarkResult(group.name, group.title, group.reference, rows, machine(best))


def machine(peak_flops: float | None = None) -> dict[str, Any]:
    """What the figures were measured on."""
    description: dict[str, Any] = {
        "device": device_name(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    return description if peak_flops is None else description | {"matmul_peak_gflops": round(peak_flops / 1e9, 1)}


def matmul_peak(size: int | None = None, repeats: int = 5, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of the best of some square matrix products: what this machine can do, now, with these threads; on a GPU
    without TF32."""
    device = this_device()
    size = size or (2048 if device.type == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = a @ b
    times = []
    for _ in range(repeats):
        synchronize()
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def added_memory(work: Callable[[], object]) -> float | None:
    """MiB that running `work` adds at its largest to this process, or on a GPU to its tensors; None where the system
    does not tell (Linux does)."""
    if this_device().type == "cuda":
        work()  # what a library sets aside once is not the work's
        synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        before = _status("VmRSS")
        _CLEAR.write_text("5", encoding="ascii")  # the high-water mark starts again from here
        work()
        return (_status("VmHWM") - before) / 1024
    except OSError:
        return None


def memory_in_a_process(group: str, case: str, *arguments: str) -> float | None:
    """`added_memory` of one case, in a process of its own, so that nothing another case left behind hides it. Raises
    `RRGError` when that dies."""
    command = [sys.executable, "-m", "rrg_lib.performance.peak", group, case, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed, out of memory?"])[-1]
        raise RRGError(f"measuring the memory of {case!r} ended with {done.returncode}: {last}")
    answer = done.stdout.strip().splitlines()[-1]
    return None if answer == "None" else float(answer)


def _status(name: str) -> float:
    (line,) = (line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(name + ":"))
    return float(line.split()[1])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def _size(mib: float | None) -> str:
    return "–" if mib is None else f"{mib:,.0f} MiB"


def benchmark_markdown(results: Sequence[BenchmarkResult]) -> str:
    """All groups, under one line that says what they were measured on."""
    if not results:
        return ""
    on = results[0].machine
    gpu = "" if on["device"] == "cpu" else f"{on['device']}; "
    measured_on = (
        f"{gpu}{on['processor']}, {on['threads']} thread{'s' if on['threads'] != 1 else ''}, Python "
        f"{on['python']}, "
        f"torch {on['torch']}"
    )
    return measured_on + "\n\n" + "\n\n".join(result.markdown() for result in results)
