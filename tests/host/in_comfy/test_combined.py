"""Latents of video and sound: windows are spans of time, of which each stream has its part."""

import combined
import comfy.samplers
import pytest
import tiny
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.every_host
each_kind = pytest.mark.parametrize("kind", ["ltx", "h3"])


@pytest.fixture(autouse=True)
def _only_what_the_host_has(request):
    kind = getattr(request.node, "callspec", None) and request.node.callspec.params.get("kind")
    if (kind or "h3" if "h3" in request.node.name else kind) == "h3" and not combined.HAS_H3:
        pytest.skip("this ComfyUI has no MiniMax H3")


def ours(kind, model, latent, **options):
    """Our sampler, at CFG 1 for H3, which takes one row a pass."""
    options = {"cfg": 1.0 if kind == "h3" else 3.0, "steps": 3, "positive": combined.text(kind, 1)} | options
    made = tiny.co_denoise(model, latent, negative=combined.text(kind, 0), **options)
    return list(made.unbind())


def hosts(kind, model, latent, **options):
    """The host's KSampler."""
    options = {"cfg": 1.0 if kind == "h3" else 3.0, "steps": 3, "positive": combined.text(kind, 1)} | options
    made = tiny.ksampler(model, latent, negative=combined.text(kind, 0), **options)
    return list(made.unbind())


@each_kind
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "uni_pc"])
def test_what_fits_in_one_window_is_bit_identical_to_ksampler_in_every_stream(kind, sampler):
    model, latent = combined.model(kind), combined.latent(kind, 7)
    for window in (combined.frames_of(kind, 7), 362):
        made = ours(kind, model, latent, sampler=sampler, window=window, overlap=8)
        expected = hosts(kind, model, latent, sampler=sampler)
        assert len(made) == len(expected) == 2
        assert all(torch.equal(one, other) for one, other in zip(made, expected, strict=True))


def test_clips_side_by_side_are_those_that_the_host_makes_of_them():
    """LTX-2, 12 latent frames as 2 windows of 6 without overlap, on the host's own noise for the whole."""
    kind = "ltx"
    model, latent = combined.model(kind), combined.latent(kind, 12)
    made = ours(kind, model, latent, window=combined.frames_of(kind, 6), overlap=0)
    noise = comfy.sample.prepare_noise(latent["samples"], 7).unbind()
    sound = noise[1].shape[2]
    for start in (0, 6):
        first, last = round(start * sound / 12), round((start + 6) * sound / 12)
        parts = [noise[0][:, :, start : start + 6], noise[1][:, :, first:last]]
        alone = hosts_on_noise(kind, model, parts)
        assert_close(made[0][:, :, start : start + 6], alone[0], rtol=0, atol=2e-5)
        assert_close(made[1][:, :, first:last], alone[1], rtol=0, atol=2e-5)


def hosts_on_noise(kind, model, noise):
    """The host's KSampler from a given noise."""
    empty = combined.nested(*(torch.zeros_like(each) for each in noise))["samples"]
    made = comfy.sample.sample(
        model, combined.nested(*noise)["samples"], 3, 3.0, "euler", "simple", combined.text(kind, 1),
        combined.text(kind, 0), empty, seed=7,
    )  # fmt: skip
    return made.unbind()


