"""What a network sees of a long video in windows, compared with one stock run over the whole. Runs inside ComfyUI.

A spy stands before the network. Of every call it keeps all inputs, and it finds the call's latent frames by the noise
in ``x`` itself. Every input of a window must then be what the same network saw of those latent frames in a stock run
over the whole latent, as a ``Made.expected`` says: nothing of what made the window is trusted.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_context_windows import ContextWindowsManualNode

import tiny

PACK = Path(__file__).resolve().parents[3]
#: Windows are so many latent frames long and share so many.
WINDOW, OVERLAP = 5, 2
SEED, STEPS = 7, 2
ABSENT = object()

#: How a window must see an input that the network sees whole in a stock run:
#: ``("sliced", axis, scale, offset)``: item ``k`` of ``scale`` goes with latent frame ``k + offset`` of what it is
#: given; with a negative offset so many items lead and go to every window. ``"shared"``: the same for all; this is for
#: whatever is not named. ``"first"``: only windows with latent frame 0 have it. ``"count"``: a number of latent frames.
#: A function of the whole, of the window's latent frames and of the video's length returns what must be seen, or an
#: ``AnyOf``.
#: ``("list", first, how)``: a list whose items from ``first`` on are to be seen as ``how`` says, the others by all.
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
            are ``c_concat``; items of lists and dictionaries are ``name.0`` and ``name.key``.
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


@dataclass(frozen=True)
class Row:
    """A family with a conditioning; ``make(num_latent_frames)``."""

    name: str
    make: Callable[[int], Made]


@dataclass(frozen=True)
class Verdict:
    """``right``, ``refused``, ``crash`` or ``wrong``, and why."""

    kind: str
    why: str = ""


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


class Spy:
    """Calls of the network of a MODEL, while ``listening``."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.calls: list[Call] = []
        self.whole: torch.Tensor | None = None  # x of the whole latent, as the network would see it
        self.step, self.together = -1, 0
        self.model = made.model.clone()
        self.model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "spy", self._evaluate)

    def _evaluate(self, executor: Any, x: torch.Tensor, timestep: torch.Tensor, *more: Any, **named: Any) -> Any:
        self.whole = self.model.model.model_sampling.calculate_input(timestep, x).clone()
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
            inputs = {name: _small(value) for name, value in inputs_of(*arguments, **named).items()}
            for call in self.calls[-self.together :]:
                call.inputs |= inputs
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
        video = x[0] if isinstance(x, list) else x
        inputs = {name: value for key, each in given.items() for name, value in flat(key, each)}
        channels = self.whole.shape[1]
        if video.shape[1] > channels:
            inputs["c_concat"] = video[:, channels:]
        self.together = len(outputs)
        for row, output in enumerate(outputs):
            part = {
                name: _small(value.chunk(len(outputs))[row])
                if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == video.shape[0]
                else _small(value)
                for name, value in inputs.items()
            }
            mine = video.chunk(len(outputs))[row][:, :channels]
            self.calls.append(Call(self.step, output, self._frames(mine), part))

    def _frames(self, x: torch.Tensor) -> list[int]:
        """The latent frames of a part of the whole ``x``; where several are alike, the one that is next in line."""
        axis = self.made.time_dim
        whole, found = self.whole.movedim(axis, 0), []
        for frame in x.movedim(axis, 0):
            alike = [n for n, each in enumerate(whole) if torch.allclose(each, frame, atol=1e-4, rtol=1e-4)]
            next_in_line = found[-1] + 1 if found else -1
            found.append(next_in_line if next_in_line in alike else alike[0] if alike else -1)
        return found


def sliced(value: torch.Tensor, frames: list[int], axis: int, scale: int = 1, offset: int = 0) -> torch.Tensor:
    """The items of an input that go with latent frames."""
    lead = max(0, -offset)
    items = [number for frame in frames[max(0, offset) :] for number in _items(frame - max(0, offset), scale, lead)]
    return value.index_select(axis, torch.tensor([*range(lead), *items], dtype=torch.long))


def _items(place: int, scale: int, lead: int) -> range:
    return range(lead + place * scale, lead + (place + 1) * scale)


