"""An edit put back into the video that it was made of: the edit inside a mask, the original's own bits outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F

from ..perception import mask_ops
from ..video_io import rechunk

BATCH = 16  #: frames at a time


def composite(
    original: torch.Tensor, edited: torch.Tensor, mask: torch.Tensor, grow: int = 0, feather: int = 0
) -> torch.Tensor:
    """The edit where the mask is 1, the original where it is 0, and a mix between.

    Where the mask, grown and feathered, is 0, the result has the bits of the original; where it is 1 and the edit has
    the size and type of the original, those of the edit. An edit of another size is taken as the middle of the
    original, which is what is left of a video that was cropped to other proportions: it is enlarged or shrunk until it
    fits, and beside it the original stays. A mask of another size is laid upon the original in the same way.

    Args:
        original: ``t h w c`` uint8, or float in 0..1; of more than three channels the others stay.
        edited: ``t h2 w2 3`` uint8, or float in 0..1.
        mask: ``t h3 w3`` or ``1 h3 w3`` in 0..1, or bool.
        grow: the mask is cut at 0.5 and grown by a disc of so many pixels of the original; below 0 it is shrunk, and 0
            leaves it as it is.
        feather: its edge is softened over so many pixels to either side.

    Returns:
        ``t h w c`` in the type of the original.

    Raises:
        ValueError: the frames of the three differ in number, or ``feather`` is below 0.
    """
    if len(edited) != len(original) or len(mask) not in (1, len(original)):
        raise ValueError(
            f"original has {len(original)} frames, edited {len(edited)} and mask {len(mask)}. Give all of them as many "
            "frames, or the mask one."
        )
    height, width = original.shape[1:3]
    inside = finished_mask(mask, height, width, grow, feather)
    full = 255.0 if original.dtype == torch.uint8 else 1.0
    edit = edited.movedim(-1, 1).float()
    if edited.dtype != original.dtype:
        edit = edit * (full / (255.0 if edited.dtype == torch.uint8 else 1.0))
    edit, covered = _laid(edit, height, width, "bicubic")
    if edit.shape[2:] != edited.shape[1:3]:
        edit = edit.clamp(0, full)  # a bicubic curve overshoots
    edit = edit.movedim(1, -1)
    inside = (inside * covered)[..., None]
    known = original[..., :3]
    mixed = torch.where(inside >= 1, edit, known + inside * (edit - known))
    if original.dtype == torch.uint8:
        mixed = mixed.round().clamp(0, 255)
    result = original.clone()
    result[..., :3] = torch.where(inside > 0, mixed.to(original.dtype), known)
    return result


def composite_frames(
    original: Iterable[torch.Tensor],
    edited: Iterable[torch.Tensor],
    mask: torch.Tensor,
    grow: int = 0,
    feather: int = 0,
) -> Iterator[torch.Tensor]:
    """``composite`` of videos that come a few frames at a time, in pieces of at most ``BATCH`` frames.

    Where the edit is shorter the remaining frames of the original stay; where it is longer its rest is left out.

    Args:
        original: pieces ``t h w c``, of any length each.
        edited: pieces ``t h2 w2 3``.
        mask: ``t h3 w3`` for at least as many frames as both have, or ``1 h3 w3`` for all of them.
        grow, feather: as for ``composite``.
    """
    edits = rechunk(edited, BATCH, BATCH, keep_rest=True)
    at = 0
    for part in rechunk(original, BATCH, BATCH, keep_rest=True):
        edit = next(edits, None)
        count = 0 if edit is None else min(len(part), len(edit))
        if edit is None or not count:
            yield part
        else:
            masks = mask if len(mask) == 1 else mask[at : at + count]
            done = composite(part[:count], edit[:count], masks, grow, feather)
            yield done if count == len(part) else torch.cat([done, part[count:]])
        at += len(part)


def finished_mask(mask: torch.Tensor, height: int, width: int, grow: int = 0, feather: int = 0) -> torch.Tensor:
    """A mask ``t h3 w3`` in the size of a video, grown and feathered: ``t height width`` float in 0..1.

    Raises:
        ValueError: ``feather`` is below 0.
    """
    if feather < 0:
        raise ValueError(f"feather is {feather} pixels; it must be 0 or more.")
    soft, _ = _laid(mask[:, None].float(), height, width, "bilinear")
    soft = soft[:, 0]
    if grow:
        soft = torch.stack([mask_ops.grow(each >= 0.5, grow) for each in soft]).float()
    return torch.stack([mask_ops.feather(each, feather) for each in soft]) if feather else soft


def _laid(images: torch.Tensor, height: int, width: int, method: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``t c h2 w2`` float as the middle of another size, and where they are: ``height width`` of 0 and 1."""
    fit = min(width / images.shape[3], height / images.shape[2])
    rows, columns = round(images.shape[2] * fit), round(images.shape[3] * fit)
    # Sizes were rounded where proportions were kept: one row too few is none.
    size = height if rows >= height - 1 else rows, width if columns >= width - 1 else columns
    if size != tuple(images.shape[2:]):
        images = F.interpolate(images, size, mode=method, align_corners=False, antialias=True)
    covered = torch.ones(size, device=images.device)
    above, left = (height - size[0]) // 2, (width - size[1]) // 2
    edges = (left, width - size[1] - left, above, height - size[0] - above)
    return (F.pad(images, edges), F.pad(covered, edges)) if any(edges) else (images, covered)
