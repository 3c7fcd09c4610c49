"""LTX-Video, and LTX-2, whose latents may hold sound beside the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch

from ....streams import Stream
from ....video_models import LTX, LTX_2
from ....windows import Tile, View
from .continuation import CleanFrames, ContinuationInputs, SamplingInputs
from .family import Family


class CleanFramesAndGuide(CleanFrames):
    """The overlap as clean latent frames, and the anchor as a guide that stands one chunk in the past."""

    anchor_needs_one_window = True
    anchor_conditions = ("keyframe_idxs",)

    def _add_anchor(self, prepared: SamplingInputs, given: ContinuationInputs) -> None:
        from comfy_extras.nodes_lt import LTXVAddGuide

        scales = (8, 32, 32)
        append = LTXVAddGuide.append_keyframe
        # The anchor lasts as long as any latent frame, as newer hosts have to be told.
        lasting = {"causal_fix": False} if "causal_fix" in signature(append).parameters else {}
        prepared.positive, prepared.negative, prepared.samples, prepared.noise_mask = append(
            prepared.positive, prepared.negative, -scales[0] * given.chunk.length, prepared.samples,
            prepared.noise_mask, given.anchor, 1.0, scales, in_channels=given.anchor.shape[1], **lasting,
        )  # fmt: skip
        prepared.trail = 1


def _guided(entries: Sequence[Mapping[str, Any]], shape: Sequence[int]) -> tuple[int, ...]:
    """The latent frames that the guides of LTXVAddGuide guide, by the times of their tokens."""
    for entry in entries:
        times = entry.get("keyframe_idxs")
        if times is not None and times.shape[2]:
            firsts = times[0, 0, :: shape[3] * shape[4], 0]
            return tuple(-int(-first // 8) for first in firsts.tolist())
    return ()


def _times(cond: Any, view: View, shapes: Sequence[Sequence[int]], firsts: Sequence[int]) -> Any:
    """When and where the guides of a window are, ``b (t h w) (tokens) (from, to)``, on the window's own clock."""
    parts = [cond.cond[:, :, :0]]
    height, width = shapes[0][3:] if view.tile is None else view.tile.frame
    tokens = height * width
    for guide, guided in zip(view.guides, view.guided, strict=True):
        part = cond.cond[:, :, guide * tokens : (guide + 1) * tokens].clone()
        if view.tile is not None:
            part = _of_tile(part, view.tile)
        if guided < 0:
            part[:, 0] -= 8 * view.video[0]
        else:
            part[:, 0] -= 8 * (guided - list(view.video).index(guided))
            part[:, 0, :, 0] = part[:, 0, :, 0].clamp(min=0)  # a window's first latent frame holds one frame
            part[:, 0, :, 1] = part[:, 0, :, 1].clamp(min=1)
        parts.append(part)
    return cond._copy_with(torch.cat(parts, dim=2))


def _of_tile(times: torch.Tensor, tile: Tile) -> torch.Tensor:
    """When and where the tokens of a guide are that lie in a tile, which begins where the frame does."""
    grid = times.unflatten(2, tile.frame).movedim(-1, 2)  # b (t h w) (from, to) rows columns
    part = tile.of(grid) - (tile.of(grid)[..., :1, :1] - grid[..., :1, :1])
    return part.movedim(2, -1).flatten(2, 3)


def _guide_entries(cond: Any, view: View, shapes: Sequence[Sequence[int]], firsts: Sequence[int]) -> Any:
    """How much the guides that a window sees count: those of each that are left, and their part of its mask."""
    kept, first = [], 0
    for entry in cond.cond:
        count = entry["latent_shape"][0]
        own = [guide - first for guide in view.guides if first <= guide < first + count]
        if own:
            _, *size = entry["latent_shape"]
            tokens = entry["pre_filter_count"] // count  # with the holes between those of a small guide
            mask = entry.get("pixel_mask")
            if mask is not None and mask.shape[2] > 1:
                mask = _of_latent_frames(mask, count, own)
            if view.tile is not None:
                tokens = view.tile.height * view.tile.width
                spread = [whole // own for whole, own in zip(view.tile.frame, size, strict=True)]
                size = [view.tile.height // spread[0], view.tile.width // spread[1]]
                mask = mask if mask is None else view.tile.of(mask)
            kept.append({
                **entry,
                "pre_filter_count": tokens * len(own),
                "latent_shape": [len(own), *size],
                "pixel_mask": mask,
            })  # fmt: skip
        first += count
    return cond._copy_with(kept)


def _of_latent_frames(mask: torch.Tensor, count: int, own: Sequence[int]) -> torch.Tensor:
    """A mask ``1 1 frames h w`` of ``count`` latent frames as ``1 1 t h w`` of some of them, as the host reads it:
    the first frame, and behind it as many for each, or the nearest where there are fewer.
    """
    behind = mask.shape[2] - 1
    each = behind // max(1, count - 1)
    rows = []
    for place in own:
        if place and each:
            part = mask[:, :, 1 + (place - 1) * each : 1 + place * each]
        else:
            first = 1 + (place - 1) * behind // (count - 1) if place else 0
            part = mask[:, :, first : first + 1]
        rows.append(part.mean(dim=2, keepdim=True))
    return torch.cat(rows, dim=2)


_BY_WINDOW = {"keyframe_idxs": _times, "guide_attention_entries": _guide_entries}


def _sound(shapes: Sequence[Sequence[int]]) -> list[Stream]:
    """The sound ``b c t f`` beside the video ``b c t h w``: each latent frame has its share, as the host cuts it."""
    (_, _, frames, *_), (_, _, sound, _) = shapes
    return [Stream.proportional(sound, frames, 2, keeps_power=True)]


def _sound_per_frame(entries: Sequence[Mapping[str, Any]], frames: int, sound: int) -> float:
    """25 latent frames of sound a second, at the frame rate that the model is told; otherwise as the latent has it."""
    rate = next((entry["frame_rate"] for entry in entries if entry.get("frame_rate")), None)
    return 25 / rate if rate else sound / frames


_GENERATED = {"generated_keyframes": "LTX keyframes that are generated"}
_GUIDES = {
    "keyframe_idxs": "LTX guide frames (LTXVAddGuide)",
    "guide_attention_entries": "LTX guide frames (LTXVAddGuide)",
    **_GENERATED,
}
FAMILIES = (
    Family(
        LTX,
        latent_formats=("LTXV",),
        vae_classes=("comfy.ldm.lightricks.vae.causal_video_autoencoder.VideoVAE",),  # and LTX-2's
        frame_text={"LTXV": 1},
        frame_text_refused=_GUIDES,
        guided=_guided,
        by_window=_BY_WINDOW,
        refused=_GENERATED,
        chunk_refused=_GUIDES,
        continuation=lambda model: CleanFramesAndGuide(),
    ),
    Family(
        LTX_2,
        latent_formats=("LTXAV",),
        frame_text={"LTXAV": 1},
        frame_text_refused=_GUIDES,
        sound_text=True,
        streams=("video", "audio"),
        stream_channels=(128, 8),
        streams_beside=_sound,
        sound_per_frame=_sound_per_frame,
        of_stream={"audio_denoise_mask": 1},
        shared=frozenset({"ref_audio"}),
        guided=_guided,
        by_window=_BY_WINDOW,
        chunk_refused=_GUIDES,
        refused=_GENERATED,
        continuation=lambda model: CleanFramesAndGuide(),
    ),
)
