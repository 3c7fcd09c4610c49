"""LTX's IC-LoRA: a control video as long as the video, as guides, of which every window sees its own part.

The oracle is the host's own run of a window's frames alone, with a guide of the control's part.
"""

import functools
import inspect
from contextlib import contextmanager

import combined
import families
import pytest
import rows_parts
import tiny
import torch
from comfy_extras.nodes_lt import LTXVAddGuide, LTXVConcatAVLatent
from torch.testing import assert_close

pytestmark = pytest.mark.every_host
LENGTH, WINDOW, OVERLAP, SIDE = 20, 7, 3, 4
SOUND = combined.sound_of("ltx", LENGTH)
STARTS = (0, 4, 8, 12, 13)
NEWER = {"iclora_parameters", "attention_mask"} <= inspect.signature(LTXVAddGuide.execute).parameters.keys()
newer = pytest.mark.skipif(not NEWER, reason="this ComfyUI's guides have no IC-LoRA parameters")
KINDS = ["ltxv", "ltx-2", "ltx-2 with sound"]
FORMS = ["plain", "weak", pytest.param("small", marks=newer), pytest.param("mask", marks=newer),
         pytest.param("moving mask", marks=newer), pytest.param("short mask", marks=newer)]  # fmt: skip
each_kind, each_form = pytest.mark.parametrize("kind", KINDS), pytest.mark.parametrize("form", FORMS)


@functools.cache
def model_of(kind: str):
    return families.ltx()[0] if kind == "ltxv" else combined.model("ltx")


def texts(kind: str) -> tuple:
    if kind == "ltxv":
        return rows_parts.texts(64, attention_mask=torch.ones(1, 8, dtype=torch.long))
    return combined.text("ltx", 1), combined.text("ltx", 0)


def streams_of(samples) -> list[torch.Tensor]:
    return list(samples.unbind()) if samples.is_nested else [samples]


