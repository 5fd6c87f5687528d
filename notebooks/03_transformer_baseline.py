# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 2, peak_gib: 2}
# ---

# %% [markdown]
# # 3 · The Transformer baseline: patches in, words out
#
# BASE is the system that the memories of the next chapters are added to: a Transformer that reads the patches of a study and writes its
# findings. This chapter takes it apart, trains it, and lets it write. Everything in it is used again by all four systems.
#
# **Goals.** You can
# - say what goes into the model and what comes out, with shapes,
# - write attention, the released layer norm, the causal mask and the loss yourself, and show that the library does the same,
# - write greedy search, explain beam search, and say what a cache saves,
# - say what a trained BASE is worth beside a report that never looked at an image, and how much of that the search decides.
#
# **Before this:** chapter 01 (studies, words) and chapter 02 (patches). You should have seen a PyTorch module.
#
# **Minutes.** An hour and a half to read and solve; the machine needs one to two minutes on two CPU cores in the `ci` profile.
#
# **The images in this chapter are drawn**, by the library, from the expert codes of real reports. Scores on them are not comparable with
# published scores.

# %% tags=["parameters"]
DATASET = "iu_phantom"
DATA_ROOT = None  # the folder of real images, for the datasets that need one
PROFILE = "ci"  # ci | laptop | gpu
SEED = None  # None: the seed of the release

# %%
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import math
import time
from dataclasses import replace

import pandas as pd
import torch
from IPython.display import Markdown, display

from rrg_lib.book.checks import transformer_baseline as checks
from rrg_lib.book.figures import transformer_baseline as figures
from rrg_lib.data.study import DRAWN_FINDINGS
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.experiments import results
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.reports import write_reports
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.tuned_decoding import BAND
from rrg_lib.experiments.tuning import tune
from rrg_lib.models.decoding import PROTOCOLS, DecodingConfig, generate
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.layers import ReleasedLayerNorm
from rrg_lib.models.report_loss import report_loss as library_loss
from rrg_lib.models.transformer import EncoderLayer, MultiHeadAttention, SinusoidalPositions, merge_heads, split_heads
from rrg_lib.models.transformer import causal_mask as library_mask
from rrg_lib.models.visual.extractor import VisualExtractor
from rrg_lib.runtime.package_data import table
from rrg_lib.training import build_optimizer


def say(*lines):
    """Prose with numbers in it that were computed."""
    display(Markdown("\n".join(lines)))


# %% [markdown]
# A `Run` is one experiment with everything it needs: the prepared studies, the visual extractor, a folder for results. Nothing is trained
# yet.
#
# *The paper compares with "BASE", a Transformer without memory · the released code has neither a model nor a flag for it · we take the
# released encoder and decoder and leave the memory out.*

# %%
run = Run.of(experiment(f"{DATASET}/base", PROFILE, seed=SEED), data_root=DATA_ROOT)
dataset, vocabulary = run.dataset, run.dataset.vocabulary
drawn = DATASET != "iu_xray"  # are the images drawn?
dataset

# %% [markdown]
# ## 3.1 Patches in
#
# A visual extractor cuts each view into a grid of patches and describes each patch by $d_{vf}$ numbers. The patches of all views, row by
# row and view after view, are the **source sequence**.
#
# > CMN Eq. 3 &nbsp; $\{\mathbf x_1, \mathbf x_2, \dots, \mathbf x_S\} = f_v(\mathbf I)$


# %%
def patches_of(inputs):
    """Patch features (B, S, d_vf), also where a profile trains its extractor and so reads the views themselves."""
    return run.extractor(inputs).patches if inputs.dtype == torch.uint8 else inputs


effusion = DRAWN_FINDINGS.index("Effusion")
look = next(i for i in dataset.split_indices("val") if dataset.drawn_findings[i, effusion])
views = dataset.views_array([look])
with torch.no_grad():
    features = run.extractor(torch.from_numpy(views)).patches  # (1, S, d_vf)

# %% tags=["nbval-check-output"]
print("views", views.shape, "-> patches", tuple(features.shape[:2]))
print(f"{views.shape[1]} views x {run.extractor.patches_per_view} patches = {features.shape[1]}")

# %% [markdown]
# *What to see: the numbers run on from the first view into the second. To the model this is one sequence; that patch 48 is followed by a
# patch of another picture is something it must find out.* (Both views are drawn.)

# %%
figures.patch_sequence(views[0], drawn=drawn, name="03_patch_sequence")

# %% [markdown]
# ## 3.2 Words out
#
# The report is written one word at a time. Each word depends on the image and on the words before it:
#
# > CMN Eq. 1 &nbsp; $p(\mathbf Y \mid \mathbf I) = \prod_{t=1}^{T} p(y_t \mid y_1, \dots, y_{t-1}, \mathbf I)$
#
# One id, 0, plays three parts: it begins a report, ends it, and fills the places behind it. *The paper says nothing of this · released as
# such · we do as released.*

# %% tags=["nbval-check-output"]
sentence = "The heart is normal in size. No pleural effusion."  # ours, not from a report
ids = vocabulary.encode(sentence)
name_of = {0: "(0)"} | {i: word for word, i in vocabulary.ids.items()}
rows = {"the decoder reads": [name_of[i] for i in ids[:-1]], "it must say": [name_of[i] for i in ids[1:]]}
print(pd.DataFrame(rows).T.to_string(header=False))
print(
    f"\n{vocabulary.size} words, so a step answers with {vocabulary.size + 1} numbers: one a word, and one for the end"
)

# %% [markdown]
# Read the two rows column by column: after *(0)* it must say *the*, after *the* it must say *heart*, and after the last full stop it must
# say *(0)*. **Teacher forcing** means that the upper row holds the true words, whatever the model would have said. So all columns can be
# learnt at once.
#
# ## 3.3 Attention
#
# A query compares itself with every key. The comparison is a dot product; a softmax turns the results into weights that sum to one; the
# answer is the weighted mean of the values.
#
# > Vaswani et al. 2017, Eq. 1 &nbsp; $\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\dfrac{QK^\top}{\sqrt{d_k}}\right)V$
#
# For one query that is two lines:

# %%
draw = torch.Generator().manual_seed(0)
query, keys, values = (
    torch.randn(64, generator=draw),
    torch.randn(98, 64, generator=draw),
    torch.randn(98, 64, generator=draw),
)
weights = (keys @ query / math.sqrt(64)).softmax(dim=0)  # (98,), sums to 1
answer = weights @ values  # (64,)

