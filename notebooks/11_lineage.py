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
# cells, a memory of the text. See where an LSTM looks, and how much of each word it says without looking. Find out which of the papers' orders our
# stored trainings bear out, and how to read the printed rows whose scores a report that sees nothing more than doubles.
#
# **Before this.** Chapters 03 and 04: teacher forcing, attention, CMN. Chapter 10 for the rule that decides an order.
#
# **Minutes.** Running: under four on two CPU cores. Reading 35, exercises 38.
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
import textwrap
from dataclasses import replace
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from rrg_lib.book.checks import lineage as checks
from rrg_lib.book.figures import lineage as figures
from rrg_lib.book.figures.memory_querying_responding import WordMaps, word_regions
from rrg_lib.book.prose import say
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
from rrg_lib.experiments import results as kept_results
from rrg_lib.experiments.presets import PRESETS, experiment
from rrg_lib.experiments.reports import write_reports
from rrg_lib.experiments.run import Run
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.topdown import TopDown
from rrg_lib.models.transformer import merge_heads, split_heads
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
# | 2020 | R2GEN | a Transformer, with a memory of what was written so far | patches, asked by several heads |
# | 2021 | CMN | a memory that image and text both ask (chapter 04) | patches, and the memory's answers |
#
# The first four were made for photographs. The radiology papers took their public code, trained it on chest films and printed the rows. We have all of
# them behind one interface (`rrg_lib.models.interface`), so each is a preset like any other. How many numbers does each learn, at its released size and
# without the image network?

# %% tags=["nbval-check-output"]
SYSTEMS = ("st", "att2in", "adaatt", "topdown", "base", "r2gen", "cmn")
LSTMS = ("st", "att2in", "adaatt", "topdown")
with torch.device("meta"):  # shapes without numbers
    sizes = {
        name: sum(p.numel() for p in PRESETS[name].generator.build(memory=PRESETS[name].memory).parameters())
        for name in SYSTEMS
    }
print(pd.Series({name: f"{count:,}" for name, count in sizes.items()}).to_string())

# %% [markdown]
# Four of them are trained now, or found trained: ST, ADAATT, R2GEN, and BASE for comparison. In the `ci` profile all four train for two epochs, with 16
# studies a step; that shows how each works and not which is better. The stored `laptop` trainings in sections 11.9 to 11.11 are for that.

