"""Two systems on the same studies: the scores are those of each alone, and the test sees a difference that is there."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from rrg_lib.cli import app
from rrg_lib.data.iu_xray import studies
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, ReportError
from rrg_lib.evaluation.baselines import Task, baseline_hypotheses
from rrg_lib.evaluation.comparison import compare_reports, comparison_markdown
from rrg_lib.evaluation.nlg import nlg_scores


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(
        studies("train"), studies("val"), studies("test"), Vocabulary.build(study.report for study in studies("train"))
    )


def test_a1_beats_random_reports_beyond_chance_and_two_random_ones_do_not_differ(task):
    a1, one, two = baseline_hypotheses("a1", task), *(baseline_hypotheses("c", task, seed=seed) for seed in (0, 1))

    def ask(a, b):
        compared = compare_reports(a, b, task.studies, task.vocabulary, metrics=["BLEU-4", "ROUGE-L"])
        return {c.score: c for c in compared}

    found = ask([a1, a1], [one, two])
    references = {study.id: task.writable(study) for study in task.studies}
    alone = [nlg_scores(references, reports, metrics=["BLEU-4"]).corpus["BLEU-4"] for reports in (a1, one, two)]
    bleu = found["BLEU-4"]
    assert (bleu.a.mean, bleu.b.mean) == pytest.approx((alone[0], (alone[1] + alone[2]) / 2)) and bleu.test.p < 0.001
    assert bleu.test.difference == pytest.approx(bleu.a.mean - bleu.b.mean) and (bleu.a.sd, bleu.b.n) == (0, 2)
    assert list(found) == ["BLEU-4", "ROUGE-L", "finding-F1"]
    assert ask([one], [two])["ROUGE-L"].test.p > 0.05
    text = comparison_markdown(("a1", "c"), [*found.values()])
    assert f"| {bleu.a} " in text and f"{bleu.test.difference:+.3f}" in text and "10,000 trials" in text
    of_files = comparison_markdown(("a1", "c"), [*found.values()], trained=False)
    assert f"| {bleu.a.mean:.3f} " in of_files and "seed" not in of_files


def test_other_studies_and_other_numbers_of_seeds_are_refused(task):
    reports = baseline_hypotheses("b", task)
    fewer = dict(list(reports.items())[1:])
    with pytest.raises(ReportError, match="1 missing"):
        compare_reports([reports], [fewer], task.studies, task.vocabulary, metrics=["BLEU-1"])
    for a, b in (([reports], []), ([], []), ([reports], [reports, reports])):
        with pytest.raises(ConfigurationError, match="as many seeds"):
            compare_reports(a, b, task.studies, task.vocabulary)


def test_the_command_refuses_two_datasets_and_names_reports_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    found = CliRunner().invoke(app, ["compare", "iu_phantom/cmn", "phantom/base"])
    assert isinstance(found.exception, ConfigurationError) and "of two datasets" in str(found.exception)
    found = CliRunner().invoke(app, ["compare", "iu_phantom/cmn", "iu_phantom/base"])
    assert isinstance(
        found.exception, ReportError
    ) and "run: rrg train iu_phantom/cmn --profile ci --seed 7580, then" in str(found.exception)
