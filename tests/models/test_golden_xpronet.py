"""Our XProNet and the released one are the same function: numbers computed with the authors' code
(tests/golden/xpronet)."""

from __future__ import annotations

import math

import pytest
import torch
from places import GoldenFolder

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import CheckpointError
from rrg_lib.experiments.pseudo_labels import LABEL_ORDERS
from rrg_lib.models.contrastive import multi_label_contrastive
from rrg_lib.models.decoding import DecodingConfig, beam_search, generate
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import XProNetConfig
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


@pytest.fixture(scope="module")
def xpronet() -> GoldenFolder:
    return GoldenFolder("xpronet")


@pytest.fixture
def batch(xpronet) -> Batch:
    inputs = xpronet.tensors("inputs")
    return Batch(inputs["att_feats"], inputs["seq"], inputs["mask"], inputs["labels"])


def released_model(golden, weights: str, gamma: int = 5) -> ReportGenerator:
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
    memory = XProNetConfig(
        classes=a["num_cluster"],
        prototypes=a["num_protype"],
        gamma=gamma,
        image_dim=a["d_img_ebd"],
        text_dim=a["d_txt_ebd"],
    )  # margin, theta and the two weights are the defaults
    model = ReportGenerator(config, memory).eval()
    model.load_state_dict(from_released(golden.tensors(f"state_{weights}"), "XProNet"))
    return model


def losses(model: ReportGenerator, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The whole objective (XProNet Eq. 20) and its parts, the contrastive ones without their weights."""
    output = model(batch)
    report = report_loss(output.logits, batch.tokens, batch.mask)
    image, text = output.losses["contrastive_image"], output.losses["contrastive_text"]
    return report + image + text, {"ce": report, "img_con": image, "txt_con": text / 0.1}


def close(ours: torch.Tensor, theirs: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def bank_rows(golden, batch: Batch, indices: torch.Tensor) -> torch.Tensor:
    """The release numbers a study's own prototypes from 0; the same as rows of the whole matrix."""
    number = golden.meta["args"]["num_protype"]
    own = [(labels.nonzero() * number + torch.arange(number)).flatten() for labels in batch.labels]
    return torch.stack([rows[chosen] for rows, chosen in zip(own, indices, strict=True)])


@pytest.mark.parametrize("weights", ["init", "trained"])
def test_forward_equals_the_release(xpronet, batch, weights):
    """XProNet Eq. 8-14 and 17-18 as released."""
    golden, model = xpronet.tensors(f"forward_{weights}"), released_model(xpronet, weights)
    with torch.no_grad():
        encoded, image = model.encode(batch.inputs, batch.labels)
        output = model(batch)
        features = model.patch_embedding(batch.inputs)
        close(model.memory.reduction(model.memory.prototypes), golden["prototypes_reduced"], 1e-5)
        close(model.memory.fuse(features, image, "image"), golden["visual_fused"], 1e-5)
        close(model.memory.fuse(golden["tgt_embed"], output.text, "text"), golden["textual_fused"], 1e-5)
        _, parts = losses(model, batch)
    close(image.vectors, golden["visual_responses"], 1e-5)
    close(image.weights, golden["visual_attn"], 1e-5)
    close(output.text.vectors, golden["textual_responses"], 1e-5)
    close(output.text.weights, golden["textual_attn"], 1e-5)
    close(encoded, golden["encoder_out"], 1e-5)
    close(output.logits.log_softmax(-1), golden["logprobs"], 1e-5)
    for name, key in (("ce", "ce_loss"), ("img_con", "img_con_loss"), ("txt_con", "txt_con_loss")):
        close(parts[name], golden[key][0], 1e-5 if name == "ce" else 1e-6)
    assert torch.equal(image.indices, bank_rows(xpronet, batch, golden["visual_topk_idx"]))
    assert torch.equal(output.text.indices, bank_rows(xpronet, batch, golden["textual_topk_idx"]))


def test_gamma_larger_than_a_class_equals_the_release(xpronet, batch):
    """γ 12, N_p 8: the study of one class has 8 prototypes to ask; what else is picked weighs nothing."""
    golden, model = xpronet.tensors("forward_init_topk12"), released_model(xpronet, "init", gamma=12)
    with torch.no_grad():
        _, image = model.encode(batch.inputs, batch.labels)
        output = model(batch)
        _, parts = losses(model, batch)
    close(image.vectors, golden["visual_responses"], 1e-5)
    close(output.logits.log_softmax(-1), golden["logprobs"], 1e-5)
    close(parts["img_con"], golden["img_con_loss"][0], 1e-6)
    close(parts["txt_con"], golden["txt_con_loss"][0], 1e-6)
    assert image.weights[1, ..., 8:].max() == 0


@pytest.mark.parametrize("margin", [0.2, 0.4])
@pytest.mark.parametrize("theta", [1.0, 1.5, 1.75])
def test_contrastive_loss_equals_the_release(xpronet, margin, theta):
    data = xpronet.tensors("con_loss")
    loss = multi_label_contrastive(data["features"], data["labels"], margin=margin, theta=theta)
    assert loss.item() == pytest.approx(xpronet.meta["con_loss"][f"margin{margin}_alpha{theta}"], abs=1e-6)


def test_contrastive_gradient_equals_the_release(xpronet):
    data = xpronet.tensors("con_loss")
    features = data["features"].requires_grad_()
    multi_label_contrastive(features, data["labels"], margin=0.4, theta=1.5).backward()
    close(features.grad, data["grad_margin04_alpha15"], 1e-7)


def test_contrastive_loss_of_an_unlabelled_study_equals_the_release(xpronet):
    data = xpronet.tensors("con_loss")
    data["labels"][2] = 0
    loss = multi_label_contrastive(data["features"], data["labels"], margin=0.4, theta=1.5)
    assert loss.item() == pytest.approx(xpronet.meta["con_loss"]["margin0.4_alpha1.5_row2_unlabelled"], abs=1e-6)


@pytest.mark.parametrize("weights", ["init", "trained"])
@pytest.mark.parametrize("name", SEARCHES)
def test_decoding_equals_the_release_token_for_token(xpronet, batch, weights, name):
    golden, model = xpronet.tensors(f"decode_{weights}"), released_model(xpronet, weights)
    found = generate(model, batch.inputs, batch.labels, DecodingConfig(max_length=12, **SEARCHES[name]))
    assert torch.equal(found.tokens, golden[f"{name}_tokens"])
    best = [study[0]["p"] for study in xpronet.meta[f"decode_{weights}"].get(name, [])]
    if best:
        close(found.scores, torch.tensor(best), 1e-5)


@pytest.mark.parametrize("weights", ["init", "trained"])
def test_all_finished_beams_equal_the_release(xpronet, batch, weights):
    model = released_model(xpronet, weights)
    with torch.inference_mode():
        found = beam_search(model, model.start(batch.inputs, batch.labels), DecodingConfig(max_length=12), keep=3)
    theirs = [[beam["p"] for beam in study] for study in xpronet.meta[f"decode_{weights}"]["beam3"]]
    close(found.n_best_scores, torch.tensor(theirs), 1e-4)


def test_one_training_step_equals_the_release(xpronet, batch):
    """Gradients within 1e-6; parameters after Adam within 1e-5 where the gradient, L2 decay included, is not
    numerically zero (Adam divides by it)."""
    golden, model = xpronet.tensors("train_step1"), released_model(xpronet, "init")
    optimizer = build_optimizer(model, TrainingConfig(lr=2e-3))
    loss, parts = losses(model, batch)
    theirs = xpronet.meta["train_step1"]["losses"][0]
    assert loss.item() == pytest.approx(theirs["loss"], abs=1e-6)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {name: theirs[name] for name in parts}, abs=1e-6
    )
    loss.backward()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer.step()
    ours = dict(model.named_parameters())
    gradients = from_released({name[5:]: t for name, t in golden.items() if name.startswith("grad.")}, "XProNet")
    after = from_released({name[6:]: t for name, t in golden.items() if name.startswith("param.")}, "XProNet")
    assert gradients.keys() == ours.keys() == after.keys()
    for name, parameter in ours.items():
        close(parameter.grad, gradients[name], 1e-6)
        matters = (gradients[name] + 5e-5 * before[name]).abs() > 1e-6
        assert matters.float().mean() > 0.9
        close(parameter[matters], after[name][matters], 1e-5)


