"""Cross-frame attention and pooled norms in ComfyUI's own UNet and ControlNet, against networks taken apart by hand."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.hooks
import comfy.ops
import comfy.samplers
import comfy.t2i_adapter.adapter
import nodes
import pytest
import rows_image
import tiny
import torch
from comfy.ldm.modules.attention import CrossAttention
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from long_video_pack.glv_core.hosts.comfy.editing.cross_frame import (
    CrossFrame,
    TiedNetwork,
    frames_in,
    tie_control,
    tie_model,
)
from long_video_pack.glv_core.hosts.comfy.families import with_frames
from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash, value_hash
from long_video_pack.nodes.cross_frame_attention import CrossFrameAttention

pytestmark = pytest.mark.every_host
CPU = torch.device("cpu")
FRAMES = 6
INWARD, CAUSAL = "middle_and_inward_neighbour", "first_and_previous"
#: By hand, for windows of 3 and 6 frames.
SEEN = {
    (INWARD, 3): [(1, 1), (1, 1), (1, 1)],
    (INWARD, 6): [(3, 1), (3, 2), (3, 3), (3, 3), (3, 3), (3, 4)],
    (CAUSAL, 3): [(0, 0), (0, 0), (0, 1)],
    (CAUSAL, 6): [(0, 0), (0, 0), (0, 1), (0, 2), (0, 3), (0, 4)],
}


def awake(network):
    """Norms that keep what they are given, so that attention matters in a network of random weights."""
    for module in network.modules():
        if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            module.weight.data += 1
    return network


@pytest.fixture(scope="module")
def sd15():
    model = tiny.sd15(middle=1)
    awake(model.model.diffusion_model)
    return model


def network(seed=5):
    config = {key: value for key, value in tiny.SD15.items() if key not in ("out_channels", "legacy")}
    net = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init
    )
    tiny.fill(net, seed, 0.08)
    return awake(net)


def controlnet():
    return comfy.controlnet.ControlNet(network(), load_device=CPU)


def control_lora():
    """Control-LoRA without a LoRA: the model's own first half, with the weights of a ControlNet beside it."""
    own = ("input_hint_block", "zero_convs", "middle_block_out")
    weights = {name: value.data for name, value in network().state_dict().items() if name.startswith(own)}
    return comfy.controlnet.ControlLora(weights)


def pictures(count=FRAMES, seed=3):
    """An IMAGE."""
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def applied(control, count=FRAMES, strength=1.0):
    """Positive and negative with a control, as core's own node makes them."""
    return nodes.ControlNetApplyAdvanced().apply_controlnet(
        tiny.text(1), tiny.text(0), control, pictures(count), strength, 0.0, 1.0
    )[:2]


def frames(count=FRAMES, seed=2):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def sample(model, cfg=3.0, count=FRAMES, positive=None, negative=None, steps=1, latent=None, **more):
    """With ComfyUI's own KSampler."""
    positive = tiny.text(1) if positive is None else positive
    negative = tiny.text(0) if negative is None else negative
    latent = {"samples": frames(count) if latent is None else latent}
    return tiny.ksampler(model, latent, positive=positive, negative=negative, cfg=cfg, steps=steps, **more)


OPTIONS = {"window": 3, "overlap": 0, "steps": 1, "schedule": "static"}


def windows(model, cfg=3.0, count=FRAMES, positive=None, negative=None, **more):
    """With windows of three frames."""
    positive = tiny.text(1) if positive is None else positive
    negative = tiny.text(0) if negative is None else negative
    return tiny.co_denoise(
        model, {"samples": frames(count)}, positive=positive, negative=negative, cfg=cfg, **{**OPTIONS, **more}
    )


