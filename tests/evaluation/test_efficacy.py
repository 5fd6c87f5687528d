"""Clinical efficacy of reports, the audit of the labeler against the experts' codes, and their commands."""

from __future__ import annotations

import json
import math
import re
import sys

import pytest

from rrg_lib import cli
from rrg_lib.data.iu_xray import studies
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, Finding, Study
from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.errors import ReportError, UnknownNameError
from rrg_lib.evaluation.clinical import clinical_scores
from rrg_lib.evaluation.efficacy import (
    Agreement,
    agreement,
    attributes_by_codes,
    attributes_by_report,
    clinical_efficacy,
)
from rrg_lib.evaluation.labeler_audit import audit_labeler, explained
from rrg_lib.experiments.reports import save_reports

LABELER = ReportLabeler()
VAL = studies("val")[:60]
TEST = studies("test")


@pytest.fixture(scope="module")
def audited():
    return audit_labeler(TEST, LABELER)


def test_the_references_against_themselves_are_perfect():
    found = clinical_efficacy({s.id: s.report for s in VAL}, VAL, against="report", labeler=LABELER)
    assert {key: (s.micro.f1, s.macro.f1) for key, s in found.scores.items()} == dict.fromkeys(found.scores, (1, 1))
    assert found.agreement["side"].rate == found.agreement["severity"].rate == 1
    assert (
        found.agreement["side"].only_predicted == found.agreement["side"].only_truth == 0 < found.agreement["side"].both
    )


def test_every_result_names_its_label_set_its_uncertain_and_its_labeler():
    found = clinical_efficacy({s.id: s.report for s in VAL}, VAL, labeler=LABELER)
    keys = [
        (name, uncertain)
        for name in ("drawn-13", "CheXpert-14", "CheXpert-13")
        for uncertain in ("negative", "positive")
    ]
    assert (
        list(found.scores)
        == keys
        == [(s.label_set, s.uncertain) for s in found.scores.values()]
        == list(found.table().index)
    )
    assert found.provenance["labeler"] == {"version": LABELER.version, "hash": LABELER.hash}
    assert found.provenance["label_sets"]["CheXpert-13"] == list(OBSERVATIONS[1:])
    shown = found.markdown()
    assert all(
        word in shown
        for word in ("CheXpert-14", "CheXpert-13", "drawn-13", "the experts' codes", "rules-1", LABELER.hash)
    )


def test_each_column_goes_to_its_own_label_set():
    """Effusion stands at another place in the two label sets, and one report's labels must not be another's."""
    found = clinical_efficacy({s.id: s.report for s in VAL}, VAL, labeler=LABELER)
    drawn = clinical_scores(
        [LABELER.drawn(s.report) for s in VAL], [s.drawn for s in VAL], "drawn-13", uncertain="positive"
    )
    observed = clinical_scores(
        [LABELER.observations(s.report) for s in VAL], [s.observations for s in VAL], "CheXpert-13"
    )
    assert found.scores["drawn-13", "positive"].micro == drawn.micro
    assert found.scores["CheXpert-13", "negative"].micro == observed.micro
    assert found.by_class("drawn-13").loc["Effusion", "support"] == sum(
        s.drawn[DRAWN_FINDINGS.index("Effusion")] for s in VAL
    )
    low, high = found.interval("drawn-13", "positive")
    assert low < drawn.micro.f1 < high


def test_empty_reports_find_nothing():
    found = clinical_efficacy({s.id: "" for s in VAL}, VAL, labeler=LABELER)
    assert found.scores["CheXpert-14", "positive"].micro.f1 == found.scores["drawn-13", "negative"].micro.recall == 0
    assert found.agreement["side"] == Agreement(0, 0, 0, 0) and math.isnan(found.agreement["side"].rate)
    json.dumps(found.to_json(), allow_nan=False)


