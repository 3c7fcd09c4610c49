"""ControlNets and T2I-Adapters with an image for every frame, for the frames that a window or a chunk shows.

A control of ComfyUI's keeps its hint, ``t 3 h w``, and what it made of it. Where the frames are the batch, a part of
the video needs a control with a part of the hint; the networks are shared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import comfy.utils
import torch

from ....windows import Tile


def chain_of(control: Any) -> Iterator[Any]:
    """A control and those that are applied before it."""
    while control is not None:
        yield control
        control = getattr(control, "previous_controlnet", None)


def hint_images(control: Any) -> int:
    """Images in the longest hint of a chain of controls."""
    hints = [getattr(each, "cond_hint_original", None) for each in chain_of(control)]
    return max((hint.shape[0] for hint in hints if isinstance(hint, torch.Tensor)), default=0)


def check_control(control: Any, length: int, time_dim: int) -> None:
    """Check that controls, a chain of them, can be given to every window of a video.

    Args:
        control: a ControlNet or T2I-Adapter of ComfyUI's, or None.
        length: latent frames of the video.
        time_dim: the latents' axis of time; with 0 every frame is an image, which a hint can have one for.

    Raises:
        ValueError: a hint has several images and they are not one for every frame.
    """
    for each in chain_of(control):
        images = hint_images_of(each)
        if images < 2:
            continue
        if time_dim != 0:
            raise ValueError(
                f"Long video does not support a ControlNet with a hint of {images} images with this model: its latent "
                "frames hold several frames. Use a single image, or a control model such as Wan VACE or Fun Control."
            )
        if images < length:
            raise ValueError(
                f"The hint of a ControlNet has {images} images, the video {length} frames. Give it a single image, or "
                "one for every frame."
            )


def hint_images_of(control: Any) -> int:
    """Images in the hint of one control, without those before it."""
    hint = getattr(control, "cond_hint_original", None)
    return hint.shape[0] if isinstance(hint, torch.Tensor) else 0


def can_share_a_forward(control: Any) -> bool:
    """Whether several windows can share a forward pass with these controls: those that are ComfyUI's own."""
    return all(type(each).__module__ == "comfy.controlnet" for each in chain_of(control))


def control_for(control: Any, indices: Sequence[int], length: int, tile: Tile | None = None) -> Any:
    """A chain of controls for some frames of a video, in order, or a tile of them; the given one is not changed.

    Args:
        control: as it was made for the whole video, after ``pre_run``.
        indices: frames of the video, of all windows that share a forward pass.
        length: frames of the video.
        tile: which part of the frames; None is all of them.

    Returns:
        ``control`` itself where frames are whole and no hint has several images.
    """
    previous = getattr(control, "previous_controlnet", None)
    before = None if previous is None else control_for(previous, indices, length, tile)
    follows = hasattr(control, "sub_idxs")  # other packs' controls, which find their frames themselves
    if before is previous and hint_images_of(control) < 2 and not follows and tile is None:
        return control
    part = copy.copy(control)
    part.previous_controlnet = before
    if follows:
        part.sub_idxs, part.full_latent_length, part.context_length = list(indices), length, len(indices)
        return part
    rows = torch.tensor(list(indices))
    part.cond_hint_original = _rows(control.cond_hint_original, rows)
    part.extra_concat_orig = [_rows(each, rows) for each in getattr(control, "extra_concat_orig", ())]
    if tile is not None:
        part.cond_hint_original = _tile_of(part.cond_hint_original, control, tile)
        part.extra_concat_orig = [_tile_of(each, control, tile) for each in part.extra_concat_orig]
    part.cond_hint = part.extra_concat = None
    if hasattr(control, "control_input"):  # a T2I-Adapter's features of the hint
        part.control_input = None
    clones = getattr(control, "multigpu_clones", {})
    part.multigpu_clones = {device: control_for(clone, indices, length, tile) for device, clone in clones.items()}
    return part


def _rows(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return images if images.shape[0] < 2 else images.index_select(0, rows.to(images.device))


def _tile_of(images: torch.Tensor, control: Any, tile: Tile) -> torch.Tensor:
    """A tile of a hint ``t c h w``, which is brought to the size of the frame first, as the control does itself."""
    scale = control.compression_ratio
    if getattr(control, "vae", None) is not None:
        scale *= control.vae.spacial_compression_encode()
    height, width = (side * scale for side in tile.frame)
    return tile.of(comfy.utils.common_upscale(images, width, height, control.upscale_algorithm, "center"))
