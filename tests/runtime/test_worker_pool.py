"""Work shared among processes: in order, and a death is told in the words of whoever asked for the work."""

from __future__ import annotations

import os

import pytest

from rrg_lib.errors import RRGError
from rrg_lib.runtime.worker_pool import in_order


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_made_comes_in_the_order_of_the_tasks(workers):
    assert list(in_order(abs, [(-3,), (1,), (-2,)], workers, advice="")) == [3, 1, 2]


def test_a_process_that_dies_is_told_with_the_advice_that_was_given():
    with pytest.raises(RRGError) as told:
        list(in_order(os._exit, [(1,)], 2, advice="Half of it is kept. Ask again"))
    assert str(told.value) == "a worker process died (killed, or out of memory?). Half of it is kept. Ask again"
