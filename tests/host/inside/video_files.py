"""Decoding, saving and loading of long videos. Runs inside ComfyUI."""

import functools
import os
import resource
from unittest import mock

import av
import comfy.ldm.wan.vae2_2
import comfy.sd
import comfy.taesd.taesd
import families
import folder_paths
import streaming
import tiny
import torch


def memory() -> float:
    """Most memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def image_vae():
    module = comfy.taesd.taesd.TAESD(latent_channels=4)
    weights = {k: v for k, v in module.state_dict().items() if k.startswith(("taesd_encoder", "taesd_decoder"))}
    generator = torch.Generator().manual_seed(2)
    weights = {k: torch.randn(v.shape, generator=generator) * 0.05 if v.is_floating_point() else v
               for k, v in weights.items()}  # fmt: skip
    return comfy.sd.VAE(sd=weights)


def wan22_vae():
    """Wan 2.2 5B's VAE as the stock loader makes it, but with narrow layers."""
    kind = comfy.ldm.wan.vae2_2.WanVAE

    class Narrow(kind):
        def __init__(self, **config):
            super().__init__(**{**config, "dim": 8, "dec_dim": 8})

    with mock.patch.object(comfy.ldm.wan.vae2_2, "WanVAE", Narrow):
        module = Narrow(
            z_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], temperal_downsample=[False, True, True]
        )
        vae = comfy.sd.VAE(sd=families.weights_of(module))
    return vae


def pieces_are_the_whole(name: str, latent_frames: int) -> dict:
    """Decoding and encoding in pieces against the host's own, at once."""
    from long_video_pack.glv_core.hosts.comfy.video.vae_pieces import decode_pieces, encode_pieces

    generator = torch.Generator().manual_seed(4)
    makers = {"wan": streaming.wan_vae, "wan 2.2": wan22_vae, "image": image_vae}
    vae = makers[name]()
    shape = {"wan": (1, 16, latent_frames, 4, 4), "wan 2.2": (1, 48, latent_frames, 2, 2),
             "image": (latent_frames, 4, 4, 4)}[name]  # fmt: skip
    samples = torch.randn(shape, generator=generator)
    whole = vae.decode(samples)
    whole = whole.reshape(-1, *whole.shape[-3:])
    parts = list(decode_pieces(vae, samples))
    counts = []
    frames = torch.rand(len(whole), 32, 32, 3, generator=generator)
    more = torch.rand(3, 32, 32, 3, generator=generator)  # not enough for another latent frame
    encoded = vae.encode(frames)
    given = torch.cat([frames, more]) if name != "image" else frames
    apart = encode_pieces(vae, iter(given.split(7)), lambda done, _: counts.append(done))
    return {
        "largest": max(map(len, parts)),
        "frames": sum(map(len, parts)) - len(whole),
        "decode": float((torch.cat(parts) - whole).abs().max()),
        "scale": float(whole.std()),
        "shape": list(apart.shape) == list(encoded.shape),
        "encode": float((apart - encoded).abs().max()),
        "encoded scale": float(encoded.std()),
        "counts": [counts == sorted(counts), counts[-1] - len(whole)],
    }


def memory_runs_out(at: int) -> dict:
    """A Wan VAE that runs out of memory once, at its ``at``-th step: the result, and what is raised by other errors."""
    from long_video_pack.glv_core.hosts.comfy.video.vae_pieces import decode_pieces, encode_pieces

    vae = streaming.wan_vae()
    samples = torch.randn(1, 16, 9, 4, 4, generator=torch.Generator().manual_seed(4))
    frames = torch.rand(33, 32, 32, 3, generator=torch.Generator().manual_seed(5))
    whole, encoded = torch.cat(list(decode_pieces(vae, samples))), encode_pieces(vae, iter([frames]))
    result = {"raised": []}

    def failing(module, error):
        forward, calls = module.forward, []

        def run(*args, **kwargs):
            output = forward(*args, **kwargs)  # the caches are changed already when it fails
            calls.append(1)
            if len(calls) == at:
                raise error
            return output

        module.forward = functools.wraps(forward)(run)
        return lambda: delattr(module, "forward")

    for error in tiny.out_of_memory_errors():
        for name, part, run in (
            ("decode", vae.first_stage_model.decoder, lambda: torch.cat(list(decode_pieces(vae, samples))) - whole),
            ("encode", vae.first_stage_model.encoder, lambda: encode_pieces(vae, iter([frames])) - encoded),
        ):
            mend = failing(part, error)
            result[f"{name} {type(error).__name__}"] = float(run().abs().max())
            mend()
    mend = failing(vae.first_stage_model.decoder, RuntimeError("another error"))
    try:
        list(decode_pieces(vae, samples))
    except RuntimeError as error:
        result["raised"] = str(error)
    mend()
    return result


