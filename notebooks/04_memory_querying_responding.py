# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 3, peak_gib: 2}
# ---

# %% [markdown]
# # 4 · Querying and responding: one memory for images and words
#
# **Goals.** Read the memory line by line (CMN Eq. 4–15): who asks, what is compared, what comes back. Train it beside BASE and BASE+MEM. Find
# out what it costs, what it does before it has learnt anything, and whether a word and its image region really meet in it.
#
# **Before this.** Chapter 03: patches, tokens, teacher forcing, attention.
#
# **Minutes.** Running: about two on two CPU cores once the data and the extractor are there, one when the systems are trained already. Reading
# 40, exercises 35.
#
# > The radiographs of this chapter are **drawn** from the expert codes of real studies, with a box around each drawn finding. That is why we can ask whether
# > attention lands where the finding is. Its scores are **not comparable with published ones**.

# %% tags=["parameters"]
DATASET = "iu_phantom"
DATA_ROOT = None  # the folder of real images, for the datasets that need one
PROFILE = "ci"  # ci | laptop | gpu
SEED = None  # None: the seed of the preset, as released

# %%
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import inspect
import itertools
import math
import textwrap
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from rrg_lib.book.checks import memory_querying_responding as checks
from rrg_lib.book.explorer_view import explorer_view
from rrg_lib.book.figures import memory_querying_responding as figures
from rrg_lib.book.study_verdicts import show_study
from rrg_lib.evaluation.attention import (
    CROSS_ATTENTION,
    SHARED_SLOTS,
    box_cover,
    box_score,
    box_summary,
    box_table,
    find_mentions,
    look,
)
from rrg_lib.experiments import results as kept_results
from rrg_lib.experiments.attention_results import stored_attention
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.reports import ValidationScores, write_reports
from rrg_lib.experiments.run import Run
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.memory import CMNConfig
from rrg_lib.models.memory.base import read_slots
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.transformer import merge_heads, split_heads
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.replication.decision_rule import smallest_difference
from rrg_lib.replication.exact_checks import MIMIC_VOCABULARY, memory_cost, parameters
from rrg_lib.replication.ledger_tables import released_beside_printed
from rrg_lib.replication.seed_scores import measured as measured_of
from rrg_lib.replication.seed_scores import swept
from rrg_lib.replication.study_plan import study_plan
from rrg_lib.replication.study_report import study_report
from rrg_lib.runtime.package_data import table as shipped
from rrg_lib.training import build_optimizer

# %% [markdown]
# ## 4.1 The idea
#
# A patch at the left lung base and the word *effusion* speak different languages. CMN puts a table between them, a matrix $\mathbf M$ of $N$
# *memory slots*. The patch asks the table and adds what it hears to itself. Later the word asks **the same table**. If both come to ask the same
# slots, they have found a common language. That is the hope; at the end of this chapter we measure it.
#
#     features ──query──▶ memory ──respond──▶ responses ──fuse──▶ features'
#
# | system (CMN, Table 2) | memory |
# |---|---|
# | BASE | none |
# | BASE+MEM | two matrices: one for patches, one for words |
# | CMN | one matrix for both |
#
# We train the three (or find them trained) and look at how well they predict the validation reports. In the table, `finding-F1` is the F1 of the
# findings that the written reports assert (a labeler reads them) against those that the experts coded, over all validation studies; `distinct` is how
# many different texts were written for them: 1 would be the same report for everybody.

# %%
runs = {
    name: Run.of(experiment(f"{DATASET}/{name}", PROFILE, seed=SEED), data_root=DATA_ROOT)
    for name in ("base", "mem", "cmn")
}
results = {name: run.train() for name, run in runs.items()}
kept = pd.DataFrame(
    {name: result.history[result.best_epoch] for name, result in results.items()}
).T  # the epoch chosen on validation studies
kept[["train_loss", "validation_loss", "BLEU-4", "finding-F1", "distinct"]].astype(float).round(3)

# %% [markdown]
# One seed, and in the `ci` profile a very short training: these rows say that the systems run, not which is better. Chapter 10 compares them with
# intervals.
#
# Now the lesson's material: the trained CMN, and eight test studies that have something drawn.

# %%
run = runs["cmn"]
dataset, generator = run.dataset, run.generator().requires_grad_(False)
memory = generator.memory
test = run.batches("test")
eight = sorted(test.indices, key=lambda i: not dataset.boxes(i))[:8]
batch = test.collate(eight)
if generator.extractor is not None:  # a fine-tuned extractor is part of the generator: let it look first
    batch = replace(batch, inputs=generator.extractor(batch.inputs).patches)

# %% tags=["nbval-check-output"]
B, S, T = len(eight), batch.inputs.shape[1], batch.tokens.shape[1] - 1
d, h = generator.config.d_model, generator.config.heads
N, K, d_k = memory.config.slots, memory.config.top_k, d // h
print(f"{B} studies, {S} patches each, up to {T} words; d = {d} in {h} heads of {d_k}; N = {N} slots, K = {K}")

# %% [markdown]
# Who asks? The patches $\mathbf x_s$ as the generator embeds them, and the words $\mathbf y_t$: embedding plus position.
#
# *Paper: $\mathbf y_t$ is the word's embedding. Release: the embedding times $\sqrt d$ plus the position code. We do as released.* So a word at
# place 3 and the same word at place 30 are two different questions; a patch asks before it gets a position, so it does not know where it is.

# %%
x = generator.patch_embedding(batch.inputs)  # (B, S, d)
y = generator.token_positions(generator.token_embedding(batch.tokens[:, :-1]) * math.sqrt(d))  # (B, T, d)

# %% [markdown]
# ## 4.2 Keys and queries
#
# > CMN Eq. 4–6 &nbsp; $\mathbf k_i = \mathbf m_i \mathbf W_k \qquad \mathbf q_s = \mathbf x_s \mathbf W_q \qquad \mathbf q_t = \mathbf y_t \mathbf W_q$
#
# There is one $\mathbf W_k$ and one $\mathbf W_q$. Patch and word are put through the *same* matrix: that is all that "cross-modal" means here.
#
# *Paper: no bias. Release: each map has a bias, and the queries are split into heads ("threads"). We do as released.* Section 4.8 shows that the
# bias matters more than one would think.

# %%
W = memory.projections["shared"]  # W_q, W_k, W_v and an output map
M = memory.matrices["shared"]  # (N, d)
k = split_heads(W.key(M), h)  # (h, N, d_k)      Eq. 4
q_s = split_heads(W.query(x), h)  # (B, h, S, d_k)   Eq. 5
q_t = split_heads(W.query(y), h)  # (B, h, T, d_k)   Eq. 6

# %% tags=["nbval-check-output"]
{name: tuple(t.shape) for name, t in {"M": M, "k": k, "q_s": q_s}.items()}

# %% [markdown]
# ## 4.3 Scores
#
# > CMN Eq. 7–8 &nbsp; $D_{s_i} = \dfrac{\mathbf q_s\cdot\mathbf k_i^\top}{\sqrt d}\qquad D_{t_i} = \dfrac{\mathbf q_t\cdot\mathbf k_i^\top}{\sqrt d}$
#
# *Paper: $\sqrt d$ with the $d$ of the memory. Release: $\sqrt{d/h}$, because each head asks on its own with $d_k = d/h$ numbers. We do as
# released; `CMNConfig(scale="model")` is the paper's.*

# %%
D_s = q_s @ k.transpose(-2, -1) / math.sqrt(d_k)  # (B, h, S, N)   Eq. 7
D_t = q_t @ k.transpose(-2, -1) / math.sqrt(d_k)  # (B, h, T, N)   Eq. 8

