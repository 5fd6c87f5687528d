"""Work shared among processes that never outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from rrg_lib.errors import RRGError

Done = TypeVar("Done")


def in_order(work: Callable[..., Done], tasks: Iterable[tuple], workers: int, *, advice: str) -> Iterator[Done]:
    """What `work` makes of the tasks, in their order, by that many processes, with a bounded number of tasks waiting.

    Raises what `work` raises, and `RRGError` when a process dies; `advice` then says what is kept and what to do.
    """
    if workers <= 1:
        yield from (work(*task) for task in tasks)
        return
    # Spawned, never forked: this process may hold threads (torch, a notebook's), and a fork of those can hang.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting: deque[Future[Done]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(work, *task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RRGError(f"a worker process died (killed, or out of memory?). {advice}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread a process; and no process that outlives a killed parent."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def cpus() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
