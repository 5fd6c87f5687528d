"""XProNet's memory: its gate, both readings of every equation, its losses, and the labels on their way through a
generator."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from toy import CONFIG, D_VF, PATCHES, generator

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models.contrastive import multi_label_contrastive
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import MemoryConfig, XProNetConfig
from rrg_lib.models.memory.base import linear_weights

D, HEADS, CLASSES, NUMBER, GAMMA = CONFIG.d_model, CONFIG.heads, 14, 6, 5
SMALL = XProNetConfig(prototypes=NUMBER, gamma=GAMMA, image_dim=D_VF, text_dim=7)
LABELS = torch.zeros(4, CLASSES)
LABELS[[0, 0, 1, 2, 2, 2], [2, 5, 5, 0, 7, 13]] = 1  # study 3 has none


def memory(seed: int = 0, **settings):
    torch.manual_seed(seed)
    return replace(SMALL, **settings).build(D, HEADS).double().eval()


def patches(seed: int = 1, studies: int = 4) -> torch.Tensor:
    return torch.randn(studies, PATCHES, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answer(module, features, labels):
    return module.respond(features, module.slots(labels, "image"))


def written_out(module, x, labels):
    """XProNet Eq. 8-13 for one study, x (L, d) and labels (C,), a query and a head at a time."""
    c, linear = module.config, module.projections
    rows = [c.prototypes * k + i for k in labels.nonzero().flatten().tolist() for i in range(c.prototypes)]
    p = module.reduction(module.prototypes[rows])  # Eq. 8
    queries, keys = linear.query(x), linear.key(p)  # Eq. 9
    values = linear.value(p if c.values == "prototype" else keys)  # Eq. 12
    d_k = D // linear.heads
    heads = []
    for h in range(linear.heads):
        part = slice(h * d_k, (h + 1) * d_k)
        found = []
        for q in queries[:, part]:
            scores = keys[:, part] @ q / (math.sqrt(d_k) if c.scale == "sqrt" else D)  # Eq. 10
            best = scores.argsort(descending=True)[: c.gamma]
            chosen = scores[best]
            weights = chosen.exp() / chosen.exp().sum() if c.weights == "softmax" else chosen / chosen.sum()  # Eq. 11
            found.append(sum(w * values[i, part] for w, i in zip(weights, best, strict=True)))  # Eq. 13
        heads.append(torch.stack(found))
    return linear.output(torch.cat(heads, dim=1))


READINGS = [
    {},
    {"scale": "full"},
    {"weights": "linear"},
    {"values": "key"},
    {"heads": "single"},
    {"heads": "single", "scale": "full", "weights": "linear", "values": "key"},
]


@pytest.mark.parametrize("settings", READINGS, ids=lambda s: ",".join(s.values()) or "released")
def test_every_reading_equals_its_equations_written_out(settings):
    """XProNet Eq. 8-13, as released and as printed."""
    module, x = memory(**settings), patches()
    ours = answer(module, x, LABELS).vectors
    for study in range(3):
        torch.testing.assert_close(ours[study], written_out(module, x[study], LABELS[study]), atol=1e-9, rtol=0)


def test_the_readings_differ():
    x = patches()
    found = [answer(memory(**settings), x, LABELS).vectors for settings in READINGS]
    for i, one in enumerate(found):
        for other in found[:i]:
            assert (one[:3] - other[:3]).abs().max() > 1e-4


def test_a_study_asks_the_prototypes_of_its_own_classes_only():
    """XProNet Eq. 10, the gate: nothing of another class reaches the answer, and no gradient goes back to it."""
    module, x = memory(), patches()
    before = answer(module, x, LABELS)
    rows = (before.indices // NUMBER)[0].unique().tolist()
    assert set(rows) <= {2, 5}
    before.vectors[0].sum().backward()
    touched = module.prototypes.grad.abs().sum(dim=1).view(CLASSES, NUMBER).sum(dim=1).nonzero().flatten().tolist()
    assert set(touched) <= {2, 5}
    with torch.no_grad():
        module.prototypes.view(CLASSES, NUMBER, -1)[[0, 1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]] += 1
    after = answer(module, x, LABELS).vectors
    torch.testing.assert_close(after[0], before.vectors[0], atol=1e-12, rtol=0)
    assert (after[2] - before.vectors[2]).abs().max() > 1e-3


def test_what_else_is_in_the_batch_changes_nothing():
    module, x = memory(), patches()
    together = answer(module, x, LABELS).vectors
    for study in range(4):
        torch.testing.assert_close(
            answer(module, x[study : study + 1], LABELS[study : study + 1]).vectors[0],
            together[study],
            atol=1e-12,
            rtol=0,
        )


def test_a_study_without_a_label_hears_the_same_whatever_it_asks():
    """As released: it asks a vector of zeros, so it is told the biases."""
    module, x = memory(), patches()
    response = answer(module, x, LABELS)
    told = module.projections.output(module.projections.value.bias)
    torch.testing.assert_close(response.vectors[3], told.expand(PATCHES, D), atol=1e-12, rtol=0)
    assert response.indices[3, ..., 0].unique().tolist() == [CLASSES * NUMBER]
    assert (response.weights[3, ..., 0] == 1).all()


def test_without_labels_every_class_is_open():
    module, x = memory(), patches()
    torch.testing.assert_close(
        answer(module, x, None).vectors, answer(module, x, torch.ones(4, CLASSES)).vectors, atol=1e-12, rtol=0
    )
    assert module.open_slots(None).tolist() == [
        [True] * (CLASSES * NUMBER) + [False]
    ]  # the last place is for those without a label


def test_gamma_beyond_a_class_leaves_the_rest_without_weight():
    response = answer(memory(gamma=NUMBER + 3), patches(), LABELS)
    assert (response.weights[1, ..., NUMBER:] == 0).all()  # one class
    assert (response.weights[0] > 0).all()  # two classes
    linear = answer(memory(gamma=NUMBER + 3, weights="linear"), patches(), LABELS)
    assert (linear.weights[1, ..., NUMBER:] == 0).all()
    torch.testing.assert_close(linear.weights.sum(-1), torch.ones_like(linear.weights.sum(-1)))


def test_linear_weights_cancel_the_scale_and_stay_finite():
    """XProNet Eq. 11 as printed: scores of both signs can sum to nothing."""
    scores = torch.tensor([[3.0, 1.0, -1.0], [1.0, 0.0, -1.0], [2.0, -2.0, torch.finfo(torch.float32).min]])
    weights = linear_weights(scores)
    torch.testing.assert_close(weights[0], torch.tensor([1.0, 1 / 3, -1 / 3]))
    torch.testing.assert_close(linear_weights(scores[0] / 32), weights[0])
    assert weights.isfinite().all() and weights[2, 2] == 0


def test_each_modality_has_its_own_fusion_of_both():
    """XProNet Eq. 14: features first, then what the memory answered, by one linear map each, without an activation."""
    module, x = memory(), patches()
    response = answer(module, x, LABELS)
    for modality in ("image", "text"):
        linear = module.fusion[modality]
        expected = x @ linear.weight[:, :D].T + response.vectors @ linear.weight[:, D:].T + linear.bias
        torch.testing.assert_close(module.fuse(x, response, modality), expected)
    assert not torch.equal(module.fusion["image"].weight, module.fusion["text"].weight)


# --- what may stand in its way: three options of ours -----------------------------------------------------------------


def test_a_residual_adds_the_features_to_the_fusion():
    plain, residual, x = memory(), memory(residual=True), patches()
    response = answer(plain, x, LABELS)
    for modality in ("image", "text"):
        torch.testing.assert_close(residual.fuse(x, response, modality), x + plain.fuse(x, response, modality))


def test_without_a_gate_labels_open_nothing_and_still_shape_the_loss():
    module, x = memory(gate=False), patches()
    response = answer(module, x, LABELS)
    torch.testing.assert_close(response.vectors, answer(memory(), x, None).vectors)
    assert (response.indices < CLASSES * NUMBER).all()  # a study without a label too
    losses = [
        module.losses(response, response, torch.ones(4, PATCHES), labels)["contrastive_image"]
        for labels in (LABELS, LABELS.roll(1, 0))
    ]
    assert abs(losses[0] - losses[1]) > 1e-6


def test_asked_about_patches_only_the_words_stay_as_they_were():
    module, x = memory(sides="image"), patches()
    response = answer(module, x, LABELS)
    assert torch.equal(module.fuse(x, response, "text"), x) and not torch.equal(module.fuse(x, response, "image"), x)
    assert list(module.losses(response, response, torch.ones(4, PATCHES), LABELS)) == ["contrastive_image"]
    assert not [name for name, _ in module.named_parameters() if "text" in name]  # nothing without a gradient


@pytest.mark.parametrize("settings", [{"residual": True}, {"gate": False}, {"sides": "image"}], ids=str)
def test_with_each_option_a_cache_still_agrees_with_training(settings):
    model, batch = generator(replace(SMALL, **settings)).eval(), toy_batch()
    batch.tokens = torch.tensor([[0, 3, 5, 11, 0], [0, 1, 2, 11, 0], [0, 4, 8, 6, 0], [0, 9, 7, 2, 0]])
    expected, state = model(batch).logits, model.start(batch.inputs, batch.labels)
    for t in range(4):
        logits, state = model.step(batch.tokens[:, t : t + 1], state)
        torch.testing.assert_close(logits[:, 0], expected[:, t], atol=1e-5, rtol=0)
    sum(model.train()(batch).losses.values()).backward()
    assert model.memory.prototypes.grad.abs().sum() > 0


# --- the losses -------------------------------------------------------------------------------------------------------


def test_the_losses_are_weighted_and_named():
    """XProNet Eq. 20: lambda 1, delta 0.1; and none without labels."""
    module, x = memory(), patches()
    image, text = answer(module, x, LABELS), answer(module, patches(2), LABELS)
    mask = torch.ones(4, PATCHES, dtype=torch.bool)
    found = module.losses(image, text, mask, LABELS)
    assert list(found) == ["contrastive_image", "contrastive_text"]
    torch.testing.assert_close(found["contrastive_image"], multi_label_contrastive(image.vectors.mean(1), LABELS))
    torch.testing.assert_close(found["contrastive_text"], 0.1 * multi_label_contrastive(text.vectors.mean(1), LABELS))
    assert module.losses(image, text, mask, None) == {}


def test_padding_counts_as_released_and_does_not_as_printed():
    x = patches()
    for padding in (True, False):
        module = memory(padding=padding)
        image = answer(module, x, LABELS)
        mask = torch.ones(4, PATCHES, dtype=torch.bool)
        mask[0, 3:] = False
        changed = x.clone()
        changed[0, 3:] += 5  # what stands behind the report's end
        losses = [
            module.losses(image, answer(module, text, LABELS), mask, LABELS)["contrastive_text"].item()
            for text in (x, changed)
        ]
        assert (abs(losses[0] - losses[1]) > 1e-6) == padding


# --- in the generator -------------------------------------------------------------------------------------------------


def toy_batch() -> Batch:
    tokens = torch.tensor([[0, 3, 5, 11, 0], [0, 1, 2, 11, 0], [0, 4, 0, 0, 0], [0, 9, 7, 0, 0]])
    rng = torch.Generator().manual_seed(3)
    return Batch(torch.rand(4, PATCHES, D_VF, generator=rng), tokens, (tokens.cumsum(1) > 0).float(), LABELS)


def test_steps_with_a_cache_see_the_labels_that_training_saw():
    model, batch = generator(SMALL).eval(), toy_batch()
    batch.tokens = torch.tensor(
        [[0, 3, 5, 11, 0], [0, 1, 2, 11, 0], [0, 4, 8, 6, 0], [0, 9, 7, 2, 0]]
    )  # no padding, which a search never sees
    expected = model(batch).logits
    state = model.start(batch.inputs, batch.labels)
    for t in range(4):
        logits, state = model.step(batch.tokens[:, t : t + 1], state)
        torch.testing.assert_close(logits[:, 0], expected[:, t], atol=1e-5, rtol=0)
    others = model.start(batch.inputs, batch.labels.flip(0))
    assert (model.step(batch.tokens[:, :1], others)[0][:, 0] - expected[:, 0]).abs().max() > 1e-3


def test_beam_search_gates_every_study_by_its_own_labels():
    model, batch = generator(SMALL).eval(), toy_batch()
    together = generate(model, batch.inputs, batch.labels, DecodingConfig(max_length=6))
    for i in range(4):
        alone = generate(model, batch.inputs[i : i + 1], batch.labels[i : i + 1], DecodingConfig(max_length=6))
        assert torch.equal(alone.tokens[0], together.tokens[i])
        torch.testing.assert_close(alone.scores[0], together.scores[i], atol=1e-5, rtol=0)


def test_encoder_and_decoder_read_what_was_fused():
    """XProNet Eq. 15-16: fused patches, their positions added afterwards; fused words, and what the encoder made."""
    model, batch, read = generator(SMALL).eval(), toy_batch(), {}
    for name in ("encoder", "decoder"):
        getattr(model, name).register_forward_pre_hook(lambda module, inputs, name=name: read.update({name: inputs}))
    output = model(batch)
    x = model.patch_embedding(batch.inputs)
    y = model.token_embedding(batch.tokens[:, :-1]) * math.sqrt(D) + model.token_positions.code[:4]
    slots = model.memory.slots(batch.labels, "image")
    fused = {
        side: model.memory.fuse(f, model.memory.respond(f, slots), side) for side, f in (("image", x), ("text", y))
    }
    torch.testing.assert_close(read["encoder"][0], fused["image"] + model.patch_positions.code[:PATCHES])
    torch.testing.assert_close(read["decoder"][0], fused["text"])
    torch.testing.assert_close(read["decoder"][1], output.encoded)


def test_both_losses_reach_the_prototypes():
    model, batch = generator(SMALL), toy_batch()
    sum(model(batch).losses.values()).backward()
    assert model.memory.prototypes.grad.abs().sum() > 0 and model.memory.reduction.weight.grad.abs().sum() > 0


def test_settings_survive_json():
    config = replace(SMALL, weights="linear", theta=1.75)
    assert MemoryConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gamma": CLASSES * NUMBER + 1}, r"gamma is 85: .*between 1 and all 84 prototypes"),
        ({"gamma": 0}, "gamma is 0"),
        ({"weights": "hard"}, "unknown memory.weights 'hard'; .*known: linear, softmax"),
        ({"initialise": "bert"}, "unknown memory.initialise 'bert'"),
        ({"theta": 0.5}, r"theta is 0\.5"),
        ({"prototypes": 0}, "memory.prototypes is 0"),
        ({"image_dim": -1}, "memory.image_dim is -1"),
        ({"sides": "words"}, "unknown memory.sides 'words'; known: both, image, text"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, says):
    with pytest.raises((ConfigurationError, UnknownNameError), match=says):
        replace(SMALL, **settings)


def test_labels_of_another_number_of_classes_are_named():
    with pytest.raises(ConfigurationError, match=r"5 labels.*14 classes"):
        memory().slots(torch.ones(2, 5), "image")
