"""Conditioning of one window.

ComfyUI hands the sampler ``conds``: for each output (conditional, unconditional) a list of entries, dictionaries whose
``model_conds`` hold what the network gets. Some of it runs along the video and is sliced with the window, the rest is
shared. Who knows which is which is asked in this order: the model's family, by name; the host, whose newer models slice
some conditions for its own context windows; and last the shape. What nobody knows is refused: nothing that may run
along the video is handed whole to every window.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.conds
import comfy.utils
import torch

from ....fusion import select_window
from ....windows import View, Window
from ..families import SHARED, Along, Family
from .packed import PackedLatent
from .prompt_tags import TAG
from .space import cut_entry

Entry = dict[str, Any]
#: The host's own slice of a model cond, or None: from its key, the cond and what the window shows.
AskHost = Callable[[str, Any, View], Any]


def host_slices(model: Any, shape: Sequence[int], time_dim: int) -> AskHost:
    """What a model in ``comfy.model_base`` slices by itself; older hosts slice nothing.

    Args:
        model: the model.
        shape: of the long latent.
        time_dim: its axis of time.
    """
    ask = getattr(model, "resize_cond_for_context_window", None)
    if ask is None or time_dim == 0:
        return lambda key, cond, view: None
    from comfy.context_windows import IndexListContextWindow

    x = torch.empty(tuple(shape), device="meta")

    def slice_of(key: str, cond: Any, view: View) -> Any:
        value = getattr(cond, "cond", None)
        if not isinstance(value, torch.Tensor):
            return None
        window = IndexListContextWindow(list(view.video), dim=time_dim, total_frames=shape[time_dim])
        return ask(key, cond, window, x, value.device)

    return slice_of


@dataclass(frozen=True)
class Conditions:
    """Slices the conditioning of a long latent.

    Args:
        family: of the model.
        length: latent frames of the video.
        time_dim: the latents' axis of time, 2 or 0.
        ask_host: see ``host_slices``; None where there is no host to ask.
        latent: the streams of the latent; None where there is video alone.
    """

    family: Family
    length: int
    time_dim: int
    ask_host: AskHost | None = None
    latent: PackedLatent | None = None

    def check(self, entry: Entry, view: View) -> None:
        """Check that everything in a cond entry can be sliced into windows like ``view``.

        Raises:
            ValueError: something runs along the video in a way this pack does not slice, or may do so.
        """
        if self._several and (found := [key for key in ("mask", "area") if key in entry]):
            raise ValueError(
                f"A prompt has a {found[0]}, and a latent of {self.family.combined} has no place for one. Remove "
                f"the {found[0]} from the conditioning."
            )
        for key, cond in entry["model_conds"].items():
            self._slice(key, cond, view)

    @property
    def _several(self) -> bool:
        return self.latent is not None and self.latent.several

    def slice(self, entry: Entry, view: View | Window, weights: torch.Tensor | None) -> Entry | None:
        """A cond entry for one window.

        Args:
            entry: the entry for the whole video.
            view: which latent frames the model is shown.
            weights: how much this entry counts in each of them, ``[view length]``, or None for 1.

        Returns:
            A shallow copy with the window's part of everything that runs along the video; None if its area,
            or in a tile its mask, has none.

        Raises:
            ValueError: as ``check``, or something that runs along the video has another length than the video.
        """
        if isinstance(view, Window):
            view = View(view)
        sliced = {**entry, "model_conds": self._model_conds(entry["model_conds"], view)}
        if self.time_dim == 2 and len(entry.get("area", ())) == 6:
            first, size, inside = _places_in_area(entry["area"], view)
            if not size:
                return None
            sliced["area"] = (size, *entry["area"][1:3], first, *entry["area"][4:])
            if inside is not None:
                inside = inside.to("cpu" if weights is None else weights.device)
                weights = inside if weights is None else weights * inside
        time_axis_of_mask = 1 if self.time_dim == 2 else 0
        if "mask" in entry:
            sliced["mask"] = self._select(entry["mask"], "mask", time_axis_of_mask, view)
        if weights is not None and self._several:
            sliced["mask"] = self.latent.mask(weights, view)
        elif weights is not None:
            mask = sliced.get("mask")
            if mask is None:
                mask = torch.ones([1] * (3 if self.time_dim == 0 else 4), device=weights.device)
            shape = [1] * mask.ndim
            shape[time_axis_of_mask] = view.length
            sliced["mask"] = mask * weights.to(mask).reshape(shape)
        sliced.pop(TAG, None)
        # Step caches keep their state by uuid: another window is another thing.
        window = view.window
        name = f"{view.lead}+{window.start}+{window.length}*{window.stride}" + f"<{view.before}" * view.lead
        if view.tile is not None:
            cut = cut_entry(sliced, view.tile, self.family, time_axis_of_mask + 3)
            if cut is None:
                return None
            sliced = cut
            name += f" {view.tile.top},{view.tile.left}"
        sliced["uuid"] = uuid.uuid5(entry["uuid"], name)
        return sliced

    def offloaded(self, entry: Entry, view: View, move: Callable[[torch.Tensor], torch.Tensor]) -> Entry:
        """A cond entry whose tensors that run along the video are where ``move`` brings them."""
        moved = {}
        for key, cond in entry["model_conds"].items():
            value = getattr(cond, "cond", None)
            if isinstance(value, (list, tuple)) and any(isinstance(each, torch.Tensor) for each in value):
                moved[key] = cond._copy_with([move(each) for each in value])
            elif isinstance(value, torch.Tensor) and self._slice(key, cond, view) is not cond:
                moved[key] = cond._copy_with(move(value))
            else:
                moved[key] = cond
        masks = {"mask": move(entry["mask"])} if "mask" in entry else {}
        return {**entry, **masks, "model_conds": moved}

    def _model_conds(self, model_conds: dict[str, Any], view: View) -> dict[str, Any]:
        sliced = {key: self._slice(key, cond, view) for key, cond in model_conds.items()}
        return {key: cond for key, cond in sliced.items() if cond is not None}

    def _slice(self, key: str, cond: Any, view: View) -> Any:
        """A model cond for what a window shows; None if it has no part in it."""
        family = self.family
        if self.latent is not None and self._several:
            if key == "latent_shapes":
                return cond._copy_with(self.latent.shapes_of(view))
            if key in family.of_stream:
                stream = self.latent.streams[family.of_stream[key] - 1]
                return cond._copy_with(select_window(cond.cond, stream.part(view), stream.time_dim))
        if key in family.by_window:
            latent = self.latent
            firsts = [] if latent is None else [stream.part(view).start for stream in latent.streams]
            shapes = [] if latent is None else latent.shapes_of(view)
            return family.by_window[key](cond, view, shapes, [view.start, *firsts])
        if key in family.first_frame:
            return cond if view.video[0] == 0 else None
        if key in family.start_frames:
            return self._start_frames(cond, view)
        if key in family.counts:
            return cond._copy_with(len(view.video))
        if self.time_dim == 0:
            return cond if key in family.shared else self._in_batch(key, cond, view)
        if key in family.shared or key in SHARED:
            return cond
        if key in family.along:
            return cond._copy_with(self._along(cond.cond, key, family.along[key], view))
        asked = self.ask_host(key, cond, view) if self.ask_host is not None else None
        if asked is not None:
            return asked
        if key in family.refused and not _is_nothing(key, cond) and not self._is_video(cond):
            raise ValueError(
                f"Co-denoising does not support {family.refused[key]} yet: every window would see the wrong part of "
                f"it. {_REMEDY}"
            )
        return self._by_shape(key, cond, view)

    def _is_video(self, cond: Any) -> bool:
        """Whether a cond has a part for every latent frame, ``b c t h w``."""
        value = getattr(cond, "cond", None)
        return isinstance(value, torch.Tensor) and value.ndim == 5 and value.shape[2] == self.length

    def _by_shape(self, key: str, cond: Any, view: View) -> Any:
        value = getattr(cond, "cond", None)
        if isinstance(value, (list, tuple)) and value and all(isinstance(each, torch.Tensor) for each in value):
            return cond._copy_with([self._tensor_by_shape(key, each, view) for each in value])
        if isinstance(value, torch.Tensor):
            sliced = self._tensor_by_shape(key, value, view)
            return cond if sliced is value else cond._copy_with(sliced)
        if value is None or isinstance(value, (bool, int, float, str)) or _is_nothing(key, cond):
            return cond
        raise ValueError(_unknown(key))

    def _tensor_by_shape(self, key: str, value: torch.Tensor, view: View) -> torch.Tensor:
        if value.ndim == 5:
            return self._select(value, key, 2, view)
        frames = self.family.compression.num_frames(self.length)
        if value.ndim > 2 or any(size in (self.length, frames) for size in value.shape[1:]):
            raise ValueError(_unknown(key))
        return value

    def _start_frames(self, cond: Any, view: View) -> Any:
        known = cond.cond.shape[2]
        held = 0
        while held < view.length and view.indices[held] < known:
            held += 1
        if not held:
            return None
        part = cond.cond.index_select(2, torch.tensor(list(view.indices[:held]), device=cond.cond.device))
        return cond._copy_with(part)

    def _in_batch(self, key: str, cond: Any, view: View) -> Any:
        """The frames are the batch, which the host repeats until it is as long as the video."""
        value = getattr(cond, "cond", None)
        if isinstance(value, (list, tuple)):
            if any(isinstance(each, torch.Tensor) and each.ndim and each.shape[0] > 1 for each in value):
                raise ValueError(_unknown(key))
            return cond
        if not isinstance(value, torch.Tensor) or value.ndim == 0 or value.shape[0] == 1:
            return cond
        return cond._copy_with(select_window(comfy.utils.repeat_to_batch_size(value, self.length), view, 0))

    def _along(self, value: torch.Tensor, key: str, along: Along, view: View) -> torch.Tensor:
        if along.scale == 1:
            return self._select(value, key, along.axis, view)
        size = value.shape[along.axis]
        if size < along.scale * self.length:
            raise ValueError(
                f"The conditioning '{key}' has {size} parts, and a latent of {self.length} latent frames needs "
                f"{along.scale * self.length}. Make both for one length."
            )
        indices = along.indices(view.indices, self.length, size)
        return value.index_select(along.axis, torch.tensor(indices, device=value.device))

    def _select(self, tensor: torch.Tensor, name: str, axis: int, view: View) -> torch.Tensor:
        size = tensor.shape[axis]
        if size == 1:
            return tensor
        whole = self.length + (len(self.latent.guided) if self.latent is not None else 0)
        if isinstance(view, View) and view.guides and size == self.length:
            view = replace(view, guides=(), guided=())
        if size not in (self.length, whole):
            raise ValueError(
                f"The conditioning '{name}' is {size} latent frames long, the latent {self.length}. Make both for one "
                "length."
            )
        return select_window(tensor, view, axis)


_REMEDY = "Remove it, or make the video in one window (raise 'window' to the whole length)."


def _unknown(key: str) -> str:
    return (
        f"Co-denoising does not know whether the conditioning '{key}' runs along the video, so every window might see "
        f"the wrong part of it. {_REMEDY}"
    )


def _is_nothing(key: str, cond: Any) -> bool:
    """Whether a cond that is refused otherwise says nothing: the shape of one stream, an empty list."""
    value = getattr(cond, "cond", None)
    return isinstance(value, (list, tuple)) and (not value or (key == "latent_shapes" and len(value) == 1))


def begins_with_an_image(entry: Entry) -> bool:
    """Whether an entry says that the first latent frame is known and others are not: a start or reference image.

    ``concat_mask`` is 0 where the network is shown an image, ``b c t h w``; ``vace_mask`` a list of the same.
    """
    masks = entry.get("vace_mask", entry.get("concat_mask"))
    for mask in masks if isinstance(masks, (list, tuple)) else [masks]:
        if not isinstance(mask, torch.Tensor) or mask.ndim != 5:
            continue
        if not mask[:, :, 0].any() and mask[:, :, 1:].any():
            return True
    return False


def _places_in_area(area: Sequence[int], view: View) -> tuple[int, int, torch.Tensor | None]:
    """The places of a view whose latent frames lie in an area: the first, how many, and a mask if there are gaps."""
    start, stop = area[3], area[3] + area[0]
    places = [place for place, index in enumerate(view.indices) if start <= index < stop]
    if not places:
        return 0, 0, None
    first, size = places[0], places[-1] + 1 - places[0]
    if size == len(places):
        return first, size, None
    # Across a loop point the area may be seen twice, with something else between.
    inside = torch.zeros(view.length)
    inside[places] = 1
    return first, size, inside
