# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 2, peak_gib: 2}
# ---

# %% [markdown]
# # 9 · Evaluation that can't be fooled
#
# A score is an answer. This chapter asks what the question was. We build BLEU from nothing, find out what it pays for, put reports beside the
# trained ones that never looked at an image, and learn to say how sure a difference is. At the end we read the errors ourselves.
#
# **Goals.** You can
# - compute BLEU with pencil and paper, and say why a corpus score is no mean,
# - name the yardsticks that belong beside every score, and make them,
# - give a score an interval, and a difference of two systems a better one,
# - measure whether the findings are right, and say how far that measure can be trusted,
# - read a clinical F1 with its label set, its *perhaps* and its truth,
# - test whether two systems differ, and tell studies from seeds,
# - say what part of a score is the way of searching, and what part of a lead is length,
# - ask whether a system looks where the finding is,
# - say who chose what on which split, and what that is worth.
#
# **Before this:** chapter 01 (the reports and their habits). Chapters 03 and 04 make the systems that are judged here; you can read this one
# without them.
#
# **Minutes.** Reading 75, exercises 74. Running takes two minutes or so on two CPU cores once the systems are trained; METEOR takes a good part.
#
# **The images are drawn**, by the library, from the expert codes of real reports. Scores of systems that look at drawn images are not
# comparable with published scores. Section 9.16 says which numbers of this page are.

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
from collections import Counter

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from rrg_lib.book.checks import evaluation as checks
from rrg_lib.book.figures import evaluation as figures
from rrg_lib.data.study import DRAWN_FINDINGS, SPLITS
from rrg_lib.data.text.keyword_labeler import KeywordLabeler
from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.evaluation.attention import SHARED_SLOTS, box_summary, box_table
from rrg_lib.evaluation.baselines import Task, baseline_hypotheses, constant_bleu
from rrg_lib.evaluation.clinical import LABEL_SETS, UNCERTAIN, finding_f1
from rrg_lib.evaluation.conventions import CHOICES, convention_table
from rrg_lib.evaluation.efficacy import AGAINST, ATTRIBUTES, efficacy_key
from rrg_lib.evaluation.labeler_audit import audit_labeler, explained
from rrg_lib.evaluation.nlg import METRICS, nlg_scores
from rrg_lib.evaluation.resampling import bootstrap_weights, interval, over_seeds, paired_randomisation
from rrg_lib.evaluation.score_table import Evaluation
from rrg_lib.experiments import attention_results
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.results import stored_results
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.tuned_decoding import BAND, TARGET
from rrg_lib.experiments.tuning import GRID
from rrg_lib.models.decoding import PROTOCOLS
from rrg_lib.replication.seed_scores import effective
from rrg_lib.runtime import package_data


def say(*lines):
    """Prose with numbers in it that were computed."""
    display(Markdown("\n".join(lines)))


# %% [markdown]
# ## 9.1 What is compared with what
#
# Every study of the test split has **one** report, by one radiologist. That is all a generated report is compared with. A second radiologist would
# have said the same chest in other words; what two of them score against each other can't be measured here, so nobody knows what a perfect score is.
#
# Nor is the reference the report as written. It is cleaned, put into the words of the vocabulary, and cut.
#
# *The papers say nothing of it · the released code encodes the reference and decodes it again: cut at 60 ids, rare words as `<unk>`; it ships a
# tokenizer for scoring and never calls it, so words are what stands between blanks, and a full stop is a word · we do as released.*

# %%
runs = {
    name: Run.of(experiment(f"{DATASET}/{preset}", PROFILE, seed=SEED), data_root=DATA_ROOT)
    for name, preset in (("CMN", "cmn"), ("BASE", "base"))
}
trained = {name: run.train() for name, run in runs.items()}  # trained already: returns at once
written = {name: run.write("test") for name, run in runs.items()}  # {study id: report}
dataset, vocabulary = runs["CMN"].dataset, runs["CMN"].dataset.vocabulary
protocol, drawn = vocabulary.protocol, DATASET != "iu_xray"  # are the images drawn?
studies = {split: tuple(dataset.study(i) for i in dataset.split_indices(split)) for split in SPLITS}
references = {study.id: protocol.reference(study.report, vocabulary) for study in studies["test"]}

# %% tags=["nbval-check-output"]
whole = {study.id: protocol.clean(study.report) for study in studies["test"]}  # cleaned, not cut, with its rare words
changed = sum(whole[i] != references[i] for i in references)
print(
    f"{len(references)} references, {np.mean([len(r.split()) for r in references.values()]):.1f} words on average, full stops included"
)
print(f"{changed} of them are not the whole report: cut, or with <unk> in them")
print(
    f"the whole reports score BLEU-4 {nlg_scores(references, whole, metrics=['BLEU-4']).corpus['BLEU-4']:.3f} against them, not 1"
)

# %%
search = runs["CMN"].experiment.decoding
say(
    "One thing more belongs to every score: how the report was searched. The systems of this page wrote",
    "**greedily**, the likeliest word at each step"
    if search.beam_size == 1
    else f"by **beam search**, {search.beam_size} wide",
    f"(profile `{PROFILE}`; nothing was chosen for them). Section 9.13 shows how much hangs on that.",
)

# %% [markdown]
# ## 9.2 BLEU, by hand
#
# BLEU asks: how much of what was *said* is also in the reference? It counts runs of 1, 2, 3 and 4 words, called n-grams.


# %% tags=["nbval-check-output"]
def ngrams(text, n):
    """Every run of n words, with the number of times it is said."""
    words = text.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


for gram, count in ngrams("no effusion . no effusion .", 2).items():
    print(count, gram)

# %% [markdown]
# A program that says *no no no no* would find each of its words in most references. So a run counts at most as often as the reference says it: it is
# **clipped**. With $c_{\text{hyp}}(g)$ and $c_{\text{ref}}(g)$, how often the two say $g$:
#
# > Papineni et al. 2002, section 2.1 &nbsp;
# > $p_n=\dfrac{\sum_{\text{studies}}\sum_{g}\min\big(c_{\text{hyp}}(g),\,c_{\text{ref}}(g)\big)}{\sum_{\text{studies}}\sum_{g}c_{\text{hyp}}(g)}$
# > &nbsp; over all n-grams $g$ of the hypothesis
#
# **Exercise 9.1** (6 min). Write the two inner sums for one study. (Two `Counter`s can be intersected with `&`.)


# %% exercise="9.1" level="implement"
def clipped_matches(hypothesis, reference, n):
    """Two texts -> (clipped matches, n-grams of the hypothesis), both counts."""
    ### BEGIN SOLUTION
    said, wanted = ngrams(hypothesis, n), ngrams(reference, n)
    return (said & wanted).total(), said.total()  # & keeps the smaller count
    ### END SOLUTION


# %% exercise="9.1" points=6
checks.clipped_matches(clipped_matches)  # silent if right

# %% tags=["nbval-check-output"]
wanted = "the heart is normal in size . no pleural effusion ."  # both texts are ours
said = "the heart is large . the heart is large . no effusion ."
for n in range(1, 5):
    matches, total = clipped_matches(said, wanted, n)
    print(f"n = {n}: {matches:2d} of {total:2d}, p = {matches / total:.3f}")

# %% [markdown]
# Short runs match easily: full stops and *the* are everywhere. Long runs ask for whole phrases.
#
# Precision alone has a loophole. Say only what you are sure of, *the lungs are clear .*, and nearly all of it matches. So a text that is too short
# pays. With $c$ words said and $r$ words in the references:
#
# > Papineni et al. 2002, section 2.3 &nbsp; $\mathrm{BP}=\min\!\big(1,\;e^{\,1-r/c}\big)$
#
# **Exercise 9.2** (4 min). Write the brevity penalty.


# %% exercise="9.2" level="compute"
def brevity_penalty(c, r):
    """Words of the hypotheses, words of the references -> factor, at most 1."""
    ### BEGIN SOLUTION
    return min(1.0, math.exp(1 - r / c))
    ### END SOLUTION


# %% exercise="9.2" points=4
checks.brevity_penalty(brevity_penalty)


# %%
def words(texts):
    return sum(len(text.split()) for text in texts)


lengths = {name: words(reports.values()) / words(references.values()) for name, reports in written.items()}
figures.brevity(lengths, name="09_brevity")

# %% [markdown]
# *What to see: the factor falls steeply below length 1 and never rises above it. The marks are the systems of this page. Nobody is paid for talking
# more, but talking less than the reference costs much, whether it was right or not.*
#
# BLEU-n is the geometric mean of $p_1,\dots,p_n$, times the penalty:
#
# > Papineni et al. 2002, section 2.3 &nbsp; $\text{BLEU-}n=\mathrm{BP}\cdot\Big(\prod_{k=1}^{n}p_k\Big)^{1/n}$
#
# **Exercise 9.3** (10 min). Write it for many studies. Matches, n-grams and words are **added up over all studies first**; there is one $p_k$ and one
# penalty for the whole corpus.


# %% exercise="9.3" level="implement"
def corpus_bleu(references, hypotheses, n=4):
    """Two lists of texts in the same order -> BLEU-n of the corpus, 0 to 1."""
    ### BEGIN SOLUTION
    product = 1.0
    for k in range(1, n + 1):
        counts = [
            clipped_matches(hypothesis, reference, k)
            for hypothesis, reference in zip(hypotheses, references, strict=True)
        ]
        matches, total = np.sum(counts, axis=0)
        product *= matches / max(1, total)
    c, r = (sum(len(text.split()) for text in texts) for texts in (hypotheses, references))
    return brevity_penalty(c, r) * product ** (1 / n)
    ### END SOLUTION


# %% exercise="9.3" points=10
checks.corpus_bleu(corpus_bleu)

# %% [markdown]
# The library asks `pycocoevalcap`, whose scorers the published numbers come from. It agrees with your lines on the reports of the trained systems:

# %%
corpus, each = {}, {}
for name, reports in written.items():
    scores = nlg_scores(references, reports, metrics=["BLEU-4"], per_study=True)
    corpus[name], each[name] = scores.corpus["BLEU-4"], scores.per_study["BLEU-4"]  # a number, (n,)
    by_hand = corpus_bleu(list(references.values()), [reports[i] for i in references])
    assert math.isclose(by_hand, corpus[name], abs_tol=1e-4), (name, by_hand, corpus[name])
print("by hand and by the library: equal")

# %% [markdown]
# Is the score of the corpus the mean of the studies' scores? Give every study a BLEU-4 of its own, and look. *What to see: how many studies have none of
# their four-word sequences right and so score nothing at all, and that the two lines are not one.*

# %%
figures.sentence_scores(each["CMN"], corpus["CMN"], name="09_sentence_scores")

# %%
nothing = np.mean([clipped_matches(written["CMN"][i], references[i], 4)[0] == 0 for i in references])
apart = each["CMN"].mean() - corpus["CMN"]
say(
    f"In the figure: the bar at 0 and the tail. {nothing:.0%} of CMN's reports share no run of four words with their reference; alone, such a report",
    f"is worth nothing. The mean of the studies' scores is {abs(apart):.3f} {'above' if apart > 0 else 'below'} the score of the corpus: these are",
    "two different numbers, and a paper must say which it prints. (The published ones are of the corpus.)",
)

