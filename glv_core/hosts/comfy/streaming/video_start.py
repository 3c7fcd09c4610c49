"""What a streamed video begins with: a LATENT, images, or nothing but a size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.utils
import torch

from ....streaming import RunFolder, chunk_key
from ....timeline import Compression
from ..co_denoise.sampling import samples_for
from ..families import family_of, streams_of, time_dim_of
from .chunks import to_video
from .hashes import weights_hash


@dataclass(frozen=True)
class VideoStart:
    """What a video begins with.

    ``given``: what there is of each stream, the video ``b c t h w`` first; empty where there is nothing. ``shapes``: of
    the streams of a latent of the video's size, of whatever length. ``time_dims``: their axes of time.
    """

    given: tuple[torch.Tensor, ...]
    shapes: tuple[tuple[int, ...], ...]
    time_dims: tuple[int, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """The video's latent frames, ``b c h w``; b is 1 where frames are the batch."""
        return (*self.shapes[0][:2], *self.shapes[0][3:])


def video_start(
    model: Any,
    latent: dict | None,
    image: torch.Tensor | None,
    vae: Any,
    width: int,
    height: int,
    folder: RunFolder | None = None,
) -> VideoStart:
    """The video so far, or nothing but its size; ``folder`` keeps what is encoded.

    Raises:
        ValueError: something is missing, is given twice, or does not fit the model.
    """
    latent_format, family = model.model.latent_format, family_of(model.model)
    if latent is not None and image is not None:
        raise ValueError("Both latent and image are connected. Connect the one that the video is to begin with.")
    if image is not None:
        latent = {"samples": encode_start(vae, image, "image", folder, family.compression)}
    if latent is None:
        scale = latent_format.spacial_downscale_ratio
        for name, value in (("width", width), ("height", height)):
            if value % scale:
                raise ValueError(f"{name} is {value}; this model needs a multiple of {scale}.")
        channels = (*family.stream_channels, latent_format.latent_channels)[0]
        streams = [torch.zeros(1, channels, 1, height // scale, width // scale)]
        masks = None
    else:
        time_dim = time_dim_of(latent_format)
        video, *beside = streams_of(samples_for(model, latent, combined=True))
        streams, masks = [to_video(video, time_dim), *beside], latent.get("noise_mask")
        if masks is not None:
            mask, *masks_beside = streams_of(masks)
            masks = [to_video(mask, time_dim) if mask.ndim == video.ndim else mask, *masks_beside]
    num_given = len(streams)
    if num_given == 1 and len(family.streams) > 1:
        streams += _streams_that_must_be(latent_format, streams[0])
    shapes = tuple(tuple(stream.shape) for stream in streams)
    time_dims = (2, *(each.time_dim for each in family.streams_beside(shapes))) if len(streams) > 1 else (2,)
    given = []
    for number, (stream, axis) in enumerate(zip(streams, time_dims, strict=True)):
        mask = None if masks is None or number >= len(masks) else masks[number]
        is_open = number >= num_given or (masks is not None and mask is None)
        known = stream.narrow(axis, 0, 0) if is_open else _known(stream, mask, axis)
        given.append(known if torch.count_nonzero(known) else known.narrow(axis, 0, 0))
    if not any(each.shape[axis] for each, axis in zip(given, time_dims, strict=True)):
        given = []
    return VideoStart(tuple(given), shapes, time_dims)


def frames_given(model: Any, start: VideoStart) -> int:
    """Frames of the video that there is already; 0 where there is nothing."""
    count = start.given[0].shape[2] if start.given else 0
    return family_of(model.model).compression.num_frames(count) if count else 0


def _streams_that_must_be(latent_format: Any, video: torch.Tensor) -> list[torch.Tensor]:
    """The empty streams that a model's latents have beside a video, where the host says that they always do."""
    fix = getattr(latent_format, "fix_empty_latent", None)  # of newer hosts
    return [] if fix is None else streams_of(fix(torch.zeros_like(video)))[1:]


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
    compression = family_of(model.model).compression
    images = encode_start(vae, _resized(image[:1], vae, size), "anchor_image", folder, compression)
    return streams_of(samples_for(model, {"samples": images}, combined=True))[0]


def encode_start(
    vae: Any, frames: torch.Tensor, name: str, folder: RunFolder | None, compression: Compression
) -> torch.Tensor:
    """Latents of images ``t h w c``; as many frames as its VAE and the model can hold. ``folder`` keeps them."""
    if vae is None:
        raise ValueError(f"{name} is connected, but no vae. Connect the VAE of the model.")
    frames = frames[: compression.num_frames_of_clip(len(frames)), ..., :3]
    if folder is None:
        return vae.encode(frames)
    key = chunk_key({"vae": weights_hash(vae.patcher)}, frames)
    return folder.kept(name, key, lambda: vae.encode(frames))