def test_the_order_of_the_reports_does_not_matter():
    given = {s.id: s.report for s in VAL}
    backwards = clinical_efficacy(list(reversed(given.items())), VAL, labeler=LABELER)
    assert backwards.to_json() == clinical_efficacy(given, VAL, labeler=LABELER).to_json()


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ({s.id: s.report for s in VAL[1:]}, f"1 missing.*{VAL[0].id}"),
        ({s.id: s.report for s in VAL} | {"CXR0": "x"}, "not among the studies.*CXR0"),
        ([(s.id, s.report) for s in (*VAL, VAL[0])], f"{VAL[0].id}.*more than one"),
        ({s.id: None for s in VAL}, "must be a string, not NoneType"),
    ],
)
def test_reports_of_other_studies_are_refused(reports, message):
    with pytest.raises(ReportError, match=message):
        clinical_efficacy(reports, VAL, labeler=LABELER)


def test_another_truth_is_refused():
    with pytest.raises(UnknownNameError, match=r"truth 'gold'; .*codes"):
        clinical_efficacy({}, VAL, against="gold")


# --- side and severity ------------------------------------------------------------------------------------------------


def test_agreement_counts_only_findings_that_both_name():
    codes = [
        Finding("a", "Pleural Effusion", "Effusion", side="left", severity="mild"),
        Finding("b", "Opacity", "Opacity", side="right"),
        Finding("c", "Nodule", "Nodule", side="left"),
        Finding("d", "Cardiomegaly", "Cardiomegaly"),
    ]
    truth = attributes_by_codes(Study("x", "test", "", tuple(codes)))
    said = attributes_by_report(
        LABELER.mentions(
            "Moderate left effusion. Opacity in the left base. Mild cardiomegaly. No nodule in the left lung."
        )
    )
    assert agreement([said], [truth], "side") == Agreement(both=2, agree=1, only_predicted=0, only_truth=0)
    assert agreement([said], [truth], "severity") == Agreement(both=1, agree=0, only_predicted=1, only_truth=0)
    assert agreement([said], [truth], "side").rate == 0.5


def test_left_and_right_are_bilateral():
    def one(code, side):
        return Finding(code, "Opacity", "Opacity", side=side)

    both = attributes_by_codes(Study("x", "test", "", (one("a", "left"), one("b", "right"))))
    assert (
        both["Opacity"]["side"]
        == attributes_by_report(LABELER.mentions("Bilateral opacities."))["Opacity"]["side"]
        == {"bilateral"}
    )


def test_side_and_severity_agree_with_the_experts(audited):
    """On test: the side is the same in 97 of 100 findings where report and code have one, the severity in all."""
    assert audited.efficacy.agreement["side"] == Agreement(both=142, agree=138, only_predicted=12, only_truth=18)
    assert audited.efficacy.agreement["severity"] == Agreement(both=53, agree=53, only_predicted=7, only_truth=17)


# --- the audit --------------------------------------------------------------------------------------------------------


def test_the_references_reach_092_on_test(audited):
    scores = audited.efficacy.scores
    assert scores["drawn-13", "positive"].micro.f1 == pytest.approx(684 / 742)
    assert {key: round(s.micro.f1, 3) for key, s in scores.items() if key[1] == "negative"} == {
        ("drawn-13", "negative"): 0.924,
        ("CheXpert-14", "negative"): 0.938,
        ("CheXpert-13", "negative"): 0.858,
    }


def test_confusion_and_scores_count_the_same(audited):
    for name in ("drawn-13", "CheXpert-14"):
        frame = audited.confusion[name]
        assert (frame.sum(axis=1) == len(TEST)).all()
        for label, prf in audited.efficacy.scores[name, "positive"].per_finding.items():
            assert frame["there"].loc[label].sum() == prf.support
            if prf.support:
                assert frame["there"].loc[label, ["positive", "uncertain"]].sum() == round(prf.recall * prf.support)


