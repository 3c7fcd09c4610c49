"""The host's EasyCache on a MODEL, which decides for one window whether all are computed, as a cache of windows."""

from __future__ import annotations

import logging
from typing import Any

import comfy.patcher_extension

from ....step_cache import StepCacheSettings

log = logging.getLogger(__name__)
_KEY = "easycache"  #: of what the node sets in ``transformer_options``, and of its wrappers


def has_easy_cache(transformer_options: Any) -> bool:
    """Whether EasyCache is on a MODEL with these options; LazyCache, which has the same key, is another."""
    return type(transformer_options.get(_KEY)).__name__ == "EasyCacheHolder"


def without_easy_cache(model: Any) -> StepCacheSettings | None:
    """Take EasyCache off a MODEL, which is changed: its threshold, start and end; None where there is none.

    Raises:
        ValueError: its shares of the steps are none of a step cache.
    """
    options = model.model_options.get("transformer_options", {})
    if not has_easy_cache(options):
        return None
    holder = options.pop(_KEY)
    wrappers = comfy.patcher_extension.WrappersMP
    for kind in (wrappers.OUTER_SAMPLE, wrappers.CALC_COND_BATCH, wrappers.DIFFUSION_MODEL):
        model.remove_wrappers_with_key(kind, _KEY)
    log.info("Co-denoising does the work of EasyCache itself, window by window.")
    return StepCacheSettings(holder.reuse_threshold, holder.start_percent, holder.end_percent)
