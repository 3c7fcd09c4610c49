"""Streams beside the video: their parts of windows, their weights, and how loud their sum is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.co_denoise import CoDenoiseSettings, co_denoise_streams
from glv_core.fusion import MERGES
from glv_core.streams import LOUDEST, Stream, louder
from glv_core.timeline import Compression
from glv_core.windows import View, Window

H3 = Compression((1, 4, 4, 4, 4))


def h3_sound(num_latent_frames):
    """MiniMax H3's: 40 a second at 24 frames a second."""
    frames = [0, *(H3.num_frames(count) for count in range(1, num_latent_frames + 1))]
    return Stream(tuple(5 / 3 * count for count in frames), 3, steady=True)


def test_windows_of_h3_take_the_sound_of_their_time():
    """Core #15982: 87 latents, windows of 32 at multiples of 15: sound windows are video windows times 85 / 15."""
    stream = h3_sound(87)
    assert stream.length == round(H3.num_frames(87) * 5 / 3)
    for hop in range(4):
        part = stream.part(Window(15 * hop, 32))
        assert (part.start, part.length) == (85 * hop, round(107 * 5 / 3)) and part.is_slice
    off_the_hop = stream.part(Window(5, 32))
    assert (off_the_hop.start, off_the_hop.length) == (round(17 * 5 / 3), 178)
    assert stream.part(Window(55, 32)).indices[-1] == stream.length - 1


@settings(deadline=None, max_examples=60)
@given(video=st.integers(1, 60), sound=st.integers(1, 400), start=st.integers(0, 59), length=st.integers(1, 60))
def test_a_proportional_part_is_what_the_hosts_rule_gives(video, sound, start, length):
    """ComfyUI maps each latent frame to a rounded range of the sound, and leaves none without."""
    start, length = min(start, video - 1), min(length, video - min(start, video - 1))
    expected = []
    for index in range(start, start + length):
        first = min(round(index * sound / video), sound - 1)
        last = max(min(round((index + 1) * sound / video), sound), first + 1)
        expected += [element for element in range(first, last) if element not in expected]
    part = Stream.proportional(sound, video, 2).part(Window(start, length))
    assert list(part.indices) == expected


def test_parts_of_windows_with_gaps_across_a_loop_and_behind_the_first_frame():
    stream = Stream.proportional(40, 10, 2)
    assert list(stream.part(Window(1, 3, 3)).indices) == [4, 5, 6, 7, 16, 17, 18, 19, 28, 29, 30, 31]
    assert list(stream.part(Window(9, 2, 1, 10)).indices) == [36, 37, 38, 39, 0, 1, 2, 3]
    view = View(Window(5, 2), 1)
    assert list(stream.part(view).indices) == [0, 1, 2, 3, *range(20, 28)] and stream.lead(view) == 4
    assert stream.lead(View(Window(5, 2))) == 0
    joined = View(Window(5, 2), 1, before=4)
    assert list(stream.part(joined).indices) == [*range(16, 28)] and stream.lead(joined) == 4


@pytest.mark.parametrize("merge", list(MERGES))
@pytest.mark.parametrize("schedule", ["shifted", "static", "uniform"])
@pytest.mark.parametrize("loop", [False, True])
def test_weights_are_a_partition_of_unity_in_every_stream(merge, schedule, loop):
    plan = CoDenoiseSettings(16, 5, schedule, merge, stride=2 if schedule == "uniform" else 1, closed_loop=loop, seed=3)
    for sound in (13, 57, 333):
        stream = Stream.proportional(sound, 57, 2)
        for step in range(4):
            windows = plan.windows(57, step, 20)
            shares = stream.weights(windows, plan.weights(windows, 57, step, 20))
            total = torch.zeros(sound)
            for window, share in zip(windows, shares, strict=True):
                total[list(stream.part(window).indices)] += share
            torch.testing.assert_close(total, torch.ones(sound))


@pytest.mark.parametrize("merge", list(MERGES))
def test_weights_are_whole_on_the_grain_of_h3_too(merge):
    plan = CoDenoiseSettings(37, 12, "shifted", merge, grain=5)
    stream = h3_sound(187)
    for step in range(5):
        windows = plan.windows(187, step, 20)
        total = torch.zeros(stream.length)
        for window, share in zip(windows, stream.weights(windows, plan.weights(windows, 187, step, 20)), strict=True):
            total[list(stream.part(window).indices)] += share
        torch.testing.assert_close(total, torch.ones(stream.length))


