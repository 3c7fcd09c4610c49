"""ComfyUI's own SAM 3 and SAM 3.1 with few channels and random weights, on squares of 1008 or fewer pixels."""

import torch


def network(kind: str, size: int = 1008):
    """``kind``: SAM3 or SAM31; ``size``: pixels of the square, a multiple of 14."""
    import comfy.ldm.sam3.detector as sam3
    import comfy.ldm.sam3.sam as sam
    import comfy.ops

    with torch.random.fork_rng(), torch.inference_mode(False):
        torch.manual_seed(1)
        model = sam3.SAM3Model(
            dtype=torch.float32, operations=comfy.ops.disable_weight_init, image_model=kind, d_model=32, embed_dim=64,
            depth=1, num_heads=16, mem_dim=16 if kind == "SAM3" else 32, img_size=size,
        )  # fmt: skip
        model.requires_grad_(False)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)  # so much that masks are neither full nor empty
        for part in (model.detector.transformer.encoder, model.detector.transformer.decoder):
            part.layers = part.layers[:1]
        tracker, side = model.tracker, size // 14
        tracker.image_size = size
        tracker.maskmem_backbone.mask_downsampler.interpol_size = [size * 8 // 7] * 2
        encoder = tracker.transformer.encoder
        heads = 1 if kind == "SAM3" else 8
        encoder._rope = sam.rope_2d(side, side, 32 // heads)
        for name in ("sam_prompt_encoder", "interactive_sam_prompt_encoder"):
            if hasattr(tracker, name):
                prompts = getattr(tracker, name)
                prompts.image_embedding_size, prompts.input_image_size = (side, side), (size, size)
        for name in ("sam_mask_decoder", "interactive_sam_mask_decoder"):
            if hasattr(tracker, name):  # else there is never an object
                getattr(tracker, name).pred_obj_score_head.layers[-1].bias.fill_(5)
    return model


def host_model(kind: str, size: int = 1008):
    """The same as a MODEL."""
    import comfy.model_management
    import comfy.model_patcher

    holder = torch.nn.Module()
    holder.diffusion_model = network(kind, size)
    holder.get_dtype = lambda: torch.float32
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(holder, device, device)


def conditioning() -> list:
    """What stands for the text."""
    text = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(1))
    return [[text, {"attention_mask": torch.ones(1, 4)}]]
