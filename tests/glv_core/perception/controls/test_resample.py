"""Sizes by the rule of ControlNet's annotators, and resizing against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from glv_core.perception.controls import resample as resampling
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


def drawn(height: int, width: int) -> torch.Tensor:
    y, x = np.mgrid[:height, :width]
    return torch.from_numpy(((x * x * 37 + y * 91 + x * y * 13) % 256).astype(np.uint8))[None, ..., None]


OF_OPENCV = {
    ("area", 7, 10, 4, 6): """
        56 96 138 118 92 111 148 150 155 146 126 108 115 153 150 100 153 141 105 134 122 99 114 152""",
    ("area", 7, 10, 5, 12): """
        26 58 92 110 115 121 128 106 84 62 71 167 143 189 125 99 140 158 146 166 165 142 112 106
        41 100 182 213 200 232 127 73 63 97 125 44 147 135 145 149 131 91 80 159 195 143 85 224
        81 111 121 123 126 129 98 73 93 128 156 163""",
    ("area", 6, 9, 2, 3): "109 134 114 136 136 119",
    ("area", 6, 8, 3, 4): "67 110 129 124 134 165 172 91 137 156 87 186",
    ("lanczos", 7, 10, 9, 13): """
        0 2 99 156 69 40 136 151 35 3 35 116 189 37 85 62 59 184 231 115 74 178 182 31 28 162
        154 234 136 18 140 192 128 134 226 232 126 83 126 150 195 214 160 101 96 194 206 85 63 186 175 47
        16 47 171 245 211 250 198 81 46 42 118 114 29 54 153 180 94 96 200 87 16 196 231 117 118 217
        205 138 124 180 157 58 54 134 204 254 73 64 255 163 67 93 228 206 77 110 154 81 117 87 91 174
        11 126 145 49 72 172 133 37 41 66 181 214 141""",
}  #: method, height, width, and those of the result: what cv2.resize 4.14 gives of ``drawn``


@pytest.mark.parametrize("case", OF_OPENCV)
def test_every_pixel_is_opencv_s(case):
    """A mean over parts of pixels, one where a side grows, over blocks, and of 2 x 2; and 8 pixels of a row."""
    method, height, width, *size = case
    wanted = torch.tensor([int(each) for each in OF_OPENCV[case].split()]).view(size)
    assert torch.equal(resample(drawn(height, width), *size, method)[0, ..., 0].long(), wanted)


def test_frames_do_not_depend_on_one_another_nor_on_the_size_of_pieces(monkeypatch):
    frames = torch.randint(0, 256, (3, 37, 53, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for method, size in (("area", (20, 31)), ("lanczos", (64, 81)), ("cubic", (64, 31)), ("area", (30, 60))):
        whole = resample(frames, *size, method)
        monkeypatch.setattr(resampling, "_AT_A_TIME", 300)
        alone = torch.cat([resample(frame[None].contiguous(), *size, method) for frame in frames])
        monkeypatch.undo()
        assert torch.equal(whole, alone)


def test_whole_numbers_are_rounded_and_stay_in_range():
    step = torch.tensor([0, 0, 0, 255, 255, 255], dtype=torch.uint8).view(1, 1, 6, 1).expand(1, 6, 6, 3)
    grown = resize_frames(step, 24, 24)
    assert grown.dtype == torch.uint8
    assert grown.min() == 0 and grown.max() == 255  # Lanczos overshoots, which is cut off
    halves = torch.tensor([0, 1, 2, 5], dtype=torch.uint8).view(1, 1, 4, 1).repeat(1, 2, 1, 3)
    assert resize_frames(halves, 1, 2)[0, 0, :, 0].tolist() == [1, 4]  # 0.5 and 3.5 of 2 x 2 pixels, halves up


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
    assert moved
