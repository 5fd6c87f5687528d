"""Numbers in sentences: taken from values, and a search for those that were typed in.

A number that somebody types into a sentence is right on the day it is typed. So a chapter's sentence takes its numbers
from values, `say("BLEU-4 is {score:.3f}", score=…)`, and `typed_numbers` finds what looks like a result in prose: a
decimal fraction or a percentage outside code, formulas and links. A number that is no result stays where its words say
so (a dropout of 0.1, 95 % intervals, "if 90 % of …", 0.5 = chance), or with a marker that gives the reason, in the same
paragraph or list item:

    A study that is right at 0.9 keeps a hundredth of its voice.  <!-- typed: (1 - 0.9) squared -->
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rrg_lib.errors import ConfigurationError

if TYPE_CHECKING:
    from IPython.display import Markdown

#: 0.123, .123, 36.5, 12 %, 12.3 per cent; not 1.2.3, v1.5, an address, or the 2 of "top-2".
_METRIC_LIKE = re.compile(
    r"(?<![\w.,/#:-])[-−+±]?(?:\d[\d,]*)?(?:\.\d+(?!\.?\d)(?:\s?(?:%|per cent))?|(?<=\d)\s?(?:%|per cent))(?![\w])"
)
#: What may hold numbers, and holds no prose.
_NOT_PROSE = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ "
    r"\t]*$|(?P<ticks>`+).+?(?P=ticks)|\$\$.+?\$\$|\\\[.+?\\\]|(?<![\\\w])\$(?!\s)[^$\n]+?(?:\n[^$\n]+?)?(?<!\s)\$(?!\d)"
    r"|\\begin\{(?P<env>\w+\*?)\}.+?\\end\{(?P=env)\}|\]\([^)]*\)|<https?:[^>]*>|https?://\S+",
    re.DOTALL | re.MULTILINE,
)
#: "## 7.3 Which disease", "section 4.3", "§4.3", "Table 2.1", "version 1.5", "CC BY 4.0": places, versions, licences.
_PLACES = re.compile(
    r"^\s{0,3}#{1,6}\s+\d+(?:\.\d+)*|(?:\b(?:sections?|chapters?|figures?|tables?|eqs?\.|equations?|versions?|exercises?)|§)\s*\d+(?:\.\d+)+"
    r"|\bCC BY[-A-Z]* \d\.\d",
    re.MULTILINE | re.IGNORECASE,
)
#: Numbers that are chosen and not found: a method's setting, the level of an interval, what is supposed ("if 90 % of
#: …") or defined ("0.5 = chance").
_CHOSEN = re.compile(
    r"\b(?:dropout|learning rate|decay|momentum|temperature)(?:\s+(?:of|is))?\s+\d*\.?\d+|\b\d+ "
    r"%(?=(?:\s+(?:bootstrap|confidence))*\s+intervals?\b)"
    r"|\bmiddle \d+ %|\bif \d+ %[^.,;:]*|\b\d*\.?\d+(?=\s=\s[a-z])",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^#{1,6}\s+(\d+\.\d+)\b", re.MULTILINE)
_MARKER = re.compile(r"<!--\s*typed:(?P<reason>.*?)-->", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
#: A paragraph ends at an empty line, an item of a list at the next one.
_BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+[.)])\s)|\n(?=\s*\|)")


@dataclass(frozen=True)
class TypedNumber:
    """A metric-like number in prose: the text as it stands, and the line of the markdown it is in, counted from 1."""

    text: str
    line: int
    context: str


def sections(markdown: str) -> set[str]:
    """The numbers of a text's headings: {"7.3", …}."""
    return set(_HEADING.findall(markdown))


def typed_numbers(markdown: str, places: Iterable[str] = ()) -> list[TypedNumber]:
    """Metric-like numbers in the prose of a markdown text, in order; without those of a paragraph that a marker with a
    reason allows.

    `places` are sections that the text may name by their bare number ("as in 7.3"); its own are known.

    Raises `ConfigurationError` for a marker without a reason, or one in a paragraph that has no such number: a reason
    for nothing.
    """
    prose, places = markdown, {*places, *sections(markdown)}
    for pattern in (_NOT_PROSE, _PLACES, _CHOSEN):
        prose = pattern.sub(_blanked, prose)
    typed, start = [], 0
    for end in [*(match.end() for match in _BLOCK_END.finditer(prose)), len(prose)]:
        block, line = prose[start:end], markdown.count("\n", 0, start) + 1
        markers = [match["reason"].strip() for match in _MARKER.finditer(block)]
        text = _COMMENT.sub(_blanked, block)
        numbers = list(_METRIC_LIKE.finditer(text))
        if markers and not all(markers):
            raise ConfigurationError(
                f"line {line}: a marker says why a typed number may stay, for example <!-- typed: the paper's setting "
                f"-->"
            )
        if markers and not numbers:
            raise ConfigurationError(
                f"line {line}: the marker {markers[0]!r} allows a typed number, and its paragraph has none; remove it"
            )
        if not markers:
            shown = markdown[start:end]
            typed += [
                TypedNumber(
                    number.group().strip(), line + text.count("\n", 0, number.start()), _around(shown, number.start())
                )
                for number in numbers
                if number.group().strip() not in places
            ]
        start = end
    return typed


def say(text: str, **values: Any) -> Markdown:
    """A sentence with its numbers filled in, shown as markdown: `say("BLEU-4 {a:.3f}, {n:,} reports", a=score,
    n=len(reports))`.

    A value that is not a number shows as "–". Raises `ConfigurationError` for a placeholder without a value, a value
    that no placeholder asks for, or a number that is typed in.
    """
    from IPython.display import Markdown

    asked = {
        field.partition(".")[0].partition("[")[0]
        for _, field, _, _ in string.Formatter().parse(text)
        if field is not None
    }
    if "" in asked or any(name.isdigit() for name in asked):
        raise ConfigurationError(f"name each value of {text[:60]!r}, as in {{score:.3f}}")
    if asked != values.keys():
        lacking, idle = sorted(asked - values.keys()), sorted(values.keys() - asked)
        raise ConfigurationError(
            f"{text[:60]!r} asks for {', '.join(lacking) or 'nothing more'} and is given "
            f"{', '.join(idle) or 'nothing more'}"
        )
    if typed := typed_numbers(string.Formatter().vformat(text, (), {name: _Nothing() for name in asked})):
        raise ConfigurationError(f"{typed[0].text} is typed into {typed[0].context!r}; give it as a value")
    return Markdown(
        text.format(
            **{
                name: _Nothing("–") if isinstance(value, float) and math.isnan(value) else value
                for name, value in values.items()
            }
        )
    )


def agreeing(n: int, one: str, several: str) -> str:
    """A count with the word that agrees with it: `agreeing(1, "fails", "fail")` is "1 fails", of 2 "2 fail"."""
    return f"{n:,} {one if n == 1 else several}"


class _Nothing(str):
    """Text that ignores how it is to be formatted."""

    def __new__(cls, text: str = "x") -> _Nothing:
        return super().__new__(cls, text)

    def __format__(self, how: str) -> str:
        return str(self)


def _blanked(match: re.Match[str]) -> str:
    """Blanks for the characters of a match, line ends kept: places and lines stay as they are."""
    return re.sub(r"[^\n]", " ", match.group())


def _around(text: str, at: int, reach: int = 40) -> str:
    return " ".join(text[max(0, at - reach) : at + reach].split())
