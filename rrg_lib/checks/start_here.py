"""What the exercises of chapter 00 call. Silent when the answer is right; otherwise a `CheckError` that names the likely mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rrg_lib.checks import CheckError
from rrg_lib.study import Study

#: Written for the check: ids in one order, reports in another.
_REPORTS = {"c": "heart is large .", "a": "lungs are clear .", "b": "lungs are clear .", "d": "no effusion ."}


def distinct(answer: Callable[[Mapping[str, str]], float]) -> None:
    """Exercise 0.1: the share of reports that no other study got."""
    got = answer(dict(_REPORTS))
    if got == 3 / 4:
        raise CheckError("that is the number of different texts over the number of studies; two studies share a text, so only two reports are unique")
    if got == 2:
        raise CheckError("a share is wanted, a number between 0 and 1: divide by the number of studies")
    if got != 1 / 2:
        raise CheckError(f"for four reports of which two are the same, half are unique; you say {got!r}")
    if answer({"x": "same", "y": "same"}) != 0 or answer({"x": "one"}) != 1:
        raise CheckError("when all studies get the same report none is unique, and a report alone is")


def abnormal(answer: Callable[[Sequence[Study]], float], studies: Sequence[Study]) -> None:
    """Exercise 0.2: the share of abnormal studies."""
    got, right = answer(studies), sum(study.is_abnormal for study in studies) / len(studies)
    if abs(got - (1 - right)) < 1e-9:
        raise CheckError("that is the share of normal studies")
    if abs(got - sum(bool(study.findings) for study in studies) / len(studies)) < 1e-9 != right:
        raise CheckError("every study has a code, 'normal' among them: ask `study.is_abnormal`, which looks for the 13 drawn findings")
    if abs(got - right) > 1e-9:
        raise CheckError(f"{got!r} is not the share of abnormal studies among these {len(studies)}")
    if answer(studies[:0] + tuple(s for s in studies if s.is_abnormal)[:3]) != 1:
        raise CheckError("three abnormal studies are all abnormal: does your answer look at the studies it is given?")


def view_of_box(answer: Callable[[str], str]) -> None:
    """Exercise 0.3: on which side of the picture is a finding of the patient's side?"""
    if answer("left") == "left":
        raise CheckError("a film is looked at as if the patient faced you: the patient's left is on the right of the picture")
    if (answer("left"), answer("right")) != ("right", "left"):
        raise CheckError("answer 'left' or 'right' for each of the patient's two sides")
