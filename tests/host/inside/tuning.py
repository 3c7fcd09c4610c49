"""One-shot tuning on the demo model, through the nodes. Runs inside ComfyUI."""

import time

import editing
import numpy as np
import torch
import torch.nn.functional as F

STEPS, CFG = 20, 1.0  # guidance sharpens outlines beyond what was learnt


def conditioning(clip, text: str) -> list:
    """A CONDITIONING of one prompt."""
    return [[clip.encode_from_tokens(clip.tokenize(text)), {}]]


def star_latent(vae) -> tuple[dict, int]:
    """The star's video, encoded, and its length in frames."""
    from long_video_pack.nodes.encode_long_video import EncodeLongVideo
    from long_video_pack.nodes.load_long_video import BUILT_IN, LoadLongVideo

    opened = LoadLongVideo.execute(BUILT_IN, 0.0, 0, 0.0).args
    latent, length, *_ = EncodeLongVideo.execute(opened[0], vae, 0, 0).args
    return latent, length


ONE_PROMPT = "a red star"  #: that says nothing of the scenes


def prompts_of(clip, length: int, scenes: bool) -> list:
    """The prompts of the star's video, scene by scene, or one for all of it."""
    from long_video_pack.glv_core.demo.star import star_schedule
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    text = star_schedule() if scenes else ONE_PROMPT
    return MultiPromptSchedule.execute(clip, text, length, 16.0, "hard", 0.0).args[0]


def tune(name: str, folder: str, scenes: bool = True, **settings) -> dict:
    """Tune the demo model on the star's video into a folder; the file, the losses, and how long it took."""
    from long_video_pack.glv_core.demo.star import other_prompts
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule
    from long_video_pack.nodes.tune_on_video import TuneOnVideo

    use(folder)
    model, clip, vae = editing.pipeline()
    latent, length = star_latent(vae)
    positive = prompts_of(clip, length, scenes)
    keep = MultiPromptSchedule.execute(clip, " | ".join(other_prompts()), length, 16.0, "hard", 0.0).args[0]
    given = {
        "name": name, "learning_rate": 1.5e-3, "rank": 16, "window": 61, "stride": 8, "method": "low_rank",
        "layers": "attention_and_feed_forward", "identifiers": "none", "seed": 0, "batch_size": 8, "keep": keep,
        "keep_strength": 0.0, "preview_every": 0, "gradient_checkpointing": False,
    } | settings  # fmt: skip
    started = time.monotonic()
    made = TuneOnVideo.execute(model, positive, conditioning(clip, ""), latent, **given).args
    return {"file": made[1], "losses": made[2]["loss"], "seconds": time.monotonic() - started}


def model_of(file: str | None, strength: float = 1.0):
    """The demo model, or with a tuning."""
    from long_video_pack.nodes.load_tuning import LoadTuning

    model = editing.pipeline()[0]
    return model if file is None else LoadTuning.execute(model, file, strength, "stretched").args[0]


def video(
    file: str | None,
    prompts: list[str],
    num_frames: int,
    path: str,
    seed: int = 0,
    strength: float = 1.0,
    cfg: float = CFG,
) -> None:
    """Videos of prompts by the tuned model, or the demo model; kept as ``[prompt t h w 3]``."""
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler

    model, (_, clip, vae) = model_of(file, strength), editing.pipeline()
    latent = {"samples": torch.zeros(1, 16, (num_frames + 3) // 4, 8, 8)}
    made = []
    for number, prompt in enumerate(prompts):
        windows = {"window": 61, "overlap": 28, "schedule": "shifted_trimmed", "merge": "pyramid"}
        samples = CoDenoiseKSampler.execute(
            model, seed + number, STEPS, cfg, "euler", "simple", conditioning(clip, prompt), conditioning(clip, ""),
            latent, 1.0, **windows, windows_per_forward=0,
        ).args[0]  # fmt: skip
        made.append(vae.decode(samples["samples"])[0][:num_frames].float().cpu().numpy())
    np.save(path, np.stack(made))


def reconstruction(file: str | None, cfg: float, scenes: bool = True, refinements: int = 1) -> float:
    """PSNR in dB between the star's video, as the VAE gives it back, and what sampling makes of its inversion.

    The inversion has an empty text, as in Gen-L-Video; sampling the prompts of the video and guidance.
    """
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler
    from long_video_pack.nodes.invert_long_latent import InvertLongLatent
    from long_video_pack.nodes.load_tuning import LoadTuning

    model, clip, vae = editing.pipeline()
    if file is not None:
        model = LoadTuning.execute(model, file, 1.0, "stretched").args[0]
    latent, length = star_latent(vae)
    empty = conditioning(clip, "")
    prompts = prompts_of(clip, length, scenes)
    windows = {"window": 61, "overlap": 53, "schedule": "static", "merge": "flat", "windows_per_forward": 0}
    noise, same, start = InvertLongLatent.execute(
        model, empty, latent, STEPS, "simple", 1.0, 1.0, refinements, 0, **windows
    ).args
    made = CoDenoiseKSampler.execute(
        model, 0, STEPS, cfg, "euler", "simple", prompts, empty, same, 1.0, start_at_step=start, initial_noise=noise,
        **windows, prompt_blending="one_per_window",
    ).args[0]["samples"]  # fmt: skip
    one, other = (vae.decode(each).float().clamp(0, 1) for each in (made, latent["samples"]))
    return float(-10 * torch.log10(F.mse_loss(one, other)))


def use(folder: str) -> None:
    """Look for tunings in a folder of an earlier run."""
    import folder_paths

    folder_paths.set_output_directory(folder)
    folder_paths.add_model_folder_path("loras", f"{folder}/loras")
    folder_paths.filename_list_cache.clear()
