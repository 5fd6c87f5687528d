"""The exercises of chapter 01: the solved form passes, and each typical wrong answer is told its own mistake."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import data_preparation as checks
from rrg_lib.data.mesh_codes import parse_code
from rrg_lib.data.study import SEVERITIES, SIDES
from rrg_lib.data.text.cleaning import clean_clinical, clean_r2gen


def refused(check, answer, hint: str) -> None:
    with pytest.raises(CheckError, match=hint):
        check(answer)


# --- 1.1: side and severity -------------------------------------------------------------------------------------------


def solved_code(code):
    qualifiers = code.split("/")[1:]
    return next((word for word in qualifiers if word in SIDES), None), next(
        (word for word in qualifiers if word in SEVERITIES), None
    )


def by_position(code):
    parts = code.split("/")
    return (parts[-2] if len(parts) > 2 else None), (parts[-1] if len(parts) > 1 else None)


WRONG_CODES = {
    "nothing": (lambda code: None, "it returns nothing"),
    "constant": (lambda code: ("left", "mild"), "the side is None"),
    "empty text": (lambda code: tuple(word or "" for word in solved_code(code)), "not an empty text"),
    "by position": (by_position, "wherever it stands"),
    "last is severity": (
        lambda code: (parse_code(code).side, code.split("/")[-1] if "/" in code else None),
        "qualifier, but no severity",
    ),
    "inside words": (
        lambda code: tuple(next((w for w in words if w in code), None) for words in (SIDES, SEVERITIES)),
        "split the code at '/'",
    ),
    "only the last": (
        lambda code: (parse_code(code).side, code.split("/")[-1] if code.split("/")[-1] in SEVERITIES else None),
        "wherever it stands",
    ),
    "swapped": (lambda code: solved_code(code)[::-1], "the side comes first"),
    "the head": (lambda code: (parse_code(code).side, code.split("/")[-1]), "is the head|no severity"),
    "the head alone": (lambda code: (solved_code(code)[0], solved_code(code)[1] or code.split("/")[0]), "is the head"),
    "sets": (lambda code: tuple(set(code.split("/")) & set(words) for words in (SIDES, SEVERITIES)), "not a set"),
    "a list": (lambda code: list(solved_code(code)), "a tuple of two"),
    "index error": (lambda code: (code.split("/")[1], None), "IndexError|the side is"),
}


@pytest.mark.exercise("1.1", "right")
@pytest.mark.parametrize("answer", [solved_code, lambda code: (parse_code(code).side, parse_code(code).severity)])
def test_every_right_code_parser_passes(answer):
    checks.side_and_severity(answer)


@pytest.mark.exercise("1.1", "wrong")
@pytest.mark.parametrize(("answer", "hint"), WRONG_CODES.values(), ids=WRONG_CODES)
def test_a_wrong_code_parser_is_told_why(answer, hint):
    refused(checks.side_and_severity, answer, hint)


# --- 1.2: the cleaner that keeps decimals -----------------------------------------------------------------------------


def solved_cleaner(report):
    return clean_r2gen(re.sub(r"(?<=\d)\.(?=\d)", "·", report)).replace("·", ".")


def with_a_word_for_the_point(report):
    hidden = re.sub(r"(\d)\.(\d)", r"\1decimalpoint\2", report)
    return ".".join(clean_r2gen(hidden).split("decimalpoint"))


def mixed(report):
    """Decimals by the clinical protocol, everything else as released: right only where the check's decimals look."""
    return clean_clinical(report) if re.search(r"\d\.\d", report) else clean_r2gen(report)


