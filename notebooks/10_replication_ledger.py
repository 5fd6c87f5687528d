# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 1, peak_gib: 2}
# ---

# %% [markdown]
# # 10 · The ledger: what was claimed, what was found
#
# Nine chapters built four systems. This one asks of every number and every sentence in their papers: **is it so?** The answers are kept in a ledger,
# a row for each printed value and each claim, and the ledger is made by one command from what is stored. Here we read it aloud.
#
# **Goals.** You can
# - say what a claim is, which verdicts there are, and which verdict a measurement is good for,
# - hold a printed number for the interval that it is, and contradict a table with its own figures,
# - check without any training what needs none: parameters, averages, counts,
# - decide an order of two systems from seeds and studies by a rule that was written down before,
# - explain by a measurement why a second paper finds another gain than the first,
# - compute what a replication would cost, in hours and memory, before renting a GPU.
#
# **Before this:** chapter 09 (intervals, baselines). Chapters 04 to 07 for what the rows' names mean.
#
# **Minutes.** Running one to two on two CPU cores; it trains nothing. Reading 45, exercises 45.
#
# **Ours are scores on drawn radiographs**, so they stand *beside* printed ones and are **not comparable with them**. That is why most verdicts
# below are humble.

# %% tags=["parameters"]
DATASET = "iu_phantom"
DATA_ROOT = None  # the folder of real images, for the datasets that need one
PROFILE = "ci"  # ci | laptop | gpu
SEED = None  # None: the seed of the release

# %%
from rrg_lib.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import math

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from rrg_lib import results
from rrg_lib.budget import EFFICIENCY, GPUS, LAUNCH, budget, workloads
from rrg_lib.checks import replication_ledger as checks
from rrg_lib.checks import replication_ledger_gains as gain_checks
from rrg_lib.evaluation.exact import CMN, MIMIC_REPORTS_IN_TEXT, NLG, STUDENT, iu_xray_statistics, memory_cost, parameters, run_check
from rrg_lib.evaluation.ledger import counts, ledger
from rrg_lib.evaluation.ledger_claims import DRAWN, HOLDS, NOT_RUN, UNDECIDED
from rrg_lib.evaluation.ledger_tables import main_table, printed_table, printed_tables
from rrg_lib.evaluation.measured import MIN_SEEDS, measured, order
from rrg_lib.evaluation.published import compare, published, relative_gain, same_elsewhere, values_of
from rrg_lib.figures import published as figures
from rrg_lib.models.generator import GeneratorConfig
from rrg_lib.models.memory import CMNConfig
from rrg_lib.prose import say
from rrg_lib.published_figures import draw

# %% [markdown]
# ## 10.1 A row, and what may be said of it
#
# Two kinds of rows. A **value** is a number that a paper prints: paper, table, data set, system, metric. A **claim** is a sentence that could be
# wrong: "A is better than B", "K is best", "it costs so many parameters". Each claim says beforehand what would decide it.
#
# | verdict | when |
# |---|---|
# | *reproduced*, *not reproduced* | measured **on the paper's own data**, or counted |
# | *holds*, *fails*, *undecided on IU-Phantom* | measured on drawn radiographs: **not a replication** |
# | *consistent with*, *contradicted by its own table* | the paper's figures among themselves |
# | *not run* | data, a GPU or seeds are missing; the row says which |
#
# Why is *holds on IU-Phantom* not a replication? Our radiographs are drawn from expert codes. A finding is always visible, always in its place,
# always the same kind of shadow. A memory might help there and not on real films, or the other way round. An order that holds on drawn studies
# is a hint about a mechanism. About the paper's table it says nothing.

# %%
stored = results.stored()
rows = ledger(stored)  # `rrg ledger` writes the same rows as ledger.csv and ledger.md
by_id = {row.id: row for row in rows}

# %% tags=["nbval-check-output"]
kinds = pd.Series([row.kind for row in rows]).value_counts()
print(f"{kinds['value']} printed values, {kinds['claim']} claims, of {len({row.paper for row in rows})} papers")
without = counts(ledger([]))  # what can be said with nothing trained at all
print({verdict: n for verdict, n in without["claim"].items() if n})

# %% [markdown]
# *What to see: how little is blue or red. Most of what was printed can't be checked on a laptop, and a page that hid its grey bars would mislead.*

# %%
found = counts(rows)
figures.verdict_counts(found, name="10_verdicts")

