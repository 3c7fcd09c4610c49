"""Phases: windows of another length, and another way of blending prompts, from some step on."""

import comfy.sample
import comfy.samplers
import combined
import nodes
import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise import handler as handler_module
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import LongVideoNoise, NoiseOptions
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from long_video_pack.nodes.co_denoise_phase import CoDenoisePhase
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule
from long_video_pack.nodes.window_plan import WindowPlan
from test_engine import WanVae
from torch.testing import assert_close


def phases(*changes: dict) -> tuple:
    """What a chain of Co-Denoise Phase gives; without a start, after half of the steps."""
    chain = None
    for changed in changes:
        given = {"start": 0.5, "schedule": "unchanged", "overlap": -1, "stride": 0, "merge": "unchanged", **changed}
        chain = CoDenoisePhase.execute(**given, earlier=chain).args[0]
    return chain


class Steps:
    """A tiny Wan MODEL that keeps the shapes of its forward passes, those of each noise level together."""

    def __init__(self, layers: int = 1):
        self.model = tiny.wan(layers).clone()
        self.of_level: dict[float, list[list[int]]] = {}

        def call(apply_model, arguments):
            level = float(arguments["timestep"].flatten()[0])
            self.of_level.setdefault(level, []).append(list(arguments["input"].shape))
            return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

        self.model.set_model_unet_function_wrapper(call)

    @property
    def windows(self) -> list[list[int]]:
        """The latent frames of every window of every step."""
        return [[shape[2] for shape in shapes for _ in range(shape[0])] for shapes in self.of_level.values()]


def sampled(model, positive, length: int):
    """KSampler's x before each step, and its predictions."""
    seen = []
    latent = tiny.latent(length)["samples"]
    comfy.sample.sample(
        model, comfy.sample.prepare_noise(latent, 7), 4, 1.0, "euler", "simple", positive, tiny.conditioning(0), latent,
        seed=7, callback=lambda step, x0, x, total: seen.append((x.clone(), x0.clone())),
    )  # fmt: skip
    return seen


@pytest.mark.every_host
@pytest.mark.parametrize(("window", "first", "then"), [(9, [5] * 3, [3] * 6), (33, [5] * 3, [9] * 2)])
def test_windows_of_each_step_have_the_phase_s_length_and_the_host_makes_the_same(window, first, then):
    """Oracle: the host's own areas and masks, each for a part of the steps, as ConditioningSetTimestepRange sets it."""
    length, late = 13, {3: [0, 2, 4, 6, 8, 10], 9: [0, 4]}[then[0]]
    recorder = Steps(2)
    options = {"cfg": 1.0, "per_forward": 1, "overlap": 4, "merge": "flat", "phases": phases({"window": window})}
    ours = tiny.co_denoise(recorder.model, tiny.latent(length), **options)
    assert recorder.windows == [first, first, then, then]
    sigmas = comfy.samplers.calculate_sigmas(recorder.model.get_model_object("model_sampling"), "simple", 4)
    sampling = recorder.model.get_model_object("model_sampling")
    between = next(
        percent / 1000 for percent in range(1000) if sampling.percent_to_sigma(percent / 1000) < sigmas[1:3].mean()
    )
    entries = []
    for starts, size, times in (([0, 4, 8], 5, (0.0, between)), (late, then[0], (between, 1.0))):
        count = [sum(start <= frame < start + size for start in starts) for frame in range(length)]
        for start in starts:
            mask = torch.zeros(1, length, 4, 4)
            for frame in range(start, start + size):
                mask[:, frame] = 1 / count[frame]
            area = {"area": (size, 4, 4, start, 0, 0), "mask": mask, "strength": 1.0}
            area |= {"start_percent": times[0], "end_percent": times[1]}
            entries.append([tiny.conditioning(1)[0][0], area])
    theirs = tiny.ksampler(tiny.wan(), tiny.latent(length), positive=entries, cfg=1.0)
    assert_close(ours, theirs, rtol=0, atol=1e-3 * max(1.0, float(theirs.std())))


@pytest.mark.every_host
@pytest.mark.parametrize(("first", "then", "rows"), [
    ("embeddings", "predictions", [4, 4, 5, 5]), ("predictions", "embeddings", [5, 5, 4, 4]),
    ("one_per_window", "attention", [4, 4, 4, 4]), ("attention", "predictions", [4, 4, 5, 5]),
])  # fmt: skip
def test_blending_changes_at_the_phase_s_step(first, then, rows):
    """Oracle: two samplers that share the steps, each with its own blending and no phase."""
    recorder = Steps(2)
    # Of four windows of 5 latent frames the fade of 8 frames around frame 38.5 lies in the third.
    options = {"overlap": 0, "cfg": 1.0, "per_forward": 1, "positive": tiny.scheduled("a | b", 77)}
    changing = {"prompt_blending": first, "phases": phases({"prompt_blending": then})}
    ours = tiny.co_denoise(recorder.model, tiny.latent(20), **changing, **options)
    assert [len(step) for step in recorder.windows] == rows
    half = {"end_at_step": 2, "return_with_leftover_noise": True}
    latent = tiny.co_denoise(tiny.wan(), tiny.latent(20), prompt_blending=first, **half, **options)
    ends = [
        tiny.co_denoise(
            tiny.wan(), {"samples": latent}, prompt_blending=each, add_noise=False, start_at_step=2, **options
        )
        for each in (then, first)
    ]
    assert_close(ours, ends[0], rtol=0, atol=2e-4 * max(1.0, float(ours.std())))
    assert (ours - ends[1]).abs().max() > 1e-2


