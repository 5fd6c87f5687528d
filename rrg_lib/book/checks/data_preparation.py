"""What the exercises of chapter 01 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rrg_lib.book.checks import CheckError, answered, name_of
from rrg_lib.book.checks.comparing import compare_explanations, explanation
from rrg_lib.data.iu_xray import parse_code
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


# --- Exercise 1.6 -----------------------------------------------------------------------------------------------------

#: Stored values as films have them (unsigned, 12 bits), and windows on them.
STORED = np.array([[0, 1, 800, 1023, 1024], [1025, 1300, 2047, 2048, 4095]], np.uint16)
WINDOWS = ((1024.0, 512.0), (2048.0, 4096.0), (1023.0, 7.0))


def windowed(function: Callable[[np.ndarray, float, float], np.ndarray], *, other: int = 0) -> None:
    """Exercise 1.6: (stored values, centre, width) -> gray from 0 to 255, as DICOM's linear window says."""
    stored = ((STORED.astype(int) + 37 * other) % 4096).astype(np.uint16)
    windows = [(centre + 30 * (other % 30), width + 11 * (other % 30)) for centre, width in WINDOWS]  # among the values
    answers = []
    for centre, width in windows:
        answer = answered(name_of(function), function, stored.copy(), centre, width)
        if not isinstance(answer, np.ndarray) or answer.shape != stored.shape:
            raise CheckError(f"expected an array of shape {stored.shape}, got {getattr(answer, 'shape', answer)!r}")
        answers.append(answer.astype(float))
    for answer, (centre, width) in zip(answers, windows, strict=True):
        right = _windowed(stored, centre, width)
        apart = np.abs(answer - right)
        if not apart.max() < 0.51:  # rounded or not
            y, x = np.unravel_index(np.nanargmax(np.nan_to_num(apart, nan=np.inf)), apart.shape)
            raise CheckError(
                f"centre {centre:g}, width {width:g}: the value {stored[y, x]} becomes {right[y, x]:.2f}, not "
                f"{answer[y, x]:.2f}. {_window_hint(answers, stored, windows)}"
            )