# %% [markdown]
# ## 9.3 The other scores, a sentence each
#
# | score | what it asks |
# |---|---|
# | METEOR | Which words can be aligned, also by stem, synonym or paraphrase? Recall weighs more than precision; a scattered alignment pays. |
# | ROUGE-L | How long is the longest sequence of words that both have in the same order, gaps allowed? A mean of recall and precision, recall first. |
# | CIDEr | How alike are the n-grams when those that are rare *in these references* weigh more? From 0 to 10, and on other studies another scale. |
#
# None of them reads. To see what they notice, take the references themselves and spoil them on purpose: once
# harmlessly, three times so that a patient could come to harm. `finding-F1` is another kind of measure: are the right
# findings named? A program, a *labeler*, reads them from the text. The book has two, a crude one, `keywords-0`, and one
# that reads, `rules-1`; sections 9.7 and 9.8 build them. **Finding-F1 is read by `rules-1`** unless it says otherwise,
# and a finding that the report only doubts counts as named.

# %%
reader, crude, sides = ReportLabeler(), KeywordLabeler(), {"left": "right", "right": "left"}
edits = {
    "sentences in reverse order (harmless)": lambda sentences: sentences[::-1],
    '"no" left out wherever it stands': lambda sentences: [
        " ".join(w for w in s.split() if w != "no") for s in sentences
    ],
    "left and right exchanged": lambda sentences: [" ".join(sides.get(w, w) for w in s.split()) for s in sentences],
    "sentences that assert a finding left out": lambda sentences: [s for s in sentences if not any(reader.label(s))],
}
spoilt = {
    edit: {i: " . ".join(change(report.removesuffix(" .").split(" . "))) + " ." for i, report in references.items()}
    for edit, change in edits.items()
}
truth = np.array([study.drawn for study in studies["test"]])  # (n, 13), from the expert codes


def labels_of(reports, labeler=reader):
    """{study id: report} -> (n, 13), which of the 13 findings each report asserts or doubts, as the labeler reads it"""
    return np.array([labeler.label(reports[i]) for i in references])


# %% tags=["nbval-check-output"]
by_edit = {}
for edit, reports in {"the references as they are": references, **spoilt}.items():
    scores = nlg_scores(references, reports, metrics=["BLEU-4", "ROUGE-L", "CIDEr"]).corpus
    touched = np.mean([reports[i] != references[i] for i in references])
    read = {
        name: finding_f1(labels_of(reports, by), truth).micro.f1
        for name, by in (("finding-F1", reader), ("finding-F1 keywords-0", crude))
    }
    by_edit[edit] = {"touched": touched} | scores | read
noticed = pd.DataFrame.from_dict(by_edit, orient="index").round(3)
print(noticed.to_string())

# %%
harmless, no_no, swapped, silent = (noticed.loc[edit] for edit in edits)
dearest = {metric: noticed.loc[list(edits), metric].idxmin() for metric in ("BLEU-4", "ROUGE-L", "CIDEr")}
say(
    "*What to see: each row against the first, and beside it how many reports the edit touched at all.*\n",
    *(f"- {metric} is hurt most by: {edit}." for metric, edit in dearest.items()),
    f"- Healthy patients made ill by a missing *no* still get a BLEU-4 of {no_no['BLEU-4']:.3f}. The better system of this page has",
    f"  {max(corpus.values()):.3f}.",
    f"- Finding-F1 falls to {no_no['finding-F1']:.2f} and {silent['finding-F1']:.2f} where findings are made up or left out, and forgives the",
    f"  reverse order ({harmless['finding-F1']:.2f}). With the sides exchanged it is {swapped['finding-F1']:.2f}: on which side a finding is, it does not",
    "  count. So this measure, too, has a question it does not ask (section 9.11 does).",
)

# %% [markdown]
# ## 9.4 Reports that look at nothing
#
# So a score needs something beside it that is worth nothing by construction. The book prints three **trivial baselines** with every system. None of
# them is given an image.
#
# - **a1**: one real training report for everybody, the one that scores best on the *validation* studies.
# - **b**: the most frequent training report, for everybody.
# - **c**: for each study a training report by lot, five times over; its row is the mean.
#
# Finding a1 is an honest search: try every training report, keep the best.

# %%
task = Task(studies["train"], studies["val"], studies["test"], vocabulary)
candidates = list(dict.fromkeys(task.pool))  # every different training report, in the form a model could say it
on_val = constant_bleu(candidates, task.val_references)[:, 3]  # (candidates,) BLEU-4 on validation
blind = {name: baseline_hypotheses(name, task) for name in ("a1", "b", "c")}
assert set(blind["a1"].values()) == {candidates[on_val.argmax()]}  # the library agrees

# %% tags=["nbval-check-output"]
print(f"{len(candidates):,} different reports were tried; the best has BLEU-4 {on_val.max():.3f} on validation")
for name, reports in blind.items():
    print(
        f"{name:3s}{len(set(reports.values())):4d} different reports, BLEU-4 {corpus_bleu(references.values(), reports.values()):.3f} on test"
    )

# %% [markdown]
# One call scores a system and its baselines with all metrics. It starts METEOR, a Java program, so it takes a while.

# %%
evaluation = runs["CMN"].evaluate("test", reports=written["CMN"])
rows = {
    "CMN": evaluation.rows[0],
    "BASE": runs["BASE"].evaluate("test", reports=written["BASE"], baselines=False).rows[0],
}
rows |= {row.name: row for row in evaluation.rows[1:]}


def part(name="all"):
    """The table of all systems on all, the normal, or the abnormal studies."""
    return Evaluation(tuple(rows.values()), math.nan, {}).table(name).set_axis(list(rows))


columns = [*METRICS, "finding-F1", "finding-F1 keywords-0", "distinct", "length"]
part()[columns].round(3)

# %%
scores, lines = part(), []
for metric in ("BLEU-4", "ROUGE-L", "CIDEr", "finding-F1"):
    not_below = [
        f"{name} ({scores.loc[name, metric]:.3f})"
        for name in blind
        if scores.loc[name, metric] >= scores.loc["CMN", metric]
    ]
    found = (
        f"not below it, without looking: **{', '.join(not_below)}**"
        if not_below
        else "all three blind baselines are below it"
    )
    lines.append(f"- {metric}: CMN {scores.loc['CMN', metric]:.3f}; {found}.")
say(
    f"*What to see: the last three rows. `distinct` is how many different reports a system wrote for {len(references)} studies.*\n",
    *lines,
    f"\nThis is the `{PROFILE}` profile: CMN trained for {len(trained['CMN'].history)} epochs on drawn images."
    if drawn
    else f"\nThis is the `{PROFILE}` profile: CMN trained for {len(trained['CMN'].history)} epochs.",
    "Where a baseline that can't see is level with a system, that score does not show that the system sees.",
)

# %% [markdown]
# ## 9.5 How sure is a score?
#
# The test studies are a sample. Had the hospital sent others, every number above would differ. By how much? The **bootstrap** (Efron 1979) answers
# without new studies: draw as many studies as there are from the ones you have, *with replacement*, and score; again, a thousand times. The middle 95 %
# of these scores is the interval.
#
# A thousand BLEUs would take long if each had to count words. But look at your `corpus_bleu`: it is a fixed function $f$ of a few numbers added up over
# studies. So keep each study's numbers $\mathbf t_i$, and add up whom you drew:
#
# > $s^{*}=f\Big(\sum_{i\in\text{draw}}\mathbf t_i\Big),\qquad \text{interval}=\big[q_{0.025}(s^{*}),\;q_{0.975}(s^{*})\big]$

# %% tags=["nbval-check-output"]
bleu_a1 = nlg_scores(references, blind["a1"], metrics=["BLEU-4"]).additive["BLEU-4"]
print("one row a study: length said, length wanted, matches of 1 to 4 words, runs of 1 to 4 words", bleu_a1.terms.shape)
print(f"f of their sum: {bleu_a1.score(bleu_a1.terms.sum(0)):.3f}")

# %% [markdown]
# **Exercise 9.4** (12 min). Write the interval. Draw with `np.random.default_rng(seed)`, so that the same seed gives the same interval.


# %% exercise="9.4" level="implement"
def bootstrap_interval(terms, score, resamples=1000, seed=0):
    """Terms (n, k), a row a study; `score` maps their sum (k,) to the corpus score -> (low, high), the middle 95 %"""
    ### BEGIN SOLUTION
    rng, n = np.random.default_rng(seed), len(terms)
    drawn = [
        score(terms[rng.integers(0, n, size=n)].sum(0)) for _ in range(resamples)
    ]  # n rows, some twice, some never
    low, high = np.quantile(drawn, [0.025, 0.975])
    return low, high
    ### END SOLUTION


# %% exercise="9.4" points=12
checks.bootstrap_interval(bootstrap_interval)

# %% tags=["nbval-check-output"]
ours, library = bootstrap_interval(bleu_a1.terms, bleu_a1.score), interval(bleu_a1)
print(f"a1, BLEU-4: by hand [{ours[0]:.3f}, {ours[1]:.3f}], by the library [{library.low:.3f}, {library.high:.3f}]")
assert np.abs(np.subtract(ours, library)).max() < 0.15 * (
    library.high - library.low
)  # other draws, so not to the last digit

# %% [markdown]
# Every score of the book has such an interval. In brackets, for all systems:

# %%
cells = {
    name: {
        metric: f"{row.parts['all'].scores[metric]:.3f} [{ends.low:.3f}, {ends.high:.3f}]"
        for metric, ends in row.intervals.items()
    }
    for name, row in rows.items()
}
pd.DataFrame.from_dict(cells, orient="index")[
    ["BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr", "finding-F1", "finding-F1 keywords-0"]
]

# %%
half = {name: (row.intervals["BLEU-4"].high - row.intervals["BLEU-4"].low) / 2 for name, row in rows.items()}
say(
    f"With {len(references)} studies a BLEU-4 is known to about ±{min(half.values()):.3f} to ±{max(half.values()):.3f}. Read third digits with that in mind.",
    "And the interval speaks of one thing only: *other studies of the same kind*. It knows nothing of another training seed, another hospital, or",
    "another radiologist's style. (Row c is a mean of five draws, which makes its interval narrower than one draw's.)",
)

# %% [markdown]
# ## 9.6 Why a constant report scores well
#
# Take the test studies apart. A study is *abnormal* here when the experts gave it at least one of the 13 drawn findings. *What to see: left, how far the
# orange square lies left of the blue dot. Then, in the middle, who says what is wrong, and right, what that costs the healthy: how many findings a report
# names in which there are none.*

# %% tags=["nbval-check-output"]
in_training = set(task.pool)
for kind, wanted_kind in (("normal", False), ("abnormal", True)):
    group = [references[study.id] for study in studies["test"] if study.is_abnormal == wanted_kind]
    known = np.mean([text in in_training for text in group])
    print(
        f"{kind:9s}{len(group):4d} studies, {len(set(group)):4d} different references, {known:.0%} of them word for word in training"
    )

# %%
figures.parts(part("normal"), part("abnormal"), name="09_parts")

