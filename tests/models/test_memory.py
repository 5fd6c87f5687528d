"""The memory seam: one read for every system, its cost, both readings of the paper, and what a new system takes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toy import CONFIG, D_VF, PATCHES, generator

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch, Slots
from rrg_lib.models.memory import CMNConfig, MemoryConfig
from rrg_lib.models.memory.base import plain_read, read_slots
from rrg_lib.models.report_loss import report_loss


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("slot_batch", [1, 3])
@pytest.mark.parametrize("top_k", [1, 4, 11])
def test_the_fast_read_and_its_gradients_equal_the_plain_one(slot_batch, top_k, masked):
    """CMN Eq. 7-10 and 12-13."""
    torch.manual_seed(0)
    query = torch.randn(3, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    keys, values = (torch.randn(slot_batch, 2, 11, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mask = torch.rand(3, 11).argsort(-1) >= 11 - top_k if masked else None  # as many may be asked as are asked for
    fast, plain = (read(query, Slots(keys, values, mask), top_k, scale=0.5) for read in (read_slots, plain_read))
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    weight = torch.randn_like(fast[0])
    gradients = torch.autograd.grad((fast[0] * weight).sum(), (query, keys, values))
    for a, b in zip(gradients, torch.autograd.grad((plain[0] * weight).sum(), (query, keys, values)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_masked_slots_are_never_asked():
    query, keys = torch.randn(2, 2, 5, 4), torch.randn(2, 2, 6, 4)
    mask = torch.tensor([[True] * 3 + [False] * 3, [True] * 6])
    _, weights, indices = read_slots(query, Slots(keys, keys, mask), 3, scale=1.0)
    assert indices[0].max() < 3
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 5))


def test_dropping_the_scale_changes_the_answers():
    """CMN Eq. 7: without 1/sqrt(d_k) the softmax saturates; a memory that forgets it must not pass as equal."""
    torch.manual_seed(0)
    query, keys = torch.randn(1, 1, 5, 64), torch.randn(1, 1, 30, 64)
    right, sharp = (read_slots(query, Slots(keys, keys), 8, scale=s)[1] for s in (1 / math.sqrt(64), 1.0))
    assert sharp[..., 0].mean() > right[..., 0].mean() + 0.3


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor any operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_no_tensor_over_scores_times_width_is_ever_made():
    """Forwards and backwards, nothing larger than the (B, h, L, N) scores exists; the released code makes (B, h, L, N,
    d_k) of them."""
    batch, length, slots, d_model, heads = 4, 20, 64, 64, 4
    config = TransformerConfig(
        vocab_size=CONFIG.vocab_size, d_vf=8, d_model=d_model, d_ff=64, heads=heads, layers=1, max_length=length
    )
    model = ReportGenerator(config, CMNConfig(slots=slots, top_k=16))
    tokens = torch.ones(batch, length + 1, dtype=torch.long)
    with LargestTensor() as largest:
        data = Batch(torch.rand(batch, length, 8), tokens, torch.ones_like(tokens))
        report_loss(model(data).logits, data.tokens, data.mask).backward()
    assert largest.elements <= batch * heads * length * slots


def test_slots_are_projected_once_a_batch_whatever_its_size(monkeypatch):
    model = generator()
    calls = []
    projections = model.memory.projections["shared"]
    monkeypatch.setattr(
        projections,
        "slots",
        lambda content, mask=None: calls.append(content.shape) or type(projections).slots(projections, content, mask),
    )
    tokens = torch.ones(7, 5, dtype=torch.long)
    model(Batch(torch.rand(7, PATCHES, D_VF), tokens, torch.ones_like(tokens)))
    assert calls == [(1, 9, CONFIG.d_model)]  # once for both modalities, never per study
    calls.clear()
    state = model.start(torch.rand(7, PATCHES, D_VF))
    for _ in range(4):
        model.step(torch.ones(7, 1, dtype=torch.long), state)
    assert len(calls) == 1  # and in decoding not once more a step


def test_the_paper_replaces_and_the_release_adds():
    """CMN Eq. 14-15 against the released code."""
    added, replaced = (generator(CMNConfig(slots=9, top_k=3, fusion=f)).eval().memory for f in ("add", "replace"))
    x = torch.rand(2, PATCHES, CONFIG.d_model)
    response = added.respond(x, added.slots(None, "image"))
    torch.testing.assert_close(added.fuse(x, response, "image"), x + response.vectors)
    torch.testing.assert_close(replaced.fuse(x, response, "image"), response.vectors)


def test_base_mem_has_a_memory_for_each_modality_and_cmn_one():
    """CMN section 4.1: MEM's gradient from text never reaches the image memory; CMN's single matrix gets both."""
    for shared, expected in ((True, {"shared"}), (False, {"image", "text"})):
        memory = generator(CMNConfig(slots=9, top_k=3, shared=shared)).memory
        assert set(memory.matrices) == expected
        x = torch.rand(2, 3, CONFIG.d_model)
        memory.respond(x, memory.slots(None, "text")).vectors.sum().backward()
        touched = {name for name, p in memory.matrices.items() if p.grad is not None}
        assert touched == expected - {"image"}


def test_at_the_start_the_memory_is_one_learned_constant():
    """As released: N(0, (1/d)^2) makes every slot's score alike, so the response hardly depends on who asks."""
    torch.manual_seed(0)
    memory = CMNConfig().build(512, 8).eval()
    response = memory.respond(torch.randn(1, 50, 512), memory.slots(None, "image"))
    cosine = torch.nn.functional.cosine_similarity(response.vectors[0, :1], response.vectors[0, 1:])
    assert cosine.min() > 0.999
    assert response.weights.max() < 1.01 / 32


def test_published_sizes_have_the_published_number_of_parameters():
    """paper_vs_code: 16,553,209 parameters at the IU vocabulary, of which the matrix 1,048,576 and its linears
    1,050,624."""
    cmn = ReportGenerator(TransformerConfig(), CMNConfig())
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(cmn) == 16_553_209
    assert cmn.memory.matrices["shared"].numel() == 1_048_576
    assert count(cmn.memory.projections) == 1_050_624


@pytest.mark.parametrize("top_k", [0, 10])
def test_asking_for_more_slots_than_there_are_is_refused(top_k):
    with pytest.raises(ConfigurationError, match=f"memory.top_k is {top_k}: .*for example memory.top_k="):
        generator(CMNConfig(slots=9, top_k=top_k))


def test_an_unknown_memory_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="cmn"):
        MemoryConfig.from_json({"kind": "cnm"})


def test_settings_survive_json():
    config = CMNConfig(slots=7, top_k=2, fusion="replace")
    assert MemoryConfig.from_json(config.to_json()) == config
