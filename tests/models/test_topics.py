"""Topics of reports and the transport that finds them: against an exact solver, against what a corpus was made of, and
on too little."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog

from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, ReportError
from rrg_lib.models.memory import topics
from rrg_lib.models.memory.topics import bags, find_topics, inverse_frequency, sinkhorn, split_sentences, word_vectors

METHODS = ("kmeans", "label_kmeans", "ot_topics")
#: Three things that reports speak of, each with words of its own; "the" and "is" stand everywhere.
SUBJECTS = (
    ("heart", "large", "silhouette", "cardiac"),
    ("lung", "opacity", "lobe", "base"),
    ("spine", "degenerative", "bone", "disc"),
)


def corpus(sentences_each=(40, 40, 40), seed: int = 0) -> SimpleNamespace:
    """A report a sentence; its label is its subject (columns 1 to 3 of 14)."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for subject, (words, count) in enumerate(zip(SUBJECTS, sentences_each, strict=True), start=1):
        for _ in range(count):
            chosen = rng.choice(words, 3, replace=False)
            texts.append(f"the {chosen[0]} is {chosen[1]} {chosen[2]} .")
            labels.append(np.eye(14)[subject])
    order = rng.permutation(len(texts))
    vocabulary = Vocabulary(tuple(sorted({word for text in texts for word in text.split()} | {"<unk>"})))
    ids = [vocabulary.encode(texts[i]) for i in order]
    return SimpleNamespace(
        indices=list(range(len(ids))),
        tokens=ids.__getitem__,
        vocabulary=vocabulary,
        labels=np.array([labels[i] for i in order]),
    )


def subject_weights(found, vocabulary) -> np.ndarray:
    """(K, 3): how much of a topic's weight lies on each subject's words."""
    return np.stack(
        [found.weights[:, [vocabulary.ids[w] for w in words if w in vocabulary.ids]].sum(1) for words in SUBJECTS],
        axis=1,
    )


# --- Sinkhorn ---------------------------------------------------------------------------------------------------------


