"""What can be wrong with a prompt schedule, or look wrong."""

from __future__ import annotations

from dataclasses import dataclass


class PromptScheduleError(ValueError):
    """A schedule that cannot be: outside the video, overlapping, a transition that does not fit, and the like.

    ``line`` and ``column`` count from 1 and say where in the text the trouble is; both are None when the schedule was
    not written as text. ``common`` says that they are of the common text and not of the schedule.
    """

    def __init__(self, message: str, line: int | None = None, column: int | None = None, common: bool = False) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.common = common


class PromptSyntaxError(PromptScheduleError):
    """Text that cannot be read as a schedule. ``line`` and ``column`` are always set."""


@dataclass(frozen=True)
class PromptWarning:
    """Something that was read, but perhaps not as it was meant.

    ``message`` shows the line with a caret below the place, as errors do. ``line`` and ``column`` count from 1;
    ``common`` says that they are of the common text and not of the schedule.
    """

    message: str
    line: int
    column: int
    common: bool = False

    def __str__(self) -> str:
        return self.message
