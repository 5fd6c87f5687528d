# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   rrg: {minutes: 1, peak_gib: 1}
# ---

# %% [markdown]
# # 1 · Data preparation
#
# A model of this book reads two pictures and writes a paragraph. This chapter is about the paragraphs first: who wrote them, what cleaning does to them,
# and how much they repeat each other, which decides what every score of the later chapters means. Then about the pictures: what real films are, what
# the drawn ones leave out, and how you bring your own.
#
# **Goals.** You can say what a study is, where it comes from and which split it is in; read an expert code as a finding with side and severity; clean
# reports the way the published scores need it, and say what that destroys; build the vocabulary; name four habits of this collection that
# speak against BLEU alone; show a film through its window; and have a folder of real films examined before you prepare it.
#
# **Before this.** Python, and a little `Counter` and regular expressions. No deep learning yet.
#
# **Minutes.** Reading 50, exercises 48. Running takes about one minute on two CPU cores once the dataset is prepared; preparing it takes a few
# minutes, once.
#
# **The pictures in this chapter are drawn.** The reports are real, the radiographs are drawn by the library from the experts' codes. Scores of models
# that look at drawn radiographs are not comparable with published ones.

# %% tags=["parameters"]
PROFILE = "ci"  # ci | laptop | gpu
DATASET = "iu_phantom"
DATA_ROOT = None  # the folder of real images, for the datasets that need one
SEED = None  # of the sampled studies in section 1.9

# %%
from rrg_lib.book.edition import require

require("0.1")  # silent when this page and the library are of one edition of the book; otherwise it says what to do

# %%
import re
import tempfile
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown
from PIL import Image

from rrg_lib.book.checks import data_preparation as checks
from rrg_lib.book.figures import data_preparation as figures
from rrg_lib.book.prose import say
from rrg_lib.data import iu_xray
from rrg_lib.data.doctor import examine
from rrg_lib.data.drawing.anatomy import sample_anatomy
from rrg_lib.data.images import SIZE
from rrg_lib.data.layouts.registry import LAYOUTS
from rrg_lib.data.phantom import draw, sample_studies
from rrg_lib.data.prepare import prepare
from rrg_lib.data.study import DRAWN_FINDINGS, SEVERITIES, SIDES, SPLITS, Study
from rrg_lib.data.text.cleaning import clean_clinical, clean_r2gen
from rrg_lib.data.text.vocabulary import PROTOCOLS, UNKNOWN, Vocabulary
from rrg_lib.errors import RRGError
from rrg_lib.evaluation.baselines import Task, baseline_hypotheses, constant_bleu
from rrg_lib.runtime.package_data import table

# %% [markdown]
# ## 1.1 A study is a record
#
# Everything in this book passes through one small record. A **study** is one examination: its images, its report, its expert codes, and the part of
# the collection it belongs to.

# %% tags=["nbval-check-output"]
for field in fields(Study):
    print(f"{field.name:10s}{field.type}")

# %% [markdown]
# The collection is that of Indiana University. Its reports come with the package `torchxrayvision`; they are read from there and copied nowhere. Here is
# one, as it was written.

# %% tags=["nbval-check-output"]
abnormal = iu_xray.study("CXR3733_IM-1866")
Markdown(f"> {abnormal.report}\n>\n> *study {abnormal.id} · {abnormal.source}*")

# %% [markdown]
# Read it as a radiologist's listener. Three things will follow us through the book.
#
# * It **names what is there** (an enlarged heart, a granuloma) and also what is **not** there ("otherwise clear").
# * It **compares**: "unchanged since previous exam". No model that sees one examination can know that.
# * It has **holes**: every `XXXX` is a word that was taken out when the reports were made anonymous. Here it
#   swallowed harmless words: what can follow "costophrenic" but *angle*?
#
# Its words, once: the *costophrenic angle* is the corner between diaphragm and chest wall, *blunted* when fluid or a scar fills it. *Pleura* is the skin
# around the lung. A *granuloma* is a small, often calcified knot left by an old inflammation. *Kyphosis* is a spine bent forward, an *osteophyte* a spur
# on a vertebra, *ectasia* a widened vessel. Among the codes of 1.3, *cicatrix* is a scar, and an *effusion* is fluid around the lung.
#
# A full report has more sections (indication, impression). The papers use this one, FINDINGS, and so do we.

# %% [markdown]
# ## 1.2 Who is in, who is out, and the split
#
# Not every record can be used: some have no FINDINGS, some have a single image. The rest is the set on which R2Gen, CMN and XProNet were scored.

# %% tags=["nbval-check-output"]
records = iu_xray.records().values()
with_findings = [record for record in records if record.findings]
with_two_views = [record for record in with_findings if len(record.images) >= 2]
print(
    f"{len(records):,} reports, {len(with_findings):,} with FINDINGS, {len(with_two_views):,} of those with two images or more"
)

studies = {split: iu_xray.studies(split) for split in SPLITS}
print({split: len(found) for split, found in studies.items()}, "together", sum(map(len, studies.values())))

# %% [markdown]
# CMN prints the sizes of its splits in Table 1. They are kept in `data/published.csv`, with their source, so we can put them beside ours.


# %%
def table_1(what):
    """CMN's Table 1 for IU X-Ray: {split: value}."""
    rows = [
        row
        for row in table("published")
        if (row["where"], row["dataset"], row["metric"]) == ("Table 1", "iu_xray", what)
    ]
    return {row["system"]: float(row["value"]) for row in rows if row["paper"].startswith("R2GenCMN")}


views_of = {record.uid: record.images for record in with_two_views}
images = {
    split: sum(len(views_of[study.id.split("_")[0].removeprefix("CXR")]) for study in found)
    for split, found in studies.items()
}
rows = {
    ("images", "CMN Table 1"): table_1("images"),
    ("images", "here, all"): images,
    ("images", "here, two a study"): {split: 2 * len(found) for split, found in studies.items()},
    ("reports", "CMN Table 1"): table_1("reports"),
    ("reports", "here"): {split: len(found) for split, found in studies.items()},
}
sizes = pd.DataFrame(rows).T.astype(int)
sizes["together"] = sizes.sum(axis=1)
sizes

# %%
everything_there = {"images": sum(len(record.images) for record in records), "reports": len(records)}
say(
    "The paper's rounded numbers add up to {i:,} images and {r:,} reports; the whole collection has {all_i:,} and {all_r:,}. So Table 1 counts "
    "{verdict}.",
    i=sizes.at[("images", "CMN Table 1"), "together"],
    r=sizes.at[("reports", "CMN Table 1"), "together"],
    all_i=everything_there["images"],
    all_r=everything_there["reports"],
    verdict="the collection before anything was left out, divided 7 : 1 : 2"
    if all(abs(sizes.at[(what, "CMN Table 1"), "together"] / n - 1) < 0.02 for what, n in everything_there.items())
    else "something that we can't name",
)

# %% [markdown]
# *Paper says:* those numbers. *Released code does:* read an annotation file with the studies in the rows "here". *We do:* as released; the split is
# shipped as a list of study ids.

