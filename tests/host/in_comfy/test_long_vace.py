"""LongVaceConditioning against the host's WanVaceToVideo."""

import pytest
import streaming
import torch
from comfy_extras.nodes_wan import WanVaceToVideo
from long_video_pack.glv_core.hosts.comfy.conditioning import vace as conditioning
from long_video_pack.glv_core.hosts.comfy.video import memory_mapped
from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
from long_video_pack.glv_core.video_io import open_clip, save_video
from long_video_pack.nodes.long_vace_conditioning import LongVaceConditioning
from video_files import execute

pytestmark = pytest.mark.every_host
SIZE = {"width": 48, "height": 32}


def random(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def vae():
    return streaming.wan_vae()


def prompts(**extras):
    return [[torch.zeros(1, 4, 8), {"a": 1, **extras}]], [[torch.ones(1, 4, 8), dict(extras)]]


def ours(vae, *, conds=None, **options):
    positive, negative = conds or prompts()
    return execute(LongVaceConditioning, positive=positive, negative=negative, vae=vae, **{**SIZE, **options}).args


def cores(vae, length, *, conds=None, **options):
    positive, negative = conds or prompts()
    given = {**SIZE, "length": length, "batch_size": 1, "strength": 1.0, **options}
    return WanVaceToVideo.execute(positive, negative, vae, **given).args


VIDEO, MASKS, IMAGE = random(13, 40, 60, 3, seed=1), random(13, 40, 60, seed=2), random(1, 64, 64, 3, seed=3)
CASES = {
    "nothing": (9, {}),
    "video": (13, {"control_video": VIDEO}),
    "masks": (13, {"control_masks": MASKS}),
    "video and masks": (13, {"control_video": VIDEO, "control_masks": MASKS}),
    "binary masks": (13, {"control_video": VIDEO, "control_masks": MASKS.round()}),
    "reference": (13, {"control_video": VIDEO, "control_masks": MASKS, "reference_image": IMAGE}),
    "longer than the video": (21, {"control_video": VIDEO, "control_masks": MASKS[:9]}),
    "shorter than the video": (5, {"control_video": VIDEO, "control_masks": MASKS}),
    "no whole latent frames": (11, {"control_video": VIDEO, "control_masks": MASKS}),
    "one frame": (1, {"control_video": VIDEO, "control_masks": MASKS}),
    "one mask": (9, {"control_video": VIDEO, "control_masks": MASKS[0]}),
    "strength": (5, {"control_video": VIDEO, "strength": 0.5}),
    "an alpha channel": (5, {"control_video": random(5, 32, 48, 4, seed=1)}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_values_are_those_of_the_host_s_node(vae, case):
    length, options = CASES[case]
    # Masks without an axis of frames are ours alone.
    core = {**options, "control_masks": options["control_masks"][None]} if case == "one mask" else options
    made, wanted = ours(vae, length=length, fill_masked=False, **options), cores(vae, length, **core)
    assert made[3] == wanted[3] == (1 if "reference_image" in options else 0)
    assert made[2]["samples"].shape == wanted[2]["samples"].shape and not made[2]["samples"].any()
    for one, other in zip(made[:2], wanted[:2], strict=True):
        assert len(one) == len(other) == 1 and set(one[0][1]) == set(other[0][1])
        assert torch.equal(one[0][0], other[0][0])
        assert one[0][1]["vace_strength"] == other[0][1]["vace_strength"]
        assert one[0][1]["vace_frames"][0].std() > 0.001
        for key in ("vace_frames", "vace_mask"):
            (mine,), (its,) = one[0][1][key], other[0][1][key]
            assert mine.shape == its.shape and mine.dtype == its.dtype
            assert torch.equal(mine, its), float((mine - its).abs().max())


def test_a_video_in_a_file_has_the_values_of_its_frames(vae, tmp_path):
    video = LongVideo(open_clip(save_video(tmp_path / "clip.mp4", VIDEO[:, :, :48], 16, crf=5)))
    made = ours(vae, length=13, fill_masked=False, control_video=video, control_masks=MASKS)
    wanted = cores(vae, 13, control_video=video.get_components().images, control_masks=MASKS)
    for key in ("vace_frames", "vace_mask"):
        assert torch.equal(made[0][0][1][key][0], wanted[0][0][1][key][0])
    assert ours(vae, control_video=video)[2]["samples"].shape[2] == 4  # its own length: 13 frames


def test_a_large_mask_lies_in_a_file(vae, monkeypatch):
    monkeypatch.setattr(memory_mapped, "MAPPED_FROM", 1)
    given = {"control_video": VIDEO, "control_masks": MASKS, "reference_image": IMAGE}
    made, wanted = ours(vae, length=13, fill_masked=False, **given), cores(vae, 13, **given)
    assert torch.equal(made[0][0][1]["vace_mask"][0], wanted[0][0][1]["vace_mask"][0])


def test_filling_hides_what_is_masked(vae):
    masks = torch.zeros(13, 32, 48)
    masks[:, 8:24, 10:30] = 1
    video = VIDEO[:, :32, :48]
    hidden = torch.where(masks[..., None] > 0, 1 - video, video)  # another video inside, the same outside

    def frames(node, **options):
        return node(vae, **options)[0][0][1]["vace_frames"][0]

    one, other = (frames(ours, control_video=each, control_masks=masks) for each in (video, hidden))
    assert torch.equal(one, other)
    shown, changed = (
        frames(ours, control_video=each, control_masks=masks, fill_masked=False) for each in (video, hidden)
    )
    assert not torch.equal(shown, changed) and not torch.equal(shown, one)
    grey = torch.where(masks[..., None] > 0, 0.5, video)
    assert torch.allclose(one, frames(cores, length=13, control_video=grey, control_masks=masks), atol=1e-7)
    # Without masks everything is masked, and nothing is filled: that is a control video.
    plain = frames(ours, control_video=video)
    assert torch.equal(plain, frames(cores, length=13, control_video=video)) and not torch.equal(plain, shown)


def test_a_single_mask_holds_where_it_is_filled_in(vae):
    mask = torch.zeros(1, 32, 48)
    mask[:, 8:24, 10:30] = 1
    video = VIDEO[:, :32, :48]
    one, many = (ours(vae, control_video=video, control_masks=each) for each in (mask, mask.expand(13, -1, -1)))
    for key in ("vace_frames", "vace_mask"):
        assert torch.equal(one[0][0][1][key][0], many[0][0][1][key][0])


def test_the_length_is_the_video_s_or_the_masks():
    vae = streaming.wan_vae()
    assert ours(vae, control_video=VIDEO[:12])[2]["samples"].shape == (1, 16, 3, 4, 6)  # 9 frames
    assert ours(vae, control_masks=MASKS[:9])[2]["samples"].shape == (1, 16, 3, 4, 6)
    assert ours(vae, control_video=VIDEO, length=5)[2]["samples"].shape == (1, 16, 2, 4, 6)


@pytest.mark.parametrize("cut", [10, 11, 12])
@pytest.mark.parametrize("fill", [True, False])
def test_an_edit_reaches_the_last_frame_of_a_video_that_does_not_fill_its_latent_frames(cut, fill):
    """The last frame and its mask are repeated."""
    vae, repeated = streaming.wan_vae(), [min(frame, cut - 1) for frame in range(13)]
    given = {"control_video": VIDEO, "control_masks": MASKS}
    for keys in (("control_video", "control_masks"), ("control_masks",)):
        made = ours(vae, fill_masked=fill, **{key: given[key][:cut] for key in keys})
        wanted = ours(vae, fill_masked=fill, **{key: given[key][repeated] for key in keys})
        for key in ("vace_frames", "vace_mask"):
            assert torch.equal(made[0][0][1][key][0], wanted[0][0][1][key][0])
        assert made[2]["samples"].shape == (1, 16, 4, 4, 6)


def test_controls_are_chained(vae):
    first = ours(vae, control_video=VIDEO, strength=0.25)
    second = ours(vae, conds=first[:2], control_masks=MASKS, length=13)
    values = second[0][0][1]
    assert values["vace_strength"] == [0.25, 1.0] and len(values["vace_frames"]) == len(values["vace_mask"]) == 2
    assert torch.equal(values["vace_frames"][0], first[0][0][1]["vace_frames"][0])


@pytest.mark.parametrize(("options", "words"), [
    ({}, "length is 0 and there is no control_video"),
    ({"width": 40, "length": 5}, "width is 40 pixels; it must be a multiple of 16. Use 32"),
    ({"height": 8, "length": 5}, "height is 8; it must be 16 to 16384"),
    ({"length": -1}, "length is -1; it must be 0 to "),
    ({"control_masks": MASKS[:5], "control_video": VIDEO}, "control_masks has 5 frames, and 13 frames of control"),
    ({"control_masks": MASKS[..., None]}, r"control_masks has the shape \(13, 40, 60, 1\); it must be masks"),
    ({"control_video": VIDEO[..., 0]}, "control_video has the shape"),
    ({"reference_image": IMAGE[:0], "length": 5}, "reference_image has no frames"),
])  # fmt: skip
def test_mistakes_are_said_before_anything_is_encoded(vae, monkeypatch, options, words):
    monkeypatch.setattr(conditioning, "encode_pieces", lambda *_: pytest.fail("it is encoded"))
    with pytest.raises(ValueError, match=f"LongVaceConditioning: {words}"):
        ours(vae, **options)


def test_another_vae_is_refused():
    from video_files import image_vae, wan22_vae

    with pytest.raises(ValueError, match=r"latents of 48 channels for 16 x 16 pixels.*Connect Wan 2.1's VAE"):
        ours(wan22_vae(), length=5)
    with pytest.raises(ValueError, match=r"Wan 2\.1's VAE"):
        ours(image_vae(), length=5)
