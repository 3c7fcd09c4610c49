"""EncodeLongVideo: a VIDEO to a LATENT at constant memory."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.families import num_frames_decoded, streams_of
from ..glv_core.hosts.comfy.video.encode_video import encode_video, encode_with_sound
from ..glv_core.video_models import LTX, WAN
from .errors import naming
from .inputs import CATEGORY, ESSENTIAL
from .notes import notes_in_node


class EncodeLongVideo(io.ComfyNode):
    """Encodes a video of any length a few frames at a time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EncodeLongVideo",
            display_name="Encode Long Video",
            category=f"{CATEGORY}/latent",
            description="Encodes a video as a latent, a few frames at a time, so that memory does not grow with its "
            f"length, with its sound for models that make sound. A causal VAE holds {WAN.lengths} frames (LTX "
            f"{LTX.lengths}): up to {WAN.compression.ratio - 1} ({LTX.compression.ratio - 1}) frames at the end are "
            "left out.",
            **ESSENTIAL,
            search_aliases=["vae encode video", "video to latent", "video2video", "v2v"],
            inputs=[
                io.Video.Input("video", tooltip="The video, from LoadLongVideo for constant memory."),
                io.Vae.Input("vae", tooltip="The VAE of the model."),
                io.Int.Input(
                    "width", default=0, min=0, max=16384, step=8, tooltip="Resize to this width; 0 is the "
                    "video's, down to whole latent pixels.",
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=16384, step=8, tooltip="Resize to this height; 0 is the video's, "
                    "down to whole latent pixels. Of an image with other proportions the middle is taken.",
                ),
                io.Vae.Input(
                    "audio_vae", optional=True,
                    tooltip="The audio VAE of LTX-2 or MiniMax H3, for a latent that holds the video's sound beside "
                    "it.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="For CoDenoiseKSampler or StreamingExtend."),
                io.Int.Output(display_name="length", tooltip="Frames that the latent decodes to."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, video: Any, vae: Any, width: int, height: int, audio_vae: Any = None) -> io.NodeOutput:
        with naming("EncodeLongVideo"), notes_in_node():
            if audio_vae is None:
                samples = encode_video(vae, video, width, height)
            else:
                samples = encode_with_sound(vae, audio_vae, video, width, height)
        return io.NodeOutput({"samples": samples}, num_frames_decoded(vae, streams_of(samples)[0]))
