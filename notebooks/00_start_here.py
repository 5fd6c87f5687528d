# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 1, peak_gib: 2}
# ---

# %% [markdown]
# # 0 · Start here
#
# A chest X-ray goes in. A paragraph comes out: what is there, what is not, on which side. This book rebuilds systems that do this with a
# **cross-modal memory**, measures them without fooling itself, and says of each published claim whether what could be run here supports it, speaks
# against it, or leaves it open.
#
# **Goals.** See one study with your own eyes. Let a trained generator write its findings. Know where the book goes.
#
# **Before this.** Python; you have trained a small neural network once. **Minutes on two cores:** under one, right after `make install`: a small trained
# system comes with the package.

# %% tags=["parameters"]
DATASET = "iu_phantom"  # every chapter has these four; this one shows what comes with the package, whatever they say
DATA_ROOT = None
PROFILE = "ci"
SEED = None

# %%
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
from collections import Counter
from textwrap import fill

from IPython.display import Markdown

from rrg_lib.book.checks import start_here as checks
from rrg_lib.book.demonstration import demonstrate, first_glanceable
from rrg_lib.book.figures.data_preparation import drawn_studies
from rrg_lib.data import iu_xray
from rrg_lib.data.phantom import draw
from rrg_lib.data.study import SPLITS
from rrg_lib.evaluation.baselines import Task, kept_hypotheses
from rrg_lib.experiments.results import stored_results
from rrg_lib.experiments.shipped_system import shipped_system

# %% [markdown]
# ## One idea
#
#     features ──query──▶ memory ──respond──▶ responses ──fuse──▶ features'
#
# Image patches and words both ask a memory, and what it answers is mixed into them. Four papers are this sentence with different words in it:
# what the memory holds, who may ask, how the answer is mixed in. The system below is one of them, CMN, in a size that a laptop trains in some ten minutes.

# %%
system = shipped_system()
parameters = sum(weights.numel() for weights in system.generator().parameters())
print(f"{system.experiment.name}, {parameters:,} parameters, {system.vocabulary.size} words")

# %% [markdown]
# ## One study
#
# The default data set is **IU-Phantom**. Its reports are real. Its radiographs are **drawn** by this library from the codes that experts gave each
# study, so that picture and report belong together and the truth is known. Scores on drawn studies are not comparable with published ones.

# We take the first study of the test split, by its id, that has two to four findings and a short report.

# %% tags=["nbval-check-output"]
study = first_glanceable()
print(study.id, [finding.code for finding in study.findings])

# %% [markdown]
# *What to see: each numbered box holds what its code says, and the patient's right is on your left.*

# %%
drawn_studies({study.id: draw(study)}, name="00_study")

# %% [markdown]
# ## One report
#
# The generator sees the two films and nothing else. It has never seen this study. It writes word by word:

# %%
shown = demonstrate(system, study, follow=lambda word: print(word, end=" "))

# %%
print(fill(f"reference:  {study.report}", width=84, subsequent_indent=" " * 12))

# %% [markdown]
# *Reference: Indiana University Chest X-ray Collection (Demner-Fushman et al. 2016), CC BY-NC-ND 4.0.*
#
# *What to see: a blue box holds a finding that the report names, a dashed orange one a finding that it does not.*

# %%
shown.picture("CMN, the shipped one", "00_report")

# %% [markdown]
# Is the generated report good? It may be fluent and wrong. Look at the others before you judge: how many are different? What this system wrote of all test
# studies is stored in the package (with its weights in full precision; here they are halved, to be small).

# %%
(result,) = (r for r in stored_results("laptop", "iu_phantom", "tuned") if r.experiment == system.experiment)
reports = result.reports(system.vocabulary)
common, times = Counter(reports.values()).most_common(1)[0]
Markdown(
    f"For **{len(reports)}** studies it wrote **{len(set(reports.values()))}** different reports. The most frequent stands {times} times: *{common}*"
)

# %% [markdown]
# ## One table
#
# This is how the book reports every system: beside baselines that never look at an image. `a1` says the same real report to everybody, `b` the
# most frequent one, `c` a random one. BLEU-4 counts the runs of one to four words (*n-grams*) that a report shares with the reference, and takes off for
# shortness; ROUGE-L and CIDEr count shared words in other ways (chapter 09). Of each, higher is nearer to the reference. *What to see: how close a report
# that looks at nothing comes.*

