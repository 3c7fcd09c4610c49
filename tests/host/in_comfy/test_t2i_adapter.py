"""T2I-Adapters on Stable Diffusion 1 in windows: all four levels, each window with its own frames, strength.

Gen-L-Video's one-shot tuning is steered by them; its own code leaves the last level out.
"""

import comfy.controlnet
import comfy.ldm.modules.diffusionmodules.openaimodel as unet
import comfy.model_base
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import nodes
import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.tuning.inflated import inflate, transformer_blocks
from long_video_pack.glv_core.tuning.over_time import LayersOverTime
from torch.nn import functional

pytestmark = pytest.mark.every_host
WIDTHS = (32, 64, 128, 128)
FRAMES, WINDOW, STARTS = 10, 6, (0, 2, 4)
CONFIG = {
    **tiny.SD15, "model_channels": 32, "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_output": [1] * 9 + [0] * 3,
    "transformer_depth_middle": 1, "num_heads": 8, "num_head_channels": -1,
}  # fmt: skip
#: Where a level's feature is added: the second layer of each level on the way down.
LAYERS = ("input_blocks.2.1", "input_blocks.5.1", "input_blocks.8.1", "input_blocks.11.0")


@pytest.fixture(scope="module")
def sd15():
    """All four levels of Stable Diffusion 1, with few channels."""
    net = unet.UNetModel(**CONFIG, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    tiny.fill(net, 1, 0.06)
    for module in net.modules():
        if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            module.weight.data += 1
    supported = comfy.supported_models.SD15(dict(CONFIG, disable_unet_model_creation=False))
    supported.unet_config = CONFIG
    base = comfy.model_base.BaseModel(
        supported, comfy.model_base.ModelType.EPS, device="cpu", unet_model=lambda **kwargs: net
    )
    return comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def weights(channels):
    """An adapter's, by the names of the public ones for Stable Diffusion 1.4: 1 channel (sketch, canny) or 3."""
    shapes = {"conv_in.weight": (WIDTHS[0], channels * 64, 3, 3), "conv_in.bias": (WIDTHS[0],)}
    before = WIDTHS[0]
    for level, width in enumerate(WIDTHS):
        for block in (f"body.{2 * level}", f"body.{2 * level + 1}"):
            if before != width:
                shapes |= {f"{block}.in_conv.weight": (width, before, 1, 1), f"{block}.in_conv.bias": (width,)}
            shapes |= {f"{block}.block1.weight": (width, width, 3, 3), f"{block}.block1.bias": (width,)}
            shapes |= {f"{block}.block2.weight": (width, width, 1, 1), f"{block}.block2.bias": (width,)}
            before = width
    generator = torch.Generator().manual_seed(channels)
    return {
        name: torch.randn(shape, generator=generator) * (shape[1:].numel() ** -0.5 if len(shape) > 1 else 0.1)
        for name, shape in ((name, torch.Size(shape)) for name, shape in shapes.items())
    }


def features(given, images):
    """The four features of images, ``t c h w``, by the paper's network (arXiv 2302.08453)."""

    def conv(name, x, padding=0):
        return functional.conv2d(x, given[f"{name}.weight"], given[f"{name}.bias"], padding=padding)

    x, made = conv("conv_in", functional.pixel_unshuffle(images, 8), 1), []
    for level in range(4):
        x = functional.avg_pool2d(x, 2) if level else x
        for block in (f"body.{2 * level}", f"body.{2 * level + 1}"):
            x = conv(f"{block}.in_conv", x) if f"{block}.in_conv.weight" in given else x
            x = x + conv(f"{block}.block2", functional.relu(conv(f"{block}.block1", x, 1)))
        made.append(x)
    return made


def pictures(seed=4):
    return torch.rand(FRAMES, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def adapter(channels):
    control = comfy.controlnet.load_t2i_adapter(weights(channels))
    assert type(control) is comfy.controlnet.T2IAdapter and control.channels_in == channels
    return control


def sampled(model, control=None, images=None, strength=1.0, per_forward=1, cfg=1.0):
    positive, negative = tiny.text(1), tiny.text(0)
    if control is not None:
        apply = nodes.ControlNetApplyAdvanced()
        positive, negative = apply.apply_controlnet(positive, negative, control, images, strength, 0.0, 1.0)
    return tiny.co_denoise(
        model, {"samples": torch.zeros(FRAMES, 4, 8, 8)}, positive=positive, negative=negative, steps=2, cfg=cfg,
        window=WINDOW, overlap=4, schedule="static", merge="flat", per_forward=per_forward,
    )  # fmt: skip


def by_hand(model, given, images, strength=1.0, levels=4):
    """Without a control: features are added to what the layers give, window after window, one a forward pass."""
    added = features(given, images)
    calls = [0]

    def count(*_):
        calls[0] += 1

    def add(level):
        def hook(_module, _inputs, output):
            start = STARTS[(calls[0] - 1) % len(STARTS)]
            return output + strength * added[level][start : start + WINDOW]

        return hook

    net = model.model.diffusion_model
    handles = [net.register_forward_pre_hook(count)]
    handles += [net.get_submodule(LAYERS[level]).register_forward_hook(add(level)) for level in range(levels)]
    try:
        return sampled(model)
    finally:
        for handle in handles:
            handle.remove()


def close(a, b, tolerance=1e-4):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))


def differ(a, b):
    return float((a - b).abs().max() / b.abs().max()) > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_all_four_levels_are_added_to_the_frames_of_each_window(sd15, channels, strength):
    given, images = weights(channels), pictures()
    seen = images.movedim(-1, 1) if channels == 3 else images.movedim(-1, 1).mean(1, keepdim=True)
    ours = sampled(sd15, adapter(channels), images, strength)
    close(ours, by_hand(sd15, given, seen, strength))
    assert differ(ours, by_hand(sd15, given, seen, strength, levels=3))
    assert differ(ours, by_hand(sd15, given, seen, 0.7 * strength))


def test_a_changed_picture_changes_its_own_frame(sd15):
    images = pictures()
    before = sampled(sd15, adapter(1), images)
    images[8:] = pictures(9)[8:]
    moved = (sampled(sd15, adapter(1), images) - before).abs().amax(dim=(1, 2, 3)) > 0
    assert moved.tolist() == [False] * 8 + [True] * 2


def test_windows_that_share_a_forward_pass_have_their_own_pictures(sd15):
    alone, folded = (sampled(sd15, adapter(3), pictures(), per_forward=fold, cfg=3.0) for fold in (1, 3))
    close(folded, alone)


def test_it_steers_a_model_that_is_inflated_over_time(sd15):
    made = LayersOverTime(transformer_blocks(sd15), torch.Generator().manual_seed(1))
    for index, weight in enumerate(made.trained().values()):
        weight.data += torch.randn(weight.shape, generator=torch.Generator().manual_seed(index)) * 0.1
    inflated = inflate(sd15, made)
    ours = sampled(inflated, adapter(3), pictures())
    close(ours, by_hand(inflated, weights(3), pictures().movedim(-1, 1)))
    assert differ(ours, sampled(sd15, adapter(3), pictures()))
