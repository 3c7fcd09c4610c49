"""Gen-L-Video's configurations as values of this pack's inputs (github.com/G-U-N/Gen-L-Video).

It ships six. The last is that of ``gen_long_mix``, a part of its one-shot tuning that no script of it runs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """One configuration. All have static windows, merged flat, one prompt a window, 50 steps of DDIM, cfg 12.5, seed
    33.

    ``window`` and ``stride`` in frames; ``every``: which frames of the source are taken; ``strength``: the part of the
    steps that is made, and inverted before, 1 for all; ``inverted``: whether sampling begins with the inverted source
    or with plain noise; ``control``: strength of the ControlNet or adapter, 1 where there is none.
    """

    window: int
    stride: int
    every: int
    strength: float = 1.0
    inverted: bool = True
    control: float = 1.0

    steps = 50
    guidance = 12.5
    seed = 33
    schedule = "static"
    merge = "flat"
    prompt_blending = "one_per_window"
    sampler = "ddim"
    scheduler = "ddim_uniform"

    @property
    def overlap(self) -> int:
        """Frames that neighbouring windows share."""
        return self.window - self.stride

    @property
    def first_step(self) -> int:
        """The step that sampling begins with."""
        return self.steps - int(self.steps * self.strength + 1e-6)


PRESETS: dict[str, Preset] = {
    "mix: car-turn (depth, prompts that change)": Preset(20, 5, 2),
    "edit anything: girl-glass (inpaint)": Preset(15, 5, 2, control=0.8),
    "control: girl-glass (canny)": Preset(15, 5, 2, strength=0.2, control=0.6),
    "control: girl (hed)": Preset(15, 5, 2, strength=0.2, control=0.6),
    "pose: group (follow your pose)": Preset(16, 4, 3, inverted=False),
    "one-shot tuning: hike": Preset(16, 4, 6),
    "one-shot tuning mix: hike (prompts that change)": Preset(16, 4, 6),
}
