"""DepthConcat on a tiny Stable Diffusion 2 with five input channels, as the host makes it."""

import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import pytest
import tiny
import torch
from long_video_pack.glv_core.editing.depth_channel import depth_channel
from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash
from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
from long_video_pack.glv_core.video_io import open_clip, save_video
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from long_video_pack.nodes.depth_concat import DepthConcat
from video_files import execute

pytestmark = pytest.mark.every_host
FRAMES = 12


def random(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def sd2(channels=5):
    """The stock class of Stable Diffusion 2, small; the host calls it an inpainting model by its channels."""
    config = {**tiny.SD15, "in_channels": channels, "context_dim": 1024, "use_linear_in_transformer": True}
    supported = comfy.supported_models.SD20({**config, "dtype": torch.float32})
    base = supported.get_model({}, device="cpu")
    tiny.fill(base.diffusion_model, 1, 0.08)
    return comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


class Seen:
    """A MODEL whose network's inputs are kept."""

    def __init__(self, model):
        self.model = model.clone()
        self.inputs = []

        def call(apply_model, given):
            self.inputs.append(given["c"]["c_concat"].clone())
            return apply_model(given["input"], given["timestep"], **given["c"])

        self.model.set_model_unet_function_wrapper(call)


def sample(model, noise, steps=3, cfg=2.0, latent=None, positive=None):
    positive, negative = positive or tiny.text(1, 1024), tiny.text(0, 1024)
    latent = torch.zeros_like(noise) if latent is None else latent
    return comfy.sample.sample(model, noise, steps, cfg, "euler", "normal", positive, negative, latent, seed=3)


def with_depth(model, depth, normalise="per_frame"):
    return DepthConcat.execute(model, depth, normalise).args[0]


NOISE = torch.randn(FRAMES, 4, 8, 8, generator=torch.Generator().manual_seed(1))
DEPTH = random(FRAMES, 64, 64, 3, seed=2) * torch.linspace(0.2, 1, FRAMES).view(-1, 1, 1, 1)


def test_the_host_loads_it_as_an_inpainting_model_and_cannot_run_it():
    model = sd2()
    assert model.model.concat_keys == ("mask", "masked_image")
    with pytest.raises(RuntimeError, match=r"expected input.*5 channels.*9 channels"):
        sample(model, NOISE)


@pytest.mark.parametrize("normalise", ["per_frame", "whole_clip"])
def test_the_network_sees_the_depth_of_every_frame(normalise):
    seen = Seen(with_depth(sd2(), DEPTH, normalise))
    result = sample(seen.model, NOISE, cfg=1.0)
    small = torch.nn.functional.interpolate(DEPTH.mean(-1)[:, None], (8, 8), mode="bicubic", align_corners=False)
    low, high = (small.amin((1, 2, 3), True), small.amax((1, 2, 3), True))
    if normalise == "whole_clip":
        low, high = low.min(), high.max()
    wanted = (small - low) / (high - low) * 2 - 1
    assert all(torch.allclose(each, wanted, atol=1e-4) for each in seen.inputs) and len(seen.inputs) == 3
    assert result.isfinite().all()
    other = sample(with_depth(sd2(), 1 - DEPTH, normalise), NOISE, cfg=1.0)
    assert (result - other).abs().max() > 1e-3


def test_every_input_does_something_and_the_model_given_stays_as_it_was():
    model = sd2()
    one, other = (sample(with_depth(model, DEPTH, each), NOISE) for each in ("per_frame", "whole_clip"))
    assert (one - other).abs().max() > 1e-3
    assert model.object_patches == {}
    with pytest.raises(RuntimeError, match="channels"):
        sample(model, NOISE)


@pytest.mark.parametrize("normalise", ["per_frame", "whole_clip"])
@pytest.mark.parametrize("per_forward", [1, 3])
def test_a_window_sees_the_depth_of_its_own_frames(per_forward, normalise):
    """Windows of 4 without overlap are what the stock sampler makes of these frames alone, with their depth."""
    model = with_depth(sd2(), DEPTH, normalise)
    patched = execute(
        CoDenoiseModel, model=model, window=4, overlap=0, schedule="static", merge="flat",
        windows_per_forward=per_forward,
    ).args[0]  # fmt: skip
    result = sample(patched, NOISE)
    assert (result - sample(patched, NOISE.flip(0))).abs().max() > 1e-2
    for start in (0, 4, 8):
        part = slice(start, start + 4)
        alone = with_depth(sd2(), DEPTH[part], "per_frame")
        if normalise == "whole_clip":  # the range of the clip, which a part does not have
            channel = depth_channel(
                torch.nn.functional.interpolate(DEPTH.mean(-1)[:, None], (8, 8), mode="bicubic")[:, 0], normalise
            )[part, None]
            alone.add_object_patch("concat_cond", lambda device, channel=channel, **_: channel.to(device))
        assert torch.allclose(result[part], sample(alone, NOISE[part]), atol=1e-3, rtol=1e-4)  # they reach 200
    wrong = sample(with_depth(sd2(), DEPTH[:4], "per_frame"), NOISE[4:8])
    assert (result[4:8] - wrong).abs().max() > 1e-3


def test_windows_that_overlap_share_the_frames_depth():
    seen = Seen(with_depth(sd2(), torch.arange(FRAMES * 64.0).view(FRAMES, 8, 8, 1).expand(-1, -1, -1, 3) / 800,
                           "whole_clip"))  # fmt: skip
    patched = execute(
        CoDenoiseModel, model=seen.model, window=6, overlap=2, schedule="static", merge="flat", windows_per_forward=1
    ).args[0]
    sample(patched, NOISE, steps=1, cfg=1.0)
    frames = [((each[:, 0, 0, 0] + 1) / 2 * (FRAMES * 64 - 1) / 64).round().int().tolist() for each in seen.inputs]
    assert [each[0] for each in frames] == sorted({each[0] for each in frames}) and len(frames) > 2
    assert all(each == list(range(each[0], each[0] + 6)) for each in frames)
    assert set().union(*frames) == set(range(FRAMES))


def test_depth_of_any_kind(tmp_path):
    model, path = sd2(), save_video(tmp_path / "depth.mp4", DEPTH, 12, crf=0)
    video = LongVideo(open_clip(path))
    from_file = sample(with_depth(model, video), NOISE)
    assert torch.allclose(from_file, sample(with_depth(model, video.get_components().images), NOISE), atol=1e-5)
    longer = sample(with_depth(model, torch.cat([DEPTH, DEPTH])), NOISE)
    assert torch.allclose(longer, sample(with_depth(model, DEPTH), NOISE), atol=1e-6)
    one = sample(with_depth(model, DEPTH[:1]), NOISE)
    assert torch.allclose(one, sample(with_depth(model, DEPTH[:1].expand(FRAMES, -1, -1, -1)), NOISE), atol=1e-6)
    flat = Seen(with_depth(model, torch.full((1, 8, 8, 3), 0.3)))
    assert sample(flat.model, NOISE).isfinite().all() and not flat.inputs[0].any()
    wide = Seen(with_depth(model, torch.cat([torch.zeros(1, 64, 32, 3), DEPTH[:1], torch.ones(1, 64, 32, 3)], 2)))
    middle = Seen(with_depth(model, DEPTH[:1]))
    for each in (wide, middle):
        sample(each.model, NOISE, steps=1)
    assert torch.allclose(wide.inputs[0], middle.inputs[0], atol=1e-6)  # the middle of other proportions


def test_it_is_known_by_its_depth_before_and_after_it_ran():
    model = with_depth(sd2(), DEPTH)
    before = model_hash(model)
    sample(model, NOISE, steps=1)
    assert model_hash(model) == before != model_hash(with_depth(sd2(), 1 - DEPTH))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="DepthConcat: depth has 5 frames and the latent 12"):
        sample(with_depth(sd2(), DEPTH[:5]), NOISE)
    for model, channels in ((tiny.wan(), None), (tiny.sd15(), 4), (sd2(9), 9)):
        with pytest.raises(ValueError, match=f"DepthConcat: model takes {channels or '.*'} channels"):
            with_depth(model, DEPTH)
    with pytest.raises(ValueError, match="DepthConcat: depth has no frames"):
        with_depth(sd2(), DEPTH[:0])
