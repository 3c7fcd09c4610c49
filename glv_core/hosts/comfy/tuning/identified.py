"""Clip identifiers on a MODEL: each window of a forward pass is told which part of the tuned video it is like.

Only the conditional prediction is told, as in Gen-L-Video. The weights are added to the outputs of layers by hooks that
are there for the length of one call of the network, so that other MODELs with the same network see nothing of them.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import torch

from ....tuning.identifiers import LENGTHS, OFF, ClipIdentifiers, Place
from ..editing.hooks_of_a_call import for_this_call
from ..families import CLIP_IDENTIFIERS as _KEY
from ..families import clips_in, windows_in

_POSITIVE = "clip_identifiers_positive"  # the number of the conditional output, where it is not 0
_OPTIONS = "transformer_options"
_NETWORK = "diffusion_model."


class Identified:
    """Clip identifiers and how a video of another length is told apart, as the options of a MODEL hold them."""

    def __init__(self, identifiers: ClipIdentifiers, lengths: str) -> None:
        if lengths not in LENGTHS:
            raise ValueError(f"Unknown identifiers {lengths!r}. Known: {', '.join(LENGTHS)}.")
        self.identifiers, self.lengths = identifiers, lengths

    def starts(self, options: dict[str, Any], rows: int, length: int) -> list[float | None]:
        """For each group of a batch's rows the start of its clip, or None for the unconditional ones.

        Args:
            options: what the network is told.
            rows: of the batch.
            length: latent frames of the batch, where nothing says which windows it shows.
        """
        places = windows_in(options) or [Place(0, length, length)]
        positive = options.get(_POSITIVE, 0)
        outputs = options.get("cond_or_uncond") or [0] * max(1, clips_in(options, rows) // len(places))
        starts = [self.identifiers.places.start_of(place, self.lengths) for place in places]
        return [start if output == positive else None for output in outputs for start in starts]


@contextmanager
def told(
    network: torch.nn.Module, identifiers: ClipIdentifiers, starts: Callable[[], Sequence[float | None]]
) -> Iterator[None]:
    """While open, the layers of a network add what their clip identifiers say.

    Args:
        network: the ``diffusion_model`` that the names of the layers begin with.
        identifiers: on the network's device.
        starts: asked at each call of a layer; see ``ClipIdentifiers.add``.
    """
    handles = []
    try:
        for name in identifiers.layers:

            def hook(_: Any, args: tuple, output: torch.Tensor, layer: str = name) -> torch.Tensor:
                seen = starts()
                if not any(start is not None for start in seen):
                    return output
                rows = args[0].shape[0]
                # A network that takes its batch row by row, or its tokens without a batch: one group.
                groups = seen if rows % len(seen) == 0 else seen[:1]
                return output + identifiers.add(layer, args[0], groups).to(output)

            handles.append(network.get_submodule(name.removeprefix(_NETWORK)).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def identify(model: Any, identifiers: ClipIdentifiers, lengths: str) -> Any:
    """A clone of a MODEL whose windows are told their clip; identifiers that were on it before are replaced.

    Args:
        model: the MODEL; it is not changed.
        identifiers: of a tuning of this network.
        lengths: one of ``LENGTHS``.

    Raises:
        ValueError: the network lacks a layer, or has it in another size.
    """
    check_layers(model.model, identifiers)
    identified = unidentified(model)
    if lengths == OFF:
        return identified
    kinds = comfy.patcher_extension.WrappersMP
    identified.model_options[_OPTIONS][_KEY] = Identified(identifiers, lengths)
    identified.add_wrapper_with_key(kinds.DIFFUSION_MODEL, _KEY, _uncompiled())
    identified.add_wrapper_with_key(kinds.OUTER_SAMPLE, _KEY, _find_positive)
    patcher = comfy.model_patcher.ModelPatcher(identifiers, model.load_device, model.offload_device)
    identified.set_additional_models(_KEY, [patcher])
    return identified


def unidentified(model: Any) -> Any:
    """A clone of a MODEL whose windows are not told their clip."""
    made = model.clone()
    kinds = comfy.patcher_extension.WrappersMP
    for kind in (kinds.DIFFUSION_MODEL, kinds.OUTER_SAMPLE):
        made.remove_wrappers_with_key(kind, _KEY)
    made.remove_additional_models(_KEY)
    made.model_options[_OPTIONS] = {
        key: value for key, value in made.model_options.get(_OPTIONS, {}).items() if key != _KEY
    }
    return made


def with_own_identifiers(model: Any) -> Any:
    """A MODEL whose clip identifiers, if it has any, are a copy that gradients may flow through, and that is not
    trained: those of a file are made in inference mode.
    """
    found: Identified | None = model.model_options.get(_OPTIONS, {}).get(_KEY)
    if found is None:
        return model
    return identify(model, copy.deepcopy(found.identifiers).requires_grad_(False), found.lengths)


def untold(model_options: dict[str, Any]) -> dict[str, Any]:
    """Options of a MODEL without its clip identifiers; the given ones are not changed."""
    options = {key: value for key, value in model_options.get(_OPTIONS, {}).items() if key != _KEY}
    return {**model_options, _OPTIONS: options}


def check_layers(model: Any, identifiers: ClipIdentifiers) -> None:
    """Check that a network has the layers of clip identifiers.

    Raises:
        ValueError: it does not.
    """
    for name, sizes in identifiers.sizes.items():
        try:
            layer: Any = model.get_submodule(name)
        except AttributeError:
            layer = None
        found = (getattr(layer, "in_features", None), getattr(layer, "out_features", None))
        if found != sizes:
            what = "has no such layer" if layer is None else f"has it with {found[0]} features in and {found[1]} out"
            raise ValueError(
                f"The clip identifiers are for a layer {name} with {sizes[0]} features in and {sizes[1]} out, and "
                f"{type(model).__name__} {what}: the file was tuned on another model. Load that one."
            )


@functools.cache
def _uncompiled() -> Callable:
    """``_around`` as torch.compile leaves it alone: what it has compiled once would not see the hooks."""
    return torch.compiler.disable(_around)  # here, for it loads the compiler


def _around(executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    options = kwargs.get(_OPTIONS) or next((each for each in args if isinstance(each, dict) and _KEY in each), {})
    found: Identified | None = options.get(_KEY)
    if found is None:
        return executor(x, *args, **kwargs)
    network = executor.class_obj
    video = x[0] if isinstance(x, (list, tuple)) else x
    time_dim = 2 if video.ndim == 5 else 0
    length = video.shape[2] if time_dim else video.shape[0] // clips_in(options, video.shape[0])
    starts = found.starts(options, video.shape[0], length)
    found.identifiers.to(video.device)
    with for_this_call(network, _KEY, told(network, found.identifiers, lambda: starts)):
        return executor(x, *args, **kwargs)


def _find_positive(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Tell which output is the conditional one: the first, but of guiders with two prompts beside the negative."""
    guider = executor.class_obj
    options = guider.model_options.setdefault(_OPTIONS, {})
    options[_POSITIVE] = 2 if "middle" in guider.conds else 0
    return executor(*args, **kwargs)
