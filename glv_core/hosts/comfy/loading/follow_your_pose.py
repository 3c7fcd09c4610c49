"""Loading Follow-Your-Pose as ComfyUI's MODEL and CONTROL_NET.

The host loads the UNet as the Stable Diffusion 1 that it was. The layers over time become parts of its transformer
blocks, so that the host moves, casts and frees them with the rest, and LoRAs keep their names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import comfy.controlnet
import comfy.ops
import comfy.sd
import folder_paths
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

from ....editing.follow_your_pose import TemporalLayers, as_clips, as_frames, first_and_previous
from ....editing.follow_your_pose_weights import ADAPTER, PoseWeights, check_adapter, split_weights
from ..families import LAYERS_OVER_TIME, clips_in
from .weight_files import read_weight_file

FROM_THE_FOLDER = "from the folder"
NO_FOLDER = "none found in models/diffusers"
_NETWORK = (
    "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", "pytorch_model.safetensors",
    "pytorch_model.bin", "model.safetensors",
)  # fmt: skip
_POSE_ENCODER = ("pose_encoder.safetensors", "pose_encoder.pth")
_DEPTH = 3  # folders below models/diffusers that are looked into
_OTHER_PARTS = {"vae", "text_encoder", "safety_checker", "image_encoder", "transformer"}


def list_folders() -> list[str]:
    """Names of the folders below ``models/diffusers`` that may hold the UNet, or have it in ``unet``."""
    found = set()
    for base in _bases():
        for path, inside, _ in os.walk(base, followlinks=True):
            folder = Path(path)
            depth = len(folder.relative_to(base).parts)
            inside[:] = sorted(inside) if depth < _DEPTH else []
            if depth and folder.name != "unet" and folder.name not in _OTHER_PARTS and _network_file(folder):
                found.add(str(folder.relative_to(base)))
    return sorted(found) or [NO_FOLDER]


def list_pose_encoders() -> list[str]:
    """What can be chosen as the pose encoder: the folder's own, or a file of ``models/controlnet``."""
    return [FROM_THE_FOLDER, *folder_paths.get_filename_list("controlnet")]


def load_follow_your_pose(folder: str, pose_encoder: str, pooled_norm: bool) -> tuple[Any, Any]:
    """MODEL and CONTROL_NET of Follow-Your-Pose.

    Args:
        folder: a name of ``list_folders``.
        pose_encoder: a name of ``list_pose_encoders``.
        pooled_norm: whether the residual blocks normalise all frames of a window together, as in training, or each.

    Raises:
        ValueError: a file is not there, or its weights are not Follow-Your-Pose's; the message names them.
    """
    base, path = _find(folder)
    weights = split_weights(read_weight_file(path))
    width = weights.unet["input_blocks.0.0.weight"].shape[0]
    adapter = _adapter_weights(pose_encoder, weights, path, base)
    check_adapter(adapter, width)
    model = _make_model(weights, path, pooled_norm)
    model.cached_patcher_init = (load_model, (path, pooled_norm))
    return model, comfy.controlnet.load_t2i_adapter(adapter)


def load_model(path: Path, pooled_norm: bool, disable_dynamic: bool = False) -> Any:
    """The MODEL of a file with the UNet; the host calls it where it needs the model once more.

    ``disable_dynamic``: whether all weights are to be loaded at once where the host could page them in on demand.
    """
    return _make_model(split_weights(read_weight_file(path)), path, pooled_norm, disable_dynamic)


def _bases() -> Iterator[Path]:
    yield from (Path(each).resolve() for each in folder_paths.get_folder_paths("diffusers"))


def _network_file(folder: Path) -> Path | None:
    for place in (folder / "unet", folder):
        for name in _NETWORK:
            if (place / name).is_file():
                return place / name
    return None


def _find(name: str) -> tuple[Path, Path]:
    """The folder of models that has a folder of this name, and its file with the UNet."""
    for base in _bases():
        folder = Path(os.path.normpath(base / name))  # links that lie there are the user's own, as for the host
        path = _network_file(folder) if folder != base and folder.is_relative_to(base) else None
        if path:
            return base, path
    raise ValueError(
        f"folder is {name!r}, and there is no such folder with a UNet below models/diffusers. Put FollowYourPose_v1 "
        f"there, then refresh the page. Found: {', '.join(list_folders())}."
    )


