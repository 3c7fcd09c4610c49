"""The step caches of a run: which evaluations of a sampler are alike, and a cache for each kind."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ....step_cache import StepCache, StepCacheSettings
from .conditioning import Entry
from .packed import PackedLatent

_MOST_EVALUATIONS = 3  #: of a step; a sampler that asks more often is one that looks for its own steps


@dataclass
class Kept:
    """A cache, and what was last said of the guides that lie behind the video, for each output."""

    cache: StepCache
    key: tuple
    guides: list[torch.Tensor] = field(default_factory=list)


class StepCaches:
    """A cache for each kind of evaluation, which only another of its kind may use.

    A sampler may evaluate several times in a step, and a guidance may ask for more predictions of the same latent;
    these follow what was decided for the first. Where other conds hold than before, because of their timesteps, a cache
    begins anew.
    """

    def __init__(self, settings: StepCacheSettings, latent: PackedLatent) -> None:
        self.settings = settings
        self.reused = 0  #: windows of the run whose predictions were used again
        self.windows = 0  #: and of all
        self._latent = latent
        self._kept: dict[tuple[int, int], Kept] = {}
        self._x: weakref.ref[torch.Tensor] | None = None
        self._now: tuple[int, float] | None = None  # step and noise level of the last evaluation
        self._evaluation = self._call = 0  # of this step, of this latent

    def of(
        self,
        conds: Sequence[list[Entry] | None],
        x: torch.Tensor,
        timestep: torch.Tensor,
        transformer_options: Mapping[str, Any],
        step: int,
    ) -> Kept | None:
        """The cache for an evaluation; None where there is none.

        Args:
            conds: for each output.
            x: the noisy latent.
            timestep: its noise level.
            transformer_options: what else patches the model.
            step: of the whole noise schedule.
        """
        sigma = float(timestep.flatten()[0])
        if self._x is not None and self._x() is x and self._now == (step, sigma):
            self._call += 1
        else:
            same_step = self._now is not None and self._now[0] == step
            self._evaluation, self._call = self._evaluation + 1 if same_step else 0, 0
            self._x, self._now = weakref.ref(x), (step, sigma)
        if self._evaluation >= _MOST_EVALUATIONS:
            return None
        slot = self._evaluation, self._call
        level = timestep.flatten()[0].cpu()  # compared as the host does: in its own precision
        key = (
            *(tuple(_active(entries or (), level)) for entries in conds),
            _identity(transformer_options.get("patches")),
            _identity(transformer_options.get("patches_replace")),
        )
        if slot not in self._kept or self._kept[slot].key != key:
            self._kept[slot] = Kept(StepCache(self.settings, self._latent.streams, self._latent.time_dim), key)
        kept = self._kept[slot]
        kept.cache.leader = self._kept[self._evaluation, 0].cache if self._call else None
        return kept

    def count(self, reused: int, windows: int) -> None:
        """Count the windows of an evaluation."""
        self.reused += reused
        self.windows += windows

    def __str__(self) -> str:
        return f"{self.reused} of {self.windows} windows reused"


def _active(entries: Sequence[Entry], sigma: torch.Tensor) -> Iterator[tuple]:
    """What holds at a noise level: the entries, the parts of their hooks' schedules, and their ControlNets."""
    for entry in entries:
        if entry.get("timestep_start", sigma) >= sigma >= entry.get("timestep_end", sigma):
            hooks = getattr(entry.get("hooks"), "hooks", ())
            keyframes = [hook.hook_keyframe.keyframes for hook in hooks]
            yield (
                entry["uuid"],
                tuple(sum(bool(keyframe.start_t >= sigma) for keyframe in each) for each in keyframes),
                tuple(_acts(entry.get("control"), sigma)),
            )


def _acts(control: Any, sigma: torch.Tensor) -> Iterator[bool]:
    while control is not None:
        first, last = control.timestep_range or (sigma, sigma)
        yield bool(first >= sigma >= last)
        control = control.previous_controlnet


def _identity(value: Any) -> Any:
    """Patches as something hashable that is the same as long as they are."""
    if isinstance(value, Mapping):
        return tuple((key, _identity(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_identity, value))
    return id(value)
