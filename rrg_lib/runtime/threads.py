"""How the threads of a numeric library wait for each other, said before any such library is loaded.

PyTorch divides a sum among threads of OpenMP, and a thread that is done waits for the others: by default it spins,
asking again and again, so as to go on within a microsecond. That is fine while every thread has a core. On a machine
that does something else besides, the spinning threads take from each other the very time they wait for, and a step
takes longer, the more so the busier the machine. Threads that sleep while they wait (`passive`) pay for waking up where
the machine is quiet and steps are small: `rrg bench waiting` measures both. The variable is read once, when the library
is loaded; one that the user has set is left alone.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
#: What decides how long a thread spins, in GNU's and in Intel's library.
SPINNING = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_passively() -> None:
    """Let threads sleep while they wait, in this process if PyTorch is not loaded yet, and in those it starts; unless
    the environment says otherwise."""
    if not any(name in os.environ for name in SPINNING):
        os.environ[POLICY] = "passive"
