# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 4, peak_gib: 2}
# ---

# %% [markdown]
# # 11 · The lineage: from Show-and-Tell to R2Gen to CMN
#
# **Goals.** Build the systems that the papers compare with, in the order in which each idea came: an image read as a word, attention, a sentinel, two
# cells, a memory of the text; and, from descriptions, planned sentences, a graph of findings, knowledge looked up. See where an LSTM looks, and how much of each word it says from what was
# written. Find out which of the papers' orders our
# stored trainings bear out, and how to read the printed rows whose scores a report that sees nothing more than doubles.
#
# **Before this.** Chapters 03 and 04: teacher forcing, attention, CMN. Chapter 10 for the rule that decides an order.
#
# **Minutes.** Running: under four on two CPU cores. Reading 50, exercises 46.
#
# > The radiographs of this chapter are **drawn** from the expert codes of real studies; the reports are real. Its scores are **not comparable with
# > published ones**.

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
import math
import re
import textwrap
from dataclasses import replace
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from rrg_lib.book.checks import lineage as checks
from rrg_lib.book.explorer_view import explorer_view
from rrg_lib.book.figures import lineage as figures
from rrg_lib.book.figures.memory_querying_responding import WordMaps, word_regions
from rrg_lib.book.figures.replication_ledger import order_differences
from rrg_lib.book.prose import say
from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.attention import (
    CROSS_ATTENTION,
    box_cover,
    box_score,
    box_summary,
    box_table,
    find_mentions,
    look,
)
from rrg_lib.evaluation.resampling import LEVEL, interval, mean_of
from rrg_lib.experiments import results as kept_results
from rrg_lib.experiments.presets import PRESETS, experiment
from rrg_lib.experiments.reports import write_reports
from rrg_lib.experiments.run import Run
from rrg_lib.models import coatt as coatt_file
from rrg_lib.models import ekagen as ekagen_file
from rrg_lib.models import ratchet as ratchet_file
from rrg_lib.models import sentsat_kg as sentsat_file
from rrg_lib.models.coatt import Sentences
from rrg_lib.models.ekagen import distillation
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.topdown import TopDown
from rrg_lib.models.transformer import causal_mask, merge_heads, split_heads
from rrg_lib.replication.decision_rule import corrected
from rrg_lib.replication.seed_scores import measured as measured_of
from rrg_lib.replication.seed_scores import order
from rrg_lib.runtime.package_data import table as shipped

# %% [markdown]
# ## 11.1 Who came when
#
# | year | system | its idea | what it has of the image at each word |
# |---|---|---|---|
# | 2015 | ST, *Show and Tell* | the image is the first word of the sentence | nothing new: one vector, read once |
# | 2017 | ATT2IN | look again at every word; what is seen enters the cell's candidate | a weighted mean of the patches |
# | 2017 | ADAATT | one may also decide *not* to look: the sentinel | patches, or its own memory |
# | 2018 | TOPDOWN | one cell decides where to look, another writes | a weighted mean of the patches |
# | 2018 | COATT | a state plans sentences, told which findings are likely | the pooled image, weighted anew for each *sentence* |
# | 2020 | SentSAT+KG | findings gather from the image and talk along a graph | the findings' nodes, weighted anew for each sentence |
# | 2020 | R2GEN | a Transformer, with a memory of what was written so far | patches, asked by several heads |
# | 2021 | RATCHET | a Transformer without an encoder | patches, asked by very wide heads |
# | 2021 | CMN | a memory that image and text both ask (chapter 04) | patches, and the memory's answers |
# | 2022 | XProNet | prototypes of each finding (chapter 05) | patches, and the prototypes' answers |
# | 2024 | EKAGen | told the diagnosis, and what is usually said of it | patches, and a row of knowledge |
#
# The four LSTMs of sections 11.2 to 11.5 were made for photographs. The radiology papers took their public code, trained it on chest films and printed the
# rows. COATT, SentSAT+KG, RATCHET and EKAGen are rebuilt from descriptions, in section 11.8. We have all of them behind one interface (`rrg_lib.models.interface`), so each is a preset like any other. How many numbers does each learn, at its released size and
# without the image network?

# %% tags=["nbval-check-output"]
SYSTEMS = (
    *("st", "att2in", "adaatt", "topdown", "coatt", "sentsat_kg"),
    *("base", "r2gen", "ratchet", "cmn", "xpronet", "ekagen"),
)
LSTMS = ("st", "att2in", "adaatt", "topdown", "coatt", "sentsat_kg")
with torch.device("meta"):  # shapes without numbers
    sizes = {
        name: sum(p.numel() for p in PRESETS[name].generator.build(memory=PRESETS[name].memory).parameters())
        for name in SYSTEMS
    }
print(pd.Series({name: f"{count:,}" for name, count in sizes.items()}).to_string())

# %% [markdown]
# Four of them are trained now, or found trained: ST, ADAATT, R2GEN, and BASE for comparison. In the `ci` profile three train for two epochs and ADAATT, which
# learns slowly, for four. That shows how each works and not which is better. The stored `laptop` trainings in sections 11.10 to 11.12 are for that.

# %%
TRAINED = ("st", "adaatt", "r2gen", "base")
SHORT = ["training.epochs=2", "training.batch_size=16", "training.warmup_steps=50"]


def settings(name):
    """What is changed in a preset's training: nothing in ADAATT's, which learns slowly, and nothing in a longer profile."""
    return SHORT if PROFILE == "ci" and name != "adaatt" else []


runs = {
    name: Run.of(experiment(f"{DATASET}/{name}", PROFILE, settings(name), seed=SEED), data_root=DATA_ROOT)
    for name in TRAINED
}
results = {name: run.train() for name, run in runs.items()}
kept = pd.DataFrame({name: result.history[result.best_epoch] for name, result in results.items()}).T
kept[["train_loss", "validation_loss", "BLEU-4", "finding-F1", "distinct"]].astype(float).round(3)

# %%
run = runs["base"]
dataset = run.dataset
test = run.batches("test")
eight = sorted(test.indices, key=lambda i: not dataset.boxes(i))[:8]  # that have something drawn
batch = test.collate(eight)
if run.generator().extractor is not None:  # a fine-tuned extractor is part of each generator: let one look for all
    batch = replace(batch, inputs=run.generator().extractor(batch.inputs).patches)

# %% tags=["nbval-check-output"]
B, S, T = len(eight), batch.inputs.shape[1], batch.tokens.shape[1] - 1
views = S // 49
print(f"{B} studies of {views} views, {S} patches each, up to {T} words")

# %% [markdown]
# ## 11.2 Show and Tell: the image as a word
#
# > ST, image as word &nbsp; $\mathbf h_0,\mathbf c_0=\mathrm{LSTM}(\mathbf P\bar{\mathbf f};\ \mathbf 0,\mathbf 0)\qquad
# > \mathbf h_t,\mathbf c_t=\mathrm{LSTM}(\mathbf E_{w_t};\ \mathbf h_{t-1},\mathbf c_{t-1})\qquad p(w_{t+1})=\mathrm{softmax}(\mathbf L\mathbf h_t)$
#
# $\bar{\mathbf f}$ is the *pooled* image: the mean patch of each view, side by side. It is read as if it were a word. What the LSTM says after it is thrown
# away; then id 0 begins the report.
#
# An LSTM's step has three gates, numbers from 0 to 1: what comes in ($\mathbf i$), what stays ($\mathbf f$), what is shown ($\mathbf o$). And a candidate
# $\mathbf g$, which is what would come in.
#
# > $[\mathbf i,\mathbf f,\mathbf g,\mathbf o]=\mathbf W\mathbf x_t+\mathbf U\mathbf h_{t-1}\qquad
# > \mathbf c_t=\sigma(\mathbf f)\odot\mathbf c_{t-1}+\sigma(\mathbf i)\odot\tanh\mathbf g\qquad \mathbf h_t=\sigma(\mathbf o)\odot\tanh\mathbf c_t$
#
# *Paper: an LSTM. The public code has two of them: one as here, without any bias, and one with the candidate of section 11.3. Which of them the radiology
# papers ran, they don't say. We take the first; `ShowTellConfig(candidate="maxout")` is the other.*

# %%
st = runs["st"].generator().requires_grad_(False)
W, U = st.cell.inputs, st.cell.hidden


def lstm_step(x, h, c):
    """(B, d) three times -> the new state and cell."""
    i, f, g, o = (W(x) + U(h)).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


# %%
pooled = batch.inputs.unflatten(1, (views, -1)).mean(dim=2).flatten(1)  # f̄, (B, views · d_vf)
h = c = torch.zeros(B, st.config.d_model)
h, c = lstm_step(st.image(pooled), h, c)  # the image, as if it were a word
logits = []
for t in range(T):
    h, c = lstm_step(st.token_embedding(batch.tokens[:, t]), h, c)
    logits.append(st.logits(h))
logits = torch.stack(logits, dim=1)  # (B, T, V + 1)

# %% [markdown]
# The lesson's lines and the library agree:

# %%
torch.testing.assert_close(logits, st(batch).logits, atol=1e-4, rtol=1e-4)

# %% [markdown]
# ### Why a pooled image can't point
#
# ST has no attention, so there is no map to draw. Ask for one and the library says so:

# %% tags=["nbval-check-output"]
try:
    look(st, batch.inputs[:1], [[1, 2, 3]])
except ConfigurationError as error:
    print(error)

# %% [markdown]
# But couldn't one find out where it looks in another way, by covering a patch, say? Think first. A mean has no places: move every patch to another place
# and the mean is the same. So what ST says cannot depend on *where* something lies, only on how much of it there is in the view. (A network under it may
# have written the place into the patch's own numbers; ST can use that.)
#
# **Exercise 11.1** (10 min). What does a generator see? `write` takes patches (views, patches, numbers) and returns the numbers it writes with. Make two
# changes and measure the largest absolute change of each: move the patches of every view on by one place (`roll`, the last becomes the first), and put
# every view's mean patch in the place of each of its patches. Changes below `tiny` are rounding. Then say what it sees: `"the places"` (another order
# changes something), `"the set"` (only the second changes something), or `"the mean"`.


# %% exercise="11.1" level="explain"
def what_it_sees(write, patches, tiny=1e-3):
    """A function (V, P, d) -> (n,) and patches (V, P, d) -> ((largest change reordered, with the mean), reason)."""
    ### BEGIN SOLUTION
    as_is = write(patches)
    changed = patches.roll(1, dims=1), patches.mean(dim=1, keepdim=True).expand_as(patches)
    moved, evened = ((write(other) - as_is).abs().max().item() for other in changed)
    return (moved, evened), "the places" if moved > tiny else "the set" if evened > tiny else "the mean"
    ### END SOLUTION


# %% exercise="11.1" points=10
checks.what_it_sees(what_it_sees)  # silent when right

