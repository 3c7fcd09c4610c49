"""Loading StreamingSVD as ComfyUI's MODEL, CLIP_VISION and VAE.

The host's own Stable Video Diffusion, whose skip connections and middle are replaced on their way up by its own
patches; the copy of its way down, which sees the frames before, is another network of that class, without its way up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import comfy.clip_vision
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.model_base
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch

from ....streamingt2v.cam import ConditionEncoder, CrossAttentionMerger
from ....streamingt2v.streaming_svd import SVDCheckpoint, check_names, load_svd_checkpoint, wrong_weights
from ..families.streamingt2v import CONDITION, FRAMES_BEFORE
from .frames_before import FramesBefore
from .weight_files import find_weight_file, list_weight_files

FOLDERS = ("checkpoints",)
UNetModel = comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel


class Loaded(NamedTuple):
    """What a file gives; None for CLIP_VISION and VAE that it lacks."""

    model: Any
    clip_vision: Any
    vae: Any


def list_files() -> list[str]:
    """Files of weights in the host's folder."""
    return list_weight_files(FOLDERS)


def load_streaming_svd(name: str) -> Loaded:
    """MODEL, CLIP_VISION and VAE.

    Args:
        name: of ``list_files``.

    Raises:
        ValueError: the file is not there or cannot be read, or holds other weights; the message says which, part by
            part.
    """
    remedy = "Put model.safetensors of PAIR/StreamingSVD there, then refresh the page."
    path = find_weight_file(name, FOLDERS, "checkpoint", remedy)
    parts = load_svd_checkpoint(path)
    vae = _vae(parts.vae)
    model = _make_model(parts)
    model.cached_patcher_init = (load_model, (path,))
    return Loaded(model, _clip_vision(parts.image_encoder), vae)


def load_model(path: Path, disable_dynamic: bool = False) -> Any:
    """The MODEL alone; the host calls it where it needs it once more."""
    return _make_model(load_svd_checkpoint(path))


