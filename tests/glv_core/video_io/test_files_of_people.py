"""Files as phones, cameras, editors and broken downloads leave them, each with what is right of it."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
import video_corpus as corpus
from PIL import Image
from video_corpus import MILLI, RATE, clicks, numbers, picture, spoilt, tone, truncated, turned, write

from glv_core.video_io import (
    VideoFormat,
    Waveform,
    listening,
    open_clip,
    read_audio,
    save_images,
    save_video,
)


def read(path) -> list[int]:
    return numbers(open_clip(path).frames())


def all_of(count: int) -> list[int]:
    return list(range(count))


def told(path) -> str:
    """Everything that is said of a file, before and while it is read."""
    with listening() as notes:
        clip = open_clip(path)
        for _ in clip.frames():
            pass
        for _ in clip.audio().blocks() if clip.has_audio else ():
            pass
    return " | ".join([*clip.notes, *notes])


def heard(path) -> list[float]:
    """When clicks begin, in seconds."""
    sound = open_clip(path).audio()
    loud = np.flatnonzero(read_audio(sound).abs().amax(dim=0).numpy() > 0.3)
    return (loud[np.diff(loud, prepend=-RATE) > RATE // 20] / sound.sample_rate).tolist()


def ends_with_the_last(path) -> bool:
    """A part of the last three frames is the last three frames."""
    clip = open_clip(path)
    return numbers(clip.trimmed(float((clip.num_frames - 3) / clip.fps)).frames()) == read(path)[-3:]


# Counts and times


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_a_time_base_of_fields_is_no_rate(tmp_path, b_frames):
    """Frames at every second tick of an AVI: its header says 48 frames a second."""
    path = write(tmp_path / "h264.avi", times=range(0, 48, 2), time_base=Fraction(1, 48), bf=b_frames)
    clip = open_clip(path)
    assert (clip.num_frames, clip.fps, clip.notes) == (24, 24, ())
    assert read(path) == all_of(24)
    assert ends_with_the_last(path)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_reordered_frames_of_an_avi_come_in_order(tmp_path, codec):
    """AVI has no times of showing; the frames come as the decoder puts them."""
    path = write(tmp_path / "a.avi", 30, 30, codec=codec, bf="2")
    assert read(path) == all_of(30)
    assert open_clip(path).fps == 30


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.m4v", "mpeg4")])
def test_a_bare_stream_has_no_times_at_all(tmp_path, name, codec):
    path = write(tmp_path / name, 20, 10, codec=codec)
    assert read(path) == all_of(20)
    assert open_clip(path).fps == 10
    assert ends_with_the_last(path)


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_frames_before_zero_are_frames(tmp_path, b_frames):
    path = write(tmp_path / "a.mkv", 36, first=-12, muxer={"avoid_negative_ts": "disabled"}, bf=b_frames)
    clip = open_clip(path)
    assert (clip.num_frames, clip.fps) == (36, 24)
    assert read(path) == all_of(36)
    assert clip.first_time == pytest.approx(-0.5, abs=0.002)


def test_frames_before_zero_keep_their_sound(tmp_path):
    """Twelve frames before zero: the sound of zero is heard with the thirteenth."""
    path = write(tmp_path / "a.mkv", 48, first=-12, muxer={"avoid_negative_ts": "disabled"}, sound=clicks(1.5))
    with av.open(str(path)) as container:  # the file's own times, in which sound begins at zero
        first = next(container.decode(container.streams.audio[0])).time
    assert first == pytest.approx(0.0, abs=0.05)
    assert heard(path)[:3] == pytest.approx([0.5, 0.75, 1.0], abs=0.03)


def test_hundredths_of_a_gif_add_no_frame(tmp_path):
    """At 24 a second its pauses are 4, 4, 5, 4 hundredths, and its header says 25 frames a second."""
    path = write(tmp_path / "a.gif", 24, 24, codec="gif", pixels="rgb8")
    clip = open_clip(path)
    assert (clip.num_frames, read(path)) == (24, all_of(24))
    assert float(clip.fps) == pytest.approx(24, abs=0.1)


def uneven(count: int = 40, mean: float = 12.77) -> list[int]:
    """Times in milliseconds on a grid of 30 a second, of this mean rate, with images a thirtieth apart."""
    places = random.Random(3).sample(range(1, round((count - 1) / mean * 30)), count - 2)
    places = [0, *sorted(places), round((count - 1) / mean * 30)]
    assert min(b - a for a, b in pairwise(places)) == 1
    return [round(place * 1000 / 30) for place in places]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_no_image_of_an_uneven_file_is_lost(tmp_path, name):
    times = uneven()
    path = write(tmp_path / name, times=times, time_base=MILLI)
    clip, found = open_clip(path), read(path)
    assert sorted(set(found)) == all_of(40)
    assert found == sorted(found)
    for number, time in enumerate(times):
        assert found.index(number) / float(clip.fps) == pytest.approx(time / 1000, abs=0.5 / float(clip.fps) + 0.002)
    assert clip.fps == 30
    assert (
        f"has 40 images at uneven times; at 30 frames a second all are kept, some for several of its {len(found)}"
        in (told(path))
    )


def test_images_too_close_to_be_kept_are_counted(tmp_path):
    path = write(tmp_path / "a.mkv", rate=25, times=[0, 40, 80, 81, 120, 160, 200], time_base=MILLI)
    clip = open_clip(path)
    assert len(set(read(path))) == 6
    assert clip.notes[0].endswith("left out for want of a place at 25 frames a second: 1. At 1000 all are kept.")
    assert sorted(set(numbers(clip.trimmed(fps=1000).frames()))) == all_of(7)


def test_jitter_is_no_unevenness(tmp_path):
    """A phone's 29.86 frames a second, none later than a third of a frame."""
    chance = np.random.default_rng(0)
    times = [round(90000 * (number / 29.86 + (number > 0) * chance.uniform(-0.3, 0.3) / 30)) for number in range(60)]
    path = write(tmp_path / "a.mp4", times=times, time_base=Fraction(1, 90000), size=(64, 48))
    clip = open_clip(path)
    assert float(clip.fps) == pytest.approx(29.86, abs=0.3)
    assert (read(path), clip.notes) == (all_of(60), ())


