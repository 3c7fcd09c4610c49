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


SIZE, CLIP = 64, 61
WINDOWS = {"window": CLIP, "overlap": 8, "schedule": "shifted", "merge": "pyramid", "windows_per_forward": 0}


def masks(frames: torch.Tensor, words: str, grow: int = 0) -> torch.Tensor:
    """GroundedMask's mask of what is drawn, ``t h w``."""
    from long_video_pack.glv_core.hosts.comfy.vision.grounding_models import DEMO_DETECTOR
    from long_video_pack.nodes.grounded_mask import GroundedMask

    return GroundedMask.execute(
        frames, words, "tracked", DEMO_DETECTOR, "facebook/sam2.1-hiera-small", 0.25, 0.25, 0, "auto", "", 30, 400,
        grow, 0, 0, False, "empty", SIZE, False,
    ).args[0]  # fmt: skip


def control(frames: torch.Tensor, kind: str) -> torch.Tensor:
    """Control images of drawn frames: near is bright, as depth is, or the edges."""
    from long_video_pack.nodes.control_preprocess import ControlPreprocess

    if kind == "depth":
        return masks(frames, "object")[..., None].expand(-1, -1, -1, 3)
    return ControlPreprocess.execute(
        frames, {"kind": kind, "low_threshold": 100, "high_threshold": 200}, SIZE, 8, 8
    ).args[0]


def conditioned(vae, positive: list, negative: list, control_video, control_masks, fill_masked: bool) -> tuple:
    """LongVaceConditioning: positive, negative, latent."""
    from long_video_pack.nodes.long_vace_conditioning import LongVaceConditioning

    return LongVaceConditioning.execute(
        positive, negative, vae, SIZE, SIZE, 0, 1.0, fill_masked, control_video, control_masks
    ).args[:3]


def edited(
    scene: list,
    prompts: str,
    num_frames: int,
    mode: str,
    how: str = "ours",
    seed: int = 0,
    steps: int = 20,
    cfg: float = 2.0,
    transition: float = 8.0,
    more: dict | None = None,
    path: str = "",
) -> dict:
    """Edits a drawn video with the demo model's VACE branch; saves its frames ``t h w 3`` and says what it cost.

    Args:
        scene: what is drawn: shape, colour, background, direction, where it begins.
        prompts: the words of the edit, on a timeline.
        num_frames: 4 n + 1.
        mode: depth or canny, a control of all of the video; mask: what GroundedMask finds is painted anew.
        how: ours; isolated: ours with isolated clips; core: the host's context windows; loop: the host's sampler on
            one clip after the other.
        seed, steps, cfg: of the sampler.
        transition: frames of a change of prompts.
        more: other inputs of CoDenoiseKSampler.
        path: where to save the frames, as .npy.
    """
    import time

    import numpy as np
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler
    from long_video_pack.nodes.composite_edit import CompositeEdit
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    model, clip, vae = pipeline(vace=True)
    source = drawn(scene, num_frames)
    mask = masks(source, "object", grow=3) if mode == "mask" else None
    hint = source if mode == "mask" else control(source, mode)
    model, passes = model.clone(), []

    def count(apply_model, arguments):
        outputs = arguments["cond_or_uncond"]
        passes.append(arguments["input"].shape[0] // len(outputs) * outputs.count(0))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(count)
    negative = [[clip.encode_from_tokens(clip.tokenize("")), {}]]
    begin = time.perf_counter()
    if how in ("ours", "isolated"):
        positive = MultiPromptSchedule.execute(clip, prompts, num_frames, 16.0, "linear", transition).args[0]
        positive, negative, latent = conditioned(vae, positive, negative, hint, mask, mode == "mask")
        windows = {**WINDOWS, **(more or {}), "isolated_clips": how == "isolated"}
        samples = CoDenoiseKSampler.execute(
            model, seed, steps, cfg, "uni_pc", "simple", positive, negative, latent, 1.0, **windows
        ).args[0]["samples"]
        frames = vae.decode(samples).flatten(0, 1).float()
    else:
        frames = _host(model, clip, vae, prompts, num_frames, hint, mask, mode == "mask", how, seed, steps, cfg)
    if mask is not None:
        frames = CompositeEdit.execute(source, frames.clamp(0, 1), mask, 0, 0).args[1]
    seconds = time.perf_counter() - begin
    np.save(path, frames.clamp(0, 1).numpy())
    return {"passes": sum(passes), "seconds": seconds, "frames": len(frames)}


def _host(model, clip, vae, prompts, num_frames, hint, mask, fill_masked, how, seed, steps, cfg) -> torch.Tensor:
    """The host's own ways: a prompt's segment is its text, its context windows or one clip after the other."""
    import comfy.context_windows as context_windows
    from long_video_pack.glv_core.prompts import parse_schedule

    import nodes

    schedule = parse_schedule(prompts, num_frames=num_frames, fps=16.0)

    def text(prompt: str) -> list:
        return [[clip.encode_from_tokens(clip.tokenize(prompt)), {}]]

    if how == "core":
        # The host shares the conds of a list out over its windows, in order.
        positive = [entry for segment in schedule.segments for entry in text(segment.prompt)]
        positive, negative, latent = conditioned(vae, positive, text(""), hint, mask, fill_masked)
        patched = model.clone()
        patched.model_options["context_handler"] = context_windows.IndexListContextHandler(
            context_schedule=context_windows.get_matching_context_schedule("standard_static"),
            fuse_method=context_windows.get_matching_fuse_method("pyramid"),
            context_length=16, context_overlap=4, context_stride=1, closed_loop=False, dim=2,
            split_conds_to_windows=len(positive) > 1,
        )  # fmt: skip
        context_windows.create_prepare_sampling_wrapper(patched)
        samples = nodes.common_ksampler(patched, seed, steps, cfg, "uni_pc", "simple", positive, negative, latent)[0]
        return vae.decode(samples["samples"]).flatten(0, 1).float()
    parts = []
    for start in range(0, num_frames, CLIP):
        length = min(CLIP, num_frames - start)
        middle = start + length // 2
        prompt = next(segment.prompt for segment in schedule.segments if segment.end > middle)
        # A clip has 4 n + 1 frames; what is left over at the end is made with the frame before it.
        first = start if length % 4 == 1 else max(0, num_frames - CLIP)
        part = slice(first, start + length)
        positive, negative, latent = conditioned(
            vae, text(prompt), text(""), hint[part], None if mask is None else mask[part], fill_masked
        )
        samples = nodes.common_ksampler(model, seed, steps, cfg, "uni_pc", "simple", positive, negative, latent)[0]
        parts.append(vae.decode(samples["samples"]).flatten(0, 1).float()[-length:])
    return torch.cat(parts)
