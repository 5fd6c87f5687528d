"""What holds on a GPU: it computes what the processor computes, its options save what they promise, memory is what was
counted. Skipped without one."""

from __future__ import annotations

import copy

import pytest
import torch
from toy import ToyDataset, trainer

from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.memory import CMNConfig, MCSAMConfig, XProNetConfig
from rrg_lib.models.report_loss import report_loss
from rrg_lib.performance import budget
from rrg_lib.runtime.device import this_device

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA GPU; no other test stands in for it"
)

SYSTEMS = {
    "base": None,
    "cmn": CMNConfig(slots=64, top_k=8, dropout=0.0),
    "xpronet": XProNetConfig(image_dim=32, text_dim=32, dropout=0.0),
    "mcsam": MCSAMConfig(slots=64, top_k=8, dropout=0.0),
}
CONFIG = TransformerConfig(
    vocab_size=60, d_vf=48, d_model=64, d_ff=96, heads=4, layers=2, dropout=0.0, feature_dropout=0.0, max_length=20
)


def two(name: str) -> tuple[ReportGenerator, ReportGenerator]:
    """The same generator on the processor and on the GPU."""
    torch.manual_seed(0)
    generator = ReportGenerator(CONFIG, SYSTEMS[name])
    return generator, copy.deepcopy(generator).to(this_device())


def batch():
    torch.manual_seed(1)
    tokens = torch.randint(1, 61, (6, 15))
    tokens[:, 0] = 0
    tokens[:3, 10:] = 0
    mask = (tokens > 0).float()
    mask[:, 0] = 1
    labels = (torch.rand(6, 14) < 0.3).float()
    labels[:, 0] = 1
    from rrg_lib.models.interface import Batch

    return Batch(torch.randn(6, 18, 48), tokens, mask, labels)


@pytest.mark.parametrize("name", SYSTEMS)
def test_losses_and_gradients_are_the_processors(name):
    losses, gradients = [], []
    for generator in two(name):
        given = batch().to(generator.logits.weight.device)
        output = generator.train()(given)
        loss = report_loss(output.logits, given.tokens, given.mask) + sum(output.losses.values())
        loss.backward()
        losses.append(loss.item())
        gradients.append({key: p.grad.cpu() for key, p in generator.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    for key, own in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][key], own, atol=2e-5, rtol=1e-3, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("name", SYSTEMS)
def test_reports_are_the_processors_word_for_word(name, beam):
    here, there = two(name)
    given = batch()
    labels = given.labels if name == "xpronet" else None
    config = DecodingConfig(beam_size=beam, max_length=20)
    there_too = None if labels is None else labels.cuda()
    assert (
        generate(here, given.inputs, labels, config).tokens.tolist()
        == generate(there, given.inputs.cuda(), there_too, config).tokens.tolist()
    )


@pytest.mark.parametrize("precision", ["no", "tf32", "bf16", "fp16"])
def test_a_training_on_the_gpu_learns_in_every_precision(precision, tmp_path):
    run = trainer(tmp_path, epochs=6, mixed_precision=precision)
    assert run.accelerator.device.type == "cuda"
    history = run.fit().history
    assert history[-1]["validation_loss"] < 0.7 * history[0]["validation_loss"]


def test_a_run_that_was_stopped_goes_on(tmp_path):
    trainer(tmp_path, epochs=2).fit()
    assert [row["epoch"] for row in trainer(tmp_path, epochs=4).fit().history] == [0, 1, 2, 3]


def peak_of_a_step(generator: ReportGenerator, given) -> float:
    def step():
        output = generator(given)
        report_loss(output.logits, given.tokens, given.mask).backward()

    step()  # gradients are there from now on
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before


def test_checkpointing_saves_memory_and_changes_no_gradient():
    torch.manual_seed(0)
    config = TransformerConfig(
        vocab_size=760, d_vf=2048, d_model=512, d_ff=512, heads=8, layers=3, dropout=0.0, feature_dropout=0.0
    )
    plain = ReportGenerator(config, None).cuda().train()
    saving = copy.deepcopy(plain)
    saving.encoder.checkpointed = saving.decoder.checkpointed = True
    from rrg_lib.performance.sizes import SIZES, new_batch

    given = new_batch(SIZES["paper"])
    assert peak_of_a_step(saving, given) < 0.6 * peak_of_a_step(plain, given)
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)


def test_the_memory_that_was_counted_is_the_memory_that_is_used():
    """Activations counted on the meta device against torch.cuda's peak of a step (weights, gradients and moments are
    exact by their number)."""
    from rrg_lib.performance.sizes import SIZES, new_batch, new_generator, systems

    size = SIZES["paper"]
    for name, memory in systems(size).items():
        generator, given = new_generator(size, memory).train(), new_batch(size)
        counted = budget.step_cost(generator, given).activations
        for parameter in generator.parameters():
            parameter.grad = None
        measured = peak_of_a_step(generator, given)
        print(f"{name}: counted {counted / 2**20:.0f} MiB, measured {measured / 2**20:.0f} MiB")
        assert 0.6 < counted / measured < 1.2, name


def test_writing_runs_on_the_gpu_and_the_generator_comes_back():
    from rrg_lib.runtime.device import on_device

    module = torch.nn.Linear(2, 2)
    with on_device(module) as device:
        assert device.type == "cuda"
        assert module.weight.is_cuda
    assert not module.weight.is_cuda


def test_toy_data_reach_the_gpu():
    given = next(iter(ToyDataset().batches().loader(8))).to(this_device())
    assert given.inputs.is_cuda
    assert given.tokens.is_cuda
