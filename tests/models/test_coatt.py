"""COATT: in the public code's form its parts equal that code (tests/golden/coatt), and in ours a report is its own
study's and no other's."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from places import GoldenFolder

from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models import coatt
from rrg_lib.models.coatt import GO, STOP, CoAttConfig, Sentences, discounted, one_report, tag_error
from rrg_lib.models.interface import Batch
from rrg_lib.models.released_weights import from_table

GOLDEN = GoldenFolder("coatt")
#: The code's form: studies mixed, the state not handed on in training.
CODE = CoAttConfig(
    vocab_size=30, d_vf=48, d_model=32, tags=12, top_tags=4, max_length=12, studies="mixed", handed_on=False
)


def close(ours: torch.Tensor, theirs: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def ours(tensors: dict[str, torch.Tensor], kind: str = "") -> dict[str, torch.Tensor]:
    """Those that the code uses, under our names."""
    found = {name[len(kind) :]: tensor for name, tensor in tensors.items() if name.startswith(kind)}
    used = {name: tensor for name, tensor in found.items() if not re.fullmatch(coatt.UNUSED, name)}
    return from_table(used, coatt.RELEASED_NAMES, "coatt")


def released(weights: str) -> coatt.CoAtt:
    model = CODE.build().eval()
    model.load_state_dict(ours(GOLDEN.tensors(f"state_{weights}")))
    return model


def whole(model: coatt.CoAtt, handed_on: bool = False) -> dict[str, torch.Tensor]:
    """All that the code computes of three studies with three sentences each, by our parts."""
    inputs = GOLDEN.tensors("inputs")
    patches = inputs["avg_features"][:, None]
    tags = model.tags(patches)
    study = model.look(patches, tags)
    zero = torch.zeros(3, 32)
    past, state, found = zero, model.sentences.begin(3, zero), []
    for n in range(3):
        context, seen, asked = model.attention(study, past)
        said, topic, go, state = model.sentences(context, past, state)
        words = model.logits(model.read_sentences(topic, inputs["captions"][:, n, :-1]))
        past = said if handed_on else zero
        found.append(
            {
                "context": context,
                "alpha_visual": seen[:, 0],
                "alpha_semantic": asked,
                "topic": topic,
                "sentence_hidden": said,
                "stop_logits": go,
                "word_logits": words,
            }
        )
    return {name: torch.stack([each[name] for each in found], 1) for name in found[0]} | {
        "tags": tags,
        "semantic": study["tags"],
    }


def the_codes_loss(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """COATT, loss: sums over the batch, of words that are there; a stop counts in every sentence."""
    inputs = GOLDEN.tensors("inputs")
    said = inputs["captions"][:, :, 1:]
    words = F.cross_entropy(found["word_logits"].flatten(0, 2), said.flatten(), reduction="none").view_as(said)
    places = torch.arange(said.shape[-1]).expand_as(said)
    stops = F.cross_entropy(found["stop_logits"].flatten(0, 1), inputs["continue_target"].flatten(), reduction="sum")
    losses = {
        "tag_loss": tag_error(found["tags"], inputs["labels"] > 0).mean(),
        "stop_loss": stops,
        "word_loss": (discounted(words, places, CODE.discount) * (said > 0)).sum(),
    }
    weights = (CODE.tag_weight, CODE.go_weight, 1.0)
    return losses | {"loss": sum(w * x for w, x in zip(weights, losses.values(), strict=True))}


@pytest.mark.parametrize("weights", ["init", "trained"])
def test_every_part_and_the_loss_equal_the_public_code(weights):
    """COATT, tags; COATT, co-attention; COATT, topics and stop; COATT, words; COATT, loss."""
    golden = GOLDEN.tensors(f"forward_{weights}")
    with torch.no_grad():
        found = whole(released(weights))
    for name, tensor in found.items():
        close(tensor, golden[name], 2e-6)
    close(found["word_logits"].log_softmax(-1), golden["word_logits"].log_softmax(-1), 1e-5)
    for name, loss in the_codes_loss(found).items():
        torch.testing.assert_close(loss, golden[name][0], atol=1e-6, rtol=1e-6)


def test_one_steps_gradients_and_batch_statistics_equal_the_public_code():
    """In training mode, where the norms use the batch; parameters that never learn there do not exist here."""
    model, golden = released("init").train(), GOLDEN.tensors("train_step1")
    loss = the_codes_loss(whole(model))["loss"]
    assert loss.item() == pytest.approx(GOLDEN.meta["train_step1"]["losses"][0]["loss"], rel=1e-6)
    loss.backward()
    gradients = ours(golden, "grad.")
    mine = dict(model.named_parameters())
    assert gradients.keys() == mine.keys()
    assert all(re.fullmatch(coatt.UNUSED, name) for name in GOLDEN.meta["train_step1"]["without_gradient"])
    for name, gradient in gradients.items():
        close(mine[name].grad / loss.item(), gradient / loss.item(), 1e-6)
        torch.testing.assert_close(mine[name].grad, gradient, atol=2e-5, rtol=1e-4)  # of a loss of 257
    for name, value in ours(golden, "buffer.").items():
        torch.testing.assert_close(model.get_buffer(name), value, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("norms", ["", "_train_mode"])
def test_greedy_words_equal_the_public_codes_tester(norms):
    """It hands the state on, and writes a sentence where "go on" is likelier; its norms are left in training mode."""
    golden, inputs = GOLDEN.tensors("decode_trained"), GOLDEN.tensors("inputs")
    model = released("trained").train(bool(norms))
    with torch.no_grad():
        patches = inputs["avg_features"][:, None]
        study, zero = model.look(patches, model.tags(patches)), torch.zeros(3, 32)
        past, state = zero, model.sentences.begin(3, zero)
        for n in range(3):
            context, _, _ = model.attention(study, past)
            past, topic, go, state = model.sentences(context, past, state)
            goes = go.argmax(-1)
            words = torch.ones(3, 1, dtype=torch.long)
            for _ in range(5):
                scores = model.logits(model.read_sentences(topic, words))[:, -1]
                words = torch.cat([words, scores.argmax(-1, keepdim=True)], 1)
            assert torch.equal(goes, golden[f"greedy_continue{norms}"][:, n])
            assert torch.equal(words * goes[:, None], golden[f"greedy_tokens{norms}"][:, n])


def test_the_codes_size_has_as_many_numbers():
    """20,736,754 with 1,000 words and 210 tags, of which 13,358 are batch norms that are never called."""
    with torch.device("meta"):
        model = CoAttConfig(vocab_size=999, tags=210, top_tags=10).build()
    assert sum(p.numel() for p in model.parameters()) == 20_736_754 - 13_358


def test_weights_begin_as_the_codes_do():
    torch.manual_seed(1)
    model = CODE.build()
    for name, value in ours(GOLDEN.tensors("state_init")).items():
        found = model.state_dict()[name]
        if value.numel() > 1 and value.std() < 1e-6:
            torch.testing.assert_close(found, value)
        elif value.numel() > 300:
            assert found.std().item() == pytest.approx(value.std().item(), rel=0.1), name
            assert found.abs().max().item() == pytest.approx(value.abs().max().item(), rel=0.35), name


# --- our form ---------------------------------------------------------------------------------------------------------

SMALL = CoAttConfig(vocab_size=12, d_vf=10, d_model=16, max_length=12, full_stop=7)
#: Two sentences and an end; one; one that is cut off.
TOKENS = torch.tensor([[0, 3, 4, 7, 5, 7, 0, 0], [0, 6, 7, 0, 0, 0, 0, 0], [0, 1, 2, 3, 7, 4, 5, 6]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0, 0, 0], [1] * 8]).float()


def small(**settings) -> coatt.CoAtt:
    torch.manual_seed(0)
    model = replace(SMALL, **settings).build().eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(3)
    return model


@pytest.fixture
def batch() -> Batch:
    labels = torch.zeros(3, 14)
    labels[0, [2, 5]] = labels[1, 0] = 1
    return Batch(torch.rand(3, 8, 10, generator=torch.Generator().manual_seed(0)) * 3, TOKENS.clone(), MASK, labels)


def test_words_are_laid_out_by_sentences():
    where = Sentences.of(TOKENS[:, :-1], 7)
    assert where.number.tolist() == [[0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1]]
    assert where.place.tolist() == [[0, 1, 2, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 1, 2]]
    assert (where.count, where.places) == (3, 4)


def test_a_report_ends_where_no_sentence_goes_on_and_has_one_likelihood(batch):
    words, go = torch.randn(2, 13), torch.randn(2, 2)
    log_probs = one_report(words, go)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2))
    torch.testing.assert_close(log_probs[:, 0].exp(), go.softmax(-1)[:, STOP])
    own = log_probs[:, 1:].exp() / go.softmax(-1)[:, GO, None]
    torch.testing.assert_close(own, words[:, 1:].softmax(-1))
    with torch.no_grad():
        logits, begins = small()(batch).logits, Sentences.of(TOKENS[:, :-1], 7).begins
    torch.testing.assert_close(logits[begins].exp().sum(-1), torch.ones(int(begins.sum())), atol=1e-5, rtol=0)


def test_the_loss_is_the_codes_over_the_number_of_words(batch):
    """Written out word by word: 0.9^j of a word's own likelihood, ten times a stop's, 10,000 times the tags'."""
    model = small()
    with torch.no_grad():
        output = model(batch)
        log_probs = output.logits.log_softmax(-1)
        study = model.look(batch.inputs, model.tags(batch.inputs))
        _, going, _ = model.topics(study, 3)
    plain = weighed = 0.0
    for b in range(3):
        sentence, j = -1, 0
        for t in range(int(MASK[b].sum()) - 1):
            begins = t == 0 or TOKENS[b, t] == 7
            sentence, j = (sentence + 1, 1) if begins else (sentence, j + 1)
            word = TOKENS[b, t + 1]
            each = -log_probs[b, t, word]
            go = -going[b, sentence].log_softmax(-1)[int(word != 0)] if begins else 0.0
            plain, weighed = plain + each, weighed + 0.9**j * (each - go) + 10 * go
    number = int(MASK[:, 1:].sum())
    torch.testing.assert_close(output.losses["sentences"], (weighed - plain) / number, atol=1e-5, rtol=1e-5)
    target = batch.labels[:2] / batch.labels[:2].sum(1, keepdim=True)  # the third is labelled with nothing
    error = (model.tags(batch.inputs)[:2] - target).square().mean()
    torch.testing.assert_close(output.losses["tags"], 1e4 * error / number)


