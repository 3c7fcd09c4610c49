"""Files of tunings through ComfyUI's own LoRA loader."""

import comfy.lora
import comfy.model_management
import comfy.sd
import comfy.utils
import torch
from pipelines import load
from safetensors.torch import load_file, save_file


def velocity(given: str, file: str, out: str, strength: float) -> list:
    """One call of the demo model with the low-rank weights of a file; the keys that the loader did not read."""
    lora = comfy.utils.load_torch_file(file, safe_load=True)
    model, _, _ = load()
    read = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_unet(model.model, {}))
    seen = set().union(*(patch.loaded_keys for patch in read.values()))
    made, _ = comfy.sd.load_lora_for_models(model, None, lora, strength, 0)
    tensors = load_file(given)
    comfy.model_management.load_models_gpu([made])
    try:
        with torch.no_grad():
            result = made.model.diffusion_model(tensors["x"], tensors["timestep"], context=tensors["context"])
    finally:
        made.detach()
    save_file({"velocity": result.float().contiguous()}, out)
    return sorted(set(lora) - seen)
