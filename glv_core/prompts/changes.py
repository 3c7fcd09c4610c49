"""Changes to a strip: borders moved, transitions, pieces split, removed and retyped. Each gives another strip."""

from __future__ import annotations

import math
from dataclasses import replace

from .errors import PromptScheduleError
from .layout import Fade
from .schedule import Transition
from .source import join_lines
from .strip import Piece, Strip


def moved(strip: Strip, index: int, frame: int, ripple: bool = False) -> Strip:
    """The strip with the border in front of a piece at another frame, or the nearest to it that leaves all pieces.

    Without ``ripple`` the neighbour yields; with it all that follows moves as far, and the last piece yields.
    """
    _check(strip, index, least=1)
    if strip.form == "keys":  # whose transitions fill all the time between prompts
        return _fitted(_moved(strip, index, frame, ripple, [0.0] * len(strip.pieces)))
    return _moved(strip, index, frame, ripple, [piece.half for piece in strip.pieces])


def _moved(strip: Strip, index: int, frame: int, ripple: bool, halves: list[float]) -> Strip:
    pieces = strip.pieces
    halves = [0.0, *halves[1:], 0.0]

    def least(place: int) -> int:
        """The frames that a piece needs for itself and its written transitions."""
        return max(1, math.ceil(round(halves[place] + halves[place + 1], 6)))

    if ripple:
        highest = pieces[index].start + strip.num_frames - pieces[-1].start - least(len(pieces) - 1)
    else:
        highest = strip.end_of(index) - least(index)
    lowest = pieces[index - 1].start + least(index - 1)
    step = max(min(frame, highest), lowest) - pieces[index].start
    moving = range(index, len(pieces) if ripple else index + 1)
    return _with(strip, [replace(each, start=each.start + step * (i in moving)) for i, each in enumerate(pieces)])


def _fitted(strip: Strip) -> Strip:
    """The strip with transitions that fit between their neighbours."""
    pieces = [strip.pieces[0]]
    for index, piece in enumerate(strip.pieces[1:], 1):
        left = piece.start - pieces[-1].start - (pieces[-1].half if index > 1 else 0.0)
        half = min(piece.half, max(left, 0.0), strip.end_of(index) - piece.start)
        if piece.fade and half < piece.half:
            fade = {"frames": 2 * half} if half else {"kind": "hard", "frames": None}
            piece = replace(piece, fade=replace(piece.fade, **fade))
        pieces.append(piece)
    return replace(strip, pieces=tuple(pieces))


def faded(strip: Strip, index: int, kind: str, frames: float | None = None) -> Strip:
    """The strip with another transition into a piece: a ``kind`` and its frames, or "" for the default.

    A transition that is too long for its neighbours becomes as long as fits.
    """
    _check(strip, index, least=1)
    if not kind:
        return _changed(strip, index, fade=None)
    if frames is not None and kind != "hard":
        before = strip.pieces[index].start - strip.pieces[index - 1].start
        taken = strip.pieces[index - 1].half if index > 1 else 0.0
        behind = strip.pieces[index + 1].half if index + 1 < len(strip.pieces) else 0.0
        room = min(before - taken, strip.end_of(index) - strip.pieces[index].start - behind)
        frames = math.floor(round(10 * min(max(frames, 0.0), 2 * max(room, 0.0)), 6)) / 10
    Transition(kind, 0.0 if kind == "hard" else frames or 0.0)  # raises for what is none
    return _changed(strip, index, fade=Fade(kind, None if kind == "hard" else frames, 0))


def split(strip: Strip, frame: int, words: str = "") -> Strip:
    """The strip with a piece more, which begins at a frame, with these words or those of the piece that it cuts.

    Transitions that it cuts become as long as fits.

    Raises:
        PromptScheduleError: a piece begins there already, or it is outside the video.
    """
    if not 0 < frame < strip.num_frames or frame in [piece.start for piece in strip.pieces]:
        raise PromptScheduleError(f"frame {frame} cannot begin another prompt: one begins there, or it is no frame.")
    index = max(i for i, piece in enumerate(strip.pieces) if piece.start < frame)
    cut = strip.pieces[index]
    words = join_lines(words) or cut.words
    new = Piece(frame, words, end=None if cut.end is None else strip.end_of(index))
    return _fitted(_with(strip, [*strip.pieces[: index + 1], new, *strip.pieces[index + 1 :]]))


def removed(strip: Strip, index: int) -> Strip:
    """The strip without a piece; the one before it goes on, or the next one begins earlier.

    Raises:
        PromptScheduleError: it is the only one.
    """
    _check(strip, index)
    if len(strip.pieces) < 2:
        raise PromptScheduleError("this is the only prompt, and a schedule needs one.")
    left = [piece for i, piece in enumerate(strip.pieces) if i != index]
    left[0] = replace(left[0], start=0)
    return _with(strip, left)


def retyped(strip: Strip, index: int, words: str) -> Strip:
    """The strip with other words in a piece.

    Raises:
        PromptScheduleError: there are none.
    """
    _check(strip, index)
    words = join_lines(words)
    if not words:
        raise PromptScheduleError("a prompt needs words. To take it away, delete it.")
    changed = _changed(strip, index, words=words)
    return replace(changed, head=words) if strip.pieces[index].head else changed


def _check(strip: Strip, index: int, least: int = 0) -> None:
    if not least <= index < len(strip.pieces):
        raise PromptScheduleError(f"there is no border or prompt {index}; there are {len(strip.pieces)} prompts.")


def _changed(strip: Strip, index: int, **changes: object) -> Strip:
    pieces = list(strip.pieces)
    pieces[index] = replace(pieces[index], **changes)  # type: ignore[arg-type]
    return replace(strip, pieces=tuple(pieces))


def _with(strip: Strip, pieces: list[Piece]) -> Strip:
    """A strip with these pieces, whose ranges end where the next one begins if they did, and no later."""
    new = replace(strip, pieces=tuple(pieces))
    ended = {id(piece.spans): strip.end_of(index) for index, piece in enumerate(strip.pieces) if piece.spans}
    for index, piece in enumerate(new.pieces):
        if piece.end is not None:
            end = new.end_of(index)
            met = ended.get(id(piece.spans), piece.end) == piece.end
            pieces[index] = replace(piece, end=end if met or not piece.start < piece.end < end else piece.end)
    return replace(new, pieces=tuple(pieces))
