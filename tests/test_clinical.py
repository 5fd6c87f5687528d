"""The frozen labeler, and finding-F1 against hand counts and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from rrg_lib.data.iu_xray import studies
from rrg_lib.errors import AnnotationError
from rrg_lib.evaluation.clinical import finding_f1
from rrg_lib.study import DRAWN_FINDINGS
from rrg_lib.text.cleaning import clean_r2gen
from rrg_lib.text.labeler import KeywordLabeler

LABELER = KeywordLabeler()


def found(report: str) -> set[str]:
    return {name for name, said in zip(DRAWN_FINDINGS, LABELER.label(report), strict=True) if said}


def test_the_labeler_is_frozen():
    assert (LABELER.version, LABELER.hash) == ("keywords-0", "a8a94dd1d2ea")


@pytest.mark.parametrize(
    ("report", "findings"),
    [
        ("There is a small right effusion.", {"Effusion"}),
        ("No effusion.", set()),
        ("Effusion is not seen.", {"Effusion"}),  # only what stands before negates: a known weakness, kept
        ("No pneumothorax. Left effusion.", {"Effusion"}),  # negation ends with its sentence
        ("No focal opacity but the heart is enlarged.", set()),  # and reaches to its end: another
        ("Mild opacity. No opacity elsewhere.", {"Opacity"}),
        ("Cardiac silhouette is mildly enlarged", {"Cardiomegaly"}),
        ("A 1.5 cm nodule.\nNo line is seen. Normal.", {"Nodule"}),
        ("", set()),
    ],
)
def test_a_finding_is_said_unless_negated_before_in_its_sentence(report, findings):
    assert found(report) == findings
    assert found(clean_r2gen(report)) == findings


def test_a_decimal_point_ends_no_sentence():
    assert found("No 1.5 cm nodule.") == set()


def test_raw_and_cleaned_reports_are_labelled_alike_on_the_collection():
    differing = [study.id for study in studies("test") if LABELER.label(study.report) != LABELER.label(clean_r2gen(study.report))]
    assert differing == []


def test_the_references_themselves_reach_085():
    test = studies("test")
    scores = finding_f1([LABELER.label(study.report) for study in test], [study.drawn for study in test])
    assert scores.label_set == "drawn-13"
    assert scores.micro.f1 == pytest.approx(604 / 711)  # 302 found, 35 false, 72 missed
    assert scores.micro.support == 374
    assert scores.additive["micro"].value() == scores.micro.f1
    assert scores.additive["macro"].value() == pytest.approx(scores.macro.f1, abs=1e-12)


def test_rules_without_a_finding_are_refused():
    with pytest.raises(AnnotationError, match="Spine"):
        KeywordLabeler(rules={name: rule for name, rule in LABELER.rules.items() if name != "Spine"})


def test_micro_and_macro_equal_scikit_learn():
    rng = np.random.default_rng(3)
    predicted, reference = rng.integers(0, 2, (2, 40, 13))
    scores = finding_f1(predicted, reference)
    for average in ("micro", "macro"):
        expected = precision_recall_fscore_support(reference, predicted, average=average)[:3]
        got = getattr(scores, average)
        assert (got.precision, got.recall, got.f1) == pytest.approx(expected)
    by_class = np.array(precision_recall_fscore_support(reference, predicted, average=None))
    got = np.array([(s.precision, s.recall, s.f1, s.support) for s in scores.per_finding.values()])
    np.testing.assert_allclose(got.T, by_class)


def test_what_nobody_has_is_not_a_zero():
    """A finding without support is left out of the macro mean; saying nothing when something is there scores 0; nothing anywhere is not defined."""
    scores = finding_f1([[1, 1], [0, 0]], [[1, 0], [0, 0]], labels=("A", "B"))
    assert scores.macro.f1 == 1
    assert math.isnan(scores.per_finding["B"].f1)
    assert scores.micro.precision == 0.5
    silent = finding_f1([[0, 0]], [[1, 0]], labels=("A", "B"))
    assert (silent.micro.precision, silent.micro.recall, silent.micro.f1) == (0, 0, 0)
    nothing = finding_f1([[1, 0]], [[0, 0]], labels=("A", "B"))
    assert math.isnan(nothing.micro.f1)
    assert math.isnan(nothing.macro.f1)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (np.zeros((2, 12)), r"\(studies, 13\)"),
        (np.zeros((3, 13)), r"\(3, 13\)"),
        (np.full((2, 13), -1), "0 or 1, not -1"),
        (np.full((2, 13), np.nan), "nan"),
    ],
)
def test_findings_of_another_shape_or_scale_are_refused(predicted, message):
    with pytest.raises(AnnotationError, match=message):
        finding_f1(predicted, np.zeros((2, 13)))
