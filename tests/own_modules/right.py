"""A right memory of one's own: BASE+CMN's, written out. `rrg check-mine tests/own_modules/right.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from rrg_lib.models.interface import Response, Slots
from rrg_lib.models.memory.base import CrossModalMemory, MemoryConfig

EQUALS = "cmn"
WEIGHTS = {
    "matrix": "matrices.shared",
    **{
        f"{own}.{kind}": f"projections.shared.{name}.{kind}"
        for own, name in (("ask", "query"), ("key", "key"), ("value", "value"), ("out", "output"))
        for kind in ("weight", "bias")
    },
}


class MyMemory(CrossModalMemory):
    shares_slots = True

    def __init__(self, config, d_model, heads):
        super().__init__()
        self.top_k, self.heads = config.top_k, heads
        self.matrix = nn.Parameter(torch.randn(config.slots, d_model) / d_model)
        self.ask, self.key, self.value, self.out = (nn.Linear(d_model, d_model) for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # (…, L, d) -> (…, h, L, d_k)

    def slots(self, labels, modality):
        return Slots(self.split(self.key(self.matrix))[None], self.split(self.value(self.matrix))[None])

    def respond(self, features, slots):
        query = self.split(self.ask(features))  # (B, h, L, d_k)
        scores = query @ slots.keys.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, h, L, N)
        best, indices = scores.topk(self.top_k, dim=-1)
        weights = best.softmax(dim=-1)
        every = torch.zeros_like(scores).scatter(-1, indices, weights)  # 0 where a slot is none of the best
        return Response(self.out((every @ slots.values).transpose(1, 2).flatten(-2)), weights, indices)

    def fuse(self, features, response, modality):
        return features + response.vectors


@dataclass(frozen=True)
class MyConfig(MemoryConfig):
    kind: ClassVar[str] = "my_memory"
    slots: int = 2048
    top_k: int = 32

    def build(self, d_model, heads):
        return MyMemory(self, d_model, heads)
