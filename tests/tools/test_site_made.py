"""Every number of the site can be followed: what a figure, a table or a row says of how it was made leads somewhere."""

from __future__ import annotations

import hashlib
import inspect
import re

import pytest
import site_chapters
import site_made
import site_pages
from places import ROOT
from site_made import Made
from site_text import SiteError, figure, table
from test_site import DRAW, PIXEL, SEE, chapter, code, text

from rrg_lib.book.figures.folder import ENTRIES, digest
from rrg_lib.experiments.results import stored_results

KEPT = [result for result in stored_results("laptop", "iu_phantom", "tuned") if result.is_preset]


def test_a_table_or_a_figure_that_does_not_say_how_it_was_made_is_not_written():
    for blank in ("", " \n"):
        with pytest.raises(SiteError, match="does not say how it was made"):
            table(["x"], [["1"]], "T", blank)
        with pytest.raises(SiteError, match="does not say how it was made"):
            figure("a.png", "a film", "words", blank)


def test_the_hash_is_of_the_files_and_the_one_of_the_folder_of_figures(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1")
    made = Made(("`a tool`",), ("*.csv",), "make it")
    before = made.fold("table", tmp_path)
    assert "- by `a tool`" in before and "`data/*.csv`" in before and "- made again by `make it`" in before
    site_made.digest.cache_clear()
    (tmp_path / "data" / "a.csv").write_text("2")
    assert made.fold("table", tmp_path) != before
    sources = ENTRIES["report_lengths"].sources
    assert site_made.digest(tuple(sources), ROOT / "data") == digest(sources, ROOT / "data")
    with pytest.raises(SiteError, match=r"nothing is called gone\.csv"):
        Made((), ("*.csv", "gone.csv")).fold("table", tmp_path)


@pytest.mark.parametrize(
    "made", [made for made in vars(site_pages).values() if isinstance(made, Made)], ids=lambda made: made.by[0]
)
def test_what_a_made_page_names_is_there(made):
    """Functions have a place in the library's pages, tools and files are in the repository."""
    for by in made.by:
        tool = re.fullmatch(r"`(tools/\w+\.py)`", by)
        assert (ROOT / tool[1]).is_file() if tool else site_made.linked(by).startswith("{py:obj}`"), by
    assert made.fold("table")


def test_every_row_of_results_names_its_runs_and_each_is_a_stored_file_with_its_hash():
    behind = site_pages.runs_by_row(KEPT)
    page = site_pages.all_results(KEPT)
    rows = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(behind) > 20 and all("rrg-made" in row for row in rows)
    by_name = {result.name: result for result in KEPT}
    named = re.findall(r"`data/results/([^`]+)\.json`, experiment `(\w+)`", page)
    assert len(named) == len(KEPT) and all((ROOT / "data" / "results" / f"{name}.json").is_file() for name, _ in named)
    assert all(by_name[name].experiment.hash == of for name, of in named)
    assert (
        "data/results/baselines-iu_phantom.json" in behind["a1: one real training report, chosen by validation BLEU-4"]
    )


def test_a_chapters_figure_names_its_cell_its_function_what_its_values_come_from_and_its_own_hash(tmp_path):
    given = code('PROFILE = "ci"  # how long', tags=["parameters"])
    reads = code("from rrg_lib.experiments.results import stored_results, twins")
    binds = code("R = stored_results()\nS = twins()\nD, I = R, 1")
    path = chapter(tmp_path, given, reads, binds, text(SEE), code(DRAW, 1))
    (fold,) = [c.source for c in site_chapters.page(path)[0].cells if "rrg-made" in c.source]
    assert "{py:obj}`slot_scores <rrg_lib.book.figures.memory_querying_responding.slot_scores>`" in fold
    assert "rrg_lib.experiments.results.stored_results" in fold and "twins" not in fold  # S is not in the figure
    assert "`In [1]` above, of `notebooks/04_tiny.py`" in fold and '`PROFILE = "ci"`' in fold
    assert hashlib.sha256(PIXEL.encode()).hexdigest()[:12] in fold and "make notebooks CHAPTERS=04" in fold


def test_what_has_no_place_in_the_pages_is_named_without_a_link():
    assert site_made.linked("rrg_lib.experiments.results._cells") == "`rrg_lib.experiments.results._cells`"
    assert site_made.linked("a sentence, [linked](x.md)") == "a sentence, [linked](x.md)"
    assert not site_made.is_documented("rrg_lib.experiments.results", "EXTRACTOR")


def test_every_maker_of_a_page_hands_its_tables_over_with_how_they_were_made():
    """Whoever writes a table of the site's made pages goes through `site_text.table`, which refuses one without."""
    source = inspect.getsource(site_pages)
    assert ":::{table}" not in source and ":::{figure}" not in source
    assert inspect.signature(table).parameters["made"].default is inspect.Parameter.empty