# %% [markdown]
# Now ask the four that we trained, about the first of our studies and its own report.
#
# *What to see: not how large a change is, but which of them there is.*


# %%
def writes(generator, study=0):
    """A generator as a function of one study's patches (V, P, d): its logits for the study's own report, as one row."""
    one = {name: getattr(batch, name)[study : study + 1] for name in ("tokens", "mask")}
    return lambda patches: generator(
        replace(batch, inputs=patches.flatten(0, 1)[None], labels=None, **one)
    ).logits.flatten()


trained = {name: r.generator().requires_grad_(False) for name, r in runs.items()}
asked = {name: what_it_sees(writes(g), batch.inputs[0].unflatten(0, (views, -1))) for name, g in trained.items()}
pd.DataFrame(
    {
        name: {"patches reordered": moved, "each its view's mean": evened, "it sees": reason}
        for name, ((moved, evened), reason) in asked.items()
    }
).T

# %%
by_reason = {reason: [name for name, (_, said) in asked.items() if said == reason] for reason in checks.REASONS}
Markdown(
    "; ".join(
        f"**{reason}**: {', '.join(f'`{name}`' for name in names) or 'none'}" for reason, names in by_reason.items()
    )
    + ". Who sees the set can *point*: it weighs patches. Where each of them lies the generator is not told; we are. Who sees the mean alone can't even be "
    "asked. (BASE and R2GEN are both Transformers. CMN's code, whose BASE this is, adds a place to each patch, R2Gen's does not.)"
)

# %% [markdown]
# ## 11.3 ATT2IN: look again at every word
#
# Attention gives every word an image of its own. The state so far, $\mathbf h_{t-1}$, scores each patch; a softmax makes weights; the weighted mean is
# what is seen.
#
# > ATT2IN, additive attention &nbsp; $e_i=\mathbf u^{\top}\tanh(\mathbf P\mathbf v_i+\mathbf H\mathbf h_{t-1})+b\qquad
# > \boldsymbol\alpha=\mathrm{softmax}(\mathbf e)\qquad \mathbf z_t=\sum_i\alpha_i\mathbf v_i$
#
# A Transformer compares word and patch by a product. Here they are *added* and put through a small network: hence the name, and hence the cost, one
# $\tanh$ a patch, word and unit.
#
# Below is one word of an untrained ATT2IN: the equations hold for any weights.

# %%
torch.manual_seed(0)
att2in = Run.of(experiment(f"{DATASET}/att2in", PROFILE, seed=SEED), data_root=DATA_ROOT).new_generator().eval()
att2in.requires_grad_(False)
d = att2in.config.d_model
h, c = 0.5 * torch.randn(2, B, d)  # some state, as if it had read a few words
v = torch.relu(att2in.patch_embedding[0](batch.inputs))  # (B, S, d)
x = torch.relu(att2in.token_embedding(batch.tokens[:, 1]))  # (B, d): the code has a ReLU on words, too

# %%
P, H, u = att2in.attention.key, att2in.attention.query, att2in.attention.score
e = u(torch.tanh(P(v) + H(h)[:, None]))[..., 0]  # (B, S)
alpha = e.softmax(dim=-1)
z = (alpha[..., None] * v).sum(dim=1)  # (B, d): what is seen

# %% [markdown]
# Where does it enter? Not into the gates: only into the candidate. And the candidate is new, too: the *larger of two* linear maps, unit by unit
# ("max-out"), without a $\tanh$.
#
# > ATT2IN, cell &nbsp; $[\mathbf i,\mathbf f,\mathbf o]=\mathbf W\mathbf x_t+\mathbf U\mathbf h_{t-1}\qquad
# > \mathbf g=\max\big(\mathbf W'\mathbf x_t+\mathbf U'\mathbf h_{t-1}+\mathbf C'\mathbf z_t,\ \mathbf W''\mathbf x_t+\mathbf U''\mathbf h_{t-1}+\mathbf C''\mathbf z_t\big)$
# >
# > $\mathbf c_t=\sigma(\mathbf f)\odot\mathbf c_{t-1}+\sigma(\mathbf i)\odot\mathbf g\qquad\mathbf h_t=\sigma(\mathbf o)\odot\tanh\mathbf c_t$
#
# With $\tanh$ a word can add at most 1 to a unit of the cell. Without, any amount.
#
# *Paper: nearer to the public code's first class, which attends raw patches. The code has a second one with a layer in front of patches and words, for
# which it ships a training configuration. Ours is the second; `Att2inConfig(embedded=False)` is the first.*

# %%
gates = att2in.cell.inputs(x) + att2in.cell.hidden(h)  # (B, 5d): i, f, o, and the two candidates
seen = att2in.context(z)  # (B, 2d): C' z and C'' z

# %% [markdown]
# **Exercise 11.2** (6 min). Write the rest of the step.


# %% exercise="11.2" level="implement"
def maxout_step(gates, seen, c):
    """Sums (B, 5d): before i, f, o and of both candidates; what was seen (B, 2d), for the candidates; the cell (B, d) -> new h, new c, (B, d) each."""
    ### BEGIN SOLUTION
    i, f, o, first, second = gates.chunk(5, dim=-1)
    to_first, to_second = seen.chunk(2, dim=-1)
    candidate = torch.maximum(first + to_first, second + to_second)
    c = f.sigmoid() * c + i.sigmoid() * candidate
    return o.sigmoid() * c.tanh(), c
    ### END SOLUTION


# %% exercise="11.2" points=6
checks.maxout_step(maxout_step)

# %%
new_h, new_c = maxout_step(gates, seen, c)
output, state, attention = att2in.read(
    att2in.words(batch.tokens[:, 1:2]), {"h": h[:, None], "c": c[:, None]}, att2in.look(batch.inputs)
)
torch.testing.assert_close(attention[:, 0], alpha, atol=1e-5, rtol=1e-4)
torch.testing.assert_close(state["h"][:, 0], new_h, atol=1e-5, rtol=1e-4)
torch.testing.assert_close(state["c"][:, 0], new_c, atol=1e-5, rtol=1e-4)
"the lesson's lines and the library agree"

# %% [markdown]
# ## 11.4 ADAATT: or don't look
#
# After *pleural* comes *effusion* or *effusions*; for that nobody has to look. But attention weights sum to 1: a model that attends must look
# *somewhere*, at every word. ADAATT gives it a way out, one more thing to look at: a **sentinel**, a gated copy of its own cell.
#
# > ADAATT, sentinel &nbsp; $\mathbf s_t=\sigma(\mathbf W_s\mathbf x_t+\mathbf V_s\bar{\mathbf f}+\mathbf U_s\mathbf h_{t-1})\odot\tanh\mathbf c_t$
# >
# > ADAATT, adaptive attention &nbsp; $\boldsymbol\alpha=\mathrm{softmax}(e_1,\dots,e_S,e_0)\qquad \mathbf z_t=\sum_{i=1}^{S}\alpha_i\mathbf v_i+\alpha_0\mathbf s_t$
#
# $e_0$ is the sentinel's score. Its weight $\alpha_0$ says how much is taken from what the cell holds, and not from the patches, at this word. (The cell has
# seen something of the image, too: the pooled image $\bar{\mathbf f}$ is read at every word; and it is the *new* state that asks, where ATT2IN asked with the old one.)
#
# *Paper: words are scored from $\mathbf z_t$ and $\mathbf h_t$. The public code puts one more layer on sentinel and state, and one at the end. We do as
# the code.*

# %%
adaatt = trained["adaatt"]
study = adaatt.look(batch.inputs)  # what a step needs of a study: patches, their keys, the pooled image's part
h, c = 0.5 * torch.randn(2, B, adaatt.config.d_model)
sums = adaatt.words(batch.tokens[:, 1:2])[:, 0] + study["image"]  # W x + V f̄, for the LSTM and the sentinel's gate
sums = sums + torch.cat([past(h) for past in adaatt.past], dim=-1)  # + U h: (B, 5d)
i, forget, o, g, gate = sums.chunk(5, dim=-1)
c_new = forget.sigmoid() * c + i.sigmoid() * g.tanh()
h_new = o.sigmoid() * c_new.tanh()

# %% [markdown]
# **Exercise 11.3** (8 min). Write the sentinel, then the look that may fall on it. Patches and sentinel are scored already.


# %% exercise="11.3" level="implement"
def sentinel(gate, c):
    """The sums before the sentinel's gate and the new cell, (B, d) each -> the sentinel, (B, d)."""
    ### BEGIN SOLUTION
    return gate.sigmoid() * c.tanh()
    ### END SOLUTION


def look_or_remember(scores, own, patches, s):
    """Scores of the patches (B, S) and of the sentinel (B,), patches (B, S, d), the sentinel (B, d) -> what is read, (B, d)."""
    ### BEGIN SOLUTION
    weights = torch.cat([scores, own[:, None]], dim=-1).softmax(dim=-1)  # (B, S + 1)
    return (weights[:, :-1, None] * patches).sum(dim=1) + weights[:, -1:] * s
    ### END SOLUTION


# %% exercise="11.3" points=8
checks.sentinel(sentinel)
checks.look_or_remember(look_or_remember)

# %%
s = adaatt.sentinel(sentinel(gate, c_new))  # the code's extra layer R
glance = adaatt.glance(h_new)  # and Q
scores = adaatt.attention(glance[:, None], study["keys"][:, None])[:, 0]  # (B, S)
own = adaatt.attention(glance[:, None], adaatt.sentinel_key(s)[:, None, None])[:, 0, 0]  # (B,)
z = look_or_remember(scores, own, study["patches"], s)
output, state, attention = adaatt.read(
    adaatt.words(batch.tokens[:, 1:2]), {"h": h[:, None], "c": c[:, None]}, adaatt.look(batch.inputs)
)
torch.testing.assert_close(output[:, 0], adaatt.output(z + glance).tanh(), atol=1e-5, rtol=1e-4)
torch.testing.assert_close(state["h"][:, 0], h_new, atol=1e-5, rtol=1e-4)
torch.testing.assert_close(attention[:, 0, -1], torch.cat([scores, own[:, None]], -1).softmax(-1)[:, -1])
"the lesson's lines and the library agree"

# %% [markdown]
# ### How much of each word is language?
#
# We read reference reports to the trained ADAATT and keep $\alpha_0$ word by word. The study to look at is chosen by a rule that sees no map: the first
# of those whose report asserts the most drawn findings in boxes larger than a patch and smaller than a fifth of the pictures.

# %%
looked_at = run.batches("test", 200)
references = {dataset.ids[k]: dataset.reference(k) for k in looked_at.indices}
of_adaatt, of_base = (box_table(trained[name], looked_at, references) for name in ("adaatt", "base"))
named = of_base[of_base["chance"].between(1 / S, 0.2)] if len(of_base) else of_base
each = named.groupby("study")["finding"].nunique() if len(named) else []
chosen = dataset.index(each.idxmax()) if len(each) else looked_at.indices[0]
report = references[dataset.ids[chosen]]
mentions = {m.finding: m for m in reversed(find_mentions(report))}.values()  # the first mention of each finding


