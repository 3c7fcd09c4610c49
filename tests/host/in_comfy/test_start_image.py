"""Which windows see the first latent frame, where a start or reference image stands."""

import pytest
import tiny
import torch
from families import wan_i2v, wan_vace
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

pytestmark = pytest.mark.every_host


class Inputs:
    """A MODEL whose network's latents are kept."""

    def __init__(self, model):
        self.model = model.clone()
        self.calls = []

        def call(apply_model, given):
            self.calls.append(given["input"].clone())
            return apply_model(given["input"], given["timestep"], **given["c"])

        self.model.set_model_unet_function_wrapper(call)


def vace_with_reference(length=13):
    """VACE, whose first latent frame is a reference: nothing of it is to be made, all of the rest is."""
    model, latent, conds = wan_vace()
    for entry in (entry for cond in conds for entry in cond):
        mask = torch.ones(1, 64, 13, 4, 4)
        mask[:, :, 0] = 0
        entry[1]["vace_mask"] = [mask]
    return model, latent, conds


@pytest.mark.parametrize(("make", "start_image", "seen"), [
    (wan_i2v, "auto", True), (wan_i2v, "first_window", False), (wan_i2v, "every_window", True),
    (vace_with_reference, "auto", True), (vace_with_reference, "first_window", False),
    (wan_vace, "auto", False), (wan_vace, "every_window", True),
])  # fmt: skip
def test_windows_see_the_first_latent_frame_where_an_image_stands_there(make, start_image, seen):
    """Windows of 5 latent frames from 0, 4 and 8, overlap 1: the later ones see 0 in front, where they are to."""
    model, _, (positive, negative) = make()
    inputs = Inputs(model)
    noise = torch.arange(13.0).view(1, 1, 13, 1, 1).expand(1, 16, 13, 4, 4)
    tiny.co_denoise(
        inputs.model, {"samples": noise.clone()}, positive=positive, negative=negative, cfg=1.0, steps=2, overlap=4,
        per_forward=1, start_image=start_image, add_noise=False, start_at_step=1,
    )  # fmt: skip
    shown = [call[0, 0].flatten(1)[:, 0].tolist() for call in inputs.calls]
    first, second = shown[0][:2]  # the host scales and shifts what it is given
    frames = [[round((value - first) / (second - first)) for value in each] for each in shown]
    lead = [0] if seen else []
    assert frames == [[0, 1, 2, 3, 4], [*lead, 4, 5, 6, 7, 8], [*lead, 8, 9, 10, 11, 12]]


@pytest.mark.parametrize("make", [wan_i2v, vace_with_reference])
def test_a_window_is_what_the_host_makes_of_the_same_latent_frames(make):
    """One step without overlap: each window is core's own sample of the first latent frame and its own, the first left
    out."""
    model, _, (positive, negative) = make()
    noise = torch.randn(1, 16, 13, 4, 4, generator=torch.Generator().manual_seed(8))
    given = {"samples": noise}
    options = {"cfg": 1.0, "steps": 2, "start_at_step": 1, "add_noise": False}
    whole = tiny.co_denoise(
        model, given, positive=positive, negative=negative, window=17, overlap=0, schedule="static", **options
    )  # fmt: skip

    def part(value, indices):
        if isinstance(value, list):
            return [part(each, indices) for each in value]
        return value[:, :, indices] if isinstance(value, torch.Tensor) and value.ndim == 5 else value

    for indices in ([0, 1, 2, 3, 4], [0, 5, 6, 7, 8, 9], [0, 8, 9, 10, 11, 12]):
        cond = [[entry[0], {key: part(value, indices) for key, value in entry[1].items()}] for entry in positive]
        alone = tiny.co_denoise(
            model, {"samples": noise[:, :, indices]}, positive=cond, negative=cond, window=97, overlap=0, **options
        )  # fmt: skip
        own = [(place, index) for place, index in enumerate(indices) if index or len(indices) == 5]
        # The last window is moved left to end with the video: it shares 8 and 9 with the one before it.
        for place, index in own:
            if index not in (8, 9):
                torch.testing.assert_close(whole[:, :, index], alone[:, :, place], rtol=0, atol=1e-4)


