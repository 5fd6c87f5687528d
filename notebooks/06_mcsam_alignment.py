# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 3, peak_gib: 3}
# ---

# %% [markdown]
# # 6 · A memory that knows something before it learns: MCSAM
#
# **Goals.** Rebuild a system whose text we cannot read, and keep apart what is known of it and what we made up. Fill a memory bank with topics of
# the reports by optimal transport. Read it in one modern-Hopfield step. Align what image and report retrieve. Give the decoder an extra slot and a
# prefix of learnt tokens. Then check: do matching pairs come out nearer, does training move what was put in, and what does a larger bank cost?
#
# **Before this.** Chapter 04: slots, queries, keys, values, top-K.
#
# **Minutes.** Running: between two and three on two CPU cores (BASE and CMN are those of chapter 04), one when MCSAM is trained already. Reading 45,
# exercises 53.
#
# > The radiographs of this chapter are **drawn** from the expert codes of real studies. Its scores are **not comparable with published ones**.

# %% tags=["parameters"]
DATASET = "iu_phantom"
DATA_ROOT = None  # the folder of real images, for the datasets that need one
PROFILE = "ci"  # ci | laptop | gpu
SEED = None  # None: the seed of the preset, as released

# %%
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import math
import re
import time
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display

from rrg_lib.book.checks import mcsam_alignment as checks
from rrg_lib.book.explorer_view import explorer_view
from rrg_lib.book.figures import mcsam_alignment as figures
from rrg_lib.book.study_verdicts import show_study, verdicts_of
from rrg_lib.evaluation.attention import box_cover
from rrg_lib.evaluation.resampling import bootstrap_weights
from rrg_lib.evaluation.retrieval import retrieval
from rrg_lib.experiments import results as kept_results
from rrg_lib.experiments.presets import PRESETS, experiment
from rrg_lib.experiments.reports import ValidationScores, write_reports
from rrg_lib.experiments.run import Run
from rrg_lib.models.batches import TrainingStudies
from rrg_lib.models.decoding import generate
from rrg_lib.models.generator import TransformerConfig
from rrg_lib.models.memory import MCSAMConfig, mcsam
from rrg_lib.models.memory import topics as topics_module
from rrg_lib.models.memory.topics import find_topics
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.transformer import Encoder, causal_mask, merge_heads, split_heads
from rrg_lib.replication.decision_rule import pooled
from rrg_lib.replication.seed_scores import measured_together, order, swept
from rrg_lib.replication.study_plan import study_plan
from rrg_lib.replication.study_report import study_report
from rrg_lib.runtime.package_data import table as shipped

pd.set_option("display.max_colwidth", 150)

# %% [markdown]
# ## 6.1 What is known, and what is ours
#
# MCSAM is the system of Tao, Ma, Yu and Zhang, *Memory-based Cross-modal Semantic Alignment Network for Radiology Report Generation* (arXiv 2404.00588; JBHI
# 2024). We read it only through its abstract and through what others wrote about it. Its full text was not to be had, and no code was found. So every
# choice below carries a level: <!-- typed: the number of a preprint -->
#
# - **A**: it stands in the abstract, or in a summary of the paper;
# - **B**: a third party's account of the paper says so;
# - **C**: nobody told us; this is our reconstruction, and another may be better.
#
# The library keeps this table where the code is, so that the two can't drift apart:

# %%
Markdown("\n".join(line for line in mcsam.__doc__.splitlines() if line.startswith("|")))

# %% [markdown]
# Read the third column again. The *idea* is the paper's; **every number is ours**. These are they: the first column is what the preset says (the
# sizes of the bank are those of CMN, for comparison), the second what this profile makes of it.

# %% tags=["nbval-check-output"]
config = experiment(f"{DATASET}/mcsam", PROFILE).memory
print(pd.DataFrame({"preset": asdict(MCSAMConfig()), "here": asdict(config)}).to_string())

# %% [markdown]
# What the paper measured on MIMIC-CXR, for the record. We have neither that data nor the authors' settings, so **these rows are not run**. A system
# of ours that came near them, or did not, would say nothing about the paper.

# %% tags=["nbval-check-output"]
published = [row for row in shipped("published") if row["paper"].startswith("MCSAM")]
print(pd.DataFrame(published)[["paper", "where", "dataset", "metric", "value"]].to_string(index=False))

# %% [markdown]
# We train it, beside BASE and CMN (or find them trained).

# %%
runs = {
    name: Run.of(experiment(f"{DATASET}/{name}", PROFILE, seed=SEED), data_root=DATA_ROOT)
    for name in ("base", "cmn", "mcsam")
}
trained = {name: run.train() for name, run in runs.items()}
kept = pd.DataFrame(
    {name: result.history[result.best_epoch] for name, result in trained.items()}
).T  # the epoch chosen on validation studies
kept[["train_loss", "validation_loss", "BLEU-4", "finding-F1", "distinct"]].astype(float).round(3)

# %% [markdown]
# (The training loss of `mcsam` has the alignment in it, the validation losses are words alone.) One seed, and in the `ci` profile a very short
# training: these rows say that the systems run, not which is better. Section 6.12 reads the longer runs.
#
# The lesson's material: the generator before it learnt, and the trained one; their words and slots; eight test studies with something drawn.

# %%
run = runs["mcsam"]
dataset, vocabulary = run.dataset, run.dataset.vocabulary
before, after = (g.eval().requires_grad_(False) for g in (run.new_generator(), run.generator()))
memory, new = after.memory, before.memory
test, validation = run.batches("test"), run.batches("val")
eight = sorted(test.indices, key=lambda i: not dataset.boxes(i))[:8]
batch = test.collate(eight)
if after.extractor is not None:  # a fine-tuned extractor is part of the generator: let it look first
    batch = replace(batch, inputs=after.extractor(batch.inputs).patches)

# %% tags=["nbval-check-output"]
B, S, T = len(eight), batch.inputs.shape[1], batch.tokens.shape[1] - 1
d, h = after.config.d_model, after.config.heads
N, K, P, d_k = config.slots, config.top_k, config.memory_tokens, d // h
print(
    f"{B} studies, {S} patches, up to {T} words; d = {d}, {h} heads; a bank of N = {N} slots, K = {K}; P = {P} memory tokens"
)

# %% [markdown]
# ## 6.2 A bank that starts out knowing
#
# CMN's memory begins as noise: chapter 04 found that it answers everyone alike. MCSAM's bank is "well initialised with domain knowledge" (A), by
# optimal transport over topics of the reports, without labels (B). How exactly was not found. Ours (C):
#
# 1. split the training reports into sentences, keep each distinct one once;
# 2. write each sentence as the sum of its words' vectors, rare words counting more (vectors made here, of which words stand in one sentence), and find $N$
#    *topics* among them. A topic is the mean of the sentences that it gets, so it too has weights $\beta_{kw}$ over words $w$;
# 3. write topic $k$ into slot $k$ in the generator's own token vectors $\mathbf e_w$, and scale all slots alike:
#
# > (C) $\qquad \tilde{\mathbf m}_k = \sum_w \beta_{kw}\,\mathbf e_w \qquad\qquad \mathbf m_k = \sqrt d\;\tilde{\mathbf m}_k / \lVert\tilde{\mathbf m}_k\rVert$
#
# The token vectors are random before training. That is enough: a word that asks finds the topics it stands in, because query and key begin with
# the same projection (section 6.6 checks that it does find them). And MCSAM gets no pretrained word vectors that the other systems don't have.

# %%
training = TrainingStudies(
    run.batches("train"), seed=run.experiment.training.seed, token_vectors=before.token_vectors()
)
found = {
    method: find_topics(training, N, method, seed=training.seed) for method in ("ot_topics", "kmeans", "label_kmeans")
}
e = training.token_vectors  # (V + 1, d)
slots = torch.from_numpy(found["ot_topics"].weights).to(e) @ e  # (N, V + 1) @ (V + 1, d) -> (N, d)
torch.testing.assert_close(new.bank, F.normalize(slots, dim=-1) * math.sqrt(d))  # the library's bank, before it learns

# %% [markdown]
# The four initialisations of the bank, each a setting of `MCSAMConfig(initialisation=…)`:
#
# | name | where a slot comes from | labels? |
# |---|---|---|
# | `random` | a normal draw of the same size as the others | no |
# | `kmeans` | the mean of a cluster of sentences; a cluster is as large as it likes | no |
# | `label_kmeans` | k-means among the reports of each observation, as XProNet does it (chapter 05) | yes |
# | `ot_topics` | the mean of the sentences that transport brings to it; **every topic receives the same mass** | no |
#
# The heaviest words of some topics (single words, no sentences):

