"""EKAGEN (Bu et al. 2024): a Transformer in whose decoder a row of "knowledge" about the findings that the film was
diagnosed with is mixed into every word, after every layer.

    e = enc(C p),  sine positions of the map added to queries and keys in every layer
    x_t = D(LN(E w_t + q_t)),  q_t learnt, and added to queries and keys in every layer of the decoder
    x ← W₃ [W₁ x ; W₂ κ_t]  after each layer; κ, the rows of the diagnosis, joined place by place: word t reads row t
    L = mean over all places of -log p(w_{t+1}) + δ τ²/B Σ KL(softmax(l^T / τ) ‖ softmax(l / τ))

Its code (hnjzbss/EKAGen, commit 9ef893b, Apache-2.0) is public; the networks that diagnose and teach, the knowledge
and the masks are downloads, which were not to be had, and the code that makes teacher and knowledge is not in it. So
this is a reconstruction around a decoder that is the release's: **A** is as the code has it and held against its
numbers, **B** as a description says, **C** is ours.

| part | what | level |
|---|---|---|
| encoder, decoder, fusion, the small network at the end, first weights | pre-norm; sizes as released | A |
| the report's loss | mean over all places of the batch, padding too (`padding`) | A |
| distillation | `distillation`; nobody to teach here, so no preset uses it | A; left out, C |
| diagnosis | 14 bits, the exact pattern looked up | A |
| who diagnoses | in training the labels of `memory.label_source`, at test `labels_at_test`, as XProNet | C |
| knowledge | row t of a pattern: mean vector of the words that stand at t in its training reports | C, see `prepare` |
| a pattern that the table lacks | its nearest one; as released, the batch is left out without a word | C |
| no diagnosis (`labels_at_test="none"`) | the mean over all training reports | C |
| films | both views, one map above the other; as released, the first alone | C |
| one id, 0, for start, end and padding | as all others here; as released, three ids | C |
| masked films at test, turned and coloured ones in training | left out: one extractor for all systems | C |
| decay | none (preset): the release's, decoupled, takes 10⁻⁸ of a weight a step | C |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import ConfigurationError
from rrg_lib.models.interface import Batch, CaptionerModule, GeneratorConfig, Output, Slots
from rrg_lib.models.layers import Dropout
from rrg_lib.models.memory.base import CrossModalMemory, MemoryConfig, Modality
from rrg_lib.models.transformer import FeedForward, KeysValues, LayerCache, MultiHeadAttention, causal_mask, split_heads
from rrg_lib.runtime.distributed import gathered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rrg_lib.models.batches import TrainingStudies

_LAYER = r"transformer\.(encoder|decoder)\.layers\.(\d+)\."
RELEASED_NAMES = (
    (r"input_proj\.(weight|bias)", r"patch_embedding.\1"),
    (r"transformer\.embeddings\.word_embeddings\.weight", "token_embedding.weight"),
    (r"transformer\.embeddings\.position_embeddings\.weight", "places.weight"),
    (r"transformer\.embeddings\.LayerNorm\.(weight|bias)", r"embedding_norm.\1"),
    (_LAYER + r"self_attn\.(query|key|value|output)\.(weight|bias)", r"\1.\2.self_attention.\3.\4"),
    (_LAYER + r"multihead_attn\.(query|key|value|output)\.(weight|bias)", r"\1.\2.cross_attention.\3.\4"),
    (_LAYER + r"linear1\.(weight|bias)", r"\1.\2.feed_forward.0.\3"),
    (_LAYER + r"linear2\.(weight|bias)", r"\1.\2.feed_forward.3.\3"),
    (_LAYER + r"norm1\.(weight|bias)", r"\1.\2.norms.0.\3"),
    (_LAYER + r"norm2\.(weight|bias)", r"\1.\2.norms.1.\3"),
    (_LAYER + r"norm3\.(weight|bias)", r"\1.\2.norms.2.\3"),
    (r"transformer\.(encoder|decoder)\.norm\.(weight|bias)", r"\1_norm.\2"),
    (r"transformer\.decoder\.fc1\.(\d+)\.(weight|bias)", r"decoder.\1.fusion.word.\2"),
    (r"transformer\.decoder\.fc2\.(\d+)\.(weight|bias)", r"decoder.\1.fusion.knowledge.\2"),
    (r"transformer\.decoder\.fc3\.(\d+)\.(weight|bias)", r"decoder.\1.fusion.joined.\2"),
    (r"mlp\.layers\.0\.(weight|bias)", r"logits.0.\1"),
    (r"mlp\.layers\.1\.(weight|bias)", r"logits.2.\1"),
    (r"mlp\.layers\.2\.(weight|bias)", r"logits.4.\1"),
)


def unpacked(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released weights, of each attention the three maps that lie in one tensor there by names of their own, and the
    1 x 1 convolution as the linear map that it is: `released_weights.from_table` knows them by `RELEASED_NAMES`."""
    found = {}
    for name, tensor in released.items():
        if ".in_proj_" in name:
            place, kind = name.split(".in_proj_")
            found |= {f"{place}.{m}.{kind}": t for m, t in zip(("query", "key", "value"), tensor.chunk(3), strict=True)}
        else:
            found[name.replace("out_proj", "output")] = tensor.flatten(1) if tensor.dim() == 4 else tensor
    return found


