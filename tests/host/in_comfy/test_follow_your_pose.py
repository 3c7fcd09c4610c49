"""Follow-Your-Pose in ComfyUI: the network of the authors, in windows, with a skeleton for every frame."""

import comfy.ldm.modules.diffusionmodules.openaimodel as unet
import comfy.lora
import comfy.model_detection
import comfy.model_management
import comfy.ops
import comfy.supported_models
import nodes
import pytest
import tiny
import tiny_pose
import torch
from long_video_pack.glv_core.editing.follow_your_pose import PoseAdapter
from long_video_pack.glv_core.editing.follow_your_pose_weights import ADAPTER, public_shapes, split_weights
from long_video_pack.glv_core.hosts.comfy.loading.follow_your_pose import list_folders
from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash

pytestmark = pytest.mark.every_host
CHECKPOINT = "FollowYourPose_v1/followyourpose_checkpoint-1000"
#: Every 61st number that the authors' own classes give for these weights, frames and skeletons (``t c h w``, 5 frames
#: of 64x128 pixels, noise level 431 of 1000), with the pose encoder and without.
WITH_POSE = [
    -0.44552, 0.25196, -0.75844, -0.19793, 0.02324, 0.90562, -0.1326, -0.33867, -0.24227, -0.73474, -0.44018, -0.85536,
    -1.01347, 0.32678, 0.23555, 0.03835, 0.11048, -0.36824, 0.45, -0.20659, 0.12496, 0.38902, 0.48271, -0.15871,
    0.03203, -0.16269, -0.53236, -0.90114, -0.55212, -0.59516, 0.78594, -0.06749, -0.40085, -0.43477, -0.75929,
    -0.03262, -0.96984, -0.27868, -0.1571, -0.41928, -0.16386, -0.39405,
]  # fmt: skip
WITHOUT_POSE = [
    -0.48186, 0.4615, -0.7193, -0.15597, 0.0454, 0.88259, 0.00951, -0.28545, -0.25423, -0.72063, -0.29755, -0.872,
    -0.91332, 0.39306, 0.36822, -0.07507, -0.00854, -0.39113, 0.5839, -0.20289, 0.09849, 0.4458, 0.55472, -0.16745,
    0.08377, -0.2094, -0.59901, -0.8865, -0.4852, -0.55592, 0.92504, -0.12977, -0.38731, -0.40111, -0.68484, 0.05339,
    -0.98831, -0.31408, -0.15398, -0.36654, -0.16788, -0.35634,
]  # fmt: skip


@pytest.fixture
def models(monkeypatch, tmp_path):
    with tiny_pose.models(monkeypatch, tmp_path) as folder:
        yield folder


def publish(models):
    """The files as their authors publish them."""
    weights = tiny_pose.weights()
    tiny_pose.save(models / "diffusers" / CHECKPOINT / "pytorch_model.bin", weights)
    encoder = {name.removeprefix(ADAPTER): each for name, each in weights.items() if name.startswith(ADAPTER)}
    tiny_pose.save(models / "diffusers" / "FollowYourPose_v1" / "pose_encoder.pth", encoder)


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """MODEL and CONTROL_NET of the public files."""
    with pytest.MonkeyPatch.context() as patch, tiny_pose.models(patch, tmp_path_factory.mktemp("models")) as folder:
        publish(folder)
        yield tiny_pose.load(CHECKPOINT)


def forward(model, x, text, clips=1, control=None):
    """The network alone: frames ``t 4 h w``, with what the MODEL has patched."""
    options = {**model.model_options["transformer_options"], "cond_or_uncond": list(range(clips))}
    times = torch.full((x.shape[0],), 431.0)
    text = text.expand(x.shape[0], -1, -1)
    return model.model.diffusion_model(x, times, context=text, control=control, transformer_options=options)


def frames_and_skeletons():
    x = tiny_pose.numbers((1, 4, 5, 8, 16), 1001)[0].movedim(0, 1) * 1.5
    skeletons = (tiny_pose.numbers((1, 3, 5, 64, 128), 1003)[0].movedim(0, 1) + 1) / 2
    return x, tiny_pose.numbers((1, 7, 16), 1002), skeletons


