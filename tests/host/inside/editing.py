"""Editing on the demo model, through the nodes. Runs inside ComfyUI."""

import torch

_LOADED = {}


def pipeline(vace: bool = False):
    """MODEL, CLIP and VAE of the demo model."""
    from long_video_pack.glv_core.hosts.comfy.loading.pipeline_folder import DEMO, DEMO_VACE
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    name = DEMO_VACE if vace else DEMO
    if name not in _LOADED:
        _LOADED[name] = LoadVideoPipeline.execute(name, "transformer").args
    return _LOADED[name]


def drawn(scene: list, num_frames: int) -> torch.Tensor:
    """The frames of a scene ``[shape, colour, background, direction, along]``: ``t h w 3`` in 0..1."""
    from long_video_pack.glv_core.demo.clips import centred_scene, render

    return render(centred_scene(*scene), num_frames).permute(0, 2, 3, 1).contiguous()


def video(frames: torch.Tensor):
    """A VIDEO of frames in memory."""
    from fractions import Fraction

    from comfy_api.latest import InputImpl, Types

    return InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, audio=None, frame_rate=Fraction(16)))


def encoded(vae, frames: torch.Tensor) -> dict:
    """The LATENT of frames."""
    from long_video_pack.nodes.encode_long_video import EncodeLongVideo

    return EncodeLongVideo.execute(video(frames), vae, 0, 0).args[0]


def inversion(scene: list, num_frames: int, steps: int, refinements: int, windows: dict, strength: float = 1.0) -> dict:
    """Inverts a drawn video and samples it again with its own prompt and guidance 1.

    Returns the PSNR in dB between what comes back and the VAE's own round trip, in pixels.
    """
    from long_video_pack.glv_core.demo.clips import centred_scene
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler
    from long_video_pack.nodes.invert_long_latent import InvertLongLatent

    model, clip, vae = pipeline()
    latent = encoded(vae, drawn(scene, num_frames))
    positive = [[clip.encode_from_tokens(clip.tokenize(centred_scene(*scene).prompt())), {}]]
    noise, same, start = InvertLongLatent.execute(
        model, positive, latent, steps, "simple", strength, 1.0, refinements, 0, **windows
    ).args
    made = CoDenoiseKSampler.execute(
        model, 0, steps, 1.0, "euler", "simple", positive, positive, same, 1.0, start_at_step=start,
        initial_noise=noise, **windows,
    ).args[0]["samples"]  # fmt: skip
    wanted, got = (vae.decode(samples).flatten(0, 1).float().clamp(0, 1) for samples in (latent["samples"], made))
    found = noise.generate_noise(latent)
    return {
        "psnr": float(-10 * (wanted - got).square().mean().log10()),
        "std": float(found.std()),
        "frames": wanted.shape[0],
    }
