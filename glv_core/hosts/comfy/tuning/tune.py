"""A tuning from beginning to end: checks, the copy that is trained, the steps, the file, and the tuned MODEL."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sampler_helpers
import torch

from ....streaming import digest_of
from ....tuning import (
    ClipIdentifiers,
    Draw,
    Places,
    Tuned,
    TuningLoop,
    TuningOptions,
    read_tuned,
    window_starts,
    write_tuned,
)
from ....tuning.identifiers import NONE
from ....tuning.over_time import LayersOverTime
from ....tuning.presets import GEN_L_VIDEO, LOW_RANK, METHODS
from ....windows import Window
from ..co_denoise.options import WindowOptions
from ..co_denoise.prompt_tags import TAG, schedules_of, track_in
from ..co_denoise.sampling import samples_for
from ..families import family_of, streams_of, time_dim_of
from ..streaming.hashes import model_hash, value_hash
from .files import check_name, files_of, name_of
from .gradients import in_training
from .identified import unidentified
from .inflated import check_inflatable, inflate, trained_queries, transformer_blocks
from .layers import blocks_of, chosen_layers, identified_layers
from .on_model import put_on
from .preview import TuningProgress
from .training import Trained, TrainingSampler, checkpointed, train, training_copy

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class TuningSettings:
    """What a user sets for a tuning; lengths in frames.

    Args:
        name: of the file, inside ``output/loras``.
        options: with ``window`` and ``stride`` in frames.
        layers: one of ``CHOICES`` of ``layers``; of ``gen_l_video`` it says nothing.
        method: one of ``METHODS``: low-rank weights, or an image model inflated to video, as in Gen-L-Video.
        precision: one of ``PRECISIONS``.
        checkpointing: whether blocks compute again on the way back, for less memory.
        preview_every: steps between two previews; 0 shows none.
    """

    name: str
    options: TuningOptions
    layers: str
    method: str = LOW_RANK
    precision: str = "auto"
    checkpointing: bool = True
    preview_every: int = 20


@dataclass(frozen=True)
class TunedVideo:
    """What a tuning gave: the MODEL, the name of the file among the LoRAs, the losses, and a report in words."""

    model: Any
    file: str
    losses: list[float]
    report: str


def tune_on_video(
    model: Any,
    positive: list,
    empty: list,
    latent: dict[str, Any],
    settings: TuningSettings,
    keep: list | None = None,
) -> TunedVideo:
    """Teach a MODEL one video.

    Low-rank weights on layers of its attention, and clip identifiers if wanted, are trained on windows of the video. A
    run with the same settings that was cut off goes on; one that was finished is read from its file.

    Args:
        model: the MODEL; it is not changed.
        positive: the prompt of the video, or prompts along it, with all controls.
        empty: an empty text with the same controls, for windows whose text is left out.
        latent: the LATENT of the encoded video.
        settings: see ``TuningSettings``.
        keep: prompts that are to go on giving what they gave; without them ``settings.options.keep`` is not asked.

    Raises:
        ValueError: something does not fit; nothing was trained then.
    """
    check_name(settings.name)
    samples = samples_for(model, latent, combined=True)
    video = streams_of(samples)[0]
    length = video.shape[time_dim_of(model.model.latent_format)] - _guides(model, video, [positive, empty])
    if not video.any():
        raise ValueError("latent_image is empty, so there is nothing to learn. Connect a video from Encode Long Video.")
    options = in_latent_frames(model, settings.options, length)
    if keep is None:
        options = replace(options, keep=0.0)
    _check_method(model, settings, options)
    if options.identifiers != NONE and not identified_layers(model.model):
        raise ValueError(
            f"identifiers is {options.identifiers}, and the network of {type(model.model).__name__} has no attention "
            "that they can lie on. Choose none."
        )
    noise_mask = latent.get("noise_mask")
    starts = _starts(model, positive, length, options, _learnt(model, samples, noise_mask, length))
    key = _key(model, positive, empty, keep, samples, noise_mask, settings, options)
    path, state = files_of(settings.name, key, options.steps)
    if path.is_file():
        tuned = read_tuned(path)
        text = f"Found loras/{name_of(path)}, of a run with the same settings."
        return TunedVideo(put_on(model, tuned), name_of(path), list(tuned.about.get("losses", [])), text)
    with torch.inference_mode(False), torch.enable_grad():
        trained, loop, found = _train(
            model, positive, empty, keep, samples, noise_mask, settings, options, length, starts, key, state
        )  # fmt: skip
    about = {
        "family": type(model.model).__name__.removesuffix("WithPerFrameTimesteps"),
        "prompts": [prompt for schedule in schedules_of(positive) for prompt in schedule.prompts],
        "layers": settings.layers,
        "method": settings.method,
        **{name: value for name, value in asdict(options).items() if name != "clip_drop"},
        "losses": [round(loss, 6) for loss in loop.losses],
    }
    over_time = trained.extra["over_time"].tensors() if trained.extra else {}
    tuned = Tuned(trained.lora(), about, trained.identifiers, over_time)
    write_tuned(path, tuned)
    report = _report(loop, found, name_of(path), len(starts), options)
    return TunedVideo(put_on(model, tuned), name_of(path), loop.losses, report)


def _check_method(model: Any, settings: TuningSettings, options: TuningOptions) -> None:
    if settings.method not in METHODS:
        raise ValueError(f"Unknown method {settings.method!r}. Known: {', '.join(METHODS)}.")
    if settings.method == LOW_RANK:
        chosen_layers(model.model, settings.layers)
        return
    check_inflatable(model)
    if options.keep:
        raise ValueError(
            "keep is connected, and method gen_l_video keeps no prompts. Disconnect it, set keep_strength to 0, or "
            "choose low_rank."
        )


def _guides(model: Any, video: torch.Tensor, conditionings: Sequence[list]) -> int:
    """How many guides lie behind the video in its latent."""
    guided = family_of(model.model).guided
    if guided is None:
        return 0
    return len(guided([extras for conditioning in conditionings for _, extras in conditioning], video.shape))


def in_latent_frames(model: Any, options: TuningOptions, length: int) -> TuningOptions:
    """Options whose window and stride are in frames, in latent frames of a model, for a video of ``length``.

    Raises:
        ValueError: the video is shorter than a window, or the window than the model's shortest.
    """
    compression = family_of(model.model).compression
    grain = compression.grain
    window = compression.whole_clip(compression.num_latent_frames(options.window))
    if window < grain:
        raise ValueError(
            f"window is {options.window} frames; windows of this model have "
            f"{compression.num_frames(compression.whole_clip(grain))} or more. Raise window."
        )
    if length < window:
        raise ValueError(
            f"window is {options.window} frames, and the video has {compression.num_frames(length)}. Lower window, or "
            "tune on a longer video."
        )
    stride = min(max(1, compression.latent_span(options.stride)), window)
    made = replace(options, window=window, stride=-(-stride // grain) * grain, grain=grain)
    window_starts(length, made.window, made.stride, grain)
    return made


def _learnt(model: Any, samples: Any, noise_mask: Any, length: int) -> torch.Tensor | None:
    """For each latent frame whether there is something to learn in it, which its noise mask does not keep; None where
    there is everywhere, or may be in the sound.

    Raises:
        ValueError: all is kept.
    """
    if noise_mask is None:
        return None
    streams, masks = streams_of(samples), streams_of(noise_mask)
    if len(masks) < len(streams) or any(bool(mask.any()) for mask in masks[1:]):
        return None
    mask = comfy.sampler_helpers.prepare_mask(masks[0], streams[0].shape, "cpu")
    made = mask.movedim(time_dim_of(model.model.latent_format), 0)[:length].flatten(1).amax(1) > 0
    if not bool(made.any()):
        raise ValueError(
            "The noise mask of latent_image keeps all of it, so there is nothing to learn. Connect the video without "
            "the mask."
        )
    return made


def _starts(
    model: Any, positive: list, length: int, options: TuningOptions, learnt: torch.Tensor | None = None
) -> list[int]:
    """The starts of the windows that are trained: those with something to learn in them, see ``_learnt``. With prompts
    along the video those that see one of them alone, if each prompt has such a window; between two scenes a video is
    neither.
    """
    starts = window_starts(length, options.window, options.stride, options.grain)
    if learnt is not None:
        starts = [start for start in starts if bool(learnt[start : start + options.window].any())]
    for schedule in schedules_of(positive):
        track = track_in(schedule, length, family_of(model.model))
        shares = {start: track.in_window(Window(start, options.window)).mean(dim=1) for start in starts}
        alone = [start for start, share in shares.items() if float(share.max()) > 1 - 1e-6]
        shown = {int(shares[start].argmax()) for start in alone}
        if shown == {int(index) for share in shares.values() for index in share.nonzero().flatten()}:
            starts = alone
    return starts


def _train(
    model: Any,
    positive: list,
    empty: list,
    keep: list | None,
    samples: Any,
    noise_mask: Any,
    settings: TuningSettings,
    options: TuningOptions,
    length: int,
    starts: Sequence[int],
    key: str,
    state: Path,
) -> tuple[Trained, TuningLoop, int]:
    """Make the steps that are left; what was trained, the loop, and how many steps there were before."""
    shapes = [tuple(stream.shape) for stream in streams_of(samples)]
    identifiers = None
    if options.identifiers != NONE:
        places = Places(length, options.window, options.stride)
        named = {layer.name: layer.sizes for layer in identified_layers(model.model)}
        generator = torch.Generator().manual_seed(options.seed)
        identifiers = ClipIdentifiers(options.identifiers, named, options.rank, places, generator)
    # As it will be used: new clip identifiers take the place of those before.
    made = training_copy(model if identifiers is None else unidentified(model))
    if settings.method == GEN_L_VIDEO:
        over_time = LayersOverTime(transformer_blocks(made), torch.Generator().manual_seed(options.seed))
        queries = {name: made.model.get_submodule(name).weight.shape for name in trained_queries(made)}
        trained = Trained.of([], options, queries, identifiers, {"over_time": over_time})
        made = inflate(made, over_time)
    else:
        trained = Trained.of(chosen_layers(model.model, settings.layers), options, identifiers=identifiers)
    loop = TuningLoop(options, length, trained.parameters(), key, state, starts=starts)
    loop.on_gradients = trained.check_gradients
    found = loop.done
    conds = {"positive": positive, "empty": empty, **({"keep": keep} if options.keep and keep else {})}
    windows = WindowOptions(settings.options.window, 0)
    dtype = _dtype(made, settings.precision)
    progress = TuningProgress(options.steps, loop.done, model, settings.preview_every)

    def steps(loss: Callable[[Draw], torch.Tensor], guess: Callable[[], torch.Tensor]) -> None:
        loop.run(loss, lambda losses: progress.on_step(losses, guess))

    try:
        made.model.requires_grad_(False).train()
        if dtype != torch.float32 or made.model.get_dtype() != torch.float32:
            made.set_model_compute_dtype(dtype)
        trained.wrap(made)
        with ExitStack() as stack:
            stack.enter_context(in_training())
            if settings.checkpointing:
                stack.enter_context(checkpointed(made, blocks_of(made.model)))
            stack.enter_context(trained.injected(made))
            sampler = TrainingSampler(trained, options, windows, shapes, dtype, steps)
            train(made, conds, samples, noise_mask, sampler, options.seed)
    finally:
        made.model.eval()
        made.detach()
        del made
        gc.collect()
        comfy.model_management.soft_empty_cache()
    if identifiers is not None:
        identifiers.requires_grad_(False)
    return trained, loop, found


def _dtype(model: Any, precision: str) -> torch.dtype:
    if precision not in PRECISIONS:
        raise ValueError(f"Unknown precision {precision!r}. Known: {', '.join(PRECISIONS)}.")
    if precision == "auto":
        device = model.load_device
        quick = device.type != "cpu" and comfy.model_management.should_use_bf16(device)
        return torch.bfloat16 if quick else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _key(
    model: Any,
    positive: list,
    empty: list,
    keep: list | None,
    samples: Any,
    noise_mask: Any,
    settings: TuningSettings,
    options: TuningOptions,
) -> str:
    """A hash of all that the weights depend on, but the number of steps."""
    described = [
        "1", model_hash(model), _texts_hash(positive), _texts_hash(empty),
        _texts_hash(keep if options.keep and keep else []),
        digest_of(*streams_of(samples)), "" if noise_mask is None else digest_of(*streams_of(noise_mask)),
        settings.layers, settings.method, str(_dtype(model, settings.precision)),
        json.dumps({name: value for name, value in asdict(options).items() if name != "steps"}),
    ]  # fmt: skip
    return hashlib.sha256(repr(described).encode()).hexdigest()


def _texts_hash(conditioning: list) -> str:
    """A hash of a CONDITIONING. A prompt's place in its schedule is said by what it was made of: the schedule keeps
    more with it once it was used.
    """
    return value_hash([
        [text, {key: repr(value) if key == TAG else value for key, value in extras.items()}]
        for text, extras in conditioning
    ])  # fmt: skip


def _report(loop: TuningLoop, found: int, name: str, clips: int, options: TuningOptions) -> str:
    some = max(1, min(20, len(loop.losses) // 4))
    first, last = sum(loop.losses[:some]) / some, sum(loop.losses[-some:]) / some
    resumed = f", {found} of them found from before" if found else ""
    if loop.longer:
        resumed += f" (what an earlier run had after {loop.longer} steps is left for it to go on from)"
    return (
        f"{options.steps} steps{resumed}, on {clips} windows of {options.window} latent frames. "
        f"Loss {first:.4f} to {last:.4f}. Written to loras/{name}."
    )
