"""ControlNets and T2I-Adapters with an image for every frame: each window and each chunk gets those of its frames."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ops
import comfy.t2i_adapter.adapter
import pytest
import streaming
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.controls import (
    can_share_a_forward,
    check_control,
    control_for,
    hint_images,
)

pytestmark = pytest.mark.every_host
CPU = torch.device("cpu")
FRAMES = 7


def pictures(count=FRAMES, seed=3):
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def controlnet(hint=None, seed=5, strength=1.0):
    config = {key: value for key, value in tiny.SD15.items() if key not in ("out_channels", "legacy")}
    net = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init
    )
    tiny.fill(net, seed)
    control = comfy.controlnet.ControlNet(net, load_device=CPU)
    return control.set_cond_hint(pictures() if hint is None else hint, strength)


def adapter(hint=None, seed=6, strength=1.0):
    net = comfy.t2i_adapter.adapter.Adapter_light(cin=192, channels=[64], nums_rb=1)
    tiny.fill(net, seed)
    control = comfy.controlnet.T2IAdapter(net, 3, 8, "nearest-exact", device=CPU)
    return control.set_cond_hint(pictures() if hint is None else hint, strength)


def chain(**hint):
    """A T2I-Adapter, then a ControlNet with other images, then one with a single image for all frames."""
    first, second, third = adapter(**hint), controlnet(seed=7), controlnet(pictures(1, seed=9), seed=8)
    second.set_previous_controlnet(first)
    third.set_previous_controlnet(second)
    return third


MAKE = {"controlnet": controlnet, "adapter": adapter, "chain": chain}


def conds(control, extra=None):
    """Positive and negative with the same controls, as core's Apply ControlNet makes them."""
    more = {"control": control, "control_apply_to_uncond": False, **(extra or {})}
    return [tiny.text(1, **more), tiny.text(0, **more)]


def latent(frames=FRAMES, seed=2):
    return {"samples": torch.randn(frames, 4, 8, 8, generator=torch.Generator().manual_seed(seed))}


OPTIONS = {"window": 3, "overlap": 0, "steps": 1, "schedule": "static"}


@pytest.fixture(scope="module")
def sd15():
    return tiny.sd15()


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("kind", list(MAKE))
def test_each_window_is_what_core_makes_of_its_frames_and_images(sd15, kind, cfg):
    """Windows 0-3, 3-6 and 4-7; frames 4 and 5 are in two of them."""
    positive, negative = conds(MAKE[kind]())
    noise = latent()
    arguments = {**OPTIONS, "steps": 2, "start_at_step": 1, "add_noise": False, "cfg": cfg}
    ours = tiny.co_denoise(sd15, noise, positive=positive, negative=negative, **arguments)
    for start, stop, own in ((0, 3, (0, 1, 2)), (3, 6, (0,)), (4, 7, (2,))):
        part = {"samples": noise["samples"][start:stop]}
        # A control that is cut by hand, before core sees it.
        cut = MAKE[kind]()
        for each in (cut, cut.previous_controlnet, getattr(cut.previous_controlnet, "previous_controlnet", None)):
            if each is not None and each.cond_hint_original.shape[0] > 1:
                each.cond_hint_original = each.cond_hint_original[start:stop].clone()
        positive, negative = conds(cut)
        alone = tiny.co_denoise(sd15, part, positive=positive, negative=negative, **{**arguments, "window": 100})
        for place in own:
            torch.testing.assert_close(ours[start + place], alone[place], rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", list(MAKE))
def test_windows_with_controls_share_a_forward_pass(sd15, kind):
    recorder = tiny.Recorder(sd15)
    runs = []
    for fold in (1, 4):
        positive, negative = conds(MAKE[kind]())
        options = {**OPTIONS, "overlap": 1, "per_forward": fold}
        runs.append(tiny.co_denoise(recorder.model, latent(), positive=positive, negative=negative, **options))
    torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=1e-3)
    assert {shape[0] for shape in recorder.shapes} == {6, 18}  # a window of 3 frames, or 3 of them, with guidance


def test_every_image_reaches_its_frame_and_no_other_window(sd15):
    changed = pictures()
    changed[6] += 1

    def run(hint):
        positive, negative = conds(controlnet(hint))
        return tiny.co_denoise(sd15, latent(), positive=positive, negative=negative, **OPTIONS, cfg=1.0)

    moved = (run(changed) - run(pictures())).abs().amax(dim=(1, 2, 3))
    assert moved[:4].max() == 0 and moved[6] > 1e-5  # the last window begins with frame 4


def test_more_images_than_frames_are_the_first_ones(sd15):
    runs = []
    for hint in (pictures(), torch.cat([pictures(), pictures(5, seed=11)])):
        positive, negative = conds(controlnet(hint))
        runs.append(tiny.co_denoise(sd15, latent(), positive=positive, negative=negative, **OPTIONS))
    torch.testing.assert_close(*runs)


@pytest.mark.parametrize(("make", "time_dim", "words"), [
    (lambda: controlnet(pictures(4)), 0, "hint of a ControlNet has 4 images, the video 7 frames"),
    (controlnet, 2, "does not support a ControlNet with a hint of 7 images with this model"),
])  # fmt: skip
def test_a_hint_that_does_not_fit_is_refused_along_the_whole_chain(make, time_dim, words):
    one = controlnet(pictures(1))
    check_control(one, FRAMES, time_dim)
    check_control(None, FRAMES, time_dim)
    one.set_previous_controlnet(make())
    with pytest.raises(ValueError, match=words):
        check_control(one, FRAMES, time_dim)


