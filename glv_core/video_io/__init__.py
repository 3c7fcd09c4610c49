"""Writing and reading video files with PyAV, a few frames at a time."""

from .audio import BLOCK, Audio, FileAudio, Waveform, read_audio
from .formats import COLOR_SPACES, CONTAINERS, ENCODERS, PIXEL_FORMATS, VideoFormat, video_format_for
from .frames import center_crop_resize, rechunk
from .notes import listening, tell
from .reader import VideoClip, open_clip, read_video
from .tone import tone_map
from .writer import FASTEST, frame_rate, save_images, save_video

__all__ = [
    "BLOCK",
    "COLOR_SPACES",
    "CONTAINERS",
    "ENCODERS",
    "FASTEST",
    "PIXEL_FORMATS",
    "Audio",
    "FileAudio",
    "VideoClip",
    "VideoFormat",
    "Waveform",
    "center_crop_resize",
    "frame_rate",
    "listening",
    "open_clip",
    "read_audio",
    "read_video",
    "rechunk",
    "save_images",
    "save_video",
    "tell",
    "tone_map",
    "video_format_for",
]
