"""Co-denoising at ComfyUI's context-handler hook: one model evaluation of a long latent, window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy.context_windows import ContextHandlerABC

from ....co_denoise import Stage, co_denoise_streams
from ....timeline import Place
from .conditioning import Entry
from .evaluation import Evaluation
from .options import NoiseOptions, WindowOptions
from .prompt_tags import schedules_in, without_copied_tags
from .run import OnWindows, Run


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
    ) -> None:
        super().__init__()
        self.options = options
        self.on_windows = on_windows
        self.place = place
        self.stage = stage
        self.noise = noise
        self._run: Run | None = None

    def __deepcopy__(self, memo: dict) -> CoDenoiseHandler:
        return type(self)(self.options, self.on_windows, self.place, self.stage, self.noise)

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
        run = self._run
        settings = self.noise.settings(run.settings.window, run.settings.overlap)
        made = run.latent.noise(run.latent.split(noise.cpu()), seed % 2**63, settings)
        return run.latent.join(made).to(noise.device)

    def end(self) -> None:
        """Forget what was kept within a run."""
        self._run = None

    def run_of(self, model: Any, shape: Sequence[int]) -> Run:
        """The run that goes on, or a new one for a latent of another shape."""
        run = self._run
        if run is None or not run.latent.fits(shape):
            run = self._run = Run(model, shape, self.options, 0, self.place, self.stage)
        return run

    def should_use_context(
        self, model: Any, conds: list, x_in: torch.Tensor, timestep: torch.Tensor, model_options: dict
    ) -> bool:
        """Whether windows are needed: a latent longer than one, a loop, tiled or offloaded, or several prompts."""
        run = self.run_of(model, x_in.shape)
        if run.is_long or run.is_tiled or self.options.offload_latent:
            return True
        return any(len(schedule.prompts) > 1 for schedule in schedules_in(conds))

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
        evaluation = Evaluation(run, calc_cond_batch, model, conds, x_in, timestep, model_options, self.on_windows)
        merged = co_denoise_streams(
            run.latent.videos(run.latent.split(x_in)),
            evaluation.step,
            run.settings,
            evaluation.denoise_windows,
            run.latent.streams,
            num_outputs=len(conds),
            time_dim=run.time_dim,
            num_steps=evaluation.num_steps,
        )
        return [run.latent.join(evaluation.with_guides(output, streams)) for output, streams in enumerate(merged)]
