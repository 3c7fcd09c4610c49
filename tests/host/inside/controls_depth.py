"""ControlPreprocess's depth networks beside the library's own post-processing. Runs inside ComfyUI."""

import types

import torch
import transformers

import controls
import tiny_controls as tiny


def load(name: str):
    from long_video_pack.glv_core.hosts.comfy.vision import vision_models
    from long_video_pack.glv_core.hosts.transformers import depth

    folder = vision_models.find_model(name, depth.MODELS, depth.FILES)
    return vision_models.load_vision_model(folder, depth.MODEL_CLASS, "AutoImageProcessor")


def near_is_bright() -> dict:
    """For every type of network the greatest difference from what the library makes of it, turned round if metres."""
    from long_video_pack.glv_core.hosts.transformers import depth

    networks = {
        "depth_anything": (tiny.depth_anything(), False), "metric": (tiny.depth_anything("metric"), True),
        "dpt": (tiny.dpt(), False), "glpn": (tiny.glpn(), True), "zoedepth": (tiny.zoedepth(), True),
    }  # fmt: skip
    images = (controls.frames()[:2] * 255).to(torch.uint8)
    size = tuple(images.shape[1:3])
    result = {"types": sorted({load(name).model.config.model_type for name, _ in networks.values()}),
              "known": sorted(depth.MODELS), "differences": {}}  # fmt: skip
    for kind, (name, metres) in networks.items():
        model = load(name)
        inputs = model.processor(images=list(images.movedim(-1, 1)), return_tensors="pt")
        sizes = {"source_sizes": [size] * 2} if kind == "zoedepth" else {}
        found = model.processor.post_process_depth_estimation(model.model(**inputs), target_sizes=[size] * 2, **sizes)
        wanted = torch.stack([each["predicted_depth"].squeeze() for each in found])
        wanted = 1 / wanted.clamp(min=0.1) if metres else wanted
        ours = depth.DepthEstimator(model.model, model.processor).inverse_depth(images)
        result["differences"][kind] = float((ours - wanted).abs().max() / wanted.abs().max())
        result.setdefault("varied", []).append(float(wanted.std()) > 0)
    return result


def dinov2() -> list[bool]:
    """DPT on DINOv2 tells metres, and its processor only adds a border: what is near and what is far."""
    from long_video_pack.glv_core.hosts.transformers import depth

    model = load(tiny.dpt_dinov2())
    images = (controls.frames()[:1, :100, :150] * 255).to(torch.uint8)
    raw = model.model(**model.processor(images=list(images.movedim(-1, 1)), return_tensors="pt")).predicted_depth
    ours = depth.DepthEstimator(model.model, model.processor)
    made = ours.inverse_depth(images)
    inner = torch.nn.functional.interpolate(raw[:, None], (112, 154), mode="bicubic")[:, 0, 6:106, 2:152]
    return [tuple(made.shape) == (1, 100, 150), bool((made - 1 / inner.clamp(min=0.1)).abs().max() < 1e-4 * made.max()),
            ours.relief == 2000]  # fmt: skip


class Brightness(torch.nn.Module):
    """A network that takes brightness for depth."""

    def __init__(self, model_type: str) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(model_type=model_type)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def forward(self, pixel_values: torch.Tensor) -> types.SimpleNamespace:
        return types.SimpleNamespace(predicted_depth=pixel_values.mean(1) + 3)


def borders() -> dict:
    """Where a bright square at rows 64 to 191 and columns 80 to 239 of an image comes out, for several processors."""
    from long_video_pack.glv_core.hosts.transformers import depth

    image = torch.zeros(1, 250, 330, 3, dtype=torch.uint8)
    image[:, 64:192, 80:240] = 255
    processors = {
        "zoedepth": transformers.ZoeDepthImageProcessor(),
        "zoedepth without": transformers.ZoeDepthImageProcessor(do_pad=False),
        "dpt": transformers.DPTImageProcessor(do_resize=False, do_pad=True, size_divisor=64),
        "dpt resized": transformers.DPTImageProcessor(size={"height": 200, "width": 300}, do_pad=True, size_divisor=64),
        "dpt without": transformers.DPTImageProcessor(),
        "glpn": transformers.GLPNImageProcessor(),
    }
    result = {}
    for name, processor in processors.items():
        made = depth.DepthEstimator(Brightness(name.split()[0]), processor).inverse_depth(image)[0]
        inside = (made - made[0, 0]).abs() > (made[128, 160] - made[0, 0]).abs() / 2
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        result[name] = [int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())]
    return result


def relief() -> dict:
    """Normals at depth_span 0 beside those at a span, and the menu."""
    from long_video_pack.glv_core.hosts.comfy.vision.control_models import DEPTH_MODELS, NORMAL_MODELS, model_menu

    clip, small = controls.frames()[:2], {"short_side": 64}

    def normals(model: str, span: float) -> torch.Tensor:
        return controls.run(clip, "normal", model=model, depth_span=span, **small)[0]

    automatic, dpt = normals(tiny.depth_anything(), 0.0), normals(tiny.dpt(), 0.0)
    return {
        "others": torch.equal(automatic, normals(tiny.depth_anything(), 2000.0)),
        "dpt": torch.equal(dpt, normals(tiny.dpt(), 2000.0)),
        "menu": model_menu([], NORMAL_MODELS), "same": set(NORMAL_MODELS) == set(DEPTH_MODELS),
        "local": model_menu(["dpt", "depth_anything"], ["Intel/dpt-large", tiny.dpt()])[:1],
    }  # fmt: skip
