"""Reads scenes of the demo world back from pixels alone.

Independent of the generator on purpose: it knows what the words mean (hues, gray levels, outlines) but shares no
table and no code with `clips.py`, so that it can judge both rendered and generated frames.
Frames are a torus: an object that crosses the border is one object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

Array = np.ndarray

# Hue in degrees of each colour word; gray level of each background word.
HUES = {"red": 0.0, "yellow": 60.0, "green": 120.0, "cyan": 180.0, "blue": 240.0, "magenta": 300.0}
LEVELS = {"black": 0.0, "gray": 0.5, "white": 1.0}
SHAPES = ("circle", "square", "triangle")
STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
ATTRIBUTES = ("colour", "shape", "background", "direction")

_MAX_HUE_ERROR = 26.0
_MIN_SATURATION = 0.3
_MIN_CONTRAST = 0.25
_BACKGROUND_SPREAD = 0.13
_MIN_BACKGROUND_SHARE = 0.7
_AREA = (120, 800)
_MIN_OVERLAP = 0.72
_MIN_MARGIN = 0.02
_MAX_STRAY_PIXELS = 16
_MIN_SPEED = 0.35  # pixels a frame


@dataclass(frozen=True)
class FrameReading:
    """What one frame shows; `x`, `y` is the object's centre of mass in pixels. Unclear things are `None`."""

    found: bool
    colour: str | None = None
    shape: str | None = None
    background: str | None = None
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class ClipReading:
    """What a clip shows: the words most frames agree on, and the mean velocity in pixels per frame.

    `found` is the share of frames with one clear object; `steps` holds each frame's displacement from the frame
    before it, `None` where one of the two is unclear.
    """

    frames: tuple[FrameReading, ...]
    found: float
    colour: str | None
    shape: str | None
    background: str | None
    direction: str | None
    velocity: tuple[float, float] | None
    steps: tuple[tuple[float, float] | None, ...]


def _as_array(frames: torch.Tensor | Array) -> Array:
    """[t 3 h w] or [t h w 3] -> float64 [t h w 3]."""
    array = frames.detach().float().cpu().numpy() if isinstance(frames, torch.Tensor) else np.asarray(frames)
    if array.ndim != 4 or 3 not in (array.shape[1], array.shape[3]):
        raise ValueError(f"frames must be [t 3 h w] or [t h w 3], got {array.shape}")
    if array.shape[3] != 3:
        array = array.transpose(0, 2, 3, 1)
    return array.astype(np.float64)


def _components(mask: Array) -> list[Array]:
    """Connected parts of a mask on the torus [h w], largest first."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = labels
        for axis in (0, 1):
            for shift in (-1, 1):
                spread = np.maximum(spread, np.roll(spread, shift, axis))
        spread = np.where(mask, spread, 0)
        if (spread == labels).all():
            break
        labels = spread
    names, counts = np.unique(labels[mask], return_counts=True)
    return [labels == name for name in names[np.argsort(-counts)]]


def _grow(mask: Array, pixels: int) -> Array:
    """The mask widened by some pixels on the torus [h w]."""
    for _ in range(pixels):
        for axis in (0, 1):
            mask = mask | np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    return mask


def _circular_mean(weights: Array) -> float:
    """Centre of mass, in pixels, of weights on a circle [n]; pixel i covers i to i + 1."""
    n = len(weights)
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n
    return float(np.angle((weights * np.exp(1j * angle)).sum()) % (2 * np.pi) * n / (2 * np.pi))


def centred(cover: Array) -> tuple[Array, tuple[int, int]]:
    """An object on the torus [h w] moved to the middle, and by how much: rows and columns."""
    shift = tuple(side // 2 - int(_circular_mean(cover.sum(1 - axis))) for axis, side in enumerate(cover.shape))
    return np.roll(cover, shift, (0, 1)), shift


def _background(frame: Array) -> tuple[str | None, Array]:
    """The background's word, if it is clear, and its colour."""
    colour = np.median(frame.reshape(-1, 3), axis=0)
    share = (np.abs(frame - colour).max(-1) < _BACKGROUND_SPREAD).mean()
    level = colour.mean()
    if share < _MIN_BACKGROUND_SHARE or np.ptp(colour) > 0.2:
        return None, colour
    name = min(LEVELS, key=lambda word: abs(LEVELS[word] - level))
    return (name if abs(LEVELS[name] - level) < 0.2 else None), colour


def _colour(rgb: Array) -> str | None:
    high, low = rgb.max(), rgb.min()
    if high - low < _MIN_SATURATION or high < 0.35:
        return None
    red, green, blue = rgb
    if high == red:
        hue = 60 * ((green - blue) / (high - low))
    elif high == green:
        hue = 60 * ((blue - red) / (high - low)) + 120
    else:
        hue = 60 * ((red - green) / (high - low)) + 240
    errors = {word: abs((hue - HUES[word] + 180) % 360 - 180) for word in HUES}
    name = min(errors, key=errors.__getitem__)
    return name if errors[name] < _MAX_HUE_ERROR else None


