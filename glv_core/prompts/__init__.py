"""Prompts on a timeline: text -> schedule -> track (who sees what) -> blending (what a window does with it)."""

from .blending import AUTO, PROMPT_BLENDINGS
from .errors import PromptScheduleError, PromptSyntaxError, PromptWarning
from .grammar import BEYOND_END, ParsedSchedule, parse_schedule, read_schedule
from .schedule import TRANSITION_KINDS, PromptSchedule, Segment, Transition
from .track import PromptTrack

__all__ = [
    "AUTO",
    "BEYOND_END",
    "PROMPT_BLENDINGS",
    "TRANSITION_KINDS",
    "ParsedSchedule",
    "PromptSchedule",
    "PromptScheduleError",
    "PromptSyntaxError",
    "PromptTrack",
    "PromptWarning",
    "Segment",
    "Transition",
    "parse_schedule",
    "read_schedule",
]