def by_hand(monkeypatch, rule, window, pooled):
    """Take every attention and norm apart: frame by frame, in batches whose groups are ``window`` frames."""
    monkeypatch.undo()
    attention, group_norm = CrossAttention.forward, torch.nn.GroupNorm.forward

    def attend(self, x, context=None, value=None, **more):
        if context is not None or rule is None:
            return attention(self, x, context=context, value=value, **more)
        rows = []
        for row in range(x.shape[0]):
            start = row - row % window
            first, second = SEEN[rule, window][row % window]
            seen = torch.cat([x[start + first], x[start + second]])[None]
            rows.append(attention(self, x[row : row + 1], context=seen, **more))
        return torch.cat(rows)

    def normalise(self, x):
        if not pooled or self.eps == 1e-6:  # the norms in front of the transformers have another epsilon
            return group_norm(self, x)
        parts = []
        for group in x.split(window):
            video = torch.stack(list(group), dim=1)[None]  # 1 c f h w
            made = torch.nn.functional.group_norm(video, self.num_groups, self.weight, self.bias, self.eps)
            parts.append(torch.stack(made[0].unbind(1)))
        return torch.cat(parts)

    monkeypatch.setattr(CrossAttention, "forward", attend)
    monkeypatch.setattr(torch.nn.GroupNorm, "forward", normalise)


def close(a, b, tolerance=1e-4):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))


def differ(a, b):
    return float((a - b).abs().max() / b.abs().max()) > 1e-3


TIES = [(INWARD, False), (CAUSAL, False), ("off", True), (INWARD, True)]


@pytest.mark.parametrize(("rule", "pooled"), TIES)
def test_a_batch_of_frames_is_one_window(sd15, monkeypatch, rule, pooled):
    """With the core KSampler, guidance and all."""
    tied, _ = CrossFrameAttention.execute(sd15, rule, pooled).args
    ours, plain = sample(tied), sample(sd15)
    by_hand(monkeypatch, None if rule == "off" else rule, FRAMES, pooled)
    expected = sample(sd15)
    close(ours, expected)
    assert differ(ours, plain)


@pytest.mark.parametrize(("rule", "pooled", "fold"), [(INWARD, True, 1), *((*each, 2) for each in TIES)])
def test_each_window_is_tied_in_itself(sd15, monkeypatch, rule, pooled, fold):
    tied = tie_model(sd15, CrossFrame(rule, pooled))
    recorder = tiny.Recorder(tied)
    ours, plain = windows(recorder.model, per_forward=fold), windows(sd15, per_forward=fold)
    assert {shape[0] for shape in recorder.shapes} == {3 * fold * 2}
    by_hand(monkeypatch, None if rule == "off" else rule, 3, pooled)
    close(ours, windows(sd15, per_forward=fold))
    assert differ(ours, plain)


@pytest.mark.parametrize(("rule", "pooled"), TIES)
def test_a_controlnet_is_tied_too(sd15, monkeypatch, rule, pooled):
    """The UNet is left as it is, so that nothing but the ControlNet differs."""
    control = controlnet()
    _, tied = CrossFrameAttention.execute(sd15, rule, pooled, control).args
    ours, plain = (sample(sd15, positive=p, negative=n) for p, n in (applied(tied), applied(control)))
    assert differ(ours, plain)

    def net(given):
        with monkeypatch.context() as only:
            by_hand(only, None if rule == "off" else rule, FRAMES, pooled)
            return forward(given)

    network = control.control_model
    forward = lambda given: type(network).forward(network, **given)  # noqa: E731
    monkeypatch.setattr(network, "forward", lambda **given: net(given))
    positive, negative = applied(control)
    close(ours, sample(sd15, positive=positive, negative=negative))


def test_a_control_lora_is_tied_too(sd15, monkeypatch):
    model, tied = CrossFrameAttention.execute(sd15, INWARD, True, control_lora()).args
    _, free = CrossFrameAttention.execute(sd15, "off", False, tied).args
    assert type(free) is comfy.controlnet.ControlLora and free.extra_args == {}
    both, unet_alone = (sample(model, positive=p, negative=n) for p, n in (applied(tied.copy()), applied(free)))
    in_windows = windows(model, positive=applied(tied)[0], negative=applied(tied)[1])
    by_hand(monkeypatch, INWARD, FRAMES, True)
    positive, negative = applied(control_lora())
    close(both, sample(sd15, positive=positive, negative=negative))
    assert differ(unet_alone, both)
    by_hand(monkeypatch, INWARD, 3, True)
    close(in_windows, windows(sd15, positive=positive, negative=negative))


