"""Gen-L-Video's configurations, against its table."""

import torch

from glv_core.editing.presets import PRESETS
from glv_core.prompts.blending import window_prompts
from glv_core.window_schedules import windows_for

# mode: window, stride, rate, steps made, begins with an inverted video, strength of the control, source frames that the
# configuration uses, and the windows that its code then has.
TABLE = {
    "mix": (20, 5, 2, 50, True, 1.0, 40, 5),
    "edit": (15, 5, 2, 50, True, 0.8, 210, 40),
    "control: girl-glass": (15, 5, 2, 10, True, 0.6, 210, 40),
    "control: girl (": (15, 5, 2, 10, True, 0.6, 150, 28),
    "pose": (16, 4, 3, 50, False, 1.0, 80, 17),
    "one-shot tuning:": (16, 4, 6, 50, True, 1.0, 32, 5),
    "one-shot tuning mix": (16, 4, 6, 50, True, 1.0, 32, 5),
}


def test_presets_are_its_configurations():
    assert len(PRESETS) == len(TABLE)
    for (mode, row), (name, preset) in zip(TABLE.items(), PRESETS.items(), strict=True):
        assert name.startswith(mode)
        window, stride, every, made, inverted, control, length, windows = row
        assert (preset.window, preset.overlap, preset.every) == (window, window - stride, every)
        assert (preset.steps - preset.first_step, preset.inverted, preset.control) == (made, inverted, control)
        assert len(windows_for(preset.schedule, length, preset.window, preset.overlap, 0)) == windows
        assert (preset.steps, preset.guidance, preset.seed, preset.merge) == (50, 12.5, 33, "flat")


def test_prompts_of_the_tuned_mix_change_as_in_the_mix():
    """Two, for the 32 frames of its video: by the rule of Gen-L-Video's lists, late."""
    preset = next(each for name, each in PRESETS.items() if name.startswith("one-shot tuning mix"))
    weights = torch.eye(2).repeat_interleave(preset.window, dim=1)
    windows = windows_for(preset.schedule, 32, preset.window, preset.overlap, 0)
    seen = [window_prompts(weights, each, preset.overlap, preset.prompt_blending).tolist() for each in windows]
    assert seen == [[1, 0]] * 3 + [[0, 1]] * 2
