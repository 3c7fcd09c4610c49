"""ControlPreprocess on real frames, with networks of made-up weights in the public files. Runs inside ComfyUI."""

import pathlib

import folder_paths
import numpy as np
import torch
from PIL import Image

import video_files

CLIP = pathlib.Path(__file__).resolve().parents[2] / "clips" / "astronaut.mp4"


def run(images, kind: str, hint=None, **arguments) -> tuple[torch.Tensor, int, int]:
    """The node as the host runs it: defaults filled in, those of the kind too, and of the detector."""
    from long_video_pack.nodes.control_preprocess import ControlPreprocess

    options = {"kind": kind, **defaults(ControlPreprocess.define_schema().inputs, "kind", kind)}
    outer = {name: arguments.pop(name) for name in list(arguments) if name in OUTER}
    if kind == "pose":
        detector = options["detector"] | {key: value for key, value in arguments.items() if key not in options}
        name = arguments.pop("detector", "openpose")
        inner = next(each for each in kind_inputs(ControlPreprocess.define_schema().inputs, "kind", kind)
                     if each.id == "detector")  # fmt: skip
        detector = {"detector": name, **defaults([inner], "detector", name)}
        detector |= {key: arguments.pop(key) for key in list(arguments) if key in detector or key.endswith("_id")}
        options["detector"] = detector
    assert set(arguments) <= set(options) | {"model_id"}, arguments
    return video_files.execute(ControlPreprocess, images=images, kind=options | arguments, hint=hint, **outer).args


OUTER = ("short_side", "multiple", "frames_per_forward", "hint_timing")


def kind_inputs(inputs: list, name: str, key: str) -> list:
    combo = next(each for each in inputs if each.id == name)
    return next(option for option in combo.options if option.key == key).inputs


def defaults(inputs: list, name: str, key: str) -> dict:
    """What a DynamicCombo hands over when nothing is changed."""
    values = {}
    for each in kind_inputs(inputs, name, key):
        if hasattr(each, "default") and each.default is not None:
            values[each.id] = each.default
        elif getattr(each, "options", None) and not hasattr(each.options[0], "key"):
            values[each.id] = each.options[0]
        elif getattr(each, "options", None):
            values[each.id] = {each.id: each.options[0].key}
    return values


def frames() -> torch.Tensor:
    from long_video_pack.glv_core.video_io import read_video

    return read_video(CLIP)[0].float() / 255


