"""Progress of a co-denoised run in ComfyUI: windows and steps in the node's bar and text, with the host's preview."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import comfy.utils
import latent_preview


class WindowProgress:
    """Counts windows over a whole run.

    Args:
        windows_per_step: how many windows each step will denoise.
        model: the MODEL, for the host's preview of its latents.
    """

    def __init__(self, windows_per_step: Sequence[int], model: Any) -> None:
        self._before = [0, *accumulate(windows_per_step)]
        self._bar = comfy.utils.ProgressBar(self._before[-1])
        self._value = 0
        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def on_windows(self, step: int, done: int, total: int) -> None:
        """After each forward pass: ``done`` of the ``total`` windows of ``step`` are denoised."""
        step = min(step, len(self._before) - 2)
        planned = self._before[step + 1] - self._before[step]
        self._show(self._before[step] + round(planned * done / total))
        send_text(f"Step {step + 1}/{len(self._before) - 1}, window {done}/{total}")

    def on_step(self, step: int, x0: Any, x: Any, total_steps: int) -> None:
        """After each sampling step; the signature of the host's sampler callback."""
        preview = self._previewer.decode_latent_to_preview_image("JPEG", x0) if self._previewer else None
        self._show(self._before[min(step + 1, len(self._before) - 1)], preview)

    def _show(self, value: int, preview: Any = None) -> None:
        # A sampler that evaluates twice in a step goes through its windows twice; the bar does not go back.
        self._value = max(self._value, value)
        self._bar.update_absolute(self._value, self._before[-1], preview)


def send_text(text: str) -> None:
    """Show a line of text in the node that is running, where the host has a server."""
    try:
        from comfy_execution.utils import get_executing_context
        from server import PromptServer
    except ImportError:
        return
    context = get_executing_context()
    server = getattr(PromptServer, "instance", None)
    if context is not None and server is not None:
        server.send_progress_text(text, context.node_id)
