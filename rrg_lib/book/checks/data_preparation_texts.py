"""Those checks of chapter 01 that are asked with texts alone: they need no array and so no numpy, and run wherever
Python does, in a page of the site too."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from rrg_lib.book.checks import CheckError, answered, name_of
from rrg_lib.data.mesh_codes import parse_code
from rrg_lib.data.study import SEVERITIES, SIDES
from rrg_lib.data.text.cleaning import clean_clinical, clean_r2gen
from rrg_lib.data.text.vocabulary import UNKNOWN, Protocol, Vocabulary

TOLERANCE = 1e-9


def _close(a: float, b: float) -> bool:
    return abs(a - b) < TOLERANCE


# --- Exercise 1.1 -----------------------------------------------------------------------------------------------------

#: Written for the check: with and without side and severity, in either order, with words that only look like one.
CODES = (
    "Opacity/lung/base/left/mild",
    "Cardiomegaly/borderline",
    "normal",
    "Pleural Effusion/bilateral",
    "Scoliosis/thoracic vertebrae/right/moderate",
    "Density/mild/right",
    "Pleural Effusion/left/small",
    "Nodule/lung/upper lobe/right/posterior",
    "Thoracic Vertebrae/degenerative/severe",
    "Opacity/bright/unmoderated",
)


def side_and_severity(function: Callable[[str], tuple[str | None, str | None]], *, other: int = 0) -> None:
    """Exercise 1.1: code -> (side or None, severity or None)."""
    answers = {code: answered(name_of(function), function, code) for code in _codes(other)}
    if all(answer == (parse_code(code).severity, parse_code(code).side) for code, answer in answers.items()):
        raise CheckError("each pair is the wrong way round; the side comes first, then the severity.")
    for code, answer in answers.items():
        right = parse_code(code)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise CheckError(f"{code!r}: expected a pair (side, severity), a tuple of two, got {answer!r}")
        side, severity = answer
        for part, got, expected in (("side", side, right.side), ("severity", severity, right.severity)):
            if got != expected:
                raise CheckError(
                    f"{code!r}: the {part} is {expected!r}, not {got!r}. {_code_hint(code, part, got, expected)}"
                )


def _codes(other: int) -> tuple[str, ...]:
    """The codes above; for another number, with other sides and severities, in another order after the head."""
    draw, codes = random.Random(other), []
    for code in CODES if other else ():
        head, *qualifiers = code.split("/")
        qualifiers = [
            draw.choice(next((words for words in (SIDES, SEVERITIES) if word in words), (word,))) for word in qualifiers
        ]
        codes.append("/".join([head, *draw.sample(qualifiers, len(qualifiers))]))
    return tuple(codes) or CODES


def _code_hint(code: str, part: str, got: Any, expected: str | None) -> str:
    head, *qualifiers = code.split("/")
    if got == "":
        return "Say None for what the code does not name, not an empty text."
    if got is not None and not isinstance(got, str):
        return f"Return the word itself, or None, not a {type(got).__name__}."
    if got == head:
        return f"{head!r} is the head: side and severity stand after it, or nowhere."
    if isinstance(got, str) and got not in qualifiers:
        return "Compare whole qualifiers: split the code at '/' instead of searching for a word inside it."
    if expected is None:
        return (
            f"{got!r} is a qualifier, but no {part}: look the word up in SIDES or SEVERITIES instead of going by its "
            "position."
        )
    return f"The qualifiers of this code are {qualifiers}: any of them may be the {part}, wherever it stands."


# --- Exercise 1.2 -----------------------------------------------------------------------------------------------------

#: Written for the check: no decimal in them, so that the released cleaning is the right answer.
PLAIN = (
    "AP/PA views. The heart is normal in size; no effusion?",
    "1. Right-sided nodule. 2. No pneumothorax.. Lungs (both) are clear.",
    "T-spine: mild and/or moderate change",
    "A nodule of .5 cm is stable.",  # no digit before the point
)
DECIMAL = (
    ("A 1.5 cm nodule. No effusion.", "a 1.5 cm nodule . no effusion ."),
    ("Heart is 12.5 cm wide, aorta 3.7 cm. Lungs are clear.", "heart is 12.5 cm wide aorta 3.7 cm . lungs are clear ."),
    ("Nodule of 0.9 cm/9 mm", "nodule of 0.9 cm9 mm ."),
    # words that one might put in the point's place
    ("From this point, a dot of 1.5 cm. Decimal comma.", "from this point a dot of 1.5 cm . decimal comma ."),
)


def keeps_decimals(function: Callable[[str], str], *, other: int = 0) -> None:
    """Exercise 1.2: the released cleaning, but a point between two digits stays."""
    digits = random.Random(other).sample("123456789", 9) if other else "123456789"
    decimal = [[text.translate(str.maketrans("123456789", "".join(digits))) for text in pair] for pair in DECIMAL]
    for text in (*PLAIN, *(text for text, _ in decimal)):
        if not isinstance(answer := answered(name_of(function), function, text), str):
            raise CheckError(f"{text!r}: expected a text, got {answer!r}")
    for text, expected in decimal:
        answer = function(text)
        if answer == expected:
            continue
        if answer == clean_clinical(text) != expected:
            raise CheckError(
                f"{text!r} became {answer!r}: this is the clinical cleaning. Everything but the decimal point stays as "
                f"released: {expected!r}."
            )
        if strange := {char for char in answer if not char.isalnum()} - set(expected) - set(text):
            raise CheckError(
                f"{text!r} became {answer!r}: {''.join(sorted(strange))!r} is left over; put the point back after "
                f"cleaning."
            )
        if answer == clean_r2gen(text):
            raise CheckError(
                f"{text!r} became {answer!r}: the decimal point is gone. Hide it before the cleaning deletes points; "
                "and if you did, the cleaning deletes your mark as well: it lets few signs through."
            )
        kept = {word.strip(".") for word in answer.split()}
        lost = [word for word in expected.split() if word.isalpha() and word not in kept]
        if len(lost) == 1:
            raise CheckError(
                f"{text!r} became {answer!r}: the word {lost[0]!r} is gone. What stands for the point meanwhile may be "
                f"no word of a report."
            )
        if letters := re.search(r"\d([a-z]+)\d", answer):
            raise CheckError(
                f"{text!r} became {answer!r}: {letters[1]!r} is left of your mark. The cleaning makes letters small "
                "and deletes signs, in your mark too: put back what is left of it, or take a mark that it does not "
                "change."
            )
        if re.search(r"\d", text) and not re.search(r"\d", answer):
            raise CheckError(
                f"{text!r} became {answer!r}: the digits beside the point went with it. Replace the point alone."
            )
        if re.search(r"\d \. \d", answer):
            raise CheckError(
                f"{text!r} became {answer!r}: a decimal point is no end of a sentence; do not set blanks around it."
            )
        if re.search(r"[a-z]\.( |$)", answer):
            raise CheckError(
                f"{text!r} became {answer!r}: points after words stay too. Only a point between two digits is a "
                f"decimal point."
            )
        raise CheckError(f"{text!r} became {answer!r}; expected {expected!r}")
    for text in PLAIN:
        if (answer := function(text)) != clean_r2gen(text):
            raise CheckError(
                f"{text!r} became {answer!r}: the released cleaning gives {clean_r2gen(text)!r}. "
                f"{_plain_hint(text, answer)}."
            )


def _plain_hint(text: str, answer: str) -> str:
    """What went wrong with a text that has no decimal point."""
    if answer == clean_clinical(text):
        return "Everything but the decimal point stays as released"
    if re.search(r"\d\.( |$)", answer):
        return "A point after a digit may end a list number or a sentence: a decimal point has a digit on *both* sides"
    if re.search(r"(^| )\.\d", answer):
        return "A point before a digit is no decimal point unless a digit stands before it too"
    if turned := re.search(r"[a-z]\.[a-z]", answer):
        return f"There is no decimal in it, and {turned[0]!r} has got a point: your mark is a sign that reports use"
    return "There is no decimal in it"


# --- Exercise 1.3 -----------------------------------------------------------------------------------------------------

#: Five training and three other reports, written for the check; threshold 2.
TRAIN_TEXTS = (
    "The heart is normal.",
    "The heart is large.",
    "The lungs are clear.",
    "Lungs are clear.",
    "The heart is normal. Lungs are clear.",
)
OTHER_TEXTS = ("The heart is enormous. Enormous lungs.", "Lungs are clear.", "Mediastinum, heart: unremarkable.")


def unknown_rate(function: Callable[[list[str], Vocabulary], float], *, other: int = 0) -> None:
    """Exercise 1.3: (reports, vocabulary) -> share of the tokens of the cleaned reports that the vocabulary does not
    hold."""
    vocabulary = Vocabulary.build(TRAIN_TEXTS, Protocol(threshold=2, max_length=7))
    asked = [list(OTHER_TEXTS), list(OTHER_TEXTS[1:]), [OTHER_TEXTS[1]], [*OTHER_TEXTS, *TRAIN_TEXTS]]
    draw = random.Random(other)
    cases = [draw.choices(asked[-1], k=draw.randint(2, 7)) for _ in range(6)] if other else asked
    answers = [answered(name_of(function), function, list(reports), vocabulary) for reports in cases]
    for answer in answers:
        if not isinstance(answer, float | int):
            raise CheckError(f"expected a number, got {answer!r}")
    right = [_unknown(reports, vocabulary) for reports in cases]
    wrong = [i for i, answer in enumerate(answers) if not _close(answer, right[i])]
    if wrong:
        i = wrong[0]
        raise CheckError(
            f"{len(cases[i])} reports: the rate is {right[i]:.4f}, not {answers[i]:.4f}. "
            f"{_rate_hint(answers, cases, vocabulary)}"
        )


def _tokens(reports: list[str], vocabulary: Vocabulary) -> list[list[str]]:
    return [vocabulary.protocol.clean(report).split() for report in reports]


def _unknown(reports: list[str], vocabulary: Vocabulary) -> float:
    tokens = [token for report in _tokens(reports, vocabulary) for token in report]
    return sum(token not in vocabulary.ids for token in tokens) / len(tokens)


def _rate_hint(answers: Sequence[float], cases: Sequence[list[str]], vocabulary: Vocabulary) -> str:
    """The hint of the mistake that explains the answers to all cases: in one case two mistakes may be one number."""
    slips = [_rate_slips(reports, vocabulary) for reports in cases]
    return next(
        (
            hint
            for k, (_, hint) in enumerate(slips[0])
            if all(_close(answer, of_case[k][0]) for answer, of_case in zip(answers, slips, strict=True))
        ),
        "Unknown tokens over all tokens, both counted in the cleaned reports.",
    )


def _rate_slips(reports: list[str], vocabulary: Vocabulary) -> list[tuple[float, str]]:
    """Wrong rates of these reports, each with its hint."""
    texts, known = _tokens(reports, vocabulary), vocabulary.ids
    types = {token for text in texts for token in text}
    raw = [token for report in reports for token in report.split()]
    encoded = [[vocabulary.encode(report, cut=cut) for report in reports] for cut in (True, False)]
    slips = [
        (100 * _unknown(reports, vocabulary), "That is in percent; return a share between 0 and 1."),
        (
            sum(token not in known for token in types) / len(types),
            "You counted distinct words; count every time a word is said.",
        ),
        (
            sum(token not in known for token in raw) / len(raw),
            "You split the raw report; clean it first, as the vocabulary was.",
        ),
        (
            sum(any(token not in known for token in text) for text in texts) / len(texts),
            "That is the share of reports with an unknown word.",
        ),
        (
            sum(sum(t not in known for t in text) / len(text) for text in texts) / len(texts),
            "You averaged over reports; divide sum by sum.",
        ),
    ]
    flat_texts = [token for text in texts for token in text]
    unknown_tokens = [token for token in flat_texts if token not in known]
    lowered = [token for report in reports for token in report.lower().split()]
    letters = [letter for report in reports for letter in vocabulary.protocol.clean(report)]
    points_out = [token for token in flat_texts if token != "."]
    slips += [
        (1 - len(unknown_tokens) / len(flat_texts), "That is the share of *known* tokens; asked is the rest."),
        (float(len(unknown_tokens)), "That is a count; divide by the number of all tokens."),
        (
            len(unknown_tokens) / max(1, len(flat_texts) - len(unknown_tokens)),
            "You divided by the known tokens; divide by all of them.",
        ),
        (len(unknown_tokens) / len(reports), "You divided by the number of reports; divide by that of tokens."),
        (len(unknown_tokens) / len(known), "You divided by the size of the vocabulary; divide by the tokens."),
        (
            len(set(unknown_tokens)) / len(flat_texts),
            "You counted each unknown word once; count every time it is said.",
        ),
        (
            sum(token not in known for token in lowered) / len(lowered),
            "Lower case is not enough: a word with a point at its end is another word. Clean the report.",
        ),
        (
            sum(letter not in known for letter in letters) / len(letters),
            "These are letters: split the cleaned report into words.",
        ),
        (
            len(unknown_tokens) / len(points_out),
            "You left out the points; a point is a token like any other.",
        ),
    ]
    for ids in encoded:
        flat = [i for report in ids for i in report]
        unknown = sum(i == known[UNKNOWN] for i in flat)
        slips.append((unknown / len(flat), "The 0s around a report are no words: leave them out of the count."))
        slips.append(
            (
                unknown / max(1, sum(i != 0 for i in flat)),
                "You counted in cut reports: unknown words after the cut count too.",
            )
        )
    return slips


# --- Exercise 1.5 -----------------------------------------------------------------------------------------------------


def copied_share(function: Callable[[list[str], list[str]], float], *, other: int = 0) -> None:
    """Exercise 1.5: (cleaned reports of a split, cleaned training reports) -> share of the first that stand among the
    second."""
    pool = ["a .", "a .", "a .", "b .", "c . d .", "e . f . g .", "h ."]
    asked = [["a .", "a .", "b .", "x ."], ["d .", "x .", "y .", "a .", "h ."], ["x .", "y ."], ["b ."] * 4]
    draw = random.Random(other)
    for texts in (
        [draw.choices([*pool, "x .", "y .", "d ."], k=draw.randint(2, 9)) for _ in range(6)] if other else asked
    ):
        answer, right = (
            answered(name_of(function), function, list(texts), list(pool)),
            sum(text in set(pool) for text in texts) / len(texts),
        )
        if not isinstance(answer, float | int):
            raise CheckError(f"expected a number, got {answer!r}")
        if not _close(answer, right):
            raise CheckError(
                f"{texts} against {pool}: the share is {right:.3f}, not {answer:.3f}. "
                f"{_share_hint(answer, texts, pool)}"
            )


def _share_hint(answer: float, texts: list[str], pool: list[str]) -> str:
    shared = set(texts) & set(pool)
    slips = (
        (100 * sum(text in pool for text in texts) / len(texts), "That is in percent; return a share between 0 and 1."),
        (float(sum(text in pool for text in texts)), "That is a count; divide by the number of reports."),
        (
            len(shared) / len(set(texts)),
            "You counted distinct texts; a text that stands twice in the split counts twice.",
        ),
        (len(shared) / len(texts), "You counted a repeated text once; every report of the split counts."),
        (
            sum(text in texts for text in pool) / len(pool),
            "That is the other direction: the share of training reports found in the split.",
        ),
        (
            sum(any(text in other for other in pool) for text in texts) / len(texts),
            "Part of a report is no copy: compare whole texts.",
        ),
        (
            sum(text in pool for text in texts) / len(pool),
            "You divided by the number of training reports; divide by those of the split.",
        ),
        (
            1 - sum(text in pool for text in texts) / len(texts),
            "That is the share of *new* reports; asked is the rest.",
        ),
        (
            sum(text == other for text in texts for other in pool) / len(texts),
            "A report that stands three times in the pool was counted three times; it is one copy.",
        ),
        (
            len(shared) / len(set(pool)),
            "You counted distinct texts, and divided by those of the training reports; divide by the split's reports.",
        ),
    )
    return next(
        (hint for value, hint in slips if _close(answer, value)),
        "Count the reports whose whole text is in the pool, then divide.",
    )
