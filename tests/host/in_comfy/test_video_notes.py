"""Load Long Video and Save Long Video with files as people have them: what they tell, keep, and are stopped in."""

import os
import threading
import time
from fractions import Fraction

import av
import comfy.model_management
import folder_paths
import pytest
import torch
import video_corpus as corpus
import video_files
from comfy_api.latest import InputImpl, Types
from long_video_pack.glv_core.hosts.comfy.video.frame_source import frame_source
from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo, sdr_frames_of
from long_video_pack.glv_core.video_io import open_clip, read_audio, save_video, tone_map
from long_video_pack.nodes import notes as node_notes
from long_video_pack.nodes.composite_edit import CompositeEdit
from long_video_pack.nodes.encode_long_video import EncodeLongVideo
from long_video_pack.nodes.load_long_video import LoadLongVideo, _files
from long_video_pack.nodes.save_long_video import SaveLongVideo
from PIL import Image
from video_files import execute

pytestmark = pytest.mark.every_host


@pytest.fixture
def told(monkeypatch):
    """The texts that nodes show."""
    texts = []
    monkeypatch.setattr(node_notes, "send_text", texts.append)
    return texts


@pytest.fixture
def folder():
    """ComfyUI's input folder, in which the files of a test are removed behind it."""
    path = folder_paths.get_input_directory()
    before = set(os.listdir(path))
    yield corpus.Path(path)
    for name in set(os.listdir(path)) - before:
        os.remove(os.path.join(path, name))


@pytest.fixture
def hlg(folder):
    frames = torch.full((4, 64, 96, 3), 0.75)
    return save_video(folder / "hlg.mkv", frames, 24, pixel_format="yuv420p10le", color_space="HDR", crf=4)


def load(path, **options):
    return execute(LoadLongVideo, file=path.name, **options).args


def saved(**options):
    return execute(SaveLongVideo, **{"filename_prefix": "notes/a", **options}).args[0].get_stream_source()


def test_what_is_wrong_with_a_file_is_shown_in_the_node(folder, told, caplog):
    whole = corpus.write(folder / "whole.mp4", 60, muxer={"movflags": "faststart"}, g="20")
    video, length, *_ = load(whole)
    assert (length, told) == (60, [])
    video, length, *_ = load(corpus.truncated(folder / "cut.mp4", whole, 0.8))
    assert length < 50
    assert len(told) == 1 and told[0].startswith("cut.mp4 is cut off: it announces 60 frames, and ")
    assert told[0].splitlines()[0] in caplog.text
    assert open_clip(saved(video=video)).num_frames == length
    assert told[1].startswith("cut.mp4 is cut off")


def test_damaged_sound_is_saved_as_silence_and_shown(folder, told):
    whole = corpus.write(folder / "whole.mp4", 60, sound=corpus.clicks(2.5))
    video, *_ = load(corpus.spoilt(folder / "bad.mp4", whole, "audio", range(40, 60)))
    sound = open_clip(saved(video=video)).audio()
    assert read_audio(sound).shape[1] / sound.sample_rate == pytest.approx(2.5, abs=0.05)
    assert len(told) == 1 and told[0].startswith("bad.mp4 has damaged sound: 20 of its packets between 0.8")


def test_odd_sizes_are_shown(told):
    path = saved(images=torch.rand(3, 33, 65, 3))
    assert (open_clip(path).width, open_clip(path).height) == (66, 34)
    assert len(told) == 1 and told[0].startswith(f"{os.path.basename(path)}: its images are 65 x 33, and")
    assert saved(images=torch.rand(3, 33, 65, 3), pixel_format="yuv444p") and len(told) == 1


@pytest.mark.parametrize("kind", ["images", "video"])
def test_an_interrupt_ends_saving(folder, kind):
    """A second in, of what takes minutes; nothing is left of the file."""
    target = corpus.Path(folder_paths.get_output_directory()) / "stop"
    if kind == "images":
        given = {"images": torch.rand(1, 512, 512, 3).expand(100_000, -1, -1, -1)}
    else:
        path = corpus.write(folder / "long.mp4", times=[0, 1, 1_000_000], time_base=Fraction(1, 24))
        given = {"video": load(path)[0], "upscale": 8}
    comfy.model_management.interrupt_current_processing(False)
    timer = threading.Timer(1.0, comfy.model_management.interrupt_current_processing)
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            execute(SaveLongVideo, filename_prefix="stop/a", **given)
    finally:
        timer.cancel()
        comfy.model_management.interrupt_current_processing(False)
    assert time.monotonic() - started < 20
    assert list(target.iterdir()) == []


