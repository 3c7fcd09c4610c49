"""Temporal co-denoising: one model evaluation of a long latent as a merge of overlapping windows.

Gen-L-Video (arXiv 2305.18264) denoises overlapping windows of one long latent at every sampling step and averages
them. Here the *predictions* are merged and the sampler then steps the whole length once, with one noise: the same for
deterministic samplers, and the only form that keeps the variance right for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch

from .fusion import MERGES, Accumulator, merge_weights
from .prompts import PROMPT_BLENDINGS
from .step_cache import StepCache
from .streams import Stream
from .timeline import Compression
from .window_schedules import DEFAULT_SCHEDULE, SCHEDULES, check_sizes, windows_for
from .windows import View, Window

#: Takes the windows of a step; yields ``(index of the window, its predictions)`` in any order. A host may evaluate
#: several windows in one forward pass. The predictions are a sequence of tensors, one an output (conditional,
#: unconditional ...), each the window's part of the long shape.
DenoiseWindows = Callable[[Sequence[Window]], Iterable[tuple[int, Sequence[torch.Tensor]]]]

#: The same for a latent with several streams: an output is a list, with the window's part of each.
DenoiseStreams = Callable[[Sequence[Window]], Iterable[tuple[int, Sequence[Sequence[torch.Tensor]]]]]

#: With ``windows_per_forward`` 0, at most so many windows share a forward pass however much memory is free: more gain
#: little, and the largest batch then does not depend on the length of the video.
AUTOMATIC_WINDOWS_PER_FORWARD = 4


@dataclass(frozen=True)
class Stage:
    """The part of a whole noise schedule that a run makes: ``count`` steps from step ``first`` of ``total``.

    Two runs that share a schedule, as with a model for high and one for low noise, then use the windows of one run.
    """

    first: int
    count: int
    total: int

    @classmethod
    def whole(cls, num_steps: int) -> Stage:
        """A run over all of its noise schedule; one without steps counts as one."""
        return cls(0, max(1, num_steps), max(1, num_steps))

    @classmethod
    def of_shares(cls, shares: Sequence[float]) -> Stage:
        """The part that a run makes whose noise levels lie at these shares of the model's whole range.

        Args:
            shares: rising, one more than the run has steps; 0 is all noise, 1 none. Steps are taken as equally long.
        """
        count, span = len(shares) - 1, shares[-1] - shares[0]
        if span <= 0:
            return cls.whole(count)
        total = max(count, round(count / span))
        return cls(round(shares[0] * total), count, total)

    def steps_before(self, share: float) -> int:
        """How many steps of the run lie before a share of the whole schedule, 0 ... 1."""
        return sum(step < share * self.total - 1e-6 for step in range(self.first, self.first + self.count))


@dataclass(frozen=True)
class Phase:
    """Other windows from some point of the sampling on; what is None stays as it was.

    ``start`` is the share of the steps of the whole noise schedule, 0 ... 1, after which it begins. ``overlap`` and
    ``window`` are measured as those of the settings it belongs to. Another ``prompt_blending`` early than late is
    TunerDiT's idea (arXiv 2605.31590).
    """

    start: float
    schedule: str | None = None
    overlap: int | None = None
    stride: int | None = None
    merge: str | None = None
    window: int | None = None
    prompt_blending: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1:
            raise ValueError(f"A phase starts at {self.start}; it must be a share of the steps, 0 to 1.")

    def apply(self, settings: CoDenoiseSettings) -> CoDenoiseSettings:
        """The settings during this phase, without phases of their own."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "start"}
        return replace(settings, phases=(), **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True)
