"""Links from a chapter's words to the glossary, each at its first use on the page. The chapters themselves have none:
who reads a notebook reads prose, not marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

#: What is no prose, or is a link already: blocks of code, formulas, directives, headings, tables, quoted notices, HTML.
_LEFT_ALONE = re.compile(
    r"(?ms)^(`{3,}|:{3,}|~{3,}).*?^\1|\$\$.*?\$\$|^\s*(?:#|\||>).*?$|`[^`]*`|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)|<[^>]*>"
    r"|\{\w+\}`[^`]*`|https?://\S+|\\\w+"
)
#: Before a word that is a verb there: "the heads are split", "Split its mean".
_NO_VERB = r"(?<!\bare )(?<!\bis )(?<!\bbe )(?<!\bto )(?<!\. )(?<!^)"


@dataclass(frozen=True)
class Term:
    """An entry of the glossary, and a way to find it in a text: any of its names, in the plural too."""

    entry: str
    name: str

    def first(self, text: str) -> re.Match[str] | None:
        written = re.escape(self.name).replace(r"\ ", r"\s+")
        if self.name[1:].islower():  # "Beam search" is "beam search" too; BLEU is nothing else
            written = f"[{self.name[0].upper()}{self.name[0].lower()}]{written[1:]}"
        return re.search(rf"{_NO_VERB if ' ' not in self.name else ''}(?<![\w.-]){written}(?:e?s)?(?![\w-])", text)


def terms(glossary: Path) -> list[Term]:
    """The terms of a glossary page, the longest names first: *cross-attention* is not *attention*."""
    lines = glossary.read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.endswith("{glossary}")) + 1
    entries = [line for line in lines[begin:] if line and not line.startswith((" ", ":"))]
    found = [Term(entry, name) for entry in entries for name in entry.split(", ")]
    return sorted(found, key=lambda term: (-len(term.name), term.name))


def link_first_uses(cells: Iterable[NotebookNode], known: Sequence[Term]) -> None:
    """The first use of each entry in the prose of the Markdown `cells` becomes a link to it."""
    linked: set[str] = set()
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, known, linked)


def _linked(text: str, known: Sequence[Term], linked: set[str]) -> str:
    taken = [match.span() for match in _LEFT_ALONE.finditer(text)]
    uses: list[tuple[int, int, str]] = []
    for term in known:
        prose = _blanked(text, taken)
        if match := term.first(prose):
            taken.append(match.span())  # a part of a longer name is no use of a shorter one
            if term.entry not in linked:
                linked.add(term.entry)
                uses.append((*match.span(), term.entry))
    for start, end, entry in sorted(uses, reverse=True):
        words = " ".join(text[start:end].split())
        text = f"{text[:start]}{{term}}`{words} <{entry}>`{text[end:]}"
    return text


def _blanked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in spans:
        text = text[:start] + "\0" * (end - start) + text[end:]
    return text
