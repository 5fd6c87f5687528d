"""What a spreadsheet would run is a text in the files that people open, and the same text again when it is read."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from rrg_lib.data.shards import Rejected, load_rejected, save_rejected
from rrg_lib.data.text.rule_labeler import ReportLabeler, save_observations
from rrg_lib.evaluation.score_reports import csv_text
from rrg_lib.experiments.pseudo_labels import read_labels
from rrg_lib.experiments.reports import load_reports, save_reports
from rrg_lib.runtime.spreadsheet import as_cell, of_cell

FORMULAS = ['=HYPERLINK("http://x")', "+1+2", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "- no effusion", "=", "-1.0.0"]
PLAIN = ["", "s1", "-1", "+0.5", "-1e-3", ".5", "1=1", "a@b", "'quoted'", "'", "CXR1_IM-0001", "the lungs are clear ."]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text(text):
    assert as_cell(text) == f"'{text}"
    assert of_cell(as_cell(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_numbers_stay_as_they_are(text):
    assert as_cell(text) == of_cell(text) == text


def test_every_file_for_people_holds_texts_and_is_read_back(tmp_path):
    reports = {name: f"{name} ." for name in FORMULAS if name.strip() == name} | {"s1": "=1 .", "s2": "clear ."}
    save_reports(tmp_path / "reports.csv", reports)
    assert dict(load_reports(tmp_path / "reports.csv")) == reports
    labeler = ReportLabeler()
    observed = {name: labeler.observations("large pleural effusion .") for name in reports}
    save_observations(tmp_path / "labels.csv", observed)
    assert [*read_labels(tmp_path / "labels.csv").labels] == [*reports]
    rejected = (Rejected("=a", "-b.png", "@c", True), Rejected("s", "a.png", "no such file", False))
    save_rejected(tmp_path / "rejected.csv", rejected)
    assert load_rejected(tmp_path / "rejected.csv") == rejected
    (tmp_path / "scores.csv").write_text(csv_text([["=a", -0.5, np.nan, 3, None]]))
    for path in tmp_path.glob("*.csv"):
        with open(path, encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if as_cell(cell) != cell], path.name
    assert (tmp_path / "scores.csv").read_text() == "'=a,-0.5,,3,\n"


def test_files_for_programs_may_be_as_they_are(tmp_path):
    save_reports(tmp_path / "reports.csv", {"=a": "=b"}, spreadsheet=False)
    assert (tmp_path / "reports.csv").read_text() == "id,report\n=a,=b\n"