# %%
SHORT = ["training.epochs=2", "training.batch_size=16", "training.warmup_steps=50"] if PROFILE == "ci" else []
runs = {
    name: Run.of(experiment(f"{DATASET}/{name}", PROFILE, SHORT, seed=SEED), data_root=DATA_ROOT)
    for name in ("st", "adaatt", "r2gen", "base")
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
# > ST, image as word &nbsp; $\mathbf h_0,\mathbf c_0=\mathrm{LSTM}(\mathbf W\mathbf f;\ \mathbf 0,\mathbf 0)\qquad
# > \mathbf h_t,\mathbf c_t=\mathrm{LSTM}(\mathbf E_{w_t};\ \mathbf h_{t-1},\mathbf c_{t-1})\qquad p(w_{t+1})=\mathrm{softmax}(\mathbf L\mathbf h_t)$
#
# $\mathbf f$ is the *pooled* image: the mean patch of each view, side by side. It is read as if it were a word. What the LSTM says after it is thrown
# away; then id 0 begins the report.
#
# An LSTM's step has three gates, numbers from 0 to 1: what comes in ($\mathbf i$), what stays ($\mathbf f$), what is shown ($\mathbf o$). And a candidate
# $\mathbf g$, which is what would come in.
#
# > $[\mathbf i,\mathbf f,\mathbf g,\mathbf o]=\mathbf U\mathbf x_t+\mathbf V\mathbf h_{t-1}\qquad
# > \mathbf c_t=\sigma(\mathbf f)\odot\mathbf c_{t-1}+\sigma(\mathbf i)\odot\tanh\mathbf g\qquad \mathbf h_t=\sigma(\mathbf o)\odot\tanh\mathbf c_t$
#
# *Paper: an LSTM. The public code has two of them: one as here, without any bias, and one with the candidate of section 11.3. Which of them the radiology
# papers ran, they don't say. We take the first; `ShowTellConfig(candidate="maxout")` is the other.*

# %%
st = runs["st"].generator().requires_grad_(False)
U, V = st.cell.inputs, st.cell.hidden


def lstm_step(x, h, c):
    """(B, d) three times -> the new state and cell."""
    i, f, g, o = (U(x) + V(h)).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


# %%
f = batch.inputs.unflatten(1, (views, -1)).mean(dim=2).flatten(1)  # (B, views · d_vf), the pooled image
h = c = torch.zeros(B, st.config.d_model)
h, c = lstm_step(st.image(f), h, c)  # the image, as if it were a word
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
    + ". Who sees the set can *point*: it weighs patches, and we know where each of them lies. It is not told so itself. Who sees the mean alone can't even "
    "be asked."
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
# $e_0$ is the sentinel's score. Its weight $\alpha_0$ says how much of the word comes from what was written, and not from the image. The pooled image
# $\bar{\mathbf f}$ is read at every word; and it is the *new* state that asks, where ATT2IN asked with the old one.
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
parts, spoken, finding_word = [], [], []
for start in range(0, len(looked_at.indices), 32):
    for k, share in zip(part := looked_at.indices[start : start + 32], sentinel_share(part), strict=True):
        text = references[dataset.ids[k]]
        parts.append(share)
        spoken += text.split()
        where = {place for m in find_mentions(text) for place in m.words}
        finding_word += [place in where for place in range(len(text.split()))]
by_word = pd.DataFrame({"word": spoken, "share": np.concatenate(parts), "finding": finding_word})
often = by_word.groupby("word")["share"].agg(["mean", "size"]).query("size >= 40").sort_values("mean")
pd.concat({"most": often.tail(6)[::-1], "least": often.head(6)}).round(3)

# %%
at_findings, elsewhere = (by_word.loc[by_word["finding"] == at, "share"] for at in (True, False))
gap = at_findings.mean() - elsewhere.mean()
error = (
    math.sqrt(at_findings.var() / len(at_findings) + elsewhere.var() / len(elsewhere)) if len(at_findings) else math.inf
)
reading = (
    "the same, as far as these words can tell"
    if not abs(gap) > 2 * error
    else "smaller, as it was made for"
    if gap < 0
    else "larger: this sentinel is not what it was made for"
)
say(
    "The sentinel's mean share is {at:.3f} at words that assert a finding and {else_:.3f} at all others: "
    + f"**{reading}**. An even softmax over patches and sentinel would give it {{even:.3f}}. One training, a short one in the `ci` profile. Two standard "
    "errors decide here, as if every word stood alone; words of one report don't, so a small difference is less sure than it looks.",
    at=at_findings.mean(),
    else_=elsewhere.mean(),
    even=1 / (S + 1),
)

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
    "After {n} words the cosine is {before:.3f} before training and {after:.3f} after it.",
    n=len(alike["trained"]),
    before=alike["before training"][-1],
    after=alike["trained"][-1],
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
#
# ## 11.8 An LSTM and a Transformer, one study
#
# The study and the words of section 11.4, read to both: the map of ADAATT's one head without the sentinel's share, and BASE's cross-attention, mean over
# layers and heads.
#
# *What to see: each row is a system, blue where the finding was drawn. Colour is how many times the map's mean a patch gets. Look at the scale before you
# believe a spot.*

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
# ## 11.9 All of them in one table
#
# The project's stored `laptop` trainings: the same studies, the same features, test reports, mean over seeds with 95 % intervals. Two protocols: decoding
# as chosen on the validation studies (*tuned*), and as the papers search (*published*). Compare rows of one protocol.


# %%
def all_systems(protocol):
    """A row for each system, "not run" where nothing is stored."""
    found = kept_results.summary(SYSTEMS, profile="laptop", dataset=DATASET, protocol=protocol)
    of = {row.partition("/")[2].partition(",")[0]: row for row in found.index}
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
# ## 11.10 Which of the papers' orders hold?
#
# CMN's Table 3 prints these systems on MIMIC-CXR. Sorted by its BLEU-4, from the lowest:

# %% tags=["nbval-check-output"]
ROW_OF = {"ST": "st", "ATT2IN": "att2in", "ADAATT": "adaatt", "TOPDOWN": "topdown", "R2GEN": "r2gen", "CMN": "cmn"}
table_3 = [
    row
    for row in shipped("published")
    if row["paper"].startswith("R2GenCMN") and row["where"] == "Table 3" and row["system"] in ROW_OF
]


def printed(collection, metric):
    return {
        ROW_OF[row["system"]]: float(row["value"])
        for row in table_3
        if (row["dataset"], row["metric"]) == (collection, metric)
    }


by_bleu = printed("mimic_cxr", "BLEU-4")
ladder = sorted(by_bleu, key=by_bleu.get)
print(" < ".join(f"{name} {by_bleu[name]:.3f}" for name in ladder))

# %% [markdown]
# Every pair of them is an order that the table prints. For each we ask our stored seeds, tuned, by the rule of chapter 10: seeds and studies both make a
# mean uncertain, all pairs of one score are corrected together, and *no difference* means none larger than what was declared beforehand to matter, δ.
# BLEU-4 as printed; finding-F1, our nearest to the clinical F1 of the same table, with *its* printed order.

# %%
stored = kept_results.stored_results("laptop", DATASET)
SAID = {"above": "holds", "below": "fails"}


def asked_orders(score, printed_scores):
    """(lower, higher) as printed -> how ours compare, None where either was not run. Equal printed values are no order."""
    ours = {
        name: measured_of(stored, name, DATASET, score, profile="laptop", protocol="tuned") for name in printed_scores
    }
    pairs = [
        pair
        for pair in combinations(sorted(printed_scores, key=printed_scores.get), 2)
        if printed_scores[pair[0]] < printed_scores[pair[1]]
    ]
    made = corrected({pair: order(ours[pair[1]], ours[pair[0]]) for pair in pairs if ours[pair[0]] and ours[pair[1]]})
    return {pair: made.get(pair) for pair in pairs}


their_scores = {"BLEU-4": by_bleu, "finding-F1": printed("mimic_cxr", "CE-F1")}
ladder_of = {score: sorted(values, key=values.get) for score, values in their_scores.items()}
verdicts = {score: asked_orders(score, values) for score, values in their_scores.items()}


# %%
def verdict(one):
    return "not run" if one is None else SAID.get(one.answer, one.how)


for score, found in verdicts.items():
    steps = [pair for pair in pairwise(ladder_of[score]) if pair in found]  # two with one printed value are no order
    display(
        pd.DataFrame(
            {
                f"{low} < {high}": {
                    "ours": verdict(found[low, high]),
                    "difference": found[low, high].difference if found[low, high] else math.nan,
                }
                for low, high in steps
            }
        ).T.rename_axis(f"{score}: neighbours of the printed order")
    )

# %%
lines = []
for score, found in verdicts.items():
    counts = pd.Series([verdict(one) for one in found.values()]).value_counts()
    failing = [f"{low} < {high}" for (low, high), one in found.items() if verdict(one) == "fails"]
    lines.append(
        f"- {score}, {len(found)} printed orders: {', '.join(f'{count} {what}' for what, count in counts.items())}."
        + (f" Those that fail: {', '.join(failing)}." if failing else "")
    )
Markdown(
    "\n".join(lines)
    + "\n\nThe papers' orders are of real films and one training each; ours of drawn films, small models and a frozen image network. An order that fails here is not refuted there."
)

# %% [markdown]
# *What to see: a dot right of 0 is an order that goes the printed way. It is told apart only where it has a colour: blue as printed, red the other way
# round, after all pairs were corrected together. The line is the margin of a pair that stood alone; inside the grey band a difference would not matter.*

# %%
drawn = {f"{low} < {high}": one for (low, high), one in verdicts["BLEU-4"].items() if one is not None}
if drawn:
    display(figures.order_differences(drawn, "BLEU-4", name="11_orders"))

# %% [markdown]
# ## 11.11 What LSTMs do that Transformers don't
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
    name: [r for r in stored if r.experiment.preset == name and r.is_preset and r.protocol == "tuned" and r.tokens]
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
Markdown(
    "\n".join(lines)
    + f"\n\n({counted[True]} LSTMs, {counted[False]} Transformers.) What is varied need not be right: a wrong finding makes a report distinct, too. Read this beside finding-F1 in 11.9."
)

# %% [markdown]
# ## 11.12 How to read the printed IU X-Ray rows
#
# The same Table 3 prints ST, ATT2IN and ADAATT on IU X-Ray, too. Do not take these rows for a result of the same experiment. Each row of
# `data/published.csv` has a note of where the paper says that it comes from:

# %% tags=["nbval-check-output"]
ours_too = {
    (row["system"], row["dataset"]): {"BLEU-4": float(row["value"]), "note": row["note"]}
    for row in table_3
    if row["metric"] == "BLEU-4"
}
print(pd.DataFrame(ours_too).T.rename_axis(["system", "dataset"]).to_string())

# %% [markdown]
# *Cited from the original paper*: but the papers of ST, ATT2IN and ADAATT are about photographs and have no such number. So the rows came through some
# other paper; with which features and on which text, Table 3 does not say. Now put the constant report beside them: `a1` is *one* training report, chosen
# on the validation studies, given to every study. It has seen no image. Its score depends on the reports alone, and IU-Phantom's are the real ones.

# %%
constant = next((row for result in stored for row in result.evaluation.rows[1:] if row.name == "a1"), None)
if constant and DATASET == "iu_phantom":
    a1 = constant.parts["all"].scores["BLEU-4"]
    iu = printed("iu_xray", "BLEU-4")
    lstm_rows = {name: value for name, value in iu.items() if name in LSTMS}
    above = [name for name, value in iu.items() if value > a1]
    display(
        say(
            "`a1` has a BLEU-4 of **{a1:.3f}** on the {n} test reports, {low:.1f} to {high:.1f} times what is printed of "
            + ", ".join(f"`{name}`" for name in lstm_rows)
            + ". Of the printed rows of these systems "
            + (
                f"{', '.join(f'`{name}`' for name in above)} {'is' if len(above) == 1 else 'are'} above it."
                if above
                else "**none is above it**."
            ),
            a1=a1,
            n=constant.parts["all"].n,
            low=a1 / max(lstm_rows.values()),
            high=a1 / min(lstm_rows.values()),
        )
    )
else:
    display(Markdown("**Not run**: no result of these studies is stored with its baselines."))

# %% [markdown]
# Three things follow.
#
# - A rebuilt ST that scores far above its printed IU row is no failed replication. It is another protocol: other text, other features.
# - "Our system doubles ST's BLEU" says nothing, where a report that sees nothing does so as well.
# - The MIMIC-CXR rows of the LSTMs are *replicated by the authors*: the same split and the same scoring as CMN. If you compare with printed LSTMs, compare with those.
#
# ## What you can now do
#
# - Write an LSTM captioner's step: cell, max-out candidate, additive attention, sentinel.
# - Say what a generator *can* know of an image (mean, set, places), and test it with two changes.
# - Write R2GEN's memory and its conditional norm, and measure how much of what they add moves with the words.
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
#
# Of the first five papers the texts were not at hand: their equations here are those of the public codes, in our notation, and our systems give the
# codes' numbers (the tests compare them). What is said of a paper beside its code is what is commonly told of it.
#
# - Reports and codes: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes one report of
#   it, word by word, in the figure of section 11.4.
