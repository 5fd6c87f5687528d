"""Reports as people hand them in: in another order, empty, in other alphabets, twice, too few, of another protocol.
Each is scored right or refused."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from rrg_lib import cli
from rrg_lib.data.iu_xray import studies
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, ReportError
from rrg_lib.evaluation.comparison import same_protocol
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.experiments.reports import load_reports

ALL = studies("test")
TEST = [*(s for s in ALL if s.is_abnormal), *(s for s in ALL if not s.is_abnormal)][202:242]  # twenty of each
VOCABULARY = Vocabulary.build(study.report for study in studies("train")[:300])
REPORTS = {
    study.id: VOCABULARY.protocol.reference(TEST[(i + 1) % len(TEST)].report, VOCABULARY)
    for i, study in enumerate(TEST)
}


def scored(reports):
    return evaluate_reports(reports, TEST, VOCABULARY, metrics=WITHOUT_JAVA, baselines=False, intervals=False)


def written(path, rows, encoding="utf-8", newline="\n"):
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator=newline).writerows([("id", "report"), *rows])
    return path


@pytest.fixture(scope="module")
def whole():
    return scored(REPORTS)


def test_a_file_in_another_order_scores_the_same(whole, tmp_path):
    """Also with the byte order mark and the line ends of a spreadsheet."""
    rows = list(REPORTS.items())[::-1]
    for path in (written(tmp_path / "a.csv", rows), written(tmp_path / "b.csv", rows, "utf-8-sig", "\r\n")):
        found = scored(load_reports(path))
        assert json.dumps(found.to_json()) == json.dumps(whole.to_json())


def test_an_empty_report_costs_its_own_study_and_no_other(whole, tmp_path):
    first = TEST[0].id
    found = scored(load_reports(written(tmp_path / "a.csv", (REPORTS | {first: ""}).items())))
    part, before = found.rows[0].parts["all"], whole.rows[0].parts["all"]
    lost = len(REPORTS[first].split())
    assert part.length == pytest.approx(before.length - lost / len(TEST))
    assert all(0 <= part.scores[metric] <= before.scores[metric] for metric in ("BLEU-1", "ROUGE-L"))
    nothing = scored(dict.fromkeys(REPORTS, "")).rows[0]
    assert (
        nothing.parts["all"].scores["BLEU-4"] == pytest.approx(0, abs=1e-12)
        and nothing.parts["all"].scores["finding-F1"] == 0
    )
    silent = nothing.efficacy["CheXpert-14, uncertain is negative, against codes"]
    assert silent["micro f1"] == 0, "an empty report does not say that there is no finding"


def test_other_alphabets_are_words_like_others(whole, tmp_path):
    """They match nothing and harm no other study; typographic quotes and full-width letters reach the labeler as plain
    ones."""
    first, second = TEST[0].id, TEST[1].id
    odd = REPORTS | {first: "сердце не увеличено · 心臓 ♥ \x00 é", second: "ｃａｒｄｉｏｍｅｇａｌｙ ．"}
    path = written(tmp_path / "a.csv", odd.items())
    assert dict(load_reports(path)) == odd
    found = scored(load_reports(path)).rows[0]
    assert all(np.isfinite(value) for value in found.parts["all"].scores.values())
    plain = scored(odd | {first: "zebra .", second: "cardiomegaly ."}).rows[0]
    assert json.dumps(found.efficacy) == json.dumps(plain.efficacy)


def test_missing_and_doubled_rows_of_a_file_are_named(tmp_path):
    (first, _), *others = rows = list(REPORTS.items())
    with pytest.raises(ReportError, match=f"1 missing .study '{first}'"):
        scored(load_reports(written(tmp_path / "few.csv", others)))
    with pytest.raises(ReportError, match=f"study '{first}': more than one hypothesis"):
        scored(load_reports(written(tmp_path / "twice.csv", [*rows, rows[0]])))
    with pytest.raises(ReportError, match=r"1 not among the studies \(study 'CXR0'\)"):
        scored(load_reports(written(tmp_path / "more.csv", [*rows, ("CXR0", "clear .")])))


def test_references_of_another_protocol_have_another_hash(whole):
    """The same reports against references that were cleaned or cut otherwise are another measurement, and say so."""
    protocol = replace(VOCABULARY.protocol, name="shorter", max_length=20)
    other = replace(VOCABULARY, protocol=protocol)
    found = evaluate_reports(REPORTS, TEST, other, metrics=["BLEU-1"], baselines=False, intervals=False)
    assert found.provenance["protocol"]["hash"] != whole.provenance["protocol"]["hash"]
    assert found.provenance["vocabulary"] != whole.provenance["vocabulary"]
    assert found.scores["BLEU-1"] != whole.scores["BLEU-1"]


def test_reports_written_under_another_protocol_are_not_compared(tmp_path, monkeypatch, capsys):
    folders = [tmp_path / name for name in ("one", "other")]
    for folder, vocabulary in zip(folders, ("aaaa", "bbbb"), strict=True):
        folder.mkdir()
        (folder / "experiment.json").write_text(json.dumps({"identity": {"vocabulary": vocabulary, "dataset": "d"}}))
    same_protocol(folders[:1], vocabulary="aaaa", dataset="d")
    with pytest.raises(
        ConfigurationError,
        match=r"other was trained with another vocabulary or protocol: it says 'bbbb', the dataset here has 'aaaa'",
    ):
        same_protocol(folders, vocabulary="aaaa", dataset="d")
    with pytest.raises(
        ConfigurationError, match=r"one was trained with another dataset: it says 'd', the dataset here has 'e'"
    ):
        same_protocol(folders[:1], vocabulary="aaaa", dataset="e")
    (folders[0] / "experiment.json").unlink()
    with pytest.raises(ConfigurationError, match="one is no run folder"):
        same_protocol(folders[:1], vocabulary="aaaa", dataset="d")


def test_a_file_that_is_no_table_is_one_message(tmp_path, monkeypatch, capsys):
    path = tmp_path / "reports.csv"
    path.write_bytes(b"\xff\xfe\x00 not text")
    monkeypatch.setattr(sys, "argv", ["rrg", "efficacy", str(path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "reports.csv: is not UTF-8 text" in capsys.readouterr().err
