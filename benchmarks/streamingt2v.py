"""StreamingT2V on its tiny model: what conditional attention and appearance preservation do, and randomized blending.

``python benchmarks/streamingt2v.py`` prints two Markdown tables. In the first, videos of random prompts are made in
chunks of 16 frames, of which 8 are new: with conditional attention (CAM) and the anchor (APM), without the anchor,
without both, and by the base alone whose first 8 frames are held to the chunk before's latents. All have the same first
chunk and noise. With ``--unprompted`` only the first chunk is told what to show, so that the rest is remembered.
Figures are means over the videos (``--seeds``; one prompt each, and NaN is left out).

*Speed*: mean step of the object where chunks join over that inside chunks, and the mean distances of both from the
video's own median step, in pixels a frame. *Shape*: overlap of the object with that of the frame before, at joins and
inside, 1 is the same. *Drift*: how far a line through the object's colour and size goes over the video and over 100
frames. *As prompted*: frames whose colour, shape and background are the prompt's, and steps in its direction. *MAWE*:
motion-aware warp error, as released and as the paper writes it, at the frames' own 64 x 64 with the flow of the one
thing that moves, so that only figures of this table may be compared. *Cuts*: scene cuts a video. *CLIP*: mean cosine of
frames and prompt times 100, by the CLIP of ``--clip``. *Passes*: of the UNet,
and of the copy of its way down, for a video; the two predictions that guidance needs are one pass.

In the second, drawn videos are noised to ``--strength`` and sampled again in windows of 16 with 8 frames of overlap by
the base: each window with noise of its own, with noise that overlaps share, and with random cuts at every step
(randomized blending). *Spread*: standard deviation of the mean length of the flow over the video, in pixels; *at
joins*: root mean square of its distance from the mean inside windows, which is 0 in the drawn video.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from torch import Tensor

from benchmarks.streamingt2v_readings import flow_unevenness, object_flow, read_video
from glv_core.co_denoise import CoDenoiseSettings, co_denoise
from glv_core.demo import STREAMING_T2V_DIR
from glv_core.fusion import select_window
from glv_core.hosts.diffusers.held import Held
from glv_core.hosts.diffusers.streamingt2v import StreamingUNet
from glv_core.metrics_motion import VARIANTS, flow_spread, scene_cuts, warp_error
from glv_core.noise import NoiseSettings, long_noise
from glv_core.streamingt2v import grey_anchor, load_checkpoint
from glv_core.streamingt2v.apm import CLIP_MEAN, CLIP_STD
from glv_core.streamingt2v.frames import CHUNK, OVERLAP, join_chunks, plan_frames
from glv_core.windows import Window
from training.streamingt2v.export import ADDED
from training.streamingt2v.frozen import Frozen, load_frozen
from training.streamingt2v.world import Clip, draw_clip

ETA = 1.0  # of DDIM, as published
WINDOWS_AT_ONCE = 8


@dataclass(frozen=True)
class Way:
    """How a chunk goes on from the one before."""

    name: str
    cam: bool = False
    apm: bool = False
    held: bool = False


WAYS = (
    Way("CAM and APM", cam=True, apm=True),
    Way("CAM", cam=True),
    Way("nothing: independent chunks"),
    Way("known latents", held=True),
)
REFINEMENTS = ("independent windows", "shared noise", "randomized blending")


@dataclass
class Sampler:
    """The tiny model, and how it samples. `passes`: clips through the UNet and its copy's way down."""

    net: StreamingUNet
    frozen: Frozen
    scheduler: DDIMScheduler
    guidance: float
    negative: Tensor
    passes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(cls, folder: Path, steps: int, guidance: float) -> Sampler:
        """The model of a folder.

        Raises:
            ValueError: a part of it is missing.
        """
        frozen = load_frozen(folder, folder / "image_encoder")
        net = StreamingUNet.from_checkpoint(load_checkpoint(folder / ADDED), frozen.unet.state_dict(), torch.float32)
        scheduler = DDIMScheduler.from_pretrained(str(folder / "scheduler"))
        scheduler.set_timesteps(steps)
        return cls(net, frozen, scheduler, guidance, frozen.text([""]))

    def decode(self, latents: Tensor) -> Tensor:
        """Frames in -1..1 `b t 3 h w` of latents `b 4 t h w`."""
        flat = latents.transpose(1, 2).flatten(0, 1) / self.frozen.vae.config.scaling_factor
        frames = torch.cat([self.frozen.vae.decode(part).sample for part in flat.split(CHUNK)])
        return frames.clamp(-1, 1).unflatten(0, (len(latents), -1))

    def anchor_tokens(self, frames: Tensor) -> Tensor:
        """Tokens `b 16 c` of anchor frames in -1..1 `b 3 h w`."""
        return self.net.resampler(self.frozen.seen(frames[:, None]))

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        text: Tensor,
        anchors: Tensor | None = None,
        grey: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """The noise that is predicted with guidance by text and anchor, `b 4 t h w`; see `StreamingUNet.guided`."""
        self.passes["unet"] += len(x)
        self.passes["branch"] += len(x) * (condition is not None)
        negative = self.negative.expand(len(x), -1, -1)
        return self.net.guided(x, t, text, negative, anchors, grey, condition, self.guidance, self.guidance)

    def step(self, noise: Tensor, t: Tensor, x: Tensor, random: Tensor) -> Tensor:
        """The latents of the next timestep, with given random numbers of the shape of `x`."""
        return self.scheduler.step(noise, t, x, eta=ETA, variance_noise=random).prev_sample


