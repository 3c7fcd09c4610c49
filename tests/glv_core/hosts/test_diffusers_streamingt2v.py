"""StreamingT2V's UNet against diffusers' own, and against its parts called one after the other."""

import copy

import pytest
import torch

pytest.importorskip("diffusers")

from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from tiny_streamingt2v import ADDED, TINY, tiny_weights

from glv_core.hosts.diffusers import StreamingUNet
from glv_core.hosts.diffusers import streamingt2v as host
from glv_core.hosts.diffusers.streamingt2v_parts import unet_config
from glv_core.streamingt2v import Sizes, expected_shapes, split_weights

TIME = 421


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LATENTS, TEXT, ANCHORS = random(2, 4, 16, 8, 8), random(2, 7, 32, seed=1), random(2, 3, 32, seed=2)
NEGATIVE, GREY = random(2, 7, 32, seed=3), random(2, 3, 32, seed=4)
PIXELS = random(2, 8, 3, 64, 64, seed=5).clamp(-1, 1)


@pytest.fixture(scope="module")
def checkpoint():
    return split_weights(tiny_weights())


@pytest.fixture(scope="module")
def net(checkpoint):
    return StreamingUNet.from_checkpoint(checkpoint)


@pytest.fixture(scope="module")
def stock(checkpoint):
    unet = UNet3DConditionModel(**unet_config(TINY))
    unet.load_state_dict(checkpoint.base)
    return unet.requires_grad_(False).eval()


def run_stock(stock, latents=LATENTS, text=TEXT):
    return stock(latents, TIME, text, return_dict=False)[0]


def far(some, other):
    return (some - other).abs().max() > 1e-3 * other.abs().max()


def with_zeros(checkpoint, part, ending):
    """A network whose weights of one name are zeros."""
    changed = {
        name: torch.zeros_like(each) if ending in name else each for name, each in getattr(checkpoint, part).items()
    }
    return StreamingUNet.from_checkpoint(type(checkpoint)(**(vars(checkpoint) | {part: changed})))


def features_by_hand(checkpoint, net, latents, text, pixels):
    """Of a whole stock UNet with the copy's weights: what its up blocks are given."""
    whole = UNet3DConditionModel(**unet_config(TINY)).eval().requires_grad_(False)
    whole.load_state_dict(checkpoint.branch, strict=False)
    added = torch.cat([net.encoder(clip[None])[0] for clip in pixels])
    whole.transformer_in.register_forward_hook(lambda _m, _a, out: (out[0] + added,))
    caught, skips = [], []
    whole.mid_block.register_forward_hook(lambda _m, _a, out: caught.append(out))
    for block in whole.up_blocks:
        block.register_forward_pre_hook(
            lambda _m, _a, named: skips.insert(0, named["res_hidden_states_tuple"]), with_kwargs=True
        )
    whole(latents[:, :, : pixels.shape[1]], TIME, text)
    return [each.unflatten(0, pixels.shape[:2]) for group in skips for each in group] + [
        caught[0].unflatten(0, pixels.shape[:2])
    ]


