"""Encode Long Video with sound: the latents that the host's own nodes make, in step with the video, at any length."""

import folder_paths
import pytest
import tiny_sound
import torch
from comfy_api.latest import InputImpl, Types
from comfy_extras.nodes_lt_audio import LTXVAudioVAEEncode
from long_video_pack.glv_core.hosts.comfy.video import sound_pieces
from long_video_pack.glv_core.video_io import Waveform, save_video
from long_video_pack.nodes.encode_long_video import EncodeLongVideo
from long_video_pack.nodes.load_long_video import LoadLongVideo
from torchaudio.functional import resample
from torch.testing import assert_close
from video_files import execute

pytestmark = pytest.mark.every_host
KINDS = [
    "ltx", pytest.param("h3", marks=pytest.mark.skipif(not tiny_sound.HAS_MINIMAX, reason="without MiniMax H3")),
]  # fmt: skip
each_kind = pytest.mark.parametrize("kind", KINDS)
AXIS, A_SECOND, RATE = {"ltx": 2, "h3": 3}, {"ltx": 25, "h3": 40}, 48000


@pytest.fixture(scope="module")
def vaes():
    made = {"ltx": (tiny_sound.ltx_video_vae(), tiny_sound.ltx_audio_vae())}
    if tiny_sound.HAS_MINIMAX:
        made["h3"] = tiny_sound.minimax_video_vae(), tiny_sound.minimax_audio_vae()
    return made


def tone(seconds: float, channels: int = 2) -> torch.Tensor:
    """A waveform ``channels samples`` that rises in pitch and swells, other on each side."""
    times = torch.arange(round(seconds * RATE)) / RATE
    each = [0.5 * torch.sin(6.2832 * (first + 90 * times) * times) * (0.3 + times / 15) for first in (220, 330)]
    return torch.stack(each)[:channels]


def video(num_frames: int, waveform: torch.Tensor | None, fps: int = 24):
    """A VIDEO in memory."""
    generator = torch.Generator().manual_seed(8)
    images = torch.rand(num_frames, 32, 64, 3, generator=generator)
    audio = None if waveform is None else {"waveform": waveform[None], "sample_rate": RATE}
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=audio, frame_rate=fps))


def encoded(vaes: dict, kind: str, clip) -> tuple[torch.Tensor, torch.Tensor, int]:
    vae, audio_vae = vaes[kind]
    latent, length = execute(EncodeLongVideo, video=clip, vae=vae, audio_vae=audio_vae).args
    return *latent["samples"].unbind(), length


def sound_of(vaes: dict, kind: str, num_frames: int) -> int:
    """Latents of sound beside so many frames; LTX's audio VAE says it, not in all releases alike."""
    vae = vaes[kind][1]
    network = getattr(vae, "first_stage_model", vae)
    if kind == "ltx":
        return network.num_of_latents_from_frames(num_frames, 24)
    return round(num_frames / 24 * A_SECOND[kind])


