"""The FINDINGS of a MIMIC-CXR report: free text with headings in capitals, written by many hands."""

from __future__ import annotations

import difflib
import re

_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z0-9 /&(),'.-]*?)[ \t]*:(?=\s|$)", re.MULTILINE)
#: A heading that is no all-capitals line, as some write it.
_MIXED = re.compile(
    r"^[ \t]*(Findings?|Impression|Conclusion|Indication|Comparison|Technique|Recommendations?)[ \t]*:", re.MULTILINE
)
#: Titles of the parts of a report. What follows an addendum's comments on a report; a wet read is what was said before
#: there was one.
_TITLE = re.compile(r"^[ \t]*(FINAL REPORT|FINAL ADDENDUM|ADDENDUM|WET READ)\b[^\n:]*:?", re.MULTILINE)
#: Headings inside the findings: an organ a line.
_ORGAN = re.compile(
    "AIRWAYS?|AORTA|BONES?|CARDIAC|CARDIOMEDIASTINAL|CARDIOMEDIASTINUM|CATHETERS?|CHEST|DEVICES?|DIAPHRAGM|EFFUSIONS?|HEART|HILA|HILUM|LINES?|LUNGS?|"
    "MEDIASTINAL|MEDIASTINUM|OSSEOUS|OTHER|PLEURA|PLEURAL|PNEUMOTHORAX|SILHOUETTE|SIZE|SKELETON|SOFT|SPACES|SPINE|STRUCTURES|SUPPORT|TISSUES?|TUBES?|"
    "WALL|UPPER|ABDOMEN|AND"
)


#: Words of a heading that names the films alone: "CHEST, TWO VIEWS", "PORTABLE AP CHEST". What follows are the findings
#: of a report that has no other heading for them.
_VIEWS = re.compile(
    "VIEWS?|PORTABLE|PA|AP|LAT|LATERAL|FRONTAL|UPRIGHT|ERECT|SUPINE|SEMI|SEMIUPRIGHT|SEMIERECT|DECUBITUS|RADIOGRAPHS?|"
    "FILMS?|X|RAY|XRAY|CXR|BEDSIDE|SINGLE|ONE|TWO|THREE"
)
_BETWEEN = re.compile("CHEST|AND|OF|THE|WITH|A|IN|BOTH")


def findings_section(report: str) -> str:
    """The text under FINDINGS, its white space collapsed; "" when there is none.

    - A merged heading ("FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION") counts as FINDINGS, and so does a misspelt one
      ("FIDNINGS"). IMPRESSION alone does not.
    - A heading of the films alone ("CHEST, TWO VIEWS", "PORTABLE AP CHEST") counts where no other does.
    - The section ends at the next heading (capitals and a colon at the start of a line); organ headings (LUNGS:, HEART
      AND MEDIASTINUM:) stay in it.
    - Of several FINDINGS the last that says something is taken, as the section files of the collection do.
    - An addendum's FINDINGS are taken only when the report itself has none; so are those of a wet read.
    """
    starts = [(match.start(), match.end(), match[1]) for match in _TITLE.finditer(report)]
    edges = [(0, "FINAL REPORT"), *((end, title) for _, end, title in starts)]
    ends = [*(start for start, _, _ in starts), len(report)]
    of_report, of_others = "", ""
    for (start, title), end in zip(edges, ends, strict=True):
        section = _findings_of(report[start:end])
        if title == "FINAL REPORT":
            of_report = section or of_report
        else:
            of_others = section or of_others
    return of_report or of_others


def _findings_of(part: str) -> str:
    headings = sorted(
        (match.start(), match.end(), match[1].upper())
        for pattern in (_HEADING, _MIXED)
        for match in pattern.finditer(part)
        if not _is_organ(match[1])
    )
    section, under_views = "", ""
    for i, (_, start, name) in enumerate(headings):
        end = headings[i + 1][0] if i + 1 < len(headings) else len(part)
        if _is_findings(name):
            section = " ".join(part[start:end].split()) or section
        elif _is_views(name):
            under_views = " ".join(part[start:end].split()) or under_views
    return section or under_views


def _is_findings(heading: str) -> bool:
    """FINDINGS, as it is and as it is mistyped: letters left out, doubled or changed about."""
    words = re.findall("[A-Z]+", heading)
    return any(word in ("FINDING", "FINDINGS") or _is_mistyped(word) for word in words)


def _is_mistyped(word: str) -> bool:
    alike = difflib.SequenceMatcher(None, word, "FINDINGS", autojunk=False).ratio()
    return word[:1] in "FI" and word[-1:] in "GS" and 6 <= len(word) <= 10 and alike >= 0.8


def _is_views(heading: str) -> bool:
    words = re.findall("[A-Z]+", heading)
    return any(map(_VIEWS.fullmatch, words)) and all(_VIEWS.fullmatch(w) or _BETWEEN.fullmatch(w) for w in words)


def _is_organ(heading: str) -> bool:
    return all(map(_ORGAN.fullmatch, re.findall(r"[A-Z]+", heading)))
