"""I2VGen-XL (arXiv 2311.04145) as diffusers' ``I2VGenXLUNet``: its weights, its image, and its noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler, I2VGenXLUNet

from ...streamingt2v.part_report import problems_of


class I2VGenXL(torch.nn.Module):
    """The network without its wrapping of the answer, which makes the image of a clip by itself."""

    def __init__(self, unet: I2VGenXLUNet) -> None:
        super().__init__()
        self.unet = unet
        self.width = unet.config.cross_attention_dim  #: of texts, and of what CLIP says of an image

    def forward(
        self,
        video: torch.Tensor,
        levels: torch.Tensor,
        text: torch.Tensor,
        fps: torch.Tensor,
        image_latents: torch.Tensor,
        image_embeddings: torch.Tensor,
    ) -> torch.Tensor:
        """What the network says of noised latents, in their shape.

        Args:
            video: ``b 4 t h w``.
            levels: ``b``, 0 ... 999.
            text: ``b tokens width``.
            fps: ``b``, frames per second.
            image_latents: ``b 4 h w``, of the image that each clip begins with.
            image_embeddings: ``b width``, what CLIP says of it; zeros for the unconditional half.
        """
        images = image_and_places(image_latents, video.shape[2])
        return self.unet(
            video, levels, fps=fps, image_latents=images, image_embeddings=image_embeddings,
            encoder_hidden_states=text, return_dict=False,
        )[0]  # fmt: skip


def image_and_places(image: torch.Tensor, num_frames: int) -> torch.Tensor:
    """The image's latent ``b c h w`` as the first of ``b c t h w``; every other frame is filled with its place in 0..1.

    The last frame of the clip is at 1.
    """
    places = torch.linspace(0, 1, num_frames, dtype=torch.float64)[1:].to(image)
    rest = places[:, None, None].expand(*image.shape[:2], -1, *image.shape[2:])
    return torch.cat([image[:, :, None], rest], dim=2)


def make_i2vgen_xl(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> I2VGenXL:
    """The network of a folder's ``unet``, in eval mode, with the given tensors as its weights.

    Args:
        config: of ``config.json``.
        weights: by diffusers' names.

    Raises:
        ValueError: weights are missing, unknown, or of another shape; the message names them.
    """
    with torch.device("meta"):
        unet = I2VGenXLUNet.from_config(dict(config))
    given, wanted = ({name: tuple(each.shape) for name, each in some.items()} for some in (weights, unet.state_dict()))
    if problems := problems_of("the unet", given, wanted):
        raise ValueError(f"Weights and config.json do not fit each other: {'; '.join(problems)}. Download both again.")
    unet.load_state_dict(dict(weights), assign=True)
    return I2VGenXL(unet).eval().requires_grad_(False)


def noise_ratios(config: Mapping[str, Any]) -> torch.Tensor:
    """Noise over signal at each level of a folder's ``scheduler_config.json``, rising, float32 ``[levels]``.

    Where the last level is noise alone (published: cosine betas, made to end so), its ratio is drawn on from the two
    before it, for no solver begins at infinity.
    """
    signal = DDIMScheduler.from_config(dict(config)).alphas_cumprod.double()
    ratios = ((1 - signal) / signal).sqrt()
    if not ratios[-1].isfinite():
        ratios[-1] = ratios[-2] ** 2 / ratios[-3]
    return ratios.float()
