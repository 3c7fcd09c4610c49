"""A pipeline folder on the disk: what it holds, read without loading it, and loading it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file

from ...demo import MODEL_DIR, STREAMING_T2V_DIR
from ...streamingt2v.checkpoint import ADDED
from ...timeline import Compression
from ...video_models import ANIMATEDIFF, DEMO, TEXT_TO_VIDEO_SD, WAN, VideoModel
from .denoisers import DENOISER_NAMES, SUPPORTED
from .schedulers import scheduler_class
from .vace import VACE, with_branch

ONE = "Use a model with one, such as Wan 2.1 or Wan 2.2 5B."
WAN_DENOISERS = ("WanTransformer3DModel", VACE)


@dataclass(frozen=True)
class Defaults:
    """What suits a family of models, beside what ``VideoModel`` says. ``overlap`` is in frames."""

    model: VideoModel
    overlap: int
    width: int
    height: int
    steps: int
    cfg: float


DEMO_DEFAULTS = Defaults(DEMO, overlap=8, width=64, height=64, steps=20, cfg=2.0)
DEMO_STREAMING_DEFAULTS = Defaults(TEXT_TO_VIDEO_SD, overlap=8, width=64, height=64, steps=30, cfg=6.0)
DEFAULTS: dict[str, Defaults] = {
    "WanTransformer3DModel": Defaults(WAN, overlap=12, width=832, height=480, steps=50, cfg=5.0),
    "WanVACETransformer3DModel": Defaults(WAN, overlap=12, width=832, height=480, steps=50, cfg=5.0),
    "UNet3DConditionModel": Defaults(TEXT_TO_VIDEO_SD, overlap=8, width=256, height=256, steps=50, cfg=9.0),
    "UNetMotionModel": Defaults(ANIMATEDIFF, overlap=4, width=512, height=512, steps=25, cfg=7.5),
}


@dataclass(frozen=True)
class ModelFolder:
    """What a pipeline folder says about itself.

    ``multiple``: width and height must be multiples of it.
    ``longest_window``: latent frames that the denoiser has positions for. ``scheduler``: class name.
    ``branch``: the folder of a VACE branch that lies beside a Wan transformer, whose weights it leaves out.
    ``streaming``: the file of StreamingT2V's weights that lies beside a text-to-video UNet.
    """

    path: Path
    pipeline: str
    denoiser: str
    compression: Compression
    multiple: int
    longest_window: int
    scheduler: str
    defaults: Defaults
    branch: Path | None = None
    streaming: Path | None = None

    @property
    def takes_hints(self) -> bool:
        """Whether it has VACE's branch, which reads control images and masks."""
        return self.denoiser == VACE or self.branch is not None


def read_model_folder(path: Path) -> ModelFolder:
    """Read the small text files of a diffusers pipeline folder; no weights.

    Raises:
        ValueError: there is no such folder, it is no pipeline folder, or its denoiser is not supported.
    """
    if not path.is_dir():
        what = "the demo model is not installed" if path == MODEL_DIR else "there is no such folder"
        raise ValueError(f"{path}: {what}. Give a diffusers pipeline folder that is on this machine.")
    index = _read_json(path / "model_index.json")
    parts = {
        name: entry[1] for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2 and entry[1]
    }
    denoisers = [parts[name] for name in DENOISER_NAMES if name in parts]
    if not denoisers or any(name not in SUPPORTED for name in denoisers):
        named = f"the denoiser {', '.join(dict.fromkeys(denoisers))}" if denoisers else "no denoiser"
        raise ValueError(f"{path} has {named}. Supported: pipelines with {', '.join(SUPPORTED)}.")
    pipeline = str(index.get("_class_name"))
    if not hasattr(diffusers, pipeline):
        raise ValueError(f"{path} is a {pipeline}, which this version of diffusers does not have.")
    denoiser = denoisers[0]
    config = _read_json(path / next(name for name in DENOISER_NAMES if name in parts) / "config.json")
    is_wan = denoiser in WAN_DENOISERS
    branch = path / "vace"
    vae = _read_json(path / "vae" / "config.json")
    return ModelFolder(
        path,
        pipeline,
        denoiser,
        compression=Compression.causal(int(vae.get("scale_factor_temporal", 4)) if is_wan else 1),
        multiple=max(16, 2 * int(vae.get("scale_factor_spatial", 8))) if is_wan else 8,
        longest_window=int(config.get("rope_max_seq_len") or config.get("motion_max_seq_length") or 1024),
        scheduler=str(parts.get("scheduler")),
        defaults=_own_defaults(path) or DEFAULTS[denoiser],
        branch=branch if denoiser == "WanTransformer3DModel" and (branch / "config.json").is_file() else None,
        streaming=_streaming(path) if denoiser == "UNet3DConditionModel" else None,
    )


