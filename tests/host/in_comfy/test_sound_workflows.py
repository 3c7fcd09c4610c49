"""The shipped workflows for LTX-2.3 and MiniMax H3 from end to end, with tiny models, at 64 x 64 pixels.

Nodes, links and values are those of the API prompts, but for the steps of MiniMax H3; loaders give random models, and
that of an IC-LoRA reads a file of random weights.
"""

import functools
import importlib
import itertools
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

import av
import combined
import folder_paths
import long_video_pack
import nodes
import numpy as np
import pytest
import tiny_sound
import torch
from comfy_extras import nodes_lt
from long_video_pack.glv_core.video_io import Waveform, save_video
from PIL import Image
from safetensors.torch import save_file
from torch.testing import assert_close

PROMPTS = Path(long_video_pack.__file__).parent / "workflows" / "api"
SIDE = 64
GIVEN = {"ltx": (121, 25), "h3": (141, 24)}  # frames and fps of the video that is extended
needs_guides = pytest.mark.skipif(
    not hasattr(nodes_lt, "GetICLoRAParameters"), reason="this ComfyUI's guides have no IC-LoRA parameters"
)
needs_h3 = pytest.mark.skipif(not combined.HAS_H3, reason="this ComfyUI has no MiniMax H3")


@functools.cache
def h3_tokenizer():
    """The host's own."""
    from comfy.text_encoders.minimax import MiniMaxH3Tokenizer

    return MiniMaxH3Tokenizer()


def save_example(frames: int, fps: int) -> None:
    """A video with sound in the input folder: noise, and a tone that rises."""
    images = np.random.default_rng(2).integers(0, 256, (frames, 64, 96, 3), dtype=np.uint8)
    times = torch.arange(round(frames / fps * 48000)) / 48000
    tone = 0.5 * torch.sin(6.2832 * (220 + 90 * times) * times)
    path = Path(folder_paths.get_input_directory()) / "example.mp4"
    save_video(path, iter([torch.from_numpy(images)]), fps, audio=Waveform(tone.repeat(2, 1), 48000))


def save_ic_lora(name: str, model) -> None:
    """A LoRA for controls of half the size, as the public file says it of itself."""
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q"
    out, width = model.model.diffusion_model.transformer_blocks[0].attn1.to_q.weight.shape
    generator = torch.Generator().manual_seed(3)
    weights = {
        f"{layer}.lora_{side}.weight": torch.randn(shape, generator=generator)
        for side, shape in (("A", (2, width)), ("B", (out, 2)))
    }
    path = Path(folder_paths.get_folder_paths("loras")[0]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={"reference_downscale_factor": "2"})


class Clip:
    """A text encoder whose embeddings depend on the tokens alone; those of H3 are the host's own tokens."""

    def __init__(self, kind: str) -> None:
        self.kind, self.seen = kind, []

    def tokenize(self, text, images=()):
        if self.kind == "ltx":
            tokens = [(ord(letter), 1.0) for letter in text]
        else:
            [tokens] = h3_tokenizer().tokenize_with_weights(text, images=list(images)).values()
            tokens = tokens[0]
        self.seen.append(tokens)
        return tokens

    def encode_from_tokens_scheduled(self, tokens):
        numbers = [token for token, _ in tokens if not isinstance(token, dict)]
        made = combined.text(self.kind, sum(numbers) % 9973, len(tokens))
        if self.kind == "h3":
            made[0][1]["minimax_token_tags"] = torch.tensor([int(not isinstance(token, dict)) for token, _ in tokens])
        return made


