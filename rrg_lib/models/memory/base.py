"""The one idea: features ask a memory, the memory responds, the response is fused.

    features ──query──▶ memory ──respond──▶ responses ──fuse──▶ features'

A system is a subclass of `CrossModalMemory` and a `MemoryConfig` that builds it. The generator knows nothing else about
it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models.interface import Response, Slots
from rrg_lib.models.layers import dropout as drop
from rrg_lib.models.memory.top_k import best_scores, weighted_sum
from rrg_lib.models.transformer import merge_heads, split_heads
from rrg_lib.runtime.settings import check_settings

if TYPE_CHECKING:
    from rrg_lib.models.batches import TrainingStudies

Modality = Literal["image", "text"]


def plain_read(query: Tensor, slots: Slots, top_k: int, *, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """The whole idea, as one reads it: each query asks its K best slots and is answered with the mean of their values,
    weighted by a softmax of the scores (CMN Eq. 7-10 and 12-13). Heads are kept apart.

    query (B, h, L, d_k) -> answers (B, h, L, d_k), weights and slot indices (B, h, L, K), best first. `read_slots` is
    what the models call: it gives the same, also gradients, without the tensors over all slots that this one makes.
    """
    keys, values = (x.expand(len(query), -1, -1, -1) for x in (slots.keys, slots.values))  # (B, h, N, d_k)
    scores = scale * query @ keys.transpose(-2, -1)  # (B, h, L, N): Eq. 7-8
    if slots.mask is not None:
        scores = scores.masked_fill(~slots.mask[:, None, None], torch.finfo(scores.dtype).min)
    best, indices = scores.topk(top_k, dim=-1)  # (B, h, L, K)
    weights = best.softmax(dim=-1)  # Eq. 9-10
    every = values[:, :, None].expand(-1, -1, query.shape[2], -1, -1)  # (B, h, L, N, d_k)
    chosen = every.gather(3, indices[..., None].expand(*indices.shape, values.shape[-1]))  # (B, h, L, K, d_k)
    answers = (weights[..., None] * chosen).sum(dim=3)  # Eq. 12-13
    return answers, weights, indices


def read_slots(
    query: Tensor,
    slots: Slots,
    top_k: int,
    *,
    scale: float,
    dropout: float = 0.0,
    weighting: Literal["softmax", "linear"] = "softmax",
) -> tuple[Tensor, Tensor, Tensor]:
    """`plain_read` made fast: CMN Eq. 7-10 and 12-13, what each head's K best slots answer.

    Args:
        query: (B, h, L, d_k).
        slots: keys and values (B or 1, h, N, d_k).
        top_k: K, at most N.
        scale: factor on the dot products (Eq. 7: 1/sqrt(d)).
        dropout: probability of dropping a weight, as released; 0 when not training.
        weighting: of the K scores, their softmax (CMN Eq. 9-10) or their share of the sum, which may be negative
            (XProNet Eq. 11).

    Returns the answers (B, h, L, d_k), the weights before dropout and the slot indices (B, h, L, K), best first.
    Nothing of size (B, h, L, N, d_k) or (B, h, L, K, d_k) ever exists, and of (B, h, L, N) only a part at a time: see
    `rrg_lib.models.memory.top_k`.
    """
    batch, heads, length, d_k = query.shape
    mask = slots.mask
    if shared := len(slots.keys) == 1:  # every study asks the same slots: one long query sequence a head
        groups = query.transpose(0, 1).reshape(heads, batch * length, d_k)  # (h, B L, d_k)
        mask = None if mask is None else mask.expand(batch, -1).repeat_interleave(length, dim=0)[None]  # (1, B L, N)
    else:
        groups = query.flatten(0, 1)  # (B h, L, d_k)
        mask = None if mask is None else mask.repeat_interleave(heads, dim=0)[:, None]  # (B h, 1, N)
    best, indices = best_scores(groups * scale, slots.keys.flatten(0, 1), top_k, mask)  # (h, B L, K) or (B h, L, K)
    weights = best.softmax(dim=-1) if weighting == "softmax" else linear_weights(best)
    answers = weighted_sum(drop(weights, dropout), indices, slots.values.flatten(0, 1))

    def apart(x: Tensor) -> Tensor:
        return (
            x.view(heads, batch, length, x.shape[-1]).transpose(0, 1)
            if shared
            else x.view(batch, heads, length, x.shape[-1])
        )

    return apart(answers), apart(weights), apart(indices)


def linear_weights(scores: Tensor, least: float = 1e-6) -> Tensor:
    """D / sum D over the last axis (XProNet Eq. 11 as printed); masked slots weigh 0. Ours: a sum nearer to 0 than
    `least` is moved there, so that the weights stay finite where scores of both signs cancel."""
    scores = scores.masked_fill(scores == torch.finfo(scores.dtype).min, 0.0)
    total = scores.sum(dim=-1, keepdim=True)
    return scores / torch.where(total.abs() < least, torch.where(total < 0, -least, least), total)


class MemoryProjections(nn.Module):
    """The four linear maps of a multi-head memory read, shared by image and text: query and key (CMN Eq. 4-6), value
    (CMN Eq. 11), output (as released)."""

    def __init__(self, d_model: int, heads: int, dropout: float):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))
        self.heads, self.dropout = heads, dropout
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)

    def slots(self, content: Tensor, mask: Tensor | None = None) -> Slots:
        """Project what the memory holds, (B or 1, N, d), once."""
        return Slots(split_heads(self.key(content), self.heads), split_heads(self.value(content), self.heads), mask)

    def read(self, features: Tensor, slots: Slots, top_k: int, scale_dim: int | None = None) -> Response:
        """(B, L, d) -> Response. `scale_dim` is the d of 1/sqrt(d): d_k when None, as released."""
        query = split_heads(self.query(features), self.heads)
        scale = 1 / math.sqrt(scale_dim or query.shape[-1])
        answers, weights, indices = read_slots(
            query, slots, top_k, scale=scale, dropout=self.dropout if self.training else 0.0
        )
        return Response(self.output(merge_heads(answers)), weights, indices)


class CrossModalMemory(nn.Module):
    """The seam. Subclasses implement `slots`, `respond` and `fuse`; the rest is empty by default.

    `shares_slots`: image and text ask the same slots, so that `slots` need be called for one of them only.
    """

    shares_slots: bool = False

    def prepare(self, training: TrainingStudies) -> None:
        """Initialise what the memory holds from the training studies. Called once, before training; never when a
        checkpoint is loaded."""

    def slots(self, labels: Tensor | None, modality: Modality) -> Slots:
        """What may be asked, projected once per batch, never once per query. `labels` (B, 14) gate the memory of
        systems that need them."""
        raise NotImplementedError

    def respond(self, features: Tensor, slots: Slots) -> Response:
        """features (B, L, d) ask; the memory answers."""
        raise NotImplementedError

    def fuse(self, features: Tensor, response: Response, modality: Modality) -> Tensor:
        """(B, L, d), (B, L, d) -> (B, L, d)"""
        raise NotImplementedError

    def encoder_extra(self, image: Response | None) -> Tensor | None:
        """Extra slots (B, E, d) that the decoder may attend to beside the encoded patches."""
        return None

    def decoder_prefix(self) -> Tensor | None:
        """Learnable tokens (P, d) that every decoder position may attend to."""
        return None

    def losses(self, image: Response, text: Response, token_mask: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Named extra losses, already weighted; `token_mask` (B, L) is True at words."""
        return {}


