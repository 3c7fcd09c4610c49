"""The frozen networks that StreamingT2V stands on, read from a text-to-video-ms-1.7b folder."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from glv_core.hosts.diffusers.streamingt2v_parts import unet_config
from glv_core.streamingt2v import Sizes, clip_pixels
from glv_core.streamingt2v.cam import NORM_GROUPS

PREDICTIONS = ("epsilon", "v_prediction")
ENCODED_AT_ONCE = 8  # frames through the VAE
_Loaded = TypeVar("_Loaded")


@dataclass
class Frozen:
    """What is used as it is. `image_encoder` sees anchors, and is there for `apm` alone."""

    unet: UNet3DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDPMScheduler
    image_encoder: CLIPVisionModelWithProjection | None = None

    @property
    def text_tokens(self) -> int:
        """Tokens that every prompt is padded or cut to."""
        return self.text_encoder.config.max_position_embeddings

    def around(self) -> list[nn.Module]:
        """The networks around the UNet."""
        found = [self.vae, self.text_encoder, self.image_encoder]
        return [module for module in found if module is not None]

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of prompts [b 77 c]."""
        ids = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.text_tokens, truncation=True, return_tensors="pt"
        ).input_ids
        return self.text_encoder(ids.to(self.text_encoder.device)).last_hidden_state

    @torch.no_grad()
    def latents(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Scaled latents, drawn from what the VAE says, of frames in -1..1 [b t 3 h w] -> [b 4 t h/8 w/8]."""
        parts = [
            self.vae.encode(part).latent_dist.sample(generator) for part in frames.flatten(0, 1).split(ENCODED_AT_ONCE)
        ]
        scaled = torch.cat(parts) * self.vae.config.scaling_factor
        return scaled.unflatten(0, frames.shape[:2]).transpose(1, 2)

    @torch.no_grad()
    def seen(self, anchors: Tensor) -> Tensor | None:
        """What the image encoder says of anchors in -1..1 [b n 3 h w] -> [b n c]; None without one."""
        if self.image_encoder is None:
            return None
        pixels = clip_pixels(anchors.flatten(0, 1), self.image_encoder.config.image_size)
        return self.image_encoder(pixels).image_embeds.unflatten(0, anchors.shape[:2])


def load_frozen(folder: Path, image_encoder: Path | None = None) -> Frozen:
    """The networks of a diffusers folder, in fp32 on the CPU, and the image encoder of another; nothing is downloaded.

    Raises:
        ValueError: a part is missing, or StreamingT2V cannot stand on it.
    """
    frozen = Frozen(
        _load(UNet3DConditionModel, folder / "unet", "config.json"),
        _load(AutoencoderKL, folder / "vae", "config.json"),
        _load(CLIPTextModel, folder / "text_encoder", "config.json"),
        _load(CLIPTokenizer, folder / "tokenizer", "vocab.json"),
        _load(DDPMScheduler, folder / "scheduler", "scheduler_config.json"),
        None if image_encoder is None else _load(CLIPVisionModelWithProjection, image_encoder, "config.json"),
    )
    for module in (frozen.unet, *frozen.around()):
        module.float().eval().requires_grad_(False)
    _check(frozen)
    return frozen


def sizes_of(frozen: Frozen) -> Sizes:
    """The sizes of StreamingT2V's networks around a base; what no base says is as published."""
    config = frozen.unet.config
    return Sizes(
        widths=tuple(config.block_out_channels),
        layers=config.layers_per_block,
        text_width=config.cross_attention_dim,
        head_width=config.attention_head_dim,
        latent_channels=config.in_channels,
        text_tokens=frozen.text_tokens,
    )


def _load(kind: type[_Loaded], folder: Path, config: str) -> _Loaded:
    """One part of a folder; in half precision, if the folder has no other weights."""
    if not (folder / config).is_file():
        raise ValueError(
            f"{folder} has no {config}, so there is no {kind.__name__}. Give a folder as text-to-video-ms-1.7b's, "
            "and for apm one of CLIP's image encoder."
        )
    weights = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin")]
    half = bool(weights) and all(".fp16." in path.name for path in weights)
    options: dict[str, Any] = {"variant": "fp16"} if half else {}
    loader: Any = kind
    return loader.from_pretrained(str(folder), local_files_only=True, **options)


def _check(frozen: Frozen) -> None:
    """Raises ValueError where StreamingT2V's networks would not fit a base."""
    sizes, config = sizes_of(frozen), frozen.unet.config
    plain = {name: each.default for name, each in inspect.signature(UNet3DConditionModel.__init__).parameters.items()}
    wanted = {name: value for name, value in plain.items() if name not in ("self", "sample_size")} | unet_config(sizes)
    other = [name for name, value in wanted.items() if _listed(config.get(name)) != _listed(value)]
    if other:
        raise ValueError(
            f"The base's UNet has {', '.join(f'{name} {config.get(name)}' for name in other)}; StreamingT2V needs "
            f"{', '.join(f'{wanted[name]}' for name in other)}. Give one with the layout of text-to-video-ms-1.7b."
        )
    if odd := [width for width in sizes.widths if width % NORM_GROUPS or width % sizes.head_width]:
        raise ValueError(
            f"The base's UNet has levels of {odd} channels; conditional attention needs multiples of {NORM_GROUPS} and "
            f"of {sizes.head_width}, the width of a head."
        )
    factor, wanted_factor = 2 ** (len(frozen.vae.config.block_out_channels) - 1), 2 ** (len(sizes.encoder_widths) - 1)
    if factor != wanted_factor:
        raise ValueError(
            f"The base's VAE makes frames {factor} times smaller; the condition's encoder {wanted_factor}."
        )
    prediction = frozen.scheduler.config.prediction_type
    if prediction not in PREDICTIONS:
        raise ValueError(f"The base predicts {prediction!r}; only {' and '.join(PREDICTIONS)} can be trained.")
    if frozen.image_encoder is not None and frozen.image_encoder.config.projection_dim != sizes.text_width:
        raise ValueError(
            f"The image encoder's embeddings are {frozen.image_encoder.config.projection_dim} wide and the text's "
            f"{sizes.text_width}; they must be equal. Give CLIP ViT-H/14's for text-to-video-ms-1.7b."
        )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
