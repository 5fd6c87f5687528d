"""A lesion: a trained memory whose answers are replaced by their mean, to ask what is lost.

What a memory adds to a feature has two parts: the same for every patch or word, which a bias could add as well, and the
rest, which depends on what was asked. A lesion keeps the first and removes the second, on weights that were trained
with both.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.interface import Batch, Captioner, Response, Slots
from rrg_lib.models.memory.base import CrossModalMemory, Modality
from rrg_lib.runtime.choices import check_choice

LesionSide = Literal["image", "text", "both"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


@torch.no_grad()
def mean_answers(generator: Captioner, batches: Iterable[Batch]) -> dict[Modality, Tensor]:
    """(d,) the mean answer of a trained memory to the patches, and to the words, of these studies: padded places are
    left out. Raises `ConfigurationError` for a generator without a memory, and for no study."""
    if generator.memory is None:
        raise ConfigurationError("a lesion replaces the answers of a memory, and this generator has none")
    sums: dict[Modality, Tensor] = {}
    counts = dict.fromkeys(MODALITIES, 0)
    generator.eval()
    for batch in batches:
        output = generator(batch.to(generator.device))
        words = batch.tokens[:, :-1] > 0
        words[:, 0] = True  # id 0 begins a report: the first word of each is asked about too
        for modality, vectors in (
            ("image", output.image.vectors.flatten(0, 1)),
            ("text", output.text.vectors[words.to(output.text.vectors.device)]),
        ):
            sums[modality] = sums.get(modality, 0) + vectors.double().sum(0)
            counts[modality] += len(vectors)
    if not sums:
        raise ConfigurationError("the mean answer of no study is not defined: give at least one batch")
    return {modality: (total / counts[modality]).float() for modality, total in sums.items()}


class LesionedMemory(CrossModalMemory):
    """A trained memory that gives one answer, `means` (d,), to whatever a modality asks; the modalities that `means`
    lacks are answered as before. All else is the memory's own."""

    def __init__(self, memory: CrossModalMemory, means: Mapping[Modality, Tensor]):
        super().__init__()
        self.memory, self.shares_slots = memory, memory.shares_slots
        self.means = nn.ParameterDict({name: nn.Parameter(mean, requires_grad=False) for name, mean in means.items()})

    def slots(self, labels: Tensor | None, modality: Modality) -> Slots:
        return self.memory.slots(labels, modality)

    def respond(self, features: Tensor, slots: Slots) -> Response:
        return self.memory.respond(features, slots)

    def fuse(self, features: Tensor, response: Response, modality: Modality) -> Tensor:
        if modality in self.means:
            mean = self.means[modality].expand_as(response.vectors)
            response = Response(mean, response.weights, response.indices)
        return self.memory.fuse(features, response, modality)

    def decoder_prefix(self) -> Tensor | None:
        return self.memory.decoder_prefix()


def lesioned(generator: Captioner, means: Mapping[Modality, Tensor], side: LesionSide) -> Captioner:
    """A copy of a trained generator whose memory answers one side, or both, with its mean. Raises `UnknownNameError`
    for another side, `ConfigurationError` for a memory that adds more than its answers (MCSAM's extra slots)."""
    check_choice("side of a lesion", side, LesionSide)
    chosen = {name: means[name] for name in (MODALITIES if side == "both" else (side,))}
    if type(generator.memory).encoder_extra is not CrossModalMemory.encoder_extra:
        raise ConfigurationError(
            f"{type(generator.memory).__name__} gives the decoder more than its answers; a lesion of these alone would "
            f"leave the rest. Lesions are for CMN, BASE+MEM and XProNet"
        )
    other = copy.deepcopy(generator)
    other.memory = LesionedMemory(other.memory, chosen)
    return other
