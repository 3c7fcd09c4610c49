"""What a step of tuning sees: windows of the video, noise levels, and what is left out.

Everything that is drawn depends on the seed, the step and the place in the batch alone, so that a run that was cut off
goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .options import TuningOptions

#: How often something is left out: one share for all steps, or ``(until step, share)`` in rising order, as
#: Gen-L-Video's configuration writes ``[[200, 0.4]]``; behind the last of these steps nothing is.
Drop = float | Sequence[tuple[int, float]]

_PRIME = 1_000_003  # steps of one seed draw nothing that those of a neighbouring one do


@dataclass(frozen=True)
class Draw:
    """One window of a step.

    ``start``: its first latent frame. ``share``: its noise level as a share of the model's range, 0 without noise to 1.
    ``text``: whether it has its text. ``clip``: whether it has its clip identifier. ``seed``: of its noise.
    ``choice``: a number in 0 ... 1 to choose by, where several prompts are to be had.
    """

    start: int
    share: float
    text: bool
    clip: bool
    seed: int
    choice: float


def window_starts(length: int, window: int, stride: int, grain: int = 1) -> list[int]:
    """The first latent frames of the windows that are trained: multiples of ``stride``, and one more that ends with
    the video, or as near to its end as a multiple of ``grain`` lies, where the last of these does not.

    Gen-L-Video leaves such a rest out.

    Raises:
        ValueError: the video is shorter than a window.
    """
    if length < window:
        raise ValueError(f"The video has {length} latent frames and a window {window}. Lower window to {length}.")
    starts = list(range(0, length - window + 1, stride))
    last = (length - window) // grain * grain
    if starts[-1] < last:
        starts.append(last)
    return starts


def share_at(drop: Drop, step: int) -> float:
    """How often something is left out in a step."""
    if isinstance(drop, (int, float)):
        return float(drop)
    return next((share for until, share in drop if step < until), 0.0)


def draws_of_step(options: TuningOptions, length: int, step: int, starts: Sequence[int] | None = None) -> list[Draw]:
    """The windows of a step of tuning on a video of ``length`` latent frames.

    Windows are drawn alike; the noise levels of a batch lie one in each of as many equal parts of the range, so that a
    step does not see one end of it alone. ``starts``: of the windows to draw from; None for ``window_starts``.
    """
    generator = torch.Generator().manual_seed((options.seed * _PRIME + step) % 2**63)

    def uniform() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    starts = starts or window_starts(length, options.window, options.stride, options.grain)
    clip_drop = share_at(options.clip_drop, step)
    return [
        Draw(
            start=starts[int(torch.randint(len(starts), (), generator=generator))],
            share=(place + uniform()) / options.batch,
            text=uniform() >= options.text_drop,
            clip=uniform() >= clip_drop,
            seed=int(torch.randint(2**62, (), generator=generator)),
            choice=uniform(),
        )
        for place in range(options.batch)
    ]
