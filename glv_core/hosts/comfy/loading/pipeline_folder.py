"""Loading a diffusers-format folder as ComfyUI's MODEL, CLIP and VAE."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.sd
import comfy.text_encoders.wan
import comfy.utils
import folder_paths
import torch

from ....demo import MODEL_DIR
from ....demo.latent_colours import BIAS, FACTORS
from ..families import give_per_frame_timesteps
from .wan_keys import transformer_to_original, vae_to_original

log = logging.getLogger(__name__)

DEMO = "demo model (built in)"
DEMO_VACE = "demo model with VACE (built in)"
BUILT_IN = (DEMO, DEMO_VACE)
BRANCHES = {DEMO_VACE: "vace"}  #: names whose folder holds weights to be added to the transformer's, and where
SUPPORTED = (
    "Wan 2.1 text-to-video, image-to-video and VACE, and either transformer of Wan 2.2 A14B (transformer "
    "WanTransformer3DModel or WanVACETransformer3DModel, text encoder UMT5EncoderModel, VAE AutoencoderKLWan with 16 "
    "channels)"
)
_TRANSFORMERS = ("WanTransformer3DModel", "WanVACETransformer3DModel")
_TEXT_WIDTH = 4096  # ComfyUI's Wan code fixes it
_SMALL_TEXT_ENCODER = 100_000_000  # parameters
_ACTIVATIONS = {"gelu_new": "gelu_pytorch_tanh", "gelu": "gelu_pytorch_tanh", "relu": "relu"}


def list_folders() -> list[str]:
    """Names to choose from: the demo models, and every folder under ``models/diffusers`` with a model_index.json."""
    found = set()
    for base in map(Path, folder_paths.get_folder_paths("diffusers")):
        found.update(str(index.parent.relative_to(base)) for index in base.glob("**/model_index.json"))
    return [*BUILT_IN, *sorted(found)]


def find_folder(name: str) -> Path:
    """The folder with this name from ``list_folders``.

    Raises:
        ValueError: there is none, or the name points outside ``models/diffusers``.
    """
    if name in BUILT_IN:
        return MODEL_DIR
    for base in map(Path, folder_paths.get_folder_paths("diffusers")):
        folder = (base / name).resolve()
        if folder.is_relative_to(base.resolve()) and (folder / "model_index.json").is_file():
            return folder
    raise ValueError(
        f"There is no diffusers folder {name!r}. Put the folder that contains model_index.json into models/diffusers, "
        f"then refresh the page. Found: {', '.join(list_folders())}."
    )


def read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.name} is missing in {path.parent.name!r}: Download it again.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.parent.name}/{path.name} is not valid JSON ({error}). Download it again.") from error


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of one part of a pipeline, from one safetensors file or from shards with an index.

    Raises:
        ValueError: no safetensors there, a shard is missing, or the index names a file outside the folder.
    """
    names = []
    for index in sorted(folder.glob("*.safetensors.index.json")):
        names = sorted(set(read_json(index)["weight_map"].values()))
        break
    if not names:
        # With several variants (fp16, ema ...) the plain one has the shortest name.
        names = [path.name for path in sorted(folder.glob("*.safetensors"), key=lambda path: len(path.name))[:1]]
    if not names:
        raise ValueError(f"There are no safetensors weights in {folder.name!r}. Download them (not the .bin files).")
    weights: dict[str, torch.Tensor] = {}
    for name in names:
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ValueError(f"The weights file {name!r} of {folder.name!r} is missing. Download the folder again.")
        weights.update(comfy.utils.load_torch_file(str(path), safe_load=True))
    return weights


def check_pipeline(folder: Path, part: str = "transformer") -> None:
    """Check, before anything is loaded, that the folder holds a format that this pack can load.

    Raises:
        ValueError: another format; the message lists what is supported.
    """
    index = read_json(folder / "model_index.json")
    expected = {part: _TRANSFORMERS, "text_encoder": ("UMT5EncoderModel",), "vae": ("AutoencoderKLWan",)}
    for name, wanted in expected.items():
        found = (index.get(name) or [None, None])[1]
        if found not in wanted:
            raise ValueError(
                f"{folder.name!r} is a {index.get('_class_name', 'pipeline without a name')} whose {name} is {found}, "
                f"which cannot be loaded. Supported: {SUPPORTED}."
            )
    vae = read_json(folder / "vae" / "config.json")
    if vae.get("z_dim", 16) != 16 or vae.get("is_residual"):
        raise ValueError(f"The VAE of {folder.name!r} is not Wan 2.1's. Supported: {SUPPORTED}.")
    text_width = read_json(folder / part / "config.json").get("text_dim", _TEXT_WIDTH)
    if text_width != _TEXT_WIDTH:
        raise ValueError(f"text_dim of {folder.name!r} is {text_width}; ComfyUI's Wan code needs {_TEXT_WIDTH}.")


