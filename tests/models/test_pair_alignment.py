"""Pair alignment: its equation, its loss in the printed and the described form, how the printed one collapses, and what
it must leave alone."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy import CONFIG, D_VF, MEMORY, PATCHES, WORDS, ToyDataset

from rrg_lib.errors import CheckpointError, ConfigurationError, UnknownNameError
from rrg_lib.experiments.image_report_retrieval import encode_studies, image_report_retrieval, neutral_image
from rrg_lib.experiments.presets import PRESETS, Experiment, experiment
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory.cmn import CMNMemory
from rrg_lib.models.pair_alignment import PairAlignment, PairConfig, pair_loss, same_report
from rrg_lib.models.report_loss import report_loss
from rrg_lib.runtime.checkpoint import load_into, load_tensors
from rrg_lib.training import Trainer, TrainingConfig


def generator(pair: PairConfig | None = None, memory=MEMORY, seed: int = 0) -> ReportGenerator:
    torch.manual_seed(seed)
    return ReportGenerator(CONFIG, memory, pair=pair)


def toy_batch(n: int = 6) -> Batch:
    return ToyDataset().batches().collate(list(range(n)))


def cosine_apart(vectors: np.ndarray) -> float:
    """Mean cosine of the vectors of two different studies."""
    n = len(vectors)
    return float((vectors.sum(0) @ vectors.sum(0) - n) / (n * (n - 1)))


# --- the equation -----------------------------------------------------------------------------------------------------


def test_the_report_vector_is_the_equation_written_out():
    """Student paper, projection, Student paper, attention pooling, and Student paper, normalisation: T' = logits W_p +
    b, a = softmax over the report's positions of w · T'_i, t = Σ a_i T'_i over its length."""
    torch.manual_seed(0)
    alignment = PairConfig().build(logits=7, d_model=5, d_vf=9).double()
    logits, lengths = 3 * torch.randn(3, 6, 7, dtype=torch.float64), (6, 4, 1)
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    w_p, b, w = (
        p.detach() for p in (alignment.projection.weight, alignment.projection.bias, alignment.pooling.weight[0])
    )
    for row, length in enumerate(lengths):
        projected = [w_p @ logits[row, i] + b for i in range(length)]
        powers = [math.exp(float(w @ t)) for t in projected]
        pooled = sum(p / sum(powers) * t for p, t in zip(powers, projected, strict=True))
        torch.testing.assert_close(
            alignment.report(logits, mask)[row].double(), pooled / pooled.norm(), atol=1e-6, rtol=0
        )


def test_what_stands_after_the_end_of_a_report_does_not_count():
    alignment = generator(PairConfig()).pair
    logits = torch.randn(2, 5, WORDS + 1)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    longer = torch.cat([logits[:, :3], torch.full((2, 4, WORDS + 1), 50.0)], dim=1)
    torch.testing.assert_close(alignment.report(logits, mask), alignment.report(longer, F.pad(mask, (0, 2))))


def test_the_loss_looks_at_the_positions_that_the_report_loss_counts():
    """Padding a batch changes no loss; the final 0 is a position, what follows it is none."""
    model, batch = generator(PairConfig()).eval(), toy_batch()
    padded = replace(batch, tokens=F.pad(batch.tokens, (0, 3)), mask=F.pad(batch.mask, (0, 3)))
    torch.testing.assert_close(model(batch).losses["pair"], model(padded).losses["pair"])
    output = model(batch)
    image, same = model.pair.image(output), same_report(batch.tokens)
    masks = batch.mask[:, 1:] > 0, batch.tokens[:, 1:] > 0  # with the final 0 and without
    losses = [pair_loss(model.pair.report(output.logits, mask) @ image.T, same, model.pair.config) for mask in masks]
    torch.testing.assert_close(output.losses["pair"], losses[0])
    assert (losses[1] - losses[0]).abs() > 1e-4


