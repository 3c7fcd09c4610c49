"""CLIP's two towers and the image VAE of a diffusers folder, of any size: the host's own loaders know published ones.

Towers are the host's classes. The VAE's layers are diffusers', behind the host's VAE, whose own network has norms of
32 groups whatever its width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.ldm.models.autoencoder
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.utils
import folder_paths
import torch

from .pipeline_folder import dynamic, read_json, read_weights
from .unet3d import needing_diffusers

#: The smallest network of the host's, in whose place the folder's goes.
_STAND_IN = {
    "embed_dim": 4,
    "ddconfig": {
        "double_z": True, "z_channels": 4, "resolution": 8, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1],
        "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    },
}  # fmt: skip


def load_text_encoder(folder: Path, left_out: int = 0) -> Any:
    """The CLIP of a folder with ``text_encoder`` (``CLIPTextModel``) and ``tokenizer``, in 32 bits.

    ``left_out``: layers at its end that are not run; the last norm is.

    Raises:
        ValueError: weights are missing or unknown.
    """
    clip = _text_encoder(folder, left_out)
    clip.patcher.cached_patcher_init = (_text_patcher, (folder, left_out))
    return clip


def load_image_encoder(folder: Path) -> Any:
    """The CLIP_VISION of a folder with ``image_encoder`` (``CLIPVisionModelWithProjection``).

    Images are made ready as ``feature_extractor`` says.

    Raises:
        ValueError: weights are missing or unknown.
    """
    place = folder / "image_encoder"
    seen = read_json(folder / "feature_extractor" / "preprocessor_config.json")
    config = read_json(place / "config.json") | {name: seen[name] for name in ("image_mean", "image_std")}
    with TemporaryDirectory() as temporary:  # older releases of the host read it from a file only
        file = Path(temporary, "config.json")
        file.write_text(json.dumps(config), encoding="utf-8")
        vision = comfy.clip_vision.ClipVisionModel(str(file))
    missing, unknown = vision.load_sd(_read_clip(place))
    _check_names("image_encoder", folder, missing, unknown)
    return vision


def load_image_vae(folder: Path) -> Any:
    """The VAE of a folder with ``vae`` (``AutoencoderKL``), in 32 bits; encoding gives the mean.

    Raises:
        ValueError: diffusers is not installed, or weights are missing or unknown.
    """
    with needing_diffusers("This VAE"):
        from diffusers import AutoencoderKL
    config = read_json(folder / "vae" / "config.json")
    network = AutoencoderKL.from_config(config)
    found = network.load_state_dict(read_weights(folder / "vae"), strict=False)
    _check_names("vae", folder, found.missing_keys, found.unexpected_keys)
    weights = comfy.ldm.models.autoencoder.AutoencoderKL(**_STAND_IN).state_dict()
    vae = comfy.sd.VAE(sd=weights, config={"params": _STAND_IN}, dtype=torch.float32)
    vae.latent_channels = config["latent_channels"]
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(config["block_out_channels"]) - 1)
    vae.first_stage_model = _Autoencoder(network).to(vae.vae_dtype).eval().requires_grad_(False)
    vae.disable_offload = True  # layers that are not the host's go to the device together
    vae.patcher = comfy.model_patcher.ModelPatcher(
        vae.first_stage_model, load_device=vae.device, offload_device=comfy.model_management.vae_offload_device()
    )
    vae.size = comfy.model_management.module_size(vae.first_stage_model)
    vae.patcher.cached_patcher_init = (_vae_patcher, (folder,))
    return vae


class _Autoencoder(torch.nn.Module):
    """diffusers' autoencoder as the host calls its own; its weights keep their names."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Means of the latents, not scaled, ``b c h w``, of frames ``b 3 (8 h) (8 w)`` in -1..1."""
        return self.quant_conv(self.encoder(pixels)).chunk(2, dim=1)[0]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames of such latents."""
        return self.decoder(self.post_quant_conv(latents))


def _read_clip(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of one of CLIP's towers, without the numbers of places that old releases of transformers wrote."""
    return {name: each for name, each in read_weights(folder).items() if not name.endswith("position_ids")}


