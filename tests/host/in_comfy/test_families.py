"""Models of other families than Wan text-to-video, natively with tiny random weights, and the table of families."""

from types import SimpleNamespace

import comfy.latent_formats
import comfy.ldm.wan.vae
import comfy.model_base
import comfy.sd
import comfy.taesd.taehv
import comfy.taesd.taesd
import pytest
import tiny
import torch
from families import hunyuan, ltx, wan_i2v, wan_vace, weights_of
from comfy.nested_tensor import NestedTensor
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import samples_for
from long_video_pack.glv_core.hosts.comfy.families import FAMILIES, family_of, family_of_vae
from long_video_pack.nodes.long_latent import LongLatent
from torch.testing import assert_close

pytestmark = pytest.mark.every_host


@pytest.mark.parametrize(("make", "name", "lengths"), [
    (ltx, "LTX", {3}), (hunyuan, "Hunyuan", {5}), (wan_i2v, "Wan", {5, 6}), (wan_vace, "Wan", {5}),
])  # fmt: skip
def test_windows_of_a_family(make, name, lengths):
    model, latent, (positive, negative) = make()
    assert family_of(model.model).name == name
    recorder = tiny.Recorder(model)
    arguments = {"positive": positive, "negative": negative, "steps": 2}
    one = tiny.co_denoise(recorder.model, latent, per_forward=1, **arguments)
    assert {shape[2] for shape in recorder.shapes} == lengths
    rows_apart = max(shape[0] for shape in recorder.shapes)
    many = tiny.co_denoise(recorder.model, latent, per_forward=3, **arguments)
    assert_close(many, one, rtol=0, atol=2e-3 * max(1, float(one.std())))
    assert one.std() > 0 and max(shape[0] for shape in recorder.shapes) > rows_apart
    if make in (ltx, hunyuan):  # the others' conditions are made for the whole length
        short = {"samples": latent["samples"][:, :, :2]}
        assert torch.equal(tiny.co_denoise(model, short, **arguments), tiny.ksampler(model, short, **arguments))


@pytest.mark.parametrize(("make", "key"), [(wan_i2v, "concat_latent_image"), (wan_vace, "vace_frames")])
def test_conditions_along_the_video_are_sliced_with_the_window(make, key):
    """Only the last frame of the condition changes; windows 0-5, 5-10 and 8-13, and the last one alone holds it."""
    model, latent, (positive, negative) = make()
    changed = dict(positive[0][1])
    tensor = (changed[key][0] if isinstance(changed[key], list) else changed[key]).clone()
    tensor[:, :, -1] += 3
    changed[key] = [tensor] if isinstance(changed[key], list) else tensor
    before, after = (
        tiny.co_denoise(model, latent, positive=each, negative=negative, overlap=0, steps=1, cfg=1.0)
        for each in (positive, [[positive[0][0], changed]])
    )
    moved = (after - before).abs().amax(dim=(0, 1, 3, 4))
    assert moved[:8].max() == 0 and moved[8:].min() > 0


def test_every_latent_format_of_the_host_that_a_family_names_is_that_family_s():
    found = {}
    for family in FAMILIES:
        for name in family.latent_formats:
            kind = getattr(comfy.latent_formats, name, None)
            if kind is None:  # a release that lacks it
                continue
            found[name] = family_of(SimpleNamespace(latent_format=kind())).name
            # What the host says itself, where it does.
            host_says = getattr(kind(), "temporal_downscale_ratio", 1)
            assert host_says in (1, max(family.compression.pattern)), name
    assert found["Wan21"] == "Wan" and found["Wan22"] == "Wan 2.2 5B" and found["LTXV"] == "LTX" and len(found) >= 8


@pytest.mark.parametrize(("name", "latent_format", "family"), [
    ("SVD_img2vid", "SD15", "SVD"), ("CosmosPredict2", "Wan21", "Cosmos Predict2"), ("WAN21_Vace", "Wan21", "Wan"),
    ("Kandinsky5", "HunyuanVideo", "Kandinsky 5"), ("HunyuanVideo", "HunyuanVideo", "Hunyuan"),
    ("Flux", "Flux", "AnimateDiff"),
])  # fmt: skip
def test_a_class_of_the_host_s_has_a_family(name, latent_format, family):
    if not hasattr(comfy.model_base, name):
        pytest.skip(f"this ComfyUI has no {name}")
    model = getattr(comfy.model_base, name).__new__(getattr(comfy.model_base, name))
    object.__setattr__(model, "latent_format", getattr(comfy.latent_formats, latent_format)())
    assert family_of(model).name == family


def test_a_nested_latent_is_refused_by_what_the_family_s_latents_hold(wan):
    nested = {"samples": NestedTensor([torch.zeros(1, 16, 3, 4, 4), torch.zeros(1, 8, 20)])}
    with pytest.raises(ValueError, match="latent_image combines several streams, which this node does not support"):
        samples_for(wan, nested)
    with pytest.raises(ValueError, match=r"combines 2 streams, but this model's latents \(Wan21\) are video alone"):
        tiny.co_denoise(wan, nested)
    if hasattr(comfy.latent_formats, "LTXAV"):
        model = SimpleNamespace(latent_format=comfy.latent_formats.LTXAV())
        with pytest.raises(ValueError, match="latent_image combines video and audio"):
            samples_for(SimpleNamespace(model=model), nested)


def test_unknown_video_latents_are_refused_by_name():
    class Unheard(comfy.latent_formats.LatentFormat):
        latent_dimensions = 3

    with pytest.raises(ValueError, match=r"Unheard .*Known: .*Wan21, "):
        family_of(SimpleNamespace(latent_format=Unheard()))


def test_long_latents_fit_the_vae():
    module = comfy.ldm.wan.vae.WanVAE(
        dim=2, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True], dropout=0.0,
    )  # fmt: skip
    wan = comfy.sd.VAE(sd=weights_of(module))
    latent, length, fps = LongLatent.execute(wan, 64, 32, 3.0, "seconds", 20.0, 1).args
    # 3 seconds at 20 fps are 60 frames; Wan makes 4 n + 1.
    assert (latent["samples"].shape, length, fps) == ((1, 16, 16, 4, 8), 61, 20.0) and not latent["samples"].any()
    assert wan.decode(latent["samples"][:, :, :3]).reshape(-1, 32, 64, 3).shape[0] == 9
    assert family_of_vae(wan).name == "Wan"
    module = comfy.taesd.taesd.TAESD(latent_channels=4)
    weights = {key: value for key, value in module.state_dict().items() if key.startswith(("taesd_enc", "taesd_dec"))}
    sd15 = comfy.sd.VAE(sd=weights)
    latent, length, fps = LongLatent.execute(sd15, 64, 32, 3.0, "seconds", 20.0, 1).args
    assert (latent["samples"].shape, length, fps) == ((60, 4, 4, 8), 60, 20.0) and not latent["samples"].any()
    assert sd15.decode(latent["samples"][:3]).shape == (3, 32, 64, 3)
    assert family_of_vae(sd15) is None
