"""StreamingT2V's weights in a file: where each of them belongs, and a smaller file of them.

The published file (``streaming_t2v.ckpt``, 25.6 GB) is a training checkpoint: beside the weights stands what the
optimizer remembers. Its prefixes mislead: ``base_model.`` is the UNet, ``unet.`` the copy of its way down. VidXTend's
file calls the same weights ``unet.`` and ``controlnet.``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from .part_report import problems_of
from .shapes import expected_shapes, unet_shapes
from .sizes import Sizes, read_sizes
from .weight_files import half_file, preferred_file, read_tensors, write_half

ADDED = "streaming_t2v.safetensors"  #: in a folder of the stock model: what streaming adds to it
_OWN = ("branch", "encoder", "mergers", "mixers", "resampler")
_MERGER = re.compile(r"cross_attention_merger_(down_blocks\.\d+|mid_block)\.temporal_transformer\.(.+)")
_MIXER = re.compile(r".+\.attn2\.(?:alpha|conv\.\w+|conv_ln\.\w+)")
_REST = {
    "resampler.": "resampler",
    "image_encoder.model.": "image_encoder",
    "text_encoder.": "text_encoder",
    "vae.": "vae",
}
_NOT_NEEDED = re.compile(r"text_encoder\.text_model\.embeddings\.position_ids")  # a count that old libraries stored
_TITLES = {
    "base": "UNet", "branch": "copy of the UNet's way down", "encoder": "condition encoder", "mergers": "mergers",
    "mixers": "token mixers", "resampler": "resampler", "image_encoder": "image encoder",
    "text_encoder": "text encoder", "vae": "VAE", "": "no part",
}  # fmt: skip
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Weights of StreamingT2V, sorted by where they belong.

    What the paper adds is always there; the parts that it takes as they are may be empty, where the file lacks them.

    Args:
        base: of a stock UNet, by diffusers' names (``UNet3DConditionModel``); may be empty.
        branch: of the copy of its way down and middle, by the same names.
        encoder: of a ``ConditionEncoder``.
        mergers: of each ``CrossAttentionMerger``, ``down_blocks.0.`` to the last skip connection, then ``mid_block.``.
        mixers: of each ``TokenMixer``, behind the name of its layer in the UNet.
        resampler: of a ``TokenResampler``.
        image_encoder: of an image tower, by OpenCLIP's names; may be empty.
        text_encoder: by transformers' names (``CLIPTextModel``); may be empty.
        vae: by diffusers' names (``AutoencoderKL``); may be empty.
        sizes: of the networks, as the shapes say.
    """

    base: Weights
    branch: Weights
    encoder: Weights
    mergers: Weights
    mixers: Weights
    resampler: Weights
    image_encoder: Weights
    text_encoder: Weights
    vae: Weights
    sizes: Sizes


PARTS = tuple(field.name for field in fields(Checkpoint) if field.name != "sizes")


def load_checkpoint(path: Path) -> Checkpoint:
    """The weights of a file, which are read from it as they are used.

    Of ``NAME.ckpt`` the smaller ``NAME.fp16.safetensors`` is taken, if ``convert`` has made one since.

    Raises:
        ValueError: it cannot be read, or its weights are not StreamingT2V's; the message names them.
    """
    path = preferred_file(Path(path))
    try:
        return split_weights(read_tensors(path))
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error


def convert(path: Path) -> Path:
    """Write the weights of a file beside it, in half precision and without the optimizer's; once.

    Tensor by tensor, so that one of them is in memory. The new file appears when it is whole.

    Returns:
        The new file, ``NAME.fp16.safetensors``; the one that is there, if it is newer.

    Raises:
        ValueError: the file cannot be read, its weights are not StreamingT2V's, or one is too large for half precision.
        OSError: the new file cannot be written.
    """
    path = Path(path)
    ready = preferred_file(path)
    if ready != path or path.name == half_file(path).name:
        return ready
    try:
        weights = {name: each for name, each in read_tensors(path).items() if not _NOT_NEEDED.fullmatch(name)}
        split_weights(weights)
        return write_half(weights, half_file(path))
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error


def split_weights(weights: Mapping[str, torch.Tensor]) -> Checkpoint:
    """Sort weights by where they belong; no tensor changes.

    Args:
        weights: by the names of the published file, or by VidXTend's. The UNet, text encoder, image encoder and VAE may
            be left out.

    Raises:
        ValueError: weights are missing, unknown, or of another shape; the message says which, part by part.
    """
    extended = any(name.startswith("controlnet.") for name in weights)
    extended &= not any(name.startswith("base_model.") for name in weights)
    parts: dict[str, Weights] = {part: {} for part in ("", *PARTS)}
    for name, weight in weights.items():
        if not _NOT_NEEDED.fullmatch(name):
            part, inner = place_of(name, extended)
            parts[part][inner] = weight
    shapes = {part: {name: tuple(each.shape) for name, each in some.items()} for part, some in parts.items()}
    sizes = read_sizes(shapes)
    wanted = expected_shapes(sizes)
    given = {part for part in PARTS if part in _OWN or parts[part]}
    problems = [
        each for part in PARTS if part in given for each in problems_of(_TITLES[part], shapes[part], wanted[part])
    ]
    problems += problems_of(_TITLES[""], shapes[""], {})
    if problems:
        raise ValueError(
            f"These are not StreamingT2V's weights. {'; '.join(problems)}. Choose streaming_t2v.ckpt, and download it "
            "again if it is that."
        )
    return Checkpoint(**{part: parts[part] for part in PARTS}, sizes=sizes)


def check_unet(weights: Mapping[str, torch.Tensor], sizes: Sizes) -> None:
    """Check that weights are those of a stock UNet of these sizes, by diffusers' names.

    Raises:
        ValueError: weights are missing, unknown, or of another shape; the message names them.
    """
    if problems := problems_of(
        _TITLES["base"], {name: tuple(each.shape) for name, each in weights.items()}, unet_shapes(sizes)
    ):
        raise ValueError(f"This is not the UNet of text-to-video-ms-1.7b. {'; '.join(problems)}. Choose another file.")


def place_of(name: str, extended: bool = False) -> tuple[str, str]:
    """The part that a weight belongs to, and its name there; an empty part and the whole name where it is in none.

    Args:
        name: in the file.
        extended: whether by VidXTend's names.
    """
    network, copy = ("unet.", "controlnet.") if extended else ("base_model.", "unet.")
    if name.startswith(copy):
        inner = name.removeprefix(copy)
        encoder = "controlnet_cond_embedding."
        return ("encoder", inner.removeprefix(encoder)) if inner.startswith(encoder) else ("branch", inner)
    if name.startswith(network):
        inner = name.removeprefix(network)
        if match := _MERGER.fullmatch(inner):
            return "mergers", f"{match[1]}.{match[2]}"
        return ("mixers" if _MIXER.fullmatch(inner) else "base"), inner
    for prefix, part in _REST.items():
        if name.startswith(prefix):
            return part, name.removeprefix(prefix)
    return "", name