@torch.no_grad()
def stream(
    sampler: Sampler, way: Way, prompts: Sequence[str], num_frames: int, seed: int, unprompted: bool = False
) -> Iterator[Tensor]:
    """The chunks of videos, one a prompt, as frames in -1..1 `b 16 3 h w`.

    Args:
        unprompted: chunks behind the first have an empty prompt.
    """
    text = sampler.frozen.text(prompts)
    size = sampler.frozen.unet.config.sample_size
    grey = tokens = features = None
    before: tuple[Tensor, Tensor] | None = None  # the latents of the chunk before, and its frames
    for chunk in plan_frames(num_frames):
        # The same noise for every way, and for a video whatever their number is.
        generators = [torch.Generator().manual_seed(seed + 1000 * chunk.index + place) for place in range(len(prompts))]

        def random(generators: list[torch.Generator] = generators) -> Tensor:
            return torch.cat([torch.randn(1, 4, CHUNK, size, size, generator=each) for each in generators])

        held = None
        if before is not None:
            if way.cam:
                features = sampler.net.encode_condition(before[1][:, -OVERLAP:])
            if way.held:
                held = Held(before[0][:, :, -OVERLAP:], blend=0.0, clean_frames=False)
        x = random()
        for t in sampler.scheduler.timesteps:
            noise = sampler.predict(x, t, text, anchors=tokens, grey=grey, condition=features)
            if held is not None:
                noise = held.replace(noise, SimpleNamespace(sample=x, timestep=t), sampler.scheduler)
            x = sampler.step(noise, t, x, random())
        before = x, sampler.decode(x)
        if way.apm and tokens is None:
            anchor = before[1][:, 0]
            tokens, grey = sampler.anchor_tokens(anchor), sampler.anchor_tokens(grey_anchor(anchor))
        if unprompted:
            text = sampler.negative.expand(len(prompts), -1, -1)
        yield before[1]


