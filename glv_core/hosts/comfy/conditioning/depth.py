"""Depth for models that take it beside the latent: Stable Diffusion 2 depth, whose network has a fifth channel.

ComfyUI takes every network with more than four input channels for an inpainting model, and gives it a mask and a
masked image: five channels more than this one has. Here its ``concat_cond`` gives the depth instead.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.utils
import torch

from ....editing.depth_channel import NORMALISE, depth_channel
from ..video.frame_source import FrameSource, frame_source


def with_depth(model: Any, depth: Any, normalise: str) -> Any:
    """A clone of a MODEL whose network is shown the depth of every frame beside its latent.

    Args:
        model: Stable Diffusion 2 depth.
        depth: a VIDEO or an IMAGE of inverse depth, near bright: a frame for every frame of the latent, or one for all.
        normalise: one of ``NORMALISE``, see ``depth_channel``.

    Raises:
        ValueError: the model takes no single channel beside its latent, or ``depth`` has no frames.
    """
    if normalise not in NORMALISE:
        raise ValueError(f"normalise is {normalise!r}; it must be one of {', '.join(NORMALISE)}.")
    latent_format = model.model.latent_format
    channels = model.model.model_config.unet_config.get("in_channels")
    wanted = latent_format.latent_channels + 1
    if latent_format.latent_dimensions != 2 or channels != wanted:
        raise ValueError(
            f"model takes {channels} channels, its latents have {latent_format.latent_channels}; this node is for "
            "image models that take one channel of depth beside the latent. Load Stable Diffusion 2 depth "
            "(512-depth-ema.safetensors); for other models use a depth ControlNet."
        )
    patched = model.clone()
    patched.add_object_patch("concat_cond", DepthChannel(frame_source(depth, "depth"), normalise))
    return patched


@dataclass(frozen=True, eq=False)
class DepthChannel:
    """Stands in for a model's ``concat_cond``: frames are read when the size of the latent is known."""

    source: FrameSource
    normalise: str

    def __call__(self, noise: torch.Tensor, device: Any, **_: Any) -> torch.Tensor:
        """The channel ``t 1 h w`` for a latent ``t c h w``; the host asks for every prompt.

        Raises:
            ValueError: there are fewer frames of depth than of the latent, and more than one.
        """
        count, (height, width) = len(noise), noise.shape[-2:]
        made = _MADE.setdefault(self, {})
        if (count, height, width) not in made:
            made.clear()
            made[count, height, width] = self._channel(count, height, width)
        return made[count, height, width].to(device)

    def _channel(self, count: int, height: int, width: int) -> torch.Tensor:
        available = self.source.num_frames
        if 1 != available < count:
            raise ValueError(
                f"DepthConcat: depth has {available} frames and the latent {count}. Connect depth of every frame, or "
                "one for all."
            )
        used = min(available, count)
        depth, at = torch.empty(used, height, width), 0
        for part in self.source.images():
            comfy.model_management.throw_exception_if_processing_interrupted()
            grey = part[: used - at].mean(-1)[:, None]
            if not len(grey):
                break
            depth[at : at + len(grey)] = comfy.utils.common_upscale(grey, width, height, "bicubic", "center")[:, 0]
            at += len(grey)
        return depth_channel(depth, self.normalise)[:, None].expand(count, -1, -1, -1)


#: What was made last, so that prompts share it. Not in the object: a MODEL is known by what its patches hold.
_MADE: weakref.WeakKeyDictionary[DepthChannel, dict[tuple[int, int, int], torch.Tensor]] = weakref.WeakKeyDictionary()
