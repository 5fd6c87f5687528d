"""The adapter to RadEval: against a stand-in of its interface, and every way in which it can't be had."""

from __future__ import annotations

import re
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest

from rrg_lib.errors import ReportError, UnknownNameError
from rrg_lib.evaluation import score_reports as reports_module
from rrg_lib.evaluation.radeval import (
    EXTERNAL_METRICS,
    ExternalMetricError,
    external_metrics_markdown,
    external_scores,
)
from rrg_lib.evaluation.report_files import ReportPairs
from rrg_lib.evaluation.score_reports import score_reports
from rrg_lib.runtime.package_data import table

REFERENCES = {"a": "no effusion .", "b": "small effusion .", "c": "clear lungs ."}
HYPOTHESES = {"c": "clear lungs .", "a": "effusion .", "b": ""}


def stand_in(answer, calls: list) -> ModuleType:
    """A module with RadEval's interface: `RadEval(metrics=…, per_sample=…, show_progress=…)(refs=…, hyps=…)`."""

    class RadEval:
        def __init__(self, metrics=None, per_sample=False, show_progress=True):
            self.asked = (tuple(metrics), per_sample)
            assert show_progress is False

        def __call__(self, refs, hyps):
            calls.append((*self.asked, refs, hyps))
            return answer(*self.asked, refs, hyps)

    module = ModuleType("radeval")
    module.RadEval = RadEval
    return module


def overlap(metrics, per_sample, refs, hyps):
    """The share of words in common: a score for each study under RadEval's own keys."""
    each = [len(set(r.split()) & set(h.split())) / len(set(r.split())) for r, h in zip(refs, hyps, strict=True)]
    keys = {
        "radgraph": ("radgraph_simple", "radgraph_partial", "radgraph_complete"),
        "radcliq": ("radcliq_v1",),
        "ratescore": ("ratescore",),
    }
    if metrics == ("f1chexbert",):
        return {"f1chexbert_all_micro_f1": 0.4, "f1chexbert_5_micro_f1": np.float64(0.6)}
    return {key: each if per_sample else sum(each) / len(each) for key in keys[metrics[0]]}


@pytest.fixture
def calls(monkeypatch):
    made: list = []
    monkeypatch.setitem(sys.modules, "radeval", stand_in(overlap, made))
    return made


def test_nothing_is_imported_before_it_is_asked_for():
    assert "radeval" not in sys.modules


def test_studies_are_paired_by_id_and_scores_keep_their_order(calls):
    scores = external_scores(REFERENCES, HYPOTHESES, metrics=["RadGraph F1", "RadCliQ"])
    assert scores.ids == ("a", "b", "c")
    expected = [2 / 3, 0, 1]
    np.testing.assert_allclose(scores.per_study["RadGraph F1"], expected)
    assert scores.corpus == pytest.approx({"RadGraph F1": 5 / 9, "RadCliQ": 5 / 9})
    assert scores.additive["RadCliQ"].value(np.array([True, False, True])) == pytest.approx(5 / 6)
    assert [(names, per_sample) for names, per_sample, _, _ in calls] == [(("radgraph",), True), (("radcliq",), True)]
    assert calls[0][2:] == (list(REFERENCES.values()), ["effusion .", "", "clear lungs ."])


def test_two_scores_of_one_metric_cost_one_run(calls):
    scores = external_scores(REFERENCES, HYPOTHESES, metrics=["CheXbert F1 (14, micro)", "CheXbert F1 (5, micro)"])
    assert scores.corpus == {"CheXbert F1 (14, micro)": 0.4, "CheXbert F1 (5, micro)": 0.6}
    assert scores.per_study == scores.additive == {} and len(calls) == 1


def test_every_metric_of_the_release_is_offered_or_the_reason_said():
    """The sixteen of RadEval 2.2.1, as its registry names them, and three packages that were looked at."""
    rows = table("external_metrics")
    offered = {row["key"] for row in rows if not row["why_not"]}
    assert offered == {
        *("bleu", "rouge", "bertscore", "radeval_bertscore", "f1chexbert", "radgraph", "ratescore"),
        *("radgraph_radcliq", "radcliq", "srrbert", "temporal", "green", "crimson"),
    }
    assert {row["key"] or row["package"] for row in rows if row["why_not"]} == {
        *("f1radbert_ct", "mammo_green", "radfact_ct", "gemascore", "cxrfescore", "crimson-score")
    }
    assert len({row["metric"] for row in rows}) == len(rows)
    assert all(metric.needs and metric.corpus for metric in EXTERNAL_METRICS.values())
    assert [name for name, metric in EXTERNAL_METRICS.items() if metric.lower_is_better] == ["RadCliQ"]


def test_the_list_says_what_each_needs_and_costs_and_what_was_not_taken():
    listed = external_metrics_markdown()
    assert all(f"| {name} " in listed for name in EXTERNAL_METRICS)
    line = next(line for line in listed.splitlines() if line.startswith("| CRIMSON "))
    assert "medgemma-4b" in line and line.count("| – ") == 2  # its cost here was not measured by anybody
    assert "- GEMA-Score (gemascore): version 0.1.1 loads its language model anew" in listed


