"""`rrg score` and `rrg rexrank` as somebody with a file of reports calls them."""

from __future__ import annotations

import csv
import json
import sys

import pytest
from command_line import rrg

from rrg_lib.data.iu_xray import studies
from rrg_lib.data.text.cleaning import clean_r2gen

ROWS = [
    ("s1", "The heart is enlarged.", "The heart is enlarged. Left pleural effusion."),
    ("s2", "The lungs are clear, no effusion.", "The lungs are clear, without effusion."),
    ("s3", "The lungs are clear, no effusion.", "Patchy opacity at the right base."),
]
QUICK = ("--no-meteor", "--no-baselines")


def table(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def columns(*indices):
    return [tuple(row[i] for i in indices) for row in ROWS]


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))


def scores(path) -> dict:
    return json.loads(path.read_text())["systems"][0]["scores"]


def test_one_file_two_files_and_named_columns_give_the_same_scores(monkeypatch, capsys, tmp_path):
    ways = {
        "one": [table(tmp_path / "one.csv", ("study_id", "prediction", "reference"), ROWS)],
        "two": [
            table(tmp_path / "p.csv", ("id", "report"), reversed(columns(0, 1))),
            "--references",
            table(tmp_path / "r.csv", ("id", "report"), columns(0, 2)),
        ],
        "named": [
            table(tmp_path / "odd.csv", ("nr", "ours", "doctor"), ROWS),
            *("--id", "nr", "--prediction", "ours", "--reference", "doctor"),
        ],
    }
    found = {}
    for name, arguments in ways.items():
        code, out, err = rrg(monkeypatch, capsys, "score", *arguments, *QUICK, "--out", str(tmp_path / f"{name}.json"))
        assert (code, err) == (0, ""), name
        assert "3 studies" in out
        assert "cleaning of both sides: r2gen" in out
        found[name] = scores(tmp_path / f"{name}.json")
    assert found["one"] == found["named"] == pytest.approx(found["two"])
    assert 0 < found["one"]["BLEU-1"] < 1


def test_two_systems_get_a_paired_test_in_every_format(monkeypatch, capsys, tmp_path):
    ours = table(tmp_path / "ours.csv", ("id", "prediction", "reference"), ROWS)
    theirs = table(tmp_path / "theirs.csv", ("id", "prediction"), columns(0, 2))
    for suffix in ("md", "json", "csv"):
        out = tmp_path / f"out.{suffix}"
        code, said, err = rrg(monkeypatch, capsys, "score", ours, theirs, *QUICK, "--out", str(out))
        assert (code, err) == (0, "")
        assert "paired randomisation over studies" in said
        assert f"in {out}" in said
    pair = {row["score"]: row for row in json.loads((tmp_path / "out.json").read_text())["comparison"]}
    assert pair["ROUGE-L"]["b"] == 1
    assert pair["ROUGE-L"]["difference"] == pytest.approx(pair["ROUGE-L"]["a"] - 1)
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert ["ours - theirs", "ROUGE-L, p"] in [row[:2] for row in rows]
    assert "| ROUGE-L" in (tmp_path / "out.md").read_text()


def test_predictions_for_a_split_of_the_collection_need_no_references(monkeypatch, capsys, tmp_path):
    """By their numbers alone: the FINDINGS come with the library, and the reports are full marks of themselves."""
    rows = [(s.id.split("_")[0].removeprefix("CXR"), clean_r2gen(s.report)) for s in studies("val")]
    path = table(tmp_path / "val.csv", ("uid", "report"), rows)
    out = tmp_path / "out.json"
    code, said, _ = rrg(monkeypatch, capsys, "score", path, *QUICK, "--out", str(out))
    assert code == 0
    assert "296 studies: the val split of IU X-Ray" in said
    assert "has no references; they are the FINDINGS of the val split" in said
    assert scores(out)["BLEU-4"] == pytest.approx(1, abs=1e-6)
    less = table(tmp_path / "less.csv", ("uid", "report"), [(f"CXR{uid}", report) for uid, report in rows[:50]])
    code, _, err = rrg(monkeypatch, capsys, "score", less, *QUICK)
    assert code == 2
    assert "lacks 246 of the val split of IU X-Ray" in err
    assert "--common" in err
    code, said, _ = rrg(monkeypatch, capsys, "score", less, *QUICK, "--common")
    assert (code, "50 studies" in said) == (0, True)


def test_conventions_are_shown_for_one_file(monkeypatch, capsys, tmp_path):
    path = table(tmp_path / "one.csv", ("id", "prediction", "reference"), ROWS)
    for suffix in ("json", "csv"):
        out = tmp_path / f"out.{suffix}"
        code, said, _ = rrg(monkeypatch, capsys, "score", path, "--conventions", "--out", str(out))
        assert code == 0
        assert "under 196 conventions" in said
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["smallest"]["f1"] <= stored["largest"]["f1"]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 197
    code, _, err = rrg(monkeypatch, capsys, "score", path, path, "--conventions")
    assert (code, "--conventions takes one file" in err) == (2, True)


