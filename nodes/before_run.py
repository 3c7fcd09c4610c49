"""What ComfyUI's check of a prompt keeps from a node: which input is wrong, and what is linked to it.

ComfyUI asks ``validate_inputs`` for the values of one node; if it returns a text, every input that it names is marked,
and of what is linked it is told nothing. ``install`` stands around the host's check of the pack's nodes, of which it
passes everything on: while it runs, ``connected`` and ``possible_values`` look into the prompt, and a ``Wrong`` that a
node returned marks its own inputs alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import execution

from ..glv_core import video_models
from ..glv_core.timeline import frames_in
from ..glv_core.video_models import VideoModel

#: Core nodes whose only output is their only input.
PRIMITIVES = (
    "PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean",
)  # fmt: skip
LONGEST_CHAIN = 16  #: links that are followed one after the other; a prompt may go in a circle
COMPRESSIONS = {each.compression for each in vars(video_models).values() if isinstance(each, VideoModel)}


class Wrong(str):
    """What is wrong with inputs of a node, in one text; ``inputs`` has the text of each."""

    inputs: Mapping[str, str]

    @classmethod
    def of(cls, error: Exception, *names: str) -> Wrong:
        """An error as the fault of the input that its text begins with, or else of the first of ``names``."""
        text = str(error)
        return cls({next((name for name in names if text.startswith(f"{name} ")), names[0]): text})

    def __new__(cls, inputs: Mapping[str, str]) -> Wrong:
        self = super().__new__(cls, "\n".join(inputs.values()))
        self.inputs = dict(inputs)
        return self


@dataclass
class _Asked:
    """The node that the host checks, and what was found to be wrong with it."""

    prompt: Mapping[str, Any]
    node: str
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        return self.prompt[self.node].get("class_type")

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.prompt[self.node]["inputs"]


_ASKED: ContextVar[_Asked | None] = ContextVar("asked", default=None)


def install(kinds: Collection[str]) -> None:
    """Stand around the host's check of nodes of these kinds; once, and not where the host gives it other things.

    Of others the host's own coroutine is handed on: one more around each would halve the longest chain of nodes that it
    can check, which calls itself for each.
    """
    own = execution.validate_inputs
    signature = inspect.signature(own)
    if hasattr(own, "long_video_marks") or not {"prompt", "item"} <= set(signature.parameters):
        return

    async def checked(asked: _Asked, *args: Any, **named: Any) -> tuple:
        token = _ASKED.set(asked)
        try:
            found = await own(*args, **named)
        finally:
            _ASKED.reset(token)
        if asked.wrong:
            found[1][:] = _marked(found[1], asked.wrong)
        return found

    @functools.wraps(own)
    def validate_inputs(*args: Any, **named: Any) -> Awaitable[tuple]:
        given = signature.bind(*args, **named).arguments
        asked = _Asked(given["prompt"], given["item"])
        return checked(asked, *args, **named) if asked.kind in kinds else own(*args, **named)

    if hasattr(inspect, "markcoroutinefunction"):  # from Python 3.12 on
        inspect.markcoroutinefunction(validate_inputs)
    validate_inputs.long_video_marks = True  # type: ignore[attr-defined]
    execution.validate_inputs = validate_inputs


def _marked(errors: list[dict], wrong: Mapping[str, str]) -> list[dict]:
    """The host's errors of a node with one for each wrong input, in place of one for each that the node looks at."""
    ours = [error for error in errors if error["type"] == "custom_validation_failed"]
    if not ours:
        return errors
    others = [error for error in errors if error not in ours]
    return others + [
        {**ours[0], "details": f"{name} - {text}", "extra_info": {"input_name": name}} for name, text in wrong.items()
    ]


def mark(wrong: Wrong) -> None:
    """Say which inputs of the node that is being checked are wrong; nothing outside of the host's check."""
    asked = _ASKED.get()
    if asked is not None:
        asked.wrong = dict(wrong.inputs)


def connected(name: str) -> bool | None:
    """Whether something is linked to an input of the node that is being checked; None outside of the host's check."""
    asked = _ASKED.get()
    return None if asked is None else _is_link(asked.inputs.get(name))


def lacks(*names: str) -> bool:
    """Whether it is known that to none of these inputs anything is linked."""
    return all(connected(name) is False for name in names)


def possible_values(name: str) -> list[Any]:
    """What an input of the node that is being checked may be when it runs, as far as the prompt says it.

    One value for what is set or comes from a primitive; several for the length of a Long Latent, which its VAE rounds
    up; empty where it cannot be known.
    """
    asked = _ASKED.get()
    return [] if asked is None or name not in asked.inputs else _values(asked.prompt, asked.inputs[name])


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _values(prompt: Mapping[str, Any], value: Any, depth: int = 0) -> list[Any]:
    if not _is_link(value):
        return [value]
    node = prompt.get(value[0], {})
    kind, inputs = node.get("class_type"), node.get("inputs", {})
    if depth == LONGEST_CHAIN:
        return []
    if kind in PRIMITIVES and "value" in inputs:
        return _values(prompt, inputs["value"], depth + 1)
    if kind == "LongLatent" and value[1] in (1, 2):
        names = [name for name in ("length", "unit", "fps") if name in inputs]
        known = {name: _values(prompt, inputs[name], depth + 1) for name in names}
        if len(names) == 3 and all(len(each) == 1 for each in known.values()):
            [length], [unit], [fps] = known.values()
            return [fps] if value[1] == 2 else _rounded(length, unit, fps)
    return []


def _rounded(length: float, unit: str, fps: float) -> list[int]:
    """The lengths in frames that VAEs may make of a length."""
    try:
        frames = frames_in(float(length), unit, float(fps))
        fitting = [each.num_frames(each.whole_clip(each.num_latent_frames(frames))) for each in COMPRESSIONS]
    except (TypeError, ValueError, OverflowError):
        return []
    return list(range(frames, max(fitting) + 1))
