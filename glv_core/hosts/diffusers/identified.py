"""A pipeline with what a tuning gave: its low-rank weights, and windows that are told which part of the tuned video
they are like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...streaming import weights_digest
from ...tuning import ClipIdentifiers, NotTunedError, Place, Tuned, read_tuned
from ...tuning.identifiers import LENGTHS, OFF, STRETCHED
from ...windows import Window
from .folder import ModelFolder, empty_denoiser
from .tuned_layers import TunedLayers, tuned_denoiser


@dataclass(frozen=True)
class Identified:
    """Clip identifiers for a run.

    ``lengths``: one of ``LENGTHS``, for videos of another length than the tuned one. ``begin`` and ``length``: where
    the run's latent frames lie in a video of how many; None is that the run is all of it.
    """

    identifiers: ClipIdentifiers
    lengths: str = STRETCHED
    begin: int = 0
    length: int | None = None

    def start_of(self, window: Window, length: int) -> float:
        """The start in the tuned video for a window of a run of ``length`` latent frames."""
        place = Place(self.begin + window.start, window.length, self.length or length)
        return self.identifiers.places.start_of(place, self.lengths)

    @property
    def described(self) -> list[Any]:
        """What the result depends on, as JSON holds it."""
        digest = weights_digest(self.identifiers.tensors().items())
        return [self.identifiers.header(), digest, self.lengths]


@contextmanager
def told(
    parts: TunedLayers,
    identifiers: ClipIdentifiers,
    starts: Callable[[], Sequence[float | None]],
) -> Iterator[None]:
    """While open, the layers of a denoiser add what their clip identifiers say.

    Args:
        parts: of the denoiser.
        identifiers: where it is.
        starts: asked at every call of a layer; see ``ClipIdentifiers.add``.
    """
    handles = []
    try:
        for name in identifiers.layers:

            def hook(_: Any, given: tuple[torch.Tensor], output: torch.Tensor, layer: str = name) -> torch.Tensor:
                seen = starts()
                if all(start is None for start in seen):
                    return output
                return output + identifiers.add(layer, given[0], seen).to(output)

            handles.append(parts.layer(name).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def load_tuned(pipeline: Any, path: Path, strength: float = 1.0, lengths: str = STRETCHED) -> Identified | None:
    """Put the low-rank weights of a file on a pipeline, by peft.

    Args:
        pipeline: of the model that was tuned.
        path: a file of ``write_tuned``.
        strength: what the low-rank weights and the clip identifiers add is multiplied by it.
        lengths: one of ``LENGTHS``, for ``Identified``.

    Returns:
        The clip identifiers, for ``generate``; None where the file has none, or ``lengths`` is ``off``.

    Raises:
        NotTunedError: it is another file.
        UnsupportedDenoiserError, ValueError: it was tuned on another model; nothing is changed.
    """
    if lengths not in LENGTHS:
        raise ValueError(f"Unknown identifiers {lengths!r}. Known: {', '.join(LENGTHS)}.")
    module, _ = tuned_denoiser(pipeline)
    parts = TunedLayers(module)
    tuned, lora = _read(path, parts)
    layers = list(dict.fromkeys(parts.layer_of(name) for name in lora))
    rank = next(iter(lora.values())).shape[0]
    weights = list(parts.add_lora(layers, rank).items())
    with torch.no_grad():
        for (down, first), (up, second) in zip(weights[::2], weights[1::2], strict=True):
            first.copy_(lora[down])
            second.copy_(strength * lora[up])
    parts.thaw()
    if tuned.identifiers is None or lengths == OFF:
        return None
    return Identified(tuned.identifiers.scaled(strength).to(module.device), lengths)


def check_tuned(folder: ModelFolder, path: Path) -> bool:
    """Check that a file can be put on the model of a folder, without its weights; whether it has clip identifiers.

    Raises:
        NotTunedError, UnsupportedDenoiserError, ValueError: it cannot; see ``load_tuned``.
    """
    tuned, _ = _read(path, TunedLayers(empty_denoiser(folder)))
    return tuned.identifiers is not None


def _read(path: Path, parts: TunedLayers) -> tuple[Tuned, dict[str, torch.Tensor]]:
    """A file, and its low-rank weights by the names that ``parts`` gives them."""
    tuned = read_tuned(path)
    if tuned.over_time:
        raise NotTunedError(f"{path.name} holds layers over time for an image model. Use it in ComfyUI.")
    lora = parts.of_file(tuned.lora, path.name)
    if not lora:
        raise NotTunedError(f"{path.name} holds no low-rank weights. Choose another file.")
    if tuned.identifiers is not None:
        parts.check(tuned.identifiers.sizes, path.name)
    return tuned, lora
