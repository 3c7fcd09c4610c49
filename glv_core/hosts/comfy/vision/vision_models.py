"""Models of the transformers library that look at images: from ComfyUI's folders, loaded and unloaded by ComfyUI."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch

from ...transformers.loading import load_parts, model_type

log = logging.getLogger(__name__)

FOLDER = "transformers"  #: under models/, and the name in extra_model_paths.yaml
KEPT = 4  #: models that stay loaded from run to run
DOWNLOADED = ("*.safetensors", "*.json", "*.txt", "*.model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


def list_models(model_types: Collection[str]) -> list[str]:
    """Names of the folders under ``models/transformers`` whose config.json is of one of these types.

    A model lies in a folder, or in a folder of a folder, as in ``IDEA-Research/grounding-dino-tiny``.
    """
    found = set()
    for base in _bases():
        for pattern in ("*/config.json", "*/*/config.json"):
            for config in base.glob(pattern):
                if model_type(config.parent) in model_types:
                    found.add(config.parent.relative_to(base).as_posix())
    return sorted(found)


def find_model(
    name: str,
    model_types: Collection[str],
    files: Sequence[str],
    allow_download: bool = False,
    input_name: str = "model",
) -> Path:
    """The folder of a model under ``models/transformers``.

    Args:
        name: a name from ``list_models``, or a Hugging Face id, whose folder has the id's name.
        model_types: what its config.json may say.
        files: what must be there besides config.json and the weights, e.g. ``preprocessor_config.json``; one of several
            as ``a.json|b.json``.
        allow_download: whether a Hugging Face id that is not there may be fetched.
        input_name: the node's input, for the error.

    Raises:
        ValueError: it is missing, incomplete, of another type, or the name leads out of the folder.
    """
    folder = _folder_of(name, input_name)
    missing = _missing(folder, files)
    if missing and allow_download:
        _download(name, folder, input_name)
        missing = _missing(folder, files)
    if missing:
        place = f"Download it from https://huggingface.co/{name}" if _HUB_ID.fullmatch(name) else "Copy it"
        raise ValueError(
            f"{input_name} is {name!r}, which is not complete in ComfyUI's folder. Missing: {', '.join(missing)}. "
            f"{place} into {folder}, or switch on allow_download with a Hugging Face id."
        )
    found = model_type(folder)
    if found not in model_types:
        raise ValueError(
            f"{input_name} is {name!r}, a model of the type {found!r}; it must be one of {', '.join(model_types)}."
        )
    return folder


class VisionModel:
    """A model of transformers with its processor.

    ``model``: the PreTrainedModel; ``processor``: of the class that was asked for; ``folder``; ``device`` and ``dtype``
    that the host chose. Call ``use`` before forwards.
    """

    def __init__(self, folder: Path, model: torch.nn.Module, processor: Any, dtype: torch.dtype) -> None:
        self.folder, self.model, self.processor, self.dtype = folder, model, processor, dtype
        self.device = comfy.model_management.get_torch_device()
        # In a module of its own: the host writes attributes that a PreTrainedModel has as properties.
        holder = torch.nn.Module()
        holder.model = model
        self.patcher = comfy.model_patcher.ModelPatcher(
            holder, load_device=self.device, offload_device=comfy.model_management.text_encoder_offload_device()
        )

    def use(self, memory_required: float = 0) -> None:
        """Bring it to its device; the host makes room for ``memory_required`` more bytes."""
        use_together([self], memory_required)


class OnDevice(Protocol):
    """What the host can bring to its device."""

    patcher: comfy.model_patcher.ModelPatcher


def use_together(models: Sequence[OnDevice], memory_required: float = 0) -> None:
    """Bring models to their device, all of them whole; the host makes room for ``memory_required`` more bytes."""
    comfy.model_management.load_models_gpu(
        [model.patcher for model in models], memory_required=memory_required, force_full_load=True
    )


_kept: OrderedDict[tuple, VisionModel] = OrderedDict()


def keep(key: tuple, load: Callable[[], VisionModel]) -> VisionModel:
    """The model that was loaded under ``key``, or a new one; ``KEPT`` others later it is forgotten."""
    if key not in _kept:
        _kept[key] = load()
    _kept.move_to_end(key)
    model = _kept[key]
    while len(_kept) > KEPT:
        _unload(_kept.popitem(last=False)[1])
    return model


def _unload(model: VisionModel) -> None:
    """Take a model that is kept no longer off the host's list."""
    for loaded in list(comfy.model_management.current_loaded_models):
        if loaded.model is model.patcher:
            loaded.model_unload()
            comfy.model_management.current_loaded_models.remove(loaded)