@pytest.mark.parametrize("fold", [1, 2])
def test_a_controlnet_and_its_model_in_windows(sd15, monkeypatch, fold):
    model, control = CrossFrameAttention.execute(sd15, INWARD, True, controlnet()).args
    recorder = tiny.Recorder(model)
    positive, negative = applied(control)
    ours = windows(recorder.model, positive=positive, negative=negative, per_forward=fold)
    assert {shape[0] for shape in recorder.shapes} == {3 * fold * 2}
    by_hand(monkeypatch, INWARD, 3, True)
    positive, negative = applied(controlnet())
    close(ours, windows(sd15, positive=positive, negative=negative, per_forward=fold))


def test_guidance_in_one_call_is_two_separate_calls(sd15):
    """Windows of positive and negative in one batch do not see each other."""
    model, control = CrossFrameAttention.execute(sd15, INWARD, True, controlnet()).args
    positive, negative = applied(control)
    one = sample(model, positive=positive, negative=negative)
    shapes = []

    class Negative(comfy.samplers.CFGGuider):
        """Two calls for each evaluation, as where the memory is not enough for both."""

        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006
            parts = []
            for name in ("positive", "negative"):
                conds = [self.conds[name]]
                parts += comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
                shapes.append(x.shape[0])
            return parts[1] + (parts[0] - parts[1]) * self.cfg

    guider = Negative(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(3.0)
    noise = comfy.sample.prepare_noise(frames(), 7)
    sigmas = comfy.samplers.KSampler(model, 1, CPU, "euler", "simple").sigmas
    two = guider.sample(noise, frames(), comfy.samplers.sampler_object("euler"), sigmas, seed=7)
    close(one, two)
    assert shapes == [FRAMES, FRAMES]


def test_a_prompt_with_hooks_of_its_own_is_tied_in_itself(sd15):
    """A prompt with hooks, a LoRA for one, has a forward pass of its own."""
    recorder = tiny.Recorder(tie_model(sd15, CrossFrame(INWARD, True)))
    both = sample(recorder.model)
    place = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q"
    lora = {f"{place}.lora_up.weight": torch.zeros(64, 2), f"{place}.lora_down.weight": torch.ones(2, 64)}
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
    apart = sample(recorder.model, positive=tiny.text(1, hooks=hooks))
    assert [shape[0] for shape in recorder.shapes] == [2 * FRAMES, FRAMES, FRAMES]
    close(apart, both)


def test_a_changed_frame_reaches_those_that_look_at_it(sd15):
    """One self-attention of the network alone is tied: nothing else of it knows of frames."""
    network = sd15.model.diffusion_model
    attention = next(each for each in network.modules() if type(each).__name__ == "BasicTransformerBlock").attn1
    x = torch.randn(2 * FRAMES, 4, 64, generator=torch.Generator().manual_seed(6))
    for rule in (INWARD, CAUSAL):
        with CrossFrame(rule).on(network, 2 * FRAMES, FRAMES):
            plain = attention(x)
            for m in range(FRAMES):
                changed = x.clone()
                changed[FRAMES + m] += 1
                moved = (attention(changed) - plain).abs().amax(dim=(1, 2)) > 1e-7
                seen = [k == m or m in SEEN[rule, FRAMES][k] for k in range(FRAMES)]
                assert moved.tolist() == [False] * FRAMES + seen


def test_windows_that_share_a_forward_pass_are_the_same_as_one_by_one(sd15):
    model, control = CrossFrameAttention.execute(sd15, INWARD, True, controlnet()).args
    positive, negative = applied(control, 8)
    options = {"positive": positive, "negative": negative, "count": 8, "overlap": 1}  # 0-3, 2-5, 4-7, 5-8
    close(*(windows(model, per_forward=fold, **options) for fold in (1, 4)))


def test_one_frame_is_the_stock_model_bit_for_bit(sd15):
    tied = tie_model(sd15, CrossFrame(INWARD, True))
    assert torch.equal(sample(tied, count=1), sample(sd15, count=1))


def test_what_is_given_is_not_changed(sd15):
    """Model and ControlNet share their network with the tied ones, also in one run."""
    control = controlnet()
    network, before = control.control_model, dict(sd15.model.diffusion_model.out.named_modules())
    plain = sample(sd15)
    model, tied = CrossFrameAttention.execute(sd15, INWARD, True, control).args
    changed = sample(model, positive=applied(tied)[0], negative=applied(tied)[1])
    assert model.model is sd15.model and torch.equal(sample(sd15), plain) and differ(changed, plain)
    assert control.control_model is network and tied.control_model.network is network
    assert "cross_frame" not in control.extra_args and "transformer_options" not in control.extra_conds
    assert tied.control_model_wrapped is control.control_model_wrapped
    for each in (*sd15.model.diffusion_model.modules(), *network.modules()):
        assert not each._forward_pre_hooks and not each._forward_hooks
    assert dict(sd15.model.diffusion_model.out.named_modules()) == before


def test_a_tied_and_a_plain_controlnet_of_one_network_in_one_run(sd15):
    """The positive is tied and the negative is not: each half is as where both are of its kind."""
    control = controlnet()
    tied = tie_control(control, CrossFrame(INWARD, True))

    def half(positive, negative, cfg):
        return sample(sd15, positive=applied(positive)[0], negative=applied(negative)[1], cfg=cfg)

    close(half(tied, control, 1.0), half(tied, tied, 1.0))
    close(half(tied, control, 0.0), half(control, control, 0.0))
    assert differ(half(tied, tied, 0.0), half(control, control, 0.0))


def test_copies_of_a_tied_controlnet_are_tied(sd15):
    tied = tie_control(controlnet(), CrossFrame(INWARD, True))
    copied = tied.copy().copy().set_cond_hint(pictures().movedim(-1, 1), 1.0, (0.0, 1.0))
    assert copied.extra_args == {"cross_frame": CrossFrame(INWARD, True)}
    assert isinstance(copied.control_model, TiedNetwork) and copied.control_model.dtype == torch.float32


def test_off_takes_it_off_again(sd15):
    control = controlnet()
    model, tied = CrossFrameAttention.execute(sd15, INWARD, True, control).args
    freed, free = CrossFrameAttention.execute(model, "off", False, tied).args
    assert torch.equal(sample(freed), sample(sd15))
    assert free.control_model is control.control_model and free.extra_args == control.extra_args
    assert free.extra_conds == control.extra_conds
    again, twice = CrossFrameAttention.execute(model, CAUSAL, False, tied).args
    assert torch.equal(sample(again), sample(tie_model(sd15, CrossFrame(CAUSAL))))
    assert twice.control_model.network is control.control_model and twice.extra_conds.count("transformer_options") == 1
    assert differ(sample(again), sample(model))


def test_a_t2i_adapter_and_no_control_come_out_as_they_are(sd15):
    adapter = comfy.controlnet.T2IAdapter(None, 3, 8, "nearest-exact", device=CPU)
    assert CrossFrameAttention.execute(sd15, INWARD, True, adapter).args[1] is adapter
    assert CrossFrameAttention.execute(sd15, INWARD, True).args[1] is None


def test_sdxl_s_shape():
    """A UNet with classes, linear projections and two transformer blocks in a row."""
    model = rows_image._unet("SDXL", num_classes="sequential", adm_in_channels=2816, use_linear_in_transformer=True)
    tied = tie_model(model, CrossFrame(INWARD, True))
    pooled = {"pooled_output": torch.zeros(1, 1280)}
    texts = {"positive": tiny.text(1, rows_image.TEXT, **pooled), "negative": tiny.text(0, rows_image.TEXT, **pooled)}
    plain, ours = (sample(each, **texts) for each in (model, tied))
    assert ours.isfinite().all() and differ(ours, plain)


def test_a_stream_knows_another_rule_as_another_model(sd15):
    hashes = [model_hash(tie_model(sd15, ties)) for ties in (CrossFrame(), *(CrossFrame(*each) for each in TIES))]
    assert hashes[0] == model_hash(sd15) and len(set(hashes)) == len(TIES) + 1
    controls = [value_hash(tie_control(controlnet(), CrossFrame(*each))) for each in TIES]
    assert len(set(controls)) == len(TIES)
    assert controls[0] == value_hash(tie_control(controlnet(), CrossFrame(*TIES[0])))


def test_guidance_by_perturbed_attention_keeps_its_own(sd15):
    """Its block passes on values in place of attention; the others are tied."""
    guided = PerturbedAttentionGuidance.execute(tie_model(sd15, CrossFrame(INWARD)), 2.0).args[0]
    made = sample(guided)
    assert made.isfinite().all() and differ(made, sample(PerturbedAttentionGuidance.execute(sd15, 2.0).args[0]))


def test_tiles_are_refused(sd15):
    tied = tie_model(sd15, CrossFrame(INWARD))
    tiled = HyperTile.execute(tied, 64, 2, 0, False)
    tiled = getattr(tiled, "args", tiled)[0]
    with pytest.raises(ValueError, match="another node cuts them into tiles"):
        sample(tiled, latent=torch.zeros(FRAMES, 4, 32, 32))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: (tiny.wan(1),), r"CrossFrameAttention: The model is a video model \(WAN21\).*SD 1.5, SD 2 or SDXL"),
    (lambda: (rows_image.svd(3).model,), r"CrossFrameAttention: The model is a video model \(SVD\)"),
    (lambda: (tiny.sd15(), comfy.controlnet.ControlNetSD35(network())), "control_net is a ControlNetSD35"),
    (lambda: (tiny.sd15(), comfy.controlnet.ControlNet(torch.nn.Linear(1, 1))), "control_net is a Linear"),
])  # fmt: skip
def test_what_it_is_not_for_is_refused_by_name(make, words):
    model, *control = make()
    with pytest.raises(ValueError, match=words):
        CrossFrameAttention.execute(model, INWARD, True, *control)