def test_without_labels_the_tags_are_not_taught(batch):
    with torch.no_grad():
        assert small()(replace(batch, labels=None)).losses["tags"] == 0
    with pytest.raises(ConfigurationError, match="has 3 labels, the generator 14 tags"):
        small()(replace(batch, labels=torch.ones(3, 3)))


def test_its_tags_are_its_own_and_words_do_not_teach_them(batch):
    """Nothing of a study's labels is known when its report is written; the choice of the largest has no gradient."""
    model = small()
    first, _ = model.step(torch.zeros(3, 1, dtype=torch.long), model.start(batch.inputs, batch.labels))
    other, _ = model.step(torch.zeros(3, 1, dtype=torch.long), model.start(batch.inputs, 1 - batch.labels))
    assert torch.equal(first, other)
    output = model.train()(batch)
    (output.logits.sum() + output.losses["sentences"]).backward()
    assert not model.tag_scores.weight.grad.any()
    assert model.tag_embedding.weight.grad.any()


def test_a_report_is_its_own_studys_alone_and_in_the_codes_form_its_neighbours_too(batch):
    for studies, apart in (("apart", True), ("mixed", False)):
        model = small(studies=studies)
        with torch.no_grad():
            together = model(batch).logits[1]
            alone = model(Batch(batch.inputs[1:2], TOKENS[1:2], MASK[1:2])).logits[0]
        assert torch.allclose(together, alone, atol=1e-5) is apart
    with pytest.raises(ConfigurationError, match="depends on the other studies of its batch"):
        model.start(batch.inputs)


