"""What a training costs before it is run: operations, memory and hours, counted on tensors that have a shape and no
numbers.

The generator of an experiment is built on the `meta` device with its visual extractor, one training step runs forward
and backward on a batch of shapes, and everything that happens is counted: floating-point operations
(`torch.utils.flop_counter`: a multiplication and an addition are two), launched operations, and the bytes that are kept
for the backward pass. Nothing is allocated and nothing is computed, so a system for a large GPU is counted in seconds
on a laptop. Hours are then arithmetic: operations over what a GPU does at an efficiency that is *stated*, not measured.

A frozen extractor looks once at each study and is not part of a step, as in training
(`rrg_lib.models.visual.feature_cache`).

What is not counted: reading and augmenting images, scoring, a library's working memory, fragmentation, and the
operations that the counter does not know (element by element ones, norms, softmax, the memory's weighted sums): a few
per cent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rrg_lib.data.study import OBSERVATIONS, SPLITS
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.experiments.presets import Experiment, experiment
from rrg_lib.experiments.reports import DECODE_BATCH
from rrg_lib.models.interface import Batch, Captioner
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.runtime.package_data import table

#: How many numbers Adam with amsgrad keeps for each weight it learns.
ADAM_AMSGRAD, ADAM = 3, 2
HOUR = 3600.0


# --- what is trained on, and where ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """Studies of each split, views a study, words of the vocabulary, the longest report, and `overrides` of a preset
    that its release has for this data."""

    dataset: str
    train: int
    val: int
    test: int
    views: int
    vocabulary: int
    max_length: int
    overrides: tuple[str, ...]
    source: str


def workloads() -> dict[str, Workload]:
    """The two data sets of the papers. IU X-Ray is the shipped split; MIMIC-CXR cannot be counted here, so its sizes
    are those that CMN's Table 1 prints."""
    split = [row["split"] for row in table("iu_xray_split")]
    rows = [
        row
        for row in table("published")
        if (row["where"], row["dataset"], row["metric"]) == ("Table 1", "mimic_cxr", "reports")
    ]
    printed = {row["system"]: int(float(row["value"])) for row in rows}
    return {
        "iu_xray": Workload(
            "iu_xray",
            *(split.count(name) for name in SPLITS),
            2,
            760,
            60,
            (),
            "the released split; settings as released",
        ),
        # epochs, words a report and the threshold behind the 4,253 words are the released script's for MIMIC-CXR
        "mimic_cxr": Workload(
            "mimic_cxr",
            *(printed[name] for name in SPLITS),
            1,
            4253,
            100,
            ("training.epochs=30",),
            "CMN, Table 1; one view, as released",
        ),
    }


@dataclass(frozen=True)
class GPU:
    """A data sheet: dense peak in 10^12 operations a second for float32 (without and with TF32) and bfloat16 or
    float16, and memory in GiB."""

    name: str
    float32: float
    tf32: float
    half: float
    memory: float

    def peak(self, precision: str) -> float:
        """Operations a second. Raises `UnknownNameError`."""
        known = {"float32": self.float32, "tf32": self.tf32, "half": self.half}
        if precision not in known:
            raise UnknownNameError("precision", precision, known)
        return 1e12 * known[precision]


#: NVIDIA's data sheets, dense (without sparsity). The T4 has no TF32 and counts its float32 there.
GPUS = {
    gpu.name: gpu
    for gpu in (
        GPU("T4, 16 GB", 8.1, 8.1, 65.0, 16e9 / 2**30),
        GPU("RTX 3090, 24 GB", 35.6, 35.6, 71.0, 24.0),
        GPU("A100, 40 GB", 19.5, 156.0, 312.0, 40.0),
        GPU("H100 SXM, 80 GB", 66.9, 494.7, 989.4, 80.0),
    )
}
#: Share of the peak that is reached: stated, not measured. A plain Transformer reached 0.39 of a processor's; small
#: batches on a GPU reach less.
EFFICIENCY = 0.3
#: Seconds from one launched operation to the next when Python drives a GPU: what bounds decoding, whose operations are
#: tiny. Stated too.
LAUNCH = 10e-6