def test_it_computes_what_the_authors_network_computes(public):
    model, pose = public
    x, text, skeletons = frames_and_skeletons()
    with_pose = forward(model, x, text, control=pose.t2i_model(skeletons))
    torch.testing.assert_close(with_pose.flatten()[::61], torch.tensor(WITH_POSE), atol=2e-4, rtol=0)
    torch.testing.assert_close(forward(model, x, text).flatten()[::61], torch.tensor(WITHOUT_POSE), atol=2e-4, rtol=0)


def test_clips_in_one_batch_do_not_see_each_other(public):
    model, _ = public
    x, text, _ = frames_and_skeletons()
    other = x.flip(0) * 0.7
    apart = torch.cat((forward(model, x, text), forward(model, other, text)))
    together = forward(model, torch.cat((x, other)), text, clips=2)
    torch.testing.assert_close(together, apart, atol=2e-5, rtol=1e-4)
    assert (forward(model, torch.cat((x, other)), text) - apart).abs().mean() > 0.01


def test_the_hosts_network_has_the_names_and_shapes_of_the_public_weights(monkeypatch):
    """At the real size, without numbers."""
    monkeypatch.setitem(comfy.supported_models.SD15.unet_config, "model_channels", 320)
    monkeypatch.setitem(comfy.supported_models.SD15.unet_config, "context_dim", 768)
    public = {name: torch.empty(shape, device="meta") for name, shape in public_shapes().items()}
    weights = split_weights(public)
    config = comfy.model_detection.model_config_from_unet(weights.unet, "")
    assert type(config).__name__ == "SD15"
    net = unet.UNetModel(**config.unet_config, device="meta", operations=comfy.ops.manual_cast)
    assert {name: each.shape for name, each in net.state_dict().items()} == {
        name: each.shape for name, each in weights.unet.items()
    }
    blocks = {name for name, each in net.named_modules() if type(each).__name__ == "BasicTransformerBlock"}
    assert blocks == set(weights.temporal)
    assert {net.get_submodule(name).n_heads for name in blocks} == {8}


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 64), (72, 104)])
def test_the_hosts_adapter_is_the_pose_encoder(public, height, width):
    _, pose = public
    assert type(pose).__module__ == "comfy.controlnet" and pose.channels_in == 3
    ours = PoseAdapter([32, 64, 128, 128])
    ours.load_state_dict(pose.t2i_model.state_dict())
    skeletons = tiny_pose.numbers((2, 3, height, width), 5).abs()
    theirs = pose.t2i_model(skeletons)["input"][::-1]
    assert [index for index, each in enumerate(theirs) if each is not None] == [2, 5, 8, 11]
    for feature, each in zip(ours(skeletons), theirs[2::3], strict=True):
        torch.testing.assert_close(feature, each, atol=1e-5, rtol=1e-5)


def text_of(seed):
    return tiny.text(seed, width=tiny_pose.TEXT, tokens=7)


def sampled(model, latent, pose=None, images=None, **options):
    """Through the pack's sampler, with core's Apply ControlNet."""
    positive, negative = text_of(1), text_of(0)
    if pose is not None:
        apply = nodes.ControlNetApplyAdvanced()
        positive, negative = apply.apply_controlnet(positive, negative, pose, images, 1.0, 0.0, 1.0)
    options = {"window": 6, "overlap": 4, "schedule": "static", "merge": "flat", "steps": 2, **options}
    return tiny.co_denoise(model, latent, positive=positive, negative=negative, **options)


def long_latent(frames=10, height=5, width=9):
    return {"samples": torch.zeros(frames, 4, height, width)}


