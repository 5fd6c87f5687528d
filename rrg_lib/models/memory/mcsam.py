"""MCSAM: a long-term clinical memory bank, a semantic alignment of what image and report retrieve from it, and memory
tokens in the decoder.

Tao, Ma, Yu, Zhang: Memory-based Cross-modal Semantic Alignment Network for Radiology Report Generation, arXiv
2404.00588, JBHI 2024.

The paper's full text and code were not to be had, so this is a reconstruction, and each choice says how well it is
founded: **A** stands in the abstract or the summary, **B** in third-party summaries of the paper, **C** is ours.

| part | what | level |
|---|---|---|
| image encoder | a ResNet-50 initialised from MedCLIP; ours: the extractor of the profile | B; ours, C |
| bank | one, initialised with domain knowledge, retrieved for both modalities, for feature consolidation | A |
| initialisation | topics of the reports by optimal transport, without labels | B; how (`topics`), C |
| space of the bank | weighted sums of *this generator's own* token vectors, root mean square 1 | C, see `prepare` |
| retrieval | the K best slots by scaled dot product, head by head, as CMN; K = N is one modern-Hopfield step | C |
| consolidation | features + response | C |
| alignment | consistency of what both retrieve | A |
| objective | report cross-entropy | A |
| its second part | L_align, contrastive; symmetric InfoNCE over the batch, weight 1 | B; the form, C |
| pooling, projection | mean over patches or words, a linear map a modality, L2-normalised | C |
| semantic visual embedding | is added to the decoder; here as one slot more that it attends to | A; how, C |
| memory tokens | learnable, in the decoder, like prompts; P keys and values of self-attention | A; how and P, C |
| every number | N, K, P, temperature, width of the alignment | C |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Interval
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.contrastive import masked_mean
from rrg_lib.models.interface import Response, Slots
from rrg_lib.models.memory.base import (
    CrossModalMemory,
    MemoryConfig,
    MemoryProjections,
    Modality,
    SlotCount,
    check_top_k,
    read_slots,
)
from rrg_lib.models.memory.topics import find_topics
from rrg_lib.models.transformer import merge_heads, split_heads
from rrg_lib.runtime.distributed import gathered
from rrg_lib.runtime.settings import Count, DropShare, NonNegative, Size

if TYPE_CHECKING:
    from rrg_lib.models.batches import TrainingStudies

Initialisation = Literal["random", "kmeans", "label_kmeans", "ot_topics"]
Retrieval = Literal["soft", "hard", "none"]
Alignment = Literal["contrastive", "direct", "none"]
#: The learnt temperature never goes below 1/100, as in CLIP (Radford et al. 2021).
_LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class MCSAMConfig(MemoryConfig):
    """Every number is ours (C), the sizes of the bank those of CMN for comparison.

    `initialisation` of the bank (B: "ot_topics"); `frozen`: it never learns. `retrieval`: "soft" softmax over the
    `top_k`, "hard" the best slot alone, "none" no bank at all: alignment then pools the features themselves.
    `alignment`: "contrastive" (B), "direct" 1 - cosine of the matching pairs, or "none". `alignment_dim`: numbers in
    the aligned embeddings; `temperature` of the contrastive loss at the start. `semantic_slot`: whether the decoder
    attends to the visual embedding. `memory_tokens`: P, 0 for none. `dropout` of the softmax weights, as CMN's.
    """

    kind: ClassVar[str] = "mcsam"
    slots: SlotCount = 2048
    top_k: Count = 32
    initialisation: Initialisation = "ot_topics"
    frozen: bool = False
    retrieval: Retrieval = "soft"
    alignment: Alignment = "contrastive"
    alignment_weight: NonNegative = 1.0
    alignment_dim: Size = 128
    temperature: Annotated[float, Gt(0)] = 0.07
    semantic_slot: bool = True
    memory_tokens: Annotated[int, Interval(ge=0, le=65_536)] = 16
    dropout: DropShare = 0.1

    def __post_init__(self):
        super().__post_init__()
        check_top_k(self.top_k, self.slots)

    def build(self, d_model: int, heads: int) -> MCSAMMemory:
        return MCSAMMemory(self, d_model, heads)


class MCSAMMemory(CrossModalMemory):
    """One bank (N, d) for both modalities; `image` and `text` responses aligned; an embedding and tokens for the
    decoder."""

    shares_slots = True

    def __init__(self, config: MCSAMConfig, d_model: int, heads: int):
        super().__init__()
        self.config, self.heads = config, heads
        self.rows = self.projections = None
        if config.retrieval != "none":
            # Kept like word embeddings, small, and multiplied by √d where they are used: Adam's steps have one size,
            # and would leave larger rows where they began. A random bank has the size of an initialised one, so that
            # the ablation compares contents and not sizes.
            self.rows = nn.Parameter(
                torch.randn(config.slots, d_model) / math.sqrt(d_model), requires_grad=not config.frozen
            )
            self.projections = MemoryProjections(d_model, heads, config.dropout)
            self.projections.key.load_state_dict(self.projections.query.state_dict())  # see `prepare`
        aligned = config.alignment != "none"
        sides: list[Modality] = ["image", "text"] if aligned else ["image"] if config.semantic_slot else []
        self.embeddings = nn.ModuleDict({side: nn.Linear(d_model, config.alignment_dim) for side in sides})
        self.log_scale = (
            nn.Parameter(torch.tensor(-math.log(config.temperature))) if config.alignment == "contrastive" else None
        )
        self.semantic_slot = None
        if config.semantic_slot:  # normalised, because the encoded patches beside it are
            self.semantic_slot = nn.Sequential(nn.Linear(config.alignment_dim, d_model), nn.LayerNorm(d_model))
        self.tokens = nn.Parameter(torch.randn(config.memory_tokens, d_model) * 0.02) if config.memory_tokens else None

    @property
    def bank(self) -> Tensor | None:
        """What the slots hold (N, d), rows of root mean square about 1; None without retrieval."""
        return None if self.rows is None else self.rows * math.sqrt(self.rows.shape[1])

    @torch.no_grad()
    def prepare(self, training: TrainingStudies) -> None:
        """Write the topics of the training reports into the bank: slot k = Σ_w β_kw e_w, β_kw the weight of word w in
        topic k, e_w its token vector.

        Level C. The generator's own token vectors, random as they are before training, put the bank in the space that
        words are asked in, without giving this system pretrained word vectors that the others don't have. Since keys
        and queries begin with the same projection, a word leans towards the topics it stands in before anything is
        learnt; a patch has to learn what to ask for.

        Raises `ConfigurationError` when `training` has no token vectors or they are not as wide as the bank.
        """
        if self.rows is None or self.config.initialisation == "random":
            return
        words = training.token_vectors
        if words is None or words.shape[-1] != self.rows.shape[1]:
            given = "none" if words is None else f"vectors of {words.shape[-1]} numbers"
            raise ConfigurationError(
                f"a bank of width {self.rows.shape[1]} is written in token vectors of that width; TrainingStudies has "
                f"{given}"
            )
        topics = find_topics(training, self.config.slots, self.config.initialisation, seed=training.seed)
        slots = torch.from_numpy(topics.weights).to(words) @ words  # (N, d)
        self.rows.copy_(F.normalize(slots, dim=-1))

    def slots(self, labels: Tensor | None, modality: Modality) -> Slots:
        if self.rows is None:
            nothing = next(self.parameters(), torch.empty(0)).new_empty(1, self.heads, 0, 0)
            return Slots(nothing, nothing)
        return self.projections.slots(self.bank[None])

    def respond(self, features: Tensor, slots: Slots) -> Response:
        """features (B, L, d) -> Response. Without retrieval it is the features themselves, with weights and indices (B,
        h, L, 0) of no slot."""
        if self.rows is None:
            none = features.new_empty(len(features), self.heads, features.shape[1], 0)
            return Response(features, none, none.long())
        if self.config.retrieval == "soft":
            return self.projections.read(features, slots, self.config.top_k)
        return self._read_hard(features, slots)

    def _read_hard(self, features: Tensor, slots: Slots) -> Response:
        """The best slot's value alone, with the gradient of the soft answer (straight-through; Bengio et al. 2013): the
        choice itself has none, and queries and keys would never learn. The weight is always 1."""
        query = split_heads(self.projections.query(features), self.heads)  # (B, h, L, d_k)
        soft, weights, indices = read_slots(query, slots, self.config.top_k, scale=1 / math.sqrt(query.shape[-1]))
        best = indices[..., 0]  # (B, h, L)
        values = slots.values[0][torch.arange(self.heads, device=best.device)[:, None], best]  # (B, h, L, d_k)
        answers = soft + (values - soft).detach()
        return Response(
            self.projections.output(merge_heads(answers)), torch.ones_like(weights[..., :1]), indices[..., :1]
        )

    def fuse(self, features: Tensor, response: Response, modality: Modality) -> Tensor:
        return features if self.rows is None else features + response.vectors

    def visual_embedding(self, image: Response) -> Tensor:
        """The semantic visual embedding (B, p), unit length: mean response over the patches, projected."""
        return F.normalize(self.embeddings["image"](image.vectors.mean(1)), dim=-1)

    def report_embedding(self, text: Response, token_mask: Tensor) -> Tensor:
        """The report's embedding (B, p), unit length: mean response over the words, where `token_mask` (B, L) is True,
        projected."""
        return F.normalize(self.embeddings["text"](masked_mean(text.vectors, token_mask)), dim=-1)

    def encoder_extra(self, image: Response | None) -> Tensor | None:
        """The semantic visual embedding as one more slot (B, 1, d) that the decoder attends to."""
        return None if self.semantic_slot is None else self.semantic_slot(self.visual_embedding(image))[:, None]

    def decoder_prefix(self) -> Tensor | None:
        return self.tokens

    def losses(self, image: Response, text: Response, token_mask: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """L_align (MCSAM, objective), weighted; none without alignment."""
        if self.config.alignment == "none":
            return {}
        visual, report = (
            gathered(self.visual_embedding(image).float()),
            gathered(self.report_embedding(text, token_mask).float()),
        )
        if self.log_scale is None:
            loss = direct_alignment(visual, report)
        else:
            loss = contrastive_alignment(visual, report, self.log_scale.exp().clamp(max=_LARGEST_SCALE))
        return {"alignment": self.config.alignment_weight * loss}


def contrastive_alignment(visual: Tensor, report: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE (Oord et al. 2018; both ways as in CLIP): each image finds its report among the batch's, each
    report its image. L_align, B.

    visual and report (B, p) of unit length; `scale` is 1/temperature. A batch of one has nothing to tell apart: 0, with
    gradient 0. Reports that other studies of the batch have word for word count as wrong answers all the same, so the
    loss of a batch with copies can't reach 0.
    """
    scores = scale * visual @ report.T  # (B, B)
    partners = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, partners) + F.cross_entropy(scores.T, partners)) / 2


def direct_alignment(visual: Tensor, report: Tensor) -> Tensor:
    """Mean 1 - cosine of the matching pairs, (B, p) of unit length: nothing keeps all studies from one and the same
    embedding."""
    return (1 - (visual * report).sum(-1)).mean()
