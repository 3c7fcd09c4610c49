"""StreamingExtend on latents of video and sound: each chunk goes on from the end of both."""

import os

import combined
import comfy.model_patcher
import folder_paths
import pytest
import tiny
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.every_host
each_kind = pytest.mark.parametrize("kind", ["ltx", "h3"])
#: In latent frames: a chunk, what it knows, and three chunks of it.
CHUNK, OVERLAP, LENGTH = {"ltx": 6, "h3": 17}, {"ltx": 2, "h3": 7}, {"ltx": 14, "h3": 37}
AXIS = {"ltx": 2, "h3": 3}


@pytest.fixture(autouse=True)
def _only_what_the_host_has(request):
    kind = getattr(request.node, "callspec", None) and request.node.callspec.params.get("kind")
    if (kind == "h3" or "h3" in request.node.originalname) and not combined.HAS_H3:
        pytest.skip("this ComfyUI has no MiniMax H3")


def texts(kind, **extras):
    """A positive and a negative CONDITIONING, at 24 frames a second."""
    return {
        "positive": combined.text(kind, 1, frame_rate=24, **extras),
        "negative": combined.text(kind, 0, frame_rate=24, **extras),
    }


def extend(kind, model, latent=None, *, length=None, **options):
    """StreamingExtend: its streams and its report; ``length`` in latent frames."""
    from long_video_pack.nodes.streaming_extend import StreamingExtend

    if latent is None and "width" not in options:
        latent = combined.latent(kind, CHUNK[kind])
    defaults = {
        **texts(kind), "seed": 5, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple",
        "chunk": combined.frames_of(kind, CHUNK[kind]), "overlap": {"ltx": 16, "h3": 22}[kind], "run_name": "",
        "length": combined.frames_of(kind, length or LENGTH[kind]),
    }  # fmt: skip
    samples, report = StreamingExtend.execute(model, latent=latent, **{**defaults, **options}).args[:2]
    return list(samples["samples"].unbind()), report


def hosts(kind, model, latent, chunk, **options):
    """The host's KSampler with the seed of a chunk."""
    from long_video_pack.glv_core.streaming import chunk_seed

    options = {"steps": 2, "cfg": 1.0, **texts(kind), **options}
    return list(tiny.ksampler(model, latent, seed=chunk_seed(5, chunk), **options).unbind())


def starts(kind):
    """Where chunks begin, in latent frames."""
    return range(0, LENGTH[kind] - OVERLAP[kind], CHUNK[kind] - OVERLAP[kind])


def sound_span(kind, start, length=None):
    """The elements of a chunk's sound: as many as of any clip of its length, to the end of its last frame."""
    length = length or CHUNK[kind]
    stop = combined.sound_of(kind, start + length)
    return stop - combined.sound_of(kind, length), stop


def chunk_latent(kind, streams, start):
    """The LATENT of a chunk: what is known of a video at its beginning, with a mask, and nothing behind that."""
    video, sound = streams
    latent = combined.latent(kind, CHUNK[kind])
    samples, masks = latent["samples"].unbind(), [torch.ones_like(each) for each in latent["samples"].unbind()]
    first, _ = sound_span(kind, start)
    known = combined.sound_of(kind, start + OVERLAP[kind]) - first
    samples[0][:, :, : OVERLAP[kind]] = video[:, :, start : start + OVERLAP[kind]]
    samples[1].narrow(AXIS[kind], 0, known).copy_(sound.narrow(AXIS[kind], first, known))
    masks[0][:, :, : OVERLAP[kind]] = 0
    masks[1].narrow(AXIS[kind], 0, known).zero_()
    return {**combined.nested(*samples), "noise_mask": combined.nested(*masks)["samples"]}, known


@each_kind
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "uni_pc"])
def test_one_chunk_is_bit_identical_to_ksampler_in_every_stream(kind, sampler):
    model, latent = combined.model(kind), combined.latent(kind, CHUNK[kind])
    cfg = 3.0 if kind == "ltx" else 1.0
    made, report = extend(kind, model, latent, length=CHUNK[kind], sampler_name=sampler, cfg=cfg)
    expected = hosts(kind, model, latent, 0, sampler=sampler, cfg=cfg)
    assert len(made) == len(expected) == 2 and "1 chunks" in report
    assert all(torch.equal(one, other) for one, other in zip(made, expected, strict=True))