def _templates(area: float, spread_x: float, spread_y: float, dx: Array, dy: Array) -> dict[str, Array]:
    """Ideal shapes of the given size around their centre of mass, as masks over offsets [h w]."""
    # A triangle of base b and height h has variances b^2 / 24 and h^2 / 18; its tip is two thirds of h above its mass.
    base, height = (24**0.5) * spread_x, (18**0.5) * spread_y
    below_tip = dy + 2 * height / 3
    return {
        "circle": np.hypot(dx, dy) < (area / np.pi) ** 0.5,
        "square": np.maximum(abs(dx), abs(dy)) < area**0.5 / 2,
        "triangle": (below_tip < height) & (abs(dx) < base / 2 * below_tip / height),
    }


def _shape(cover: Array) -> str | None:
    """The shape of coverage values 0..1 that lie well inside the frame [h w]."""
    area = cover.sum()
    low, high = _AREA
    if not low < area < high:
        return None
    dy, dx = np.mgrid[: cover.shape[0], : cover.shape[1]]
    dx, dy = dx - (cover * dx).sum() / area, dy - (cover * dy).sum() / area
    spread_x, spread_y = ((cover * dx**2).sum() / area) ** 0.5, ((cover * dy**2).sum() / area) ** 0.5
    overlap = {
        word: np.minimum(cover, mask).sum() / np.maximum(cover, mask).sum()
        for word, mask in _templates(area, spread_x, spread_y, dx, dy).items()
    }
    best, second, _ = sorted(overlap.values(), reverse=True)
    if best < _MIN_OVERLAP or best - second < _MIN_MARGIN:
        return None
    return max(overlap, key=overlap.__getitem__)


def _read_frame(frame: Array) -> FrameReading:
    return _find(frame)[0]


def _find(frame: Array) -> tuple[FrameReading, Array]:
    """What a frame shows, and where its object is: how much of each pixel it covers, 0..1 [h w]."""
    empty = np.zeros(frame.shape[:2])
    if not np.isfinite(frame).all():
        return FrameReading(False), empty
    background, base = _background(frame)
    if background is None:
        return FrameReading(False), empty
    nothing = FrameReading(False, background=background), empty
    offset = frame - base
    distance = np.sqrt((offset**2).sum(-1))
    if (distance > _MIN_CONTRAST).sum() < 60:
        return nothing
    core = distance > 0.6 * np.quantile(distance, 0.97)
    rgb = np.median(frame[core & (distance > _MIN_CONTRAST)].reshape(-1, 3), axis=0)
    contrast = rgb - base
    if np.sqrt((contrast**2).sum()) < _MIN_CONTRAST:
        return nothing
    cover = np.clip(offset @ contrast / (contrast @ contrast), 0, 1)
    parts = _components(cover > 0.5)
    if not parts or parts[0].sum() < 60:
        return nothing
    near = _grow(parts[0], 2)
    if ((distance > _MIN_CONTRAST) & ~near).sum() > _MAX_STRAY_PIXELS:
        return nothing
    cover = found = np.where(near, cover, 0.0)
    height, width = cover.shape
    cover, shift = centred(cover)
    total = cover.sum()
    y = float((cover.sum(1) * (np.arange(height) + 0.5)).sum() / total - shift[0]) % height
    x = float((cover.sum(0) * (np.arange(width) + 0.5)).sum() / total - shift[1]) % width
    shape, colour = _shape(cover), _colour(rgb)
    return FrameReading(shape is not None and colour is not None, colour, shape, background, x, y), found


def read_frames(frames: torch.Tensor | Array) -> list[FrameReading]:
    """Reads every frame of [t 3 h w] or [t h w 3], values 0..1, on its own."""
    return [_read_frame(frame) for frame in _as_array(frames)]


def find_covers(frames: torch.Tensor | Array) -> list[Array]:
    """How much of each pixel the object of every frame of [t 3 h w] or [t h w 3], values 0..1, covers: 0..1 [h w]."""
    return [_find(frame)[1] for frame in _as_array(frames)]


def centre_distances(readings: Sequence[FrameReading], others: Sequence[FrameReading], size: float = 64) -> list[float]:
    """How far apart the objects' centres are on a torus of ``size`` pixels, in the frames where both are found."""

    def apart(one: float, other: float) -> float:
        return (one - other + size / 2) % size - size / 2

    return [
        float(np.hypot(apart(a.x, b.x), apart(a.y, b.y)))
        for a, b in zip(readings, others, strict=True)
        if a.found and b.found
    ]


