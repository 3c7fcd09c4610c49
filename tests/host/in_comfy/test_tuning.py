"""Tune on Video and Load Tuning: what is trained, and by what; runs that are cut off; what comes of it on a MODEL."""

import gc

import combined
import comfy.model_management
import comfy.utils
import families
import pytest
import tiny
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.every_host

SETTINGS = {
    "name": "tuned", "steps": 3, "learning_rate": 1e-2, "rank": 2, "window": 17, "stride": 8, "layers": "attention",
    "method": "low_rank", "identifiers": "none", "seed": 1, "preview_every": 0, "gradient_checkpointing": False,
}  # fmt: skip
WINDOWS = {"window": 17, "overlap": 8, "schedule": "static", "merge": "flat", "windows_per_forward": 0}
ATTENTION = {"self_attn", "cross_attn"}


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    """ComfyUI's output folder, with its LoRAs in it."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path / "loras")], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def core():
    from long_video_pack.glv_core import tuning

    return tuning


def video(frames=9, channels=16, seed=3):
    """A LATENT that changes along the video."""
    generator = torch.Generator().manual_seed(seed)
    return {"samples": torch.randn((1, channels, frames, 4, 4), generator=generator) * 0.7}


def tune(model, latent, **changed):
    return run(model, latent, **changed).args


def run(model, latent, **changed):
    """The node's output."""
    from long_video_pack.nodes.tune_on_video import TuneOnVideo

    given = {**SETTINGS, **changed}
    positive, empty = given.pop("positive", tiny.conditioning(1)), given.pop("empty", tiny.conditioning(2))
    return TuneOnVideo.execute(model, positive, empty, latent, **given)


def weights(output, file):
    return comfy.utils.load_torch_file(str(output / "loras" / file))


def predict(model, latent, cond, cfg=1.0, negative=None, seed=5, **windows):
    """One step of the sampler: what the model predicts, merged."""
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler

    made = CoDenoiseKSampler.execute(
        model, seed, 1, cfg, "euler", "simple", cond, negative or cond, latent, 1.0, **{**WINDOWS, **windows}
    )
    return made.args[0]["samples"]


@pytest.mark.parametrize(
    "layers, wanted",
    [
        ("attention", {f"{a}.{p}" for a in ATTENTION for p in "qkvo"}),
        ("attention_and_feed_forward", {f"{a}.{p}" for a in ATTENTION for p in "qkvo"} | {"ffn.0", "ffn.2"}),
        ("self_attention", {f"self_attn.{p}" for p in "qkvo"}),
        ("cross_attention", {f"cross_attn.{p}" for p in "qkvo"}),
        ("queries", {"self_attn.q", "cross_attn.q"}),
    ],
)
def test_only_the_chosen_layers_change(output, layers, wanted):
    model = tiny.wan()
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    tuned, file, losses = tune(model, video(), layers=layers)
    assert len(losses["loss"]) == 3
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.state_dict().items())
    assert model.patches == {} and "context_handler" not in model.model_options
    expected = {f"diffusion_model.blocks.{block}.{name}.weight" for block in range(2) for name in wanted}
    assert set(tuned.patches) == expected
    found = weights(output, file)
    assert {name.split(".lora_")[0] for name in found if ".lora_" in name} == {
        e.removesuffix(".weight") for e in expected
    }
    assert all(found[name].any() for name in found if ".lora_" in name)  # each of them learnt something


def without_gradient(attention):
    """Attention as kernels without a gradient do it."""

    def attend(*args, **kwargs):
        with torch.no_grad():
            return attention(*args, **kwargs)

    return attend


