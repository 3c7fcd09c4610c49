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


def check(row, sampler):
    verdict = rows_judge.judge(row, sampler)
    assert verdict.kind == "right", verdict.why


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_windows_see_what_is_theirs(row):
    check(row, rows_judge.ours)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_windows_that_share_a_forward_pass_see_what_is_theirs(row):
    check(row, rows_judge.folded)


@pytest.mark.parametrize("row", ROWS[::4], ids=lambda row: row.name)  # of every fourth: two long runs each
def test_what_the_network_gets_does_not_grow_with_the_video(row):
    short, long = (rows_judge.largest_inputs(row, length) for length in (26, 38))
    assert short.keys() == long.keys()
    # Of music, whose length is no multiple of the latent frames, windows get a little more or less.
    assert {name: size for name, size in long.items() if size > 1.05 * short[name]} == {}


def test_every_row_has_a_name_of_its_own():
    if not ROWS:
        pytest.skip("this ComfyUI lacks some of the models and nodes")
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) >= 60


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