def unet_by_hand(stock, net, latents, text, anchors, seen):
    """The stock UNet's layers one after the other, with merging and mixing where the paper has them."""
    unet = copy.deepcopy(stock)
    clips, _, frames = latents.shape[:3]
    context = torch.cat((text, anchors), 1).repeat_interleave(frames, 0)

    class Mixing(AttnProcessor2_0):
        def __init__(self, mixer):
            self.mixer = mixer

        def __call__(self, attn, hidden, context=None, *args, encoder_hidden_states=None, **named):
            m, tokens = self.mixer, context if encoder_hidden_states is None else encoder_hidden_states
            padded = torch.nn.functional.pad(tokens, (1, 1))
            windows = torch.stack([padded[..., i : i + tokens.shape[-1]] for i in range(3)], -1)
            mix = torch.einsum("btwk,otk->bow", windows, m.conv.weight) + m.conv.bias[:, None]
            mix = (mix - mix.mean(-1, keepdim=True)) / (mix.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            mix = mix * m.conv_ln.weight + m.conv_ln.bias
            gate = m.alpha * torch.sigmoid(m.alpha)
            return super().__call__(attn, hidden, tokens[:, : m.text_tokens] + gate * mix, *args, **named)

    readers = [name for name, each in unet.named_modules() if name.endswith(".attn2") and ".attentions." in name]
    assert len(readers) == 16
    for name in readers:
        unet.get_submodule(name).set_processor(Mixing(net.mixers[TINY.text_layers.index(name)]))

    def merge(index, hidden):
        apart = hidden.reshape(clips, frames, *hidden.shape[1:])
        return net.mergers[index](apart, seen[index]).reshape(hidden.shape)

    emb = unet.time_embedding(unet.time_proj(torch.tensor([TIME] * clips))).repeat_interleave(frames, 0)
    x = unet.conv_in(latents.transpose(1, 2).flatten(0, 1))
    x = unet.transformer_in(x, num_frames=frames, return_dict=False)[0]
    skips, named = [x], dict(temb=emb, num_frames=frames)
    for block in unet.down_blocks:
        more = dict(encoder_hidden_states=context) if hasattr(block, "attentions") else {}
        x, found = block(hidden_states=x, **named, **more)
        skips += found
    x = unet.mid_block(x, emb, encoder_hidden_states=context, num_frames=frames)
    x, skips = merge(12, x), [merge(index, skip) for index, skip in enumerate(skips)]
    for block in unet.up_blocks:
        more = dict(encoder_hidden_states=context) if hasattr(block, "attentions") else {}
        x = block(hidden_states=x, res_hidden_states_tuple=tuple(skips[-3:]), **named, **more)
        del skips[-3:]
    x = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
    return x.unflatten(0, (clips, frames)).transpose(1, 2)


def test_alone_it_is_the_stock_unet_bit_for_bit(net, stock):
    assert torch.equal(net(LATENTS, TIME, TEXT), run_stock(stock))
    assert torch.equal(net(LATENTS, torch.tensor([TIME] * 2), TEXT[:, :5]), run_stock(stock, text=TEXT[:, :5]))


def test_the_copy_gives_what_the_stock_unet_would(checkpoint, net):
    wanted = features_by_hand(checkpoint, net, LATENTS, TEXT, PIXELS)
    got = net._look_back(LATENTS, TIME, TEXT, PIXELS)
    assert [each.shape for each in got] == [each.shape for each in wanted]
    shapes = [(32, 8)] * 3 + [(32, 4)] + [(64, 4)] * 2 + [(64, 2)] * 3 + [(64, 1)] * 4  # 12 skips and the middle
    assert [(each.shape[2], each.shape[3]) for each in got] == shapes
    for one, other in zip(got, wanted):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_whole_is_its_parts_in_turn(checkpoint, net, stock):
    seen = features_by_hand(checkpoint, net, LATENTS, TEXT, PIXELS)
    wanted = unet_by_hand(stock, net, LATENTS, TEXT, ANCHORS, seen)
    got = net(LATENTS, TIME, TEXT, ANCHORS, PIXELS)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())
    assert far(got, run_stock(stock)) and far(got, net(LATENTS, TIME, TEXT, ANCHORS))
    assert far(got, net(LATENTS, TIME, TEXT, condition=PIXELS))


def test_mergers_that_say_nothing_leave_the_stock_unet_bit_for_bit(checkpoint, stock):
    silent = with_zeros(checkpoint, "mergers", "proj_out")
    assert torch.equal(silent(LATENTS, TIME, TEXT, condition=PIXELS), run_stock(stock))


