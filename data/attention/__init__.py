"""Where trained systems look: one file a run, written by tools/results.py."""
