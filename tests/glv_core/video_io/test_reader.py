"""Reading parts of video files a few frames at a time."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from glv_core.video_io import Waveform, open_clip, save_video


def numbered(count: int, size: int = 32) -> torch.Tensor:
    """Frames that carry their number in the brightness of eight blocks."""
    frames = torch.zeros(count, size, size, 3)
    block = size // 8
    for number in range(count):
        for bit in range(8):
            if number >> bit & 1:
                frames[number, :, bit * block : (bit + 1) * block] = 1.0
    return frames


def read_numbers(frames: torch.Tensor) -> list[int]:
    block = frames.shape[2] // 8
    blocks = frames.float().mean(dim=(1, 3)).reshape(len(frames), 8, block).mean(dim=2)
    return [sum(int(value > 127) << bit for bit, value in enumerate(row)) for row in blocks]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_video(tmp_path_factory.mktemp("clips") / "a.mp4", numbered(100), 20, crf=5)


def numbers(clip, **options) -> list[int]:
    return [number for part in clip.frames(**options) for number in read_numbers(part)]


def test_a_whole_file(path):
    clip = open_clip(path)
    assert (clip.width, clip.height, clip.fps, clip.num_frames) == (32, 32, 20, 100)
    assert clip.seconds == 5
    assert not clip.has_audio
    assert clip.audio() is None
    assert numbers(clip) == list(range(100))


def test_pieces_are_as_long_as_asked(path):
    assert [len(part) for part in open_clip(path).frames(batch=30)] == [30, 30, 30, 10]


@pytest.mark.parametrize("start", [0.0, 0.05, 1.0, 2.5, 4.95])
@pytest.mark.parametrize("count", [1, 7, None])
def test_trimming_is_exact_to_the_frame(path, start, count):
    clip = open_clip(path).trimmed(start, count)
    first = round(start * 20)
    expected = list(range(first, 100 if count is None else min(100, first + count)))
    assert numbers(clip) == expected
    assert clip.num_frames == len(expected)


@pytest.mark.parametrize("fps", [5, 10, 40, 24, 12.5])
def test_another_rate_shows_what_the_file_shows_then(path, fps):
    clip = open_clip(path).trimmed(1.0, None, fps)
    assert clip.num_frames == round(4 * fps)
    assert numbers(clip) == [int((1.0 + k / fps) * 20 + 1e-3) for k in range(clip.num_frames)]


def test_a_part_of_a_part(path):
    clip = open_clip(path).trimmed(1.0, 40).trimmed(0.5, 10)
    assert numbers(clip) == list(range(30, 40))


def test_uneven_frames_are_shown_as_long_as_they_last(tmp_path):
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width = stream.height = 32
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time in zip((numbered(4) * 255).byte().numpy(), (0, 100, 500, 600), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clip = open_clip(path).trimmed(0.0, 7, 10)
    assert numbers(clip) == [0, 1, 1, 1, 1, 2, 3]


def test_only_a_few_frames_are_decoded_for_a_late_part(path, monkeypatch):
    """A seek, not a decode of all that comes before: counted in images made."""
    from glv_core.video_io import reader

    made = []
    original = reader.image_of
    monkeypatch.setattr(reader, "image_of", lambda frame, *rest: made.append(frame.pts) or original(frame, *rest))
    assert numbers(open_clip(path).trimmed(4.5, 3)) == [90, 91, 92]
    assert len(made) == 3


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("fragmented.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("stream.ts", "libx264", {}),
        ("old.mpg", "mpeg2video", {}),
        ("old.flv", "libx264", {}),
    ],
)
def test_files_that_are_sought_coarsely(tmp_path, name, codec, options):
    """Such files may lead past the frame that is sought; the right one comes all the same."""
    path = tmp_path / name
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25, options={"g": "12", "bf": "2"})
        stream.width = stream.height = 64
        stream.bit_rate = 2_000_000
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate((numbered(60, 64) * 255).byte().numpy()):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = numbers(open_clip(path))
    assert whole[:40] == list(range(40))
    for start in (1, 5, 11, 35, 47, 55):
        assert numbers(open_clip(path).trimmed(start / 25, 2)) == whole[start : start + 2]


def test_time_stamps_that_jitter_lose_no_frame(tmp_path):
    path = tmp_path / "jitter.mkv"
    chance = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "5"})
        stream.width = stream.height = 32
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate((numbered(90) * 255).byte().numpy()):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = round(number * 1000 / 30) + (int(chance.integers(-9, 10)) if number else 0)
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert numbers(open_clip(path).trimmed(0.0, 90)) == list(range(90))


def test_a_hole_in_the_sound_is_silence(tmp_path):
    """Sound from 0 to 1 s and from 2 s on: what begins at 2 s is heard at 2 s."""
    path, rate = tmp_path / "hole.mkv", 16000
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width = video.height = 32
        sound = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for number, image in enumerate((numbered(30) * 255).byte().numpy()):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for start in (*range(0, rate, 1600), *range(2 * rate, 3 * rate, 1600)):
            block = np.full((1, 1600), 16000, dtype=np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    heard = np.concatenate(list(open_clip(path).audio().blocks()), axis=1)[0]
    assert len(heard) == 3 * rate
    loud = np.abs(heard) > 0.2
    assert loud[: rate - 800].all()
    assert not loud[rate + 800 : 2 * rate - 800].any()
    assert loud[2 * rate + 800 :].all()


def test_a_file_that_is_no_video_is_an_os_error(tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(OSError, match="no video that can be read"):
        open_clip(tmp_path / "bad.mp4")


def test_mistakes_are_named(path, tmp_path):
    clip = open_clip(path)
    for arguments, words in (
        ((6.0,), "nothing is left"),
        ((-1.0,), "start is -1"),
        ((0.0, 0), "length is 0"),
        ((0.0, 1, -3), "fps is -3"),
    ):
        with pytest.raises(ValueError, match=words):
            clip.trimmed(*arguments)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(OSError, match="holds no video"):
        open_clip(sound)
    with pytest.raises(OSError):
        open_clip(tmp_path / "missing.mp4")


def test_sound_begins_and_ends_with_the_part(tmp_path):
    """A click every half second, in a file of 4 seconds: the part from 1.25 s on has its first click at 0.25 s."""
    rate = 16000
    waveform = torch.zeros(1, 4 * rate)
    for click in range(8):
        waveform[0, click * rate // 2 : click * rate // 2 + 40] = 0.9
    path = save_video(tmp_path / "a.mp4", numbered(80), 20, audio=Waveform(waveform, rate))
    sound = open_clip(path).trimmed(1.25, 20).audio()
    heard = np.concatenate(list(sound.blocks()), axis=1)[0]
    assert heard.shape == (rate,)
    clicks = np.flatnonzero(np.abs(heard) > 0.3)
    assert abs(clicks[0] / rate - 0.25) < 0.005
    assert abs(clicks[clicks > 0.5 * rate][0] / rate - 0.75) < 0.005


@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [
        (0.0, None, range(100)),
        (1.0, 0.5, range(20, 30)),
        (1.01, 0.5, range(21, 31)),  # the first that begins in the part, and the last that begins before its end
        (1.05, 0.05, range(21, 22)),
        (0.15, 0.3, range(3, 9)),  # 0.15 + 0.3 is a hair below 0.45
        (4.0, 9.0, range(80, 100)),
        (-0.1, 0.2, range(2)),
        (1.0, 0.0, range(20, 100)),
    ],
)
def test_a_cut_keeps_the_frames_that_begin_in_it(path, start, duration, expected):
    clip = open_clip(path).cut(start, duration)
    assert clip.num_frames == len(expected)
    assert numbers(clip) == list(expected)
    assert clip.seconds == pytest.approx(len(expected) / 20)


@pytest.mark.parametrize(("name", "rate"), [("a.mp4", Fraction(24000, 1001)), ("a.mkv", Fraction(30000, 1001))])
def test_a_cut_is_exact_at_every_frame(tmp_path, name, rate):
    """From each time stamp of the file, which Matroska rounds to milliseconds, and from each time in a cut."""
    clip = open_clip(save_video(tmp_path / name, numbered(60), float(rate), crf=10))
    assert clip.fps == rate
    for first in range(58):
        last = min(first + 9, 59)
        part = clip.cut(clip.times[first], clip.times[last] - clip.times[first] + 0.5 / float(rate))
        assert list(part.source_frames()) == list(range(first, last + 1))
        assert next(part.cut(float(1 / rate)).source_frames()) == first + 1


def test_a_cut_at_another_rate_counts_its_own_frames(path):
    clip = open_clip(path).trimmed(1.0, 20, 10)
    assert numbers(clip.cut(0.25, 0.5)) == [26, 28, 30, 32, 34]
    assert not clip.is_whole


def test_only_all_of_a_file_is_whole(path):
    clip = open_clip(path)
    assert clip.is_whole and clip.cut().is_whole and clip.cut(0.0, 9.0).is_whole and clip.trimmed().is_whole
    for part in (clip.cut(0.05), clip.cut(0.0, 4.9), clip.trimmed(0.0, None, 10), clip.trimmed(0.0, 99)):
        assert not part.is_whole


def test_a_cut_of_nothing_is_named(path):
    clip = open_clip(path)
    for arguments, words in (
        ((5.0,), "from 5 seconds to its end has no frame; the video is 5 seconds long"),
        ((1.01, 0.02), "from 1.01 seconds to 1.03 seconds has no frame"),
        ((-3.0, 1.0), "has no frame"),
        ((0.0, -1.0), "duration is -1"),
        ((0.0, float("nan")), "duration is nan"),
    ):
        with pytest.raises(ValueError, match=words):
            clip.cut(*arguments)


def test_sound_begins_with_the_first_frame_of_a_cut(tmp_path):
    rate = 16000
    waveform = torch.zeros(1, 4 * rate)
    waveform[0, int(1.5 * rate) : int(1.5 * rate) + 40] = 0.9
    path = save_video(tmp_path / "a.mp4", numbered(80), 20, audio=Waveform(waveform, rate))
    clip = open_clip(path).cut(1.23, 1.0)
    heard = np.concatenate(list(clip.audio().blocks()), axis=1)[0]
    assert heard.shape == (rate,)
    assert numbers(clip)[0] == 25
    assert np.flatnonzero(np.abs(heard) > 0.3)[0] / rate == pytest.approx(0.25, abs=0.005)


def flat(path, colour, pixels, tags, matrix, full) -> None:
    """A file of one colour, its numbers of yuv worked out here."""
    red, green, blue = colour
    share_red, share_blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    light = share_red * red + (1 - share_red - share_blue) * green + share_blue * blue
    u, v = (blue - light) / (2 - 2 * share_blue), (red - light) / (2 - 2 * share_red)
    scale = 4 if "10" in pixels else 1
    levels = [light * 255, u * 255 + 128, v * 255 + 128] if full else [light * 219 + 16, u * 224 + 128, v * 224 + 128]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "0"})
        stream.width = stream.height = 64
        stream.pix_fmt = pixels
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = tags
        context.color_range = 2 if full else 1
        frame = av.VideoFrame(64, 64, pixels)
        for plane, level in zip(frame.planes, levels, strict=True):
            kind = np.uint16 if scale == 4 else np.uint8
            count = plane.buffer_size // np.dtype(kind).itemsize
            plane.update(np.full(count, round(level * scale), kind).tobytes())
        for number in range(2):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("tags", "matrix", "space"),
    [
        ((1, 1, 1), 1, "sRGB"),
        ((1, 13, 1), 1, "sRGB"),
        ((9, 18, 9), 9, "HDR"),
        ((9, 16, 9), 9, "HDR PQ"),
        ((9, 18, 2), 9, "HDR"),  # its matrix is not told: that of its space
        ((2, 2, 9), 9, ""),
        ((2, 2, 2), 5, ""),
    ],
)
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le"])
def test_images_have_their_own_matrix_and_range(tmp_path, tags, matrix, space, full, pixels):
    colour = (0.8, 0.3, 0.2)
    flat(tmp_path / "a.mkv", colour, pixels, tags, matrix, full)
    clip = open_clip(tmp_path / "a.mkv")
    assert (clip.color_space, clip.bit_depth) == (space, 10 if "10" in pixels else 8)
    for deep in (False, True):
        read = next(clip.frames(deep=deep))
        assert read.dtype == (torch.float32 if deep else torch.uint8)
        read = read.float() / (1 if deep else 255)
        assert (read - torch.tensor(colour)).abs().max() < 0.015


def test_deep_frames_have_what_eight_bits_round_away(tmp_path):
    ramp = torch.linspace(0.4, 0.42, 192).view(1, 1, 192, 1).expand(2, 128, 192, 3)
    path = save_video(tmp_path / "a.mp4", ramp, 8, codec="h265", crf=0, pixel_format="yuv444p10le")
    clip = open_clip(path)
    assert (clip.bit_depth, clip.color_space) == (10, "sRGB")
    read = torch.cat(list(clip.frames(deep=True)))
    assert (read - ramp).abs().max() < 0.0018  # eight bits are up to 0.002 off
    assert len(read[0, 5, :, 0].unique()) > 12
    assert len(next(clip.frames()).unique()) <= 7


def test_deep_frames_of_eight_bits_are_the_same_frames(path):
    clip = open_clip(path).cut(0.0, 0.2)
    assert torch.equal(torch.cat(list(clip.frames(deep=True))), torch.cat(list(clip.frames())).float() / 255)