def skeleton_pictures(frames=10, height=40, width=72, seed=4):
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_a_long_video_of_any_size_follows_its_skeletons(public):
    """40x72 pixels; of each window the features of its frames are added at four places."""
    model, pose = public
    added, apply = [], unet.apply_control

    def count(h, control, name):
        if control is not None and control.get(name) and control[name][-1] is not None:
            assert control[name][-1].shape == h.shape
            added.append((name, tuple(h.shape[1:]), h.shape[0]))
        return apply(h, control, name)

    unet.apply_control = count
    try:
        result = sampled(model, long_latent(), pose, skeleton_pictures(), steps=1, per_forward=1, cfg=1.0)
    finally:
        unet.apply_control = apply
    window = [("input", (32, 5, 9)), ("input", (64, 3, 5)), ("input", (128, 2, 3)), ("input", (128, 1, 2))]
    assert added == [(*each, 6) for _ in range(3) for each in window]
    assert result.shape == (10, 4, 5, 9) and result.isfinite().all()
    without = sampled(model, long_latent(), steps=1, per_forward=1, cfg=1.0)
    assert (result - without).abs().mean() > 1e-3
    pictures = skeleton_pictures()
    pictures[8:] = skeleton_pictures(seed=9)[8:]  # in the last window alone, which begins at frame 4
    changed = sampled(model, long_latent(), pose, pictures, steps=1, per_forward=1, cfg=1.0)
    same = (changed - result).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert same.tolist() == [True] * 4 + [False] * 6


def test_folded_windows_are_those_one_by_one(public):
    model, pose = public
    alone = sampled(model, long_latent(), pose, skeleton_pictures(), per_forward=1)
    folded = sampled(model, long_latent(), pose, skeleton_pictures(), per_forward=3)
    torch.testing.assert_close(folded, alone, atol=5e-4, rtol=5e-4)


def test_one_window_is_the_hosts_sampler(public):
    model, _ = public
    latent = long_latent(6)
    ours = sampled(model, latent)
    theirs = tiny.ksampler(model, latent, steps=2, positive=text_of(1), negative=text_of(0))
    assert torch.equal(ours, theirs)


def test_the_layers_over_time_are_parts_of_the_model(public):
    model, _ = public
    layers = {name: each for name, each in model.model.named_parameters() if "layers_over_time" in name}
    assert len(layers) == 16 * 9
    assert model.model_size() == comfy.model_management.module_size(model.model)
    assert {each.dtype for each in layers.values()} == {model.model.get_dtype()}
    before = model_hash(model)
    sampled(model, long_latent(6))
    assert model_hash(model) == before
    again, arguments = model.cached_patcher_init
    assert model_hash(again(*arguments, disable_dynamic=True)) == before
    lora_keys = comfy.lora.model_lora_keys_unet(model.model, {})
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q" in lora_keys


