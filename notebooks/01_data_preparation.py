# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 1 · Data preparation
#
# A model of this book reads two pictures and writes a paragraph. This chapter is about the paragraphs: who wrote them, what cleaning does to them,
# and how much they repeat each other. The last point decides what every score of the later chapters means.
#
# **Goals.** You can say what a study is, where it comes from and which split it is in; read an expert code as a finding with side and severity; clean
# reports the way the published scores need it, and say what that destroys; build the vocabulary; and name the four habits of this collection that
# make BLEU easy.
#
# **Before this.** Python, and a little `Counter` and regular expressions. No deep learning yet.
#
# **Minutes.** Reading 40, exercises 30. Running takes under one minute on two CPU cores once the dataset is prepared; preparing it takes a few
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
import re
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pandas as pd
from IPython.display import Markdown

from rrg_lib.checks import data_preparation as checks
from rrg_lib.data import iu_xray
from rrg_lib.data.phantom import draw, sample_studies
from rrg_lib.data.prepare import prepare
from rrg_lib.evaluation.baselines import Task, baseline_hypotheses, constant_bleu
from rrg_lib.figures import data_preparation as figures
from rrg_lib.shipped import table
from rrg_lib.study import DRAWN_FINDINGS, SEVERITIES, SIDES, SPLITS, Study
from rrg_lib.text.cleaning import clean_clinical, clean_r2gen
from rrg_lib.text.vocabulary import PROTOCOLS, UNKNOWN, Vocabulary

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
# A full report has more sections (indication, impression). The papers use this one, FINDINGS, and so do we.

# %% [markdown]
# ## 1.2 Who is in, who is out, and the split
#
# Not every record can be used: some have no FINDINGS, some have a single image. The rest is the set on which R2Gen, CMN and XProNet were scored.

# %% tags=["nbval-check-output"]
records = iu_xray.records().values()
with_findings = [record for record in records if record.findings]
with_two_views = [record for record in with_findings if len(record.images) >= 2]
print(f"{len(records):,} reports, {len(with_findings):,} with FINDINGS, {len(with_two_views):,} of those with two images or more")

studies = {split: iu_xray.studies(split) for split in SPLITS}
print({split: len(found) for split, found in studies.items()}, "together", sum(map(len, studies.values())))

# %% [markdown]
# CMN prints the sizes of its splits in Table 1. They are kept in `data/published.csv`, with their source, so we can put them beside ours.


# %%
def table_1(what):
    """CMN's Table 1 for IU X-Ray: {split: value}."""
    rows = [row for row in table("published") if (row["where"], row["dataset"], row["metric"]) == ("Table 1", "iu_xray", what)]
    return {row["system"]: float(row["value"]) for row in rows if row["paper"].startswith("R2GenCMN")}


sizes = pd.DataFrame({"CMN Table 1": table_1("reports"), "here": {split: len(found) for split, found in studies.items()}}).astype(int)
sizes.loc["together"] = sizes.sum()
sizes

# %% [markdown]
# *Paper says:* the rounded numbers on the left, which add up to about all reports of the collection. *Released code does:* read an annotation file
# with the studies on the right. *We do:* as released; the split is shipped as a list of study ids.

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
# (`observation`). Many codes belong to none.

# %%
pd.DataFrame([{field.name: getattr(finding, field.name) for field in fields(finding)} for finding in abnormal.findings]).fillna("–")

# %% [markdown]
# **Exercise 1.1** (5 min). Write the part of the parser that finds side and severity. The words are in `SIDES` and `SEVERITIES`. They may stand anywhere
# after the head, and often one or both are missing.

# %%
print(SIDES, SEVERITIES)


def side_and_severity(code):
    """`Opacity/lung/base/left/mild` -> ("left", "mild"); None for what the code does not name."""
    ### BEGIN SOLUTION
    qualifiers = code.split("/")[1:]
    side = next((word for word in qualifiers if word in SIDES), None)
    severity = next((word for word in qualifiers if word in SEVERITIES), None)
    return side, severity
    ### END SOLUTION


# %%
checks.side_and_severity(side_and_severity)
everything = [finding for split in SPLITS for study in studies[split] for finding in study.findings]
assert all(side_and_severity(finding.code) == (finding.side, finding.severity) for finding in everything)  # the library agrees

# %% [markdown]
# "Normal" has two meanings in this field, and mixing them up makes scores look better than they are. In this book a study is **abnormal** when it has at
# least one of the 13 drawn findings. "No Finding" of the CheXpert label set is another thing: it overlooks the spine, the granuloma, the bent back. (We
# take it from the codes here; the programs that read CheXpert labels from the text give other shares again.)

