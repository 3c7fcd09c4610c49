"""Writing and reading video files with PyAV, a few frames at a time."""

from .audio import BLOCK, Audio, FileAudio, Waveform, read_audio
from .formats import COLOR_SPACES, CONTAINERS, ENCODERS, PIXEL_FORMATS, VideoFormat, video_format_for
from .frames import center_crop_resize, rechunk
from .reader import VideoClip, open_clip, read_video
from .writer import frame_rate, save_images, save_video

__all__ = [
    "BLOCK",
    "COLOR_SPACES",
    "CONTAINERS",
    "ENCODERS",
    "PIXEL_FORMATS",
    "Audio",
    "FileAudio",
    "VideoClip",
    "VideoFormat",
    "Waveform",
    "center_crop_resize",
    "frame_rate",
    "open_clip",
    "read_audio",
    "read_video",
    "rechunk",
    "save_images",
    "save_video",
    "video_format_for",
]
