"""Prompts on a timeline: text -> schedule -> track (who sees what) -> blending (what a window does with it)."""

from .blending import AUTO, PROMPT_BLENDINGS
from .errors import PromptScheduleError, PromptSyntaxError
from .grammar import parse_schedule
from .schedule import TRANSITION_KINDS, PromptSchedule, Segment, Transition
from .track import PromptTrack

__all__ = [
    "AUTO",
    "PROMPT_BLENDINGS",
    "TRANSITION_KINDS",
    "PromptSchedule",
    "PromptScheduleError",
    "PromptSyntaxError",
    "PromptTrack",
    "Segment",
    "Transition",
    "parse_schedule",
]
