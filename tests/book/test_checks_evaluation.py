"""Chapter 09's checks: the solved form passes, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import partial

import numpy as np
import pytest

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import evaluation as checks
from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.evaluation.clinical import clinical_scores, counted, finding_f1
from rrg_lib.evaluation.conventions import CHOICES
from rrg_lib.evaluation.nlg import nlg_scores


def grams(text, n, last=True):
    words = text.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + int(last)))


def matches(
    how: str = "clipped", total: str = "hypothesis", fixed: int | None = None, last: bool = True, swap: bool = False
):
    def answer(hypothesis, reference, n):
        said, wanted = (grams(text, fixed or n, last) for text in (hypothesis, reference))
        found = {
            "clipped": sum((said & wanted).values()),
            "unclipped": sum(count for gram, count in said.items() if gram in wanted),
            "sets": len(said.keys() & wanted.keys()),
        }[how]
        out_of = {"hypothesis": said.total(), "reference": wanted.total(), "distinct": len(said)}[total]
        return (out_of, found) if swap else (found, out_of)

    return answer


def bleu(clip: bool = True, brevity: str = "corpus", mean: str = "geometric", over: str = "corpus", swap: bool = False):
    def answer(references, hypotheses, n=4):
        if swap:
            references, hypotheses = hypotheses, references
        if over == "reports":
            return np.mean([bleu()([r], [h], n) for r, h in zip(references, hypotheses, strict=True)])
        count = matches("clipped" if clip else "unclipped")
        counted = np.array(
            [[count(h, r, k) for k in range(1, n + 1)] for r, h in zip(references, hypotheses, strict=True)],
            dtype=float,
        )
        p = (
            (counted[..., 0] / counted[..., 1]).mean(0)
            if over == "precisions"
            else counted[..., 0].sum(0) / counted[..., 1].sum(0)
        )
        c, r = ([len(text.split()) for text in texts] for texts in (hypotheses, references))
        penalties = [min(1.0, math.exp(1 - b / a)) for a, b in zip(c, r, strict=True)]
        penalty = {"corpus": min(1.0, math.exp(1 - sum(r) / sum(c))), "none": 1.0, "reports": np.mean(penalties)}[
            brevity
        ]
        return (
            penalty
            * {"geometric": np.prod(p) ** (1 / n), "ordinary": p.mean(), "product": np.prod(p), "longest": p[-1]}[mean]
        )

    return answer


def bootstrap(
    replace: bool = True,
    share: float = 1.0,
    score_of: str = "sum",
    level: float = 0.95,
    seeded: bool = True,
    ends: str = "quantiles",
):
    def answer(terms, score, resamples=1000, seed=0):
        rng, n = np.random.default_rng(seed if seeded else None), len(terms)
        values = []
        for _ in range(resamples):
            if score_of == "columns":
                values.append(score(np.array([rng.choice(terms[:, k], n).sum() for k in range(terms.shape[1])])))
                continue
            rows = terms[rng.choice(n, int(n * share), replace=replace)]
            values.append(score(rows.sum(0)) if score_of == "sum" else np.mean(score(rows)))
        values = score(terms) if score_of == "single" else np.array(values)
        if ends == "deviation":
            return np.mean(values) - np.std(values), np.mean(values) + np.std(values)
        if ends == "normal":
            return np.mean(values) - 1.96 * np.std(values), np.mean(values) + 1.96 * np.std(values)
        if ends == "extremes":
            return values.min(), values.max()
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return (high, low) if ends == "swapped" else (low, high)

    return answer


def in_the_loop(terms, score, resamples=1000, seed=0):
    values = [
        score(terms[np.random.default_rng(seed).integers(0, len(terms), len(terms))].sum(0)) for _ in range(resamples)
    ]
    return tuple(np.quantile(values, [0.025, 0.975]))


def without_empty_factors(references, hypotheses, n):
    longest = max(k for k in range(1, n + 1) if bleu()(references, hypotheses, k) > 0.01)
    return bleu()(references, hypotheses, longest)


def f1(kind: str):
    def scores(predicted, reference):
        hit, false, missed = (predicted * reference), predicted * (1 - reference), (1 - predicted) * reference
        return hit, false, missed

    def answer(predicted, reference):
        hit, false, missed = scores(predicted, reference)
        micro = 2 * hit.sum() / max(1, (2 * hit + false + missed).sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            each = 2 * hit.sum(0) / (2 * hit + false + missed).sum(0)
            if kind == "macro":
                return each[reference.sum(0) > 0].mean()
            if kind == "studies":
                return np.nan_to_num(2 * hit.sum(1) / (2 * hit + false + missed).sum(1)).mean()
            precision, recall = hit.sum() / max(1, predicted.sum()), hit.sum() / reference.sum()
        return {
            "micro": micro,
            "accuracy": (predicted == reference).mean(),
            "absent": f1("micro")(1 - predicted, 1 - reference) if kind == "absent" else 0,
            "precision": precision,
            "recall": recall,
            "ordinary": (precision + recall) / 2,
            "half": micro / 2,
            "double": 2 * micro,
            "Jaccard": hit.sum() / max(1, (hit + false + missed).sum()),
            "macro, none is 0": np.nan_to_num(each).mean(),
            "macro, none is 1": np.nan_to_num(each, nan=1).mean(),
            "exact": (predicted == reference).all(1).mean(),
        }[kind]

    return answer


def last_stop(before, stops):
    return max((i + 1 for i, word in enumerate(before) if word in stops), default=0)


def scope(how: str = "right"):
    """An answer to "is word `at` denied?", right or with one of the usual mistakes."""

    def answer(words, at, negations, stops):
        if how == "own words":
            negations, stops = ("no", "without"), ("but", ";")
        before = words[:at]
        marks = [word for word in before if word in (*negations, *stops)]
        right = bool(marks) and marks[-1] in negations
        return {
            "no stops": any(word in negations for word in before),
            "anywhere": any(word in negations for word in words),
            "neighbour": at > 0 and words[at - 1] in negations,
            "any stop": any(word in negations for word in before) and not any(word in stops for word in words),
            "first stop": any(word in negations for word in before) and not any(word in stops for word in before),
            "inverted": not right,
            "toggled": bool(sum(word in negations for word in words[last_stop(before, stops) : at]) % 2),
        }.get(how, right)

    return answer


def over_labels(how: str = "right"):
    """An answer to micro-F1 over a label set, right or with one of the usual mistakes."""

    def answer(answers, truth, uncertain_is_positive=False, no_finding=True):
        name, treatment = (
            "CheXpert-14" if no_finding else "CheXpert-13",
            "positive" if uncertain_is_positive else "negative",
        )
        a, b = (np.where(np.isnan(x), 1, x) if how == "blank" else x for x in (answers, truth))
        if how in ("answers alone", "truth alone"):
            other = "negative" if uncertain_is_positive else "positive"
            first = 0 if no_finding else 1
            labels = [
                counted(a, treatment if how == "answers alone" else other),
                counted(b, treatment if how == "truth alone" else other),
            ]
            return finding_f1(*(x[:, first:] for x in labels), OBSERVATIONS[first:]).micro.f1
        if how == "last" and not no_finding:
            return finding_f1(*(counted(x, treatment)[:, :-1] for x in (a, b)), OBSERVATIONS[:-1]).micro.f1
        if how == "sum":
            a, b = (np.nan_to_num(x)[:, 0 if no_finding else 1 :] for x in (a, b))
            return 2 * (a * b).sum() / max(1, a.sum() + b.sum())
        if how == "masked":
            blank = np.isnan(a) | np.isnan(b)
            a, b = np.where(blank, 0, a), np.where(blank, 0, b)
        if how == "in place":
            answers[:] = np.nan_to_num(answers)
        if how == "other set":
            name = "CheXpert-14"
        if how == "other way":
            treatment = "negative" if uncertain_is_positive else "positive"
        return getattr(clinical_scores(a, b, name, uncertain=treatment), "macro" if how == "macro" else "micro").f1

    return answer


def move(how: str = "alone"):
    """The answer to exercise 9.9, and the usual mistakes."""

    def answer(table, choice):
        f1, of_choice = table["f1"], table.groupby(choice)["f1"]
        alike = table.groupby([c for c in CHOICES if c != choice])["f1"]
        between = alike.max() - alike.min()
        return {
            "alone": between.max(),
            "whole": f1.max() - f1.min(),
            "means": of_choice.mean().max() - of_choice.mean().min(),
            "best": of_choice.max().max() - of_choice.max().min(),
            "itself": (of_choice.max() - of_choice.min()).max(),
            "mean": between.mean(),
            "smallest": between.min(),
            "deviation": alike.std().max(),
        }[how]

    return answer


def move_in_loops(table, choice):
    rows = table.to_dict("records")
    others = [c for c in CHOICES if c != choice]
    return max(abs(a["f1"] - b["f1"]) for a in rows for b in rows if all(a[c] == b[c] for c in others))


@pytest.mark.exercise("9", "right")
@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (checks.denied, scope()),
        (checks.label_set_f1, over_labels()),
        (checks.clipped_matches, matches()),
        (checks.brevity_penalty, lambda c, r: min(1, math.exp(1 - r / c))),
        (checks.brevity_penalty, lambda c, r: 1.0 if c >= r else math.exp((c - r) / c)),
        (checks.corpus_bleu, bleu()),
        (checks.bootstrap_interval, bootstrap()),
        (checks.micro_f1, f1("micro")),
        (checks.largest_move, move()),
        (checks.largest_move, move_in_loops),
    ],
)
def test_a_right_answer_passes(check, answer):
    check(answer)


@pytest.mark.exercise("9", "wrong")
@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (checks.denied, scope("no stops"), "A stop ends what a negation"),
        (checks.denied, scope("anywhere"), "comes after the finding"),
        (checks.denied, scope("neighbour"), "not to its neighbour alone"),
        (checks.denied, scope("any stop"), "between the negation and the finding"),
        (checks.denied, scope("first stop"), "the last mark before the finding decides"),
        (checks.denied, scope("inverted"), "the wrong way round"),
        (checks.denied, scope("toggled"), "does not take back the first"),
        (checks.denied, scope("own words"), "only the words of the lesson"),
        (checks.denied, lambda *inputs: "yes", "return True or False"),
        (checks.denied, lambda words, at, negations, stops: len(words) > 3, "opens a scope"),
        (checks.label_set_f1, over_labels("blank"), "blank (NaN) counts as positive"),
        (checks.label_set_f1, over_labels("masked"), "was left out, and what stands beside it"),
        (checks.label_set_f1, over_labels("in place"), "writes into the arrays"),
        (checks.label_set_f1, over_labels("other way"), "the other way round"),
        (checks.label_set_f1, over_labels("answers alone"), "in the answers alone"),
        (checks.label_set_f1, over_labels("truth alone"), "in the truth alone"),
        (checks.label_set_f1, over_labels("other set"), "should be left out"),
        (checks.label_set_f1, over_labels("last"), "the first column"),
        (checks.label_set_f1, over_labels("macro"), "that is macro-F1"),
        (checks.label_set_f1, over_labels("sum"), "added up as a number"),
        (checks.clipped_matches, matches("unclipped"), "Without clipping"),
        (checks.clipped_matches, matches("sets"), "each n-gram once"),
        (checks.clipped_matches, matches("sets", "distinct"), "compare sets"),
        (checks.clipped_matches, matches(total="reference"), "recall"),
        (checks.clipped_matches, matches(total="distinct"), "distinct n-grams"),
        (checks.clipped_matches, matches(last=False), "The last n-gram is missing"),
        (checks.clipped_matches, lambda h, r, n: (matches()(h, r, n)[0], len(h.split())), "the hypothesis' words"),
        (checks.clipped_matches, matches(swap=True), "the wrong way round"),
        (checks.clipped_matches, matches(fixed=1), "n = 2"),
        (checks.clipped_matches, lambda h, r, n: 0.5, "return two counts"),
        (checks.clipped_matches, lambda h, r, n: matches()(" ".join(h), " ".join(r), n), "split at blanks"),
        (checks.brevity_penalty, lambda c, r: min(1, math.exp(1 - c / r)), "upside down"),
        (checks.brevity_penalty, lambda c, r: math.exp(1 - r / c), "a bonus: the penalty is never above 1"),
        (checks.brevity_penalty, lambda c, r: math.exp(1 - c / r), "a short one gets a bonus"),
        (checks.brevity_penalty, lambda c, r: min(1, c / r), "plain share"),
        (checks.brevity_penalty, lambda c, r: math.exp(-r / c), "the 1 is missing"),
        (checks.brevity_penalty, lambda c, r: math.exp(r / c - 1), "the sign is wrong"),
        (checks.brevity_penalty, lambda c, r: max(1, math.exp(1 - r / c)), "the larger of the two"),
        (checks.brevity_penalty, lambda c, r: math.exp(-abs(1 - r / c)), "pay alike"),
        (checks.corpus_bleu, bleu(over="reports"), "mean of the reports' own"),
        (checks.corpus_bleu, bleu(over="precisions"), "precisions are averaged"),
        (checks.corpus_bleu, bleu(brevity="none"), "brevity penalty is missing"),
        (checks.corpus_bleu, bleu(brevity="reports"), "a mean over reports"),
        (checks.corpus_bleu, bleu(mean="ordinary"), "ordinary mean of the precisions"),
        (checks.corpus_bleu, bleu(mean="product"), "the root is missing"),
        (checks.corpus_bleu, bleu(mean="longest"), "all lengths from 1"),
        (checks.corpus_bleu, bleu(clip=False), "not clipped"),
        (checks.corpus_bleu, lambda references, hypotheses, n: bleu()(references, hypotheses), "that is BLEU-4"),
        (checks.corpus_bleu, bleu(swap=True), "swapped"),
        (checks.corpus_bleu, without_empty_factors, "leave none out"),
        (checks.bootstrap_interval, bootstrap(replace=False), "without replacement"),
        (checks.bootstrap_interval, bootstrap(share=0.5), "not half of them"),
        (checks.bootstrap_interval, bootstrap(score_of="mean"), "averaged the scores of single studies"),
        (checks.bootstrap_interval, bootstrap(score_of="single"), "quantiles of single studies"),
        (checks.bootstrap_interval, bootstrap(score_of="columns"), "draw whole rows"),
        (checks.bootstrap_interval, bootstrap(level=0.9), "about 90%"),
        (checks.bootstrap_interval, bootstrap(ends="deviation"), "one standard deviation"),
        (checks.bootstrap_interval, bootstrap(ends="normal"), "as if the score were symmetric"),
        (checks.bootstrap_interval, bootstrap(ends="extremes"), "smallest and the largest"),
        (checks.bootstrap_interval, bootstrap(ends="swapped"), "the wrong way round"),
        (
            checks.bootstrap_interval,
            lambda terms, score, resamples, seed: bootstrap()(terms, score, resamples),
            "three seeds give one result",
        ),
        (
            checks.bootstrap_interval,
            lambda terms, score, resamples, seed: bootstrap()(terms, score, 4000, seed),
            "asked for 20 resamples",
        ),
        (checks.bootstrap_interval, in_the_loop, "make the generator once"),
        (checks.bootstrap_interval, bootstrap(seeded=False), "the same seed"),
        (checks.micro_f1, f1("macro"), "mean of the findings' own"),
        (checks.micro_f1, f1("macro, none is 0"), "mean of the findings' own"),
        (checks.micro_f1, f1("macro, none is 1"), "mean of the findings' own"),
        (checks.micro_f1, f1("studies"), "mean of the studies' own"),
        (checks.micro_f1, f1("accuracy"), "true negatives"),
        (checks.micro_f1, f1("absent"), "F1 of 'absent'"),
        (checks.micro_f1, f1("precision"), "precision alone"),
        (checks.micro_f1, f1("recall"), "recall alone"),
        (checks.micro_f1, f1("ordinary"), "the harmonic one"),
        (checks.micro_f1, f1("half"), "a factor 2"),
        (checks.micro_f1, f1("double"), "over the *sum* of what each says"),
        (checks.micro_f1, f1("Jaccard"), "(Jaccard)"),
        (checks.micro_f1, f1("exact"), "everything is right"),
        (checks.largest_move, move("whole"), "must be alike in all *others*"),
        (checks.largest_move, move("means"), "the means of the choice's values"),
        (checks.largest_move, move("best"), "the best rows"),
        (checks.largest_move, move("itself"), "must be alike in all *others*"),
        (checks.largest_move, move("mean"), "the mean of the groups' differences"),
        (checks.largest_move, move("smallest"), "the smallest of the groups' differences"),
        (checks.largest_move, move("deviation"), "a standard deviation"),
        (checks.largest_move, lambda table, choice: "label_set", "return one number"),
    ],
)
def test_a_usual_mistake_gets_its_own_hint(check, answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        check(answer)


# --- 9.8: what a lead in BLEU is made of ------------------------------------------------------------------------------

NAMES = ("length", "habit", "looking")


def library_bleu(references, reports):
    numbered = [dict(enumerate(texts)) for texts in (references, reports)]
    return nlg_scores(*numbered, metrics=["BLEU-4"]).corpus["BLEU-4"]


def penalty_of(references, reports):
    wanted, said = (sum(len(text.split()) for text in texts) for texts in (references, reports))
    return min(1, math.exp(1 - wanted / said))


def most(lead):
    return NAMES[int(np.argmax(lead))] if sum(lead) > 0 else "not ahead"


def by_the_library(references, a, b):
    """What looking adds is measured by moving the references the other way instead."""
    back = [references[-1], *references[:-1]]
    length = math.log(penalty_of(references, a) / penalty_of(references, b))
    looking = [math.log(library_bleu(references, by) / library_bleu(back, by)) for by in (a, b)]
    whole = math.log(library_bleu(references, a) / library_bleu(references, b))
    lead = [length, whole - length - (looking[0] - looking[1]), looking[0] - looking[1]]
    return lead, most(lead)


def changed(
    references, a, b, *, parts=None, move=lambda texts: [*texts[1:], texts[0]], penalty=penalty_of, sign=1, reason=most
):
    """The right answer unless told otherwise; `parts` maps penalty, score and score of the exchanged reports to the
    three parts."""
    parts = parts or (lambda p, s, e: (math.log(p), math.log(e / p), math.log(s / e)))
    of_a, of_b = (
        parts(penalty(references, by), checks._bleu(references, by), checks._bleu(references, move(by)))
        for by in (a, b)
    )
    lead = sign * np.subtract(of_a, of_b)
    return tuple(lead), reason(lead)


def if_ahead(choose):
    return lambda lead: choose(lead) if sum(lead) > 0 else "not ahead"


def length_said(references, a, b):
    (_, habit, looking), reason = changed(references, a, b)
    return (math.log(checks._words(a) / checks._words(b)), habit, looking), reason


def alone(references, a, b):
    penalty, own, exchanged = (
        penalty_of(references, a),
        checks._bleu(references, a),
        checks._bleu(references, checks._next(a)),
    )
    return (math.log(penalty), math.log(exchanged / penalty), math.log(own / exchanged)), changed(references, a, b)[1]


def nothing_moved(references, a, b):
    return changed(references, a, b, move=lambda texts: texts)


@pytest.mark.exercise("9.8", "right")
@pytest.mark.parametrize("answer", [by_the_library, changed])
def test_a_right_account_of_a_lead_passes(answer):
    checks.why_ahead(answer)


@pytest.mark.exercise("9.8", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(changed, sign=-1), "these are the parts of B's lead"),
        (partial(changed, parts=lambda p, s, e: (p, e / p, s / e)), "differences of *logarithms*"),
        (
            partial(changed, parts=lambda p, s, e: (math.log(p), math.log(e), math.log(s / e))),
            "habit still holds the brevity penalty",
        ),
        (
            partial(changed, parts=lambda p, s, e: (math.log(p), math.log(e / p), math.log(s / p))),
            "one's own *over* one of another study",
        ),
        (nothing_moved, "so nothing was exchanged"),
        (partial(changed, parts=lambda p, s, e: (math.log(p), math.log(s / e), math.log(e / p))), "in another order"),
        (partial(changed, parts=lambda p, s, e: np.log10([p, e / p, s / e])), "take natural ones"),
        (partial(changed, parts=lambda p, s, e: np.log2([p, e / p, s / e])), "to another base than e"),
        (alone, "that is A alone"),
        (
            partial(changed, penalty=lambda references, reports: penalty_of(reports, references)),
            "the wrong way round: the hypotheses' words come first",
        ),
        (
            partial(
                changed, penalty=lambda references, reports: penalty_of(["x"] * len(references), ["x"] * len(reports))
            ),
            "compares words",
        ),
        (
            partial(changed, reason=lambda lead: NAMES[int(np.argmax(lead))] if sum(lead) >= 0 else "not ahead"),
            "no lead over itself",
        ),
        (length_said, "what counts of it is the brevity penalty"),
        (partial(changed, move=lambda texts: [texts[-1], *texts[:-1]]), "of the one before it"),
        (partial(changed, reason=lambda lead: NAMES[int(np.argmax(lead))]), "A has no lead to explain"),
        (
            partial(changed, reason=if_ahead(lambda lead: NAMES[int(np.argmax(np.abs(lead)))])),
            "a part below 0 pulls A back",
        ),
        (partial(changed, reason=lambda lead: NAMES[int(np.argmax(np.abs(lead)))]), "the size of a part is not enough"),
        (partial(changed, reason=if_ahead(lambda lead: NAMES[int(np.argmin(lead))])), "the wrong way round"),
        (
            partial(changed, reason=if_ahead(lambda lead: "looking" if lead[2] > 0 else most(lead))),
            "a part of looking above 0",
        ),
        (
            partial(changed, reason=if_ahead(lambda lead: "length" if lead[0] > 0 else most(lead))),
            "a part of length above 0",
        ),
        (partial(changed, reason=lambda lead: "habit"), "do not support 'habit'"),
        (lambda *_: ((0.1, 0.0, 0.2), "looking"), "is not right"),
        (lambda *_: ((0.1, math.nan, 0.2), "looking"), "is not right"),
        (lambda *inputs: (changed(*inputs)[0][:2], "looking"), "3 are asked for"),
        (lambda *inputs: changed(*inputs)[1], "it returns a str; return two things"),
        (lambda *inputs: changed(*inputs)[::-1], "in this order"),
        (lambda *inputs: (0.2, "looking"), "can't be read as numbers"),
        (lambda *inputs: (np.ones((3, 3)), "looking"), "can't be read as numbers"),
        (lambda *inputs: (changed(*inputs)[0], "style"), "'style' is none of the reasons"),
        (lambda references, a, b: changed(references[0], a, b), "it stops with"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_account_of_a_lead_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_ahead(answer)


@pytest.mark.parametrize("other", range(6))
def test_every_reason_is_asked_for_twice_and_the_parts_add_up_to_the_lead(other):
    said = []
    (beside_itself,) = (case for case in checks._systems(other) if case[1] == case[2])
    assert changed(*beside_itself) == ((0.0, 0.0, 0.0), "not ahead")
    for references, a, b in (case for case in checks._systems(other) if case != beside_itself):
        lead, reason = by_the_library(references, a, b)
        assert sum(lead) == pytest.approx(math.log(library_bleu(references, a) / library_bleu(references, b)))
        assert min(lead) < 0 < max(lead) and abs(sum(lead)) > 0.09
        said.append(reason)
    assert sorted(said) == sorted(checks.REASONS * 2)
    checks.why_ahead(changed, other=other)


def test_a_constant_report_has_nothing_of_looking():
    references, a, _ = checks._systems(0)[0]
    lead, _ = changed(references, a, [a[0]] * len(a))
    assert lead[2] == pytest.approx(math.log(checks._bleu(references, a) / checks._bleu(references, checks._next(a))))