def _windowed(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    return 255 * np.clip((values.astype(float) - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _window_hint(answers: Sequence[np.ndarray], stored: np.ndarray, windows: Sequence[tuple[float, float]]) -> str:
    """The hint of the mistake that explains the answers to all windows: a wide one hides half a step."""
    with np.errstate(all="ignore"):
        slips = [_window_slips(stored, *window) for window in windows]
        for k, (_, hint) in enumerate(slips[0]):
            wrong = [of_window[k][0] for of_window in slips]
            if all(
                np.abs(answer - value).max() < 0.51 * (1 if value.max() > 1 else 0.01)
                for answer, value in zip(answers, wrong, strict=True)
            ):
                return hint
    return (
        "Follow the equation from the inside out: subtract c - 0.5, divide by w - 1, add one half, clip to 0 and 1, "
        "scale to 255."
    )


def _window_slips(stored: np.ndarray, centre: float, width: float) -> list[tuple[np.ndarray, str]]:
    """Wrong grays of these values, each with its hint."""
    plain, right = stored.astype(float), _windowed(stored, centre, width)
    wrapped = (plain - np.floor(centre)) % 2**16  # what unsigned 16-bit integers make of a difference below 0
    return [
        (
            255 * ((plain - (centre - 0.5)) / (width - 1) + 0.5),
            "What is outside the window is black or white: clip to 0 and 1 before you scale.",
        ),
        (np.floor(right), "The grays are cut off to whole numbers: return floats."),
        (right / 255, "That is 0 to 1; scale to 255."),
        (255 - right, "That is turned over: high values are bright here."),
        (
            255 * np.clip((plain - centre) / width + 0.5, 0, 1),
            "The standard's linear window has c - 0.5 and w - 1 where you have c and w.",
        ),
        (
            255 * np.clip((plain - (centre - 0.5)) / (width - 1), 0, 1),
            "The centre becomes the middle gray: add one half before clipping.",
        ),
        (255 * np.clip((plain - (centre - 0.5)) / width + 0.5, 0, 1), "The standard divides by w - 1, not by w."),
        (
            255 * np.clip((plain - centre) / (width - 1) + 0.5, 0, 1),
            "The middle of the window is at c - 0.5, not at c.",
        ),
        (_windowed(stored, width, centre), "Centre and width are the wrong way round."),
        (
            255 * np.clip((plain - (centre + 0.5)) / (width - 1) + 0.5, 0, 1),
            "Taking away c - 0.5 is taking away c and *adding* 0.5: mind the brackets.",
        ),
        (
            255 * np.clip((plain - (centre - 0.5)) / width - 1 + 0.5, 0, 1),
            "The division is by all of w - 1: mind the brackets.",
        ),
        (
            255 * np.clip(plain - (centre - 0.5) / (width - 1) + 0.5, 0, 1),
            "The difference x - (c - 0.5) is divided as a whole: mind the brackets.",
        ),
        (
            np.where((plain - (centre - 0.5)) / (width - 1) + 0.5 > 1, 0, right),
            "Above the window it is white, not black.",
        ),
        (
            255 * (np.clip((plain - (centre - 0.5)) / (width - 1), 0, 1) + 0.5),
            "The one half is added before clipping, not after.",
        ),
        (right * 256 / 255, "White is 255, not 256."),
        *[
            (
                255 * np.clip(wrapped / below + 0.5, 0, 1),
                "You subtracted unsigned integers, and 3 minus 5 is 65,534 there: turn the values into floats first.",
            )
            for below in (width - 1, width)
        ],
    ]


# --- Exercise 1.4 -----------------------------------------------------------------------------------------------------

MEASURED = ("the gap", "the gap that remains")
REASONS = ("mixture", "writing", "not shorter")
#: Of each split, the lengths of its reports and which of its studies are abnormal, (n,) each: A's two, then B's.
Splits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def why_shorter(
    answer: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[Sequence[float], str]], *, other: int = 0
) -> None:
    """`answer(lengths_a, abnormal_a, lengths_b, abnormal_b)`: by how many tokens A's reports are longer than B's on
    average, by how many if B had A's share of abnormal studies; and "mixture" if less than half of the gap remains,
    else "writing"; "not shorter" if there is no gap."""
    name, cases = "why_shorter", _splits(other)
    answers = [
        explanation(name, answered(name, answer, *(part.copy() for part in case)), MEASURED, REASONS) for case in cases
    ]
    right = [_gaps(*case) for case in cases]

    def instead(second: Callable[[np.ndarray, np.ndarray, float, float], float]) -> list[list[float]]:
        """Of every case, the gap, and what `second` makes of the means of A's and B's groups (normal, abnormal) and
        their shares of abnormal studies."""
        return [[row[0], second(*_groups(*case))] for row, case in zip(right, cases, strict=True)]

    slips = {
        "these are the tokens by which *B* is longer: A's are asked for": [[-gap for gap in row] for row in right],
        "the two are exchanged: first the gap as it is, then what remains of it": [row[::-1] for row in right],
        "the second is the part of the gap that goes: asked is the part that *remains*": [
            [gap, gap - rest] for gap, rest in right
        ],
        "the second is the mean length that B would have: by how much is A above it?": instead(
            lambda a, b, p, q: _mixed(b, p)
        ),
        "the second is a part of the gap; asked is what remains of it in tokens": [
            [gap, rest / gap] for gap, rest in right
        ],
        "the second has lost its sign: where less than nothing remains, say so": [
            [gap, abs(rest)] for gap, rest in right
        ],
        "the first are sums over reports; means are asked for": [
            [case[0].sum() - case[2].sum(), row[1]] for row, case in zip(right, cases, strict=True)
        ],
        "the first are medians; means are asked for": [
            [float(np.median(case[0]) - np.median(case[2])), row[1]] for row, case in zip(right, cases, strict=True)
        ],
        "nothing has changed: B was mixed with its own share of abnormal studies, and that is B as it is; take A's": [
            [gap, gap] for gap, _ in right
        ],
        "both were given one mixture, that of all studies; A stays as it is, and B gets A's": [
            [row[0], _mixed(a, both) - _mixed(b, both)]
            for row, case, (a, b, _, _) in zip(right, cases, (_groups(*case) for case in cases), strict=True)
            for both in [np.concatenate(case[1::2]).mean()]
        ],
        "you gave A the mixture of B; it is B that is to have the mixture of A": instead(
            lambda a, b, p, q: _mixed(a, q) - _mixed(b, q)
        ),
        "both groups count half here; B is to have A's mixture, and A is not half abnormal": instead(
            lambda a, b, p, q: (a - b).mean()
        ),
        "A's share of *abnormal* studies went to the normal ones of B": instead(
            lambda a, b, p, q: _mixed(a, p) - _mixed(b, 1 - p)
        ),
        "what remains is that of normal studies alone; both groups of B count, each with its share in A": instead(
            lambda a, b, p, q: a[0] - b[0]
        ),
        "what remains is that of abnormal studies alone; both groups of B count, each with its share in A": instead(
            lambda a, b, p, q: a[1] - b[1]
        ),
        "the two splits were thrown together to find the mixture; it is that of A alone": [
            [row[0], _mixed(a, p) - _mixed(b, np.concatenate(case[1::2]).mean())]
            for row, case, (a, b, p, _) in zip(right, cases, (_groups(*case) for case in cases), strict=True)
        ],
    }
    reasons = [_reason(*row) for row in right]
    shares = [_groups(*case)[2:] for case in cases]
    readings = {
        "B has fewer abnormal studies, that is so; but does it explain the *larger* part of the gap?": [
            reason if reason == "not shorter" else "mixture" if q < p else "writing"
            for reason, (p, q) in zip(reasons, shares, strict=True)
        ],
        "something remains nearly always; it explains the gap only where it is at least half of it": [
            reason if reason == "not shorter" else "writing" if rest > 0 else "mixture"
            for reason, (_, rest) in zip(reasons, right, strict=True)
        ],
        "where what remains is below 0, the mixture explains the whole gap and more: the sign counts": [
            reason if reason == "not shorter" else "mixture" if abs(rest) < gap / 2 else "writing"
            for reason, (gap, rest) in zip(reasons, right, strict=True)
        ],
        "where A's reports are not longer, there is no gap to explain, whatever the mixture": [
            "mixture" if rest < gap / 2 else "writing" for gap, rest in right
        ],
        "whether B is shorter is asked of the gap as it is, not of what remains": [
            "not shorter" if rest <= 0 else "mixture" if rest < gap / 2 else "writing" for gap, rest in right
        ],
        "it is the wrong way round: what the same mixture takes away came from the mixture": [
            {"mixture": "writing", "writing": "mixture"}.get(reason, reason) for reason in reasons
        ],
    }
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _reason(gap: float, rest: float) -> str:
    return "not shorter" if gap <= 0 else "mixture" if rest < gap / 2 else "writing"


def _groups(
    lengths_a: np.ndarray, abnormal_a: np.ndarray, lengths_b: np.ndarray, abnormal_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(mean of normal, of abnormal reports) of A and of B, and the shares of abnormal studies."""
    a, b = (np.array([n[~ill].mean(), n[ill].mean()]) for n, ill in ((lengths_a, abnormal_a), (lengths_b, abnormal_b)))
    return a, b, float(abnormal_a.mean()), float(abnormal_b.mean())


def _mixed(means: np.ndarray, abnormal: float) -> float:
    return float((1 - abnormal) * means[0] + abnormal * means[1])


def _gaps(*case: np.ndarray) -> list[float]:
    a, b, p, q = _groups(*case)
    return [_mixed(a, p) - _mixed(b, q), _mixed(a, p) - _mixed(b, p)]


#: The reason, A's and B's shares of abnormal studies, how many tokens B writes more about a normal and about an
#: abnormal study, and what the two numbers must be besides. B may write more about everybody and still be shorter (the
#: second), or less and still be longer (the last): Simpson's paradox.
_KINDS: tuple[tuple[str, tuple[float, float], tuple[int, int], Callable[[float, float], bool]], ...] = (
    ("mixture", (0.65, 0.3), (-3, -3), lambda gap, rest: 0.35 * gap < rest < 0.45 * gap),
    ("mixture", (0.75, 0.25), (3, 4), lambda gap, rest: rest < -0.6 * gap),
    ("writing", (0.5, 0.3), (-4, -5), lambda gap, rest: 0.55 * gap < rest < 0.65 * gap),
    ("writing", (0.35, 0.5), (-6, -8), lambda gap, rest: rest > 1.2 * gap),
    ("not shorter", (0.6, 0.4), (7, 8), lambda gap, rest: rest < 1.5 * gap),
    ("not shorter", (0.3, 0.7), (-2, -3), lambda gap, rest: rest > 1),
)


def _splits(other: int) -> list[Splits]:
    """Two cases for each reason, none of them close to another reason."""
    draw, cases = np.random.default_rng(other), []
    for reason, shares, more, fits in _KINDS:
        while True:
            case: list[np.ndarray] = []
            for share, (normal, abnormal) in zip(shares, ((0, 0), more), strict=True):
                ill = draw.random(draw.integers(30, 60)) < share
                means = np.where(ill, 42 + abnormal, 28 + normal)
                case += [np.maximum(4, np.rint(draw.normal(means, 5))).astype(int), ill]
            gap, rest = _gaps(*case)
            if abs(gap) > 1 and _reason(gap, rest) == reason and fits(gap, rest):
                break
        cases.append((case[0], case[1], case[2], case[3]))
    return [cases[k] for k in draw.permutation(len(cases))]
