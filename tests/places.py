"""Where the project's files lie, for tests that read them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
#: Numbers computed with the authors' released code.
GOLDEN = ROOT / "tests" / "golden"


class GoldenFolder:
    """Numbers of one released model: `tensors(name)` of NAME.safetensors, `meta` of meta.json."""

    def __init__(self, name: str):
        self.folder = GOLDEN / name
        self.meta = json.loads((self.folder / "meta.json").read_text())

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{name}.safetensors")
