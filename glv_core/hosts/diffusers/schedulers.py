"""Choosing another scheduler for a pipeline, flow shift included."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import diffusers


def scheduler_class(name: str) -> type:
    """The diffusers scheduler of that class name.

    Raises:
        ValueError: diffusers has no such scheduler.
    """
    cls = getattr(diffusers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, diffusers.SchedulerMixin)):
        raise ValueError(
            f"diffusers has no scheduler {name!r}. Use a class name such as FlowMatchEulerDiscreteScheduler, "
            "UniPCMultistepScheduler or DDIMScheduler."
        )
    return cls


def make_scheduler(current: Any, name: str | None = None, flow_shift: float | None = None) -> Any:
    """A scheduler made from a pipeline's own.

    Args:
        current: the pipeline's scheduler; it is not changed.
        name: class name of the new scheduler; None keeps the class.
        flow_shift: shift of a flow-matching schedule, above 0 (Wan: 3 for 480p, 5 for 720p); None keeps the shift.

    Returns:
        A new scheduler. One that can do both is set to flow matching where ``current`` does flow matching.

    Raises:
        ValueError: unknown name; a scheduler without flow matching for a flow-matching model; or a flow shift for a
            model, or scheduler, that knows none.
    """
    cls = type(current) if name is None else scheduler_class(name)
    config = dict(current.config)
    options = inspect.signature(cls.__init__).parameters
    flow_shift_now = flow_shift_of(current)
    if flow_shift_now is None:
        if flow_shift is not None:
            raise ValueError(
                f"A flow shift of {flow_shift:g} was given, but this model's {type(current).__name__} does no flow "
                "matching. Leave the flow shift out."
            )
        return cls.from_config(config)
    if flow_shift is not None and flow_shift <= 0:
        raise ValueError(f"The flow shift is {flow_shift:g}; it must be above 0.")
    shift = flow_shift_now if flow_shift is None else flow_shift
    if "use_flow_sigmas" in options:
        flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
    elif "shift" in options:
        flow = {"shift": shift}
    else:
        raise ValueError(
            f"The scheduler {cls.__name__} does no flow matching, which this model needs. Use for example "
            "FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, UniPCMultistepScheduler or "
            "DPMSolverMultistepScheduler."
        )
    return cls.from_config({**config, **flow})


def scheduler_digest(scheduler: Any) -> str:
    """A hash of a scheduler's class and configuration."""
    described = [type(scheduler).__name__, sorted((k, repr(v)) for k, v in scheduler.config.items() if k[0] != "_")]
    return hashlib.sha256(repr(described).encode()).hexdigest()


def flow_shift_of(scheduler: Any) -> float | None:
    """The flow shift of a scheduler, or None if it does no flow matching."""
    config = scheduler.config
    if config.get("use_flow_sigmas"):
        return config.get("flow_shift", 1.0)
    return config.get("shift") if "FlowMatch" in type(scheduler).__name__ else None