# %%
total = sum(found["claim"].values())
say(
    "Of {total} claims, {none} are not run, {wrong} contradict the numbers printed beside them, {open} were measured on drawn studies and stay undecided, "
    "and {holds} hold there. {runs} stored results went into this.",
    total=total,
    none=found["claim"][NOT_RUN],
    wrong=found["claim"]["contradicted by its own table"],
    open=found["claim"][UNDECIDED],
    holds=found["claim"][HOLDS],
    runs=len(stored),
)

# %% [markdown]
# ## 10.2 A printed number is an interval
#
# A table that prints three decimals means: somewhere within half a unit of the last one. So two numbers contradict "A is above B" only when **no**
# values inside their intervals would satisfy it. Neighbours in the last digit never do: both may be the number between them.
#
# > printed $x$ with $k$ decimals stands for $[\,x-\tfrac12 10^{-k},\;x+\tfrac12 10^{-k}\,]$
#
# **Exercise 10.1** (10 min). Decide a claimed order from two printed texts. Mind zeros at the end, papers with another number of digits, and the
# binary fractions of your computer.


# %% exercise="10.1" level="implement"
def rounding_verdict(better, worse):
    """Two numbers as printed ("0.170") -> "contradicted" when the first can't be at least the second, whatever was rounded away; else "consistent"."""
    ### BEGIN SOLUTION
    half = [0.5 * 10.0 ** -len(text.partition(".")[2]) for text in (better, worse)]  # from the text: a float has lost its last zero
    highest, lowest = float(better) + half[0], float(worse) - half[1]
    return "contradicted" if round(highest, 9) < round(lowest, 9) else "consistent"  # touching ends must be equal
    ### END SOLUTION


# %% exercise="10.1" points=10
checks.rounding_verdict(rounding_verdict)  # silent if right

# %% [markdown]
# Now the conclusion of the student paper: adding pair alignment "outperforms CMN". Its own Tables 2 and 3, metric by metric:

# %% tags=["nbval-check-output"]
aligned = values_of(STUDENT, "Table 3", "iu_xray", "CMN + pair alignment")
plain = values_of(STUDENT, "Table 2", "iu_xray", "CMN")
for metric in NLG:
    a, b = aligned[metric], plain[metric]
    print(f"{metric:8} {a.text} in [{a.low:.5f}, {a.high:.5f}]   CMN {b.text} in [{b.low:.4f}, {b.high:.4f}]   {rounding_verdict(a.text, b.text)}")

# %% tags=["nbval-check-output"]
print(by_id["student-cmn"].verdict, "·", compare(aligned, plain))

# %% [markdown]
# These are all claims that their own tables contradict. (Where a claim was also measured here, the row says so in brackets.)

# %%
contradicted = [row for row in rows if row.kind == "claim" and row.verdict.startswith("contradicted")]
pd.set_option("display.max_colwidth", None)
pd.DataFrame([[row.paper, row.where, row.statement, row.why] for row in contradicted], columns=["paper", "where", "claim", "why"])

# %% [markdown]
# ## 10.3 Averages, and two sentences that can't both be true
#
# CMN's Table 2 has a column "average gain over BASE". Over which numbers, averaged how? Try what it could be and see whether it comes out:
#
# > gain $=\dfrac{100}{|\text{metrics}|}\displaystyle\sum_{\text{metrics}}\Big(\dfrac{\text{system}}{\text{BASE}}-1\Big)$
#
# **Exercise 10.2** (5 min). Write it.


# %% exercise="10.2" level="compute"
def average_gain(system, base):
    """Scores by metric, {metric: score} each -> the mean relative gain of the system over the base, in per cent."""
    ### BEGIN SOLUTION
    return 100 * sum(system[metric] / base[metric] - 1 for metric in base) / len(base)
    ### END SOLUTION


# %% exercise="10.2" points=5
checks.average_gain(average_gain)

# %% tags=["nbval-check-output"]
for dataset in ("iu_xray", "mimic_cxr"):
    base = values_of(CMN, "Table 2", dataset, "BASE")
    for name in ("BASE+MEM", "CMN"):
        row = values_of(CMN, "Table 2", dataset, name)
        mine = average_gain(*({metric: of[metric].value for metric in NLG} for of in (row, base)))
        _, low, high = relative_gain(row, base, NLG)  # what the rounding of twelve numbers allows
        print(f"{dataset:9} {name:8} {mine:6.2f} %, by rounding from {low:.2f} to {high:.2f}; printed {row['average gain over BASE, %'].text}")