def _adapter_weights(name: str, weights: PoseWeights, path: Path, base: Path) -> dict[str, torch.Tensor]:
    if name != FROM_THE_FOLDER:
        file = folder_paths.get_full_path("controlnet", name)
        if file is None:
            raise ValueError(f"pose_encoder is {name!r}, which is not in models/controlnet. Choose another.")
        return _read_adapter(Path(file))
    # Beside the UNet, or in a folder above it: the public one is beside the folder of the UNet's checkpoint.
    for folder in (each for each in path.parents if each != base and each.is_relative_to(base)):
        for file_name in _POSE_ENCODER:
            if (folder / file_name).is_file():
                return _read_adapter(folder / file_name)
    if not weights.adapter:
        raise ValueError(
            f"pose_encoder is {name!r}, and there is no {' or '.join(_POSE_ENCODER)} there. Put it beside the UNet, or "
            "in models/controlnet and choose it."
        )
    return weights.adapter


def _read_adapter(path: Path) -> dict[str, torch.Tensor]:
    return {name.removeprefix(ADAPTER): weight for name, weight in read_weight_file(path).items()}


def _make_model(weights: PoseWeights, path: Path, pooled_norm: bool, disable_dynamic: bool = False) -> Any:
    loader = comfy.sd.load_diffusion_model_state_dict
    plain = disable_dynamic and "disable_dynamic" in signature(loader).parameters
    model = loader(dict(weights.unet), **({"disable_dynamic": True} if plain else {}))
    if model is None:
        raise ValueError(
            f"ComfyUI does not recognise the UNet of {path.parent.name}/{path.name} as Stable Diffusion 1's, which "
            "Follow-Your-Pose is made from. Choose the folder of FollowYourPose_v1."
        )
    net, clips = model.model.diffusion_model, _Clips()
    net.register_forward_pre_hook(clips.count, with_kwargs=True)
    for name, each in weights.temporal.items():
        block = net.get_submodule(name)
        block.add_module(LAYERS_OVER_TIME, _temporal_layers(each, block.n_heads, model))
        block.register_forward_hook(clips.follow)
    for norm in _norms(net) if pooled_norm else ():
        norm.register_forward_pre_hook(clips.pool)
        norm.register_forward_hook(clips.part)
    model.set_model_attn1_patch(sparse_causal)
    model.size = 0  # to be measured anew, with the layers over time
    return model


def _temporal_layers(weights: dict[str, torch.Tensor], heads: int, model: Any) -> TemporalLayers:
    kind = model.model.get_dtype()
    layers = TemporalLayers(weights["norm.weight"].shape[0], heads, comfy.ops.manual_cast, dtype=kind, device="meta")
    layers.load_state_dict({name: weight.to(kind) for name, weight in weights.items()}, assign=True)
    return layers.to(model.offload_device).requires_grad_(False)


def _norms(net: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The GroupNorms of the residual blocks and of the end."""
    for block in net.modules():
        if isinstance(block, ResBlock):
            yield block.in_layers[0]
            yield block.out_layers[0]
    yield net.out[0]


def sparse_causal(q: Any, k: Any, v: Any, extra_options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """What the host asks before each self-attention: keys and values of the first frame and of the one before."""
    clips = clips_in(extra_options, k.shape[0])
    keys = first_and_previous(k, clips)
    return q, keys, keys if v is k else first_and_previous(v, clips)


class _Clips:
    """Hooks on a network that have the clips of the forward pass in common."""

    def __init__(self) -> None:
        self.clips = 1

    def count(self, _net: Any, args: tuple[torch.Tensor, ...], options: dict[str, Any]) -> None:
        self.clips = clips_in(options.get("transformer_options", {}), args[0].shape[0])

    def follow(self, block: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return getattr(block, LAYERS_OVER_TIME)(output, self.clips)

    def pool(self, _norm: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (as_clips(args[0], self.clips), *args[1:])

    def part(self, _norm: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return as_frames(output)