# %%
normal, abnormal = part("normal"), part("abnormal")
higher = [name for name in rows if normal.loc[name, "BLEU-4"] > abnormal.loc[name, "BLEU-4"]]
most = (
    "Every system"
    if len(higher) == len(rows)
    else f"{len(higher)} of {len(rows)} systems ({', '.join(higher) or 'none'})"
)
share = rows["CMN"].parts["normal"].n / len(references)
say(
    "In the figure, left: BLEU-4 on normal (blue) and on abnormal studies (orange). Middle and right: what BLEU does not show, the findings that are right and",
    "the findings that are made up.\n",
    f"{most} scored a higher BLEU-4 on normal studies than on abnormal ones. Normal reports resemble each other, and {share:.0%} of the test studies",
    "are normal: whoever says what is said of healthy chests is right by habit, most of the time. The patients for whom the examination was made are",
    f"in the other part. Look at a1 in the right panel, too: it asserts {normal.loc['a1', 'findings said']:.0f} finding(s) for every healthy patient.",
    "The score chose it for its n-grams, not for its truth.",
)

# %% [markdown]
# ## 9.7 Does it say what is there?
#
# So count findings. A **labeler** reads from a report which of the 13 findings it asserts; the experts' codes say which
# are there. The book's older one is a list of patterns, `keywords-0`: a finding is asserted when its pattern stands in
# a sentence with no negation before it. It is crude, and frozen, so that older numbers stay comparable. Sentences of
# ours:

# %% tags=["nbval-check-output"]
for sentence in (
    "there is a small left effusion .",
    "no effusion or pneumothorax .",
    "an effusion is not seen .",
    "the heart is large .",
):
    found = [name for name, on in zip(crude.labels, crude.label(sentence), strict=True) if on]
    print(f"{sentence:34s}{', '.join(found) or '–'}")

# %% [markdown]
# The last two are wrong: a negation that comes later, and a word the list does not have. Hold on to that.
#
# Over all studies and all findings, count true positives, false positives and false negatives, and take
#
# > $\text{micro-}F_1=\dfrac{2\,TP}{2\,TP+FP+FN}$
#
# True negatives are not in it. A report that names nothing gets 0, however fluent.
#
# **Exercise 9.5** (6 min). Write it.


# %% exercise="9.5" level="compute"
def micro_f1(predicted, reference):
    """(n, 13), (n, 13), zeros and ones -> F1 over all findings of all studies, 0 to 1"""
    ### BEGIN SOLUTION
    hits = (predicted * reference).sum()
    return (
        2 * hits / max(1, predicted.sum() + reference.sum())
    )  # predicted.sum() is TP + FP, reference.sum() is TP + FN
    ### END SOLUTION


# %% exercise="9.5" points=6
checks.micro_f1(micro_f1)

# %% [markdown]
# How good is good? Let the labeler read the **references themselves**, uncut, and compare with the codes. They don't reach 1 either: the labeler has its own
# mistakes, and there are findings that were coded and not written, or written and not coded.

# %% tags=["nbval-check-output"]
uncut = {study.id: study.report for study in studies["test"]}
by_patterns = finding_f1(labels_of(uncut, crude), truth).micro
print(
    f"keywords-0, the references, uncut: precision {by_patterns.precision:.3f}, recall {by_patterns.recall:.3f}, F1 {by_patterns.f1:.3f}"
)
print(f"the references as a model could say them: F1 {micro_f1(labels_of(references, crude), truth):.3f}")
for name in ("a1", "b"):
    print(f"{name}: F1 {micro_f1(labels_of(blind[name], crude), truth):.3f}")

# %%
for name in written:
    by_hand = micro_f1(labels_of(written[name], crude), truth)
    assert math.isclose(by_hand, rows[name].parts["all"].scores["finding-F1 keywords-0"], abs_tol=1e-9)
print("by hand, and in the column finding-F1 keywords-0 of the tables above: equal")

# %% [markdown]
# ## 9.8 A labeler that reads
#
# `keywords-0` knows two answers. The labelers of the papers (CheXpert's rules, CheXbert's network) know four, and so
# does the labeler that reads the book's finding-F1, `rules-1`, which needs no download:
#
# | answer | the report says |
# |---|---|
# | positive (1) | it is there |
# | negative (0) | it is not there |
# | uncertain (−1) | perhaps |
# | blank (nan) | nothing about it |
#
# It looks up a finding's words in a lexicon, and then asks what the sentence *does* to them. A **cue** (*no*, *cannot be excluded*, *history of*) reaches
# forwards or backwards until a **stop** (*but*, *there is*). What lies in between is its **scope**. Sentences of ours:

# %%
sentences = [
    "no effusion or pneumothorax",
    "no focal opacity , but there is a small effusion",
    "an effusion is not seen",
    "a pneumothorax cannot be excluded",
    "no change in the small effusion",
    "history of rib fracture",
    "effusion versus atelectasis at the left base",
]
figures.scopes(sentences, reader, name="09_scopes")

# %% [markdown]
# *What to see: cues are underlined, arrows show what they reach, dotted boxes stop a scope or only look like a cue. In the second sentence the "no" ends at
# "but". In the fifth it denies the change and not the effusion. What is history gets no label: it stays blank.*

# %% tags=["nbval-check-output"]
for sentence in ("an effusion is not seen .", "the heart is large .", *(f"{s} ." for s in sentences[1:5:3])):
    old = [name for name, on in zip(crude.labels, crude.label(sentence), strict=True) if on]
    new = [f"{m.drawn} {m.status}" for m in reader.mentions(sentence)]
    print(f"{sentence:52s}keywords-0: {', '.join(old) or '–':28s}rules-1: {', '.join(new)}")

# %% [markdown]
# **Exercise 9.6** (8 min). Write the scope of a negation that reaches forwards: is the word at place `at` denied?


# %% exercise="9.6" level="implement"
def denied(words, at, negations=("no", "without"), stops=("but", ";")):
    """A sentence as a list of words, the place of a finding in it -> True if a negation before it reaches it"""
    ### BEGIN SOLUTION
    reaches = False
    for word in words[:at]:
        if word in negations:
            reaches = True  # a scope begins
        elif word in stops:
            reaches = False  # and ends
    return reaches
    ### END SOLUTION


# %% exercise="9.6" points=8
checks.denied(denied)

# %% [markdown]
# Back to the count. Positive and uncertain are counted as named, negative and blank as not. *What to see: both columns,
# and where the two labelers differ most.*

# %% tags=["nbval-check-output"]
ceiling = finding_f1(labels_of(uncut), truth)
assert math.isclose(ceiling.micro.f1, evaluation.references_finding_f1)  # what every evaluation prints below its table


def read_by_both(texts):
    """Name -> reports: micro-F1 over 13, a column a labeler."""
    columns = {"finding-F1 (rules-1)": reader, "finding-F1 keywords-0": crude}
    found = {
        name: [micro_f1(labels_of(reports, by), truth) for by in columns.values()] for name, reports in texts.items()
    }
    return pd.DataFrame.from_dict(found, orient="index", columns=list(columns))


known = {
    "the references, uncut": uncut,
    "the references as a model could say them": references,
    "a1": blind["a1"],
    "b": blind["b"],
}
print(read_by_both(known).round(3).to_string())

# %%
both = pd.concat([read_by_both(known), read_by_both(written)])
both.round(3)

# %% [markdown]
# Now finding by finding, read by `rules-1`. *What to see: the hollow marks are what the references get. A dot at the
# left edge is a finding that the system never names rightly.*

# %%
said = labels_of(written["CMN"])  # (n, 13)
assert math.isclose(micro_f1(said, truth), rows["CMN"].parts["all"].scores["finding-F1"], abs_tol=1e-9)
figures.findings(
    rows["CMN"].findings, {name: prf.f1 for name, prf in ceiling.per_finding.items()}, "CMN", name="09_findings"
)

# %%
never = [name for name, times in zip(DRAWN_FINDINGS, said.sum(0), strict=True) if not times]
beyond = [name for name, prf in finding_f1(said, truth).per_finding.items() if prf.f1 > ceiling.per_finding[name].f1]
poor = [name for name, prf in ceiling.per_finding.items() if prf.f1 < 0.7]
say(
    "In the figure: the hollow mark is what the references get; the dot is what CMN's reports get. Rows far down rest on few studies (in brackets).\n",
    f"- CMN never asserts {len(never)} of the 13 findings" + (f": {', '.join(never)}." if never else "."),
    f"- The labeler itself stays below 0.7 on {', '.join(poor)}: there, a low score says little."
    if poor
    else "- The labeler reaches 0.7 everywhere.",
    "- A difference between two systems is read against what the references get, not against 1.",
    f"- That is no wall: who names in plain words what is coded, and left out or veiled in the reference, gets past it. CMN does on {', '.join(beyond)}."
    if beyond
    else "",
)

# %% [markdown]
# ## 9.9 How far to trust it
#
# Before a labeler judges a model, judge the labeler: let it read the references and compare with the experts' codes, answer by answer.

# %%
audited = audit_labeler(studies["test"], reader)
figures.answers(audited.confusion["drawn-13"], name="09_answers")

# %% [markdown]
# *What to see. Left: studies that are coded with the finding (their number in brackets); what is not blue is missed, unless orange counts. Right: studies that
# are not; what is blue there was made up. Blank and negative differ by finding: reports deny an effusion by habit, and are silent about a granuloma.*

# %%
c, scores_of = audited.ceiling, audited.efficacy.scores
low, high = c.f1
say(
    f"Over drawn-13, `rules-1` reaches a micro-F1 of **{scores_of['drawn-13', 'positive'].micro.f1:.3f}** on the references",
    f"(`keywords-0`: {by_patterns.f1:.3f}). That is the {ceiling.micro.f1:.3f} of section 9.8.",
    "It can't reach 1, and no reader could: the experts coded from the whole report, and the models learn its FINDINGS alone.",
    f"Of {c.codes} coded findings {c.unmentioned} ({c.unmentioned / c.codes:.1%}) are nowhere mentioned there; of {c.traceless}, not even a word stem stands",
    f"in the text; {c.denied} are denied. A reader who lost these alone, and asserted nothing that is not coded, would reach {low:.3f} to {high:.3f}:",
    "**the ceiling** of whoever has these texts alone. Since reports also say what was not coded, a faultless reader stays below. A model has the image: it may pass it, where the image shows what the text does not say.",
)

# %% [markdown]
# What is left are disagreements. All those of the test studies were read, and `data/labeler_disagreements.csv` says of each whose fault it is, in our words:

# %% tags=["nbval-check-output"]
known = {d: why for d, why in explained().items() if d in audited.disagreements}
causes = pd.Series([cause for cause, _ in known.values()], dtype=object).value_counts(sort=False).sort_index()
print(f"{len(audited.disagreements)} disagreements, {len(known)} of them read")
print(causes.to_string())

# %%
shown_causes = {}
for d, (cause, reason) in sorted(known.items()):
    shown_causes.setdefault(cause, []).append(
        f"- *{cause}*, {d.finding}, labeler says {d.says} (`{d.study_id}`): {reason}."
    )
display(Markdown("\n".join(line for lines in shown_causes.values() for line in lines[:3])))

