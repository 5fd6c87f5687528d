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
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import math

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from rrg_lib.book.checks import replication_ledger as checks
from rrg_lib.book.figures import replication_ledger as figures
from rrg_lib.book.figures.paper_figures import draw
from rrg_lib.book.prose import agreeing, say
from rrg_lib.book.study_verdicts import gain_in_words, show_study, verdicts_in_words
from rrg_lib.evaluation.baselines import BASELINES
from rrg_lib.experiments import results
from rrg_lib.models.generator import TransformerConfig
from rrg_lib.models.memory import CMNConfig
from rrg_lib.performance.budget import EFFICIENCY, GPUS, LAUNCH, budget, workloads
from rrg_lib.replication.claims_in_studies import in_studies, study_claims_table
from rrg_lib.replication.decision_rule import MIN_SEEDS, corrected, smallest_difference
from rrg_lib.replication.exact_checks import (
    CMN,
    MIMIC_REPORTS_IN_TEXT,
    NLG,
    STUDENT,
    iu_xray_statistics,
    memory_cost,
    parameters,
    run_check,
)
from rrg_lib.replication.ledger import claim_rows, counts, value_rows
from rrg_lib.replication.ledger_tables import (
    main_table,
    printed_table,
    printed_tables,
    shown_evidence,
    studies_in_words,
)
from rrg_lib.replication.printed_conventions import CONVENTION, convention_columns, printed_f1, statement_lines
from rrg_lib.replication.printed_values import compare_rows, published, relative_gain, same_elsewhere, values_of
from rrg_lib.replication.seed_scores import EDITION_0_1, families, measured, order, rerun_pool, same_systems, seed_pool
from rrg_lib.replication.study_plan import known_plans, study_plan
from rrg_lib.replication.study_report import study_report
from rrg_lib.replication.verdicts import DRAWN, Verdict
from rrg_lib.runtime.package_data import table as shipped

# %% [markdown]
# ## 10.1 A row, and what may be said of it
#
# Two kinds of rows. A **value** is a number that a paper prints: paper, table, data set, system, metric. A **claim** is a sentence that could be
# wrong: "A is better than B", "K is best", "it costs so many parameters". Each claim says beforehand what would decide it, and whether the paper *states*
# it or it is *our reading* of a table: nobody is to answer for what only we have said.
#
# | verdict | when |
# |---|---|
# | *reproduced*, *not reproduced* | measured **on the paper's own data**, or counted |
# | *holds*, *fails*, *no difference that matters*, *undecided on IU-Phantom* | measured on drawn radiographs: **not a replication** |
# | *consistent with*, *contradicted by its own table* | the paper's figures among themselves |
# | *not run* | data, a GPU or seeds are missing; the row says which |
#
# Why is *holds on IU-Phantom* not a replication? Our radiographs are drawn from expert codes. A finding is always visible, always in its place,
# always the same kind of shadow. A memory might help there and not on real films, or the other way round. An order that holds on drawn studies
# is a hint about a mechanism. About the paper's table it says nothing.

# %%
stored = results.stored_results()
values, claims = value_rows(stored), claim_rows(stored)
rows = [*values, *claims]  # `rrg ledger` writes the same rows as ledger.csv and ledger.md
by_id = {row.id: row for row in rows}

# %% tags=["nbval-check-output"]
print(f"{len(values)} printed values, {len(claims)} claims, of {len({row.paper for row in rows})} papers")
without = counts(claim_rows([]))  # with no stored score; attention, prototypes and classes were measured apart
print("claims, with no stored score at all:", {verdict.value: n for verdict, n in without["claim"].items() if n})

# %% [markdown]
# *What to see: how short the bars "reproduced" and "not reproduced" are. Most printed values (left) can't be checked on a laptop, and of the claims (right)
# the largest group is undecided: a page that hid those bars would mislead.*

# %%
found = counts(rows)
figures.verdict_counts(found, name="10_verdicts")