def test_a_frame_can_last_long(tmp_path):
    """A recording of a screen on which nothing moves for ten seconds."""
    path = write(tmp_path / "a.mp4", times=[0, 1, 2, 3, 243], time_base=Fraction(1, 24))
    assert read(path) == [0, 1, 2, *[3] * 240, 4]


def test_two_frames_of_one_time_are_two(tmp_path):
    path = write(tmp_path / "a.mkv", times=[0, 40, 80, 80, 120, 160], time_base=MILLI, codec="ffv1")
    assert read(path) == all_of(6)


def test_a_browser_s_recording_has_no_rate(tmp_path):
    """Of a thousand frames a second, says its header; what it holds comes as it comes."""
    pauses = random.Random(5).choices([17, 25, 33, 42, 50, 67], k=39)
    times = [sum(pauses[:number]) for number in range(40)]
    path = write(tmp_path / "a.webm", times=times, time_base=MILLI, codec="libvpx", rate=1000, b="500k")
    clip, found = open_clip(path), read(path)
    assert sorted(set(found)) == all_of(40) and found == sorted(found)
    assert clip.fps <= 60 and clip.num_frames / float(clip.fps) == pytest.approx(times[-1] / 1000, abs=0.06)


@pytest.mark.parametrize("rate", [Fraction(1, 5), Fraction(24000, 1001), 240])
def test_rates_that_are_seldom_are_kept(tmp_path, rate):
    path = write(tmp_path / "a.mp4", 12, rate)
    assert (open_clip(path).fps, read(path), open_clip(path).notes) == (rate, all_of(12), ())


