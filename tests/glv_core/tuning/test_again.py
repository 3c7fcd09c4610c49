"""Gradients through blocks that work in place."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from glv_core.tuning.again import again, copied


class InPlace(torch.nn.Module):
    """A block that changes what was saved for its gradients, and its own argument."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, x, scale=None, more=None):
        y = self.first(x)
        z = self.second(y)
        y.mul_(0.5)
        x += z * (more["gain"] if more else 1.0)
        return x + y * (1.0 if scale is None else scale)

    def plain(self, x, scale=None, more=None):
        y = self.first(x)
        z = self.second(y)
        return x + z * (more["gain"] if more else 1.0) + 0.5 * y * (1.0 if scale is None else scale)


def gradients(function, block, x, **more):
    block.zero_grad()
    x = x.clone().requires_grad_()
    out = function(x.clone(), **more)
    out.square().sum().backward()
    return out.detach(), x.grad, [weight.grad.clone() for weight in block.parameters()]


@pytest.mark.parametrize("more", [{}, {"scale": torch.tensor(3.0)}, {"more": {"gain": torch.tensor(2.0)}}])
def test_gradients_are_those_of_the_same_block_without_working_in_place(more):
    torch.manual_seed(0)
    block, x = InPlace(), torch.randn(2, 4)
    out, to_x, to_weights = gradients(block.plain, block, x, **more)
    for function in (lambda x, **given: again(block, x, **given), lambda x, **given: _copied(block, x, **given)):
        one, two, three = gradients(function, block, x, **more)
        assert_close(one, out)
        assert_close(two, to_x)
        assert_close(three, to_weights)


@pytest.mark.filterwarnings("error")
def test_an_argument_without_a_gradient_may_be_changed_in_place():
    torch.manual_seed(0)
    block, x = InPlace(), torch.randn(2, 4)
    again(block, x).square().sum().backward()
    made = [weight.grad.clone() for weight in block.parameters()]
    assert_close(made, gradients(block.plain, block, x)[2])


def _copied(block, *args, **given):
    with copied():
        return block(*args, **given)


def test_torch_itself_refuses():
    """Why this is here: the plain way raises."""
    torch.manual_seed(0)
    block = InPlace()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradients(block, block, torch.randn(2, 4))


def test_the_caller_keeps_its_argument():
    block, x = InPlace(), torch.randn(2, 4)
    before = x.clone()
    again(block, x)
    assert torch.equal(x, before)


def test_a_block_is_computed_once_more_and_nothing_is_kept():
    calls = []

    def block(x, weight):
        calls.append(torch.is_grad_enabled())
        return {"out": (x * weight).sin(), "same": x, "number": 3}

    weight = torch.nn.Parameter(torch.tensor(2.0))
    made = again(block, torch.ones(3), weight)
    assert made["number"] == 3 and calls == [False]
    made["out"].sum().backward()
    assert calls == [False, True]
    assert_close(weight.grad, 3 * torch.cos(torch.tensor(2.0)))


def test_the_way_back_has_the_same_autocast():
    seen = []

    def block(x, layer):
        seen.append(layer(x).dtype)
        return layer(x).float()

    layer = torch.nn.Linear(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out = again(block, torch.ones(1, 3), layer)
    out.sum().backward()
    assert seen == [torch.bfloat16, torch.bfloat16]