# %% [markdown]
# Why the root? A dot product of $d_k$ random numbers has a standard deviation of $\sqrt{d_k}$. Without the division, wider heads give
# larger scores, and the softmax of large scores is nearly a maximum: one key gets everything, and no score gets a gradient worth the name.

# %%
widths, largest = (4, 16, 64, 256), {"without the root": [], "divided by the root": []}
for d_k in widths:
    scores = torch.randn(500, d_k, generator=draw) @ torch.randn(d_k, 98, generator=draw)  # 500 queries, 98 keys
    largest["without the root"].append(scores.softmax(-1).amax(-1).mean().item())
    largest["divided by the root"].append((scores / math.sqrt(d_k)).softmax(-1).amax(-1).mean().item())

# %% [markdown]
# *What to see: divided by the root, the largest weight does not care how wide the head is (blue). Without it, a wide head looks at one key
# almost alone (orange).*

# %%
figures.attention_scale(widths, largest, keys=98, name="03_attention_scale")

# %% [markdown]
# **Exercise 3.1** (8 min). Write attention for many queries at once. `mask` is `True` where a query may look, and can be broadcast to
# (B, h, L, S): B studies, h heads (below), L queries, S keys. What is masked must get a weight of exactly 0, and the rest must still sum to one.


# %% exercise="3.1" level="implement"
def scaled_attention(query, keys, values, mask=None):
    """(B, h, L, d_k), (B, h, S, d_k), (B, h, S, d_k) -> (B, h, L, d_k)"""
    ### BEGIN SOLUTION
    scores = query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, h, L, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values  # (B, h, L, d_k)
    ### END SOLUTION


# %% exercise="3.1" points=8
checks.scaled_attention(scaled_attention)  # silent if right

# %% [markdown]
# **Several heads** ask several questions at once. The $d$ numbers of a position are cut into $h$ pieces of $d_k = d/h$; each head attends
# with its own piece; the answers are put side by side and mixed by one more linear map. Your function, with the library's four linear maps
# around it, is the library's layer:

# %%
torch.manual_seed(1)
layer = MultiHeadAttention(d_model=128, heads=4, dropout=0.0)
x = torch.randn(2, 98, 128)  # (B, S, d)
query, keys, values = (
    split_heads(linear(x), 4) for linear in (layer.query, layer.key, layer.value)
)  # (B, h, S, d_k) each
ours = layer.output(merge_heads(scaled_attention(query, keys, values)))  # (B, S, d)
torch.testing.assert_close(ours, layer(x, layer.project(x)), atol=1e-5, rtol=1e-4)
tuple(query.shape), tuple(ours.shape)

# %% [markdown]
# ## 3.4 A layer norm that is not `nn.LayerNorm`
#
# Layer normalisation brings the $d$ numbers of a position to mean 0 and spread 1, then lets the model choose another mean and spread.
#
# > $\mathrm{norm}(\mathbf x) = \mathbf a \odot \dfrac{\mathbf x - \bar x}{s + \epsilon} + \mathbf b, \qquad s = \sqrt{\tfrac{1}{d-1}\sum_i (x_i - \bar x)^2}$
#
# *The papers say "Transformer" · the released code divides by $d-1$ and adds $\epsilon$ to the deviation; PyTorch's divides by $d$ and adds
# $\epsilon$ to the variance · we do as released, and `TransformerConfig(norm="torch")` chooses the other.*
#
# **Exercise 3.2** (4 min). Write the released one (`weight` is $\mathbf a$, `bias` is $\mathbf b$).


# %% exercise="3.2" level="implement"
def released_norm(x, weight, bias, eps=1e-6):
    """(B, L, d), (d,), (d,) -> (B, L, d)"""
    ### BEGIN SOLUTION
    mean = x.mean(dim=-1, keepdim=True)  # (B, L, 1)
    std = x.std(dim=-1, keepdim=True)  # (B, L, 1), divides by d - 1
    return weight * (x - mean) / (std + eps) + bias
    ### END SOLUTION


# %% exercise="3.2" points=4
checks.released_norm(released_norm)

# %% [markdown]
# Does the difference matter? Measure it on random features, at two widths.

# %% tags=["nbval-check-output"]
for d in (128, 512):
    x = torch.randn(200, d, generator=torch.Generator().manual_seed(2))
    ratio = (ReleasedLayerNorm(d)(x) / torch.nn.LayerNorm(d)(x)).median().item()
    print(
        f"d = {d}: the released norm is {ratio:.4f} times PyTorch's, sqrt((d - 1) / d) is {math.sqrt((d - 1) / d):.4f}"
    )

# %% [markdown]
# A fixed factor close to one: training can absorb it. But weights that were *trained* with one norm and *run* with the other are a slightly
# different model, layer after layer. Section 3.12 counts how many reports change.
#
# ## 3.5 A layer: norm, ask, add
#
# The first Transformer normalised after adding (*post-norm*). The released code normalises before (*pre-norm*), and once more at the very
# end:
#
# > $\mathbf x \leftarrow \mathbf x + \mathrm{Attention}(\mathrm{norm}(\mathbf x))$, &nbsp; then
# > $\mathbf x \leftarrow \mathbf x + \mathrm{FFN}(\mathrm{norm}(\mathbf x))$
#
# FFN, the *feed-forward* part, is two linear maps with a ReLU between them, applied to each position by itself.
#
# So $\mathbf x$ itself runs through the whole stack untouched, and every part only adds to it. Three lines are an encoder layer:

# %%
layer = EncoderLayer(d_model=128, d_ff=256, heads=4, dropout=0.1, norm="released").eval()  # eval: no dropout
x = torch.randn(2, 98, 128)  # (B, S, d)
y = layer.norms[0](x)  # (B, S, d)
after = x + layer.attention(y, layer.attention.project(y))  # (B, S, d)
after = after + layer.feed_forward(layer.norms[1](after))  # (B, S, d)
torch.testing.assert_close(after, layer(x, None), atol=1e-5, rtol=1e-4)

# %% [markdown]
# A decoder layer has one part more: after the words have asked each other, they ask the patches (*cross-attention*).
#
# ## 3.6 Where am I?
#
# Attention does not know order. Shuffle the patches, and the encoder gives the same answers, shuffled:

