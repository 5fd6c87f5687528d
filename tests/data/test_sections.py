"""The FINDINGS of reports written like those of MIMIC-CXR (the texts here are ours)."""

from __future__ import annotations

import pytest

from rrg_lib.data.text.sections import findings_section

HEAD = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  Cough.\n\n"

CASES = {
    "plain": (
        HEAD + " FINDINGS: \n \n The lungs are\n clear.\n \n IMPRESSION: \n \n Normal.\n",
        "The lungs are clear.",
    ),
    "no section": (HEAD + " IMPRESSION:  Normal chest.\n", ""),
    "no heading at all": ("The lungs are clear.\n", ""),
    "an empty section": (HEAD + " FINDINGS: \n \n IMPRESSION:  Normal.\n", ""),
    "the last section": (HEAD + " IMPRESSION:  Normal.\n FINDINGS:  Large heart.\n", "Large heart."),
    "merged with AND": (HEAD + " FINDINGS AND IMPRESSION:  Large heart.\n", "Large heart."),
    "merged with a slash": (HEAD + " FINDINGS/IMPRESSION:  Large heart.\n", "Large heart."),
    "merged the other way": (HEAD + " IMPRESSION AND FINDINGS:  Large heart.\n", "Large heart."),
    "one finding": (HEAD + " FINDING:  Large heart.\n", "Large heart."),
    "mixed case": (HEAD + " Findings: Large heart.\n Impression: Cardiomegaly.\n", "Large heart."),
    "organs stay": (
        HEAD + " FINDINGS:\n LUNGS: Clear.\n HEART AND MEDIASTINUM: Normal.\n IMPRESSION: None.\n",
        "LUNGS: Clear. HEART AND MEDIASTINUM: Normal.",
    ),
    "a time is no heading": (
        HEAD + " FINDINGS: As compared to 10:35, no\n change at 12:10.\n IMPRESSION: None.\n",
        "As compared to 10:35, no change at 12:10.",
    ),
    "de-identification stays": (HEAD + " FINDINGS:  Seen by Dr. ___ at ___.\n", "Seen by Dr. ___ at ___."),
    "two sections: the last that speaks": (
        HEAD + " FINDINGS:  First film.\n COMPARISON: None.\n FINDINGS:  Second film.\n FINDINGS:\n",
        "Second film.",
    ),
    "two reports in one file": (
        HEAD + " FINDINGS:  First film.\n" + HEAD + " FINDINGS:  Second film.\n",
        "Second film.",
    ),
    "an addendum before": (
        " FINAL ADDENDUM\n ADDENDUM:  Called to the ward. FINDINGS were discussed.\n"
        + HEAD
        + " FINDINGS:  Large heart.\n IMPRESSION: None.\n",
        "Large heart.",
    ),
    "an addendum after, with findings of its own": (
        HEAD + " FINDINGS:  Large heart.\n ADDENDUM:\n FINDINGS:  Nodule after all.\n",
        "Large heart.",
    ),
    "findings in the addendum alone": (
        HEAD + " IMPRESSION:  See below.\n FINAL ADDENDUM\n FINDINGS:  Nodule after all.\n",
        "Nodule after all.",
    ),
    "a wet read before": (
        " WET READ: ___ ___ 9:10 AM\n  FINDINGS:  Quick look.\n" + HEAD + " FINDINGS:  Slow look.\n",
        "Slow look.",
    ),
    "CRLF": ((HEAD + " FINDINGS:  Large\n heart.\n IMPRESSION: None.\n").replace("\n", "\r\n"), "Large heart."),
    "empty": ("", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_findings_of(case):
    text, findings = CASES[case]
    assert findings_section(text) == findings
