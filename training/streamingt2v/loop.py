"""What all stages share: one step of training, averaged weights, and checkpoints from which a run goes on exactly."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..demo.muon import Muon

logger = logging.getLogger(__name__)

SAVE_EVERY = 250  # steps
LOG_EVERY = 50  # steps


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step; they do not depend on the steps before it, so a run that goes on is the same."""
    return torch.Generator().manual_seed(1_000_003 * (seed + 1) + step)


def lr_scale(step: int, steps: int, warm_up: int = 100) -> float:
    """The learning rate of a step over its peak: up within `warm_up` steps, then down a cosine to one percent."""
    return min(1.0, (step + 1) / warm_up) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


class Training:
    """A model, its average over the last steps and its optimiser, kept in one checkpoint."""

    def __init__(
        self,
        checkpoint: Path,
        model: nn.Module,
        steps: int,
        lr: float,
        adam_lr: float,
        by_adam: Sequence[str] = (),
        ema_decay: float = 0.998,
        faster: Mapping[str, float] | None = None,
    ) -> None:
        """Muon trains matrices and kernels, Adam the rest and those whose names hold one of `by_adam`.

        Args:
            faster: how many times Adam's learning rate that of parameters is, by what their names end with.
        """
        self.checkpoint, self.model, self.steps, self.ema_decay = checkpoint, model, steps, ema_decay
        self.average = copy.deepcopy(model).requires_grad_(False)
        chosen = [p for n, p in model.named_parameters() if any(part in n for part in by_adam)]
        self.optimizer = Muon(model.parameters(), lr=lr, adam_lr=adam_lr, adam_parameters=chosen)
        for end, times in (faster or {}).items():
            found = {id(p) for n, p in model.named_parameters() if n.endswith(end) and p.requires_grad}
            if found:
                self.optimizer.set_rate(found, times * adam_lr)
        self.done = 0
        self.seconds = 0.0  # of training, those before an interruption too

    def resume(self) -> bool:
        """Goes on from the checkpoint if there is one."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.seconds = state["step"], state["seconds"]
        logger.info("%s: going on from step %d", self.checkpoint.name, self.done)
        return True

    def save(self) -> None:
        """Writes the checkpoint; an interruption leaves the one before."""
        part = self.checkpoint.with_suffix(".part")
        state = {"model": self.model.state_dict(), "ema": self.average.state_dict()}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.done, "seconds": self.seconds}
        torch.save(state, part)
        part.replace(self.checkpoint)

    def update(self, loss: Tensor, warm_up: int = 100) -> None:
        """One step of the optimiser along the gradient of `loss`, and the average after it."""
        self.optimizer.scale_lr(lr_scale(self.done, self.steps, warm_up))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for p in self.model.parameters() if p.grad is not None]
        nn.utils.clip_grad_norm_(trained, 1.0)
        self.optimizer.step()
        decay = min(self.ema_decay, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        self.done += 1

    def run(self, loss_of: Callable[[int], Tensor], resume: bool = False, warm_up: int = 100) -> nn.Module:
        """Trains to the last step with the losses that `loss_of` gives of a step's number; returns the average."""
        if resume:
            self.resume()
        name, recent, before = self.checkpoint.stem, [], time.monotonic()
        while self.done < self.steps:
            loss = loss_of(self.done)
            self.update(loss, warm_up)
            recent.append(loss.item())
            now = time.monotonic()
            self.seconds, before = self.seconds + now - before, now
            if self.done % LOG_EVERY == 0 or self.done == self.steps:
                mean = sum(recent) / len(recent)
                logger.info("%s step %d: loss %.4f, %.0f s", name, self.done, mean, self.seconds)
                recent.clear()
            if self.done % SAVE_EVERY == 0 or self.done == self.steps:
                self.save()
        return self.average.eval()


def load_average(checkpoint: Path, model: nn.Module) -> nn.Module:
    """The averaged weights of a checkpoint in `model`, frozen."""
    if not checkpoint.exists():
        raise ValueError(f"{checkpoint} is missing; run the stage {checkpoint.stem} first.")
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["ema"])
    return model.eval().requires_grad_(False)
