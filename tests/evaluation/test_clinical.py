"""The frozen labeler, and finding-F1 against hand counts and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from rrg_lib.data.iu_xray import studies
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS
from rrg_lib.data.text.cleaning import clean_r2gen
from rrg_lib.data.text.keyword_labeler import KeywordLabeler
from rrg_lib.errors import AnnotationError, UnknownNameError
from rrg_lib.evaluation.clinical import LABEL_SETS, clinical_scores, confusion, counted, finding_f1

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
    differing = [
        study.id for study in studies("test") if LABELER.label(study.report) != LABELER.label(clean_r2gen(study.report))
    ]
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
    """A finding without support is left out of the macro mean; saying nothing when something is there scores 0; nothing
    anywhere is not defined."""
    scores = finding_f1([[1, 1], [0, 0]], [[1, 0], [0, 0]], names=("A", "B"))
    assert scores.macro.f1 == 1
    assert math.isnan(scores.per_finding["B"].f1)
    assert scores.micro.precision == 0.5
    silent = finding_f1([[0, 0]], [[1, 0]], names=("A", "B"))
    assert (silent.micro.precision, silent.micro.recall, silent.micro.f1) == (0, 0, 0)
    nothing = finding_f1([[1, 0]], [[0, 0]], names=("A", "B"))
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


# --- four answers, three label sets -----------------------------------------------------------------------------------


def answers(seed: int, width: int = 14, n: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).choice([1, 0, -1, np.nan], size=(n, width))


@pytest.mark.parametrize("uncertain", ["positive", "negative"])
@pytest.mark.parametrize("name", LABEL_SETS)
def test_scores_over_each_label_set_equal_scikit_learn(name, uncertain):
    width = 13 if name == "drawn-13" else 14
    a, b = answers(0, width), answers(1, width)
    scores = clinical_scores(a, b, name, uncertain=uncertain)
    positive = (1, -1) if uncertain == "positive" else (1,)
    skip = 1 if name == "CheXpert-13" else 0
    for average in ("micro", "macro"):
        expected = precision_recall_fscore_support(
            np.isin(b, positive)[:, skip:], np.isin(a, positive)[:, skip:], average=average
        )[:3]
        got = getattr(scores, average)
        assert (got.precision, got.recall, got.f1) == pytest.approx(expected)
    assert (scores.label_set, scores.uncertain, tuple(scores.per_finding)) == (name, uncertain, LABEL_SETS[name])


def test_always_no_finding_is_worth_something_over_14_and_nothing_over_13():
    truth = np.array([[1, *[0] * 13]] * 3 + [[0, 1, *[0] * 12]])
    lazy = np.array([[1.0, *[np.nan] * 13]] * 4)
    assert clinical_scores(lazy, truth, "CheXpert-14").micro.f1 == 3 / 4
    assert clinical_scores(lazy, truth, "CheXpert-13").micro.f1 == 0


def test_uncertain_counts_as_told_and_blank_as_negative():
    assert counted([[1, 0, -1, np.nan]], "positive").tolist() == [[1, 0, 1, 0]]
    assert counted([[1, 0, -1, np.nan]], "negative").tolist() == [[1, 0, 0, 0]]


def test_confusion_counts_each_answer_where_the_finding_is_and_where_not():
    frame = confusion([[1, -1], [0, np.nan], [np.nan, 1], [1, 0]], [[1, 1], [1, 0], [0, 0], [0, 0]], ["A", "B"])
    there, not_there = frame["there"], frame["not there"]
    assert there.loc["A"].to_dict() == {"positive": 1, "uncertain": 0, "negative": 1, "blank": 0}
    assert not_there.loc["A"].to_dict() == {"positive": 1, "uncertain": 0, "negative": 0, "blank": 1}
    assert there.loc["B"].to_dict() == {"positive": 0, "uncertain": 1, "negative": 0, "blank": 0}
    assert not_there.loc["B"].to_dict() == {"positive": 1, "uncertain": 0, "negative": 1, "blank": 1}
    assert frame.to_numpy().sum() == 8


@pytest.mark.parametrize(
    ("a", "arguments", "error", "message"),
    [
        (answers(0, 13), {}, AnnotationError, r"CheXpert-14.*\(studies, 14\).*\(60, 13\)"),
        (answers(0), {"over": "drawn-13"}, AnnotationError, r"drawn-13.*\(studies, 13\)"),
        (np.full((60, 14), 2.0), {}, AnnotationError, "not 2"),
        (answers(0, n=59), {}, AnnotationError, r"\(59, 14\)"),
        (answers(0), {"over": "CheXpert-15"}, UnknownNameError, "label set 'CheXpert-15'; nearest: CheXpert-1"),
        (answers(0), {"uncertain": "perhaps"}, UnknownNameError, "treatment of uncertain labels 'perhaps'"),
    ],
)
def test_labels_that_fit_no_label_set_are_refused(a, arguments, error, message):
    with pytest.raises(error, match=message):
        clinical_scores(a, answers(1), **arguments)


def test_a_confusion_of_other_shapes_is_refused():
    with pytest.raises(AnnotationError, match=f"{len(OBSERVATIONS)}"):
        confusion(answers(0), np.zeros((60, 13)), OBSERVATIONS)
