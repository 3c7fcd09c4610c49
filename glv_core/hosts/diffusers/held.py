"""Known latent frames at the beginning of a run, in terms of what a diffusers denoiser takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ...streaming import ramp
from .denoisers import Call, UnsupportedDenoiserError


@dataclass(frozen=True)
class Held:
    """Latent frames that are known.

    ``known``: ``1 c t h w``, normalised as the pipeline's latents are. ``blend``: see ``ramp``. ``clean_frames``: the
    model was trained with clean frames among noisy ones (its pipeline says ``expand_timesteps``): it gets them clean,
    with a timestep of 0, and nothing is blended.
    """

    known: torch.Tensor
    blend: float
    clean_frames: bool

    def clean(self, call: Call) -> Call:
        """The call as the denoiser is to see it."""
        if not self.clean_frames:
            return call
        count, length = self.known.shape[2], call.sample.shape[2]
        sample = call.sample.clone()
        sample[:, :, :count] = self.known.to(sample)
        timestep = call.timestep
        if not torch.is_tensor(timestep) or timestep.ndim != 2 or timestep.shape[1] % length:
            raise UnsupportedDenoiserError(
                "Clean frames need a pipeline that gives every latent frame its own timestep (expand_timesteps)."
            )
        timestep = timestep.clone()
        timestep[:, : count * (timestep.shape[1] // length)] = 0
        return replace(call, sample=sample, timestep=timestep)

    def replace(self, output: torch.Tensor, call: Call, scheduler: Any) -> torch.Tensor:
        """The denoiser's output with the prediction of the clean latent replaced in the known latent frames.

        Args:
            output: ``b c t h w``.
            call: as the pipeline made it.
            scheduler: says how the output relates to the clean latent.
        """
        count = self.known.shape[2]
        alpha, sigma = signal_and_noise(scheduler, call.timestep)
        x, out = call.sample[:, :, :count].float(), output[:, :, :count].float()
        known = self.known.to(x)
        kind = prediction_type(scheduler)
        if self.clean_frames:
            wanted = known.expand_as(x)
        else:
            rising = torch.tensor(ramp(count, self.blend)).to(x).view(1, 1, -1, 1, 1)
            wanted = known + rising * (_clean(x, out, alpha, sigma, kind) - known)
        replaced = output.clone()
        replaced[:, :, :count] = _output(x, wanted, alpha, sigma, kind).to(output)
        return replaced


def prediction_type(scheduler: Any) -> str:
    """What a scheduler takes a denoiser's output to be: "flow", "epsilon", "v_prediction" or "sample".

    Raises:
        UnsupportedDenoiserError: something else.
    """
    if "FlowMatch" in type(scheduler).__name__:
        return "flow"
    kind = scheduler.config.get("prediction_type", "epsilon")
    kind = {"flow_prediction": "flow"}.get(kind, kind)
    if kind not in ("flow", "epsilon", "v_prediction", "sample"):
        raise UnsupportedDenoiserError(f"{type(scheduler).__name__} predicts {kind!r}, which is not known here.")
    return kind


def check_scheduler(scheduler: Any) -> None:
    """Check that latents can be held with a scheduler.

    Raises:
        UnsupportedDenoiserError: they cannot.
    """
    if prediction_type(scheduler) != "flow" and not hasattr(scheduler, "alphas_cumprod"):
        raise UnsupportedDenoiserError(
            f"The noise levels of {type(scheduler).__name__} are not known here. Use for example DDIMScheduler."
        )


def signal_and_noise(scheduler: Any, timestep: torch.Tensor | float) -> tuple[float, float]:
    """How much clean latent and noise a latent at this timestep holds: ``x = alpha x0 + sigma noise``."""
    value = float(timestep.flatten()[0]) if torch.is_tensor(timestep) else float(timestep)
    if prediction_type(scheduler) == "flow":
        sigma = value / scheduler.config.num_train_timesteps
        return 1 - sigma, sigma
    signal = float(scheduler.alphas_cumprod[round(value)])
    return signal**0.5, (1 - signal) ** 0.5


def _clean(x: torch.Tensor, out: torch.Tensor, alpha: float, sigma: float, kind: str) -> torch.Tensor:
    if kind == "flow":
        return x - sigma * out
    if kind == "epsilon":
        return (x - sigma * out) / alpha
    return alpha * x - sigma * out if kind == "v_prediction" else out


def _output(x: torch.Tensor, clean: torch.Tensor, alpha: float, sigma: float, kind: str) -> torch.Tensor:
    if kind == "flow":
        return (x - clean) / sigma
    if kind == "epsilon":
        return (x - alpha * clean) / sigma
    return (alpha * x - clean) / sigma if kind == "v_prediction" else clean