@pytest.mark.parametrize("method", ["low_rank", "gen_l_video"])
def test_a_patch_of_attention_without_a_gradient_gives_way(output, method):
    image = method == "gen_l_video"
    model = tiny.sd15() if image else tiny.wan(1)
    patched = model.clone()
    options = patched.model_options.setdefault("transformer_options", {})
    options["optimized_attention_override"] = override = without_gradient(
        lambda func, *args, **more: func(*args, **more)
    )
    given = {
        "positive": tiny.text(1), "empty": tiny.text(0), **IMAGE
    } if image else {"layers": "queries"}  # fmt: skip
    found = [
        weights(output, tune(each, image_video() if image else video(), **given, gradient_checkpointing=True)[1])
        for each in (model, patched)
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert patched.model_options["transformer_options"]["optimized_attention_override"] is override


@pytest.mark.parametrize("layers", ["queries", "attention"])
def test_layers_that_no_gradient_reaches_are_refused(output, monkeypatch, layers):
    from long_video_pack.glv_core.hosts.comfy.tuning import training

    monkeypatch.setattr(training, "_attend", without_gradient(training._attend))
    with pytest.raises(ValueError, match=r"No gradient reaches diffusion_model\.blocks\.0.*--use-sage-attention"):
        tune(tiny.wan(1), video(), layers=layers, gradient_checkpointing=True)
    assert not list((output / "loras").glob("*"))


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "nvfp4"])  # a number a byte, and two
def test_the_layers_of_quantised_checkpoints_are_trained(output, monkeypatch, kind):
    # as a GPU that computes with them
    monkeypatch.setattr(comfy.model_management, "supports_fp8_compute", lambda *_, **__: True)
    model, latent, cond = tiny.quantised_wan(kind, 2), video(), tiny.conditioning(4)
    layer = model.model.diffusion_model.blocks[0].self_attn.q
    assert not isinstance(layer, torch.nn.Linear) and layer._full_precision_mm == (kind == "nvfp4")
    before = layer.weight.dequantize().clone()
    tuned, file, losses = tune(model, latent, identifiers="continuous", steps=1, clip_drop=0.0)
    assert losses["loss"][0] == pytest.approx(tune(tiny.wan(), latent, steps=1)[2]["loss"][0], rel=0.2)
    found = weights(output, file)
    learnt = [name for name in found if name.endswith((".lora_up.weight", ".up"))]
    assert len(learnt) == 2 * 8 + 2 and all(found[name].any() for name in learnt)
    assert torch.equal(layer.weight.dequantize(), before)
    assert not torch.equal(predict(tuned, latent, cond), predict(model, latent, cond))


def test_it_learns_the_video():
    _, _, losses = tune(tiny.wan(), video(), steps=60, batch_size=2, rank=4)
    first, last = losses["loss"][:15], losses["loss"][-15:]
    assert sum(last) < 0.9 * sum(first)


def test_each_clip_is_trained_by_its_own_windows_alone(output):
    model, latent = tiny.wan(1), video(21)
    _, file, _ = tune(model, latent, identifiers="bank", steps=2, clip_drop=0.0)
    tuning = core()
    options = tuning.TuningOptions(2, 5, 2, 1, 1e-2, 2, clip_drop=0.0, identifiers="bank", seed=1)
    clips = {draw.start // 2 for step in range(2) for draw in tuning.draws_of_step(options, 21, step)}
    found = {name: weight for name, weight in weights(output, file).items() if name.startswith("clip_identifiers.")}
    assert len(found) == 9 * 2  # the query of one block: (21 - 5) / 2 + 1 clips, down and up
    for name, weight in found.items():
        clip, part = name.split(".")[-2:]
        if part == "up":
            assert bool(weight.any()) == (int(clip) in clips), name


def test_more_clips_than_fifty(output):
    _, file, _ = tune(tiny.wan(1), video(113), identifiers="bank", steps=1, clip_drop=0.0, rank=1)
    clips = {int(name.split(".")[-2]) for name in weights(output, file) if name.startswith("clip_identifiers.")}
    assert clips == set(range(55))


@pytest.mark.parametrize("cut_at", [1, 3])
def test_a_run_that_was_cut_off_ends_with_the_same_weights(output, monkeypatch, cut_at):
    model, latent = tiny.wan(1), video()
    _, whole, losses = tune(model, latent, name="whole", steps=5, identifiers="continuous")
    from long_video_pack.glv_core.hosts.comfy.tuning import preview

    def stop(self, losses, guess):
        if len(losses) == cut_at:
            comfy.model_management.interrupt_current_processing(True)

    with monkeypatch.context() as patch:
        patch.setattr(preview.TuningProgress, "on_step", stop)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            tune(model, latent, name="cut", steps=5, identifiers="continuous")
    assert not list((output / "loras").glob("cut*"))
    steps = count_steps(monkeypatch)
    _, cut, again = tune(model, latent, name="cut", steps=5, identifiers="continuous")
    assert len(steps) == 5 - cut_at and again == losses
    one, other = weights(output, whole), weights(output, cut)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def count_steps(monkeypatch):
    """The losses that are computed from now on, one a window."""
    from long_video_pack.glv_core.hosts.comfy.tuning import training

    seen, loss = [], training._Windows.loss
    monkeypatch.setattr(training._Windows, "loss", lambda self, draw: seen.append(draw) or loss(self, draw))
    return seen


@pytest.mark.parametrize("scheduled", [False, True])
def test_more_steps_go_on_from_the_end(output, monkeypatch, scheduled):
    model, latent = tiny.wan(1), video()
    texts = {"positive": tiny.scheduled("one | two", 33) if scheduled else tiny.conditioning(1)}
    tune(model, latent, steps=2, **texts)
    _, whole, _ = tune(model, latent, name="whole", steps=4, **texts)
    steps = count_steps(monkeypatch)
    _, further, _ = tune(model, latent, steps=4, **texts)
    assert len(steps) == 2
    one, other = weights(output, whole), weights(output, further)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_was_trained_already_is_read_from_its_file(monkeypatch):
    model, latent = tiny.wan(1), video()
    tuned, file, _ = tune(model, latent, identifiers="bank")
    steps = count_steps(monkeypatch)
    again, found, same = tune(model, latent, identifiers="bank")
    assert not steps and found == file and len(same["loss"]) == 3
    cond = tiny.conditioning(4)
    assert_close(predict(again, latent, cond), predict(tuned, latent, cond))


CHANGED = {
    "learning_rate": 2e-2, "rank": 3, "window": 9, "stride": 4, "layers": "queries", "identifiers": "bank", "seed": 2,
    "batch_size": 2, "text_drop": 0.9, "keep_strength": 0.0, "precision": "bf16",
}  # fmt: skip


def image_video(frames=9):
    """A LATENT of an image model, whose frames are its batch."""
    return {"samples": torch.randn((frames, 4, 8, 8), generator=torch.Generator().manual_seed(3))}


IMAGE = {"method": "gen_l_video", "identifiers": "bank", "window": 5, "stride": 2, "clip_drop": 0.0}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gen_l_videos_own_way_trains_what_it_says_and_nothing_else(output, checkpointing):
    model = tiny.sd15()
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    texts = {"positive": tiny.text(1), "empty": tiny.text(0)}
    tuned, file, _ = tune(
        model, image_video(), steps=6, **texts, **IMAGE, gradient_checkpointing=checkpointing, learning_rate=1e-3
    )
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.state_dict().items())
    found = weights(output, file)
    blocks = {name.split(".transformer_blocks")[0] for name in before if "transformer_blocks" in name}
    assert len(blocks) == 3
    whole = {f"{block}.transformer_blocks.0.attn{which}.to_q.diff" for block in blocks for which in (1, 2)}
    assert {name for name in found if name.endswith(".diff")} == whole and all(found[name].any() for name in whole)
    assert not [name for name in found if ".lora_" in name]
    bank = {name.removeprefix("clip_identifiers.").rsplit(".", 2)[0] for name in found if name.startswith("clip_")}
    assert bank == {f"{block}.transformer_blocks.0.attn1.to_q" for block in blocks}
    over_time = [name for name in found if name.startswith("layers_over_time.") and "attention.to_out" in name]
    assert len(over_time) == 6 and all(found[name].any() for name in over_time)
    from long_video_pack.nodes.load_tuning import LoadTuning

    latent, cond = image_video(13), tiny.text(4)
    loaded = LoadTuning.execute(model, file, 1.0, "stretched").args[0]
    sizes = {"window": 5, "overlap": 3}
    assert torch.equal(predict(loaded, latent, cond, **sizes), predict(tuned, latent, cond, **sizes))
    plain = predict(model, latent, cond, **sizes)
    assert not torch.allclose(predict(loaded, latent, cond, **sizes), plain, atol=1e-2)
    none, half = (LoadTuning.execute(model, file, strength, "stretched").args[0] for strength in (0.0, 0.5))
    assert torch.equal(predict(none, latent, cond, **sizes), plain)
    one, other = (each.additional_models["tuned_layers_over_time"][0].model.tensors() for each in (loaded, half))
    for name, weight in one.items():
        assert_close(other[name], weight * (0.5 if "attention.to_out" in name else 1.0))


