"""Image models inflated over time: against blocks taken apart by hand, in windows, for gradients, beside others."""

import contextlib

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.ops
import comfy.sampler_helpers
import pytest
import rows_image
import tiny
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import nodes_train
from long_video_pack.glv_core.hosts.comfy.editing.cross_frame import CrossFrame, tie_model
from long_video_pack.glv_core.hosts.comfy.editing.hooks_of_a_call import kept_for_gradients
from long_video_pack.glv_core.hosts.comfy.families import with_frames
from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash
from long_video_pack.glv_core.hosts.comfy.tuning.inflated import (
    check_inflatable,
    inflate,
    trained_queries,
    transformer_blocks,
)
from long_video_pack.glv_core.tuning.over_time import LayersOverTime

pytestmark = pytest.mark.every_host
FRAMES, WINDOW = 6, 3
TIES = CrossFrame("middle_and_inward_neighbour", True)


def sd15_model(middle=1):
    model = tiny.sd15(middle=middle)
    for module in model.model.diffusion_model.modules():
        if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)):  # so that attention matters
            module.weight.data += 1
    return model


@pytest.fixture(scope="module")
def sd15():
    return sd15_model()


def layers(model, seed=3, awake=True):
    made = LayersOverTime(transformer_blocks(model), torch.Generator().manual_seed(seed))
    for index, weight in enumerate(made.parameters() if awake else ()):
        weight.data += torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed + index)) * 0.1
    return made


def frames(count=FRAMES, seed=2):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def sample(model, count=FRAMES, cfg=3.0):
    """With ComfyUI's own KSampler."""
    given = {"samples": frames(count)}
    return tiny.ksampler(model, given, positive=tiny.text(1), negative=tiny.text(0), cfg=cfg, steps=2)


def windows(model, per_forward=0, count=FRAMES):
    return tiny.co_denoise(
        model, {"samples": frames(count)}, positive=tiny.text(1), negative=tiny.text(0), window=WINDOW, overlap=1,
        steps=2, schedule="static", per_forward=per_forward,
    )  # fmt: skip


def by_hand(patch, model, made, length):
    """Every transformer block with its layer over time, for clips of ``length`` frames, place by place."""
    block_class = comfy.ldm.modules.attention.BasicTransformerBlock
    forward, tensors = block_class.forward, made.tensors()
    names = {id(each): name for name, each in model.model.diffusion_model.named_modules()}

    def along_time(weights, heads, x):
        centred = x - x.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        normed = normed * weights["norm.weight"] + weights["norm.bias"]
        q, k, v = (normed @ weights[f"attention.to_{part}.weight"].T for part in "qkv")
        parts = []
        for a, b, c in zip(*(each.chunk(heads, -1) for each in (q, k, v)), strict=True):
            parts.append((a @ b.T / a.shape[-1] ** 0.5).softmax(-1) @ c)
        return torch.cat(parts, -1) @ weights["attention.to_out.weight"].T + weights["attention.to_out.bias"]

    def with_time(self, *args, **more):
        x = forward(self, *args, **more)
        name = names[id(self)]
        weights = {key.removeprefix(f"{name}."): each for key, each in tensors.items() if key.startswith(f"{name}.")}
        out = x.clone()
        for start in range(0, len(x), length):
            for place in range(x.shape[1]):
                part = x[start : start + length, place]
                out[start : start + length, place] += along_time(weights, self.n_heads, part)
        return out

    patch.setattr(block_class, "forward", with_time)


def close(a, b, tolerance=1e-4):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))


def differ(a, b):
    return float((a - b).abs().max() / b.abs().max()) > 1e-3


def hooks_on(model):
    return [each for each in model.model.diffusion_model.modules() if each._forward_hooks or each._forward_pre_hooks]


@pytest.mark.parametrize("run", [sample, windows])
def test_layers_that_are_new_leave_the_tied_model_bit_for_bit(sd15, run):
    inflated = inflate(sd15, layers(sd15, awake=False))
    assert torch.equal(run(inflated), run(tie_model(sd15, TIES)))
    assert torch.equal(run(inflate(sd15, None)), run(tie_model(sd15, TIES)))
    assert differ(run(inflated), run(sd15))


