"""What is saved: frames of a LATENT, an IMAGE or a VIDEO, a few at a time, and their sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import comfy.model_management
import comfy.utils
import torch

from ....video_io import Audio, Waveform, frame_rate, tell
from ..families import checked_sound_vae, compression_of_vae, num_frames_decoded, streams_of
from .long_video import clip_of, frames_of, rate_of, sound_of
from .sound_pieces import LatentSound
from .vae_pieces import decode_pieces


def frames_to_save(
    samples: dict | None, vae: Any, images: torch.Tensor | None, video: Any, fps: float, deep: bool
) -> tuple[Iterator[torch.Tensor], float]:
    """The frames of a LATENT, an IMAGE or a VIDEO, a few at a time, and how many a second.

    ``deep``: in 0..1 with all their bits, where a VIDEO has more than 8.

    Raises:
        ValueError: none of them is given, or several, or a LATENT without its VAE.
    """
    given = [name for name, value in (("samples", samples), ("images", images), ("video", video)) if value is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "nothing"
        raise ValueError(f"{found} is connected. Connect one of samples (with vae), images and video.")
    if samples is not None:
        if vae is None:
            raise ValueError("samples is connected, but no vae. Connect the VAE of the model.")
        latents = _video_part(samples)
        compression_of_vae(vae)  # refuses a VAE without frames
        bar = comfy.utils.ProgressBar(latents.shape[2] if latents.ndim == 5 else latents.shape[0])
        return decode_pieces(vae, latents, lambda done, _: bar.update_absolute(done)), fps
    if images is not None:
        return _one_by_one(images[..., :3].split(16)), fps
    clip = clip_of(video)
    tell(*(() if clip is None else clip.notes))
    return _one_by_one(frames_of(video, deep)), rate_of(video)


def _one_by_one(parts: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The frames alone, so that an interrupt ends saving before the next one."""
    for part in parts:
        for frame in part.split(1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield frame


def _video_part(samples: dict) -> torch.Tensor:
    """The latent of the images, of models that make sound as well."""
    return streams_of(samples["samples"])[0]


def sound_to_save(
    audio: dict | None, audio_from: Any, audio_vae: Any, video: Any, samples: dict | None, vae: Any, fps: float
) -> Audio | None:
    """The sound of an AUDIO, of a video, or of a LATENT that has sound beside the video.

    Raises:
        ValueError: several of them are given, or an audio VAE that has nothing to decode or is not the latent's.
    """
    sources = (("audio", audio), ("audio_from", audio_from), ("audio_vae", audio_vae))
    given = [name for name, value in sources if value is not None]
    if len(given) > 1:
        raise ValueError(f"Both {given[0]} and {given[1]} are connected. Connect one.")
    if audio is not None:
        return Waveform(audio["waveform"], audio["sample_rate"])
    if audio_vae is not None:
        return _sound_of(samples, vae, audio_vae, fps)
    source = video if audio_from is None else audio_from
    return None if source is None else sound_of(source)


def _sound_of(samples: dict | None, vae: Any, audio_vae: Any, fps: float) -> LatentSound:
    """The sound of a LATENT, exactly as long as its video."""
    sound = checked_sound_vae(audio_vae)
    streams = [] if samples is None else streams_of(samples["samples"])
    if len(streams) < 2:
        raise ValueError(
            "audio_vae is connected, but samples has no sound beside the video. Connect a latent of video and sound "
            "(Long Latent with audio_vae makes one), or leave audio_vae out."
        )
    video, tones = streams
    sound.check(tones)
    seconds = num_frames_decoded(vae, video) / frame_rate(fps)
    return LatentSound(sound, tones, round(seconds * sound.sample_rate))


def size_to_save(samples: dict | None, vae: Any, images: torch.Tensor | None, video: Any) -> tuple[int, int]:
    """Width and height, which a file name may mention."""
    if samples is not None:
        scale = vae.spacial_compression_decode()
        return _video_part(samples).shape[-1] * scale, _video_part(samples).shape[-2] * scale
    if images is not None:
        return images.shape[2], images.shape[1]
    clip = clip_of(video)
    return video.get_dimensions() if clip is None else (clip.width, clip.height)
