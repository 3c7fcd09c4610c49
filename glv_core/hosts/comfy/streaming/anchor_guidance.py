"""Guidance by text and by anchor apart: three predictions in place of two (StreamingT2V, arXiv 2403.14773)."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch

from ..families.streamingt2v import ANCHOR_TOKENS, MODEL_CLASS


def guide_by_anchor(model: Any, weight: float) -> Any:
    """A clone of a MODEL whose anchor has a guidance of its own; the sampler's cfg is that of the text.

    With the prediction ``u`` of neither, ``t`` of the text alone and ``b`` of both: ``u + cfg (t - u) + weight (b -
    t)``. The host mixes two, so it gets for the conditional one what makes its mix this.

    Args:
        model: a StreamingT2V MODEL; it is not changed.
        weight: of the anchor, 0 or more.

    Raises:
        ValueError: another kind of model, or the weight is below 0.
    """
    if type(model.model).__name__ != MODEL_CLASS:
        raise ValueError(
            f"model is a {type(model.model).__name__}, which has no anchor of its own. Connect Load StreamingT2V's."
        )
    if weight < 0:
        raise ValueError(f"anchor_weight is {weight}; it must be 0 or more.")

    def mix(given: dict[str, Any]) -> list[torch.Tensor]:
        conds, said, cfg = given["conds"], given["conds_out"], given["cond_scale"]
        if cfg == weight or not cfg or len(conds) < 2 or not conds[1] or not _anchored(conds[0]):
            return said
        text = [_with_anchor(entry, conds[1][0]) for entry in conds[0]]
        alone = comfy.samplers.calc_cond_batch(
            given["model"], [text], given["input"], given["sigma"], given["model_options"]
        )[0]
        return [alone + (weight / cfg) * (said[0] - alone), *said[1:]]

    patched = model.clone()
    patched.set_model_sampler_pre_cfg_function(mix)
    return patched


def _anchored(entries: list | None) -> bool:
    return any(ANCHOR_TOKENS in entry["model_conds"] for entry in entries or ())


def _with_anchor(entry: dict[str, Any], grey: dict[str, Any]) -> dict[str, Any]:
    """A cond entry with the anchor of another one, which says nothing."""
    return {**entry, "model_conds": {**entry["model_conds"], ANCHOR_TOKENS: grey["model_conds"][ANCHOR_TOKENS]}}