WRONG_CLEANERS = {
    "nothing": (lambda report: None, "it returns nothing"),
    "released": (clean_r2gen, "the decimal point is gone"),
    "constant": (lambda report: "a 1.5 cm nodule . no effusion .", "expected"),
    "mark left over": (lambda report: clean_r2gen(re.sub(r"(?<=\d)\.(?=\d)", "·", report)), "is left over"),
    "as a sentence": (lambda report: " ".join(report.lower().replace(".", " . ").split()), "no end of a sentence"),
    "every point": (
        lambda report: clean_r2gen(report.replace(".", "·")).replace("·", "."),
        "Only a point between two digits",
    ),
    "a mark that is deleted": (
        lambda report: clean_r2gen(re.sub(r"(?<=\d)\.(?=\d)", "@", report)).replace("@", "."),
        "deletes your mark as well",
    ),
    "a word of the language": (
        lambda report: clean_r2gen(re.sub(r"(?<=\d)\.(?=\d)", "point", report)).replace("point", "."),
        "the word 'point' is gone",
    ),
    "a shorter one": (
        lambda report: clean_r2gen(re.sub(r"(?<=\d)\.(?=\d)", "dot", report)).replace("dot", "."),
        "the word 'dot' is gone",
    ),
    "clinical": (clean_clinical, "this is the clinical cleaning"),
    "a mark that is changed": (
        lambda report: clean_r2gen(re.sub(r"(?<=\d)\.(?=\d)", "<DOT>", report)).replace("<DOT>", "."),
        "'dot' is left of your mark",
    ),
    "digits gone": (
        lambda report: clean_r2gen(re.sub(r"\d+\.\d+", "·", report)).replace("·", "."),
        "the digits beside the point went with it",
    ),
    "a point after a digit": (
        lambda report: clean_r2gen(re.sub(r"(?<=\d)\.", "·", report)).replace("·", "."),
        r"a digit on \*both\* sides",
    ),
    "a point before a digit": (
        lambda report: clean_r2gen(re.sub(r"\.(?=\d)", "·", report)).replace("·", "."),
        "unless a digit stands before it too",
    ),
    "a sign that reports use": (
        lambda report: clean_r2gen(re.sub(r"(?<=\d)\.(?=\d)", "-", report)).replace("-", "."),
        "your mark is a sign that reports use",
    ),
    "mixed": (mixed, "this is the clinical cleaning"),
    "hyphens too": (lambda report: solved_cleaner(report.replace("-", " ")), "There is no decimal in it"),
}


@pytest.mark.exercise("1.2", "right")
@pytest.mark.parametrize("answer", [solved_cleaner, with_a_word_for_the_point])
def test_every_right_cleaner_passes(answer):
    checks.keeps_decimals(answer)


@pytest.mark.exercise("1.2", "wrong")
@pytest.mark.parametrize(("answer", "hint"), WRONG_CLEANERS.values(), ids=WRONG_CLEANERS)
def test_a_wrong_cleaner_is_told_why(answer, hint):
    refused(checks.keeps_decimals, answer, hint)


# --- 1.3: the rate of unknown words -----------------------------------------------------------------------------------


def tokens(reports, vocabulary):
    return [token for report in reports for token in vocabulary.protocol.clean(report).split()]


def share(words, known):
    return sum(word not in known for word in words) / len(words)


def unknown(reports, vocabulary):
    return [token for token in tokens(reports, vocabulary) if token not in vocabulary.ids]


def in_encoded(reports, vocabulary, *, cut, marks):
    ids = [i for report in reports for i in vocabulary.encode(report, cut=cut)]
    return ids.count(vocabulary.ids["<unk>"]) / len([i for i in ids if marks or i])


