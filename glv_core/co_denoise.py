"""Temporal co-denoising: one model evaluation of a long latent as a merge of overlapping windows.

Gen-L-Video (arXiv 2305.18264) denoises overlapping windows of one long latent at every sampling step and averages
them. Here the *predictions* are merged and the sampler then steps the whole length once, with one noise: the same for
deterministic samplers, and the only form that keeps the variance right for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from .fusion import MERGES, Accumulator, merge_weights
from .windows import SCHEDULES, Window, check_sizes, windows_for

#: Takes the windows of a step; yields ``(index of the window, its predictions)`` in any order. A host may evaluate
#: several windows in one forward pass. The predictions are a sequence of tensors, one an output (conditional,
#: unconditional ...), each the window's part of the long shape.
DenoiseWindows = Callable[[Sequence[Window]], Iterable[tuple[int, Sequence[torch.Tensor]]]]

#: With ``windows_per_forward`` 0, at most so many windows share a forward pass however much memory is free: more gain
#: little, and the largest batch then does not depend on the length of the video.
AUTOMATIC_WINDOWS_PER_FORWARD = 4


@dataclass(frozen=True)
class CoDenoiseSettings:
    """How a long latent is cut into windows and merged. Sizes in latent frames.

    Raises:
        ValueError: overlap not below window, or an unknown schedule or merge.
    """

    window: int
    overlap: int
    schedule: str = "shifted"
    merge: str = "pyramid"
    windows_per_forward: int = 0  #: at most so many share a forward pass; 0 is automatic

    def __post_init__(self) -> None:
        check_sizes(1, self.window, self.overlap)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"Unknown window schedule {self.schedule!r}. Known: {', '.join(SCHEDULES)}.")
        if self.merge not in MERGES:
            raise ValueError(f"Unknown merge {self.merge!r}. Known: {', '.join(MERGES)}.")
        if self.windows_per_forward < 0:
            raise ValueError(f"windows_per_forward is {self.windows_per_forward}; use 0 (automatic) or more.")

    def windows(self, length: int, step: int) -> tuple[Window, ...]:
        """The windows of sampling step ``step`` for a latent of ``length`` latent frames."""
        return windows_for(self.schedule, length, self.window, self.overlap, step)


def co_denoise(
    x: torch.Tensor,
    step: int,
    settings: CoDenoiseSettings,
    denoise_windows: DenoiseWindows,
    *,
    num_outputs: int = 1,
    time_dim: int = 2,
) -> list[torch.Tensor]:
    """One evaluation of a short model on a long latent.

    Args:
        x: the noisy long latent, ``b c t h w`` (or any shape whose axis ``time_dim`` is time); not changed.
        step: number of the sampling step, from 0; schedules that move use it.
        settings: window, overlap, schedule and merge.
        denoise_windows: evaluates windows, see ``DenoiseWindows``.
        num_outputs: predictions a window (2 with classifier-free guidance).
        time_dim: the axis of time.

    Returns:
        ``num_outputs`` tensors of ``x``'s shape: the merged predictions.

    Raises:
        RuntimeError: ``denoise_windows`` left a window out or returned one twice.
    """
    length = x.shape[time_dim]
    windows = settings.windows(length, step)
    weights = merge_weights(settings.merge, windows, length)
    sums = [Accumulator(x, time_dim) for _ in range(num_outputs)]
    waiting = set(range(len(windows)))
    for index, predictions in denoise_windows(windows):
        if index not in waiting:
            raise RuntimeError(f"Window {index} was denoised twice, or does not exist.")
        waiting.remove(index)
        for accumulator, prediction in zip(sums, predictions, strict=True):
            accumulator.add(windows[index], prediction, weights[index])
    if waiting:
        raise RuntimeError(f"Windows {sorted(waiting)} were not denoised.")
    return [accumulator.total for accumulator in sums]


def nearest_step(sigma: float, sigmas: Sequence[float]) -> int:
    """The sampling step that a model evaluation at ``sigma`` belongs to.

    Samplers that evaluate between steps (dpm_2, dpmpp_sde ...) ask at sigmas that are in no list: such an evaluation
    belongs to the last step already begun.

    Args:
        sigma: noise level of the evaluation.
        sigmas: the run's noise levels, falling, with the final one last.
    """
    tolerance = 1e-4 * max(abs(sigma), 1e-8)
    begun = [i for i, level in enumerate(sigmas[:-1]) if level >= sigma - tolerance]
    return begun[-1] if begun else 0
