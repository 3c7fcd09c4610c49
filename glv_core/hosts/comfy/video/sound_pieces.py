"""The sound of a long video to latents and back a piece at a time, so that a model's memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import comfy.model_management
import numpy as np
import torch

from ....video_io import BLOCK, Audio, read_audio
from ..families import SoundVAE, encode_sound, sound_rate_of

#: Latents of sound that a piece adds: 10 seconds of LTX-2 and 6 of MiniMax H3.
PIECE = 256
#: Latents before and behind a piece that are encoded with it. MiniMax H3's encoder looks at 12, but for its attention.
_MARGIN = 50


class LatentSound:
    """The sound of a latent, decoded as it is read.

    Args:
        sound: the audio VAE.
        latents: ``1 c t f`` of LTX-2, ``1 c 2 t`` of MiniMax H3.
        num_samples: how long it is: what is over is cut off, and what is missing is silence.
    """

    channels = 2

    def __init__(self, sound: SoundVAE, latents: torch.Tensor, num_samples: int) -> None:
        self._sound, self._latents, self._num_samples = sound, latents, num_samples
        self.sample_rate = sound.sample_rate

    def blocks(self) -> Iterator[np.ndarray]:
        left = self._num_samples
        for piece in decode_sound(self._sound, self._latents):
            stereo = piece.expand(self.channels, -1)[:, :left]
            left -= stereo.shape[1]
            for block in stereo.split(BLOCK, dim=1) if stereo.shape[1] else ():
                yield np.ascontiguousarray(block.numpy())
            if not left:
                return
        for start in range(0, left, BLOCK):
            yield np.zeros((self.channels, min(BLOCK, left - start)), dtype=np.float32)


def decode_sound(sound: SoundVAE, latents: torch.Tensor) -> Iterator[torch.Tensor]:
    """The sound of latents in pieces ``channels samples``, one after the other, as decoding at once makes it.

    A piece is decoded with as many latents before and behind it as its sound depends on, and cut out. A decoder with
    attention over time, or with norms over the whole length, decodes all at once: its memory grows with the length.
    """
    length = latents.shape[sound.axis]
    piece = length if sound.reach is None else _up(PIECE, sound.step)
    before, behind = (0, 0) if sound.reach is None else (_up(sound.reach[0], sound.step), sound.reach[1])
    for start in range(0, length, piece):
        comfy.model_management.throw_exception_if_processing_interrupted()
        first, stop = max(0, start - before), min(start + piece, length)
        waveform = sound.decode(latents.narrow(sound.axis, first, min(stop + behind, length) - first))
        begin = (start - first) * sound.samples_per_latent
        end = None if stop == length else (stop - first) * sound.samples_per_latent
        yield waveform[:, begin:end]


def encode_in_pieces(sound: SoundVAE, audio: Audio | None, shape: Sequence[int]) -> torch.Tensor:
    """Latents of the sound of one video, of a shape ``1 c t f`` (LTX-2) or ``1 c 2 t`` (MiniMax H3).

    What is over is cut off, and what is missing is silence: all of it where there is no sound.
    """
    from torchaudio.functional import resample

    rate, count = sound_rate_of(sound.vae, sound.sample_rate), shape[sound.axis]
    each = round(rate / sound.latents_per_second)
    heard = torch.zeros(2, count * each)
    if audio is not None:
        waveform = resample(read_audio(audio, mix=True), audio.sample_rate, rate)[:, : heard.shape[1]]
        heard[:, : waveform.shape[1]] = waveform  # of one channel both are that
    if not count:  # of one frame at a high rate
        return torch.zeros(tuple(shape))
    pieces = []
    for start in range(0, count, PIECE):
        comfy.model_management.throw_exception_if_processing_interrupted()
        first, stop = max(0, start - _MARGIN), min(start + PIECE, count)
        latents = encode_sound(sound.vae, heard[None, :, first * each : (stop + _MARGIN) * each], rate)
        pieces.append(latents.narrow(sound.axis, start - first, stop - start))
    return torch.cat(pieces, dim=sound.axis)


def _up(count: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-count // step) * step