# %% [markdown]
# So it is the mean relative gain over the six language metrics: all four printed figures lie in their interval. The formula was not printed; the
# arithmetic gave it back.
#
# The text then says in one place that the gain is larger on IU X-Ray, and in another that it is larger on MIMIC-CXR. The same column decides:

# %% tags=["nbval-check-output"]
for name in ("cmn-gains-iu", "cmn-gains-mimic"):
    print(f"{by_id[name].statement}: {by_id[name].verdict}")
print(run_check("mimic_cxr_gains_most").why)

# %% [markdown]
# It would be true of the other memory. Such slips happen to everybody who writes a page under a deadline. A check that runs takes a minute to write.
#
# ## 10.4 Counting parameters
#
# CMN's section 4.3 says what share of parameters 4,096 memory slots add. Nothing needs training to count.
#
# **Exercise 10.3** (5 min). A matrix of `slots` vectors of `d` numbers, and `maps` linear maps from d to d (each with its bias), in per cent of what
# was there before.


# %% exercise="10.3" level="compute"
def share_of_slots(slots, d, base, maps):
    """Parameters of the matrix and of the maps, in per cent of `base` parameters."""
    ### BEGIN SOLUTION
    return 100 * (slots * d + maps * (d * d + d)) / base
    ### END SOLUTION


# %% exercise="10.3" points=5
checks.share_of_slots(share_of_slots)

# %% tags=["nbval-check-output"]
d, base = GeneratorConfig().d_model, parameters(None)  # BASE with its ResNet-101, counted from the code at the published size
print(f"BASE {base:,}; CMN with 4,096 slots {parameters(CMNConfig(slots=4096)):,}")
print(f"yours: the matrix alone {share_of_slots(4096, d, base, 0):.3f} %, with its four maps {share_of_slots(4096, d, base, 4):.3f} %")
for reading, percent in memory_cost(4096).items():
    print(f"  {percent:6.3f} %  {reading}")
print(by_id["cmn-parameters"].why.partition(";")[0], "·", by_id["cmn-parameters"].verdict)

# %% [markdown]
# Three readings come close, none rounds to the printed figure, and the one that a reader would think of first, *everything that CMN adds*, is far
# above it: the memory's four linear maps are left out. What was divided by what is not printed. *Not reproduced* here means: by no reading that we
# could think of.
#
# *What to see: left, the printed diamond lies on the line of the matrix alone. Right, the score that those parameters are to buy.*

# %%
draw("cmn_figure_3", stored).figure

# %% [markdown]
# ## 10.5 Counting reports
#
# CMN's Table 1 counts the studies. The IU X-Ray reports are public, so we count too. And the paper's text states a number of its own for MIMIC-CXR.

# %% tags=["nbval-check-output"]
ours = iu_xray_statistics()
for value in published():
    if (value.paper, value.where, value.dataset) == (CMN, "Table 1", "iu_xray") and value.metric != "patients":
        print(f"{value.system:5} {value.metric:29} printed {value.text:>5}   the released split {ours[value.system, value.metric]:8,.1f}")
of_mimic = [v for v in published() if (v.where, v.dataset, v.metric) == ("Table 1", "mimic_cxr", "reports")]
print(f"\nMIMIC-CXR: Table 1 has {of_mimic[0].value:,.0f} for training alone; the text counts {MIMIC_REPORTS_IN_TEXT:,} in all")

# %%
display(say("Of MIMIC-CXR: {mimic}. Of IU X-Ray: {why}.", why=by_id["cmn-table1-iu"].why, mimic=by_id["cmn-table1-mimic"].why))
Markdown(
    "\n".join(f"- {row.system} {row.metric}: {row.why}" for row in rows if (row.where, row.dataset, row.metric) == ("Table 1", "iu_xray", "reports"))
)

# %% [markdown]
# Table 1 describes the collection *before* studies without findings or a second view were left out. The experiments were run on what was left. A
# reader who divides by Table 1's counts divides by the wrong number.
#
# ## 10.6 The main table
#
# Every row that the papers print of a system which this book builds, and ours. One call; `rrg ledger --main` prints the same.

# %%
main = main_table(rows, stored)
main

