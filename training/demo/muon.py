"""A small Muon optimiser: momentum whose matrices are orthogonalised, with Adam for everything that is no matrix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Pushes the singular values of each [... rows columns] towards one, by a quintic Newton-Schulz iteration
    in bf16, which is exact enough for an update.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.to(torch.bfloat16)
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for weights that are matrices or kernels, Adam for the rest and for `adam_parameters`."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        adam_lr: float,
        adam_parameters: Iterable[nn.Parameter] = (),
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        by_adam = {id(p) for p in adam_parameters}
        parameters = [p for p in parameters if p.requires_grad]
        matrices = [p for p in parameters if p.dim() >= 2 and p[0].numel() > 1 and id(p) not in by_adam]
        chosen = {id(p) for p in matrices}
        rest = [p for p in parameters if id(p) not in chosen]
        groups = [
            {"params": matrices, "lr": lr, "peak": lr, "muon": True},
            {"params": rest, "lr": adam_lr, "peak": adam_lr, "muon": False},
        ]
        super().__init__(groups, {"momentum": momentum, "betas": betas})

    def set_rate(self, chosen: set[int], adam_lr: float) -> None:
        """Gives the parameters whose ``id`` is in `chosen`, which Adam trains, a learning rate of their own."""
        rest = self.param_groups[1]
        own = [p for p in rest["params"] if id(p) in chosen]
        rest["params"] = [p for p in rest["params"] if id(p) not in chosen]
        self.add_param_group({"params": own, "lr": adam_lr, "peak": adam_lr, "muon": False})

    def scale_lr(self, scale: float) -> None:
        """Sets every group's learning rate to `scale` times its peak."""
        for group in self.param_groups:
            group["lr"] = scale * group["peak"]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update; `closure` is not supported."""
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if not group["muon"]:
                for parameter in trained:
                    self._adam(parameter, group)
                continue
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for parameter in trained:
                by_shape[(parameter.shape[0], parameter[0].numel())].append(parameter)
            for shape, parameters in by_shape.items():
                self._muon(shape, parameters, group)

    def _muon(self, shape: tuple[int, int], parameters: list[Tensor], group: dict) -> None:
        """Updates all matrices of one shape together: many small products are slow one by one."""
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            average = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
            updates.append((parameter.grad + group["momentum"] * average).reshape(shape))
        gain = max(1.0, shape[0] / shape[1]) ** 0.5
        for parameter, matrix in zip(parameters, orthogonalise(torch.stack(updates)), strict=True):
            parameter.add_(matrix.view(parameter.shape), alpha=-group["lr"] * gain)

    def _adam(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["first"].lerp_(parameter.grad, 1 - beta1)
        state["second"].lerp_(parameter.grad.square(), 1 - beta2)
        first = state["first"] / (1 - beta1 ** state["step"])
        second = state["second"] / (1 - beta2 ** state["step"])
        parameter.addcdiv_(first, second.sqrt().add_(1e-8), value=-group["lr"])
