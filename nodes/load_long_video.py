"""LoadLongVideo: a video file whose frames are read when they are needed."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..glv_core.demo.star import STAR_VIDEO
from ..glv_core.hosts.comfy.video.long_video import LongVideo
from ..glv_core.hosts.comfy.video.part_preview import part_preview
from ..glv_core.video_io import FASTEST, VideoClip, open_clip, tell
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, ESSENTIAL
from .notes import notes_in_node

KEEP, TONE_MAP = "keep", "tone map"
MOST = 10_000_000  #: frames
BUILT_IN = "star (built in)"  #: a video that the demo model can be tuned on
ANIMATED = (".gif", ".webp")  #: images that move; the host's menu of videos leaves them out


def _files() -> list[str]:
    folder = folder_paths.get_input_directory()
    names = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name))]
    moving = [name for name in names if name.lower().endswith(ANIMATED)]
    return [*sorted({*folder_paths.filter_files_content_types(names, ["video"]), *moving}), BUILT_IN]


def _path(file: str) -> Path:
    """The file in one of ComfyUI's folders that a name stands for.

    Raises:
        ValueError: there is none, or the name leads out of these folders.
    """
    if file == BUILT_IN:
        return STAR_VIDEO
    folders = (
        folder_paths.get_input_directory(), folder_paths.get_output_directory(), folder_paths.get_temp_directory()
    )  # fmt: skip
    try:
        path = Path(folder_paths.get_annotated_filepath(file)).resolve()
        found = path.is_file() and any(path.is_relative_to(Path(folder).resolve()) for folder in folders)
    except ValueError:  # newer hosts refuse a name that leads out of the folder; no path has a zero in it
        found = False
    if not found:
        raise ValueError(f"file is {file!r}, which is not in the input folder. Upload it, or choose another.")
    return path


def _clip(file: str, start: float, length: int, fps: float, hdr: str) -> VideoClip:
    path = _path(file)
    try:
        clip = open_clip(path)
    except OSError as error:
        raise ValueError(f"file is {file!r}, which cannot be read as a video: {error}") from error
    tell(*clip.notes)
    if hdr not in (KEEP, TONE_MAP):
        raise ValueError(f"hdr is {hdr!r}; it must be {KEEP} or {TONE_MAP}.")
    clip = clip.trimmed(start, length or None, fps or None)
    if length > clip.num_frames:
        tell(f"{path.name} has {clip.num_frames} frames from there on, and length asks for {length}: those are all.")
    return clip.as_sdr() if hdr == TONE_MAP else clip


class LoadLongVideo(io.ComfyNode):
    """Opens a video of any length at constant memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadLongVideo",
            display_name="Load Long Video",
            category=f"{CATEGORY}/video",
            description="Opens a video, or a part of it, with its sound and at another frame rate if wanted. Frames "
            "are read when they are needed: EncodeLongVideo and SaveLongVideo hold only a few at a time. Core nodes "
            "take the output as any VIDEO.",
            **ESSENTIAL,
            search_aliases=["load video", "trim video", "video frames", "import video"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_files(),
                    upload=io.UploadType.video,
                    tooltip="A video in ComfyUI's input folder, or the pack's own.",
                ),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=1_000_000.0, step=0.1, round=0.001, tooltip="Seconds to skip."
                ),
                io.Int.Input(
                    "length", default=0, min=0, max=MOST, tooltip="Frames to take, at the fps below; 0 for all."
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=float(FASTEST),
                    step=1.0,
                    round=0.001,
                    tooltip="Frames per second to read it at, its speed unchanged; 0 is the file's own.",
                ),
                io.Combo.Input(
                    "hdr",
                    options=[KEEP, TONE_MAP],
                    default=KEEP,
                    optional=True,
                    advanced=True,
                    tooltip="What becomes of an HDR video: keep, for Save Long Video to write it as HDR, or tone map "
                    "it to SDR from here on.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The part, with its sound."),
                io.Int.Output(display_name="length", tooltip="Frames of the part."),
                io.Float.Output(display_name="fps", tooltip="Frames per second of the part."),
                io.Int.Output(display_name="width", tooltip="Width in pixels."),
                io.Int.Output(display_name="height", tooltip="Height in pixels."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | Wrong:
        try:
            if file is not None:  # linked, or missing, which the host says
                _path(file)
        except ValueError as error:
            return Wrong.of(error, "file")
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_: object) -> list:
        if file is None:  # linked: whether the file is another is not known, and NaN equals nothing
            return [float("nan")]
        state = _path(file).stat()
        return [state.st_mtime_ns, state.st_size]

    @classmethod
    def execute(cls, file: str, start: float, length: int, fps: float, hdr: str = KEEP) -> io.NodeOutput:
        with naming("LoadLongVideo"), notes_in_node():
            clip = _clip(file, start, length, fps, hdr)
            path = part_preview(clip, Path(folder_paths.get_temp_directory()))
        shown = None if path is None else ui.PreviewVideo([ui.SavedResult(path.name, "", io.FolderType.temp)])
        return io.NodeOutput(LongVideo(clip), clip.num_frames, float(clip.fps), clip.width, clip.height, ui=shown)
