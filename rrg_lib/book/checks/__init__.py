"""What the exercises call, a file a chapter: silent when the answer is right, otherwise a `CheckError` that says what
is off and why.

Every check takes `other`: 0 asks what the lesson asks, any other number asks the same of other inputs. So an answer
that only knows the lesson's inputs is found when it is graded.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class CheckError(AssertionError):
    """An exercise is not solved yet. The message names the likely mistake."""

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
    except CheckError:
        raise
    except NotImplementedError as error:
        raise CheckError(f"{name}: still blank; write your lines where `raise NotImplementedError` stands") from error
    except Exception as error:
        raise CheckError(f"{name}: it stops with {type(error).__name__}: {error}") from error
    if result is None:
        raise CheckError(f"{name}: it returns nothing; end it with `return`")
    return result