# %%
def sentinel_share(studies):
    """The sentinel's share at each word of the studies' references: a list of (words,) arrays."""
    said = [[dataset.vocabulary.ids[word] for word in references[dataset.ids[k]].split()] for k in studies]
    looks = look(adaatt, test.collate(studies).inputs, said)
    return [1 - looks.cross[row, : len(ids)].sum(-1).numpy() for row, ids in enumerate(said)]


words = report.split()
asserting = {place for m in mentions for place in m.words}
(shares,) = sentinel_share([chosen])

# %% [markdown]
# *What to see: the height of a bar is how much of the attention fell on the sentinel while the word was written. If the sentinel does what it was made
# for, it is high where the word before has said it all, and low at the orange words, which name findings.*

# %%
figures.sentinel_shares(words, shares, [k in asserting for k in range(len(words))], name="11_sentinel_shares")

# %% [markdown]
# One report can show anything. Over 200 test reports, the words that occur at least 40 times: where is the share largest, where smallest?

# %%
parts, spoken, finding_word, study_of = [], [], [], []
for start in range(0, len(looked_at.indices), 32):
    for k, share in zip(part := looked_at.indices[start : start + 32], sentinel_share(part), strict=True):
        text = references[dataset.ids[k]]
        parts.append(share)
        spoken += text.split()
        where = {place for m in find_mentions(text) for place in m.words}
        finding_word += [place in where for place in range(len(text.split()))]
        study_of += [k] * len(share)
by_word = pd.DataFrame({"word": spoken, "share": np.concatenate(parts), "finding": finding_word, "study": study_of})
often = by_word.groupby("word")["share"].agg(["mean", "size"]).query("size >= 40").sort_values("mean")
pd.concat({"most": often.tail(6)[::-1], "least": often.head(6)}).round(3)

# %% [markdown]
# Is the share smaller at words that assert a finding? Words of one report are alike, so we compare *within* each report: the mean at its finding words minus
# the mean at all its others. Then the studies are resampled, as in chapter 09.

# %%
of_study = by_word.pivot_table(index="study", columns="finding", values="share").dropna()  # studies that have both
even = 1 / (S + 1)
if len(of_study) > 1 and len(of_study.columns) == 2:
    gaps = mean_of((of_study[True] - of_study[False]).to_numpy())
    low, high = interval(gaps)
    asserts = by_word.groupby("word")["finding"].any()
    unseen = [f"`{word}`" for word in often.head(6).index if not asserts[word]]
    in_passing = (
        f", and as small at words that assert no finding ({', '.join(unseen)}): no proof that the sentinel does what it was made for"
        if unseen
        else ", as it was made for"
    )
    reading = (
        "there is no share to speak of"
        if by_word["share"].mean() < even / 10
        else "smaller at findings" + in_passing
        if high < 0
        else "larger at findings: this sentinel is not what it was made for"
        if low > 0
        else "the same, as far as these reports can tell"
    )
    rank = often["mean"].rank(ascending=False) if len(often) else {}
    story = (
        f"The story of *pleural effusion* is another question: of the {len(often)} frequent words *effusion* has place {int(rank['effusion'])}, counted from the largest share, so it is "
        + (
            "told from what was written, as the story says."
            if rank["effusion"] <= len(often) / 2
            else "looked for and not told: there the story fails."
        )
        if "effusion" in rank
        else ""
    )
    display(
        say(
            "In the {n} reports that have both, the sentinel's mean share is {at:.4f} at words that assert a finding and {else_:.4f} at all others; the "
            "difference within a report is {gap:+.4f}, {level:.0%} interval {low:+.4f} to {high:+.4f}: "
            f"**{reading}**. {story} An even softmax over patches and sentinel would give it {{even:.4f}}. One training, a short one in the `ci` profile.",
            n=len(of_study),
            at=of_study[True].mean(),
            else_=of_study[False].mean(),
            gap=gaps.value(),
            low=low,
            high=high,
            even=even,
            level=LEVEL,
        )
    )
else:
    display(Markdown("**Not run**: too few of these reports assert a finding."))

# %% [markdown]
# ### Look around yourself
#
# ADAATT beside ATT2IN, which must look at something at every word. Both learnt from sampled `phantom` studies (profile ci). Point at a word, or move with the
# arrow keys; the line under ADAATT's films says how much fell on patches, the rest is the sentinel's.
#
# 1. Find a word at which ADAATT hardly looks, and one at which it does. Is it the story's kind of word?
# 2. Where does ATT2IN look at the full stop, when there is nothing to see?

# %%
explorer_view("adaatt", "att2in", studies=2)

# %% [markdown]
# ## 11.5 TOPDOWN: one looks, one writes
#
# In the LSTMs so far one state does two things, deciding where to look and what to say. TOPDOWN gives each a cell.
#
# > TOPDOWN, two cells &nbsp; $\mathbf h^1_t,\mathbf c^1_t=\mathrm{LSTM}_1([\mathbf h^2_{t-1};\bar{\mathbf f};\mathbf x_t];\ \mathbf h^1_{t-1},\mathbf c^1_{t-1})\qquad
# > \mathbf z_t=\mathrm{att}(\mathbf h^1_t)\qquad \mathbf h^2_t,\mathbf c^2_t=\mathrm{LSTM}_2([\mathbf z_t;\mathbf h^1_t];\ \mathbf h^2_{t-1},\mathbf c^2_{t-1})$
#
# *Paper: the things that are looked at are detected objects ("bottom-up"). On chest films the radiology papers use the patches of a grid, so half of its
# full name is absent.* The library's step, whole:

# %%
print(textwrap.dedent(inspect.getsource(TopDown.read)))

# %% [markdown]
# ## 11.6 R2GEN: a memory of the text
#
# Now the LSTM goes. R2GEN is a Transformer, and a Transformer has no state: every word looks at all words before it. R2GEN gives it one back, a small
# matrix $\mathbf M$ of 3 rows that is rewritten with each word. Three steps.
#
# ### The rows ask
#
# > R2Gen, relational memory &nbsp; $\mathbf Z=\mathrm{MHA}\big(\mathbf M_{t-1};\,[\mathbf M_{t-1};\mathbf y_t]\big)\qquad \mathbf N=\mathbf M_{t-1}+\mathbf Z\qquad
# > \tilde{\mathbf M}=\mathbf N+\mathrm{relu}(\mathbf B\,\mathrm{relu}(\mathbf A\mathbf N))$
#
# $\mathbf y_t$ is the word that is being read, as the decoder embeds it. Each row asks all rows and the word; the answer is added, and a small network
# thinks about it.

# %%
r2gen = trained["r2gen"]
memory = r2gen.text_memory
heads, rows = memory.attention.heads, memory.rows
y = r2gen.embed(batch.tokens[:, :-1])  # (B, T, d)
M = torch.eye(rows, y.shape[-1]).expand(B, -1, -1)  # M_0: the first rows of the unit matrix
word = y[:, 0]  # (B, d)

