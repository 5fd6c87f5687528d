"""ADAATT (Lu et al. 2017): at each word the model may look at the image, or at a "sentinel", a gated copy of its own
memory, which stands in the attention as one more region. The weight on it says how much of the word is language.

    [i, f, o, g, s] = W x_t + V f̄ + U h_{t-1}                     f̄: the pooled image, at every step
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh g        h_t = σ(o) ⊙ tanh c_t        s_t = σ(s) ⊙ tanh c_t
    ŝ = relu(R s_t)        ĥ = tanh(Q h_t)
    e_i = u' tanh(P v_i + Q' ĥ) + b        e_0 = u' tanh(R' ŝ + Q' ĥ) + b        α = softmax(e_1, …, e_S, e_0)
    o_t = tanh(G(Σ_i α_i v_i + α_0 ŝ + ĥ))

It attends with the *new* state; the sentinel's gate knows the old one. Paper says: words are scored from the context
plus h_t, without R, Q and the last tanh layer; the code has them · we do as the code. The code's own loader hands this
model an empty pooled image, with which it cannot run; here it gets the pooled image that the equations name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rrg_lib.models import lstm_captioner
from rrg_lib.models.interface import GeneratorConfig
from rrg_lib.models.layers import Dropout
from rrg_lib.models.lstm_captioner import AdditiveAttention, LSTMCaptioner, PooledSizes, embedding, next_state
from rrg_lib.runtime.settings import DropShare

RELEASED_NAMES = (
    (r"core\.lstm\.w2h\.(weight|bias)", r"word.0.\1"),
    (r"core\.lstm\.v2h\.(weight|bias)", r"image.0.\1"),
    (r"core\.lstm\.h2h\.0\.(weight|bias)", r"past.0.\1"),
    (r"core\.lstm\.r_w2h\.(weight|bias)", r"word.1.\1"),
    (r"core\.lstm\.r_v2h\.(weight|bias)", r"image.1.\1"),
    (r"core\.lstm\.r_h2h\.(weight|bias)", r"past.1.\1"),
    (r"core\.attention\.fr_linear\.0\.(weight|bias)", r"sentinel.0.\1"),
    (r"core\.attention\.fr_embed\.(weight|bias)", r"sentinel_key.\1"),
    (r"core\.attention\.ho_linear\.0\.(weight|bias)", r"glance.0.\1"),
    (r"core\.attention\.ho_embed\.(weight|bias)", r"attention.query.\1"),
    (r"core\.attention\.att2h\.(weight|bias)", r"output.\1"),
    *lstm_captioner.RELEASED_NAMES,
)


@dataclass(frozen=True)
class AdaAttConfig(PooledSizes, GeneratorConfig):
    """Words and state must have the same size, `d_model`: the sentinel stands beside the patches."""

    feature_dropout: DropShare = 0.5

    kind: ClassVar[str] = "adaatt"
    attends: ClassVar[bool] = True

    def make(self, extractor: nn.Module | None) -> AdaAtt:
        return AdaAtt(self, extractor)


def _both(maps: Iterable[nn.Module], x: Tensor) -> Tensor:
    """The four rows of the LSTM and the sentinel's gate, (…, 5d)."""
    return torch.cat([each(x) for each in maps], -1)


class AdaAtt(LSTMCaptioner):
    """ADAATT, sentinel; ADAATT, adaptive attention. The sentinel's share stands last in the attention (B, W, S + 1),
    after the patches."""

    def __init__(self, config: AdaAttConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        d, p = config.d_model, config.dropout
        self.patch_embedding = embedding(config.d_vf, d, config.feature_dropout)
        self.pooled_embedding = embedding(config.pooled_dim, d, config.feature_dropout)
        # W, V and U: of the LSTM (input, forget, output, candidate), then of the sentinel's gate
        self.word, self.image, self.past = (nn.ModuleList([nn.Linear(d, 4 * d), nn.Linear(d, d)]) for _ in range(3))
        self.sentinel = embedding(d, d, p)  # R
        self.glance = nn.Sequential(nn.Linear(d, d), nn.Tanh(), Dropout(p))  # Q
        self.attention = AdditiveAttention(d, d, p)
        self.sentinel_key = nn.Linear(d, d)  # R'
        self.output = nn.Linear(d, d)  # G

    def look(self, patches: Tensor) -> dict[str, Tensor]:
        v = self.patch_embedding(patches)
        pooled = self.pooled_embedding(self.config.pool(patches))
        return {"patches": v, "keys": self.attention.key(v), "image": _both(self.image, pooled)}

    def words(self, tokens: Tensor) -> Tensor:
        return _both(self.word, super().words(tokens))  # (B, L, 5d)

    def read(self, word: Tensor, state: dict[str, Tensor], study: dict[str, Tensor]):
        gates = word + study["image"][:, None] + _both(self.past, state["h"])  # (B, W, 5d)
        i, f, o, g, s = gates.chunk(5, -1)
        h, c = next_state(i, f, o, g.tanh(), state["c"])
        sentinel = self.sentinel(self.dropout(s.sigmoid() * c.tanh()))  # (B, W, d)
        glance = self.glance(self.dropout(h))
        scores = (
            self.attention(glance, study["keys"][:, None]),  # (B, W, S)
            self.attention(glance, self.sentinel_key(sentinel)[:, :, None]),  # (B, W, 1)
        )
        attention = torch.cat(scores, -1).softmax(-1)  # (B, W, S + 1)
        seen = attention[..., :-1] @ study["patches"] + attention[..., -1:] * sentinel
        return self.output(seen + glance).tanh(), {"h": h, "c": c}, attention