def by_host(vaes: dict, kind: str, waveform: torch.Tensor) -> torch.Tensor:
    """What the host's node makes of a waveform with silence behind it, to a length of which its VAEs cut nothing."""
    rate, step = {"ltx": (44100, 4096), "h3": (32000, 800)}[kind]
    rate = getattr(vaes[kind][1], "audio_sample_rate", RATE)  # older hosts' VAEs take any
    heard = resample(waveform, RATE, rate)
    whole = torch.zeros(1, 2, (heard.shape[1] // step + 20) * step)
    whole[0, :, : heard.shape[1]] = heard
    return LTXVAudioVAEEncode.execute({"waveform": whole, "sample_rate": rate}, vaes[kind][1]).args[0]["samples"]


@each_kind
@pytest.mark.parametrize("given", [41, 50])
def test_the_sound_is_that_of_the_host_and_as_long_as_the_video(kind, given, vaes):
    tones = tone(given / 24)
    frames, sound, length = encoded(vaes, kind, video(given, tones))
    assert length == {"ltx": given // 8 * 8 + 1, "h3": 39}[kind]
    count = sound_of(vaes, kind, length)
    assert sound.shape[AXIS[kind]] == count
    assert_close(frames, execute(EncodeLongVideo, video=video(given, None), vae=vaes[kind][0]).args[0]["samples"])
    # Close to the end ours hears that it ends.
    ours, theirs = (each.narrow(AXIS[kind], 0, count - 12) for each in (sound, by_host(vaes, kind, tones)))
    # H3's hears far, and what older hosts make of a sound depends a little on its length.
    loose = kind == "h3" or not hasattr(vaes[kind][1], "audio_sample_rate")
    assert_close(ours, theirs, rtol=1e-3, atol=(0.02 if loose else 1e-3) * float(theirs.std()))
    assert ours.std() > 0.01


@each_kind
def test_pieces_are_the_whole(kind, vaes, monkeypatch):
    clip = video(22, None)
    monkeypatch.setattr(clip, "get_components", lambda: Types.VideoComponents(
        images=torch.rand(294, 32, 64, 3, generator=torch.Generator().manual_seed(8)), frame_rate=24,
        audio={"waveform": tone(294 / 24)[None], "sample_rate": RATE},
    ))  # fmt: skip
    _, whole, _ = encoded(vaes, kind, clip)
    monkeypatch.setattr(sound_pieces, "PIECE", 97)
    _, pieces, _ = encoded(vaes, kind, clip)
    monkeypatch.setattr(sound_pieces, "_MARGIN", 0)
    _, bare, _ = encoded(vaes, kind, clip)
    assert pieces.shape == bare.shape == whole.shape
    apart, cut = (float((each - whole).abs().max()) for each in (pieces, bare))
    # MiniMax H3's encoder attends to all that it is given.
    assert apart < (0.3 * cut if kind == "h3" else 1e-4 * float(whole.std())) and cut > 0.01 * float(whole.std())


@each_kind
def test_where_there_is_no_sound_is_silence(kind, vaes):
    _, none, _ = encoded(vaes, kind, video(41, None))
    assert torch.equal(none, encoded(vaes, kind, video(41, torch.zeros(2, RATE * 2)))[1])
    tones = tone(2)
    short, whole = (encoded(vaes, kind, video(41, each))[1] for each in (tones[:, : RATE // 2], tones))
    padded = torch.cat([tones[:, : RATE // 2], torch.zeros(2, 2 * RATE)], dim=1)
    apart = (short - encoded(vaes, kind, video(41, padded))[1]).abs().mean()  # of resampling where the sound ends
    assert apart < 0.05 * (short - whole).abs().mean()


@each_kind
def test_mono_is_heard_on_both_sides(kind, vaes):
    tones = tone(1, channels=1)
    assert torch.equal(encoded(vaes, kind, video(22, tones))[1], encoded(vaes, kind, video(22, tones.repeat(2, 1)))[1])


@each_kind
def test_a_part_of_a_file_has_the_sound_of_that_part(kind, vaes):
    folder = folder_paths.get_input_directory()
    tones = tone(80 / 24)
    save_video(
        f"{folder}/tones.mkv", iter(torch.randint(0, 256, (80, 32, 64, 3), dtype=torch.uint8).split(16)), 24,
        audio=Waveform(tones, RATE),
    )  # fmt: skip
    clip = execute(LoadLongVideo, file="tones.mkv", start=1.0, length=41, fps=24.0).args[0]
    _, sound, length = encoded(vaes, kind, clip)
    part = clip.get_components().audio["waveform"][0]
    assert torch.equal(sound, encoded(vaes, kind, video(length, part))[1])
    assert not torch.allclose(sound, encoded(vaes, kind, video(length, tones))[1], atol=0.05)


@each_kind
def test_mistakes_are_said_before_anything_is_encoded(kind, vaes, monkeypatch):
    vae, audio_vae = vaes[kind]
    monkeypatch.setattr(vae, "encode", None)

    def refused(words, **inputs):
        with pytest.raises(ValueError, match=words):
            execute(EncodeLongVideo, **{"video": video(22, None), "vae": vae, "audio_vae": audio_vae, **inputs})

    refused("audio_vae is not the audio VAE", audio_vae=vae)
    refused("vae is an audio VAE", vae=audio_vae)
    if kind == "h3":
        refused("video has 25 frames a second.*fps of Load Long Video to 24", video=video(22, None, fps=25))
        refused("audio_vae is that of MiniMax H3", vae=vaes["ltx"][0])
