"""What the systems of the lineage promise beside equalling the code they come from: cached decoding, initial weights,
sizes, and what each refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from places import GoldenFolder
from test_golden_lineage import ATTENTIVE, MODELS

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models.adaatt import AdaAttConfig
from rrg_lib.models.att2in import Att2inConfig
from rrg_lib.models.coatt import GO, CoAttConfig
from rrg_lib.models.decoding import DecodingConfig, beam_search, greedy_search
from rrg_lib.models.ekagen import EKAGenConfig
from rrg_lib.models.interface import Batch, WordTable
from rrg_lib.models.memory import CMNConfig
from rrg_lib.models.r2gen import R2GenConfig
from rrg_lib.models.ratchet import RatchetConfig
from rrg_lib.models.sentsat_kg import SentSATKGConfig
from rrg_lib.models.show_tell import ShowTellConfig
from rrg_lib.models.topdown import TopDownConfig

WORDS, LENGTH, STUDIES = 12, 9, 6
SIZES = {"vocab_size": WORDS, "d_vf": 10, "d_model": 16, "max_length": LENGTH}
CONFIGS = {
    "st": ShowTellConfig(**SIZES),
    "st maxout": ShowTellConfig(**SIZES, candidate="maxout", pooled="mean"),
    "att2in": Att2inConfig(**SIZES),
    "att2in raw": Att2inConfig(**SIZES, embedded=False),
    "adaatt": AdaAttConfig(**SIZES),
    "topdown": TopDownConfig(**SIZES),
    "r2gen": R2GenConfig(**SIZES, d_ff=16, heads=2, layers=2),
    "ekagen": EKAGenConfig(**SIZES, d_ff=16, heads=2, layers=2, places=LENGTH),
    "coatt": CoAttConfig(**SIZES, full_stop=3),
    "coatt patches": CoAttConfig(**SIZES, full_stop=3, visual="patches"),
    "ratchet": RatchetConfig(**SIZES, d_ff=16, heads=2, layers=2),
    "ratchet narrow": RatchetConfig(**SIZES, d_ff=16, heads=2, layers=2, wide_heads=False),
    "sentsat_kg": SentSATKGConfig(**SIZES, full_stop=4),
}
every = pytest.mark.parametrize("name", CONFIGS)


def build(name: str, seed: int = 0):
    torch.manual_seed(seed)
    model = CONFIGS[name].build().eval()
    with torch.no_grad():  # so that words, images and hypotheses really differ
        (model.logits[-1] if name == "ekagen" else model.logits).weight.mul_(6)
        if name.startswith("coatt"):
            model.sentences.go.joined.bias[GO] += 4
        for weights in model.parameters():
            if weights.dim() > 1 and not name.startswith(("r2gen", "ratchet")):
                weights.mul_(8 if name.startswith("coatt") else 2)
    return model


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.rand(STUDIES, 8, 10, generator=torch.Generator().manual_seed(0)) * 3


def reports(patches: torch.Tensor, seed: int = 1) -> Batch:
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, WORDS + 1, (len(patches), LENGTH), generator=random)
    tokens[:, 0] = 0
    return Batch(patches, tokens, torch.ones_like(tokens))


@every
def test_words_one_by_one_equal_all_at_once(name, patches):
    """The cached step against the whole report; for R2GEN against its memory written anew over the whole prefix."""
    model, batch = build(name), reports(patches)
    with torch.no_grad():
        whole = model(batch).logits
        state = model.start(patches)
        steps = [model.step(batch.tokens[:, t : t + 1], state)[0] for t in range(LENGTH - 1)]
    assert (whole[0] - whole[1]).abs().amax(-1).min() > 1e-3  # reports and images matter
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=1e-5)


@every
def test_beam_one_is_greedy(name, patches):
    model, config = build(name), DecodingConfig(beam_size=1, max_length=LENGTH)
    greedy = greedy_search(model, model.start(patches), config).tokens
    assert torch.equal(beam_search(model, model.start(patches), config).tokens, greedy)
    assert len(greedy.unique(dim=0)) > 1


@every
def test_found_reports_score_what_teacher_forcing_gives_them(name, patches):
    """Hypotheses split, end and change places, studies leave: all that the state holds goes with them."""
    model, width = build(name), 3
    config = DecodingConfig(beam_size=width, max_length=LENGTH)
    found = beam_search(model, model.start(patches), config, keep=width)
    tokens = torch.nn.functional.pad(found.n_best.flatten(0, 1), (1, 0))  # (B W, T + 1), the begin mark first
    with torch.no_grad():
        logits = model(Batch(patches.repeat_interleave(width, 0), tokens, torch.ones_like(tokens))).logits
    each = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    said = torch.nn.functional.pad(tokens[:, 1:-1] > 0, (1, 0), value=True).cumprod(1)  # words, the first 0 after them
    torch.testing.assert_close(found.n_best_scores.flatten(), (each * said).sum(1), atol=1e-4, rtol=1e-5)


@every
def test_a_reordered_state_is_that_of_the_words_it_stands_for(name, patches):
    """Three hypotheses of their own words, two studies chosen, hypotheses exchanged and one doubled: what follows is
    what follows when those words alone had been read."""
    model = build(name)
    words = torch.randint(1, WORDS + 1, (STUDIES, 3, 2), generator=torch.Generator().manual_seed(2))
    chosen, parents = torch.tensor([4, 1]), torch.tensor([[2, 0, 0], [1, 2, 1]])

    def after(state, words):
        for t in range(words.shape[-1]):
            logits, state = model.step(words[..., t], state)
        return logits, state

    with torch.no_grad():
        _, state = model.step(torch.zeros(STUDIES, 1, dtype=torch.long), model.start(patches))
        state.reorder(torch.zeros(STUDIES, 3, dtype=torch.long))
        _, state = after(state, words)
        state.select(chosen)
        state.reorder(parents)
        next_word = torch.full((2, 3), 5)
        logits, _ = model.step(next_word, state)
        assert state.batch == 2
        for b in range(2):
            for w in range(3):
                own = words[chosen[b], parents[b, w]]
                alone = torch.tensor([0, *own.tolist(), 5])[None, None]
                expected, _ = after(model.start(patches[chosen[b]][None]), alone)
                torch.testing.assert_close(logits[b, w], expected[0, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["att2in", "adaatt", "topdown", "r2gen", "ratchet"])
def test_attention_is_a_share_of_the_patches_and_patches_are_a_set(name, patches):
    """No one of these knows where in the image a patch lies: within a view, patches in another order give the same
    logits and the maps in that order."""
    model, batch, trace, other = build(name), reports(patches), [], []
    order = torch.tensor([2, 0, 3, 1, 4, 7, 6, 5])
    with torch.no_grad():
        logits = model(batch, trace).logits
        torch.testing.assert_close(
            model(replace(batch, inputs=patches[:, order]), other).logits, logits, atol=1e-5, rtol=1e-5
        )
    headed = name in ("r2gen", "ratchet")
    assert len(trace) == (2 if headed else 1)
    for ours, moved in zip(trace, other, strict=True):
        heads, beside = (2, 0) if headed else (1, name == "adaatt")
        assert ours.shape == (STUDIES, heads, LENGTH - 1, 8 + beside)
        torch.testing.assert_close(ours.sum(-1), torch.ones(ours.shape[:-1]))
        torch.testing.assert_close(moved[..., :8], ours[..., order], atol=1e-5, rtol=1e-5)
        assert ours.std() > 0.01


def test_att2in_looks_before_it_reads_and_topdown_after(patches):
    """ATT2IN's attention at a word does not depend on that word, TOPDOWN's and ADAATT's does."""
    batch = reports(patches)
    changed = replace(batch, tokens=batch.tokens.clone())
    changed.tokens[:, 4] = changed.tokens[:, 4] % WORDS + 1
    for name, at_once in {"att2in": False, "topdown": True, "adaatt": True}.items():
        maps, model = ([], []), build(name)
        with torch.no_grad():
            model(batch, maps[0])
            model(changed, maps[1])
        differ = (maps[0][0] - maps[1][0]).abs().amax((0, 1, 3)) > 1e-6  # by position
        assert differ.tolist() == [False] * 4 + [at_once] + [True] * 3, name