# %% tags=["nbval-check-output"]
generator = run.new_generator().eval()  # untrained
x, order = torch.randn(1, 98, generator.config.d_model, generator=draw), torch.randperm(98, generator=draw)
for label, add in (("without positions", torch.nn.Identity()), ("with positions", generator.patch_positions)):
    with torch.no_grad():
        straight, shuffled = generator.encoder(add(x)), generator.encoder(add(x[:, order]))  # (1, 98, d)
    same = torch.allclose(shuffled, straight[:, order], atol=1e-4)
    print(f"{label:<18} shuffled patches give", "the same answers, shuffled" if same else "other answers")

# %% [markdown]
# So every position gets a code of its own, added to its features: sines and cosines of slower and slower waves.
#
# > Vaswani et al. 2017, section 3.5 &nbsp; $PE_{(p,2i)} = \sin\!\big(p / 10000^{2i/d}\big), \quad PE_{(p,2i+1)} = \cos\!\big(p / 10000^{2i/d}\big)$

# %%
d, length = 128, 98
p = torch.arange(length)[:, None]  # (98, 1)
wave = 10_000 ** (torch.arange(0, d, 2) / d)  # (64,), from fast to slow
code = torch.zeros(length, d)
code[:, 0::2], code[:, 1::2] = torch.sin(p / wave), torch.cos(p / wave)
torch.testing.assert_close(code, SinusoidalPositions(d, dropout=0.0).code[:length], atol=1e-4, rtol=0)

# %% [markdown]
# *What to see. Left: fast waves at the top, hardly moving ones at the bottom. Right: a position is like its neighbours in the **sequence**.
# Patch 10 and patch 17 touch in the picture, one row apart, and the code does not say so; patches 48 and 49 lie in different views, and the
# code says they touch.*
#
# *The paper is silent · released: one code over all 98 positions, no mark of the view, no rows and columns · we do as released.*

# %%
figures.positions(code, marks=(10, 48, 80), name="03_positions")

# %% [markdown]
# ## 3.7 Not looking ahead
#
# All columns of section 3.2 are learnt at once, so the decoder must be kept from reading the answer: position $t$ may look at
# itself and at earlier positions, never at later ones, and never at padding. Position 0 is the exception: its id is 0 like the padding's, but it is the begin
# mark, and always on.
#
# **Exercise 3.3** (5 min). Write the mask. Every 0 but the one at position 0 counts as padding here, the final 0 too: nobody looks at it, not even itself. The
# rows of padding need no treatment.


# %% exercise="3.3" level="implement"
def causal_mask(tokens):
    """(B, L) ids -> (B, 1, L, L), True where position i (row) may look at position j (column)."""
    ### BEGIN SOLUTION
    visible = tokens > 0  # (B, L), a new tensor
    visible[:, 0] = True
    length = tokens.shape[1]
    before = torch.ones(length, length, dtype=torch.bool).tril()  # (L, L)
    return (visible[:, None, :] & before)[:, None]
    ### END SOLUTION


# %% exercise="3.3" points=5
checks.causal_mask(causal_mask)

# %% [markdown]
# *What to see: a triangle each. In the shorter report the columns of the padding are empty. The rows of the padding are not, but nobody
# asks for what they say: the loss leaves them out.*

# %%
short = vocabulary.encode("No pleural effusion.")
tokens = torch.zeros(2, len(ids), dtype=torch.long)  # (B, T)
tokens[0], tokens[1, : len(short)] = torch.tensor(ids), torch.tensor(short)
mask = library_mask(tokens[:, :-1])  # (B, 1, T - 1, T - 1)
words = [[name_of[i] for i in row] for row in tokens[:, :-1].tolist()]
figures.causal_masks(mask, words, name="03_causal_mask")

# %% [markdown]
# Now the whole of BASE, in six lines. In the paper's words (section 2.3) the encoder is $f_e$ and the decoder $f_d$; without memory they
# read the patches and words themselves instead of the memory's responses.

# %%
batches = run.batches("train")
batch = batches.collate(batches.indices[:16])
with torch.no_grad():
    x = generator.patch_embedding(patches_of(batch.inputs))  # (B, S, d): linear, ReLU, dropout
    z = generator.encoder(generator.patch_positions(x))  # (B, S, d): f_e
    said = batch.tokens[:, :-1]  # (B, L): all but the last
    y = generator.token_embedding(said) * math.sqrt(generator.config.d_model)  # (B, L, d)
    y = generator.decoder(generator.token_positions(y), z, causal_mask(said))  # (B, L, d): f_d
    logits = generator.logits(y)  # (B, L, V + 1)
    torch.testing.assert_close(logits, generator(batch).logits, atol=1e-5, rtol=1e-4)

# %% [markdown]
# Test the mask by what it promises: change word 6 of a report, and no answer before position 6 may move.

# %%
changed = replace(batch, tokens=batch.tokens.clone())
changed.tokens[:, 6] = changed.tokens[:, 6] % vocabulary.size + 1
with torch.no_grad():
    moved = (generator(changed).logits - logits).abs().amax(dim=(0, 2))  # (L,)
print("largest change of an answer, position 0 to 9:", " ".join(f"{m:.2f}" for m in moved[:10].tolist()))

# %% [markdown]
# ## 3.8 The loss
#
# > CMN Eq. 2 &nbsp; $\theta^* = \arg\max_\theta \sum_{t=1}^{T} \log p(y_t \mid y_1, \dots, y_{t-1}, \mathbf I; \theta)$
#
# Maximising that sum is minimising its negative. *The paper sums · the released code takes the mean over all words of the batch, the final
# 0 of each report included, the padding not · we do as released.* A mean over words, not over reports: a long report counts more than a
# short one. Its unit is the *nat*: minus the natural logarithm of a probability.
#
# **Exercise 3.4** (6 min). Write it. `mask` (B, T) is 1 from the begin mark to the final 0 (or to the last id, where a report was cut), and 0 behind.


# %% exercise="3.4" level="implement"
def report_loss(logits, tokens, mask):
    """(B, T - 1, V + 1), (B, T), (B, T) -> a tensor of shape (): nats a word."""
    ### BEGIN SOLUTION
    log_probs = logits.log_softmax(-1)  # (B, T - 1, V + 1)
    right = log_probs.gather(-1, tokens[:, 1:, None]).squeeze(-1)  # (B, T - 1), of the word that should come
    weight = mask[:, 1:]  # (B, T - 1)
    return -(right * weight).sum() / weight.sum()
    ### END SOLUTION


