"""One training loop, on `accelerate`, for every system. It is handed a score function and knows no metric."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.interface import Batch, Captioner
from rrg_lib.models.report_loss import summed_report_loss
from rrg_lib.runtime.checkpoint import (
    check_same,
    load_into,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    save_tensors,
)
from rrg_lib.runtime.device import memory_advice, this_device
from rrg_lib.runtime.distributed import summed, this_process, wait_for_all
from rrg_lib.runtime.settings import Count, NonNegative, SeedNumber, check_settings
from rrg_lib.runtime.workspace import write_json

#: What a precision computes in where torch's autocast says that it does no harm; the others compute in float32.
_AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}

#: generator -> scores of the validation split by name. It may say before the first step what to expect: `names`, the
#: scores that it will give, and `missing`, those that it cannot compute on these studies, with the reason.
ScoreFunction = Callable[[Captioner], dict[str, float]]
#: Adam moves a weight by up to the rate in each step.
LearningRate = Annotated[float, Interval(gt=0, le=1)]
Beta = Annotated[float, Interval(ge=0, lt=1)]
#: What the loop itself knows of an epoch.
_OWN_SCORES = ("train_loss", "validation_loss")


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation. The defaults are the released ones for IU X-Ray: Adam with amsgrad, L2 decay, a step schedule,
    selection by validation BLEU-4.

    `monitor` maps score names to weights; the epoch with the highest weighted sum is kept (ties: the later, as
    released). `validation_loss` is a score too, with a negative weight. What cannot be computed on the validation
    studies at hand is left out of it: see `usable_monitor`. `lr_visual` is used for a fine-tuned extractor only,
    `weight_decay_memory` for what belongs to the memory (None: as for the rest, as released). L2 decay and Adam
    together silence a memory: where hardly any gradient comes, the decay is all the gradient there is, and Adam makes
    full-sized steps of it, until queries and keys are zero and every slot weighs the same (chapter 04 shows it).
    `clip_norm` limits the length of the whole gradient, `clip_value` each of its numbers (R2Gen and the LSTM captioners
    were trained with the latter).

    For speed and room, off in every preset, because they change the last bits or the order of the studies:
    `mixed_precision` ("tf32" and "fp16" need a GPU), `compile` (torch.compile; minutes to begin with, and it wants a
    C++ compiler), `checkpoint` (the layers' activations are computed twice instead of kept), `bucket_by_length`
    (batches of reports about as long). `workers` processes read ahead, which changes nothing.
    """

    epochs: Count = 100
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 16
    lr: LearningRate = 5e-4
    lr_visual: LearningRate = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: Annotated[float, Interval(gt=0, le=1)] = 1e-9
    weight_decay: NonNegative = 5e-5
    weight_decay_memory: NonNegative | None = None
    amsgrad: bool = True
    schedule: Literal["step", "cosine", "constant", "inverse_root"] = "step"
    step_epochs: Count = 10
    step_factor: Annotated[float, Interval(gt=0, le=1)] = 0.8
    warmup_steps: Annotated[int, Ge(0)] = 0
    clip_norm: Annotated[float, Gt(0)] | None = None
    clip_value: Annotated[float, Gt(0)] | None = None
    accumulate: Count = 1
    mixed_precision: Literal["no", "tf32", "fp16", "bf16"] = "no"
    compile: bool = False
    checkpoint: bool = False
    bucket_by_length: bool = False
    workers: Annotated[int, Interval(ge=0, le=256)] = 0
    patience: Annotated[int, Ge(0)] = 50
    monitor: Annotated[dict[str, float], MinLen(1)] = field(default_factory=lambda: {"BLEU-4": 1.0})
    seed: SeedNumber = 7580
    save_every: Count = 200

    def __post_init__(self):
        check_settings(self, "training")
        if not any(self.monitor.values()):
            raise ConfigurationError(
                f"training.monitor is {json.dumps(self.monitor)}: every epoch would be as good as another; expected a "
                f'weight that is not 0, for example training.monitor={{"BLEU-4": 1}}'
            )
        for name in _OWN_SCORES:
            if self.monitor.get(name, 0) > 0:
                raise ConfigurationError(
                    f"training.monitor is {json.dumps(self.monitor)}: the epoch with the highest {name} would be kept; "
                    f'expected a weight below 0, for example training.monitor={{"{name}": -1}}'
                )

    @property
    def reading(self) -> dict[str, Any]:
        """What the loader of the training studies is to know."""
        return {"seed": self.seed, "workers": self.workers, "bucketed": self.bucket_by_length}

    def lr_factor(self, step: int, steps_per_epoch: int) -> float:
        """What the learning rates are multiplied by at optimiser step `step`, counted from 0."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "step":
            return warmup * self.step_factor ** (step // steps_per_epoch // self.step_epochs)
        if self.schedule == "cosine":
            return warmup * 0.5 * (1 + math.cos(math.pi * step / (self.epochs * steps_per_epoch)))
        if self.schedule == "inverse_root":
            return warmup * math.sqrt(min(1.0, max(1, self.warmup_steps) / (step + 1)))
        return warmup


@dataclass(frozen=True)
class Monitor:
    """By which weighted sum the best epoch is chosen, and the `reason` why it is not the one that was asked for (""
    when it is)."""

    weights: dict[str, float]
    reason: str = ""


def usable_monitor(
    asked: Mapping[str, float], names: Sequence[str] | None = None, missing: Mapping[str, str] | None = None
) -> Monitor:
    """The monitor for these validation studies, known before the first step: `names` are the scores that there will be
    beside the losses (None: not known), `missing` those that cannot be computed, with the reason.

    A score that cannot be computed on them (finding-F1 where no study has an expert code) is left out and the rest
    decides; where nothing is left, the lowest validation loss does. Raises `ConfigurationError` for a score that does
    not exist.
    """
    missing = missing or {}
    if names is not None:
        for name in asked:
            if name not in missing and name not in (*_OWN_SCORES, *names):
                raise ConfigurationError(_unknown(name, (*_OWN_SCORES, *names)))
    left_out = [name for name in asked if name in missing]
    if not left_out:
        return Monitor(dict(asked))
    weights = {name: weight for name, weight in asked.items() if name not in missing} or {"validation_loss": -1.0}
    why = "; ".join(f"{name} cannot be computed ({missing[name]})" for name in left_out)
    return Monitor(weights, f"{why}: the epoch is chosen by {' + '.join(weights)} alone")


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"monitor asks for {name!r}, which is not among the validation scores: {', '.join(sorted(known))}"


#: What each split is for.
NEEDED = {"training": "nothing can be learnt without one", "validation": "the best epoch is chosen on them"}

#: What to do when a training does not fit.
LESS_MEMORY = (
    "training.batch_size with as much more training.accumulate, training.checkpoint=true and "
    "training.mixed_precision=bf16 need less, "
    "and rrg_lib.performance.budget counts how much"
)


@dataclass
class TrainingResult:
    """The curve of a run and its best epoch by `monitor`, which says so where it is not the one that was asked for.
    `history` has a row an epoch."""

    history: list[dict[str, float]]
    best_epoch: int
    best_score: float
    checkpoint: Path
    monitor: Monitor


def build_optimizer(generator: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam as released, with a learning rate of its own for a visual extractor that learns, and a decay of its own for
    the memory if one is set."""
    decay = config.weight_decay if config.weight_decay_memory is None else config.weight_decay_memory
    groups = {
        "extractor.": {"params": [], "base_lr": config.lr_visual, "weight_decay": config.weight_decay},
        "memory.": {"params": [], "base_lr": config.lr, "weight_decay": decay},
        "": {"params": [], "base_lr": config.lr, "weight_decay": config.weight_decay},
    }
    for name, parameter in generator.named_parameters():
        if parameter.requires_grad:
            groups[next(prefix for prefix in groups if name.startswith(prefix))]["params"].append(parameter)
    used = [group | {"lr": group["base_lr"]} for group in groups.values() if group["params"]]
    return torch.optim.Adam(
        used, betas=config.betas, eps=config.eps, amsgrad=config.amsgrad, fused=True
    )  # one pass over the weights, not ten