def test_frames_of_a_batch_see_each_other(sd15, monkeypatch):
    """Two predictions of guidance in one batch, each a clip of its own."""
    made = layers(sd15)
    ours = sample(inflate(sd15, made))
    plain = tie_model(sd15, TIES)
    assert differ(ours, sample(plain))
    with monkeypatch.context() as patch:
        by_hand(patch, sd15, made, FRAMES)
        close(ours, sample(plain))
        free = sample(sd15)
    close(sample(inflate(sd15, made, cross_frame=False, pooled_norm=False)), free)
    assert differ(ours, free)


@pytest.mark.parametrize("fold", [1, 2])
def test_windows_see_their_own_frames(sd15, monkeypatch, fold):
    made = layers(sd15)
    recorder = tiny.Recorder(inflate(sd15, made))
    ours = windows(recorder.model, fold)
    assert max(shape[0] for shape in recorder.shapes) == WINDOW * fold * 2
    with monkeypatch.context() as patch:
        by_hand(patch, sd15, made, WINDOW)
        close(ours, windows(tie_model(sd15, TIES), fold))


def test_ties_are_as_asked_for(sd15):
    made = layers(sd15)
    results = [sample(inflate(sd15, made, *each)) for each in ((True, True), (True, False), (False, True))]
    assert all(differ(one, other) for one, other in zip(results, results[1:] + results[:1], strict=True))


def test_what_is_given_is_not_changed(sd15):
    plain, before = sample(sd15), sd15.model_options["transformer_options"].copy()
    tied = tie_model(sd15, CrossFrame("first_and_previous"))
    causal = sample(tied)
    inflated = inflate(tied, layers(sd15))
    changed = sample(inflated)
    assert inflated.model is sd15.model and differ(changed, causal)
    assert torch.equal(sample(sd15), plain) and torch.equal(sample(tied), causal)
    assert sd15.model_options["transformer_options"] == before and not sd15.additional_models and not hooks_on(sd15)
    assert torch.equal(sample(inflate(sd15, layers(sd15))), changed)  # the ties from before are replaced


def test_layers_are_replaced_and_taken_off(sd15):
    one, other = layers(sd15, 3), layers(sd15, 9)
    first = inflate(sd15, one)
    assert torch.equal(sample(inflate(first, other)), sample(inflate(sd15, other)))
    assert differ(sample(inflate(first, other)), sample(first))
    bare = inflate(first, None)
    assert torch.equal(sample(bare), sample(tie_model(sd15, TIES))) and not bare.additional_models
    assert torch.equal(sample(inflate(bare, None, False, False)), sample(sd15))


def test_other_weights_are_another_model_to_a_stream(sd15):
    inflated = inflate(sd15, layers(sd15))
    known = model_hash(inflated)
    sample(inflated)
    assert known == model_hash(inflated) == model_hash(inflated.clone()) == model_hash(inflate(sd15, layers(sd15)))
    others = [sd15, tie_model(sd15, TIES), inflate(sd15, layers(sd15, 4)), inflate(sd15, layers(sd15), False)]
    assert len({known, *map(model_hash, others)}) == len(others) + 1


def test_the_host_loads_the_layers_with_the_model(sd15, monkeypatch):
    """A clone, as every node makes one, has the same layers, which are among what the host loads for sampling."""
    made = layers(sd15)
    model = inflate(sd15, made).clone()
    loaded, load = [], comfy.model_management.load_models_gpu
    monkeypatch.setattr(
        comfy.model_management,
        "load_models_gpu",
        lambda models, *a, **k: loaded.extend(models) or load(models, *a, **k),
    )
    sample(model)
    assert [each.model for each in loaded if isinstance(each.model, LayersOverTime)] == [made]
    patcher = next(each for each in loaded if each.model is made)
    assert (patcher.load_device, patcher.offload_device) == (model.load_device, model.offload_device)
    assert patcher.model_size() == sum(each.nbytes for each in made.parameters())
    used = []
    monkeypatch.setattr(LayersOverTime, "add", lambda self, block, x, clips: used.append((self, block)) or x)
    sample(model.clone())
    assert {id(each) for each, _ in used} == {id(made)} and {block for _, block in used} == set(made.blocks)


def test_a_compiled_model_is_inflated_as_well(sd15):
    inflated = inflate(sd15, layers(sd15))
    compiled, plain = inflated.clone(), sd15.clone()
    for each in (compiled, plain):
        set_torch_compile_wrapper(each, backend="eager")
    for _ in range(2):
        close(sample(compiled), sample(inflated))
        close(sample(plain), sample(sd15))


