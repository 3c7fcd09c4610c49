"""What the nodes share: category, errors, and the inputs for windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from comfy_api.latest import io

from ..glv_core.co_denoise import AUTOMATIC_WINDOWS_PER_FORWARD
from ..glv_core.fusion import MERGES
from ..glv_core.hosts.comfy.handler import WindowOptions
from ..glv_core.windows import SCHEDULES

CATEGORY = "long video"


@contextmanager
def naming(node_id: str) -> Iterator[None]:
    """Put the node's name in front of a ValueError, so that its message says where it comes from."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{node_id}:"):
            raise
        raise ValueError(f"{node_id}: {error}") from error


def window_inputs() -> list[io.Input]:
    """The inputs that say how a long latent is cut into windows and merged."""
    return [
        io.Int.Input(
            "window",
            default=81,
            min=1,
            max=100_000,
            tooltip="Length of a window in frames of the video: the clip length the model was made for. Wan 81, "
            "Hunyuan 129, LTX 97, AnimateDiff 16, the demo model 61.",
        ),
        io.Int.Input(
            "overlap",
            default=16,
            min=0,
            max=100_000,
            tooltip="Frames shared by neighbouring windows. More is smoother and slower. Rounded to whole latent "
            "frames of the model (4 frames of Wan, 8 of LTX). Must be below window.",
        ),
        io.Combo.Input(
            "schedule",
            options=list(SCHEDULES),
            default="shifted",
            tooltip="shifted: the windows move at every step, so that no seam stays in one place; static: the same "
            "windows at every step, which needs more overlap for the same smoothness.",
        ),
        io.Combo.Input(
            "merge",
            options=list(MERGES),
            default="pyramid",
            tooltip="How overlapping windows are averaged. pyramid: the middle of a window counts most; hann: the same "
            "with a rounder top; flat: all frames count the same (Gen-L-Video).",
        ),
        io.Int.Input(
            "windows_per_forward",
            default=0,
            min=0,
            max=64,
            advanced=True,
            tooltip="At most so many windows share one forward pass of the model. 0: as many as fit in free memory, up "
            f"to {AUTOMATIC_WINDOWS_PER_FORWARD}. The result does not depend on it; 1 needs the least memory.",
        ),
    ]


def check_windows(window: int | None, overlap: int | None) -> bool | str:
    """For ``validate_inputs``, before anything is loaded: True, or what is wrong. A linked input is None."""
    if window is not None and window < 1:
        return f"window is {window} frames; it must be at least 1."
    if overlap is not None and overlap < 0:
        return f"overlap is {overlap} frames; it must be 0 or more."
    if window is not None and overlap is not None and overlap >= window:
        return f"overlap is {overlap} frames and window {window}; overlap must be below window. Lower overlap."
    return True


def window_options(window: int, overlap: int, schedule: str, merge: str, windows_per_forward: int) -> WindowOptions:
    """The values of ``window_inputs`` as options."""
    return WindowOptions(window, overlap, schedule, merge, windows_per_forward)