# %%
ours = sum(int(causes.get(cause, 0)) for cause in ("lexicon", "context"))
left = [d.says for d in audited.disagreements if d not in known or known[d][0] not in ("lexicon", "context")]
made_up = sum(says == "present" for says in left)  # the others are missed
found = audited.ceiling.codes - (len(left) - made_up)
mended = 2 * found / (2 * found + len(left)) if len(known) == len(audited.disagreements) else None
if len(known):
    say(
        f"Of the {len(known)} that were read, **{ours}** are the labeler's own mistakes (its lexicon, its scopes). The others can't be mended by a better",
        "reader: a word was removed with the patient's name or misprinted, the code was made from another part of the report or not at all, or two experts",
        "would code it differently."
        + (f" With those {ours} mended and no other, the micro-F1 would be **{mended:.3f}**." if mended else ""),
    )

# %% [markdown]
# ## 9.10 Which labels, and what is *perhaps*?
#
# "Clinical F1" is no number until three things are said with it. The book names them wherever it prints one.
#
# 1. **The label set.** *drawn-13*: the findings our images show. *CheXpert-14*: the papers' 14 observations, of which one is "No Finding". *CheXpert-13*:
#    the same without it.
# 2. **What "uncertain" counts as.** R2Gen's script counts it as negative, ORGan's as positive. Blank counts as not asserted, on both sides.
# 3. **The truth.** The experts' *codes*, or the *same labeler on the reference report*, as the papers do; that forgives what it overlooks in both.
#
# **Exercise 9.7** (10 min). Write micro-F1 over a label set. Use your `micro_f1`.


# %% exercise="9.7" level="implement"
def label_set_f1(answers, truth, uncertain_is_positive=False, no_finding=True):
    """(n, 14) and (n, 14) of 1, 0, -1 and nan, "No Finding" first -> micro-F1 over CheXpert-14, or without "No Finding" over CheXpert-13"""
    ### BEGIN SOLUTION
    first = 0 if no_finding else 1
    a, b = (
        (labels == 1) | ((labels == -1) & uncertain_is_positive) for labels in (answers, truth)
    )  # nan is equal to nothing
    return micro_f1(a[:, first:].astype(int), b[:, first:].astype(int))
    ### END SOLUTION


# %% exercise="9.7" points=10
checks.label_set_f1(label_set_f1)

# %% [markdown]
# Now the same reports under every choice, in one figure. `b` says of everybody that nothing is wrong. *What to see: how far the same four marks travel from
# row to row. In which rows does `b`, which finds nothing, stand beside the systems?*

# %%
observed = np.array([reader.observations(written["CMN"][i]) for i in references])  # (n, 14)
in_references = np.array([reader.observations(study.report) for study in studies["test"]])
by_hand = label_set_f1(observed, in_references, no_finding=False)
assert math.isclose(
    by_hand, rows["CMN"].efficacy[efficacy_key("CheXpert-13", against="report")]["micro f1"], abs_tol=1e-9
)
counted_as = {
    how: pd.DataFrame.from_dict(
        {
            f"{name}, against {'the codes' if truth_ == 'codes' else 'the reference, read alike'}": {
                system: rows[system].efficacy[efficacy_key(name, how, truth_)]["micro f1"]
                for system in ("CMN", "BASE", "a1", "b")
            }
            for truth_ in AGAINST
            for name in LABEL_SETS
        },
        orient="index",
    )
    for how in UNCERTAIN
}
figures.label_sets(counted_as["negative"], counted_as["positive"], name="09_label_sets")

# %%
every_way = pd.concat(counted_as.values())
at_best = {
    name: every_way.loc[every_way.index.str.startswith(name), "b"].max() for name in ("CheXpert-14", "CheXpert-13")
}
doubt = (counted_as["negative"] - counted_as["positive"]).abs().to_numpy().max()
ahead, healthy = every_way["CMN"] - every_way["BASE"], (in_references[:, 0] == 1).mean()
turns = (
    "The order of CMN and BASE depends on the choice, too."
    if ahead.min() < 0 < ahead.max()
    else "CMN and BASE keep their order in every row."
)
say(
    "In the figure: a mark is one set of reports; follow it down the rows. Nothing changes but the way to count.\n",
    f"- CMN's reports have an F1 between {every_way['CMN'].min():.2f} and {every_way['CMN'].max():.2f}, by counting alone.",
    f"- `b`, which finds nothing in anybody, gets up to **{at_best['CheXpert-14']:.2f}** over CheXpert-14 and {at_best['CheXpert-13']:.2f} over",
    f"  CheXpert-13: *No Finding* is true of {healthy:.0%} of the references.",
    f"- What *uncertain* counts as moves no system by more than {doubt:.3f} here: these reports hardly doubt. Where reports do, it matters more.",
    f"- {turns}",
)

# %% [markdown]
# ## 9.11 On which side, and how bad?
#
# A finding on the wrong side is a wrong report. Where both a report and the codes name a finding, compare side and severity, if both say any:

# %%
agreed = {
    (row_name, attribute): {
        "both say it": row.efficacy[f"{attribute}, against codes"]["both"],
        "they agree": row.efficacy[f"{attribute}, against codes"]["agree"],
        "rate": row.efficacy[f"{attribute}, against codes"]["rate"],
        "only the report": row.efficacy[f"{attribute}, against codes"]["only_predicted"],
        "only the codes": row.efficacy[f"{attribute}, against codes"]["only_truth"],
    }
    for row_name, row in rows.items()
    for attribute in ATTRIBUTES
}
agreed = pd.DataFrame.from_dict(agreed, orient="index").round(2)
agreed.map(lambda value: "–" if math.isnan(value) else f"{value:g}")

# %%
side, of_references = agreed.loc[("CMN", "side")], audited.efficacy.agreement["side"]
say(
    f"*What to see: first how often there is anything to compare.* CMN and the codes both name a side {side['both say it']:.0f} times and agree",
    f"{side['they agree']:.0f} times; {side['only the codes']:.0f} times the codes know a side and the report, right about the finding, keeps silent.",
    f"Of severity the codes know {agreed.loc[('CMN', 'severity'), 'only the codes']:.0f} more than CMN says.",
    f"The references agree with the codes on the side {of_references.agree} of {of_references.both} times: the reader can be trusted here.",
    f"The scores of section 9.3 hardly notice: with every left and right exchanged BLEU-4 was still {by_edit['left and right exchanged']['BLEU-4']:.3f}, and"
    f" finding-F1 moved by {abs(by_edit['left and right exchanged']['finding-F1'] - by_edit['the references as they are']['finding-F1']):.3f}.",
)

# %% [markdown]
# ## 9.12 Which of two is better?
#
# Two systems with overlapping intervals may still be told apart. Both were scored on the *same* studies: an easy study tends to lift both, a hard one to pull
# both down. So draw studies **once**, score both systems on the same draw, and look at the *difference*. `bootstrap_weights` gives the same draws for the same
# seed, which is what makes it paired. *What to see: left, two heaps that may overlap. Right, their difference on the same draws: does the blue band reach
# the dashed line?*

# %%
systems = {**written, "a1": blind["a1"]}
additive = {
    name: {
        "BLEU-4": nlg_scores(references, reports, metrics=["BLEU-4"]).additive["BLEU-4"],
        "finding-F1": finding_f1(labels_of(reports), truth).additive["micro"],
    }
    for name, reports in systems.items()
}
assert all(
    np.allclose(score.terms, evaluation.terms[metric].terms) for metric, score in additive["CMN"].items()
)  # what an evaluation keeps
draws = bootstrap_weights(len(references), seed=0)  # (resamples, n): how often each study was drawn
resampled = {
    name: {metric: score.resampled(draws) for metric, score in scores.items()} for name, scores in additive.items()
}
figures.paired({name: resampled[name]["BLEU-4"] for name in ("CMN", "BASE")}, "BLEU-4", name="09_paired")

# %%
others = bootstrap_weights(len(references), seed=1)  # as if BASE had been scored on other studies
difference = resampled["CMN"]["BLEU-4"] - resampled["BASE"]["BLEU-4"]  # (resamples,)
loose = resampled["CMN"]["BLEU-4"] - additive["BASE"]["BLEU-4"].resampled(others)
paired_width, loose_width = (float(np.ptp(np.quantile(d, [0.025, 0.975]))) for d in (difference, loose))
together = np.corrcoef(*(resampled[name]["BLEU-4"] for name in written))[0, 1]
narrower = "narrower than" if paired_width < loose_width else "no narrower than"
say(
    "In the figure, left: the two systems, each by itself. Right: their difference, draw by draw. If the band leaves out 0 (dashed), the sign of the",
    "difference does not hang on which studies happened to be drawn.\n",
    f"The paired interval is {paired_width:.4f} wide, **{narrower}** the {loose_width:.4f} that two separate draws would give. It gains as far as both",
    f"systems find the same studies easy: over the draws, their scores have a correlation of {together:.2f}.",
)


# %%
def verdict(low, high):
    return "above" if low > 0 else "below" if high < 0 else "not to be told apart"


compared = []
for first, second in (("CMN", "BASE"), ("CMN", "a1"), ("BASE", "a1")):
    for metric in ("BLEU-4", "finding-F1"):
        low, high = np.quantile(resampled[first][metric] - resampled[second][metric], [0.025, 0.975])
        value = additive[first][metric].value() - additive[second][metric].value()
        compared.append([f"{first} − {second}", metric, value, low, high, verdict(low, high)])
compared = pd.DataFrame(compared, columns=["difference", "metric", "value", "low", "high", "the first is"])
compared.round(3)

# %%
split = [
    pair
    for pair, group in compared.groupby("difference", sort=False)
    if {"above", "below"} <= set(group["the first is"])
]
say(
    f"For {' and '.join(split)} the two metrics **contradict each other**, each with an interval that leaves out 0: which is better depends on what you ask."
    if split
    else "In this run the two metrics contradict each other for no pair, as far as the intervals can tell.",
    "\nTwo warnings. The interval is over *studies*; each system was trained once, and another seed gives another system. And who compares twenty pairs at",
    "95 % must expect one of them to come out by luck.",
)

# %% [markdown]
# ### What the lead is made of
#
# A difference, however sure, does not say *why*. A system may be ahead in BLEU-4 because its **length** costs it less, because its **habits** are better
# (it says what is mostly said), or because it **looks** (what it says fits this study and no other). A control separates the last two: give every
# study the report that was written for the *next* study in the list, the last one that of the first. The reports are the same, their lengths and their
# phrases too; only the looking is gone. With $S$ the BLEU-4 of a system and $S'$ that of its exchanged reports,
#
# > $\log S = \underbrace{\log\mathrm{BP}}_{\text{length}} + \underbrace{\log\dfrac{S'}{\mathrm{BP}}}_{\text{habit}}
# > + \underbrace{\log\dfrac{S}{S'}}_{\text{looking}}$
#
# and the lead of A over B, $\log S_A - \log S_B$, has three such parts.
#
# **Exercise 9.8** (10 min). Return the three parts of A's lead over B, and what adds most to it: `"length"`, `"habit"` or `"looking"`; `"not ahead"` if
# they add up to no more than 0. Use your `corpus_bleu` and `brevity_penalty`.


