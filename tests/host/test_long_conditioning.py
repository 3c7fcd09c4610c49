"""Conditionings and composites of long videos in a process of their own, whose memory can be read."""

from __future__ import annotations

import pytest
import torch

from glv_core.video_io import save_video


def clip(path, count):
    images = torch.rand(8, 128, 128, 3, generator=torch.Generator().manual_seed(1))
    return str(save_video(path, (images for _ in range(count // 8)), 16, crf=40))


def test_memory_of_vace_does_not_grow_with_the_length(inside_alone, tmp_path):
    """40 frames, then 400: kept once, as numbers of 32 bits, they would be 71 MB more."""
    few = inside_alone("long_conditioning", "memory_of_vace", path=clip(tmp_path / "few.mp4", 40))
    many = inside_alone("long_conditioning", "memory_of_vace", path=clip(tmp_path / "many.mp4", 400))
    assert few["shapes"] == [[1, 32, 11, 16, 16], [1, 64, 11, 16, 16]]
    assert many["shapes"] == [[1, 32, 101, 16, 16], [1, 64, 101, 16, 16]]
    assert (few["pieces"] > 2, many["pieces"] > 20) == (True, True)
    assert many["memory"] - few["memory"] < 40, (few, many)  # the mask and the latents for the model are 10


@pytest.mark.every_host
def test_memory_of_a_composite_does_not_grow_with_the_length(inside_alone, tmp_path):
    """160 frames, then 1600: kept, they would be 71 MB more."""
    few = inside_alone("long_conditioning", "memory_of_composite", path=clip(tmp_path / "few.mp4", 160))
    many = inside_alone("long_conditioning", "memory_of_composite", path=clip(tmp_path / "many.mp4", 1600))
    assert (few["frames"], few["length"], many["frames"], many["length"]) == (160, 160, 1600, 1600)
    assert many["memory"] - few["memory"] < 40, (few, many)
