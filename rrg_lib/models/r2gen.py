"""R2GEN (Chen et al. 2020): a Transformer whose decoder norms are bent, word by word, by a small recurrent memory that
reads the report so far. The memory is in the decoder alone and holds text, never image.

    Z = MHA(M_{t-1}; [M_{t-1}; y_t]),   N = M_{t-1} + Z,   M̃ = N + relu(B relu(A N))           relational memory
    [I, F] = W y_t + U tanh M_{t-1},    M_t = σ(I) ⊙ tanh M̃ + σ(F) ⊙ M_{t-1}                    gate mechanism
    γ̂_t = γ + Γ₂ relu(Γ₁ m_t),   β̂_t = β + B₂ relu(B₁ m_t),   norm(x) = γ̂_t ⊙ standardised(x) + β̂_t      MCLN

y_t is the word being read, as the decoder embeds it; m_t are the rows of M_t laid end to end. The numbers are those of
the released code (cuhksz-nlp/R2Gen, commit 5a2e63f); this is written from the equations. It looks like R2GenCMN's
without being it: patches have no positions (the encoder sees a set), gradient values are clipped, and Adam's betas,
epsilon and schedule are others (presets). In training the words are embedded twice, once for the memory and once for
the decoder, which are two draws of dropout. The release runs memory and decoder over the whole prefix again at every
step; a cached step needs M_{t-1}, keys and values, and gives the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.interface import (
    Batch,
    CaptionerModule,
    GeneratorConfig,
    LayerCount,
    Output,
    ReportLength,
    check_heads,
)
from rrg_lib.models.layers import Dropout, ReleasedLayerNorm
from rrg_lib.models.released_weights import ENCODER_DECODER_KEYS
from rrg_lib.models.transformer import (
    Decoder,
    Encoder,
    FeedForward,
    KeysValues,
    LayerCache,
    MultiHeadAttention,
    SinusoidalPositions,
    causal_mask,
)
from rrg_lib.runtime.settings import Count, DropShare, Size

RELEASED_NAMES = (
    (r"model\.rm\.attn\.linears\.([0-3])\.(weight|bias)", r"text_memory.attention.<\1>.\2"),
    (r"model\.rm\.mlp\.(0|2)\.(weight|bias)", r"text_memory.mlp.\1.\2"),
    (r"model\.rm\.W\.(weight|bias)", r"text_memory.word_gates.\1"),
    (r"model\.rm\.U\.(weight|bias)", r"text_memory.memory_gates.\1"),
    (
        r"model\.decoder\.layers\.(\d+)\.sublayer\.(\d)\.norm\.mlp_(gamma|beta)\.(0|2)\.(weight|bias)",
        r"decoder.layers.\1.norms.\2.delta_\3.\4.\5",
    ),
    *ENCODER_DECODER_KEYS,
)


@dataclass(frozen=True)
class R2GenConfig(GeneratorConfig):
    """Sizes as released for IU X-Ray; `rows` of the memory."""

    vocab_size: Count = 760
    d_vf: Size = 2048
    d_model: Size = 512
    d_ff: Size = 512
    heads: Size = 8
    layers: LayerCount = 3
    rows: Size = 3
    dropout: DropShare = 0.1
    feature_dropout: DropShare = 0.5
    max_length: ReportLength = 60

    kind: ClassVar[str] = "r2gen"
    attends: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        check_heads(self.d_model, self.heads)
        if self.rows > self.d_model:
            raise ConfigurationError(
                f"generator.rows is {self.rows}: the memory has between 1 and d_model ({self.d_model}) rows, for "
                f"example generator.rows=3"
            )

    def make(self, extractor: nn.Module | None) -> R2Gen:
        return R2Gen(self, extractor)


class RelationalMemory(nn.Module):
    """R2Gen, relational memory; R2Gen, gate mechanism: R rows of d numbers that are rewritten with each word. They ask
    themselves and the word, and two gates say how much of the answer comes in and how much of the old stays."""

    def __init__(self, rows: int, d: int, heads: int, dropout: float):
        super().__init__()
        self.rows = rows
        self.attention = MultiHeadAttention(d, heads, dropout)
        self.mlp = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU())
        self.word_gates, self.memory_gates = nn.Linear(d, 2 * d), nn.Linear(d, 2 * d)  # input gate, forget gate

    def begin(self, batch: int) -> Tensor:
        """(B, 1, R, d): the first rows of the unit matrix."""
        weight = self.word_gates.weight
        unit = torch.eye(self.rows, weight.shape[1], dtype=weight.dtype, device=weight.device)
        return unit.expand(batch, 1, -1, -1)

    def forward(self, word: Tensor, memory: Tensor) -> Tensor:
        """A word (B, W, d) as it is embedded, the memory before it (B, W, R, d) -> the memory after it."""
        asked = self.attention.project(torch.cat([memory, word[:, :, None]], -2))
        new = memory + self.attention(memory, asked)
        new = new + self.mlp(new)
        gates = self.word_gates(word)[:, :, None] + self.memory_gates(memory.tanh())  # (B, W, R, 2d)
        comes, stays = gates.sigmoid().chunk(2, -1)
        return comes * new.tanh() + stays * memory


class ConditionalLayerNorm(ReleasedLayerNorm):
    """R2Gen, conditional norm (memory-driven conditional layer normalisation): gain and bias move with the memory. The
    moves are not 0 at the start (weights Xavier, biases 0.1, as released)."""

    def __init__(self, d: int, rows: int):
        super().__init__(d)
        self.delta_gamma, self.delta_beta = (
            nn.Sequential(nn.Linear(rows * d, d), nn.ReLU(), nn.Linear(d, d)) for _ in range(2)
        )
        for name, parameter in self.named_parameters():
            if name.endswith("bias") and name != "bias":
                nn.init.constant_(parameter, 0.1)

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """x (B, L, d), the memory after each word, (B, L, R d) -> (B, L, d)"""
        return torch.addcmul(self.bias + self.delta_beta(m), self.standardised(x), self.weight + self.delta_gamma(m))


class MemoryDrivenLayer(nn.Module):
    """A decoder layer whose three norms are conditional."""

    def __init__(self, d: int, d_ff: int, heads: int, dropout: float, rows: int):
        super().__init__()
        self.self_attention = MultiHeadAttention(d, heads, dropout)
        self.cross_attention = MultiHeadAttention(d, heads, dropout)
        self.feed_forward = FeedForward(d, d_ff, dropout)
        self.norms = nn.ModuleList(ConditionalLayerNorm(d, rows) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, m: Tensor, source: Tensor, mask: Tensor, trace: list[Tensor] | None = None) -> Tensor:
        y = self.norms[0](x, m)
        x = x + self.dropout(self.self_attention(y, self.self_attention.project(y), mask))
        return self._look_and_think(x, m, self.cross_attention.project(source), trace)

    def step(self, x: Tensor, m: Tensor, cache: LayerCache) -> Tensor:
        """One new position of W hypotheses a study, x (B, W, d), m (B, W, R d) -> (B, W, d)"""
        y = self.norms[0](x, m)[:, :, None]  # (B, W, 1, d): each hypothesis is a sequence of its own
        past = cache.append(self.self_attention.project(y))
        x = x + self.dropout(self.self_attention(y, past)[:, :, 0])
        return self._look_and_think(x, m, cache.source)

    def _look_and_think(self, x: Tensor, m: Tensor, source: KeysValues, trace: list[Tensor] | None = None) -> Tensor:
        y = self.norms[1](x, m)
        if trace is not None:
            trace.append(self.cross_attention.weights(y, source))
        x = x + self.dropout(self.cross_attention(y, source))
        return x + self.dropout(self.feed_forward(self.norms[2](x, m)))


class MemoryDrivenDecoder(Decoder):
    """A `Decoder` of layers that are each a `MemoryDrivenLayer`; the last norm is an ordinary one."""

    def __init__(self, d: int, d_ff: int, heads: int, layers: int, dropout: float, rows: int):
        super().__init__(d, d_ff, heads, 0, dropout, "released")
        self.layers = nn.ModuleList(MemoryDrivenLayer(d, d_ff, heads, dropout, rows) for _ in range(layers))

    def forward(self, x: Tensor, m: Tensor, source: Tensor, mask: Tensor, trace: list[Tensor] | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, m, source, mask, trace)
        return self.norm(x)

    def step(self, x: Tensor, m: Tensor, caches: list[LayerCache]) -> Tensor:
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer.step(x, m, cache)
        return self.norm(x)


@dataclass
class R2GenState:
    """Keys and values as in any Transformer, and the memory (B, W, R, d) that each hypothesis has written."""

    caches: list[LayerCache]
    memory: Tensor
    position: int = 0

    @property
    def batch(self) -> int:
        return len(self.memory)

    def select(self, studies: Tensor) -> None:
        self.memory = self.memory[studies]
        for cache in self.caches:
            cache.select(studies)

    def reorder(self, parents: Tensor) -> None:
        self.memory = self.memory[torch.arange(len(parents), device=parents.device)[:, None], parents]
        for cache in self.caches:
            cache.reorder(parents)


class R2Gen(CaptionerModule):
    """The whole of it. (`text_memory`, because a captioner's `memory` is one that the image may ask, too.)"""

    def __init__(self, config: R2GenConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        c = config
        self.patch_embedding = nn.Sequential(nn.Linear(c.d_vf, c.d_model), nn.ReLU(), Dropout(c.feature_dropout))
        self.token_embedding = nn.Embedding(c.vocab_size + 1, c.d_model)
        self.token_positions = SinusoidalPositions(c.d_model, c.dropout)
        self.encoder = Encoder(c.d_model, c.d_ff, c.heads, c.layers, c.dropout, "released")
        self.decoder = MemoryDrivenDecoder(c.d_model, c.d_ff, c.heads, c.layers, c.dropout, c.rows)
        self.text_memory = RelationalMemory(c.rows, c.d_model, c.heads, c.dropout)
        self.logits = nn.Linear(c.d_model, c.vocab_size + 1)
        for part in (self.encoder, self.decoder, self.token_embedding, self.text_memory):  # as released
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)

    def encode(self, patches: Tensor) -> Tensor:
        """(B, S, d_vf) -> (B, S, d), without positions."""
        return self.encoder(self.patch_embedding(patches))

    def embed(self, tokens: Tensor) -> Tensor:
        """y: (B, L) -> (B, L, d)"""
        return self.token_positions(self.token_embedding(tokens) * math.sqrt(self.config.d_model))

    def memories(self, words: Tensor) -> Tensor:
        """m: the memory after each of the words (B, L, d), its rows end to end, (B, L, R d)."""
        memory, after = self.text_memory.begin(len(words)), []
        for word in words.split(1, dim=1):
            memory = self.text_memory(word, memory)
            after.append(memory.flatten(-2))
        return torch.cat(after, 1)

    def forward(self, batch: Batch, trace: list[Tensor] | None = None) -> Output:
        """Teacher forcing. `trace` receives the cross-attention (B, h, T - 1, S) of each layer."""
        patches, tokens = self.patches_of(batch.inputs), batch.tokens[:, :-1]  # (B, L)
        encoded, words = self.encode(patches), self.embed(tokens)
        m = self.memories(self.embed(tokens))  # embedded again: a dropout of its own
        decoded = self.decoder(words, m, encoded, causal_mask(tokens), trace)
        return Output(self.logits(decoded), patches=patches, encoded=encoded, words=words)

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> R2GenState:
        encoded = self.encode(patches)
        caches = self.decoder.caches(encoded, length or self.config.max_length)
        return R2GenState(caches, self.text_memory.begin(len(encoded)))

    @torch.no_grad()
    def step(self, tokens: Tensor, state: R2GenState) -> tuple[Tensor, R2GenState]:
        """See `Captioner`: tokens (B, W) -> logits (B, W, V + 1)."""
        code = self.token_positions.code[state.position]
        words = self.token_embedding(tokens) * math.sqrt(self.config.d_model) + code  # (B, W, d)
        state.memory, state.position = self.text_memory(words, state.memory), state.position + 1
        return self.logits(self.decoder.step(words, state.memory.flatten(-2), state.caches)), state
