"""The library of the book. Whatever of it is imported first, how threads wait is said before PyTorch is loaded."""

from rrg_lib.runtime.threads import wait_passively

wait_passively()
