"""What Wan VACE is shown of a long video, made at constant memory: the values of the host's WanVaceToVideo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.utils
import torch

from ....editing.mask_cells import mask_cells, nearest_frames
from ..families import num_frames_covering, num_frames_encoded
from ..video.frame_source import FrameSource, frame_source
from ..video.memory_mapped import memory_mapped_zeros
from ..video.vae_pieces import encode_pieces
from .pixels import BATCH, Masks, Size, masks_of, pieces

NO_LENGTH = "length is 0 and there is no control_video to take it from. Set length, or connect one."
PATCH = 8  #: pixels a side that one latent pixel holds; each is a channel of the mask


@dataclass(frozen=True)
class VaceInputs:
    """What LongVaceConditioning is given.

    Args:
        control_video: a VIDEO or an IMAGE, or None for mid grey.
        control_masks: ``t h w`` in 0..1, where the video is made anew, or None for everywhere.
        reference_image: an IMAGE, of which the first is taken, or None.
        strength: how much the branch counts.
        width, height: in pixels.
        length: in frames; 0 for those of ``control_video``, else of ``control_masks``.
        fill_masked: make the control video mid grey by as much as the mask says, before it is split.
    """

    control_video: Any = None
    control_masks: torch.Tensor | None = None
    reference_image: torch.Tensor | None = None
    strength: float = 1.0
    width: int = 832
    height: int = 480
    length: int = 0
    fill_masked: bool = True


@dataclass(frozen=True)
class VaceConditioning:
    """``values`` for a CONDITIONING, an empty latent ``1 16 t h w``, and how many latent frames to cut off in front."""

    values: dict[str, list]
    samples: torch.Tensor
    trim_latent: int


def vace_conditioning(vae: Any, given: VaceInputs) -> VaceConditioning:
    """The control video split by the masks, encoded a few frames at a time, with the masks of its latent frames.

    The inactive part is the video outside of the masks, the reactive one that inside, each mid grey elsewhere; they
    are encoded apart and stand one after the other in the channels. The 8 x 8 mask pixels of a latent pixel are its
    channels, and of the masks of its frames a latent frame has the middle one. Wan VACE (arXiv 2503.07598), as the
    host's WanVaceToVideo does it.

    Args:
        vae: Wan 2.1's VAE.

    Returns:
        ``vace_frames`` ``1 32 t h w``, ``vace_mask`` ``1 64 t h w``, both with the latent frame of the reference in
        front, and ``vace_strength``.

    A length of 0 is that of the video; with masks one that holds all of its frames, the last of which is repeated up
    to 3 times, so that an edit reaches the end.

    Raises:
        ValueError: another VAE, sizes that do not fit, no length, or masks that are shorter than the video that they
            are to be filled in.
    """
    _check(vae, given)
    source = None if given.control_video is None else frame_source(given.control_video, "control_video")
    masks = None if given.control_masks is None else masks_of(given.control_masks, "control_masks")
    length = given.length or _length(vae, source, masks)
    keeps_last = not given.length and masks is not None
    needed = 0 if source is None else min(length, source.num_frames)
    if given.fill_masked and source is not None and masks is not None and 1 < len(masks) < needed:
        raise ValueError(
            f"control_masks has {len(masks)} frames, and {needed} frames of control_video are used: those without "
            "a mask would be made anew whole. Connect a mask for each of them, or turn fill_masked off."
        )
    size = Size(given.width, given.height)
    known = len(masks) if keeps_last and source is None else needed
    sized = Masks(masks, size, holds=given.fill_masked, length=known, keeps_last=keeps_last)
    reference = None
    if given.reference_image is not None:
        reference = _reference(vae, frame_source(given.reference_image, "reference_image"), size)
    fill = given.fill_masked and masks is not None
    bar = comfy.utils.ProgressBar(2 * length)
    parts = []
    for number, reactive in enumerate((False, True)):
        frames = _split(source, sized, length, fill, reactive)
        parts.append(
            encode_pieces(vae, frames, lambda done, _, start=number * length: bar.update_absolute(start + done))
        )
    latents = torch.cat(parts, dim=1)
    lead = 0 if reference is None else reference.shape[2]
    if reference is not None:
        latents = torch.cat([reference.to(latents), latents], dim=2)
    mask = _mask_channels(sized, length, latents.shape[2] - lead, lead)
    samples = torch.zeros(
        1, 16, latents.shape[2], size.height // PATCH, size.width // PATCH,
        device=comfy.model_management.intermediate_device(),
    )  # fmt: skip
    values = {"vace_frames": [latents], "vace_mask": [mask], "vace_strength": [given.strength]}
    return VaceConditioning(values, samples, lead)


def _check(vae: Any, given: VaceInputs) -> None:
    channels, scale = vae.latent_channels, vae.spacial_compression_encode()
    if vae.latent_dim != 3 or channels != 16 or scale != PATCH:
        raise ValueError(
            f"vae makes latents of {channels} channels for {scale} x {scale} pixels; Wan VACE has those of Wan 2.1's "
            "VAE, 16 for 8 x 8. Connect Wan 2.1's VAE."
        )
    check_sides(given.width, given.height)
    if given.length < 0:
        raise ValueError(f"length is {given.length} frames; it must be 0 or more.")


def check_sides(width: int, height: int) -> None:
    """Check a size in pixels.

    Raises:
        ValueError: VACE cannot have it.
    """
    for name, value in (("width", width), ("height", height)):
        if value < 16 or value % 16:
            raise ValueError(f"{name} is {value} pixels; it must be a multiple of 16. Use {max(1, value // 16) * 16}.")


def _length(vae: Any, source: FrameSource | None, masks: torch.Tensor | None) -> int:
    if source is None and masks is None:
        raise ValueError(NO_LENGTH)
    if masks is None:
        return num_frames_encoded(vae, source.num_frames)
    return num_frames_covering(vae, source.num_frames if source is not None else len(masks))


def _reference(vae: Any, source: FrameSource, size: Size) -> torch.Tensor:
    """The latent frame of a reference image, with nothing in the channels of the reactive part."""
    image = next(pieces(source, size, 1))
    latent = vae.encode(image)
    return torch.cat([latent, comfy.latent_formats.Wan21().process_out(torch.zeros_like(latent))], dim=1)


def _split(
    source: FrameSource | None, masks: Masks, length: int, fill: bool, reactive: bool
) -> Iterator[torch.Tensor]:  # fmt: skip
    """The frames inside the masks, or those outside, mid grey elsewhere: pieces ``t h w 3``."""
    at = 0
    for part in pieces(source, masks.size, length, masks.keeps_last):
        mask = masks.at(range(at, at + len(part))).movedim(1, -1)
        shades = part - 0.5
        if fill:
            shades = shades * (1 - mask)
        yield (shades * (mask if reactive else 1 - mask)) + 0.5
        at += len(part)


def _mask_channels(masks: Masks, length: int, num_latent_frames: int, lead: int) -> torch.Tensor:
    """The masks as ``1 64 t h w``, 0 in the ``lead`` latent frames in front; a large one lies in a file."""
    rows, columns = masks.size.height // PATCH, masks.size.width // PATCH
    made = memory_mapped_zeros((1, PATCH * PATCH, lead + num_latent_frames, rows, columns))
    chosen = nearest_frames(length, num_latent_frames)
    for start in range(0, num_latent_frames, BATCH):
        part = mask_cells(masks.at(chosen[start : start + BATCH])[:, 0], PATCH)
        first = lead + start
        made[0, :, first : first + part.shape[1]] = part
    return made