def seen(how: Expected, whole: Any, frames: list[int], length: int) -> Any:
    """What a window of the latent frames ``frames`` must see of an input."""
    if callable(how):
        return how(whole, frames, length)
    if how == "shared":
        return whole
    if how == "first":
        return whole if frames[0] == 0 else ABSENT
    if how == "count":
        return len(frames)
    _, axis, scale, offset = how
    if not isinstance(whole, torch.Tensor):
        raise AssertionError(f"The row is wrong: {whole!r} is not {how}.")
    if whole.shape[axis] != scale * (length - max(0, offset)) + max(0, -offset):
        raise AssertionError(f"The row is wrong: {list(whole.shape)} is not {how} of {length} latent frames.")
    return sliced(whole, frames, axis, scale, offset)


def _alike(one: Any, other: Any, slack: float = 1e-4) -> bool:
    if isinstance(one, AnyOf):
        return any(_alike(each, other, one.slack) for each in one.these)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and torch.allclose(one.float(), other.float(), atol=slack, rtol=1e-4)
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return False
    return one is other or one == other


def _described(value: Any) -> str:
    if value is ABSENT:
        return "nothing"
    if isinstance(value, AnyOf):
        return f"any of {len(value.these)}"
    return f"{list(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)[:60]


def _expected_of(made: Made, name: str) -> Expected:
    if name in made.expected:
        return made.expected[name]
    key, _, rest = name.partition(".")
    how = made.expected.get(key, ("sliced", made.time_dim, 1, 0) if key == "c_concat" else "shared")
    if isinstance(how, tuple) and how[0] == "list":
        return how[2] if rest.split(".")[0].isdigit() and int(rest.split(".")[0]) >= how[1] else "shared"
    return how


def _length(made: Made) -> int:
    return made.latent["samples"].shape[made.time_dim] - len(made.guides)


def _faults(made: Made, whole: list[Call], windows: list[Call]) -> Iterator[str]:
    """What windows saw otherwise than they should, by the name of the input."""
    length = _length(made)
    reference = {(call.step, call.output): call for call in whole}
    telling = set()
    for call in windows:
        full = reference[call.step, call.output]
        frames = [frame for frame in call.frames if frame < length]
        own = frames[-WINDOW:]  # core shows a window the frame before it, but not what guides that one
        guides = [length + place for place, guided in enumerate(made.guides) if guided in own]
        # The frame in front may be the one before the window (core) or the video's first (the pack).
        front = [0] if frames[:1] == [0] and frames[1:2] != [1] else []
        rest = frames[len(front) :]
        if call.frames != [*front, *range(rest[0], rest[0] + len(rest)), *guides] or rest[0] < 0:
            yield f"x: latent frames {call.frames} of the video (-1: none)"
            continue
        for name in sorted({*full.inputs, *call.inputs}):
            value, got = full.inputs.get(name, ABSENT), call.inputs.get(name, ABSENT)
            how = _expected_of(made, name)
            if how == "shared" and made.time_dim == 0 and isinstance(value, torch.Tensor) and value.ndim:
                how = ("sliced", 0, 1, 0) if value.shape[0] == length else "shared"
            want = ABSENT if value is ABSENT else seen(how, value, frames, length)
            if how != "shared" and (want is ABSENT or not _alike(want, value)):
                telling.add(name)
            if not _alike(want, got):
                yield f"{name}: frames {frames} see {_what(how, value, got, frames, length)}"
            if isinstance(got, torch.Tensor) and got.is_floating_point() and not torch.isfinite(got).all():
                yield f"{name} has NaN"
    for key in made.expected:
        if not any(name == key or name.startswith(f"{key}.") for name in telling):
            raise AssertionError(f"The row is wrong: no window would see less of '{key}' than the whole.")


def _what(how: Expected, value: Any, got: Any, frames: list[int], length: int) -> str:
    if value is ABSENT:
        return f"{_described(got)}, which a stock run has not"
    if _alike(value, got):
        return "all of it"
    for start in range(length - len(frames) + 1):
        other = list(range(start, start + len(frames)))
        with_other = seen(how, value, other, length)
        if with_other is not ABSENT and _alike(with_other, got):
            return f"what is of {other}"
    want = seen(how, value, frames, length)
    return f"{_described(got)} instead of {_described(want)} of {_described(value)}"