@each_kind
def test_every_chunk_is_what_ksampler_makes_of_the_end_of_the_one_before(kind):
    """The oracle masks what is known in a LATENT of the chunk's own length and samples it with the host's KSampler."""
    model = combined.model(kind)
    video, sound = made = extend(kind, model)[0]
    assert video.shape[2] == LENGTH[kind] and sound.shape[AXIS[kind]] == combined.sound_of(kind, LENGTH[kind])
    assert all(each.isfinite().all() for each in made)
    for number, start in enumerate(starts(kind)):
        if number == 0:
            expected, known, overlap = hosts(kind, model, combined.latent(kind, CHUNK[kind]), 0), 0, 0
        else:
            latent, known = chunk_latent(kind, made, start)
            expected, overlap = hosts(kind, model, latent, number), OVERLAP[kind]
        first, last = sound_span(kind, start)
        assert torch.equal(video[:, :, start + overlap : start + CHUNK[kind]], expected[0][:, :, overlap:])
        new = sound.narrow(AXIS[kind], first + known, last - first - known)
        assert torch.equal(new, expected[1].narrow(AXIS[kind], known, last - first - known))
        assert known > 5 or number == 0


@each_kind
def test_the_network_is_told_what_is_known_of_each_stream(kind):
    model = combined.model(kind)
    spy = combined.Spy(model)
    video, sound = extend(kind, model, steps=1)[0]
    assert len(spy.calls) == len(starts(kind)) == 3
    for number, (call, start) in enumerate(zip(spy.calls, starts(kind), strict=True)):
        masks = [call.get("denoise_mask"), call.get("audio_denoise_mask")]
        shown, heard = call["streams"]
        first, last = sound_span(kind, start)
        assert shown.shape[2] == CHUNK[kind] and heard.shape[AXIS[kind]] == last - first
        if number == 0:
            assert masks == [None, None]
            continue
        known = combined.sound_of(kind, start + OVERLAP[kind]) - first
        # At a noise level of 1; H3 is shown what is known of the video with a thousandth of noise.
        assert_close(shown[:, :, : OVERLAP[kind]], video[:, :, start : start + OVERLAP[kind]], atol=0.02, rtol=0)
        assert_close(heard.narrow(AXIS[kind], 0, known), sound.narrow(AXIS[kind], first, known), atol=1e-5, rtol=1e-5)
        open_video = masks[0].movedim(2, 0).flatten(1)
        assert open_video.amax(1).tolist() == open_video.amin(1).tolist()
        assert open_video.amax(1).tolist() == [0.0] * OVERLAP[kind] + [1.0] * (CHUNK[kind] - OVERLAP[kind])
        open_sound = masks[1].movedim(AXIS[kind], 0).flatten(1)
        assert open_sound.amax(1).tolist() == [0.0] * known + [1.0] * (last - first - known)


@each_kind
def test_a_given_video_is_extended_with_its_sound(kind):
    model = combined.model(kind)
    streams = [torch.randn(each.shape) for each in combined.latent(kind, CHUNK[kind])["samples"].unbind()]
    video, sound = extend(kind, model, combined.nested(*streams), length=LENGTH[kind])[0]
    assert torch.equal(video[:, :, : CHUNK[kind]], streams[0])
    assert torch.equal(sound.narrow(AXIS[kind], 0, combined.sound_of(kind, CHUNK[kind])), streams[1])
    start = CHUNK[kind] - OVERLAP[kind]
    latent, known = chunk_latent(kind, (video, sound), start)
    expected = hosts(kind, model, latent, 0)
    assert torch.equal(video[:, :, CHUNK[kind] : start + CHUNK[kind]], expected[0][:, :, OVERLAP[kind] :])
    first, last = sound_span(kind, start)
    assert torch.equal(
        sound.narrow(AXIS[kind], first + known, last - first - known),
        expected[1].narrow(AXIS[kind], known, last - first - known),
    )
    short = extend(kind, model, combined.nested(*streams), length=OVERLAP[kind])[0]
    assert short[1].shape[AXIS[kind]] == combined.sound_of(kind, OVERLAP[kind])