# --- counting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Floating-point operations and launched operations (views and shapes are free)."""

    flops: float = 0.0
    launches: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.launches + other.launches)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.flops * times, self.launches * times)

    def hours(
        self, gpu: GPU, *, precision: str = "float32", efficiency: float = EFFICIENCY, launch: float = LAUNCH
    ) -> float:
        """The arithmetic at `efficiency` of the peak or the launches, whichever is longer. Raises `ConfigurationError`
        for an efficiency outside (0, 1]."""
        if not 0 < efficiency <= 1:
            raise ConfigurationError(
                f"efficiency is {efficiency}: it is the share of the peak that is reached, above 0 and at most 1"
            )
        return max(self.flops / (efficiency * gpu.peak(precision)), self.launches * launch) / HOUR


@dataclass(frozen=True)
class StepCost:
    """A training step: its forward and its whole cost, and bytes in single precision: `weights`, what the optimiser
    adds to the learnt ones (gradients and moments), and `activations`, kept from forward to backward."""

    batch: int
    forward: Cost
    step: Cost
    weights: int
    gradients: int
    moments: int
    activations: int

    @property
    def memory(self) -> int:
        """Bytes at the peak, as far as they can be counted: everything above at once."""
        return self.weights + self.gradients + self.moments + self.activations


#: torch's formulas, and one that it lacks: the memory's gradient adds products in place.
FORMULAS = {**flop_registry, torch.ops.aten.baddbmm_: flop_registry[torch.ops.aten.baddbmm]}


class _Counter(TorchDispatchMode):
    """Counts what happens inside the block. Operations by the formulas of `torch.utils.flop_counter`, without its
    bookkeeping of modules, which takes most of its time; launches are operations that make a tensor of their own: a
    view shares its storage with what it is of."""

    def __init__(self):
        super().__init__()
        self.flops = self.launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        formula = FORMULAS.get(func.overloadpacket)
        self.flops += formula(*args, **(kwargs or {}), out_val=result) if formula else 0
        self.launches += not func.is_view and torch.Tag.inplace_view not in func.tags
        return result

    @property
    def cost(self) -> Cost:
        return Cost(self.flops, self.launches)


def build(experiment: Experiment, vocabulary: int) -> tuple[Captioner, VisualExtractor]:
    """The generator of an experiment and its extractor on the `meta` device, shapes without numbers; the extractor is
    the generator's own if it learns."""
    with torch.device("meta"):
        extractor = VisualExtractor(experiment.extractor.name, frozen=experiment.extractor.frozen)
        config = replace(experiment.generator, vocab_size=vocabulary, d_vf=extractor.dim)
        learning = None if extractor.frozen else extractor
        return config.build(learning, memory=experiment.memory, pair=experiment.pair), extractor


def shapes(experiment: Experiment, extractor: VisualExtractor, *, batch: int, views: int, length: int) -> Batch:
    """A batch of nothing but shapes: pictures at the extractor's size, or the patches of one that is frozen; reports of
    `length` ids and the final 0."""
    size, tokens = extractor.transform.size, torch.ones(batch, length + 1, dtype=torch.long, device="meta")
    if extractor.frozen:
        inputs = torch.zeros(batch, views * extractor.patches_per_view, extractor.dim, device="meta")
    else:
        inputs = torch.zeros(batch, views, size, size, dtype=torch.uint8, device="meta")
    labels = (
        torch.ones(batch, len(OBSERVATIONS), device="meta")
        if experiment.memory is not None and experiment.memory.gated
        else None
    )
    return Batch(inputs, tokens, tokens.float(), labels)


@torch.no_grad()
def extraction(experiment: Experiment, *, views: int = 2, batch: int = DECODE_BATCH) -> Cost:
    """What the extractor needs to look at `batch` studies once."""
    with torch.device("meta"):
        extractor = VisualExtractor(experiment.extractor.name)
        pictures = torch.zeros(batch, views, extractor.transform.size, extractor.transform.size, dtype=torch.uint8)
    with _Counter() as counter:
        extractor(pictures)
    return counter.cost


def training_step(
    experiment: Experiment, *, vocabulary: int, views: int = 2, batch: int | None = None, length: int | None = None
) -> StepCost:
    """One step of an experiment's training, by default its own batch size with every report as long as it may be: an
    upper bound, reports are padded to the longest of their batch."""
    generator, extractor = build(experiment, vocabulary)
    batch = batch or experiment.training.batch_size
    given = shapes(experiment, extractor, batch=batch, views=views, length=length or experiment.generator.max_length)
    return step_cost(generator.train(), given, moments=ADAM_AMSGRAD if experiment.training.amsgrad else ADAM)


