"""How to add a figure: one function that draws it, one entry that says what to see in it, and no edit anywhere else.

This file is such a figure of the folder `figures/`, whole, and what it gets for it: it is drawn by the command, with
its caption, its data and their hash. Figures of a chapter need no entry: the chapter calls the function, and the site
takes its caption from the chapter and its description from the docstring.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT

import figures as tool
from rrg_lib.book.figures import folder
from rrg_lib.book.figures.folder import ENTRIES, Entry, digest
from rrg_lib.book.figures.paper_figures import Drawn
from rrg_lib.book.figures.style import finish, new_figure

# --- the new function: rrg_lib/book/figures/… -------------------------------------------------------------------------


def seeds_of_each_system(results, where: Path | None) -> Drawn:
    """How many trainings of each system are stored: a bar a system."""
    names = [result.experiment.preset for result in results]
    figure, axes = new_figure(width=5, height=3)
    counted = {name: names.count(name) for name in sorted(set(names))}
    axes.barh(list(counted), list(counted.values()))
    axes.set(xlabel="trainings stored")
    return Drawn(finish(figure, where), "" if counted else "No result is stored; run: tools/results.py run base")


# --- the new entry: rrg_lib/book/figures/folder.py --------------------------------------------------------------------

NAME = "seeds_of_each_system"
CAPTION = "Which systems were trained more than once: a bar of one training has no spread to show."


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(ENTRIES, NAME, Entry(seeds_of_each_system, CAPTION, (folder.RESULTS,)))


# --- what it gets -----------------------------------------------------------------------------------------------------


def test_the_command_draws_it_and_writes_what_to_see_and_what_it_is_made_of(tmp_path):
    assert tool.main(["--only", NAME, "--out", str(tmp_path)]) == 0
    with Image.open(tmp_path / f"{NAME}.png") as image:
        assert image.format == "PNG" and image.width > image.height
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    section = tool.sections(readme)[NAME]
    assert CAPTION in section and f"test_figure_seam.{NAME}`" in section
    assert tool.recorded(readme) == {NAME: (["results/*.json"], digest(["results/*.json"], ROOT / "data"))}


def test_it_says_what_is_missing_when_nothing_is_stored():
    figure, missing = folder.ENTRIES[NAME].draw([], None)
    assert figure.axes and "run: tools/results.py run" in missing


@pytest.mark.parametrize(("colours", "kind"), [(20, "image/png"), (5000, "image/jpeg")])
def test_a_notebook_is_shown_lines_as_a_palette_and_films_as_a_photograph(colours, kind):
    """Both in fewer bytes than the picture has as it is drawn."""
    figure, axes = new_figure()
    shades = np.random.default_rng(0).integers(0, 256, (100, 100, 3)) // (256 if colours < 100 else 1)
    axes.imshow(shades.astype(np.uint8))
    ((shown, picture),) = figure._repr_mimebundle_().items()
    whole = BytesIO()
    figure.savefig(whole, format="png", dpi=figure.dpi)
    assert shown == kind and len(picture) < 0.7 * len(whole.getvalue())
    assert Image.open(BytesIO(picture)).size == Image.open(whole).size