@pytest.mark.parametrize("image", ["encoded", "patches"])
def test_the_image_vector_is_the_unit_mean_of_its_features(image):
    """Student paper, normalisation: v, the mean of the patches."""
    model, batch = generator(PairConfig(image=image)).eval(), toy_batch()
    output = model(batch)
    features = model.encode(batch.inputs)[0] if image == "encoded" else batch.inputs
    mean = features.mean(1)
    torch.testing.assert_close(model.pair.image(output), mean / mean.norm(dim=1, keepdim=True))
    assert model.pair.projection.out_features == {"encoded": CONFIG.d_model, "patches": D_VF}[image]


def test_extra_slots_of_a_memory_are_no_part_of_the_image(monkeypatch):
    model, batch = generator(PairConfig()).eval(), toy_batch()
    monkeypatch.setattr(
        CMNMemory, "encoder_extra", lambda self, image: 100 * torch.ones(len(image.vectors), 2, CONFIG.d_model)
    )
    assert model.encode(batch.inputs)[0].shape[1] == PATCHES + 2
    assert model(batch).encoded.shape[1] == PATCHES


# --- the loss ---------------------------------------------------------------------------------------------------------

COSINES = torch.tensor([[0.9, 0.2, -0.5], [0.4, 0.6, 0.1], [0.3, -0.2, 0.5]])
NONE_ALIKE = torch.eye(3, dtype=torch.bool)


def test_the_printed_loss_is_one_minus_the_cosine_of_matching_pairs():
    """Student paper, pair loss."""
    loss = pair_loss(COSINES, NONE_ALIKE, PairConfig(form="positives"))
    assert loss.item() == pytest.approx((0.1 + 0.4 + 0.5) / 3)


def test_the_described_loss_adds_what_other_pairs_exceed_the_margin_by():
    matching = (0.1 + 0.4 + 0.5) / 3
    assert pair_loss(COSINES, NONE_ALIKE, PairConfig()).item() == pytest.approx(matching + (0.2 + 0.4 + 0.1 + 0.3) / 6)
    assert pair_loss(COSINES, NONE_ALIKE, PairConfig(margin=0.25)).item() == pytest.approx(matching + (0.15 + 0.05) / 6)


def test_the_contrastive_loss_is_clips_both_ways():
    expected = 0.0
    for scores in (COSINES / 0.5, COSINES.T / 0.5):
        expected -= sum(float(scores[i, i] - scores[i].logsumexp(0)) for i in range(3)) / 6
    assert pair_loss(COSINES, NONE_ALIKE, PairConfig(form="infonce", temperature=0.5)).item() == pytest.approx(expected)


def test_studies_with_the_same_report_are_not_pushed_apart():
    tokens = torch.tensor([[0, 3, 4, 0], [0, 3, 4, 0], [0, 3, 5, 0]])
    same = same_report(tokens)
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    matching = (0.1 + 0.4 + 0.5) / 3
    assert pair_loss(COSINES, same, PairConfig()).item() == pytest.approx(matching + (0.1 + 0.3) / 4)
    cosines = COSINES.clone().requires_grad_()
    pair_loss(cosines, same, PairConfig(form="infonce")).backward()
    assert cosines.grad[0, 1] == cosines.grad[1, 0] == 0 and cosines.grad[0, 2] != 0


def test_a_batch_of_one_has_only_its_matching_term():
    one = torch.tensor([[0.25]], requires_grad=True)
    losses = {
        form: pair_loss(one, torch.ones(1, 1, dtype=torch.bool), PairConfig(form=form)).item()
        for form in ("positives", "margin", "infonce")
    }
    assert losses == {"positives": 0.75, "margin": 0.75, "infonce": 0.0}
    generator(PairConfig())(toy_batch(1)).losses["pair"].backward()


def test_a_report_without_any_position_is_finite():
    vectors = generator(PairConfig()).pair.report(torch.randn(2, 3, WORDS + 1), torch.zeros(2, 3, dtype=torch.bool))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_mixed_precision_does_not_round_the_loss():
    model, batch = generator(PairConfig()).eval(), toy_batch()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(batch).losses["pair"]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, model(batch).losses["pair"], atol=0.02, rtol=0)


