"""Models that take a noise level of its own for every latent frame: clean frames among noisy ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import comfy.conds
import comfy.model_base


def takes_clean_frames(model: Any) -> bool:
    """Whether a MODEL is told which latent frames are clean, as Wan 2.2 5B, LTX and the demo model are."""
    families = (comfy.model_base.WAN22, comfy.model_base.LTXV)
    return isinstance(model.model, families) or "process_timestep" in model.object_patches


def give_frame_times(model: Any) -> None:
    """Make a Wan MODEL tell its network the noise level of every latent frame, as ComfyUI does for Wan 2.2 5B.

    For models of Wan 2.1's shape that were trained so (``expand_timesteps`` in a diffusers folder). ``model`` is
    changed; where no latent is masked it computes what it did before.
    """
    base = model.model
    kind = comfy.model_base.WAN22

    def extra_conds(**kwargs: Any) -> dict[str, Any]:
        conds = type(base).extra_conds(base, **kwargs)
        mask = kwargs.get("denoise_mask")
        if mask is not None:
            conds["denoise_mask"] = comfy.conds.CONDRegular(mask)
        return conds

    model.add_object_patch("extra_conds", extra_conds)
    model.add_object_patch("process_timestep", partial(kind.process_timestep, base))
    model.add_object_patch("scale_latent_inpaint", partial(kind.scale_latent_inpaint, base))