def test_a_name_that_another_takes_meanwhile_is_not_replaced():
    """While one saves, another node with the same prefix saves too: both files are there."""
    target = corpus.Path(folder_paths.get_output_directory()) / "twice"
    inner = []

    class Slow:
        """A VIDEO in memory that, when its images are asked for, sees another save."""

        def get_components(self):
            inner.append(saved(images=torch.rand(2, 32, 32, 3), filename_prefix="twice/a"))
            return Types.VideoComponents(images=torch.rand(5, 32, 32, 3), audio=None, frame_rate=Fraction(8))

        def get_dimensions(self):
            return 32, 32

        def get_frame_rate(self):
            return Fraction(8)

    outer = saved(video=Slow(), filename_prefix="twice/a")
    assert outer not in inner
    assert {path.name for path in target.iterdir()} >= {os.path.basename(path) for path in (outer, *inner)}
    assert [open_clip(path).num_frames for path in (*inner, outer)] == [2] * len(inner) + [5]


def test_images_get_a_folder_of_their_own():
    first, second = (
        execute(SaveLongVideo, images=torch.rand(2, 8, 8, 3), format="png sequence", filename_prefix="folders/a").ui
        for _ in range(2)
    )
    assert first["images"][0]["subfolder"] != second["images"][0]["subfolder"]


def test_hdr_is_saved_as_it_is_and_shown_to_models_tone_mapped(folder, hlg, told):
    video, *_ = load(hlg)
    assert told == ["hlg.mkv is HDR (HLG); models are shown it tone mapped to SDR."]
    truth = float(tone_map(torch.full((1, 1, 1, 3), 0.75), "HDR").mean())
    assert truth > 0.85
    for frames in (torch.cat(list(sdr_frames_of(video))), torch.cat(list(frame_source(video).images()))):
        assert float(frames.mean()) == pytest.approx(truth, abs=0.01)
    vae = video_files.image_vae()
    shown = execute(EncodeLongVideo, video=video, vae=vae).args[0]["samples"]
    assert torch.allclose(shown, vae.encode(torch.cat(list(video.clip.as_sdr().frames(deep=True)))), atol=1e-5)
    with av.open(saved(video=video)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace) == (9, 18, 9)


@pytest.mark.parametrize("format", ["mp4", "webm", "png sequence"])
def test_tone_mapped_it_is_a_video_as_any(hlg, format):
    video, *_ = load(hlg, hdr="tone map")
    truth = float(tone_map(torch.full((1, 1, 1, 3), 0.75), "HDR").mean())
    assert video.get_color_space() == "sRGB"
    assert float(video.get_components().images.mean()) == pytest.approx(truth, abs=0.01)
    output = execute(SaveLongVideo, video=video, format=format, filename_prefix="mapped/a")
    if format == "png sequence":
        shown = output.ui["images"][0]
        image = Image.open(os.path.join(folder_paths.get_output_directory(), shown["subfolder"], shown["filename"]))
        assert image.getpixel((5, 5))[0] / 255 == pytest.approx(truth, abs=0.02)
        return
    clip = open_clip(output.args[0].get_stream_source())
    assert clip.color_space == "sRGB"
    assert float(next(clip.frames()).float().mean()) / 255 == pytest.approx(truth, abs=0.02)


def test_an_edit_of_a_model_is_not_put_into_hdr(hlg):
    video, *_ = load(hlg)
    edit = {"original": video, "edited": {"samples": torch.zeros(4, 4, 8, 12)}, "vae": video_files.image_vae()}
    with pytest.raises(ValueError, match=r"original is HDR and edited sRGB.*Set hdr of Load Long Video to 'tone map'"):
        execute(CompositeEdit, mask=torch.ones(1, 64, 96), **edit)
    edit["original"] = load(hlg, hdr="tone map")[0]
    assert execute(CompositeEdit, mask=torch.ones(1, 64, 96), **edit).args


