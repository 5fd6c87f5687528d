"""The papers' equations with their sums written out, one number at a time, where no other file of these tests does
it."""

from __future__ import annotations

import math

import pytest
import torch
from toy import CONFIG, D_VF, PATCHES, ToyDataset, generator, trainer

from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import CMNConfig, MCSAMConfig, MemoryConfig, XProNetConfig
from rrg_lib.models.pair_alignment import PairConfig
from rrg_lib.models.report_loss import report_loss

REPORTS = torch.tensor([[0, 3, 5, 11, 0, 0], [0, 1, 2, 7, 11, 0]])
SLOTS, K = 9, 3


def patches(studies: int = 2) -> torch.Tensor:
    return 3 * torch.rand(studies, PATCHES, D_VF, generator=torch.Generator().manual_seed(4))


def listening(memory: MemoryConfig | None):
    """A generator in evaluation mode whose weights are large enough that what it is asked about matters."""
    model = generator(memory).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def mask_of(tokens: torch.Tensor) -> torch.Tensor:
    """1 up to the final 0."""
    last = (tokens > 0).cumsum(1).argmax(1, keepdim=True) + 1
    return (torch.arange(tokens.shape[1]) <= last).float()


# --- CMN --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [None, CMNConfig(slots=SLOTS, top_k=K)], ids=["base", "cmn"])
def test_a_reports_probability_is_the_product_of_its_words_each_given_those_before(memory):
    """CMN Eq. 1: every factor comes from a model that has seen the words before and nothing else, at once or with the
    caches of a search."""
    model, tokens = listening(memory), REPORTS[1:]
    inputs = patches()[1:]
    with torch.no_grad():
        at_once = model(Batch(inputs, tokens, mask_of(tokens))).logits.softmax(-1)
        state, product, stepwise = model.start(inputs), 1.0, 1.0
        for t in range(1, tokens.shape[1]):
            before = torch.cat(
                [tokens[:, :t], torch.zeros(1, 1, dtype=torch.long)], dim=1
            )  # the last is to be said, not read
            product *= (
                model(Batch(inputs, before, torch.ones_like(before))).logits[0, -1].softmax(-1)[tokens[0, t]].item()
            )
            stepwise *= model.step(tokens[:, t - 1 : t], state)[0][0, 0].softmax(-1)[tokens[0, t]].item()
    found = math.prod(at_once[0, t - 1, tokens[0, t]].item() for t in range(1, tokens.shape[1]))
    assert product == pytest.approx(found, rel=1e-4) and stepwise == pytest.approx(found, rel=1e-4)


def test_the_objective_is_the_log_likelihood_a_word():
    """CMN Eq. 2, as released: its negative over the number of words, the final 0 among them, the padding not."""
    logits = torch.randn(2, 5, CONFIG.vocab_size + 1, generator=torch.Generator().manual_seed(0))
    total, words = 0.0, 0
    for report, row in zip(REPORTS.tolist(), logits, strict=True):
        said = report[1 : report.index(0, 1) + 1]
        for word, scores in zip(said, row, strict=False):
            total += math.log(math.exp(scores[word]) / sum(math.exp(score) for score in scores))
            words += 1
    assert words == 9
    assert report_loss(logits, REPORTS, mask_of(REPORTS)).item() == pytest.approx(-total / words, rel=1e-5)


def test_the_report_loss_is_a_mean_over_the_words_of_the_batch_and_not_of_a_report():
    """XProNet Eq. 19: a report alone has one mean; two of unlike length have their mean as printed, and by the release
    that weighed by their words."""
    logits = 3 * torch.randn(2, 5, CONFIG.vocab_size + 1, generator=torch.Generator().manual_seed(1))
    mask = mask_of(REPORTS)
    alone = [report_loss(logits[i : i + 1], REPORTS[i : i + 1], mask[i : i + 1]).item() for i in range(2)]
    words = mask[:, 1:].sum(1).tolist()
    assert words[0] != words[1]
    released = report_loss(logits, REPORTS, mask).item()
    assert released == pytest.approx(sum(loss * n for loss, n in zip(alone, words, strict=True)) / sum(words), rel=1e-5)
    assert abs(released - sum(alone) / 2) > 0.01


def answer_written_out(memory, x: list[float], modality: str) -> list[float]:
    """CMN Eq. 4-13 for one query x (d,), head by head, as released but for the printed scale where it is set; no
    tensor, no top-k."""
    name = "shared" if memory.config.shared else modality
    linear, M = memory.projections[name], memory.matrices[name].tolist()

    def through(layer, vector):
        return [
            sum(w * v for w, v in zip(row, vector, strict=True)) + b
            for row, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]

    q, keys, values = (
        through(linear.query, x),
        [through(linear.key, m) for m in M],
        [through(linear.value, m) for m in M],
    )  # Eq. 4-6, 11
    d, d_k = len(x), len(x) // linear.heads
    joined = []
    for h in range(linear.heads):
        part = range(h * d_k, (h + 1) * d_k)
        scale = math.sqrt(d if memory.config.scale == "model" else d_k)
        scores = [sum(q[i] * key[i] for i in part) / scale for key in keys]  # Eq. 7-8
        best = sorted(range(len(M)), key=lambda i: -scores[i])[: memory.config.top_k]
        whole = sum(math.exp(scores[i]) for i in best)  # Eq. 9-10
        joined += [sum(math.exp(scores[i]) / whole * values[i][j] for i in best) for j in part]  # Eq. 12-13
    return through(linear.output, joined)


