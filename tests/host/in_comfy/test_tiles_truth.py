"""What tiles see of every family and conditioning, against a stock run over the whole frame.

The rows are those of ``test_truth_table.py``. A spy stands before the network and finds by the noise in ``x`` itself
where a tile lies.
"""

import pytest
import tiny
import torch

try:
    import rows
    from rows_spy import flat

    ROWS = rows.ROWS
except ImportError:  # an older ComfyUI, which lacks some of the models and nodes
    ROWS = []

LENGTH = 11
REFUSED = {
    "SCAIL-2, pose and reference mask": "SCAIL-2's reference masks", "SCAIL-2, reference mask": "SCAIL-2's reference",
    "Uni3C": "InfiniteTalk and Uni3C", "InfiniteTalk": "InfiniteTalk and Uni3C",
}  # fmt: skip
#: What shows something else than the frame: smaller where the network takes nothing of another size than its input.
SMALLER = {"reference_latent", "time_dim_concat"}
WHOLE = {"ref_latent", "face_pixel_values"}
OWN_SCALE = {"camera_conditions", "pose_latents", "sam_latents"}


def heard(row, **tiles):
    """The calls of the network in one step: ``x`` and all other inputs by name."""
    made, calls = row.make(LENGTH), []
    model = made.model.clone()
    network = model.model.diffusion_model
    forward = network.forward

    def listen(x, timestep, context=None, control=None, transformer_options={}, **named):  # noqa: B006
        video = x[0] if isinstance(x, list) else x
        inputs = {name: value for key, each in named.items() for name, value in flat(key, each)}
        calls.append((video.clone(), {**inputs, "context": context}, control))
        return forward(x, timestep, context=context, control=control, transformer_options=transformer_options, **named)

    network.forward = listen
    given = {"seed": 7, "steps": 1, "cfg": made.cfg, "positive": made.positive, "negative": made.negative}
    try:
        if tiles:
            result = tiny.co_denoise(model, made.latent, window=1000, overlap=0, per_forward=1, **tiles, **given)
        else:
            result = tiny.ksampler(model, made.latent, **given)
    finally:
        del network.forward
    scale = model.model.latent_format.spacial_downscale_ratio
    return calls, result, scale, row.name


def expected(name, value, left, width, frame, whole_names):
    """What a tile of ``width`` columns from ``left`` on of ``frame`` must see of an input."""
    if not isinstance(value, torch.Tensor) or name in whole_names:
        return value
    if name.startswith("context_latents") and value.shape[2] == 1:  # a reference of Bernini's
        return value
    if name == "keyframe_idxs":  # b (t h w) (from, to) of tokens; the frame's columns are 32 pixels wide
        grid = value.unflatten(2, (-1, *frame))[:, :, :, :, left : left + width].clone()
        grid[:, 2] -= 32 * left
        return grid.flatten(2, 4)
    if name in OWN_SCALE:
        ratio = value.shape[-1] / frame[1]
        return value[..., round(left * ratio) : round((left + width) * ratio)]
    if value.ndim >= 4 and tuple(value.shape[-2:]) == frame:
        if name in SMALLER:
            smaller = torch.nn.functional.interpolate(
                value.reshape(1, -1, *frame), (frame[0], width), mode="bilinear", antialias=True
            )
            return smaller.reshape(*value.shape[:-1], width)
        return value[..., left : left + width]
    return value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_tiles_see_what_is_theirs(row):
    whole, _, scale, _ = heard(row)
    frame = tuple(whole[0][0].shape[-2:])
    width = frame[1] // 2
    sizes = {"tile_width": width * scale, "tile_overlap": 0}
    if row.name == "Wan S2V, reference motion":
        pytest.skip("half of its frame is smaller than what its network packs")
    if row.name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[row.name]):
            heard(row, **sizes)
        return
    tiles, result, *_ = heard(row, **sizes)
    streams = result.unbind() if result.is_nested else [result]
    assert all(each.isfinite().all() for each in streams)
    assert len(tiles) == 2 * len(whole)
    whole_names = WHOLE | ({"reference_latent"} if row.name.startswith("Wan S2V") else set())
    lefts = set()
    for number, (x, inputs, control) in enumerate(tiles):
        full_x, full, full_control = whole[number % len(whole)]
        [left] = [
            left for left in (0, width) if torch.allclose(x, full_x[..., left : left + width], atol=1e-4, rtol=1e-4)
        ]
        lefts.add(left)
        assert (control is None) == (full_control is None)
        assert inputs.keys() == full.keys()
        for name, value in inputs.items():
            want = expected(name, full[name], left, width, frame, whole_names)
            if isinstance(want, torch.Tensor):
                assert value.shape == want.shape, name
                assert torch.allclose(value.float(), want.float(), atol=1e-4, rtol=1e-4), name
    assert lefts == {0, width}


def test_there_are_rows():
    if not ROWS:
        pytest.skip("this ComfyUI lacks some of the models and nodes")
    assert set(REFUSED) <= {row.name for row in ROWS}
