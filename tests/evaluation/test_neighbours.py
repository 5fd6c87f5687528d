"""Reports borrowed from the training study that is nearest by its labels or by its text."""

from __future__ import annotations

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from rrg_lib.data.iu_xray import studies
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.evaluation.baselines import Task
from rrg_lib.evaluation.neighbours import closest_texts, medoid, nearest_by_labels


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(
        studies("train"),
        studies("val"),
        studies("test")[:40],
        Vocabulary.build(study.report for study in studies("train")),
    )


def test_nearest_by_labels_are_all_at_the_smallest_distance(task):
    labels, others = (np.array([study.observations for study in of]) for of in (task.studies, task.train))
    for row, tied in zip(labels, nearest_by_labels(labels, others), strict=True):
        distance = np.abs(others.astype(int) - row).sum(1)
        assert (distance[tied] == distance.min()).all() and len(tied) == (distance == distance.min()).sum()


def test_a_label_vector_of_its_own_gets_the_nearest_and_not_nothing():
    (tied,) = nearest_by_labels([[1, 1, 1]], [[0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1]])
    assert tied.tolist() == [1, 3]


def test_the_medoid_is_the_best_constant_of_its_group(task):
    group = task.pool[12:24]  # where the best by BLEU-1 and by BLEU-4 differ
    scores = np.array(
        [
            Bleu(4).compute_score(dict(enumerate([r] for r in group)), {i: [c] for i in range(12)}, verbose=0)[0]
            for c in group
        ]
    )
    assert medoid(group) == scores[:, 3].argmax() != scores[:, 0].argmax()
    assert medoid(["only one ."]) == 0


def test_the_text_oracle_is_the_best_of_the_nearest_by_words(task):
    references, pool = [task.said(study) for study in task.studies[:8]], task.pool
    for reference, found in zip(references, closest_texts(references, pool, nearest=20), strict=True):
        words = set(reference.split())
        jaccard = np.array([len(words & set(p.split())) / len(words | set(p.split())) for p in pool])
        near = np.argsort(-jaccard, kind="stable")[:20]
        scores = [Bleu(4).compute_score({0: [reference]}, {0: [pool[i]]}, verbose=0)[0][3] for i in near]
        assert found == near[int(np.argmax(scores))]


def test_near_is_by_the_share_of_words_and_not_by_their_number():
    assert closest_texts(["a b c"], ["a b c d e f g h", "a b d"], nearest=1) == [1]
    assert closest_texts(["a b c"], ["a b c d e f g h", "a b d"], nearest=2) == [0]


def test_a_reference_that_stands_in_training_finds_itself(task):
    known = task.pool[7]
    assert task.pool[closest_texts([known], task.pool)[0]] == known
