"""Loading I2VGen-XL, which refines StreamingSVD's videos, as ComfyUI's MODEL, CLIP, VAE and CLIP_VISION."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import comfy.conds
import comfy.model_base
import comfy.sd
import torch

from ....streamingt2v.lengths import Chunking, chunk_starts
from ..families.i2vgen_xl import CHUNK, FPS, IMAGE_EMBEDDINGS, IMAGE_LATENTS, IMAGES, OVERLAP, SEEN, TOLD_FPS
from .pipeline_folder import BUILT_IN, find_folder, list_folders, read_json, read_weights
from .sd_folder import load_image_encoder, load_image_vae, load_text_encoder
from .unet3d import FramesAsBatch, make_patcher, needing_diffusers, network_dtype

REPOSITORY = "ali-vilab/i2vgen-xl"
_WEIGHTS = "*.safetensors"
_PARTS = {
    "unet": ("config.json", _WEIGHTS),
    "text_encoder": ("config.json", _WEIGHTS),
    "tokenizer": ("vocab.json", "merges.txt"),
    "image_encoder": ("config.json", _WEIGHTS),
    "feature_extractor": ("preprocessor_config.json",),
    "vae": ("config.json", _WEIGHTS),
    "scheduler": ("scheduler_config.json",),
}
_CLASSES = {
    "unet": "I2VGenXLUNet", "text_encoder": "CLIPTextModel", "image_encoder": "CLIPVisionModelWithProjection",
    "vae": "AutoencoderKL",
}  # fmt: skip
_PREDICTIONS = {
    "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
    "epsilon": comfy.model_base.ModelType.EPS,
}
_PUBLISHED_VAE = [128, 256, 512, 512]  # widths of Stable Diffusion's, which the host has itself
_LAYERS_LEFT_OUT = 1  # of the text encoder, at its end


class Loaded(NamedTuple):
    """What a folder gives."""

    model: Any
    clip: Any
    vae: Any
    clip_vision: Any


def list_pipelines() -> list[str]:
    """Folders below ``models/diffusers`` that are pipelines."""
    return [name for name in list_folders() if name not in BUILT_IN]


def load_i2vgen_xl(name: str) -> Loaded:
    """MODEL, CLIP, VAE and CLIP_VISION.

    Args:
        name: of ``list_pipelines``.

    Raises:
        ValueError: the folder is not there, holds another pipeline or lacks files, all of them in one message; weights
            are others; or diffusers is not installed.
    """
    folder = find_folder(name)
    check_folder(folder)
    model = load_model(folder)
    model.cached_patcher_init = (load_model, (folder,))
    return Loaded(model, load_text_encoder(folder, _LAYERS_LEFT_OUT), _load_vae(folder), load_image_encoder(folder))


def check_folder(folder: Path) -> None:
    """Check, before anything is loaded, that a folder holds all of I2VGen-XL.

    Raises:
        ValueError: another pipeline, or files are missing; all of them in one message.
    """
    index = read_json(folder / "model_index.json")
    found = {part: (index.get(part) or [None, None])[1] for part in _CLASSES}
    if others := [f"{part} is {found[part]}" for part, wanted in _CLASSES.items() if found[part] != wanted]:
        raise ValueError(
            f"pipeline is {folder.name!r}, a {index.get('_class_name', 'pipeline without a name')} whose "
            f"{', '.join(others)}. This node is for {REPOSITORY}: put that folder into models/diffusers and choose it."
        )
    missing = [
        f"{part}/{file}" for part, files in _PARTS.items() for file in files if not any((folder / part).glob(file))
    ]
    if missing:
        raise ValueError(
            f"{folder.name!r} lacks {', '.join(missing)}. Put them from {REPOSITORY}, as on Hugging Face, into "
            f"{folder}; of weights that are there twice, those with fp16 in their name are enough."
        )


def load_model(folder: Path, disable_dynamic: bool = False) -> Any:
    """The MODEL alone; the host calls it where it needs it once more.

    Raises:
        ValueError: weights are others, its noise is of a kind that is not known, or diffusers is not installed.
    """
    with needing_diffusers("I2VGen-XL"):
        from ...diffusers.i2vgen_xl import make_i2vgen_xl, noise_ratios
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in _PREDICTIONS:
        raise ValueError(
            f"prediction_type of {folder.name!r} is {kind!r} in its scheduler_config.json; it must be "
            f"{' or '.join(_PREDICTIONS)}. Download {REPOSITORY} again."
        )
    network = make_i2vgen_xl(read_json(folder / "unet" / "config.json"), read_weights(folder / "unet"))
    dtype = network_dtype(sum(each.numel() for each in network.parameters()))
    # Module's own cast: that of diffusers warns of what it would leave in 32 bits, which is nothing here.
    network = FramesAsBatch(
        torch.nn.Module.to(network, dtype), dtype, by_frame={IMAGE_LATENTS, IMAGE_EMBEDDINGS, TOLD_FPS}
    )
    model = make_patcher(network, _PREDICTIONS[kind], I2VGenXLModel)
    model.model.model_sampling.set_sigmas(noise_ratios(scheduler))
    return model


class I2VGenXLModel(comfy.model_base.BaseModel):
    """An image-to-video model, of which every window begins with an image of its own."""

    def extra_conds(self, **given: Any) -> dict[str, Any]:
        """What the network is told, of a CONDITIONING's values.

        Raises:
            ValueError: there is no image, it has another size than the video, there is not one for each chunk, or what
                is said of it is another model's.
        """
        conds = super().extra_conds(**given)
        images, seen, noise, device = given.get(IMAGES), given.get(SEEN), given["noise"], given["device"]
        if images is None:
            raise ValueError(
                "I2VGen-XL needs an image beside the prompts. Connect positive and negative through I2VGen-XL "
                "Conditioning."
            )
        if images.shape[-2:] != noise.shape[-2:]:
            sizes = [f"{8 * size[-1]} x {8 * size[-2]}" for size in (images.shape, noise.shape)]
            raise ValueError(
                f"image is encoded at {sizes[0]} pixels and the video at {sizes[1]}. Set width and height of I2VGen-XL "
                "Conditioning to those of the video."
            )
        if (wanted := self.diffusion_model.unet.width) != seen.shape[-1]:
            raise ValueError(
                f"clip_vision says {seen.shape[-1]} numbers of an image, and the model takes {wanted}. Connect the "
                "clip_vision of Load I2VGen-XL to I2VGen-XL Conditioning."
            )
        rows = _image_of_each_frame(len(images), len(noise), Chunking(given[CHUNK], given[OVERLAP]))
        latents = self.process_latent_in(images.to(device))
        conds[IMAGE_LATENTS] = comfy.conds.CONDRegular(latents[rows])
        conds[IMAGE_EMBEDDINGS] = comfy.conds.CONDRegular(seen.to(device)[rows])
        conds[TOLD_FPS] = comfy.conds.CONDRegular(torch.tensor([given[FPS]], device=device))
        return conds


def _image_of_each_frame(images: int, num_frames: int, chunking: Chunking) -> list[int]:
    """Which image a window has that begins with each frame: that of the last chunk that begins no later.

    A single image is that of all of them, ``[0]``.

    Raises:
        ValueError: there are several, and not one for each chunk.
    """
    if images == 1:
        return [0]
    starts = chunk_starts(num_frames, chunking)
    if len(starts) != images:
        raise ValueError(
            f"image has {images} images, and {num_frames} frames in chunks of {chunking.chunk} that share "
            f"{chunking.overlap} are {len(starts)}. Give one image for all, or those of Chunk Key Frames with the same "
            "chunk, overlap and length_policy as the refinement."
        )
    return [sum(start <= frame for start in starts) - 1 for frame in range(num_frames)]


def _load_vae(folder: Path) -> Any:
    if read_json(folder / "vae" / "config.json").get("block_out_channels") != _PUBLISHED_VAE:
        return load_image_vae(folder)
    vae = comfy.sd.VAE(sd=read_weights(folder / "vae"))
    vae.throw_exception_if_invalid()
    return vae
