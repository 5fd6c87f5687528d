"""RATCHET against its equations written out word by word and head by head; what it shares with the lineage is in
test_lineage.py."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.interface import Batch
from rrg_lib.models.ratchet import HalvedPositions, Ratchet, RatchetConfig

SMALL = RatchetConfig(vocab_size=12, d_vf=10, d_model=16, d_ff=24, heads=3, layers=2, max_length=9)


def build(config: RatchetConfig = SMALL) -> Ratchet:
    torch.manual_seed(0)
    return config.build().eval()


@pytest.fixture
def batch() -> Batch:
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 13, (5, 8), generator=random)
    tokens[:, 0] = 0
    return Batch(torch.rand(5, 6, 10, generator=random) * 3, tokens, torch.ones_like(tokens))


def norm(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
    """Keras': the biased variance, epsilon within the root."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() * layer.weight + layer.bias


def attend(attention, x: Tensor, source: Tensor, width: int, mask: Tensor | None = None) -> Tensor:
    """One head after another, (L, d) and (S, d) of one study."""
    answers = []
    for h in range(attention.heads):
        own = slice(h * width, (h + 1) * width)
        q, k, v = (
            of @ part.weight[own].T + part.bias[own]
            for of, part in ((x, attention.query), (source, attention.key), (source, attention.value))
        )
        scores = q @ k.T / math.sqrt(width)
        answers.append((scores if mask is None else scores + mask).softmax(-1) @ v)
    return attention.output(torch.cat(answers, -1))


def written_out(model: Ratchet, patches: Tensor, words: list[int], width: int) -> Tensor:
    """The logits after each of the words, of one study."""
    d = model.config.d_model
    seen = (patches @ model.patch_embedding[0].weight.T + model.patch_embedding[0].bias).clamp(min=0)
    codes = [
        [math.sin(t / 10_000 ** (2 * k / d)) for k in range(d // 2)]
        + [math.cos(t / 10_000 ** (2 * k / d)) for k in range(d // 2)]
        for t in range(len(words))
    ]
    x = model.token_embedding.weight[words] * d**0.5 + torch.tensor(codes, dtype=patches.dtype)
    later = torch.full((len(words), len(words)), -torch.inf).triu(1)
    for layer in model.decoder.layers:
        x = norm(x + attend(layer.self_attention, x, x, width, later), layer.norms[0])
        x = norm(x + attend(layer.cross_attention, x, seen, width), layer.norms[1])
        inner = (x @ layer.feed_forward[0].weight.T + layer.feed_forward[0].bias).clamp(min=0)
        x = norm(x + inner @ layer.feed_forward[2].weight.T + layer.feed_forward[2].bias, layer.norms[2])
    return x @ model.logits.weight.T + model.logits.bias


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, wide_heads=False, heads=4)], ids=["wide", "narrow"])
def test_it_is_its_equations_written_out(config, batch):
    """RATCHET, wide heads; RATCHET, post-norm layer."""
    model = build(config).double()
    with torch.no_grad():
        found = model(replace(batch, inputs=batch.inputs.double())).logits
        width = 16 if config.wide_heads else 4
        for b in range(5):
            expected = written_out(model, batch.inputs[b].double(), batch.tokens[b, :-1].tolist(), width)
            torch.testing.assert_close(found[b], expected, atol=1e-6, rtol=0)  # positions are kept as float32


def test_a_wide_head_asks_with_as_many_numbers_as_the_model_has_and_eight_cost_eightfold():
    wide, narrow = (
        sum(p.numel() for p in replace(RatchetConfig(), wide_heads=wide).build().decoder.layers[0].parameters())
        for wide in (True, False)
    )
    attention = 3 * (512 * 4_096 + 4_096) + 4_096 * 512 + 512
    assert attention == 8_401_408 and wide - narrow == 2 * (attention - 4 * (512 * 512 + 512))


def test_sines_stand_first_and_are_those_of_the_usual_code():
    halved = HalvedPositions(16, 0.0).code
    assert halved[0].tolist() == [0.0] * 8 + [1.0] * 8
    torch.testing.assert_close(halved[:, :8].pow(2) + halved[:, 8:].pow(2), torch.ones(5_000, 8))
    assert (halved[1, :8].diff() < 0).all()  # faster ones first


def test_what_leaves_a_layer_is_normalised(batch):
    """RATCHET, post-norm layer: mean 0 and spread 1 whatever came in, and no norm after the last layer."""
    model, seen = build(), []
    model.decoder.layers[-1].register_forward_hook(lambda layer, given, made: seen.append(made))
    with torch.no_grad():
        for parameter in model.patch_embedding.parameters():
            parameter.mul_(30)
        logits = model(batch).logits
    torch.testing.assert_close(seen[0].mean(-1), torch.zeros(5, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].std(-1, correction=0), torch.ones(5, 7), atol=1e-2, rtol=0)
    torch.testing.assert_close(model.logits(seen[0]), logits)


def test_dropout_is_where_the_code_has_it(batch, monkeypatch):
    """On the words, on the attention weights (as set), at the end of the feed-forward (always 0.1), not on patches."""
    model = build(replace(SMALL, dropout=0.4))
    set_to = [module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)]
    assert sorted(set_to) == [0.1, 0.1, 0.4]  # two layers' feed-forward, the words
    assert {layer.self_attention.dropout for layer in model.decoder.layers} == {0.4}
    assert {layer.cross_attention.dropout for layer in model.decoder.layers} == {0.4}
    still = replace(SMALL, dropout=0.0)
    torch.manual_seed(0)
    model = still.build().train()
    assert (model(batch).logits - model(batch).logits).abs().max() > 1e-3  # the feed-forward's remains


def test_activations_may_be_computed_twice(batch):
    model, gradients = build(), []
    for again in (False, True):
        model.recompute_activations(again)
        model.train().zero_grad()
        torch.manual_seed(3)
        model(batch).logits.square().sum().backward()
        gradients.append(model.decoder.layers[0].self_attention.key.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_every_part_learns(batch):
    model = build().train()
    model(batch).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        if not name.endswith("key.bias"):  # a softmax takes it away
            assert parameter.grad.abs().max() > 0, name


def test_the_image_decides_what_is_written(batch):
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    written = generate(model, batch.inputs, config=DecodingConfig(beam_size=3, max_length=8)).tokens
    assert len(written.unique(dim=0)) > 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"heads": 3, "wide_heads": False},
            "d_model is 16 and heads is 3: with wide_heads=false the heads must divide",
        ),
        ({"heads": 0}, "heads is 0"),
        ({"d_model": 15}, "d_model is 15: it must be even"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        replace(SMALL, **settings)
