"""The loop of a tuning, its state and its curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from glv_core.tuning import StateError, TuningLoop, TuningOptions, draws_of_step
from glv_core.tuning.curve import draw_curve, smoothed

OPTIONS = TuningOptions(8, 8, 4, batch=2, learning_rate=0.05, seed=3)


def parameters():
    generator = torch.Generator().manual_seed(1)
    return {name: torch.nn.Parameter(torch.randn(3, generator=generator)) for name in ("one", "two", "idle")}


def loss_of(trained):
    def loss(draw):
        wanted = torch.tensor([1.0, 2.0, 3.0]) * (1 + draw.share)
        return (trained["one" if draw.start < 8 else "two"] - wanted).square().mean()

    return loss


def run(steps, file=None, key="key", **more):
    trained = parameters()
    loop = TuningLoop(replace(OPTIONS, steps=steps), 24, trained, key, file, **more)
    loop.run(loss_of(trained))
    return trained, loop


def test_it_is_adamw_step_by_step():
    """Beside a loop of the optimiser's formula by hand."""
    trained, loop = run(5)
    expected = {name: value.detach().clone().double() for name, value in parameters().items()}
    first = {name: torch.zeros(3, dtype=torch.float64) for name in expected}
    second, counts = {name: torch.zeros(3, dtype=torch.float64) for name in expected}, dict.fromkeys(expected, 0)
    for step in range(5):
        leaves = {name: value.clone().float().requires_grad_() for name, value in expected.items()}
        sum(loss_of(leaves)(draw) / 2 for draw in draws_of_step(OPTIONS, 24, step)).backward()
        grads = {name: leaf.grad.double() for name, leaf in leaves.items() if leaf.grad is not None}
        norm = sum(grad.square().sum() for grad in grads.values()).sqrt()
        for name, grad in grads.items():
            grad = grad * min(1.0, 1.0 / (norm + 1e-6))
            counts[name] += 1
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.999 * second[name] + 0.001 * grad**2
            ahead = first[name] / (1 - 0.9 ** counts[name])
            spread = (second[name] / (1 - 0.999 ** counts[name])).sqrt() + 1e-8
            expected[name] = expected[name] * (1 - 0.05 * 1e-2) - 0.05 * ahead / spread
    for name, value in trained.items():
        torch.testing.assert_close(value.detach().double(), expected[name], rtol=1e-4, atol=1e-5)
    assert torch.equal(trained["idle"], parameters()["idle"])  # not even its decay, as nothing asked for it
    assert len(loop.losses) == 5


def test_the_average_is_kept_and_training_goes_on_without_it(tmp_path):
    """Beside the averages of the weights after each step."""
    options, file = replace(OPTIONS, ema_decay=0.3), tmp_path / "state.safetensors"
    after = [parameters(), *(run(steps)[0] for steps in range(1, 7))]
    expected = {name: weight.detach() for name, weight in after[0].items()}
    for step in range(1, 7):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * after[step][name].detach() for name in expected}
    for steps in (4, 6):  # the second goes on from the state of the first
        trained = parameters()
        TuningLoop(replace(options, steps=steps), 24, trained, "key", file).run(loss_of(trained))
    for name, weight in trained.items():
        torch.testing.assert_close(weight.detach(), expected[name])
    assert not torch.equal(trained["one"], after[6]["one"])


def test_a_longer_state_is_left_alone(tmp_path):
    file = tmp_path / "state.safetensors"
    run(6, file)
    before = file.read_bytes()
    few, loop = run(3, file)
    assert loop.longer == 6 and file.read_bytes() == before
    assert torch.equal(few["one"], run(3)[0]["one"])


@pytest.mark.parametrize("cut_at", range(8))
def test_a_run_that_was_cut_off_ends_with_the_same_weights(tmp_path, cut_at):
    whole, loop = run(8)
    file, trained = tmp_path / "state.safetensors", parameters()

    def stop(losses):
        if len(losses) == cut_at:
            raise KeyboardInterrupt

    if cut_at:
        with pytest.raises(KeyboardInterrupt):
            TuningLoop(OPTIONS, 24, trained, "key", file, every=3).run(loss_of(trained), stop)
    resumed, again = run(8, file)
    assert again.losses == loop.losses
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_other_settings_do_not_go_on_from_a_state(tmp_path):
    file = tmp_path / "state.safetensors"
    run(3, file)
    seen = []
    trained = parameters()
    TuningLoop(replace(OPTIONS, steps=4), 24, trained, "another", file).run(
        lambda draw: seen.append(draw) or loss_of(trained)(draw)
    )
    assert len(seen) == 8


def test_a_state_that_is_none_is_refused(tmp_path):
    file = tmp_path / "state.safetensors"
    run(2, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(StateError, match=r"damaged.*Delete it"):
        run(4, file)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    trained = parameters()
    loop = TuningLoop(OPTIONS, 24, trained, "key", tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match=r"step 1 is not a number. Lower learning_rate"):
        loop.run(lambda draw: trained["one"].sum() * float("nan"))


def test_the_curve_falls_with_the_losses():
    losses = list(np.linspace(2.0, 0.2, 60))
    assert smoothed([1.0, 3.0, 5.0], over=2) == [1.0, 2.0, 4.0]
    image = np.asarray(draw_curve(losses, 120, 640, 320)).astype(int)
    line = (np.abs(image - np.array([120, 190, 255])).sum(-1) < 10)[40:]
    heights = [np.flatnonzero(line[:, x]).mean() for x in (80, 150, 250, 330)]
    assert heights == sorted(heights) and heights[-1] - heights[0] > 100
    assert not line[:, 360:].any()  # of half the steps
    assert draw_curve([], 10).size == (640, 320)
    assert draw_curve([float("nan"), 1.0], 10).size == (640, 320)