WRONG_RATES = {
    "nothing": (lambda reports, vocabulary: None, "it returns nothing"),
    "constant": (lambda reports, vocabulary: 0.0115, "Unknown tokens over all tokens"),
    "percent": (lambda reports, v: 100 * share(tokens(reports, v), v.ids), "in percent"),
    "distinct words": (lambda reports, v: share(set(tokens(reports, v)), v.ids), "distinct words"),
    "not cleaned": (lambda reports, v: share(" ".join(reports).split(), v.ids), "split the raw report"),
    "reports": (
        lambda reports, v: sum(share(tokens([r], v), v.ids) > 0 for r in reports) / len(reports),
        "share of reports",
    ),
    "mean of rates": (
        lambda reports, v: sum(share(tokens([r], v), v.ids) for r in reports) / len(reports),
        "averaged over reports",
    ),
    "with marks": (lambda reports, v: in_encoded(reports, v, cut=False, marks=True), "0s around a report"),
    "cut": (lambda reports, v: in_encoded(reports, v, cut=True, marks=False), "cut reports"),
    "known": (lambda reports, v: 1 - share(tokens(reports, v), v.ids), "share of .known. tokens"),
    "count": (lambda reports, v: len(unknown(reports, v)), "That is a count"),
    "by the known": (
        lambda reports, v: len(unknown(reports, v)) / max(1, len(tokens(reports, v)) - len(unknown(reports, v))),
        "divided by the known tokens",
    ),
    "by the reports": (lambda reports, v: len(unknown(reports, v)) / len(reports), "by the number of reports"),
    "by the list": (lambda reports, v: len(unknown(reports, v)) / len(v.ids), "by the size of the vocabulary"),
    "each word once": (
        lambda reports, v: len(set(unknown(reports, v))) / len(tokens(reports, v)),
        "each unknown word once",
    ),
    "lower case": (lambda reports, v: share(" ".join(reports).lower().split(), v.ids), "Lower case is not enough"),
    "letters": (
        lambda reports, v: share([c for report in reports for c in v.protocol.clean(report)], v.ids),
        "These are letters",
    ),
    "no points": (lambda reports, v: share([t for t in tokens(reports, v) if t != "."], v.ids), "left out the points"),
}


@pytest.mark.exercise("1.3", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda reports, v: share(tokens(reports, v), v.ids),
        lambda reports, v: in_encoded(reports, v, cut=False, marks=False),
    ],
)
def test_every_right_rate_passes(answer):
    checks.unknown_rate(answer)


@pytest.mark.exercise("1.3", "wrong")
@pytest.mark.parametrize(("answer", "hint"), WRONG_RATES.values(), ids=WRONG_RATES)
def test_a_wrong_rate_is_told_why(answer, hint):
    refused(checks.unknown_rate, answer, hint)


# --- 1.5: the share of copies -----------------------------------------------------------------------------------------

WRONG_SHARES = {
    "nothing": (lambda texts, pool: None, "it returns nothing"),
    "constant": (lambda texts, pool: 0.469, "whole text is in the pool"),
    "percent": (lambda texts, pool: 100 * sum(t in pool for t in texts) / len(texts), "in percent"),
    "count": (lambda texts, pool: sum(t in pool for t in texts), "That is a count"),
    "distinct": (lambda texts, pool: len(set(texts) & set(pool)) / len(set(texts)), "distinct texts"),
    "once": (lambda texts, pool: len(set(texts) & set(pool)) / len(texts), "repeated text once"),
    "other direction": (lambda texts, pool: sum(t in texts for t in pool) / len(pool), "other direction"),
    "part": (
        lambda texts, pool: sum(any(t in other for other in pool) for t in texts) / len(texts),
        "compare whole texts",
    ),
    "new ones": (lambda texts, pool: 1 - sum(t in pool for t in texts) / len(texts), "share of .new. reports"),
    "every pair": (lambda texts, pool: sum(pool.count(t) for t in texts) / len(texts), "counted three times"),
    "distinct in the pool": (
        lambda texts, pool: len(set(texts) & set(pool)) / len(set(pool)),
        "divided by those of the training reports",
    ),
}


@pytest.mark.exercise("1.5", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda texts, pool: sum(text in set(pool) for text in texts) / len(texts),
        lambda texts, pool: np.isin(texts, pool).mean(),
    ],
)
def test_every_right_share_passes(answer):
    checks.copied_share(answer)


@pytest.mark.exercise("1.5", "wrong")
@pytest.mark.parametrize(("answer", "hint"), WRONG_SHARES.values(), ids=WRONG_SHARES)
def test_a_wrong_share_is_told_why(answer, hint):
    refused(checks.copied_share, answer, hint)


# --- 1.6: the window --------------------------------------------------------------------------------------------------


