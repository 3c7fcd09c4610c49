"""Classifier-free guidance by the text and by the anchor (arXiv 2403.14773)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

WEIGHT = 7.5  #: the published one, of both


def guided(
    predict: Callable[[Sequence[str]], Sequence[torch.Tensor]],
    text_weight: float = WEIGHT,
    anchor_weight: float | None = WEIGHT,
) -> torch.Tensor:
    """Guided noise ``e0 + text_weight (e1 - e0) + anchor_weight (e2 - e1)``.

    With ``e0`` of the negative text and the grey anchor (``"neither"``), ``e1`` of the text and the grey anchor
    (``"text"``), ``e2`` of text and anchor (``"both"``). What cancels is not predicted: of equal weights ``e1``, which
    leaves the two predictions of ordinary guidance; of a text weight of 1 ``e0``; of an anchor weight of 0 ``e2``.

    Args:
        predict: is called once, with the names of what is needed, and returns the noise of each.
        text_weight: 0 or more.
        anchor_weight: 0 or more; None: there is no anchor, and ``"text"`` and ``"neither"`` are of the text alone.

    Raises:
        ValueError: a weight is below 0.
    """
    for name, weight in (("text_weight", text_weight), ("anchor_weight", anchor_weight)):
        if weight is not None and not weight >= 0:
            raise ValueError(f"{name} is {weight}; it must be 0 or more. 1 follows the prompt without guidance.")
    chain = [("neither", 1.0), ("text", text_weight)]
    if anchor_weight is not None:
        chain.append(("both", anchor_weight))
    following = [weight for _, weight in chain[1:]] + [0.0]
    kept = [(name, weight) for (name, weight), after in zip(chain, following, strict=True) if weight != after]
    noises = predict([name for name, _ in kept])
    total = noises[0]  # the chain begins at 1 and changes somewhere, so the weight of the first that is kept is 1
    for (_, weight), before, noise in zip(kept[1:], noises[:-1], noises[1:], strict=True):
        total = total + weight * (noise - before)
    return total
