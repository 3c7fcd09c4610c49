"""Conditioning of one window, and of several windows that share a forward pass.

ComfyUI hands the sampler ``conds``: for each output (conditional, unconditional) a list of entries, dictionaries whose
``model_conds`` hold the tensors for the model. Some of these run along the video and must be cut with the window, the
others are shared. Which is which is decided by name and kind, never by a size that happens to equal the length.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import comfy.conds
import comfy.utils
import torch

from ....fusion import take
from ....prompts.blending import mix_embeddings
from ....windows import Window
from .prompt_tags import TAG

Entry = dict[str, Any]

# Model conds that run along the video elsewhere than in axis 2, by name: their axis of time.
_TIME_AXIS = {"vace_context": 3}
# Model conds with an axis 2 that is not the time of the video.
_SHARED = {"reference_latent", "ref_latent", "time_dim_concat", "ref_latents"}
# Model conds that hold for the first latent frame of the video: only a window that begins with it gets them.
_FIRST_FRAME = {"guiding_frame_index", "time_dim_replace"}
# Model conds that run along the video in a way that is not cut yet: the wrong part would be heard or seen.
_UNSUPPORTED = {
    "keyframe_idxs": "LTX guide frames (LTXVAddGuide)",
    "audio_embed": "audio-driven video (Wan S2V, HuMo)",
    "control_video": "Wan S2V's control video",
    "reference_motion": "Wan S2V's reference motion",
    "face_pixel_values": "Wan Animate's face video",
    "pose_latents": "Wan Animate's pose video",
    "latent_shapes": "combined audio and video latents",
    "audio_denoise_mask": "combined audio and video latents",
}


def check_entry(entry: Entry) -> None:
    """Check that everything in a cond entry can be cut into windows.

    Raises:
        ValueError: something runs along the video in a way this pack does not cut yet.
    """
    for key in entry["model_conds"]:
        if key in _UNSUPPORTED and not (key == "latent_shapes" and len(entry["model_conds"][key].cond) == 1):
            raise ValueError(
                f"Co-denoising does not support {_UNSUPPORTED[key]} yet: every window would see the wrong part of it. "
                "Remove it, or make the video in one window (raise 'window' to the whole length)."
            )
    control = entry.get("control")
    while control is not None:
        hint = getattr(control, "cond_hint_original", None)
        if hint is not None and hint.shape[0] > 1:
            raise ValueError(
                f"Co-denoising does not support a ControlNet with a hint of {hint.shape[0]} pictures yet: every window "
                "would see the first ones. Use a single picture, or a control model such as Wan VACE or Fun Control."
            )
        control = control.previous_controlnet


def cut(entry: Entry, window: Window, length: int, time_dim: int, weights: torch.Tensor | None) -> Entry | None:
    """A cond entry for one window.

    Args:
        entry: the entry for the whole video.
        window: which latent frames.
        length: latent frames of the video.
        time_dim: the latents' axis of time, 2 or 0.
        weights: how much this entry counts in each latent frame of the window, ``[window length]``, or None for 1.

    Returns:
        A shallow copy with the window's part of everything that runs along the video; None if its area has none.

    Raises:
        ValueError: something that runs along the video has another length than the video.
    """
    cut_entry = {**entry, "model_conds": _cut_model_conds(entry["model_conds"], window, length, time_dim)}
    if time_dim == 2 and len(entry.get("area", ())) == 6:
        first, size, inside = _places_in_area(entry["area"], window)
        if not size:
            return None
        cut_entry["area"] = (size, *entry["area"][1:3], first, *entry["area"][4:])
        if inside is not None:
            inside = inside.to("cpu" if weights is None else weights.device)
            weights = inside if weights is None else weights * inside
    time_axis_of_mask = 1 if time_dim == 2 else 0
    if "mask" in entry:
        mask = entry["mask"]
        cut_entry["mask"] = _cut_tensor(mask, "mask", time_axis_of_mask, window, length)
    if weights is not None:
        mask = cut_entry.get("mask")
        if mask is None:
            mask = torch.ones([1] * (3 if time_dim == 0 else 4), device=weights.device)
        shape = [1] * mask.ndim
        shape[time_axis_of_mask] = window.length
        cut_entry["mask"] = mask * weights.to(mask).reshape(shape)
    cut_entry.pop(TAG, None)
    # Step caches keep their state by uuid: another window is another thing.
    cut_entry["uuid"] = uuid.uuid5(entry["uuid"], f"{window.start}+{window.length}*{window.stride}")
    return cut_entry


def _cut_tensor(tensor: torch.Tensor, name: str, axis: int, window: Window, length: int) -> torch.Tensor:
    size = tensor.shape[axis]
    if size == 1:
        return tensor
    if size != length:
        raise ValueError(
            f"The conditioning '{name}' is {size} latent frames long, the latent {length}. Make both for one length."
        )
    return take(tensor, window, axis)


def _cut_model_conds(model_conds: Mapping[str, Any], window: Window, length: int, time_dim: int) -> dict[str, Any]:
    cut_conds = {}
    for key, cond in model_conds.items():
        value = getattr(cond, "cond", None)
        if key in _FIRST_FRAME and window.frames[0] != 0:
            continue
        if key == "num_video_frames":
            cut_conds[key] = cond._copy_with(window.length)
            continue
        axis = _time_axis(key, cond, value, length, time_dim)
        cut_conds[key] = cond if axis is None else cond._copy_with(_cut_tensor(value, key, axis, window, length))
    return cut_conds


def to_host(entry: Entry, length: int, time_dim: int) -> Entry:
    """A cond entry whose tensors that run along the video are in host memory."""
    moved = {
        key: cond._copy_with(cond.cond.cpu())
        if _time_axis(key, cond, getattr(cond, "cond", None), length, time_dim) is not None
        else cond
        for key, cond in entry["model_conds"].items()
    }
    masks = {"mask": entry["mask"].cpu()} if "mask" in entry else {}
    return {**entry, **masks, "model_conds": moved}


def _time_axis(key: str, cond: Any, value: Any, length: int, time_dim: int) -> int | None:
    if not isinstance(value, torch.Tensor) or key in _SHARED:
        return None
    if time_dim == 0:
        return 0 if value.shape[0] == length else None
    if key in _TIME_AXIS:
        return _TIME_AXIS[key]
    if value.ndim == 5 and (isinstance(cond, comfy.conds.CONDNoiseShape) or value.shape[2] == length):
        return 2
    return None


def _places_in_area(area: Sequence[int], window: Window) -> tuple[int, int, torch.Tensor | None]:
    """The places of a window whose latent frames lie in an area: the first, how many, and a mask if there are gaps."""
    start, stop = area[3], area[3] + area[0]
    places = [place for place, frame in enumerate(window.frames) if start <= frame < stop]
    if not places:
        return 0, 0, None
    first, size = places[0], places[-1] + 1 - places[0]
    if size == len(places):
        return first, size, None
    # Across a loop point the area may be seen twice, with something else between.
    inside = torch.zeros(window.length)
    inside[places] = 1
    return first, size, inside


def mix_entries(entries: Sequence[Entry], weights: torch.Tensor, spherical: bool) -> Entry:
    """One cond entry whose text embeddings are mixed from several that differ in their prompt.

    Args:
        entries: cut to the same window.
        weights: ``[entry]``, or ``[entry, row]`` where every row of the batch is a frame with a mix of its own.
        spherical: see ``mix_embeddings``.
    """
    strongest = int(weights.sum(1).argmax() if weights.ndim == 2 else weights.argmax())
    mixed = dict(entries[strongest])
    mixed["model_conds"] = dict(mixed["model_conds"])
    for key, cond in mixed["model_conds"].items():
        values = [getattr(entry["model_conds"].get(key), "cond", None) for entry in entries]
        if key == "num_tokens":
            mixed["model_conds"][key] = cond._copy_with(max(values))
        if any(not isinstance(value, torch.Tensor) for value in values):
            continue
        if all(_equal(values[0], value) for value in values[1:]):
            continue
        if values[0].is_floating_point():
            mixed["model_conds"][key] = cond._copy_with(mix_embeddings(values, weights, spherical))
        else:  # which tokens are to be seen: those of any of the prompts
            mixed["model_conds"][key] = cond._copy_with(_any_of(values))
    names = "+".join(f"{entry['uuid']}*{weight.tolist()}" for entry, weight in zip(entries, weights, strict=True))
    mixed["uuid"] = uuid.uuid5(mixed["uuid"], names)
    return mixed


def _any_of(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Masks ``b tokens`` of different lengths as one, as long as the longest."""
    tokens = max(mask.shape[-1] for mask in masks)
    padded = [torch.nn.functional.pad(mask, (0, tokens - mask.shape[-1])) for mask in masks]
    return torch.stack(padded).amax(dim=0)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def signature(entry: Entry, window_index: int) -> tuple:
    """What must be equal for two windows' entries to share a slot of one forward pass; hashable."""
    conds = []
    for key in sorted(entry["model_conds"]):
        cond = entry["model_conds"][key]
        value = cond.cond
        if isinstance(value, torch.Tensor):
            same: Any = (tuple(value.shape[1:]), str(value.device), value.dtype)
        elif isinstance(cond, comfy.conds.CONDConstant):
            same = repr(value)
        else:
            same = id(value)
        conds.append((key, type(cond).__name__, same))
    return (
        tuple(conds),
        tuple(entry.get("area", ())),
        entry["mask"].ndim if "mask" in entry else None,
        tuple((key, repr(entry.get(key))) for key in ("strength", "mask_strength", "timestep_start", "timestep_end")),
        tuple(id(entry.get(key)) for key in ("hooks", "gligen")),
        window_index if entry.get("control") is not None else None,
        "default" in entry,
    )


