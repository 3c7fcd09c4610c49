"""What the command line is asked of StreamingT2V's own way of going on."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import UserError, option

if TYPE_CHECKING:
    from ..hosts.diffusers.folder import ModelFolder
    from ..hosts.diffusers.streamingt2v_video import StreamingT2VSettings

OWN = ("anchor", "anchor_cfg", "eta")  #: options of this model alone
ANCHORS = ("none", "first", "segment", "last_chunk", "past")
#: Options about windows and held latents, with their defaults: a chunk is one window here, and nothing is held.
_WITHOUT_EFFECT = {
    "blend": None, "window": None, "overlap": None, "schedule": None, "merge": "pyramid", "stride": 1,
    "stride_until": 1.0, "prompt_blending": "auto", "windows_per_forward": 0, "causal_anchor": False,
}  # fmt: skip


def own_settings(
    arguments: argparse.Namespace, folder: ModelFolder, chunk: int, overlap: int, size: tuple[int, int]
) -> StreamingT2VSettings:
    """How StreamingT2V makes the video; sizes in frames, ``size`` in pixels.

    Raises:
        UserError: an option that has no effect here, or a value out of range.
    """
    from ..hosts.diffusers.folder import DEMO_STREAMING_DEFAULTS
    from ..hosts.diffusers.schedulers import scheduler_class
    from ..hosts.diffusers.streamingt2v_video import StreamingT2VSettings, image_encoder_folder, takes_eta

    for name, default in _WITHOUT_EFFECT.items():
        if getattr(arguments, name) != default:
            raise UserError(
                f"--{name.replace('_', '-')} {getattr(arguments, name)}: StreamingT2V denoises every chunk whole and "
                "sees the frames before by its own attention; leave it out."
            )
    scheduler = scheduler_class(arguments.scheduler or "DDIMScheduler")
    if arguments.eta is not None and not takes_eta(scheduler):
        raise UserError(f"--eta {arguments.eta}: {scheduler.__name__} has none; leave it out, or use DDIMScheduler.")
    given = {
        "anchor": arguments.anchor, "anchor_guidance": arguments.anchor_cfg, "eta": arguments.eta,
        "steps": arguments.steps, "guidance": arguments.cfg, "drift_correction": arguments.drift_correction,
    }  # fmt: skip
    if folder.defaults is DEMO_STREAMING_DEFAULTS:
        defaults = {"steps": folder.defaults.steps, "guidance": folder.defaults.cfg}
        given |= {name: value for name, value in defaults.items() if given[name] is None}
    settings = StreamingT2VSettings(
        chunk, overlap, seed=arguments.seed, width=size[0], height=size[1], negative_prompt=arguments.negative,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    for name, field in (("anchor_cfg", "anchor_guidance"), ("eta", "eta")):
        with option(f"--{name.replace('_', '-')}", getattr(arguments, name)):
            replace(StreamingT2VSettings(), **{field: getattr(settings, field)}).check()
    if settings.anchor != "none":
        with option("--anchor", settings.anchor):
            image_encoder_folder(folder.path)
    elif arguments.anchor_cfg is not None:
        raise UserError(f"--anchor-cfg {arguments.anchor_cfg}: there is no anchor; leave it out, or choose --anchor.")
    return settings
