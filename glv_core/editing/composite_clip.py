"""A composite as a clip whose frames are made when they are read, so that a long video takes constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch

from ..video_io import FileAudio, VideoClip, tone_map
from .composite import composite_frames


def _nothing(deep: bool) -> Iterable[torch.Tensor]:
    return ()


@dataclass(frozen=True, eq=False, kw_only=True)
class CompositeClip(VideoClip):
    """Frames of a video file with an edit inside a mask, see ``composite_frames``; made by ``composite_clip``.

    Its time is that of ``original``, frame by frame: ``trimmed`` and ``cut`` give a part of the composite.
    """

    original: VideoClip | None = None
    edited: Callable[[bool], Iterable[torch.Tensor]] = _nothing  #: the edit's frames, read again each time
    mask: torch.Tensor | None = None
    grow: int = 0
    feather: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it is a file's own video, which it never is."""
        return False

    def frames(self, batch: int = 16, deep: bool = False) -> Iterator[torch.Tensor]:
        """The frames in order, in pieces ``t h w 3`` of at most ``batch``.

        Args:
            batch: frames of a piece.
            deep: float32 in 0..1 with all the bits of the original, in place of uint8.

        Raises:
            OSError: a file cannot be read to the end.
        """
        wanted = self.source_frames()
        number = next(wanted, None)
        images: list[torch.Tensor] = []
        for at, image in self._composed(deep or bool(self.tone_mapped)):
            while number == at:
                images.append(image)
                if len(images) == batch:
                    yield self._together(images, deep)
                    images = []
                number = next(wanted, None)
            if number is None:
                break
        if images:
            yield self._together(images, deep)

    def _together(self, images: list[torch.Tensor], deep: bool) -> torch.Tensor:
        frames = torch.stack(images)
        return tone_map(frames, self.tone_mapped, deep) if self.tone_mapped else frames

    def _composed(self, deep: bool) -> Iterator[tuple[int, torch.Tensor]]:
        """The composite's frames with their numbers in the original."""
        assert self.original is not None and self.mask is not None
        frames = composite_frames(
            self.original.frames(deep=deep), self.edited(deep), self.mask, self.grow, self.feather
        )  # fmt: skip
        at = 0
        for part in frames:
            yield from enumerate(part, at)
            at += len(part)

    def audio(self) -> FileAudio | None:
        """The sound of the original, as long as this part of it; None if it has none."""
        if not self.has_audio:
            return None
        return FileAudio(self.path, _begins(self), self.seconds, self.decoding.in_order)


def _begins(clip: VideoClip) -> float:
    """When a clip begins, in time stamps of its file."""
    if isinstance(clip, CompositeClip) and clip.original is not None:
        return clip.start + _begins(clip.original)
    return clip.start + clip.first_time


def composite_clip(
    original: VideoClip,
    edited: Callable[[bool], Iterable[torch.Tensor]],
    mask: torch.Tensor,
    grow: int = 0,
    feather: int = 0,
) -> CompositeClip:
    """A clip in which a mask shows an edit, and all else is the original's.

    Args:
        original: the clip that was edited.
        edited: called with ``deep`` each time that frames are read; gives the edit in pieces ``t h w 3``, uint8 or
            float in 0..1.
        mask: ``t h w``, see ``composite_frames``.
        grow, feather: in pixels, see ``composite``.
    """
    # Frame k of the original is what it shows at k / fps, so its composite is a video of even times.
    fps = Fraction(original.fps)
    times = tuple(float(number / fps) for number in range(original.num_frames))
    return CompositeClip(
        original.path, original.width, original.height, fps, original.num_frames, 0.0, original.has_audio, times,
        source_fps=fps, bit_depth=original.bit_depth, color_space=original.color_space, decoding=original.decoding,
        original=original,
        edited=edited, mask=mask, grow=grow, feather=feather,
    )  # fmt: skip
