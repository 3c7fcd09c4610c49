"""diffusers' UNet3DConditionModel as ComfyUI's MODEL: Stable Diffusion's latents, with the frames as the batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
import torch

from ..families import clips_in

_MEMORY_FACTOR = 3.0  # beside an image UNet's, for the layers over time


class FramesAsBatch(torch.nn.Module):
    """A UNet that takes ``b c t h w``, as the host calls networks of images: ``(b t) c h w``.

    Args:
        unet: called as ``unet(video, levels, text, **more)``; its weights are of one type.
        dtype: of its weights.
        by_frame: conds that the host repeats for every frame, as it does the text.
    """

    def __init__(self, unet: torch.nn.Module, dtype: torch.dtype, by_frame: Collection[str] = ()) -> None:
        super().__init__()
        self.unet = unet
        self.dtype = dtype
        self.by_frame = frozenset(by_frame)

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **conds: Any,
    ) -> torch.Tensor:
        """What the network says of noised frames, in their shape.

        Raises:
            ValueError: it is given a ControlNet, or no text.
        """
        if control is not None:
            raise ValueError("This model takes no ControlNet: none was made for it. Disconnect it.")
        if context is None:
            raise ValueError("This model needs a text. Connect a conditioning from its CLIP.")
        clips = clips_in(transformer_options or {}, x.shape[0])

        def first(rows: torch.Tensor) -> torch.Tensor:
            """What is the same for all frames of a clip."""
            return rows.unflatten(0, (clips, -1))[:, 0]

        video = x.unflatten(0, (clips, -1)).movedim(2, 1)
        more = {name: first(value) if name in self.by_frame else value for name, value in conds.items()}
        said = self.unet(video, first(timesteps), first(context), **more)
        return said.movedim(1, 2).flatten(0, 1)


class Sampling3D(comfy.supported_models_base.BASE):
    """What the host knows of such a model: noise levels and latents of Stable Diffusion."""

    latent_format = comfy.latent_formats.SD15
    memory_usage_factor = _MEMORY_FACTOR


def network_dtype(parameters: int) -> torch.dtype:
    """The type that a network of so many parameters works in; the host casts none of its layers."""
    device = comfy.model_management.get_torch_device()
    dtype = comfy.model_management.unet_dtype(device, parameters)
    return comfy.model_management.unet_manual_cast(dtype, device) or dtype


@contextmanager
def needing_diffusers(what: str) -> Iterator[None]:
    """Says what is to be done where an import inside fails.

    Raises:
        ValueError: it does; ``what`` needs it.
    """
    try:
        yield
    except ImportError as error:
        raise ValueError(
            f"{what} needs diffusers ({error}). Install it in ComfyUI's Python: pip install diffusers."
        ) from error


def make_patcher(
    network: FramesAsBatch,
    model_type: Any = comfy.model_base.ModelType.EPS,
    kind: Callable[..., Any] = comfy.model_base.BaseModel,
) -> Any:
    """The MODEL of a network. ``kind``: its class, a BaseModel."""
    device = comfy.model_management.get_torch_device()
    network = network.eval().requires_grad_(False)
    config = Sampling3D({"in_channels": 4})
    model = kind(config, model_type, device=device, unet_model=lambda **_: network)
    return comfy.model_patcher.ModelPatcher(model, device, comfy.model_management.unet_offload_device())
