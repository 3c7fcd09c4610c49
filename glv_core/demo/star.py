"""What the demo model never saw: a five-pointed star, in the manner of its world. For one-shot tuning."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from . import MODEL_DIR
from .clips import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, SIZE, SPEED, Scene

#: A video of the star: four scenes, each `SCENE_FRAMES` long, written by ``training/demo/star_video.py``.
STAR_VIDEO: Path = MODEL_DIR.parent / "star.mp4"
SCENES: tuple[tuple[str, str], ...] = (("right", "black"), ("up", "black"), ("right", "white"), ("up", "white"))
SCENE_FRAMES = 88

_OUTER, _INNER = 17.0, 7.5  # pixels from the middle to the points, and to the corners between
_TURN = 2 * math.pi / 5


def star_prompt(direction: str, background: str, colour: str = "red") -> str:
    """The words for a scene with the star."""
    return f"a {colour} star moving {direction} on a {background} background"


def other_prompts() -> list[str]:
    """Prompts of the world's own shapes in the scenes of the star."""
    return [
        Scene(shape, colour, background, direction, 0.0, 0.0).prompt()
        for direction, background in SCENES
        for shape in SHAPES
        for colour in COLOURS
    ]


def render_star(direction: str, background: str, num_frames: int, colour: str = "red", start: int = 0) -> Tensor:
    """Frames of a star that moves along the middle of a torus as the world's shapes do: ``t 3 h w`` in 0..1."""
    step_x, step_y = DIRECTIONS[direction]
    grid = torch.arange(SIZE, dtype=torch.float32) + 0.5
    frames = []
    for frame in range(start, start + num_frames):
        dx = torch.remainder(grid - (SIZE / 2 + SPEED * step_x * frame) + SIZE / 2, SIZE) - SIZE / 2
        dy = torch.remainder(grid - (SIZE / 2 + SPEED * step_y * frame) + SIZE / 2, SIZE) - SIZE / 2
        cover = (0.5 - _outside(dx[None, :].expand(SIZE, SIZE), dy[:, None].expand(SIZE, SIZE))).clamp(0, 1)
        behind = torch.tensor(BACKGROUNDS[background]).view(3, 1, 1)
        frames.append(behind + cover * (torch.tensor(COLOURS[colour]).view(3, 1, 1) - behind))
    return torch.stack(frames)


def render_star_video() -> Tensor:
    """All scenes, one after the other, the last one frame longer, for latent frames of four: ``t 3 h w`` in 0..1."""
    lengths = [SCENE_FRAMES] * (len(SCENES) - 1) + [SCENE_FRAMES + 1]
    return torch.cat([render_star(*scene, length) for scene, length in zip(SCENES, lengths, strict=True)])


def star_schedule() -> str:
    """The prompts of the video, as text for a prompt schedule."""
    lines = (f"{at * SCENE_FRAMES}: {star_prompt(*scene)}" for at, scene in enumerate(SCENES))
    return "\n".join(lines)


def _outside(dx: Tensor, dy: Tensor) -> Tensor:
    """How far outside of the star's outline a place is, in pixels; negative inside. One point of it is at the top."""
    angle = torch.atan2(dx, -dy)
    angle = torch.remainder(angle + _TURN / 2, _TURN) - _TURN / 2  # from the nearest point
    radius = torch.hypot(dx, dy)
    along, across = radius * torch.cos(angle), radius * torch.sin(angle).abs()
    corner = (_INNER * math.cos(_TURN / 2), _INNER * math.sin(_TURN / 2))
    edge = (corner[1], _OUTER - corner[0])  # the normal of the line from a point to a corner
    return ((along - _OUTER) * edge[0] + across * edge[1]) / math.hypot(*edge)
