"""What an editor shows of a text: its strip, or where it cannot be read."""

from __future__ import annotations

from typing import Any

from .editing import Timing
from .errors import PromptScheduleError, PromptWarning
from .grammar import read_schedule
from .strip import Strip


def view(text: str, timing: Timing) -> dict[str, Any]:
    """What a text says, in types that JSON can hold.

    Returns:
        ``segments``: in the order of time, each with ``start`` and ``end`` in frames (halves with keys), its own
        ``words``, the whole ``prompt``, ``kind`` and ``frames`` of the transition into it and whether that is
        ``written``, whether it is the ``head`` of all others, and the ``line`` where it stands, from 1. ``warnings``
        and ``error``: ``message``, ``line`` and ``column`` from 1 (in characters, not UTF-16 units), and whether they
        are of the ``common`` text; ``error`` is None where the text can be read, and there are no segments where not.
    """
    try:
        read = read_schedule(text, **vars(timing))
        video = timing.video(text)
        strip = Strip.of(video)
    except PromptScheduleError as error:
        return {"segments": [], "warnings": [], "error": _told(error, str(error))}
    segments = [
        {
            "start": segment.start,
            "end": segment.end,
            "words": piece.words,
            "prompt": segment.prompt,
            "kind": segment.transition.kind,
            "frames": segment.transition.frames,
            "written": piece.fade is not None and index > 0,
            "head": piece.head,
            "line": None if piece.offset is None else video.source.locate(piece.offset)[0],
        }
        for index, (segment, piece) in enumerate(zip(read.schedule.segments, strip.pieces, strict=True))
    ]
    warnings = [_told(warning, warning.message) for warning in read.warnings]
    return {"segments": segments, "warnings": warnings, "error": None}


def _told(what: PromptScheduleError | PromptWarning, message: str) -> dict[str, Any]:
    return {"message": message, "line": what.line, "column": what.column, "common": what.common}