# %% exercise="9.8" level="explain"
def why_ahead(references, a, b):
    """Three lists of texts in the same order -> (length, habit, looking), and "length", "habit", "looking" or "not ahead"."""

    ### BEGIN SOLUTION
    def parts(reports):
        penalty = brevity_penalty(*(len(" ".join(texts).split()) for texts in (reports, references)))
        exchanged = corpus_bleu(references, reports[1:] + reports[:1])  # every report beside the study before its own
        return np.log([penalty, exchanged / penalty, corpus_bleu(references, reports) / exchanged])

    lead = parts(a) - parts(b)  # (3,)
    return lead, ("length", "habit", "looking")[lead.argmax()] if lead.sum() > 0 else "not ahead"
    ### END SOLUTION


# %% exercise="9.8" points=10
checks.why_ahead(why_ahead)

# %% [markdown]
# Our systems and the constant report, each pair with the one first that is ahead in BLEU-4. *What to see: which column is largest, and whether finding-F1
# has the same sign. A constant report is the same after the exchange: whatever looking adds beside it is the other's own.*

# %%
ordered = {
    name: [reports[i] for i in references] for name, reports in systems.items()
}  # lists, in the order of the references
leads = {}
for first, second in (("CMN", "BASE"), ("CMN", "a1"), ("BASE", "a1")):
    if additive[first]["BLEU-4"].value() < additive[second]["BLEU-4"].value():
        first, second = second, first
    measured_parts, reason = why_ahead(list(references.values()), ordered[first], ordered[second])
    in_findings = additive[first]["finding-F1"].value() - additive[second]["finding-F1"].value()
    leads[f"{first} over {second}"] = [*np.round(measured_parts, 3), reason, round(in_findings, 3)]
leads = pd.DataFrame.from_dict(
    leads, orient="index", columns=["length", "habit", "looking", "explained by", "ahead in finding-F1 by"]
)
leads

# %%
by_looking = [pair for pair, row in leads.iterrows() if row["explained by"] == "looking"]
told = {
    tuple(row["difference"].split(" − ")): row["the first is"]
    for _, row in compared.query("metric == 'finding-F1'").iterrows()
}
told |= {(second, first): {"above": "below", "below": "above"}.get(is_, is_) for (first, second), is_ in told.items()}
against = [pair for pair in leads.index if told[tuple(pair.split(" over "))] == "below"]
say(
    *(
        f"- {pair}: **{row['explained by']}** adds most; looking adds {row['looking']:+.3f}."
        for pair, row in leads.iterrows()
    ),
    f"\nWith this one partner looking explains {len(by_looking)} of these {len(leads)} leads"
    + (f" ({', '.join(by_looking)})." if by_looking else "."),
    f"Ahead in BLEU-4 and behind in finding-F1, beyond its interval: {', '.join(against)}."
    if against
    else "No lead in BLEU-4 is a loss in finding-F1 that its interval can tell.",
    "A lead by length or habit can be had without an image.",
)

# %% [markdown]
# The next study is one partner of many, and another exchange gives other parts. So take the first to the tenth study after its own:

# %%
apart = {
    name: np.log(
        [
            corpus_bleu(list(references.values()), reports)
            / corpus_bleu(list(references.values()), reports[k:] + reports[:k])
            for k in range(1, 11)
        ]
    )
    for name, reports in ordered.items()
}
by_ten = []
for pair, row in leads.iterrows():
    added = np.subtract(*(apart[name] for name in pair.split(" over ")))  # (10,) what looking adds
    mean_parts = {
        "length": row["length"],
        "habit": row["habit"] + row["looking"] - added.mean(),
        "looking": added.mean(),
    }
    largest_part = max(mean_parts, key=mean_parts.get)
    by_ten.append(
        f"- {pair}: looking adds {added.mean():+.3f}, with a standard deviation of {added.std(ddof=1):.3f} over ten exchanges. By their mean "
        f"**{largest_part}** adds most ({mean_parts[largest_part]:+.3f})"
        + (
            "."
            if largest_part == row["explained by"]
            else f", and not {row['explained by']}: one exchange was too few."
        )
    )
say(*by_ten)

# %% [markdown]
# ### By exchanging authors
#
# There is a second way to ask, with no resampling. Suppose the two systems were equally good. Then it would not matter **which of the two wrote which
# report**. So toss a coin for every study, exchange the two reports where it shows heads, and score the two piles. Do it many times: how often is
# the difference as large as the real one, by luck alone?
#
# > Noreen 1989; for BLEU: Riezler & Maxwell 2005 &nbsp; $p=\dfrac{1+\#\{\text{trials}:|\Delta^{*}|\ge|\Delta|\}}{1+\#\{\text{trials}\}}$

# %%
a, b = additive["CMN"]["BLEU-4"], additive["BASE"]["BLEU-4"]
rng, real = np.random.default_rng(0), a.value() - b.value()
heads = rng.integers(0, 2, (2000, len(references))).astype(bool)  # (trials, n)
piles = ((np.where(h[:, None], y, x).sum(0) for x, y in ((a.terms, b.terms), (b.terms, a.terms))) for h in heads)
trials = np.array([a.score(first) - b.score(second) for first, second in piles])  # (trials,)
p = (1 + (np.abs(trials) >= abs(real)).sum()) / (1 + len(trials))
assert abs(p - paired_randomisation(a, b).p) < 4 * math.sqrt(
    0.25 / len(trials)
)  # other coins, so not to the last digit
figures.randomised(trials, real, "BLEU-4", name="09_randomised")

# %% [markdown]
# *What to see: grey is what luck does when the systems are alike. The further out the blue lines, the less luck explains.*
#
# And what do readers usually do? They look at two intervals, and at whether they overlap:

# %%
tested = []
for first, second in (("CMN", "BASE"), ("CMN", "a1"), ("BASE", "a1")):
    for metric in ("BLEU-4", "finding-F1"):
        one, other = (interval(additive[name][metric]) for name in (first, second))
        overlap = one.low <= other.high and other.low <= one.high
        test = paired_randomisation(additive[first][metric], additive[second][metric])
        tested.append([f"{first} − {second}", metric, test.difference, "overlap" if overlap else "apart", test.p])
tested = pd.DataFrame(tested, columns=["difference", "metric", "value", "the two intervals", "p"])
tested.round(4)

# %%
missed = tested[(tested["the two intervals"] == "overlap") & (tested["p"] < 0.05)]
say(
    f"In **{len(missed)}** of these {len(tested)} comparisons the intervals overlap and the test still finds a difference (p below 0.05)"
    + (f": {', '.join(f'{row.difference} in {row.metric}' for row in missed.itertuples())}." if len(missed) else ".")
    + " Two intervals that do not overlap speak for a difference on other studies (one comparison at a time); two that do overlap say nothing.",
    f"The smallest p that {paired_randomisation(a, b).trials:,} trials can give is one in {paired_randomisation(a, b).trials + 1:,}.",
    "`rrg compare iu_phantom/cmn iu_phantom/base` does this for any two trained systems.",
)

# %% [markdown]
# ## 9.13 Another seed
#
# Both methods ask about *these trained systems* on *other studies*. Train again with another seed and you have another
# system. So a method, unlike a checkpoint, has a score with three numbers: **mean, standard deviation, number of
# seeds**. From the longer runs in `data/results`, the systems of the four papers and of chapter 11; parts taken away
# are compared in chapters 04 to 07, each with its whole. Their reports are searched as was **chosen on validation**, run by run
# (`tuned`): how strongly the end mark is held back, how wide the search is. XProNet's memory is told labels; a row for
# each kind, from the same trainings.


# %%
def measured_alike(result):
    """Whether a stored result was scored like this page: the same studies, references and labeler."""
    return all(
        result.evaluation.provenance[key] == evaluation.provenance[key]
        for key in ("protocol", "vocabulary", "studies", "labeler")
    )


def with_its_own_labels(result):
    """Whether its memory was told what its experiment says, or is told nothing."""
    return result.labels_at_test in (None, result.experiment.decoding.labels_at_test)


longer = {
    how: [r for r in stored_results(dataset=DATASET, protocol=how) if r.is_preset and measured_alike(r)]
    for how in PROTOCOLS
}
by_system = {}
for result in longer["tuned"]:
    by_system.setdefault(result.system.removeprefix(f"{DATASET}/"), []).append(result)
spread = {
    system: {
        metric: over_seeds([r.evaluation.scores[metric] for r in of])
        for metric in ("BLEU-4", "CIDEr", "finding-F1", "finding-F1 keywords-0")
    }
    for system, of in by_system.items()
}
pd.DataFrame.from_dict(
    {system: {metric: str(value) for metric, value in of.items()} for system, of in spread.items()}, orient="index"
)

# %% [markdown]
# The same in a figure. *What to see: the band is what other studies would change, the circles are the seeds. Where
# circles lie outside the band, the seed matters more than the test set.*

# %%
found_seeds = {
    metric: {
        system: figures.Seeds(
            [r.evaluation.scores[metric] for r in of],
            float(np.mean([np.ptp(r.evaluation.rows[0].intervals[metric]) / 2 for r in of])),
        )
        for system, of in by_system.items()
    }
    for metric in ("BLEU-4", "finding-F1")
}
figures.seeds(found_seeds, name="09_seeds") if by_system else None

# %%
several = {system: of for system, of in spread.items() if of["BLEU-4"].n > 1}
lines = [
    f"- {system}: {of['BLEU-4'].n} seeds; BLEU-4 has a standard deviation of {of['BLEU-4'].sd:.4f}, one run's interval over studies reaches"
    f" {found_seeds['BLEU-4'][system].half:.4f} to each side."
    for system, of in several.items()
]
alone = [system for system in spread if system not in several]
say(
    f"{len({r.weights for r in longer['tuned']})} trainings in {len(by_system)} rows. In the figure: a circle is a seed, the band what"
    " the studies leave open for one of them. A difference between two methods should be larger than both.\n"
    if by_system
    else "*No longer run is kept of this dataset: not run.*",
    *lines,
    f"- One seed only, so no standard deviation: {'; '.join(alone)}. What one run says of a *method* is a guess."
    if alone
    else "",
    "\nThe published tables of these papers print one number a row: no seeds, no intervals.",
)

# %% [markdown]
# ### The same weights, searched otherwise
#
# A training is not yet a set of reports. The stored runs wrote theirs three times, with the same weights: `tuned`;
# `greedy`, the likeliest word at each step; `published`, a beam of 3 and nothing else, as the papers did. *What to see:
# go down one system's three rows, then compare one kind of row across systems. `length ratio` is words written over
# words of the references.*

# %%
same_weights = {}  # training -> {protocol: result}
for how, results in longer.items():
    for result in filter(with_its_own_labels, results):
        same_weights.setdefault(result.weights, {})[how] = result
same_weights = {weights: of for weights, of in same_weights.items() if len(of) == len(PROTOCOLS)}
shown_scores = ("BLEU-4", "ROUGE-L", "CIDEr", "finding-F1", "finding-F1 keywords-0")
by_search = [
    {"system": r.experiment.preset, "searched": how}
    | {score: r.evaluation.scores[score] for score in shown_scores}
    | {"findings said": r.evaluation.rows[0].parts["all"].findings_said, "length ratio": r.length_ratio}
    for of in same_weights.values()
    for how, r in of.items()
]
trained_times = Counter(of["tuned"].experiment.preset for of in same_weights.values())
pd.DataFrame(by_search).groupby(["system", "searched"], sort=False).mean().round(3) if by_search else None


