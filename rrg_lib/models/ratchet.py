"""RATCHET (Hou et al. 2021): no encoder at all. A Transformer decoder reads the report so far and looks straight at the
CNN's patches; its norms stand *after* each sum, and each of its heads is as wide as the whole model.

    p_i = relu(C v_i)                                                      patches, without positions: a set
    x_t = D(√d E w_t + code_t),   code_t = [sin t r; cos t r],   r_k = 10000^(-2k/d)
    x ← LN(x + MHA(x, x)),   x ← LN(x + MHA(x, p)),   x ← LN(x + D(B relu(A x)))           post-norm, in each layer

The released code is TensorFlow's and was read, not run, so nothing here is held against its numbers: a reconstruction,
and each part says how well it is founded. **A** is as the code has it (farrell236/RATCHET, commit 9b6e26f, MIT), **C**
is ours; nothing rests on a description alone (B).

| part | what | level |
|---|---|---|
| form | decoder layers over the patches, no encoder; three post-norm sublayers, no norm at the end | A |
| patches | one linear map and ReLU, no dropout, no positions | A |
| words | times √d, plus sines in the first half and cosines in the second, then dropout | A |
| heads | 8, each d wide: keys, queries and values have 8 d numbers (`wide_heads=False`: d) | A |
| dropout | 0.2 on words and attention weights; in the feed-forward 0.1, at its end, whatever is set | A |
| norms | epsilon 10^-3, Keras' default | A |
| sizes | d 512, feed-forward 2,048, 6 layers | A |
| training | Adam (0.9, 0.98), 4,000 steps up to (4,000 d)^-½, then 1/√step; batch 32; 10 epochs | A |
| vocabulary | whole words of the cleaned report, ids of the book's tokenizer; the code: byte-level BPE, case kept | C |
| begin and end | one id, 0, as everywhere in this book; the code has one for each | C |
| features | of the extractor at hand, both views; the code: a grey DenseNet-121, each image an example | C |
| search | greedy and beam search; the code draws one of the six likeliest words | C |
| epoch | the lowest validation loss; the code: the most words right on the validation reports | C |
| initial weights | Xavier, as in the book's other Transformers | C |

The profiles `ci` and `laptop` make it smaller and leave the heads wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.generator import DecoderState
from rrg_lib.models.interface import Batch, CaptionerModule, GeneratorConfig, Output
from rrg_lib.models.layers import Dropout
from rrg_lib.models.transformer import (
    Decoder,
    KeysValues,
    LayerCache,
    MultiHeadAttention,
    SinusoidalPositions,
    causal_mask,
)

#: What the code drops in the feed-forward: its layer never hears of the setting.
_FEED_FORWARD_DROPOUT = 0.1
#: Keras' default, which the code leaves as it is.
_NORM_EPS = 1e-3


@dataclass(frozen=True)
class RatchetConfig(GeneratorConfig):
    """Sizes as released. `wide_heads`: each head is `d_model` wide (A); False shares `d_model` out among them."""

    vocab_size: int = 760
    d_vf: int = 2048
    d_model: int = 512
    d_ff: int = 2048
    heads: int = 8
    layers: int = 6
    wide_heads: bool = True
    dropout: float = 0.2
    max_length: int = 60

    kind: ClassVar[str] = "ratchet"
    attends: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.heads < 1 or (not self.wide_heads and self.d_model % self.heads):
            raise ConfigurationError(
                f"d_model is {self.d_model} and heads is {self.heads}: with wide_heads=false the heads must divide "
                f"d_model"
            )
        if self.d_model % 2:
            raise ConfigurationError(f"d_model is {self.d_model}: it must be even, half of it sines, half cosines")

    def make(self, extractor: nn.Module | None) -> Ratchet:
        return Ratchet(self, extractor)


class WideAttention(MultiHeadAttention):
    """RATCHET, wide heads: h heads of d numbers each, made one vector of d again at the end. Asking and answering are
    those of any attention, scores divided by √d."""

    def __init__(self, d: int, heads: int, dropout: float):
        super().__init__(d, heads, dropout)
        self.query, self.key, self.value = (nn.Linear(d, heads * d) for _ in range(3))
        self.output = nn.Linear(heads * d, d)


class HalvedPositions(SinusoidalPositions):
    """The usual code with all its sines first, then all its cosines."""

    def __init__(self, d: int, dropout: float):
        super().__init__(d, dropout)
        self.code = torch.cat([self.code[:, 0::2], self.code[:, 1::2]], -1)


class PostNormLayer(nn.Module):
    """RATCHET, post-norm layer: the sum first, then its norm, so that nothing passes a layer without having been
    normalised."""

    def __init__(self, d: int, d_ff: int, heads: int, dropout: float, wide: bool):
        super().__init__()
        attention = WideAttention if wide else MultiHeadAttention
        self.self_attention, self.cross_attention = (attention(d, heads, dropout) for _ in range(2))
        self.feed_forward = nn.Sequential(
            nn.Linear(d, d_ff), nn.ReLU(), nn.Linear(d_ff, d), Dropout(_FEED_FORWARD_DROPOUT)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d, eps=_NORM_EPS) for _ in range(3))

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        mask: Tensor,
        source_mask: Tensor | None = None,
        trace: list[Tensor] | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """As `Decoder` calls its layers; there is no `prefix` and no `source_mask` here."""
        x = self.norms[0](x + self.self_attention(x, self.self_attention.project(x), mask))
        return self._look_and_think(x, self.cross_attention.project(source), trace)

    def step(self, x: Tensor, cache: LayerCache, source_mask: Tensor | None = None) -> Tensor:
        """One new position of W hypotheses a study, x (B, W, d) -> (B, W, d)"""
        alone = x[:, :, None]  # (B, W, 1, d): each hypothesis is a sequence of its own
        past = cache.append(self.self_attention.project(alone))
        x = self.norms[0](x + self.self_attention(alone, past)[:, :, 0])
        return self._look_and_think(x, cache.source)

    def _look_and_think(self, x: Tensor, source: KeysValues, trace: list[Tensor] | None = None) -> Tensor:
        if trace is not None:
            trace.append(self.cross_attention.weights(x, source))
        x = self.norms[1](x + self.cross_attention(x, source))
        return self.norms[2](x + self.feed_forward(x))


class PostNormDecoder(Decoder):
    """A `Decoder` of layers that are each a `PostNormLayer`; nothing is normalised once more at the end."""

    def __init__(self, d: int, d_ff: int, heads: int, layers: int, dropout: float, wide: bool):
        super().__init__(d, d_ff, heads, 0, dropout, "torch")
        self.layers = nn.ModuleList(PostNormLayer(d, d_ff, heads, dropout, wide) for _ in range(layers))
        self.norm = nn.Identity()


class Ratchet(CaptionerModule):
    """The whole of it."""

    def __init__(self, config: RatchetConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        c = config
        self.patch_embedding = nn.Sequential(nn.Linear(c.d_vf, c.d_model), nn.ReLU())
        self.token_embedding = nn.Embedding(c.vocab_size + 1, c.d_model)
        self.token_positions = HalvedPositions(c.d_model, c.dropout)
        self.decoder = PostNormDecoder(c.d_model, c.d_ff, c.heads, c.layers, c.dropout, c.wide_heads)
        self.logits = nn.Linear(c.d_model, c.vocab_size + 1)
        for part in (self.decoder, self.token_embedding):
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)

    def forward(self, batch: Batch, trace: list[Tensor] | None = None) -> Output:
        """Teacher forcing. `trace` receives the cross-attention (B, h, T - 1, S) of each layer."""
        patches, tokens = self.patches_of(batch.inputs), batch.tokens[:, :-1]  # (B, L)
        looked_at = self.patch_embedding(patches)  # (B, S, d)
        words = self.token_positions(self.token_embedding(tokens) * math.sqrt(self.config.d_model))  # (B, L, d)
        logits = self.logits(self.decoder(words, looked_at, causal_mask(tokens), trace=trace))  # (B, L, V + 1)
        return Output(logits, patches=patches, encoded=looked_at, words=words)

    def recompute_activations(self, on: bool) -> None:
        self.decoder.checkpointed = on

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> DecoderState:
        looked_at = self.patch_embedding(patches)
        return DecoderState(self.decoder.caches(looked_at, length or self.config.max_length), None, len(looked_at))

    @torch.no_grad()
    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """See `Captioner`: tokens (B, W) -> logits (B, W, V + 1)."""
        vectors = self.token_embedding(tokens) * math.sqrt(self.config.d_model)  # (B, W, d)
        words = self.token_positions.dropout(vectors + self.token_positions.code[state.position])
        state.position += 1
        return self.logits(self.decoder.step(words, state.caches)), state