@pytest.mark.parametrize("name", ["a:b.mp4", "http:b.mp4", "-b.mp4", "b%03d.mp4"])
def test_a_name_is_a_name(tmp_path, monkeypatch, name):
    """Not a protocol, an option, or a pattern, even in the folder that one works in."""
    monkeypatch.chdir(tmp_path)
    path = save_video(name, np.stack([picture(number) for number in range(6)]), 24, audio=Waveform(
        torch.from_numpy(clicks(0.25)), RATE))  # fmt: skip
    assert read(name) == all_of(6) and path == tmp_path / name
    assert heard(name) == pytest.approx([0.0], abs=0.005)


# Files that are cut off or damaged


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {
        "mp4": write(folder / "a.mp4", 60, muxer={"movflags": "faststart"}, g="20", sound=clicks(2.5)),
        "silent": write(folder / "s.mp4", 60, muxer={"movflags": "faststart"}, g="20"),
        "mkv": write(folder / "a.mkv", 60, g="20", sound=clicks(2.5)),
        "webm": write(folder / "a.webm", 60, codec="libvpx-vp9", sound=clicks(2.5), sound_codec="libopus"),
        "avi": write(folder / "a.avi", 60, g="20", bf="0", sound=clicks(2.5), sound_codec="pcm_s16le"),
        "flv": write(folder / "a.flv", 60, g="20"),
        "ts": write(folder / "a.ts", 60, g="20", sound=clicks(2.5)),
        "fragments": write(
            folder / "f.mp4", 60, muxer={"movflags": "frag_keyframe+empty_moov"}, g="20", sound=clicks(2.5)
        ),
    }  # fmt: skip


def decodable(path) -> list[int]:
    """The numbers of the frames that come out of the decoder, by PyAV alone."""
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                break
            try:
                images += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.error.FFmpegError:
                continue
    return numbers(torch.from_numpy(np.stack(images)))


@pytest.mark.parametrize("share", [0.97, 0.8, 0.7])
@pytest.mark.parametrize("kind", ["mp4", "silent", "mkv", "webm", "avi", "flv", "fragments"])
def test_what_is_cut_off_is_said_and_the_rest_is_read(tmp_path, whole, kind, share):
    path = truncated(tmp_path / f"cut{whole[kind].suffix}", whole[kind], share)
    there, found = decodable(path), read(path)
    assert sorted(set(found)) == there
    assert found[-1] == there[-1] != found[-2]  # the last is there once
    assert found == sorted(found)
    if len(there) < 50:
        assert f"cut{path.suffix} is cut off" in told(path)
    assert ends_with_the_last(path)


def test_a_download_that_broke_off_says_how_many_frames_are_there(tmp_path, whole):
    path = truncated(tmp_path / "cut.mp4", whole["silent"], 0.97)
    there = len(decodable(path))
    assert f"cut.mp4 is cut off: it announces 60 frames, and {there} can be decoded." in told(path)


def test_a_recording_that_begins_between_key_frames(tmp_path, whole, monkeypatch):
    """What cannot be decoded for want of a key frame is no frame; the rest is not decoded to find that out."""
    from glv_core.video_io import index

    stored = whole["ts"].read_bytes()
    path = tmp_path / "late.ts"
    path.write_bytes(stored[188 * 6 :])
    there = decodable(path)
    assert there[0] > 0
    monkeypatch.setattr(index, "_counted", lambda *args: pytest.fail("decoded to count"))
    assert read(path) == there


@pytest.mark.parametrize("which", [[25], [40], [25, 26, 27]])
@pytest.mark.parametrize("kind", ["silent", "mkv"])
def test_damaged_images_are_bridged_and_said(tmp_path, whole, kind, which):
    path = spoilt(tmp_path / f"bad{whole[kind].suffix}", whole[kind], "video", which, 2000)
    found = read(path)
    assert len(found) == 60
    assert found[:19] == all_of(19) and found[-8:] == all_of(60)[-8:]
    assert "is damaged: " in told(path) and " of its frames cannot be decoded, the first at " in told(path)