def test_h3_goes_on_from_a_video_of_any_length():
    """Of 10 latent frames, with an overlap of 7, a chunk on the grid of 5 knows all."""
    kind, model = "h3", combined.model("h3")
    spy = combined.Spy(model)
    streams = [torch.randn(1, 24, 10, 4, 4), torch.randn(1, 32, 2, 57)]
    video, sound = extend(kind, model, combined.nested(*streams), length=17, steps=1)[0]
    assert torch.equal(video[:, :, :10], streams[0]) and torch.equal(sound[..., :57], streams[1])
    [call] = spy.calls
    assert call["denoise_mask"][0, 0, :, 0, 0].tolist() == [0.0] * 10 + [1.0] * 7
    assert call["audio_denoise_mask"][0, 0, 0].tolist() == [0.0] * 57 + [1.0] * 36


@each_kind
def test_a_masked_first_frame_is_kept_and_all_sound_is_made(kind):
    """As the hosts' image-to-video nodes make it: the first latent frame is an image, and there is no sound yet."""
    model, latent = combined.model(kind), combined.latent(kind, CHUNK[kind])
    streams = latent["samples"].unbind()
    streams[0][:, :, :1] = torch.randn(streams[0][:, :, :1].shape)
    masks = [torch.ones_like(each) for each in streams]
    masks[0][:, :, :1] = 0
    latent["noise_mask"] = combined.nested(*masks)["samples"]
    made = extend(kind, model, latent, length=CHUNK[kind])[0]
    expected = hosts(kind, model, latent, 0)
    assert torch.equal(made[0][:, :, :1], streams[0][:, :, :1])
    assert torch.equal(made[0][:, :, 1:], expected[0][:, :, 1:])
    assert torch.equal(made[1], expected[1])


@each_kind
@pytest.mark.parametrize("image", [0, 1])
def test_sound_that_is_there_is_kept_and_the_video_is_made_to_it(kind, image):
    """A whole sound, and no video or an image to begin with; the oracle is the host's KSampler with the masks."""
    model, latent = combined.model(kind), combined.latent(kind, LENGTH[kind])
    video, sound = latent["samples"].unbind()
    sound.copy_(torch.randn(sound.shape))
    if image:
        video[:, :, :1] = torch.randn(video[:, :, :1].shape)
        masks = [torch.ones_like(video), torch.zeros_like(sound)]
        masks[0][:, :, :1] = 0
        latent["noise_mask"] = combined.nested(*masks)["samples"]
    spy = combined.Spy(model)
    made = extend(kind, model, latent)[0]
    assert torch.equal(made[1], sound) and torch.equal(made[0][:, :, :image], video[:, :, :image])
    heard = [call["audio_denoise_mask"].amax() for call in spy.calls]
    last_stop = sound_span(kind, starts(kind)[-1])[1]
    assert last_stop == sound.shape[AXIS[kind]] and heard == [0] * len(heard)
    for number, start in enumerate(starts(kind)):
        first, last = sound_span(kind, start)
        alone = combined.latent(kind, CHUNK[kind])
        shown, heard = alone["samples"].unbind()
        heard.copy_(sound.narrow(AXIS[kind], first, last - first))
        known = image if number == 0 else OVERLAP[kind]
        shown[:, :, :known] = made[0][:, :, start : start + known]
        masks = [torch.ones_like(shown), torch.zeros_like(heard)]
        masks[0][:, :, :known] = 0
        expected = hosts(kind, model, {**alone, "noise_mask": combined.nested(*masks)["samples"]}, number)
        assert torch.equal(made[0][:, :, start + known : start + CHUNK[kind]], expected[0][:, :, known:])


class Voice:
    """A stand-in for an audio VAE of both hosts: encoding what was decoded gives half of the latents and one."""

    sample_rate = output_sample_rate = audio_sample_rate = 16000

    def __init__(self, kind, number=0):
        self.latent_channels = combined.latent(kind, 2)["samples"].unbind()[1].shape[1]
        self.first_stage_model = self
        self.decoded = []
        self.network = torch.nn.Linear(2, 2)
        with torch.no_grad():
            self.network.weight.fill_(number)
            self.network.bias.zero_()
        cpu = torch.device("cpu")
        self.patcher = comfy.model_patcher.ModelPatcher(self.network, cpu, cpu)

    def spacial_compression_encode(self):
        return 1

    def decode(self, latents):
        self.decoded.append(latents.clone())
        time = 2 if latents.shape[1] == 8 else 3
        self.others = latents.movedim(time, -1).shape[1:-1]
        self.time = time
        waveform = latents.movedim(time, -1).flatten(1, -2)  # b channels samples
        return waveform.movedim(1, -1) if combined.HAS_H3 else waveform  # newer hosts have their VAE around it

    def encode(self, audio):
        waveform = audio["waveform"] if isinstance(audio, dict) else audio.movedim(-1, 1)
        return (waveform.unflatten(1, self.others).movedim(-1, self.time) / 2 + 1).contiguous()


