"""Options, in frames, become settings, in latent frames; nothing of ComfyUI is needed for it."""

import pytest

from glv_core.co_denoise import CoDenoiseSettings, Phase
from glv_core.hosts.comfy.co_denoise.options import PhaseOptions, WindowOptions
from glv_core.timeline import Compression

WAN = Compression.causal(4)


def test_every_option_has_its_setting():
    options = WindowOptions(
        81, 16, "static", "hann", windows_per_forward=3, stride=2, closed_loop=True, prompt_blending="embeddings",
        phases=(
            PhaseOptions(0.5, "shifted", 8, 1, "flat"), PhaseOptions(0.75, overlap_frames=None, stride=1),
            PhaseOptions(0.25, window_frames=41, prompt_blending="attention"),
        ),
    )  # fmt: skip
    assert options.settings(WAN, seed=5) == CoDenoiseSettings(
        21, 4, "static", "hann", windows_per_forward=3, stride=2, closed_loop=True, seed=5,
        phases=(
            Phase(0.25, overlap=4, window=11, prompt_blending="attention"), Phase(0.5, "shifted", 2, 1, "flat"),
            Phase(0.75, stride=1),
        ),
        prompt_blending="embeddings",
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


def test_windows_of_a_phase_are_clips_of_the_family_too():
    h3 = Compression((1, 4, 4, 4, 4), rest=2)
    phases = (PhaseOptions(0.4, window_frames=39), PhaseOptions(0.8, overlap_frames=4, window_frames=6))
    settings = WindowOptions(100, 5, phases=phases).settings(h3)
    assert [each.window for each in settings.each()] == [32, 12, 7]
    for step in range(10):
        windows = settings.windows(52, step, 10)
        assert {window.start % 5 for window in windows} == {0}
        whole = 32 if step < 4 else 12 if step < 8 else 7
        assert {window.length for window in windows[1:-1]} <= {whole}
        for end in (windows[0], windows[-1]):  # they are no longer than they need to be
            assert whole / 2 <= end.length <= whole and (whole - end.length) % 5 == 0


def test_an_overlap_stays_below_a_shorter_window_of_a_phase():
    # 8 frames are 2 latent frames, and so is a window of 5; an overlap of 4 frames is 1 in both.
    settings = WindowOptions(81, 7, phases=(PhaseOptions(0.5, window_frames=8),)).settings(Compression.causal(8))
    assert [(each.window, each.overlap) for each in settings.each()] == [(11, 1), (2, 1)]
    settings = WindowOptions(81, 12, phases=(PhaseOptions(0.5, window_frames=13),)).settings(WAN)
    assert [(each.window, each.overlap) for each in settings.each()] == [(21, 3), (4, 3)]
    settings = WindowOptions(81, 3, phases=(PhaseOptions(0.5, window_frames=4),)).settings(Compression.causal(2))
    assert [(each.window, each.overlap) for each in settings.each()] == [(41, 2), (3, 2)]


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
        (
            WindowOptions(16, 8, phases=(PhaseOptions(0.25, window_frames=8),)),
            r"overlap of the phase that starts at 0\.25 is 8 frames and window 8; .* raise window",
        ),
        (  # the window of an earlier phase, wherever that stands in the chain
            WindowOptions(81, 8, phases=(PhaseOptions(0.5, overlap_frames=20), PhaseOptions(0.25, window_frames=17))),
            r"overlap of the phase that starts at 0\.5 is 20 frames and window 17",
        ),
        (WindowOptions(16, 8, phases=(PhaseOptions(0.5, prompt_blending="x"),)), "Unknown prompt_blending 'x'"),
    ],
)
def test_what_does_not_go_together(options, words):
    with pytest.raises(ValueError, match=words):
        options.settings(WAN)


def test_windows_that_leave_frames_out_are_refused():
    h3 = Compression((1, 4, 4, 4, 4), rest=2)
    for options, where in (
        (WindowOptions(5, 0), ""),
        (WindowOptions(100, 0, phases=(PhaseOptions(0.4, window_frames=5),)), " of the phase"),
    ):
        with pytest.raises(ValueError, match=rf"window{where}.* is 5 frames; .* have 22 frames or more\. Raise window"):
            options.settings(h3)