@pytest.mark.parametrize("shares", [False, True])
def test_two_samplers_with_windows_of_two_lengths_make_what_one_makes(wan, shares):
    """The second begins in the second phase, and has its windows from its first step on."""
    arguments = {"positive": tiny.scheduled("a | b", 49), "steps": 6, "schedule": "shifted"}
    arguments["phases"] = phases({"start": 0.6, "window": 9, "overlap": 4}, {"start": 0.2, "window": 29})
    whole = tiny.co_denoise(wan, tiny.latent(13), **arguments)
    split = 4 if shares else 3
    first = tiny.co_denoise(wan, tiny.latent(13), end_at_step=split, return_with_leftover_noise=True, **arguments)
    second = tiny.co_denoise(wan, {"samples": first}, add_noise=False, start_at_step=split, **arguments)
    assert_close(second, whole, rtol=0, atol=2e-4 * max(1.0, float(whole.std())))


@pytest.mark.parametrize("prompts", ["a", "a | b"])
def test_where_the_latent_fits_a_step_is_the_host_s_own_bit_for_bit(wan, prompts):
    positive = tiny.scheduled(prompts, 17) if "|" in prompts else tiny.conditioning(1)
    plain = {"overlap": 4, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0}
    changing = CoDenoiseModel.execute(wan, window=17, phases=phases({"window": 9}), **plain).args[0]
    fitting = CoDenoiseModel.execute(wan, window=17, **plain).args[0] if "|" in prompts else wan
    ours, theirs = (sampled(model, positive, 5) for model in (changing, fitting))
    same = [torch.equal(a, b) for one, other in zip(ours, theirs) for a, b in zip(one, other)]
    assert same == [True] * 5 + [False] * 3  # x of the third step is still the same; its prediction is not


@pytest.mark.parametrize("window", [9, 17])
def test_steps_that_fit_are_left_to_the_host(monkeypatch, window):
    calls, execute = [], handler_module.CoDenoiseHandler.execute

    def listen(self, calc, model, conds, x, timestep, options):
        calls.append(float(timestep.flatten()[0]))
        return execute(self, calc, model, conds, x, timestep, options)

    monkeypatch.setattr(handler_module.CoDenoiseHandler, "execute", listen)
    recorder = Steps()
    tiny.co_denoise(
        recorder.model, tiny.latent(5), cfg=1.0, per_forward=1, window=26 - window, overlap=4,
        phases=phases({"window": window}),
    )  # fmt: skip
    fits = [[5], [5]]
    assert recorder.windows == (fits + [[3, 3]] * 2 if window == 9 else [[3, 3]] * 2 + fits)
    levels = list(recorder.of_level)
    assert calls == (levels[2:] if window == 9 else levels[:2])


