"""RefineLongVideo: SDEdit over the whole length of a video, with randomized blending."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..glv_core.fusion import MERGES
from ..glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions
from ..glv_core.hosts.comfy.editing.refine import CHUNKS, RefineOptions, refine_long
from ..glv_core.hosts.comfy.video.refine_source import FITS, encode_to_refine
from ..glv_core.prompts import AUTO, PROMPT_BLENDINGS
from ..glv_core.streamingt2v.lengths import LENGTH_POLICIES
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, check_chunks, sampler_inputs, seed_input
from .window_inputs import MERGE_TOOLTIP, tile_inputs


class RefineLongVideo(io.ComfyNode):
    """Adds detail to a finished video of any length, at any size, with a short model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefineLongVideo",
            display_name="Refine Long Video",
            category=f"{CATEGORY}/sampling",
            description="Makes a finished video sharper and larger with a short video model: it gets noise up to "
            "'strength' and is denoised again, chunk by chunk at every step, all of them from one noise. Where chunks "
            "overlap, one is heard up to a random frame and the next from there, anew at every step, so that no seam "
            "stays and nothing is averaged away (StreamingT2V). Frames larger than the model are seen in tiles.",
            search_aliases=[
                "enhance", "upscale video", "vid2vid", "video2video", "v2v", "sdedit", "streamingt2v",
                "randomized blending",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that refines: any video model."),
                io.MultiType.Input(
                    "video", types=[io.Video, io.Image],
                    tooltip="The video, from LoadLongVideo for constant memory, or its frames.",
                ),
                io.Vae.Input("vae", tooltip="The model's VAE."),
                seed_input(),
                *sampler_inputs(),
                io.Conditioning.Input(
                    "positive", tooltip="What is shown, and how sharp it is. From MultiPromptSchedule with the length "
                    "of the video, for prompts on a timeline.",
                ),
                io.Conditioning.Input("negative", tooltip="What to avoid."),
                io.Float.Input(
                    "strength", default=0.4, min=0.0, max=1.0, step=0.01, round=0.001,
                    tooltip="How much noise the video gets: more makes more detail and keeps less. StreamingT2V has "
                    "0.6; 0.2 to 0.5 suit other models.",
                ),
                io.Int.Input(
                    "width", default=0, min=0, max=16384, step=8,
                    tooltip="Width in pixels to refine at; 0 is the video's, or goes with height.",
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=16384, step=8,
                    tooltip="Height in pixels to refine at; 0 is the video's, or goes with width.",
                ),
                io.Combo.Input(
                    "fit", options=list(FITS), default="crop",
                    tooltip="For a video of another shape. crop: its middle. bars: all of it between black bars, "
                    "which are cut off again.",
                ),
                io.Combo.Input(
                    "chunks", options=list(CHUNKS), default="model",
                    tooltip="What the model sees at once: its own clip length, or the chunks of StreamingT2V or "
                    "StreamingSVD; custom takes chunk and overlap.",
                ),
                io.Int.Input(
                    "chunk", default=81, min=1, max=100_000, tooltip="With chunks 'custom': frames of a chunk.",
                ),
                io.Int.Input(
                    "overlap", default=24, min=0, max=100_000,
                    tooltip="With chunks 'custom': frames shared by neighbours. Below chunk.",
                ),
                io.Combo.Input("merge", options=list(MERGES), default="random_cut", tooltip=MERGE_TOOLTIP),
                io.Combo.Input(
                    "length_policy", options=list(LENGTH_POLICIES), default="cover",
                    tooltip="cover: the last chunk begins earlier, so that all frames are refined. trim: what whole "
                    "chunks leave over is cut off, as in StreamingT2V.",
                ),
                *tile_inputs(),
                io.Int.Input(
                    "windows_per_forward", default=0, min=0, max=64, optional=True, advanced=True,
                    tooltip="At most so many chunks share one forward pass; 0: as many as fit in free memory. The "
                    "result does not depend on it.",
                ),
                io.Combo.Input(
                    "prompt_blending", options=[AUTO, *PROMPT_BLENDINGS], default=AUTO, optional=True,
                    advanced=True, tooltip="What a chunk sees that touches two prompts; see Co-Denoise KSampler.",
                ),
                io.Sigmas.Input(
                    "sigmas", optional=True,
                    tooltip="Noise levels in place of steps, scheduler and strength, as from MS-Vid2Vid Sigmas.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The refined video, without bars.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, chunks: str | None = None, chunk: int | None = None, overlap: int | None = None
    ) -> bool | Wrong:
        return check_chunks(chunk, overlap) if chunks == "custom" else True

    @classmethod
    def execute(
        cls,
        model: Any,
        video: Any,
        vae: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        strength: float,
        width: int,
        height: int,
        fit: str,
        chunks: str,
        chunk: int,
        overlap: int,
        merge: str,
        length_policy: str,
        tile_width: int = 0,
        tile_height: int = 0,
        tile_overlap: int = 128,
        windows_per_forward: int = 0,
        prompt_blending: str = AUTO,
        sigmas: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        with naming("RefineLongVideo"):
            source = encode_to_refine(vae, video, width, height, fit)
            options = RefineOptions(
                strength, chunks, chunk, overlap, merge, length_policy, windows_per_forward, prompt_blending,
                tile_width, tile_height, tile_overlap,
            )  # fmt: skip
            sampler = SamplerOptions(seed, steps, cfg, sampler_name, scheduler)
            refined = refine_long(model, sampler, positive, negative, source.samples, options, sigmas)
            return io.NodeOutput({"samples": source.without_bars(refined)})