@each_kind
def test_sound_is_handed_on_as_a_waveform(kind):
    model, voice = combined.model(kind), Voice(kind)
    spy = combined.Spy(model)
    made, report = extend(kind, model, steps=1, audio_vae=voice)
    sound = made[1]
    assert "a waveform" in report and len(voice.decoded) == 2
    for number, start in enumerate(list(starts(kind))[1:]):
        first, _ = sound_span(kind, start)
        stop = combined.sound_of(kind, start + OVERLAP[kind])
        # What is decoded begins before the chunk, by what its VAE looks at, or where the video does.
        assert torch.equal(
            voice.decoded[number], sound.narrow(AXIS[kind], max(0, first - 50), stop - max(0, first - 50))
        )
        heard = spy.calls[number + 1]["streams"][1].narrow(AXIS[kind], 0, stop - first)
        assert_close(heard, sound.narrow(AXIS[kind], first, stop - first) / 2 + 1, atol=1e-5, rtol=1e-5)
    plain, report = extend(kind, combined.model(kind), steps=1)
    assert "its latents" in report
    first_chunk = combined.sound_of(kind, CHUNK[kind])
    assert torch.equal(plain[1].narrow(AXIS[kind], 0, first_chunk), sound.narrow(AXIS[kind], 0, first_chunk))
    assert not torch.equal(plain[1], sound)


@each_kind
def test_sound_goes_through_the_host_s_own_audio_vaes(kind):
    """What they make of an element depends on what is near it: none is moved, and where it all begins is not heard."""
    from long_video_pack.glv_core.hosts.comfy.streaming.sound import MARGIN, SoundAgain

    axis = AXIS[kind]
    sound = torch.randn(combined.latent(kind, 50)["samples"].unbind()[1].shape)
    again = SoundAgain(combined.audio_vae(kind), sound.shape[1])
    first, known, far = 150, 37, sound.shape[axis]
    assert far > first + known

    def known_part(before):
        return again(sound.narrow(axis, first - before, before + known), before, axis)

    def apart(one, other):
        return (one - other).abs().mean()

    with_margin, count = known_part(MARGIN), known - 12  # close to the end both hear that it ends
    assert with_margin.shape == sound.narrow(axis, first, known).shape and with_margin.isfinite().all()
    assert apart(with_margin, known_part(first)) < 0.05 * apart(with_margin, known_part(0))
    later = again(sound.narrow(axis, first - MARGIN + 1, MARGIN + known), MARGIN, axis)
    aligned = apart(later.narrow(axis, 0, count), with_margin.narrow(axis, 1, count))
    assert aligned < 0.2 * apart(later.narrow(axis, 0, count), with_margin.narrow(axis, 0, count))


@each_kind
def test_finished_chunks_are_found_again_with_their_sound(kind):
    base = os.path.join(folder_paths.get_output_directory(), "long_video_runs", f"sound {kind}")
    options = {"run_name": f"sound {kind}"}

    def run(**changed):
        streams, report = extend(kind, combined.model(kind), **{**options, **changed})
        return streams, int(report.split(" chunks were found")[0].rsplit(" ", 1)[1])

    first, found = run()
    assert found == 0
    again, found = run()
    assert found == 3 and all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    [last] = [name for name in os.listdir(base) if name.startswith("chunk_00002") and name.endswith(".safetensors")]
    os.remove(os.path.join(base, last))
    again, found = run()
    assert found == 2 and all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    longer, found = run(length=LENGTH[kind] + CHUNK[kind] - OVERLAP[kind])
    assert found == 3 and torch.equal(longer[0][:, :, : LENGTH[kind]], first[0])
    assert run(audio_vae=Voice(kind))[1] == 1  # the first knows no sound
    assert run(audio_vae=Voice(kind))[1] == 3
    assert run(audio_vae=Voice(kind, 1))[1] == 1
    assert run()[1] == 3


