from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from glv_core.video_io import save_video
from training.streamingt2v.data import (
    DROPOUT,
    WINDOW,
    DrawnClips,
    VideoFolder,
    batch_places,
    draw_dropout,
    loader,
    window_starts,
)
from training.streamingt2v.world import AXES, LOOKS, PHASES, PHASES_A_FRAME, SPEED, STRIDE, Clip, World


def _write(path: Path, num_frames: int, fps: int) -> None:
    """A video whose frames are grey, and brighter from frame to frame."""
    levels = torch.arange(num_frames, dtype=torch.uint8) * 3
    save_video(path, levels.view(-1, 1, 1, 1).expand(-1, 32, 48, 3).contiguous(), fps, crf=1)
    path.with_suffix(".txt").write_text(f"a prompt of {path.stem}\n")


def test_dropout_follows_the_table():
    generator = torch.Generator().manual_seed(0)
    lost = Counter(draw_dropout(generator) for _ in range(20_000))
    for kind, pair in (("text", (True, False)), ("anchor", (False, True)), ("both", (True, True))):
        assert lost[pair] / 20_000 == pytest.approx(DROPOUT[kind], abs=0.006)


def test_windows_reach_the_end_of_a_video():
    assert window_starts(31, 16) == []
    assert window_starts(32, 16) == [0]
    assert window_starts(48, 16) == [0, 16]
    assert window_starts(50, 16) == [0, 16, 18]


def test_videos_are_cut_into_windows_at_their_rate(tmp_path):
    _write(tmp_path / "a.mp4", 80, 6)  # 40 frames at 3 a second
    (tmp_path / "more").mkdir()
    _write(tmp_path / "more" / "short.mp4", 20, 6)
    dataset = VideoFolder(tmp_path, size=32)
    assert [start for _, start, _ in dataset.windows] == [0, 8]
    sample = dataset[1]
    assert sample["anchor"].shape == (1, 3, 32, 32)
    assert sample["condition"].shape == (8, 3, 32, 32) and sample["target"].shape == (16, 3, 32, 32)
    assert torch.equal(sample["condition"], sample["target"][:8])
    # Every second frame of the file, from its frame 2 * (8 + 16) on.
    wanted = np.arange(48, 80, 2) * 3
    assert np.abs((sample["target"].mean(dim=(1, 2, 3)).numpy() + 1) * 127.5 - wanted).max() < 3
    assert sample["prompt"] in ("a prompt of a", "")


def test_an_anchor_is_from_the_frames_before_the_condition(tmp_path):
    _write(tmp_path / "a.mp4", 32, 3)
    dataset, seen = VideoFolder(tmp_path, size=32), set()
    for epoch in range(40):
        dataset.set_epoch(epoch)
        sample = dataset[0]
        if sample["without_anchor"]:
            assert not sample["anchor"].any()
        else:
            seen.add(round(float((sample["anchor"].mean() + 1) * 127.5 / 3)))
        assert sample["without_text"] == (sample["prompt"] == "")
    assert seen <= set(range(16)) and len(seen) > 8


def test_mistakes_of_a_folder_are_said(tmp_path):
    with pytest.raises(ValueError, match="no video of 32 frames"):
        VideoFolder(tmp_path)
    _write(tmp_path / "a.mp4", 32, 3)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(ValueError, match=r"a\.txt"):
        VideoFolder(tmp_path)
    with pytest.raises(ValueError, match="size is 30"):
        VideoFolder(tmp_path, size=30)


def test_drawn_clips_have_the_same_interface_and_follow_seed_and_epoch(tmp_path):
    _write(tmp_path / "a.mp4", 32, 3)
    dataset = DrawnClips(6, seed=3)
    first, again = dataset[2], DrawnClips(6, seed=3)[2]
    assert first.keys() == VideoFolder(tmp_path, size=64)[0].keys()
    assert all(torch.equal(first[name], again[name]) for name in ("anchor", "condition", "target"))
    dataset.set_epoch(1)
    assert not torch.equal(first["target"], dataset[2]["target"])
    (batch,) = loader(dataset, [[4, 0, 1, 3]])
    assert batch["target"].shape == (4, 16, 3, 64, 64) and len(batch["prompt"]) == 4
    assert batch["without_text"].dtype == torch.bool
    assert torch.equal(batch["target"][1], dataset[0]["target"])


def test_processes_share_the_samples_of_an_epoch():
    parts = [batch_places(23, 3, 5, 2, processes=2, process=process) for process in range(2)]
    assert [len(part) for part in parts] == [3, 3] and all(len(batch) == 3 for part in parts for batch in part)
    seen = [place for part in parts for batch in part for place in batch]
    assert len(set(seen)) == 18 and set(seen) <= set(range(23))
    alone = batch_places(23, 6, 5, 2)
    assert [sorted(first + second) for first, second in zip(*parts)] == [sorted(batch) for batch in alone]
    assert batch_places(23, 6, 5, 3) != alone != batch_places(23, 6, 6, 2)
    with pytest.raises(ValueError, match="5 windows, fewer than 2 processes times a batch of 3"):
        batch_places(5, 3, 0, 0, processes=2)


def test_cached_latents_are_those_of_the_drawn_frames():
    cache = torch.arange(len(LOOKS) * len(AXES) * PHASES).float().view(len(LOOKS), len(AXES), PHASES, 1, 1, 1)
    world = World(cache.expand(-1, -1, -1, 4, 8, 8))
    for direction in ("left", "right", "up", "down"):
        clip = Clip("circle", "red", "gray", direction, 5)
        pixels = clip.pixels(16, 16)
        for frame, phase in enumerate(clip.phases(16, 16).tolist()):
            # The same place, seen as the first frame of a clip along the axis that is cached.
            still = Clip("circle", "red", "gray", "right" if direction in ("left", "right") else "down", phase)
            torch.testing.assert_close(pixels[frame], still.pixels(0, 1)[0], atol=1e-4, rtol=0)
        latents = world.latents(clip, 16, 16)
        assert latents.shape == (4, 16, 8, 8)
        number = cache[LOOKS.index(("circle", "red", "gray")), 0 if direction in ("left", "right") else 1].flatten()
        assert torch.equal(latents[0, :, 0, 0], number[clip.phases(16, 16)])
    assert PHASES_A_FRAME * 64 / PHASES == STRIDE * SPEED
    assert "latents" in DrawnClips(1, world=world)[0] and WINDOW == 32
