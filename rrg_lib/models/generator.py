"""`ReportGenerator`: patches in, report tokens out, with any memory between, or none (BASE)."""

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
    Response,
    Slots,
    WordTable,
    check_heads,
)
from rrg_lib.models.layers import Dropout, NormName
from rrg_lib.models.memory import CrossModalMemory, MemoryConfig
from rrg_lib.models.pair_alignment import PairConfig
from rrg_lib.models.transformer import Decoder, Encoder, LayerCache, SinusoidalPositions, causal_mask
from rrg_lib.runtime.settings import Count, DropShare, Size


@dataclass(frozen=True)
class TransformerConfig(GeneratorConfig):
    """Sizes of the encoder-decoder. Defaults are the published ones for IU X-Ray; `vocab_size` counts the ids without
    0."""

    kind: ClassVar[str] = "transformer"
    takes: ClassVar[tuple[str, ...]] = ("memory", "pair")
    attends: ClassVar[bool] = True
    vocab_size: Count = 760
    d_vf: Size = 2048
    d_model: Size = 512
    d_ff: Size = 512
    heads: Size = 8
    layers: LayerCount = 3
    dropout: DropShare = 0.1
    feature_dropout: DropShare = 0.5
    max_length: ReportLength = 60
    norm: NormName = "released"

    def __post_init__(self):
        super().__post_init__()
        check_heads(self.d_model, self.heads)

    def make(
        self, extractor: nn.Module | None, memory: MemoryConfig | None = None, pair: PairConfig | None = None
    ) -> ReportGenerator:
        return ReportGenerator(self, memory, extractor, pair)


@dataclass
class DecoderState:
    """Everything about B studies with W hypotheses each that does not have to be computed again for the next token."""

    caches: list[LayerCache]
    slots: Slots | None
    batch: int
    position: int = 0
    table: WordTable | None = None

    def select(self, studies: Tensor) -> None:
        """Go on with these studies alone, (b,): the others are done."""
        self.batch = len(studies)
        for cache in self.caches:
            cache.select(studies)
        if self.slots is not None:
            self.slots = self.slots.select(studies)

    def reorder(self, parents: Tensor) -> None:
        """Hypothesis w of study b goes on from hypothesis `parents[b, w]`; parents (B, W')."""
        for cache in self.caches:
            cache.reorder(parents)