#: More of them than any machine holds are answered with the bytes they would need.
SlotCount = Annotated[int, Interval(ge=1, le=10**12)]


@dataclass(frozen=True)
class MemoryConfig:
    """Settings of a memory; a subclass names its `kind` and builds the module. Subclasses register themselves, so a new
    system edits nothing else.

    `gated` says whether a study's labels choose what it may ask. Only then does a run ask where they come from:
    `label_source` in training, "expert" (the codes), "reports", "impression" or "both" (our labeler on these) or a
    label file, and `DecodingConfig.labels_at_test` when a report is to be written.
    """

    kind: ClassVar[str]
    gated: ClassVar[bool] = False
    label_source: ClassVar[str] = "expert"
    _kinds: ClassVar[dict[str, type[MemoryConfig]]] = {}

    def __post_init__(self):
        check_settings(self, "memory")

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        MemoryConfig._kinds[cls.kind] = cls

    def build(self, d_model: int, heads: int) -> CrossModalMemory:
        """Raises `ConfigurationError` for settings that cannot be."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_json(data: dict[str, Any] | None) -> MemoryConfig | None:
        if data is None:
            return None
        kind, settings = data.get("kind", ""), {name: value for name, value in data.items() if name != "kind"}
        if kind not in MemoryConfig._kinds:
            raise UnknownNameError("memory", kind, MemoryConfig._kinds)
        return MemoryConfig._kinds[kind](**settings)


def check_top_k(top_k: int, slots: int) -> None:
    if not 1 <= top_k <= slots:
        raise ConfigurationError(
            f"memory.top_k is {top_k}: a query can ask between 1 and all {slots} slots (memory.slots), for example "
            f"memory.top_k={slots}"
        )