# --- the knowledge ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnowledgeConfig(MemoryConfig):
    """The table that an EKAGen decoder looks its knowledge up in: `rows`, the places of each block (128 as released);
    at most `patterns` blocks, the most frequent patterns of the training labels that at least `least` studies have (C:
    a block of one study would be the report that it is to learn, word for word)."""

    kind: ClassVar[str] = "knowledge"
    gated: ClassVar[bool] = True
    rows: int = 128
    patterns: int = 64
    least: int = 5
    label_source: str = "expert"

    def __post_init__(self):
        super().__post_init__()
        if min(self.rows, self.patterns, self.least) < 1:
            raise ConfigurationError(
                f"rows is {self.rows}, patterns {self.patterns} and least {self.least}: each must be at least 1"
            )

    def build(self, d_model: int, heads: int) -> CrossModalMemory:
        """Nothing asks this memory, so only an EKAGen decoder can read it."""
        raise ConfigurationError(
            "a memory of the kind 'knowledge' is joined to a report place by place: a generator of the kind 'ekagen' "
            "takes it, and no other"
        )


class KnowledgeMemory(CrossModalMemory):
    """EKAGEN, knowledge: a block of rows for each pattern of the 14 observations, looked up by a study's labels.
    Nothing in it is learnt; the generator decides what to make of a row.

    `blocks` (P + 1, T, d), the last for a study of which nothing is known; `patterns` (P, 14), most frequent first, -1
    where there is none.
    """

    def __init__(self, config: KnowledgeConfig, d_model: int):
        super().__init__()
        self.config = config
        self.register_buffer("blocks", torch.zeros(config.patterns + 1, config.rows, d_model))
        self.register_buffer("patterns", torch.full((config.patterns, len(OBSERVATIONS)), -1.0))

    @torch.no_grad()
    def prepare(self, training: TrainingStudies) -> None:
        """Write the training reports into the table.

        Level C. Row t of a pattern is the mean, over its studies, of the vector of their word t + 1, the one that is to
        be written at place t (of the end mark after the last), at root mean square 1. The vectors are the generator's
        own word vectors before training: of a word and of a row that says it, both are known to the same maps, and no
        pretrained words come in that the other systems don't have.
        """
        words, rows = training.token_vectors, self.config.rows
        said = torch.zeros(len(training), rows, dtype=torch.long)
        for study, i in enumerate(training.indices):
            tokens = torch.as_tensor(training.tokens(i)[1 : rows + 1])
            said[study, : len(tokens)] = tokens
        labels = torch.from_numpy(training.labels)
        patterns, of, counts = labels.unique(dim=0, return_inverse=True, return_counts=True)
        frequent = counts.argsort(descending=True, stable=True)[: self.config.patterns]
        frequent = frequent[counts[frequent] >= self.config.least]
        groups = [(of == pattern).nonzero()[:, 0] for pattern in frequent] + [torch.arange(len(said))]
        places = [*range(len(frequent)), len(self.blocks) - 1]
        for place, studies in zip(places, groups, strict=True):
            mean = sum(words[said[study]] for study in studies) / len(studies)  # (T, d)
            self.blocks[place] = F.normalize(mean, dim=-1) * math.sqrt(mean.shape[-1])
        self.patterns[: len(frequent)] = patterns[frequent].to(self.patterns)

    def looked_up(self, labels: Tensor | None, batch: int) -> Tensor:
        """EKAGEN, knowledge: (B, T, d) of studies with these labels (B, 14): the block of their pattern, else of the
        one that differs in the fewest observations, of several the most frequent. Without labels, or before the table
        was written, the last block for all."""
        meta = self.patterns.device.type == "meta"
        known = len(self.patterns) if meta else int((self.patterns[:, 0] >= 0).sum())
        if labels is None or not known:
            return self.blocks[-1:].expand(batch, -1, -1)
        if labels.shape[-1] != self.patterns.shape[-1]:
            raise ConfigurationError(
                f"a study has {labels.shape[-1]} labels, the knowledge patterns of {self.patterns.shape[-1]}"
            )
        present = (labels > 0.5).to(self.patterns)
        differ = (present[:, None] - self.patterns[:known]).abs().sum(-1)  # (B, P)
        rank = torch.arange(known, device=differ.device) / known  # below 1: it decides between equals alone
        return self.blocks[(differ + rank).argmin(-1)]

    def slots(self, labels: Tensor | None, modality: Modality) -> Slots:
        """The rows of each study, (B, 1, T, d): what is looked up, not asked."""
        rows = self.looked_up(labels, 1 if labels is None else len(labels))[:, None]
        return Slots(rows, rows)