def test_a_hint_that_does_not_fit_is_refused_before_the_first_forward_pass(sd15):
    recorder = tiny.Recorder(sd15)
    positive, negative = conds(controlnet(pictures(4)))
    with pytest.raises(ValueError, match="CoDenoiseKSampler: The hint of a ControlNet has 4 images"):
        tiny.co_denoise(recorder.model, latent(), positive=positive, negative=negative, **OPTIONS)
    assert not recorder.shapes


def test_the_given_controls_are_not_changed():
    control = chain()
    before = [control, control.previous_controlnet, control.previous_controlnet.previous_controlnet]
    hints = [each.cond_hint_original.clone() for each in before]
    before[0].multigpu_clones = {CPU: controlnet()} if hasattr(control, "multigpu_clones") else {}
    part = control_for(control, [5, 1], FRAMES)
    cut = [part, part.previous_controlnet, part.previous_controlnet.previous_controlnet]
    assert [each.cond_hint_original.shape[0] for each in cut] == [1, 2, 2]
    assert torch.equal(cut[1].cond_hint_original, hints[1][[5, 1]]) and cut[1].control_model is before[1].control_model
    assert all(torch.equal(each.cond_hint_original, hint) for each, hint in zip(before, hints))
    assert all(clone.cond_hint_original.shape[0] == 2 for clone in part.multigpu_clones.values())
    single = controlnet(pictures(1))
    assert control_for(single, [5, 1], FRAMES) is single  # and what it has prepared stays


def test_what_a_control_has_prepared_is_not_taken_for_other_frames():
    control = adapter()
    control.cond_hint, control.control_input = pictures(), {"input": [torch.zeros(FRAMES, 8, 8, 8)]}
    part = control_for(control, [5, 1], FRAMES)
    assert part.cond_hint is part.control_input is None and control.cond_hint.shape[0] == FRAMES
    assert control.control_input is not None and not hasattr(control_for(controlnet(), [1], FRAMES), "control_input")


def test_two_images_are_a_hint_of_several():
    two = controlnet(pictures(2))
    with pytest.raises(ValueError, match="has 2 images, the video 7 frames"):
        check_control(two, FRAMES, 0)
    assert torch.equal(control_for(two, [1], 2).cond_hint_original, pictures(2)[1:])
    masks = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    two.extra_concat_orig = [masks, torch.ones(1, 1, 1, 1)]
    part = control_for(two, [1, 1, 0], 2)
    assert torch.equal(part.extra_concat_orig[0], masks[[1, 1, 0]]) and part.extra_concat_orig[1].shape[0] == 1
    assert hint_images(controlnet(pictures(1))) == 1 and hint_images(None) == 0
    single = controlnet(pictures(1))
    single.set_previous_controlnet(two)
    assert hint_images(single) == 2  # the most of the chain
    bare = controlnet()
    bare.cond_hint_original = None
    check_control(bare, FRAMES, 0)
    assert hint_images(bare) == 0 and control_for(bare, [0], FRAMES) is bare


def test_a_chain_shares_a_forward_pass_only_where_all_of_it_is_the_host_s():
    class Foreign(comfy.controlnet.ControlBase):
        pass

    one, foreign = controlnet(), Foreign()
    assert can_share_a_forward(one) and not can_share_a_forward(foreign) and can_share_a_forward(None)
    one.set_previous_controlnet(foreign)
    assert not can_share_a_forward(one)


def test_controls_of_other_packs_are_told_their_frames():
    control = controlnet()
    control.sub_idxs = control.full_latent_length = control.context_length = None
    part = control_for(control, [5, 1], FRAMES)
    assert (part.sub_idxs, part.full_latent_length, part.context_length) == ([5, 1], FRAMES, 2)
    assert part.cond_hint_original.shape[0] == FRAMES and control.sub_idxs is None


def test_each_chunk_of_a_stream_has_its_images(sd15):
    """Chunks of 3 frames that share one, 0-3, 2-5 and 4-7: a change of the last image is one of the last chunk."""
    changed = pictures()
    changed[6] += 1
    images = []

    def run(hint):
        positive, negative = conds(controlnet(hint))
        sizes = {"length": FRAMES, "chunk": 3, "overlap": 1, "width": 64, "height": 64}
        return streaming.extend(sd15, positive=positive, negative=negative, steps=2, **sizes)[0]

    def spy(self, x_noisy, *arguments):
        images.append(self.cond_hint_original.clone())
        return given(self, x_noisy, *arguments)

    given = comfy.controlnet.ControlNet.get_control
    try:
        comfy.controlnet.ControlNet.get_control = spy
        plain = run(pictures())
    finally:
        comfy.controlnet.ControlNet.get_control = given
    for image, frames in zip(images[::2], ([0, 1, 2], [2, 3, 4], [4, 5, 6])):
        assert torch.equal(image, pictures()[frames])
    moved = (run(changed) - plain).abs().amax(dim=(1, 2, 3))
    assert moved[:5].max() == 0 and moved[5:].max() > 1e-5
    with pytest.raises(ValueError, match="hint of a ControlNet has 6 images, the video 7 frames"):
        run(pictures(6))