def predicted(model, x, count=FRAMES):
    """What a MODEL predicts, outside of sampling: ``(clips frames) c h w``."""
    options = with_frames(comfy.model_patcher.create_model_options_clone(model.model_options), count)
    comfy.sampler_helpers.prepare_model_patcher(model, {}, options)
    text = tiny.text(1)[0][0].expand(len(x), -1, -1)
    sigma = torch.full((len(x),), 2.0)
    return model.model.apply_model(
        x, sigma, c_crossattn=text, transformer_options={**options["transformer_options"], "cond_or_uncond": [0]}
    )


def test_clips_in_a_batch_do_not_see_each_other(sd15):
    model = inflate(sd15, layers(sd15))
    one, other = frames(4, seed=5), frames(4, seed=6)
    together = predicted(model, torch.cat((one, other)), 4)
    close(together, torch.cat((predicted(model, one, 4), predicted(model, other, 4))), 1e-5)
    assert differ(predicted(model, torch.cat((one, other)), 8), together)


def in_training(test):
    """As the host trains, outside of the mode in which it runs nodes."""
    return torch.inference_mode(False)(torch.enable_grad()(test))


def trainable():
    """A model whose queries are trained with its layers over time, and what is trained by name."""
    model = sd15_model()
    made = layers(model)
    weights = dict(made.trained())
    for name in trained_queries(model):
        weights[name] = model.model.get_submodule(name).weight.requires_grad_(True)
    return inflate(model, made), weights


def gradients(model, weights, half=False):
    for weight in weights.values():
        weight.grad = None
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = predicted(model, frames()).float().square().mean()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in weights.items()}


def parts_at(network, depth):
    """Modules so many levels below a network, lists left out."""
    level = [network]
    for _ in range(depth - 1):
        level = [below for each in level for below in inside(each)]
    return level


def inside(module):
    for child in module.children():
        if isinstance(child, (torch.nn.ModuleList, torch.nn.Sequential)):
            yield from inside(child)
        else:
            yield child


@contextlib.contextmanager
def checkpointed(model, depth):
    """Parts of the network are computed once more for gradients, as the host's own training does it."""
    parts = parts_at(model.model.diffusion_model, depth)
    for module in parts:
        nodes_train.patch(module)
    try:
        yield
    finally:
        for module in parts:
            nodes_train.unpatch(module)


@pytest.mark.parametrize(("depth", "half"), [(1, False), (2, False), (3, False), (4, False), (2, True)])
@in_training
def test_gradients_are_the_same_with_checkpointing(monkeypatch, depth, half):
    """From the network as one to each attention: what is computed once more sees the hooks of its call."""
    model, weights = trainable()
    wanted = gradients(model, weights, half)
    assert all(bool(each.any()) for each in wanted.values())
    attend, calls = comfy.ldm.modules.attention.CrossAttention.forward, []
    monkeypatch.setattr(
        comfy.ldm.modules.attention.CrossAttention, "forward", lambda *a, **k: calls.append(1) or attend(*a, **k)
    )
    with checkpointed(model, depth), kept_for_gradients():
        found = [gradients(model, weights, half) for _ in range(2)]
    assert len(calls) == 2 * 2 * 8  # each of 4 blocks has two, and all are computed twice
    for each in found:
        for name, gradient in each.items():
            close(gradient, wanted[name], 1e-5)
    assert not hooks_on(model)


@in_training
def test_without_keeping_hooks_checkpointing_would_go_wrong():
    """What the test above guards against is real."""
    model, weights = trainable()
    wanted = gradients(model, weights)
    with checkpointed(model, 2):
        try:
            found = gradients(model, weights)
        except torch.utils.checkpoint.CheckpointError:
            return
    assert any(differ(found[name], wanted[name]) for name in wanted)


@in_training
def test_hooks_that_are_kept_are_in_no_other_call():
    model, _ = trainable()
    plain = inflate(model, None, False, False)
    alone, inflated = predicted(plain, frames()), predicted(model, frames())
    assert differ(inflated, alone)
    with kept_for_gradients():
        for _ in range(2):
            assert torch.equal(predicted(model, frames()), inflated) and hooks_on(model)
            assert torch.equal(predicted(plain, frames()), alone) and not hooks_on(model)
        predicted(model, frames())
    assert not hooks_on(model)
    with pytest.raises(RuntimeError, match="out of memory"), kept_for_gradients():
        predicted(model, frames())
        raise RuntimeError("out of memory")
    assert not hooks_on(model)
    assert torch.equal(predicted(model, frames()), inflated)


