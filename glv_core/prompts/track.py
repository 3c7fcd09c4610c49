"""Which prompts each latent frame of a video sees, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..timeline import Place, Timebase
from ..windows import Window
from .weights import prompt_weights

if TYPE_CHECKING:
    from . import PromptSchedule


@dataclass(frozen=True)
class PromptTrack:
    """The distinct prompts of a video, in order of appearance, and their weight at every latent frame.

    ``weights`` is float32 ``[latent frames, prompts]``; its rows sum to 1 and no column is all 0.
    """

    prompts: tuple[str, ...]
    weights: torch.Tensor

    @classmethod
    def of(cls, schedule: PromptSchedule, timebase: Timebase) -> PromptTrack:
        """The track of a schedule, read at the centre of every latent frame.

        Segments with the same prompt become one; a prompt that falls between two latent frames is left out.

        Raises:
            ValueError: the schedule is for another number of frames than the timebase.
        """
        if schedule.num_frames != timebase.num_frames:
            raise ValueError(
                f"The prompt schedule is for {schedule.num_frames} frames and the video has {timebase.num_frames}. "
                "Parse the schedule with the length of the video."
            )
        columns: dict[str, torch.Tensor] = {}
        for segment, weights in zip(schedule.segments, prompt_weights(schedule, timebase), strict=True):
            if weights.any():
                columns[segment.prompt] = columns.get(segment.prompt, 0) + weights
        return cls(tuple(columns), torch.stack(list(columns.values()), dim=1))

    def at(self, place: Place, length: int) -> PromptTrack:
        """The part of this track that a latent of ``length`` latent frames at a place of the video sees."""
        weights = self.weights[place.frames(length)]
        seen = [prompt for prompt in range(len(self.prompts)) if weights[:, prompt].any()]
        return PromptTrack(tuple(self.prompts[prompt] for prompt in seen), weights[:, seen])

    def active(self, window: Window) -> Sequence[int]:
        """Numbers of the prompts with a weight above 0 somewhere in a window."""
        seen = (self.weights[list(window.frames)] > 0).any(dim=0)
        return seen.nonzero().flatten().tolist()
