"""Handing sound on from chunk to chunk: as a waveform, which is encoded again."""

from __future__ import annotations

from typing import Any

import torch

from .hashes import weights_hash

#: Latent frames of sound before a chunk, of LTX-2 two seconds and of MiniMax H3 more than one, that are decoded and
#: encoded with what the chunk knows, so that it does not hear where they begin.
MARGIN = 50


class SoundAgain:
    """Sound latents through their VAE and back.

    Latents that go on from latents wander off from what a VAE makes of any sound: after some chunks speech is none.
    """

    def __init__(self, audio_vae: Any) -> None:
        self.vae = audio_vae

    def hash(self) -> str:
        """A hash of the VAE's weights."""
        patcher = getattr(self.vae, "patcher", None)
        return weights_hash(patcher or self.vae.device_manager.patcher)  # the latter in older hosts

    def __call__(self, latents: torch.Tensor, before: int, time_dim: int) -> torch.Tensor:
        """Latents decoded and encoded again, without the first ``before`` elements.

        Raises:
            ValueError: the VAE's latents are of another kind.
        """
        from comfy_extras.nodes_lt_audio import LTXVAudioVAEDecode, LTXVAudioVAEEncode

        if latents.shape[time_dim] == before:
            return latents.narrow(time_dim, before, 0)
        audio = LTXVAudioVAEDecode.execute({"samples": latents}, self.vae).args[0]
        again = LTXVAudioVAEEncode.execute(self._uncut(audio), self.vae).args[0]["samples"].to(latents)
        count = latents.shape[time_dim]
        sizes, expected = list(again.shape), list(latents.shape)
        if len(sizes) != len(expected) or sizes[time_dim] < count or sizes[:time_dim] != expected[:time_dim]:
            raise ValueError(
                f"audio_vae makes latents {sizes} of sound whose latents are {expected}. Connect the audio VAE of this "
                "model."
            )
        return again.narrow(time_dim, before, count - before)

    def _uncut(self, audio: dict[str, Any]) -> dict[str, Any]:
        """An AUDIO at the rate that the VAE encodes, with its end mirrored to a length of which the host cuts nothing
        off: it cuts what is over at both ends alike, and all would be heard too soon.
        """
        rate = getattr(self.vae, "audio_sample_rate", None)
        if rate is None:  # older hosts cut nothing
            return audio
        from torchaudio.functional import resample

        waveform = resample(audio["waveform"], audio["sample_rate"], rate)
        missing = -waveform.shape[-1] % self.vae.spacial_compression_encode()
        mirrored = waveform.flip(-1).repeat(1, 1, -(-missing // waveform.shape[-1]))[..., :missing]
        return {"waveform": torch.cat([waveform, mirrored], dim=-1), "sample_rate": rate}
