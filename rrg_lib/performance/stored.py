"""Benchmarks that the project ships, as `rrg bench --out` wrote them: one file a machine in `data/benchmarks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rrg_lib.performance.harness import BenchmarkResult, Timing
from rrg_lib.runtime import package_data


@dataclass(frozen=True)
class StoredBenchmark:
    """What was measured on one machine; `machine` as `rrg_lib.performance.harness.machine` describes it."""

    name: str
    groups: list[BenchmarkResult]

    @property
    def machine(self) -> dict[str, Any]:
        return self.groups[0].machine

    def group(self, name: str) -> BenchmarkResult | None:
        """A group by name, None where it was not measured there."""
        return next((group for group in self.groups if group.group == name), None)


def stored_benchmarks() -> list[StoredBenchmark]:
    """In the order of their names."""
    return [
        StoredBenchmark(name, [_read(group) for group in groups])
        for name, groups in sorted(package_data.records("benchmarks").items())
    ]


def _read(data: dict[str, Any]) -> BenchmarkResult:
    return BenchmarkResult(**{**data, "rows": [Timing(**row) for row in data["rows"]]})
