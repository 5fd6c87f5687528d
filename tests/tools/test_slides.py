"""Slides show the chapters' texts and figures, no answer of an exercise, and ask the network for nothing."""

from __future__ import annotations

import re

import nbformat
import pytest
import slides
from chapters import sources
from exercises import BEGIN, exercises_of

#: What a browser would fetch by itself from elsewhere; a link that a reader may follow is none of it.
FETCHED = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=[\"'](?:https?:)?//|<link[^>]*\shref=[\"'](?:https?:)?//|"
    r"url\([\"']?(?:https?:)?//|@import [\"'](?:https?:)?//|\bfrom '(?:https?:)?//"
)
CHAPTERS = [path.with_suffix(".ipynb") for path in sources(slides.NOTEBOOKS)]


def cell(kind: str, source: str, outputs=(), **metadata):
    made = (nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell)(source, metadata=metadata)
    if kind == "code":
        made.outputs = [nbformat.from_dict(output) for output in outputs]
    return made


TEXT = {"output_type": "stream", "name": "stdout", "text": "5 words"}
PICTURE = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}


@pytest.mark.parametrize(
    ("made", "place"),
    [
        (cell("markdown", "# 4 · Asking"), "slide"),
        (cell("markdown", "## Reading"), "slide"),
        (cell("markdown", "Each patch asks."), "subslide"),
        (cell("code", "scores = query @ keys.T"), "-"),
        (cell("code", "import torch"), "skip"),
        (cell("code", "import torch\nprint(5)", [TEXT]), "-"),
        (cell("code", 'from rrg_lib.book.edition import require\n\nrequire("0.1")'), "skip"),
        (cell("code", "figures.slots()", [TEXT, PICTURE]), "subslide"),
        (cell("code", "def ask(query): ...", exercise="4.1"), "skip"),
        (cell("code", 'PROFILE = "ci"', tags=["parameters"]), "skip"),
    ],
)
def test_where_a_cell_goes(made, place):
    assert slides.slide_type(made) == place


def test_a_figure_stands_alone_without_its_code_and_the_chapter_is_left_as_it_was():
    chapter = nbformat.v4.new_notebook(cells=[cell("code", "figures.slots()", [TEXT, PICTURE])])
    (shown,) = slides.arranged(chapter).cells
    assert [output.output_type for output in shown.outputs] == ["display_data"]
    assert shown.metadata.transient.remove_source and len(chapter.cells[0].outputs) == 2
    assert "transient" not in chapter.cells[0].metadata


def test_code_that_does_not_fit_below_its_text_begins_a_slide_of_its_own():
    long = cell("code", "x = 1\n" * slides.LINES)
    cells = [cell("markdown", "## Reading"), cell("code", "y = 2\n" * 3), long, cell("code", "z = 3")]
    shown = slides.arranged(nbformat.v4.new_notebook(cells=cells)).cells
    assert [made.metadata.slideshow.slide_type for made in shown] == ["slide", "-", "subslide", "subslide"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_answer_is_on_a_slide_of_the_chapter(path):
    shown = [
        cell.source
        for cell in slides.arranged(nbformat.read(path, as_version=4)).cells
        if cell.metadata.slideshow.slide_type != "skip"
    ]
    assert not [source for source in shown if BEGIN in source]
    text = "\n".join(shown)
    assert [e.id for e in exercises_of(path.with_suffix(".py")) if f"**Exercise {e.id}**" not in text] == []


def test_the_page_fetches_nothing_from_elsewhere_and_finds_what_it_names_beside_it(tmp_path):
    slides.build(tmp_path / "slides", ["00"])
    text = (tmp_path / "slides" / "00_start_here.html").read_text(encoding="utf-8")
    assert FETCHED.findall(text) == []
    named = re.findall(r"<(?:script|link)[^>]*\s(?:src|href)=\"([^\"]+)\"", text)
    assert {"reveal/dist/reveal.js", "reveal/dist/reveal.css", "mathjax/tex-chtml.js"} <= set(named)
    assert [name for name in named if not (tmp_path / "slides" / name).is_file()] == []
    styles = [tmp_path / "slides" / name for name in named if name.endswith(".css")]
    assert len(styles) >= 2 and not [s.name for s in styles if FETCHED.search(s.read_text(encoding="utf-8"))]
    assert text.count("<section") > 10 and "data:image/png;base64," in text
    assert 'href="00_start_here.html"' in (tmp_path / "slides" / "index.html").read_text(encoding="utf-8")


def test_a_folder_of_something_else_is_left_alone_and_a_missing_package_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    assert slides.main(["--out", str(tmp_path / "mine"), "--only", "00"]) == 1
    assert "holds no slides" in capsys.readouterr().err
    monkeypatch.setattr(slides, "find_spec", lambda name: None)
    assert slides.main(["--out", str(tmp_path / "slides"), "--only", "00"]) == 1
    assert "sphinx_revealjs, which ships reveal, is not installed" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
