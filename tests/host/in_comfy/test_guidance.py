"""What other nodes put on a model or a prompt: each window sees what core would show it alone, or it is refused."""

import functools
import uuid
from types import SimpleNamespace

import comfy.conds
import comfy.patcher_extension
import nodes
import pytest
import tiny
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT
from long_video_pack.glv_core.hosts.comfy.co_denoise.model_patches import check_model_options
from long_video_pack.glv_core.hosts.comfy.co_denoise.prompt_tags import TAG, PromptTag, without_copied_tags

pytestmark = pytest.mark.every_host
FRAMES = 7


def images(frames=FRAMES):
    return {"samples": torch.randn(frames, 4, 8, 8, generator=torch.Generator().manual_seed(2))}


def patched(node, model, *arguments, **named):
    """What a node of core's makes of a MODEL, of the old kind or of the new."""
    run = node.execute if hasattr(node, "execute") else getattr(node(), node.FUNCTION)
    made = run(model, *arguments, **named)
    return made.args[0] if hasattr(made, "args") else made[0]


WAN_PATCHES = {
    "shift": lambda model: patched(ModelSamplingSD3, model, 5.0),
    "slg": lambda model: patched(
        SkipLayerGuidanceDiT,
        model,
        double_layers="0",
        single_layers="0",
        scale=3.0,
        start_percent=0.0,
        end_percent=1.0,
        rescaling_scale=0.0,
    ),
}
IMAGE_PATCHES = {
    "sag": lambda model: patched(SelfAttentionGuidance, model, 0.7, 2.0),
    "pag": lambda model: patched(PerturbedAttentionGuidance, model, 3.0),
}


@pytest.fixture(scope="module")
def sd15():
    return tiny.sd15(middle=1)


