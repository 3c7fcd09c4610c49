"""Putting co-denoising on a ComfyUI model."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import torch

from ....co_denoise import Stage
from ....timeline import Place
from ..families import family_of, time_dim_of
from .easy_cache import without_easy_cache
from .frame_text import check_attention
from .fresh_noise import with_fresh_noise
from .handler import CoDenoiseHandler
from .options import NoiseOptions, WindowOptions
from .run import OnWindows
from .shared_conditions import Mover, shared_conditions

log = logging.getLogger(__name__)
_KEY = "co_denoise"
#: Under these keys the host's own context windows wrap sampling; they expect the host's own handler.
_HOSTS_WINDOWS = ("ContextWindows_prepare_sampling", "ContextWindows_sampler_sample")


def patch_model(
    model: Any,
    options: WindowOptions,
    on_windows: OnWindows | None = None,
    place: Place | None = None,
    stage: Stage | None = None,
    noise: NoiseOptions | None = None,
    fresh: NoiseOptions | None = None,
) -> Any:
    """A clone of a ComfyUI MODEL that denoises long latents by overlapping windows.

    Args:
        model: the MODEL; it is not changed. Context windows that it already has, the host's or ours, are replaced, with
            a warning. The host's EasyCache becomes the step cache, unless the options have one.
        options: window, overlap, schedule, merge.
        on_windows: called as ``on_windows(step, windows done, windows of the step)`` after each forward pass.
        place: where the latents to come lie in a longer video, whose prompts they follow.
        stage: which steps of a whole noise schedule the sampling will be; None finds it from the noise levels.
        noise: the kind of noise to sample from instead of what the sampler was given, where that is any.
        fresh: what noise the first steps add, and how many they are.

    Raises:
        ValueError: the model has no frames, or the options do not fit it.
    """
    time_dim_of(model.model.latent_format)  # raises where there are no frames
    each = options.settings(family_of(model.model).compression).each(stage)
    if any(settings.prompt_blending == "attention" for settings in each):
        check_attention(model.model)
    options.tiling(model.model.latent_format.spacial_downscale_ratio)  # raises where the tiles do not fit it
    patched = model.clone()
    existing = patched.model_options.get("context_handler")
    if existing is not None:
        log.warning("Co-denoising replaces the context handler %s that the model had.", type(existing).__name__)
    easy = without_easy_cache(patched)
    if easy is not None and not options.step_cache.threshold:
        options = replace(options, step_cache=easy)
    patched.model_options["context_handler"] = CoDenoiseHandler(options, on_windows, place, stage, noise, fresh)
    wrappers = comfy.patcher_extension.WrappersMP
    for kind, wrapper in (
        (wrappers.OUTER_SAMPLE, _outer_sample),
        (wrappers.PREPARE_SAMPLING, _prepare_sampling),
        (wrappers.SAMPLER_SAMPLE, _sampler_sample),
    ):
        for key in (_KEY, *_HOSTS_WINDOWS):
            patched.remove_wrappers_with_key(kind, key)
        patched.add_wrapper_with_key(kind, _KEY, wrapper)
    return patched


def _outer_sample(executor: Any, noise: Any, latent_image: Any, sampler: Any, *args: Any, **kwargs: Any) -> Any:
    guider = executor.class_obj
    handler = guider.model_options.get("context_handler")
    if not isinstance(handler, CoDenoiseHandler):
        return executor(noise, latent_image, sampler, *args, **kwargs)
    # (sigmas, denoise_mask, callback, disable_pbar, seed, latent_shapes)
    seed = args[4] if len(args) > 4 else kwargs.get("seed")
    shapes = args[5] if len(args) > 5 else kwargs.get("latent_shapes")
    handler.begin(guider.model_patcher.model, guider.conds, noise.shape, seed or 0, shapes)
    noise = handler.shaped_noise(noise, seed or 0)
    if handler.fresh is not None and handler.fresh.fresh_until > 0:
        sampler = with_fresh_noise(sampler, handler.run_of(guider.model_patcher.model, noise.shape), handler.fresh)
    try:
        with shared_conditions(guider.model_patcher.model, noise.numel()):
            return executor(noise, latent_image, sampler, *args, **kwargs)
    finally:
        handler.end()


def _prepare_sampling(executor: Any, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
    """Tell the host's memory estimate the shape of a real call, a window or tile, so that it loads as much as fits.

    Of phases with windows of several lengths, the longest.
    """
    handler = (kwargs.get("model_options") or {}).get("context_handler")
    if isinstance(handler, CoDenoiseHandler):
        run = handler.run_of(model.model, noise_shape)
        run.decide_lead([entry for entries in conds.values() for entry in entries or ()])
        noise_shape = run.latent.packed_shape_of(run.largest_view)
    return executor(model, noise_shape, conds, *args, **kwargs)


def _sampler_sample(
    executor: Any,
    guider: Any,
    sigmas: torch.Tensor,
    extra_args: dict,
    callback: Any,
    noise: torch.Tensor,
    latent_image: torch.Tensor | None = None,
    denoise_mask: torch.Tensor | None = None,
    disable_pbar: bool = False,
) -> torch.Tensor:
    """With ``offload_latent``, the sampler's own arithmetic and all that runs along the video stay off the device."""
    handler = extra_args["model_options"].get("context_handler")
    if not isinstance(handler, CoDenoiseHandler) or not handler.options.offload_latent:
        return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
    run = handler.run_of(guider.model_patcher.model, noise.shape)
    run.check(list(guider.conds.values()), extra_args["model_options"])
    shortest = min(run.each, key=lambda settings: settings.window)
    view = run.view(shortest.windows(run.length, 0)[0])
    move = Mover()
    guider.conds = {
        name: [run.conditions.offloaded(entry, view, move) for entry in entries]
        for name, entries in guider.conds.items()
    }
    del move  # it holds on to what was on the device
    for tensor in (noise, latent_image, denoise_mask):
        # The callers hold on to these tensors for the whole run, so their storage is moved and not only our names.
        # Where the host keeps latents on the device anyway they may be the user's own.
        if tensor is not None and comfy.model_management.intermediate_device().type == "cpu":
            tensor.data = tensor.cpu()
    noise, latent_image, denoise_mask = (
        None if tensor is None else tensor.cpu() for tensor in (noise, latent_image, denoise_mask)
    )
    if callback is not None and run.time_dim == 0:
        show = callback

        def callback(step: int, x0: torch.Tensor, x: torch.Tensor, total: int) -> None:
            # Preview decoders of image models sit on the device and do not move what they get.
            show(step, x0.to(guider.model_patcher.load_device), x, total)

    return executor(guider, sigmas.cpu(), extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