def test_the_ceiling_is_where_the_codes_leave_no_trace(audited):
    """7 % of the codes are nowhere mentioned in FINDINGS: no reader of it finds them."""
    ceiling = audited.ceiling
    assert (ceiling.codes, ceiling.unmentioned, ceiling.traceless, ceiling.denied) == (374, 26, 13, 6)
    assert ceiling.f1 == pytest.approx((2 * 348 / (348 + 374), 2 * 361 / (361 + 374)))
    assert ceiling.unmentioned == audited.confusion["drawn-13"]["there"]["blank"].sum()
    assert ceiling.denied == audited.confusion["drawn-13"]["there"]["negative"].sum()


def test_a_code_without_a_word_in_the_report_is_traceless():
    codes = (
        Finding("Scoliosis", "Scoliosis", "Scoliosis"),
        Finding("b", "Fractures, Bone", "Fracture"),
        Finding("c", "Nodule", "Nodule"),
    )
    made = audit_labeler(
        [Study("x", "test", "The lungs are clear. The nodule has resolved. Posttraumatic fractur.", codes)]
    )
    assert made.ceiling.codes == 3
    assert (made.ceiling.unmentioned, made.ceiling.traceless, made.ceiling.denied) == (2, 1, 1)


def test_every_disagreement_on_test_was_read_and_explained(audited):
    read = explained()
    assert set(read) == set(audited.disagreements)
    assert len(read) == 58
    assert {cause for cause, _ in read.values()} <= {
        "lexicon",
        "context",
        "coding",
        "removed word",
        "not in FINDINGS",
        "not indexed",
        "misprint",
    }


def test_explanations_quote_no_report(audited):
    """The reports stay where they are: no five words in a row of one."""
    reports = {study.id: re.findall(r"[a-z]+", study.report.lower()) for study in TEST}
    for disagreement, (_, reason) in explained().items():
        words, text = re.findall(r"[a-z]+", reason.lower()), reports[disagreement.study_id]
        fives = {tuple(text[i : i + 5]) for i in range(len(text))}
        assert len(words) >= 4
        assert not [words[i : i + 5] for i in range(len(words) - 4) if tuple(words[i : i + 5]) in fives], disagreement


# --- commands ---------------------------------------------------------------------------------------------------------


def rrg(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["rrg", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    return code, *capsys.readouterr()


def test_the_audit_is_printed_and_kept(monkeypatch, capsys, tmp_path):
    code, out, _ = rrg(monkeypatch, capsys, "audit", "--split", "test", "--out", tmp_path / "audit.json")
    assert code == 0
    assert "of 374 coded findings 26 are nowhere mentioned (7.0%)" in out
    kept = json.loads((tmp_path / "audit.json").read_text())
    assert kept["ceiling"]["codes"] == 374 and len(kept["disagreements"]) == 58
    assert kept["confusion"]["drawn-13"]["Effusion"]["there, positive"] == 17


def test_reports_in_a_file_are_labelled_and_measured(monkeypatch, capsys, tmp_path):
    save_reports(tmp_path / "reports.csv", {study.id: study.report for study in TEST})
    code, out, _ = rrg(monkeypatch, capsys, "label", tmp_path / "reports.csv", "--out", tmp_path / "labels.csv")
    assert code == 0 and "590 reports, labeler rules-2" in out
    assert (tmp_path / "labels.csv").read_text().splitlines()[0] == "id," + ",".join(OBSERVATIONS)
    code, out, _ = rrg(
        monkeypatch,
        capsys,
        "efficacy",
        tmp_path / "reports.csv",
        "--against",
        "report",
        "--out",
        tmp_path / "scores.json",
    )
    assert code == 0 and "the labels of the reference reports" in out
    assert {row["micro"]["f1"] for row in json.loads((tmp_path / "scores.json").read_text())["scores"]} == {1.0}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("audit", "--split", "tset"), "unknown split 'tset'; nearest: test"),
        (("efficacy", "nowhere.csv"), "nowhere.csv"),
        (("label", "nowhere.csv", "--out", "x.csv"), "nowhere.csv"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_message(monkeypatch, capsys, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = rrg(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "") and says in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
