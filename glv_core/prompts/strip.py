"""A schedule as a strip of pieces: what an editor draws and lets people change. The text stays what holds.

Pieces are in the order of time and cover the video. They know where they stand in the text, for ``editing`` to write
there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from .dialects import parse_keys
from .grammar import head_of_keys, keys_in, reading_of
from .layout import Fade, Spans
from .source import Video, in_front, round_half_up


@dataclass(frozen=True)
class Piece:
    """One prompt on the strip.

    ``start``: its first frame. ``words``: its own, without what stands in front of all prompts. ``fade``: how it
    begins, where that is written. ``end``: the frame before which its range ends, where one is written. ``spans``:
    where it stands in the text, ``offset`` where that begins; both are None for a piece that is new. ``head``: whether
    its words are those that stand in front of others.
    """

    start: int
    words: str
    fade: Fade | None = None
    end: int | None = None
    spans: Spans | None = None
    offset: int | None = None
    head: bool = False

    @property
    def half(self) -> float:
        """Frames that its written transition takes on either side of its start."""
        return (self.fade.frames or 0.0) / 2 if self.fade else 0.0


@dataclass(frozen=True)
class Strip:
    """The pieces of a text, and its ``head``, which stands in front of those that are not the head themselves.

    ``alone``: the head is a piece and stands in front of nothing. ``form``: the way of writing, see ``Reading``, or
    "keys", whose pieces begin at whole frames here.
    """

    pieces: tuple[Piece, ...]
    num_frames: int
    head: str = ""
    alone: bool = False
    form: str = "lines"

    @classmethod
    def of(cls, video: Video) -> Strip:
        """The strip of a text.

        Raises:
            PromptScheduleError: the text cannot be read.
        """
        keys = keys_in(video)
        if keys is not None:
            head = head_of_keys(video, keys)
            return cls(_pieces_of_keys(video, keys, head), video.num_frames, head, form="keys")
        reading = reading_of(video)
        pieces = [
            Piece(each.start, each.prompt, each.fade, each.end, each.spans, each.offset) for each in reading.entries
        ]
        late = bool(reading.head) and pieces[0].start > 0
        if late:
            pieces.insert(0, Piece(0, reading.head, offset=reading.offset, head=True))
        pieces[0] = replace(pieces[0], start=0)
        return cls(tuple(pieces), video.num_frames, reading.head, reading.alone and late, reading.form)

    def full(self, piece: Piece) -> str:
        """The prompt of a piece with what stands in front of it."""
        return piece.words if piece.head or self.alone else in_front(self.head, piece.words)

    def end_of(self, index: int) -> int:
        """The frame before which a piece ends."""
        return self.pieces[index + 1].start if index + 1 < len(self.pieces) else self.num_frames

    def says(self) -> list[tuple[int, str, str, float]]:
        """What the pieces say, however it is written: start, prompt, and kind and frames of the written transition."""
        return [
            (piece.start, self.full(piece), fade.kind, -1.0 if fade.frames is None else round(fade.frames, 1))
            for index, piece in enumerate(self.pieces)
            for fade in [(piece.fade if index else None) or Fade("", None, 0)]
        ]


def _pieces_of_keys(video: Video, keys: int, head: str) -> tuple[Piece, ...]:
    """The pieces of keys, which may begin between frames: at the next whole one, with transitions that fit there."""
    segments = parse_keys(video, keys, "", bool(head)).segments
    offsets = [offset for _, offset in video.notes.starts] or [keys]
    starts: list[int] = []
    for segment in segments:
        starts.append(max(round_half_up(Fraction(segment.start)), starts[-1] + 1 if starts else 0))
    ends = [*starts[1:], video.num_frames]
    pieces: list[Piece] = []
    for segment, start, end, offset in zip(segments, starts, ends, offsets, strict=False):
        fade = None
        if pieces:
            room = min(start - pieces[-1].start - pieces[-1].half, end - start)
            frames = 2 * min(segment.transition.half, room)
            fade = Fade(segment.transition.kind, frames, 0) if frames else Fade("hard", None, 0)
        pieces.append(Piece(start, segment.prompt, fade, offset=offset))
    return tuple(pieces)
