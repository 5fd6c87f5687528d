# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 3, peak_gib: 4}
# ---

# %% [markdown]
# # 8 · From one processor to many GPUs: know the cost before you spend it
#
# **Goals.** Write code that runs on a processor and on a GPU without a change. Take a training step apart. Say *before* a training how much memory
# and how many hours it takes, and check it. Lower the precision and see what that does to words. Make a large batch out of small ones. Kill a
# training and go on. Run two processes here, and know what changes on two machines. Measure what an operation waits for.
#
# **Before this.** Chapter 04: CMN. Chapter 03 for the decoder and its search.
#
# **Minutes.** Running: two or three on two CPU cores once chapter 04 has trained CMN. Reading 40, exercises 40.
#
# > The same cells run on a GPU where there is one. The last section says which device each line of **this** page was run on. The radiographs are
# > **drawn** and scores on them are **not comparable with published ones**; this chapter is about seconds and bytes.

# %% tags=["parameters"]
DATASET = "iu_phantom"
DATA_ROOT = None  # the folder of real images, for the datasets that need one
PROFILE = "ci"  # ci | laptop | gpu
SEED = None  # None: the seed of the preset, as released

# %%
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import copy
import inspect
import os
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from scipy.stats import chi2
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rrg_lib.book.checks import gpu_training as checks
from rrg_lib.book.edition import CHECKOUT
from rrg_lib.book.figures import gpu_training as figures
from rrg_lib.book.prose import say
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.nlg import nlg_scores
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.reports import write_reports
from rrg_lib.experiments.results import stored_results as trainings
from rrg_lib.experiments.results import twins
from rrg_lib.experiments.run import Run, prepared
from rrg_lib.models.contrastive import multi_label_contrastive
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import CMNConfig
from rrg_lib.models.report_loss import report_loss, summed_report_loss
from rrg_lib.performance.budget import EFFICIENCY, GPUS, LAUNCH, budget, step_cost, training_step, workloads
from rrg_lib.performance.harness import machine, matmul_peak
from rrg_lib.performance.reads import GROWTH
from rrg_lib.performance.stored import stored_benchmarks
from rrg_lib.runtime.checkpoint import load_tensors
from rrg_lib.runtime.device import synchronize, this_device
from rrg_lib.runtime.distributed import Share
from rrg_lib.runtime.package_data import table as shipped
from rrg_lib.training import TrainingConfig, build_optimizer

# %% [markdown]
# ## 8.1 One place that knows the device
#
# A model does not care where it runs, as long as its weights and its inputs are in the same place. Four habits keep code that way:
#
# 1. **One function decides**; everything else asks it. Here `this_device()`.
# 2. New tensors are made **where their neighbours are**: `torch.zeros(n, device=x.device)`, not `.cuda()`.
# 3. A number is read back (`.item()`, `print`) **once a step**, not once an operation: the GPU must finish first.
# 4. The clock is read **after waiting**: a GPU answers before it has computed. Here `synchronize()`.

# %%
print(inspect.getsource(this_device))


# %%
def named(on):
    """What a machine is called: its GPU, or its processor."""
    return (
        on["device"]
        if on["device"] != "cpu"
        else f"{on['processor']}, {on['threads']} thread{'s' * (on['threads'] > 1)}"
    )


device = this_device()
here = machine()
where = named(here)
ran = {}  # line of this chapter -> what it was run on
Markdown(f"This page was made on: **{where}**, PyTorch {here['torch']}.")

# %% [markdown]
# What if somebody asks for a GPU that is not there? Not a slow run on the processor by mistake, but a sentence:

# %%
asked = os.environ.get("RRG_DEVICE")
os.environ["RRG_DEVICE"] = "cuda"
try:
    print("there is one:", this_device())
except ConfigurationError as error:
    print(error)
if asked is None:
    del os.environ["RRG_DEVICE"]
else:
    os.environ["RRG_DEVICE"] = asked

# %% [markdown]
# The lesson's material: the CMN that chapter 04 trained, and a batch of training studies.

# %%
run = Run.of(experiment(f"{DATASET}/cmn", PROFILE, seed=SEED), data_root=DATA_ROOT)
run.train()  # found, if chapter 04 has trained it
dataset, train = run.dataset, run.batches("train")
generator = run.generator().to(device)
batch = train.collate(train.indices[:16]).to(device)

# %% tags=["nbval-check-output"]
B, T = batch.tokens.shape[0], batch.tokens.shape[1] - 1
print(
    f"{B} studies, inputs {tuple(batch.inputs.shape)}, up to {T} words; {sum(p.numel() for p in generator.parameters()):,} weights"
)

# %% [markdown]
# ## 8.2 What a step is made of
#
# Five things happen in a training step. The studies are **read** and made into tensors; they **move** to the device; **forward**: the loss;
# **backward**: the gradients; **Adam** changes the weights. We put a clock between them.


# %%
def loss_of(generator, batch):
    output = generator(batch)
    return report_loss(output.logits, batch.tokens, batch.mask) + sum(output.losses.values())


def now():
    synchronize(device)  # wait for the GPU before reading the clock
    return time.perf_counter()


# %%
PARTS = ("read", "move", "forward", "backward", "Adam")


def timed_step(generator, optimizer, read):
    """Milliseconds of each part of one training step."""
    marks = [now()]
    batch = read()
    marks.append(now())
    batch = batch.to(device)
    marks.append(now())
    loss = loss_of(generator, batch)
    marks.append(now())
    loss.backward()
    marks.append(now())
    optimizer.step()
    optimizer.zero_grad()
    marks.append(now())
    return 1e3 * np.diff(marks)


# %% [markdown]
# Three sizes of CMN: the profiles `ci` and `laptop` on the book's studies, and the published Transformer with its memory of 2,048 slots on patches
# of a ResNet-101 (made up here: the time does not depend on what they show). Eight studies a batch; the median of three steps after one to warm up.


# %%
def new_system(profile):
    """CMN with the sizes of a profile, its weights drawn, for this book's patches."""
    what = experiment(f"{DATASET}/cmn", profile)
    torch.manual_seed(0)
    config = replace(what.generator, vocab_size=dataset.vocabulary.size, d_vf=run.extractor.dim)
    return ReportGenerator(config, what.memory).to(device).train()


torch.manual_seed(0)
published = ReportGenerator(TransformerConfig(), CMNConfig()).to(device).train()
tokens = torch.ones(8, 60, dtype=torch.long)
made_up = Batch(torch.randn(8, 98, 2048), tokens, tokens.float())
systems = {"ci": new_system("ci"), "laptop": new_system("laptop"), "published": published}

# %%
parts = {}
for name, system in systems.items():
    optimizer = build_optimizer(system, TrainingConfig())
    read = (lambda: copy.deepcopy(made_up)) if name == "published" else (lambda: train.collate(train.indices[:8]))
    steps = [timed_step(system, optimizer, read) for _ in range(4)]
    parts[name] = dict(zip(PARTS, np.median(steps[1:], axis=0), strict=True))
ran["8.2 parts of a step"] = where
parts = pd.DataFrame(parts).T
figures.step_parts(parts, name="08_step_parts")

# %% [markdown]
# *What to see: which part is worth an hour of your time. Moving is nothing on a processor, where the batch is already at home. Reading is cheap
# here because a frozen extractor's patches are kept; with images that are resized and cropped at each step it can be the longest part, and then
# `training.workers` processes read ahead.*

# %%
share = parts.div(parts.sum(axis=1), axis=0)
ratio = parts["backward"] / parts["forward"]
say(
    "In the published size **{part}** takes most of the step: {most:.0%}. The optimiser takes {adam:.0%}. Backward takes {low:.1f} to {high:.1f} times "
    "as long as forward. By matrix products alone it would be nearly two: each has two in the backward pass. What has none there draws it down: finding the "
    "best slots is such a thing.",
    part=share.loc["published"].idxmax(),
    most=share.loc["published"].max(),
    adam=share.loc["published", "Adam"],
    low=ratio.min(),
    high=ratio.max(),
)

# %% [markdown]
# ## 8.3 The memory budget
#
# Four things must be in memory at once:
#
# | what | how much |
# |---|---|
# | weights | 4 bytes each in float32 |
# | gradients | as much again, for the weights that learn |
# | moments of Adam | two numbers for each weight that learns; a third with amsgrad, as released |
# | activations | what the forward pass keeps for the backward pass: grows with the batch |
#
# The first three follow from the model alone.
#
# **Exercise 8.1** (5 min). Write `training_bytes`. Mind weights that are frozen, and those that take fewer than four bytes.


# %% exercise="8.1" level="compute"
def training_bytes(module, moments):
    """Bytes of the weights, of the gradients, and of the optimiser's `moments` numbers a learnt weight."""
    ### BEGIN SOLUTION
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    learnt = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    return weights, learnt, moments * learnt
    ### END SOLUTION


