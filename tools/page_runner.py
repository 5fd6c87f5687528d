"""Judges an answer in a page of the site: what the notebook's cells do, one after the other, and what they say."""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import traceback
from types import TracebackType

from rrg_lib.book.checks import CheckError

ANSWER = "<your answer>"


def judged(given: str, answer: str, check: str) -> str:
    """JSON with `right`, what is `said` (a check's hint, or the error that the answer stops with) and what the answer
    `printed`."""
    linecache.cache[ANSWER] = (len(answer), None, answer.splitlines(keepends=True), ANSWER)
    own, printed, said = {"__name__": "__main__"}, io.StringIO(), ""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            for source, name in ((given, "<given>"), (answer, ANSWER), (check, "<check>")):
                exec(compile(source, name, "exec"), own)
        except CheckError as error:
            said = "".join(error._render_traceback_())
        except BaseException as error:  # an answer may exit, too
            said = f"{in_the_answer(error.__traceback__)}{''.join(traceback.format_exception_only(error))}"
    return json.dumps({"right": not said, "said": said.strip(), "printed": printed.getvalue()})


def in_the_answer(trace: TracebackType | None) -> str:
    """Where an answer stopped: its own lines."""
    frames = [frame for frame in traceback.extract_tb(trace) if frame.filename == ANSWER]
    return "".join(traceback.format_list(frames))
