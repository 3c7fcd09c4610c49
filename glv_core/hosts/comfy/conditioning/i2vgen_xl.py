"""The image that I2VGen-XL goes from, or one for each chunk; and the first frames of chunks."""

from __future__ import annotations

from typing import Any

import torch

from ....streamingt2v.lengths import Chunking, chunk_starts
from ..families.i2vgen_xl import CHUNK, FPS, IMAGES, OVERLAP, SEEN
from ..video.frame_source import frame_source
from ..video.refine_source import encode_to_refine


def image_conditioning(
    clip_vision: Any, vae: Any, image: torch.Tensor, width: int, height: int, fps: float, chunking: Chunking
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values for a positive and a negative CONDITIONING: both have the image's latent, and the negative a blank view.

    Args:
        clip_vision, vae: of the model.
        image: ``k h w 3`` in 0..1: one, or the first frame of each chunk.
        width, height: of the video in pixels, as of Refine Long Video; 0 is the image's.
        fps: that the model is told.
        chunking: of which the images are the first frames.

    Raises:
        ValueError: a size is not the VAE's, or the VAE is that of another model.
    """
    latents = encode_to_refine(vae, image, width, height, "crop").samples
    if latents.ndim != 4 or latents.shape[1] != 4:
        raise ValueError(
            f"vae makes latents of {latents.shape[1]} channels and {latents.ndim} axes; the model's have 4 and 4. "
            "Connect the vae of Load I2VGen-XL."
        )
    seen = clip_vision.encode_image(image[..., :3])["image_embeds"]
    values = {IMAGES: latents, SEEN: seen, CHUNK: chunking.chunk, OVERLAP: chunking.overlap, FPS: fps}
    return values, {**values, SEEN: torch.zeros_like(seen)}


def first_frames(video: Any, chunking: Chunking, policy: str) -> torch.Tensor:
    """The first frame of each chunk of a VIDEO or an IMAGE, ``k h w 3`` in 0..1.

    Raises:
        ValueError: see ``chunk_windows``.
    """
    source = frame_source(video, "video")
    starts = set(chunk_starts(source.num_frames, chunking, policy))
    found, at = [], 0
    for part in source.images():
        found += [frame.clone() for place, frame in enumerate(part, at) if place in starts]
        at += len(part)
    return torch.stack(found)