# %% exercise="8.1" points=5
checks.training_bytes(training_bytes)

# %% [markdown]
# The activations need a witness. The one below watches every operation: the storage of each new tensor is counted when it is made and forgotten
# when it dies. It knows nothing of models; it sees the same on a processor and on a GPU.


# %%
class Alive(TorchDispatchMode):
    """Bytes of the tensors that were made inside the block and are still alive; `peak`, the most at once."""

    def __init__(self):
        super().__init__()
        self.sizes, self.peak = {}, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for storage in (t.untyped_storage() for t in tree_leaves(made) if isinstance(t, torch.Tensor)):
            key = storage._cdata
            if key not in given and key not in self.sizes:  # not a view of what is there, not written in place
                self.sizes[key] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, key, None)
        self.peak = max(self.peak, self.now)
        return made

    @property
    def now(self):
        return sum(self.sizes.values())


# %%
generator.train()
optimizer = build_optimizer(generator, run.experiment.training)
if device.type == "cuda":
    torch.cuda.reset_peak_memory_stats()
    at_first = torch.cuda.memory_allocated()
with Alive() as alive:
    loss = loss_of(generator, batch)
    kept, on_gpu = alive.now, torch.cuda.memory_allocated() - at_first if device.type == "cuda" else None
    loss.backward()
optimizer.step()
ran["8.3 memory of a step"] = where

# %% [markdown]
# Now three counts of the same step beside each other: yours; what lies in memory here; and `rrg_lib.performance.budget`, which builds the system on PyTorch's
# *meta* device, where tensors have a shape and no numbers, and runs a step of shapes through it. Nothing is allocated there, so it can count a
# system that would not fit. It counts the batch itself among the activations, so we add it to the witness's count.

# %%
amsgrad = run.experiment.training.amsgrad
counted = training_step(run.experiment, vocabulary=dataset.vocabulary.size, batch=B, length=T)
in_memory = {
    "weights": sum(p.untyped_storage().nbytes() for p in generator.parameters()),
    "gradients": sum(p.grad.untyped_storage().nbytes() for p in generator.parameters()),
    "moments": sum(
        t.numel() * t.element_size() for state in optimizer.state.values() for t in state.values() if t.dim()
    ),
    "activations": kept + sum(t.untyped_storage().nbytes() for t in (batch.inputs, batch.tokens)),
}
optimizer.zero_grad()
table = pd.DataFrame(
    {"in memory": in_memory, "counted on shapes": {name: getattr(counted, name) for name in in_memory}}
)
table.insert(0, "yours", pd.Series(dict(zip(in_memory, training_bytes(generator, 2 + amsgrad), strict=False))))
(table / 2**20).round(2).rename_axis("MiB")

# %% tags=["nbval-check-output"]
print(
    ", ".join(
        f"{name} {size:,} bytes" for name, size in zip(in_memory, training_bytes(generator, 2 + amsgrad), strict=False)
    )
)

# %%
told = (
    f"PyTorch's own count on the GPU for what the forward pass left behind: {on_gpu / 2**20:,.1f} MiB. The allocator hands out blocks of 512 bytes."
    if on_gpu is not None
    else "`torch.cuda.memory_allocated()` would be a third count of the activations: **not run**, there is no GPU here."
)
Markdown(
    f"Counted on shapes, the activations are {counted.activations / in_memory['activations']:.3f} times those in memory; the other rows agree to "
    f"{(table.iloc[:3]['in memory'] - table.iloc[:3]['yours']).abs().max():,.0f} bytes. {told}"
)

# %% [markdown]
# The same count, for a step of the published Transformer with sixteen studies, was held against the memory of a GPU (`data/gpu_memory.csv`; the test
# that measures it is named there):

# %%
on_gpus = pd.DataFrame(shipped("gpu_memory"))
held = on_gpus.astype({"counted_mib": float, "measured_mib": float})
display(held[["device", "system", "counted_mib", "measured_mib"]].set_index(["device", "system"]))
say(
    "Measured, it is {low:.2f} to {high:.2f} times the count.",
    low=(held["measured_mib"] / held["counted_mib"]).min(),
    high=(held["measured_mib"] / held["counted_mib"]).max(),
)

# %% [markdown]
# So the count on shapes may be trusted, also for what this machine could never hold: the *published* setting, with ResNet-101 learning along, two
# views of 224 pixels a study. Activations are a straight line in the batch, so two counts give all of them.

# %%
gpu_cmn = experiment("iu_xray/cmn", "gpu")
few, more = (training_step(gpu_cmn, vocabulary=workloads()["iu_xray"].vocabulary, batch=size) for size in (4, 8))
a_study = (more.activations - few.activations) / 4
sizes = (1, 4, 16, 64, 256)
constant = {"weights": few.weights, "gradients": few.gradients, "moments": few.moments}
state, kept_of = sum(constant.values()), {n: few.activations + (n - 4) * a_study for n in sizes}
memory = pd.DataFrame({"weights, gradients, moments": state, "activations": kept_of}) / 2**30
figures.memory_stack(memory, {name: gpu.memory for name, gpu in GPUS.items()}, name="08_memory")

# %% [markdown]
# *What to see: weights, gradients and moments are the same for any batch; from a few studies on the activations are nearly all there is. A dashed
# line is what a GPU has: where a bar passes it, that batch does not fit in single precision. (The axis is logarithmic: compare the ends of bars, not
# the lengths of their parts.)*

# %%
fits = {name: int((gpu.memory * 2**30 - state - few.activations) / a_study + 4) for name, gpu in GPUS.items()}
Markdown(
    f"A study costs {a_study / 2**20:,.0f} MiB of activations, everything else {state / 2**20:,.0f} MiB. "
    "By this count the largest batches are "
    + ", ".join(f"{n} ({name})" for name, n in fits.items())
    + f"; the released batch is {gpu_cmn.training.batch_size}. Leave a tenth free: libraries work in memory too, and no allocator packs perfectly."
)

# %% [markdown]
# Five knobs, in the order to turn them: fewer studies a step with `accumulate` (8.9), `checkpoint` (8.10), `mixed_precision=bf16` (8.7), a frozen
# extractor, shorter reports. When a training does not fit, `rrg train` ends with a sentence that names them.
#
# ## 8.4 The arithmetic budget
#
# A product of an $(n \times m)$ and an $(m \times p)$ matrix takes $2nmp$ floating-point operations (FLOPs): a multiplication and an addition
# for each of its terms. Nearly all of a Transformer's arithmetic is such products, so PyTorch can count it by shapes (`torch.utils.flop_counter`),
# and so does `rrg_lib.performance.budget`. Then
#
# $$\text{seconds} \;\approx\; \frac{\text{FLOPs}}{\text{efficiency} \times \text{peak}}$$
#
# *Peak* is the data sheet's, or the best matrix product that we measure here. *Efficiency* is the share of it that a real step reaches: nobody
# computes it, one measures it or states a guess. The book states one and says so (`rrg_lib.performance.budget.EFFICIENCY`). Only with an efficiency of 1 is
# the quotient a lower bound.