def test_the_weight_scales_the_loss_and_its_gradient_reaches_both_sides():
    batch = toy_batch()
    light, heavy = (generator(PairConfig(weight=w)).eval() for w in (1.0, 3.0))
    loss = light(batch).losses["pair"]
    torch.testing.assert_close(heavy(batch).losses["pair"], 3 * loss)
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in (*light.pair.parameters(), light.logits.weight))
    light.zero_grad()
    output = light(batch)
    light.pair.losses(replace(output, logits=output.logits.detach()), batch)[
        "pair"
    ].backward()  # by the image's side alone
    assert light.logits.weight.grad is None and light.patch_embedding[0].weight.grad.abs().sum() > 0


# --- the printed form collapses ---------------------------------------------------------------------------------------


def test_one_vector_for_everything_is_the_least_of_the_printed_loss_and_of_no_other():
    """Any constant gives cosine 1 everywhere: the printed formula is 0 there, its minimum, and it says nothing of any
    study."""
    everywhere, alike = torch.ones(4, 4), torch.eye(4, dtype=torch.bool)
    losses = {
        form: pair_loss(everywhere, alike, PairConfig(form=form)).item() for form in ("positives", "margin", "infonce")
    }
    assert losses["positives"] == 0
    assert losses["margin"] == 1
    assert losses["infonce"] == pytest.approx(math.log(4))


def train(model: ReportGenerator, epochs: int = 40) -> ReportGenerator:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loader = ToyDataset().batches().loader(20, seed=1, shuffle=True)
    for epoch in range(epochs):
        loader.batch_sampler.begin(epoch)
        for batch in loader:
            torch.manual_seed(epoch)
            output = model(batch)
            optimizer.zero_grad()
            (report_loss(output.logits, batch.tokens, batch.mask) + sum(output.losses.values())).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def trained() -> dict[str, ReportGenerator]:
    """The toy system trained alike with the printed and with the described form."""
    return {form: train(generator(PairConfig(form=form, weight=3.0))) for form in ("positives", "margin")}


def test_trained_on_matching_pairs_alone_all_images_get_the_same_vector(trained):
    """The printed formula reaches its least and no image can be told from another; with the term that the text
    describes they can."""
    data = ToyDataset().batches()
    printed, described = (
        encode_studies(trained[form], data, neutral_image(trained[form], data)) for form in ("positives", "margin")
    )
    assert cosine_apart(printed.image_unit) > 0.97 and cosine_apart(printed.leaking_unit) > 0.97
    assert cosine_apart(described.image_unit) < 0.2 and cosine_apart(described.leaking_unit) < 0.2
    assert (printed.image_unit * printed.leaking_unit).sum(1).mean() > 0.97  # all of this is what the loss asked for


def test_what_the_described_form_learns_is_the_leak(trained):
    """A report finds its image when its logits have seen that image, and not when they have seen the neutral one: the
    loss was met by way of the decoder's look at the image, not by what the words say. (Chance of 5 among 40 is
    .125.)"""
    data = ToyDataset().batches()
    found = image_report_retrieval(encode_studies(trained["margin"], data, neutral_image(trained["margin"], data)))
    assert found["own image"].report_to_image[5] > 0.8
    assert found["neutral"].report_to_image[5] < 0.3
    assert found["neutral"].chance(5) == 5 / 40


# --- what it leaves alone ---------------------------------------------------------------------------------------------


def test_of_the_same_seed_all_other_weights_are_those_of_the_system_without_it():
    with_it, without = generator(PairConfig()).state_dict(), generator().state_dict()
    assert with_it.keys() - without.keys() == {"pair.projection.weight", "pair.projection.bias", "pair.pooling.weight"}
    assert all(torch.equal(with_it[name], value) for name, value in without.items())


