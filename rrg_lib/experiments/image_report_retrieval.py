"""Studies as vectors, image and report apart, and how well one finds the other.

A report's logits come from a decoder that looks at an image. Encoded with its *own* image, a report may be found by
that image because the logits were told which one it is: a leak. Here a report is encoded with a **neutral image**, the
same for all of them: the mean, patch by patch, of the visual features of the training studies. The leaking form is here
too, to be compared with.

An image's vectors never depend on a report, so they need no such care.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from rrg_lib.data.text.vocabulary import BOS, EOS, UNKNOWN
from rrg_lib.errors import ConfigurationError, ReportError
from rrg_lib.evaluation.retrieval import Retrieval, retrieval
from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.interface import Batch, Captioner
from rrg_lib.models.pair_alignment import PairAlignment, PairConfig, pair_loss, same_report

#: Studies encoded together.
BATCH = 64


@dataclass(frozen=True, eq=False)
class EncodedStudies:
    """n studies in the order of `ids`, float32.

    `image` (n, d): the mean of the encoded patches. `report` (n, d): the mean of the report's words as the decoder
    reads them, embedded and with the memory's answer, before any of them has met an image. Of a pair alignment, unit
    vectors (n, d_image), or None without one: `image_unit`, and the report's with the neutral image (`report_unit`) and
    with its own (`leaking_unit`).
    """

    ids: list[str]
    image: np.ndarray
    report: np.ndarray
    image_unit: np.ndarray | None = None
    report_unit: np.ndarray | None = None
    leaking_unit: np.ndarray | None = None


def _device(generator: Captioner) -> torch.device:
    return generator.device


@torch.no_grad()
def neutral_image(generator: Captioner, training: StudyBatches) -> Tensor:
    """(S, d_vf): the mean patch features of the training studies, position by position. Features of a generator's own
    extractor are made first."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in training.loader(BATCH):
        total = total + _patches(generator, batch.inputs).double().sum(dim=0).cpu()
        count += len(batch.inputs)
    return (total / count).float()


def _patches(generator: Captioner, inputs: Tensor) -> Tensor:
    """(B, S, d_vf) of patch features or views."""
    inputs = inputs.to(_device(generator))
    return inputs if inputs.dtype != torch.uint8 else generator.extractor(inputs).patches


@torch.no_grad()
def encode_studies(
    generator: Captioner,
    studies: StudyBatches,
    neutral: Tensor,
    *,
    alignment: PairAlignment | None = None,
    reports: Mapping[str, str] | None = None,
    progress: bool = False,
) -> EncodedStudies:
    """The vectors of studies, in evaluation mode, without labels: those of the reference would tell the memory what the
    report says.

    Args:
        neutral: (S, d_vf), of `neutral_image`.
        alignment: what makes the unit vectors; the generator's own when None.
        reports: generated reports by study id, words and blanks as a generator writes them, to be encoded in place of
            the references.

    Raises `ReportError` naming a study that `reports` lacks, `ConfigurationError` for a neutral image of other studies.
    """
    alignment = alignment or generator.pair
    training = generator.training
    generator.eval()
    parts: list[tuple[Tensor, ...]] = []
    ids: list[str] = []
    try:
        for batch in tqdm(studies.loader(BATCH), desc="encoding studies", unit="batch", disable=not progress):
            batch = replace(batch if reports is None else _with_reports(batch, reports, studies), labels=None).to(
                _device(generator)
            )
            ids += batch.ids
            parts.append(_encode(generator, batch, neutral, alignment))
    finally:
        generator.train(training)
    return EncodedStudies(ids, *(torch.cat(part).float().cpu().numpy() for part in zip(*parts, strict=True)))


