"""Which prompts each latent frame of a video sees, and how much of each: a schedule read at latent frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..timeline import Compression, Place, Timebase
from ..windows import Window
from .blending import window_prompts
from .schedule import PromptSchedule


@dataclass(frozen=True)
class PromptTrack:
    """The distinct prompts of a video, in order of appearance, and their weight at every latent frame.

    ``weights`` is float32 ``[prompt, latent frame]``; its columns sum to 1.
    """

    prompts: tuple[str, ...]
    weights: torch.Tensor

    @classmethod
    def of(cls, schedule: PromptSchedule, num_latent_frames: int, compression: Compression) -> PromptTrack:
        """The track of a schedule, read at the centre of every latent frame.

        Segments with the same prompt are one. A hard transition is never blended, also where it falls inside a latent
        frame.

        Raises:
            ValueError: the schedule is for a video of another length.
        """
        check_length(schedule, num_latent_frames, compression)
        prompts = schedule.prompts
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        timebase = Timebase(schedule.num_frames, schedule.fps, compression)
        seen = [schedule.seen(timebase.centre_of(index)) for index in range(num_latent_frames)]
        weights = torch.zeros(len(prompts), num_latent_frames)
        for part in range(2):  # a latent frame sees at most two segments, which may have the same prompt
            columns = [index for index, segments in enumerate(seen) if len(segments) > part]
            rows = [row_of[schedule.segments[seen[index][part][0]].prompt] for index in columns]
            weights[rows, columns] += torch.tensor([seen[index][part][1] for index in columns])
        return cls(prompts, weights)

    def at(self, place: Place, length: int) -> PromptTrack:
        """The track of a latent of ``length`` latent frames at a place of the video; all prompts stay."""
        return PromptTrack(self.prompts, self.weights[:, place.indices(length)])

    def seen(self) -> PromptTrack:
        """The same without prompts that no latent frame sees, as one that falls between two latent frames."""
        seen = self.weights.any(dim=1).nonzero().flatten().tolist()
        return PromptTrack(tuple(self.prompts[index] for index in seen), self.weights[seen])

    def in_window(self, window: Window) -> torch.Tensor:
        """``[prompt, latent frame of the window]``."""
        return self.weights[:, list(window.indices)]

    def active(self, window: Window) -> Sequence[int]:
        """Indices of the prompts with a weight above 0 somewhere in a window."""
        return (self.in_window(window) > 0).any(dim=1).nonzero().flatten().tolist()

    def mixed(self, window: Window, overlap: int, blending: str, per_frame: bool) -> torch.Tensor:
        """How much each prompt counts in a window that is denoised once.

        Args:
            window: which latent frames.
            overlap, blending: see ``window_prompts``.
            per_frame: whether every latent frame has text of its own, as where frames are the batch.

        Returns:
            ``[prompt]``, or ``[prompt, latent frame of the window]``.
        """
        if blending == "attention" or (per_frame and blending != "one_per_window"):
            return self.in_window(window)
        return window_prompts(self.weights, window, overlap, blending)

    def of_part(self, place: Place, length: int) -> dict[str, list]:
        """The ``texts`` seen in a part of the video, and the ``weights`` of each at its latent frames, for a file."""
        part = self.at(place, length).seen()
        return {"texts": list(part.prompts), "weights": part.rounded()}

    def rounded(self) -> list[list[float]]:
        """The weights as they go into a chunk's key, a list for each prompt."""
        return [[round(float(weight), 5) for weight in row] for row in self.weights]


def check_length(schedule: PromptSchedule, num_latent_frames: int, compression: Compression) -> None:
    """Check that a schedule was made for a video of this length.

    Raises:
        ValueError: it was not; says both lengths.
    """
    wanted = compression.num_latent_frames(schedule.num_frames)
    if wanted != num_latent_frames:
        raise ValueError(
            f"The prompts were scheduled over {schedule.num_frames} frames ({wanted} latent frames), but the latent "
            f"holds {compression.num_frames(num_latent_frames)} frames ({num_latent_frames} latent frames)."
        )
