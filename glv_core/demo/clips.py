"""The world the demo model draws: one solid shape that moves at constant speed over a solid torus.

A shape leaves on one side and comes back on the other, so any stretch of an endless video of this world looks like
a training clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 64
FPS = 16
SPEED = 0.75

SHAPES: tuple[str, ...] = ("circle", "square", "triangle")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.10, 0.10),
    "green": (0.10, 0.70, 0.15),
    "blue": (0.10, 0.20, 0.90),
    "yellow": (0.95, 0.85, 0.10),
    "magenta": (0.90, 0.15, 0.85),
    "cyan": (0.10, 0.85, 0.90),
}
BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "black": (0.02, 0.02, 0.02),
    "white": (0.98, 0.98, 0.98),
    "gray": (0.50, 0.50, 0.50),
}
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
}

# Template 0 is the canonical prompt.  All of them name the four attributes in words the detector can parse.
TEMPLATES: tuple[str, ...] = (
    "a {colour} {shape} moving {direction} on a {background} background",
    "{colour} {shape} moving {direction} on {background} background",
    "a {colour} {shape} on a {background} background moving {direction}",
    "{colour} {shape} on a {background} background, moving {direction}",
    "on a {background} background a {colour} {shape} moves {direction}",
    "a {background} background with a {colour} {shape} moving {direction}",
    "{background} background, {colour} {shape}, moving {direction}",
    "the {colour} {shape} moves {direction} on the {background} background",
    "a {shape} that is {colour} moving {direction} on a {background} background",
    "video of a {colour} {shape} going {direction} over a {background} background",
    "moving {direction}: a {colour} {shape} on {background} background",
    "A {colour} {shape} is moving {direction} on a {background} background.",
)

# Half the circle's width, half the square's side; the triangle points up and is inscribed in its own box.
_RADIUS = 15.0
_HALF_SIDE = 13.5
_TRIANGLE_HALF_BASE = 15.5
_TRIANGLE_HALF_HEIGHT = 14.0


@dataclass(frozen=True)
class Scene:
    """One scene: what is drawn, on what, where its centre is at frame 0 (in pixels) and where it goes."""

    shape: str
    colour: str
    background: str
    direction: str
    x: float
    y: float

    def __post_init__(self) -> None:
        for name, words in (
            ("shape", SHAPES),
            ("colour", COLOURS),
            ("background", BACKGROUNDS),
            ("direction", DIRECTIONS),
        ):
            if getattr(self, name) not in words:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; one of {', '.join(words)}")

    def prompt(self, template: int = 0) -> str:
        """The scene in words, by one of `TEMPLATES`."""
        return TEMPLATES[template].format(
            colour=self.colour, shape=self.shape, direction=self.direction, background=self.background
        )


def all_combinations() -> list[tuple[str, str, str, str]]:
    """Every (shape, colour, background, direction)."""
    return [(s, c, b, d) for s in SHAPES for c in COLOURS for b in BACKGROUNDS for d in DIRECTIONS]


def centred_scene(shape: str, colour: str, background: str, direction: str, along: float) -> Scene:
    """A scene whose object moves along the middle of the image; `along` [0, SIZE) is where on its way it starts."""
    horizontal = DIRECTIONS[direction][0] != 0
    return Scene(shape, colour, background, direction, *((along, SIZE / 2) if horizontal else (SIZE / 2, along)))


def random_scene(generator: torch.Generator | None = None) -> Scene:
    """A scene drawn uniformly: words and position."""

    def pick(words: Sequence[str]) -> str:
        return words[int(torch.randint(len(words), (1,), generator=generator))]

    x, y = (torch.rand(2, generator=generator) * SIZE).tolist()
    return Scene(pick(SHAPES), pick(list(COLOURS)), pick(list(BACKGROUNDS)), pick(list(DIRECTIONS)), x, y)


def _signed_distance(shape: str, dx: Tensor, dy: Tensor) -> Tensor:
    """Distance to the outline in pixels, negative inside, for offsets from the centre of shape [t h w]."""
    if shape == "circle":
        return torch.sqrt(dx * dx + dy * dy) - _RADIUS
    if shape == "square":
        return torch.maximum(dx.abs(), dy.abs()) - _HALF_SIDE
    # Triangle: base line below, two slanted sides that meet at the top.
    b, h = _TRIANGLE_HALF_BASE, _TRIANGLE_HALF_HEIGHT
    length = (b * b + 4 * h * h) ** 0.5
    side = (2 * h * dx.abs() - b * (dy + h)) / length
    return torch.maximum(side, dy - h)


def render(scene: Scene, num_frames: int, start: int = 0) -> Tensor:
    """Frames `start` to `start + num_frames - 1` of the scene's endless video: [t 3 h w] in 0..1."""
    step_x, step_y = DIRECTIONS[scene.direction]
    time = torch.arange(start, start + num_frames, dtype=torch.float32)
    grid = torch.arange(SIZE, dtype=torch.float32) + 0.5
    half = SIZE / 2

    def offset(centre: Tensor) -> Tensor:
        return torch.remainder(grid - centre[:, None] + half, SIZE) - half

    dx = offset(scene.x + SPEED * step_x * time)[:, None, :]
    dy = offset(scene.y + SPEED * step_y * time)[:, :, None]
    mask = (0.5 - _signed_distance(scene.shape, dx, dy)).clamp(0, 1)[:, None]
    colour = torch.tensor(COLOURS[scene.colour]).view(1, 3, 1, 1)
    background = torch.tensor(BACKGROUNDS[scene.background]).view(1, 3, 1, 1)
    return background + mask * (colour - background)
