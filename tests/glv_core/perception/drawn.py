"""Drawn clips whose truth is known, and a detector and segmenters that go by colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from glv_core.perception.boxes import Detection, mask_box
from glv_core.perception.tracking import MaskPrediction

HEIGHT, WIDTH, RADIUS = 60, 96, 11
COLOURS = {"red": (0.9, 0.1, 0.1), "blue": (0.1, 0.2, 0.95), "green": (0.1, 0.8, 0.2)}


def disc(x: float, y: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return (rows - y) ** 2 + (columns - x) ** 2 <= RADIUS**2


class Clip:
    """Discs on a grey texture; later ones lie on earlier ones. ``truth[name][frame]``: the pixels that can be seen."""

    def __init__(self, paths: dict[str, Callable[[int], tuple[float, float]]], length: int = 200) -> None:
        generator = torch.Generator().manual_seed(5)
        ground = 0.4 + 0.1 * torch.rand(HEIGHT, WIDTH, 1, generator=generator).expand(-1, -1, 3)
        self.frames = torch.empty(length, HEIGHT, WIDTH, 3, dtype=torch.uint8)
        self.truth = {name: torch.zeros(length, HEIGHT, WIDTH, dtype=torch.bool) for name in paths}
        for number in range(length):
            frame = ground.clone()
            for name, path in paths.items():
                shape = disc(*path(number))
                frame[shape] = torch.tensor(COLOURS[name])
                for other in self.truth.values():
                    other[number] &= ~shape
                self.truth[name][number] = shape
            self.frames[number] = (frame * 255).round()


class ColourDetector:
    """Boxes around colours, a few pixels off; none in frames where ``misses`` says so.

    Of two discs that overlap it makes one box, as real detectors do.
    """

    def __init__(self, misses: Callable[[int], bool] = lambda call: False, jitter: int = 2, label: str = "ball"):
        self.misses, self.jitter, self.label = misses, jitter, label
        self.calls = 0
        self.largest = 0
        self.random = np.random.default_rng(7)

    def detect(self, frames):
        self.largest = max(self.largest, len(frames))
        return [self._one(frame) for frame in frames]

    def _one(self, frame):
        frame = frame.float() / 255
        self.calls += 1
        if self.misses(self.calls - 1):
            return []
        boxes = []
        for colour in COLOURS.values():
            box = mask_box((frame - torch.tensor(colour)).abs().amax(-1) < 0.08)
            if box is not None and (box[2] - box[0]) * (box[3] - box[1]) > 16:
                boxes.append(box)
        merged = []
        for box in boxes:
            for other in merged:
                if box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]:
                    merged.remove(other)
                    box = (*map(min, box[:2], other[:2]), *map(max, box[2:], other[2:]))
                    break
            merged.append(box)
        noisy = [tuple(side + self.random.integers(-self.jitter, self.jitter + 1) for side in box) for box in merged]
        return [Detection(box, 0.5 + 0.1 * index, self.label) for index, box in enumerate(noisy)]


class ColourSegmenter:
    """Remembers the colour in the middle of a box, and finds it near the last place; sure by how much there is."""

    def __init__(self, reach: int = 8):
        self.reach = reach
        self.known = {}
        self.steps = 0

    def step(self, frame):
        self.frame = frame.float() / 255
        self.steps += 1
        return {number: self._find(number) for number in self.known}

    def add(self, boxes):
        for number, box in boxes.items():
            x, y = round((box[0] + box[2]) / 2), round((box[1] + box[3]) / 2)
            x, y = min(max(x, 0), WIDTH - 1), min(max(y, 0), HEIGHT - 1)
            self.known[number] = [self.frame[y, x].clone(), box]
        return {number: self._find(number) for number in boxes}

    def _find(self, number):
        colour, box = self.known[number]
        near = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        left, top, right, bottom = (int(side) for side in box)
        near[max(0, top - self.reach) : bottom + self.reach, max(0, left - self.reach) : right + self.reach] = True
        mask = ((self.frame - colour).abs().amax(-1) < 0.08) & near
        area = int(mask.sum())
        if area > 20:
            self.known[number][1] = mask_box(mask)
        return MaskPrediction(mask, min(1.0, area / 40))

    def forget(self, ids):
        for number in ids:
            self.known.pop(number, None)

    def fresh(self):
        return ColourSegmenter(self.reach)


class BoxSegmenter:
    """Of one frame: the pixels in a box that have the colour of its middle."""

    def segment(self, frame, boxes):
        segmenter = ColourSegmenter(reach=2)
        segmenter.step(frame)
        return [each.mask for each in segmenter.add(dict(enumerate(boxes))).values()]


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def ids_of(clip: Clip, results: list, name: str) -> dict[int, int]:
    """By frame, the id whose mask covers most of a disc."""
    found = {}
    for number, objects in enumerate(results):
        truth = clip.truth[name][number]
        fits = [(iou(each.mask, truth), each.id) for each in objects]
        if truth.sum() > 60 and fits and max(fits)[0] > 0.5:
            found[number] = max(fits)[1]
    return found
