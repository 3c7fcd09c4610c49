"""Latents of every place where an object of the drawn world can be on its way, from which all clips are put together.

The VAE encodes frames one by one, so the latents of a frame depend on its picture alone. An object moves along the
middle of the image, and the torus brings it back: `PHASES` places on each of two axes make up all clips.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from glv_core.demo.clips import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    SHAPES,
    SIZE,
    SPEED,
    TEMPLATES,
    Scene,
    all_combinations,
    centred_scene,
    render,
)

from .train_vae import encode

logger = logging.getLogger(__name__)

STRIDE = 4  # every fourth frame of the drawn clips: an object moves 3 pixels a frame
CLIP_FRAMES = 16
PHASES = 128  # places on the way round, half a pixel apart
PHASES_A_FRAME = round(STRIDE * SPEED * PHASES / SIZE)
EMPTY_PROMPTS = 0.1

LOOKS = [(shape, colour, background) for shape in SHAPES for colour in COLOURS for background in BACKGROUNDS]
AXES = ("right", "down")  # phases rise along these


@dataclass(frozen=True)
class Clip:
    """Which clip: its words, and the phase of its frame 0."""

    shape: str
    colour: str
    background: str
    direction: str
    phase: int

    def scene(self) -> Scene:
        """The clip as a scene; a frame of ours is `STRIDE` of the scene's."""
        along = self.phase * SIZE / PHASES
        return centred_scene(self.shape, self.colour, self.background, self.direction, along)

    def prompt(self, template: int = 0) -> str:
        """The clip in words, by one of `TEMPLATES`."""
        return self.scene().prompt(template)

    def phases(self, start: int, num_frames: int) -> Tensor:
        """The phases of frames `start` to `start + num_frames - 1` [t]."""
        sign = int(sum(DIRECTIONS[self.direction]))
        return (self.phase + sign * PHASES_A_FRAME * torch.arange(start, start + num_frames)) % PHASES

    def pixels(self, start: int, num_frames: int) -> Tensor:
        """Drawn frames in 0..1 [t 3 h w]."""
        return render(self.scene(), STRIDE * num_frames, STRIDE * start)[::STRIDE]


def draw_clip(generator: torch.Generator) -> Clip:
    """A clip drawn uniformly."""
    combinations = all_combinations()
    words = combinations[int(torch.randint(len(combinations), (), generator=generator))]
    return Clip(*words, phase=int(torch.randint(PHASES, (), generator=generator)))


def draw_prompt(clip: Clip, generator: torch.Generator, empty_odds: float = EMPTY_PROMPTS) -> str:
    """The clip in words, the canonical template twice as often as any other; sometimes nothing."""
    template = max(0, int(torch.randint(len(TEMPLATES) + 1, (), generator=generator)) - 1)
    empty = float(torch.rand((), generator=generator)) < empty_odds
    return "" if empty else clip.prompt(template)


@torch.no_grad()
def cache_latents(vae: AutoencoderKL, batch: int = 64) -> Tensor:
    """Scaled latents of all frames as fp16 [look axis phase 4 8 8]."""
    rows, begin = [], time.monotonic()
    for place, (shape, colour, background) in enumerate(LOOKS):
        for axis in AXES:
            clips = [Clip(shape, colour, background, axis, phase) for phase in range(PHASES)]
            pixels = torch.cat([clip.pixels(0, 1) for clip in clips]).mul(2).sub(1)
            rows.append(torch.cat([encode(vae, part) for part in pixels.split(batch)]).half())
        if place % 18 == 0:
            logger.info("latents: %d of %d looks, %.0f s", place, len(LOOKS), time.monotonic() - begin)
    return torch.stack(rows).unflatten(0, (len(LOOKS), len(AXES)))


class World:
    """Clips of any length and their latents, from the cache."""

    def __init__(self, latents: Tensor) -> None:
        """`latents` is what `cache_latents` made."""
        self.cache = latents

    def latents(self, clip: Clip, start: int = 0, num_frames: int = CLIP_FRAMES) -> Tensor:
        """Latents of frames `start` to `start + num_frames - 1` of a clip [4 t 8 8]."""
        look = LOOKS.index((clip.shape, clip.colour, clip.background))
        axis = 0 if clip.direction in ("left", "right") else 1
        return self.cache[look, axis, clip.phases(start, num_frames)].float().transpose(0, 1)

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """Random clips of 16 frames and their prompts [b 4 16 8 8]."""
        clips = [draw_clip(generator) for _ in range(size)]
        prompts = [draw_prompt(clip, generator) for clip in clips]
        return torch.stack([self.latents(clip) for clip in clips]), prompts
