"""What a network is told of the windows that a forward pass shows it, where something on the MODEL asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....tuning import Place

CLIP_IDENTIFIERS = "clip_identifiers"  #: in the model's options, where windows are to be told their place
_WINDOWS = "long_video_windows"


def asks_for_windows(model_options: Mapping[str, Any]) -> bool:
    """Whether something on a MODEL wants to know which windows a forward pass shows."""
    return CLIP_IDENTIFIERS in model_options.get("transformer_options", {})


def with_windows(model_options: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    """Options of a model that tell its network where the windows of a forward pass lie, in the order of its rows for
    each prediction; the given ones are not changed.
    """
    options = {**model_options.get("transformer_options", {}), _WINDOWS: tuple(places)}
    return {**model_options, "transformer_options": options}


def windows_in(transformer_options: Mapping[str, Any]) -> tuple[Place, ...]:
    """Where the windows of a forward pass lie; empty where nothing says."""
    return tuple(transformer_options.get(_WINDOWS, ()))
