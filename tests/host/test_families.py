"""Other model families than Wan text-to-video, on native models of tiny random weights."""

import pytest

pytestmark = pytest.mark.every_host


@pytest.mark.parametrize(("name", "length"), [("ltx", 3), ("hunyuan", 5), ("wan_i2v", 5), ("wan_vace", 5)])
def test_windows_of_a_family(inside, name, length):
    result = inside("families", "run", name=name)
    assert result["finite"] and result["scale"] > 0
    assert result["difference"] < 2e-3 * max(1, result["scale"])
    assert result["lengths"] == [length]
    assert result["rows"][1] > result["rows"][0]
    assert result["identical"] in (True, None)


@pytest.mark.parametrize("name", ["wan_i2v", "wan_vace"])
def test_conditions_along_the_video_are_cut_with_the_window(inside, name):
    changed = inside("families", "conditions_follow_their_window", name=name)
    # Windows 0-5, 5-10 and 8-13: only the last one holds the last frame.
    assert max(changed[:8]) == 0
    assert min(changed[8:]) > 0


def test_long_latents_fit_the_vae(inside):
    made = inside("families", "vaes")
    # 3 seconds at 20 fps are 60 frames; Wan makes 4 n + 1.
    assert made["wan"] == [[1, 16, 16, 4, 8], 61, 20.0, 0.0, [9, 32, 64, 3]]
    assert made["sd15"] == [[60, 4, 4, 8], 60, 20.0, 0.0, [3, 32, 64, 3]]