@torch.no_grad()
def refine(sampler: Sampler, how: str, latents: Tensor, prompt: str, strength: float, seed: int) -> Tensor:
    """A video's latents `1 4 t h w`, noised and sampled again in windows in one of the ways of `REFINEMENTS`."""
    length, scheduler = latents.shape[2], sampler.scheduler
    settings = CoDenoiseSettings(CHUNK, OVERLAP, "static", "random_cut", seed=seed)
    windows = settings.windows(length, 0)
    text = sampler.frozen.text([prompt])
    begin = len(scheduler.timesteps) - max(1, round(strength * len(scheduler.timesteps)))
    blended = how == "randomized blending"

    def random(step: int) -> Tensor:
        """Noise of the whole length, or a row of noise for each window: its own, or its part of the whole one."""
        count = len(windows) if how == "independent windows" else 1
        drawn = [long_noise(latents, seed + 1000 * step + place, NoiseSettings()) for place in range(count)]
        return drawn[0] if blended else rows(drawn)

    def rows(of: list[Tensor]) -> Tensor:
        given = of if len(of) > 1 else of * len(windows)
        return torch.cat([select_window(each, window, 2) for each, window in zip(given, windows, strict=True)])

    def predict(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat(
            [sampler.predict(part, t, text.expand(len(part), -1, -1)) for part in x.split(WINDOWS_AT_ONCE)]
        )

    clean = latents if blended else rows([latents])
    x = scheduler.add_noise(clean, random(0), scheduler.timesteps[begin : begin + 1])
    for step, t in enumerate(scheduler.timesteps[begin:], 1):
        if blended:

            def denoise(windows: Sequence[Window], x: Tensor = x, t: Tensor = t) -> Iterator[tuple[int, list[Tensor]]]:
                parts = torch.cat([select_window(x, window, 2) for window in windows])
                yield from ((place, [each[None]]) for place, each in enumerate(predict(parts, t)))

            [noise] = co_denoise(x, step, settings, denoise, num_steps=len(scheduler.timesteps))
        else:
            noise = predict(x, t)
        x = sampler.step(noise, t, x, random(step))
    return x if blended else torch.cat(list(join_chunks(x.transpose(1, 2))))[None].transpose(1, 2)


def clip_scores(folder: Path, videos: Sequence[np.ndarray], prompts: Sequence[str]) -> list[float]:
    """The mean over the frames of each video of their cosine with its prompt, times 100, by a CLIP of transformers."""
    from transformers import CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(str(folder), local_files_only=True).float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    side, scores = model.config.vision_config.image_size, []
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (CLIP_MEAN, CLIP_STD))
    for video, prompt in zip(videos, prompts, strict=True):
        ids, cosines = tokenizer([prompt], truncation=True, return_tensors="pt").input_ids, []
        for part in torch.from_numpy(video).movedim(-1, 1).split(32):
            pixels = F.interpolate(part, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
            with torch.no_grad():
                made = model(input_ids=ids, pixel_values=(pixels - mean) / std)
            cosines += (made.image_embeds @ made.text_embeds.T)[:, 0].tolist()
        scores.append(100 * float(np.mean(cosines)))
    return scores


def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every figure over rows that know it."""
    values = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(known)) if known else math.nan for name, known in values.items()}


def measure(
    sampler: Sampler,
    way: Way,
    clips: Sequence[Clip],
    num_frames: int,
    seed: int,
    clip: Path | None,
    unprompted: bool = False,
) -> dict[str, float]:
    """The figures of one way."""
    prompts = [each.prompt() for each in clips]
    sampler.passes.clear()
    begun = time.perf_counter()
    chunks = [made.transpose(0, 1) for made in stream(sampler, way, prompts, num_frames, seed, unprompted)]
    seconds = time.perf_counter() - begun
    made = torch.cat(list(join_chunks(chunks))).permute(1, 0, 3, 4, 2)
    videos = list(((made + 1) / 2).numpy())
    joins, rows = range(CHUNK, len(videos[0]), CHUNK - OVERLAP), []
    for video, each in zip(videos, clips, strict=True):
        row = read_video(video, joins, each.prompt())
        for variant in VARIANTS:
            row[f"mawe_{variant}"] = warp_error(video, object_flow, variant, size=None).value
        rows.append(row | {"cuts": len(scene_cuts(video))})
    if clip is not None:
        for row, score in zip(rows, clip_scores(clip, videos, prompts), strict=True):
            row["clip"] = score
    passes = {f"passes_{name}": sampler.passes[name] / len(clips) for name in ("unet", "branch")}
    return {**means(rows), **passes, "seconds": seconds / len(clips)}


def measure_refining(
    sampler: Sampler, how: str, clips: Sequence[Clip], num_frames: int, strength: float, seed: int
) -> dict[str, float]:
    """The figures of one way of refining; of the drawn videos themselves with another name than in `REFINEMENTS`."""
    sampler.passes.clear()
    rows, begun = [], time.perf_counter()
    for place, each in enumerate(clips):
        frames = each.pixels(0, plan_frames(num_frames)[-1].stop)
        video = frames
        if how in REFINEMENTS:
            own = seed + 1_000_000 * place
            latents = sampler.frozen.latents(frames[None] * 2 - 1, torch.Generator().manual_seed(own))
            made = refine(sampler, how, latents, each.prompt(), strength, own)
            with torch.no_grad():
                video = (sampler.decode(made)[0] + 1) / 2
        video = video.permute(0, 2, 3, 1).numpy()
        joins = range(CHUNK, len(video), CHUNK - OVERLAP)
        rows.append({"spread": flow_spread(video, object_flow), "at_joins": flow_unevenness(video, joins)})
    passes = sampler.passes["unet"] / len(clips)
    return {**means(rows), "passes": passes, "seconds": (time.perf_counter() - begun) / len(clips)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=STREAMING_T2V_DIR, help="folder of the tiny StreamingT2V")
    parser.add_argument("--frames", type=int, default=600, help="of each video, rounded down to 8 n + 8")
    parser.add_argument("--seeds", type=int, default=4, help="videos, of one random prompt each; they share a batch")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0, help="of text and anchor")
    parser.add_argument("--refined-frames", type=int, default=120, help="of each video that is refined")
    parser.add_argument("--strength", type=float, default=0.6, help="share of the steps that refine, above 0 to 1")
    parser.add_argument("--ways", nargs="+", choices=[way.name for way in WAYS], default=[way.name for way in WAYS])
    parser.add_argument("--unprompted", action="store_true", help="chunks behind the first have an empty prompt")
    parser.add_argument("--no-refining", action="store_true", help="without the second table")
    parser.add_argument("--clip", type=Path, help="folder of a CLIPModel of transformers, for the CLIP score")
    parser.add_argument("--json", type=Path, default=Path("streamingt2v.json"), help="where all figures go")
    arguments = parser.parse_args()
    if not 0 < arguments.strength <= 1:
        parser.error(f"--strength is {arguments.strength}; it must be above 0, to 1.")
    try:
        chunks = plan_frames(arguments.frames)
        plan_frames(arguments.refined_frames)
        sampler = Sampler.load(arguments.model, arguments.steps, arguments.guidance)
    except ValueError as error:
        parser.error(str(error))
    generator = torch.Generator().manual_seed(7)
    clips = [draw_clip(generator) for _ in range(arguments.seeds)]
    found: dict[str, dict[str, dict[str, float]]] = {"streaming": {}, "refining": {}}
    print(f"{chunks[-1].stop} frames, {len(chunks)} chunks, {arguments.steps} steps, guidance {arguments.guidance:g}, "
          f"{arguments.seeds} videos; means\n")  # fmt: skip
    print("| | speed, joins / inside | off, px: joins, inside | shape: joins, inside | drift of colour, size "
          "| in 100 frames | as prompted, direction | MAWE released, paper | cuts | CLIP | passes "
          "| seconds |")  # fmt: skip
    print("|" + " --- |" * 12)
    for way in WAYS:
        if way.name in arguments.ways:
            row = measure(sampler, way, clips, arguments.frames, 0, arguments.clip, arguments.unprompted)
            found["streaming"][way.name] = row
            print(_line(way.name, row), flush=True)
    refinements = () if arguments.no_refining else ("as drawn", *REFINEMENTS)
    if refinements:
        length = plan_frames(arguments.refined_frames)[-1].stop
        print(f"\n{length} frames refined at strength {arguments.strength:g}\n")
        print("| | spread | at joins | passes | seconds |\n| --- | --- | --- | --- | --- |")
    for how in refinements:
        row = measure_refining(sampler, how, clips, arguments.refined_frames, arguments.strength, 0)
        found["refining"][how] = row
        print(f"| {how} | {row['spread']:.3f} | {row['at_joins']:.3f} | {row['passes']:.0f} | {row['seconds']:.0f} |",
              flush=True)  # fmt: skip
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    known = json.loads(json.dumps(found), parse_constant=lambda name: None)  # JSON has no NaN
    arguments.json.write_text(json.dumps({"options": options, **known}, indent=2) + "\n")
    return 0


def _line(name: str, row: dict[str, float]) -> str:
    cells = [
        f"{row['velocity_ratio']:.2f}",
        f"{row['speed_error_at_joins']:.2f}, {row['speed_error_inside']:.2f}",
        f"{row['overlap_at_joins']:.3f}, {row['overlap_inside']:.3f}",
        f"{row['colour_drift']:.1f}%, {row['size_drift']:.1f}%",
        f"{row['colour_drift_per_100']:.1f}%, {row['size_drift_per_100']:.1f}%",
        f"{row['as_prompted']:.1%}, {row['direction']:.1%}",
        f"{row['mawe_released']:.1f}, {row['mawe_paper']:.1f}",
        f"{row['cuts']:.2f}",
        f"{row['clip']:.2f}" if "clip" in row else "",
        f"{row['passes_unet']:.0f} + {row['passes_branch']:.0f}",
        f"{row['seconds']:.0f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
