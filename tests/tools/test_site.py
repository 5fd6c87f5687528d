"""The site's tools, on tiny chapters and pages made here: what a chapter becomes, what stops the build and in which
words."""

from __future__ import annotations

import json
from pathlib import Path

import hints
import nbformat
import pytest
import site_api
import site_chapters
import site_explorer
import site_links
import site_pages
import website
from places import ROOT
from site_text import SiteError, figure, plain, table

from rrg_lib.book.explorer import stored_explorer
from rrg_lib.experiments.results import stored_results
from rrg_lib.replication.ledger import counts, ledger
from rrg_lib.replication.study_plan import known_plans, study_plan
from rrg_lib.replication.study_report import study_report
from rrg_lib.replication.study_runs import shipped_results
from rrg_lib.replication.verdicts import Verdict

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SEE = "Look. *What to see: the **red** line falls\nfor $x>0$.*"
DRAW = 'figures.slot_scores(D, I, name="04_slot_scores")'
IMPORTS = (
    "from rrg_lib.book.checks import memory_querying_responding as checks\n"
    "from rrg_lib.book.figures import memory_querying_responding as figures"
)
EXERCISE = "Text before.\n\n**Exercise 4.1** (10 min). Write `top_k_read`. Mind the scale."
SOLVED = (
    'def top_k_read(q, k, v, K):\n    """Asks."""\n    ### BEGIN SOLUTION\n    return secret(q)\n    ### END SOLUTION'
)


def text(source: str):
    return nbformat.v4.new_markdown_cell(source)


def code(source: str, pictures: int = 0, said: str = "", **marks):
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=said)] if said else []
    outputs += [
        nbformat.v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}) for _ in range(pictures)
    ]
    return nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=1, metadata=marks)


def exercise(asked: str, solved: str, check: str, number: str = "4.1") -> list:
    """The three cells of an exercise, marked as the chapters' are."""
    marked = code(solved, exercise=number, level="implement"), code(check, exercise=number, points=5)
    return [text(asked), *marked]


def chapter(folder: Path, *cells, name: str = "04_tiny.ipynb") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    nbformat.write(nbformat.v4.new_notebook(cells=[text("# 4 · Tiny"), code(IMPORTS), *cells]), path)
    return path


