"""The check of exercise 9.8: what a lead in BLEU is made of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache

from rrg_lib.book.checks import answered
from rrg_lib.book.checks.evaluation import _grams
from rrg_lib.book.checks.explanations import compare, explanation

MEASURED = ("the part of length", "the part of habit", "the part of looking")
REASONS = ("length", "habit", "looking", "not ahead")
Texts = list[str]
#: Written for the check; the first ones are said of most.
SENTENCES = (
    "the heart is normal in size .",
    "the lungs are clear of focal disease .",
    "there is no pleural effusion seen .",
    "there is a small left effusion .",
    "the heart is enlarged once again .",
    "old healed fracture of one rib .",
    "there is a nodule in the left lung .",
    "the spine shows degenerative changes today .",
)


def why_ahead(answer: Callable[[Texts, Texts, Texts], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """`answer(references, a, b)`: what length, habit and looking add to log(BLEU-4 of A / BLEU-4 of B), and which adds
    most, or "not ahead"."""
    name, cases = "why_ahead", _systems(other)
    found = [explanation(name, answered(name, answer, *map(list, case)), MEASURED, REASONS) for case in cases]
    # of A and of B in each case: penalty, BLEU-4 with each study's own report, and with the next study's
    scores = [[(_penalty(of, by), _bleu(of, by), _bleu(of, _next(by))) for by in (a, b)] for of, a, b in cases]

    def instead(parts: Callable[[float, float, float], tuple[float, float, float]]) -> list[list[float]]:
        return [[x - y for x, y in zip(parts(*a), parts(*b), strict=True)] for a, b in scores]

    log = math.log
    right = instead(lambda p, s, e: (log(p), log(e / p), log(s / e)))
    counts = [[log(min(1.0, math.exp(1 - _words(by) / _words(of)))) for by in (a, b)] for of, a, b in cases]
    longer = [log(_words(a) / _words(b)) for _, a, b in cases]
    slips = {
        "these are the parts of B's lead over A: A's are asked for": [[-part for part in row] for row in right],
        "that is A alone: the lead is A's parts less B's": [
            [log(p), log(e / p), log(s / e)] for (p, s, e), _ in scores
        ],
        "`brevity_penalty` got its two lengths the wrong way round: the hypotheses' words come first": [
            [(wrong := x - y), row[1] + row[0] - wrong, row[2]] for (x, y), row in zip(counts, right, strict=True)
        ],
        "the brevity penalty compares words; with as many reports as references it is 1 for everybody": [
            [0.0, row[0] + row[1], row[2]] for row in right
        ],
        "these are differences of scores: a BLEU is a product, so it is the differences of *logarithms* that add "
        "up": instead(lambda p, s, e: (p, e / p, s / e)),
        "habit still holds the brevity penalty: divide the BLEU of the exchanged reports by it, or length is counted "
        "twice": instead(lambda p, s, e: (log(p), log(e), log(s / e))),
        "what looking adds is a report of one's own *over* one of another study: divide by the BLEU of the exchanged "
        "reports": instead(lambda p, s, e: (log(p), log(e / p), log(s / p))),
        "looking is 0 for everybody here, so nothing was exchanged: move the reports of a system, and leave the "
        "references where they are": instead(lambda p, s, e: (log(p), log(s / p), 0.0)),
        "the parts are in another order: length, habit, looking": instead(
            lambda p, s, e: (log(p), log(s / e), log(e / p))
        ),
        "the logarithms are to another base: take natural ones": [[part / log(10) for part in row] for row in right],
        "the logarithms are to another base than e: take natural ones": [
            [part / log(2) for part in row] for row in right
        ],
        "how much more A says is not what length costs: what counts of it is the brevity penalty": [
            [more, *row[1:]] for more, row in zip(longer, right, strict=True)
        ],
        "every study is to get the report of the *next* one (the last that of the first); here it got that of the one "
        "before it": [
            [row[0], *(x - y for x, y in zip(*back, strict=True))]
            for row, back in zip(right, [[_back(of, by) for by in (a, b)] for of, a, b in cases], strict=True)
        ],
    }
    largest = [REASONS[max(range(3), key=row.__getitem__)] for row in right]
    reasons = [reason if sum(row) > 0 else "not ahead" for reason, row in zip(largest, right, strict=True)]
    readings = {
        "where the three parts add up to no more than 0, A has no lead to explain": largest,
        "a system has no lead over itself: what adds up to 0 is not ahead": [
            reason if sum(row) >= 0 else "not ahead" for reason, row in zip(largest, right, strict=True)
        ],
        "a part below 0 pulls A back, however large it is: the largest *gain* explains the lead": [
            reason if reason == "not ahead" else REASONS[max(range(3), key=lambda i: abs(row[i]))]
            for reason, row in zip(reasons, right, strict=True)
        ],
        "the size of a part is not enough: one below 0 pulls A back, and where the sum is below 0 there is no lead": [
            REASONS[max(range(3), key=lambda i: abs(row[i]))] for row in right
        ],
        "the smallest part explains least: it is the wrong way round": [
            reason if reason == "not ahead" else REASONS[min(range(3), key=row.__getitem__)]
            for reason, row in zip(reasons, right, strict=True)
        ],
        "a part of looking above 0 is not enough: does it add *most*?": [
            reason if reason == "not ahead" else "looking" if row[2] > 0 else reason
            for reason, row in zip(reasons, right, strict=True)
        ],
        "a part of length above 0 is not enough: does it add *most*?": [
            reason if reason == "not ahead" else "length" if row[0] > 0 else reason
            for reason, row in zip(reasons, right, strict=True)
        ],
    }
    compare(name, found, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _next(reports: Texts) -> Texts:
    return [*reports[1:], reports[0]]


def _words(texts: Texts) -> int:
    return sum(len(text.split()) for text in texts)


def _penalty(references: Texts, reports: Texts) -> float:
    return min(1.0, math.exp(1 - _words(references) / _words(reports)))


def _bleu(references: Texts, reports: Texts) -> float:
    """BLEU-4 of the corpus (Papineni et al. 2002)."""
    product = 1.0
    for n in range(1, 5):
        pairs = [
            (_grams(report, n), _grams(reference, n)) for report, reference in zip(reports, references, strict=True)
        ]
        product *= sum((said & wanted).total() for said, wanted in pairs) / max(
            1, sum(said.total() for said, _ in pairs)
        )
    return _penalty(references, reports) * product**0.25


def _back(references: Texts, reports: Texts) -> tuple[float, float]:
    """Habit and looking, measured with the report of the study before."""
    exchanged = _bleu(references, [reports[-1], *reports[:-1]])
    return math.log(exchanged / _penalty(references, reports)), math.log(_bleu(references, reports) / exchanged)


#: What A and B are like in a case: sentences from the study, common ones among the others, sentences fewer than wanted;
#: and what its parts must be. Each reason comes twice. Once length explains the lead while looking adds as well; once
#: looking does, although habit pulls back more than that.
KINDS: tuple[tuple[str, tuple[float, float, int], tuple[float, float, int], Callable[[list[float]], bool]], ...] = (
    ("length", (0.3, 0.6, 0), (0.4, 0.6, 2), lambda gains: True),
    ("length", (0.5, 0.6, 0), (0.3, 0.6, 2), lambda gains: gains[2] > 0.03),
    ("habit", (0.3, 0.95, 1), (0.4, 0.1, 1), lambda gains: True),
    ("habit", (0.3, 0.95, 1), (0.4, 0.1, 1), lambda gains: True),
    ("looking", (0.9, 0.5, 1), (0.1, 0.8, 0), lambda gains: True),
    ("looking", (0.4, 0.0, 0), (0.0, 1.0, 1), lambda gains: gains[1] < -gains[2] - 0.02),
    ("not ahead", (0.4, 0.4, 2), (0.5, 0.8, 0), lambda gains: True),
    ("not ahead", (0.4, 0.4, 2), (0.5, 0.8, 0), lambda gains: True),
)


@cache
def _systems(other: int) -> list[tuple[Texts, Texts, Texts]]:
    """References and two systems, each reason twice, drawn until no two parts are close, one of them is above 0, and
    another below; and one beside itself."""
    draw, cases = random.Random(other), []
    for reason, *kinds, fits in KINDS:
        while True:
            wanted = [draw.choices(SENTENCES, weights=(6, 6, 6, 2, 2, 2, 2, 2), k=draw.randint(3, 5)) for _ in range(9)]
            references, (a, b) = (
                [" ".join(sentences) for sentences in wanted],
                [_reports(draw, wanted, *kind) for kind in kinds],
            )
            if min(_bleu(references, moved) for by in (a, b) for moved in (by, _next(by), [by[-1], *by[:-1]])) < 1e-6:
                continue
            parts = [_parts(references, by) for by in (a, b)]
            gains = [x - y for x, y in zip(*parts, strict=True)]
            low, middle, high = sorted(gains)
            found = REASONS[gains.index(high)] if sum(gains) > 0 else REASONS[-1]
            if (
                found == reason
                and abs(sum(gains)) > 0.1
                and high > max(0.1, middle + 0.1)
                and low < -0.01
                and fits(gains)
            ):
                break
        cases.append((references, a, b))
    cases.append((references, a, list(a)))
    return draw.sample(cases, len(cases))


def _parts(references: Texts, by: Texts) -> tuple[float, float, float]:
    penalty, own, exchanged = _penalty(references, by), _bleu(references, by), _bleu(references, _next(by))
    return math.log(penalty), math.log(exchanged / penalty), math.log(own / exchanged)


def _reports(draw: random.Random, wanted: list[list[str]], looks: float, common: float, fewer: int) -> Texts:
    """Reports that have a share `looks` of the sentences from the study, the others from the common ones or from any;
    `fewer` sentences than wanted."""
    reports = []
    for sentences in wanted:
        said = [
            own if draw.random() < looks else draw.choice(SENTENCES[:3] if draw.random() < common else SENTENCES[3:])
            for own in sentences[: max(1, len(sentences) - fewer)]
        ]
        reports.append(" ".join(said))
    return reports
