"""Streaming with diffusers pipelines, on tiny random models."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import itertools

from diffusers import AutoencoderKLWan, DDIMScheduler, FlowMatchEulerDiscreteScheduler

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.hosts.diffusers import timebase_for
from glv_core.hosts.diffusers.decode import decode_frames
from glv_core.hosts.diffusers.encode import encode_frames
from glv_core.hosts.diffusers.held import Held, prediction_type, signal_and_noise
from glv_core.hosts.diffusers.streaming import Sampling, StreamSettings, stream_video
from glv_core.prompts import parse_schedule
from glv_core.streaming import RunFolder, chunk_seed, ramp

FRAMES = {"wan": 49, "text_to_video_sd": 13, "animatediff": 13}  # 13 latent frames each
SETTINGS = StreamSettings(5, 2, CoDenoiseSettings(window=5, overlap=0), blend=0.0)


def made(pipeline, name, settings=SETTINGS, text="a red circle | a blue square cat", folder=None, **sampling):
    timebase = timebase_for(pipeline, FRAMES[name], 8)
    schedule = parse_schedule(text, num_frames=FRAMES[name], fps=8, transition="hard")
    values = {"steps": 3, "guidance": 4.0, "seed": 5, "height": 32, "width": 32, "negative_prompt": "blurry"}
    return stream_video(pipeline, schedule, timebase, settings, Sampling(**{**values, **sampling}), folder=folder)


@pytest.mark.parametrize("name", FRAMES)
def test_the_overlap_is_what_was_known(tiny_pipelines, name, tmp_path):
    pipeline = tiny_pipelines(name)
    seen = []
    original = Held.replace

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "replace", lambda *a: seen.append(a[0].known) or original(*a))
        video = made(pipeline, name)
    assert video.shape[:3] == (1, 16 if name == "wan" else 4, 13)
    assert torch.isfinite(video).all()
    # blend 0 holds all of the overlap: what the sampler makes of it is what was known.
    folder = RunFolder(tmp_path)
    made(pipeline, name, folder=folder)
    from safetensors.torch import load_file

    chunks = [load_file(path)["latents"] for path in sorted(tmp_path.glob("chunk_*.safetensors"))]
    assert len(chunks) == 4
    for before, after in itertools.pairwise(chunks):
        torch.testing.assert_close(after[:, :, :2], before[:, :, -2:], atol=2e-3, rtol=1e-3)
        assert (after[:, :, 2:4] - before[:, :, -2:]).abs().max() > 0.05
    assert seen


def test_the_first_chunk_is_a_plain_run(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    video = made(pipeline, "wan", text="a red circle")
    plain = pipeline(
        "a red circle", negative_prompt="blurry", num_frames=17, num_inference_steps=3, guidance_scale=4.0, height=32,
        width=32, generator=torch.Generator().manual_seed(chunk_seed(5, 0)), output_type="latent",
    ).frames  # fmt: skip
    assert torch.equal(video[:, :, :3], plain[:, :, :3].float())


def test_runs_are_found_again_and_settings_count(tiny_pipelines, tmp_path):
    pipeline = tiny_pipelines("wan")

    def count(**changes):
        before = {path.name for path in tmp_path.glob("chunk_*.safetensors")}
        video = made(pipeline, "wan", folder=RunFolder(tmp_path), **changes)
        return video, len({path.name for path in tmp_path.glob("chunk_*.safetensors")} - before)

    first, new = count()
    assert new == 4
    again, new = count()
    assert new == 0
    assert torch.equal(first, again)
    assert count(text="a red circle | a dog cat")[1] == 3  # the first chunk sees only the first prompt
    for change in ({"seed": 6}, {"steps": 2}, {"guidance": 3.0}, {"negative_prompt": "cat"}):
        assert count(**change)[1] == 4, change
    changed = StreamSettings(5, 2, CoDenoiseSettings(window=5, overlap=0), blend=0.5)
    assert count(settings=changed)[1] >= 3
    assert count(scheduler=FlowMatchEulerDiscreteScheduler(shift=4.0))[1] == 4


def test_a_chunk_longer_than_the_window_is_co_denoised(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    shapes = []
    original = pipeline.transformer.forward

    def spy(*args, **kwargs):
        shapes.append(kwargs["hidden_states"].shape[2])
        return original(*args, **kwargs)

    pipeline.transformer.forward = spy
    try:
        made(pipeline, "wan", StreamSettings(8, 2, CoDenoiseSettings(window=4, overlap=2), blend=0.5))
    finally:
        del pipeline.transformer.forward
    assert set(shapes) == {3, 4}  # the first and the last window end where they need to


def test_clean_frames_go_in_clean_with_a_timestep_of_zero(fresh_wan):
    pipeline = fresh_wan(expand_timesteps=True)
    pipeline.set_progress_bar_config(disable=True)
    calls = []
    original = pipeline.transformer.forward

    def spy(*args, **kwargs):
        calls.append((kwargs["hidden_states"].clone(), kwargs["timestep"].clone()))
        return original(*args, **kwargs)

    pipeline.transformer.forward = spy
    video = made(pipeline, "wan", text="a red circle", guidance=1.0)
    first, later = calls[0], calls[3:6]
    assert (first[1] > 0).all()
    known = video[:, :, 3:5]
    for x, timestep in later:
        assert torch.equal(x[:, :, :2], known)
        per_frame = timestep.reshape(len(timestep), 5, -1)
        assert (per_frame[:, :2] == 0).all()
        assert (per_frame[:, 2:] > 0).all()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_what_is_held_is_the_clean_prediction(kind):
    """Oracle: build a latent from a clean one and noise, and read the clean one back from the replaced output."""
    torch.manual_seed(0)
    clean, noise, known = torch.randn(3, 1, 2, 4, 3, 3).double().unbind(0)
    known = known[:, :, :3]
    if kind == "flow":
        scheduler, timestep = FlowMatchEulerDiscreteScheduler(), 400.0
        alpha, sigma = 0.6, 0.4
    else:
        scheduler, timestep = DDIMScheduler(prediction_type=kind), torch.tensor(400)
        alpha = float(scheduler.alphas_cumprod[400]) ** 0.5
        sigma = (1 - alpha**2) ** 0.5
    assert prediction_type(scheduler) == kind
    assert signal_and_noise(scheduler, timestep) == pytest.approx((alpha, sigma))
    x = alpha * clean + sigma * noise
    output = {
        "flow": noise - clean,
        "epsilon": noise,
        "v_prediction": alpha * noise - sigma * clean,
        "sample": clean,
    }[kind]
    call = SimpleNamespace(sample=x.float(), timestep=timestep)
    held = Held(known.float(), 0.5, clean_frames=False)
    replaced = held.replace(output.float(), call, scheduler).double()
    read = {
        "flow": x - sigma * replaced,
        "epsilon": (x - sigma * replaced) / alpha,
        "v_prediction": alpha * x - sigma * replaced,
        "sample": replaced,
    }[kind]
    amount = torch.tensor(ramp(3, 0.5)).view(1, 1, 3, 1, 1)
    torch.testing.assert_close(read[:, :, :3], known + amount * (clean[:, :, :3] - known), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(read[:, :, 3:], clean[:, :, 3:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FRAMES)
def test_decoding_in_pieces_is_decoding_at_once(tiny_pipelines, name):
    pipeline = tiny_pipelines(name)
    torch.manual_seed(3)
    latents = torch.randn(1, 16 if name == "wan" else 4, 15, 4, 4)
    pieces = list(decode_frames(pipeline, latents))
    assert max(map(len, pieces)) <= 12
    together = torch.cat(pieces)
    if name == "wan":
        config = pipeline.vae.config
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))
        with torch.no_grad():
            whole = pipeline.vae.decode(latents * std + mean, return_dict=False)[0]
        whole = (whole[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)
    else:
        with torch.no_grad():
            whole = pipeline.decode_latents(latents)[0].permute(1, 2, 3, 0)
        whole = (whole / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(together, whole.float(), atol=1e-5, rtol=1e-5)


def test_wan_2_2_s_vae_makes_its_squares_pixels():
    """Its VAE gives squares of 2 x 2 pixels as channels; against its own decode."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, in_channels=12, out_channels=12, patch_size=2
    ).eval()
    latents = torch.randn(1, 16, 4, 4, 4)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        whole = vae.decode(latents * std + mean, return_dict=False)[0][0].permute(1, 2, 3, 0)
    pieces = torch.cat(list(decode_frames(SimpleNamespace(vae=vae), latents)))
    assert pieces.shape[-1] == 3
    torch.testing.assert_close(pieces, (whole / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["wan", "text_to_video_sd"])
@pytest.mark.parametrize("parts", [(9,), (1, 4, 4), (2, 3, 4)])
def test_encoding_in_pieces_is_encoding_at_once(tiny_pipelines, name, parts):
    vae = tiny_pipelines(name).vae
    frames = torch.randint(0, 256, (9, 16, 16, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    made = encode_frames(tiny_pipelines(name), frames.split(parts))
    pixels = frames.movedim(-1, 0)[None].float() / 127.5 - 1
    with torch.no_grad():
        if name == "wan":
            mean, std = (
                torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std)
            )
            whole = (vae.encode(pixels).latent_dist.mode() - mean) / std
        else:
            alone = [vae.encode(pixels[:, :, k]).latent_dist.mode() for k in range(9)]
            whole = torch.stack(alone, dim=2) * vae.config.scaling_factor
    torch.testing.assert_close(made, whole, atol=1e-5, rtol=1e-5)


def test_frames_that_fill_no_latent_frame_are_left_out(tiny_pipelines):
    frames = torch.randint(0, 256, (8, 16, 16, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    made = encode_frames(tiny_pipelines("wan"), [frames])
    torch.testing.assert_close(made, encode_frames(tiny_pipelines("wan"), [frames[:5]]))
    with pytest.raises(ValueError, match="no frames"):
        encode_frames(tiny_pipelines("wan"), [])


def test_wan_2_2_s_squares_are_encoded_as_by_its_own_vae():
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, in_channels=12,
        out_channels=12, patch_size=2, is_residual=True, latents_mean=[0.1] * 16, latents_std=[2.0] * 16,
    ).eval()  # fmt: skip
    frames = torch.randint(0, 256, (5, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    made = encode_frames(SimpleNamespace(vae=vae), [frames])
    with torch.no_grad():
        whole = (vae.encode(frames.movedim(-1, 0)[None].float() / 127.5 - 1).latent_dist.mode() - 0.1) / 2
    torch.testing.assert_close(made, whole, atol=1e-5, rtol=1e-5)


def test_a_given_video_is_kept_and_gone_on_from(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    given = torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    timebase = timebase_for(pipeline, FRAMES["wan"], 8)
    schedule = parse_schedule("a cat", num_frames=FRAMES["wan"], fps=8, transition="hard")
    sampling = Sampling(3, 4.0, 5, 32, 32, "blurry")
    seen = []
    original = Held.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "replace", lambda *a: seen.append(a[0].known) or original(*a))
        video = stream_video(pipeline, schedule, timebase, SETTINGS, sampling, given=given)
    assert torch.equal(video[:, :, :4], given)
    assert torch.equal(seen[0], given[:, :, 2:])
