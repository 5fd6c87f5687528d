"""ST, ATT2IN, ADAATT, TOPDOWN and R2GEN and the code that the papers name are the same functions: numbers computed with
that code (tests/golden/{st,att2in,adaatt,topdown,r2gen}; `newfc` and `raw` are the near relatives that options are)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from places import GoldenFolder

from rrg_lib.errors import CheckpointError
from rrg_lib.experiments.presets import experiment
from rrg_lib.models import adaatt, att2in, r2gen, show_tell, topdown
from rrg_lib.models.adaatt import AdaAttConfig
from rrg_lib.models.att2in import Att2inConfig
from rrg_lib.models.decoding import DecodingConfig, beam_search, generate
from rrg_lib.models.interface import Batch, GeneratorConfig
from rrg_lib.models.r2gen import R2GenConfig
from rrg_lib.models.released_weights import from_table
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.show_tell import ShowTellConfig
from rrg_lib.models.topdown import TopDownConfig
from rrg_lib.training import build_optimizer

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
SMALL = {"vocab_size": 30, "d_vf": 48, "d_model": 32, "max_length": 12}


@dataclass(frozen=True)
class Released:
    """A golden folder, the prefix of its files, our settings for it and the table of names."""

    folder: str
    config: GeneratorConfig
    names: tuple[tuple[str, str], ...]
    prefix: str = ""

    def model(self, weights: str):
        model = self.config.build().eval()
        model.load_state_dict(self.ours(f"state_{weights}"))
        return model

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return GoldenFolder(self.folder).tensors(self.prefix + name)

    def ours(self, name: str, kind: str = "") -> dict[str, torch.Tensor]:
        """Weights or gradients (`kind` "grad.") under our names."""
        tensors = self.tensors(name).items()
        return from_table({n[len(kind) :]: t for n, t in tensors if n.startswith(kind)}, self.names, self.folder)

    @property
    def meta(self) -> dict:
        meta = GoldenFolder(self.folder).meta
        return meta["variants"][self.prefix.rstrip("_")] if self.prefix else meta


MODELS = {
    "st": Released("st", ShowTellConfig(**SMALL), show_tell.RELEASED_NAMES),
    "newfc": Released("st", ShowTellConfig(**SMALL, candidate="maxout"), show_tell.RELEASED_NAMES, "newfc_"),
    "att2in": Released("att2in", Att2inConfig(**SMALL), att2in.RELEASED_NAMES),
    "raw": Released("att2in", Att2inConfig(**SMALL, embedded=False), att2in.RELEASED_NAMES, "raw_"),
    "adaatt": Released("adaatt", AdaAttConfig(**SMALL), adaatt.RELEASED_NAMES),
    "topdown": Released("topdown", TopDownConfig(**SMALL), topdown.RELEASED_NAMES),
    "r2gen": Released(
        "r2gen", R2GenConfig(**SMALL | {"d_model": 24, "d_ff": 40, "heads": 4, "layers": 2}), r2gen.RELEASED_NAMES
    ),
}
LSTMS = [name for name in MODELS if name != "r2gen"]
ATTENTIVE = [name for name in MODELS if name not in ("st", "newfc")]


def the_batch(released: Released) -> Batch:
    inputs = GoldenFolder(released.folder).tensors("inputs")
    return Batch(inputs["att_feats"], inputs["seq"], inputs["mask"])


def close(ours: torch.Tensor, theirs: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize("weights", ["init", "trained"])
@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_and_loss_equal_the_release(name, weights):
    """ST, image as word; ATT2IN, additive attention; ATT2IN, cell; ADAATT, sentinel; ADAATT, adaptive attention;
    TOPDOWN, two cells.

    Where the released loop went on: it stops once a whole column of the batch is padding, and leaves zeros there, or
    nothing. Sharp distributions of R2GEN, trained, leave 32 bits 1e-5 apart: it and all others are compared in 64 bits,
    too.
    """
    released = MODELS[name]
    golden, model, batch = released.tensors(f"forward_{weights}"), released.model(weights), the_batch(released)
    with torch.no_grad():
        logits = model(batch).logits
    theirs = golden["logprobs"]
    went_on = (batch.tokens[:, :-1] > 0).any(0)
    went_on[0] = True
    steps = int(went_on.sum())
    assert 8 <= steps <= theirs.shape[1]
    close(
        logits[:, :steps].log_softmax(-1), theirs[:, :steps], 2e-5 if name == "r2gen" and weights == "trained" else 1e-5
    )
    close(report_loss(logits, batch.tokens, batch.mask), golden["ce_loss"][0], 1e-6)
    if weights == "trained":
        with torch.no_grad():
            logits = model.double()(Batch(batch.inputs.double(), batch.tokens, batch.mask)).logits
        # Their pooled image was rounded to 32 bits; the others read none.
        exact = 1e-9 if name in ("att2in", "raw", "r2gen") else 1e-6
        close(logits[:, :steps].log_softmax(-1), golden["logprobs_f64"][:, :steps], exact)


@pytest.mark.parametrize("weights", ["init", "trained"])
@pytest.mark.parametrize("name", [name for name in ATTENTIVE if name != "r2gen"])
def test_attention_equals_the_release(name, weights):
    """The sentinel of ADAATT stands first there, and last here."""
    released, trace = MODELS[name], []
    with torch.no_grad():
        released.model(weights)(the_batch(released), trace)
    (ours,) = trace
    theirs = released.tensors(f"forward_{weights}")["attn"]
    if name == "adaatt":
        theirs = torch.cat([theirs[..., 1:], theirs[..., :1]], -1)
    close(ours[:, 0], theirs, 1e-5)
    if weights == "trained":
        assert ours.max() > 0.2  # it looks somewhere


@pytest.mark.parametrize("name", ["st", "newfc", "att2in", "raw", "adaatt", "topdown"])
def test_states_equal_the_release_step_by_step(name):
    """h and c after each word, and after the image for ST."""
    released, batch = MODELS[name], the_batch(MODELS[name])
    golden, model = released.tensors("forward_init"), released.model("init")
    theirs = {"h_look": "h_att", "c_look": "c_att", "h_write": "h_lang", "c_write": "c_lang"}
    with torch.no_grad():
        state = model.start(batch.inputs)
        if name == "st":
            close(state.hypotheses["h"][:, 0], golden["h_image"], 1e-6)
            close(state.hypotheses["c"][:, 0], golden["c_image"], 1e-6)
        for t in range(golden["logprobs"].shape[1]):
            before = dict(state.hypotheses)
            model.step(batch.tokens[:, t : t + 1], state)
            if name == "adaatt":
                output, _, _ = model.read(model.words(batch.tokens[:, t : t + 1]), before, state.studies)
                close(output[:, 0], golden["core_out"][:, t], 1e-6)
            for ours, tensor in state.hypotheses.items():
                close(tensor[:, 0], golden[theirs.get(ours, ours)][:, t], 1e-6)


def test_the_memory_and_the_norms_of_r2gen_equal_the_release():
    """R2Gen, relational memory; R2Gen, gate mechanism; R2Gen, conditional norm."""
    released = MODELS["r2gen"]
    golden, model, batch, trace = released.tensors("forward_init"), released.model("init"), the_batch(released), []
    with torch.no_grad():
        output = model(batch, trace)
        close(output.encoded, golden["encoder_out"], 1e-5)
        close(output.words, golden["tgt_embed"], 1e-5)
        m, memory = model.memories(output.words), model.text_memory.begin(3)
        close(memory[:, 0].flatten(1), golden["memory_start"].flatten().expand(3, -1), 0)
        close(m, golden["memory"], 1e-5)
        first = torch.cat([memory, output.words[:, :1, None]], -2)
        weights = model.text_memory.attention.weights(memory, model.text_memory.attention.project(first))
        close(weights[:, 0], golden["memory_attn"][:, 0], 1e-6)
        for layer in range(2):
            close(trace[layer], golden[f"src_attn.{layer}"], 1e-5)
            for sublayer in range(3):
                norm = model.decoder.layers[layer].norms[sublayer]
                close(norm.delta_gamma(m), golden[f"delta_gamma.{layer}.{sublayer}"], 1e-5)
                close(norm.delta_beta(m), golden[f"delta_beta.{layer}.{sublayer}"], 1e-5)
        close(model.decoder.layers[0].norms[0](output.words, m), golden["conditional_norm.0.0"], 1e-5)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("name", MODELS)
def test_trained_words_equal_the_release_token_for_token(name, search):
    released = MODELS[name]
    golden = released.tensors("decode_trained")
    if f"{search}_tokens" not in golden:
        assert name in ("st", "newfc", "raw"), "their code has no such search"
        return
    found = generate(
        released.model("trained"), the_batch(released).inputs, None, DecodingConfig(max_length=12, **SEARCHES[search])
    )
    assert torch.equal(found.tokens, golden[f"{search}_tokens"])
    close(found.scores, golden[f"{search}_scores"], 2e-5)


@pytest.mark.parametrize("name", LSTMS)
def test_all_finished_beams_equal_the_release(name):
    released = MODELS[name]
    model = released.model("trained")
    with torch.inference_mode():
        found = beam_search(model, model.start(the_batch(released).inputs), DecodingConfig(max_length=12), keep=3)
    theirs = [[beam["p"] for beam in study] for study in released.meta["decode_trained"]["beam3"]]
    close(found.n_best_scores, torch.tensor(theirs), 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_one_steps_gradients_equal_the_release(name):
    released, batch = MODELS[name], the_batch(MODELS[name])
    model, gradients = released.model("init"), released.ours("train_step1", "grad.")
    loss = report_loss(model(batch).logits, batch.tokens, batch.mask)
    assert loss.item() == pytest.approx(released.meta["train_step1"]["losses"][0]["loss"], abs=1e-6)
    loss.backward()
    ours = dict(model.named_parameters())
    assert gradients.keys() == ours.keys()
    for parameter, theirs in gradients.items():
        close(ours[parameter].grad, theirs, 1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_five_steps_with_the_presets_settings_follow_the_release(name):
    """Adam's numbers, the decay and the clipped gradient values of the presets: the losses before each of five steps,
    and where the first one leads."""
    released, batch = MODELS[name], the_batch(MODELS[name])
    model, after = released.model("init"), released.ours("train_step1", "param.")
    training = experiment(f"iu_xray/{released.folder}", "gpu").training
    optimizer = build_optimizer(model, training)
    for step, theirs in enumerate(released.meta["train_step5"]["losses"]):
        loss = report_loss(model(batch).logits, batch.tokens, batch.mask)
        assert loss.item() == pytest.approx(theirs["loss"], abs=2e-6), step
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), training.clip_value)
        optimizer.step()
        if step == 0:
            for parameter, value in after.items():
                ours = model.get_parameter(parameter)
                matters = ours.grad.abs() > 1e-6  # Adam divides by it
                close(ours[matters], value[matters], 1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_every_released_parameter_has_a_place(name):
    released = MODELS[name]
    assert sum(p.numel() for p in released.config.build().parameters()) == released.meta["n_params"]


def test_a_foreign_parameter_is_named():
    with pytest.raises(CheckpointError, match=r"core\.lstm\.x2h.*topdown"):
        from_table({"core.lstm.x2h.weight": torch.zeros(1)}, topdown.RELEASED_NAMES, "topdown")