# %%
ask, keys, values = memory.attention.query, memory.attention.key, memory.attention.value
source = torch.cat([M, word[:, None]], dim=1)  # (B, R + 1, d)
q, k, v = split_heads(ask(M), heads), split_heads(keys(source), heads), split_heads(values(source), heads)
Z = memory.attention.output(merge_heads((q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v))  # (B, R, d)
N = M + Z
A, _, B_map, _ = memory.mlp
candidate = N + torch.relu(B_map(torch.relu(A(N))))  # M̃

# %% [markdown]
# ### Two gates decide
#
# > R2Gen, gate mechanism &nbsp; $[\mathbf I,\mathbf F]=\mathbf W\mathbf y_t+\mathbf U\tanh\mathbf M_{t-1}\qquad
# > \mathbf M_t=\sigma(\mathbf I)\odot\tanh\tilde{\mathbf M}+\sigma(\mathbf F)\odot\mathbf M_{t-1}$
#
# You know this line: it is the LSTM's, with a matrix in the place of the cell.
#
# **Exercise 11.4** (8 min). Write it: what comes, what stays.


# %% exercise="11.4" level="implement"
def rewrite(gates, candidate, memory):
    """Sums before both gates (B, R, 2d), input first; the candidate M̃ and the memory before it, (B, R, d) each -> the memory after it."""
    ### BEGIN SOLUTION
    comes, stays = gates.sigmoid().chunk(2, dim=-1)
    return comes * candidate.tanh() + stays * memory
    ### END SOLUTION


# %% exercise="11.4" points=8
checks.rewrite(rewrite)

# %%
gates = memory.word_gates(word)[:, None] + memory.memory_gates(M.tanh())  # (B, R, 2d)
M_1 = rewrite(gates, candidate, M)
torch.testing.assert_close(M_1, memory(y[:, :1], memory.begin(B))[:, 0], atol=1e-5, rtol=1e-4)
"the lesson's lines and the library agree"

# %% [markdown]
# ### What it holds
#
# Look at what goes in: words. No patch, no encoder, nothing of the image. So the memory holds *text only*: two studies with the same words so far have
# the same memory, whatever their films show. (CMN's is the opposite: it holds what training left in it, is never written to while a report is written,
# and is asked by patches and words.)

# %%
print("memories", inspect.signature(r2gen.memories))

# %% [markdown]
# It has three rows, laid end to end for what follows. Do they hold three things? All read the same words through the same maps; only their start is
# different, each a 1 at another place.
#
# *What to see: the cosine of two rows of one memory, mean over pairs and studies. Where it comes near 1, three rows are one row, three times.*


# %%
def cosine_of_rows(generator):
    """Mean cosine of two different rows of the memory after each word, (T,); studies that have ended are left out."""
    m = generator.memories(generator.embed(batch.tokens[:, :-1])).unflatten(-1, (rows, -1))  # (B, T, R, d)
    unit = m / m.norm(dim=-1, keepdim=True)
    pairs = torch.stack([(unit[:, :, a] * unit[:, :, b]).sum(-1) for a, b in combinations(range(rows), 2)]).mean(0)
    here = batch.mask[:, :-1]
    return ((pairs * here).sum(0) / here.sum(0).clamp(min=1)).numpy()[: int(here.sum(1).min())]


untrained = runs["r2gen"].new_generator().eval().requires_grad_(False)
alike = {"before training": cosine_of_rows(untrained), "trained": cosine_of_rows(r2gen)}
figures.rows_alike(alike, name="11_rows_alike")

# %%
say(
    "After {n} words the cosine is {before:.3f} before training and {after:.3f} after it. {learnt}",
    n=len(alike["trained"]),
    before=alike["before training"][-1],
    after=alike["trained"][-1],
    learnt="So it is the form that makes the rows alike, and not the training."
    if alike["before training"][-1] > 0.9
    else "",
)

# %% [markdown]
# ### And what it is for: norms that bend
#
# How does the memory speak? Not by being attended. It moves the gain and the bias of every norm in the decoder.
#
# > R2Gen, conditional norm &nbsp; $\hat{\boldsymbol\gamma}_t=\boldsymbol\gamma+\boldsymbol\Gamma_2\,\mathrm{relu}(\boldsymbol\Gamma_1\mathbf m_t)\qquad
# > \hat{\boldsymbol\beta}_t=\boldsymbol\beta+\mathbf B_2\,\mathrm{relu}(\mathbf B_1\mathbf m_t)\qquad
# > \mathrm{norm}(\mathbf x)=\hat{\boldsymbol\gamma}_t\odot\dfrac{\mathbf x-\mu}{s+\epsilon}+\hat{\boldsymbol\beta}_t$
#
# $\mathbf m_t$ are the rows of $\mathbf M_t$ end to end; $s$ is the released norm's deviation (chapter 03). An ordinary norm gives each unit one gain for
# all words. Here the gain of a unit depends on what has been written.

# %%
m = r2gen.memories(y)  # (B, T, R · d)
norm = r2gen.decoder.layers[0].norms[0]
gain = norm.weight + norm.delta_gamma(m)  # (B, T, d), γ̂
bias = norm.bias + norm.delta_beta(m)
standard = (y - y.mean(dim=-1, keepdim=True)) / (y.std(dim=-1, keepdim=True) + norm.eps)
torch.testing.assert_close(gain * standard + bias, norm(y, m), atol=1e-4, rtol=1e-4)
"the lesson's lines and the library agree"

# %% [markdown]
# What is added to the gain need not move: a unit whose addition is the same at every word has just another ordinary gain. How much of it does move?
#
# **Exercise 11.5** (6 min). What was added at $n$ words, a row a word. Split its mean square in two: what each unit has at *all* words (its mean over the
# words), and the rest, which changes from word to word. Return the share of the rest.


# %% exercise="11.5" level="compute"
def share_that_moves(added):
    """What was added to the gain, (n, d) -> the share of its mean square that changes from word to word, one number."""
    ### BEGIN SOLUTION
    fixed = added.mean(dim=0)  # (d,)
    return ((added - fixed).square().mean() / added.square().mean()).item()
    ### END SOLUTION


# %% exercise="11.5" points=6
checks.share_that_moves(share_that_moves)


# %%
def bends(generator):
    """By norm of the first decoder layer: the size of what is added to a gain of about 1, and the share that moves."""
    m = generator.memories(generator.embed(batch.tokens[:, :-1]))[batch.mask[:, :-1] > 0]  # (words, R · d)
    names = ("before self-attention", "before cross-attention", "before feed-forward")
    added = {name: n.delta_gamma(m) for name, n in zip(names, generator.decoder.layers[0].norms, strict=True)}
    return {
        name: {"size": a.square().mean().sqrt().item(), "share that moves": share_that_moves(a)}
        for name, a in added.items()
    }


moves = pd.concat({when: pd.DataFrame(bends(g)).T for when, g in (("untrained", untrained), ("trained", r2gen))})
moves.round(3)

# %% [markdown]
# Does the generator listen to what moves? As in chapter 04, change what the memory says and measure the validation loss: the same $\mathbf m$ at every
# word (their mean), and nothing added at all.


# %%
def loss_with(generator):
    """Mean loss of a word over 128 validation studies."""
    total = torch.zeros(2)
    for part in run.batches("val", 128).loader(32):
        n = part.mask[:, 1:].sum()
        total += torch.stack([report_loss(generator(part).logits, part.tokens, part.mask) * n, n])
    return (total[0] / total[1]).item()


def fixed_memory():
    other, mean = runs["r2gen"].generator().requires_grad_(False), m[batch.mask[:, :-1] > 0].mean(0)
    other.memories = lambda words: mean.expand(*words.shape[:2], -1)
    return other


def ordinary_norms():
    other = runs["r2gen"].generator().requires_grad_(False)
    for layer in other.decoder.layers:
        for each_norm in layer.norms:
            each_norm.forward = lambda x, m, n=each_norm: n.weight * n.standardised(x) + n.bias
    return other


hears = {
    "as trained": loss_with(r2gen),
    "one memory for all words": loss_with(fixed_memory()),
    "nothing added": loss_with(ordinary_norms()),
}
pd.Series(hears).round(3)

# %%
say(
    "With one memory for all words the loss rises by {fixed:+.3f} nats a word, with nothing added by {none:+.3f}. The first number is what it is worth here "
    "that the memory *changes*; the second counts everything that the norms have got used to, a fixed gain included.",
    fixed=hears["one memory for all words"] - hears["as trained"],
    none=hears["nothing added"] - hears["as trained"],
)

# %% [markdown]
# ## 11.7 And then CMN
#
# In one sentence: **R2GEN remembers the report and bends the decoder with it; CMN remembers nothing of the report, and gives image and text one learned
# table to ask.** Both are a Transformer with a memory; what is in it, who writes it and who reads it, nothing of that is the same. Chapter 04 has CMN
# whole.

# %% [markdown]
# ## 11.8 Rebuilt from descriptions
#
# Four more rows of the papers' tables belong to systems whose code is not whole: it is a third party's, needs files that are not to be had, or was read
# and not run. We **rebuild** them, and each part says how well it is founded, as in chapter 06. **A**: as public code has it. **B**: as descriptions say.
# **C**: ours, because nothing tells. Each file in `rrg_lib/models` has the table part by part. How many parts are of which level?

# %% tags=["nbval-check-output"]
REBUILT = {"coatt": coatt_file, "sentsat_kg": sentsat_file, "ratchet": ratchet_file, "ekagen": ekagen_file}


def levels(module):
    """The letters in the last column of the table in a module's docstring: how many parts stand on A, B, C."""
    cells = [line.split("|")[-2] for line in module.__doc__.splitlines() if line.startswith("|")][2:]
    return {letter: sum(letter in re.findall(r"\b[ABC]\b", cell) for cell in cells) for letter in "ABC"}


print(pd.DataFrame({name: levels(module) for name, module in REBUILT.items()}).T.to_string())

# %% [markdown]
# A part that is in two levels counts in both. All four are presets like any other, so a `C` can be argued with: change it and run. Nothing more is trained
# in this chapter. What follows shows each idea on **untrained** weights; equations hold for any.


# %%
def untrained_of(preset):
    torch.manual_seed(0)
    generator = Run.of(experiment(f"{DATASET}/{preset}", PROFILE, seed=SEED), data_root=DATA_ROOT).new_generator()
    return generator.eval().requires_grad_(False)


# %% [markdown]
# ### COATT (2018): plan a sentence, then write it
#
# A report is no single sentence. COATT has an LSTM that takes one step *per sentence*: it decides what the next one is about, and whether there is one. A
# second LSTM writes the words. And the first is told more than the image: **tags**, findings that a classifier sees.
#
# > COATT, tags &nbsp; $\mathbf t=\mathrm{softmax}(\mathbf T\bar{\mathbf v})\qquad \mathbf a_k=\text{vectors of the }K\text{ largest tags}$
# >
# > COATT, co-attention &nbsp; $\boldsymbol\alpha^v=\mathrm{softmax}\big(\mathbf A_v\tanh(\mathbf W_v\bar{\mathbf v}+\mathbf U_v\mathbf s_{n-1})\big)\qquad
# > \boldsymbol\alpha^a=\mathrm{softmax}\big(\mathbf A_a\tanh(\mathbf W_a\mathbf a_k+\mathbf U_a\mathbf s_{n-1})\big)$
# >
# > $\mathbf c_n=\mathbf C\big[\boldsymbol\alpha^v\odot\bar{\mathbf v}\,;\ \textstyle\sum_k\boldsymbol\alpha^a_k\odot\mathbf a_k\big]$
#
# *Levels: tags, **A**; which of them, the 14 observations, **C**. The public code, a third party's, takes the image's softmax over the channels of the mean
# patch $\bar{\mathbf v}$, so it looks nowhere: **A**. The paper is described with a softmax over patches, **B**: `CoAttConfig(visual="patches")`. The code's
# softmax over tags runs over the* studies of the batch*, so that a report depends on its neighbours. Ours runs over the study's own tags: **C**.*

# %%
coatt = untrained_of("coatt")
co = coatt.attention
v_bar = batch.inputs.mean(dim=1)  # (B, d_vf)
t = coatt.tag_scores(v_bar).softmax(dim=-1)  # (B, 14)
a = coatt.tag_embedding(t.topk(coatt.config.top_tags, dim=-1).indices)  # (B, K, d)
s = 0.5 * torch.randn(B, coatt.config.d_model)  # s_{n-1}, as if a sentence had been written

# %%
alpha_v = co.image_score(torch.tanh(co.image_key(v_bar) + co.image_query(s))).softmax(dim=-1)  # (B, d_vf): channels
alpha_a = co.tag_score(torch.tanh(co.tag_key(a) + co.tag_query(s)[:, None])).softmax(dim=1)  # (B, K, d): tags
context = co.context(torch.cat([alpha_v * v_bar, (alpha_a * a).sum(dim=1)], dim=-1))  # c_n (B, d)
torch.testing.assert_close(context, co(coatt.look(batch.inputs, t), s)[0], atol=1e-5, rtol=1e-4)

# %% [markdown]
# The softmax of the public code runs over the studies of a batch. That is easy to miss: shapes are right, and training works.
#
# **Exercise 11.6** (8 min). Find it by a test that needs no reading. `weigh` turns scores (B, K, d) into weights of the same shape. Weigh each study in the
# batch, and alone, as a batch of one. Return the largest change of its weights, a number a study. Who minds no neighbour has zeros.


# %% exercise="11.6" level="implement"
def neighbours_change(weigh, scores):
    """`weigh`: scores -> weights of the same shape; scores (B, K, d) -> (B,), the largest change of each study's weights when it is weighed alone."""
    ### BEGIN SOLUTION
    alone = torch.cat([weigh(scores[i : i + 1]) for i in range(len(scores))])  # (B, K, d)
    return (weigh(scores) - alone).abs().amax(dim=(1, 2))
    ### END SOLUTION


# %% exercise="11.6" points=8
checks.neighbours_change(neighbours_change)

# %%
tag_scores = co.tag_score(torch.tanh(co.tag_key(a) + co.tag_query(s)[:, None]))  # (B, K, d)
minds = {
    "the studies": neighbours_change(lambda scores: scores.softmax(dim=0), tag_scores),
    "a study's tags": neighbours_change(lambda scores: scores.softmax(dim=1), tag_scores),
}
say(
    "Weighed alone, a study's tag weights change by up to {code:.2f} with a softmax over the studies, and by {ours:.2g} with one over its tags. Alone, the code's "
    "weights are all 1, so the same study can get another report in another batch.",
    code=minds["the studies"].max().item(),
    ours=minds["a study's tags"].max().item(),
)

# %% [markdown]
# > COATT, topics and stop &nbsp; $\mathbf s_n=\mathrm{LSTM}^2(\mathbf c_n)\qquad
# > \mathrm{topic}_n=\mathbf P\,\sigma\big(\mathrm{BN}(\mathbf P_1\mathbf s_n)+\mathrm{BN}(\mathbf P_2\mathbf c_n)\big)\qquad
# > \mathrm{go}_n=\mathbf S\,\sigma\big(\mathrm{BN}(\mathbf S_1\mathbf s_n)+\mathrm{BN}(\mathbf S_2\mathbf s_{n-1})\big)$
#
# $\mathrm{LSTM}^2$ is two layers; $\mathrm{BN}$ a batch norm with one mean for all numbers, **A**. In the code's training $\mathbf s_{n-1}$ stays 0; in its
# test it is handed on. We hand it on, **B**.

# %%
plan = coatt.sentences
beginning = plan.begin(B, s)
s_n = plan.lstm(context[None], beginning)[0][0]  # (B, d)


def normed_sum(part, one, other):
    """J σ(BN(X x) + BN(Y y)) of two vectors (B, d)."""
    both = part.state_norm(part.state(one)[:, None]) + part.other_norm(part.other(other)[:, None])
    return part.joined(both.sigmoid()[:, 0])


topic, go = normed_sum(plan.topic, s_n, context), normed_sum(plan.go, s_n, s)  # (B, d), (B, 2): stop, go
library = plan(context, s, beginning)
torch.testing.assert_close((s_n, topic, go), library[:3], atol=1e-5, rtol=1e-4)

# %% [markdown]
# > COATT, words &nbsp; $\mathbf h_j=\mathrm{LSTM}(\mathrm{topic}_n,\ \mathbf E_{\mathrm{begin}},\ \mathbf E_{w_1},\ \mathbf E_{w_2},\dots)$
#
# You have seen this before: the topic is read as if it were the first word, as ST reads the image (11.2). The LSTM's step is the one of 11.2, with biases.

# %%
heard = batch.tokens[:, :6]  # (B, J): the begin mark and five words
w = coatt.words
h, c = torch.zeros(2, B, coatt.config.d_model)
states = []
for x in (topic, *coatt.token_embedding(heard).unbind(dim=1)):
    sums = x @ w.weight_ih_l0.T + w.bias_ih_l0 + h @ w.weight_hh_l0.T + w.bias_hh_l0
    i, forget, g, o = sums.chunk(4, dim=-1)
    c = forget.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    states.append(h)
torch.testing.assert_close(
    torch.stack(states[1:], dim=1), coatt.read_sentences(topic, heard), atol=1e-5, rtol=1e-4
)  # what it says after the topic is thrown away

# %% [markdown]
# It learns three things at once, and late words of a sentence count less.
#
# > COATT, loss &nbsp; $\mathcal L=10^4\,\mathrm{MSE}\big(\mathbf t,\ \mathrm{labels}/\textstyle\sum\big)+10\,\mathrm{CE}(\mathrm{go})+\sum_n\sum_j 0.9^{\,j}\,\mathrm{CE}(w_{n,j})$
#
# Code's weights, **A**; that all is divided by the number of words, as all losses here are, **C**. A full stop ends a sentence, and the final 0 is "don't go
# on". So at the beginning of a sentence the likelihood of a word is a product, $p(w)=p(\mathrm{go})\,p(w\mid\mathrm{go})$, and that of the final 0 is
# $p(\mathrm{stop})$: from the logits of a report both losses can be read.

# %% [markdown]
# What the loss sees of a report: where sentences begin, and what a word counts there, $0.9^{\,j}$.

# %%
whole = Sentences.of(batch.tokens[:1, :-1], coatt.config.full_stop)
in_words = {number: text for text, number in dataset.vocabulary.ids.items()}
pd.DataFrame(
    {
        "next word": [in_words.get(int(number), "(end)") for number in batch.tokens[0, 1:13]],
        "begins a sentence": ["yes" if begins else "" for begins in whole.begins[0, :12].tolist()],
        "counts": (0.9 ** (whole.place[0, :12] + 1)).tolist(),
    }
).round(2).T

# %%
forced, labelled = coatt(batch), batch.labels.any(dim=1)  # a study without a label teaches no tags
log_p = forced.logits.log_softmax(dim=-1)  # (B, T, V + 1)
said, counts = batch.tokens[:, 1:], batch.mask[:, 1:].float()
places = Sentences.of(batch.tokens[:, :-1], coatt.config.full_stop)  # where sentences begin; places in them, from 0

# %%
stop = log_p[..., 0]
of_go = -torch.where(said == 0, stop, torch.log1p(-stop.exp())) * places.begins  # CE of stop and go
of_word = -log_p.gather(-1, said[..., None])[..., 0] - of_go  # what is left of a word's loss is its own
shares = batch.labels / batch.labels.sum(dim=1, keepdim=True).clamp(min=1e-9)
of_tags = (t - shares).square().mean(dim=1)[labelled].mean()
loss = ((0.9 ** (places.place + 1) * of_word + 10 * of_go) * counts).sum() + 1e4 * of_tags
trained_on = report_loss(forced.logits, batch.tokens, batch.mask) + sum(forced.losses.values())
torch.testing.assert_close(loss / counts.sum(), trained_on, atol=1e-4, rtol=1e-4)
"the lesson's lines and the library agree"

# %% [markdown]
# ### SentSAT+KG (2020): findings that talk to each other
#
# SentSAT+KG looks once, with a purpose: a **node** for each finding gathers from the patches what speaks for it. Then the nodes send messages along the
# edges of a graph: a large heart and water in the pleura often come together.
#
# > SentSAT+KG, class attention &nbsp; $\mathbf n_0=\mathrm{mean}_i\,\mathbf v_i\qquad
# > \mathbf n_k=\sum_i\mathrm{softmax}_i(\mathbf c_k^{\top}\mathbf v_i)\,\mathbf v_i$
# >
# > SentSAT+KG, graph layer &nbsp; $\mathbf H'=\mathrm{relu}\Big(\mathrm{BN}\big(\mathbf U\,[\mathrm{relu\,BN}(\mathbf W_0\mathbf H);\ \mathrm{relu\,BN}(\mathbf W_1\mathbf H\hat{\mathbf A});\
# > \mathrm{relu\,BN}(\mathbf W_2\mathbf H\hat{\mathbf B})]\big)+\mathbf H\Big)$
#
# $\mathbf H$ has a column for each node. $\hat{\mathbf A}$ are the edges, scaled, $\hat{\mathbf B}$ the same turned round. *Levels: form of nodes and layers
# **A**, of a successor that was given the original's code. That edges were drawn by hand from what radiologists know, **B**. Which edges, **C**: ours are in
# `data/finding_graph.csv`, each with its reason.*

# %%
sentsat = untrained_of("sentsat_kg")
film = batch.inputs.unflatten(1, (views, -1))[:, 0]  # (B, 49, d_vf), the first view
classes = sentsat.class_attention.classes.weight  # (K, d_vf), c_k
filled = (film @ classes.T).softmax(dim=1).mT @ film  # (B, K, d_vf)
nodes = torch.cat([film.mean(dim=1, keepdim=True), filled], dim=1)  # (B, K + 1, d_vf)
torch.testing.assert_close(nodes, sentsat.class_attention(film), atol=1e-5, rtol=1e-4)

# %%
layer, A_hat, B_hat = sentsat.graph[0], sentsat.forth, sentsat.back  # edges (K + 1, K + 1)


def bn(part, x):
    """Batch norm over all nodes of the batch."""
    return part.norm(x.flatten(0, 1)).view_as(x)


kept_nodes = bn(layer.own, layer.own.map(nodes))  # here a node is a row, so the edges stand on the left
heard_nodes = bn(layer.heard, A_hat.T @ layer.heard.map(nodes))
answered = bn(layer.answered, B_hat.T @ layer.answered.map(nodes))
joined = layer.update.map(torch.relu(torch.cat([kept_nodes, heard_nodes, answered], dim=-1)))
torch.testing.assert_close(
    torch.relu(bn(layer.update, joined) + nodes), layer(nodes, A_hat, B_hat), atol=1e-5, rtol=1e-4
)

# %% [markdown]
# Two LSTMs read the graph, as in COATT. A full stop makes the upper one take its step; it asks the *nodes*, not the patches.
#
# > SentSAT+KG, two levels &nbsp; $\mathbf z=\sum_k\mathrm{softmax}_k\big(\mathbf u^{\top}\tanh(\mathbf W\mathbf h^s+\mathbf V\mathbf n_k)\big)\,\mathbf n_k\qquad
# > \mathbf h^s,\mathbf c^s\leftarrow\mathrm{LSTM}(\mathbf z;\ \mathbf h^s,\mathbf c^s)\qquad
# > \mathbf h_t,\mathbf c_t=\mathrm{LSTM}([\mathbf E_{w_t};\mathbf h^s;\mathbf z];\ \mathbf h_{t-1},\mathbf c_{t-1})$
#
# *The words' state runs on from sentence to sentence, **A**. Where sentences end, **C**: the code always writes ten.* The first word, 0, begins a
# sentence, too:

# %%
study, state = sentsat.look(batch.inputs), sentsat.begin(batch.inputs).hypotheses
N, W = study["nodes"], sentsat.attention  # nodes (B, views, K + 1, d_vf)
h_s, c_s = state["h_sentence"][:, 0], state["c_sentence"][:, 0]
e = W.score(torch.tanh(W.query(h_s)[:, None, None] + W.key(N)))[..., 0]  # (B, views, K + 1)
z = (e.softmax(dim=-1)[..., None] * N).sum(dim=2).flatten(1)  # in each view of its own, then side by side


# %%
def cell_step(cell, x, h, c):
    """The LSTM's step of 11.2, with this cell's maps."""
    i, forget, g, o = (cell.inputs(x) + cell.hidden(h)).chunk(4, dim=-1)
    c = forget.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


h_s, c_s = cell_step(sentsat.sentence, z, h_s, c_s)
begin = sentsat.token_embedding(batch.tokens[:, 0])
h, c = cell_step(sentsat.word, torch.cat([begin, h_s, z], dim=-1), state["h"][:, 0], state["c"][:, 0])
output, after, _ = sentsat.read(sentsat.words(batch.tokens[:, :1]), state, study)
torch.testing.assert_close(after["h_sentence"][:, 0], h_s, atol=1e-5, rtol=1e-4)
torch.testing.assert_close(output[:, 0], h, atol=1e-5, rtol=1e-4)
"the lesson's lines and the library agree"

# %% [markdown]
# A node is of no place any more: it gathered from all patches, and then it heard the others. So this system can't be asked *where*, like ST:

# %% tags=["nbval-check-output"]
try:
    look(sentsat, batch.inputs[:1], [[1, 2, 3]])
except ConfigurationError as error:
    print(error)

# %% [markdown]
# ### RATCHET (2021): no encoder, and very wide heads
#
# RATCHET drops a half of the Transformer: the patches of the image network are looked at as they are, by a decoder alone. And the norms stand *after* each
# sum, as in the first Transformer of 2017; BASE has them before.
#
# > RATCHET, post-norm layer &nbsp; $\mathbf x\leftarrow\mathrm{LN}\big(\mathbf x+\mathrm{MHA}(\mathbf x,\mathbf x)\big)\qquad
# > \mathbf x\leftarrow\mathrm{LN}\big(\mathbf x+\mathrm{MHA}(\mathbf x,\mathbf p)\big)\qquad
# > \mathbf x\leftarrow\mathrm{LN}\big(\mathbf x+\mathbf B\,\mathrm{relu}(\mathbf A\mathbf x)\big)\qquad \mathbf p_i=\mathrm{relu}(\mathbf C\mathbf v_i)$
# >
# > RATCHET, wide heads &nbsp; $\mathrm{MHA}(\mathbf x,\mathbf y)=\mathbf O\,[\mathbf o^1;\dots;\mathbf o^h]\qquad
# > \mathbf o^j=\mathrm{softmax}\Big(\dfrac{\mathbf Q^j\mathbf x\,(\mathbf K^j\mathbf y)^{\top}}{\sqrt d}\Big)\mathbf V^j\mathbf y\qquad \mathbf Q^j,\mathbf K^j,\mathbf V^j\in\mathbb R^{d\times d}$
#
# Everybody else shares $d$ out among $h$ heads. Here each head has all of $d$. *Form and sizes are the released code's, **A**; it was read and not run, so no
# numbers of ours are held against its own. Words instead of its byte-level pieces, and our search, **C**.*

# %%
ratchet = untrained_of("ratchet")
p = torch.relu(ratchet.patch_embedding[0](batch.inputs))  # (B, S, d)
x = ratchet.token_positions(ratchet.token_embedding(batch.tokens[:, :-1]) * math.sqrt(p.shape[-1]))  # (B, T, d)
allowed = causal_mask(batch.tokens[:, :-1])  # (B, 1, T, T): a word sees itself and those before


def mha(part, x, y, allowed=None):
    q, k, v = (split_heads(m(of), part.heads) for m, of in ((part.query, x), (part.key, y), (part.value, y)))
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, h, T, S), q (B, h, T, d): each head has all of d
    scores = scores if allowed is None else scores.masked_fill(~allowed, -math.inf)
    return part.output(merge_heads(scores.softmax(dim=-1) @ v))


