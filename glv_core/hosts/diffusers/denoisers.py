"""The denoisers that can be co-denoised, and how their forward is called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ...fusion import select_window
from ...prompts.blending import mix_embeddings
from ...prompts.frame_attention import frame_bias
from ...windows import View

#: Attributes of a pipeline that may hold its denoiser. Wan 2.2 has two, one for each half of the noise levels.
DENOISER_NAMES = ("transformer", "transformer_2", "unet")


class UnsupportedDenoiserError(ValueError):
    """A denoiser, or an input of one, that cannot be cut into windows."""


@dataclass(frozen=True)
class DenoiserKind:
    """How one class of denoisers is called.

    ``sample`` names the argument that holds the latent, ``b c t h w``. ``text_per_frame``: the pipeline repeats the
    text embeddings for every frame, ``(b t) l d``, instead of ``b l d``. ``along``: arguments ``b c t h w`` that run
    along the video as the latent does; ``shared``: tensors that are the same for every window. ``text_attention``: the
    name of the layers in which the latent frames, one after the other, attend to text alone; empty without such.
    """

    sample: str
    text_per_frame: bool = False
    along: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    text_attention: str = ""


SUPPORTED: dict[str, DenoiserKind] = {
    "WanTransformer3DModel": DenoiserKind("hidden_states", text_attention="attn2"),
    "WanVACETransformer3DModel": DenoiserKind(
        "hidden_states",
        along=("control_hidden_states",),
        shared=("control_hidden_states_scale",),
        text_attention="attn2",
    ),
    "UNet3DConditionModel": DenoiserKind("sample"),
    "UNetMotionModel": DenoiserKind("sample", text_per_frame=True),
}


def kind_of(module: torch.nn.Module) -> DenoiserKind:
    """The kind of a denoiser.

    Raises:
        UnsupportedDenoiserError: its class is not in ``SUPPORTED``, or a step cache is switched on.
    """
    names = [cls.__name__ for cls in type(module).__mro__]
    kind = next((SUPPORTED[name] for name in names if name in SUPPORTED), None)
    if kind is None:
        raise UnsupportedDenoiserError(
            f"The denoiser {names[0]} cannot be co-denoised. Supported: {', '.join(SUPPORTED)}."
        )
    if getattr(module, "is_cache_enabled", False):
        raise UnsupportedDenoiserError(
            f"The denoiser {names[0]} has a step cache switched on, which would mix up the windows. "
            "Call its disable_cache() first."
        )
    return kind


def denoisers_of(pipeline: Any) -> list[tuple[torch.nn.Module, DenoiserKind]]:
    """The denoisers of a pipeline with their kinds.

    Raises:
        UnsupportedDenoiserError: the pipeline has none, or one that is not supported.
    """
    modules = [getattr(pipeline, name, None) for name in DENOISER_NAMES]
    found = [(module, kind_of(module)) for module in modules if module is not None]
    if not found:
        raise UnsupportedDenoiserError(
            f"The pipeline {type(pipeline).__name__} has no denoiser. Supported: pipelines with {', '.join(SUPPORTED)}."
        )
    return found


def spatial_scale(pipeline: Any) -> int:
    """Pixels a side of one cell of a pipeline's latents."""
    return getattr(pipeline, "vae_scale_factor_spatial", None) or pipeline.vae_scale_factor


def latent_shape(pipeline: Any, num_latent_frames: int, height: int, width: int) -> tuple[int, int, int, int, int]:
    """Shape ``1 c t h w`` of a pipeline's latents for a size in pixels."""
    [(module, _), *_] = denoisers_of(pipeline)
    scale = spatial_scale(pipeline)
    return 1, module.config.in_channels, num_latent_frames, height // scale, width // scale


@dataclass(frozen=True)
class Row:
    """One row of a folded batch: row ``row`` of the pipeline's own batch, cut to a window, with one prompt.

    ``prompt`` is None where all prompts of the row are the same, as those of the unconditional half are, and where they
    are seen in one pass: then ``mix`` holds their weights, ``[prompt]`` or ``[prompt, latent frame of the window]``,
    and ``blending``, one of ``PROMPT_BLENDINGS``, says how.
    """

    window: int
    row: int
    prompt: int | None
    mix: torch.Tensor | None = None
    blending: str = ""

    @property
    def mixed(self) -> list[int]:
        """The prompts that are seen in one pass; none where ``mix`` is None."""
        if self.mix is None:
            return []
        return self.mix.reshape(len(self.mix), -1).any(dim=1).nonzero().flatten().tolist()

    @property
    def texts(self) -> int:
        """Prompts that stand side by side in its text."""
        return len(self.mixed) if self.blending == "attention" else 1

    def text_bias(self, text_length: int) -> torch.Tensor:
        """What its attention to ``texts`` prompts, of so many tokens each, heeds: ``latent frames, tokens``."""
        return frame_bias(self.mix[self.mixed], [text_length] * self.texts)  # type: ignore[index]


