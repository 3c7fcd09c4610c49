"""Tiles in space for a ComfyUI model: every forward pass sees a part of the frames, and what it says is blended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import torch

from ....tiles import Tile, over_tiles, tiles_of

PATCH = 2  #: latent pixels; tiles begin on the grid of the model's patches


def tile_model(model: Any, tile: tuple[int, int], overlap: int) -> Any:
    """A clone of a ComfyUI MODEL that sees frames in tiles. It works with windows, and with wrappers that are there.

    Args:
        model: the MODEL; it is not changed.
        tile: height and width of a tile, in latent pixels.
        overlap: what neighbouring tiles share at least, in latent pixels.
    """
    patched = model.clone()
    inner = patched.model_options.get("model_function_wrapper")

    def forward(apply_model: Callable[..., torch.Tensor], arguments: dict[str, Any]) -> torch.Tensor:
        x = arguments["input"]
        size = x.shape[-2], x.shape[-1]

        def predict(part: Tile) -> torch.Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            shown = {**arguments, "input": part.of(x), "c": _part(arguments["c"], part, size)}
            if inner is not None:
                return inner(apply_model, shown)
            return apply_model(shown["input"], shown["timestep"], **shown["c"])

        return over_tiles(x, tiles_of(*size, tile, overlap, PATCH), predict)

    patched.set_model_unet_function_wrapper(forward)
    return patched


def _part(value: Any, tile: Tile, size: tuple[int, int], scaled: bool = False) -> Any:
    """A condition for one tile: what has the frame's size is cut, and so are the features of controls at any scale."""
    if isinstance(value, dict):
        return {
            key: each if key == "transformer_options" else _part(each, tile, size, scaled or key == "control")
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_part(each, tile, size, scaled) for each in value)
    if not isinstance(value, torch.Tensor):
        return value
    if value.ndim < 4:
        if scaled:
            raise ValueError(
                "Tiles do not support this ControlNet: its features are tokens, of which nobody knows where they lie. "
                "Set tile_width and tile_height to 0, or disconnect it."
            )
        return value
    if tuple(value.shape[-2:]) == size:
        return tile.of(value)
    return _scaled(value, tile, size) if scaled else value


def _scaled(features: torch.Tensor, tile: Tile, size: tuple[int, int]) -> torch.Tensor:
    """Features ``... h w`` of the frame at another scale, for one tile."""
    rows, columns = (
        slice(start * side // whole, max(start * side // whole + 1, -(-(start + length) * side // whole)))
        for start, length, side, whole in (
            (tile.top, tile.height, features.shape[-2], size[0]),
            (tile.left, tile.width, features.shape[-1], size[1]),
        )
    )
    return features[..., rows, columns]