# %% [markdown]
# ## 1.3 Codes that experts gave
#
# Each report was also coded by people with terms of the Medical Subject Headings (MeSH). These are labels that no program guessed. For our study:

# %% tags=["nbval-check-output"]
for finding in abnormal.findings:
    print(finding.code)

# %% [markdown]
# A code is a path. The first word, the *head*, says what; the *qualifiers* after it say where, on which side, how much. `parse_code` turns the path into a
# `Finding`. Besides, it says which of the 13 findings our renderer draws it belongs to (`drawn`), and which of the 14 CheXpert observations
# (`observation`): the labels that the CheXpert collection made common, *No Finding* among them. Many codes belong to none.

# %%
pd.DataFrame(
    [{field.name: getattr(finding, field.name) for field in fields(finding)} for finding in abnormal.findings]
).fillna("–")

# %% [markdown]
# **Exercise 1.1** (5 min). Write the part of the parser that finds side and severity. The words are in `SIDES` and `SEVERITIES`. They may stand anywhere
# after the head, and often one or both are missing.

# %% exercise="1.1" level="implement"
print(SIDES, SEVERITIES)


def side_and_severity(code):
    """`Opacity/lung/base/left/mild` -> ("left", "mild"); None for what the code does not name."""
    ### BEGIN SOLUTION
    qualifiers = code.split("/")[1:]
    side = next((word for word in qualifiers if word in SIDES), None)
    severity = next((word for word in qualifiers if word in SEVERITIES), None)
    return side, severity
    ### END SOLUTION


# %% exercise="1.1" points=5
checks.side_and_severity(side_and_severity)
everything = [finding for split in SPLITS for study in studies[split] for finding in study.findings]
assert all(
    side_and_severity(finding.code) == (finding.side, finding.severity) for finding in everything
)  # the library agrees

# %% [markdown]
# Which codes are there? Every head in at least seventy studies:

# %%
heads = {}
for study in (study for found in studies.values() for study in found):
    drawn_heads = {finding.head for finding in study.findings if finding.drawn}
    for head in {finding.head for finding in study.findings}:
        with_it, without_it = heads.get(head, (0, 0))
        heads[head] = (with_it + (head in drawn_heads), without_it + (head not in drawn_heads))
common = {
    head: count
    for head, count in sorted(heads.items(), key=lambda item: -sum(item[1]))
    if sum(count) >= 70 and head != "normal"
}
figures.code_heads(common, name="01_code_heads")

# %% [markdown]
# *What to see: a long tail already among the frequent ones. Hatched: studies in whose picture the head is not drawn (more of them in 1.10). "Lung" is both:
# a hyperinflated lung is drawn, one that took too shallow a breath is not.*

# %% tags=["nbval-check-output"]
coded = [finding for found in studies.values() for study in found for finding in study.findings]
print(f"{len(coded):,} codes, {len({finding.code for finding in coded}):,} different ones, {len(heads)} heads")
print(
    f"{sum(finding.drawn is not None for finding in coded):,} codes are drawn; {sum(heads['normal']):,} studies are coded 'normal'"
)

# %% [markdown]
# So "normal" has three meanings, and mixing them up makes scores look better than they are. A study may have the **code** `normal`. It may be **not
# abnormal**: in this book a study is abnormal when it has at least one of the 13 drawn findings. And it may have "**No Finding**" of the CheXpert label
# set, which overlooks the spine, the granuloma, the bent back. (We take it from the codes here; the programs that read CheXpert labels from the text
# give other shares again.)

# %% tags=["nbval-check-output"]
for split, found in studies.items():
    abnormal_ones = sum(study.is_abnormal for study in found)
    no_finding = sum(study.observations[0] for study in found)
    coded_normal = sum(any(finding.head == "normal" for finding in study.findings) for study in found)
    print(
        f"{split:5s} {len(found):5d} studies   abnormal {abnormal_ones:5d} ({abnormal_ones / len(found):.1%})   not abnormal "
        f"{1 - abnormal_ones / len(found):.1%}   No Finding {no_finding / len(found):.1%}   code 'normal' {coded_normal / len(found):.1%}"
    )

# %%
counts = {split: np.array([study.drawn for study in found]).sum(0) for split, found in studies.items()}  # (13,) each
pd.DataFrame(counts, index=DRAWN_FINDINGS).sort_values("train", ascending=False).T

# %% [markdown]
# The table has a long tail. A model that never mentions a pneumothorax is wrong in a handful of test studies; no average will notice. And look at the
# shares above: test is healthier than train. What is learnt on one mixture is scored on another.

# %% [markdown]
# ## 1.4 The drawn radiograph
#
# The real images of the collection are a large download, and nobody has marked the findings in them. So the default dataset, **IU-Phantom**, keeps the
# real report and *draws* the two views from the codes: ribs, spine, heart and diaphragm of a patient who follows from the study's id, then each
# finding at its place, side and size. We know where everything is, because we put it there.
#
# *Deviation.* *Paper says and released code does:* real radiographs. *We do:* drawn ones unless you give real ones (`DATASET=iu_xray`,
# `DATA_ROOT=…`).

# %% tags=["nbval-check-output"]
normal = iu_xray.study("CXR3665_IM-1823")
Markdown(
    f"> {normal.report}\n>\n> *study {normal.id} · {normal.source} · codes: {', '.join(finding.code for finding in normal.findings)}*"
)

# %%
drawing = draw(abnormal)
drawing.views.shape, drawing.views.dtype, len(drawing.boxes)  # (views, height, width)

# %%
figures.drawn_studies({"abnormal (codes below)": drawing, "normal": draw(normal)}, name="01_drawn_study")

# %% [markdown]
# *Drawn images. Compare the abnormal study with the normal one beside it: the heart takes more than half the width of the chest, the angle between
# diaphragm and chest wall is filled on one side only, a small dense point lies in the other lung, bright spurs stand out from the vertebrae. The image's
# left is the patient's right, as if the patient stood before you; so the "right costophrenic angle" is at the left edge of the picture.*
#
# Go back to the report of 1.1 and find each sentence in the picture. Then find what is *not* drawn: the aorta, the kyphosis, the old scar. Their codes
# have no picture here; a model can only guess those words.
#
# Is a box where the finding is? Draw the same patient without the granuloma and see which pixels differ.

# %%
without = replace(abnormal, findings=tuple(finding for finding in abnormal.findings if finding.drawn != "Granuloma"))
difference = np.abs(drawing.views.astype(int) - draw(without).views)  # (2, 256, 256)


def near_the_box(reach):
    """The pixels in the granuloma's boxes, or at most so many pixels from them (2, 256, 256)."""
    near = np.zeros_like(difference, dtype=bool)
    for box in (box for box in drawing.boxes if box.finding == "Granuloma"):
        near[box.view, max(0, box.y0 - reach) : box.y1 + reach, max(0, box.x0 - reach) : box.x1 + reach] = True
    return near


inside = near_the_box(0)
rim = next(reach for reach in range(difference.shape[-1]) if not difference[~near_the_box(reach)].any())
print(
    f"of all that changed, {difference[inside].sum() / difference.sum():.1%} lies in the box of the granuloma, {inside.mean():.2%} of the picture; "
    f"the rest within {rim} pixel{'s' * (rim > 1)} of it"
)

