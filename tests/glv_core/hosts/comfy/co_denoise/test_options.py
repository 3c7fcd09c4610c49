"""Options, in frames, become settings, in latent frames; nothing of ComfyUI is needed for it."""

import pytest

from glv_core.co_denoise import CoDenoiseSettings, Phase
from glv_core.hosts.comfy.co_denoise.options import PhaseOptions, WindowOptions
from glv_core.timeline import Compression

WAN = Compression.causal(4)


def test_every_option_has_its_setting():
    options = WindowOptions(
        81, 16, "static", "hann", windows_per_forward=3, stride=2, closed_loop=True, prompt_blending="embeddings",
        phases=(PhaseOptions(0.5, "shifted", 8, 1, "flat"), PhaseOptions(0.75, overlap_frames=None, stride=1)),
    )  # fmt: skip
    assert options.settings(WAN, seed=5) == CoDenoiseSettings(
        21, 4, "static", "hann", windows_per_forward=3, stride=2, closed_loop=True, seed=5,
        phases=(Phase(0.5, "shifted", 2, 1, "flat"), Phase(0.75, stride=1)), prompt_blending="embeddings",
    )  # fmt: skip


@pytest.mark.parametrize(("window", "overlap", "expected"), [(81, 1, 1), (5, 4, 1), (2, 1, 1), (1, 0, 0), (81, 80, 20)])
def test_an_overlap_stays_below_its_window(window, overlap, expected):
    assert WindowOptions(window, overlap).settings(WAN).overlap == expected


def test_windows_start_where_clips_of_the_family_may():
    h3 = Compression((1, 4, 4, 4, 4), rest=2)  # clips are of 5 k + 2 latent frames, 17 k + 5 frames
    for frames in (23, 38, 39):
        settings = WindowOptions(frames, 5).settings(h3)
        assert (settings.window, settings.grain) == (12, 5)
    assert {window.start % 5 for step in range(9) for window in settings.windows(52, step)} == {0}
    assert WindowOptions(39, 5).settings(WAN).grain == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (WindowOptions(16, 16), "overlap is 16 frames and window 16; .* Lower overlap"),
        (WindowOptions(16, -1), "overlap is -1 frames"),
        (
            WindowOptions(16, 8, phases=(PhaseOptions(0.25, overlap_frames=20),)),
            r"overlap of the phase that starts at 0\.25 is 20 frames and window 16",
        ),
        (WindowOptions(16, 8, phases=(PhaseOptions(1.5),)), "starts at 1.5"),
    ],
)
def test_what_does_not_go_together(options, words):
    with pytest.raises(ValueError, match=words):
        options.settings(WAN)
