"""Handing sound on from chunk to chunk: as a waveform, which is encoded again."""

from __future__ import annotations

from typing import Any

import torch

from ..families import encode_sound
from .hashes import weights_hash

#: Latent frames of sound before a chunk that are decoded and encoded with what it knows, so that it does not hear where
#: they begin. MiniMax H3's decoder looks at 17 to each side and its encoder, but for its attention, at 12.
MARGIN = 50


class SoundAgain:
    """Sound latents through their VAE and back.

    Latents that go on from latents wander off from what a VAE makes of any sound: after some chunks speech is none.

    Args:
        audio_vae: the VAE.
        channels: of the latents.

    Raises:
        ValueError: it is no audio VAE, or that of other latents.
    """

    def __init__(self, audio_vae: Any, channels: int) -> None:
        network = getattr(audio_vae, "first_stage_model", audio_vae)  # in older hosts it is the network itself
        if not hasattr(network, "output_sample_rate"):
            raise ValueError("audio_vae is not an audio VAE. Connect the audio VAE of this model.")
        if audio_vae.latent_channels != channels:
            raise ValueError(
                f"audio_vae makes latents of {audio_vae.latent_channels} channels, and this model's sound has "
                f"{channels}. Connect the audio VAE of this model."
            )
        self.vae = audio_vae

    def hash(self) -> str:
        """A hash of the VAE's weights."""
        patcher = getattr(self.vae, "patcher", None)
        return weights_hash(patcher or self.vae.device_manager.patcher)  # the latter in older hosts

    def __call__(self, latents: torch.Tensor, before: int, time_dim: int) -> torch.Tensor:
        """Latents decoded and encoded again, without the first ``before`` elements.

        Raises:
            ValueError: the VAE makes other latents of them, or fewer.
        """
        from comfy_extras.nodes_lt_audio import LTXVAudioVAEDecode

        if latents.shape[time_dim] == before:
            return latents.narrow(time_dim, before, 0)
        audio = LTXVAudioVAEDecode.execute({"samples": latents}, self.vae).args[0]
        again = encode_sound(self.vae, audio["waveform"], audio["sample_rate"]).to(latents)
        count = latents.shape[time_dim]
        if again.narrow(time_dim, 0, min(count, again.shape[time_dim])).shape != latents.shape:
            raise ValueError(
                f"audio_vae makes latents {list(again.shape)} of sound whose latents are {list(latents.shape)}. "
                "Connect the audio VAE of this model."
            )
        return again.narrow(time_dim, before, count - before)
