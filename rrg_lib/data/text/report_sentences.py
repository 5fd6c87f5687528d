"""The sentences of a report as people write it: headings, lists, lines that break where the page ends, missing blanks,
abbreviations and British spelling. The labeler `rules-2` reads these; `rules-1` those of
`rrg_lib.data.text.context.sentences`.

Nothing here looks at findings. A report becomes lines, lines become items of a list or are joined where they only broke
off, items become sentences. What stands under a heading that does not describe this image (INDICATION, HISTORY,
COMPARISON) is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rrg_lib.data.text.context import ABBREVIATION, QUOTES
from rrg_lib.errors import AnnotationError

#: A sentence of more characters is read in pieces, so that the work grows with the length of a report and not with its
#: square. The longest sentence of the 2,955 studies of IU X-Ray has 237.
LONGEST = 800
#: A line of a list or a template is shorter, one that a page broke is longer.
_SHORT_LINE = 45

_MARKUP = re.compile(r"<\s*/?\s*(?:br|p|li|ul|ol|div)\s*/?\s*>", re.IGNORECASE)
_KNOWN_HEADING = re.compile(
    r"(?<=\S)\s+(?=(?:findings?|impressions?|conclusions?|comparisons?|techniques?|indications?)\s*:)", re.IGNORECASE
)
_BULLET = re.compile(r"(?:^|(?<=\s))[•·▪●◦‣*|](?=\s|\w)")
#: What a list puts before its items.
_MARK = re.compile(
    r"(?:[-+>]+\s*(?=\D)|\(?#?\d{1,2}\s?[.):](?!\d)\s*|#\d{1,2}\s+|\([a-h]\)\s*|[a-h]\)\s*)(?=\S)", re.IGNORECASE
)
#: An item's number inside a line, where the line has several.
_INLINE_MARK = re.compile(r"(?<=\s)\(?\d{1,2}\)\s+(?=[a-z])")
#: The end of a sentence. A point inside a number or an abbreviation ends nothing; one between words without a blank
#: does, and so does one between a list's number and a word.
_END = re.compile(r" ?[.!]+(?=\s|$)|(?<=[a-z)][a-z )])[.!](?=[a-z]{2}|\(?\d{1,2}[.):])|(?<![\w.])(?<=\d)\.(?=[a-z]{2})")
_NUMBER_POINT = re.compile(r"(?<![\w.])(\d{1,2})\.(?=[a-z]{2})")
#: "Pneumonia?" is a sentence, "Pneumothorax? Not seen." one with its answer.
_QUESTION = re.compile(r"(?<=[\w)])\?+(?=\s|$)(?!\s+(?:not?\b|none\b|absent\b|negative\b))")
_TIGHT = re.compile(r"(?<=[a-z]),(?=[a-z])")

#: Words after which a line, or before which the next one, cannot have ended a sentence.
_JOINING_WORDS = (
    "a an the of or and nor but no not without with in on at to by for from is are was were be been has have "
    "had may might could can cannot which that this these there as than into over under between versus vs if "
    "any"
)
_JOINING = frozenset(_JOINING_WORDS.split())
_BEGINNING = frozenset(("no", "there", "this", "the"))
_DESCRIBING_WORDS = (
    "left right bilateral small large mild moderate severe minimal trace tiny new old acute chronic focal "
    "possible probable likely stable persistent increased decreased pleural pulmonary lung rib chest lower "
    "upper middle"
)
_DESCRIBING = frozenset(_DESCRIBING_WORDS.split())

_ASIDE = (
    r"(?:(?:clinical|patient|brief|relevant|past|prior|medical|surgical|pertinent|provided|additional)\s+)*"
    r"(?:indications?|histor(?:y|ies)|hx|information|info|details|question|statement|context|presentation)"
    r"(?:\s+(?:and|for|of)\s+[a-z ]{1,30})?|(?:clinical|patient)\s+(?:data|concern|diagnosis|notes?)"
    r"|(?:indication|history)\s*/\s*[a-z ]{1,30}|reasons?(?:\s+(?:for|of)\s+[a-z /-]{1,40})?|"
    r"comparisons?(?:\s+(?:study|studies|exams?|films?|made))?|compared(?:\s+(?:to|with))?|"
    r"(?:prior|previous|old)\s+(?:studies|study|films?|exams?|imaging)|techniques?|exam(?:ination)?s?|procedures?|"
    r"study(?:\s+(?:type|date))?|protocol|symptoms?|(?:chief\s+)?complaints?|signs? and symptoms?|diagnos[ei]s code|"
    r"order(?:ing)?(?:\s+[a-z ]{1,20})?|referr(?:al|ing)(?:\s+[a-z ]{1,20})?|request|recommendations?|"
    r"age|sex|gender|date(?:\s+of\s+[a-z]+)?|time|name|mrn"
)
_HEADING = re.compile(rf"(?:(?P<aside>{_ASIDE})|[a-z][a-z ,/&()'-]{{0,60}}?)\s*:(?=\s|$)")


@dataclass(frozen=True, slots=True)
class _Sentence:
    """`opens` a paragraph: an empty line is before it. `line` counts the items and paragraphs of the report."""

    words: str
    opens: bool
    line: int


def report_sentences(report: str) -> list[str]:
    """The sentences of a report, raw or cleaned, that speak of its image: lower case, plain quotes and hyphens, single
    spaces, no final point, none longer than `LONGEST` characters. A question keeps its mark (" ?")."""
    text = _MARKUP.sub("\n", unicodedata.normalize("NFKC", report).translate(QUOTES))
    text = _KNOWN_HEADING.sub("\n", text)
    return [piece for sentence in _without_asides(_split(_items(text))) for piece in _pieces(sentence)]


def _items(text: str) -> list[tuple[str, bool]]:
    """Lines that belong together, joined; and whether an empty line is before them."""
    caseless = text.islower() or text.isupper()
    items: list[tuple[str, bool]] = []
    last, opens = "", False
    for line in text.splitlines():
        if not line.strip():
            opens = True
            continue
        for part in _BULLET.sub("\t", line).split("\t"):
            part = " ".join(part.split())
            if not part:
                last = ""  # a bullet or a tab: what comes is an item of its own
                continue
            mark = _MARK.match(part)
            part = part[mark.end() :] if mark else part
            if last and not opens and not mark and not _HEADING.match(part.lower()) and _goes_on(last, part, caseless):
                items[-1] = (f"{items[-1][0]} {part}", items[-1][1])
            else:
                items.append((part, opens))
            last, opens = part, False
            if "\t" in line:
                last = ""
    return items


def _goes_on(line: str, following: str, caseless: bool) -> bool:
    """Whether the sentence of a line goes on in the next one."""
    if line[-1] in ".!?":
        return False
    before, after = line.split()[-1].lower().strip("()"), following.split()[0].lower().strip("(),")
    if line[-1] in ",-/:" or before in _JOINING:
        return True
    if following[0].isupper() and not caseless:
        return False
    if after in _JOINING and after not in _BEGINNING:
        return True
    return len(line) > _SHORT_LINE or before in _DESCRIBING or before.isdigit()


def _split(items: Sequence[tuple[str, bool]]) -> list[_Sentence]:
    sentences = []
    for number, (item, opens) in enumerate(items):
        text = _TIGHT.sub(", ", ABBREVIATION.sub(r"\1", item.lower()))
        if len(_INLINE_MARK.findall(f" {text}")) > 1:
            text = _INLINE_MARK.sub("\n", f" {text}")
        text = _QUESTION.sub(" ?\n", _END.sub("\n", _NUMBER_POINT.sub("\n", text)))
        for piece in text.split("\n"):
            piece = piece.strip()
            mark = _MARK.match(piece)
            if words := " ".join((piece[mark.end() :] if mark else piece).split()):
                sentences.append(_Sentence(words, opens, number))
                opens = False
    return sentences


def _without_asides(sentences: Sequence[_Sentence]) -> list[str]:
    """The sentences without those under a heading that speaks of something else than this image. Such a part ends at
    the next heading or empty line; where none comes, with its line, or its sentence when there is no other line."""
    headings = [_HEADING.match(sentence.words) for sentence in sentences]
    kept, i = [], 0
    while i < len(sentences):
        if headings[i] is None or headings[i]["aside"] is None:
            kept.append(sentences[i].words)
            i += 1
            continue
        ends = (
            j
            for j in range(i + 1, len(sentences))
            if headings[j] is not None or (sentences[j].opens and not sentences[j - 1].words.endswith(":"))
        )
        line = (j for j in range(i + 1, len(sentences)) if sentences[j].line != sentences[i].line)
        i = next(ends, None) or next(line, None) or i + 1
    return kept


def _pieces(sentence: str) -> list[str]:
    """The sentence, cut where a part of it ends when it is too long."""
    pieces = []
    while len(sentence) > LONGEST:
        half = LONGEST // 2
        cut = next(
            (at for mark in (";", ", ", " and ", " ") if (at := sentence.rfind(mark, half, LONGEST)) > 0), LONGEST
        )
        pieces.append(sentence[:cut].strip(" ;,"))
        sentence = sentence[cut:].lstrip(" ;,")
    return [piece for piece in (*pieces, sentence) if piece]


class Spelling:
    """Words as the rules know them: the `rows` (kind, written, read) say how an abbreviation or a British word is read.
    A `written` that begins with * is a piece of a word.

    Raises `AnnotationError` for a row without one of the two.
    """

    def __init__(self, rows: Sequence[dict[str, str]]):
        for number, row in enumerate(rows, 1):
            if not row["written"].strip("*") or not row["read"]:
                raise AnnotationError(f"row {number} of the spelling needs what is written and how it is read: {row}")
        self._words = {row["written"]: row["read"] for row in rows if row["written"][0] != "*"}
        self._parts = {row["written"][1:]: row["read"] for row in rows if row["written"][0] == "*"}
        longest = sorted(self._words, key=len, reverse=True)
        self._word = re.compile(rf"(?<![\w/])(?:{'|'.join(map(re.escape, longest))})(?:(?<=/)|(?![\w/]))")
        self._part = re.compile("|".join(map(re.escape, self._parts)))
        self.spelled = lru_cache(2**15)(self._spelled)

    def _spelled(self, sentence: str) -> str:
        """The sentence as the rules read it."""
        if self._parts:
            sentence = self._part.sub(lambda match: self._parts[match[0]], sentence)
        if self._words:  # "w/mild" needs a blank behind it, "w/ mild" has one
            sentence = self._word.sub(lambda match: self._words[match[0]] + " " * match[0].endswith("/"), sentence)
        return " ".join(sentence.split())
