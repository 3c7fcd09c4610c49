"""StreamingT2V in the host: its network against diffusers' scheduler and class, and going on with Streaming Extend."""

import os

import folder_paths
import numpy as np
import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.loading import streamingt2v as loading
from long_video_pack.nodes.anchor_guidance import AnchorGuidance
from long_video_pack.nodes.load_streamingt2v import LoadStreamingT2V
from long_video_pack.nodes.streaming_extend import StreamingExtend
from safetensors.torch import save_file
from tiny_streamingt2v import TINY, tiny_weights
from torch.testing import assert_close
from video_files import execute, image_vae

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.every_host
NAME, SIDE = "tiny_streamingt2v.safetensors", 8


@pytest.fixture(scope="module")
def checkpoint():
    folder = folder_paths.get_folder_paths("checkpoints")[0]
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, NAME)
    save_file(tiny_weights(), path)
    folder_paths.filename_list_cache.clear()
    yield path
    os.remove(path)


@pytest.fixture
def model(checkpoint):
    return loading.load_model(checkpoint, loading.IN_THE_CHECKPOINT)


def network(model):
    return model.model.diffusion_model.unet


def text(seed: int) -> list:
    return tiny.text(seed, TINY.text_width, TINY.text_tokens)


def noise(frames: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(frames, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


class Vision:
    """What clip_vision does, with an embedding that depends on the image."""

    def __init__(self):
        self.seen = []
        self.patcher = tiny.wan(1)

    def encode_image(self, images):
        self.seen.append(images.clone())
        values = images.mean((1, 2)).repeat(1, TINY.text_width)[:, : TINY.text_width]
        return {"image_embeds": values}


def stream(model, **changed):
    given = {
        "positive": text(1), "negative": text(0), "length": 32, "seed": 3, "steps": 2, "cfg": 4.0, "chunk": 16,
        "overlap": 8, "width": 64, "height": 64, "run_name": "", "vae": image_vae(), "scheduler": "ddim_uniform",
    }  # fmt: skip
    return execute(StreamingExtend, model=model, **{**given, **changed}).args[0]["samples"]


def test_the_host_calls_the_network_as_diffusers_does(model):
    """All frames of both halves of guidance in one batch."""
    x, context = noise(32), torch.cat([text(1)[0][0].expand(16, -1, -1), text(0)[0][0].expand(16, -1, -1)])
    net = model.model.diffusion_model
    ours = net(x, torch.full((32,), 300), context=context, transformer_options={"cond_or_uncond": [0, 1]})
    for half, seed in ((slice(0, 16), 1), (slice(16, 32), 0)):
        theirs = network(model).unet(x[half].movedim(1, 0)[None], 300, text(seed)[0][0]).sample[0].movedim(0, 1)
        assert_close(ours[half], theirs, atol=1e-4, rtol=1e-4)


def test_euler_ancestral_is_ddim_with_eta_1(model, monkeypatch):
    """StreamingT2V's sampler, by diffusers' scheduler with the same noise; its last step keeps a little noise."""
    drawn = []
    import comfy.k_diffusion.sampling as sampling

    def default_noise_sampler(x, seed=None):
        generator = torch.Generator().manual_seed(11)

        def draw(sigma, sigma_next):
            drawn.append(torch.randn(x.shape, generator=generator))
            return drawn[-1]

        return draw

    monkeypatch.setattr(sampling, "default_noise_sampler", default_noise_sampler)
    steps, seed = 4, 5
    latent = {"samples": torch.zeros(16, 4, SIDE, SIDE)}
    ours = tiny.ksampler(
        model, latent, seed=seed, steps=steps, cfg=7.5, sampler="euler_ancestral", scheduler="ddim_uniform",
        positive=text(1), negative=text(0),
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True,
        steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    x = torch.randn(16, 4, SIDE, SIDE, generator=torch.manual_seed(seed))
    alpha = scheduler.alphas_cumprod[scheduler.timesteps[0]]
    start = x.movedim(1, 0)[None] * (1 - alpha).sqrt()  # of an empty latent, as the host noises it
    for number, level in enumerate(scheduler.timesteps):
        both = network(model).unet(start.repeat(2, 1, 1, 1, 1), level, torch.cat([text(0)[0][0], text(1)[0][0]])).sample
        eps = both[:1] + 7.5 * (both[1:] - both[:1])
        fresh = drawn[number].movedim(1, 0)[None] if number < len(drawn) else torch.zeros_like(start)
        start = scheduler.step(eps, level, start, eta=1.0, variance_noise=fresh).prev_sample
    assert [int(level) for level in scheduler.timesteps] == [751, 501, 251, 1]
    assert_close(ours * model.model.latent_format.scale_factor, start[0].movedim(0, 1), atol=2e-3, rtol=2e-3)


def test_a_chunk_goes_on_from_the_frames_before(model):
    """By hand: the second chunk is a run of the network with the first one's end, decoded, as its condition."""
    vae = image_vae()
    made = stream(model, vae=vae)
    assert made.shape == (24 + 8, 4, SIDE, SIDE)
    first = stream(model, vae=vae, length=16)
    assert_close(made[:16], first)
    before = vae.decode(first[8:]).clamp(0, 1)
    condition = network(model).encode_condition((before * 2 - 1).movedim(-1, 1)[None])
    calls = []
    plain = type(network(model)).forward

    def watched(self, *args, **named):
        calls.append(named.get("condition"))
        return plain(self, *args, **named)

    type(network(model)).forward = watched
    try:
        again = stream(model, vae=vae)
    finally:
        type(network(model)).forward = plain
    assert torch.equal(again, made)
    assert [each is None for each in calls] == [True, True, False, False, False, False]
    assert_close(calls[2], condition, atol=1e-5, rtol=1e-5)


def test_without_the_frames_before_a_chunk_is_another(model):
    made = stream(model, length=24)
    for merger in network(model).mergers:
        merger.proj_out.weight.zero_()
        merger.proj_out.bias.zero_()
    assert not torch.allclose(stream(model, length=24)[16:], made[16:])
    assert torch.equal(stream(model, length=24)[:16], made[:16])


@pytest.mark.parametrize(
    ("anchor", "shown"), [("first", [[0], [0]]), ("last_chunk", [[15], [23]]), ("past", [range(8), range(16)])]
)
def test_anchors(model, anchor, shown):
    """Which frames CLIP sees, for the second and the third chunk, and the grey image beside them."""
    vision, vae = Vision(), image_vae()
    made = stream(model, anchor=anchor, clip_vision=vision, vae=vae)
    images = [each for each in vision.seen if not torch.allclose(each, torch.full_like(each, 0.5), atol=1e-3)]
    greys = [each for each in vision.seen if torch.allclose(each, torch.full_like(each, 0.5), atol=1e-3)]
    assert len(images) == len(greys) == 2 and all(len(each) == 1 for each in greys)
    for seen, frames in zip(images, shown, strict=True):
        wanted = torch.cat([vae.decode(made[frame : frame + 1]) for frame in frames]).clamp(0, 1)
        assert_close(seen, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made[16:], stream(model, vae=vae)[16:])


def test_an_anchor_has_a_guidance_of_its_own(model):
    """With cfg for both it is plain guidance; else it is the three terms, of predictions one by one."""
    options = {"anchor": "first", "length": 24, "steps": 1, "sampler_name": "euler"}
    plain = stream(model, clip_vision=Vision(), **options)
    same = stream(execute(AnchorGuidance, model=model, anchor_weight=4.0).args[0], clip_vision=Vision(), **options)
    assert torch.equal(plain, same)
    more = stream(execute(AnchorGuidance, model=model, anchor_weight=9.0).args[0], clip_vision=Vision(), **options)
    none = stream(execute(AnchorGuidance, model=model, anchor_weight=0.0).args[0], clip_vision=Vision(), **options)
    # One step from the same noise: the result is linear in the weight.
    assert_close((more - plain)[16:] / 5, (plain - none)[16:] / 4, atol=1e-3, rtol=1e-2)
    assert (more - plain)[16:].abs().max() > 1e-2


def test_a_step_cache_leaves_out_forward_passes(model):
    """Those of the guidance by the anchor among them."""
    recorder = tiny.Recorder(execute(AnchorGuidance, model=model, anchor_weight=9.0).args[0])
    options = {"steps": 6, "length": 24, "anchor": "first", "clip_vision": Vision()}
    plain = stream(recorder.model, **options)
    count = len(recorder.shapes)
    cached = stream(recorder.model, step_cache=3.0, **options)  # this small network's predictions change a lot
    assert count == 21 and len(recorder.shapes) - count == 18  # one of the first chunk, two of the second
    assert 0 < (cached - plain).abs().mean() < 0.1 * plain.abs().mean()


def test_given_frames_are_gone_on_from(model):
    frames = torch.from_numpy(np.random.default_rng(0).random((16, 64, 64, 3), np.float32))
    vae = image_vae()
    made = stream(model, image=frames, vae=vae)
    assert_close(made[:16], vae.encode(frames))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"vae": None}, "Connect its vae"), ({"anchor": "first"}, "Connect clip_vision"),
        ({"window": 8, "window_overlap": 4}, "set window to 0"),
    ],
)  # fmt: skip
def test_what_it_needs_is_said_before_the_first_forward_pass(model, changed, words):
    type(network(model)).__call__, plain = _never, type(network(model)).__call__
    try:
        with pytest.raises(ValueError, match=words):
            stream(model, **changed)
    finally:
        type(network(model)).__call__ = plain


def _never(*_, **__):
    raise AssertionError("a forward pass")


def test_other_models_have_no_anchor_guidance():
    with pytest.raises(ValueError, match=r"AnchorGuidance: model is a WAN21"):
        execute(AnchorGuidance, model=tiny.wan(1))


def test_what_is_missing_is_said_in_one_error(checkpoint):
    path = checkpoint.replace("tiny_", "less_")
    save_file({name: each for name, each in tiny_weights().items() if not name.startswith(("vae.", "text_"))}, path)
    folder_paths.filename_list_cache.clear()
    try:
        with pytest.raises(ValueError, match=r"lacks text_encoder, vae\. Put the folder text-to-video-ms-1\.7b"):
            execute(
                LoadStreamingT2V, checkpoint=os.path.basename(path), base=loading.IN_THE_CHECKPOINT, make_smaller=False
            )
    finally:
        os.remove(path)
    with pytest.raises(ValueError, match=r"checkpoint is 'none\.ckpt', which is neither"):
        execute(LoadStreamingT2V, checkpoint="none.ckpt", base=loading.IN_THE_CHECKPOINT)
