"""Loading MS-Vid2Vid-XL, which refines StreamingT2V's videos, as ComfyUI's MODEL; and its noise levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_base
import comfy.model_sampling
import torch

from ....streamingt2v.vid2vid_schedule import ALPHAS, GUIDANCE_RESCALE, SIGMAS, guided
from .unet3d import FramesAsBatch, make_patcher, needing_diffusers, network_dtype
from .weight_files import find_weight_file, list_weight_files, read_weight_file

FOLDERS = ("diffusion_models", "checkpoints")


def list_files() -> list[str]:
    """Files of weights in the host's folders."""
    return list_weight_files(FOLDERS)


def load_vid2vid(name: str, as_released: bool = True, rescale: float = GUIDANCE_RESCALE) -> Any:
    """The MODEL of a file.

    Args:
        name: of ``list_files``.
        rescale: how much of the contrast that guidance adds is taken back, 0 ... 1; over all of the video.
        as_released: whether sampling starts as the released code does, a little below the noise that it should have;
            see ``solver_start``.

    Raises:
        ValueError: the file is not there or cannot be read, its weights are others, or diffusers is not installed.
    """
    remedy = "Put non_ema_0035000.pth of damo/Video-to-Video there, then refresh the page."
    path = find_weight_file(name, FOLDERS, "unet_name", remedy)
    model = load_model(path, as_released, rescale)
    model.cached_patcher_init = (load_model, (path, as_released, rescale))
    return model


def load_model(path: Path, as_released: bool, rescale: float, disable_dynamic: bool = False) -> Any:
    """The MODEL of a file; the host calls it where it needs the model once more."""
    with needing_diffusers("MS-Vid2Vid-XL"):
        from ...diffusers.vid2vid import make_vid2vid_unet
    unet = make_vid2vid_unet(read_weight_file(path))
    dtype = network_dtype(sum(each.numel() for each in unet.parameters()))
    # Module's own cast: that of diffusers warns of what it would leave in 32 bits, which is nothing here.
    network = FramesAsBatch(_Sample(torch.nn.Module.to(unet, dtype)), dtype)
    model = make_patcher(network, comfy.model_base.ModelType.V_PREDICTION)
    sampling = _AsReleased() if as_released else _Sampling()
    model.add_object_patch("model_sampling", sampling)
    if rescale:
        model.set_model_sampler_cfg_function(_rescaled(rescale))
    return model


def _rescaled(rescale: float) -> Callable[[dict[str, Any]], torch.Tensor]:
    """Guidance of velocities, whose contrast is partly that of the conditional one, as the host asks for it."""

    def guide(given: dict[str, Any]) -> torch.Tensor:
        ratio = given["sigma"].reshape(-1, *[1] * (given["input"].ndim - 1))
        alpha = 1 / (1 + ratio**2).sqrt()
        shown = given["input"] * alpha

        def velocity(denoised: torch.Tensor) -> torch.Tensor:
            return (alpha * shown - denoised) / (ratio * alpha)

        both = (velocity(given[name])[None] for name in ("cond_denoised", "uncond_denoised"))
        made = guided(*both, given["cond_scale"], rescale)[0]
        return given["input"] - (alpha * shown - ratio * alpha * made)

    return guide


class _Sample(torch.nn.Module):
    """diffusers' UNet without its wrapping of the answer."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, video: torch.Tensor, levels: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.unet(video, levels, text, return_dict=False)[0]


class _Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
    """MS-Vid2Vid-XL's noise levels."""

    def __init__(self) -> None:
        super().__init__()
        ratios = SIGMAS / ALPHAS
        ratios[-1] = ratios[-2] ** 2 / ratios[-3]  # the last is noise alone, which no solver can begin with
        self.set_sigmas(ratios)


class _AsReleased(_Sampling):
    def noise_scaling(
        self, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor, max_denoise: bool = False
    ) -> torch.Tensor:
        exact = super().noise_scaling(sigma, noise, latent_image, max_denoise)
        return exact * (sigma / (1 + sigma**2) ** 0.5)
