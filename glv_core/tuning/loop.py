"""The loop of a tuning, on any host: draws windows, asks for their loss, and steps the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from .draws import Draw, draws_of_step
from .options import LARGEST_GRADIENT, OPTIMIZER, TuningOptions
from .state import State, read_state, write_state

#: The loss of a window; gradients flow back from it to what is trained.
Loss = Callable[[Draw], torch.Tensor]
#: Called after each step with the losses so far.
OnStep = Callable[[list[float]], None]


class TuningLoop:
    """Trains parameters, and goes on where a run with the same key was cut off.

    AdamW with the values of Gen-L-Video's configuration; the learning rate stays the same, so a tuning of 300 steps
    begins as one of 200 and can go on from its end.

    ``longer``: steps of a state with more of them than are wanted now; it is left as it is, and none is kept.

    Args:
        options: see ``TuningOptions``.
        length: of the video, in latent frames.
        parameters: what is trained, by names that stay the same; float32.
        key: of all that the result depends on but the number of steps.
        file: where the state is kept; None keeps none.
        every: steps between two states that are written; one is always written at the end, and when it is cut off.
        starts: of the windows to draw from; None for all, see ``window_starts``.

    Raises:
        StateError: the file is damaged, or not such a state.
    """

    def __init__(
        self,
        options: TuningOptions,
        length: int,
        parameters: Mapping[str, torch.nn.Parameter],
        key: str,
        file: Path | None = None,
        every: int = 50,
        starts: Sequence[int] | None = None,
    ) -> None:
        self.options, self.length, self.parameters = options, length, dict(parameters)
        self.losses: list[float] = []
        #: Called once, with the gradients of the first step that is made.
        self.on_gradients: Callable[[], None] | None = None
        self._key, self._file, self._every, self._starts = key, file, every, starts
        self._optimizer = torch.optim.AdamW(list(self.parameters.values()), lr=options.learning_rate, **OPTIMIZER)
        self._averages = {name: each.detach().clone() for name, each in self.parameters.items() if options.ema_decay}
        self._written = -1
        self.longer = 0
        if file is not None and file.is_file():
            state = read_state(file)
            if state.key == key and len(state.losses) <= options.steps:
                self._take(state)
            elif state.key == key:
                self.longer, self._file = len(state.losses), None

    @property
    def done(self) -> int:
        """Steps that are done."""
        return len(self.losses)

    def run(self, loss: Loss, on_step: OnStep = lambda losses: None) -> None:
        """Make the steps that are left; the parameters are then the averages, where ``ema_decay`` asks for them.

        Whatever ends it early, what was done is kept in the file.
        """
        for parameter, known in self._optimizer.state.items():  # which a host may have moved since they were read
            known |= {part: value.to(parameter) for part, value in known.items() if part != "step"}
        for name, average in self._averages.items():
            self._averages[name] = average.to(self.parameters[name])
        try:
            while self.done < self.options.steps:
                self.losses.append(self._step(loss))
                self._follow()
                on_step(self.losses)
                if self.done % self._every == 0:
                    self._keep()
        finally:
            self._keep()
        with torch.no_grad():
            for name, average in self._averages.items():
                self.parameters[name].copy_(average)

    def _follow(self) -> None:
        decay = min(self.options.ema_decay, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            for name, average in self._averages.items():
                average.lerp_(self.parameters[name], 1 - decay)

    def _step(self, loss: Loss) -> float:
        self._optimizer.zero_grad(set_to_none=True)  # AdamW leaves alone what has no gradient: other clips' weights
        total = 0.0
        for draw in draws_of_step(self.options, self.length, self.done, self._starts):
            value = loss(draw)
            if not bool(torch.isfinite(value)):
                raise ValueError(
                    f"The loss of step {self.done + 1} is not a number. Lower learning_rate, or choose precision fp32."
                )
            (value / self.options.batch).backward()
            total += float(value.detach()) / self.options.batch
        if self.on_gradients is not None:
            self.on_gradients()
            self.on_gradients = None
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), LARGEST_GRADIENT)
        self._optimizer.step()
        return total

    def _keep(self) -> None:
        if self._file is not None and self._written != self.done:
            write_state(self._file, self._state())
            self._written = self.done

    def _state(self) -> State:
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"weight/{name}"] = parameter.detach()
            if name in self._averages:
                tensors[f"average/{name}"] = self._averages[name]
            for part, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"{part}/{name}"] = torch.as_tensor(value)
        return State(self._key, list(self.losses), tensors)

    def _take(self, state: State) -> None:
        for name, parameter in self.parameters.items():
            parts = {
                kind: state.tensors[f"{kind}/{name}"].clone()
                for kind in ("step", "exp_avg", "exp_avg_sq")
                if f"{kind}/{name}" in state.tensors
            }
            weight = state.tensors[f"weight/{name}"]
            if weight.shape != parameter.shape:  # another model under the same key cannot be
                raise RuntimeError(f"{name} is {list(weight.shape)} in the state, and {list(parameter.shape)} here.")
            with torch.no_grad():
                parameter.copy_(weight)
            if name in self._averages:
                self._averages[name] = state.tensors[f"average/{name}"].clone()
            if parts:
                self._optimizer.state[parameter] = {
                    kind: value if kind == "step" else value.to(parameter) for kind, value in parts.items()
                }
        self.losses = list(state.losses)
        self._written = self.done