class Run:
    """A workflow's nodes, run in ComfyUI's order of need; ``values``: what each gives, ``spy``: the network's calls."""

    def __init__(self, name: str) -> None:
        self.prompt = json.loads((PROMPTS / f"{name}.json").read_text())
        self.kind = "ltx" if name.startswith("LTX") else "h3"
        self.model = combined.model(self.kind)
        self.spy, self.clip, self.values = combined.Spy(self.model), Clip(self.kind), {}
        self.vae, self.audio_vae = (
            (tiny_sound.ltx_video_vae(), tiny_sound.ltx_audio_vae())
            if self.kind == "ltx"
            else (tiny_sound.minimax_video_vae(), tiny_sound.minimax_audio_vae())
        )
        noise = np.random.default_rng(1).integers(0, 256, (90, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(Path(folder_paths.get_input_directory()) / "example.png")
        for node in self.prompt.values():
            inputs = node["inputs"]
            inputs |= dict.fromkeys({"width", "height"} & set(inputs), SIDE)
            inputs |= {"steps": 4} if "steps" in inputs else {}
            inputs |= {"short_side": SIDE // 2} if "short_side" in inputs else {}
            if node["class_type"] == "LoadLongVideo":
                frames, fps = GIVEN[self.kind]
                save_example(inputs["length"] or frames, fps)
            if "ic-lora" in inputs.get("lora_name", ""):
                save_ic_lora(inputs["lora_name"], self.model)
        self.saved = self.of(self.number("SaveLongVideo"))[0].get_stream_source()

    def of(self, number: str) -> tuple:
        """What a node gives."""
        if number not in self.values:
            node = self.prompt[number]
            inputs = {
                name: self.of(value[0])[value[1]] if isinstance(value, list) else value
                for name, value in node["inputs"].items()
            }
            self.values[number] = self._loaded(node["class_type"], inputs) or run(node["class_type"], inputs)
        return self.values[number]

    def _loaded(self, kind: str, inputs: dict) -> tuple | None:
        is_sound = "audio" in inputs.get("vae_name", "")
        if "ic-lora" in inputs.get("lora_name", ""):
            return None
        return {
            "CheckpointLoaderSimple": (self.model, None, self.vae), "UNETLoader": (self.model,),
            "LoraLoaderModelOnly": (self.model,), "LTXAVTextEncoderLoader": (self.clip,), "CLIPLoader": (self.clip,),
            "LTXVAudioVAELoader": (self.audio_vae,), "VAELoader": (self.audio_vae if is_sound else self.vae,),
        }.get(kind)  # fmt: skip

    def number(self, kind: str) -> str:
        """The one node of a kind."""
        [found] = [number for number, node in self.prompt.items() if node["class_type"] == kind]
        return found

    def sampled(self) -> list[torch.Tensor]:
        """The streams that are saved."""
        saver = self.prompt[self.number("SaveLongVideo")]["inputs"]
        return list(self.of(saver["samples"][0])[0]["samples"].unbind())


def run(kind: str, inputs: dict) -> tuple:
    """A node of core or of the pack; what a menu brings goes with its choice."""
    for name in [name for name in inputs if "." in name]:
        menu, _, key = name.partition(".")
        if not isinstance(inputs[menu], dict):
            inputs[menu] = {menu: inputs[menu]}
        inputs[menu][key] = inputs.pop(name)
    if kind in nodes.NODE_CLASS_MAPPINGS:
        node = nodes.NODE_CLASS_MAPPINGS[kind]
        return getattr(node(), node.FUNCTION)(**inputs)
    for module in ("nodes_lt", "nodes_custom_sampler", "nodes_minimax_h3"):
        with suppress(ImportError):
            if node := getattr(importlib.import_module(f"comfy_extras.{module}"), kind, None):
                return node.execute(**inputs).args
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).strip("_")
    name = name.replace("_k_sampler", "_ksampler")
    return getattr(importlib.import_module(f"long_video_pack.nodes.{name}"), kind).execute(**inputs).args


def check_saved(made: Run, frames: int, fps: int) -> None:
    """A video of so many frames and a sound as long, neither of them still."""
    with av.open(made.saved) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps
        seen = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(stream)]
    with av.open(made.saved) as container:
        stream = container.streams.audio[0]
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
        assert len(heard) / stream.rate == pytest.approx(frames / fps, abs=0.1)
    assert len(seen) == frames and seen[0].shape == (SIDE, SIDE)
    assert heard.std() > 0
    assert sum(np.any(one != other) for one, other in itertools.pairwise(seen)) > frames / 2


def lengths(made: Run) -> list[set[int]]:
    """The latent frames of video and of sound in the network's calls."""
    streams = [call["streams"] for call in made.spy.calls]
    return [{each[0].shape[2] for each in streams}, {each[1].shape[2 if made.kind == "ltx" else 3] for each in streams}]


def prompts_seen(made: Run) -> list[float]:
    """The prompts in the network's calls, by the sums of their embeddings; two that stand side by side have both's."""
    sums = sorted({round(row.sum().item(), 1) for call in made.spy.calls for row in call["context"]})
    pairs = [one + other for one, other in itertools.combinations(sums, 2)]
    return [each for each in sums if not any(abs(each - pair) < 0.25 for pair in pairs)]


def check_extended(made: Run, length: int, sound_length: int, overlap: int, fps: int) -> None:
    """The given video and sound as they were encoded, new ones behind them, and prompts along the whole timeline."""
    axis = 2 if made.kind == "ltx" else 3
    given, heard = made.of(made.number("EncodeLongVideo"))[0]["samples"].unbind()
    video, sound = made.sampled()
    assert (video.shape[2], sound.shape[axis]) == (length, sound_length)
    count, tones = given.shape[2], heard.shape[axis]
    assert torch.equal(video[:, :, :count], given) and torch.equal(sound.narrow(axis, 0, tones), heard)
    assert given.std() > 0.01 and heard.std() > 0.01
    assert video[:, :, count:].std() > 0.01 and sound.narrow(axis, tones, sound_length - tones).std() > 0.01
    chunk = made.spy.calls[0]["streams"][0].shape[2]
    for call in made.spy.calls[:4]:  # the first chunk knows the end of the video
        slack = 1e-4 if made.kind == "ltx" else 0.01  # MiniMax H3 is shown known frames with a little noise
        assert_close(call["streams"][0][:1, :, :overlap], given[:, :, count - overlap :], rtol=0, atol=slack)
    adds = chunk - overlap
    report = made.of(made.number("StreamingExtend"))[1]
    assert f"{-(-(length - count) // adds)} chunks of {chunk} latent frames, {overlap} of them known" in report
    assert "Sound goes on from chunk to chunk as a waveform, encoded again." in report
    assert len(prompts_seen(made)) == 3
    check_saved(made, combined.frames_of(made.kind, length), fps)


def test_ltx_makes_30_seconds_from_three_prompts():
    made = Run("LTX-2.3 - Three prompts with sound")
    video, sound = made.sampled()
    assert video.shape[2] == 95 and sound.shape[2] == 753
    assert len({tuple(tokens) for tokens in made.clip.seen}) == 4  # three prompts, and the negative one
    windows, heard = lengths(made)
    assert max(windows) == 16 and min(windows) >= 8 and max(heard) in (126, 127)  # ends are no longer than they must be
    # 8 windows a step, each seen once, also where it sees two prompts. Nothing of the negative prompt.
    assert sum(len(call["context"]) for call in made.spy.calls) == 64 and len(prompts_seen(made)) == 3
    sizes = {call["context"].shape[1] for call in made.spy.calls}
    assert max(sizes) > 1.5 * min(sizes)  # two prompts side by side
    check_saved(made, 753, 25)


def test_ltx_begins_with_the_image():
    made = Run("LTX-2.3 - Image to video with sound")
    video, sound = made.sampled()
    known = made.of(made.number("LTXVImgToVideoInplace"))[0]["samples"]
    shown = made.of(made.number("LTXVPreprocess"))[0]
    assert_close(known[:, :, :1], made.vae.encode(shown))
    assert known[:, :, :1].std() > 0.01
    assert_close(video[:, :, :1], known[:, :, :1], rtol=0, atol=1e-4)
    assert (video[:, :, 1:] - known[:, :, 1:]).abs().amax(dim=(0, 1, 3, 4)).min() > 0.01
    assert sound.shape[2] == 753 and sound.std() > 0.01
    check_saved(made, 753, 25)


@needs_guides
def test_ltx_follows_a_control_video():
    made = Run("LTX-2.3 - Control video with sound")
    video, sound = made.sampled()
    assert video.shape[2] == 95 and sound.shape[2] == 753
    assert made.of(made.number("CoDenoiseModel"))[0].patches  # of the LoRA, which says that controls have half the size
    images = made.of(made.number("ControlPreprocess"))[0]
    assert len(images) == 753 and set(images.unique().tolist()) == {0.0, 1.0}  # edges
    half = {"reference_downscale_factor": 2}
    text = combined.text("ltx", 1)
    whole, window = (
        nodes_lt.LTXVAddGuide.execute(
            text, text, made.vae, {"samples": torch.zeros(1, 128, count, 2, 2)}, images[: 8 * count - 7], 0, 1.0,
            iclora_parameters=half,
        ).args
        for count in (95, 16)
    )  # fmt: skip
    control, times = whole[2]["samples"][0, :, 95:, 0, 0], window[0][0][1]["keyframe_idxs"]
    given = made.of(made.prompt[made.number("SamplerCustomAdvanced")]["inputs"]["latent_image"][0])[0]
    noise = made.of(made.number("RandomNoise"))[0].generate_noise(given).unbind()[0][0]
    seen, passes = set(), Counter()
    for call in made.spy.calls:
        level = float(call["timestep"][0].max())
        for row, mask in zip(call["streams"][0], call["denoise_mask"], strict=True):
            length = row.shape[1] // 2  # a window, and behind it its part of the control
            assert row.shape == (128, 2 * length, 2, 2) and 8 <= length <= 16
            starts = range(96 - length)
            apart = [(row[:, length:, 0, 0] - control[:, start : start + length]).abs().max() for start in starts]
            start = int(torch.stack(apart).argmin())
            assert sorted(apart)[0] < 1e-5 < 0.01 < sorted(apart)[1]
            assert torch.all(mask[:, :length] == 1) and torch.all(mask[:, length:, 0, 0] == 0)
            passes[level, start] += 1
            if level == 1:  # the first step, from noise alone
                assert_close(row[:, :length], noise[:, start : start + length])
                seen |= set(range(start, start + length))
        assert all(torch.equal(each, times[0][:, : times.shape[2] * length // 16]) for each in call["keyframe_idxs"])
        assert [entry["latent_shape"] for entry in call["guide_attention_entries"]] == [[length, 1, 1]]
    assert seen == set(range(95)) and len(prompts_seen(made)) == 3
    assert len(passes) == 64 and set(passes.values()) == {1, 2}  # 8 windows a step, once for each of their prompts
    check_saved(made, 753, 25)


@needs_h3
def test_h3_makes_30_seconds_from_three_prompts():
    made = Run("MiniMax H3 - Three prompts with sound")
    video, sound = made.sampled()
    assert video.shape[2] == 217 and sound.shape[3] == 1227
    windows, heard = lengths(made)  # ends are no longer than they must be, and clips all the same
    assert max(windows) == 57 and min(windows) >= 57 / 2 and {each % 5 for each in windows} == {2}
    assert max(heard) == 320
    from comfy_extras.nodes_minimax_h3 import MiniMaxH3ImageToVideo

    ours = list(made.clip.seen)
    for line in made.prompt[made.number("MultiPromptSchedule")]["inputs"]["prompts"].splitlines():
        MiniMaxH3ImageToVideo.execute(made.clip, made.vae, line.partition(": ")[2], SIDE, SIDE, 124)
    assert made.clip.seen[len(ours) :] == ours and len(ours) == 3
    payloads = [call["minimax_payload"] for call in made.spy.calls]
    a, b, c = (len(tokens) for tokens in ours)  # where windows see two prompts, both stand side by side
    assert {payload["layout"].signature[0] for payload in payloads} == {a, b, c, a + b, b + c}
    assert all(len(payload["text_token_tags"]) == payload["layout"].signature[0] for payload in payloads)
    check_saved(made, 736, 24)


@needs_h3
def test_h3_begins_with_the_image():
    made = Run("MiniMax H3 - Image to video with sound")
    video, sound = made.sampled()
    assert video.shape[2] == 217 and sound.shape[3] == 1227
    assert any(isinstance(token, dict) for token, _ in made.clip.seen[0])
    image = made.vae.encode(made.of(made.number("ImageScale"))[0])
    held = []
    for call in made.spy.calls:
        payload = call["minimax_payload"]
        given = payload["cond_video_latents"]
        assert all(torch.equal(each, image) for each in given)
        assert [kind for _, _, kind in payload["layout"].segments].count("cond") == len(given)
        held.append(len(given))
    assert sorted(held) == [0] * 18 + [1] * 4  # once a step, in the first of 5 or 6 windows
    check_saved(made, 736, 24)


def test_ltx_goes_on_from_a_video_and_its_sound():
    made = Run("LTX-2.3 - Extend a video with sound")
    check_extended(made, 95, 753, 3, 25)


@needs_h3
def test_h3_goes_on_from_a_video_and_its_sound():
    made = Run("MiniMax H3 - Extend a video with sound")
    check_extended(made, 217, 1227, 12, 24)