def test_a_network_of_another_kind_is_refused():
    model = tiny.sd15()
    model.model.diffusion_model = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="CrossFrameAttention: The model is a BaseModel, which has no UNet"):
        CrossFrameAttention.execute(model, INWARD, True)


@pytest.mark.parametrize(("options", "rows", "words"), [
    ({"cond_or_uncond": [0, 1]}, 7, "A batch of 7 images does not divide among 2 windows"),
    (with_frames({}, 3)["transformer_options"], 8, "A forward pass has 8 images, which are not whole windows of 3"),
    (with_frames({}, 9)["transformer_options"], 8, "does not divide among 0 windows"),
    ({}, 8, "not told how many predictions share a forward pass"),
])  # fmt: skip
def test_a_batch_that_does_not_divide_is_refused(options, rows, words):
    with pytest.raises(ValueError, match=words):
        frames_in(options, rows)


def test_the_frames_of_a_window():
    assert frames_in({"cond_or_uncond": [0, 1]}, 12) == 6
    assert frames_in({"cond_or_uncond": [0, 1], **with_frames({}, 3)["transformer_options"]}, 12) == 3
    with pytest.raises(ValueError, match=r"Unknown rule 'last'.*first_and_previous, off"):
        CrossFrame("last")


def test_a_compiled_model_is_tied_as_well(sd15):
    """And a compiled model that shares its network is not; the compiler keeps what it has made for both."""
    tied = tie_model(sd15, CrossFrame(INWARD, True))
    compiled, plain = tied.clone(), sd15.clone()
    for each in (compiled, plain):
        set_torch_compile_wrapper(each, backend="eager")
    for _ in range(2):
        close(sample(compiled), sample(tied))
        close(sample(plain), sample(sd15))
    close(sample(compiled, count=3), sample(tied, count=3))
