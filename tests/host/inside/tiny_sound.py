"""The VAEs of models that make video and sound, with tiny random weights, as the host's loader makes them."""

import functools
import inspect
import json
from contextlib import suppress
from unittest import mock

import comfy.ldm.lightricks.vae.audio_vae as ltx_audio
import comfy.ldm.lightricks.vae.causal_video_autoencoder as ltx_video
import comfy.sd
import torch

with suppress(ImportError):  # not in older hosts
    import comfy.ldm.minimax.audio_vae as minimax_audio
    import comfy.ldm.minimax.vae as minimax_video

HAS_MINIMAX = hasattr(comfy.ldm, "minimax")
HAS_TWO_STAGES = hasattr(ltx_audio, "VocoderWithBWE")
#: Vocoders of LTX-2: HiFi-GAN, and BigVGAN with a second stage for high tones, which looks at every 80 or 256 samples.
_RATES = {"upsample_rates": [6, 5, 2, 2, 2], "upsample_kernel_sizes": [16, 15, 8, 4, 4]}
HIFI = {"upsample_initial_channel": 32, "stereo": True, **_RATES}
_BIG = {"upsample_initial_channel": 32, "stereo": True, "resblock": "AMP1", "activation": "snakebeta",
        "use_tanh_at_final": False}  # fmt: skip
TWO_STAGES = {
    "vocoder": {**_BIG, "upsample_rates": [5, 4, 2, 2, 2], "upsample_kernel_sizes": [11, 8, 4, 4, 4]},
    "bwe": {**_BIG, "upsample_rates": [6, 5, 2, 2, 2], "upsample_kernel_sizes": [12, 11, 4, 4, 4],
            "input_sampling_rate": 16000, "output_sampling_rate": 48000, "hop_length": 80, "n_fft": 512,
            "num_mels": 64},
}  # fmt: skip
_LONG_STEPS = {"upsample_rates": [8, 6, 4, 2, 2], "upsample_kernel_sizes": [16, 12, 8, 4, 4], "hop_length": 256}
LONG_STEPS = {**TWO_STAGES, "bwe": {**TWO_STAGES["bwe"], **_LONG_STEPS}}


def weights_of(module) -> dict:
    """Random weights that keep the size of what goes through; filters stay."""
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, value in module.state_dict().items():
        random = torch.randn(value.shape, generator=generator)
        random = random / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else random * 0.1 + ("std" in name)
        random = random * 0.05 if "conv_post" in name else random  # quiet enough not to be cut off
        weights[name] = value if "filter" in name else random
    return weights


def ltx_audio_vae(vocoder: dict = HIFI, **layers):
    """LTX-2's audio VAE; ``layers`` are those of its decoder."""
    layers = {"double_z": True, "mel_bins": 64, "z_channels": 8, "resolution": 256, "in_channels": 2, "out_ch": 2,
              "ch": 4, "ch_mult": [1, 2, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
              "mid_block_add_attention": False, "norm_type": "pixel", "causality_axis": "height", **layers}  # fmt: skip
    config = {
        "audio_vae": {
            "model": {"params": {"ddconfig": layers, "sampling_rate": 16000}},
            "preprocessing": {"stft": {"filter_length": 1024, "hop_length": 160}},
        },
        "vocoder": vocoder,
    }
    metadata = {"config": json.dumps(config)}
    if "state_dict" in inspect.signature(ltx_audio.AudioVAE).parameters:  # before 0.13 it is no VAE of the host's
        network = ltx_audio.AudioVAE({}, metadata)
        network.load_state_dict(weights_of(network))
        return network
    return comfy.sd.VAE(sd=weights_of(ltx_audio.AudioVAE(metadata)), metadata=metadata)


def ltx_video_vae():
    up = ["res_x", 1], ["compress_all", 1]
    blocks = [*up, *up, *up, ["res_x", 1]]
    config = {"dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": 128, "blocks": blocks,
              "norm_layer": "pixel_norm", "patch_size": 4, "latent_log_var": "uniform", "encoder_base_channels": 4,
              "decoder_base_channels": 4}  # fmt: skip
    weights = weights_of(ltx_video.VideoVAE(config=config))
    return comfy.sd.VAE(sd=weights, metadata={"config": json.dumps({"vae": config})})


def minimax_audio_vae():
    kind = functools.partial(minimax_audio.MiniMaxH3AudioVAE, encoder_dim=1, latent_dim=16, decoder_dim=128)
    with mock.patch.object(minimax_audio, "MiniMaxH3AudioVAE", kind):
        return comfy.sd.VAE(sd=weights_of(kind()))


def minimax_video_vae():
    kind = functools.partial(minimax_video.MiniMaxH3VideoVAE, ch=32, ch_mult=(1,) * 6, num_res_blocks=1)
    decoder = functools.partial(minimax_video.ViT3DDecoder, num_layers=1, heads=1, dim_head=32)
    with (
        mock.patch.object(minimax_video, "MiniMaxH3VideoVAE", kind),
        mock.patch.object(minimax_video, "ViT3DDecoder", decoder),
    ):
        return comfy.sd.VAE(sd=weights_of(kind()))