def test_an_encoder_that_says_nothing_makes_the_frames_before_irrelevant(checkpoint):
    silent = with_zeros(checkpoint, "encoder", "conv_out")
    assert torch.equal(
        silent(LATENTS, TIME, TEXT, condition=PIXELS), silent(LATENTS, TIME, TEXT, condition=PIXELS.flip(1) / 2)
    )


def test_the_order_of_what_the_copy_saw_means_nothing(net, monkeypatch):
    wanted = net(LATENTS, TIME, TEXT, ANCHORS, PIXELS)
    plain, order = host.StreamingUNet._look_back, [3, 1, 7, 0, 2, 6, 5, 4]
    monkeypatch.setattr(host.StreamingUNet, "_look_back", lambda *args: [each[:, order] for each in plain(*args)])
    torch.testing.assert_close(net(LATENTS, TIME, TEXT, ANCHORS, PIXELS), wanted, rtol=1e-3, atol=1e-4)


def test_the_copy_sees_the_overlap_alone(net):
    new = LATENTS.clone()
    new[:, :, 8:] = random(2, 4, 8, 8, 8, seed=9)
    once, again = (net._look_back(latents, TIME, TEXT, PIXELS) for latents in (LATENTS, new))
    assert all(torch.equal(one, other) for one, other in zip(once, again))
    new[:, :, 7] += 1
    assert not torch.equal(net._look_back(new, TIME, TEXT, PIXELS)[0], once[0])


def test_at_first_the_anchor_means_nothing(checkpoint, net, stock):
    silent = with_zeros(checkpoint, "mixers", "alpha")
    wanted = run_stock(stock)
    assert torch.equal(silent(LATENTS, TIME, TEXT, ANCHORS), wanted)
    assert torch.equal(silent(LATENTS, TIME, TEXT, GREY), wanted)
    assert far(net(LATENTS, TIME, TEXT, ANCHORS), net(LATENTS, TIME, TEXT, GREY))


@pytest.mark.parametrize("sizes", [TINY, Sizes()])
def test_sixteen_layers_read_the_anchor(sizes):
    with torch.device("meta"):
        unet = StreamingUNet(sizes).unet
    mixing = [name for name, each in unet.attn_processors.items() if isinstance(each, host._MixedTokens)]
    assert mixing == [
        f"{place}.transformer_blocks.0.attn2.processor"
        for place in [
            *(f"down_blocks.{level}.attentions.{index}" for level in range(3) for index in range(2)),
            *(f"up_blocks.{level}.attentions.{index}" for level in (1, 2, 3) for index in range(3)),
            "mid_block.attentions.0",
        ]
    ]


def test_the_published_sizes_have_the_published_shapes():
    with torch.device("meta"):
        net = StreamingUNet()
    shapes = expected_shapes(Sizes())
    for part in ("unet", "branch", "encoder", "resampler"):
        got = {name: tuple(each.shape) for name, each in net.get_submodule(part).state_dict().items()}
        assert got == shapes["base" if part == "unet" else part]
    numbers = [sum(each.numel() for each in net.get_submodule(part).parameters()) for part in ("mergers", "mixers")]
    assert sum(numbers) + sum(each.numel() for each in net.unet.parameters()) == 1_480_478_804
    heads = {layer.heads * 64 == layer.inner_dim for name, layer in net.unet.named_modules() if name.endswith("attn2")}
    assert heads == {True}
    assert [merger.attention.heads for merger in net.mergers] == [5] * 4 + [10] * 3 + [20] * 6


def test_the_published_sizes_fit_each_other():
    """Shapes alone, of a whole step at 256 x 256 pixels."""
    with torch.device("meta"):
        net = StreamingUNet().requires_grad_(False)
        latents, text, pixels = torch.empty(1, 4, 16, 32, 32), torch.empty(1, 77, 1024), torch.empty(1, 8, 3, 256, 256)
        anchors = net.resampler(torch.empty(1, 1, 1024))
        assert anchors.shape == (1, 16, 1024)
        time = torch.empty(())
        assert net.guided(latents, time, text, text, anchors, anchors, pixels, 7.5, 5.0).shape == latents.shape
        seen = [tuple(each.shape[1:4]) for each in net._look_back(latents, time, text, pixels)]
    assert seen == [
        *[(8, 320, 32)] * 3, (8, 320, 16), *[(8, 640, 16)] * 2, (8, 640, 8), *[(8, 1280, 8)] * 2, *[(8, 1280, 4)] * 4,
    ]  # fmt: skip