_ANYTHING = ("object", "objects", "shape", "shapes", "thing", "things")
_SOME_COVER = 0.1  # of a pixel, for it to belong to the object


def object_masks(frames: torch.Tensor | Array, text: str) -> list[tuple[str, Array]]:
    """For every frame of [t 3 h w] or [t h w 3], values 0..1: the words of its object, and its mask as bool [h w].

    Args:
        frames: the frames.
        text: which object: a colour, a shape, both, or "object"; several of these end with full stops. Where a frame
            shows no such object the words are empty and the mask is too; a colour or shape that is unclear in a frame
            fits.

    Raises:
        ValueError: a text that names none of these.
    """
    wanted = [{k: word for k, word in expected(part).items() if k in ("colour", "shape")} for part in _phrases(text)]
    result = []
    for frame in _as_array(frames):
        reading, cover = _find(frame)
        words = " ".join(word for word in (reading.colour, reading.shape) if word)
        fits = words and any(
            all(getattr(reading, kind) in (None, word) for kind, word in phrase.items()) for phrase in wanted
        )
        result.append((words, cover > _SOME_COVER) if fits else ("", np.zeros(frame.shape[:2], dtype=bool)))
    return result


def _phrases(text: str) -> list[str]:
    phrases = [phrase.strip() for phrase in text.lower().split(".") if phrase.strip()]
    for phrase in phrases:
        words = re.findall(r"[a-z]+", phrase)
        if not any(word in HUES or word in SHAPES or word in _ANYTHING for word in words):
            known = ", ".join((*HUES, *SHAPES, "object"))
            raise ValueError(f"text is {text!r}; the drawn world has no {phrase!r}. Known: {known}.")
    if not phrases:
        raise ValueError("text is empty. Name a colour, a shape, or 'object'.")
    return phrases


def _majority(words: Sequence[str | None]) -> str | None:
    counts = Counter(word for word in words if word is not None)
    if not counts:
        return None
    word, count = counts.most_common(1)[0]
    return word if 2 * count > len(words) else None


def read_clip(frames: torch.Tensor | Array) -> ClipReading:
    """Reads a clip [t 3 h w] or [t h w 3], values 0..1: its words, its velocity and each frame's reading."""
    array = _as_array(frames)
    height, width = array.shape[1:3]
    readings = tuple(_read_frame(frame) for frame in array)
    steps: list[tuple[float, float] | None] = []
    for before, after in pairwise(readings):
        if not (before.found and after.found):
            steps.append(None)
            continue
        dx = (after.x - before.x + width / 2) % width - width / 2
        dy = (after.y - before.y + height / 2) % height - height / 2
        steps.append((dx, dy))
    known = [step for step in steps if step is not None]
    velocity = direction = None
    if known and 2 * len(known) > len(steps):
        dx, dy = np.mean(known, axis=0).tolist()
        velocity = (dx, dy)
        for word, (sx, sy) in STEPS.items():
            along, across = dx * sx + dy * sy, abs(dx * sy) + abs(dy * sx)
            if along > _MIN_SPEED and across < 0.5 * along:
                direction = word
    return ClipReading(
        frames=readings,
        found=sum(reading.found for reading in readings) / max(1, len(readings)),
        colour=_majority([reading.colour for reading in readings]),
        shape=_majority([reading.shape for reading in readings]),
        background=_majority([reading.background for reading in readings]),
        direction=direction,
        velocity=velocity,
        steps=tuple(steps),
    )


def expected(prompt: str) -> dict[str, str]:
    """The attributes a prompt names; one it does not name, or names twice, is left out."""
    words = [{"grey": "gray"}.get(word, word) for word in re.findall(r"[a-z]+", prompt.lower())]
    kinds = {"colour": HUES, "shape": SHAPES, "background": LEVELS, "direction": STEPS}
    named = {kind: {word for word in words if word in table} for kind, table in kinds.items()}
    return {kind: next(iter(found)) for kind, found in named.items() if len(found) == 1}


def agreement(reading: ClipReading, prompt: str) -> dict[str, float]:
    """Share of frames (for the direction: 0 or 1) that show what the prompt asks for, per attribute it names."""
    result = {}
    for kind, word in expected(prompt).items():
        if kind == "direction":
            result[kind] = float(reading.direction == word)
        else:
            hits = [frame.found and getattr(frame, kind) == word for frame in reading.frames]
            result[kind] = sum(hits) / max(1, len(hits))
    return result


def agrees(reading: FrameReading | ClipReading, prompt: str) -> bool:
    """Whether a reading shows everything its prompt names (a single frame has no direction)."""
    if not reading.found:
        return False
    wanted = expected(prompt)
    if isinstance(reading, FrameReading):
        wanted.pop("direction", None)
    return all(getattr(reading, kind) == word for kind, word in wanted.items())
