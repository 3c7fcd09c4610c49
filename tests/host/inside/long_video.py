"""A LongVideo in the host's own nodes, and the host's videos in the pack's. Runs inside ComfyUI."""

import inspect
import io
import json
import os
import shutil
from pathlib import Path

import av
import folder_paths
import torch
import video_files
from comfy_api.latest import InputImpl, Types
from comfy_api.latest import io as comfy_io
from comfy_extras import nodes_video
from long_video_pack.glv_core.hosts.comfy.video import long_video as hosts
from long_video_pack.glv_core.video_io import open_clip
from long_video_pack.nodes.encode_long_video import EncodeLongVideo
from long_video_pack.nodes.load_long_video import LoadLongVideo
from long_video_pack.nodes.save_long_video import SaveLongVideo

HAS_TRIM = hasattr(nodes_video, "VideoSlice")


def long(path: str, cut: list | None = None, fps: float | None = None):
    """A LongVideo of a file or of ``cut``, ``[start, duration]``."""
    clip = open_clip(path).trimmed(fps=fps)
    return hosts.LongVideo(clip if cut is None else clip.cut(*cut))


def numbers(frames) -> list[int]:
    """The numbers that frames carry in the brightness of eight blocks."""
    if not len(frames):
        return []
    rows = frames.float().mean(dim=(1, 3)).reshape(len(frames), 8, -1).mean(dim=2)
    return [sum(int(value > 0.5 * frames.max()) << bit for bit, value in enumerate(row)) for row in rows]


def sound_of(video) -> list:
    audio = video.get_components().audio
    return [0, 0] if audio is None else [audio["waveform"].shape[-1], audio["sample_rate"]]


def trims(path: str, windows: list) -> list:
    """For each window: frames and sound of the host's own trimming (None before it had any), of ``clip_of`` on its
    result, and of a LongVideo that is trimmed, by the host's node where it has one."""
    found = []
    for start, duration in windows:
        each = {"host": None, "clip": None}
        if HAS_TRIM:
            trimmed = nodes_video.VideoSlice.execute(InputImpl.VideoFromFile(path), start, duration, False).args[0]
            images, audio = nodes_video.GetVideoComponents.execute(trimmed).args[:2]
            each["host"] = [numbers(images), [audio["waveform"].shape[-1], audio["sample_rate"]]]
            clip = hosts.clip_of(trimmed)
            samples = sum(block.shape[1] for block in clip.audio().blocks())
            each["clip"] = [numbers(torch.cat(list(clip.frames()))), [samples, clip.audio().sample_rate]]
            ours = nodes_video.VideoSlice.execute(long(path), start, duration, False).args[0]
        else:
            ours = long(path).as_trimmed(start, duration)
        each["ours"] = [numbers(nodes_video.GetVideoComponents.execute(ours).args[0]), sound_of(ours)]
        each["facts"] = [type(ours).__name__, ours.get_frame_count()]
        found.append(each)
    return found


def trimming_has_no_side(path: str) -> dict:
    """What as_trimmed answers at the edges, and that nothing is decoded by it."""
    video = long(path)
    opened = []
    original, av.open = av.open, lambda *args, **kwargs: opened.append(args) or original(*args, **kwargs)
    try:
        nothing = [video.as_trimmed(9.0), video.as_trimmed(0.0, -1.0), video.as_trimmed(1.0, 9.0, True)]
        twice = video.as_trimmed(0.5, 1.0).as_trimmed(0.25, 5.0)
        strict = video.as_trimmed(-1.0, 1.0, strict_duration=True)
        facts = [twice.get_duration(), strict.get_duration(), video.as_trimmed().get_frame_count()]
    finally:
        av.open = original
    other = long(path, fps=10.0).as_trimmed(0.25, 0.5)
    error = ""
    if HAS_TRIM:
        try:
            nodes_video.VideoSlice.execute(video, 9.0, 0.0, False)
        except ValueError as raised:
            error = str(raised)
    return {
        "nothing": [each is None for each in nothing], "opened": len(opened), "facts": facts,
        "twice": numbers(twice.get_components().images), "other": numbers(other.get_components().images),
        "window": list(twice.get_active_trim_window()), "error": error if HAS_TRIM else "Failed to slice",
    }  # fmt: skip