# %% tags=["nbval-check-output"]
for split, found in studies.items():
    abnormal_ones = sum(study.is_abnormal for study in found)
    no_finding = sum(study.observations[0] for study in found)
    print(
        f"{split:5s} {len(found):5d} studies   abnormal {abnormal_ones:5d} ({abnormal_ones / len(found):.1%})   No Finding {no_finding / len(found):.1%}"
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
Markdown(f"> {normal.report}\n>\n> *study {normal.id} · {normal.source} · codes: {', '.join(finding.code for finding in normal.findings)}*")

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
inside = np.zeros_like(difference, dtype=bool)
for box in drawing.boxes:
    if box.finding == "Granuloma":
        inside[box.view, box.y0 : box.y1, box.x0 : box.x1] = True
print(f"of all that changed, {difference[inside].sum() / difference.sum():.1%} lies in the box of the granuloma, {inside.mean():.2%} of the picture")

# %% [markdown]
# The rest is its soft rim. Severity is drawn too. Below is one patient again and again; only the last word of the code changes.


# %%
def graded(head, *grades):
    """Frontal views of the normal study's patient, first without the finding, then with it in each grade ("" names none)."""
    codes = {"none": "normal", **{grade or "(no word)": f"{head}/{grade}" if grade else head for grade in grades}}
    return {grade: draw(replace(normal, findings=(iu_xray.parse_code(code),))).views[0] for grade, code in codes.items()}


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
DELETED = set(".,?;*!%^&_+()]{}") | {chr(code) for code in range(ord(":"), ord("[") + 1)}  # an unescaped hyphen made this a range


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
found = [match for study in all_studies for match in MEASURED.findall(study.report)]
centimetres = {"cm": 1.0, "mm": 0.1}
written = [float(number) * centimetres[unit] for number, unit in found]
cleaned = [float(clean_r2gen(number).split()[0]) * centimetres[unit] for number, unit in found]
figures.measurements(written, cleaned, film=43, name="01_measurements")  # a chest film is 35 by 43 cm

# %% [markdown]
# *Each line is one measurement with a decimal point; the blue end is what was written, the red end what the cleaned report says. Nodules of a centimetre
# become as large as a fist, and some findings no longer fit on the film.* Models were trained to write those red numbers, and scored on them.
#
# *Paper says:* nothing. *Released code does:* the above. *We do:* `r2gen` wherever a number stands beside a published one, `clinical` on request
# (`rrg prepare iu_phantom --protocol clinical`). Both carry a version and a hash.
#
# **Exercise 1.2** (10 min). Write a cleaner that equals the released one but keeps a decimal point: a point between two digits. Use `clean_r2gen`; do not
# rewrite it.


# %%
def clean_keeping_decimals(report):
    """`A 1.5 cm nodule, stable.` -> `a 1.5 cm nodule stable .`"""
    ### BEGIN SOLUTION
    hidden = re.sub(r"(?<=\d)\.(?=\d)", "·", report)  # a mark that the cleaning does not know
    return clean_r2gen(hidden).replace("·", ".")
    ### END SOLUTION


# %%
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


# %%
def unknown_rate(reports, vocabulary):
    """Share (0 to 1) of the tokens of these raw reports that the vocabulary does not hold."""
    ### BEGIN SOLUTION
    tokens = [token for report in reports for token in vocabulary.protocol.clean(report).split()]
    return sum(token not in vocabulary.ids for token in tokens) / len(tokens)
    ### END SOLUTION


# %%
checks.unknown_rate(unknown_rate)

# %% tags=["nbval-check-output"]
for split, texts in reports.items():
    print(f"{split:5s} {unknown_rate(texts, vocabulary):.2%} of the tokens are unknown")

# %% [markdown]
# Is 3 a good threshold? Two curves help.

# %%
seen, kept, growing = [], [], Counter()
for report in reports["train"]:
    growing.update(clean_r2gen(report).split())
    seen.append(len(growing))
    kept.append(sum(count >= protocol.threshold for count in growing.values()))
thresholds = range(1, 11)
built = [Vocabulary.build(reports["train"], replace(protocol, threshold=threshold)) for threshold in thresholds]
unknown = [unknown_rate(reports["test"], candidate) for candidate in built]
figures.vocabulary_growth(seen, kept, thresholds, [v.size for v in built], unknown, protocol.threshold, name="01_vocabulary")

# %% [markdown]
# *Left: new words keep coming to the very end; words said three times come more slowly. Right: each point is a threshold. From 1 to the red 3 the list
# shrinks to half at a small price; beyond, the same saving costs more and more. What is lost there are rare words, and rare words name rare findings.*
#
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
    print(f"{split:5s} {cut:3d} of {len(found)} reports are cut ({cut / len(found):.1%}); {lost / sum(found):.1%} of all tokens are lost")

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
# CMN's Table 1 gives average lengths too.

# %%
averages = pd.DataFrame({"CMN Table 1": table_1("average report length, words"), "here, tokens": {s: np.mean(n) for s, n in lengths.items()}})
averages.round(1)

# %%
figures.report_lengths(lengths, fits, name="01_lengths")

# %% [markdown]
# *Most reports have two to four dozen tokens, points included. The test reports (blue) are shorter than the training reports (grey): test is healthier,
# and healthy chests need fewer words. Right of the red line the cutting begins.* The averages are near the paper's and not equal; which reports the
# paper averaged we can't tell.

# %% [markdown]
# ### How often the same text
#
# A radiologist who has seen a thousand healthy chests does not write a thousand different reports. How many test reports stand, word for word, among the
# training reports?
#
# **Exercise 1.4** (5 min). Write the share.


# %%
def copied_share(texts, pool):
    """Share (0 to 1) of `texts` that also stand, whole, in `pool`; both are lists of cleaned reports."""
    ### BEGIN SOLUTION
    known = set(pool)
    return sum(text in known for text in texts) / len(texts)
    ### END SOLUTION


# %%
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

# %% tags=["nbval-check-output"]
for split, found in studies.items():
    texts = [clean_r2gen(study.report) for study in found]
    marked = sum("xxxx" in text for text in texts)
    print(f"{split:5s} {len(set(texts)):5d} distinct of {len(texts):5d}   {marked / len(texts):.1%} hold a de-identification mark")

# %% [markdown]
# The mark `xxxx` is a word like any other to the model: it is in the vocabulary, it is scored, and it is one of the most frequent words there are.

# %% tags=["nbval-check-output"]
print(f"`xxxx` is word number {[word for word, _ in said.most_common()].index('xxxx') + 1} by frequency, said {said['xxxx']:,} times in train")


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
# BLEU counts shared n-grams. If reports share most of their sentences, a report that suits everybody scores well. So take **one** training report, the one that
# does best on the validation studies, and give it to every test patient. Nobody looks at a picture.

# %% tags=["nbval-check-output"]
task = Task(studies["train"], studies["val"], studies["test"], vocabulary)
(constant,) = set(baseline_hypotheses("a1", task).values())
bleu_4 = constant_bleu([constant], references)[0, 3]
rows = [row for row in table("published") if (row["where"], row["dataset"], row["metric"]) == ("Table 2", "iu_xray", "BLEU-4")]
published = {row["system"]: float(row["value"]) for row in rows if row["paper"].startswith("R2GenCMN")}
print(f"the same report for everybody: BLEU-4 {bleu_4:.3f}")
print("published (CMN Table 2):       " + ", ".join(f"{system} {published[system]:.3f}" for system in ("BASE", "BASE+MEM", "CMN")))

# %% [markdown]
# One report for all of them does as well as a published system does with all its training. That is no argument against the system. It is an argument against
# reading BLEU-4 alone on this collection. Four habits made it so: many normal studies, copied reports, stock sentences, short texts. Chapter 9
# measures this properly, and every table of the book prints such baselines beside the models.

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
assert tuple(dataset.labels[i]) == study.drawn
if dataset.provenance(i)["pictures"] == "drawn":
    assert np.array_equal(views, draw(study).views)

# %% [markdown]
# A result is worth something only if one can say what it was computed on. So everything that decides the numbers has a **hash**, twelve hexadecimal
# digits that follow from the content: change one word, one id, one rule, and the hash is another. Every result of the book records them.

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
#
# ## What you can now do
#
# * Say which studies of the collection are used, and put the split beside the paper's table.
# * Read an expert code, and keep "abnormal" and "No Finding" apart.
# * Look at a drawn study, and say what it shows and what it leaves out.
# * Clean a report as released, and say what is destroyed; build, encode, cut.
# * Explain why one report for everybody does well in BLEU, before anyone has trained a model.
# * Prepare a dataset, and name it by its hashes.
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
# * **Observations**: J. Irvin et al., *CheXpert*, AAAI 2019.