@pytest.mark.parametrize("codec", ["auto", "h264"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_the_host_saves_a_turned_file_upright(folder, codec, container):
    """Core's Save Video copies it with its turn, or it is encoded upright and without one."""
    stored = [corpus.np.ascontiguousarray(corpus.np.rot90(corpus.picture(number, 64, 64))) for number in range(8)]
    held = corpus.write(folder / "held.mp4", images=stored, size=(64, 64), codec="mpeg4")
    path = corpus.turned(folder / "turned.mp4", held, (0, 1, -1, 0))
    video, *_ = load(path)
    target = os.path.join(folder_paths.get_output_directory(), f"upright.{container}")
    LongVideo(video.clip).save_to(target, format=container, codec=codec)
    assert corpus.numbers(open_clip(target).frames()) == list(range(8))


def test_a_turned_file_loses_its_turn_when_it_is_saved(folder):
    stored = [corpus.np.ascontiguousarray(corpus.np.rot90(corpus.picture(number, 64, 64))) for number in range(8)]
    path = corpus.turned(folder / "t.mp4", corpus.write(folder / "h.mp4", images=stored, size=(64, 64)), (0, 1, -1, 0))
    made = saved(video=load(path)[0])
    with av.open(made) as container:
        assert next(container.decode(video=0)).side_data.get("DISPLAYMATRIX") is None
    assert corpus.numbers(open_clip(made).frames()) == list(range(8))


def test_surround_reaches_the_host_and_the_file(folder):
    path = corpus.write(folder / "surround.mp4", 24, sound=corpus.tone(1.0, 6), layout="5.1")
    video, *_ = load(path)
    assert video.get_components().audio["waveform"].shape[1] == 6
    assert open_clip(saved(video=video)).audio().channels == 6
    assert open_clip(saved(images=torch.rand(24, 32, 32, 3), audio=video.get_components().audio)).audio().channels == 6


def test_images_that_move_are_in_the_menu(folder):
    images = [Image.fromarray(corpus.picture(number)) for number in range(12)]
    for name in ("a.webp", "a.gif"):
        images[0].save(folder / name, save_all=True, append_images=images[1:], duration=40)
        assert name in _files()
        assert LoadLongVideo.validate_inputs(name) is True
        video, length, fps, *_ = load(folder / name)
        assert (length, fps) == (12, 25)
        assert corpus.numbers(open_clip(saved(video=video)).frames()) == list(range(12))
    assert corpus.numbers(video.get_components().images) == list(range(12))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": float("nan")}, "start is nan; it must be 0.0 to 1000000.0"),
        ({"start": float("inf")}, "start is inf"),
        ({"fps": float("nan")}, "fps is nan; it must be 0.0 to 1000.0"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"fps": 1e30}, "fps is 1e\\+30"),
        ({"length": 2**80}, "length is 1208925819614629174706176; it must be 0"),
        ({"length": -1}, "length is -1"),
        ({"hdr": "maybe"}, "hdr is 'maybe'; it must be keep or tone map"),
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_named(folder, options, words):
    path = corpus.write(folder / "a.mp4", 12)
    with pytest.raises(ValueError, match=f"LoadLongVideo: {words}"):
        load(path, **options)


@pytest.mark.parametrize("fps", [float("nan"), float("inf"), 0.0, -3.0, 1e9])
def test_a_rate_that_is_none_is_named_before_anything_is_made(fps):
    before = os.listdir(folder_paths.get_output_directory())
    with pytest.raises(ValueError, match="SaveLongVideo: fps is"):
        saved(images=torch.rand(2, 32, 32, 3), fps=fps, filename_prefix="norate")
    assert os.listdir(folder_paths.get_output_directory()) == before


def test_a_host_video_is_read_as_ours(folder):
    """From core's Load Video: mended in the same way."""
    path = corpus.write(folder / "field.avi", times=range(0, 48, 2), time_base=Fraction(1, 48), bf="2")
    made = saved(video=InputImpl.VideoFromFile(str(path)))
    assert (open_clip(made).fps, corpus.numbers(open_clip(made).frames())) == (24, list(range(24)))


@pytest.mark.parametrize(
    ("prefix", "safe"), [("CON", "_CON"), ("video/trail. ", "video/trail"), ("what?/x", "what_/x"), ("a:b", "a_b")]
)
def test_names_that_some_system_cannot_hold_are_refused_before_anything_runs(prefix, safe):
    said = SaveLongVideo.validate_inputs(filename_prefix=prefix)
    assert isinstance(said, str) and said.startswith("filename_prefix is ") and said.endswith(f"Use {safe!r}.")


@pytest.mark.parametrize("prefix", ["video/long", "%date:yyyy-MM-dd hh:mm%/%width%", "video\\long", "2026%year%", None])
def test_other_prefixes_are_fine(prefix):
    assert SaveLongVideo.validate_inputs(filename_prefix=prefix) is True


def test_a_prefix_from_windows_is_a_path_everywhere():
    path = saved(images=torch.rand(2, 32, 32, 3), filename_prefix="from\\windows")
    assert os.path.basename(path).startswith("windows_") and os.path.basename(os.path.dirname(path)) == "from"


def test_a_length_beyond_the_end_of_the_file_is_told(folder, told):
    path = corpus.write(folder / "short.mp4", 24)
    _, length, *_ = load(path, length=161)
    assert length == 24 and told == ["short.mp4 has 24 frames from there on, and length asks for 161: those are all."]
    assert load(path, length=20)[1] == 20 and len(told) == 1


def test_a_linked_prefix_is_checked_too():
    with pytest.raises(ValueError, match=r"^SaveLongVideo: filename_prefix is 'a:b'.* Use 'a_b'\.$"):
        saved(images=torch.rand(2, 32, 32, 3), filename_prefix="a:b")
