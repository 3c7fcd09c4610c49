"""Long video from short diffusion models, in ComfyUI."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI asks here for the pack's nodes."""
    from .nodes import LongVideoExtension

    return LongVideoExtension()
