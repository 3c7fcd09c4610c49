"""StreamingSVD in the host: its file, its network against one by hand, and going on with Streaming Extend."""

import json
import os
import tempfile
from unittest import mock

import comfy.clip_vision
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import folder_paths
import pytest
import tiny
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel, forward_timestep_embed
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from comfy.patcher_extension import WrappersMP
from comfy.samplers import KSampler
from comfy_extras.nodes_align_your_steps import AlignYourStepsScheduler
from comfy_extras.nodes_video_model import SVD_img2vid_Conditioning, VideoLinearCFGGuidance
from long_video_pack.glv_core.hosts.comfy.loading import streaming_svd as loading
from long_video_pack.glv_core.hosts.comfy.loading.streaming_svd import StreamingSVDUNet
from long_video_pack.glv_core.streaming import chunk_seed
from long_video_pack.glv_core.streamingt2v.shapes import image_shapes
from long_video_pack.glv_core.streamingt2v.sizes import ImageSizes
from long_video_pack.nodes.load_streaming_svd import LoadStreamingSVD
from long_video_pack.nodes.streaming_extend import StreamingExtend
from safetensors.torch import save_file
from tiny_streaming_svd import NETWORK, added_weights, randomly
from torch.nn import functional
from torch.testing import assert_close
from video_files import execute

pytestmark = pytest.mark.every_host
NAME, SIDE, WIDTH, SKIPS = "tiny_streaming_svd.safetensors", 8, 16, (64, 64, 64, 128)
CONFIG = {
    "in_channels": 8, "out_channels": 4, "model_channels": 64, "channel_mult": [1, 2], "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1], "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
    "context_dim": WIDTH, "use_linear_in_transformer": True, "adm_in_channels": 768, "num_classes": "sequential",
    "use_temporal_attention": True, "use_temporal_resblock": True, "extra_ff_mix_layer": True,
    "use_spatial_context": True, "merge_strategy": "learned_with_images", "merge_factor": 0.0,
    "video_kernel_size": [3, 1, 1], "disable_temporal_crossattention": False, "image_size": 32, "legacy": False,
    "use_checkpoint": False, "use_spatial_transformer": True, "dtype": torch.float32,
}  # fmt: skip


class NarrowVae(comfy.sd.AutoencodingEngine):
    """The VAE's class with few channels."""

    def __init__(self, **config):
        narrow = {
            name: {**part, "params": {**part["params"], "ch": 32}} if "params" in part else part
            for name, part in config.items()
        }
        super().__init__(**narrow)


class NarrowTower(comfy.clip_vision.ClipVisionModel):
    """CLIP's vision with as many layers as the published one, of few channels."""

    def __init__(self, _):
        config = {
            "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 2, "num_hidden_layers": 32,
            "image_size": 224, "patch_size": 14, "num_channels": 3, "projection_dim": WIDTH, "hidden_act": "gelu",
            "layer_norm_eps": 1e-5, "model_type": "clip_vision_model",
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:  # older hosts take a file only
            path = os.path.join(folder, "config.json")
            with open(path, "w") as file:
                json.dump(config, file)
            super().__init__(path)


def narrow():
    """A patch of the host's classes of fixed size."""
    stack = mock.patch.object(comfy.sd, "AutoencodingEngine", NarrowVae)
    return stack, mock.patch.object(comfy.clip_vision, "ClipVisionModel", NarrowTower)


def svd(weights):
    """The host's own Stable Video Diffusion."""
    config = comfy.supported_models.SVD_img2vid(CONFIG)
    base = config.get_model({}, "")
    base.diffusion_model.load_state_dict(weights)
    return comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def shapes_of(module):
    return {name: tuple(each.shape) for name, each in module.state_dict().items()}


@pytest.fixture(scope="module")
def weights():
    """All of a file."""
    net = UNetModel(**comfy.supported_models.SVD_img2vid(CONFIG).unet_config)
    encoder = {
        "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32,
        "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    vae = comfy.sd.AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": encoder},
        decoder_config={
            "target": "comfy.ldm.modules.temporal_ae.VideoDecoder",
            "params": {**encoder, "video_kernel_size": [3, 1, 1], "alpha": 0.0},
        },
    )
    tower = image_shapes(ImageSizes(32, 40, 32, 14, 257, WIDTH, 12, 5, 11))
    shapes = {NETWORK + name: shape for name, shape in shapes_of(net).items()}
    shapes |= {"first_stage_model." + name: shape for name, shape in shapes_of(vae).items()}
    shapes |= {"conditioner.embedders.0.open_clip.model." + name: shape for name, shape in tower.items()}
    shapes["conditioner.embedders.3.encoder.conv_in.weight"] = (2, 2)  # the VAE once more
    return {**randomly(shapes, 1), **added_weights(shapes_of(net), SKIPS)}