def test_scores_of_radeval_stand_beside_ours_with_their_intervals_and_paired_test(calls):
    ids = tuple(REFERENCES)
    systems = [
        ReportPairs(ids, tuple(reports[i] for i in ids), tuple(REFERENCES.values()), (), ())
        for reports in (HYPOTHESES, REFERENCES)
    ]
    scores = score_reports(
        systems[0],
        other=systems[1],
        names=("ours", "theirs"),
        metrics=["BLEU-1"],
        external=["RadCliQ", "CheXbert F1 (5, micro)"],
    )
    ours, theirs = scores.systems
    assert (ours.scores["RadCliQ"], theirs.scores["RadCliQ"]) == pytest.approx((5 / 9, 1))
    assert ours.intervals["RadCliQ"].low < 5 / 9 < ours.intervals["RadCliQ"].high
    assert ours.scores["CheXbert F1 (5, micro)"] == 0.6 and "CheXbert F1 (5, micro)" not in ours.intervals
    pair = {c.score: c.test.difference for c in scores.comparison}
    assert pair["RadCliQ"] == pytest.approx(5 / 9 - 1) and "CheXbert F1 (5, micro)" not in pair
    said = scores.markdown()
    assert "of the texts as given; lower is better: RadCliQ; not computed of baselines" in said
    assert re.search(r"\| CheXbert F1 \(5, micro\) +\| 0\.600 ", said)
    assert [call[3] for call in calls[:1]] == [["effusion .", "", "clear lungs ."]]  # the texts as given


def test_a_missing_package_is_told_before_anything_is_scored(monkeypatch):
    monkeypatch.setitem(sys.modules, "radeval", None)
    monkeypatch.setattr(reports_module, "nlg_scores", lambda *_, **__: pytest.fail("scored before"))
    pairs = ReportPairs(("a",), ("clear .",), ("clear lungs .",), (), ())
    with pytest.raises(ExternalMetricError, match=r"not installed; run: pip install"):
        score_reports(pairs, metrics=["BLEU-1"], external=["GREEN"])


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "radeval", None)  # as if it were not installed, whatever is
    with pytest.raises(
        ExternalMetricError, match=r'RadEval need.*not installed; run: pip install "rrg-book\[radeval\]"'
    ):
        external_scores(REFERENCES, HYPOTHESES, metrics=["RadGraph F1"])


def test_a_broken_package_is_told_from_a_missing_one(monkeypatch, tmp_path):
    (tmp_path / "radeval.py").write_text("import a_dependency_of_radeval_that_is_not_there\n")
    monkeypatch.delitem(sys.modules, "radeval", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ExternalMetricError, match=r"installed but cannot be imported.*a_dependency_of_radeval"):
        external_scores(REFERENCES, HYPOTHESES, metrics=["RadGraph F1"])


def test_a_package_of_that_name_without_its_class_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "radeval", ModuleType("radeval"))
    with pytest.raises(ExternalMetricError, match=r"no RadEval in it.*version 2"):
        external_scores(REFERENCES, HYPOTHESES, metrics=["RadGraph F1"])


def test_what_it_prints_and_turns_off_stays_with_it(monkeypatch, capsys):
    def loud(*_):
        warnings.filterwarnings("ignore")
        print("downloading")
        return {"ratescore": [0.5, 0.5, 0.5]}

    monkeypatch.setitem(sys.modules, "radeval", stand_in(loud, []))
    filters = list(warnings.filters)
    external_scores(REFERENCES, HYPOTHESES, metrics=["RaTEScore"])
    assert warnings.filters == filters and capsys.readouterr() == ("", "downloading\n")


def unreachable(*_):
    raise OSError("We couldn't connect to 'https://huggingface.co'")


@pytest.mark.parametrize(
    ("answer", "metric", "message"),
    [
        (unreachable, "GREEN", "could not compute 'green' .OSError: We couldn't connect.*7 billion.*HF_HOME"),
        (lambda *_: [0.5], "RaTEScore", "answered list for 'ratescore', not a dictionary"),
        (lambda *_: {"ratescore": [0.5]}, "RaTEScore", "no score for each of the 3 studies"),
        (lambda *_: {}, "RadGraph F1", "no score for each of the 3 studies under 'radgraph_partial'"),
        (lambda *_: {"ratescore": [0.5, None, 0.1]}, "RaTEScore", "RaTEScore: RadEval gave None"),
        (lambda *_: {}, "CheXbert F1 (5, micro)", "gave None where a score was expected"),
        (lambda *_: {"ratescore": [0.5, float("nan"), 0.1]}, "RaTEScore", "gave nan"),
    ],
)
def test_what_radeval_cannot_say_is_an_error_of_ours(monkeypatch, answer, metric, message):
    monkeypatch.setitem(sys.modules, "radeval", stand_in(answer, []))
    with pytest.raises(ExternalMetricError, match=message):
        external_scores(REFERENCES, HYPOTHESES, metrics=metric)


@pytest.mark.parametrize(
    ("references", "hypotheses", "metrics", "error", "message"),
    [
        (REFERENCES, HYPOTHESES, ["BLEU-5"], UnknownNameError, "unknown external metric 'BLEU-5'"),
        (REFERENCES, {"a": "x", "b": "y"}, ["GREEN"], ReportError, "1 missing.*'c'"),
        (
            REFERENCES,
            [("a", "x"), ("a", "y"), ("b", ""), ("c", "")],
            ["GREEN"],
            ReportError,
            "'a': more than one hypothesis",
        ),
        (REFERENCES | {"b": " "}, HYPOTHESES, ["GREEN"], ReportError, "'b': the reference is empty"),
        ({}, {}, ["GREEN"], ReportError, "no study"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(calls, references, hypotheses, metrics, error, message):
    with pytest.raises(error, match=message):
        external_scores(references, hypotheses, metrics=metrics)
    assert calls == []
