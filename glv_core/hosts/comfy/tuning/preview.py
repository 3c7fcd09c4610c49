"""What is shown while a tuning runs: the curve of its loss, and what the network makes of the prompt by now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from PIL import Image

from ....tuning.curve import draw_curve
from ..co_denoise.progress import TimeLeft, in_words, send_text
from ..families import time_dim_of

_FRAMES = 4  #: of the video, below the curve
_SIZE = (640, 320)


class TuningProgress:
    """Shows steps, the time left, the curve, and every so many steps frames of the network's guess.

    Args:
        steps: of the tuning.
        done: those that were done before.
        model: the MODEL, for the host's preview of its latents.
        every: steps between two guesses; 0 makes none.
    """

    def __init__(self, steps: int, done: int, model: Any, every: int) -> None:
        self._steps, self._every = steps, every
        self._bar = comfy.utils.ProgressBar(steps)
        self._left = TimeLeft(steps)
        self._left.skip(done)
        self._previewer: Any = (
            latent_preview.get_previewer(model.load_device, model.model.latent_format) if every else None
        )
        self._time_dim = time_dim_of(model.model.latent_format)
        self._frames: list[Image.Image] = []
        self._device = model.load_device

    def on_step(self, losses: Sequence[float], guess: Callable[[], torch.Tensor]) -> None:
        """After a step: its losses so far, and what makes a guess, a latent of video."""
        done = len(losses)
        if self._previewer is not None and (done % self._every == 0 or done == self._steps):
            self._frames = self._shown(guess())
        image = None
        if self._every and (done % max(1, self._every // 4) == 0 or done == self._steps):
            image = ("JPEG", self.picture(losses), None)
        self._bar.update_absolute(done, self._steps, image)
        seconds = self._left.after(done)
        left = "" if seconds is None else f", about {in_words(seconds)} left"
        recent = losses[-20:]
        send_text(f"Step {done}/{self._steps}, loss {sum(recent) / len(recent):.4f}{left}")

    def picture(self, losses: Sequence[float]) -> Image.Image:
        """The curve, and below it the last guess."""
        width, height = _SIZE
        curve = draw_curve(losses, self._steps, width, height)
        if not self._frames:
            return curve
        side = width // len(self._frames)
        rows = max(side * frame.height // frame.width for frame in self._frames)
        whole = Image.new("RGB", (width, height + rows), "black")
        whole.paste(curve, (0, 0))
        for place, frame in enumerate(self._frames):
            whole.paste(frame.resize((side, rows)), (place * side, height))
        return whole

    def _shown(self, video: torch.Tensor) -> list[Image.Image]:
        length = video.shape[self._time_dim]
        chosen = torch.linspace(0, length - 1, min(_FRAMES, length)).round().int().tolist()
        images = []
        for index in chosen:
            frame = video.narrow(self._time_dim, index, 1).to(self._device)
            _, image, _ = self._previewer.decode_latent_to_preview_image("JPEG", frame)
            images.append(image)
        return images
