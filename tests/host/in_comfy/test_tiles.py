"""Tiles in space: larger frames than a model's own, together with windows in time, CFG, controls and conditions."""

from __future__ import annotations

import combined
import comfy.controlnet
import comfy.model_management
import comfy.sample
import node_helpers
import pytest
import streaming
import test_controls
import tiny
import torch
from comfy.patcher_extension import WrappersMP
from long_video_pack.glv_core.hosts.comfy.co_denoise import patch
from long_video_pack.glv_core.hosts.comfy.co_denoise.options import WindowOptions
from long_video_pack.glv_core.hosts.comfy.co_denoise.run import Run
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from torch.testing import assert_close
from video_files import execute

pytestmark = pytest.mark.every_host
#: Frames of 4 x 8 latent pixels in tiles of 4 x 4 that share 2, which begin here at a run's first step.
TILES = {"tile_width": 32, "tile_overlap": 16}
LEFTS = (0, 2, 4)


@pytest.fixture(scope="module")
def wan():
    return tiny.wan(1)


@pytest.fixture
def recorder(wan):
    return tiny.Recorder(wan)


def latent(frames=3, width=8):
    return tiny.latent(frames, 4, width)


def pyramid(size):
    return torch.tensor([float(min(place + 1, size - place)) for place in range(size)])


def said_alone(model, noise, **given):
    """One step of the host's KSampler from a given noise to what the model says of it."""
    given = {"cfg": 3.0, "positive": tiny.conditioning(1), "negative": tiny.conditioning(0), **given}
    return comfy.sample.sample(
        model, noise, 1, given["cfg"], "euler", "simple", given["positive"], given["negative"],
        torch.zeros_like(noise), seed=7,
    )  # fmt: skip


def pasted(shape, parts):
    """The average of parts, each ``(index into the whole, part, weights)``."""
    total, count = torch.zeros(shape), torch.zeros(shape)
    for index, part, weights in parts:
        total[index] += part * weights
        count[index] += weights
    return total / count


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_a_frame_that_fits_in_one_tile_is_bit_identical(wan, sampler):
    whole = tiny.co_denoise(wan, latent(), sampler=sampler, steps=2)
    for sizes in ({"tile_width": 64, "tile_height": 32}, {"tile_width": 640}, {"tile_height": 32}):
        made = tiny.co_denoise(wan, latent(), sampler=sampler, steps=2, tile_overlap=16, **sizes)
        assert torch.equal(made, whole)
    long = latent(7, 4)
    windows = {"window": 9, "overlap": 4, "steps": 2, "sampler": sampler}
    assert torch.equal(tiny.co_denoise(wan, long, **TILES, **windows), tiny.co_denoise(wan, long, **windows))


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_windows_in_time_and_tiles_in_space_are_one_weighted_average(wan, cfg):
    """Windows of 3 latent frames that share 1, of which each tile is denoised by the host alone."""
    whole = latent(5)
    made = tiny.co_denoise(wan, whole, window=9, overlap=4, steps=1, cfg=cfg, **TILES)
    noise = comfy.sample.prepare_noise(whole["samples"], 7)
    parts = []
    for start in (0, 2):
        for left in LEFTS:
            index = (..., slice(start, start + 3), slice(None), slice(left, left + 4))
            weights = pyramid(3).view(-1, 1, 1) * pyramid(4).view(1, -1, 1) * pyramid(4)
            parts.append((index, said_alone(wan, noise[index].clone(), cfg=cfg), weights))
    assert_close(made, pasted(noise.shape, parts), atol=1e-5, rtol=1e-5)


def test_tiles_in_both_directions(wan):
    whole = tiny.latent(1, 6, 6)
    made = tiny.co_denoise(wan, whole, steps=1, tile_width=32, tile_height=32, tile_overlap=16)
    noise = comfy.sample.prepare_noise(whole["samples"], 7)
    parts = [
        ((..., slice(top, top + 4), slice(left, left + 4)), pyramid(4)[:, None] * pyramid(4))
        for top in (0, 2)
        for left in (0, 2)
    ]
    expected = [(index, said_alone(wan, noise[index].clone()), weights) for index, weights in parts]
    assert_close(made, pasted(noise.shape, expected), atol=1e-5, rtol=1e-5)


