"""Co-denoising inside a diffusers pipeline, by wrapping the forward of its denoiser.

The pipeline keeps its scheduler, guidance and loop: it believes that its denoiser takes long latents. What is merged is
the denoiser's output (velocity or noise). Given the latent that all windows share, the denoised prediction is affine in
that output, so merging one merges the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from ...co_denoise import CoDenoiseSettings, co_denoise
from ...prompts import PromptSchedule, PromptTrack
from ...timeline import Timebase
from ...windows import View, Window
from .denoisers import Call, DenoiserKind, Row, UnsupportedDenoiserError, denoisers_of
from .frame_text import attending, check_attention
from .held import Held
from .identified import Identified, told
from .tuned_layers import TunedLayers


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told after every forward pass.

    ``step`` counts from 0 to ``num_steps - 1``. ``passes_done`` of ``num_passes`` window passes are finished in the
    current call of the denoiser; a window that sees two prompts, or that is guided in the same call, takes two.
    """

    step: int
    num_steps: int
    passes_done: int
    num_passes: int
    num_windows: int


ProgressCallback = Callable[[Progress], None]


@contextmanager
def co_denoising(
    pipeline: Any,
    settings: CoDenoiseSettings,
    timebase: Timebase,
    prompts: PromptSchedule | PromptTrack,
    text_length: int,
    progress: ProgressCallback | None = None,
    held: Held | None = None,
    identified: Identified | None = None,
    negative: torch.Tensor | None = None,
) -> Iterator[PromptTrack]:
    """While this context is open, the pipeline's denoiser takes latents of any length, one window at a time.

    Call the pipeline inside with ``prompt_embeds`` = the embeddings of the yielded track's prompts, one after the other
    along the sequence axis (``1 (k l) d``, l being ``text_length``), and ``negative_prompt_embeds`` = the negative one
    k times. ``generate`` does all of that. Leaving the context restores the denoiser, also after an exception; one
    raised by ``progress`` stops the run between two forward passes.

    Args:
        pipeline: a diffusers pipeline whose denoiser is in ``SUPPORTED``.
        settings: windows and merge. ``windows_per_forward`` bounds how many times the pipeline's own batch one forward
            pass may hold; 0 means ``AUTOMATIC_WINDOWS_PER_FORWARD``.
        timebase: the clock of the whole video.
        prompts: over the whole video, or what its latent frames see of them.
        text_length: tokens of one prompt's embeddings.
        progress: told after every forward pass.
        held: latent frames at the beginning that are known.
        identified: what tells windows which part of a tuned video they are like.
        negative: the negative prompt's embeddings ``1 l d``; windows that see them are told nothing. None is that
            there is no negative prompt.

    Raises:
        UnsupportedDenoiserError: the pipeline's denoiser cannot be co-denoised.
        ValueError: prompts and timebase disagree, or (inside) a latent or embeddings of another size.
    """
    track = track_of(prompts, timebase)
    wrapped: list[tuple[torch.nn.Module, Any, LongForward]] = []
    stack = ExitStack()
    try:
        for module, kind in denoisers_of(pipeline):
            if any(each.prompt_blending == "attention" for each in settings.each()):
                check_attention(type(module).__name__, kind)
            long_forward = LongForward(module, kind, pipeline, settings, timebase, track, text_length, progress, held)
            if identified is not None:
                stack.enter_context(long_forward.telling(identified, negative))
            wrapped.append((module, module.__dict__.get("forward"), long_forward))
            module.forward = long_forward
        yield track
    finally:
        stack.close()
        for module, before, long_forward in wrapped:
            # Offloading hooks may have replaced the forward, and ours with it, when the pipeline was done.
            if module.__dict__.get("forward") is not long_forward:
                continue
            if before is None:
                del module.forward
            else:
                module.forward = before


def track_of(prompts: PromptSchedule | PromptTrack, timebase: Timebase) -> PromptTrack:
    """What the latent frames of a video see; prompts that none of them sees are left out."""
    if isinstance(prompts, PromptSchedule):
        prompts = PromptTrack.of(prompts, timebase.num_latent_frames, timebase.compression)
    return prompts.seen()