@pytest.mark.parametrize("per_forward", [1, 4])
@pytest.mark.parametrize("kind", list(IMAGE_PATCHES))
def test_patches_of_image_models_do_to_a_window_what_they_do_to_it_alone(sd15, kind, per_forward):
    """Windows 0-3, 3-6 and 4-7; of the two that share frames 4 and 5, core alone is compared at the others."""
    model, noise = IMAGE_PATCHES[kind](sd15), images()
    arguments = {"positive": tiny.text(1), "negative": tiny.text(0), "steps": 2, "start_at_step": 1, "add_noise": False}
    ours = tiny.co_denoise(
        model, noise, window=3, overlap=0, schedule="static", per_forward=per_forward, cfg=4.0, **arguments
    )
    plain = tiny.co_denoise(sd15, noise, window=3, overlap=0, schedule="static", cfg=4.0, **arguments)
    assert (ours - plain).abs().max() > 1e-3  # that it does anything at all
    for start, stop, own in ((0, 3, (0, 1, 2)), (3, 6, (0,)), (4, 7, (2,))):
        part = {"samples": noise["samples"][start:stop]}
        alone = nodes.KSamplerAdvanced().sample(
            model, "disable", 7, 2, 4.0, "euler", "simple", tiny.text(1), tiny.text(0), part, 1, 2, "disable"
        )[0]["samples"]
        for place in own:
            torch.testing.assert_close(ours[start + place], alone[place], rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", list(WAN_PATCHES))
def test_patches_of_video_models_do_to_a_window_what_they_do_to_it_alone(wan, kind):
    model = WAN_PATCHES[kind](wan)
    noise = torch.randn(1, 16, 13, 4, 4, generator=torch.Generator().manual_seed(2))
    arguments = {"steps": 2, "start_at_step": 1, "add_noise": False, "cfg": 4.0}
    ours = tiny.co_denoise(model, {"samples": noise}, overlap=0, **arguments)
    for start, own in ((0, range(5)), (5, range(3)), (8, (2, 3, 4))):
        part = {"samples": noise[:, :, start : start + 5]}
        alone = tiny.co_denoise(model, part, overlap=0, window=97, **arguments)
        for place in own:
            torch.testing.assert_close(ours[:, :, start + place], alone[:, :, place], rtol=0, atol=2e-3)


# --- Areas -----------------------------------------------------------------------------------------------------------


def in_area(conditioning, area):
    return [
        [tensor, {**extras, "area": area, "strength": 1.0, "set_area_to_bounds": False}]
        for tensor, extras in conditioning
    ]


@pytest.mark.parametrize("negative_is_scheduled", [False, True])
def test_scheduled_prompts_in_an_area_are_guided_away_from_the_negative_everywhere(wan, negative_is_scheduled):
    """Core gives the negative the area too, with the tag of the positive's prompt: guidance then failed elsewhere.

    One prompt without a schedule in the area is the same as a schedule that says it twice.
    """
    area, background = (2, 2, 1, 1), tiny.conditioning(9)
    negative = tiny.scheduled("x | y", 49) if negative_is_scheduled else tiny.conditioning(0)
    once = [[tiny.conditioning(sum(map(ord, "a")))[0][0], {}]]
    # Two prompts whose embeddings are alike.
    twice = tiny.scheduled("a | b", 49)
    twice[1][0] = twice[0][0]
    runs = []
    for positive in (once, twice):
        positive = [*in_area(positive, area), *background]
        runs.append(tiny.co_denoise(wan, tiny.latent(13), positive=positive, negative=negative, steps=2))
    torch.testing.assert_close(runs[1], runs[0], rtol=0, atol=2e-4 * max(1.0, float(runs[0].std())))


def test_the_host_s_copies_for_an_area_are_one_for_each_prompt_that_they_say():
    """Positive prompts 0 and 1 in an area; the host's copies of the negative for it have their tags."""
    name, other = SimpleNamespace(prompts=("a", "b")), SimpleNamespace(prompts=("x", "y"))
    said = {"c_crossattn": object(), "y": object()}
    plain = {"model_conds": said, "uuid": uuid.UUID(int=1)}
    area = {"area": (2, 2, 1, 1), "strength": 1.0}
    copies = [
        {**area, "model_conds": dict(said), "uuid": uuid.UUID(int=2 + n), TAG: PromptTag(name, n)} for n in (0, 1)
    ]
    wide = {**copies[0], "area": (4, 4, 0, 0), "uuid": uuid.UUID(int=7)}
    (mended, nothing) = without_copied_tags([[plain, *copies, wide], None])
    assert nothing is None and [entry.get("area") for entry in mended] == [None, (2, 2, 1, 1), (4, 4, 0, 0)]
    assert not any(TAG in entry for entry in mended) and len({entry["uuid"] for entry in mended}) == 3
    # A negative with a schedule of its own: each of its prompts has the area.
    scheduled = [{"model_conds": {"c_crossattn": object(), "y": said["y"]}, "uuid": uuid.UUID(int=9 + n),
                  TAG: PromptTag(other, n)} for n in (0, 1)]  # fmt: skip
    copy = {**copies[0], "model_conds": dict(scheduled[0]["model_conds"])}
    (mended,) = without_copied_tags([[*scheduled, copy]])
    assert mended[:2] == scheduled and [entry[TAG] for entry in mended[2:]] == [each[TAG] for each in scheduled]
    assert [entry["model_conds"]["c_crossattn"] for entry in mended[2:]] == [
        each["model_conds"]["c_crossattn"] for each in scheduled
    ]
    # What a user put there is nobody's copy, though it shares a part, or has nothing to say.
    own = {**area, "model_conds": {"c_crossattn": object(), "y": said["y"]}, TAG: PromptTag(name, 0)}
    empty = {**area, "model_conds": {}, TAG: PromptTag(name, 0)}
    bare = {"model_conds": {}}
    assert without_copied_tags([[plain, own], [bare, empty]]) == [[plain, own], [bare, empty]]


def test_the_negative_of_an_area_follows_its_own_schedule(wan):
    """A change of the negative's last prompt moves the last windows, inside the area as well."""
    positive = [*in_area(tiny.scheduled("a | b", 49), (2, 2, 1, 1)), *tiny.conditioning(9)]

    def run(text):
        return tiny.co_denoise(
            wan, tiny.latent(13), positive=positive, negative=tiny.scheduled(text, 49), steps=1, overlap=0
        )

    moved = (run("x | y") - run("x | z")).abs()[0].amax(dim=0)
    assert moved[:5].max() == 0 and moved[-1, 1:3, 1:3].min() > 1e-5 and moved[-1, 0, 0] > 1e-5


# --- Caches and patches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["rel_l1_thresh", "teacache", "teacache_device"])
def test_caches_of_other_packs_are_refused_the_same(key):
    check_model_options({"transformer_options": {"sample_sigmas": torch.zeros(4), "my_teacache": 1}})
    with pytest.raises(ValueError, match=r"TeaCache does not work with windows.*Set step_cache"):
        check_model_options({"transformer_options": {key: 0.2}})


class Render:
    """A patch that follows the video, as core's for Uni3C."""

    def __init__(self, **held):
        self.__dict__.update(held)

    def __call__(self, given):
        return given


def closure(value):
    def patch(given):
        return value if given is None else given

    return patch


FRAMES_HELD = [torch.zeros(33, 8, 8, 3), torch.zeros(1, 16, 9, 4, 4), torch.zeros(9, 3, 8, 8)]
NOT_ALONG = [torch.zeros(1, 8, 8, 3), torch.zeros(1, 16, 1, 4, 4), torch.zeros(2, 77, 768), torch.zeros(64, 64, 3, 3)]


@pytest.mark.parametrize("make", [
    lambda value: {"patches": {"double_block": [Render(render_video=value)]}},
    lambda value: {"patches": {"attn1_patch": [closure(value)]}},
    lambda value: {"patches_replace": {"dit": {("double_block", 0): functools.partial(closure(None), value)}}},
    lambda value: {"patches": {"double_block": [Render(inner=Render(latents=[value])).__call__]}},
    lambda value: {"wrappers": {"apply_model": {"a key": [Render(init_latents=value)]}}},
], ids=["object", "closure", "partial", "method", "wrapper"])  # fmt: skip
def test_a_patch_that_holds_the_frames_of_a_video_is_refused_by_its_name(make):
    for value in FRAMES_HELD:
        with pytest.raises(ValueError, match=r"model patch (Render|closure).* (33|9) images or latent frames"):
            check_model_options({"transformer_options": make(value)})
    for value in NOT_ALONG[:3]:
        check_model_options({"transformer_options": make(value)})
    network = torch.nn.Module()
    network.register_buffer("a_table", FRAMES_HELD[0])
    check_model_options({"transformer_options": make(network)})


def test_windows_take_turns_where_a_cache_knows_a_forward_pass_by_its_first_row(wan, monkeypatch):
    """Core's WanAnimate2Cache keeps what the pose of the first row gave, for all rows of a forward pass."""
    given = wan.model.extra_conds

    def with_pose(**more):
        return {**given(**more), "pose_latents": comfy.conds.CONDRegular(torch.zeros(1, 16, 13, 4, 4))}

    monkeypatch.setattr(wan.model, "extra_conds", with_pose)
    recorder = tiny.Recorder(wan)
    tiny.co_denoise(recorder.model, tiny.latent(13), steps=1, cfg=1.0)
    assert {shape[0] for shape in recorder.shapes} == {4}
    recorder.shapes.clear()
    recorder.model.model_options["transformer_options"]["animate2_cache"] = SimpleNamespace()
    tiny.co_denoise(recorder.model, tiny.latent(13), steps=1, cfg=1.0)
    assert {shape[0] for shape in recorder.shapes} == {1}


def test_what_may_run_along_the_video_in_the_model_s_options_is_refused_by_its_name(wan):
    recorder = tiny.Recorder(wan)
    options = recorder.model.model_options["transformer_options"]
    options["audio_embeds"] = torch.zeros(1, 12, 32, 64)
    with pytest.raises(ValueError, match=r"sound .*InfiniteTalk\) is for 12 latent frames, and the latent has 13"):
        tiny.co_denoise(recorder.model, tiny.latent(13))
    with pytest.raises(ValueError, match=r"hold sound \(InfiniteTalk\).* every chunk would see the wrong part"):
        check_model_options(recorder.model.model_options, in_chunks=True)
    options["anything"] = options.pop("audio_embeds")
    with pytest.raises(ValueError, match="options hold 'anything'"):
        tiny.co_denoise(recorder.model, tiny.latent(13))
    options["anything"] = torch.zeros(13, 2)  # no more than a table
    assert tiny.co_denoise(recorder.model, tiny.latent(13)).isfinite().all()


def test_a_stream_of_several_chunks_is_refused_the_same(wan):
    import streaming

    model = wan.clone()
    model.set_model_patch(Render(render_video=FRAMES_HELD[0]), "double_block")
    with pytest.raises(ValueError, match=r"StreamingExtend: .*model patch Render"):
        streaming.extend(model)
    assert streaming.extend(model, length=17)[0].isfinite().all()


def test_a_wrapper_around_every_forward_pass_is_looked_at_too():
    check_model_options({"model_function_wrapper": closure(SimpleNamespace(count=3))})
    with pytest.raises(ValueError, match="model patch closure"):
        check_model_options({"model_function_wrapper": closure(SimpleNamespace(frames=FRAMES_HELD[0]))})
    kinds = comfy.patcher_extension.WrappersMP
    wrapped = {"wrappers": {kinds.APPLY_MODEL: {"MultiTalk": [Render(init_latents=FRAMES_HELD[1])]}}}
    with pytest.raises(ValueError, match=r"9 images or latent frames \('init_latents'\)"):
        check_model_options({"transformer_options": wrapped})