class Control:
    """A VAE whose latents are a control video's, of which the part that begins at ``start`` is asked for."""

    downscale_index_formula = (8, 32, 32)

    def __init__(self, start: int, scale: int) -> None:
        whole = torch.randn(1, 128, LENGTH, SIDE // scale, SIDE // scale, generator=torch.Generator().manual_seed(5))
        self.rest = whole[:, :, start:]

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.rest[:, :, : 1 + (len(pixels) - 1) // 8]


def options_of(form: str, start: int, stop: int) -> dict:
    """What the host's node is given of a control from a latent frame to another."""
    if form == "weak":
        return {"strength": 0.6}
    if form == "small":
        return {"strength": 1.0, "iclora_parameters": {"reference_downscale_factor": 2}}
    if form == "plain":
        return {"strength": 1.0}
    count = {"mask": 1, "moving mask": LENGTH, "short mask": 1 + LENGTH // 2}[form]
    frames = torch.rand(count, 128, 128, generator=torch.Generator().manual_seed(6))
    if form == "moving mask" and stop - start == LENGTH:  # eight for each latent frame, as a video has
        frames = torch.cat([frames[:1], frames[1:].repeat_interleave(8, dim=0)])
    elif form == "moving mask":
        frames = frames[start:stop]
    elif form == "short mask" and stop - start < LENGTH:  # for each latent frame the nearest
        nearest = [0, *(1 + place * (count - 1) // (LENGTH - 1) for place in range(LENGTH - 1))]
        frames = frames[nearest[start:stop]]
    return {"strength": 1.0, "attention_mask": frames}


def guided(kind: str, form: str, start: int = 0, stop: int = LENGTH) -> tuple:
    """Conditionings and a LATENT of some of the latent frames, with their part of the control behind them."""
    positive, negative = texts(kind)
    pixels = torch.zeros(8 * (stop - start) - 7, 32 * SIDE, 32 * SIDE, 3)
    positive, negative, latent = LTXVAddGuide.execute(
        positive, negative, Control(start, 2 if form == "small" else 1), tiny.latent(stop - start, channels=128),
        pixels, 0, **options_of(form, start, stop),
    ).args  # fmt: skip
    if kind == "ltx-2 with sound":
        first, last = (round(each * SOUND / LENGTH) for each in (start, stop))
        sound = {"samples": torch.zeros(1, 8, last - first, 16), "noise_mask": torch.ones(1, 1, last - first, 16)}
        latent = LTXVConcatAVLatent.execute(latent, sound).args[0]
    return positive, negative, latent


@contextmanager
def watched(model):
    """The calls of a MODEL's network: the video's rows, and what else it is given."""
    calls, network = [], model.model.diffusion_model
    forward = network.forward

    def called(x, timestep, *args, **given):
        calls.append({"x": (x[0] if isinstance(x, list | tuple) else x).clone(), "timestep": timestep, **given})
        return forward(x, timestep, *args, **given)

    network.forward = called
    try:
        yield calls
    finally:
        network.forward = forward


def rows_of(call: dict) -> list[dict]:
    """What each row of a call is given of guides."""
    mask = call["denoise_mask"]
    entries = call.get("guide_attention_entries") or []
    return [
        {"x": call["x"][row], "times": call["keyframe_idxs"][min(row, len(call["keyframe_idxs"]) - 1)],
         "mask": mask[min(row, len(mask) - 1)], "entries": entries}
        for row in range(len(call["x"]))
    ]  # fmt: skip


@each_kind
@each_form
@pytest.mark.parametrize("per_forward", [1, 3])
def test_every_window_sees_the_control_of_its_frames_as_if_they_were_all(kind, form, per_forward):
    model = model_of(kind)
    positive, negative, latent = guided(kind, form)
    with watched(model) as calls:
        tiny.co_denoise(
            model, latent, positive=positive, negative=negative, steps=1, cfg=1.0, window=8 * WINDOW - 7,
            overlap=8 * OVERLAP, per_forward=per_forward,
        )  # fmt: skip
    seen = [row for call in calls for row in rows_of(call)]
    assert len(seen) == len(STARTS)
    control = Control(0, 1).rest
    found = []
    for start in STARTS:
        positive, negative, latent = guided(kind, form, start, start + WINDOW)
        with watched(model) as calls:
            tiny.ksampler(model, latent, positive=positive, negative=negative, steps=1, cfg=1.0)
        [expected] = rows_of(calls[0])
        # Which of the windows it is: the one with the part of the control that begins here.
        guide = expected["x"][:, WINDOW:]
        kept = (expected["mask"][:, WINDOW:] >= 0).expand_as(guide)  # the others are holes between a small control's
        near = [float((row["x"][:, WINDOW:] - guide)[kept].abs().mean()) for row in seen]
        row = seen[near.index(min(near))]
        found.append(near.index(min(near)))
        assert row["x"].shape == expected["x"].shape
        if form != "weak":  # else there is noise in it, of another place in the whole
            assert_close(row["x"][:, WINDOW:][kept], guide[kept], rtol=0, atol=1e-5)
        if form not in ("weak", "small"):
            assert_close(guide, control[0, :, start : start + WINDOW], rtol=0, atol=1e-5)
        assert torch.equal(row["times"], expected["times"])
        assert_close(row["mask"], expected["mask"], rtol=0, atol=1e-6)
        assert len(row["entries"]) == len(expected["entries"]) == int(NEWER)
        for ours, theirs in zip(row["entries"], expected["entries"], strict=True):
            assert ours.keys() == theirs.keys()
            assert all(ours[key] == theirs[key] for key in ours.keys() - {"pixel_mask"})
            masks = [weights(each) for each in (ours, theirs)]
            assert (masks[0] is None) == (masks[1] is None) == ("mask" not in form)
            if masks[0] is not None:
                assert_close(*masks)
    assert sorted(found) == list(range(len(STARTS)))


def weights(entry: dict):
    """How much the tokens of a guide count, by the host's own reading of its mask."""
    from comfy.ldm.lightricks.model import LTXVModel

    mask = entry["pixel_mask"]
    return None if mask is None else LTXVModel._downsample_mask_to_latent(mask, *entry["latent_shape"])


@each_kind
@each_form
def test_a_control_video_in_one_window_is_bit_identical_to_ksampler(kind, form):
    positive, negative, latent = guided(kind, form)
    made, theirs = (
        run(model_of(kind), latent, positive=positive, negative=negative, steps=3, **more)
        for run, more in ((tiny.co_denoise, {"window": 8 * LENGTH - 7, "overlap": 8}), (tiny.ksampler, {}))
    )
    assert all(map(torch.equal, streams_of(made), streams_of(theirs)))


@each_kind
def test_a_control_is_seen_by_the_windows_that_it_guides(kind):
    """One that is another from latent frame 14 on leaves what only windows before it make as it is."""
    positive, negative, latent = guided(kind, "plain")
    video, *sound = streams_of(latent["samples"])
    changed = video.clone()
    changed[:, :, LENGTH + 14 :] *= -1
    changed = {**latent, "samples": combined.nested(changed, *sound)["samples"] if sound else changed}
    one, other = (
        streams_of(tiny.co_denoise(
            model_of(kind), each, positive=positive, negative=negative, steps=1, window=8 * WINDOW - 7, overlap=0,
        ))[0]
        for each in (latent, changed)
    )  # fmt: skip
    apart = (one - other)[:, :, :LENGTH].abs().amax(dim=(0, 1, 3, 4))
    assert torch.count_nonzero(apart[:13]) == 0 and apart[14:].min() > 0


@newer
@pytest.mark.parametrize("frames", [1, 2, 5, 19, 20, 40, 153, 160])
@pytest.mark.parametrize("count", [1, 2, 20])
def test_a_mask_of_any_length_counts_in_a_window_as_in_the_whole(frames, count):
    from comfy.ldm.lightricks.model import LTXVModel
    from long_video_pack.glv_core.hosts.comfy.families.ltx import _of_latent_frames

    mask = torch.rand(1, 1, frames, 8, 8, generator=torch.Generator().manual_seed(8))
    whole = LTXVModel._downsample_mask_to_latent(mask, count, 4, 4).view(count, 16)
    for own in ([0], range(count), [count - 1], range(count // 2, count)):
        part = mask if frames == 1 else _of_latent_frames(mask, count, own)
        assert_close(LTXVModel._downsample_mask_to_latent(part, len(own), 4, 4).view(len(own), 16), whole[list(own)])
