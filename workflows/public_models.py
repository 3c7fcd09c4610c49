"""Where the public models of the workflows are to be had: the editor offers to download what is missing.

Addresses are those of ComfyUI's own templates. A file that they do not name has none here; the graph's note names it.
"""

from __future__ import annotations

_HUB = "https://huggingface.co"
_WAN_21 = f"{_HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
_WAN_22 = f"{_HUB}/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
_H3 = f"{_HUB}/Comfy-Org/MiniMax-H3/resolve/main"
#: File name -> folder under ``models``, and the address of the folder that it is in.
MODELS = {
    "wan2.1_t2v_1.3B_fp16.safetensors": ("diffusion_models", f"{_WAN_21}/diffusion_models"),
    "wan2.1_vace_1.3B_fp16.safetensors": ("diffusion_models", f"{_WAN_21}/diffusion_models"),
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": ("text_encoders", f"{_WAN_21}/text_encoders"),
    "wan_2.1_vae.safetensors": ("vae", f"{_WAN_21}/vae"),
    "wan2.2_ti2v_5B_fp16.safetensors": ("diffusion_models", f"{_WAN_22}/diffusion_models"),
    "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors": ("diffusion_models", f"{_WAN_22}/diffusion_models"),
    "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors": ("diffusion_models", f"{_WAN_22}/diffusion_models"),
    "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors": ("diffusion_models", f"{_WAN_22}/diffusion_models"),
    "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors": ("diffusion_models", f"{_WAN_22}/diffusion_models"),
    "wan2.2_vae.safetensors": ("vae", f"{_WAN_22}/vae"),
    "ltx-2.3-22b-dev-fp8.safetensors": ("checkpoints", f"{_HUB}/Lightricks/LTX-2.3-fp8/resolve/main"),
    "gemma_3_12B_it_fp4_mixed.safetensors": (
        "text_encoders", f"{_HUB}/Comfy-Org/ltx-2/resolve/main/split_files/text_encoders"
    ),
    "ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors": (
        "loras", f"{_HUB}/Comfy-Org/ltx-2.3/resolve/main/split_files/loras"
    ),
    "ltx-2.3-22b-ic-lora-union-control-ref0.5.safetensors": (
        "loras", f"{_HUB}/Lightricks/LTX-2.3-22b-IC-LoRA-Union-Control/resolve/main"
    ),
    "minimax_h3_fl2va_pruned_int8_convrot.safetensors": ("diffusion_models", f"{_H3}/diffusion_models"),
    "qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors": ("text_encoders", f"{_H3}/text_encoders"),
    "minimax_h3_video_vae_fp16.safetensors": ("vae", f"{_H3}/vae"),
    "minimax_h3_audio_vae_fp32.safetensors": ("vae", f"{_H3}/vae"),
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "checkpoints", f"{_HUB}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main"
    ),
}  # fmt: skip


def public_models(values: list) -> list[dict[str, str]]:
    """What the editor is told (``properties.models``) of the files that a node's values name."""
    found = [value for value in values if isinstance(value, str) and value in MODELS]
    return [{"name": name, "url": f"{MODELS[name][1]}/{name}", "directory": MODELS[name][0]} for name in found]
