"""Names that nobody else takes, and what killed processes leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from glv_core.partial import remove_left_over, reserved, written_whole
from glv_core.video_io import open_clip, save_video

ROOT = Path(__file__).resolve().parents[2]


def name_of(number: int) -> str:
    return f"p_{number:05}_.mp4"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_name_is_taken_at_once(tmp_path):
    (tmp_path / "p_00002_.mp4").write_bytes(b"there")
    with reserved(tmp_path, name_of, 1) as first, reserved(tmp_path, name_of, 1) as second:
        assert (first.name, second.name) == ("p_00001_.mp4", "p_00003_.mp4")
        assert first.read_bytes() == b""
        save_video(second, torch.zeros(3, 16, 16, 3), 8)
        save_video(first, torch.zeros(5, 16, 16, 3), 8)
    assert names(tmp_path) == ["p_00001_.mp4", "p_00002_.mp4", "p_00003_.mp4"]
    assert (tmp_path / "p_00002_.mp4").read_bytes() == b"there"
    assert [open_clip(path).num_frames for path in (first, second)] == [5, 3]


@pytest.mark.parametrize("is_folder", [False, True])
def test_after_an_error_the_name_is_free_again(tmp_path, is_folder):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="model failed"), reserved(tmp_path, name_of, 1, is_folder) as path:
            assert path.is_dir() == is_folder and path.name == "p_00001_.mp4"
            if is_folder:
                (path / "000000.png").write_bytes(b"an image")
            raise RuntimeError("model failed")
        assert names(tmp_path) == []


def test_a_folder_is_another_s(tmp_path):
    with reserved(tmp_path, name_of, 1, True) as first, reserved(tmp_path, name_of, 1, True) as second:
        assert first != second


SAVING = """
import sys, time
from pathlib import Path
import torch
from glv_core.partial import reserved
from glv_core.video_io import save_video
folder, count, wait = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
def frames():
    for number in range(count):
        yield torch.zeros(1, 16, 16, 3)
        print("frame", flush=True)
        time.sleep(wait)
with reserved(folder, lambda number: f"p_{number:05}_.mp4", 1) as path:
    save_video(path, frames(), 8)
    print("saved", path.name, flush=True)
"""


def saving(folder, count: int, wait: float = 0.0) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SAVING, str(folder), str(count), str(wait)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_processes_that_save_at_once_get_names_of_their_own(tmp_path):
    """Two servers, one output folder, one prefix: two files, and each is whole."""
    running = [saving(tmp_path, count, 0.02) for count in (5, 7)]
    said = [process.communicate(timeout=120)[0].split()[-1] for process in running]
    assert sorted(said) == names(tmp_path) == ["p_00001_.mp4", "p_00002_.mp4"]
    assert [open_clip(tmp_path / name).num_frames for name in said] == [5, 7]


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives is asked on posix alone")
def test_what_a_killed_process_left_is_removed(tmp_path):
    process = saving(tmp_path, 1000, 0.2)
    assert process.stdout.readline() == "frame\n"
    assert len(names(tmp_path)) == 2  # the reserved name, and what is written
    remove_left_over(tmp_path)
    assert len(names(tmp_path)) == 2  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in tmp_path.iterdir():  # a machine of the same name may write to what is new
        os.utime(path, (0, time.time() - 400))
    save_video(tmp_path / "next.mp4", torch.zeros(3, 16, 16, 3), 8)
    assert names(tmp_path) == ["next.mp4"]


def test_other_machines_have_a_day(tmp_path):
    """Of another machine nobody knows whether it still writes; nor of a name of an older kind."""
    left = [tmp_path / ".a.partial-00000000-1-abcdef01.mp4", tmp_path / ".b.partial-1.mp4"]
    for path in left:
        path.write_bytes(b"x")
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").write_bytes(b"a video")
    remove_left_over(tmp_path)
    assert len(names(tmp_path)) == 4
    for path in left:
        os.utime(path, (0, time.time() - 100_000))
    remove_left_over(tmp_path)
    assert names(tmp_path) == ["b.mp4"]  # only an empty file was kept for what is lost


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    with written_whole(path) as partial:
        partial.write_bytes(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    with pytest.raises(ValueError), written_whole(path) as partial:
        raise ValueError
    assert names(tmp_path) == ["a.mp4"]