def test_metrics_of_radeval_are_listed_and_a_missing_package_is_one_message(monkeypatch, capsys, tmp_path):
    code, out, err = rrg(monkeypatch, capsys, "radeval")
    assert (code, err) == (0, "") and "| RadCliQ " in out and "Not taken:" in out
    monkeypatch.setitem(sys.modules, "radeval", None)
    ours = table(tmp_path / "ours.csv", ("id", "prediction", "reference"), ROWS)
    code, out, err = rrg(monkeypatch, capsys, "score", ours, *QUICK, "--radeval", "RadGraph F1")
    assert (code, out) == (2, "") and 'pip install "rrg-book[radeval]"' in err
    code, out, err = rrg(monkeypatch, capsys, "score", ours, *QUICK, "--radeval", "RadGraf")
    assert (code, out) == (2, "") and "RadGraph F1" in err


def test_a_rexrank_file_is_written_read_and_its_findings_scored(monkeypatch, capsys, tmp_path):
    rows = [(s.id, f"Findings: {s.report} Impression: Nothing acute.") for s in studies("val")]
    path = table(tmp_path / "ours.csv", ("id", "prediction"), rows)
    code, said, _ = rrg(monkeypatch, capsys, "rexrank", str(tmp_path / "rex"), "--reports", path, "--split", "val")
    assert (code, said.strip()) == (0, f"in {tmp_path / 'rex' / 'ours-val.json'}")
    written, out = str(tmp_path / "rex" / "ours-val.json"), tmp_path / "out.json"
    code, said, _ = rrg(monkeypatch, capsys, "score", written, *QUICK, "--out", str(out))
    assert code == 0
    assert "296 predictions are headed" in said
    assert scores(out)["ROUGE-L"] == pytest.approx(1)
    code, said, _ = rrg(monkeypatch, capsys, "score", written, *QUICK, "--reference", "report", "--out", str(out))
    assert code == 0
    assert 0.5 < scores(out)["ROUGE-L"] < 1  # the whole report, impression and all
    code, _, _ = rrg(monkeypatch, capsys, "rexrank", str(tmp_path / "rex"), "--only", "b", "--split", "val")
    assert code == 0
    stored = json.loads((tmp_path / "rex" / "b-val.json").read_text())
    assert (len(stored), len({entry["model_prediction"] for entry in stored.values()})) == (296, 1)


def test_the_leaderboards_older_form_is_read_too(monkeypatch, capsys, tmp_path):
    entry = {
        "findings": "The lungs are clear.",
        "impression": "Fine.",
        "model_prediction": "Findings:Clear.Impression:Fine.",
    }
    (tmp_path / "old.json").write_text(json.dumps({"5001": entry, "5002": {**entry, "findings": "Clear."}}))
    code, said, _ = rrg(monkeypatch, capsys, "score", str(tmp_path / "old.json"), *QUICK)
    assert code == 0
    assert "2 predictions are headed" in said
    assert "reference from 'findings'" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing.csv",), "nothing.csv: cannot be read"),
        (("ONE", "--out", "x.pdf"), "--out x.pdf: its suffix says no format"),
        (("ONE", "--out", "ONE"), "would replace"),
        (("ONE", "--cleaning", "clinical"), "unknown cleaning 'clinical'"),
        (("ONE", "--prediction", "predicton"), "unknown column of one.csv 'predicton'; nearest: prediction"),
        (("BARE",), "bare.csv: has no column of references, and its ids are not those of IU X-Ray"),
        (("BARE", "--references", "LESS"), "bare.csv lacks 1 of less.csv (study 's4')"),
        (("ONE", "OTHER"), "hold other references for 3 of 3 studies"),
        (("ONE", "--references", "EMPTY"), "every reference of empty.csv is empty"),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_2(monkeypatch, capsys, tmp_path, arguments, says):
    files = {
        "ONE": table(tmp_path / "one.csv", ("id", "prediction", "reference"), ROWS),
        "OTHER": table(tmp_path / "other.csv", ("id", "reference", "prediction"), ROWS),
        "BARE": table(tmp_path / "bare.csv", ("id", "prediction"), columns(0, 1)),
        "LESS": table(tmp_path / "less.csv", ("id", "reference"), [*columns(0, 2), ("s4", "Clear.")]),
        "EMPTY": table(tmp_path / "empty.csv", ("id", "reference"), [(i, "N/A") for i in ("s1", "s2", "s3")]),
    }
    monkeypatch.chdir(tmp_path)
    code, _, err = rrg(monkeypatch, capsys, "score", *(files.get(a, a) for a in arguments), *QUICK)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert err.count("\n") <= 2
