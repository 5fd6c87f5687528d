"""MCSAM: one bank for both modalities, alignment of what they retrieve, tokens and an embedding for the decoder; each
part against a second way to compute it, and each ablation without what it removes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_decoding import wild
from toy import CONFIG, D_VF, PATCHES, WORDS, ToyDataset, generator

from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.attention import look
from rrg_lib.experiments.presets import ExtractorConfig, experiment
from rrg_lib.experiments.run import Run
from rrg_lib.models.batches import StudyBatches, TrainingStudies
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory.mcsam import MCSAMConfig, contrastive_alignment, direct_alignment
from rrg_lib.models.memory.topics import find_topics
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.transformer import Decoder, causal_mask
from rrg_lib.training import build_optimizer

SIZE = {"slots": 9, "top_k": 3, "memory_tokens": 4, "alignment_dim": 8}
FORMS = {
    "mcsam": MCSAMConfig(**SIZE),
    "mcsam_random": MCSAMConfig(**SIZE, initialisation="random"),
    "mcsam_frozen": MCSAMConfig(**SIZE, frozen=True),
    "mcsam_no_retrieval": MCSAMConfig(**SIZE, retrieval="none"),
    "mcsam_no_alignment": MCSAMConfig(**SIZE, alignment="none", semantic_slot=False),
    "mcsam_no_tokens": MCSAMConfig(**{**SIZE, "memory_tokens": 0}),
    "mcsam_direct": MCSAMConfig(**SIZE, alignment="direct"),
    "mcsam_hard": MCSAMConfig(**SIZE, retrieval="hard"),
    "bare": MCSAMConfig(**{**SIZE, "memory_tokens": 0}, retrieval="none", alignment="none", semantic_slot=False),
}


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.rand(5, PATCHES, D_VF, generator=torch.Generator().manual_seed(0)) * 3


def some_tokens(batch: int = 5, length: int = CONFIG.max_length) -> torch.Tensor:
    tokens = torch.randint(1, WORDS, (batch, length), generator=torch.Generator().manual_seed(1))
    tokens[:, 0] = 0
    return tokens


class Told(ToyDataset):
    """Toy studies with a vocabulary and a split, whose reports have two sentences about one of four subjects of three
    words each."""

    vocabulary = Vocabulary((".", *(f"w{i:02}" for i in range(12)), "<unk>"))

    def __init__(self, size: int = 48):
        super().__init__(size)
        rng = np.random.default_rng(0)
        self.subjects = np.arange(size) % 4
        subject_words = lambda s: rng.permutation(3)[:2] + 3 * s + 2  # noqa: E731  ids of two of its three words
        self._tokens = [[0, *map(int, subject_words(s)), 1, *map(int, subject_words(s)), 1, 0] for s in self.subjects]
        self.observations = np.eye(14, dtype=np.uint8)[self.subjects]

    def split_indices(self, split: str) -> list[int]:
        return list(range(len(self.ids) - 8)) if split == "train" else list(range(len(self.ids) - 8, len(self.ids)))


def training(vectors: torch.Tensor | None, seed: int = 0) -> TrainingStudies:
    data = Told()
    return TrainingStudies(
        StudyBatches(data, data.split_indices("train"), data.patches), seed=seed, token_vectors=vectors
    )


# --- decoding with memory tokens and the extra slot -------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_cached_steps_equal_teacher_forcing(name, patches):
    model, tokens = wild(FORMS[name]), some_tokens()
    with torch.no_grad():
        whole = model(Batch(patches, tokens, torch.ones_like(tokens))).logits
        state = model.start(patches)
        steps = [model.step(tokens[:, t : t + 1], state)[0] for t in range(CONFIG.max_length - 1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_beam_scores_equal_teacher_forcing_and_a_study_alone_is_decoded_alike(name, patches):
    model, config = wild(FORMS[name]), DecodingConfig(beam_size=3, max_length=7)
    found = generate(model, patches, config=config)
    tokens = torch.nn.functional.pad(found.tokens, (1, 0))
    with torch.no_grad():
        log_probs = model(Batch(patches, tokens, torch.ones_like(tokens))).logits.log_softmax(-1)
    said = torch.nn.functional.pad(tokens[:, 1:-1] > 0, (1, 0), value=True).cumprod(1)
    torch.testing.assert_close(
        found.scores, (log_probs.gather(-1, tokens[:, 1:, None])[..., 0] * said).sum(1), atol=1e-3, rtol=1e-4
    )
    assert torch.equal(found.tokens, torch.cat([generate(model, p[None], config=config).tokens for p in patches]))


def test_prefix_keys_and_values_are_those_of_words_before_the_first():
    """One layer over [prefix, words] written out as a longer sequence gives the words what the prefix argument gives
    them; and a pad stays unseen."""
    torch.manual_seed(0)
    decoder = Decoder(32, 32, 2, 1, 0.0, "released").eval()
    prefix, words, source = torch.randn(4, 32), torch.randn(3, 6, 32), torch.randn(3, 5, 32)
    tokens = some_tokens(3, 6)
    tokens[1, 4:] = 0
    mask = causal_mask(tokens)  # (B, 1, L, L)
    longer = torch.ones(3, 1, 10, 10, dtype=torch.bool)
    longer[:, :, 4:, 4:] = mask
    written_out = decoder(torch.cat([prefix.expand(3, -1, -1), words], dim=1), source, longer)[:, 4:]
    torch.testing.assert_close(decoder(words, source, mask, prefix=prefix), written_out, atol=1e-5, rtol=1e-5)


def test_every_position_is_moved_by_every_memory_token(patches):
    model, tokens = wild(FORMS["mcsam"]), some_tokens()
    for token in range(4):
        with torch.no_grad():
            before = model(Batch(patches, tokens, torch.ones_like(tokens))).logits
            model.memory.tokens[token] = torch.randn(CONFIG.d_model, generator=torch.Generator().manual_seed(token))
            after = model(Batch(patches, tokens, torch.ones_like(tokens))).logits
        assert (after - before).abs().amax(dim=(0, 2)).min() > 1e-4


def test_the_decoder_attends_to_the_semantic_embedding_and_figures_to_the_patches_alone(patches):
    model, trace = generator(FORMS["mcsam"]).eval(), []
    tokens = some_tokens()
    with torch.no_grad():
        output = model(Batch(patches, tokens, torch.ones_like(tokens)), trace)
        extra = model.memory.encoder_extra(output.image)
    assert extra.shape == (5, 1, CONFIG.d_model) and trace[0].shape[-1] == PATCHES + 1
    assert trace[0][..., -1].min() > 0
    looks = look(model, patches, [[1, 2], [3]] + [[4]] * 3)
    assert looks.cross.shape[-1] == PATCHES and looks.overlap(0, [0]).weight.shape == (PATCHES,)
    assert (
        look(generator(FORMS["mcsam_no_retrieval"]), patches, [[1]] * 5).overlap(0, [0]).weight.tolist()
        == [0.0] * PATCHES
    )


# --- retrieval and consolidation --------------------------------------------------------------------------------------


def test_asking_all_slots_is_one_modern_hopfield_step():
    """softmax(β q K^T) V with β = 1/√d (Ramsauer et al. 2021, Eq. 3), one head, and the answer added to the
    features."""
    torch.manual_seed(0)
    memory = MCSAMConfig(slots=9, top_k=9).build(32, 1).eval()
    x, p = torch.randn(2, 5, 32), memory.projections
    response = memory.respond(x, memory.slots(None, "text"))
    step = p.output(torch.softmax(p.query(x) @ p.key(memory.bank).T / math.sqrt(32), -1) @ p.value(memory.bank))
    torch.testing.assert_close(response.vectors, step, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(memory.fuse(x, response, "text"), x + step, atol=1e-5, rtol=1e-5)


def test_one_bank_answers_both_modalities():
    memory = generator(FORMS["mcsam"]).eval().memory
    x = torch.randn(2, 3, CONFIG.d_model)
    image, text = (memory.respond(x, memory.slots(None, side)) for side in ("image", "text"))
    torch.testing.assert_close(image.vectors, text.vectors)


def test_hard_retrieval_answers_with_the_best_slot_and_learns_what_to_ask():
    """Straight-through: forwards the value of the best slot alone, backwards the softmax, so that query and key have a
    gradient at all."""
    torch.manual_seed(0)
    soft, hard = (MCSAMConfig(slots=9, top_k=4, retrieval=r, dropout=0.0).build(32, 2) for r in ("soft", "hard"))
    hard.load_state_dict(soft.state_dict())
    x = torch.randn(2, 5, 32)
    answer, full = hard.respond(x, hard.slots(None, "image")), soft.respond(x, soft.slots(None, "image"))
    assert torch.equal(answer.indices, full.indices[..., :1]) and answer.weights.unique().tolist() == [1.0]
    values = hard.projections.value(hard.bank).view(9, 2, 16)
    picked = torch.stack([values[answer.indices[:, h, :, 0], h] for h in range(2)], dim=2)  # (B, L, h, d_k)
    torch.testing.assert_close(answer.vectors, hard.projections.output(picked.flatten(2)), atol=1e-5, rtol=1e-5)
    answer.vectors.pow(2).sum().backward()
    assert hard.projections.query.weight.grad.abs().max() > 1e-3 and hard.projections.key.weight.grad.abs().max() > 1e-3


def test_without_retrieval_there_is_no_bank_and_features_stay_as_they_are():
    memory = generator(FORMS["mcsam_no_retrieval"]).memory
    assert not any("rows" in name or "projections" in name for name, _ in memory.named_parameters())
    x = torch.randn(2, 5, CONFIG.d_model)
    response = memory.respond(x, memory.slots(None, "image"))
    assert memory.fuse(x, response, "image") is x
    assert "alignment" in memory.losses(response, response, torch.ones(2, 5, dtype=torch.bool), None)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_bank_never_learns_and_the_rest_does(frozen, patches):
    model, tokens = generator(MCSAMConfig(**SIZE, frozen=frozen)).train(), some_tokens()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, experiment("iu_phantom/cmn").training)
    output = model(Batch(patches, tokens, torch.ones_like(tokens)))
    (report_loss(output.logits, tokens, torch.ones_like(tokens)) + sum(output.losses.values())).backward()
    optimizer.step()
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert still == ({"memory.rows"} if frozen else set())


# --- alignment --------------------------------------------------------------------------------------------------------


def unit(n: int = 6, d: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1
    )


def test_contrastive_alignment_written_out():
    """-1/2B Σ_i [log e^{s v_i·t_i} / Σ_j e^{s v_i·t_j} + log e^{s v_i·t_i} / Σ_j e^{s v_j·t_i}]"""
    v, t, scale = unit(seed=0), unit(seed=1), 5.0
    total = 0.0
    for i in range(6):
        own = math.exp(scale * float(v[i] @ t[i]))
        total -= math.log(own / sum(math.exp(scale * float(v[i] @ t[j])) for j in range(6)))
        total -= math.log(own / sum(math.exp(scale * float(v[j] @ t[i])) for j in range(6)))
    assert contrastive_alignment(v, t, scale).item() == pytest.approx(total / 12, abs=1e-12)


def test_alignment_limits():
    v = torch.eye(6, dtype=torch.float64)
    assert contrastive_alignment(v, v, 100.0).item() < 1e-9  # all found
    assert contrastive_alignment(v[:1].expand(6, -1), v[:1].expand(6, -1), 7.0).item() == pytest.approx(
        math.log(6)
    )  # all alike: chance
    assert direct_alignment(v, v).item() == pytest.approx(0) and direct_alignment(v, -v).item() == pytest.approx(2)
    assert direct_alignment(v[:1].expand(6, -1), v[:1].expand(6, -1)).item() == pytest.approx(
        0
    )  # and direct alignment is content with that


def test_a_batch_of_one_has_nothing_to_tell_apart():
    v = unit(1).requires_grad_()
    loss = contrastive_alignment(v, unit(1, seed=1), torch.tensor(14.0))
    loss.backward()
    assert loss.item() == 0 and v.grad.abs().max() == 0
    model = generator(FORMS["mcsam"]).train()
    tokens = some_tokens(1)
    output = model(Batch(torch.rand(1, PATCHES, D_VF), tokens, torch.ones_like(tokens)))
    sum(output.losses.values()).backward()
    assert output.losses["alignment"].item() == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_temperature_is_learnt_and_bounded():
    model, tokens = generator(FORMS["mcsam"]).eval(), some_tokens()
    batch = Batch(torch.rand(5, PATCHES, D_VF), tokens, torch.ones_like(tokens))
    model(batch).losses["alignment"].backward()
    assert (
        model.memory.log_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-5)
        and model.memory.log_scale.grad.abs() > 0
    )
    with torch.no_grad():
        model.memory.log_scale.fill_(math.log(100))
        at_the_bound = model(batch).losses["alignment"]
        model.memory.log_scale.fill_(50.0)
        torch.testing.assert_close(model(batch).losses["alignment"], at_the_bound)


def test_the_loss_is_weighted_and_that_of_the_embeddings(patches):
    tokens, losses = some_tokens(), {}
    for weight in (1.0, 0.25):
        model = generator(MCSAMConfig(**SIZE, alignment="direct", alignment_weight=weight)).eval()
        output = model(Batch(patches, tokens, torch.ones_like(tokens)))
        losses[weight] = output.losses["alignment"]
    visual = model.memory.visual_embedding(output.image)
    report = model.memory.report_embedding(output.text, tokens[:, :-1] > 0)
    torch.testing.assert_close(visual.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(losses[1.0], (1 - torch.nn.functional.cosine_similarity(visual, report)).mean())
    torch.testing.assert_close(losses[0.25], 0.25 * losses[1.0])
    assert generator(FORMS["mcsam_no_alignment"])(Batch(patches, tokens, torch.ones_like(tokens))).losses == {}


def test_embeddings_pool_patches_and_words_and_no_marks(patches):
    """A report's embedding is the same alone and beside longer ones, and its pooling is over its words."""
    model = generator(FORMS["mcsam"]).eval()
    short, long = torch.tensor([[0, 3, 5, 0, 0, 0, 0]]), some_tokens(1, 7)
    with torch.no_grad():
        alone = model(Batch(patches[:1], short[:, :4], torch.ones(1, 4)))
        both = model(Batch(patches[:2], torch.cat([short, long]), torch.ones(2, 7)))
        embedded = model.memory.report_embedding(alone.text, short[:, :3] > 0)
        torch.testing.assert_close(
            model.memory.report_embedding(both.text, torch.cat([short, long])[:, :-1] > 0)[:1], embedded
        )
        pooled = model.memory.embeddings["text"](alone.text.vectors[0, 1:3].mean(0))
        torch.testing.assert_close(embedded[0], pooled / pooled.norm())
        pooled = model.memory.embeddings["image"](alone.image.vectors[0].mean(0))
        torch.testing.assert_close(model.memory.visual_embedding(alone.image)[0], pooled / pooled.norm())


