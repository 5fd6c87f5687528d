"""How to add a fifth memory: one file with a memory and its settings, one preset, and no edit anywhere else.

This file is that fifth memory, whole, and then what it gets for it: profiles and overrides on the command line,
training, a checkpoint, greedy and beam search with caches. It uses every part of the seam once, so it is also the list
of what a memory may do. Read it from top to bottom; each test says what the library promises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn
from toy import CONFIG, D_VF, PATCHES, ToyDataset

from rrg_lib.book.seam_checks import (
    beam_one_is_greedy,
    cached_equals_teacher_forced,
    found_reports_score_as_read,
    memory_checks,
    run_checks,
)
from rrg_lib.experiments.presets import PRESETS, PROFILES, Experiment, Preset, experiment, register_preset
from rrg_lib.models.batches import TrainingStudies
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.interface import Batch, Response, Slots
from rrg_lib.models.memory.base import CrossModalMemory, MemoryConfig
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.transformer import split_heads
from rrg_lib.training import Trainer, TrainingConfig

# --- the new file: rrg_lib/models/memory/fifth.py ---------------------------------------------------------------------


class FifthMemory(CrossModalMemory):
    """N notes that every patch and every word reads with one plain attention, and a gate that says how much of the
    answer to take."""

    def __init__(self, config: FifthConfig, d_model: int, heads: int):
        super().__init__()
        self.config, self.heads = config, heads
        self.notes = nn.Parameter(torch.randn(config.slots, d_model))
        self.gate = nn.ParameterDict({"image": torch.zeros(d_model), "text": torch.zeros(d_model)})
        self.reminder = nn.Parameter(torch.randn(2, d_model))

    # Required: what may be asked, what it answers, how the answer is joined.

    def slots(self, labels, modality):
        """Computed once a batch, and in decoding once a report, not once a word. Of one study when all studies ask the
        same, as here."""
        notes = split_heads(self.notes, self.heads)[None]  # (1, h, N, d_k)
        return Slots(keys=notes, values=notes)

    def respond(self, features, slots):
        """`weights` and `indices` say which slots answered: figures and the attention scores are made of them."""
        query = split_heads(features, self.heads)  # (B, h, L, d_k)
        weights, indices = (
            (query @ slots.keys.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1).sort(-1, descending=True)
        )
        answers = (weights[..., None] * slots.values[0][torch.arange(self.heads)[:, None, None], indices]).sum(-2)
        return Response(answers.transpose(1, 2).flatten(-2), weights, indices)

    def fuse(self, features, response, modality):
        return features + self.gate[modality].sigmoid() * response.vectors

    # Optional: each of these does nothing unless a memory says otherwise.

    def prepare(self, training):
        """Once, before training, never when a checkpoint is loaded: look at the training studies, and at those
        alone."""
        reports = [training.tokens(i) for i in training.indices]
        with torch.no_grad():
            self.notes *= 1 / math.log(1 + sum(map(len, reports)) / len(reports))

    def encoder_extra(self, image):
        """One more place, beside the encoded patches, that the decoder may look at: here the mean answer to the
        patches. (B, 1, d)"""
        return image.vectors.mean(1, keepdim=True)

    def decoder_prefix(self):
        """Learnt tokens before the first word, (P, d)."""
        return self.reminder

    def losses(self, image, text, token_mask, labels):
        """Named and already weighted; added to the report's cross-entropy. `token_mask` (B, L) is True at words."""
        words = token_mask[..., None].float()
        said = (text.vectors * words).sum(1) / words.sum(1).clamp(min=1)
        return {"fifth": self.config.weight * (said - image.vectors.mean(1)).pow(2).mean()}


@dataclass(frozen=True)
class FifthConfig(MemoryConfig):
    """Its settings. `kind` makes it known: experiment files find the class by it."""

    kind: ClassVar[str] = "fifth"
    slots: int = 64
    weight: float = 0.1

    def build(self, d_model, heads):
        return FifthMemory(self, d_model, heads)


# --- the new line: rrg_lib/experiments/presets.py ---------------------------------------------------------------------

FIFTH = Preset("fifth", "Fifth et al., Table 1, ours", FifthConfig())


@pytest.fixture(autouse=True)
def _registered():
    register_preset(FIFTH)
    yield
    del PRESETS["fifth"]


# --- what it gets -----------------------------------------------------------------------------------------------------

SMALL = FifthConfig(slots=5)