def test_writing_a_report_never_runs_it(trained, monkeypatch):
    """The alignment may hold anything, even what is no number: the reports are the same."""
    model, batch = copy.deepcopy(trained["margin"]), toy_batch()
    config = DecodingConfig(beam_size=3, max_length=6)
    before = generate(model, batch.inputs, config=config)
    model.pair.requires_grad_(False)
    for parameter in model.pair.parameters():
        parameter.fill_(torch.nan)
    monkeypatch.setattr(PairAlignment, "report", lambda *a: pytest.fail("a report's vector was computed while writing"))
    after = generate(model, batch.inputs, config=config)
    torch.testing.assert_close(after.tokens, before.tokens)
    torch.testing.assert_close(after.scores, before.scores)


@pytest.mark.parametrize("preset", [name for name in PRESETS if "pair" in PRESETS[name].generator.takes])
def test_it_stands_beside_every_memory(preset):
    what = experiment(f"phantom/{preset}", "ci", ["generator.d_model=32", "generator.d_ff=32"])
    model = ReportGenerator(replace(what.generator, vocab_size=WORDS, d_vf=D_VF), what.memory, pair=PairConfig())
    output = model(toy_batch())
    assert torch.isfinite(output.losses["pair"]) and output.losses["pair"] > 0
    output.losses["pair"].backward()
    assert model.pair.pooling.weight.grad.abs().sum() > 0


def test_its_parameters_are_part_of_the_checkpoint_and_a_run_resumes_with_them(tmp_path):
    def trainer(folder, epochs):
        data = ToyDataset().batches()
        config = TrainingConfig(
            epochs=epochs, batch_size=8, lr=5e-3, schedule="constant", monitor={"validation_loss": -1.0}
        )
        return Trainer(
            generator(PairConfig()),
            data.loader(8, seed=1, shuffle=True),
            data.loader(16),
            config,
            folder,
            progress=False,
        )

    trainer(tmp_path / "whole", 2).fit()
    trainer(tmp_path / "parts", 1).fit()
    trainer(tmp_path / "parts", 2).fit()
    whole, parts = (load_tensors(tmp_path / name / "last.safetensors")[0] for name in ("whole", "parts"))
    assert "model.pair.projection.weight" in whole
    assert all(torch.equal(whole[name], value) for name, value in parts.items())
    tensors = {
        name.removeprefix("model."): t for name, t in load_tensors(tmp_path / "whole" / "best.safetensors")[0].items()
    }
    load_into(generator(PairConfig(), seed=3), tensors, tmp_path)
    with pytest.raises(CheckpointError, match=r"pair\.p.* is unknown to this model"):
        load_into(generator(), tensors, tmp_path)


# --- presets ----------------------------------------------------------------------------------------------------------


def test_the_two_presets_differ_in_the_form_alone_and_are_cmn_otherwise():
    described, printed, cmn = (
        experiment(f"iu_xray/{name}", "gpu") for name in ("cmn_pair", "cmn_pair_as_printed", "cmn")
    )
    assert (described.pair.form, printed.pair.form, cmn.pair) == ("margin", "positives", None)
    assert replace(described, preset="cmn", pair=None) == cmn == replace(printed, preset="cmn", pair=None)


def test_an_experiment_is_read_back_with_it_and_without():
    plain, paired = (experiment(f"iu_phantom/{name}", "ci") for name in ("cmn", "cmn_pair"))
    assert Experiment.from_json(plain.to_json()) == plain
    assert Experiment.from_json(paired.to_json()) == paired
    assert experiment("iu_phantom/cmn_pair", "ci", ["pair.weight=0.5"]).pair.weight == 0.5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"form": "negatives"}, "unknown pair.form 'negatives'; nearest: positives"),
        ({"image": "pooled"}, "unknown pair.image 'pooled'"),
        ({"weight": -1.0}, "pair.weight is -1.0"),
        ({"temperature": 0.0}, "pair.temperature is 0.0"),
        ({"margin": 1.0}, "pair.margin is 1.0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, says):
    with pytest.raises((ConfigurationError, UnknownNameError), match=says):
        PairConfig(**settings)