def test_blocks_and_queries_have_the_names_of_the_network(sd15):
    network = sd15.model.diffusion_model
    names = [
        "input_blocks.1.1.transformer_blocks.0", "middle_block.1.transformer_blocks.0",
        "output_blocks.0.1.transformer_blocks.0", "output_blocks.1.1.transformer_blocks.0",
    ]  # fmt: skip
    assert transformer_blocks(sd15) == dict.fromkeys(names, (64, 1))
    queries = trained_queries(sd15)
    assert sorted(queries) == sorted(f"diffusion_model.{name}.attn{i}.to_q" for name in names for i in (1, 2))
    weights = {f"{name}.weight" for name in queries}
    assert weights <= set(sd15.model.state_dict()) and len(weights) == 8
    assert network.get_submodule(names[1]).attn1.to_q is sd15.model.get_submodule(queries[2])


@pytest.mark.parametrize(("heads", "found"), [
    ({"num_heads": 8, "num_head_channels": -1}, {(320, 8), (640, 8), (1280, 8)}),  # Stable Diffusion 1
    ({"num_heads": -1, "num_head_channels": 64}, {(320, 5), (640, 10), (1280, 20)}),  # 2
])  # fmt: skip
def test_blocks_of_stable_diffusion_at_its_size(heads, found):
    """Without numbers: 16 blocks, each of which gets a layer, as in Gen-L-Video."""
    model = sd15_model()
    config = {
        **tiny.SD15, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_output": [1] * 9 + [0] * 3,
        "transformer_depth_middle": 1, **heads,
    }  # fmt: skip
    model.model.diffusion_model = UNetModel(**config, device="meta", operations=comfy.ops.disable_weight_init)
    blocks = transformer_blocks(model)
    assert len(blocks) == 16 and set(blocks.values()) == found and len(trained_queries(model)) == 32


def test_sdxl_s_shape():
    """A UNet with classes and linear projections."""
    model = rows_image._unet("SDXL", num_classes="sequential", adm_in_channels=2816, use_linear_in_transformer=True)
    pooled = {"pooled_output": torch.zeros(1, 1280)}
    texts = {"positive": tiny.text(1, rows_image.TEXT, **pooled), "negative": tiny.text(0, rows_image.TEXT, **pooled)}
    made = [inflate(model, each) for each in (layers(model), layers(model, awake=False))]
    ours, new = (tiny.ksampler(each, {"samples": frames()}, steps=1, **texts) for each in made)
    assert ours.isfinite().all() and differ(ours, new)


def animated():
    model = tiny.sd15()
    model.set_additional_models("ADE", [tiny.sd15()])
    return model


@pytest.mark.parametrize(("make", "words"), [
    (lambda: tiny.wan(1), r"The model is a video model \(WAN21\).*SD 1.5, SD 2 or SDXL.*method 'low_rank'"),
    (lambda: rows_image.svd(3).model, r"The model is a video model \(SVD\)"),
    (animated, "The model is one with AnimateDiff's motion modules"),
])  # fmt: skip
def test_other_models_are_refused_by_name(make, words):
    model = make()
    for refuse in (lambda: check_inflatable(model), lambda: inflate(model, None)):
        with pytest.raises(ValueError, match=words):
            refuse()


def test_follow_your_pose_and_networks_without_blocks_are_refused(sd15):
    model = tiny.sd15()
    model.model.diffusion_model.input_blocks[1][1].layers_over_time = torch.nn.Identity()
    with pytest.raises(ValueError, match="The model is Follow-Your-Pose, which has layers over time already"):
        check_inflatable(model)
    model = tiny.sd15()
    network = model.model.diffusion_model
    for block in (network.input_blocks[1], *network.output_blocks):
        del block[1]
    with pytest.raises(ValueError, match="The model is a BaseModel whose UNet has no transformer blocks"):
        check_inflatable(model)


def test_layers_of_another_model_are_refused(sd15):
    blocks = transformer_blocks(sd15)
    last = list(blocks)[-1]
    fewer = LayersOverTime({name: each for name, each in blocks.items() if name != last})
    with pytest.raises(ValueError, match=f"{last} the model has, and the layers over time lack"):
        inflate(sd15, fewer)
    with pytest.raises(ValueError, match=r"middle_block.1.transformer_blocks.0 is not in the model"):
        inflate(tiny.sd15(), LayersOverTime(blocks))
    with pytest.raises(ValueError, match="has a width of 64 and 1 heads, the layers over time 32 and 1"):
        inflate(sd15, LayersOverTime({**blocks, last: (32, 1)}))