def annotator_folder() -> pathlib.Path:
    from long_video_pack.glv_core.hosts.comfy.vision import annotators

    folder = pathlib.Path(folder_paths.get_folder_paths(annotators.FOLDER)[0])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def zeros(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a network that gives 0 everywhere."""
    return {name: torch.ones_like(value) if "running_var" in name else torch.zeros_like(value)
            for name, value in network.state_dict().items()}  # fmt: skip


def edge_weights() -> dict[str, torch.Tensor]:
    """HED's weights by their public names, for a network that measures the steepness of the green channel.

    Four channels of the first stage are the halves of the two Sobel derivatives; the fused map is their sum.
    """
    from long_video_pack.glv_core.perception.networks.hed import HED

    weights = zeros(HED())
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    for number, kernel in enumerate((sobel, -sobel, sobel.T, -sobel.T)):
        weights["moduleVggOne.0.weight"][number, 1] = kernel
        weights["moduleVggOne.2.weight"][number, number, 1, 1] = 1
        weights["moduleScoreOne.weight"][0, number] = 0.02
    weights["moduleCombine.0.weight"][0, 0] = 1
    weights["moduleCombine.0.bias"][:] = -4
    return weights


def make_hed() -> None:
    torch.save(edge_weights(), annotator_folder() / "network-bsds500.pth")


def sheet(path: str, **images: torch.Tensor) -> None:
    """A contact sheet, a row for each: some frames over the clip."""
    rows = [torch.cat([part[number] for number in np.linspace(0, len(part) - 1, 5).astype(int)], 1)
            for part in images.values()]  # fmt: skip
    width = max(row.shape[1] for row in rows)
    rows = [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[1])) for row in rows]
    Image.fromarray((torch.cat(rows) * 255).round().to(torch.uint8).numpy()).save(path)


def changes(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape != other.shape or bool((one != other).any())


def edges(path: str) -> dict:
    """The kinds that need no network, and those that need HED, on a few frames of the real clip."""
    clip = frames()[:4]
    make_hed()
    small = {"short_side": 128, "multiple": 32}
    made = {kind: run(clip, kind, **small)[0] for kind in ("canny", "scribble", "hed", "fake_scribble", "sketch")}
    sheet(path, **made)
    other = {
        "canny": [{"low_threshold": 199.0}, {"high_threshold": 900.0}],
        "scribble": [{"threshold": 60.0}, {"smoothing": 2.0}],
        "hed": [{"smoothing": 2.0}],
        "fake_scribble": [{"smoothing": 2.0}],
        "sketch": [{"threshold": 0.9}, {"smoothing": 2.0}],
    }
    return {
        "shapes": [list(each.shape) for each in made.values()],
        "colours": {kind: len(each.unique()) for kind, each in made.items()},
        "bright": {kind: float((each > 0.875).float().mean()) for kind, each in made.items()},
        "grey": all(bool((each == each[..., :1]).all()) for each in made.values()),
        "effects": {f"{kind} {name}": changes(made[kind], run(clip, kind, **small, **{name: value})[0])
                    for kind, several in other.items() for each in several for name, value in each.items()},
        "pieces": max(float((run(clip, kind, frames_per_forward=4, **small)[0] - made[kind]).abs().max())
                      for kind in ("canny", "hed")),
    }  # fmt: skip


def sizes() -> dict:
    """What comes out for the real clip, from IMAGE and from VIDEO."""
    from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
    from long_video_pack.glv_core.video_io import open_clip

    clip = frames()
    images, width, height = run(clip[:2], "scribble")
    video = run(LongVideo(open_clip(CLIP)), "scribble", short_side=0)[0]
    same = run(clip, "scribble", short_side=0)[0]
    odd = run(clip[:2], "scribble", short_side=100, multiple=1)[0]
    return {"512": [list(images.shape), width, height], "video": list(video.shape), "equal": torch.equal(video, same),
            "100": list(odd.shape)}  # fmt: skip


def hough() -> dict:
    """M-LSD with random weights, in the folder of the other pack."""
    from long_video_pack.glv_core.perception.networks.mlsd import MLSD

    folder = pathlib.Path(folder_paths.get_folder_paths("custom_nodes")[0], "ComfyUI_ControlNet_aux".lower())
    folder = folder / "ckpts" / "lllyasviel" / "Annotators"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    with torch.inference_mode(False):
        network = MLSD()
        torch.nn.init.normal_(network.block23.conv3.weight, std=8.0)
    torch.save(network.state_dict(), folder / "mlsd_large_512_fp32.pth")
    clip = frames()[:3]
    made, *_ = run(clip, "hough", short_side=96, multiple=24)
    return {
        "shape": list(made.shape), "colours": made.unique().tolist(), "white": float(made.mean()),
        "effects": [changes(made, run(clip, "hough", short_side=96, multiple=24, **{name: value})[0])
                    for name, value in (("score_threshold", 0.9), ("length_threshold", 5.0))],
    }  # fmt: skip


def openpose(path: str) -> dict:
    """OpenPose's network in its public file; then with maps of a known person who walks, in place of what it sees."""
    import sys

    from long_video_pack.glv_core.perception.networks.openpose_body import OpenPoseBody

    sys.path.append(str(CLIP.parents[1] / "glv_core" / "perception" / "controls"))
    import people

    torch.save(zeros(OpenPoseBody()), annotator_folder() / "body_pose_model.pth")
    clip = frames()[:8]
    nobody, *_ = run(clip[:1], "pose", short_side=128)
    seen, sizes = [0], []

    def known(self, values):
        sizes.append(list(values.shape))
        maps = []
        for _ in values:
            here = [people.standing(8.3 + 0.9 * seen[0] + 0.4 * (seen[0] % 2), 11.2, 2.37)] if seen[0] % 8 != 3 else []
            maps.append(people.maps_of(here, *(side // 8 for side in values.shape[2:])))
            seen[0] += 1
        heat, fields = zip(*maps, strict=True)
        return torch.stack(fields), torch.stack(heat)

    forward = OpenPoseBody.forward
    OpenPoseBody.forward = known
    try:
        made = []
        for options in ({"hold": 0, "smoothing": 0.0}, {"hold": 2, "smoothing": 0.0}, {"hold": 2, "smoothing": 1.5}):
            seen[0] = 0
            made.append(run(clip, "pose", short_side=384, frames_per_forward=3, **options)[0])
    finally:
        OpenPoseBody.forward = forward
    plain, held, smoothed = made
    sheet(path, plain=plain, held=held, smoothed=smoothed)
    return {
        "nobody": float(nobody.max()), "input": sizes[0], "largest": max(size[0] for size in sizes),
        "drawn": [bool(each.any()) for each in plain], "held": [bool(each.any()) for each in held],
        "others": torch.equal(plain[[0, 1, 2, 4, 5, 6, 7]], held[[0, 1, 2, 4, 5, 6, 7]]),
        "smoothed": changes(held, smoothed),
    }  # fmt: skip


def drawn_poses() -> dict:
    """Stick figures of the demo model's objects, as they are and held and smoothed."""
    from long_video_pack.glv_core.demo.clips import centred_scene, render
    from long_video_pack.glv_core.demo.stick_figures import figures_in
    from long_video_pack.glv_core.hosts.comfy.vision.grounding_models import DEMO_DETECTOR
    from long_video_pack.glv_core.perception.controls.pose_drawing import draw_poses

    clip = render(centred_scene("triangle", "red", "white", "right", 40.0), 30).permute(0, 2, 3, 1).contiguous()
    clip[12] = clip[0, 0, 0]  # a frame in which nothing is seen
    sizes = {"detector": DEMO_DETECTOR, "short_side": 64, "multiple": 8, "frames_per_forward": 7}
    plain, *_ = run(clip, "pose", hold=0, smoothing=0.0, **sizes)
    held, *_ = run(clip, "pose", **sizes)
    wanted = draw_poses(figures_in((clip * 255).round() / 255), 64, 64)
    return {
        "equal": torch.equal((plain * 255).round().to(torch.uint8), torch.from_numpy(wanted)),
        "seen": [bool(each.any()) for each in plain], "held": [bool(each.any()) for each in held],
    }  # fmt: skip


def networks_of_transformers(path: str) -> dict:
    """Depth, normals, segments and ViTPose of tiny models; and what their inputs change."""
    import tiny_controls as tiny

    clip, small = frames()[::8], {"short_side": 128}
    vitpose = {"detector": "vitpose", "pose_model": tiny.vitpose(), "person_detector": tiny.rt_detr(),
               "person_threshold": 0.0, "keypoint_threshold": 0.0}  # fmt: skip
    cases = {
        "depth": {"model": tiny.depth_anything()},
        "normal": {"model": tiny.dpt(), "depth_span": 100.0},
        "seg": {"model": tiny.segformer(150)},
        "pose": vitpose,
    }
    made = {kind: run(clip, kind, **options, **small)[0] for kind, options in cases.items()}
    sheet(path, **made)
    other = [
        ("depth", {"normalize": "each frame"}), ("depth", {"model": tiny.dpt()}), ("depth", {"model_id": tiny.dpt()}),
        ("normal", {"normalize": "each frame"}), ("normal", {"background": 0.0}), ("normal", {"depth_span": 10.0}),
        ("seg", {"model": tiny.mask2former()}), ("seg", {"model_id": tiny.segformer(171), "palette": "coco_stuff"}),
        ("pose", {"person_threshold": 1.0}), ("pose", {"keypoint_threshold": 1.0}),
        ("pose", {"pose_model_id": tiny.vitpose(6)}), ("pose", {"person_detector_id": tiny.rt_detr(seed=3)}),
        ("pose", {"detector": "vitpose", "hold": 0, "smoothing": 0.0}),
    ]  # fmt: skip
    effects = [changes(made[kind], run(clip, kind, **(cases[kind] | options), **small)[0]) for kind, options in other]
    return {
        "shapes": [list(each.shape) for each in made.values()],
        "range": [float(made["depth"].min()), float(made["depth"].max())],
        "grey": bool((made["depth"] == made["depth"][..., :1]).all()),
        "effects": {f"{kind} {options}": effect for (kind, options), effect in zip(other, effects, strict=True)},
    }  # fmt: skip


def hints() -> dict:
    """Ready control videos of another length, rate and size."""
    clip = frames()[:10]
    steps = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 30, 40, 3).contiguous()
    steps[:, :15] = 0
    small = {"short_side": 64, "multiple": 32}

    def levels(hint, **arguments):
        made = run(clip, arguments.pop("kind", "canny"), hint=hint, **small, **arguments)[0]
        return list(made.shape), [round(float(each[-1, 0, 0]), 3) for each in made], len(made.unique())

    return {
        "stretch": levels(steps), "each": levels(steps, hint_timing="frame by frame"),
        "soft": levels(steps, kind="depth")[2], "more": levels(steps.repeat_interleave(4, 0))[1],
    }  # fmt: skip


def depth_guided_long_video() -> dict:
    """The shipped VACE workflow's nodes on tiny models: a clip, its control, and windows of one long latent."""
    import families
    import streaming
    import tiny
    from comfy_extras.nodes_wan import WanVaceToVideo
    from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
    from long_video_pack.glv_core.video_io import open_clip

    clip = open_clip(CLIP).trimmed(num_frames=29)
    model, vae = families.wan_vace()[0], streaming.wan_vae()
    for name, weight in vae.first_stage_model.named_parameters():
        weight.data += float(name.endswith("gamma"))  # norms that let the image through
    results = {}
    for name, kind in (("control", "canny"), ("other control", "scribble")):
        control, width, height = run(LongVideo(clip), kind, short_side=32, multiple=16)
        positive, negative, latent, trim = WanVaceToVideo.execute(
            tiny.scheduled("a | b", 29), tiny.conditioning(0), vae, width, height, 29, 1, 1.0, control
        ).args
        recorder = tiny.Recorder(model)
        made = tiny.co_denoise(
            recorder.model, latent, positive=positive, negative=negative, steps=2, window=17, overlap=4,
            schedule="shifted", per_forward=1,
        )  # fmt: skip
        results[name] = {"shape": list(made.shape), "lengths": sorted({shape[2] for shape in recorder.shapes})}
        results[f"{name} made"] = made
    difference = results.pop("control made") - results.pop("other control made")
    return {**results, "trim": trim, "difference": float(difference.abs().max())}