# %%
def beside_base(metric):
    """{preset: how far it lies from BASE in `metric`, both tuned, the mean over the seeds that both have}"""
    score = {
        (r.experiment.preset, r.experiment.training.seed): r.evaluation.scores[metric]
        for r in (of["tuned"] for of in same_weights.values())
    }
    apart = {}
    for (preset, seed), value in score.items():
        if preset != "base" and ("base", seed) in score:
            apart.setdefault(preset, []).append(value - score["base", seed])
    return {preset: float(np.mean(values)) for preset, values in apart.items()}


def moved(metric):
    """{preset: from the lowest to the highest protocol, the same weights, the mean over trainings}"""
    ranges = {}
    for of in same_weights.values():
        ranges.setdefault(of["tuned"].experiment.preset, []).append(
            np.ptp([r.evaluation.scores[metric] for r in of.values()])
        )
    return {preset: float(np.mean(values)) for preset, values in ranges.items()}


lines = []
for metric in ("BLEU-4", "finding-F1") if same_weights else ():
    by_decoding, by_system_too = moved(metric), beside_base(metric)
    smaller = [
        preset
        for preset, difference in by_system_too.items()
        if abs(difference) < min(by_decoding[preset], by_decoding["base"])
    ]
    lines.append(
        f"- {metric}: searching otherwise moves one set of weights by {min(by_decoding.values()):.3f} to {max(by_decoding.values()):.3f}. With the search"
        " chosen on validation, another system in place of BASE moves it by "
        + ", ".join(f"{difference:+.3f} ({preset})" for preset, difference in by_system_too.items())
        + f": less than the search does for {len(smaller)} of {len(by_system_too)}."
    )
fewest = [
    min(of.values(), key=lambda r: r.length_ratio)
    is min(of.values(), key=lambda r: r.evaluation.rows[0].parts["all"].findings_said)
    for of in same_weights.values()
]
say(
    f"Means over trainings ({', '.join(f'{preset}: {n}' for preset, n in trained_times.items())}).\n",
    *lines,
    f"\nFor {sum(fewest)} of {len(fewest)} trainings the search with the shortest reports is also the one that names the fewest findings"
    " (`findings said`). A comparison of systems whose search nobody chose compares how each one's habits suit one search.",
) if same_weights else say("*No run is kept in three protocols: not run.*")

# %% [markdown]
# ### Each system beside BASE, study by study
#
# Stored results keep the terms of their scores, a row a study. So section 9.12's tools work on them, too: BASE and
# each other system, seed by seed, on the same draws of studies. *What to see: which intervals leave out 0.*

# %%
assert all(list(r.tokens) == list(references) for r in longer["tuned"])  # a row a study, in the order of this page
base = {r.experiment.training.seed: r for r in longer["tuned"] if r.experiment.preset == "base"}
paired_rows = []
for system, of in by_system.items():
    pairs = [
        (r, base[seed])
        for r in of
        if with_its_own_labels(r) and (seed := r.experiment.training.seed) in base and r is not base[seed]
    ]
    for metric in ("BLEU-4", "finding-F1") if pairs else ():
        drawn_differences = np.mean(
            [x.terms[metric].resampled(draws) - y.terms[metric].resampled(draws) for x, y in pairs], axis=0
        )
        low, high = np.quantile(drawn_differences, [0.025, 0.975])
        test = paired_randomisation(*([r.terms[metric] for r in side] for side in zip(*pairs, strict=True)))
        paired_rows.append([f"{system} − BASE", metric, len(pairs), test.difference, low, high, test.p])
beside = pd.DataFrame(paired_rows, columns=["difference", "metric", "seeds", "value", "low", "high", "p"])
beside.round(4) if len(beside) else None

# %%
sure = beside[(beside["low"] > 0) | (beside["high"] < 0)]
say(
    f"{len(sure)} of these {len(beside)} intervals leave out 0"
    + (
        f": {'; '.join(f'{row.difference} in {row.metric}, {row.value:+.3f}' for row in sure.itertuples())}."
        if len(sure)
        else "."
    )
    + " They are over *studies*, for these trainings. That a *method* is better must also hold over seeds: section 10.8 has the rule that counts both.",
) if len(beside) else say("*No pair of a system and BASE is kept: not run.*")

# %% [markdown]
# ## 9.14 Who chose, and on what?
#
# Every training leaves a choice: which epoch, which setting, which of many trials. Choose on **validation** and the test score is a measurement. Choose on
# **test** and the score is a maximum over trials, which the next patients won't give back.
#
# *The released code keeps the epoch with the best validation BLEU-4; it also scores every epoch on test and notes which
# one would have been best there, without printing it · we score test once, with the epoch that validation chose; in the
# small profiles by BLEU-4 plus finding-F1 (`rules-1`), since BLEU-4 alone likes a model that always says the same.*

# %%
say(
    *(
        f"- {name}: {len(result.history)} epochs, epoch {result.best_epoch + 1} chosen on validation by {' + '.join(runs[name].experiment.training.monitor)}."
        for name, result in trained.items()
    )
)

# %% [markdown]
# How to search is a choice as well, and `tuned` makes it on validation, from ways that were written down before
# (`rrg tune`, chapter 03). The score on the studies that chose is, in part, luck of the choice. Test did not choose.

# %%
chosen_runs = [r for r in longer["tuned"] if with_its_own_labels(r)]
ways = len(list(GRID.settings(runs["CMN"].experiment.decoding)))
held = {
    metric: [
        np.mean(values)
        for values in zip(
            *((r.provenance["tuned"]["val"][metric], r.evaluation.scores[metric]) for r in chosen_runs), strict=True
        )
    ]
    for metric in TARGET
}
say(
    f"At most {ways} ways a run are tried, and the highest {' + '.join(TARGET)} among those with a length ratio of {BAND[0]} to"
    f" {BAND[1]} is kept. Means over {len({r.weights for r in chosen_runs})} trainings, on the validation studies that chose, and on"
    " test:\n",
    *(f"- {metric}: {on_its_own:.3f} and {elsewhere:.3f}" for metric, (on_its_own, elsewhere) in held.items()),
    "\nThe two are of different studies, so a gap need not be all luck. But only the second is a measurement.",
) if chosen_runs else say("*No run with a chosen search is kept: not run.*")

# %% [markdown]
# How large is the temptation? Constant reports make it visible: each training report is a candidate, and none of them is better than its words. Draw
# a pool of candidates, choose one on validation or on test, and read its test score; 500 times for each size of the pool. *What to see: left, whether what
# is good on validation is good on test. Right, the gap between the lines: what choosing on test pretends to have.*

# %%
on_test = constant_bleu(candidates, list(references.values()))[:, 3]  # (candidates,)
pools = [size for size in (1, 3, 10, 30, 100, 300, 1000) if 2 * size < len(candidates)] + [len(candidates)]
rng, chosen_by = np.random.default_rng(SEED or 0), {"val": [], "test": []}
for size in pools:
    drawn_pools = [rng.choice(len(candidates), size, replace=False) for _ in range(500)]
    for split_name, judge in (("val", on_val), ("test", on_test)):
        chosen_by[split_name].append(np.mean([on_test[pool[judge[pool].argmax()]] for pool in drawn_pools]))
figures.who_chose(on_val, on_test, pools, chosen_by["val"], chosen_by["test"], name="09_who_chose")

# %%
optimism = np.subtract(chosen_by["test"], chosen_by["val"])
same = "the same report" if on_val.argmax() == on_test.argmax() else "another report"
say(
    f"In the figure, left: a dot is a constant report; its two scores go together (correlation {np.corrcoef(on_val, on_test)[0, 1]:.2f}), and the best on",
    f"validation is {'also' if same == 'the same report' else 'not'} the best on test.",
    "Right: what choosing from a larger pool gains. Blue is progress; the gap up to orange is self-deception.\n",
    f"- Chosen on validation among {len(candidates):,}: BLEU-4 {on_test[on_val.argmax()]:.4f} on test. Chosen on test: {on_test.max():.4f}, {same}.",
    f"- The gap is {optimism.max():.4f} at its largest, with {pools[int(optimism.argmax())]:,} candidates; the interval of a1 reaches"
    f" {half['a1']:.4f} to each side.",
    "- Here one knows the number of candidates. Of a published score one rarely does.",
)

# %% [markdown]
# ## 9.15 Does it look where the finding is?
#
# The drawn images come with a box around each finding, so a last question can be put to a system: while it reads the words of a finding, **how much of
# its attention falls into the finding's box?** Two ways of looking (chapter 04, section 4.11): the decoder's *cross-attention*, and, through the
# memory, the patches that share *memory slots* with the word. And two yardsticks, because a number alone would fool us again:
#
# - **chance**: the box's share of the picture, which is what a map gets that is the same everywhere;
# - **the mean map of the other studies** with the same finding: hearts are always in the middle, so a habit beats chance without looking.
#
# All systems read the references, so all are asked about the same words.

# %%
looked, texts = {}, {dataset.ids[i]: dataset.reference(i) for i in dataset.split_indices("test")}
for name, run in runs.items():
    boxed = box_table(run.generator(), run.batches("test"), texts)
    if len(boxed):
        looked |= {(name, look): row for look, row in box_summary(boxed, by=["look"]).to_dict("index").items()}
looked = pd.DataFrame.from_dict(looked, orient="index")
looked[["n", "studies", "inside", "chance", "ratio", "low", "high", "own", "own_low", "own_high"]].round(3) if len(
    looked
) else None

# %% [markdown]
# `ratio` is inside over chance, `own` inside over the mean map of the other studies, both with their 95 % intervals
# over studies. The longer runs, all systems, from `data/attention` (`rrg attention iu_phantom/cmn --profile laptop`
# measures one). How a report would be searched plays no part: the words are the references'. XProNet's memory is told
# what a classifier sees; chapter 05 has its other labels. *What to see: right of the dashed line is better than chance;
# but only what lies right of its own black mark comes from looking at this study.*

# %%
kept = attention_results.stored_attention(dataset=DATASET)
of_this_edition = {
    q.experiment.name for q in kept if q.provenance.get("protocol") == "tuned"
}  # trained again: the older seeds of these are left out
kept = [q for q in kept if (q.provenance.get("protocol") == "tuned") == (q.experiment.name in of_this_edition)]
kept = [
    q for q in kept if q.provenance["decoding"]["labels_at_test"] == q.experiment.decoding.labels_at_test
]  # one kind of labels a training
first_name = {}  # one experiment under two names (XProNet without its memory is BASE) is one system
for q in kept:
    first_name.setdefault(effective(q.experiment), q.experiment.preset)
kept = [q for q in kept if first_name[effective(q.experiment)] == q.experiment.preset]
measured = (
    attention_results.attention_table(kept).xs(attention_results.REFERENCE, level="words") if kept else pd.DataFrame()
)
figures.looks(measured, name="09_looks") if kept else None


# %%
def described(row):
    at_all = "above" if row["low"] > 1 else "below" if row["high"] < 1 else "not to be told from"
    its_own = "more than" if row["own_low"] > 1 else "less than" if row["own_high"] < 1 else "no more than"
    return f"**{row['ratio']:.2f}** times chance, {at_all} it; {its_own} the habit of other studies ({row['own']:.2f})"