# %% exercise="3.4" points=6
checks.report_loss(report_loss)

# %% [markdown]
# The final 0 is the only thing that teaches a report to end. And not every report has one: a sequence holds at most 60 ids, and a longer
# report loses its end *and* its end mark (as released).

# %% tags=["nbval-check-output"]
for split in ("train", "val", "test"):
    reports = [dataset.tokens(i) for i in dataset.split_indices(split)]
    cut = sum(report[-1] != 0 for report in reports)
    print(f"{split}: {cut} of {len(reports)} reports ({cut / len(reports):.1%}) have no end mark")

# %% [markdown]
# ## 3.9 One step of training, by hand
#
# Answer, compare, go a small step downhill. The optimiser is the released one: Adam with amsgrad and a little weight decay.


# %%
def loss_now():
    generator.eval()  # without dropout, so that before and after can be compared
    with torch.no_grad():
        return library_loss(generator(batch).logits, batch.tokens, batch.mask).item()


torch.manual_seed(0)
optimizer, before = build_optimizer(generator, run.experiment.training), loss_now()
generator.train()  # dropout on
loss = library_loss(generator(batch).logits, batch.tokens, batch.mask)  # answer, compare
loss.backward()  # which way is uphill?
optimizer.step()  # a small step the other way
optimizer.zero_grad()

# %%
after = loss_now()
blind = math.log(vocabulary.size + 1)
say(
    f"Guessing blindly among {vocabulary.size + 1} words costs ln {vocabulary.size + 1} = **{blind:.2f}** nats a word.",
    f"The untrained model: **{before:.2f}**. After one step, on the same {len(batch.tokens)} reports: **{after:.2f}**.",
)

# %% [markdown]
# ## 3.10 What is in it
#
# Count the parameters of each part, from the model itself, at the published size.

# %%
published = ReportGenerator(TransformerConfig()).eval()


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


encoder, decoder = published.encoder.layers, published.decoder.layers
parts = {"patch embedding": count(published.patch_embedding), "word embedding": count(published.token_embedding)}
parts |= {
    "encoder: attention": count(*(layer.attention for layer in encoder)),
    "encoder: feed-forward": count(*(layer.feed_forward for layer in encoder)),
}
parts |= {
    "decoder: self-attention": count(*(layer.self_attention for layer in decoder)),
    "decoder: cross-attention": count(*(layer.cross_attention for layer in decoder)),
    "decoder: feed-forward": count(*(layer.feed_forward for layer in decoder)),
}
parts["next-word logits"] = count(published.logits)
parts["all norms"] = count(*(m for m in published.modules() if isinstance(m, ReleasedLayerNorm)))

# %% tags=["nbval-check-output"]
for part, number in parts.items():
    print(f"{part:<26}{number:>12,}")
assert sum(parts.values()) == count(published), "a part was forgotten"
extractor_size = count(VisualExtractor("resnet101", weights=None))
print(f"{'BASE':<26}{count(published):>12,}\n{'ResNet-101 before it':<26}{extractor_size:>12,}")

# %% [markdown]
# *What to see: attention holds most of it. The word embedding and the logits are small because the vocabulary is. The patch embedding, one
# matrix, is as large as the four matrices of one attention layer, because it brings 2,048 numbers to 512. The extractor is printed above and
# left out below: the bars would be too short to read.*

# %%
figures.parameter_bars(parts, name="03_parameters")

# %% [markdown]
# *The paper gives three layers, eight heads and 512 dimensions, and is silent about the width of the feed-forward · released: 512 too, a
# quarter of the customary 2,048 · we do as released; the `ci` and `laptop` profiles scale all of it down.*
#
# ## 3.11 Training BASE
#
# The library's loop does section 3.9 for every batch of every epoch, writes the validation reports greedily after each epoch, scores them,
# and keeps the best epoch. It returns at once when this run has been trained before. *What to see: left, whether the loss on validation studies still falls
# with that on training studies. Right, that BLEU-4 and finding-F1 need not rise together.*

# %%
result = run.train()
figures.training_curves(result.history)

# %%
first, last, best = result.history[0], result.history[-1], result.history[result.best_epoch]
chosen_by = " + ".join(run.experiment.training.monitor)
say(
    f"*What to see:* the validation loss (left) goes from **{first['validation_loss']:.2f}** after the first epoch",
    f"to **{last['validation_loss']:.2f}** after the last of {len(result.history)}.",
    f"Epoch {best['epoch'] + 1} was kept, for its {chosen_by} on the *validation* studies. There it wrote",
    f"**{best['distinct']:.0f}** distinct reports for {len(dataset.split_indices('val'))} studies. Keep that number in mind.",
)

# %% [markdown]
# ## 3.12 Greedy search
#
# The trained model answers one question only: which word next? Greedy search takes the likeliest word, feeds it back, and stops at 0.
#
# A generator has two doors for that. `start(patches, max_length=…)` encodes the patches once and gives a *state*. `step(last, state)` takes
# the last word, a tensor of ids (`dtype=torch.long`) of shape (1, 1), and gives logits (1, 1, V + 1) for the next one and a state. It uses up the state that
# it was given: go on with the one it returns. The first *last word* is the begin mark.
#
# **Exercise 3.5** (8 min). Write greedy search for one study. The answer is the list of words' ids, without the end mark.


# %% exercise="3.5" level="implement"
def greedy_search(generator, patches, max_length=60):
    """(1, S, d_vf) -> list of ids, at most `max_length`."""
    ### BEGIN SOLUTION
    state = generator.start(patches, max_length=max_length)
    last, words = torch.zeros(1, 1, dtype=torch.long), []
    while len(words) < max_length:
        logits, state = generator.step(last, state)  # (1, 1, V + 1)
        last = logits.argmax(dim=-1)  # (1, 1)
        if last.item() == 0:
            break
        words.append(last.item())
    return words
    ### END SOLUTION


# %% exercise="3.5" points=8
checks.greedy_search(greedy_search)

# %% [markdown]
# On studies of the validation split, yours and the library's say the same, word for word:

