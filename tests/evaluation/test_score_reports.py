"""Anybody's reports, read as they come and scored: what is the same whatever the file, what is told, refused."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from rrg_lib.data.iu_xray import impressions, studies
from rrg_lib.data.text.cleaning import clean_r2gen
from rrg_lib.errors import ConfigurationError, JavaError, ReportError, RRGError, UnknownNameError
from rrg_lib.evaluation import score_reports as module
from rrg_lib.evaluation.conventions import CHOICES, Convention, ConventionTable, convention_table
from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA, nlg_scores
from rrg_lib.evaluation.report_files import ReportPairs, joined, read_reports
from rrg_lib.evaluation.report_signs import signs
from rrg_lib.evaluation.rexrank import (
    as_mapping,
    baseline_sets,
    collection_ids,
    context,
    entries,
    findings_part,
    split_of,
    write_rexrank,
)
from rrg_lib.evaluation.score_reports import cleaner, out_format, score_reports, write_result

#: Made-up studies: id, prediction, reference.
MADE = [
    (
        "s1",
        "The heart is enlarged, and there is a small left effusion.",
        "The heart is enlarged. Left pleural effusion.",
    ),
    ("s2", "The lungs are clear. No effusion.", "The lungs are clear, without effusion or pneumothorax."),
    ("s3", "There is a fracture of a rib.", "Patchy opacity at the right base. Heart size is normal."),
    ("s4", "The lungs are clear. No effusion.", "Heart and lungs are normal."),
]


def pairs(made=MADE, **given) -> ReportPairs:
    ids, predictions, references = zip(*made, strict=True)
    return ReportPairs(ids, predictions, references, **{"notes": (), "warnings": (), **given})


def scored(given=None, **options):
    return score_reports(given or pairs(), **{"metrics": WITHOUT_JAVA, **options})


def written(folder, name: str, text: str | bytes):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- files ------------------------------------------------------------------------------------------------------------


def as_csv(rows=MADE, header=("study_id", "prediction", "reference")) -> str:
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in (header, *rows)) + "\n"


def shapes(folder):
    objects = [dict(zip(("image_id", "caption", "gt"), row, strict=True)) for row in MADE]
    yield written(folder, "a.csv", as_csv())
    yield written(folder, "A.CSV", "\ufeff" + as_csv().replace("\n", "\r\n"))
    yield written(folder, "b.tsv", "\n".join("\t".join(row) for row in (("id", "hyp", "ref"), *MADE)))
    yield written(folder, "c.json", json.dumps(objects))
    yield written(folder, "d.jsonl", "\n".join(map(json.dumps, objects)))
    yield written(folder, "e.json", json.dumps({i: {"model_prediction": p, "section_findings": r} for i, p, r in MADE}))
    columns = dict(zip(("uid", "generated_report", "report"), map(list, zip(*MADE, strict=True)), strict=True))
    yield written(folder, "f.json", json.dumps(columns))
    yield written(folder, "g.json", json.dumps({k: dict(enumerate(v)) for k, v in columns.items()}))
    yield written(folder, "h.json", json.dumps({"test": objects, "train": [{"image_id": "x", "caption": "y"}]}))
    yield written(folder, "i.json", "\n".join(map(json.dumps, objects)))
    yield written(folder, "k.json", json.dumps({"images": [{"id": 1, "file_name": "x"}], "annotations": objects}))
    pyarrow.parquet.write_table(pyarrow.table({**columns, "image": [b"png"] * 4}), folder / "j.parquet")
    yield folder / "j.parquet"


def test_the_same_reports_come_out_of_every_format(tmp_path):
    for path in shapes(tmp_path):
        found = read_reports(path)
        assert found.predictions == {i: p for i, p, _ in MADE}, path.name
        assert found.references == {i: r for i, _, r in MADE}, path.name
        assert f"{path.name}: 4 rows, id from " in found.notes[0]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.csv",
            "id,prediction,reference\ns1,clear, no effusion,clear\n",
            r"a.csv, line 2: has 4 cells.*Expected 3.*quotes",
        ),
        ("a.csv", "id,prediction,reference\ns1,clear\n", r"line 2: has 2 cells. Expected 3.*a cell is missing"),
        ("a.csv", 'id,prediction,reference\ns1,"clear,ok\ns2,clear,ok\n', r"line 2: a quote is opened and not closed"),
        ("a.csv", 'id,prediction,reference\ns1,"a,b\ns2,"c",d\n', r"line 2: a quote is opened"),
        (
            "a.csv",
            "id,prediction,reference\ns1,a,b\ns1,c,d\n",
            r"1 id stands there more than once, first 's1' \(line 2, line 3\)",
        ),
        ("a.csv", "id,prediction,reference\n,a,b\n", r"line 2: the id \('id'\) is the str ''"),
        ("a.csv", "id,prediction,reference\nnan,a,b\n", r"line 2: the id \('id'\) is the str 'nan'"),
        ("a.csv", "id,prediction,prediction\ns1,a,b\n", r"column 'prediction' stands there twice"),
        ("a.csv", "id,hyp,pred,ref\ns1,a,b,c\n", r"'pred' and 'hyp' could each be the predictions.*--prediction"),
        ("a.csv", "prediction\n", r"has no row of reports"),
        ("a.csv", "the lungs are clear and fine\nok\n", r"Its first line seems to be a report: a file needs a line of"),
        ("a.csv", "id,ground_truth\ns1,clear\n", r"If it is a file of references, give it with --references"),
        ("a.csv", "study\nclear lungs\n", r"has 'study'. It has one column only. Expected a column of predictions"),
        (
            "a.csv",
            "id,prediction\ns1,0.5\ns2,7\n",
            r"none of the predictions \('prediction'\) has a letter, the first is '0.5' \(line 2\)",
        ),
        ("a.csv", b"id,prediction\ns1,clear\ns2,caf\xe9\n", r"line 3: byte 0xe9 is not UTF-8.*save it as UTF-8"),
        ("a.csv", "id,prediction\ns1,a\n".encode("utf-16"), r"encoded in UTF-16"),
        ("a.csv", b"id,prediction\ns1,a\0b\n", r"line 2: holds a zero byte"),
        (
            "a.csv",
            b"PK\x03\x04rest",
            r"its suffix is .csv, but it is a ZIP archive or an Excel workbook; save the sheet",
        ),
        ("a.csv", b"PAR1rest", r"is a Parquet file; rename it to .parquet"),
        ("a.csv", b"\x80\x04\x95pickled", r"a Python pickle; pickles run code"),
        ("a.pkl", b"\x80\x04\x95pickled", r"a.pkl: files that can run code .* are not read"),
        ("a.csv", '[{"id": "a"}]', r"holds JSON; rename it"),
        ("a.csv", "<!DOCTYPE html><p>log in", r"is a web page or XML"),
        ("a.csv", "  \n", r"is empty"),
        ("a.txt", "id,prediction\n", r"its suffix says no format.*\.csv"),
        ("a.parquet", b"PAR1 and nothing", r"is no Parquet file that can be read"),
        ("a.parquet", b"id,prediction\ns1,a\n", r"is no Parquet file"),
        ("a.json", "[{]", r"a.json, line 1: is not JSON"),
        ("a.json", "[" * 100_000, r"nested too deep"),
        ("a.json", "7", r"holds one int. Expected a list of objects"),
        ("a.json", '["clear lungs"]', r"entry 1: is the str 'clear lungs'. Expected a list of objects"),
        ("a.json", '{"s1": "a", "s1": "b"}', r"study 's1' stand there more than once"),
        (
            "a.json",
            '[{"id": "a", "prediction": 5}]',
            r"entry 1: the prediction \('prediction'\) is the int '5'. Expected",
        ),
        ("a.json", '[{"id": "a", "prediction": [1, 2]}]', r"entry 1: the prediction .* is a list"),
        ("a.json", '[{"id": "a", "prediction": ["b", "c"]}]', r"entry 1: has 2 predictions"),
        ("a.json", '[{"id": null, "prediction": "b"}]', r"entry 1: the id \('id'\) is missing"),
        ("a.json", '[{"id": "a", "prediction": "b\\ud800"}]', r"entry 1: the prediction holds half a character"),
        ("a.json", '{"a": [{"id": 1}], "b": [{"id": 2}]}', r"has the tables a, b. Expected one"),
        ("a.jsonl", '{"id": "a", "prediction": "b"}\n{"id"', r"a.jsonl, line 2: is not JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error_that_says_where_and_what_to_do(tmp_path, name, text, says):
    path = written(tmp_path, name, text)
    with pytest.raises(ReportError, match=f"(?s){says}") as raised:
        read_reports(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_a_folder_and_a_column_that_is_not_there_are_named(tmp_path):
    with pytest.raises(ReportError, match=r"none.csv: cannot be read .No such file"):
        read_reports(tmp_path / "none.csv")
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(ReportError, match=r"x.csv: is a folder"):
        read_reports(tmp_path / "x.csv")
    with pytest.raises(UnknownNameError, match=r"unknown column of a.csv 'predicton'; nearest: prediction"):
        read_reports(written(tmp_path, "a.csv", as_csv()), prediction="predicton")


def test_a_plain_report_is_whose_the_file_is_said_to_hold(tmp_path):
    path = written(tmp_path, "a.csv", "id,report\ns1,clear\n")
    assert read_reports(path).predictions == read_reports(path, holds="references").references == {"s1": "clear"}
    beside = written(tmp_path, "b.csv", "id,report,pred\ns1,clear,hazy\n")
    assert (read_reports(beside).predictions, read_reports(beside).references) == ({"s1": "hazy"}, {"s1": "clear"})
    named = read_reports(beside, prediction="report", reference="pred")
    assert (named.predictions, named.references) == ({"s1": "clear"}, {"s1": "hazy"})


def test_what_tables_write_for_nothing_is_no_report(tmp_path):
    rows = "\n".join(f"s{i},{said},clear" for i, said in enumerate(("nan", "None", "N/A", "", "NULL", "clear", "5")))
    found = read_reports(written(tmp_path, "a.csv", "id,prediction,reference\n" + rows))
    assert list(found.predictions.values()) == ["", "", "", "", "", "clear", "5"]
    assert found.notes[1] == "a.csv: 1 predictions hold no letter, first '5' (line 8); look whether they are reports"
    found = read_reports(written(tmp_path, "b.json", '[{"id": 1.0, "pred": NaN}, {"id": 2, "pred": "clear"}]'))
    assert found.predictions == {"1": "", "2": "clear"}


def test_ids_that_differ_are_refused_or_told():
    predictions, references = {"a": "x", "b": "y", "z": "u"}, {"a": "x", "b": "y", "c": "w"}
    with pytest.raises(
        ReportError, match=r"lack 1 of the references .study 'c'.* lack 1 of the predictions .study 'z'.*--common"
    ):
        joined(predictions, references)
    found = joined(predictions, references, common=True)
    assert found.ids == ("a", "b")
    assert "only the 2 studies that both have are scored" in found.warnings[0]
    with pytest.raises(
        ReportError, match=r"no id of the predictions is one of the references: study 'q' there, study 'a' here"
    ):
        joined({"q": "x"}, {"a": "x"}, common=True)


def test_empty_references_are_left_out_and_empty_predictions_counted():
    found = joined({"a": "", "b": "clear", "c": "clear"}, {"a": "clear", "b": " ", "c": "hazy"})
    assert (found.ids, found.predictions) == (("a", "c"), ("", "clear"))
    assert [w.split(" (")[0] for w in found.warnings] == [
        "1 references are empty or say that there is none",
        "1 predictions are empty",
    ]
    with pytest.raises(ReportError, match=r"every reference of the references is empty"):
        joined({"a": "x"}, {"a": ""})


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_cleaned_reports_with_their_intervals():
    found = scored()
    own = nlg_scores(
        {i: clean_r2gen(r) for i, _, r in MADE}, {i: clean_r2gen(p) for i, p, _ in MADE}, metrics=WITHOUT_JAVA
    )
    system = found.systems[0]
    assert {m: system.scores[m] for m in WITHOUT_JAVA} == pytest.approx(own.corpus, abs=1e-12)
    for score, (low, high) in system.intervals.items():
        assert low <= high
        if score in ("ROUGE-L", "CIDEr"):
            assert low <= system.scores[score] <= high
    words = [clean_r2gen(p).split() for _, p, _ in MADE]
    references = [clean_r2gen(r).split() for _, _, r in MADE]
    assert system.shape == pytest.approx(
        {
            "distinct reports": 3,
            "share of the commonest report": 0.5,
            "vocabulary": len({w for report in words for w in report}),
            "words a report": sum(map(len, words)) / 4,
            "length ratio": sum(map(len, words)) / sum(map(len, references)),
            "empty reports": 0,
        }
    )


def test_findings_by_hand():
    """References: cardiomegaly and effusion (s1), opacity (s3). Predictions: both of s1 and a fracture."""
    found = scored().systems[0].findings["CheXpert-13, negative"]
    assert found["support"] == 3
    assert (found["micro precision"], found["micro recall"]) == pytest.approx((2 / 3, 2 / 3))
    assert found["macro f1"] == pytest.approx(2 / 3)  # 1, 1 and 0, of the three labels that a reference has


def test_the_references_themselves_score_full_marks_however_they_are_written():
    """With capitals and commas kept they scored BLEU-4 .345 where only one side was cleaned."""
    made = [(s.id, s.report, s.report) for s in studies("val")[:40]]
    assert scored(pairs(made)).systems[0].scores["BLEU-4"] == pytest.approx(1, abs=1e-6)
    lower = [(i, clean_r2gen(p), r) for i, p, r in made]
    assert scored(pairs(lower)).systems[0].scores["CIDEr"] == pytest.approx(10, abs=1e-6)
    uncleaned = scored(pairs([(i, p, clean_r2gen(r)) for i, p, r in made]), cleaning="none")
    assert uncleaned.systems[0].scores["BLEU-4"] < 0.5
    assert any("the predictions are uncleaned" in w and "--cleaning r2gen" in w for w in uncleaned.warnings)


def test_the_result_says_which_cleaning_both_sides_went_through():
    said = scored().markdown()
    assert "cleaning of both sides: r2gen, the released cleaning for IU X-Ray" in said
    assert "it changed 4 predictions and 4 references" in said
    assert "cleaning of both sides: none: words as given" not in said
    assert scored(cleaning="none").provenance["cleaning"] == {
        "name": "none",
        "does": module.CLEANINGS["none"],
        "predictions": 0,
        "references": 0,
    }
    assert cleaner("r2gen")(" . ") == cleaner("none")("...") == ""
    with pytest.raises(UnknownNameError, match=r"unknown cleaning 'r2gn'; nearest: r2gen"):
        cleaner("r2gn")


def test_cider_of_references_that_are_all_alike_is_not_defined_rather_than_0():
    one = pairs([("s", "The heart is normal.", "The heart is normal.")])
    found = scored(one)
    assert "CIDEr" not in found.systems[0].scores
    assert "every reference is the same text" in found.not_computed["CIDEr"]
    assert found.systems[0].scores["ROUGE-L"] == 1
    assert "CIDEr not computed" in found.markdown()


def test_without_java_the_rest_is_scored_and_the_reason_said(monkeypatch):
    def none():
        raise JavaError("METEOR needs Java and none works here")

    monkeypatch.setattr(module, "require_java", none)
    found = scored(metrics=METRICS)
    assert "METEOR" not in found.systems[0].scores
    assert found.systems[0].scores["BLEU-4"] > 0
    assert "- METEOR not computed: METEOR needs Java and none works here" in found.markdown()


def test_two_systems_are_paired_study_by_study():
    perfect = pairs([(i, r, r) for i, _, r in MADE * 1])
    found = scored(other=perfect, names=("ours", "theirs"))
    by_score = {c.score: c for c in found.comparison}
    a, b = (system.scores["ROUGE-L"] for system in found.systems)
    assert by_score["ROUGE-L"].test.difference == pytest.approx(a - b)
    assert b == 1
    assert by_score["ROUGE-L"].test.p == pytest.approx(2 / 16, abs=0.02)  # of 16 exchanges, all and none
    same = scored(other=pairs(), names=("ours", "again"))
    assert all(c.test.difference == 0 and c.test.p == 1 for c in same.comparison)
    with pytest.raises(ReportError, match=r"same studies and references"):
        scored(other=pairs(MADE[:2]))


def test_the_blind_baselines_stand_beside_a_split_of_the_collection_alone():
    assert [s.name for s in scored().systems] == ["predictions"]
    made = [(s.id, "The lungs are clear.", s.report) for s in studies("val")]
    found = scored(pairs(made), metrics=["BLEU-4"])
    assert [s.name for s in found.systems] == ["predictions", "a1", "b", "c"]
    assert "296 studies: the val split of IU X-Ray" in found.markdown()
    assert found.systems[1].shape["distinct reports"] == 1
    assert found.systems[1].scores["BLEU-4"] > found.systems[0].scores["BLEU-4"]
    assert found.systems[3].sets == 5
    raw = scored(pairs(made), metrics=["BLEU-4"], cleaning="none")
    assert len(raw.systems) == 1
    assert any("no baselines" in note for note in raw.notes)


def test_references_of_the_collection_that_are_not_its_findings_are_told():
    concluded = impressions()
    both = [(s.id, "The lungs are clear.", f"{s.report} {concluded[s.id]}") for s in studies("val")]
    quick = {"metrics": ["BLEU-1"], "baselines": False}
    assert any("FINDINGS of IU X-Ray and its IMPRESSION in one" in w for w in scored(pairs(both), **quick).warnings)
    cut = [(i, p, " ".join(r.split()[:20])) for i, p, r in both]
    assert any(
        re.search(r"2\d\d of 296 references are not the FINDINGS", w) for w in scored(pairs(cut), **quick).warnings
    )
    own = [(s.id, "The heart is large.", clean_r2gen(s.report)) for s in studies("val")]
    assert not any("of IU X-Ray" in w for w in scored(pairs(own), **quick).warnings)


def test_results_are_written_whole_in_the_format_of_the_suffix(tmp_path):
    found = scored(names=("=cmd",))
    parts = {"markdown": found.markdown(), "json": found.to_json(), "csv": found.csv()}
    for name in ("a.md", "a.json", "a.CSV"):
        write_result(tmp_path / name, **parts)
    assert (tmp_path / "a.md").read_text() == found.markdown()
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["systems"][0]["scores"] == found.systems[0].scores
    rows = [line.split(",") for line in (tmp_path / "a.CSV").read_text().splitlines()]
    assert rows[0] == ["system", "score", "value", "low", "high"]
    assert rows[1][:2] == ["'=cmd", "BLEU-1"]  # no spreadsheet takes a name for a formula
    assert float(rows[1][2]) == found.systems[0].scores["BLEU-1"]
    with pytest.raises(ConfigurationError, match=r"its suffix says no format. Expected one of .md, .json, .csv"):
        out_format(tmp_path / "a.xlsx")
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(RRGError, match=r"folder.md"):
        write_result(tmp_path / "folder.md", **parts)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.CSV", "a.json", "a.md", "folder.md"]


# --- signs ------------------------------------------------------------------------------------------------------------

_FINE = [f"the heart is normal . there is a nodule of {n} mm ." for n in range(20)]


def told(predictions, references=_FINE) -> str:
    return "\n".join(signs(predictions, references, cleaner("r2gen")))


def test_sound_reports_are_warned_of_nothing():
    other = [f"the heart is enlarged . there is a nodule of {n} mm ." for n in range(20)]
    assert told(other) == ""


def test_cut_reports_are_told_by_their_common_length():
    long = [f"{r} the lungs are clear without effusion of any kind at {n} mm" for n, r in enumerate(_FINE)]
    cut = [" ".join(r.split()[:15]) if n % 2 else f"the heart is large {n} ." for n, r in enumerate(long)]
    assert "10 of 20 predictions end without a full stop at 15 words: they look cut there" in told(cut)
    letters = [r[:44] for r in long]
    assert "20 of 20 predictions end without a full stop at 44 letters" in told(letters)
    varied = [r[: 30 + 3 * n].rstrip(". ") if n % 3 else r for n, r in enumerate(long)]
    assert "end without a full stop (0% of the references): they may be cut" in told(varied)
    assert "full stop" not in told(varied, [r.rstrip(" .") for r in _FINE])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: f"<s> {r} </s> <pad> <pad>", "20 of 20 predictions hold padding and end marks.*</s> in 20"),
        (
            lambda r: r.replace("nodule", "<unk>"),
            "20 of 20 predictions hold a mark for words that the system does not know",
        ),
        (lambda r: r.replace("normal", "nor ##mal"), "20 of 20 predictions hold marks of word pieces"),
        (lambda r: r.replace(" ", " \u2581"), "20 of 20 predictions hold marks of word pieces"),
        (lambda r: r.replace("heart", "heart<br>"), "20 of 20 predictions hold HTML or Markdown"),
        (lambda r: " ".join("q" + w for w in r.split()), "% of the predicted words stand in no reference"),
        (lambda r: "normal .", "the predictions have 0.15 times the words"),
        (lambda r: r, "20 of 20 predictions are word for word their reference"),
        (
            lambda r: f"Findings: {r} Impression: normal .",
            "100% of the predictions have an IMPRESSION and 0% of the references",
        ),
    ],
)
def test_each_sign_is_counted_and_told(change, says):
    assert re.search(says, told([change(r) for r in _FINE]))


def test_references_of_two_sections_and_predictions_of_one_are_told():
    whole = [f"Findings: {r} Impression: no acute disease." for r in _FINE]
    assert "references of findings and impression, predictions of findings alone" in told(_FINE, whole)


def test_hyphens_set_apart_are_told_where_the_references_have_them_in_one():
    references = [f"a right-sided nodule of {n} mm ." for n in range(20)]
    assert "20 of 20 predictions set punctuation" in told([r.replace("-", " - ") for r in references], references)
    assert "set punctuation" not in told([r.replace("of", "with") for r in references], references)


# --- conventions ------------------------------------------------------------------------------------------------------


def test_the_conventions_of_two_reports_by_hand():
    """s1: cardiomegaly, found; s2: a doubted effusion, said to be there; s3: nothing on either side."""
    references = ["The heart is enlarged.", "There may be a pleural effusion.", "The lungs are clear."]
    predictions = ["The heart is enlarged.", "There is a pleural effusion.", "The lungs are clear."]
    f1 = convention_table(predictions, references).f1
    of = lambda *rest: f1[Convention("rules-1", *rest)]  # noqa: E731
    assert of("positive", "micro", "CheXpert-5", "–") == 1
    assert of("negative", "micro", "CheXpert-5", "–") == pytest.approx(2 / 3)  # one hit, one false
    assert of("ignored", "micro", "CheXpert-5", "–") == 1
    assert of("negative", "macro", "CheXpert-5", "left out") == 1
    assert of("negative", "macro", "CheXpert-5", "counts 0") == pytest.approx(1 / 5)
    assert of("negative", "macro", "CheXpert-5", "counts 1") == pytest.approx(4 / 5)
    assert of("negative", "example", "CheXpert-5", "left out") == 1
    assert of("negative", "example", "CheXpert-5", "counts 0") == pytest.approx(1 / 3)
    assert of("negative", "example", "CheXpert-5", "counts 1") == pytest.approx(2 / 3)
    # "No Finding" of the 14: a doubt is none of it, so of the references s3 alone has it, and so has the prediction
    assert of("positive", "micro", "CheXpert-14", "–") == 1
    assert of("negative", "micro", "CheXpert-14", "–") == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_conventions_agree_with_the_scores_that_share_them():
    table = convention_table(*zip(*[(p, r) for _, p, r in MADE], strict=True))
    findings = scored().systems[0].findings
    for name in ("CheXpert-14", "CheXpert-13", "drawn-13"):
        for uncertain in ("negative", "positive"):
            own = findings[f"{name}, {uncertain}"]
            assert table.f1[Convention("rules-2", uncertain, "micro", name, "–")] == pytest.approx(own["micro f1"])
            assert table.f1[Convention("rules-2", uncertain, "macro", name, "left out")] == pytest.approx(
                own["macro f1"]
            )


def test_the_spread_names_its_ends_and_what_moves_it():
    table = convention_table(*zip(*[(p, r) for _, p, r in MADE], strict=True))
    assert len(table.f1) == 4 * (3 + 3 + 1) * 7  # label sets, labelers and doubts, averages and empty rows
    values = [v for v in table.f1.values() if not math.isnan(v)]
    assert (table.smallest[1], table.largest[1]) == (min(values), max(values))
    moved = table.moved_by()
    assert tuple(moved) == CHOICES
    assert moved["label_set"] > 0
    assert max(moved.values()) <= max(values) - min(values) + 1e-12
    said = table.markdown("ours")
    assert f"{min(values):.3f} to {max(values):.3f}" in said
    assert f"smallest {min(values):.3f}: {table.smallest[0]}" in said
    assert len(table.to_json()["conventions"]) == len(table.table()) == 196
    whole = table.table(whole=True).set_index([*CHOICES])["f1"]
    assert len(whole) == 3 * 3 * 3 * 4 * 3 and whole.index.is_unique  # every combination of choices, once
    of_keywords = table.f1[Convention("keywords-0", "–", "micro", "drawn-13", "–")]
    assert set(whole["keywords-0", :, "micro", "drawn-13", :]) == {of_keywords}


def test_what_moves_it_is_the_largest_difference_by_one_choice_alone():
    """Two conventions that differ in the label set, and two in the average: .1 and .4, though .5 lies between ends."""
    f1 = {
        Convention("rules-1", "negative", "micro", "CheXpert-5", "–"): 0.1,
        Convention("rules-1", "negative", "micro", "CheXpert-13", "–"): 0.2,
        Convention("rules-1", "negative", "macro", "CheXpert-13", "counts 1"): 0.6,
    }
    moved = ConventionTable(f1, 3, {}).moved_by()
    assert moved == pytest.approx({"labeler": 0, "uncertain": 0, "average": 0.4, "label_set": 0.1, "empty_rows": 0})
    with pytest.raises(ReportError, match=r"at least one, not 0 and 0"):
        convention_table([], [])


# --- ReXrank ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "n"), [("test", 590), ("val", 296)])
def test_a_rexrank_file_holds_every_study_of_its_split_and_reads_back(tmp_path, split, n):
    reports = {s.id: f"the lungs are clear {k} ." for k, s in enumerate(studies(split))}
    write_rexrank(tmp_path / "ours.json", reports, split)
    stored = json.loads((tmp_path / "ours.json").read_text())
    assert len(stored) == n
    assert {entry["split"] for entry in stored.values()} == {split}
    found = read_reports(tmp_path / "ours.json")
    assert found.rexrank
    assert found.columns == {"id": "id", "prediction": "model_prediction", "reference": "section_findings"}
    assert found.predictions == reports
    assert found.references == {s.id: s.report for s in studies(split)}
    with pytest.raises(ReportError, match=r"exactly the"):
        write_rexrank(tmp_path / "less.json", dict(list(reports.items())[1:]), split)
    assert not (tmp_path / "less.json").exists()


def test_rexranks_entries_have_its_fields_and_its_key_image_is_the_frontal_one():
    found = entries("test")
    fields = ["key_image_path", "image_path", "report", "section_findings", "section_impression", "split"]
    assert all(list(entry) == [*fields, "frontal_lateral", "context"] for entry in found.values())
    other_way = found["CXR1347_IM-0225"]  # its frontal film comes second; the header of the first says nothing
    assert other_way["frontal_lateral"] == ["Unknown", "Frontal"]
    assert other_way["key_image_path"] == "CXR1347_IM-0225/1.png"
    # of CXR2915's two films the headers say "frontal" both times, and one is not
    assert found["CXR2915_IM-1317"]["frontal_lateral"] == ["Unknown", "Unknown"]
    told = [tuple(entry["frontal_lateral"]) for entry in found.values()]
    assert (told.count(("Frontal", "Lateral")), told.count(("Lateral", "Frontal"))) == (117, 7)
    for entry in found.values():
        assert entry["report"] == f"Findings: {entry['section_findings']} Impression: {entry['section_impression']}"


def test_rexranks_context_is_the_indication_and_the_comparison_as_its_files_word_them():
    """Looked up in its file of validation studies: a missing comparison is "None", a missing indication is left out."""
    assert context("Cough.", "None available.") == "Indication: Cough. Comparison: None available."
    assert context("Cough", "") == "Indication: Cough Comparison: None"
    assert context("", "") == " Comparison: None"
    found = {split: entries(split) for split in ("val", "test")}
    assert found["val"]["CXR2167_IM-0783"]["context"] == " Comparison: None"
    told = {s: [entry["context"] for entry in of.values()] for s, of in found.items()}
    assert {s: sum(text.startswith("Indication: ") for text in of) for s, of in told.items()} == {
        "val": 293,
        "test": 582,
    }
    assert {s: sum(text.endswith(" Comparison: None") for text in of) for s, of in told.items()} == {
        "val": 71,
        "test": 144,
    }
    assert all("  " not in text and "\n" not in text for of in told.values() for text in of)


def test_a_headed_prediction_has_its_findings_taken_out():
    assert findings_part("Findings:The lungs are clear.Impression:No disease.") == "The lungs are clear."
    assert findings_part(" FINDINGS: The lungs\nare clear. \nIMPRESSION: none") == "The lungs\nare clear."
    assert findings_part("Findings: clear.") == "clear."
    assert findings_part("The findings are: clear.") is None


def test_ids_of_the_collection_are_joined_by_their_number():
    first = studies("test")[0].id
    number = first.split("_")[0].removeprefix("CXR")
    for form in (first, f"CXR{number}", f"{first}/0.png"):
        assert as_mapping({form: "clear"}) == {first: "clear"}
    numbers = [s.id.split("_")[0].removeprefix("CXR") for s in studies("val")]
    assert collection_ids(numbers) == dict(zip(numbers, (s.id for s in studies("val")), strict=True))
    assert collection_ids(numbers[:3]) is None  # somebody else's 12 may be called 1 to 12
    assert collection_ids([first, f"CXR{number}"]) is None
    with pytest.raises(ReportError, match=r"study '99999' is not of IU X-Ray"):
        as_mapping({"99999": "clear", number: "clear"})
    assert split_of([s.id for s in studies("val")]) == "val"
    assert split_of([s.id for s in studies("val")][1:]) is None


def test_baselines_are_written_for_the_split_that_is_asked_for():
    sets = baseline_sets("val", ("b", "c"))
    assert {name: len(each) for name, each in sets.items()} == {"b": 1, "c": 5}
    assert set(sets["b"][0]) == {s.id for s in studies("val")}
    assert len(set(sets["b"][0].values())) == 1
    with pytest.raises(ReportError, match=r"made of the training reports"):
        baseline_sets("train")
    assert np.mean([len(set(each.values())) for each in sets["c"]]) > 100