# %%
layer = ratchet.decoder.layers[0]
first_norm, second_norm, third_norm = layer.norms
one = first_norm(x + mha(layer.self_attention, x, x, allowed))
two = second_norm(one + mha(layer.cross_attention, one, p))
A, _, B_map, _ = layer.feed_forward
three = third_norm(two + B_map(torch.relu(A(two))))
torch.testing.assert_close(three, layer(x, p, allowed), atol=1e-4, rtol=1e-4)
"the lesson's lines and the library agree"

# %% [markdown]
# What do the wide heads cost? Learned numbers at the released size, with them and shared out:

# %%
with torch.device("meta"):
    wide, shared = (
        sum(p.numel() for p in replace(PRESETS["ratchet"].generator, wide_heads=each).build().parameters())
        for each in (True, False)
    )
say("With wide heads it learns {wide:,} numbers, with the width shared out {shared:,}.", wide=wide, shared=shared)

# %% [markdown]
# ### EKAGen (2024): told the diagnosis, and what is said of it
#
# EKAGen first diagnoses: 14 bits. The *exact pattern* of bits looks up a block of **knowledge**, a row for each place of a report; word $t$ is given row $t$,
# after every layer.
#
# > EKAGEN, knowledge &nbsp; $\boldsymbol\kappa=\mathrm{table}[\text{the 14 bits}]\in\mathbb R^{T\times d}$
# >
# > EKAGEN, fusion &nbsp; $\mathbf x_t\leftarrow\mathbf W_3\,[\mathbf W_1\mathbf x_t\,;\ \mathbf W_2\boldsymbol\kappa_t]$
#
# *The decoder is the release's, **A**: given the same random weights, it and the released code write the same numbers. Its knowledge, its diagnosis network and its teacher are downloads that
# were not to be had. So the rows are ours, **C**: of each pattern of labels that enough training studies have, the mean vector of the words that stand at
# place $t$ of their reports. A pattern that the table lacks takes the nearest one, **C**; as released, the batch is left out without a word.*

