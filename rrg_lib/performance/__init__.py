"""What the book's code costs, as ratios inside one run: `rrg bench`."""

#: The groups by name, as `rrg_lib.performance.cases` defines them; here so that naming them does not load a model.
BENCHMARKS = ("training", "options", "large", "beam", "greedy", "memory", "growth", "contrastive")
#: Measured only when asked for: it keeps every core busy.
APART = ("waiting",)
