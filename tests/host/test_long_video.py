"""A LongVideo in the host's own nodes, and trimmed, deep and HDR videos in the pack's."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest

pytestmark = pytest.mark.every_host

NTSC = Fraction(24000, 1001)
RGB = (0.8, 0.3, 0.2)
BT709, HLG, PQ = (1, 1, 1), (9, 18, 9), (9, 16, 9)


def numbered(number: int) -> np.ndarray:
    """An image with its number in the brightness of eight blocks."""
    bits = [255 * (number >> bit & 1) for bit in range(8)]
    return np.repeat(np.array(bits, np.uint8), 8)[None, :, None].repeat(32, 0).repeat(3, 2)


def write(
    path, images, rate=Fraction(20), pixels="yuv420p", tags=(), matrix=5, seconds=0.0, by="libx264", **options
) -> str:
    """A file of images in a matrix, which is that of the tags if there are any, and seconds of sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(by, rate=rate, options={"crf": "4", **options})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = pixels
        context = video.codec_context
        if tags:
            context.color_primaries, context.color_trc, context.colorspace = tags
            context.color_range = 1
        sound = container.add_stream("aac", rate=16000, layout="mono") if seconds else None
        for number, image in enumerate(images):
            form = "rgb48le" if image.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(image, format=form)
            frame = frame.reformat(format=pixels, dst_colorspace=tags[2] if tags else matrix)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound:
            wave = np.sin(np.arange(int(seconds * 16000)) / 16000 * 440 * 2 * np.pi, dtype=np.float32)[None] * 0.5
            for start in range(0, wave.shape[1], 1024):
                block = np.ascontiguousarray(wave[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
                container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return str(path)


def plain(colour=RGB, count=6) -> list[np.ndarray]:
    """Images of one colour, 16 bits."""
    return [np.tile((np.array(colour) * 65535).round().astype(np.uint16), (32, 64, 1))] * count


def ramp() -> list[np.ndarray]:
    """Grays from 0.4 to 0.42, of which eight bits hold six."""
    row = (np.linspace(0.4, 0.42, 64) * 65535).round().astype(np.uint16)
    return [np.repeat(np.repeat(row[None], 32, 0)[..., None], 3, 2)] * 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("long_video")


@pytest.fixture(scope="module")
def clip(folder):
    """64 frames at 20 a second with B-frames and sound."""
    return write(folder / "clip.mp4", [numbered(n) for n in range(64)], seconds=3.2, bf="3", g="12", tags=BT709)


@pytest.fixture(scope="module")
def ntsc(folder):
    return write(folder / "ntsc.mp4", [numbered(n) for n in range(64)], NTSC, seconds=2.66, bf="3", g="12")


@pytest.fixture(scope="module")
def matroska(folder):
    return write(folder / "ntsc.mkv", [numbered(n) for n in range(64)], NTSC, seconds=2.66, bf="3", g="12")


@pytest.fixture(scope="module")
def hlg(folder):
    return write(folder / "hlg.mp4", plain(), pixels="yuv420p10le", tags=HLG, seconds=0.3)


@pytest.fixture(scope="module")
def pq(folder):
    return write(folder / "pq.mkv", plain(), pixels="yuv420p10le", tags=PQ)


@pytest.fixture(scope="module")
def deep(folder):
    return write(folder / "deep.mp4", ramp(), pixels="yuv444p10le", tags=BT709, crf="0")


def due(start: float, duration: float, rate: Fraction, tick: Fraction) -> list[int]:
    """Frames whose time stamps lie in a window, by the host's rule: whole ticks, of which parts are dropped."""
    start = max(float(64 / rate) + start, 0.0) if start < 0 else start
    first, end = int(start / float(tick)), int((start + duration) / float(tick))
    stamps = [round(number / rate / tick) for number in range(64)]
    return [number for number, stamp in enumerate(stamps) if stamp >= first and (not duration or stamp < end)]


WINDOWS = [(0.5, 1.0), (0.52, 0.97), (1.0, 0.0), (0.0, 0.7), (2.0, 9.0), (-1.0, 0.5), (-0.62, 0.0), (0.041, 0.5),
           (0.042, 0.3), (0.043, 0.3), (1.251, 0.001), (0.0, 0.001), (1.585, 0.042)]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rate", "tick"),
    [
        ("clip", Fraction(20), Fraction(1, 10240)),
        ("ntsc", NTSC, Fraction(1, 24000)),
        ("matroska", NTSC, Fraction(1, 1000)),
    ],
)
def test_trimming_is_the_host_s_to_the_frame(inside, request, name, rate, tick):
    path = request.getfixturevalue(name)
    windows = [window for window in WINDOWS if due(*window, rate, tick)]
    assert len(windows) >= len(WINDOWS) - 1
    for window, found in zip(windows, inside("long_video", "trims", path=path, windows=windows), strict=True):
        expected = due(*window, rate, tick)
        assert found["ours"][0] == expected, window
        assert found["facts"] == ["LongVideo", len(expected)]
        sounds = [found["ours"]]
        if found["host"]:
            assert found["clip"][0] == found["host"][0], window
            sounds += [found["clip"]]
            if window[0] >= 0:  # the host counts from the end of the sound if that is later
                assert found["host"][0] == expected, window
            if (window[0] * 20) % 1 == 0 == (window[1] * 20) % 1 and 0 < window[1] < 3 and name == "clip":
                assert found["clip"][1] == found["host"][1], window
        for frames, (samples, hertz) in sounds:
            # The sound lasts as long as the frames, unless it ends before them.
            assert samples / hertz == pytest.approx(len(frames) / rate, abs=float(1 / rate)), window


def test_what_cannot_be_trimmed_is_none(inside, clip):
    result = inside("long_video", "trimming_has_no_side", path=clip)
    assert result["nothing"] == [True, True, True]
    assert result["opened"] == 0
    assert result["facts"] == [pytest.approx(0.75), pytest.approx(1.0), 64]
    assert result["twice"] == list(range(15, 30))
    assert result["other"] == [6, 8, 10, 12, 14]
    assert result["window"] == [0.0, 0.0]
    assert "Failed to slice" in result["error"]


def test_the_pack_s_nodes_take_the_trimmed_part(inside, clip):
    result = inside("long_video", "trimmed_in_nodes", path=clip)
    assert "ours" in result
    part = list(range(10, 30))
    if "host" in result:
        assert "SaveLongVideo: The part of the video from 9 seconds to its end has no frame" in result.pop("nothing")
    for found in result.values():
        assert found["encoded"] == [20, 20]
        assert found["saved"] == part
        assert found["source"] == [20, part]
        for samples, rate in (found["sound"], found["heard"]):
            assert samples / rate == pytest.approx(1.0, abs=0.07)


def test_a_trim_that_the_host_does_not_tell_is_left_to_the_host(inside, clip):
    assert inside("long_video", "known_by_length", path=clip) == {"clip": True, "frames": 2, "untrimmed": 64}


def test_the_stream_source_is_exactly_the_clip(inside, clip):
    result = inside("long_video", "sources", path=clip)
    path, window, container = result["whole"]
    assert (path, window) == (clip, [0.0, 0.0])
    assert "mp4" in container.split(",")
    assert result["part"] == [list(range(10, 30)), "mp4", [0.0, 0.0]]
    assert result["slower"] == list(range(0, 64, 2))
    assert result["copied"]


def test_a_whole_file_loses_nothing(inside, folder, matroska):
    """The host's copy leaves out the first packets of Matroska, and mp4 cannot hold VP8; nor may a file be read while
    it is written."""
    vp8 = write(folder / "vp8.webm", [numbered(n) for n in range(64)], by="libvpx", **{"b:v": "1M"})
    for path, jobs in (
        (matroska, [("m.mkv", {}), ("m.mp4", {}), ("buffer", {})]),
        (vp8, [("v.mp4", {}), ("v.mkv", {})]),
    ):
        for found in inside("long_video", "saved", path=path, cut=None, jobs=jobs):
            assert found["frames"] == 64
    assert inside("long_video", "saved_over_itself", path=matroska) == [list(range(64)), list(range(12, 24))]


@pytest.mark.parametrize("cut", [None, [0.1, 0.15]])
def test_every_argument_of_save_to_has_its_effect(inside, folder, hlg, cut):
    jobs = [
        ("a.mp4", {}), ("a.mkv", {"format": "mkv", "codec": "h264"}), ("a.webm", {"format": "webm"}),
        ("path.mp4", {"codec": "av1"}), ("b.mkv", {"crf": 12.5, "metadata": {"workflow": {"n": [1]}}}),
        ("d.mp4", {"bit_depth": 8}), ("e.mp4", {"color_space": "HDR"}),
        ("buffer", {"format": "mkv"}), ("file", {}), ("buffer", {}), ("f.mkv", {"codec": "vp9", "bit_depth": 8}),
        ("g.mkv", {"codec": "h265"}),
    ]  # fmt: skip
    made = inside("long_video", "saved", path=hlg, cut=cut, jobs=jobs)
    (mp4, mkv, webm, path, told, eight, said, in_buffer, in_file, auto, vp9, h265) = made
    assert "vp9 cannot store yuv420p10le" in vp9
    for found in (mp4, mkv, webm, path, told, eight, said, in_buffer, in_file, auto):
        assert found["frames"] == (6 if cut is None else 3)
        assert found["rate"] == "20"
        assert found["sound"]
        assert found["pixels"] == "yuv420p10le"
        assert found["tags"] == list(HLG)
        assert found["colour"] == pytest.approx(RGB, abs=0.012)
        assert found.get("left over", 0) == 0
    assert [each["codec"] for each in (mp4, mkv, in_buffer, auto)] == ["h264"] * 4
    assert [each["codec"] for each in (webm, path)] == ["av1"] * 2
    assert "mp4" in mp4["container"] and "matroska" in mkv["container"] and "webm" in webm["container"]
    assert "matroska" in in_buffer["container"] and "mp4" in in_file["container"] and "mp4" in auto["container"]
    assert json.loads(told["metadata"]["workflow"]) == {"n": [1]}
    assert isinstance(h265, str) and "h265 needs 64 pixels" in h265
    chance = np.random.default_rng(0)
    noise = [chance.integers(0, 255, (32, 64, 3), np.uint8) for _ in range(6)]
    eight, ten, fine, coarse = inside(
        "long_video", "saved", path=write(folder / "noise.mp4", noise, tags=BT709), cut=cut,
        jobs=[("x.mp4", {}), ("y.mp4", {"bit_depth": 10}), ("z.mp4", {"crf": 12.5}), ("z.mp4", {"crf": 40})],
    )  # fmt: skip
    assert [each["pixels"] for each in (eight, ten, fine, coarse)] == ["yuv420p", "yuv420p10le", "yuv420p", "yuv420p"]
    assert coarse["bytes"] < fine["bytes"] / 2
    assert eight["tags"] == ten["tags"] == list(BT709)


@pytest.mark.parametrize("cut", [None, [0.1, 0.15]])
def test_wrong_values_are_named(inside, hlg, clip, cut):
    jobs = [
        ("a.mp4", {"format": "gif"}), ("a.mp4", {"codec": "mpeg2"}), ("a.mp4", {"crf": 60}), ("a.mp4", {"crf": "fine"}),
        ("a.mp4", {"bit_depth": 9}), ("a.mp4", {"color_space": "P3"}), ("a.webm", {"codec": "h264"}),
        ("a.mp4", {"color_space": "HDR PQ"}),
    ]  # fmt: skip
    words = ["format is 'gif'", "codec is 'mpeg2'", "crf is 60", "crf is fine", "bit_depth is 9", "color_space is 'P3'",
             "codec is h264, which webm cannot hold", "color_space is HDR PQ, and the video is HDR,"]  # fmt: skip
    for said, expected in zip(inside("long_video", "saved", path=hlg, cut=cut, jobs=jobs), words, strict=True):
        assert isinstance(said, str) and expected in said
    said = inside("long_video", "saved", path=clip, cut=cut, jobs=[("a.mp4", {"color_space": "HDR"})])[0]
    assert "color_space is HDR, and the video is sRGB, which is not converted. Use sRGB." in said


@pytest.mark.parametrize(("space", "tags"), [("sRGB", BT709), ("HDR", HLG), ("HDR PQ", PQ)])
def test_a_file_that_does_not_say_takes_any_colour_space(inside, folder, space, tags):
    """Its pixels are taken to be in that space, by its matrix."""
    path = write(folder / f"{space}.mp4", plain(), pixels="yuv420p10le", matrix=tags[2])
    job = ("a.mp4", {"color_space": space})
    made = inside("long_video", "saved", path=path, cut=[0.0, 0.2], jobs=[job])[0]
    assert (made["tags"], made["pixels"]) == (list(tags), "yuv420p10le")
    assert made["colour"] == pytest.approx(RGB, abs=0.012)
    whole = inside("long_video", "saved", path=path, cut=None, jobs=[job])[0]
    assert whole["tags"][0] == tags[0] and whole["tags"][2] == tags[2]
    assert whole["colour"] == pytest.approx(RGB, abs=0.012)


@pytest.mark.parametrize("cut", [None, [0.1, 0.15]])
def test_the_host_saves_it(inside, hlg, clip, cut):
    """By the host's Save Video, with all that this host's node offers."""
    choices = [("auto", "auto", {}), ("mp4", "h264", {})]
    new = inside("long_video", "has_menus")
    if new:
        choices += [
            ("mkv", "h264", {"encoding": "re-encode", "crf": 30.0, "color_space": "HDR"}),
            ("webm", "av1", {"encoding": "re-encode", "crf": 20.0, "color_space": "auto"}),
        ]
    made = inside("long_video", "host_nodes", path=hlg, cut=cut, choices=choices)
    for found in made:
        assert found["frames"] == (6 if cut is None else 3)
        assert (found["pixels"], found["tags"]) == ("yuv420p10le", list(HLG))
        assert found["colour"] == pytest.approx(RGB, abs=0.012)
        assert json.loads(found["metadata"]["workflow"]) == {"nodes": []}
        assert json.loads(found["metadata"]["prompt"]) == {"1": "x"}
    if new:
        assert ("matroska" in made[2]["container"], made[3]["codec"]) == (True, "av1")
    plain = inside("long_video", "host_nodes", path=clip, cut=cut, choices=[("mp4", "h264", {})])[0]
    assert (plain["pixels"], plain["tags"]) == ("yuv420p", list(BT709))


def test_components_keep_all_bits(inside, deep, hlg, clip):
    found = inside("long_video", "components", path=deep)
    assert (found["shape"], found["type"], found["fps"]) == ([6, 32, 64, 3], "torch.float32", 20.0)
    assert found["sound"] is None
    truth = np.linspace(0.4, 0.42, 64)
    assert np.abs(np.array(found["row"]) - truth).max() < 0.0012  # a step of eight bits is 0.004
    assert len(set(found["row"])) > 12
    if found["rest"]:
        assert found["rest"] == [10, "sRGB"]
    bright = inside("long_video", "components", path=hlg, cut=[0.1, 0.1])
    assert bright["shape"][0] == 2
    assert bright["sound"] == [1, 1, 1600]
    assert bright["colour"] == pytest.approx(RGB, abs=0.006)
    assert bright["rest"] in ([], [10, "HDR"])
    assert inside("long_video", "components", path=clip)["rest"] in ([], [8, "sRGB"])


def test_ten_bits_survive_saving(inside, deep):
    """Through a part, which is encoded anew, and through SaveLongVideo."""
    job = ("a.mp4", {"crf": 0})
    for found in (
        inside("long_video", "saved", path=deep, cut=[0.1, 0.15], jobs=[job])[0],
        inside("long_video", "rewritten", path=deep, jobs=[{"pixel_format": "yuv444p10le", "crf": 0}])[0],
    ):
        assert found["levels"] > 12
        assert found["tags"] == list(BT709)
    eight = inside("long_video", "rewritten", path=deep, jobs=[{"crf": 0}])[0]
    assert eight["pixels"] == "yuv420p"
    assert eight["levels"] <= 8


def test_hdr_stays_hdr(inside, hlg, pq):
    jobs = [{}, {"format": "mkv", "pixel_format": "yuv444p"}, {"format": "mov", "pixel_format": "yuv422p"},
            {"format": "webm", "codec": "av1"}]  # fmt: skip
    for path, tags in ((hlg, HLG), (pq, PQ)):
        made = inside("long_video", "rewritten", path=path, jobs=jobs)
        assert [each["pixels"] for each in made] == ["yuv420p10le", "yuv444p10le", "yuv422p10le", "yuv420p10le"]
        for found in made:
            assert found["tags"] == list(tags)
            assert found["colour"] == pytest.approx(RGB, abs=0.012)
    said, images, other = inside("long_video", "rewritten", path=pq, jobs=[
        {"format": "webm"}, {"format": "png sequence"}, {"format": "webm", "pixel_format": "yuv444p"},
    ])  # fmt: skip
    assert said == (
        "SaveLongVideo: video is HDR PQ, which needs 10 bits, and codec is vp9, which cannot store yuv420p10le. "
        "Use av1."
    )
    assert images.startswith("SaveLongVideo: video is HDR PQ, and format is png sequence, which has 8 bits. Use mp4")
    assert "cannot store yuv444p10le. Use av1 with pixel_format yuv420p10le." in other


def test_a_video_in_memory_keeps_the_colours_that_the_host_says(inside, hlg, clip):
    found = inside("long_video", "from_memory", path=hlg)
    if found["host knows"]:
        assert (found["facts"]["tags"], found["facts"]["pixels"]) == (list(HLG), "yuv420p10le")
        assert found["facts"]["colour"] == pytest.approx(RGB, abs=0.012)
    assert inside("long_video", "from_memory", path=clip)["facts"]["tags"] == list(BT709)


def test_a_file_outside_is_refused_in_the_same_words(inside):
    names = ["/etc/passwd", "../../secret.mp4", "missing.mp4", "zero\0.mp4"]
    answers = inside("long_video", "paths_refused", names=names)
    for name, (checked, raised) in zip(names, answers, strict=True):
        assert checked == f"file is {name!r}, which is not in the input folder. Upload it, or choose another."
        assert raised == f"LoadLongVideo: {checked}"