def test_five_training_steps_follow_the_released_losses(xpronet, batch):
    model = released_model(xpronet, "init")
    optimizer = build_optimizer(model, TrainingConfig(lr=2e-3))
    for theirs in xpronet.meta["train_step5"]["losses"]:
        loss, parts = losses(model, batch)
        assert loss.item() == pytest.approx(theirs["loss"], abs=1e-4)
        assert parts["txt_con"].item() == pytest.approx(theirs["txt_con"], abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_every_released_parameter_has_a_place(xpronet):
    names = [our_name(name, "XProNet") for name in xpronet.meta["state_keys"]]
    model = released_model(xpronet, "init")
    assert sorted(filter(None, names)) == sorted(dict(model.named_parameters()))
    assert sum(p.numel() for p in model.parameters()) == xpronet.meta["n_params"]


def test_a_parameter_of_the_other_release_is_named():
    with pytest.raises(CheckpointError, match=r"'memory_matrix'.*XProNet"):
        our_name("memory_matrix", "XProNet")


@pytest.mark.parametrize("order", ["iu_xray", "mimic_cxr"])
def test_released_prototypes_are_put_in_our_order_of_classes(order):
    """The releases number the classes otherwise than we do, and each otherwise than the other."""
    names = LABEL_ORDERS[order]
    rows = torch.tensor([[OBSERVATIONS.index(name)] for name in names for _ in range(2)])
    found = from_released({"protypes": rows}, "XProNet", class_order=names)["memory.prototypes"]
    assert found.flatten().tolist() == [i for i in range(14) for _ in range(2)]
    with pytest.raises(CheckpointError, match="does not fit the prototypes"):
        from_released({"protypes": rows[:20]}, "XProNet", class_order=names)
