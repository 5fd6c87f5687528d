"""The ledger as tables and files: the main table comes from what is stored by one call, every printed table shows every
value, files are whole."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from made_results import seeds
from typer.testing import CliRunner

from rrg_lib.cli import app
from rrg_lib.errors import StorageError
from rrg_lib.experiments.results import stored_results
from rrg_lib.replication.ledger import ledger
from rrg_lib.replication.ledger_tables import (
    COLUMNS,
    frame_markdown,
    ledger_markdown,
    main_table,
    printed_table,
    printed_tables,
    shown,
    write_ledger,
)
from rrg_lib.replication.printed_conventions import convention_columns
from rrg_lib.replication.printed_values import published
from rrg_lib.replication.verdicts import Verdict


def test_the_main_table_is_the_stored_results_beside_what_is_printed():
    """One call from what is stored; every score of ours is the mean over the seeds that are stored, computed anew
    here."""
    results = stored_results()
    rows = ledger(results)
    main = main_table(rows, results)
    line = main.loc["R2GenCMN (ACL 2021)", "iu_xray", "CMN"]
    mine = [
        r.evaluation.scores["BLEU-4"]
        for r in results
        if r.experiment.name == "iu_phantom/cmn"
        and r.is_preset
        and [r.experiment.profile, r.protocol] == line["ours is of"].split(", ")[1:]
    ]
    assert (
        line["BLEU-4, printed"] == "0.170"
        and line["BLEU-4, ours"].startswith(f"{np.mean(mine):.3f} [")
        and line["seeds"] == str(len(mine))
    )
    assert main.equals(main_table(ledger(list(reversed(results))), results))  # in whatever order they are found
    a1 = next(row for result in results for row in result.evaluation.rows if row.name == "a1")
    assert (
        main.loc["no paper"]
        .filter(like="a1:", axis=0)["BLEU-4, ours"]
        .item()
        .startswith(f"{a1.parts['all'].scores['BLEU-4']:.3f}")
    )
    nothing = main_table(ledger([]))
    assert set(nothing["BLEU-4, ours"]) == {"–"} and list(nothing.index) == [
        key for key in main.index if key[0] != "no paper"
    ]


def test_every_printed_table_shows_every_value_and_ours():
    rows = ledger(seeds("cmn", 0.15, 0.16, 0.14))
    shown = [
        cell
        for paper, where in printed_tables(rows)
        for cell in printed_table(rows, paper, where).to_numpy().ravel()
        if cell
    ]
    assert len(shown) == 371
    table = printed_table(rows, "R2GenCMN (ACL 2021)", "Table 2", "iu_xray")
    assert (
        table.loc[("iu_xray", "CMN"), "BLEU-4"] == "0.170 | 0.150"
        and table.loc[("iu_xray", "BASE"), "BLEU-4"] == "0.135 | –"
    )
    assert table.loc[("iu_xray", "BASE"), "average gain over BASE, %"] == ""


def test_a_row_is_shown_with_three_decimals_and_the_file_has_its_numbers_whole(tmp_path):
    """Six comparisons in words; one mean in words and, unrounded, as numbers."""
    rows = ledger([*seeds("cmn", 0.15, 0.151, 0.149), *seeds("base", 0.12, 0.121, 0.119)])
    (row,) = (shown(row) for row in rows if row.id == "cmn-cmn-base-iu")
    assert row.ours.startswith("cmn > base, BLEU-1: 0.150 - 0.120 = +0.030; ") and row.ours.count("0.150 - 0.120") == 6
    assert (row.ours_on, row.seeds, row.wording) == ("iu_phantom, laptop, edition 0.1", "3, 3", "our reading")
    assert row.sd.startswith("0.001, 0.001; ") and row.interval.startswith("[0.140, 0.160], [0.110, 0.130]; ")
    assert row.protocol.startswith("r2gen ") and row.own_table.startswith("consistent with its own table: CMN > BASE: ")
    as_csv, _ = write_ledger(rows, tmp_path)
    with open(as_csv, encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    (line,) = (r for r in read if (r["where"], r["system"], r["metric"]) == ("Table 2", "CMN", "BLEU-4") and r["ours"]
               and r["paper"].startswith("R2GenCMN") and r["dataset"] == "iu_xray")  # fmt: skip
    ends = [float(line[name]) for name in ("printed", "our_value", "our_low", "our_high", "our_sd")]
    assert ends == pytest.approx([0.170, 0.15, 0.14, 0.16, 0.001]) and line["our_seeds"] == "3"
    assert (line["ours"], line["interval"]) == ("0.150", "[0.140, 0.160]")


def test_the_command_prints_the_main_table_of_what_is_stored(tmp_path):
    found = CliRunner().invoke(app, ["ledger", "--main", "--out", str(tmp_path)])
    lines = frame_markdown(main_table(ledger(stored_results()), stored_results()))
    assert found.exit_code == 0 and found.output.splitlines()[:-1] == lines
    assert "\n".join(lines) in (tmp_path / "ledger.md").read_text(encoding="utf-8")


def test_the_files_are_whole_and_the_same_each_time(tmp_path):
    rows = ledger(stored_results())
    as_csv, as_markdown = write_ledger(rows, tmp_path)
    before = as_csv.read_bytes(), as_markdown.read_bytes()
    with open(as_csv, encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == COLUMNS and [row["id"] for row in read] == [row.id for row in rows]
    text = as_markdown.read_text(encoding="utf-8")
    assert all(row.statement.replace("|", "\\|") in text and row.verdict in text for row in map(shown, rows))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = len({(value.paper, value.where) for value in published()})
    conventions = len(convention_columns()[1])
    expected = len(rows) + 2 + 2 * tables + len(Verdict) + 3 + conventions + 2
    assert all(line.endswith(" |") for line in lines) and len(lines) == expected
    assert write_ledger(ledger(stored_results()), tmp_path)
    assert (as_csv.read_bytes(), as_markdown.read_bytes()) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not write"):
        write_ledger(rows, tmp_path / "file")
    assert "\n\n\n" not in ledger_markdown(rows)


def test_the_command_writes_the_files_and_prints_the_counts(tmp_path):
    found = CliRunner().invoke(app, ["ledger", "--counts", "--out", str(tmp_path)])
    assert found.exit_code == 0, found.output
    assert "| contradicted by its own table" in found.output and "| all " in found.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.csv", "ledger.md"]