def test_a_part_of_which_all_is_damaged_shows_what_was_before(tmp_path, whole):
    path = spoilt(tmp_path / "bad.mp4", whole["silent"], "video", range(40, 60), 9000)
    last = decodable(path)[-1]
    assert last <= 40 and read(path)[-3:] == [last] * 3
    assert ends_with_the_last(path)
    with pytest.raises(OSError, match=r"all\.mp4 holds no frames that can be decoded"):
        open_clip(spoilt(tmp_path / "all.mp4", whole["silent"], "video", range(60), 9000))


TRUE_CLICKS = [number / 4 for number in range(10)]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "fragments"])
@pytest.mark.parametrize("which", [range(30, 31), range(30, 33), range(40, 60)])
def test_damaged_sound_is_silence_and_stays_in_step(tmp_path, whole, kind, which):
    path = spoilt(tmp_path / f"bad{whole[kind].suffix}", whole[kind], "audio", which)
    begin, end = which.start * 1024 / RATE - 0.05, which.stop * 1024 / RATE + 0.03
    expected = [time for time in TRUE_CLICKS if not begin < time < end]
    found = [time for time in heard(path) if not begin < time < end]
    assert found == pytest.approx(expected, abs=0.004)
    length = read_audio(open_clip(path).audio()).shape[1]
    assert length == read_audio(open_clip(whole[kind]).audio()).shape[1]
    assert f"has damaged sound: {len(which)} of its packets between 0." in told(path)


def test_damaged_sound_of_a_cut_off_file(tmp_path, whole):
    """Fragments of which the last is cut, and a packet before it damaged: saved all the same."""
    bad = spoilt(tmp_path / "bad.mp4", whole["fragments"], "audio", [20])
    path = truncated(tmp_path / "cut.mp4", bad, 0.8)
    clip = open_clip(path)
    saved = save_video(tmp_path / "saved.mp4", clip.frames(), float(clip.fps), audio=clip.audio())
    assert read(saved) == decodable(path)
    assert [time for time in heard(saved) if time > 0.6][:2] == pytest.approx([0.75, 1.0], abs=0.01)