# %% [markdown]
# How to read it:
#
# - *printed* and *ours* are **not comparable**: other images. Beside MIMIC-CXR not even the reports are the same.
# - A dash means not run. The ledger's row says what it would take.
# - The bracket reaches from the lowest to the highest bound of the seeds' 95 % bootstrap intervals over studies.
# - The last rows never look at an image. They are scored on the reports of the standard test split, so they **are** comparable with what is printed
#   for IU X-Ray. Read them first.
#
# ## 10.7 The row that nobody printed
#
# Those last rows are reports written without an image. Here they stand beside everything printed for IU X-Ray, each system once.

# %%
on_iu = [v for v in published() if v.dataset == "iu_xray" and v.metric == "BLEU-4" and v.where.startswith("Table") and not same_elsewhere(v)]
printed = sorted(((f"{v.system} ({v.paper.split()[0]})", v.value) for v in on_iu), key=lambda pair: pair[1])
like = next((r.evaluation for r in stored if r.experiment.dataset == DRAWN), None)  # any system's: the baselines beside it are the same
blind = [(f"{row.name}: {row.description}", row.parts["all"].scores["BLEU-4"], *row.intervals["BLEU-4"]) for row in (like.rows[1:] if like else ())]

# %% [markdown]
# *What to see: the orange band is the interval of the first report without an image. Which of the published systems lie left of it, which inside?*

# %%
figures.constant_beside_print(blind, printed, metric="BLEU-4, IU X-Ray, standard test split", name="10_constant")

# %%
if blind:
    label, score, low, high = blind[0]
    below, inside = sum(v < low for _, v in printed), sum(low <= v <= high for _, v in printed)
    display(
        say(
            "**{label}** has BLEU-4 {score:.3f} [{low:.3f}, {high:.3f}]. Of {n} printed systems, {below} lie below its interval, {inside} in it and "
            "{above} above.",
            label=label,
            score=score,
            low=low,
            high=high,
            n=len(printed),
            below=below,
            inside=inside,
            above=len(printed) - below - inside,
        )
    )

# %% [markdown]
# That report was chosen on the validation studies and says the same of every patient. A replication that only matched the printed BLEU-4 would
# not have shown that anything was *seen*. Chapter 09 has the better questions.
#
# ## 10.8 Deciding an order
#
# "CMN beats BASE" is the kind of claim that papers live by. One number each does not decide it. Scores vary for two reasons:
#
# - **studies**: another test set would have given another score. The bootstrap interval says by how much;
# - **seeds**: another training would have. Only training again says by how much.
#
# The ledger's rule, written down before the results came. Of the mean over $n$ seeds,
#
# > $s^2 = s^2_{\text{studies}} + \dfrac{s^2_{\text{seeds}}}{n}\qquad$ **A is above B** when $\;\bar a-\bar b \;>\; t\,\sqrt{s_a^2+s_b^2}$
#
# with $t$ the 95 % quantile of Student's distribution (its degrees of freedom by Welch and Satterthwaite). The seeds were scored on the same
# studies, so averaging them does not shrink $s_{\text{studies}}$. Fewer than three seeds decide nothing. A claim that says "in every metric" holds
# when all are above, and fails when one is below. <!-- typed: the level of the quantile, a choice -->
#
# **Exercise 10.4** (15 min). Write the rule. `a` and `b` are the scores of the seeds, `s_a` and `s_b` what the studies contribute.


# %% exercise="10.4" level="implement"
def order_verdict(a, s_a, b, s_b, t):
    """Scores of A's seeds, s_studies of A, the same of B, the quantile -> "holds", "fails" or "undecided" for "A is above B"."""
    ### BEGIN SOLUTION
    if min(len(a), len(b)) < 3:
        return "undecided"
    variance = sum(s**2 + np.var(x, ddof=1) / len(x) for x, s in ((a, s_a), (b, s_b)))
    difference, margin = np.mean(a) - np.mean(b), t * math.sqrt(variance)
    return "holds" if difference > margin else "fails" if difference < -margin else "undecided"
    ### END SOLUTION


# %% exercise="10.4" points=15
checks.order_verdict(order_verdict)

# %% [markdown]
# Every claimed order that stored results speak of, by the library's form of the rule:

# %%
claimed = [row for row in rows if row.kind == "claim" and " > " in row.system and " " not in row.system.partition(" > ")[0]]
pd.DataFrame(
    [[row.system, row.metric, row.paper.split()[0], row.seeds or "–", row.verdict, row.why] for row in claimed],
    columns=["order", "scores", "paper", "seeds", "verdict", "why"],
)

