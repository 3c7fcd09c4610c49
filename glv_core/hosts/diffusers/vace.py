"""VACE (Jiang et al., 2025, arXiv 2503.07598) on Wan: its branch, and the hints that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file

from ...editing.mask_cells import mask_cells, nearest_frames
from ...video_io import rechunk
from .encode import WanEncoder

VACE = "WanVACETransformer3DModel"
_WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class VaceHint:
    """What a VACE branch reads beside the latents.

    ``latents``: ``1 c t h w`` in float32: the normalised latents of what stays, those of what is to be changed, and a
    mask of 8 x 8 pixels for every cell, made by ``encode_hint``. ``strength``: what the branch adds is multiplied by
    it; 0 adds nothing.
    """

    latents: torch.Tensor
    strength: float = 1.0


def takes_hints(pipeline: Any) -> bool:
    """Whether a pipeline is one of VACE."""
    return type(pipeline).__name__ == "WanVACEPipeline"


def with_branch(pipeline: Any, folder: Path) -> Any:
    """A WanVACEPipeline of a WanPipeline's parts and a branch; the two transformers share their weights.

    Args:
        pipeline: a WanPipeline with one transformer.
        folder: holds the ``config.json`` of the transformer with its branch, and the weights of the branch alone
            (``vace_blocks.*`` and ``vace_patch_embedding.*``) in a safetensors file.

    Raises:
        OSError: a file is missing. ValueError: the branch does not fit the transformer.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / _WEIGHTS)
    cls = diffusers.WanVACETransformer3DModel
    model = cls.from_config(config)
    base = pipeline.transformer
    stranger = next((name for name in weights if not name.startswith("vace_")), None)
    if stranger is not None:
        raise ValueError(f"{folder / _WEIGHTS} holds {stranger}, which is no part of a VACE branch. Use another file.")
    branch = {
        name: value.to(torch.float32 if any(part in name for part in cls._keep_in_fp32_modules) else base.dtype)
        for name, value in weights.items()
    }
    try:
        model.load_state_dict({**base.state_dict(), **branch}, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder} does not fit the transformer beside it: {reason}") from error
    parts = {name: getattr(pipeline, name) for name in ("tokenizer", "text_encoder", "vae", "scheduler")}
    return diffusers.WanVACEPipeline(**parts, transformer=model.eval().requires_grad_(False))