# %% [markdown]
# Severity is drawn too. Below is one patient again and again; only the last word of the code changes.


# %%
def graded(head, *grades):
    """Frontal views of the normal study's patient, first without the finding, then with it in each grade ("" names none)."""
    codes = {"none": "normal", **{grade or "(no word)": f"{head}/{grade}" if grade else head for grade in grades}}
    return {
        grade: draw(replace(normal, findings=(iu_xray.parse_code(code),))).views[0] for grade, code in codes.items()
    }


steps = {
    "Cardiomegaly": graded("Cardiomegaly", "borderline", "mild", "moderate", "severe"),
    "Pleural Effusion/left": graded("Pleural Effusion/left", "small", "", "moderate", "large"),
}
figures.ladder(steps, name="01_severity_ladder")

# %% [markdown]
# *Drawn images. Read each row from left to right: the heart grows from an ordinary width to most of the chest; the fluid rises from a filled angle to
# more than half the lung. Between neighbours you have to look twice, and so do radiologists.*

# %% [markdown]
# ## 1.5 Cleaning, step by step
#
# Before a model sees a report, it is cleaned. CMN gives no equation for it; what counts is the released code, because the published scores were computed on
# its output. We call that protocol `r2gen`. Here are its steps. The sentence they act on is our own, made to show what each step does.

# %%
DELETED_FIRST = "\"/\\'"
DELETED = set(".,?;*!%^&_+()]{}") | {
    chr(code) for code in range(ord(":"), ord("[") + 1)
}  # an unescaped hyphen made this a range


def without_list_numbers(text):
    text = text.replace("1. ", "")
    for before in (". {}. ", " {}. "):
        for number in (2, 3, 4, 5):
            text = text.replace(before.format(number), ". ")
    return text


def without_marks(sentence):
    sentence = "".join(char for char in sentence if char not in DELETED_FIRST).strip()
    return "".join(char for char in sentence if char not in DELETED)


# %% tags=["nbval-check-output"]
STEPS = {
    "rows of points": lambda text: re.sub(r"\.{2,}", ".", text),
    "list numbers": without_list_numbers,
    "lower case": lambda text: text.strip().lower(),
    "marks, sentence by sentence": lambda text: " . ".join(map(without_marks, text.split(". "))) + " .",
}
text = 'AP/PA views.. 1. Right-sided nodule, 1.5 cm. 2. No effusion and/or "edema". Heart size: normal?'
print(f"{'':30s}{text}")
for name, step in STEPS.items():
    text = step(text)
    print(f"{name:30s}{text}")

# %% [markdown]
# The library does the same, for every report of the collection:

# %%
for study in iu_xray.studies():
    text = study.report
    for step in STEPS.values():
        text = step(text)
    assert text == clean_r2gen(study.report)

# %% [markdown]
# Now look at what was lost. The `clinical` protocol of this book is the alternative: it keeps decimal points, hyphens and slashes, and drops only
# punctuation.

# %% tags=["nbval-check-output"]
PHRASES = ["A 1.5 cm nodule.", "AP/PA views.", "Scarring and/or atelectasis."]
PHRASES += ["1. Clear lungs. 2. No effusion.", "It measures 2. Heart is normal.", "Clear. . Normal."]
for phrase in PHRASES:
    print(f"{phrase:34s}{clean_r2gen(phrase):34s}{clean_clinical(phrase)}")

# %% [markdown]
# | what `r2gen` does | why it matters |
# |---|---|
# | the decimal point goes | a size becomes ten times as large |
# | `/` goes without a blank | "AP/PA" becomes "appa": two words become a third that nobody wrote |
# | "2." to "5." go as list numbers | a real number that ends a sentence goes with them |
# | an empty sentence stays | the model learns to say nothing between two points |
#
# How often does that happen in the real reports?

# %% tags=["nbval-check-output"]
all_studies = iu_xray.studies()
decimal, slash = re.compile(r"\d\.\d"), re.compile(r"\w/\w")
print(f"{sum(bool(decimal.search(study.report)) for study in all_studies)} reports lose a decimal point")
print(f"{sum(bool(slash.search(study.report)) for study in all_studies)} reports lose a slash between two words")
for split, found in studies.items():
    print(f"{sum(' .  .' in clean_r2gen(study.report) for study in found)} reports with an empty sentence in {split}")

# %% [markdown]
# Few, and still worth a look, because they are the sentences in which a doctor measured something.

# %%
MEASURED = re.compile(r"(\d+\.\d+) ?(cm|mm)\b")
found_measures = [match for study in all_studies for match in MEASURED.findall(study.report)]
centimetres = {"cm": 1.0, "mm": 0.1}
written = [float(number) * centimetres[unit] for number, unit in found_measures]
cleaned = [float(clean_r2gen(number).split()[0]) * centimetres[unit] for number, unit in found_measures]
figures.measurements(written, cleaned, film=43, name="01_measurements")  # a chest film is 35 by 43 cm

# %% [markdown]
# *Each line is one measurement with a decimal point; the blue end is what was written, the red end what the cleaned report says. Nodules of a centimetre
# become as large as a fist, and some findings no longer fit on the film.* Which of those red numbers a model can be trained to write is another question:
# one that is too rare is not in its list of words. Section 1.6 counts.
#
# *Paper says:* nothing. *Released code does:* the above. *We do:* `r2gen` wherever a number stands beside a published one, `clinical` on request
# (`rrg prepare iu_phantom --protocol clinical`). Both carry a version and a hash.
#
# **Exercise 1.2** (10 min). Write a cleaner that equals the released one but keeps a decimal point: a point between two digits. Use `clean_r2gen`; do not
# rewrite it. (Whatever stands for the point meanwhile must survive the cleaning, and must not be a word that a report may contain.)


# %% exercise="1.2" level="implement"
def clean_keeping_decimals(report):
    """`A 1.5 cm nodule, stable.` -> `a 1.5 cm nodule stable .`"""
    ### BEGIN SOLUTION
    hidden = re.sub(r"(?<=\d)\.(?=\d)", "·", report)  # a mark that the cleaning does not know
    return clean_r2gen(hidden).replace("·", ".")
    ### END SOLUTION


# %% exercise="1.2" points=10
checks.keeps_decimals(clean_keeping_decimals)

# %% [markdown]
# ## 1.6 The vocabulary
#
# A model chooses its next word from a list. The list is made of the training reports alone:
#
# > $\mathcal V=\{\,w : \operatorname{count}_{\text{train}}(w)\ge\tau\,\}\cup\{\texttt{<unk>}\}$
#
# with $\tau=3$ for IU X-Ray, as released. Every other word is read as `<unk>`.