class LongForward:
    """A denoiser's forward for latents of any length: the stand-in that ``co_denoising`` installs."""

    def __init__(
        self,
        module: torch.nn.Module,
        kind: DenoiserKind,
        pipeline: Any,
        settings: CoDenoiseSettings,
        timebase: Timebase,
        track: PromptTrack,
        text_length: int,
        progress: ProgressCallback | None,
        held: Held | None = None,
    ) -> None:
        self.module = module
        self.original = module.forward
        self.kind = kind
        self.pipeline = pipeline
        self.settings = settings
        self.timebase = timebase
        self.track = track
        self.text_length = text_length
        self.progress = progress
        self.held = held
        self._identified: Identified | None = None
        self._negative: torch.Tensor | None = None
        self._starts: list[float | None] = []

    @contextmanager
    def telling(self, identified: Identified, negative: torch.Tensor | None) -> Iterator[None]:
        """While open, the rows of forward passes are told their clips; see ``co_denoising``."""
        self._identified, self._negative = identified, negative
        with told(TunedLayers(self.module), identified.identifiers, lambda: self._starts):
            yield

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = Call.read(self.module, self.kind, args, kwargs, len(self.track.prompts), self.text_length)
        length = call.sample.shape[2]
        if length != self.timebase.num_latent_frames:
            raise ValueError(
                f"The latent has {length} latent frames; the timebase says {self.timebase.num_latent_frames} "
                f"({self.timebase.num_frames} frames)."
            )
        step, num_steps = step_of(call.timestep, self.pipeline.scheduler.timesteps)
        windows = self.settings.windows(length, step, num_steps)
        if len(windows) == 1 and windows[0].is_slice and len(self.track.prompts) == 1 and self.held is None:
            self._tell(call, list(range(call.sample.shape[0])), [View(windows[0])] * call.sample.shape[0])
            output = self.original(*args, **kwargs)
            self._report(Progress(step, num_steps, 1, 1, 1))
            return output
        plain = call
        if self.held is not None:
            call = self.held.clean(call)

        def denoise_windows(windows: Sequence[Window]) -> Iterator[tuple[int, list[torch.Tensor]]]:
            return self._denoise(call, windows, step, num_steps)

        # Sums are kept in float32: the model's own type may be too coarse to add many small weights.
        [merged] = co_denoise(call.sample.float(), step, self.settings, denoise_windows, num_steps=num_steps)
        if self.held is not None:
            merged = self.held.replace(merged, plain, self.pipeline.scheduler)
        merged = merged.to(call.sample.dtype)
        return _Output(merged) if call.return_dict else (merged,)

    def _denoise(
        self, call: Call, windows: Sequence[Window], step: int, num_steps: int
    ) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Yield the index and prediction (``b c window h w``) of every window."""
        batch = call.sample.shape[0]
        rows = self._rows(call, windows, self.settings.at(step, num_steps))
        views = [self.settings.view(window) for window in windows]

        def size_of(row: Row) -> tuple[int, int]:  # rows of one forward pass have as many tokens of text, and of video
            return row.texts, views[row.window].length

        rows.sort(key=size_of)
        waiting = Counter(row.window for row in rows)
        predictions: dict[int, torch.Tensor] = {}
        size = batch * self.settings.largest_batch
        alike = [list(each) for _, each in groupby(rows, key=size_of)]
        done = 0
        for group in (each[start : start + size] for each in alike for start in range(0, len(each), size)):
            outputs = self._forward(call, group, [views[row.window] for row in group])
            done += len(group)
            self._report(Progress(step, num_steps, done, len(rows), len(windows)))
            for row, output in zip(group, outputs, strict=True):
                window, lead = windows[row.window], views[row.window].lead
                output = output[:, lead:]
                if row.window not in predictions:
                    predictions[row.window] = output.new_zeros((batch, *output.shape), dtype=torch.float32)
                predictions[row.window][row.row] += output.float() * self._prompt_weights(call, row, window)
                waiting[row.window] -= 1
                if not waiting[row.window]:
                    yield row.window, [predictions.pop(row.window)]

    def _rows(self, call: Call, windows: Sequence[Window], settings: CoDenoiseSettings) -> list[Row]:
        """What to evaluate: every window, for every row of the pipeline's batch and every prompt active on it."""
        equal = [call.text_is_equal(row) for row in range(call.sample.shape[0])]
        rows = []
        for index, window in enumerate(windows):
            for row, is_equal in enumerate(equal):
                if is_equal:
                    rows.append(Row(index, row, None))
                elif settings.prompt_blending == "predictions":
                    rows += [Row(index, row, prompt) for prompt in self.track.active(window)]
                else:
                    blending, per_frame = settings.prompt_blending, self.kind.text_per_frame
                    mix = self.track.mixed(window, settings.overlap, blending, per_frame)
                    rows.append(Row(index, row, None, mix, blending))
        return rows

    def _prompt_weights(self, call: Call, row: Row, window: Window) -> torch.Tensor | float:
        """How much a row counts at each latent frame of its window, to be multiplied with ``c t h w``."""
        if row.prompt is None:
            return 1.0
        weights = self.track.in_window(window)[row.prompt]
        return weights.to(call.sample.device)[None, :, None, None]

    def _forward(self, call: Call, rows: list[Row], views: list[View]) -> torch.Tensor:
        arguments = call.cut(rows, views)
        self._tell(call, [row.row for row in rows], views)
        sample = arguments[self.kind.sample]
        with self._attention(rows, views, sample):
            output = self.original(**arguments)[0]
        if output.shape != sample.shape:
            raise UnsupportedDenoiserError(
                f"{type(self.module).__name__} makes {tuple(output.shape)} of {tuple(sample.shape)}; only "
                "text-to-video models, whose output has the shape of their latent, can be co-denoised."
            )
        return output

    def _tell(self, call: Call, rows: Sequence[int], views: Sequence[View]) -> None:
        """Set what the clip identifiers are told of a forward pass: rows of the pipeline's batch, and their views."""
        identified, length = self._identified, call.sample.shape[2]
        if identified is not None:
            plain = [self._negative is not None and call.shows(row, self._negative) for row in range(max(rows) + 1)]
            starts = [identified.start_of(view.window, length) for view in views]
            self._starts = [None if plain[row] else start for row, start in zip(rows, starts, strict=True)]

    def _attention(self, rows: list[Row], views: list[View], sample: torch.Tensor) -> AbstractContextManager[None]:
        """The attention of one forward pass: to several prompts side by side, or as it is. Latent frames in front of
        a window heed what its first one does.
        """
        if rows[0].texts == 1:
            return nullcontext()
        biases = [row.text_bias(self.text_length) for row in rows]
        led = [torch.cat([bias[:1]] * view.lead + [bias]) for bias, view in zip(biases, views, strict=True)]
        bias = torch.stack(led).to(sample.device)
        return attending(self.module, self.kind, bias, (sample.shape[3], sample.shape[4]))

    def _report(self, progress: Progress) -> None:
        if self.progress is not None:
            self.progress(progress)


class _Output(tuple):
    """A denoiser's output as pipelines read it: ``.sample`` or ``[0]``."""

    def __new__(cls, sample: torch.Tensor) -> _Output:
        return super().__new__(cls, (sample,))

    @property
    def sample(self) -> torch.Tensor:
        return self[0]


def step_of(timestep: torch.Tensor | float, timesteps: torch.Tensor) -> tuple[int, int]:
    """The sampling step that a model evaluation belongs to, and the number of steps.

    Steps are the distinct values of the scheduler's ``timesteps``, in order: a scheduler that evaluates twice at one
    timestep (Heun), or a pipeline that guides in a second call, stays in one step. The nearest one counts, and not the
    last that has begun: pipelines evaluate at no other timesteps, but may round them to the model's type.
    """
    value = float(timestep.flatten()[0]) if torch.is_tensor(timestep) else float(timestep)
    levels = list(dict.fromkeys(float(level) for level in timesteps))
    return min(range(len(levels)), key=lambda index: abs(levels[index] - value)), len(levels)