# %%
evaluation = result.evaluation
scores = evaluation.table()[["BLEU-4", "ROUGE-L", "CIDEr", "finding-F1", "distinct"]]
(ours,), constant = scores.index.intersection([evaluation.rows[0].name]), scores.loc["a1"]
scores.loc[[ours, "a1", "b", "c"]].round(3)

# %%
better = "above" if scores.loc[ours, "BLEU-4"] > constant["BLEU-4"] else "below"
agree = (better == "above") == (scores.loc[ours, "finding-F1"] > constant["finding-F1"])
Markdown(
    f"Its BLEU-4 is {scores.loc[ours, 'BLEU-4']:.3f}, **{better}** the constant report's {constant['BLEU-4']:.3f}. Its finding-F1, which asks whether the right "
    f"findings are named, is **{scores.loc[ours, 'finding-F1']:.2f}**; the constant report has {constant['finding-F1']:.2f}, the references themselves "
    f"{evaluation.references_finding_f1:.2f}. The two scores {'agree' if agree else 'do not agree'} about who is better. Which of the two would you rather be examined by?"
)

# %% [markdown]
# ## Exercises
#
# Every exercise is followed by a check. It is silent when you are right, and otherwise names the likely mistake.
#
# **Exercise 0.1** (5 min). Write `unique`: the share of studies whose report no other study got.


# %% exercise="0.1" level="compute"
def unique(reports):
    """{study id: report} -> share of studies whose report is theirs alone."""
    ### BEGIN SOLUTION
    counts = Counter(reports.values())
    return sum(counts[report] == 1 for report in reports.values()) / len(reports)
    ### END SOLUTION


# %% exercise="0.1" points=5
checks.distinct(unique)
print(f"{unique(reports):.2f} of the generated reports are unique")

# %% [markdown]
# **Exercise 0.2** (5 min). A study is *abnormal* when it has at least one of the 13 drawn findings. Write `abnormal`: the share of the studies it is given
# that are. (What the experts coded of a study is `study.findings`, one code or several; `drawn` of a code is the drawn finding that it is, or `None`.)


# %% exercise="0.2" level="compute"
def abnormal(studies):
    """Studies -> share of them that are abnormal."""
    ### BEGIN SOLUTION
    return sum(study.is_abnormal for study in studies) / len(studies)
    ### END SOLUTION


# %% tags=["nbval-check-output"] exercise="0.2" points=5
test_studies = iu_xray.studies("test")
checks.abnormal(abnormal)
print(f"{abnormal(test_studies):.3f} of {len(test_studies)} test studies are abnormal")

# %% [markdown]
# **Exercise 0.3** (2 min). An effusion on the patient's left: on which side of the frontal picture do you look?


# %% exercise="0.3" level="compute"
def side_of_the_picture(patients_side):
    """'left' or 'right' of the patient -> 'left' or 'right' of the frontal picture."""
    ### BEGIN SOLUTION
    return {"left": "right", "right": "left"}[patients_side]
    ### END SOLUTION


# %% exercise="0.3" points=2
checks.view_of_box(side_of_the_picture)

# %% [markdown]
# Last, a riddle. A report that is the same for everybody has looked at nobody. In the chapter's table, why does it come so close to a trained
# generator, or even before it? A report can be ahead of another for two reasons:
#
# - it is **more often right**: of the words that it *says*, a larger share is right;
# - it **says more**: of the words that the reference *wants*, it has a larger share, perhaps only because it is longer.
#
# A word is right when the reference of the same patient has it too; one that stands there once is right once, however often it is said. (For two
# counters, `a & b` holds what they have in common.)
#
# **Exercise 0.4** (8 min). Measure both shares for two systems A and B, over all their words, and return by how much A leads B in each; and the reason:
# `"more often right"` if it leads in the first, else `"says more"` if it leads in the second, else `"neither"`.