# %%
shown = range(0, N, max(1, N // 10))
pd.DataFrame(
    {method: [" ".join(t.words(k, vocabulary.tokens, 5)) for k in shown] for method, t in found.items()},
    index=[f"slot {k}" for k in shown],
)

# %% [markdown]
# *What to see: how evenly the text is spread over the slots. A steep line has a few slots for crowds of sentences and many for a handful each;
# transport is flat by construction. (`label_kmeans` counts whole reports, so its size is in reports; `random` has no topics, so no size.) Flat is not the
# same as good: whether it helps takes a training for each start (section 6.12).*

# %%
figures.topic_sizes({method: t.mass for method, t in found.items()}, name="06_topic_sizes")

# %% [markdown]
# ## 6.3 Transport, in a dozen lines
#
# $n$ sentences have mass $a_i = 1/n$ each, $N$ topics must receive $b_k = 1/N$ each. Carrying sentence $i$ to topic $k$ costs $C_{ik} = 1 - \cos$ of
# their vectors.
# The cheapest plan is a linear programme. With a little entropy it becomes a scaling of rows and columns:
#
# > Cuturi 2013 $\qquad \min_{\mathbf P\ge 0}\ \langle\mathbf P,\mathbf C\rangle+\varepsilon\langle\mathbf P,\log\mathbf P\rangle
# > \quad\text{with}\quad \mathbf P\mathbf 1=\mathbf a,\ \mathbf P^\top\mathbf 1=\mathbf b
# > \qquad\Rightarrow\qquad \mathbf P=\operatorname{diag}(\mathbf u)\,e^{-\mathbf C/\varepsilon}\operatorname{diag}(\mathbf v)$
#
# Then every topic moves to the mean of what it received, and the whole repeats. Why not a library? `rrg_lib.models.memory.topics` answers that itself:

# %%
Markdown("> " + topics_module.__doc__.strip().split("\n\n")[-1].replace("\n", " "))

# %% [markdown]
# **Exercise 6.1** (15 min). Write it. Start with $\mathbf v=\mathbf 1$; in each round choose first $\mathbf u$ so that the rows are right, then $\mathbf v$
# so that the columns are right. ($\mathbf u$ and $\mathbf v$ are the scalings of the formula, no embeddings.)


# %% exercise="6.1" level="implement"
def sinkhorn(cost, source, target, epsilon, rounds):
    """NumPy arrays: the entropic plan (n, m) from masses `source` (n,) to `target` (m,) at `cost` (n, m): `rounds` scalings of rows and columns."""
    ### BEGIN SOLUTION
    kernel = np.exp(-cost / epsilon)  # (n, m)
    v = np.ones(len(target))
    for _ in range(rounds):
        u = source / (kernel @ v)  # rows are right
        v = target / (u @ kernel)  # columns are right (and rows a little wrong again)
    return u[:, None] * kernel * v
    ### END SOLUTION


# %% exercise="6.1" points=15
checks.sinkhorn(sinkhorn)  # silent when right

# %% [markdown]
# What does the demand for even topics change? Six sentences about the heart and two about the spine go to two topics, one of each kind. Nearest
# topic takes all: 6 and 2. Transport fills both: the sentences that lose least by it go over, here heart sentences that are anyway in between.

# %%
position = np.array([0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.9, 1.0])  # 0 heart, 1 spine
cost = np.abs(position[:, None] - np.array([0.1, 0.9]))  # (8, 2)
plan = sinkhorn(cost, np.full(8, 1 / 8), np.full(2, 1 / 2), 0.05, 200)
np.testing.assert_allclose(plan, topics_module.sinkhorn(cost, np.full(8, 1 / 8), np.full(2, 1 / 2), 0.05), atol=1e-5)
pd.DataFrame((8 * plan).T, index=["to heart", "to spine"], columns=[f"at {x}" for x in position]).round(2)

# %% [markdown]
# ## 6.4 Reading the bank: one Hopfield step
#
# Retrieval is CMN's (C): each head takes its $\mathcal K$ best slots by scaled dot product. With $\mathcal K=N$ it is something with a name, the
# update of a *modern Hopfield network*, an associative memory that completes a damaged pattern to the stored one it resembles:
#
# > Ramsauer et al. 2021, Eq. 3 $\qquad \boldsymbol\xi^{\text{new}} = \mathbf X\,\mathrm{softmax}(\beta\,\mathbf X^\top\boldsymbol\xi)$
#
# with patterns $\mathbf X$, state $\boldsymbol\xi$ and $\beta = 1/\sqrt{d_k}$. The memory's read is that, with linear maps for state (query), patterns that are
# asked (keys) and patterns that answer (values), in each of the $h$ heads.

# %%
W = memory.projections
x = after.patch_embedding(batch.inputs)  # (B, S, d)
y = after.token_positions(after.token_embedding(batch.tokens[:, :-1]) * math.sqrt(d))  # (B, T, d)
q, k, v = (
    split_heads(part, h) for part in (W.query(x), W.key(memory.bank), W.value(memory.bank))
)  # (B, h, S, d_k), (h, N, d_k) twice
step = (q @ k.transpose(-2, -1) / math.sqrt(d_k)).softmax(
    -1
) @ v  # (B, h, S, d_k): softmax(β ξ Xᵀ) X, every slot may speak
hopfield = W.output(merge_heads(step))  # (B, S, d)

# %%
every_slot = W.read(x, memory.slots(None, "image"), top_k=N)  # the library, K = N
torch.testing.assert_close(every_slot.vectors, hopfield, atol=1e-5, rtol=1e-4)
few = memory.respond(x, memory.slots(None, "image"))  # the library, K of them
print(
    f"K = {K} of {N}: cosine with the full step {F.cosine_similarity(few.vectors, hopfield, dim=-1).mean():.3f} (mean over patches)"
)

# %% [markdown]
# The other end is *hard* retrieval: the best slot answers alone. A choice has no gradient, so queries and keys would never learn; the library lets the
# gradient of the soft answer through (straight-through, C). Forwards it is this:

# %%
first_best = (q @ k.transpose(-2, -1)).argmax(-1)  # (B, h, S)
alone = v[torch.arange(h)[None, :, None], first_best]  # (B, h, S, d_k)
hard = replace(config, retrieval="hard").build(d, h).eval().requires_grad_(False)
hard.load_state_dict(memory.state_dict())
torch.testing.assert_close(
    hard.respond(x, hard.slots(None, "image")).vectors, W.output(merge_heads(alone)), atol=1e-5, rtol=1e-4
)

# %% [markdown]
# **Exercise 6.2** (10 min). One plain step: no projections, no heads. States and patterns are rows here, columns in the formula.


# %% exercise="6.2" level="implement"
def recall(states, patterns, beta):
    """One Hopfield step: states (n, d), patterns (N, d) -> (n, d)."""
    ### BEGIN SOLUTION
    return (beta * states @ patterns.T).softmax(dim=-1) @ patterns
    ### END SOLUTION


# %% exercise="6.2" points=10
checks.recall(recall)

# %% [markdown]
# Now let the bank complete damaged slots. We take every slot of the fresh bank, add noise, take one step, and ask how near we came.
#
# *What to see: below some noise a step repairs nearly everything; beyond it the answer is a mixture or another slot. Does keeping K of N lose
# anything against all N? And what does the single best slot (K = 1, "hard" retrieval) do once it errs?*

# %%
torch.manual_seed(0)
patterns, direction = new.bank, F.normalize(torch.randn(N, d), dim=-1) * math.sqrt(d)  # (N, d) both of length √d


def nearness(top_k, states):
    scores = states @ patterns.T / math.sqrt(d)  # (N, N)
    best = scores.topk(top_k, dim=-1)
    answer = (best.values.softmax(-1)[..., None] * patterns[best.indices]).sum(1)  # (N, d)
    return F.cosine_similarity(answer, patterns).mean().item()


rows = {}
for noise in (0, 0.5, 1, 1.5, 2, 3, 4, 6):
    states = patterns + noise * direction
    rows[noise] = {"the question": F.cosine_similarity(states, patterns).mean().item()} | {
        f"K = {n}": nearness(n, states) for n in (N, K, 1)
    }
    torch.testing.assert_close(
        nearness(N, states), F.cosine_similarity(recall(states, patterns, 1 / math.sqrt(d)), patterns).mean().item()
    )
figures.recall_curves(pd.DataFrame(rows).T, name="06_recall")

# %% [markdown]
# ## 6.5 Consolidation, and what is being asked
#
# > (A) the retrieved knowledge consolidates the features; (C) how: $\qquad\mathbf z = \mathbf x + \mathbf r(\mathbf x)$
#
# The same bank answers both modalities (A).

# %%
answers = {"image": few, "text": memory.respond(y, memory.slots(None, "text"))}
for side, features in (("image", x), ("text", y)):
    torch.testing.assert_close(memory.fuse(features, answers[side], side), features + answers[side].vectors)

# %% [markdown]
# The first quick check on a memory that starts out knowing: **does training move what was put in?** Each slot beside itself before training; and, as a
# yardstick, the same for the word embeddings, which were free to move too. `size` and `change` are root mean squares of single numbers *as they are
# trained*: of both, $1/\sqrt d$ of what is used.

# %%
said = torch.unique(
    torch.cat([torch.as_tensor(dataset.tokens(i)) for i in training.indices])
)  # tokens that training has seen
pairs = {"slots of the bank": (new.rows, memory.rows)}
pairs["word embeddings"] = (before.token_embedding.weight[said], after.token_embedding.weight[said])
rms = lambda t: t.square().mean().sqrt().item()  # noqa: E731
moved = pd.DataFrame(
    {
        name: {"size": rms(a), "change": rms(b - a), "cosine with the start": F.cosine_similarity(a, b).mean().item()}
        for name, (a, b) in pairs.items()
    }
).T
moved.round(4)

# %%
bank_moved, words_moved = (moved.loc[name] for name in moved.index)
text = (
    f"The numbers of the bank began {bank_moved['size'] / words_moved['size']:.0f} times as large as those of the words and changed "
    f"{bank_moved['change'] / words_moved['change']:.2g} times as much. "
)
if bank_moved["cosine with the start"] > 0.95:
    text += (
        "So no slot has turned to speak of: what learns is the way to ask the bank and to use its answers (the projections). Adam's steps are of one "
        "size whatever they change; how fast the bank can learn follows from how large we wrote it, which is a choice of ours (C). A slot is called "
        "below by the words that it was written with. "
        + (
            "But these words' own vectors have turned meanwhile: whether they still ask for the topics that they wrote is to be seen."
            if words_moved["cosine with the start"] < 0.9
            else ""
        )
    )
else:
    text += "So the bank has turned, and the words it was written with name a slot only roughly below."
Markdown(text)

# %% [markdown]
# ## 6.6 What a retrieved slot means
#
# So we can look at *which topics* a word asks for, and which ones a patch asks for. First words: a word at place 20 of a report, the three slots
# with the most weight over the heads, by the words they were written with.


# %%
names = [
    "·".join(found["ot_topics"].words(k, vocabulary.tokens, 3)) for k in range(N)
]  # a slot's name: its topic's heaviest words


def weight_of_slots(response):
    """Weight that each query gives to each slot, mean over the heads: (B, L, N)."""
    spread = torch.zeros(*response.indices.shape[:3], N).scatter_(
        -1, response.indices, response.weights
    )  # (B, h, L, N)
    return spread.mean(1)


def asked_by(generator, word):
    vector = (
        generator.token_embedding(torch.tensor([[vocabulary.ids[word]]])) * math.sqrt(d)
        + generator.token_positions.code[20]
    )
    return weight_of_slots(generator.memory.respond(vector, generator.memory.slots(None, "text")))[0, 0]  # (N,)


# %%
words = [w for w in ("cardiomegaly", "effusion", "nodule", "fractures", "degenerative", "clear") if w in vocabulary.ids]
best = lambda generator, word: ", ".join(names[i] for i in asked_by(generator, word).topk(3).indices)  # noqa: E731
pd.DataFrame(
    {"before training": [best(before, w) for w in words], "trained": [best(after, w) for w in words]}, index=words
)

# %% [markdown]
# Six words are an anecdote. Over all words that stand among the five heaviest of some slot: how much of its weight does a word give to the slots that
# it names? A word asks *with its place in the report* added to it, so we ask once more without the place.


# %%
names_it = torch.zeros(N, vocabulary.size + 1, dtype=torch.bool)  # slot k is named by word w
for k in range(N):
    names_it[k, [vocabulary.ids[w] for w in found["ot_topics"].words(k, vocabulary.tokens, 5)]] = True


def own_topics(generator, place):
    """Mean weight that a word gives to the slots that it names."""
    vectors = generator.token_embedding.weight * math.sqrt(d) + (
        0 if place is None else generator.token_positions.code[place]
    )  # (V + 1, d)
    weight = weight_of_slots(generator.memory.respond(vectors[None], generator.memory.slots(None, "text")))[
        0
    ]  # (V + 1, N)
    return (weight * names_it.T).sum(1)[names_it.any(0)].mean().item()


places = {"at place 20": 20, "without a place": None}
generators = {"before training": before, "trained": after}
own_share = pd.DataFrame(
    {title: {name: own_topics(g, place) for name, g in generators.items()} for title, place in places.items()}
)
even = names_it.float().mean(0)[names_it.any(0)].mean().item()
own_share.assign(**{"even share": even}).round(3)

# %%
louder = before.token_positions.code[:T].norm(dim=-1).mean() / before.token_vectors()[said].norm(dim=-1).mean()
(start, start_bare), (now, now_bare) = own_share.to_numpy()
Markdown(
    f"At the start a word gives {start:.0%} of its weight to the topics it stands in, **{start / even:.1f} times** an even share; {start_bare:.0%} if it "
    f"asks without its place, whose code is {louder:.1f} times as long as the word. Trained, {now:.0%} ({now_bare:.0%} without the place). So a word finds "
    f"its topics far more often than by chance before anything is learnt, but most of its weight goes elsewhere: a slot's name is a hint, not a meaning."
    if start > 2 * even
    else f"A word gives {start:.1%} of its weight to the topics it stands in before training and {now:.1%} after it; an even share is {even:.1%}."
)

# %% [markdown]
# Then patches. We know where findings were drawn, so we average the patches in the boxes of a finding, over the test studies.


# %%
def patch_weights(generator, batches):
    """Weight that every patch gives to every slot: (n, S, N)."""
    rows = []
    for part in batches.loader(64):
        views = part.inputs if generator.extractor is None else generator.extractor(part.inputs).patches
        features = generator.patch_embedding(views)
        rows.append(weight_of_slots(generator.memory.respond(features, generator.memory.slots(None, "image"))))
    return torch.cat(rows)


weight = {"before training": patch_weights(before, test), "trained": patch_weights(after, test)}
inside_box = {}  # (number of the study, finding) -> (S,) which patches lie in its boxes: half covered, or as much as the most covered one
for i, study in enumerate(test.indices):
    for finding in sorted({box.finding for box in dataset.boxes(study)}):
        cover = box_cover([box for box in dataset.boxes(study) if box.finding == finding]).ravel()
        inside_box[i, finding] = torch.from_numpy(cover >= min(0.5, cover.max()))

# %% [markdown]
# *What to see: a column that is bright in most patch rows is a slot that patches ask whatever they show. (In brackets: how many studies.)
# A patch row that is bright where the word row of the same finding is bright would be the cross-modal meeting that the paper hopes for. Slots are named by
# the words they were written with.*

# %%
ask = {
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "effusion",
    "Atelectasis": "atelectasis",
    "Nodule": "nodule",
    "Spine": "degenerative",
}
counts = Counter(finding for _, finding in inside_box)
ask = {finding: word for finding, word in ask.items() if counts[finding] and word in vocabulary.ids}
if ask:
    rows = {f"word: {word}": asked_by(after, word) for word in ask.values()}
    for f in ask:
        means = [weight["trained"][i, where].mean(0) for (i, g), where in inside_box.items() if g == f]
        rows[f"patches: {f} ({counts[f]})"] = torch.stack(means).mean(0)  # (N,)
    chosen = list(dict.fromkeys(i for row in rows.values() for i in row.topk(2).indices.tolist()))
    asked = pd.DataFrame({name: row[chosen].numpy() for name, row in rows.items()}, index=[names[i] for i in chosen]).T
    display(figures.asked_slots(asked, 1 / N, split=len(ask), name="06_asked_slots"))

# %% [markdown]
# Looking can deceive, so count. A slot *speaks of* a finding when one of its five heaviest words is a keyword of that finding (the keywords of
# chapter 09's labeler). How much of their weight do the patches in the boxes give to such slots? And, so that we are not fooled by a place (a heart is always
# in the same one): how much do **the same patches of studies without that finding**?

# %%
keywords = {row["drawn_finding"]: row["regex"] for row in shipped("finding_keywords")}
top_words = [found["ot_topics"].words(k, vocabulary.tokens, 5) for k in range(N)]
speaks = {
    f: torch.tensor([any(re.search(keywords[f], w) for w in part) for part in top_words]) for f in counts
}  # (N,) each


def spoken_of(weight):
    """A row a study and finding: the study's number; weight on slots that speak of it, in its boxes and there in studies without it; even share."""
    rows = []
    for (i, f), where in inside_box.items():
        if speaks[f].any():
            on = weight[:, where][..., speaks[f]].sum(-1).mean(1)  # (n,), every study, these patches
            lacking = torch.tensor([(j, f) not in inside_box for j in range(len(on))])
            rows.append((i, on[i].item(), on[lacking].mean().item(), speaks[f].float().mean().item()))
    return pd.DataFrame(rows, columns=["study", "in the boxes", "same places, without it", "even share"])


# %%
lines = {}
for name, w in weight.items() if inside_box else ():
    rows = spoken_of(w)
    of_study = rows.groupby("study").sum().to_numpy()  # (studies, 3)
    drawn = bootstrap_weights(len(of_study)) @ of_study
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    sums = rows[["in the boxes", "same places, without it"]].sum()
    lines[name] = {
        **rows.iloc[:, 1:].mean(),
        "ratio": sums.iloc[0] / sums.iloc[1],
        "low": low,
        "high": high,
        "findings": len(rows),
    }
topical = pd.DataFrame(lines).T
topical.round(3)

# %%
if len(topical):
    r, blind = topical.loc["trained"], topical.loc["before training"]
    verdict = "more than" if r["low"] > 1 else "less than" if r["high"] < 1 else "not distinguishably more or less than"
    text = (
        f"Patches that show a finding give **{r['in the boxes']:.1%}** of their weight to slots that speak of it, {verdict} the same places do where it is "
        f"not (ratio {r['ratio']:.2f} [{r['low']:.2f}, {r['high']:.2f}]); the even share is {r['even share']:.1%}. Before training, when nothing can be "
        f"known, the ratio is {blind['ratio']:.2f}: a ratio that far from 1 arises without any learning. "
    )
    if r["low"] > 1 + abs(blind["ratio"] - 1):
        text += "The trained one goes beyond that: what a patch retrieves has something to do with the slots' names, if faintly."
    else:
        text += "So nothing shows that patches ask for slots by their topic, in this one training."
else:
    text = "These studies have no boxes: nothing to count."
Markdown(text)

# %% [markdown]
# ## 6.7 Semantic alignment
#
# The alignment keeps what the image retrieves consistent with what the report retrieves:
#
# > MCSAM, objective &nbsp; (B) $\qquad L = L_{\text{gen}} + L_{\text{align}}$
#
# The summary names the report's cross-entropy $L_{\text{gen}}$ alone (A). That an alignment loss is added, and that it is contrastive, others say (B).
# The form is ours (C): mean over patches (or words) of the *responses*, a linear map a modality, unit length.
#
# > (C) $\qquad\mathbf v = \dfrac{\mathbf W_I\bar{\mathbf r}_x}{\lVert\mathbf W_I\bar{\mathbf r}_x\rVert}\qquad
# > \mathbf t = \dfrac{\mathbf W_T\bar{\mathbf r}_y}{\lVert\mathbf W_T\bar{\mathbf r}_y\rVert}$

# %%
is_word = batch.tokens[:, :-1] > 0  # (B, T): neither the begin mark nor padding
r_image = answers["image"].vectors.mean(1)  # (B, d)
r_text = (answers["text"].vectors * is_word[..., None]).sum(1) / is_word.sum(1, keepdim=True)  # (B, d)
visual = F.normalize(memory.embeddings["image"](r_image), dim=-1)  # (B, p)
report = F.normalize(memory.embeddings["text"](r_text), dim=-1)  # (B, p)
torch.testing.assert_close(visual, memory.visual_embedding(answers["image"]))
torch.testing.assert_close(report, memory.report_embedding(answers["text"], is_word))

# %% [markdown]
# Neither side sees the other: the image's embedding does not know the report and the report's does not know the image. So retrieval between the two
# is a fair question (chapter 07 has a system where this needs care).
#
# The loss asks each image to find its report among those of the batch, and each report its image. InfoNCE (Oord et al. 2018), both ways, as CLIP:
#
# > (B: contrastive, C: form)
# > $\quad L_{\text{align}} = -\dfrac1{2B}\sum_i\left[\log\dfrac{e^{\mathbf v_i\cdot\mathbf t_i/\tau}}{\sum_j e^{\mathbf v_i\cdot\mathbf t_j/\tau}}
# > +\log\dfrac{e^{\mathbf v_i\cdot\mathbf t_i/\tau}}{\sum_j e^{\mathbf v_j\cdot\mathbf t_i/\tau}}\right]$

# %%
scale = memory.log_scale.exp()  # 1/τ, learnt (C)
scores = scale * visual @ report.T  # (B, B): row image, column report
own = scores.diagonal()  # (B,)
to_report = own - scores.logsumexp(dim=1)  # log of the first fraction
to_image = own - scores.logsumexp(dim=0)  # log of the second
L_align = -(to_report + to_image).mean() / 2
torch.testing.assert_close(L_align, mcsam.contrastive_alignment(visual, report, scale))
torch.testing.assert_close(config.alignment_weight * L_align, after(batch).losses["alignment"])

# %%
print(
    f"1/τ: {new.log_scale.exp():.1f} at the start, {scale:.1f} trained. L_align of these {B}: {L_align:.3f}; all alike would be log {B} = {math.log(B):.3f}"
)

# %% [markdown]
# **Exercise 6.3** (10 min). The same in your words. Any way that gives the number is fine.


# %% exercise="6.3" level="implement"
def contrastive(visual, report, temperature):
    """Symmetric InfoNCE of unit vectors (B, p), (B, p): one number."""
    ### BEGIN SOLUTION
    cosines = visual @ report.T / temperature  # (B, B)
    own = torch.arange(len(cosines))
    return (F.cross_entropy(cosines, own) + F.cross_entropy(cosines.T, own)) / 2
    ### END SOLUTION


# %% exercise="6.3" points=10
checks.contrastive(contrastive)

# %% [markdown]
# ### Why contrastive?
#
# A shorter loss would do to make matching pairs alike: $1-\mathbf v_i\cdot\mathbf t_i$, *direct* alignment. Its weakness can be said in one line:

# %%
same = F.normalize(torch.ones(B, 4), dim=-1)  # one and the same embedding for every image and every report
print(
    f"direct: {mcsam.direct_alignment(same, same):.3f} (perfect!)   contrastive: {mcsam.contrastive_alignment(same, same, 1.0):.3f} (log {B}: chance)"
)

# %% [markdown]
# A miniature shows whether learning goes there. Two linear maps, one from a study's mean patch, one from its report's mean token vector (random, as
# before training); nothing else learns. It is not the system: the ablation `mcsam_direct` in section 6.12 is.


# %%
def study_means(split):
    """A study's mean patch (n, d_vf) and its report's mean token vector (n, d)."""
    studies = TrainingStudies(run.batches(split), run.extractor)
    report = torch.stack([e[torch.as_tensor(dataset.tokens(i)[1:-1])].mean(0) for i in studies.indices])
    return torch.from_numpy(studies.pooled()), F.normalize(report, dim=-1) * math.sqrt(d)


means = {split: study_means(split) for split in ("train", "val")}


# %%
def miniature(loss, steps=240, width=64):
    torch.manual_seed(0)
    maps = torch.nn.ModuleList(torch.nn.Linear(part.shape[1], width) for part in means["train"])
    optimizer, curve = torch.optim.Adam(maps.parameters(), lr=1e-3), {}
    embed = lambda parts: [F.normalize(m(part), dim=-1) for m, part in zip(maps, parts, strict=True)]  # noqa: E731
    for i in range(steps + 1):
        if i % 20 == 0:
            curve[i] = retrieval(*(part.detach().numpy() for part in embed(means["val"])))
        chosen = torch.randint(len(means["train"][0]), (64,))
        optimizer.zero_grad()
        loss(*embed([part[chosen] for part in means["train"]])).backward()
        optimizer.step()
    return curve


curves = {
    "direct": miniature(mcsam.direct_alignment),
    "contrastive": miniature(lambda a, b: contrastive(a, b, config.temperature)),
}

# %% [markdown]
# *What to see: left, is the gap between the lines of any size, or do the pairs that do not match come along? Right, the same maps, the same
# studies, another loss.*

# %%
frames = {
    name: pd.DataFrame({i: {"matching": r.matching, "other": r.other} for i, r in curve.items()}).T
    for name, curve in curves.items()
}
figures.losses_side_by_side(frames, name="06_direct_contrastive")

# %%
ends = {name: list(curve.values())[-1] for name, curve in curves.items()}
lines = [
    f"- {name}: cosine {r.matching:.2f} of matching and {r.other:.2f} of other pairs (gap {r.matching - r.other:.2f}); the own report is among the ten "
    f"nearest of {r.n} for **{r.image_to_report[10]:.1%}** of the validation images, {r.image_to_report[10] / r.chance(10):.1f} times chance"
    for name, r in ends.items()
]
left_over = ends["direct"].image_to_report[10] / ends["direct"].chance(10)
Markdown(
    "\n".join(lines)
    + (
        "\n\nThe gap is gone, yet not all is lost: cosines that are nearly equal still have an order."
        if left_over > 1.5
        else ""
    )
)

# %% [markdown]
# ## 6.8 The semantic visual embedding: one slot more
#
# The alignment "also yields a semantic visual embedding that is added to the decoder" (A). *Added* could mean summed to every patch, to every
# word, or put beside them. We put it beside (C): $\mathbf v$ goes through a linear map and a layer norm and stands behind the $S$ encoded patches, as one
# slot more for the decoder's cross-attention.

# %%
encoded = after.encoder(after.patch_positions(x + few.vectors))  # (B, S, d)
extra = memory.semantic_slot(visual)[:, None]  # (B, 1, d)
source = torch.cat([encoded, extra], dim=1)  # (B, S + 1, d)
torch.testing.assert_close(source, after.encode(batch.inputs)[0])

# %% [markdown]
# It is one slot of many. Does the decoder look at it? Its share of the cross-attention, by layer, beside the even share:

# %%
trace = []
after(batch, trace)  # each layer's cross-attention (B, h, T, S + 1)
share = [layer.mean(1)[..., -1][is_word].mean().item() for layer in trace]
lines = [
    f"- layer {i + 1}: {s:.1%} of the attention, **{s * (S + 1):.1f} times** an even share" for i, s in enumerate(share)
]
Markdown("\n".join(lines))

# %% [markdown]
# ## 6.9 Memory tokens: a prefix that every word may see
#
# Learnable tokens in the decoder "can be seen as prompts", and hold what it needs while generating (A). We make them $P$ vectors (C) that stand before
# the first word in every layer's self-attention, as keys and values only: words ask them, they ask nobody (prefix tuning, Li and Liang 2021).
#
# > (C) $\qquad \mathrm{softmax}\!\left(\dfrac{\mathbf q\,[\mathbf K_P;\mathbf K]^\top}{\sqrt{d_k}} + \text{mask}\right)[\mathbf V_P;\mathbf V]$
#
# The mask is causal for words and open for the prefix.
#
# **Exercise 6.4** (10 min). Write it. `mask` is True where a word may look.


# %% exercise="6.4" level="implement"
def prefix_attention(query, keys, values, mask, prefix_keys, prefix_values):
    """Attention over a prefix and the words: (B, h, L, d_k) three times, (B, 1, L, L), (h, P, d_k) twice -> (B, h, L, d_k)."""
    ### BEGIN SOLUTION
    batch, prefix = len(keys), prefix_keys.shape[1]
    keys = torch.cat([prefix_keys.expand(batch, -1, -1, -1), keys], dim=2)  # (B, h, P + L, d_k)
    values = torch.cat([prefix_values.expand(batch, -1, -1, -1), values], dim=2)
    mask = F.pad(mask, (prefix, 0), value=True)  # (B, 1, L, P + L): open to everyone
    scores = query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ values
    ### END SOLUTION


# %% exercise="6.4" points=10
checks.prefix_attention(prefix_attention)

# %% [markdown]
# Against the library, in the trained decoder's first layer, on reports that the system **writes itself**:

# %%
written = generate(after, batch.inputs, config=run.experiment.decoding)
tokens = F.pad(written.tokens, (1, 0))  # (B, L + 1), begin mark first
inputs = tokens[:, :-1]  # (B, L)
z = after.token_positions(after.token_embedding(inputs) * math.sqrt(d))
z = memory.fuse(z, memory.respond(z, memory.slots(None, "text")), "text")  # (B, L, d), what the decoder reads
layer, mask = after.decoder.layers[0], causal_mask(inputs)  # (B, 1, L, L)
normed = layer.norms[0](z)
past, first = (
    layer.self_attention.project(normed),
    layer.project_prefix(memory.tokens),
)  # (B, h, L, d_k) and (1, h, P, d_k), keys and values
query = split_heads(layer.self_attention.query(normed), h)
ours = prefix_attention(query, past.keys, past.values, mask, first.keys[0], first.values[0])
library = layer.self_attention(normed, past.after(first), F.pad(mask, (P, 0), value=True))
torch.testing.assert_close(layer.self_attention.output(merge_heads(ours)), library, atol=1e-5, rtol=1e-4)

# %% [markdown]
# *What to see: left of the white line the columns are filled from the very first row: every position sees the whole prefix. Right of it the causal
# triangle. The bars ask whether the tokens get more weight than they would if all that may be seen counted alike.*

# %%
study = max(range(B), key=lambda i: len(set(inputs[i].tolist())))
length = min(20, int((inputs[study] > 0).sum()) + 1)
looks = layer.self_attention.weights(normed, past.after(first), F.pad(mask, (P, 0), value=True)).mean(
    1
)  # (B, L, P + L)
asking = ["(begin)", *(vocabulary.tokens[i - 1] for i in inputs[study, 1:length].tolist())]
figures.prefix_attention(looks[study, :length, : P + length].numpy(), asking, P, name="06_prefix_attention")

# %% [markdown]
# Two things to verify. Every position is moved by every token, the first one included; and decoding one word at a time, with the prefix projected
# once into the cache, gives what teacher forcing gives.

# %%
whole = after(replace(batch, tokens=tokens, mask=torch.ones_like(tokens))).logits  # (B, L, V + 1)
state = after.start(batch.inputs)
steps = [after.step(tokens[:, t : t + 1], state)[0] for t in range(inputs.shape[1])]
inside = F.pad(
    inputs[:, 1:] > 0, (1, 0), value=True
)  # (B, L): the begin mark and the words, not what comes after the end
torch.testing.assert_close(torch.cat(steps, dim=1)[inside], whole[inside], atol=1e-3, rtol=1e-3)

# %%
least, kicked = [], run.generator().requires_grad_(False)
for token in range(P):
    kicked.memory.tokens.copy_(memory.tokens)
    kicked.memory.tokens[token] += torch.randn(d, generator=torch.Generator().manual_seed(token))
    logits = kicked(replace(batch, tokens=tokens, mask=torch.ones_like(tokens))).logits  # (B, L, V + 1)
    least.append((logits - whole).abs().amax(-1)[inside].min().item())  # the position that changes least
assert min(least) > 1e-4
f"whichever of the {P} tokens is changed, the logits of every position change"

# %% [markdown]
# ### How the tokens evolve
#
# *What to see: left, the length of each token before and after training (dots joined by a line); middle, the cosines between two different tokens (had
# they all become one, the blue would lie at 1); right, whether some tokens are looked at and others not.*

# %%
seen = looks[:, :, :P][inputs > 0].mean(0)  # (P,), over the words of eight reports
figures.token_changes(new.tokens.numpy(), memory.tokens.numpy(), (seen / seen.mean()).numpy(), name="06_tokens")

# %%
turned = F.cosine_similarity(memory.tokens, new.tokens)
lengths = [t.norm(dim=-1).mean().item() for t in (new.tokens, memory.tokens)]
total = looks[:, :, :P].sum(-1)[inputs > 0].mean().item()
Markdown(
    f"The tokens' mean length went from {lengths[0]:.2f} to {lengths[1]:.2f}; the cosine with their start is {turned.mean():.2f} on average. "
    f"Together they get **{total:.0%}** of this layer's self-attention; the most asked gets {seen.max() / seen.mean():.2f} times the mean of the tokens."
)

# %% [markdown]
# ## 6.10 The quick checks, on held-out studies
#
# Two questions the summary of the paper suggests: what is the **cosine** of an image and a report that belong together, beside those that don't? And does
# an image **retrieve** its report among all the test studies (and the report its image)? Before training both should be no better than chance.


# %%
def embeddings(generator, batches):
    """Aligned embeddings of a split, image and report, (n, p) each."""
    rows = []
    for part in batches.loader(64):
        output = generator(part)
        rows.append(
            (
                generator.memory.visual_embedding(output.image),
                generator.memory.report_embedding(output.text, part.tokens[:, :-1] > 0),
            )
        )
    return tuple(torch.cat(side).numpy() for side in zip(*rows, strict=True))


embedded = {"before training": embeddings(before, test), "trained": embeddings(after, test)}

# %% [markdown]
# *What to see: a hump far from 0 by itself means nothing; what counts is how far blue lies to the right of orange. Normal studies, whose images and
# reports are all much alike, can hardly be told apart, so read the abnormal ones by themselves.*


# %%
def cosines(pair, part):
    """Cosines of the matching pairs and of all others, among the studies where `part` (n,) is True."""
    image, report = (side[part] for side in pair)
    every = image @ report.T
    return np.diag(every).copy(), every[~np.eye(len(every), dtype=bool)]


abnormal = dataset.drawn_findings[test.indices].any(1)
everyone = np.ones(len(test), dtype=bool)
panels = {
    "before training": ("before training", everyone),
    "trained: normal studies": ("trained", ~abnormal),
    "trained: abnormal": ("trained", abnormal),
}
figures.pair_cosines(
    {title: cosines(embedded[name], part) for title, (name, part) in panels.items()}, name="06_cosines"
)

# %%
measured = {name: retrieval(*pair) for name, pair in embedded.items()}
recalls = {f"image → report, {name}": r.image_to_report for name, r in measured.items()}
recalls |= {f"report → image, {name}": r.report_to_image for name, r in measured.items() if name == "trained"}
table = pd.DataFrame(recalls).rename_axis("k")
table["chance"] = [measured["trained"].chance(k) for k in table.index]
table.round(3)

# %% [markdown]
# Copies of a report are ties, and a tie is resolved at random (in expectation): normal studies share their sentences, so nobody can be perfect here.
#
# *What to see: how far the bars stand above the red line.*

# %%
figures.recall_bars(table, name="06_recall_at_k")

# %% [markdown]
# How sure is that, and is it more than telling normal from abnormal? So take each kind alone, among themselves.


# %%
def hits(image, report, k=10):
    """For each image (n,), the probability that its report is among its k nearest."""
    cosine = image @ report.T
    ahead = cosine - np.diag(cosine)[:, None]
    return np.clip((k - (ahead > 1e-6).sum(1)) / (np.abs(ahead) <= 1e-6).sum(1), 0, 1)


rows = {}
for name, part in (
    ("all test studies", everyone),
    ("abnormal ones among themselves", abnormal),
    ("normal ones among themselves", ~abnormal),
):
    found_own = hits(*(side[part] for side in embedded["trained"]))
    drawn = bootstrap_weights(len(found_own)) @ found_own / len(found_own)
    rows[name] = {
        "n": part.sum(),
        "recall@10": found_own.mean(),
        "low": np.quantile(drawn, 0.025),
        "high": np.quantile(drawn, 0.975),
    }
    rows[name]["chance"] = 10 / part.sum()
assert math.isclose(rows["all test studies"]["recall@10"], measured["trained"].image_to_report[10], abs_tol=1e-6)
sure = pd.DataFrame(rows).T
sure.round(3)

# %%
verdicts = [
    f"{name}: **{r['recall@10'] / r['chance']:.1f} times chance**, "
    + (
        "above it"
        if r["low"] > r["chance"]
        else "below it"
        if r["high"] < r["chance"]
        else "not distinguishable from it"
    )
    for name, r in sure.iterrows()
]
r = measured["trained"]
Markdown(
    f"Matching pairs have a mean cosine of {r.matching:.2f}, other pairs {r.other:.2f} (before training {measured['before training'].matching:.2f} and "
    f"{measured['before training'].other:.2f}). Recall@10, "
    + "; ".join(verdicts)
    + "."
    + (
        " So it is more than telling normal from abnormal: the abnormal ones are told from each other."
        if sure.loc["abnormal ones among themselves", "low"] > sure.loc["abnormal ones among themselves", "chance"]
        else " So nothing shows that it is more than telling normal from abnormal."
    )
)

# %% [markdown]
# ### Look around yourself
#
# MCSAM beside CMN, word by word; both learnt from sampled `phantom` studies (profile ci). Point at a word, or move with the arrow keys.
#
# 1. Part of MCSAM's cross-attention goes to no patch: it goes to the slot of the semantic embedding (6.8). The line under its films says how much. Which
#    words listen to it most?
# 2. Go to a finding's name in both reports and compare their *shared slots*. Which map is the more even, and what did 6.6 find a slot of MCSAM to mean?

# %%
explorer_view("mcsam", "cmn")

# %% [markdown]
# ## 6.11 Which parts does the trained system listen to?
#
# An embedding that retrieves is not yet one that helps to write. So, as in chapter 04, we take parts away from the **trained** generator and measure the
# validation studies again. This is not an ablation (those are trained without the part): it asks what this generator has come to rely on.


# %%
def on_validation(generator):
    """Loss (nats a word) and finding-F1 on the validation studies."""
    total = torch.zeros(2)
    for part in validation.loader(64):
        n = part.mask[:, 1:].sum()
        total += torch.stack([report_loss(generator(part).logits, part.tokens, part.mask) * n, n])
    return {
        "validation_loss": (total[0] / total[1]).item(),
        "finding-F1": ValidationScores(validation)(generator)["finding-F1"],
    }


def without(change):
    other = run.generator().requires_grad_(False)
    change(other.memory)
    return on_validation(other)


# %%
some = training.batches.collate(training.indices[:64])  # what a typical training study gets
typical = after(some)
spoken = typical.text.vectors[some.tokens[:, :-1] > 0]  # (words, d)
mean_answer = {"image": typical.image.vectors.mean((0, 1)), "text": spoken.mean(0)}  # (d,) each
one_slot = memory.encoder_extra(typical.image).mean(0, keepdim=True)  # (1, 1, d)

# %%
changes = {
    "as trained": lambda m: None,
    "bank: the mean answer to all": lambda m: setattr(m, "fuse", lambda f, response, side: f + mean_answer[side]),
    "bank: no answer": lambda m: setattr(m, "fuse", lambda f, response, side: f),
    "bank: every eighth slot": lambda m: setattr(m, "rows", torch.nn.Parameter(m.rows[::8])),
    "semantic slot: the mean one for all": lambda m: setattr(
        m, "encoder_extra", lambda image: one_slot.expand(len(image.vectors), -1, -1)
    ),
    "semantic slot: none": lambda m: setattr(m, "encoder_extra", lambda image: None),
    "memory tokens: none": lambda m: setattr(m, "decoder_prefix", lambda: None),
}
listening = pd.DataFrame({name: without(change) for name, change in changes.items()}).T
listening["rise of the loss"] = listening["validation_loss"] - listening["validation_loss"].iloc[0]
listening.round(3)

# %%
rise = listening["rise of the loss"].iloc[1:].sort_values(ascending=False)
told = rise["semantic slot: the mean one for all"]
text = (
    f"This generator relies most on what is taken away in “{rise.index[0]}” (+{rise.iloc[0]:.3f} nats a word) and least in “{rise.index[-1]}” "
    f"({rise.iloc[-1]:+.3f}). That different askers get *different* answers from the bank is worth {rise['bank: the mean answer to all']:.3f}. The "
    f"semantic slot draws {share[0]:.0%} of the first layer's cross-attention; one and the same slot for everybody costs {told:+.3f}."
)
Markdown(text + (" Being looked at is not being informative." if told < 0.02 else ""))

# %% [markdown]
# Taking a part away mixes two things up. A bank that answers *everybody alike* adds one fixed vector to all features; a decoder that has learnt to
# count on it misses it, although it holds no knowledge. So there are three possible explanations of what happens to the loss:
#
# - `"which slot"`: it matters which slot answers, so the slots hold something of their own;
# - `"one answer"`: any slot's answer will do, as long as there is one;
# - `"nothing"`: giving no answer at all does just as well.
#
# The control that tells them apart leaves keys, weights and values as they are and only **exchanges** the values: every slot answers with the values of the
# slot before it, the first one with those of the last. Whoever asks still finds the slot that it looks for, and gets another one's answer.
#
# **Exercise 6.5** (8 min). `loss(values)` measures the same $n$ studies when the slots answer with `values` (N, d). Return the mean rise of the loss with
# exchanged values and the mean rise without an answer (values of 0), as a pair, and the reason beside it. A rise counts when it is more than two standard
# errors above 0: those of the mean of the $n$ *differences*. If the first rise counts, it is `"which slot"`; if only the second does, `"one answer"`.


# %% exercise="6.5" level="explain"
def what_the_bank_gives(loss, values):
    """A function (N, d) -> (n,) losses and the values (N, d) -> ((mean rise exchanged, without), reason): "which slot", "one answer" or "nothing"."""
    ### BEGIN SOLUTION
    as_trained = loss(values)  # (n,)
    exchanged, without_any = (
        loss(changed) - as_trained for changed in (values.roll(1, dims=0), torch.zeros_like(values))
    )  # (n,) each
    counts = [rise.mean() > 2 * rise.std() / math.sqrt(len(rise)) for rise in (exchanged, without_any)]
    reason = "which slot" if counts[0] else "one answer" if counts[1] else "nothing"
    return (exchanged.mean().item(), without_any.mean().item()), reason
    ### END SOLUTION


# %% exercise="6.5" points=8
checks.what_the_bank_gives(what_the_bank_gives)

# %% [markdown]
# Now MCSAM's bank, which began as topics, beside CMN's, which began as noise, on 64 validation studies. (Each study counts alike here; above, each word of
# all validation studies did. So "no answer" has another number.)


# %%
def bank_of(name, studies):
    """A trained system's values (N, d), and the loss of each study (n,) as a function of them."""
    system, asked = runs[name].generator().requires_grad_(False), runs[name].batches("val").collate(studies)
    honest = system.memory.slots

    def loss(values):
        system.memory.slots = lambda labels, side: replace(
            honest(labels, side), values=split_heads(values[None], system.config.heads)
        )
        logits, weight = system(asked).logits, asked.mask[:, 1:]  # (n, T - 1, V + 1), (n, T - 1)
        return (F.cross_entropy(logits.transpose(1, 2), asked.tokens[:, 1:], reduction="none") * weight).sum(
            1
        ) / weight.sum(1)

    return loss, merge_heads(honest(None, "image").values)[0]


# %%
some = validation.indices[:64]
gives = {name: what_the_bank_gives(*bank_of(name, some)) for name in ("mcsam", "cmn")}
rises = pd.DataFrame(
    {name: {"exchanged": e, "without": w, "reason": reason} for name, ((e, w), reason) in gives.items()}
).T
rises.rename_axis("rise of the loss, nats a word, mean over studies")

# %%
readings = {
    "which slot": "it matters *which* slot answers: the slots hold something of their own, and the decoder has learnt to use it",
    "one answer": "no loss shows, on these studies, when another slot answers: in effect this bank may be one vector that is added to everything",
    "nothing": "on these studies nothing tells its answers from none",
}
lines = [
    f"- `{name}`: **{reason}** ({e:+.3f} exchanged, {w:+.3f} without). So {readings[reason]}."
    for name, ((e, w), reason) in gives.items()
]
misled = [name for name, ((e, w), reason) in gives.items() if reason == "which slot" and e > w]
more = (
    f"\n\nFor {' and '.join(misled)} a wrong answer does more harm than none: the decoder believes what it is told."
    if misled
    else ""
)
Markdown("*What to see: not how large a rise is, but which of the two there is.*\n\n" + "\n".join(lines) + more)

# %% [markdown]
# That the slots' answers are told apart does not yet show that the *topics* were worth anything: noise, too, can be learnt into use. This takes another
# training, with another start.
#
# ## 6.12 The ablations
#
# Each preset is the system with one choice changed, trained from the start. The table reads the project's stored `laptop` runs: reports of the test
# studies, mean over seeds, in brackets 95 % intervals where they were kept. How they were searched stands behind the name; compare rows that agree
# in it. The ablations are of this book's first edition: another device, searched greedily, epochs chosen by another score; only the whole system, CMN and
# BASE were trained again since. Presets that have no stored run at all are named below as *not run*.

# %%
ablations = [name for name in PRESETS if name.startswith("mcsam_")]
asked_for = ["base", "cmn", "mcsam", *ablations]
searched = (
    "tuned",
    kept_results.EDITION_0_1,
)  # as chosen on validation; greedily, by trainings of edition 0.1: compare within one of them
summary = pd.concat(
    [kept_results.summary(asked_for, profile="laptop", dataset=DATASET, protocol=how) for how in searched]
)
preset_of = {row: row.partition("/")[2].partition(",")[0] for row in summary.index}
summary.rename(
    index={row: f"{name}: {PRESETS[name].row} ({row.rpartition(', ')[2]})" for row, name in preset_of.items()}
)

# %%
absent = [name for name in asked_for if name not in preset_of.values()]
Markdown(
    "**Not run** in this profile yet: "
    + (", ".join(f"`{name}` ({PRESETS[name].row})" for name in absent) or "none")
    + "."
)

# %% [markdown]
# The trivial baselines on the same studies, without which no score can be read:

# %%
stored = kept_results.stored_results("laptop", DATASET)
kept_results.results_table(stored[:1]).iloc[1:] if stored else Markdown("No laptop results are stored.")

# %%
if stored:
    told_nothing = [
        row.parts["all"].scores for row in stored[0].evaluation.rows[1:] if row.name[0] in "abc"
    ]  # d is told labels, e the reference
    systems_of = {name: experiment(f"{DATASET}/{name}", "laptop") for name in asked_for}
    together = {s: measured_together(stored, systems_of, s) for s in ("BLEU-4", "finding-F1")}  # of one edition each
    bleu, f1 = ([m.spread.mean for m in together[s].values()] for s in ("BLEU-4", "finding-F1"))
    display(
        Markdown(
            f"Of one search each ({next(iter(together['BLEU-4'].values())).protocol}): in BLEU-4 the systems reach {min(bleu):.3f} to {max(bleu):.3f}, the best baseline that is told nothing of a study (a, b, c) "
            f"{max(row['BLEU-4'] for row in told_nothing):.3f}. In finding-F1 they reach {min(f1):.3f} to {max(f1):.3f}, the best of those baselines "
            f"{max(row['finding-F1'] for row in told_nothing):.3f}. So look at what they find."
        )
    )


# %%
def verdict(name, score="finding-F1"):
    """An ablation against the whole system of the same edition, by the rule of chapter 10: seeds and studies both make a mean uncertain."""
    if not {name, "mcsam"} <= set(together[score]):
        return "not run"
    judged = order(together[score][name], together[score]["mcsam"])
    return f"{judged.difference:+.3f}{', by keywords-0' if 'keywords' in judged.note else ''}: {judged.how}"  # above, below, or why neither


# %%
questions = {
    "base": "is any memory needed?",
    "cmn": "is it more than CMN?",
    "mcsam_random_bank": "does the start matter?",
    "mcsam_frozen_bank": "must the bank learn?",
    "mcsam_wo_retrieval": "is the bank needed at all?",
    "mcsam_wo_alignment": "is the alignment (and its embedding)?",
    "mcsam_wo_tokens": "are the tokens?",
    "mcsam_direct": "contrastive or direct?",
    "mcsam_hard": "a soft mixture or the best slot?",
}
answers_to = {
    name: {"the question": text, "finding-F1": verdict(name), "BLEU-4": verdict(name, "BLEU-4")}
    for name, text in questions.items()
}
pd.DataFrame(answers_to).T.rename_axis("this system, less mcsam")

# %%
clear = [
    f"`{name}` ({score}: {row[score]})"
    for name, row in answers_to.items()
    for score in ("finding-F1", "BLEU-4")
    if row[score].endswith(("above", "below"))
]
alike_enough = sum("no difference" in row[score] for row in answers_to.values() for score in ("finding-F1", "BLEU-4"))
Markdown(
    f"Told from `mcsam`: {'; '.join(clear) or '**none of those that were run**'}. "
    + (
        ""
        if clear
        else "These runs can't say that MCSAM, or any part of it, helps or harms: the differences are of the size that seeds and studies make. "
        f"Of the {2 * len(answers_to)} comparisons {alike_enough} show that there is no difference that would matter; “undecided” is no such answer. "
    )
    + "What is found here holds on drawn studies and for our reconstruction; it is no verdict on the paper's own system."
)

# %% [markdown]
# ### Four symptoms, and which part is to blame
#
# The summary of the paper lists what a failing system would look like, and which part to suspect. It gives no numbers. We give each symptom one (C), chosen
# before looking:
#
# | symptom (A) | suspects (A) | the number that would show it (C) |
# |---|---|---|
# | generic reports | retrieval or alignment | distinct reports for 100 studies: few |
# | repetition | memory tokens or decoder | share of the reports in which three words in a row stand twice: high |
# | wrong terms | bank initialisation or vocabulary | share of the findings said that are not there: high |
# | missed critical findings | alignment, or too little knowledge | share of the Pneumothorax, Edema, Effusion, Fracture there that is not said: high |
#
# A suspect is to blame if the symptom **goes away or grows** when it is changed. The stored `laptop` trainings, each trained with its suspect changed,
# mean over seeds; the first row is the whole system, the last two have no bank of this kind.

# %%
CRITICAL = ("Pneumothorax", "Edema", "Effusion", "Fracture")


def repeats(reports, n=3):
    """Share of reports, lists of words, in which some n words in a row stand more than once."""
    grams = [[tuple(words[i : i + n]) for i in range(len(words) - n + 1)] for words in reports]
    return np.mean([len(set(found)) < len(found) for found in grams])


def symptoms(result):
    """The four numbers of one stored result; nan where its reports were not kept."""
    row, each = result.evaluation.rows[0], result.evaluation.rows[0].findings
    there = {f: each[f]["support"] for f in each}
    found = {f: each[f]["recall"] * there[f] for f in each}
    said = {
        f: found[f] / each[f]["precision"] for f in each if each[f]["precision"] > 0
    }  # a finding said, and never rightly, can't be counted back
    whole = row.parts["all"]
    return {
        "distinct / 100": 100 * whole.distinct / whole.n,
        "repeats": repeats(list(result.tokens.values())) if result.tokens else math.nan,
        "wrong": 1 - sum(found[f] for f in said) / max(sum(said.values()), 1e-9),
        "missed critical": 1 - sum(found[f] for f in CRITICAL) / sum(there[f] for f in CRITICAL),
    }


# %%
suspects = {
    "mcsam": "the whole system",
    "mcsam_wo_retrieval": "retrieval off",
    "mcsam_random_bank": "bank drawn at random",
    "mcsam_frozen_bank": "bank never learns",
    "mcsam_wo_alignment": "alignment off",
    "mcsam_wo_tokens": "memory tokens off",
    "cmn": "CMN",
    "base": "BASE",
}
kept_symptoms = {}
for name, what in suspects.items():
    of_name = [r for r in stored if r.experiment.preset == name and r.is_preset]
    ways = {r.protocol for r in of_name}
    how = next((w for w in ("edition 0.1", "greedy", "tuned") if w in ways), None)  # all rows searched alike: greedily
    runs_of = [r for r in of_name if r.protocol == how]
    if runs_of:
        frame = pd.DataFrame([symptoms(r) for r in runs_of])
        kept_symptoms[f"{what} (`{name}`)"] = {
            "seeds": len(runs_of),
            **frame.mean(),
            "sd of wrong": frame["wrong"].std(),
            "sd of missed": frame["missed critical"].std(),
        }
symptom_table = pd.DataFrame(kept_symptoms).T
symptom_table.round(3).astype({"seeds": int}) if len(symptom_table) else Markdown("**Not run.**")

# %% [markdown]
# `repeats` needs the reports themselves, which the older trainings did not keep (nan). So we ask the small system of this chapter: its validation reports as
# trained, and with a part taken out of the **trained** system. (What is taken out here was counted on while training, so this shows what the part holds up, not
# what training without it would give.)

# %%
taken = {
    "as trained": "as trained",
    "retrieval off": "bank: no answer",
    "one slot for all": "semantic slot: the mean one for all",
    "tokens off": "memory tokens: none",
}
small = {}
for title, change in taken.items():
    other = run.generator().requires_grad_(False)
    changes[change](other.memory)
    texts = [
        report.split() for report in write_reports(other, validation, vocabulary, run.experiment.decoding).values()
    ]
    small[title] = {
        "distinct / 100": 100 * len({" ".join(t) for t in texts}) / len(texts),
        "repeats": repeats(texts),
        "words": np.mean([len(t) for t in texts]),
    }
references = [dataset.reference(i).split() for i in validation.indices]
small["the radiologists' own"] = {
    "distinct / 100": 100 * len({" ".join(t) for t in references}) / len(references),
    "repeats": repeats(references),
    "words": np.mean([len(t) for t in references]),
}
pd.DataFrame(small).T.round(3)

# %%
if len(symptom_table):
    whole_row, others = symptom_table.iloc[0], symptom_table.iloc[1:6]
    spread_of = {"wrong": "sd of wrong", "missed critical": "sd of missed"}
    blamed = []
    for symptom, sd in spread_of.items():
        for name, row in others.iterrows():
            gap, noise = (
                row[symptom] - whole_row[symptom],
                math.sqrt(np.nanmean(symptom_table[sd] ** 2) * (1 / row["seeds"] + 1 / whole_row["seeds"])),
            )
            if abs(gap) > 2 * noise:
                blamed.append(f"{name}: {symptom} {gap:+.3f}")
    cured = (
        "one of them cures it"
        if symptom_table["distinct / 100"].iloc[1:6].max() > 1.5 * symptom_table["distinct / 100"].iloc[0]
        else "none cures it"
    )
    generic, written_by, of_people = (
        symptom_table["distinct / 100"],
        small["as trained"],
        small["the radiologists' own"],
    )
    display(
        Markdown(
            f"- **Generic**: the whole system writes {generic.iloc[0]:.0f} different reports for 100 studies. With a suspect changed it is "
            f"{generic.iloc[1:6].min():.0f} to {generic.iloc[1:6].max():.0f}: {cured}. This small system writes {written_by['distinct / 100']:.0f}, "
            f"radiologists {of_people['distinct / 100']:.0f}.\n"
            f"- **Repetition**: {written_by['repeats']:.0%} of this small system's reports, {small['tokens off']['repeats']:.0%} without tokens, "
            f"{small['retrieval off']['repeats']:.0%} without retrieval, "
            f"{of_people['repeats']:.0%} of the radiologists'.\n"
            f"- **Wrong terms**: {whole_row['wrong']:.0%} of the findings said are not there. **Missed critical findings**: "
            f"{whole_row['missed critical']:.0%}.\n"
            f"- Suspects whose change moves one of the last two by more than twice what seeds do: {'; '.join(blamed) or '**none**'}. "
            f"That is {len(spread_of) * len(others)} looks, and about {0.05 * len(spread_of) * len(others):.1f} of them would move that much by chance."
        )
    )

# %% [markdown]
# ### Bank size against quality
#
# The summary names it as a first experiment. The stored `laptop` trainings, everything but the number of slots
# alike, reports searched as tuned:

# %%
by_size = {
    score: swept(stored, "mcsam", "memory.slots", DATASET, score, profile="laptop", protocol="tuned")
    for score in ("finding-F1", "BLEU-4")
}
if all(by_size.values()):
    sizes_seen = {
        n: {
            score: f"{row[n].spread.mean:.3f}" + (f" ± {row[n].spread.sd:.3f}" if row[n].spread.n > 1 else "")
            for score, row in by_size.items()
        }
        for n in by_size["BLEU-4"]
    }
    display(
        pd.DataFrame(sizes_seen)
        .T.assign(seeds={n: m.spread.n for n, m in by_size["BLEU-4"].items()})
        .rename_axis("slots of the bank")
    )
    least = min(m.spread.n for m in by_size["BLEU-4"].values())
    moves = {score: np.ptp([m.spread.mean for m in row.values()]) for score, row in by_size.items()}
    noise = {
        score: np.nanmean([m.spread.sd for m in row.values() if m.spread.n > 1] or [math.nan])
        for score, row in by_size.items()
    }
    text = "; ".join(
        f"{score} moves by {moves[score]:.3f} over the sizes, seeds of one size spread by {noise[score]:.3f}"
        for score in moves
    )
    few_seeds = " **Some sizes have one seed only: read nothing into their order.**" if least < 2 else ""
    display(Markdown(text[0].upper() + text[1:] + "." + few_seeds))
else:
    display(
        Markdown(
            f"**Not run**: only the preset's own size, {experiment(f'{DATASET}/mcsam', 'laptop').memory.slots} slots, is stored."
        )
    )

# %% [markdown]
# ### The four starts of the bank
#
# Do even topics help (section 6.2)? The stored `laptop` trainings of one edition, the same system with another start:

# %%
start_of = {"random": experiment(f"{DATASET}/mcsam_random_bank", "laptop")}
start_of |= {
    how: experiment(f"{DATASET}/mcsam", "laptop", [f'memory.initialisation="{how}"'])
    for how in ("kmeans", "label_kmeans", "ot_topics")
}
of_score = {score: measured_together(stored, start_of, score) for score in ("finding-F1", "BLEU-4")}
begun = {how: {score: of[how] for score, of in of_score.items()} for how in of_score["BLEU-4"]}
pd.DataFrame(
    {how: {score: str(m.spread) for score, m in row.items()} for how, row in begun.items()}
).T if begun else Markdown("**Not run.**")

# %%
if "ot_topics" in begun:
    beside_topics = {
        how: order(row["finding-F1"], begun["ot_topics"]["finding-F1"])
        for how, row in begun.items()
        if how != "ot_topics"
    }
    told_apart = [
        f"{how} ({found.difference:+.3f}, {found.how})"
        for how, found in beside_topics.items()
        if found.how in ("above", "below")
    ]
    unlike = f"Starts that finding-F1 tells from topics by transport: {', '.join(told_apart) or '**none**'}. "
    display(
        Markdown(
            unlike
            + (
                ""
                if told_apart
                else "Whether it buys anything that every topic receives the same, these runs leave open."
            )
        )
    )

# %% [markdown]
# To train one yourself: `rrg train iu_phantom/mcsam_hard --profile laptop`. From `laptop` on, this chapter trains the four starts, too:

# %%
if PROFILE != "ci":
    starts = {}
    for start in ("ot_topics", "kmeans", "label_kmeans", "random"):
        override = [f'memory.initialisation="{start}"'] if "kmeans" in start else []
        preset = "mcsam_random_bank" if start == "random" else "mcsam"
        result = Run.of(experiment(f"{DATASET}/{preset}", PROFILE, override, seed=SEED), data_root=DATA_ROOT).train()
        starts[start] = {
            name: result.history[result.best_epoch][name] for name in ("validation_loss", "BLEU-4", "finding-F1")
        }
    display(pd.DataFrame(starts).T.round(3))

# %% [markdown]
# ## 6.13 What retrieval costs
#
# The summary of the paper leaves it open: what does a larger bank cost, in time and in memory? We measure one read at the published width of CMN, two
# studies at a time, against the bank's size, as multiples of the time that the whole encoder takes on the same patches. All ratios are of one run: the
# seconds are this machine's, the shape of the curve is not.

# %%
full, studies = TransformerConfig(), 2
encoder = Encoder(full.d_model, full.d_ff, full.heads, full.layers, 0.0, full.norm).eval().requires_grad_(False)
patches, word = torch.randn(studies, S, full.d_model), torch.randn(studies, 1, full.d_model)


def seconds(work, repeats=3):
    work()  # warm
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


# %%
sizes, times = (128, 512, 2048, 8192), {}
whole_encoder = seconds(lambda: encoder(patches))
for n in sizes:
    bank = (
        MCSAMConfig(slots=n, top_k=32, initialisation="random")
        .build(full.d_model, full.heads)
        .eval()
        .requires_grad_(False)
    )
    ready = bank.slots(None, "image")
    times[n] = {
        "keys and values, once a batch": seconds(lambda bank=bank: bank.slots(None, "image")),
        f"{studies} × {S} patches ask, K = 32": seconds(lambda bank=bank, ready=ready: bank.respond(patches, ready)),
        f"{studies} words ask (a decoding step)": seconds(lambda bank=bank, ready=ready: bank.respond(word, ready)),
    }
relative = pd.DataFrame(times).T / whole_encoder

# %% [markdown]
# Memory we count instead of measuring: tensors of four-byte numbers. The scores are the catch, because *every* patch of *every* head has one for *every*
# slot.

# %% tags=["nbval-check-output"]
MiB = 2**20
bytes_of = pd.DataFrame(
    {
        n: {
            "the bank": 4 * n * full.d_model / MiB,
            "its keys and values": 8 * n * full.d_model / MiB,
            f"scores of {studies} × {S} patches": 4 * studies * full.heads * S * n / MiB,
        }
        for n in sizes
    }
).T
print(bytes_of.round(2).to_string())

# %% [markdown]
# *What to see: left, a line above the dashed one takes longer than everything else that is done to the patches. Keys and values are the same for every
# study, so after training they need making only once. Right, which tensor
# is the largest; the scores also grow with the number of studies, the other two do not.*

# %%
figures.cost(relative, bytes_of, name="06_cost")

# %%
growth = relative.iloc[-1] / relative.iloc[-2]
patches_ask, words_ask = relative.columns[1:]
usual = relative.loc[MCSAMConfig().slots]
Markdown(
    f"From {sizes[-2]:,} to {sizes[-1]:,} slots ({sizes[-1] // sizes[-2]} times as many) the patches' read takes {growth[patches_ask]:.1f} times as "
    f"long. The dearest at {sizes[-1]:,} is “{relative.iloc[-1].idxmax()}”. At {MCSAMConfig().slots:,} slots the patches' read costs "
    f"**{usual[patches_ask]:.1f} times** the encoder, a word's read {usual[words_ask]:.2f} times. Every "
    "query is compared with every slot: there is no index. Banks much larger than these would want an approximate nearest-neighbour search, or fewer "
    "queries."
)

# %% [markdown]
# ## 6.14 What several seeds say
#
# The ablations of 6.12 rest on three seeds and a few hundred test studies. They are asked again in a *study*: planned before it is run, five seeds, thousands
# of sampled test studies, paired, decided by chapter 10's rule. They are drawn studies: no replication.
#
# *What to see: the dot is the difference between MCSAM and what is left without a part (or with another in its place), the line its margin if it were alone, the
# grey band what would not matter; blue or red is told apart, corrected for all that the study compares, shown here or not. What is right of the band costs something when it is taken away.*

# %%
parts_study = study_report(study_plan("ablations"))
show_study(parts_study, "finding-F1", among=["mcsam"], name="06_study_parts")

# %%
titles = {system.name: system.title for system in parts_study.plan.systems}
of_parts = [v for v in verdicts_of(parts_study, "finding-F1", among=["mcsam"]).values() if v.b != "cmn"]
gains = [f"{titles[v.b]} ({-v.order.difference:+.3f})" for v in of_parts if v.order.answer == "below"]
losses = [f"{titles[v.b]} ({-v.order.difference:+.3f})" for v in of_parts if v.order.answer == "above"]
Markdown(
    "In finding-F1, told apart from the whole system there. **Above it, with the part gone or changed:** "
    f"{'; '.join(gains) or 'none'}. **Below it:** {'; '.join(losses) or 'none'}."
)

# %% [markdown]
# What that study leaves open is asked once more with 8,000 training studies and six seeds: the bank's start, the tokens, a bank that learns, soft retrieval.
#
# *What to see: each row is one part. Inside the grey band it is shown to make no difference that matters; a line that leaves the band on one side still may.*

# %%
more_study = study_report(study_plan("mcsam_parts"))
show_study(more_study, "BLEU-4", name="06_study_more")

# %% [markdown]
# That plan hoped that seeds scatter less where there is more to learn from. Do they? The standard deviation over seeds, pooled over systems of one kind:


# %%
def scatter(report, where, names, metric):
    """The standard deviation over seeds, pooled over some systems of a study; nan where one of them was not run."""
    found = [report.scores.get((where, name, metric)) for name in names]
    if any(one is None for one in found):
        return math.nan
    return pooled([list(one.scores.values()) for one in found], where).sd


kinds = {
    "MCSAM and its parts": ([system.name for system in more_study.plan.systems], more_study),
    "BASE, BASE+MEM, CMN": (["base", "mem", "cmn"], study_report(study_plan("orders"))),
}
spread = pd.DataFrame(
    {
        f"{kind}, {metric}": {
            "2,000 studies": scatter(parts_study, "n2000", names, metric),
            "8,000 studies": scatter(larger, "n8000", names, metric),
        }
        for kind, (names, larger) in kinds.items()
        for metric in ("BLEU-4", "finding-F1")
    }
).T
display(spread.round(4))
fewer, more = (
    list(spread.index[mask]) for mask in (spread.diff(axis=1).iloc[:, 1] < 0, spread.diff(axis=1).iloc[:, 1] >= 0)
)
Markdown(
    f"Less with 8,000: {'; '.join(fewer) or 'none'}. Not less: {'; '.join(more) or 'none'}."
    + (
        " There more studies to learn from do not make a comparison surer: it takes more seeds, as the rows above say."
        if more
        else ""
    )
)

# %% [markdown]
# ## What you can now do
#
# - Rebuild a system from an abstract without pretending: name the level of every choice, make every choice a switch.
# - Fill a memory with topics by optimal transport, write Sinkhorn's iteration, and say what "every topic receives the same" asks of the plan, and whether
#   it helped.
# - See CMN's read as a Hopfield step, and say what top-K and hard retrieval leave out.
# - Write a contrastive alignment, show why the direct one collapses, and test aligned embeddings by retrieval against chance.
# - Give a decoder a prefix and an extra slot without breaking its cache.
# - Ask a trained system which of its parts it listens to, and a memory whether it has learnt anything at all.
#
# ## Sources
#
# - Tao, Ma, Yu, Zhang: *Memory-based Cross-modal Semantic Alignment Network for Radiology Report Generation*, arXiv 2404.00588, *IEEE Journal of Biomedical
#   and Health Informatics*, 2024: abstract and summaries only (levels A and B); everything marked C is this book's. <!-- typed: the number of a preprint -->
# - Marco Cuturi: *Sinkhorn Distances: Lightspeed Computation of Optimal Transport*, NeurIPS 2013; Marco Cuturi, Arnaud Doucet: *Fast Computation of
#   Wasserstein Barycenters*, ICML 2014.
# - Hubert Ramsauer et al.: *Hopfield Networks Is All You Need*, ICLR 2021.
# - Aäron van den Oord et al.: *Representation Learning with Contrastive Predictive Coding*, 2018; Alec Radford et al.: *Learning Transferable Visual
#   Models From Natural Language Supervision* (CLIP), ICML 2021.
# - Xiang Lisa Li, Percy Liang: *Prefix-Tuning*, ACL 2021.
# - Reports and codes: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes no report of
#   it; the words in 6.9 are generated.
