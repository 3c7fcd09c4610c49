"""Loading StreamingT2V's checkpoint, or the built-in one, as ComfyUI's MODEL, CLIP, VAE and CLIP_VISION.

The UNet is diffusers' with what the paper adds hooked on; see ``hosts.diffusers.streamingt2v``. Frames are the batch,
so that every sampler, and the VAE of an image model, take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import comfy.clip_vision
import comfy.conds
import comfy.model_base
import comfy.sd
import folder_paths
import torch

from ....demo import STREAMING_T2V_DIR
from ....streamingt2v import Checkpoint, convert, load_checkpoint
from ....streamingt2v.checkpoint import ADDED
from ..families.streamingt2v import ANCHOR, ANCHOR_TOKENS, CONDITION, FRAMES_BEFORE
from .frames_before import FramesBefore
from .pipeline_folder import read_weights
from .sd_folder import load_image_encoder, load_image_vae, load_text_encoder
from .unet3d import FramesAsBatch, make_patcher, needing_diffusers, network_dtype
from .weight_files import find_weight_file, list_weight_files

FOLDERS = ("checkpoints", "diffusion_models")
IN_THE_CHECKPOINT = "in the checkpoint"
SMALL = "demo StreamingT2V (built in)"
_PARTS = ("unet", "text_encoder", "tokenizer", "vae", "image_encoder", "feature_extractor", ADDED)


class Loaded(NamedTuple):
    """What a checkpoint gives; what it lacks is None."""

    model: Any
    clip: Any
    vae: Any
    clip_vision: Any


def list_files() -> list[str]:
    """The built-in model, and files of weights in the host's folders."""
    return [SMALL, *list_weight_files(FOLDERS)]


def list_bases() -> list[str]:
    """Where the stock model may come from: the checkpoint, or a folder of ``models/diffusers`` that has a ``unet``."""
    found = set()
    for base in map(Path, folder_paths.get_folder_paths("diffusers")):
        found.update(str(each.parent.relative_to(base)) for each in base.glob("**/unet") if each.parent != base)
    return [IN_THE_CHECKPOINT, *sorted(found)]


def load_streamingt2v(name: str, base: str, make_smaller: bool) -> Loaded:
    """MODEL, CLIP, VAE and CLIP_VISION.

    Args:
        name: of ``list_files``.
        base: of ``list_bases``: for what the checkpoint lacks.
        make_smaller: write the weights beside the file once, in half precision and without the optimizer's, and load
            those from then on; the built-in model is small.

    Raises:
        ValueError: files are missing or hold other weights, all of them in one message; or diffusers is not installed.
    """
    if name == SMALL:
        return _load_small(base)
    remedy = "Put streaming_t2v.ckpt of PAIR/StreamingT2V there, then refresh the page."
    path = find_weight_file(name, FOLDERS, "checkpoint", remedy)
    file = convert(path) if make_smaller else path
    parts = load_checkpoint(file)
    folder = _base_folder(base)
    stock = {part: getattr(parts, part) or _from_folder(folder, part) for part in ("base", "text_encoder", "vae")}
    needed = {"base": "unet", "text_encoder": "text_encoder", "vae": "vae"}
    if missing := [place for part, place in needed.items() if not stock[part]]:
        raise ValueError(
            f"{file.name} lacks {', '.join(missing)}. Put the folder text-to-video-ms-1.7b of damo-vilab, as on "
            "Hugging Face, into models/diffusers and choose it as base; or choose a checkpoint that holds them."
        )
    model = _make_model(parts, stock["base"])
    model.cached_patcher_init = (load_model, (file, base))
    return Loaded(model, _clip(stock["text_encoder"]), _vae(stock["vae"]), _clip_vision(parts.image_encoder))


