"""A prompt schedule read at latent frames."""

from __future__ import annotations

import torch

from ..timeline import Timebase
from . import PromptSchedule


def prompt_weights(schedule: PromptSchedule, timebase: Timebase) -> torch.Tensor:
    """How much each segment's prompt counts at each latent frame, read at the latent frame's centre.

    Returns:
        float32 ``[segment, latent frame]``; every column sums to 1. A hard transition is never blended, also where it
        falls inside a latent frame.
    """
    columns = [schedule.weights(timebase.centre_of(i)) for i in range(timebase.num_latent_frames)]
    return torch.tensor(columns, dtype=torch.float32).T
