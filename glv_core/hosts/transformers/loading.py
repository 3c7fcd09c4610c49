"""Loading a model of transformers with its processor from files on this machine."""

from __future__ import annotations

import json
import logging
import pickle
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

_UNUSED = "auxiliary_"  # heads for training only
_BROKEN = re.compile(r"5\.0(\D|$)")  # versions of transformers in which SAM 2 and SAM 3 video fail


def model_type(folder: Path) -> str | None:
    """What a model's config.json says it is; None without one."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def local_model(name: str, types: Collection[str]) -> Path:
    """The folder of a model that is on this machine; nothing is downloaded.

    Args:
        name: a folder with ``config.json`` in it, or the id of a model in the cache of Hugging Face.
        types: what its ``config.json`` may say.

    Raises:
        ValueError: it is not there, or of another type.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _cached(name)
    found = model_type(folder)
    if found not in types:
        what = "which holds no model" if found is None else f"which is a model of the type {found}"
        raise ValueError(f"{folder}: {what}; it must be one of {', '.join(types)}.")
    return folder


def _cached(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"there is no such folder, and no model of this name in the cache of Hugging Face: {name}. Download it "
            "first, for example with the command: hf download NAME --local-dir FOLDER."
        ) from error


def load_parts(
    folder: Path, model_class: str, processor_class: str, dtype: torch.dtype = torch.float32, since: str = "4.57"
) -> tuple[Any, Any]:
    """A model, ready to be used on the CPU, and its processor.

    Args:
        folder: with the files of both.
        model_class, processor_class: names in the transformers library.
        dtype: of the weights.
        since: the first version of transformers with these classes, for the error.

    Raises:
        ValueError: this version of transformers has no such class, or the files cannot be loaded.
    """
    import transformers

    for name in (model_class, processor_class):
        if not hasattr(transformers, name):
            raise ValueError(
                f"{folder.name} needs {name} of transformers {since} or newer; this is {transformers.__version__}. "
                "Update transformers, or choose another model."
            )
    _check_backbone(folder)
    log.info("loading %s", folder)
    try:
        processor = getattr(transformers, processor_class).from_pretrained(folder, local_files_only=True)
        model, info = getattr(transformers, model_class).from_pretrained(
            folder, local_files_only=True, dtype=dtype, weights_only=True, output_loading_info=True
        )
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{folder}/pytorch_model.bin holds more than weights, and loading it might run code. Use a model with "
            "model.safetensors."
        ) from error
    except (OSError, ImportError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} cannot be loaded as {model_class}: {error}") from error
    _check_weights(folder, model, info["missing_keys"])
    return model.eval().requires_grad_(False), processor


def load_local(name: str, classes: Mapping[str, tuple[str, str]], device: str) -> tuple[str, Any, Any]:
    """A model by folder or name, see ``local_model``: its type, the model on a device, its processor.

    Args:
        classes: the classes of model and processor by type.
    """
    folder = local_model(name, list(classes))
    kind = str(model_type(folder))
    model, processor = load_parts(folder, *classes[kind])
    return kind, model.to(device), processor


def _check_backbone(folder: Path) -> None:
    """Refuse a configuration that makes the library fetch a part of the model whatever it is told."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("use_pretrained_backbone") and config.get("backbone") and not config.get("backbone_config"):
        raise ValueError(
            f"{folder}/config.json names a backbone to be downloaded, {config['backbone']!r}. Choose a model that "
            "comes whole, with backbone_config in its config.json."
        )


def _check_weights(folder: Path, model: torch.nn.Module, missing: Collection[str]) -> None:
    """Refuse files that lack weights, which the library would fill with random numbers.

    Public files leave out some that no forward uses, as the first residual layer of DPT's fusion, so that few missing
    ones are only logged: refused is what lacks a whole part of the model, such as its head, or more than a tenth of it.
    """
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    lost = {name for name in missing if name in sizes}
    if not lost:
        return
    parts = [(name, [each for each in sizes if each.startswith(f"{name}.")]) for name, _ in model.named_children()]
    gone = [name for name, keys in parts if keys and lost.issuperset(keys) and not name.startswith(_UNUSED)]
    if gone or sum(sizes[name] for name in lost) > 0.1 * sum(sizes.values()):
        raise ValueError(
            f"{folder} does not hold the weights of {type(model).__name__}: {len(lost)} of {len(sizes)} are missing, "
            f"such as {min(lost)}. Choose a model that was made for this, or download its files again."
        )
    log.warning("%s lacks weights: %s", folder, ", ".join(sorted(lost)))


def check_version(kind: str | None) -> None:
    """Check that the transformers at hand can run a segmenter.

    Args:
        kind: its type in config.json.

    Raises:
        ValueError: SAM 2 and SAM 3 video fail in this version.
    """
    import transformers

    if kind in ("sam2_video", "sam3_video") and _BROKEN.match(transformers.__version__):
        raise ValueError(
            f"segmenter is of the type {kind}, which does not work in transformers {transformers.__version__}. Install "
            "transformers 5.1 or newer (SAM 2 also works in 4.57), or choose a SAM model (sam-vit)."
        )