@pytest.fixture(scope="module")
def checkpoint(weights):
    folder = folder_paths.get_folder_paths("checkpoints")[0]
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, NAME)
    save_file(weights, path)
    folder_paths.filename_list_cache.clear()
    yield path
    os.remove(path)


@pytest.fixture(scope="module")
def loaded(checkpoint):
    first, second = narrow()
    with first, second:
        return loading.Loaded(*execute(LoadStreamingSVD, checkpoint=NAME).args)


@pytest.fixture
def model(checkpoint):
    return loading.load_model(checkpoint)


@pytest.fixture(scope="module")
def plain(weights):
    return svd({name.removeprefix(NETWORK): each for name, each in weights.items() if is_base(name)})


def is_base(name):
    return name.startswith(NETWORK) and "cross_attention_merger" not in name


def inside(weights, prefix):
    return {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}


def zeroed(model):
    """With nothing to add, as training begins."""
    for name, parameter in model.model.diffusion_model.named_parameters():
        if ".proj_out." in name and "cross_attention_merger" in name:
            parameter.data.zero_()
    return model


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def image_conditioning(loaded, frames=25, seed=5, **changed):
    """Of the host's own node."""
    image = torch.rand(1, 8 * SIDE, 8 * SIDE, 3, generator=torch.Generator().manual_seed(seed))
    values = {"motion_bucket_id": 90, "fps": 12, "augmentation_level": 0.0, **changed}
    return SVD_img2vid_Conditioning().encode(
        loaded.clip_vision, image, loaded.vae, 8 * SIDE, 8 * SIDE, frames, **values
    )[:2]


def stream(loaded, model, **changed):
    positive, negative = image_conditioning(loaded)
    given = {
        "positive": positive, "negative": negative, "length": 43, "seed": 3, "steps": 2, "cfg": 3.0, "chunk": 25,
        "overlap": 7, "width": 8 * SIDE, "height": 8 * SIDE, "run_name": "", "vae": loaded.vae, "anchor": "first",
        "clip_vision": loaded.clip_vision, "scheduler": "karras",
    }  # fmt: skip
    return execute(StreamingExtend, model=model, **{**given, **changed}).args[0]["samples"]


def test_a_file_is_loaded_whole(loaded, weights):
    """Every weight of the UNet, the copy and the mergers is where its name says, and there is no other."""
    wanted = inside(weights, NETWORK) | {f"controlnet.{name}": w for name, w in inside(weights, "controlnet.").items()}
    state = loaded.model.model.diffusion_model.state_dict()
    assert set(state) == set(wanted)
    assert all(torch.equal(state[name], each.to(state[name])) for name, each in wanted.items())
    vae = inside(weights, "first_stage_model.")
    assert all(torch.equal(w, vae[name].to(w)) for name, w in loaded.vae.first_stage_model.state_dict().items())
    image = torch.rand(1, 64, 64, 3)
    assert loaded.clip_vision.encode_image(image).image_embeds.shape == (1, WIDTH)
    kind, arguments = loaded.model.cached_patcher_init[:2]
    again = kind(*arguments).model.diffusion_model.state_dict()
    assert all(torch.equal(again[name], each) for name, each in state.items())