def _own_defaults(path: Path) -> Defaults | None:
    """Those of the pack's own models; None of others."""
    return {MODEL_DIR: DEMO_DEFAULTS, STREAMING_T2V_DIR: DEMO_STREAMING_DEFAULTS}.get(path.resolve())


def _streaming(path: Path) -> Path | None:
    """StreamingT2V's weights in a folder: as this pack writes them, or as they were published."""
    return next((file for name in (ADDED, "streaming_t2v.ckpt") if (file := path / name).is_file()), None)


def load_scheduler(folder: ModelFolder) -> Any:
    """The scheduler of a pipeline folder, without the rest of it.

    Raises:
        ValueError: its class is unknown. OSError: its file is missing or broken.
    """
    cls = scheduler_class(folder.scheduler)
    return cls.from_pretrained(folder.path, subfolder="scheduler", local_files_only=True)


def empty_denoiser(folder: ModelFolder) -> torch.nn.Module:
    """The denoiser of a folder without weights, on the meta device: its layers and their sizes.

    Raises:
        ValueError: there are two.
    """
    [place, *others] = [each for name in DENOISER_NAMES if (each := folder.path / name / "config.json").is_file()]
    if others:
        raise ValueError(f"{folder.path} has two denoisers, and a file of a tuning holds the weights of one. {ONE}")
    cls = getattr(diffusers, folder.denoiser)
    with torch.device("meta"):
        return cls.from_config(cls.load_config(place.parent, local_files_only=True))


def load_pipeline(folder: ModelFolder, device: str, dtype: str, branch: bool = False) -> Any:
    """Load a pipeline from its folder, and nothing from anywhere else.

    Args:
        folder: from ``read_model_folder``.
        device: a torch device, as text.
        dtype: "float32", "bfloat16" or "float16". The VAE of Wan models is kept in float32.
        branch: with the VACE branch that lies beside the transformer, if there is one.

    Raises:
        OSError, ValueError, RuntimeError: a file is missing or broken, or does not fit its config.
    """
    kind = getattr(torch, dtype)
    is_wan = folder.denoiser in WAN_DENOISERS
    types: Any = {"default": kind, "vae": torch.float32} if is_wan else kind
    parts = {}
    if is_wan and find_spec("accelerate") is None:
        wan = getattr(diffusers, folder.denoiser)
        places = {name: folder.path / name for name in DENOISER_NAMES}
        parts = {name: _read_wan(place, kind, wan) for name, place in places.items() if place.is_dir()}
    with warnings.catch_warnings():
        # torch_dtype has another name in newer versions of diffusers; this one is understood by all of them.
        warnings.simplefilter("ignore", FutureWarning)
        # The class itself, not DiffusionPipeline: that one does not take the denoiser of a Wan pipeline as given.
        cls = getattr(diffusers, folder.pipeline)
        pipeline = cls.from_pretrained(folder.path, torch_dtype=types, local_files_only=True, **parts)
    if branch and folder.branch is not None:
        pipeline = with_branch(pipeline, folder.branch)
    return pipeline.to(device)


def _read_wan(path: Path, dtype: torch.dtype, cls: Any) -> Any:
    """A Wan transformer from its folder; diffusers itself reads one only with accelerate installed."""
    files = list(path.glob("diffusion_pytorch_model.safetensors"))
    files = files or sorted(path.glob("diffusion_pytorch_model-*-of-*.safetensors"))
    if not files:
        raise OSError(f"{path} holds no diffusion_pytorch_model.safetensors, whole or in parts.")
    state = {name: tensor for file in files for name, tensor in load_file(file).items()}
    model = cls.from_config(cls.load_config(path, local_files_only=True))
    model.load_state_dict(state)
    return model.to(dtype).eval()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path.parent} has no {path.name}. Give a diffusers pipeline folder, the one with model_index.json in it."
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} cannot be read: it does not hold a JSON object.")
    return data