def test_controls_steer_what_is_trained(output):
    """A ControlNet behind a T2I-Adapter, as the host loads them, in inference mode."""
    from test_controls import adapter, conds, controlnet, pictures

    model = tiny.sd15()

    def trained(name, net=20.0, before=20.0, checkpointing=False):
        first = adapter(pictures(9), strength=before)
        whole = first.t2i_model.forward  # the tiny network has two layers on its way down, the adapter is for three
        first.t2i_model.forward = lambda hint: {"input": whole(hint)["input"][:2]}
        control = controlnet(pictures(9), strength=net).set_previous_controlnet(first)
        assert next(control.control_model.parameters()).is_inference()
        positive, empty = conds(control)
        settings = {**IMAGE, "text_drop": 0.0, "steps": 2, "learning_rate": 1e-3, "name": name}
        _, file, losses = tune(
            model, image_video(), positive=positive, empty=empty, **settings, gradient_checkpointing=checkpointing
        )
        return weights(output, file), losses["loss"]

    (plain, losses), (again, _) = trained("plain"), trained("again", checkpointing=True)
    for name in plain:
        assert_close(plain[name], again[name], rtol=1e-3, atol=1e-5)
    for name, strengths in {"adapter": {"net": 0.0}, "controlnet": {"before": 0.0}}.items():
        assert losses[0] != pytest.approx(trained(name, **strengths)[1][0], rel=1e-4), name


def test_gen_l_videos_own_way_learns(output):
    texts = {"positive": tiny.text(1), "empty": tiny.text(0)}
    *_, losses = tune(tiny.sd15(), image_video(), steps=60, **texts, **{**IMAGE, "learning_rate": 1e-2})
    assert sum(losses["loss"][-15:]) < 0.9 * sum(losses["loss"][:15])


