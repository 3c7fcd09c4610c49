"""Finds the family of a model, or of a VAE."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ....timeline import Compression
from ....video_models import VideoModel
from .family import Family
from .image import IMAGE

#: What the files of this folder have under this name: a new family is a new file.
FAMILIES: tuple[Family, ...] = tuple(
    family
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in ("__init__", "registry")
    for family in getattr(import_module(f".{path.stem}", __package__), "FAMILIES", ())
)


def family_of(model: Any) -> Family:
    """The family of a model in ``comfy.model_base``: by its class where a family names it, else by its latents.

    Raises:
        ValueError: its latents are video of a kind that no family has, and the host does not say how many frames one of
            them holds.
    """
    latent_format = model.latent_format
    is_video = latent_format.latent_dimensions == 3
    for kind in type(model).__mro__:
        for family in FAMILIES:
            if kind.__name__ in (*family.classes, *family.own_classes) and (family.compression.ratio > 1) == is_video:
                return family
    if not is_video:
        return IMAGE
    for kind in type(latent_format).__mro__:
        for family in FAMILIES:
            if kind.__name__ in family.latent_formats:
                return family
    ratio = getattr(latent_format, "temporal_downscale_ratio", 1)
    if ratio > 1:  # newer hosts say it themselves
        name = type(latent_format).__name__
        return Family(VideoModel(name, Compression.causal(ratio), 81, 24))
    raise ValueError(
        f"How many frames a latent frame of {type(latent_format).__name__} holds is not known to this pack. Known: "
        f"{', '.join(name for family in FAMILIES for name in family.latent_formats)}."
    )


def family_of_vae(vae: Any) -> Family | None:
    """The family that a ComfyUI VAE belongs to; None where its network, or what encodes in it, is no family's own."""
    network = vae.first_stage_model
    for kind in (*type(network).__mro__, type(getattr(network, "encoder", None))):
        for family in FAMILIES:
            if f"{kind.__module__}.{kind.__qualname__}" in family.vae_classes:
                return family
    return None
