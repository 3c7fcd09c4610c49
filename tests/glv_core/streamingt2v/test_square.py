"""Sizes and bars, against Pillow and pixels that are followed through."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glv_core.streamingt2v.square import (
    Placement,
    check_canvas,
    check_latent_size,
    cut_out,
    fit,
    place,
    prepare_image,
    start_frames,
)


def random_frames(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def pillow(frame: torch.Tensor, width: int, height: int) -> np.ndarray:
    planes = [np.ascontiguousarray(frame[..., k].numpy()) for k in range(frame.shape[-1])]
    resized = [np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in planes]
    return np.stack(resized, -1).clip(0, 1)


def test_a_square_video_gets_bars_of_280_and_loses_them_again():
    frames = random_frames(2, 256, 256, 3)
    where = place(256, 256)
    assert where == Placement(720, 720, 280, 0, 1280, 720)
    fitted = fit(frames)
    assert fitted.shape == (2, 720, 1280, 3)
    assert not fitted[:, :, :280].any() and not fitted[:, :, -280:].any()
    back = cut_out(fitted, where)
    assert back.shape == (2, 720, 720, 3)
    for frame, original in zip(back, frames):
        np.testing.assert_allclose(frame.numpy(), pillow(original, 720, 720), atol=2e-4)


def test_a_marker_stays_in_its_place():
    frames = torch.zeros(1, 256, 256, 3)
    frames[0, 64:72, 192:200, 1] = 1
    back = cut_out(fit(frames), place(256, 256))
    rows, columns = np.nonzero(back[0, ..., 1].numpy() > 0.5)
    scale = 720 / 256
    assert abs(rows.min() - 64 * scale) <= 1 and abs(rows.max() + 1 - 72 * scale) <= 1
    assert abs(columns.min() - 192 * scale) <= 1 and abs(columns.max() + 1 - 200 * scale) <= 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1280, 720), (1280, 720, 0, 0)),
        ((640, 360), (1280, 720, 0, 0)),
        ((1920, 800), (1280, 533, 0, 93)),
        ((720, 1280), (405, 720, 437, 0)),
        ((1024, 576), (1280, 720, 0, 0)),
        ((400, 300), (960, 720, 160, 0)),
        ((2000, 1500), (960, 720, 160, 0)),
    ],
)
def test_places_of_other_shapes(size, expected):
    where = place(*size)
    assert (where.width, where.height, where.left, where.top) == expected
    frames = random_frames(1, size[1], size[0], 3)
    fitted = fit(frames)
    assert fitted.shape == (1, 720, 1280, 3) and fitted.min() >= 0 and fitted.max() <= 1
    np.testing.assert_allclose(
        cut_out(fitted, where)[0].numpy(), pillow(frames[0], where.width, where.height), atol=2e-4
    )
    assert float(fitted.sum()) == pytest.approx(float(cut_out(fitted, where).sum()), rel=1e-6)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(1280, 720), (768, 1296), (64, 16)]))
def test_every_shape_is_placed_inside(width, height, canvas):
    try:
        where = place(width, height, canvas)
    except ValueError as error:
        assert str(width) in str(error) and min(width * canvas[1] / height, height * canvas[0] / width) < 1
        return
    scale = min(canvas[0] / width, canvas[1] / height)
    assert where.width == int(width * scale + 1e-9) and where.height == int(height * scale + 1e-9)
    after = (canvas[0] - where.left - where.width, canvas[1] - where.top - where.height)
    assert after[0] - where.left in (0, 1) and after[1] - where.top in (0, 1)


def test_frames_are_done_one_by_one():
    frames = random_frames(3, 30, 20, 3)
    whole = fit(frames, (128, 80))
    assert torch.equal(whole[1:2], fit(frames[1:2], (128, 80)))
    assert torch.equal(fit(whole, (128, 80)), whole)


def test_bars_are_cut_off_where_they_were_added():
    with pytest.raises(ValueError, match="frames are 1024 x 576 pixels and the canvas 1280 x 720"):
        cut_out(torch.zeros(1, 576, 1024, 3), place(256, 256))


@pytest.mark.parametrize("size", [(1280, 720), (1280, 656), (1024, 784), (64, 16), (768, 1296)])
def test_sizes_that_can_be_refined(size):
    check_canvas(*size)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1024, 576), "latent is 128 x 72 .* The nearest size is 1024 x 592 pixels"),
        ((1280, 700), "sides are multiples of 8. The nearest size is 1280 x 720"),
        ((1288, 720), "latent is 161 x 90 .* The nearest size is 1280 x 720"),
        ((720, 1280), "latent is 90 x 160 .* The nearest size is 704 x 1296|768"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest(size, message):
    with pytest.raises(ValueError, match=message):
        check_canvas(*size)


def test_sizes_that_come_out_as_they_went_in():
    def comes_out(rows: int, downsamplers: int) -> bool:
        heights = [rows]
        for _ in range(downsamplers):  # kernel 3, stride 2, padding 2
            heights.append((heights[-1] + 4 - 3) // 2 + 1)
        return all(2 * low - 2 == high for high, low in pairwise(heights))

    for downsamplers in (1, 2, 3):
        for rows in range(1, 200):
            try:
                check_latent_size(2**downsamplers, rows, downsamplers)
                allowed = True
            except ValueError:
                allowed = False
            assert allowed == comes_out(rows, downsamplers), (rows, downsamplers)


@pytest.mark.parametrize("size", [(800, 600), (576, 576), (1920, 1080), (601, 601), (333, 600), (300, 577)])
def test_an_image_is_prepared_as_by_pillow(size):
    image = random_frames(size[1], size[0], 3)
    prepared = prepare_image(image)
    assert prepared.shape == (576, 1024, 3)
    width = size[0] * 576 // size[1]
    # Pillow's crop fills up with black where it goes beyond the image.
    box = tuple(round(each) for each in ((width - 576) / 2, 0, (width + 576) / 2, 576))
    resized = pillow(image, width, 576)
    planes = [np.asarray(Image.fromarray(np.ascontiguousarray(resized[..., k])).crop(box)) for k in range(3)]
    expected = np.pad(np.stack(planes, -1), ((0, 0), (224, 224), (0, 0)))
    np.testing.assert_allclose(prepared.numpy(), expected, atol=2e-4)


def test_the_first_frames_lose_their_bars():
    frames = torch.full((25, 576, 1024, 3), 9.0)
    frames[:, :, 224:800] = torch.arange(25.0)[:, None, None, None]
    start = start_frames(frames)
    assert start.shape == (16, 256, 256, 3)
    assert torch.equal(start, torch.arange(16.0)[:, None, None, None].expand_as(start))
    detail = random_frames(16, 576, 1024, 3)
    inside = detail[:, :, 224:-224].movedim(-1, 1)
    nearest = torch.nn.functional.interpolate(inside, size=256).movedim(1, -1)
    assert torch.equal(start_frames(detail), nearest)


def test_too_few_frames_or_another_size_are_named():
    with pytest.raises(ValueError, match="There are 14 frames and 16 are needed"):
        start_frames(torch.zeros(14, 576, 1024, 3))
    with pytest.raises(ValueError, match="1280 x 720"):
        start_frames(torch.zeros(16, 720, 1280, 3))
    with pytest.raises(ValueError, match="less than a column"):
        prepare_image(torch.zeros(2000, 2, 3))