def test_a_report_without_a_word_has_an_embedding_all_the_same():
    model = generator(FORMS["mcsam"]).eval()
    tokens = torch.zeros(2, 4, dtype=torch.long)
    output = model(Batch(torch.rand(2, PATCHES, D_VF), tokens, torch.ones(2, 4)))
    assert torch.isfinite(output.losses["alignment"])


# --- the bank before training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("initialisation", ["ot_topics", "kmeans", "label_kmeans"])
def test_slots_are_topics_written_in_token_vectors(initialisation):
    words = torch.randn(15, 32, generator=torch.Generator().manual_seed(0))
    memory = MCSAMConfig(slots=8, top_k=2, initialisation=initialisation).build(32, 2)
    before = torch.get_rng_state()
    memory.prepare(training(words))
    assert torch.equal(
        torch.get_rng_state(), before
    )  # what is drawn after it is the same whether a bank is prepared or not
    weights = torch.from_numpy(find_topics(training(None), 8, initialisation).weights).float()
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(memory.bank, weights @ words), torch.ones(8))
    torch.testing.assert_close(memory.bank.pow(2).mean(1).sqrt(), torch.ones(8))  # rows of root mean square 1


def test_a_word_asks_for_its_topics_before_anything_is_learnt():
    """Because the bank is written in the words' own vectors and keys begin as queries. A random bank of the same size
    gets chance, a quarter."""
    hits = {}
    for initialisation in ("ot_topics", "random"):
        torch.manual_seed(0)
        words = torch.randn(15, 256)
        memory = MCSAMConfig(slots=8, top_k=1, initialisation=initialisation).build(256, 4).eval()
        memory.prepare(training(words))
        topics = find_topics(training(None), 8).weights
        subject = np.stack([topics[:, 2 + 3 * s : 5 + 3 * s].sum(1) for s in range(4)], axis=1).argmax(1)  # (N,)
        asked = memory.respond(words[None, 2:14], memory.slots(None, "text")).indices[0, :, :, 0]  # (h, 12)
        hits[initialisation] = float((subject[asked.numpy()] == np.arange(12) // 3).mean())
    assert hits["ot_topics"] > 0.9 and hits["random"] < 0.5


def test_a_random_bank_has_the_size_of_an_initialised_one_and_is_left_alone():
    memory = MCSAMConfig(initialisation="random").build(512, 8)
    assert memory.bank.pow(2).mean().sqrt().item() == pytest.approx(1, abs=0.01)
    assert memory.rows.pow(2).mean().sqrt().item() == pytest.approx(
        1 / math.sqrt(512), rel=0.01
    )  # so that a step of Adam moves it
    before = memory.bank.detach().clone()
    memory.prepare(training(None))
    assert torch.equal(memory.bank, before)
    generator(FORMS["mcsam_no_retrieval"]).memory.prepare(training(None))  # nothing to initialise


@pytest.mark.parametrize(("vectors", "says"), [(None, "has none"), (torch.zeros(15, 16), "vectors of 16 numbers")])
def test_a_bank_that_does_not_match_the_token_vectors_is_refused(vectors, says):
    with pytest.raises(ConfigurationError, match=f"width 32.*{says}"):
        MCSAMConfig(**SIZE).build(32, 2).prepare(training(vectors))


def test_a_run_prepares_the_bank_with_its_generators_own_words_and_not_for_a_checkpoint(tmp_path):
    data = Told()
    what = experiment("phantom/cmn", "ci", ["generator.d_model=16", "generator.heads=2", "generator.layers=1"])
    what = type(what)(**{**vars(what), "memory": MCSAMConfig(**SIZE), "extractor": ExtractorConfig(frozen=True)})
    run = Run(tmp_path, what, data, SimpleNamespace(dim=D_VF, frozen=True), False)
    run.__dict__["inputs"] = data.patches
    model, again, unprepared = run.new_generator(), run.new_generator(), run.new_generator(prepared=False)
    assert torch.equal(model.memory.bank, again.memory.bank)
    weights = torch.from_numpy(find_topics(training(None), 9, seed=what.training.seed).weights).float()
    expected = weights @ model.token_embedding.weight.detach()
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(model.memory.bank, expected), torch.ones(9))
    torch.testing.assert_close(model.token_vectors(), model.token_embedding.weight.detach() * 4)  # sqrt(16)
    assert not torch.allclose(unprepared.memory.bank, model.memory.bank)
    assert torch.equal(unprepared.token_embedding.weight, model.token_embedding.weight)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"retrieval": "sofd"}, "unknown memory.retrieval 'sofd'; nearest: soft"),
        ({"alignment": "cosine"}, "unknown memory.alignment 'cosine'"),
        ({"initialisation": "lda"}, "unknown memory.initialisation 'lda'"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"memory_tokens": -1}, "memory_tokens is -1"),
        ({"slots": 5, "top_k": 6}, "top_k is 6"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises((ConfigurationError, UnknownNameError), match=says):
        MCSAMConfig(**settings).build(32, 2)
