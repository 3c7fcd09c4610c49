"""One-shot tuning (Gen-L-Video, arXiv 2305.18264) of a diffusers pipeline on one video."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ...streaming import chunk_key, weights_digest
from ...tuning import ClipIdentifiers, Draw, Place, Places, Tuned, TuningLoop, TuningOptions, window_starts
from ...tuning.identifiers import NONE
from ...tuning.loop import OnStep
from .denoisers import DenoiserKind, spatial_scale
from .generate import encode_prompts
from .held import check_scheduler, prediction_type, signal_and_noise
from .identified import told
from .schedulers import flow_shift_of, scheduler_digest
from .tuned_layers import ATTENTION, TunedLayers, tuned_denoiser
from .vace import encode_hint, takes_hints


def tune(
    pipeline: Any,
    latents: torch.Tensor,
    prompt: str,
    options: TuningOptions,
    *,
    layers: str = ATTENTION,
    keep_prompts: Sequence[str] = (),
    recompute: bool = False,
    about: Mapping[str, Any] | None = None,
    state: Path | Callable[[str], Path] | None = None,
    on_start: OnStep = lambda losses: None,
    on_step: OnStep = lambda losses: None,
) -> Tuned:
    """Train low-rank weights, and clip identifiers where they are asked for, on the windows of one video.

    The loss of a window is the mean square error of what the denoiser predicts (velocity or noise). A prompt that is
    kept adds the mean square distance from the untuned denoiser's prediction for the same noisy window.

    Args:
        pipeline: a text-to-video pipeline with one denoiser, see ``SUPPORTED``. It is as before when this returns or
            raises.
        latents: of the video, normalised, ``1 c t h w``; see ``encode_frames``.
        prompt: what the video shows.
        options: what is trained, and how.
        layers: one of ``tuned_layers.CHOICES``.
        keep_prompts: the other prompts that ``options.keep`` speaks of.
        recompute: run blocks a second time in place of keeping what they made: less memory, more time.
        about: what the file is to say beside ``prompt``, ``layers``, the options and ``losses``.
        state: file of what a run that was cut off had done; it goes on from there. Or what gives the file of the key
            of all that the result depends on but the number of steps.
        on_start: called once with the losses of the steps that were done before.
        on_step: called after every step with all losses.

    Raises:
        UnsupportedDenoiserError, ValueError: something does not fit, before the first forward pass.
        StateError: ``state`` is damaged.
    """
    module, kind = tuned_denoiser(pipeline)
    check_scheduler(pipeline.scheduler)
    if recompute:
        check_recompute(module)
    places = Places(latents.shape[2], options.window, options.stride)
    window_starts(places.length, places.window, places.stride)
    if bool(options.keep) != bool(keep_prompts):
        raise ValueError(f"keep is {options.keep:g} with {len(keep_prompts)} prompts to keep. Give both, or neither.")
    parts = TunedLayers(module)
    names = parts.chosen(layers)
    windows = _Windows(pipeline, module, kind, latents, [prompt, *keep_prompts], options, parts)
    recipe = {
        "model": weights_digest(module.state_dict().items()),
        "scheduler": scheduler_digest(pipeline.scheduler),
        "options": {name: value for name, value in asdict(options).items() if name != "steps"},
        "layers": layers,
    }
    key = chunk_key(recipe, latents, *windows.texts, windows.empty)
    with ExitStack() as stack:
        generator = torch.Generator().manual_seed(options.seed)
        lora = parts.add_lora(names, options.rank, torch.float32)
        stack.callback(parts.remove_lora)
        stack.enter_context(_aside(pipeline))
        _begin(lora, generator)
        trained = dict(lora)
        identifiers = None
        if options.identifiers != NONE:
            layer_sizes = parts.identified()
            identifiers = ClipIdentifiers(options.identifiers, layer_sizes, options.rank, places, generator)
            identifiers.to(windows.device)
            trained |= {f"identifiers/{name}": weight for name, weight in identifiers.weights.items()}
            stack.enter_context(told(parts, identifiers, lambda: windows.starts))
        if recompute:
            stack.enter_context(_recomputing(module))
        loop = TuningLoop(options, places.length, trained, key, state(key) if callable(state) else state)
        on_start(list(loop.losses))
        loop.run(windows.loss, on_step)
        weights = parts.to_file(lora, options.rank)
    losses = [round(loss, 6) for loss in loop.losses]
    said = {**(about or {}), "prompt": prompt, "layers": layers, **asdict(options), "losses": losses}
    return Tuned(weights, said, None if identifiers is None else identifiers.cpu())


class _Windows:
    """The windows of a video at their noise levels, and what a denoiser loses on them.

    ``texts``: embeddings ``1 l d`` of the prompt and of those that are kept; ``empty``: of no text. ``starts``: what
    the clip identifiers are told now. It stays until the next window, for blocks that run again on the way back.
    """

    def __init__(
        self,
        pipeline: Any,
        module: Any,
        kind: DenoiserKind,
        latents: torch.Tensor,
        prompts: Sequence[str],
        options: TuningOptions,
        parts: TunedLayers,
    ) -> None:
        self.texts, empty = encode_prompts(pipeline, prompts, "")
        assert empty is not None
        self.empty = empty
        self.starts: list[float | None] = [None]
        self.device, self._dtype = next(module.parameters()).device, module.dtype
        self._module, self._kind, self._options, self._parts = module, kind, options, parts
        self._scheduler = pipeline.scheduler
        self._latents = latents.float().cpu()  # of which windows go to the device
        self._hint = None
        if takes_hints(pipeline):
            _, _, length, height, width = latents.shape
            scale = spatial_scale(pipeline)
            self._hint = encode_hint(pipeline, length, height * scale, width * scale).to("cpu", self._dtype)

    def loss(self, draw: Draw) -> torch.Tensor:
        """The loss of a window; see ``tune``."""
        options = self._options
        clean = self._latents[:, :, draw.start : draw.start + options.window].to(self.device)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(draw.seed)).to(clean)
        noisy, wanted, timestep = noised(self._scheduler, clean, noise, draw.share)
        place = Place(draw.start, options.window, self._latents.shape[2])
        start = Places(place.length, options.window, options.stride).start_of(place)
        others = self.texts[1:]
        if others:
            other = others[min(int(draw.choice * len(others)), len(others) - 1)]
            self.starts = [None]
            with torch.no_grad(), self._parts.without_lora():
                before = self._predict(noisy, timestep, other, draw.start)
        self.starts = [start if draw.clip else None]
        text = self.texts[0] if draw.text else self.empty
        loss = functional.mse_loss(self._predict(noisy, timestep, text, draw.start), wanted)
        if others:
            loss = loss + options.keep * functional.mse_loss(self._predict(noisy, timestep, other, draw.start), before)
        return loss

    def _predict(self, noisy: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, start: int) -> torch.Tensor:
        text = text.to(self.device, self._dtype)
        if self._kind.text_per_frame:
            text = text.repeat_interleave(noisy.shape[2], 0)
        more = {}
        if self._hint is not None:
            more["control_hidden_states"] = self._hint[:, :, start : start + noisy.shape[2]].to(self.device)
        arguments = {self._kind.sample: noisy.to(self._dtype), "timestep": timestep, "encoder_hidden_states": text}
        return self._module(**arguments, return_dict=False, **more)[0].float()


def noised(
    scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A latent at a noise level, what a denoiser is to predict of it, and the timestep ``[1]``.

    Args:
        scheduler: the model's own; flow matching with its shift, or one with ``alphas_cumprod``.
        clean, noise: ``b c t h w``.
        share: of the scheduler's range, 0 without noise to 1.
    """
    count, kind = scheduler.config.num_train_timesteps, prediction_type(scheduler)
    if kind == "flow":
        shift = flow_shift_of(scheduler) or 1.0
        timestep = torch.tensor([count * shift * share / (1 + (shift - 1) * share)])
    else:
        timestep = torch.tensor([min(int(share * count), count - 1)])
    alpha, sigma = signal_and_noise(scheduler, timestep)
    wanted = {
        "flow": lambda: noise - clean,
        "epsilon": lambda: noise,
        "v_prediction": lambda: alpha * noise - sigma * clean,
        "sample": lambda: clean,
    }[kind]()
    return alpha * clean + sigma * noise, wanted, timestep.to(clean.device)


