"""What a run costs, before it is made."""

from __future__ import annotations

from dataclasses import dataclass

from .co_denoise import CoDenoiseSettings
from .prompts import PromptTrack


@dataclass(frozen=True)
class Cost:
    """Windows through the model in a whole run, without guidance, which adds one for every window.

    ``windows``: over all steps. ``evaluations``: a window counts once for every prompt that it is denoised with.
    ``minimum``: windows that the length alone needs, ``length / window`` at each step. ``ratio``: latent frames through
    the model, over those that the length alone needs. ``peak_batch``: the most windows in one forward pass, if memory
    allows.
    """

    windows: int
    evaluations: int
    minimum: float
    ratio: float
    peak_batch: int


def run_cost(settings: CoDenoiseSettings, length: int, num_steps: int, track: PromptTrack | None = None) -> Cost:
    """The cost of ``num_steps`` steps over ``length`` latent frames.

    Args:
        settings: windows, in latent frames.
        length: latent frames of the video.
        num_steps: sampling steps.
        track: the prompts; None counts every window once.
    """
    windows = evaluations = frames = peak = 0
    minimum = 0.0
    for step in range(num_steps):
        at_step = settings.at(step, num_steps)
        seen = track if at_step.prompt_blending == "predictions" else None
        now = settings.windows(length, step, num_steps)
        windows += len(now)
        peak = max(peak, len(now))
        times = [1 if seen is None else len(seen.active(window)) for window in now]
        evaluations += sum(times)
        frames += sum(count * settings.view(window).length for count, window in zip(times, now, strict=True))
        minimum += length / min(at_step.window, length)
    ratio = frames / (num_steps * length)
    return Cost(windows, evaluations, minimum, ratio, min(peak, settings.largest_batch))
