"""What the host says of memory: whether an error means that it ran out, and how much is free for windows."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device's memory ran out.

    Newer hosts know of more errors than ``OOM_EXCEPTION``, and clear what such an error leaves on the device.
    """
    is_oom = getattr(comfy.model_management, "is_oom", None)
    if is_oom is not None:
        return is_oom(error)
    return isinstance(error, comfy.model_management.OOM_EXCEPTION)


def free_for_windows(patcher: Any, device: torch.device) -> float:
    """Bytes that windows may take on a device.

    A patcher with dynamic memory counts its own weights as free, since it can page them out; more windows in a forward
    pass are not worth weights that then stream in again at every pass, so there only memory that is really free counts.
    """
    is_dynamic = getattr(patcher, "is_dynamic", None)
    if is_dynamic is not None and is_dynamic():
        return comfy.model_management.get_free_memory(device)
    return patcher.get_free_memory(device)