def test_a_state_that_is_not_handed_on_in_training_is_handed_on_when_a_report_is_written(batch):
    """In the code's training every sentence looks at the same channels and tags; its tester hands the state on."""
    model = small(handed_on=False)
    study = model.look(batch.inputs, model.tags(batch.inputs))
    with torch.no_grad():
        _, _, written = model.topics(study, 3)
        _, _, taught = model.train().topics(study, 3)
        _, _, usual = small().train().topics(study, 3)
    assert torch.equal(taught[:, 1], taught[:, 0]) and torch.equal(taught[:, 2], taught[:, 0])
    assert (written[:, 1] - written[:, 0]).abs().max() > 1e-4 and (usual[:, 1] - usual[:, 0]).abs().max() > 1e-4


def test_channels_are_no_place_to_look_at_and_patches_are(batch):
    with pytest.raises(ConfigurationError, match=r"attends to the channels .*generator\.visual=patches does"):
        small()(batch, [])
    assert not CoAttConfig().attends and CoAttConfig(visual="patches").attends
    trace = []
    with torch.no_grad():
        small(visual="patches")(batch, trace)
    (looked,) = trace
    assert looked.shape == (3, 1, 7, 8)
    torch.testing.assert_close(looked.sum(-1), torch.ones(3, 1, 7))
    assert torch.equal(looked[0, 0, 0], looked[0, 0, 2]) and not torch.equal(looked[0, 0, 0], looked[0, 0, 3])


def test_the_full_stop_is_the_vocabularys():
    words = Vocabulary(("-", ".", "lung"))
    found = CoAttConfig().of_data(words, 5)
    assert (found.full_stop, found.vocab_size, found.d_vf) == (2, 3, 5)
    with pytest.raises(ConfigurationError, match="vocabulary has no full stop"):
        CoAttConfig().of_data(Vocabulary(("heart", "lung")), 5)


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ConfigurationError, match="top_tags is 15: a study has between 1 and all 14 tags"):
        CoAttConfig(top_tags=15)
    with pytest.raises(UnknownNameError, match=r"visual 'patch'.*patches"):
        CoAttConfig(visual="patch")
