"""The sizes of StreamingT2V's networks: the published ones, and those that a file's own shapes say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .apm import ANCHOR_TOKENS, TEXT_TOKENS
from .cam import ENCODER_WIDTHS

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class TextSizes:
    """Of CLIP's text encoder: ``inner`` channels between the two layers of its feed-forwards."""

    vocabulary: int = 49408
    positions: int = 77
    width: int = 1024
    inner: int = 4096
    layers: int = 23


@dataclass(frozen=True)
class ImageSizes:
    """Of OpenCLIP's image tower, and of what is left of its text tower. ``places``: patches and the class's token."""

    width: int = 1280
    inner: int = 5120
    layers: int = 32
    patch: int = 14
    places: int = 257
    out: int = 1024
    text_width: int = 1024
    text_positions: int = 77
    vocabulary: int = 49408


@dataclass(frozen=True)
class VaeSizes:
    """Of the autoencoder. ``layers``: residual blocks of a level on the way down; one more on the way up."""

    widths: tuple[int, ...] = (128, 256, 512, 512)
    latent_channels: int = 4
    layers: int = 2


@dataclass(frozen=True)
class Sizes:
    """Of all that a checkpoint holds; the published ones by default.

    Args:
        widths: channels of the UNet's levels; all but the last have attention.
        layers: residual blocks of a level on the way down; one more on the way up.
        text_width: of a token of text, and of one of the anchor.
        head_width: channels of a head of attention.
        latent_channels: of the latents.
        encoder_widths: of the ``ConditionEncoder``.
        text_tokens, anchor_tokens: that the appearance module mixes.
        anchor_inner: channels between the two layers of the ``TokenResampler``.
    """

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    text_width: int = 1024
    head_width: int = 64
    latent_channels: int = 4
    encoder_widths: tuple[int, ...] = ENCODER_WIDTHS
    text_tokens: int = TEXT_TOKENS
    anchor_tokens: int = ANCHOR_TOKENS
    anchor_inner: int = 1280
    text: TextSizes = TextSizes()
    image: ImageSizes = ImageSizes()
    vae: VaeSizes = VaeSizes()

    @property
    def skips(self) -> tuple[int, ...]:
        """Channels of each skip connection, from the first on the way down."""
        widths = [self.widths[0]]
        for level, width in enumerate(self.widths):
            widths += [width] * (self.layers + (level < len(self.widths) - 1))
        return tuple(widths)

    @property
    def text_layers(self) -> tuple[str, ...]:
        """Names of the UNet's layers that read text."""
        last = len(self.widths) - 1
        places = [f"down_blocks.{level}.attentions.{i}" for level in range(last) for i in range(self.layers)]
        places.append("mid_block.attentions.0")
        places += [f"up_blocks.{level}.attentions.{i}" for level in range(1, last + 1) for i in range(self.layers + 1)]
        return tuple(f"{place}.transformer_blocks.0.attn2" for place in places)


def read_sizes(parts: Mapping[str, Shapes]) -> Sizes:
    """The sizes that the shapes of some weights say; where none says it, the published one.

    Args:
        parts: for each part of a checkpoint, as ``glv_core.streamingt2v.checkpoint`` names them, its names and shapes.
    """
    return replace(
        _added_sizes(parts, _unet_sizes(parts["branch"])),
        text=_text_sizes(parts["text_encoder"]),
        image=read_image_sizes(parts["image_encoder"]),
        vae=_vae_sizes(parts["vae"]),
    )


def read_encoder_widths(encoder: Shapes) -> tuple[int, ...]:
    """The widths of a ``ConditionEncoder`` that its shapes say; where they say none, the published ones."""
    first = _size(encoder, "conv_in.weight", 0, ENCODER_WIDTHS[0])
    blocks = _series(encoder, "blocks.{}.weight", ())[1::2]
    return (first, *blocks) if blocks else ENCODER_WIDTHS


def _unet_sizes(branch: Shapes) -> Sizes:
    plain = Sizes()
    heads_in = 8  # of the first layer over time, whatever the width
    head_width = _size(branch, "transformer_in.proj_in.weight", 0, heads_in * plain.head_width) // heads_in
    keys = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return Sizes(
        widths=_series(branch, "down_blocks.{}.resnets.0.conv1.weight", plain.widths),
        layers=_count(branch, "down_blocks.0.resnets.{}.conv1.weight", plain.layers),
        text_width=_size(branch, keys, 1, plain.text_width),
        head_width=max(1, head_width),
        latent_channels=_size(branch, "conv_in.weight", 1, plain.latent_channels),
    )


def _added_sizes(parts: Mapping[str, Shapes], plain: Sizes) -> Sizes:
    convs = [shape for name, shape in parts["mixers"].items() if name.endswith(".conv.weight") and len(shape) == 3]
    text, both = convs[0][:2] if convs else (plain.text_tokens, plain.text_tokens + plain.anchor_tokens)
    return replace(
        plain,
        encoder_widths=read_encoder_widths(parts["encoder"]),
        text_tokens=text,
        anchor_tokens=both - text,
        anchor_inner=_size(parts["resampler"], "context_embedding.0.weight", 0, plain.anchor_inner),
    )


def _text_sizes(weights: Shapes) -> TextSizes:
    plain = TextSizes()
    tokens, places = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
    layer = "text_model.encoder.layers.{}.mlp.fc1.weight"
    return TextSizes(
        vocabulary=_size(weights, f"text_model.{tokens}", 0, plain.vocabulary),
        positions=_size(weights, f"text_model.{places}", 0, plain.positions),
        width=_size(weights, f"text_model.{tokens}", 1, plain.width),
        inner=_size(weights, layer.format(0), 0, plain.inner),
        layers=_count(weights, layer, plain.layers),
    )


def read_image_sizes(weights: Shapes) -> ImageSizes:
    """Of an image tower, as its shapes say; where they say none, the published ones."""
    plain, layer = ImageSizes(), "visual.transformer.resblocks.{}.mlp.c_fc.weight"
    return ImageSizes(
        width=_size(weights, "visual.conv1.weight", 0, plain.width),
        inner=_size(weights, layer.format(0), 0, plain.inner),
        layers=_count(weights, layer, plain.layers),
        patch=_size(weights, "visual.conv1.weight", 3, plain.patch),
        places=_size(weights, "visual.positional_embedding", 0, plain.places),
        out=_size(weights, "visual.proj", 1, plain.out),
        text_width=_size(weights, "token_embedding.weight", 1, plain.text_width),
        text_positions=_size(weights, "positional_embedding", 0, plain.text_positions),
        vocabulary=_size(weights, "token_embedding.weight", 0, plain.vocabulary),
    )


def _vae_sizes(weights: Shapes) -> VaeSizes:
    plain = VaeSizes()
    return VaeSizes(
        widths=_series(weights, "encoder.down_blocks.{}.resnets.0.conv1.weight", plain.widths),
        latent_channels=_size(weights, "post_quant_conv.weight", 0, plain.latent_channels),
        layers=_count(weights, "encoder.down_blocks.0.resnets.{}.conv1.weight", plain.layers),
    )


def _size(shapes: Shapes, name: str, axis: int, otherwise: int) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if len(shape) > axis else otherwise


def _series(shapes: Shapes, name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """The first number of the shapes whose names differ in a count from 0 on."""
    found: list[int] = []
    while shapes.get(name.format(len(found))):
        found.append(shapes[name.format(len(found))][0])
    return tuple(found) or otherwise


def _count(shapes: Shapes, name: str, otherwise: int) -> int:
    return len(_series(shapes, name, ())) or otherwise
