import torch

from glv_core.prompts import parse_schedule
from glv_core.prompts.weights import prompt_weights
from glv_core.timeline import Timebase


def test_weights_by_hand():
    # 21 frames, latent frames centred at 0, 2.5, 6.5, 10.5, 14.5, 18.5; cross-fade over frames 6 ... 14.
    schedule = parse_schedule("0: a\n10 [linear 8]: b", num_frames=21, fps=16)
    weights = prompt_weights(schedule, Timebase(21, 16, 4))
    assert torch.allclose(weights[1], torch.tensor([0, 0, 0.0625, 0.5625, 1, 1]))
    assert torch.allclose(weights.sum(0), torch.ones(6))


def test_a_hard_transition_is_never_blended():
    schedule = parse_schedule("0: a\n8 [hard]: b", num_frames=21, fps=16)
    assert prompt_weights(schedule, Timebase(21, 16, 4)).tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]
