"""What is set for a tuning, on any host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .draws import Drop
from .identifiers import KINDS

#: Of AdamW, as in Gen-L-Video's configuration: betas, weight decay and epsilon. Gradients are clipped to a norm of 1.
OPTIMIZER: dict[str, Any] = {"betas": (0.9, 0.999), "weight_decay": 1e-2, "eps": 1e-8}
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class TuningOptions:
    """What is trained, and how; lengths in latent frames.

    Args:
        steps: of the optimiser.
        batch: windows in a step, one forward and backward pass each.
        window, stride: of the windows, and between the starts of two of them.
        learning_rate: of each step; it stays the same.
        rank: of the low-rank weights, and of those of the clip identifiers.
        text_drop: how often a window is seen with an empty text.
        clip_drop: how often it is seen without its clip identifier.
        identifiers: one of ``KINDS``.
        keep: how much it counts that other prompts go on giving what they gave; 0 does not ask.
        ema_decay: of the exponential moving average of the weights, which is what is kept in the end; 0 keeps those of
            the last step. The first steps have a lower one, ``(1 + n) / (10 + n)``.
        seed: of all that is drawn.
        grain: windows start at multiples of it only.

    Raises:
        ValueError: something is out of range; the message names it.
    """

    steps: int
    window: int
    stride: int
    batch: int = 1
    learning_rate: float = 1e-4
    rank: int = 16
    text_drop: float = 0.1
    clip_drop: Drop = 0.4
    identifiers: str = "none"
    keep: float = 0.0
    ema_decay: float = 0.0
    seed: int = 0
    grain: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "window", "stride", "batch", "rank"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more.")
        if self.stride > self.window:
            raise ValueError(
                f"The stride is {self.stride} latent frames and the window {self.window}, so parts of the video would "
                "be in no window. Lower the stride."
            )
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate:g}; it must be above 0 and below 1.")
        if not 0 <= self.keep <= 1000:
            raise ValueError(f"keep is {self.keep:g}; it must be 0 to 1000.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay:g}; it must be 0 or more, and below 1.")
        if not 0 <= self.text_drop < 1:
            raise ValueError(f"text_drop is {self.text_drop:g}; it must be 0 or more, and below 1.")
        shares = [self.clip_drop] if isinstance(self.clip_drop, (int, float)) else [p for _, p in self.clip_drop]
        for share in shares:
            if not 0 <= share <= 1:
                raise ValueError(f"clip_drop is {share:g}; it must be 0 to 1.")
        if self.identifiers not in KINDS:
            raise ValueError(f"Unknown identifiers {self.identifiers!r}. Known: {', '.join(KINDS)}.")