# %%
total = sum(found["claim"].values())
say(
    "Of {total} claims ({ours} in our reading), {none} not run, {wrong} the numbers printed beside them, {agree} with them and no more, {counted} by counting, "
    "{open} measured on drawn studies and undecided, {alike} no difference there that matters, {fail} and {hold}. {runs} into this.",
    total=total,
    ours=sum(row.claim.wording == "our reading" for row in claims),
    alike=agreeing(found["claim"][Verdict.NO_DIFFERENCE], "makes", "make"),
    fail=agreeing(found["claim"][Verdict.FAILS], "fails", "fail"),
    none=agreeing(found["claim"][Verdict.NOT_RUN], "is", "are"),
    wrong=agreeing(found["claim"][Verdict.CONTRADICTED], "contradicts", "contradict"),
    agree=agreeing(found["claim"][Verdict.CONSISTENT], "is consistent", "are consistent"),
    counted=agreeing(found["claim"][Verdict.NOT_REPRODUCED], "is not reproduced", "are not reproduced"),
    open=agreeing(found["claim"][Verdict.UNDECIDED], "was", "were"),
    hold=agreeing(found["claim"][Verdict.HOLDS], "holds", "hold"),
    runs=agreeing(len(stored), "stored result went", "stored results went"),
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
    half = [
        0.5 * 10.0 ** -len(text.partition(".")[2]) for text in (better, worse)
    ]  # from the text: a float has lost its last zero
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
    print(
        f"{metric:8} {a.text} in [{a.low:.5f}, {a.high:.5f}]   CMN {b.text} in [{b.low:.4f}, {b.high:.4f}]   {rounding_verdict(a.text, b.text)}"
    )

# %% tags=["nbval-check-output"]
print(by_id["student-cmn"].verdict.value, "·", compare_rows(aligned, plain))

# %% [markdown]
# These are all claims that their own tables contradict. (Where a claim was also measured here, the row says so in brackets: the difference, and the
# *margin* that it would have to exceed, section 10.8.)

# %%
contradicted = [row for row in claims if row.verdict is Verdict.CONTRADICTED]
pd.set_option("display.max_colwidth", None)
pd.DataFrame(
    [[row.paper, row.where, row.claim.claim, row.why] for row in contradicted],
    columns=["paper", "where", "claim", "why"],
)

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
        print(
            f"{dataset:9} {name:8} {mine:6.2f} %, by rounding from {low:.2f} to {high:.2f}; printed {row['average gain over BASE, %'].text}"
        )

# %% [markdown]
# All four printed figures lie in their interval. Is that the formula, then? Another one fits as well: the *geometric* mean of the six quotients.

# %% tags=["nbval-check-output"]
fits = {"arithmetic": 0, "geometric": 0}
for dataset in ("iu_xray", "mimic_cxr"):
    base = values_of(CMN, "Table 2", dataset, "BASE")
    for name in ("BASE+MEM", "CMN"):
        row = values_of(CMN, "Table 2", dataset, name)
        gain = row["average gain over BASE, %"]
        ends = [[(row[m].low / base[m].high, row[m].high / base[m].low)[side] for m in NLG] for side in (0, 1)]
        for how, mean in (("arithmetic", np.mean), ("geometric", lambda x: np.exp(np.mean(np.log(x))))):
            low, high = (100 * (mean(x) - 1) for x in ends)
            fits[how] += low <= gain.high and high >= gain.low
print(fits, "of 4 printed figures")

# %% [markdown]
# A formula that is not printed can be *guessed* from its results, and the guess can be wrong. Here two guesses are left, and nothing printed tells them
# apart. What follows holds with either.
#
# The text then says in one place that the gain is larger on IU X-Ray, and in another that it is larger on MIMIC-CXR. The averages, recomputed, decide:

# %% tags=["nbval-check-output"]
for name in ("cmn-gains-iu", "cmn-gains-mimic"):
    print(f"{by_id[name].claim.claim}: {by_id[name].verdict.value}")
print(run_check("mimic_cxr_gains_most").why)

# %% [markdown]
# (Of the other memory, BASE+MEM, the second sentence would be true.) Such slips happen to everybody who writes a page under a deadline. A check that runs takes a minute to write.
#
# And the printed F1 of findings: by which convention? What the papers do not say, their own numbers say in part. If hits and mistakes were counted in
# one (*micro*), F1 is the harmonic mean of the printed precision $P$ and recall $R$. If all three were averaged over the same labels (*macro*,
# *weighted*) or studies (*example*), F1 can only lie at or below that:
#
# > $\text{F1}_{\text{micro}}=\dfrac{2PR}{P+R}\qquad \overline{\text{F1}}\;\le\;\dfrac{2\,\overline P\,\overline R}{\overline P+\overline R}$
#
# *What to see: the column "F1 if micro" beside the printed F1, and the last column.*

# %% tags=["nbval-check-output"]
header, counted = convention_columns()
print(pd.DataFrame(counted, columns=header).to_string(index=False))

# %%
not_micro = [row for row in printed_f1() if not row.possible["micro"]]
silent = [
    name.replace("_", " ")
    for name in CONVENTION
    if all(row.convention[name].startswith("not said") for row in printed_f1())
]
display(
    say(
        "Of {n} printed F1, {k} cannot be micro, whatever the labeler was. Which of the means they are, the numbers do not say. No paper says its choice of: "
        "{silent}.",
        n=len(printed_f1()),
        k=len(not_micro),
        silent=", ".join(silent),
    )
)
Markdown("\n".join(statement_lines()))

# %% [markdown]
# Chapter 09 shows how far one set of reports travels under those choices. Nothing that is called *F1* can be matched before all five are said.
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
d, base = (
    TransformerConfig().d_model,
    parameters(None),
)  # BASE with its ResNet-101, counted from the code at the published size
print(f"BASE {base:,}; CMN with 4,096 slots {parameters(CMNConfig(slots=4096)):,}")
print(
    f"yours: the matrix alone {share_of_slots(4096, d, base, 0):.3f} %, with its four maps {share_of_slots(4096, d, base, 4):.3f} %"
)
for reading, percent in memory_cost(4096).items():
    print(f"  {percent:6.3f} %  {reading}")
print(by_id["cmn-parameters"].why, "·", by_id["cmn-parameters"].verdict.value)

# %% [markdown]
# Three readings come close, none *rounds* to the printed figure. One of them gives it when the digits behind are cut off and not rounded: the row says
# which. The reading that one would think of first, *everything that CMN adds*, is far above: the memory's four linear maps are left out. What was
# divided by what is not printed.
#
# (Chapter 04 prints another share for the matrix alone. It counts with the vocabulary of IU X-Ray, this section with that of MIMIC-CXR: more words make
# BASE larger and the share smaller. Which was meant is not printed either.)

# %% tags=["nbval-check-output"]
for data, words in (("IU X-Ray", 760), ("MIMIC-CXR", 4253)):
    print(
        f"the matrix alone, over BASE with the vocabulary of {data}: {share_of_slots(4096, d, parameters(None, vocabulary=words), 0):.3f} %"
    )

# %% [markdown]
# *What to see: left, the printed diamond lies a little below the line of the matrix alone, far below that of everything. Right, the score that those
# parameters are to buy.*

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
        print(
            f"{value.system:5} {value.metric:29} printed {value.text:>5}   the released split {ours[value.system, value.metric]:8,.1f}"
        )
of_mimic = [v for v in published() if (v.where, v.dataset, v.metric) == ("Table 1", "mimic_cxr", "reports")]
print(
    f"\nMIMIC-CXR: Table 1 has {of_mimic[0].value:,.0f} for training alone; the text counts {MIMIC_REPORTS_IN_TEXT:,} in all"
)

# %%
display(
    say(
        "Of MIMIC-CXR: {mimic}. Of IU X-Ray: {why}.",
        why=by_id["cmn-table1-iu"].why,
        mimic=by_id["cmn-table1-mimic"].why,
    )
)
Markdown(
    "\n".join(
        f"- {row.printed.system} {row.printed.metric}: {row.why}"
        for row in values
        if (row.where, row.dataset, row.printed.metric) == ("Table 1", "iu_xray", "reports")
    )
)

# %% [markdown]
# Our reading: Table 1 describes the collection *before* studies without findings or a second view were left out. The paper does not say so. We infer it
# from counts that agree with tenths of the whole collection, and a coincidence is possible. What is sure: the released code reads fewer studies, so a
# reader who divides by Table 1's counts divides by another number than the experiments did.
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
# - A dash under *printed* means not printed; under *ours* it means that nothing of ours stands beside that number: not run, or run on other images, where
#   the row of the main table is of the paper's own. The ledger's row says which, and what it would take.
# - The bracket is the 95 % bootstrap interval over studies of the mean over seeds; it leaves out how much the seeds scatter.
# - The last rows are written by no model, and but for f never look at an image. They are scored on the reports of the standard test split, so they can stand beside what is printed for IU
#   X-Ray by systems of the same pipeline. Read them first.
# - **Not all of them are blind.** Some are told labels of the study, one may look at the reference itself: the next cell says which.

# %%
like = next(
    (r.evaluation for r in stored if r.experiment.dataset == DRAWN and len(r.evaluation.rows) > 1), None
)  # any system's: the baselines beside it are the same
beside = like.rows[1:] if like else ()
told = {row.name: BASELINES[row.name].sees for row in beside}
pd.DataFrame(
    [[row.name, row.description, told[row.name]] for row in beside],
    columns=["row", "what it writes", "what it sees of the study"],
)

# %% [markdown]
# ## 10.7 The row that nobody printed
#
# The blind ones among those rows, beside what is printed for IU X-Ray, each system once. Only systems that were trained and scored with the **R2Gen
# pipeline** (its split, its cleaning, its scorer) are compared. The others stand in the papers' tables too, but their numbers are *quoted* from papers whose
# split, cleaning and scorer may be others, or where they came from is not said.

# %%
on_iu = [
    v
    for v in published()
    if v.dataset == "iu_xray" and v.metric == "BLEU-4" and v.where.startswith("Table") and not same_elsewhere(v)
]
pipeline = {(row["paper"], row["system"]): row["iu_xray"] for row in shipped("published_systems")}
from_pipeline = [v for v in on_iu if pipeline[v.paper, v.system] == "R2Gen pipeline"]
printed = sorted(((f"{v.system} ({v.paper.split()[0]})", v.value) for v in from_pipeline), key=lambda pair: pair[1])
blind = [
    (row.name, row.parts["all"].scores["BLEU-4"], *row.intervals["BLEU-4"])
    for row in beside
    if told[row.name] == "nothing"
]

# %% [markdown]
# *What to see: the orange band is the interval of the first report without an image (the names are those of the table above). Which of the published
# systems lie left of it, which inside?*

# %%
figures.constant_beside_print(blind, printed, metric="BLEU-4, IU X-Ray, standard test split", name="10_constant")

# %%
if blind:
    label, score, low, high = blind[0]
    below, inside = sum(v < low for _, v in printed), sum(low <= v <= high for _, v in printed)
    display(
        say(
            "**{label}** has BLEU-4 {score:.3f} [{low:.3f}, {high:.3f}]. Of {n} printed systems of the pipeline, {below} lie below its interval, "
            "{inside} in it and {above} above. {best} {left} printed systems were left out.",
            best=f"**{best[0]}**, as blind, has {best[1]:.3f}: {'more than any of them' if best[1] > max(v for _, v in printed) else 'less than some'}."
            if (best := max(blind, key=lambda row: row[1]))[0] != label
            else "",
            left=len(on_iu) - len(from_pipeline),
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
# - **studies**: another test set would have given another difference. Both systems wrote of the same studies, and what is easy for one is easy for the
#   other: so we resample the *studies* and look how much the *difference* moves;
# - **seeds**: another training would have. Only training again says by how much, and three seeds say it badly. So all systems of one kind tell it
#   together: their variances are pooled.
#
# > $s^2 = s^2_{\text{studies}} + s^2_{\text{seeds}}\Big(\dfrac1{n_a}+\dfrac1{n_b}\Big)$
#
# How large must a difference be, to matter? That is no question for statistics, and it must be answered *before* looking: it is kept as data. Then there
# are **three answers**:
#
# | answer | when |
# |---|---|
# | *above* or *below* | $\lvert\bar a-\bar b\rvert > t\,s$: the difference is not chance (a two-sided test) |
# | *no difference larger than δ* | $\lvert\bar a-\bar b\rvert + t_1 s < \delta$: whatever it is, it does not matter (two one-sided tests) |
# | *undecided* | neither; then how many seeds or studies *would* decide |
#
# What a difference must exceed, $t\,s$, is its **margin**. The quantiles $t$ and $t_1$ are Student's, two-sided and one-sided, at one chance in twenty; their degrees of
# freedom are those of the pooled seeds, weighed against the studies' (Welch, Satterthwaite).
#
# Not told apart is **not** the same as alike: with a margin larger than δ nothing was shown. A difference may be both sure and too small to matter; then it
# is *above*, and the row says so. Fewer than three seeds decide nothing.

# %%
declared = pd.DataFrame(shipped("smallest_differences"))
declared

# %% [markdown]
# (They were declared when the first edition's results were known and before the trainings of this edition. Better than after, worse than before all.)
#
# **Exercise 10.4** (15 min). Write the rule. You get the scores of the seeds of A and of B, the studies' standard deviation *of the difference of the
# means*, the pooled one of *a single seed*, both quantiles, and δ. The first answer that applies counts.


# %% exercise="10.4" level="implement"
def order_verdict(a, b, s_studies, s_seeds, t, t_1, delta):
    """Scores of A's and of B's seeds, two standard deviations, two quantiles, delta -> "above", "below", "no difference" or "undecided"."""
    ### BEGIN SOLUTION
    if min(len(a), len(b)) < 3:
        return "undecided"
    s = math.sqrt(s_studies**2 + s_seeds**2 * (1 / len(a) + 1 / len(b)))
    difference = np.mean(a) - np.mean(b)
    if abs(difference) > t * s:
        return "above" if difference > 0 else "below"
    return "no difference" if abs(difference) + t_1 * s < delta else "undecided"
    ### END SOLUTION


# %% exercise="10.4" points=15
checks.order_verdict(order_verdict)

# %% [markdown]
# Three things to know of the stored results before the rule is let loose on them. (*greedy*, *tuned* and *published* are ways to search, chapter 03;
# *laptop* is the size of the models. A row of a protocol that is called after an edition is of this book's first edition, whose scores study by study were
# not kept.)

# %%
labels = {score: score for score in ("BLEU-4", "finding-F1")}
kinds = sorted({(r.experiment.dataset, r.experiment.profile, r.protocol) for r in stored})
spreads = {}
for dataset, profile, protocol in kinds:
    for score in labels:
        of_seeds = seed_pool(stored, score, dataset, profile, protocol)
        if of_seeds.freedom:
            spreads[f"{dataset}, {profile}, {protocol}", score] = {
                "s of one seed": round(of_seeds.sd, 4),
                "systems": of_seeds.systems,
                "degrees of freedom": of_seeds.freedom,
            }
again = {score: rerun_pool(stored, results.twins(), score) for score in labels}
display(pd.DataFrame(spreads).T)
twice = "; ".join(" *is* ".join(f"`{name.partition('/')[2]}`" for name in names) for names in same_systems(stored))
devices = {}
for one in stored:
    if one.is_preset and one.experiment.preset in ("base", "mem", "cmn", "xpronet", "mcsam", "cmn_pair"):
        devices.setdefault(one.protocol, set()).add(one.device)
say(
    "1. **Seeds.** One training's score has the standard deviation above. Running the *same* seed again gives {f1:.3f} in finding-F1 and {bleu:.4f} in BLEU-4: "
    "about as much. A seed decides little of what comes out; reruns are counted as reruns and not as more seeds.\n"
    "2. **Two names.** {twice}. Only their names differ, or settings that nothing uses: one system, one row. XProNet told other labels is the same training "
    "and counts once.\n"
    "3. **Devices.** The main systems were trained on: {devices}. Rows of one protocol are compared with one another, and with no others.",
    f1=again["finding-F1"].sd,
    bleu=again["BLEU-4"].sd,
    twice=twice or "No system is stored under two names",
    devices="; ".join(f"{protocol}: {', '.join(sorted(found))}" for protocol, found in sorted(devices.items())),
)

# %% [markdown]
# Every claimed order that stored results speak of, by the library's form of the rule. A claim that says "in every metric" makes six comparisons, and six
# chances to be wrong: their p-values are corrected together (Holm: the smallest counts six times, the next five times, …). Results of the first edition kept
# no scores study by study; they cannot be paired, and their rows say so.

# %%
claimed = [row for row in claims if row.claim.is_gain]
pd.DataFrame(
    [
        [
            row.claim.system,
            ";".join(row.claim.metrics),
            row.paper.split()[0],
            shown_evidence(row.evidence).ours_on,
            row.verdict.value,
            row.why,
        ]
        for row in claimed
    ],
    columns=["order", "scores", "paper", "measured on", "verdict", "why"],
)

# %% [markdown]
# The four orders that the papers' main tables are about, in two scores, reports searched as tuned: eight comparisons, corrected as eight.

# %%
pairs = [
    (a, b, metric)
    for a, b in (("mem", "base"), ("cmn", "mem"), ("cmn", "base"), ("xpronet", "cmn"))
    for metric in ("BLEU-4", "finding-F1")
]
judged = {}
for a, b, metric in pairs:
    one, two = (measured(stored, name, DRAWN, metric, profile="laptop", protocol="tuned") for name in (a, b))
    if one and two:
        judged[a, b, metric] = order(one, two)
judged = corrected(judged)
pd.DataFrame(
    [
        [
            f"{a} > {b}",
            metric,
            f"{o.difference:+.3f}",
            f"{o.margin:.3f}",
            f"{o.p:.2g}",
            o.how,
            str(o.need or ""),
            o.note,
        ]
        for (a, b, metric), o in judged.items()
    ],
    columns=[
        "order",
        "score",
        "difference",
        "margin",
        "p, of eight",
        "answer",
        "what would decide it, power 80 %",
        "how compared",
    ],
)

# %%
answers = [o.answer for o in judged.values()]
least = {
    metric: min((o.margin for (_, _, m), o in judged.items() if m == metric), default=math.nan)
    for metric in ("BLEU-4", "finding-F1")
}
say(
    "*What to see:* the margins beside the smallest differences that matter. Of {n} comparisons {apart} are above or below, {alike} show that nothing "
    "larger than δ is there, {open} are undecided. The smallest margin is {f1:.3f} in finding-F1, where {delta_f1:g} would matter, and {bleu:.3f} in BLEU-4, "
    "where {delta_bleu:g} would.",
    n=len(answers),
    apart=sum(a in ("above", "below") for a in answers),
    alike=answers.count("no difference"),
    open=sum(a not in ("above", "below", "no difference") for a in answers),
    f1=least["finding-F1"],
    bleu=least["BLEU-4"],
    delta_f1=smallest_difference("finding-F1"),
    delta_bleu=smallest_difference("BLEU-4"),
)

# %% [markdown]
# ### What all trainings of a kind say together
#
# Chapters 04 to 07 trained each kind of system with many settings. If none of the settings makes it better than BASE, their mean does not either, and that
# mean rests on more trainings than three. How well it is known the interval says: settings that scatter make it wide. The settings were swept in this book's first
# edition, so all of these trainings are of it, and the means are not those of the tables above. A family holds harmful settings too (chapter 07 asks for some on purpose), so it speaks of the kind and
# not of its best member. And the studies are the same for all: of other studies this says nothing.

# %%
kinds_of_system = ("BASE+MEM", "CMN", "XProNet", "MCSAM", "CMN + pair alignment")
together = {
    (name, score): families(stored, name, "BASE", score, protocol=EDITION_0_1)
    for name in kinds_of_system
    for score in ("finding-F1", "BLEU-4")
}
together = {key: found for key, found in together.items() if found}
pd.DataFrame(
    {
        (name, score): {
            "trainings": f.a.n,
            "mean": round(f.a.mean, 3),
            "of BASE": f.b.n,
            "BASE's mean": round(f.b.mean, 3),
            "difference": round(f.difference, 3),
        }
        | {"90 % interval": f"[{f.low:+.3f}, {f.high:+.3f}]", "p": f"{f.p:.2g}"}
        for (name, score), f in together.items()
    }
).T

# %%
sentences = []
for name in kinds_of_system:
    if found := together.get((name, "finding-F1")):
        low, high, delta = found.low, found.high, smallest_difference("finding-F1")
        if high < 0:
            sentences.append(f"{name} is **below** BASE by {-found.difference:.3f} (at least {-high:.3f})")
        elif low > 0:
            sentences.append(f"{name} is **above** BASE by {found.difference:.3f} (at least {low:.3f})")
        elif high < delta:
            sentences.append(f"a gain of {name} over BASE of {delta:g} or more is **excluded** (at most {high:+.3f})")
        else:
            sentences.append(f"of {name} nothing is decided (between {low:+.3f} and {high:+.3f})")
Markdown(
    "In finding-F1, over all trainings of a kind in the first edition, on these studies: " + "; ".join(sentences) + "."
    if sentences
    else "**Not run.**"
)

# %% [markdown]
# ### Studies that were planned before they were run
#
# The orders above are read from runs that were made for other chapters. A *study* is planned first. Its question, its systems, seeds and scores and the
# smallest difference that matters stand in `data/studies/NAME.toml`, and each result carries the hash of that plan: a question that is
# changed after its answer is seen to be. `rrg study plan NAME` says what a study takes on this machine, `rrg study run NAME` runs what is missing of it, seeds of one's own too.

# %%
studies = {name: study_report(study_plan(name)) for name in known_plans()}
pd.DataFrame(
    {
        name: {
            "what it asks": report.plan.title,
            "declared": f"{report.plan.declared}, question {report.plan.question_hash}",
            "results": f"{len(report.results)} of {len(report.plan.runs())}",
            "hours of a core": f"{report.hours:.1f}" if report.results else "–",
        }
        for name, report in studies.items()
    }
).T

# %% [markdown]
# *What to see:* a study without results has no answer, whatever its question promises. Of those with results, the first score of the plan comes first. Each
# row is a comparison under one condition: the dot is the difference, the line its margin if it were alone, the grey band what would not matter. Blue is above,
# red below, corrected for all rows of a condition. Where there are several conditions a second figure has the differences of the differences: a gain that is told apart here
# and not there need not be larger here. The seeds' variance is pooled over a condition's systems, as declared; where the two systems' own seeds answer
# otherwise, the row says so. Each condition's features are of one extractor: what another one would change is in no line.


# %%
for name, report in studies.items():
    if report.results:
        display(Markdown(f"**{report.plan.title}** {' '.join(report.plan.question.split())}"))
        display(show_study(report, report.plan.metrics[0], name=f"10_study_{name}"))

# %%
Markdown(
    "\n\n".join(verdicts_in_words(report, report.plan.metrics[0]) for report in studies.values() if not report.results)
)

# %% [markdown]
# The two questions that the studies were made for, each in one sentence: does CMN help when the features do not know the findings, and does its gain grow with
# the data? In brackets the 95 % interval of each alone.

# %%
Markdown("\n".join(f"- {gain_in_words(studies[name], 'finding-F1', 'cmn', 'base')}" for name in ("features", "growth")))

# %% [markdown]
# Are those comparisons the papers' claims? Where a study compares the same two systems in the same score, it speaks to the claim. The ledger's verdicts stay
# what they are, of the stored runs; this stands beside them.

# %%
asked_again = in_studies([row.claim for row in claims], [report for report in studies.values() if report.results])
if asked_again:
    display(study_claims_table(asked_again)[["test studies", "it"]])
Markdown(studies_in_words(claims, asked_again))

# %% [markdown]
# ### Why the next paper finds another gain
#
# Suppose that two papers had trained these pairs, each system once: the first with the first stored seed, the second with the second. Same code, same
# test studies, scores printed with three decimals.


# %%
main_systems = ("base", "mem", "cmn", "xpronet")
as_preset = [
    (r.protocol, r.experiment.preset) for r in stored if r.is_preset and r.labels_at_test in (None, "classifier")
]
seeds_in = {p: min(as_preset.count((p, name)) for name in main_systems) for p in ("greedy", EDITION_0_1)}
shown_protocol = max(seeds_in, key=lambda p: min(seeds_in[p], MIN_SEEDS))
lowest = (
    "finding-F1" if shown_protocol == "greedy" else "finding-F1 keywords-0"
)  # edition 0.1 kept intervals of the second alone


def seeds_of(preset, metric):
    """Scores of the stored seeds of a preset, in order, and the interval of the first."""
    own = [
        one
        for one in stored
        if one.is_preset and one.labels_at_test in (None, "classifier") and one.protocol == shown_protocol
    ]
    own = [
        one
        for one in own
        if (one.experiment.preset, one.experiment.dataset, one.experiment.profile) == (preset, DRAWN, "laptop")
    ]
    own = sorted(own, key=lambda one: one.experiment.training.seed)
    return [one.evaluation.scores[metric] for one in own], own[0].evaluation.rows[0].intervals.get(
        metric
    ) if own else None


scores = {"BLEU-4": "BLEU-4", "finding-F1": lowest}
material = {
    (f"{a} over {b}", scores[metric]): (*seeds_of(a, scores[metric]), *seeds_of(b, scores[metric]))
    for a, b, metric in pairs
}
material = {key: found for key, found in material.items() if min(len(found[0]), len(found[2])) > 1}
gains = {
    key: tuple(round(round(a[i], 3) - round(b[i], 3), 3) for i in range(2)) for key, (a, _, b, _) in material.items()
}
print(f"reports searched: {shown_protocol}")
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
# **Exercise 10.5** (10 min). What explains that two papers print different gains? You get
#
# - `gains`: the two gains, of A over B;
# - `half`: half a unit of the last digit that *scores* were printed with;
# - `a`, `b`: the scores of A's seeds and of B's, of single trainings;
# - `intervals`: the 95 % interval over studies of A's score and of B's.
#
# Return two things:
#
# - the three reaches, of rounding, of the seeds, of seeds and studies together;
# - the first reason, in the order of the table, whose reach is enough for the distance of the gains; `"something else"` when none is.


# %% exercise="10.5" level="explain"
def what_explains(gains, half, a, b, intervals):
    """Two gains of A over B; half a unit of the scores' last digit; scores of seeds of A and of B; the intervals (low, high) of A and of B
    -> (reach of rounding, of the seeds, of seeds and studies), and "rounding", "seeds", "studies" or "something else"."""
    ### BEGIN SOLUTION
    by_seeds = np.var(a, ddof=1) + np.var(b, ddof=1)  # of one gain: two scores, each of one training
    by_studies = sum(((high - low) / 4) ** 2 for low, high in intervals)
    reaches = (
        4 * half,
        2 * math.sqrt(2 * by_seeds),
        2 * math.sqrt(2 * (by_seeds + by_studies)),
    )  # four scores; two gains
    enough = [
        reason
        for reason, reach in zip(("rounding", "seeds", "studies"), reaches, strict=True)
        if abs(gains[0] - gains[1]) <= reach + 1e-9
    ]
    return reaches, enough[0] if enough else "something else"
    ### END SOLUTION


# %% exercise="10.5" points=10
checks.what_explains(what_explains)

# %% [markdown]
# The pairs above, and then one row of another kind: the gain that CMN prints for IU X-Ray beside the first stored one, with our seeds and studies.

# %%
explained = {
    key: (gains[key], *what_explains(gains[key], 0.0005, a, b, (of_a, of_b)))
    for key, (a, of_a, b, of_b) in material.items()
}
in_print = [values_of(CMN, "Table 2", "iu_xray", name)["BLEU-4"].value for name in ("CMN", "BASE")]
if (ours_too := ("cmn over base", "BLEU-4")) in material:
    a, of_a, b, of_b = material[ours_too]
    beside = round(in_print[0] - in_print[1], 3), gains[ours_too][0]
    explained["cmn over base, printed and ours", "BLEU-4"] = (
        beside,
        *what_explains(beside, 0.0005, a, b, (of_a, of_b)),
    )
columns = ["first gain", "second gain", "reach of rounding", "of seeds", "of seeds and studies", "explained by"]
pd.DataFrame(
    {
        key: [*both, *(round(reach, 3) for reach in reaches), reason]
        for key, (both, reaches, reason) in explained.items()
    },
    index=columns,
).T

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
# Here we know what changed: the seeds and, where the table of devices above names two, the device. Someone who reads two papers does not, and "something
# else" is then work to do: put both on the same references, split and scorer (chapter 09), and measure again.

# %% [markdown]
# ## 10.9 Every table
#
# As printed, a dash where nothing of ours stands beside it: *printed | ours*. What is ours and was not measured but recomputed from print, or counted,
# stands in brackets. (Ours is of drawn studies unless the ledger's row says otherwise; the
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
# Four of them are sweeps: a score over a setting; three follow, the fourth, CMN's Figure 3, stands in 10.4. Bars are 95 % intervals over studies, and K runs
# on a logarithmic axis. *What to see: on grey, what is printed of each. It is less than one remembers.*

# %%
for name in ("cmn_figure_4", "xpronet_figure_5", "xpronet_figure_6"):
    display(draw(name, stored).figure)

# %% [markdown]
# And a table as a figure. *What to see: the diamonds (printed) and the dots (ours, drawn radiographs) need not agree, they were measured on different
# images. And do not read an order off two bars that stand apart: they leave the seeds out, and a difference has an interval of its own. 10.8 has it.*

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
pd.DataFrame(cost).T.rename_axis(["system", "data"]).round(3)  # steps: the releases train for other numbers of epochs

# %% tags=["nbval-check-output"]
for data, load in loads.items():
    print(
        f"{data}: {load.train:,} / {load.val:,} / {load.test:,} studies, {load.views} views, up to {load.max_length} words ({load.source})"
    )
b = budgets["cmn", "iu_xray"]
share = budgets["base", "iu_xray"].step.step.flops / b.step.step.flops
print(
    f"a step of CMN on IU X-Ray: {b.step.step.flops / 1e12:.2f} million million operations, of which BASE has {share:.1%}"
)

# %% [markdown]
# Nearly all of it is the image network: **the memory is almost free**, if it is read as in chapter 04. (The release reads it in a way that is not.)
#
# Hours are operations over speed. A data sheet gives the peak; what is reached is less. The efficiency and the time of a launch below are **stated,
# not measured**: with another efficiency, divide. Searching is bounded by launches: its operations are small and many. So is training on a fast GPU:
# where two columns agree, a faster one would change nothing.

# %%
assumed = f"{EFFICIENCY:.0%} of the peak, {1e6 * LAUNCH:.0f} microseconds a launch"
hours = {
    (name, data, precision): {gpu: b.hours(GPUS[gpu], precision=precision) for gpu in GPUS}
    for (name, data), b in budgets.items()
    for precision in ("float32", "tf32")
}
display(Markdown(f"Hours of one training, all epochs, validation after each and the test reports included; {assumed}:"))
pd.DataFrame(hours).T.rename_axis(["system", "data", "precision"]).round(1)

# %%
one_gpu, other = GPUS["A100, 40 GB"], GPUS["RTX 3090, 24 GB"]
alike = [name.split(",")[0] for name, gpu in GPUS.items() if gpu.peak("tf32") == gpu.peak("float32")]
by_precision = {p: hours["cmn", "mimic_cxr", p]["A100, 40 GB"] for p in ("float32", "tf32")}
say(
    "Three things look odd. **Chapter 08, section 8.14, has other hours**: it counts in single precision, the upper row of each pair; CMN on MIMIC-CXR takes "
    "{single:.0f} hours so and {tf32:.1f} in TF32 on an {card}. The quotient, {quotient:.1f}, is less than that of the peaks, {peaks:.1f}, because with fast "
    "arithmetic the step waits for launches, which no precision shortens. **In single precision an {card} looks slower than an {gamer}**: by their data "
    "sheets it is ({a:.1f} against {b:.1f} million million operations a second); its strength are the tensor cores, which TF32 uses. **Both rows are equal on {alike}**: there TF32 is missing, or by the data sheet no faster.",
    alike=" and ".join(alike),
    single=by_precision["float32"],
    tf32=by_precision["tf32"],
    quotient=by_precision["float32"] / by_precision["tf32"],
    peaks=one_gpu.peak("tf32") / one_gpu.peak("float32"),
    card="A100",
    gamer="RTX 3090",
    a=one_gpu.peak("float32") / 1e12,
    b=other.peak("float32") / 1e12,
)

# %%
iu, mimic = (
    sum(budgets[name, data].hours(GPUS["A100, 40 GB"], precision="tf32") for name in ("base", "cmn")) * MIN_SEEDS
    for data in loads
)
fits = {name: b.step.memory / gib < gpu.memory for name, gpu in GPUS.items()}
asked = [o.need for (a, b_, _), o in judged.items() if (a, b_) == ("cmn", "base") and o.need]
more = max((need.seeds for need in asked if need.seeds is not None), default=0)
say(
    "So *CMN > BASE* with {seeds} seeds each, the least that gives an answer, is **{iu:.1f} GPU hours** on IU X-Ray and **{mimic:.0f}** on MIMIC-CXR (A100, "
    "{assumed}). Whether it decides the order is another matter: on drawn studies the rule asks for {wanted}. A step needs about "
    "{memory:.0f} GiB as far as it can be counted; that fits {fits}. Not counted: reading images, a library's working memory, METEOR's minutes.",
    seeds=MIN_SEEDS,
    wanted=" or, in another score, ".join(
        [f"{more} seeds, {more / MIN_SEEDS:.0f} times the hours"] * bool(more)
        + ["more studies than there are, whatever the seeds"] * any(need.seeds is None for need in asked)
    )
    or "no more than that",
    iu=iu,
    mimic=mimic,
    assumed=assumed,
    memory=b.step.memory / gib,
    fits="; ".join(name for name, yes in fits.items() if yes),
)

# %% [markdown]
# With the real images and a GPU, one command measures every row of the papers' tables on IU X-Ray and writes a report a paper. What it takes it says first:
#
# ```bash
# rrg replicate iu_xray --data-root ~/iu_xray --dry-run
# rrg replicate iu_xray --data-root ~/iu_xray
# ```
#
# Each claim that is not run says what it waits for, at the least:

# %%
open_claims = [row for row in claims if row.verdict is Verdict.NOT_RUN]
pd.DataFrame(
    [[row.paper.split()[0], row.where, row.claim.claim, row.why] for row in open_claims],
    columns=["paper", "where", "claim", "why"],
)

# %% [markdown]
# ## 10.12 What holds
#
# Chapter 00 promised that at the end you could say what is known of each published claim. Here is the answer, computed from the rows above. On the papers' own
# data nothing could be trained, so *holds* is never more than *holds on drawn radiographs*; and what a claim's own table or a count decides is decided for
# good.


# %%
def of(*verdicts):
    return [row for row in claims if row.verdict in verdicts]


listed = {
    "holds on drawn radiographs": of(Verdict.HOLDS),
    "fails on drawn radiographs": of(Verdict.FAILS),
    "makes no difference that matters there": of(Verdict.NO_DIFFERENCE),
    "contradicted by its own paper": of(Verdict.CONTRADICTED),
    "not reproduced by counting": of(Verdict.NOT_REPRODUCED),
    "in accord with its own paper, and no more": of(Verdict.CONSISTENT),
}
pd.DataFrame(
    [[how, row.claim.claim, row.why] for how, them in listed.items() for row in them],
    columns=["verdict", "claim", "why"],
)

# %%
gains_measured = [row for row in claims if row.claim.is_gain and row.verdict.on_drawn_studies]
with_verdict = {verdict: sum(row.verdict is verdict for row in gains_measured) for verdict in Verdict}
say(
    "A claimed *gain* says that one system is above another, or one setting above the rest. Of the {n} of them that were measured here, **{hold}**, {fail}, {alike} no difference that matters and {open} "
    "undecided. {shown} What this book can say is how large the experiment would have to be that decides one: the rows name the seeds and the studies.",
    n=len(gains_measured),
    hold=agreeing(with_verdict[Verdict.HOLDS], "holds", "hold"),
    fail=agreeing(with_verdict[Verdict.FAILS], "fails", "fail"),
    alike=agreeing(with_verdict[Verdict.NO_DIFFERENCE], "makes", "make"),
    open=agreeing(with_verdict[Verdict.UNDECIDED], "is", "are"),
    shown="So no published order of two systems is shown to hold by this book, and an undecided one is not shown to fail either."
    if not with_verdict[Verdict.HOLDS]
    else "Those that hold do so on drawn radiographs: none is reproduced.",
)

# %% [markdown]
# And where an experiment was made larger on purpose, with more seeds or more studies to learn from:

# %%
Markdown(studies_in_words(claims, asked_again, briefly=True))

# %% [markdown]
# ## What you can now do
#
# - Read a table as intervals, and find a contradiction that no rounding explains.
# - Find which formulas could be behind a printed average, and count what a paper only states.
# - Tell *not run* from *not reproduced*, and *holds on drawn studies* from *reproduced*.
# - Decide an order with a rule that knows both studies and seeds, show that a difference is too small to matter, and say "undecided" when that is
#   the answer, with what would decide it.
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
# - D. J. Schuirmann: *A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence of average bioavailability*,
#   Journal of Pharmacokinetics and Biopharmaceutics 1987; S. Holm: *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of
#   Statistics 1979.
# - NVIDIA's data sheets of the T4, RTX 3090, A100 and H100, dense figures.
# - Reports: Indiana University Chest X-ray Collection, Demner-Fushman et al. 2016, CC BY-NC-ND 4.0. This chapter quotes no report of it.
