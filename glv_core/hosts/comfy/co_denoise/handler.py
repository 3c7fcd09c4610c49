"""Co-denoising at ComfyUI's context-handler hook: one model evaluation of a long latent, window by window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy.context_windows import ContextHandlerABC

from ....co_denoise import Stage, co_denoise_streams
from ....timeline import Place
from ..families import asks_for_windows
from .conditioning import Entry
from .evaluation import Evaluation
from .frame_text import NoFrameText
from .options import NoiseOptions, WindowOptions
from .progress import send_text
from .prompt_tags import schedules_in, without_copied_tags
from .run import OnWindows, Run

log = logging.getLogger(__name__)


class CoDenoiseHandler(ContextHandlerABC):
    """Runs overlapping windows in place of the one forward pass over the whole latent.

    ComfyUI calls it inside every model evaluation, before batching, ControlNet and hooks, and applies CFG to what it
    returns; so it works with every sampler, scheduler and guider. What a run needs is in a ``Run``, from ``begin`` to
    ``end``; a copy of the handler starts without one.
    """

    def __init__(
        self,
        options: WindowOptions,
        on_windows: OnWindows | None = None,
        place: Place | None = None,
        stage: Stage | None = None,
        noise: NoiseOptions | None = None,
        fresh: NoiseOptions | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.on_windows = on_windows
        self.place = place
        self.stage = stage
        self.noise = noise
        self.fresh = fresh
        self._run: Run | None = None

    def __deepcopy__(self, memo: dict) -> CoDenoiseHandler:
        return type(self)(self.options, self.on_windows, self.place, self.stage, self.noise, self.fresh)

    def begin(
        self,
        model: Any,
        conds: dict[str, list[Entry]],
        shape: Sequence[int],
        seed: int = 0,
        latent_shapes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Check a run before its first forward pass and reset what is kept within a run.

        Raises:
            ValueError: the options, prompts or latent do not fit; the message says what to do.
        """
        entries = [entry for output in conds.values() for entry in output or ()]
        self._run = Run(model, shape, self.options, seed, self.place, self.stage, latent_shapes, entries)
        for schedule in schedules_in(conds.values()):
            self._run.track(schedule)

    def shaped_noise(self, noise: torch.Tensor, seed: int) -> torch.Tensor:
        """The noise that a run starts from: of the handler's own kind, but where the sampler adds none."""
        if self.noise is None or self.noise.kind == "independent" or self._run is None or not noise.any():
            return noise
        return self._run.noise(noise, seed % 2**63, self.noise)

    def end(self) -> None:
        """Forget what was kept within a run, and say how much of it a step cache saved."""
        run, self._run = self._run, None
        if run is not None and run.caches is not None and run.caches.windows:
            log.info("Step cache: %s.", run.caches)
            send_text(f"Step cache: {run.caches}")

    def run_of(self, model: Any, shape: Sequence[int]) -> Run:
        """The run that goes on, or a new one for a latent of another shape."""
        run = self._run
        if run is None or not run.latent.fits(shape):
            run = self._run = Run(model, shape, self.options, 0, self.place, self.stage)
        return run

    def should_use_context(
        self, model: Any, conds: list, x_in: torch.Tensor, timestep: torch.Tensor, model_options: dict
    ) -> bool:
        """Whether windows are needed: a latent longer than this step's, a loop, tiles, a step cache, or several
        prompts; or it is offloaded, or something on the model asks which windows it is shown.
        """
        run = self.run_of(model, x_in.shape)
        several = any(len(schedule.prompts) > 1 for schedule in schedules_in(conds))
        asked = self.options.offload_latent or run.caches is not None or asks_for_windows(model_options)
        if several or run.is_tiled or asked:
            return True
        cut = [settings.cuts(run.length) for settings in run.each]
        if all(cut) or not any(cut):
            return cut[0]
        run.check(without_copied_tags(conds), model_options)  # what a later phase cannot slice is said now
        return run.settings.at(*run.moment(timestep, model_options)).cuts(run.length)

    def get_resized_cond(self, cond_in: list, x_in: torch.Tensor, window: Any, device: Any = None) -> list:
        """Part of the host's interface, which it does not call itself: ``cond_in`` for one window of the run."""
        if self._run is None:
            raise RuntimeError("A cond is sliced for a window while a run goes on; there is none.")
        view = self._run.view(window)
        sliced = (self._run.conditions.slice(entry, view, None) for entry in cond_in)
        return [entry for entry in sliced if entry is not None]

    def execute(
        self,
        calc_cond_batch: Callable,
        model: Any,
        conds: list[list[Entry] | None],
        x_in: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict,
    ) -> list[torch.Tensor]:
        """One model evaluation: ``conds`` for each output -> a merged x0 prediction of ``x_in``'s shape for each."""
        run = self.run_of(model, x_in.shape)
        conds = without_copied_tags(conds)
        run.check(conds, model_options)
        try:
            evaluation = Evaluation(run, calc_cond_batch, model, conds, x_in, timestep, model_options, self.on_windows)
            evaluation.check_blendings()
            kept = evaluation.kept()
            merged = co_denoise_streams(
                run.latent.videos(run.latent.split(x_in)),
                evaluation.step,
                run.settings,
                evaluation.denoise_windows,
                run.latent.streams,
                num_outputs=len(conds),
                time_dim=run.time_dim,
                num_steps=evaluation.num_steps,
                cache=None if kept is None else kept.cache,
            )
            guided = evaluation.with_guides(merged, kept)
            return [run.latent.join(streams) for streams in guided]
        except NoFrameText as error:
            if not run.by_attention:
                raise
            run.do_without_attention(error)
        return self.execute(calc_cond_batch, model, conds, x_in, timestep, model_options)
