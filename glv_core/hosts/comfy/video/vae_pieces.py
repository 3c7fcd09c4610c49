"""Decoding and encoding long videos with a ComfyUI VAE a piece at a time, at constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import comfy.model_management
import torch
from comfy.ldm.modules.temporal_ae import VideoDecoder

from ....timeline import Compression
from ....video_io import rechunk
from ..families import compression_of_vae, family_of_vae, num_frames_encoded

#: Latent frames that a piece of a VAE without a cache shares with its neighbours on each side.
CONTEXT = 4
#: Latent frames decoded at once where the VAE's own loop cannot be followed, and images for image VAEs.
PIECE = 12
#: Clips of MiniMax H3's VAE, of 17 frames, that are decoded at once.
CLIPS = 5

OnProgress = Callable[[int, int], None]


def decode_pieces(vae: Any, samples: torch.Tensor, on_progress: OnProgress | None = None) -> Iterator[torch.Tensor]:
    """The frames of a LATENT, a few at a time.

    VAEs whose family knows their own loop (Wan's) are followed step by step with its caches, so their pixels are those
    of decoding at once. So are those of MiniMax H3's, which decodes clips of 17 frames and fades each into the next: a
    piece is whole clips, behind the one before them. Other video VAEs, and SVD's, decode pieces that share ``CONTEXT``
    latent frames with their neighbours and are cross-faded there, as the host's tiled decoding does. Image VAEs decode
    every frame alone.

    Args:
        vae: a ComfyUI VAE.
        samples: ``1 c t h w``, or ``t c h w`` for image VAEs.
        on_progress: called as ``on_progress(latent frames done, of all)``.

    Yields:
        ``t h w 3`` in 0..1 on the CPU.

    Raises:
        ValueError: an empty latent, or several videos in one batch.
    """
    if 0 in samples.shape:
        raise ValueError(f"samples is empty: its shape is {list(samples.shape)}.")
    if samples.ndim == 5 and samples.shape[0] > 1:
        raise ValueError(f"samples holds {samples.shape[0]} videos; save them one by one (LatentFromBatch).")
    total = samples.shape[2] if samples.ndim == 5 else samples.shape[0]
    done = 0
    for count, frames in _decode(vae, samples):
        comfy.model_management.throw_exception_if_processing_interrupted()
        done += count
        if on_progress is not None:
            on_progress(done, total)
        if len(frames):
            yield frames[..., :3].cpu()


def _decode(vae: Any, samples: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    if samples.ndim == 4 and isinstance(getattr(vae.first_stage_model, "decoder", None), VideoDecoder):
        yield from _decode_overlapping(vae, samples)
    elif samples.ndim == 4:
        for part in samples.split(PIECE):
            yield len(part), vae.decode(part)
    elif (loop := _own_loop(vae)) is not None:
        yield from loop.decode(samples)
    elif (compression := compression_of_vae(vae)).rest:
        yield from _decode_clips(vae, samples, compression)
    else:
        yield from _decode_overlapping(vae, samples)


def _own_loop(vae: Any) -> Any:
    family = family_of_vae(vae)
    return None if family is None or family.vae_loop is None else family.vae_loop(vae)


def _decode_overlapping(vae: Any, samples: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    axis = 2 if samples.ndim == 5 else 0
    length = samples.shape[axis]
    compression = (vae.temporal_compression_decode() or 1) if axis == 2 else 1
    tail: torch.Tensor | None = None  # the frames that the piece before made of the beginning of this one
    for start in range(0, length, PIECE):
        stop = min(start + PIECE, length)
        first, last = max(0, start - CONTEXT), min(stop + CONTEXT, length)
        frames = vae.decode(samples.narrow(axis, first, last - first))
        frames = frames.reshape(-1, *frames.shape[-3:])
        begin = _frames_before(start - first, compression, len(frames), last - first)
        end = _frames_before(stop - first, compression, len(frames), last - first)
        own, after = frames[begin:end], frames[end:]
        if tail is not None:
            count = min(len(tail) // 2, len(own))  # the other half lies too near the end of its piece
            rising = (torch.arange(count, device=own.device) + 1.0) / (count + 1)
            own = own.clone()
            own[:count] = tail[:count].lerp(own[:count], rising.view(-1, 1, 1, 1))
        tail = after
        yield stop - start, own


def _decode_clips(vae: Any, samples: torch.Tensor, compression: Compression) -> Iterator[tuple[int, torch.Tensor]]:
    """Decode ``1 c t h w`` of MiniMax H3: clip after clip, each with the beginning of the next one."""
    length, grain, frames = samples.shape[2], compression.grain, compression.num_frames(compression.grain)
    clips = max(1, -(-(length - compression.rest) // grain))
    for start in range(0, clips, CLIPS):
        stop, before = min(start + CLIPS, clips), min(start, 1)
        is_last = stop == clips
        last = length if is_last else stop * grain + compression.rest
        decoded = vae.decode(samples[:, :, (start - before) * grain : last])[0]
        end = None if is_last else (before + stop - start) * frames
        yield (length if is_last else stop * grain) - start * grain, decoded[before * frames : end]


def _frames_before(latents: int, compression: int, frames: int, length: int) -> int:
    """Frames that come before a latent frame of a decoded piece, whether its first one held one frame or all."""
    if latents == 0:
        return 0
    return latents * compression - (length * compression - frames)


def encode_pieces(vae: Any, frames: Iterable[torch.Tensor], on_progress: OnProgress | None = None) -> torch.Tensor:
    """The LATENT of a video that comes a few frames at a time.

    VAEs whose family knows their own loop are followed with its caches, and MiniMax H3's clips are encoded as they are;
    for other video VAEs pieces share ``CONTEXT`` latent frames with the one before. A causal VAE leaves out frames at
    the end that do not fill a latent frame, MiniMax H3's those behind 17 n + 5.

    Args:
        vae: a ComfyUI VAE.
        frames: pieces ``t h w 3`` in 0..1, of any length each.
        on_progress: called as ``on_progress(frames done, 0)``.

    Returns:
        ``1 c t h w``, or ``t c h w`` for image VAEs, on the CPU.

    Raises:
        ValueError: there is no frame.
    """
    latents = []
    done = 0
    for used, part in _encode(vae, frames):
        comfy.model_management.throw_exception_if_processing_interrupted()
        if part is not None:
            latents.append(part.cpu())
        done += used
        if on_progress is not None:
            on_progress(done, 0)
    if not latents:
        raise ValueError("The video has no frame.")
    return torch.cat(latents, dim=2 if latents[0].ndim == 5 else 0)


def _encode(vae: Any, frames: Iterable[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor | None]]:
    if vae.latent_dim != 3:
        for part in rechunk(frames, PIECE, PIECE, keep_rest=True):
            yield len(part), vae.encode(part)
        return
    compression = vae.temporal_compression_decode() or 1
    if (loop := _own_loop(vae)) is not None:
        yield from loop.encode(rechunk(frames, 1, compression, keep_rest=False))
        return
    if (whole := compression_of_vae(vae)).rest:
        yield from _encode_clips(vae, frames, whole)
        return
    before: torch.Tensor | None = None
    for part in rechunk(frames, 1 + (PIECE - 1) * compression, PIECE * compression, keep_rest=True):
        if before is None:
            part = part[: (len(part) - 1) // compression * compression + 1]
            yield len(part), vae.encode(part)
        else:
            part = part[: len(part) // compression * compression]
            if not len(part):
                return
            # One frame and CONTEXT - 1 latent frames of the past, which are left out again.
            latents = vae.encode(torch.cat([before[-(1 + (CONTEXT - 1) * compression) :], part]))
            yield len(part), latents[:, :, -(len(part) // compression) :]
        before = part if before is None else torch.cat([before, part])[-(1 + CONTEXT * compression) :]


def _encode_clips(
    vae: Any, frames: Iterable[torch.Tensor], compression: Compression
) -> Iterator[tuple[int, torch.Tensor]]:
    """Encode for MiniMax H3, whose VAE encodes clips alone and leaves out most of the last one: pieces of whole clips,
    each with the beginning of the next one, which is left out again.
    """
    grain = CLIPS * compression.grain
    size, ahead = compression.num_frames(grain), compression.num_frames(compression.rest)
    held = torch.zeros(0)
    for part in rechunk(frames, size, size, keep_rest=True):
        held = torch.cat([held, part]) if len(held) else part
        while len(held) >= size + ahead:
            yield size, vae.encode(held[: size + ahead])[:, :, :grain]
            held = held[size:]
    if len(held):
        held = held[: num_frames_encoded(vae, len(held))]
        yield len(held), vae.encode(held)