# %% tags=["nbval-check-output"]
protocol = PROTOCOLS["r2gen"]
reports = {split: [study.report for study in found] for split, found in studies.items()}
said = Counter(token for report in reports["train"] for token in clean_r2gen(report).split())
words = sorted([token for token, count in said.items() if count >= protocol.threshold] + [UNKNOWN])
vocabulary = Vocabulary.build(reports["train"], protocol)
assert list(vocabulary.tokens) == words  # the library agrees
print(f"{len(said):,} distinct words, {len(words)} entries at threshold {protocol.threshold}, {UNKNOWN} among them")
print(f"said only once: {sum(count == 1 for count in said.values())} words")

# %% [markdown]
# **Exercise 1.3** (10 min). What does the list miss? Write the out-of-vocabulary rate: of all tokens in some cleaned reports, which share is not in the
# vocabulary? (`vocabulary.protocol.clean` cleans a report, `vocabulary.ids` knows the words.)


# %% exercise="1.3" level="compute"
def unknown_rate(reports, vocabulary):
    """Share (0 to 1) of the tokens of these raw reports that the vocabulary does not hold."""
    ### BEGIN SOLUTION
    tokens = [token for report in reports for token in vocabulary.protocol.clean(report).split()]
    return sum(token not in vocabulary.ids for token in tokens) / len(tokens)
    ### END SOLUTION


# %% exercise="1.3" points=10
checks.unknown_rate(unknown_rate)

# %% tags=["nbval-check-output"]
for split, texts in reports.items():
    print(f"{split:5s} {unknown_rate(texts, vocabulary):.2%} of the tokens are unknown")

# %% [markdown]
# Does the list ever end? A law of Heaps says how many different words $V$ stand in the first $n$ words of a text,
#
# > $V(n) = k\,n^{\beta}$ &nbsp; with $\beta<1$,
#
# a straight line between the logarithms. We fit it to the first half of the training reports and let it tell the second half.

# %%
seen, kept, read, growing = [], [], [], Counter()
for report in reports["train"]:
    growing.update(clean_r2gen(report).split())
    read.append(growing.total())
    seen.append(len(growing))
    kept.append(sum(count >= protocol.threshold for count in growing.values()))
half = len(seen) // 2
beta, log_k = np.polyfit(np.log(read[:half]), np.log(seen[:half]), 1)
law = np.exp(log_k) * np.array(read) ** beta

