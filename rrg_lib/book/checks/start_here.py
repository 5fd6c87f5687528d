"""What the exercises of chapter 00 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.comparing import (
    NUMBER_TOLERANCE,
    compare_explanations,
    compare_number,
    explanation,
    number,
)
from rrg_lib.data.mesh_codes import parse_code
from rrg_lib.data.study import Study

#: Written for the check: ids in one order, reports in another.
_REPORTS = {
    **{"c": "heart is large .", "d": "no effusion ."},
    **dict.fromkeys("abe", "lungs are clear ."),
    **dict.fromkeys("fg", "the spine is bent ."),
}


def distinct(answer: Callable[[Mapping[str, str]], float], *, other: int = 0) -> None:
    """Exercise 0.1: the share of reports that no other study got."""
    draw = random.Random(other)
    more = {f"e{i}": draw.choice([f"text {n} ." for n in range(9)]) for i in range(draw.randint(9, 20) if other else 0)}
    reports = _REPORTS | more
    counts, studies = Counter(reports.values()), len(reports)
    alone = sum(count == 1 for count in counts.values())
    slips: dict[str, float] = {
        "that is the number of different texts over the number of studies; only what no other study got is unique": (
            len(counts) / studies
        ),
        "a share is wanted, a number between 0 and 1: divide by the number of studies": alone,
        "that is the share of reports that another study got too": 1 - alone / studies,
        "that is divided by the number of different texts: divide by the number of studies": alone / len(counts),
    }
    of = f"of {studies} reports {studies - alone} have a double and {alone} are unique: the share"
    compare_number("unique", number("unique", answer, dict(reports)), alone / studies, slips, of)
    alike, one = number("unique", answer, {"x": "same", "y": "same"}), number("unique", answer, {"x": "one"})
    if math.isclose(alike, 1 / 2):
        raise CheckError("a text that two studies got was counted once: neither of the two is unique")
    if not math.isclose(alike, 0, abs_tol=NUMBER_TOLERANCE) or not math.isclose(one, 1):
        raise CheckError("when all studies get the same report none is unique, and a report alone is")


#: What experts may have coded of a study: drawn findings, with a CheXpert observation and without, alone, together, and
#: before or behind a code that is not drawn; and codes that are not drawn, with a side or how severe, and without.
_ILL = (
    ("Cardiomegaly/mild",),
    ("Pleural Effusion/left",),
    ("Scoliosis/thoracic vertebrae",),
    ("Calcified Granuloma/lung/upper lobe/right",),
    ("Kyphosis/mild", "Nodule/lung"),
    ("Opacity/lung/base/left", "Atherosclerosis/aorta"),
    ("Cardiomegaly/mild", "Opacity/lung/base/left"),
)
_STRANGE = (
    ("Calcinosis/lung/hilum/left",),
    ("Diaphragmatic Eventration/right",),
    ("Arthritis/mild",),
    ("Hernia, Hiatal", "Kyphosis/mild"),
)


def abnormal(answer: Callable[[Sequence[Study]], float], *, other: int = 0) -> None:
    """Exercise 0.2: the share of abnormal studies."""
    draw, cases = random.Random(other), []
    for normal, ill, strange in ((3, 7, 4), (2 + draw.randint(0, 9), 1, 3), (0, 3, 0), (4, 0, 0)):
        coded = [("normal",)] * normal + draw.sample(_ILL, ill) + draw.sample(_STRANGE, strange)
        cases.append(
            tuple(
                Study(f"made-{i}", "test", "made for the check .", tuple(map(parse_code, codes)))
                for i, codes in enumerate(draw.sample(coded, len(coded)))
            )
        )
    answers = [number("abnormal", answer, studies) for studies in cases]

    def share(of: Callable[[Study], float]) -> list[float]:
        return [sum(map(of, studies)) / len(studies) for studies in cases]

    right = share(lambda study: study.is_abnormal)
    slips = {
        "that is the share of normal studies: turn it round": [1 - part for part in right],
        "every study has a code, 'normal' among them: ask which codes are of a drawn finding": share(
            lambda study: bool(study.findings)
        ),
        "a code other than 'normal' may be of something that is not drawn: ask which codes are of a drawn finding": (
            share(lambda study: study.findings[0].head != "normal")
        ),
        "those are CheXpert's observations: a scoliosis or a granuloma is drawn and has none": share(
            lambda study: any(finding.observation for finding in study.findings)
        ),
        "a drawn finding may stand behind another code: look at all codes of a study, not at the first": share(
            lambda study: study.findings[0].drawn is not None
        ),
        "a drawn finding may stand before another code: look at all codes of a study, not at the last": share(
            lambda study: study.findings[-1].drawn is not None
        ),
        "that is their number; a share is wanted: divide by the number of studies": [
            part * len(studies) for part, studies in zip(right, cases, strict=True)
        ],
        "that counts findings: a study with two is one abnormal study": share(lambda study: sum(study.drawn)),
    }
    for hint, wrong in slips.items():
        if all(math.isclose(a, b, abs_tol=NUMBER_TOLERANCE) for a, b in zip(answers, wrong, strict=True)):
            raise CheckError(hint)
    if len(set(answers)) == 1:
        raise CheckError(f"it says {answers[0]:g} of all studies: does it look at those it is given?")
    for got, part, studies in zip(answers, right, cases, strict=True):
        compare_number("abnormal", got, part, {}, f"the share of abnormal ones among these {len(studies)} studies")


def view_of_box(answer: Callable[[str], str], *, other: int = 0) -> None:
    """Exercise 0.3: on which side of the picture is a finding of the patient's side?"""
    got = tuple(
        answered("side_of_the_picture", answer, side) for side in ("left", "right")
    )  # two sides: there is nothing else to ask
    if got == ("left", "right"):
        raise CheckError("a film is looked at as if the patient faced you, so the sides of the two are not the same")
    if got[0] == got[1] and got[0] in ("left", "right"):
        raise CheckError(
            f"the patient's left and right can't both be {got[0]} in the picture: look at which side was asked"
        )
    if got != ("right", "left") == tuple(str(side).strip(" .").lower() for side in got):
        raise CheckError("that is meant right, but it must be the bare word in small letters")
    if got != ("right", "left"):
        raise CheckError("answer 'left' or 'right' for each of the patient's two sides")


