"""What the exercises of chapter 00 call. Silent when the answer is right; otherwise a `CheckError` that names the likely mistake."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rrg_lib.checks import CheckError, answered
from rrg_lib.data.iu_xray import parse_code
from rrg_lib.study import Study

#: Written for the check: ids in one order, reports in another.
_REPORTS = {"c": "heart is large .", "d": "no effusion .", **dict.fromkeys("abef", "lungs are clear .")}


def distinct(answer: Callable[[Mapping[str, str]], float], *, other: int = 0) -> None:
    """Exercise 0.1: the share of reports that no other study got."""
    draw = random.Random(other)
    more = {f"e{i}": draw.choice([f"text {n} ." for n in range(9)]) for i in range(draw.randint(9, 20) if other else 0)}
    reports = _REPORTS | more
    counts, studies = Counter(reports.values()), len(reports)
    alone = sum(count == 1 for count in counts.values())
    got = answered("unique", answer, dict(reports))
    if got == len(counts) / studies:
        raise CheckError("that is the number of different texts over the number of studies; only what no other study got is unique")
    if got == alone:
        raise CheckError("a share is wanted, a number between 0 and 1: divide by the number of studies")
    if got == 1 - alone / studies != alone / studies:
        raise CheckError("that is the share of reports that another study got too")
    if got != alone / studies:
        raise CheckError(f"for {studies} reports of which {studies - alone} have a double, {alone} are unique; you say {got!r}")
    alike, one = answered("unique", answer, {"x": "same", "y": "same"}), answered("unique", answer, {"x": "one"})
    if alike == 1 / 2:
        raise CheckError("a text that two studies got was counted once: neither of the two is unique")
    if alike != 0 or one != 1:
        raise CheckError("when all studies get the same report none is unique, and a report alone is")


def abnormal(answer: Callable[[Sequence[Study]], float], *, other: int = 0) -> None:
    """Exercise 0.2: the share of abnormal studies."""
    draw = random.Random(other)
    for normal, ill, strange in ((3, 5, 4), (2 + draw.randint(0, 9), 1, 3), (0, 3, 0), (4, 0, 0)):
        codes = ["normal"] * normal + ["Cardiomegaly/mild", "Pleural Effusion/left"][: 1 + other % 2] * ill + ["Calcinosis/lung"] * strange
        findings = [(parse_code(code),) for code in codes]
        if ill > 1:
            findings[normal] = (*findings[normal], parse_code("Opacity/lung/base/left"))
        studies = tuple(Study(f"made-{i}", "test", "", found) for i, found in enumerate(draw.sample(findings, len(findings))))
        got, right = answered("abnormal", answer, studies), sum(study.is_abnormal for study in studies) / len(studies)
        slips = {
            1 - right: "that is the share of normal studies: turn it round",
            sum(bool(study.findings) for study in studies) / len(studies): (
                "every study has a code, 'normal' among them: ask `study.is_abnormal`, which looks for the 13 drawn findings"
            ),
            sum(study.findings[0].head != "normal" for study in studies) / len(studies): (
                "a code other than 'normal' may be of something that is not drawn: ask `study.is_abnormal`, which looks for the 13 drawn findings"
            ),
            right * len(studies): "that is their number; a share is wanted: divide by the number of studies",
            sum(sum(study.drawn) for study in studies) / len(studies): "that counts findings: a study with two is one abnormal study",
        }
        if got == right:
            continue
        hint = next(
            (hint for wrong, hint in slips.items() if isinstance(got, float | int) and math.isclose(got, wrong)), "does it look at those it is given?"
        )
        raise CheckError(f"{got!r} is not the share of abnormal studies among these {len(studies)}: {hint}")


def view_of_box(answer: Callable[[str], str], *, other: int = 0) -> None:
    """Exercise 0.3: on which side of the picture is a finding of the patient's side?"""
    got = tuple(answered("side_of_the_picture", answer, side) for side in ("left", "right"))  # two sides: there is nothing else to ask
    if got == ("left", "right"):
        raise CheckError("a film is looked at as if the patient faced you, so the sides of the two are not the same")
    if got[0] == got[1] and got[0] in ("left", "right"):
        raise CheckError(f"the patient's left and right can't both be {got[0]} in the picture: look at which side was asked")
    if got != ("right", "left") == tuple(str(side).strip(" .").lower() for side in got):
        raise CheckError("that is meant right, but it must be the bare word in small letters")
    if got != ("right", "left"):
        raise CheckError("answer 'left' or 'right' for each of the patient's two sides")