class Trainer:
    """Trains a generator and keeps `last.safetensors` (the full state), `best.safetensors` (the best weights) and
    `history.json` in `folder`.

    Killed at any moment and started again with the same arguments, it goes on from the last checkpoint and ends with
    bit-identical weights: the order of the studies depends on seed and epoch alone, the random numbers of a step
    (dropout) on seed, step and process alone. That is so on a CPU with the same number of threads, which decides the
    order of some sums. `identity` names what the checkpoints belong to (preset, vocabulary, …); one that says otherwise
    raises `CheckpointError`.

    Started by several processes together (`accelerate launch`, `torchrun`), they share every batch: `batch_size` is
    that of all of them, and without dropout the curve is that of one process. The loaders' `StudyBatches` know the
    process' share. Raises `ConfigurationError` for more processes than studies in a batch, a split without studies, and
    a monitor of scores that do not exist; while training, for a loss or weights that are not finite: what was kept
    before stays.
    """

    def __init__(
        self,
        generator: Captioner,
        train: DataLoader,
        validation: DataLoader,
        config: TrainingConfig,
        folder: Path,
        *,
        score: ScoreFunction | None = None,
        identity: dict[str, Any] | None = None,
        progress: bool = True,
    ):
        self.config, self.folder, self.score, self.identity, self.progress = (
            config,
            Path(folder),
            score,
            identity or {},
            progress,
        )
        this_process().check(config.batch_size)
        self.monitor = usable_monitor(
            config.monitor, getattr(score, "names", () if score is None else None), getattr(score, "missing", None)
        )
        for name, loader in (("training", train), ("validation", validation)):
            if not len(loader):
                raise ConfigurationError(f"there is no {name} study, and {NEEDED[name]}. Give some studies that split")
        cpu = this_device().type == "cpu"
        if cpu and config.mixed_precision in ("tf32", "fp16"):
            raise ConfigurationError(
                f"mixed_precision={config.mixed_precision} needs a GPU, and this runs on a CPU; no and bf16 are there"
            )
        from accelerate import Accelerator  # takes a second: a preset holds settings of this module, and trains nothing

        # accelerate has one precision a process, and one process may train several runs: theirs is this class' own.
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="no", gradient_accumulation_steps=config.accumulate)
        self.scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=config.mixed_precision == "fp16")
        self.order, self.train_batches, self.validation_batches = train.batch_sampler, train, validation
        if (
            self.accelerator.num_processes > 1 and self.accelerator.device.type == "cuda"
        ):  # a fine-tuned extractor's, over the whole batch
            generator = nn.SyncBatchNorm.convert_sync_batchnorm(generator)
        generator.recompute_activations(config.checkpoint)
        if config.compile:
            generator.compile(dynamic=True)
        # The loaders are not prepared: they give each process its part of every batch themselves
        # (`StudyBatches.share`).
        self.generator, self.optimizer = self.accelerator.prepare(generator, build_optimizer(generator, config))
        self.epoch, self.step, self.history, self.stale = 0, 0, [], 0
        self.running = [0.0, 0]  # this epoch's summed loss and number of steps
        self.best = (-1, -math.inf)

    @property
    def plain(self) -> Captioner:
        """The generator without what `accelerate` wraps around it."""
        return self.accelerator.unwrap_model(self.generator)

    def fit(self) -> TrainingResult:
        """Train to the end, or go on from where an earlier call was interrupted. Raises `ConfigurationError` for a
        score in `monitor` that is unknown or not a number in some epoch; what was best before stays as it was."""
        if (self.folder / "last.safetensors").exists():
            self._resume()
        tf32 = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.config.mixed_precision == "tf32"
        try:
            with memory_advice(LESS_MEMORY):
                return self._fit()
        except RuntimeError as error:
            if type(error).__name__ != "BackendCompilerFailed":  # importing it takes two seconds
                raise
            why = getattr(error, "inner_exception", error)
            raise ConfigurationError(
                f"training.compile cannot be done here: {why}. Install a C++ compiler (Triton for a GPU), or leave it "
                f"off"
            ) from error
        finally:
            torch.backends.cuda.matmul.allow_tf32 = tf32

    def _fit(self) -> TrainingResult:
        with tqdm(
            total=self.config.epochs, initial=self.epoch, desc="training", unit="epoch", disable=not self.progress
        ) as bar:
            while self.epoch < self.config.epochs and self.stale <= self.config.patience:
                row = self._run_epoch()
                bar.set_postfix(
                    {
                        name: f"{row[name]:.3f}"
                        for name in ("train_loss", "validation_loss", *self.monitor.weights)
                        if name in row
                    }
                )
                bar.update()
        best_epoch, best_score = self.best
        return TrainingResult(self.history, best_epoch, best_score, self.folder / "best.safetensors", self.monitor)

    def _run_epoch(self) -> dict[str, float]:
        started = time.perf_counter()
        in_epoch = self.running[1]
        self.order.begin(self.epoch, skip=in_epoch)
        steps_per_epoch = in_epoch + len(self.order)
        self.generator.train()
        for batch in self.train_batches:
            torch.manual_seed(self.config.seed * 1_000_003 + self.step * 7 + self.accelerator.process_index)
            for group in self.optimizer.param_groups:
                group["lr"] = group["base_lr"] * self.config.lr_factor(self.step, steps_per_epoch)
            loss = self._train_step(batch)
            if not math.isfinite(loss) and not self.scaler.is_enabled():  # fp16 leaves such a step out and goes on
                raise self._diverged(f"the loss is {loss}")
            self.running[0] += loss
            self.running[1] += 1
            self.step += 1
            if self.step % self.config.save_every == 0:
                self._save("last")
        row = {
            "epoch": self.epoch,
            "train_loss": self.running[0] / self.running[1],
            "validation_loss": self.validation_loss(),
        }
        row["lr_factor"] = self.config.lr_factor(self.step - 1, steps_per_epoch)
        if self.score:
            row |= self.score(self.plain)
        row["seconds"] = time.perf_counter() - started
        self._judge(row)
        return row

    def _diverged(self, what: str) -> ConfigurationError:
        last = self.folder / "last.safetensors"
        kept = f"{last} is as it was at the last sound step" if last.exists() else "nothing was kept yet"
        return ConfigurationError(
            f"{what} in step {self.step + 1}, epoch {self.epoch + 1}: the training diverged, and {kept}. Try a lower "
            f"training.lr (it is {self.config.lr:g}), or training.clip_norm=1"
        )

    def _autocast(self) -> torch.autocast:
        lower = _AUTOCAST.get(self.config.mixed_precision)
        return torch.autocast(self.accelerator.device.type, lower, enabled=lower is not None)

    def _train_step(self, batch: Batch) -> float:
        """One step down the whole objective: the report loss and what memory and alignment add to it (XProNet Eq. 20;
        MCSAM, objective)."""
        batch = batch.to(self.accelerator.device)
        with self.accelerator.accumulate(self.generator), self._autocast():
            output = self.generator(batch)
            total, words = summed_report_loss(output.logits, batch.tokens, batch.mask)
            everyones, whole = summed(total), summed(words)
            losses = output.losses.values()
            # Gradients are averaged over the processes, and each has its part of one sum; the other losses are the
            # whole batch's in every process.
            loss = total / whole * self.accelerator.num_processes + sum(losses)
            self.accelerator.backward(self.scaler.scale(loss))
            if self.accelerator.sync_gradients:
                if self.config.clip_norm is not None or self.config.clip_value is not None:
                    self.scaler.unscale_(self.optimizer.optimizer)
                if self.config.clip_norm is not None:
                    self.accelerator.clip_grad_norm_(self.generator.parameters(), self.config.clip_norm)
                if self.config.clip_value is not None:
                    self.accelerator.clip_grad_value_(self.generator.parameters(), self.config.clip_value)
                self.scaler.step(self.optimizer.optimizer)  # left out where a number of fp16 has run over
                self.scaler.update()
            self.optimizer.zero_grad()
        return (everyones / whole + sum(loss.detach() for loss in losses)).item()

    def _judge(self, row: dict[str, float]) -> None:
        """Close an epoch: is it the best so far? Then write everything down."""
        weights = self.monitor.weights
        for name in weights:
            if name not in row:
                raise ConfigurationError(_unknown(name, row))
            if math.isnan(row[name]):
                advice = (
                    "the training diverged: a lower training.lr, or training.clip_norm"
                    if "loss" in name
                    else "leave it out of training.monitor"
                )
                raise ConfigurationError(
                    f"{name} is not a number in epoch {row['epoch'] + 1}, so no epoch can be chosen by it; {advice}"
                )
        self.history.append(row)
        score = sum(weight * row[name] for name, weight in weights.items())
        self.epoch, self.running, self.stale = self.epoch + 1, [0.0, 0], self.stale + 1
        if score >= self.best[1]:
            self.best, self.stale = (row["epoch"], score), 0
            self._save("best", full=False)
        self._save("last")
        if self.accelerator.is_main_process:
            write_json(self.folder / "history.json", self.history)
        wait_for_all()  # nobody reads a checkpoint that is still being written

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean negative log-likelihood a word over the validation split."""
        self.generator.eval()
        sums = torch.zeros(2, device=self.accelerator.device, dtype=torch.float64)
        for batch in self.validation_batches:
            batch = batch.to(self.accelerator.device)
            with self._autocast():
                logits = self.generator(batch).logits
            sums += torch.stack(summed_report_loss(logits, batch.tokens, batch.mask))
        total, words = summed(sums)
        return (total / words).item()

    def _save(self, name: str, *, full: bool = True) -> None:
        if not all(torch.isfinite(weights).all() for weights in self.plain.parameters()):
            raise self._diverged("a weight is not finite")
        if not self.accelerator.is_main_process:
            return
        tensors = {f"model.{key}": tensor for key, tensor in self.plain.state_dict().items()}
        if full:
            tensors |= {f"optimizer.{key}": tensor for key, tensor in optimizer_tensors(self.optimizer).items()}
        progress = {
            "epoch": self.epoch,
            "step": self.step,
            "running": self.running,
            "best": list(self.best),
            "stale": self.stale,
            "history": self.history,
            "monitor": self.monitor.weights,
        }
        save_tensors(self.folder / f"{name}.safetensors", tensors, {**self.identity, "progress": progress})

    def _resume(self) -> None:
        path = self.folder / "last.safetensors"
        tensors, meta = load_tensors(path)
        check_same(path, meta, self.identity)
        load_into(self.plain, {key[6:]: tensor for key, tensor in tensors.items() if key.startswith("model.")}, path)
        load_optimizer(
            self.optimizer, {key[10:]: tensor for key, tensor in tensors.items() if key.startswith("optimizer.")}
        )
        progress = meta["progress"]
        self.epoch, self.step, self.running = progress["epoch"], progress["step"], progress["running"]
        self.best, self.stale, self.history = tuple(progress["best"]), progress["stale"], progress["history"]
