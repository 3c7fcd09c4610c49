"""Taking back the drift of a streamed video: colours and contrast that wander from chunk to chunk."""

from __future__ import annotations

import torch


def statistics(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of every channel.

    Args:
        latents: ``b c t h w``.

    Returns:
        Two tensors ``b c 1 1 1``, float32.
    """
    values = latents.float()
    dims = (2, 3, 4)
    return values.mean(dims, keepdim=True), values.std(dims, keepdim=True, unbiased=False)


def check_strength(strength: float) -> None:
    """Check a strength for ``correct_drift``.

    Raises:
        ValueError: it is out of range.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"drift_correction is {strength}; it must be 0 to 1.")


def correct_drift(latents: torch.Tensor, overlap: int, anchor: torch.Tensor, strength: float) -> torch.Tensor:
    """A chunk whose statistics are drawn towards those of an anchor.

    Every channel is scaled and shifted towards the anchor's mean and standard deviation (adaptive instance
    normalisation, arXiv 1703.06868), not at all in the known latent frames and then more and more, so that nothing
    jumps where the chunk begins; the next chunk goes on from the corrected end.

    Args:
        latents: the chunk ``b c t h w``.
        overlap: its known latent frames, which stay as they are.
        anchor: latents with the wanted statistics, ``b c t h w`` of any ``t h w``.
        strength: 0 (nothing) to 1 (all of it at the end of the chunk).

    Raises:
        ValueError: strength out of range.
    """
    check_strength(strength)
    if strength == 0 or overlap >= latents.shape[2]:
        return latents
    mean, std = statistics(latents[:, :, overlap:])
    wanted_mean, wanted_std = (value.to(mean.device) for value in statistics(anchor))
    corrected = (latents.float() - mean) / std.clamp(min=1e-6) * wanted_std + wanted_mean
    new = latents.shape[2] - overlap
    amount = torch.zeros(latents.shape[2], device=latents.device)
    amount[overlap:] = strength * torch.arange(1, new + 1, device=latents.device) / new
    return latents.float().lerp(corrected, amount.view(1, 1, -1, 1, 1)).to(latents.dtype)