def load_pipeline(folder: Path, part: str = "transformer", branch: str = "") -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a folder. ``branch``: the folder of weights that are added to the transformer's.

    The host's nodes for other devices, and its hooks where it pages weights in on demand, load a model once more. Each
    of the three tells them how.
    """
    model, clip, vae = load_model(folder, part, branch), load_clip(folder), load_vae(folder)
    model.cached_patcher_init = (load_model, (folder, part, branch))
    clip.patcher.cached_patcher_init = (_clip_patcher, (folder,))
    vae.patcher.cached_patcher_init = (_vae_patcher, (folder,))
    return model, clip, vae


def _clip_patcher(folder: Path, disable_dynamic: bool = False) -> Any:
    return load_clip(folder, disable_dynamic).patcher


def _vae_patcher(folder: Path, disable_dynamic: bool = False) -> Any:
    # The host's VAE has no such choice: it is made for the device, and a copy takes its weights alone.
    return load_vae(folder).patcher


def dynamic(loader: Callable, disable_dynamic: bool) -> dict[str, bool]:
    """The argument that keeps a patcher from paging weights in on demand, for hosts that know it."""
    return {"disable_dynamic": True} if disable_dynamic and "disable_dynamic" in signature(loader).parameters else {}


def load_model(folder: Path, part: str = "transformer", branch: str = "", disable_dynamic: bool = False) -> Any:
    """The MODEL, with the noise-level shift that the folder's scheduler asks for, and noise levels by latent frame.

    The latter where the folder says ``expand_timesteps``: such a model knows clean frames among noisy ones, unless a
    VACE branch shows it what is clean. ``branch``: see ``load_pipeline``.
    ``disable_dynamic``: whether all weights are to be loaded at once where the host could page them in on demand.
    """
    weights = transformer_to_original(read_weights(folder / part) | (read_weights(folder / branch) if branch else {}))
    loader = comfy.sd.load_diffusion_model_state_dict
    model = loader(weights, **dynamic(loader, disable_dynamic))
    if model is None:
        raise ValueError(f"ComfyUI does not recognise the transformer of {folder.name!r}. Supported: {SUPPORTED}.")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    shift = scheduler.get("flow_shift", scheduler.get("shift"))
    if shift is not None:
        current = model.get_model_object("model_sampling")
        sampling = type(current)(model.model.model_config)
        sampling.set_parameters(shift=float(shift), multiplier=current.multiplier)
        model.add_object_patch("model_sampling", sampling)
    if folder == MODEL_DIR:
        _preview_in_its_colours(model)
    if read_json(folder / "model_index.json").get("expand_timesteps") and not branch:
        give_per_frame_timesteps(model)
    return model


def _preview_in_its_colours(model: Any) -> None:
    """Have the host's preview of the demo model show its own colours: its latents are not those of Wan's VAE."""
    shown = model.model.latent_format  # this model's own
    shown.latent_rgb_factors = [list(row) for row in FACTORS]
    shown.latent_rgb_factors_bias = list(BIAS)
    shown.taesd_decoder_name = None  # a small decoder of Wan's latents


def load_clip(folder: Path, disable_dynamic: bool = False) -> Any:
    """The CLIP: UMT5 of any size, with the folder's own tokenizer. ``disable_dynamic``: see ``load_model``."""
    config = read_json(folder / "text_encoder" / "config.json")
    weights = read_weights(folder / "text_encoder")
    if "shared.weight" not in weights:
        weights["shared.weight"] = weights["encoder.embed_tokens.weight"]
    vocabulary = folder / "tokenizer" / "spiece.model"
    if not vocabulary.is_file():
        raise ValueError(f"tokenizer/spiece.model is missing in {folder.name!r}. Download the folder again.")
    pieces = torch.frombuffer(bytearray(vocabulary.read_bytes()), dtype=torch.uint8)

    target = SimpleNamespace(
        params={}, clip=comfy.text_encoders.wan.te(), tokenizer=comfy.text_encoders.wan.WanT5Tokenizer
    )
    sizes = {key: config[key] for key in ("d_ff", "d_kv", "d_model", "num_heads", "num_layers", "vocab_size")}
    gated, _, activation = config.get("feed_forward_proj", "gated-gelu").rpartition("-")
    sizes |= {"is_gated_act": gated == "gated", "dense_act_fn": _ACTIVATIONS[config.get("dense_act_fn", activation)]}
    options: dict[str, Any] = {"umt5xxl_model_config": sizes}
    parameters = comfy.utils.calculate_parameters(weights)
    if parameters < _SMALL_TEXT_ENCODER:  # the host's half precision would save nothing and cost accuracy
        options["dtype"] = torch.float32
    return comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        tokenizer_data={"spiece_model": pieces},
        parameters=parameters,
        state_dict=[weights],
        model_options=options,
        **dynamic(comfy.sd.CLIP, disable_dynamic),
    )


def load_vae(folder: Path) -> Any:
    """The VAE."""
    vae = comfy.sd.VAE(sd=vae_to_original(read_weights(folder / "vae")))
    vae.throw_exception_if_invalid()
    return vae
