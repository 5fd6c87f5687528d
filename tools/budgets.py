"""What a chapter may take, what it took, and where the two are written down side by side.

A chapter states its budget in its header, `rrg: {minutes: 3, peak_gib: 2}`: minutes on two cores and peak memory in the
ci profile, with nothing trained before it. The builder measures both. People state budgets; the builder prints what it
measured beside them and warns at half as much again.

`timings.json`, which the site's timings page shows:

    edition      the book's
    parameters   what the chapters were run with: PROFILE, DATASET, …
    machine      device, processor, cores, memory_gib, threads, python, torch
    jobs         how many chapters ran side by side
    chapters     a row each: chapter, seconds, budget_minutes, peak_gib, budget_gib, trained (runs added to the
                 workspace: a chapter that found its runs there was quicker for it; not known where chapters ran side by
                 side, since all share the workspace), status ("ok", "failed at In [4]", "not run", …); a value that is
                 not known is absent
    seconds      of all of it: the sum, or less where chapters ran side by side
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from rrg_lib.book.edition import installed
from rrg_lib.runtime.workspace import workspace, write_json

GIB = 2**30
#: A budget is exceeded, and said to be, from here on.
MARGIN = 1.5
#: The profile that budgets are of.
PROFILE = "ci"
STATED = "rrg: {minutes: 3, peak_gib: 2}, minutes on two cores and peak memory in GiB of the ci profile"


@dataclass(frozen=True)
class Budget:
    minutes: float
    peak_gib: float

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Budget | None:
        """The budget in a notebook's metadata, None where none is stated. Raises `ValueError` for one that is not two
        positive numbers."""
        stated = metadata.get("rrg")
        if stated is None:
            return None
        numbers = (
            [stated.get(name) for name in ("minutes", "peak_gib")]
            if isinstance(stated, Mapping) and len(stated) == 2
            else []
        )
        if not numbers or not all(isinstance(n, int | float) and not isinstance(n, bool) and n > 0 for n in numbers):
            raise ValueError(
                f"the budget is {dict(stated) if isinstance(stated, Mapping) else stated!r}; expected {STATED}"
            )
        return cls(*numbers)


@dataclass
class Row:
    """One chapter of a build: what it took, and what it may take."""

    chapter: str
    budget: Budget | None = None
    seconds: float = 0.0
    peak_gib: float | None = None
    trained: int | None = None
    status: str = "not run"

    def to_json(self) -> dict[str, Any]:
        budget = {"budget_minutes": self.budget.minutes, "budget_gib": self.budget.peak_gib} if self.budget else {}
        values = {**asdict(self), **budget}
        order = ("chapter", "seconds", "budget_minutes", "peak_gib", "budget_gib", "trained", "status")
        return {key: values[key] for key in order if values.get(key) is not None}

    def exceeded(self) -> list[str]:
        """What took at least half as much again as the chapter states, in words."""
        if self.budget is None:
            return []
        both = (
            (self.seconds / 60, self.budget.minutes, "minutes"),
            (self.peak_gib or 0.0, self.budget.peak_gib, "GiB at its peak"),
        )
        return [
            f"{self.chapter}: {took:.1f} {unit}, {took / stated:.1f} times the {stated:g} of its budget"
            for took, stated, unit in both
            if took >= MARGIN * stated
        ]


class PeakMemory:
    """The largest memory of the processes that were started inside the `with` block, at once, Java and workers
    included: `.gib` after it, None where the system does not tell or nothing was started.

    Sampled. On Linux a page that several processes share counts once (proportional set size), elsewhere once each
    (resident set size). What a process had for less than a sample's time is not missed entirely: Linux keeps the
    high-water mark of each, and the largest of those is a lower bound.
    """

    def __init__(self, seconds: float = 0.2):
        self._every, self._peak, self._stop = seconds, 0, threading.Event()

    def __enter__(self) -> PeakMemory:
        self._self = psutil.Process()
        self._before = set(self._self.children(recursive=True))
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def gib(self) -> float | None:
        return round(self._peak / GIB, 2) if self._peak else None

    def sample(self) -> None:
        """Look once, now."""
        found = [process for process in self._self.children(recursive=True) if process not in self._before]
        sizes = [_sizes(process) for process in found]
        self._peak = max(self._peak, sum(now for now, _ in sizes), *(most for _, most in sizes), 0)

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self.sample()


def _sizes(process: psutil.Process) -> tuple[int, int]:
    """Bytes that a process has now, and the most it ever had; (0, 0) for one that has just ended."""
    try:
        now = getattr(process.memory_full_info(), "pss", None) or process.memory_info().rss
        return now, _high_water(process.pid)
    except psutil.Error:
        return 0, 0


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):  # no such system, or the process has ended
        return 0


def trainings() -> int:
    """How many trained runs the workspace holds."""
    return sum(1 for _ in (workspace() / "runs").glob("*/best.safetensors"))


def table(rows: list[Row], profile: str, took: float | None = None) -> str:
    """The closing table; the budgets stand beside what they are of, in the profile they are of. `took` are the seconds
    of all of it where that is not the sum: chapters ran side by side."""
    width = max(len(row.chapter) for row in rows)
    ours = profile == PROFILE
    lines = [
        f"{'chapter':<{width}}  minutes {'budget' if ours else '':>6}    GiB {'budget' if ours else '':>6}  status"
    ]
    for row in rows:
        stated = [f"{n:g}" for n in (row.budget.minutes, row.budget.peak_gib)] if row.budget and ours else ["", ""]
        peak = "–" if row.peak_gib is None else f"{row.peak_gib:.1f}"
        lines.append(
            f"{row.chapter:<{width}}  {row.seconds / 60:>7.1f} {stated[0]:>6}  {peak:>5} {stated[1]:>6}  {row.status}"
        )
    return "\n".join([*lines, f"{'total':<{width}}  {_total(rows, took) / 60:>7.1f}"])


def _total(rows: list[Row], took: float | None) -> float:
    return sum(row.seconds for row in rows) if took is None else took


def warnings(rows: list[Row], profile: str, jobs: int = 1) -> list[str]:
    """The budgets that were exceeded, in the profile that they are of; chapters side by side take longer each."""
    of_it = profile == PROFILE and jobs == 1
    return [f"over budget: {text}" for row in rows for text in row.exceeded()] if of_it else []


def machine() -> dict[str, Any]:
    """What it was measured on."""
    from rrg_lib.performance.harness import machine as described  # imports PyTorch

    return {**described(), "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / GIB, 1)}


def record(rows: list[Row], values: dict[str, Any], jobs: int = 1, took: float | None = None) -> dict[str, Any]:
    """One build as `timings.json` holds it; `took` as for `table`."""
    return {
        "edition": installed(),
        "parameters": values,
        "machine": machine(),
        "jobs": jobs,
        "chapters": [row.to_json() for row in rows],
        "seconds": round(_total(rows, took), 1),
    }


def keep(path: Path, measured: dict[str, Any]) -> None:
    """Write `timings.json`, whole or not at all. Of a build of some chapters only, the others' rows stay as they were
    if they were measured with the same edition, parameters and machine; otherwise they are left out, since they can't
    stand beside these."""
    rows = {row["chapter"]: row for row in measured["chapters"]}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if all(before.get(key) == measured[key] for key in ("edition", "parameters", "machine", "jobs")):
            rows = {row["chapter"]: row for row in before["chapters"]} | rows
    found = [rows[name] for name in sorted(rows)]
    seconds = sum(row["seconds"] for row in found) if measured["jobs"] == 1 else measured["seconds"]
    write_json(path, {**measured, "chapters": found, "seconds": round(seconds, 1)})