@pytest.mark.parametrize(
    ("length", "chunk", "overlap", "changed", "lengths"),
    [
        (124, 50, 16, "chunk 50 is 56, overlap 16 is 22", [17, 17, 17]),
        (100, 22, 20, "length 100 is 107, overlap 20 is 5", [7] * 6),
        (56, 56, 30, "overlap 30 is 22", [17]),
    ],
)
def test_sizes_are_what_h3_can_make_and_the_report_says_so(length, chunk, overlap, changed, lengths):
    from long_video_pack.nodes.streaming_extend import StreamingExtend

    model = combined.model("h3")
    spy = combined.Spy(model)
    latent, report, _ = StreamingExtend.execute(
        model, length=length, chunk=chunk, overlap=overlap, latent=combined.latent("h3", 2), seed=5, steps=1, cfg=1.0,
        sampler_name="euler", scheduler="simple", run_name="", **texts("h3"),
    ).args  # fmt: skip
    video, sound = latent["samples"].unbind()
    assert combined.frames_of("h3", video.shape[2]) == -(-(length - 5) // 17) * 17 + 5
    assert sound.shape[3] == combined.sound_of("h3", video.shape[2])
    assert f"in frames: {changed}." in report
    assert [call["streams"][0].shape[2] for call in spy.calls] == lengths


def keyframe(frame, seed, frames=1, **more):
    generator = torch.Generator().manual_seed(seed)
    return {"resolved_frame_index": frame, "latent": torch.randn(1, 24, frames, 4, 4, generator=generator), **more}


def test_keyframes_of_h3_go_to_the_chunks_that_hold_them():
    kind, model = "h3", combined.model("h3")
    spy = combined.Spy(model)
    reference = [{"kind": "image", "latent_h": 4, "latent_w": 4, "latent": torch.randn(1, 24, 1, 4, 4)}]
    # Chunks of 56 frames at 0, 34 and 68. The third is a clip of 39 frames that begins before the third chunk.
    sound = torch.randn(1, 32, 2, 65)
    frames = [keyframe(0, 1), keyframe(40, 2), keyframe(60, 3, 12, audio_latent=sound), keyframe(123, 4)]
    extras = {"minimax_keyframes": frames, "minimax_refs": reference}
    positive = combined.text(kind, 1, **extras)
    extend(kind, model, steps=1, positive=positive)
    assert [frame["resolved_frame_index"] for frame in frames] == [0, 40, 60, 123]
    shown = [call["minimax_payload"] for call in spy.calls]
    assert [[frame["resolved_frame_index"] for frame in each["keyframes"]] for each in shown] == [
        [0, 40], [6, 26], [9, 55],
    ]  # fmt: skip
    assert torch.equal(shown[1]["keyframes"][1]["latent"], frames[2]["latent"])
    clip = shown[2]["keyframes"][0]  # without the 17 frames in which the chunk begins
    assert torch.equal(clip["latent"], frames[2]["latent"][:, :, 5:])
    assert torch.equal(clip["audio_latent"], sound[..., 28:])
    assert all(
        each["refs"] is not None and torch.equal(each["refs"][0]["latent"], reference[0]["latent"]) for each in shown
    )


def test_another_last_keyframe_of_h3_redoes_the_last_chunk():
    kind = "h3"

    def run(last):
        extras = {"minimax_keyframes": [keyframe(0, 1), keyframe(123, last)]}
        _, report = extend(kind, combined.model(kind), positive=combined.text(kind, 1, **extras), run_name="keyframes")
        return int(report.split(" chunks were found")[0].rsplit(" ", 1)[1])

    assert [run(4), run(4), run(5)] == [0, 3, 2]


def timeline(kind, text):
    """Prompts of a whole video."""
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    class Clip:
        def tokenize(self, prompt):
            return sum(map(ord, prompt))

        def encode_from_tokens_scheduled(self, tokens):
            return combined.text(kind, tokens, frame_rate=24)

    frames = combined.frames_of(kind, LENGTH[kind])
    return MultiPromptSchedule.execute(Clip(), text, frames, 24.0, "hard", 16.0).args[0]


@each_kind
def test_prompts_follow_the_timeline(kind):
    late = combined.frames_of(kind, LENGTH[kind] - 3)

    def run(text):
        return extend(kind, combined.model(kind), positive=timeline(kind, text), steps=1)[0]

    same, changed = run("0: a"), run(f"0: a\n{late}: b")
    until = starts(kind)[2] + OVERLAP[kind]  # the last chunk sees both
    assert torch.equal(same[0][:, :, :until], changed[0][:, :, :until])
    assert (same[0][:, :, -1] - changed[0][:, :, -1]).abs().max() > 1e-3
    heard = combined.sound_of(kind, until)
    assert torch.equal(same[1].narrow(AXIS[kind], 0, heard), changed[1].narrow(AXIS[kind], 0, heard))
    assert not torch.equal(same[1], changed[1])


@each_kind
def test_a_chunk_in_windows(kind):
    model = combined.model(kind)
    spy = combined.Spy(model)
    window, chunk, length = (4, 8, 12) if kind == "ltx" else (17, 37, 67)
    (video, sound), _ = extend(
        kind, model, steps=1, length=length, chunk=combined.frames_of(kind, chunk), schedule="static",
        window=combined.frames_of(kind, window), window_overlap={"ltx": 8, "h3": 22}[kind],
    )  # fmt: skip
    assert {call["streams"][0].shape[2] for call in spy.calls} == {window}
    assert video.shape[2] == length and sound.shape[AXIS[kind]] == combined.sound_of(kind, length)
    assert all(each.isfinite().all() for each in (video, sound))


@each_kind
def test_a_second_model_makes_the_last_steps_of_both_streams(kind):
    """The same model twice goes on as one does; another one for the last steps changes both streams."""
    options = {"steps": 4, "length": CHUNK[kind] * 2 - OVERLAP[kind]}
    one = extend(kind, combined.model(kind), **options)[0]
    two = extend(kind, combined.model(kind), low_noise_model=combined.model(kind), switch_at_step=2, **options)[0]
    for alone, together in zip(one, two, strict=True):
        assert_close(together, alone, atol=2e-3, rtol=1e-2)
    other = combined.model(kind)
    with torch.no_grad():
        for weight in other.model.diffusion_model.parameters():
            weight.mul_(0.5)
    changed = extend(kind, combined.model(kind), low_noise_model=other, switch_at_step=2, **options)[0]
    assert all((left - right).abs().max() > 0.05 for left, right in zip(one, changed, strict=True))


@each_kind
def test_drift_is_drawn_back_in_the_video(kind):
    model = combined.model(kind)
    free, drawn = (extend(kind, model, drift_correction=strength)[0] for strength in (0.0, 1.0))
    two = starts(kind)[1] + CHUNK[kind]
    assert not torch.equal(free[0][:, :, :two], drawn[0][:, :, :two])
    heard = combined.sound_of(kind, two)
    assert torch.equal(free[1].narrow(AXIS[kind], 0, heard), drawn[1].narrow(AXIS[kind], 0, heard))


def test_an_anchor_of_ltx_2_is_a_guide_in_the_past():
    kind, model = "ltx", combined.model("ltx")
    spy = combined.Spy(model)
    (video, sound), _ = extend(kind, model, steps=1, anchor="first")
    assert [call["streams"][0].shape[2] for call in spy.calls] == [6, 7, 7]
    for call in spy.calls[1:]:
        assert_close(call["streams"][0][:, :, -1], video[:, :, 0], atol=1e-5, rtol=1e-5)
        assert call["keyframe_idxs"][0, 0].unique().tolist() == [-48, -40]
    assert video.shape[2] == 14 and sound.shape[2] == combined.sound_of(kind, 14)


def test_every_prompt_of_a_timeline_sees_the_anchor_of_ltx_2():
    model = combined.model("ltx")
    spy = combined.Spy(model)
    (video, _), _ = extend("ltx", model, steps=1, anchor="first", positive=timeline("ltx", "0: a\n60: b"))
    assert [call["streams"][0].shape[2] for call in spy.calls] == [6, 7, 7]
    assert [call["streams"][0].shape[0] for call in spy.calls] == [1, 2, 1]  # the second chunk sees both prompts
    for call in spy.calls[1:]:
        shown = call["streams"][0][:, :, -1]
        assert_close(shown, video[:, :, 0].expand_as(shown), atol=1e-5, rtol=1e-5)
        assert call["keyframe_idxs"][0, 0].unique().tolist() == [-48, -40]


def test_an_anchor_is_no_condition_of_h3():
    model = combined.model("h3")
    one, report = extend("h3", model, anchor="first")
    other, _ = extend("h3", model)
    assert "steers drift correction only" in report
    assert all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


def test_h3_makes_sound_with_a_video_of_which_only_the_size_is_known():
    model = combined.model("h3")
    made, _ = extend("h3", model, width=64, height=64, length=17)
    expected = hosts("h3", model, combined.latent("h3", 17), 0)
    assert all(torch.equal(one, other) for one, other in zip(made, expected, strict=True))
    alone, _ = extend("h3", model, {"samples": torch.zeros(1, 24, 17, 4, 4)}, length=17)
    assert all(torch.equal(one, other) for one, other in zip(alone, expected, strict=True))


def test_h3_begins_with_an_image():
    import rows_parts

    model = combined.model("h3")
    vae = rows_parts.Vae(24, 16, 4)
    vae.patcher = comfy.model_patcher.ModelPatcher(torch.nn.Linear(2, 2), torch.device("cpu"), torch.device("cpu"))
    spy = combined.Spy(model)
    made, _ = extend("h3", model, image=rows_parts.video(4, 64), vae=vae, width=64, height=64, length=17, steps=1)
    assert [each.shape for each in made] == [(1, 24, 17, 4, 4), (1, 32, 2, 93)]
    assert spy.calls[0]["denoise_mask"][0, 0, :, 0, 0].tolist() == [0.0] + [1.0] * 16
    assert "audio_denoise_mask" not in spy.calls[0]


class Short(Voice):
    """Makes fewer elements of a sound than it has."""

    def encode(self, audio):
        whole = super().encode(audio)
        return whole.narrow(self.time, 1, whole.shape[self.time] - 1)


@each_kind
def test_mistakes_are_named(kind):
    model = combined.model(kind)
    spy = combined.Spy(model)
    empty = [torch.zeros_like(each) for each in combined.latent(kind, CHUNK[kind])["samples"].unbind()]
    full = [each + 1 for each in empty]
    other = Voice(kind)
    other.latent_channels = 5
    cases = [
        (combined.nested(torch.ones(1, 16, 6, 4, 4), empty[1]), {}, r"has 16 channels, but this model's latents"),
        (combined.nested(full[0], full[1].narrow(AXIS[kind], 0, 3)), {}, r"has 3 latent frames of audio, and"),
        (combined.nested(full[0], empty[1]), {}, r"latent has 0 latent frames of audio, and its video lasts for"),
        (None, {"overlap": combined.frames_of(kind, CHUNK[kind])}, r"overlap must be below chunk"),
        (None, {"audio_vae": torch.nn.Linear(1, 1)}, r"audio_vae is not an audio VAE"),
        (None, {"audio_vae": other}, r"audio_vae makes latents of 5 channels, and this model's sound has (8|32)\."),
    ]  # fmt: skip
    for latent, options, words in cases:
        with pytest.raises(ValueError, match=words):
            extend(kind, model, latent, **options)
    assert not spy.calls
    with pytest.raises(ValueError, match=r"audio_vae makes latents .* of sound whose latents are"):
        extend(kind, model, steps=1, audio_vae=Short(kind))


def test_another_family_s_sound_is_refused(wan):
    with pytest.raises(ValueError, match=r"combines 2 streams, but this model's latents .* are video alone"):
        extend("ltx", wan, combined.latent("ltx", 6), positive=tiny.conditioning(1), negative=tiny.conditioning(0))


def test_chunks_too_short_for_h3_are_named():
    model = combined.model("h3")
    spy = combined.Spy(model)
    with pytest.raises(ValueError, match=r"chunk is 5 frames, of which none would be new: .* Use 22 or more"):
        extend("h3", model, chunk=5, overlap=4)
    assert not spy.calls


def test_an_audio_vae_without_sound_is_named():
    model = combined.model("ltx")
    latent = {"samples": torch.zeros(1, 128, 6, 4, 4)}
    with pytest.raises(ValueError, match=r"audio_vae is connected, but this video of LTX-2 has no sound"):
        extend("ltx", model, latent, audio_vae=Voice("ltx"))