def norm_by_hand(x, weight, bias, groups, eps):
    """``f c h w``: all frames and places of a group together."""
    frames, channels = x.shape[:2]
    parts = x.reshape(frames, groups, channels // groups, *x.shape[2:])
    mean = parts.mean((0, 2, 3, 4), keepdim=True)
    spread = ((parts - mean) ** 2).mean((0, 2, 3, 4), keepdim=True)
    normal = ((parts - mean) / (spread + eps).sqrt()).reshape(x.shape)
    return normal * weight[:, None, None] + bias[:, None, None]


def merge_by_hand(w, h, g):
    """Each place of ``f c h w`` looks at the same place of ``k c h w``, a head of 64 channels at a time."""
    normal = norm_by_hand(h, w["norm.weight"], w["norm.bias"], 32, 1e-6)
    out = h.clone()
    for y in range(h.shape[2]):
        for x in range(h.shape[3]):
            q = (normal[:, :, y, x] @ w["proj_in.weight"].T + w["proj_in.bias"]) @ w["attention.to_q.weight"].T
            k = g[:, :, y, x] @ w["attention.to_k.weight"].T
            v = g[:, :, y, x] @ w["attention.to_v.weight"].T
            heads = []
            for start in range(0, h.shape[1], 64):
                part = slice(start, start + 64)
                scores = (q[:, part] @ k[:, part].T / 8).exp()
                heads.append(scores / scores.sum(1, keepdim=True) @ v[:, part])
            found = torch.cat(heads, 1) @ w["attention.to_out.0.weight"].T + w["attention.to_out.0.bias"]
            out[:, :, y, x] += found @ w["proj_out.weight"].T + w["proj_out.bias"]
    return out


def encode_by_hand(w, pixels):
    """``k 3 h w``: norms over channels behind each block, none behind the first convolution."""
    x = functional.silu(functional.conv2d(pixels, w["conv_in.weight"], w["conv_in.bias"], padding=1))
    for number in range(6):
        x = functional.conv2d(
            x, w[f"blocks.{number}.weight"], w[f"blocks.{number}.bias"], padding=1, stride=1 + number % 2
        )
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / (((x - mean) ** 2).mean(1, keepdim=True) + 1e-5).sqrt()
        x = functional.silu(x * w[f"norms.{number}.weight"][:, None, None] + w[f"norms.{number}.bias"][:, None, None])
    return functional.conv2d(x, w["conv_out.weight"], w["conv_out.bias"], padding=1)


def way_down(net, x, t, context, y, added=None):
    """What the host's blocks give of the frames of one clip at each skip connection and at the middle."""
    told = net.time_embed(timestep_embedding(t, 64)) + net.label_emb(y)
    h, skips = x, []
    for number, block in enumerate(net.input_blocks):
        h = forward_timestep_embed(block, h, told, context, {}, num_video_frames=len(x))
        h = h + added if number == 0 and added is not None else h
        skips.append(h)
    return told, skips, forward_timestep_embed(net.middle_block, h, told, context, {}, num_video_frames=len(x))


def clip_by_hand(net, weights, x, t, context, y, pixels):
    """StreamingSVD on one clip: the host's blocks, and between them what is added, written out."""
    seen = len(pixels)
    added = encode_by_hand(inside(weights, "controlnet.controlnet_cond_embedding."), pixels)
    _, theirs, their_middle = way_down(net.controlnet, x[:seen], t[:seen], context[:seen], y[:seen], added)
    told, skips, h = way_down(net, x, t, context, y)

    def merger(place):
        return inside(weights, f"{NETWORK}cross_attention_merger_{place}.temporal_transformer.")

    skips = [merge_by_hand(merger(f"input_blocks.{i}"), skip, theirs[i]) for i, skip in enumerate(skips)]
    h = merge_by_hand(merger("mid_block"), h, their_middle)
    for block in net.output_blocks:
        h = torch.cat([h, skips.pop()], 1)
        size = skips[-1].shape if skips else None
        h = forward_timestep_embed(block, h, told, context, {}, size, num_video_frames=len(x))
    return net.out(h)


def batch(clips=2, frames=9):
    rows = clips * frames
    return {
        "x": noise(rows, 8, SIDE, SIDE),
        "timesteps": torch.linspace(0.1, 0.9, clips).repeat_interleave(frames),
        "context": noise(clips, 1, WIDTH, seed=2).repeat_interleave(frames, 0),
        "y": noise(clips, 768, seed=3).repeat_interleave(frames, 0),
        "num_video_frames": frames,
    }


@pytest.mark.parametrize("seen", [7, 3])
def test_the_network_is_svds_with_attention_to_the_frames_before(model, weights, seen):
    """Two clips against each on its own, by hand."""
    net, rows = model.model.diffusion_model, batch()
    pixels = noise(1, seen, 3, 8 * SIDE, 8 * SIDE, seed=4)
    with torch.no_grad():
        ours = net(**rows, condition=net.encode_condition(pixels))
        without = net(**rows)
        for clip in (slice(0, 9), slice(9, 18)):
            theirs = clip_by_hand(
                net,
                weights,
                rows["x"][clip],
                rows["timesteps"][clip],
                rows["context"][clip],
                rows["y"][clip],
                pixels[0],
            )
            assert_close(ours[clip], theirs, atol=2e-4, rtol=2e-3)
            assert (ours[clip] - without[clip]).abs().max() > 0.02


def test_only_the_first_frames_go_through_the_copy(model):
    """What is behind them changes nothing of what the copy says."""
    net, rows = model.model.diffusion_model, batch(1)
    condition = net.encode_condition(noise(1, 7, 3, 8 * SIDE, 8 * SIDE))
    said = []
    net.controlnet.register_forward_hook(lambda module, args, output: said.append(output))
    for at, changes in ((8, False), (6, True)):
        other = rows["x"].clone()
        other[at] += 1
        net(**rows, condition=condition)
        net(**{**rows, "x": other}, condition=condition)
        assert torch.equal(*said[-2:]) != changes
    assert all(len(each) == 7 for each in said)


def test_with_zero_projections_it_is_the_hosts_bit_for_bit(model, plain):
    """The network with frames before, against the host's class without."""
    rows = batch()
    condition = model.model.diffusion_model.encode_condition(noise(1, 7, 3, 8 * SIDE, 8 * SIDE))
    host = plain.model.diffusion_model(**rows)
    assert not torch.equal(model.model.diffusion_model(**rows, condition=condition), host)
    assert torch.equal(zeroed(model).model.diffusion_model(**rows, condition=condition), host)


def test_patches_of_the_user_stay_and_do_not_reach_the_copy(model):
    seen = []

    def note(h, skip, options):
        seen.append(skip.clone())
        return h, skip

    rows = batch(1)
    net = model.model.diffusion_model
    wrapped = []

    def wrapper(executor, *args, **named):
        wrapped.append(len(args[0]))
        return executor(*args, **named)

    options = {
        "patches": {"output_block_patch": [note], "input_block_patch": [lambda h, options: h * 2]},
        "patches_replace": {"attn1": {("middle", 0): lambda q, k, v, extra: v * 3}},
        "wrappers": {WrappersMP.DIFFUSION_MODEL: {"a": [wrapper]}},
    }
    condition = net.encode_condition(noise(1, 7, 3, 8 * SIDE, 8 * SIDE))
    said = []
    net.controlnet.register_forward_hook(lambda module, args, output: said.append(output))
    net(**rows, condition=condition, transformer_options=options)
    merged = seen[:]
    net(**rows, condition=condition)
    assert torch.equal(*said) and len(merged) == 4 and wrapped == [9]
    seen.clear()
    net(**rows, transformer_options=options)
    assert not torch.equal(seen[0], merged[0])  # it sees what attention has added
    assert options["patches"]["output_block_patch"] == [note]


@pytest.mark.parametrize(("seen", "side"), [(10, SIDE), (7, SIDE // 2)])
def test_frames_before_that_do_not_fit_are_refused(model, seen, side):
    net = model.model.diffusion_model
    with pytest.raises(ValueError, match=rf"There are {seen} frames before with features of \[64, {side}, {side}\]"):
        net(**batch(), condition=noise(1, seen, 64, side, side))


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_without_known_frames_it_is_svd(loaded, plain, sampler):
    """The host's KSampler and windows, on the host's model and ours."""
    positive, negative = image_conditioning(loaded, 14)
    arguments = {"positive": positive, "negative": negative, "sampler": sampler, "scheduler": "karras", "steps": 2}
    latent = {"samples": torch.zeros(14, 4, SIDE, SIDE)}
    for sample in (tiny.ksampler, tiny.co_denoise):
        more = {"window": 8, "overlap": 3} if sample is tiny.co_denoise else {}
        ours, theirs = (sample(each, latent, **arguments, **more) for each in (loaded.model, plain))
        assert torch.equal(ours, theirs) and ours.std() > 0.01


def test_a_chunk_goes_on_from_the_frames_before(loaded):
    """The second chunk is the host's KSampler with all that it is to be told written out."""
    made = stream(loaded, loaded.model)
    assert made.shape == (43, 4, SIDE, SIDE)
    first = stream(loaded, loaded.model, length=25)
    assert torch.equal(made[:25], first)
    seed = chunk_seed(3, 1)
    before = loaded.vae.decode(first[18:]).clamp(0, 1)
    image = loaded.vae.decode(first[6:7]).clamp(0, 1)
    drawn = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed))
    minus_one_to_one = image * 2 - 1 + 0.02 * drawn
    latent = loaded.vae.encode((minus_one_to_one + 1) / 2)
    seen = loaded.clip_vision.encode_image(image).image_embeds[None]
    told = {"motion_bucket_id": 127, "fps": 7, "augmentation_level": 0.02, "streamingt2v_frames": before[None]}
    wanted = tiny.ksampler(
        loaded.model, {"samples": torch.zeros(25, 4, SIDE, SIDE)}, seed=seed, steps=2, cfg=3.0, scheduler="karras",
        positive=[[seen, {**told, "concat_latent_image": latent}]],
        negative=[[seen * 0, {**told, "concat_latent_image": latent * 0}]],
    )  # fmt: skip
    assert_close(made[25:], wanted[7:], atol=1e-3, rtol=1e-3)
    assert (made[25:] - stream(loaded, loaded.model, anchor="last_chunk")[25:]).abs().max() > 0.01


def test_the_network_is_told_what_streamingsvd_tells_it(loaded):
    """Rows of the second chunk's forward passes: fps_id 6, motion bucket 127, noise 0.02, as they are embedded."""
    calls = []
    net = loaded.model.model.diffusion_model
    handle = net.register_forward_pre_hook(lambda module, args, named: calls.append((args, named)), with_kwargs=True)
    try:
        stream(loaded, loaded.model, steps=1)
    finally:
        handle.remove()
    numbers = torch.tensor([6.0, 127.0, 0.02])
    embedded = timestep_embedding(numbers, 256).flatten()
    later = [named for _, named in calls if named.get("condition") is not None]
    assert later and len(later) < len(calls)
    for named in later:
        assert named["condition"].shape == (1, 7, 64, SIDE, SIDE) and named["num_video_frames"] == 25
        assert_close(named["y"], embedded.expand_as(named["y"]), atol=1e-4, rtol=1e-4)


def test_with_zero_projections_a_chunk_does_not_see_the_frames_before(loaded, checkpoint, plain):
    """It is the host's Stable Video Diffusion, told the same, bit for bit."""
    model = zeroed(loading.load_model(checkpoint))
    made = stream(loaded, model, anchor="none")
    positive, negative = image_conditioning(loaded)
    host = tiny.ksampler(
        plain, {"samples": torch.zeros(25, 4, SIDE, SIDE)}, seed=chunk_seed(3, 1), steps=2, cfg=3.0,
        scheduler="karras", positive=positive, negative=negative,
    )  # fmt: skip
    assert torch.equal(made[25:], host[7:])
    assert not torch.equal(stream(loaded, loaded.model, anchor="none")[25:], made[25:])


def test_a_single_frame_is_a_start_image(loaded, plain):
    """The first chunk is what Streaming Extend makes with Stable Video Diffusion; the next one sees the frames."""
    image = torch.rand(1, 8 * SIDE, 8 * SIDE, 3, generator=torch.Generator().manual_seed(8))
    first, theirs = (stream(loaded, each, image=image, length=25) for each in (loaded.model, plain))
    assert torch.equal(first, theirs)
    assert_close(first[:1], loaded.vae.encode(image))
    ours, theirs = (stream(loaded, each, image=image) for each in (loaded.model, plain))
    assert torch.equal(ours[:25], first)
    assert (ours[25:] - theirs[25:]).abs().max() > 0.01


def test_guidance_rises_over_the_frames_of_a_chunk(loaded):
    """Core's linear guidance from 1.5 to 3: at the ends of a chunk what either makes alone, after one step."""
    options = {"steps": 1, "anchor": "none", "length": 25}
    (linear,) = VideoLinearCFGGuidance().patch(loaded.model, 1.5)
    low, high = (stream(loaded, loaded.model, cfg=cfg, **options) for cfg in (1.5, 3.0))
    made = stream(loaded, linear, cfg=3.0, **options)
    assert (low - high).std() > 0.1
    share = torch.linspace(0, 1, 25)[:, None, None, None]
    assert_close(made, low + share * (high - low), atol=5e-3, rtol=0)  # rounded at a noise level of 700


def test_weights_in_half_precision_are_cast_by_the_host(loaded, checkpoint, monkeypatch):
    """As on cards that hold weights in 16 bits and compute in 32: near the same video, and not in 32 bits itself."""
    management = loading.comfy.model_management
    monkeypatch.setattr(management, "unet_dtype", lambda *_, **__: torch.float16)
    monkeypatch.setattr(management, "unet_manual_cast", lambda *_, **__: torch.float32)
    half = loading.load_model(checkpoint)
    kept = [n for n, each in half.model.diffusion_model.named_parameters() if each.dtype != torch.float16]
    assert all(name.endswith("mix_factor") for name in kept)  # as of the host's own
    options = {"steps": 1, "cfg": 1.0}
    made, whole = (stream(loaded, each, **options) for each in (half, loaded.model))
    apart = (made - whole)[25:].std() / whole[25:].std()
    assert 0 < apart < 0.03


def test_noise_levels_may_be_given(loaded):
    """Those of a scheduler are the scheduler; others make another video, and other chunks are kept."""
    named = KSampler(loaded.model, steps=3, device="cpu", sampler="euler", scheduler="karras", denoise=1.0)
    plain = stream(loaded, loaded.model, steps=3)
    assert torch.equal(stream(loaded, loaded.model, steps=9, scheduler="simple", sigmas=named.sigmas), plain)
    steps = AlignYourStepsScheduler().get_sigmas("SVD", 3, 1.0)[0]
    assert float(steps[0]) == 700 and len(steps) == 4
    name = f"levels_{os.getpid()}"
    first = stream(loaded, loaded.model, run_name=name, sigmas=named.sigmas)
    made = stream(loaded, loaded.model, run_name=name, sigmas=steps)
    assert torch.equal(first, plain) and (made - plain).abs().max() > 0.01
    with mock.patch.object(StreamingSVDUNet, "forward", side_effect=AssertionError("a forward pass")):
        assert torch.equal(stream(loaded, loaded.model, run_name=name, sigmas=steps), made)


@pytest.mark.parametrize("levels", [[], [0.0], [3.0, 3.0, 0.0], [1.0, 2.0, 0.0], [2.0, 1.0]])
def test_noise_levels_that_do_not_fall_are_refused(loaded, levels):
    with pytest.raises(ValueError, match=r"sigmas is .*; it must have two levels or more"):
        stream(loaded, loaded.model, sigmas=torch.tensor(levels))


def test_a_hundred_frames_are_five_chunks_more(loaded):
    report = execute(
        StreamingExtend, model=loaded.model, positive=image_conditioning(loaded)[0],
        negative=image_conditioning(loaded)[1], length=100, seed=1, steps=1, cfg=1.0, chunk=25, overlap=7, width=16,
        height=16, run_name="", vae=loaded.vae,
    )  # fmt: skip
    assert report.args[0]["samples"].shape[0] == 100
    assert (
        "conditional attention on SVD" in report.args[1] and "6 chunks of 25 latent frames, 7 of them" in report.args[1]
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"vae": None}, "Connect its vae"), ({"clip_vision": None}, "Connect clip_vision"),
        ({"window": 14, "window_overlap": 4}, "set window to 0"),
        ({"vae": None, "latent": {"samples": noise(25, 4, SIDE, SIDE)}}, "Connect its vae"),
    ],
)  # fmt: skip
def test_what_it_needs_is_said_before_the_first_forward_pass(loaded, changed, words):
    never = mock.Mock(side_effect=AssertionError("a forward pass"))
    network = type(loaded.model.model.diffusion_model)
    with mock.patch.object(network, "forward", never), pytest.raises(ValueError, match=words):
        stream(loaded, loaded.model, **changed)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ("model.diffusion_model.output_blocks.0.0.in_layers.2.bias",
         r"Stable Video Diffusion's UNet lacks output_blocks\.0\.0\.in_layers\.2\.bias"),
        ("first_stage_model.decoder.conv_out.bias", r"VAE lacks decoder\.conv_out\.bias"),
        ("controlnet.time_embed.0.bias", r"copy of the UNet's way down lacks time_embed\.0\.bias"),
    ],
)  # fmt: skip
def test_what_a_file_lacks_is_said(checkpoint, weights, left_out, words):
    path = checkpoint.replace("tiny_", "less_")
    save_file({name: each for name, each in weights.items() if name != left_out}, path)
    folder_paths.filename_list_cache.clear()
    first, second = narrow()
    try:
        with first, second, pytest.raises(ValueError, match=words):
            execute(LoadStreamingSVD, checkpoint=os.path.basename(path))
    finally:
        os.remove(path)


def test_a_file_without_clip_and_vae_gives_the_model_alone(checkpoint, weights):
    path = checkpoint.replace("tiny_", "bare_")
    save_file({n: each for n, each in weights.items() if n.startswith((NETWORK, "controlnet."))}, path)
    folder_paths.filename_list_cache.clear()
    try:
        model, *others = execute(LoadStreamingSVD, checkpoint=os.path.basename(path)).args
    finally:
        os.remove(path)
    assert type(model.model).__name__ == "StreamingSVDModel" and others == [None, None]
    with pytest.raises(ValueError, match=r"LoadStreamingSVD: checkpoint is 'none\.safetensors', which is neither"):
        execute(LoadStreamingSVD, checkpoint="none.safetensors")