def _load_small(base: str) -> Loaded:
    if base != IN_THE_CHECKPOINT:
        raise ValueError(f"base is {base!r}, and {SMALL} has a base of its own. Set base to {IN_THE_CHECKPOINT!r}.")
    folder = STREAMING_T2V_DIR
    if missing := [part for part in _PARTS if not (folder / part).exists()]:
        raise ValueError(
            f"checkpoint is {SMALL!r}, and {', '.join(missing)} is missing in {folder}. Download this pack again, "
            "or train the model: python -m training.streamingt2v.train --out runs/streamingt2v."
        )
    model = load_model(folder / ADDED, SMALL)
    model.cached_patcher_init = (load_model, (folder / ADDED, SMALL))
    return Loaded(model, load_text_encoder(folder), load_image_vae(folder), load_image_encoder(folder))


def load_model(path: Path, base: str, disable_dynamic: bool = False) -> Any:
    """The MODEL alone; the host calls it where it needs it once more."""
    parts = load_checkpoint(path)
    return _make_model(parts, parts.base or _from_folder(_base_folder(base), "base"))


def _base_folder(name: str) -> Path | None:
    if name == SMALL:
        return STREAMING_T2V_DIR
    if name == IN_THE_CHECKPOINT:
        return None
    for base in map(Path, folder_paths.get_folder_paths("diffusers")):
        folder = (base / name).resolve()
        if folder.is_relative_to(base.resolve()) and (folder / "unet").is_dir():
            return folder
    raise ValueError(
        f"base is {name!r}, and there is no such folder with a unet below models/diffusers. Found: "
        f"{', '.join(list_bases())}."
    )


def _from_folder(folder: Path | None, part: str) -> Mapping[str, torch.Tensor]:
    place = None if folder is None else folder / {"base": "unet"}.get(part, part)
    return read_weights(place) if place is not None and place.is_dir() else {}


def _make_model(parts: Checkpoint, stock: Mapping[str, torch.Tensor]) -> Any:
    with needing_diffusers("StreamingT2V"):
        from ...diffusers.streamingt2v import StreamingUNet
    dtype = network_dtype(sum(each.numel() for each in stock.values()))
    net = StreamingUNet.from_checkpoint(parts, stock, dtype)
    return make_patcher(FramesAsBatch(net, dtype, by_frame={ANCHOR_TOKENS}), kind=StreamingT2VModel)


class StreamingT2VModel(comfy.model_base.BaseModel):
    """A text-to-video model that goes on from frames, and stays close to an anchor."""

    _before: FramesBefore | None = None

    def extra_conds(self, **given: Any) -> dict[str, Any]:
        """What the network is told, of a CONDITIONING's values."""
        conds = super().extra_conds(**given)
        net, device, dtype = self.diffusion_model.unet, given["device"], self.get_dtype()
        if (frames := given.get(FRAMES_BEFORE)) is not None:
            self._before = self._before or FramesBefore(net.encode_condition)
            conds[CONDITION] = self._before.cond(frames, device, dtype)
        if (seen := given.get(ANCHOR)) is not None:
            conds[ANCHOR_TOKENS] = comfy.conds.CONDRegular(net.resampler(seen.to(device, dtype)))
        return conds


def _clip(weights: Mapping[str, torch.Tensor]) -> Any:
    """The CLIP: Stable Diffusion 2's, of which this is the text encoder."""
    return comfy.sd.load_text_encoder_state_dicts(
        [dict(weights)], folder_paths.get_folder_paths("embeddings"), comfy.sd.CLIPType.STABLE_DIFFUSION
    )


def _vae(weights: Mapping[str, torch.Tensor]) -> Any:
    vae = comfy.sd.VAE(sd=dict(weights))
    vae.throw_exception_if_invalid()
    return vae


def _clip_vision(weights: Mapping[str, torch.Tensor]) -> Any:
    """OpenCLIP's image tower as the host has it; None without weights."""
    if not weights:
        return None
    tower = {name: each for name, each in weights.items() if name.startswith("visual.")}
    return comfy.clip_vision.load_clipvision_from_sd(tower, prefix="visual.", convert_keys=True)
