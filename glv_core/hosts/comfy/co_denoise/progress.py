"""Progress of a co-denoised run in ComfyUI: windows, steps and the time left in the node, and a moving preview."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from comfy_execution.utils import get_executing_context

from ..families import streams_of, time_dim_of

log = logging.getLogger(__name__)

IMAGES_PER_SECOND = 8
MOST_IMAGES = 128  #: of a longer video every n-th latent frame is shown
MOST_DECODED_IMAGES = 16  #: the same where each costs a pass of a preview decoder
LEAST_SECONDS = 1.0  #: of a run, before the rest of it is estimated


class WindowProgress:
    """Counts windows over a whole run; to be used in a ``with`` block, which ends the moving preview.

    Args:
        windows_per_step: how many windows each step will denoise.
        model: the MODEL, for the host's preview of its latents.
    """

    def __init__(self, windows_per_step: Sequence[int], model: Any) -> None:
        self._before = [0, *accumulate(windows_per_step)]
        self._bar = comfy.utils.ProgressBar(self._before[-1])
        self._value = 0
        self._time_left = TimeLeft(self._before[-1])
        self._first_step = 0
        self._label = ""
        self._lock = threading.Lock()  # the preview's thread must not report an older count after a newer one
        previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        time_dim = time_dim_of(model.model.latent_format)
        self._preview = (
            None if previewer is None else MovingPreview(previewer, time_dim, self._show_image, model.load_device)
        )

    def __enter__(self) -> WindowProgress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._preview is not None:
            self._preview.close()

    def begin_part(self, first_step: int, label: str) -> None:
        """From now on steps are counted from ``first_step`` of the run, and ``label`` stands before the text."""
        self._first_step, self._label = first_step, label
        value = self._before[min(first_step, len(self._before) - 1)]
        self._time_left.skip(value)
        self._show(value)
        if label:
            send_text(label)

    def on_windows(self, step: int, done: int, total: int) -> None:
        """After each forward pass: ``done`` of the ``total`` windows of ``step`` are denoised."""
        step = min(self._first_step + step, len(self._before) - 2)
        planned = self._before[step + 1] - self._before[step]
        value = self._before[step] + round(planned * done / total)
        self._show(value)
        seconds = self._time_left.after(value)
        left = "" if seconds is None else f", about {in_words(seconds)} left"
        send_text(f"{self._label}Step {step + 1}/{len(self._before) - 1}, window {done}/{total}{left}")

    def on_step(self, step: int, x0: Any, x: Any, total_steps: int) -> None:
        """After each sampling step; the signature of the host's sampler callback.

        Of latents that combine video and sound, the video is shown.
        """
        image = self._preview.play(streams_of(x0)[0]) if self._preview is not None else None
        self._show(self._before[min(self._first_step + step + 1, len(self._before) - 1)], image)

    def _show(self, value: int, image: Any = None) -> None:
        # A sampler that evaluates twice in a step goes through its windows twice; the bar does not go back.
        with self._lock:
            self._value = max(self._value, value)
            self._bar.update_absolute(self._value, self._before[-1], image)

    def _show_image(self, image: Any) -> None:
        self._show(0, image)


class TimeLeft:
    """How long the rest of a run takes, at the pace of the windows that were denoised so far.

    The first window is not counted: weights are loaded in it.

    Args:
        total: windows of the run.
        clock: the time in seconds.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock = total, clock
        self._began: float | None = None
        self._value = self._made = 0

    def skip(self, value: int) -> None:
        """The run is at this window, without the ones before it having taken time."""
        self._value = max(self._value, value)

    def after(self, value: int) -> float | None:
        """Seconds that are left after so many windows of the run; None while nothing is known."""
        now = self._clock()
        if self._began is None:
            self._began = now
        else:
            self._made += max(0, value - self._value)
        self._value = max(self._value, value)
        passed = now - self._began
        if not self._made or passed < LEAST_SECONDS:
            return None
        return passed / self._made * (self._total - self._value)


def in_words(seconds: float) -> str:
    """A time to the second: ``9 s``, ``1:05``, ``2:00:09``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


class MovingPreview:
    """Plays the newest prediction of the whole video, over and over, as the host's preview images.

    The host previews one image at a time: a thread sends one after the other. It draws them from small images that
    were made beforehand, so it touches neither the model nor its device.

    Args:
        previewer: the host's, which turns one latent frame into an image.
        time_dim: the latents' axis of time.
        show: takes what the previewer makes.
        device: where a preview decoder is.
    """

    def __init__(self, previewer: Any, time_dim: int, show: Callable[[Any], None], device: torch.device) -> None:
        self._previewer = previewer
        self._device = device
        self._time_dim = time_dim
        self._show = show
        self._images: list[Any] = []
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def play(self, x0: torch.Tensor) -> Any:
        """Show this prediction from now on; returns its first image."""
        length = x0.shape[self._time_dim]
        # A previewer with a decoder of its own is slower than the host's matrix, and a video may be long.
        quick = isinstance(self._previewer, latent_preview.Latent2RGBPreviewer)
        every = max(1, -(-length // (MOST_IMAGES if quick else MOST_DECODED_IMAGES)))
        self._images = [
            self._previewer.decode_latent_to_preview_image("JPEG", self._frame(x0, frame, quick))
            for frame in range(0, length, every)
        ]
        if self._thread is None and len(self._images) > 1:
            # In a copy of this context, where the host looks up which node is running.
            run = contextvars.copy_context().run
            self._thread = threading.Thread(target=run, args=(self._run,), name="moving preview", daemon=True)
            self._thread.start()
        return self._images[0]

    def _frame(self, x0: torch.Tensor, frame: int, quick: bool) -> torch.Tensor:
        part = x0.narrow(self._time_dim, frame, 1)
        return part if quick else part.to(self._device)

    def close(self) -> None:
        """Stop, and wait until the last image is sent."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self._images = []

    def _run(self) -> None:
        shown = 0
        while not self._end.wait(1 / IMAGES_PER_SECOND):
            images = self._images
            shown = (shown + 1) % len(images)
            try:
                self._show(images[shown])
            except comfy.model_management.InterruptProcessingException:
                # Asking whether to stop withdraws the wish; it is the sampler's to hear.
                comfy.model_management.interrupt_current_processing(True)
                return
            except Exception:
                log.exception("The moving preview stops; sampling goes on.")
                return


def send_text(text: str) -> None:
    """Show a line of text in the node that is running, where the host has a server."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)  # loaded by the host, if it is one with a server
    instance = getattr(server, "instance", None)
    context = get_executing_context()
    if context is not None and instance is not None:
        instance.send_progress_text(text, context.node_id)