def test_sound_fades_evenly_and_not_in_the_videos_steps():
    """Two windows that share four latent frames, of ten elements each."""
    stream = Stream.proportional(200, 20, 2)
    windows = [Window(0, 12), Window(8, 12)]
    ramp = torch.tensor([1, 0.8, 0.6, 0.4, 0.2, 0])
    weights = [torch.cat((torch.ones(8), ramp[1:5])), torch.cat((1 - ramp[1:5], torch.ones(8)))]
    first, second = stream.weights(windows, weights)
    fade = first[80:]
    assert (fade.diff() <= 1e-6).all() and (fade.diff() > -0.03).all()  # the video's steps are of 0.2
    assert fade[5].item() == pytest.approx(0.79, abs=0.011) and fade[35].item() == pytest.approx(0.2, abs=0.011)
    assert torch.equal(first[:80], torch.ones(80)) and torch.equal(second[40:], torch.ones(80))


def test_a_cut_of_the_video_is_a_cut_of_the_sound():
    stream = Stream.proportional(200, 20, 2)
    windows = [Window(0, 12), Window(8, 12)]
    first = torch.cat((torch.ones(10), torch.zeros(2)))
    shares = stream.weights(windows, [first, torch.cat((torch.zeros(2), torch.ones(10)))])
    assert shares[0].tolist() == [1.0] * 100 + [0.0] * 20
    assert shares[1].tolist() == [0.0] * 20 + [1.0] * 100


def test_what_fades_is_as_loud_as_what_is_faded():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 1, 4096, 3, 2, generator=generator)
    for share in (0.5, 0.25):
        power = share * one.square().mean(1, True) + (1 - share) * other.square().mean(1, True)
        merged = louder(share * one + (1 - share) * other, power)
        torch.testing.assert_close(merged.square().mean(1, True), power, rtol=0.05, atol=0)
    torch.testing.assert_close(louder(one, one.square().mean(1, True)), one)
    quiet = louder(0.1 * one, one.square().mean(1, True))
    torch.testing.assert_close(quiet, 0.1 * LOUDEST * one)


@pytest.mark.parametrize("keeps_power", [False, True])
def test_streams_are_merged_as_matrices_of_their_weights(keeps_power):
    """An oracle of dense matrices, one for each stream, with 90 elements of sound for 30 latent frames."""
    generator = torch.Generator().manual_seed(1)
    video, sound = torch.randn(2, 4, 30, 3, 3, generator=generator), torch.randn(2, 5, 90, 2, generator=generator)
    stream = Stream.proportional(90, 30, 2, keeps_power)
    plan = CoDenoiseSettings(12, 4, "shifted", "hann")
    windows = plan.windows(30, 3, 10)

    def said(x, window, factor):
        return torch.sin(x * factor + window.start)

    def denoise(given):
        for index in reversed(range(len(given))):
            window = given[index]
            frames = video[:, :, window.start : window.start + 12]
            heard = sound[:, :, 3 * window.start : 3 * window.start + 36]
            yield index, [[said(frames, window, factor), said(heard, window, factor)] for factor in (1, 2)]

    merged = co_denoise_streams([video, sound], 3, plan, denoise, [stream], num_outputs=2, num_steps=10)
    shares = stream.weights(windows, plan.weights(windows, 30, 3, 10))
    for output, factor in enumerate((1, 2)):
        total, power, count = torch.zeros(2, 5, 90, 2), torch.zeros(2, 1, 90, 2), torch.zeros(90)
        for window, share in zip(windows, shares, strict=True):
            dense = torch.zeros(90, 36)
            dense[range(3 * window.start, 3 * window.start + 36), range(36)] = share
            part = said(sound[:, :, 3 * window.start : 3 * window.start + 36], window, factor)
            total += torch.einsum("et,bctf->bcef", dense, part)
            power += torch.einsum("et,bctf->bcef", dense, part.square().mean(1, keepdim=True))
            count += dense.sum(1) > 0
        if keeps_power:
            gain = (power / total.square().mean(1, keepdim=True)).sqrt().clamp(1, LOUDEST)
            total = torch.where(count[:, None] > 1, total * gain, total)
        torch.testing.assert_close(merged[output][1], total)
        assert merged[output][0].shape == video.shape


def test_edges_rise_from_nothing():
    for edges in ((0.0,), (1.0, 2.0), (0.0, 2.0, 1.0)):
        with pytest.raises(ValueError, match="rise from 0"):
            Stream(edges, 2)
