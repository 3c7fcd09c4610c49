"""Writing video files and reading them back."""

from __future__ import annotations

import pytest
import torch

from glv_core.video_io import read_video, save_video, writer

COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.7, 0.15], [0.1, 0.2, 0.9], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])


def rand(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def colours(height: int = 32, width: int = 48, repeat: int = 2) -> torch.Tensor:
    return COLOURS.repeat_interleave(repeat, 0)[:, None, None].expand(-1, height, width, 3)


def test_frames_come_back_in_their_colours(tmp_path):
    frames = colours()
    path = save_video(tmp_path / "a.mp4", frames, 12, crf=10)
    read, fps = read_video(path)
    assert fps == 12
    assert read.dtype == torch.uint8
    assert read.shape == frames.shape
    assert (read.float() / 255 - frames).abs().max() < 0.03


def test_chunks_are_the_same_video(tmp_path):
    # Each frame is one gray level, so that the encoder's own freedom (it runs on threads) does not matter.
    levels = torch.linspace(0.1, 0.9, 7)
    frames = levels.view(7, 1, 1, 1).expand(7, 16, 16, 3).contiguous()
    whole, _ = read_video(save_video(tmp_path / "a.mp4", frames, 8))
    chunks, _ = read_video(save_video(tmp_path / "b.mp4", (part.numpy() for part in frames.split(3)), 8))
    for video in (whole, chunks):
        assert video.shape == (7, 16, 16, 3)
        assert (video.float().mean(dim=(1, 2, 3)) / 255 - levels).abs().max() < 0.02


def test_bytes_are_floats_times_255(tmp_path):
    frames = rand(3, 16, 16, 3)
    floats, _ = read_video(save_video(tmp_path / "a.mp4", frames, 8))
    rounded = (frames * 255).round().to(torch.uint8)
    assert torch.equal(floats, read_video(save_video(tmp_path / "b.mp4", rounded, 8))[0])


def test_values_out_of_range_are_clipped(tmp_path):
    frames = torch.stack([torch.full((16, 16, 3), 2.0), torch.full((16, 16, 3), -1.0)])
    read, _ = read_video(save_video(tmp_path / "a.mp4", frames, 8, crf=0))
    assert read[0].min() >= 253
    assert read[1].max() <= 2


def test_odd_sizes_repeat_the_edge(tmp_path):
    frames = torch.zeros(2, 15, 17, 3)
    frames[:, -1] = frames[:, :, -1] = 1.0
    read, _ = read_video(save_video(tmp_path / "a.mp4", frames, 8, crf=0))
    assert read.shape == (2, 16, 18, 3)
    assert read[:, -2:].min() > 240
    assert read[:, :, -2:].min() > 240
    assert read[:, 2:12, 2:12].max() < 15


def test_upscale_repeats_pixels(tmp_path):
    frames = colours(4, 6)
    read, _ = read_video(save_video(tmp_path / "a.mp4", frames, 8, crf=5, upscale=3))
    assert read.shape[1:3] == (12, 18)
    checker = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[None, :, :, None].expand(2, 2, 2, 3)
    read, _ = read_video(save_video(tmp_path / "b.mp4", checker, 8, crf=1, upscale=8))
    assert (read[0, ::8, ::8, 0].float() / 255 - checker[0, :, :, 0]).abs().max() < 0.05


def test_what_converts_the_colours_is_made_once_a_file(tmp_path, monkeypatch):
    """A conversion made anew for each frame takes twice an encoder's time for small ones, and memory for large ones."""
    made, given = [], writer.VideoReformatter
    monkeypatch.setattr(writer, "VideoReformatter", lambda: made.append(given()) or made[-1])
    read, _ = read_video(save_video(tmp_path / "a.mp4", colours(), 12))
    assert len(made) == 1 and len(read) == 10


def test_crf_makes_the_file_smaller(tmp_path):
    frames = rand(8, 64, 64, 3)
    sizes = [save_video(tmp_path / f"{crf}.mp4", frames, 8, crf=crf).stat().st_size for crf in (10, 40)]
    assert sizes[1] < sizes[0] / 2


def test_fractional_rates_are_kept(tmp_path):
    assert read_video(save_video(tmp_path / "a.mp4", colours(), 23.976))[1] == pytest.approx(23.976)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = save_video(tmp_path / "a.mp4", colours(), 8)
    before = path.read_bytes()

    def broken():
        yield rand(2, 16, 16, 3)
        raise RuntimeError("model failed")

    with pytest.raises(RuntimeError, match="model failed"):
        save_video(path, broken(), 8)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        (rand(2, 16, 16), {}, "expected t h w c"),
        (rand(2, 16, 16, 4), {}, "3 channels"),
        (rand(0, 16, 16, 3), {}, "no frames"),
        ([rand(1, 16, 16, 3), rand(1, 18, 16, 3)], {}, "all must be equal"),
        (rand(1, 16, 16, 3), {"fps": 0}, "fps is 0"),
        (rand(1, 16, 16, 3), {"crf": 52}, "crf is 52"),
        (rand(1, 16, 16, 3), {"upscale": 0}, "upscale is 0"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path, frames, options, words):
    with pytest.raises(ValueError, match=words):
        save_video(tmp_path / "a.mp4", frames, **{"fps": 8, **options})
    assert list(tmp_path.iterdir()) == []


def test_the_name_must_be_a_video_file(tmp_path):
    with pytest.raises(ValueError, match=r"end in \.mp4"):
        save_video(tmp_path / "a.gif", colours(), 8)
