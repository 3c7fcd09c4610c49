"""Video and sound in one latent: Long Latent makes it as the host's own nodes do, and Save Long Video decodes both."""

import os
import wave
from types import SimpleNamespace

import av
import comfy.latent_formats
import comfy.sample
import folder_paths
import numpy as np
import pytest
import tiny_sound
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_lt_audio import LTXVEmptyLatentAudio
from long_video_pack.glv_core.hosts.comfy.families import sound_vae_of
from long_video_pack.glv_core.hosts.comfy.video import sound_pieces, vae_pieces
from long_video_pack.glv_core.video_io import read_audio
from long_video_pack.nodes.long_latent import LongLatent
from long_video_pack.nodes.save_long_video import SaveLongVideo
from torch.testing import assert_close
from video_files import execute, image_vae

pytestmark = pytest.mark.every_host
minimax = pytest.mark.skipif(not tiny_sound.HAS_MINIMAX, reason="this ComfyUI has no MiniMax H3")
MINIMAX, LTX = pytest.param("minimax", marks=minimax), "ltx"


def vaes(name: str) -> tuple:
    """The VAEs of a model for video and for sound."""
    if name == "minimax":
        return tiny_sound.minimax_video_vae(), tiny_sound.minimax_audio_vae()
    return tiny_sound.ltx_video_vae(), tiny_sound.ltx_audio_vae()


def long_latent(vae, length: float, audio_vae=None, fps: float = 24.0, **more):
    values = {"vae": vae, "width": 64, "height": 32, "length": length, "fps": fps, "audio_vae": audio_vae, **more}
    return execute(LongLatent, **values).args


@minimax
def test_minimax_latents_are_those_of_the_host():
    from comfy_extras.nodes_minimax_h3 import EmptyMiniMaxH3LatentAV

    vae, audio_vae = vaes("minimax")
    for length in (1, 5, 6, 22, 23, 100, 107, 124, 3600):
        latent, frames, fps = long_latent(vae, length)
        theirs = EmptyMiniMaxH3LatentAV.execute(64, 32, length).args[0]["samples"]
        shapes = [list(each.shape) for each in latent["samples"].unbind()]
        assert shapes == [list(each.shape) for each in theirs.unbind()], length
        assert (frames % 17, fps) == (5, 24.0) and 0 <= frames - max(5, length) < 17
        if length <= 124:
            assert vae.decode(latent["samples"].unbind()[0]).shape[1] == frames
    latent, frames, _ = long_latent(vae, 100, audio_vae, batch_size=2)
    assert [list(each.shape) for each in latent["samples"].unbind()] == [[2, 24, 32, 2, 4], [2, 32, 2, 178]]
    assert frames == 107
    assert not any(each.any() for each in latent["samples"].unbind())
    assert long_latent(vae, 4.4, unit="seconds")[1] == 107