# %%
generator = run.generator()  # the best epoch, in evaluation mode
validation = run.batches("val")
some = validation.collate(validation.indices[:64])
found = generate(generator, some.inputs, config=DecodingConfig(beam_size=1)).tokens.tolist()
for i in range(8):
    ours = greedy_search(generator, some.inputs[i : i + 1])
    assert ours == [word for word in found[i] if word], f"study {some.ids[i]}: hand and library differ"
print("8 studies: equal")

# %% [markdown]
# Now the question that section 3.4 left open: the same trained weights, with PyTorch's layer norm in place of the released one.

# %%
other = ReportGenerator(replace(generator.config, norm="torch"), extractor=generator.extractor).eval()
other.load_state_dict(generator.state_dict())
swapped = generate(other, some.inputs, config=DecodingConfig(beam_size=1)).tokens.tolist()
different = sum(a != b for a, b in zip(found, swapped, strict=True))
say(f"With the other norm, **{different} of {len(found)}** greedy reports change, although not one weight did.")

# %% [markdown]
# ## 3.13 Beam search
#
# Greedy search cannot take a word back. Beam search keeps the $B$ likeliest beginnings instead of one. Here is a language of four words,
# with probabilities that we made up:

# %%
WORDS = ["(0)", "heart", "lungs", "normal", "clear"]
TREE = {
    (): {1: 0.55, 2: 0.45},
    (1,): {3: 0.5, 4: 0.3, 0: 0.2},
    (2,): {4: 0.9, 0: 0.1},
    (1, 3): {0: 1.0},
    (1, 4): {0: 1.0},
    (2, 4): {0: 1.0},
}

# %% [markdown]
# And beam search, written to be read. `next_log_probs(words)` gives the log-probability of each next word; `live` holds beginnings with
# their sums.


# %%
def slow_beam(next_log_probs, beam_size, max_length):
    """The best report and its log-probability. Asks for the whole beginning every time."""
    live, finished = [((), 0.0)], []
    for t in range(1, max_length + 1):
        candidates = [
            ((*words, i), total + log_p) for words, total in live for i, log_p in enumerate(next_log_probs(words))
        ]
        best = sorted(candidates, key=lambda candidate: -candidate[1])[:beam_size]
        finished += [(words, total) for words, total in best if words[-1] == 0 or t == max_length]
        live = [(words, total) for words, total in best if words[-1] != 0]
    return max(finished, key=lambda report: report[1])


# %% tags=["nbval-check-output"]
def of_the_tree(words):
    return [math.log(TREE[words][i]) if i in TREE[words] else -math.inf for i in range(len(WORDS))]


paths = {}
for label, size in (("greedy (beam 1)", 1), ("beam 2", 2)):
    report, total = slow_beam(of_the_tree, size, max_length=3)
    paths[label] = report
    print(f"{label:<16} {' '.join(WORDS[i] for i in report):<20} probability {math.exp(total):.3f}")

# %% [markdown]
# *What to see: the likeliest first word leads greedy search (orange, dashed) into a part of the tree where nothing is very likely. With two
# beginnings alive, the better report (blue) is found. The grey numbers are whole reports' probabilities.*

# %%
figures.search_tree(TREE, WORDS, paths=paths, name="03_beam_tree")

# %% [markdown]
# The same function on the trained model. It encodes the patches and reads the whole beginning again for each of its candidates, which is
# slow, and says exactly what the library says.
#
# *Released: always 60 rounds, no early stop, keys and values never kept · ours: kept, and stopped when no live beginning can still win. The
# reports are the same.*

# %%
max_length = vocabulary.protocol.max_length


def of_study(i):
    @torch.no_grad()
    def next_log_probs(words):
        tokens = torch.tensor([[0, *words, 0]])  # (1, T); teacher forcing drops the last
        logits = generator(Batch(some.inputs[i : i + 1], tokens, torch.ones_like(tokens))).logits  # (1, T - 1, V + 1)
        return logits[0, -1].log_softmax(-1).tolist()

    return next_log_probs


library = generate(generator, some.inputs[:2], config=DecodingConfig(beam_size=3, max_length=max_length))
for i in range(2):
    report, total = slow_beam(of_study(i), 3, max_length)
    assert list(report) == library.tokens[i, : len(report)].tolist() and abs(total - library.scores[i].item()) < 1e-3
print("2 studies, beam 3: equal")

# %% [markdown]
# Every further word multiplies the probability by something below one. So beam search by plain sums prefers short reports. One cure is to
# divide the sum by a **length penalty**:
#
# > Wu et al. 2016, section 7 &nbsp; $s(\mathbf Y) = \dfrac{\log p(\mathbf Y \mid \mathbf I)}{lp(\mathbf Y)}$, &nbsp;
# > $lp(\mathbf Y) = \left(\dfrac{5 + |\mathbf Y|}{6}\right)^{\alpha}$
#
# **Exercise 3.6** (4 min). Write it. The length counts everything that was predicted, the final 0 included.


# %% exercise="3.6" level="compute"
def wu_score(words, total, alpha):
    """`words` are the ids said, the final 0 among them; `total` is the sum of their log-probabilities."""
    ### BEGIN SOLUTION
    return total / ((5 + len(words)) / 6) ** alpha
    ### END SOLUTION


# %% exercise="3.6" points=4
checks.wu_score(wu_score)

# %% [markdown]
# What the search makes of the same trained model, on 64 validation studies. (The published scores are by plain sums: the released default
# has no penalty.)

# %%
settings = {
    "greedy": DecodingConfig(beam_size=1),
    "beam 3, plain sums": DecodingConfig(),
    "beam 3, Wu's penalty, alpha 1": DecodingConfig(length_penalty="wu", alpha=1.0),
    "beam 3, mean a word": DecodingConfig(length_penalty="average"),
}
rows, log_probs, searched = {}, {}, {}
for label, config in settings.items():
    search = generate(generator, some.inputs, config=config)
    texts = [vocabulary.decode([0, *row]) for row in search.tokens.tolist()]
    rows[label] = {
        "distinct reports": len(set(texts)),
        "mean words": sum(len(text.split()) for text in texts) / len(texts),
    }
    log_probs[label] = search.scores
    n = ((search.tokens > 0).sum(1) + 1).clamp(max=max_length)  # (64,), the final 0 counted, unless the report was cut
    searched[label] = (
        search.scores * torch.tensor([config.penalty(length) for length in n.tolist()]),
        n,
    )  # plain sums, lengths
pd.DataFrame.from_dict(rows, orient="index").round(1)

