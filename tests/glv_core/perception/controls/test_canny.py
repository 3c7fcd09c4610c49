"""Canny against a plain one, pixel by pixel, and against images whose edges are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.perception.controls.canny import canny


def plain_canny(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """The algorithm with loops, written from its description: ``h w 3`` uint8 to ``h w`` of 0 and 255."""
    height, width, channels = image.shape
    values = np.pad(image.astype(int), ((1, 1), (1, 1), (0, 0)), mode="edge")
    dx, dy = np.zeros((height, width), int), np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            best = -1
            for c in range(channels):
                part = values[y : y + 3, x : x + 3, c]
                right = (part[:, 2] - part[:, 0]) @ (1, 2, 1)
                down = (part[2] - part[0]) @ (1, 2, 1)
                if abs(right) + abs(down) > best:
                    best = abs(right) + abs(down)
                    dx[y, x], dy[y, x] = right, down
    norm = np.abs(dx) + np.abs(dy)

    def at(y, x):
        return norm[y, x] if 0 <= y < height and 0 <= x < width else 0

    kept = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            n, a, b = norm[y, x], abs(dx[y, x]), abs(dy[y, x])
            if n <= low:
                continue
            if b * 2**15 < a * 13573:
                kept[y, x] = n > at(y, x - 1) and n >= at(y, x + 1)
            elif b * 2**15 > a * (13573 + 2**16):
                kept[y, x] = n > at(y - 1, x) and n >= at(y + 1, x)
            else:
                side = -1 if (dx[y, x] < 0) != (dy[y, x] < 0) else 1
                kept[y, x] = n > at(y - 1, x - side) and n > at(y + 1, x + side)
    result = np.zeros((height, width), np.uint8)
    todo = [tuple(place) for place in np.argwhere(kept & (norm > high))]
    while todo:
        y, x = todo.pop()
        if 0 <= y < height and 0 <= x < width and kept[y, x] and not result[y, x]:
            result[y, x] = 255
            todo += [(y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return result


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), height=st.integers(1, 18), width=st.integers(1, 18), levels=st.integers(2, 256),
    channels=st.integers(1, 4), low=st.sampled_from([0, 50, 100.5, 300, 1500]), high=st.sampled_from([100, 200, 600.5]),
)  # fmt: skip
def test_every_pixel_is_the_plain_one_s(seed, height, width, levels, channels, low, high):
    steps = np.random.default_rng(seed).integers(0, levels, (2, height, width, channels)) * 255 // (levels - 1)
    frames = steps.astype(np.uint8)
    found = canny(torch.from_numpy(frames), low, high).numpy()
    for image, edges in zip(frames, found):
        np.testing.assert_array_equal(edges, plain_canny(image, *(math.floor(each) for each in sorted((low, high)))))


def test_a_square_has_a_thin_outline():
    frame = torch.zeros(1, 20, 20, 3, dtype=torch.uint8)
    frame[:, 5:15, 5:15] = 200
    edges = canny(frame)[0]
    expected = torch.zeros(20, 20, dtype=torch.uint8)
    expected[5:15, [4, 14]] = 255  # both sides of a step have the same gradient: the first in its direction stays
    expected[[4, 14], 5:15] = 255
    corners = (slice(3, 7), slice(13, 17))
    for rows in corners:
        for columns in corners:
            expected[rows, columns] = edges[rows, columns]
    assert torch.equal(edges, expected)
    assert edges.count_nonzero() >= 36


def test_weak_edges_stay_where_they_touch_strong_ones():
    frame = torch.zeros(1, 9, 60, 3, dtype=torch.uint8)
    frame[:, 4:, :] = (torch.linspace(30, 90, 60)[:, None]).to(torch.uint8)  # steps of 120 to 360
    assert canny(frame, 100, 200)[0, :, :58].any(0).all()  # one edge through the whole image
    weak = frame.clone()
    weak[:, 4:] = 45
    assert not canny(weak, 100, 200).any()


def test_a_step_in_one_colour_counts():
    frame = torch.full((1, 8, 8, 3), 50, dtype=torch.uint8)
    frame[:, :, 4:, 2] = 250
    assert canny(frame)[0, :, 3].all()
    assert torch.equal(canny(frame, 200, 100), canny(frame, 100, 200))


@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_image_has_no_edges(value):
    assert not canny(torch.full((2, 6, 7, 3), value, dtype=torch.uint8)).any()


def test_no_gradient_is_above_the_largest():
    frame = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    frame[:, :, 4:] = 255
    assert canny(frame, 0, 1019).any() and not canny(frame, 0, 1020).any() and not canny(frame, 1e9, 1e9).any()


def test_a_long_edge_is_followed_to_its_end():
    """A spiral that fades from strong to weak: 12 rounds, thousands of pixels behind one another."""
    y, x = torch.meshgrid(torch.arange(240) - 120.0, torch.arange(240) - 120.0, indexing="ij")
    radius, angle = torch.hypot(x, y), torch.atan2(y, x) / math.tau
    arm = ((radius / 16 - angle).frac() < 0.5) & (radius > 16)
    frame = (arm * (80 - radius / 4).clamp(38)).to(torch.uint8)[None, ..., None]
    flooded = canny(frame, 100, 230)
    assert torch.equal(flooded[0], torch.from_numpy(plain_canny(frame[0].numpy(), 100, 230)))
    assert 1500 < flooded.count_nonzero() < 60_000
