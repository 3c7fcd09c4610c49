"""Values of tunings: the options take them, and they lie on the latent frames of their models."""

import pytest

from glv_core.tuning import KINDS, TuningOptions, window_starts
from glv_core.tuning.presets import METHODS, PRESETS
from glv_core.video_models import ANIMATEDIFF, DEMO, LTX_2, MINIMAX_H3, WAN

MODELS = {"Gen-L-Video": ANIMATEDIFF, "Wan": WAN, "LTX-2": LTX_2, "MiniMax H3": MINIMAX_H3, "demo model": DEMO}


@pytest.mark.parametrize("name", PRESETS)
def test_windows_and_strides_are_whole_latent_frames(name):
    preset = PRESETS[name]
    compression = next(model for begins, model in MODELS.items() if name.startswith(begins)).compression
    window = compression.num_latent_frames(preset.window)
    assert compression.num_frames(window) == preset.window
    strides = preset.stride / sum(compression.pattern)
    assert strides == int(strides) > 0
    stride = int(strides) * compression.grain
    options = TuningOptions(
        preset.steps, window, stride, preset.batch_size, preset.learning_rate, preset.rank, preset.text_drop,
        preset.clip_drop, preset.identifiers,
    )  # fmt: skip
    assert round(window / stride) == 4  # windows that a latent frame is in, as with Gen-L-Video
    assert window_starts(window + 2 * stride, options.window, options.stride) == [0, stride, 2 * stride]


def test_gen_l_videos_own_are_those_of_its_code():
    shipped, script = (each for each in PRESETS.values() if each.method == "gen_l_video")
    assert (shipped.steps, shipped.batch_size, shipped.rank, shipped.window, shipped.stride) == (200, 3, 16, 16, 4)
    assert shipped.learning_rate == pytest.approx(3e-5 * 3)
    assert (script.steps, 1 - script.text_drop, script.clip_drop) == (500, 0.7, 0.3)
    assert {each.identifiers for each in (shipped, script)} == {"bank"}


def test_choices_are_those_that_there_are():
    assert {each.method for each in PRESETS.values()} == set(METHODS)
    assert {each.identifiers for each in PRESETS.values()} <= set(KINDS)
