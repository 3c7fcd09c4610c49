"""Makes the README's images and the workflows' thumbnails from real runs: ``make_images.py [NAME ...]``.

``icon`` and ``banner`` are names too: what the Comfy registry shows of the pack.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from PIL import Image, ImageDraw, ImageFont

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.demo import MODEL_DIR
from glv_core.editing.presets import PRESETS
from glv_core.hosts.diffusers import generate, timebase_for
from glv_core.hosts.diffusers.decode import decode_frames
from glv_core.hosts.diffusers.streaming import Sampling, StreamSettings, stream_video
from glv_core.plan_image import draw_plan
from glv_core.prompts import PromptSchedule, parse_schedule
from glv_core.timeline import Compression, Timebase
from glv_core.video_models import DEMO, LTX_2, MINIMAX_H3, WAN_5B

WAN = Compression.causal(4)
#: By how the names of workflows begin.
KINDS = {"Wan": WAN, "LTX-2": LTX_2.compression, "MiniMax H3": MINIMAX_H3.compression}

SCALE, GAP, CAPTION, PER_ROW, EVERY, SQUARE = 2, 6, 26, 10, 8, 600
COLORS = ("#d9473f", "#4a7fd6", "#e2b93b")  #: of the demo's three prompts
TAG = 84  # pixels at the top over which the template browser lays a tag


def strip(frames: torch.Tensor, schedule: PromptSchedule, every: int = EVERY) -> Image.Image:
    """Every eighth frame (of a longer video, fewer), ten a row, with the prompt of each row's frames below them."""
    side = frames.shape[1] * SCALE
    every = max(every, len(frames) // (3 * PER_ROW))
    numbers = list(range(0, len(frames), every))[: 3 * PER_ROW]
    image = Image.new("RGB", (PER_ROW * (side + GAP) + GAP, 3 * (side + GAP + CAPTION) + GAP), "#f4f4f4")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(16)
    for place, number in enumerate(numbers):
        row, column = divmod(place, PER_ROW)
        left, top = GAP + column * (side + GAP), GAP + row * (side + GAP + CAPTION)
        pixels = (frames[number].clamp(0, 1) * 255).round().byte().numpy()
        image.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST), (left, top))
        if column == 0:
            shown = numbers[place : place + PER_ROW]
            middle = schedule.weights(shown[len(shown) // 2])
            prompt = schedule.segments[middle.index(max(middle))].prompt
            draw.text((left, top + side + 4), f"{number / schedule.fps:g} s   {prompt}", "#222222", font)
    return image


def mosaic(*videos: torch.Tensor) -> Image.Image:
    """A square of frames ``t h w 3`` (0 to 1) in reading order: nine of one video; of two, rows of four in turn."""
    across = 3 if len(videos) == 1 else 4
    side = 64 * (SCALE + 1 if len(videos) == 1 else SCALE)
    rows = across // len(videos)
    image = Image.new("RGB", (across * (side + GAP) + GAP,) * 2, "#f4f4f4")
    for each, frames in enumerate(videos):
        for place in range(across * rows):
            frame = frames[place * len(frames) // (across * rows)]
            pixels = (frame.clamp(0, 1) * 255).round().byte().numpy()
            row, column = divmod(place, across)
            shown = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            image.paste(shown, (GAP + column * (side + GAP), GAP + (row * len(videos) + each) * (side + GAP)))
    return image


def titled(name: str, plan: Image.Image) -> Image.Image:
    """A square with a workflow's name in large letters above its plan."""
    image = Image.new("RGB", (SQUARE, SQUARE), plan.getpixel((0, 0)))
    font = ImageFont.load_default(44)
    draw = ImageDraw.Draw(image)
    family, _, task = name.partition(" - ")
    lines = textwrap.wrap(family, 24) + textwrap.wrap(task, 24)
    for at, line in enumerate(lines):
        draw.text((24, TAG + 52 * at), line, "#1b6f8f" if line in family else "#222222", font)
    room = SQUARE - TAG - 20 - 52 * len(lines)
    shown = plan.resize((SQUARE, min(room, plan.height * SQUARE // plan.width)), Image.Resampling.LANCZOS)
    image.paste(shown, (0, SQUARE - shown.height))
    return image


def make(name: str) -> tuple[torch.Tensor, PromptSchedule, Timebase, CoDenoiseSettings, int]:
    """Runs a shipped API prompt of the demo model: frames ``t h w c``, prompts, clock, windows and steps."""
    import diffusers

    prompt = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    values = {node["class_type"]: node["inputs"] for node in prompt.values()}
    sampler, latent = values["CoDenoiseKSampler"], values["LongLatent"]
    pipeline = diffusers.WanPipeline.from_pretrained(MODEL_DIR, torch_dtype=torch.float32, local_files_only=True)
    num_frames, fps = int(latent["length"]), latent["fps"]
    schedule = parse_schedule(values["MultiPromptSchedule"]["prompts"], num_frames=num_frames, fps=fps)
    timebase = timebase_for(pipeline, num_frames, fps)
    settings = CoDenoiseSettings(
        timebase.compression.num_latent_frames(sampler["window"]),
        timebase.compression.latent_span(sampler["overlap"]),
        sampler["schedule"],
        closed_loop=sampler["closed_loop"],
        prompt_blending="attention",  # what auto is with the demo model
    )  # fmt: skip
    frames = generate(
        pipeline, schedule, timebase, settings, seed=sampler["seed"], num_inference_steps=sampler["steps"],
        guidance_scale=sampler["cfg"], height=64, width=64,
    )  # fmt: skip
    return frames, schedule, timebase, settings, sampler["steps"]


def stream(name: str) -> torch.Tensor:
    """The same for a workflow that streams; of one that begins with an image, the frames are made from the prompt."""
    import diffusers

    prompt = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    values = {node["class_type"]: node["inputs"] for node in prompt.values()}
    node = values["StreamingExtend"]
    pipeline = diffusers.WanPipeline.from_pretrained(MODEL_DIR, torch_dtype=torch.float32, local_files_only=True)
    num_frames = int(values["LongLatent"]["length"]) if isinstance(node["length"], list) else node["length"]
    schedule = parse_schedule(values["MultiPromptSchedule"]["prompts"], num_frames=num_frames, fps=DEMO.fps)
    timebase = timebase_for(pipeline, num_frames, DEMO.fps)
    chunk = timebase.compression.num_latent_frames(node["chunk"])
    settings = StreamSettings(
        chunk, timebase.compression.latent_span(node["overlap"]), CoDenoiseSettings(chunk, 0), node["blend"]
    )
    sampling = Sampling(node["steps"], node["cfg"], node["seed"], 64, 64)
    latents = stream_video(pipeline, schedule, timebase, settings, sampling)
    return torch.cat(list(decode_frames(pipeline, latents)))[:num_frames]


def chunk_plan(name: str) -> Image.Image:
    """The chunks of a workflow for a public checkpoint, drawn as windows that stay.

    Of one that extends a video of yours, the first stands for that video.
    """
    prompt = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    values = {node["class_type"]: node["inputs"] for node in prompt.values()}
    node, latent = values["StreamingExtend"], values.get("LongLatent")
    rates = [each["fps"] for each in (latent, values.get("LoadLongVideo"), values["MultiPromptSchedule"]) if each]
    fps = next((rate for rate in rates if not isinstance(rate, list)), WAN_5B.fps)
    num_frames = node["length"] if latent is None else round(latent["length"] * fps)
    kind = kind_of(name) or Compression()
    timebase = Timebase.of_latent(kind.whole_clip(kind.num_latent_frames(num_frames)), fps, kind)
    schedule = parse_schedule(
        values["MultiPromptSchedule"]["prompts"], num_frames=timebase.num_frames, fps=timebase.fps
    )
    settings = CoDenoiseSettings(
        kind.whole_clip(kind.num_latent_frames(node["chunk"])),
        kind.latent_span(node["overlap"]),
        "static",
        "linear_in_overlap",
        grain=kind.grain,
    )
    return draw_plan(settings, timebase, schedule, 1)


def kind_of(name: str) -> Compression | None:
    """How the latents of a workflow's public video model hold frames; None where its latent frames are frames."""
    return next((kind for start, kind in KINDS.items() if name.startswith(start)), None)


def refine_plan(name: str) -> Image.Image:
    """The chunks of a workflow that refines a video, at one step."""
    prompt = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    clip = next(node["inputs"] for node in prompt.values() if node["class_type"] == "LoadLongVideo")
    timebase = Timebase.of_latent(WAN.num_latent_frames(clip["length"]), clip["fps"], WAN)
    chunk = WAN.num_latent_frames(WAN_5B.clip)
    settings = CoDenoiseSettings(chunk, WAN.latent_span(WAN_5B.clip // 3), "static", "random_cut")
    schedule = parse_schedule(spoken(prompt), num_frames=timebase.num_frames, fps=timebase.fps)
    return draw_plan(settings, timebase, schedule, 1)


def window_plan(name: str) -> Image.Image:
    """The windows of a workflow for a public checkpoint."""
    prompt = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    values = {node["class_type"]: node["inputs"] for node in prompt.values()}
    sampler = values.get("CoDenoiseKSampler") or values["CoDenoiseModel"]
    steps = sampler["steps"] if "steps" in sampler else len(values["ManualSigmas"]["sigmas"].split(",")) - 1
    clip = next(values[each] for each in ("LongLatent", "LoadLongVideo", "MiniMaxH3ImageToVideo") if each in values)
    fps, kind = clip.get("fps", MINIMAX_H3.fps), kind_of(name)
    if isinstance(fps, list):
        fps = values["LoadLongVideo"]["fps"]
    num_frames = round(clip["length"] * fps) if clip.get("unit") == "seconds" else int(clip["length"])
    timebase = Timebase.of_latent(kind.whole_clip(kind.num_latent_frames(num_frames)), fps, kind)
    schedule = parse_schedule(spoken(prompt), num_frames=timebase.num_frames, fps=timebase.fps)
    # The prompt blending is what auto is with the model and its guides.
    settings = CoDenoiseSettings(
        kind.whole_clip(kind.num_latent_frames(sampler["window"])),
        kind.latent_span(sampler["overlap"]),
        sampler["schedule"],
        grain=kind.grain,
        prompt_blending="predictions" if "LTXVAddGuide" in values else "attention",
    )
    return draw_plan(settings, timebase, schedule, steps)


def preset_plan(prompt: dict) -> Image.Image:
    """The windows of a workflow of Gen-L-Video's own, whose latent frames are frames."""
    values = {node["class_type"]: node["inputs"] for node in prompt.values()}
    clip, sampler = values["LoadLongVideo"], values["CoDenoiseKSampler"]
    timebase = Timebase(clip["length"], clip["fps"], Compression((1,)))
    given = sampler["window"], sampler["overlap"], sampler["schedule"], sampler["merge"]
    if "GenLVideoPreset" in values:
        preset = PRESETS[values["GenLVideoPreset"]["preset"]]
        given = preset.window, preset.overlap, preset.schedule, preset.merge
    changes = values.get("MultiPromptSchedule", {"transition": "hard", "transition_frames": 0})
    schedule = parse_schedule(
        spoken(prompt), num_frames=timebase.num_frames, fps=timebase.fps, transition=changes["transition"],
        transition_frames=changes["transition_frames"],
    )  # fmt: skip
    settings = CoDenoiseSettings(*given, prompt_blending="one_per_window")
    return draw_plan(settings, timebase, schedule, 1)


def spoken(prompt: dict) -> str:
    """What a workflow asks for: its prompt schedule or prompt, or the first text that is not empty."""
    inputs = [node["inputs"] for node in prompt.values()]
    return next((each[key] for each in inputs for key in ("prompts", "prompt") if key in each), "") or next(
        each["text"] for node in prompt.values() if node["class_type"] == "CLIPTextEncode" and (each := node["inputs"])
        and each["text"]
    )  # fmt: skip


def before_and_after(prompt: dict) -> Image.Image:
    """Frames of the video that a demo workflow makes first, and below them those of its edit; needs a ComfyUI."""
    [saved] = [node for node in prompt.values() if node["class_type"] == "SaveLongVideo"]
    settings = {key: value for key, value in saved["inputs"].items() if key not in ("images", "samples", "vae")}
    saved["inputs"] |= {"filename_prefix": "after", "crf": 8}
    both = {**prompt, "99": {"class_type": "SaveLongVideo", "inputs": {
        **settings, "images": ["6", 0], "filename_prefix": "before", "crf": 8}}}  # fmt: skip
    return mosaic(*(frames / 255 for frames in saved_videos(both, "before", "after")))


def taught_and_made(prompt: dict) -> Image.Image:
    """Frames of the video that a model is tuned on, and below them those that it makes; needs a ComfyUI."""
    from glv_core.demo.star import render_star_video

    values = {node["class_type"]: node["inputs"] for node in prompt.values()}
    values["SaveLongVideo"] |= {"filename_prefix": "made", "crf": 8, "upscale": 1}
    [made] = saved_videos(prompt, "made")
    return mosaic(render_star_video().permute(0, 2, 3, 1), made / 255)


def saved_videos(prompt: dict, *names: str) -> list[torch.Tensor]:
    """Frames ``t h w 3``, uint8, of the videos that a ComfyUI saves of a prompt under these names."""
    sys.path.insert(0, str(ROOT / "tests"))
    from comfyui_hosts import find_host, start_server

    from glv_core.video_io import open_clip

    with tempfile.TemporaryDirectory() as folder:
        server = start_server(find_host(), Path(folder))
        try:
            server.run(prompt, timeout=3000)
        finally:
            server.close()
        return [
            torch.cat(list(open_clip(next((Path(folder) / "output").glob(f"{name}*.mp4"))).frames())) for name in names
        ]


def streamed_in_comfyui(prompt: dict) -> Image.Image:
    """Frames of a workflow on the small StreamingT2V; needs a ComfyUI with diffusers."""
    values = {node["class_type"]: node["inputs"] for node in prompt.values()}
    values["SaveLongVideo"] |= {"filename_prefix": "made", "crf": 8, "upscale": 1}
    [frames] = saved_videos(prompt, "made")
    return mosaic(frames / 255)


def plan_of(name: str, prompt: dict, streams: bool) -> Image.Image:
    """The plan of a workflow for a public checkpoint."""
    if not kind_of(name) and not streams:
        return preset_plan(prompt)
    if streams:
        return chunk_plan(name)
    refines = any(node["class_type"] == "RefineLongVideo" for node in prompt.values())
    return refine_plan(name) if refines else window_plan(name)


def thumbnail(name: str) -> Image.Image:
    """A workflow's square thumbnail: frames of a run on the demo model, the plan of one for a public checkpoint."""
    prompt = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    kinds = {node["class_type"] for node in prompt.values()}
    streams = "StreamingExtend" in kinds
    if not name.startswith("Demo"):
        return titled(name, plan_of(name, prompt, streams))
    if "LongVaceConditioning" in kinds:
        return before_and_after(prompt)
    if "TuneOnVideo" in kinds:
        return taught_and_made(prompt)
    if "LoadStreamingT2V" in kinds:
        return streamed_in_comfyui(prompt)
    if streams:
        return mosaic(stream(name))
    frames, schedule, timebase, settings, steps = make(name)
    if name.startswith("Demo 01"):
        strip(frames, schedule).save(ROOT / "docs/three_prompts.png", optimize=True)
        draw_plan(settings, timebase, schedule, steps).save(ROOT / "docs/window_plan.png", optimize=True)
    return mosaic(frames)


def windows(draw: ImageDraw.ImageDraw, left: int, top: int, width: int, row: int) -> None:
    """Windows that overlap: three rows of bars, each moved on by a part of a window, in the colours of the prompts."""
    long = width * 0.46
    for lane in range(3):
        for at in range(-1, 4):
            start = left + (at * 0.8 + lane * 0.27) * long
            begin, end = max(left, start), min(left + width, start + long)
            if end - begin > row / 2:
                middle = min(2, max(0, int(3 * ((begin + end) / 2 - left) / width)))
                y = top + (2 * lane + at % 2) * row
                draw.rounded_rectangle((begin, y + row * 0.1, end, y + row * 0.9), row * 0.3, COLORS[middle])


def icon() -> Image.Image:
    """The registry's icon, 400 pixels square."""
    image = Image.new("RGB", (400, 400), "#16202b")
    windows(ImageDraw.Draw(image), 40, 50, 320, 50)
    return image


def banner() -> Image.Image:
    """The registry's banner, 21 to 9: the name, windows, and frames of the README's video."""
    image = Image.new("RGB", (1344, 576), "#16202b")
    draw = ImageDraw.Draw(image)
    draw.text((60, 50), "Gen-L Long Video", "#ffffff", ImageFont.load_default(84))
    draw.text(
        (62, 160), "Long, multi-prompt video from short video diffusion models", "#b8c4d0", ImageFont.load_default(36)
    )
    windows(draw, 60, 236, 1224, 26)
    strip_of = Image.open(ROOT / "docs/three_prompts.png").convert("RGB")
    side, step = 64 * SCALE, 64 * SCALE + GAP
    for place in range(9):
        row, column = divmod(place, 3)
        left, top = GAP + (1 + 3 * column) * step, GAP + row * (step + CAPTION)
        image.paste(strip_of.crop((left, top, left + side, top + side)), (60 + place * 137, 412))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="workflows, icon or banner (default: all, which takes minutes)")
    workflows = sorted(path.stem for path in (ROOT / "workflows/api").glob("*.json"))
    for name in parser.parse_args().names or ["icon", "banner", *workflows]:
        if name in ("icon", "banner"):
            (icon if name == "icon" else banner)().save(ROOT / f"docs/{name}.png", optimize=True)
            continue
        thumbnail(name).save(ROOT / f"workflows/{name}.jpg", quality=88)


if __name__ == "__main__":
    main()
