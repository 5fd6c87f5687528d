"""A cell stays a cell whatever it says."""

from __future__ import annotations

from rrg_lib.runtime.markdown import markdown_table


def test_bars_and_line_breaks_stay_inside_their_cell():
    assert markdown_table(["a", "long name"], [["x | y", "1\n2"], ["", "–"]]) == [
        "| a      | long name |",
        "| ------ | --------- |",
        "| x \\| y | 1 2       |",
        "|        | –         |",
    ]


def test_a_table_without_rows_is_its_head():
    assert markdown_table(["a", "b"], []) == ["| a | b |", "| - | - |"]
