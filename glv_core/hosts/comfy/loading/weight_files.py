"""Files of weights in the host's folders: listing, finding and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import comfy.utils
import folder_paths
import torch


def list_weight_files(folders: Sequence[str]) -> list[str]:
    """Names of all files in some of the host's folders, such as ``checkpoints``."""
    return sorted({name for folder in folders for name in folder_paths.get_filename_list(folder)})


def find_weight_file(name: str, folders: Sequence[str], input_name: str, remedy: str) -> Path:
    """The file with a name of ``list_weight_files``.

    Raises:
        ValueError: there is none; the message names the input and ends with ``remedy``.
    """
    for folder in folders:
        if path := folder_paths.get_full_path(folder, name):
            return Path(path)
    places = " nor in ".join(f"models/{folder}" for folder in folders)
    raise ValueError(f"{input_name} is {name!r}, which is neither in {places}. {remedy}")


def read_weight_file(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a file; of a file that is a pickle, weights alone.

    Raises:
        ValueError: it cannot be read, or holds none.
    """
    try:
        weights = comfy.utils.load_torch_file(str(path), safe_load=True)
    except Exception as error:  # of the pickle, of safetensors, of the file system: the host has no common class
        raise ValueError(f"{path.parent.name}/{path.name} cannot be read ({error}). Download it again.") from error
    tensors = {name: weight for name, weight in weights.items() if isinstance(weight, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path.parent.name}/{path.name} holds no weights. Download it again.")
    return tensors