# without retrieval a word and a patch share no slot, so the ratio is 1 by construction: no measurement
retrieves_nothing = {q.system for q in kept if getattr(q.experiment.memory, "retrieval", None) == "none"}
every = pd.concat([looked.assign(seeds=1), measured]) if len(looked) else measured
every = every[[not (name in retrieves_nothing and look == SHARED_SLOTS) for name, look in every.index]]
more, less = (
    [f"{name} ({look})" for (name, look), row in every.iterrows() if chosen(row)]
    for chosen in (lambda r: r["own_low"] > 1, lambda r: r["own_high"] < 1)
)


def through_memory(rows):
    """The systems of some rows that look through shared slots: their names, and of those that know more than a habit."""
    there = [
        (name, row) for (name, look), row in rows.iterrows() if look == SHARED_SLOTS and name not in retrieves_nothing
    ]
    return [name for name, _ in there], [name for name, row in there if row["own_low"] > 1]


trained_longer, know_more = through_memory(measured)
here, know_more_here = through_memory(looked)
trainings = sum(int(measured.loc[(name, SHARED_SLOTS), "seeds"]) for name in trained_longer)
say(
    "In the figure the lines are the intervals of `ratio`; the counts below go by those of `own`, so a mark beside its black stroke need not count.\n"
    if kept
    else "",
    *(f"- {name}, {look}: {described(row)}." for (name, look), row in looked.iterrows()),
    f"- Of all {len(every)} looks, {len(more)} know more of their own study than a habit would, {len(less)} know less; the ratios go from"
    f" {every['ratio'].min():.2f} to {every['ratio'].max():.2f} times chance.",
    f"- Through a shared memory, {len(know_more)} of the {len(trained_longer)} longer trained systems do ({trainings} trainings"
    + (
        f"; {', '.join(sorted(retrieves_nothing))}, where nothing is retrieved and every map is flat, is not among them)."
        if retrieves_nothing
        else ")."
    )
    + f" Of the systems that this page trained: {', '.join(know_more_here) or 'none'} of {', '.join(here) or 'none'}."
    + "\n\nA map that lies well does not prove that the word came from there. One that lies badly does not prove that it didn't: the"
    " patches have met each other in the encoder before anyone looks at them.",
) if len(every) else say("These studies have no boxes: nothing to measure.")

# %% [markdown]
# ## 9.16 Beside the published tables
#
# `data/published.csv` holds the numbers that the papers print, with table and row.

# %%
printed = (
    pd.DataFrame(package_data.table("published"))
    .query("dataset == 'iu_xray' and metric in @METRICS")
    .astype({"value": float})
)
own = [("R2GenCMN", "Table 2", "BASE"), ("R2GenCMN", "Table 2", "BASE+MEM"), ("R2GenCMN", "Table 2", "CMN")]
own += [("XProNet", "Table 1", "XProNet"), ("Student paper", "Table 3", "CMN + pair alignment")]
tables = printed.pivot_table(index=["paper", "where", "system"], columns="metric", values="value")
shown = tables.loc[[key for want in own for key in tables.index if key[0].startswith(want[0]) and key[1:] == want[1:]]]
shown[[metric for metric in METRICS if metric in shown]].map(lambda value: "–" if math.isnan(value) else f"{value:g}")

# %% [markdown]
# **Not comparable:** every system of ours that looks. These papers' systems saw real radiographs; ours, in the default dataset, drawn ones; sizes and
# schedules differ too. Their numbers come without an interval. XProNet's released code, moreover, is given labels taken from
# the test reports it is to write.
#
# **Comparable, as far as the released code tells:** a1, b and c on the collection's reports with what the R2Gen release
# and its successors print. They look at nothing, so it does not matter what the images are; their references are the
# same test reports in the same protocol.
#
# **Not comparable either:** what those tables quote from other papers. Those systems may have been trained and tested
# on another split, their reports cleaned in another way, their scores computed by another program. The cell below the
# figure names them; none is counted.
#
# *What to see: how wide our intervals are beside the steps between the published diamonds, and which of those a report without an image reaches.*

# %%
bleu4 = pd.DataFrame(
    {
        name: {"value": row.parts["all"].scores["BLEU-4"], **row.intervals["BLEU-4"]._asdict()}
        for name, row in rows.items()
    }
).T
names = {
    f"{system} ({paper.split(' (')[0]}, {where})": value for (paper, where, system), value in shown["BLEU-4"].items()
}
note = "published without intervals;\n" + (
    "not comparable with what looks at drawn images" if drawn else "other sizes and schedules"
)
figures.beside_published(
    bleu4,
    names,
    metric="BLEU-4",
    blind=list(blind),
    where=f"{DATASET}, {PROFILE}",
    note=note,
    name="09_beside_published",
)

# %%
# In the tables of CMN and XProNet, but from other papers, whose split, cleaning and scorer may be others. R2GEN is quoted, too, from the release that CMN
# is built on.
spelt = {"CoAT": "COATT"}  # one system, in two ways
listed = [row for row in package_data.table("published_systems") if row["paper"].startswith(("R2GenCMN", "XProNet"))]
quoted = {spelt.get(row["system"], row["system"]) for row in listed if row["iu_xray"] == "quoted"}
in_tables = printed[
    printed["metric"].eq("BLEU-4")
    & printed["where"].str.startswith("Table")
    & printed["paper"].str.startswith(("R2GenCMN", "XProNet"))
]
in_tables = in_tables.assign(system=in_tables["system"].replace(spelt))
assert set(in_tables.loc[in_tables["note"].str.startswith("cited"), "system"]) <= quoted | {"R2GEN"}
assert (in_tables.groupby("system")["value"].nunique() == 1).all()  # who stands in several tables has one value
values_of = in_tables.groupby("system")["value"].first()
pipeline = values_of[~values_of.index.isin(quoted)]
low, high = rows["a1"].intervals["BLEU-4"]
within = {
    where: [f"{system} ({value:g})" for system, value in pipeline[chosen].items()]
    for where, chosen in (
        ("below", pipeline < low),
        ("inside", pipeline.between(low, high)),
        ("above", pipeline > high),
    )
}
counted = (
    f"The tables of CMN and XProNet print BLEU-4 of {len(values_of)} systems for IU X-Ray. {len(values_of) - len(pipeline)} of them are quoted"
    f" from papers with pipelines of their own and are not counted. Of the {len(pipeline)} others, beside the interval of the constant"
    " report a1: "
    + "; ".join(f"**{len(names_)}** {where} ({', '.join(names_) or 'none'})" for where, names_ in within.items())
    + ". That is no judgement of those systems: paired with a1, study by study, they might be told from it, but that takes their"
    " reports. It says how little a BLEU-4 on this collection tells about looking."
)
say(
    "In the figure: orange squares may be held against the diamonds of CMN and XProNet; the blue dots may not. What pipeline the"
    " student paper's diamond comes from is not said.\n"
    if drawn
    else "In the figure: our systems above theirs.\n",
    "These are sampled studies with a grammar's reports: another test, and nothing may be held against anything."
    if DATASET == "phantom"
    else counted,
)

# %% [markdown]
# `ci` is the shortest of the profiles. Results of longer runs are kept in `data/results/`, each with what it takes to
# repeat it. Here the systems of Section 9.13 beside a1, their search chosen on validation. Each training is held
# against a1 by the paired interval of Section 9.12: the same draws of studies for both, and the difference.


# %%
def beside_a1(result, metric):
    """Whether a stored run is above a1, below it, or not to be told apart: the paired interval over studies."""
    return verdict(*np.quantile(result.terms[metric].resampled(draws) - resampled["a1"][metric], [0.025, 0.975]))


held_against, at_all = {}, Counter()
for system, of in by_system.items():
    held_against[system] = {"trainings": len(of)}
    for metric in ("BLEU-4", "finding-F1"):
        verdicts = Counter(beside_a1(r, metric) for r in of)
        if with_its_own_labels(of[0]):  # so that a training counts once
            at_all.update({(metric, what): n for what, n in verdicts.items()})
        held_against[system] |= {
            metric: round(spread[system][metric].mean, 3),
            f"{metric} beside a1": ", ".join(f"{n} {what}" for what, n in verdicts.items()),
        }
    held_against[system]["finding-F1 keywords-0"] = round(spread[system]["finding-F1 keywords-0"].mean, 3)
of_a1 = rows["a1"].parts["all"].scores
say(
    f"Of {len({r.weights for r in chosen_runs})} trainings, each counted once, **{at_all['BLEU-4', 'below']}** lie below a1"
    f" ({of_a1['BLEU-4']:.3f}) in BLEU-4, and **{at_all['finding-F1', 'above']}** above it ({of_a1['finding-F1']:.3f}) in finding-F1,"
    " beyond their paired intervals."
) if by_system else say(
    "*No longer run is kept yet. `make book PROFILE=laptop` makes one, and fills this whole page with it.*"
)
pd.DataFrame.from_dict(held_against, orient="index") if by_system else None

# %% [markdown]
# Why is a report that looks at nothing ahead in BLEU-4? Ask your `why_ahead` (exercise 9.8): the stored results hold
# their reports. A row a protocol, the mean over the same trainings. The three parts add up to the lead, a difference of
# logarithms. *What to see: how much of the lead is length, and what is left of it where the search was chosen.*

# %%
wanted_texts, constant = list(references.values()), [blind["a1"][i] for i in references]
lead_parts = []
for of in same_weights.values():
    for how, r in of.items():
        texts_of = r.reports(vocabulary)
        (by_length, by_habit, by_looking), _ = why_ahead(wanted_texts, constant, [texts_of[i] for i in references])
        lead_parts.append(
            [
                how,
                r.experiment.preset,
                r.length_ratio,
                by_length + by_habit + by_looking,
                by_length,
                by_habit,
                by_looking,
            ]
        )
lead_parts = pd.DataFrame(
    lead_parts, columns=["searched", "system", "length ratio", "lead of a1", "length", "habit", "looking"]
)
summed = lead_parts.groupby("searched", sort=False)
of_the_lead = (
    summed[["length ratio", "lead of a1", "length", "habit", "looking"]].mean() if len(lead_parts) else pd.DataFrame()
)
of_the_lead.round(3) if len(lead_parts) else None

# %%
lines = []
for how, group in summed if len(lead_parts) else ():
    ahead, level = group["lead of a1"] > 0, group["lead of a1"] - group["length"] <= 0
    row = of_the_lead.loc[how]
    share = f", {row['length'] / row['lead of a1']:.0%} of the lead" if row["lead of a1"] > 0 else ""
    lines.append(
        f"- `{how}`: a1 is ahead of {ahead.sum()} of {len(group)} trainings, on average by a factor of {math.exp(row['lead of a1']):.2f} in"
        f" BLEU-4. Length makes {row['length']:+.3f} of {row['lead of a1']:+.3f}{share}; habit {row['habit']:+.3f}; looking"
        f" {row['looking']:+.3f}. Were the brevity penalty the same for both, and all else as it is, a1 would be ahead of"
        f" {(ahead & ~level).sum()}."
    )
say(
    *lines,
    "\nWhat a part is above 100 % the others take back. Looking below 0 is the systems' own: their reports fit their study better than"
    " the next one's, which a constant cannot do. Habit above 0 is a1's: of all training reports it is the one that says what most say.",
) if lines else say("*No run is kept in three protocols: not run.*")

