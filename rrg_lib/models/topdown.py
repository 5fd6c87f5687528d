"""TOPDOWN (Anderson et al. 2018): one LSTM decides where to look, a second reads what was seen and writes.

    h¹_t, c¹_t = LSTM₁([h²_{t-1}; f̄; x_t]; h¹_{t-1}, c¹_{t-1})         told what the second last thought
    z_t = Σ_i α_i v_i,   α = softmax_i of the additive attention asked by h¹_t
    h²_t, c²_t = LSTM₂([z_t; h¹_t]; h²_{t-1}, c²_{t-1})                 p(w_{t+1}) = softmax(L h²_t)

It attends with the *new* state of the first cell. The paper's regions are detected objects ("bottom-up"); on chest
films the radiology papers use the patches of a grid, so that half of its name is absent. The code ships it with states
and words of 1,000; all sizes are `d_model` here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rrg_lib.models import lstm_captioner
from rrg_lib.models.interface import GeneratorConfig
from rrg_lib.models.lstm_captioner import AdditiveAttention, LSTMCaptioner, LSTMCell, PooledSizes, embedding
from rrg_lib.runtime.settings import DropShare

RELEASED_NAMES = (
    (r"core\.att_lstm\.(weight|bias)_ih", r"looking.inputs.\1"),
    (r"core\.att_lstm\.(weight|bias)_hh", r"looking.hidden.\1"),
    (r"core\.lang_lstm\.(weight|bias)_ih", r"writing.inputs.\1"),
    (r"core\.lang_lstm\.(weight|bias)_hh", r"writing.hidden.\1"),
    *lstm_captioner.RELEASED_NAMES,
)


@dataclass(frozen=True)
class TopDownConfig(PooledSizes, GeneratorConfig):
    feature_dropout: DropShare = 0.5

    kind: ClassVar[str] = "topdown"
    attends: ClassVar[bool] = True

    def make(self, extractor: nn.Module | None) -> TopDown:
        return TopDown(self, extractor)


class TopDown(LSTMCaptioner):
    """TOPDOWN, two cells."""

    remembers = ("h_look", "c_look", "h_write", "c_write")

    def __init__(self, config: TopDownConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        d = config.d_model
        self.patch_embedding = embedding(config.d_vf, d, config.feature_dropout)
        self.pooled_embedding = embedding(config.pooled_dim, d, config.feature_dropout)
        self.attention = AdditiveAttention(d, d)
        self.looking, self.writing = LSTMCell(3 * d, d), LSTMCell(2 * d, d)

    def look(self, patches: Tensor) -> dict[str, Tensor]:
        v = self.patch_embedding(patches)
        pooled = self.pooled_embedding(self.config.pool(patches))  # (B, d)
        return {"patches": v, "keys": self.attention.key(v), "pooled": pooled}

    def read(self, word: Tensor, state: dict[str, Tensor], study: dict[str, Tensor]):
        pooled = study["pooled"][:, None].expand_as(word)  # (B, W, d)
        looking_input = torch.cat([state["h_write"], pooled, word], -1)
        h_look, c_look = self.looking(self.looking.inputs(looking_input), state["h_look"], state["c_look"])
        attention = self.attention(h_look, study["keys"][:, None]).softmax(-1)  # (B, W, S)
        seen = torch.cat([attention @ study["patches"], h_look], -1)
        h_write, c_write = self.writing(self.writing.inputs(seen), state["h_write"], state["c_write"])
        new = {"h_look": h_look, "c_look": c_look, "h_write": h_write, "c_write": c_write}
        return h_write, new, attention