# --- the generator ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EKAGenConfig(GeneratorConfig):
    """Sizes as released. `hidden` of the network that scores the words, None for twice d_model; `places`, the longest
    report that the learnt places reach. `views`: a study's patches are so many square maps, which are read as one, each
    below the last (C); `map_rows` says how many rows the whole map has where they are not. `padding`: the loss counts
    every place of the batch, as released; without, words and end alone."""

    vocab_size: int = 760
    d_vf: int = 2048
    d_model: int = 256
    d_ff: int = 2048
    heads: int = 8
    layers: int = 6
    hidden: int | None = None
    places: int = 128
    dropout: float = 0.1
    max_length: int = 60
    views: int = 2
    map_rows: int | None = None
    padding: bool = True

    kind: ClassVar[str] = "ekagen"
    takes: ClassVar[tuple[str, ...]] = ("memory",)
    attends: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.d_model % self.heads or self.d_model % 4:
            raise ConfigurationError(
                f"d_model is {self.d_model} and heads is {self.heads}: the heads must divide d_model, and so must 4 "
                f"(sine and cosine of row and column)"
            )
        if not 1 <= self.max_length <= self.places:
            raise ConfigurationError(
                f"max_length is {self.max_length}: there are {self.places} learnt places; set generator.places higher"
            )

    def make(self, extractor: nn.Module | None, memory: MemoryConfig | None = None) -> EKAGen:
        if memory is not None and not isinstance(memory, KnowledgeConfig):
            raise ConfigurationError(
                f"a generator of the kind 'ekagen' takes a memory of the kind 'knowledge' or none, not {memory.kind!r}"
            )
        return EKAGen(self, extractor, memory)


def sine_positions(rows: int, columns: int, d: int) -> Tensor:
    """(rows · columns, d): half of the numbers are sines and cosines of the row, then as many of the column, both
    counted from 1 and scaled to 2π (DETR, Carion et al. 2020; as released)."""
    half = d // 2
    rate = 10_000 ** (2 * torch.arange(half).div(2, rounding_mode="floor") / half)

    def code(length: int) -> Tensor:
        at = torch.arange(1, length + 1, dtype=torch.float32) / (length + 1e-6) * 2 * math.pi
        angle = at[:, None] / rate  # (length, d/2)
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)

    row, column = code(rows)[:, None].expand(-1, columns, -1), code(columns)[None].expand(rows, -1, -1)
    return torch.cat([row, column], -1).flatten(0, 1)


