"""Wan VACE with diffusers: hints against the pipeline's own functions, and windows that see their own part of them."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from PIL import Image

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.demo import MODEL_DIR
from glv_core.hosts.diffusers import UnsupportedDenoiserError, VaceHint, encode_hint, generate, timebase_for
from glv_core.hosts.diffusers import forward as forwards
from glv_core.hosts.diffusers.folder import load_pipeline, read_model_folder
from glv_core.prompts import parse_schedule

FRAMES, SIZE = 33, 32  # 9 latent frames
SETTINGS = CoDenoiseSettings(window=4, overlap=2, schedule="static")
ONE_WINDOW = CoDenoiseSettings(window=9, overlap=2)


def random_frames(count=FRAMES, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


def random_masks(count=FRAMES, seed=3):
    """Grey masks ``t h w`` uint8: both sides of one half, and other ones in every frame."""
    return random_frames(count, seed)[..., 0]


def images(frames):
    return [Image.fromarray(frame.numpy()) for frame in frames]


def own_hint(pipeline, frames, masks=None):
    """The hint ``1 96 t h w`` that the pipeline makes of a video and masks, all at once."""
    height, width = frames.shape[1:3]
    given = None if masks is None else images(masks)
    video, mask, references = pipeline.preprocess_conditions(
        images(frames), given, None, 1, height, width, len(frames), torch.float32, pipeline.vae.device
    )
    latents = pipeline.prepare_video_latents(video, mask, references, None, pipeline.vae.device)
    return torch.cat([latents, pipeline.prepare_masks(mask, references)], dim=1)


def video(pipeline, settings, text="a red circle moving right | a blue square cat dog", **options):
    """Latents of a short run."""
    count = options.pop("num_frames", FRAMES)
    timebase = timebase_for(pipeline, count, 8)
    schedule = parse_schedule(text, num_frames=count, fps=8, transition_frames=4)
    defaults = {"num_inference_steps": 2, "height": SIZE, "width": SIZE, "output_type": "latent", "guidance_scale": 4.0}
    return generate(pipeline, schedule, timebase, settings, **{"negative_prompt": "blurry", **defaults, **options})


@pytest.fixture(scope="module")
def pipeline(tiny_pipelines):
    return tiny_pipelines("wan_vace")


@pytest.fixture(scope="module")
def hint(pipeline):
    frames = random_frames()
    return VaceHint(
        encode_hint(pipeline, 9, SIZE, SIZE, outside=[frames], inside=[frames], masks=[random_masks().float() / 255])
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [1, 5, FRAMES])
def test_a_hint_is_what_the_pipeline_makes_of_a_whole_video(pipeline, masked, count):
    frames, masks = random_frames(count), random_masks(count)
    pieces = [masks[:3].float() / 255, masks[3:].float() / 255] if masked else None
    ours = encode_hint(
        pipeline, (count + 3) // 4, SIZE, SIZE, outside=frames.split(7), inside=frames.split(5), masks=pieces
    )
    whole = own_hint(pipeline, frames, masks if masked else None)
    assert torch.equal(ours[:, :32], whole[:, :32])
    # The pipeline's own masks go to -1..1 and back, which rounds.
    torch.testing.assert_close(ours[:, 32:], whole[:, 32:], atol=1e-7, rtol=0)


def test_what_is_left_out_is_mid_grey(pipeline):
    frames, masks = random_frames(), random_masks() > 127
    ours = encode_hint(pipeline, 9, SIZE, SIZE, outside=[frames], masks=[masks])
    whole = own_hint(pipeline, frames, masks.to(torch.uint8) * 255)
    assert torch.equal(ours[:, :16], whole[:, :16])
    assert torch.equal(ours[:, 32:], whole[:, 32:])
    grey = encode_hint(pipeline, 9, SIZE, SIZE)
    assert torch.equal(ours[:, 16:32], grey[:, 16:32])
    assert not torch.equal(whole[:, 16:32], grey[:, 16:32])


def test_a_hint_that_says_nothing_is_the_pipelines_own(pipeline):
    """Also where the memory of the encoder has come to rest, and nothing more is computed."""
    count = 201
    video, mask, references = pipeline.preprocess_conditions(
        None, None, None, 1, 16, 16, count, torch.float32, torch.device("cpu")
    )
    whole = pipeline.prepare_video_latents(video, mask, references, None, torch.device("cpu"))
    ours = encode_hint(pipeline, 51, 16, 16)
    torch.testing.assert_close(ours[:, :32], whole, atol=1e-6, rtol=0)
    assert (ours[:, 32:] == 1).all()


def test_a_grey_video_comes_to_rest(pipeline, monkeypatch):
    calls = []
    encoder = type(pipeline.vae.encoder)
    original = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda *a, **k: calls.append(1) or original(*a, **k))
    encode_hint(pipeline, 200, 16, 16)
    assert len(calls) < 60


def test_a_short_video_holds_its_last_frame(pipeline):
    frames, masks = random_frames(6), random_masks(6).float() / 255
    held = torch.cat([frames, frames[-1:].expand(3, -1, -1, -1)])
    more = torch.cat([masks, masks[-1:].expand(3, -1, -1)])
    short, whole = (
        encode_hint(pipeline, 3, SIZE, SIZE, outside=[f], inside=[f], masks=[m])
        for f, m in ((frames, masks), (held, more))
    )
    assert torch.equal(short, whole)


def test_frames_are_asked_for_as_they_are_encoded(pipeline):
    """However long the video, no more than the next few frames are ever waiting."""

    def most_waiting(count):
        shown, waiting = 0, []

        def pieces():
            nonlocal shown
            for _ in range(count):
                shown += 1
                yield random_frames(1)

        encode_hint(
            pipeline,
            (count + 3) // 4,
            SIZE,
            SIZE,
            outside=pieces(),
            on_frames=lambda done: waiting.append(shown - done),
        )
        assert shown == count and len(waiting) == (count + 3) // 4
        return max(waiting)

    assert most_waiting(101) == most_waiting(21) <= 4


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_one_window_and_one_prompt_is_the_plain_pipeline_bit_for_bit(pipeline, guidance, strength):
    frames, masks = random_frames(), (random_masks() > 127).to(torch.uint8) * 255
    latents = encode_hint(pipeline, 9, SIZE, SIZE, outside=[frames], inside=[frames], masks=[masks.float() / 255])
    ours = video(
        pipeline, ONE_WINDOW, "a red circle", guidance_scale=guidance, seed=5, hint=VaceHint(latents, strength)
    )
    plain = pipeline(
        "a red circle", negative_prompt="blurry", video=images(frames), mask=images(masks),
        conditioning_scale=strength, num_frames=FRAMES, num_inference_steps=2, guidance_scale=guidance, height=SIZE,
        width=SIZE, generator=torch.Generator().manual_seed(5), output_type="latent",
    ).frames  # fmt: skip
    assert torch.equal(ours, plain)


def test_without_a_hint_it_is_the_plain_pipeline_without_a_video(pipeline):
    ours = video(pipeline, ONE_WINDOW, "a red circle", seed=5)
    plain = pipeline(
        "a red circle", negative_prompt="blurry", num_frames=FRAMES, num_inference_steps=2, guidance_scale=4.0,
        height=SIZE, width=SIZE, generator=torch.Generator().manual_seed(5), output_type="latent",
    ).frames  # fmt: skip
    assert torch.equal(ours, plain)


def test_folded_windows_equal_windows_one_by_one(pipeline, hint):
    one = video(pipeline, CoDenoiseSettings(4, 2, windows_per_forward=1), hint=hint)
    for size in (3, 0):
        folded = video(pipeline, CoDenoiseSettings(4, 2, windows_per_forward=size), hint=hint)
        torch.testing.assert_close(folded, one, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("settings", [SETTINGS, CoDenoiseSettings(4, 2, "shifted", closed_loop=True, stride=2)])
def test_every_window_sees_its_own_part_of_the_hint(pipeline, hint, monkeypatch, settings):
    """A latent whose frames are numbered: its windows say which frames of the hint the model must be given."""
    module, seen = pipeline.transformer, []
    numbered = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 16, 9, 4, 4)
    original = module.forward

    def spy(*args, **kwargs):
        frames = kwargs["hidden_states"][:, 0, :, 0, 0].round().long()
        assert kwargs["control_hidden_states"].shape[2] == frames.shape[1]
        for row, given in zip(frames, kwargs["control_hidden_states"], strict=True):
            assert torch.equal(given, hint.latents[0][:, row])
            seen.append(tuple(row.tolist()))
        assert kwargs["control_hidden_states_scale"].shape == (1,)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "forward", spy)
    timebase = timebase_for(pipeline, FRAMES, 8)
    pipeline.scheduler.set_timesteps(2)
    schedule = parse_schedule("a", num_frames=FRAMES, fps=8)
    with forwards.co_denoising(pipeline, settings, timebase, schedule, 5), torch.no_grad():
        module(
            hidden_states=numbered, timestep=torch.tensor([500.0]), encoder_hidden_states=torch.zeros(1, 5, 16),
            control_hidden_states=hint.latents, control_hidden_states_scale=torch.ones(1), return_dict=False,
        )  # fmt: skip
    assert {frame for row in seen for frame in row} == set(range(9))
    assert len(seen) >= 3


def test_another_hint_changes_only_the_windows_that_see_it(pipeline, hint):
    changed = hint.latents.clone()
    changed[:, :, 8:] += 1
    # One step, guided once: what a window predicts goes into the latent frames that it covers, and nowhere else.
    before, after = (
        video(pipeline, SETTINGS, "a red circle", hint=VaceHint(each), num_inference_steps=1)
        for each in (hint.latents, changed)
    )
    moved = (before - after).abs().amax((0, 1, 3, 4)) > 1e-6
    assert moved.tolist() == [False] * 5 + [True] * 4


@pytest.mark.parametrize("change", ["latents", "strength"])
def test_a_hint_changes_the_result(pipeline, hint, change):
    other = VaceHint(hint.latents.flip(3)) if change == "latents" else VaceHint(hint.latents, 0.5)
    assert (video(pipeline, SETTINGS, hint=hint) - video(pipeline, SETTINGS, hint=other)).abs().max() > 1e-4


def test_the_pipeline_is_as_before(pipeline, hint):
    def broken(_):
        raise KeyboardInterrupt

    before = dict(vars(pipeline))
    with pytest.raises(KeyboardInterrupt):
        video(pipeline, SETTINGS, hint=hint, progress=broken)
    assert {name for name in vars(pipeline) if name.startswith("prep")} == set()
    assert set(before) <= set(vars(pipeline))
    assert "forward" not in vars(pipeline.transformer)


def test_mistakes_are_named(pipeline, tiny_pipelines, hint):
    with pytest.raises(ValueError, match=r"WanPipeline cannot read"):
        video(tiny_pipelines("wan"), SETTINGS, hint=hint)
    with pytest.raises(ValueError, match=r"strength of the hint is -1"):
        video(pipeline, SETTINGS, hint=VaceHint(hint.latents, -1.0))
    with pytest.raises(ValueError, match=r"hint has the shape \(1, 96, 8, 4, 4\); expected \(1, c, 9, 4, 4\)"):
        video(pipeline, SETTINGS, hint=VaceHint(hint.latents[:, :, :8]))
    with pytest.raises(ValueError, match=r"inside has frames of \(16, 16\)"):
        encode_hint(pipeline, 2, SIZE, SIZE, inside=[random_frames(5, size=16)])
    with pytest.raises(ValueError, match="outside has no frames"):
        encode_hint(pipeline, 2, SIZE, SIZE, outside=[])
    timebase, schedule = timebase_for(pipeline, FRAMES, 8), parse_schedule("a", num_frames=FRAMES, fps=8)
    denoising = forwards.co_denoising(pipeline, SETTINGS, timebase, schedule, 5)
    with denoising, pytest.raises(UnsupportedDenoiserError, match="as many latent frames"):
        pipeline.transformer(
            torch.zeros(1, 16, 9, 4, 4), torch.tensor([5.0]), torch.zeros(1, 5, 16),
            control_hidden_states=hint.latents[:, :, :8],
        )  # fmt: skip


def test_an_interrupt_ends_the_encoding(pipeline):
    def stop(frames):
        if frames > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_hint(pipeline, 9, SIZE, SIZE, on_frames=stop)


@pytest.mark.parametrize("accelerate", [True, False])
def test_a_vace_folder_is_read_whole(tiny_vace_folder, pipeline, monkeypatch, accelerate):
    from glv_core.hosts.diffusers import folder as folders

    if not accelerate:
        monkeypatch.setattr(folders, "find_spec", lambda _: None)
    folder = read_model_folder(tiny_vace_folder)
    assert (folder.denoiser, folder.takes_hints, folder.branch) == ("WanVACETransformer3DModel", True, None)
    assert (folder.compression.ratio, folder.multiple, folder.longest_window) == (4, 16, 128)
    loaded = load_pipeline(folder, "cpu", "float32", branch=True)
    assert type(loaded).__name__ == "WanVACEPipeline"
    for name, tensor in pipeline.transformer.state_dict().items():
        assert torch.equal(loaded.transformer.state_dict()[name], tensor)


def test_a_branch_beside_a_transformer_is_added_to_it(tiny_branch_folder, tiny_pipelines, pipeline, hint):
    folder = read_model_folder(tiny_branch_folder)
    assert folder.takes_hints and folder.branch == tiny_branch_folder / "vace"
    assert type(load_pipeline(folder, "cpu", "float32")).__name__ == "WanPipeline"
    loaded = load_pipeline(folder, "cpu", "float32", branch=True)
    state = loaded.transformer.state_dict()
    base, branch = tiny_pipelines("wan").transformer.state_dict(), pipeline.transformer.state_dict()
    assert set(state) == set(base) | {name for name in branch if name.startswith("vace_")}
    for name, tensor in state.items():
        assert torch.equal(tensor, branch[name] if name.startswith("vace_") else base[name])
    strong, weak = (video(loaded, SETTINGS, hint=VaceHint(hint.latents, s)) for s in (1.0, 0.0))
    assert (strong - weak).abs().max() > 1e-3
    # Without strength the branch adds nothing: what is left is the transformer that it lies beside.
    torch.testing.assert_close(weak, video(tiny_pipelines("wan"), SETTINGS), atol=1e-4, rtol=1e-4)
    half = load_pipeline(folder, "cpu", "bfloat16", branch=True).transformer
    kinds = {name: tensor.dtype for name, tensor in half.state_dict().items()}
    assert kinds["vace_blocks.0.ffn.net.2.weight"] == kinds["blocks.0.ffn.net.2.weight"] == torch.bfloat16
    assert kinds["vace_blocks.0.scale_shift_table"] == kinds["blocks.0.scale_shift_table"] == torch.float32


def test_a_branch_of_another_model_is_refused(tiny_branch_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_branch_folder, tmp_path / "model")
    weights = tmp_path / "model" / "vace" / "diffusion_pytorch_model.safetensors"
    config = tmp_path / "model" / "vace" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "ffn_dim": 64}))
    with pytest.raises(ValueError, match=r"vace does not fit the transformer beside it: .*size mismatch"):
        load_pipeline(read_model_folder(tmp_path / "model"), "cpu", "float32", branch=True)
    save_file({**load_file(weights), "blocks.0.norm2.bias": torch.zeros(2)}, weights)
    with pytest.raises(ValueError, match=r"blocks\.0\.norm2\.bias, which is no part of a VACE branch"):
        load_pipeline(read_model_folder(tmp_path / "model"), "cpu", "float32", branch=True)


def test_the_demo_models_branch_fits_it():
    folder = read_model_folder(MODEL_DIR)
    assert folder.takes_hints
    transformer = load_pipeline(folder, "cpu", "float32", branch=True).transformer
    assert transformer.config.vace_layers == [0, 2, 4]
    assert transformer.vace_blocks[0].proj_out.weight.abs().max() > 0