@pytest.mark.parametrize("name", ["st", "st maxout", "sentsat_kg"])
def test_one_without_attention_over_patches_says_who_has(name, patches):
    kind = CONFIGS[name].kind
    with pytest.raises(ConfigurationError, match=f"'{kind}' has no attention over the patches") as refused:
        build(name)(reports(patches), [])
    others = set(str(refused.value).partition("kinds that have: ")[2].split(", "))
    assert others >= {"att2in", "adaatt", "topdown", "r2gen", "ratchet"} and not others & {"st", "sentsat_kg", "coatt"}


@every
def test_what_they_do_not_take_is_refused(name, patches):
    refusal = "memory of the kind 'knowledge' or none" if name == "ekagen" else "takes no memory"
    with pytest.raises(ConfigurationError, match=f"{CONFIGS[name].kind!r} takes .*{refusal.removeprefix('takes ')}"):
        CONFIGS[name].build(memory=CMNConfig())
    model = build(name)
    assert model.word_table() is None
    with pytest.raises(ConfigurationError, match="no table of words"):
        model.start(patches, table=WordTable())
    with pytest.raises(ConfigurationError, match="this generator reads 10"):
        model.start(patches[..., :7])


def test_settings_that_cannot_be_are_named(patches):
    for make, said in (
        (lambda: ShowTellConfig(candidate="max"), "known: maxout, tanh"),
        (lambda: TopDownConfig(pooled="max"), "known: mean, views"),
        (lambda: R2GenConfig(rows=0), "rows is 0"),
        (lambda: R2GenConfig(d_model=20, heads=8), "heads must divide"),
        (lambda: build("st").start(patches[:, :7]), "7 patches are not those of 2 views"),
    ):
        with pytest.raises((ConfigurationError, UnknownNameError), match=said):
            make()