@pytest.mark.parametrize("per_forward", [1, 4])
@pytest.mark.parametrize("options", [
    {}, {"schedule": "shifted", "closed_loop": True}, {"stride": 2, "schedule": "uniform"}, {"offload_latent": True},
], ids=str)  # fmt: skip
def test_with_the_image_in_every_window_prompts_and_masks_keep_their_places(per_forward, options):
    """Folded or apart the same, and a prompt still changes its own frames alone."""
    from long_video_pack.glv_core.hosts.comfy.co_denoise.options import PhaseOptions

    stride = options.get("stride")
    more = {key: value for key, value in options.items() if key != "stride"}
    if stride:
        more["phases"] = (PhaseOptions(0.0, stride=stride),)
    model, latent, _ = wan_i2v()

    def run(text, fold):
        positive = tiny.scheduled(text, 49)
        _, _, (image, _) = wan_i2v()
        for entry in positive:
            entry[1].update(image[0][1])
        return tiny.co_denoise(
            model, latent, positive=positive, negative=positive, cfg=1.0, steps=2, overlap=4, per_forward=fold, **more
        )  # fmt: skip

    one = run("a | b", 1)
    torch.testing.assert_close(run("a | b", per_forward), one, rtol=0, atol=2e-3 * max(1.0, float(one.std())))
    moved = (run("a | c", 1) - one).abs().amax(dim=(0, 1, 3, 4))
    assert moved[-4:].min() > 1e-4
    if not options:  # windows from 0 and 4 end before the second prompt begins in 8
        assert moved[:4].max() == 0


@pytest.mark.parametrize("frames", [49, 45])
def test_a_schedule_of_the_video_s_length_begins_behind_a_reference(frames):
    """13 latent frames, of which the first is the reference: the video has 12, 45 frames. A schedule over all is read
    as it is."""
    model, latent, (positive, negative) = vace_with_reference()

    class Clip:
        def tokenize(self, prompt):
            return sum(map(ord, prompt))

        def encode_from_tokens_scheduled(self, tokens):
            return tiny.conditioning(tokens)

    def run(text):
        cond = MultiPromptSchedule.execute(Clip(), text, frames, 16.0, "hard", 0.0).args[0]
        for entry in cond:
            entry[1].update(positive[0][1])
        return tiny.co_denoise(
            model, latent, positive=cond, negative=negative, cfg=1.0, steps=1, overlap=0, schedule="static",
            start_image="first_window",
        )  # fmt: skip

    # The second prompt begins with frame 17, the first one of the latent frame 5 of a video: 6 behind a reference.
    moved = (run("0: a\n17: b") - run("0: a\n17: c")).abs().amax(dim=(0, 1, 3, 4))
    begin = 5 if frames == 49 else 6
    assert moved[:5].max() == 0 and moved[begin:].min() > 1e-5


def test_a_schedule_that_does_not_fit_is_still_refused(wan):
    with pytest.raises(ValueError, match="The prompts were scheduled over 45 frames"):
        tiny.co_denoise(wan, tiny.latent(13), positive=tiny.scheduled("a | b", 45))
    model, latent, (_, negative) = vace_with_reference()
    with pytest.raises(ValueError, match="The prompts were scheduled over 41 frames"):
        tiny.co_denoise(model, latent, positive=tiny.scheduled("a | b", 41), negative=negative)


def test_an_unknown_choice_is_named(wan):
    with pytest.raises(ValueError, match=r"Unknown start_image 'never'. Known: auto, every_window, first_window"):
        tiny.co_denoise(wan, tiny.latent(13), start_image="never")