# %%
pairs = [(a, b, metric) for a, b in (("mem", "base"), ("cmn", "mem"), ("cmn", "base"), ("xpronet", "cmn")) for metric in ("BLEU-4", "finding-F1")]
lines = []
for a, b, metric in pairs:
    one, two = (measured(stored, name, DRAWN, metric, profile="laptop") for name in (a, b))
    if one and two:
        judged = order(one, two)
        lines.append([f"{a} > {b}", metric, f"{judged.difference:+.3f}", f"{judged.margin:.3f}", judged.seeds, judged.how])
pd.DataFrame(lines, columns=["order", "score", "difference", "margin", "seeds", "how"])

# %%
waiting = sum("too few seeds" in line for line in lines)
say(
    "*What to see:* how large the margins are. {n} pairs are stored in the `laptop` profile, {waiting} of them with fewer than {least} seeds. Even with all "
    "seeds a difference must exceed a margin of that size before it says anything about the systems.",
    n=len(lines),
    waiting=waiting,
    least=MIN_SEEDS,
)

# %% [markdown]
# ### Why the next paper finds another gain
#
# Suppose that two papers had trained these pairs, each system once: the first with the first stored seed, the second with the second. Same code, same
# test studies, scores printed with three decimals.


# %%
def seeds_of(preset, metric):
    """Scores of the stored seeds of a preset, in order, and the interval of the first."""
    own = [one for one in stored if one.is_preset and one.labels_at_test in (None, "classifier")]
    own = [one for one in own if (one.experiment.preset, one.experiment.dataset, one.experiment.profile) == (preset, DRAWN, "laptop")]
    own = sorted(own, key=lambda one: one.experiment.training.seed)
    return [one.evaluation.scores[metric] for one in own], own[0].evaluation.rows[0].intervals[metric] if own else None


material = {(f"{a} over {b}", metric): (*seeds_of(a, metric), *seeds_of(b, metric)) for a, b, metric in pairs}
material = {key: found for key, found in material.items() if min(len(found[0]), len(found[2])) > 1}
gains = {key: tuple(round(round(a[i], 3) - round(b[i], 3), 3) for i in range(2)) for key, (a, _, b, _) in material.items()}
pd.DataFrame(gains, index=["first paper's gain", "second paper's gain"]).T

# %% [markdown]
# *What to see: rows where the second paper would have claimed less, or the opposite.* Nobody did anything wrong. How far apart can two gains lie? For
# each reason, measure its *reach*:
#
# | reason | what it means | its reach |
# |---|---|---|
# | `"rounding"` | the scores behind the gains were printed | the most that rounding alone can set the two gains apart |
# | `"seeds"` | both papers trained both systems anew, once each | two standard deviations of the distance of two such gains |
# | `"studies"` | and the second used another test set, as large | the same, each score now varying by seeds *and* studies |
# | `"something else"` | other data, another tokenisation, lower-casing, other settings | whatever lies beyond |
#
# A 95 % interval is four standard deviations wide. Take all scores as independent; then variances add up, also of a difference.
#
# **Exercise 10.5** (10 min). What explains that two papers print different gains? Measure the three reaches, and return them with the first reason,
# in the order of the table, whose reach is enough.


# %% exercise="10.5" level="explain"
def what_explains(gains, half, a, b, intervals):
    """Two gains of A over B; half a unit of the scores' last digit; scores of seeds of A and of B; the intervals (low, high) of A and of B
    -> (reach of rounding, of the seeds, of seeds and studies), and "rounding", "seeds", "studies" or "something else"."""
    ### BEGIN SOLUTION
    by_seeds = np.var(a, ddof=1) + np.var(b, ddof=1)  # of one gain: two scores, each of one training
    by_studies = sum(((high - low) / 4) ** 2 for low, high in intervals)
    reaches = 4 * half, 2 * math.sqrt(2 * by_seeds), 2 * math.sqrt(2 * (by_seeds + by_studies))  # four scores; two gains
    enough = [reason for reason, reach in zip(("rounding", "seeds", "studies"), reaches, strict=True) if abs(gains[0] - gains[1]) <= reach + 1e-9]
    return reaches, enough[0] if enough else "something else"
    ### END SOLUTION


# %% exercise="10.5" points=10
gain_checks.what_explains(what_explains)

# %% [markdown]
# The pairs above, and then one row of another kind: the gain that CMN prints for IU X-Ray beside the first stored one, with our seeds and studies.

