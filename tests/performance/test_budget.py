"""What a training costs, against counts by hand, against torch's own counter on real tensors, and against what is known
of ResNet-101."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.experiments.presets import experiment
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import CMNConfig, top_k
from rrg_lib.performance import budget as module
from rrg_lib.performance.budget import (
    GPUS,
    Budget,
    Cost,
    budget,
    build,
    decoding,
    extraction,
    shapes,
    step_cost,
    training_step,
    workloads,
)

B, S, T, V = 3, 8, 5, 20
SIZES = TransformerConfig(vocab_size=V, d_vf=24, d_model=16, d_ff=20, heads=2, layers=2, max_length=T)
N, K = 12, 4
TINY = (
    "generator.d_model=16",
    "generator.d_ff=20",
    "generator.heads=2",
    "generator.max_length=6",
    "decoding.max_length=6",
)


def tiny(device: str, memory=None) -> tuple[ReportGenerator, Batch]:
    with torch.device(device):
        tokens = torch.ones(B, T + 1, dtype=torch.long)
        return ReportGenerator(SIZES, memory).train(), Batch(torch.zeros(B, S, SIZES.d_vf), tokens, tokens.float())


def by_hand(memory: bool) -> tuple[int, int]:
    """Operations of a forward pass, and of forward and backward: 2 for each multiplication of a matrix product."""
    d, ff = SIZES.d_model, SIZES.d_ff
    embed = 2 * B * S * SIZES.d_vf * d
    attend = lambda q, k: 2 * B * (2 * q * d * d + 2 * k * d * d + 2 * q * k * d)  # noqa: E731 query and output maps, key and value maps, scores and sums
    feed = lambda length: 2 * B * length * 2 * d * ff  # noqa: E731
    layers = SIZES.layers * (attend(S, S) + feed(S) + attend(T, T) + attend(T, S) + feed(T))
    rest = layers + 2 * B * T * d * (V + 1)
    # keys and values once for both modalities, query and output maps, scores of every slot; a sum of K values is no
    # matrix product
    read = 2 * (2 * N * d * d + B * (S + T) * (2 * d * d + N * d)) if memory else 0
    # backward, each product costs two; the patches need no gradient. Of a memory's read: one for the keys, one for the
    # values
    return embed + rest + read, 2 * embed + 3 * (rest + read)


def in_place(total, a, b, *args, out_shape=None, **options) -> int:
    """What torch's counter does not know: products of (G, n, r) and (G, r, d) added to what is there."""
    return 2 * a[0] * a[1] * a[2] * b[2]


@pytest.mark.parametrize("memory", [None, CMNConfig(slots=N, top_k=K)], ids=["base", "cmn"])
def test_operations_of_a_tiny_generator_are_those_counted_by_hand(memory):
    cost = step_cost(*tiny("meta", memory))
    forward, step = by_hand(memory is not None)
    assert (cost.forward.flops, cost.step.flops) == (forward, step)


def test_shapes_without_numbers_cost_what_numbers_cost(monkeypatch):
    """On the processor the same step, with numbers, has as many operations by torch's own counter, if it takes the form
    that GPUs take."""
    monkeypatch.setattr(top_k, "_sparse_product", top_k._dense_product)
    cost = step_cost(*tiny("meta", CMNConfig(slots=N, top_k=K)))
    generator, batch = tiny("cpu", CMNConfig(slots=N, top_k=K))
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place}) as counter:
        generator(batch).logits.sum().backward()
    assert cost.step.flops == counter.get_total_flops()


def test_weights_gradients_and_moments_are_counted_once_each():
    generator, batch = tiny("meta")
    generator.encoder.requires_grad_(False)
    cost = step_cost(generator, batch, moments=3)
    every, learnt = (
        sum(p.numel() for p in generator.parameters() if p.requires_grad or of_all) for of_all in (True, False)
    )
    assert (cost.weights, cost.gradients, cost.moments) == (4 * every, 4 * learnt, 12 * learnt) and learnt < every
    assert cost.memory == cost.weights + cost.gradients + cost.moments + cost.activations


def test_what_autograd_keeps_is_counted_by_storage_and_without_weights():
    """A linear map keeps its input, ReLU its output, which is the next map's input: 4 x 8 and 4 x 16 numbers, the
    weights are there anyway."""
    layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to("meta")
    kept = module._Kept(layers)
    with kept:
        layers(torch.zeros(4, 8, device="meta", requires_grad=True)).sum()
    assert kept.bytes == 4 * (4 * 8 + 4 * 16)


