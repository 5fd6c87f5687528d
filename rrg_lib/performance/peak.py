"""The memory that one case adds to a process: `python -m rrg_lib.performance.peak GROUP CASE THREADS SIZE FIELD=N …`
prints MiB."""

from __future__ import annotations

import sys

import torch

from rrg_lib.performance.cases import find_group
from rrg_lib.performance.harness import added_memory
from rrg_lib.performance.sizes import find_size


def main(group: str, case: str, threads: str, size: str, *changes: str) -> None:
    torch.set_num_threads(int(threads))
    changed = {name: int(value) for name, value in (change.split("=") for change in changes)}
    work = find_group(group, find_size(size, **changed)).case(case).build()
    print(added_memory(work))


if __name__ == "__main__":
    main(*sys.argv[1:])