def fold(entries: Sequence[Entry], rows: int, latent_size: Sequence[int], device: torch.device) -> Entry:
    """One cond entry that serves several windows, stacked along the batch.

    Args:
        entries: the windows' entries for one slot, with equal ``signature``.
        rows: batch rows of each window (videos in the batch; frames of the window where the frames are the batch).
        latent_size: sizes of the window's latent behind the channel axis, ``t h w`` or ``h w``.
        device: where the model runs.

    Returns:
        A cond entry whose tensors have ``len(entries) * rows`` rows.
    """
    first = entries[0]
    folded = dict(first)
    folded["model_conds"] = {
        key: _fold_cond(cond, [entry["model_conds"][key].cond for entry in entries], rows, device)
        for key, cond in first["model_conds"].items()
    }
    if "mask" in first:
        folded["mask"] = torch.cat(
            [comfy.utils.repeat_to_batch_size(entry["mask"].expand(-1, *latent_size), rows) for entry in entries]
        ).to(device)
    if len(entries) > 1:
        folded["uuid"] = uuid.uuid5(first["uuid"], "+".join(str(entry["uuid"]) for entry in entries))
    return folded


def _fold_cond(cond: Any, values: list[Any], rows: int, device: torch.device) -> Any:
    if not isinstance(values[0], torch.Tensor):
        return cond
    first = values[0]
    if first.shape[0] == 1 and all(value is first for value in values):  # as prompts are: no copy for each window
        return cond._copy_with(first.expand(len(values) * rows, *first.shape[1:]).to(device))
    return cond._copy_with(torch.cat([comfy.utils.repeat_to_batch_size(value, rows) for value in values]).to(device))