class StreamingSVDUNet(UNetModel):
    """The host's network for Stable Video Diffusion, which goes on from some frames; without them it is the host's.

    What is added has the names of the file: ``controlnet``, ``cross_attention_merger_input_blocks`` and
    ``cross_attention_merger_mid_block``.

    Args:
        skips: channels of each skip connection.
        encoder_widths: of the ``ConditionEncoder``.
        config: of the host's class.
    """

    def __init__(self, skips: tuple[int, ...], encoder_widths: tuple[int, ...], **config: Any) -> None:
        super().__init__(**config)
        layers, device, dtype = config["operations"], config["device"], config["dtype"]
        made = {"layers": layers, "device": device, "dtype": dtype}
        with torch.device("meta"):  # no memory for its way up
            copy = UNetModel(**{**config, "device": None})
        copy.output_blocks, copy.out = torch.nn.ModuleList(), torch.nn.Identity()
        self.controlnet = copy.to_empty(device=device or "cpu")
        self.controlnet.controlnet_cond_embedding = ConditionEncoder(skips[0], encoder_widths, True, **made)
        self.cross_attention_merger_input_blocks = torch.nn.ModuleList(
            _under_its_name(CrossAttentionMerger(width, **made)) for width in skips
        )
        self.cross_attention_merger_mid_block = _under_its_name(CrossAttentionMerger(skips[-1], **made))

    def encode_condition(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features ``b k c h w`` of the frames before, ``b k 3 (8 h) (8 w)`` in ``[-1, 1]``."""
        return self.controlnet.controlnet_cond_embedding(pixels)

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor | None = None,
        context: torch.Tensor | None = None,
        y: torch.Tensor | None = None,
        control: Any = None,
        transformer_options: Mapping[str, Any] | None = None,
        condition: torch.Tensor | None = None,
        **more: Any,
    ) -> torch.Tensor:
        """As the host's.

        Args:
            x: ``(b f) 8 h w``; the first ``k`` frames of each clip are those of ``condition`` anew.
            condition: of ``encode_condition``, ``1 k c h w``, for all clips; None: there are no frames before.
            timesteps, context, y, control, transformer_options, more: as of the host's class.

        Raises:
            ValueError: ``condition`` is of another size than the features of ``x``, or has more frames.
        """
        options: dict[str, Any] = dict(transformer_options or {})
        if condition is not None:
            frames = more["num_video_frames"]
            self._check(x, condition, frames)
            seen, middle = self._look_back(x, timesteps, context, y, options, condition, frames)
            options = _with_first(options, "output_block_patch", self._merging(seen, middle, frames))
        return super().forward(x, timesteps, context, y, control, options, **more)

    def _check(self, x: torch.Tensor, condition: torch.Tensor, frames: int) -> None:
        wanted, given = [self.model_channels, *x.shape[2:]], list(condition.shape[2:])
        if given != wanted or condition.shape[1] > frames:
            raise ValueError(
                f"There are {condition.shape[1]} frames before with features of {given}; a chunk of {frames} frames "
                f"takes no more than that, of {wanted}. Give frames of 8 times the latents' sides, and an overlap "
                "below chunk."
            )

    def _look_back(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor | None,
        context: torch.Tensor | None,
        y: torch.Tensor | None,
        options: Mapping[str, Any],
        condition: torch.Tensor,
        frames: int,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What the copy gives at each skip connection and at its middle, ``b k c h w``, of the first ``k`` frames."""
        clips, count = x.shape[0] // frames, condition.shape[1]

        def first(rows: torch.Tensor | None) -> torch.Tensor | None:
            return None if rows is None else rows.unflatten(0, (clips, frames))[:, :count].flatten(0, 1)

        added = condition.to(x).expand(clips, -1, -1, -1, -1).flatten(0, 1)
        seen: list[torch.Tensor] = []

        def keep(h: torch.Tensor, current: Mapping[str, Any]) -> torch.Tensor:
            if not seen:
                h = h + added
            seen.append(h)
            return h

        # What users patch is meant for the model that they see.
        plain = {name: each for name, each in options.items() if name not in ("patches_replace", "wrappers")}
        middle = self.controlnet(
            first(x), first(timesteps), context=first(context), y=first(y), num_video_frames=count,
            transformer_options={**plain, "patches": {"input_block_patch": [keep]}},
        )  # fmt: skip
        skips = [each.unflatten(0, (clips, count)) for each in seen]
        return skips, middle.unflatten(0, (clips, count))

    def _merging(self, seen: list[torch.Tensor], middle: torch.Tensor, frames: int) -> Any:
        """The host's patch before each block on the way up."""

        def merge(h: torch.Tensor, skip: torch.Tensor, current: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
            number = current["block"][1]
            if number == 0:
                h = merged(self.cross_attention_merger_mid_block, h, middle)
            at = len(seen) - 1 - number
            return h, merged(self.cross_attention_merger_input_blocks[at], skip, seen[at])

        def merged(block: Any, hidden: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
            clips = hidden.unflatten(0, (-1, frames))
            return block.temporal_transformer(clips, found).flatten(0, 1)

        return merge


class StreamingSVDModel(comfy.model_base.SVD_img2vid):
    """Stable Video Diffusion that goes on from frames."""

    def __init__(self, model_config: Any, device: Any = None) -> None:
        # The host's class for this model does not take a network; the one that it stands on does.
        comfy.model_base.BaseModel.__init__(
            self, model_config, comfy.model_base.ModelType.V_PREDICTION_EDM, device=device, unet_model=StreamingSVDUNet
        )
        self.embedder = comfy.model_base.Timestep(256)
        self._before = FramesBefore(self.diffusion_model.encode_condition)

    def extra_conds(self, **given: Any) -> dict[str, Any]:
        """What the network is told, of a CONDITIONING's values."""
        conds = super().extra_conds(**given)
        if (frames := given.get(FRAMES_BEFORE)) is not None:
            conds[CONDITION] = self._before.cond(frames, given["device"], self.manual_cast_dtype or self.get_dtype())
        return conds


def _under_its_name(merger: CrossAttentionMerger) -> torch.nn.Module:
    return torch.nn.ModuleDict({"temporal_transformer": merger})


def _with_first(options: dict[str, Any], place: str, patch: Any) -> dict[str, Any]:
    """Options with a patch before those of the user; the given ones are not changed."""
    patches = options.get("patches", {})
    return {**options, "patches": {**patches, place: [patch, *patches.get(place, ())]}}


def _make_model(parts: SVDCheckpoint) -> Any:
    management = comfy.model_management
    device, offload = management.get_torch_device(), management.unet_offload_device()
    weights = {
        **parts.base,
        **{f"controlnet.{name}": each for name, each in parts.branch.items()},
        **{f"controlnet.controlnet_cond_embedding.{name}": each for name, each in parts.encoder.items()},
        **{_merger_name(name): each for name, each in parts.mergers.items()},
    }
    config = _config(parts)
    types = config.supported_inference_dtypes
    dtype = management.unet_dtype(device, sum(each.numel() for each in weights.values()), types)
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, types))
    model = StreamingSVDModel(config, device=offload)
    model.diffusion_model.load_state_dict(weights)
    return comfy.model_patcher.ModelPatcher(model, device, offload)


def _config(parts: SVDCheckpoint) -> Any:
    """What the host knows of the model, of the sizes that its weights say.

    Raises:
        ValueError: weights of the UNet are missing, unknown or of another shape.
    """
    try:
        unet = comfy.model_detection.detect_unet_config(parts.base, "")
    except KeyError as error:
        raise wrong_weights([f"Stable Video Diffusion's UNet lacks {error.args[0]}"]) from error
    config = comfy.supported_models.SVD_img2vid(unet)
    with torch.device("meta"):
        expected = UNetModel(**{**config.unet_config, "dtype": torch.float32}).state_dict()
    check_names("base", parts.base, {name: tuple(each.shape) for name, each in expected.items()})
    config.unet_config.update(skips=parts.skips, encoder_widths=parts.encoder_widths)
    return config


def _merger_name(name: str) -> str:
    """The name in the network of a merger's weight, ``input_blocks.3.norm.bias`` or ``mid_block.norm.bias``."""
    words = name.split(".")
    words.insert(1 if words[0] == "mid_block" else 2, "temporal_transformer")
    return "cross_attention_merger_" + ".".join(words)


def _vae(weights: Mapping[str, torch.Tensor]) -> Any:
    """Stable Video Diffusion's VAE; None without weights."""
    if not weights:
        return None
    try:
        vae = comfy.sd.VAE(sd=dict(weights))
        vae.throw_exception_if_invalid()
    except RuntimeError as error:
        raise wrong_weights([f"VAE: {str(error).strip().splitlines()[-1].strip()}"]) from error
    expected = vae.first_stage_model.state_dict()
    check_names("vae", weights, {name: tuple(each.shape) for name, each in expected.items()})
    return vae


def _clip_vision(weights: Mapping[str, torch.Tensor]) -> Any:
    """OpenCLIP's image tower as the host has it; None without weights."""
    if not weights:
        return None
    return comfy.clip_vision.load_clipvision_from_sd(dict(weights), prefix="visual.", convert_keys=True)