def right_window(values, centre, width):
    return 255 * np.clip((values.astype(float) - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


WRONG_WINDOWS = {
    "nothing": (lambda v, c, w: None, "it returns nothing"),
    "constant": (lambda v, c, w: np.full(v.shape, 128.0), "Follow the equation"),
    "a number": (lambda v, c, w: 7.0, "expected an array"),
    "not clipped": (lambda v, c, w: 255 * ((v.astype(float) - (c - 0.5)) / (w - 1) + 0.5), "clip to 0 and 1"),
    "0 to 1": (lambda v, c, w: right_window(v, c, w) / 255, "scale to 255"),
    "turned over": (lambda v, c, w: 255 - right_window(v, c, w), "turned over"),
    "the exact one": (lambda v, c, w: 255 * np.clip((v.astype(float) - c) / w + 0.5, 0, 1), "c - 0.5 and w - 1"),
    "from the centre": (lambda v, c, w: 255 * np.clip((v.astype(float) - (c - 0.5)) / (w - 1), 0, 1), "add one half"),
    "swapped": (lambda v, c, w: right_window(v, w, c), "wrong way round"),
    "unsigned": (lambda v, c, w: 255 * np.clip((v - np.uint16(c)) / (w - 1) + 0.5, 0, 1), "3 minus 5 is 65,534"),
    "by the width": (lambda v, c, w: 255 * np.clip((v.astype(float) - (c - 0.5)) / w + 0.5, 0, 1), "divides by w - 1"),
    "at the centre": (lambda v, c, w: 255 * np.clip((v.astype(float) - c) / (w - 1) + 0.5, 0, 1), "c - 0.5, not at c"),
    "brackets of the centre": (
        lambda v, c, w: 255 * np.clip((v.astype(float) - c - 0.5) / (w - 1) + 0.5, 0, 1),
        r"\*adding\* 0.5",
    ),
    "brackets of the width": (
        lambda v, c, w: 255 * np.clip((v.astype(float) - (c - 0.5)) / w - 1 + 0.5, 0, 1),
        "by all of w - 1",
    ),
    "brackets of the difference": (
        lambda v, c, w: 255 * np.clip(v.astype(float) - (c - 0.5) / (w - 1) + 0.5, 0, 1),
        "divided as a whole",
    ),
    "black above": (
        lambda v, c, w: np.where((v - (c - 0.5)) / (w - 1) > 0.5, 0.0, right_window(v, c, w)),
        "white, not black",
    ),
    "half after clipping": (
        lambda v, c, w: 255 * (np.clip((v.astype(float) - (c - 0.5)) / (w - 1), 0, 1) + 0.5),
        "before clipping",
    ),
    "256": (lambda v, c, w: 256 / 255 * right_window(v, c, w), "255, not 256"),
    "cut off": (lambda v, c, w: right_window(v, c, w).astype(np.uint8), "cut off to whole numbers"),
    "floats, half forgotten": (lambda v, c, w: 255 * np.clip(v.astype(float) / w, 0, 1), "from the inside out"),
}


@pytest.mark.exercise("1.6", "right")
@pytest.mark.parametrize("answer", [right_window, lambda v, c, w: np.rint(right_window(v, c, w)).astype(np.uint8)])
def test_every_right_window_passes_rounded_or_not(answer):
    checks.windowed(answer)


@pytest.mark.exercise("1.6", "wrong")
@pytest.mark.parametrize(("answer", "hint"), WRONG_WINDOWS.values(), ids=WRONG_WINDOWS)
def test_a_wrong_window_is_told_why(answer, hint):
    refused(checks.windowed, answer, hint)


# --- all of them ------------------------------------------------------------------------------------------------------


def test_an_answer_that_stops_is_told_so():
    def stops(*args):
        raise KeyError("lungs")

    for check in (
        checks.side_and_severity,
        checks.keeps_decimals,
        checks.unknown_rate,
        checks.copied_share,
        checks.windowed,
    ):
        refused(check, stops, "it stops with KeyError")


# --- 1.4: why one split's reports are shorter -------------------------------------------------------------------------


def reason_of(gap, rest):
    return "not shorter" if gap <= 0 else "mixture" if rest < gap / 2 else "writing"


def changed(
    lengths_a, abnormal_a, lengths_b, abnormal_b, *, second=None, change=lambda gap, rest: (gap, rest), reason=reason_of
):
    """The right answer unless told otherwise; `second` makes what remains of the groups' means (normal, abnormal) and
    of A's and B's shares."""
    a, b = (np.array([n[~ill].mean(), n[ill].mean()]) for n, ill in ((lengths_a, abnormal_a), (lengths_b, abnormal_b)))
    p, q = (np.array([1 - ill.mean(), ill.mean()]) for ill in (abnormal_a, abnormal_b))
    gap, rest = a @ p - b @ q, (a - b) @ p
    return change(gap, rest if second is None else second(a, b, p, q)), reason(gap, rest)


def by_weights(lengths_a, abnormal_a, lengths_b, abnormal_b):
    """Every report of B gets a weight, so that the weighted B has A's share of abnormal studies."""
    share, own = abnormal_a.mean(), abnormal_b.mean()
    weights = [share / own if ill else (1 - share) / (1 - own) for ill in abnormal_b]
    gap = float(np.mean(lengths_a) - np.mean(lengths_b))
    rest = float(np.mean(lengths_a) - np.average(lengths_b, weights=weights))
    if gap <= 0:
        return [gap, rest], "not shorter"
    return [gap, rest], "writing" if 2 * rest >= gap else "mixture"


def by_tables(lengths_a, abnormal_a, lengths_b, abnormal_b):
    a, b = (pd.DataFrame({"n": n, "ill": ill}) for n, ill in ((lengths_a, abnormal_a), (lengths_b, abnormal_b)))
    rest = a["n"].mean() - a["ill"].map(b.groupby("ill")["n"].mean()).mean()
    gap = a["n"].mean() - b["n"].mean()
    return pd.Series([gap, rest]), reason_of(gap, rest)


def thrown_together(lengths_a, abnormal_a, lengths_b, abnormal_b):
    share = np.concatenate([abnormal_a, abnormal_b]).mean()
    return changed(
        lengths_a, abnormal_a, lengths_b, abnormal_b, second=lambda a, b, p, q: a @ p - b @ [1 - share, share]
    )


def both_alike(lengths_a, abnormal_a, lengths_b, abnormal_b):
    share = np.concatenate([abnormal_a, abnormal_b]).mean()
    return changed(lengths_a, abnormal_a, lengths_b, abnormal_b, second=lambda a, b, p, q: (a - b) @ [1 - share, share])


def if_shares_fall(lengths_a, abnormal_a, lengths_b, abnormal_b):
    numbers, reason = changed(lengths_a, abnormal_a, lengths_b, abnormal_b)
    return (
        numbers,
        reason if reason == "not shorter" else "mixture" if abnormal_b.mean() < abnormal_a.mean() else "writing",
    )


def if_shorter(choose):
    return lambda gap, rest: "not shorter" if gap <= 0 else choose(gap, rest)


@pytest.mark.exercise("1.4", "right")
@pytest.mark.parametrize("answer", [changed, by_weights, by_tables])
def test_every_right_explanation_passes(answer):
    checks.why_shorter(answer)


@pytest.mark.exercise("1.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(changed, change=lambda gap, rest: (-gap, -rest)), "by which *B* is longer"),
        (partial(changed, change=lambda gap, rest: (rest, gap)), "the two are exchanged"),
        (partial(changed, change=lambda gap, rest: (gap, gap - rest)), "the part that *remains*"),
        (partial(changed, second=lambda a, b, p, q: b @ p), "by how much is A above it"),
        (partial(changed, second=lambda a, b, p, q: (a - b) @ q), "you gave A the mixture of B"),
        (partial(changed, second=lambda a, b, p, q: (a - b).mean()), "both groups count half"),
        (partial(changed, second=lambda a, b, p, q: a @ p - b @ p[::-1]), "went to the normal ones of B"),
        (partial(changed, second=lambda a, b, p, q: a[0] - b[0]), "that of normal studies alone"),
        (partial(changed, second=lambda a, b, p, q: a[1] - b[1]), "that of abnormal studies alone"),
        (thrown_together, "thrown together"),
        (if_shares_fall, "does it explain the *larger* part"),
        (
            partial(changed, reason=if_shorter(lambda gap, rest: "writing" if rest > 0 else "mixture")),
            "only where it is at least half of it",
        ),
        (
            partial(changed, reason=if_shorter(lambda gap, rest: "mixture" if abs(rest) < gap / 2 else "writing")),
            "the sign counts",
        ),
        (
            partial(changed, reason=lambda gap, rest: "mixture" if rest < gap / 2 else "writing"),
            "there is no gap to explain",
        ),
        (
            partial(
                changed,
                reason=lambda gap, rest: "not shorter" if rest <= 0 else "mixture" if rest < gap / 2 else "writing",
            ),
            "asked of the gap as it is",
        ),
        (
            partial(changed, reason=if_shorter(lambda gap, rest: "writing" if rest < gap / 2 else "mixture")),
            "the wrong way round",
        ),
        (partial(changed, reason=lambda gap, rest: "mixture"), "do not support 'mixture'"),
        (partial(changed, change=lambda gap, rest: (gap, rest / gap)), "the second is a part of the gap"),
        (partial(changed, change=lambda gap, rest: (gap, abs(rest))), "has lost its sign"),
        (partial(changed, change=lambda gap, rest: (gap, gap)), "nothing has changed"),
        (
            lambda *case: ((case[0].sum() - case[2].sum(), changed(*case)[0][1]), changed(*case)[1]),
            "the first are sums",
        ),
        (
            lambda *case: ((np.median(case[0]) - np.median(case[2]), changed(*case)[0][1]), changed(*case)[1]),
            "the first are medians",
        ),
        (both_alike, "both were given one mixture"),
        (lambda *_: ((3.9, 1.1), "mixture"), "is not right"),
        (lambda *inputs: (changed(*inputs)[0][:1], "mixture"), "2 are asked for"),
        (lambda *inputs: (changed(*inputs)[0][0], "mixture"), "can't be read as numbers"),
        (lambda *inputs: (np.ones((2, 2)), "mixture"), "can't be read as numbers"),
        (lambda *inputs: changed(*inputs)[1], "it returns a str; return two things"),
        (lambda *inputs: changed(*inputs)[::-1], "in this order"),
        (lambda *inputs: (changed(*inputs)[0], "healthier"), "'healthier' is none of the reasons"),
        (lambda *inputs: changed(*map(list, inputs)), "it stops with"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_explanation_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_shorter(answer)


@pytest.mark.parametrize("other", range(6))
def test_every_reason_is_asked_for_twice_simpsons_paradox_both_ways(other):
    said = [changed(*case) for case in checks._splits(other)]
    assert sorted(reason for _, reason in said) == sorted(checks.REASONS * 2)
    assert {(gap > 0, rest > 0) for (gap, rest), _ in said} == {
        (True, True),
        (True, False),
        (False, False),
        (False, True),
    }
    ratios = [rest / gap for (gap, rest), reason in said if reason != "not shorter"]
    assert any(0.35 < ratio < 0.5 for ratio in ratios) and any(
        0.5 < ratio < 0.65 for ratio in ratios
    )  # half of the gap is the border, and no third
    assert min(ratios) < -0.5  # what remains is below 0, and further from it than half of the gap
    checks.why_shorter(by_weights, other=other)


def test_alike_mixtures_leave_the_whole_gap_and_alike_reports_none_of_it():
    few, many = np.array([True, False, False]), np.array([True, True, False])
    (gap, rest), reason = changed(np.array([40, 30, 28]), few, np.array([31, 22, 20]), few)
    assert gap == pytest.approx(rest) and reason == "writing"
    (gap, rest), reason = changed(np.array([42, 42, 28]), many, np.array([42, 28, 28]), few)
    assert gap > 0 and rest == pytest.approx(0) and reason == "mixture"
