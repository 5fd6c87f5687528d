"""The baselines are made as described, from training reports, chosen on validation studies. Their test scores are in test_evaluation.py."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from rrg_lib.data.iu_xray import studies
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.baselines import BASELINES, Task, baseline, baseline_hypotheses, constant_bleu
from rrg_lib.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def task() -> Task:
    vocabulary = Vocabulary.build(study.report for study in studies("train"))
    return Task(studies("train"), studies("val"), studies("test"), vocabulary)


def test_bleu_of_a_constant_equals_scoring_it_against_each_reference(task):
    candidates = [*task.pool[:6], "no no no no .", "the the lungs the lungs", "lungs", "", "zebra"]
    expected = []
    for candidate in candidates:
        hypotheses = {i: [candidate] for i in range(len(task.val_references))}
        expected.append(Bleu(4).compute_score({i: [r] for i, r in enumerate(task.val_references)}, hypotheses, verbose=0)[0])
    np.testing.assert_allclose(constant_bleu(candidates, task.val_references), expected, rtol=1e-12)


def test_a1_is_the_best_constant_on_val_and_does_not_look_at_test(task):
    reports = baseline_hypotheses("a1", task)
    (constant,) = set(reports.values())
    assert list(reports) == [study.id for study in task.studies]
    assert constant in task.pool
    scores = constant_bleu(task.pool, task.val_references)[:, 3]
    assert constant_bleu([constant], task.val_references)[0, 3] == scores.max()
    assert set(baseline_hypotheses("a1", replace(task, studies=task.studies[:5])).values()) == {constant}
    fewer = replace(task, val=task.val[:10])  # where the best by BLEU-1 and by BLEU-4 differ
    scores = constant_bleu(task.pool, fewer.val_references)[:, 3]
    assert set(baseline_hypotheses("a1", fewer).values()) == {task.pool[scores.argmax()]} != {constant}


def test_b_is_the_most_frequent_training_report(task):
    (constant,) = set(baseline_hypotheses("b", task).values())
    assert constant == Counter(task.cleaned).most_common(1)[0][0]


def test_c_draws_with_its_seed_study_by_study(task):
    draw = random.Random(3)
    assert list(baseline_hypotheses("c", task, seed=3).values()) == [task.pool[draw.randrange(2069)] for _ in range(590)]
    assert BASELINES["c"].seeds == (0, 1, 2, 3, 4)


def test_a_baseline_says_only_what_a_model_could(task):
    """At most 59 tokens, all of the vocabulary: cut and unknown words as in the references."""
    said = [report.split() for report in baseline_hypotheses("c", task).values()]
    assert max(map(len, said)) == 59
    assert {word for words in said for word in words} <= set(task.vocabulary.tokens)


def test_a_new_baseline_is_one_function(task, monkeypatch):
    monkeypatch.setattr("rrg_lib.evaluation.baselines.BASELINES", dict(BASELINES))
    baseline("dot", "a full stop")(lambda task, seed: task.constant("."))
    assert set(baseline_hypotheses("dot", task).values()) == {"."}


def test_unknown_baselines_and_missing_studies_are_named(task):
    with pytest.raises(UnknownNameError, match="nearest: a1"):
        baseline_hypotheses("a11", task)
    for part in ("train", "val"):
        with pytest.raises(ConfigurationError, match="training studies"):
            baseline_hypotheses("a1", replace(task, **{part: ()}))
