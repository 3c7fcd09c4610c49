"""SaveLongVideo: decodes and writes a video of any length as it goes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.latest import InputImpl, io, ui

from ..glv_core.hosts.comfy.video.long_video import color_space_of
from ..glv_core.hosts.comfy.video.save_sources import frames_to_save, size_to_save, sound_to_save
from ..glv_core.names import check_names
from ..glv_core.partial import reserved
from ..glv_core.video_io import (
    CONTAINERS,
    ENCODERS,
    PIXEL_FORMATS,
    VideoFormat,
    frame_rate,
    save_images,
    save_video,
    video_format_for,
)
from .before_run import Wrong, connected, lacks
from .errors import naming
from .inputs import CATEGORY, ESSENTIAL, fps_input
from .notes import notes_in_node

PNG = "png sequence"
_PLACEHOLDER = re.compile("%[^%]*%")  # such as %date:yyyy-MM-dd%, which the editor or ComfyUI fills in


class SaveLongVideo(io.ComfyNode):
    """Takes a LATENT and its VAE, so that the frames of a long video never lie in memory together."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveLongVideo",
            display_name="Save Long Video",
            category=f"{CATEGORY}/video",
            description="Decodes a latent in pieces and writes the video as it goes, so that memory does not grow with "
            "its length. Also takes frames or a VIDEO. The workflow is stored in the file.",
            **ESSENTIAL,
            search_aliases=["save video", "video combine", "vae decode", "export video", "mp4", "webm"],
            inputs=[
                io.Latent.Input("samples", optional=True, tooltip="The latent to decode; needs vae."),
                io.Vae.Input("vae", optional=True, tooltip="The VAE of the model that made samples."),
                io.Image.Input("images", optional=True, tooltip="Frames, in place of samples."),
                io.Video.Input("video", optional=True, tooltip="A video, in place of samples: to write it in another "
                               "format, or cut by LoadLongVideo. An HDR video stays HDR."),
                fps_input("Frames per second; a video keeps its own."),
                io.String.Input(
                    "filename_prefix", default="video/long",
                    tooltip="Where in the output folder, as in Save Video; may contain %date:yyyy-MM-dd% and others.",
                ),
                io.Combo.Input(
                    "format", options=[*CONTAINERS, PNG], default="mp4",
                    tooltip="Kind of file; png sequence makes a folder of images, with audio.wav if there is sound.",
                ),
                io.Combo.Input(
                    "codec", options=["auto", *ENCODERS], default="auto",
                    tooltip="auto: h264, in webm vp9. h264 plays everywhere; h265 and av1 are smaller and slower.",
                ),
                io.Int.Input(
                    "crf", default=18, min=0, max=63,
                    tooltip="Quality: 0 is best, higher is smaller. 18 is hard to tell from the original with h264; "
                    "av1 and vp9 count to 63, where 30 is about as good.",
                ),
                io.Combo.Input(
                    "pixel_format", options=list(PIXEL_FORMATS), default="yuv420p", advanced=True,
                    tooltip="yuv420p plays everywhere; yuv444p keeps the full resolution of colours; 10le has 10 bits, "
                    "which an HDR video gets in any case.",
                ),
                io.Int.Input(
                    "upscale", default=1, min=1, max=16, optional=True, advanced=True,
                    tooltip="Enlarge so many times by repeating pixels, for very small videos.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="Sound from the start of the video; cut at its end."),
                io.Video.Input(
                    "audio_from", optional=True,
                    tooltip="A video whose sound is taken, e.g. the source from LoadLongVideo, trimmed as it is there.",
                ),
                io.Vae.Input(
                    "audio_vae", optional=True,
                    tooltip="The audio VAE of LTX-2 or MiniMax H3: saves the sound that samples holds beside the "
                    "video.",
                ),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="The file that was written; none for images.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, format: str | None = None, codec: str | None = None, crf: int | None = None,
        pixel_format: str | None = None, filename_prefix: str | None = None,
    ) -> bool | Wrong:  # fmt: skip
        """Shows a combination that no file can have, and a name that some system cannot, before anything is sampled."""
        try:
            _prefix(filename_prefix or "")
        except ValueError as error:
            return Wrong.of(error, "filename_prefix")
        if lacks("samples", "images", "video"):
            return Wrong({"samples": "Nothing is connected. Connect one of samples (with vae), images and video."})
        if connected("samples") and lacks("vae"):
            return Wrong({"vae": "samples is connected, but no vae. Connect the VAE of the model."})
        if None in (format, codec, crf, pixel_format):
            return True
        try:
            _video_format(format, codec, crf, pixel_format)
        except ValueError as error:
            return Wrong.of(error, "pixel_format", "codec", "crf")
        return True

    @classmethod
    def execute(
        cls,
        fps: float,
        filename_prefix: str,
        format: str,
        codec: str,
        crf: int,
        pixel_format: str,
        upscale: int = 1,
        samples: dict | None = None,
        vae: Any = None,
        images: torch.Tensor | None = None,
        video: Any = None,
        audio: dict | None = None,
        audio_from: Any = None,
        audio_vae: Any = None,
    ) -> io.NodeOutput:
        with naming("SaveLongVideo"), notes_in_node():
            prefix = _prefix(filename_prefix)
            color_space = "sRGB" if video is None else color_space_of(video)
            video_format = _video_format(format, codec, crf, pixel_format, color_space)
            deep = video_format is not None and video_format.deep
            frames, rate = frames_to_save(samples, vae, images, video, fps, deep)
            frame_rate(rate)  # refuses what is none
            sound = sound_to_save(audio, audio_from, audio_vae, video, samples, vae, rate)
            width, height = size_to_save(samples, vae, images, video)
            if video_format is not None:
                video_format.check_size(width * upscale, height * upscale)
            folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
                prefix, folder_paths.get_output_directory(), width, height
            )
            ending = "" if video_format is None else f".{video_format.container}"
            metadata = cls._metadata()

            def file_name(number: int) -> str:
                return f"{name}_{number:05}_{ending}"

            with reserved(Path(folder), file_name, counter, is_folder=video_format is None) as path:
                if video_format is None:
                    paths = save_images(path, frames, rate, upscale=upscale, audio=sound, metadata=metadata)
                    shown = [ui.SavedResult(paths[0].name, os.path.join(subfolder, path.name), io.FolderType.output)]
                    return io.NodeOutput(None, ui={"images": shown})
                save_video(
                    path, frames, rate, crf=crf, codec=video_format.codec, pixel_format=video_format.pixel_format,
                    color_space=color_space, upscale=upscale, audio=sound, metadata=metadata,
                )  # fmt: skip
        preview = ui.PreviewVideo([ui.SavedResult(path.name, subfolder, io.FolderType.output)])
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), ui=preview)

    @classmethod
    def _metadata(cls) -> dict[str, Any]:
        """What the host's own nodes store: the workflow and the prompt."""
        if args.disable_metadata or cls.hidden is None:
            return {}
        metadata = dict(cls.hidden.extra_pnginfo or {})
        if cls.hidden.prompt is not None:
            metadata["prompt"] = cls.hidden.prompt
        return metadata


def _prefix(written: str) -> str:
    """A prefix as it may be written on any system.

    Raises:
        ValueError: some system cannot hold it.
    """
    prefix = written.replace("\\", "/")
    check_names("filename_prefix", _PLACEHOLDER.sub("0", prefix))
    return prefix


def _video_format(
    format: str, codec: str, crf: int, pixel_format: str, color_space: str = "sRGB"
) -> VideoFormat | None:
    """The format of a file; None for images."""
    if format == PNG:
        if color_space != "sRGB":
            raise ValueError(f"video is {color_space}, and format is {PNG}, which has 8 bits. Use mp4, mov or "
                             "mkv, or set hdr of Load Long Video to 'tone map'.")  # fmt: skip
        return None
    return video_format_for(format, "" if codec == "auto" else codec, crf, pixel_format, color_space)
