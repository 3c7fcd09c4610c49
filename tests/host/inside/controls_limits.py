"""ControlPreprocess: wrong input, long clips, and being stopped. Runs inside ComfyUI."""

import os
import pathlib
import shutil

import folder_paths
import torch

import controls
from vision import anonymous_memory


def refused(kind: str, **arguments) -> str:
    import tiny_controls as tiny

    for key, value in arguments.items():
        if isinstance(value, str) and value.startswith("tiny "):
            name, _, argument = value.removeprefix("tiny ").partition(" ")
            made = getattr(tiny, name)
            arguments[key] = made(int(argument) if argument.isdigit() else argument) if argument else made()
    broken = arguments.pop("broken", None)
    file = controls.annotator_folder() / "network-bsds500.safetensors"
    for each in controls.annotator_folder().glob("network-bsds500*"):
        each.unlink()
    if broken == "other":
        torch.save({"weight": torch.zeros(3)}, file.with_suffix(".pth"))
    elif broken == "pickle":
        torch.save({"weight": pathlib.PurePosixPath("x")}, file.with_suffix(".pth"))
    elif broken == "damaged":
        file.write_bytes(b"nothing")
    images = torch.rand(*arguments.pop("shape", [2, 32, 32, 3]))
    try:
        controls.run(images, kind, **arguments)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing refused"


def lost_video() -> str:
    """A video whose file is gone after it was opened."""
    from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
    from long_video_pack.glv_core.video_io import open_clip

    path = pathlib.Path(folder_paths.get_temp_directory()) / "lost.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(controls.CLIP, path)
    clip = LongVideo(open_clip(path))
    path.unlink()
    try:
        controls.run(clip, "scribble", short_side=64)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing refused"


def annotators() -> dict:
    """HED is loaded once, anew when its file changes; a .safetensors is taken before a .pth."""
    import comfy.utils
    from long_video_pack.glv_core.hosts.comfy.vision import annotators

    for each in controls.annotator_folder().glob("network-bsds500*"):
        each.unlink()
    controls.make_hed()
    first = annotators.load_annotator("hed")
    again = annotators.load_annotator("hed")
    pth = controls.annotator_folder() / "network-bsds500.pth"
    os.utime(pth, ns=(1, 1))
    anew = annotators.load_annotator("hed")
    pth.write_bytes(b"nothing")
    comfy.utils.save_torch_file(controls.edge_weights(), str(pth.with_suffix(".safetensors")))
    name = annotators.find_annotator("hed").name
    loads = annotators.load_annotator("hed").model is not first.model
    return {"again": again is first, "anew": anew is not first, "name": name, "loads": loads}


def memory(length: int) -> dict:
    """Anonymous memory while so many frames of a video in a file are made into controls, without a network and with."""
    import tiny_controls as tiny
    from long_video_pack.glv_core.hosts.comfy.video import memory_mapped
    from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
    from long_video_pack.glv_core.hosts.comfy.vision import control_images
    from long_video_pack.glv_core.video_io import open_clip, save_video

    memory_mapped.MAPPED_FROM = 2**20
    path = pathlib.Path(folder_paths.get_temp_directory()) / "long.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = torch.rand(1, 96, 128, 3, generator=torch.Generator().manual_seed(3))
    save_video(path, (image.roll(number, 2) for number in range(length)), 16, crf=30)
    peak, largest = [0.0], []
    resize = control_images.resize_frames

    def spy(images, height, width):
        largest.append(len(images))
        if len(largest) % 25 == 0:
            peak.append(anonymous_memory())
        return resize(images, height, width)

    control_images.resize_frames = spy
    shapes = []
    try:
        for kind, options in (("scribble", {}), ("depth", {"model": tiny.dpt()})):
            made, *_ = controls.run(LongVideo(open_clip(path)), kind, short_side=96, multiple=32, **options)
            shapes.append(list(made.shape))
            peak.append(anonymous_memory())
    finally:
        control_images.resize_frames = resize
        path.unlink()
    return {"memory": max(peak), "largest": max(largest), "shapes": shapes}


def interrupted() -> dict:
    """Progress with images, and a stop in the middle of the clip."""
    import comfy.model_management
    import comfy.utils

    seen = []

    def hook(value, total, preview, node_id=None):
        seen.append((value, total, preview is not None))
        if preview is not None:  # always sent, where others are left out that come within a tenth of a second
            comfy.model_management.interrupt_current_processing(True)

    comfy.utils.set_progress_bar_global_hook(hook)
    try:
        controls.run(controls.frames(), "scribble", short_side=64, frames_per_forward=2)
        stopped = False
    except comfy.model_management.InterruptProcessingException:
        stopped = True
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
        comfy.model_management.interrupt_current_processing(False)
    return {"stopped": stopped, "last": seen[-1][0], "total": seen[-1][1], "images": any(each[2] for each in seen)}