# %%
say(
    "After {n:,} words the law expects {told:,.0f} different ones; there are {there:,}: the law says {miss:.0%} too {which}. Fitted to one half ($\\beta$ = "
    "{beta:.2f}) it does not carry over to the other, so we draw no more from it. What was counted: the last tenth of the training reports still brought "
    "{late} words that none of those before had.",
    n=read[-1],
    told=law[-1],
    there=seen[-1],
    miss=abs(law[-1] / seen[-1] - 1),
    which="many" if law[-1] > seen[-1] else "few",
    beta=beta,
    late=seen[-1] - seen[-1 - len(seen) // 10],
)

# %% [markdown]
# The list made of these reports was not complete when they ended. Where to cut it? Is 3 a good threshold?

# %%
thresholds = range(1, 11)
built = [Vocabulary.build(reports["train"], replace(protocol, threshold=threshold)) for threshold in thresholds]
unknown = [unknown_rate(reports["test"], candidate) for candidate in built]
entries = [candidate.size for candidate in built]
figures.vocabulary_growth(seen, kept, thresholds, entries, unknown, protocol.threshold, law, half, name="01_vocabulary")

# %% [markdown]
# *Left: new words keep coming to the very end, and words said three times come more slowly; dashed, the law. Right: each point is a threshold. From 1 to
# the red 3 the list shrinks to half at a small price; beyond, the same saving costs more and more. What is lost there are rare words, and rare words name
# rare findings.*
#
# And the measurements of 1.5? The cleaned number is a word like any other, and has to be in the list:

# %%
red = [clean_r2gen(number).split()[0] for number, _ in found_measures]
outside = sum(number not in vocabulary.ids for number in red)
say(
    "Of {n} measurements with a decimal point {outside} become `<unk>`: a model is trained to write *that there was a number*. The other {inside} stand in "
    "the list as {words}, without their point.",
    n=len(red),
    outside=outside,
    inside=len(red) - outside,
    words=", ".join(sorted({number for number in red if number in vocabulary.ids})),
)

# %% [markdown]
# Now a report becomes numbers. The 0 at both ends begins and ends a report, and it also pads: three jobs, one id, as released.

# %% tags=["nbval-check-output"]
ids = vocabulary.encode("The heart is normal. No hippopotamus.")
print(ids)
print(vocabulary.decode(ids))

# %% [markdown]
# A report is **cut** at 60 ids, both 0s counted. A longer one loses its end, and with the end the 0 that says "I am done".

# %% tags=["nbval-check-output"]
fits = protocol.max_length - 2
lengths = {split: [len(clean_r2gen(report).split()) for report in texts] for split, texts in reports.items()}
for split, found in lengths.items():
    cut = sum(length > fits for length in found)
    lost = sum(max(0, length - (protocol.max_length - 1)) for length in found)
    print(
        f"{split:5s} {cut:3d} of {len(found)} reports are cut ({cut / len(found):.1%}); {lost / sum(found):.1%} of all tokens are lost"
    )

# %% [markdown]
# There is a second consequence. *Released code does:* the reference that a generated report is scored against is encoded and decoded first: cut, and
# with `<unk>` in it. A model that says `<unk>` at the right moment is paid for it. *Paper says:* nothing. *We do:* as released in the protocol
# `r2gen`; `r2gen_uncut` and `clinical` score against the whole text.

# %% tags=["nbval-check-output"]
references = [protocol.reference(report, vocabulary) for report in reports["test"]]
holes = [reference.split().count(UNKNOWN) for reference in references]
print(f"{sum(holes)} {UNKNOWN} in the references of {sum(map(bool, holes))} of {len(references)} test reports")

# %% [markdown]
# ## 1.7 What is in the reports
#
# ### How long
#
# CMN's Table 1 gives average lengths too. It does not say what it counts, nor in which reports: its *sizes* are those of the whole collection (1.2). We
# count in the studies used, in three ways: tokens after cleaning, the same with the mark that ends a report, and words and punctuation marks of the
# report as it was written.

# %%
RAW = re.compile(r"\w+|[^\w\s]")
ways = {
    "cleaned tokens": {split: np.mean(n) for split, n in lengths.items()},
    "cleaned, end mark counted": {split: np.mean(n) + 1 for split, n in lengths.items()},
    "as written": {split: np.mean([len(RAW.findall(report)) for report in texts]) for split, texts in reports.items()},
}
averages = pd.DataFrame({"CMN Table 1": table_1("average report length, words")} | ways)
averages.round(2)

# %%
off = {name: (averages[name] - averages["CMN Table 1"]).abs().max() for name in ways}
nearest, second = sorted(off, key=off.get)[:2]
say(
    "Nearest is *{nearest}*: at most {least:.2f} off in any split (*{second}*: {next:.2f}). The paper prints one decimal, so {verdict}.",
    nearest=nearest,
    least=off[nearest],
    second=second,
    next=off[second],
    verdict="that is what it counted, as far as its digits tell"
    if (averages[nearest].round(1) == averages["CMN Table 1"]).all()
    else "no way of counting here gives its three numbers; what was counted, and in which reports, stays open",
)

# %%
low, high = np.quantile(lengths["train"], [0.25, 0.75])
say("The middle half of the training reports has {low:.0f} to {high:.0f} tokens, points included.", low=low, high=high)

# %%
figures.report_lengths(lengths, fits, name="01_lengths")

# %% [markdown]
# *What to see: how far the three curves lie apart. The test reports (blue) are shorter than the training reports (grey). Right of the red
# line the cutting begins.*
#
# Why are they shorter? You know one reason already, from 1.3: test is healthier, and healthy chests need fewer words. That is the **mixture**. But it is a
# guess until it is measured. The other reason may hold as well, or instead: that about the same chest less is written, by other people or in other
# years. That is the **writing**. They matter in different ways: who scores healthy and abnormal studies apart is rid of the first and not of the second.
#
# The usual way to tell them apart is to *standardise*: work out how long B's reports would be on average if B had A's share of abnormal studies, and its
# own lengths in each group. What remains of the gap then is not the mixture.
#
# **Exercise 1.4** (8 min). Return by how many tokens A's reports are longer than B's on average, by how many they would still be if B had A's mixture, and
# the reason: `"mixture"` if less than half of the gap remains, else `"writing"`; `"not shorter"` if B's reports are not shorter to begin with.


# %% exercise="1.4" level="explain"
def why_shorter(lengths_a, abnormal_a, lengths_b, abnormal_b):
    """Lengths (n,) of reports, and which studies are abnormal (n,) bool, of A, then of B -> (gap, what remains of it), reason."""
    ### BEGIN SOLUTION
    gap = lengths_a.mean() - lengths_b.mean()
    share = abnormal_a.mean()
    as_if = (
        share * lengths_b[abnormal_b].mean() + (1 - share) * lengths_b[~abnormal_b].mean()
    )  # B with the mixture of A
    remains = lengths_a.mean() - as_if
    reason = "mixture" if remains < gap / 2 else "writing"
    return (gap, remains), reason if gap > 0 else "not shorter"
    ### END SOLUTION


# %% exercise="1.4" points=8
checks.why_shorter(why_shorter)

# %% [markdown]
# Training reports against those of the other two splits. *What to see: the shares of abnormal studies, and how much of each gap is left when they are made
# alike.*

# %% tags=["nbval-check-output"]
of_split = {
    split: (np.array(lengths[split]), np.array([study.is_abnormal for study in studies[split]])) for split in SPLITS
}
gaps = {split: why_shorter(*of_split["train"], *of_split[split]) for split in ("val", "test")}
for split, ((gap, remains), reason) in gaps.items():
    ill = [of_split[name][1].mean() for name in ("train", split)]
    print(
        f"train - {split:5s} abnormal {ill[0]:.1%} - {ill[1]:.1%}   gap {gap:.2f} tokens, remains {remains:.2f}   {reason}"
    )

# %%
draws = np.random.default_rng(SEED or 0)


def drawn_again(split):
    """The lengths and kinds of a split's studies, as many drawn from them with replacement (a *bootstrap* sample: what another sample might have been)."""
    n = len(of_split[split][0])
    return [part[at] for at in [draws.integers(0, n, n)] for part in of_split[split]]


def intervals(split):
    """95 % intervals of the gap, of what remains, and of the part that the mixture takes away."""
    found = np.array([why_shorter(*drawn_again("train"), *drawn_again(split))[0] for _ in range(1000)])
    return [np.quantile(x, [0.025, 0.975]) for x in (*found.T, found[:, 0] - found[:, 1])]


def judged(split):
    """What the mixture takes away from the gap, what remains, which of the three can be told from 0, and whether the reason above rests on one of these."""
    (gap, remains), reason = gaps[split]
    rests_on = {"mixture": "what the mixture takes away", "writing": "what remains", "not shorter": "the gap"}[reason]
    numbers = {"the gap": gap, "what remains": remains, "what the mixture takes away": gap - remains}
    rows = [(name, value, *ends) for (name, value), ends in zip(numbers.items(), intervals(split), strict=True)]
    told = "; ".join(f"{name} {value:.1f} [{low:.1f}, {high:.1f}]" for name, value, low, high in rows)
    sure = [name for name, _, low, high in rows if low > 0 or high < 0]
    borne = f"*{reason}* above rests on {rests_on}, which is {'' if rests_on in sure else 'not '}told from 0"
    return f"- **train - {split}**, tokens: {told}. Told from 0: {', '.join(sure) or 'none of the three'}; {borne}."


Markdown("\n".join(judged(split) for split in gaps))

# %% [markdown]
# In square brackets stand 95 % intervals over studies. An interval that holds 0 leaves the question open: what remains may be writing, or the luck of
# which studies there are. The rule of the exercise knows no luck: it names a reason for any gap. So ask first whether there is something to explain.

# %% [markdown]
# ### How often the same text
#
# A radiologist who has seen a thousand healthy chests does not write a thousand different reports. How many test reports stand, word for word, among the
# training reports?
#
# **Exercise 1.5** (5 min). Write the share.


# %% exercise="1.5" level="compute"
def copied_share(texts, pool):
    """Share (0 to 1) of `texts` that also stand, whole, in `pool`; both are lists of cleaned reports."""
    ### BEGIN SOLUTION
    known = set(pool)
    return sum(text in known for text in texts) / len(texts)
    ### END SOLUTION


# %% exercise="1.5" points=5
checks.copied_share(copied_share)

# %% tags=["nbval-check-output"]
pool = [clean_r2gen(report) for report in reports["train"]]
shares = {}
for split in ("val", "test"):
    normal_texts = [clean_r2gen(study.report) for study in studies[split] if not study.is_abnormal]
    abnormal_texts = [clean_r2gen(study.report) for study in studies[split] if study.is_abnormal]
    groups = {"all": normal_texts + abnormal_texts, "normal": normal_texts, "abnormal": abnormal_texts}
    shares[split] = {group: copied_share(texts, pool) for group, texts in groups.items()}
    print(split, ", ".join(f"{group} {share:.1%}" for group, share in shares[split].items()))

# %%
figures.copies(shares, name="01_copies")

# %% [markdown]
# *The blue bar "normal" is the one to remember: most reports of healthy test patients are no new texts at all. Abnormal reports almost always are.* So
# nearly half of the test reports can be had without writing: it is enough to choose among the training reports.
#
# And the two splits are not alike, even among normal studies:

# %%
sides = {split: (shares[split]["normal"], sum(not study.is_abnormal for study in studies[split])) for split in shares}
apart = sides["test"][0] - sides["val"][0]
error = np.sqrt(sum(share * (1 - share) / n for share, n in sides.values()))
say(
    "Of normal reports {test:.0%} are copies in test and {val:.0%} in validation, {apart:+.0%} with a standard error of {error:.0%}: {verdict}. Whatever is "
    "chosen by scores on validation is chosen where copying pays {less}.",
    test=sides["test"][0],
    val=sides["val"][0],
    apart=apart,
    error=error,
    verdict="no accident of few studies; why, the reports do not say"
    if abs(apart) > 2 * error
    else "within what few studies do by themselves",
    less="less" if apart > 2 * error else "more" if apart < -2 * error else "about as much",
)

# %% tags=["nbval-check-output"]
for split, found in studies.items():
    texts = [clean_r2gen(study.report) for study in found]
    marked = sum("xxxx" in text for text in texts)
    print(
        f"{split:5s} {len(set(texts)):5d} distinct of {len(texts):5d}   {marked / len(texts):.1%} hold a de-identification mark"
    )

# %% [markdown]
# The mark `xxxx` is a word like any other to the model: it is in the vocabulary, it is scored, and it is one of the most frequent words there are.

# %% tags=["nbval-check-output"]
print(
    f"`xxxx` is word number {[word for word, _ in said.most_common()].index('xxxx') + 1} by frequency, said {said['xxxx']:,} times in train"
)


# %% [markdown]
# ### Which sentences
#
# Most of that repetition is in the sentences.


# %%
def sentences(report):
    """The sentences of a cleaned report."""
    return [sentence.strip() for sentence in clean_r2gen(report).split(" .") if sentence.strip()]


stock = Counter(sentence for report in reports["train"] for sentence in sentences(report))
test_sentences = [sentence for report in reports["test"] for sentence in sentences(report)]
heard = Counter(test_sentences)
covered = np.cumsum([heard[sentence] for sentence, _ in stock.most_common()]) / len(test_sentences)
figures.frequent_sentences(stock.most_common(10), covered, name="01_sentences")

# %% [markdown]
# *Left: the ten most frequent training sentences. None of them asserts a disease. Right: how many of all test sentences you would have right by knowing
# the n most frequent training sentences; the curve ends where all of train is known.*

# %% tags=["nbval-check-output"]
print(f"{covered[-1]:.1%} of the test sentences stand word for word in train ({len(stock):,} distinct sentences)")

# %% [markdown]
# ### What this does to BLEU
#
# BLEU counts shared n-grams, runs of n words. If reports share most of their sentences, a report that suits everybody scores well. So take **one** training report, the one that
# does best on the validation studies, and give it to every test patient. Nobody looks at a picture.

# %% tags=["nbval-check-output"]
task = Task(studies["train"], studies["val"], studies["test"], vocabulary)
(constant,) = set(baseline_hypotheses("a1", task).values())
bleu_4 = constant_bleu([constant], references)[0, 3]
rows = [
    row
    for row in table("published")
    if (row["where"], row["dataset"], row["metric"]) == ("Table 2", "iu_xray", "BLEU-4")
]
published = {row["system"]: float(row["value"]) for row in rows if row["paper"].startswith("R2GenCMN")}
print(f"the same report for everybody: BLEU-4 {bleu_4:.3f}")
print(
    "published (CMN Table 2):       "
    + ", ".join(f"{system} {published[system]:.3f}" for system in ("BASE", "BASE+MEM", "CMN"))
)

# %%
ill = np.array([study.is_abnormal for study in studies["test"]])
of_kind = {
    kind: constant_bleu([constant], [text for text, is_ill in zip(references, ill, strict=True) if is_ill == wanted])[
        0, 3
    ]
    for kind, wanted in (("normal", False), ("abnormal", True))
}
reached = [system for system in ("BASE", "BASE+MEM", "CMN") if bleu_4 >= published[system]]
say(
    "Without a look at a picture one report reaches {bleu:.3f}, as much as or more than {count} of the three published systems ({names}). Against the "
    "{healthy} normal test reports alone it is {normal:.3f}, against the {others} abnormal ones {abnormal:.3f}{verdict}.",
    bleu=bleu_4,
    count=len(reached),
    names=", ".join(reached) or "none",
    healthy=int((~ill).sum()),
    others=int(ill.sum()),
    normal=of_kind["normal"],
    abnormal=of_kind["abnormal"],
    verdict=": it is not the healthy studies alone that make it easy"
    if of_kind["abnormal"] > 0.8 * of_kind["normal"]
    else ": it lives on the healthy studies",
)

# %% [markdown]
# That is no argument against the systems. It is an argument against reading BLEU-4 alone on this collection. You have met four of its habits: many normal
# studies, copied reports, stock sentences, short texts. How much each of them adds to the score, this section does not tell apart. Chapter 9 measures this properly, and every table of the book prints such baselines beside the models.

# %% [markdown]
# ## 1.8 The prepared dataset
#
# Later chapters do none of this again. `rrg prepare iu_phantom` does it once: it draws or reads the views, cleans, encodes and labels every study, in
# parallel, and writes files that are *memory-mapped*: opening them costs no memory, and a picture is read from disk when it is asked for. The function
# behind the command:

# %%
dataset = prepare(DATASET, data_root=DATA_ROOT)
print(dataset)
i = dataset.split_indices("train")[0]
views = dataset.views(i)
print(dataset.ids[i], views.shape, views.dtype, f"a copy: {views.flags.owndata}, writeable: {views.flags.writeable}")

# %% [markdown]
# What a model will get is the same as what we made by hand:

# %%
study = dataset.study(i)
assert dataset.tokens(i) == dataset.vocabulary.encode(study.report)
assert dataset.cleaned(i) == clean_r2gen(study.report)
assert tuple(dataset.drawn_findings[i]) == study.drawn
if dataset.provenance(i)["pictures"] == "drawn":
    assert np.array_equal(views, draw(study).views)

# %% [markdown]
# Two people print a BLEU-4 and they differ. Was it the model, or did one of them score against cut reports? In 1.6 that choice changes no word of the
# list, but the end of every long reference, and the words in all of them that become `<unk>`. So everything that decides the numbers has a **hash**, twelve hexadecimal digits that follow from the content:
# change one word, one id, one rule, and the hash is another. Every result of the book records them, and results with different ones never stand in one
# table.

# %%
meaning = {
    "protocol_hash": "how reports are cleaned, cut, and scored",
    "vocabulary_hash": "the protocol and every word, in order",
    "split_hash": "which study is in which split",
    "labels_hash": "the names of the findings, in order",
    "hash": "all of these, every report, every pixel",
}
pd.DataFrame({"hash": {name: dataset.manifest[name] for name in meaning}, "names": meaning})

# %% tags=["nbval-check-output"]
for name in ("r2gen", "r2gen_uncut", "clinical"):
    made = Vocabulary.build(reports["train"], PROTOCOLS[name])
    print(f"{name:12s} protocol {PROTOCOLS[name].hash}  vocabulary {made.hash}  {made.size} entries")

# %% [markdown]
# Note the first two rows: the same words, and still another hash. They differ in what a report is *scored against*, and scores of the two must not stand in
# one column.

# %% [markdown]
# ## 1.9 A collection without people
#
# Sometimes even the real report is in the way: in a unit test, in a lesson that needs the full truth, or when you want a hundred thousand studies. The
# source `phantom` samples findings, writes a report from a small grammar of our own, and draws the views. Here both report and picture are ours.

# %% tags=["nbval-check-output"]
sampled = sample_studies(400, seed=SEED or 0)
for study in sampled[:3]:
    print(f"{study.id}  {', '.join(finding.code for finding in study.findings)}\n          {study.report}")

# %%
figures.gallery({study.id: draw(study, seed=SEED or 0).views[0] for study in sampled[:3]}, name="01_phantom")

# %% [markdown]
# *Drawn images of the three sampled studies. Every finding of the report is in its picture, the faint ones too, and nothing
# else is wrong. So a generated report can be judged completely.*

# %% tags=["nbval-check-output"]
ours = [study.report for study in sampled if study.split == "train"]
small = Vocabulary.build(ours, replace(protocol, threshold=1))
theirs = Vocabulary.build(reports["train"][: len(ours)], replace(protocol, threshold=1))
print(f"{len(ours)} reports: {small.size} words from the grammar, {theirs.size} from radiologists")

# %% [markdown]
# That last line is why the phantom is for testing and not for claims. Language that people write has a long tail, and a grammar has none.

# %% [markdown]
# ## 1.10 What a real film is
#
# The films of the collection are not here, but what their DICOM headers say is: a table of it comes with the package of the reports. First, how many
# views a study has, and which. The release takes the first two.

# %% tags=["nbval-check-output"]
headers, positions = iu_xray.film_headers(), iu_xray.positions()
print("images a study:", dict(sorted(Counter(len(record.images) for record in with_two_views).items())))
pairs = Counter(
    tuple(positions.get(iu_xray.image_key(image), "not said") for image in record.images[:2])
    for record in with_two_views
)
for pair, count in pairs.most_common():
    print(f"{count:5d}  {' + '.join(pair)}")

# %%
first_two = [[headers.get(iu_xray.image_key(image)) for image in record.images[:2]] for record in with_two_views]
first_two = [pair for pair in first_two if all(pair)]


def programs(*positions):
    """Of the studies whose first two films are said to be in these positions: how many there are, how many name both programs, how many two different ones."""
    found = [pair for pair in first_two if tuple(header.position for header in pair) == positions]
    both = [pair for pair in found if all(header.program for header in pair)]
    return len(found), len(both), sum(one.program != other.program for one, other in both)


twice, told_twice, other_twice = programs("frontal", "frontal")
mixed, told_mixed, other_mixed = programs("frontal", "lateral")
say(
    "Of {n:,} studies only {both:.0%} are said to begin with a frontal and a lateral view, and {turned} with a lateral one. "
    "{twice:,} claim to be frontal twice. In {other:.0%} of those that name a program, the scanner processed its two films by two different ones ({told:,} do). "
    "Is that what it does with a frontal and a lateral film? {compared}",
    n=pairs.total(),
    both=pairs["frontal", "lateral"] / pairs.total(),
    turned=sum(count for pair, count in pairs.items() if pair[0] == "lateral"),
    twice=twice,
    other=other_twice / told_twice,
    told=told_twice,
    compared=f"Of {mixed} such studies only {told_mixed} name their programs ({other_mixed} two different ones): too few, and from other machines, to "
    "say. Two programs for two *frontal* films are odd, and that is all this shows."
    if told_mixed < 0.2 * mixed
    else f"Of {told_mixed} such studies that name their programs {other_mixed / told_mixed:.0%} name two: the header is likely wrong.",
)

# %% [markdown]
# *Released code does:* the first two images in the order of their names. *We do:* as released (`--views as_released`); `frontal_first` puts a frontal view
# first where header or table tells, `frontal` takes one frontal view alone, as is done for MIMIC-CXR. Either is as good as what it is told: for this
# collection look at the doctor's page of pictures, or use the table of the Kaggle layout.
#
# Now sizes, and what the numbers in the files mean. (Who does not read in the header that low values are bright shows the film as a negative.)
# *What to see: left, each dot is a film: compare it with the square that is kept. Right, no single way of reading the grey values suits them all.*

# %%
figures.film_headers(list(headers.values()), SIZE, name="01_film_headers")

# %%
pixels = np.array([header.rows * header.columns for header in headers.values()])
low = np.mean([header.low_is_bright for header in headers.values()])
plain = np.mean([header.window is None and not header.has_table for header in headers.values()])
say(
    "Of a film of median size one pixel in {share:.0f} is kept. In {low:.0%} of the films low numbers are bright, and only {plain:.0%} can be shown "
    "without a window or a table.",
    share=np.median(pixels) / SIZE**2,
    low=low,
    plain=plain,
)

# %% [markdown]
# The numbers in a file are no gray values. Films have 10 to 15 bits a pixel, a screen shows 8, and the header says which part of the range is
# meant: by a table, or by a **window** of centre $c$ and width $w$.
#
# > DICOM PS3.3, C.11.2.1.2.1 &nbsp; $y = 255\,\operatorname{clip}_{[0,1]}\!\left(\dfrac{x-(c-0.5)}{w-1}+0.5\right)$
#
# **Exercise 1.6** (10 min). Write it. Any shape in, the same shape out, as floats; what is outside the window is black or white.


# %% exercise="1.6" level="implement"
def windowed(values, centre, width):
    """Stored values (any shape, integers) to gray, 0 to 255, through a window."""
    ### BEGIN SOLUTION
    share = (values.astype(float) - (centre - 0.5)) / (width - 1) + 0.5
    return 255 * share.clip(0, 1)
    ### END SOLUTION


# %% exercise="1.6" points=10
checks.windowed(windowed)

# %% [markdown]
# A drawn film, written as a detector of 12 bits would: its values fill the middle of the range, not all of it.

# %%
stored = 700 + 7 * draw(normal).views[0].astype(np.uint16)  # (256, 256): 700 to 2,485 of 0 to 4,095
shown = {
    "the whole range": windowed(stored, 2048, 4096),
    "its own window": windowed(stored, 1592, 1785),
    "a window on the lungs": windowed(stored, 1250, 700),
    "MONOCHROME1, not turned": 255 - windowed(stored, 1592, 1785),
}
figures.gallery(shown, name="01_windows")

# %% [markdown]
# *Drawn. What to see: the same numbers four times. The first is what you get from a program that ignores the window; in the third the lungs are clear and
# the bones are gone; the last is every MONOCHROME1 film in a program that does not turn it over.* The library obeys table, window and inversion
# (`rrg_lib.data.dicom`), and pydicom agrees with your line:

# %%
from pydicom import Dataset
from pydicom.pixels import apply_voi_lut

header = Dataset()
header.WindowCenter, header.WindowWidth, header.BitsStored, header.PixelRepresentation = 1250, 700, 12, 0
header.PhotometricInterpretation = "MONOCHROME2"
np.testing.assert_allclose(windowed(stored, 1250, 700), apply_voi_lut(stored, header) * 255 / 4095, atol=1e-9)

# %% [markdown]
# ### What the drawing leaves out
#
# Our drawn default has ribs, spine, heart, vessels, a stomach bubble and a lead letter. What do real chests have that experts coded, and that no picture of
# ours shows? Studies with such codes, counted by how the code begins. *What to see: left, all that we draw of a healthy chest. Right, where in a chest the
# things lie that experts coded and we do not draw, and in how many studies.*

# %%
BEGINNINGS = {
    "shallow breath": ("Lung/hypoinflation",),
    "winding or hardened aorta": ("Aorta", "Atherosclerosis", "Calcinosis/aorta"),
    "scar": ("Cicatrix",),
    "hardened lymph node": ("Calcinosis/lung/hilum", "Calcinosis/mediastinum"),
    "thick pleura": ("Thickening/pleura",),
    "diaphragm raised or flat": ("Diaphragm",),
    "hernia behind the heart": ("Hernia, Hiatal",),
    "bent or worn bone": ("Deformity", "Kyphosis", "Arthritis", "Bone Diseases"),
}
undrawn = [[finding.code for finding in study.findings if not finding.drawn] for study in all_studies]
left_out = {
    name: sum(any(code.startswith(begins) for code in codes) for codes in undrawn)
    for name, begins in BEGINNINGS.items()
}
figures.schematic(draw(normal).views[0], sample_anatomy(np.random.default_rng(1)), left_out, name="01_schematic")

# %%
touched = sum(any(code.startswith(sum(BEGINNINGS.values(), ())) for code in codes) for codes in undrawn)
say(
    "*Left a drawn film, right the outline of a chest with what is missing on the left.* {n:,} of {all:,} studies have at least one of these. In their "
    "reports stand sentences that no model can read from our pictures: it can only guess them.",
    n=touched,
    all=len(undrawn),
)

# %% [markdown]
# ## 1.11 Bring the real images
#
# They come in whatever form you could get them. The library tells the layout from the folder:

# %% tags=["nbval-check-output"]
rows = [f"| `{layout.name}` | {', '.join(layout.datasets)} | {layout.looked_for} |" for layout in LAYOUTS.values()]
Markdown("\n".join(["| layout | dataset | told by |", "|---|---|---|", *rows]))

# %% [markdown]
# Copies of this collection are handed on in many forms, and not all keep the split. Of each, `prepare` says whether its test studies are the 590 that
# published scores are of. The answer is found by their ids. Where they are not, it says *another split*, and scores on it can't be compared.
#
# Published scores of this book's systems are on IU X-Ray and MIMIC-CXR. CheXpert Plus, ReXGradient-160K and PadChest-GR are here for systems of your own:
# `prepare` says whose split it takes. In PadChest-GR a radiologist has marked on the film where each finding is. These boxes go with the film into the
# prepared form, so that attention can be scored on real images as on drawn ones.
#
# The last is a folder of your own: images, and a table that says which belong together. We make one from drawn studies and sentences of our own, so that
# you can see what to write.

# %%
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name).resolve() / "my_films"
folder.mkdir()
lines = []
for study in [*(next(s for s in sampled if s.split == split) for split in SPLITS), *sampled[-9:]]:
    for position, view in zip(("frontal", "lateral"), draw(study).views, strict=True):
        Image.fromarray(view).save(folder / f"{study.id}-{position}.png")
        lines.append([f"{study.id}-{position}.png", study.id, position, study.split, study.report])
