"""Whole editing modes on the demo model, from a file to a file, at 101 and at 501 frames."""

from __future__ import annotations

import pytest

from glv_core.demo.clips import centred_scene, render
from glv_core.video_io import save_video

WARM, FEW, MANY = 61, 101, 501


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Files of a circle that moves, of each length."""
    folder = tmp_path_factory.mktemp("clips")
    frames = render(centred_scene("circle", "red", "white", "right", 5.0), MANY).permute(0, 2, 3, 1)
    return [str(save_video(folder / f"{n}.mp4", frames[:n].split(50), 16, crf=12)) for n in (WARM, FEW, MANY)]


@pytest.mark.parametrize("mode", ["inversion", "mix", "edit"])
def test_memory_of_a_mode_does_not_grow_with_the_length(inside_alone, clips, mode):
    """The 400 frames more would be 20 MB as numbers of 32 bits; what the sampler holds of them is under 5."""
    _, few, many = (inside_alone("editing_length", "run", path=path, mode=mode) for path in clips)
    assert (few["frames"], many["frames"]) == (FEW, MANY)
    assert few["memory"] > 5
    assert many["memory"] - few["memory"] < 15, (few, many)
