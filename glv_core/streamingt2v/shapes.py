"""Names and shapes of all weights of a StreamingT2V checkpoint, made of the sizes of its networks.

Each part has the names that its own library gives it: diffusers' of a UNet and an autoencoder, transformers' of a text
encoder, OpenCLIP's of an image tower, and ours of what the paper adds, which are the checkpoint's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from .sizes import ImageSizes, Shape, Sizes, TextSizes, VaeSizes

_HEADS_IN = 8  # heads of the UNet's first layer over time


class _Names(dict[str, Shape]):
    def layer(self, name: str, *shape: int, bias: bool = True) -> None:
        self[f"{name}.weight"] = shape
        if bias:
            self[f"{name}.bias"] = shape[:1]

    def attention(self, name: str, channels: int, keys: int, bias: bool = False) -> None:
        for each, wide in (("to_q", channels), ("to_k", keys), ("to_v", keys)):
            self.layer(f"{name}.{each}", channels, wide, bias=bias)
        self.layer(f"{name}.to_out.0", channels, channels)

    def residual(self, name: str, old: int, new: int, time: int) -> None:
        """A residual block that is told the time by ``time`` channels; 0 is none."""
        self.layer(f"{name}.norm1", old)
        self.layer(f"{name}.conv1", new, old, 3, 3)
        if time:
            self.layer(f"{name}.time_emb_proj", new, time)
        self.layer(f"{name}.norm2", new)
        self.layer(f"{name}.conv2", new, new, 3, 3)
        if old != new:
            self.layer(f"{name}.conv_shortcut", new, old, 1, 1)

    def over_time(self, name: str, channels: int) -> None:
        """Four convolutions over time behind a residual block."""
        for number in range(1, 5):
            conv = 2 if number == 1 else 3  # the others have a dropout before
            self.layer(f"{name}.conv{number}.0", channels)
            self.layer(f"{name}.conv{number}.{conv}", channels, channels, 3, 1, 1)

    def transformer(self, name: str, outer: int, inner: int, keys: int) -> None:
        self.layer(f"{name}.norm", outer)
        self.layer(f"{name}.proj_in", inner, outer)
        block = f"{name}.transformer_blocks.0"
        for norm in ("norm1", "norm2", "norm3"):
            self.layer(f"{block}.{norm}", inner)
        self.attention(f"{block}.attn1", inner, inner)
        self.attention(f"{block}.attn2", inner, keys)
        self.layer(f"{block}.ff.net.0.proj", 8 * inner, inner)
        self.layer(f"{block}.ff.net.2", inner, 4 * inner)
        self.layer(f"{name}.proj_out", outer, inner)


def expected_shapes(sizes: Sizes) -> dict[str, dict[str, Shape]]:
    """For each part of a checkpoint its names, without what stands before them there, and their shapes."""
    merger = {f"down_blocks.{i}": width for i, width in enumerate(sizes.skips)} | {"mid_block": sizes.widths[-1]}
    mixers, resampler = _Names(), _Names()
    for name in sizes.text_layers:
        mixers.layer(f"{name}.conv", sizes.text_tokens, sizes.text_tokens + sizes.anchor_tokens, 3)
        mixers.layer(f"{name}.conv_ln", sizes.text_width)
        mixers[f"{name}.alpha"] = ()
    resampler.layer("context_embedding.0", sizes.anchor_inner, sizes.text_width)
    resampler.layer("context_embedding.2", sizes.anchor_tokens * sizes.text_width, sizes.anchor_inner)
    return {
        "base": unet_shapes(sizes),
        "branch": unet_shapes(sizes, way_up=False),
        "encoder": encoder_shapes(sizes.widths[0], sizes.encoder_widths),
        "mergers": merger_shapes(merger),
        "mixers": mixers,
        "resampler": resampler,
        "image_encoder": image_shapes(sizes.image),
        "text_encoder": text_shapes(sizes.text),
        "vae": vae_shapes(sizes.vae),
    }


def merger_shapes(widths: Mapping[str, int]) -> dict[str, Shape]:
    """Of a ``CrossAttentionMerger`` for each name, with the channels that it has there."""
    names = _Names()
    for name, width in widths.items():
        names.layer(f"{name}.norm", width)
        names.layer(f"{name}.proj_in", width, width)
        names.attention(f"{name}.attention", width, width)
        names.layer(f"{name}.proj_out", width, width)
    return names


def encoder_shapes(width: int, widths: Sequence[int], layer_norms: bool = False) -> dict[str, Shape]:
    """Of a ``ConditionEncoder``."""
    names = _Names()
    now = widths[0]
    names.layer("conv_in", now, 3, 3, 3)
    for index in range(2 * (len(widths) - 1)):
        new = widths[(index + 1) // 2]
        names.layer(f"blocks.{index}", new, now, 3, 3)
        if layer_norms:
            names.layer(f"norms.{index}", new)
        now = new
    names.layer("conv_out", width, now, 3, 3)
    return names


def unet_shapes(sizes: Sizes, way_up: bool = True) -> dict[str, Shape]:
    """Of diffusers' ``UNet3DConditionModel``. ``way_up``: False leaves out what is behind the middle."""
    names, widths, last = _Names(), sizes.widths, len(sizes.widths) - 1
    time = 4 * widths[0]

    def layer(block: str, index: int, old: int, new: int, attention: bool) -> None:
        names.residual(f"{block}.resnets.{index}", old, new, time)
        names.over_time(f"{block}.temp_convs.{index}", new)
        if attention:
            names.transformer(f"{block}.attentions.{index}", new, new, sizes.text_width)
            names.transformer(f"{block}.temp_attentions.{index}", new, new, new)

    names.layer("conv_in", widths[0], sizes.latent_channels, 3, 3)
    names.layer("time_embedding.linear_1", time, widths[0])
    names.layer("time_embedding.linear_2", time, time)
    inner = _HEADS_IN * sizes.head_width
    names.transformer("transformer_in", widths[0], inner, inner)
    now = widths[0]
    for level, new in enumerate(widths):
        for index in range(sizes.layers):
            layer(f"down_blocks.{level}", index, now, new, attention=level < last)
            now = new
        if level < last:
            names.layer(f"down_blocks.{level}.downsamplers.0.conv", now, now, 3, 3)
    layer("mid_block", 0, now, now, attention=True)
    layer("mid_block", 1, now, now, attention=False)
    if not way_up:
        return names
    skips = list(sizes.skips)
    for level, new in enumerate(reversed(widths)):
        for index in range(sizes.layers + 1):
            layer(f"up_blocks.{level}", index, now + skips.pop(), new, attention=level > 0)
            now = new
        if level < last:
            names.layer(f"up_blocks.{level}.upsamplers.0.conv", now, now, 3, 3)
    names.layer("conv_norm_out", now)
    names.layer("conv_out", sizes.latent_channels, now, 3, 3)
    return names


