"""A metric of one's own is one class and one line: `WordPrecision` here. Everything else knows it from the registry: an
evaluation with its interval, the terms that a stored result keeps, the table of stored results, the comparison of two
systems, the ledger, the site."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import site_pages

from rrg_lib.data.iu_xray import studies
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.comparison import compare_reports
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.metrics import REGISTRY, SCORES, MeanMetric, Metric, Pairs, Score, known_metric, register_metric
from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
from rrg_lib.evaluation.score_table import Evaluation
from rrg_lib.evaluation.terms import pack_terms, unpack_terms
from rrg_lib.experiments.results import results_table, stored_results

TEST = studies("test")[:40]
VOCABULARY = Vocabulary.build(study.report for study in studies("train"))
REFERENCES = {study.id: VOCABULARY.protocol.reference(study.report, VOCABULARY) for study in TEST}
#: Each study is given the report of the next.
REPORTS = dict(zip(REFERENCES, [*list(REFERENCES.values())[1:], "clear ."], strict=True))


def word_precision(reference: str, hypothesis: str) -> float:
    words = hypothesis.split()
    return sum(word in reference.split() for word in words) / len(words)


@pytest.fixture
def registered() -> Iterator[str]:
    """The whole of it: a class, and one line that registers it."""
    before = dict(REGISTRY)

    @register_metric
    class WordPrecision(MeanMetric):
        name = "word precision"
        decimals = 2

        def of_each(self, pairs: Pairs) -> Sequence[float]:
            return [word_precision(*pair) for pair in zip(pairs.references, pairs.hypotheses, strict=True)]

    yield WordPrecision.name
    REGISTRY.clear()
    REGISTRY.update(before)


def evaluated(**options) -> Evaluation:
    return evaluate_reports(REPORTS, TEST, VOCABULARY, metrics=WITHOUT_JAVA, baselines=False, **options)


def test_the_table_of_an_evaluation_has_it_with_its_interval(registered):
    assert registered in METRICS and registered in WITHOUT_JAVA and SCORES[-1] == registered
    evaluation = evaluated()
    each = [word_precision(REFERENCES[study], REPORTS[study]) for study in REFERENCES]
    row = evaluation.rows[0]
    assert evaluation.scores[registered] == pytest.approx(fmean(each))
    assert evaluation.table().loc["model", registered] == pytest.approx(fmean(each))
    low, high = row.intervals[registered]
    assert low < fmean(each) < high
    header, _, model = (line for line in evaluation.markdown().splitlines()[2:5])
    column = [cell.strip() for cell in header.split("|")].index(registered)
    assert model.split("|")[column].strip() == f"{fmean(each):.2f} [{low:.2f}, {high:.2f}]"  # with its own decimals
    normal = np.array([not study.is_abnormal for study in TEST])
    assert row.parts["normal"].scores[registered] == pytest.approx(np.mean(np.array(each)[normal]))


def test_a_stored_result_keeps_its_terms_and_one_from_before_it_has_none(registered):
    evaluation = evaluated()
    packed = pack_terms(evaluation.terms)
    assert unpack_terms(packed)[registered].value() == pytest.approx(evaluation.scores[registered], rel=1e-6)
    del REGISTRY[registered]
    assert registered not in unpack_terms(packed)  # a result of somebody's own metric opens where that is not known


def test_the_table_of_stored_results_and_the_sites_page_of_scores_have_its_column(registered):
    """A stored result that has it shows it, one from before it a dash."""
    results = [r for r in stored_results("laptop", "iu_phantom", "tuned") if r.is_preset]
    assert set(results_table(results)[registered]) == {"–"}
    newer = [_with(r, registered, 0.25) if r.experiment.preset == "cmn" else r for r in results]
    frame = results_table(newer)
    (cmn,) = {r.system for r in newer if r.experiment.preset == "cmn"}
    assert {name: cell for name, cell in frame[registered].items() if cell != "–"} == {cmn: "0.25"}
    for page in (site_pages.results(newer), site_pages.all_results(newer)):
        head, *rows = [line.split("|") for line in page.splitlines() if line.lstrip().startswith("|")]
        column = [cell.strip() for cell in head].index(registered)
        (row,) = (row for row in rows if row[1].strip().endswith(("cmn, tuned", "cmn, laptop, tuned")))
        assert row[column].strip() == "0.25"


def _with(result, name: str, value: float):
    row = result.evaluation.rows[0]
    part = replace(row.parts["all"], scores={**row.parts["all"].scores, name: value})
    row = replace(row, parts={**row.parts, "all": part})
    return replace(result, evaluation=replace(result.evaluation, rows=(row, *result.evaluation.rows[1:])))


def test_two_systems_are_compared_by_it(registered):
    compared = compare_reports([REPORTS], [REFERENCES], TEST, VOCABULARY)
    (by_words,) = (one for one in compared if one.score == registered)
    assert by_words.b.mean == 1 and by_words.test.difference < 0 and by_words.test.p < 0.001


def test_a_metric_that_is_no_sum_over_studies_has_a_value_and_nothing_else(registered):
    @register_metric
    class DistinctWords(Metric):
        name = "distinct words"
        decimals = 0

        def score(self, pairs: Pairs) -> Score:
            return Score(float(len({word for text in pairs.hypotheses for word in text.split()})))

    evaluation = evaluated()
    row = evaluation.rows[0]
    words = len({word for text in REPORTS.values() for word in text.split()})
    assert row.parts["all"].scores["distinct words"] == words and f"| {words} " in evaluation.markdown()
    assert np.isnan(row.parts["normal"].scores["distinct words"]) and "distinct words" not in row.intervals
    assert "distinct words" not in evaluation.terms
    with pytest.raises(ConfigurationError, match="no function of sums over studies"):
        REGISTRY["distinct words"].additive_of(np.ones((3, 1)))


def test_names_that_are_taken_or_unknown_are_refused(registered):
    with pytest.raises(ConfigurationError, match="there is a metric 'word precision' already"):
        register_metric(type(REGISTRY[registered]))
    with pytest.raises(UnknownNameError, match="unknown metric 'word-precision'; nearest: word precision"):
        known_metric("word-precision")
