"""CLIP's towers and the image VAE of a diffusers folder, of any size: the host's own loaders know published ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.utils
import folder_paths
import torch

from .pipeline_folder import read_weights

_HOSTS_VOCABULARY = 49408  # tokens of the host's own CLIP, whatever a file has


def load_text_encoder(folder: Path) -> Any:
    """The CLIP of a folder with ``text_encoder`` and ``tokenizer``."""
    config = json.loads((folder / "text_encoder" / "config.json").read_text(encoding="utf-8"))
    weights = read_weights(folder / "text_encoder")
    for name in [name for name in weights if name.endswith("token_embedding.weight")]:
        rows = weights[name]
        weights[name] = torch.cat([rows, rows.new_zeros(_HOSTS_VOCABULARY - len(rows), rows.shape[1])])
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]}
    path = str(folder / "tokenizer")

    class Tokens(comfy.sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
            super().__init__(
                path, embedding_directory=embedding_directory, embedding_size=config["hidden_size"],
                embedding_key="clip_l", tokenizer_data=tokenizer_data or {},
            )  # fmt: skip

    class Encoder(comfy.sd1_clip.SDClipModel):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
            super().__init__(
                device=device, dtype=dtype, textmodel_json_config=dict(config), special_tokens=special,
                return_projected_pooled=False, model_options=model_options or {},
            )  # fmt: skip

    class Tokenizer(comfy.sd1_clip.SD1Tokenizer):
        def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
            super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=Tokens)

    class Model(comfy.sd1_clip.SD1ClipModel):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
            super().__init__(device=device, dtype=dtype, model_options=model_options or {}, clip_model=Encoder)

    return comfy.sd.CLIP(
        SimpleNamespace(params={}, clip=Model, tokenizer=Tokenizer),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=comfy.utils.calculate_parameters(weights),
        state_dict=[weights],
        model_options={"dtype": torch.float32},
    )


def load_image_encoder(folder: Path) -> Any:
    """The CLIP_VISION of a folder with ``image_encoder``."""
    place = folder / "image_encoder"
    vision = comfy.clip_vision.ClipVisionModel(str(place / "config.json"))
    vision.load_sd(read_weights(place))
    return vision


def load_image_vae(folder: Path) -> Any:
    """The VAE of a folder with ``vae``, on diffusers' own class: the host's has one number of groups in its norms."""
    from diffusers import AutoencoderKL

    network = _Autoencoder(AutoencoderKL.from_pretrained(str(folder / "vae")))
    vae = comfy.sd.VAE(sd=_HOSTS_SMALLEST(), config=_HOSTS_CONFIG)
    vae.first_stage_model = network.to(vae.vae_dtype).eval().requires_grad_(False)
    vae.patcher = comfy.model_patcher.ModelPatcher(
        vae.first_stage_model, load_device=vae.device, offload_device=comfy.model_management.vae_offload_device()
    )
    return vae


class _Autoencoder(torch.nn.Module):
    """diffusers' autoencoder as the host calls its own."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents ``b 4 h w`` of frames ``b 3 (8 h) (8 w)`` in -1..1; the mean of each."""
        return self.vae.encode(pixels).latent_dist.mode()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The reverse."""
        return self.vae.decode(latents, return_dict=False)[0]


#: The smallest network of the host's own class, whose place the other takes.
_HOSTS_CONFIG = {
    "params": {
        "embed_dim": 4,
        "ddconfig": {
            "double_z": True, "z_channels": 4, "resolution": 8, "in_channels": 3, "out_ch": 3, "ch": 32,
            "ch_mult": [1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
        },
    }
}  # fmt: skip


def _HOSTS_SMALLEST() -> dict[str, torch.Tensor]:
    import comfy.ldm.models.autoencoder

    return comfy.ldm.models.autoencoder.AutoencoderKL(**_HOSTS_CONFIG["params"]).state_dict()
