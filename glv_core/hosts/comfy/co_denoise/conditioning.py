"""Conditioning of one window.

ComfyUI hands the sampler ``conds``: for each output (conditional, unconditional) a list of entries, dictionaries whose
``model_conds`` hold the tensors for the model. Some of these run along the video and are sliced with the window, the
others are shared. The model's family says by name which are which; what it does not name runs along the video if it is
noise-shaped, or has five axes of which the third is as long as the video.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.conds
import torch

from ....fusion import select_window
from ....windows import Window
from ..families import Family
from .prompt_tags import TAG

Entry = dict[str, Any]


@dataclass(frozen=True)
class Conditions:
    """Slices the conditioning of a long latent.

    Args:
        family: of the model.
        length: latent frames of the video.
        time_dim: the latents' axis of time, 2 or 0.
    """

    family: Family
    length: int
    time_dim: int

    def check(self, entry: Entry) -> None:
        """Check that everything in a cond entry can be sliced into windows.

        Raises:
            ValueError: something runs along the video in a way this pack does not slice yet.
        """
        for key in entry["model_conds"]:
            what = self.family.refused.get(key)
            if what and not (key == "latent_shapes" and len(entry["model_conds"][key].cond) == 1):
                raise ValueError(
                    f"Co-denoising does not support {what} yet: every window would see the wrong part of it. Remove "
                    "it, or make the video in one window (raise 'window' to the whole length)."
                )
        check_control(entry.get("control"))

    def slice(self, entry: Entry, window: Window, weights: torch.Tensor | None) -> Entry | None:
        """A cond entry for one window.

        Args:
            entry: the entry for the whole video.
            window: which latent frames.
            weights: how much this entry counts in each latent frame of the window, ``[window length]``, or None for 1.

        Returns:
            A shallow copy with the window's part of everything that runs along the video; None if its area has none.

        Raises:
            ValueError: something that runs along the video has another length than the video.
        """
        sliced = {**entry, "model_conds": self._model_conds(entry["model_conds"], window)}
        if self.time_dim == 2 and len(entry.get("area", ())) == 6:
            first, size, inside = _places_in_area(entry["area"], window)
            if not size:
                return None
            sliced["area"] = (size, *entry["area"][1:3], first, *entry["area"][4:])
            if inside is not None:
                inside = inside.to("cpu" if weights is None else weights.device)
                weights = inside if weights is None else weights * inside
        time_axis_of_mask = 1 if self.time_dim == 2 else 0
        if "mask" in entry:
            sliced["mask"] = self._select(entry["mask"], "mask", time_axis_of_mask, window)
        if weights is not None:
            mask = sliced.get("mask")
            if mask is None:
                mask = torch.ones([1] * (3 if self.time_dim == 0 else 4), device=weights.device)
            shape = [1] * mask.ndim
            shape[time_axis_of_mask] = window.length
            sliced["mask"] = mask * weights.to(mask).reshape(shape)
        sliced.pop(TAG, None)
        # Step caches keep their state by uuid: another window is another thing.
        sliced["uuid"] = uuid.uuid5(entry["uuid"], f"{window.start}+{window.length}*{window.stride}")
        return sliced

    def offloaded(self, entry: Entry) -> Entry:
        """A cond entry whose tensors that run along the video are in the computer's memory."""
        moved = {
            key: cond if self._time_axis(key, cond) is None else cond._copy_with(cond.cond.cpu())
            for key, cond in entry["model_conds"].items()
        }
        masks = {"mask": entry["mask"].cpu()} if "mask" in entry else {}
        return {**entry, **masks, "model_conds": moved}

    def _select(self, tensor: torch.Tensor, name: str, axis: int, window: Window) -> torch.Tensor:
        size = tensor.shape[axis]
        if size == 1:
            return tensor
        if size != self.length:
            raise ValueError(
                f"The conditioning '{name}' is {size} latent frames long, the latent {self.length}. Make both for one "
                "length."
            )
        return select_window(tensor, window, axis)

    def _model_conds(self, model_conds: dict[str, Any], window: Window) -> dict[str, Any]:
        sliced = {}
        for key, cond in model_conds.items():
            if key in self.family.first_frame and window.indices[0] != 0:
                continue
            if key in self.family.counts:
                sliced[key] = cond._copy_with(window.length)
                continue
            axis = self._time_axis(key, cond)
            sliced[key] = cond if axis is None else cond._copy_with(self._select(cond.cond, key, axis, window))
        return sliced

    def _time_axis(self, key: str, cond: Any) -> int | None:
        value = getattr(cond, "cond", None)
        if not isinstance(value, torch.Tensor) or key in self.family.shared:
            return None
        if self.time_dim == 0:
            return 0 if value.shape[0] == self.length else None
        if key in self.family.time_axes:
            return self.family.time_axes[key]
        if value.ndim == 5 and (isinstance(cond, comfy.conds.CONDNoiseShape) or value.shape[2] == self.length):
            return 2
        return None


def check_control(control: Any) -> None:
    """Check that ControlNets, a chain of them, can be given to every window.

    Raises:
        ValueError: a hint has several images: every window would see the first ones.
    """
    while control is not None:
        hint = getattr(control, "cond_hint_original", None)
        if hint is not None and hint.shape[0] > 1:
            raise ValueError(
                f"Long video does not support a ControlNet with a hint of {hint.shape[0]} images yet: every window and "
                "every chunk would see the first ones. Use a single image, or a control model such as Wan VACE or Fun "
                "Control."
            )
        control = getattr(control, "previous_controlnet", None)


def _places_in_area(area: Sequence[int], window: Window) -> tuple[int, int, torch.Tensor | None]:
    """The places of a window whose latent frames lie in an area: the first, how many, and a mask if there are gaps."""
    start, stop = area[3], area[3] + area[0]
    places = [place for place, index in enumerate(window.indices) if start <= index < stop]
    if not places:
        return 0, 0, None
    first, size = places[0], places[-1] + 1 - places[0]
    if size == len(places):
        return first, size, None
    # Across a loop point the area may be seen twice, with something else between.
    inside = torch.zeros(window.length)
    inside[places] = 1
    return first, size, inside