def test_it_computes_in_half_precision(models):
    """With the network cast, layers over time and all, as on graphics cards."""
    publish(models)
    model, _ = tiny_pose.load(CHECKPOINT)
    x, text, _ = frames_and_skeletons()
    full = forward(model, x, text)
    model.model.to(torch.bfloat16)
    half = forward(model, x.bfloat16(), text.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.05


def test_every_input_does_something(models):
    weights = tiny_pose.weights()
    encoder = {name.removeprefix(ADAPTER): each for name, each in weights.items() if name.startswith(ADAPTER)}
    tiny_pose.save(models / "diffusers" / "one" / "unet" / "diffusion_pytorch_model.safetensors", weights)
    tiny_pose.save(
        models / "diffusers" / "two" / "diffusion_pytorch_model.bin",
        {name: each for name, each in tiny_pose.weights(0.5).items() if not name.startswith(ADAPTER)},
    )
    tiny_pose.save(models / "controlnet" / "pose.pth", {name: each * 0.5 for name, each in encoder.items()})
    x, text, skeletons = frames_and_skeletons()

    def result(*arguments):
        model, pose = tiny_pose.load(*arguments)
        return forward(model, x, text, control=pose.t2i_model(skeletons))

    first = result("one")
    torch.testing.assert_close(first.flatten()[::61], torch.tensor(WITH_POSE), atol=2e-4, rtol=0)
    others = [result("two", "pose.pth"), result("one", "pose.pth"), result("one", "from the folder", False)]
    assert all((other - first).abs().mean() > 1e-3 for other in others)
    with pytest.raises(ValueError, match=r"LoadFollowYourPose: pose_encoder is 'from the folder', and there is no"):
        tiny_pose.load("two")


def test_the_menus_list_what_is_there(models):
    from long_video_pack.nodes.load_follow_your_pose import LoadFollowYourPose

    def menus():
        return [each.options for each in LoadFollowYourPose.define_schema().inputs[:2]]

    assert menus() == [["none found in models/diffusers"], ["from the folder"]]
    weights = {"a": torch.zeros(1)}
    for name in (f"{CHECKPOINT}/pytorch_model.bin", "sd/unet/diffusion_pytorch_model.safetensors",
                 "sd/vae/diffusion_pytorch_model.bin", "sd/text_encoder/pytorch_model.bin"):  # fmt: skip
        tiny_pose.save(models / "diffusers" / name, weights)
    tiny_pose.save(models / "controlnet" / "pose_encoder.pth", weights)
    assert menus() == [[CHECKPOINT, "sd"], ["from the folder", "pose_encoder.pth"]]


def test_mistakes_are_named(models):
    diffusers = models / "diffusers"
    weights = tiny_pose.weights()
    tiny_pose.save(diffusers / "plain" / "unet" / "diffusion_pytorch_model.bin",
                   {name: each for name, each in weights.items() if "temp" not in name})  # fmt: skip
    with pytest.raises(ValueError, match=r"^LoadFollowYourPose: The UNet .* lacks down_blocks\.0.*norm_temp\.weight"):
        tiny_pose.load("plain")
    tiny_pose.save(diffusers / "more" / "pytorch_model.bin", {**weights, "extra.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"unknown weights extra\.weight"):
        tiny_pose.load("more")
    tiny_pose.save(diffusers / "pose" / "pytorch_model.bin", weights)
    tiny_pose.save(diffusers / "pose" / "pose_encoder.pth", {"conv_in.weight": weights[f"{ADAPTER}conv_in.weight"]})
    with pytest.raises(ValueError, match=r"pose encoder .* lacks conv_in\.bias"):
        tiny_pose.load("pose")
    (diffusers / "pose" / "pose_encoder.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"pose/pose_encoder\.pth cannot be read"):
        tiny_pose.load("pose")
    torch.save({"step": 3}, diffusers / "pose" / "pose_encoder.pth")
    with pytest.raises(ValueError, match=r"pose/pose_encoder\.pth holds no weights"):
        tiny_pose.load("pose")
    with pytest.raises(ValueError, match=r"pose_encoder is 'gone\.pth', which is not in models/controlnet"):
        tiny_pose.load("pose", "gone.pth")
    tiny_pose.save(models / "outside" / "pytorch_model.bin", weights)
    for name in ("gone", "../outside", ".", "none found in models/diffusers"):
        with pytest.raises(ValueError, match=r"folder is .* no such folder .* Found: more, plain, pose"):
            tiny_pose.load(name)


def test_a_folder_that_is_a_link_is_found(models, tmp_path):
    """As the host finds files behind links that a user has put there."""
    tiny_pose.save(tmp_path / "elsewhere" / "pytorch_model.bin", tiny_pose.weights())
    (models / "diffusers" / "linked").symlink_to(tmp_path / "elsewhere")
    assert "linked" in list_folders()
    tiny_pose.load("linked")


@pytest.mark.parametrize("options", [("first_and_previous", False), ("off", True)])
def test_cross_frame_attention_refuses_it(public, options):
    """It ties its frames by itself, and pools its norms by itself."""
    from long_video_pack.nodes.cross_frame_attention import CrossFrameAttention

    with pytest.raises(ValueError, match=r"CrossFrameAttention: The model is Follow-Your-Pose.*Leave this node out"):
        CrossFrameAttention.execute(public[0], *options)


def test_a_pickle_that_does_something_is_not_run(models):
    """Of a .bin weights alone are read."""
    ran = []
    tiny_pose.RAN = ran
    (models / "diffusers" / "pose").mkdir()
    torch.save({"conv_in.weight": _Runs()}, models / "diffusers" / "pose" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pose/pytorch_model\.bin cannot be read"):
        tiny_pose.load("pose")
    assert not ran


def _run():
    tiny_pose.RAN.append(1)


class _Runs:
    def __reduce__(self):
        return _run, ()


def test_a_network_of_another_size_is_refused_before_anything_is_made(models, monkeypatch):
    tiny_pose.save(models / "diffusers" / "pose" / "pytorch_model.bin", tiny_pose.weights())
    monkeypatch.setitem(comfy.supported_models.SD15.unet_config, "model_channels", 320)
    with pytest.raises(ValueError, match=r"ComfyUI does not recognise the UNet of pose/pytorch_model\.bin"):
        tiny_pose.load("pose")