def _encode(generator: Captioner, batch: Batch, neutral: Tensor, alignment: PairAlignment | None) -> tuple[Tensor, ...]:
    output = generator(replace(batch, inputs=_patches(generator, batch.inputs)))
    if output.encoded is None or output.words is None:
        raise ConfigurationError(
            f"a generator of the kind {generator.config.kind!r} gives no vectors of patches and words to compare "
            f"studies by"
        )
    if neutral.shape != output.patches.shape[1:]:
        raise ConfigurationError(
            f"the neutral image has shape {tuple(neutral.shape)}, a study {tuple(output.patches.shape[1:])}: make it "
            f"from studies of the same dataset"
        )
    is_word = batch.tokens[:, :-1] > 0  # (B, T - 1): the words alone, whatever the batch is padded to
    weights = is_word / is_word.sum(dim=1, keepdim=True).clamp(min=1)
    vectors = (output.encoded.mean(dim=1), (weights[..., None] * output.words).sum(dim=1))
    if alignment is None:
        return vectors
    blind = generator(replace(batch, inputs=neutral.to(output.patches).expand_as(output.patches)))
    mask = batch.mask[:, 1:] > 0  # (B, T - 1)
    return (
        *vectors,
        alignment.image(output),
        alignment.report(blind.logits, mask),
        alignment.report(output.logits, mask),
    )


def _with_reports(batch: Batch, reports: Mapping[str, str], studies: StudyBatches) -> Batch:
    """The batch with other reports in place of its own: not cleaned, because what was generated is clean, and cleaning
    would end it with a point."""
    vocabulary = studies.dataset.vocabulary
    if missing := [study for study in batch.ids if study not in reports]:
        raise ReportError(
            f"there is no report for study {missing[0]!r}: give one for each of the {len(studies)} studies"
        )
    words = [
        [vocabulary.ids.get(word, vocabulary.ids[UNKNOWN]) for word in reports[study].split()] for study in batch.ids
    ]
    ids = [torch.tensor([BOS, *row, EOS][: vocabulary.protocol.max_length]) for row in words]
    tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)  # (B, T)
    lengths = torch.tensor([len(sequence) for sequence in ids])
    return replace(batch, tokens=tokens, mask=(torch.arange(tokens.shape[1]) < lengths[:, None]).float())


def fit_alignment(
    generator: Captioner,
    training: StudyBatches,
    config: PairConfig | None = None,
    *,
    neutral: Tensor | None = None,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
) -> PairAlignment:
    """A pair alignment learnt *afterwards*, on a generator that stays as it is: what a system trained without one is
    compared by.

    The generator is in evaluation mode and gets no gradient, so only the projection and the pooling learn. With a
    `neutral` image (S, d_vf) it learns from logits that have not seen the study's own: what a report's words alone
    tell. A function of `seed`. Raises `ConfigurationError` for a generator of a kind that takes no alignment.
    """
    was_training, c, config = generator.training, generator.config, config or PairConfig()
    c.check(pair=config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        alignment = config.build(c.vocab_size + 1, c.d_model, c.d_vf).to(_device(generator))
    optimizer = torch.optim.Adam(alignment.parameters(), lr=lr)
    loader = training.loader(batch_size, seed=seed, shuffle=True)
    generator.eval()
    try:
        for epoch in tqdm(range(epochs), desc="fitting an alignment", unit="epoch", disable=not progress):
            loader.batch_sampler.begin(epoch)
            for batch in loader:
                batch = replace(batch, labels=None).to(_device(generator))
                with torch.no_grad():
                    output = generator(batch)
                    blind = (
                        output
                        if neutral is None
                        else generator(replace(batch, inputs=neutral.to(output.patches).expand_as(output.patches)))
                    )
                cosines = alignment.report(blind.logits, batch.mask[:, 1:] > 0) @ alignment.image(output).T
                optimizer.zero_grad()
                pair_loss(cosines, same_report(batch.tokens), alignment.config).backward()
                optimizer.step()
    finally:
        generator.train(was_training)
    return alignment.eval()


def image_report_retrieval(encoded: EncodedStudies) -> dict[str, Retrieval]:
    """{"neutral": …, "own image": …}: how often an image finds its report and a report its image, the second with the
    leak.

    Raises `ConfigurationError` for studies encoded without an alignment.
    """
    if encoded.image_unit is None:
        raise ConfigurationError(
            "these studies were encoded without a pair alignment: train a preset that has one, or give encode_studies "
            "one fitted"
        )
    return {
        "neutral": retrieval(encoded.image_unit, encoded.report_unit),
        "own image": retrieval(encoded.image_unit, encoded.leaking_unit),
    }