MEASURED = ("A's lead in words that are right, of those said", "A's lead in words that are said, of those wanted")
REASONS = ("more often right", "says more", "neither")
Texts = list[str]
#: Written for the check; the first ones are said of most.
_SENTENCES = (
    "the heart is normal .",
    "the lungs are clear .",
    "no effusion and no pneumothorax .",
    "the spine is bent .",
    "a small nodule in the left lung .",
    "old fracture of a rib and of another rib .",
    "fluid on the right side .",
)


def why_it_leads(answer: Callable[[Texts, Texts, Texts], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """Exercise 0.4: `answer(references, a, b)`, texts in the same order of patients: by how much A leads B in the share
    of the words said that are right and in the share of the words wanted that are said; and "more often right" if the
    first is above 0, else "says more" if the second is, or "neither"."""
    name, cases = "why_it_leads", _systems(other)
    answers = [explanation(name, answered(name, answer, *map(list, case)), MEASURED, REASONS) for case in cases]
    right = [_leads(*case) for case in cases]

    def instead(share: Callable[[Texts, Texts], tuple[float, float]]) -> list[list[float]]:
        return [_leads(*case, share=share) for case in cases]

    slips = {
        "these are the leads of B over A: A's are asked for": [[-lead for lead in row] for row in right],
        "the two leads are exchanged: first of the words that are *said*, then of those that are *wanted*": [
            row[::-1] for row in right
        ],
        "these are quotients: a lead is a difference, A's share less B's": [
            [x / y if y else math.inf for x, y in zip(_shares(references, a), _shares(references, b), strict=True)]
            for references, a, b in cases
        ],
        "these are A's own shares: subtract B's": [list(_shares(references, a)) for references, a, _ in cases],
        "that is in percent; a share lies between 0 and 1": [[100 * lead for lead in row] for row in right],
        "you counted different words; a word that is said twice counts twice, if the reference has it twice": instead(
            _of_different
        ),
        "a word is right as often as the reference has it: who says 'heart' three times is right once where it stands "
        "once": instead(_unclipped),
        "a word is right if the reference of the *same* patient has it; you took the words of all references "
        "together": instead(_of_all),
        "you took each patient's share and the mean of these; add up the words of all patients first, then "
        "divide": instead(_mean_of_shares),
        "you counted letters: split the texts at blanks": instead(_of_letters),
        "right words were counted without their repetitions, and all words with them: count both alike": instead(
            _of_different_right
        ),
        "a report of the next patient was compared; the lists are in the same order": instead(
            lambda of, by: _shares(of, [*by[1:], by[0]])
        ),
    }
    reasons = [_reason(*row) for row in right]
    readings = {
        "to say more of what is wanted is easy for who says more; where A is more often right as well, that is the "
        "explanation": [
            "says more" if recall > 0 else "more often right" if precision > 0 else "neither"
            for precision, recall in right
        ],
        "the larger of the two leads is not what is asked: where A is more often right, it knows something that B does "
        "not": ["neither" if max(row) <= 0 else REASONS[row.index(max(row))] for row in right],
        "a lead below 0 is no lead, however large: what then is A ahead in?": [
            REASONS[0] if abs(row[0]) > abs(row[1]) else REASONS[1] for row in right
        ],
        "where A is behind in both, there is nothing that it does better": [
            reason if reason != "neither" else "says more" for reason in reasons
        ],
        "more often right is who leads in the words *said*; says more who leads in the words *wanted*": [
            {"more often right": "says more", "says more": "more often right", "neither": "neither"}[reason]
            for reason in reasons
        ],
    }
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _reason(precision: float, recall: float) -> str:
    return "more often right" if precision > 0 else "says more" if recall > 0 else "neither"


def _shares(references: Texts, reports: Texts) -> tuple[float, float]:
    """Of the words that are said, the share that is right; of those that are wanted, the share that is said."""
    return _divided(
        [
            (Counter(report.split()), Counter(reference.split()))
            for reference, report in zip(references, reports, strict=True)
        ]
    )


def _divided(pairs: Sequence[tuple[Counter[str], Counter[str]]]) -> tuple[float, float]:
    right = sum((written & wanted).total() for written, wanted in pairs)
    return right / sum(written.total() for written, _ in pairs), right / sum(wanted.total() for _, wanted in pairs)


def _of_different(references: Texts, reports: Texts) -> tuple[float, float]:
    return _divided(
        [
            (Counter({*report.split()}), Counter({*reference.split()}))
            for reference, report in zip(references, reports, strict=True)
        ]
    )


def _of_letters(references: Texts, reports: Texts) -> tuple[float, float]:
    return _divided([(Counter(report), Counter(of)) for of, report in zip(references, reports, strict=True)])


def _of_different_right(references: Texts, reports: Texts) -> tuple[float, float]:
    pairs = [(report.split(), reference.split()) for reference, report in zip(references, reports, strict=True)]
    right = sum(len({*written} & {*wanted}) for written, wanted in pairs)
    return right / sum(len(written) for written, _ in pairs), right / sum(len(wanted) for _, wanted in pairs)


def _unclipped(references: Texts, reports: Texts) -> tuple[float, float]:
    pairs = [(report.split(), reference.split()) for reference, report in zip(references, reports, strict=True)]
    right = sum(word in wanted for written, wanted in pairs for word in written)
    return right / sum(len(written) for written, _ in pairs), right / sum(len(wanted) for _, wanted in pairs)


def _of_all(references: Texts, reports: Texts) -> tuple[float, float]:
    return _divided([(Counter(" ".join(reports).split()), Counter(" ".join(references).split()))])


def _mean_of_shares(references: Texts, reports: Texts) -> tuple[float, float]:
    shares = [_shares([reference], [report]) for reference, report in zip(references, reports, strict=True)]
    return sum(precision for precision, _ in shares) / len(shares), sum(recall for _, recall in shares) / len(shares)


def _leads(
    references: Texts, a: Texts, b: Texts, *, share: Callable[[Texts, Texts], tuple[float, float]] = _shares
) -> list[float]:
    return [x - y for x, y in zip(share(references, a), share(references, b), strict=True)]


#: What A and B are like in a case: the share of their sentences that are the patient's own, and how many they say; and
#: what the leads must be besides. None of the reasons is always right where the same lead is the larger one, or where
#: both have the same sign.
_KINDS: tuple[tuple[str, tuple[float, int], tuple[float, int], Callable[[float, float], bool]], ...] = (
    ("more often right", (0.9, 2), (0.3, 5), lambda precision, recall: recall < 0),
    ("more often right", (0.9, 4), (0.1, 4), lambda precision, recall: 0 < recall < precision - 0.02),
    ("more often right", (0.6, 5), (0.4, 1), lambda precision, recall: recall > precision + 0.02),
    ("says more", (0.4, 5), (0.6, 2), lambda precision, recall: -precision < recall - 0.02),
    ("says more", (0.2, 4), (0.9, 2), lambda precision, recall: -precision > recall + 0.02),
    ("neither", (0.2, 5), (0.9, 4), lambda precision, recall: precision < recall - 0.02),
    ("neither", (0.5, 2), (0.8, 4), lambda precision, recall: recall < precision - 0.02),
)


def _systems(other: int) -> list[tuple[Texts, Texts, Texts]]:
    """References and the reports of two systems, of as many patients; no lead is close to 0."""
    draw, cases = random.Random(other), []
    for reason, *systems, fits in _KINDS:
        while True:
            wanted = [
                draw.choices(_SENTENCES, weights=(5, 5, 5, 1, 1, 1, 1), k=draw.randint(2, 5))
                for _ in range(draw.randint(6, 9))
            ]
            written = [[_report(draw, reference, *system) for reference in wanted] for system in systems]
            case = ([" ".join(reference) for reference in wanted], *written)
            leads = _leads(*case)
            if _reason(*leads) == reason and min(map(abs, leads)) > 0.02 and fits(*leads):
                break
        cases.append(case)
    return draw.sample(cases, len(cases))


def _report(draw: random.Random, reference: Sequence[str], looks: float, sentences: int) -> str:
    return " ".join(
        reference[i] if i < len(reference) and draw.random() < looks else draw.choice(_SENTENCES)
        for i in range(max(1, sentences + draw.randint(-1, 1)))
    )
