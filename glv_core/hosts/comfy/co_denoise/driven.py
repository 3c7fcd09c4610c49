"""What patches a MODEL and runs along the video, made for a window: InfiniteTalk's sound, Uni3C's render.

Both hold on to something for the whole video and give the network what fits its input's beginning; a window gets a copy
of the MODEL's options with its own part.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import comfy.patcher_extension
import torch

from ....fusion import select_window
from ....windows import View

SOUND = "audio_embeds"  #: of every latent frame, ``b t tokens c``, in ``transformer_options``
_START, _RENDER = "MultiTalkApplyModelWrapper", "WanUni3CCnetPatch"
_APPLY_MODEL = comfy.patcher_extension.WrappersMP.APPLY_MODEL


def is_driven(patch: Any) -> bool:
    """Whether a patch is one that is made for windows here."""
    return type(patch).__name__ in (_START, _RENDER)


def drives(transformer_options: Mapping[str, Any]) -> bool:
    """Whether something of the kind is there, so that windows have a forward pass each."""
    return SOUND in transformer_options or any(map(is_driven, _patches(transformer_options)))


def check_driven(transformer_options: Mapping[str, Any], length: int) -> None:
    """Check that what is there is as long as a video of ``length`` latent frames.

    Raises:
        ValueError: it is not.
    """
    sound = transformer_options.get(SOUND)
    if sound is not None and sound.shape[1] != length:
        raise ValueError(
            f"The sound in the model's options (InfiniteTalk) is for {sound.shape[1]} latent frames, and the latent "
            f"has {length}. Give both one length."
        )


def options_for(
    model_options: dict[str, Any], view: View, video: Sequence[int], kept: dict[int, torch.Tensor]
) -> dict[str, Any]:
    """A MODEL's options for a window.

    Args:
        model_options: for the whole video; they are not changed.
        view: what the window shows.
        video: the whole latent's ``t h w``.
        kept: what is made once in a run, for the whole video; empty at its beginning.
    """
    options = model_options["transformer_options"]
    changed = dict(options)
    if SOUND in options:
        changed[SOUND] = select_window(options[SOUND], view, 1)
    changed["patches"] = {
        place: [_of_window(patch, view, video, kept) for patch in patches]
        for place, patches in options.get("patches", {}).items()
    }
    wrappers = options.get("wrappers", {})
    if _APPLY_MODEL in wrappers:
        own = {
            key: [_Starts(each, view) if type(each).__name__ == _START else each for each in group]
            for key, group in wrappers[_APPLY_MODEL].items()
        }
        changed["wrappers"] = {**wrappers, _APPLY_MODEL: own}
    return {**model_options, "transformer_options": changed}


def _patches(options: Mapping[str, Any]) -> list[Any]:
    return [patch for patches in options.get("patches", {}).values() for patch in patches]


def _of_window(patch: Any, view: View, video: Sequence[int], kept: dict[int, torch.Tensor]) -> Any:
    if type(patch).__name__ != _RENDER:
        return patch
    if id(patch) not in kept:
        kept[id(patch)] = patch.encode_render_video(tuple(video)).cpu()
    own = copy.copy(patch)
    own.prepared_render, own.temp_data = select_window(kept[id(patch)], view, 2), None
    return own


class _Starts:
    """Puts InfiniteTalk's first latent frames where a window shows them, and nowhere else."""

    def __init__(self, whole: Any, view: View) -> None:
        self.whole, self.view = whole, view

    def __call__(self, executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        known = self.whole.init_latents
        x = x.clone()
        for place, index in enumerate(self.view.video):
            if index < known.shape[2]:
                x[:, :, place] = known[:, :, index].to(x)
        return executor(x, *args, **kwargs)