def test_the_copy_holds_no_way_up(checkpoint, net):
    own, given = net.branch.state_dict(), checkpoint.branch
    assert set(own) == set(given)
    assert not [name for name in own if name.startswith(("up_blocks", "conv_out", "conv_norm_out"))]
    assert not len(net.branch.up_blocks)


def test_weights_are_taken_as_they_are(checkpoint, net):
    assert net.unet.conv_in.weight.data_ptr() == checkpoint.base["conv_in.weight"].data_ptr()
    last = net.mergers[12].proj_out.weight.data_ptr()
    assert last == checkpoint.mergers["mid_block.proj_out.weight"].data_ptr()
    assert not [name for name, each in net.state_dict().items() if each.is_meta]
    assert not any(each.requires_grad for each in net.parameters()) and not net.training


def test_features_of_the_frames_before_can_be_made_once(net):
    ready = net.encode_condition(PIXELS)
    assert ready.shape == (2, 8, 32, 8, 8)
    wanted = net(LATENTS, TIME, TEXT, ANCHORS, PIXELS)
    assert torch.equal(net(LATENTS, TIME, TEXT, ANCHORS, ready), wanted)
    one = net(LATENTS, TIME, TEXT, ANCHORS, ready[:1])
    assert torch.equal(one, net(LATENTS, TIME, TEXT, ANCHORS, PIXELS[:1].repeat(2, 1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("text", "anchors", "told"),
    [
        (TEXT[:, :6], ANCHORS, "text has 6 tokens and anchors 3; with an anchor they must be 7 and 3. Pad or cut"),
        (TEXT, ANCHORS[:, :2], "text has 7 tokens and anchors 2"),
        (torch.cat((TEXT, TEXT[:, :1]), 1), ANCHORS[:, :2], "text has 8 tokens and anchors 2"),  # ten in all
    ],
)
def test_another_number_of_tokens_is_refused(net, text, anchors, told):
    with pytest.raises(ValueError, match=told):
        net(LATENTS, TIME, text, anchors)
    assert net._call is None


@pytest.mark.parametrize(
    "condition",
    [
        random(2, 8, 3, 32, 32),  # of another size
        random(2, 17, 3, 64, 64),  # more than there are
        random(3, 8, 3, 64, 64),  # more clips
        random(2, 8, 31, 8, 8),  # features of another width
        random(2, 8, 3, 60, 60),  # not to be halved so often
        random(8, 3, 64, 64),
    ],
)
def test_frames_that_do_not_fit_are_refused(net, condition):
    with pytest.raises(ValueError, match=r"condition|sides that are multiples of 8"):
        net(LATENTS, TIME, TEXT, condition=condition)


def three_terms(net, text_weight, anchor_weight, condition):
    none, one, both = (
        net(LATENTS, TIME, text, anchors, condition)
        for text, anchors in ((NEGATIVE, GREY), (TEXT, GREY), (TEXT, ANCHORS))
    )
    return none + text_weight * (one - none) + anchor_weight * (both - one)


@pytest.mark.parametrize(
    ("text_weight", "anchor_weight", "rows"), [(7.5, 7.5, 4), (7.5, 3.0, 6), (1.0, 1.0, 2), (5.0, 0.0, 4)]
)
def test_guidance_is_the_three_terms_in_one_forward_pass(net, monkeypatch, text_weight, anchor_weight, rows):
    wanted = three_terms(net, text_weight, anchor_weight, PIXELS)
    asked, plain = [], host.StreamingUNet._look_back
    monkeypatch.setattr(host.StreamingUNet, "_look_back", lambda self, *args: asked.append(args) or plain(self, *args))
    got = net.guided(LATENTS, TIME, TEXT, NEGATIVE, ANCHORS, GREY, PIXELS, text_weight, anchor_weight)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    ((latents, _, _, condition),) = asked  # the unconditional rows see the frames before too
    assert latents.shape[0] == condition.shape[0] == rows
    assert torch.equal(condition[:2], condition[-2:])


def test_the_unconditional_half_comes_first(net, monkeypatch):
    asked, plain = [], host.StreamingUNet.forward
    monkeypatch.setattr(host.StreamingUNet, "forward", lambda self, *args: asked.append(args) or plain(self, *args))
    net.guided(LATENTS, torch.tensor(TIME), TEXT, NEGATIVE, ANCHORS, GREY)
    ((_, times, text, anchors, condition),) = asked
    assert times.tolist() == [TIME] * 4 and condition is None
    assert torch.equal(text, torch.cat((NEGATIVE, TEXT))) and torch.equal(anchors, torch.cat((GREY, ANCHORS)))


def test_guidance_without_an_anchor_is_by_the_text(net):
    got = net.guided(LATENTS, TIME, TEXT, NEGATIVE, condition=PIXELS, text_weight=4.0)
    none, one = (net(LATENTS, TIME, text, condition=PIXELS) for text in (NEGATIVE, TEXT))
    wanted = none + 4 * (one - none)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    with pytest.raises(ValueError, match="anchors and no grey"):
        net.guided(LATENTS, TIME, TEXT, NEGATIVE, ANCHORS)


def test_the_stock_unet_may_come_from_elsewhere(checkpoint, net):
    reduced = split_weights(tiny_weights(ADDED))
    wanted = net(LATENTS, TIME, TEXT, condition=PIXELS)
    own = StreamingUNet.from_checkpoint(split_weights(tiny_weights((*ADDED, "base"))))
    assert torch.equal(own(LATENTS, TIME, TEXT, condition=PIXELS), wanted)
    lent = StreamingUNet.from_checkpoint(reduced, base=checkpoint.base)
    assert torch.equal(lent(LATENTS, TIME, TEXT, condition=PIXELS), wanted)
    with pytest.raises(ValueError, match="holds no UNet"):
        StreamingUNet.from_checkpoint(reduced)
    with pytest.raises(ValueError, match=r"not the UNet of text-to-video-ms-1\.7b\. UNet lacks up_blocks"):
        StreamingUNet.from_checkpoint(reduced, base=checkpoint.branch)


def test_it_runs_in_half_precision(checkpoint, net):
    small = StreamingUNet.from_checkpoint(checkpoint, dtype=torch.float16)
    assert {each.dtype for each in small.parameters()} == {torch.float16}
    got = small(LATENTS.half(), TIME, TEXT.half(), ANCHORS, PIXELS)
    wanted = net(LATENTS, TIME, TEXT, ANCHORS, PIXELS)
    assert got.dtype == torch.float16
    assert (got - wanted).norm() < 0.1 * wanted.norm()


def test_a_copy_of_the_network_stands_alone(net):
    wanted = net(LATENTS, TIME, TEXT, ANCHORS, PIXELS)
    other = copy.deepcopy(net)
    assert torch.equal(other(LATENTS, TIME, TEXT, ANCHORS, PIXELS), wanted)
    for parameter in (*other.mergers.parameters(), *other.mixers.parameters()):
        parameter.zero_()
    assert torch.equal(net(LATENTS, TIME, TEXT, ANCHORS, PIXELS), wanted)
    assert torch.equal(other(LATENTS, TIME, TEXT, ANCHORS, PIXELS), net(LATENTS, TIME, TEXT))