def test_ltx_latents_are_those_of_the_host():
    vae, audio_vae = vaes(LTX)
    for length, fps in ((1, 24), (9, 25), (100, 24), (121, 30), (14400, 24)):
        latent, frames, _ = long_latent(vae, length, audio_vae, float(fps), batch_size=2)
        video, sound = latent["samples"].unbind()
        assert frames == -(-(length - 1) // 8) * 8 + 1
        assert list(video.shape) == [2, 128, (frames - 1) // 8 + 1, 1, 2]
        node = LTXVEmptyLatentAudio
        theirs = node.execute(frames_number=frames, frame_rate=fps, batch_size=2, audio_vae=audio_vae).args[0]
        assert sound.shape == theirs["samples"].shape and not sound.any()
    plain = long_latent(vae, 9)[0]["samples"]
    assert isinstance(plain, torch.Tensor) and plain.shape[2] == 2


@pytest.mark.parametrize("name", [MINIMAX, LTX])
def test_the_host_takes_the_video_as_its_own(name):
    """What a latent says of its VAE agrees with the model, so the host does not stretch it."""
    vae, audio_vae = vaes(name)
    latent = long_latent(vae, 39, audio_vae)[0]
    kind = getattr(comfy.latent_formats, {"minimax": "MiniMaxH3Video", "ltx": "LTXV"}[name])
    model = SimpleNamespace(get_model_object=lambda _: kind())
    keys = [latent["downscale_ratio_spacial"], latent["downscale_ratio_temporal"]]
    video = latent["samples"].unbind()[0]
    fixed = comfy.sample.fix_empty_latent_channels(model, video, *keys[: 2 if tiny_sound.HAS_MINIMAX else 1])
    assert fixed.shape == video.shape
    assert keys == [16, 4] if name == "minimax" else keys == [32, 8]


def test_wrong_vaes_are_named():
    video, audio = vaes(LTX)
    image = image_vae()
    for arguments, words in (
        ({"vae": audio}, "LongLatent: vae is an audio VAE. Connect the VAE of your video model, and the audio VAE as"),
        ({"vae": video, "audio_vae": video}, "LongLatent: audio_vae is not the audio VAE of LTX-2 or MiniMax H3."),
        ({"vae": image, "audio_vae": audio}, "LongLatent: audio_vae is that of LTX-2, and vae is not."),
    ):
        with pytest.raises(ValueError, match=words):
            long_latent(length=9, **arguments)
    if tiny_sound.HAS_MINIMAX:
        other_video, other_audio = vaes("minimax")
        for arguments, words in (
            ({"vae": other_video, "fps": 25.0}, r"fps is 25; MiniMax H3 makes 24 frames a second.*Set fps to 24"),
            ({"vae": other_audio}, "vae is an audio VAE"),
            ({"vae": other_video, "audio_vae": other_video}, "audio_vae is not the audio VAE of"),
            ({"vae": other_video, "audio_vae": audio}, "audio_vae is that of LTX-2, and vae is not"),
            ({"vae": video, "audio_vae": other_audio}, "audio_vae is that of MiniMax H3, and vae is not"),
        ):
            with pytest.raises(ValueError, match=words):
                long_latent(length=22, **arguments)


def test_sound_that_cannot_be_saved_is_named():
    vae, audio_vae = vaes(LTX)
    combined = long_latent(vae, 9, audio_vae)[0]
    plain = long_latent(vae, 9)[0]
    sound = {"waveform": torch.zeros(1, 1, 10), "sample_rate": 8000}
    silent = NestedTensor([combined["samples"].unbind()[0], torch.zeros(1, 32, 2, 9)])
    for arguments, words in (
        ({"samples": plain, "audio_vae": audio_vae}, "audio_vae is connected, but samples has no sound"),
        ({"images": torch.zeros(1, 8, 8, 3), "vae": None, "audio_vae": audio_vae}, "but samples has no sound"),
        ({"samples": combined, "audio_vae": vae}, "audio_vae is not the audio VAE of LTX-2 or MiniMax H3"),
        ({"samples": combined, "vae": audio_vae}, "vae is an audio VAE"),
        ({"samples": combined, "audio_vae": audio_vae, "audio": sound}, "Both audio and audio_vae are connected"),
        ({"samples": {"samples": silent}, "audio_vae": audio_vae}, r"the shape \[1, 32, 2, 9\], which is not that of"),
    ):
        with pytest.raises(ValueError, match=f"SaveLongVideo: .*{words}"):
            execute(SaveLongVideo, **{"vae": vae, **arguments})


def audio_vae_of(kind: str, **layers):
    """An audio VAE in double precision, so that what a decoder does not see changes nothing at all."""
    vocoders = {"two stages": tiny_sound.TWO_STAGES, "long steps": tiny_sound.LONG_STEPS}
    if kind == "minimax":
        vae = tiny_sound.minimax_audio_vae()
    else:
        vae = tiny_sound.ltx_audio_vae(vocoders.get(kind, tiny_sound.HIFI), **layers)
    getattr(vae, "first_stage_model", vae).double()
    vae.vae_dtype = torch.float64
    return vae


def random_sound(kind: str, length: int) -> torch.Tensor:
    shape = (1, 32, 2, length) if kind == "minimax" else (1, 8, length, 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


two_stages = pytest.mark.skipif(not tiny_sound.HAS_TWO_STAGES, reason="this ComfyUI has no such vocoder")


@pytest.mark.parametrize("kind", [MINIMAX, "hifi", pytest.param("two stages", marks=two_stages)])
def test_sound_depends_on_no_latent_out_of_reach(kind):
    sound, latents, at = sound_vae_of(audio_vae_of(kind)), random_sound(kind, 110), 50
    changed = latents.clone()
    changed.select(sound.axis, at).add_(1)
    seen = (sound.decode(changed) != sound.decode(latents)).any(dim=0).nonzero() / sound.samples_per_latent
    before, behind = sound.reach
    assert at - behind <= seen[0] and seen[-1] < at + 1 + before
    assert seen[0] < at - behind / 4 and seen[-1] > at + before / 2  # nor is far more decoded than that


@pytest.mark.parametrize(("kind", "piece"), [
    pytest.param("minimax", 51, marks=minimax), ("hifi", 51), pytest.param("two stages", 51, marks=two_stages),
    pytest.param("long steps", 52, marks=two_stages),
])  # fmt: skip
def test_pieces_of_sound_are_the_whole(kind, piece, monkeypatch):
    """``piece``: latents that a piece adds where 51 are asked for; the second stage begins at every second one."""
    monkeypatch.setattr(sound_pieces, "PIECE", 51)
    sound, latents = sound_vae_of(audio_vae_of(kind)), random_sound(kind, 150)
    whole = sound.decode(latents)
    pieces = list(sound_pieces.decode_sound(sound, latents))
    assert [each.shape[1] for each in pieces[:2]] == [piece * sound.samples_per_latent] * 2
    assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-6 * float(whole.std()))
    assert whole.std() > 0.001


@pytest.mark.parametrize("layers", [
    {"mid_block_add_attention": True}, {"ch": 32, "norm_type": "group", "causality_axis": None},
])  # fmt: skip
def test_a_decoder_that_sees_the_whole_length_decodes_it_at_once(layers, monkeypatch):
    monkeypatch.setattr(sound_pieces, "PIECE", 30)
    sound, latents = sound_vae_of(audio_vae_of("hifi", **layers)), random_sound("hifi", 100)
    changed = latents.clone()
    changed[:, :, -1] += 3
    whole = sound.decode(latents)
    assert not torch.equal(sound.decode(changed)[:, :1000], whole[:, :1000])
    pieces = list(sound_pieces.decode_sound(sound, latents))
    assert len(pieces) == 1 and torch.equal(pieces[0], whole)


@minimax
@pytest.mark.parametrize("length", [2, 3, 7, 27, 30, 32, 62])
def test_pieces_of_a_minimax_video_are_the_whole(length):
    vae = tiny_sound.minimax_video_vae()
    latents = torch.randn(1, 24, length, 2, 3, generator=torch.Generator().manual_seed(3))
    pieces = list(vae_pieces.decode_pieces(vae, latents))
    assert torch.equal(torch.cat(pieces), vae.decode(latents)[0])
    assert len(pieces) == max(1, -(-(length - 2) // 25)) and pieces[0].std() > 0


@minimax
@pytest.mark.parametrize(("count", "used"), [(5, 5), (20, 5), (39, 39), (90, 90), (100, 90), (124, 124), (182, 175)])
def test_pieces_of_a_minimax_video_are_encoded_as_the_whole(count, used):
    """The host leaves out what lies behind 17 n + 5 frames where it encodes a clip for this model."""
    vae = tiny_sound.minimax_video_vae()
    frames = torch.rand(count, 32, 48, 3, generator=torch.Generator().manual_seed(4))
    latents = vae_pieces.encode_pieces(vae, frames.split(13))
    assert latents.shape[2] == (used - 5) // 17 * 5 + 2
    torch.testing.assert_close(latents, vae.encode(frames[:used]).cpu(), atol=1e-5, rtol=1e-4)


class Stub:
    """Decoders behind the host's VAEs: a latent that is not zero becomes white frames, or a tone.

    ``sizes``: the most numbers that each of them has had at once.
    """

    def __init__(self, name: str) -> None:
        self.name, self.sizes = name, {"video": 0, "sound": 0}
        self.vae, self.audio_vae = vaes(name)
        self.vae.first_stage_model.decode = self._video
        if name != "minimax":
            self.vae.first_stage_model.decode_output_shape = lambda shape: (1, 3, 8 * shape[2] - 7, 32, 32)
        getattr(self.audio_vae, "first_stage_model", self.audio_vae).decode = self._sound

    def _video(self, latents: torch.Tensor, output_buffer: torch.Tensor | None = None) -> torch.Tensor:
        marks = (latents[0] != 0).flatten(2).any(dim=2).any(dim=0)
        pattern = (1, 4, 4, 4, 4) if self.name == "minimax" else (1, *[8] * len(marks))
        counts = torch.tensor([pattern[index % len(pattern)] for index in range(len(marks))])
        side = 16 if self.name == "minimax" else 32
        frames = torch.repeat_interleave(marks.float(), counts).view(1, 1, -1, 1, 1).expand(1, 3, -1, side, side)
        self.sizes["video"] = max(self.sizes["video"], frames.numel())
        frames = frames if self.name == "minimax" else frames * 2 - 1
        return frames.clone() if output_buffer is None else output_buffer.copy_(frames)

    def _sound(self, latents: torch.Tensor) -> torch.Tensor:
        marks = (latents[0] != 0).any(dim=0).any(dim=0 if self.name == "minimax" else 1)
        each = 800 if self.name == "minimax" else 960
        loud = torch.repeat_interleave(marks.float(), each)
        if self.name != "minimax":
            loud = loud[720:]  # the first latent holds one of four spectra
        tone = torch.sin(torch.arange(len(loud)) * (2 * np.pi * 1000 / self.rate))
        self.sizes["sound"] = max(self.sizes["sound"], loud.numel())
        return (0.8 * loud * tone).expand(1, 2, -1)

    @property
    def rate(self) -> int:
        return 32000 if self.name == "minimax" else 24000

    def flash(self, latent: int) -> float:
        """When the first frame of a latent frame is seen, in seconds at 24 fps."""
        if self.name == "minimax":
            return (latent // 5 * 17 + (latent % 5 and latent % 5 * 4 - 3)) / 24
        return max(0, latent * 8 - 7) / 24

    def beep(self, latent: int) -> float:
        """When a latent of the sound begins to be heard."""
        return latent / 40 if self.name == "minimax" else max(0, 4 * latent - 3) / 100


def onsets(values: np.ndarray, rate: float, apart: float) -> list[float]:
    """Times at which something begins that was not for a while."""
    times = np.flatnonzero(values) / rate
    return [float(time) for time, last in zip(times, [-apart, *times], strict=False) if time - last >= apart]


@pytest.mark.parametrize("name", [MINIMAX, LTX])
def test_a_flash_and_a_beep_lie_at_the_same_time_in_ten_minutes(name):
    stub = Stub(name)
    side = 16 if name == "minimax" else 32
    latent, frames, fps = long_latent(stub.vae, 600.0, stub.audio_vae, unit="seconds", width=side, height=side)
    video, sound = latent["samples"].unbind()
    axis = 3 if name == "minimax" else 2
    marks = []
    for near in (4, video.shape[2] // 2, video.shape[2] - 12):
        beeps = {k: min(range(sound.shape[axis]), key=lambda j, k=k: abs(stub.beep(j) - stub.flash(k)))
                 for k in range(near, near + 10)}  # fmt: skip
        flash = min(beeps, key=lambda k: abs(stub.beep(beeps[k]) - stub.flash(k)))
        marks.append((flash, beeps[flash]))
        video[:, :, flash] = 1
        sound.select(axis, beeps[flash]).fill_(1)
    made = execute(
        SaveLongVideo, samples=latent, vae=stub.vae, audio_vae=stub.audio_vae, fps=fps, filename_prefix="step",
        format="mkv",
    )  # fmt: skip
    path = made.args[0].get_stream_source()
    with av.open(path) as container:
        stream = container.streams.video[0]
        seen = [(frame.time, frame.to_ndarray(format="gray").mean() > 128) for frame in container.decode(stream)]
    with av.open(path) as container:
        stream = container.streams.audio[0]
        heard = [(frame.time, np.abs(frame.to_ndarray().astype(np.float32)).max(axis=0))
                 for frame in container.decode(stream)]  # fmt: skip
    assert len(seen) == frames
    flashes = [now for (now, white), (_, before) in zip(seen[1:], seen, strict=False) if white and not before]
    loud = np.concatenate([samples for _, samples in heard])
    beeps = [time + heard[0][0] for time in onsets(loud > 0.4, stream.rate, 1.0)]
    half = 0.5 / fps
    assert flashes == pytest.approx([stub.flash(flash) for flash, _ in marks], abs=half / 4)
    assert beeps == pytest.approx([stub.beep(beep) for _, beep in marks], abs=half / 4)
    assert beeps == pytest.approx(flashes, abs=half)
    assert len(loud) / stream.rate == pytest.approx(frames / fps, abs=0.1)
    short = Stub(name)
    latent = long_latent(short.vae, 60.0, short.audio_vae, unit="seconds", width=side, height=side)[0]
    execute(SaveLongVideo, samples=latent, vae=short.vae, audio_vae=short.audio_vae, fps=fps, filename_prefix="short")
    assert short.sizes == stub.sizes and all(stub.sizes.values())


@pytest.mark.parametrize("name", [MINIMAX, LTX])
def test_the_sound_is_as_long_as_the_video_to_the_sample(name):
    """5 frames of MiniMax H3 are 6666.67 samples; the sound of LTX-2 ends before its video, and is silent then."""
    stub = Stub(name)
    side = 16 if name == "minimax" else 32
    for length, rate in ((5, 24.0), (22, 24.0)) if name == "minimax" else ((9, 24.0), (97, 25.0), (17, 23.976)):
        latent, frames, fps = long_latent(stub.vae, length, stub.audio_vae, rate, width=side, height=side)
        sound = latent["samples"].unbind()[1].fill_(1)
        for parts in (1, 4):  # a sound that is too short as well
            axis = 3 if name == "minimax" else 2
            cut = sound.narrow(axis, 0, sound.shape[axis] // parts)
            samples = {"samples": NestedTensor([latent["samples"].unbind()[0], cut])}
            arguments = {"fps": fps, "filename_prefix": f"exact{length}{parts}", "format": "png sequence"}
            made = execute(SaveLongVideo, samples=samples, vae=stub.vae, audio_vae=stub.audio_vae, **arguments)
            with wave.open(saved_sound(made)) as file:
                count, hertz = file.getnframes(), file.getframerate()
                heard = np.frombuffer(file.readframes(count), np.int16).reshape(-1, file.getnchannels())
            assert (hertz, count) == (stub.rate, round(frames / fps * stub.rate))
            made = cut.shape[axis] * 800 if name == "minimax" else cut.shape[axis] * 960 - 720
            loud = np.flatnonzero(np.abs(heard).max(axis=1) > 1000)
            assert loud[-1] == pytest.approx(min(made, count), abs=12)


def test_sound_of_a_latent_has_as_many_samples_as_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(sound_pieces, "PIECE", 10)
    sound = sound_vae_of(Stub(LTX).audio_vae)
    latents = torch.ones(1, 8, 25, 16)
    whole = sound.decode(latents)
    for count in (1, 9600, 20_000, whole.shape[1] + 5000):
        heard = read_audio(sound_pieces.LatentSound(sound, latents, count))
        assert heard.shape == (2, count) and not heard[:, whole.shape[1] :].any()
        assert heard[:, : whole.shape[1]].abs().max() > 0.7 or count == 1


def saved_sound(made) -> str:
    shown = made.ui["images"][0]
    return os.path.join(folder_paths.get_output_directory(), shown["subfolder"], "audio.wav")


def test_without_an_audio_vae_the_video_is_silent():
    vae, audio_vae = vaes(LTX)
    latent = long_latent(vae, 9, audio_vae, width=64, height=64)[0]
    for given, streams in ((None, 0), (audio_vae, 1)):
        made = execute(SaveLongVideo, samples=latent, vae=vae, audio_vae=given, fps=24.0, filename_prefix="silent")
        with av.open(made.args[0].get_stream_source()) as container:
            assert (len(container.streams.audio), container.streams.video[0].frames) == (streams, 9)
