"""What was computed once is found again, and nothing else is taken for it."""

from __future__ import annotations

import json

import pytest

from rrg_lib.runtime import cache as module
from rrg_lib.runtime.cache import remembered


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "workspace", lambda: tmp_path)
    return tmp_path


def test_a_value_is_made_once(home):
    made = []
    make = lambda: made.append(1) or {"x": [1.5, None]}  # noqa: E731
    first, second = remembered("things", ["a", 1], make), remembered("things", ["a", 1], make)
    assert (first.value, first.cached, second.value, second.cached, len(made)) == (
        {"x": [1.5, None]},
        False,
        {"x": [1.5, None]},
        True,
        1,
    )
    assert second.seconds == first.seconds
    assert remembered("things", ["a", 2], make).cached is False and remembered("other", ["a", 1], make).cached is False


def test_a_damaged_or_foreign_file_is_made_again(home):
    remembered("things", "key", lambda: 1)
    (path,) = (home / "things").iterdir()
    good = path.read_text()
    for damage in (
        "",
        "{",
        "[]",
        "null",
        good.replace('"value"', '"volume"'),
        json.dumps({**json.loads(good), "key": "0" * 64}),
    ):
        path.write_text(damage)
        assert remembered("things", "key", lambda: 2).value == 2
        assert json.loads(path.read_text())["value"] == 2


def test_where_nothing_can_be_written_the_value_is_given_all_the_same(home):
    (home / "things").write_text("a file where the folder should be")
    assert remembered("things", "key", lambda: 3).value == 3
    assert not remembered("things", "key", lambda: 3).cached


def test_a_value_that_may_come_out_better_is_not_kept(home):
    assert remembered("things", "key", lambda: 4, keep=lambda value: value > 4).value == 4
    assert remembered("things", "key", lambda: 5, keep=lambda value: value > 4).cached is False
    assert remembered("things", "key", lambda: 6).value == 5