def test_gen_l_videos_own_way_is_for_image_models():
    with pytest.raises(ValueError, match=r"TuneOnVideo.*low_rank"):
        tune(tiny.wan(1), video(), method="gen_l_video")
    texts = {"positive": tiny.text(1), "empty": tiny.text(0)}
    with pytest.raises(ValueError, match="keeps no prompts"):
        tune(tiny.sd15(), image_video(), **texts, **IMAGE, keep=tiny.text(3), keep_strength=1.0)


def test_every_input_changes_the_weights(output):
    model, latent, keep = tiny.wan(1), video(), tiny.conditioning(7)

    def trained(**changed):
        *_, file, _ = tune(model, latent, steps=2, keep=keep, **changed)
        return weights(output, file)

    usual = trained()
    for name, value in CHANGED.items():
        other = trained(**{name: value})
        assert other.keys() != usual.keys() or any(
            other[key].shape != usual[key].shape or not torch.equal(other[key], usual[key]) for key in usual
        ), name
    dropped, kept = (trained(identifiers="bank", clip_drop=drop) for drop in (1.0, 0.0))
    ups = [name for name in kept if name.startswith("clip_") and name.endswith("up")]
    assert not any(dropped[name].any() for name in ups) and any(kept[name].any() for name in ups)


def test_a_noise_mask_changes_the_weights_and_their_file(output):
    model, latent, masks = tiny.wan(1), video(), [torch.ones(1, 1, 9, 4, 4) for _ in range(2)]
    masks[0][:, :, ::2] = 0
    masks[1][:, :, 1::2] = 0
    given = [latent, *({**latent, "noise_mask": mask} for mask in masks)]
    files = [tune(model, each, steps=1)[1] for each in given]
    assert len(set(files)) == 3
    name = "diffusion_model.blocks.0.self_attn.q.lora_up.weight"
    one, two, three = (weights(output, file)[name] for file in files)
    assert not torch.equal(one, two) and not torch.equal(two, three)


@pytest.mark.parametrize("image", [False, True])
def test_windows_that_are_kept_whole_are_not_trained(monkeypatch, image):
    """A mask of the pixels' size, of frames or latent frames, keeps all but the sixth and seventh."""
    steps, mask = count_steps(monkeypatch), torch.zeros(9, 32, 32)
    mask[5:7, :8, :8] = 1
    model, latent = (tiny.sd15(), image_video()) if image else (tiny.wan(1), video())
    texts = {"positive": tiny.text(1), "empty": tiny.text(0)} if image else {}
    sizes = {"window": 2, "stride": 1} if image else {"window": 5, "stride": 4}
    made = run(model, {**latent, "noise_mask": mask}, steps=12, **texts, **sizes)
    assert {draw.start for draw in steps} == {4, 5, 6} and "on 3 windows" in made.ui["text"][0]


def test_gradient_checkpointing_changes_nothing(output):
    model, latent = tiny.wan(), video()
    files = [tune(model, latent, name=str(on), gradient_checkpointing=on)[1] for on in (False, True)]
    one, other = (weights(output, file) for file in files)
    for name in one:
        assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)


def test_identifiers_learn_beside_kept_prompts_and_checkpointing(output):
    """What a block computes again is told the same clip as the first time."""
    model, latent, keep = tiny.wan(1), video(), tiny.conditioning(7)
    files = [
        tune(
            model, latent, name=str(on), gradient_checkpointing=on, identifiers="bank", clip_drop=0.0, keep=keep,
            keep_strength=1.0,
        )[1]
        for on in (False, True)
    ]  # fmt: skip
    one, other = (weights(output, file) for file in files)
    assert any(one[name].any() for name in one if name.startswith("clip_") and name.endswith("up"))
    for name in one:
        assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["identifiers", "layers over time"])
