"""The training loop: it learns, it resumes exactly, it keeps the best epoch, it refuses what does not belong
together."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy import CONFIG, ToyDataset, generator, trainer

from rrg_lib.errors import CheckpointError, ConfigurationError, StorageError
from rrg_lib.models.batches import EpochOrder, StudyBatches
from rrg_lib.models.decoding import DecodingConfig, generate
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.runtime.checkpoint import load_into, load_tensors
from rrg_lib.training import Monitor, Trainer, TrainingConfig, build_optimizer, usable_monitor

TOY = Path(__file__).with_name("toy.py")


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    tensors, _ = load_tensors(folder / f"{name}.safetensors")
    return tensors


def assert_identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


def test_training_learns_to_say_what_the_patches_show(tmp_path):
    run = trainer(tmp_path, epochs=36, lr=1e-2, save_every=1000)
    result = run.fit()
    assert result.history[-1]["validation_loss"] < 0.2 < result.history[0]["validation_loss"]
    batch = ToyDataset().batches().collate(list(range(40)))
    said = generate(run.plain, batch.inputs, config=DecodingConfig(beam_size=1, max_length=4)).tokens
    assert (said == batch.tokens[:, 1:]).float().mean() > 0.9


def test_the_released_decay_wears_a_memory_down_and_its_own_decay_of_zero_does_not(tmp_path):
    def query_size(name, **settings):
        run = trainer(tmp_path / name, epochs=20, save_every=1000, **settings)
        before = run.plain.memory.projections["shared"].query.weight.square().mean().sqrt().item()
        run.fit()
        return run.plain.memory.projections["shared"].query.weight.square().mean().sqrt().item() / before

    assert query_size("as released") < 0.7
    assert query_size("kept awake", weight_decay_memory=0.0) > 1.0


def test_clip_value_limits_every_number_of_the_gradient(tmp_path):
    limit = 2**-10
    for clip_value in (None, limit):
        training, seen = trainer(tmp_path / str(clip_value), epochs=1, clip_value=clip_value), []
        step = training.optimizer.optimizer.step

        def watched(training=training, seen=seen, step=step):
            gradients = [p.grad.abs().max() for p in training.plain.parameters() if p.grad is not None]
            seen.append(max(gradients).item())
            step()

        training.optimizer.optimizer.step = watched
        training.fit()
        assert max(seen) == limit if clip_value else max(seen) > 2 * limit


def test_the_memorys_decay_is_the_memorys_alone():
    made = generator()
    for config, expected in ((TrainingConfig(), {5e-5}), (TrainingConfig(weight_decay_memory=0.0), {0.0})):
        decays = {
            id(p): group["weight_decay"]
            for group in build_optimizer(made, config).param_groups
            for p in group["params"]
        }
        assert len(decays) == len(list(made.parameters()))
        assert {decays[id(p)] for p in made.memory.parameters()} == expected
        assert {decays[id(p)] for name, p in made.named_parameters() if not name.startswith("memory.")} == {5e-5}


@pytest.mark.parametrize("attempt", range(2))
def test_killed_at_a_random_step_and_resumed_gives_bit_identical_weights(tmp_path, attempt):
    trainer(tmp_path / "whole", epochs=4).fit()
    step = random.randrange(3, 18)
    process = subprocess.Popen([sys.executable, TOY, tmp_path / "killed"], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.split() == ["step", str(step)]:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert (
        not (tmp_path / "killed" / "history.json").exists()
        or len(json.loads((tmp_path / "killed" / "history.json").read_text())) < 4
    )
    trainer(tmp_path / "killed", epochs=4).fit()
    assert_identical(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert_identical(weights(tmp_path / "whole", "best"), weights(tmp_path / "killed", "best"))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer(tmp_path / name, seed=seed, epochs=1).fit()
    assert_identical(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert any(not torch.equal(x, weights(tmp_path / "c")[name]) for name, x in weights(tmp_path / "a").items())


def test_the_best_epoch_by_the_monitor_is_kept_and_later_ties_win(tmp_path):
    scores = iter([0.1, 0.5, 0.5, 0.2])
    run = trainer(tmp_path, score=lambda _: {"quality": next(scores)}, epochs=4, monitor={"quality": 1.0})
    result = run.fit()
    assert (result.best_epoch, result.best_score) == (2, 0.5)
    assert load_tensors(result.checkpoint)[1]["progress"]["epoch"] == 3


def test_early_stopping_waits_for_patience(tmp_path):
    scores = iter([0.5, *[0.1] * 20])
    run = trainer(tmp_path, score=lambda _: {"quality": next(scores)}, epochs=20, monitor={"quality": 1.0}, patience=2)
    assert len(run.fit().history) == 4  # the best epoch, two of patience, the one that ends it


def test_validation_loss_is_a_mean_over_words_whatever_the_batches(tmp_path):
    run = trainer(tmp_path)
    whole = run.validation_loss()
    run.validation_batches = ToyDataset().batches().loader(7)
    assert run.validation_loss() == pytest.approx(whole, abs=1e-6)


def test_a_checkpoint_of_another_preset_is_refused(tmp_path):
    trainer(tmp_path, epochs=1).fit()
    other = trainer(tmp_path, epochs=2)
    other.identity = {"preset": "toy/base"}
    with pytest.raises(CheckpointError, match=r"another preset.*'toy/cmn'.*'toy/base'"):
        other.fit()


def test_a_damaged_checkpoint_is_named(tmp_path):
    trainer(tmp_path, epochs=1).fit()
    path = tmp_path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"last\.safetensors is not a readable"):
        trainer(tmp_path).fit()


def test_a_checkpoint_of_another_size_names_the_parameter(tmp_path):
    trainer(tmp_path, epochs=1).fit()
    tensors = {name.removeprefix("model."): t for name, t in weights(tmp_path, "best").items()}
    with pytest.raises(CheckpointError, match=r"memory\.matrices\.shared"):
        load_into(ReportGenerator(CONFIG), tensors, tmp_path / "best.safetensors")


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(tmp_path, monkeypatch):
    run = trainer(tmp_path, epochs=1)
    run.fit()
    before = (tmp_path / "last.safetensors").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rrg_lib.runtime.checkpoint.save_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        run._save("last")
    assert (tmp_path / "last.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.safetensors", "history.json", "last.safetensors"]


def test_an_unknown_monitor_lists_the_scores(tmp_path):
    with pytest.raises(ConfigurationError, match=r"'BLEU-9'.*validation_loss"):
        trainer(tmp_path, monitor={"BLEU-9": 1.0}, epochs=1).fit()


class Scores:
    """What a score function may say of itself before the first step."""

    def __init__(self, names=("quality",), missing=(), value=0.5):
        self.names, self.missing, self.value, self.calls = names, dict(missing), value, 0

    def __call__(self, generator) -> dict[str, float]:
        self.calls += 1
        return {name: self.value for name in self.names}


def test_an_unknown_monitor_is_refused_before_the_first_step(tmp_path):
    for score, known in ((None, "train_loss, validation_loss"), (Scores(), "quality, train_loss, validation_loss")):
        with pytest.raises(ConfigurationError, match=f"'BLEU-9', which is not among the validation scores: {known}"):
            trainer(tmp_path, score=score, monitor={"BLEU-9": 1.0})


def test_what_cannot_be_computed_is_left_out_of_the_monitor_and_said(tmp_path):
    missing = {"finding-F1": "2 validation studies, none of them has an expert code"}
    run = trainer(tmp_path, score=Scores(missing=missing), epochs=1, monitor={"quality": 1.0, "finding-F1": 1.0})
    assert run.monitor.weights == {"quality": 1.0}
    assert (
        run.monitor.reason
        == f"finding-F1 cannot be computed ({missing['finding-F1']}): the epoch is chosen by quality alone"
    )
    result = run.fit()
    assert (result.best_score, result.monitor) == (0.5, run.monitor)
    assert load_tensors(result.checkpoint)[1]["progress"]["monitor"] == {"quality": 1.0}


def test_where_nothing_of_the_monitor_is_left_the_validation_loss_decides(tmp_path):
    run = trainer(tmp_path, score=Scores(missing={"finding-F1": "no codes"}), epochs=3, monitor={"finding-F1": 1.0})
    result = run.fit()
    losses = [row["validation_loss"] for row in result.history]
    assert run.monitor.weights == {"validation_loss": -1.0} and result.best_score == -min(losses)
    assert usable_monitor({"quality": 1.0}, ("quality",), {"finding-F1": "no codes"}) == Monitor({"quality": 1.0})


@pytest.mark.parametrize(
    ("monitor", "advice"),
    [({"quality": 1.0}, "leave it out of training.monitor"), ({"validation_loss": -1.0}, "a lower training.lr")],
)
def test_a_monitor_that_is_no_number_is_an_error_before_training_goes_on(tmp_path, monitor, advice):
    """NaN >= best is never true: such a run went on to its end, and kept nothing."""
    score = Scores(value=float("nan"))
    run = trainer(tmp_path, score=score, epochs=3, monitor=monitor)
    run.validation_loss = lambda: float("nan")
    with pytest.raises(ConfigurationError, match=f"{next(iter(monitor))} is not a number in epoch 1.*{advice}"):
        run.fit()
    assert score.calls == 1 and not (tmp_path / "best.safetensors").exists()


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_last_sound_state(tmp_path):
    run = trainer(tmp_path, epochs=3)
    step = run._train_step

    def poisoned(batch):
        if run.step == 7:  # the second epoch; what is kept is of its sixth step
            with torch.no_grad():
                next(run.plain.parameters()).fill_(float("nan"))
        return step(batch)

    run._train_step = poisoned
    with pytest.raises(ConfigurationError, match=r"the loss is nan in step 8, epoch 2.*last sound step.*training\.lr"):
        run.fit()
    kept, meta = load_tensors(tmp_path / "last.safetensors")
    assert meta["progress"]["step"] == 6
    assert all(torch.isfinite(tensor).all() for tensor in kept.values() if tensor.is_floating_point())
    assert len(trainer(tmp_path, epochs=3).fit().history) == 3  # and goes on from there


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    """A step with a sound loss may have a gradient that is not: the next loss would tell, and might come too late."""
    run = trainer(tmp_path, epochs=1)
    run.fit()
    before = (tmp_path / "last.safetensors").read_bytes()
    with torch.no_grad():
        next(run.plain.parameters())[0] = float("inf")
    for name in ("last", "best"):
        with pytest.raises(ConfigurationError, match="a weight is not finite"):
            run._save(name, full=name == "last")
    assert (tmp_path / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_split_without_studies_is_named_before_the_first_step(tmp_path, split):
    data = ToyDataset().batches()
    loaders = {name: data.loader(8, shuffle=name == "training") for name in ("training", "validation")}
    loaders[split] = StudyBatches(data.dataset, [], data.inputs).loader(8)
    with pytest.raises(ConfigurationError, match=f"there is no {split} study"):
        Trainer(
            generator(), *loaders.values(), TrainingConfig(batch_size=8, monitor={"validation_loss": -1.0}), tmp_path
        )


def test_after_its_warm_up_the_inverse_root_falls_as_one_over_the_root_of_the_step():
    """Vaswani et al. (2017), section 5.3, whose rate is d^-½ min(step^-½, step warmup^-1.5)."""
    config = TrainingConfig(schedule="inverse_root", warmup_steps=4_000, lr=(512 * 4_000) ** -0.5)
    for step in (1, 2_000, 4_000, 4_001, 16_000):
        printed = 512**-0.5 * min(step**-0.5, step * 4_000**-1.5)
        assert config.lr * config.lr_factor(step - 1, 100) == pytest.approx(printed, rel=1e-12)
    assert TrainingConfig(schedule="inverse_root").lr_factor(3, 100) == 0.5


def test_released_schedule_multiplies_by_08_every_ten_epochs():
    config = TrainingConfig()
    assert [round(config.lr_factor(epoch * 130, 130), 4) for epoch in (0, 9, 10, 20)] == [1.0, 1.0, 0.8, 0.64]


def test_every_study_once_an_epoch_in_another_order_each_time():
    order = EpochOrder(23, 5, seed=1)
    first = list(order)
    order.begin(1)
    second = list(order)
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(23))
    assert first != second
    order.begin(0, skip=3)
    assert list(order) == first[3:]
