"""What texts give away about how they were written: uncleaned, cut, padded, split into other words, or of other
sections than the references.

Each sign is counted, and said only where it is too common to be chance: a score of such reports is right about the
texts that were given and wrong about the system that wrote them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

#: A sign is told when this share of the reports, and at least `FEWEST` of them, have it.
SHARE, FEWEST = 0.1, 3
_SPECIAL = re.compile(
    r"</?s>|<(?:pad|unk|eos|bos|sos|start|end|mask|sep|cls|\|[a-z_]+\|)>|\[(?:pad|unk|sep|cls|mask|eos|bos)\]",
    re.IGNORECASE,
)
_PIECES = re.compile(r"(?:^|\s)##\w|[\u2581\u0120]|@@(?:\s|$)")
_ENDED = re.compile(r"[.!?:;)\]\"']\s*$")
_IMPRESSION = re.compile(r"\b(?:impressions?|conclusions?)\s*:", re.IGNORECASE)
_SPACED = re.compile(r"\w - \w|\w ' ?s\b|\( \w|\w ,(?:\s|$)")
_TIGHT = re.compile(r"\w-\w|\w's\b|\(\w|\w,(?:\s|$)")
#: Marks of the formats that reports are taken from.
_MARKUP = re.compile(r"<br\s*/?>|</?p>|&(?:amp|lt|gt|nbsp|quot);|\*\*|^#+ ", re.IGNORECASE | re.MULTILINE)


def signs(predictions: Sequence[str], references: Sequence[str], clean: Callable[[str], str]) -> list[str]:
    """Warnings about reports as they were given, beside the references of the same studies; `clean` is what both are
    cleaned with before they are scored."""
    n = len(predictions)
    written = [text for text in predictions if text.strip()]
    warnings = []
    if not written:
        return ["every prediction is empty"]
    warnings += _capitals(predictions, references, clean)
    warnings += _special(written, n)
    if pieces := _many(written, n, _PIECES):
        warnings.append(
            f"{pieces} of {n} predictions hold marks of word pieces (##, @@ or ▁), as a tokenizer leaves them: decode "
            f"them to words first"
        )
    if markup := _many(written, n, _MARKUP):
        warnings.append(
            f"{markup} of {n} predictions hold HTML or Markdown marks, which count as words or parts of them"
        )
    warnings += _cut(written, references, n)
    if (spaced := _many(written, n, _SPACED)) and _share(references, _TIGHT) > _share(references, _SPACED):
        warnings.append(
            f"{spaced} of {n} predictions set punctuation or hyphens apart (“right - sided”), the references do not: "
            "they  were tokenised otherwise, and such words do not match"
        )
    warnings += _strangers([clean(text) for text in written], [clean(text) for text in references])
    warnings += _sections(predictions, references)
    lengths = [sum(len(clean(text).split()) for text in texts) for texts in (predictions, references)]
    if lengths[1] and not 0.5 <= (ratio := lengths[0] / lengths[1]) <= 2:
        warnings.append(
            f"the predictions have {ratio:.2f} times the words of the references: are both the same section?"
        )
    same = sum(clean(a) == clean(b) for a, b in zip(predictions, references, strict=True))
    if same >= max(FEWEST, 0.5 * n):
        warnings.append(
            f"{same} of {n} predictions are word for word their reference: look whether the columns are the right ones"
        )
    return warnings


def uncleaned(text: str) -> bool:
    """Whether a text has what released cleaning takes away: capitals, or punctuation at a word."""
    return bool(re.search(r"[A-Z]|\w[.,;:](?:\s|$)", text))


def _capitals(predictions: Sequence[str], references: Sequence[str], clean: Callable[[str], str]) -> list[str]:
    raw = [sum(map(uncleaned, map(clean, texts))) / max(1, len(texts)) for texts in (predictions, references)]
    sides = ("predictions", "references")
    for one, other in ((0, 1), (1, 0)):
        if raw[one] > 0.5 and raw[other] < 0.1:
            return [
                f"the {sides[one]} are uncleaned ({raw[one]:.0%} have capitals or punctuation at a word) and the "
                f"{sides[other]} are cleaned: no such word matches. Clean both: --cleaning r2gen"
            ]
    return []


def _special(written: Sequence[str], n: int) -> list[str]:
    marked = [{mark.lower() for mark in _SPECIAL.findall(text)} for text in written]
    warnings = []
    for unknown, meaning in (
        (False, "padding and end marks, which count as words: they were left in; take them out"),
        (True, "a mark for words that the system does not know, which matches no word of a report as written"),
    ):
        marks = Counter(mark for each in marked for mark in each if ("unk" in mark) == unknown)
        if marks:
            k = sum(any(("unk" in mark) == unknown for mark in each) for each in marked)
            shown = ", ".join(f"{mark} in {of}" for mark, of in marks.most_common(4))
            warnings.append(f"{k} of {n} predictions hold {meaning} ({shown})")
    return warnings


def _cut(written: Sequence[str], references: Sequence[str], n: int) -> list[str]:
    open_ended = [text for text in written if not _ENDED.search(text)]
    ours = sum(not _ENDED.search(text) for text in references) / max(1, len(references))
    if len(open_ended) < max(FEWEST, SHARE * n) or len(open_ended) / len(written) < 2 * ours:
        return []
    at_one = []
    # letters before words: where both are equally many, it was letters that were counted
    for unit, measure in (("letters", lambda text: len(text.strip())), ("words", lambda text: len(text.split()))):
        (length, k), *_ = Counter(map(measure, open_ended)).most_common(1)
        if k >= max(FEWEST, 0.5 * len(open_ended)) and length >= max(map(measure, written)) - 1:
            at_one.append((k, length, unit))
    if at_one:  # cut reports are as long as any gets, and many of them equally so
        k, length, unit = max(at_one, key=lambda candidate: candidate[0])
        return [
            f"{k} of {n} predictions end without a full stop at {length} {unit}: they look cut there. A longer limit "
            f"in writing would finish them"
        ]
    return [
        f"{len(open_ended)} of {n} predictions end without a full stop ({ours:.0%} of the references): they may be cut"
    ]


def _strangers(predictions: Sequence[str], references: Sequence[str]) -> list[str]:
    known = {word for text in references for word in text.split()}
    words = Counter(word for text in predictions for word in text.split())
    strange = {word: k for word, k in words.items() if word not in known}
    total, odd = sum(words.values()), sum(strange.values())
    if len(references) < 20 or odd < 0.25 * total:
        return []
    shown = ", ".join(repr(word) for word, _ in Counter(strange).most_common(4))
    return [
        f"{odd / total:.0%} of the predicted words stand in no reference ({shown}): another tokenisation, another "
        f"language, or codes in place of words"
    ]


def _sections(predictions: Sequence[str], references: Sequence[str]) -> list[str]:
    theirs, ours = _share(references, _IMPRESSION), _share(predictions, _IMPRESSION)
    if theirs > 0.5 and ours < 0.1:
        return [
            f"{theirs:.0%} of the references have an IMPRESSION and {ours:.0%} of the predictions: references of "
            f"findings and impression, predictions of findings alone. Score against the findings (--reference COLUMN)"
        ]
    if ours > 0.5 and theirs < 0.1:
        return [
            f"{ours:.0%} of the predictions have an IMPRESSION and {theirs:.0%} of the references: take the findings "
            f"out of the predictions, or score against the whole report (--reference COLUMN)"
        ]
    return []


def _share(texts: Sequence[str], pattern: re.Pattern[str]) -> float:
    return sum(bool(pattern.search(text)) for text in texts) / max(1, len(texts))


def _many(written: Sequence[str], n: int, pattern: re.Pattern[str]) -> int:
    """How many texts match, 0 where it is few enough to be chance."""
    k = sum(bool(pattern.search(text)) for text in written)
    return k if k >= max(FEWEST, SHARE * n) else 0