@each_kind
def test_every_window_gets_its_part_of_each_stream_and_their_sum_is_by_weights(kind):
    """One step from the noise to the prediction; the oracle adds up what the network said with dense matrices."""
    from long_video_pack.glv_core.co_denoise import CoDenoiseSettings

    model = combined.model(kind)
    length, window, overlap, grain = (20, 8, 3, 1) if kind == "ltx" else (37, 17, 7, 5)
    latent = combined.latent(kind, length)
    spy = combined.Spy(model)
    frames = combined.frames_of(kind, window)
    overlap_frames = {"ltx": 8 * overlap, "h3": 22}[kind]
    made = ours(kind, model, latent, window=frames, overlap=overlap_frames, steps=1, cfg=1.0, per_forward=1)
    noise = comfy.sample.prepare_noise(latent["samples"], 7).unbind()
    plan = CoDenoiseSettings(window, {"ltx": 3, "h3": 6}[kind], "static", grain=grain)
    starts = [each.start for each in plan.windows(length, 0, 1)]
    assert len(spy.calls) == len(starts) > 2
    begins = torch.stack([noise[0][0, 0, start, 0, 0] for start in starts])

    def number(call):  # windows with as much sound come one after another
        return int((begins - call["streams"][0][0, 0, 0, 0, 0]).abs().argmin())

    spy.calls.sort(key=number)
    axis = {"ltx": 2, "h3": 3}[kind]
    clock = clock_of(kind, length)
    for call, start in zip(spy.calls, starts, strict=True):
        first, last = span(kind, clock, start, window, noise[1].shape[axis])
        assert_close(call["streams"][0], noise[0][:, :, start : start + window], atol=1e-5, rtol=1e-5)
        assert_close(call["streams"][1], noise[1].narrow(axis, first, last - first), atol=1e-5, rtol=1e-5)
    weights = plan.weights(plan.windows(length, 0, 1), length, 0, 1)
    total, whole = torch.zeros_like(noise[0]), torch.zeros(length)
    for call, start, share in zip(spy.calls, starts, weights, strict=True):
        x0 = noise[0][:, :, start : start + window] - call["said"][0]  # at a noise level of 1
        total[:, :, start : start + window] += x0 * share.view(-1, 1, 1)
        whole[start : start + window] += share
    assert_close(whole, torch.ones(length))
    assert_close(made[0], total, atol=2e-4, rtol=1e-3)
    # The sound that one window alone holds is what that one says.
    carried = 4 if kind == "h3" else 1  # the sound's latents are that much larger while they are sampled
    held = torch.zeros(noise[1].shape[axis])
    spans = [span(kind, clock, start, window, noise[1].shape[axis]) for start in starts]
    for first, last in spans:
        held[first:last] += 1
    assert held.min() == 1 and held.max() >= 2
    for call, (first, last) in zip(spy.calls, spans, strict=True):
        x0 = (noise[1].narrow(axis, first, last - first) - call["said"][1]) / carried
        alone = held[first:last] == 1
        own = made[1].narrow(axis, first, last - first)
        assert_close(own.movedim(axis, 0)[alone], x0.movedim(axis, 0)[alone], atol=2e-4, rtol=1e-3)


def clock_of(kind, length):
    """Where the latent frames of a video begin in its sound."""
    frames = [combined.frames_of(kind, index) if index else 0 for index in range(length + 1)]
    if kind == "h3":
        return [5 / 3 * count for count in frames]
    sound = combined.sound_of(kind, length)
    return [index * sound / length for index in range(length + 1)]


def span(kind, clock, start, window, sound):
    if kind == "ltx":
        return round(clock[start]), round(clock[start + window])
    size = round(clock[start + window] - clock[start])
    first = sound - size if start + window == len(clock) - 1 else round(clock[start])
    return first, first + size


@each_kind
def test_sound_that_windows_share_is_heard_of_both(kind):
    """Two constant sounds, a low and a high one, are faded into each other, and nothing of them is lost."""
    model = combined.model(kind)
    length, window = (12, 8) if kind == "ltx" else (27, 17)
    network = model.model.diffusion_model
    forward, said = network.forward, []

    def constant(x, *args, **given):
        out = forward(x, *args, **given)
        said.append(len(said))
        return [torch.zeros_like(out[0]), torch.full_like(out[1], -1.0 if len(said) % 2 else -3.0)]

    network.forward = constant
    overlap = 24 if kind == "ltx" else 22
    frames = combined.frames_of(kind, window)
    options = {"window": frames, "overlap": overlap, "steps": 1, "cfg": 1.0, "per_forward": 1}
    made = ours(kind, model, combined.latent(kind, length), **options)[1]
    axis = {"ltx": 2, "h3": 3}[kind]
    noise = comfy.sample.prepare_noise(combined.latent(kind, length)["samples"], 7).unbind()[1]
    carried = 4 if kind == "h3" else 1  # the sound's latents are that much larger while they are sampled
    track = (carried * made - noise).movedim(axis, -1).flatten(0, -2).mean(0)
    low, high = track[0], track[-1]
    assert (high - low).abs() > 1
    share = (track - low) / (high - low)
    assert (share.diff() > -0.02).all()  # rising, but for what the sound's power adds
    assert ((share > 0.05) & (share < 0.95)).sum() >= 8