@dataclass(frozen=True)
class Call:
    """The arguments of one call of a denoiser, in a form that can be cut.

    ``sample``: ``b c t h w``. ``timestep``: a number or tensor ``[]``, ``[1]``, ``[b]`` or ``[b, t * tokens]``.
    ``text``: ``b f k l d``, f being t where the text is per frame and else 1, and k the number of prompts.
    ``along``: tensors ``b c t h w`` that are cut as the sample is. ``others`` are passed on as they are.
    """

    kind: DenoiserKind
    sample: torch.Tensor
    timestep: torch.Tensor | float
    text: torch.Tensor
    return_dict: bool
    others: Mapping[str, Any] = field(default_factory=dict)
    along: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def read(
        cls, module: torch.nn.Module, kind: DenoiserKind, args: tuple, kwargs: dict, num_prompts: int, text_length: int
    ) -> Call:
        """Read the arguments that a pipeline calls its denoiser with.

        Raises:
            UnsupportedDenoiserError: an argument that depends on the frames in a way that is not known here.
            ValueError: text embeddings that do not hold ``num_prompts`` prompts of ``text_length`` tokens.
        """
        given = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
        others = {name: value for name, value in list(given.items())[1:] if value is not None}
        sample, text = others.pop(kind.sample), others.pop("encoder_hidden_states")
        timestep, return_dict = others.pop("timestep"), others.pop("return_dict", True)
        batch, _, length = sample.shape[:3]
        along = {name: others.pop(name) for name in kind.along if name in others}
        for name, value in along.items():
            if value.ndim != 5 or (value.shape[0], value.shape[2]) != (batch, length):
                raise UnsupportedDenoiserError(
                    f"{type(module).__name__} was called with {name} {tuple(value.shape)} for latents "
                    f"{tuple(sample.shape)}; both must have as many latent frames, and a reference image has no place "
                    "in them."
                )
        for name, value in others.items():
            if name not in kind.shared and _holds_tensor(value):
                raise UnsupportedDenoiserError(
                    f"{type(module).__name__} was called with {name}, which cannot be cut into windows. "
                    "Use a plain text-to-video pipeline."
                )
        frames = length if kind.text_per_frame else 1
        if text.shape[:2] != (batch * frames, num_prompts * text_length):
            raise ValueError(
                f"The text embeddings are {tuple(text.shape)}; expected {batch * frames} rows of {num_prompts} prompts "
                f"of {text_length} tokens, one after the other."
            )
        return cls(
            kind,
            sample,
            timestep,
            text.reshape(batch, frames, num_prompts, text_length, text.shape[-1]),
            return_dict,
            others,
            along,
        )

    def text_is_equal(self, row: int) -> bool:
        """Whether all prompts of a batch row are the same (the negative prompt is one, repeated)."""
        pieces = self.text[row, 0]
        return all(torch.equal(pieces[0], piece) for piece in pieces[1:])

    def shows(self, row: int, text: torch.Tensor) -> bool:
        """Whether a batch row sees nothing but this prompt, embeddings ``1 l d``."""
        return self.text_is_equal(row) and torch.equal(self.text[row, 0, 0], text[0].to(self.text))

    def cut(self, rows: list[Row], views: list[View]) -> dict[str, Any]:
        """The arguments of one forward pass of several rows; ``views[n]`` is what ``rows[n]`` shows of the video."""
        pairs = list(zip(rows, views, strict=True))
        return {
            self.kind.sample: torch.stack([select_window(self.sample[row.row], view, 1) for row, view in pairs]),
            "timestep": self._timestep(pairs),
            "encoder_hidden_states": torch.cat([self._text(row, view) for row, view in pairs]),
            "return_dict": False,
            **self.others,
            **{
                name: torch.stack([select_window(value[row.row], view, 1) for row, view in pairs])
                for name, value in self.along.items()
            },
        }

    def _text(self, row: Row, view: View) -> torch.Tensor:
        """The text of one row ``f l d``."""
        text = select_window(self.text[row.row], view, 0) if self.kind.text_per_frame else self.text[row.row]
        if row.mix is None:
            return text[:, row.prompt or 0]
        seen = [text[:, prompt] for prompt in row.mixed]
        if row.blending == "attention":
            return torch.cat(seen, dim=1)
        return mix_embeddings(seen, row.mix[row.mixed], row.blending == "embeddings_spherical")

    def _timestep(self, pairs: list[tuple[Row, View]]) -> torch.Tensor | float:
        timestep = self.timestep
        if not torch.is_tensor(timestep) or timestep.ndim == 0:
            return timestep
        batch, _, length = self.sample.shape[:3]
        timestep = timestep.expand(batch, *timestep.shape[1:])
        if timestep.ndim == 1:
            return timestep[[row.row for row, _ in pairs]]
        if timestep.ndim > 2 or timestep.shape[1] % length:
            raise UnsupportedDenoiserError(
                f"The timestep has the shape {tuple(timestep.shape)} for {length} latent frames; expected [batch] or "
                "[batch, tokens] with a whole number of tokens per latent frame."
            )
        per_frame = timestep.reshape(batch, length, -1)
        return torch.stack([select_window(per_frame[row.row], view, 0).flatten() for row, view in pairs])


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_tensor(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_tensor(item) for item in value)
    return torch.is_tensor(value)
