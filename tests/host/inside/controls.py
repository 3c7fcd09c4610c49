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
    from long_video_pack.glv_core.hosts.comfy import annotators

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


def sheet(path: str, **pictures: torch.Tensor) -> None:
    """A contact sheet, a row for each: some frames over the clip."""
    rows = [torch.cat([part[number] for number in np.linspace(0, len(part) - 1, 5).astype(int)], 1)
            for part in pictures.values()]  # fmt: skip
    width = max(row.shape[1] for row in rows)
    rows = [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[1])) for row in rows]
    Image.fromarray((torch.cat(rows) * 255).round().to(torch.uint8).numpy()).save(path)
