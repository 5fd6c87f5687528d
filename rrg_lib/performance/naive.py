"""The textbook's forms of the same mechanisms, written out honestly, as what ours are measured against. They compute
the same numbers.

What makes them slow is what makes the released code slow: the whole memory is projected for every study, the chosen
values are gathered from a tensor (B, h, L, N, d_k), and to write the next word everything is read again from the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.interface import Response, Slots
from rrg_lib.models.memory.base import plain_read
from rrg_lib.models.memory.cmn import CMNMemory
from rrg_lib.models.transformer import causal_mask, merge_heads, split_heads


def masked_dense_read(query: Tensor, keys: Tensor, values: Tensor, top_k: int) -> Tensor:
    """`plain_read` by a softmax over all N with the others masked: query (B, h, L, d_k), keys and values (B, h, N, d_k)
    -> (B, h, L, d_k)."""
    scores = query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, h, L, N)
    indices = scores.topk(top_k, dim=-1).indices
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, indices, True)
    return scores.masked_fill(~chosen, -torch.inf).softmax(-1) @ values


class NaiveCMN(nn.Module):
    """A CMN memory's own weights, read the textbook's way. It takes the place of the memory in a generator."""

    shares_slots = True

    def __init__(self, memory: CMNMemory):
        super().__init__()
        self.memory = memory

    def slots(self, labels: Tensor | None, modality: str) -> Slots:
        return self.memory.slots(labels, modality)  # only to say whose projections they are

    def respond(self, features: Tensor, slots: Slots) -> Response:
        name = slots.owner
        projections, matrix = self.memory.projections[name], self.memory.matrices[name]
        content = matrix.expand(len(features), -1, -1)  # every study projects the whole memory again
        query, keys, values = (
            split_heads(linear(x), projections.heads)
            for linear, x in ((projections.query, features), (projections.key, content), (projections.value, content))
        )
        answers, *_ = plain_read(query, Slots(keys, values), self.memory.config.top_k, scale=query.shape[-1] ** -0.5)
        none = query.new_empty(0)
        return Response(projections.output(merge_heads(answers)), none, none)

    def fuse(self, features: Tensor, response: Response, modality: str) -> Tensor:
        return self.memory.fuse(features, response, modality)

    def encoder_extra(self, image: Response | None) -> None:
        return None

    def decoder_prefix(self) -> None:
        return None

    def losses(self, *_: object) -> dict[str, Tensor]:
        return {}


@dataclass
class WholePrefix:
    """A decoder's state that remembers words and nothing else: (B, W, t) and the encoded patches (B, S, d)."""

    words: Tensor
    encoded: Tensor
    batch: int

    def reorder(self, parents: Tensor) -> None:
        self.words = self.words.gather(1, parents[..., None].expand(-1, -1, self.words.shape[-1]))

    def select(self, studies: Tensor) -> None:
        self.words, self.encoded, self.batch = self.words[studies], self.encoded[studies], len(studies)


class WithoutCache:
    """A generator whose every step reads the whole prefix again: a search cannot tell the difference, but for its
    time."""

    def __init__(self, generator: ReportGenerator):
        self.generator, self.device = generator, generator.device

    def start(self, inputs: Tensor) -> WholePrefix:
        encoded, _ = self.generator.encode(inputs)
        return WholePrefix(
            torch.zeros(len(inputs), 1, 0, dtype=torch.long, device=encoded.device), encoded, len(inputs)
        )

    def step(self, tokens: Tensor, state: WholePrefix) -> tuple[Tensor, WholePrefix]:
        state.words = torch.cat([state.words, tokens[..., None]], dim=-1)
        batch, width, length = state.words.shape
        prefix = state.words.reshape(batch * width, length)
        g = self.generator
        words, _ = g._consult(g._embed_tokens(prefix), g._slots(None)["text"], "text")
        encoded = state.encoded.repeat_interleave(width, dim=0)
        decoded = g.decoder(words, encoded, causal_mask(prefix))
        return g.logits(decoded[:, -1]).view(batch, width, -1), state


class TorchBase(nn.Module):
    """BASE of `torch.nn.Transformer` layers, of the same sizes: what one writes on a first afternoon."""

    def __init__(
        self, d_vf: int, vocabulary: int, d_model: int, d_ff: int, heads: int, layers: int, dropout: float = 0.1
    ):
        super().__init__()
        self.patches = nn.Sequential(nn.Linear(d_vf, d_model), nn.ReLU(), nn.Dropout(dropout))
        self.tokens = nn.Embedding(vocabulary + 1, d_model)
        options = {"dim_feedforward": d_ff, "dropout": dropout, "batch_first": True, "norm_first": True}
        encoder, decoder = (
            nn.TransformerEncoderLayer(d_model, heads, **options),
            nn.TransformerDecoderLayer(d_model, heads, **options),
        )
        self.encoder = nn.TransformerEncoder(encoder, layers, nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, layers, nn.LayerNorm(d_model))
        self.logits = nn.Linear(d_model, vocabulary + 1)

    def forward(self, patches: Tensor, tokens: Tensor) -> Tensor:
        """(B, S, d_vf), (B, L) -> logits (B, L, V + 1)"""
        ahead = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        return self.logits(
            self.decoder(self.tokens(tokens), self.encoder(self.patches(patches)), tgt_mask=ahead, tgt_is_causal=True)
        )


def looped_contrastive(features: Tensor, labels: Tensor, *, margin: float = 0.4, theta: float = 1.5) -> Tensor:
    """XProNet Eq. 17 pair by pair, as one reads it: (B, d), (B, C) -> a scalar. The same value as
    `multi_label_contrastive`."""
    total = features.new_zeros(())
    for anchor, anchor_labels in zip(features, labels, strict=True):
        for other, other_labels in zip(features, labels, strict=True):
            cosine = F.cosine_similarity(anchor, other, dim=0)
            if (anchor_labels * other_labels).sum() > 0:
                differing, counted = (anchor_labels != other_labels).sum(), (anchor_labels + other_labels).sum()
                total = total + (theta ** -(differing / counted) - cosine).clamp(min=0)
            else:
                total = total + (cosine - margin).clamp(min=0)
    return total / len(features) ** 2