def test_a_tuned_model_is_tuned_as_it_will_be_used(output, monkeypatch, kind):
    """A file's identifiers stay where a tuning has none, and each window is told of them; new ones take their place."""
    from long_video_pack.glv_core.hosts.comfy.tuning import identified, training
    from long_video_pack.nodes.load_tuning import LoadTuning

    if kind == "identifiers":
        model, latent, texts, settings = tiny.wan(1), video(), {"keep": tiny.conditioning(7), "keep_strength": 1.0}, {}
    else:
        model, latent, texts = tiny.sd15(), image_video(), {"positive": tiny.text(1), "empty": tiny.text(0)}
        settings = IMAGE
    common = {**texts, "clip_drop": 0.0, "learning_rate": 0.05}
    _, first, _ = tune(model, latent, **{**common, "identifiers": "bank", "steps": 4, **settings, "keep_strength": 0.0})
    loaded = LoadTuning.execute(model, first, 1.0, "stretched").args[0]
    told, drawn, starts, loss = [], [], identified.Identified.starts, training._Windows.loss
    monkeypatch.setattr(identified.Identified, "starts", lambda *given: told.append(starts(*given)) or told[-1])
    monkeypatch.setattr(training._Windows, "loss", lambda self, draw: drawn.append(draw) or loss(self, draw))
    usual = {**common, **settings, "method": "low_rank", "text_drop": 0.5, "steps": 6}
    ways = [{**usual, "identifiers": "none", "name": str(on), "gradient_checkpointing": on} for on in (False, True)]
    made = [weights(output, tune(loaded, latent, **way)[1]) for way in ways]
    calls = 3 if kind == "identifiers" else 1  # of the network in a step: what is kept, before and now, and the text
    assert {draw.text for draw in drawn} == {True, False}
    assert told == [[float(draw.start)] for draw in drawn for _ in range(calls) if draw.text]
    for name in made[0]:
        assert_close(made[0][name], made[1][name], rtol=1e-3, atol=1e-5)
    told.clear()
    again, *_ = tune(loaded, latent, **{**usual, "steps": 1, "identifiers": "continuous"})
    assert not told
    new = again.model_options["transformer_options"]["clip_identifiers"].identifiers
    assert new.kind == "continuous"


def test_kept_prompts_change_less(output):
    model, latent, keep = tiny.wan(1), video(), tiny.conditioning(7)
    plain = predict(model, latent, keep)

    def change(strength):
        tuned, *_ = tune(model, latent, steps=30, keep=keep, keep_strength=strength)
        return (predict(tuned, latent, keep) - plain).square().mean()

    assert change(30.0) < 0.5 * change(0.0)


def test_without_prompts_to_keep_their_strength_says_nothing():
    model, latent = tiny.wan(1), video()
    assert tune(model, latent, steps=1, keep_strength=3.0)[1] == tune(model, latent, steps=1, keep_strength=0.0)[1]


def test_the_file_is_linked_to_the_menus_of_loaders():
    import execution
    import nodes
    from comfy_execution.validation import validate_node_input
    from long_video_pack.nodes.gen_l_video_preset import GenLVideoPreset
    from long_video_pack.nodes.load_tuning import LoadTuning
    from long_video_pack.nodes.tune_on_video import TuneOnVideo

    def check(source, output, node, name):
        return validate_node_input(source.RETURN_TYPES[output], execution.get_input_info(node, name)[0])

    loader, sampler = nodes.LoraLoaderModelOnly, nodes.KSampler
    assert TuneOnVideo.RETURN_TYPES[1] == "COMBO"
    assert check(TuneOnVideo, 1, LoadTuning, "file") and check(TuneOnVideo, 1, loader, "lora_name")
    assert not check(TuneOnVideo, 1, sampler, "steps") and not check(TuneOnVideo, 1, loader, "model")
    names = [each.display_name for each in GenLVideoPreset.define_schema().outputs]
    for name in ("sampler_name", "scheduler"):
        assert check(GenLVideoPreset, names.index(name), sampler, name)


def test_only_windows_of_a_clip_are_told_of_it(output):
    """With one clip's weights alone, only latent frames change that its window sees."""
    tuning = core()
    from long_video_pack.glv_core.hosts.comfy.tuning.on_model import put_on

    model, latent, cond = tiny.wan(1), video(13), tiny.conditioning(4)
    layer = "diffusion_model.blocks.0.self_attn.q"
    identifiers = tuning.ClipIdentifiers("bank", {layer: (128, 128)}, 4, tuning.Places(13, 5, 2))
    identifiers.weights[f"{layer.replace('.', '/')}/2/up"].data += 3.0
    tuned = put_on(model, tuning.Tuned({}, {"family": "WAN21"}, identifiers.requires_grad_(False)))
    # windows of 5 latent frames that share 2: they start at 0, 3, 6 and 8
    changed = (predict(tuned, latent, cond) - predict(model, latent, cond)).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    assert changed.nonzero().flatten().tolist() == []  # clips 0, 1, 3 and 4
    static = {"overlap": 10}  # they share 3, and start at 0, 2, 4, 6 and 8
    one, other = predict(tuned, latent, cond, **static), predict(model, latent, cond, **static)
    changed = (one - other).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    assert changed.nonzero().flatten().tolist() == [4, 5, 6, 7, 8]


def test_the_unconditional_prediction_is_not_told():
    model, latent = tiny.wan(1), video(13)
    tuned, *_ = tune(model, latent, identifiers="continuous", steps=4, layers="self_attention", clip_drop=0.0)
    from long_video_pack.nodes.load_tuning import LoadTuning
    from long_video_pack.glv_core.hosts.comfy.tuning.files import list_tuned

    off = LoadTuning.execute(model, list_tuned()[0], 1.0, "off").args[0]
    positive, negative = tiny.conditioning(4), tiny.conditioning(5)
    told, untold = predict(tuned, latent, positive), predict(off, latent, negative)
    assert not torch.allclose(told, predict(off, latent, positive), atol=1e-4)
    guided = predict(tuned, latent, positive, cfg=3.0, negative=negative)
    assert_close(guided, untold + 3.0 * (told - untold), rtol=1e-4, atol=1e-4)


