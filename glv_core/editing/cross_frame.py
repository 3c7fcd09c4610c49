"""Cross-frame attention: in a window, every frame looks at two frames of it in place of itself.

An image model that is given the frames of a video as a batch denoises each for itself. Gen-L-Video (arXiv 2305.18264)
and Follow-Your-Pose (arXiv 2304.01186) tie them together without training: keys and values of the self-attention are
made from the tokens of two other frames. Which, counted inside the window, is a ``RULES`` of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def middle_and_inward_neighbour(frames: int) -> torch.Tensor:
    """The window's middle frame, and the neighbour one step toward it (Gen-L-Video's bi-directional attention).

    A frame's own tokens are not among the keys and values, but for the middle frame, ``frames // 2``, which sees itself
    twice.

    Args:
        frames: frames of the window, 1 or more.

    Returns:
        ``[frames, 2]``: the two frames that each frame looks at.
    """
    middle = frames // 2
    every = torch.arange(frames)
    return torch.stack([torch.full_like(every, middle), every + (middle - every).sign()], dim=1)


def first_and_previous(frames: int) -> torch.Tensor:
    """The window's first frame, and the one before (the sparse-causal attention of Follow-Your-Pose).

    The first frame has none before, and sees itself twice.

    Args:
        frames: frames of the window, 1 or more.

    Returns:
        ``[frames, 2]``: the two frames that each frame looks at.
    """
    every = torch.arange(frames)
    return torch.stack([torch.zeros_like(every), (every - 1).clamp(min=0)], dim=1)


#: Rules by name -> from the frames of a window to the two that each of them looks at.
RULES: dict[str, Callable[[int], torch.Tensor]] = {
    "middle_and_inward_neighbour": middle_and_inward_neighbour,
    "first_and_previous": first_and_previous,
}


def seen_frames(rule: str, frames: int) -> torch.Tensor:
    """The two frames that each frame of a window looks at, ``[frames, 2]``.

    Args:
        rule: one of ``RULES``.
        frames: frames of the window.

    Raises:
        ValueError: an unknown rule, or a window without frames.
    """
    if rule not in RULES:
        raise ValueError(f"Unknown rule {rule!r} of cross-frame attention. Known: {', '.join(RULES)}.")
    if frames < 1:
        raise ValueError(f"A window has {frames} frames; cross-frame attention needs 1 or more.")
    return RULES[rule](frames)


def frames_of_a_group(rows: int, groups: int) -> int:
    """How many frames each window of a batch has, whose rows are the frames of ``groups`` windows.

    Raises:
        ValueError: the batch does not divide among them.
    """
    if groups < 1 or rows < groups or rows % groups:
        raise ValueError(
            f"A batch of {rows} images does not divide among {groups} windows, so which of them are the frames of one "
            "video is not known. Sample one video at a time, with as many frames for every prompt."
        )
    return rows // groups


def gather_tokens(tokens: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The tokens that keys and values are made from: of each frame, those of the frames that it looks at.

    To gather before the projection to keys and values, which takes token by token, is the same as to gather behind it.

    Args:
        tokens: ``(g f) n c``, groups of ``f`` frames behind each other; frames are counted inside their group.
        seen: ``[f, k]``, as of ``seen_frames``.

    Returns:
        ``(g f) (k n) c``: the tokens of the first frame that is seen, then those of the second.

    Raises:
        ValueError: the rows are not whole groups.
    """
    rows, count, channels = tokens.shape
    frames, each = seen.shape
    groups = rows // max(frames, 1)
    if groups * frames != rows:
        raise ValueError(f"{rows} rows of tokens are not whole groups of {frames} frames.")
    grouped = tokens.reshape(groups, frames, count, channels)
    gathered = grouped[:, seen.to(tokens.device).flatten()]
    return gathered.reshape(rows, each * count, channels)