@pytest.fixture
def h3():
    return combined.model("h3")


def refs():
    generator = torch.Generator().manual_seed(5)
    picture, speech = torch.randn(1, 24, 1, 4, 4, generator=generator), torch.randn(1, 32, 2, 9, generator=generator)
    return [
        {"kind": "image", "latent_h": 4, "latent_w": 4, "latent": picture},
        {"kind": "audio", "ref_audio_t": 9, "audio_latent": speech},
    ]


def keyframes(length):
    """An image at the start, a clip of 22 frames with sound in the middle, and an image at the end."""
    generator = torch.Generator().manual_seed(6)

    def video(count):
        return torch.randn(1, 24, count, 4, 4, generator=generator)

    middle = {"resolved_frame_index": 140, "latent": video(7), "audio_latent": torch.randn(1, 32, 2, 36)}
    last = combined.frames_of("h3", length) - 1
    return [
        {"resolved_frame_index": 0, "latent": video(1)}, middle, {"resolved_frame_index": last, "latent": video(1)},
    ]  # fmt: skip


@pytest.mark.parametrize("with_references", [False, True])
def test_windows_of_h3_are_told_their_place_in_the_whole_video(h3, with_references):
    """87 latent frames, windows of 32 at multiples of 15 (core #15982). The oracle is the host's layout of all."""
    from comfy.ldm.minimax.model import PackedLayout

    extras = {"minimax_keyframes": keyframes(87)} | ({"minimax_refs": refs()} if with_references else {})
    positive = combined.text("h3", 1, **extras)
    spy = combined.Spy(h3)
    ours("h3", h3, combined.latent("h3", 87), window=107, overlap=56, steps=1, positive=positive)
    sound = combined.sound_of("h3", 87)
    whole = PackedLayout(8, 87, 4, 4, sound, extras["minimax_keyframes"], extras.get("minimax_refs"))

    def of(layout, kind):
        return [layout.position_ids[first:last] for first, last, each in layout.segments if each == kind]

    starts = [0, 15, 30, 45, 55]
    assert len(spy.calls) == len(starts)
    for call, start in zip(spy.calls, starts, strict=True):
        payload = call["minimax_payload"]
        layout = payload["layout"]
        assert layout.signature == (8, 32, 4, 4, 178)
        torch.testing.assert_close(of(layout, "video")[0], of(whole, "video")[0][4 * start : 4 * (start + 32)])
        first = sound - 178 if start == 55 else round(combined.frames_of("h3", start) * 5 / 3) if start else 0
        left, right = of(whole, "audio")[0].chunk(2)
        torch.testing.assert_close(
            of(layout, "audio")[0], torch.cat([left[first : first + 178], right[first : first + 178]])
        )
        begin = combined.frames_of("h3", start) if start else 0
        held = [
            number
            for number, frame in enumerate(extras["minimax_keyframes"])
            if frame["resolved_frame_index"] < begin + 107
            and frame["resolved_frame_index"] + (22 if number == 1 else 1) > begin
        ]
        assert [frame["resolved_frame_index"] for frame in payload["keyframes"]] == [
            extras["minimax_keyframes"][number]["resolved_frame_index"] - begin for number in held
        ]
        for kept, number in zip(of(layout, "cond"), held, strict=True):
            torch.testing.assert_close(kept, of(whole, "cond")[number])
        for kept in of(layout, "cond_audio"):
            torch.testing.assert_close(kept, of(whole, "cond_audio")[0])
        given = [extras["minimax_keyframes"][number]["latent"] for number in held]
        given += [refs()[0]["latent"]] if with_references else []
        assert all(torch.equal(one, other) for one, other in zip(payload["cond_video_latents"], given, strict=True))
        voices = [frame for number, frame in enumerate(extras["minimax_keyframes"]) if number in held and number == 1]
        assert len(payload["cond_audio_latents"]) == len(voices) + with_references
        if with_references:
            assert len(payload["refs"]) == 2
            torch.testing.assert_close(of(layout, "ref_img")[0], of(whole, "ref_img")[0])
            torch.testing.assert_close(of(layout, "ref_audio")[0], of(whole, "ref_audio")[0])