def ours(model: Any, positive: list, negative: list, latent: dict, made: Made) -> torch.Tensor:
    """The pack's CoDenoiseKSampler, one window a forward pass."""
    frames = made.frames
    return tiny.co_denoise(
        model, latent, window=1 + (WINDOW - 1) * frames if made.time_dim == 2 else WINDOW, overlap=OVERLAP * frames,
        per_forward=1, seed=SEED, steps=STEPS, cfg=made.cfg, positive=positive, negative=negative,
    )  # fmt: skip


def cores(model: Any, positive: list, negative: list, latent: dict, made: Made) -> torch.Tensor:
    """Core's context windows of the same size. Core shows a later window the frame before it, too."""
    patched = ContextWindowsManualNode.execute(
        model, WINDOW, OVERLAP, "standard_static", 1, False, "pyramid", made.time_dim, False
    ).args[0]
    return stock(patched, positive, negative, latent, made)


def stock(model: Any, positive: list, negative: list, latent: dict, made: Made) -> torch.Tensor:
    """The host's KSampler over the whole latent."""
    return tiny.ksampler(model, latent, seed=SEED, steps=STEPS, cfg=made.cfg, positive=positive, negative=negative)


SAMPLERS = {"ours": ours, "cores": cores}


def _run(made: Made, sampler: Callable) -> tuple[Spy, torch.Tensor]:
    spy = Spy(made)
    latent = {**made.latent, "samples": made.latent["samples"].clone()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are tiny: more would wait for each other
    try:
        with spy.listening():
            return spy, sampler(spy.model, made.positive, made.negative, latent, made)
    finally:
        torch.set_num_threads(threads)


def _from_pack(error: BaseException) -> bool:
    """Whether it was raised by the pack itself, and not by the host."""
    while error.__cause__ is not None:
        error = error.__cause__
    place = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return place.is_relative_to(PACK) and not place.is_relative_to(PACK / "tests")


def judge(row: Row, sampler: Callable, num_latent_frames: int = 11) -> Verdict:
    """What a sampler's windows make of a row.

    Args:
        row: the model and its conditionings.
        sampler: one of ``SAMPLERS``.
        num_latent_frames: of the video.

    Raises:
        AssertionError: the row does not say what a stock run shows.
    """
    made = row.make(num_latent_frames)
    whole, result = _run(made, stock)
    if not torch.isfinite(_plain(result)).all():
        raise AssertionError("The row is wrong: a stock run gives NaN.")
    try:
        windows, result = _run(row.make(num_latent_frames), sampler)
    except Exception as error:
        kind = "refused" if isinstance(error, ValueError) and _from_pack(error) else "crash"
        return Verdict(kind, f"{type(error).__name__}: {error}".splitlines()[0][:300])
    if not torch.isfinite(_plain(result)).all():
        return Verdict("wrong", "the result has NaN")
    return _judge_calls(made, whole.calls, windows.calls)


def _plain(samples: Any) -> torch.Tensor:
    return torch.cat([each.flatten() for each in samples.unbind()]) if samples.is_nested else samples


def _judge_calls(made: Made, whole: list[Call], windows: list[Call]) -> Verdict:
    length = _length(made)
    if faults := list(dict.fromkeys(_faults(made, whole, windows))):
        by_input: dict[str, str] = {}
        for fault in faults:
            by_input.setdefault(fault.partition(":")[0], fault)
        return Verdict("wrong", "; ".join(by_input.values())[:600])
    for step in range(STEPS):
        for output in {call.output for call in whole}:
            calls = [call for call in windows if (call.step, call.output) == (step, output)]
            covered = {frame for call in calls for frame in call.frames if frame < length}
            most = max((sum(frame < length for frame in call.frames) for call in calls), default=math.inf)
            if covered != set(range(length)) or most > WINDOW + 1:
                return Verdict("wrong", f"step {step}: {len(calls)} windows of up to {most} cover {sorted(covered)}")
    return Verdict("right")
