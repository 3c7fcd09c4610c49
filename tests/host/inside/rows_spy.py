"""Rows of the truth table, and a spy that keeps what a network is handed. Runs inside ComfyUI.

A spy stands before the network. Of every call it keeps all inputs, and it finds the call's latent frames by the noise
in ``x`` itself: nothing of what made the window is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP

#: Windows are so many latent frames long.
WINDOW = 5
ABSENT = object()

#: How a window must see an input that the network sees whole in a stock run:
#: ``("sliced", axis, scale, offset)``: item ``k`` of ``scale`` goes with latent frame ``k + offset`` of what it is
#: given; with a negative offset so many items lead and go to every window. ``"shared"``: the same for all; this is for
#: whatever is not named. ``"first"``: only windows with latent frame 0 have it. ``"count"``: a number of latent frames.
#: A function of the whole, of the window's latent frames and of the video's length returns what must be seen, or an
#: ``AnyOf``.
Expected = str | tuple | Callable[[Any, list[int], int], Any]


@dataclass
class AnyOf:
    """Several things of which a window may see any, each to within ``slack``."""

    these: list
    slack: float = 1e-4


@dataclass
class Made:
    """A native MODEL with conditionings.

    Args:
        model, positive, negative, latent: as KSampler takes them.
        expected: name of a keyword input of the network -> how a window must see it. The channels that come with ``x``
            are ``c_concat``; items of lists and dictionaries are ``name.0`` and ``name.key``; ``audio`` is where the
            latent frames of the audio are that come with those of the video.
        frames: a latent frame's, for a window in frames.
        time_dim: the latents' axis of time.
        guides: for each latent frame behind the video, which is no part of it, the one that it guides: a window sees
            those that guide its own.
        known: what the network sees in place of the first latent frames of ``x``, as the model scales latents.
        cfg: above 1 the negative conditioning takes part.
        inner: something else that takes part in a forward pass: an object, the name of its method, and a function from
            that one's arguments to inputs by name.
    """

    model: Any
    positive: list
    negative: list
    latent: dict
    expected: dict[str, Expected] = field(default_factory=dict)
    frames: int = 4
    time_dim: int = 2
    guides: tuple[int, ...] = ()
    known: torch.Tensor | None = None
    cfg: float = 3.0
    inner: tuple[Any, str, Callable[..., dict[str, Any]]] | None = None

    @property
    def length(self) -> int:
        """Latent frames of the video."""
        return _streams(self.latent["samples"])[0].shape[self.time_dim] - len(self.guides)


@dataclass(frozen=True)
class Row:
    """A family with a conditioning; ``make(num_latent_frames)``."""

    name: str
    make: Callable[[int], Made]


@dataclass
class Call:
    """What the network was handed for one output; ``frames`` are the latent frames of ``x``, -1 for unknown ones."""

    step: int
    output: int
    frames: list[int]
    inputs: dict[str, Any]


def flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Tensors and constants inside a value, by name."""
    if isinstance(value, (list, tuple)) and not any(isinstance(each, (int, float, dict)) for each in value):
        for number, each in enumerate(value):
            yield from flat(f"{name}.{number}", each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from flat(f"{name}.{key}", each)
    elif value is not None:
        yield name, value


def _small(value: Any) -> Any:
    """A copy of a tensor, of pictures with many pixels only some of them."""
    if not isinstance(value, torch.Tensor):
        return value
    return (value[..., ::64, ::64] if value.ndim > 3 and value.shape[-1] >= 128 < value.shape[-2] else value).clone()


def _has_rows(value: Any, rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[0] == rows


def _streams(samples: Any) -> list[torch.Tensor]:
    """The video of a latent, and its audio if it has both."""
    return samples.unbind() if samples.is_nested else [samples]


def _places(x: torch.Tensor, whole: torch.Tensor, axis: int) -> list[int]:
    """Where the frames of a part are in the whole, -1 for nowhere; where some are alike, that which is next in line."""
    whole, found = whole.movedim(axis, 0), []
    for frame in x.movedim(axis, 0):
        alike = [n for n, each in enumerate(whole) if torch.allclose(each, frame, atol=1e-4, rtol=1e-4)]
        next_in_line = found[-1] + 1 if found else -1
        found.append(next_in_line if next_in_line in alike else alike[0] if alike else -1)
    return found


class Spy:
    """Calls of the network of a MODEL, while ``listening``."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.calls: list[Call] = []
        self.whole: torch.Tensor | None = None  # x of the whole latent, as the network would see it
        self.sound: torch.Tensor | None = None  # the same of the audio that comes with the video
        self.step, self.together, self.most = -1, 0, 0
        self.model = made.model.clone()
        self.model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "spy", self._evaluate)

    def _evaluate(self, executor: Any, x: torch.Tensor, timestep: torch.Tensor, *more: Any, **named: Any) -> Any:
        shapes = [each.shape for each in _streams(self.made.latent["samples"])]
        whole = self.model.model.model_sampling.calculate_input(timestep, x).clone()
        self.whole, self.sound = [*comfy.utils.unpack_latents(whole, shapes), None][:2]
        if self.made.known is not None:
            self.whole[:, :, : self.made.known.shape[2]] = self.made.known
        self.step += 1
        return executor(x, timestep, *more, **named)

    @contextmanager
    def listening(self) -> Iterator[Spy]:
        network = self.model.model.diffusion_model
        forward = network.forward

        def listen(x, timestep, context=None, control=None, transformer_options={}, **named):  # noqa: B006
            patches = {key: transformer_options[key] for key in ("audio_embeds",) if key in transformer_options}
            given = {"timestep": timestep, "context": context, "control": control, **named, **patches}
            self._keep(x, given, transformer_options["cond_or_uncond"])
            return forward(
                x, timestep, context=context, control=control, transformer_options=transformer_options, **named
            )

        network.forward = listen
        inner, method, inputs_of = self.made.inner or (self, "_evaluate", None)
        called = getattr(inner, method)

        def listen_inside(*arguments, **named):
            inputs = inputs_of(*arguments, **named)
            calls = self.calls[-self.together :]
            for number, call in enumerate(calls):
                for name, value in inputs.items():  # for every window, or for every window of every output
                    call.inputs[name] = _small(value[number % value.shape[0], None])
            return called(*arguments, **named)

        if inputs_of is not None:
            setattr(inner, method, listen_inside)
        try:
            yield self
        finally:
            del network.forward
            if inputs_of is not None:
                delattr(inner, method)

    def _keep(self, x: Any, given: dict, outputs: list[int]) -> None:
        video, sound = [*x, None][:2] if isinstance(x, list) else (x, None)
        inputs = {name: value for key, each in given.items() for name, value in flat(key, each)}
        channels = self.whole.shape[1]
        if video.shape[1] > channels:
            inputs["c_concat"] = video[:, channels:]
        rows, row = video.shape[0], self._rows(video.shape[0] // len(outputs))
        self.together = rows // row
        self.most = max(self.most, rows)
        for number in range(self.together):
            mine = slice(number * row, (number + 1) * row)
            part = {name: _small(value[mine] if _has_rows(value, rows) else value) for name, value in inputs.items()}
            if sound is not None:
                part["audio"] = torch.tensor(_places(sound[mine], self.sound, 2))
            output = outputs[number * len(outputs) // self.together]
            frames = _places(video[mine, :channels], self.whole, self.made.time_dim)
            self.calls.append(Call(self.step, output, frames, part))

    def _rows(self, rows: int) -> int:
        """The rows of one window in what is handed for one output: one, or a row for each frame."""
        if self.made.time_dim == 2:
            return 1
        return WINDOW if rows % WINDOW == 0 and rows != self.whole.shape[0] else rows
