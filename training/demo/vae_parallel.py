"""The Wan VAE's chunked forward pass, written over the whole clip at once.

The stock model walks through a clip in chunks of 1, 4, 4, ... frames and carries a cache per causal convolution.
Over a whole clip that is the same as plain causal convolutions, except in the two resamplers that change the frame
rate: both let the first frame through untouched, and the upsampler's temporal convolution never sees it.  Written
that way the pass has far fewer and larger operations, which is what makes training on two CPU cores possible.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from torch import Tensor, nn


def _resample_frames(layer: nn.Module, x: Tensor) -> Tensor:
    """The spatial half of a resampler, on every frame of [b c t h w]."""
    b, _, t = x.shape[:3]
    frames = layer.resample(x.transpose(1, 2).flatten(0, 1))
    return frames.unflatten(0, (b, t)).transpose(1, 2)


def _upsample(layer: nn.Module, x: Tensor) -> Tensor:
    if layer.mode == "upsample3d" and x.shape[2] > 1:
        first, rest = x[:, :, :1], x[:, :, 1:]
        b, c, t, h, w = rest.shape
        pairs = layer.time_conv(rest).view(b, 2, c, t, h, w)
        rest = pairs.permute(0, 2, 3, 1, 4, 5).reshape(b, c, 2 * t, h, w)
        x = torch.cat([first, rest], dim=2)
    return _resample_frames(layer, x)


def _downsample(layer: nn.Module, x: Tensor) -> Tensor:
    x = _resample_frames(layer, x)
    if layer.mode == "downsample3d" and x.shape[2] > 1:
        conv = layer.time_conv
        rest = F.conv3d(x, conv.weight, conv.bias, stride=conv.stride)
        x = torch.cat([x[:, :, :1], rest], dim=2)
    return x


def encode(vae: AutoencoderKLWan, pixels: Tensor) -> Tensor:
    """Pixels in -1..1 [b 3 1+4k h w] -> posterior mean and log variance [b 2c 1+k h/8 w/8]."""
    encoder = vae.encoder
    x = encoder.conv_in(pixels)
    for layer in encoder.down_blocks:
        x = _downsample(layer, x) if hasattr(layer, "resample") else layer(x)
    x = encoder.mid_block(x)
    x = encoder.conv_out(encoder.nonlinearity(encoder.norm_out(x)))
    return vae.quant_conv(x)


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Latents [b c 1+k h/8 w/8] -> pixels, not clamped [b 3 1+4k h w]."""
    decoder = vae.decoder
    x = decoder.conv_in(vae.post_quant_conv(latents))
    x = decoder.mid_block(x)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = resnet(x)
        if block.upsamplers is not None:
            x = _upsample(block.upsamplers[0], x)
    return decoder.conv_out(decoder.nonlinearity(decoder.norm_out(x)))