class Overlapping:
    """A VAE without a loop to follow: a frame is a weighted mean of near latent frames, causal or not."""

    latent_dim = 3
    first_stage_model = None
    output_channels = 3

    def __init__(self, reach: int, causal: bool, compression: int = 4):
        self.reach, self.causal, self.compression = reach, causal, compression
        self.upscale_ratio = (lambda length: (length - causal) * compression + causal, 1, 1)

    def temporal_compression_decode(self):
        return self.compression

    def decode(self, samples):
        length, c = samples.shape[2], self.compression
        frames = []
        for frame in range(self.upscale_ratio[0](length)):
            at = (frame + (c - 1 if self.causal else 0)) / c
            places = [p for p in range(length) if abs(p - at) < self.reach]
            weights = torch.tensor([1 - abs(p - at) / self.reach for p in places])
            frames.append((samples[0, :3, places] * (weights / weights.sum()).view(1, -1, 1, 1)).sum(1))
        return torch.stack(frames).movedim(1, -1)[None]

    def encode(self, frames):
        first, rest = frames[:1], frames[1:]
        rest = rest.reshape(-1, self.compression, *rest.shape[1:]).mean(1)
        return torch.cat([first, rest]).movedim(-1, 0)[None]


def overlapping(causal: bool, reach: int) -> dict:
    from long_video_pack.glv_core.hosts.comfy.video.vae_pieces import decode_pieces, encode_pieces

    samples = torch.randn(1, 3, 41, 2, 2, generator=torch.Generator().manual_seed(4))
    vae = Overlapping(reach, causal)
    whole = vae.decode(samples)[0]
    parts = torch.cat(list(decode_pieces(vae, samples)))
    frames = torch.rand(123, 2, 2, 3, generator=torch.Generator().manual_seed(5))
    encoded = encode_pieces(vae, iter(frames.split(10)))
    return {
        "same length": len(parts) == len(whole), "difference": float((parts - whole).abs().max()),
        "encode": float((encoded - vae.encode(frames[:121])).abs().max()),
    }  # fmt: skip


def memory_of_saving(num_frames: int) -> dict:
    """Peak memory after saving so many frames from a latent, and what the file says of itself."""
    from long_video_pack.nodes.save_long_video import SaveLongVideo

    latents = (num_frames - 1) // 4 + 1
    samples = torch.randn(1, 16, latents, 8, 8, generator=torch.Generator().manual_seed(4))
    output = execute(SaveLongVideo, samples={"samples": samples}, vae=streaming.wan_vae(), filename_prefix="memory")
    path = output.args[0].get_stream_source()
    with av.open(path) as container:
        stream = container.streams.video[0]
        stamps = [float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None]
    stamps.sort()
    os.remove(path)
    return {"memory": memory(), "frames": len(stamps), "last": stamps[-1]}


def memory_of_reading(path: str) -> dict:
    from long_video_pack.nodes.encode_long_video import EncodeLongVideo

    video, length, *_ = load(path)
    latent, frames = execute(EncodeLongVideo, video=video, vae=streaming.wan_vae(), width=0, height=0).args
    return {"memory": memory(), "length": length, "frames": frames, "shape": list(latent["samples"].shape)}


def execute(node, **arguments):
    """A node as the host runs it: defaults of its inputs filled in."""
    schema = node.define_schema()
    defaults = {each.id: each.default for each in schema.inputs if getattr(each, "default", None) is not None}
    return node.execute(**{**defaults, **arguments})


