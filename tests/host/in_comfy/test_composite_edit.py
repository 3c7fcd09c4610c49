"""CompositeEdit: what is the original's stays so, for frames, for videos in files and in memory, and for latents."""

import fractions

import pytest
import streaming
import torch
from comfy_api.latest import InputImpl, Types
from long_video_pack.glv_core.editing.composite import composite
from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
from long_video_pack.glv_core.video_io import open_clip, save_video
from long_video_pack.nodes.composite_edit import CompositeEdit
from long_video_pack.nodes.encode_long_video import EncodeLongVideo
from long_video_pack.nodes.save_long_video import SaveLongVideo
from video_files import execute

pytestmark = pytest.mark.every_host


def random(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_video(tmp_path_factory.mktemp("clip") / "clip.mp4", random(40, 32, 48, 3, seed=1), 20, crf=5)


def box(count, height=32, width=48):
    mask = torch.zeros(count, height, width)
    mask[:, 8:20, 10:30] = 1
    return mask


def edit(original, edited, mask, **options):
    return CompositeEdit.execute(original, edited, mask, **{"grow": 0, "feather": 0, **options}).args


def test_frames_give_frames_with_the_original_s_bits_outside():
    original, edited, mask = random(20, 32, 48, 3, seed=2), random(20, 32, 48, 3, seed=3), box(20)
    blocked, result = edit(original, edited, mask)
    assert blocked.message == "CompositeEdit: original is frames. Use its output images."
    inside = mask[..., None] > 0
    assert torch.equal(result, torch.where(inside, edited, original))
    soft = edit(original, edited, mask, grow=2, feather=3)[1]
    changed = (soft != original).any(-1)
    assert not changed[:, :3].any() and not changed[:, 25:].any() and not changed[:, :, 35:].any()
    assert changed[:, 4:24].any() and changed.sum() > mask.sum() * 1.2


def test_a_video_in_a_file_is_composed_when_it_is_read(path):
    video, blocked = edit(LongVideo(open_clip(path)), random(40, 32, 48, 3, seed=3), box(40))
    assert blocked.message == "CompositeEdit: original is a VIDEO. Use its output video."
    original = torch.cat(list(open_clip(path).frames()))
    made = torch.cat(list(video.clip.frames()))
    outside = box(40)[..., None] == 0
    assert made.dtype == torch.uint8 and torch.equal(made * outside, original * outside)
    assert (made != original).any()
    # Every node reads it: the host's own, and those of this pack; a file has the same frames.
    components = video.get_components()
    assert torch.equal((components.images * 255).round().to(torch.uint8), made)
    assert components.frame_rate == 20
    written = execute(SaveLongVideo, video=video, filename_prefix="composite", crf=0, format="mkv").args[0]
    again = torch.cat(list(open_clip(written.get_stream_source()).frames()))
    assert again.shape == made.shape and (again.float() - made.float()).abs().mean() < 25  # yuv420p of noise
    latent, length = execute(EncodeLongVideo, video=video, vae=streaming.wan_vae(), width=0, height=0).args
    whole = streaming.wan_vae().encode(components.images[:37])
    assert length == 37 and torch.allclose(latent["samples"], whole, atol=1e-5)
    if hasattr(InputImpl.VideoFromFile, "as_trimmed"):
        part = video.as_trimmed(0.5, 0.5)
        assert torch.equal(torch.cat(list(part.clip.frames())), made[10:20])


def test_a_video_of_the_host_s_own_loader_and_one_in_memory(path):
    edited = LongVideo(open_clip(path))
    loaded, _ = edit(InputImpl.VideoFromFile(str(path)), random(40, 32, 48, 3, seed=3), box(1))
    assert loaded.get_frame_count() == 40
    images = random(30, 32, 48, 3, seed=4)
    held = InputImpl.VideoFromComponents(
        Types.VideoComponents(images=images, audio=None, frame_rate=fractions.Fraction(12))
    )
    video, _ = edit(held, edited, box(1))
    components = video.get_components()
    outside = box(1)[..., None] == 0
    assert torch.equal(components.images * outside, images * outside) and components.frame_rate == 12
    inside = torch.cat(list(open_clip(path).frames(deep=True)))[:30]
    assert torch.equal(components.images * ~outside, inside * ~outside)


def test_a_latent_is_decoded_as_it_is_needed(path):
    vae, samples = streaming.wan_vae(), random(1, 16, 6, 4, 6, seed=5)
    video, _ = edit(LongVideo(open_clip(path)), {"samples": samples}, box(1), vae=vae)
    original = torch.cat(list(open_clip(path).frames()))
    made = torch.cat(list(video.clip.frames()))
    wanted = composite(original[:21], vae.decode(samples)[0], box(1))
    assert torch.equal(made[:21], wanted) and torch.equal(made[21:], original[21:])
    frames = original.float() / 255
    assert torch.equal(edit(frames, {"samples": samples}, box(21), vae=vae)[1][21:], frames[21:])


def test_an_edit_of_the_middle_lies_in_the_middle(path):
    video, _ = edit(LongVideo(open_clip(path)), torch.ones(40, 16, 16, 3), torch.ones(1, 32, 48))
    made, original = torch.cat(list(video.clip.frames())), torch.cat(list(open_clip(path).frames()))
    assert torch.equal(made[:, :, :8], original[:, :, :8]) and torch.equal(made[:, :, 40:], original[:, :, 40:])
    assert (made[:, :, 8:40] == 255).all()


@pytest.mark.parametrize(("arguments", "words"), [
    ({"mask": torch.ones(7, 8, 8)}, "mask has 7 frames, and 9 frames are edited. Connect a mask for each of them"),
    ({"mask": torch.ones(9, 8, 8, 3)}, r"mask has the shape \(9, 8, 8, 3\)"),
    ({"feather": -1}, "feather is -1"),
    ({"edited": {"samples": torch.zeros(1, 16, 3, 1, 1)}}, "no vae is connected"),
    ({"edited": {"samples": torch.zeros(2, 16, 3, 1, 1)}, "vae": True}, "edited holds 2 videos"),
    ({"edited": torch.zeros(0, 8, 8, 3)}, "edited has no frames"),
    ({"original": torch.zeros(9, 8, 8)}, "original has the shape"),
])  # fmt: skip
def test_mistakes_are_named(arguments, words):
    given = {"original": torch.zeros(12, 8, 8, 3), "edited": torch.zeros(9, 8, 8, 3), "mask": torch.ones(1, 8, 8)}
    with pytest.raises(ValueError, match=f"CompositeEdit: .*{words}"):
        edit(**{**given, **arguments})


def test_colours_of_another_space_are_refused(path, tmp_path):
    deep = save_video(
        tmp_path / "hdr.mp4", random(10, 64, 96, 3, seed=1), 20, codec="h265", pixel_format="yuv420p10le",
        color_space="HDR",
    )  # fmt: skip
    with pytest.raises(ValueError, match="original is HDR and edited sRGB"):
        edit(LongVideo(open_clip(deep)), LongVideo(open_clip(path)), box(1))
    video, _ = edit(LongVideo(open_clip(deep)), LongVideo(open_clip(deep)), box(1))
    assert video.get_color_space() == "HDR" and video.get_bit_depth() == 10
    whole = torch.cat(list(open_clip(deep).frames(deep=True)))
    assert torch.equal(torch.cat(list(video.clip.frames(deep=True))), whole)  # all bits