def test_windows_of_a_forward_pass_are_told_apart(output):
    tuned, *_ = tune(tiny.wan(1), video(13), identifiers="bank", steps=6, clip_drop=0.0)
    latent, cond = video(13), tiny.conditioning(4)
    together = predict(tuned, latent, cond, cfg=2.0, negative=tiny.conditioning(5))
    apart = predict(tuned, latent, cond, cfg=2.0, negative=tiny.conditioning(5), windows_per_forward=1)
    assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_a_chunk_of_a_stream_is_told_its_place(monkeypatch):
    from long_video_pack.glv_core.hosts.comfy.tuning import identified
    from long_video_pack.nodes.streaming_extend import StreamingExtend

    tuned, *_ = tune(tiny.wan(1), video(13), identifiers="continuous")
    seen, starts = [], identified.Identified.starts
    monkeypatch.setattr(
        identified.Identified,
        "starts",
        lambda *given: seen.append(given[1].get("long_video_windows")) or starts(*given),
    )
    StreamingExtend.execute(
        tuned, seed=1, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple", positive=tiny.conditioning(1),
        negative=tiny.conditioning(0), length=49, chunk=25, overlap=5, run_name="", width=32, height=32,
    )  # fmt: skip
    places = [(place.start, place.window, place.length) for shown in seen for place in shown]
    assert places[0] == (0, 7, 13) and places[-1][2] == 13 and places[-1][0] > 0


def test_load_tuning_is_what_tuning_gave():
    from long_video_pack.glv_core.hosts.comfy.tuning.files import list_tuned
    from long_video_pack.nodes.load_tuning import LoadTuning

    model, latent, cond = tiny.wan(1), video(), tiny.conditioning(4)
    tuned, file, _ = tune(model, latent, identifiers="bank", clip_drop=0.0)
    assert list_tuned() == [file]
    loaded = LoadTuning.execute(model, file, 1.0, "stretched").args[0]
    assert torch.equal(predict(loaded, latent, cond), predict(tuned, latent, cond))
    none = LoadTuning.execute(model, file, 0.0, "stretched").args[0]
    assert torch.equal(predict(none, latent, cond), predict(model, latent, cond))
    weaker = LoadTuning.execute(model, file, 0.5, "stretched").args[0]
    assert not torch.equal(predict(weaker, latent, cond), predict(tuned, latent, cond))
    whole, half = (each.model_options["transformer_options"]["clip_identifiers"] for each in (tuned, weaker))
    for name, weight in whole.identifiers.weights.items():
        assert_close(half.identifiers.weights[name], weight * (0.5 if name.endswith("up") else 1.0))


@pytest.mark.parametrize("name", ["loras/stars", "loras\\stars"])
def test_a_name_may_have_folders(output, name):
    made = run(tiny.wan(1), video(), name=name, steps=1)
    _, file, _ = made.args
    assert file.startswith("loras/stars_") and (output / "loras" / file).is_file()
    assert f"Written to loras/{file}." in made.ui["text"][0]
    assert not [path for path in output.rglob("*") if "\\" in path.name]


def test_the_hosts_own_loader_reads_the_file(output, caplog):
    import nodes

    model, latent, cond = tiny.wan(1), video(), tiny.conditioning(4)
    tuned, file, _ = tune(model, latent)
    loaded = nodes.LoraLoaderModelOnly().load_lora_model_only(model, file, 1.0)[0]
    assert not [record for record in caplog.records if "not loaded" in record.getMessage()]
    assert torch.equal(predict(loaded, latent, cond), predict(tuned, latent, cond))


def test_foreign_files_are_refused_with_a_reason(output):
    from long_video_pack.nodes.load_tuning import LoadTuning
    from safetensors.torch import save_file

    model = tiny.wan(1)
    _, file, _ = tune(model, video())
    loras = output / "loras"
    save_file({"diffusion_model.x.lora_up.weight": torch.zeros(2, 2)}, loras / "plain.safetensors")
    save_file({"something": torch.zeros(2)}, loras / "other.safetensors")
    (loras / "broken.safetensors").write_bytes(b"\x01" * 100)
    (loras / "cut.safetensors").write_bytes((loras / file).read_bytes()[:-10])
    for name, words in {
        "plain": "an ordinary LoRA.*LoraLoaderModelOnly", "other": "other weights", "broken": "damaged",
        "cut": "damaged", "missing": "not among the LoRAs",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"LoadTuning.*{words}"):
            LoadTuning.execute(model, f"{name}.safetensors", 1.0, "off")
    with pytest.raises(ValueError, match=r"WAN21.*Connect the model that was tuned"):
        LoadTuning.execute(tiny.sd15(), file, 1.0, "off")


