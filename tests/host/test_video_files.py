"""LoadLongVideo, EncodeLongVideo and SaveLongVideo in a real ComfyUI."""

from __future__ import annotations

import math

import pytest
import torch

from glv_core.video_io import Waveform, save_video

pytestmark = pytest.mark.every_host


@pytest.mark.parametrize("latent_frames", [1, 2, 3, 12, 29])
@pytest.mark.parametrize("name", ["wan", "wan 2.2", "image"])
def test_pieces_have_the_bits_of_the_whole(inside, name, latent_frames):
    result = inside("video_files", "pieces_are_the_whole", name=name, latent_frames=latent_frames)
    assert result["scale"] > 0.001 and result["encoded scale"] > 0.001
    assert result["frames"] == 0
    assert result["largest"] <= {"wan": 8, "wan 2.2": 4, "image": 12}[name]
    assert result["shape"]
    # An image VAE decodes another number of images at once, which rounds in another way.
    assert result["decode"] <= (1e-6 if name == "image" else 0)
    assert result["encode"] <= (1e-6 if name == "image" else 0)
    assert result["counts"] == [True, 0]


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_vae_that_runs_out_of_memory_goes_on_with_the_same_bits(inside, at):
    result = inside("video_files", "memory_runs_out", at=at)
    assert result.pop("raised") == "another error"
    assert len(result) in (2, 4)
    assert not any(result.values()), result


@pytest.mark.parametrize("causal", [True, False])
def test_pieces_of_other_vaes_see_their_neighbours(inside, causal):
    """A VAE that reaches no further than the context is exact; the fade is between equal frames then."""
    result = inside("video_files", "overlapping", causal=causal, reach=2)
    assert result["same length"]
    assert result["difference"] < 1e-5
    assert result["encode"] < 1e-5
    assert inside("video_files", "overlapping", causal=causal, reach=9)["difference"] < 0.5


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    rate = 16000
    waveform = torch.sin(torch.arange(5 * rate) / rate * 440 * 2 * math.pi)[None] * 0.5
    frames = torch.rand(100, 32, 48, 3, generator=torch.Generator().manual_seed(1))
    return save_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames, 20, crf=5, audio=Waveform(waveform, rate))


def test_a_part_of_a_video_is_any_node_s_video(inside, clip):
    result = inside("video_files", "round_trip", path=str(clip))
    assert result["facts"] == [20, 10.0, 48, 32, 20, 2.0]
    assert result["components"] == [[20, 32, 48, 3], [1, 1, 32000], 10.0]
    shape, difference, seconds = result["again"]
    assert shape == [20, 32, 48, 3]
    assert difference < 0.05
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert result["images"][0] == [20, 32, 48, 3]
    assert result["images"][1] == pytest.approx(2.0, abs=0.1)


def test_every_option_of_saving_has_an_effect(inside, clip):
    made = inside("video_files", "save_options", path=str(clip))
    plain = made["plain"]
    assert (plain["codec"], plain["pixels"], plain["shape"], plain["fps"]) == ("h264", "yuv420p", [96, 64], 16.0)
    assert plain["name"].startswith("options/a_0000") and plain["name"].endswith(".mp4")
    assert not plain["sound"]
    assert made["crf"]["size"] < plain["size"] / 2
    assert made["fps"]["fps"] == 5.0
    assert made["upscale"]["shape"] == [192, 128]
    assert made["codec"]["codec"] == "hevc"
    assert made["format"]["name"].endswith(".webm") and "vp9" in made["format"]["codec"]
    assert made["pixels"]["pixels"] == "yuv444p"
    assert made["audio_from"]["sound"]
    assert made["images"] == [True, "000000.png"]


def test_videos_are_resized_before_they_are_encoded(inside, clip):
    # 100 frames of 48 x 32: 97 of them fill 25 latent frames.
    assert inside("video_files", "encoded_sizes", path=str(clip)) == [
        [[1, 16, 25, 4, 6], 97], [[1, 16, 25, 4, 8], 97], [[1, 16, 25, 8, 8], 97],
    ]  # fmt: skip


def test_memory_does_not_grow_with_the_length(inside_alone, tmp_path):
    """In a process of its own, whose peak is read after 100 frames and after 2,000."""
    short = save_video(tmp_path / "short.mp4", (torch.rand(50, 64, 64, 3) for _ in range(2)), 16)
    long = save_video(tmp_path / "long.mp4", (torch.rand(50, 64, 64, 3) for _ in range(40)), 16, crf=40)
    few = inside_alone("video_files", "memory_of_saving", num_frames=101)
    read_few = inside_alone("video_files", "memory_of_reading", path=str(short))
    many = inside_alone("video_files", "memory_of_saving", num_frames=2001)
    read_many = inside_alone("video_files", "memory_of_reading", path=str(long))
    assert (few["frames"], many["frames"]) == (101, 2001)
    assert many["last"] == pytest.approx(2000 / 16, abs=1e-3)
    assert (read_few["length"], read_many["length"]) == (100, 2000)
    assert (read_few["frames"], read_many["frames"]) == (97, 1997)
    assert read_many["shape"] == [1, 16, 500, 8, 8]
    before = max(few["memory"], read_few["memory"])
    assert many["memory"] - before < 60, (few, many)  # kept, the frames would be 98 MB
    assert read_many["memory"] - before < 200


@pytest.mark.parametrize(
    ("node", "arguments", "words"),
    [
        ("SaveLongVideo", {}, "nothing is connected"),
        ("SaveLongVideo", {"samples": True}, "no vae"),
        ("SaveLongVideo", {"samples": True, "images": True}, "samples and images is connected"),
        ("SaveLongVideo", {"images": True, "format": "webm", "codec": "h264", "crf": 18, "pixel_format": "yuv420p"},
         "webm cannot hold"),
        ("SaveLongVideo", {"images": True, "filename_prefix": "../../out"}, "outside"),
        ("LoadLongVideo", {"file": "missing.mp4"}, "not in the input folder"),
        ("LoadLongVideo", {"file": "/etc/passwd"}, "not in the input folder"),
    ],
)  # fmt: skip
def test_mistakes_are_named(inside, node, arguments, words):
    assert words in inside("video_files", "refused", node=node, **arguments)