def load_vision_model(
    folder: Path, model_class: str, processor_class: str, dtypes: Sequence[torch.dtype] = (), since: str = "4.57"
) -> VisionModel:
    """Load a model, or take it from the few that are kept in host memory; ComfyUI unloads them from its device.

    Args:
        folder: from ``find_model``.
        model_class, processor_class: names in the transformers library.
        dtypes: 16-bit types that the model works in, the best first; float32 where the device has none of them.
        since: the first version of transformers with these classes, for the error.

    Raises:
        ValueError: this version of transformers has no such class, or the files cannot be loaded.
    """
    dtype = _dtype(dtypes)
    stamp = max(path.stat().st_mtime_ns for path in folder.iterdir())
    key = (str(folder), stamp, model_class, processor_class, dtype)
    return keep(key, lambda: _load(folder, model_class, processor_class, dtype, since))


def _load(folder: Path, model_class: str, processor_class: str, dtype: torch.dtype, since: str) -> VisionModel:
    model, processor = load_parts(folder, model_class, processor_class, dtype, since)
    return VisionModel(folder, model, processor, dtype)


def _dtype(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    device = comfy.model_management.get_torch_device()
    allowed = {
        torch.float16: comfy.model_management.should_use_fp16, torch.bfloat16: comfy.model_management.should_use_bf16
    }  # fmt: skip
    return next((dtype for dtype in dtypes if allowed[dtype](device)), torch.float32)


def _bases() -> list[Path]:
    return [Path(base) for base in folder_paths.get_folder_paths(FOLDER)]


def _folder_of(name: str, input_name: str) -> Path:
    """Where a model is, or would be put."""
    bases = _bases()
    folders = [Path(os.path.abspath(base / name)) for base in bases]  # links that the user made may lead elsewhere
    inside = [Path(os.path.abspath(base)) in folder.parents for base, folder in zip(bases, folders, strict=True)]
    if not name.strip() or not all(inside):
        raise ValueError(
            f"{input_name} is {name!r}; it must be the name of a folder under models/{FOLDER}, or a Hugging Face id "
            "such as IDEA-Research/grounding-dino-tiny."
        )
    return next((folder for folder in folders if (folder / "config.json").is_file()), folders[0])


def _missing(folder: Path, files: Sequence[str]) -> list[str]:
    missing = [
        name.replace("|", " or ")
        for name in ("config.json", *files)
        if not any((folder / each).is_file() for each in name.split("|"))
    ]
    if not any((folder / name).is_file() for name in _WEIGHTS):
        missing.insert(1 if "config.json" in missing else 0, _WEIGHTS[0])
    for index in (folder / name for name in _WEIGHTS if name.endswith(".index.json")):
        if index.is_file():
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            missing += sorted(shard for shard in shards if not (folder / shard).is_file())
    return missing


def _download(name: str, folder: Path, input_name: str) -> None:
    """Fetch a model's safetensors, configuration and tokenizer from Hugging Face."""
    from huggingface_hub import snapshot_download

    if not _HUB_ID.fullmatch(name):
        raise ValueError(f"{input_name} is {name!r}, which is no Hugging Face id, so it cannot be downloaded.")
    log.info("downloading %s into %s", name, folder)
    try:
        snapshot_download(name, local_dir=folder, allow_patterns=list(DOWNLOADED))
    except Exception as error:  # network, gate, licence, disk: the hub's words say which
        raise ValueError(f"{input_name} {name!r} could not be downloaded into {folder}: {error}") from error


def load_auto(
    name: str,
    types: dict[str, str],
    files: tuple[str, ...],
    allow_download: bool,
    input_name: str = "model",
    dtypes: tuple[torch.dtype, ...] = (),
) -> VisionModel:
    """A model of transformers with its image processor; ``types``: classes by the type in config.json."""
    folder: Path = find_model(name, list(types), files, allow_download, input_name)
    return load_vision_model(folder, types[model_type(folder)], "AutoImageProcessor", dtypes)