def _text_encoder(folder: Path, left_out: int, disable_dynamic: bool = False) -> Any:
    config = read_json(folder / "text_encoder" / "config.json")
    weights = {name: each.float() for name, each in _read_clip(folder / "text_encoder").items()}
    width = config["hidden_size"]
    weights["text_projection.weight"] = torch.eye(width)  # this tower has none
    clip = comfy.sd.CLIP(
        SimpleNamespace(params={}, clip=_tower(config, left_out), tokenizer=_tokenizer(folder / "tokenizer", config)),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=comfy.utils.calculate_parameters(weights),
        state_dict=[weights],
        model_options={"dtype": torch.float32},
        **dynamic(comfy.sd.CLIP, disable_dynamic),
    )
    prefix = "clip_l.transformer."
    held = [name.removeprefix(prefix) for name in clip.get_sd() if name.startswith(prefix)]
    missing, unknown = set(held) - set(weights), set(weights) - set(held)
    _check_names("text_encoder", folder, missing, unknown)
    return clip


def _text_patcher(folder: Path, left_out: int, disable_dynamic: bool = False) -> Any:
    return _text_encoder(folder, left_out, disable_dynamic).patcher


def _vae_patcher(folder: Path, disable_dynamic: bool = False) -> Any:
    return load_image_vae(folder).patcher  # never paged in on demand


def _tower(config: dict[str, Any], left_out: int) -> Callable[..., Any]:
    """What makes the host's text encoder of these sizes."""
    layer = {"layer": "hidden", "layer_idx": -1 - left_out} if left_out else {}
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]}

    class Transformer(comfy.clip_model.CLIPTextModel):
        """The host's, which has room for CLIP's own vocabulary, with that of the folder."""

        def __init__(self, config_dict: Any, dtype: Any, device: Any, operations: Any) -> None:
            super().__init__(config_dict, dtype, device, operations)
            sizes = config["vocab_size"], config["hidden_size"]
            self.set_input_embeddings(operations.Embedding(*sizes, dtype=dtype, device=device))

    class Encoder(comfy.sd1_clip.SDClipModel):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
            super().__init__(
                device=device, max_length=config["max_position_embeddings"], dtype=dtype, textmodel_json_config=config,
                special_tokens=special, model_class=Transformer, return_projected_pooled=False,
                model_options=model_options or {}, **layer,
            )  # fmt: skip

    def make(device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> Any:
        return comfy.sd1_clip.SD1ClipModel(
            device=device, dtype=dtype, model_options=model_options or {}, clip_model=Encoder
        )

    return make


def _tokenizer(folder: Path, config: dict[str, Any]) -> Callable[..., Any]:
    """What makes the host's tokenizer of this folder's vocabulary."""

    def words(embedding_directory: Any = None, tokenizer_data: Any = None) -> Any:
        made = comfy.sd1_clip.SDTokenizer(
            str(folder), max_length=config["max_position_embeddings"], embedding_directory=embedding_directory,
            embedding_size=config["hidden_size"], tokenizer_data=tokenizer_data or {},
        )  # fmt: skip
        made.pad_token = made.tokenizer.pad_token_id  # OpenCLIP's is another than the end
        return made

    def make(embedding_directory: Any = None, tokenizer_data: Any = None) -> Any:
        return comfy.sd1_clip.SD1Tokenizer(embedding_directory, tokenizer_data or {}, tokenizer=words)

    return make


def _check_names(part: str, folder: Path, missing: Collection[str], unknown: Collection[str]) -> None:
    for found, what in ((missing, "lacks"), (unknown, "has the unknown")):
        if found:
            raise ValueError(f"The {part} of {folder.name!r} {what} {', '.join(sorted(found)[:3])}. Download it again.")
