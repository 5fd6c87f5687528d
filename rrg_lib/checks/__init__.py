"""What the exercises call, a file a chapter: silent when the answer is right, otherwise a `CheckError` that says what is off and why."""


class CheckError(AssertionError):
    """An exercise is not solved yet. The message names the likely mistake."""
