"""Cross-modal memory networks (CMN; Chen et al., ACL 2021), and BASE+MEM, the same with a memory for each modality.

    CMN Eq. 4-6    k_i = m_i W_k,  q_s = x_s W_q,  q_t = y_t W_q      one W_q and one W_k for both modalities
        Eq. 7-8    D = q k^T / sqrt(d)
        Eq. 9-10   w_i = exp(D_i) / sum_{j in top-K} exp(D_j)
        Eq. 11-13  v_i = m_i W_v,  r = sum_{i in top-K} w_i v_i

Paper, release and ours: the release asks once per head (8 heads, each its own top-K, d = d_k) and adds biases, an
output projection and dropout on the weights. Eq. 14-15 feed r *instead of* the features; the release *adds* it. Both
are here: `fusion`, `scale`. As released by default.

Two options are ours and ask where a memory acts: `sides` "image" or "text" leaves the other modality as it is; `fusion`
"linear" joins features and answer as XProNet does, x' = FCN([x ; r]), with nothing passing beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rrg_lib.models.interface import Response, Slots
from rrg_lib.models.memory.base import (
    CrossModalMemory,
    MemoryConfig,
    MemoryProjections,
    Modality,
    SlotCount,
    check_top_k,
)
from rrg_lib.runtime.settings import Count, DropShare


@dataclass(frozen=True)
class CMNConfig(MemoryConfig):
    """`shared`: one matrix asked by both modalities (CMN) or one for each (BASE+MEM). `fusion`: "add" as released,
    "replace" as Eq. 14-15 print it, "linear" (ours) as XProNet Eq. 14. `scale`: Eq. 7's d is d_k ("head", as released)
    or d_model ("model", as printed). `sides` (ours): which modality's features the answers are joined to.

    Raises `UnknownNameError` for an option that is none.
    """

    kind: ClassVar[str] = "cmn"
    slots: SlotCount = 2048
    top_k: Count = 32
    shared: bool = True
    fusion: Literal["add", "replace", "linear"] = "add"
    scale: Literal["head", "model"] = "head"
    dropout: DropShare = 0.1
    sides: Literal["both", "image", "text"] = "both"

    def __post_init__(self):
        super().__post_init__()
        check_top_k(self.top_k, self.slots)

    def build(self, d_model: int, heads: int) -> CMNMemory:
        return CMNMemory(self, d_model, heads)


@dataclass
class CMNSlots(Slots):
    """Slots that remember whose projections made them."""

    owner: str = "shared"


class CMNMemory(CrossModalMemory):
    """M, a matrix (N, d) or one for each modality, that patches and tokens ask and whose answer they add to
    themselves."""

    def __init__(self, config: CMNConfig, d_model: int, heads: int):
        super().__init__()
        self.config, self.shares_slots = config, config.shared
        modalities = ["shared"] if config.shared else ["image", "text"]
        # N(0, (1/d)^2), as released: so small that at the start every slot answers alike and the memory is one learned
        # constant.
        self.matrices = nn.ParameterDict(
            {m: nn.Parameter(torch.randn(config.slots, d_model) / d_model) for m in modalities}
        )
        # BASE+MEM was not released. Ours: two separate memories, nothing shared between the modalities.
        self.projections = nn.ModuleDict({m: MemoryProjections(d_model, heads, config.dropout) for m in modalities})
        self.scale_dim = d_model if config.scale == "model" else None
        self.asking = ("image", "text") if config.sides == "both" else (config.sides,)
        linear = self.asking if config.fusion == "linear" else ()
        self.fusion = nn.ModuleDict({modality: nn.Linear(2 * d_model, d_model) for modality in linear})

    def _of(self, modality: Modality) -> str:
        return "shared" if self.config.shared else modality

    def slots(self, labels: Tensor | None, modality: Modality) -> CMNSlots:
        """Keys and values of M's rows, (1, h, N, d_k): CMN Eq. 4 and 11."""
        name = self._of(modality)
        projected = self.projections[name].slots(self.matrices[name][None])
        return CMNSlots(projected.keys, projected.values, owner=name)

    def respond(self, features: Tensor, slots: CMNSlots) -> Response:
        """Patches or words ask and are answered: CMN Eq. 5-10 and 12-13."""
        return self.projections[slots.owner].read(features, slots, self.config.top_k, self.scale_dim)

    def fuse(self, features: Tensor, response: Response, modality: Modality) -> Tensor:
        """What encoder and decoder read (CMN Eq. 14-15): the answer instead of the features, as printed, added to them,
        as released, or a linear map of both; the features alone of a modality that does not ask."""
        if modality not in self.asking:
            return features
        if self.config.fusion == "linear":
            return self.fusion[modality](torch.cat([features, response.vectors], dim=-1))
        return features + response.vectors if self.config.fusion == "add" else response.vectors