def trimmed_in_nodes(path: str) -> dict:
    """What the pack's nodes make of a trimmed video: by the host's Load Video and of Load Long Video."""
    from long_video_pack.glv_core.hosts.comfy.video.frame_source import frame_source

    found = {}
    for name, video in (("host", InputImpl.VideoFromFile(path)), ("ours", long(path))):
        if name == "host" and not HAS_TRIM:
            continue
        part = (nodes_video.VideoSlice.execute(video, 0.5, 1.0, False).args[0] if HAS_TRIM
                else video.as_trimmed(0.5, 1.0))  # fmt: skip
        latent, length = video_files.execute(EncodeLongVideo, video=part, vae=video_files.image_vae()).args
        saved = video_files.execute(SaveLongVideo, video=part, filename_prefix="part", crf=5).args[0]
        heard = video_files.execute(
            SaveLongVideo, images=torch.rand(60, 32, 64, 3), fps=20.0, audio_from=part, filename_prefix="heard"
        ).args[0]
        source = frame_source(part)
        found[name] = {
            "encoded": [latent["samples"].shape[0], length],
            "saved": numbers(saved.get_components().images), "sound": sound_of(saved),
            "heard": sound_of(heard),
            "source": [source.num_frames, [number for each in source.batches() for number in numbers(each)]],
        }  # fmt: skip
        if name == "host":
            nothing = nodes_video.VideoSlice.execute(video, 9.0, 0.0, False).args[0]
            try:
                video_files.execute(SaveLongVideo, video=nothing, filename_prefix="part")
            except ValueError as error:
                found["nothing"] = str(error)
    return found


def known_by_length(path: str) -> dict:
    """A host whose videos are trimmed, but do not say where: their frames come from the host."""
    kind = InputImpl.VideoFromFile

    class Trimmed(kind):
        def __getattribute__(self, name):
            if name == "get_active_trim_window":
                raise AttributeError(name)
            return super().__getattribute__(name)

        def as_trimmed(self, *_, **__):
            return self

        def get_duration(self):
            return 0.1

        def get_components(self):
            return Types.VideoComponents(images=torch.zeros(2, 8, 8, 3), audio=None, frame_rate=20)

    return {"clip": hosts.clip_of(Trimmed(path)) is None, "frames": sum(map(len, hosts.frames_of(Trimmed(path)))),
            "untrimmed": hosts.clip_of(kind(path)).num_frames}  # fmt: skip


def facts(source) -> dict:
    """What a file, or a buffer, says of itself; its first image's colour by its own tags."""
    with av.open(source) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        found = {
            "container": container.format.name, "codec": context.codec.canonical_name, "pixels": context.pix_fmt,
            "tags": [int(context.color_primaries), int(context.color_trc), int(context.colorspace)],
            "rate": str(stream.average_rate), "sound": bool(container.streams.audio),
            "metadata": {key.lower(): value for key, value in container.metadata.items()},
        }  # fmt: skip
        images = [frame.to_ndarray(format="rgb48le") / 65535 for frame in container.decode(stream)]
    frames = torch.from_numpy(images[0]).float()
    found.update(frames=len(images), colour=frames.mean(dim=(0, 1)).tolist(), size=list(frames.shape[:2]))
    found["levels"] = len(frames[4, :, 0].unique())
    return found


def packets(path: str) -> list[int]:
    with av.open(path) as container:
        return [packet.size for packet in container.demux(container.streams.video[0]) if packet.size]


def saved(path: str, cut: list | None, jobs: list, fps: float | None = None) -> list:
    """What save_to makes of each job: a name (or "buffer" or "file") and its arguments; or the error."""
    video = long(path, cut, fps)
    found = []
    for name, options in jobs:
        target = Path(folder_paths.get_output_directory()) / name
        try:
            if name == "buffer":
                buffer = io.BytesIO()
                video.save_to(buffer, **options)
                buffer.seek(0)
                found.append(facts(buffer))
            elif name == "file":
                with target.open("wb") as file:
                    video.save_to(file, **options)
                found.append(facts(str(target)))
            else:
                video.save_to(target if name.startswith("path") else str(target), **options)
                found.append({**facts(str(target)), "bytes": target.stat().st_size,
                              "left over": len(list(target.parent.glob(f".{target.stem}*")))})  # fmt: skip
        except ValueError as error:
            found.append(str(error))
    return found


