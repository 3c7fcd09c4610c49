"""StreamingExtend: a video of any length, chunk by chunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io

from ..glv_core.fusion import MERGES
from ..glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions
from ..glv_core.hosts.comfy.streaming.options import LowNoise, StreamOptions
from ..glv_core.hosts.comfy.streaming.run import RUNS, run_folder, stream_long
from ..glv_core.hosts.comfy.streaming.video_start import anchor_latents, frames_given, video_start
from ..glv_core.streaming import ANCHORS, RunFolder
from ..glv_core.timeline import UNITS, frames_in
from ..glv_core.video_models import ANIMATEDIFF, DEMO, LTX, SVD, WAN, WAN_5B, clip_lengths
from ..glv_core.window_schedules import DEFAULT_SCHEDULE, SCHEDULES
from .before_run import Wrong, connected, lacks, possible_values
from .errors import naming
from .inputs import CATEGORY, ESSENTIAL, check_chunks, fps_input, sampler_inputs, seed_input
from .window_inputs import MERGE_TOOLTIP, SCHEDULE_TOOLTIP, prompt_blending_input, step_cache_input, tile_inputs


class StreamingExtend(io.ComfyNode):
    """Extends a video with the model's memory constant, and keeps every finished chunk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StreamingExtend",
            display_name="Streaming Extend",
            category=f"{CATEGORY}/sampling",
            description="Makes or extends a video chunk by chunk; each chunk goes on from the end of the one before, "
            "in latent space, in the way that suits the model: its start image, clean leading frames, or known "
            "latents. The model's memory does not grow with the length. Finished chunks are kept: queue again after an "
            "interrupt or a crash and it goes on where it was; change a late prompt and only what follows is made "
            "again.",
            **ESSENTIAL,
            search_aliases=[
                "extend video", "streaming", "streamingt2v", "infinite video", "long video", "continue", "extend",
                "resume", "svi", "framepack",
            ],
            inputs=[
                io.Model.Input("model", tooltip="Any video model; how it goes on is chosen by what it can do."),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What to show. From MultiPromptSchedule with the length of the finished video, for "
                    "prompts on a timeline; any other conditioning holds for all of it.",
                ),
                io.Conditioning.Input("negative", tooltip="What to avoid."),
                io.Int.Input(
                    "length",
                    default=241,
                    min=0,
                    max=1_000_000,
                    tooltip="Frames of the finished video, with what is given: LongLatent's length. 0: see extend_by.",
                ),
                seed_input(),
                *sampler_inputs(),
                io.Int.Input(
                    "chunk",
                    default=81,
                    min=2,
                    max=100_000,
                    tooltip="Frames that are sampled at once, the clip length the model was made for: "
                    f"{clip_lengths((WAN, WAN_5B, LTX, SVD, ANIMATEDIFF, DEMO))}.",
                ),
                io.Int.Input(
                    "overlap",
                    default=16,
                    min=1,
                    max=100_000,
                    tooltip="Frames of a chunk that are known from the one before, below chunk: more carries motion "
                    "on better, and adds less a chunk.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The video to extend, for LTX-2 and MiniMax H3 with its sound. An empty latent "
                    "(LongLatent) only says how large the video is.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The frames, or the one image, to begin with. Needs vae. Not together with latent.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Encodes image and anchor_image. Image-to-video models use it for the empty part of their "
                    "condition as well.",
                ),
                io.Int.Input(
                    "width", default=832, min=16, max=16384, step=8, optional=True, advanced=True,
                    tooltip="Width in pixels where neither latent nor image is connected.",
                ),
                io.Int.Input(
                    "height", default=480, min=16, max=16384, step=8, optional=True, advanced=True,
                    tooltip="Height in pixels where neither latent nor image is connected.",
                ),
                io.Combo.Input(
                    "anchor",
                    options=list(ANCHORS),
                    default="none",
                    optional=True,
                    tooltip="What chunks stay close to, so that looks do not wander: a frame of the video, of the "
                    "current prompt's segment, or an image.",
                ),
                io.Image.Input("anchor_image", optional=True, tooltip="The image for anchor 'image'. Needs vae."),
                io.Float.Input(
                    "drift_correction",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    optional=True,
                    tooltip="How far colours and contrast of new chunks are drawn back to the anchor's, or the first "
                    "chunk's; 0 is off.",
                ),
                io.String.Input(
                    "run_name",
                    default="streaming",
                    optional=True,
                    tooltip=f"Folder under output/{RUNS} in which finished chunks are kept and found again. Empty: "
                    "nothing is kept.",
                ),
                io.Float.Input(
                    "blend",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Where the overlap is held as known latents: the part of it, at its end, over which new "
                    "predictions take over. 0 holds all of it.",
                ),
                io.Int.Input(
                    "window",
                    default=0,
                    min=0,
                    max=100_000,
                    optional=True,
                    advanced=True,
                    tooltip="Frames the model sees at once, for chunks longer than that, which are then co-denoised. "
                    "0: a chunk is one window.",
                ),
                io.Int.Input(
                    "window_overlap", default=16, min=0, max=100_000, optional=True, advanced=True,
                    tooltip="Frames shared by neighbouring windows inside a chunk.",
                ),
                io.Combo.Input(
                    "schedule", options=list(SCHEDULES), default=DEFAULT_SCHEDULE, optional=True, advanced=True,
                    tooltip=SCHEDULE_TOOLTIP,
                ),
                io.Combo.Input(
                    "merge", options=list(MERGES), default="pyramid", optional=True, advanced=True,
                    tooltip=MERGE_TOOLTIP,
                ),
                io.Model.Input(
                    "low_noise_model",
                    optional=True,
                    tooltip="A second model that makes the steps from switch_at_step on, as Wan 2.2 14B has one for "
                    "high noise (model) and one for low noise.",
                ),
                io.Int.Input(
                    "switch_at_step",
                    default=0,
                    min=0,
                    max=10_000,
                    optional=True,
                    tooltip="With low_noise_model: its first step. 0 is half of the steps.",
                ),
                io.ClipVision.Input(
                    "clip_vision", optional=True,
                    tooltip="For StreamingT2V and StreamingSVD with an anchor: OpenCLIP ViT-H, from their loaders or "
                    "Load CLIP Vision.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels of every chunk in place of steps and scheduler, as from core's Align Your "
                    "Steps for SVD.",
                ),
                io.Vae.Input(
                    "audio_vae",
                    optional=True,
                    tooltip="For video with sound: a chunk's known sound is decoded and encoded again, without which "
                    "speech is lost after some chunks.",
                ),
                *tile_inputs(),
                step_cache_input(advanced=True),
                prompt_blending_input(advanced=True),
                io.Float.Input(
                    "extend_by", default=0.0, min=0.0, max=1_000_000.0, step=1.0, round=0.001, optional=True,
                    tooltip="With length 0: how much longer the video gets than what is given, in frames or seconds.",
                ),
                io.Combo.Input(
                    "extend_unit", options=list(UNITS), default=UNITS[0], optional=True,
                    tooltip="What extend_by is measured in.",
                ),
                fps_input("Frames per second, for extend_by in seconds.", optional=True),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The finished video's latent; decode and save it at "
                                 "constant memory with SaveLongVideo."),
                io.String.Output(display_name="report", tooltip="How the model went on, and which chunks were found."),
                io.Int.Output(display_name="length", tooltip="Frames of the finished video."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, length: int | None = None, chunk: int | None = None, overlap: int | None = None,
        anchor: str | None = None, run_name: str | None = None, extend_by: float | None = 0.0,
    ) -> bool | Wrong:  # fmt: skip
        """Shows what does not go together, or is missing, before anything is loaded. A linked input is None."""
        lengths = possible_values("length") if length is None else [length]
        if lengths and extend_by is not None:
            try:
                _check_length(lengths[0], extend_by)
            except ValueError as error:
                return Wrong.of(error, "length", "extend_by")
        if anchor == "image" and lacks("anchor_image"):
            return Wrong({"anchor_image": "anchor is 'image', and anchor_image is not connected. Connect an image."})
        if lacks("vae") and (connected("image") or anchor == "image"):
            name = "image" if connected("image") else "anchor_image"
            return Wrong({"vae": f"{name} is connected, but no vae. Connect the VAE of the model."})
        if run_name and run_name.strip():
            try:
                run_folder(run_name)
            except ValueError as error:
                return Wrong.of(error, "run_name")
        return check_chunks(chunk, overlap)

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: list,
        negative: list,
        length: int,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        chunk: int,
        overlap: int,
        latent: dict | None = None,
        image: torch.Tensor | None = None,
        vae: Any = None,
        width: int = 832,
        height: int = 480,
        anchor_image: torch.Tensor | None = None,
        run_name: str = "streaming",
        window: int = 0,
        window_overlap: int = 16,
        low_noise_model: Any = None,
        switch_at_step: int = 0,
        clip_vision: Any = None,
        sigmas: torch.Tensor | None = None,
        audio_vae: Any = None,
        extend_by: float = 0.0,
        extend_unit: str = UNITS[0],
        fps: float = 16.0,
        **options: Any,
    ) -> io.NodeOutput:
        with naming("StreamingExtend"):
            _check_length(length, extend_by)
            wanted = StreamOptions(length, chunk, overlap, window, window_overlap, run_name=run_name, **options)
            folder = RunFolder(run_folder(run_name)) if wanted.keeps else None
            start = video_start(model, latent, image, vae, width, height, folder)
            if extend_by > 0:
                more = frames_in(extend_by, extend_unit, fps)
                if more < 1:
                    raise ValueError(f"extend_by is {extend_by:g} {extend_unit}, which is 0 frames. Give at least 1.")
                wanted = replace(wanted, length_frames=frames_given(model, start) + more)
            anchor = None
            if wanted.anchor == "image" and anchor_image is not None:
                anchor = anchor_latents(model, anchor_image, vae, start.size, folder)
            sampler = SamplerOptions(seed, steps, cfg, sampler_name, scheduler).at_levels(sigmas)
            low_noise = None
            if low_noise_model is not None:
                low_noise = LowNoise(low_noise_model, switch_at_step or sampler.steps // 2)
            result = stream_long(
                model, positive, negative, sampler, wanted,
                start=start, anchor_latents=anchor, vae=vae, folder=folder, low_noise=low_noise,
                clip_vision=clip_vision, audio_vae=audio_vae,
            )  # fmt: skip
        return io.NodeOutput(
            {"samples": result.samples}, result.report, result.num_frames, ui={"text": (result.report,)}
        )


def _check_length(length: int, extend_by: float) -> None:
    """Check that one of the two says how long the video gets.

    Raises:
        ValueError: both or none do.
    """
    if length > 0 and extend_by > 0:
        raise ValueError(
            f"extend_by is {extend_by:g} and length {length} frames; one of them says how long the video gets. Set the "
            "other to 0."
        )
    if length <= 0 and extend_by <= 0:
        raise ValueError(
            f"length is {length} and extend_by {extend_by:g}, so nothing says how long the video gets. Set one of them."
        )