def test_damaged_sound_of_a_broadcast(tmp_path, whole):
    """Transport packets of the sound that lost their bits, in the middle."""
    stored = bytearray(whole["ts"].read_bytes())
    with av.open(str(whole["ts"])) as container:
        pid = container.streams.audio[0].id
    places = [at for at in range(0, len(stored), 188) if (stored[at + 1] & 31) << 8 | stored[at + 2] == pid]
    for at in places[len(places) // 2 : len(places) // 2 + 4]:
        stored[at + 4 : at + 188] = b"\xff" * 184
    path = tmp_path / "bad.ts"
    path.write_bytes(bytes(stored))
    clip = open_clip(path)
    saved = save_video(tmp_path / "saved.mp4", clip.frames(), float(clip.fps), audio=clip.audio())
    found = heard(saved)
    assert all(min(abs(time - true) for true in TRUE_CLICKS) < 0.012 for time in found)
    assert len(found) >= 7 and found[-1] == pytest.approx(2.25, abs=0.012)


def test_two_recordings_in_one_file(tmp_path, whole):
    """One behind the other, with the same times, in another size and with other channels."""
    other = write(
        tmp_path / "b.ts", 30, g="10", size=(128, 96), sound=np.repeat(clicks(1.25), 2, 0), layout="stereo",
        images=[picture(100 + number, 128, 96) for number in range(30)],
    )  # fmt: skip
    path = tmp_path / "both.ts"
    path.write_bytes(whole["ts"].read_bytes() + other.read_bytes())
    assert read(path) == [*all_of(60), *range(100, 130)]
    assert ends_with_the_last(path)
    assert open_clip(path).notes == ()
    assert read_audio(open_clip(path).audio()).shape[1] / RATE == pytest.approx(90 / 24, abs=0.1)
    assert heard(path) == pytest.approx([*TRUE_CLICKS, *(2.5 + number / 4 for number in range(5))], abs=0.05)
    later = read_audio(open_clip(path).trimmed(2.7).audio())[0]
    assert float(later.abs().argmax()) / RATE % 0.25 == pytest.approx(0.05, abs=0.05)


def test_no_frame_at_all_is_an_error(tmp_path, whole):
    path = truncated(tmp_path / "cut.mp4", whole["silent"], 0.3)
    with pytest.raises(OSError, match=r"cut\.mp4 holds no frames that can be decoded"):
        open_clip(path)


# What an image looks like


def combing(frames: torch.Tensor) -> float:
    """How much more lines differ from their neighbours than from those of their own field; of still images 0."""
    frames = frames.float()
    near = (frames[:, 1:-1] - (frames[:, :-2] + frames[:, 2:]) / 2).abs().mean()
    return float(near / frames.std())


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "mpeg2video"), ("a.mov", "prores_ks")])
@pytest.mark.parametrize("top_first", [True, False])
def test_fields_of_two_moments_are_made_whole(tmp_path, name, codec, top_first):
    """A bar moves by three pixels from field to field; every other line of a frame is a moment later."""

    def moment(field: int) -> np.ndarray:
        image = np.full((48, 64, 3), 30, np.uint8)
        image[:, (3 * field) % 56 : (3 * field) % 56 + 8] = 220
        return image

    images = []
    for number in range(12):
        first, second = moment(2 * number), moment(2 * number + 1)
        image = (first if top_first else second).copy()
        image[1::2] = (second if top_first else first)[1::2]
        images.append(image)
    path = write(
        tmp_path / name, images=images, rate=25, codec=codec, fields="tff" if top_first else "bff", g="5",
        pixels="yuv422p10le" if codec == "prores_ks" else "yuv420p",
    )  # fmt: skip
    clip = open_clip(path)
    frames = torch.cat(list(clip.frames()))
    assert combing(torch.from_numpy(np.stack(images))) > 0.25
    assert combing(frames) < 0.1
    assert len(frames) == 12
    assert "a" + path.suffix + " is interlaced" in clip.notes[0]
    off = [float((frames[n, :, :, 0].float() - torch.from_numpy(moment(2 * n)[:, :, 0]).float()).abs().mean())
           for n in range(1, 11)]  # fmt: skip
    assert max(off) < 12  # each shows the moment of its first field, not of its second
    part = torch.cat(list(clip.trimmed(5 / 25, 3).frames()))
    assert (part.float() - frames[5:8].float()).abs().max() <= 1


def test_progressive_files_are_left_alone(tmp_path):
    clip = open_clip(write(tmp_path / "a.mp4", 12))
    assert clip.decoding.is_plain and clip.notes == ()


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(4, 3), (85, 48)), (Fraction(8, 9), (64, 54))])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pixels_become_square(tmp_path, name, aspect, size):
    """A circle on the screen is stored as an ellipse, and is a circle again."""
    y, x = np.mgrid[0:48, 0:64]
    inside = ((x - 31.5) * float(aspect)) ** 2 + (y - 23.5) ** 2 < 15**2
    image = np.where(inside[..., None], 230, 20).astype(np.uint8).repeat(3, 2)
    path = write(tmp_path / name, images=[image] * 6, aspect=aspect)
    clip = open_clip(path)
    frame = next(clip.frames())[0, :, :, 0] > 127
    assert (clip.width, clip.height) == size == tuple(reversed(frame.shape))
    wide, high = int(frame.any(0).sum()), int(frame.any(1).sum())
    assert abs(wide - high) <= 1
    assert "pixels that are not square" in clip.notes[0]
    saved = save_video(tmp_path / "saved.mp4", clip.frames(), 24, pixel_format="yuv444p")
    assert (open_clip(saved).width, open_clip(saved).height) == size
    with av.open(str(saved)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 0, 1)