def saved_over_itself(path: str) -> list:
    """The frames of a file after it, and a part of it, were written in its place."""
    file = shutil.copy(path, os.path.join(folder_paths.get_output_directory(), "itself.mkv"))
    found = []
    for cut in (None, [0.5, 0.5]):
        long(file, cut).save_to(file)
        found.append(numbers(long(file).get_components().images))
    return found


def sources(path: str) -> dict:
    """get_stream_source and what is said beside it, for the whole file and for a part."""
    whole, part, slower = long(path), long(path, [0.5, 1.0]), long(path, None, 10.0)
    buffer = part.get_stream_source()
    at_ten = slower.get_stream_source()
    return {
        "whole": [whole.get_stream_source(), list(whole.get_active_trim_window()), whole.get_container_format()],
        "part": [numbers(InputImpl.VideoFromFile(buffer).get_components().images), part.get_container_format(),
                 list(part.get_active_trim_window())],
        "slower": numbers(InputImpl.VideoFromFile(at_ten).get_components().images),
        "copied": packets(path) == packets(_whole_by_host(whole)),
    }  # fmt: skip


def _whole_by_host(video) -> str:
    target = os.path.join(folder_paths.get_output_directory(), "copied.mp4")
    video.save_to(target)
    return target


def has_menus() -> bool:
    """Whether the host's Save Video asks how to encode."""
    return "crf" in inspect.signature(InputImpl.VideoFromFile.save_to).parameters


def host_nodes(path: str, cut: list | None, choices: list) -> list:
    """The host's Save Video on a LongVideo: facts of each file; choices are format, codec and its encoding."""
    hidden = {comfy_io.Hidden.prompt: {"1": "x"}, comfy_io.Hidden.extra_pnginfo: {"workflow": {"nodes": []}}}
    node = nodes_video.SaveVideo.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
    menus = has_menus()
    found = []
    for format, codec, encoding in choices:
        chosen = {"format": format, "codec": codec}
        if menus:
            chosen = {"format": {"format": format, "codec": {"codec": codec, "encoding": encoding or None}}}
        output = node.execute(video=long(path, cut), filename_prefix="host/a", **chosen)
        shown = output.ui.as_dict()["images"][0]
        file = os.path.join(folder_paths.get_output_directory(), shown["subfolder"], shown["filename"])
        found.append(facts(file))
    return found


def components(path: str, cut: list | None = None) -> dict:
    """The host's Get Video Components on a LongVideo."""
    images, audio, fps, *rest = nodes_video.GetVideoComponents.execute(long(path, cut)).args
    return {"shape": list(images.shape), "type": str(images.dtype), "row": images[0, 4, :, 0].tolist(), "fps": fps,
            "sound": None if audio is None else list(audio["waveform"].shape), "rest": rest,
            "colour": images[0].mean(dim=(0, 1)).tolist()}  # fmt: skip


def rewritten(path: str, jobs: list) -> list:
    """SaveLongVideo with a video for each of the options: the file's facts, or the error."""
    found = []
    for options in jobs:
        try:
            written = video_files.execute(SaveLongVideo, video=long(path), filename_prefix="again", **options).args[0]
            found.append(facts(written.get_stream_source()) if written is not None else None)
        except ValueError as error:
            found.append(str(error))
    return found


def from_memory(path: str) -> dict:
    """SaveLongVideo with the host's video that is held in memory: its colours are those that the host says."""
    video = InputImpl.VideoFromFile(io.BytesIO(Path(path).read_bytes()))
    written = video_files.execute(SaveLongVideo, video=video, filename_prefix="memory", crf=5).args[0]
    return {"facts": facts(written.get_stream_source()), "host knows": hasattr(video, "get_color_space")}


def paths_refused(names: list) -> list:
    """LoadLongVideo's answer to each name, before and while it runs."""
    found = []
    for name in names:
        checked = LoadLongVideo.validate_inputs(name)
        try:
            LoadLongVideo.execute(name, 0.0, 0, 0.0)
        except ValueError as error:
            found.append([checked, str(error)])
    return json.loads(json.dumps(found))