# %%
explained = {key: (gains[key], *what_explains(gains[key], 0.0005, a, b, (of_a, of_b))) for key, (a, of_a, b, of_b) in material.items()}
in_print = [values_of(CMN, "Table 2", "iu_xray", name)["BLEU-4"].value for name in ("CMN", "BASE")]
if (ours_too := ("cmn over base", "BLEU-4")) in material:
    a, of_a, b, of_b = material[ours_too]
    beside = round(in_print[0] - in_print[1], 3), gains[ours_too][0]
    explained["cmn over base, printed and ours", "BLEU-4"] = (beside, *what_explains(beside, 0.0005, a, b, (of_a, of_b)))
columns = ["first gain", "second gain", "reach of rounding", "of seeds", "of seeds and studies", "explained by"]
pd.DataFrame({key: [*both, *(round(reach, 3) for reach in reaches), reason] for key, (both, reaches, reason) in explained.items()}, index=columns).T

# %%
if gains:
    reasons = [explained[key][2] for key in gains]
    printed_too = explained.get(("cmn over base, printed and ours", "BLEU-4"), (None, None, None))[2]
    display(
        say(
            "Of {n} pairs of gains **{turned}** have two signs: two careful papers, two opposite claims. Explained by {reasons}. {beside}",
            n=len(gains),
            turned=sum(one * two < 0 for one, two in gains.values()),
            reasons=", ".join(f"{reason} ({reasons.count(reason)})" for reason in dict.fromkeys(reasons)),
            beside="Between the printed gain and ours no seed and no test set of the same kind is enough: **something else** differs. One thing we know: "
            "our radiographs are drawn. The rule found by itself that the two are not comparable."
            if printed_too == "something else"
            else f"The printed gain and ours lie within the reach of {printed_too}; on other images that is no agreement, only a wide reach."
            if printed_too
            else "",
        )
    )

# %% [markdown]
# (A standard deviation of three seeds is a rough one: with more seeds the reaches would be other ones, and better known.)
#
# Here we know that only the seeds changed. Someone who reads two papers does not, and "something else" is then work to do: put both on the same
# references, split and scorer (chapter 09), and measure again.

# %% [markdown]
# ## 10.9 Every table
#
# As printed, a dash where nothing of ours stands beside it: *printed | ours*. (Ours is of drawn studies unless the ledger's row says otherwise; the
# rows with their intervals, seeds, protocol hashes and reasons are in `ledger.csv`.)

# %%
for paper, where in printed_tables(rows):
    if where.startswith(("Table", "summary")):
        display(Markdown(f"**{paper}, {where}**"), printed_table(rows, paper, where))

# %% [markdown]
# ## 10.10 Every figure
#
# `make figures` draws all of them into `figures/`, from stored results and from the runs that are trained here. Where ours is missing the figure
# says so. What a paper shows as a curve without numbers is **not read off its picture**: a number that was never printed is no evidence.
#
# Four of them are sweeps: a score over a setting. *What to see: on grey, what is printed of each. It is less than one remembers.*

# %%
for name in ("cmn_figure_4", "xpronet_figure_5", "xpronet_figure_6"):
    display(draw(name, stored).figure)

# %% [markdown]
# And a table as a figure. *What to see: the diamonds (printed) and the dots (ours, drawn radiographs) need not agree, they were measured on different
# images. Ask instead whether the dots' intervals are short enough to show an order as small as that of the diamonds.*

# %%
draw("cmn_table_2", stored).figure

# %%
draw("xpronet_table_2", stored).figure

# %% [markdown]
# ## 10.11 What would decide the rest, and what it costs
#
# The published setting is a ResNet-101 fine-tuned at 224 pixels. How long does that take? We **count**: build each system with shapes and no
# numbers, run one training step and one search on them, and add up every multiplication, every byte that is kept for the backward pass, every
# operation that a GPU is told to do.

# %%
loads = workloads()
budgets = {(name, data): budget(name, loads[data]) for data in loads for name in ("base", "cmn", "xpronet", "mcsam")}
gib = 2**30
cost = {
    key: {
        "step, 10¹² operations": b.step.step.flops / 1e12,
        "steps": b.steps,
        "weights and optimiser, GiB": (b.step.memory - b.step.activations) / gib,
        "activations, GiB": b.step.activations / gib,
    }
    for key, b in budgets.items()
}
pd.DataFrame(cost).T.rename_axis(["system", "data"]).round(3)