pd.DataFrame(lines, columns=["image", "study", "view", "split", "report"]).to_csv(folder / "studies.csv", index=False)

# %% tags=["nbval-check-output"]
print((folder / "studies.csv").read_text()[:320], "…")

# %% [markdown]
# Before you prepare a folder, have it examined. On the command line that is `rrg doctor my_films`, which also makes a page of pictures to look at; here the
# function behind it:


# %%
def doctor():
    found = examine(folder, progress=False)
    print(str(found).replace(f"{folder.parent}/", ""))
    print(f"exit status {found.status}")


# %% tags=["nbval-check-output"]
doctor()

# %% [markdown]
# Now four accidents that happen to everybody: a file is lost, one is the web page of a failed download, one was copied over another, one is no film of
# a chest.

# %% tags=["nbval-check-output"]
names = sorted(path.name for path in folder.glob("*.png"))
(folder / names[3]).unlink()
(folder / names[6]).write_text("<html>404 Not Found</html>")
(folder / names[9]).write_bytes((folder / names[8]).read_bytes())
Image.fromarray(draw(sampled[0]).views[0][:90]).save(folder / names[14])
doctor()

# %% [markdown]
# Each complaint says how many, which, and what to do; the exit status tells a script (0: whole, 1: usable, something is wrong, 2: preparing would stop).
# Preparing sets aside what can't be read, with the reason, and goes on as long as it is not too much:

