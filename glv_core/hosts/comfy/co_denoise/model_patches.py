"""What patches a MODEL and runs along the video: windows cannot slice it, so it is refused by name."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import torch

from .driven import SOUND, drives, is_driven
from .easy_cache import has_easy_cache

_REMEDY = "Remove it, or make the video in one window (raise 'window' to the whole length)."
#: Keys of ``transformer_options`` with a cache that knows a forward pass by its first row -> the cond it looks at.
_CACHES = {"animate2_cache": "pose_latents"}
_DEPTH = 4


def check_model_options(model_options: Mapping[str, Any], in_chunks: bool = False) -> None:
    """Check that nothing in a MODEL's options runs along the video, which every window would see the first part of.

    ``in_chunks``: a video is made chunk by chunk, for which nothing of the kind is made; for windows some is.

    Raises:
        ValueError: something does, or keeps what one forward pass over the whole video left for the next.
    """
    options = model_options.get("transformer_options", {})
    if has_easy_cache(options) and not in_chunks:
        raise ValueError(
            "EasyCache was put on the model behind Co-Denoise Model, where it decides for one window whether all are "
            "computed. Connect it in front, or set step_cache."
        )
    # Other packs' nodes set these, and keep what they need on the network itself.
    if any(key == "rel_l1_thresh" or str(key).startswith("teacache") for key in options):
        raise ValueError(
            "TeaCache does not work with windows: it decides for one of them whether all are computed. Set step_cache "
            "of the sampler, or use EasyCache, of which each window makes its own."
        )
    for key, value in options.items():
        if isinstance(value, torch.Tensor) and value.ndim > 2 and (in_chunks or key != SOUND):
            what = "sound (InfiniteTalk)" if key == SOUND else f"'{key}'"
            raise ValueError(
                f"The model's options hold {what}, which may run along the video: every "
                f"{'chunk' if in_chunks else 'window'} would see the wrong part of it. {_REMEDY}"
            )
    for owner, name, value in _tensors(_inside_windows(model_options), None, "", set(), 0):
        count = 0 if is_driven(owner) and not in_chunks else _length(value)
        if count > 1:
            raise ValueError(
                f"Co-denoising does not know how the model patch {_name(owner)} follows the video: it holds {count} "
                f"images or latent frames ('{name}'), and every window would see the first of them. {_REMEDY}"
            )


def check_no_images(model_options: Mapping[str, Any], remedy: str) -> None:
    """Check that no patch of a MODEL holds images or latents, of which every tile would see the same.

    Raises:
        ValueError: one does; ``remedy`` ends the message.
    """
    for owner, name, value in _tensors(_inside_windows(model_options), None, "", set(), 0):
        if _length(value):
            raise ValueError(
                f"Tiles do not know how the model patch {_name(owner)} follows the frame: it holds an image or latents "
                f"('{name}'), and every tile would see all of it. {remedy}"
            )


def _inside_windows(model_options: Mapping[str, Any]) -> list[Any]:
    """The patches of a MODEL that a window is under; other wrappers stand around all of the windows."""
    options = model_options.get("transformer_options", {})
    wrappers, kinds = options.get("wrappers", {}), comfy.patcher_extension.WrappersMP
    patches = [options.get("patches"), options.get("patches_replace"), model_options.get("model_function_wrapper")]
    return patches + [wrappers.get(kind) for kind in (kinds.APPLY_MODEL, kinds.DIFFUSION_MODEL)]


def one_at_a_time(model_options: Mapping[str, Any]) -> frozenset[str]:
    """Model conds with which windows cannot share a forward pass, for what else is on the MODEL."""
    options = model_options.get("transformer_options", {})
    alone = {cond for cache, cond in _CACHES.items() if cache in options}
    return frozenset(alone | {"c_crossattn"} if drives(options) else alone)


def _length(value: torch.Tensor) -> int:
    """How many images ``t h w c``, ``t c h w`` or latent frames ``b c t h w`` a tensor seems to hold, or 0."""
    if value.ndim == 5:
        return value.shape[2]
    if value.ndim == 4 and (value.shape[-1] in (3, 4) or value.shape[1] in (3, 4)):
        return value.shape[0]
    return 0


def _name(owner: Any) -> str:
    if isinstance(owner, functools.partial):
        owner = owner.func
    named = owner if hasattr(owner, "__qualname__") else type(owner)
    return named.__qualname__.split(".<locals>")[0]


def _tensors(value: Any, owner: Any, name: str, seen: set[int], depth: int) -> Iterator[tuple[Any, str, torch.Tensor]]:
    """The tensors that patches hold on to, with the patch and the name there; networks are not looked into."""
    if isinstance(value, torch.Tensor):
        if owner is not None:
            yield owner, name, value
        return
    if depth > _DEPTH or id(value) in seen or isinstance(
        value, (torch.nn.Module, comfy.model_patcher.ModelPatcher, type, str, bytes, int, float)
    ):  # fmt: skip
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _tensors(each, owner, name or str(key), seen, depth)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each, owner, name, seen, depth)
    else:
        for key, each in _parts(value):
            yield from _tensors(each, value if owner is None else owner, key, seen, depth + 1)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, functools.partial):
        yield "func", value.func
        yield from ((str(index), each) for index, each in enumerate(value.args))
        yield from value.keywords.items()
    if getattr(value, "__self__", None) is not None and callable(value):  # a method: what it is bound to
        yield from _parts(value.__self__)
    cells = getattr(value, "__closure__", None) or ()
    for key, cell in zip(getattr(getattr(value, "__code__", None), "co_freevars", ()), cells, strict=False):
        try:
            yield key, cell.cell_contents
        except ValueError:  # a name that has no value yet
            continue
    yield from vars(value).items() if hasattr(value, "__dict__") and not isinstance(value, type(torch)) else ()
