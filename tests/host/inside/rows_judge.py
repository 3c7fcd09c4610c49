"""What the windows of a sampler see, compared with one stock run over the whole. Runs inside ComfyUI.

Every input of a window must be what the same network saw of the window's latent frames in a stock run over the whole
latent, as ``Made.expected`` says.
"""

from __future__ import annotations

import functools
import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode

import tiny
from rows_spy import ABSENT, WINDOW, AnyOf, Call, Expected, Made, Row, Spy

PACK = Path(__file__).resolve().parents[3]
#: Windows share so many latent frames.
OVERLAP = 2
SEED, STEPS = 7, 2


@dataclass(frozen=True)
class Verdict:
    """``right``, ``refused``, ``crash`` or ``wrong``, and why."""

    kind: str
    why: str = ""


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
    """How an input, or an item of one, must be seen."""
    usual = ("sliced", made.time_dim, 1, 0) if name == "c_concat" else "shared"
    return made.expected.get(name, made.expected.get(name.partition(".")[0], usual))


def _faults(made: Made, whole: list[Call], windows: list[Call]) -> Iterator[str]:
    """What windows saw otherwise than they should, by the name of the input."""
    length = made.length
    reference = {(call.step, call.output): call for call in whole}
    telling, checked = set(), False
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
        checked = True
        for name in sorted({*full.inputs, *call.inputs}):
            value, got = full.inputs.get(name, ABSENT), call.inputs.get(name, ABSENT)
            how = _expected_of(made, name)
            if how == "shared" and made.time_dim == 0 and isinstance(value, torch.Tensor) and value.ndim:
                how = ("sliced", 0, 1, 0) if value.shape[0] == length else "shared"
            want = ABSENT if value is ABSENT else seen(how, value, frames, length)
            alone = ABSENT if value is ABSENT else seen(how, value, rest, length)  # without what stands in front
            if how != "shared" and any(each is ABSENT or not _alike(each, value) for each in (want, alone)):
                telling.add(name)
            if not _alike(want, got):
                yield f"{name}: frames {frames} see {_what(how, value, got, frames, length)}"
            if isinstance(got, torch.Tensor) and got.is_floating_point() and not torch.isfinite(got).all():
                yield f"{name}: NaN"
    for key in made.expected if checked else ():
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


def ours(model: Any, positive: list, negative: list, latent: dict, made: Made, per_forward: int = 1) -> torch.Tensor:
    """The pack's CoDenoiseKSampler, one window a forward pass."""
    frames = made.frames
    return tiny.co_denoise(
        model, latent, window=1 + (WINDOW - 1) * frames if made.time_dim == 2 else WINDOW, overlap=OVERLAP * frames,
        per_forward=per_forward, seed=SEED, steps=STEPS, cfg=made.cfg, positive=positive, negative=negative,
    )  # fmt: skip


def folded(model: Any, positive: list, negative: list, latent: dict, made: Made) -> torch.Tensor:
    """The pack's CoDenoiseKSampler, all windows in one forward pass where they can."""
    return ours(model, positive, negative, latent, made, 8)


def cores(model: Any, positive: list, negative: list, latent: dict, made: Made) -> torch.Tensor:
    """Core's context windows of the same size. Core shows a later window the frame before it, too."""
    patched = ContextWindowsManualNode.execute(
        model, WINDOW, OVERLAP, "standard_static", 1, False, "pyramid", made.time_dim, False
    ).args[0]
    return stock(patched, positive, negative, latent, made)


def stock(model: Any, positive: list, negative: list, latent: dict, made: Made) -> torch.Tensor:
    """The host's KSampler over the whole latent."""
    return tiny.ksampler(model, latent, seed=SEED, steps=STEPS, cfg=made.cfg, positive=positive, negative=negative)


SAMPLERS = {"ours": ours, "folded": folded, "cores": cores}


def _run(made: Made, sampler: Callable) -> tuple[Spy, torch.Tensor]:
    spy = Spy(made)
    latent = {**made.latent, "samples": made.latent["samples"] * 1}
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


def largest_inputs(row: Row, num_latent_frames: int) -> dict[str, int]:
    """The values in the largest of each input, and the most rows, where the pack chooses how many windows share."""
    spy, _ = _run(row.make(num_latent_frames), functools.partial(ours, per_forward=0))
    sizes: dict[str, int] = {}
    for call in spy.calls:
        for name, value in {"frames": torch.zeros(len(call.frames)), **call.inputs}.items():
            if isinstance(value, torch.Tensor):
                sizes[name] = max(sizes.get(name, 0), value.numel())
    return {**sizes, "rows of a forward pass": spy.most}


def _plain(samples: Any) -> torch.Tensor:
    return torch.cat([each.flatten() for each in samples.unbind()]) if samples.is_nested else samples


def _judge_calls(made: Made, whole: list[Call], windows: list[Call]) -> Verdict:
    length = made.length
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
