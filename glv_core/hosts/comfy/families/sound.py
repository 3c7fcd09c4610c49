"""Latents of sound beside those of video: whose they are, how long they are, and how far their decoders look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ....video_models import LTX_2, MINIMAX_H3, VideoModel

MINIMAX_LATENTS_PER_SECOND = 40
_MINIMAX_SAMPLE_RATE = 32000


@dataclass(frozen=True)
class SoundVAE:
    """An audio VAE whose latents stand beside those of video.

    Args:
        model: the family that it belongs to.
        vae: ComfyUI's VAE; before 0.13 the audio VAE of LTX-2 is its network itself.
        axis: the axis of time in its latents.
        shape: those latents without time: ``8 16``, or ``32 2``.
        latents_per_second: how many.
        sample_rate: of the sound that it decodes to, in Hz.
        reach: latents before and behind one on which its sound depends; None where it depends on all of them.
        step: a piece must begin at a multiple of so many latents.
    """

    model: VideoModel
    vae: Any
    axis: int
    shape: tuple[int, int]
    latents_per_second: float
    sample_rate: int
    reach: tuple[int, int] | None
    step: int = 1

    @property
    def samples_per_latent(self) -> int:
        """Samples of the sound from one latent to the next."""
        return round(self.sample_rate / self.latents_per_second)

    def latent_shape(self, num_frames: int, fps: float, batch_size: int = 1) -> list[int]:
        """The shape of latents as long as a video, as the host's own nodes count them."""
        if self.model == MINIMAX_H3:
            return minimax_sound_shape(num_frames, batch_size)
        count = _network(self.vae).num_of_latents_from_frames(num_frames, fps)
        return [batch_size, self.shape[0], count, self.shape[1]]

    def check(self, latents: torch.Tensor) -> None:
        """Look that latents are this VAE's.

        Raises:
            ValueError: they are not.
        """
        shape = list(latents.shape)
        if latents.ndim != 4 or (*shape[1 : self.axis], *shape[self.axis + 1 :]) != self.shape:
            raise ValueError(
                f"The sound in samples has the shape {shape}, which is not that of {self.model.name}, whose VAE is "
                "connected as audio_vae. Connect the audio VAE of the model that made samples."
            )

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The sound of latents of one video, ``channels samples`` on the CPU."""
        waveform = self.vae.decode(latents)
        if _network(self.vae) is not self.vae:  # the host's VAEs put channels last
            waveform = waveform.movedim(-1, 1)
        return waveform[0].float().cpu()


def encode_sound(audio_vae: Any, waveform: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Latents of a waveform ``b channels samples``, the first of which lies at its beginning.

    They may be more than it has samples for: its end is mirrored to a length of which the host cuts nothing off. It
    cuts what is over at both ends alike, and all would be heard too soon.
    """
    from comfy_extras.nodes_lt_audio import LTXVAudioVAEEncode

    rate = sound_rate_of(audio_vae, 0)
    if rate:  # older hosts cut nothing
        from torchaudio.functional import resample

        waveform, sample_rate = resample(waveform, sample_rate, rate), rate
        missing = -waveform.shape[-1] % audio_vae.spacial_compression_encode()
        mirrored = waveform.flip(-1).repeat(1, 1, -(-missing // waveform.shape[-1]))[..., :missing]
        waveform = torch.cat([waveform, mirrored], dim=-1)
    audio = {"waveform": waveform, "sample_rate": sample_rate}
    return LTXVAudioVAEEncode.execute(audio, audio_vae).args[0]["samples"]


def sound_rate_of(audio_vae: Any, otherwise: int) -> int:
    """The rate in Hz at which the host's VAE takes sound; ``otherwise`` in older hosts, whose VAEs take any."""
    return getattr(audio_vae, "audio_sample_rate", otherwise)


def minimax_sound_shape(num_frames: int, batch_size: int = 1) -> list[int]:
    """The shape of MiniMax H3's sound beside a video of so many frames: ``b 32 2 t``, 40 latents a second."""
    return [batch_size, 32, 2, round(num_frames / MINIMAX_H3.fps * MINIMAX_LATENTS_PER_SECOND)]


def sound_vae_of(vae: Any) -> SoundVAE | None:
    """What a VAE is as an audio VAE of a model that makes video and sound; None for all others."""
    network = _network(vae)
    if hasattr(network, "num_of_latents_from_frames"):
        return _ltx(vae, network)
    if getattr(network, "samples_per_latent", 0) == _MINIMAX_SAMPLE_RATE // MINIMAX_LATENTS_PER_SECOND:
        return SoundVAE(
            MINIMAX_H3, vae, axis=3, shape=(32, 2), latents_per_second=MINIMAX_LATENTS_PER_SECOND,
            sample_rate=_MINIMAX_SAMPLE_RATE, reach=(32, 32),
        )  # fmt: skip
    return None


def checked_sound_vae(audio_vae: Any) -> SoundVAE:
    """What the VAE at the input ``audio_vae`` is.

    Raises:
        ValueError: it is no audio VAE of such a model.
    """
    sound = sound_vae_of(audio_vae)
    if sound is None:
        raise ValueError(
            f"audio_vae is not the audio VAE of {LTX_2.name} or {MINIMAX_H3.name}. Connect the one that the model "
            "makes sound with, or nothing."
        )
    return sound


def _network(vae: Any) -> Any:
    return getattr(vae, "first_stage_model", vae)


def _ltx(vae: Any, network: Any) -> SoundVAE:
    shape = (int(network.latent_channels), int(network.latent_frequency_bins))
    rate, per_second = int(network.output_sample_rate), float(network.latents_per_second)
    reach, step = (48, 16), 1
    if (rate / per_second) % 1 or any(_sees_all(module) for module in network.autoencoder.decoder.modules()):
        reach = None
    elif hasattr(network.vocoder, "hop_length"):  # the second stage of its vocoder looks at every so many samples
        low = round(network.vocoder.input_sample_rate / per_second)
        step = network.vocoder.hop_length // math.gcd(network.vocoder.hop_length, low)
    return SoundVAE(LTX_2, vae, 2, shape, per_second, rate, reach, step)


def _sees_all(layer: torch.nn.Module) -> bool:
    """Whether a layer of a decoder looks at the whole length: attention, or a norm over it."""
    return type(layer).__name__ == "AttnBlock" or isinstance(layer, torch.nn.GroupNorm)
