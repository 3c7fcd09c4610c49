"""What can be wrong with a prompt schedule."""

from __future__ import annotations


class PromptScheduleError(ValueError):
    """A schedule that cannot be: outside the video, overlapping, a transition that does not fit, and the like.

    ``line`` and ``column`` count from 1 and say where in the text the trouble is; both are None when the schedule was
    not written as text.
    """

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class PromptSyntaxError(PromptScheduleError):
    """Text that cannot be read as a schedule. ``line`` and ``column`` are always set."""
