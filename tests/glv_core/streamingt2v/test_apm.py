"""Appearance tokens against loops written out, and anchor frames as CLIP takes them."""

import math

import pytest
import torch
from torch.nn import functional

from glv_core.streamingt2v import TokenMixer, TokenResampler, clip_pixels, grey_anchor
from glv_core.streamingt2v.apm import CLIP_MEAN, CLIP_STD


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(module, seed=1):
    for index, parameter in enumerate(module.parameters()):
        parameter.data = random(*parameter.shape, seed=seed + index) * 0.5
    return module.requires_grad_(False)


def silu(x):
    return x / (1 + math.exp(-x))


def test_the_resampler_makes_tokens_of_the_mean_of_the_anchor_frames():
    resampler = filled(TokenResampler(6, 5, 4))
    embeddings = random(2, 3, 6)
    first, _, second = resampler.context_embedding
    for clip in range(2):
        mean = sum(embeddings[clip]) / 3
        inner = torch.tensor([silu(float(each)) for each in first.weight @ mean + first.bias])
        tokens = (second.weight @ inner + second.bias).reshape(4, 6)
        torch.testing.assert_close(resampler(embeddings)[clip], tokens)
    alone = embeddings[:, :1]
    assert torch.equal(resampler(alone), resampler(alone.repeat(1, 2, 1)))


@pytest.mark.parametrize("shape", [(1, 0, 6), (1, 6)])
def test_no_anchor_frame_is_refused(shape):
    with pytest.raises(ValueError, match="Give an anchor frame"):
        TokenResampler(6, 5, 4)(torch.zeros(shape))


def mix_by_hand(mixer, context):
    """One clip, token and place of the width at a time."""
    clips, tokens, width = context.shape
    out = context[:, : mixer.text_tokens].clone()
    for clip in range(clips):
        mixed = torch.zeros(mixer.text_tokens, width)
        for new in range(mixer.text_tokens):
            for place in range(width):
                total = mixer.conv.bias[new].clone()
                for old in range(tokens):
                    for step in (-1, 0, 1):
                        if 0 <= place + step < width:
                            total += mixer.conv.weight[new, old, step + 1] * context[clip, old, place + step]
                mixed[new, place] = total
            deviation = (mixed[new].var(unbiased=False) + 1e-5).sqrt()
            normal = (mixed[new] - mixed[new].mean()) / deviation * mixer.conv_ln.weight + mixer.conv_ln.bias
            out[clip, new] += silu(float(mixer.alpha)) * normal
    return out


def test_mixing_is_a_convolution_along_the_width_of_all_tokens():
    mixer = filled(TokenMixer(4, 3, 6))
    context = random(2, 7, 6)
    torch.testing.assert_close(mixer(context), mix_by_hand(mixer, context), rtol=1e-4, atol=1e-5)


def test_at_first_the_anchor_means_nothing():
    mixer = filled(TokenMixer(4, 3, 6))
    context = random(1, 7, 6)
    other = torch.cat((context[:, :4], random(1, 3, 6, seed=5)), dim=1)
    assert not torch.equal(mixer(context), mixer(other))
    mixer.alpha.zero_()
    assert torch.equal(mixer(context), context[:, :4])
    assert torch.equal(mixer(other), context[:, :4])
    assert TokenMixer(4, 3, 6).alpha.item() == 0


@pytest.mark.parametrize("count", [77, 92, 94])
def test_another_number_of_tokens_is_refused(count):
    with pytest.raises(ValueError, match=f"has {count} tokens.* 77 of the text with 16 of the anchor, 93 in all. Pad"):
        TokenMixer(width=8)(torch.zeros(1, count, 8))


def cubic(distance):
    """Keys' kernel with -0.75, as torch has it."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def shrink_by_hand(line, side):
    """One row or column: blurred, if it shrinks, then resized with the ends in place."""
    count = len(line)
    if count > side:
        sigma = max((count / side - 1) / 2, 0.001)
        reach = max(int(4 * sigma), 3) // 2
        weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(-reach, reach + 1)]
        mirrored = [line[abs(i) if i < count else 2 * count - 2 - i] for i in range(-reach, count + reach)]
        line = [sum(w * mirrored[i + j] for j, w in enumerate(weights)) / sum(weights) for i in range(count)]
    out = []
    for i in range(side):
        place = i * (count - 1) / (side - 1)
        near = math.floor(place)
        out.append(sum(cubic(place - j) * line[min(max(j, 0), count - 1)] for j in range(near - 1, near + 3)))
    return out


@pytest.mark.parametrize(("height", "width"), [(20, 12), (7, 30), (4, 5), (6, 6)])
def test_anchor_frames_are_blurred_shrunk_and_normalised(height, width):
    image = random(3, height, width).clamp(-1, 1).double()
    wanted = []
    for channel in range(3):
        rows = [shrink_by_hand([float(each) for each in row], 6) for row in image[channel]]
        columns = [shrink_by_hand([row[i] for row in rows], 6) for i in range(6)]
        plane = torch.tensor(columns, dtype=torch.float64).T
        wanted.append(((plane + 1) / 2 - CLIP_MEAN[channel]) / CLIP_STD[channel])
    torch.testing.assert_close(clip_pixels(image[None], 6)[0], torch.stack(wanted), rtol=1e-6, atol=1e-6)


def test_at_the_published_size_the_blur_changes_nothing():
    images = random(2, 3, 256, 256).clamp(-1, 1)
    plain = functional.interpolate(images, (224, 224), mode="bicubic", align_corners=True)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (CLIP_MEAN, CLIP_STD))
    assert torch.equal(clip_pixels(images), ((plain + 1) / 2 - mean) / std)


def test_the_grey_anchor_is_mid_grey_everywhere():
    pixels = clip_pixels(grey_anchor(random(1, 3, 300, 256)))
    wanted = [(0.5 - mean) / std for mean, std in zip(CLIP_MEAN, CLIP_STD)]
    torch.testing.assert_close(pixels, torch.tensor(wanted).view(1, 3, 1, 1).expand(1, 3, 224, 224))
