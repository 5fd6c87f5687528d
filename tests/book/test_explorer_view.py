"""The explorer in a chapter is one frame with all that it needs in it."""

from __future__ import annotations

import html
import json
import re

import pytest

from rrg_lib.book.explorer import explored, explored_studies, stored_explorer
from rrg_lib.book.explorer_view import explorer_view, part, start, studies_of
from rrg_lib.errors import ConfigurationError
from rrg_lib.experiments.shipped_system import shipped_system


def page_of(view):
    """The frame's own page, as a browser reads the attribute that holds it."""
    (inside,) = re.findall(r"srcdoc='([^']*)'", view.data)
    return html.unescape(inside)


def data_of(page):
    return json.loads(re.search(r"window\.EXPLORER=(\{.*?\});\n", page)[1])


def test_the_frame_holds_its_script_its_films_and_the_named_systems_and_asks_nobody():
    page = page_of(explorer_view("mem", "cmn", studies=2))
    data = data_of(page)
    assert [s["preset"] for s in data["systems"]] == ["mem", "cmn"] and data["start"]["systems"] == [0, 1]
    assert len(data["studies"]) == 2 == len(data["films"]) and all(s["findings"] for s in data["studies"])
    assert all(film.startswith("data:image/webp;base64,") for pair in data["films"].values() for film in pair)
    assert "class Explorer" in page and ".explorer-panes {" in page
    addresses = [a for a in re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\"' ]*", page) if "www.w3.org" not in a]
    assert addresses == []


def test_each_system_keeps_the_reports_of_the_studies_that_are_shown():
    stored = stored_explorer()
    shown = part(stored, ["xpronet"], 3)
    whole = next(s for s in stored["systems"] if s["preset"] == "xpronet")
    for study, report in zip(shown["studies"], shown["systems"][0]["reports"], strict=True):
        assert report == whole["reports"][stored["studies"].index(study)]


def test_a_system_of_ones_own_can_be_shown():
    page = page_of(explorer_view(data=explored([shipped_system()], explored_studies()[:3])))
    (system,) = data_of(page)["systems"]
    assert system["reports"] and data_of(page)["start"]["systems"] == [0, 0]


def test_a_system_that_is_not_there_and_studies_that_the_grammar_does_not_sample_are_refused():
    with pytest.raises(ConfigurationError, match=r"st, nobody is not in the explorer, which has base, mem, cmn"):
        explorer_view("st", "cmn", "nobody")
    stored = stored_explorer()
    with pytest.raises(ConfigurationError, match=r"of other studies .*run: python tools/explorer\.py"):
        studies_of({**stored, "studies": [{**stored["studies"][0], "id": "other"}]})


def test_it_begins_where_both_systems_name_one_drawn_finding():
    stored = stored_explorer()
    begin = start(stored, ("mcsam", "base"))
    assert [stored["systems"][at]["preset"] for at in begin["systems"]] == ["mcsam", "base"]
    for at, word in zip(begin["systems"], begin["words"], strict=True):
        mentions = stored["systems"][at]["reports"][begin["study"]]["mentions"]
        assert any(m["finding"] == begin["finding"] and m["drawn"] and word in m["words"] for m in mentions)