@contextmanager
def _aside(pipeline: Any) -> Iterator[None]:
    """While open, what has done its part is in the computer's memory: the text encoder and the VAE."""
    parts = [part for name in ("text_encoder", "vae") if (part := getattr(pipeline, name, None)) is not None]
    devices = [part.device for part in parts]
    try:
        for part in parts:
            part.to("cpu")
        yield
    finally:
        for part, device in zip(parts, devices, strict=True):
            part.to(device)


def _begin(lora: Mapping[str, nn.Parameter], generator: torch.Generator) -> None:
    """The first weights: those on the way down as a linear layer has them, those on the way up zero."""
    with torch.no_grad():
        for down, up in zip(*[iter(lora.values())] * 2, strict=True):
            down.copy_((2 * torch.rand(down.shape, generator=generator) - 1) / math.sqrt(down.shape[1]))
            up.zero_()


def check_recompute(module: Any) -> None:
    """Check that a denoiser can run its blocks a second time.

    Raises:
        ValueError: it cannot.
    """
    if not getattr(module, "_supports_gradient_checkpointing", False):
        raise ValueError(f"{type(module).__name__} cannot run its blocks a second time. Leave it out.")


@contextmanager
def _recomputing(module: Any) -> Iterator[None]:
    """While open, blocks run a second time on the way back, in place of keeping what they made."""
    if module.is_gradient_checkpointing:
        yield
        return
    module.enable_gradient_checkpointing()
    try:
        yield
    finally:
        module.disable_gradient_checkpointing()
