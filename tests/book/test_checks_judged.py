"""What the graded form says of an answer of several parts, and what it does not believe."""

from __future__ import annotations

import sys
import types

import pytest

from rrg_lib.book.checks import CheckError, answered, judge_answers
from rrg_lib.book.checks.comparing import compare_explanations

MEASURED, REASONS = ("the mean", "the median"), ("skewed", "symmetric")
RIGHT = [([4.0, 3.0], "skewed"), ([5.0, 5.0], "symmetric")]


def explained(*cases) -> CheckError | None:
    """What the comparison says of these explanations."""
    slips = {"that is the sum": [[12.0, 3.0], [15.0, 5.0]]}
    readings = {"a difference is a skew": ["skewed", "skewed"]}
    try:
        compare_explanations("why", list(cases), RIGHT, MEASURED, slips, readings)
    except CheckError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("cases", "right", "said"),
    [
        ([([4.0, 3.0], "skewed"), ([5.0, 5.0], "skewed")], 2, "a difference is a skew (right so far: the mean, the "),
        ([([12.0, 3.0], "skewed"), ([15.0, 5.0], "symmetric")], 1, "that is the sum (right so far: the median)"),
        ([([4.0, 7.0], "skewed"), ([5.0, 5.0], "symmetric")], 1, "the median is not right: 7.0000 in case 1 of 2"),
        ([([9.0, 9.0], "skewed"), ([9.0, 9.0], "symmetric")], 0, "the mean is not right"),
    ],
)
def test_numbers_are_parts_and_the_reason_counts_only_with_all_of_them(cases, right, said):
    error = explained(*cases)
    assert (error.right, error.parts) == (right, 3) and said in str(error)
    assert ("right so far" in str(error)) == (right > 0)


def test_what_is_right_is_silent():
    assert explained(*RIGHT) is None


@pytest.fixture
def small(monkeypatch) -> None:
    """Checks of their own: one of two parts, one of one."""
    module = types.ModuleType("small_checks")

    def pair(answer, *, other=0):
        got = answered("pair", answer, other)
        if got != (other, other + 1):
            right = (got[0] == other) + (got[1] == other + 1)
            raise CheckError("pair: look again", right=right, parts=2)

    def same(answer, *, other=0):
        if answered("same", answer, other) != other:
            raise CheckError(f"same: not {other}")

    module.pair, module.same = pair, same
    monkeypatch.setitem(sys.modules, "small_checks", module)


PAIR, SAME = "small_checks.pair", "small_checks.same"


def judged(*calls, others=(0, 7)) -> CheckError | None:
    try:
        judge_answers(calls, others)
    except CheckError as error:
        return error
    return None


def test_the_worst_answer_of_all_inputs_counts(small):
    assert judged((PAIR, lambda n: (n, n + 1)), (SAME, lambda n: n)) is None
    error = judged((PAIR, lambda n: (n, 1)))  # right for the lesson's input, half right for another
    assert (error.right, error.parts, str(error)) == (1, 2, "1 of 2 parts are right. pair: look again")
    assert str(judged((SAME, lambda n: 0))) == "Not right yet. same: not 7"
    assert str(judged((SAME, lambda n: 0), (PAIR, lambda n: (1, 1)))).startswith("No part is right. same: not ")


def test_each_call_is_a_part_and_every_one_that_fails_says_why(small):
    error = judged((SAME, lambda n: n), (PAIR, lambda n: (n, 0)))
    assert str(error) == "2 of 3 parts are right. pair: look again"
    error = judged((SAME, lambda n: 1), (PAIR, lambda n: (n, 0)))
    assert str(error) == "1 of 3 parts are right. same: not 0; pair: look again"


class Escapes(BaseException):
    pass


def claims(n):
    raise CheckError("1 of 2 parts are right. ", right=1, parts=2)


def escapes(n):
    raise Escapes("1 of 2 parts are right. ")


def stops(n):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("answer", "said"), [(claims, "1 of 2"), (escapes, "Escapes"), (stops, "does every loop end?")]
)
def test_what_an_answer_raises_earns_no_part_and_never_begins_the_message(small, answer, said):
    error = judged((PAIR, answer), others=(0,))
    assert (error.right, error.parts) in ((0, 1), (0, 2))
    assert str(error).startswith(("No part is right. ", "Not right yet. ")) and said in str(error)
    assert type(error) is CheckError