# %%
ekagen = untrained_of("ekagen")
knows = ekagen.memory
known = knows.patterns[knows.patterns[:, 0] >= 0]  # (P, 14): the patterns that have a block
differ = (batch.labels[:, None] - known[None]).abs().sum(dim=-1)  # (B, P): in how many observations
knowledge = torch.stack([knows.blocks[row.argmin()] for row in differ])  # (B, rows, d): the most frequent come first
torch.testing.assert_close(knowledge, ekagen.knowledge(batch.labels, B))

# %%
fusion, d = ekagen.decoder[0].fusion, ekagen.config.d_model
x, known_at = torch.randn(B, T, d), knowledge[:, :T]
by_hand = fusion.joined(torch.cat([fusion.word(x), fusion.knowledge(known_at)], dim=-1))
torch.testing.assert_close(by_hand, fusion(x, known_at))

# %% [markdown]
# No bend stands between these three maps. So they are *one* linear map of a word and a row, and nothing of $\mathbf x$ passes beside it:

# %%
on_word, on_row = fusion.joined.weight.chunk(2, dim=1)  # W_3, both halves
merged = x @ (on_word @ fusion.word.weight).T + known_at @ (on_row @ fusion.knowledge.weight).T
merged = merged + on_word @ fusion.word.bias + on_row @ fusion.knowledge.bias + fusion.joined.bias
torch.testing.assert_close(merged, by_hand, atol=1e-5, rtol=1e-4)

# %% [markdown]
# What does a row say? Here it is a mean of word vectors, so ask which word's vector lies nearest to each row. For the most frequent pattern of labels:

# %%
present = [name for name, there in zip(OBSERVATIONS, known[0] > 0, strict=True) if there]
unit = torch.nn.functional.normalize(ekagen.token_embedding.weight, dim=-1)  # (V + 1, d)
nearest = (torch.nn.functional.normalize(knows.blocks[0, :16], dim=-1) @ unit.T).argmax(dim=-1).tolist()
in_words = {number: text for text, number in dataset.vocabulary.ids.items()}
likeliest = " ".join(in_words.get(number, "(end)") for number in nearest)
training = run.batches("train")
studies_with = int((training.observations[training.indices] == known[0].numpy()).all(axis=1).sum())
display(
    Markdown(
        f"Pattern: {', '.join(present) or 'nothing'} ({studies_with:,} training studies). Nearest words, place by place:\n\n> {likeliest}\n\nReports of one pattern begin alike "
        "and then go apart: what is left of a mean of many words is what is frequent everywhere."
    )
)

# %% [markdown]
# It is trained on more than the words: the mean runs over *all* places of the batch, the empty ones after the end too, where it learns that 0 follows 0. And
# a teacher's softened words may stand beside the true ones.
#
# > EKAGEN, loss over all places &nbsp; $\mathcal L=\dfrac1{BT}\sum_{b,t}-\log p(w_{b,t+1})$
# >
# > EKAGEN, distillation &nbsp; $\delta\,\dfrac{\tau^2}{B}\sum_{b,t}\mathrm{KL}\big(\mathrm{softmax}(\boldsymbol\ell^{T}/\tau)\,\|\,\mathrm{softmax}(\boldsymbol\ell/\tau)\big)$
#
# *Both as the code has them, **A**; there is no teacher to be had, so no preset uses the second, **C**.*

# %%
forced = ekagen(batch)
nll = -forced.logits.log_softmax(dim=-1).gather(-1, batch.tokens[:, 1:, None])  # (B, T, 1)
trained_on = report_loss(forced.logits, batch.tokens, batch.mask) + sum(forced.losses.values())
torch.testing.assert_close(nll.mean(), trained_on, atol=1e-5, rtol=1e-4)

tau, teacher = 4.0, torch.randn_like(forced.logits)  # a teacher that knows nothing, for the equation's sake
theirs, ours = (teacher / tau).softmax(dim=-1), (forced.logits / tau).softmax(dim=-1)
kl = (theirs * (theirs.log() - ours.log())).sum()
torch.testing.assert_close(tau**2 / B * kl, distillation(teacher, forced.logits, temperature=tau), atol=1e-2, rtol=1e-4)
"the lesson's lines and the library agree"

# %% [markdown]
# ### Rows that stay empty
#
# Some printed rows can't be rebuilt at all. An honest book leaves these empty, and says why:

# %% tags=["nbval-check-output"]
printed_systems = {(row["paper"], row["system"]): row for row in shipped("published_systems")}
left_out = [row for row in printed_systems.values() if row["not_rebuilt"] and not row["preset"]]
bleu_of = {
    (row["paper"], row["system"], row["dataset"]): float(row["value"])
    for row in shipped("published")
    if row["metric"] == "BLEU-4"
}
without = pd.DataFrame(
    {
        "printed in": row["paper"],
        "system": row["system"],
        "why not": row["not_rebuilt"],
        "BLEU-4 printed, IU X-Ray": bleu_of.get((row["paper"], row["system"], "iu_xray"), math.nan),
    }
    for row in left_out
)
print(without.to_string(index=False))

# %% [markdown]
# HRGR, KERP and CMAS-RL are missed most. HRGR chose for each sentence between a template and a writer; KERP retrieved templates for a graph of findings; CMAS-RL let a "normal" and an "abnormal"
# writer take turns. Their idea: *most of a report is a sentence that was said before*. A baseline of ours stands where they stood, and is **not** one of
# them: `f` asks a classifier what it sees in the images, and puts training sentences together.

# %%
stored = kept_results.stored_results("laptop", DATASET)
baselines = {row.name: row for result in stored for row in result.evaluation.rows[1:]}
shown_baselines = [name for name in ("a1", "f") if name in baselines]
if shown_baselines:
    display(
        pd.DataFrame(
            {
                f"{name}: {baselines[name].description}": {
                    score: baselines[name].parts["all"].scores.get(score, math.nan)
                    for score in ("BLEU-4", "ROUGE-L", "finding-F1")
                }
                for name in shown_baselines
            }
        ).T.round(3)
    )
