"""Report cleaning: what happens to a radiologist's sentence before a model sees it.

Two protocols. `r2gen` equals the released cleaning of R2Gen, R2GenCMN and XProNet to the letter, oddities included,
because the published scores were computed on its output. `clinical` keeps what a clinician needs: decimal points and
hyphens.
"""

from __future__ import annotations

import re

#: Ordered replacements of the `r2gen` protocol. List numbers go, and with them real numbers that end a sentence (" 2.
#: ").
_R2GEN_LIST_NUMBERS = [("1. ", ""), *((before.format(n), ". ") for before in (". {}. ", " {}. ") for n in (2, 3, 4, 5))]

#: The released character class holds an unescaped hyphen: ":-[" is a *range*, 0x3A to 0x5B, so `< = > @` go and "-"
#: stays.
_R2GEN_DELETED = re.compile("[" + re.escape(".,?;*!%^&_+()]{}") + "\x3a-\x5b" + "]")
_R2GEN_DELETED_FIRST = str.maketrans("", "", "\"/\\'")


def clean_r2gen(report: str, *, collapse_spaces: bool = False) -> str:
    """The released cleaning for IU X-Ray; with `collapse_spaces` the released cleaning for MIMIC-CXR.

    Known oddities, kept on purpose: the decimal point goes ("1.5 cm" becomes "15 cm"), "/" goes without a space
    ("AP/PA" becomes "appa"), an empty sentence survives as " ." (the released test for it compares a string with a
    list). An empty report becomes " .".
    """
    if collapse_spaces:
        report = re.sub("_+", "_", report.replace("\n", " "))
        report = re.sub(" {2,}", " ", report)
    report = re.sub(r"\.{2,}", ".", report)
    for old, new in _R2GEN_LIST_NUMBERS:
        report = report.replace(old, new)
    sentences = report.strip().lower().split(". ")
    return " . ".join(_R2GEN_DELETED.sub("", s.translate(_R2GEN_DELETED_FIRST).strip()) for s in sentences) + " ."


_CLINICAL_LIST_NUMBER = re.compile(r"(?:(?<=^)|(?<=[.!?;:]\s)|(?<=\n))\s*\d{1,2}[.)]\s+(?=[A-Za-z])")
_CLINICAL_TOKEN = re.compile(
    r"\d+(?:\.\d+)?(?:-\d+(?:\.\d+)?)?(?:st|nd|rd|th|%)?(?![a-z0-9])"  # 1.5  3-4  5th  60%
    r"|[a-z0-9]+(?:['-][a-z0-9]+)*"  # words, t-spine, right-sided, it's
    r"|/|[.!?](?=\s|$)"  # and/or keeps its slash; the end of a sentence
)


def clean_clinical(report: str) -> str:
    """Lower-cased tokens with decimal points ("1.5 cm"), hyphens ("right-sided") and slashes ("ap / pa") kept; one " ."
    ends each sentence.

    An empty report stays empty.
    """
    tokens = _CLINICAL_TOKEN.findall(_CLINICAL_LIST_NUMBER.sub(" ", report).lower())
    sentences, current = [], []
    for token in [*tokens, "."]:
        if token in ".!?":
            if current:
                sentences.append(" ".join(current) + " .")
            current = []
        else:
            current.append(token)
    return " ".join(sentences)