def step_cost(generator: nn.Module, batch: Batch, *, moments: int = ADAM_AMSGRAD) -> StepCost:
    """Counts a step of any generator, on the device it is on."""
    counter, kept = _Counter(), _Kept(generator)
    with counter:
        with kept:
            output = generator(batch)
            loss = report_loss(output.logits, batch.tokens, batch.mask) + sum(output.losses.values())
        forward = counter.cost
        loss.backward()
    whole = counter.cost
    weights = sum(p.numel() * p.element_size() for p in generator.parameters())
    learnt = sum(p.numel() * p.element_size() for p in generator.parameters() if p.requires_grad)
    return StepCost(len(batch.tokens), forward, whole, weights, learnt, moments * learnt, kept.bytes)


class _Kept(saved_tensors_hooks):
    """Bytes of the tensors that autograd keeps inside the block, each storage once; weights and buffers, which exist
    anyway, left out."""

    def __init__(self, module: nn.Module):
        self.storages = {t.untyped_storage()._cdata: 0 for t in (*module.parameters(), *module.buffers())}
        self.alive: list[Tensor] = []  # a storage that died could lend its address to another
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.storages:
            self.storages[storage._cdata] = storage.nbytes()
            self.alive.append(tensor.detach())
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self.storages.values())


@torch.no_grad()
def decoding(experiment: Experiment, *, vocabulary: int, views: int = 2, batch: int = DECODE_BATCH) -> Cost:
    """Writing the reports of `batch` studies by the experiment's search, their images included unless the extractor is
    frozen, every report as long as it may be: an upper bound, ours stops as soon as all have ended. Three steps are
    counted: from the second on each costs what the one before did, and the same bit more."""
    generator, extractor = build(experiment, vocabulary)
    generator.eval()
    search = experiment.decoding
    given = shapes(experiment, extractor, batch=batch, views=views, length=search.max_length)
    with _Counter() as counter:
        state = generator.start(given.inputs, given.labels, max_length=search.max_length)
    total, steps = counter.cost, []
    for width in (1, search.beam_size, search.beam_size)[
        : search.max_length
    ]:  # the first step has one empty hypothesis a study
        with _Counter() as counter:
            logits, state = generator.step(torch.ones(batch, width, dtype=torch.long, device="meta"), state)
            logits.float().log_softmax(-1).flatten(1).topk(search.beam_size, dim=-1)
            if search.beam_size > 1:
                state.reorder(torch.zeros(batch, search.beam_size, dtype=torch.long, device="meta"))
        steps.append(counter.cost)
    left = search.max_length - len(steps)
    more = steps[-1] + steps[-2] * -1 if len(steps) == 3 else Cost()
    return sum(steps, total) + steps[-1] * left + more * (left * (left + 1) / 2)


@dataclass(frozen=True)
class Budget:
    """An experiment on a workload: one step; over all epochs, though a run may stop earlier, the training (with a
    frozen extractor's one look at every study) and the validation (loss and reports); the test reports once."""

    experiment: Experiment
    on: Workload
    step: StepCost
    steps: int
    training: Cost
    validation: Cost
    test: Cost

    def hours(self, gpu: GPU, **options: Any) -> float:
        """Sum of the three parts, each bounded by its arithmetic or its launches (`Cost.hours`)."""
        return sum(part.hours(gpu, **options) for part in (self.training, self.validation, self.test))


def budget(preset: str, on: Workload, *, profile: str = "gpu", overrides: Iterable[str] = ()) -> Budget:
    """The budget of `preset` on a workload, in a profile. Raises as `experiment` does."""
    sizes = (f"generator.max_length={on.max_length}", f"decoding.max_length={on.max_length}")
    settings = experiment(f"{on.dataset}/{preset}", profile, [*on.overrides, *sizes, *overrides])
    step = training_step(settings, vocabulary=on.vocabulary, views=on.views)
    writing = decoding(settings, vocabulary=on.vocabulary, views=on.views)
    epochs, steps = settings.training.epochs, settings.training.epochs * ceil(on.train / step.batch)
    training = step.step * steps
    if settings.extractor.frozen:
        training += extraction(settings, views=on.views) * ((on.train + on.val + on.test) / DECODE_BATCH)
    validation = (step.forward * (on.val / step.batch) + writing * (on.val / DECODE_BATCH)) * epochs
    return Budget(settings, on, step, steps, training, validation, writing * (on.test / DECODE_BATCH))
