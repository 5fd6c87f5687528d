"""Which device work is done on, and what is said when it is not there or too small. What needs a GPU is in
test_gpu.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from toy import ToyDataset, generator, trainer

from rrg_lib.errors import ConfigurationError, OutOfMemoryError, UnknownNameError
from rrg_lib.models.batches import EpochOrder
from rrg_lib.models.report_loss import report_loss
from rrg_lib.runtime.device import device_name, memory_advice, on_device, this_device
from rrg_lib.training import TrainingConfig


def test_a_device_that_is_not_there_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert this_device() == torch.device("cpu")
    assert device_name() == "cpu"
    monkeypatch.setenv("RRG_DEVICE", "cuda")
    with pytest.raises(ConfigurationError, match=r"RRG_DEVICE asks for cuda, and PyTorch .*set RRG_DEVICE=cpu"):
        this_device()
    monkeypatch.setenv("RRG_DEVICE", "gpu")
    with pytest.raises(ConfigurationError, match="RRG_DEVICE is 'gpu': it can be cpu or cuda"):
        this_device()


def test_the_gpu_is_used_where_there_is_one_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert this_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert this_device() == torch.device("cuda", 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        ConfigurationError,
        match=r"process 4 of this machine has no GPU of its own: 1 is there\. Start at most 1 .*or set RRG_DEVICE=cpu",
    ):
        this_device()
    monkeypatch.setenv("RRG_DEVICE", "cpu")
    assert this_device() == torch.device("cpu")


def test_a_module_comes_back_from_where_it_worked(monkeypatch):
    """`meta` stands for a GPU: weights that lie elsewhere."""
    monkeypatch.setattr("rrg_lib.runtime.device.this_device", lambda: torch.device("cpu"))
    module = torch.nn.Linear(2, 2)
    with torch.inference_mode(), on_device(module) as device:
        assert device.type == module.weight.device.type == "cpu"
    module(torch.ones(1, 2)).sum().backward()  # weights moved in inference mode could not learn
    assert module.weight.grad is not None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 TB"),
    ],
)
def test_out_of_memory_names_the_knobs(error):
    with (
        pytest.raises(OutOfMemoryError, match="out of memory: a smaller batch needs less"),
        memory_advice("a smaller batch needs less"),
    ):
        raise error


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes"), memory_advice("a smaller batch needs less"):
        raise RuntimeError("shapes do not agree")


def test_a_training_that_does_not_fit_says_which_settings_need_less(tmp_path, monkeypatch):
    run = trainer(tmp_path)

    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run, "_train_step", full)
    with pytest.raises(OutOfMemoryError, match=r"training\.batch_size .* training\.checkpoint=true"):
        run.fit()


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_precisions_of_a_gpu_are_refused_on_a_processor(precision, tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_DEVICE", "cpu")
    with pytest.raises(ConfigurationError, match=f"mixed_precision={precision} needs a GPU"):
        trainer(tmp_path, mixed_precision=precision)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(
        UnknownNameError, match=r"unknown training\.mixed_precision 'half'; known: bf16, fp16, no, tf32"
    ):
        TrainingConfig(mixed_precision="half")
    with pytest.raises(ConfigurationError, match="workers is -1"):
        TrainingConfig(workers=-1)


def test_one_process_trains_in_one_precision_and_then_in_another(tmp_path):
    plain = trainer(tmp_path / "a", epochs=2).fit().history
    mixed = trainer(tmp_path / "b", epochs=2, mixed_precision="bf16").fit().history
    assert plain[-1]["validation_loss"] != mixed[-1]["validation_loss"]
    assert plain[-1]["validation_loss"] == pytest.approx(mixed[-1]["validation_loss"], rel=0.05)


def test_numbers_of_sixteen_bits_are_scaled_before_and_after_a_step_and_clipped_in_between(tmp_path, monkeypatch):
    """fp16 wants a GPU for its speed alone: told that there is one, a processor computes the same steps."""
    clipped = {"epochs": 3, "clip_norm": 0.5, "accumulate": 2}
    whole = trainer(tmp_path / "a", **clipped).fit().history
    monkeypatch.setattr("rrg_lib.training.this_device", lambda: SimpleNamespace(type="cuda"))
    run = trainer(tmp_path / "b", **clipped, mixed_precision="fp16")
    half = run.fit().history
    assert run.scaler.get_scale() == 2**16  # no step was left out
    for name in ("train_loss", "validation_loss"):
        assert half[-1][name] != whole[-1][name]
        assert half[-1][name] == pytest.approx(whole[-1][name], rel=0.01)


def test_reading_ahead_changes_no_bit(tmp_path):
    plain, ahead = (trainer(tmp_path / str(n), epochs=2, workers=n).fit().history for n in (0, 1))
    for a, b in zip(plain, ahead, strict=True):
        assert a["train_loss"] == b["train_loss"]
        assert a["validation_loss"] == b["validation_loss"]


def test_checkpointed_layers_keep_less_and_give_the_same_gradients_with_the_same_dropout():
    batch = next(iter(ToyDataset().batches().loader(16)))
    found = []
    for checkpointed in (False, True):
        model = generator().train()
        model.encoder.checkpointed = model.decoder.checkpointed = checkpointed
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            torch.manual_seed(5)
            loss = report_loss(model(batch).logits, batch.tokens, batch.mask)
        loss.backward()
        found.append(
            (loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, sum(kept))
        )
    (loss, gradients, kept), (loss_again, gradients_again, kept_less) = found
    assert loss == loss_again
    assert kept_less < 0.7 * kept
    for name, own in gradients.items():
        torch.testing.assert_close(gradients_again[name], own, atol=1e-7, rtol=1e-6)


def test_the_trainer_turns_checkpointing_on(tmp_path):
    assert trainer(tmp_path / "a", checkpoint=True).plain.decoder.checkpointed
    assert not trainer(tmp_path / "b").plain.decoder.checkpointed


def lengths_of(order: EpochOrder, lengths) -> list[list[int]]:
    return [[lengths[i] for i in batch] for batch in order]


def test_bucketed_batches_hold_every_study_once_and_less_padding():
    lengths = [5 + (i * 37) % 50 for i in range(203)]
    plain, bucketed = EpochOrder(203, 8, 1), EpochOrder(203, 8, 1, lengths=lengths)
    padding = [sum(max(b) * len(b) - sum(b) for b in lengths_of(order, lengths)) for order in (plain, bucketed)]
    assert padding[1] < 0.2 * padding[0]
    assert sorted(i for batch in bucketed for i in batch) == list(range(203))
    assert len(list(bucketed)) == len(bucketed) == 26
    assert [max(b) for b in lengths_of(bucketed, lengths)] != sorted(
        max(b) for b in lengths_of(bucketed, lengths)
    )  # not the short ones first


def test_bucketed_order_depends_on_seed_and_epoch_and_can_be_gone_on_with():
    lengths = [5 + (i * 37) % 50 for i in range(60)]
    order = EpochOrder(60, 8, 1, lengths=lengths)
    first = list(order)
    assert first == list(EpochOrder(60, 8, 1, lengths=lengths))
    order.begin(0, skip=3)
    assert list(order) == first[3:]
    order.begin(1)
    assert list(order) != first


def test_compiling_what_cannot_be_compiled_is_a_clear_error(tmp_path, monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    run = trainer(tmp_path)

    def broken(batch):
        raise BackendCompilerFailed(lambda: None, RuntimeError("No working C++ compiler found"), None)

    monkeypatch.setattr(run, "_train_step", broken)
    with pytest.raises(ConfigurationError, match=r"training\.compile .*No working C\+\+ compiler"):
        run.fit()


def test_under_bf16_the_loss_is_in_single_precision():
    """16 bits cannot hold a sum over thousands of words."""
    batch, model = next(iter(ToyDataset().batches().loader(16))), generator().eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch).logits
        loss = report_loss(logits, batch.tokens, batch.mask)
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, report_loss(logits.float(), batch.tokens, batch.mask), atol=1e-6, rtol=0)
