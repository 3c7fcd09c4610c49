"""Weights of ControlNet's own annotators, by their public file names, from the folders in which people have them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import comfy.utils
import folder_paths
import torch

from ....perception.networks.hed import HED
from ....perception.networks.mlsd import MLSD
from ....perception.networks.openpose_body import OpenPoseBody, remapped
from .vision_models import VisionModel, keep

log = logging.getLogger(__name__)

FOLDER = "annotators"  #: under models/, and the name in extra_model_paths.yaml
_SOURCE = "https://huggingface.co/lllyasviel/ControlNet/tree/main/annotator/ckpts"
_OTHER_PACK = "*controlnet_aux*/ckpts"  # comfyui_controlnet_aux keeps its files there

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


@dataclass(frozen=True)
class Annotator:
    """A network and the public file with its weights."""

    file: str
    network: Callable[[], torch.nn.Module]


ANNOTATORS = {
    "hed": Annotator("network-bsds500.pth", HED),
    "mlsd": Annotator("mlsd_large_512_fp32.pth", MLSD),
    "openpose": Annotator("body_pose_model.pth", OpenPoseBody),
}


def find_annotator(name: str) -> Path:
    """The file of an annotator's weights, the same as .safetensors or the public .pth.

    Looked for at any depth in models/annotators and in the folders of the pack comfyui_controlnet_aux.

    Raises:
        ValueError: it is in none of them; the message says where to get it and where to put it.
    """
    file = ANNOTATORS[name].file
    wanted = (Path(file).with_suffix(".safetensors").name, file)
    for folder in _folders():
        for each in wanted:
            found = next((path for path in sorted(folder.rglob(each)) if path.is_file()), None)
            if found is not None:
                return found
    raise ValueError(
        f"The file {file} is missing. Download it from {_SOURCE} and put it into "
        f"{folder_paths.get_folder_paths(FOLDER)[0]}."
    )


def load_annotator(name: str) -> VisionModel:
    """The network with its weights, for the host to load and unload; a few are kept, see ``keep``.

    Raises:
        ValueError: the file is missing, damaged, or holds something else.
    """
    path = find_annotator(name)
    return keep((str(path), path.stat().st_mtime_ns), lambda: _load(name, path))


def _load(name: str, path: Path) -> VisionModel:
    network = ANNOTATORS[name].network()
    log.info("loading %s", path)
    try:
        weights = remapped(comfy.utils.load_torch_file(str(path), safe_load=True))
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except Exception as error:  # unpickling and shapes fail in many ways
        raise ValueError(f"{path} cannot be loaded as {type(network).__name__}: {error}") from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(
            f"{path} does not hold the weights of {type(network).__name__}: missing {missing[:3]}, unexpected "
            f"{list(unexpected)[:3]}. Download {ANNOTATORS[name].file} again from {_SOURCE}."
        )
    return VisionModel(path.parent, network.eval().requires_grad_(False), None, torch.float32)


def _folders() -> Iterator[Path]:
    yield from map(Path, folder_paths.get_folder_paths(FOLDER))
    for base in map(Path, folder_paths.get_folder_paths("custom_nodes")):
        yield from sorted(base.glob(_OTHER_PACK))
