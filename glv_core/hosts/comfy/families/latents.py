"""What ComfyUI's latent formats and VAEs say of latents themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.model_management
import torch

from ....timeline import Compression, Timebase


def time_dim_of(latent_format: Any) -> int:
    """The axis of time in a model's latents: 2 in ``b c t h w``, or 0 where the frames are the batch ``t c h w``.

    Raises:
        ValueError: the model's latents have no frames (audio, 3D shapes).
    """
    dimensions = latent_format.latent_dimensions
    if dimensions == 1:
        raise ValueError(
            f"Co-denoising needs a video or image model; this model's latents ({type(latent_format).__name__}) have no "
            "frames. Connect a video model."
        )
    return 2 if dimensions == 3 else 0


def compression_of_vae(vae: Any) -> Compression:
    """How the latent frames of a ComfyUI VAE hold frames, as it says itself.

    Raises:
        ValueError: the VAE has no frames (audio, 3D shapes).
    """
    if vae.latent_dim not in (2, 3):
        raise ValueError("The VAE is not one for images or video. Connect the VAE of your video model.")
    ratio = (vae.temporal_compression_decode() or 1) if vae.latent_dim == 3 else 1
    is_causal = ratio == 1 or vae.upscale_ratio[0](1) == 1
    return Compression.causal(ratio) if is_causal else Compression((ratio,))


def vae_timebase(vae: Any, num_frames: int, fps: float) -> Timebase:
    """The timebase of the shortest video of at least ``num_frames`` that a ComfyUI VAE can make.

    Raises:
        ValueError: the VAE has no frames (audio, 3D shapes), or the numbers are out of range.
    """
    compression = compression_of_vae(vae)
    return Timebase.of_latent(compression.num_latent_frames(num_frames), fps, compression)


def num_frames_decoded(vae: Any, samples: torch.Tensor) -> int:
    """Frames that a LATENT's samples, ``b c t h w`` or ``t c h w``, decode to."""
    return compression_of_vae(vae).num_frames(samples.shape[2] if samples.ndim == 5 else samples.shape[0])


def num_frames_encoded(vae: Any, num_frames: int) -> int:
    """How many of so many frames a VAE can hold: a causal one leaves out those that do not fill a latent frame."""
    compression = compression_of_vae(vae)
    count = compression.num_latent_frames(num_frames)
    if compression.num_frames(count) == num_frames:
        return num_frames
    return compression.num_frames(count - 1) if count > 1 else 0


def num_frames_covering(vae: Any, num_frames: int) -> int:
    """How many frames the shortest latent has that holds all of so many."""
    compression = compression_of_vae(vae)
    return compression.num_frames(compression.num_latent_frames(num_frames))


def empty_latent(vae: Any, shape: Sequence[int], timebase: Timebase) -> dict[str, Any]:
    """An empty LATENT, as the host's own nodes make it: it says which VAE it is meant for."""
    dtype = getattr(comfy.model_management, "intermediate_dtype", lambda: torch.float32)()
    return {
        "samples": torch.zeros(tuple(shape), device=comfy.model_management.intermediate_device(), dtype=dtype),
        "downscale_ratio_spacial": int(vae.spacial_compression_encode()),
        "downscale_ratio_temporal": timebase.compression.ratio,
    }


def latent_shape(vae: Any, timebase: Timebase, width: int, height: int, batch_size: int = 1) -> list[int]:
    """Shape of a latent for ``vae``: ``b c t h w`` for video VAEs, ``t c h w`` (frames as batch) for image VAEs.

    Raises:
        ValueError: width or height is not a multiple of the VAE's spatial compression, or several videos are asked of
            a VAE whose batch is time.
    """
    spatial = int(vae.spacial_compression_encode())
    for name, value in (("width", width), ("height", height)):
        if value < spatial or value % spatial:
            nearest = max(spatial, round(value / spatial) * spatial)
            raise ValueError(
                f"{name} is {value}; this VAE needs a multiple of {spatial}. Use {nearest}, which is nearest."
            )
    space = [height // spatial, width // spatial]
    if vae.latent_dim == 3:
        return [batch_size, vae.latent_channels, timebase.num_latent_frames, *space]
    if batch_size != 1:
        raise ValueError(
            f"batch_size is {batch_size}; with an image VAE the batch holds the frames of one video. Use 1."
        )
    return [timebase.num_latent_frames, vae.latent_channels, *space]