# %% [markdown]
# ## 4.4 Weights: the K best
#
# > CMN Eq. 9–10 &nbsp; $w_{s_i}=\dfrac{\exp D_{s_i}}{\sum_{j=1}^{\mathcal K}\exp D_{s_j}}\qquad
# > w_{t_i}=\dfrac{\exp D_{t_i}}{\sum_{j=1}^{\mathcal K}\exp D_{t_j}}$
#
# The sum runs over the $\mathcal K$ slots with the highest scores. First choose, then normalise: the weights of the chosen sum to one. Each head
# chooses for itself.
#
# *Paper: nothing more. Release: dropout of 0.1 on these weights while training. We do as released; here the generator is in evaluation mode.*

# %%
best_s, indices_s = D_s.topk(K, dim=-1)  # (B, h, S, K)
best_t, indices_t = D_t.topk(K, dim=-1)  # (B, h, T, K)
w_s, w_t = best_s.softmax(dim=-1), best_t.softmax(dim=-1)  # Eq. 9-10

# %% tags=["nbval-check-output"]
print("weights of one query:", tuple(w_s[0, 0, 0].shape), "sum", round(w_s[0, 0, 0].sum().item(), 5))

# %% [markdown]
# Look before you believe it. Below is one patch of the first of our eight studies, one that lies in the box of its first drawn finding.
#
# *What to see: left, how steep the curve is where it is cut: is K a step that the scores suggest, or a decision of ours? Right, the red weights
# are the grey ones times one factor, so that K of them sum to one. How far above 1/K does the best slot get?*

# %%
cover = box_cover(dataset.boxes(eight[0])[:1]) if dataset.boxes(eight[0]) else np.ones((2, 7, 7))
patch = int(cover.ravel().argmax())
figures.slot_scores(D_s[0, 0, patch].numpy(), indices_s[0, 0, patch].numpy(), name="04_slot_scores")

# %% [markdown]
# ## 4.5 Values and responses
#
# > CMN Eq. 11–13 &nbsp; $\mathbf v_i = \mathbf m_i\mathbf W_v\qquad
# > \mathbf r_{x_s} = \sum_{i=1}^{\mathcal K} w_{s_i}\mathbf v_i\qquad \mathbf r_{y_t} = \sum_{i=1}^{\mathcal K} w_{t_i}\mathbf v_i$
#
# *Paper: the sum is the response. Release: the heads' sums are joined and go through one more linear map, as in any multi-head attention. We do
# as released.*

# %%
v = split_heads(W.value(M), h)  # (h, N, d_k)           Eq. 11
heads = torch.arange(h)[None, :, None, None]  # picks each head's own table
a_s = (w_s[..., None] * v[heads, indices_s]).sum(-2)  # (B, h, S, d_k)        Eq. 12
a_t = (w_t[..., None] * v[heads, indices_t]).sum(-2)  # (B, h, T, d_k)        Eq. 13
r_s, r_t = W.output(merge_heads(a_s)), W.output(merge_heads(a_t))  # (B, S, d), (B, T, d): as released

# %% [markdown]
# The library does this in one place, for patches and for words. It never builds the (B, h, S, K, d_k) tensor that `v[heads, indices_s]` is: it sums
# the K values as it fetches them (an *embedding bag*). Nor does it hold all scores, (B, h, S, N): a part of the queries at a time, small enough for
# the processor's cache.
#
# `memory.slots(labels, modality)` gives what may be asked: an object with the `keys` and `values` of all slots. Some later memories show each study
# only the slots of its labels (chapter 05). CMN has no such gate and ignores labels: hence `None`. `"image"` says who asks; CMN's one matrix gives words
# the same slots. The lesson's lines and the library agree:

# %%
slots = memory.slots(None, "image")  # .keys and .values, (1, h, N, d_k): the 1 stands for all studies
answers, weights, indices = read_slots(q_s, slots, K, scale=1 / math.sqrt(d_k))
torch.testing.assert_close(slots.keys[0], k)
torch.testing.assert_close(weights, w_s)
torch.testing.assert_close(answers, a_s)
for features, response in ((x, r_s), (y, r_t)):
    torch.testing.assert_close(memory.respond(features, slots).vectors, response)

# %% [markdown]
# Three lines of `read_slots` do it; the rest folds and unfolds shapes. `groups` are the queries (all studies in one long row), `drop` is the
# dropout of training, and `linear_weights` belongs to chapter 05.

# %%
lines = [
    line.strip()
    for line in inspect.getsource(read_slots).splitlines()
    if line.strip().startswith(("best, ", "weights = ", "answers = "))
]
assert len(lines) == 3
print("\n".join(lines))

# %% [markdown]
# **Exercise 4.1** (10 min). Write `top_k_read` yourself, for any K: scores, weights and weighted sum of sections 4.3 to 4.5, with the released scale.
# Stop before the heads are joined. Try it first without looking up. Then give two variants to the check, `checks.top_k_read(variant)`: divide *after*
# choosing the top K instead of before (is that allowed?), and softmax over all slots *before* choosing (is that?). Say
# why, before you look at what the chapter's next cell measures of both.


# %% exercise="4.1" level="explain"
def top_k_read(query, keys, values, K):
    """Each head's answer from its K best slots. Shapes (B, h, L, d_k), (h, N, d_k), (h, N, d_k) -> (B, h, L, d_k)."""
    ### BEGIN SOLUTION
    best = (query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])).topk(K, dim=-1)  # (B, h, L, K)
    weights = best.values.softmax(dim=-1)
    heads = torch.arange(len(values))[None, :, None, None]
    return (weights[..., None] * values[heads, best.indices]).sum(-2)
    ### END SOLUTION


# %% exercise="4.1" points=10
checks.top_k_read(top_k_read)  # silent when right

# %%
yours = top_k_read(q_s, k, v, K)  # of the eight studies' patches
verdicts = {True: "changes nothing", False: "is another read"}
undivided = read_slots(q_s, slots, K, scale=1.0)[2]  # the slots that are chosen when nothing was divided yet
same_slots = (undivided.sort(dim=-1).values == indices_s.sort(dim=-1).values).double().mean().item()
carried = D_s.softmax(dim=-1).gather(-1, indices_s)  # of a softmax over all N slots, what the K chosen have
longer = (yours.norm(dim=-1) / (carried[..., None] * v[heads, indices_s]).sum(-2).norm(dim=-1)).mean().item()
Markdown(
    f"Choosing before dividing finds **{same_slots:.1%}** of the slots that choosing after it finds: dividing later {verdicts[same_slots > 0.999]}. "
    f"After a softmax over all {N} slots the {K} chosen weights sum to **{carried.sum(-1).mean().item():.2f}** on average, and your answers are "
    f"{longer:.2f} times as long as theirs: that softmax {verdicts[abs(longer - 1) < 1e-3]}, as it stands. What would mend it?"
)

# %% [markdown]
# **Exercise 4.2** (10 min). With $\mathcal K = N$ every slot may speak, and the memory answers with a soft average of all it knows. Write
# two functions: `ask_all`, and `slots_for`, which counts how many of the heaviest slots it takes until their weights sum to at least `share`. The
# weights sum to 1 over the last axis; what goes in and what comes out are tensors. Which read would you rather look at in a figure?