class ReportGenerator(CaptionerModule):
    """The composed system: patch embedding, memory, encoder, decoder, next-token logits (CMN Fig. 2).

    `extractor`, a `VisualExtractor`, is part of the model when it is fine-tuned; without it the inputs are patch
    features made before. `pair` aligns reports with images while training; its parameters are kept with the others and
    take no part in writing a report.
    """

    def __init__(
        self,
        config: TransformerConfig,
        memory: MemoryConfig | None = None,
        extractor: nn.Module | None = None,
        pair: PairConfig | None = None,
    ):
        super().__init__(config, extractor)
        c, self.memory_config = config, memory
        self.patch_embedding = nn.Sequential(nn.Linear(c.d_vf, c.d_model), nn.ReLU(), Dropout(c.feature_dropout))
        self.token_embedding = nn.Embedding(c.vocab_size + 1, c.d_model)
        self.patch_positions = SinusoidalPositions(c.d_model, c.dropout)
        self.token_positions = SinusoidalPositions(c.d_model, c.dropout)
        self.encoder = Encoder(c.d_model, c.d_ff, c.heads, c.layers, c.dropout, c.norm)
        self.decoder = Decoder(c.d_model, c.d_ff, c.heads, c.layers, c.dropout, c.norm)
        self.logits = nn.Linear(c.d_model, c.vocab_size + 1)
        for part in (
            self.encoder,
            self.decoder,
            self.token_embedding,
        ):  # as released: xavier for every matrix of the Transformer
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        self.memory: CrossModalMemory | None = memory.build(c.d_model, c.heads) if memory else None
        # Last, so that of the same seed all other weights are those of the system without it.
        self.pair = pair.build(c.vocab_size + 1, c.d_model, c.d_vf) if pair else None

    def forward(self, batch: Batch, trace: list[Tensor] | None = None) -> Output:
        """Teacher forcing: every token is predicted from the true ones before it (CMN Eq. 1, XProNet Eq. 16). `trace`
        receives the cross-attention (B, h, T - 1, S) of each layer."""
        patches = self.patches_of(batch.inputs)
        slots = self._slots(batch.labels)
        encoded, image = self._encode(patches, slots["image"])
        tokens = batch.tokens[:, :-1]  # (B, L)
        words, text = self._consult(self._embed_tokens(tokens), slots["text"], "text")  # (B, L, d)
        logits = self.logits(
            self.decoder(words, encoded, causal_mask(tokens), trace=trace, prefix=self._prefix())
        )  # (B, L, V + 1)
        losses = self.memory.losses(image, text, tokens > 0, batch.labels) if self.memory else {}
        output = Output(logits, losses, image, text, patches, encoded[:, : patches.shape[1]], words)
        if self.pair is not None:
            output.losses = losses | self.pair.losses(output, batch)
        return output

    def encode(self, inputs: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Response | None]:
        """Patches (B, S, d_vf), or views, -> what the decoder reads, (B, S, d), and the memory's response to the
        patches."""
        return self._encode(self.patches_of(inputs), self._slots(labels)["image"])

    def _encode(self, patches: Tensor, slots: Slots | None) -> tuple[Tensor, Response | None]:
        features, response = self._consult(self.patch_embedding(patches), slots, "image")
        encoded = self.encoder(self.patch_positions(features))  # XProNet Eq. 15
        extra = self.memory.encoder_extra(response) if self.memory else None
        return (encoded if extra is None else torch.cat([encoded, extra], dim=1)), response

    @torch.no_grad()
    def start(
        self,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        max_length: int | None = None,
        table: WordTable | None = None,
    ) -> DecoderState:
        """Encode B studies once; one empty hypothesis each, with room for `max_length` tokens (the configured length by
        default). `table` is this generator's `word_table`, with its weights as they are now.

        Raises `ConfigurationError` for a table where none applies: dropout would be kept in it, or what a word is
        answered depends on the study's labels.
        """
        if table is not None and (self.training or not self._word_alone):
            why = "while it learns" if self.training else "whose memory is not asked by word and place alone"
            raise ConfigurationError(f"a generator {why} has no word table")
        slots = self._slots(labels)
        encoded, _ = self._encode(self.patches_of(inputs), slots["image"])
        caches = self.decoder.caches(encoded, max_length or self.config.max_length, self._prefix())
        return DecoderState(caches, slots["text"], len(inputs), table=table)

    def word_table(self) -> WordTable | None:
        """An empty table to write many batches with; None without a memory, and for one that is gated by each study's
        labels."""
        return WordTable() if self._word_alone else None

    @property
    def _word_alone(self) -> bool:
        return self.memory is not None and not self.memory_config.gated

    def recompute_activations(self, on: bool) -> None:
        self.encoder.checkpointed = self.decoder.checkpointed = on

    @torch.no_grad()
    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """The last tokens (B, W) of the hypotheses -> logits (B, W, V + 1) for the next ones: a factor of CMN Eq. 1.
        The memory is asked about the new tokens alone."""
        place = state.position

        def embedded(tokens: Tensor) -> Tensor:
            x = self.token_embedding(tokens) * math.sqrt(self.config.d_model)
            return self.token_positions.dropout(x + self.token_positions.code[place])

        def consulted(tokens: Tensor) -> Tensor:
            return self._consult(embedded(tokens), state.slots, "text")[0]

        if state.table is None:
            x = consulted(tokens)  # (B, W, d)
        else:
            x = state.table.of(tokens, place, self.token_embedding, lambda new: consulted(new[None])[0])
        state.position += 1
        return self.logits(self.decoder.step(x, state.caches)), state

    @torch.no_grad()
    def token_vectors(self) -> Tensor:
        """(V + 1, d) every token as the memory is asked about it, but for its place in the report."""
        return self.token_embedding.weight * math.sqrt(self.config.d_model)

    def _embed_tokens(self, tokens: Tensor) -> Tensor:
        return self.token_positions(self.token_embedding(tokens) * math.sqrt(self.config.d_model))  # (B, L, d)

    def _prefix(self) -> Tensor | None:
        return self.memory.decoder_prefix() if self.memory else None

    def _slots(self, labels: Tensor | None) -> dict[str, Slots | None]:
        """What each modality may ask: projected once where both ask the same."""
        if self.memory is None:
            return {"image": None, "text": None}
        image = self.memory.slots(labels, "image")
        return {"image": image, "text": image if self.memory.shares_slots else self.memory.slots(labels, "text")}

    def _consult(self, features: Tensor, slots: Slots | None, modality: str) -> tuple[Tensor, Response | None]:
        """The one idea: ask, respond, fuse."""
        if self.memory is None:
            return features, None
        response = self.memory.respond(features, slots)
        return self.memory.fuse(features, response, modality), response