class CoDenoiseSettings:
    """How a long latent is cut into windows and merged. Sizes in latent frames.

    Raises:
        ValueError: overlap not below window, an unknown schedule or merge, or another value out of range.
    """

    window: int
    overlap: int
    schedule: str = DEFAULT_SCHEDULE
    merge: str = "pyramid"
    windows_per_forward: int = 0  #: at most so many share a forward pass; 0 is automatic
    stride: int = 1  #: spacing of the latent frames in a window
    closed_loop: bool = False  #: whether the last latent frame is followed by the first
    seed: int = 0  #: for schedules and merges that draw
    phases: tuple[Phase, ...] = ()  #: changes along the sampling, in any order
    prompt_blending: str = "predictions"  #: how windows see a change of prompts, one of ``PROMPT_BLENDINGS``
    grain: int = 1  #: windows start at multiples of this, see ``Compression.grain``
    causal_anchor: bool = False  #: whether windows are seen behind the latent frame before them, see ``view``

    def __post_init__(self) -> None:
        check_sizes(1, self.window, self.overlap, self.stride, self.grain)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"Unknown window schedule {self.schedule!r}. Known: {', '.join(SCHEDULES)}.")
        if self.merge not in MERGES:
            raise ValueError(f"Unknown merge {self.merge!r}. Known: {', '.join(MERGES)}.")
        if self.windows_per_forward < 0:
            raise ValueError(f"windows_per_forward is {self.windows_per_forward}; use 0 (automatic) or more.")
        if self.prompt_blending not in PROMPT_BLENDINGS:
            raise ValueError(f"Unknown prompt_blending {self.prompt_blending!r}. Known: {', '.join(PROMPT_BLENDINGS)}.")
        self.each()

    @property
    def largest_batch(self) -> int:
        """The most windows in one forward pass."""
        return self.windows_per_forward or AUTOMATIC_WINDOWS_PER_FORWARD

    def at(self, step: int, num_steps: int) -> CoDenoiseSettings:
        """The settings of one sampling step: what the phases begun by then made of them."""
        return self._after((step + 1e-6) / num_steps)

    def each(self, stage: Stage | None = None) -> tuple[CoDenoiseSettings, ...]:
        """The settings that a run's steps have, each once and as they come; of all phases where ``stage`` is None."""
        if stage is None:
            shares = sorted({0.0, *(phase.start for phase in self.phases)})
            return tuple(dict.fromkeys(self._after(share) for share in shares))
        steps = range(stage.first, stage.first + max(1, stage.count))
        return tuple(dict.fromkeys(self.at(step, stage.total) for step in steps))

    def _after(self, share: float) -> CoDenoiseSettings:
        settings = replace(self, phases=()) if self.phases else self
        for phase in sorted(self.phases, key=lambda phase: phase.start):
            if phase.start <= share:
                settings = phase.apply(settings)
        return settings

    def cuts(self, length: int) -> bool:
        """Whether a latent of ``length`` latent frames is seen in parts, phases left out."""
        return length > self.window or self.closed_loop

    def windows(self, length: int, step: int, num_steps: int = 1) -> tuple[Window, ...]:
        """The windows of sampling step ``step`` of ``num_steps`` for a latent of ``length`` latent frames."""
        now = self.at(step, num_steps)
        return windows_for(
            now.schedule, length, now.window, now.overlap, step,
            stride=now.stride, closed_loop=now.closed_loop, seed=now.seed, grain=now.grain,
        )  # fmt: skip

    def check_causal_anchor(self, compression: Compression) -> None:
        """Check that a model has a use for ``causal_anchor``, where that is on.

        Raises:
            ValueError: its windows may begin anywhere, or only where clips do.
        """
        if self.causal_anchor and (compression.first == 0 or self.grain > 1):
            raise ValueError(
                "causal_anchor is on, but this model takes the first latent frame of no window for the single frame "
                "that a causal VAE makes of it. Switch causal_anchor off."
            )

    def view(self, window: Window) -> View:
        """What the model is shown for a window: it, with ``causal_anchor`` behind the latent frame before it.

        A causal VAE makes one frame of a video's first latent frame and several of every other one, and models know
        the first of what they are shown as such. Of a window with a latent frame in front that is thrown away, none is
        taken for it (ComfyUI's context windows do the same). Windows with gaps have none, nor has one that holds all of
        a loop.
        """
        before = window.start - 1
        if not self.causal_anchor or window.start == 0 or window.stride > 1 or before in window.indices:
            return View(window)
        return View(window, 1, before=before)

    def window_counts(self, length: int, stage: Stage) -> list[int]:
        """How many windows each step of a run has."""
        steps = range(stage.first, stage.first + stage.count)
        return [len(self.windows(length, step, stage.total)) for step in steps]

    def weights(self, windows: Sequence[Window], length: int, step: int, num_steps: int = 1) -> list[torch.Tensor]:
        """The merge weights of these windows at a sampling step, see ``merge_weights``."""
        return merge_weights(self.at(step, num_steps).merge, windows, length, step, self.seed)