def placed(attention: MultiHeadAttention, source: Tensor, places: Tensor) -> KeysValues:
    """Keys of a source (…, S, d) that know their place (S, d), and values that don't."""
    return KeysValues(
        split_heads(attention.key(source + places), attention.heads),
        split_heads(attention.value(source), attention.heads),
    )


class PlacedEncoderLayer(nn.Module):
    """A pre-norm layer whose queries and keys are told their places."""

    def __init__(self, config: EKAGenConfig):
        super().__init__()
        c = config
        self.self_attention = MultiHeadAttention(c.d_model, c.heads, c.dropout)
        self.feed_forward = FeedForward(c.d_model, c.d_ff, c.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(c.d_model) for _ in range(2))
        self.dropout = Dropout(c.dropout)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """x (B, S, d), places (S, d)"""
        y = self.norms[0](x)
        x = x + self.dropout(self.self_attention(y + places, placed(self.self_attention, y, places)))
        return x + self.dropout(self.feed_forward(self.norms[1](x)))


class KnowledgeFusion(nn.Module):
    """EKAGEN, fusion: x ← W₃ [W₁ x ; W₂ κ], three linear maps: nothing passes beside them, and no bend between."""

    def __init__(self, d: int):
        super().__init__()
        self.word, self.knowledge, self.joined = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor, knowledge: Tensor) -> Tensor:
        """x and the rows of the same places, (B, L, d)"""
        known = self.knowledge(knowledge).expand_as(x)
        return self.joined(torch.cat([self.word(x), known], -1))


class KnowledgeDecoderLayer(nn.Module):
    """A pre-norm layer with places in queries and keys, and the fusion after it; none without knowledge."""

    def __init__(self, config: EKAGenConfig, informed: bool):
        super().__init__()
        c = config
        self.self_attention = MultiHeadAttention(c.d_model, c.heads, c.dropout)
        self.cross_attention = MultiHeadAttention(c.d_model, c.heads, c.dropout)
        self.feed_forward = FeedForward(c.d_model, c.d_ff, c.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(c.d_model) for _ in range(3))
        self.dropout = Dropout(c.dropout)
        self.fusion = KnowledgeFusion(c.d_model) if informed else None

    def forward(
        self,
        x: Tensor,
        places: Tensor,
        source: KeysValues,
        mask: Tensor,
        knowledge: Tensor | None,
        trace: list[Tensor] | None = None,
    ) -> Tensor:
        """x and knowledge (B, L, d), places (L, d)"""
        y = self.norms[0](x)
        past = placed(self.self_attention, y, places)
        x = x + self.dropout(self.self_attention(y + places, past, mask))
        return self._look_and_think(x, places, source, knowledge, trace)

    def step(self, x: Tensor, place: Tensor, knowledge: Tensor | None, cache: LayerCache) -> Tensor:
        """One new place (d,) of W hypotheses a study, x (B, W, d), knowledge (B, 1, d) -> (B, W, d)"""
        y = self.norms[0](x)[:, :, None]  # (B, W, 1, d): each hypothesis is a sequence of its own
        past = cache.append(placed(self.self_attention, y, place))
        x = x + self.dropout(self.self_attention(y + place, past)[:, :, 0])
        return self._look_and_think(x, place, cache.source, knowledge)

    def _look_and_think(
        self,
        x: Tensor,
        places: Tensor,
        source: KeysValues,
        knowledge: Tensor | None,
        trace: list[Tensor] | None = None,
    ) -> Tensor:
        y = self.norms[1](x) + places
        if trace is not None:
            trace.append(self.cross_attention.weights(y, source))
        x = x + self.dropout(self.cross_attention(y, source))
        x = x + self.dropout(self.feed_forward(self.norms[2](x)))
        return x if self.fusion is None else self.fusion(x, knowledge)


