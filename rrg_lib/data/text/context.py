"""What a sentence says of a finding it names: there, not there, perhaps, or of another time. ConText, small.

A *cue* ("no", "cannot be excluded", "history of") reaches forwards or backwards to the findings of its sentence until a
*stop* ("but", "there is", a comma that begins a statement of its own). `nearest` ("versus") reaches forwards like any
other, and backwards only to the finding next to it. A cue of the kind `plain` ("not without", "no change in") does
nothing but keep the cues inside it from being read. The cues are data: `data/labeler_context.csv`, one alternation in
the order of its rows, so an earlier row wins where two begin together.

Source: ConText (Harkema et al. 2009), which is NegEx (Chapman et al. 2001) with directions, stops and time; the words
are ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rrg_lib.errors import AnnotationError

Status = Literal["positive", "negative", "uncertain", "historical"]
#: What each kind of cue makes of a finding, the strongest first: "cannot exclude" beats "no", and "no … suspicious for"
#: is no suspicion.
KINDS: dict[str, Status] = {
    "unexcluded": "uncertain",
    "negated": "negative",
    "historical": "historical",
    "uncertain": "uncertain",
}
_IDLE = ("plain", "stop")
_DIRECTIONS = ("forward", "backward", "both", "nearest")

QUOTES = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": ", ", "−": "-"}
)
_NUMBER = re.compile(r"\d[.)]")
_LIST_NUMBER = re.compile(r"(?:^|(?<=[.!?;:]\s)|(?<=\n))\s*\d{1,2}[.)]\s+(?=[a-z])")
#: The point of "1.5 cm" ends nothing, nor does that of "e.g."; a line that is empty ends a sentence.
_SENTENCE_END = re.compile(r"\s*[.!?]+(?:\s+|$)|\n\s*\n")
#: Where a rule may end: not inside a word; but a comma may stand before one.
_END = r"(?:(?!\w)|(?<=\W))"
ABBREVIATION = re.compile(r"\b(dr|vs|approx|e\.g|i\.e|st)\.(?=\s)")


def sentences(report: str) -> list[str]:
    """The sentences of a report, raw or cleaned: lower case, plain quotes and hyphens, single spaces, no final
    point."""
    text = unicodedata.normalize("NFKC", report).translate(QUOTES).lower()
    text = ABBREVIATION.sub(r"\1", text)
    if _NUMBER.search(text):
        text = _LIST_NUMBER.sub(" ", text)
    return [" ".join(sentence.split()) for sentence in _SENTENCE_END.split(text) if sentence.strip()]


@dataclass(frozen=True, slots=True)
class Cue:
    """A piece of a sentence, `start <= i < end` in characters, that speaks of the findings around it."""

    kind: str
    direction: str
    start: int
    end: int


class Context:
    """The rules of `rows` (columns kind, direction, pattern), ready to read sentences.

    Raises `AnnotationError` for an unknown kind or direction, or a pattern that is no regular expression; it names the
    row.
    """

    def __init__(self, rows: Sequence[dict[str, str]]):
        self._kinds: list[tuple[str, str]] = []
        for number, row in enumerate(rows, 1):
            kind, direction = row["kind"], row["direction"]
            if kind not in (*KINDS, *_IDLE):
                raise AnnotationError(
                    f"rule {number} of the context has the kind {kind!r}; it may be {', '.join((*KINDS, *_IDLE))}"
                )
            if kind != "plain" and direction not in _DIRECTIONS:
                raise AnnotationError(
                    f"rule {number} of the context ({kind}) has the direction {direction!r}; it may be "
                    f"{', '.join(_DIRECTIONS)}"
                )
            compiled(row["pattern"], f"rule {number} of the context ({kind})")
            self._kinds.append((kind, direction))
        # The border in front is asked once for all rules: inside a word no rule is tried.
        rules = "|".join(rf"(?P<r{n}>{row['pattern']})" for n, row in enumerate(rows))
        self._pattern = re.compile(rf"(?:(?<!\w)(?=\w)|(?=[;:,?]))(?:{rules}){_END}")

    def cues(self, sentence: str) -> list[Cue]:
        """Every cue and stop of a sentence, from left to right; none overlaps another."""
        return [
            Cue(*self._kinds[int(m.lastgroup[1:])], m.start(), m.end())
            for m in self._pattern.finditer(sentence)
            if m.end() > m.start()
        ]

    def reach(self, cue: Cue, cues: Sequence[Cue], length: int) -> list[tuple[int, int]]:
        """The pieces of a sentence of `length` characters, behind the cue and before it, in which a finding's end is
        reached by it; none for one that says nothing. For figures: of a cue that is `nearest`, only the nearest finding
        in the piece before it is meant."""
        if cue.kind not in KINDS:
            return []
        stops = [other for other in cues if other.kind == "stop"]
        behind = min(
            [stop.start for stop in stops if stop.direction != "backward" and stop.start >= cue.end], default=length
        )
        before = max([stop.end for stop in stops if stop.direction != "forward" and stop.end <= cue.start], default=0)
        pieces = [(cue.end, behind)] if cue.direction != "backward" else []
        return pieces + ([(before, cue.start)] if cue.direction != "forward" else [])

    def status(self, start: int, end: int, cues: Sequence[Cue], ends: Sequence[int] = ()) -> Status:
        """What the cues of the sentence make of the finding at `start <= i < end`; `ends` are the ends of all its
        findings."""
        stops = [cue for cue in cues if cue.kind == "stop"]
        reaching = {cue.kind for cue in cues if cue.kind in KINDS and _reaches(cue, start, end, stops, ends)}
        return next((status for kind, status in KINDS.items() if kind in reaching), "positive")


def compiled(pattern: str, where: str) -> re.Pattern[str]:
    """The pattern, where it neither begins nor ends inside a word. Raises `AnnotationError` naming `where` it stands
    when it is no regular expression."""
    try:
        return re.compile(rf"(?<!\w)(?:{pattern}){_END}")
    except re.error as error:
        raise AnnotationError(f"{where} is not a regular expression: {error} in {pattern!r}") from error


def _reaches(cue: Cue, start: int, end: int, stops: Sequence[Cue], ends: Sequence[int]) -> bool:
    # A cue may stand inside the words of the finding ("heart is not enlarged"): what counts is that the finding ends
    # behind it.
    if cue.direction != "backward" and cue.end < end:
        return not any(stop.direction != "backward" and cue.end <= stop.start and stop.end <= start for stop in stops)
    if cue.direction != "forward" and end <= cue.start:
        if cue.direction == "nearest" and any(end < other <= cue.start for other in ends):
            return False
        return not any(stop.direction != "forward" and end <= stop.start < cue.start for stop in stops)
    return False
