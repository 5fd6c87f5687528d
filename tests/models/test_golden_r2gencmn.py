"""Our CMN and the released R2GenCMN are the same function: numbers computed with the authors' code
(tests/golden/r2gencmn)."""

from __future__ import annotations

import math

import pytest
import torch

from rrg_lib.errors import CheckpointError
from rrg_lib.models.decoding import DecodingConfig, beam_search, generate
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import CMNConfig
from rrg_lib.models.released_weights import from_released, our_name
from rrg_lib.models.report_loss import report_loss
from rrg_lib.training import TrainingConfig, build_optimizer

SEARCHES = {
    "beam3": {},
    "beam2": {"beam_size": 2},
    "beam5": {"beam_size": 5},
    "beam3_wu0.7": {"length_penalty": "wu", "alpha": 0.7},
    "beam3_avg": {"length_penalty": "average"},
    "beam3_constraint": {"forbid_repeat": True},
    "greedy": {"beam_size": 1},
    "greedy_blocktri": {"beam_size": 1, "trigram_penalty": 2 * math.log(2)},
}


def released_model(golden, weights: str) -> ReportGenerator:
    a = golden.meta["args"]
    config = TransformerConfig(
        golden.meta["vocab_size"],
        a["d_vf"],
        a["d_model"],
        a["d_ff"],
        a["num_heads"],
        a["num_layers"],
        max_length=a["max_seq_length"],
    )
    model = ReportGenerator(config, CMNConfig(slots=a["cmm_size"], top_k=a["topk"])).eval()
    model.load_state_dict(from_released(golden.tensors(f"state_{weights}")))
    return model


@pytest.fixture
def batch(r2gencmn) -> Batch:
    inputs = r2gencmn.tensors("inputs")
    return Batch(inputs["att_feats"], inputs["seq"], inputs["mask"])


def close(ours: torch.Tensor, theirs: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize("weights", ["init", "trained"])
def test_forward_equals_the_release(r2gencmn, batch, weights):
    """CMN Eq. 2 and 4-15 as released."""
    golden, model = r2gencmn.tensors(f"forward_{weights}"), released_model(r2gencmn, weights)
    with torch.no_grad():
        encoded, image = model.encode(batch.inputs)
        output = model(batch)
    close(image.vectors, golden["visual_responses"], 1e-5)
    close(image.weights, golden["visual_attn"], 1e-5)
    close(output.text.vectors, golden["textual_responses"], 1e-5)
    close(encoded, golden["encoder_out"], 1e-5)
    close(output.logits.log_softmax(-1), golden["logprobs"], 1e-5)
    close(report_loss(output.logits, batch.tokens, batch.mask), golden["ce_loss"][0], 1e-6)
    if weights == "init":  # trained weights tie as closely as 5e-7
        assert torch.equal(image.indices, golden["visual_topk_idx"])
        assert torch.equal(output.text.indices, golden["textual_topk_idx"])


@pytest.mark.parametrize("weights", ["init", "trained"])
@pytest.mark.parametrize("name", SEARCHES)
def test_decoding_equals_the_release_token_for_token(r2gencmn, batch, weights, name):
    golden, model = r2gencmn.tensors(f"decode_{weights}"), released_model(r2gencmn, weights)
    found = generate(model, batch.inputs, config=DecodingConfig(max_length=12, **SEARCHES[name]))
    assert torch.equal(found.tokens, golden[f"{name}_tokens"])
    best = [study[0]["p"] for study in r2gencmn.meta[f"decode_{weights}"].get(name, [])]
    if best:
        close(found.scores, torch.tensor(best), 1e-5)


@pytest.mark.parametrize("weights", ["init", "trained"])
def test_all_finished_beams_equal_the_release(r2gencmn, batch, weights):
    model = released_model(r2gencmn, weights)
    with torch.inference_mode():
        found = beam_search(model, model.start(batch.inputs), DecodingConfig(max_length=12), keep=3)
    theirs = [[beam["p"] for beam in study] for study in r2gencmn.meta[f"decode_{weights}"]["beam3"]]
    close(found.n_best_scores, torch.tensor(theirs), 1e-4)


def test_one_training_step_equals_the_release(r2gencmn, batch):
    """Gradients within 1e-6; parameters after Adam within 1e-5 where the gradient is not numerically zero (Adam divides
    by it)."""
    golden, model = r2gencmn.tensors("train_step1"), released_model(r2gencmn, "init")
    optimizer = build_optimizer(model, TrainingConfig())
    output = model(batch)
    loss = report_loss(output.logits, batch.tokens, batch.mask)
    assert loss.item() == pytest.approx(r2gencmn.meta["train_step1"]["losses"][0]["loss"], abs=1e-6)
    loss.backward()
    optimizer.step()
    ours = dict(model.named_parameters())
    gradients = from_released({name[5:]: t for name, t in golden.items() if name.startswith("grad.")})
    after = from_released({name[6:]: t for name, t in golden.items() if name.startswith("param.")})
    assert gradients.keys() == ours.keys() == after.keys()
    for name, parameter in ours.items():
        close(parameter.grad, gradients[name], 1e-6)
        matters = gradients[name].abs() > 1e-6
        close(parameter[matters], after[name][matters], 1e-5)


def test_five_training_steps_follow_the_released_losses(r2gencmn, batch):
    model = released_model(r2gencmn, "init")
    optimizer = build_optimizer(model, TrainingConfig())
    for theirs in r2gencmn.meta["train_step5"]["losses"]:
        loss = report_loss(model(batch).logits, batch.tokens, batch.mask)
        assert loss.item() == pytest.approx(theirs["loss"], abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_every_released_parameter_has_a_place(r2gencmn):
    names = [our_name(name) for name in r2gencmn.meta["state_keys"]]
    model = released_model(r2gencmn, "init")
    assert sorted(filter(None, names)) == sorted(dict(model.named_parameters()))
    assert sum(p.numel() for p in model.parameters()) == r2gencmn.meta["n_params"]


def test_a_foreign_parameter_is_named():
    with pytest.raises(CheckpointError, match=r"model\.decoder\.rm\.attn"):
        our_name("model.decoder.rm.attn.weight")
