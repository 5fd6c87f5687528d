"""EKAGEN: what of it is the released code's equals it (tests/golden/ekagen), and the knowledge, which is ours, is what
its page says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from places import GoldenFolder
from toy import D_VF, ToyDataset

from rrg_lib.errors import ConfigurationError
from rrg_lib.experiments.presets import experiment
from rrg_lib.models import ekagen
from rrg_lib.models.batches import TrainingStudies
from rrg_lib.models.ekagen import (
    EKAGenConfig,
    KnowledgeConfig,
    KnowledgeMemory,
    at_places,
    distillation,
    sine_positions,
    unpacked,
)
from rrg_lib.models.generator import TransformerConfig
from rrg_lib.models.interface import Batch, WordTable
from rrg_lib.models.memory import CMNConfig
from rrg_lib.models.released_weights import from_table
from rrg_lib.models.report_loss import report_loss

GOLDEN = GoldenFolder("ekagen")
CONFIG = EKAGenConfig(
    vocab_size=32, d_vf=48, d_model=32, d_ff=64, heads=4, layers=2, hidden=48, places=12, max_length=12, map_rows=3
)
KNOWLEDGE = KnowledgeConfig(rows=12, patterns=3)


def close(ours: torch.Tensor, theirs: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def released(weights: str) -> ekagen.EKAGen:
    """Their weights, their three blocks of knowledge in our table."""
    model, inputs = CONFIG.build(memory=KNOWLEDGE).eval(), GOLDEN.tensors("inputs")
    state = from_table(unpacked(GOLDEN.tensors(f"state_{weights}")), ekagen.RELEASED_NAMES, "ekagen")
    left = model.load_state_dict(state, strict=False)
    assert left.missing_keys == ["memory.blocks", "memory.patterns"] and not left.unexpected_keys
    model.memory.blocks[:3], model.memory.patterns[:] = inputs["knowledge"], inputs["diagnosis"]
    return model


def the_batch() -> Batch:
    """Their three ids for start, end and padding are three words here."""
    inputs = GOLDEN.tensors("inputs")
    return Batch(
        inputs["att_feats"], inputs["caps"], (~inputs["cap_mask"]).float(), inputs["diagnosis"].float(), ["a", "b", "c"]
    )


@pytest.mark.parametrize("weights", ["init", "trained"])
def test_log_probabilities_attention_and_losses_equal_the_release(weights):
    """EKAGEN, fusion; EKAGEN, loss over all places; EKAGEN, distillation."""
    golden, model, batch, trace = GOLDEN.tensors(f"forward_{weights}"), released(weights), the_batch(), []
    fused = []
    for layer in model.decoder:
        layer.fusion.register_forward_hook(lambda _, __, out: fused.append(out))
    with torch.no_grad():
        output = model(batch, trace)
    close(output.encoded, golden["encoder_out"], 1e-5)
    close(output.words, golden["tgt_embed"], 1e-6)
    for layer in range(2):
        close(fused[layer], golden[f"knowledge_fused.{layer}"], 1e-5)
        close(trace[layer].mean(1), golden[f"src_attn.{layer}"], 1e-6)
    close(output.logits.log_softmax(-1), golden["logits"].log_softmax(-1), 1e-5)
    close(output.logits.double().log_softmax(-1), golden["logits_f64"].log_softmax(-1), 1e-5)
    words = report_loss(output.logits, batch.tokens, batch.mask)
    close(words, golden["ce_loss_words_only"][0], 1e-6)
    close(words + output.losses["padding"], golden["ce_loss"][0], 1e-6)
    taught = 0.01 * distillation(GOLDEN.tensors("inputs")["teacher_logits"], output.logits)
    close(taught, golden["kd_loss"][0], 1e-6)
    close(words + output.losses["padding"] + taught, golden["loss"][0], 1e-6)


def test_positions_of_the_map_equal_the_release():
    theirs = GOLDEN.tensors("forward_init")["image_positions"][0]  # (d, 3, 6)
    close(sine_positions(3, 6, 32), theirs.flatten(1).T, 1e-6)


def whole_loss(model, batch) -> torch.Tensor:
    output = model(batch)
    taught = 0.01 * distillation(GOLDEN.tensors("inputs")["teacher_logits"], output.logits)
    return report_loss(output.logits, batch.tokens, batch.mask) + output.losses["padding"] + taught


def test_one_steps_gradients_equal_the_release():
    """But for the row of id 0, padding and nothing else there: it never learns. Here it begins a report."""
    model, theirs = released("init"), GOLDEN.tensors("train_step1")
    loss = whole_loss(model, the_batch())
    assert loss.item() == pytest.approx(GOLDEN.meta["train_step1"]["losses"][0]["loss"], abs=1e-6)
    loss.backward()
    gradients = unpacked({name.removeprefix("grad."): tensor for name, tensor in theirs.items()})
    gradients = from_table(gradients, ekagen.RELEASED_NAMES, "ekagen")
    ours = dict(model.named_parameters())
    assert gradients.keys() == ours.keys()
    assert not gradients["token_embedding.weight"][0].any() and ours["token_embedding.weight"].grad[0].any()
    ours["token_embedding.weight"].grad[0] = 0
    for name, gradient in gradients.items():
        close(ours[name].grad, gradient, 1e-6)


def test_five_steps_with_the_released_optimiser_follow_the_release():
    """The preset's rate and clipping, with the release's AdamW; and without its decay nothing of it is seen."""
    training, batch = experiment("iu_xray/ekagen", "gpu").training, the_batch()
    for decay in (1e-4, training.weight_decay):
        model = released("init")
        optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr, weight_decay=decay)
        for theirs in GOLDEN.meta["train_step5"]["losses"]:
            loss = whole_loss(model, batch)
            assert loss.item() == pytest.approx(theirs["loss"], abs=2e-6)
            optimizer.zero_grad()
            loss.backward()
            model.token_embedding.weight.grad[0] = 0  # the release's padding, which does not learn
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()


@pytest.mark.parametrize("weights", ["init", "trained"])
def test_greedy_words_and_their_scores_equal_the_release_step_by_step(weights):
    """The release never stops: it writes places 1 to T - 2 whatever it has said. A cached step gives what it computes
    anew."""
    golden, model, batch = GOLDEN.tensors(f"decode_{weights}"), released(weights), the_batch()
    state, word = model.start(batch.inputs, batch.labels), torch.ones(3, 1, dtype=torch.long)
    written = [word]
    for t in range(10):
        logits, state = model.step(word, state)
        close(logits[:, 0], golden["greedy_logits"][:, t], 1e-5)
        word = logits.argmax(-1)
        written.append(word)
    assert torch.equal(torch.cat(written, 1), golden["greedy_tokens"][:, :11])


def test_the_released_size_has_as_many_numbers():
    """Counted from the code at 760 outputs, without the CNN; the knowledge is no parameter."""
    with torch.device("meta"):
        assert sum(p.numel() for p in EKAGenConfig(vocab_size=759).build(memory=KnowledgeConfig()).parameters()) == (
            20_477_944
        )


def test_weights_begin_as_the_released_ones_do():
    torch.manual_seed(1)
    model = CONFIG.build(memory=KNOWLEDGE)
    theirs = from_table(unpacked(GOLDEN.tensors("state_init")), ekagen.RELEASED_NAMES, "ekagen")
    for name, value in theirs.items():
        ours = model.get_parameter(name).data
        if value.numel() > 1 and value.std() < 1e-6:
            torch.testing.assert_close(ours, value)
        elif value.numel() > 500:
            assert ours.std().item() == pytest.approx(value.std().item(), rel=0.1), name
            assert ours.abs().max().item() == pytest.approx(value.abs().max().item(), rel=0.1), name


# --- the knowledge ----------------------------------------------------------------------------------------------------


class Labelled(ToyDataset):
    """Twelve studies: six of one pattern, four of another, two alone with theirs."""

    def __init__(self):
        super().__init__(12)
        self.observations[:6, 3] = 1
        self.observations[6:10, [3, 5]] = 1
        self.observations[10, 7] = self.observations[11, 8] = 1


@pytest.fixture
def written() -> tuple[KnowledgeMemory, TrainingStudies]:
    vectors = torch.randn(13, 8, generator=torch.Generator().manual_seed(0))
    studies = TrainingStudies(Labelled().batches(), token_vectors=vectors)
    memory = KnowledgeMemory(KnowledgeConfig(rows=6, patterns=4, least=3), 8)
    memory.prepare(studies)
    return memory, studies


def pattern(*present: int) -> torch.Tensor:
    row = torch.zeros(1, 14)
    row[0, list(present)] = 1
    return row


def test_a_row_is_the_mean_word_that_is_to_be_written_there(written):
    """EKAGEN, knowledge."""
    memory, studies = written
    rows = memory.looked_up(pattern(3), 1)[0]  # (T, d)
    for t in range(6):
        said = [studies.tokens(i)[1:] for i in range(6)]
        words = [tokens[t] if t < len(tokens) else 0 for tokens in said]
        mean = studies.token_vectors[words].mean(0)
        torch.testing.assert_close(rows[t], mean / mean.square().mean().sqrt())
    assert not torch.allclose(rows[0], memory.looked_up(pattern(3, 5), 1)[0, 0])


def test_a_pattern_that_few_studies_have_is_read_as_its_nearest_and_none_as_all(written):
    memory, _ = written
    known = memory.patterns[:, 0] >= 0
    assert known.tolist() == [True, True, False, False]  # a block of one study would be its report
    assert torch.equal(memory.looked_up(pattern(3, 5, 9), 1), memory.looked_up(pattern(3, 5), 1))
    assert torch.equal(memory.looked_up(pattern(7), 1), memory.looked_up(pattern(3), 1))  # two bits away, three
    assert torch.equal(memory.looked_up(pattern(5), 1), memory.looked_up(pattern(3, 5), 1))  # one bit away, two
    assert torch.equal(memory.looked_up(None, 2), memory.blocks[-1:].expand(2, -1, -1))
    empty = KnowledgeMemory(memory.config, 8)
    assert not empty.looked_up(pattern(3), 1).any()
    with pytest.raises(ConfigurationError, match="has 3 labels, the knowledge patterns of 14"):
        memory.looked_up(torch.ones(1, 3), 1)


def test_of_several_as_near_the_most_frequent_is_read():
    memory = KnowledgeMemory(KnowledgeConfig(rows=1, patterns=2, least=1), 4)
    memory.patterns[:] = torch.cat([pattern(1), pattern(2)])
    memory.blocks[:] = torch.arange(3.0)[:, None, None]
    assert memory.looked_up(pattern(1, 2), 1).unique().tolist() == [0.0]
    assert memory.looked_up(pattern(2), 1).unique().tolist() == [1.0]


def test_places_behind_the_last_row_read_it():
    rows = torch.arange(3.0)[None, :, None]
    assert at_places(rows, torch.tensor([1, 2, 5]))[0, :, 0].tolist() == [1.0, 2.0, 2.0]


SMALL = EKAGenConfig(
    vocab_size=12, d_vf=D_VF, d_model=16, d_ff=16, heads=2, layers=2, places=9, max_length=9, dropout=0.0
)


def small() -> ekagen.EKAGen:
    torch.manual_seed(0)
    model = SMALL.build(memory=KnowledgeConfig(rows=7, patterns=3)).eval()
    model.memory.blocks.normal_()
    model.memory.patterns[:] = torch.cat([pattern(3), pattern(3, 5), pattern(0)])
    return model


def test_a_study_keeps_its_knowledge_through_the_search():
    """Word by word, after studies have left and hypotheses changed places, as all words at once: with the labels of the
    study, which matter."""
    model, random = small(), torch.Generator().manual_seed(1)
    patches = torch.rand(4, 8, D_VF, generator=random)
    tokens = torch.cat([torch.zeros(4, 1, dtype=torch.long), torch.randint(1, 13, (4, 8), generator=random)], 1)
    labels = torch.cat([pattern(3), pattern(3, 5), pattern(0), pattern(3, 5)])
    with torch.no_grad():
        whole = model(Batch(patches, tokens, torch.ones_like(tokens), labels)).logits
        others = model(Batch(patches, tokens, torch.ones_like(tokens), labels.roll(1, 0))).logits
        state, found = model.start(patches, labels), []
        for t in range(8):
            if t == 3:
                state.select(torch.tensor([2, 1]))
                state.reorder(torch.zeros(2, 2, dtype=torch.long))
            rows, width = ([2, 1], 2) if t >= 3 else ([0, 1, 2, 3], 1)
            logits, state = model.step(tokens[rows, t : t + 1].expand(-1, width), state)
            found.append(logits[:, -1] if t >= 3 else logits[[2, 1], 0])
    assert state.batch == 2
    torch.testing.assert_close(torch.stack(found, 1), whole[[2, 1]], atol=1e-5, rtol=1e-5)
    assert (whole - others).abs().amax((1, 2)).min() > 1e-3


def test_without_padding_in_the_loss_only_words_count():
    model, tokens = small(), torch.tensor([[0, 3, 4, 0, 0, 0], [0, 3, 4, 5, 6, 0]])
    batch = Batch(torch.rand(2, 8, D_VF), tokens, torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6]).float(), pattern(3, 5))
    batch.labels = batch.labels.expand(2, -1)
    with torch.no_grad():
        output = model(batch)
        everywhere = report_loss(output.logits, tokens, torch.ones_like(tokens))
        torch.testing.assert_close(
            report_loss(output.logits, tokens, batch.mask) + output.losses["padding"], everywhere
        )
        model.config = replace(SMALL, padding=False)
        assert model(batch).losses == {}


def test_what_it_cannot_be_built_with_or_asked_for_is_named():
    model = small()
    for make, said in (
        (lambda: SMALL.build(memory=CMNConfig()), "memory of the kind 'knowledge' or none, not 'cmn'"),
        (lambda: TransformerConfig().build(memory=KnowledgeConfig()), "a generator of the kind 'ekagen' takes it"),
        (lambda: EKAGenConfig(d_model=18, heads=2), "heads must divide d_model, and so must 4"),
        (lambda: EKAGenConfig(max_length=200), "128 learnt places"),
        (lambda: KnowledgeConfig(least=0), "least 0: each must be at least 1"),
        (lambda: model.start(torch.rand(1, 7, D_VF)), "7 patches are not those of 2 square views"),
        (lambda: model.start(torch.rand(1, 8, D_VF), max_length=10), "a report of 10 tokens: .* 9 learnt places"),
        (lambda: model.start(torch.rand(1, 8, D_VF), table=WordTable()), "no table of words"),
        (lambda: CONFIG.build().positions(10), "no map of 3 rows"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            make()


def test_the_maps_of_two_views_lie_one_below_the_other():
    both = small().positions(18)  # (6 rows of 3, d)
    assert both.shape == (18, 16) and len(both.unique(dim=0)) == 18
    np.testing.assert_allclose(both, sine_positions(6, 3, 16))
