"""Where a memory acts, and what is lost when its answers are replaced by their mean."""

from __future__ import annotations

import pytest
import torch

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.experiments.presets import experiment
from rrg_lib.models.generator import TransformerConfig
from rrg_lib.models.interface import Batch, Response
from rrg_lib.models.memory import CMNConfig, MCSAMConfig, XProNetConfig
from rrg_lib.models.memory.lesion import lesioned, mean_answers

CONFIG = TransformerConfig(
    vocab_size=20, d_vf=8, d_model=16, d_ff=16, heads=2, layers=1, dropout=0.0, feature_dropout=0.0, max_length=8
)
XPRONET = XProNetConfig(prototypes=2, gamma=3, image_dim=8, text_dim=4, initialise="random", dropout=0.0)


def generator(memory):
    torch.manual_seed(0)
    return CONFIG.build(memory=memory).eval()


def batch(seed=0):
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 21, (3, 7), generator=random)
    tokens[:, 0] = 0
    tokens[1, 4:] = tokens[2, 5:] = 0
    mask = (tokens > 0).float()
    labels = torch.zeros(3, 14)
    labels[:, 2] = 1.0
    return Batch(torch.randn(3, 5, 8, generator=random), tokens, mask, labels, ["a", "b", "c"])


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_side_that_does_not_ask_keeps_its_features(side):
    other = {"image": "text", "text": "image"}[side]
    features, answers = torch.randn(2, 3, 16), Response(torch.randn(2, 3, 16), None, None)
    for memory in (CMNConfig(slots=4, top_k=2, sides=side), XPRONET.__class__(**{**vars(XPRONET), "sides": side})):
        built = memory.build(16, 2)
        assert built.fuse(features, answers, other) is features
        assert not torch.equal(built.fuse(features, answers, side), features)


def test_linear_fusion_is_a_map_of_both_with_nothing_beside_it():
    memory = CMNConfig(slots=4, top_k=2, fusion="linear").build(16, 2)
    features, answers = torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    linear = memory.fusion["text"]
    by_hand = features @ linear.weight[:, :16].T + answers @ linear.weight[:, 16:].T + linear.bias
    torch.testing.assert_close(memory.fuse(features, Response(answers, None, None), "text"), by_hand)


def test_the_new_options_are_off_and_leave_weights_and_names_of_runs_alone():
    built = CMNConfig(slots=4, top_k=2).build(16, 2)
    assert not list(built.fusion.parameters()) and built.asking == ("image", "text")
    what = experiment("iu_phantom/cmn", "laptop")
    assert what.hash == "4cd606f9f6cb"  # of the stored results
    assert experiment("iu_phantom/cmn", "laptop", ["memory.sides=both", "validation=null"]).hash == what.hash
    assert experiment("iu_phantom/cmn", "laptop", ["memory.sides=text"]).hash != what.hash
    with pytest.raises(UnknownNameError, match="sides 'words'"):
        CMNConfig(sides="words")


def test_xpronet_on_words_alone_has_no_contrast_of_patches():
    one = batch()
    for side, names in (("text", {"contrastive_text"}), ("image", {"contrastive_image"})):
        made = generator(XPRONET.__class__(**{**vars(XPRONET), "sides": side}))
        assert set(made(one).losses) == names


@pytest.mark.parametrize("memory", [CMNConfig(slots=6, top_k=2), CMNConfig(slots=6, top_k=2, shared=False), XPRONET])
def test_the_mean_is_of_all_patches_and_of_words_that_are_there(memory):
    made, one = generator(memory), batch()
    means = mean_answers(made, [one])
    with torch.no_grad():
        output = made(one)
    torch.testing.assert_close(means["image"], output.image.vectors.mean((0, 1)))
    places = [(0, t) for t in range(6)] + [(1, t) for t in range(4)] + [(2, t) for t in range(5)]
    torch.testing.assert_close(means["text"], torch.stack([output.text.vectors[b, t] for b, t in places]).mean(0))


def test_a_lesion_takes_what_depends_on_the_question_and_nothing_else():
    made, one = generator(CMNConfig(slots=6, top_k=2)), batch()
    torch.nn.init.normal_(made.memory.matrices["shared"])
    means = mean_answers(made, [one])
    with torch.no_grad():
        whole = made(one).logits
        lost = {
            side: (lesioned(made, means, side)(one).logits - whole).abs().max() for side in ("image", "text", "both")
        }
        assert min(lost.values()) > 1e-3
        torch.testing.assert_close(made(one).logits, whole, rtol=0, atol=0)  # the trained one is left as it is
        made.memory.projections["shared"].value.weight.zero_()  # now every slot answers the same
        means, whole = mean_answers(made, [one]), made(one).logits
        for side in ("image", "text", "both"):
            torch.testing.assert_close(lesioned(made, means, side)(one).logits, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory", [CMNConfig(slots=6, top_k=2), XPRONET])
def test_a_lesioned_generator_writes_as_it_reads(memory):
    """Word after word, with its table of words, it gives the logits of `forward`."""
    made, one = generator(memory), batch()
    other = lesioned(made, mean_answers(made, [one]), "text")
    with torch.no_grad():
        expected = other(one).logits
    state = other.start(one.inputs, one.labels, table=other.word_table())
    for place in range(4):
        logits, state = other.step(one.tokens[:, place : place + 1], state)
        torch.testing.assert_close(logits[:, 0], expected[:, place], rtol=1e-4, atol=1e-5)


def test_a_lesion_that_would_leave_something_is_refused():
    one = batch()
    with pytest.raises(ConfigurationError, match="of a memory, and this generator has none"):
        mean_answers(generator(None), [one])
    made = generator(MCSAMConfig(slots=6, top_k=2))
    with pytest.raises(ConfigurationError, match="gives the decoder more than its answers"):
        lesioned(made, {"image": torch.zeros(16), "text": torch.zeros(16)}, "both")
    made = generator(CMNConfig(slots=6, top_k=2))
    with pytest.raises(UnknownNameError, match="side of a lesion 'left'"):
        lesioned(made, mean_answers(made, [one]), "left")
