"""StreamingT2V's own chunks (arXiv 2403.14773) with a diffusers pipeline: from frames, and close to an anchor."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from ...prompts import PromptSchedule, PromptTrack
from ...streaming import AnchorChoice, Chunk, RunFolder, chunk_seed, plan_chunks, stream
from ...streamingt2v import clip_pixels, convert, grey_anchor, load_checkpoint
from ...streamingt2v.guidance import WEIGHT
from ...timeline import Place, Timebase
from .decode import decode_frames
from .denoisers import latent_shape
from .folder import ModelFolder
from .forward import Progress, track_of
from .generate import encode_prompts
from .schedulers import make_scheduler, scheduler_digest
from .streaming import OnProgress, modules_digest, telling
from .streamingt2v import StreamingUNet

#: What a scheduler's configuration says about the noise levels that a model was trained with.
_TRAINED = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr",
)  # fmt: skip
#: Of the DDIM scheduler of text-to-video-ms-1.7b, where diffusers' own defaults are others.
_PUBLISHED = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading"}
ANCHORS = ("none", "first", "segment", "last_chunk", "past")


@dataclass(frozen=True)
class StreamingT2VSettings:
    """How a video is made; ``chunk`` and ``overlap`` in frames, which are latent frames here.

    ``drift_correction``: see ``correct_drift``. ``anchor``: one of ``ANCHORS``. ``anchor_guidance``: None is
    ``guidance``, of two predictions in place of three.
    ``eta``: how much of its noise DDIM draws anew, 0 to 1; other schedulers have none.
    """

    chunk: int = 16
    overlap: int = 8
    anchor: str = "first"
    steps: int = 50
    guidance: float = WEIGHT
    anchor_guidance: float | None = None
    eta: float = 1.0
    seed: int = 0
    height: int = 256
    width: int = 256
    negative_prompt: str = ""
    drift_correction: float = 0.0

    def check(self) -> None:
        """Raises ``ValueError``, with the remedy, where a value is out of range."""
        if not 1 <= self.overlap < self.chunk:
            raise ValueError(f"overlap is {self.overlap} frames and chunk {self.chunk}; it must be 1 to below chunk.")
        if self.anchor not in ANCHORS:
            raise ValueError(f"Unknown anchor {self.anchor!r}. Known: {', '.join(ANCHORS)}.")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be 1 or more.")
        for name, value in (("guidance", self.guidance), ("anchor_guidance", self.anchor_guidance)):
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; it must be 0 or more.")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta}; it must be 0 to 1.")


@dataclass(frozen=True)
class StreamingT2VParts:
    """A text-to-video pipeline with StreamingT2V's UNet, and CLIP's image tower where an anchor is looked at.

    ``pipeline.unet`` and ``net.unet`` share their weights.
    """

    pipeline: Any
    net: StreamingUNet
    image_encoder: Any = None


def load_parts(folder: ModelFolder, pipeline: Any, anchored: bool) -> StreamingT2VParts:
    """StreamingT2V's parts from beside a pipeline, on its device and in its type.

    A checkpoint as it was trained is written beside itself once, smaller, and that is read from then on.

    Args:
        folder: of the pipeline; its ``streaming`` is the file of weights.
        pipeline: loaded from it; its UNet becomes the network's.
        anchored: whether an anchor will be looked at, for which ``image_encoder`` is needed.

    Raises:
        ValueError: a file is missing or holds something else.
    """
    assert folder.streaming is not None
    file = convert(folder.streaming) if folder.streaming.suffix == ".ckpt" else folder.streaming
    checkpoint = load_checkpoint(file)
    unet = pipeline.unet
    kind, device = next(unet.parameters()).dtype, pipeline.device
    net = StreamingUNet.from_checkpoint(checkpoint, unet.state_dict(), kind).to(device)
    pipeline.unet = net.unet  # the same weights, not two of them
    return StreamingT2VParts(pipeline, net, _image_encoder(folder.path, device, kind) if anchored else None)


def image_encoder_folder(path: Path) -> Path:
    """Where CLIP's image tower lies beside a pipeline.

    Raises:
        ValueError: it is not there.
    """
    found = path / "image_encoder"
    if not (found / "config.json").is_file():
        raise ValueError(
            f"an anchor is looked at by CLIP, and {found} holds no config.json. Put the image tower that the weights "
            "were trained with there (StreamingT2V's is OpenCLIP ViT-H/14, as CLIPVisionModelWithProjection)."
        )
    return found


def _image_encoder(path: Path, device: Any, kind: torch.dtype) -> Any:
    from transformers import CLIPVisionModelWithProjection

    folder = image_encoder_folder(path)
    return CLIPVisionModelWithProjection.from_pretrained(str(folder), local_files_only=True).to(device, kind).eval()


def own_scheduler(current: Any, name: str | None = None) -> Any:
    """The scheduler of a StreamingT2V video: DDIM as published, or the class of that name.

    Args:
        current: the pipeline's, whose configuration it takes; of another class's, only the noise levels of training,
            and the rest is as published.
    """
    if name is not None:
        return make_scheduler(current, name)
    if isinstance(current, DDIMScheduler):
        return DDIMScheduler.from_config(current.config)
    trained = {name: current.config[name] for name in _TRAINED if name in current.config}
    return DDIMScheduler.from_config({**_PUBLISHED, **trained})


def takes_eta(scheduler: Any) -> bool:
    """Whether a scheduler, or its class, can draw a part of its noise anew."""
    return "eta" in inspect.signature(scheduler.step).parameters


class StreamingT2VChunks:
    """Samples chunks; see ``ChunkSampler``. The first one is the text-to-video model's own."""

    def __init__(
        self,
        parts: StreamingT2VParts,
        track: PromptTrack,
        timebase: Timebase,
        settings: StreamingT2VSettings,
        scheduler: Any,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.parts, self.track, self.timebase, self.settings = parts, track, timebase, settings
        self.scheduler, self.on_progress = scheduler, on_progress
        _, channels, _, *self.sides = latent_shape(parts.pipeline, 1, settings.height, settings.width)
        self.channels = channels
        self.latent_frame_size = channels * self.sides[0] * self.sides[1]
        pipeline = parts.pipeline
        self._model = modules_digest([parts.net, pipeline.text_encoder, pipeline.vae, parts.image_encoder])
        self._texts: dict[str, torch.Tensor] = {}

    def cache_inputs(self, chunk: Chunk) -> dict[str, Any]:
        """See ``ChunkSampler``."""
        track = self._track(chunk)
        sampling = {name: value for name, value in vars(self.settings).items() if name not in ("seed", "anchor")}
        return {
            "model": self._model,
            "sampling": sampling,
            "scheduler": scheduler_digest(self.scheduler),
            "seed": chunk_seed(self.settings.seed, chunk.index),
            "prompts": list(track.prompts),
            "weights": track.rounded(),
        }

    @torch.no_grad()
    def sample(self, chunk: Chunk, known: torch.Tensor | None, anchor: torch.Tensor | None) -> torch.Tensor:
        """See ``ChunkSampler``: the known frames are seen, made anew, and put back as they were."""
        net, settings, track = self.parts.net, self.settings, self._track(chunk)
        weight = next(net.parameters())
        place = {"device": weight.device, "dtype": weight.dtype}
        condition, seen, grey = None, None, None
        if known is not None:
            condition = net.encode_condition(self._frames(known).to(**place)[None])
            if anchor is not None:
                images = self._frames(anchor).to(**place)
                seen, grey = self._anchor_tokens(images), self._anchor_tokens(grey_anchor(images[:1]))
        generator = torch.Generator("cpu").manual_seed(chunk_seed(settings.seed, chunk.index))
        shape = (1, self.channels, chunk.length, *self.sides)
        latents = torch.randn(shape, generator=generator).to(**place) * float(self.scheduler.init_noise_sigma)
        self.scheduler.set_timesteps(settings.steps, device=weight.device)
        named = inspect.signature(self.scheduler.step).parameters
        options = {"eta": settings.eta, "generator": generator}
        options = {name: value for name, value in options.items() if name in named}
        negative = self._text(settings.negative_prompt)
        steps = list(self.scheduler.timesteps)
        for step, time in enumerate(steps):
            noisy = self.scheduler.scale_model_input(latents, time)
            noise = torch.zeros_like(latents)
            for done, (prompt, shares) in enumerate(zip(track.prompts, track.weights, strict=True)):
                predicted = net.guided(
                    noisy, time, self._text(prompt), negative, seen, grey, condition, settings.guidance,
                    settings.guidance if settings.anchor_guidance is None else settings.anchor_guidance,
                )  # fmt: skip
                noise += shares.to(noise).view(1, 1, -1, 1, 1) * predicted
                if self.on_progress is not None:
                    self.on_progress(chunk.index, Progress(step, len(steps), done + 1, len(track.prompts), 1))
            latents = self.scheduler.step(noise, time, latents, **options).prev_sample
        latents = latents.float().cpu()
        if known is not None:
            latents[:, :, : known.shape[2]] = known
        return latents

    def _frames(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents ``1 c t h w`` as pixels ``t 3 h w`` in -1..1."""
        return torch.cat(list(decode_frames(self.parts.pipeline, latents))).movedim(-1, 1) * 2 - 1

    def _anchor_tokens(self, images: torch.Tensor) -> torch.Tensor:
        encoder = self.parts.image_encoder
        pixels = clip_pixels(images.float(), encoder.config.image_size).to(images.dtype)
        return self.parts.net.resampler(encoder(pixels).image_embeds[None])

    def _text(self, prompt: str) -> torch.Tensor:
        if prompt not in self._texts:
            self._texts[prompt] = encode_prompts(self.parts.pipeline, [prompt], None)[0][0]
        return self._texts[prompt]

    def _track(self, chunk: Chunk) -> PromptTrack:
        return self.track.at(Place(chunk.start, self.timebase.num_latent_frames), chunk.length).seen()


def stream_frames(
    parts: StreamingT2VParts,
    schedule: PromptSchedule,
    timebase: Timebase,
    settings: StreamingT2VSettings,
    *,
    scheduler: Any = None,
    given: torch.Tensor | None = None,
    folder: RunFolder | None = None,
    on_progress: OnProgress | None = None,
) -> torch.Tensor:
    """Make or extend a video chunk by chunk as StreamingT2V does.

    Args:
        parts: from ``load_parts``.
        schedule: prompts over ``timebase.num_frames`` frames; a chunk that sees several mixes their predictions.
        timebase: of frames, of which each is a latent frame.
        settings: how.
        scheduler: in place of the pipeline's.
        given: latents ``1 4 t h w`` of the video so far, ``overlap`` frames or more.
        folder: where finished chunks are kept and found.
        on_progress: see ``OnProgress``.

    Returns:
        Latents ``1 4 t h w`` on the CPU.

    Raises:
        ValueError: something does not fit, before the first forward pass.
        RunFolderError: a chunk cannot be written.
    """
    settings.check()
    if settings.anchor != "none" and parts.image_encoder is None:
        raise ValueError(f"anchor is {settings.anchor!r}, and there is no image encoder. Load one, or set it to none.")
    begun = 0 if given is None else given.shape[2]
    if 0 < begun < settings.overlap:
        raise ValueError(
            f"The given video has {begun} frames; StreamingT2V looks back at {settings.overlap}. Give that many or "
            "more, or a smaller overlap."
        )
    chunks = plan_chunks(timebase.num_latent_frames, settings.chunk, settings.overlap, begun)
    track = track_of(schedule, timebase)
    segments = tuple(math.ceil(segment.start) for segment in schedule.segments)
    scheduler = scheduler or parts.pipeline.scheduler
    sampler = StreamingT2VChunks(parts, track, timebase, settings, scheduler, on_progress)

    described = {"chunk": settings.chunk, "overlap": settings.overlap, "steps": settings.steps, "seed": settings.seed}
    return stream(
        sampler, chunks, timebase.num_latent_frames, given=given, folder=folder,
        anchor=AnchorChoice(settings.anchor, segment_starts=segments), drift_correction=settings.drift_correction,
        description=described, on_chunk=telling(on_progress),
    )  # fmt: skip
