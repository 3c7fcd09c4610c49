"""Windows of 32 frames to train conditional attention and appearance preservation with: of videos, or drawn.

A sample has, of frames numbered from 1, an anchor from frames 1-16, the condition 17-24 and the target 17-32, all in
-1..1, and its prompt. Both kinds are map-style datasets of tensors and strings, which a plain `DataLoader` batches.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from glv_core.video_io import VideoClip, center_crop_resize, open_clip

from .world import Clip, World, draw_clip, draw_prompt

logger = logging.getLogger(__name__)

WINDOW = 32  # frames
BEFORE = 16  # frames that anchors are from; then the target begins
CONDITION = 8  # frames
FPS = 3
SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi")
#: What a sample is trained without, and how often.
DROPOUT = {"text": 0.05, "anchor": 0.05, "both": 0.05}

Sample = dict[str, "Tensor | str | bool"]


def draw_dropout(generator: torch.Generator, odds: dict[str, float] = DROPOUT) -> tuple[bool, bool]:
    """Whether a sample loses its text, and whether it loses its anchor."""
    draw = float(torch.rand((), generator=generator))
    for kind, odd in odds.items():
        if draw < odd:
            return kind in ("text", "both"), kind in ("anchor", "both")
        draw -= odd
    return False, False


def make_sample(frames: Tensor, prompt: str, generator: torch.Generator) -> Sample:
    """A sample of a window in -1..1 [32 3 h w]: `anchor` [1 3 h w], `condition` [8 3 h w], `target` [16 3 h w].

    A lost text is empty, a lost anchor middle grey, which is 0; `without_text` and `without_anchor` tell.
    """
    without_text, without_anchor = draw_dropout(generator)
    place = int(torch.randint(BEFORE, (), generator=generator))
    anchor = frames[place : place + 1]
    return {
        "anchor": torch.zeros_like(anchor) if without_anchor else anchor.clone(),
        "condition": frames[BEFORE : BEFORE + CONDITION].clone(),
        "target": frames[BEFORE:WINDOW].clone(),
        "prompt": "" if without_text else prompt,
        "without_text": without_text,
        "without_anchor": without_anchor,
    }


class _Windows(Dataset[Sample]):
    """What both kinds share: a sample is drawn anew in every epoch, and is the same for the same seed and epoch."""

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draws anchors and dropout anew; call it before an epoch's loader is iterated."""
        self.epoch = epoch

    def _generator(self, index: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 10_007 + self.epoch) * 1_000_003 + index)


def window_starts(num_frames: int, hop: int) -> list[int]:
    """Where the windows of a video of `num_frames` begin: every `hop` frames, and a last one that ends with it."""
    last = num_frames - WINDOW
    if last < 0:
        return []
    starts = list(range(0, last + 1, hop))
    return starts if starts[-1] == last else [*starts, last]


class VideoFolder(_Windows):
    """Windows of all videos in a folder and those below it, at 3 frames a second.

    The prompt of `name.mp4` is the text of `name.txt` beside it. Videos shorter than a window, 11 seconds, are left
    out.
    """

    def __init__(self, folder: Path, size: int = 256, seed: int = 0, fps: float = FPS, hop: int = BEFORE) -> None:
        """`size` is the height and width in pixels, `hop` the frames from one window of a video to the next.

        Raises:
            ValueError: a video without its text, or no video that is long enough.
        """
        super().__init__(seed)
        if size < 8 or size % 8:
            raise ValueError(f"size is {size} pixels; it must be a multiple of 8. Choose 256, as StreamingT2V has.")
        if hop < 1:
            raise ValueError(f"hop is {hop} frames; it must be at least 1.")
        self.size = size
        self.windows: list[tuple[VideoClip, int, str]] = []
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
        for path in paths:
            text = path.with_suffix(".txt")
            if not text.is_file():
                raise ValueError(f"{path} has no prompt; write it into {text.name} beside it.")
            clip = open_clip(path).as_sdr().trimmed(fps=fps)
            starts = window_starts(clip.num_frames, hop)
            if not starts:
                logger.warning("%s: %d frames at %g a second, fewer than %d", path, clip.num_frames, fps, WINDOW)
            self.windows += [(clip, start, text.read_text(encoding="utf-8").strip()) for start in starts]
        if not self.windows:
            raise ValueError(
                f"{folder} has no video of {WINDOW} frames at {fps:g} a second ({len(paths)} files). "
                "Add longer videos or raise fps."
            )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Sample:
        clip, start, prompt = self.windows[index]
        part = clip.trimmed(start=float(start / clip.fps), num_frames=WINDOW)
        frames = torch.cat([center_crop_resize(piece, self.size, self.size) for piece in part.frames()])
        return make_sample(frames.movedim(-1, 1).float() / 127.5 - 1, prompt, self._generator(index))


class DrawnClips(_Windows):
    """Windows of random clips of the drawn world; every epoch has others.

    With a `world` a sample also has the `latents` of its target [4 16 8 8], from the cache.
    """

    def __init__(self, length: int, seed: int = 0, world: World | None = None) -> None:
        super().__init__(seed)
        self.length, self.world = length, world

    def __len__(self) -> int:
        return self.length

    def clip(self, index: int) -> Clip:
        """Which clip a sample shows."""
        return draw_clip(self._generator(index))

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        generator = self._generator(index)
        clip = draw_clip(generator)
        prompt = draw_prompt(clip, generator, empty_odds=0)  # dropout is that of the table
        sample = make_sample(clip.pixels(0, WINDOW) * 2 - 1, prompt, generator)
        if self.world is not None:
            sample["latents"] = self.world.latents(clip, BEFORE, WINDOW - BEFORE)
        return sample


def batch_places(
    length: int, batch: int, seed: int, epoch: int, processes: int = 1, process: int = 0
) -> list[list[int]]:
    """Which samples of an epoch make which batches of one of several processes, in a random order.

    Every process has as many batches and no sample is in two; what does not fill a batch everywhere is left out.

    Raises:
        ValueError: there are fewer samples than processes times `batch`.
    """
    at_once = batch * processes
    if length < at_once:
        raise ValueError(
            f"There are {length} windows, fewer than {processes} processes times a batch of {batch}. Add videos, or "
            "lower hop or batch."
        )
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed * 10_007 + epoch)).tolist()
    first = [start + process * batch for start in range(0, length - at_once + 1, at_once)]
    return [order[start : start + batch] for start in first]


def loader(dataset: _Windows, batches: list[list[int]], workers: int = 0) -> torch.utils.data.DataLoader[Sample]:
    """Batches of samples, by `batch_places`."""
    return torch.utils.data.DataLoader(dataset, batch_sampler=batches, num_workers=workers)