else:
    display(Markdown("**Not run**: no result of these studies is stored with its baselines."))

# %%
if {"a1", "f"} <= {*shown_baselines}:
    of = {name: baselines[name].parts["all"].scores for name in ("a1", "f")}
    display(
        say(
            "One constant report has a BLEU-4 of {a1:.3f}; `f`, which puts in a sentence for each finding that was seen, has {f:.3f}, and a finding-F1 of "
            "{f1:.3f} against {blind:.3f}. "
            + (
                "So `f` **names more of what is there** and its **BLEU-4 is lower**: here BLEU does not reward what it was made for."
                if of["f"]["finding-F1"] > of["a1"]["finding-F1"] and of["f"]["BLEU-4"] < of["a1"]["BLEU-4"]
                else ""
            ),
            a1=of["a1"]["BLEU-4"],
            f=of["f"]["BLEU-4"],
            f1=of["f"]["finding-F1"],
            blind=of["a1"]["finding-F1"],
        )
    )

# %% [markdown]
# ## 11.9 An LSTM and a Transformer, one study
#
# The study and the words of section 11.4, read to both: the map of ADAATT's one head without the sentinel's share, and BASE's cross-attention, mean over
# layers and heads.
#
# *What to see: each row is a system, blue where the finding was drawn. Colour is how many times the map's mean a patch gets; the scale begins at the mean,
# 1, and patches below it are left clear. Look at the scale before you believe a spot: the number under the figure says how much more than chance lies
# inside the box.*

# %%
first = next(
    (mention for mention in mentions if any(box.finding == mention.finding for box in dataset.boxes(chosen))), None
)
if first:
    boxes = [box for box in dataset.boxes(chosen) if box.finding == first.finding]
    label, ids = " ".join(words[k] for k in first.words), [[dataset.vocabulary.ids[w] for w in words]]
    maps = {
        title: look(trained[name], test.collate([chosen]).inputs, ids).cross_map(0, first.words).numpy()
        for name, title in (("adaatt", "ADAATT"), ("base", "BASE"))
    }
    two = [WordMaps(label, boxes, {CROSS_ATTENTION: values}, title) for title, values in maps.items()]
    display(word_regions(dataset.views(chosen), two, name="11_two_systems"))
    scored = {title: box_score(values, box_cover(boxes)) for title, values in maps.items()}
    display(pd.DataFrame({title: {"inside / chance": score.ratio} for title, score in scored.items()}).round(2))

# %% [markdown]
# Over all mentions of 200 test reports, the same words read to both. `ratio` is inside / chance with its 95 % interval over studies; `own` divides by
# what the mean map of *other* studies gets in the same boxes: only what is above 1 there comes from looking at this study.

# %%
gaze = {
    title: box_summary(table, by=["look"]).loc[CROSS_ATTENTION]
    for title, table in (("ADAATT", of_adaatt), ("BASE", of_base))
    if len(table)
}
if gaze:
    display(
        pd.DataFrame(gaze)
        .T[["n", "studies", "ratio", "low", "high", "own", "own_low", "own_high"]]
        .astype(float)
        .round(3)
    )
lines = [
    f"{title} is **{'above' if row.low > 1 else 'below' if row.high < 1 else 'not told from'}** chance, and "
    f"{'knows something of its own study' if row.own_low > 1 else 'does no better than the mean map of other studies, as far as these can tell'}"
    for title, row in gaze.items()
]
Markdown("; ".join(lines) + "." if lines else "These studies have no boxes: nothing to score.")

# %% [markdown]
# ## 11.10 All of them in one table
#
# The project's stored `laptop` trainings: the same studies, the same features, test reports, mean over seeds. In brackets the 95 % interval over *studies*:
# it does not know that another seed scores otherwise, so two brackets apart are no order yet; the next section asks with both. Two protocols: decoding as
# chosen on the validation studies (*tuned*), and as the papers search (*published*). Compare rows of one protocol. XProNet is told what a classifier sees,
# never the reference's labels.


# %%
def all_systems(protocol):
    """A row for each system, "not run" where nothing is stored."""
    found = kept_results.summary(SYSTEMS, profile="laptop", dataset=DATASET, protocol=protocol)
    of = {
        row.partition("/")[2].partition(",")[0]: row
        for row in found.index
        if "labels: " not in row or row.endswith("labels: classifier")
    }
    lines = {name: dict(found.loc[of[name]]) if name in of else {"seeds": "not run"} for name in SYSTEMS}
    return pd.DataFrame(lines).T.reindex(columns=found.columns if len(found) else ["seeds"]).fillna("–"), set(of)


tables = {protocol: all_systems(protocol) for protocol in ("tuned", "published")}
pd.concat({protocol: table for protocol, (table, _) in tables.items()})

# %%
Markdown(
    "\n".join(
        f"- {protocol}: **Not run** in the `laptop` profile: {', '.join(f'`{name}`' for name in SYSTEMS if name not in there) or 'none, all are there'}."
        for protocol, (_, there) in tables.items()
    )
)

# %% [markdown]
# Which systems are above the report that sees nothing, `a1` of section 11.8?

# %%
seen_of = {
    name: measured_of(stored, name, DATASET, "BLEU-4", profile="laptop", protocol="tuned")
    for name in tables["tuned"][1]
}
seen_of = {name: one.spread.mean for name, one in seen_of.items() if one}
if "a1" in baselines and seen_of:
    constant = baselines["a1"].parts["all"].scores["BLEU-4"]
    above = [name for name, mean in seen_of.items() if mean > constant]
    display(
        say(
            "`a1` has a BLEU-4 of {constant:.3f}. Of {count} systems, tuned, {higher} {have} more: {names}.",
            constant=constant,
            count=len(seen_of),
            higher=len(above),
            have="has" if len(above) == 1 else "have",
            names=", ".join(f"`{name}`" for name in above) or "–",
        )
    )

# %% [markdown]
# ## 11.11 Which of the papers' orders hold?
#
# An order is printed where **one paper** prints two systems on **one collection**. We take every printed row of a system of this chapter, but those that
# were made on another split or text (`other_protocol` in `data/published_systems.csv`; section 11.13 says why). Sorted by BLEU-4, from the lowest:


# %% tags=["nbval-check-output"]
def printed(metric, comparable=True):
    """{(paper, collection): {preset: value}}: the printed rows that may be compared with ours, or those that may not."""
    found = {}
    for row in shipped("published"):
        system = printed_systems.get((row["paper"], row["system"]))
        if row["metric"] == metric and system and system["preset"] in SYSTEMS:
            other = system["other_protocol"].partition(": ")[0] == row["dataset"]
            if other != comparable:
                found.setdefault((row["paper"], row["dataset"]), {})[system["preset"]] = float(row["value"])
    return found


def ladders(metric):
    """The systems of each paper and collection that prints two or more, from the lowest."""
    return {
        where: sorted(values, key=values.get)
        for where, values in printed(metric).items()
        if len({*values.values()}) > 1
    }


by_bleu = printed("BLEU-4")
for (paper, collection), ladder in ladders("BLEU-4").items():
    values = by_bleu[paper, collection]
    print(f"{paper}, {collection}:", " < ".join(f"{name} {values[name]:.3f}" for name in ladder), sep="\n    ")

# %% [markdown]
# Every pair of one line is an order that is printed. For each we ask our stored seeds by the rule of chapter 10: seeds and studies both make a mean
# uncertain, all pairs of one score are corrected together, and *no difference* means none larger than what was declared beforehand to matter, δ. With
# fewer than three seeds of one of the two there is no answer, *too few seeds*. BLEU-4 as printed; finding-F1, our nearest to the printed clinical F1, with
# *its* printed order. The decoding is the tuned one, because the papers' own search makes these small models' reports too short, some by far more than
# others (chapter 03); a column says what that search would have shown.

# %%
SAID = {"above": "holds", "below": "fails"}


def asked_orders(score, metric, protocol="tuned"):
    """(lower, higher) as printed -> how ours compare, None where either was not run. Equal printed values are no order."""
    pairs = {
        pair: None
        for values in printed(metric).values()
        for pair in combinations(sorted(values, key=values.get), 2)
        if values[pair[0]] < values[pair[1]]
    }
    ours = {
        name: measured_of(stored, name, DATASET, score, profile="laptop", protocol=protocol)
        for name in {name for pair in pairs for name in pair}
    }
    made = corrected({pair: order(ours[pair[1]], ours[pair[0]]) for pair in pairs if ours[pair[0]] and ours[pair[1]]})
    return pairs | made


METRIC_OF = {"BLEU-4": "BLEU-4", "finding-F1": "CE-F1"}
verdicts = {score: asked_orders(score, metric) for score, metric in METRIC_OF.items()}
as_searched = {score: asked_orders(score, metric, "published") for score, metric in METRIC_OF.items()}


# %%
def verdict(one):
    return "not run" if one is None else SAID.get(one.answer, one.how)


neighbours = {  # two with one printed value are no order
    score: list(
        dict.fromkeys(
            pair for ladder in ladders(metric).values() for pair in pairwise(ladder) if pair in verdicts[score]
        )
    )
    for score, metric in METRIC_OF.items()
}
for score, found in verdicts.items():
    display(
        pd.DataFrame(
            {
                f"{low} < {high}": {
                    "ours": verdict(found[low, high]),
                    "difference": found[low, high].difference if found[low, high] else math.nan,
                    "as the papers search": one.difference if (one := as_searched[score][low, high]) else math.nan,
                }
                for low, high in neighbours[score]
            }
        ).T.rename_axis(f"{score}: neighbours of a printed order")
    )

# %%
lines = []
for score, found in verdicts.items():
    decided = [pair for pair, one in found.items() if one is not None and one.told_apart]
    turned = [
        f"{low} < {high}"
        for (low, high), one in found.items()
        if one and (other := as_searched[score][low, high]) and one.difference * other.difference < 0
    ]
    lines.append(
        f"- **{score}: {len(decided) or 'none'} of {len(found)} printed orders {'is' if len(decided) < 2 else 'are'} told apart.**"
        + (f" {len(turned)} turn round with the way of searching: {', '.join(turned)}." if turned else "")
    )
    counts = pd.Series([verdict(one) for one in found.values()]).value_counts()
    failing = [f"{low} < {high}" for (low, high), one in found.items() if verdict(one) == "fails"]
    both_ways = [f"{low} < {high}" for low, high in found if (high, low) in found]
    lines.append(
        f"- Each of them: {', '.join(f'{count} {what}' for what, count in counts.items())}."
        + (f" Those that fail: {', '.join(failing)}." if failing else "")
        + (f" Printed both ways, by different papers: {', '.join(both_ways)}." if both_ways else "")
    )
