"""Decoding of maps that were made from known people."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
import people as made

from glv_core.perception.controls import openpose
from glv_core.perception.controls.openpose import decode_people, network_input

HEIGHT, WIDTH = 368, 512  # frames; maps are 23 by 32


def decode(*people: np.ndarray) -> np.ndarray:
    heat, fields = made.maps_of(list(people), 23, 32)
    return decode_people(heat, fields, (184, 256), HEIGHT, WIDTH)


def in_frame(person: np.ndarray) -> np.ndarray:
    """A pixel of the map is 16 of the frame, from its middle."""
    return (person[:, :2] + 0.5) * 16 - 0.5


def test_a_person_is_found_where_it_stands():
    person = made.standing(15.3, 11.2, 2.57)
    (found,) = decode(person)
    assert np.abs(found[:, :2] - in_frame(person)).max() < 1.5
    assert (found[:, 2] > 0.5).all()


def test_two_people_keep_their_limbs():
    people = [made.standing(8.3, 11.2, 2.37), made.standing(22.1, 11.7, 2.43)]
    found = decode(*people)
    assert len(found) == 2
    for person in people:
        distances = [np.abs(each[:, :2] - in_frame(person)).max() for each in found]
        assert min(distances) < 1.5


def test_keypoints_that_are_not_there():
    person = made.standing(15.3, 11.2, 2.57)
    person[[4, 10, 16], 2] = 0
    (found,) = decode(person)
    assert not found[[4, 10, 16]].any()
    assert (found[[0, 1, 2, 3, 5, 6, 7], 2] > 0).all()


@pytest.mark.parametrize(("kept", "count"), [([1, 2, 3, 4], 1), ([1, 2, 3], 0)])
def test_a_person_needs_four_parts(kept, count):
    person = made.standing(15.3, 11.2, 2.57)
    person[[part for part in range(18) if part not in kept], 2] = 0
    assert len(decode(person)) == count


def test_a_person_needs_a_mean_score():
    """Heat of 0.25 is above the threshold of peaks; limbs without direction add little."""
    person = made.standing(15.3, 11.2, 2.57, score=0.25)
    heat, fields = made.maps_of([person], 23, 32, sigma=1.8)
    assert len(decode_people(heat, fields, (184, 256), HEIGHT, WIDTH)) == 1
    assert len(decode_people(heat, 0.12 * fields, (184, 256), HEIGHT, WIDTH)) == 0


def enlarged(maps: torch.Tensor, inner: tuple[int, int], height: int, width: int) -> np.ndarray:
    """Cubic by 8, without the grey pixels, then cubic to the frame's size."""
    by_8 = functional.interpolate(maps[None], scale_factor=8, mode="bicubic")[:, :, : inner[0], : inner[1]]
    return functional.interpolate(by_8, (height, width), mode="bicubic")[0].numpy()


def summits(heat: np.ndarray) -> set[tuple[int, int, float]]:
    """Pixels where a map, blurred over 3 pixels, is above 0.1 and as high as its four neighbours: x, y and heat."""
    gauss = np.exp(-0.5 * (np.arange(-12, 13) / 3) ** 2)
    blurred = np.pad(heat, 12, "symmetric")
    for axis in (0, 1):
        blurred = np.apply_along_axis(np.convolve, axis, blurred, gauss / gauss.sum(), "valid")
    inner = np.pad(blurred, 1)
    around = [inner[1:-1, 2:], inner[1:-1, :-2], inner[2:, 1:-1], inner[:-2, 1:-1]]
    return {
        (int(x), int(y), round(float(heat[y, x]), 4))
        for y, x in np.argwhere((blurred > 0.1) & (blurred >= np.maximum.reduce(around)))
    }


@pytest.mark.parametrize(("height", "width"), [(368, 546), (97, 143), (512, 760)])
def test_keypoints_are_where_the_maps_enlarged_and_blurred_are_highest(height, width):
    """To the pixel, with noise on the maps, for frames larger and smaller than what the network sees."""
    random, noise = np.random.default_rng(height), torch.Generator().manual_seed(height)
    people = [made.standing(x, 11.2, 2.43) + random.normal(0, 0.2, (18, 3)) * (1, 1, 0) for x in (7.3, 17.1, 27.6)]
    heat, fields = made.maps_of(people, 23, 35)
    heat += torch.randn(heat.shape, generator=noise) * 0.03
    found = decode_people(heat, fields, (184, 273), height, width)
    assert len(found) == 3 and (found[..., 2] > 0).sum() > 45
    for part, at in enumerate(enlarged(heat, (184, 273), height, width)[:18]):
        places = {(int(x), int(y), round(float(score), 4)) for x, y, score in found[:, part] if score}
        assert places <= summits(at)


def test_limbs_are_found_with_few_calls():
    """The maps are brought to the frame's size and read for all keypoints and limbs at once: 1,500 calls for four
    people, where limb after limb took 3,200."""
    maps = made.maps_of([made.standing(3 + 5 * each, 8 + 4 * (each % 2), 2.2) for each in range(4)], 23, 32)
    assert made.calls_of(decode_people, *maps, (184, 256), HEIGHT, WIDTH) < 2000


def test_many_false_peaks_are_looked_at_in_parts(monkeypatch):
    """Noise has hundreds of peaks a keypoint, and the pairs of them are many: they need not lie in memory together."""
    noise = torch.Generator().manual_seed(1)
    maps = torch.rand(19, 23, 32, generator=noise), torch.randn(38, 23, 32, generator=noise)
    whole = decode_people(*maps, (184, 256), HEIGHT, WIDTH)
    monkeypatch.setattr(openpose, "_PAIRS", 1000)
    sizes, given = [], openpose._scores
    monkeypatch.setattr(openpose, "_scores", lambda *each: sizes.append(len(each[0])) or given(*each))
    np.testing.assert_array_equal(decode_people(*maps, (184, 256), HEIGHT, WIDTH), whole)
    assert len(whole) > 10 and max(sizes) <= 1000 and len(sizes) > 10


def test_nobody():
    assert decode().shape == (0, 18, 3)
    heat, fields = torch.zeros(19, 23, 32), torch.ones(38, 23, 32)
    assert decode_people(heat, fields, (184, 256), HEIGHT, WIDTH).shape == (0, 18, 3)


def test_the_grey_border_of_the_input_does_not_move_people():
    """The network sees 512 x 760 as 184 x 273, with 7 grey columns."""
    frames = torch.zeros(1, 512, 760, 3, dtype=torch.uint8)
    values, inner = network_input(frames)
    assert values.shape == (1, 3, 184, 280) and inner == (184, 273)
    person = made.standing(12.3, 11.2, 2.43)
    heat, fields = made.maps_of([person], 23, 35)
    (found,) = decode_people(heat, fields, inner, 512, 760)
    scale = np.array([760 / 273, 512 / 184])
    assert np.abs(found[:, :2] - ((person[:, :2] + 0.5) * 8 * scale - 0.5)).max() < 2.5


def test_the_network_sees_bgr_around_zero():
    frames = torch.zeros(1, 368, 400, 3, dtype=torch.uint8)
    frames[..., 0], frames[..., 1] = 255, 64
    values, inner = network_input(frames)
    assert values.shape == (1, 3, 184, 200) and inner == (184, 200)
    assert values[0, :, 90, 90].tolist() == [-0.5, -0.25, 255 / 256 - 0.5]
    wide = network_input(torch.zeros(1, 368, 406, 3, dtype=torch.uint8))[0]
    assert wide.shape[3] == 208 and (wide[..., 203:] == 0).all() and (wide[..., :203] == -0.5).all()