def co_denoise(
    x: torch.Tensor,
    step: int,
    settings: CoDenoiseSettings,
    denoise_windows: DenoiseWindows,
    *,
    num_outputs: int = 1,
    time_dim: int = 2,
    num_steps: int = 1,
) -> list[torch.Tensor]:
    """One evaluation of a short model on a long latent.

    Args:
        x: the noisy long latent, ``b c t h w`` (or any shape whose axis ``time_dim`` is time); not changed.
        step: index of the sampling step; schedules that move use it.
        settings: window, overlap, schedule and merge.
        denoise_windows: evaluates windows, see ``DenoiseWindows``.
        num_outputs: predictions a window (2 with classifier-free guidance).
        time_dim: the axis of time.
        num_steps: sampling steps of the run; settings with phases use it.

    Returns:
        ``num_outputs`` tensors of ``x``'s shape: the merged predictions.

    Raises:
        RuntimeError: ``denoise_windows`` left a window out or returned one twice.
    """

    def one_stream(windows: Sequence[Window]) -> Iterator[tuple[int, list[list[torch.Tensor]]]]:
        for index, predictions in denoise_windows(windows):
            yield index, [[prediction] for prediction in predictions]

    merged = co_denoise_streams(
        [x], step, settings, one_stream, num_outputs=num_outputs, time_dim=time_dim, num_steps=num_steps
    )
    return [only for (only,) in merged]


def co_denoise_streams(
    xs: Sequence[torch.Tensor],
    step: int,
    settings: CoDenoiseSettings,
    denoise_windows: DenoiseStreams,
    streams: Sequence[Stream] = (),
    *,
    num_outputs: int = 1,
    time_dim: int = 2,
    num_steps: int = 1,
    cache: StepCache | None = None,
) -> list[list[torch.Tensor]]:
    """``co_denoise`` of a latent with several streams: windows are planned on the video, and each takes its part.

    Args:
        xs: the video, and what lies beside it.
        streams: how that lies on the video's timeline, one for each tensor but the first.
        step, settings, num_outputs, time_dim, num_steps: as of ``co_denoise``.
        denoise_windows: the same, but each output is a list with a tensor for every stream.
        cache: of the evaluations before; windows that it has the predictions of are not evaluated.

    Returns:
        ``num_outputs`` lists with a tensor for every stream, of its shape.

    Raises:
        RuntimeError: as ``co_denoise``.
    """
    length = xs[0].shape[time_dim]
    windows = settings.windows(length, step, num_steps)
    weights = settings.weights(windows, length, step, num_steps)
    shares = [weights, *(stream.weights(windows, weights) for stream in streams)]
    sums = [
        [
            Accumulator(xs[0], time_dim),
            *(Accumulator(x, stream.time_dim, stream) for x, stream in zip(xs[1:], streams, strict=True)),
        ]
        for _ in range(num_outputs)
    ]

    def add(index: int, predictions: Sequence[Sequence[torch.Tensor]]) -> None:
        for accumulators, prediction in zip(sums, predictions, strict=True):
            for accumulator, part, share in zip(accumulators, prediction, shares, strict=True):
                accumulator.add(windows[index], part, share[index])

    rest = list(range(len(windows)))
    if cache is not None:
        for index in sorted(cache.reusable(windows, step, num_steps)):
            rest.remove(index)
            add(index, cache.part(windows[index]))
    waiting = set(range(len(rest)))
    for number, predictions in denoise_windows([windows[index] for index in rest]):
        if number not in waiting:
            raise RuntimeError(f"Window {number} was denoised twice, or does not exist.")
        waiting.remove(number)
        add(rest[number], predictions)
    if waiting:
        raise RuntimeError(f"Windows {sorted(rest[number] for number in waiting)} were not denoised.")
    merged = [[accumulator.merged() for accumulator in accumulators] for accumulators in sums]
    if cache is not None:
        cache.keep(xs, merged, windows, shares, step)
    return merged


def nearest_step(sigma: float, sigmas: Sequence[float]) -> int:
    """The sampling step that a model evaluation at ``sigma`` belongs to.

    Samplers that evaluate between steps (dpm_2, dpmpp_sde ...) ask at sigmas that are in no list: such an evaluation
    belongs to the last step already begun.

    Args:
        sigma: noise level of the evaluation.
        sigmas: the run's noise levels, falling, with the final one last.
    """
    tolerance = 1e-4 * max(abs(sigma), 1e-8)
    begun = [i for i, level in enumerate(sigmas[:-1]) if level >= sigma - tolerance]
    return begun[-1] if begun else 0
