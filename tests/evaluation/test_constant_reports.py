"""One report for everybody: its BLEU equals the scorer's, and the search finds what no single edit improves."""

from __future__ import annotations

from itertools import chain, permutations

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from rrg_lib.evaluation.constant_reports import (
    MAX_SENTENCES,
    ConstantBleu,
    _edits,
    constant_bleu,
    frequent_sentences,
    improved,
    sentences_of,
    shares_a_content_word,
)

WORDS = ["no", "lungs", "clear", "heart", "normal", "the", "is", "are", ".", "and"]


def texts(n: int, seed: int, longest: int = 30) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=draw.integers(1, longest))) for _ in range(n)]


def test_many_random_constants_score_as_the_scorer_says():
    references = texts(40, seed=0)
    candidates = [
        *texts(60, seed=1, longest=90),
        "",
        "zebra",
        "zebra . zebra .",
        "no",
        "no no no no no no no no no no no no no no no no no no",
    ]
    expected = [
        Bleu(4).compute_score({i: [r] for i, r in enumerate(references)}, {i: [c] for i in range(40)}, verbose=0)[0]
        for c in candidates
    ]
    np.testing.assert_allclose(constant_bleu(candidates, references), expected, rtol=1e-12)


def test_candidates_are_scored_alike_alone_and_among_thousands():
    bleu, candidates = ConstantBleu(texts(20, seed=2)), texts(4500, seed=3)
    together = bleu(candidates)
    assert together.shape == (4500, 4)
    for i in (0, 2047, 2048, 4499):
        np.testing.assert_allclose(bleu([candidates[i]])[0], together[i], rtol=1e-14)
    assert bleu([]).shape == (0, 4)


def test_one_reference_gives_the_bleu_of_a_sentence():
    reference, candidates = "the heart is normal . the lungs are clear .", texts(12, seed=4)
    expected = [Bleu(4).compute_score({0: [reference]}, {0: [c]}, verbose=0)[0] for c in candidates]
    np.testing.assert_allclose(ConstantBleu([reference])(candidates), expected, rtol=1e-12)


def test_sentences_end_with_their_stop_and_a_cut_one_is_left_out():
    assert sentences_of("lungs are clear . . heart is normal . no pleural") == [
        ("lungs", "are", "clear", "."),
        ("heart", "is", "normal", "."),
    ]
    assert sentences_of("") == []
    assert frequent_sentences(["b . a .", "a . c ."], 2) == [("a", "."), ("b", ".")]


def test_sentences_may_share_stop_words_only():
    assert not shares_a_content_word([("the", "heart", "is", "normal", "."), ("there", "is", "no", "effusion", ".")])
    assert shares_a_content_word([("the", "heart", "is", "normal", "."), ("heart", "size", ".")])
    assert not shares_a_content_word([("clear", "clear", ".")])  # within one sentence a word may come twice


def test_an_edit_inserts_deletes_replaces_or_swaps_one_sentence():
    a, b, c = ("a", "."), ("b", "."), ("c", ".")
    found = set(_edits((a, b), [a, c]))
    assert found == {
        *{(a, a, b), (c, a, b), (a, c, b), (a, b, a), (a, b, c)},
        *{(b,), (a,)},
        *{(c, b), (a, a), (a, c)},
        (b, a),
    }


def test_the_search_ends_where_no_edit_is_better_and_keeps_to_its_limits():
    references = [
        " ".join([*a, *b, *c])
        for a, b, c in permutations([("heart", "normal", "."), ("lungs", "clear", "."), ("no", "effusion", ".")])
    ]
    pool = [
        ("heart", "normal", "."),
        ("lungs", "clear", "."),
        ("no", "effusion", "."),
        ("zebra", "."),
        ("no", "zebra", "."),
    ]
    bleu = ConstantBleu(references)
    score, found = improved((), pool, bleu)
    assert set(found) == set(pool[:3]) and len(found) == 3
    assert score == bleu.of_words([[*chain.from_iterable(found)]])[0, 3]
    around = [edited for edited in _edits(found, pool) if edited]
    assert bleu.of_words([[*chain.from_iterable(edited)] for edited in around])[:, 3].max() <= score
    assert improved(found, pool, bleu) == (score, found)
    short, two = improved((), pool, bleu, max_words=6)
    assert (len(two), sum(map(len, two))) == (2, 6) and short < score
    without = lambda sentences: ("heart", "normal", ".") not in sentences  # noqa: E731
    assert ("heart", "normal", ".") not in improved((), pool, bleu, allowed=without)[1]
    assert improved((), [], bleu) == (0.0, ())


def test_a_list_never_passes_twelve_sentences():
    same = ("no", ".")
    _, found = improved((), [same], ConstantBleu([" ".join([*same] * 20)]))
    assert len(found) == MAX_SENTENCES == 12


@pytest.mark.parametrize("words", [[], [""]])
def test_nothing_to_say_scores_nothing(words):
    assert constant_bleu(["no lungs ."] if words else [""], words or ["no lungs ."]).max() < 1e-6