@dataclass
class EKAGenState:
    """Keys and values as in any Transformer, and the rows (B, T, d) that each study's diagnosis looked up."""

    caches: list[LayerCache]
    knowledge: Tensor | None
    batch: int
    position: int = 0

    def select(self, studies: Tensor) -> None:
        self.batch = len(studies)
        if self.knowledge is not None:
            self.knowledge = self.knowledge[studies]
        for cache in self.caches:
            cache.select(studies)

    def reorder(self, parents: Tensor) -> None:
        for cache in self.caches:
            cache.reorder(parents)


class EKAGen(CaptionerModule):
    """The whole of it; without a memory, the captioner under it."""

    def __init__(self, config: EKAGenConfig, extractor: nn.Module | None = None, memory: KnowledgeConfig | None = None):
        super().__init__(config, extractor)
        c = config
        self.patch_embedding = nn.Linear(c.d_vf, c.d_model)
        self.encoder = nn.ModuleList(PlacedEncoderLayer(c) for _ in range(c.layers))
        self.encoder_norm = nn.LayerNorm(c.d_model)
        self.token_embedding, self.places = nn.Embedding(c.vocab_size + 1, c.d_model), nn.Embedding(c.places, c.d_model)
        self.embedding_norm, self.dropout = nn.LayerNorm(c.d_model, eps=1e-12), Dropout(c.dropout)
        self.decoder = nn.ModuleList(KnowledgeDecoderLayer(c, memory is not None) for _ in range(c.layers))
        self.decoder_norm = nn.LayerNorm(c.d_model)
        hidden = c.hidden or 2 * c.d_model
        sizes = (c.d_model, hidden, hidden, c.vocab_size + 1)
        maps = [nn.Linear(before, after) for before, after in pairwise(sizes)]
        self.logits = nn.Sequential(maps[0], nn.ReLU(), maps[1], nn.ReLU(), maps[2])
        self._begin()
        self.memory = None if memory is None else KnowledgeMemory(memory, c.d_model)

    def _begin(self) -> None:
        """First weights as released: Xavier for all of the Transformer, the three maps of an attention as one matrix,
        its biases 0."""
        for part in (self.encoder, self.decoder, self.token_embedding, self.places):
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        for attention in (module for module in self.modules() if isinstance(module, MultiHeadAttention)):
            for linear in (attention.query, attention.key, attention.value):
                nn.init.xavier_uniform_(linear.weight, gain=1 / math.sqrt(2))  # fan out 3d, not d
            for linear in (attention.query, attention.key, attention.value, attention.output):
                nn.init.zeros_(linear.bias)

    @torch.no_grad()
    def token_vectors(self) -> Tensor:
        """(V + 1, d): the word vectors that the knowledge is written in."""
        return self.token_embedding.weight

    def positions(self, patches: int) -> Tensor:
        """(S, d) of a map of S patches. Raises `ConfigurationError` where they are none of `views` squares."""
        c = self.config
        rows = c.map_rows or c.views * math.isqrt(patches // c.views)
        if not rows or patches % rows or (c.map_rows is None and rows * rows != patches * c.views):
            raise ConfigurationError(
                f"{patches} patches are no map of {c.map_rows} rows: set generator.map_rows"
                if c.map_rows
                else f"{patches} patches are not those of {c.views} square views: set generator.views, or "
                f"generator.map_rows"
            )
        return sine_positions(rows, patches // rows, c.d_model).to(self.places.weight)

    def encode(self, patches: Tensor) -> list[KeysValues]:
        """(B, S, d_vf) -> what each layer of the decoder looks at."""
        encoded, places = self._encoded(patches)
        return [placed(layer.cross_attention, encoded, places) for layer in self.decoder]

    def _encoded(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        x, places = self.patch_embedding(patches), self.positions(patches.shape[1])
        for layer in self.encoder:
            x = layer(x, places)
        return self.encoder_norm(x), places

    def embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        """(B, L), (L, d) -> (B, L, d)"""
        return self.dropout(self.embedding_norm(self.token_embedding(tokens) + places))

    def knowledge(self, labels: Tensor | None, batch: int) -> Tensor | None:
        """(B, T, d) of studies with these labels, None without a memory."""
        return None if self.memory is None else self.memory.looked_up(labels, batch)

    def forward(self, batch: Batch, trace: list[Tensor] | None = None) -> Output:
        """Teacher forcing. `trace` receives the cross-attention (B, h, T - 1, S) of each layer."""
        patches, tokens = self.patches_of(batch.inputs), batch.tokens[:, :-1]  # (B, L)
        length = self._reach(tokens.shape[1])
        encoded, positions = self._encoded(patches)
        places, rows = self.places.weight[:length], self.knowledge(batch.labels, len(tokens))
        rows = None if rows is None else at_places(rows, torch.arange(length, device=rows.device))
        x, mask = self.embed(tokens, places), causal_mask(tokens)
        words = x
        for layer in self.decoder:
            x = layer(x, places, placed(layer.cross_attention, encoded, positions), mask, rows, trace)
        logits = self.logits(self.decoder_norm(x))
        losses = {"padding": padding_loss(logits, batch.tokens, batch.mask)} if self.config.padding else {}
        return Output(logits, losses, patches=patches, encoded=encoded, words=words)

    def _reach(self, length: int) -> int:
        if length > self.config.places:
            raise ConfigurationError(
                f"a report of {length} tokens: the generator has {self.config.places} learnt places; set "
                f"generator.places before training, or ask for shorter reports"
            )
        return length

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> EKAGenState:
        length, caches = self._reach(length or self.config.max_length), []
        for source in self.encode(patches):
            batch, heads, _, d_k = source.keys.shape
            room = KeysValues(*(patches.new_empty(batch, 1, heads, length, d_k) for _ in range(2)))
            caches.append(LayerCache(past=room, source=source))
        return EKAGenState(caches, self.knowledge(labels, len(patches)), len(patches))

    @torch.no_grad()
    def step(self, tokens: Tensor, state: EKAGenState) -> tuple[Tensor, EKAGenState]:
        """See `Captioner`: tokens (B, W) -> logits (B, W, V + 1)."""
        at = state.position
        place, x = self.places.weight[at], self.embed(tokens, self.places.weight[at])
        rows = None if state.knowledge is None else at_places(state.knowledge, torch.tensor([at], device=x.device))
        for layer, cache in zip(self.decoder, state.caches, strict=True):
            x = layer.step(x, place, rows, cache)
        state.position += 1
        return self.logits(self.decoder_norm(x)), state


def at_places(knowledge: Tensor, places: Tensor) -> Tensor:
    """The rows of these places, (B, T, d), (L,) -> (B, L, d); the last row from there on."""
    return knowledge[:, places.clamp(max=knowledge.shape[1] - 1)]


# --- what training asks for -------------------------------------------------------------------------------------------


def padding_loss(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """EKAGEN, loss over all places: what turns the mean over words and end, which every system here is trained by, into
    the release's mean over all places of the batch, where 0 follows 0. logits (B, T - 1, V + 1), tokens and mask
    (B, T)."""
    nll = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none").view(len(tokens), -1)
    words = mask[:, 1:].to(nll)
    sums = gathered(torch.stack([nll.sum(1), torch.ones_like(nll).sum(1), (nll * words).sum(1), words.sum(1)], 1)).sum(
        0
    )
    return sums[0] / sums[1] - sums[2] / sums[3]


def distillation(teacher: Tensor, logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """EKAGEN, distillation: τ²/B Σ KL(softmax(l^T/τ) ‖ softmax(l/τ)), logits (B, T, V) of teacher and student. It sums
    over the places and divides by the studies alone, so it grows with T; the release weighs it by δ = 0.01."""
    ours, theirs = ((x / temperature).log_softmax(-1) for x in (logits, teacher))
    return temperature**2 / len(logits) * F.kl_div(ours, theirs, reduction="sum", log_target=True)