def words_of(notebook) -> list[tuple[str, str]]:
    return [
        (c.metadata.mystnb.image.alt, c.metadata.mystnb.figure.caption)
        for c in notebook.cells
        if "image" in c.metadata.get("mystnb", {})
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_figure_gets_the_chapters_sentence_as_caption_and_the_drawing_functions_as_description(tmp_path):
    notebook, _ = site_chapters.page(chapter(tmp_path, text(SEE), code(DRAW, 1)))
    ((alt, caption),) = words_of(notebook)
    assert caption == "What to see: the **red** line falls\nfor $x>0$."
    assert alt.startswith("One query's scores over all slots")
    texts = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    assert texts[:2] == ["# 4 · Tiny", "Look."] and len(texts) == 3 and "rrg-made" in texts[2]  # said once


def test_italics_right_after_a_figure_are_its_caption_and_other_texts_are_not(tmp_path):
    notebook, _ = site_chapters.page(chapter(tmp_path, code("show()", 1), text("*Each line is one film.* And so on.")))
    assert words_of(notebook) == [("Each line is one film.", "Each line is one film.")]
    with pytest.raises(SiteError):
        site_chapters.page(chapter(tmp_path, code("show()", 1), text("**Bold**, and no italics.")))
    with pytest.raises(SiteError):
        site_chapters.page(chapter(tmp_path, code("show()", 1), text("First this.\n\n*Each line is one film.*")))


def test_several_pictures_of_one_cell_each_have_words_and_no_output_is_lost(tmp_path):
    notebook, _ = site_chapters.page(chapter(tmp_path, text(SEE), code("two()", 2, said="numbers")))
    assert [alt[-8:] for alt, _ in words_of(notebook)] == ["(1 of 2)", "(2 of 2)"]
    shown = [c for c in notebook.cells if c.get("outputs")]
    assert [len(c.outputs) for c in shown] == [1, 1, 1]
    assert [c.metadata.get("tags", []) for c in shown] == [[], ["remove-input"], ["remove-input"]]


def test_a_table_beside_a_picture_is_no_figure(tmp_path):
    """A caption is set under every output of its cell, a table too: so the picture stands in one of its own."""
    drawn = code(DRAW, 1)
    drawn.outputs.insert(0, nbformat.v4.new_output("display_data", {"text/html": "<table></table>"}))
    drawn.outputs.append(nbformat.v4.new_output("display_data", {"text/html": "<table></table>"}))
    notebook, _ = site_chapters.page(chapter(tmp_path, text(SEE), drawn))
    shown = [c for c in notebook.cells if c.get("outputs")]
    assert [("mystnb" in c.metadata, bool(c.source)) for c in shown] == [(False, True), (True, False), (False, False)]
    assert len(words_of(notebook)) == 1


def test_a_figure_without_words_stops_the_build_and_is_named(tmp_path):
    with pytest.raises(
        SiteError, match=r"04_tiny\.ipynb: the figure of In \[1\] .*slot_scores.* has no words; write \"\*What to see"
    ):
        site_chapters.page(chapter(tmp_path, text("No sentence."), code(DRAW, 1)))


def test_a_missing_figure_stops_the_build_and_is_named(tmp_path):
    with pytest.raises(
        SiteError,
        match=r"04_tiny\.ipynb: the figure '04_slot_scores' of In \[1\] is missing.*make notebooks CHAPTERS=04",
    ):
        site_chapters.page(chapter(tmp_path, text(SEE), code(DRAW)))
    site_chapters.page(chapter(tmp_path, code(f"def later():\n    return {DRAW}")))  # drawn by whoever calls it


def test_all_faults_of_all_chapters_are_told_at_once(tmp_path):
    chapter(tmp_path / "in", code(DRAW, 1), name="04_a.ipynb")
    chapter(tmp_path / "in", code(DRAW), name="05_b.ipynb")
    with pytest.raises(SiteError, match=r"(?s)04_a.*has no words.*05_b.*is missing"):
        website.chapters(tmp_path / "in", tmp_path / "out")


# --- exercises --------------------------------------------------------------------------------------------------------


def test_an_exercise_shows_its_blank_form_and_folds_hints_and_solution_away(tmp_path):
    before = chapter(tmp_path, *exercise(EXERCISE, SOLVED, "checks.top_k_read(top_k_read)"))
    kept = before.read_bytes()
    notebook, (read,) = site_chapters.page(before)
    assert before.read_bytes() == kept
    told, blank, solved = notebook.cells[3:6]
    assert (
        told.source.startswith("<details")
        and "square root of d\\_k" in told.source
        and "Exercise 4.1:" not in told.source
    )
    assert "secret" not in blank.source and '"""Asks."""' in blank.source and "...  # yours" in blank.source
    assert "hide-input" in solved.metadata.tags and "secret" in solved.source and "SOLUTION" not in solved.source
    assert (read.id, read.minutes, read.asks) == ("4.1", 10, "Write `top_k_read`.")
    assert "\n(exercise-4-1)=\n**Exercise 4.1**" in notebook.cells[2].source
    assert len(read.hints) >= 8


def test_each_exercise_has_the_hints_of_its_own_check(tmp_path):
    counted = "def f(x):\n    ### BEGIN SOLUTION\n    return secret(x)\n    ### END SOLUTION"
    cells = [
        *exercise(EXERCISE, SOLVED, "checks.top_k_read(top_k_read)"),
        *exercise("**Exercise 4.3** (5 min). Count.", counted, "checks.shared_with(f)", "4.3"),
    ]
    _, (first, second) = site_chapters.page(chapter(tmp_path, *cells))
    assert not set(first.hints) & set(second.hints) and any("head" in hint for hint in second.hints)


def test_an_exercise_without_its_check_stops_the_build_and_is_named(tmp_path):
    with pytest.raises(SiteError, match=r"04_tiny\.ipynb.*4\.1: expected a text"):
        site_chapters.page(chapter(tmp_path, text(EXERCISE)))


def test_a_hint_leaves_its_values_out(tmp_path):
    assert any(
        "runs over …, not" in hint
        for hint in hints.hints_of("rrg_lib.book.checks.memory_querying_responding", "top_k_read")
    )


# --- the built pages --------------------------------------------------------------------------------------------------


def built(folder: Path, body: str, **files: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text(f"<html><body><article>{body}</article></body></html>", encoding="utf-8")
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return site_links.check(folder).faults


MADE = '<details class="rrg-made"><summary>How</summary></details>'
UNMADE = "does not say how it was made; give it a fold of `site_made`"
ELSEWHERE = "from another host; ship the file in site/_static"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="gone.html">x</a>', "index.html: the link 'gone.html' is dead: there is no such page"),
        ('<a href="other.html#no">x</a>', "index.html: the link 'other.html#no' is dead: that page has no such place"),
        ('<a href="#no">x</a>', "index.html: the link '#no' is dead: that page has no such place"),
        ('<a href="../outside.html">x</a>', "index.html: the link '../outside.html' is dead: there is no such page"),
        ('<a href="https://not an address">x</a>', "index.html: the link 'https://not an address' is no address"),
        ('<img src="gone.png" alt="A film">', "index.html: gone.png is missing"),
        (
            '<img src="data:image/png;base64,AA" alt=" ">',
            "index.html: the picture 'data:image/png;base64,AA' has no description (alt)",
        ),
        (f"<figure><p></p></figure>{MADE}", "index.html: a figure has no caption"),
        ("<figure><figcaption>x</figcaption></figure>", f"index.html: a figure {UNMADE}"),
        (f'<table class="sortable"></table><table class="sortable"></table>{MADE}', f"index.html: a table {UNMADE}"),
        (
            f'<table class="sortable"><tr><td>{MADE}</td></tr></table>',  # a row's runs are not the table's
            f"index.html: a table {UNMADE}",
        ),
        (
            '<script src="https://cdn.example.org/m.js"></script>',
            f"index.html: fetches https://cdn.example.org/m.js {ELSEWHERE}",
        ),
        (
            '<link rel="stylesheet" href="//fonts.example.org/f.css">',
            f"index.html: fetches //fonts.example.org/f.css {ELSEWHERE}",
        ),
    ],
)
def test_what_a_reader_would_stumble_over_is_named(tmp_path, body, fault):
    (tmp_path / "outside.html").write_text("there, but not in the site", encoding="utf-8")
    assert built(tmp_path / "site", body, other_html="<p id='yes'></p>") == [fault]