# %%
gain = log_probs["beam 3, plain sums"] - log_probs["greedy"]  # (64,)
likelier, alike = int((gain > 1e-4).sum()), int((gain.abs() <= 1e-4).sum())
say(
    f"Beam 3 found a likelier report than greedy search for **{likelier}** of {len(gain)} studies, one as likely for **{alike}**,",
    f"a less likely one for **{len(gain) - likelier - alike}** (that can happen: better beginnings crowd out the greedy path).",
    "Likelier is what it searches for. Whether likelier is *better* is another question, and section 3.16 asks it.",
)

# %% [markdown]
# Look at *mean words* once more. Plain sums were said to prefer short reports. But beam search also looks at more beginnings, and may find likelier
# *words*. Which of the two made its reports likelier? A report of $n$ words (the final 0 counted), each of mean log-probability $m$, has the
# log-probability $nm$. From report A to report B of the same study it changes by two parts, which add up exactly:
#
# > $n_Bm_B - n_Am_A = \underbrace{(m_B - m_A)\,\dfrac{n_A + n_B}{2}}_{\text{by words}} + \underbrace{(n_B - n_A)\,\dfrac{m_A + m_B}{2}}_{\text{by length}}$
#
# **Exercise 3.7** (8 min). Measure both for every study and return their means over the studies, and what explains the gain of B over A: `"words"` or
# `"length"`, whichever part is larger; `"none"` if B is not likelier on average.


# %% exercise="3.7" level="explain"
def why_likelier(totals_a, lengths_a, totals_b, lengths_b):
    """Summed log-probabilities and lengths of reports A, then of B, (n,) each -> ((mean gain by words, by length), "words" or "length" or "none")."""
    ### BEGIN SOLUTION
    mean_a, mean_b = totals_a / lengths_a, totals_b / lengths_b  # (n,) of a word
    by_words = ((mean_b - mean_a) * (lengths_a + lengths_b) / 2).mean().item()
    by_length = ((lengths_b - lengths_a) * (mean_a + mean_b) / 2).mean().item()
    larger = "words" if by_words > by_length else "length"
    return (by_words, by_length), larger if by_words + by_length > 0 else "none"
    ### END SOLUTION


# %% exercise="3.7" points=8
checks.why_likelier(why_likelier)

# %% [markdown]
# Each search against greedy search, in nats a report. *What to see: the first two columns. A part below 0 is what the other part had to pay for.*

# %%
explained = {
    label: why_likelier(*searched["greedy"], *found_by) for label, found_by in searched.items() if label != "greedy"
}
gains = {
    label: {"by words": w, "by length": l, "gain": w + l, "explained by": reason}
    for label, ((w, l), reason) in explained.items()
}
pd.DataFrame.from_dict(gains, orient="index").round(2)

# %%
(by_words, by_length), reason = explained["beam 3, plain sums"]
cured = [label for label, (_, other_reason) in explained.items() if reason == "length" and other_reason == "words"]
say(
    f"With plain sums, {by_length:+.2f} of the {by_words + by_length:+.2f} nats come by length: **{reason}** explains most of it."
    if reason != "none"
    else "With plain sums there was no gain on average: nothing to explain.",
    f"With {' and '.join(cured)} it is the words." if cured else "",
    "A higher log-probability alone does not tell you which: it pays for what is left out as it pays for what is said better.",
)

# %% [markdown]
# ## 3.14 What the cache saves
#
# `slow_beam` reads the whole beginning for every new word: 1 + 2 + … + T positions. But keys and values of the words before do not change,
# because they may not look ahead. `step` keeps them and computes one position a word. Here is greedy search without the cache, the patches
# encoded once in both:


# %%
@torch.no_grad()
def without_cache(generator, patches, steps):
    z, _ = generator.encode(patches)  # (B, S, d), once
    tokens = torch.zeros(len(patches), 1, dtype=torch.long)
    for _ in range(steps):
        y = generator.token_embedding(tokens) * math.sqrt(generator.config.d_model)  # (B, t, d): all words again
        y = generator.decoder(generator.token_positions(y), z, library_mask(tokens))
        tokens = torch.cat([tokens, generator.logits(y[:, -1:]).argmax(-1)], dim=1)  # (B, t + 1): only the last is new
    return tokens


def with_cache(generator, patches, steps):
    state, tokens = generator.start(patches, max_length=steps), torch.zeros(len(patches), 1, dtype=torch.long)
    for _ in range(steps):
        logits, state = generator.step(tokens[:, -1:], state)  # (B, 1, V + 1)
        tokens = torch.cat([tokens, logits.argmax(-1)], dim=1)
    return tokens


# %%
with_it, without_it = (
    search(generator, some.inputs[:16], max_length).tolist() for search in (with_cache, without_cache)
)
assert [vocabulary.decode(row) for row in with_it] == [
    vocabulary.decode(row) for row in without_it
]  # up to the first 0
print("16 studies: the same words")

# %% [markdown]
# Same words, other cost. We measure both in one run, on the trained model and on an untrained one of the published size.


# %%
def seconds(search, *inputs):
    start = time.perf_counter()
    search(*inputs)
    return time.perf_counter() - start


lines = []
wide = torch.rand(8, 98, published.config.d_vf, generator=draw)
for label, model, inputs in (
    ("this profile's size", generator, some.inputs[:16]),
    ("the published size", published, wide),
):
    seconds(with_cache, model, inputs, 2)  # the first call is slower than the rest: not counted
    ratio = seconds(without_cache, model, inputs, max_length) / seconds(with_cache, model, inputs, max_length)
    lines.append(
        f"- {label} (d = {model.config.d_model}, {len(inputs)} studies): **{ratio:.1f} times** as long without the cache"
    )
say(
    *lines,
    f"\nMeasured on this machine, in this run. Counted in word positions the factor would be {(max_length + 1) / 2:.1f}.",
    "Many positions at once cost less than as many one by one, so the clock shows less.",
)

# %% [markdown]
# ## 3.15 What it writes
#
# Three studies of the test split, chosen by rule and not by eye: the first without a drawn finding, the first with an enlarged heart, the first with an
# effusion that is not shown yet. *What to see: orange boxes mark where the findings were drawn. The model does not see the boxes.* **The images are drawn
# by the library** from the studies' expert codes; the references are the real reports, as written.