def text_shapes(sizes: TextSizes) -> dict[str, Shape]:
    """Of transformers' ``CLIPTextModel``."""
    names, wide = _Names(), sizes.width
    names.layer("text_model.embeddings.token_embedding", sizes.vocabulary, wide, bias=False)
    names.layer("text_model.embeddings.position_embedding", sizes.positions, wide, bias=False)
    for number in range(sizes.layers):
        block = f"text_model.encoder.layers.{number}"
        for each in ("q_proj", "k_proj", "v_proj", "out_proj"):
            names.layer(f"{block}.self_attn.{each}", wide, wide)
        names.layer(f"{block}.layer_norm1", wide)
        names.layer(f"{block}.layer_norm2", wide)
        names.layer(f"{block}.mlp.fc1", sizes.inner, wide)
        names.layer(f"{block}.mlp.fc2", wide, sizes.inner)
    names.layer("text_model.final_layer_norm", wide)
    return names


def image_shapes(sizes: ImageSizes) -> dict[str, Shape]:
    """Of OpenCLIP's model without the transformer of its text tower."""
    names, wide, text = _Names(), sizes.width, sizes.text_width
    names["positional_embedding"] = (sizes.text_positions, text)
    names["text_projection"] = (text, sizes.out)
    names["logit_scale"] = ()
    names.layer("token_embedding", sizes.vocabulary, text, bias=False)
    names.layer("ln_final", text)
    names["visual.class_embedding"] = (wide,)
    names["visual.positional_embedding"] = (sizes.places, wide)
    names["visual.proj"] = (wide, sizes.out)
    names.layer("visual.conv1", wide, 3, sizes.patch, sizes.patch, bias=False)
    names.layer("visual.ln_pre", wide)
    names.layer("visual.ln_post", wide)
    for number in range(sizes.layers):
        block = f"visual.transformer.resblocks.{number}"
        names.layer(f"{block}.ln_1", wide)
        names.layer(f"{block}.ln_2", wide)
        names[f"{block}.attn.in_proj_weight"] = (3 * wide, wide)
        names[f"{block}.attn.in_proj_bias"] = (3 * wide,)
        names.layer(f"{block}.attn.out_proj", wide, wide)
        names.layer(f"{block}.mlp.c_fc", sizes.inner, wide)
        names.layer(f"{block}.mlp.c_proj", wide, sizes.inner)
    return names


def vae_shapes(sizes: VaeSizes) -> dict[str, Shape]:
    """Of diffusers' ``AutoencoderKL`` for colour images."""
    names, widths, latent = _Names(), sizes.widths, sizes.latent_channels

    def half(name: str, levels: Sequence[int], layers: int, way: str, change: str) -> None:
        for level, (old, new) in enumerate(pairwise((levels[0], *levels))):
            block = f"{name}.{way}_blocks.{level}"
            for index in range(layers):
                names.residual(f"{block}.resnets.{index}", new if index else old, new, 0)
            if level < len(levels) - 1:
                names.layer(f"{block}.{change}.0.conv", new, new, 3, 3)
        middle = widths[-1]
        names.layer(f"{name}.mid_block.attentions.0.group_norm", middle)
        names.attention(f"{name}.mid_block.attentions.0", middle, middle, bias=True)
        for index in range(2):
            names.residual(f"{name}.mid_block.resnets.{index}", middle, middle, 0)
        names.layer(f"{name}.conv_norm_out", levels[-1])

    names.layer("encoder.conv_in", widths[0], 3, 3, 3)
    half("encoder", widths, sizes.layers, "down", "downsamplers")
    names.layer("encoder.conv_out", 2 * latent, widths[-1], 3, 3)
    names.layer("decoder.conv_in", widths[-1], latent, 3, 3)
    half("decoder", widths[::-1], sizes.layers + 1, "up", "upsamplers")
    names.layer("decoder.conv_out", 3, widths[0], 3, 3)
    names.layer("quant_conv", 2 * latent, 2 * latent, 1, 1)
    names.layer("post_quant_conv", latent, latent, 1, 1)
    return names
