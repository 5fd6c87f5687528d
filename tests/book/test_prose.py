"""No result is typed into a chapter's prose; what may stand there says why."""

from __future__ import annotations

import math
import re

import jupytext
import pytest
from places import ROOT

from rrg_lib.book.prose import agreeing, say, sections, typed_numbers
from rrg_lib.errors import ConfigurationError

CHAPTERS = sorted((ROOT / "notebooks").glob("*.py"))


def texts(markdown: str) -> list[str]:
    return [number.text for number in typed_numbers(markdown)]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapters_prose_has_no_typed_result(chapter):
    cells = [cell.source for cell in jupytext.read(chapter).cells if cell.cell_type == "markdown"]
    assert cells
    places = set().union(*map(sections, cells))
    wrong = [f"{number.text} in {number.context!r}" for source in cells for number in typed_numbers(source, places)]
    assert not wrong, (
        f"{chapter.name}: compute these in a cell and show them with rrg_lib.book.prose.say, or give a reason with "
        f"<!-- typed: … -->:\n" + "\n".join(wrong)
    )


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapters_minutes_of_exercises_are_their_sum(chapter):
    text = chapter.read_text(encoding="utf-8").replace("\n# ", " ")
    stated = re.search(r"\*\*Minutes\.\*\*.*?exercises (\d+)", text)
    if stated:  # chapters 00 and 03 state one number for reading and exercises
        each = re.findall(r"\*\*Exercise \d+\.\d+\*\* \((\d+) min\)", text)
        assert int(stated[1]) == sum(map(int, each)), f"{chapter.name}: exercises of {each} minutes"


@pytest.mark.parametrize(
    ("markdown", "found"),
    [
        ("CMN reaches a BLEU-4 of 0.123 here.", ["0.123"]),
        ("It is .172, not .170.", [".172", ".170"]),
        ("12.3 % of the tokens, 83% of the studies, 5 per cent.", ["12.3 %", "83%", "5 per cent"]),
        ("between 0.5–0.7", ["0.5", "0.7"]),
        ("a loss of -0.039, a gain of +19.6 %", ["-0.039", "+19.6 %"]),
        ("| CMN | 0.170 |\n|---|---|\n| BASE | 0.135 |", ["0.170", "0.135"]),
        ("**0.45** and *0.36* and (0.31).", ["0.45", "0.36", "0.31"]),
        ("the rate of false findings is 0.81", ["0.81"]),
        ("of 2,069.5 reports", ["2,069.5"]),
        ("see whether BLEU-4 exceeds 0.2, if so", ["0.2"]),
    ],
)
def test_what_looks_like_a_result_is_found(markdown, found):
    assert texts(markdown) == found


@pytest.mark.parametrize(
    "markdown",
    [
        "2,069 studies, 13 findings, 512 slots, CheXpert-14, BLEU-4, top-2, 2021",
        "`weight = 0.5` and ``a `0.1` b``",
        "```python\nx = 0.123\n```\nText.\n\n~~~\n12 %\n~~~",
        "$\\theta = 1.75$ and $$\\alpha = 0.4 \\\\ \\beta = 12\\%$$",
        "\\begin{align}a &= 0.3\\end{align}",
        "[a link](https://example.org/v1.2/0.5) and https://example.org/0.123 and <https://x.org/1.5>",
        "## 7.3 Which disease?\n\nAs 7.3 said, section 4.12, §4.3, Table 2.1, chapter 3.4, version 1.5, 1.2.3",
        "Collection, CC BY-NC-ND 4.0.",
        "dropout of 0.1 on the weights, a learning rate of 0.001",
        "95 % intervals, 95 % bootstrap intervals; the middle 95 % of the scores",
        "more than a point outside (0.5 = chance)",
        "What if 90 % of the weight takes 90 % of the slots?",
        "Right at 0.9 it keeps a hundredth. <!-- typed: (1 - 0.9) squared -->",
    ],
)
def test_what_is_no_result_may_stand(markdown):
    assert texts(markdown) == []


def test_a_number_is_found_where_it_stands_and_a_section_elsewhere_must_be_known():
    number, *more = typed_numbers("# Title\n\nText `0.5`\nand a BLEU of 0.25 here.\n")
    assert (number.text, number.line, more) == ("0.25", 4, []) and "a BLEU of 0.25 here." in number.context
    assert texts("as in 7.6") == ["7.6"] and typed_numbers("as in 7.6", {"7.6"}) == []


def test_a_marker_speaks_for_its_paragraph_alone_and_needs_a_reason():
    assert texts("It is 0.9. <!-- typed: a setting -->\n\nIt is 0.8.") == ["0.8"]
    assert texts("- one 0.9 <!-- typed: a setting -->\n- two 0.8") == ["0.8"]
    assert texts("It is 0.9. <!-- a comment, 0.7 -->") == ["0.9"]
    with pytest.raises(ConfigurationError, match="line 3: a marker says why"):
        typed_numbers("Text.\n\nIt is 0.9. <!-- typed: -->")
    with pytest.raises(ConfigurationError, match="'old' allows a typed number, and its paragraph has none; remove it"):
        typed_numbers("It is {score}. <!-- typed: old -->")


def test_say_fills_a_sentence_from_values():
    shown = say("BLEU-4 is {a:.3f} on {n:,} studies, {p:.1%}; METEOR {m:.3f}.", a=0.17012, n=2069, p=0.825, m=math.nan)
    assert shown.data == "BLEU-4 is 0.170 on 2,069 studies, 82.5%; METEOR –."


def test_say_refuses_what_is_typed_lacking_or_idle():
    with pytest.raises(ConfigurationError, match=r"0\.135 is typed into 'BASE has 0\.135"):
        say("BASE has 0.135, CMN {a:.3f}", a=0.17)
    with pytest.raises(ConfigurationError, match="asks for b and is given nothing more"):
        say("{a} and {b}", a=1)
    with pytest.raises(ConfigurationError, match="asks for nothing more and is given c"):
        say("{a}", a=1, c=2)
    with pytest.raises(ConfigurationError, match="name each value"):
        say("{:.3f}", a=1)


def test_a_count_and_its_verb_agree():
    assert [agreeing(n, "fails", "fail") for n in (0, 1, 2, 1200)] == ["0 fail", "1 fails", "2 fail", "1,200 fail"]