def test_activations_grow_with_the_batch_and_weights_do_not():
    generator, batch = tiny("meta", CMNConfig(slots=N, top_k=K))
    one = step_cost(generator, Batch(batch.inputs[:1], batch.tokens[:1], batch.mask[:1]))
    three = step_cost(generator, batch)
    assert (
        one.weights == three.weights and 2.5 * one.activations < three.activations < 3 * one.activations
    )  # the memory's keys and values are shared


@pytest.mark.parametrize("search", [1, 3])
def test_decoding_costs_what_every_step_costs(search):
    """Three steps are counted and the rest is arithmetic: the same number as all steps run with numbers, by torch's
    counter."""
    what = experiment(
        "iu_phantom/cmn", "ci", [*TINY, f"decoding.beam_size={search}", "memory.slots=12", "memory.top_k=4"]
    )
    generator = (
        ReportGenerator(replace(what.generator, vocab_size=V, d_vf=256), what.memory).eval().requires_grad_(False)
    )
    # fused attention on a processor is none of the operations that torch's counter knows
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        state, width = generator.start(torch.zeros(B, 98, 256), max_length=6), 1
        for _ in range(6):
            _, state = generator.step(torch.ones(B, width, dtype=torch.long), state)
            width = search
            state.reorder(torch.zeros(B, width, dtype=torch.long))
    assert decoding(what, vocabulary=V, batch=B).flops == counter.get_total_flops()


def test_resnet_101_costs_what_is_known_of_it():
    """7.8 thousand million multiplications a picture of 224 pixels (He et al. 2016, Table 1: 7.6, without the
    shortcuts' and the stem's details)."""
    what = experiment("iu_xray/base", "gpu")
    assert extraction(what, views=1, batch=1).flops / 2 == pytest.approx(7.8e9, rel=0.01)
    assert extraction(what, views=2, batch=3).flops == 6 * extraction(what, views=1, batch=1).flops


def test_a_frozen_extractor_looks_once_and_one_that_learns_at_every_step():
    frozen = experiment("iu_phantom/cmn", "ci")
    generator, extractor = build(frozen, V)
    assert generator.extractor is None and shapes(frozen, extractor, batch=2, views=2, length=9).inputs.shape == (
        2,
        98,
        256,
    )
    learning = training_step(experiment("iu_xray/cmn", "gpu"), vocabulary=V, batch=1)
    alone = extraction(experiment("iu_xray/cmn", "gpu"), batch=1).flops
    assert learning.step.flops > 3 * 0.98 * alone and learning.weights > 4 * 42_000_000


def test_a_budget_adds_up():
    on = replace(workloads()["iu_xray"], train=33, val=32, test=64)
    found = budget("cmn", on, profile="ci", overrides=["training.epochs=2", "training.batch_size=16"])
    writing = decoding(found.experiment, vocabulary=760)
    assert found.steps == 2 * 3 and found.experiment.generator.max_length == 60
    looks = extraction(found.experiment) * ((33 + 32 + 64) / module.DECODE_BATCH)
    assert found.training.flops == pytest.approx(6 * found.step.step.flops + looks.flops)
    assert found.validation.flops == pytest.approx(
        2 * (2 * found.step.forward.flops + 32 / module.DECODE_BATCH * writing.flops)
    )
    assert found.test.flops == pytest.approx(64 / module.DECODE_BATCH * writing.flops)
    assert isinstance(found, Budget) and found.hours(GPUS["A100, 40 GB"]) > 0


def test_hours_are_bounded_by_arithmetic_or_by_launches():
    gpu = GPUS["A100, 40 GB"]
    work = Cost(flops=19.5e12 * 3600, launches=0)
    assert work.hours(gpu, efficiency=1.0) == pytest.approx(1) and work.hours(gpu, efficiency=0.25) == pytest.approx(4)
    assert work.hours(gpu, precision="half", efficiency=1.0) == pytest.approx(19.5 / 312)
    assert Cost(flops=1.0, launches=3600e6).hours(gpu, launch=2e-6) == pytest.approx(2)
    with pytest.raises(ConfigurationError, match=r"efficiency is 1\.5: it is the share of the peak"):
        work.hours(gpu, efficiency=1.5)
    with pytest.raises(UnknownNameError, match="nearest: half"):
        gpu.peak("halves")


def test_workloads_are_the_shipped_split_and_the_printed_table():
    found = workloads()
    assert (found["iu_xray"].train, found["iu_xray"].val, found["iu_xray"].test) == (2069, 296, 590)
    assert (found["mimic_cxr"].train, found["mimic_cxr"].val, found["mimic_cxr"].test) == (222_800, 1_800, 3_300)