def test_tiles_and_windows_share_forward_passes(recorder):
    one = tiny.co_denoise(recorder.model, latent(5), window=9, overlap=4, steps=2, per_forward=1, **TILES)
    passes = len(recorder.shapes)
    assert {tuple(shape) for shape in recorder.shapes} == {(2, 16, 3, 4, 4)}
    recorder.shapes.clear()
    four = tiny.co_denoise(recorder.model, latent(5), window=9, overlap=4, steps=2, per_forward=4, **TILES)
    assert_close(four, one, atol=1e-5, rtol=1e-5)
    assert len(recorder.shapes) < passes / 2 and max(shape[0] for shape in recorder.shapes) == 8


@pytest.mark.parametrize("changed", [{"tile_width": 48}, {"tile_height": 16}, {"tile_overlap": 0}, {"tile_width": 0}])
def test_every_input_of_tiles_changes_the_result(wan, changed):
    given = {"steps": 2, **TILES, "tile_overlap": 8}
    made = tiny.co_denoise(wan, latent(), **given)
    assert made.isfinite().all()
    assert not torch.equal(tiny.co_denoise(wan, latent(), **{**given, **changed}), made)


def test_the_model_node_makes_what_the_sampler_makes(wan):
    options = {"window": 9, "overlap": 4, "schedule": "static", **TILES}
    patched = execute(CoDenoiseModel, model=wan, **options).args[0]
    assert torch.equal(tiny.ksampler(patched, latent(5), steps=2), tiny.co_denoise(wan, latent(5), steps=2, **options))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tile_width": 40}, r"tile_width is 40 pixels; it must be a multiple of 16, as 32 is"),
        ({"tile_height": 24, "tile_overlap": 8}, "tile_height is 24 pixels"),
        ({"tile_overlap": 32}, r"tile_overlap is 32 pixels and tile_width 32; .* Lower tile_overlap"),
        ({"tile_overlap": 27}, "tile_overlap is 27 pixels and tile_width 32; .* in steps of 8"),
    ],
)
@pytest.mark.parametrize("node", ["CoDenoiseKSampler", "CoDenoiseModel"])
def test_mistakes_are_said_before_the_first_forward_pass(recorder, node, changed, words):
    given = {**TILES, **changed}
    with pytest.raises(ValueError, match=f"{node}: {words}"):
        if node == "CoDenoiseModel":
            execute(CoDenoiseModel, model=recorder.model, **given)
        else:
            tiny.co_denoise(recorder.model, latent(), **given)
    assert not recorder.shapes


def by_prompt(model):
    """A model that says of every pixel what its prompt is, whatever is around."""
    patched = model.clone()
    patched.set_model_unet_function_wrapper(
        lambda apply_model, given: given["input"] * 0.1 + given["c"]["c_crossattn"].mean((1, 2)).view(-1, 1, 1, 1, 1)
    )
    return patched


@pytest.mark.parametrize("where", ["mask", "area"])
def test_prompts_of_parts_of_the_frame_count_there(wan, where):
    """Left 5 columns one prompt, all else another. An area is taken as a mask, which the host's own run has here."""
    left = torch.zeros(1, 4, 8)
    left[..., :5] = 1
    masks = [{"mask": mask, "set_area_to_bounds": False, "mask_strength": 1.0} for mask in (left, 1 - left)]
    areas = [{"area": (4, 5, 0, 0), "strength": 1.0}, {"area": (4, 3, 0, 5), "strength": 1.0}]

    def prompts(extras):
        return [node_helpers.conditioning_set_values(tiny.conditioning(n), each)[0] for n, each in enumerate(extras, 2)]

    model, given = by_prompt(wan), {"steps": 1, "cfg": 1.0}
    whole = tiny.ksampler(model, latent(), positive=prompts(masks), **given)
    made = tiny.co_denoise(model, latent(), positive=prompts({"mask": masks, "area": areas}[where]), **given, **TILES)
    assert whole[..., 4].mean() != pytest.approx(float(whole[..., 5].mean()), abs=1e-3)
    assert_close(made, whole, atol=1e-5, rtol=1e-5)


