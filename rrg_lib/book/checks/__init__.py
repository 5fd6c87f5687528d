"""What the exercises call, a file a chapter: silent when the answer is right, otherwise a `CheckError` that says what
is off and why.

Every check takes `other`: 0 asks what the lesson asks, any other number asks the same of other inputs. So an answer
that only knows the lesson's inputs is found when it is graded.

An answer of several parts, of which some are right, earns their share of the points: its one message says how many.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: How the message of a graded answer begins of which nothing is right, of several parts and of one.
NO_PART, NOT_RIGHT = "No part is right.", "Not right yet."


class CheckError(AssertionError):
    """An exercise is not solved yet. The message names the likely mistake. Of the `parts` that are asked for, `right`
    are right: none of one where a check has no parts."""

    def __init__(self, message: str, *, right: int = 0, parts: int = 1):
        super().__init__(message)
        self.right, self.parts = right, parts

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message, and where the answer itself stopped. The lines of a check would give its
        solution away."""
        stopped = (
            traceback.extract_tb(self.__cause__.__traceback__)
            if self.__cause__ and not isinstance(self.__cause__, NotImplementedError)
            else []
        )
        reader_frames = [frame for frame in stopped if Path(frame.filename).parent != Path(__file__).parent]
        return [*traceback.format_list(reader_frames), f"{type(self).__name__}: {self}"]


def name_of(answer: Callable[..., Any]) -> str:
    """What to call an answer, which may be any callable: a `functools.partial` has no name of its own."""
    return getattr(getattr(answer, "func", answer), "__name__", "your answer")


def answered(name: str, answer: Callable[..., Any], *inputs: Any) -> Any:
    """What `answer` returns for these inputs. Raises `CheckError` when it is blank, stops with an error, or returns
    nothing."""
    try:
        result = answer(*inputs)
    except CheckError as error:
        raise CheckError(str(error)) from error  # whatever share an answer claims for itself
    except NotImplementedError as error:
        raise CheckError(f"{name}: still blank; write your lines where `raise NotImplementedError` stands") from error
    except Exception as error:
        raise CheckError(f"{name}: it stops with {type(error).__name__}: {error}") from error
    if result is None:
        raise CheckError(f"{name}: it returns nothing; end it with `return`")
    return result


def judge_answers(calls: Sequence[tuple[str, Callable[..., Any]]], others: Sequence[int]) -> None:
    """What the graded form asks: each check, named `module.check`, of its answer with all the inputs of `others`.

    Silent when all are right. A call is a part of the exercise, or as many as its check has; with several inputs the
    worst answer counts.

    Args:
        calls: (check, answer), as the check's cell names them.
        others: The numbers that draw the inputs; 0 is the lesson's.

    Raises:
        CheckError: Says first how many parts are right, then why each of the others is not. It always begins so, and
            what an answer raises is never passed on: a grader can read the points from it.
    """
    right, parts, reasons = 0, 0, []
    for check, answer in calls:
        module, _, function = check.rpartition(".")
        worst = None
        for other in others:
            try:
                getattr(importlib.import_module(module), function)(answer, other=other)
            except CheckError as error:
                if worst is None or error.right * worst.parts < worst.right * error.parts:
                    worst = error
            except BaseException as error:  # nothing more is asked
                stopped = f"it stops with {type(error).__name__}"
                if isinstance(error, KeyboardInterrupt):  # by the clock
                    stopped = "it went on until it was stopped; does every loop end?"
                raise CheckError(f"{NOT_RIGHT} {function}: {stopped}") from error
        right += 1 if worst is None else worst.right
        parts += 1 if worst is None else worst.parts
        if worst is not None:
            reasons.append(worst)
    if reasons:
        count = f"{right} of {parts} parts are right." if right else NO_PART if parts > 1 else NOT_RIGHT
        raise CheckError(f"{count} {'; '.join(map(str, reasons))}", right=right, parts=parts) from reasons[0]