def test_the_pooled_image_is_each_views_mean_patch_side_by_side():
    inputs = GoldenFolder("st").tensors("inputs")
    config = ShowTellConfig(d_vf=48)
    torch.testing.assert_close(config.pool(inputs["att_feats"]), inputs["fc_feats"], atol=1e-6, rtol=0)
    halves = inputs["fc_feats"].unflatten(1, (2, 48))
    mean = replace(config, pooled="mean").pool(inputs["att_feats"])
    torch.testing.assert_close(mean, halves.mean(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("config", "numbers"),
    [
        (ShowTellConfig(pooled="mean"), 3_926_265),
        (ShowTellConfig(), 4_974_841),
        (Att2inConfig(), 5_506_810),
        (Att2inConfig(embedded=False), 6_817_018),
        (AdaAttConfig(pooled="mean"), 8_394_490),
        (AdaAttConfig(), 9_443_066),
        (TopDownConfig(pooled="mean"), 10_752_250),
        (TopDownConfig(), 11_800_826),
        (R2GenConfig(), 35_973_369),
        (RatchetConfig(vocab_size=17_733, d_vf=1024), 132_135_750),
    ],
)
def test_the_published_sizes_have_as_many_numbers_as_the_released_ones(config, numbers):
    """Counted from the code at 760 words and patches of 2,048 numbers, without the CNN; RATCHET's at its own words and
    its own CNN's patches (with that, of 7.0 million numbers, the released one has 139.2 million)."""
    with torch.device("meta"):
        assert sum(p.numel() for p in config.build().parameters()) == numbers


@pytest.mark.parametrize("name", MODELS)
def test_weights_begin_as_the_released_ones_do(name):
    """The spread of every drawn matrix, and every bias that is not drawn."""
    released = MODELS[name]
    torch.manual_seed(1)
    model = released.config.build()
    for parameter, theirs in released.ours("state_init").items():
        ours = model.get_parameter(parameter)
        if theirs.numel() > 1 and theirs.std() < 1e-6:
            torch.testing.assert_close(ours.data, theirs)
        elif theirs.numel() > 500:
            assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1), parameter
            assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.35), parameter


def test_in_training_r2gen_embeds_the_words_twice(patches, monkeypatch):
    """Once for the memory and once for the decoder, each with a dropout of its own."""
    model, seen = build("r2gen").train(), []
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda tokens: seen.append(embed(tokens)) or seen[-1])
    model(reports(patches))
    assert len(seen) == 2
    assert not torch.equal(seen[0] == 0, seen[1] == 0)


@pytest.mark.parametrize("name", ATTENTIVE)
def test_every_part_learns(name):
    """A step moves all that there is: nothing is computed that no word depends on."""
    model = MODELS[name].config.build().train()
    random = torch.Generator().manual_seed(3)
    batch = Batch(torch.rand(8, 18, 48, generator=random), torch.randint(1, 31, (8, 12), generator=random), None)
    model(batch).logits.pow(2).sum().backward()
    for parameter, value in model.named_parameters():
        if not parameter.endswith(("key.bias", "score.bias", "attention.key.bias")):  # a softmax takes them away
            assert value.grad.abs().max() > 0, parameter
