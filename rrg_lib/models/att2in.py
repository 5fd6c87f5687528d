"""ATT2IN (Rennie et al. 2017): the state so far decides where to look, and what is seen enters the cell's candidate.

    z_t = Σ_i α_i v_i,   α = softmax_i of the additive attention asked by h_{t-1}
    [i, f, o] = σ(W x_t + U h_{t-1})                                       the image does not touch the gates
    g = max(W' x_t + U' h_{t-1} + C' z_t,  W'' x_t + U'' h_{t-1} + C'' z_t)           no tanh: the cell is not bounded
    c_t = f ⊙ c_{t-1} + i ⊙ g          h_t = o ⊙ tanh c_t

It attends with the *previous* state; the pooled image is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from rrg_lib.models import lstm_captioner
from rrg_lib.models.interface import GeneratorConfig
from rrg_lib.models.lstm_captioner import AdditiveAttention, LSTMCaptioner, LSTMCell, LSTMSizes, embedding
from rrg_lib.runtime.settings import DropShare

RELEASED_NAMES = (
    (r"core\.i2h\.(weight|bias)", r"cell.inputs.\1"),
    (r"core\.h2h\.(weight|bias)", r"cell.hidden.\1"),
    (r"core\.a2c\.(weight|bias)", r"context.\1"),
    *lstm_captioner.RELEASED_NAMES,
)


@dataclass(frozen=True)
class Att2inConfig(LSTMSizes, GeneratorConfig):
    """`embedded`: patches are made `d_model` numbers and words get a ReLU before anything reads them, as in the code's
    `att2in2`, whose training it ships a configuration for. Without, raw patches are attended and raw words read, as in
    its `att2in`, which is nearer the paper. Which of them the radiology papers ran, they do not say."""

    embedded: bool = True
    feature_dropout: DropShare = 0.5

    kind: ClassVar[str] = "att2in"
    attends: ClassVar[bool] = True

    def make(self, extractor: nn.Module | None) -> Att2in:
        return Att2in(self, extractor)


class Att2in(LSTMCaptioner):
    """ATT2IN, additive attention; ATT2IN, cell."""

    def __init__(self, config: Att2inConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        d, d_patch = config.d_model, config.d_model if config.embedded else config.d_vf
        if config.embedded:
            self.patch_embedding = embedding(config.d_vf, d, config.feature_dropout)
        self.attention = AdditiveAttention(d_patch, d)
        self.context = nn.Linear(d_patch, 2 * d)
        self.cell = LSTMCell(d, d, maxout=True)
        if not config.embedded:
            self.start_small()

    def look(self, patches: Tensor) -> dict[str, Tensor]:
        if self.config.embedded:
            patches = self.patch_embedding(patches)
        return {"patches": patches, "keys": self.attention.key(patches)}

    def words(self, tokens: Tensor) -> Tensor:
        return self.cell.inputs(super().words(tokens) if self.config.embedded else self.token_embedding(tokens))

    def read(self, word: Tensor, state: dict[str, Tensor], study: dict[str, Tensor]):
        attention = self.attention(state["h"], study["keys"][:, None]).softmax(-1)  # (B, W, S)
        seen = self.context(attention @ study["patches"])  # (B, W, 2d)
        h, c = self.cell(word, **state, seen=seen)
        return h, {"h": h, "c": c}, attention
