"""StreamingSVD: conditional attention (arXiv 2403.14773) on Stable Video Diffusion, its numbers and its weights.

A file (``model.safetensors`` of PAIR/StreamingSVD) has Stable Video Diffusion's names, by which its parts are found;
``controlnet.`` is the copy of the way down that sees the frames before, and two of the names in
``model.diffusion_model.`` are the mergers'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from .checkpoint import Weights
from .part_report import problems_of
from .shapes import encoder_shapes, image_shapes, merger_shapes
from .sizes import Shape, read_encoder_widths, read_image_sizes
from .weight_files import read_tensors

#: Frames of a chunk, and those of them that it knows, as the weights were trained.
CHUNK, OVERLAP = 25, 7
#: The frame of the first chunk, counted from 0, that later ones have as Stable Video Diffusion's image.
ANCHOR_FRAME = 6
#: What the network is told of that image: motion, frames per second, and the noise that is added, in pixels of -1..1.
MOTION_BUCKET, FPS_ID, AUGMENTATION = 127, 6, 0.02

_NETWORK, _COPY = "model.diffusion_model.", "controlnet."
_MERGER = re.compile(r"cross_attention_merger_(input_blocks\.\d+|mid_block)\.temporal_transformer\.(.+)")
_TOWER = "conditioner.embedders.0.open_clip.model."
_WAY_DOWN = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")
_TITLES = {
    "base": "Stable Video Diffusion's UNet", "branch": "copy of the UNet's way down", "encoder": "condition encoder",
    "mergers": "mergers", "image_encoder": "image encoder", "vae": "VAE", "": "no part",
}  # fmt: skip


@dataclass(frozen=True)
class SVDCheckpoint:
    """Weights of StreamingSVD, sorted by where they belong, and sizes that their shapes say.

    Args:
        base: of Stable Video Diffusion's UNet, by the names of its authors' code.
        branch: of the copy of its way down and middle, by the same names.
        encoder: of a ``ConditionEncoder`` with norms.
        mergers: of each ``CrossAttentionMerger``, ``input_blocks.0.`` to the last of them, then ``mid_block.``.
        image_encoder: of the image tower, ``visual.`` and on, by OpenCLIP's names; may be empty.
        vae: by the names of its authors' code; may be empty.
        skips: channels of each skip connection.
        encoder_widths: of the ``ConditionEncoder``.
    """

    base: Weights
    branch: Weights
    encoder: Weights
    mergers: Weights
    image_encoder: Weights
    vae: Weights
    skips: tuple[int, ...]
    encoder_widths: tuple[int, ...]


def load_svd_checkpoint(path: Path) -> SVDCheckpoint:
    """The weights of a file, which are read from it as they are used.

    Raises:
        ValueError: it cannot be read, or its weights are not StreamingSVD's; the message names them, part by part.
    """
    path = Path(path)
    try:
        return split_svd_weights(read_tensors(path))
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error


def split_svd_weights(weights: Mapping[str, torch.Tensor]) -> SVDCheckpoint:
    """Sort weights by where they belong; no tensor changes.

    What Stable Video Diffusion's files hold twice or for other programs (all of ``conditioner.`` but the image tower)
    is left out. Names of the UNet and the VAE themselves are for the host's classes to check.

    Raises:
        ValueError: weights of the other parts are missing, unknown, or of another shape; the message says which, part
            by part.
    """
    parts: dict[str, Weights] = {part: {} for part in _TITLES}
    for name, weight in weights.items():
        part, inner = _place_of(name)
        if part is not None:
            parts[part][inner] = weight
    shapes = {part: {name: tuple(each.shape) for name, each in some.items()} for part, some in parts.items()}
    skips, encoder_widths = _skips(shapes["base"]), read_encoder_widths(shapes["encoder"])
    wanted = {
        "branch": {name: shape for name, shape in shapes["base"].items() if name.startswith(_WAY_DOWN)},
        "encoder": encoder_shapes(skips[0] if skips else 0, encoder_widths, layer_norms=True),
        "mergers": merger_shapes(_merged(skips)),
        "": {},
    }
    if parts["image_encoder"]:
        tower = image_shapes(read_image_sizes(shapes["image_encoder"]))
        wanted["image_encoder"] = {name: shape for name, shape in tower.items() if name.startswith("visual.")}
    if not skips:
        problems = [f"There is no {_TITLES['base']} ({_NETWORK}...)"]
    else:
        problems = [each for part in wanted for each in problems_of(_TITLES[part], shapes[part], wanted[part])]
    if problems:
        raise wrong_weights(problems)
    known = {part: some for part, some in parts.items() if part}
    return SVDCheckpoint(**known, skips=skips, encoder_widths=encoder_widths)


def check_names(part: str, given: Mapping[str, torch.Tensor], wanted: Mapping[str, Shape]) -> None:
    """Check a part, ``base`` or ``vae``, against the names and shapes of the host's class.

    Raises:
        ValueError: weights are missing, unknown, or of another shape; the message names them.
    """
    if problems := problems_of(_TITLES[part], {name: tuple(each.shape) for name, each in given.items()}, wanted):
        raise wrong_weights(problems)


def wrong_weights(problems: list[str]) -> ValueError:
    """The error for weights that are not StreamingSVD's."""
    return ValueError(
        f"These are not StreamingSVD's weights. {'; '.join(problems)}. Choose model.safetensors of PAIR/StreamingSVD, "
        "and download it again if it is that."
    )


def _place_of(name: str) -> tuple[str | None, str]:
    """The part that a weight belongs to, and its name there; None for what is not needed."""
    if name.startswith(_COPY):
        inner, encoder = name.removeprefix(_COPY), "controlnet_cond_embedding."
        return ("encoder", inner.removeprefix(encoder)) if inner.startswith(encoder) else ("branch", inner)
    if name.startswith(_NETWORK):
        inner = name.removeprefix(_NETWORK)
        match = _MERGER.fullmatch(inner)
        return ("mergers", f"{match[1]}.{match[2]}") if match else ("base", inner)
    if name.startswith("first_stage_model."):
        return "vae", name.removeprefix("first_stage_model.")
    if name.startswith(f"{_TOWER}visual."):
        return "image_encoder", name.removeprefix(_TOWER)
    return (None if name.startswith("conditioner.") else ""), name


def _skips(base: Mapping[str, Shape]) -> tuple[int, ...]:
    """Channels that each of the UNet's blocks on the way down gives: of its convolution, residual block or halving."""
    found: list[int] = []
    while True:
        block = f"input_blocks.{len(found)}.0"
        names = (f"{block}.weight", f"{block}.out_layers.3.weight", f"{block}.op.weight")
        shape = next((base[name] for name in names if base.get(name)), None)
        if shape is None:
            return tuple(found)
        found.append(shape[0])


def _merged(skips: tuple[int, ...]) -> dict[str, int]:
    """The channels of each merger by its name."""
    return (
        {f"input_blocks.{index}": width for index, width in enumerate(skips)} | {"mid_block": skips[-1]}
        if skips
        else {}
    )