def load(path: str, start: float = 0.0, length: int = 0, fps: float = 0.0):
    """LoadLongVideo, on a file that is copied to the input folder."""
    import shutil

    from long_video_pack.nodes.load_long_video import LoadLongVideo

    name = os.path.basename(path)
    shutil.copy(path, os.path.join(folder_paths.get_input_directory(), name))
    assert LoadLongVideo.validate_inputs(name) is True
    return LoadLongVideo.execute(name, start, length, fps).args


def round_trip(path: str) -> dict:
    """A part of a video with its sound, written again; and through the host's own nodes."""
    from comfy_extras.nodes_video import GetVideoComponents
    from long_video_pack.nodes.save_long_video import SaveLongVideo

    video, length, fps, width, height = load(path, 1.0, 20, 10.0)
    components = GetVideoComponents.execute(video).args
    written = execute(SaveLongVideo, video=video, filename_prefix="again", format="mkv", crf=5).args[0]
    again = written.get_components()
    with_images = execute(SaveLongVideo, images=components[0], audio=components[1], fps=fps, crf=5).args[0]
    other = with_images.get_components()
    return {
        "facts": [length, fps, width, height, video.get_frame_count(), video.get_duration()],
        "components": [list(components[0].shape), list(components[1]["waveform"].shape), components[2]],
        "again": [list(again.images.shape), float((again.images - components[0]).abs().mean()),
                  again.audio["waveform"].shape[-1] / again.audio["sample_rate"]],
        "images": [list(other.images.shape), other.audio["waveform"].shape[-1] / other.audio["sample_rate"]],
    }  # fmt: skip


def save_options(path: str) -> dict:
    """What each option of SaveLongVideo makes of the same frames."""
    from long_video_pack.nodes.save_long_video import SaveLongVideo

    images = torch.rand(6, 64, 96, 3, generator=torch.Generator().manual_seed(3))
    source, *_ = load(path)

    def facts(**options) -> dict:
        written = execute(SaveLongVideo, images=images, filename_prefix="options/a", **options).args[0]
        file = written.get_stream_source()
        with av.open(file) as container:
            stream = container.streams.video[0]
            return {
                "name": os.path.relpath(file, folder_paths.get_output_directory()), "size": os.path.getsize(file),
                "codec": stream.codec_context.name, "pixels": stream.codec_context.pix_fmt,
                "shape": [stream.width, stream.height], "fps": float(stream.average_rate),
                "sound": bool(container.streams.audio),
            }  # fmt: skip

    sequence = execute(SaveLongVideo, images=images, filename_prefix="options/p", format="png sequence", fps=4.0)
    return {
        "plain": facts(), "crf": facts(crf=40), "fps": facts(fps=5.0), "upscale": facts(upscale=2),
        "codec": facts(codec="h265"), "format": facts(format="webm"), "pixels": facts(pixel_format="yuv444p"),
        "audio_from": facts(audio_from=source),
        "images": [sequence.args[0] is None, sequence.ui["images"][0]["filename"]],
    }  # fmt: skip


def encoded_sizes(path: str) -> list:
    from long_video_pack.nodes.encode_long_video import EncodeLongVideo

    video, *_ = load(path)
    vae = streaming.wan_vae()
    sizes = [(0, 0), (64, 0), (64, 64)]
    made = [execute(EncodeLongVideo, video=video, vae=vae, width=w, height=h).args for w, h in sizes]
    return [[list(latent["samples"].shape), length] for latent, length in made]


def refused(node: str, **arguments) -> str:
    import long_video_pack.nodes as pack_nodes

    cls = getattr(pack_nodes, node)
    if arguments.pop("images", False):
        arguments["images"] = torch.rand(2, 16, 16, 3)
    if arguments.pop("samples", False):
        arguments["samples"] = {"samples": torch.zeros(1, 16, 2, 2, 2)}
    checked = cls.validate_inputs(
        **{k: v for k, v in arguments.items() if k in ("format", "codec", "crf", "pixel_format", "file")}
    )
    if checked is not True:
        return checked
    try:
        execute(cls, **arguments)
    except Exception as error:
        return str(error)
    return "nothing refused"
