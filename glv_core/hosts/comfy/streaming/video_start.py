"""What a streamed video begins with: a LATENT, images, or nothing but a size."""

from __future__ import annotations

from typing import Any

import comfy.utils
import torch

from ....streaming import RunFolder, chunk_key
from ..co_denoise.sampling import samples_for
from ..families import num_frames_encoded, time_dim_of
from .hashes import weights_hash


def video_start(
    model: Any,
    latent: dict | None,
    image: torch.Tensor | None,
    vae: Any,
    width: int,
    height: int,
    folder: RunFolder | None = None,
) -> tuple[torch.Tensor | None, tuple[int, ...]]:
    """The video so far, and the size ``b c h w`` of the latent frames to make; ``folder`` keeps what is encoded."""
    latent_format = model.model.latent_format
    if latent is not None and image is not None:
        raise ValueError("Both latent and image are connected. Connect the one that the video is to begin with.")
    if image is not None:
        samples = samples_for(model, {"samples": encode_start(vae, image, "image", folder)})
        return samples, _size(samples, latent_format)
    if latent is not None:
        samples = samples_for(model, latent)
        known = _known(samples, latent.get("noise_mask"), time_dim_of(latent_format))
        return (known if torch.count_nonzero(known) else None), _size(samples, latent_format)
    scale = latent_format.spacial_downscale_ratio
    for name, value in (("width", width), ("height", height)):
        if value % scale:
            raise ValueError(f"{name} is {value}; this model needs a multiple of {scale}.")
    return None, (1, latent_format.latent_channels, height // scale, width // scale)


def _known(samples: torch.Tensor, mask: torch.Tensor | None, time_dim: int) -> torch.Tensor:
    """The latent frames at the beginning that a LATENT's mask says are finished; all of them without a mask."""
    if mask is None:
        return samples
    if mask.ndim != samples.ndim or mask.shape[time_dim] != samples.shape[time_dim]:
        raise ValueError("latent has a mask that does not run along its frames. Remove it (SetLatentNoiseMask).")
    open_ = mask.movedim(time_dim, 0).flatten(1).amax(dim=1) > 0
    count = int(open_.int().argmax()) if bool(open_.any()) else len(open_)
    if bool((mask.movedim(time_dim, 0).flatten(1).amin(dim=1)[count:] < 1).any()):
        raise ValueError(
            "latent has a mask with finished parts behind its beginning, which streaming cannot keep. Give only the "
            "frames that the video is to begin with."
        )
    return samples.narrow(time_dim, 0, count)


def _resized(image: torch.Tensor, vae: Any, size: tuple[int, ...]) -> torch.Tensor:
    """An image ``1 h w c`` in the size of the video, of other proportions its middle."""
    scale = vae.spacial_compression_encode() if vae is not None else 1
    height, width = size[2] * scale, size[3] * scale
    return comfy.utils.common_upscale(image.movedim(-1, 1), width, height, "lanczos", "center").movedim(1, -1)


def anchor_latents(
    model: Any, image: torch.Tensor, vae: Any, size: tuple[int, ...], folder: RunFolder | None = None
) -> torch.Tensor:
    """Latents of an anchor image ``b h w c``, of which the first counts, in the size ``b c h w`` of the video."""
    return samples_for(model, {"samples": encode_start(vae, _resized(image[:1], vae, size), "anchor_image", folder)})


def _size(samples: torch.Tensor, latent_format: Any) -> tuple[int, ...]:
    batch = samples.shape[0] if time_dim_of(latent_format) == 2 else 1
    return (batch, samples.shape[1], *samples.shape[-2:])


def encode_start(vae: Any, frames: torch.Tensor, name: str, folder: RunFolder | None = None) -> torch.Tensor:
    """Latents of images ``t h w c``; of a causal VAE as many frames as it can hold. ``folder`` keeps them."""
    if vae is None:
        raise ValueError(f"{name} is connected, but no vae. Connect the VAE of the model.")
    frames = frames[: num_frames_encoded(vae, len(frames)), ..., :3]
    if folder is None:
        return vae.encode(frames)
    key = chunk_key({"vae": weights_hash(vae.patcher)}, frames)
    return folder.kept(name, key, lambda: vae.encode(frames))