def test_a_noise_mask_keeps_what_is_known(wan):
    given = {"samples": torch.randn(1, 16, 3, 4, 8, generator=torch.Generator().manual_seed(1))}
    mask = torch.ones(1, 1, 3, 4, 8)
    mask[..., :3] = 0
    made = tiny.co_denoise(wan, {**given, "noise_mask": mask}, steps=2, **TILES)
    assert_close(made[..., :3], given["samples"][..., :3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(made[..., 3:], given["samples"][..., 3:], atol=0.1)


@pytest.mark.parametrize("kind", ["controlnet", "chain"])
def test_a_tile_of_frames_as_batch_gets_its_part_of_hints(kind):
    """Windows of 3 frames and tiles of 8 x 8 of 8 x 12 latent pixels; each is what core makes of them alone."""
    model, frames = tiny.sd15(), 5

    def control(start=None, left=0):
        made = test_controls.MAKE[kind](hint=wide(frames))
        each = made
        while each is not None:
            hint = torch.nn.functional.interpolate(each.cond_hint_original, (64, 96), mode="nearest-exact")
            if start is not None and hint.shape[0] > 1:
                hint = hint[start : start + 3]
            if start is not None:
                hint = hint[..., 8 * left : 8 * left + 64]
            each.cond_hint_original = hint.clone()
            each = each.previous_controlnet
        return made

    def given(control):
        positive, negative = test_controls.conds(control)
        return {"positive": positive, "negative": negative, "cfg": 3.0}

    whole = {"samples": torch.zeros(frames, 4, 8, 12)}
    made = tiny.co_denoise(
        model, whole, window=3, overlap=1, steps=1, tile_width=64, tile_overlap=32, **given(control())
    )
    noise, parts = comfy.sample.prepare_noise(whole["samples"], 7), []
    for start in (0, 2):
        for left in (0, 4):
            index = (slice(start, start + 3), ..., slice(left, left + 8))
            weights = pyramid(3).view(-1, 1, 1, 1) * pyramid(8).view(-1, 1) * pyramid(8)
            parts.append((index, said_alone(model, noise[index].clone(), **given(control(start, left))), weights))
    assert_close(made, pasted(noise.shape, parts), atol=1e-4, rtol=1e-4)
    plain = tiny.co_denoise(
        model, whole, window=3, overlap=1, steps=1, tile_width=64, tile_overlap=32, positive=tiny.text(1),
        negative=tiny.text(0),
    )  # fmt: skip
    assert not torch.allclose(made, plain, atol=1e-3)


def wide(frames):
    return torch.rand(frames, 3, 64, 96, generator=torch.Generator().manual_seed(4))


def test_interrupting_works_between_tiles(wan):
    model, seen = wan.clone(), []

    def call(apply_model, given):
        seen.append(given["input"].shape)
        comfy.model_management.interrupt_current_processing(True)
        return apply_model(given["input"], given["timestep"], **given["c"])

    model.set_model_unet_function_wrapper(call)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        tiny.co_denoise(model, latent(), cfg=1.0, per_forward=1, **TILES)
    assert len(seen) == 1


def test_progress_counts_tiles(wan):
    told = []
    options = WindowOptions(9, 4, "static", windows_per_forward=1, **TILES)
    patched = patch.patch_model(wan, options, lambda *counted: told.append(counted))
    tiny.ksampler(patched, latent(5), steps=1, cfg=1.0)
    assert told == [(0, number, 6) for number in range(1, 7)]


def test_the_memory_that_is_asked_for_is_that_of_a_tile(wan):
    shapes = []

    def keep(executor, model, noise_shape, *args, **kwargs):
        shapes.append(list(noise_shape))
        return executor(model, noise_shape, *args, **kwargs)

    patched = patch.patch_model(wan, WindowOptions(9, 4, **TILES))
    patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, "test", keep)
    tiny.ksampler(patched, latent(5), steps=1, cfg=1.0)
    assert shapes == [[1, 16, 3, 4, 4]]


def test_as_many_tiles_share_a_pass_as_memory_has_room_for(monkeypatch):
    """Room for two of the tiles, which is room for one of the windows."""
    from long_video_pack.glv_core.hosts.comfy.co_denoise import run

    recorder = tiny.Recorder(tiny.wan())
    base = recorder.model.model
    room = base.memory_required([2, 16, 3, 4, 4]) * 1.5 + 1
    monkeypatch.setattr(run, "free_for_windows", lambda patcher, device: room)
    tiny.co_denoise(recorder.model, latent(5), window=9, overlap=4, steps=1, cfg=1.0, **TILES)
    assert [shape[0] for shape in recorder.shapes] == [2, 2, 2]


class Patch:
    def __init__(self):
        self.image = torch.zeros(1, 8, 8, 3)

    def __call__(self, *given):
        return given


def refused(model, words, **given):
    model = tiny.Recorder(model)
    with pytest.raises(ValueError, match=f"CoDenoiseKSampler: Tiles do not .*{words}"):
        tiny.co_denoise(model.model, given.pop("latent_image", latent()), steps=1, **TILES, **given)
    assert not model.shapes


def test_what_cannot_be_cut_is_refused_before_the_first_forward_pass(wan):
    refused(wan, "GLIGEN", positive=[[tiny.conditioning(1)[0][0], {"gligen": ("position", wan, [])}]])

    class Theirs(comfy.controlnet.ControlNet):
        pass

    control = test_controls.controlnet()
    control.__class__ = Theirs
    frames = {"samples": torch.zeros(test_controls.FRAMES, 4, 4, 8)}
    positive, negative = test_controls.conds(control)
    refused(tiny.sd15(), "ControlNet of another pack", latent_image=frames, positive=positive, negative=negative)

    patched = wan.clone()
    patched.set_model_patch(Patch(), "post_input")
    refused(patched, r"model patch .*Patch follows the frame.*'image'")


def test_1280_x_720_is_four_tiles_of_832_x_480(wan):
    run = Run(wan.model, [1, 16, 3, 90, 160], WindowOptions(9, 4, tile_width=832, tile_height=480))
    for step in (0, 1):
        assert [(tile.top, tile.left) for tile in run.tiles(step)] == [(0, 0), (0, 56), (30, 0), (30, 56)]


@pytest.mark.parametrize("kind", combined.KINDS)
def test_of_video_and_sound_every_tile_hears_all_and_the_mean_is_kept(kind):
    """One step at CFG 1; frames of 4 x 4 latent pixels in tiles of 4 x 2 that begin at 0 and 2."""
    model, whole = combined.model(kind), combined.latent(kind, 7)
    spy, scale = combined.Spy(model), model.model.latent_format.spacial_downscale_ratio
    made = tiny.co_denoise(
        model, whole, positive=combined.text(kind, 1), negative=combined.text(kind, 0), steps=1, cfg=1.0, per_forward=1,
        window=combined.frames_of(kind, 7), overlap=0, tile_width=2 * scale, tile_overlap=0,
    )  # fmt: skip
    video, sound = comfy.sample.prepare_noise(whole["samples"], 7).unbind()
    assert len(spy.calls) == 2
    tiles = [call["streams"][0] for call in spy.calls]
    carried = 4 if kind == "h3" else 1  # the sound's latents are that much larger while they are sampled
    for left, call in zip((0, 2), spy.calls, strict=True):
        assert_close(call["streams"][0], video[..., left : left + 2], atol=1e-5, rtol=1e-5)
    assert_close(spy.calls[0]["streams"][1], spy.calls[1]["streams"][1])
    said = [[noise - told for noise, told in zip(call["streams"], call["said"], strict=True)] for call in spy.calls]
    made_video, made_sound = made.unbind()
    assert_close(made_video, torch.cat([tile for tile, _ in said], dim=-1), atol=2e-4, rtol=1e-3)
    mean = (said[0][1] + said[1][1]) / 2
    assert_close(made_sound * carried, mean * torch.ones_like(made_sound), atol=2e-4, rtol=1e-3)
    assert tiles[0].shape == tiles[1].shape and sound.shape == made_sound.shape


@pytest.mark.skipif(not combined.HAS_H3, reason="this ComfyUI has no MiniMax H3")
def test_keyframes_of_h3_are_cut():
    model = combined.model("h3")
    spy, scale = combined.Spy(model), model.model.latent_format.spacial_downscale_ratio
    latent = torch.randn(1, 24, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    positive = combined.text("h3", 1, minimax_keyframes=[{"resolved_frame_index": 0, "latent": latent}])
    tiny.co_denoise(
        model, combined.latent("h3", 7), positive=positive, negative=combined.text("h3", 0), steps=1, cfg=1.0,
        window=combined.frames_of("h3", 7), overlap=0, tile_width=2 * scale, tile_overlap=0,
    )  # fmt: skip
    assert len(spy.calls) == 2
    for left, call in zip((0, 2), spy.calls, strict=True):
        payload = call["minimax_payload"]
        assert payload["layout"].signature[2:4] == (4, 2)
        for shown in (payload["keyframes"][0]["latent"], payload["cond_video_latents"][0]):
            assert torch.equal(shown, latent[..., left : left + 2])


def test_streaming_makes_larger_chunks_in_tiles():
    recorder = tiny.Recorder(tiny.wan(1))
    options = {"steps": 2, "width": 64, "height": 32}
    whole, _ = streaming.extend(recorder.model, **options)
    recorder.shapes.clear()
    made, _ = streaming.extend(recorder.model, **options, **TILES)
    assert {tuple(shape[-2:]) for shape in recorder.shapes} == {(4, 4)}
    assert made.shape == whole.shape and made.isfinite().all() and not torch.equal(made, whole)
    recorder.shapes.clear()
    with pytest.raises(ValueError, match="StreamingExtend: tile_width is 40"):
        streaming.extend(recorder.model, **options, **{**TILES, "tile_width": 40})
    assert not recorder.shapes
