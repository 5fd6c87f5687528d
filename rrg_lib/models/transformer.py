"""The Transformer under all four systems, in the form of the released code: pre-norm layers, a final norm, sinusoidal
positions.

Everything works on a query of any length against keys and values that were projected once, so that training (all
positions at once) and decoding (one position, cached keys and values) run the same lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rrg_lib.models.layers import Dropout, NormName, dropout, layer_norm


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., L, d) -> (..., h, L, d_k)"""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """(..., h, L, d_k) -> (..., L, d)"""
    return x.transpose(-3, -2).flatten(-2)


@dataclass
class KeysValues:
    """What a query attends to: `keys` and `values` (B, h, S, d_k)."""

    keys: Tensor
    values: Tensor

    def after(self, prefix: KeysValues) -> KeysValues:
        """These, with those of a prefix, (1, h, P, d_k), before each study's own."""
        batch = len(self.keys)
        pairs = ((prefix.keys, self.keys), (prefix.values, self.values))
        return KeysValues(*(torch.cat([first.expand(batch, -1, -1, -1), rest], dim=-2) for first, rest in pairs))


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with h heads (Vaswani et al. 2017), dropout on its weights."""

    def __init__(self, d_model: int, heads: int, dropout: float):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))
        self.heads, self.dropout = heads, dropout

    def project(self, source: Tensor) -> KeysValues:
        """Keys and values of a source (B, S, d)."""
        return KeysValues(split_heads(self.key(source), self.heads), split_heads(self.value(source), self.heads))

    def forward(self, x: Tensor, source: KeysValues, mask: Tensor | None = None) -> Tensor:
        """x (B, L, d), mask broadcastable to (B, h, L, S), True where attention is allowed -> (B, L, d)"""
        query = split_heads(self.query(x), self.heads)  # (B, h, L, d_k)
        dropped = self.dropout if self.training else 0.0
        if dropped and x.device.type == "cpu":  # the fused kernel is slow there when it has to drop weights
            answers = dropout(self._weights(query, source, mask), dropped) @ source.values  # (B, h, L, d_k)
        else:
            answers = F.scaled_dot_product_attention(query, source.keys, source.values, mask, dropped)
        return self.output(merge_heads(answers))

    def weights(self, x: Tensor, source: KeysValues, mask: Tensor | None = None) -> Tensor:
        """The attention weights themselves, (B, h, L, S), without dropout: what figures are made of."""
        return self._weights(split_heads(self.query(x), self.heads), source, mask)

    @staticmethod
    def _weights(query: Tensor, source: KeysValues, mask: Tensor | None) -> Tensor:
        scores = (query / math.sqrt(query.shape[-1])) @ source.keys.transpose(-2, -1)  # (B, h, L, S)
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)


class FeedForward(nn.Sequential):
    def __init__(self, d_model: int, d_ff: int, dropout: float):
        super().__init__(nn.Linear(d_model, d_ff), nn.ReLU(), Dropout(dropout), nn.Linear(d_ff, d_model))


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, d_ff: int, heads: int, dropout: float, norm: NormName):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, heads, dropout)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)
        self.norms = nn.ModuleList(layer_norm(norm, d_model) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.norms[0](x)
        x = x + self.dropout(self.attention(y, self.attention.project(y), mask))
        return x + self.dropout(self.feed_forward(self.norms[1](x)))


def _through(layer: nn.Module, again: bool, *inputs: object) -> Tensor:
    """A layer's output; with `again` its activations are not kept, but computed again for the gradient (Chen et al.
    2016), dropout as it was."""
    return checkpoint(layer, *inputs, use_reentrant=False) if again else layer(*inputs)


class Encoder(nn.Module):
    """(B, S, d) -> (B, S, d). `checkpointed` trades time for memory while training: of each layer only the input is
    kept."""

    checkpointed = False

    def __init__(self, d_model: int, d_ff: int, heads: int, layers: int, dropout: float, norm: NormName):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, d_ff, heads, dropout, norm) for _ in range(layers))
        self.norm = layer_norm(norm, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = _through(layer, self.checkpointed and self.training, x, mask)
        return self.norm(x)


@dataclass
class LayerCache:
    """Keys and values of one decoder layer while decoding B studies with W hypotheses each, up to T tokens long.

    `past` holds (B, W, h, T, d_k), of which the first `length` positions are filled, the first `prefix` of them by
    learnt tokens; `source` (B, h, S, d_k) is shared by the hypotheses of a study.
    """

    past: KeysValues
    source: KeysValues
    length: int = 0
    prefix: int = 0

    def append(self, new: KeysValues) -> KeysValues:
        """Add one position, (B, W, h, 1, d_k), and give all positions so far, (B, W, h, t, d_k)."""
        t = self.length
        self.past.keys[..., t, :], self.past.values[..., t, :] = new.keys[..., 0, :], new.values[..., 0, :]
        self.length = t + 1
        return KeysValues(self.past.keys[..., : t + 1, :], self.past.values[..., : t + 1, :])

    def reorder(self, parents: Tensor) -> None:
        """Hypothesis w of study b continues what hypothesis `parents[b, w]` began; their number may change. parents (B,
        W')"""
        studies = torch.arange(len(parents), device=parents.device)[:, None]
        if parents.shape[1] != self.past.keys.shape[1]:
            self.past = KeysValues(self.past.keys[studies, parents], self.past.values[studies, parents])
            return
        for kept in (self.past.keys, self.past.values):
            words = kept[..., self.prefix : self.length, :]  # the prefix is the same for all
            words.copy_(words[studies, parents])

    def select(self, studies: Tensor) -> None:
        """Only these studies from now on; studies (b,)."""
        self.past, self.source = (
            KeysValues(pair.keys[studies], pair.values[studies]) for pair in (self.past, self.source)
        )


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, d_ff: int, heads: int, dropout: float, norm: NormName):
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, heads, dropout)
        self.cross_attention = MultiHeadAttention(d_model, heads, dropout)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)
        self.norms = nn.ModuleList(layer_norm(norm, d_model) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        mask: Tensor,
        source_mask: Tensor | None,
        trace: list[Tensor] | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        y = self.norms[0](x)
        past = self.self_attention.project(y)
        if prefix is not None:
            past, mask = (
                past.after(self.project_prefix(prefix)),
                F.pad(mask, (len(prefix), 0), value=True),
            )  # every position may look at all of it
        x = x + self.dropout(self.self_attention(y, past, mask))
        return self._look_and_think(x, self.cross_attention.project(source), source_mask, trace)

    def project_prefix(self, prefix: Tensor) -> KeysValues:
        """Learnt tokens (P, d) as this layer's keys and values (1, h, P, d_k): normalised and projected like a word,
        but never asking themselves."""
        return self.self_attention.project(self.norms[0](prefix[None]))

    def step(self, x: Tensor, cache: LayerCache, source_mask: Tensor | None) -> Tensor:
        """One new position of W hypotheses a study, x (B, W, d) -> (B, W, d)"""
        y = self.norms[0](x)[:, :, None]  # (B, W, 1, d): each hypothesis is a sequence of its own
        past = cache.append(self.self_attention.project(y))
        x = x + self.dropout(self.self_attention(y, past)[:, :, 0])
        return self._look_and_think(
            x, cache.source, source_mask
        )  # the W hypotheses ask the same patches, like a sequence of W queries

    def _look_and_think(
        self, x: Tensor, source: KeysValues, source_mask: Tensor | None, trace: list[Tensor] | None = None
    ) -> Tensor:
        y = self.norms[1](x)
        if trace is not None:
            trace.append(self.cross_attention.weights(y, source, source_mask))
        x = x + self.dropout(self.cross_attention(y, source, source_mask))
        return x + self.dropout(self.feed_forward(self.norms[2](x)))


class Decoder(nn.Module):
    """Tokens (B, L, d) reading a source (B, S, d) -> (B, L, d). `checkpointed` as for `Encoder`."""

    checkpointed = False

    def __init__(self, d_model: int, d_ff: int, heads: int, layers: int, dropout: float, norm: NormName):
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, d_ff, heads, dropout, norm) for _ in range(layers))
        self.norm = layer_norm(norm, d_model)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        mask: Tensor,
        source_mask: Tensor | None = None,
        trace: list[Tensor] | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """`trace`, when a list, receives each layer's cross-attention weights (B, h, L, S). `prefix` (P, d) are learnt
        tokens before the first word, which every position may attend to in every layer (prefix keys and values, as in
        Li and Liang 2021)."""
        for layer in self.layers:
            x = _through(
                layer,
                self.checkpointed and self.training and trace is None,
                x,
                source,
                mask,
                source_mask,
                trace,
                prefix,
            )
        return self.norm(x)

    def caches(self, source: Tensor, max_length: int, prefix: Tensor | None = None) -> list[LayerCache]:
        """Caches for one hypothesis a study over a source (B, S, d), room for `max_length` tokens; empty but for a
        `prefix` (P, d)."""
        caches = []
        for layer in self.layers:
            projected = layer.cross_attention.project(source)
            batch, heads, _, d_k = projected.keys.shape
            before = 0 if prefix is None else len(prefix)
            room = KeysValues(*(source.new_empty(batch, 1, heads, before + max_length, d_k) for _ in range(2)))
            if prefix is not None:
                first = layer.project_prefix(prefix)
                room.keys[..., :before, :], room.values[..., :before, :] = first.keys, first.values
            caches.append(LayerCache(past=room, source=projected, length=before, prefix=before))
        return caches

    def step(self, x: Tensor, caches: list[LayerCache], source_mask: Tensor | None = None) -> Tensor:
        """(B, W, d) -> (B, W, d), with every layer's cache one position longer."""
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer.step(x, cache, source_mask)
        return self.norm(x)


class SinusoidalPositions(nn.Module):
    """Adds the sinusoidal position code (Vaswani et al. 2017, section 3.5), then dropout."""

    def __init__(self, d_model: int, dropout: float, max_length: int = 5000):
        super().__init__()
        position = torch.arange(max_length, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float32) * -(math.log(10_000.0) / d_model))
        code = torch.zeros(max_length, d_model)
        code[:, 0::2], code[:, 1::2] = torch.sin(position * rate), torch.cos(position * rate[: d_model // 2])
        self.register_buffer("code", code, persistent=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x (B, L, d) at positions start .. start + L - 1."""
        return self.dropout(x + self.code[start : start + x.shape[1]])


def causal_mask(tokens: Tensor) -> Tensor:
    """(B, L) ids -> (B, 1, L, L), True where a position may look: at itself and before, never at padding; position 0
    (the begin mark) is always on."""
    visible = tokens > 0
    visible[:, 0] = True
    length = tokens.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    return (visible[:, None, :] & before)[:, None]