# %%
of_systems = lead_parts[lead_parts["searched"] == "tuned"].groupby("system", sort=False)
of_systems[["length ratio", "lead of a1", "length", "habit", "looking"]].mean().round(3) if len(lead_parts) else None

# %% [markdown]
# ## 9.17 One set of reports, every convention
#
# The tables print clinical scores, too. Can a clinical F1 be held against another? Section 9.10 had three choices to name. There are five, and papers
# seldom name them all:
#
# | choice | its values here |
# |---|---|
# | the **labeler** | `rules-1` · `rules-2`, which reads more ways to write · `keywords-0`, which knows no doubt |
# | what **uncertain** counts as | negative · positive · ignored: that label of that study is not counted |
# | the **average** | *micro*: the hits and mistakes of all in one · *macro*: the mean of the labels' own F1 · *example*: the mean of the studies' own F1 |
# | the **label set** | CheXpert-14 · CheXpert-13 · CheXpert-5, the five of its contest · drawn-13 |
# | an **empty row**, a label or a study in which there is nothing to find | left out · counts 0 · counts 1 |
#
# Each value is somebody's choice. So we send one set of reports through all of them, held against the same labeler's labels of the references. BASE's
# reports come from its first longer run in `data/results`, where there is one; a1 never looked. `rrg score --conventions FILE` makes the same table of
# any reports.

# %%
longer_base = next((r for r in longer["tuned"] if r.experiment.preset == "base"), None)
one_set = {"BASE": longer_base.reports(vocabulary) if longer_base else written["BASE"], "a1": blind["a1"]}
as_written = [study.report for study in studies["test"]]
by_convention = {
    name: convention_table([reports[i] for i in references], as_written) for name, reports in one_set.items()
}
pd.set_option("display.max_colwidth", None)
pd.DataFrame(
    [
        [name, which, f"{value:.3f}", str(convention)]
        for name, table in by_convention.items()
        for which, (convention, value) in (("smallest", table.smallest), ("largest", table.largest))
    ],
    columns=["reports", "F1", "value", "counted by"],
)

# %% [markdown]
# *What to see: a cell is one way to count, and a panel has the same reports in every cell. Go along a row: only the average and the rule for empty rows
# change. Go down a column: the label set, the labeler, the doubt. The last column pays for silence: a study in which neither side has a finding counts 1.*

# %%
figures.conventions({name: table.table(whole=True) for name, table in by_convention.items()}, name="09_conventions")

# %% [markdown]
# Which of the five choices is it? `table(whole=True)` has a row for each combination of choices. (Where one does not matter, as doubt to `keywords-0` or
# empty rows to micro, the same F1 stands beside each of its values.)
#
# **Exercise 9.9** (8 min). For one choice, find the largest difference between two rows that differ in it **alone**.


# %% exercise="9.9" level="implement"
def largest_move(table, choice):
    """A row a convention: columns CHOICES and "f1"; one of CHOICES -> the largest difference of f1 between rows that are alike in all other choices"""
    ### BEGIN SOLUTION
    others = [other for other in CHOICES if other != choice]
    f1 = table.groupby(others)["f1"]
    return (f1.max() - f1.min()).max()
    ### END SOLUTION


# %% exercise="9.9" points=8
checks.largest_move(largest_move)

# %%
moves = {
    name: {choice: largest_move(table.table(whole=True), choice) for choice in CHOICES}
    for name, table in by_convention.items()
}
assert all(
    math.isclose(moves[name][choice], moved)
    for name, t in by_convention.items()
    for choice, moved in t.moved_by().items()
)
pd.DataFrame(moves).rename(index=lambda choice: choice.replace("_", " ")).round(3)

# %%
most = {name: sorted(CHOICES, key=of.get, reverse=True)[:2] for name, of in moves.items()}
pairs = [(f1, by_convention["a1"].f1[convention]) for convention, f1 in by_convention["BASE"].f1.items()]
leads = [looks - blind_ for looks, blind_ in pairs]
ahead = sum(lead > 0 for lead in leads)
say(
    *(
        f"- {name}: F1 from **{t.smallest[1]:.3f}** to **{t.largest[1]:.3f}**, of the same reports. The choices that move it most, each alone: "
        + " and ".join(f"{c.replace('_', ' ')} (by {moves[name][c]:.3f})" for c in most[name])
        + "."
        for name, t in by_convention.items()
    ),
    f"- BASE is above a1, which says the same of everybody, in {ahead} of {len(pairs)} conventions."
    + (
        " Their order does not hang on the counting; how far they are apart does:"
        if ahead == len(pairs)
        else " Their order, too, hangs on the counting, and so does how far they are apart:"
    )
    + f" from {min(leads):+.3f} to {max(leads):+.3f}.",
    "\nThe largest moves do not add up: what a choice does depends on the others. A printed F1 without all five cannot be matched. Chapter 10 asks what"
    " the papers' own precision and recall still tell of theirs.",
)

# %% [markdown]
# ## 9.18 An error gallery
#
# Numbers say how often. Reading says what. First the findings of every report, sorted into four drawers:

# %%
drawers = {}
for name, reports in systems.items():
    says = labels_of(reports)
    ill, right, made_up = truth.any(1), (says == truth).all(1), (says > truth).any(1)
    drawers[name] = {
        "abnormal, all findings right": int((ill & right).sum()),
        "abnormal, some named, not all right": int((ill & ~right & (says & truth).any(1)).sum()),
        "abnormal, none of its findings named": int((ill & ~(says & truth).any(1)).sum()),
        "normal, nothing made up": int((~ill & ~made_up).sum()),
        "normal, a finding made up": int((~ill & made_up).sum()),
    }
pd.DataFrame(drawers)

# %% [markdown]
# Then three reports of CMN on abnormal studies, as BLEU-4 ranks them: the **worst**, a **typical** one (the median) and the **best**. Of scores that are
# equal to three digits, the one with the most mistakes about findings is taken; as typical, the one in the middle of those. A rule chooses them, and none is left out for what it says.

# %%
wrong = (said != truth).sum(1)  # (n,) findings missed or made up
abnormal_at = np.flatnonzero(truth.any(1))
scores = np.round(each["CMN"], 3)
ranked = sorted(abnormal_at, key=lambda k: scores[k])
gallery = {}
for title, place in {"Worst": 0, "Typical": len(ranked) // 2, "Best": -1}.items() if ranked else ():
    equal = sorted((k for k in ranked if scores[k] == scores[ranked[place]]), key=lambda k: wrong[k])
    gallery[title] = equal[len(equal) // 2 if title == "Typical" else -1]

# %% [markdown]
# *What to see: blue boxes hold a finding that the report names, orange dashed ones a finding it does not. The model never sees a box.*


# %%
def findings_named(flags):
    return ", ".join(name for name, on in zip(DRAWN_FINDINGS, flags, strict=True) if on) or "none"


def read_from(report):
    """What `rules-1` reads in a report: finding, side, severity, doubt; what is denied is left out."""
    found = [m for m in reader.mentions(report) if m.drawn and m.status in ("positive", "uncertain")]
    words = [
        " ".join(filter(None, [m.severity, m.side, m.drawn, "(perhaps)" if m.status == "uncertain" else None]))
        for m in found
    ]
    return ", ".join(dict.fromkeys(words)) or "none"


def show(title, k):
    """One study: its views, what was written about it, what the generator says, the labels of both, and what differs."""
    study, named = studies["test"][k], [name for name, on in zip(DRAWN_FINDINGS, said[k], strict=True) if on]
    i = dataset.index(study.id)
    say(f"**{title}** (study {study.id}, BLEU-4 of its own: {each['CMN'][k]:.3f}, findings wrong: {wrong[k]})")
    display(
        figures.one_study(dataset.views(i), dataset.boxes(i), named, drawn=drawn, name=f"09_gallery_{title.lower()}")
    )
    say(
        f"- *Reference, as written:* {study.report}",
        f"- *CMN:* {written['CMN'][study.id]}",
        f"- experts' codes: {findings_named(truth[k])}",
        f"- read from the reference: {read_from(study.report)}; from CMN's report: {read_from(written['CMN'][study.id])}",
        f"- found: {findings_named(said[k] & truth[k])} · missed: {findings_named(truth[k] > said[k])} · made up: {findings_named(said[k] > truth[k])}",
    )


# %%
for title, k in gallery.items():
    show(title, k)
say(f"*References: {studies['test'][0].source}; quoted unmodified.*" + (" *The images are drawn.*" if drawn else ""))

# %%
top = (
    ranked[-max(1, len(ranked) // 4) :] if ranked else []
)  # the quarter of the abnormal studies that BLEU-4 likes best
flawed = sum(int(wrong[k] > 0) for k in top)
say(
    f"Of the {len(top)} abnormal studies whose reports BLEU-4 likes best, **{flawed}** have a finding missed or made up. *Best* is the score's word, not the",
    "patient's.",
) if top else say("There is no abnormal study here.")

# %% [markdown]
# Read each pair twice: once as BLEU does, once as the physician who must act on it. Would you have sorted them as the scores did?
#
# ## What you can now do
#
# - Compute BLEU by hand, and say what clipping, the brevity penalty and the sum over the corpus each prevent.
# - Ask of any table: what does a constant report get here, how many different reports are there, what happens on abnormal studies alone, how wide is
#   the interval, and who chose the checkpoint on which split?
# - Compare two systems on the same studies: a difference with its interval, a test, and the spread of seeds beside both.
# - Use a labeler without believing it: with its version, its ceiling, its label set, what it makes of *perhaps*, and its blind spots.
# - Ask of a map of attention what chance and habit would have given.
#
# ## Sources
#
# - K. Papineni, S. Roukos, T. Ward, W.-J. Zhu: *BLEU: a Method for Automatic Evaluation of Machine Translation*, ACL 2002.
# - S. Banerjee, A. Lavie: *METEOR*, 2005. C.-Y. Lin: *ROUGE*, 2004. R. Vedantam, C. L. Zitnick, D. Parikh: *CIDEr*, CVPR 2015. All four scores as
#   implemented in `pycocoevalcap`.
# - W. W. Chapman et al.: *A Simple Algorithm for Identifying Negated Findings and Diseases in Discharge Summaries* (NegEx), 2001. H. Harkema et al.: *ConText*,
#   2009. J. Irvin et al.: *CheXpert*, AAAI 2019.
# - E. W. Noreen: *Computer-Intensive Methods for Testing Hypotheses*, 1989. S. Riezler, J. T. Maxwell: *On Some Pitfalls in Automatic Evaluation and
#   Significance Testing for MT*, 2005.
# - B. Efron: *Bootstrap Methods: Another Look at the Jackknife*, Annals of Statistics 1979.
# - Published scores: Z. Chen et al., *Cross-modal Memory Networks for Radiology Report Generation*, ACL-IJCNLP 2021, and the other papers named in
#   `data/published.csv`.
# - Reports and expert codes: Indiana University Chest X-ray Collection, D. Demner-Fushman et al., *Preparing a collection of radiology examinations for
#   distribution and retrieval*, JAMIA 2016, CC BY-NC-ND 4.0.