@pytest.mark.parametrize("window", [9, 33])
def test_the_memory_estimate_is_that_of_the_longest_window(monkeypatch, recorder, window):
    asked, model = [], recorder.model.model
    original = model.memory_required

    def memory_required(shape, cond_shapes=None):
        asked.append(list(shape))
        return original(shape, cond_shapes=cond_shapes or {})

    monkeypatch.setattr(model, "memory_required", memory_required, raising=False)
    tiny.co_denoise(recorder.model, tiny.latent(13), per_forward=1, phases=phases({"window": window}))
    longest = max(shape[2] for shape in recorder.shapes)
    assert longest == max(5, (window + 3) // 4)
    assert asked[:2] == [[2, 16, longest, 4, 4], [1, 16, longest, 4, 4]]


def test_what_a_later_phase_cannot_slice_is_said_before_the_first_forward_pass(recorder):
    recorder.model.model_options["transformer_options"]["steering"] = torch.zeros(1, 5, 4)
    options = {"steps": 4, "overlap": 4}
    with pytest.raises(ValueError, match="'steering', which may run along the video"):
        tiny.co_denoise(recorder.model, tiny.latent(5), phases=phases({"window": 9}), **options)
    assert not recorder.shapes
    tiny.co_denoise(recorder.model, tiny.latent(5), phases=phases({"window": 21}), **options)


def test_blending_of_a_later_phase_is_refused_before_the_first_forward_pass():
    """By a family that mixes no texts, and by one that is not known to attend to texts of a time of their own."""

    class Clip:
        def tokenize(self, prompt):
            return prompt

        def encode_from_tokens_scheduled(self, tokens):
            return combined.text("h3", len(tokens), tokens=len(tokens))

    h3 = combined.model("h3")
    spy = combined.Spy(h3)
    h3.model.__class__ = type("MiniMaxH4", (type(h3.model),), {"__module__": "comfy.model_base"})
    given = {
        "window": 56, "overlap": 22, "steps": 2, "negative": combined.text("h3", 0),
        "positive": MultiPromptSchedule.execute(Clip(), "one | another", 124, 24.0, "linear", 16.0).args[0],
    }  # fmt: skip
    for blending, words in (("embeddings", "cannot have embeddings"), ("attention", "does not support")):
        with pytest.raises(ValueError, match=f"prompt_blending is {blending}.*{words}"):
            tiny.co_denoise(h3, combined.latent("h3", 37), phases=phases({"prompt_blending": blending}), **given)
    assert not spy.calls


def test_a_bias_on_attention_is_there_in_its_phase_alone(wan, monkeypatch):
    seen, evaluation = [], handler_module.Evaluation

    class Listening(evaluation):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            seen.append(self.model_options is not arguments[6])

    monkeypatch.setattr(handler_module, "Evaluation", Listening)
    options = {"positive": tiny.scheduled("a | b", 49), "cfg": 1.0, "prompt_blending": "predictions"}
    tiny.co_denoise(wan, tiny.latent(13), phases=phases({"prompt_blending": "attention"}), **options)
    assert seen == [False, False, True, True]


def test_the_noise_is_for_the_windows_that_a_run_begins_with(wan):
    def run(**more):
        return tiny.co_denoise(wan, tiny.latent(13), cfg=1.0, **more)

    first, later = (phases({"start": start, "window": 9, "overlap": 4}) for start in (0.0, 0.5))
    for chain, window, overlap in ((first, 9, 4), (later, 17, 8)):
        noise = LongVideoNoise(wan, 7, NoiseOptions("shuffled"), window, overlap)
        assert torch.equal(run(noise="shuffled", phases=chain), run(initial_noise=noise, phases=chain))
        # As a run of a later part of the steps: denoise 0.5 of 4 steps begins with the fifth of eight.
        behind = LongVideoNoise(wan, 7, NoiseOptions("shuffled"), 9, 4)
        half = run(noise="shuffled", phases=chain, denoise=0.5)
        assert torch.equal(half, run(initial_noise=behind, phases=chain, denoise=0.5))
        model = CoDenoiseModel.execute(
            wan, window=17, overlap=8, schedule="static", merge="pyramid", windows_per_forward=0, phases=chain,
            noise="shuffled",
        ).args[0]  # fmt: skip
        plain = nodes.common_ksampler(
            model, 7, 4, 1.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0), tiny.latent(13)
        )[0]["samples"]
        assert_close(plain, run(noise="shuffled", phases=chain), rtol=0, atol=1e-5)


def test_an_offloaded_latent_gives_the_same(wan):
    chain = phases({"window": 9, "prompt_blending": "embeddings"})
    options = {"positive": tiny.scheduled("a | b", 17), "overlap": 4, "phases": chain}
    plain = tiny.co_denoise(wan, tiny.latent(5), **options)
    offloaded = tiny.co_denoise(wan, tiny.latent(5), offload_latent=True, **options)
    assert_close(offloaded, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("changes", [
    [{"window": 9}], [{"window": 41, "start": 0.3}], [{"window": 9, "overlap": 4, "prompt_blending": "embeddings"}],
    [{"prompt_blending": "one_per_window", "start": 0.3}, {"window": 29, "prompt_blending": "predictions"}],
], ids=str)  # fmt: skip
def test_the_plan_says_what_the_run_does(changes):
    chain, positive = phases(*changes), tiny.scheduled("a | b | c", 77)
    windows = {"window": 17, "overlap": 4, "schedule": "shifted", "merge": "pyramid", "phases": chain}
    _, evaluations, minimum, ratio, _ = WindowPlan.execute(
        WanVae(), 77, 16.0, 6, conditioning=positive, windows_per_forward=0, **windows
    ).args
    recorder = Steps()
    tiny.co_denoise(recorder.model, tiny.latent(20), steps=6, cfg=1.0, positive=positive, **windows)
    assert evaluations == sum(len(step) for step in recorder.windows)
    assert minimum == pytest.approx(sum(20 / step[0] for step in recorder.windows))
    assert ratio == pytest.approx(sum(map(sum, recorder.windows)) / (6 * 20))


def test_a_phase_s_window_has_to_hold_the_overlap(recorder):
    for changes, words in (
        ([{"window": 8}], "overlap of the phase that starts at 0.5 is 8 frames and window 8"),
        ([{"window": 12}, {"start": 0.7, "overlap": 14}], "the phase that starts at 0.7 is 14 frames and window 12"),
    ):
        with pytest.raises(ValueError, match=words):
            tiny.co_denoise(recorder.model, tiny.latent(13), phases=phases(*changes))
    assert not recorder.shapes
