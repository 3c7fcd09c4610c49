"""Sizes by the rule of ControlNet's annotators, and resizing against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from glv_core.perception.controls.resample import control_size, resample, resize_frames


@pytest.mark.parametrize(
    ("height", "width", "result"),
    [
        (512, 512, (512, 512)),
        (1080, 1920, (512, 896)),  # 910.2 is 14.2 times 64
        (1920, 1080, (896, 512)),
        (720, 1280, (512, 896)),
        (480, 640, (512, 704)),  # 682.7 is 10.7 times 64
        (192, 256, (512, 704)),
        (480, 480, (512, 512)),
        (100, 400, (512, 2048)),
        (512, 544, (512, 512)),  # 8.5: halves go to the even number
        (512, 608, (512, 640)),  # 9.5
        (2160, 3840, (512, 896)),
        (1, 1, (512, 512)),
    ],
)
def test_sizes(height, width, result):
    assert control_size(height, width) == result


def test_other_sizes():
    assert control_size(1080, 1920, 768) == (768, 1344)
    assert control_size(1080, 1920, 0, 16) == (1088, 1920)
    assert control_size(1080, 1920, 0, 1) == (1080, 1920)
    assert control_size(300, 30, 16, 64) == (128, 64)  # never below one multiple
    assert control_size(10, 10, 4, 64) == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "word"), [((0, 5), "frames"), ((5, 5, -1), "short_side"), ((5, 5, 8, 0), "multiple")]
)
def test_impossible_sizes_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        control_size(*arguments)


def area_by_hand(row: np.ndarray, out: int) -> np.ndarray:
    """Integrals of a step function."""
    step = len(row) / out
    result = []
    for number in range(out):
        start, end = number * step, (number + 1) * step
        parts = [max(0.0, min(end, place + 1) - max(start, place)) * value for place, value in enumerate(row)]
        result.append(sum(parts) / step)
    return np.array(result)


def lanczos_by_hand(row: np.ndarray, out: int) -> np.ndarray:
    def weight(distance: float) -> float:
        if abs(distance) < 1e-9:
            return 1.0
        return math.sin(math.pi * distance) * math.sin(math.pi * distance / 4) / distance**2

    result = []
    for number in range(out):
        centre = (number + 0.5) * len(row) / out - 0.5
        places = [math.floor(centre) + offset for offset in range(-3, 5)]
        weights = [weight(place - centre) if abs(place - centre) > 1e-9 else math.pi**2 / 4 for place in places]
        values = [row[min(max(place, 0), len(row) - 1)] for place in places]
        result.append(np.dot(weights, values) / sum(weights))
    return np.array(result)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 40), out=st.integers(1, 40), seed=st.integers(0, 1000))
def test_rows_and_columns_against_sums_by_hand(size, out, seed):
    row = np.random.default_rng(seed).uniform(0, 255, size)
    for method, by_hand in (("area", area_by_hand), ("lanczos", lanczos_by_hand)):
        frames = torch.from_numpy(row).view(1, 1, -1, 1)
        expected = by_hand(row, out)
        np.testing.assert_allclose(resample(frames, 1, out, method)[0, 0, :, 0], expected, atol=1e-6)
        turned = resample(frames.transpose(1, 2), out, 1, method)[0, :, 0, 0]
        np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_whole_numbers_are_rounded_and_stay_in_range():
    step = torch.tensor([0, 0, 0, 255, 255, 255], dtype=torch.uint8).view(1, 1, 6, 1).expand(1, 6, 6, 3)
    grown = resize_frames(step, 24, 24)
    assert grown.dtype == torch.uint8
    assert grown.min() == 0 and grown.max() == 255  # Lanczos overshoots, which is cut off
    halves = torch.tensor([0, 1, 2, 5], dtype=torch.uint8).view(1, 1, 4, 1).repeat(1, 2, 1, 3)
    assert resize_frames(halves, 1, 2)[0, 0, :, 0].tolist() == [0, 4]  # 0.5 and 3.5


def test_nearest_invents_no_colours():
    frames = torch.tensor([3, 90, 200], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 3)
    assert resample(frames, 7, 9, "nearest")[0, :, 0, 0].tolist() == [3, 3, 3, 90, 90, 200, 200]


def test_the_same_size_is_left_alone():
    frames = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    assert resize_frames(frames, 5, 6) is frames


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos", "area"])
def test_no_double_goes_to_the_device(method):
    """Apple's has no float64."""

    class NoDoubles(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.Tensor.to and any(isinstance(each, torch.device) for each in args):
                assert args[0].dtype != torch.float64
                moved.append(args[0].dtype)
            return function(*args, **(kwargs or {}))

    moved = []
    with NoDoubles():
        resample(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), 5, 6, method)
    assert torch.float32 in moved