# %%
test = dataset.split_indices("test")
labels = {i: [name for name, on in zip(DRAWN_FINDINGS, dataset.drawn_findings[i], strict=True) if on] for i in test}
shown = [next(i for i in test if not labels[i])]
for finding in ("Cardiomegaly", "Effusion"):
    shown.append(next(i for i in test if finding in labels[i] and i not in shown))
labels = [", ".join(labels[i]) or "no drawn finding" for i in shown]
figures.studies(
    [dataset.views(i) for i in shown], labels, [dataset.boxes(i) for i in shown], drawn=drawn, name="03_studies"
)

# %%
inputs = validation.collate(shown).inputs
ways = {"Greedy": DecodingConfig(beam_size=1), "Beam 3": DecodingConfig(beam_size=3)}
ids_by = {way: generate(generator, inputs, config=config).tokens.tolist() for way, config in ways.items()}
for row, (i, label) in enumerate(zip(shown, labels, strict=True)):
    say(f"**Study {dataset.ids[i]}** ({label}). Reference, as written:", f"\n> {dataset.reports[i]}")
    say(*(f"- {way}: {vocabulary.decode([0, *found[row]])}" for way, found in ids_by.items()))
say(f"*References: {dataset.study(shown[0]).source}.*")

# %% [markdown]
# Read them side by side. Are the findings in the label named? Is anything named that is not there?
#
# ## 3.16 What it is worth
#
# All test studies, by greedy search and by beam 3. First, how much of it is different from study to study. *Most frequent* counts how often
# the commonest report is said.

# %%
written = {
    "greedy": write_reports(generator, run.batches("test"), vocabulary, DecodingConfig(beam_size=1)),
    "beam 3": write_reports(generator, run.batches("test"), vocabulary, DecodingConfig()),
}
references = {dataset.ids[i]: dataset.reference(i) for i in test}
known = {dataset.reference(i) for i in dataset.split_indices("train")}
rows = {}
for label, reports in {"references": references, **written}.items():
    texts = list(reports.values())
    sentences = [text.split(" . ") for text in (text.removesuffix(" .") for text in texts)]
    rows[label] = {
        "distinct": len(set(texts)),
        "most frequent": max(map(texts.count, set(texts))),
        "word for word in training": sum(text in known for text in texts),
        "say a sentence twice": sum(len(set(s)) < len(s) for s in sentences),
        "mean words": sum(len(text.split()) for text in texts) / len(texts),
    }
pd.DataFrame.from_dict(rows, orient="index").round(1)

# %% [markdown]
# *What to see: a high step in a curve is one length, and mostly one report, again and again. The references (grey) rise in small steps, but for the last:
# reports that were cut.*

# %%
lengths = {
    label: [len(text.split()) for text in reports.values()]
    for label, reports in {"references": references, **written}.items()
}
figures.report_lengths(lengths, name="03_report_lengths")

# %% [markdown]
# Then scores, beside reports that never looked at an image: **a1** one real training report for everybody, chosen on validation; **b** the
# most frequent training report; **c** a random one for each study. (METEOR is left out here: it needs Java and a while. Chapter 09 has it.)

# %%
evaluation = run.evaluate("test", metrics=WITHOUT_JAVA, reports=written["beam 3"])
greedy = run.evaluate("test", metrics=WITHOUT_JAVA, reports=written["greedy"], baselines=False)
columns = ["BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr", "finding-F1", "distinct", "length"]
rename = {evaluation.rows[0].name: "BASE, beam 3"}
scores = pd.concat(
    [
        evaluation.table()[columns].rename(index=rename),
        greedy.table()[columns].rename(index={greedy.rows[0].name: "BASE, greedy"}),
    ]
)
scores.round(3)

# %% [markdown]
# Normal and abnormal studies apart (abnormal: at least one of the 13 drawn findings). On normal studies finding-F1 tells nothing: nobody
# can be right there, so it would be 0 for who names a finding and is not defined for who names none. It is left out; *findings said* then counts the false
# ones.

# %%
apart = {
    part: evaluation.table(part)[["BLEU-4", "finding-F1", "findings said"]].rename(index=rename)
    for part in ("normal", "abnormal")
}
pd.concat(apart, axis=1).round(3)

# %%
base, constant = evaluation.rows[0], next(row for row in evaluation.rows if row.name == "a1")
b, c, f = base.parts["all"].scores, constant.parts["all"].scores, greedy.scores
low, high = base.intervals["BLEU-4"]
verdict = "above" if low > c["BLEU-4"] else "below" if high < c["BLEU-4"] else "not to be told from"
difference = b["finding-F1"] - f["finding-F1"]
better = "neither search" if abs(difference) < 5e-4 else "beam 3" if difference > 0 else "greedy search"
asserted = base.parts["all"].findings_said
paper = {(row["paper"][:7], row["dataset"], row["system"], row["metric"]): row["value"] for row in table("published")}
say(
    f"- By BLEU-4, BASE with beam 3 ({b['BLEU-4']:.3f}; 95 % interval {low:.3f} to {high:.3f}) is **{verdict}** one constant",
    f"  report ({c['BLEU-4']:.3f}), which has seen no image at all.",
    f"- Findings (micro-F1 over 13): {b['finding-F1']:.3f} with beam 3, {f['finding-F1']:.3f} with greedy search, {c['finding-F1']:.3f} for the",
    f"  constant, {evaluation.references_finding_f1:.3f} for the references themselves. On this count **{better}** is ahead. A beam-3 report",
    f"  asserts {asserted:.2f} findings on average.",
    f"- Distinct reports for {base.parts['all'].n} studies: {base.parts['all'].distinct:.0f} by beam 3,",
    f"  {greedy.rows[0].parts['all'].distinct:.0f} by greedy search.",
    f"- This is the `{PROFILE}` profile: {len(result.history)} epochs, d = {generator.config.d_model}, one seed. The paper prints",
    f"  {paper['R2GenCM', 'iu_xray', 'BASE', 'BLEU-4']} for BASE on real radiographs: other images, another size, another schedule; not comparable.",
    "  A longer training, `make book PROFILE=laptop`, fills this page with other numbers.",
)

# %% [markdown]
# ## 3.17 The search is part of the result
#
# Two searches, one set of weights, and other scores. How far can a search alone carry them? One more knob is needed. Short reports are what these models
# like, so let us make ending dearer: a number $b$ added to the end mark's logit, before the softmax, at every step.
#
# > $\tilde z_{0} = z_{0} + b, \qquad p(w \mid \dots) = \mathrm{softmax}(\tilde{\mathbf z})_w$ &nbsp; with $b = 0$ as published; $b < 0$: longer reports