unordered = [name for name in SYSTEMS if not any(name in pair for pair in verdicts["BLEU-4"])]
Markdown(
    "\n".join(lines)
    + (
        f"\n- In no printed order that may be compared: {', '.join(f'`{name}`' for name in unordered)}."
        if unordered
        else ""
    )
    + "\n\nThe papers' orders are of real films and one training each; ours of drawn films, small models and a frozen image network. An order that fails here is not refuted there."
)

# %% [markdown]
# *What to see: a row for each pair of neighbours that we have run. A dot right of 0 is an order that goes the printed way. It is told apart only where it
# has a colour: blue as printed, red the other way round, after all pairs were corrected together. The line is the margin of a pair that stood alone (a dot
# without one has too few seeds); inside the grey band a difference would not matter.*

# %%
drawn = {f"{low} < {high}": verdicts["BLEU-4"][low, high] for low, high in neighbours["BLEU-4"]}
drawn = {name: one for name, one in drawn.items() if one is not None}
if drawn:
    display(order_differences(drawn, "BLEU-4", name="11_orders"))

# %% [markdown]
# ## 11.12 What LSTMs do that Transformers don't
#
# A public complaint says that Transformers write the same report again and again, where LSTMs vary. Is it so? Three numbers of what is written: the share
# of reports that are distinct, how many different words are used at all, and the length over the references' length. From the stored reports, where there
# is an LSTM among them; else from the generators of this chapter, 200 test reports each.


# %%
def how_it_writes(reports, references):
    """Two lists of lists of words -> the three numbers."""
    return {
        "distinct reports": len({tuple(words) for words in reports}) / len(reports),
        "words used": float(len({word for words in reports for word in words})),
        "length ratio": sum(map(len, reports)) / sum(map(len, references)),
    }


asked_of = {
    name: [
        r
        for r in stored
        if r.experiment.preset == name and r.is_preset and r.protocol == "tuned" and r.tokens
        if r.labels_at_test in (None, "classifier")
    ]
    for name in SYSTEMS
}
if from_stored := any(asked_of[name] for name in LSTMS):
    in_words = {dataset.ids[k]: dataset.reference(k).split() for k in test.indices}
    per_seed = {
        name: [how_it_writes(list(r.tokens.values()), [in_words[study] for study in r.tokens]) for r in found]
        for name, found in asked_of.items()
        if found
    }
else:
    wanted = list(references)
    per_seed = {
        name: [
            how_it_writes(
                [
                    text.split()
                    for text in write_reports(
                        trained[name],
                        runs[name].batches("test", 200),
                        dataset.vocabulary,
                        runs[name].experiment.decoding,
                    ).values()
                ],
                [references[study].split() for study in wanted],
            )
        ]
        for name in runs
    }
habits = pd.DataFrame(
    {name: {key: fmean(each[key] for each in seeds) for key in seeds[0]} for name, seeds in per_seed.items()}
).T
source_of = (
    "stored `laptop` reports, tuned, mean over seeds"
    if from_stored
    else "the trainings of this chapter, one each, 200 test reports"
)
display(Markdown(f"From {source_of}:"))
habits.assign(seeds=[len(per_seed[name]) for name in habits.index]).round(3)

# %% [markdown]
# *What to see: orange rows are LSTMs, blue ones Transformers. Is there a column in which all of one colour lie beyond all of the other?*

# %%
figures.habits(habits, LSTMS, name="11_habits")

# %%
lines = []
for column, (less, more) in {
    "distinct reports": ("fewer distinct reports", "more distinct reports"),
    "words used": ("fewer different words", "more different words"),
    "length ratio": ("shorter reports", "longer reports"),
}.items():
    of_lstms, of_others = (
        [each[column] for name, seeds in per_seed.items() if (name in LSTMS) == lstm for each in seeds]
        for lstm in (True, False)
    )
    told = (
        f"every training of an LSTM writes **{more}** than every training of a Transformer"
        if min(of_lstms) > max(of_others)
        else f"every training of an LSTM writes **{less}** than every training of a Transformer"
        if max(of_lstms) < min(of_others)
        else "the families **overlap**"
    )
    lines.append(
        f"- {column}: LSTMs {min(of_lstms):.3g} to {max(of_lstms):.3g}, Transformers {min(of_others):.3g} to {max(of_others):.3g}: {told}"
    )
counted = {lstm: len([n for n in per_seed if (n in LSTMS) == lstm]) for lstm in (True, False)}
distinct = {
    lstm: [each["distinct reports"] for n, of in per_seed.items() if (n in LSTMS) == lstm for each in of]
    for lstm in (True, False)
}
answer = (
    "the complaint holds"
    if min(distinct[True]) > max(distinct[False])
    else "it is the reverse: the LSTMs repeat themselves more"
    if max(distinct[True]) < min(distinct[False])
    else "the families cannot be told apart by it"
)
Markdown(
    "\n".join(lines)
    + f"\n\n**Is it so? Here, {answer}.** ({counted[True]} LSTMs with {len(distinct[True])} trainings, {counted[False]} Transformers with {len(distinct[False])}.) What is varied need not be right: a wrong finding makes a report distinct, too. Read this beside finding-F1 in 11.10."
)

# %% [markdown]
# ## 11.13 How to read the printed IU X-Ray rows
#
# The papers print several of these systems on IU X-Ray, too. Do not take all of these rows for results of one experiment. Section 11.11 left these out:

# %% tags=["nbval-check-output"]
apart = pd.DataFrame(
    {
        "paper": paper,
        "collection": collection,
        "system": system,
        "BLEU-4": bleu_of.get((paper, system, collection), math.nan),
        "why": why,
    }
    for (paper, system), row in printed_systems.items()
    if row["preset"] in SYSTEMS and row["other_protocol"]
    for collection, _, why in [row["other_protocol"].partition(": ")]
)
for why, rows_of in apart.groupby("why", sort=False):
    print(why + ":", rows_of[["paper", "collection", "system", "BLEU-4"]].to_string(index=False), "", sep="\n")

# %% [markdown]
# A table that prints rows of different experiments under one another gives an order that nobody measured. That holds for our constant report as well: `a1`
# is *one* training report, chosen on the validation studies, given to every study. It has seen no image, and IU-Phantom's reports are the real ones, so
# its score may stand beside rows of the same split and text. Beside the rows above it says one thing only: how far apart two protocols can lie.

# %%
if "a1" in baselines and DATASET == "iu_phantom":
    a1 = baselines["a1"].parts["all"].scores["BLEU-4"]
    photographs = apart[apart["system"].isin(["ST", "ATT2IN", "ADAATT"]) & (apart["collection"] == "iu_xray")]
    iu = {}  # of each system the rows of IU X-Ray that may be compared: another paper that quotes a value adds none
    for values in (found for (_, collection), found in by_bleu.items() if collection == "iu_xray"):
        for name, value in values.items():
            iu.setdefault(name, set()).add(value)
    above = [name for name, values in iu.items() if max(values) > a1]
    display(
        say(
            "`a1` has a BLEU-4 of **{a1:.3f}** on the {n} test reports. Of the {count} systems of this chapter with a printed row that may be compared, {higher} "
            + ("has" if len(above) == 1 else "have")
            + " one above it"
            + (": " + ", ".join(f"`{name}`" for name in above) if above else "")
            + ". What is printed of "
            + ", ".join(photographs["system"].unique())
            + " is of another split or text; `a1` has {low:.1f} to {high:.1f} times as much here.",
            a1=a1,
            n=baselines["a1"].parts["all"].n,
            low=a1 / photographs["BLEU-4"].max(),
            high=a1 / photographs["BLEU-4"].min(),
            count=len(iu),
            higher=len(above),
        )
    )
else:
    display(Markdown("**Not run**: no result of these studies is stored with its baselines."))

# %% [markdown]
# Three things follow.
#
# - A rebuilt ST that scores far above its printed IU row is no failed replication, and no success either: it is another protocol, other text, other
#   features, and a report that sees nothing scores there, too (11.10).
# - "Our system doubles ST's BLEU" says nothing, where a report that sees nothing does so as well.
# - CMN's MIMIC-CXR rows of the four LSTMs are *replicated by its authors*: the same split and the same scoring. If you compare with printed LSTMs, compare
#   with those.
#
# ## What you can now do
#
# - Write an LSTM captioner's step: cell, max-out candidate, additive attention, sentinel.
# - Say what a generator *can* know of an image (mean, set, places), and test it with two changes.
# - Write R2GEN's memory and its conditional norm, and measure how much of what they add moves with the words.
# - Take a reconstruction apart: what public code says, what descriptions say, and what somebody had to decide.
# - Tell a row that is cited from one that was run, before you compare with it.
#
# ## Sources
#
# - Oriol Vinyals et al.: *Show and Tell: A Neural Image Caption Generator*, CVPR 2015.
# - Steven Rennie et al.: *Self-critical Sequence Training for Image Captioning*, CVPR 2017 (ATT2IN).
# - Jiasen Lu et al.: *Knowing When to Look: Adaptive Attention via a Visual Sentinel for Image Captioning*, CVPR 2017.
# - Peter Anderson et al.: *Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering*, CVPR 2018.
# - Zhihong Chen et al.: *Generating Radiology Reports via Memory-driven Transformer*, EMNLP 2020 (R2GEN); released code: R2Gen.
# - Zhihong Chen et al.: *Cross-modal Memory Networks for Radiology Report Generation*, ACL-IJCNLP 2021: Table 3.
# - The LSTMs' public code: ruotianluo/self-critical.pytorch.
# - Baoyu Jing, Pengtao Xie, Eric Xing: *On the Automatic Generation of Medical Imaging Reports*, ACL 2018 (COATT); a third party's code:
#   ZexinYan/Medical-Report-Generation.
# - Yixiao Zhang et al.: *When Radiology Report Generation Meets Knowledge Graph*, AAAI 2020 (SentSAT+KG); a successor's code:
#   bionlplab/report_generation_amia2022.
# - Benjamin Hou et al.: *RATCHET: Medical Transformer for Chest X-ray Diagnosis and Reporting*, MICCAI 2021; released code: farrell236/RATCHET.
# - Shenshen Bu et al.: *Instance-level Expert Knowledge and Aggregate Discriminative Attention for Radiology Report Generation*, CVPR 2024 (EKAGen); released
#   code: hnjzbss/EKAGen.
# - Christy Li et al., 2018 (HRGR) and 2019 (KERP); Baoyu Jing et al., 2019 (CMAS-RL): not rebuilt.
#
# Of all these papers but CMN's the texts were not at hand: the equations here are those of the public codes, in our notation. ST, ATT2IN, ADAATT, TOPDOWN,
# R2GEN, and the parts of COATT and EKAGen that are marked A, give the codes' numbers (the tests compare them). RATCHET's and SentSAT+KG's codes were read.
# What is said of a paper beside its code is what is commonly told of it.
#
# - Reports and codes: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes one report of
#   it, word by word, in the figure of section 11.4.
