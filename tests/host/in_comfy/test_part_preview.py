"""Load Long Video shows the part that it loads: a small video of its frames in ComfyUI's temp folder."""

from pathlib import Path

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
import video_corpus as corpus
from long_video_pack.glv_core.hosts.comfy.video.part_preview import LONGEST_SIDE, MOST_FRAMES
from long_video_pack.glv_core.video_io import open_clip, read_video, save_video
from long_video_pack.nodes.load_long_video import LoadLongVideo

pytestmark = pytest.mark.every_host


@pytest.fixture
def source():
    """Makes a file in the input folder, whose frames carry their numbers from 0 on, modulo 256; removes it."""
    made = set()

    def make(count, name="part.mp4", width=corpus.WIDTH, height=corpus.HEIGHT):
        path = Path(folder_paths.get_input_directory()) / name
        frames = (torch.from_numpy(corpus.picture(number % 256, width, height)[None]) for number in range(count))
        made.add(save_video(path, frames, 24))
        return name

    yield make
    for path in made:
        path.unlink()


def shown(file, start=0.0, length=0, fps=0.0):
    """The file of a node's preview."""
    output = LoadLongVideo.execute(file, start, length, fps)
    ui = output.ui if isinstance(output.ui, dict) else output.ui.as_dict()
    assert ui["animated"] == (True,)
    [saved] = ui["images"]
    assert saved["type"] == "temp"
    return Path(folder_paths.get_temp_directory()) / saved["subfolder"] / saved["filename"]


def test_the_frames_of_a_part_are_shown_at_its_rate(source):
    frames, fps = read_video(shown(source(60), start=1.0, length=20))
    assert corpus.numbers(frames) == list(range(24, 44)) and fps == 24
    frames, fps = read_video(shown("part.mp4", start=1.0, length=5, fps=12.0))
    assert corpus.numbers(frames) == [24, 26, 28, 30, 32] and fps == 12


def test_of_a_long_part_its_beginning_and_its_end_are_shown(source):
    name, half = source(MOST_FRAMES + 60), MOST_FRAMES // 2
    frames, _ = read_video(shown(name, start=1.0))
    last = MOST_FRAMES + 60
    wanted = [*range(24, 24 + half), *range(last - half, last)]
    assert corpus.numbers(frames) == [number % 256 for number in wanted]
    assert corpus.numbers(read_video(shown(name, start=1.0, length=MOST_FRAMES))[0]) == [
        number % 256 for number in range(24, 24 + MOST_FRAMES)
    ]


def test_a_large_video_is_made_small(source):
    clip = open_clip(shown(source(3, width=1024, height=576)))
    assert (clip.width, clip.height) == (LONGEST_SIDE, 216) and not clip.has_audio
    assert corpus.numbers(torch.cat(list(clip.frames()))) == [0, 1, 2]


def test_a_preview_is_made_once_until_the_file_changes(source):
    first = shown(source(8))
    made = first.stat().st_mtime_ns
    assert shown("part.mp4") == first and first.stat().st_mtime_ns == made
    assert shown("part.mp4", length=4) != first
    source(9)
    assert shown("part.mp4") != first


@pytest.mark.parametrize("error", [OSError("damaged"), ValueError("no such encoder")], ids=["reading", "writing"])
def test_what_cannot_be_read_has_no_preview(source, monkeypatch, error):
    name = source(8)

    def broken(*_):
        raise error
        yield

    monkeypatch.setattr("long_video_pack.glv_core.video_io.reader.VideoClip._images", broken)
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(Path(folder_paths.get_output_directory())))
    before = set(Path(folder_paths.get_temp_directory()).iterdir())
    output = LoadLongVideo.execute(name, 0.0, 0, 0.0)
    assert output.ui is None and output.args[1] == 8
    assert set(Path(folder_paths.get_temp_directory()).iterdir()) == before


def test_the_stop_button_ends_it(source):
    name, folder = source(8), Path(folder_paths.get_temp_directory())
    before = set(folder.iterdir()) if folder.is_dir() else set()
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        LoadLongVideo.execute(name, 0.25, 0, 0.0)
    assert set(folder.iterdir()) == before


def test_hdr_is_shown_tone_mapped():
    path = Path(folder_paths.get_input_directory()) / "part_hdr.mkv"
    bright = torch.full((4, 64, 96, 3), 0.75)
    save_video(path, bright, 24, pixel_format="yuv420p10le", color_space="HDR", crf=4)
    try:
        made = shown(path.name)
        seen = read_video(made)[0].float().mean()
        wanted = torch.cat(list(open_clip(path).as_sdr().frames())).float().mean()
        plain = torch.cat(list(open_clip(path).frames())).float().mean()
    finally:
        path.unlink()
    assert open_clip(made).color_space in ("", "sRGB")
    assert abs(seen - wanted) < 2 < np.abs(plain - wanted)