# %%
biased = DecodingConfig(beam_size=1, end_bias=-4.0)
logits = torch.tensor([[2.0, 1.0, 0.0]])  # of the end mark and two words
moved = torch.cat([logits[:, :1] + biased.end_bias, logits[:, 1:]], dim=-1)
print(
    "probabilities of (0) and two words:",
    logits.softmax(-1).numpy().round(3)[0],
    "with the bias:",
    moved.softmax(-1).numpy().round(3)[0],
)

# %% [markdown]
# Which $b$? Which beam? That is a choice, and choices are made on the **validation** studies. `tune` (on the command line `rrg tune`) writes their reports
# in the ways of a declared grid: beam 1 and 3, up to eight biases, for beam 3 Wu's penalty or none, repeated trigrams allowed or not. The bias is lowered no
# further once the reports are longer than the band below. `tune` keeps the way with the highest
# BLEU-4 + finding-F1 among those whose reports are about as long as the references. *What to see: each dot is one way of searching; the weights are always
# the same. The grey band holds the lengths that may be chosen.*

# %%
tried = tune(run, progress=False)
figures.ways_to_search(tried.trials, BAND, tried.chosen, name="03_ways_to_search")

# %%
chosen = tried.chosen
f1s, lengths_tried = [one.scores["finding-F1"] for one in tried.trials], [one.length_ratio for one in tried.trials]
say(
    f"*What to see:* over {len(tried.trials)} ways of searching, finding-F1 goes from **{min(f1s):.3f}** to **{max(f1s):.3f}**, and the reports have from",
    f"{min(lengths_tried):.2f} to {max(lengths_tried):.2f} times the words of the references. Chosen: beam {chosen.decoding.beam_size}, end mark",
    f"{chosen.decoding.end_bias:+g}, {'no trigram twice' if chosen.decoding.block_ngrams else 'nothing blocked'}, in {tried.seconds:.0f} seconds.",
)

# %% [markdown]
# Now the test studies, once. Only the last row was chosen, and not on them; the others are there to see what a search does. *Length ratio* is words of the
# reports over words of the references.

# %%
searches = {
    "greedy": written["greedy"],
    "beam 3, plain: as published": written["beam 3"],
    "beam 3, Wu's penalty, alpha 1": DecodingConfig(length_penalty="wu", alpha=1.0),
    "greedy, end mark -4": DecodingConfig(beam_size=1, end_bias=-4.0),
    "greedy, end mark -4, no trigram twice": DecodingConfig(beam_size=1, end_bias=-4.0, block_ngrams=3),
    "tuned: chosen on validation": run.decoding("tuned"),
}
rows, words = {}, evaluation.provenance["references"]["words"]
for label, how in searches.items():
    reports = write_reports(generator, run.batches("test"), vocabulary, how) if isinstance(how, DecodingConfig) else how
    found = run.evaluate("test", metrics=WITHOUT_JAVA, reports=reports, baselines=False).rows[0].parts["all"]
    scores_of = {name: found.scores[name] for name in ("BLEU-4", "CIDEr", "finding-F1", "finding-F1 keywords-0")}
    rows[label] = {
        **scores_of,
        "distinct": found.distinct,
        "length": found.length,
        "length ratio": found.length / words,
    }
by_search = pd.DataFrame.from_dict(rows, orient="index")
by_search.round({"distinct": 0, "length": 1, "length ratio": 2}).round(3)

# %% [markdown]
# The same question to the longer training (`laptop` profile, stored in `data/results`, mean over its seeds; brackets hold the 95 % interval of that mean over
# studies):

# %%
stored_ways = {how: results.summary(["base"], protocol=how) for how in PROTOCOLS}
shown_scores = ["BLEU-4", "CIDEr", "finding-F1", "distinct", "length ratio", "seeds"]
pd.concat(
    [frame.assign(protocol=how).set_index("protocol")[shown_scores] for how, frame in stored_ways.items() if len(frame)]
)

# %%
moved_f1, moved_bleu = (by_search[score].max() - by_search[score].min() for score in ("finding-F1", "BLEU-4"))
longer = {how: frame["finding-F1"].iloc[0].split()[0] for how, frame in stored_ways.items() if len(frame)}
say(
    f"With one set of weights the rows above differ by **{moved_f1:.3f}** in finding-F1 and **{moved_bleu:.3f}** in BLEU-4. In the longer training",
    f"finding-F1 is {', '.join(f'{value} ({how})' for how, value in longer.items())}.",
    "So **how a report was searched is part of a result**: from here on every row of this book names its *protocol*,",
    "`published`, `greedy` or `tuned`, and compares rows of one protocol alone.",
)

# %% [markdown]
# Three things to take along. **A BLEU score says little without the constant report beside it.** **A search is part of the result.** And **a likelier
# report is not a better one**: the likeliest thing to say about a chest, before looking, is that it is normal. A model that has learnt little, searched
# well, tends to say that to everybody. Whether a memory helps is the question of the next chapter, and it is asked with the same tables.
#
# ## What you can now do
#
# - Follow a study from two views through 98 patches to words, and name the shape at every step.
# - Write attention, the released norm, the causal mask and the loss, and find the usual mistakes in each.
# - Explain why training sees all words at once and writing does not, and why a cache changes the cost and nothing else.
# - Say how a report was searched, who chose that and on which studies, and what it does to the scores.
# - Read a table of scores with its trivial baselines first.
#
# ## Sources
#
# - Z. Chen, Y. Shen, Y. Song, X. Wan: *Cross-modal Memory Networks for Radiology Report Generation*, ACL-IJCNLP 2021 (CMN; Eq. 1–3, section
#   2.3), and its released code R2GenCMN.
# - A. Vaswani et al.: *Attention Is All You Need*, NeurIPS 2017.
# - Y. Wu et al.: *Google's Neural Machine Translation System*, 2016 (the length penalty).
# - D. Demner-Fushman et al.: *Preparing a collection of radiology examinations for distribution and retrieval*, JAMIA 2016: the Indiana
#   University Chest X-ray Collection, CC BY-NC-ND 4.0. The three references above are quoted unmodified.