# %%
def seconds(work, rounds=3):
    """Median seconds of one call, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        start = now()
        work()
        times.append(now() - start)
    return median(times[1:])


def learn(system, batch):
    """Forward, backward and the optimiser's step, as a thing to call."""
    optimizer = build_optimizer(system, TrainingConfig())

    def step():
        loss_of(system, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


# %%
peak = matmul_peak()
with torch.device("meta"):  # the published size, of shapes
    ids = torch.ones(8, 60, dtype=torch.long)
    flops = step_cost(
        ReportGenerator(TransformerConfig(), CMNConfig()), Batch(torch.zeros(8, 98, 2048), ids, ids.float())
    )
took = parts.loc["published", ["forward", "backward", "Adam"]].sum() / 1e3
ran["8.4 peak of matrix products"] = where
say(
    "A step of the published CMN on eight studies is {flops:.0f} GFLOPs, backward and forward together {times:.2f} times the forward pass. The best "
    "matrix product here reaches {peak:,.0f} GFLOP/s. So at the stated efficiency of {stated:.0%} the step should take {should:,.0f} ms; it took {took:,.0f}: "
    "an efficiency of **{reached:.0%}**.",
    flops=flops.step.flops / 1e9,
    times=flops.step.flops / flops.forward.flops,
    peak=peak / 1e9,
    stated=EFFICIENCY,
    should=1e3 * flops.step.flops / (EFFICIENCY * peak),
    took=1e3 * took,
    reached=flops.step.flops / took / peak,
)

# %% [markdown]
# ## 8.5 Why a small model does not get faster on a GPU
#
# A GPU is told what to do one operation at a time, and Python takes some microseconds to tell it: that is a **launch**. (On a processor there is nobody to
# tell; what an operation costs there beside its arithmetic, we call a launch as well.) Meanwhile the GPU may compute: the longer of the two counts. A
# small model keeps the GPU waiting for its next word.
#
# **Exercise 8.2** (5 min). Write down the time that a step should take: operations at an efficiency of the peak, or launches, whichever is longer.


# %% exercise="8.2" level="compute"
def step_seconds(flops, launches, peak, efficiency, launch):
    """Seconds of a step of `flops` operations in `launches` launches: `peak` a second at `efficiency`, `launch` seconds a launch."""
    ### BEGIN SOLUTION
    return max(flops / (efficiency * peak), launches * launch)
    ### END SOLUTION


# %% exercise="8.2" points=5
checks.step_seconds(step_seconds)

# %% [markdown]
# For each profile, sixteen studies, on two GPUs by their data sheets, with a launch every few microseconds (`rrg_lib.performance.budget.LAUNCH`, stated):

# %%
rows = {}
for size in ("ci", "laptop", "gpu"):
    what = experiment("iu_xray/cmn", size)
    cost = training_step(what, vocabulary=workloads()["iu_xray"].vocabulary, batch=16).step
    for name in ("T4, 16 GB", "H100 SXM, 80 GB"):
        estimate = step_seconds(cost.flops, cost.launches, GPUS[name].peak("float32"), EFFICIENCY, LAUNCH)
        bound = "launches" if estimate == cost.launches * LAUNCH else "arithmetic"
        rows[size, name] = {
            "GFLOPs": cost.flops / 1e9,
            "launches": cost.launches,
            "ms, estimated": 1e3 * estimate,
            "waits for": bound,
        }
bounds = pd.DataFrame(rows).T.rename_axis(["profile", "GPU"])
bounds

# %%
waiting = bounds[bounds["waits for"] == "launches"].index
Markdown(
    "Waiting for launches: "
    + (", ".join(f"`{size}` on the {name.split(',')[0]}" for size, name in waiting) or "none")
    + ". A GPU that is twice as fast changes nothing there. What helps is fewer and larger operations: a larger batch, `compile`, fused kernels."
)

# %% [markdown]
# Is that so? Stored benchmarks (`rrg bench`, a file a machine in `data/benchmarks`) hold the time of a step of the published Transformer, sixteen
# studies, patches ready. Twice what we counted for eight, in as many launches:

# %%
benchmarks = stored_benchmarks()


def measured(group):
    """A row for each stored measurement of this group: the machine, the case, and what was found."""
    return [
        (named(found.machine), row) for found in (one.group(group) for one in benchmarks) if found for row in found.rows
    ]


def not_run(what):
    return Markdown(f"{what}: **not run**. No stored benchmark has it; `rrg bench` measures it.")


def sheet(device):
    """The data sheet of a GPU by its name, None for another device."""
    model = {name: next(word for word in name.replace(",", "").split() if any(map(str.isdigit, word))) for name in GPUS}
    return next((GPUS[name] for name, word in model.items() if word in device), None)


# %%
steps = {on: row.seconds for on, row in measured("training") if row.case == "CMN" and sheet(on)}
estimates = {}
for on, took in steps.items():
    arithmetic = 2 * flops.step.flops / sheet(on).peak("float32")
    estimates[on] = {"measured": took, "arithmetic": arithmetic / EFFICIENCY, "launches": flops.step.launches * LAUNCH}
    estimates[on] = {f"{name}, ms": 1e3 * value for name, value in estimates[on].items()} | {
        "share of the data sheet's peak": arithmetic / took
    }
display(pd.DataFrame(estimates).T.round(2) if estimates else not_run("A step of the published size on a GPU"))

# %%
texts, over, bound_by = [], {}, {}
for on, row in estimates.items():
    bound, larger = max((row[f"{name}, ms"], name) for name in ("arithmetic", "launches"))
    over[on] = row["measured, ms"] / bound
    bound_by[on] = larger
    left = row["measured, ms"] - bound
    texts.append(
        f"{on}: the longer estimate is that of {larger}, and the step took {over[on]:.1f} times as long"
        + (
            f"; {left:.0f} of its {row['measured, ms']:.0f} ms neither estimate explains, nor does this section (8.14 looks for a third)"
            if left > bound
            else ""
        )
    )
Markdown(
    ("; ".join(texts) + f". (A launch is stated as {1e6 * LAUNCH:.0f} µs, an efficiency as {EFFICIENCY:.0%}.)")
    if texts
    else "Nothing to compare."
)

# %% [markdown]
# And now measured, on this device: the `ci` CMN with ever larger batches. Where the curve is flat a step costs the same for one study as for many:
# that time is overhead. We also measure what one launch costs here, an addition of two numbers.

# %%
one = torch.ones(1, device=device)


def thousand():
    for _ in range(1000):
        one.add(one)


launch_here = seconds(thousand) / 1000
grown = {}
for size in (1, 4, 16, 64):
    some = train.collate(train.indices[:size]).to(device)
    cost = step_cost(systems["ci"], some).step
    grown[size] = {
        "seconds": seconds(learn(systems["ci"], some)),
        "arithmetic at the peak": cost.flops / peak,
        "launches": cost.launches * launch_here,
    }
ran["8.5 growth with the batch"] = where
grown = pd.DataFrame(grown).T

# %%
figures.growth(grown.index, grown["seconds"], {name: grown[name] for name in grown.columns[1:]}, name="08_growth")

# %% [markdown]
# *What to see: left, on which dashed line the blue one lies closer, and whether that changes with the batch; right, whether a larger batch buys
# more studies a second, or only a longer step.*

# %%
first, last = grown.iloc[0], grown.iloc[-1]
times, gain = (
    last["seconds"] / first["seconds"],
    (grown.index[-1] / last["seconds"]) / (grown.index[0] / first["seconds"]),
)
nearer = "launches" if first["launches"] > first["arithmetic at the peak"] else "arithmetic"
say(
    "One launch costs {launch:.1f} µs here. From {a} to {b} studies the step takes {times:.0f} times as long, and the device learns from "
    "{gain:.1f} times as many studies a second. For a single study the larger of the two floors is **{nearer}**.",
    launch=1e6 * launch_here,
    a=grown.index[0],
    b=grown.index[-1],
    times=times,
    gain=gain,
    nearer=nearer,
)

# %% [markdown]
# And whole trainings? The book's stored `laptop` trainings name the device they were made on; here are the seconds an epoch, validation reports included, of
# the systems that were trained on every one of these devices. On a processor they had one thread of a busy machine.

# %%
whole_trainings = [
    *trainings("laptop"),
    *(one for one in twins() if one.experiment.profile == "laptop"),
]  # twins: the same training once more (8.11)
laptop = [
    {"system": one.experiment.preset, "device": one.device, "s": row["seconds"]}
    for one in whole_trainings
    if one.is_preset
    for row in one.history
]
an_epoch = pd.DataFrame(laptop).groupby(["system", "device"])["s"].median().unstack() if laptop else pd.DataFrame()
everywhere = an_epoch.dropna()
(everywhere if len(everywhere) else an_epoch).round(1).rename_axis("seconds an epoch")

# %%
together = {one.device: one.provenance["machine"].get("runs_at_once", 1) for one in whole_trainings}
texts = []
for on in an_epoch.columns.drop("CPU", errors="ignore") if "CPU" in an_epoch else ():
    times = (an_epoch["CPU"] / an_epoch[on]).dropna()  # of systems that were trained on both
    if times.empty:
        continue
    known = (
        f" Its peak is {sheet(on).peak('float32') / peak:,.0f} times the best matrix product of the machine that made this page (not the one that trained)."
        if sheet(on)
        else ""
    )
    shared = f", with {together[on]} trainings sharing it at a time" if together[on] > 1 else ""
    texts.append(f"{on}: {times.min():.0f} to {times.max():.0f} times as fast as the processor{shared}.{known}")
Markdown(
    " ".join(texts)
    or f"No system was trained on a processor and on a GPU (stored: {', '.join(an_epoch.columns) or 'nothing'}): **nothing to compare**."
)

# %% [markdown]
# ## 8.6 Reading a profile
#
# Estimates say what to expect. A profile says where the time goes: PyTorch notes every operation of one step, how often it ran and for how long
# (its own time, without that of the operations it calls).

# %%
step = learn(generator.train(), batch)
step()
activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no notes of the profiler about itself
with profile(activities=activities) as trace:
    step()
    synchronize(device)
own_time = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
events = [
    (event.key, event.count, getattr(event, own_time) / 1e3)
    for event in trace.key_averages()
    if device.type == "cpu"
    or event.key.startswith("aten::")  # on a GPU the kernels are listed too: the same time again
]
operations = (
    pd.DataFrame(events, columns=["operation", "calls", "ms"]).set_index("operation").sort_values("ms", ascending=False)
)
operations = operations[operations["ms"] > 0]
ran["8.6 profile of a step"] = where

# %%
figures.operations(operations.head(12), name="08_operations")

# %% [markdown]
# *What to see: the names are PyTorch's own (`aten::mm` is a matrix product, `addmm` one with a bias, `bmm` many at once). Long bars with few launches
# are arithmetic; short bars with very many are the price of small operations.*

# %%
products = operations[
    operations.index.isin(["aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"])
]  # not what calls them
whole, half = operations["ms"].sum(), int((operations["ms"].cumsum() < operations["ms"].sum() / 2).sum()) + 1
say(
    "{calls:,} operations of {kinds} kinds in one step; {half} kinds take half of the time. Matrix products are {share:.0%} of it, in {few:,} of the launches. "
    "Longest: `{first}`, {top:.0%}. (Watching costs time too: the step took {ms:.0f} ms by the sum of its operations.)",
    calls=int(operations["calls"].sum()),
    kinds=len(operations),
    half=half,
    share=products["ms"].sum() / whole,
    few=int(products["calls"].sum()),
    first=operations.index[0],
    top=operations["ms"].iloc[0] / whole,
    ms=whole,
)

# %% [markdown]
# How to read such a table: find the longest bar, ask whether it is *needed* (do we compute it twice?), then whether it is *large enough* (can ten of
# them be one?), and only then whether it could be faster. The memory of chapter 04 is written as it is after such a reading. What came of it, in the
# published size, each system beside BASE in the same run (stored benchmarks). "Written out" is the textbook's form of the same mechanism.
# "First batch" is a search that has kept nothing yet of what words ask the memory. "transformers generate" is the search of the package `transformers`:

# %%
beside_base = [
    {"machine": on, "doing": doing, "case": row.case, "× BASE": row.ratio}
    for group, doing in (("training", "a training step"), ("beam", "beam search"), ("greedy", "greedy search"))
    for on, row in measured(group)
]
cost = pd.DataFrame(beside_base, columns=["machine", "doing", "case", "× BASE"]).pivot_table(
    "× BASE", "case", ["machine", "doing"], sort=False
)
display(cost.map("{:.2f}".format).replace("nan", "–") if beside_base else not_run("What a system costs"))

# %% [markdown]
# A memory read needs two matrix products: every query with every key, weights with values. They hold the scores of all queries against all slots, once
# forwards and once backwards. Our read takes the first product for a part of the queries at a time and keeps its K best. Everything after that, on a
# processor gradients too, touches the chosen slots only.

# %%
read_rows = {
    on: {row.case: row for where_on, row in measured("growth") if where_on == on} for on, _ in measured("growth")
}
two = "{} {:,}, two matrix products"


def grown_read(found, what, values):
    """Seconds and MiB of our read and of the two products, a row a value."""
    pairs = {value: (found[f"{what} {value:,}"], found[two.format(what, value)]) for value in values}
    rows = {
        value: [ours.seconds, floor.seconds, ours.peak_mib, floor.peak_mib] for value, (ours, floor) in pairs.items()
    }
    return pd.DataFrame(rows, index=["ours, s", "products, s", "ours, MiB", "products, MiB"], dtype=float).T


with_products = {on: found for on, found in read_rows.items() if two.format("slots", GROWTH["slots"][0]) in found}
reads = {
    (on, what): grown_read(found, what, GROWTH[what])
    for on, found in with_products.items()
    for what in ("slots", "batch")
}
for (on, what), of_read in reads.items():
    display(figures.read_growth(of_read, what, on, name=f"08_read_{what}_{list(with_products).index(on)}"))
if not reads:
    display(not_run("How a memory read grows"))

# %% [markdown]
# *What to see: dashed, the two products; solid, our read, forwards and backwards. The time: with few slots the choosing costs more than it saves; the
# more slots, the nearer the lines, and on a processor they cross. The memory on top of what goes in, where it was measured: the dashed line climbs with
# the slots, the solid one hardly does.*

# %%
texts = []
for (on, what), of_read in reads.items():
    ratio, (small, large) = of_read["ours, s"] / of_read["products, s"], (of_read.index[0], of_read.index[-1])
    memory = of_read.loc[large, ["ours, MiB", "products, MiB"]]
    needs = (
        "its memory was not measured"
        if memory.isna().any()
        else "it needs {:,.0f} MiB where they need {:,.0f}".format(*memory)
    )
    texts.append(
        f"- {on}: from {small:,} to {large:,} {'slots' if what == 'slots' else 'studies'} a read takes {ratio[small]:.1f} and {ratio[large]:.1f} times "
        f"the time of the two products; {needs}."
    )
Markdown("\n".join(texts) or "Growth of a memory read beside its two matrix products: **not run**.")

# %% [markdown]
# ## 8.7 Fewer bits
#
# A floating-point number has a few bits for its size (the exponent) and the rest for its digits. Tensor cores of a GPU are many times faster with
# short numbers.

# %% tags=["nbval-check-output"]
formats = {"float32": (32, 8, torch.finfo(torch.float32)), "tf32": (19, 8, None)}
formats |= {"float16": (16, 5, torch.finfo(torch.float16)), "bfloat16": (16, 8, torch.finfo(torch.bfloat16))}
rows = {}
for name, (bits, exponent, info) in formats.items():
    digits = bits - 1 - exponent
    rows[name] = [bits, exponent, digits, f"{2.0**-digits:.1e}", f"{info.max:.1e}" if info else "as float32"]
    rows[name].append(f"2^{int(np.log2(info.smallest_normal)) - digits}" if info else "as float32")
columns = ["bits", "of the exponent", "of the digits", "step after 1", "largest", "smallest above 0"]
print(pd.DataFrame(rows, index=columns).T.to_string())

# %% [markdown]
# **tf32** is float32 with the last digits cut off on the way into a matrix product; sums are kept in float32. **bfloat16** has float32's reach and
# very few digits. **float16** has more digits and a small reach: it is the one that overflows, and the one that loses what is small.
#
# How much does a product lose? We cut the digits ourselves, so that it can be seen on any device. The product of two random matrices, against the
# same in double precision:


# %%
def as_tf32(x):
    """float32 with 10 bits of digits, rounded: what a tensor core reads."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


own = torch.Generator().manual_seed(0)
a, b = (torch.randn(512, 512, generator=own) for _ in range(2))
exact = a.double() @ b.double()
short = {
    "float32": (a, b),
    "tf32": (as_tf32(a), as_tf32(b)),
    "float16": (a.half(), b.half()),
    "bfloat16": (a.bfloat16(), b.bfloat16()),
}
errors = {name: ((x.float() @ y.float()).double() - exact).norm() / exact.norm() for name, (x, y) in short.items()}
pd.Series({name: f"{error:.1e}" for name, error in errors.items()}, name="relative error of a product").to_frame()

# %% [markdown]
# *Mixed* precision (`torch.autocast`) shortens the inputs of matrix products. On a GPU it leaves weights, sums, norms, softmax and the loss in
# float32. On a processor weights stay in float32 too, but norms, softmax and sums keep the short format of what they are given; our loss is computed in
# float32 on purpose. In training it is one setting: `rrg train … --set training.mixed_precision=bf16`.
#
# ### Why float16 needs a scaled loss
#
# Three gradients, in float16 and back. Then the same with the loss, and so every gradient, multiplied by a power of two first, and divided after:

# %% tags=["nbval-check-output"]
three = torch.tensor([1e-3, 1e-6, 1e-8])
scaled = (three * 2**16).half().float() / 2**16
pd.DataFrame({"gradient": three, "float16": three.half().float(), "scaled": scaled}).map(lambda x: f"{x:.3g}")

# %% [markdown]
# The last one is lost without a scale: float16 has nothing between zero and its smallest number. A power of two changes the exponent alone, so
# scaling costs no digit. Too large a factor, and the largest gradient becomes infinite.
#
# **Exercise 8.3** (10 min). Which factor is best? Write `loss_scale`: the largest power of two with which no gradient overflows in float16.


# %% exercise="8.3" level="compute"
def loss_scale(gradients):
    """The largest power of two that keeps every gradient of a list of tensors within float16's range."""
    ### BEGIN SOLUTION
    largest = max(g.abs().max().item() for g in gradients)
    return 2.0 ** np.floor(np.log2(torch.finfo(torch.float16).max / largest))
    ### END SOLUTION


# %% exercise="8.3" points=10
checks.loss_scale(loss_scale)

# %% [markdown]
# The gradients of the trained CMN on our batch: where they begin, at the logits, and where they end, at the weights.

# %%
generator.zero_grad()
output = generator(batch)
output.logits.retain_grad()
report_loss(output.logits, batch.tokens, batch.mask).backward()
gradients = {
    "of the logits": [output.logits.grad],
    "of the weights": [p.grad for p in generator.parameters() if p.grad is not None],
}
scale = loss_scale([g for some in gradients.values() for g in some])
exponents = {}
for name, some in gradients.items():
    values = torch.cat([g.flatten() for g in some]).abs()
    exponents[name] = values[values > 0].log2().cpu().numpy()  # padding and words that do not occur have none
generator.zero_grad()
ran["8.7 gradients in float16"] = where

# %%
k = int(np.log2(scale))
reach = {"float16": (-24, 16), f"float16, × 2^{k}": (-24 - k, 16 - k), "bfloat16": (-133, 128)}
figures.gradient_sizes(exponents, reach, name="08_gradient_sizes")

# %% [markdown]
# *What to see: everything left of the red dotted line is zero in float16. The scale moves float16's window to the left (blue) as far as its other
# end allows. bfloat16 holds all of it, which is why nobody scales there.*

# %%
lost = {
    name: [float((values + shift < -25).mean()) for shift in (0, k)] for name, values in exponents.items()
}  # below half of the smallest: zero
say(
    "Without a scale float16 loses {logits:.0%} of the logits' gradients and {weights:.0%} of the weights'; with 2^{k} it loses {logits_scaled:.1%} and "
    "{weights_scaled:.1%}.",
    logits=lost["of the logits"][0],
    weights=lost["of the weights"][0],
    k=k,
    logits_scaled=lost["of the logits"][1],
    weights_scaled=lost["of the weights"][1],
)

# %% [markdown]
# Nobody knows the largest gradient of the *next* step. So a `GradScaler` tries: it begins high, throws a step away when a gradient is infinite and
# halves the factor; after many good steps it doubles it again. We let it begin far too high:

# %%
halved = copy.deepcopy(generator).train()
in_halves, scaler = build_optimizer(halved, TrainingConfig()), torch.amp.GradScaler(device.type, init_scale=8 * scale)
tries = []
while len(tries) < 20 and True not in tries[:-1]:
    before = scaler.get_scale()
    with torch.autocast(device.type, torch.float16):
        loss = loss_of(halved, batch)
    scaler.scale(loss).backward()
    scaler.step(in_halves)
    scaler.update()
    in_halves.zero_grad()
    tries.append(scaler.get_scale() >= before)
    print(f"2^{int(np.log2(before))}: " + ("a step" if tries[-1] else "overflow, thrown away"))
ran["8.7 float16 with a GradScaler"] = where

# %%
settled = int(np.log2(scaler.get_scale()))
say(
    "It settles at 2^{settled}, {verdict}",
    settled=settled,
    verdict=f"below the 2^{k} of exercise 8.3: on the way from the logits to the weights there are larger gradients than at the two ends."
    if settled < k
    else f"no less than the 2^{k} of exercise 8.3.",
)

# %% [markdown]
# ## 8.8 What half precision does to words
#
# A logit that moves in its third digit changes a report only where two words were nearly equal. We let the trained CMN read the reports of some test
# studies in float32 and in bfloat16, and then write them itself.

# %%
test = run.batches("test", 64)
reading = test.collate(test.indices).to(device)
generator.eval()


@torch.no_grad()
def logits_and_reports(dtype):
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        start = now()
        written = write_reports(
            generator, test, dataset.vocabulary, DecodingConfig(beam_size=1, max_length=generator.config.max_length)
        )
        return generator(reading).logits.float(), written, now() - start


full, short = logits_and_reports(torch.float32), logits_and_reports(torch.bfloat16)
ran["8.8 words in bfloat16"] = where

# %%
at_words = reading.mask[:, 1:] > 0
moved = (full[0] - short[0]).abs()[at_words]
best = full[0].topk(2).values
gap = (best[..., 0] - best[..., 1])[at_words]
other = (full[0].argmax(-1) != short[0].argmax(-1))[at_words]
changed = sum(full[1][study] != short[1][study] for study in full[1])
references = {study: dataset.reference(dataset.index(study)) for study in full[1]}
bleu = [
    nlg_scores(references, {study: one[1][study] for study in references}, metrics=["BLEU-4"]).additive["BLEU-4"]
    for one in (full, short)
]
in_full, in_short = (one.score(one.terms.sum(0)) for one in bleu)
near = gap[other].max().item() if other.any() else float("nan")
say(
    "Logits move by {mean:.3f} on average and by {most:.3f} at most; the best word leads the second by {gap:.2f} in the middle. Of {words:,} "
    "words that are read, {other} ({share:.2%}) would have been another first choice; the largest lead that was overturned is {near:.3f}. "
    "Of {n} reports that are written, **{changed}** differ; BLEU-4 of all of them is {in_full:.4f} in float32 and {in_short:.4f} in bfloat16. "
    "Writing in bfloat16 took {time:.1f} times as long on this device.",
    mean=moved.mean().item(),
    most=moved.max().item(),
    gap=gap.median().item(),
    words=len(gap),
    other=int(other.sum()),
    share=other.float().mean().item(),
    near=near,
    n=len(full[1]),
    changed=changed,
    in_full=in_full,
    in_short=in_short,
    time=short[2] / full[2],
)

# %% [markdown]
# A greedy report goes its own way from the first word that differs, so a single near tie can change a whole sentence: compare the share of
# words with that of reports, and both with what the score does. That is why the replication presets stay in float32 and the options are off unless asked
# for.
#
# What the options are worth where they were measured, in the published size (stored benchmarks):

# %%
options = [
    {"machine": on, "option": row.case, "ms": 1e3 * row.seconds, "× as it is": row.ratio, "peak MiB": row.peak_mib}
    for on, row in measured("options")
]
display(
    pd.DataFrame(options).set_index(["machine", "option"]).round(2)
    if options
    else not_run("CMN's step with bf16, tf32, checkpointing and compile")
)

# %% [markdown]
# ## 8.9 A large batch out of small ones
#
# When sixteen studies do not fit, take four at a time, add up the gradients, and step once. The mean over the words of a batch is
#
# $$\mathcal L = \frac{1}{W}\sum_{p}\sum_{w \in p} \ell_w, \qquad W = \sum_p W_p$$
#
# with a part $p$ of $W_p$ words. Gradients of sums are sums of gradients, so this is *exact*, if each part is divided by the words of **all** parts.
# The mean of the parts' means is something else as soon as the parts have different numbers of words.
#
# **Exercise 8.4** (10 min). Write the loop. `summed_report_loss(logits, tokens, mask)` gives the sum over a part and its number of words.


# %% exercise="8.4" level="implement"
def accumulated_gradients(generator, parts):
    """The gradients of the mean over all words of all parts, a tensor for each parameter, with one part in memory at a time."""
    ### BEGIN SOLUTION
    generator.zero_grad()
    words = sum(part.mask[:, 1:].sum() for part in parts)
    for part in parts:
        total, _ = summed_report_loss(generator(part).logits, part.tokens, part.mask)
        (total / words).backward()
    return [p.grad for p in generator.parameters()]
    ### END SOLUTION


# %% exercise="8.4" points=10
checks.accumulated_gradients(accumulated_gradients)

# %% [markdown]
# On the trained CMN, dropout off: sixteen studies at once; four times four; and the mean of means, which is what `training.accumulate` takes (as
# most loops do: it does not know the next part when it works on this one).


# %%
def largest_difference(some, others):
    return max((a - b).abs().max().item() for a, b in zip(some, others, strict=True))


generator.eval()  # no dropout
fours = [train.collate(train.indices[i : i + 4]).to(device) for i in range(0, 16, 4)]
in_parts = [g.clone() for g in accumulated_gradients(generator, fours)]
whole = [g.clone() for g in accumulated_gradients(generator, [batch])]
means = [
    torch.stack(g).mean(0)
    for g in zip(*([x.clone() for x in accumulated_gradients(generator, [four])] for four in fours), strict=True)
]
largest = max(g.abs().max().item() for g in whole)
ran["8.9 gradients in parts"] = where
say(
    "The largest gradient is {largest:.2g}. Four parts differ from the whole by {exact:.1e} at most: {verdict}. The mean of the parts' means "
    "differs by {rough:.1e}.",
    largest=largest,
    exact=largest_difference(in_parts, whole),
    verdict="equal, but for the order of the additions"
    if largest_difference(in_parts, whole) < 1e-6
    else "**more than rounding explains**",
    rough=largest_difference(means, whole),
)

# %% [markdown]
# Two things are **not** a sum over studies, and this loop does not mend them:
#
# - a **contrastive loss** (chapters 05 to 07) compares the studies of a batch with each other. Four times four studies have fewer pairs than sixteen.
#   (Two passes do mend it: first the features of all parts without gradients, then each part once more, with the loss's gradient at its features; Gao et al.
#   2021. `rrg_lib` does not have them.)
# - **batch normalisation** takes mean and spread from the studies at hand: of four, they are rougher than of sixteen.

# %%
with torch.no_grad():
    features = generator(batch).encoded.mean(1)  # (B, d)
    labels = batch.labels
    pieces = [slice(i, i + 4) for i in range(0, 16, 4)]
    contrast = [float(multi_label_contrastive(features[p], labels[p])) for p in (slice(None), *pieces)]
    norm = torch.nn.BatchNorm1d(features.shape[1]).to(device)
    normalised, by_piece = norm(features), torch.cat([norm(features[p]) for p in pieces])
say(
    "Pairs of two different studies: {all_pairs} in one batch, {few_pairs} in four parts. XProNet's contrastive loss of these features: "
    "{whole:.3f} of the batch, {parts:.3f} the mean of the parts. Batch normalisation gives other features: by {off:.2f} on average, "
    "where their spread is one.",
    all_pairs=B * (B - 1) // 2,
    few_pairs=4 * (4 * 3 // 2),
    whole=contrast[0],
    parts=np.mean(contrast[1:]),
    off=(normalised - by_piece).abs().mean().item(),
)

# %% [markdown]
# (Several *processes* are another matter: there the features of all studies exist at the same time, and `rrg_lib` gathers them before it compares.)
#
# ## 8.10 Forget and compute again
#
# Activation checkpointing keeps the *input* of each layer only, and computes the rest again on the way back: less memory, one more forward pass.
# Dropout must fall the same way twice; PyTorch remembers the random state. `rrg train … --set training.checkpoint=true`.


# %%
def step_with(system, checkpointed):
    """Gradients of a step, bytes kept for the backward pass, the most bytes at once; the seconds of a step are taken without counting."""
    system.encoder.checkpointed = system.decoder.checkpointed = checkpointed
    system.zero_grad()
    torch.manual_seed(0)  # the same dropout
    with Alive() as alive:
        loss = loss_of(system, batch)
        kept = alive.now
        loss.backward()
    gradients = [p.grad.clone() for p in system.parameters()]
    took = seconds(lambda: loss_of(system, batch).backward())
    system.zero_grad()
    return gradients, {"kept, MiB": kept / 2**20, "most at once, MiB": alive.peak / 2**20, "seconds": took}


plain, again = (step_with(systems["laptop"], checkpointed) for checkpointed in (False, True))
systems["laptop"].encoder.checkpointed = systems["laptop"].decoder.checkpointed = False
ran["8.10 checkpointed activations"] = where
pd.DataFrame({"as it is": plain[1], "checkpointed": again[1]}).T.round(3)

# %%
apart = largest_difference(plain[0], again[0])
say(
    "Gradients: {verdict}. Kept for the backward pass: {kept:.0%} of before; at the peak {peak:.0%} (one layer's activations "
    "come back, and the logits are there in any case). Time: {time:.2f} times.",
    verdict="the same to the last bit" if apart == 0 else f"they differ by {apart:.1e} at most",
    kept=again[1]["kept, MiB"] / plain[1]["kept, MiB"],
    peak=again[1]["most at once, MiB"] / plain[1]["most at once, MiB"],
    time=again[1]["seconds"] / plain[1]["seconds"],
)

# %% [markdown]
# ## 8.11 Killed, and going on
#
# Jobs end before they are done: a time limit, a power cut, somebody else's turn. A training that can go on needs more than its weights: the
# optimiser's moments, the place in the epoch, the best epoch so far, and random numbers that depend on the **step**, not on history. All of that is in
# `last.safetensors`, written beside its name and then renamed: whenever the power goes, one whole file is there.
#
# We try it in earnest on something tiny: sixty studies of the `phantom` data set, a random extractor. One training runs through. The same command in a
# process of its own is **killed** (SIGKILL: no chance to tidy up) as soon as it has saved something, and started again.

# %%
scratch = tempfile.TemporaryDirectory()
folder, small = Path(scratch.name), Path(scratch.name) / "sixty"
sixty = prepared("phantom", out=small, count=60, progress=False)
settings = ["extractor.weights=null", "training.epochs=3", "training.batch_size=8", "training.save_every=2"]
tiny = experiment("phantom/cmn", "ci", settings)
rrg = [str(Path(sys.executable).with_name("rrg"))]
arguments = [
    "train",
    "phantom/cmn",
    "--data-root",
    str(small),
    "--quiet",
    *(word for text in settings for word in ("--set", text)),
]
through = Run.of(tiny, data_root=small, folder=folder / "whole", progress=False).train()

# %%
saved = folder / "killed" / "last.safetensors"
process = subprocess.Popen(
    [*rrg, *arguments, "--run", str(folder / "killed")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
)
while not saved.exists() and process.poll() is None:
    time.sleep(0.01)
process.kill()
_, complaint = process.communicate()
assert saved.exists(), complaint
stopped = load_tensors(saved)[1]["progress"]["step"]

# %%
after = Run.of(tiny, data_root=small, folder=folder / "killed", progress=False).train()  # the same command again
whole, killed = (load_tensors(folder / name / "last.safetensors") for name in ("whole", "killed"))
names = [name for name in whole[0] if name.startswith("model.")]
apart = largest_difference([whole[0][name].float() for name in names], [killed[0][name].float() for name in names])
ran["8.11 killed and going on"] = where
say(
    "Killed at step {stopped} of {steps} (exit status {status}), it went on and ended with {verdict}.",
    stopped=stopped,
    steps=whole[1]["progress"]["step"],
    status=process.returncode,
    verdict=f"**the same curve of {len(after.history)} epochs and the same {len(names)} tensors, to the last bit**"
    if apart == 0 and [row["train_loss"] for row in after.history] == [row["train_loss"] for row in through.history]
    else f"weights that differ by {apart:.1e} at most",
)

# %% [markdown]
# On a processor this is promised, and tested. On a GPU some sums are added in whatever order they finish: there "the same" means "but for rounding",
# and the sentence above says what it was.
#
# Rounding grows. The book's store has whole `laptop` trainings that were made **again with the same seed**. The column *on* says on what: on another
# device dropout draws other random numbers; on the same GPU nothing differs but the order of some additions. One training may stand in the store several
# times, its reports searched in other ways. That is no second training: only results of one protocol, that of the repetitions, are compared here.

# %%
again_of = {(one.experiment.hash, one.protocol) for one in twins()}
alike = [
    one
    for one in trainings("laptop")
    if one.is_preset and one.protocol in {p for _, p in again_of} and one.labels_at_test in (None, "classifier")
]
made = [(one, "stored") for one in alike if (one.experiment.hash, one.protocol) in again_of] + [
    (one, "again") for one in twins()
]
made_twice = []
for one, which in sorted(made, key=lambda pair: (pair[0].experiment.preset, pair[1] == "again")):
    scores = one.evaluation.rows[0].parts["all"].scores
    row = {"system": one.experiment.preset, "seed": one.experiment.training.seed, "made": which, "on": one.device}
    made_twice.append(
        row
        | {
            "loss, end": one.history[-1]["validation_loss"],
            "BLEU-4": scores["BLEU-4"],
            "finding-F1": scores["finding-F1"],
        }
    )
same_seed = pd.DataFrame(made_twice)
display(same_seed.round(3) if made_twice else Markdown("No training was made twice: **not run**."))


# %%
def pooled_sd(table, by):
    """The standard deviation of finding-F1 within the groups, pooled over all of them, its 95 % interval (chi-squared), and its degrees of freedom."""
    groups = [group["finding-F1"].to_numpy() for _, group in table.groupby(by) if len(group) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    sd = np.sqrt(sum(((values - values.mean()) ** 2).sum() for values in groups) / freedom)
    low, high = sd * np.sqrt(freedom / chi2.ppf([0.975, 0.025], freedom))
    return sd, low, high, freedom


by_seed = pd.DataFrame(
    {"system": one.experiment.preset, "finding-F1": one.evaluation.rows[0].parts["all"].scores["finding-F1"]}
    for one in alike
)
if made_twice and len(by_seed):
    again, seeds = pooled_sd(same_seed, ["system", "seed"]), pooled_sd(by_seed, "system")
    own = by_seed.groupby("system")["finding-F1"].std().dropna()
    devices_of = same_seed.groupby(["system", "seed"])["on"].nunique()
    elsewhere = f"{(devices_of > 1).sum()} of {len(devices_of)} on another device too"
    display(
        pd.DataFrame(
            {f"the same seed again ({elsewhere})": again, "another seed": seeds},
            index=["sd of finding-F1", "low", "high", "degrees of freedom"],
        ).T.round(3)
    )
    sentence = say(
        "Training one seed again ({elsewhere}) moves finding-F1 by a standard deviation of {again:.3f}, another seed by {seeds:.3f}. {verdict} A single system's seeds alone "
        "would have said anything from {least:.3f} to {most:.3f}: too few to tell, so **pool the spread over systems of one kind**.",
        elsewhere=elsewhere,
        again=again[0],
        seeds=seeds[0],
        least=own.min(),
        most=own.max(),
        verdict="These two can't be told apart: the spread of seeds may be nothing but what running again does."
        if again[2] > seeds[1] and seeds[2] > again[1]
        else "A seed decides something, but not all: what remains with the seed fixed is what running again does.",
    )
    display(sentence)
else:
    display(Markdown("Nothing to compare."))

# %% [markdown]
# Why not count a repetition as another seed? It begins with the same weights and reads the studies in the same order. So it shows a *part* of what a new
# seed would vary, and two of them beside one seed are no three seeds; in a table of systems each seed stands once. How large that part is, so few say
# only within the wide interval above; and what another device's dropout adds is in it.

# %% [markdown]
# ## 8.12 Many processes
#
# Data-parallel training: every process has a whole copy of the model and a part of each batch. After the backward pass the gradients are averaged
# over the processes, so all copies take the same step. Three things go wrong easily; the library settles each in one place
# (`rrg_lib.runtime.distributed`):
#
# - **The batch grows with the processes**, and with it what a learning rate means. Here `batch_size` is that of all processes together.
# - **A mean of means**, as in 8.9. Here every process divides its sum by the words of all.
# - **Scores of a part.** BLEU of a whole split is no mean of BLEUs. Here each process writes its part of the reports, and all are gathered first.
#
# Who takes which of ten studies, by three processes:

# %% tags=["nbval-check-output"]
{f"process {rank} of 3": list(range(10))[Share(rank, 3).of(10)] for rank in range(3)}

# %% [markdown]
# Two real processes, started by PyTorch's launcher, on processors (the `gloo` backend; two GPUs would use `nccl`). The tiny training again, without
# dropout: then two processes must have the curve of one. (That one runs where this page does; a GPU rounds differently.)

# %%
quiet = ["generator.dropout=0.0", "generator.feature_dropout=0.0", "memory.dropout=0.0"]
alone = Run.of(
    experiment("phantom/cmn", "ci", settings + quiet), data_root=small, folder=folder / "one", progress=False
).train()
launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--", *rrg]
shared = [*arguments, *(word for text in quiet for word in ("--set", text)), "--run", str(folder / "two")]
done = subprocess.run(
    launch + shared, capture_output=True, text=True, env={**os.environ, "RRG_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
)
assert done.returncode == 0, done.stderr
print("torchrun --standalone --nproc_per_node 2 --", "rrg", "train phantom/cmn …")

# %%
together = pd.read_json(folder / "two" / "history.json")
curve = pd.DataFrame(
    {"one process": [row["train_loss"] for row in alone.history], "two processes": together["train_loss"]}
)
curve["validation, one"], curve["validation, two"] = (
    [row["validation_loss"] for row in alone.history],
    together["validation_loss"],
)
off = max((curve.iloc[:, 0] - curve.iloc[:, 1]).abs().max(), (curve.iloc[:, 2] - curve.iloc[:, 3]).abs().max())
ran["8.12 two processes (gloo)"] = f"{here['processor']}, 2 processes"
display(curve.rename_axis("epoch").round(6))
say(
    "The curves differ by {off:.1e} at most: {verdict}.",
    off=off,
    verdict="two processes have the curve of one"
    if off < (1e-5 if device.type == "cpu" else 1e-3)
    else "**more than rounding explains**",
)

# %% [markdown]
# The tests hold this for every system at each of fifty steps, the losses over pairs included, and for a run that moves from two processes to one and
# back (`tests/runtime/test_distributed.py`).
#
# ## 8.13 One node, two nodes, a queue
#
# The command stays `rrg train`; a launcher stands before it. The folder `cluster/` of the repository has what a launcher wants to know.


# %%
def of_the_cluster(name):
    """A file of the repository's folder `cluster/`, or where to find it for who has the installed book alone."""
    path = CHECKOUT / "cluster" / name
    return (
        path.read_text(encoding="utf-8")
        if path.is_file()
        else f"cluster/{name}: not here, it is in the book's repository"
    )


print(of_the_cluster("one_node.yaml"))

# %%
print(of_the_cluster("two_nodes.yaml"))

# %% [markdown]
# On a cluster the queue starts the launcher. SLURM gives the names of the nodes; the job puts itself back into the queue before its time is up,
# because the same command goes on where it stopped. **It was not run on a SLURM cluster**: its syntax, its launch line and its way back into the
# queue are tested with stand-ins for SLURM's commands. The settings for two nodes were tried with two launchers on one machine.

# %%
print(of_the_cluster("slurm.sh"))

# %% [markdown]
# When a model does not fit on one GPU, *fully sharded* training (FSDP) cuts weights, gradients and moments into as many parts as there are GPUs.
# Does anything in this book need it?

# %%
largest_state = state / 2**30
smallest = min(GPUS.values(), key=lambda gpu: gpu.memory)
say(
    "The published CMN with its ResNet-101 needs {state:.2f} GiB of weights, gradients and moments: {share:.1%} of the smallest GPU "
    "of the table ({name}). {verdict}",
    state=largest_state,
    share=largest_state / smallest.memory,
    name=smallest.name,
    verdict="Sharding saves a part of what is no problem: it is for models many times as large."
    if largest_state < 0.5 * smallest.memory
    else "Here sharding helps.",
)

# %% [markdown]
# `cluster/fsdp.yaml` is there for such a model and a loop of your own. It parses, and a step of a generator that is sharded at its layers has the
# gradients of a whole one (tested with two processes on a processor). It was **not run on several GPUs**, and `rrg train` saves no sharded weights.
#
# ## 8.14 Before you spend it: IU X-Ray and MIMIC-CXR
#
# All together: operations and launches of a whole training (every epoch, validation reports after each, test reports once), for the two data sets of
# the papers at their published settings. Hours in single precision at the stated efficiency; reading and preparing images is not in it.

# %%
budgets = {
    (on, preset): budget(preset, work)
    for on, work in workloads().items()
    for preset in ("base", "cmn", "xpronet", "mcsam")
}
rows = {}
for (on, preset), found in budgets.items():
    rows[on, preset] = {
        "epochs": found.experiment.training.epochs,
        "steps": f"{found.steps:,}",
        "GiB": round(found.step.memory / 2**30, 1),
    }
    rows[on, preset] |= {f"{name.split(',')[0]}, h": round(found.hours(gpu), 1) for name, gpu in GPUS.items()}
pd.DataFrame(rows).T.rename_axis(["data set", "system"])

# %%
iu, mimic, card, rival = (
    budgets["iu_xray", "cmn"],
    budgets["mimic_cxr", "cmn"],
    GPUS["A100, 40 GB"],
    GPUS["RTX 3090, 24 GB"],
)
faster = {name: mimic.hours(card) / mimic.hours(card, precision=name) for name in ("tf32", "half")}
parts_of = {"training": mimic.training, "validation": mimic.validation, "test": mimic.test}
waits = [
    name for name, part in parts_of.items() if part.launches * LAUNCH > part.flops / (EFFICIENCY * card.peak("half"))
]
say(
    "On an {card} CMN takes {iu:.1f} hours for IU X-Ray and {mimic:.0f} for MIMIC-CXR in single precision. For MIMIC-CXR, tf32 would be at most {tf32:.1f} "
    "times as fast and half precision {half:.1f} times (their peaks are {tf32_peak:.0f} and {half_peak:.0f} times as high); in half precision "
    "{waits} for launches. Writing reports for validation and test is {share:.0%} of the operations for IU X-Ray. If the efficiency is half of what is stated, "
    "what is arithmetic takes twice as long. {slower}",
    slower=f"(Why is it behind the {rival.name.split(',')[0]}? Without its tensor cores its peak is {card.float32:g}, the other's {rival.float32:g}.)"
    if card.float32 < rival.float32
    else "",
    card=card.name.split(",")[0],
    iu=iu.hours(card),
    mimic=mimic.hours(card),
    tf32=faster["tf32"],
    half=faster["half"],
    tf32_peak=card.tf32 / card.float32,
    half_peak=card.half / card.float32,
    waits=f"{', '.join(waits)} wait{'s' * (len(waits) == 1)}" if waits else "nothing waits",
    share=1 - iu.training.flops / (iu.training + iu.validation + iu.test).flops,
)

# %% [markdown]
# Chapter 10 has the same counts (`rrg_lib.performance.budget.budget`), and gives their hours in tf32:

# %%
TF32 = {
    on: budgets[on, "cmn"].hours(card, precision="tf32") for on in workloads()
}  # what section 10.11 prints for CMN on this card
say(
    "In tf32, CMN's training on an {card} is {iu:.1f} hours for IU X-Ray and {mimic:.1f} for MIMIC-CXR. Both tables are right; they assume other digits.",
    card=card.name.split(",")[0],
    iu=TF32["iu_xray"],
    mimic=TF32["mimic_cxr"],
)

# %% [markdown]
# A budget is an estimate, its efficiency a guess: 8.4 and 8.5 hold measured steps against it. Check it: run a hundred steps,
# multiply, compare. If the measured step is far above the count, look at 8.2 (is it
# reading?), then at 8.5 (is it launching?), before you ask for more GPUs.

# %%
Markdown(
    "; ".join(
        f"On the {on} a measured step took {times:.1f} times its estimate, which was that of {bound_by[on]} (8.5)"
        for on, times in over.items()
    )
    + ". That step read patches. The trainings of the table run the image network along, and wait for something else where their arithmetic is larger than "
    "their launches: the factor need not carry over. **Measure a hundred steps of your own before you plan.**"
    if over
    else "No step of the published size was measured on a GPU: the table is an estimate that **nobody has checked here**."
)

# %% [markdown]
# ### What the estimates leave out
#
# The count knows operations and launches. Now look at Adam:

# %%
weights = sum(p.numel() for p in systems["published"].parameters())
say(
    "Adam computes about a dozen operations a weight: {share:.2%} of the arithmetic that section 8.4 counted for a step of the published size. In section "
    "8.2 it took {took:.1%} of the step's time.",
    share=12 * weights / flops.step.flops,
    took=share.loc["published", "Adam"],
)

# %% [markdown]
# Why are the two shares so far apart? An operation may wait for one of three things:
#
# - **launches**: it is told what to do. That takes as long for large tensors as for small ones.
# - **traffic**: numbers come from memory and go back. That grows with how many *numbers* there are.
# - **arithmetic**: that grows with how many *multiplications and additions* there are. Here we mean those of a matrix product.
#
# So no data sheet is needed: make the operation larger and see how its time grows. Let it work on $n \times n$ matrices. If its time is a power of
# $n$, log seconds over log $n$ is a straight line, and the slope is that power. Each of the three has its own: work out which.
#
# **Exercise 8.5** (10 min). What does an operation wait for? From its seconds at several sides $n$, measure the slope (least squares, both axes
# logarithmic) and say which reason's power is nearest. The check asks with timings that we made up.


# %% exercise="8.5" level="explain"
def waits_for(sides, seconds):
    """Sides n of n x n matrices and the seconds they took, two arrays -> the slope, and "launches", "traffic" or "arithmetic"."""
    ### BEGIN SOLUTION
    slope = np.polyfit(np.log(sides), np.log(seconds), 1)[0]
    powers = {
        "launches": 0,
        "traffic": 2,
        "arithmetic": 3,
    }  # of n: nothing grows; n² numbers in a matrix; n³ multiplications in a product
    return slope, min(powers, key=lambda reason: abs(slope - powers[reason]))
    ### END SOLUTION


# %% exercise="8.5" points=10
checks.waits_for(waits_for)

# %% [markdown]
# Now the real ones, on this device: additions of tiny matrices, Adam on one weight matrix, a product of two matrices. They are kept short, so that now
# and then a busy machine leaves one alone. The last column is the highest rate of operations that each reaches, beside the highest of the table.
#
# Why that column? Adam does its few operations on each number too, so its arithmetic grows like its traffic. And a slope is never as clean as the rule:
# numbers that no longer fit into the cache come more slowly, and make it steeper. Who waits for *arithmetic* keeps the arithmetic units busy. So a slope
# that says so far below the best rate is not believed.


# %%
def tiny_additions(n):
    some = torch.randn(n, n, device=device)
    return lambda: [some.add(some) for _ in range(100)]


def adam_step(n):
    weight = torch.nn.Parameter(torch.randn(n, n, device=device))
    weight.grad = torch.randn_like(weight)
    return torch.optim.Adam([weight]).step


def matrix_product(n):
    some = torch.randn(n, n, device=device)
    return lambda: some @ some


def least_seconds(works, rounds=20):
    """Of each work, the least of several: other programs only ever add time. The works take turns, so that a busy moment meets them all."""
    return np.min([[seconds(work, rounds=1) for work in works] for _ in range(rounds)], axis=0)


wide = 8 if device.type == "cuda" else 1  # a GPU needs more before it is busy
three = {
    "tiny additions": (tiny_additions, (2, 4, 8, 16), lambda n: 100 * n**2),
    "Adam": (adam_step, tuple(wide * n for n in (256, 384, 512, 768)), lambda n: 12 * n**2),
    "matrix product": (matrix_product, tuple(wide * n for n in (128, 192, 256, 384, 512)), lambda n: 2 * n**3),
}
rows, rates = {}, {}
for name, (operation, sides, count) in three.items():
    sides = np.array(sides)
    took = least_seconds([operation(int(n)) for n in sides])
    slope, reason = waits_for(sides, took)
    rows[name] = {"sides": f"{sides[0]:,} to {sides[-1]:,}", "slope": round(slope, 2), "waits for": reason}
    rates[name] = (count(sides) / took).max()
ran["8.14 growth with the side"] = where
waits = pd.DataFrame(rows).T
waits["share of the highest rate"] = [f"{rate / max(rates.values()):.1%}" for rate in rates.values()]
waits

# %%
helps = {
    "launches": "fewer and larger operations: a larger batch, `compile`, fused kernels",
    "traffic": "fewer bytes: shorter numbers, kernels that do several things to a number while it is there (a fused optimiser), a faster memory",
    "arithmetic": "a higher peak: tensor cores, tf32, bf16",
}
reached = {name: rate / max(rates.values()) for name, rate in rates.items()}


def told(name):
    """What an operation waits for, by both columns, in words."""
    reason = waits.loc[name, "waits for"]
    if reason == "arithmetic" and reached[name] < 0.5:
        return f"not for arithmetic, whatever its slope says: it reaches {reached[name]:.1%} of the highest rate. Measure it again on an idle machine"
    return f"for **{reason}** ({reached[name]:.1%} of the highest rate)"


adam_waits = waits.loc["Adam", "waits for"]
say(
    "The tiny additions wait {tiny}. The product waits {product}. Adam waits {adam}.{helps} {verdict}",
    tiny=told("tiny additions"),
    product=told("matrix product"),
    adam=told("Adam"),
    helps=f" What helps there is {helps[adam_waits]}." if adam_waits != "arithmetic" else "",
    verdict="The estimates of this chapter count launches and arithmetic: what waits for memory takes longer, and a GPU with more arithmetic alone does not "
    "bring it down."
    if "traffic" in set(waits["waits for"])
    else "",
)

# %% [markdown]
#
# ## 8.15 What ran where
#
# Which lines of this page were run on which device, in this build:

# %%
lines = pd.Series(ran, name="run on").rename_axis("line of this chapter").to_frame()
elsewhere = "not run: no GPU" if device.type == "cpu" else "not run: one GPU, and it needs two"
absent = ["8.12 two processes on GPUs (nccl)", "8.13 two nodes, SLURM, FSDP on GPUs"] + [
    "8.3 torch.cuda's memory",
    "8.7 tensor cores",
] * (device.type == "cpu")
for line in absent:
    lines.loc[line] = "not run: no cluster" if "8.13" in line else elsewhere
lines.sort_index(key=lambda index: [float(line.split()[0].split(".")[1]) for line in index])

# %%
machines = sorted({named(one.machine) for one in benchmarks})
devices = sorted({one.provenance["machine"].get("device", "processor") for one in trainings("laptop")})
Markdown(
    f"Stored, and shown above: benchmarks of {'; '.join(machines) or 'no machine'}; `laptop` trainings made on {', '.join(devices) or 'no device'}. "
    "So is the GPU memory of 8.3. Everything else is of this machine, or counted."
)

# %% [markdown]
# ## What you can now do
#
# - Write a training loop that does not know its device, and time it without fooling yourself.
# - Count a training's bytes and operations before it runs, and say which of the two will stop you.
# - Tell from one step whether a GPU computes or waits, and from how an operation's time grows, for what it waits.
# - Choose a precision knowing what it costs: in digits, in a loss scale, in words.
# - Split a batch over steps or processes so that it *is* the large batch, and say for which losses that cannot be.
# - Kill a training without fear, and hand it to a queue.
#
# ## Sources
#
# - Paulius Micikevicius et al.: *Mixed Precision Training*, ICLR 2018: float16 weights' master copy, loss scaling.
# - Tianqi Chen, Bing Xu, Chiyuan Zhang, Carlos Guestrin: *Training Deep Nets with Sublinear Memory Cost*, 2016: forget and compute again.
# - Shen Li et al.: *PyTorch Distributed: Experiences on Accelerating Data Parallel Training*, VLDB 2020; Yanli Zhao et al.: *PyTorch FSDP*, VLDB 2023.
# - Luyu Gao, Yunyi Zhang, Jiawei Han, Jamie Callan: *Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup*, RepL4NLP 2021.
# - Diederik Kingma, Jimmy Ba: *Adam*, ICLR 2015; Sashank Reddi, Satyen Kale, Sanjiv Kumar: *On the Convergence of Adam and Beyond*, ICLR 2018 (amsgrad).
# - Peaks and memory of GPUs: NVIDIA's data sheets, dense, as `rrg_lib.performance.budget.GPUS` lists them. Sizes of MIMIC-CXR: CMN, Table 1.
# - Reports and codes: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes no report.
