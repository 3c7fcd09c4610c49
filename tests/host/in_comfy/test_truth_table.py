"""What windows make of every family and conditioning: each input of each window, against a stock run over the whole.

The rows are in ``tests/host/inside/rows.py``; ``benchmarks/conditionings.py`` prints them with core's windows beside.
"""

import comfy.context_windows
import pytest

try:
    import rows
    import rows_judge

    ROWS = rows.ROWS
except ImportError:  # an older ComfyUI, which lacks some of the models and nodes
    ROWS = []

RIGHT = {
    "Wan T2V", "Wan T2V, noise_mask", "Wan I2V", "Wan FLF2V", "Wan Fun Inpaint", "Wan Fun Control",
    "Wan 2.2 Fun Control", "Wan Camera", "Wan 2.2 Camera", "SCAIL, reference", "Cosmos Predict2 T2V",
    "Wan VACE, control", "Wan VACE, reference", "Wan VACE, two chained", "Wan Phantom", "Wan ATI, track",
    "WanMove, track", "Wan 2.2 5B TI2V", "Bernini r2v", "LTXV T2V", "LTXV I2V", "LTX-2, video only", "Hunyuan T2V",
    "Hunyuan I2V v1", "Hunyuan I2V v2", "Hunyuan custom", "SkyReels I2V", "Hunyuan 1.5 I2V", "Kandinsky 5 T2V",
    "Kandinsky 5 I2V, one start frame", "Cosmos 1 T2V", "Cosmos 1 I2V", "Cosmos Predict2 I2V", "Mochi",
    "SD 1.5, frames as batch", "SVD", "InstructPix2Pix", "ControlNet, one picture",
}  # fmt: skip
#: What is refused, and what the message says that it is.
REFUSED = {
    "Wan HuMo": "audio-driven video",
    "Wan Animate": "Wan Animate's face video",
    "Wan Animate 2": "pose video",
    "Wan S2V": "audio-driven video",
    "Wan S2V, reference motion": "audio-driven video",
    "WanDancer": "audio-driven video",
    "SCAIL, pose": "pose video",
    "SCAIL-2, pose and reference mask": "pose video",
    "LTXV, guides": "LTX guide frames",
    "LTX-2, guides": "LTX guide frames",
    "LTX-2, video and audio": "combines video and audio",
    "CogVideoX T2V": "CogVideoX",
    "CogVideoX I2V": "CogVideoX",
    "SeedVR2": "SeedVR2",
    "ControlNet, a picture a frame": "a hint of 11 images",
    "T2I adapter, a picture a frame": "a hint of 11 images",
}
#: Wrong or a crash so far; to be right or refused.
NOT_YET = {
    "SCAIL-2, reference mask",
    "Bernini v2v",
    "InfiniteTalk",
    "Uni3C",
    "Kandinsky 5 I2V, several",
    "Kandinsky 5 I2V, more than a window",
}


#: The same where all windows share a forward pass, beside the others.
NOT_YET_TOGETHER = {"Hunyuan custom"}


def marked(not_yet):
    xfail = pytest.mark.xfail(strict=False)
    return [pytest.param(row, id=row.name, marks=[xfail] if row.name in not_yet else []) for row in ROWS]


def check(row, sampler, not_yet):
    verdict = rows_judge.judge(row, sampler)
    assert verdict.kind in ("right", "refused"), verdict.why
    if row.name not in not_yet:
        assert verdict.kind == ("refused" if row.name in REFUSED else "right"), verdict.why
        assert REFUSED.get(row.name, "") in verdict.why


@pytest.mark.parametrize("row", marked(NOT_YET))
def test_windows_see_what_is_theirs(row):
    check(row, rows_judge.ours, NOT_YET)


@pytest.mark.parametrize("row", marked(NOT_YET | NOT_YET_TOGETHER))
def test_windows_that_share_a_forward_pass_see_what_is_theirs(row):
    check(row, rows_judge.folded, NOT_YET | NOT_YET_TOGETHER)


def test_every_row_is_in_one_table():
    if not ROWS:
        pytest.skip("this ComfyUI lacks some of the models and nodes")
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) == len(RIGHT) + len(REFUSED) + len(NOT_YET)
    assert set(names) == RIGHT | set(REFUSED) | NOT_YET


def windows_with(**changed):
    """A sampler: core's windows without the extra frame in front, with other methods of the handler."""

    def sample(model, positive, negative, latent, made):
        patched = rows_judge.ContextWindowsManualNode.execute(
            model, rows_judge.WINDOW, rows_judge.OVERLAP, "standard_static", 1, False, "pyramid", made.time_dim, False,
            causal_window_fix=False,
        ).args[0]  # fmt: skip
        handler = patched.model_options["context_handler"]
        for name, method in changed.items():
            setattr(handler, name, method.__get__(handler))
        return rows_judge.stock(patched, positive, negative, latent, made)

    return sample


def conditions_of_another_frame(self, cond_in, x_in, window, device=None):
    indices = [(index + 1) % window.total_frames for index in window.index_list]
    other = comfy.context_windows.IndexListContextWindow(indices, window.dim, window.total_frames)
    return type(self).get_resized_cond(self, cond_in, x_in, other, device)


def conditions_of_all_frames(self, cond_in, x_in, window, device=None):
    return cond_in


def half_of_the_windows(self, model, x_in, model_options):
    return type(self).get_context_windows(self, model, x_in, model_options)[::2]


@pytest.mark.parametrize(
    ("name", "changed", "kind", "why"),
    [
        ("Wan VACE, control", {}, "right", ""),
        ("Wan VACE, control", {"get_resized_cond": conditions_of_another_frame}, "wrong", "vace_context: frames [0, 1"),
        ("Wan Camera", {"get_resized_cond": conditions_of_another_frame}, "wrong", "what is of [1, 2, 3, 4, 5]"),
        ("InstructPix2Pix", {"get_resized_cond": conditions_of_another_frame}, "wrong", "c_concat"),
        (
            "SeedVR2",
            {"get_resized_cond": conditions_of_all_frames},
            "wrong",
            "condition: frames [0, 1, 2, 3, 4] see all",
        ),
        ("Wan VACE, control", {"get_resized_cond": conditions_of_all_frames}, "crash", "size"),
        ("Wan T2V", {"get_context_windows": half_of_the_windows}, "wrong", "NaN"),
    ],
)
def test_the_judge_sees_what_is_wrong(name, changed, kind, why):
    if not ROWS:
        pytest.skip("this ComfyUI lacks some of the models and nodes")
    verdict = rows_judge.judge(rows.BY_NAME[name], windows_with(**changed))
    assert verdict.kind == kind and why in verdict.why, verdict


def test_one_forward_pass_over_the_whole_is_not_windows():
    if not ROWS:
        pytest.skip("this ComfyUI lacks some of the models and nodes")
    verdict = rows_judge.judge(rows.BY_NAME["Wan T2V"], rows_judge.stock)
    assert verdict.kind == "wrong" and "1 windows of up to 11" in verdict.why