def test_the_timesteps_of_h3_are_those_of_known_latents_in_the_window(h3):
    """The first 22 frames and their sound are known: a window that begins behind them is told of none."""
    spy = combined.Spy(h3)
    latent = combined.latent("h3", 37)
    masks = [torch.ones(1, 1, 37, 4, 4), torch.ones(1, 1, 2, combined.sound_of("h3", 37))]
    masks[0][:, :, :7], masks[1][..., :37] = 0, 0
    latent["noise_mask"] = combined.nested(*masks)["samples"]
    ours("h3", h3, latent, window=56, overlap=22, steps=1)
    heard = []
    for call in spy.calls:
        mask = call.get("denoise_mask")
        heard.append(None if mask is None else mask[0, 0, :, 0, 0].tolist())
        assert call["streams"][0].shape[2] == 17 and (mask is None or mask.shape[2] == 17)
        voice = call.get("audio_denoise_mask")
        assert voice is None or voice.shape[-1] == call["streams"][1].shape[-1]
    assert heard[0] == [0.0] * 7 + [1.0] * 10
    assert all(row is None or row == [1.0] * 17 for row in heard[1:])


@each_kind
def test_prompts_of_a_timeline(kind):
    """Each window is denoised with the prompts that it sees; with one prompt for all it is as without a timeline."""
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    class Clip:
        def tokenize(self, prompt):
            return sum(map(ord, prompt))

        def encode_from_tokens_scheduled(self, tokens):
            return combined.text(kind, tokens)

    model = combined.model(kind)
    length, window = (20, 8) if kind == "ltx" else (37, 17)
    frames, overlap = combined.frames_of(kind, length), 22
    options = {"window": combined.frames_of(kind, window), "overlap": overlap, "schedule": "shifted"}

    def scheduled(words):
        positive = MultiPromptSchedule.execute(Clip(), words, frames, 24.0, "linear", 16.0).args[0]
        return ours(kind, model, combined.latent(kind, length), positive=positive, **options)

    plain = ours(kind, model, combined.latent(kind, length), positive=combined.text(kind, ord("a")), **options)
    for one, other in zip(scheduled("a | a"), plain, strict=True):
        assert_close(one, other, atol=1e-4, rtol=1e-3)
    changed = scheduled("a | b")
    axes = (2, 2) if kind == "ltx" else (2, 3)
    for one, other, axis in zip(changed, plain, axes, strict=True):
        far = (one - other).abs().movedim(axis, 0).flatten(1).amax(1)
        assert far[-1] > 1e-3 and far[-1] > 5 * far[0]


def test_windows_of_ltx_2_share_forward_passes():
    """21 latent frames of 25 sounds a second: windows of other lengths of sound are not put together."""
    one, many = combined.model("ltx"), combined.model("ltx")
    options = {"window": 57, "overlap": 24, "steps": 2, "schedule": "shifted"}
    spies = combined.Spy(one), combined.Spy(many)
    apart = ours("ltx", one, combined.latent("ltx", 23), per_forward=1, **options)
    together = ours("ltx", many, combined.latent("ltx", 23), per_forward=4, **options)
    for left, right in zip(apart, together, strict=True):
        assert_close(left, right, atol=1e-4, rtol=1e-3)
    assert len(spies[1].calls) < len(spies[0].calls)
    batch = ours("ltx", one, combined.latent("ltx", 23, batch=2), **options)
    assert batch[0].shape[0] == batch[1].shape[0] == 2