# %% exercise="4.2" level="explain"
def ask_all(query, keys, values):
    """The memory's answer when every slot may speak. Shapes (B, h, L, d_k), (h, N, d_k), (h, N, d_k) -> (B, h, L, d_k)."""
    ### BEGIN SOLUTION
    weights = (query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(dim=-1)  # (B, h, L, N)
    return weights @ values
    ### END SOLUTION


def slots_for(weights, share):
    """How many of the heaviest slots carry `share` of the weight: (..., N) -> (...)."""
    ### BEGIN SOLUTION
    carried = weights.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    return (carried < share).sum(dim=-1) + 1
    ### END SOLUTION


# %% exercise="4.2" points=10
checks.ask_all(ask_all)
checks.slots_for(slots_for)

# %% [markdown]
# Now count. *What to see: if 90 % of the weight takes 90 % of the slots, all weights are even and no slot leads; the fewer it takes, the more the
# memory has to say about which slots matter.*

# %%
words = batch.mask[:, :-1] > 0  # (B, T): what is not padding
counts = {
    "patches": (slots_for(D_s.softmax(-1), 0.9), slots_for(w_s, 0.9)),
    "words": tuple(slots_for(w, 0.9).transpose(1, 2)[words] for w in (D_t.softmax(-1), w_t)),
}
table = {
    name: {f"of all {N}": every.double().mean().item(), f"of the top {K}": few.double().mean().item()}
    for name, (every, few) in counts.items()
}
pd.DataFrame(table).T.rename_axis("mean number of slots that carry 90 % of the weight").round(1)

# %% [markdown]
# ## 4.6 Fuse: replace or add
#
# > CMN Eq. 14–15 &nbsp; $\{\mathbf z_1,\dots,\mathbf z_S\}=f_e(\mathbf r_{x_1},\dots,\mathbf r_{x_S})\qquad
# > y_t=f_d(\mathbf z_1,\dots,\mathbf z_S,\mathbf r_{y_1},\dots,\mathbf r_{y_{t-1}})$
#
# $f_e$ is the encoder and $\mathbf z_s$ what it makes of patch $s$; $f_d$ is the decoder, which writes the next word $y_t$ (not bold: a word, no
# question) from the responses to the words before it.
#
# *Paper: encoder and decoder read the responses **instead of** the features. Release: the responses are **added** to the features. We do as
# released; `CMNConfig(fusion="replace")` is the paper's.* The difference is not small. When they are added, the network may ignore the memory.
# When they replace, all it learns of the image has passed through weighted sums of N values.

# %%
as_printed = replace(memory.config, fusion="replace").build(d, h).eval()
response = memory.respond(x, slots)
torch.testing.assert_close(memory.fuse(x, response, "image"), x + r_s)  # as released
torch.testing.assert_close(as_printed.fuse(x, response, "image"), r_s)  # Eq. 14 as printed

# %% [markdown]
# How loud is the memory beside the features it is added to? Mean length of the vectors:

# %%
loudness = {"patches": (x, r_s), "words": (y[words], r_t[words])}
pd.DataFrame(
    {
        name: {"feature": f.norm(dim=-1).mean().item(), "response": r.norm(dim=-1).mean().item()}
        for name, (f, r) in loudness.items()
    }
).T.round(2)

# %% [markdown]
# ## 4.7 Ask once, not once a study
#
# Keys and values depend on $\mathbf M$, $\mathbf W_k$ and $\mathbf W_v$ alone: not on the study, not on the beam, not on the word. The release copies
# $\mathbf M$ for every study (and, while it searches, for every beam, at every step) and projects each copy. How much of that is repeated work? We
# count multiplications at the published size.

# %% tags=["nbval-check-output"]
published, full = CMNConfig(), TransformerConfig()
once = 2 * published.slots * full.d_model**2  # W_k and W_v for one copy of M
study_batch, beams, steps = 16, 3, full.max_length + 1  # the released search takes one step more than it needs
print(f"one projection of keys and values:                {once / 1e9:8.2f} thousand million multiplications")
print(f"a training batch of {study_batch}, once per study:          {once * study_batch / 1e9:8.1f}")
print(f"beam search of {study_batch} studies, once per beam and step: {once * study_batch * beams * steps / 1e9:8.0f}")
print(f"ours, for either:                                 {once / 1e9:8.2f}")

# %% [markdown]
# Counting is one thing, the clock another. Both ways give the same keys; the times are of this machine, in this run.

# %%
big = CMNConfig().build(full.d_model, full.heads).eval().requires_grad_(False)
project, content = big.projections["shared"].slots, big.matrices["shared"][None]  # (1, N, d)


def seconds(work, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


torch.testing.assert_close(project(content).keys, project(content.expand(2, -1, -1)).keys[:1], atol=1e-5, rtol=1e-4)
ours, per_study = seconds(lambda: project(content)), seconds(lambda: project(content.expand(study_batch, -1, -1)))
print(
    f"projecting once per study takes {per_study / ours:.0f} times as long as once per batch of {study_batch} ({1000 * ours:.0f} ms)"
)

# %% [markdown]
# ## 4.8 What the memory is before it learns
#
# *Paper: $\mathbf M$ is "randomly initialised". Release: each number is drawn from $\mathcal N(0, (1/d)^2)$.* At the published size that is a
# very small number. What does such a memory answer?
#
# We put random weights of the published size under our eight studies and measure, for every query: how much its scores vary over the slots, how
# heavy its best slot is beside $1/\mathcal K$, and how alike the answers to two different queries are (cosine).


# %%
def askers(generator, batch):
    """What asks, in each modality, as one long sequence (1, n, d), padding left out."""
    y = generator.token_embedding(batch.tokens[:, :-1]) * math.sqrt(generator.config.d_model)
    said = batch.mask[:, :-1] > 0
    return {
        "image": generator.patch_embedding(batch.inputs).flatten(0, 1)[None],
        "text": generator.token_positions(y)[said][None],
    }


def likeness(vectors):
    """Mean cosine of two different rows of (n, d)."""
    u = vectors / vectors.norm(dim=-1, keepdim=True)
    return (u.sum(0).square().sum() - len(u)) / (len(u) * (len(u) - 1))


# %%
@torch.no_grad()
def answers_of(generator, batch):
    """What a memory answers, a row a modality."""
    rows, memory = {}, generator.eval().memory
    for who, features in askers(generator, batch).items():
        slots = memory.slots(None, who)
        query = split_heads(memory.projections[slots.owner].query(features), generator.config.heads)
        scores = query @ slots.keys.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (1, h, n, N)
        answer = memory.respond(features, slots)
        lengths = answer.vectors.norm(dim=-1).mean(), features.norm(dim=-1).mean()
        rows[who] = [
            scores.std(-1).mean(),
            answer.weights[..., 0].mean() * memory.config.top_k,
            likeness(answer.vectors[0]),
            *lengths,
        ]
    columns = [
        "std of a query's scores",
        "best weight × K",
        "cosine of two answers",
        "length of answer",
        "length of feature",
    ]
    return pd.DataFrame(rows, index=columns).T.astype(float)


# %%
torch.manual_seed(0)
untrained = ReportGenerator(replace(full, vocab_size=dataset.vocabulary.size, d_vf=batch.inputs.shape[-1]), published)
answers_of(untrained, batch).round(5)

# %% [markdown]
# **The memory begins as one learned constant.** The scores hardly vary, so the K weights are all $1/\mathcal K$ (their product with K is 1);
# whoever asks gets the same vector (cosine 1), and that vector comes from the *biases* of the value and output maps, because the slots themselves
# are next to nothing. Top-$\mathcal K$ is then a choice among equals. With the same weights the library's memory and the released
# code give the same numbers, so the published training starts here too; only the image features that ask are others.
#
# Does training get it out of there? The same table for our trained CMN, and for BASE+MEM with its two matrices:

# %%
trained = {name: runs[name].generator() for name in ("base", "mem", "cmn")}
before = answers_of(run.new_generator(), batch)
pd.concat(
    {
        "CMN, before": before,
        "CMN, trained": answers_of(generator, batch),
        "BASE+MEM, trained": answers_of(trained["mem"], batch),
    }
).round(4)

# %% [markdown]
# *What to see: dotted, before training; solid, after. The steeper a line, the more the memory tells its best slots from the rest. The axis
# is the weight times K: where it stays near 1, the K slots still count alike.*


# %%
@torch.no_grad()
def mean_weights(generator, batch):
    """The mean weight of the best slot, the second, …, (K,), by modality."""
    memory = generator.eval().memory
    return {
        who: memory.respond(f, memory.slots(None, who)).weights.mean((0, 1, 2)).numpy()
        for who, f in askers(generator, batch).items()
    }


curves = {
    f"{who}, {when}": curve
    for when, g in (("before", run.new_generator()), ("trained", generator))
    for who, curve in mean_weights(g, batch).items()
}
figures.weight_curves(curves, name="04_weight_curves")

# %% [markdown]
# ### What would have kept the memory a constant
#
# The small profiles of this book change one more setting of the release: the memory has no weight decay. Here is why. The released optimiser is Adam
# with an *L2 decay* $\lambda$: to every weight's gradient it adds $\lambda$ times the weight. A memory whose slots all answer alike has hardly any
# gradient of its own: whichever slots win, the answer is the same. So at the query and key maps the decay is nearly all the gradient there is, and
# Adam, which divides each gradient by its own size, makes **full-sized steps** of it, towards zero.
#
# *Paper: silent. Release: $\lambda=5\cdot10^{-5}$ on everything. We do as released in the `gpu` profile; in `ci` and `laptop` the memory has no decay
# (`training.weight_decay_memory=0`).* Below, a hundred steps from the same start, three times.


# %%
def query_sizes(steps=100, **settings):
    """The query map's root mean square before each step of a short training and after the last, (steps + 1,)."""
    config = replace(run.experiment.training, warmup_steps=0, schedule="constant", **settings)
    learning = run.new_generator().train()
    optimizer, weight = build_optimizer(learning, config), learning.memory.projections["shared"].query.weight
    sizes = [weight.square().mean().sqrt().item()]
    for some in itertools.islice(
        itertools.cycle(run.batches("train").loader(config.batch_size, seed=config.seed, shuffle=True)), steps
    ):
        output = learning(some)
        report_loss(output.logits, some.tokens, some.mask).backward()
        optimizer.step()
        optimizer.zero_grad()
        sizes.append(weight.square().mean().sqrt().item())
    return np.array(sizes)


# %%
profile_lr, as_released = experiment(f"{DATASET}/cmn", "ci").training.lr, experiment(f"{DATASET}/cmn", "gpu").training
worn = {
    f"decay as released, learning rate {as_released.lr:g} (as released)": query_sizes(
        lr=as_released.lr, weight_decay_memory=None
    ),
    f"decay as released, learning rate {profile_lr:g}": query_sizes(lr=profile_lr, weight_decay_memory=None),
    f"no decay of the memory, learning rate {profile_lr:g}": query_sizes(lr=profile_lr, weight_decay_memory=0.0),
}

# %% [markdown]
# *What to see: the orange lines go down as if someone turned a dimmer. The blue one, without the decay, does not. At the faster rate it is decided within the
# first epoch whether the maps survive; at the released one they are still shrinking where the curve ends.*

# %%
figures.map_sizes(worn, name="04_map_sizes")

# %%
released, faster, without = (curve[-1] / curve[0] for curve in worn.values())
epoch = math.ceil(len(run.batches("train")) / run.experiment.training.batch_size)
Markdown(
    f"After 100 steps (an epoch has {epoch}) the query map has **{released:.0%}** of its size with decay and learning rate as released, **{faster:.1%}** "
    f"with the faster learning rate, and **{without:.0%}** without decay. With queries and keys near zero all scores are equal: top-K picks K slots for "
    "no reason, and CMN is BASE with a learned constant. Whether the same happened in the published training we can't tell without running it; the "
    f"optimiser and the start (slots nearly alike) are the same, and it was given {as_released.epochs} epochs."
)

# %% [markdown]
# ## 4.9 Does it matter what it answers?
#
# Numbers about answers do not say whether the generator listens. So we change the answers of the trained memory and measure the validation
# studies again:
#
# - *the mean answer to all*: every patch gets one fixed vector, the mean answer to the patches of our eight studies, and every word the mean
#   answer to their words (a constant, as before training);
# - *no answer*: the features alone.


# %%
@torch.no_grad()
def on_validation(generator):
    """Loss and finding-F1 on the validation studies."""
    validation, total = run.batches("val"), torch.zeros(2)
    for part in validation.loader(64):
        n = part.mask[:, 1:].sum()
        total += torch.stack([report_loss(generator(part).logits, part.tokens, part.mask) * n, n])
    return {
        "validation_loss": (total[0] / total[1]).item(),
        "finding-F1": ValidationScores(validation)(generator)["finding-F1"],
    }


def with_answers(change):
    """The trained generator, its memory's answers (B, L, d) changed before they are added."""
    other = run.generator()
    other.memory.fuse = lambda features, response, modality: features + change(response.vectors, modality)
    return other


# %%
means = {
    who: memory.respond(f, memory.slots(None, who)).vectors.mean((0, 1)) for who, f in askers(generator, batch).items()
}
changes = {
    "as trained": lambda r, modality: r,
    "the mean answer to all": lambda r, modality: means[modality].expand_as(r),
    "no answer": lambda r, modality: torch.zeros_like(r),
}
listening = pd.DataFrame({name: on_validation(with_answers(change)) for name, change in changes.items()}).T
listening.round(3)

# %%
as_is, constant, silent = listening["validation_loss"]
Markdown(
    f"Without any answer the loss rises by {silent - as_is:.3f} nats a word; with the same answer for everyone by {constant - as_is:.3f}. The second "
    "number is what it is worth here that *different* askers get *different* answers: near 0, the memory is still little more than a learned constant. Finding-F1, of "
    f"one training, moves from {listening['finding-F1'].iloc[0]:.3f} to {listening['finding-F1'].iloc[1]:.3f} and {listening['finding-F1'].iloc[2]:.3f}: "
    + (
        "it does not fall at all. 4.15 asks it of several trainings, on test studies."
        if listening["finding-F1"].iloc[0] <= listening["finding-F1"].iloc[1:].min()
        else "whether that is more than chance, 4.15 asks of several trainings, on test studies."
    )
)

# %% [markdown]
# ### How many slots are in use?
#
# A slot no one asks is dead weight. We let all test studies ask, patches and (reference) words, and count for each head and slot how often it is
# among the K.


# %%
@torch.no_grad()
def times_asked(generator, batches):
    """How often each head's slot is asked on a split, (h, N), by modality; padding left out."""
    h, N = generator.config.heads, generator.memory.config.slots
    counts = {"image": torch.zeros(h, N), "text": torch.zeros(h, N)}
    for batch in batches.loader(64):
        output, here = generator(batch), batch.mask[:, :-1] > 0
        asked = {
            "image": output.image.indices.transpose(0, 1).flatten(1),
            "text": output.text.indices.transpose(0, 1)[:, here].flatten(1),
        }
        for who, slots in asked.items():  # (h, number of questions · K)
            counts[who] += torch.stack([torch.bincount(row, minlength=N) for row in slots])
    return counts


# %%
def shares(generator):
    """How often each slot is asked among all that are, (h, N) by modality: each head sums to 1."""
    asked = times_asked(generator, test)
    return asked, {who: count / count.sum(-1, keepdim=True) for who, count in asked.items()}


def meeting_share(share):
    """How much of what words ask is what patches ask, mean over heads."""
    return torch.minimum(share["image"], share["text"]).sum(-1).mean().item()


(counted_of, share), lines = shares(generator), []
for who, count in counted_of.items():
    p = share[who]
    even = (
        torch.exp(torch.special.entr(p).sum(-1)).mean().item()
    )  # e to the entropy: as many slots, if all were asked equally often
    ever = f"{(count > 0).float().mean():.0%} of the {h} × {N} slots of the heads are asked at least once"
    lines.append(f"- {who}: {ever}, as if **{even:.0f} of {N}** shared the work")
together, unlearnt = meeting_share(share), meeting_share(shares(run.new_generator().eval())[1])
lines.append(
    f"- what patches ask and what words ask overlap by **{together:.0%}** (100 % would be the same slots, equally often; {unlearnt:.0%} before training)"
)
Markdown("\n".join(lines))

# %% [markdown]
# The last number is a first test of "cross-modal": a shared memory is only shared if both modalities go to the same slots.

# %% [markdown]
# ## 4.10 A word and its region
#
# CMN's Figures 5 and 6 show words and image regions that meet in the memory. We can do what the paper could not: our findings were drawn, so **we
# know where they are**.
#
# For a finding word in a report, two maps over the patches:
#
# 1. **shared slots**: the word asks K slots in each head, every patch asks K. The map is $\sum_i \min(w_{\text{word},i}, w_{\text{patch},i})$ over
#    all slots of a head (one that was not chosen weighs 0), averaged over heads. It is large where word and patch weigh the same slots.
# 2. **cross-attention** of the decoder while it writes the word, averaged over layers and heads: where does it look?
#
# One thing to keep in mind about the first: the word's question depends on the word and its place in the report, and on *nothing else*. It does
# not know the study. The same beginning of a report asks the same slots, whatever the image:

# %%
same_words = batch.tokens[:1].expand(2, -1)
two = replace(batch, inputs=batch.inputs[:2], tokens=same_words, mask=batch.mask[:1].expand(2, -1))
output = generator(two)
torch.testing.assert_close(output.text.weights[0], output.text.weights[1])
"different images, same words: same questions, same answers"

# %% [markdown]
# **Exercise 4.3** (5 min). The count behind the map. `word` (h, K) holds the numbers of the slots that a word asked, `patches` (h, S, K) of
# those that each patch asked; no weights here. How many slots does each patch share with the word? Their order does not matter. Mind the heads.


# %% exercise="4.3" level="implement"
def shared_with(word, patches):
    """Number of slots that each patch shares with the word, added over the heads. Shapes (h, K), (h, S, K) -> (S,)."""
    ### BEGIN SOLUTION
    same = word[:, None, :, None] == patches[:, :, None, :]  # (h, S, K, K): head by head, every slot with every slot
    return same.sum(dim=(0, 2, 3))
    ### END SOLUTION


# %% exercise="4.3" points=5
checks.shared_with(shared_with)

# %% [markdown]
# Now the generator writes the test reports (greedy), and we find the words that assert a finding that was really drawn. The reference reports are
# read in the same way: after a short training the generator may assert nothing, and then we show it a reference to read.
#
# The study to look at is chosen by a rule, not by how well it comes out: the first of those with the most such findings in boxes that are larger
# than a patch and smaller than a fifth of the pictures (smaller than a patch, a box shows nothing; hyperinflated lungs are half of the film).

# %%
greedy = DecodingConfig(beam_size=1, max_length=generator.config.max_length)
written = write_reports(generator, test, dataset.vocabulary, greedy)
references = {dataset.ids[i]: dataset.reference(i) for i in test.indices}
in_generated, in_references = box_table(generator, test, written), box_table(generator, test, references)
say, reports, whose = (
    (in_generated, written, "generated") if len(in_generated) else (in_references, references, "reference")
)
each = say[say["chance"].between(1 / S, 0.2)].groupby("study")["finding"].nunique()
chosen = dataset.index(each.idxmax()) if len(each) else test.indices[0]
print(
    f"{in_generated['study'].nunique()} generated reports assert a finding that was drawn; we read the {whose} report of {dataset.ids[chosen]}"
)
print(textwrap.fill(written[dataset.ids[chosen]], 120, initial_indent="generated: "))

# %%
report = reports[dataset.ids[chosen]]
seen = look(generator, test.collate([chosen]).inputs, [[dataset.vocabulary.ids[word] for word in report.split()]])
rows = []
for mention in {m.finding: m for m in reversed(find_mentions(report))}.values():  # the first mention of each finding
    boxes = [box for box in dataset.boxes(chosen) if box.finding == mention.finding]
    maps = {
        SHARED_SLOTS: seen.overlap(0, mention.words).weight.numpy(),
        CROSS_ATTENTION: seen.cross_map(0, mention.words).numpy(),
    }
    label = " ".join(report.split()[word] for word in mention.words)
    rows.append(figures.WordMaps(label, boxes, maps))
rows = sorted(rows, key=lambda row: not row.boxes)[:3]

# %% [markdown]
# *What to see: each row is a finding that the report asserts; left pair the patches that ask the same slots as its words, right pair where the
# decoder looks while it writes them; blue boxes: where that finding was drawn (no box: it was not; both views are drawings). Colour is how many
# times the map's mean a patch gets; look at the scale: a map that hardly leaves 1 says nothing, however lively it looks.*

# %%
if rows:
    display(figures.word_regions(dataset.views(chosen), rows, name="04_word_regions"))

# %% [markdown]
# How much lies in the boxes? `inside` is the share of the map in the box and `chance` the share of the area that the box takes: what a map that
# knows nothing would get.

# %%
scored = [
    {
        "words": row.words,
        "look": name,
        **vars(box_score(values, box_cover(row.boxes))),
        "largest / mean": values.max() / values.mean(),
    }
    for row in rows
    if row.boxes
    for name, values in row.maps.items()
]
pd.DataFrame(scored).round(3)

# %% [markdown]
# **Exercise 4.4** (10 min). The box score of one view: the map is a tensor, the box four floats. Row 0 of the map is the top of the view, column 0
# its left; $x$ runs along a row, $y$ down a column. A patch that the box covers by a third counts a third.


# %% exercise="4.4" level="implement"
def share_in_box(attention, box):
    """Share of a map (7, 7), of any sum, that lies in a box (x0, y0, x1, y1) given as fractions of the view."""
    ### BEGIN SOLUTION
    x0, y0, x1, y1 = box
    edges = torch.arange(8) / 7
    columns = (edges[1:].clamp(max=x1) - edges[:-1].clamp(min=x0)).clamp(min=0) * 7  # (7,): covered part of each column
    rows = (edges[1:].clamp(max=y1) - edges[:-1].clamp(min=y0)).clamp(min=0) * 7
    return (attention * rows[:, None] * columns[None]).sum() / attention.sum()
    ### END SOLUTION


# %% exercise="4.4" points=10
checks.share_in_box(share_in_box)

# %% [markdown]
# ### Three systems, one study
#
# CMN's Figure 5 sets BASE, BASE+MEM and CMN beside each other on **one** study. Here is ours. The study, its report and the words were chosen above, by a rule
# that looked at CMN's reports and at no map. To all three systems we read the same words, so the maps compare. All three have a decoder that looks at the
# patches; that is the one look that they share.
#
# *What to see: a row is a system, with the first of the findings above that was drawn. Blue: where it was drawn. The three rows have one scale. Is CMN's map
# the one that lies in the box?*

# %%
drawn_words = next((row for row in rows if row.boxes), None)
if drawn_words:
    numbers = [[dataset.vocabulary.ids[word] for word in report.split()]]
    (mention,) = (
        m
        for m in {m.finding: m for m in reversed(find_mentions(report))}.values()
        if m.finding == drawn_words.boxes[0].finding
    )
    looks = {
        name: look(runs[name].generator(), test.collate([chosen]).inputs, numbers).cross_map(0, mention.words).numpy()
        for name in runs
    }
    titles = {"base": "BASE", "mem": "BASE+MEM", "cmn": "CMN"}
    three = [
        figures.WordMaps(drawn_words.words, drawn_words.boxes, {CROSS_ATTENTION: m}, titles[name])
        for name, m in looks.items()
    ]
    display(figures.word_regions(dataset.views(chosen), three, name="04_three_systems"))
    shares = {titles[name]: box_score(m, box_cover(drawn_words.boxes)) for name, m in looks.items()}
    display(
        pd.DataFrame({name: {"inside / chance": part.inside / part.chance} for name, part in shares.items()}).round(2)
    )

# %% [markdown]
# One study and one seed can show anything. The stored `laptop` trainings were asked over **all** test studies, the same words of the references to all of
# them. Chance is 1.

# %%
asked_looks = [quality for quality in stored_attention("laptop", DATASET) if quality.experiment.preset in runs]
latest = {}
for quality in asked_looks:  # of a seed that was trained in two editions, the one of this edition
    key = quality.experiment.preset, quality.experiment.training.seed
    latest[key] = quality if key not in latest or quality.name.endswith("-tuned") else latest[key]
lines = []
for (name, seed), quality in latest.items():
    of_all = quality.rows[(quality.rows["words"] == "reference") & (quality.rows["finding"] == "all")].set_index("look")
    lines += [
        {"system": name, "seed": seed, "look": which, **row[["ratio", "low", "high"]]}
        for which, row in of_all.iterrows()
    ]
stored_ratios = pd.DataFrame(lines)
if len(stored_ratios):
    seeds_of = (
        stored_ratios.groupby(["look", "system"])["ratio"]
        .agg(["mean", "min", "max", "size"])
        .rename(columns={"size": "seeds"})
    )
    display(seeds_of.assign(chance=1.0).round(3))

# %%
if len(stored_ratios):
    gaze = {name: stored_ratios.query("look == @CROSS_ATTENTION and system == @name")["ratio"] for name in runs}
    words_of = "; ".join(
        f"{titles_of} {r.mean():.2f} ({len(r)} seeds, {r.min():.2f} to {r.max():.2f})"
        for titles_of, r in gaze.items()
        if len(r)
    )
    overlap = len(gaze["base"]) and len(gaze["cmn"]) and gaze["cmn"].min() <= gaze["base"].max()
    display(
        Markdown(
            f"The decoder's cross-attention, times chance in the boxes: {words_of}. "
            + (
                "The seeds of CMN and of BASE overlap: they do not show that the memory makes the decoder look better."
                if overlap
                else "CMN's seeds lie above BASE's."
            )
        )
    )

# %% [markdown]
# ### Look around yourself
#
# The same two looks, one word at a time. Point at a word, or move with the arrow keys; a click holds it. Below the films stands what might have been said
# instead. The two systems are small ones that learnt from sampled `phantom` studies alone (profile ci), so what they write is our own grammar's.
#
# 1. Which words look at the findings: the finding's name, its side, or the full stop after it?
# 2. Go to a word of a sentence that says *no*. Where could one look for what is not there?
# 3. BASE+MEM has no shared slots. Why? (4.1 has the answer.)
#
# (An empty frame: run the cell, or trust the notebook, *File → Trust Notebook*. Systems of your own: `explorer_view(data=explored([…], explored_studies()))`,
# with `TrainedSystem.open(folder)` for each.)

# %%
explorer_view("cmn", "mem")

# %% [markdown]
# ## 4.11 Over all test studies
#
# One study is an anecdote. The same score over all, for the words the generator wrote and, because those are few after a short training, for the
# finding words of the reference reports, read into the generator. Two guards against fooling ourselves:
#
# - `others`: the *mean map of the other studies* scored in this study's boxes. A heart is always in the same place; a map that always lights up
#   there scores well without looking.
# - rows that **cannot** know from shared slots: a memory before training, and BASE+MEM, whose slot 7 for words has nothing to do with its slot 7 for
#   patches.

# %%
new = run.new_generator().eval()
tables = {
    "CMN before training": box_table(new, test, references),
    "BASE+MEM": box_table(trained["mem"], test, references),
    "BASE": box_table(trained["base"], test, references),
    "CMN": in_references,
    "CMN, its own words": in_generated,
}
found = {name: box_summary(table, by=["look"]) for name, table in tables.items() if len(table)}
overall = pd.concat(found) if found else pd.DataFrame()
if found:
    display(
        overall.assign(others=overall["others"] / overall["chance"])[
            ["n", "studies", "ratio", "low", "high", "others", "auc"]
        ].round(3)
    )

# %% [markdown]
# `ratio` is inside / chance with its 95 % interval over studies (`low`, `high`), `others` the same for the mean map of the other studies; `auc`
# asks only for the order: how often does a point in the box get more than a point outside (0.5 = chance)?

# %%
if len(overall):
    shared, cross = (overall.xs(name, level=1) for name in (SHARED_SLOTS, CROSS_ATTENTION))
    one, null, two = shared.loc["CMN"], shared.loc["BASE+MEM"], cross.loc["CMN"]
    verdict = "above" if one.low > 1 else "below" if one.high < 1 else "not distinguishable from"
    text = (
        f"**What came out** ({int(one.n)} mentions in {int(one.studies)} test studies, one training, drawn images). Patches that share slots with a finding "
        f"word lie in its box **{one.ratio:.2f}** times as often as chance [{one.low:.2f}, {one.high:.2f}]: {verdict} chance. But chance is not what "
        f"blindness scores: the row that cannot know (BASE+MEM) has {null.ratio:.2f} [{null.low:.2f}, {null.high:.2f}]. The decoder's cross-attention has **{two.ratio:.2f}** "
        f"[{two.low:.2f}, {two.high:.2f}]. The mean map of the other studies gets {one.others / one.chance:.2f} (shared slots) and "
        f"{two.others / two.chance:.2f} (cross-attention) in the same boxes: only what exceeds that comes from looking at this study."
    )
else:
    text = "These studies have no boxes: nothing to score."
Markdown(text)

# %% [markdown]
# *What to see: filled dots right of the line are better than chance, with intervals over studies (their number in brackets; findings with fewer
# than five are left out). Hollow dots: what the mean map of other studies gets. Only where a filled dot lies right of its hollow one did the
# generator look at **this** study.*


# %%
def of_findings(found, name, fewest=5):
    summary = box_summary(found[found["look"] == name], by=["finding"])
    return summary[summary["studies"] >= fewest]


compared = {
    "CMN, shared slots": (in_references, SHARED_SLOTS),
    "CMN, cross-attention": (in_references, CROSS_ATTENTION),
}
if len(in_references):
    of_each = {label: of_findings(*what) for label, what in compared.items()}
    display(figures.box_ratios(of_each, name="04_box_ratios"))
    looking = {
        label: [finding for finding, row in of.iterrows() if row["low"] > row["others"] / row["chance"]]
        for label, of in of_each.items()
    }
    display(
        Markdown(
            "Above other studies' maps by more than their own interval, each finding looked at alone: "
            + "; ".join(
                f"{label}: {', '.join(names) or 'none'} (of {len(of_each[label])})" for label, names in looking.items()
            )
            + ". One training: with other seeds they may be others."
        )
    )

# %% [markdown]
# ## 4.12 Where the slots lie
#
# CMN's Figure 6 lays the memory out with t-SNE, which puts similar slots near each other. So do we: every slot a dot, blue where patches do most of
# the asking, orange where words do; larger when asked more. The name of each of the six most frequent findings stands at the slot that its words
# weigh most.
#
# *What to see: if image and text met everywhere, all dots would be grey. Groups of pure blue or pure orange are slots that one modality has
# taken for itself.*

# %%
asked = {who: count.mean(0).numpy() for who, count in share.items()}  # (N,), mean over heads
favourite = {}
often = in_references["finding"].value_counts().index[:6]
for finding, group in in_references[in_references["finding"].isin(often)].groupby("finding"):
    word = dataset.vocabulary.ids[group["words"].mode()[0].split()[-1]]
    query = (
        generator.token_embedding(torch.tensor([[word]])) * math.sqrt(d) + generator.token_positions.code[20]
    )  # at place 20
    response = memory.respond(query, slots)
    favourite[finding] = int(
        torch.zeros(N).index_add(0, response.indices.flatten(), response.weights.flatten()).argmax()
    )
figures.slot_map(M.numpy(), asked["image"], asked["text"], favourite, name="04_slot_map")

# %% [markdown]
# ## 4.13 How many slots, how many of them
#
# CMN's Figures 3 and 4 vary N and K on MIMIC-CXR: more slots help up to a point, and so do more chosen ones.
#
# - From `laptop` on: one full training for each value.
# - In the `ci` profile a *miniature without training*: the trained memory above loses slots (the first n of its N stay), or is asked for fewer or
#   more of them. That answers another question than the paper's: how much does **this** memory need all its slots, and all the K it is used to?
#
# *What to see: how flat it is, and where BASE lies (dashed). Two trainings that differ only
# in the seed differ in their scores too: a curve that moves by less than that shows nothing.*


# %%
def trained_with(**settings):
    overrides = [f"memory.{name}={value}" for name, value in settings.items()]
    other = Run.of(experiment(f"{DATASET}/cmn", PROFILE, overrides, seed=SEED), data_root=DATA_ROOT)
    result = other.train()
    return {name: result.history[result.best_epoch][name] for name in ("validation_loss", "finding-F1")}


def asked_with(slots=N, top_k=K):
    other = run.generator()
    other.memory.config = replace(other.memory.config, slots=slots, top_k=top_k)
    other.memory.matrices["shared"] = torch.nn.Parameter(M[:slots])
    return on_validation(other)


# %%
miniature = PROFILE == "ci"
vary = asked_with if miniature else trained_with
here = {
    "validation_loss": as_is,
    "finding-F1": listening.loc["as trained", "finding-F1"],
}  # N slots, K asked: measured above
over_N = pd.DataFrame(
    {n: vary(slots=n, top_k=min(K, n)) for n in ([N // 8, N // 2] if miniature else [N // 16, N // 4, 4 * N])}
    | {N: here}
).T
over_K = pd.DataFrame({k: vary(top_k=k) for k in (1, K // 4, N)} | {K: here}).T
labels = ("N, slots left to it", "K, slots asked") if miniature else ("N, slots", "K, slots asked")
tables = dict(zip(labels, (over_N.sort_index(), over_K.sort_index()), strict=True))
figures.sweep(tables, reference=kept.loc["base"], name="04_sweeps")

# %%
printed = [
    row
    for row in shipped("published")
    if row["where"] in ("Figure 3", "Figure 4") and row["paper"].startswith("R2GenCMN")
]
lines = [f"- {row['where']}, {row['dataset']}: {row['metric']} is **{row['value']}**" for row in printed]
spread_N, spread_K = (np.ptp(t["validation_loss"]) for t in (over_N, over_K))
Markdown(
    f"The paper says:\n\n{chr(10).join(lines)}\n\nHere the validation loss moves by {spread_N:.4f} over N and by {spread_K:.4f} over K (nats a word)."
)

# %% [markdown]
# The question that the paper asks takes a training for each value. The project keeps such trainings, `laptop` profile, several seeds a value, every value
# trained anew. All are of one edition and searched alike (greedily), BASE among them.
#
# *What to see: the mean of a row beside the spread of its seeds, and BASE at the end.*

# %%
kept_runs = kept_results.stored_results("laptop", DATASET)
trained_sweeps = {
    (setting, score): swept(kept_runs, "cmn", f"memory.{setting}", DATASET, score, profile="laptop")
    for setting in ("slots", "top_k")
    for score in ("finding-F1", "BLEU-4")
}
for setting, letter in (("slots", "N"), ("top_k", "K")):
    by_score = {score: trained_sweeps[setting, score] for score in ("finding-F1", "BLEU-4")}
    cells = {score: {f"{letter} = {v}": str(m.spread) for v, m in found.items()} for score, found in by_score.items()}
    counted = {f"{letter} = {v}": m.spread.n for v, m in by_score["finding-F1"].items()}
    if counted:
        display(pd.DataFrame(cells).assign(seeds=pd.Series(counted)))
trained_how = next((m.protocol for found in trained_sweeps.values() for m in found.values()), None)
without_memory = {
    score: measured_of(kept_runs, "base", DATASET, score, profile="laptop", protocol=trained_how)
    for score in ("finding-F1", "BLEU-4")
}
if all(without_memory.values()):
    display(
        pd.DataFrame({"BASE": {score: str(m.spread) for score, m in without_memory.items()}}).T.assign(
            seeds=without_memory["BLEU-4"].spread.n
        )
    )


# %%
def doubling(found):
    """Slope of the means over log2 of the setting, with the standard error that the seeds' spread gives it."""
    x, y = np.log2(list(found)), np.array([m.spread.mean for m in found.values()])
    noise = np.sqrt(np.mean([m.spread.sd**2 / m.spread.n for m in found.values()]))
    spread = ((x - x.mean()) ** 2).sum()
    return ((x - x.mean()) * y).sum() / spread, noise / math.sqrt(spread)


said = []
for (setting, score), found in trained_sweeps.items():
    if len(found) > 2 and all(m.spread.n > 1 for m in found.values()):
        slope, error = doubling(found)
        trend = (
            "flat, as far as these seeds can tell" if abs(slope) < 2 * error else "rising" if slope > 0 else "falling"
        )
        n = sum(m.spread.n for m in found.values())
        said.append(f"- {setting}, {score}: {slope:+.4f} ± {error:.4f} a doubling, {n} trainings: **{trend}**")
Markdown("\n".join(said) if said else "**Not run**: no value has two seeds yet.")

# %% [markdown]
# ### As its text describes it
#
# Where paper and release differ this book builds both. `cmn_as_printed` passes on what the memory answers *instead of* the features (Eq. 14), where the
# release adds it to them, and divides the scores of its queries by the root of the memory's width and not of a head's. All else, the profile's rates and
# schedule too, is the same. What is stored of both, reports searched as tuned (chapter 03), the same studies:
#
# *What to see: each score's two means beside the spread of their seeds.*

# %%
Markdown(released_beside_printed(kept_runs, "cmn", DATASET))

# %% [markdown]
# ## 4.14 What it costs in parameters
#
# CMN, section 4.3: the memory of 4,096 slots adds a small share of parameters to BASE. We count at the published size: the matrix alone, and with
# its four linear maps, which the release needs and BASE does not have; over the encoder-decoder alone and with the ResNet-101 in front of it.


# %% tags=["nbval-check-output"]
def size(module):
    return sum(p.numel() for p in module.parameters())


with torch.device("meta"):  # shapes without numbers
    base = size(ReportGenerator(full))
    resnet = size(VisualExtractor("resnet101"))
    cost = {}
    for n in (published.slots, 4096):
        whole = size(CMNConfig(slots=n).build(full.d_model, full.heads))
        matrix = n * full.d_model
        shares = [f"{100 * added / below:.2f} %" for below in (base, base + resnet) for added in (matrix, whole)]
        cost[n] = [f"{matrix:,}", f"{whole - matrix:,}", *shares]
names = ["matrix", "linear maps", "matrix / BASE", "all / BASE", "matrix / (BASE + ResNet)", "all / (BASE + ResNet)"]
print(pd.DataFrame(cost, index=names).T.rename_axis("N").to_string())
(claim,) = (row for row in shipped("published") if row["metric"] == "extra parameters over BASE, %")
print(f"\n{claim['paper']}, {claim['where']}, {claim['system']}: {claim['value']} %")
print(f"the linear maps cost as much as {(whole - matrix) / full.d_model:,.0f} slots")

# %% [markdown]
# Nearest to the paper's figure is the matrix alone over everything, image network included. What exactly it was divided by is not printed. And the
# vocabulary counts too: word embeddings and logits grow with it. The table above has IU X-Ray's. The paper's sentence is about MIMIC-CXR, whose vocabulary is
# several times as large, and chapter 10 counts with that. The same readings with both:

# %% tags=["nbval-check-output"]
matrix_share = {}
for collection, words_known in (("IU X-Ray", full.vocab_size), ("MIMIC-CXR", MIMIC_VOCABULARY)):
    over = {
        name: parameters(None, vocabulary=words_known, classifier=head)
        for name, head in (("as used", False), ("with its classifier", True))
    }
    matrix_share[f"{collection}, {words_known:,} words"] = {
        f"ResNet-101 {name}": f"{100 * matrix / total:.3f} %" for name, total in over.items()
    }
print(
    pd.DataFrame(matrix_share).T.rename_axis(f"the matrix of {n:,} slots over BASE, image network included").to_string()
)

# %% [markdown]
# (A ResNet-101 ends in a classifier of 1,000 classes, which a report generator drops; whoever counts the file of weights counts it too.) Chapter 10 counts
# more readings, all with MIMIC-CXR's vocabulary:

# %% tags=["nbval-check-output"]
readings = memory_cost(4096)
cut_off = [name for name, percent in readings.items() if int(100 * percent) == round(100 * float(claim["value"]))]
rounded = [name for name, percent in readings.items() if round(percent, 2) == float(claim["value"])]
print(pd.Series({name: f"{percent:.3f} %" for name, percent in readings.items()}).to_string())
print(
    f"\nrounded to two digits equal to {claim['value']} %: {', '.join(rounded) or 'none'}; with the third digit cut off: {', '.join(cut_off) or 'none'}"
)

# %% [markdown]
# Beside the encoder-decoder, which is what it is part of, the memory is not small; and its linear maps are half of it
# at the released N.
#
# ## 4.15 What several seeds say
#
# All of this was one training, or a few. Four questions of this chapter are asked again in *studies*: planned before they are run, several seeds, the test
# studies paired, decided by the rule of chapter 10. They are drawn studies: no replication.
#
# **Does it matter what it answers?** As in 4.9, but on test studies, trainings of several seeds, and with the answers to one side alone replaced by their mean; and
# with a memory that only the patches, or only the words, may ask. The first is a *lesion*: it is done to trained weights, and nothing is trained again. *What to see:
# the dot is the difference, the line its margin if it were alone, the grey band what would not matter; blue or red is told apart, corrected for all comparisons
# that the study makes under a condition, shown here or not. A lesion that costs something stands right of the band.*

# %%
by_side = study_report(study_plan("where"))
of_cmn = [system.name for system in by_side.plan.systems if system.preset == "cmn"]
show_study(by_side, "finding-F1", among=of_cmn, name="04_study_where")

# %%
worth, gained = (by_side.verdict("reports", "cmn", other, "finding-F1") for other in ("cmn_lesion_both", "base"))
if worth and gained:
    meaning = {
        "above": "the answers are used",
        "below": "it writes better without them",
        "no difference": "a bias that adds the mean would write as well",
        "undecided": "neither a loss nor its absence is shown",
    }
    display(
        Markdown(
            f"With all answers replaced by their mean the trained CMN's finding-F1 changes by **{-worth.order.difference:+.3f}** ({worth.order.how}): "
            f"{meaning.get(worth.order.answer, 'too few seeds to say')}. It scores {gained.order.difference:+.3f} beside BASE ({gained.order.how})."
        )
    )

# %% [markdown]
# **Does it help more when the features do not know the findings?** Our extractor was trained on the very findings that finding-F1 counts; the link between
# sight and word that the memory is to make is there already. So the systems were trained on three kinds of features (of one extractor each). *What to see: as above, a group of rows
# a kind of features. Whether a gain is larger on other features than on those that know the findings is a question of its own: the second figure.*

# %%
by_features = study_report(study_plan("features"))
show_study(by_features, "finding-F1", among=["mem", "cmn", "cmn_as_printed"], name="04_study_features")

# %%
bases = {
    c.title: by_features.scores[c.name, "base", "finding-F1"].mean
    for c in by_features.plan.conditions
    if (c.name, "base", "finding-F1") in by_features.scores
}
if bases:
    floor = min(bases, key=bases.get)
    display(
        Markdown(
            "What there was to add to, BASE's own finding-F1: "
            + "; ".join(f"{title}: **{f1:.3f}**" for title, f1 in bases.items())
            + "."
            + (
                f" *{floor}*: next to no finding is named. The small systems find none in such features, so there is nothing for a memory to link, and a gain of "
                "nothing there says nothing of memories."
                if bases[floor] < smallest_difference("finding-F1") * 5
                else ""
            )
        )
    )
    no_gain = [
        v
        for v in by_features.changes
        if (v.metric, v.order.answer) == ("finding-F1", "above")
        and (there := by_features.verdict(v.condition, v.a, v.b, v.metric))
        and there.order.answer != "above"
    ]
    if no_gain:
        rows = "; ".join(f"{v.a} − {v.b}, {v.condition} beside {v.first} ({v.order.difference:+.3f})" for v in no_gain)
        display(
            Markdown(
                f"A blue row of the second figure that is **no gain**: {rows}. There {no_gain[0].a} is not above either; it has only less to lose."
            )
        )

# %% [markdown]
# **Does the gain grow with the data?** Sampled studies, as many as one likes. With more of them a system reads each less often (20, 8
# and 4 epochs), so that a training stays short. *What to see: does the dot move from row to row? The second figure has the differences of the rows.*

# %%
show_study(study_report(study_plan("growth")), "finding-F1", name="04_study_growth")

# %% [markdown]
# **Is the papers' order there, with test studies enough to tell?** The sampled studies once more: BASE, two memories that share nothing (BASE+MEM), and the shared
# one (CMN).
# *What to see: how short the lines are beside those of the first two studies, which had hundreds of test studies.*

# %%
show_study(study_report(study_plan("ablations")), "finding-F1", among=["mem", "base"], name="04_study_order")

# %% [markdown]
# The seeds of BASE and CMN scatter least where there is most to learn from. So the three were trained once more, on 8,000 studies each, with eight seeds, and in all the scores that the
# paper's table prints but METEOR. *What to see: does a line still leave the grey band? A row that lies inside it is an answer too: no difference that matters.*

# %%
show_study(study_report(study_plan("orders")), "BLEU-4", name="04_study_orders")

# %% [markdown]
# ## What you can now do
#
# - Write the memory's read from Eq. 4–13, and say where paper and release part: scale, biases, heads, output map, dropout, replace or add.
# - Say why keys and values belong to the batch and not to the study, and by how much it matters.
# - Tell a memory that has learnt something from one that answers everyone alike, with three numbers.
# - Score an attention map against a box, against chance, **and** against a map that does not look, before you print a heat map.
#
# ## Sources
#
# - Zhihong Chen, Yaling Shen, Yan Song, Xiang Wan: *Cross-modal Memory Networks for Radiology Report Generation*, ACL-IJCNLP 2021; released code:
#   R2GenCMN. Equations, Table 2, Figures 3–6.
# - Ashish Vaswani et al.: *Attention Is All You Need*, NeurIPS 2017: queries, keys, heads.
# - Laurens van der Maaten, Geoffrey Hinton: *Visualizing Data using t-SNE*, JMLR 2008.
# - Reports and codes: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes no report of
#   it; the report in 4.10 is generated.