# %% exercise="0.4" level="explain"
def why_it_leads(references, a, b):
    """Three lists of texts, patient by patient -> (lead of A in the words said, lead in the words wanted), reason."""

    ### BEGIN SOLUTION
    def shares(reports):
        both = [
            (Counter(report.split()), Counter(reference.split()))
            for report, reference in zip(reports, references, strict=True)
        ]
        right = sum((said & wanted).total() for said, wanted in both)
        return right / sum(said.total() for said, _ in both), right / sum(wanted.total() for _, wanted in both)

    (said_a, wanted_a), (said_b, wanted_b) = shares(a), shares(b)
    leads = (said_a - said_b, wanted_a - wanted_b)
    return leads, "more often right" if leads[0] > 0 else "says more" if leads[1] > 0 else "neither"
    ### END SOLUTION


# %% exercise="0.4" points=8
checks.why_it_leads(why_it_leads)

# %% [markdown]
# The constant report `a1` beside the generator, the most frequent report `b`, and the random ones of `c`. *What to see: behind which of them `a1` knows
# more, and behind which it only talks more.*

# %%
task = Task(*(iu_xray.studies(split) for split in SPLITS), system.vocabulary)
written = {"the generator": reports} | {name: kept_hypotheses(name, task).value for name in ("a1", "b", "c")}
texts = {name: [of[study.id] for study in test_studies] for name, of in written.items()}
words = {name: sum(len(text.split()) for text in of) / len(of) for name, of in texts.items()}
references = [system.vocabulary.protocol.reference(study.report, system.vocabulary) for study in test_studies]
found = {name: why_it_leads(references, texts["a1"], texts[name]) for name in ("the generator", "b", "c")}
bleu = scores["BLEU-4"].rename({ours: "the generator"})
lines = [
    f"- over **{name}** ({words[name]:.0f} words a report, BLEU-4 {bleu[name]:.3f}): right words among those said {said:+.3f}, "
    f"wanted words that are said {wanted:+.3f}. **{reason.capitalize()}**."
    for name, ((said, wanted), reason) in found.items()
]
Markdown(
    f"`a1` says {words['a1']:.0f} words a report and has a BLEU-4 of {bleu['a1']:.3f}. It leads\n\n" + "\n".join(lines)
)

# %%
talks = [name for name, (_, reason) in found.items() if reason == "says more" and bleu["a1"] > bleu[name]]
if talks:
    told = f"Over {' and '.join(talks)} `a1` is ahead in BLEU-4 and is not more often right: it says more. BLEU punishes who says too little."
else:
    told = "Wherever `a1` is ahead in BLEU-4 here, it is more often right as well."
Markdown(
    f"{told} And `a1` never saw an image: what most reports say, said at their usual length, has a score before anything is learnt."
)

# %% [markdown]
# ## Where the book goes
#
# | chapter | you build |
# |---|---|
# | [01 data preparation](01_data_preparation.ipynb) | studies, cleaning, vocabulary, split; what is in the reports |
# | [02 visual extraction](02_visual_extraction.ipynb) | patches, and what random, trained and ImageNet features hold |
# | [03 transformer baseline](03_transformer_baseline.ipynb) | the generator without a memory, and the search that writes |
# | [04 memory querying and responding](04_memory_querying_responding.ipynb) | CMN's memory, equation by equation; what it looks at |
# | [05 XProNet: prototypes](05_xpronet_prototypes.ipynb) | a memory of each class; what test-time labels are worth |
# | [06 MCSAM: alignment](06_mcsam_alignment.ipynb) | a bank of report topics, alignment, memory tokens |
# | [07 pair alignment and classification](07_pair_alignment_and_classification.ipynb) | images and reports that find each other; a classifier of diseases |
# | [08 GPU training](08_gpu_training.ipynb) | memory and hours before they are spent; one node, many |
# | [09 evaluation](09_evaluation.ipynb) | metrics by hand, baselines that see nothing, intervals, errors |
# | [10 replication ledger](10_replication_ledger.ipynb) | every printed value and claim beside what was measured |
# | [11 lineage](11_lineage.ipynb) | the systems that the papers compare with: LSTMs that look, a memory of the text |
#
# **What you can now do.** Look at any study of the collection from the command line, too: `rrg demo --study CXR2384_IM-0942`. What it does with a radiograph
# of your own, `rrg generate` shows once you have trained a system (chapter 03).
#
# **Sources.** CMN: Chen et al., *Cross-modal Memory Networks for Radiology Report Generation*, ACL-IJCNLP 2021. Reports: Demner-Fushman et al.,
# *Preparing a collection of radiology examinations for distribution and retrieval*, JAMIA 2016.
