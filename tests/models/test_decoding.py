"""Decoding invariants: caches change nothing, beam one is greedy, stopping early is safe."""

from __future__ import annotations

import itertools

import pytest
import torch
from toy import CONFIG, D_VF, MEMORY, PATCHES, brute_force, generator

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models.decoding import DecodingConfig, beam_search, generate, greedy_search, repeated_ngrams
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import CMNConfig

MEMORIES = {
    "base": None,
    "mem": CMNConfig(slots=9, top_k=3, shared=False),
    "cmn": MEMORY,
    "replace": CMNConfig(slots=9, top_k=3, fusion="replace"),
}


def wild(memory, seed: int = 0):
    """A generator whose weights are large enough that hypotheses really compete."""
    model = generator(memory, seed).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2.0)
    return model


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.rand(5, PATCHES, D_VF, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("name", MEMORIES)
def test_cached_steps_equal_teacher_forcing(name, patches):
    """Step by step with caches, or all positions at once: the same logits."""
    model = wild(MEMORIES[name])
    tokens = torch.randint(1, CONFIG.vocab_size, (5, CONFIG.max_length), generator=torch.Generator().manual_seed(1))
    tokens[:, 0] = 0
    with torch.no_grad():
        whole = model(Batch(patches, tokens, torch.ones_like(tokens))).logits
        state = model.start(patches)
        steps = [model.step(tokens[:, t : t + 1], state)[0] for t in range(CONFIG.max_length - 1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MEMORIES)
def test_beam_one_equals_greedy(name, patches):
    model, config = wild(MEMORIES[name]), DecodingConfig(beam_size=1, max_length=8)
    beam = beam_search(model, model.start(patches), config)
    greedy = greedy_search(model, model.start(patches), config)
    assert torch.equal(beam.tokens, greedy.tokens)
    torch.testing.assert_close(beam.scores, greedy.scores, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("penalty", ["none", "average", "wu"])
@pytest.mark.parametrize("end_bias", [0.0, -3.0, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_beam_search_equals_brute_force(penalty, end_bias, seed, patches):
    model = wild(MEMORY, seed)
    config = DecodingConfig(beam_size=3, max_length=6, length_penalty=penalty, alpha=0.7, end_bias=end_bias)
    with torch.no_grad():
        tokens, scores = brute_force(model, patches, config)
    found = generate(model, patches, config=config)
    assert found.tokens.tolist() == tokens
    torch.testing.assert_close(found.scores, torch.tensor(scores), atol=1e-4, rtol=1e-5)


def test_a_study_is_decoded_alike_alone_and_in_a_batch(patches):
    model = wild(MEMORY)
    together = generate(model, patches).tokens
    assert torch.equal(together, torch.cat([generate(model, p[None]).tokens for p in patches]))


def test_search_stops_when_every_report_has_ended(patches):
    model = generator().eval()
    with torch.no_grad():
        model.logits.bias[0] = 50.0  # everything ends at once
    assert generate(model, patches, config=DecodingConfig(max_length=60)).steps == 1
    assert generate(model, patches, config=DecodingConfig(beam_size=1, max_length=60)).steps == 1


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_end_marks_bias_makes_reports_longer_or_shorter_and_zero_changes_nothing(beam_size, patches):
    model = wild(MEMORY)
    with torch.no_grad():
        model.logits.bias[0] += 1.5  # or no report ends before the last place

    def words(bias):
        found = generate(model, patches, config=DecodingConfig(beam_size=beam_size, max_length=8, end_bias=bias))
        return found.tokens, (found.tokens != 0).sum(1)

    plain, lengths = words(0.0)
    assert torch.equal(plain, generate(model, patches, config=DecodingConfig(beam_size=beam_size, max_length=8)).tokens)
    assert 0 < lengths.sum() < 8 * len(patches), "some end before the last place, or nothing is shown"
    assert (words(-50.0)[1] == 8).all() and (words(50.0)[1] == 0).all()
    assert (words(-3.0)[1] >= lengths).all() and (words(3.0)[1] <= lengths).all()


@pytest.mark.parametrize("bias", [float("nan"), float("-inf")])
def test_a_bias_that_is_no_number_is_refused(bias):
    with pytest.raises(ConfigurationError, match=r"end_bias is .*expected a finite number"):
        DecodingConfig(end_bias=bias)


def test_repeated_ngrams_counts_every_earlier_occurrence():
    said = torch.tensor([[1, 2, 3, 1, 2, 4, 1, 2], [5, 6, 7, 8, 5, 6, 9, 9]])
    counts = repeated_ngrams(said, 3, 10)
    assert counts[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert counts[1].sum() == 0


def test_blocked_ngrams_never_come_twice(patches):
    model = generator().eval()
    with torch.no_grad():
        model.logits.bias[0] = -50.0  # never ends: must repeat itself if it may
        model.logits.bias[3] = 20.0
    free = generate(model, patches, config=DecodingConfig(max_length=20)).tokens
    assert (free == 3).all()
    blocked = generate(model, patches, config=DecodingConfig(max_length=20, block_ngrams=2)).tokens
    for row in blocked.tolist():
        pairs = list(itertools.pairwise(row))
        assert len(set(pairs)) == len(pairs)


def test_decoding_leaves_the_mode_as_it_was(patches):
    model = generator().train()
    generate(model, patches)
    assert model.training


@pytest.mark.parametrize("settings", [{"beam_size": 0}, {"max_length": 0}, {"length_penalty": "google"}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises((ConfigurationError, UnknownNameError)):
        DecodingConfig(**settings)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("name", ["mem", "cmn", "replace"])
def test_a_word_table_changes_no_word_and_is_filled_once(name, beam, patches):
    model, config = wild(MEMORIES[name]), DecodingConfig(beam_size=beam, max_length=8)
    asked = []
    respond = model.memory.respond
    model.memory.respond = lambda features, slots: asked.append(features.shape[:2].numel()) or respond(features, slots)
    plain = generate(model, patches, config=config)
    without, table = sum(asked), model.word_table()
    asked.clear()
    first = generate(model, patches, config=config, table=table)
    with_table = sum(asked)
    asked.clear()
    again = generate(model, patches.flip(0), config=config, table=table)
    for found in (first.tokens, again.tokens.flip(0)):
        assert torch.equal(found, plain.tokens)
    torch.testing.assert_close(first.scores, plain.scores, atol=1e-5, rtol=1e-5)
    patches_alone = len(patches) * PATCHES
    assert sum(asked) == patches_alone  # the second time no word is new, only the images are
    assert with_table < without


def test_a_memory_that_is_gated_by_labels_has_no_word_table():
    from rrg_lib.models.memory import XProNetConfig

    assert generator(XProNetConfig(prototypes=3, gamma=2, image_dim=8, text_dim=8)).word_table() is None
    assert generator(None).word_table() is None


class Watched:
    """A generator that notes how many studies each step is for."""

    def __init__(self, model):
        self.model, self.device, self.studies = model, model.device, []

    def step(self, tokens, state):
        self.studies.append(len(tokens))
        return self.model.step(tokens, state)


@pytest.mark.parametrize("search", [beam_search, greedy_search])
@pytest.mark.parametrize("name", MEMORIES)
def test_finished_studies_leave_the_batch_and_no_report_changes(name, search):
    """Random weights end reports at different times; each study alone is what nothing can have been dropped from."""
    model, config = (
        wild(MEMORIES[name], seed=6),
        DecodingConfig(beam_size=1 if search is greedy_search else 3, max_length=20),
    )
    with torch.no_grad():
        model.logits.bias[0] += 1.5  # an end is likely at any time
    patches = torch.rand(24, PATCHES, D_VF, generator=torch.Generator().manual_seed(4)) * 6
    watched = Watched(model)
    together = search(watched, model.start(patches, max_length=20), config)
    alone = [search(model, model.start(p[None], max_length=20), config) for p in patches]
    assert torch.equal(together.tokens, torch.cat([one.tokens for one in alone]))
    torch.testing.assert_close(together.scores, torch.cat([one.scores for one in alone]), atol=1e-4, rtol=1e-5)
    assert watched.studies[-1] <= 12 < watched.studies[0]