def test_mistakes_are_said_before_anything_is_trained(output, monkeypatch):
    steps = count_steps(monkeypatch)
    model, latent = tiny.wan(1), video()
    for changed, words in (
        ({"window": 81}, "window is 81 frames, and the video has 33"),
        ({"name": "../out"}, "name is '../out'"),
        ({"name": " "}, "name is ' '"),
        ({"name": "\\out"}, "name is"),
        ({"latent": tiny.latent(9)}, "latent_image is empty"),
        ({"latent": {**latent, "noise_mask": torch.zeros(9, 4, 4)}}, "keeps all of it"),
        ({"latent": video(channels=4)}, "another model family"),
        ({"positive": [[tiny.conditioning(1)[0][0], {"area": (4, 4, 0, 0), "strength": 1.0}]]}, "area"),
    ):
        with pytest.raises(ValueError, match=f"TuneOnVideo.*{words}"):
            tune(model, changed.pop("latent", latent), **changed)
    assert not steps and not list(output.rglob("*.safetensors"))


def test_prompts_along_the_video_are_seen_where_they_are(monkeypatch):
    from long_video_pack.glv_core.hosts.comfy.tuning import training

    positive = tiny.scheduled("one | two", 33, transition="hard")
    seen, entry = [], training._Windows._entry

    def spy(self, name, view, draw):
        made = entry(self, name, view, draw)
        seen.append((draw.start, made["model_conds"]["c_crossattn"].cond.clone()))
        return made

    monkeypatch.setattr(training._Windows, "_entry", spy)
    made = run(tiny.wan(1), video(), positive=positive, steps=12, window=5, stride=4, text_drop=0.0)
    assert "on 7 windows of 2 latent frames" in made.ui["text"][0]  # of 8, without that across the change
    first, second = (each[0][:, :16] for each in positive)
    for start, text in seen:  # windows of two latent frames; the prompt changes behind the fifth
        if start != 4:
            assert torch.equal(text[:, :16], first if start < 4 else second), start
    assert {start < 4 for start, _ in seen} == {True, False}


def test_prompts_begin_behind_a_reference_latent(output):
    from long_video_pack.glv_core.hosts.comfy.tuning.tune import _starts

    model, latent, (_, empty) = families.wan_vace()
    extras, length = empty[0][1], latent["samples"].shape[2]
    tagged = tiny.scheduled("one | two", 4 * (length - 1) - 3, transition="hard")
    positive = [[text, {**extras, **own}] for text, own in tagged]
    options = core().TuningOptions(1, 2, 1)
    whole = _starts(model, tagged, length - 1, options)  # without the reference
    assert len(whole) < length - 2
    assert _starts(model, positive, length, options) == [0, *(start + 1 for start in whole)]
    tune(model, video(length), positive=positive, empty=empty, window=5, stride=4, steps=1)


def test_memory_does_not_grow_with_the_length(monkeypatch):
    shapes = []
    for frames in (9, 33):
        recorder = tiny.Recorder(tiny.wan(1))
        tune(recorder.model, video(frames), steps=2)
        shapes.append(set(map(tuple, recorder.shapes)))
    assert shapes[0] == shapes[1] == {(1, 16, 5, 4, 4)}


def tensors_of_length(length):
    """All tensors that there are of so many latent frames and hold as many numbers."""
    found = [each for each in gc.get_objects() if isinstance(each, torch.Tensor) and each.device.type != "meta"]
    return [each for each in found if length in each.shape and each.untyped_storage().nbytes() >= 4 * length]


@pytest.mark.parametrize("kind", ["ltx", None])
def test_what_is_as_long_as_the_video_is_not_on_the_device_while_it_trains(monkeypatch, kind):
    """Without a graphics card all is on the CPU: what can be seen is what was moved, and that nothing else is left."""
    from long_video_pack.glv_core.hosts.comfy.tuning import training

    if kind:
        model, length = combined.model(kind), 17
        positive, empty, latent = combined.text(kind, 1), combined.text(kind, 0), combined.latent(kind, length)
        for stream in latent["samples"].unbind():
            stream.normal_()
        length = sum(stream.numel() for stream in latent["samples"].unbind())  # packed into one row
    else:
        (model, latent, (positive, empty)), length = families.wan_vace(), 13
        latent["samples"].normal_()
    moved, cpu, left, loss = [], torch.Tensor.cpu, [], training._Windows.loss
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved.append(self.shape) or cpu(self).clone())

    def look(self, draw):
        held = [self.latent] + [
            cond.cond for found in self.entries.values() for entry in found for cond in entry["model_conds"].values()
        ]
        known = {id(each) for each in (*before, *held)}
        left.extend(each.shape for each in tensors_of_length(length) if id(each) not in known)
        assert length in self.latent.shape
        return loss(self, draw)

    monkeypatch.setattr(training._Windows, "loss", look)
    before = tensors_of_length(length)
    tune(model, latent, positive=positive, empty=empty, steps=1, **({"window": 33} if kind else {}))
    assert not left
    assert any(length in shape for shape in moved)
    assert kind or (1, 96, 13, 4, 4) in [tuple(shape)[-5:] for shape in moved]  # what VACE is given


