"""Inpainting of a long video with models that take mask and masked video beside the latent, made at constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.utils
import torch
import torch.nn.functional as F

from ....video_models import WAN, WAN_5B
from ..families import family_of_vae, num_frames_covering
from ..video.frame_source import FrameSource, frame_source
from ..video.vae_pieces import encode_pieces
from .pixels import BATCH, Masks, Size, masks_of, pieces

LATENTS = ("video", "video, outside held", "empty")
_PACKED = 4  # frames of a latent frame whose masks are the channels of Wan's mask; the first frame fills them all


@dataclass(frozen=True)
class InpaintInputs:
    """What LongInpaintConditioning is given.

    Args:
        video: a VIDEO or an IMAGE.
        mask: ``t h w`` in 0..1: from 0.5 on a pixel is made anew; one for every frame, or one for all.
        width, height: in pixels; 0 for those of ``video``, down to whole latent pixels.
        length: in frames; 0 for those of ``video`` and up to 3 more like the last one, which Wan needs to hold them
            all. Frames behind the end of a given length are made anew.
        latent: one of ``LATENTS``.
    """

    video: Any
    mask: torch.Tensor
    width: int = 0
    height: int = 0
    length: int = 0
    latent: str = LATENTS[0]


def inpaint_conditioning(vae: Any, given: InpaintInputs) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Mask and masked video in the latent's size, for the model that the VAE belongs to, and a latent to begin with.

    Both cut the mask at 0.5 and make the video mid grey where it is masked.

    * Wan's VAE: Wan Fun Inpaint's, and of Wan's image-to-video models. The mask of a latent frame has the masks of its
      four frames as channels, of the first one four times its mask, each shrunk bilinearly. As the host's
      WanFunInpaintToVideo, whose images at start and end are videos that are masked between.
    * An image VAE with 4 channels: inpainting models of SD 1.5 and SD 2, whose frames are the batch. The mask is shrunk
      to its nearest pixels, as Gen-L-Video's tuning-free-inpaint does it (arXiv 2305.18264). Keys as of the host's
      InpaintModelConditioning.

    Returns:
        Values for a CONDITIONING: ``concat_latent_image`` ``1 c t h w`` or ``t 4 h w``; ``concat_mask`` ``1 4 t h w``
        or ``t 1 h w``, 1 where it is made anew. And a LATENT: the video, or nothing; held outside the mask with a
        ``noise_mask`` ``1 1 t h w`` or ``t 1 h w``, 1 wherever a latent pixel has a masked pixel in it.

    Raises:
        ValueError: a VAE of other models, sizes that do not fit, or too few masks.
    """
    is_video = _is_video(vae)
    if given.latent not in LATENTS:
        raise ValueError(f"latent is {given.latent!r}; it must be one of {', '.join(LATENTS)}.")
    if given.length < 0:
        raise ValueError(f"length is {given.length} frames; it must be 0 or more.")
    source = frame_source(given.video, "video")
    masks = masks_of(given.mask, "mask")
    scale = int(vae.spacial_compression_encode())
    size = _size(given, source, 2 * scale if is_video else scale)
    length, keeps_last = given.length or num_frames_covering(vae, source.num_frames), not given.length
    known = min(length, source.num_frames)
    if 1 != len(masks) < known:
        raise ValueError(
            f"mask has {len(masks)} frames, and {known} frames of video are used. Connect a mask for each of them, or "
            "one for all."
        )
    # Behind the end of the video everything is made anew, whatever a longer mask says.
    sized = Masks(masks if len(masks) == 1 else masks[:known], size, holds=True, length=known, keeps_last=keeps_last)
    passes = 1 if given.latent == "empty" else 2
    bar = comfy.utils.ProgressBar(passes * length)
    masked = encode_pieces(vae, _masked(source, sized, length), lambda done, _: bar.update_absolute(done))
    channels, held = _mask_of_latents(sized, masked, scale, is_video)
    if given.latent == "empty":
        samples = torch.zeros_like(masked, device=comfy.model_management.intermediate_device())
    else:
        samples = encode_pieces(
            vae, pieces(source, size, length, keeps_last), lambda done, _: bar.update_absolute(length + done)
        )  # fmt: skip
    latent = {"samples": samples}
    if given.latent == "video, outside held":
        latent["noise_mask"] = held
    return {"concat_latent_image": masked, "concat_mask": channels}, latent


def takes_clip_vision(vae: Any) -> bool:
    """Whether the models of a VAE may take CLIP's view of an image."""
    return vae.latent_dim == 3


def _is_video(vae: Any) -> bool:
    """Whether the VAE is Wan's, else it is that of SD 1.5 and 2.

    Raises:
        ValueError: it is none of them.
    """
    if vae.latent_dim == 3:
        family = family_of_vae(vae)
        if family is not None and family.model in (WAN, WAN_5B):
            return True
    elif vae.latent_dim == 2 and vae.latent_channels == 4:
        return False
    raise ValueError(
        f"vae makes latents of {vae.latent_channels} channels, and is neither Wan's nor that of SD 1.5, SD 2 or SDXL, "
        "whose inpainting models this node is for. Connect the VAE of Wan Fun Inpaint or of an SD inpainting model."
    )


def _size(given: InpaintInputs, source: FrameSource, multiple: int) -> Size:
    wanted = []
    for name, asked, own in (("width", given.width, source.width), ("height", given.height, source.height)):
        value = asked or own // multiple * multiple
        if asked % multiple or value < multiple:
            shown = f"{name} is {asked}" if asked else f"{name} of video is {own}"
            raise ValueError(f"{shown} pixels; it must be {multiple} or a multiple of it. Set {name} to one.")
        wanted.append(value)
    return Size(*wanted)


def _masked(source: FrameSource, masks: Masks, length: int) -> Iterator[torch.Tensor]:
    """The video, mid grey where the mask is 0.5 or more: pieces ``t h w 3``."""
    at = 0
    for part in pieces(source, masks.size, length, masks.keeps_last):
        mask = masks.at(range(at, at + len(part))).movedim(1, -1)
        yield torch.where(mask < 0.5, part, 0.5)
        at += len(part)


def _mask_of_latents(
    masks: Masks, latents: torch.Tensor, scale: int, is_video: bool
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The mask as the network takes it, and that of all latent pixels with a masked pixel in them."""
    rows, columns = latents.shape[-2:]
    if is_video:
        count = latents.shape[2]
        channels, held = torch.zeros(1, _PACKED, count, rows, columns), torch.zeros(1, 1, count, rows, columns)
        num_frames = _PACKED * (count - 1) + 1
    else:
        num_frames = len(latents)
        channels, held = torch.zeros(num_frames, 1, rows, columns), torch.zeros(num_frames, 1, rows, columns)
    for start in range(0, num_frames, BATCH):
        frames = range(start, min(start + BATCH, num_frames))
        cut = (masks.at(frames) >= 0.5).float()
        touched = F.max_pool2d(cut, scale)
        if not is_video:
            channels[start : start + len(frames)] = F.interpolate(cut, (rows, columns), mode="nearest")
            held[start : start + len(frames)] = touched
            continue
        small = F.interpolate(cut, (rows, columns), mode="bilinear", align_corners=False)
        for place, frame in enumerate(frames):
            at = (frame + _PACKED - 1) // _PACKED
            channel = slice(None) if frame == 0 else (frame + _PACKED - 1) % _PACKED
            channels[0, channel, at] = small[place, 0]
            held[0, 0, at] = torch.maximum(held[0, 0, at], touched[place, 0])
    return channels, held
