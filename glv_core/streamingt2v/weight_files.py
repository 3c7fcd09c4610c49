"""Files of weights too large to be held twice: read as they are used, and written a tensor at a time."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

_HALF = ".fp16.safetensors"


def half_file(path: Path) -> Path:
    """Where the weights of a file lie in half precision: ``NAME.fp16.safetensors`` beside it."""
    return path if path.name.endswith(_HALF) else path.with_name(path.stem + _HALF)


def preferred_file(path: Path) -> Path:
    """The file itself, or that in half precision if it is not older, or the only one that is there."""
    half = half_file(path)
    if not half.is_file() or (path.is_file() and half.stat().st_mtime < path.stat().st_mtime):
        return path
    return half


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, or of a pickle (``.ckpt``, ``.pt``, ``.pth``, ``.bin``).

    They are mapped: none is read before it is used, and of a training checkpoint only those of its ``state_dict`` ever.
    Of a pickle nothing but tensors and plain containers is made.

    Raises:
        ValueError: there is no such file, it cannot be read, or it holds no tensors.
    """
    if not path.is_file():
        raise ValueError("there is no such file. Put it there, or choose another.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"it cannot be read ({reason[0]}). Download it again.") from error
    weights = weights.get("state_dict", weights) if isinstance(weights, dict) else {}
    tensors = {name: weight for name, weight in weights.items() if isinstance(weight, torch.Tensor)}
    if not tensors:
        raise ValueError("it holds no weights. Choose another file, or download it again.")
    return tensors


def write_half(weights: Mapping[str, torch.Tensor], path: Path) -> Path:
    """Write a safetensors file in half precision, one tensor at a time; it appears when it is whole.

    Returns:
        ``path``.

    Raises:
        ValueError: a weight is not finite, or too large for half precision.
        OSError: the file cannot be written.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, weight in weights.items():
        begin, end = end, end + 2 * weight.numel()
        header[name] = {"dtype": "F16", "shape": list(weight.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, weight in weights.items():
                half = weight.detach().to("cpu", torch.float16).contiguous().reshape(-1)
                if not half.isfinite().all():
                    raise ValueError(f"{name} has numbers too large for half precision. Use the file as it is.")
                file.write(half.numpy().data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()
    return path