def problem(n: int = 7, m: int = 5, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def exact(cost, source, target) -> float:
    """The least transport cost, as a linear programme."""
    n, m = cost.shape
    sums = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    return linprog(cost.ravel(), A_eq=sums, b_eq=np.concatenate([source, target])).fun


@pytest.mark.parametrize("seed", range(3))
def test_sinkhorn_nears_the_exact_cost_from_above_as_epsilon_falls(seed):
    cost, source, target = problem(seed=seed)
    best = exact(cost, source, target)
    gaps = [
        (sinkhorn(cost, source, target, epsilon, iterations=100_000) * cost).sum() - best
        for epsilon in (0.5, 0.1, 0.005)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > -1e-6
    assert gaps[2] < 2e-3


@pytest.mark.parametrize("epsilon", [1.0, 0.1])
def test_sinkhorn_has_both_marginals_and_the_form_that_the_optimum_must_have(epsilon):
    """Cuturi 2013, lemma 2: the one plan with these marginals whose log is -cost/ε plus a number a row plus a number a
    column."""
    cost, source, target = problem()
    plan = sinkhorn(cost, source, target, epsilon, tolerance=1e-12)
    np.testing.assert_allclose(plan.sum(1), source, atol=1e-12)
    np.testing.assert_allclose(plan.sum(0), target, atol=1e-10)
    rest = np.log(plan) + cost / epsilon
    centred = rest - rest.mean(0) - rest.mean(1, keepdims=True) + rest.mean()
    np.testing.assert_allclose(centred, 0, atol=1e-9)
    np.testing.assert_allclose(
        sinkhorn(cost, source, target, epsilon, iterations=1).sum(1), source, atol=1e-12
    )  # rows even when stopped early


def test_sinkhorn_of_equal_masses_finds_the_assignment():
    cost, uniform = np.random.default_rng(1).random((6, 6)), np.full(6, 1 / 6)
    rows, columns = linear_sum_assignment(cost)
    plan = sinkhorn(cost, uniform, uniform, 0.002, iterations=100_000)
    assert np.array_equal(plan.argmax(1)[rows], columns)


def test_a_constant_cost_a_row_changes_no_plan():
    cost, source, target = problem()
    shifted = cost + np.arange(len(cost))[:, None] * 100
    np.testing.assert_allclose(sinkhorn(shifted, source, target, 0.1), sinkhorn(cost, source, target, 0.1), atol=1e-9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cost": np.ones((5, 7))}, r"shape \(5, 7\) can't carry 7 masses, 1 together, to 5"),
        ({"source": np.full(7, 1.0)}, "7 masses, 7 together, to 5, 1 together"),
        ({"epsilon": 0.0}, "epsilon is 0.0: it must be positive"),
        ({"epsilon": 1e-5}, "at least 0.001"),
    ],
)
def test_an_impossible_transport_is_refused(change, says):
    cost, source, target = problem()
    with pytest.raises(ConfigurationError, match=says):
        sinkhorn(**{"cost": cost, "source": source, "target": target, "epsilon": 0.1, **change})


# --- topics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_topic_is_of_one_subject_and_every_subject_has_one(method):
    training = corpus()
    found = find_topics(training, 3, method)
    shares = subject_weights(found, training.vocabulary)
    assert sorted(shares.argmax(1).tolist()) == [0, 1, 2]
    assert shares.max(1).min() > 0.85  # "the" and "is", two words of five, are weighted down to at most 15 %
    assert {*found.words(0, training.vocabulary.tokens, 4)} <= {*SUBJECTS[shares[0].argmax()]}


@pytest.mark.parametrize("method", METHODS)
def test_topics_are_distributions_over_words_and_their_sum_of_word_vectors(method):
    training = corpus()
    found = find_topics(training, 5, method)
    assert found.weights.shape == (5, training.vocabulary.size + 1) and found.weights.min() >= 0
    np.testing.assert_allclose(found.weights.sum(1), 1, atol=1e-9)
    assert (
        found.weights[:, 0].max() == 0 == found.weights[:, training.vocabulary.ids["."]].max()
    )  # neither end marks nor full stops
    summed = found.weights @ found.word_vectors
    np.testing.assert_allclose(summed / np.linalg.norm(summed, axis=1, keepdims=True), found.vectors, atol=1e-9)
    assert found.mass.sum() == pytest.approx(1)


def test_transport_fills_every_topic_alike_and_k_means_does_not():
    """The uniform topic marginal: a subject with many different sentences gets more topics instead of one large one."""
    training = corpus((3, 60, 3))
    balanced, free = find_topics(training, 4, "ot_topics"), find_topics(training, 4, "kmeans")
    np.testing.assert_allclose(balanced.mass, 0.25, atol=2e-3)
    assert free.mass.max() > 0.4
    assert (subject_weights(balanced, training.vocabulary).argmax(1) == 1).sum() >= 2


def test_topics_move_to_what_they_receive(monkeypatch):
    """Each round's means are nearer to the sentences than the sentences the search began at."""
    training = corpus()
    texts = [split_sentences(np.array(training.tokens(i)), training.vocabulary.ids["."])[0] for i in training.indices]
    nearness = {}
    for rounds in (1, 15):
        monkeypatch.setattr(topics, "ROUNDS", rounds)
        found = find_topics(training, 6)
        vectors = bags(texts, training.vocabulary.size) @ (
            found.word_vectors * inverse_frequency(bags(texts, training.vocabulary.size))[:, None]
        )
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        nearness[rounds] = (vectors @ found.vectors.T).max(1).mean()
    assert nearness[15] > nearness[1] + 0.005


def test_a_repeated_sentence_counts_once():
    training = corpus()
    copied = SimpleNamespace(**{**vars(training), "indices": [*training.indices, *[0] * 500]})
    np.testing.assert_allclose(find_topics(copied, 4).weights, find_topics(training, 4).weights, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_topics(method):
    training = corpus()
    one, two, other = (find_topics(training, 6, method, seed=seed).weights for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_more_topics_than_sentences_repeat_and_stay_finite(method):
    found = find_topics(corpus((1, 1, 1)), 8, method)
    assert np.isfinite(found.weights).all()
    np.testing.assert_allclose(found.weights.sum(1), 1, atol=1e-9)
    assert len(np.unique(found.weights.round(3), axis=0)) <= 3 or method == "ot_topics"


def test_many_sentences_are_sampled(monkeypatch):
    monkeypatch.setattr(topics, "LARGEST", 20)
    training = corpus()
    one, two = find_topics(training, 3), find_topics(training, 3)
    assert np.array_equal(one.weights, two.weights)
    assert len(topics._some(bags([(1,)] * 50, 3), seed=0).indptr) == 21


def test_label_topics_come_from_the_reports_with_that_label_alone():
    """XProNet Eq. 4-7 on text: equal shares among the labels there are, the first one more; a class of fewer reports
    than its share repeats them."""
    training = corpus((40, 40, 1))
    found = find_topics(training, 8, "label_kmeans")
    shares = subject_weights(found, training.vocabulary)
    assert shares.argmax(1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    rest = shares.sum(1) - shares.max(1)
    np.testing.assert_allclose(rest, 0, atol=1e-12)
    np.testing.assert_array_equal(found.weights[6], found.weights[7])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((120, 14)), "no training study has any"),
        (np.ones((3, 14)), "labels of 3 studies and 120 training reports"),
    ],
)
def test_labels_that_cannot_group_are_refused(labels, says):
    training = SimpleNamespace(**{**vars(corpus()), "labels": labels})
    with pytest.raises(ConfigurationError, match=says):
        find_topics(training, 5, "label_kmeans")


def test_other_mistakes_are_named():
    with pytest.raises(ConfigurationError, match="'lda' is no way"):
        find_topics(corpus(), 3, "lda")
    with pytest.raises(ConfigurationError, match="0 topics"):
        find_topics(corpus(), 0)
    silent = SimpleNamespace(indices=[0, 1], tokens=[[0, 0], [0, 0]].__getitem__, vocabulary=Vocabulary(("<unk>",)))
    with pytest.raises(ReportError, match="2 training reports hold no sentence"):
        find_topics(silent, 3)


# --- words and sentences ----------------------------------------------------------------------------------------------


def test_sentences_end_at_full_stops():
    assert split_sentences(np.array([0, 4, 5, 9, 9, 6, 9, 0]), stop=9) == [(4, 5), (6,)]
    assert split_sentences(np.array([0, 4, 5]), stop=9) == [(4, 5)]
    assert split_sentences(np.array([0, 9, 0]), stop=9) == []


def test_bags_count_and_rare_words_weigh_more():
    counts = bags([(1, 2, 2), (1, 3), (1,)], size=4)
    assert counts.toarray().tolist() == [[0, 1, 2, 0, 0], [0, 1, 0, 1, 0], [0, 1, 0, 0, 0]]
    rarity = inverse_frequency(counts)
    np.testing.assert_allclose(rarity, [0, np.log(4 / 3), np.log(4), np.log(4), 0])


def test_words_that_stand_in_the_same_sentences_are_near():
    training = corpus()
    texts = [
        s for i in training.indices for s in split_sentences(np.array(training.tokens(i)), training.vocabulary.ids["."])
    ]
    vectors = word_vectors(bags(texts, training.vocabulary.size), 3)
    at = lambda word: vectors[training.vocabulary.ids[word]] / np.linalg.norm(vectors[training.vocabulary.ids[word]])  # noqa: E731
    assert at("heart") @ at("silhouette") > 0.8 > 0.4 > at("heart") @ at("opacity")
    assert np.abs(vectors[0]).max() < 1e-9


def test_word_vectors_decompose_the_positive_mutual_information():
    """M_vw = max(0, log n n_vw / (n_v n_w)), counted by hand; U √S of its singular values S, so (W W^T)^2 = M M^T."""
    texts = [(1, 2), (1, 2), (1, 3), (2, 3, 4), (4, 5), (5, 5, 1)]
    m = np.zeros((6, 6))
    for v in range(1, 6):
        for w in range(1, 6):
            both, one, other = (sum({*words} <= {*text} for text in texts) for words in ((v, w), (v,), (w,)))
            m[v, w] = max(0.0, np.log(6 * both / (one * other))) if both else 0.0
    assert (m == 0).sum() > 11 + 6  # of words that do meet, some do so less often than by chance
    inner = (vectors := word_vectors(bags(texts, 5), 6)) @ vectors.T
    np.testing.assert_allclose(inner @ inner, m @ m.T, atol=1e-9)