@torch.no_grad()
def encode_hint(
    pipeline: Any,
    num_latent_frames: int,
    height: int,
    width: int,
    *,
    outside: Iterable[torch.Tensor] | None = None,
    inside: Iterable[torch.Tensor] | None = None,
    masks: Iterable[torch.Tensor] | None = None,
    on_frames: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """The latents ``1 c t h w`` of a hint, as WanVACEPipeline makes them of a whole video and mask.

    Frames are encoded four at a time, so that memory grows with the latents alone. A video that ends before the last
    latent frame is full holds its last frame.

    Args:
        pipeline: of VACE.
        num_latent_frames: of the video.
        height, width: of all frames and masks, in pixels.
        outside: pieces ``t h w 3`` uint8 of what stays where the mask is 0. None: mid grey.
        inside: pieces ``t h w 3`` uint8 of what is shown where the mask is 1: a control, or what is to be changed.
            None: mid grey, which says nothing.
        masks: pieces ``t h w`` in 0..1 or bool; frames are cut in two at one half. None: 1 everywhere.
        on_frames: called with the number of frames that are done, after every four; an exception ends the run.

    Raises:
        ValueError: frames or masks of another size, none at all, or a branch that reads hints of another form.
    """
    vae, scale = pipeline.vae, pipeline.vae_scale_factor_spatial
    module = pipeline.transformer if pipeline.transformer is not None else pipeline.transformer_2
    channels, wanted = 2 * vae.config.z_dim + scale**2, module.config.vace_in_channels
    if channels != wanted:
        raise ValueError(f"The VACE branch reads {wanted} channels, and this VAE makes {channels}: {VACE} is another.")
    ratio = pipeline.vae_scale_factor_temporal
    count = ratio * (num_latent_frames - 1) + 1
    seen = set(nearest_frames(count, num_latent_frames))
    size = (height, width)
    kept, shown, masked = (
        None if pieces is None else _whole(pieces, count, ratio, size, name)
        for pieces, name in ((outside, "outside"), (inside, "inside"), (masks, "masks"))
    )
    grey = _Grey(vae, size)
    encoders = None if kept is None else WanEncoder(vae), None if shown is None else WanEncoder(vae)
    mean, std = (
        torch.tensor(numbers, device=vae.device, dtype=torch.float32).view(1, -1, 1, 1, 1)
        for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    hint = torch.empty(1, channels, num_latent_frames, height // scale, width // scale)
    done = cells = 0
    for frame in range(num_latent_frames):
        length = ratio if frame else 1
        mask = torch.ones(length, *size) if masked is None else next(masked).float().clamp(0, 1)
        cut = torch.where(mask > 0.5, 1.0, 0.0).to(vae.device, vae.dtype)[:, None]
        neutral = None
        for part, (pieces, encoder, share) in enumerate(((kept, encoders[0], 1 - cut), (shown, encoders[1], cut))):
            if pieces is None or encoder is None:
                neutral = grey.next(length) if neutral is None else neutral
                latent = neutral
            else:
                latent = encoder.next(_pixels(next(pieces), vae) * share)
            normalised = ((latent.float() - mean) * (1.0 / std)).to(vae.dtype)
            at = part * vae.config.z_dim
            hint[:, at : at + vae.config.z_dim, frame] = normalised[:, :, 0].float().cpu()
        for number, each in enumerate(mask, done):
            if number in seen:
                hint[0, 2 * vae.config.z_dim :, cells] = mask_cells(each[None], scale)[:, 0]
                cells += 1
        done += length
        if on_frames is not None:
            on_frames(done)
    vae.clear_cache()
    return hint


@contextmanager
def hinted(pipeline: Any, hint: torch.Tensor) -> Iterator[None]:
    """While open, a WanVACEPipeline takes ``hint`` (``1 c t h w``) in place of what it would make of a whole video."""
    split = 2 * pipeline.vae.config.z_dim
    latents = hint.to(pipeline._execution_device)
    stand_ins: dict[str, Callable] = {
        "preprocess_conditions": lambda *_, **__: (None, None, [[]]),
        "prepare_video_latents": lambda *_, **__: latents[:, :split],
        "prepare_masks": lambda *_, **__: latents[:, split:],
    }
    try:
        for name, stand_in in stand_ins.items():
            setattr(pipeline, name, stand_in)
        yield
    finally:
        for name in stand_ins:
            vars(pipeline).pop(name, None)


class _Grey:
    """The latents of a video of mid grey.

    As soon as the encoder's memory no longer changes, nor do they, and nothing more is computed.
    """

    def __init__(self, vae: Any, size: tuple[int, int]) -> None:
        self._vae, self._size = vae, size
        self._encoder = WanEncoder(vae)
        self._steady: torch.Tensor | None = None

    def next(self, length: int) -> torch.Tensor:
        """See ``WanEncoder.next``; of ``length`` images."""
        if self._steady is not None:
            return self._steady
        before = self._encoder.memory
        pixels = torch.zeros(length, 3, *self._size, device=self._vae.device, dtype=self._vae.dtype)
        latent = self._encoder.next(pixels)
        if all(_same(a, b) for a, b in zip(before, self._encoder.memory, strict=True)):
            self._steady = latent
        return latent


def _same(a: Any, b: Any) -> bool:
    if torch.is_tensor(a) and torch.is_tensor(b):
        return a.shape == b.shape and torch.equal(a, b)
    return not torch.is_tensor(a) and not torch.is_tensor(b) and a == b


def _whole(
    pieces: Iterable[torch.Tensor], count: int, ratio: int, size: tuple[int, int], name: str
) -> Iterator[torch.Tensor]:
    """``count`` frames in pieces of 1 and then ``ratio``, the last frame held."""

    def frames() -> Iterator[torch.Tensor]:
        left, last = count, None
        for piece in pieces:
            if tuple(piece.shape[1:3]) != size:
                raise ValueError(f"{name} has frames of {tuple(piece.shape[1:3])}; expected {size}, height and width.")
            if left and len(piece):
                yield piece[:left]
                left, last = max(0, left - len(piece)), piece[-1:]
            if not left:
                return
        if last is None:
            raise ValueError(f"{name} has no frames.")
        while left:
            yield last
            left -= 1

    return rechunk(frames(), 1, ratio, keep_rest=False)


def _pixels(piece: torch.Tensor, vae: Any) -> torch.Tensor:
    """Images ``t h w 3`` uint8 as ``t 3 h w`` in -1..1, where and as the VAE is, with the pipelines' own rounding."""
    return (piece.movedim(-1, 1).float() / 255 * 2.0 - 1.0).to(vae.device, vae.dtype)
