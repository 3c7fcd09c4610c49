"""What a tuning gave, on a MODEL."""

from __future__ import annotations

from typing import Any

import comfy.sd

from ....tuning import Tuned
from ....tuning.over_time import LayersOverTime
from .identified import check_layers, identify
from .inflated import check_inflatable, inflate, transformer_blocks
from .layers import linear_sizes


def put_on(model: Any, tuned: Tuned, strength: float = 1.0, identifiers: str = "stretched") -> Any:
    """A clone of a MODEL with what a tuning gave.

    Args:
        model: the MODEL that was tuned, or one with the same network; it is not changed.
        tuned: from ``read_tuned``.
        strength: what is added is multiplied by it: by low-rank weights and differences, layers over time and clip
            identifiers. What ties the frames of an inflated image model has no strength; with 0 it is left out too.
        identifiers: how a video of another length is told apart, one of ``LENGTHS``; ``off`` leaves them out.

    Raises:
        ValueError: it was tuned on another model.
    """
    check_fits(model, tuned)
    if not strength:
        return model.clone()
    made = model
    if tuned.lora:
        made, _ = comfy.sd.load_lora_for_models(model, None, dict(tuned.lora), strength, 0)
    if tuned.over_time:
        heads = {name: heads for name, (_, heads) in transformer_blocks(model).items()}
        layers = LayersOverTime.of_tensors(tuned.over_time, heads)
        layers.scale(strength)
        made = inflate(made, layers)
    if tuned.identifiers is not None:
        made = identify(made, tuned.identifiers.scaled(strength), identifiers)
    return made


def check_fits(model: Any, tuned: Tuned) -> None:
    """Check that a network has all the layers of a tuning, in their sizes.

    Raises:
        ValueError: it has not.
    """
    base = model.model
    if tuned.over_time:
        check_inflatable(model)
    for name, weight in tuned.lora.items():
        layer, _, part = name.partition(".lora_")
        wanted: tuple[int, ...]
        if part == "up.weight":
            wanted = (weight.shape[0], tuned.lora[f"{layer}.lora_down.weight"].shape[1])
        elif name.endswith(".diff"):
            layer, wanted = name.removesuffix(".diff"), tuple(weight.shape)
        else:
            continue
        found = _shape(base, layer)
        if found != wanted:
            what = "has no such layer" if found is None else f"has it as {list(found)}"
            raise ValueError(
                f"The tuning is of {tuned.about.get('family', 'another model')}, with a layer {layer} of "
                f"{list(wanted)}, and {type(base).__name__} {what}. Connect the model that was tuned."
            )
    if tuned.identifiers is not None:
        check_layers(base, tuned.identifiers)


def _shape(base: Any, layer: str) -> tuple[int, ...] | None:
    """The shape of a layer's weight, whatever it is stored as; None without such a layer."""
    try:
        module = base.get_submodule(layer)
    except AttributeError:
        return None
    sizes = linear_sizes(module)
    weight = getattr(module, "weight", None)
    return sizes[::-1] if sizes else None if weight is None else tuple(weight.shape)
