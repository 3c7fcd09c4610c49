"""Follow-Your-Pose with few channels, in files of the public layout. Runs inside ComfyUI."""

import contextlib
import functools
import math

import comfy.supported_models
import folder_paths
import safetensors.torch
import torch

WIDTH, TEXT = 32, 16


def numbers(shape, seed: int) -> torch.Tensor:
    """Numbers between -1 and 1 that are the same everywhere, of no generator."""
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(k * (1.7 + 0.013 * seed) + 0.31 * k * k % 6.28 + seed).float().reshape(shape)


@functools.cache
def weights(scale: float = 1.0) -> dict:
    """All weights by their public names, in a fixed way. ``scale``: of the layers over time."""
    from long_video_pack.glv_core.editing.follow_your_pose_weights import ADAPTER, adapter_shapes, public_shapes

    shapes = public_shapes(WIDTH, TEXT) | {ADAPTER + name: shape for name, shape in adapter_shapes(WIDTH).items()}
    made = {}
    for seed, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        value = numbers(shape, seed) * (math.prod(shape[1:]) if len(shape) > 1 else 4) ** -0.5
        if "norm" in name and name.endswith("weight"):
            value = 1 + 0.3 * value
        made[name] = value * (scale if "temp" in name else 1)
    return made


@contextlib.contextmanager
def models(monkeypatch, folder):
    """Folders of models for a test, and a ComfyUI that knows a Stable Diffusion 1 with few channels."""
    with monkeypatch.context() as patch:
        for name in ("diffusers", "controlnet"):
            (folder / name).mkdir(exist_ok=True)
            kinds = folder_paths.folder_names_and_paths[name][1]
            patch.setitem(folder_paths.folder_names_and_paths, name, ([str(folder / name)], kinds))
        patch.setattr(folder_paths, "filename_list_cache", {})
        patch.setitem(comfy.supported_models.SD15.unet_config, "model_channels", WIDTH)
        patch.setitem(comfy.supported_models.SD15.unet_config, "context_dim", TEXT)
        yield folder


def save(path, tensors) -> None:
    """A file of weights, as its name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: each.clone() for name, each in tensors.items()}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save(tensors, path)


def load(folder: str = "pose", pose_encoder: str = "from the folder", pooled_norm: bool = True) -> tuple:
    """MODEL and CONTROL_NET, through the node."""
    from long_video_pack.nodes.load_follow_your_pose import LoadFollowYourPose

    return LoadFollowYourPose.execute(folder, pose_encoder, pooled_norm).args
