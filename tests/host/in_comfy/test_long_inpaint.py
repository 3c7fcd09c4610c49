"""LongInpaintConditioning against the host's nodes for Wan Fun Inpaint and for inpainting models of images."""

import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import editing
import nodes
import pytest
import streaming
import tiny
import torch
from comfy_extras.nodes_wan import WanFunInpaintToVideo
from families import wan_i2v
from long_video_pack.glv_core.editing.composite import composite
from long_video_pack.glv_core.hosts.comfy.conditioning import inpaint as conditioning
from long_video_pack.glv_core.hosts.comfy.conditioning.pixels import Size
from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
from long_video_pack.glv_core.video_io import open_clip, save_video
from long_video_pack.nodes.long_inpaint_conditioning import LongInpaintConditioning
from video_files import execute, image_vae, wan22_vae

pytestmark = pytest.mark.every_host
PROMPTS = {"positive": [[torch.zeros(1, 4, 8), {"a": 1}]], "negative": [[torch.ones(1, 4, 8), {}]]}


def random(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


VIDEO, MASK = random(13, 32, 48, 3, seed=1), torch.zeros(13, 32, 48)
MASK[:, 8:24, 16:32] = 1
MASK[:7, :, :8] = 1


@pytest.fixture(scope="module")
def wan():
    return streaming.wan_vae()


@pytest.fixture(scope="module")
def sd():
    return image_vae()


def ours(vae, video=VIDEO, mask=MASK, **options):
    return execute(LongInpaintConditioning, **PROMPTS, vae=vae, video=video, mask=mask, **options).args


def test_start_and_end_images_are_those_of_the_host_s_node(wan):
    """A whole video of which everything between the images is masked."""
    images = {"start_image": VIDEO[:3], "end_image": VIDEO[-2:]}
    wanted = WanFunInpaintToVideo.execute(**PROMPTS, vae=wan, width=48, height=32, length=13, batch_size=1, **images)
    masked = torch.zeros(13, 32, 48)
    masked[3:-2] = 1
    made = ours(wan, mask=masked, latent="empty")
    for one, other in zip(made[:2], wanted.args[:2], strict=True):
        assert set(one[0][1]) == set(other[0][1])
        for key in ("concat_latent_image", "concat_mask"):
            assert torch.equal(one[0][1][key], other[0][1][key]), key
    assert torch.equal(made[2]["samples"], wanted.args[2]["samples"])
    # A start image alone, and a longer video behind it; with CLIP's view.
    wanted = WanFunInpaintToVideo.execute(
        **PROMPTS, vae=wan, width=48, height=32, length=17, batch_size=1, start_image=VIDEO[:5], clip_vision_output="c"
    ).args
    made = ours(
        wan, VIDEO[:5], torch.zeros(20, 32, 48), length=17, latent="empty", clip_vision_output="c"
    )  # fmt: skip
    for key in ("concat_latent_image", "concat_mask"):
        assert torch.equal(made[0][0][1][key], wanted[0][0][1][key]), key
    assert made[1][0][1]["clip_vision_output"] == "c" and made[2]["samples"].shape == wanted[2]["samples"].shape


def test_wan_s_mask_has_the_frames_of_a_latent_frame_as_channels(wan):
    mask = torch.zeros(13, 32, 48)
    for frame in range(13):
        mask[frame, :, : 8 * (frame % 6)] = 1  # so many latent columns
    made = ours(wan, mask=mask)
    channels = made[0][0][1]["concat_mask"]
    assert channels.shape == (1, 4, 4, 4, 6)
    columns = channels[0, :, :, 0].sum(-1).int().tolist()
    assert columns == [[0, 1, 5, 3], [0, 2, 0, 4], [0, 3, 1, 5], [0, 4, 2, 0]]
    hidden = torch.where(mask[..., None] > 0, 0.5, VIDEO)
    assert torch.equal(made[0][0][1]["concat_latent_image"], wan.encode(hidden))
    assert torch.equal(made[2]["samples"], wan.encode(VIDEO)) and "noise_mask" not in made[2]
    held = ours(wan, mask=mask, latent="video, outside held")[2]
    assert torch.equal(held["samples"], made[2]["samples"])
    assert held["noise_mask"].shape == (1, 1, 4, 4, 6)
    assert held["noise_mask"][0, 0, :, 0].sum(-1).int().tolist() == [0, 4, 5, 5]  # the most of their frames


def test_frames_of_images_are_those_of_the_host_s_node(sd):
    """With a mask whose edges are those of latent pixels: the host shrinks others bilinearly, Gen-L-Video does not."""
    made = ours(sd, latent="video, outside held")
    wanted = nodes.InpaintModelConditioning().encode(**PROMPTS, pixels=VIDEO, vae=sd, mask=MASK, noise_mask=True)
    assert torch.allclose(made[2]["samples"], wanted[2]["samples"], atol=1e-6)
    for one, other in zip(made[:2], wanted[:2], strict=True):
        assert set(one[0][1]) == set(other[0][1])
        assert torch.allclose(one[0][1]["concat_latent_image"], other[0][1]["concat_latent_image"], atol=1e-6)
    channels = [shown_to_the_model(each[0][0][1]) for each in (made, wanted)]
    assert channels[0].shape == (13, 5, 4, 6) and torch.allclose(*channels, atol=1e-5)
    assert torch.equal(made[2]["noise_mask"][:, :, ::1], wanted[2]["noise_mask"][:, :, ::8, ::8])


def shown_to_the_model(values):
    """The channels that the host's inpainting model adds: the mask, and the masked image."""
    model = tiny.sd15().model
    model.set_inpaint()
    return model.concat_cond(noise=torch.zeros(13, 4, 4, 6), device="cpu", **values)


def test_a_window_is_shown_its_own_frames(sd):
    """A network with nine channels as the host makes it, in windows of 5 from 0, 4 and 8."""
    config = {**tiny.SD15, "in_channels": 9, "context_dim": 1024, "use_linear_in_transformer": True}
    base = comfy.supported_models.SD20({**config, "dtype": torch.float32}).get_model({}, device="cpu")
    tiny.fill(base.diffusion_model, 1, 0.08)
    model, shown = comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu")), []

    def call(apply_model, given):
        shown.append(given["c"]["c_concat"].clone())
        return apply_model(given["input"], given["timestep"], **given["c"])

    model.set_model_unet_function_wrapper(call)
    conds = {"positive": tiny.text(1, 1024), "negative": tiny.text(0, 1024)}
    positive, negative, latent = execute(LongInpaintConditioning, **conds, vae=sd, video=VIDEO, mask=MASK).args
    result = tiny.co_denoise(
        model, latent, positive=positive, negative=negative, cfg=1.0, steps=1, window=5, overlap=1, per_forward=1
    )
    whole = shown_to_the_model({key: positive[0][1][key] for key in ("concat_latent_image", "concat_mask")})
    assert result.isfinite().all() and [len(each) for each in shown] == [5, 5, 5]
    for start, each in zip((0, 4, 8), shown, strict=True):
        assert torch.allclose(each, whole[start : start + 5], atol=1e-6)


@pytest.mark.parametrize("cut", [10, 11, 12])
def test_an_edit_reaches_the_last_frame_of_a_video_that_does_not_fill_its_latent_frames(wan, cut):
    """The last frame and its mask are repeated."""
    repeated = [min(frame, cut - 1) for frame in range(13)]
    for mask in (MASK[:cut], MASK[:1]):
        made = ours(wan, VIDEO[:cut], mask)
        wanted = ours(wan, VIDEO[repeated], mask if len(mask) == 1 else MASK[repeated])
        for key in ("concat_latent_image", "concat_mask"):
            assert torch.equal(made[0][0][1][key], wanted[0][0][1][key])
        for key in ("samples", "noise_mask"):
            assert key not in made[2] or torch.equal(made[2][key], wanted[2][key])


def test_masks_are_cut_at_a_half_and_shrunk_to_the_nearest_pixel(sd):
    mask = torch.zeros(13, 32, 48)
    mask[:, 16:19, 24:31], mask[:, 1:8, 1:8], mask[:, 8:16, 8:16] = 0.5, 1.0, 0.49
    made = ours(sd, mask=mask, latent="video, outside held")
    channel = made[0][0][1]["concat_mask"]
    assert channel.shape == (13, 1, 4, 6)
    assert channel[0, 0].nonzero().tolist() == [[2, 3]]  # the first pixel of each eight
    assert made[2]["noise_mask"][0, 0].nonzero().tolist() == [[0, 0], [2, 3]]  # any of the 64
    hidden = torch.where(mask[..., None] < 0.5, VIDEO, 0.5)
    assert torch.allclose(made[0][0][1]["concat_latent_image"], sd.encode(hidden), atol=1e-6)
    assert not ours(sd, mask=mask, latent="empty")[2]["samples"].any()


@pytest.mark.parametrize("name", ["wan", "sd"])
def test_sizes_and_lengths(name, request, tmp_path):
    vae = request.getfixturevalue(name)

    def shapes(**options):
        values, latent = (made := ours(vae, **options))[0][0][1], made[2]["samples"]
        assert values["concat_latent_image"].shape == latent.shape
        return list(latent.shape), values

    frames = (lambda count: [1, 16, (count - 1) // 4 + 1]) if name == "wan" else (lambda count: [count, 4])
    assert shapes(width=96, height=64)[0] == [*frames(13), 8, 12]
    assert shapes(video=VIDEO[:12], mask=MASK[:1])[0] == [*frames(13 if name == "wan" else 12), 4, 6]
    shape, values = shapes(length=17, mask=torch.zeros(1, 32, 48))
    assert shape == [*frames(17), 4, 6]
    mask = values["concat_mask"].movedim(2, 0).flatten(1) if name == "wan" else values["concat_mask"].flatten(1)
    ends = 4 if name == "wan" else 13
    assert not mask[:ends].any() and mask[ends:].all()  # behind the end of the video
    path = save_video(tmp_path / "clip.mp4", VIDEO, 16, crf=5)
    video = LongVideo(open_clip(path))
    assert torch.allclose(
        shapes(video=video)[1]["concat_latent_image"],
        shapes(video=video.get_components().images)[1]["concat_latent_image"],
        atol=1e-6,
    )


def ramps(wide: int, high: int) -> torch.Tensor:
    """A frame that says in red how far right a place is and in green how far down, each in 0..1."""
    x, y = torch.meshgrid((torch.arange(wide) + 0.5) / wide, (torch.arange(high) + 0.5) / high, indexing="xy")
    return torch.stack([x, y, torch.zeros_like(x)], dim=-1)[None]


@pytest.mark.parametrize("size", [(51, 37), (48, 37), (51, 32), (63, 33)])
def test_a_size_of_zero_is_that_of_whole_latent_pixels_and_an_edit_of_it_fits_back(sd, size):
    video, mask = ramps(*size), torch.ones(1, size[1], size[0])
    whole = [side // 8 * 8 for side in size]
    made = ours(sd, video, mask, latent="video")
    wanted = ours(sd, video, mask, width=whole[0], height=whole[1], latent="video")
    for key in ("concat_latent_image", "concat_mask"):
        assert torch.equal(made[0][0][1][key], wanted[0][0][1][key])
    assert torch.equal(made[2]["samples"], wanted[2]["samples"])

    edit = Size(*whole).fit(video.movedim(-1, 1)).movedim(1, -1)
    encoded = editing.encoded(sd, video)
    lanczos = comfy.utils.common_upscale(video.movedim(-1, 1), *whole, "lanczos", "center").movedim(1, -1)
    assert torch.allclose(encoded["samples"], sd.encode(lanczos), atol=1e-5)
    for edited in (edit, lanczos):
        shown = composite(video, edited, mask)
        assert float(((shown - video) * torch.tensor([*size, 0])).abs().max()) < 1.1  # pixels; a cut would be 3 off


def test_a_wan_model_is_shown_the_mask_the_other_way_round(wan):
    model, *_ = wan_i2v()
    values = ours(wan)[0][0][1]
    noise = torch.zeros(1, 16, 4, 4, 6)
    given = {key: values[key].clone() for key in ("concat_latent_image", "concat_mask")}
    channels = model.model.concat_cond(noise=noise, device="cpu", **given)
    assert channels.shape == (1, 20, 4, 4, 6) and torch.equal(channels[:, :4], 1 - values["concat_mask"])


@pytest.mark.parametrize(("options", "words"), [
    ({"mask": MASK[:5]}, "mask has 5 frames, and 13 frames of video are used. Connect a mask for each"),
    ({"mask": MASK[None]}, r"mask has the shape \(1, 13, 32, 48\); it must be masks"),
    ({"width": 40}, "width is 40 pixels; it must be 16 or a multiple of it"),
    ({"video": VIDEO[:, :8]}, "height of video is 8 pixels; it must be 16 or a multiple of it. Set height"),
    ({"length": -4}, "length is -4; it must be"),
    ({"latent": "none"}, "latent is 'none'; it must be one of"),
    ({"video": VIDEO[:0]}, "video has no frames"),
])  # fmt: skip
def test_mistakes_are_said_before_anything_is_encoded(wan, monkeypatch, options, words):
    monkeypatch.setattr(conditioning, "encode_pieces", lambda *_: pytest.fail("it is encoded"))
    with pytest.raises(ValueError, match=f"LongInpaintConditioning: {words}"):
        ours(wan, **options)


def test_what_models_do_not_take_is_refused(sd):
    with pytest.raises(ValueError, match="clip_vision_output is connected, and the vae is one of images"):
        ours(sd, clip_vision_output="c")
    other = wan22_vae()
    other.first_stage_model = torch.nn.Identity()
    with pytest.raises(ValueError, match="neither Wan's nor that of SD"):
        ours(other)