def test_the_curve_and_a_guess_are_shown(monkeypatch):
    from long_video_pack.glv_core.hosts.comfy.tuning import preview

    shown = []
    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", lambda _, *given: shown.append(given))
    pictured = []
    monkeypatch.setattr(
        preview.TuningProgress, "_shown", lambda self, guess: pictured.append(guess) or [], raising=True
    )
    monkeypatch.setattr(preview.latent_preview, "get_previewer", lambda *_: object())
    tune(tiny.wan(1), video(), preview_every=2)
    assert [value for value, *_ in shown] == [1, 2, 3]
    assert [guess.shape for guess in pictured] == [(1, 16, 5, 4, 4)] * 2  # after two steps, and at the end
    kinds = [image[0] for *_, image in shown if image is not None]
    assert kinds == ["JPEG"] * 3


def test_a_guess_is_shown_as_the_samplers_show_theirs(monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args
    from long_video_pack.glv_core.hosts.comfy.tuning import preview

    model, latent = tiny.wan(1), video(5)
    known = model.model.process_latent_in(latent["samples"])[:, :, :1]
    # a network that knows the video's first frame
    model.set_model_unet_function_wrapper(
        lambda apply, given: 1e-9 * apply(given["input"], given["timestep"], **given["c"]) + known
    )
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    shown, picture = [], preview.TuningProgress.picture
    monkeypatch.setattr(
        preview.TuningProgress, "picture", lambda self, losses: shown.extend(self._frames) or picture(self, losses)
    )
    tune(model, latent, steps=1, preview_every=1)
    seen = []
    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", lambda _, *given: seen.append(given[2]))
    tiny.ksampler(model, latent, steps=1)
    assert len(shown) == 4 and seen[0][1].tobytes() == shown[0].tobytes()


@pytest.mark.parametrize("kind", ["ltx", "hunyuan", "wan_i2v", "wan_vace", "sd15"])
def test_gradients_are_right(kind, monkeypatch):
    """The slope along a direction is that of the loss itself, with the blocks computed again and without."""
    check_gradients(kind, monkeypatch)


def check_gradients(kind, monkeypatch):
    from long_video_pack.glv_core.tuning import loop

    if kind == "sd15":
        model, positive, empty, channels = tiny.sd15(), tiny.text(1), tiny.text(0), 4
        generator = torch.Generator().manual_seed(3)
        latent = {"samples": torch.randn((9, channels, 8, 8), generator=generator)}
        sizes = {"window": 5, "stride": 2}
    else:
        model, empty_latent, (positive, empty) = getattr(families, kind)()
        generator = torch.Generator().manual_seed(3)
        latent = {"samples": torch.randn(empty_latent["samples"].shape, generator=generator)}
        sizes = {"window": 33 if kind == "ltx" else 17, "stride": 8}
    slopes = {}

    def measure(self, loss, on_step=None):
        [draw] = loop.draws_of_step(self.options, self.length, 0)
        generator = torch.Generator().manual_seed(11)
        for parameter in self.parameters.values():  # away from the start, where half of the weights are zero
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.05
        ways = [torch.randn(each.shape, generator=generator) for each in self.parameters.values()]
        value = loss(draw)
        value.backward()
        slope = sum(float((each.grad * way).sum()) for each, way in zip(self.parameters.values(), ways, strict=True))
        step, values = 2e-3, []
        for sign in (1, -1):
            for parameter, way in zip(self.parameters.values(), ways, strict=True):
                parameter.data += sign * step * way
            with torch.no_grad():
                values.append(float(loss(draw)))
            for parameter, way in zip(self.parameters.values(), ways, strict=True):
                parameter.data -= sign * step * way
        slopes[len(slopes)] = (slope, (values[0] - values[1]) / (2 * step))
        self.losses = [0.0] * self.options.steps

    monkeypatch.setattr(loop.TuningLoop, "run", measure)
    for again in (False, True):
        tune(
            model, latent, positive=positive, empty=empty, name=str(again), identifiers="continuous", clip_drop=0.0,
            gradient_checkpointing=again, **sizes,
        )  # fmt: skip
    for slope, measured in slopes.values():
        assert slope == pytest.approx(measured, rel=0.03, abs=1e-3)
    assert slopes[0][0] == pytest.approx(slopes[1][0], rel=1e-3, abs=1e-5)
