"""Runs small enough to be trained in a test: a tiny generator, on a few sampled studies."""

from __future__ import annotations

from rrg_lib.experiments.presets import experiment

TINY = [
    "generator.d_model=16",
    "generator.d_ff=16",
    "generator.heads=2",
    "generator.layers=1",
    "training.epochs=2",
    "extractor.weights=null",
]


def tiny(preset: str = "cmn", *more: str):
    memory = ["memory.slots=8", "memory.top_k=2"] if preset != "base" else []
    return experiment(f"phantom/{preset}", "ci", [*TINY, *memory, *more])
