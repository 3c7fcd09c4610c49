"""Containers, codecs and pixel formats, and sound in step with the image."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch
from PIL import Image

from glv_core.video_io import CONTAINERS, VideoFormat, Waveform, open_clip, read_audio, save_images, save_video

RATE = 16000


def rand(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def frames(count: int = 12) -> torch.Tensor:
    levels = torch.linspace(0.1, 0.9, count).view(-1, 1, 1, 1)
    return levels.expand(-1, 64, 96, 3).contiguous()


def clicks(seconds: float, every: float = 0.5, channels: int = 1) -> torch.Tensor:
    waveform = torch.zeros(channels, int(seconds * RATE))
    for number in range(int(seconds / every)):
        at = int(number * every * RATE)
        waveform[:, at : at + 40] = 0.9
    return waveform


def times_of_clicks(waveform: torch.Tensor, rate: int) -> list[float]:
    loud = np.flatnonzero(waveform.abs().amax(dim=0).numpy() > 0.3)
    starts = loud[np.diff(loud, prepend=-rate) > rate // 20]
    return (starts / rate).tolist()


@pytest.mark.parametrize(("container", "codec"), [(c, codec) for c, codecs in CONTAINERS.items() for codec in codecs])
def test_every_combination_plays(tmp_path, container, codec):
    path = save_video(
        tmp_path / f"a.{container}", frames(), 12, codec=codec, crf=10, audio=Waveform(clicks(2.0), RATE),
        metadata={"prompt": {"1": "x"}},
    )  # fmt: skip
    clip = open_clip(path)
    assert (clip.num_frames, float(clip.fps), clip.width, clip.height) == (12, 12.0, 96, 64)
    read = torch.cat(list(clip.frames())).float().mean(dim=(1, 2, 3)) / 255
    assert (read - frames()[:, 0, 0, 0]).abs().max() < 0.03
    with av.open(str(path)) as opened:
        name = {"h264": "h264", "h265": "hevc", "av1": "av1", "vp9": "vp9"}[codec]
        assert opened.streams.video[0].codec_context.codec.canonical_name in (name, "libdav1d", "av1")
        stored = {key.lower(): value for key, value in opened.metadata.items()}
    assert json.loads(stored["prompt"]) == {"1": "x"}
    sound = clip.audio()
    heard = times_of_clicks(read_audio(sound), sound.sample_rate)
    assert heard == pytest.approx([0.0, 0.5], abs=0.01)  # one second of image: the rest is cut


def test_sound_stays_in_step_over_minutes(tmp_path):
    path = save_video(tmp_path / "a.mp4", (frames(12) for _ in range(200)), 24, audio=Waveform(clicks(110.0), RATE))
    sound = open_clip(path).audio()
    heard = times_of_clicks(read_audio(sound), sound.sample_rate)
    assert len(heard) == 200
    assert max(abs(time - number / 2) for number, time in enumerate(heard)) < 1 / 24


def test_sound_shorter_than_the_image_ends_early(tmp_path):
    path = save_video(tmp_path / "a.mp4", frames(), 6, audio=Waveform(clicks(1.0), RATE))
    assert open_clip(path).num_frames == 12
    assert read_audio(open_clip(path).audio()).shape[1] == pytest.approx(RATE, abs=2048)


def test_ten_bits_keep_what_eight_round_away(tmp_path):
    ramp = torch.linspace(0.4, 0.42, 96).view(1, 1, 96, 1).expand(2, 64, 96, 3)
    path = save_video(tmp_path / "a.mp4", ramp, 8, codec="h265", crf=0, pixel_format="yuv444p10le")
    with av.open(str(path)) as opened:
        frame = next(opened.decode(opened.streams.video[0]))
        assert frame.format.name == "yuv444p10le"
        levels = len(np.unique(frame.to_ndarray(format="rgb48le")[0]))
    assert levels > 12  # in eight bits these grays are five or six


COLOURED = [
    ("sRGB", (1, 1, 1), "yuv420p"), ("sRGB", (1, 1, 1), "yuv444p10le"), ("HDR", (9, 18, 9), "yuv422p10le"),
    ("HDR PQ", (9, 16, 9), "yuv420p10le"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "tags", "pixels"), COLOURED)
@pytest.mark.parametrize(
    ("container", "codec"), [(c, codec) for c, codecs in CONTAINERS.items() for codec in codecs if codec != "vp9"]
)
def test_a_colour_space_is_told_and_its_matrix_used(tmp_path, container, codec, space, tags, pixels):
    if codec == "av1" and not pixels.startswith("yuv420p"):
        pixels = "yuv420p10le"
    colour = torch.tensor([0.8, 0.3, 0.2])
    path = save_video(
        tmp_path / f"a.{container}", colour.expand(3, 64, 96, 3), 12, codec=codec, crf=8.5, pixel_format=pixels,
        color_space=space,
    )  # fmt: skip
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        context = stream.codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace) == tags
        assert (context.color_range, context.pix_fmt) == (1, pixels)
        planes = next(opened.decode(stream)).planes
        kind = np.uint16 if "10" in pixels else np.uint8
        levels = [np.frombuffer(plane, kind)[0] / (4 if "10" in pixels else 1) for plane in planes]
    share_red, share_blue = (0.2126, 0.0722) if tags[2] == 1 else (0.2627, 0.0593)
    light = share_red * 0.8 + (1 - share_red - share_blue) * 0.3 + share_blue * 0.2
    u, v = (0.2 - light) / (2 - 2 * share_blue), (0.8 - light) / (2 - 2 * share_red)
    assert levels == pytest.approx([16 + 219 * light, 128 + 224 * u, 128 + 224 * v], abs=1.1)
    clip = open_clip(path)
    assert clip.color_space == space
    assert (next(clip.frames(deep=True)) - colour).abs().max() < 0.015


def test_the_container_may_be_another_than_the_name_says(tmp_path):
    path = save_video(tmp_path / "a.video", frames(), 12, container="mkv")
    assert [each.name for each in tmp_path.iterdir()] == ["a.video"]
    with av.open(str(path)) as opened:
        assert "matroska" in opened.format.name


def test_quality_may_have_a_fraction(tmp_path):
    noise = torch.rand(6, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    sizes = [save_video(tmp_path / f"{crf}.mp4", noise, 8, crf=crf).stat().st_size for crf in (20, 20.5, 21)]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("rate", [6000, 37800, 192000])
@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_sound_of_any_rate_is_resampled_to_one_the_encoder_knows(tmp_path, rate, container):
    waveform = torch.sin(torch.arange(rate) / rate * 440 * 2 * torch.pi)[None] * 0.5
    path = save_video(tmp_path / f"a.{container}", frames(), 12, audio=Waveform(waveform, rate))
    sound = open_clip(path).audio()
    heard = read_audio(sound)[0]
    assert len(heard) / sound.sample_rate == pytest.approx(1.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(heard[: sound.sample_rate // 2].numpy()))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=6)


def test_no_sound_at_all_is_no_mistake(tmp_path):
    path = save_video(tmp_path / "a.mp4", frames(), 12, audio=Waveform(torch.zeros(1, 0), RATE))
    assert open_clip(path).num_frames == 12


def test_speech_in_the_middle_of_six_channels_is_heard(tmp_path):
    surround = torch.zeros(6, RATE)
    surround[2] = clicks(1.0)[0]
    sound = open_clip(save_video(tmp_path / "a.mp4", frames(), 12, audio=Waveform(surround, RATE))).audio()
    heard = read_audio(sound)
    assert sound.channels == 6
    assert heard.abs().amax(dim=1).argmax() == 2
    mixed = read_audio(sound, mix=True)
    assert mixed.shape[0] == 2
    assert mixed.abs().amax(dim=1).min() > 0.1


def test_stereo_and_mono(tmp_path):
    stereo = clicks(1.0, channels=2)
    stereo[1] = 0
    sound = open_clip(save_video(tmp_path / "a.mp4", frames(), 12, audio=Waveform(stereo[None], RATE))).audio()
    assert sound.channels == 2
    heard = read_audio(sound).abs().amax(dim=1)
    assert heard[0] > 0.5 > 0.1 > heard[1]


def test_images_are_exact_and_carry_workflow_and_sound(tmp_path):
    made = rand(3, 15, 17, 3)
    paths = save_images(tmp_path / "a", made, 6, audio=Waveform(clicks(2.0), RATE), metadata={"workflow": {"n": [1]}})
    assert [path.name for path in paths] == ["000000.png", "000001.png", "000002.png"]
    for path, image in zip(paths, made, strict=True):
        stored = torch.from_numpy(np.asarray(Image.open(path)).copy())
        assert torch.equal(stored, (image * 255).round().byte())
    assert json.loads(Image.open(paths[0]).text["workflow"]) == {"n": [1]}
    with av.open(str(tmp_path / "a" / "audio.wav")) as opened:
        stream = opened.streams.audio[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("frames", "fps", "samples"), [(5, 24, 6667), (7, 24, 9333), (2, 23.976, 2669)])
def test_sound_ends_with_the_video_to_the_nearest_sample(tmp_path, frames, fps, samples):
    save_images(tmp_path, rand(frames, 2, 2, 3), fps, audio=Waveform(torch.ones(1, 20_000), 32_000))
    with av.open(str(tmp_path / "audio.wav")) as opened:
        assert opened.streams.audio[0].duration == samples


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"container": "gif"}, "Unknown video format 'gif'"),
        ({"container": "webm", "codec": "h264"}, "webm cannot hold"),
        ({"codec": "h264", "crf": 60}, "crf is 60"),
        ({"codec": "av1", "pixel_format": "yuv444p"}, "av1 cannot store yuv444p"),
        ({"crf": float("nan")}, "crf is nan"),
        ({"crf": "18"}, "crf is 18; for h264 it must be"),
        ({"color_space": "P3"}, "color_space is 'P3'. Known: sRGB, HDR, HDR PQ"),
        ({"color_space": "HDR"}, "HDR, which needs 10 bits, and pixel_format is yuv420p. Use yuv420p10le"),
    ],
)
def test_what_does_not_go_together_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        VideoFormat(**options)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_h265_of_few_images(tmp_path, count):
    """Of fewer than three x265 leaves the times of decoding to chance, to what lies in memory, which mp4 refuses."""
    for number in range(10):
        used = [np.random.default_rng(number).bytes(size) for size in range(1000, 200_000, 1777)]
        del used
        path = save_video(
            tmp_path / f"{number}.mp4", rand(count, 128, 192, 3), 12, codec="h265", crf=0, pixel_format="yuv444p10le"
        )  # fmt: skip
        with av.open(str(path)) as opened:
            stamps = [packet.dts for packet in opened.demux(video=0) if packet.size]
        assert len(stamps) == count and all(abs(stamp) < 100_000 for stamp in stamps)


def test_images_too_small_for_the_codec_are_refused(tmp_path):
    with pytest.raises(ValueError, match="48 x 32; h265 needs 64 pixels a side"):
        save_video(tmp_path / "a.mp4", rand(3, 32, 48, 3), 8, codec="h265")
    assert list(tmp_path.iterdir()) == []


def test_bad_sound_is_named():
    with pytest.raises(ValueError, match="channels x samples"):
        Waveform(torch.zeros(2, 2, 5), RATE)
    with pytest.raises(ValueError, match="samples a second"):
        Waveform(torch.zeros(2, 5), 0)


def test_sides_that_no_file_holds_are_refused():
    VideoFormat("mp4", "h264", 18, "yuv420p").check_size(16384, 16)
    with pytest.raises(ValueError, match="17000 x 16; a video file holds at most 16384 pixels a side"):
        VideoFormat("mp4", "h264", 18, "yuv420p").check_size(17000, 16)


def test_images_of_no_numbers_are_not_written(tmp_path):
    images = torch.zeros(3, 16, 16, 3)
    images[1, 2, 3] = float("nan")
    with pytest.raises(ValueError, match=r"no numbers \(NaN or infinite\).*--fp32-vae"):
        save_video(tmp_path / "a.mp4", images, 8)
    assert not list(tmp_path.iterdir())
