"""Prompts on a timeline: text to schedule (``parse_schedule``), and what each frame sees (``PromptSchedule``)."""

from .errors import PromptScheduleError, PromptSyntaxError
from .grammar import parse_schedule
from .schedule import TRANSITION_KINDS, PromptSchedule, Segment, Transition

__all__ = [
    "TRANSITION_KINDS",
    "PromptSchedule",
    "PromptScheduleError",
    "PromptSyntaxError",
    "Segment",
    "Transition",
    "parse_schedule",
]
