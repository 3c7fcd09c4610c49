"""Models that take a noise level of its own for every latent frame: clean frames among noisy ones."""

from __future__ import annotations

import functools
from typing import Any

import comfy.conds
import comfy.model_base


class PerFrameTimesteps:
    """Makes a Wan network be told the noise level of every latent frame, as ComfyUI does for Wan 2.2 5B.

    It stands before ComfyUI's own class of the model. Where no latent is masked it computes what that does.
    """

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """The conditions of the network, with the mask of what is to be denoised."""
        conds = super().extra_conds(**kwargs)
        mask = kwargs.get("denoise_mask")
        if mask is not None:
            conds["denoise_mask"] = comfy.conds.CONDRegular(mask)
        return conds

    process_timestep = comfy.model_base.WAN22.process_timestep
    scale_latent_inpaint = comfy.model_base.WAN22.scale_latent_inpaint


def takes_clean_frames(model: Any) -> bool:
    """Whether a model is told which latent frames are clean, as Wan 2.2 5B, LTX and the demo model are."""
    return isinstance(model, (comfy.model_base.WAN22, comfy.model_base.LTXV, PerFrameTimesteps))


def give_per_frame_timesteps(model: Any) -> None:
    """Make a Wan MODEL one with ``PerFrameTimesteps``.

    For models of Wan 2.1's shape that were trained so (``expand_timesteps`` in a diffusers folder). The class of the
    network's wrapper is changed, and not the MODEL patched: a patch would hold on to this very network, and go on doing
    so in a copy on another device.
    """
    model.model.__class__ = _with_per_frame_timesteps(type(model.model))


@functools.cache
def _with_per_frame_timesteps(kind: type) -> type:
    return type(f"{kind.__name__}WithPerFrameTimesteps", (PerFrameTimesteps, kind), {})
