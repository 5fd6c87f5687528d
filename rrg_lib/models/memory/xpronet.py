"""Cross-modal prototype networks (XProNet; Wang et al., ECCV 2022): a memory of prototypes a class, of which a study
asks only its own classes'.

    XProNet Eq. 4-7     pv = k-means of [image features ; report features], N_p a class (`prototypes`)
            Eq. 8       p  = pv W_pv, D numbers become d
            Eq. 9-10    x* = x W_v,  p* = p W_p,  D = x* · p* / d, over the prototypes of the study's classes
            Eq. 11      w_i = D_i / sum_{j in top-gamma} D_j
            Eq. 12-13   e_i = p*_i W_e,  r = sum_{i in top-gamma} w_i e_i
            Eq. 14      x' = FCN([x ; r])
            Eq. 17-18   the improved multi-label contrastive loss on the mean response of each modality
            Eq. 20      L = L_report + lambda L_image + delta L_text

| where they differ        | paper              | release, our default            | option                            |
|--------------------------|--------------------|---------------------------------|-----------------------------------|
| heads of Eq. 9-13        | none               | 8, joined by a linear map       | `heads` "single", "multi"         |
| scale of Eq. 10          | 1/d                | 1/sqrt(d_k)                     | `scale` "full", "sqrt"            |
| weights of Eq. 11        | share of the sum   | softmax, then dropout           | `weights` "linear", "softmax"     |
| values of Eq. 12         | from p*            | from p                          | `values` "key", "prototype"       |
| theta of Eq. 17          | 1.75 (MIMIC-CXR)   | 1.5                             | `theta`                           |
| pull of Eq. 17           | as it is           | not below 0                     | `clamp`                           |
| mean of text responses   | over the words     | over all positions, padded too  | `padding`                         |
| clusters of Eq. 4-7      | N_p of all views   | half of originals, half of flips| `initialise` "kmeans", "released" |

With linear weights the scale of Eq. 10 cancels out: only its sign would matter.

Three options are ours and take one suspect away each, to ask what XProNet loses to its baseline by: `residual` lets the
features pass beside the fusion, x' = x + FCN([x ; r]), so that the patches keep what tells them apart; `gate` False
opens every class to every study; `sides` "image" leaves the words alone, "text" the patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.contrastive import masked_mean, multi_label_contrastive
from rrg_lib.models.interface import Response, Slots
from rrg_lib.models.memory.base import CrossModalMemory, MemoryConfig, MemoryProjections, Modality, read_slots
from rrg_lib.models.transformer import merge_heads, split_heads
from rrg_lib.runtime.settings import Count, DropShare, NonNegative

if TYPE_CHECKING:
    from rrg_lib.models.batches import TrainingStudies


@dataclass(frozen=True)
class XProNetConfig(MemoryConfig):
    """`classes` × `prototypes` (N_p) rows of `image_dim` + `text_dim` numbers (D), of which a query asks the `gamma`
    that fit best.

    `initialise` "random" is the ablation without prototype initialisation (w/o PI), `theta` 1 the one without the
    improved loss (w/o IMLCS). `image_weight` is lambda and `text_weight` delta of Eq. 20. The other options are those
    of the module's table. `label_source`: where the pseudo labels of the training studies come from, one of
    `rrg_lib.experiments.pseudo_labels.LABEL_SOURCES` or a label file. `text_encoder`: report features of the
    prototypes, "tfidf" or a BERT, a folder or a name on the hub (CheXbert's were the paper's). `gamma` may exceed
    `prototypes`: a study of one class then has fewer to ask, and the rest of its gamma weigh 0.

    `residual`, `gate` and `sides` are ours, off as published: the features pass beside the fusion; every study asks all
    classes (its labels then shape the contrastive loss alone); "image" asks the memory about patches only, "text" about
    words only, and there is no contrastive loss on the modality that does not ask.

    Raises `ConfigurationError` for an option that is none, or for a gamma, a size or a theta that cannot be.
    """

    kind: ClassVar[str] = "xpronet"
    gated: ClassVar[bool] = True
    classes: Count = 14
    prototypes: Annotated[int, Interval(ge=1, le=10**9)] = 20
    gamma: Count = 15
    image_dim: Annotated[int, Interval(ge=0, le=65_536)] = 2048
    text_dim: Annotated[int, Interval(ge=0, le=65_536)] = 768
    initialise: Literal["released", "kmeans", "random"] = "released"
    heads: Literal["multi", "single"] = "multi"
    scale: Literal["sqrt", "full"] = "sqrt"
    weights: Literal["softmax", "linear"] = "softmax"
    values: Literal["prototype", "key"] = "prototype"
    margin: float = 0.4
    theta: Annotated[float, Ge(1)] = 1.5
    clamp: bool = True
    padding: bool = True
    image_weight: NonNegative = 1.0
    text_weight: NonNegative = 0.1
    dropout: DropShare = 0.1
    label_source: str = "expert"
    text_encoder: str = "tfidf"
    residual: bool = False
    gate: bool = True
    sides: Literal["both", "image", "text"] = "both"

    def __post_init__(self):
        super().__post_init__()
        if self.image_dim + self.text_dim < 1:
            raise ConfigurationError(
                "memory.image_dim and memory.text_dim are 0: a prototype of no numbers; expected one of them above 0, "
                "for example memory.image_dim=256"
            )
        if self.gamma > (many := self.classes * self.prototypes):
            raise ConfigurationError(
                f"memory.gamma is {self.gamma}: a query can ask between 1 and all {many} prototypes, for example "
                f"memory.gamma={many}"
            )

    @property
    def width(self) -> int:
        """D, the numbers of a prototype before Eq. 8."""
        return self.image_dim + self.text_dim

    def build(self, d_model: int, heads: int) -> XProNetMemory:
        return XProNetMemory(self, d_model, heads)


class XProNetMemory(CrossModalMemory):
    """The prototype matrix PM (C·N_p, D), rows of a class together. `Response.indices` are its rows; row C·N_p stands
    for "nothing to ask".

    Both modalities ask the same projected prototypes; each that asks has its own fusion.
    """

    shares_slots = True

    def __init__(self, config: XProNetConfig, d_model: int, heads: int):
        super().__init__()
        c = self.config = config
        # Random until `prepare`. The size of the features that it is made of: 1 a number (see
        # rrg_lib.models.memory.prototypes).
        self.prototypes = nn.Parameter(torch.randn(c.classes * c.prototypes, c.width))
        self.reduction = nn.Linear(c.width, d_model)  # Eq. 8
        self.projections = MemoryProjections(d_model, heads if c.heads == "multi" else 1, c.dropout)
        if c.heads == "single":
            self.projections.output = nn.Identity()
        asking = ("image", "text") if c.sides == "both" else (c.sides,)
        self.fusion = nn.ModuleDict({modality: nn.Linear(2 * d_model, d_model) for modality in asking})
        if "text" in asking:
            nn.init.xavier_uniform_(
                self.fusion["text"].weight
            )  # as released: it is part of the Transformer there, the image's is not

    def prepare(self, training: TrainingStudies) -> None:
        """Initialise the prototypes from the training studies (Eq. 4-7), unless they are to be random; what they were
        is kept in the run's folder.

        Raises `ConfigurationError` when the extractor's features or the labels are not as wide as the memory.
        """
        c = self.config
        if c.initialise == "random":
            return
        from rrg_lib.models.memory.prototypes import class_prototypes  # imports scikit-learn, which takes a second

        prototypes = class_prototypes(
            training, c.prototypes, text_dim=c.text_dim, recipe=c.initialise, text_encoder=c.text_encoder
        )
        if prototypes.vectors.shape != (c.classes, c.prototypes, c.width):
            sizes = (
                f"{prototypes.vectors.shape[0]} classes of {prototypes.vectors.shape[-1] - c.text_dim} image and "
                f"{c.text_dim} text numbers"
            )
            raise ConfigurationError(
                f"the training studies give prototypes of {sizes}; the memory holds classes={c.classes}, "
                f"image_dim={c.image_dim}: set those"
            )
        if training.folder is not None:
            prototypes.save(training.folder / "prototypes.safetensors")
        with torch.no_grad():
            self.prototypes.copy_(torch.from_numpy(prototypes.vectors).flatten(0, 1))

    def open_slots(self, labels: Tensor | None) -> Tensor:
        """(B, C) labels -> (B, C·N_p + 1), True where a study may ask; (1, …), all classes open, without labels or
        without a gate.

        The last place is open for a study without a label, and only for it: it finds a vector of zeros there, as in the
        release. Raises `ConfigurationError` for labels of another number of classes.
        """
        c = self.config
        if labels is None or not c.gate:
            mask = self.prototypes.new_ones(1, c.classes * c.prototypes + 1, dtype=torch.bool)
            mask[:, -1] = False
            return mask
        if labels.shape[-1] != c.classes:
            raise ConfigurationError(
                f"a study has {labels.shape[-1]} labels, the memory prototypes for {c.classes} classes"
            )
        present = labels > 0.5  # (B, C)
        return torch.cat([present.repeat_interleave(c.prototypes, dim=1), ~present.any(dim=1, keepdim=True)], dim=1)

    def slots(self, labels: Tensor | None, modality: Modality) -> Slots:
        """Every prototype projected once for the whole batch, (1, h, C·N_p + 1, d_k); the mask (B, …) is the gate."""
        reduced = self.reduction(self.prototypes)  # (C·N_p, d): Eq. 8
        content = torch.cat([reduced, reduced.new_zeros(1, reduced.shape[1])])[None]  # and "nothing to ask"
        keys = self.projections.key(content)  # p*: Eq. 9
        values = self.projections.value(content if self.config.values == "prototype" else keys)  # Eq. 12
        return Slots(
            split_heads(keys, self.projections.heads),
            split_heads(values, self.projections.heads),
            self.open_slots(labels),
        )

    def respond(self, features: Tensor, slots: Slots) -> Response:
        c, linear = self.config, self.projections
        query = split_heads(linear.query(features), linear.heads)  # (B, h, L, d_k): Eq. 9
        scale = 1 / math.sqrt(query.shape[-1]) if c.scale == "sqrt" else 1 / features.shape[-1]  # Eq. 10
        dropout = linear.dropout if self.training else 0.0
        answers, weights, indices = read_slots(
            query, slots, c.gamma, scale=scale, dropout=dropout, weighting=c.weights
        )  # Eq. 11, 13
        return Response(linear.output(merge_heads(answers)), weights, indices)

    def fuse(self, features: Tensor, response: Response, modality: Modality) -> Tensor:
        """XProNet Eq. 14: a linear map of both, (B, L, 2d) -> (B, L, d)."""
        if modality not in self.fusion:
            return features
        fused = self.fusion[modality](torch.cat([features, response.vectors], dim=-1))
        return features + fused if self.config.residual else fused

    def losses(self, image: Response, text: Response, token_mask: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """XProNet Eq. 17 for the mean response of each modality, weighted by lambda and delta of XProNet Eq. 20; none
        without labels."""
        if labels is None:
            return {}
        c = self.config
        options = {"margin": c.margin, "theta": c.theta, "clamp": c.clamp}
        losses = {}
        if "image" in self.fusion:
            patches = masked_mean(image.vectors)
            losses["contrastive_image"] = c.image_weight * multi_label_contrastive(patches, labels, **options)
        if "text" in self.fusion:
            words = masked_mean(text.vectors, None if c.padding else token_mask)
            losses["contrastive_text"] = c.text_weight * multi_label_contrastive(words, labels, **options)
        return losses