QUARTERS = {  # the display matrix, and what a camera held so stores of an upright image
    (0, 1, -1, 0): lambda image: np.rot90(image, 1),
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (0, -1, 1, 0): lambda image: np.rot90(image, 3),
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (0, 1, 1, 0): lambda image: image.swapaxes(0, 1),
    (0, -1, -1, 0): lambda image: np.rot90(image, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", list(QUARTERS))
@pytest.mark.parametrize("kind", ["yuvj420p", "hevc", "data"])
def test_a_phone_s_turn_is_made_once(tmp_path, matrix, kind):
    """Full range at 29.83; HEVC at uneven times; a third stream beside the sound. The saved file says no turn."""
    stored = [np.ascontiguousarray(QUARTERS[matrix](picture(number, 64, 64))) for number in range(12)]
    times = [round(number * 90000 / 29.866 + 20 * (number % 2)) for number in range(12)]
    options = {
        "yuvj420p": {"rate": Fraction(2983, 100), "pixels": "yuvj420p", "sound": tone(0.4)},
        "hevc": {"codec": "libx265", "x265-params": "log-level=error", "times": times,
                 "time_base": Fraction(1, 90000), "rate": 30},
        "data": {"data": True, "sound": tone(0.4)},
    }[kind]  # fmt: skip
    ending = ".mp4" if kind == "data" else ".mov"
    try:
        held = write(tmp_path / f"a{ending}", images=stored, size=(64, 64), **options)
    except ValueError:
        assert kind == "data"
        pytest.skip("this PyAV writes no streams of data")
    path = turned(tmp_path / f"turned{ending}", held, matrix)
    clip = open_clip(path)
    assert read(path) == all_of(12)
    first = next(clip.frames())[0].float()
    assert abs(first[:14].mean() - 245) < 6 and abs(first[-14:].mean() - 5) < 6  # levels
    saved = save_video(tmp_path / "saved.mp4", clip.frames(), float(clip.fps), audio=clip.audio())
    with av.open(str(saved)) as container:
        assert len(container.streams) == (1 if kind == "hevc" else 2)
        frame = next(container.decode(container.streams.video[0]))
        assert frame.side_data.get("DISPLAYMATRIX") is None and frame.rotation == 0
    assert read(saved) == all_of(12)


@pytest.mark.parametrize("size", [(1058, 793), (793, 1058), (63, 47)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p"])
def test_odd_sizes_are_written_and_it_is_said_how(tmp_path, caplog, size, pixels):
    images = [torch.from_numpy(picture(number, *size))[None] for number in range(4)]
    with listening() as notes:
        path = save_video(tmp_path / "odd.mp4", images, 24, pixel_format=pixels)
    wide = size[0] if pixels == "yuv444p" else size[0] + size[0] % 2
    high = size[1] + size[1] % 2 if pixels == "yuv420p" else size[1]
    clip = open_clip(path)
    assert (clip.width, clip.height) == (wide, high)
    assert numbers(part[:, : size[1], : size[0]] for part in clip.frames()) == all_of(4)
    said = f"odd.mp4: its images are {size[0]} x {size[1]}, and its codec and pixel format want sides of even length"
    save_video(tmp_path / "odd.mp4", images, 24, pixel_format=pixels)  # with nobody who listens
    assert caplog.text.count(said) == (0 if (wide, high) == size else 2)
    if (wide, high) == size:
        assert not notes
    else:
        assert len(notes) == 1 and said in notes[0] and f"it is {wide} x {high}" in notes[0]


@pytest.mark.parametrize(("codec", "container"), [("h265", "mp4"), ("vp9", "webm"), ("av1", "mp4")])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"])
def test_odd_sizes_of_other_codecs(tmp_path, codec, container, pixels):
    if (codec, pixels) == ("av1", "yuv444p"):
        pixels = "yuv420p10le"
    images = torch.from_numpy(np.stack([picture(number, 101, 77) for number in range(4)]))
    path = save_video(tmp_path / f"odd.{container}", images, 24, codec=codec, pixel_format=pixels, crf=10)
    assert numbers(part[:, :77, :101] for part in open_clip(path).frames()) == all_of(4)


# Sound


@pytest.mark.parametrize(("channels", "layout"), [(6, "5.1"), (6, "5.1(side)"), (8, "7.1")])
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "wav"])
def test_surround_stays_surround(tmp_path, channels, layout, container):
    """Each channel has a loudness of its own, and keeps its place."""
    made = tone(1.0, channels)
    source = write(tmp_path / "a.mkv", 24, sound=made, sound_codec="flac", layout=layout)
    clip = open_clip(source)
    assert clip.audio().channels == channels
    if container == "wav":
        save_images(tmp_path / "images", clip.frames(), 24, audio=clip.audio())
        path = tmp_path / "images" / "audio.wav"
    else:
        path = save_video(tmp_path / f"saved.{container}", clip.frames(), 24, audio=clip.audio())
    with av.open(str(path)) as container_:
        assert container_.streams.audio[0].codec_context.layout.name == ("5.1" if channels == 6 else "7.1")
        frames = [each for frame in container_.decode(audio=0) for each in av.AudioResampler("flt").resample(frame)]
    samples = np.concatenate([frame.to_ndarray().reshape(-1, channels).T for frame in frames], 1)
    assert np.abs(samples[:, 6000:40000]).max(1) == pytest.approx(np.abs(made).max(1), abs=0.06)


def test_an_audio_of_six_channels_is_5_1(tmp_path):
    made = torch.from_numpy(tone(0.5, 6))
    sound = open_clip(
        save_video(tmp_path / "a.mp4", torch.zeros(12, 32, 32, 3), 24, audio=Waveform(made, RATE))
    ).audio()
    assert read_audio(sound)[:, 6000:20000].abs().amax(1).numpy() == pytest.approx(made.abs().amax(1).numpy(), abs=0.06)
    assert read_audio(sound, mix=True).shape[0] == 2


# Colours


@pytest.mark.parametrize("space", ["HDR", "HDR PQ"])
@pytest.mark.parametrize("light", [0.0, 0.2, 0.5, 0.75, 1.0])
def test_hdr_is_kept_or_tone_mapped(tmp_path, space, light):
    frames = torch.full((3, 64, 96, 3), light)
    path = save_video(tmp_path / "a.mkv", frames, 24, pixel_format="yuv420p10le", color_space=space, crf=4)
    clip = open_clip(path)
    assert clip.color_space == space and "is HDR" in clip.notes[0]
    assert float(next(clip.frames(deep=True)).mean()) == pytest.approx(light, abs=0.01)
    sdr = clip.as_sdr()
    assert (sdr.color_space, sdr.is_whole, sdr.as_sdr()) == ("sRGB", False, sdr)
    from glv_core.video_io import tone_map

    truth = float(tone_map(torch.full((1, 1, 1, 3), light), space).mean())
    assert float(next(sdr.frames(deep=True)).mean()) == pytest.approx(truth, abs=0.02)
    assert float(next(sdr.frames()).float().mean()) / 255 == pytest.approx(truth, abs=0.02)
    assert numbers(sdr.trimmed(0.0, 2).frames()) == numbers(sdr.frames())[:2]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
def test_saved_files_say_their_colours(tmp_path, container):
    path = save_video(tmp_path / f"a.{container}", torch.rand(3, 64, 64, 3), 24)
    with av.open(str(path)) as opened:
        frame = next(opened.decode(video=0))
        context = opened.streams.video[0].codec_context
    assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    assert frame.colorspace == 1


# Images that move


def animated(path, pauses: list[int], **options) -> None:
    images = [Image.fromarray(picture(number)) for number in range(len(pauses))]
    images[0].save(path, save_all=True, append_images=images[1:], duration=pauses, **options)


def test_an_animated_webp(tmp_path):
    path = tmp_path / "a.webp"
    animated(path, [40] * 24, quality=90)
    clip = open_clip(path)
    assert (clip.num_frames, clip.fps, clip.width, clip.height) == (24, 25, corpus.WIDTH, corpus.HEIGHT)
    assert not clip.has_audio and clip.audio() is None
    assert read(path) == all_of(24)
    assert ends_with_the_last(path)
    saved = save_video(tmp_path / "a.mp4", clip.frames(), float(clip.fps))
    assert read(saved) == all_of(24)


@pytest.mark.parametrize("name", ["a.webp", "a.gif", "a.png"])
def test_pauses_of_an_animation_are_kept(tmp_path, name):
    path = tmp_path / name
    animated(path, [40, 40, 200, 40, 40, 40])
    assert read(path) == [0, 1, 2, 2, 2, 2, 2, 3, 4, 5]
    assert open_clip(path).fps == 25


def test_a_webp_that_does_not_move_is_one_frame(tmp_path):
    animated(tmp_path / "a.webp", [40])
    assert read(tmp_path / "a.webp") == [0]


def test_a_cut_off_webp_is_an_error_or_what_is_there(tmp_path):
    animated(tmp_path / "a.webp", [40] * 24)
    path = truncated(tmp_path / "cut.webp", tmp_path / "a.webp", 0.5)
    with pytest.raises(OSError, match=r"cut\.webp"):
        open_clip(path)


# What it costs


def test_a_sound_file_is_taken_at_its_word(tmp_path, monkeypatch):
    """Of 200 frames no more are decoded to look into it than its head."""
    from glv_core.video_io import index

    path = write(tmp_path / "a.mp4", 200, g="50")
    made = []
    head = index._head
    monkeypatch.setattr(index, "_head", lambda container: made.append(head(container)) or made[-1])
    monkeypatch.setattr(index, "decoded", lambda *args, **kwargs: pytest.fail("decoded to count"))
    assert open_clip(path).num_frames == 200
    assert len(made[0].frames) == index.HEAD


def test_numbers_that_are_none_are_named(tmp_path):
    clip = open_clip(write(tmp_path / "a.mp4", 12))
    for arguments, words in (
        ((float("nan"),), "start is nan seconds; it must be a number of 0 or more"),
        ((float("inf"),), "start is inf seconds"),
        ((0.0, None, float("nan")), "fps is nan; it must be above 0 and at most 1000"),
        ((0.0, None, float("inf")), "fps is inf"),
        ((0.0, None, 1e-9), "fps is 1e-09"),
    ):
        with pytest.raises(ValueError, match=words):
            clip.trimmed(*arguments)
    for fps in (float("nan"), float("inf"), 0, -1, 1e-9):
        with pytest.raises(ValueError, match="fps is"):
            save_video(tmp_path / "b.mp4", torch.zeros(2, 32, 32, 3), fps)
    assert VideoFormat(crf=18).multiples == (2, 2)


def renamed(path, codec, other):
    """A file that says of a track that it is of a kind that nobody knows."""
    data = path.read_bytes()
    assert codec in data and len(codec) == len(other)
    path.write_bytes(data.replace(codec, other))
    return path


def test_video_of_an_unknown_kind_is_refused_by_name(tmp_path):
    path = renamed(corpus.write(tmp_path / "a.mkv", 5), b"V_MPEG4/ISO/AVC", b"V_ZZZZZ/ZZZ/ZZZ")
    with pytest.raises(OSError, match=r"a\.mkv has video of a kind that this PyAV cannot decode. Convert it first"):
        open_clip(path)


def test_sound_of_an_unknown_kind_is_silence_and_said(tmp_path):
    path = corpus.write(tmp_path / "a.mkv", 16, sound=corpus.clicks(1.0))
    clip = open_clip(renamed(path, b"A_AAC", b"A_ZZZ"))
    assert not clip.has_audio and clip.num_frames == 16
    assert "a.mkv has sound of a kind that this PyAV cannot decode, and is silent." in clip.notes