@pytest.mark.parametrize(
    "settings", [{}, {"scale": "model"}, {"shared": False}], ids=["released", "printed scale", "two memories"]
)
@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_memorys_answer_is_its_equations_written_out(settings, modality):
    """CMN Eq. 4-13, from the matrix M to the answer."""
    torch.manual_seed(0)
    memory = CMNConfig(slots=SLOTS, top_k=K, **settings).build(8, 2).double().eval()
    with torch.no_grad():
        for matrix in memory.matrices.values():
            matrix.copy_(
                torch.randn_like(matrix)
            )  # as released they are nearly alike, and every wrong choice of slots would pass
    x = 2 * torch.randn(2, 3, 8, dtype=torch.float64)
    found = memory.respond(x, memory.slots(None, modality)).vectors
    expected = [[answer_written_out(memory, row, modality) for row in study] for study in x.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0)


@pytest.mark.parametrize("fusion", ["replace", "add"])
def test_encoder_and_decoder_read_the_answers(fusion):
    """CMN Eq. 14-15: the answers themselves as printed, added to patches and words as released; positions come to the
    patches afterwards."""
    model = listening(CMNConfig(slots=SLOTS, top_k=K, fusion=fusion))
    read = {}
    for name in ("encoder", "decoder"):
        getattr(model, name).register_forward_pre_hook(lambda module, inputs, name=name: read.update({name: inputs[0]}))
    with torch.no_grad():
        output = model(Batch(patches(), REPORTS, mask_of(REPORTS)))
        x = model.patch_embedding(patches())
        y = (
            model.token_embedding(REPORTS[:, :-1]) * math.sqrt(CONFIG.d_model)
            + model.token_positions.code[: REPORTS.shape[1] - 1]
        )
        slots = model.memory.slots(None, "image")
        r_x, r_y = (model.memory.respond(features, slots).vectors for features in (x, y))
    kept = 0 if fusion == "replace" else 1
    torch.testing.assert_close(
        read["encoder"], kept * x + r_x + model.patch_positions.code[:PATCHES], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(read["decoder"], kept * y + r_y, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.text.vectors, r_y, atol=1e-5, rtol=1e-5)


# --- what training descends -------------------------------------------------------------------------------------------

OBJECTIVES = {
    "xpronet": (
        XProNetConfig(
            prototypes=4, gamma=3, image_dim=D_VF, text_dim=3, image_weight=0.7, text_weight=0.3, clamp=False
        ),
        None,
    ),
    "mcsam": (MCSAMConfig(slots=SLOTS, top_k=K, alignment_dim=4, memory_tokens=2), None),
    "pair": (CMNConfig(slots=SLOTS, top_k=K), PairConfig()),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_training_step_descends_the_sum_of_its_losses(name, tmp_path, monkeypatch):
    """XProNet Eq. 20 and MCSAM, objective: the step's gradient is that of report loss plus every other loss, each
    once."""
    memory, pair = OBJECTIVES[name]
    torch.manual_seed(0)
    model = ReportGenerator(CONFIG, memory, pair=pair)
    run = trainer(tmp_path, clip_norm=None)
    batch = ToyDataset().batches().collate(list(range(6)))
    batch.labels = torch.zeros(6, 14)
    batch.labels[range(6), [0, 0, 1, 1, 2, 2]] = 1
    model.eval()  # no dropout: both passes are the same function
    output = model(batch)
    parts = {"report": report_loss(output.logits, batch.tokens, batch.mask), **output.losses}
    assert len(parts) == {"xpronet": 3, "mcsam": 2, "pair": 2}[name] and all(
        part.abs() > 1e-4 for part in parts.values()
    )
    sum(parts.values()).backward()
    expected = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    kept = {}

    class Kept:
        @property
        def optimizer(self):  # what accelerate wraps
            return self

        def step(self):
            kept.update({key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None})

        def zero_grad(self):
            model.zero_grad()

    monkeypatch.setattr(run, "generator", model)
    monkeypatch.setattr(run, "optimizer", Kept())
    loss = run._train_step(batch)
    assert loss == pytest.approx(sum(parts.values()).item(), rel=1e-5)
    assert kept.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(kept[key], gradient, atol=1e-6, rtol=1e-4, msg=key)