def build(seed: int = 0) -> ReportGenerator:
    torch.manual_seed(seed)
    model = ReportGenerator(CONFIG, SMALL)
    with torch.no_grad():
        model.logits.weight.mul_(4)  # so that hypotheses really compete
    return model


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.rand(4, PATCHES, D_VF, generator=torch.Generator().manual_seed(0)) * 3


def test_a_name_profiles_and_overrides_on_every_dataset():
    """`rrg train iu_phantom/fifth --profile ci --set memory.weight=0.5`; a profile changes the settings that the memory
    has (slots) and no others (top_k)."""
    for name, profile in PROFILES.items():
        assert experiment("iu_phantom/fifth", name).memory == FifthConfig(slots=profile.memory.get("slots", 64))
    assert experiment("iu_xray/fifth", "ci", ["memory.slots=4", "memory.weight=0.5"]).memory == FifthConfig(
        slots=4, weight=0.5
    )


def test_its_experiment_can_be_repeated_from_the_file_that_a_run_writes():
    what = experiment("iu_phantom/fifth", "ci", ["memory.weight=0.5"])
    again = Experiment.from_json(what.to_json())
    assert again == what and again.hash == what.hash
    assert isinstance(again.memory, FifthConfig)


def test_one_training_step_moves_every_part_of_it():
    model, data = build().train(), ToyDataset().batches()
    batch = data.collate(list(range(8)))
    before = {name: p.detach().clone() for name, p in model.memory.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    output = model(batch)
    (report_loss(output.logits, batch.tokens, batch.mask) + sum(output.losses.values())).backward()
    optimizer.step()
    assert set(output.losses) == {"fifth"}
    for name, p in model.memory.named_parameters():
        assert not torch.equal(p, before[name]), name


def test_the_training_loop_takes_it_as_it_is_and_its_loss_falls(tmp_path):
    data = ToyDataset().batches()
    config = TrainingConfig(epochs=4, batch_size=8, lr=5e-3, monitor={"validation_loss": -1.0})
    trainer = Trainer(build(), data.loader(8, seed=1, shuffle=True), data.loader(16), config, tmp_path, progress=False)
    losses = [row["validation_loss"] for row in trainer.fit().history]
    assert losses[-1] < 0.8 * losses[0]
    assert (tmp_path / "best.safetensors").exists()


def test_it_may_look_at_the_training_studies_before_training():
    model, plain = build(), build()
    model.memory.prepare(TrainingStudies(ToyDataset().batches()))
    torch.testing.assert_close(model.memory.notes, plain.memory.notes / math.log(6))  # every toy report has five tokens


def test_it_keeps_the_promises_of_every_memory():
    """What `rrg check-mine` asks of a student's memory, and its tests of the library's: each promise in words."""
    kept: list[str] = []
    run_checks(memory_checks(FifthConfig()), kept.append)
    assert kept[-1] == "a gradient reaches every weight and is that of finite differences"


def test_words_one_by_one_with_caches_equal_all_at_once(patches):
    """The promise that makes fast decoding safe: notes, prefix and extra slot are cached, and nothing changes."""
    cached_equals_teacher_forced(build().eval(), patches)


def test_found_reports_score_what_teacher_forcing_gives_them(patches):
    """Hypotheses split, end and change places in the cache; the sum of log-probabilities is still that of the report
    read in one go."""
    found_reports_score_as_read(build().eval(), patches)


def test_beam_one_is_greedy(patches):
    beam_one_is_greedy(build().eval(), patches)


@pytest.mark.parametrize("part", ["encoder_extra", "decoder_prefix"])
def test_what_it_adds_to_the_decoder_is_really_read(part, patches, monkeypatch):
    model = build().eval()
    tokens = torch.tensor([[0, 3, 5, 0]] * 4)
    with torch.no_grad():
        having = model(Batch(patches, tokens, torch.ones_like(tokens))).logits
        monkeypatch.setattr(model.memory, part, lambda *a: None)
        without = model(Batch(patches, tokens, torch.ones_like(tokens))).logits
    assert (having - without).abs().amax(dim=(0, 2)).min() > 1e-3  # at every position, the first included


def test_the_losses_see_words_alone(patches):
    """Neither the begin mark, nor the end, nor padding; so a study's loss doesn't depend on how long the others'
    reports are."""
    model, seen = build().eval(), []
    model.memory.losses = lambda image, text, token_mask, labels: seen.append(token_mask) or {}
    tokens = torch.tensor([[0, 3, 5, 0, 0, 0], [0, 1, 2, 3, 4, 0]])
    model(Batch(patches[:2], tokens, torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])))
    assert seen[0].tolist() == [[False, True, True, False, False], [False, True, True, True, True]]