@each_kind
def test_a_latent_that_stays_off_the_device_is_made_the_same(kind):
    options = {"window": combined.frames_of(kind, 7), "overlap": 8, "steps": 2, "schedule": "shifted"}
    length = 12 if kind == "h3" else 15
    made = [
        ours(kind, combined.model(kind), combined.latent(kind, length), offload_latent=offload, **options)
        for offload in (False, True)
    ]
    for one, other in zip(*made, strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-4)


@each_kind
@pytest.mark.parametrize("noise", ["stable", "shuffled", "mixed", "repeated"])
def test_long_noise_is_made_for_every_stream(kind, noise):
    from long_video_pack.nodes.long_noise import LongNoise

    model, latent = combined.model(kind), combined.latent(kind, 12)
    node = LongNoise.execute(model, 3, noise, 0.5, 39, 8).args[0]
    made, again = node.generate_noise(latent).unbind(), node.generate_noise(latent).unbind()
    assert [each.shape for each in made] == [each.shape for each in latent["samples"].unbind()]
    for one, other in zip(made, again, strict=True):
        assert torch.equal(one, other) and 0.8 < one.std() < 1.2
    size = min(each.numel() for each in made)
    assert not torch.equal(made[0].flatten()[:size], made[1].flatten()[:size])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"closed_loop": True}, "closed_loop is on, but windows of this model must be neighbouring latent frames"),
        ({"start_image": "every_window"}, "start_image is every_window, but windows of this model"),
        ({"stride": 2}, "stride is 2, but windows of this model"),
    ],
)
def test_what_h3_cannot_do_is_refused_before_the_first_pass(h3, options, words):
    spy = combined.Spy(h3)
    with pytest.raises(ValueError, match=words):
        ours("h3", h3, combined.latent("h3", 37), window=56, overlap=22, **options)
    assert not spy.calls


def test_texts_of_h3_are_not_mixed(h3):
    """Two texts of other lengths: the layout of one does not fit the mix."""
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    class Clip:
        def tokenize(self, prompt):
            return prompt

        def encode_from_tokens_scheduled(self, tokens):
            return combined.text("h3", len(tokens), tokens=len(tokens))

    positive = MultiPromptSchedule.execute(Clip(), "one | another", 124, 24.0, "linear", 16.0).args[0]
    options = {"window": 56, "overlap": 22, "positive": positive, "steps": 1}
    spy = combined.Spy(h3)
    for blending in ("embeddings", "embeddings_spherical"):
        with pytest.raises(ValueError, match=rf"{blending}, and MiniMax H3 cannot .*Set prompt_blending to pred"):
            ours("h3", h3, combined.latent("h3", 37), prompt_blending=blending, **options)
    assert not spy.calls
    for blending in ("predictions", "one_per_window"):
        ours("h3", h3, combined.latent("h3", 37), prompt_blending=blending, **options)
    assert {call["minimax_payload"]["layout"].signature[0] for call in spy.calls} == {3, 7}
    assert all(call["context"].shape[1] == call["minimax_payload"]["layout"].signature[0] for call in spy.calls)


def test_latents_that_do_not_fit_are_named(wan):
    with pytest.raises(ValueError, match=r"combines 2 streams, but this model's latents .* are video alone"):
        tiny.co_denoise(wan, combined.latent("ltx", 12))
    model = combined.model("ltx")
    wrong = combined.nested(torch.zeros(1, 24, 12, 4, 4), torch.zeros(1, 8, 89, 16))
    with pytest.raises(ValueError, match=r"24 channels, but this model's latents .* have 128"):
        ours("ltx", model, wrong)
    masked = combined.text("ltx", 1, mask=torch.ones(1, 4, 4), mask_strength=1.0)
    spy = combined.Spy(model)
    with pytest.raises((ValueError, IndexError)):  # older hosts fail on it themselves
        ours("ltx", model, combined.latent("ltx", 12), window=57, overlap=8, positive=masked)
    assert not spy.calls