def test_a_sound_page_passes_and_links_to_others_are_only_read(tmp_path):
    links = '<a href="other.html#yes">a</a> <a href="https://example.org/paper">b</a>'
    sound = links + '<figure><img src="p.png" alt="A film"><figcaption>See.</figcaption></figure>' + MADE
    assert built(tmp_path, sound, other_html="<p id='yes'></p>", p_png="x", a_css="a { background: url(p.png) }") == []
    assert site_links.check(tmp_path).outside == 1
    assert built(tmp_path, sound, a_css="@import 'https://fonts.example.org/f.css';") == [
        "a.css: fetches https://fonts.example.org/f.css from another host"
    ]


CONF = 'extensions = ["myst_nb"]\nnb_execution_mode = "off"\nhtml_theme = "basic"\nhtml_static_path = ["_static"]\n'
CONF += 'nitpick_ignore_regex = [("py:.*", ".*")]\n'  # there is no page of the library here


def tiny_pages(folder: Path, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    (folder / "index.md").write_text(f"# Tiny\n\n{body}\n\n```{{toctree}}\nchapters/04_tiny\n```\n", encoding="utf-8")
    return folder


@pytest.fixture
def only_chapters(monkeypatch):
    """The pages that are made of data take seconds and are not what these tests are about."""
    monkeypatch.setattr(site_pages, "write", lambda *args: None)
    monkeypatch.setattr(site_api, "write", lambda *args: None)


def test_a_site_is_replaced_whole_or_not_at_all(tmp_path, only_chapters, capfd):
    chapter(tmp_path / "notebooks", text(SEE), code(DRAW, 1))
    out = tmp_path / "site"
    report = website.build(
        tmp_path / "notebooks", out, tiny_pages(tmp_path / "pages", "[the chapter](chapters/04_tiny.ipynb)")
    )
    page = (out / "chapters" / "04_tiny.html").read_text(encoding="utf-8")
    assert (
        report.pictures == 1
        and "<figcaption>" in page
        and "One query" in page
        and (out / "_static/mathjax/tex-chtml.js").is_file()
    )
    for body, named in (
        ("![A film](gone.png)", "gone.png"),
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](#nowhere)", "nowhere"),
    ):
        with pytest.raises(SiteError, match="the warnings above are errors"):
            website.build(tmp_path / "notebooks", out, tiny_pages(tmp_path / "pages", body))
        said = capfd.readouterr().err
        assert "index.md" in said and named in said
    with pytest.raises(SiteError, match=r"index\.html: the link 'gone\.html' is dead"):
        website.build(tmp_path / "notebooks", out, tiny_pages(tmp_path / "pages", '<a href="gone.html">x</a>'))
    assert (out / "chapters" / "04_tiny.html").read_text(encoding="utf-8") == page
    assert {path.name for path in tmp_path.iterdir()} == {"notebooks", "pages", "site"}  # nothing half-made is left


def test_serving_what_is_not_built_says_what_to_do(tmp_path, capsys):
    assert website.main(["serve", "--out", str(tmp_path)]) == 1
    assert "run: make site" in capsys.readouterr().err


def test_imports_parameters_and_the_edition_are_folded_and_the_lesson_is_not(tmp_path):
    """A cell that only imports is scaffolding; one that imports and does something is the lesson's, and so is what an
    exercise asks."""
    lesson = code("import numpy as np\n\nnp.eye(2)")
    edition = code('from rrg_lib.book.edition import require\n\nrequire("0.1")  # silent')
    given = code('DATASET = "iu_phantom"', tags=["parameters"])
    asked = exercise(EXERCISE, SOLVED, "checks.top_k_read(top_k_read)")
    page, _ = site_chapters.page(chapter(tmp_path, given, edition, lesson, *asked))
    folded_away = [c.source for c in page.cells if "hide-input" in c.metadata.get("tags", [])]
    assert folded_away[:3] == [IMPORTS, given.source, edition.source]  # after them, the folded solution
    assert len(folded_away) == 4 and lesson.source not in folded_away


def test_the_start_page_shows_the_study_with_its_report_and_what_is_known_of_the_claims(tmp_path):
    one, two = 'drawn_studies(x, name="00_study")', 'shown.picture("CMN", "00_report")'
    drawn, _ = site_chapters.page(chapter(tmp_path, text(SEE), code(one, 1), text(SEE), code(two, 1)))
    assert "What to see: the **red** line" in site_pages.first_figure({"00": drawn}, tmp_path)
    with pytest.raises(SiteError, match='no chapter draws "00_report"; run `make notebooks`'):
        without, _ = site_chapters.page(chapter(tmp_path, text(SEE), code(one, 1)))
        site_pages.first_figure({"00": without}, tmp_path)
    rows = ledger(stored_results())
    known = site_pages.known(rows)
    claims = counts(rows)["claim"]
    assert f"of {sum(claims.values())} claims" in known
    assert f"*{Verdict.UNDECIDED.value}* {claims[Verdict.UNDECIDED]}" in known


# --- pages made of data -----------------------------------------------------------------------------------------------


def test_texts_from_data_are_never_markup():
    assert plain("a_b*c <b> [x](y) $z$ `k_i`") == r"a\_b\*c \<b\> \[x\](y) \$z\$ `k_i`"
    assert "| a \\| b |" in table(["x"], [["a | b"]], "T", "made")
    with pytest.raises(SiteError, match="a\\.png: a figure needs a description"):
        figure("a.png", " ", "words", "made")


def test_timings_are_shown_with_where_they_were_measured(tmp_path):
    assert "No build has been measured" in site_pages.timings_page(tmp_path)
    (tmp_path / "data").mkdir()
    record = {
        "seconds": 12.5,
        "machine": {"cores": 2},
        "chapters": [{"chapter": "04_tiny", "seconds": 12.5, "status": "ok"}],
    }
    (tmp_path / "data" / "timings.json").write_text(json.dumps(record), encoding="utf-8")
    page = site_pages.timings_page(tmp_path)
    assert "| 04\\_tiny | 12.5 | ok |" in page and "data/timings.json" in page and "cores" in page


def test_every_work_of_the_citation_file_can_be_cited():
    page = site_pages.cite_page(ROOT / "CITATION.cff")
    assert page.count("```bibtex") == 4 and page.count("{") == page.count("}")
    assert (
        "author = {Zhihong Chen and Yaling Shen and Yan Song and Xiang Wan}" in page
        and "Proceedings of ECCV 2022" in page
    )


def test_the_api_has_a_page_for_every_package_and_no_private_module(tmp_path):
    modules = site_api.write(tmp_path / "api")
    assert "rrg_lib.models.memory.base" in modules and not any("._" in module for module in modules)
    index = (tmp_path / "api" / "index.md").read_text(encoding="utf-8")
    assert all(
        f"\n{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}\n" in index
        for path in (ROOT / "rrg_lib").rglob("__init__.py")
    )


def test_the_explorers_page_has_its_script_its_films_and_a_still_picture(tmp_path):
    (tmp_path / "generated").mkdir()
    page = site_explorer.write(tmp_path / "generated", tmp_path / "_static")
    script = (tmp_path / "_static" / "explorer-data.js").read_text(encoding="utf-8")
    assert script.startswith("window.EXPLORER={") and "</" not in script and "http" not in script
    data = json.loads(script.removeprefix("window.EXPLORER=").rstrip(";\n"))
    pictures = {path.name for path in (tmp_path / "_static" / "explorer").iterdir()}
    assert pictures == {f"{s['id']}-{view}.webp" for s in data["studies"] for view in ("frontal", "lateral")}
    begin = data["start"]
    names = {data["systems"][at]["preset"] for at in begin["systems"]}
    assert len(names) == 2 and begin["finding"] in data["studies"][begin["study"]]["findings"]
    assert "needs JavaScript" in page and "/generated/explorer.png" in page and ":alt: " in page
    assert all(system["experiment"] in page and system["weights"] in page for system in data["systems"])
    assert len(script) + sum(p.stat().st_size for p in (tmp_path / "_static" / "explorer").iterdir()) < 3 * 2**20


def test_an_explorers_file_of_other_studies_is_refused(tmp_path, monkeypatch):
    data = {**stored_explorer(), "studies": []}
    monkeypatch.setattr(site_explorer, "stored_explorer", lambda: data)
    with pytest.raises(SiteError, match=r"of other studies .*run: python tools/explorer\.py"):
        site_explorer.write(tmp_path, tmp_path / "_static")


def test_the_page_of_studies_has_every_plan_with_its_hash_and_what_shipped_results_say_of_it(tmp_path):
    """A study without results says that it was not run; one with results has its picture, its tables, each with how it
    was made, and no heading that would end the fold."""
    page = site_pages.studies_page(tmp_path)
    parts = dict(zip(known_plans(), page.split("\n## ")[0:], strict=True))
    for name, part in parts.items():
        plan, report = study_plan(name), study_report(study_plan(name), shipped_results())
        assert part.removeprefix("## ").startswith(plain(plan.title)) and plan.question_hash in part
        assert ("Not run" in part) == (not report.verdicts)
        assert (tmp_path / f"study_{name}.png").is_file() == bool(report.results)
        assert part.count(":::{table}") == part.count("rrg-made") - bool(report.results)
        assert "\n#" not in part
    assert any("study_where.png" in part for part in parts.values())