# %% tags=["nbval-check-output"]
for data, load in loads.items():
    print(f"{data}: {load.train:,} / {load.val:,} / {load.test:,} studies, {load.views} views, up to {load.max_length} words ({load.source})")
b = budgets["cmn", "iu_xray"]
share = budgets["base", "iu_xray"].step.step.flops / b.step.step.flops
print(f"a step of CMN on IU X-Ray: {b.step.step.flops / 1e12:.2f} million million operations, of which BASE has {share:.1%}")

# %% [markdown]
# Nearly all of it is the image network: **the memory is almost free**, if it is read as in chapter 04. (The release reads it in a way that is not.)
#
# Hours are operations over speed. A data sheet gives the peak; what is reached is less. The efficiency and the time of a launch below are **stated,
# not measured**: with another efficiency, divide. Searching is bounded by launches: its operations are small and many. So is training on a fast GPU:
# where two columns agree, a faster one would change nothing.

# %%
assumed = f"{EFFICIENCY:.0%} of the peak, {1e6 * LAUNCH:.0f} microseconds a launch"
hours = pd.DataFrame({key: {gpu: b.hours(GPUS[gpu], precision="tf32") for gpu in GPUS} for key, b in budgets.items()}).T
display(Markdown(f"Hours of one training, all epochs, validation after each and the test reports included; TF32 where the GPU has it; {assumed}:"))
hours.rename_axis(["system", "data"]).round(1)

# %%
iu, mimic = (sum(budgets[name, data].hours(GPUS["A100, 40 GB"], precision="tf32") for name in ("base", "cmn")) * MIN_SEEDS for data in loads)
fits = {name: b.step.memory / gib < gpu.memory for name, gpu in GPUS.items()}
say(
    "So *CMN > BASE* with {seeds} seeds each is **{iu:.1f} GPU hours** on IU X-Ray and **{mimic:.0f}** on MIMIC-CXR (A100, {assumed}). A step needs about "
    "{memory:.0f} GiB as far as it can be counted; that fits {fits}. Not counted: reading images, a library's working memory, METEOR's minutes.",
    seeds=MIN_SEEDS,
    iu=iu,
    mimic=mimic,
    assumed=assumed,
    memory=b.step.memory / gib,
    fits="; ".join(name for name, yes in fits.items() if yes),
)

# %% [markdown]
# With the real images and a GPU, this decides the rows of CMN's Table 2 on IU X-Ray. The same commands with other names decide the others.
#
# ```bash
# rrg prepare iu_xray --data-root ~/iu_xray
# python tools/results.py run --profile gpu --dataset iu_xray base mem cmn --seed 7580 7581 7582
# rrg ledger --main
# ```
#
# Each claim that is not run says what it waits for:

# %%
open_claims = [row for row in rows if row.kind == "claim" and row.verdict == NOT_RUN]
pd.DataFrame([[row.paper.split()[0], row.where, row.statement, row.why] for row in open_claims], columns=["paper", "where", "claim", "why"])

# %% [markdown]
# ## What you can now do
#
# - Read a table as intervals, and find a contradiction that no rounding explains.
# - Give back the formula behind a printed average, and count what a paper only states.
# - Tell *not run* from *not reproduced*, and *holds on drawn studies* from *reproduced*.
# - Decide an order with a rule that knows both studies and seeds, and say "undecided" when that is the answer.
# - Say how far apart rounding, seeds and studies may bring two gains, and so when there must be something else.
# - Name the cost of settling a question before you start.
#
# ## Sources
#
# - Zhihong Chen, Yaling Shen, Yan Song, Xiang Wan: *Cross-modal Memory Networks for Radiology Report Generation*, ACL-IJCNLP 2021.
# - Jun Wang, Abhir Bhalerao, Yulan He: *Cross-modal Prototype Driven Network for Radiology Report Generation*, ECCV 2022.
# - The MCSAM paper (JBHI 2024) and the student paper on pair alignment (FAST NU 2024). Every value with its paper and table: `data/published.csv`;
#   every claim: `data/claims.csv`.
# - B. L. Welch: *The generalization of "Student's" problem when several different population variances are involved*, Biometrika 1947;
#   F. E. Satterthwaite: *An approximate distribution of estimates of variance components*, Biometrics Bulletin 1946.
# - NVIDIA's data sheets of the T4, RTX 3090, A100 and H100, dense figures.
# - Reports: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes no report of it.
