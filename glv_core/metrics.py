"""How smooth a video is: differences of neighbouring frames, and how much they stand out where windows meet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from .timeline import Timebase
from .windows import Window


def frame_differences(frames: torch.Tensor | np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame to the one before.

    Args:
        frames: ``t h w c`` or ``t c h w`` (any layout with time first), torch or numpy, any real type. Read a pair of
            frames at a time; the video is never copied whole.

    Returns:
        float64 ``[t - 1]`` in the frames' own units; element ``k`` is the step from frame ``k`` to ``k + 1``.

    Raises:
        ValueError: fewer than two axes, or no frame.
    """
    if frames.ndim < 2 or len(frames) < 1:
        raise ValueError(
            f"Frames have the shape {tuple(frames.shape)}; expected t h w c or t c h w with t of 1 or more."
        )
    differences = np.empty(len(frames) - 1)
    before = _floats(frames[0])
    for index in range(1, len(frames)):
        after = _floats(frames[index])
        differences[index - 1] = np.abs(after - before).mean(dtype=np.float64)
        before = after
    return differences


class RunningDifferences:
    """``frame_differences`` of a video that passes by in pieces; ``values`` holds them so far."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._before: np.ndarray | None = None

    def watch(self, pieces: Iterable[torch.Tensor | np.ndarray]) -> Iterator[torch.Tensor | np.ndarray]:
        """Yield the pieces, each with time first, as they are."""
        for piece in pieces:
            for frame in piece:
                after = _floats(frame)
                if self._before is not None:
                    self.values.append(float(np.abs(after - self._before).mean(dtype=np.float64)))
                self._before = after
            yield piece


def seam_ratio(
    frames: torch.Tensor | np.ndarray,
    boundaries: Iterable[int],
    exclude: Iterable[tuple[float, float]] = (),
    span: int = 1,
) -> float:
    """How many times larger the steps at window boundaries are than all other steps. 1 means that no seam shows.

    Args:
        frames: see ``frame_differences``.
        boundaries: frame numbers; a boundary at frame ``b`` is the step from ``b - 1`` to ``b``. Each in 1 ... t - 1.
        exclude: ranges ``(first, last)`` of frames, both included, such as prompt transitions. Steps that begin or end
            in one are left out, at boundaries and elsewhere.
        span: how many steps a boundary has. A VAE with temporal compression spreads a cut between two latent frames
            over all frames of the second: give the compression.

    Returns:
        Mean difference at the boundaries over the mean elsewhere. If nothing moves elsewhere: 1.0 where nothing moves
        at the boundaries either, else infinity.

    Raises:
        ValueError: a boundary that is no step of the video, or no step left at the boundaries or elsewhere.
    """
    return seam_ratio_of(frame_differences(frames), boundaries, exclude, span)


def seam_ratio_of(
    differences: Sequence[float] | np.ndarray,
    boundaries: Iterable[int],
    exclude: Iterable[tuple[float, float]] = (),
    span: int = 1,
) -> float:
    """``seam_ratio`` for a video that is not in memory, from its ``frame_differences``."""
    steps = set(range(1, len(differences) + 1))
    given = set(boundaries)
    seams = {boundary + step for boundary in given for step in range(span)} & steps
    if given - steps:
        raise ValueError(
            f"Boundaries {sorted(given - steps)} are not in 1 ... {len(differences)}, the steps of the video."
        )
    ranges = list(exclude)
    kept = {step for step in steps if not any(first <= step and step - 1 <= last for first, last in ranges)}
    at, elsewhere = sorted(seams & kept), sorted(kept - seams)
    for chosen, where in ((at, "at a boundary"), (elsewhere, "away from the boundaries")):
        if not chosen:
            raise ValueError(
                f"No step of the video is {where} and outside the excluded ranges; there is nothing to compare."
            )
    seam = float(np.mean([differences[step - 1] for step in at]))
    rest = float(np.mean([differences[step - 1] for step in elsewhere]))
    if rest == 0:
        return 1.0 if seam == 0 else math.inf
    return seam / rest


def window_boundaries(windows: Sequence[Window], timebase: Timebase) -> list[int]:
    """Frames inside the video where a window starts or ends: the first frame of the latent frame where it does.

    In a window with stride every one of its latent frames is such an edge. The start and end of the video are no
    boundaries. Sorted, without repeats; fit for ``seam_ratio``.
    """
    edges = {edge for window in windows for edge in _edges(window)}
    frames = (timebase.frames_of(edge)[0] for edge in edges)
    return sorted({frame for frame in frames if 0 < frame < timebase.num_frames})


def _edges(window: Window) -> set[int]:
    """The latent frames of a window whose predecessor is not in it, and those after one whose successor is not."""
    frames = set(window.indices)
    return {f for f in frames if f - 1 not in frames} | {f + 1 for f in frames if f + 1 not in frames}


def _floats(frame: torch.Tensor | np.ndarray) -> np.ndarray:
    if isinstance(frame, torch.Tensor):
        frame = frame.detach().to(device="cpu", dtype=torch.float32).numpy()
    return np.asarray(frame, dtype=np.float32)


def ring_flicker(
    edited: torch.Tensor | np.ndarray, source: torch.Tensor | np.ndarray, masks: torch.Tensor | np.ndarray, width: int
) -> float:
    """How much more an edit flickers than its source where its mask ends. 1 is as much.

    Frame differences in the ring of pixels up to ``width`` from the mask's edge, on both sides of it, of the edited
    video over those of the source. The ring of a step is that of its second frame.

    Args:
        edited, source: ``t h w c`` in the same units.
        masks: ``t h w``, above 0.5 inside.
        width: pixels, 1 or more.

    Returns:
        The ratio of the means over all steps; infinity where the source does not change there and the edit does.

    Raises:
        ValueError: lengths or sizes differ, or no mask has an edge.
    """
    if not len(edited) == len(source) == len(masks) or edited.shape[1:3] != masks.shape[1:3]:
        raise ValueError(
            f"The edit is {tuple(edited.shape)}, its source {tuple(source.shape)} and the masks {tuple(masks.shape)}; "
            "they must have the same frames and size."
        )
    changed, before, pixels = 0.0, 0.0, 0
    for index in range(1, len(edited)):
        ring = _ring(_floats(masks[index]) > 0.5, width)
        pixels += int(ring.sum())
        for video in (edited, source):
            step = np.abs(_floats(video[index]) - _floats(video[index - 1])).mean(-1)[ring].sum(dtype=np.float64)
            changed, before = (changed + step, before) if video is edited else (changed, before + step)
    if not pixels:
        raise ValueError("No mask has an edge, so there is no ring to look at.")
    return changed / before if before else (math.inf if changed else 1.0)


def _ring(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of ``h w`` that are at most ``width`` from the edge of a mask, by steps to the four neighbours."""
    outer, inner = mask, ~mask
    for _ in range(width):
        outer, inner = _spread(outer), _spread(inner)
    return outer & inner


def _spread(mask: np.ndarray) -> np.ndarray:
    framed = np.pad(mask, 1)
    return mask | framed[:-2, 1:-1] | framed[2:, 1:-1] | framed[1:-1, :-2] | framed[1:-1, 2:]