# %% tags=["nbval-check-output"]
mine = prepare("own", data_root=folder, out=folder.parent / "prepared", max_rejected=0.1, workers=1, progress=False)
print(
    f"{len(mine)} studies, {len(mine.rejected)} images set aside; one view left in {[mine.ids[i] for i in range(len(mine)) if mine.num_views(i) == 1]}"
)
for entry in mine.rejected:
    print(f"{entry.file}: {entry.reason.removeprefix(entry.file).lstrip(': ')}")

# %% [markdown]
# And without the table it is nobody's folder:

# %% tags=["nbval-check-output"]
(folder / "studies.csv").unlink()
try:
    examine(folder, dataset="own")
except RRGError as error:
    print(str(error).replace(f"{folder.parent}/", ""))
scratch.cleanup()

# %% [markdown]
# With a network, `rrg prepare iu_xray --download` fetches the Indiana University images from Open-i after showing you their licence. Every later chapter
# takes real images by its parameters: `DATASET = "iu_xray"`, `DATA_ROOT = "…"`.

# %% [markdown]
# ## What you can now do
#
# * Say which studies of the collection are used, and put the split beside the paper's table.
# * Read an expert code, and keep "abnormal" and "No Finding" apart.
# * Look at a drawn study, and say what it shows and what it leaves out.
# * Clean a report as released, and say what is destroyed; build, encode, cut.
# * Explain why one report for everybody does well in BLEU, before anyone has trained a model.
# * Prepare a dataset, and name it by its hashes.
# * Show a film through its window, and say what a drawn one lacks.
# * Have a folder of real films examined, and read what the doctor says.
#
# Next, chapter 2 turns the pictures into patches.
#
# ## Sources
#
# * **Reports and codes**: Indiana University Chest X-ray Collection. D. Demner-Fushman et al., *Preparing a collection of radiology examinations for
#   distribution and retrieval*, JAMIA 23(2), 2016. CC BY-NC-ND 4.0. The two reports above are quoted as they were written.
# * **Cleaning, vocabulary, split**: the code released with Z. Chen et al., *Generating Radiology Reports via Memory-driven Transformer* (R2Gen), EMNLP 2020,
#   and *Cross-modal Memory Networks for Radiology Report Generation* (CMN), ACL-IJCNLP 2021, section 3.1 and Table 1.
# * **BLEU**: K. Papineni et al., *BLEU: a Method for Automatic Evaluation of Machine Translation*, ACL 2002.
# * **Vocabulary growth**: H. S. Heaps, *Information Retrieval: Computational and Theoretical Aspects*, 1978.
# * **Headers of the films**: `nlmcxr_dicom_metadata.csv` of torchxrayvision. **Windows**: DICOM PS3.3, section C.11.2.
# * **Observations**: J. Irvin et al., *CheXpert*, AAAI 2019.
