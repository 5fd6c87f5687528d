"""A term is linked once a page, where it is first read, and nowhere else than in prose."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
import site_chapters
import site_glossary
from nbformat.v4 import new_markdown_cell

ROOT = Path(__file__).resolve().parents[2]
TERMS = site_glossary.terms(ROOT / "site" / "glossary.md")
LINK = re.compile(r"\{term\}`([^`<]+) <([^`>]+)>`")


def linked(*texts):
    cells = [new_markdown_cell(text) for text in texts]
    site_glossary.link_first_uses(cells, TERMS)
    return [cell.source for cell in cells]


def test_the_first_use_is_linked_and_no_later_one():
    first, second = linked("A patch asks; a Patch answers.", "Another patch.")
    assert first == "A {term}`patch <Patch>` asks; a Patch answers." and second == "Another patch."


def test_a_longer_name_goes_before_a_part_of_it():
    (text,) = linked("The cross-attention, then paired bootstrap, then attention, then bootstrap.")
    assert text == (
        "The {term}`cross-attention <Cross-attention>`, then {term}`paired bootstrap <Paired bootstrap>`, "
        "then {term}`attention <Attention>`, then {term}`bootstrap <Bootstrap>`."
    )


@pytest.mark.parametrize(
    "text",
    [
        "# A patch",
        "`patch` and `a patch`",
        "```\na patch\n```",
        "[the patch](page.md)",
        "$patch$",
        "$$\na patch\n$$",
        "| patch | view |\n|---|---|\n| token | seed |",
        "<b title='patch'>x</b>",
        "{term}`patch <Patch>`",
        "The rows are split here.",
        "dispatches, patchwork, patch_size",
    ],
)
def test_what_is_no_prose_no_noun_or_a_link_already_stays(text):
    assert linked(text) == [text]


def test_a_plural_and_a_broken_line_are_uses_and_an_abbreviation_is_nothing_else():
    assert linked("Many patches, many tokens.") == ["Many {term}`patches <Patch>`, many {term}`tokens <Token>`."]
    assert linked("a beam\nsearch") == ["a {term}`beam search <Beam search>`"]
    assert linked("the bleu of it") == ["the bleu of it"]


@pytest.mark.parametrize("source", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem[:2])
def test_every_chapter_is_linked_each_entry_once_and_reads_as_before(source):
    notebook, _ = site_chapters.page(source)
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    entries = [entry for _, entry in LINK.findall(text)]
    assert len(entries) == len(set(entries)) >= 5 and set(entries) <= {term.entry for term in TERMS}
    prose = " ".join(
        " ".join(c.source.split()) for c in nbformat.read(source, as_version=4).cells if c.cell_type == "markdown"
    )
    assert all(words in prose for words, _ in LINK.findall(text)) and "{term}" not in prose
